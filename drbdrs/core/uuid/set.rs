// SPDX-License-Identifier: GPL-2.0-only

//! The four UUIDs of one side, and the only ways in which they may move.

use crate::types::{Role, Uuid};

pub use crate::types::UuidSet as Set;

/// Distance between a bitmap UUID and the sync UUID made from it (8.4: `UUID_NEW_BM_OFFSET`).
const SYNC_UUID_OFFSET: u64 = 0x0001_0000_0000_0000;

/// A slot of a [`Set`] that [`Set::rotate_into`] can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The current UUID.
    Current,
    /// The bitmap UUID.
    Bitmap,
}

impl Set {
    /// Overwrites the current UUID, with the primary mark that fits `role`. The effective UUID follows it.
    pub fn set_current(&mut self, value: Uuid, role: Role) {
        self.current = marked(value, role);
    }

    /// Sets or clears the primary mark of the current UUID: on promotion, demotion and attach.
    pub fn mark_role(&mut self, role: Role) {
        self.current = marked(self.current, role);
    }

    /// Starts a new generation: `fresh` becomes current, the old one the bitmap UUID.
    /// Returns the bitmap UUID that was there, if there was one (worth a warning: the bitmap then counts from a
    /// generation that the peer may not have). It becomes history; else the two would have nothing in common.
    pub fn new_current(&mut self, fresh: Uuid, role: Role) -> Option<Uuid> {
        let replaced = (!self.bitmap.is_zero()).then_some(self.bitmap);
        if let Some(older) = replaced {
            self.push_history(older);
        }
        self.bitmap = self.current;
        self.set_current(fresh, role);
        replaced
    }

    /// Starts a new generation in which the bitmap counts on from the start of a resync that this node began: its target
    /// has that sync UUID still, or it has finished, and has what is current here. That one becomes the older history; a
    /// target that never heard of the resync has the newer one.
    pub fn leave_behind_resync(&mut self, fresh: Uuid, role: Role) {
        let [newer, _] = self.history;
        self.history = [newer, self.current];
        self.set_current(fresh, role);
    }

    /// Writes a slot; what it held, if anything, becomes the newest history.
    pub fn rotate_into(&mut self, slot: Slot, value: Uuid, role: Role) {
        let old = match slot {
            Slot::Current => self.current,
            Slot::Bitmap => self.bitmap,
        };
        if !old.is_zero() {
            self.push_history(old);
        }
        match slot {
            Slot::Current => self.set_current(value, role),
            Slot::Bitmap => self.bitmap = value,
        }
    }

    /// Sets the bitmap UUID of a side that had none. Returns the one overwritten, if there was one.
    pub fn set_bitmap(&mut self, value: Uuid) -> Option<Uuid> {
        let lost = (!self.bitmap.is_zero()).then_some(self.bitmap);
        self.bitmap = value.unmarked();
        lost
    }

    /// Drops the bitmap UUID into history: both sides have the same data again. Says if anything changed.
    pub fn clear_bitmap(&mut self) -> bool {
        if self.bitmap.is_zero() {
            return false;
        }
        self.push_history(self.bitmap);
        self.bitmap = Uuid::ZERO;
        true
    }

    /// The start of a resync at its source: derives the sync UUID, stores it as bitmap UUID and returns it
    /// for P_SYNC_UUID. `fresh` is used when there is no bitmap UUID to derive it from.
    pub fn start_sync_source(&mut self, fresh: Uuid) -> Uuid {
        let sync = if self.bitmap.is_zero() || self.bitmap == Uuid::JUST_CREATED {
            fresh
        } else {
            self.bitmap.sync_uuid()
        };
        let [newer, older] = self.history;
        let again = self.bitmap.comes_from(newer) && newer.comes_from(older);
        self.rotate_into(Slot::Bitmap, sync, Role::Secondary);
        if again {
            // Each resync that is broken off would push what all of them started from further into history, and out of
            // it. (8.4 calls the two unrelated then, once the other side has written.)
            let [newest, _] = self.history;
            self.history = [newest, older];
        }
        sync
    }

