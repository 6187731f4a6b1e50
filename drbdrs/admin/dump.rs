// SPDX-License-Identifier: GPL-2.0-only

//! Status and dumps.
//!
//! A dump may go on in several calls, and objects may come and go in between. Its cursor therefore never points at
//! an object: it holds the serial of a resource and the number of a volume or minor, in whose order the dump goes.

use super::{
    context::{Context, Info},
    Answer, Outcome,
};
use crate::{
    device::Device,
    events,
    prelude::*,
    registry::Registry,
    resource::Resource,
    views::{Fits, ResourceView, StatusEvent, VolumeView},
};
use drbd_core::{
    config::{
        info::{NotificationHeader, NotificationType, NOTIFY_CONTINUES},
        nlattr::Writer,
        parms::CfgContext,
        schema::{Command, Header, Request, NO_MINOR},
        Secrets,
    },
    types::RetCode,
};
use kernel_ext::net::genl::Dump;

fn secrets(privileged: bool) -> Secrets {
    if privileged {
        Secrets::Show
    } else {
        Secrets::Hide
    }
}

/// `GET_STATUS` of one minor.
#[inline(never)]
pub(super) fn one_status(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let view = ResourceView::take(&device.resource).ok_or(RetCode::Nomem)?;
    let opts = device.resource.options();
    let volume = VolumeView::take(device).ok_or(RetCode::MinorInvalid)?;
    let secrets = secrets(context.privileged);
    info.append(|out| volume.write_status(&view, &opts, &StatusEvent::Asked, secrets, out))?;
    Ok(Answer::OK)
}

/// A dump in progress, with what it needs.
struct Walk<'a, 'b> {
    registry: Arc<Registry>,
    dump: &'a mut Dump<'b>,
    command: Command,
    buffer: KVec<u8>,
    privileged: bool,
}

