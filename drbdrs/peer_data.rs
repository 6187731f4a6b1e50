// SPDX-License-Identifier: GPL-2.0-only

//! The peer's writes: received, carried out on our disk, answered.
//!
//! ```text
//!  receiver:  P_DATA --> payload into pages --> wait for overlapping writes --> our disk
//!  its end:   bits (core::peer_request says which) --> queue the acknowledgement --> ack sender
//!  receiver:  P_BARRIER --> wait until all of the epoch is on disk, flush --> queue its acknowledgement
//! ```
//!
//! What is under way is bounded: the receiver takes nothing in before there is room for the answer. An interval in
//! `transfer.writes` with one of the owners here keeps others off those blocks, see [`DISK`], [`REQUESTED`],
//! [`ANSWERED`], [`SERVING`] and [`AWAITED`].

use crate::{
    acks,
    activity::{self, Hold},
    conflict::{self, Verdict},
    deallocate::{self, Want},
    device::{Device, LocalRef},
    digests, faults,
    flags::VolFlag,
    local::{self, Failure},
    params,
    peer_read::{self, Reply},
    prelude::*,
    receiver::Arrived,
    resource::{usable, Resource, Shared, VolumeShared},
    resync,
    ring::Ring,
    tag::Tag,
    throttle, verify,
};
use drbd_core::{
    config::choices::Protocol,
    epoch::{Incoming, Ticket},
    faults::Fault,
    interval::{NodeId, Owner, Range},
    peer_request::{self, Ack, Origin},
    state,
    types::DiskState,
    wire::{
        BarrierPacket, BlockDesc, Command, DataFlags, DataPacket, Features, Packet, TrimPacket,
        ID_SYNCER, MAX_DATA_SIZE,
    },
    write_order::{Reason, WriteOrder},
};
use kernel_ext::{
    block::{EndIo, Flags, Op, OutBio, PageVec, Status},
    net::TcpStream,
};

/// Owner of an interval: a write of the peer is on its way to our disk.
pub(crate) const DISK: u32 = 0;
/// Owner of an interval: we asked the peer for these blocks, and it has not answered.
pub(crate) const REQUESTED: u32 = 1;
/// Owner of an interval: we read these blocks for the peer's resync, and the answer is not on its way yet.
pub(crate) const SERVING: u32 = 2;
/// Owner of an interval: the peer has answered what we asked for, and that is not on our disk yet.
pub(crate) const ANSWERED: u32 = 3;
/// Owner of an interval: these blocks were sent for the peer's resync, and it has not said that it has written them.
pub(crate) const AWAITED: u32 = 4;

/// The largest range that any packet may speak of, in bytes.
pub(crate) const MAX_RANGE: u32 = drbd_core::wire::MAX_TRIM_SIZE;
/// The peer's requests that can be under way at once.
const SLOTS: usize = 2048;
/// A page of data.
const PAGE: u32 = 4096;

/// What the peer asked for and is not answered yet; guarded by the resource's lock.
pub(crate) struct PeerShared {
    /// Acknowledgements that wait for the ack sender.
    pub(crate) acks: acks::Queue,
    /// Answers to reads that wait for the sender.
    pub(crate) replies: Ring<Reply>,
    /// The peer's open epoch.
    pub(crate) incoming: Incoming,
    /// Blocks to be compared that our application writes: the worker reads them when it has.
    pub(crate) put_off: Ring<verify::PutOff>,
    /// Reads and writes on our disks, and what is put off.
    pub(crate) in_flight: usize,
    /// Pages that hold data of the peer.
    pages: u32,
    /// Somebody waits for one of the above.
    waiting: bool,
    /// The receiver waits until no write of the peer's is under way.
    draining: bool,
}

