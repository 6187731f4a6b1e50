// SPDX-License-Identifier: GPL-2.0-only

//! What a state means for application I/O.

use super::predicates::*;
use crate::types::{ConnState, DiskState, State};

/// May new I/O start, or must it wait for a transition to end? Suspension is asked separately.
pub fn accepts_new_io(s: &State, version: u32) -> bool {
    let conn_settled = match s.conn {
        // The bitmap travels: a write could be in neither the old nor the new.
        ConnState::WfBitmapT | ConnState::WfSyncUuid => false,
        ConnState::WfBitmapS => version >= 96,
        _ => true,
    };
    // "Unknown" is never a local disk state.
    let disk_settled = !matches!(
        s.disk,
        DiskState::Attaching | DiskState::Negotiating | DiskState::Unknown
    );
    conn_settled && disk_settled
}

/// What becomes of requests that wait for the peer when the administrator lets suspended I/O go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thaw {
    /// There is no peer: they go on without it.
    Alone,
    /// The peer is there: what an earlier connection carried is sent again, the rest is still on its way.
    Resend,
    /// Two nodes introduce each other: not yet, whose data are good is being found out.
    NotYet,
}

/// By the states of all volumes. Not by that of the connection as a whole, which never is beyond
/// [`ConnState::WfReportParams`].
pub fn thaw(mut conns: impl Iterator<Item = ConnState>) -> Thaw {
    conns
        .try_fold(Thaw::Alone, |so_far, conn| match conn {
            ConnState::WfReportParams => Err(Thaw::NotYet),
            conn if is_connected(conn) => Ok(Thaw::Resend),
            _ => Ok(so_far),
        })
        .unwrap_or_else(|found| found)
}

/// I/O that was suspended when the peer's data were lost goes on: is the generation due that was put off then? Not when
/// the peer is back with its data: it would not hear of that. (8.4 begins it, and calls the next meeting a split brain.)
pub fn put_off_generation_is_due(s: &State) -> bool {
    !is_connected(s.conn) || has_no_data(s.pdsk)
}

/// Are writes sent to the peer?
pub fn replicates(s: &State) -> bool {
    let sync_under_way = is_connected_in_step(s.conn)
        && !is_starting_full_sync(s.conn)
        && !matches!(s.conn, ConnState::Connected | ConnState::WfBitmapS);
    s.pdsk == DiskState::UpToDate || (!has_no_data(s.pdsk) && sync_under_way)
}

/// Is the peer told which blocks a write changed, instead of the write itself?
pub fn sends_out_of_sync(s: &State) -> bool {
    matches!(s.conn, ConnState::Ahead | ConnState::WfBitmapS)
}

/// Has the peer's disk no copy of what the peer writes? Then ours is the only one, and is marked. `attaches`: see
/// [`peer_attaches`]. (8.4 looks at the peer's disk alone: a write that was begun without a disk, and comes when the
/// bitmap has gone to the disk that is being attached, is marked nowhere until it is acknowledged.)
pub fn peer_keeps_no_copy(s: &State, attaches: bool) -> bool {
    has_no_data(s.pdsk) || (attaches && s.conn == ConnState::WfBitmapS)
}

/// The peer's state arrived, whose disk it calls `told`: was that disk being attached when the exchange of bitmaps
/// began? What arrives until it ends may have been begun without that disk. `own`, `before`: until now.
pub fn peer_attaches(before: bool, own: &State, told: DiskState) -> bool {
    if own.conn == ConnState::WfBitmapS {
        before
    } else {
        told == DiskState::Negotiating
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_while_bitmaps_go_to_a_disk_that_is_attached_has_no_copy_there() {
        let with = |conn, pdsk| State {
            conn,
            pdsk,
            ..State::NEW
        };
        let connected = with(ConnState::Connected, DiskState::Negotiating);
        assert!(peer_keeps_no_copy(&connected, false));
        let sends = with(ConnState::WfBitmapS, DiskState::Consistent);
        let attaches = peer_attaches(false, &connected, DiskState::Negotiating);
        assert!(attaches && peer_keeps_no_copy(&sends, attaches));
        // It has decided meanwhile, and says so before its writes come.
        assert!(peer_attaches(attaches, &sends, DiskState::Outdated));
        let copies = with(ConnState::SyncSource, DiskState::Inconsistent);
        assert!(!peer_keeps_no_copy(&copies, attaches));
        // Two that meet anew: what is sent again is on its disk.
        let meets = with(ConnState::WfReportParams, DiskState::Unknown);
        let attaches = peer_attaches(attaches, &meets, DiskState::Outdated);
        assert!(!attaches && !peer_keeps_no_copy(&sends, attaches));
    }

    #[test]
    fn a_peer_that_is_back_with_its_data_needs_no_new_generation() {
        let due = |conn, pdsk| {
            put_off_generation_is_due(&State {
                conn,
                pdsk,
                ..State::NEW
            })
        };
        assert!(due(ConnState::WfConnection, DiskState::Unknown));
        assert!(due(ConnState::Connected, DiskState::Diskless));
        assert!(!due(ConnState::Connected, DiskState::UpToDate));
        assert!(!due(ConnState::SyncSource, DiskState::Inconsistent));
    }

    #[test]
    fn what_waits_is_given_up_only_without_a_peer() {
        let of = |conns: &[ConnState]| thaw(conns.iter().copied());
        assert_eq!(of(&[]), Thaw::Alone);
        assert_eq!(of(&[ConnState::StandAlone]), Thaw::Alone);
        assert_eq!(of(&[ConnState::WfConnection]), Thaw::Alone);
        assert_eq!(of(&[ConnState::NetworkFailure]), Thaw::Alone);
        assert_eq!(of(&[ConnState::Connected]), Thaw::Resend);
        assert_eq!(of(&[ConnState::SyncSource]), Thaw::Resend);
        assert_eq!(of(&[ConnState::Ahead]), Thaw::Resend);
        let one_of_two = [ConnState::Connected, ConnState::WfReportParams];
        assert_eq!(of(&one_of_two), Thaw::NotYet);
    }
}
