// SPDX-License-Identifier: GPL-2.0-only

//! Online verify: comparing the two copies by digests while they are in use.
//!
//! ```text
//!  VerifyS' sender: turn --> P_OV_REQUEST --> VerifyT's receiver --> its disk --> its sender
//!  VerifyS' receiver <----------------- P_OV_REPLY (digest) <-----------------------'
//!     '--> its disk --> its sender: equal? --> P_OV_RESULT --> both count
//! ```
//!
//! From the request until the result a block's interval is in the set of writes on both sides, so that no application
//! writes it between the two reads; and each side waits for writes that are under way to its own disk before it reads (for
//! those of its application the worker does).
//! Where the verify is, the core knows (`core::resync::Verify`).

use crate::{
    acks,
    conflict::{is_ahead_of_peer, leave},
    device::{Device, LocalRef},
    digests::{self, Digest, Use},
    peer_data::{self, admit, drain, locate, wait_until, DISK, REQUESTED, SERVING, SYNCER},
    peer_read::{self, count_unacked, Purpose, Reply},
    prelude::*,
    receiver::Arrived,
    requests,
    resource::{Resource, Shared, VolumeShared},
    resync,
    tag::Tag,
    throttle,
};
use drbd_core::{
    interval::{NodeId, Owner, Range},
    resync::Differing,
    types::{ConnState, DiskState},
    wire::{BlockAck, BlockRequest, Command, Packet, ID_IN_SYNC, ID_OUT_OF_SYNC, MAX_DATA_SIZE},
};
use kernel_ext::time;

/// A turn of either side: ends what is through; the driving side asks for more. The sender's thread; may sleep.
///
/// # Errors
///
/// Those of the network.
pub(crate) fn tick(device: &Arc<Device>) -> Result {
    let resource = &device.resource;
    let through = {
        let shared = resource.shared.lock();
        let version = shared.conn.agreed_version;
        shared.vol(device.vnr).and_then(|volume| {
            let drives = match volume.state.conn {
                ConnState::VerifyS => true,
                ConnState::VerifyT => false,
                _ => return None,
            };
            let verify = &volume.resync.verify;
            Some(verify.is_through(drives, version, volume.capacity))
        })
    };
    match through {
        None => Ok(()),
        Some(false) => request_more(device),
        Some(true) => end(device),
    }
}

/// The peer must have heard the last result before it hears that we are done.
fn end(device: &Arc<Device>) -> Result {
    let resource = &device.resource;
    wait_until(resource, |shared| shared.peer.acks.is_idle())?;
    if resource.ping_peer() {
        resync::finished(device);
    }
    Ok(())
}

fn request_more(device: &Arc<Device>) -> Result {
    let resource = &device.resource;
    let Some(blocks) = resync::begin_turn(device, ConnState::VerifyS) else {
        return Ok(());
    };
    for _ in 0..blocks {
        let next = pick(&mut resource.shared.lock(), device.vnr);
        let Some(range) = next else { break };
        let request = BlockRequest {
            sector: range.sector,
            block_id: SYNCER,
            blksize: range.bytes(),
        };
        let link = &resource.connection.data;
        link.send(range.volume, Command::OvRequest, &request)?;
    }
    Ok(())
}

/// Chooses the next block and puts its interval in.
fn pick(shared: &mut Shared, vnr: u16) -> Option<Range> {
    let Shared {
        volumes,
        transfer,
        conn,
        ..
    } = shared;
    let volume = volumes.iter_mut().find(|volume| volume.vnr == vnr)?;
    let full = volume.stat.resync_pending >= resync::MOST_REQUESTS;
    if volume.state.conn != ConnState::VerifyS || full || throttle::yields(volume) {
        return None;
    }
    let verify = &volume.resync.verify;
    let first = verify.is_at_start();
    let request = verify.next(first, conn.agreed_version, volume.capacity)?;
    let range = Range::new(vnr, request.sector, request.bytes);
    if is_ahead_of_peer(transfer, &range) {
        // Its turn comes again.
        return None;
    }
    transfer.writes.insert(range, Owner::Peer(REQUESTED))?;
    volume.resync.verify.asked(&request);
    volume.requests.note_requested(1);
    volume.stat.resync_pending = volume.stat.resync_pending.saturating_add(1);
    Some(range)
}

