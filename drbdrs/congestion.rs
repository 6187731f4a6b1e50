// SPDX-License-Identifier: GPL-2.0-only

//! `on-congestion`: going Ahead of a peer that cannot follow, and coming back.
//!
//! `core::congestion` decides. While we are Ahead, our application's writes only mark blocks, here at once and on the
//! peer by P_OUT_OF_SYNC. Three things keep the two bitmaps the same:
//!
//! - The first mark follows the news that we are Ahead ([`VolFlag::AheadUntold`]): the peer must know that what it
//!   still writes for us makes nothing in sync.
//! - A mark waits for whatever may clear the same bits: an answer of an earlier resync that the peer has not confirmed,
//!   or a write that was sent during one ([`may_mark`]).
//! - The sync UUID that ends it follows the last mark ([`all_marks_sent`]).

use crate::{
    change::{self, How},
    device::Device,
    handshake,
    peer_data::AWAITED,
    prelude::*,
    resource::{Resource, Shared, VolumeShared},
    tag::Tag,
    transfer::Transfer,
    worker::Todo,
};
use drbd_core::{
    congestion::{self, Load, Policy, Rule, Step},
    interval::{Owner, Range},
    request::{Job, SlotId},
    resync::Side,
    state::{self, Change},
    types::ConnState,
};
use kernel_ext::time;

fn load(volume: &VolumeShared) -> Load {
    Load {
        in_flight_sectors: volume.stat.in_flight,
        active_extents: volume.al.as_ref().map_or(0, |log| log.in_use()),
    }
}

/// A write of the application is about to start: goes Ahead, or gives the connection up, if the way to the peer is full.
#[inline(never)]
pub(crate) fn before_write(shared: &mut Shared, vnr: u16) {
    let Some(policy) = shared.conn.net_conf.as_ref().map(Policy::from) else {
        return;
    };
    let version = shared.conn.agreed_version;
    let Some(volume) = shared.vol(vnr) else {
        return;
    };
    let load = load(volume);
    let Some(decision) = congestion::on_write(&policy, &volume.state, version, &load) else {
        return;
    };
    let threshold = match decision.rule {
        Rule::Fill => "Congestion-fill",
        Rule::Extents => "Congestion-extents",
    };
    pr_info!("{}: {} threshold reached\n", Tag(&volume.device), threshold);
    match decision.step {
        Step::PullAhead => {
            change::change_locked(shared, vnr, &Change::conn(ConnState::Ahead), How::SOFT)
        }
        Step::Disconnect => {
            let leave = Change::conn(ConnState::Disconnecting);
            change::change_all_locked(shared, &leave, How::HARD)
        }
    };
}

/// Whether nothing can clear bits of these blocks any more, so that a mark stays.
pub(crate) fn may_mark(transfer: &Transfer, range: &Range) -> bool {
    let clears = |owner: Owner, _: &Range| match owner {
        Owner::Local(slot) => transfer
            .log
            .get(SlotId(slot))
            .is_some_and(|request| request.may_clear()),
        Owner::Peer(owner) => owner == AWAITED,
    };
    transfer.writes.find_overlap(range, clears).is_none()
}

/// What the sender does for a write that only marks blocks: nothing, if both nodes have marked them already.
pub(crate) fn marking_job(volume: &VolumeShared, range: &Range) -> Job {
    let marked = volume
        .device
        .bitmap
        .is_out_of_sync(range.sector, u64::from(range.sectors));
    if marked {
        Job::Nothing
    } else {
        Job::OutOfSync
    }
}

/// Whether the sender has to wait with what it would send next.
pub(crate) fn holds_back(shared: &Shared) -> bool {
    let next = shared.transfer.log.peek_to_send();
    let mark = next.filter(|request| request.job() == Job::OutOfSync);
    mark.and_then(|request| shared.vol(request.range.volume))
        .is_some_and(|volume| volume.flags.has(VolFlag::AheadUntold))
}

/// The peer was told our state.
pub(crate) fn told(device: &Device) {
    let waited = {
        let mut shared = device.resource.shared.lock();
        let volume = shared.vol_mut(device.vnr);
        volume.is_some_and(|volume| volume.flags.clear(VolFlag::AheadUntold))
    };
    if waited {
        device.resource.connection.wake_sender();
    }
}

/// Waits until the peer was sent all marks of this volume, or the connection is lost. The worker's thread.
pub(crate) fn all_marks_sent(device: &Device) {
    let resource = &device.resource;
    resource.state_wait.wait_idle(|| {
        let mut shared = resource.shared.lock();
        shared.transfer.waiting = true;
        let connected = shared
            .vol(device.vnr)
            .is_some_and(|volume| state::is_connected(volume.state.conn));
        !connected || !shared.transfer.log.has_marks_to_send(device.vnr)
    });
}

/// Looks whether the peer can follow again. The sender's thread.
pub(crate) fn tick(device: &Device) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let load = load(volume);
    let unanswered = volume
        .stat
        .unacked
        .saturating_add(volume.stat.resync_pending);
    let conn = volume.state.conn;
    let due = volume
        .catch_up
        .is_due(conn, &load, unanswered, time::now_ms());
    if due {
        volume.todo.set(Todo::CatchUp);
        drop(shared);
        device.resource.worker.wake();
    }
}

/// Brings the peer up to date. The worker's thread.
pub(crate) fn catch_up(device: &Arc<Device>) {
    let ahead = device
        .state()
        .is_some_and(|state| state.conn == ConnState::Ahead);
    if ahead {
        handshake::start_resync_from_worker(device, Side::Source);
    }
}

/// The peer has written, or could not write, blocks that we sent for its resync.
pub(crate) fn confirmed(resource: &Resource, range: &Range) {
    let woken = {
        let mut shared = resource.shared.lock();
        let same = |owner: Owner, other: &Range| owner == Owner::Peer(AWAITED) && other == range;
        let found = shared.transfer.writes.find_overlap(range, same);
        if let Some((node, _)) = found {
            shared.transfer.writes.remove(node);
        }
        found.is_some() && core::mem::take(&mut shared.transfer.waiting)
    };
    if woken {
        resource.state_wait.wake_all();
    }
}
