// SPDX-License-Identifier: GPL-2.0-only

//! A transaction of the activity log on its way to the disk: what is written, in which order, and what becomes of the
//! log when that fails.
//!
//! ```text
//!  bitmap pages of the extents that leave --> the block of the ring --> committed: the writes that wait may start
//! ```
//! The bitmap comes first: what an extent that leaves had in flight is marked in it, and from the transaction on nothing
//! else tells.

use core::ops::DerefMut;

use crate::activity_log::{ActivityLog, Slot};
use crate::meta::log;

/// Extents of 4 MiB whose bits are in one page of the bitmap.
pub const EXTENTS_PER_PAGE: u32 = 32;

/// Why a transaction is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Writes may wait for it.
    Pending,
    /// The ring is written anew.
    Anew,
    /// The ring is written to another place. The bitmap on disk is neither believed nor written meanwhile.
    Moved,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Transaction::pages`] go to the disk, as far as they changed.
    Bitmap,
    /// What [`begin`] wrote goes to the ring.
    Block,
    /// [`Transaction::end`]; nothing is written any more.
    End,
}

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    number: u32,
    pages: [u32; log::UPDATES],
    count: usize,
    step: Step,
    updates: bool,
    /// The block is in the ring.
    pub written: bool,
}

/// Begins a transaction, and writes it into `bytes` (a page); none if nothing is pending and it is not needed otherwise.
/// `updates`: the log on disk is kept (`al-updates`). Nobody may begin another one before [`Transaction::end`].
pub fn begin<S, H>(
    activity: &mut ActivityLog<S, H>,
    bytes: &mut [u8],
    reason: Reason,
    updates: bool,
    extents_per_page: u32,
) -> Option<Transaction>
where
    S: DerefMut<Target = [Slot]>,
    H: DerefMut<Target = [u32]>,
{
    let anyway = reason != Reason::Pending;
    if !anyway && !activity.has_pending() {
        return None;
    }
    let (mut pages, mut count) = ([0; log::UPDATES], 0usize);
    let number = activity.emit(bytes, |extent| {
        let page = extent.checked_div(extents_per_page).unwrap_or(0);
        if let Some(free) = pages.get_mut(count) {
            *free = page;
            count = count.saturating_add(1);
        }
    });
    let updates = updates || anyway;
    Some(Transaction {
        number,
        pages,
        count,
        step: if reason != Reason::Moved {
            Step::Bitmap
        } else {
            Step::Block
        },
        updates,
        written: false,
    })
}

impl Transaction {
    /// What is to be done now.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The pages of the bitmap that must be on disk before the block of the ring is.
    pub fn pages(&self) -> &[u32] {
        self.pages.get(..self.count).unwrap_or_default()
    }

    /// The block of the ring, in 4 KiB from its start.
    pub fn block(&self, stripes: u32, stripe_size_4k: u32) -> u32 {
        log::block_of(self.number, stripes, stripe_size_4k)
    }

    /// The step has been made, or failed: then nothing else is written, and the disk must not be used any more.
    pub fn done(&mut self, ok: bool) {
        self.written |= ok && self.step == Step::Block;
        self.step = match self.step {
            Step::Bitmap if ok && self.updates => Step::Block,
            _ => Step::End,
        };
    }

    /// Who waits may go on.
    pub fn end<S, H>(self, activity: &mut ActivityLog<S, H>)
    where
        S: DerefMut<Target = [Slot]>,
        H: DerefMut<Target = [u32]>,
    {
        activity.committed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity_log::{heads_for, Begun, Extents};
    use std::vec::Vec;

    fn log() -> ActivityLog<Vec<Slot>, Vec<u32>> {
        ActivityLog::new(std::vec![Slot::default(); 2], std::vec![0; heads_for(2)])
    }

    /// Brings some extents in, and makes all the steps, of which number `fails` fails.
    fn write(
        log: &mut ActivityLog<Vec<Slot>, Vec<u32>>,
        reason: Reason,
        updates: bool,
        fails: usize,
    ) -> (Vec<Step>, Vec<u32>, bool) {
        let mut page = std::vec![0; log::TRANSACTION_BYTES];
        let mut new = begin(log, &mut page, reason, updates, 4).unwrap();
        let mut steps = Vec::new();
        while new.step() != Step::End {
            steps.push(new.step());
            new.done(steps.len() != fails);
        }
        let (pages, written) = (new.pages().to_vec(), new.written);
        new.end(log);
        (steps, pages, written)
    }

    #[test]
    fn the_bitmap_is_written_before_the_block() {
        let mut log = log();
        assert!(begin(&mut log, &mut [0; 4096], Reason::Pending, true, 4).is_none());
        for (extents, pages) in [((8, 9), std::vec![]), ((1, 2), std::vec![2, 2])] {
            let extents = Extents::new(extents.0, extents.1);
            assert_eq!(log.begin(extents), Begun::Pending);
            let all = std::vec![Step::Bitmap, Step::Block];
            assert_eq!(
                write(&mut log, Reason::Pending, true, 0),
                (all, pages, true)
            );
            assert!(log.begin_hot(extents));
            (0..2).for_each(|_| log.end(extents));
        }
    }

    #[test]
    fn a_ring_that_moves_leaves_the_bitmap_alone() {
        let mut log = log();
        let (steps, ..) = write(&mut log, Reason::Moved, false, 0);
        assert_eq!(steps, [Step::Block]);
        let (steps, ..) = write(&mut log, Reason::Anew, false, 0);
        assert_eq!(steps, [Step::Bitmap, Step::Block]);
    }

    #[test]
    fn without_updates_only_the_bitmap_is_written() {
        let mut log = log();
        log.begin(Extents::new(0, 0));
        let result = write(&mut log, Reason::Pending, false, 0);
        assert_eq!(result, (std::vec![Step::Bitmap], Vec::new(), false));
        assert!(log.begin_hot(Extents::new(0, 0)));
    }

    #[test]
    fn after_a_failure_nothing_is_written_and_nobody_waits() {
        for (fails, made) in [(1, 1), (2, 2)] {
            let mut log = log();
            log.begin(Extents::new(0, 0));
            let (steps, _, written) = write(&mut log, Reason::Pending, true, fails);
            assert_eq!((steps.len(), written), (made, false));
            assert!(log.begin_hot(Extents::new(0, 0)));
        }
    }
}
