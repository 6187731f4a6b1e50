// SPDX-License-Identifier: GPL-2.0-only

//! Another shape of the activity log on disk, for `resize --al-stripes --al-stripe-size-kB`.

use crate::activity_log::slots_for;
use crate::meta::Superblock;
use crate::types::RetCode;

/// KiB of a block of the log.
const BLOCK_KIB: u64 = 4;
/// Smallest and largest log, in KiB.
const LOG_KIB: core::ops::RangeInclusive<u64> = 32..=16 << 20;

/// The ring of transactions on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Number of stripes.
    pub stripes: u32,
    /// Size of a stripe, in blocks of 4 KiB.
    pub stripe_size_4k: u32,
}

impl Ring {
    /// The one that a superblock describes.
    pub const fn of(superblock: &Superblock) -> Self {
        Ring {
            stripes: superblock.al_stripes,
            stripe_size_4k: superblock.al_stripe_size_4k,
        }
    }

    /// Blocks of 4 KiB.
    pub const fn blocks(&self) -> u32 {
        self.stripes.saturating_mul(self.stripe_size_4k)
    }
}

/// What is asked for, and what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The ring that there is.
    pub now: Ring,
    /// Stripes wanted; none, or 0: as many as there are.
    pub stripes: Option<u32>,
    /// Size of a stripe wanted, in KiB; none, or 0: as it is.
    pub stripe_kib: Option<u32>,
    /// Slots of the log in memory (`al-extents`).
    pub slots: u32,
    /// The peer is connected, and there is no resync.
    pub connected: bool,
    /// `--assume-peer-has-space`
    pub force: bool,
}

impl Reshape {
    /// The new ring, if it is another one.
    ///
    /// # Errors
    ///
    /// The stock codes for a log that is too large or too small, and for a change without a peer that is not forced.
    /// Unlike the stock driver this also calls a log too small that could not tell all slots after a crash.
    pub fn decide(&self) -> Result<Option<Ring>, RetCode> {
        let asked = |wanted: Option<u32>| wanted.filter(|number| *number > 0);
        let now_kib = u64::from(self.now.stripe_size_4k).saturating_mul(BLOCK_KIB);
        let stripes = asked(self.stripes).unwrap_or(self.now.stripes);
        let kib = asked(self.stripe_kib).map_or(now_kib, u64::from);
        let blocks = kib / BLOCK_KIB;
        if (stripes, blocks) == (self.now.stripes, u64::from(self.now.stripe_size_4k)) {
            return Ok(None);
        }
        let size = u64::from(stripes).saturating_mul(kib);
        if size > *LOG_KIB.end() {
            return Err(RetCode::MdLayoutTooBig);
        }
        let new = Ring {
            stripes,
            stripe_size_4k: u32::try_from(blocks).unwrap_or(u32::MAX),
        };
        let room = new.blocks();
        if u64::from(room).saturating_mul(BLOCK_KIB) < *LOG_KIB.start()
            || slots_for(room) < self.slots
        {
            return Err(RetCode::MdLayoutTooSmall);
        }
        if !self.connected && !self.force {
            return Err(RetCode::MdLayoutConnected);
        }
        Ok(Some(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Ring = Ring {
        stripes: 1,
        stripe_size_4k: 8,
    };

    fn ask(stripes: Option<u32>, stripe_kib: Option<u32>) -> Reshape {
        Reshape {
            now: USUAL,
            stripes,
            stripe_kib,
            slots: 1237,
            connected: true,
            force: false,
        }
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        assert_eq!(ask(None, None).decide(), Ok(None));
        assert_eq!(ask(Some(0), Some(0)).decide(), Ok(None));
        assert_eq!(ask(Some(1), Some(32)).decide(), Ok(None));
        // Alone, it is not asked whether the peer is there.
        let alone = Reshape {
            connected: false,
            ..ask(Some(1), None)
        };
        assert_eq!(alone.decide(), Ok(None));
        let ring = |stripes, stripe_size_4k| {
            Ok(Some(Ring {
                stripes,
                stripe_size_4k,
            }))
        };
        assert_eq!(ask(Some(4), None).decide(), ring(4, 8));
        assert_eq!(ask(None, Some(64)).decide(), ring(1, 16));
        assert_eq!(ask(Some(2), Some(70)).decide(), ring(2, 17));
    }

    #[test]
    fn sizes_have_limits() {
        assert_eq!(
            ask(Some(1024), Some(16_777_216)).decide(),
            Err(RetCode::MdLayoutTooBig)
        );
        assert_eq!(
            ask(Some(1), Some(16_777_220)).decide(),
            Err(RetCode::MdLayoutTooBig)
        );
        assert!(ask(Some(1), Some(16_777_216)).decide().is_ok());
        // Seven whole blocks in two stripes of 14 KiB.
        for (stripes, kib) in [(1, 28), (2, 14), (1, 35 - 4), (8, 4 - 1)] {
            let small = ask(Some(stripes), Some(kib)).decide();
            assert_eq!(small, Err(RetCode::MdLayoutTooSmall), "{stripes} x {kib}");
        }
    }

    #[test]
    fn a_log_that_could_not_tell_all_slots_is_too_small() {
        let large = Reshape {
            now: Ring {
                stripes: 1,
                stripe_size_4k: 16,
            },
            slots: 6434,
            ..ask(None, Some(32))
        };
        assert_eq!(large.decide(), Err(RetCode::MdLayoutTooSmall));
        let fits = Reshape {
            slots: 6433,
            ..large
        };
        assert_eq!(fits.decide(), Ok(Some(USUAL)));
    }

    #[test]
    fn without_a_peer_only_by_force() {
        let alone = Reshape {
            connected: false,
            ..ask(Some(2), None)
        };
        assert_eq!(alone.decide(), Err(RetCode::MdLayoutConnected));
        let forced = Reshape {
            force: true,
            ..alone
        };
        assert!(forced.decide().is_ok_and(|ring| ring.is_some()));
    }
}