impl PeerShared {
    /// Nothing is under way. All memory but the pages is got here; may sleep.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            acks: acks::Queue::new(SLOTS.saturating_mul(2))?,
            replies: Ring::new(SLOTS)?,
            incoming: Incoming::default(),
            put_off: Ring::new(SLOTS)?,
            in_flight: 0,
            pages: 0,
            waiting: false,
            draining: false,
        })
    }

    /// Whether the receiver waited for this write, the last one of those under way.
    fn is_drained(&mut self) -> bool {
        self.incoming.active() == 0 && core::mem::take(&mut self.draining)
    }

    /// Whether somebody waits for something that has now changed: wake `state_wait`.
    pub(crate) fn take_waiting(&mut self) -> bool {
        core::mem::take(&mut self.waiting)
    }

    /// Wake `state_wait` when something changes.
    pub(crate) fn request_wake(&mut self) {
        self.waiting = true;
    }

    fn used(&self) -> usize {
        self.in_flight
            .saturating_add(self.replies.len())
            .saturating_add(self.acks.len())
    }
}

/// Whether a range lies on the volume and in whole sectors.
pub(crate) fn plausible(volume: &VolumeShared, sector: u64, bytes: u32, most: u32) -> bool {
    bytes % 512 == 0
        && bytes <= most
        && sector
            .checked_add(u64::from(bytes / 512))
            .is_some_and(|end| end <= volume.capacity)
}

/// Finds the volume that a packet is about, and checks the range that it names.
pub(crate) fn locate(
    packet: &Arrived<'_>,
    sector: u64,
    bytes: u32,
    most: u32,
) -> Result<(Arc<Device>, Range)> {
    let shared = packet.resource.shared.lock();
    let Some(volume) = shared.vol(packet.vnr) else {
        drop(shared);
        let name = packet.command.name();
        pr_err!(
            "{}/{}: {}: there is no such volume\n",
            packet.resource.name(),
            packet.vnr,
            name
        );
        return Err(EPROTO);
    };
    let device = volume.device.clone();
    let fits = plausible(volume, sector, bytes, most);
    let capacity = volume.capacity;
    drop(shared);
    if !fits {
        pr_err!(
            "{}: {}: sector {} (+{} bytes) is not a range of the volume's {} sectors\n",
            Tag(&device),
            packet.command.name(),
            sector,
            bytes,
            capacity
        );
        return Err(EPROTO);
    }
    Ok((device, Range::new(packet.vnr, sector, bytes)))
}

/// Waits until `ready` holds; the receiver's thread.
///
/// # Errors
///
/// `ENOTCONN`: the connection is gone, or going.
pub(crate) fn wait_until(
    resource: &Resource,
    mut ready: impl FnMut(&mut Shared) -> bool,
) -> Result {
    wait_while_connected(resource, |shared| {
        let ready = ready(shared);
        shared.peer.waiting |= !ready;
        shared.transfer.waiting |= !ready;
        ready
    })
}

/// Waits until there is room for the answer to whatever the peer sends next, also to what does not have to be admitted
/// as its reads and writes are.
pub(crate) fn wait_for_room(resource: &Resource) -> Result {
    wait_until(resource, |shared| shared.peer.acks.len() < SLOTS)
}

/// Waits until no write of the peer's is under way: woken once, and not for each of them.
fn wait_drained(resource: &Resource) -> Result {
    wait_while_connected(resource, |shared| {
        let drained = shared.peer.incoming.active() == 0;
        shared.peer.draining = !drained;
        drained
    })
}

/// Waits until `ready` holds, which lets itself be woken.
fn wait_while_connected(resource: &Resource, mut ready: impl FnMut(&mut Shared) -> bool) -> Result {
    let mut connected = true;
    resource.state_wait.wait_idle(|| {
        let mut shared = resource.shared.lock();
        if ready(&mut shared) {
            return true;
        }
        connected = state::has_socket(shared.conn.cstate);
        !connected
    });
    if connected {
        Ok(())
    } else {
        Err(ENOTCONN)
    }
}

/// Waits for room, and for a part of `max-buffers`; counts both as used.
pub(crate) fn admit(resource: &Resource, bytes: u32) -> Result {
    wait_until(resource, |shared| try_admit(shared, bytes))
}

