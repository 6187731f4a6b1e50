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

/// The number of an epoch. They follow each other, and wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochNumber(pub u32);

impl EpochNumber {
    /// Whether this epoch came before `other`: there are never so many at once that it could be mistaken.
    pub fn is_before(self, other: Self) -> bool {
        (1..=u32::MAX / 2).contains(&other.0.wrapping_sub(self.0))
    }

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

    /// A write of `epoch` goes out; the barrier that is owed before it went out already.
    pub(crate) fn write(&mut self, epoch: EpochNumber) {
        self.epoch = epoch;
        self.seen_write = true;
        self.writes = self.writes.saturating_add(1);
    }

    /// Before anything of `epoch` (a write, a read, an out-of-sync mark), or with the tracker's
    /// current epoch when there is nothing to send: the barrier that is owed. No write of an
    /// earlier epoch may come after it, so this is for [`Log::next_to_send`] alone.
    ///
    /// [`Log::next_to_send`]: crate::request::Log::next_to_send
    pub(crate) fn advance(&mut self, epoch: EpochNumber) -> Option<EpochNumber> {
        if !self.seen_write || self.epoch == epoch {
            return None;
        }
        let barrier = (self.writes > 0).then_some(self.epoch);
        self.writes = 0;
        self.epoch = epoch;
        barrier
    }

    /// Whether [`Wire::advance`] would give a barrier.
    pub(crate) fn owes_barrier(&self, current: EpochNumber) -> bool {
        self.seen_write && self.epoch != current && self.writes > 0
    }
}

/// How many closed epochs can wait for their writes at once.
pub const WAITING_EPOCHS: usize = 16;

/// An epoch that was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket(u32);

/// Writes of one epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    /// The number that the peer gave it, once its barrier is here.
    barrier: u32,
    size: u32,
    active: u32,
}

/// As many closed epochs wait as can ([`WAITING_EPOCHS`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyEpochs;

/// The peer's side: the epochs that it sent and that are not confirmed. Who waits for all writes before it closes an
/// epoch (`write_order`) never has a second one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming {
    open: Received,
    ticket: u32,
    /// Closed ones, oldest first.
    waiting: [Received; WAITING_EPOCHS],
    closed: usize,
}

impl Incoming {
    /// A write was received and will be submitted. It belongs to this epoch.
    pub fn received(&mut self) -> Ticket {
        self.open.size = self.open.size.saturating_add(1);
        self.open.active = self.open.active.saturating_add(1);
        Ticket(self.ticket)
    }

    /// The epoch that the next write belongs to.
    pub fn open(&self) -> Ticket {
        Ticket(self.ticket)
    }

    fn epoch(&mut self, ticket: Ticket) -> Option<&mut Received> {
        let age = self.ticket.wrapping_sub(ticket.0) as usize;
        match age {
            0 => Some(&mut self.open),
            _ => self.waiting.get_mut(self.closed.checked_sub(age)?),
        }
    }

    /// A write is on the disk (or failed).
    pub fn written(&mut self, ticket: Ticket) {
        if let Some(epoch) = self.epoch(ticket) {
            epoch.active = epoch.active.saturating_sub(1);
        }
    }

    /// A received write lost against one of ours and is not written: its sender does not expect it
    /// to be confirmed by the barrier, because it was told so before.
    pub fn dropped(&mut self, ticket: Ticket) {
        if let Some(epoch) = self.epoch(ticket) {
            epoch.size = epoch.size.saturating_sub(1);
            epoch.active = epoch.active.saturating_sub(1);
        }
    }

    /// Writes that are not on the disk yet.
    pub fn active(&self) -> u32 {
        let closed = self.waiting.iter().take(self.closed);
        closed.fold(self.open.active, |sum, epoch| {
            sum.saturating_add(epoch.active)
        })
    }

    /// Epochs with the open one.
    pub fn epochs(&self) -> u32 {
        u32::try_from(self.closed).map_or(1, |closed| closed.saturating_add(1))
    }

