// SPDX-License-Identifier: GPL-2.0-only

//! Two disks meet: the peer's generations and state arrive, the core compares, and what it decides is done here.
//!
//! ```text
//!   P_UUIDS ──► remembered                        P_STATE ──► core::handshake::consider
//!                                                                │ compare?
//!                                              core::uuid::sync_handshake (perhaps twice: demote first)
//!                                                                │ repair, helpers, whole bitmap
//!                                              core::handshake::conclude ──► the new state
//!   P_SYNC_UUID ──► start_resync as target
//! ```

use crate::{
    attach,
    change::{self, How},
    device::Device,
    handlers, metadata, params,
    params::{give_up, has_metadata, unknown_volume, with_volume},
    prelude::*,
    receiver::Arrived,
    resource::VolumeShared,
    tag::{Shown, Tag},
};
use drbd_core::{
    handshake::{
        self as core_handshake, Conclusion, Considered, Facts, Pending, SyncUuidArrival, UuidFacts,
        UuidReaction, WaitFacts,
    },
    resync::{self, HandlerVerdict, StartRefusal},
    state::{self, Change},
    trace::{conclusion, pack_meeting, Kind},
    types::{ConnState, DiskState, Role, State, Uuid},
    uuid::{
        sync_handshake, Agreed, Demotion, Direction, Handshake, Outcome, PeerUuids, Plan, Policies,
        Policy, Refusal, Side, Solved,
    },
    wire::{Features, Packet, StatePacket, SyncUuid, UuidsPacket},
};

/// P_UUIDS
#[inline(never)]
pub(crate) fn uuids(packet: &Arrived<'_>) -> Result {
    let Some(device) = packet.device() else {
        return unknown_volume(packet);
    };
    let theirs = UuidsPacket::decode(packet.fixed).ok_or(EPROTO)?;
    let [young, old] = theirs.history;
    let words = [
        theirs.current.0,
        theirs.bitmap.0,
        young.0,
        old.0,
        theirs.dirty_bits,
        theirs.flags.0,
    ];
    let peer = PeerUuids::from_wire(words);
    // A change that the cluster agrees on at this moment is seen through first: it may take our disk away, or begin a
    // generation.
    let turn = packet.resource.state_mutex.lock();
    drop(turn);
    let reaction = {
        let mut shared = packet.resource.shared.lock();
        let version = shared.conn.agreed_version;
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        volume.peer_uuids = Some(peer);
        let md = volume.md.as_ref().filter(|_| volume.has_disk());
        let facts = UuidFacts {
            state: volume.state,
            effective: volume.exposed_uuid,
            local_current: md.map(|md| md.uuids.current),
            version,
        };
        core_handshake::on_peer_uuids(&peer, &facts)
    };
    match reaction {
        UuidReaction::Remember => {}
        UuidReaction::OtherGenerationInUse => {
            let effective = with_volume(&device, |volume| volume.exposed_uuid);
            let effective = effective.unwrap_or(Uuid::ZERO);
            pr_err!(
                "{}: Can only connect to data with current UUID={}\n",
                Tag(&device),
                Shown(effective)
            );
            return Err(give_up(packet.resource));
        }
        UuidReaction::SkipInitialSync => skip_initial_sync(&device, &peer),
        UuidReaction::AdoptEffective(uuid) => {
            with_volume(&device, |volume| volume.exposed_uuid = uuid);
            pr_info!(
                "{}: receiver updated effective data uuid: {}\n",
                Tag(&device),
                Shown(uuid)
            );
        }
    }
    Ok(())
}

/// Both disks were declared equal.
fn skip_initial_sync(device: &Arc<Device>, peer: &PeerUuids) {
    let tag = Tag(device);
    pr_info!(
        "{}: Accepted new current UUID, preparing to skip initial sync\n",
        tag
    );
    device.bitmap.clear_all();
    crate::after::write_bitmap(device, "clear_n_write from receive_uuids");
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let role = volume.state.role;
    if let Some(md) = volume.md.as_mut() {
        md.uuids.accept_skip_initial_sync(peer.uuids.current, role);
        volume.md_dirty = true;
    }
    let good = Change {
        disk: Some(DiskState::UpToDate),
        pdsk: Some(DiskState::UpToDate),
        ..Change::NONE
    };
    change::change_locked(&mut shared, device.vnr, &good, How::SOFT.verbose());
    drop(shared);
    metadata::sync(device);
}

