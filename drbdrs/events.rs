// SPDX-License-Identifier: GPL-2.0-only

//! Multicast notifications: what happened, told to everybody who joined the group `events`.
//!
//! A change of state becomes up to four messages of the new kind (resource, connection, device, peer device; each
//! only if its object changed; all but the last marked `CONTINUES`) and one of the old kind (`EVENT`) that carries
//! the whole status. The lock `Events::buffer` keeps the chains of different changes apart. Listeners that are not
//! there, or that are too slow, never hold anything up: a lost message is theirs to notice by its sequence number.

use crate::{
    admin::family,
    change::Committed,
    device::Device,
    prelude::*,
    registry::Registry,
    resource::Resource,
    views::{Fits, ResourceView, StatusEvent, VolumeView},
};
use drbd_core::{
    config::{
        info::{
            ConnectionInfo, HelperInfo, NotificationHeader, NotificationType, ResourceInfo,
            NOTIFY_CONTINUES,
        },
        nlattr::Writer,
        schema::{Command, Header, NO_MINOR},
        text::Text,
        Secrets,
    },
    types::{RetCode, State},
};
use kernel::sync::atomic::{Atomic, Relaxed};

/// Room for the largest body: a status with all its configurations.
pub(crate) const BODY: usize = 3072;

/// The first sequence number is one more.
const SEQUENCE_START: u32 = 2;

/// The state of the notifications as a whole.
#[pin_data]
pub(crate) struct Events {
    /// Bodies are made here, one chain of messages at a time.
    #[pin]
    buffer: Mutex<KVec<u8>>,
    /// Numbers the notifications.
    notifications: Atomic<u32>,
    /// Numbers the events of the old kind.
    events: Atomic<u32>,
}

impl Events {
    /// Nothing was sent yet.
    pub(crate) fn new() -> Result<impl PinInit<Self>> {
        let buffer = KVec::from_elem(0u8, BODY, GFP_KERNEL)?;
        Ok(pin_init!(Self {
            buffer <- new_mutex!(buffer),
            notifications: Atomic::new(SEQUENCE_START),
            events: Atomic::new(SEQUENCE_START),
        }))
    }

    fn next(counter: &Atomic<u32>) -> u32 {
        counter.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Sends a chain: each closure writes one body; all but the last message say that more follows.
    fn tell(&self, kind: NotificationType, links: &[Link<'_>]) {
        let mut buffer = self.buffer.lock();
        let mut left = links.iter().filter(|link| link.wanted).count();
        for link in links.iter().filter(|link| link.wanted) {
            left = left.saturating_sub(1);
            let more = if left > 0 { NOTIFY_CONTINUES } else { 0 };
            let header = NotificationHeader {
                nh_type: kind as u32 | more,
            };
            let seq = Self::next(&self.notifications);
            send(&mut buffer, link.command, link.minor, seq, |out| {
                (link.body)(header, out)
            });
        }
    }
}

/// One message of a chain.
struct Link<'a> {
    wanted: bool,
    command: Command,
    minor: u32,
    body: &'a dyn Fn(NotificationHeader, &mut Writer<'_>) -> Fits,
}

fn send(
    buffer: &mut [u8],
    command: Command,
    minor: u32,
    seq: u32,
    body: impl FnOnce(&mut Writer<'_>) -> Fits,
) {
    let mut out = Writer::new(buffer);
    let header = Header::reply(minor, RetCode::NoError.to_wire());
    if body(&mut out).is_err() {
        pr_err!(
            "event {} of command {} does not fit its buffer\n",
            seq,
            command as u8
        );
        return;
    }
    family::multicast(command, header, seq, out.bytes());
}

fn events() -> Option<Arc<Registry>> {
    Registry::get()
}

/// A resource was made.
pub(crate) fn resource_created(resource: &Resource) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(resource) else {
        return;
    };
    registry.events.tell(
        NotificationType::Create,
        &[Link {
            wanted: true,
            command: Command::ResourceState,
            minor: NO_MINOR,
            body: &|header, out| view.notify_resource(header, Some(&view.info), out),
        }],
    );
}

