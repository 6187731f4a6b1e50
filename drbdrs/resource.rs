// SPDX-License-Identifier: GPL-2.0-only

//! A resource: the unit that is configured, connected and promoted; and everything that its lock guards.
//!
//! `Resource::shared` is the one irq-safe lock of a resource: the states of all its volumes, their generation
//! identifiers, counters, requests. One lock and not one per volume, because roles, connection states and epochs
//! are changed for all volumes at once. Nobody sleeps or allocates under it: what must grow is prepared outside and
//! swapped in.
//!
//! Order of locks: registry, `admin`, `devices`, `state_mutex`, the sockets' send mutexes, `shared`, a bitmap's lock.

use crate::{
    activity::VolumeLog,
    attach::Local,
    change::Changes,
    connection::Connection,
    cpus::Cpus,
    device::Device,
    living::{Life, Living},
    peer_data::PeerShared,
    prelude::*,
    requests::Requests,
    stable::Pools,
    trace::Trace,
    transfer::Transfer,
    worker::{TodoSet, Worker},
};
use drbd_core::{
    config::{
        conf::{DiskConf, NetConf, ResourceOpts},
        text::Bytes,
    },
    congestion::CatchUp,
    meta::Superblock,
    resync::{Throttle, Verify},
    state,
    types::{ConnState, DiskState, Role, State, StateRv, Uuid},
    uuid::{PeerUuids, Unstored},
    wire::BitmapRecv,
    write_order::WriteOrder,
};
use kernel_ext::module::ModuleRef;

/// Serialises the commands about a resource.
pub(crate) struct Administration {
    /// The resource has left the registry: a command that found it before must give up.
    pub(crate) removed: bool,
    /// The module cannot be removed before the resource.
    pub(crate) module: Option<ModuleRef<crate::Drbdrs>>,
}

/// A resource.
#[pin_data]
pub(crate) struct Resource {
    /// Its name, without slashes.
    pub(crate) name: CString,
    /// Number in order of creation; dumps resume by it.
    pub(crate) serial: u64,
    /// See [`Administration`].
    #[pin]
    pub(crate) admin: Mutex<Administration>,
    /// Its volumes, ascending; for configuration and dumps. Data paths find a volume in `shared`.
    #[pin]
    pub(crate) devices: Mutex<KVec<Arc<Device>>>,
    /// One change of state that needs the peer's consent at a time.
    #[pin]
    pub(crate) state_mutex: Mutex<()>,
    /// Woken whenever a state changed, a reply to a request for a change came in, or a counter reached zero.
    pub(crate) state_wait: Arc<WaitQueue>,
    /// See the module's description.
    #[pin]
    pub(crate) shared: IrqLock<Shared>,
    /// The last decisions.
    #[pin]
    pub(crate) trace: Trace,
    /// Where pages for data come from.
    pub(crate) pools: Pools,
    /// The connection to the peer.
    pub(crate) connection: Arc<Connection>,
    /// The thread that executes what follows from changes of state.
    #[pin]
    pub(crate) worker: Worker,
    /// Where the threads run.
    pub(crate) cpus: Cpus,
    /// The last to go: `rmmod` waits for it.
    _life: Life,
}

/// What `Resource::shared` guards.
pub(crate) struct Shared {
    /// Options of section `options`.
    pub(crate) opts: ResourceOpts,
    /// The volumes, ascending by number.
    pub(crate) volumes: KVec<KBox<VolumeShared>>,
    /// What concerns the connection.
    pub(crate) conn: ConnShared,
    /// Changes of state whose consequences are still to be executed by the worker.
    pub(crate) changes: Changes,
    /// The application's requests.
    pub(crate) transfer: KBox<Transfer>,
    /// What the peer asked for and is not answered yet.
    pub(crate) peer: PeerShared,
}