/// P_STATE
#[inline(never)]
pub(crate) fn state(packet: &Arrived<'_>) -> Result {
    let Some(device) = packet.device() else {
        return unknown_volume(packet);
    };
    let bits = StatePacket::decode(packet.fixed).ok_or(EPROTO)?.state;
    let Ok(peer) = State::from_wire(bits) else {
        pr_err!(
            "{}: the peer is in a state that does not exist: {:#x}\n",
            Tag(&device),
            bits
        );
        return Err(EPROTO);
    };
    let told = with_volume(&device, |volume| volume.peer_uuids).flatten();
    let mut peer_disk = core_handshake::real_peer_disk(peer.disk, told.as_ref());
    if peer_disk != peer.disk {
        pr_info!(
            "{}: real peer disk state = {}\n",
            Tag(&device),
            peer_disk.name()
        );
    }
    loop {
        let (own, facts) = facts(&device).ok_or(ENODEV)?;
        let pending = match core_handshake::consider(&own, &peer, peer_disk, &facts) {
            Considered::GoesDown => return Err(ECONNRESET),
            Considered::Contradiction => return Err(contradiction(&device)),
            Considered::PeerFinishedResync { finish } => {
                if finish {
                    crate::resync::finished(&device);
                } else {
                    with_volume(&device, |volume| volume.resync.target_has_all = true);
                }
                return Ok(());
            }
            Considered::VerifyFinished => {
                crate::resync::finished(&device);
                return Ok(());
            }
            Considered::Pending(pending) => pending,
        };
        peer_disk = pending.peer_disk;
        if core_handshake::counts_anew(&own, pending.compare) {
            with_volume(&device, |volume| volume.count_dirty());
        }
        let verdict = match pending.compare {
            Some(_) => Some(compare(&device, &peer, &pending)?),
            None => None,
        };
        let conclusion = core_handshake::conclude(&own, &peer, &pending, verdict, &facts);
        if enter(&device, &own, &peer, conclusion)? {
            return Ok(());
        }
    }
}

/// What the core wants to know beside the two states.
fn facts(device: &Device) -> Option<(State, Facts)> {
    let shared = device.resource.shared.lock();
    let tentative = shared
        .conn
        .net_conf
        .as_ref()
        .is_some_and(|conf| conf.tentative);
    let dry_run = shared.conn.dry_run || tentative;
    let volume = shared.vol(device.vnr)?;
    let facts = Facts {
        have_peer_uuids: volume.peer_uuids.is_some(),
        have_disk: volume.md.is_some() && has_metadata(volume.state.disk),
        consider_resync: volume.flags.has(VolFlag::ConsiderResync),
        out_of_sync: device.bitmap.weight(),
        resync_failed: volume.resync.failed,
        negotiated_disk: volume.negotiated.0,
        continues: metadata::continues(volume),
        new_generation_due: volume.flags.has(VolFlag::NewCurrentUuid),
        in_doubt: shared.transfer.log.has_in_doubt(device.vnr),
        dry_run,
    };
    Some((volume.state, facts))
}

