// SPDX-License-Identifier: GPL-2.0-only

//! The After effects of a change of state, carried out by the worker: they may sleep.
//!
//! Which effects there are, and in which order, the core says (`core::state::after_effects`); here is how each one
//! is done.

use crate::{
    attach, bitmap_exchange,
    change::{self, Committed, How, VolumeChange},
    connection, dependents,
    device::Device,
    events, handlers, handshake as peer_handshake, local, metadata, params,
    prelude::*,
    requests,
    resource::Resource,
    tag::Tag,
    transfer,
};
use drbd_core::{
    config::choices::OnIoError,
    meta::Superblock,
    resync::Side,
    state::{self, After, AfterConnection, AfterContext, Change, Helper, Io, BITMAP_WRITE_REASONS},
    types::{ConnState, DiskState, State},
    wire::SizesFlags,
};

/// Executes the consequences of one change.
pub(crate) fn execute(resource: &Arc<Resource>, change: &Committed) {
    // Changes under the lock could not do this.
    resource.enforce_order();
    match &change.volume {
        Some(volume) => volume_changed(resource, change, volume),
        None => connection_changed(resource, change),
    }
}

fn volume_changed(resource: &Arc<Resource>, change: &Committed, volume: &VolumeChange) {
    let device = resource.device(volume.vnr);
    let context = device
        .as_ref()
        .and_then(|device| context(device, &volume.new));
    let (Some(device), Some(context)) = (device, context) else {
        // The volume was deleted meanwhile; its listeners still hear how it went.
        events::state_changed(resource, change);
        return;
    };
    for effect in state::after_effects(&volume.old, &volume.new, &context).iter() {
        carry_out(&device, change, &volume.new, effect);
    }
    if state::is_suspended(&volume.old) && !state::is_suspended(&volume.new) {
        // That it is due may have been found when I/O was being resumed already.
        metadata::begin_put_off_generation(&device);
        crate::submit::resume(&device);
    }
}

/// The facts that the core asks for; some of them are used up by asking.
fn context(device: &Device, new: &State) -> Option<AfterContext> {
    let mut shared = device.resource.shared.lock();
    let all = state::combined(shared.volumes.iter().map(|volume| &volume.state));
    let version = shared.conn.agreed_version;
    let volume = shared.vol_mut(device.vnr)?;
    let now = volume.state;
    let failed = now.disk == DiskState::Failed;
    let policy = volume.disk_conf.as_ref().map(|conf| conf.on_io_error);
    Some(AfterContext {
        has_disk: volume.has_disk(),
        backing_open: volume.local.is_some(),
        version,
        has_own_generation: volume
            .md
            .as_ref()
            .is_some_and(Superblock::has_own_generation),
        resync_is_open: volume.md.as_ref().is_some_and(Superblock::resync_is_open),
        now,
        lowest_conn: all.lowest_conn.unwrap_or(ConnState::StandAlone),
        lowest_disk: all.lowest_disk,
        grown_while_away: state::both_have_data(new)
            && volume.flags.clear(VolFlag::ResyncAfterNegotiation),
        call_local_io_error: failed
            && volume.flags.clear(VolFlag::WasIoError)
            && policy == Some(OnIoError::CallHandler),
        force_detach: failed && volume.flags.clear(VolFlag::ForceDetach),
        verify_stop_sector: drbd_core::resync::can_stop_early(version),
    })
}

fn carry_out(device: &Arc<Device>, change: &Committed, new: &State, effect: After) {
    let resource = &device.resource;
    match effect {
        After::EmitEvents => events::state_changed(resource, change),
        After::ForgetCrash => forget_crash(device),
        After::CallHelper(Helper::PriOnInconDegr) => {
            handlers::call(resource, Some(device), handlers::PRI_ON_INCON_DEGR);
        }
        After::CallHelper(Helper::LocalIoError) => {
            handlers::call(resource, Some(device), handlers::LOCAL_IO_ERROR);
        }
        After::NewCurrentUuid => metadata::begin_generation(device),
        After::NewCurrentUuidLater => set_flag(device, VolFlag::NewCurrentUuid),
        After::WriteBitmap(reason) => {
            let why = BITMAP_WRITE_REASONS
                .iter()
                .find(|(what, _)| *what == reason);
            write_bitmap(device, why.map_or("", |(_, name)| name));
        }
        After::ResetResync => {
            let mut shared = resource.shared.lock();
            if let Some(volume) = shared.vol_mut(device.vnr) {
                volume.resync.total = 0;
                volume.resync.failed = 0;
            }
        }
        After::PauseDependent | After::ResumeDependent => dependents::update(),
        After::StartFullSync => start_full_sync(device, new),
        After::SyncMetadata => metadata::sync(device),
        After::ReleaseDisk => device.put_local(),
        After::ThawNoData(io) => {
            if io == Io::Resend {
                transfer::resend(resource);
            }
            transfer::restart_frozen(resource);
            let thawed = Change {
                susp_nod: Some(false),
                ..Change::NONE
            };
            thaw(device, thawed);
        }
        After::ThawFencing => {
            // The peer is back: what it lacks is sent again, and no new generation is needed.
            for_each_device(resource, |device| {
                if let Some(volume) = resource.shared.lock().vol_mut(device.vnr) {
                    volume.flags.clear(VolFlag::NewCurrentUuid);
                }
            });
            transfer::resend(resource);
            let thawed = Change {
                susp_fen: Some(false),
                ..Change::NONE
            };
            thaw(device, thawed);
        }
        After::SendSyncUuid => {
            crate::congestion::all_marks_sent(device);
            sent(device, "a sync uuid", params::send_sync_uuid(device));
        }
        After::SendSizes => {
            sent(
                device,
                "sizes",
                params::send_sizes(device, false, SizesFlags::NONE),
            );
        }
        After::SendUuids => sent(device, "UUIDs", params::send_uuids(device)),
        After::SendState => {
            sent(device, "a state", params::send_state_value(device, *new));
            crate::congestion::told(device);
            if state::tells_of_loss(new) {
                told(device, VolFlag::LossUntold);
            }
            if state::tells_of_peer_disk(new) {
                told(device, VolFlag::PeerDiskUntold);
            }
        }
        After::SendBitmap => bitmap_exchange::send_from_worker(device),
        After::SyncGrownPart => sent(device, "a state", params::sync_grown_part(device, true)),
        After::AbortLocalIo => local::abort(device),
        After::CancelResync => requests::forget(device),
    }
}