/// The part of [`Shared`] that concerns the connection as a whole.
pub(crate) struct ConnShared {
    /// Its state, never above WfReportParams: what comes then is the volumes' own.
    pub(crate) cstate: ConnState,
    /// The agreed protocol version; 0 while unknown.
    pub(crate) agreed_version: u32,
    /// The agreed features.
    pub(crate) agreed_features: u32,
    /// The network configuration, if there is one.
    pub(crate) net_conf: Option<NetConf>,
    /// Our address as the administrator gave it (a `sockaddr`).
    pub(crate) my_addr: Bytes<128>,
    /// The peer's.
    pub(crate) peer_addr: Bytes<128>,
    /// Our state is on its way to the peer, whose state is still to come (8.4: STATE_SENT).
    pub(crate) state_sent: bool,
    /// We break ties between the two nodes.
    pub(crate) resolve_conflicts: bool,
    /// The peer only wants to know what connecting would do.
    pub(crate) dry_run: bool,
    /// How often a connection was established.
    pub(crate) established: u32,
    /// What the receiver shall do.
    pub(crate) receiver: ReceiverOrder,
    /// What keeps the peer's epochs apart on our disks.
    pub(crate) write_order: WriteOrder,
    /// We asked the peer to let us go.
    pub(crate) disconnect_sent: bool,
    /// A wish about the connection as a whole is with the peer.
    pub(crate) asked_peer: bool,
    /// What the peer said to that.
    pub(crate) peer_reply: Option<StateRv>,
}

/// What the receiver of a connection shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiverOrder {
    /// Go on.
    Run,
    /// Clean up, then connect again.
    Restart,
    /// Clean up, then end.
    Stop,
}

/// Statistics and occupancy of a volume. Amounts in sectors of 512 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Sent to the peer.
    pub(crate) sent: u64,
    /// Received from the peer.
    pub(crate) received: u64,
    /// Read from the local disk.
    pub(crate) read: u64,
    /// Written to the local disk.
    pub(crate) written: u64,
    /// Writes of the activity log.
    pub(crate) al_writes: u64,
    /// Writes of bitmap pages.
    pub(crate) bm_writes: u64,
    /// Users of the local disk: I/O in flight, and whoever needs it to stay attached for a while.
    pub(crate) local: u32,
    /// Application bios in flight.
    pub(crate) application: u32,
    /// Application requests that the peer has not answered.
    pub(crate) pending: u32,
    /// Sectors of the application's writes that were sent and that no barrier confirms yet.
    pub(crate) in_flight: u64,
    /// Resync requests that the peer has not answered.
    pub(crate) resync_pending: u32,
    /// The peer's requests that we have not answered.
    pub(crate) unacked: u32,
}

/// Marks for the average speed of a resync, as many as 8.4 keeps.
pub(crate) const SYNC_MARKS: usize = 8;

/// A resync or verify: how far it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResyncShared {
    /// Bits to do when it started.
    pub(crate) total: u64,
    /// Blocks that could not be resynced.
    pub(crate) failed: u64,
    /// Sectors that the resync or verify itself read and wrote on our disk.
    pub(crate) disk_sectors: u64,
    /// Whether to yield to other users of our disk.
    pub(crate) throttle: Throttle,
    /// The target asks by checksums.
    pub(crate) by_checksums: bool,
    /// The target says that it has all, and here bits are still set: of writes that are not over yet.
    pub(crate) target_has_all: bool,
    /// Bits that needed no transfer, because their checksums were equal.
    pub(crate) equal: u64,
    /// The verify that runs, or what the last one left.
    pub(crate) verify: Verify,
    /// Start, in milliseconds of the monotonic clock.
    pub(crate) start_ms: u64,
    /// Time spent paused.
    pub(crate) paused_ms: u64,
    /// When the marks were taken.
    pub(crate) mark_ms: [u64; SYNC_MARKS],
    /// Bits left at the marks.
    pub(crate) mark_left: [u64; SYNC_MARKS],
    /// The youngest mark.
    pub(crate) last_mark: usize,
    /// The rate that the controller asks for, in KiB/s.
    pub(crate) want_kib: u32,
}