/// Does what was concluded. False: the state has changed meanwhile, begin again.
fn enter(device: &Arc<Device>, own: &State, peer: &State, conclusion: Conclusion) -> Result<bool> {
    let resource = &device.resource;
    let (new, how, aborted) = match conclusion {
        Conclusion::Set {
            new,
            how,
            peer_attach_aborted,
        } => (new, how, peer_attach_aborted),
        Conclusion::FailMyDisk => {
            let tag = Tag(device);
            pr_err!(
                "{}: The disk that is being attached does not fit, giving it up\n",
                tag
            );
            let mut shared = resource.shared.lock();
            change::change_hard(&mut shared, device.vnr, &Change::disk(DiskState::Failed));
            return Ok(false);
        }
        Conclusion::Disconnect => return Err(give_up(resource)),
        Conclusion::EndDryRun => {
            resource.shared.lock().conn.dry_run = false;
            return Err(give_up(resource));
        }
        Conclusion::AbortFrozen => return Err(abort_frozen(device)),
        Conclusion::MeetAgain => return Err(meet_again(device)),
    };
    if aborted {
        pr_err!(
            "{}: Disk attach process on the peer node was aborted.\n",
            Tag(device)
        );
    }
    let change = Change {
        peer: Some(new.peer),
        conn: Some(new.conn),
        disk: Some(new.disk),
        pdsk: Some(new.pdsk),
        peer_isp: Some(new.peer_isp),
        ..Change::NONE
    };
    let how = if how == state::How::SOFT {
        How::SOFT.verbose()
    } else {
        How::HARD
    };
    let (result, written) = {
        let mut shared = resource.shared.lock();
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        if volume.state != *own {
            return Ok(false);
        }
        volume.flags.clear(VolFlag::ConsiderResync);
        let before = volume.flags.has(VolFlag::PeerAttaches);
        let attaches = state::peer_attaches(before, own, peer.disk);
        volume.flags.assign(VolFlag::PeerAttaches, attaches);
        let result = change::change_locked(&mut shared, device.vnr, &change, how);
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        let written = volume.state;
        if volume.flags.clear(VolFlag::Unconfirmed) {
            crate::transfer::mark_unconfirmed(&mut shared, device.vnr);
        }
        (result, written)
    };
    crate::transfer::finish(resource);
    if result.is_refusal() {
        return Err(give_up(resource));
    }
    if core_handshake::owes_answer(own, &written, peer, aborted) {
        params::send_uuids(device)?;
        params::send_state(device)?;
    }
    with_volume(device, |volume| volume.flags.clear(VolFlag::DiscardMyData));
    metadata::sync(device);
    if peer_waits(device, peer) {
        let tag = Tag(device);
        pr_info!(
            "{}: The peer waits for the resync of new storage, beginning it\n",
            tag
        );
        start_resync(device, resync::Side::Source);
    }
    Ok(true)
}

/// Both grew, the peer takes us for the source of what is new, and nothing else is under way.
fn peer_waits(device: &Device, peer: &State) -> bool {
    let shared = device.resource.shared.lock();
    shared.vol(device.vnr).is_some_and(|volume| {
        let facts = WaitFacts {
            resolve_conflicts: shared.conn.resolve_conflicts,
            same_generation: same_generation(volume),
            out_of_sync: device.bitmap.weight(),
        };
        core_handshake::begins_for_waiting_peer(&volume.state, peer, &facts)
    })
}

/// Both disks have the same generation, as far as is known.
fn same_generation(volume: &VolumeShared) -> bool {
    let mine = volume.md.as_ref().map(|md| &md.uuids);
    core_handshake::same_generation(mine, volume.peer_uuids.as_ref())
}

/// The peer was rebooted while our I/O was frozen: what it did not confirm goes on without it.
fn abort_frozen(device: &Arc<Device>) -> Error {
    let resource = &device.resource;
    pr_err!(
        "{}: Aborting Connect, can not thaw IO with an only Consistent peer\n",
        Tag(device)
    );
    crate::transfer::connection_lost(resource);
    metadata::begin_generation(device);
    with_volume(device, |volume| volume.flags.clear(VolFlag::NewCurrentUuid));
    let change = Change {
        susp: Some(false),
        ..Change::conn(ConnState::ProtocolError)
    };
    resource.change_all(&change, How::HARD);
    EPROTO
}

/// The two have judged by different numbers.
fn contradiction(device: &Device) -> Error {
    pr_warn!(
        "{}: The peer has come to another conclusion, meeting again\n",
        Tag(device)
    );
    device.resource.connection_failed(ConnState::NetworkFailure);
    EPROTO
}

/// Writes that were done for the application may have got lost when the last connection ended.
fn meet_again(device: &Arc<Device>) -> Error {
    let resource = &device.resource;
    pr_warn!(
        "{}: The peer may lack writes of the last connection, meeting again to send them\n",
        Tag(device)
    );
    crate::transfer::mark_unconfirmed(&mut resource.shared.lock(), device.vnr);
    crate::transfer::finish(resource);
    metadata::begin_generation(device);
    with_volume(device, |volume| volume.flags.clear(VolFlag::NewCurrentUuid));
    resource.connection_failed(ConnState::NetworkFailure);
    EPROTO
}