/// A resource is about to go.
pub(crate) fn resource_destroyed(resource: &Resource) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(resource) else {
        return;
    };
    registry.events.tell(
        NotificationType::Destroy,
        &[Link {
            wanted: true,
            command: Command::ResourceState,
            minor: NO_MINOR,
            body: &|header, out| view.notify_resource(header, None, out),
        }],
    );
}

/// A volume was added.
pub(crate) fn device_created(device: &Device) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(&device.resource) else {
        return;
    };
    let Some(volume) = VolumeView::take(device) else {
        return;
    };
    let device = Link {
        wanted: true,
        command: Command::DeviceState,
        minor: volume.minor,
        body: &|header, out| volume.notify_device(&view, header, Some(&volume.state), out),
    };
    let peer_device = Link {
        wanted: view.net_conf.is_some(),
        command: Command::PeerDeviceState,
        minor: NO_MINOR,
        body: &|header, out| volume.notify_peer_device(&view, header, Some(&volume.state), out),
    };
    registry
        .events
        .tell(NotificationType::Create, &[device, peer_device]);
}

/// A volume is about to go: first what it is on the peer, then itself.
pub(crate) fn device_destroyed(device: &Device) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(&device.resource) else {
        return;
    };
    let Some(volume) = VolumeView::take(device) else {
        return;
    };
    let peer_device = Link {
        wanted: view.net_conf.is_some(),
        command: Command::PeerDeviceState,
        minor: NO_MINOR,
        body: &|header, out| volume.notify_peer_device(&view, header, None, out),
    };
    let device = Link {
        wanted: true,
        command: Command::DeviceState,
        minor: volume.minor,
        body: &|header, out| volume.notify_device(&view, header, None, out),
    };
    registry
        .events
        .tell(NotificationType::Destroy, &[peer_device, device]);
}

fn volumes(resource: &Resource) -> KVec<KBox<VolumeView>> {
    let devices = resource.devices.lock();
    let mut views = KVec::new();
    for device in devices.iter() {
        if let Some(view) = VolumeView::take(device) {
            // A notification that cannot be made for lack of memory is lost like one that nobody listens to.
            let _ = views.push(view, GFP_KERNEL);
        }
    }
    views
}

/// The connection got a configuration.
pub(crate) fn connection_created(resource: &Resource) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(resource) else {
        return;
    };
    let volumes = volumes(resource);
    let mut buffer = registry.events.buffer.lock();
    let mut left = volumes.len();
    let header = |left: usize| NotificationHeader {
        nh_type: NotificationType::Create as u32 | if left > 0 { NOTIFY_CONTINUES } else { 0 },
    };
    let seq = || Events::next(&registry.events.notifications);
    let first = header(left);
    send(
        &mut buffer,
        Command::ConnectionState,
        NO_MINOR,
        seq(),
        |out| view.notify_connection(first, Some(&view.connection), out),
    );
    for volume in volumes.iter() {
        left = left.saturating_sub(1);
        let header = header(left);
        send(
            &mut buffer,
            Command::PeerDeviceState,
            NO_MINOR,
            seq(),
            |out| volume.notify_peer_device(&view, header, Some(&volume.state), out),
        );
    }
}

/// The connection's configuration is about to go.
pub(crate) fn connection_destroyed(resource: &Resource) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(resource) else {
        return;
    };
    let mut buffer = registry.events.buffer.lock();
    let seq = || Events::next(&registry.events.notifications);
    let more = NotificationHeader {
        nh_type: NotificationType::Destroy as u32 | NOTIFY_CONTINUES,
    };
    for volume in volumes(resource).iter() {
        send(
            &mut buffer,
            Command::PeerDeviceState,
            NO_MINOR,
            seq(),
            |out| volume.notify_peer_device(&view, more, None, out),
        );
    }
    let last = NotificationHeader {
        nh_type: NotificationType::Destroy as u32,
    };
    send(
        &mut buffer,
        Command::ConnectionState,
        NO_MINOR,
        seq(),
        |out| view.notify_connection(last, None, out),
    );
}

fn peer_device_differs(old: &State, new: &State) -> bool {
    let what = |s: &State| {
        let replication = (s.conn as u8).max(drbd_core::types::ConnState::WfReportParams as u8);
        (replication, s.pdsk, s.user_isp, s.peer_isp, s.aftr_isp)
    };
    what(old) != what(new)
}