/// The part of [`Shared`] that concerns one volume.
pub(crate) struct VolumeShared {
    /// Its number in the resource.
    pub(crate) vnr: u16,
    /// Its device.
    pub(crate) device: Arc<Device>,
    /// Its state.
    pub(crate) state: State,
    /// What the local disk, and what it knows of the peer's, become once a negotiation is over.
    pub(crate) negotiated: (DiskState, DiskState),
    /// The local disk. Take it by [`Device::get_local`] only.
    pub(crate) local: Option<Arc<Local>>,
    /// The superblock, while attached.
    pub(crate) md: Option<Superblock>,
    /// The activity log, while attached.
    pub(crate) al: Option<KBox<VolumeLog>>,
    /// How many logs there were.
    pub(crate) al_serial: u32,
    /// The configuration of the local disk, while attached.
    pub(crate) disk_conf: Option<DiskConf>,
    /// `md` differs from what is on disk.
    pub(crate) md_dirty: bool,
    /// Generation of the data that the application saw.
    pub(crate) exposed_uuid: Uuid,
    /// That generation, while the superblock on disk does not have it.
    pub(crate) unstored: Option<Unstored>,
    /// The UUIDs that the peer sent.
    pub(crate) peer_uuids: Option<PeerUuids>,
    /// How many bits were set in our bitmap when the two began to meet, as the peer is told (8.4: comm_bm_set).
    pub(crate) told_dirty_bits: u64,
    /// The peer's bitmap, while it arrives.
    pub(crate) bitmap_in: Option<BitmapRecv>,
    /// The peer's largest bio, in bytes (from its sizes, or from the metadata).
    pub(crate) peer_max_bio_size: u32,
    /// Our disk's largest bio, in bytes.
    pub(crate) local_max_bio_size: u32,
    /// The peer's disk, in sectors; 0 while unknown.
    pub(crate) peer_disk_size: u64,
    /// Size of our device, in sectors.
    pub(crate) capacity: u64,
    /// Work that waits for the worker.
    pub(crate) todo: TodoSet,
    /// See [`VolFlags`].
    pub(crate) flags: VolFlags,
    /// Open file descriptors and mounts.
    pub(crate) openers: u32,
    /// Bios that start again.
    pub(crate) again: usize,
    /// How many want application I/O to wait; it is not started while this is not 0.
    pub(crate) io_suspenders: u32,
    /// When the disk was attached, in milliseconds.
    pub(crate) attached_ms: u64,
    /// See [`ResyncShared`].
    pub(crate) resync: ResyncShared,
    /// What a resync asks for next, if we are its target.
    pub(crate) requests: Requests,
    /// See [`Counters`].
    pub(crate) stat: Counters,
    /// When a peer that we are Ahead of can follow again.
    pub(crate) catch_up: CatchUp,
    /// Number of the last write that was sent (two primaries order by it).
    pub(crate) packet_seq: u32,
    /// The highest number of that kind that the peer has sent.
    pub(crate) peer_seq: u32,
}

impl VolumeShared {
    /// A volume without disk, in the resource's connection state.
    pub(crate) fn new(device: Arc<Device>, state: State) -> impl Init<Self> {
        init!(Self {
            vnr: device.vnr,
            device,
            state,
            negotiated: (DiskState::Inconsistent, DiskState::Unknown),
            todo: TodoSet::default(),
            local: None,
            md: None,
            al: None,
            al_serial: 0,
            disk_conf: None,
            md_dirty: false,
            exposed_uuid: Uuid(0),
            unstored: None,
            peer_uuids: None,
            told_dirty_bits: 0,
            bitmap_in: None,
            peer_max_bio_size: crate::limits::MAX_BIO_SIZE_SAFE,
            local_max_bio_size: crate::limits::MAX_BIO_SIZE_SAFE,
            peer_disk_size: 0,
            capacity: 0,
            flags: VolFlags::default(),
            openers: 0,
            again: 0,
            io_suspenders: 0,
            attached_ms: 0,
            resync: ResyncShared::default(),
            requests: Requests::new(),
            stat: Counters::default(),
            catch_up: CatchUp::default(),
            packet_seq: 0,
            peer_seq: 0,
        })
    }

    /// Whether the local disk can be used for something: it is attached and has not failed.
    pub(crate) fn has_disk(&self) -> bool {
        self.local.is_some() && usable(self.state.disk)
    }