/// A block that the peer wants to compare, and that our application writes. The receiver does not wait for that: where
/// both nodes are primary, what the write waits for may come behind the request.
pub(crate) struct PutOff {
    range: Range,
    block_id: u64,
}

/// What becomes of a request.
enum Turn {
    /// Our application is kept off the block.
    Now(NodeId),
    /// The worker sees to it.
    Later,
}

/// Waits until no write of the peer's is on its way to these blocks, and keeps our application off them; or puts the
/// request off, while our application writes them.
fn serve(resource: &Resource, range: &Range, block_id: u64) -> Result<Turn> {
    let mut turn = None;
    wait_until(resource, |shared| {
        turn = if is_ahead_of_peer(&shared.transfer, range) {
            let range = *range;
            let put_off = shared.peer.put_off.push(PutOff { range, block_id });
            let later = put_off.is_ok().then_some(Turn::Later);
            // The worker is woken by what ends.
            shared.transfer.waiting |= later.is_some();
            later
        } else {
            keep_off(shared, range).map(Turn::Now)
        };
        turn.is_some()
    })?;
    turn.ok_or(ENOTCONN)
}

/// Nobody writes these blocks.
fn is_free(shared: &Shared, range: &Range) -> bool {
    !is_ahead_of_peer(&shared.transfer, range) && !is_being_written(shared, range)
}

/// Keeps our application off blocks that nobody writes.
fn keep_off(shared: &mut Shared, range: &Range) -> Option<NodeId> {
    if !is_free(shared, range) {
        return None;
    }
    let transfer = &mut shared.transfer;
    transfer.writes.insert(*range, Owner::Peer(SERVING))
}

/// Whether something that was put off may go on. If not, the worker is woken by what ends.
pub(crate) fn is_put_off_ready(shared: &mut Shared) -> bool {
    if shared.peer.put_off.is_empty() {
        return false;
    }
    let free = |put_off: &PutOff| is_free(shared, &put_off.range);
    let ready = shared.peer.put_off.iter().any(free);
    if !ready {
        shared.transfer.waiting = true;
        shared.peer.request_wake();
    }
    ready
}

fn take_put_off(shared: &mut Shared) -> Option<(PutOff, NodeId)> {
    for _ in 0..shared.peer.put_off.len() {
        let put_off = shared.peer.put_off.pop()?;
        if let Some(node) = keep_off(shared, &put_off.range) {
            return Some((put_off, node));
        }
        // There was room a moment ago.
        shared.peer.put_off.push(put_off).ok()?;
    }
    None
}

/// Goes on with one request that was put off; tells whether there was one. The worker's thread; may sleep.
pub(crate) fn serve_put_off(resource: &Resource) -> bool {
    let next = take_put_off(&mut resource.shared.lock());
    let Some((PutOff { range, block_id }, node)) = next else {
        return false;
    };
    let up_to_date = |disk| disk == DiskState::UpToDate;
    let device = resource.device(range.volume);
    let local = device
        .as_ref()
        .and_then(|device| Device::get_local_if(device, up_to_date));
    if let (Some(device), Some(local)) = (device, local) {
        read(resource, device, &local, range, block_id, node);
        return true;
    }
    leave(resource, node);
    peer_data::release(&mut resource.shared.lock(), range.bytes());
    acks::send(resource, Command::NegRsDreply, &range, block_id);
    true
}

/// The connection is gone: nobody waits for these any more.
pub(crate) fn forget_put_off(resource: &Resource) {
    let mut shared = resource.shared.lock();
    while let Some(PutOff { range, .. }) = shared.peer.put_off.pop() {
        peer_data::release(&mut shared, range.bytes());
    }
}

