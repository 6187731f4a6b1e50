// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel tells about its objects: the bodies of status replies, dumps and multicast notifications.
//!
//! Every message is written from a copy of the numbers (a *view*) that is taken under the resource's lock; nothing
//! is encoded under it.

use crate::{
    device::Device,
    prelude::*,
    resource::{Resource, Shared, VolumeShared},
};
use drbd_core::{
    config::{
        conf::{DiskConf, NetConf},
        info::{
            ConnectionInfo, ConnectionStatistics, DeviceInfo, DeviceStatistics, NotificationHeader,
            PeerDeviceInfo, PeerDeviceStatistics, Reason, ResourceInfo, ResourceStatistics,
            StateInfo,
        },
        nlattr::{Full, Writer},
        parms::CfgContext,
        text::{Bytes, Text},
        ResourceOpts, Secrets,
    },
    meta::Flags,
    state,
    types::{ConnState, State, Uuid},
};

/// What a status or dump says about a volume.
#[derive(Clone)]
pub(crate) struct VolumeView {
    pub(crate) minor: u32,
    pub(crate) vnr: u16,
    pub(crate) state: State,
    info: StateInfo,
    statistics: DeviceStatistics,
    peer_statistics: PeerDeviceStatistics,
    disk_conf: Option<DiskConf>,
}

/// What a status or dump says about a resource and its connection.
#[derive(Clone)]
pub(crate) struct ResourceView {
    pub(crate) name: Text<128>,
    pub(crate) info: ResourceInfo,
    pub(crate) statistics: ResourceStatistics,
    pub(crate) connection: ConnectionInfo,
    pub(crate) connection_statistics: ConnectionStatistics,
    pub(crate) net_conf: Option<NetConf>,
    my_addr: Bytes<128>,
    peer_addr: Bytes<128>,
}

/// `Option` of the addresses, as the context carries them: absent when empty.
fn given(bytes: &Bytes<128>) -> Option<Bytes<128>> {
    (!bytes.is_empty()).then_some(*bytes)
}

impl ResourceView {
    /// Copies the numbers.
    ///
    /// None without memory: what was to be told is then lost, as if nobody had listened. On the heap, because a
    /// kernel stack has no room for several of these; the same goes for [`VolumeView`].
    #[inline(never)]
    pub(crate) fn take(resource: &Resource) -> Option<KBox<Self>> {
        let name = Text::new(resource.name.to_bytes()).unwrap_or_default();
        let congested = resource.connection.data.is_congested();
        let shared = resource.shared.lock();
        let mut view = Self {
            name,
            info: resource_info(&shared),
            statistics: ResourceStatistics {
                write_ordering: shared.conn.write_order as u32,
            },
            connection: ConnectionInfo {
                connection_state: u32::from(shared.conn.cstate as u8),
                role: u32::from(shared.highest_peer_role() as u8),
            },
            connection_statistics: ConnectionStatistics { congested },
            net_conf: None,
            my_addr: shared.conn.my_addr,
            peer_addr: shared.conn.peer_addr,
        };
        view.net_conf = shared.conn.net_conf;
        drop(shared);
        KBox::new(view, GFP_KERNEL).ok()
    }

    /// The context of a message about the resource, its connection and a volume.
    fn context(&self, connection: bool, vnr: Option<u16>) -> CfgContext {
        CfgContext {
            volume: vnr.map(u32::from),
            resource_name: Some(self.name),
            my_addr: if connection {
                given(&self.my_addr)
            } else {
                None
            },
            peer_addr: if connection {
                given(&self.peer_addr)
            } else {
                None
            },
        }
    }
}

fn resource_info(shared: &Shared) -> ResourceInfo {
    let first = shared.volumes.first().map(|volume| volume.state);
    ResourceInfo {
        role: u32::from(shared.highest_role() as u8),
        susp: first.is_some_and(|state| state.susp),
        susp_nod: first.is_some_and(|state| state.susp_nod),
        susp_fen: first.is_some_and(|state| state.susp_fen),
    }
}

fn bitmap_sectors(bits: u64) -> u64 {
    bits.saturating_mul(8)
}

impl VolumeView {
    /// Copies the numbers of a volume.
    #[inline(never)]
    pub(crate) fn take(device: &Device) -> Option<KBox<Self>> {
        let (bits, weight) = device.bitmap.size_and_weight();
        let shared = device.resource.shared.lock();
        let volume = shared.vol(device.vnr)?;
        let view = Self::of(device.minor, volume, bits, weight);
        drop(shared);
        KBox::new(view, GFP_KERNEL).ok()
    }

