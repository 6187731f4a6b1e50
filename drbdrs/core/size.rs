// SPDX-License-Identifier: GPL-2.0-only

//! How large the replicated device is, given how large the disks are. Everything in sectors of 512 bytes.

/// What is known about sizes; 0 stands for unknown or not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Room for data on our disk.
    pub mine: u64,
    /// Room for data on the peer's disk, if it told.
    pub peer: u64,
    /// What both sides agreed on last.
    pub last_agreed: u64,
    /// What the administrator asks for.
    pub wanted: u64,
}

/// The size to use, and whether the administrator's wish was too large to be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// In sectors; 0 if nobody has a disk.
    pub sectors: u64,
    /// `wanted` does not fit.
    pub wish_too_large: bool,
}

/// The smaller of two sizes, where 0 sets no limit.
const fn limited(size: u64, by: u64) -> u64 {
    if by != 0 && by < size {
        by
    } else {
        size
    }
}

/// Decides on the size.
///
/// With both disks known the smaller one counts. With one disk unknown, what was agreed on is kept, so that a lone
/// node neither grows past its peer nor keeps more than its own disk holds.
pub const fn agree(known: Known) -> Agreed {
    let Known {
        mine,
        peer,
        last_agreed,
        wanted,
    } = known;
    let possible = if mine != 0 && peer != 0 {
        limited(mine, peer)
    } else if last_agreed != 0 {
        limited(limited(last_agreed, mine), peer)
    } else if peer != 0 {
        peer
    } else {
        mine
    };
    if wanted == 0 {
        return Agreed {
            sectors: possible,
            wish_too_large: false,
        };
    }
    let wish_too_large = wanted > possible;
    Agreed {
        sectors: if wish_too_large { possible } else { wanted },
        wish_too_large,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(mine: u64, peer: u64, last_agreed: u64, wanted: u64) -> u64 {
        agree(Known {
            mine,
            peer,
            last_agreed,
            wanted,
        })
        .sectors
    }

    #[test]
    fn two_known_disks_agree_on_the_smaller() {
        assert_eq!(sectors(100, 80, 50, 0), 80);
        assert_eq!(sectors(80, 100, 200, 0), 80);
    }

    #[test]
    fn a_lone_node_keeps_what_was_agreed() {
        assert_eq!(sectors(100, 0, 50, 0), 50);
        assert_eq!(sectors(40, 0, 50, 0), 40);
        assert_eq!(sectors(0, 60, 50, 0), 50);
        assert_eq!(sectors(0, 30, 50, 0), 30);
    }

    #[test]
    fn a_new_device_takes_all_there_is() {
        assert_eq!(sectors(100, 0, 0, 0), 100);
        assert_eq!(sectors(0, 70, 0, 0), 70);
        assert_eq!(sectors(0, 0, 0, 0), 0);
    }

    #[test]
    fn the_wish_is_granted_if_it_fits() {
        assert_eq!(sectors(100, 80, 0, 60), 60);
        let refused = agree(Known {
            mine: 100,
            peer: 0,
            last_agreed: 0,
            wanted: 200,
        });
        assert_eq!(
            refused,
            Agreed {
                sectors: 100,
                wish_too_large: true
            }
        );
    }
}