/// A state changed: tells every object that looks different now.
pub(crate) fn state_changed(resource: &Resource, change: &Committed) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(resource) else {
        return;
    };
    let device = change
        .volume
        .as_ref()
        .and_then(|volume| resource.device(volume.vnr));
    let volume = device.as_ref().and_then(|device| VolumeView::take(device));
    let states = change
        .volume
        .as_ref()
        .map(|volume| (volume.old, volume.new));
    let info = ResourceInfo {
        role: u32::from(change.new.role as u8),
        susp: change.new.susp,
        susp_nod: change.new.susp_nod,
        susp_fen: change.new.susp_fen,
    };
    let connection = ConnectionInfo {
        connection_state: u32::from(change.new.cstate as u8),
        role: u32::from(change.new.peer as u8),
    };
    let minor = volume.as_ref().map_or(NO_MINOR, |volume| volume.minor);
    let (old, new) = states.unzip();
    registry.events.tell(
        NotificationType::Change,
        &[
            Link {
                wanted: change.old.resource_differs(&change.new),
                command: Command::ResourceState,
                minor: NO_MINOR,
                body: &|header, out| view.notify_resource(header, Some(&info), out),
            },
            Link {
                wanted: change.old.connection_differs(&change.new),
                command: Command::ConnectionState,
                minor: NO_MINOR,
                body: &|header, out| view.notify_connection(header, Some(&connection), out),
            },
            Link {
                wanted: states.is_some_and(|(old, new)| old.disk != new.disk) && volume.is_some(),
                command: Command::DeviceState,
                minor,
                body: &|header, out| match &volume {
                    Some(volume) => volume.notify_device(&view, header, new.as_ref(), out),
                    None => Ok(()),
                },
            },
            Link {
                wanted: states.is_some_and(|(old, new)| peer_device_differs(&old, &new))
                    && volume.is_some(),
                command: Command::PeerDeviceState,
                minor: NO_MINOR,
                body: &|header, out| match &volume {
                    Some(volume) => volume.notify_peer_device(&view, header, new.as_ref(), out),
                    None => Ok(()),
                },
            },
        ],
    );
    if let (Some(volume), Some(old), Some(new)) = (volume, old, new) {
        status_event(
            &registry,
            resource,
            &view,
            &volume,
            &StatusEvent::Changed { old, new },
        );
    }
}

/// Sends an event of the old kind.
fn status_event(
    registry: &Registry,
    resource: &Resource,
    view: &ResourceView,
    volume: &VolumeView,
    event: &StatusEvent<'_>,
) {
    let opts = resource.options();
    let mut buffer = registry.events.buffer.lock();
    let seq = Events::next(&registry.events.events);
    send(&mut buffer, Command::Event, volume.minor, seq, |out| {
        volume.write_status(view, &opts, event, Secrets::Hide, out)
    });
}

/// A handler of the administrator is about to be called (`exit_code` is none), or returned.
pub(crate) fn helper(
    resource: &Resource,
    device: Option<&Device>,
    name: &Text<32>,
    exit_code: Option<u32>,
) {
    let Some(registry) = events() else { return };
    let Some(view) = ResourceView::take(resource) else {
        return;
    };
    let volume = device.and_then(VolumeView::take);
    let kind = match exit_code {
        None => NotificationType::Call,
        Some(_) => NotificationType::Response,
    };
    let info = HelperInfo {
        name: *name,
        status: exit_code.unwrap_or(0),
    };
    registry.events.tell(
        kind,
        &[Link {
            wanted: true,
            command: Command::Helper,
            minor: volume.as_ref().map_or(NO_MINOR, |volume| volume.minor),
            body: &|header, out| {
                view.helper_context(volume.as_ref().map(|volume| volume.vnr), out)?;
                header.emit_nest(out, Secrets::Hide)?;
                info.emit_nest(out, Secrets::Hide)
            },
        }],
    );
    if let Some(volume) = volume {
        let event = StatusEvent::Helper { name, exit_code };
        status_event(&registry, resource, &view, &volume, &event);
    }
}
