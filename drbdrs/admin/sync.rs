// SPDX-License-Identifier: GPL-2.0-only

//! Commands about the data: resync, verify, suspension, generations.

use super::{
    context::{Context, Info},
    refuse, Answer, Outcome, SETTLE_MS,
};
use crate::{
    attach::{resume_io as unlock_io, set_whole_bitmap, suspend_io as lock_io},
    change::{self, How},
    device::Device,
    metadata, params,
    prelude::*,
    tag::Tag,
    transfer,
};
use drbd_core::{
    config::{
        parms::{NewCUuidParms, StartOvParms, TimeoutParms},
        Secrets,
    },
    state::{self, Change, Thaw},
    types::{ConnState, DiskState, RetCode, Role, StateRv, Uuid},
};

fn with_io_locked<R>(device: &Arc<Device>, work: impl FnOnce() -> R) -> R {
    lock_io(device);
    let result = work();
    unlock_io(device);
    result
}

/// `invalidate`: our data are worth nothing; get the peer's, in full.
#[inline(never)]
pub(super) fn invalidate(context: &Context<'_>) -> Outcome {
    let alone = Change::disk(DiskState::Inconsistent);
    full_sync(context, Role::Secondary, alone, ConnState::StartingSyncT)
}

/// `invalidate-remote`: the peer's data are worth nothing; it shall get ours, in full.
#[inline(never)]
pub(super) fn invalidate_peer(context: &Context<'_>) -> Outcome {
    let alone = Change {
        pdsk: Some(DiskState::Inconsistent),
        ..Change::NONE
    };
    full_sync(context, Role::Primary, alone, ConnState::StartingSyncS)
}

/// StandAlone in the right role, the bitmap is set and that is all; otherwise the peer has to take part.
fn full_sync(context: &Context<'_>, role: Role, alone: Change, start: ConnState) -> Outcome {
    let device = context.device()?;
    let _disk = Device::get_local(device).ok_or(RetCode::NoDisk)?;
    let resource = &device.resource;
    let _admin = resource.admin.lock();
    resource.flush_changes();
    with_io_locked(device, || {
        let state = device.state().ok_or(RetCode::MinorInvalid)?;
        if state.conn != ConnState::StandAlone || state.role != role {
            let change = Change::conn(start);
            return Ok(resource
                .change(device.vnr, &change, How::SOFT.verbose())
                .into());
        }
        let result = resource.change(device.vnr, &alone, How::SOFT.verbose());
        if !result.is_refusal() && set_whole_bitmap(device).is_err() {
            return Err(Answer::from(RetCode::IoMdDisk));
        }
        Ok(result.into())
    })
}

fn simple(context: &Context<'_>, change: Change) -> Result<StateRv, Answer> {
    let device = context.device()?;
    let _admin = device.resource.admin.lock();
    Ok(device
        .resource
        .change(device.vnr, &change, How::SOFT.verbose()))
}

/// `pause-sync`
#[inline(never)]
pub(super) fn pause(context: &Context<'_>) -> Outcome {
    let change = Change {
        user_isp: Some(true),
        ..Change::NONE
    };
    Ok(match simple(context, change)? {
        StateRv::NothingToDo => RetCode::PauseIsSet.into(),
        _ => Answer::OK,
    })
}

/// `resume-sync`
#[inline(never)]
pub(super) fn resume(context: &Context<'_>) -> Outcome {
    let change = Change {
        user_isp: Some(false),
        ..Change::NONE
    };
    if simple(context, change)? != StateRv::NothingToDo {
        return Ok(Answer::OK);
    }
    let state = context.device()?.state().ok_or(RetCode::MinorInvalid)?;
    let paused = state::is_paused_resync(state.conn);
    Ok(if paused && state.aftr_isp {
        RetCode::PicAfterDep.into()
    } else if paused && state.peer_isp {
        RetCode::PicPeerDep.into()
    } else {
        RetCode::PauseIsClear.into()
    })
}

/// `suspend-io`
#[inline(never)]
pub(super) fn suspend_io(context: &Context<'_>) -> Outcome {
    let change = Change {
        susp: Some(true),
        ..Change::NONE
    };
    Ok(simple(context, change)?.into())
}

