// SPDX-License-Identifier: GPL-2.0-only

//! What a ring of transactions says after a crash: `apply-al`.
//!
//! The newest transactions tell all slots: each repeats a part of them (context) and changes some (updates). Of two that
//! tell the same slot the newer one is right. At most one block is expected to be torn: the one that was being written
//! when the power failed, and nothing had been submitted yet that depends on it.

use core::ops::DerefMut;

use super::log::{Transaction, FREE};
use super::Cleanness;

/// What is known of a slot: its extent, and which transaction says so.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    extent: u32,
    age: i32,
}

impl Told {
    /// Nothing.
    pub const NOTHING: Told = Told {
        extent: FREE,
        age: i32::MIN,
    };
}

/// What a ring says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is hot.
    Nothing,
    /// The extents of [`Replay::hot`] were, if any.
    Hot,
    /// No block of the ring is a transaction.
    Unusable,
    /// Some blocks are, but no update among them, and more than the first is damaged.
    Damaged,
}

/// What is to be done about it. Then the ring is initialised, and the superblock says that it is clean: in this order, so
/// that an interruption is repaired by doing all again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Nothing at all: the superblock is clean.
    Nothing,
    /// No bit is set: a node that was no Primary had nothing in flight that its peer would not know of.
    Forget,
    /// The bits of [`Replay::hot`] are set.
    Mark,
    /// Which blocks differ is not known, and this node was Primary.
    Refuse,
}

/// Gathers what the blocks say. The memory is the caller's: a [`Told::NOTHING`] for each slot that a log can have.
pub struct Replay<S> {
    slots: S,
    base: Option<u32>,
    blocks: u32,
    bad: u32,
    first_is_bad: bool,
}

impl<S: DerefMut<Target = [Told]>> Replay<S> {
    /// Nothing was read.
    pub fn new(slots: S) -> Self {
        Replay {
            slots,
            base: None,
            blocks: 0,
            bad: 0,
            first_is_bad: false,
        }
    }

    /// The next block, in the order in which they are written ([`super::log::block_of`] the numbers from 0).
    pub fn read(&mut self, block: &[u8]) {
        self.blocks = self.blocks.saturating_add(1);
        match Transaction::parse(block) {
            Err(_) => {
                self.first_is_bad |= self.blocks == 1;
                self.bad = self.bad.saturating_add(1);
            }
            Ok(transaction) if !transaction.is_initial() => self.take(&transaction),
            Ok(_) => {}
        }
    }

    fn take(&mut self, transaction: &Transaction<'_>) {
        let number = transaction.number();
        let base = *self.base.get_or_insert(number);
        // Numbers wrap: they are ordered by their distance from any one of them.
        let age = i32::from_ne_bytes(number.wrapping_sub(base).to_ne_bytes());
        for (slot, extent) in transaction.context().chain(transaction.updates()) {
            let told = self.slots.get_mut(usize::from(slot));
            if let Some(told) = told.filter(|told| told.age <= age) {
                *told = Told { extent, age };
            }
        }
    }

    /// Blocks that were no valid transaction.
    pub fn bad(&self) -> u32 {
        self.bad
    }

    /// What all of them say.
    pub fn verdict(&self) -> Verdict {
        let harmless = self.bad == 0 || (self.bad == 1 && self.first_is_bad);
        if self.bad == self.blocks {
            Verdict::Unusable
        } else if self.base.is_some() {
            Verdict::Hot
        } else if harmless {
            Verdict::Nothing
        } else {
            Verdict::Damaged
        }
    }

