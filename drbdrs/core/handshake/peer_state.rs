// SPDX-License-Identifier: GPL-2.0-only

//! P_STATE: the peer's state arrived; what does it mean for this side?
//!
//! ```text
//!   consider ──► GoesDown / PeerFinishedResync / VerifyFinished      (nothing else happens)
//!      │
//!      └──► Pending{ compare: Some(reason) } ──► uuid::sync_handshake ──► its verdict ─┐
//!      └──► Pending{ compare: None } ───────────────────────────────────► None ────────┤
//!                                                                                      ▼
//!                                        conclude ──► Set / FailMyDisk / Disconnect / EndDryRun / AbortFrozen /
//!                                                     MeetAgain
//! ```
//!
//! Between `consider` and writing the new state the lock is dropped (the handshake may write bitmaps and call
//! helpers). If the state has changed meanwhile, begin again with `consider`, keeping what was learned of the
//! peer's disk ([`Pending::peer_disk`]).

use crate::state::{
    is_being_torn_down, is_beyond_connected, is_connected, is_failed_or_less, is_resync_or_beyond,
    is_suspended, How,
};
use crate::types::{ConnState, DiskState, Role, State};
use crate::uuid::{PeerUuids, Plan, Refusal};

/// The state of the peer's disk: while it negotiates, what it wants to become.
pub fn real_peer_disk(told: DiskState, uuids: Option<&PeerUuids>) -> DiskState {
    if told != DiskState::Negotiating {
        return told;
    }
    if uuids.is_some_and(|u| u.inconsistent) {
        DiskState::Inconsistent
    } else {
        DiskState::Consistent
    }
}

/// What is known beside the two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// P_UUIDS of the peer's disk are known.
    pub have_peer_uuids: bool,
    /// There is a local disk: negotiating or better.
    pub have_disk: bool,
    /// The inconsistent peer was forced primary (8.4: CONSIDER_RESYNC).
    pub consider_resync: bool,
    /// Bits that are out of sync now.
    pub out_of_sync: u64,
    /// Bits that the resync under way could not sync.
    pub resync_failed: u64,
    /// What a negotiating local disk wants to become.
    pub negotiated_disk: DiskState,
    /// That disk has the generation that a Primary has seen, as far as we know.
    pub continues: bool,
    /// I/O is frozen, and a new generation is due when it resumes without the peer (8.4: NEW_CUR_UUID).
    pub new_generation_due: bool,
    /// The application was told that writes are done which the peer may never have got ([`Request::in_doubt`]).
    ///
    /// [`Request::in_doubt`]: crate::request::Request::in_doubt
    pub in_doubt: bool,
    /// The peer asked for a dry run (8.4: CONN_DRY_RUN), or this side is `tentative`.
    pub dry_run: bool,
}

/// Why the data is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A new connection.
    NewConnection,
    /// A disk was attached while connected.
    DiskAttached,
    /// Both were inconsistent, and the peer was forced primary.
    PeerWasForced,
    /// An administrator asked for a full sync.
    FullSyncRequested,
}

/// What the peer's state means at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Considered {
    /// The connection is being given up already: the state comes too late.
    GoesDown,
    /// Both take themselves for the source of the resync that begins, or both for its target: meet again.
    Contradiction,
    /// The peer says that the resync is finished: finish it here as well if `finish`, else ignore it.
    PeerFinishedResync {
        /// Nothing is left to do on this side.
        finish: bool,
    },
    /// The peer says that the verify is finished: finish it here.
    VerifyFinished,
    /// To be concluded.
    Pending(Pending),
}

/// What is left to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The peer's disk, as it really is.
    pub peer_disk: DiskState,
    /// The connection state unless a comparison decides otherwise.
    pub conn: ConnState,
    /// Compare the data, and why.
    pub compare: Option<Reason>,
}

/// A disk is attached to the connection, and this side, which has told how many bits it has long ago, counts anew: it
/// judges by that number, and tells the peer, which judges then. (8.4 judges by the old number, and tells a new one.)
pub fn counts_anew(own: &State, reason: Option<Reason>) -> bool {
    reason == Some(Reason::DiskAttached) && own.disk != DiskState::Negotiating
}