/// Compares the generations, and does what must be done before a new state can follow from that.
fn compare(device: &Arc<Device>, peer: &State, pending: &Pending) -> Result<Result<Plan, Refusal>> {
    let mut demotion = Demotion::NotTried;
    let role = with_volume(device, |volume| volume.state.role).ok_or(ENODEV)?;
    let outcome = loop {
        let question = question(device, peer, pending, role, demotion).ok_or(ENODEV)?;
        let outcome = sync_handshake(&question);
        let trace = &device.resource.trace;
        let words = pack_meeting(&question);
        trace.note(device.vnr, Kind::Meet, &words, conclusion(&outcome));
        if demotion == Demotion::NotTried {
            log_comparison(device, &question, &outcome);
        }
        if !outcome.demote_first {
            break outcome;
        }
        let secondary = Change::role(Role::Secondary);
        let result = device
            .resource
            .change_here(device.vnr, &secondary, How::SOFT.verbose());
        demotion = if result.is_refusal() {
            Demotion::Refused
        } else {
            Demotion::Done
        };
    };
    if let Some(repair) = outcome.repair() {
        with_volume(device, |volume| {
            let (Some(md), Some(theirs)) = (volume.md.as_mut(), volume.peer_uuids.as_mut()) else {
                return;
            };
            repair.apply(&mut md.uuids, &mut theirs.uuids);
            volume.md_dirty |= repair.is_mine();
            pr_info!(
                "{}: repaired: self {} peer {}\n",
                Tag(device),
                Shown(md.uuids),
                Shown(theirs.uuids)
            );
        });
    }
    call_helpers(device, &outcome);
    log_verdict(device, &outcome);
    let whole = matches!(outcome.verdict, Ok(plan) if plan.set_whole_bitmap);
    if whole {
        let tag = Tag(device);
        pr_info!(
            "{}: Writing the whole bitmap, full sync required after handshake.\n",
            tag
        );
        if let Err(error) = attach::set_whole_bitmap(device) {
            pr_err!(
                "{}: writing the whole bitmap failed: {:?}\n",
                Tag(device),
                error
            );
            return Ok(Err(Refusal::WholeBitmapFailed));
        }
    }
    Ok(outcome.verdict)
}

/// What the comparison looks at.
fn question(
    device: &Device,
    peer: &State,
    pending: &Pending,
    role: Role,
    demotion: Demotion,
) -> Option<Handshake> {
    let shared = device.resource.shared.lock();
    let net = shared.conn.net_conf.as_ref()?;
    let policy = Policy {
        after_sb: Policies {
            none: net.after_sb_0p,
            one: net.after_sb_1p,
            two: net.after_sb_2p,
        },
        always_asbp: net.always_asbp,
        rr_conflict: net.rr_conflict,
        dry_run: net.tentative || shared.conn.dry_run,
    };
    let features = Features(shared.conn.agreed_features);
    let volume = shared.vol(device.vnr)?;
    let md = volume.md.as_ref()?;
    let theirs = volume.peer_uuids.as_ref()?;
    let disk_now = volume.state.disk;
    Some(Handshake {
        me: Side {
            uuids: md.uuids,
            dirty_bits: volume.told_dirty_bits,
            role,
            crashed_primary: volume.flags.has(VolFlag::CrashedPrimary),
            discard_my_data: volume.flags.has(VolFlag::DiscardMyData),
        },
        peer: Side {
            uuids: theirs.uuids,
            dirty_bits: theirs.dirty_bits,
            role: peer.role,
            crashed_primary: theirs.crashed_primary,
            discard_my_data: theirs.discard_my_data,
        },
        agreed: Agreed {
            version: shared.conn.agreed_version,
            wsame: features.contains(Features::WRITE_SAME),
            resolve_conflicts: shared.conn.resolve_conflicts,
        },
        disk: if disk_now == DiskState::Negotiating {
            volume.negotiated.0
        } else {
            disk_now
        },
        disk_now,
        peer_disk: pending.peer_disk,
        peer_disk_now: peer.disk,
        policy,
        demotion,
    })
}

fn log_comparison(device: &Device, question: &Handshake, outcome: &Outcome) {
    let tag = Tag(device);
    let Handshake { me, peer, .. } = question;
    pr_info!("{}: drbd_sync_handshake:\n", tag);
    pr_info!("{}: self {} bits:{}\n", tag, Shown(me.uuids), me.dirty_bits);
    pr_info!(
        "{}: peer {} bits:{}\n",
        tag,
        Shown(peer.uuids),
        peer.dirty_bits
    );
    let decision = &outcome.decision;
    pr_info!(
        "{}: uuid_compare()={} by rule {}: {}\n",
        tag,
        decision.strategy.code(),
        decision.rule.number(),
        decision.rule.explain()
    );
}

