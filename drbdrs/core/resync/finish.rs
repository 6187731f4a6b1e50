// SPDX-License-Identifier: GPL-2.0-only

//! The end of a resync or verify: what becomes of states and UUIDs.

use crate::config::choices::Fencing;
use crate::state::{is_resync, is_resync_or_verify, is_sync_target, is_verify, Combined};
use crate::types::{ConnState, DiskState, State};

/// What becomes of the UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidUpdate {
    /// Nothing: blocks failed, or it was a verify.
    Keep,
    /// The source: [`crate::uuid::Set::clear_bitmap`]. Then our copy of the peer's UUIDs equals ours.
    ClearBitmap,
    /// The target: [`crate::uuid::Set::finish_as_target`] with the source's. Then our copy equals ours.
    TakeFromSource,
}

/// A helper to call when all is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterHelper {
    /// `after-resync-target`
    AfterResyncTarget,
    /// `out-of-sync`: a verify found differences.
    OutOfSync,
}

/// What the end leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The state to write (soft).
    pub new: State,
    /// What becomes of the UUIDs, under the same lock.
    pub uuids: UuidUpdate,
    /// A helper to call.
    pub helper: Option<AfterHelper>,
}

/// Decides what the end leads to; `None` if it was handled already, the connection is gone, or another resync has
/// begun since: whoever ends it waits for the peer before, and may find the bitmaps of the next one being exchanged, or
/// that the source has gone Ahead, marks blocks, and comes back later. (8.4 then takes the target for synced.)
/// `failed`: bits that could not be synced; `out_of_sync`: bits set in the bitmap.
pub fn finished(own: &State, failed: u64, out_of_sync: u64) -> Option<Finished> {
    let target = is_sync_target(own.conn);
    if !is_resync_or_verify(own.conn) || (target && out_of_sync > failed) {
        return None;
    }
    let verify = is_verify(own.conn);
    let (disk, pdsk) = match (failed != 0, target) {
        (false, _) => (DiskState::UpToDate, DiskState::UpToDate),
        (true, true) => (DiskState::Inconsistent, DiskState::UpToDate),
        (true, false) => (DiskState::UpToDate, DiskState::Inconsistent),
    };
    let uuids = if failed != 0 || verify {
        UuidUpdate::Keep
    } else if target {
        UuidUpdate::TakeFromSource
    } else {
        UuidUpdate::ClearBitmap
    };
    let helper = if target {
        Some(AfterHelper::AfterResyncTarget)
    } else {
        (verify && out_of_sync != 0).then_some(AfterHelper::OutOfSync)
    };
    let new = State {
        conn: ConnState::Connected,
        disk,
        pdsk,
        ..*own
    };
    Some(Finished { new, uuids, helper })
}

/// May the peer's word that it has written a block clear the block's bits here? Only while a resync runs, or has given
/// way to Ahead. The word may come when it is over, because the peer's disk went: then our application may have written
/// the block again since, and the peer has not got that. (8.4 clears them.) Ahead, a write waits for the peer's word on
/// what it overlaps; a bit that stayed would say that the peer has marked the block, too, when it has cleared its mark.
pub fn may_clear(conn: ConnState) -> bool {
    is_resync(conn) || conn == ConnState::Ahead
}

