// SPDX-License-Identifier: GPL-2.0-only

//! Making and removing resources and volumes.

use super::{
    context::{Context, Info},
    network, refuse, role, Answer, Outcome,
};
use crate::{attach, cpus, detach, device::Device, events, limits, prelude::*, resource::Resource};
use drbd_core::{
    config::{schema::SET_DEFAULTS, ResourceOpts},
    types::{DiskState, RetCode, Role, StateRv},
};
use kernel_ext::block::BioDisk;

/// Minors are 20 bits wide.
const MAX_MINOR: u32 = (1 << 20) - 1;
/// Volume numbers of 8.4.
const MAX_VOLUME: u32 = 65534;

/// `new-resource`
#[inline(never)]
pub(super) fn new_resource(context: &Context<'_>, info: &mut Info) -> Outcome {
    let opts = ResourceOpts::parse(context.request.arguments())
        .map_err(|refusal| refuse(info, refusal))?;
    let name = context.request.context.resource_name.unwrap_or_default();
    if name.is_empty() {
        info.say("resource name missing");
        return Err(RetCode::MandatoryTag.into());
    }
    if name.as_bytes().contains(&b'/') {
        info.say("invalid resource name");
        return Err(RetCode::InvalidRequest.into());
    }
    if context.existing_resource().is_some() {
        return exists(context, info);
    }
    check_cpus(&opts, info)?;
    let name = CStr::from_bytes_with_nul(name.with_nul()).map_err(|_| RetCode::InvalidRequest)?;
    let name = CString::try_from(name)?;
    match context.registry.create_resource(name, opts) {
        Ok((resource, true)) => {
            pr_info!("{}: resource created\n", resource.name());
            events::resource_created(&resource);
            Ok(Answer::OK)
        }
        Ok((_, false)) => exists(context, info),
        Err(_) => Err(RetCode::Nomem.into()),
    }
}

fn exists(context: &Context<'_>, info: &mut Info) -> Outcome {
    if context.exclusive {
        info.say("resource exists");
        return Err(RetCode::InvalidRequest.into());
    }
    Ok(Answer::OK)
}

fn check_cpus(opts: &ResourceOpts, info: &mut Info) -> Result<(), Answer> {
    cpus::check(&opts.cpu_mask).map_err(|error| {
        if error == ENOMEM {
            return RetCode::Nomem.into();
        }
        info.say("cpu-mask must be hexadecimal, with a comma between words of 32 bits");
        RetCode::InvalidRequest.into()
    })
}

/// `resource-options`
#[inline(never)]
pub(super) fn resource_options(context: &Context<'_>, info: &mut Info) -> Outcome {
    let resource = context.resource()?;
    let reset = context.header.value & SET_DEFAULTS != 0;
    let _admin = resource.admin.lock();
    let mut opts = resource.options();
    opts.change(context.request.arguments(), reset)
        .map_err(|refusal| refuse(info, refusal))?;
    check_cpus(&opts, info)?;
    let old = core::mem::replace(&mut resource.shared.lock().opts, opts);
    if old.cpu_mask != opts.cpu_mask {
        resource.cpus_changed();
    }
    Ok(Answer::OK)
}

/// `new-minor`
#[inline(never)]
pub(super) fn new_minor(context: &Context<'_>, info: &mut Info) -> Outcome {
    let resource = context.resource()?;
    let minor = context.header.minor;
    if minor > MAX_MINOR {
        info.say("requested minor out of range");
        return Err(RetCode::InvalidRequest.into());
    }
    let volume = context
        .request
        .context
        .volume
        .filter(|volume| *volume <= MAX_VOLUME);
    let Some(vnr) = volume.and_then(|volume| u16::try_from(volume).ok()) else {
        info.say("requested volume id out of range");
        return Err(RetCode::InvalidRequest.into());
    };
    if context.existing_device().is_some() {
        return Ok(if context.exclusive {
            RetCode::MinorOrVolumeExists.into()
        } else {
            Answer::OK
        });
    }
    let admin = resource.admin.lock();
    if admin.removed {
        return Err(RetCode::ResNotKnown.into());
    }
    if resource.device(vnr).is_some() {
        info.say("requested volume exists already");
        return Err(RetCode::MinorOrVolumeExists.into());
    }
    let device = create_device(context, resource, minor, vnr, info)?;
    events::device_created(&device);
    Ok(Answer::OK)
}