/// Reads what the peer wants to compare.
fn read(
    resource: &Resource,
    device: Arc<Device>,
    local: &LocalRef,
    range: Range,
    block_id: u64,
    node: NodeId,
) {
    count_unacked(resource, range.volume);
    let read = peer_read::Wanted {
        range,
        block_id,
        purpose: Purpose::VerifyRequest,
        node: Some(node),
        digest: None,
        resync_ms: 0,
    };
    peer_read::submit_read(device, local, read);
}

/// Whether a write of the peer's to these blocks is on its way to our disk.
fn is_being_written(shared: &Shared, range: &Range) -> bool {
    let disk = |owner: Owner, _: &Range| owner == Owner::Peer(DISK);
    shared.transfer.writes.find_overlap(range, disk).is_some()
}

/// P_OV_REQUEST: the driving side wants a digest.
pub(crate) fn request(packet: &Arrived<'_>) -> Result {
    let request = BlockRequest::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(packet, request.sector, request.blksize, MAX_DATA_SIZE)?;
    if range.sectors == 0 {
        return Err(EPROTO);
    }
    note_first(packet.resource, &device, range.sector);
    let up_to_date = |disk| disk == DiskState::UpToDate;
    let Some(local) = Device::get_local_if(&device, up_to_date) else {
        pr_warn!("{}: cannot verify: no good local data\n", Tag(&device));
        let resource = packet.resource;
        acks::send(resource, Command::NegRsDreply, &range, request.block_id);
        return Ok(());
    };
    throttle::before_serving(packet);
    admit(packet.resource, range.bytes())?;
    let turn = serve(packet.resource, &range, request.block_id).inspect_err(|_| {
        peer_data::release(&mut packet.resource.shared.lock(), range.bytes());
    })?;
    if let Turn::Now(node) = turn {
        read(
            packet.resource,
            device,
            &local,
            range,
            request.block_id,
            node,
        );
    }
    Ok(())
}

/// Where the driving side begins is what it asks for first.
fn note_first(resource: &Resource, device: &Device, sector: u64) {
    let mut shared = resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let capacity = volume.capacity;
    if volume.state.conn == ConnState::VerifyT
        && volume.resync.verify.requested_by_peer(sector, capacity)
    {
        let left = volume.resync.verify.left();
        volume.resync.begin(left, time::now_ms());
        pr_info!("{}: Online Verify start sector: {}\n", Tag(device), sector);
    }
}

/// Answers P_OV_REQUEST: the block was read. The sender's thread; may sleep.
///
/// # Errors
///
/// Those of the network, and of finding the algorithm.
pub(crate) fn send_digest(resource: &Resource, reply: &mut Reply) -> Result {
    let range = &reply.range;
    let digest = if reply.ok {
        digests::of_pages(resource, Use::Verify, &reply.pages)?
    } else {
        // Equal to nothing: what cannot be read is not in sync.
        Digest::fill(digests::length(resource, Use::Verify)?, |_| Ok(()))?
    };
    if let Some(volume) = resource.shared.lock().vol_mut(range.volume) {
        volume.stat.resync_pending = volume.stat.resync_pending.saturating_add(1);
    }
    // The interval stays until the result is there.
    reply.node = None;
    resync::send_digest(resource, Command::OvReply, range, &digest)
}