/// `resume-io`
#[inline(never)]
pub(super) fn resume_io(context: &Context<'_>) -> Outcome {
    let device = context.device()?;
    let resource = &device.resource;
    let _admin = resource.admin.lock();
    // Whether what waits is given up or sent again is known when the nodes have introduced each other; unless they
    // wait for it to do so.
    let settled = || transfer::thaw(resource) != Thaw::NotYet;
    resource.state_wait.wait_timeout(SETTLE_MS, settled);
    metadata::begin_put_off_generation(device);
    let result = with_io_locked(device, || {
        let change = Change {
            susp: Some(false),
            susp_nod: Some(false),
            susp_fen: Some(false),
            ..Change::NONE
        };
        let result = resource.change(device.vnr, &change, How::SOFT.verbose());
        if result == StateRv::Success {
            transfer::thawed(resource);
        }
        result
    });
    Ok(result.into())
}

/// `outdate`
#[inline(never)]
pub(super) fn outdate(context: &Context<'_>) -> Outcome {
    Ok(simple(context, Change::disk(DiskState::Outdated))?.into())
}

/// `new-current-uuid`
#[inline(never)]
pub(super) fn new_current_uuid(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let parms = NewCUuidParms::parse(context.request.arguments())
        .map_err(|refusal| refuse(info, refusal))?;
    let resource = &device.resource;
    let _admin = resource.admin.lock();
    let _one_at_a_time = resource.state_mutex.lock();
    let local = Device::get_local(device).ok_or(RetCode::NoDisk)?;
    let skip_initial_sync = {
        let mut shared = resource.shared.lock();
        let volume = shared.vol_mut(device.vnr).ok_or(RetCode::MinorInvalid)?;
        let conn = volume.state.conn;
        let md = volume.md.as_mut().ok_or(RetCode::NoDisk)?;
        let fresh = md.uuids.current == Uuid::JUST_CREATED;
        let skip = conn == ConnState::Connected && fresh && parms.clear_bm;
        if !skip && conn != ConnState::StandAlone {
            return Err(RetCode::Connected.into());
        }
        // What the bitmap counted against becomes history.
        md.uuids.set_bitmap(Uuid::ZERO);
        skip
    };
    metadata::new_current_uuid(device);
    if parms.clear_bm {
        device.bitmap.clear_all();
        let disk = local.disk().ok_or(RetCode::NoDisk)?;
        if device.bitmap.write_all(device, disk).is_err() {
            return Err(RetCode::IoMdDisk.into());
        }
        if skip_initial_sync {
            if let Err(error) = params::send_uuids_skip_initial_sync(device) {
                pr_err!("{}: telling the peer failed: {:?}\n", Tag(device), error);
                resource.connection_failed(ConnState::NetworkFailure);
                return Err(StateRv::NeedConnection.into());
            }
            take_as_equal(device);
        }
    }
    metadata::sync(device);
    Ok(Answer::OK)
}

/// Both sides are declared equal before they ever synced.
fn take_as_equal(device: &Arc<Device>) {
    let mut shared = device.resource.shared.lock();
    if let Some(md) = shared
        .vol_mut(device.vnr)
        .and_then(|volume| volume.md.as_mut())
    {
        md.uuids.clear_bitmap();
    }
    let equal = Change {
        disk: Some(DiskState::UpToDate),
        pdsk: Some(DiskState::UpToDate),
        ..Change::NONE
    };
    change::change_locked(&mut shared, device.vnr, &equal, How::SOFT.verbose());
}

/// `verify`
#[inline(never)]
pub(super) fn start_verify(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let parms = StartOvParms::parse(context.request.arguments())
        .map_err(|refusal| refuse(info, refusal))?;
    let resource = &device.resource;
    let _admin = resource.admin.lock();
    // The bitmap of a resync or verify that just ended is written first.
    resource.flush_changes();
    if let Some(volume) = resource.shared.lock().vol_mut(device.vnr) {
        if !state::is_verify(volume.state.conn) {
            let verify = &mut volume.resync.verify;
            verify.plan(parms.ov_start_sector, parms.ov_stop_sector);
        }
    }
    let start = Change::conn(ConnState::VerifyS);
    let result = resource.change(device.vnr, &start, How::SOFT.verbose());
    resource.connection.wake_sender();
    Ok(result.into())
}

/// What `wait-connect` asks: which of its timeouts applies.
#[inline(never)]
pub(super) fn timeout_type(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let timeout_type = {
        let shared = device.resource.shared.lock();
        let volume = shared.vol(device.vnr).ok_or(RetCode::MinorInvalid)?;
        if volume.state.pdsk == DiskState::Outdated {
            2
        } else if volume.flags.has(VolFlag::UseDegrWfcTimeout) {
            1
        } else {
            0
        }
    };
    info.append(|out| TimeoutParms { timeout_type }.emit_nest(out, Secrets::Show))?;
    Ok(Answer::OK)
}