    /// If only the older history is what the target of a resync has in common with its source (after a split brain that a
    /// policy or an administrator has settled), it takes the younger place: [`Set::leave_behind_resync`] keeps that.
    pub fn keep_common_history(&mut self, target: &Self) {
        let [newer, older] = self.history;
        let shared = |uuid: Uuid| {
            let same = |other: &Uuid| !uuid.is_zero() && other.unmarked() == uuid.unmarked();
            target.to_array().iter().any(same)
        };
        if shared(older) && !shared(newer) {
            self.history = [older, newer];
        }
    }

    /// P_SYNC_UUID arrived: while we sync, our data is no generation of its own. History stays.
    pub fn accept_sync_uuid(&mut self, sync: Uuid, role: Role) {
        self.set_current(sync, role);
        self.bitmap = Uuid::ZERO;
    }

    /// The peer made a first generation without a sync (`--clear-bitmap`): take it over.
    pub fn accept_skip_initial_sync(&mut self, current: Uuid, role: Role) {
        self.set_current(current, role);
        self.bitmap = Uuid::ZERO;
    }

    /// The resync finished at the target without a failed block: it now has what the source has. The sync
    /// UUID that was current meanwhile becomes history, as it does at the source with [`Set::clear_bitmap`].
    pub fn finish_as_target(&mut self, source: &Set, role: Role) {
        let sync = self.current;
        self.bitmap = source.bitmap;
        self.history = source.history;
        self.rotate_into(Slot::Bitmap, sync, role);
        self.set_current(source.current, role);
        self.clear_bitmap();
    }

    /// The current generation of both is the same, whoever of them is primary.
    pub fn has_generation_of(&self, other: &Self) -> bool {
        self.current.unmarked() == other.current.unmarked()
    }

    pub(super) fn push_history(&mut self, newest: Uuid) {
        let [newer, _] = self.history;
        self.history = [newest, newer];
    }
}

/// What P_UUIDS told us about the peer's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerUuids {
    /// The peer's generations.
    pub uuids: Set,
    /// Bits set in the peer's bitmap (4 KiB each).
    pub dirty_bits: u64,
    /// Its administrator asked to throw its changes away.
    pub discard_my_data: bool,
    /// It was primary when it crashed.
    pub crashed_primary: bool,
    /// Its disk, about to attach, is inconsistent.
    pub inconsistent: bool,
    /// Its administrator declared both disks equal (`--clear-bitmap`).
    pub skip_initial_sync: bool,
}

impl PeerUuids {
    const DISCARD_MY_DATA: u64 = 1;
    const CRASHED_PRIMARY: u64 = 2;
    const INCONSISTENT: u64 = 4;
    const SKIP_INITIAL_SYNC: u64 = 8;

    /// From the six words of P_UUIDS: four UUIDs, dirty bits, flags. Unknown flags are ignored.
    pub fn from_wire(words: [u64; 6]) -> Self {
        let [current, bitmap, newer, older, dirty_bits, flags] = words;
        Self {
            uuids: Set::from_array([Uuid(current), Uuid(bitmap), Uuid(newer), Uuid(older)]),
            dirty_bits,
            discard_my_data: flags & Self::DISCARD_MY_DATA != 0,
            crashed_primary: flags & Self::CRASHED_PRIMARY != 0,
            inconsistent: flags & Self::INCONSISTENT != 0,
            skip_initial_sync: flags & Self::SKIP_INITIAL_SYNC != 0,
        }
    }

    /// The six words of P_UUIDS.
    pub fn to_wire(self) -> [u64; 6] {
        let [current, bitmap, newer, older] = self.uuids.to_array();
        [
            current.0,
            bitmap.0,
            newer.0,
            older.0,
            self.dirty_bits,
            self.flags(),
        ]
    }