    /// Whether application I/O is suspended, for whatever reason that is part of the state.
    pub(crate) fn suspended(&self) -> bool {
        state::is_suspended(&self.state)
    }

    /// Whether something of the last disk is still to be closed.
    pub(crate) fn releasing(&self) -> bool {
        self.stat.local > 0
    }

    /// Counts the bits that the peer is told of: the two meet anew.
    pub(crate) fn count_dirty(&mut self) {
        self.told_dirty_bits = self.device.bitmap.weight();
    }
}

/// Attached for good: neither on its way in nor out.
pub(crate) fn usable(disk: DiskState) -> bool {
    !state::is_failed_or_less(disk) && disk != DiskState::Negotiating
}

impl Shared {
    /// The volume with that number.
    pub(crate) fn vol(&self, vnr: u16) -> Option<&VolumeShared> {
        self.volumes
            .iter()
            .find(|volume| volume.vnr == vnr)
            .map(|volume| &**volume)
    }

    /// The volume with that number.
    pub(crate) fn vol_mut(&mut self, vnr: u16) -> Option<&mut VolumeShared> {
        self.volumes
            .iter_mut()
            .find(|volume| volume.vnr == vnr)
            .map(|volume| &mut **volume)
    }

    /// The highest role of all volumes.
    pub(crate) fn highest_role(&self) -> Role {
        state::combined(self.volumes.iter().map(|volume| &volume.state)).highest_role
    }

    /// The peer's highest role.
    pub(crate) fn highest_peer_role(&self) -> Role {
        state::combined(self.volumes.iter().map(|volume| &volume.state)).highest_peer
    }
}

/// A box of a volume's part. On its own, because the value is too large for a deep stack.
#[inline(never)]
fn new_volume(device: &Arc<Device>) -> Result<KBox<VolumeShared>> {
    KBox::init(VolumeShared::new(device.clone(), State::NEW), GFP_KERNEL)
}

impl Resource {
    /// Its options, by value.
    pub(crate) fn options(&self) -> ResourceOpts {
        self.shared.lock().opts
    }

    /// A resource without volumes, StandAlone; its worker runs.
    #[inline(never)]
    pub(crate) fn new(
        name: CString,
        serial: u64,
        opts: ResourceOpts,
        living: &Arc<Living>,
    ) -> Result<Arc<Self>> {
        let module = ModuleRef::get().ok_or(ENODEV)?;
        let life = Living::one(living);
        let state_wait = Arc::pin_init(new_wait_queue!(), GFP_KERNEL)?;
        let wake = Arc::pin_init(new_wait_queue!(), GFP_KERNEL)?;
        let changes = Changes::new(wake.clone(), state_wait.clone())?;
        let transfer = Transfer::new()?;
        let peer = PeerShared::new()?;
        // Written where it will stay: it is too large for the stack.
        let shared = init!(Shared {
            opts,
            volumes: KVec::new(),
            conn <- init!(ConnShared {
                cstate: ConnState::StandAlone,
                agreed_version: 0,
                agreed_features: 0,
                net_conf: None,
                my_addr: Bytes::EMPTY,
                peer_addr: Bytes::EMPTY,
                state_sent: false,
                resolve_conflicts: false,
                dry_run: false,
                established: 0,
                receiver: ReceiverOrder::Run,
                write_order: WriteOrder::Flush,
                disconnect_sent: false,
                asked_peer: false,
                peer_reply: None,
            }),
            changes,
            transfer,
            peer,
        });
        let resource = Arc::pin_init(
            try_pin_init!(Self {
                name,
                serial,
                admin <- new_mutex!(Administration { removed: false, module: Some(module) }),
                devices <- new_mutex!(KVec::new()),
                state_mutex <- new_mutex!(()),
                state_wait,
                shared <- new_irq_lock!(shared),
                trace <- Trace::new()?,
                pools: Pools::new()?,
                connection: Connection::new()?,
                worker <- Worker::new(wake),
                cpus: Cpus::new(&opts.cpu_mask),
                _life: life,
            }),
            GFP_KERNEL,
        )?;
        resource.worker.start(&resource)?;
        Ok(resource)
    }

