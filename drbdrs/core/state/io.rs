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
