// SPDX-License-Identifier: GPL-2.0-only

//! The activity log in memory: which extents of 4 MiB may have writes in flight.
//!
//! A write may go to our disk only while its extents are in the log *on disk*, so that after a crash exactly the
//! logged extents have to be resynced. An extent stays in its slot until the slot is needed for another one, so
//! that writes to the same places cost nothing. What changes the log on disk is a transaction:
//!
//! ```text
//!           begin                  emit              committed            end, end, ...
//!  (cold) ---------> pending ---------------> locked -----------> hot --------------> hot, unused
//!    ^                  | up to 64 slots                                                   |
//!    '------------------+---------------- the slot is given to another extent -------------'
//! ```
//! Nobody may take a slot while a transaction is on its way to the disk. Several writes share one transaction.
//! The memory is the caller's: slots and hash heads.

use core::ops::DerefMut;

use crate::meta::log;

/// Sectors of an extent.
pub const EXTENT_SECTORS: u64 = 8192;

/// Most slots of a log: a transaction counts them in 16 bits.
pub const MOST_SLOTS: u32 = 65_534;

const NIL: u32 = u32::MAX;

/// Neighbouring extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    first: u32,
    count: u32,
}

impl Extents {
    /// `first..=last`.
    pub fn new(first: u32, last: u32) -> Self {
        let count = last.saturating_sub(first).saturating_add(1);
        Extents { first, count }
    }
}

impl Iterator for Extents {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.count = self.count.checked_sub(1)?;
        let next = self.first;
        self.first = next.wrapping_add(1);
        Some(next)
    }
}

/// The extents of so many sectors; an empty range touches the one where it is.
pub fn extents(sector: u64, sectors: u64) -> Extents {
    extents_of(sector, sectors, EXTENT_SECTORS)
}

/// As [`extents`], with extents of another size: a simulated disk is smaller than one of DRBD's.
pub fn extents_of(sector: u64, sectors: u64, extent_sectors: u64) -> Extents {
    let last = sector.saturating_add(sectors.saturating_sub(u64::from(sectors > 0)));
    let extent = |sector: u64| {
        let extent = sector.checked_div(extent_sectors).unwrap_or(0);
        u32::try_from(extent).unwrap_or(log::FREE.wrapping_sub(1))
    };
    Extents::new(extent(sector), extent(last))
}

/// Hash heads for so many slots.
pub fn heads_for(slots: usize) -> usize {
    slots.max(1).checked_next_power_of_two().unwrap_or(1)
}

/// Most slots of a log whose ring on disk has so many blocks. Each transaction repeats [`log::CONTEXT`] slots in turn, and
/// the newest one may be torn: the others have to tell all slots.
pub fn slots_for(blocks: u32) -> u32 {
    const CONTEXT: u32 = log::CONTEXT as u32;
    blocks
        .saturating_sub(1)
        .saturating_mul(CONTEXT)
        .clamp(log::UPDATES as u32, MOST_SLOTS)
}

/// A slot of the log.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// What the log on disk says.
    logged: u32,
    /// What it will say; the key of the hash.
    wanted: u32,
    /// Writes that use it.
    users: u32,
    /// The next one of the same hash.
    chain: u32,
    /// Neighbours among the unused: the least recently used is first.
    older: u32,
    newer: u32,
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            logged: log::FREE,
            wanted: log::FREE,
            users: 0,
            chain: NIL,
            older: NIL,
            newer: NIL,
        }
    }
}

/// What comes of the wish to use some extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// They are in the log: the write may start. They are used until [`ActivityLog::end`].
    Hot,
    /// They will be in the log after the next transaction, and are used until [`ActivityLog::end`].
    Pending,
    /// Not now, and nothing changed: the next transaction is full or under way, or all slots are in use.
    Wait,
}

/// See the module's description.
pub struct ActivityLog<S, H> {
    slots: S,
    heads: H,
    oldest: u32,
    newest: u32,
    unused: u32,
    pending: [u32; log::UPDATES],
    pendings: usize,
    locked: bool,
    number: u32,
    cycle: u16,
}