/// Writes follow the news that ours is not a copy any more, or that the peer's is one.
fn told(device: &Device, news: VolFlag) {
    let waited = {
        let mut shared = device.resource.shared.lock();
        let volume = shared.vol_mut(device.vnr);
        volume.is_some_and(|volume| volume.flags.clear(news))
    };
    if waited {
        device.resource.state_wait.wake_all();
    }
}

/// The connection may be gone by now, which is no reason to give it up.
fn sent(device: &Device, what: &str, result: Result) {
    match result {
        Err(error) if error != ENOTCONN => {
            pr_err!("{}: sending {} failed: {:?}\n", Tag(device), what, error);
            device.resource.connection_failed(ConnState::NetworkFailure);
        }
        _ => {}
    }
}

fn set_flag(device: &Device, flag: VolFlag) {
    let mut shared = device.resource.shared.lock();
    if let Some(volume) = shared.vol_mut(device.vnr) {
        volume.flags.set(flag);
    }
}

fn forget_crash(device: &Device) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    volume.flags.clear(VolFlag::CrashedPrimary);
    if let Some(peer) = volume.peer_uuids.as_mut() {
        peer.crashed_primary = false;
    }
}

fn thaw(device: &Device, change: Change) {
    device.resource.change_all(&change, How::SOFT.verbose());
}

/// Sets and writes the whole bitmap before the sync starts, so that an interrupted start is found again.
fn start_full_sync(device: &Arc<Device>, new: &State) {
    let written = attach::set_whole_bitmap(device);
    let next = match (&written, new.conn) {
        (Err(_), _) => ConnState::Connected,
        (Ok(()), ConnState::StartingSyncT) => ConnState::WfSyncUuid,
        (Ok(()), _) => {
            peer_handshake::start_resync_from_worker(device, Side::Source);
            return;
        }
    };
    if let Err(error) = written {
        let tag = Tag(device);
        pr_err!(
            "{}: writing the bitmap failed ({:?}): not starting the resync\n",
            tag,
            error
        );
    }
    device
        .resource
        .change(device.vnr, &Change::conn(next), How::SOFT.verbose());
}

/// Writes what changed in the bitmap, and says so.
pub(crate) fn write_bitmap(device: &Arc<Device>, why: &str) {
    let Some(local) = Device::get_local_if(device, attach::is_open) else {
        return;
    };
    let Some(disk) = local.disk() else { return };
    if let Err(error) = device.bitmap.write(device, disk) {
        pr_err!(
            "{}: writing the bitmap ({}) failed: {:?}\n",
            Tag(device),
            why,
            error
        );
        drop(local);
        crate::local::io_error(device, crate::local::Failure::Metadata);
        return;
    }
    drop(local);
    // A demotion may be on disk from here on.
    metadata::sync(device);
}

fn connection_changed(resource: &Arc<Resource>, change: &Committed) {
    let all = {
        let shared = resource.shared.lock();
        state::combined(shared.volumes.iter().map(|volume| &volume.state))
    };
    let effects = state::after_connection_effects(
        change.old.cstate,
        change.new.cstate,
        all.highest_pdsk,
        change.new.susp_fen,
    );
    for effect in effects.iter() {
        match effect {
            AfterConnection::EmitEvents => events::state_changed(resource, change),
            AfterConnection::ForgetConfiguration => {
                events::connection_destroyed(resource);
                resource.forget_network();
            }
            AfterConnection::ResumeFenced => resume_fenced(resource),
            AfterConnection::SyncMetadata => {
                for_each_device(resource, metadata::sync);
            }
            AfterConnection::StartReceiver => connection::start_receiver(resource),
        }
    }
}

fn for_each_device(resource: &Resource, work: impl Fn(&Arc<Device>)) {
    let mut vnr = Some(0);
    while let Some(device) = vnr.and_then(|vnr| resource.device_from(vnr)) {
        work(&device);
        vnr = device.vnr.checked_add(1);
    }
}

/// The peer was fenced: the generations that were put off begin, and I/O goes on without it.
fn resume_fenced(resource: &Resource) {
    for_each_device(resource, |device| {
        let put_off = {
            let mut shared = resource.shared.lock();
            shared
                .vol_mut(device.vnr)
                .is_some_and(|volume| volume.flags.clear(VolFlag::NewCurrentUuid))
        };
        if put_off {
            metadata::begin_generation(device);
        }
    });
    // What waits for the peer is marked; the thaw completes it.
    transfer::connection_lost(resource);
    let mut shared = resource.shared.lock();
    let thaw = Change {
        susp_fen: Some(false),
        ..Change::NONE
    };
    change::change_all_locked(&mut shared, &thaw, How::SOFT.verbose());
}