    fn of(minor: u32, volume: &VolumeShared, bits: u64, weight: u64) -> Self {
        let state = volume.state;
        let stat = &volume.stat;
        let md = if volume.has_disk() {
            volume.md.as_ref()
        } else {
            None
        };
        let uuids = md.map(|md| md.uuids.to_array());
        let flags = md.map_or(0, |md| md.flags.bits());
        let syncing = state::is_resync_or_beyond(state.conn);
        let info = StateInfo {
            sib_reason: Reason::GetStatusReply as u32,
            current_state: state.to_wire(),
            ed_uuid: volume.exposed_uuid.0,
            capacity: volume.capacity,
            send_cnt: Some(stat.sent),
            recv_cnt: Some(stat.received),
            read_cnt: Some(stat.read),
            writ_cnt: Some(stat.written),
            al_writ_cnt: Some(stat.al_writes),
            bm_writ_cnt: Some(stat.bm_writes),
            ap_bio_cnt: Some(stat.application),
            ap_pending_cnt: Some(stat.pending),
            rs_pending_cnt: Some(stat.resync_pending),
            uuids: uuids.map(|uuids| uuid_bytes(&uuids)),
            disk_flags: md.map(|_| flags),
            bits_total: md.map(|_| bits),
            bits_oos: md.map(|_| weight),
            bits_rs_total: md.filter(|_| syncing).map(|_| volume.resync.total),
            bits_rs_failed: md.filter(|_| syncing).map(|_| volume.resync.failed),
            prev_state: None,
            new_state: None,
            helper: None,
            helper_exit_code: None,
        };
        Self {
            minor,
            vnr: volume.vnr,
            state,
            info,
            statistics: device_statistics(volume),
            peer_statistics: peer_statistics(volume, weight),
            disk_conf: md.and(volume.disk_conf),
        }
    }

    fn device_info(&self) -> DeviceInfo {
        DeviceInfo {
            disk_state: u32::from(self.state.disk as u8),
        }
    }

    fn peer_device_info(&self) -> PeerDeviceInfo {
        peer_device_info(&self.state)
    }
}

fn peer_device_info(state: &State) -> PeerDeviceInfo {
    let replication = (state.conn as u8).max(ConnState::WfReportParams as u8);
    PeerDeviceInfo {
        repl_state: u32::from(replication),
        disk_state: u32::from(state.pdsk as u8),
        susp_user: u32::from(state.user_isp),
        susp_peer: u32::from(state.peer_isp),
        susp_dependency: u32::from(state.aftr_isp),
    }
}

/// UUIDs in host order, one behind the other.
fn uuid_bytes<const N: usize>(uuids: &[Uuid; 4]) -> Bytes<N> {
    let mut bytes = [0u8; 32];
    for (room, uuid) in bytes.chunks_exact_mut(8).zip(uuids) {
        room.copy_from_slice(&uuid.0.to_ne_bytes());
    }
    Bytes::new(&bytes).unwrap_or_default()
}

fn device_statistics(volume: &VolumeShared) -> DeviceStatistics {
    let stat = &volume.stat;
    let mut all = DeviceStatistics {
        size: volume.capacity,
        read: stat.read,
        write: stat.written,
        al_writes: stat.al_writes,
        bm_writes: stat.bm_writes,
        upper_pending: stat.application,
        lower_pending: stat.local,
        upper_blocked: volume.suspended() || volume.io_suspenders != 0,
        al_suspended: volume.flags.has(VolFlag::AlSuspended),
        exposed_data_uuid: volume.exposed_uuid.0,
        ..DeviceStatistics::default()
    };
    if let (true, Some(md)) = (volume.has_disk(), volume.md.as_ref()) {
        let [current, _, younger, older] = md.uuids.to_array();
        all.current_uuid = current.0;
        all.disk_flags = md.flags.bits();
        // 8.4 sends room for 32 history UUIDs less one byte less than it has: 32 bytes, two of them used.
        all.history_uuids = uuid_bytes(&[younger, older, Uuid::ZERO, Uuid::ZERO]);
    }
    all
}

