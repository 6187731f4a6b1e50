// SPDX-License-Identifier: GPL-2.0-only

//! Which blocks are requested next: dirty neighbours are merged into aligned requests.

const SECTORS_PER_BIT: u64 = 8;
const BLOCK_BYTES: u32 = 4096;
/// Bits of 4 KiB in an extent of 16 MiB: what a resync locks against applications at once.
const BITS_PER_EXTENT: u64 = 4096;

/// What bounds a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request, in bytes.
    pub max_bytes: u32,
    /// `rs-discard-granularity` if both sides know thin resync, in bytes; zero: never ask for zeros.
    pub discard_granularity: u32,
    /// The size of the device.
    pub capacity_sectors: u64,
    /// Blocks that may still be requested in this turn.
    pub budget_blocks: u32,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first bit.
    pub bit: u64,
    /// How many bits it covers. The search goes on at `bit + bits`.
    pub bits: u32,
    /// The first sector.
    pub sector: u64,
    /// Its length; the last block of the device may be short.
    pub bytes: u32,
    /// Ask with P_RS_THIN_REQ: the peer may answer "all zeros".
    pub thin: bool,
}

impl Request {
    /// Where the search goes on.
    pub fn next_bit(&self) -> u64 {
        self.bit.saturating_add(u64::from(self.bits))
    }
}

/// The request that begins at `bit`, which is dirty. `None` if the bit is beyond the device or nothing may be
/// requested. `is_dirty` must answer false beyond the end.
pub fn next_request(bit: u64, limits: &Limits, is_dirty: impl Fn(u64) -> bool) -> Option<Request> {
    let sector = bit.checked_mul(SECTORS_PER_BIT)?;
    if sector >= limits.capacity_sectors || limits.budget_blocks == 0 {
        return None;
    }
    let mut bits = 1_u32;
    // Twice as long only if it starts at a multiple of that: fits any stripe size below.
    let mut alignment = 2 * SECTORS_PER_BIT;
    while bits < limits.budget_blocks {
        let bytes = bits.checked_mul(BLOCK_BYTES)?;
        let next = bit.checked_add(u64::from(bits))?;
        let full = bytes
            .checked_add(BLOCK_BYTES)
            .is_none_or(|b| b > limits.max_bytes);
        let unaligned = sector & alignment.wrapping_sub(1) != 0;
        let is_granule = bytes == limits.discard_granularity;
        let crosses = next % BITS_PER_EXTENT == 0;
        if full || unaligned || is_granule || crosses || !is_dirty(next) {
            break;
        }
        bits = bits.checked_add(1)?;
        if u64::from(bits) * SECTORS_PER_BIT >= alignment {
            alignment = alignment.checked_mul(2)?;
        }
    }
    let left = limits
        .capacity_sectors
        .saturating_sub(sector)
        .min(u64::from(bits) * SECTORS_PER_BIT);
    let bytes = u32::try_from(left.checked_mul(512)?).ok()?;
    let thin = bytes == limits.discard_granularity;
    Some(Request {
        bit,
        bits,
        sector,
        bytes,
        thin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_bytes: 1 << 20,
        discard_granularity: 0,
        capacity_sectors: 1 << 24,
        budget_blocks: 1 << 20,
    };

    fn at(bit: u64, limits: &Limits) -> Request {
        next_request(bit, limits, |_| true).unwrap()
    }

    #[test]
    fn requests_are_as_long_as_they_are_aligned() {
        assert_eq!(at(1, &LIMITS).bits, 1);
        assert_eq!(at(2, &LIMITS).bits, 2);
        assert_eq!(at(4, &LIMITS).bits, 4);
        assert_eq!(at(12, &LIMITS).bits, 4);
        assert_eq!(at(0, &LIMITS).bits, 256, "1 MiB");
        assert_eq!(at(0, &LIMITS).bytes, 1 << 20);
    }

    #[test]
    fn only_dirty_neighbours_are_merged() {
        let r = next_request(8, &LIMITS, |bit| bit < 11).unwrap();
        assert_eq!(
            (r.bits, r.sector, r.bytes, r.next_bit()),
            (3, 64, 3 * 4096, 11)
        );
    }

    #[test]
    fn the_turns_budget_and_the_queues_limit_bound_a_request() {
        assert_eq!(
            at(
                0,
                &Limits {
                    budget_blocks: 5,
                    ..LIMITS
                }
            )
            .bits,
            5
        );
        assert_eq!(
            at(
                0,
                &Limits {
                    max_bytes: 32 << 10,
                    ..LIMITS
                }
            )
            .bits,
            8
        );
        assert_eq!(
            next_request(
                0,
                &Limits {
                    budget_blocks: 0,
                    ..LIMITS
                },
                |_| true
            ),
            None
        );
    }

    #[test]
    fn no_request_crosses_an_extent() {
        let huge = Limits {
            max_bytes: u32::MAX,
            ..LIMITS
        };
        let r = at(0, &huge);
        assert_eq!(r.bits, 4096);
        assert_eq!(at(4096 * 3, &huge).next_bit(), 4096 * 4);
    }

    #[test]
    fn the_last_block_may_be_short() {
        let odd = Limits {
            capacity_sectors: 21,
            ..LIMITS
        };
        let r = next_request(2, &odd, |bit| bit < 3).unwrap();
        assert_eq!((r.sector, r.bytes), (16, 5 * 512));
        assert_eq!(next_request(3, &odd, |_| false), None);
    }

    #[test]
    fn a_granule_is_asked_for_alone() {
        let thin = Limits {
            discard_granularity: 64 << 10,
            ..LIMITS
        };
        let r = at(0, &thin);
        assert_eq!((r.bits, r.thin), (16, true));
        assert!(!at(8, &thin).thin);
    }

    /// Whatever is dirty: requests cover all of it, once, and nothing else.
    #[test]
    fn requests_cover_exactly_the_dirty_bits() {
        for seed in 1..200_u64 {
            let mut x = seed;
            let dirty: Vec<bool> = (0..5000)
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    x % (1 + seed % 7) == 0
                })
                .collect();
            let is_dirty = |bit: u64| dirty.get(bit as usize).copied().unwrap_or(false);
            let limits = Limits {
                capacity_sectors: 5000 * 8,
                budget_blocks: 300,
                ..LIMITS
            };
            let mut covered = vec![false; 5000];
            let mut from = 0;
            while let Some(bit) = (from..5000).find(|b| is_dirty(*b)) {
                let r = next_request(bit, &limits, is_dirty).unwrap();
                for b in r.bit..r.next_bit() {
                    assert!(!std::mem::replace(&mut covered[b as usize], true));
                }
                from = r.next_bit();
            }
            assert_eq!(covered, dirty);
        }
    }
}