    /// Adds a device that nobody else knows yet; its threads run from now on. Room is made outside the lock.
    pub(crate) fn insert_device(&self, device: &Arc<Device>) -> Result {
        device.activity.start(device)?;
        device.retry.start(device)?;
        let mut devices = self.devices.lock();
        devices.reserve(1, GFP_KERNEL)?;
        let mut volumes = KVec::with_capacity(devices.len().saturating_add(1), GFP_KERNEL)?;
        let fresh = new_volume(device)?;
        {
            let mut shared = self.shared.lock();
            let mut state = State::NEW;
            state.conn = shared.conn.cstate;
            if let Some(sibling) = shared.volumes.first() {
                state.susp = sibling.state.susp;
            }
            let mut new = Some(fresh);
            if let Some(new) = new.as_mut() {
                new.state = state;
            }
            for volume in shared.volumes.drain_all() {
                if new.as_ref().is_some_and(|new| new.vnr < volume.vnr) {
                    if let Some(new) = new.take() {
                        let _ = volumes.push_within_capacity(new);
                    }
                }
                let _ = volumes.push_within_capacity(volume);
            }
            if let Some(new) = new {
                let _ = volumes.push_within_capacity(new);
            }
            core::mem::swap(&mut shared.volumes, &mut volumes);
        }
        let at = devices
            .iter()
            .take_while(|other| other.vnr < device.vnr)
            .count();
        devices
            .insert_within_capacity(at, device.clone())
            .map_err(|_| ENOMEM)
    }

    /// Takes a device out of both lists; its threads end. What it still owns is dropped outside the lock.
    pub(crate) fn remove_device(&self, device: &Arc<Device>) {
        device.activity.stop();
        device.retry.stop();
        let mut devices = self.devices.lock();
        let removed = {
            let mut shared = self.shared.lock();
            let at = shared
                .volumes
                .iter()
                .position(|volume| volume.vnr == device.vnr);
            at.and_then(|at| shared.volumes.remove(at).ok())
        };
        drop(removed);
        devices.retain(|other| !Arc::ptr_eq(other, device));
    }

    /// Its name, for the log.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Whether the connection is configured.
    pub(crate) fn is_net_configured(&self) -> bool {
        let shared = self.shared.lock();
        shared.conn.cstate != ConnState::StandAlone || shared.conn.net_conf.is_some()
    }

    /// `ping-timeout`, in tenths of a second.
    pub(crate) fn ping_timeout_ds(&self) -> u32 {
        let shared = self.shared.lock();
        shared
            .conn
            .net_conf
            .as_ref()
            .map_or(0, |net| net.ping_timeo)
    }

    /// The connection has no configuration any more.
    pub(crate) fn forget_network(&self) {
        let mut shared = self.shared.lock();
        shared.conn.net_conf = None;
        shared.conn.my_addr = Bytes::EMPTY;
        shared.conn.peer_addr = Bytes::EMPTY;
        shared.conn.agreed_version = 0;
        shared.conn.agreed_features = 0;
    }

    /// The first device with a volume number of at least `vnr`.
    pub(crate) fn device_from(&self, vnr: u16) -> Option<Arc<Device>> {
        self.devices
            .lock()
            .iter()
            .find(|device| device.vnr >= vnr)
            .cloned()
    }

    /// The device of a volume.
    pub(crate) fn device(&self, vnr: u16) -> Option<Arc<Device>> {
        self.devices
            .lock()
            .iter()
            .find(|device| device.vnr == vnr)
            .cloned()
    }

    /// The volume numbers at this moment, ascending.
    pub(crate) fn volume_numbers(&self) -> Result<KVec<u16>> {
        let devices = self.devices.lock();
        let mut numbers = KVec::with_capacity(devices.len(), GFP_KERNEL)?;
        for device in devices.iter() {
            numbers.push(device.vnr, GFP_KERNEL)?;
        }
        Ok(numbers)
    }
}
