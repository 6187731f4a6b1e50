// SPDX-License-Identifier: GPL-2.0-only

//! Data that are known to be stale become good by the end of a resync, or by a word that none is needed; not by
//! themselves.

use crate::world::World;
use drbd_core::{
    meta::{Flags, Superblock},
    state,
    types::{ConnState, DiskState},
};

/// Whether a superblock calls its disk UpToDate.
fn says_good(flags: Flags) -> bool {
    flags.contains(Flags::CONSISTENT) && flags.contains(Flags::WAS_UP_TO_DATE)
}

impl World {
    /// A disk that is worse than UpToDate, and one that is UpToDate again.
    pub(crate) fn check_fresh(&mut self, id: usize) {
        let node = &self.nodes[id];
        if !node.up {
            return;
        }
        if state::is_failed_or_less(node.state.disk) {
            // The two meet anew.
            self.solved = [None; 2];
        }
        let disk = match node.state.disk {
            DiskState::Negotiating => node.negotiated.0,
            disk => disk,
        };
        match (disk, self.stale[id]) {
            (DiskState::Inconsistent, _) | (DiskState::Outdated, None) => {
                self.stale[id] = Some(disk);
            }
            // As in 8.4: nobody is there who could know better.
            (DiskState::UpToDate, Some(DiskState::Outdated))
                if state::is_connected(node.state.conn) && state::has_no_data(node.state.pdsk) =>
            {
                self.stale[id] = None;
            }
            // It failed at once, and a superblock that says so may be written yet.
            (DiskState::Failed, Some(DiskState::Outdated))
                if state::is_connected(node.state.conn)
                    && state::has_no_data(node.state.pdsk)
                    && node.md.as_ref().is_some_and(|md| says_good(md.flags)) =>
            {
                self.stale[id] = None;
            }
            (DiskState::UpToDate, Some(was)) => {
                self.violate(format!(
                    "node {id}: a disk that was {was:?} is taken for good"
                ));
            }
            _ => {}
        }
    }

    /// The administrator calls data good, whatever they are: what the other one has may not survive that.
    pub(crate) fn force(&mut self, id: usize) {
        if self.stale[id].take() == Some(DiskState::Inconsistent) {
            self.images[id].doubt();
        }
        self.forced[id] = true;
        self.alone = [true; 2];
    }

    /// The generations say that a copy is no older than the other one.
    pub(crate) fn is_fresh_after(&mut self, id: usize, next: ConnState) {
        let outdated = self.stale[id] == Some(DiskState::Outdated);
        if outdated && next != ConnState::WfBitmapT {
            self.stale[id] = None;
        }
    }

    /// What is not on the disk is not known any more.
    pub(crate) fn stale_after_cut(&mut self, id: usize) {
        let good = Superblock::read(&self.nodes[id].stable.superblock)
            .is_ok_and(|(block, _)| says_good(block.flags));
        if good {
            self.stale[id] = None;
        }
    }
}
