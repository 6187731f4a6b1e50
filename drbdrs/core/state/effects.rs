// SPDX-License-Identifier: GPL-2.0-only

//! What follows from a change of state, as lists of named effects.
//!
//! [`now_effects`] must be carried out under the lock that guards the state, right after the new state is
//! written. [`after_effects`] may sleep: the worker carries them out in order, with facts taken when it
//! gets there. [`after_connection_effects`] follow once per change of a whole connection.
//! Every rule is one small function that looks at the old and the new state and at the facts.

use super::list::List;
use super::predicates::*;
use crate::types::{ConnState, DiskState, Role, State};

/// Effects that belong to the change itself, under the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// Hold the local disk until [`After::ReleaseDisk`]: it must not vanish before its effects ran.
    HoldDisk,
    /// Requests before and after this point need different acknowledgements: close the epoch.
    StartEpoch,
    /// Log the UUIDs of the disk that was attached.
    LogUuids,
    /// The two exchange bitmaps. What an earlier connection carried, was completed, and no barrier confirmed, is marked
    /// first: the peer may have restarted since. (While I/O is suspended that is still in the log.)
    MarkUnconfirmed,
    /// Count the bits of our bitmap: the peer is told that number, however often, until the two meet anew.
    CountDirty,
    /// Our state is no longer under way on any volume: role changes may go on (8.4: STATE_SENT).
    ForgetStateSent,
    /// Remember how far the verify got.
    KeepVerifyPosition,
    /// The pause is over: account for it, and start requesting again if `as_target`.
    ContinueResync {
        /// This side requests the blocks.
        as_target: bool,
    },
    /// A pause begins: note the time.
    PauseResync,
    /// Set up position, marks and controller of a verify, and start requesting if `as_source`.
    StartVerify {
        /// This side requests the blocks.
        as_source: bool,
    },
    /// Bring the metadata flags in line with the state ([`super::metadata_flags`]).
    UpdateMetadataFlags,
    /// The data on the local disk is what this node works with: its current UUID is the effective one.
    AdoptLocalGeneration,
    /// The peer's current UUID, if it told one, becomes the effective UUID.
    AdoptPeerGeneration,
    /// What the peer told of its disk does not count for the next one that it attaches.
    ForgetPeerGeneration,
    /// The inconsistent peer was forced primary: compare generations with its next state.
    ConsiderResync,
    /// Stop the receiver: to clean up, or for good.
    StopReceiver,
    /// The connection failed: have the receiver clean up and connect again.
    RestartReceiver,
    /// A connection was established: count it; the activity log is written again.
    Established,
    /// An attach was completed: note the time.
    NoteAttach,
    /// Queue the after-effects and wake whoever waits for a state.
    QueueAfter,
}

/// Facts for [`now_effects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NowContext {
    /// A local disk can be used (also while it is failing).
    pub has_disk: bool,
    /// Some other volume of the connection still waits for the peer's state.
    pub others_report_params: bool,
}

/// Room for all [`Now`] effects of one change.
pub type NowList = List<Now, 20>;

/// The effects of a change under the lock, in order.
pub fn now_effects(old: &State, new: &State, facts: &NowContext) -> NowList {
    const RULES: [fn(&State, &State, &NowContext, &mut NowList); 10] = [
        hold_disk,
        requests,
        waiting_for_the_peer,
        verify_and_resync,
        metadata,
        works_with_peers_data,
        peers_disk_went,
        peer_was_forced,
        receiver,
        milestones,
    ];
    let mut out = NowList::new();
    for rule in RULES {
        rule(old, new, facts, &mut out);
    }
    out.push(Now::QueueAfter);
    out
}

fn entered<T: PartialEq>(old: T, new: T, value: T) -> bool {
    old != value && new == value
}

fn hold_disk(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let fails = entered(old.disk, new.disk, DiskState::Failed);
    let goes = entered(old.disk, new.disk, DiskState::Diskless);
    out.push_if(fails || goes, Now::HoldDisk);
}

