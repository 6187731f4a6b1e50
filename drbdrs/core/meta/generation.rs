// SPDX-License-Identifier: GPL-2.0-only

//! Does this disk have a generation of its own, and when does it begin one?
//!
//! The bitmap UUID says what the bitmap counts from. It is one of two things, which look alike:
//!
//! ```text
//!   X:O:..   what only this node has left: what it writes alone belongs to X, and nobody else has X
//!   O:S:..   a resync to a target that had S meanwhile, and has O as well from its end on
//! ```
//! Who has not heard of that end, and writes alone in O, would not be told from its target if that wrote alone in O, too.
//! (8.4 overwrites one of them.) So the resync is *open* until its end is heard, and as long as it is open, writing alone
//! begins a generation.

use super::Superblock;
use crate::types::{Role, Uuid, UuidSet};

impl Superblock {
    /// Whether the bitmap counts from the start of a resync whose end may have gone unheard.
    pub fn resync_is_open(&self) -> bool {
        let unmarked = |uuid: Uuid| uuid.0 & !1;
        let bitmap = self.uuids.bitmap;
        !bitmap.is_zero() && unmarked(self.open_resync) == unmarked(bitmap)
    }

    /// Whether nobody else has the current generation.
    pub fn has_own_generation(&self) -> bool {
        !self.uuids.bitmap.is_zero() && !self.resync_is_open()
    }

    /// The start of a resync at its source: see [`UuidSet::start_sync_source`]. It is open now. `target`: what it has told.
    pub fn start_sync_source(&mut self, fresh: Uuid, target: Option<&UuidSet>) -> Uuid {
        let sync = self.uuids.start_sync_source(fresh);
        if let Some(target) = target {
            self.uuids.keep_common_history(target);
        }
        self.open_resync = sync;
        sync
    }

    /// Starts a new generation, unless one was started since both sides were equal: the worker that sees the peer go
    /// and the administrator who promotes may both want one. False: there was one.
    pub fn begin_generation(&mut self, fresh: Uuid, role: Role) -> bool {
        if self.has_own_generation() {
            return false;
        }
        if self.resync_is_open() {
            self.uuids.leave_behind_resync(fresh, role);
            self.open_resync = Uuid::ZERO;
        } else {
            self.uuids.new_current(fresh, role);
        }
        true
    }

    /// `begun` has begun, and this superblock does not say so yet. What the bitmap counts from stays.
    pub fn resume_generation(&mut self, begun: Uuid, role: Role) {
        if !self.begin_generation(begun, role) {
            self.uuids.set_current(begun, role);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Superblock, SUPERBLOCK_BYTES};
    use crate::meta::tests::fresh;
    use crate::types::{Role, Uuid, UuidSet};

    const O: Uuid = Uuid(0xa0);
    const B: Uuid = Uuid(0xb0);
    const H: Uuid = Uuid(0xc0);
    const X: Uuid = Uuid(0xd0);
    const ZERO: Uuid = Uuid::ZERO;

    fn of(uuids: [Uuid; 4]) -> Superblock {
        Superblock {
            uuids: UuidSet::from_array(uuids),
            ..fresh().0
        }
    }

    fn stored(block: &Superblock) -> Superblock {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        block.emit_clean(&mut bytes);
        Superblock::parse(&bytes).unwrap()
    }

    #[test]
    fn two_who_want_a_generation_get_one() {
        let mut block = of([O, ZERO, B, H]);
        assert!(block.begin_generation(X, Role::Primary));
        let first = block;
        assert!(!block.begin_generation(Uuid(0xe0), Role::Primary));
        assert_eq!(block, first);
    }

    #[test]
    fn who_may_have_missed_the_end_of_a_resync_begins_a_generation_once() {
        let mut block = of([O, B, H, ZERO]);
        let sync = block.start_sync_source(X, None);
        block = stored(&block);
        assert!(block.resync_is_open() && !block.has_own_generation());
        assert!(block.begin_generation(X, Role::Secondary));
        assert_eq!(block.uuids, UuidSet::from_array([X, sync, B, O]));
        block = stored(&block);
        assert!(!block.begin_generation(Uuid(0xe0), Role::Primary));
    }

    #[test]
    fn an_open_resync_is_over_with_its_bitmap_uuid_and_leaves_nothing_on_disk() {
        let mut block = of([O, B, H, ZERO]);
        block.start_sync_source(X, None);
        block.uuids.clear_bitmap();
        assert!(!block.resync_is_open());
        assert_eq!(stored(&block).open_resync, ZERO);
        assert!(block.begin_generation(X, Role::Secondary));
        assert!(block.has_own_generation());
    }

    #[test]
    fn what_had_begun_when_the_disk_failed_goes_on() {
        let mut block = of([O, B, H, ZERO]);
        let sync = block.start_sync_source(X, None);
        block.resume_generation(X, Role::Secondary);
        assert_eq!(block.uuids, UuidSet::from_array([X, sync, B, O]));
        block.resume_generation(H, Role::Secondary);
        assert_eq!(block.uuids, UuidSet::from_array([H, sync, B, O]));
    }
}
