// SPDX-License-Identifier: GPL-2.0-only

//! The one gate through which states change.
//!
//! ```text
//!   change / change_locked / change_all
//!        |  core::state::judge: corrections, legality (the core decides; it writes nothing)
//!        v
//!   commit: write the new state, carry out the Now effects       -- under the resource's lock
//!        |  push a Committed
//!        v
//!   worker: the After effects, which may sleep                   -- in the order of the commits
//! ```
//!
//! A change that the core refuses leaves nothing behind but, if wanted, lines in the log that name the rule.

use crate::{
    prelude::*,
    resource::ReceiverOrder,
    resource::{Resource, Shared, VolumeShared},
    tag::Tag,
    worker::Todo,
};
use drbd_core::{
    config::choices::Fencing,
    state::{self, Accepted, Change, Conf, Negotiation, NetRules, Now, NowContext},
    trace::{judgement, Kind, Wish},
    types::{ConnState, DiskState, Role, State, StateRv},
};

/// How a change is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    rules: state::How,
    verbose: bool,
    wait: bool,
    here: bool,
    turn: bool,
}

impl How {
    /// A wish, refused quietly.
    pub(crate) const SOFT: Self = Self {
        rules: state::How::SOFT,
        verbose: false,
        wait: false,
        here: false,
        turn: false,
    };
    /// A fact.
    pub(crate) const HARD: Self = Self {
        rules: state::How::HARD,
        verbose: true,
        ..Self::SOFT
    };

    /// Refusals are logged.
    pub(crate) const fn verbose(self) -> Self {
        Self {
            verbose: true,
            ..self
        }
    }

    /// Returns only when the worker has executed what follows; waits while the connection is in a state that
    /// will pass. Not for the worker itself, nor the receiver.
    pub(crate) const fn waiting(self) -> Self {
        Self { wait: true, ..self }
    }

    /// The peer is not asked: it is the one who asks.
    pub(crate) const fn here(self) -> Self {
        Self { here: true, ..self }
    }

    /// The caller holds `Resource::state_mutex`: it is its turn to ask the peer.
    pub(crate) const fn in_turn(self) -> Self {
        Self { turn: true, ..self }
    }

    /// A disk too bad to be outdated stays as it is.
    pub(crate) const fn lenient(self) -> Self {
        let rules = state::How {
            ignore_outdate_failure: true,
            ..self.rules
        };
        Self { rules, ..self }
    }

    /// Whether it is a fact.
    pub(crate) const fn is_fact(self) -> bool {
        self.rules.hard
    }

    /// Whether refusals are logged.
    pub(crate) const fn is_verbose(self) -> bool {
        self.verbose
    }

    /// See [`How::here`].
    pub(crate) const fn is_here(self) -> bool {
        self.here
    }

    /// See [`How::in_turn`].
    pub(crate) const fn has_turn(self) -> bool {
        self.turn
    }
}

/// A volume's part of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VolumeChange {
    /// Which volume.
    pub(crate) vnr: u16,
    /// Its state before.
    pub(crate) old: State,
    /// And after.
    pub(crate) new: State,
}

/// What a resource and its connection look like as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The highest role.
    pub(crate) role: Role,
    /// The peer's highest role.
    pub(crate) peer: Role,
    /// The connection's state.
    pub(crate) cstate: ConnState,
    /// I/O is suspended by the administrator.
    pub(crate) susp: bool,
    /// I/O is suspended for lack of data.
    pub(crate) susp_nod: bool,
    /// I/O is suspended until the peer is fenced.
    pub(crate) susp_fen: bool,
}

impl Summary {
    /// As it is now.
    pub(crate) fn of(shared: &Shared) -> Self {
        let first = shared.volumes.first().map(|volume| volume.state);
        Self {
            role: shared.highest_role(),
            peer: shared.highest_peer_role(),
            cstate: shared.conn.cstate,
            susp: first.is_some_and(|state| state.susp),
            susp_nod: first.is_some_and(|state| state.susp_nod),
            susp_fen: first.is_some_and(|state| state.susp_fen),
        }
    }