const PEER_CONNECTED: u32 = 1;
const PEER_OUTDATED: u32 = 2;
const PEER_FULL_SYNC: u32 = 8;

fn peer_statistics(volume: &VolumeShared, weight: u64) -> PeerDeviceStatistics {
    let stat = &volume.stat;
    let mut all = PeerDeviceStatistics {
        received: stat.received,
        sent: stat.sent,
        pending: stat.pending.saturating_add(stat.resync_pending),
        unacked: stat.unacked,
        out_of_sync: bitmap_sectors(weight),
        resync_failed: bitmap_sectors(volume.resync.failed),
        bitmap_uuid: 0,
        flags: 0,
    };
    if let (true, Some(md)) = (volume.has_disk(), volume.md.as_ref()) {
        let [_, bitmap, _, _] = md.uuids.to_array();
        all.bitmap_uuid = bitmap.0;
        let flags = [
            (md.flags.contains(Flags::CONNECTED_IND), PEER_CONNECTED),
            (
                md.flags.contains(Flags::CONSISTENT) && !md.flags.contains(Flags::WAS_UP_TO_DATE),
                PEER_OUTDATED,
            ),
            (md.flags.contains(Flags::FULL_SYNC), PEER_FULL_SYNC),
        ];
        all.flags = flags
            .iter()
            .filter(|(set, _)| *set)
            .fold(0, |all, (_, bit)| all | bit);
    }
    all
}

/// A body that did not fit its buffer is reported like a message that the kernel has no room for.
pub(crate) type Fits = Result<(), Full>;

impl ResourceView {
    /// The answer to `GET_RESOURCES`.
    pub(crate) fn write_resource(&self, opts: &ResourceOpts, out: &mut Writer<'_>) -> Fits {
        self.context(false, None).emit_nest(out, Secrets::Hide)?;
        opts.emit_nest(out, Secrets::Hide)?;
        self.info.emit_nest(out, Secrets::Hide)?;
        self.statistics.emit_nest(out, Secrets::Hide)
    }

    /// The answer to `GET_CONNECTIONS`.
    pub(crate) fn write_connection(&self, secrets: Secrets, out: &mut Writer<'_>) -> Fits {
        self.context(true, None).emit_nest(out, secrets)?;
        if let Some(conf) = &self.net_conf {
            write_net_conf(conf, secrets, out)?;
        }
        self.connection.emit_nest(out, secrets)?;
        self.connection_statistics.emit_nest(out, secrets)
    }

    /// The answer to `GET_STATUS` about a resource without volumes.
    pub(crate) fn write_bare_status(&self, out: &mut Writer<'_>) -> Fits {
        self.context(true, None).emit_nest(out, Secrets::Hide)?;
        self.net_conf
            .as_ref()
            .map_or(Ok(()), |conf| write_net_conf(conf, Secrets::Hide, out))
    }

    /// The body of a notification about the resource; without `info` it is gone.
    pub(crate) fn notify_resource(
        &self,
        header: NotificationHeader,
        info: Option<&ResourceInfo>,
        out: &mut Writer<'_>,
    ) -> Fits {
        self.context(false, None).emit_nest(out, Secrets::Hide)?;
        header.emit_nest(out, Secrets::Hide)?;
        if let Some(info) = info {
            info.emit_nest(out, Secrets::Hide)?;
        }
        self.statistics.emit_nest(out, Secrets::Hide)
    }

    /// The body of a notification about the connection; without `info` it is gone.
    pub(crate) fn notify_connection(
        &self,
        header: NotificationHeader,
        info: Option<&ConnectionInfo>,
        out: &mut Writer<'_>,
    ) -> Fits {
        self.context(true, None).emit_nest(out, Secrets::Hide)?;
        header.emit_nest(out, Secrets::Hide)?;
        if let Some(info) = info {
            info.emit_nest(out, Secrets::Hide)?;
        }
        self.connection_statistics.emit_nest(out, Secrets::Hide)
    }

    /// The context of a notification about the call of a handler.
    pub(crate) fn helper_context(&self, vnr: Option<u16>, out: &mut Writer<'_>) -> Fits {
        self.context(true, vnr).emit_nest(out, Secrets::Hide)
    }
}