    /// The extents that were hot; one may come twice.
    pub fn hot(&self) -> impl Iterator<Item = u32> + '_ {
        let extents = self.slots.iter().map(|told| told.extent);
        extents.filter(|extent| *extent != FREE)
    }

    /// What is to be done, if the superblock says that the node was Primary, or not.
    pub fn apply(&self, was_primary: bool, cleanness: Cleanness) -> Apply {
        match self.verdict() {
            Verdict::Nothing if cleanness == Cleanness::Clean => Apply::Nothing,
            Verdict::Nothing => Apply::Forget,
            _ if !was_primary => Apply::Forget,
            Verdict::Hot => Apply::Mark,
            Verdict::Unusable | Verdict::Damaged => Apply::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::log::{emit, emit_initial, CONTEXT, TRANSACTION_BYTES};
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const BLOCKS: usize = 8;

    /// Number, updates, first slot of the context, context.
    type Written<'a> = (u32, &'a [(u16, u32)], u16, &'a [u32]);

    fn ring(transactions: &[Written<'_>]) -> Vec<Vec<u8>> {
        let mut ring = std::vec![std::vec![0; TRANSACTION_BYTES]; BLOCKS];
        ring.iter_mut().for_each(|block| emit_initial(block));
        for (number, updates, first, context) in transactions {
            emit(
                &mut ring[*number as usize % BLOCKS],
                *number,
                updates.iter().copied(),
                7,
                *first,
                context.iter().copied(),
            );
        }
        ring
    }

    fn replay(ring: &[Vec<u8>]) -> Replay<Vec<Told>> {
        let mut replay = Replay::new(std::vec![Told::NOTHING; 2 * CONTEXT]);
        ring.iter().for_each(|block| replay.read(block));
        replay
    }

    fn hot(ring: &[Vec<u8>]) -> Vec<u32> {
        let hot: BTreeSet<u32> = replay(ring).hot().collect();
        hot.into_iter().collect()
    }

    #[test]
    fn later_transactions_win_also_across_the_wrap_of_numbers() {
        let first = u32::MAX - 1;
        let all = ring(&[
            (first, &[(0, 10), (1, 11)], 0, &[FREE; 7]),
            (first.wrapping_add(1), &[(2, 12)], 0, &[10, 11]),
            (first.wrapping_add(2), &[(0, 20)], 3, &[FREE; 4]),
        ]);
        assert_eq!(hot(&all), [11, 12, 20]);
        assert_eq!(replay(&all).verdict(), Verdict::Hot);
    }

    #[test]
    fn the_context_alone_tells_slots_whose_update_is_overwritten() {
        let all = ring(&[(9, &[(5, 50)], 0, &[1, 2, 3, 4, FREE])]);
        assert_eq!(hot(&all), [1, 2, 3, 4, 50]);
    }

    #[test]
    fn a_torn_block_is_left_out() {
        let mut all = ring(&[(3, &[(0, 1)], 0, &[]), (4, &[(1, 2)], 0, &[])]);
        all[4][2000] ^= 0xff;
        assert_eq!((hot(&all), replay(&all).bad()), (std::vec![1], 1));
    }

    #[test]
    fn rings_without_updates() {
        let verdict = |ring: &[Vec<u8>]| (replay(ring).verdict(), replay(ring).bad());
        let mut all = ring(&[]);
        assert_eq!(verdict(&all), (Verdict::Nothing, 0));
        all[0][5] = 1;
        assert_eq!(verdict(&all), (Verdict::Nothing, 1));
        all[1][5] = 1;
        assert_eq!(verdict(&all), (Verdict::Damaged, 2));
        let zero = std::vec![std::vec![0; TRANSACTION_BYTES]; BLOCKS];
        assert_eq!(verdict(&zero), (Verdict::Unusable, 8));
        assert_eq!(verdict(&[]), (Verdict::Unusable, 0));
        let mut second = ring(&[]);
        second[1][5] = 1;
        assert_eq!(verdict(&second), (Verdict::Damaged, 1));
    }

    #[test]
    fn only_a_primary_marks_and_only_a_primary_must_know() {
        let used = ring(&[(0, &[(0, 1)], 0, &[])]);
        let (unclean, clean) = (Cleanness::Unclean, Cleanness::Clean);
        assert_eq!(replay(&used).apply(true, unclean), Apply::Mark);
        assert_eq!(replay(&used).apply(false, unclean), Apply::Forget);
        assert_eq!(replay(&used).apply(true, clean), Apply::Mark);
        let empty = ring(&[]);
        assert_eq!(replay(&empty).apply(true, unclean), Apply::Forget);
        assert_eq!(replay(&empty).apply(true, clean), Apply::Nothing);
        assert_eq!(replay(&[]).apply(true, unclean), Apply::Refuse);
        assert_eq!(replay(&[]).apply(false, unclean), Apply::Forget);
    }
}