fn create_device(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    minor: u32,
    vnr: u16,
    info: &mut Info,
) -> Result<Arc<Device>, Answer> {
    let device = Device::new(resource.clone(), minor, vnr).map_err(|_| RetCode::Nomem)?;
    if let Err(error) = context.registry.insert_device(&device) {
        if error == EEXIST {
            info.say("requested minor exists already");
            return Err(RetCode::MinorOrVolumeExists.into());
        }
        return Err(RetCode::Nomem.into());
    }
    let made = resource.insert_device(&device).and_then(|()| {
        let name = CString::try_from_fmt(fmt!("drbd{}", minor))?;
        let major = &context.registry.major;
        BioDisk::new(major, minor, &name, device.clone(), &limits::without_disk())
    });
    match made {
        Ok(disk) => {
            disk.set_read_only(true);
            device.publish(disk);
            Ok(device)
        }
        Err(error) => {
            pr_err!(
                "{}/{}: making drbd{} failed: {:?}\n",
                resource.name(),
                vnr,
                minor,
                error
            );
            resource.remove_device(&device);
            context.registry.remove_device(&device);
            Err(RetCode::Nomem.into())
        }
    }
}

/// `del-minor`
#[inline(never)]
pub(super) fn del_minor(context: &Context<'_>) -> Outcome {
    let device = context.device()?;
    let _admin = device.resource.admin.lock();
    delete_device(context, device)
}

fn delete_device(context: &Context<'_>, device: &Arc<Device>) -> Outcome {
    let resource = &device.resource;
    let unused = {
        let shared = resource.shared.lock();
        shared.vol(device.vnr).is_some_and(|volume| {
            volume.state.disk == DiskState::Diskless && volume.state.role == Role::Secondary
        })
    };
    if !unused {
        return Err(RetCode::MinorConfigured.into());
    }
    attach::wait_released(device);
    events::device_destroyed(device);
    device.unpublish();
    device.activity.stop();
    resource.remove_device(device);
    context.registry.remove_device(device);
    Ok(Answer::OK)
}

/// `del-resource`
#[inline(never)]
pub(super) fn del_resource(context: &Context<'_>) -> Outcome {
    delete_resource(context, context.resource()?)
}

fn delete_resource(context: &Context<'_>, resource: &Arc<Resource>) -> Outcome {
    {
        let mut admin = resource.admin.lock();
        if admin.removed {
            return Err(RetCode::ResNotKnown.into());
        }
        if resource.is_net_configured() {
            return Err(RetCode::NetConfigured.into());
        }
        if !resource.devices.lock().is_empty() {
            return Err(RetCode::ResInUse.into());
        }
        admin.removed = true;
    }
    events::resource_destroyed(resource);
    context.registry.remove_resource(resource);
    resource.worker.stop();
    // It is StandAlone, so the receiver is on its way out.
    resource.wait_for_receiver();
    let module = resource.admin.lock().module.take();
    drop(module);
    pr_info!("{}: resource removed\n", resource.name());
    Ok(Answer::OK)
}

/// `down`
#[inline(never)]
pub(super) fn down(context: &Context<'_>, info: &mut Info) -> Outcome {
    let resource = context.resource()?;
    take_down(context, resource, info)?;
    delete_resource(context, resource)
}

fn take_down(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    info: &mut Info,
) -> Result<(), Answer> {
    let _admin = resource.admin.lock();
    let numbers = resource.volume_numbers().map_err(|_| RetCode::Nomem)?;
    let devices = || numbers.iter().filter_map(|vnr| resource.device(*vnr));
    for device in devices() {
        let result = role::set(&device, Role::Secondary, false);
        if result.is_refusal() {
            info.say("failed to demote");
            return Err(result.into());
        }
    }
    let result = network::try_disconnect(resource, false);
    if result.is_refusal() {
        info.say("failed to disconnect");
        return Err(result.into());
    }
    for device in devices() {
        let result = detach::detach(&device);
        if result.is_refusal() && result != StateRv::IsDiskless {
            info.say("failed to detach");
            return Err(result.into());
        }
    }
    for device in devices() {
        delete_device(context, &device).inspect_err(|_| info.say("failed to delete volume"))?;
    }
    Ok(())
}