impl Walk<'_, '_> {
    /// Puts one message.
    fn put(&mut self, header: Header, write: impl FnOnce(&mut Writer<'_>) -> Fits) -> Result {
        self.put_as(self.command, header, true, write)
    }

    fn put_as(
        &mut self,
        command: Command,
        header: Header,
        multi: bool,
        write: impl FnOnce(&mut Writer<'_>) -> Fits,
    ) -> Result {
        let mut out = Writer::new(&mut self.buffer);
        write(&mut out).map_err(|_| ENOBUFS)?;
        self.dump
            .put(command as u8, header.emit(), out.bytes(), multi, !multi)
    }

    fn cursor(&mut self) -> &mut [i64; 6] {
        self.dump.cursor()
    }
}

fn ok(minor: u32) -> Header {
    Header::reply(minor, RetCode::NoError.to_wire())
}

/// The resource that the request's context names.
enum Filter {
    All,
    One(Arc<Resource>),
    Unknown,
    /// There is a context, but no name in it.
    Nameless,
}

fn filter(registry: &Registry, command: Command, attributes: &[u8]) -> Result<Filter> {
    let request = Request::parse(command, attributes).map_err(|_| EINVAL)?;
    let CfgContext { resource_name, .. } = request.context;
    Ok(match (request.context_bytes, resource_name) {
        (None, _) => Filter::All,
        (Some(_), None) => Filter::Nameless,
        (Some(_), Some(name)) => match registry.resource(name.as_bytes()) {
            Some(resource) => Filter::One(resource),
            None => Filter::Unknown,
        },
    })
}

/// Goes on with a dump.
pub(super) fn go_on(registry: Arc<Registry>, command: Command, dump: &mut Dump<'_>) -> Result {
    let filter = filter(&registry, command, dump.attributes())?;
    let privileged = dump.is_sys_admin();
    let buffer = KVec::from_elem(0u8, events::BODY, GFP_KERNEL)?;
    let mut walk = Walk {
        registry,
        dump,
        command,
        buffer,
        privileged,
    };
    let result = match command {
        Command::GetStatus => statuses(&mut walk, &filter),
        Command::GetResources => resources(&mut walk),
        Command::GetDevices => devices(&mut walk, &filter, false),
        Command::GetPeerDevices => devices(&mut walk, &filter, true),
        Command::GetConnections => connections(&mut walk, &filter),
        Command::GetInitialState => initial_state(&mut walk),
        _ => Err(EOPNOTSUPP),
    };
    match result {
        // No room: the rest comes in the next call.
        Err(error) if error == EMSGSIZE => Ok(()),
        other => other,
    }
}

fn serial(cursor: i64) -> u64 {
    u64::from_ne_bytes(cursor.to_ne_bytes())
}

fn as_cursor(serial: u64) -> i64 {
    i64::from_ne_bytes(serial.to_ne_bytes())
}

/// A cursor value behind everything.
const DONE: i64 = -1;

fn unknown_resource(walk: &mut Walk<'_, '_>) -> Result {
    if walk.cursor()[0] == DONE {
        return Ok(());
    }
    let header = Header::reply(NO_MINOR, RetCode::ResNotKnown.to_wire());
    walk.put(header, |_| Ok(()))?;
    walk.cursor()[0] = DONE;
    Ok(())
}

#[inline(never)]
fn resources(walk: &mut Walk<'_, '_>) -> Result {
    loop {
        let last = serial(walk.cursor()[0]);
        let Some(resource) = walk.registry.resource_after(last) else {
            return Ok(());
        };
        let view = ResourceView::take(&resource).ok_or(ENOMEM)?;
        let opts = resource.options();
        walk.put(ok(NO_MINOR), |out| view.write_resource(&opts, out))?;
        walk.cursor()[0] = as_cursor(resource.serial);
    }
}

#[inline(never)]
fn connections(walk: &mut Walk<'_, '_>, filter: &Filter) -> Result {
    loop {
        let last = serial(walk.cursor()[0]);
        let resource = match filter {
            Filter::Unknown => return unknown_resource(walk),
            Filter::One(resource) if resource.serial > last => resource.clone(),
            Filter::One(_) => return Ok(()),
            Filter::All | Filter::Nameless => match walk.registry.resource_after(last) {
                Some(resource) => resource,
                None => return Ok(()),
            },
        };
        let view = ResourceView::take(&resource).ok_or(ENOMEM)?;
        if view.net_conf.is_some() {
            let secrets = secrets(walk.privileged);
            walk.put(ok(NO_MINOR), |out| view.write_connection(secrets, out))?;
        }
        walk.cursor()[0] = as_cursor(resource.serial);
    }
}

/// Volumes, or volumes on the peer: in order of minors, or of volume numbers within one resource.
#[inline(never)]
fn devices(walk: &mut Walk<'_, '_>, filter: &Filter, on_peer: bool) -> Result {
    loop {
        let next = u32::try_from(walk.cursor()[1]).unwrap_or(u32::MAX);
        let (device, number) = match filter {
            Filter::Unknown => return unknown_resource(walk),
            Filter::One(resource) => {
                let vnr = u16::try_from(next).ok();
                let Some(device) = vnr.and_then(|vnr| resource.device_from(vnr)) else {
                    return Ok(());
                };
                let number = u32::from(device.vnr);
                (device, number)
            }
            Filter::All | Filter::Nameless => {
                let Some(device) = walk.registry.device_from(next) else {
                    return Ok(());
                };
                let number = device.minor;
                (device, number)
            }
        };
        one_device(walk, &device, on_peer)?;
        walk.cursor()[1] = i64::from(number).saturating_add(1);
    }
}

fn one_device(walk: &mut Walk<'_, '_>, device: &Device, on_peer: bool) -> Result {
    let view = ResourceView::take(&device.resource).ok_or(ENOMEM)?;
    let Some(volume) = VolumeView::take(device) else {
        return Ok(());
    };
    if !on_peer {
        return walk.put(ok(device.minor), |out| volume.write_device(&view, out));
    }
    if view.net_conf.is_none() {
        return Ok(());
    }
    walk.put(ok(device.minor), |out| volume.write_peer_device(&view, out))
}

/// Every volume of every resource (or of one), and resources without volumes.
#[inline(never)]
fn statuses(walk: &mut Walk<'_, '_>, filter: &Filter) -> Result {
    match filter {
        Filter::Nameless => return Err(EINVAL),
        Filter::Unknown => return Err(ENODEV),
        Filter::All | Filter::One(_) => {}
    }
    loop {
        // [0]: the last resource that is finished; [1]: the next volume of the one behind it.
        let last = serial(walk.cursor()[0]);
        let resource = match filter {
            Filter::One(resource) if resource.serial > last => resource.clone(),
            Filter::One(_) => return Ok(()),
            _ => match walk.registry.resource_after(last) {
                Some(resource) => resource,
                None => return Ok(()),
            },
        };
        let next = u16::try_from(walk.cursor()[1]).ok();
        let view = ResourceView::take(&resource).ok_or(ENOMEM)?;
        match next.and_then(|vnr| resource.device_from(vnr)) {
            Some(device) => {
                if let Some(volume) = VolumeView::take(&device) {
                    let opts = resource.options();
                    let secrets = secrets(walk.privileged);
                    walk.put(ok(device.minor), |out| {
                        volume.write_status(&view, &opts, &StatusEvent::Asked, secrets, out)
                    })?;
                }
                walk.cursor()[1] = i64::from(device.vnr).saturating_add(1);
            }
            None => {
                if next == Some(0) {
                    walk.put(ok(NO_MINOR), |out| view.write_bare_status(out))?;
                }
                walk.cursor()[0] = as_cursor(resource.serial);
                walk.cursor()[1] = 0;
            }
        }
    }
}

/// Everything that exists, as notifications, resource by resource, then the end mark.
///
/// The number of messages of one resource is not limited, so the cursor also counts within it: [1] is the next item:
/// 0 the resource, 1 the connection, 2 + vnr the device, 2 + 65536 + vnr the volume on the peer.
#[inline(never)]
fn initial_state(walk: &mut Walk<'_, '_>) -> Result {
    loop {
        let last = serial(walk.cursor()[0]);
        if walk.cursor()[2] == DONE {
            return Ok(());
        }
        let Some(resource) = walk.registry.resource_after(last) else {
            let header = NotificationHeader {
                nh_type: NotificationType::Exists as u32,
            };
            walk.put_as(Command::InitialStateDone, ok(NO_MINOR), false, |out| {
                header.emit_nest(out, Secrets::Hide)
            })?;
            walk.cursor()[2] = DONE;
            return Ok(());
        };
        while let Some(item) = next_item(&resource, walk.cursor()[1]) {
            one_item(walk, &resource, &item)?;
            walk.cursor()[1] = item.position.saturating_add(1);
        }
        walk.cursor()[0] = as_cursor(resource.serial);
        walk.cursor()[1] = 0;
    }
}

const DEVICES: i64 = 2;
const PEER_DEVICES: i64 = DEVICES + 65536;

enum What {
    Resource,
    Connection,
    Device(Arc<Device>),
    PeerDevice(Arc<Device>),
}

struct Item {
    position: i64,
    what: What,
}

/// The first item at or behind `position`.
fn next_item(resource: &Resource, position: i64) -> Option<Item> {
    let configured = resource.shared.lock().conn.net_conf.is_some();
    if position == 0 {
        return Some(Item {
            position,
            what: What::Resource,
        });
    }
    if position == 1 && configured {
        return Some(Item {
            position,
            what: What::Connection,
        });
    }
    if position < PEER_DEVICES {
        let vnr = u16::try_from(position.saturating_sub(DEVICES).max(0)).ok();
        if let Some(device) = vnr.and_then(|vnr| resource.device_from(vnr)) {
            let position = DEVICES.saturating_add(i64::from(device.vnr));
            return Some(Item {
                position,
                what: What::Device(device),
            });
        }
    }
    if !configured {
        return None;
    }
    let vnr = u16::try_from(position.saturating_sub(PEER_DEVICES).max(0)).ok()?;
    let device = resource.device_from(vnr)?;
    let position = PEER_DEVICES.saturating_add(i64::from(device.vnr));
    Some(Item {
        position,
        what: What::PeerDevice(device),
    })
}

fn one_item(walk: &mut Walk<'_, '_>, resource: &Resource, item: &Item) -> Result {
    let more = next_item(resource, item.position.saturating_add(1)).is_some();
    let nh_type = NotificationType::Exists as u32 | if more { NOTIFY_CONTINUES } else { 0 };
    let header = NotificationHeader { nh_type };
    let view = ResourceView::take(resource).ok_or(ENOMEM)?;
    match &item.what {
        What::Resource => walk.put_as(Command::ResourceState, ok(NO_MINOR), false, |out| {
            view.notify_resource(header, Some(&view.info), out)
        }),
        What::Connection => walk.put_as(Command::ConnectionState, ok(NO_MINOR), false, |out| {
            view.notify_connection(header, Some(&view.connection), out)
        }),
        What::Device(device) => {
            let Some(volume) = VolumeView::take(device) else {
                return Ok(());
            };
            walk.put_as(Command::DeviceState, ok(device.minor), false, |out| {
                volume.notify_device(&view, header, Some(&volume.state), out)
            })
        }
        What::PeerDevice(device) => {
            let Some(volume) = VolumeView::take(device) else {
                return Ok(());
            };
            walk.put_as(Command::PeerDeviceState, ok(NO_MINOR), false, |out| {
                volume.notify_peer_device(&view, header, Some(&volume.state), out)
            })
        }
    }
}
