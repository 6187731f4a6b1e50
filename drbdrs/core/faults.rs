// SPDX-License-Identifier: GPL-2.0-only

//! Fault injection: which I/O fails on purpose, by the parameters that 8.4 has for it.

/// What can be made to fail; the number is the bit of `enable_faults`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Writing metadata.
    MetadataWrite = 0,
    /// Reading metadata.
    MetadataRead = 1,
    /// Writing blocks of a resync.
    ResyncWrite = 2,
    /// Reading blocks for a resync.
    ResyncRead = 3,
    /// Writing data.
    DataWrite = 4,
    /// Reading data.
    DataRead = 5,
    /// Reading ahead.
    ReadAhead = 6,
    /// Memory for the bitmap.
    BitmapAllocation = 7,
    /// Memory for what the peer asks for.
    PeerAllocation = 8,
    /// What the peer sends is corrupt.
    Receive = 9,
}

impl Fault {
    /// As 8.4 names it in the log.
    pub fn name(self) -> &'static str {
        match self {
            Fault::MetadataWrite => "Meta-data write",
            Fault::MetadataRead => "Meta-data read",
            Fault::ResyncWrite => "Resync write",
            Fault::ResyncRead => "Resync read",
            Fault::DataWrite => "Data write",
            Fault::DataRead => "Data read",
            Fault::ReadAhead => "Data read ahead",
            Fault::BitmapAllocation => "BM allocation",
            Fault::PeerAllocation => "EE allocation",
            Fault::Receive => "receive data corruption",
        }
    }
}

/// The parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRules {
    /// Bits of [`Fault`].
    pub enabled: u32,
    /// How many of a hundred fail; 0: none.
    pub rate: u32,
    /// Bits of minors; 0: all.
    pub devices: u32,
}

impl FaultRules {
    /// Whether anything can fail at all: cheap, for the way of every request.
    pub fn is_off(&self) -> bool {
        self.rate == 0 || self.enabled == 0
    }

    /// Whether this one fails. `lot`: any number, drawn for it.
    pub fn strikes(&self, fault: Fault, minor: u32, lot: u64) -> bool {
        let wanted = !self.is_off() && self.enabled & (1 << fault as u32) != 0;
        // As 8.4 does: minors beyond the mask's width can only be meant by "all".
        let here = self.devices == 0
            || 1u32
                .checked_shl(minor)
                .is_some_and(|bit| self.devices & bit != 0);
        wanted && here && lot % 100 < u64::from(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_enabled_fails_and_only_there() {
        let rules = FaultRules {
            enabled: 1 << 4,
            rate: 100,
            devices: 1 << 3,
        };
        assert!(rules.strikes(Fault::DataWrite, 3, 99));
        assert!(!rules.strikes(Fault::DataRead, 3, 0));
        assert!(!rules.strikes(Fault::DataWrite, 2, 0));
        assert!(!rules.strikes(Fault::DataWrite, 40, 0));
        let everywhere = FaultRules {
            devices: 0,
            ..rules
        };
        assert!(everywhere.strikes(Fault::DataWrite, 40, 0));
    }

    #[test]
    fn the_rate_is_per_hundred_and_zero_is_off() {
        let rules = |rate| FaultRules {
            enabled: u32::MAX,
            rate,
            devices: 0,
        };
        let struck = |rate| {
            (0..1000)
                .filter(|lot| rules(rate).strikes(Fault::Receive, 0, *lot))
                .count()
        };
        assert_eq!((struck(0), struck(7), struck(100)), (0, 70, 1000));
        assert!(rules(0).is_off() && FaultRules::default().is_off());
    }
}
