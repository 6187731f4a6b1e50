// SPDX-License-Identifier: GPL-2.0-only

//! How a range is deallocated so that it reads the same on both nodes.
//!
//! A disk ignores what of a discard does not fill its granules, and the disks of two nodes may differ in that. So the
//! whole granules are discarded and the ends are filled with zeroes. Whether a discarded granule reads as zeroes is
//! the disk's affair; `discard-zeroes-if-aligned` says what the administrator believes. Where he does not, or the disk
//! can do better, everything is filled with zeroes, and the disk may deallocate what it knows to be zero.

/// What a disk offers; the numbers are sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The largest discard; 0 if it cannot.
    pub max_discard: u32,
    /// The size of a granule; 0 and 1 are the same.
    pub granularity: u32,
    /// Where the first whole granule begins.
    pub alignment: u32,
    /// It can write zeroes by deallocating.
    pub zeroes_unmap: bool,
}

/// The three parts of a range, in sectors; any may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// To be filled with zeroes.
    pub head: u64,
    /// To be discarded.
    pub granules: u64,
    /// To be filled with zeroes.
    pub tail: u64,
}

/// How `sectors` from `sector` on are deallocated. `believed`: a discarded granule reads as zeroes.
pub fn parts(sector: u64, sectors: u64, offer: &Offer, believed: bool) -> Parts {
    let zeroes = Parts {
        tail: sectors,
        ..Parts::default()
    };
    if offer.zeroes_unmap || !believed || offer.max_discard == 0 {
        return zeroes;
    }
    let size = u64::from(offer.granularity.max(1));
    let first = u64::from(offer.alignment) % size;
    // All three are below 2^32.
    let past = (sector % size).wrapping_add(size).wrapping_sub(first) % size;
    let head = size.wrapping_sub(past) % size;
    let Some(rest) = sectors.checked_sub(head) else {
        return zeroes;
    };
    let tail = rest % size;
    if rest == tail {
        return zeroes;
    }
    Parts {
        head,
        granules: rest.wrapping_sub(tail),
        tail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Offer = Offer {
        max_discard: 1 << 20,
        granularity: 8,
        alignment: 0,
        zeroes_unmap: false,
    };

    fn of(head: u64, granules: u64, tail: u64) -> Parts {
        Parts {
            head,
            granules,
            tail,
        }
    }

    #[test]
    fn whole_granules_are_discarded_and_the_ends_are_zeroed() {
        assert_eq!(parts(16, 32, &DISK, true), of(0, 32, 0));
        assert_eq!(parts(15, 32, &DISK, true), of(1, 24, 7));
        assert_eq!(parts(17, 15, &DISK, true), of(7, 8, 0));
        let odd = Offer {
            alignment: 3,
            ..DISK
        };
        assert_eq!(parts(3, 16, &odd, true), of(0, 16, 0));
        assert_eq!(parts(16, 16, &odd, true), of(3, 8, 5));
    }

    #[test]
    fn what_holds_no_granule_is_zeroed() {
        assert_eq!(parts(16, 7, &DISK, true), of(0, 0, 7));
        assert_eq!(parts(17, 14, &DISK, true), of(0, 0, 14));
        assert_eq!(parts(17, 3, &DISK, true), of(0, 0, 3));
        assert_eq!(parts(16, 0, &DISK, true), of(0, 0, 0));
    }

    #[test]
    fn everything_is_zeroed_where_a_discard_would_not_do_or_is_not_needed() {
        let cannot = Offer {
            max_discard: 0,
            ..DISK
        };
        let better = Offer {
            zeroes_unmap: true,
            ..DISK
        };
        assert_eq!(parts(16, 32, &cannot, true), of(0, 0, 32));
        assert_eq!(parts(16, 32, &better, true), of(0, 0, 32));
        assert_eq!(parts(16, 32, &DISK, false), of(0, 0, 32));
    }

    #[test]
    fn parts_add_up_and_granules_are_whole() {
        for granularity in [0, 1, 2, 3, 8, 64, u32::MAX] {
            for alignment in [0, 1, 5, 63, u32::MAX] {
                let offer = Offer {
                    granularity,
                    alignment,
                    ..DISK
                };
                for (sector, sectors) in [(0, 1), (7, 100), (u64::MAX / 2, 1 << 18), (129, 64)] {
                    let parts = parts(sector, sectors, &offer, true);
                    assert_eq!(parts.head + parts.granules + parts.tail, sectors);
                    let size = u64::from(granularity.max(1));
                    assert_eq!(parts.granules % size, 0);
                    let first = (sector + parts.head) % size;
                    assert!(parts.granules == 0 || first == u64::from(alignment) % size);
                }
            }
        }
    }
}