/// As [`admit`], for those who must not wait: tells whether there was room.
pub(crate) fn try_admit(shared: &mut Shared, bytes: u32) -> bool {
    let pages = bytes.div_ceil(PAGE);
    let most = shared
        .conn
        .net_conf
        .as_ref()
        .map_or(u32::MAX, |conf| conf.max_buffers);
    let peer = &mut shared.peer;
    // One request alone always passes, however large.
    let memory = peer.pages == 0 || peer.pages.saturating_add(pages) <= most;
    let room = memory && peer.used() < SLOTS;
    if room {
        peer.in_flight = peer.in_flight.saturating_add(1);
        peer.pages = peer.pages.saturating_add(pages);
    }
    room
}

/// Gives back what [`admit`] counted.
pub(crate) fn release(shared: &mut Shared, bytes: u32) {
    shared.peer.in_flight = shared.peer.in_flight.saturating_sub(1);
    release_pages(shared, bytes);
}

/// Gives back the pages alone: the request itself went on elsewhere.
pub(crate) fn release_pages(shared: &mut Shared, bytes: u32) {
    shared.peer.pages = shared.peer.pages.saturating_sub(bytes.div_ceil(PAGE));
}

/// Reads and drops the payload of a packet that we cannot use.
pub(crate) fn drain(packet: &Arrived<'_>) -> Result {
    drain_bytes(packet.stream, packet.payload)
}

fn drain_bytes(stream: &TcpStream, bytes: u32) -> Result {
    let mut buffer = [0u8; 512];
    let mut left = bytes as usize;
    while left > 0 {
        let part = left.min(buffer.len());
        let part = buffer.get_mut(..part).ok_or(EINVAL)?;
        stream.recv_exact(part)?;
        left = left.saturating_sub(part.len());
    }
    Ok(())
}

/// Waits for room, and receives `bytes` of payload into new pages.
pub(crate) fn receive_admitted(packet: &Arrived<'_>, range: &Range, bytes: u32) -> Result<PageVec> {
    admit(packet.resource, bytes)?;
    receive_pages(packet, range.sector, bytes)
        .inspect_err(|_| release(&mut packet.resource.shared.lock(), bytes))
}

fn receive_pages(packet: &Arrived<'_>, sector: u64, bytes: u32) -> Result<PageVec> {
    let minor = if faults::is_off() {
        None
    } else {
        let shared = packet.resource.shared.lock();
        shared.vol(packet.vnr).map(|volume| volume.device.minor)
    };
    if minor.is_some_and(|minor| faults::strikes(minor, Fault::PeerAllocation)) {
        return Err(ENOMEM);
    }
    let mut corrupt = minor.is_some_and(|minor| faults::strikes(minor, Fault::Receive));
    let digest = digests::receive(packet)?;
    let mut pages = PageVec::new(&packet.resource.pools.received, bytes as usize);
    pages.fill(|part| {
        packet.stream.recv_exact(part)?;
        if let Some(first) = part.first_mut().filter(|_| core::mem::take(&mut corrupt)) {
            *first = !*first;
        }
        Ok::<(), Error>(())
    })?;
    digests::check_pages(packet, digest.as_ref(), sector, &pages)?;
    Ok(pages)
}

/// A write on our disk on behalf of the peer; travels with the bio.
pub(crate) struct PeerWrite {
    pub(crate) device: Arc<Device>,
    pub(crate) pages: Option<PageVec>,
    pub(crate) range: Range,
    pub(crate) block_id: u64,
    pub(crate) origin: Origin,
    pub(crate) node: Option<NodeId>,
    /// Which epoch it belongs to, if it is a write of the peer's application.
    pub(crate) epoch: Ticket,
    /// Ours is the only copy: the activity log names its extents, as for a write of our own.
    pub(crate) hold: Option<Hold>,
}

impl PeerWrite {
    /// Bytes of payload.
    fn bytes(&self) -> u32 {
        self.pages.as_ref().map_or(0, |_| self.range.bytes())
    }

    /// It is on the disk, or failed. Any context.
    pub(crate) fn ended(&self, status: Status) {
        let resource = &self.device.resource;
        let ok = status.is_ok();
        let woken = {
            let mut shared = resource.shared.lock();
            self.settle(&mut shared, ok);
            release(&mut shared, self.bytes());
            shared.peer.is_drained()
                | shared.peer.take_waiting()
                | core::mem::take(&mut shared.transfer.waiting)
        };
        resource.connection.wake_acks();
        if woken {
            resource.state_wait.wake_all();
        }
        if self.origin == Origin::Resync {
            resource.connection.wake_sender();
        }
        if !ok {
            pr_err!(
                "{}: a write for the peer failed: sector {} (+{})\n",
                Tag(&self.device),
                self.range.sector,
                self.range.sectors
            );
            local::io_error(&self.device, Failure::Write);
        }
    }

