// SPDX-License-Identifier: GPL-2.0-only

//! Names for the sets of states that rules ask about, so that no rule compares states by number.

use crate::types::{ConnState, DiskState, Role, State};

/// The two sides have introduced each other (Connected and everything beyond).
pub fn is_connected(conn: ConnState) -> bool {
    !is_before_report_params(conn) && conn != ConnState::WfReportParams
}

/// There is no socket to the peer.
pub fn is_before_report_params(conn: ConnState) -> bool {
    is_being_torn_down(conn) || conn == ConnState::WfConnection
}

/// There is a socket: WFReportParams and beyond.
pub fn has_socket(conn: ConnState) -> bool {
    !is_before_report_params(conn)
}

/// Not connected and not connecting: what StandAlone to TearDown have in common.
pub fn is_being_torn_down(conn: ConnState) -> bool {
    is_network_error(conn)
        || matches!(
            conn,
            ConnState::StandAlone | ConnState::Disconnecting | ConnState::Unconnected
        )
}

/// The reasons for which a connection ends by itself.
pub fn is_network_error(conn: ConnState) -> bool {
    matches!(
        conn,
        ConnState::Timeout
            | ConnState::BrokenPipe
            | ConnState::NetworkFailure
            | ConnState::ProtocolError
            | ConnState::TearDown
    )
}

/// Connected and busy with something (a resync, a verify, their preparation, ahead or behind).
pub fn is_beyond_connected(conn: ConnState) -> bool {
    is_connected(conn) && conn != ConnState::Connected
}

/// Connected, and neither ahead nor behind.
pub fn is_connected_in_step(conn: ConnState) -> bool {
    is_connected(conn) && !is_ahead_or_behind(conn)
}

/// Replication is interrupted by congestion, on this side or the other.
pub fn is_ahead_or_behind(conn: ConnState) -> bool {
    matches!(conn, ConnState::Ahead | ConnState::Behind)
}

/// This side is the source of a resync that was started, paused or not.
pub fn is_sync_source(conn: ConnState) -> bool {
    matches!(conn, ConnState::SyncSource | ConnState::PausedSyncS)
}

/// This side is the target of a resync that was started, paused or not.
pub fn is_sync_target(conn: ConnState) -> bool {
    matches!(conn, ConnState::SyncTarget | ConnState::PausedSyncT)
}

/// A resync was started, paused or not.
pub fn is_resync(conn: ConnState) -> bool {
    is_sync_source(conn) || is_sync_target(conn)
}

/// The target of a resync from here can hear of its sync UUID.
pub fn target_hears_sync_uuid(s: &State) -> bool {
    is_connected(s.conn) && !has_no_data(s.pdsk)
}

/// A resync was started and waits.
pub fn is_paused_resync(conn: ConnState) -> bool {
    matches!(conn, ConnState::PausedSyncS | ConnState::PausedSyncT)
}

/// A resync was started and runs.
pub fn is_running_resync(conn: ConnState) -> bool {
    matches!(conn, ConnState::SyncSource | ConnState::SyncTarget)
}

/// An online verify runs.
pub fn is_verify(conn: ConnState) -> bool {
    matches!(conn, ConnState::VerifyS | ConnState::VerifyT)
}

/// A resync or a verify was started (SyncSource to PausedSyncT).
pub fn is_resync_or_verify(conn: ConnState) -> bool {
    is_resync(conn) || is_verify(conn)
}

/// A resync or a verify was started, or replication is ahead or behind (SyncSource and beyond).
pub fn is_resync_or_beyond(conn: ConnState) -> bool {
    is_resync_or_verify(conn) || is_ahead_or_behind(conn)
}

/// A full sync was asked for by an administrator.
pub fn is_starting_full_sync(conn: ConnState) -> bool {
    matches!(conn, ConnState::StartingSyncS | ConnState::StartingSyncT)
}

/// There is no disk whose data could be used: Diskless to Negotiating.
pub fn has_no_data(disk: DiskState) -> bool {
    is_failed_or_less(disk) || disk == DiskState::Negotiating
}

/// Both sides have a disk whose data count, whatever they are worth.
pub fn both_have_data(state: &State) -> bool {
    !has_no_data(state.disk) && !has_no_data(state.pdsk)
}

/// Whether both copies are good.
pub fn both_up_to_date(state: &State) -> bool {
    state.disk == DiskState::UpToDate && state.pdsk == DiskState::UpToDate
}

/// A state that tells the peer of such a loss. What was committed before it may say that a disk comes: it is no such news.
pub fn tells_of_loss(told: &State) -> bool {
    matches!(told.disk, DiskState::Diskless | DiskState::Failed)
}

/// This side's disk goes, or will not be had after all: until the peer hears that, it may take the disk for a good one, and
/// not mark a block that only it gets.
pub fn loses_disk(old: &State, new: &State) -> bool {
    !is_failed_or_less(old.disk) && is_failed_or_less(new.disk)
}

/// The peer's disk comes. The peer hears from us that it is good by P_UUIDS and P_STATE, and refuses writes before. (8.4
/// sends its writes behind these.)
pub fn peer_disk_comes(old: &State, new: &State) -> bool {
    let appeared = old.pdsk == DiskState::Diskless
        && !matches!(new.pdsk, DiskState::Diskless | DiskState::Unknown);
    // A disk forgets what it was told while it was attaching (the connection came up meanwhile).
    let settled = old.pdsk == DiskState::Attaching && tells_of_peer_disk(new);
    appeared || settled
}

/// A state that tells the peer that its disk has come.
pub fn tells_of_peer_disk(told: &State) -> bool {
    !is_failed_or_less(told.pdsk) && told.pdsk != DiskState::Unknown
}

/// Diskless, Attaching or Failed.
pub fn is_failed_or_less(disk: DiskState) -> bool {
    matches!(
        disk,
        DiskState::Diskless | DiskState::Attaching | DiskState::Failed
    )
}

/// No data, or data that is no version of the whole.
pub fn is_inconsistent_or_less(disk: DiskState) -> bool {
    has_no_data(disk) || disk == DiskState::Inconsistent
}

/// Some version of the data, known to be old or not: Outdated and beyond. "Unknown" counts.
pub fn is_outdated_or_better(disk: DiskState) -> bool {
    !is_inconsistent_or_less(disk)
}

/// Not known to be old: DUnknown, Consistent, UpToDate.
pub fn is_better_than_outdated(disk: DiskState) -> bool {
    matches!(
        disk,
        DiskState::Unknown | DiskState::Consistent | DiskState::UpToDate
    )
}

/// Consistent or UpToDate.
pub fn is_consistent_or_better(disk: DiskState) -> bool {
    matches!(disk, DiskState::Consistent | DiskState::UpToDate)
}

/// I/O is suspended for whatever reason.
pub fn is_suspended(state: &State) -> bool {
    state.susp || state.susp_nod || state.susp_fen
}

/// A resync must wait, on whoever's wish.
pub fn is_resync_paused(state: &State) -> bool {
    state.aftr_isp || state.peer_isp || state.user_isp
}

/// A primary without any up-to-date data in reach.
pub fn is_primary_without_data(state: &State) -> bool {
    state.role == Role::Primary
        && state.disk != DiskState::UpToDate
        && state.pdsk != DiskState::UpToDate
}

/// A primary that does not know what its lost peer does.
pub fn is_primary_with_unfenced_peer(state: &State) -> bool {
    state.role == Role::Primary && !is_connected(state.conn) && is_better_than_outdated(state.pdsk)
}