impl<S, H> ActivityLog<S, H>
where
    S: DerefMut<Target = [Slot]>,
    H: DerefMut<Target = [u32]>,
{
    /// An empty log. There are as many slots as `slots` is long ([`MOST_SLOTS`] at most), and [`heads_for`] heads.
    pub fn new(mut slots: S, mut heads: H) -> Self {
        slots.fill(Slot::default());
        heads.fill(NIL);
        let mut new = ActivityLog {
            slots,
            heads,
            oldest: NIL,
            newest: NIL,
            unused: 0,
            pending: [NIL; log::UPDATES],
            pendings: 0,
            locked: false,
            number: 0,
            cycle: 0,
        };
        for slot in 0..new.len() {
            new.link(u32::from(slot));
        }
        new
    }

    /// Slots.
    pub fn len(&self) -> u16 {
        u16::try_from(self.slots.len()).unwrap_or(u16::MAX)
    }

    /// Whether there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Slots that some write uses, or that wait for their transaction.
    pub fn in_use(&self) -> u32 {
        u32::from(self.len()).saturating_sub(self.unused)
    }

    /// The extents that the log on disk names, as far as the transactions have been written.
    pub fn logged(&self) -> impl Iterator<Item = u32> + '_ {
        let extents = self.slots.iter().map(|slot| slot.logged);
        extents.filter(|extent| *extent != log::FREE)
    }

    /// Whether a transaction must be written before pending writes may start.
    pub fn has_pending(&self) -> bool {
        self.pendings > 0
    }

    /// Uses the extents if all of them are hot. Otherwise nothing changes, and the answer is no.
    pub fn begin_hot(&mut self, extents: Extents) -> bool {
        if extents.into_iter().any(|extent| !self.is_hot(extent)) {
            return false;
        }
        extents.for_each(|extent| self.use_known(extent));
        true
    }

    /// Uses the extents; the cold ones take the place of the least recently used.
    pub fn begin(&mut self, extents: Extents) -> Begun {
        if self.would_wait(extents) {
            return Begun::Wait;
        }
        // Those that are there first: they must not be the ones that make room.
        for extent in extents {
            self.use_known(extent);
        }
        let mut hot = true;
        for extent in extents {
            match self.find(extent) {
                None => {
                    self.take_slot(extent);
                    hot = false;
                }
                Some(_) => hot &= self.is_hot(extent),
            }
        }
        if hot {
            Begun::Hot
        } else {
            Begun::Pending
        }
    }

    /// Whether [`ActivityLog::begin`] would say `Wait`.
    pub fn would_wait(&self, extents: Extents) -> bool {
        let (mut cold, mut idle) = (0usize, 0usize);
        for extent in extents {
            cold = cold.saturating_add(usize::from(self.find(extent).is_none()));
            idle = idle.saturating_add(usize::from(self.is_idle(extent)));
        }
        let room = log::UPDATES.saturating_sub(self.pendings);
        let free = (self.unused as usize).saturating_sub(idle);
        cold > 0 && (self.locked || cold > room || cold > free)
    }

    /// A write that used the extents is over: its blocks are equal on both nodes, or marked in the bitmap.
    pub fn end(&mut self, extents: Extents) {
        for extent in extents {
            let Some(at) = self.find(extent) else {
                continue;
            };
            let Some(slot) = self.slots.get_mut(at as usize) else {
                continue;
            };
            if slot.users == 0 {
                continue;
            }
            slot.users = slot.users.saturating_sub(1);
            // A pending one gets back in line when its transaction is written.
            if slot.users == 0 && slot.logged == slot.wanted {
                self.link(at);
            }
        }
    }

    /// Writes the next transaction into `bytes` (a page), and tells which extents leave the log: their part of the
    /// bitmap must be on disk before. Returns the block of the ring that it belongs to, as a number for
    /// [`log::block_of`]. [`ActivityLog::committed`] must follow.
    pub fn emit(&mut self, bytes: &mut [u8], mut leaves: impl FnMut(u32)) -> u32 {
        self.locked = true;
        let (slots, pending) = (&self.slots, self.pending.get(..self.pendings));
        let pending = pending.unwrap_or_default();
        let slot = |at: &u32| slots.get(*at as usize).map(|slot| (*at as u16, slot));
        for (_, slot) in pending.iter().filter_map(slot) {
            if slot.logged != log::FREE {
                leaves(slot.logged);
            }
        }
        let updates = pending.iter().filter_map(slot);
        let first = usize::from(self.cycle);
        log::emit(
            bytes,
            self.number,
            updates.map(|(at, slot)| (at, slot.wanted)),
            self.len(),
            self.cycle,
            self.slots.iter().skip(first).map(|slot| slot.logged),
        );
        let next = first.saturating_add(log::CONTEXT);
        self.cycle = u16::try_from(next)
            .ok()
            .filter(|next| *next < self.len())
            .unwrap_or(0);
        self.number
    }

    /// The transaction of [`ActivityLog::emit`] is on disk. If it could not be written, the disk must not be used
    /// any more, but whoever waits may go on.
    pub fn committed(&mut self) {
        self.number = self.number.wrapping_add(1);
        for at in 0..core::mem::take(&mut self.pendings) {
            let index = self.pending.get(at).copied().unwrap_or(NIL);
            let Some(slot) = self.slots.get_mut(index as usize) else {
                continue;
            };
            slot.logged = slot.wanted;
            if slot.users == 0 {
                self.link(index);
            }
        }
        self.locked = false;
    }

    fn head_of(&self, extent: u32) -> usize {
        // The number of heads is a power of two.
        extent as usize & self.heads.len().saturating_sub(1)
    }

    fn find(&self, extent: u32) -> Option<u32> {
        let mut at = self.heads.get(self.head_of(extent)).copied()?;
        loop {
            let slot = self.slots.get(at as usize)?;
            if slot.wanted == extent {
                return Some(at);
            }
            at = slot.chain;
        }
    }

    fn slot_of(&self, extent: u32) -> Option<&Slot> {
        self.slots.get(self.find(extent)? as usize)
    }

    fn is_hot(&self, extent: u32) -> bool {
        self.slot_of(extent)
            .is_some_and(|slot| slot.logged == slot.wanted)
    }

    fn is_idle(&self, extent: u32) -> bool {
        self.slot_of(extent)
            .is_some_and(|slot| slot.users == 0 && slot.logged == slot.wanted)
    }

    /// One more user of an extent that has a slot.
    fn use_known(&mut self, extent: u32) {
        let Some(at) = self.find(extent) else {
            return;
        };
        if self.is_idle(extent) {
            self.unlink(at);
        }
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.users = slot.users.saturating_add(1);
        }
    }

    /// Gives the least recently used slot to an extent that has none. There is one, and room in the transaction.
    fn take_slot(&mut self, extent: u32) {
        let at = self.oldest;
        self.unlink(at);
        self.unhash(at);
        let head = self.head_of(extent);
        let (Some(slot), Some(head)) = (self.slots.get_mut(at as usize), self.heads.get_mut(head))
        else {
            return;
        };
        slot.wanted = extent;
        slot.users = 1;
        slot.chain = core::mem::replace(head, at);
        if let Some(room) = self.pending.get_mut(self.pendings) {
            *room = at;
            self.pendings = self.pendings.saturating_add(1);
        }
    }

    fn unhash(&mut self, at: u32) {
        let Some(gone) = self.slots.get(at as usize).copied() else {
            return;
        };
        if gone.wanted == log::FREE {
            return;
        }
        let head = self.head_of(gone.wanted);
        let Some(mut before) = self.heads.get(head).copied() else {
            return;
        };
        if before == at {
            if let Some(head) = self.heads.get_mut(head) {
                *head = gone.chain;
            }
            return;
        }
        while let Some(slot) = self.slots.get_mut(before as usize) {
            if slot.chain == at {
                slot.chain = gone.chain;
                return;
            }
            before = slot.chain;
        }
    }

    /// Puts a slot behind the other unused ones.
    fn link(&mut self, at: u32) {
        let newest = core::mem::replace(&mut self.newest, at);
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.older = newest;
            slot.newer = NIL;
        }
        match self.slots.get_mut(newest as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        self.unused = self.unused.saturating_add(1);
    }

    /// Takes a slot from among the unused.
    fn unlink(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return;
        };
        let older = core::mem::replace(&mut slot.older, NIL);
        let newer = core::mem::replace(&mut slot.newer, NIL);
        match self.slots.get_mut(older as usize) {
            Some(before) => before.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(after) => after.older = older,
            None => self.newest = older,
        }
        self.unused = self.unused.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::log::{Transaction, FREE, TRANSACTION_BYTES, UPDATES};
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    type Log = ActivityLog<Vec<Slot>, Vec<u32>>;

    fn new(slots: usize) -> Log {
        ActivityLog::new(
            std::vec![Slot::default(); slots],
            std::vec![0; heads_for(slots)],
        )
    }

    fn commit(log: &mut Log, ring: &mut Vec<Vec<u8>>) -> BTreeSet<u32> {
        let mut page = std::vec![0; TRANSACTION_BYTES];
        let mut left = BTreeSet::new();
        let number = log.emit(&mut page, |extent| {
            left.insert(extent);
        });
        assert_eq!(Transaction::parse(&page).unwrap().number(), number);
        let at = number as usize % 8;
        ring.resize(8, Vec::new());
        ring[at] = page;
        log.committed();
        left
    }

    /// What a ring of transactions says: the replay of `apply-al`, in short.
    fn replay(ring: &[Vec<u8>]) -> BTreeSet<u32> {
        let mut found: Vec<_> = ring
            .iter()
            .filter_map(|b| Transaction::parse(b).ok())
            .collect();
        found.sort_by_key(Transaction::number);
        let mut slots = BTreeMap::new();
        for transaction in found {
            slots.extend(transaction.context().chain(transaction.updates()));
        }
        slots.into_values().filter(|e| *e != FREE).collect()
    }

    #[test]
    fn the_extents_of_a_range() {
        assert_eq!(extents(0, 8), Extents::new(0, 0));
        assert_eq!(extents(8191, 1), Extents::new(0, 0));
        assert_eq!(extents(8191, 2), Extents::new(0, 1));
        assert_eq!(extents(8192, 0), Extents::new(1, 1));
    }

    #[test]
    fn a_cold_extent_waits_for_its_transaction_and_stays_hot() {
        let (mut log, mut ring) = (new(3), Vec::new());
        assert!(!log.begin_hot(Extents::new(5, 5)));
        assert_eq!(log.begin(Extents::new(5, 5)), Begun::Pending);
        // Another write to it does not start before the transaction either.
        assert!(!log.begin_hot(Extents::new(5, 5)));
        assert_eq!(log.begin(Extents::new(5, 5)), Begun::Pending);
        assert!(commit(&mut log, &mut ring).is_empty());
        assert!(log.begin_hot(Extents::new(5, 5)));
        (0..3).for_each(|_| log.end(Extents::new(5, 5)));
        assert_eq!(log.in_use(), 0);
        assert!(log.begin_hot(Extents::new(5, 5)));
    }

    #[test]
    fn the_least_recently_used_one_makes_room() {
        let (mut log, mut ring) = (new(2), Vec::new());
        assert_eq!(log.begin(Extents::new(1, 2)), Begun::Pending);
        commit(&mut log, &mut ring);
        log.end(Extents::new(2, 2));
        log.end(Extents::new(1, 1));
        assert_eq!(log.begin(Extents::new(3, 3)), Begun::Pending);
        assert_eq!(commit(&mut log, &mut ring), BTreeSet::from([2]));
        // 1 is unused, and must not make room for 4 in a write that uses both.
        assert_eq!(log.begin(Extents::new(1, 1)), Begun::Hot);
        assert_eq!(log.begin(Extents::new(4, 4)), Begun::Wait);
        log.end(Extents::new(1, 1));
        log.end(Extents::new(3, 3));
        assert!(!log.would_wait(Extents::new(4, 4)));
        assert_eq!(replay(&ring), BTreeSet::from([1, 3]));
    }

    #[test]
    fn a_range_that_needs_what_is_idle_does_not_evict_it() {
        let (mut log, mut ring) = (new(2), Vec::new());
        assert_eq!(log.begin(Extents::new(1, 1)), Begun::Pending);
        commit(&mut log, &mut ring);
        log.end(Extents::new(1, 1));
        assert_eq!(log.begin(Extents::new(7, 7)), Begun::Pending);
        commit(&mut log, &mut ring);
        // Slots: 1 idle, 7 in use. 1 and 2 together need two slots.
        assert!(log.would_wait(Extents::new(1, 2)));
        assert_eq!(log.begin(Extents::new(1, 2)), Begun::Wait);
        log.end(Extents::new(7, 7));
        assert_eq!(log.begin(Extents::new(1, 2)), Begun::Pending);
        assert_eq!(commit(&mut log, &mut ring), BTreeSet::from([7]));
        assert_eq!(replay(&ring), BTreeSet::from([1, 2]));
    }

    #[test]
    fn nobody_joins_a_transaction_that_is_on_its_way_and_a_full_one() {
        let mut log = new(200);
        assert_eq!(log.begin(Extents::new(0, 0)), Begun::Pending);
        let mut page = [0; TRANSACTION_BYTES];
        log.emit(&mut page, |_| ());
        assert_eq!(log.begin(Extents::new(1, 1)), Begun::Wait);
        log.committed();
        for extent in 1..=UPDATES as u32 {
            assert_eq!(log.begin(Extents::new(extent, extent)), Begun::Pending);
        }
        assert_eq!(log.begin(Extents::new(100, 100)), Begun::Wait);
        assert!(log.has_pending());
    }

    /// A log of `slots` in use, and a ring of so many blocks: the extents that it fails to tell when the transaction
    /// that was being written at the power cut is torn.
    fn forgotten(slots: u32, blocks: usize) -> usize {
        let mut log = new(slots as usize);
        let mut ring = std::vec![Vec::new(); blocks];
        let mut used: Vec<u32> = Vec::new();
        let mut missing = 0;
        for step in 0..slots.div_ceil(UPDATES as u32) + 2 * blocks as u32 {
            let first = step * UPDATES as u32;
            let new: Vec<u32> = (first..slots.min(first + UPDATES as u32)).collect();
            for extent in &new {
                assert_eq!(log.begin(Extents::new(*extent, *extent)), Begun::Pending);
            }
            let mut page = std::vec![0; TRANSACTION_BYTES];
            let number = log.emit(&mut page, |_| ());
            ring[number as usize % blocks] = Vec::new();
            if new.is_empty() {
                let told = replay(&ring);
                missing = used
                    .iter()
                    .filter(|e| !told.contains(*e))
                    .count()
                    .max(missing);
            }
            ring[number as usize % blocks] = page;
            log.committed();
            used.extend(new);
        }
        missing
    }

    #[test]
    fn a_ring_tells_all_slots_that_it_may_have_and_no_more() {
        for blocks in [8, 9, 12] {
            let most = slots_for(blocks);
            assert_eq!(forgotten(most, blocks as usize), 0, "{blocks} blocks");
            assert!(forgotten(most + 1, blocks as usize) > 0, "{blocks} blocks");
        }
        assert_eq!(slots_for(8), 6433);
        assert_eq!(slots_for(4 << 20), MOST_SLOTS);
        // Nobody has a ring that small.
        assert_eq!(slots_for(0), UPDATES as u32);
    }

    /// A pseudo-random life: whatever is in use and committed can be read back from the ring at any time.
    #[test]
    fn the_ring_always_tells_what_is_in_use() {
        for seed in 1..16u64 {
            let mut lot = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = |n: u64| {
                lot ^= lot << 13;
                lot ^= lot >> 7;
                lot ^= lot << 17;
                lot % n
            };
            let slots = 4 + next(1500) as usize;
            let (mut log, mut ring) = (new(slots), Vec::new());
            // A ring of 8 transactions repeats all slots twice.
            (0..8).for_each(|_| drop(commit(&mut log, &mut ring)));
            let (mut used, mut waiting): (Vec<Extents>, Vec<Extents>) = Default::default();
            for step in 0..800 {
                let first = next(slots as u64 * 2) as u32;
                let range = Extents::new(first, first + next(2) as u32);
                match next(4) {
                    0 | 1 => match log.begin(range) {
                        Begun::Hot => used.push(range),
                        Begun::Pending => waiting.push(range),
                        Begun::Wait => assert!(log.has_pending() || log.in_use() > 0),
                    },
                    2 if !used.is_empty() => {
                        let at = next(used.len() as u64) as usize;
                        log.end(used.swap_remove(at));
                    }
                    _ => {
                        commit(&mut log, &mut ring);
                        used.append(&mut waiting);
                    }
                }
                if step % 40 != 0 {
                    continue;
                }
                let told = replay(&ring);
                let missing = used.iter().copied().flatten().find(|e| !told.contains(e));
                assert_eq!(missing, None, "seed {seed}, {slots} slots");
            }
            commit(&mut log, &mut ring);
            for range in used.into_iter().chain(waiting) {
                log.end(range);
            }
            assert_eq!(log.in_use(), 0, "seed {seed}");
        }
    }
}