/// P_OV_REPLY: the digest that we asked for.
pub(crate) fn reply(packet: &Arrived<'_>) -> Result {
    let head = BlockRequest::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(packet, head.sector, head.blksize, MAX_DATA_SIZE)?;
    if range.sectors == 0 {
        return Err(EPROTO);
    }
    let requested = requests::answered(packet, &device, &range)?;
    let up_to_date = |disk| disk == DiskState::UpToDate;
    let local = Device::get_local_if(&device, up_to_date);
    let (Some(node), Some(local)) = (requested, local) else {
        // Our disk is gone, and the verify with it.
        acks::send(packet.resource, Command::OvResult, &range, ID_IN_SYNC);
        if let Some(node) = requested {
            leave(packet.resource, node);
        }
        return drain(packet);
    };
    let digest = resync::receive_digest(packet)?;
    admit(packet.resource, range.bytes())?;
    wait_until(packet.resource, |shared| !is_being_written(shared, &range))
        .inspect_err(|_| peer_data::release(&mut packet.resource.shared.lock(), range.bytes()))?;
    count_unacked(packet.resource, range.volume);
    let read = peer_read::Wanted {
        range,
        block_id: head.block_id,
        purpose: Purpose::VerifyReply,
        node: Some(node),
        digest: Some(digest),
        resync_ms: 0,
    };
    peer_read::submit_read(device, &local, read);
    Ok(())
}

/// Compares our block with the peer's digest, and tells the result. The sender's thread; may sleep.
///
/// # Errors
///
/// Those of finding the algorithm.
pub(crate) fn compare(resource: &Resource, reply: &Reply) -> Result {
    let equal = reply.ok && resync::has_digest(resource, Use::Verify, reply)?;
    let result = if equal { ID_IN_SYNC } else { ID_OUT_OF_SYNC };
    note(&mut resource.shared.lock(), &reply.range, equal);
    acks::send(resource, Command::OvResult, &reply.range, result);
    Ok(())
}

/// P_OV_RESULT: whether the block is equal, says the driving side.
pub(crate) fn result(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    let (_, range) = locate(packet, ack.sector, ack.blksize, MAX_DATA_SIZE)?;
    let served = {
        let mut shared = packet.resource.shared.lock();
        let same = |owner: Owner, other: &Range| owner == Owner::Peer(SERVING) && *other == range;
        let served = shared.transfer.writes.find_overlap(&range, same);
        if served.is_some() {
            if let Some(volume) = shared.vol_mut(range.volume) {
                volume.stat.resync_pending = volume.stat.resync_pending.saturating_sub(1);
            }
            note(&mut shared, &range, ack.block_id != ID_OUT_OF_SYNC);
        }
        served
    };
    let Some((node, _)) = served else {
        pr_err!(
            "{}/{}: OVResult for sector {} (+{}): nobody compares it\n",
            packet.resource.name(),
            packet.vnr,
            range.sector,
            range.sectors
        );
        return Err(EPROTO);
    };
    leave(packet.resource, node);
    Ok(())
}

/// The driving side got no digest: the block was not compared.
pub(crate) fn not_compared(volume: &mut VolumeShared, range: &Range) {
    count(volume, range, true);
}

fn note(shared: &mut Shared, range: &Range, equal: bool) {
    let Some(volume) = shared.vol_mut(range.volume) else {
        return;
    };
    let sectors = u64::from(range.sectors);
    if !equal {
        let bitmap = &volume.device.bitmap;
        bitmap.set_out_of_sync(range.sector, sectors);
    }
    count(volume, range, equal);
}

fn count(volume: &mut VolumeShared, range: &Range, equal: bool) {
    if !matches!(volume.state.conn, ConnState::VerifyS | ConnState::VerifyT) {
        return;
    }
    let sectors = u64::from(range.sectors);
    let run = volume.resync.verify.compared(range.sector, sectors, equal);
    report(volume, run);
    let left = volume.resync.verify.left();
    volume.resync.advance(left, time::now_ms());
}

/// The last differences, which no equal block has followed.
pub(crate) fn report_last(volume: &mut VolumeShared) {
    let run = volume.resync.verify.take_run();
    report(volume, run);
}

fn report(volume: &VolumeShared, run: Option<Differing>) {
    if let Some(run) = run {
        pr_info!(
            "{}: Out of sync: start={}, size={} (sectors)\n",
            Tag(&volume.device),
            run.sector,
            run.sectors
        );
    }
}
