// SPDX-License-Identifier: GPL-2.0-only

//! What is refused: states that must not be, and transitions that must not be made.

use super::predicates::*;
use super::sanitize::Negotiation;
use crate::config::choices::{Fencing, OnNoData};
use crate::types::{ConnState, DiskState, Role, State, StateRv};

/// What the rules know beside the states: configuration and a few facts about the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conf {
    /// `fencing`; `DontCare` while there is no local disk.
    pub fencing: Fencing,
    /// `on-no-data-accessible`
    pub on_no_data: OnNoData,
    /// The network options, if the connection is configured.
    pub net: Option<NetRules>,
    /// The peer's highest role over all volumes of the connection.
    pub highest_peer: Role,
    /// Somebody has the device open.
    pub is_open: bool,
    /// The agreed protocol version, 0 before there is one.
    pub version: u32,
    /// Our state went to the peer and its answer is outstanding (8.4: STATE_SENT).
    pub state_sent: bool,
    /// What becomes of a negotiating disk when the connection goes away.
    pub negotiation: Negotiation,
}

impl Conf {
    /// A volume without disk and connection.
    pub const UNCONFIGURED: Self = Self {
        fencing: Fencing::DontCare,
        on_no_data: OnNoData::IoError,
        net: None,
        highest_peer: Role::Unknown,
        is_open: false,
        version: 0,
        state_sent: false,
        negotiation: Negotiation::None,
    };
}

/// The network options that decide about states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetRules {
    /// `allow-two-primaries`
    pub two_primaries: bool,
    /// `verify-alg` is set.
    pub can_verify: bool,
}

/// What may be objected to a state, one rule after the other.
const RULES: [fn(&State, &Conf) -> Option<StateRv>; 6] = [
    one_primary,
    demotion_while_open,
    primary_needs_data,
    resync_needs_disks,
    verify_is_possible,
    connected_disks_are_known,
];

/// May this state be? `Success`, or the first objection.
pub fn valid(s: &State, conf: &Conf) -> StateRv {
    objections(s, conf).next().unwrap_or(StateRv::Success)
}

fn objections<'a>(s: &'a State, conf: &'a Conf) -> impl Iterator<Item = StateRv> + 'a {
    RULES.iter().filter_map(move |rule| rule(s, conf))
}

/// The first objection to a state that was none to the old one: what is wrong already need not get right. (8.4 looks at the
/// first objection to either.)
pub(super) fn new_objection(old: &State, new: &State, conf: &Conf) -> Option<StateRv> {
    objections(new, conf).find(|objection| !objections(old, conf).any(|was| was == *objection))
}

fn one_primary(s: &State, conf: &Conf) -> Option<StateRv> {
    let net = conf.net?;
    if net.two_primaries || s.role != Role::Primary {
        return None;
    }
    if s.peer == Role::Primary {
        return Some(StateRv::TwoPrimaries);
    }
    (conf.highest_peer == Role::Primary).then_some(StateRv::OVolPeerPri)
}

fn demotion_while_open(s: &State, conf: &Conf) -> Option<StateRv> {
    (s.role == Role::Secondary && conf.is_open).then_some(StateRv::DeviceInUse)
}

fn primary_needs_data(s: &State, conf: &Conf) -> Option<StateRv> {
    if s.role != Role::Primary {
        return None;
    }
    if !is_connected(s.conn) && s.disk != DiskState::UpToDate {
        return Some(StateRv::NoUpToDateDisk);
    }
    let fences = conf.fencing != Fencing::DontCare;
    if fences && !is_connected(s.conn) && is_better_than_outdated(s.pdsk) {
        return Some(StateRv::PrimaryNop);
    }
    // Connected and outdated: what an aborted resync leaves of its target.
    let no_good = is_inconsistent_or_less(s.disk) || s.disk == DiskState::Outdated;
    (no_good && is_inconsistent_or_less(s.pdsk)).then_some(StateRv::NoUpToDateDisk)
}

fn resync_needs_disks(s: &State, _: &Conf) -> Option<StateRv> {
    if is_beyond_connected(s.conn) {
        if has_no_data(s.disk) {
            return Some(StateRv::NoLocalDisk);
        }
        if has_no_data(s.pdsk) {
            return Some(StateRv::NoRemoteDisk);
        }
        if s.disk != DiskState::UpToDate && s.pdsk != DiskState::UpToDate {
            return Some(StateRv::NoUpToDateDisk);
        }
    }
    let gives_data = matches!(
        s.conn,
        ConnState::Connected
            | ConnState::WfBitmapS
            | ConnState::SyncSource
            | ConnState::PausedSyncS
    );
    (gives_data && s.disk == DiskState::Outdated).then_some(StateRv::ConnectedOutdates)
}

fn verify_is_possible(s: &State, conf: &Conf) -> Option<StateRv> {
    if !is_verify(s.conn) {
        return None;
    }
    if conf.net.is_some_and(|net| !net.can_verify) {
        return Some(StateRv::NoVerifyAlg);
    }
    (conf.version < 88).then_some(StateRv::NotSupported)
}

fn connected_disks_are_known(s: &State, _: &Conf) -> Option<StateRv> {
    if is_primary_without_data(s) {
        return Some(StateRv::NoUpToDateDisk);
    }
    if s.pdsk != DiskState::Unknown {
        return None;
    }
    if is_starting_full_sync(s.conn) {
        return Some(StateRv::NeedConnection);
    }
    is_connected(s.conn).then_some(StateRv::ConnectedOutdates)
}

