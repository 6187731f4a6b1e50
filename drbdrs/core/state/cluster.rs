// SPDX-License-Identifier: GPL-2.0-only

//! Which changes need the peer's consent before they are made.

use super::{predicates::*, Change};
use crate::types::{ConnState, DiskState, Role, State};

/// Must the peer agree to this change of a volume (P_STATE_CHG_REQ)?
pub fn needs_peer(old: &State, new: &State) -> bool {
    while_connected(old, new)
        || leaves(old, new)
        || (old.conn == ConnState::Connected
            && matches!(new.conn, ConnState::VerifyS | ConnState::WfReportParams))
}

fn while_connected(old: &State, new: &State) -> bool {
    is_connected(old.conn)
        && is_connected(new.conn)
        && (promotes(old, new) || starts_full_sync(old, new) || gives_up_disk(old, new))
}

fn promotes(old: &State, new: &State) -> bool {
    old.role != Role::Primary && new.role == Role::Primary
}

fn starts_full_sync(old: &State, new: &State) -> bool {
    is_starting_full_sync(new.conn) && old.conn != new.conn
}

fn gives_up_disk(old: &State, new: &State) -> bool {
    old.disk != DiskState::Failed && new.disk == DiskState::Failed
}

fn leaves(old: &State, new: &State) -> bool {
    is_connected(old.conn) && new.conn == ConnState::Disconnecting
}

/// Must the peer agree to this change of the connection as a whole (P_CONN_ST_CHG_REQ)?
///
/// `conn` is the state of the connection itself, which stays at WFReportParams while volumes go beyond.
pub fn connection_needs_peer(conn: ConnState, wished: Option<ConnState>) -> bool {
    conn == ConnState::WfReportParams && wished == Some(ConnState::Disconnecting)
}

/// What this node itself is asking the peer for when a wish of the peer's arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing.
    Nothing,
    /// To let it go: a disconnect.
    Leave,
    /// Something else.
    Other,
}

/// Does the peer's wish, seen from here, collide with ours, so that it must be refused?
///
/// Only the node that breaks ties refuses. 8.4 refuses everything then; two nodes that want to leave each other want
/// the same, and both may.
pub fn collides(breaks_ties: bool, ours: Pending, wish: &Change) -> bool {
    let agreed = match ours {
        Pending::Nothing => true,
        Pending::Leave => wish.conn == Some(ConnState::TearDown),
        Pending::Other => false,
    };
    breaks_ties && !agreed
}