    /// Whether listeners see another resource.
    pub(crate) fn resource_differs(&self, other: &Self) -> bool {
        (self.role, self.susp, self.susp_nod, self.susp_fen)
            != (other.role, other.susp, other.susp_nod, other.susp_fen)
    }

    /// Whether listeners see another connection.
    pub(crate) fn connection_differs(&self, other: &Self) -> bool {
        (self.cstate, self.peer) != (other.cstate, other.peer)
    }
}

/// A change that was made and whose consequences the worker executes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    /// The volume; none for the connection's part of a change.
    pub(crate) volume: Option<VolumeChange>,
    /// The whole before.
    pub(crate) old: Summary,
    /// The whole after.
    pub(crate) new: Summary,
    serial: u64,
}

/// How many changes wait for the worker at most, before those of one volume are joined.
const RING: usize = 128;

/// The changes that wait for the worker, and who waits for it.
pub(crate) struct Changes {
    ring: KVec<Committed>,
    pushed: u64,
    done: u64,
    worker: Arc<WaitQueue>,
    waiters: Arc<WaitQueue>,
}

impl Changes {
    /// Nothing to do. `worker` is woken for every change, `waiters` for every change and every consequence.
    pub(crate) fn new(worker: Arc<WaitQueue>, waiters: Arc<WaitQueue>) -> Result<Self> {
        let ring = KVec::with_capacity(RING, GFP_KERNEL)?;
        Ok(Self {
            ring,
            pushed: 0,
            done: 0,
            worker,
            waiters,
        })
    }

    fn push(&mut self, volume: Option<VolumeChange>, old: Summary, new: Summary) {
        self.pushed = self.pushed.wrapping_add(1);
        let change = Committed {
            volume,
            old,
            new,
            serial: self.pushed,
        };
        if self.ring.push_within_capacity(change).is_err() {
            self.join(change);
        }
        self.worker.wake_all();
        self.waiters.wake_all();
    }

    /// The ring is full: the youngest change of that volume now ends where this one does.
    fn join(&mut self, change: Committed) {
        let vnr = |change: &Committed| change.volume.map(|volume| volume.vnr);
        let youngest = self
            .ring
            .iter_mut()
            .rev()
            .find(|other| vnr(other) == vnr(&change));
        match youngest {
            Some(other) => {
                if let (Some(old), Some(new)) = (other.volume.as_mut(), change.volume) {
                    old.new = new.new;
                }
                other.new = change.new;
            }
            None => pr_err!("too many state changes at once: the consequences of one are lost\n"),
        }
    }