fn requests(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let replication_changes = super::io::replicates(old) != super::io::replicates(new);
    out.push_if(replication_changes, Now::StartEpoch);
    let resyncs = matches!(new.conn, ConnState::WfBitmapS | ConnState::WfBitmapT);
    out.push_if(resyncs && !is_connected(old.conn), Now::MarkUnconfirmed);
}

fn waiting_for_the_peer(old: &State, new: &State, facts: &NowContext, out: &mut NowList) {
    let attached = old.disk == DiskState::Attaching && !is_failed_or_less(new.disk);
    out.push_if(attached, Now::LogUuids);
    out.push_if(attached, Now::CountDirty);
    let was_told = old.conn == ConnState::WfReportParams && new.conn != old.conn;
    out.push_if(
        was_told && !facts.others_report_params,
        Now::ForgetStateSent,
    );
}

fn verify_and_resync(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let verify_ends = is_verify(old.conn) && !is_beyond_connected(new.conn);
    out.push_if(verify_ends, Now::KeepVerifyPosition);
    if is_paused_resync(old.conn) && is_running_resync(new.conn) {
        let as_target = new.conn == ConnState::SyncTarget;
        out.push(Now::ContinueResync { as_target });
    }
    let pauses = is_running_resync(old.conn) && is_paused_resync(new.conn);
    out.push_if(pauses, Now::PauseResync);
    if old.conn == ConnState::Connected && is_verify(new.conn) {
        let as_source = new.conn == ConnState::VerifyS;
        out.push(Now::StartVerify { as_source });
    }
}

fn metadata(old: &State, new: &State, facts: &NowContext, out: &mut NowList) {
    if !facts.has_disk {
        return;
    }
    out.push(Now::UpdateMetadataFlags);
    let becomes_usable = !is_consistent_or_better(old.disk) && is_consistent_or_better(new.disk);
    out.push_if(becomes_usable, Now::AdoptLocalGeneration);
}

/// From here on we work with the peer's data. It told of their generation when we still had our own, or when we had
/// just met. (8.4 keeps the old one, and lets a Primary attach old data again when the peer is gone.)
fn works_with_peers_data(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let served =
        |s: &State| has_no_data(s.disk) && is_connected(s.conn) && s.pdsk == DiskState::UpToDate;
    out.push_if(!served(old) && served(new), Now::AdoptPeerGeneration);
}

/// An attach of the peer that fails may tell its state, but no UUIDs. (8.4 compares with the old ones then, and undoes
/// a sync UUID that the peer has on its disk.)
fn peers_disk_went(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let connected = is_connected(old.conn) && is_connected(new.conn);
    let gone = |disk| matches!(disk, DiskState::Diskless | DiskState::Failed);
    let went = !gone(old.pdsk) && gone(new.pdsk);
    out.push_if(connected && went, Now::ForgetPeerGeneration);
}

fn peer_was_forced(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let both_inconsistent =
        old.disk == DiskState::Inconsistent && old.pdsk == DiskState::Inconsistent;
    let promoted = old.peer == Role::Secondary && new.peer == Role::Primary;
    out.push_if(both_inconsistent && promoted, Now::ConsiderResync);
}

fn receiver(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    let leaves = entered(old.conn, new.conn, ConnState::Disconnecting);
    let left = entered(old.conn, new.conn, ConnState::StandAlone);
    out.push_if(leaves || left, Now::StopReceiver);
    let failed = has_socket(old.conn) && is_network_error(new.conn);
    out.push_if(failed, Now::RestartReceiver);
}

fn milestones(old: &State, new: &State, _: &NowContext, out: &mut NowList) {
    out.push_if(
        !is_connected(old.conn) && is_connected(new.conn),
        Now::Established,
    );
    let was_attaching = matches!(old.disk, DiskState::Attaching | DiskState::Negotiating);
    out.push_if(was_attaching && !has_no_data(new.disk), Now::NoteAttach);
}