    /// The barrier behind the open epoch was received; the next epoch begins. An epoch without writes needs no answer.
    ///
    /// # Errors
    ///
    /// There is no room for one more epoch: close it when no write is active.
    pub fn close(&mut self, barrier: u32) -> Result<(), TooManyEpochs> {
        if self.open.size == 0 {
            return Ok(());
        }
        let place = self.waiting.get_mut(self.closed).ok_or(TooManyEpochs)?;
        *place = Received {
            barrier,
            ..core::mem::take(&mut self.open)
        };
        self.closed = self.closed.saturating_add(1);
        self.ticket = self.ticket.wrapping_add(1);
        Ok(())
    }

    /// The next barrier to confirm, and its number of writes. In order, because the peer expects that.
    pub fn confirm(&mut self) -> Option<(u32, u32)> {
        let oldest = *self.waiting.first().filter(|_| self.closed > 0)?;
        if oldest.active > 0 {
            return None;
        }
        self.waiting.rotate_left(1);
        self.closed = self.closed.saturating_sub(1);
        Some((oldest.barrier, oldest.size))
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
    fn epochs_follow_each_other_around_the_end_of_the_numbers() {
        let (last, first) = (EpochNumber(u32::MAX), EpochNumber(0));
        assert!(last.is_before(first) && !first.is_before(last) && !first.is_before(first));
        assert_eq!(last.next(), first);
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
        let mut write = |epoch| {
            let barrier = w.advance(EpochNumber(epoch));
            w.write(EpochNumber(epoch));
            barrier
        };
        assert_eq!(write(5), None, "the first write owes nothing");
        assert_eq!(write(5), None);
        assert_eq!(write(6), Some(EpochNumber(5)));
        assert!(w.owes_barrier(EpochNumber(7)) && !w.owes_barrier(EpochNumber(6)));
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
        let (first, second) = (i.received(), i.received());
        i.dropped(first);
        assert_eq!(i.active(), 1);
        i.written(second);
        i.close(7).unwrap();
        assert_eq!(i.confirm(), Some((7, 1)));
    }

    #[test]
    fn confirmation_counts_the_writes() {
        let mut i = Incoming::default();
        let tickets = [i.received(), i.received()];
        i.close(7).unwrap();
        for ticket in tickets {
            assert_eq!(i.confirm(), None, "a write of it is not on the disk yet");
            i.written(ticket);
        }
        assert_eq!(i.confirm(), Some((7, 2)));
        assert_eq!(i.confirm(), None);
        i.close(8).unwrap();
        assert_eq!(
            i.confirm(),
            None,
            "nobody waits for an epoch without writes"
        );
    }

    #[test]
    fn epochs_are_confirmed_in_order() {
        let mut i = Incoming::default();
        let first = i.received();
        i.close(1).unwrap();
        let second = i.received();
        i.close(2).unwrap();
        let third = i.received();
        assert_eq!((i.epochs(), i.active()), (3, 3));
        i.written(third);
        i.written(second);
        assert_eq!(i.confirm(), None);
        i.written(first);
        assert_eq!(i.confirm(), Some((1, 1)));
        assert_eq!(i.confirm(), Some((2, 1)));
        assert_eq!(i.confirm(), None, "the third has no barrier yet");
        i.close(3).unwrap();
        assert_eq!((i.confirm(), i.epochs()), (Some((3, 1)), 1));
    }

    #[test]
    fn there_is_room_for_so_many_epochs() {
        let mut i = Incoming::default();
        let mut tickets = Vec::new();
        for barrier in 0..WAITING_EPOCHS as u32 {
            tickets.push(i.received());
            i.close(barrier).unwrap();
        }
        let last = i.received();
        assert_eq!(i.close(99), Err(TooManyEpochs));
        i.written(last);
        for ticket in tickets {
            i.written(ticket);
        }
        assert_eq!(i.active(), 0);
        assert_eq!(i.confirm(), Some((0, 1)));
        assert!(i.close(99).is_ok());
        let left: Vec<_> = core::iter::from_fn(|| i.confirm()).collect();
        assert_eq!((left.len(), left.last()), (WAITING_EPOCHS, Some(&(99, 1))));
    }
}
