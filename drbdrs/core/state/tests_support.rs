// SPDX-License-Identifier: GPL-2.0-only

//! States and configurations that the tests start from.

use super::*;
use crate::config::choices::{Fencing, OnNoData};
use crate::types::{ConnState, DiskState, Role, State};

/// Nothing configured.
pub const UNCONFIGURED: State = State::NEW;

/// A good disk, waiting for the peer.
pub const ALONE: State = State {
    conn: ConnState::WfConnection,
    disk: DiskState::UpToDate,
    ..UNCONFIGURED
};

/// Two good disks, both secondary.
pub const CONNECTED: State = State {
    conn: ConnState::Connected,
    peer: Role::Secondary,
    pdsk: DiskState::UpToDate,
    ..ALONE
};

/// Two good disks, this node primary.
pub const PRIMARY: State = State {
    role: Role::Primary,
    ..CONNECTED
};

/// Source of a resync.
pub const SOURCE: State = State {
    conn: ConnState::SyncSource,
    pdsk: DiskState::Inconsistent,
    ..CONNECTED
};

/// Target of a resync.
pub const TARGET: State = State {
    conn: ConnState::SyncTarget,
    disk: DiskState::Inconsistent,
    ..CONNECTED
};

/// A connection with default options.
pub const CONF: Conf = Conf {
    fencing: Fencing::DontCare,
    on_no_data: OnNoData::IoError,
    net: Some(NetRules {
        two_primaries: false,
        can_verify: true,
    }),
    highest_peer: Role::Unknown,
    is_open: false,
    version: 101,
    state_sent: false,
    negotiation: Negotiation::None,
};

/// All connection states.
pub fn all_conns() -> impl Iterator<Item = ConnState> {
    (0..32).filter_map(ConnState::from_wire)
}

/// All disk states.
pub fn all_disks() -> impl Iterator<Item = DiskState> {
    (0..16).filter_map(DiskState::from_wire)
}

/// All roles.
pub const ROLES: [Role; 3] = [Role::Unknown, Role::Primary, Role::Secondary];

/// All states without the flags.
pub fn all_states() -> impl Iterator<Item = State> {
    ROLES.into_iter().flat_map(|role| {
        ROLES.into_iter().flat_map(move |peer| {
            all_conns().flat_map(move |conn| {
                all_disks().flat_map(move |disk| {
                    all_disks().map(move |pdsk| State {
                        role,
                        peer,
                        conn,
                        disk,
                        pdsk,
                        ..UNCONFIGURED
                    })
                })
            })
        })
    })
}

/// What the worker finds when nothing special is the case.
pub const FACTS: AfterContext = AfterContext {
    has_disk: true,
    backing_open: true,
    version: 101,
    has_own_generation: false,
    resync_is_open: false,
    now: CONNECTED,
    lowest_conn: ConnState::Connected,
    lowest_disk: DiskState::UpToDate,
    grown_while_away: false,
    call_local_io_error: false,
    force_detach: false,
    verify_stop_sector: false,
};