/// What happens to requests that were parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Send again what the peer did not acknowledge.
    Resend,
    /// Submit again what waits for the local disk.
    RestartLocal,
    /// Complete what only waited for the peer as if the connection had just been lost.
    FailPending,
}

/// User space helpers that a change of state calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// `pri-on-incon-degr`
    PriOnInconDegr,
    /// `local-io-error`
    LocalIoError,
}

/// Why the bitmap is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapWrite {
    /// This node gave up the primary role.
    Demoted,
    /// The diskless peer gave up the primary role.
    DisklessPeerDemoted,
    /// A resync ended, or gave way to ahead/behind. Only pages that were not written yet.
    ResyncEnded,
}

/// Effects that may sleep; the worker's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Tell user space about the change.
    EmitEvents,
    /// Both disks are up to date: nobody's crash matters any more (mine, and what the peer told of its own).
    ForgetCrash,
    /// Call a helper and wait for it.
    CallHelper(Helper),
    /// Data is in reach again: restart the parked I/O, then clear `susp_nod`.
    ThawNoData(Io),
    /// The peer is back: no new generation is needed, resend, then clear `susp_fen`.
    ThawFencing,
    /// Begin the resync for the peer: derive, store and send the sync UUID.
    SendSyncUuid,
    /// A resync is likely: forget counts and pending requests of the last one.
    ResetResync,
    /// Send P_SIZES.
    SendSizes,
    /// Send P_UUIDS.
    SendUuids,
    /// Send P_STATE with the new state.
    SendState,
    /// Send the bitmap, with application I/O locked out.
    SendBitmap,
    /// Begin a new generation and write the metadata.
    NewCurrentUuid,
    /// I/O is suspended: begin a new generation when it resumes without the peer.
    NewCurrentUuidLater,
    /// Write the bitmap.
    WriteBitmap(BitmapWrite),
    /// This device's resync waits: so must those that come after it.
    PauseDependent,
    /// This device's resync is over or waits no more: those that come after it may go on.
    ResumeDependent,
    /// Set the whole bitmap, write it, then start the full sync.
    StartFullSync,
    /// Complete I/O that waits for the local disk with an error (forced detach).
    AbortLocalIo,
    /// Forget the resync requests under way.
    CancelResync,
    /// Write the metadata if it is dirty.
    SyncMetadata,
    /// Let go of the disk held by [`Now::HoldDisk`]; when nobody else holds it, it is detached.
    ReleaseDisk,
    /// The disk grew while it was away: sync the new part.
    SyncGrownPart,
}

/// The reasons of [`After::WriteBitmap`], as 8.4 names them in the log.
pub const BITMAP_WRITE_REASONS: [(BitmapWrite, &str); 3] = [
    (BitmapWrite::Demoted, "demote"),
    (BitmapWrite::DisklessPeerDemoted, "demote diskless peer"),
    (BitmapWrite::ResyncEnded, "write from resync_finished"),
];

/// Facts for [`after_effects`], taken when the worker gets to the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterContext {
    /// A local disk can be used (inconsistent or better, not failing).
    pub has_disk: bool,
    /// The backing device is still open, failing or not.
    pub backing_open: bool,
    /// The agreed protocol version.
    pub version: u32,
    /// Nobody else has the current generation ([`crate::meta::Superblock::has_own_generation`]).
    pub has_own_generation: bool,
    /// The target of a resync from here may have finished ([`crate::meta::Superblock::resync_is_open`]).
    pub resync_is_open: bool,
    /// The volume's state now; it may have moved on.
    pub now: State,
    /// The connection state that is farthest behind, over all volumes.
    pub lowest_conn: ConnState,
    /// The worst local disk over all volumes.
    pub lowest_disk: DiskState,
    /// The device grew when a disk was missing, and [`both_have_data`] for the first time since (8.4:
    /// RESYNC_AFTER_NEG). Whatever the connection does then makes up for it, so it is forgotten.
    pub grown_while_away: bool,
    /// An I/O error is the reason, and `on-io-error` is `call-local-io-error`.
    pub call_local_io_error: bool,
    /// The detach was forced (8.4: FORCE_DETACH).
    pub force_detach: bool,
    /// Both sides know about the stop sector of a verify.
    pub verify_stop_sector: bool,
}

