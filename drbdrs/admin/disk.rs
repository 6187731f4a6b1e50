// SPDX-License-Identifier: GPL-2.0-only

//! Attach, detach, options and size of a volume's local disk.

use super::{
    context::{Context, Info},
    refuse, Answer, Outcome,
};
use crate::{
    activity, attach as engine, dependents, detach as removal,
    device::Device,
    limits, metadata, params, peer_data,
    prelude::*,
    resize::{self, Failed, Wish},
};
use drbd_core::{
    config::{parms::DetachParms, parms::ResizeParms, schema::SET_DEFAULTS, DiskConf},
    handshake::{Reshape, ResizeRefusal, Ring},
    state,
    types::{ConnState, RetCode, Role},
    wire::SizesFlags,
    write_order::{self, Reason},
};

/// `attach`
#[inline(never)]
pub(super) fn attach(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let _admin = device.resource.admin.lock();
    if engine::is_open(device.disk_state()) {
        return Err(RetCode::DiskConfigured.into());
    }
    let conf =
        DiskConf::parse(context.request.arguments()).map_err(|refusal| refuse(info, refusal))?;
    match engine::attach(device, conf) {
        Ok(()) => Ok(Answer::OK),
        Err(refused) => {
            if let Some(line) = refused.info.as_ref().and_then(|line| line.to_str().ok()) {
                info.say(line);
            }
            Err(Answer(refused.code))
        }
    }
}

/// `detach`
#[inline(never)]
pub(super) fn detach(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let parms =
        DetachParms::parse(context.request.arguments()).map_err(|refusal| refuse(info, refusal))?;
    if parms.force_detach {
        // Whoever holds the mutex may be waiting for this very disk.
        return Ok(removal::give_up(device).into());
    }
    let _admin = device.resource.admin.lock();
    Ok(removal::detach(device).into())
}

/// `disk-options`
#[inline(never)]
pub(super) fn options(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let reset = context.header.value & SET_DEFAULTS != 0;
    let _admin = device.resource.admin.lock();
    let local = Device::get_local(device).ok_or(RetCode::NoDisk)?;
    let mut conf = device.disk_conf().ok_or(RetCode::NoDisk)?;
    conf.change(context.request.arguments(), reset)
        .map_err(|refusal| refuse(info, refusal))?;
    dependents::check(device.minor, conf.resync_after)?;
    if let Some(disk) = local.disk() {
        engine::sanitize(device, &mut conf, disk);
        disk.set_flush(conf.md_flushes);
    }
    {
        let mut shared = device.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(device.vnr) {
            let old = volume.disk_conf.replace(conf);
            volume.flags.assign(VolFlag::MdNoFua, !conf.md_flushes);
            if old.is_some_and(|old| write_order::options_differ(&old, &conf)) {
                peer_data::choose_order(&mut shared, Reason::Configured);
            }
        }
    }
    limits::apply(device);
    dependents::update();
    if !conf.al_updates {
        // The log on disk is not to be believed any more, before it gets old.
        note_al(device, false);
    }
    if let Some(disk) = local.disk() {
        let done = activity::configure(device, disk, conf.al_extents, conf.al_updates);
        done.map_err(|error| {
            info.say("the activity log is still in use: try again when I/O has settled");
            log_failed(device, error);
            RetCode::Nomem
        })?;
    }
    note_al(device, conf.al_updates);
    // It watches the disk's patience.
    device.resource.worker.wake();
    Ok(Answer::OK)
}

/// Says in the superblock on disk whether its activity log can be trusted.
fn note_al(device: &Arc<Device>, updates: bool) {
    let mut shared = device.resource.shared.lock();
    if let Some(md) = shared
        .vol_mut(device.vnr)
        .and_then(|volume| volume.md.as_mut())
    {
        activity::flag(&mut md.flags, updates);
    }
    drop(shared);
    metadata::mark_dirty(device);
    metadata::sync(device);
}