    /// It lost against a write of ours: it is not written, and the peer is told so.
    fn dropped(&self, command: Command) {
        let resource = &self.device.resource;
        {
            let mut shared = resource.shared.lock();
            acks::queue(&mut shared, command, &self.range, self.block_id);
            if let Some(volume) = shared
                .vol_mut(self.device.vnr)
                .filter(|_| answered(self.origin))
            {
                volume.stat.unacked = volume.stat.unacked.saturating_sub(1);
            }
            shared.peer.incoming.dropped(self.epoch);
            confirm_epochs(&mut shared);
            release(&mut shared, self.bytes());
        }
        resource.connection.wake_acks();
    }

    /// The connection was lost before it could be written.
    fn forgotten(&self) {
        release(&mut self.device.resource.shared.lock(), self.bytes());
    }

    /// Bits, answer, epoch, interval: in this order.
    fn settle(&self, shared: &mut Shared, ok: bool) {
        let Range {
            sector, sectors, ..
        } = self.range;
        if let Some(volume) = shared.vol_mut(self.device.vnr) {
            let sectors = u64::from(sectors);
            let running = state::is_resync(volume.state.conn);
            let outcome = peer_request::written(self.origin, ok, running);
            volume.stat.written = volume.stat.written.saturating_add(sectors);
            if self.origin == Origin::Resync {
                throttle::count(volume, sectors);
            }
            if outcome.set_in_sync {
                resync::set_in_sync(volume, sector, sectors);
            }
            if outcome.set_out_of_sync {
                volume.device.bitmap.set_out_of_sync(sector, sectors);
            }
            if outcome.resync_failed {
                resync::count_failed(volume, sectors);
            }
            let command = outcome.ack.map(|ack| match ack {
                Ack::Write => Command::WriteAck,
                Ack::ResyncWrite => Command::RsWriteAck,
                Ack::Negative => Command::NegAck,
            });
            if answered(self.origin) {
                volume.stat.unacked = volume.stat.unacked.saturating_sub(1);
            }
            if let Some(command) = command {
                acks::queue(shared, command, &self.range, self.block_id);
            }
        }
        if let Some(node) = self.node {
            shared.transfer.writes.remove(node);
        }
        if self.origin != Origin::Resync {
            shared.peer.incoming.written(self.epoch);
            confirm_epochs(shared);
        }
    }
}

/// Whether the end of a write is told to the peer even if nothing went wrong.
fn answered(origin: Origin) -> bool {
    match origin {
        Origin::Resync => true,
        Origin::Application { written, .. } => written,
    }
}

impl EndIo for PeerWrite {
    fn end_io(self, status: Status) {
        self.ended(status);
        self.device.put_local();
        drop(self.hold);
    }

    fn pages(&self) -> Option<&PageVec> {
        self.pages.as_ref()
    }
}

/// Gives a write to our disk; whatever happens, it comes to its end.
pub(crate) fn submit_write(write: PeerWrite, local: &LocalRef, flags: Flags) {
    local.count_in_flight();
    let fault = match write.origin {
        Origin::Resync => Fault::ResyncWrite,
        Origin::Application { .. } => Fault::DataWrite,
    };
    if faults::strikes(write.device.minor, fault) {
        write.end_io(Status::IO_ERROR);
        return;
    }
    let sector = write.range.sector;
    let result = match (local.disk(), write.pages.is_some()) {
        (None, _) => Err((write, ENODEV)),
        (Some(disk), true) => OutBio::submit_pages(&disk.data, Op::Write, flags, sector, write),
        (Some(disk), false) => {
            match OutBio::without_data(&disk.data, Op::Flush, flags, sector, 0) {
                Ok(flush) => {
                    flush.submit(write);
                    Ok(())
                }
                Err(error) => Err((write, error)),
            }
        }
    };
    if let Err((write, _)) = result {
        write.end_io(Status::IO_ERROR);
    }
}