/// Room for all [`After`] effects of one change.
pub type AfterList = List<After, 40>;

/// The effects of a change in the worker, in order.
pub fn after_effects(old: &State, new: &State, facts: &AfterContext) -> AfterList {
    const RULES: [fn(&State, &State, &AfterContext, &mut AfterList); 14] = [
        inform,
        thaw,
        sync_uuid,
        peer_attached,
        bitmap_exchange,
        lost_peer_data,
        diskless_peer_changed_role,
        demoted,
        attached_while_connected,
        pauses,
        tell_peer,
        full_sync,
        lost_disk,
        resync_ended,
    ];
    let mut out = AfterList::new();
    for rule in RULES {
        rule(old, new, facts, &mut out);
    }
    out.push(After::SyncMetadata);
    out
}

fn inform(old: &State, new: &State, _: &AfterContext, out: &mut AfterList) {
    let good = |s: &State| s.disk == DiskState::UpToDate && s.pdsk == DiskState::UpToDate;
    out.push_if(!good(old) && good(new), After::ForgetCrash);
    out.push(After::EmitEvents);
    let lost_data = !is_primary_without_data(old) && is_primary_without_data(new);
    out.push_if(lost_data, After::CallHelper(Helper::PriOnInconDegr));
}

fn thaw(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    let all_connected = is_connected(facts.lowest_conn);
    if new.susp_nod && facts.now.susp_nod {
        let attached = matches!(old.disk, DiskState::Attaching | DiskState::Negotiating)
            && facts.lowest_disk == DiskState::UpToDate;
        if attached {
            out.push(After::ThawNoData(Io::RestartLocal));
        } else if !is_connected(old.conn) && all_connected {
            out.push(After::ThawNoData(Io::Resend));
        }
    }
    out.push_if(
        new.susp_fen && facts.now.susp_fen && all_connected,
        After::ThawFencing,
    );
}

/// Before any P_STATE: the target must not hear of a pause before it has the sync UUID.
fn sync_uuid(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    let becomes_source = !is_sync_source(old.conn) && is_sync_source(new.conn);
    out.push_if(
        becomes_source && facts.version >= 96 && facts.has_disk,
        After::SendSyncUuid,
    );
}

fn peer_attached(old: &State, new: &State, _: &AfterContext, out: &mut AfterList) {
    if peer_disk_comes(old, new) {
        out.push(After::ResetResync);
        out.push(After::SendUuids);
        out.push(After::SendState);
    }
}

fn bitmap_exchange(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    let starts = entered(old.conn, new.conn, ConnState::WfBitmapS);
    out.push_if(
        starts && facts.now.conn == ConnState::WfBitmapS,
        After::SendBitmap,
    );
}

/// Takes the peer disk's states: did its copy of the data just go out of reach?
pub fn lost_contact_to_peer_data(old: DiskState, new: DiskState) -> bool {
    let had = matches!(
        old,
        DiskState::Inconsistent | DiskState::Consistent | DiskState::UpToDate
    );
    let gone = has_no_data(new) || matches!(new, DiskState::Unknown | DiskState::Outdated);
    // Frozen while the link was down, now back without its disk: that is the loss.
    let came_back_without = old == DiskState::Unknown
        && matches!(
            new,
            DiskState::Diskless | DiskState::Failed | DiskState::Outdated
        );
    (had && gone) || came_back_without
}

fn may_start_generation(new: &State, facts: &AfterContext) -> bool {
    facts.has_disk && !facts.has_own_generation && new.disk == DiskState::UpToDate
}

