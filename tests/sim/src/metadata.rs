// SPDX-License-Identifier: GPL-2.0-only

//! The metadata on the disk (`metadata.rs`, `bitmap.rs`): superblock and bitmap.

use crate::{node::Node, world::Fault};
use drbd_core::{
    bitmap,
    meta::{Flags, Superblock},
    state,
    types::DiskState,
};

impl Node {
    pub(crate) fn update_metadata(&mut self) {
        let crashed = self.flags.crashed_primary;
        let state = self.state;
        let Some(md) = self.md.as_mut() else { return };
        let before = md.flags;
        md.flags = state::metadata_flags(before, &state, crashed);
        if md.flags != before {
            self.md_dirty = true;
            self.todo_metadata = true;
        }
    }

    /// Whether a write of metadata reaches the disk; it may be the last one before the power goes.
    pub fn metadata_write(&mut self) -> bool {
        if self.meta_fault == Some(Fault::MetaCut) {
            return false;
        }
        match self.meta_fuse.as_mut() {
            None => {
                // It comes with a flush, of internal metadata, before it.
                self.disk.flush();
                return true;
            }
            Some((left, _)) if *left > 0 => {
                *left -= 1;
                self.disk.flush();
                return true;
            }
            Some(_) => {}
        }
        self.meta_fault = self.meta_fuse.take().map(|(_, fault)| fault);
        if self.meta_fault == Some(Fault::MetaError) {
            self.io_error();
        }
        false
    }

    /// The superblock is written if it has changed.
    pub fn sync_metadata(&mut self) {
        if !self.local || !std::mem::take(&mut self.md_dirty) {
            return;
        }
        if !self.metadata_write() {
            // A disk that answers again gets it before it goes.
            self.md_dirty = true;
            return;
        }
        if let Some(md) = self.md.as_mut() {
            let primary = md.flags.contains(Flags::PRIMARY_IND);
            let before = Superblock::read(&self.stable.superblock)
                .is_ok_and(|(block, _)| block.flags.contains(Flags::PRIMARY_IND));
            let owed = self.stable.bitmap != self.bits;
            let unconfirmed = self.log.iter().any(|(_, request)| request.kind.modifies());
            let on_disk = state::primary_on_disk(primary, before, owed, unconfirmed);
            let mut block = *md;
            block.flags.set(Flags::PRIMARY_IND, on_disk);
            block.emit_unclean(&mut self.stable.superblock);
            let unstored = self.unstored;
            self.unstored = unstored.filter(|begun| begun.exposed != block.uuids.current);
            self.md_dirty = on_disk != primary;
        }
    }

    /// The bitmap is written.
    pub fn write_bitmap(&mut self) {
        if self.local && self.state.disk != DiskState::Diskless {
            if !self.metadata_write() {
                return;
            }
            self.settle_bitmap();
            self.stable.bitmap.clone_from(&self.bits);
            // A demotion may be on disk from here on.
            self.sync_metadata();
        }
    }

    /// Sets the whole bitmap and writes it.
    pub fn set_whole_bitmap(&mut self) -> bool {
        if !self.local || state::is_failed_or_less(self.state.disk) {
            return false;
        }
        self.fill_bitmap()
    }

    /// False: it could not be written.
    pub fn fill_bitmap(&mut self) -> bool {
        self.set_full_sync(true);
        let last = self.nbits() - 1;
        bitmap::set_range(&mut self.bits, 0, last);
        bitmap::set_range(&mut self.owed, 0, last);
        self.stable.unowed = true;
        if !self.metadata_write() {
            return false;
        }
        self.settle_bitmap();
        self.stable.bitmap.clone_from(&self.bits);
        self.set_full_sync(false);
        true
    }

    /// Notes on the disk whether its bitmap is worth nothing.
    pub fn set_full_sync(&mut self, needed: bool) {
        if let Some(md) = self.md.as_mut() {
            md.flags.set(Flags::FULL_SYNC, needed);
            self.md_dirty = true;
        }
        self.sync_metadata();
    }
}