    /// The oldest change.
    pub(crate) fn pop(&mut self) -> Option<Committed> {
        self.ring.remove(0).ok()
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The worker has executed what follows from `change`.
    pub(crate) fn finish(&mut self, change: &Committed) {
        // Changes that were joined to an older one are done when nothing is left.
        self.done = if self.ring.is_empty() {
            self.pushed
        } else {
            change.serial
        };
        self.waiters.wake_all();
    }

    fn is_done(&self, serial: u64) -> bool {
        self.done >= serial
    }

    /// Whether everything that follows from changes so far has been done.
    pub(crate) fn all_done(&self) -> bool {
        self.is_done(self.pushed)
    }
}

/// What the core needs to know beside the states.
fn conf(shared: &Shared, volume: &VolumeShared) -> Conf {
    let has_disk = volume.has_disk();
    let disk = volume.disk_conf.as_ref().filter(|_| has_disk);
    let net = shared.conn.net_conf.as_ref();
    Conf {
        fencing: disk.map_or(Fencing::DontCare, |conf| conf.fencing),
        on_no_data: shared.opts.on_no_data,
        net: net.map(|net| NetRules {
            two_primaries: net.two_primaries,
            can_verify: !net.verify_alg.is_empty(),
        }),
        highest_peer: shared.highest_peer_role(),
        is_open: volume.openers > 0,
        version: shared.conn.agreed_version,
        state_sent: shared.conn.state_sent,
        negotiation: negotiation(volume),
    }
}

fn negotiation(volume: &VolumeShared) -> Negotiation {
    if volume.state.disk != DiskState::Negotiating {
        return Negotiation::None;
    }
    let current = volume.md.as_ref().map(|md| md.uuids.current);
    if current == Some(volume.exposed_uuid) {
        Negotiation::Known {
            disk: volume.negotiated.0,
            pdsk: volume.negotiated.1,
        }
    } else {
        Negotiation::OtherGeneration
    }
}

/// What the core is asked.
fn wish(shared: &Shared, volume: &VolumeShared, change: &Change, how: How, all: bool) -> Wish {
    Wish {
        old: volume.state,
        wished: change.apply(volume.state),
        how: how.rules,
        in_connection: all,
        conf: conf(shared, volume),
    }
}

/// Decides about one volume; writes nothing, says nothing.
pub(crate) fn judge(
    shared: &Shared,
    volume: &VolumeShared,
    change: &Change,
    how: How,
    all: bool,
) -> Result<Accepted, StateRv> {
    let wish = wish(shared, volume, change, how, all);
    wish.decide()
}

/// Decides about one volume, and tells the log and the trace what is worth telling.
fn plan(
    shared: &Shared,
    volume: &VolumeShared,
    change: &Change,
    how: How,
    all: bool,
) -> Result<State, StateRv> {
    let wished = change.apply(volume.state);
    let result = judge(shared, volume, change, how, all);
    let nothing = matches!(result, Err(StateRv::NothingToDo));
    if !nothing {
        let wish = wish(shared, volume, change, how, all);
        note(volume, &wish, &result);
    }
    match result {
        Ok(accepted) => {
            if let Some(warning) = accepted.warning {
                pr_warn!("{}: {}\n", Tag(&volume.device), warning.text());
            }
            Ok(accepted.new)
        }
        Err(refusal) => {
            if how.verbose && !nothing {
                let tag = Tag(&volume.device);
                pr_err!("{}: State change failed: {}\n", tag, refusal.text());
                pr_err!("{}:   state = {}\n", tag, Shown(volume.state));
                pr_err!("{}:  wanted = {}\n", tag, Shown(wished));
            }
            Err(refusal)
        }
    }
}

/// For the trace. A frame of its own: a bio that fails at once is deep in its submitter's stack.
#[inline(never)]
fn note(volume: &VolumeShared, wish: &Wish, result: &Result<Accepted, StateRv>) {
    let trace = &volume.device.resource.trace;
    trace.note(volume.vnr, Kind::Judge, &wish.pack(), judgement(result));
}

/// Changes one volume's state under the lock, from any context.
pub(crate) fn change_locked(shared: &mut Shared, vnr: u16, change: &Change, how: How) -> StateRv {
    let Some(volume) = shared.vol(vnr) else {
        return StateRv::UnknownError;
    };
    match plan(shared, volume, change, how, false) {
        Ok(new) => {
            commit(shared, vnr, new);
            StateRv::Success
        }
        Err(refusal) => refusal,
    }
}

/// As [`change_locked`], for a fact that the environment imposes.
pub(crate) fn change_hard(shared: &mut Shared, vnr: u16, change: &Change) -> StateRv {
    change_locked(shared, vnr, change, How::HARD)
}

/// Changes all volumes, and the connection's own state, in one go: all agree or nothing happens. Under the lock.
pub(crate) fn change_all_locked(shared: &mut Shared, change: &Change, how: How) -> StateRv {
    let mut changes_anything = false;
    if let Some(wanted) = change.conn {
        let legal = state::connection_transition(shared.conn.cstate, wanted);
        if legal.is_refusal() {
            return legal;
        }
        changes_anything = legal != StateRv::NothingToDo;
    }
    for volume in shared.volumes.iter() {
        match plan(shared, volume, change, how, true) {
            Ok(_) => changes_anything = true,
            Err(StateRv::NothingToDo) => {}
            Err(refusal) => return refusal,
        }
    }
    if !changes_anything {
        return StateRv::NothingToDo;
    }
    let before = Summary::of(shared);
    if let Some(cstate) = change.conn {
        let from = core::mem::replace(&mut shared.conn.cstate, cstate);
        if shared.volumes.is_empty() {
            pr_info!("conn( {} -> {} )\n", from.name(), cstate.name());
        }
        if let Some(order) = crate::connection::order(from, cstate) {
            shared.conn.receiver = order;
        }
    }
    let quiet = How {
        verbose: false,
        ..how
    };
    for at in 0..shared.volumes.len() {
        let Some(volume) = shared.volumes.get(at) else {
            break;
        };
        let vnr = volume.vnr;
        // All agreed; what the first ones became can only have made the others' way easier, but a fact it is now.
        let planned = plan(shared, volume, change, quiet, true)
            .or_else(|_| plan(shared, volume, change, How::HARD, true));
        if let Ok(new) = planned {
            commit(shared, vnr, new);
        }
    }
    let after = Summary::of(shared);
    shared.changes.push(None, before, after);
    StateRv::Success
}

/// Makes a planned state the state, with everything that must be true together with it.
fn commit(shared: &mut Shared, vnr: u16, new: State) {
    let before = Summary::of(shared);
    let others_report_params = shared
        .volumes
        .iter()
        .any(|other| other.vnr != vnr && other.state.conn == ConnState::WfReportParams);
    let Some(volume) = shared.vol_mut(vnr) else {
        return;
    };
    let old = volume.state;
    log_change(volume, &old, &new);
    let has_disk = volume.local.is_some() && crate::resource::usable(new.disk);
    let context = NowContext {
        has_disk,
        others_report_params,
    };
    if state::loses_disk(&old, &new) {
        volume.flags.set(VolFlag::LossUntold);
        volume.device.activity.look_again();
    }
    if state::peer_disk_comes(&old, &new) {
        volume.flags.set(VolFlag::PeerDiskUntold);
    }
    if old.conn != new.conn {
        let ahead = new.conn == ConnState::Ahead;
        volume.flags.assign(VolFlag::AheadUntold, ahead);
    }
    volume.state = new;
    for effect in state::now_effects(&old, &new, &context).iter() {
        carry_out(shared, vnr, effect);
    }
    // Suspension concerns the resource: all volumes tell the same.
    for other in shared.volumes.iter_mut() {
        other.state.susp = new.susp;
        other.state.susp_nod = new.susp_nod;
        other.state.susp_fen = new.susp_fen;
    }
    let after = Summary::of(shared);
    shared
        .changes
        .push(Some(VolumeChange { vnr, old, new }), before, after);
}

/// One effect that belongs to the change itself.
fn carry_out(shared: &mut Shared, vnr: u16, effect: Now) {
    let Shared {
        volumes,
        conn,
        transfer,
        ..
    } = shared;
    let Some(volume) = volumes.iter_mut().find(|volume| volume.vnr == vnr) else {
        return;
    };
    match effect {
        Now::HoldDisk => volume.stat.local = volume.stat.local.saturating_add(1),
        // The one who made the two meet does it: every other change of state needs less stack.
        Now::MarkUnconfirmed => {
            volume.flags.set(VolFlag::Unconfirmed);
        }
        Now::LogUuids => {
            if let Some(md) = volume.md.as_ref() {
                pr_info!(
                    "{}: attached to UUIDs {}\n",
                    Tag(&volume.device),
                    Shown(md.uuids)
                );
            }
        }
        Now::CountDirty => volume.count_dirty(),
        Now::ForgetStateSent => conn.state_sent = false,
        Now::UpdateMetadataFlags => update_metadata(volume),
        Now::AdoptLocalGeneration => {
            if let Some(md) = volume.md.as_ref() {
                volume.exposed_uuid = md.uuids.current;
            }
        }
        Now::AdoptPeerGeneration => {
            if let Some(peer) = volume.peer_uuids.as_ref() {
                volume.exposed_uuid = peer.uuids.current;
            }
        }
        Now::ForgetPeerGeneration => volume.peer_uuids = None,
        Now::ConsiderResync => {
            volume.flags.set(VolFlag::ConsiderResync);
        }
        Now::Established => {
            volume.flags.clear(VolFlag::AlSuspended);
            conn.established = conn.established.wrapping_add(1);
        }
        Now::StopReceiver => conn.receiver = ReceiverOrder::Stop,
        Now::RestartReceiver => conn.receiver = ReceiverOrder::Restart,
        // The sender sends the barrier of the old one when it looks next.
        Now::StartEpoch => {
            transfer.log.epoch.close();
        }
        Now::KeepVerifyPosition
        | Now::StartVerify { .. }
        | Now::ContinueResync { .. }
        | Now::PauseResync => crate::progress::on_effect(volume, effect, conn.agreed_version),
        Now::NoteAttach => volume.attached_ms = kernel_ext::time::now_ms(),
        Now::QueueAfter => {}
    }
}

/// The flags of the superblock that mirror the state.
fn update_metadata(volume: &mut VolumeShared) {
    let crashed = volume.flags.has(VolFlag::CrashedPrimary);
    let Some(md) = volume.md.as_mut() else { return };
    let before = md.flags;
    md.flags = state::metadata_flags(before, &volume.state, crashed);
    if md.flags != before {
        volume.md_dirty = true;
        volume.todo.set(Todo::WriteMetadata);
    }
}

/// One line that names what changed, as 8.4 writes it.
fn log_change(volume: &VolumeShared, old: &State, new: &State) {
    pr_info!(
        "{}: {}\n",
        Tag(&volume.device),
        Shown(state::StateChange { old, new })
    );
}

impl Resource {
    /// Changes one volume's state, with the peer's consent if that is needed. May sleep.
    pub(crate) fn change(&self, vnr: u16, change: &Change, how: How) -> StateRv {
        loop {
            let seen = self.changes_so_far();
            let result = match crate::consent::of_volume(self, vnr, change, how) {
                Ok(()) => self.change_here(vnr, change, how),
                Err(refusal) => refusal,
            };
            // Who holds the turn must give it back before it waits: the receiver may need it to go on.
            if result != StateRv::InTransientState || !how.wait || how.has_turn() {
                return result;
            }
            self.wait_for_change(seen);
        }
    }