/// The shared secret is emptied, not left out: that is what drbdsetup of 8.4 expects.
fn write_net_conf(conf: &NetConf, secrets: Secrets, out: &mut Writer<'_>) -> Fits {
    match secrets {
        Secrets::Show => conf.emit_nest(out, Secrets::Show),
        Secrets::Hide => {
            let mut public = *conf;
            public.shared_secret = Default::default();
            public.emit_nest(out, Secrets::Show)
        }
    }
}

impl VolumeView {
    /// The body of `GET_STATUS` and of the old events.
    pub(crate) fn write_status(
        &self,
        resource: &ResourceView,
        opts: &ResourceOpts,
        event: &StatusEvent<'_>,
        secrets: Secrets,
        out: &mut Writer<'_>,
    ) -> Fits {
        resource
            .context(true, Some(self.vnr))
            .emit_nest(out, secrets)?;
        opts.emit_nest(out, secrets)?;
        if let Some(conf) = &self.disk_conf {
            conf.emit_nest(out, secrets)?;
        }
        if let Some(conf) = &resource.net_conf {
            write_net_conf(conf, secrets, out)?;
        }
        let mut info = self.info;
        event.add_to(&mut info);
        info.emit_nest(out, secrets)
    }

    /// The answer to `GET_DEVICES`.
    pub(crate) fn write_device(&self, resource: &ResourceView, out: &mut Writer<'_>) -> Fits {
        resource
            .context(false, Some(self.vnr))
            .emit_nest(out, Secrets::Hide)?;
        if let Some(conf) = &self.disk_conf {
            conf.emit_nest(out, Secrets::Hide)?;
        }
        self.device_info().emit_nest(out, Secrets::Hide)?;
        self.statistics.emit_nest(out, Secrets::Hide)
    }

    /// The answer to `GET_PEER_DEVICES`.
    pub(crate) fn write_peer_device(&self, resource: &ResourceView, out: &mut Writer<'_>) -> Fits {
        resource
            .context(true, Some(self.vnr))
            .emit_nest(out, Secrets::Hide)?;
        self.peer_device_info().emit_nest(out, Secrets::Hide)?;
        self.peer_statistics.emit_nest(out, Secrets::Hide)
    }

    /// The body of a notification about the volume; without `state` it is gone.
    pub(crate) fn notify_device(
        &self,
        resource: &ResourceView,
        header: NotificationHeader,
        state: Option<&State>,
        out: &mut Writer<'_>,
    ) -> Fits {
        resource
            .context(false, Some(self.vnr))
            .emit_nest(out, Secrets::Hide)?;
        header.emit_nest(out, Secrets::Hide)?;
        if let Some(state) = state {
            let info = DeviceInfo {
                disk_state: u32::from(state.disk as u8),
            };
            info.emit_nest(out, Secrets::Hide)?;
        }
        self.statistics.emit_nest(out, Secrets::Hide)
    }

    /// The body of a notification about the volume on the peer; without `state` it is gone.
    pub(crate) fn notify_peer_device(
        &self,
        resource: &ResourceView,
        header: NotificationHeader,
        state: Option<&State>,
        out: &mut Writer<'_>,
    ) -> Fits {
        resource
            .context(true, Some(self.vnr))
            .emit_nest(out, Secrets::Hide)?;
        header.emit_nest(out, Secrets::Hide)?;
        if let Some(state) = state {
            peer_device_info(state).emit_nest(out, Secrets::Hide)?;
        }
        self.peer_statistics.emit_nest(out, Secrets::Hide)
    }
}

/// Why a status is written.
pub(crate) enum StatusEvent<'a> {
    /// Somebody asked.
    Asked,
    /// The state changed.
    Changed {
        /// Before.
        old: State,
        /// After.
        new: State,
    },
    /// A handler is about to be called, or returned.
    Helper {
        /// Its name.
        name: &'a Text<32>,
        /// What it returned, once it has.
        exit_code: Option<u32>,
    },
}

impl StatusEvent<'_> {
    fn add_to(&self, info: &mut StateInfo) {
        match self {
            Self::Asked => {}
            Self::Changed { old, new } => {
                info.sib_reason = Reason::StateChange as u32;
                info.prev_state = Some(old.to_wire());
                info.new_state = Some(new.to_wire());
            }
            Self::Helper { name, exit_code } => {
                info.sib_reason = match exit_code {
                    None => Reason::HelperPre as u32,
                    Some(_) => Reason::HelperPost as u32,
                };
                info.helper = Some(**name);
                info.helper_exit_code = *exit_code;
            }
        }
    }
}
