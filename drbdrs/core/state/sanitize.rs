// SPDX-License-Identifier: GPL-2.0-only

//! The corrections that a state implies: applied to every wished state before it is judged.
//!
//! Each rule is one function; the order matters and is 8.4's.

use super::predicates::*;
use super::valid::Conf;
use crate::config::choices::{Fencing, OnNoData};
use crate::types::{ConnState, DiskState, Role, State};

/// Something that a correction did and that is worth a line in the log. The last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A disk failed while a verify ran.
    VerifyAborted,
    /// A disk failed while a resync ran or was prepared.
    ResyncAborted,
    /// The connection went away before both sides had settled what the attached disk is.
    ConnectionLostWhileNegotiating,
    /// This disk's state was raised to what the connection state implies.
    DiskUpgraded,
    /// The peer disk's state was raised to what the connection state implies.
    PeerDiskUpgraded,
}

impl Warning {
    /// The line for the log, as 8.4 writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::VerifyAborted => "Online-verify aborted.",
            Self::ResyncAborted => "Resync aborted.",
            Self::ConnectionLostWhileNegotiating => "Connection lost while negotiating, no data!",
            Self::DiskUpgraded => "Implicitly upgraded disk",
            Self::PeerDiskUpgraded => "Implicitly upgraded pdsk",
        }
    }
}

/// What becomes of a disk that is still negotiating when the connection goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Negotiation {
    /// There is no local disk in negotiation.
    #[default]
    None,
    /// Its data is the generation that this node works with: it takes the states it attached for.
    Known {
        /// What the disk wants to become.
        disk: DiskState,
        /// What it remembers of the peer's disk.
        pdsk: DiskState,
    },
    /// Its data is another generation: it is dropped.
    OtherGeneration,
}

/// Applies all corrections.
pub fn sanitize(old: State, wished: State, conf: &Conf) -> (State, Option<Warning>) {
    let mut s = wished;
    let mut warning = None;
    forget_lost_peer(&mut s);
    stop_waiting_when_unconfigured(&mut s);
    abort_sync_without_disks(&mut s, &mut warning);
    settle_negotiation(&mut s, conf, &mut warning);
    settle_when_connected(&old, &mut s);
    clamp_disks(&mut s, &mut warning);
    suspend_while_fencing(&old, &mut s, conf);
    suspend_without_data(&old, &mut s, conf);
    pause_or_continue(&mut s);
    (s, warning)
}

/// Without a connection nothing is known of the peer, except that its disk is old if that was known.
fn forget_lost_peer(s: &mut State) {
    if is_connected(s.conn) {
        return;
    }
    s.peer_isp = false;
    s.peer = Role::Unknown;
    if has_no_data(s.pdsk) || is_consistent_or_better(s.pdsk) {
        s.pdsk = DiskState::Unknown;
    }
}

fn stop_waiting_when_unconfigured(s: &mut State) {
    if is_unconfigured(s) {
        s.aftr_isp = false;
    }
}

/// Neither disk, nor connection, nor in use.
pub(super) fn is_unconfigured(s: &State) -> bool {
    s.conn == ConnState::StandAlone && s.disk == DiskState::Diskless && s.role == Role::Secondary
}

fn abort_sync_without_disks(s: &mut State, warning: &mut Option<Warning>) {
    let disk_gone = is_failed_or_less(s.disk) || is_failed_or_less(s.pdsk);
    if is_beyond_connected(s.conn) && disk_gone {
        *warning = Some(if is_verify(s.conn) {
            Warning::VerifyAborted
        } else {
            Warning::ResyncAborted
        });
        s.conn = ConnState::Connected;
    }
}

fn settle_negotiation(s: &mut State, conf: &Conf, warning: &mut Option<Warning>) {
    if is_connected(s.conn) || s.disk != DiskState::Negotiating {
        return;
    }
    match conf.negotiation {
        Negotiation::None => {}
        Negotiation::Known { disk, pdsk } => {
            s.disk = disk;
            s.pdsk = pdsk;
        }
        Negotiation::OtherGeneration => {
            *warning = Some(Warning::ConnectionLostWhileNegotiating);
            s.disk = DiskState::Diskless;
            s.pdsk = DiskState::Unknown;
        }
    }
}

