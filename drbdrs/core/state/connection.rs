// SPDX-License-Identifier: GPL-2.0-only

//! States of several volumes taken together, and the transitions of a connection.

use super::predicates::*;
use crate::types::{ConnState, DiskState, Role, State, StateRv};

/// May a connection make this step? Facts are held to this as well.
pub fn connection_transition(old: ConnState, new: ConnState) -> StateRv {
    if old == new {
        return StateRv::NothingToDo;
    }
    match old {
        ConnState::StandAlone if new == ConnState::Disconnecting => StateRv::AlreadyStandalone,
        ConnState::StandAlone if new != ConnState::Unconnected => StateRv::NeedConnection,
        _ if !has_socket(old) && is_connected(new) => StateRv::NeedConnection,
        _ if is_network_error(old) && !may_follow_network_error(new) => StateRv::InTransientState,
        ConnState::Disconnecting if new != ConnState::StandAlone => StateRv::InTransientState,
        _ => StateRv::Success,
    }
}

fn may_follow_network_error(conn: ConnState) -> bool {
    matches!(conn, ConnState::Unconnected | ConnState::Disconnecting)
}

/// The extremes over the volumes of a connection. Without volumes: secondary, diskless, peer unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Combined {
    /// Primary if any volume is.
    pub highest_role: Role,
    /// Primary if the peer is primary on any volume.
    pub highest_peer: Role,
    /// The best local disk.
    pub highest_disk: DiskState,
    /// The worst local disk; UpToDate if there is no volume.
    pub lowest_disk: DiskState,
    /// The best peer disk.
    pub highest_pdsk: DiskState,
    /// The worst peer disk; UpToDate if there is no volume.
    pub lowest_pdsk: DiskState,
    /// The connection state that is farthest along.
    pub highest_conn: ConnState,
    /// The connection state that is farthest behind; `None` if there is no volume.
    pub lowest_conn: Option<ConnState>,
    /// Every volume is secondary, diskless and StandAlone.
    pub all_unconfigured: bool,
    /// Some volume waits for the peer's state.
    pub any_reports_params: bool,
    /// I/O of some volume is suspended.
    pub any_suspended: bool,
    /// How many volumes there are.
    pub volumes: usize,
}

/// Takes the states of all volumes together.
pub fn combined<'a>(states: impl IntoIterator<Item = &'a State>) -> Combined {
    let mut c = Combined {
        highest_role: Role::Secondary,
        highest_peer: Role::Unknown,
        highest_disk: DiskState::Diskless,
        lowest_disk: DiskState::UpToDate,
        highest_pdsk: DiskState::Diskless,
        lowest_pdsk: DiskState::UpToDate,
        highest_conn: ConnState::StandAlone,
        lowest_conn: None,
        all_unconfigured: true,
        any_reports_params: false,
        any_suspended: false,
        volumes: 0,
    };
    for s in states {
        c.volumes = c.volumes.saturating_add(1);
        c.highest_role = higher_role(c.highest_role, s.role);
        c.highest_peer = higher_role(c.highest_peer, s.peer);
        c.highest_disk = core::cmp::max_by_key(c.highest_disk, s.disk, |d| *d as u32);
        c.lowest_disk = core::cmp::min_by_key(c.lowest_disk, s.disk, |d| *d as u32);
        c.highest_pdsk = core::cmp::max_by_key(c.highest_pdsk, s.pdsk, |d| *d as u32);
        c.lowest_pdsk = core::cmp::min_by_key(c.lowest_pdsk, s.pdsk, |d| *d as u32);
        c.highest_conn = core::cmp::max_by_key(c.highest_conn, s.conn, |d| *d as u32);
        let lowest = c.lowest_conn.unwrap_or(s.conn);
        c.lowest_conn = Some(core::cmp::min_by_key(lowest, s.conn, |d| *d as u32));
        c.all_unconfigured &= super::sanitize::is_unconfigured(s);
        c.any_reports_params |= s.conn == ConnState::WfReportParams;
        c.any_suspended |= is_suspended(s);
    }
    c
}

/// The numbers of the roles are not in order of rank.
fn higher_role(a: Role, b: Role) -> Role {
    match (a, b) {
        (Role::Primary, _) | (_, Role::Primary) => Role::Primary,
        (Role::Secondary, _) | (_, Role::Secondary) => Role::Secondary,
        _ => Role::Unknown,
    }
}
