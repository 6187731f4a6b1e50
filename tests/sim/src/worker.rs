// SPDX-License-Identifier: GPL-2.0-only

//! The worker (`worker.rs`, `after.rs`): what follows from changes of state, one thing after the other.

use crate::{
    link::DATA,
    node::{Committed, Node},
};
use drbd_core::{
    meta::{Flags, Superblock},
    state::{self, After, AfterConnection, AfterContext, Change, How, Io},
    types::{ConnState, DiskState, State, Uuid},
    wire::{Command, SyncUuid},
};

/// A consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Which effects there are is asked when it is its turn.
    Volume,
    /// One of a volume's, with the state after the change.
    After(After, State),
    /// What a thaw brings.
    Resume,
    /// The connection's.
    Connection,
    /// The end of the change.
    Finish,
}

impl Node {
    /// Whether the worker has something to do.
    pub fn worker_ready(&self) -> bool {
        !self.changes.is_empty()
            || !self.current.is_empty()
            || self.todo_diskless
            || self.todo_release
            || self.todo_metadata
            || self.next_put_off().is_some()
    }

    /// One job of the worker.
    pub fn worker(&mut self) {
        if let Some((job, change)) = self.current.front().copied() {
            if self.work(job, &change) {
                self.current.pop_front();
                if job == Job::Volume {
                    self.expand(&change);
                }
            }
            return;
        }
        if let Some(change) = self.changes.pop_front() {
            let first = if change.volume.is_some() {
                Job::Volume
            } else {
                Job::Connection
            };
            self.current.push_back((first, change));
            self.current.push_back((Job::Finish, change));
            return;
        }
        if std::mem::take(&mut self.todo_metadata) {
            self.sync_metadata();
        } else if std::mem::take(&mut self.todo_diskless) {
            if self.state.disk == DiskState::Failed {
                if self.metadata_write() {
                    self.settle_bitmap();
                    self.stable.bitmap.clone_from(&self.bits);
                    self.sync_metadata();
                } else {
                    // The copy on disk is too old to be trusted.
                    self.set_full_sync(true);
                }
                self.change(&Change::disk(DiskState::Diskless), How::HARD);
            }
        } else if std::mem::take(&mut self.todo_release)
            && self.state.disk == DiskState::Diskless
            && self.local_refs == 0
        {
            self.md = None;
            self.md_dirty = false;
            self.local = false;
            self.activity.detach();
        } else {
            self.serve_put_off();
        }
    }

    fn expand(&mut self, change: &Committed) {
        let Some((old, new)) = change.volume else {
            return;
        };
        let failed = self.state.disk == DiskState::Failed;
        let context = AfterContext {
            has_disk: self.has_disk(),
            backing_open: self.local,
            version: self.agreed.version,
            has_own_generation: self.md.as_ref().is_some_and(Superblock::has_own_generation),
            resync_is_open: self.md.as_ref().is_some_and(Superblock::resync_is_open),
            now: self.state,
            lowest_conn: self.state.conn,
            lowest_disk: self.state.disk,
            grown_while_away: state::both_have_data(&new)
                && std::mem::take(&mut self.flags.grown_while_away),
            call_local_io_error: false,
            force_detach: failed && std::mem::take(&mut self.flags.force_detach),
            verify_stop_sector: true,
        };
        // As in 8.4: what grew while a disk was away is marked, and no resync follows, if the connection goes before.
        self.stable.unowed |= context.grown_while_away && new.conn != ConnState::Connected;
        let mut jobs: Vec<_> = state::after_effects(&old, &new, &context)
            .iter()
            .map(|effect| (Job::After(effect, new), *change))
            .collect();
        if state::is_suspended(&old) && !state::is_suspended(&new) {
            jobs.push((Job::Resume, *change));
        }
        for job in jobs.into_iter().rev() {
            self.current.push_front(job);
        }
    }

    /// Does a job; false: it has to wait.
    fn work(&mut self, job: Job, change: &Committed) -> bool {
        match job {
            Job::Volume => {}
            Job::After(effect, new) => return self.after(effect, &new),
            Job::Resume => {
                self.begin_put_off_generation();
                self.tell_all(drbd_core::request::Event::Resumed, |_| true);
            }
            Job::Connection => {
                let effects = state::after_connection_effects(
                    change.conn.0,
                    change.conn.1,
                    self.state.pdsk,
                    change.susp_fen,
                );
                for effect in effects.iter() {
                    match effect {
                        AfterConnection::EmitEvents | AfterConnection::ResumeFenced => {}
                        AfterConnection::ForgetConfiguration => {
                            if self.cstate == ConnState::StandAlone {
                                self.net = None;
                            }
                        }
                        AfterConnection::SyncMetadata => self.sync_metadata(),
                        AfterConnection::StartReceiver => self.start_receiver = true,
                    }
                }
            }
            Job::Finish => {
                self.done = if self.changes.is_empty() {
                    self.pushed
                } else {
                    change.serial
                };
            }
        }
        true
    }