    /// How many changes there were; for [`Resource::wait_for_change`].
    pub(crate) fn changes_so_far(&self) -> u64 {
        self.shared.lock().changes.pushed
    }

    /// Waits until there were more changes than `seen`.
    pub(crate) fn wait_for_change(&self, seen: u64) {
        self.state_wait.wait_idle(|| self.changes_so_far() != seen);
    }

    /// Changes one volume's state without asking the peer. May sleep.
    pub(crate) fn change_here(&self, vnr: u16, change: &Change, how: How) -> StateRv {
        let (result, serial) = {
            let mut shared = self.shared.lock();
            let result = change_locked(&mut shared, vnr, change, how);
            (result, shared.changes.pushed)
        };
        self.complete(how, result, serial);
        result
    }

    /// Changes all volumes, and the connection's state if `change` names one; leaving the peer needs its consent.
    /// May sleep.
    pub(crate) fn change_all(&self, change: &Change, how: How) -> StateRv {
        if let Err(refusal) = crate::consent::of_connection(self, change, how) {
            return refusal;
        }
        let (result, serial) = {
            let mut shared = self.shared.lock();
            let result = change_all_locked(&mut shared, change, how);
            (result, shared.changes.pushed)
        };
        self.complete(how, result, serial);
        result
    }

    fn complete(&self, how: How, result: StateRv, serial: u64) {
        self.enforce_order();
        if how.wait && result == StateRv::Success {
            self.wait_for_worker(serial);
        }
    }

    /// Waits until the worker has executed what follows from all changes so far. Not for the worker itself.
    pub(crate) fn flush_changes(&self) {
        let serial = self.shared.lock().changes.pushed;
        self.wait_for_worker(serial);
    }

    fn wait_for_worker(&self, serial: u64) {
        self.state_wait
            .wait(|| self.shared.lock().changes.is_done(serial));
    }
}