    /// The flags word of P_UUIDS.
    pub fn flags(&self) -> u64 {
        let bit = |on: bool, flag: u64| if on { flag } else { 0 };
        bit(self.discard_my_data, Self::DISCARD_MY_DATA)
            | bit(self.crashed_primary, Self::CRASHED_PRIMARY)
            | bit(self.inconsistent, Self::INCONSISTENT)
            | bit(self.skip_initial_sync, Self::SKIP_INITIAL_SYNC)
    }
}

fn marked(value: Uuid, role: Role) -> Uuid {
    match role {
        Role::Primary => Uuid(value.0 | 1),
        Role::Secondary | Role::Unknown => value.unmarked(),
    }
}

/// What the arithmetic of generations needs of a UUID.
pub(super) trait Generation {
    /// Without the primary mark: what is compared.
    fn unmarked(self) -> Uuid;
    /// The sync UUID that a source derives from this bitmap UUID.
    fn sync_uuid(self) -> Uuid;
    /// This is the sync UUID of a resync that started from `base`, maybe not the first one that did.
    fn comes_from(self, base: Uuid) -> bool;
}

impl Generation for Uuid {
    fn unmarked(self) -> Uuid {
        Uuid(self.0 & !1)
    }

    fn sync_uuid(self) -> Uuid {
        Uuid(self.0.wrapping_add(SYNC_UUID_OFFSET))
    }

