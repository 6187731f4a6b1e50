// SPDX-License-Identifier: GPL-2.0-only

//! Epochs: which writes may be reordered with each other on the peer's disk.
//!
//! The application may submit a write because an earlier one was completed, so writes on both
//! sides of a completion must not be swapped. The primary counts epochs: an epoch is closed by the
//! first completion of one of its writes, by a flush, or by its size. The sender puts a barrier
//! between epochs; the peer confirms a barrier when everything before it is on stable storage.
//!
//! ```text
//!  primary   Tracker  --epoch of each write-->  Wire  --P_BARRIER nr-->  peer  Incoming
//!            Confirmation <---------------------P_BARRIER_ACK nr, size----------'
//! ```

/// The number of an epoch. Only equality has a meaning; it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochNumber(pub u32);

impl EpochNumber {
    fn next(self) -> Self {
        EpochNumber(self.0.wrapping_add(1))
    }
}

/// The primary's open epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracker {
    current: EpochNumber,
    writes: u32,
}

impl Tracker {
    /// The open epoch.
    pub fn current(&self) -> EpochNumber {
        self.current
    }

    /// Puts a replicated write into the open epoch, which is closed behind it when it then has
    /// `max_size` writes. Returns the epoch of the write.
    pub fn admit(&mut self, max_size: u32) -> EpochNumber {
        let epoch = self.current;
        self.writes = self.writes.saturating_add(1);
        if self.writes >= max_size.max(1) {
            self.close();
        }
        epoch
    }

    /// Closes the open epoch unless it is empty. True when the sender has a barrier to send.
    pub fn close(&mut self) -> bool {
        if self.writes == 0 {
            return false;
        }
        self.writes = 0;
        self.current = self.current.next();
        true
    }

    /// A write of `epoch` was completed to the application: what is submitted from now on may
    /// depend on it.
    pub fn completed(&mut self, epoch: EpochNumber) -> bool {
        epoch == self.current && self.close()
    }
}

/// The sender's view: what it has put on the wire since the last barrier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    epoch: EpochNumber,
    writes: u32,
    seen_write: bool,
}

impl Wire {
    /// A new connection: no barrier is owed to this peer.
    pub fn reset(&mut self) {
        *self = Wire::default();
    }

    /// Before a write of `epoch` goes out: the barrier that must precede it.
    pub fn before_write(&mut self, epoch: EpochNumber) -> Option<EpochNumber> {
        let barrier = self.advance(epoch);
        self.epoch = epoch;
        self.seen_write = true;
        self.writes = self.writes.saturating_add(1);
        barrier
    }

    /// Before something else of `epoch` (a read, an out-of-sync mark), or with the tracker's
    /// current epoch when there is nothing to send: the barrier that is owed.
    pub fn advance(&mut self, epoch: EpochNumber) -> Option<EpochNumber> {
        if !self.seen_write || self.epoch == epoch {
            return None;
        }
        let barrier = (self.writes > 0).then_some(self.epoch);
        self.writes = 0;
        self.epoch = epoch;
        barrier
    }

    /// Whether [`Wire::advance`] would give a barrier.
    pub fn owes_barrier(&self, current: EpochNumber) -> bool {
        self.seen_write && self.epoch != current && self.writes > 0
    }
}

/// The peer's side: writes received since the last barrier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming {
    size: u32,
    active: u32,
}

impl Incoming {
    /// A write was received and will be submitted.
    pub fn received(&mut self) {
        self.size = self.size.saturating_add(1);
        self.active = self.active.saturating_add(1);
    }

    /// A write is on the disk (or failed). True when none is active any more.
    pub fn written(&mut self) -> bool {
        self.active = self.active.saturating_sub(1);
        self.active == 0
    }

    /// A received write lost against one of ours and is not written: its sender does not expect it
    /// to be confirmed by the barrier, because it was told so before.
    pub fn dropped(&mut self) {
        self.size = self.size.saturating_sub(1);
        self.active = self.active.saturating_sub(1);
    }

    /// Writes that are not on the disk yet.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// A barrier was received and everything before it is drained and flushed: the number of
    /// writes to confirm. The next epoch begins.
    pub fn confirm(&mut self) -> u32 {
        core::mem::take(&mut self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_closes_only_its_own_epoch() {
        let mut t = Tracker::default();
        let first = t.admit(100);
        assert!(t.completed(first));
        assert!(!t.completed(first), "an old epoch is closed already");
        let second = t.admit(100);
        assert_ne!(first, second);
    }

    #[test]
    fn an_empty_epoch_is_not_closed() {
        let mut t = Tracker::default();
        assert!(!t.close());
        assert_eq!(t.current(), EpochNumber(0));
    }

    #[test]
    fn size_closes_behind_the_write() {
        let mut t = Tracker::default();
        assert_eq!(t.admit(2), t.admit(2));
        assert_eq!(t.admit(2), EpochNumber(1));
    }

    #[test]
    fn barrier_between_epochs_and_on_idle() {
        let mut w = Wire::default();
        assert_eq!(
            w.before_write(EpochNumber(5)),
            None,
            "the first write owes nothing"
        );
        assert_eq!(w.before_write(EpochNumber(5)), None);
        assert!(w.owes_barrier(EpochNumber(6)));
        assert_eq!(w.before_write(EpochNumber(6)), Some(EpochNumber(5)));
        assert_eq!(w.advance(EpochNumber(7)), Some(EpochNumber(6)));
        assert_eq!(
            w.advance(EpochNumber(8)),
            None,
            "no write since the last barrier"
        );
    }

    #[test]
    fn a_dropped_write_is_not_confirmed() {
        let mut i = Incoming::default();
        i.received();
        i.received();
        i.dropped();
        assert_eq!(i.active(), 1);
        assert!(i.written());
        assert_eq!(i.confirm(), 1);
    }

    #[test]
    fn confirmation_counts_the_writes() {
        let mut i = Incoming::default();
        i.received();
        i.received();
        assert!(!i.written());
        assert!(i.written());
        assert_eq!(i.confirm(), 2);
        assert_eq!(i.confirm(), 0);
    }
}