/// P_DATA: a write with its data.
pub(crate) fn data(packet: &Arrived<'_>) -> Result {
    let head = DataPacket::decode(packet.fixed).ok_or(EPROTO)?;
    let bytes = digests::data_bytes(packet);
    let (device, range) = locate(packet, head.sector, bytes, MAX_DATA_SIZE)?;
    let Some(local) = Device::get_local(&device) else {
        conflict::take_turn(&device, head.seq_num)?;
        refuse(packet, &range, head.block_id);
        return drain(packet);
    };
    let pages = receive_admitted(packet, &range, bytes)?;
    let pages = Some(pages).filter(|pages| !pages.is_empty());
    let Some(write) = take_in(packet, (device, range), &head, bytes, pages)? else {
        return Ok(());
    };
    submit_write(write, &local, disk_flags(head.flags, bytes));
    Ok(())
}

/// A write of the peer's joins the open epoch and waits until its blocks are free. None: it gave way to one of ours, or our
/// disk is not used any more.
fn take_in(
    packet: &Arrived<'_>,
    (device, range): (Arc<Device>, Range),
    head: &DataPacket,
    bytes: u32,
    pages: Option<PageVec>,
) -> Result<Option<PeerWrite>> {
    let (origin, epoch) = begin(packet, &range, head, bytes);
    let hold = hold(&device, &range);
    let mut write = PeerWrite {
        device,
        pages,
        range,
        block_id: head.block_id,
        origin,
        node: None,
        epoch,
        hold,
    };
    match conflict::enter(&write.device, &range, head.seq_num) {
        Ok(Verdict::Write(node)) => {
            write.node = Some(node);
            if state::is_failed_or_less(write.device.disk_state()) {
                // Given up while we waited, maybe because the log could not be written: nothing on it tells of this write.
                write.ended(Status::IO_ERROR);
                return Ok(None);
            }
            Ok(Some(write))
        }
        Ok(Verdict::Drop(command)) => {
            write.dropped(command);
            Ok(None)
        }
        Err(error) => {
            write.forgotten();
            Err(error)
        }
    }
}

/// How our disk shall do what the peer's application asked for.
fn disk_flags(flags: DataFlags, bytes: u32) -> Flags {
    Flags {
        sync: flags.contains(DataFlags::SYNC),
        preflush: flags.contains(DataFlags::FLUSH) || bytes == 0,
        fua: flags.contains(DataFlags::FUA) && bytes > 0,
        ..Flags::default()
    }
}

/// A write of the peer's has been received: it belongs to the open epoch. Says how it is to be answered.
fn begin(packet: &Arrived<'_>, range: &Range, head: &DataPacket, bytes: u32) -> (Origin, Ticket) {
    let mut shared = packet.resource.shared.lock();
    let mut flags = head.flags;
    if shared.conn.agreed_version < 100 {
        // Old peers leave it to the configuration, which is the same on both sides.
        flags = match shared.conn.net_conf.as_ref().map(|conf| conf.wire_protocol) {
            Some(Protocol::C) => flags | DataFlags::SEND_WRITE_ACK,
            Some(Protocol::B) => flags | DataFlags::SEND_RECEIVE_ACK,
            Some(Protocol::A) | None => flags,
        };
    }
    let epoch = shared.peer.incoming.received();
    let written = flags.contains(DataFlags::SEND_WRITE_ACK);
    let receipt = flags.contains(DataFlags::SEND_RECEIVE_ACK);
    let mut may_set_in_sync = flags.contains(DataFlags::MAY_SET_IN_SYNC);
    if let Some(volume) = shared.vol_mut(range.volume) {
        volume.stat.received = volume.stat.received.saturating_add(u64::from(bytes / 512));
        if written {
            volume.stat.unacked = volume.stat.unacked.saturating_add(1);
        }
        if keeps_no_copy(volume) {
            // Ours is the only copy of it.
            let sectors = u64::from(range.sectors);
            volume.device.bitmap.set_out_of_sync(range.sector, sectors);
            may_set_in_sync = false;
        }
    }
    if receipt {
        acks::queue(&mut shared, Command::RecvAck, range, head.block_id);
        drop(shared);
        packet.resource.connection.wake_acks();
    }
    let origin = Origin::Application {
        receipt,
        written,
        may_set_in_sync,
    };
    (origin, epoch)
}