/// An objection to a transition, if there is one.
type TransitionRule = fn(&State, &State, &Conf) -> Option<StateRv>;

/// May an administrator or the peer ask for this transition? The last objection counts, as in 8.4.
pub fn soft_transition(old: &State, new: &State, conf: &Conf) -> StateRv {
    const RULES: [TransitionRule; 15] = [
        full_sync_from_bad_data,
        verify_of_bad_data,
        full_sync_while_busy,
        disconnect_twice,
        better_disk_without_disk,
        connect_without_configuration,
        outdate_what_is_worse,
        disconnect_in_between,
        change_while_connecting,
        promote_during_forced_sync,
        verify_without_connection,
        verify_while_busy,
        full_sync_without_connection,
        sync_without_connection,
        outdate_peer_without_connection,
    ];
    let last = RULES.iter().rev().find_map(|rule| rule(old, new, conf));
    last.unwrap_or(StateRv::Success)
}

fn when(yes: bool, objection: StateRv) -> Option<StateRv> {
    yes.then_some(objection)
}

/// 8.4 takes the source's disk for good then, and the only good copy is overwritten.
fn full_sync_from_bad_data(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let source = match new.conn {
        ConnState::StartingSyncT => old.pdsk,
        ConnState::StartingSyncS => old.disk,
        _ => return None,
    };
    when(source != DiskState::UpToDate, StateRv::NoUpToDateDisk)
}

/// 8.4 takes both disks for good then, also one that is outdated or just being attached.
fn verify_of_bad_data(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let starts = is_verify(new.conn) && new.conn != old.conn;
    when(starts && !both_up_to_date(old), StateRv::NoUpToDateDisk)
}

fn full_sync_while_busy(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let busy = is_beyond_connected(old.conn);
    when(
        is_starting_full_sync(new.conn) && busy,
        StateRv::ResyncRunning,
    )
}

fn disconnect_twice(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let twice = new.conn == ConnState::Disconnecting && old.conn == ConnState::StandAlone;
    when(twice, StateRv::AlreadyStandalone)
}

/// Nor is one that has failed good again before it was detached and attached. (8.4: it is, by a forced promotion that
/// waited while the disk failed.)
fn better_disk_without_disk(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let better = match old.disk {
        DiskState::Diskless => !matches!(new.disk, DiskState::Diskless | DiskState::Attaching),
        DiskState::Failed => !matches!(new.disk, DiskState::Diskless | DiskState::Failed),
        _ => false,
    };
    when(better, StateRv::IsDiskless)
}

fn connect_without_configuration(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let unconfigured = matches!(old.conn, ConnState::StandAlone | ConnState::Disconnecting);
    when(
        new.conn == ConnState::WfConnection && unconfigured,
        StateRv::NoNetConfig,
    )
}

fn outdate_what_is_worse(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    // Without the peer, a disk that negotiates takes the state that it attached for.
    let settles = old.disk == DiskState::Negotiating && !is_connected(new.conn);
    let worse = is_inconsistent_or_less(old.disk) && old.disk != DiskState::Attaching && !settles;
    when(
        new.disk == DiskState::Outdated && worse,
        StateRv::LowerThanOutdated,
    )
}

fn disconnect_in_between(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let between = new.conn == ConnState::Disconnecting && old.conn == ConnState::Unconnected;
    when(between, StateRv::InTransientState)
}

/// While the two sides introduce each other, only that may go on.
fn change_while_connecting(old: &State, new: &State, conf: &Conf) -> Option<StateRv> {
    let goes_on = match old.conn {
        ConnState::WfConnection => new.conn == ConnState::WfReportParams,
        ConnState::WfReportParams => is_connected(new.conn),
        _ => false,
    };
    when(conf.state_sent && !goes_on, StateRv::InTransientState)
}

/// The peer was forced primary and is about to sync us: do not promote in the middle of that handshake.
fn promote_during_forced_sync(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let promotes = old.role != Role::Primary && new.role == Role::Primary;
    let about_to_sync = new.pdsk == DiskState::UpToDate
        && !matches!(new.disk, DiskState::UpToDate | DiskState::Diskless);
    let unsettled = !is_resync_or_beyond(new.conn) || new.conn != old.conn;
    when(
        promotes && about_to_sync && unsettled,
        StateRv::InTransientState,
    )
}

fn verify_without_connection(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    when(
        is_verify(new.conn) && !is_connected(old.conn),
        StateRv::NeedConnection,
    )
}

fn verify_while_busy(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let starts = is_verify(new.conn) && new.conn != old.conn;
    when(
        starts && is_beyond_connected(old.conn),
        StateRv::ResyncRunning,
    )
}

fn full_sync_without_connection(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    when(
        is_starting_full_sync(new.conn) && !is_connected(old.conn),
        StateRv::NeedConnection,
    )
}

fn sync_without_connection(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    when(
        is_running_resync(new.conn) && !has_socket(old.conn),
        StateRv::NeedConnection,
    )
}

fn outdate_peer_without_connection(old: &State, new: &State, _: &Conf) -> Option<StateRv> {
    let outdates = new.pdsk == DiskState::Outdated && is_better_than_outdated(old.pdsk);
    let leaves = new.conn == ConnState::Disconnecting && !is_connected(old.conn);
    when(leaves && outdates, StateRv::OutdateWoConn)
}

/// What not even a fact may do.
pub fn transition(old: &State, new: &State) -> StateRv {
    if new.disk == DiskState::Failed && old.disk == DiskState::Diskless {
        return StateRv::IsDiskless;
    }
    super::connection::connection_transition(old.conn, new.conn)
}