fn log_verdict(device: &Device, outcome: &Outcome) {
    let tag = Tag(device);
    let side = |direction| match direction {
        Direction::Source => "this",
        Direction::Target => "peer",
    };
    match outcome.solved {
        None => {}
        Some(Solved::ByAttaching(direction)) => pr_info!(
            "{}: the disk that a Primary attaches is the target: {}\n",
            tag,
            match direction {
                Direction::Source => "the peer's",
                Direction::Target => "ours",
            }
        ),
        Some(Solved::ByDiskStates(Direction::Source)) => {
            pr_info!("{}: Becoming sync source due to disk states.\n", tag);
        }
        Some(Solved::ByDiskStates(Direction::Target)) => {
            pr_info!("{}: Becoming sync target due to disk states.\n", tag);
        }
        Some(Solved::ByPolicy {
            primaries,
            direction,
            full,
            ..
        }) => {
            pr_warn!(
                "{}: Split-Brain detected, {} primaries, automatically solved. Sync from {} node{}\n",
                tag,
                primaries,
                side(direction),
                if full { ", in full, since UUIDs were ambiguous" } else { "" }
            );
        }
        Some(Solved::ByDiscardMyData(direction)) => {
            let from = side(direction);
            pr_warn!(
                "{}: Split-Brain detected, manually solved. Sync from {} node\n",
                tag,
                from
            );
        }
    }
    match outcome.verdict {
        Ok(plan) if plan.violates_stable_data => {
            pr_warn!("{}: Becoming SyncTarget, violating the stable-data assumption\n", tag);
        }
        // The latter is said where it happens.
        Ok(_) | Err(Refusal::WholeBitmapFailed) => {}
        Err(Refusal::Unrelated) => pr_alert!("{}: Unrelated data, aborting!\n", tag),
        Err(Refusal::NeedsProtocol(version)) => pr_alert!(
            "{}: To resolve this both sides have to support at least protocol {}\n",
            tag,
            version
        ),
        Err(Refusal::NeedsFeature { version, features }) => pr_alert!(
            "{}: To resolve this both sides have to support at least protocol {} and feature flags {:#x}\n",
            tag,
            version,
            features
        ),
        Err(Refusal::SplitBrain) => {
            pr_alert!("{}: Split-Brain detected but unresolved, dropping connection!\n", tag);
        }
        Err(Refusal::InconsistentSource) => {
            pr_err!("{}: I shall become SyncSource, but I am inconsistent!\n", tag);
        }
        Err(Refusal::PrimaryTarget) => {
            pr_err!("{}: I shall become SyncTarget, but I am primary!\n", tag);
        }
        Err(Refusal::DryRun(strategy)) => match strategy.direction() {
            None => pr_info!(
                "{}: dry-run connect: No resync, would become Connected immediately.\n",
                tag
            ),
            Some(direction) => pr_info!(
                "{}: dry-run connect: Would become {}, doing a {} resync.\n",
                tag,
                match direction {
                    Direction::Source => "SyncSource",
                    Direction::Target => "SyncTarget",
                },
                if strategy.is_full() { "full" } else { "bit-map based" }
            ),
        },
    }
}

fn call_helpers(device: &Device, outcome: &Outcome) {
    let helpers = outcome.helpers;
    let wanted = [
        (helpers.initial_split_brain, handlers::INITIAL_SPLIT_BRAIN),
        (helpers.pri_lost_after_sb, handlers::PRI_LOST_AFTER_SB),
        (helpers.split_brain, handlers::SPLIT_BRAIN),
        (helpers.pri_lost, handlers::PRI_LOST),
    ];
    for (_, helper) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
        handlers::call(&device.resource, Some(device), helper);
    }
}