/// Looks at the peer's state. `peer_disk`: from [`real_peer_disk`], or what was learned since.
pub fn consider(own: &State, peer: &State, peer_disk: DiskState, f: &Facts) -> Considered {
    if is_being_torn_down(own.conn) {
        return Considered::GoesDown;
    }
    // One has judged before it heard what the other judges by. (8.4 has two sources then, or two that wait for ever.)
    let begins = matches!(own.conn, ConnState::WfBitmapS | ConnState::WfBitmapT);
    if begins && peer.conn == own.conn {
        return Considered::Contradiction;
    }
    let mut peer_disk = peer_disk;
    if seems_synced(own, peer_disk) {
        if is_preparing_sync(peer.conn) {
            // It says UpToDate until it starts in earnest: that would only flap.
            peer_disk = DiskState::Inconsistent;
        } else if is_resync_or_beyond(own.conn) && peer.conn == ConnState::Connected {
            let finish = f.out_of_sync <= f.resync_failed;
            return Considered::PeerFinishedResync { finish };
        }
    }
    let both_good = own.disk == DiskState::UpToDate && peer_disk == DiskState::UpToDate;
    if own.conn == ConnState::VerifyT && peer.conn == ConnState::Connected && both_good {
        return Considered::VerifyFinished;
    }
    if still_thinks_it_syncs(own, peer, peer_disk) {
        peer_disk = DiskState::UpToDate;
    }
    if super::grown::waits_for_new_part(own, peer, peer_disk) {
        peer_disk = own.pdsk;
    }
    let conn = match (own.conn, peer.conn) {
        (_, ConnState::Ahead) => ConnState::Behind,
        // It got our consent to a verify when it waited for a resync already.
        (ConnState::VerifyT, ConnState::WfSyncUuid) => ConnState::Connected,
        (ConnState::WfReportParams, _) => ConnState::Connected,
        (conn, _) => conn,
    };
    let comparable = f.have_peer_uuids && !is_failed_or_less(peer.disk) && f.have_disk;
    let compare = if comparable {
        reason(own, peer, f)
    } else {
        None
    };
    Considered::Pending(Pending {
        peer_disk,
        conn,
        compare,
    })
}

/// We send it data or are about to, and it says that it has all.
fn seems_synced(own: &State, peer_disk: DiskState) -> bool {
    matches!(own.pdsk, DiskState::Inconsistent | DiskState::Consistent)
        && peer_disk == DiskState::UpToDate
        && is_beyond_connected(own.conn)
        && own.disk == DiskState::UpToDate
}

fn is_preparing_sync(conn: ConnState) -> bool {
    is_beyond_connected(conn) && !is_resync_or_beyond(conn)
}

/// We are done with the resync, the peer has not noticed.
fn still_thinks_it_syncs(own: &State, peer: &State, peer_disk: DiskState) -> bool {
    own.pdsk == DiskState::UpToDate
        && peer_disk == DiskState::Inconsistent
        && own.conn == ConnState::Connected
        && is_resync_or_beyond(peer.conn)
        && peer.conn != ConnState::SyncSource
}