/// What a write of a peer without disk holds in our activity log. May sleep.
fn hold(device: &Arc<Device>, range: &Range) -> Option<Hold> {
    let alone = params::with_volume(device, |volume| keeps_no_copy(volume));
    if alone != Some(true) || range.sectors == 0 {
        return None;
    }
    activity::enter_here(device, range)
}

/// The peer's disk has no copy of what it writes.
pub(crate) fn keeps_no_copy(volume: &VolumeShared) -> bool {
    state::peer_keeps_no_copy(&volume.state, volume.flags.has(VolFlag::PeerAttaches))
}

/// We have no disk for a write: it counts in its epoch all the same.
fn refuse(packet: &Arrived<'_>, range: &Range, block_id: u64) {
    let mut shared = packet.resource.shared.lock();
    let epoch = shared.peer.incoming.received();
    shared.peer.incoming.written(epoch);
    acks::queue(&mut shared, Command::NegAck, range, block_id);
    drop(shared);
    packet.resource.connection.wake_acks();
}

/// P_TRIM and P_ZEROES: carried out while the receiver waits, because they are rare and large.
pub(crate) fn trim(packet: &Arrived<'_>) -> Result {
    let TrimPacket { data: head, size } = TrimPacket::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(packet, head.sector, size, MAX_RANGE)?;
    if size == 0 {
        pr_err!("{}: {} of nothing\n", Tag(&device), packet.command.name());
        return Err(EPROTO);
    }
    let Some(local) = Device::get_local(&device) else {
        conflict::take_turn(&device, head.seq_num)?;
        refuse(packet, &range, head.block_id);
        return Ok(());
    };
    admit(packet.resource, 0)?;
    let Some(write) = take_in(packet, (device, range), &head, 0, None)? else {
        return Ok(());
    };
    let features = Features(packet.resource.shared.lock().conn.agreed_features);
    // Before write-zeroes were a packet of their own, peers asked for them by trims.
    let exact = packet.command == Command::Zeroes || !features.contains(Features::WRITE_ZEROES);
    let unmap = packet.command == Command::Trim || head.flags.contains(DataFlags::DISCARD);
    let want = match exact {
        true => Want::Zeroed { unmap },
        false => Want::Discarded,
    };
    let result = match local.disk() {
        Some(disk) => deallocate::carry_out(&write.device, disk, &write.range, want),
        None => Err(ENODEV),
    };
    let status = if result.is_ok() {
        Status::OK
    } else {
        Status::IO_ERROR
    };
    write.ended(status);
    Ok(())
}

/// P_BARRIER: everything before it is made stable, then it is acknowledged.
pub(crate) fn barrier(packet: &Arrived<'_>) -> Result {
    let BarrierPacket { barrier, .. } = BarrierPacket::decode(packet.fixed).ok_or(EPROTO)?;
    let resource = packet.resource;
    let order = resource.shared.lock().conn.write_order;
    if order != WriteOrder::None {
        wait_drained(resource)?;
    }
    if order == WriteOrder::Flush && !flush_disks(resource) {
        // What the cache held may be lost, and only the peer still knows which blocks those are: it marks them when the
        // connection ends without our confirmation.
        return Err(EIO);
    }
    if resource.shared.lock().peer.incoming.close(barrier).is_err() {
        wait_drained(resource)?;
        let mut shared = resource.shared.lock();
        confirm_epochs(&mut shared);
        // None is active, so there is room now.
        let _ = shared.peer.incoming.close(barrier);
    }
    confirm_epochs(&mut resource.shared.lock());
    resource.connection.wake_acks();
    Ok(())
}

/// Queues the acknowledgements of the barriers whose writes are all on the disk.
fn confirm_epochs(shared: &mut Shared) {
    while let Some((barrier, writes)) = shared.peer.incoming.confirm() {
        acks::queue_barrier(shared, barrier, writes);
    }
}