/// P_SYNC_UUID
#[inline(never)]
pub(crate) fn sync_uuid(packet: &Arrived<'_>) -> Result {
    let device = packet.device().ok_or(EPROTO)?;
    let sync = Uuid(SyncUuid::decode(packet.fixed).ok_or(EPROTO)?.uuid);
    let arrival = || {
        with_volume(&device, |volume| {
            core_handshake::sync_uuid_arrival(&volume.state, same_generation(volume))
        })
        .unwrap_or(SyncUuidArrival::Ignore)
    };
    packet
        .resource
        .state_wait
        .wait_idle(|| arrival() != SyncUuidArrival::Wait);
    match arrival() {
        SyncUuidArrival::StartAsTarget => {}
        SyncUuidArrival::BothAreSource => {
            let tag = Tag(&device);
            pr_err!("{}: Both nodes are the source of a resync!\n", tag);
            return Err(EPROTO);
        }
        SyncUuidArrival::Wait | SyncUuidArrival::Ignore => {
            pr_err!("{}: Ignoring SyncUUID packet!\n", Tag(&device));
            return Ok(());
        }
    }
    with_volume(&device, |volume| {
        let role = volume.state.role;
        let Some(md) = volume.md.as_mut() else { return };
        md.uuids.accept_sync_uuid(sync, role);
        volume.md_dirty = true;
        pr_info!("{}: updated sync uuid {}\n", Tag(&device), Shown(md.uuids));
    });
    start_resync(&device, resync::Side::Target);
    // Before the first block is asked for: what the resync writes may be lost with our disk's cache after the source
    // has cleared its bits.
    crate::after::write_bitmap(&device, "resync target");
    Ok(())
}

/// Becomes source or target of a resync, if the handlers agree. Not for the worker.
pub(crate) fn start_resync(device: &Arc<Device>, side: resync::Side) {
    begin_resync(device, side, false);
}

/// As [`start_resync`], for the worker: it does not wait for its turn, because whoever has it may wait for the worker.
pub(crate) fn start_resync_from_worker(device: &Arc<Device>, side: resync::Side) {
    begin_resync(device, side, true);
}

fn begin_resync(device: &Arc<Device>, side: resync::Side, worker: bool) {
    let resource = &device.resource;
    match with_volume(device, |volume| resync::start(&volume.state, side)) {
        Some(Ok(_)) => {}
        Some(Err(StartRefusal::AlreadyRunning)) => {
            pr_err!("{}: Resync already running!\n", Tag(device));
            return;
        }
        Some(Err(StartRefusal::TooLate)) | None => return,
    }
    if !handler_agrees(device, side) {
        give_up(resource);
        return;
    }
    let serialised = (!worker).then(|| resource.state_mutex.lock());
    let began = enter_resync(device, side);
    drop(serialised);
    let Some((bits, conn)) = began else { return };
    pr_info!(
        "{}: Began resync as {} (will sync {} KB [{} bits set]).\n",
        Tag(device),
        conn.name(),
        bits.saturating_mul(4),
        bits
    );
    metadata::sync(device);
    crate::resync::started(device);
    // Those that sync after it wait, or it waits itself.
    crate::dependents::update();
    resource.connection.wake_sender();
}

fn handler_agrees(device: &Arc<Device>, side: resync::Side) -> bool {
    let handler = match side {
        resync::Side::Target => handlers::BEFORE_RESYNC_TARGET,
        resync::Side::Source => handlers::BEFORE_RESYNC_SOURCE,
    };
    let code = handlers::call(&device.resource, Some(device), handler);
    let goes = resync::handler_verdict(side, code) == HandlerVerdict::Go;
    if !goes {
        let tag = Tag(device);
        pr_info!(
            "{}: {} handler returned {}, dropping connection.\n",
            tag,
            handler,
            code
        );
    }
    goes
}

/// The bits to copy, and the state, if it was entered.
fn enter_resync(device: &Arc<Device>, side: resync::Side) -> Option<(u64, ConnState)> {
    let mut shared = device.resource.shared.lock();
    let volume = shared.vol(device.vnr)?;
    let target = side == resync::Side::Target;
    let by_checksums = target && crate::checksums::wanted(&shared, volume);
    let change = resync::start(&volume.state, side).ok()?;
    let how = How::SOFT.verbose();
    let result = change::change_locked(&mut shared, device.vnr, &change, how);
    let volume = shared.vol_mut(device.vnr)?;
    if result.is_refusal() || !state::is_connected(volume.state.conn) {
        return None;
    }
    let weight = device.bitmap.weight();
    volume.resync.begin(weight, kernel_ext::time::now_ms());
    volume.resync.by_checksums = by_checksums;
    crate::throttle::begin(volume);
    Some((weight, volume.state.conn))
}