    fn after(&mut self, effect: After, new: &State) -> bool {
        match effect {
            After::EmitEvents
            | After::CallHelper(_)
            | After::PauseDependent
            | After::ResumeDependent => {}
            After::SyncGrownPart => self.sync_grown_part(),
            After::ForgetCrash => {
                self.flags.crashed_primary = false;
                if let Some(peer) = self.peer_uuids.as_mut() {
                    peer.crashed_primary = false;
                }
            }
            After::NewCurrentUuid => self.new_current_uuid(false),
            After::NewCurrentUuidLater => self.flags.new_current_uuid = true,
            After::WriteBitmap(_) => {
                self.write_bitmap();
                self.sync_metadata();
            }
            After::ResetResync => self.failed = 0,
            After::StartFullSync => self.start_full_sync(new),
            After::SyncMetadata => self.sync_metadata(),
            After::ReleaseDisk => self.put_local(),
            After::ThawNoData(io) => {
                if io == Io::Resend {
                    self.tell_all(drbd_core::request::Event::Resend, |_| true);
                }
                let thawed = Change {
                    susp_nod: Some(false),
                    ..Change::NONE
                };
                self.change_all(&thawed, How::SOFT);
            }
            After::ThawFencing => {
                self.tell_all(drbd_core::request::Event::Resend, |_| true);
                let thawed = Change {
                    susp_fen: Some(false),
                    ..Change::NONE
                };
                self.change_all(&thawed, How::SOFT);
            }
            // The last mark comes first.
            After::SendSyncUuid
                if state::is_connected(self.state.conn) && self.log.has_marks_to_send(0) =>
            {
                return false
            }
            After::SendSyncUuid => self.send_sync_uuid(),
            After::SendSizes => self.send_sizes(false),
            After::SendUuids => self.send_uuids(),
            After::SendState => {
                self.send_state(*new);
                self.flags.loss_untold &= !state::tells_of_loss(new);
                self.flags.peer_disk_untold &= !state::tells_of_peer_disk(new);
            }
            After::SendBitmap => return self.send_bitmap_from_worker(),
            After::AbortLocalIo => {
                self.tell_all(drbd_core::request::Event::LocalAborted, |r| {
                    r.local() == drbd_core::request::Local::Pending
                });
            }
            After::CancelResync => self.forget(),
        }
        true
    }

    fn send_sync_uuid(&mut self) {
        let fresh = Uuid(self.rng.any() & !0xff | 0x200);
        if !state::target_hears_sync_uuid(&self.state) {
            return;
        }
        let Some(md) = self.md.as_mut() else { return };
        let target = self.peer_uuids.as_ref().map(|peer| &peer.uuids);
        let uuid = md.start_sync_source(fresh, target);
        self.md_dirty = true;
        self.sync_metadata();
        if state::is_failed_or_less(self.state.disk) {
            return;
        }
        self.send(DATA, Command::SyncUuid, &SyncUuid { uuid: uuid.0 }, &[]);
    }

    /// Application I/O is locked out while the bitmap is sent.
    fn send_bitmap_from_worker(&mut self) -> bool {
        if !std::mem::replace(&mut self.suspended_by_worker, true) {
            self.io_suspenders += 1;
        }
        let waits = !self.suspended() && self.application > 0 || self.log.has_writes_on_disk(0);
        if waits && self.wanted() {
            return false;
        }
        self.send_bitmap();
        self.suspended_by_worker = false;
        self.io_suspenders -= 1;
        self.tell_all(drbd_core::request::Event::Resumed, |_| true);
        true
    }

    fn start_full_sync(&mut self, new: &State) {
        let written = self.set_whole_bitmap();
        let next = match (written, new.conn) {
            (false, _) => ConnState::Connected,
            (true, ConnState::StartingSyncT) => ConnState::WfSyncUuid,
            (true, _) => {
                self.begin_resync(drbd_core::resync::Side::Source);
                return;
            }
        };
        self.change(&Change::conn(next), How::SOFT);
    }

    /// Whether a full sync is owed.
    pub fn owes_full_sync(&self) -> bool {
        self.md
            .as_ref()
            .is_some_and(|md| md.flags.contains(Flags::FULL_SYNC))
    }
}
