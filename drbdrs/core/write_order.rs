// SPDX-License-Identifier: GPL-2.0-only

//! How a node keeps the peer's epochs apart on its own disks (`disk-flushes`, `disk-drain`).
//!
//! | method | at a barrier |
//! |---|---|
//! | flush | all writes before it have ended, and the disks' caches are flushed |
//! | drain | all writes before it have ended |
//! | none | the next epoch may begin; it is confirmed when its writes have ended |
//!
//! The method is the resource's: the best that all its disks allow. A disk that cannot flush lowers it until a disk is
//! attached, or the options change.

use crate::config::DiskConf;

/// See the module's description; worst first, with the numbers of the netlink interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteOrder {
    /// Epochs may mix on the disk.
    None = 0,
    /// Wait for the writes.
    Drain = 1,
    /// And flush.
    Flush = 2,
}

/// Why the method is looked at anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A disk was attached, or an option that decides was changed.
    Configured,
    /// A disk does not know what a flush is.
    CannotFlush,
}

impl WriteOrder {
    /// As `/proc/drbd` shows it.
    pub fn letter(self) -> char {
        match self {
            WriteOrder::None => 'n',
            WriteOrder::Drain => 'd',
            WriteOrder::Flush => 'f',
        }
    }

    /// As the log names it.
    pub fn name(self) -> &'static str {
        match self {
            WriteOrder::None => "none",
            WriteOrder::Drain => "drain",
            WriteOrder::Flush => "flush",
        }
    }

    /// The best that a disk's options allow.
    fn allowed(self, conf: &DiskConf) -> Self {
        match self {
            WriteOrder::Flush if conf.disk_flushes => WriteOrder::Flush,
            WriteOrder::Flush | WriteOrder::Drain if conf.disk_drain => WriteOrder::Drain,
            _ => WriteOrder::None,
        }
    }

    /// The method from now on, with these disks attached.
    pub fn derive<'a>(self, why: Reason, disks: impl Iterator<Item = &'a DiskConf>) -> Self {
        let best = match why {
            Reason::Configured => WriteOrder::Flush,
            Reason::CannotFlush => self.min(WriteOrder::Drain),
        };
        disks.fold(best, |order, conf| order.allowed(conf))
    }
}

/// Whether a change of options makes the method be looked at anew.
pub fn options_differ(old: &DiskConf, new: &DiskConf) -> bool {
    let decides = |conf: &DiskConf| (conf.disk_barrier, conf.disk_flushes, conf.disk_drain);
    decides(old) != decides(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use WriteOrder::{Drain, Flush, None};

    fn disk(flushes: bool, drain: bool) -> DiskConf {
        DiskConf {
            disk_flushes: flushes,
            disk_drain: drain,
            ..DiskConf::default()
        }
    }

    #[test]
    fn the_options_decide() {
        let with = |disks: &[DiskConf]| None.derive(Reason::Configured, disks.iter());
        assert_eq!(with(&[]), Flush);
        assert_eq!(with(&[disk(true, true)]), Flush);
        assert_eq!(
            with(&[disk(true, false)]),
            Flush,
            "flushing includes waiting"
        );
        assert_eq!(with(&[disk(false, true)]), Drain);
        assert_eq!(with(&[disk(false, false)]), None);
    }

    #[test]
    fn the_worst_disk_decides() {
        let disks = [disk(true, true), disk(false, true), disk(true, true)];
        assert_eq!(Flush.derive(Reason::Configured, disks.iter()), Drain);
        let disks = [disk(false, true), disk(true, false)];
        assert_eq!(
            Flush.derive(Reason::Configured, disks.iter()),
            None,
            "the first one does not flush, the second one does not wait"
        );
    }

    #[test]
    fn a_disk_that_cannot_flush_lowers_it_until_somebody_configures_something() {
        let disks = [disk(true, true)];
        let lowered = Flush.derive(Reason::CannotFlush, disks.iter());
        assert_eq!(lowered, Drain);
        assert_eq!(None.derive(Reason::CannotFlush, disks.iter()), None);
        assert_eq!(lowered.derive(Reason::Configured, disks.iter()), Flush);
    }

    #[test]
    fn only_three_options_decide() {
        let old = DiskConf::default();
        assert!(!options_differ(
            &old,
            &DiskConf {
                al_extents: 7,
                ..old
            }
        ));
        assert!(options_differ(
            &old,
            &DiskConf {
                disk_flushes: false,
                ..old
            }
        ));
        assert!(options_differ(
            &old,
            &DiskConf {
                disk_barrier: true,
                ..old
            }
        ));
    }

    #[test]
    fn as_it_is_shown() {
        assert_eq!(
            [None, Drain, Flush].map(WriteOrder::letter),
            ['n', 'd', 'f']
        );
        assert_eq!(Flush as u32, 2);
    }
}