fn lost_peer_data(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    let somebody_writes = new.role == Role::Primary || new.peer == Role::Primary;
    let lost = if facts.resync_is_open {
        target_is_out_of_reach(old, new)
    } else {
        lost_contact_to_peer_data(old.pdsk, new.pdsk)
    };
    if lost && somebody_writes && may_start_generation(new, facts) {
        if is_suspended(&facts.now) {
            out.push(After::NewCurrentUuidLater);
        } else {
            out.push(After::NewCurrentUuid);
            // A target whose disk goes by our consent may finish before that, and would take over what it hears of.
            out.push_if(!facts.resync_is_open, After::SendUuids);
        }
    }
    let let_go = old.pdsk == DiskState::Failed && new.pdsk == DiskState::Diskless;
    let tell = let_go && somebody_writes && facts.has_own_generation;
    out.push_if(tell, After::SendUuids);
}

/// While its resync is open, no other loss is one: a target is Outdated before the resync begins, and may say so late; and
/// one that was Inconsistent when it was last heard of is called so when it is gone, too. (8.4 takes neither for a loss.)
fn target_is_out_of_reach(old: &State, new: &State) -> bool {
    let connection_lost = is_connected(old.conn) && !is_connected(new.conn);
    connection_lost || (!has_no_data(old.pdsk) && has_no_data(new.pdsk))
}

fn diskless_peer_changed_role(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    if !has_no_data(new.pdsk) || !facts.has_disk {
        return;
    }
    let promoted = old.peer != Role::Primary && new.peer == Role::Primary;
    let already_new = out.contains(After::NewCurrentUuid);
    if promoted && may_start_generation(new, facts) && !already_new {
        out.push(After::NewCurrentUuid);
        out.push(After::SendUuids);
    }
    let demoted = old.peer == Role::Primary && new.peer == Role::Secondary;
    out.push_if(
        demoted,
        After::WriteBitmap(BitmapWrite::DisklessPeerDemoted),
    );
}

fn demoted(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    let demoted = old.role == Role::Primary && new.role == Role::Secondary;
    out.push_if(
        demoted && facts.has_disk,
        After::WriteBitmap(BitmapWrite::Demoted),
    );
}

fn attached_while_connected(old: &State, new: &State, _: &AfterContext, out: &mut AfterList) {
    let negotiates = old.disk == DiskState::Attaching && new.disk == DiskState::Negotiating;
    if is_connected(new.conn) && negotiates {
        out.push(After::SendSizes);
        out.push(After::SendUuids);
        out.push(After::SendState);
    }
}

fn pauses(old: &State, new: &State, _: &AfterContext, out: &mut AfterList) {
    let wish_changed = old.aftr_isp != new.aftr_isp || old.user_isp != new.user_isp;
    out.push_if(is_connected(new.conn) && wish_changed, After::SendState);
    let begins = !is_resync_paused(old) && is_resync_paused(new);
    out.push_if(begins, After::PauseDependent);
}

fn tell_peer(old: &State, new: &State, _: &AfterContext, out: &mut AfterList) {
    let introduced = old.conn == ConnState::WfReportParams && is_connected(new.conn);
    out.push_if(introduced, After::SendState);
    out.push_if(
        entered(old.conn, new.conn, ConnState::Ahead),
        After::SendState,
    );
}

fn full_sync(old: &State, new: &State, _: &AfterContext, out: &mut AfterList) {
    let starts = is_starting_full_sync(new.conn) && old.conn != new.conn;
    out.push_if(starts, After::StartFullSync);
}

/// A disk goes in two steps: Failed, while it is still in use, then Diskless.
fn lost_disk(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    if entered(old.disk, new.disk, DiskState::Failed) {
        if facts.backing_open {
            // First the helper: some reset the node here, and that should look like a crash.
            let helper = After::CallHelper(Helper::LocalIoError);
            out.push_if(facts.call_local_io_error, helper);
            out.push_if(facts.force_detach, After::AbortLocalIo);
            out.push_if(is_connected(new.conn), After::SendState);
            out.push(After::CancelResync);
            out.push(After::SyncMetadata);
        }
        out.push(After::ReleaseDisk);
    }
    if entered(old.disk, new.disk, DiskState::Diskless) {
        out.push_if(is_connected(new.conn), After::SendState);
        out.push(After::ReleaseDisk);
    }
    let kept_despite_error = old.disk == DiskState::UpToDate && new.disk == DiskState::Inconsistent;
    out.push_if(
        kept_despite_error && is_connected(new.conn),
        After::SendState,
    );
}