/// A source that fences: are all volumes back in sync, so that the peer may be let in again (`unfence-peer`)?
/// `before`: the connection state before the end; `now`: all volumes after it.
pub fn is_unfence_due(before: ConnState, fencing: Fencing, now: &Combined) -> bool {
    before == ConnState::SyncSource
        && fencing != Fencing::DontCare
        && now.lowest_disk == DiskState::UpToDate
        && now.lowest_pdsk == DiskState::UpToDate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::combined;

    const SOURCE: State = State {
        conn: ConnState::SyncSource,
        disk: DiskState::UpToDate,
        pdsk: DiskState::Inconsistent,
        ..State::NEW
    };
    const TARGET: State = State {
        conn: ConnState::SyncTarget,
        disk: DiskState::Inconsistent,
        pdsk: DiskState::UpToDate,
        ..State::NEW
    };

    fn disks(f: &Finished) -> (DiskState, DiskState) {
        (f.new.disk, f.new.pdsk)
    }

    #[test]
    fn a_late_acknowledgement_clears_nothing() {
        assert!(may_clear(SOURCE.conn));
        assert!(may_clear(ConnState::PausedSyncS));
        // The resync was interrupted: the peer has cleared its bits, and will be told of what is written from now on.
        assert!(may_clear(ConnState::Ahead));
        // The peer gave its disk up meanwhile.
        assert!(!may_clear(ConnState::Connected));
    }

    #[test]
    fn a_clean_end_makes_both_good_and_moves_the_uuids() {
        let good = (DiskState::UpToDate, DiskState::UpToDate);
        let f = finished(&SOURCE, 0, 0).unwrap();
        assert_eq!(
            (disks(&f), f.uuids, f.helper),
            (good, UuidUpdate::ClearBitmap, None)
        );
        for conn in [ConnState::SyncTarget, ConnState::PausedSyncT] {
            let f = finished(&State { conn, ..TARGET }, 0, 0).unwrap();
            assert_eq!((disks(&f), f.uuids), (good, UuidUpdate::TakeFromSource));
            assert_eq!(f.helper, Some(AfterHelper::AfterResyncTarget));
            assert_eq!(f.new.conn, ConnState::Connected);
        }
    }

    #[test]
    fn failed_blocks_keep_the_target_inconsistent_and_the_uuids() {
        let f = finished(&TARGET, 1, 1).unwrap();
        assert_eq!(disks(&f), (DiskState::Inconsistent, DiskState::UpToDate));
        assert_eq!(f.uuids, UuidUpdate::Keep);
        let f = finished(&SOURCE, 1, 1).unwrap();
        assert_eq!(disks(&f), (DiskState::UpToDate, DiskState::Inconsistent));
        assert_eq!(f.uuids, UuidUpdate::Keep);
    }

    #[test]
    fn a_verify_changes_no_uuids_and_reports_differences() {
        let verify = State {
            conn: ConnState::VerifyS,
            pdsk: DiskState::UpToDate,
            ..SOURCE
        };
        let f = finished(&verify, 0, 0).unwrap();
        assert_eq!((f.uuids, f.helper), (UuidUpdate::Keep, None));
        let f = finished(&verify, 0, 3).unwrap();
        assert_eq!(f.helper, Some(AfterHelper::OutOfSync));
    }

    #[test]
    fn the_end_comes_once() {
        for conn in [
            ConnState::Connected,
            ConnState::Timeout,
            ConnState::StandAlone,
        ] {
            assert_eq!(finished(&State { conn, ..SOURCE }, 0, 0), None);
        }
    }

    #[test]
    fn the_next_resync_does_not_end_with_the_one_before() {
        for conn in [
            ConnState::StartingSyncT,
            ConnState::WfBitmapT,
            ConnState::WfSyncUuid,
            ConnState::WfBitmapS,
        ] {
            assert_eq!(finished(&State { conn, ..TARGET }, 0, 0), None, "{conn:?}");
        }
        assert_eq!(finished(&TARGET, 0, 1), None);
        assert_eq!(finished(&TARGET, 1, 2), None);
    }

    #[test]
    fn what_congestion_interrupted_does_not_end() {
        // The last block came, then the news that the source has gone Ahead and marks blocks, while we waited for the peer.
        let behind = State {
            conn: ConnState::Behind,
            ..TARGET
        };
        let ahead = State {
            conn: ConnState::Ahead,
            ..SOURCE
        };
        for state in [behind, ahead] {
            assert_eq!(finished(&state, 0, 0), None, "{:?}", state.conn);
            assert_eq!(finished(&state, 0, 5), None, "{:?}", state.conn);
        }
    }

    #[test]
    fn a_fencing_source_lets_the_peer_in_when_all_volumes_are_good() {
        let good = State {
            conn: ConnState::Connected,
            pdsk: DiskState::UpToDate,
            ..SOURCE
        };
        let all = combined(&[good, good]);
        let due = |before, fencing, now: &Combined| is_unfence_due(before, fencing, now);
        assert!(due(ConnState::SyncSource, Fencing::ResourceOnly, &all));
        assert!(!due(ConnState::SyncSource, Fencing::DontCare, &all));
        assert!(!due(ConnState::SyncTarget, Fencing::ResourceOnly, &all));
        let one_left = combined(&[good, SOURCE]);
        assert!(!due(
            ConnState::SyncSource,
            Fencing::ResourceOnly,
            &one_left
        ));
    }
}