fn reason(own: &State, peer: &State, f: &Facts) -> Option<Reason> {
    let connected = own.conn == ConnState::Connected;
    // Two that attach at once may each take the other for diskless and settle alone. (8.4 does not compare then.)
    let unseen = matches!(own.pdsk, DiskState::Diskless | DiskState::Attaching)
        && !is_failed_or_less(peer.disk);
    let negotiates =
        peer.disk == DiskState::Negotiating || own.disk == DiskState::Negotiating || unseen;
    let asks_for_sync = matches!(
        peer.conn,
        ConnState::StartingSyncS
            | ConnState::StartingSyncT
            | ConnState::WfBitmapS
            | ConnState::WfBitmapT
    );
    if !is_connected(own.conn) {
        Some(Reason::NewConnection)
    } else if connected && negotiates {
        Some(Reason::DiskAttached)
    } else if f.consider_resync {
        Some(Reason::PeerWasForced)
    } else if connected && asks_for_sync && !is_failed_or_less(own.pdsk) {
        // Of a disk that is known to be gone, it is what the peer was about to do before.
        Some(Reason::FullSyncRequested)
    } else {
        None
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Write this state; if it is refused, disconnect.
    Set {
        /// The state to write.
        new: State,
        /// A fact, unless it establishes the connection: that must be allowed.
        how: How,
        /// The peer gave up its attach ("Disk attach process on the peer node was aborted").
        peer_attach_aborted: bool,
    },
    /// The data that this side is attaching does not fit: make the disk Failed (a fact), begin again.
    FailMyDisk,
    /// The data does not fit together: disconnect (a fact).
    Disconnect,
    /// A dry run was asked for: forget that, end the connection as on an error.
    EndDryRun,
    /// The peer was rebooted while our I/O was frozen, and cannot know what it lost: complete the frozen
    /// requests as unreplicated, begin the new generation, clear `susp`, end with ProtocolError.
    AbortFrozen,
    /// What is in doubt is marked, and a new generation begins with it: break the connection, so that the two see when
    /// they meet again what the peer may lack. I/O stays frozen.
    MeetAgain,
}

/// Concludes, with the verdict of the comparison if there was one.
pub fn conclude(
    own: &State,
    peer: &State,
    pending: &Pending,
    verdict: Option<Result<Plan, Refusal>>,
    f: &Facts,
) -> Conclusion {
    let mut conn = pending.conn;
    let mut peer_disk = pending.peer_disk;
    let mut peer_attach_aborted = false;
    let verdict =
        verdict.map(|found| found.and_then(|plan| keep_data_in_use(own, peer, pending, plan)));
    match verdict {
        None => {}
        // The peer missed the end of our last resync, wrote since, and corrected its generations before it sent them: to
        // us all looks equal, but it is about to send what we lack. (8.4 stays Connected, and lacks that for good.)
        Some(Ok(plan))
            if plan.conn == ConnState::Connected
                && own.disk == DiskState::Negotiating
                && peer.conn == ConnState::WfBitmapS =>
        {
            conn = ConnState::WfBitmapT;
        }
        Some(Ok(plan)) => conn = plan.conn,
        Some(Err(_)) if own.disk == DiskState::Negotiating => return Conclusion::FailMyDisk,
        Some(Err(_)) if peer.disk == DiskState::Negotiating => {
            conn = ConnState::Connected;
            peer_disk = DiskState::Diskless;
            peer_attach_aborted = true;
        }
        Some(Err(_)) if f.dry_run => return Conclusion::EndDryRun,
        Some(Err(_)) => return Conclusion::Disconnect,
    }
    let mut new = *own;
    new.conn = conn;
    new.peer = peer.role;
    new.pdsk = peer_disk;
    new.peer_isp = peer.aftr_isp || peer.user_isp;
    let settles = matches!(new.conn, ConnState::Connected | ConnState::WfBitmapS);
    // A state that was sent before the peer's generations for this disk: they follow, with another state.
    let compared = verdict.is_some() || is_failed_or_less(peer.disk);
    if settles && compared && new.disk == DiskState::Negotiating {
        // The peer's disk was good when ours came, and has gone before the two were compared. (8.4 takes ours for good.)
        if verdict.is_none() && !f.continues {
            return Conclusion::FailMyDisk;
        }
        new.disk = f.negotiated_disk;
    }
    let establishes = !is_connected(own.conn) && is_connected(new.conn);
    // As when two have just met. The source of an aborted resync has its disk again, and they are equal.
    if verdict.is_some() && new.conn == ConnState::Connected && !establishes {
        new.pdsk = settled(new.pdsk);
        if own.disk != DiskState::Negotiating {
            new.disk = settled(new.disk);
        }
    }
    let rebooted_peer = new.pdsk == DiskState::Consistent
        && new.conn == ConnState::Connected
        && establishes
        && is_suspended(own);
    if rebooted_peer && f.new_generation_due {
        return Conclusion::AbortFrozen;
    }
    // Equal generations, and yet ours has more. (8.4 takes that for arrived, and the disks differ for good.)
    let lacks = new.conn == ConnState::Connected && establishes && f.in_doubt;
    if lacks && own.disk == DiskState::UpToDate {
        return Conclusion::MeetAgain;
    }
    let how = if establishes { How::SOFT } else { How::HARD };
    Conclusion::Set {
        new,
        how,
        peer_attach_aborted,
    }
}

/// A Primary without a disk works with its peer's data. The disk that it attaches then may get them, but never replaces
/// them, whatever a policy for split brains says. (In 8.4 the application sees other data from then on.)
fn keep_data_in_use(
    own: &State,
    peer: &State,
    pending: &Pending,
    plan: Plan,
) -> Result<Plan, Refusal> {
    let attaches = |s: &State| s.disk == DiskState::Negotiating && s.role == Role::Primary;
    let mine = attaches(own) && pending.peer_disk == DiskState::UpToDate;
    let theirs = attaches(peer) && own.disk == DiskState::UpToDate;
    let replaces = match plan.conn {
        ConnState::WfBitmapS => mine,
        ConnState::WfBitmapT => theirs,
        _ => false,
    };
    if replaces && is_connected(own.conn) {
        return Err(Refusal::SplitBrain);
    }
    Ok(plan)
}

/// Of a disk that a comparison finds equal to the other one.
fn settled(disk: DiskState) -> DiskState {
    match disk {
        DiskState::Consistent | DiskState::Outdated => DiskState::UpToDate,
        other => other,
    }
}

/// The state was written: must the peer be told more, because it cannot know what we concluded? If so, send P_UUIDS,
/// then P_STATE. `written`: the state after corrections.
///
/// We want to sync, and it has not decided so itself; or it waits for our generations, to see that the disk which it
/// is attaching does not fit. 8.4 says nothing in the second case, and its peer negotiates until the connection ends.
pub fn owes_answer(
    own_before: &State,
    written: &State,
    peer: &State,
    peer_attach_aborted: bool,
) -> bool {
    let wants_resync_first = is_connected(own_before.conn)
        && is_beyond_connected(written.conn)
        && !is_beyond_connected(peer.conn)
        && peer.disk != DiskState::Negotiating;
    wants_resync_first || peer_attach_aborted
}