fn resync_ended(old: &State, new: &State, facts: &AfterContext, out: &mut AfterList) {
    let grown = both_up_to_date(new) && facts.grown_while_away && new.conn == ConnState::Connected;
    out.push_if(grown, After::SyncGrownPart);

    let over = is_beyond_connected(old.conn) && !is_beyond_connected(new.conn);
    let waits_no_more = (old.peer_isp && !new.peer_isp) || (old.user_isp && !new.user_isp);
    out.push_if(over || waits_no_more, After::ResumeDependent);

    let became_good = old.disk != DiskState::UpToDate
        && is_resync_or_beyond(old.conn)
        && new.conn == ConnState::Connected;
    out.push_if(became_good, After::SendState);
    let verified = old.conn == ConnState::VerifyS && new.conn == ConnState::Connected;
    out.push_if(verified && facts.verify_stop_sector, After::SendState);

    let was_busy = is_beyond_connected(old.conn) && !is_ahead_or_behind(old.conn);
    let is_quiet = new.conn == ConnState::Connected || is_ahead_or_behind(new.conn);
    let write = was_busy && is_quiet && facts.has_disk;
    out.push_if(write, After::WriteBitmap(BitmapWrite::ResyncEnded));

    let unconfigured = super::sanitize::is_unconfigured(new) && old.aftr_isp != new.aftr_isp;
    out.push_if(unconfigured, After::ResumeDependent);
}

/// Effects of a change of a whole connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterConnection {
    /// Tell user space about the change.
    EmitEvents,
    /// The connection was configured: start its receiver.
    StartReceiver,
    /// The connection is gone: tell user space, forget its configuration.
    ForgetConfiguration,
    /// The peer was fenced: begin the generations that were put off, complete what waited for the peer
    /// ([`Io::FailPending`]), then clear `susp_fen`.
    ResumeFenced,
    /// Write the metadata of all volumes that are dirty.
    SyncMetadata,
}

/// The effects of a change of a connection, in order. `highest_*`: over all volumes, after the change.
pub fn after_connection_effects(
    old: ConnState,
    highest_conn: ConnState,
    highest_pdsk: DiskState,
    susp_fen: bool,
) -> List<AfterConnection, 5> {
    let mut out = List::new();
    out.push(AfterConnection::EmitEvents);
    let configured = old == ConnState::StandAlone && highest_conn == ConnState::Unconnected;
    out.push_if(configured, AfterConnection::StartReceiver);
    let gone = old == ConnState::Disconnecting && highest_conn == ConnState::StandAlone;
    out.push_if(gone, AfterConnection::ForgetConfiguration);
    let fenced = susp_fen && !is_better_than_outdated(highest_pdsk);
    out.push_if(fenced, AfterConnection::ResumeFenced);
    out.push(AfterConnection::SyncMetadata);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests_support::CONNECTED;

    #[test]
    fn an_attach_of_the_peer_that_tells_no_uuids_is_not_compared_with_those_of_the_disk_before() {
        use DiskState::{Diskless, Failed, Inconsistent, Negotiating, UpToDate};
        let facts = NowContext {
            has_disk: true,
            others_report_params: false,
        };
        let forgets = |old, new| {
            let of = |pdsk| State { pdsk, ..CONNECTED };
            now_effects(&of(old), &of(new), &facts).contains(Now::ForgetPeerGeneration)
        };
        for before in [UpToDate, Inconsistent, Negotiating] {
            assert!(forgets(before, Failed) && forgets(before, Diskless));
            assert!(!forgets(Diskless, before) && !forgets(before, UpToDate));
        }
        // UUIDs of the next disk may have arrived meanwhile.
        assert!(!forgets(Failed, Diskless));
    }
}