/// Two sides that have just met know: what is merely consistent or was outdated is either good, or being synced. If
/// it was being synced and that was aborted, it is the older copy (8.4 calls it UpToDate), until the two meet again, or
/// compare their disks (`handshake::conclude`).
fn settle_when_connected(old: &State, s: &mut State) {
    if !is_connected_in_step(s.conn) {
        return;
    }
    let unknown = |disk| matches!(disk, DiskState::Consistent | DiskState::Outdated);
    for (was, disk) in [(old.disk, &mut s.disk), (old.pdsk, &mut s.pdsk)] {
        let aborted = is_connected(old.conn) && unknown(was);
        if unknown(*disk) && !aborted {
            *disk = DiskState::UpToDate;
        }
    }
}

/// The states that a connection state allows for the two disks.
struct Bounds {
    disk: (DiskState, DiskState),
    pdsk: (DiskState, DiskState),
}

fn bounds(conn: ConnState) -> Bounds {
    use ConnState as C;
    use DiskState::{Consistent, Diskless, Inconsistent, Outdated, Unknown, UpToDate};
    match conn {
        C::WfBitmapT | C::PausedSyncT | C::StartingSyncT | C::WfSyncUuid | C::Behind => Bounds {
            disk: (Inconsistent, Outdated),
            pdsk: (UpToDate, UpToDate),
        },
        C::VerifyS | C::VerifyT => Bounds {
            disk: (UpToDate, UpToDate),
            pdsk: (UpToDate, UpToDate),
        },
        C::Connected => Bounds {
            disk: (Diskless, UpToDate),
            pdsk: (Diskless, UpToDate),
        },
        C::WfBitmapS | C::PausedSyncS | C::StartingSyncS | C::Ahead => Bounds {
            disk: (UpToDate, UpToDate),
            pdsk: (Inconsistent, Consistent),
        },
        C::SyncTarget => Bounds {
            disk: (Inconsistent, Inconsistent),
            pdsk: (UpToDate, UpToDate),
        },
        C::SyncSource => Bounds {
            disk: (UpToDate, UpToDate),
            pdsk: (Inconsistent, Inconsistent),
        },
        C::StandAlone
        | C::Disconnecting
        | C::Unconnected
        | C::Timeout
        | C::BrokenPipe
        | C::NetworkFailure
        | C::ProtocolError
        | C::TearDown
        | C::WfConnection
        | C::WfReportParams => Bounds {
            disk: (Diskless, UpToDate),
            pdsk: (Inconsistent, Unknown),
        },
    }
}

fn rank(disk: DiskState) -> u32 {
    disk as u32
}

/// Lowers silently, raises with a warning.
fn clamp(disk: &mut DiskState, (min, max): (DiskState, DiskState)) -> bool {
    if rank(*disk) > rank(max) {
        *disk = max;
    }
    let raised = rank(*disk) < rank(min);
    if raised {
        *disk = min;
    }
    raised
}

fn clamp_disks(s: &mut State, warning: &mut Option<Warning>) {
    let b = bounds(s.conn);
    if clamp(&mut s.disk, b.disk) {
        *warning = Some(Warning::DiskUpgraded);
    }
    if clamp(&mut s.pdsk, b.pdsk) {
        *warning = Some(Warning::PeerDiskUpgraded);
    }
}

/// The peer was just lost: freeze until it is known not to write.
fn suspend_while_fencing(old: &State, s: &mut State, conf: &Conf) {
    if conf.fencing == Fencing::ResourceAndStonith
        && is_primary_with_unfenced_peer(s)
        && !is_primary_with_unfenced_peer(old)
    {
        s.susp_fen = true;
    }
}

/// The last good copy was just lost: wait for it instead of failing I/O.
fn suspend_without_data(old: &State, s: &mut State, conf: &Conf) {
    if conf.on_no_data == OnNoData::SuspendIo
        && is_primary_without_data(s)
        && !is_primary_without_data(old)
    {
        s.susp_nod = true;
    }
}

fn pause_or_continue(s: &mut State) {
    s.conn = match (s.conn, is_resync_paused(s)) {
        (ConnState::SyncSource, true) => ConnState::PausedSyncS,
        (ConnState::SyncTarget, true) => ConnState::PausedSyncT,
        (ConnState::PausedSyncS, false) => ConnState::SyncSource,
        (ConnState::PausedSyncT, false) => ConnState::SyncTarget,
        (other, _) => other,
    };
}