/// Flushes the volatile caches of all our disks that have one and whose configuration wants it. False: one failed.
fn flush_disks(resource: &Resource) -> bool {
    let mut flushed = true;
    let mut from = Some(0u16);
    while let Some(device) = from.and_then(|from| resource.device_from(from)) {
        from = device.vnr.checked_add(1);
        // Also one that is being detached: what it acknowledged is confirmed, and marked by nobody. (8.4 leaves it out.)
        let mut gone = false;
        let attached = |disk| {
            gone = disk == DiskState::Failed;
            gone || usable(disk)
        };
        let Some(local) = Device::get_local_if(&device, attached) else {
            continue;
        };
        let abandoned = params::with_volume(&device, |volume| volume.flags.has(VolFlag::Abandoned));
        let result = match local.disk().filter(|_| abandoned != Some(true)) {
            Some(disk) if disk.data.limits().write_cache => disk.data.flush(),
            Some(_) | None => Ok(()),
        };
        match result {
            Ok(()) => {}
            Err(_) if gone => {}
            Err(error) if error == EOPNOTSUPP => {
                choose_order(&mut resource.shared.lock(), Reason::CannotFlush);
            }
            Err(_) => {
                pr_err!("{}: the disk's cache could not be flushed\n", Tag(&device));
                local::io_error(&device, Failure::Write);
                flushed = false;
            }
        }
    }
    flushed
}

/// Chooses the method that keeps the peer's epochs apart.
pub(crate) fn choose_order(shared: &mut Shared, why: Reason) {
    let disks = shared
        .volumes
        .iter()
        .filter(|volume| volume.local.is_some());
    let confs = disks.filter_map(|volume| volume.disk_conf.as_ref());
    let order = shared.conn.write_order.derive(why, confs);
    let before = core::mem::replace(&mut shared.conn.write_order, order);
    if before != order || order == WriteOrder::Flush {
        if let Some(volume) = shared.volumes.first() {
            pr_info!(
                "{}: Method to ensure write ordering: {}\n",
                volume.device.resource.name(),
                order.name()
            );
        }
    }
}

/// P_OUT_OF_SYNC: the peer wrote something that it does not send.
pub(crate) fn out_of_sync(packet: &Arrived<'_>) -> Result {
    let desc = BlockDesc::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(packet, desc.sector, desc.blksize, MAX_RANGE)?;
    // What is being written there is older, and its end must not clear the mark.
    let older = |owner: Owner, _: &Range| matches!(owner, Owner::Peer(DISK | ANSWERED));
    wait_until(packet.resource, |shared| {
        shared.transfer.writes.find_overlap(&range, older).is_none()
    })?;
    device
        .bitmap
        .set_out_of_sync(range.sector, u64::from(range.sectors));
    let target = state::is_sync_target;
    if device.state().is_some_and(|state| target(state.conn)) {
        // As for all bits of a resync: see `handshake::sync_uuid`.
        crate::after::write_bitmap(&device, "resync target");
    }
    Ok(())
}

/// P_UNPLUG_REMOTE: a hint that we do not need; bios are never held back.
pub(crate) fn unplug(_: &Arrived<'_>) -> Result {
    Ok(())
}

/// The block id of everything that belongs to a resync.
pub(crate) const SYNCER: u64 = ID_SYNCER;

/// The connection is gone, and the other threads with it: waits for what our disks still do for the peer, and
/// forgets what the peer will not be told any more.
pub(crate) fn connection_lost(resource: &Resource) {
    verify::forget_put_off(resource);
    resource.state_wait.wait(|| {
        let mut shared = resource.shared.lock();
        shared.peer.waiting = true;
        shared.peer.in_flight == 0
    });
    peer_read::forget_all(resource);
    let mut shared = resource.shared.lock();
    shared.peer.acks.clear();
    shared.peer.incoming = Incoming::default();
    for volume in shared.volumes.iter_mut() {
        volume.stat.unacked = 0;
        volume.packet_seq = 0;
        volume.peer_seq = 0;
    }
    let waited = core::mem::take(&mut shared.transfer.waiting);
    drop(shared);
    if waited {
        resource.state_wait.wake_all();
    }
}