    fn comes_from(self, base: Uuid) -> bool {
        let more = self.unmarked().0.wrapping_sub(base.unmarked().0);
        !base.is_zero() && more != 0 && more % SYNC_UUID_OFFSET == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid(0xa0);
    const B: Uuid = Uuid(0xb0);
    const C: Uuid = Uuid(0xc0);
    const D: Uuid = Uuid(0xd0);

    fn set(a: [Uuid; 4]) -> Set {
        Set::from_array(a)
    }

    #[test]
    fn a_new_generation_keeps_the_old_one_as_bitmap_uuid_with_its_mark() {
        let mut s = set([Uuid(0xa1), Uuid::ZERO, B, C]);
        assert_eq!(s.new_current(D, Role::Primary), None);
        assert_eq!(s, set([Uuid(0xd1), Uuid(0xa1), B, C]));
        assert_eq!(s.new_current(Uuid(0xe1), Role::Secondary), Some(Uuid(0xa1)));
        assert_eq!(
            s,
            set([Uuid(0xe0), Uuid(0xd1), Uuid(0xa1), B]),
            "what was forced still knows what it comes from"
        );
    }

    #[test]
    fn rotating_pushes_history_only_when_something_was_there() {
        let mut s = set([A, Uuid::ZERO, B, C]);
        s.rotate_into(Slot::Bitmap, D, Role::Secondary);
        assert_eq!(s, set([A, D, B, C]));
        s.rotate_into(Slot::Bitmap, A, Role::Secondary);
        assert_eq!(s, set([A, A, D, B]));
        s.rotate_into(Slot::Current, D, Role::Primary);
        assert_eq!(s, set([Uuid(0xd1), A, A, D]));
    }

    #[test]
    fn the_bitmap_uuid_loses_its_mark_when_set_and_becomes_history_when_cleared() {
        let mut s = set([A, Uuid::ZERO, B, C]);
        assert!(!s.clear_bitmap());
        assert_eq!(s.set_bitmap(Uuid(0xd1)), None);
        assert_eq!(s.bitmap, D);
        assert_eq!(s.set_bitmap(B), Some(D));
        assert!(s.clear_bitmap());
        assert_eq!(s, set([A, Uuid::ZERO, B, B]));
    }

    #[test]
    fn the_sync_uuid_is_derived_from_the_bitmap_uuid() {
        let mut s = set([A, B, C, D]);
        let sync = s.start_sync_source(Uuid(0xffff));
        assert_eq!(sync, Uuid(0x0001_0000_0000_00b0));
        assert_eq!(s, set([A, sync, B, C]));
    }

    #[test]
    fn resyncs_that_are_broken_off_keep_what_they_started_from() {
        let mut s = set([A, B, C, D]);
        for _ in 0..9 {
            s.start_sync_source(Uuid(0xffff));
        }
        let nth = |n: u64| Uuid(B.0 + n * SYNC_UUID_OFFSET);
        assert_eq!(s, set([A, nth(9), nth(8), B]));
        // Of something else nothing is dropped.
        let mut s = set([A, nth(2), nth(1), C]);
        s.start_sync_source(Uuid(0xffff));
        assert_eq!(s, set([A, nth(3), nth(2), nth(1)]));
        let mut s = set([A, nth(1), Uuid::ZERO, Uuid::ZERO]);
        s.start_sync_source(Uuid(0xffff));
        assert_eq!(s, set([A, nth(2), nth(1), Uuid::ZERO]));
    }

    #[test]
    fn what_source_and_target_have_in_common_is_kept_when_the_resync_is_left_behind() {
        let mut s = set([A, B, C, D]);
        let sync = s.start_sync_source(Uuid(0xffff));
        let split = set([Uuid(0xe0), C, Uuid::ZERO, Uuid::ZERO]);
        s.keep_common_history(&split);
        assert_eq!(s, set([A, sync, C, B]));
        s.leave_behind_resync(D, Role::Secondary);
        assert_eq!(s, set([D, sync, C, A]));
        // Who has the younger one needs that.
        let mut s = set([A, sync, B, C]);
        s.keep_common_history(&set([B, Uuid::ZERO, C, D]));
        assert_eq!(s, set([A, sync, B, C]));
        s.keep_common_history(&set([D, Uuid::ZERO, Uuid::ZERO, Uuid::ZERO]));
        assert_eq!(s, set([A, sync, B, C]));
    }

    #[test]
    fn the_sync_uuid_is_fresh_without_a_bitmap_uuid() {
        let mut s = set([A, Uuid::ZERO, C, D]);
        assert_eq!(s.start_sync_source(Uuid(0xffff)), Uuid(0xffff));
        assert_eq!(s, set([A, Uuid(0xffff), C, D]));
        let mut s = set([A, Uuid::JUST_CREATED, C, D]);
        assert_eq!(s.start_sync_source(Uuid(0xffff)), Uuid(0xffff));
        assert_eq!(s, set([A, Uuid(0xffff), Uuid::JUST_CREATED, C]));
    }

    #[test]
    fn the_sync_target_forgets_its_bitmap_uuid_without_history() {
        let mut s = set([A, B, C, D]);
        s.accept_sync_uuid(Uuid(0xe1), Role::Secondary);
        assert_eq!(s, set([Uuid(0xe0), Uuid::ZERO, C, D]));
    }

    #[test]
    fn after_a_resync_both_sides_have_the_same_uuids() {
        let mut source = set([A, B, C, D]);
        let as_told = source;
        let mut target = set([B, Uuid::ZERO, Uuid(0xe0), Uuid(0xf0)]);
        let sync = source.start_sync_source(Uuid(0xffff));
        target.accept_sync_uuid(sync, Role::Secondary);
        target.finish_as_target(&as_told, Role::Secondary);
        source.clear_bitmap();
        assert_eq!(source, target);
        assert_eq!(source, set([A, Uuid::ZERO, sync, B]));
    }

    #[test]
    fn wire_words_round_trip_with_every_flag() {
        for flags in 0..16 {
            let words = [1, 2, 3, 4, 77, flags];
            assert_eq!(PeerUuids::from_wire(words).to_wire(), words);
        }
        assert_eq!(PeerUuids::from_wire([0, 0, 0, 0, 0, u64::MAX]).flags(), 15);
    }

    #[test]
    fn the_primary_mark_follows_the_role() {
        let mut s = set([A, B, C, D]);
        s.mark_role(Role::Primary);
        assert_eq!(s.current, Uuid(0xa1));
        s.mark_role(Role::Secondary);
        assert_eq!(s.current, A);
    }
}