fn log_failed(device: &Device, error: Error) {
    let tag = crate::tag::Tag(device);
    pr_err!("{}: the activity log stays as it is: {:?}\n", tag, error);
}

/// `resize`
#[inline(never)]
pub(super) fn resize(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let _admin = device.resource.admin.lock();
    let local = Device::get_local(device).ok_or(RetCode::NoDisk)?;
    let disk = local.disk().ok_or(RetCode::NoDisk)?;
    let parms =
        ResizeParms::parse(context.request.arguments()).map_err(|refusal| refuse(info, refusal))?;
    let ring = check_resize(device, &parms, info)?;
    {
        let mut shared = device.resource.shared.lock();
        let conf = shared
            .vol_mut(device.vnr)
            .and_then(|volume| volume.disk_conf.as_mut());
        if let Some(conf) = conf {
            conf.disk_size = parms.resize_size;
        }
    }
    let wish = Wish {
        assume_peer_has_space: parms.resize_force,
        assume_clean: parms.no_resync,
        ring,
    };
    engine::suspend_io(device);
    // A verify or a resync may have begun while we waited.
    let state = device.state();
    if state.is_none_or(|state| state::is_beyond_connected(state.conn)) {
        engine::resume_io(device);
        return Err(RetCode::ResizeResync.into());
    }
    let result = resize::determine(device, disk, wish);
    metadata::sync(device);
    if let Ok(resized) = result {
        let mut flags = SizesFlags::NONE;
        if wish.assume_peer_has_space {
            flags = flags.union(SizesFlags::FORCED);
        }
        if wish.assume_clean {
            flags = flags.union(SizesFlags::NO_RESYNC);
        }
        // The peer learns of new blocks before it gets writes to them. (8.4 does not wait for that.) A link that breaks
        // now says so itself, and the next introduction tells the size.
        let _ = params::announce_resize(device, resized, flags);
    }
    engine::resume_io(device);
    match result {
        Ok(_) => Ok(Answer::OK),
        Err(Failed::Resources) => Err(RetCode::NomemBitmap.into()),
        Err(Failed::Refused(ResizeRefusal::ImplicitShrink)) => Err(RetCode::ImplicitShrink.into()),
        Err(Failed::Refused(ResizeRefusal::NoSpaceForMetadata)) => {
            Err(RetCode::MdLayoutNoFit.into())
        }
    }
}

/// Whether it may be; the new activity log on disk, if that is wanted.
fn check_resize(
    device: &Device,
    parms: &ResizeParms,
    info: &mut Info,
) -> Result<Option<Ring>, Answer> {
    let state = device.state().ok_or(RetCode::MinorInvalid)?;
    if state::is_beyond_connected(state.conn) {
        return Err(RetCode::ResizeResync.into());
    }
    if state.role == Role::Secondary && state.peer == Role::Secondary {
        return Err(RetCode::NoPrimary.into());
    }
    let reshape = {
        let shared = device.resource.shared.lock();
        let volume = shared.vol(device.vnr).ok_or(RetCode::MinorInvalid)?;
        Reshape {
            now: volume.md.as_ref().map(Ring::of).ok_or(RetCode::NoDisk)?,
            stripes: parms.al_stripes,
            stripe_kib: parms.al_stripe_size,
            slots: volume.al.as_ref().map_or(0, |log| log.slots()),
            connected: state.conn == ConnState::Connected,
            force: parms.resize_force,
        }
    };
    reshape.decide().map_err(|code| {
        match code {
            RetCode::MdLayoutTooSmall => info.say(
                "an activity log has 32 KiB at least, and 4 KiB for each 919 al-extents and 4 KiB more",
            ),
            RetCode::MdLayoutTooBig => info.say("an activity log has 16 GiB at most"),
            _ => info.say("the peer is not connected: --assume-peer-has-space changes the activity log all the same"),
        }
        code.into()
    })
}
