// SPDX-License-Identifier: GPL-2.0-only

//! Resync: making the blocks equal that the bitmap names.
//!
//! ```text
//!  target's sender: tick --> P_RS_DATA_REQUEST --> source's receiver --> its disk --> source's sender
//!  target's receiver <------------------------- P_RS_DATA_REPLY <------------------------'
//!     '--> its disk --> bit cleared, P_RS_WRITE_ACK --> source: bit cleared
//! ```
//!
//! Which blocks, how fast and what the end leads to, the core decides (`core::resync`). Application writes and the
//! resync keep off each other by intervals in `transfer.writes`: a block that is asked for, or that is read for the
//! peer, is not written by our application until that has come to an end; a block that our application writes is not
//! asked for and not read. So an old block can never overtake a newer one.

use crate::{
    acks,
    bitmap::SECTORS_PER_BIT,
    change::{self, How},
    checksums,
    conflict::{is_ahead_of_peer, leave, occupy, overlapping},
    congestion,
    deallocate::{self, Want},
    device::Device,
    digests::{self, Digest, Use},
    handlers, metadata,
    peer_data::{
        self, admit, drain, locate, wait_until, PeerWrite, AWAITED, MAX_RANGE, REQUESTED, SERVING,
        SYNCER,
    },
    peer_read::{self, count_unacked, Purpose, Reply},
    prelude::*,
    receiver::Arrived,
    requests,
    resource::{Resource, Shared, VolumeShared},
    tag::{Shown, Tag},
    throttle, verify,
};
use drbd_core::{
    epoch::Ticket,
    interval::{NodeId, Owner, Range},
    peer_request::Origin,
    resync::{self as rules, AfterHelper, Limits, Rates, UuidUpdate, TURN_MS},
    state::{self, Change},
    trace::{ending, Ending, Kind},
    types::{ConnState, DiskState, State, StateRv},
    wire::{
        BlockAck, BlockDesc, BlockRequest, Command, DataPacket, Features, Packet, MAX_DATA_SIZE,
    },
};
use kernel_ext::{
    block::{Flags, Status},
    time,
};

/// Requests that can be under way at once.
pub(crate) const MOST_REQUESTS: u32 = 1024;

/// Both copies of these sectors are equal now.
pub(crate) fn set_in_sync(volume: &mut VolumeShared, sector: u64, sectors: u64) {
    let capacity = volume.capacity;
    volume.device.bitmap.set_in_sync(sector, sectors, capacity);
    let left = volume
        .device
        .bitmap
        .weight()
        .saturating_sub(volume.resync.failed);
    volume.resync.advance(left, time::now_ms());
}

/// Both copies of these blocks were equal before the resync.
pub(crate) fn set_equal(volume: &mut VolumeShared, range: &Range) {
    let sectors = u64::from(range.sectors);
    let bits = sectors.div_ceil(SECTORS_PER_BIT);
    volume.resync.equal = volume.resync.equal.saturating_add(bits);
    set_in_sync(volume, range.sector, sectors);
}

/// These sectors could not be resynced.
pub(crate) fn count_failed(volume: &mut VolumeShared, sectors: u64) {
    let bits = sectors.div_ceil(SECTORS_PER_BIT);
    volume.resync.failed = volume.resync.failed.saturating_add(bits);
}

fn is_target(conn: ConnState) -> bool {
    matches!(conn, ConnState::SyncTarget | ConnState::PausedSyncT)
}

/// Whether nothing is left that could still be resynced.
fn is_done(volume: &VolumeShared) -> bool {
    volume.device.bitmap.weight() <= volume.resync.failed && volume.stat.resync_pending == 0
}

/// Whether a source has no bits left, and has heard before that its target has none.
fn is_done_as_source(volume: &VolumeShared) -> bool {
    let resync = &volume.resync;
    state::is_sync_source(volume.state.conn)
        && resync.target_has_all
        && volume.device.bitmap.weight() <= resync.failed
}

/// A turn of a resync: ends what is done; as the target asks for more. The sender's thread; may sleep.
///
/// # Errors
///
/// Those of the network.
pub(crate) fn tick(resource: &Arc<Resource>) -> Result {
    let mut from = Some(0u16);
    while let Some(device) = from.and_then(|from| resource.device_from(from)) {
        from = device.vnr.checked_add(1);
        let (as_target, as_source) = {
            let shared = resource.shared.lock();
            let volume = shared.vol(device.vnr);
            (
                volume.is_some_and(|volume| is_target(volume.state.conn) && is_done(volume)),
                volume.is_some_and(is_done_as_source),
            )
        };
        if as_target {
            end_as_target(&device)?;
        } else if as_source {
            finished(&device);
        } else {
            request_more(&device)?;
            verify::tick(&device)?;
            congestion::tick(&device);
        }
    }
    Ok(())
}

/// The source must have cleared its bits before it hears that we are done: that follows on another stream.
fn end_as_target(device: &Arc<Device>) -> Result {
    let resource = &device.resource;
    wait_until(resource, |shared| shared.peer.acks.is_idle())?;
    if resource.ping_peer() {
        finished(device);
    }
    Ok(())
}

fn request_more(device: &Arc<Device>) -> Result {
    let resource = &device.resource;
    let Some(blocks) = begin_turn(device, ConnState::SyncTarget) else {
        return Ok(());
    };
    let mut budget = blocks;
    while budget > 0 {
        let (next, by_checksums) = {
            let mut shared = resource.shared.lock();
            let next = pick(&mut shared, device.vnr, budget);
            let volume = shared.vol(device.vnr);
            (
                next,
                volume.is_some_and(|volume| volume.resync.by_checksums),
            )
        };
        let Some((range, thin)) = next else { break };
        if by_checksums && checksums::read(device, range)? {
            budget = budget.saturating_sub(range.sectors.div_ceil(SECTORS_PER_BIT as u32));
            continue;
        }
        let blocks = range.sectors.div_ceil(SECTORS_PER_BIT as u32);
        budget = budget.saturating_sub(blocks);
        let request = BlockRequest {
            sector: range.sector,
            block_id: SYNCER,
            blksize: range.bytes(),
        };
        let command = if thin {
            Command::RsThinReq
        } else {
            Command::RsDataRequest
        };
        resource
            .connection
            .data
            .send(range.volume, command, &request)?;
    }
    Ok(())
}

/// How many blocks to ask for in this turn, if it is time for one and the volume is in state `asking`.
pub(crate) fn begin_turn(device: &Device, asking: ConnState) -> Option<u32> {
    let now_ms = time::now_ms();
    let mut shared = device.resource.shared.lock();
    let max_buffers = shared
        .conn
        .net_conf
        .as_ref()
        .map_or(0, |conf| conf.max_buffers);
    let volume = shared.vol_mut(device.vnr)?;
    let rates = Rates::from(volume.disk_conf.as_ref()?);
    let runs = volume.state.conn == asking && volume.has_disk();
    let requests = &mut volume.requests;
    if !runs || now_ms.saturating_sub(requests.last_turn_ms) < TURN_MS {
        return None;
    }
    requests.last_turn_ms = now_ms;
    let arrived = core::mem::take(&mut requests.arrived);
    let blocks = requests.controller.tick(arrived, &rates, max_buffers);
    volume.resync.want_kib = requests.controller.rate_kib();
    Some(blocks)
}

/// Chooses the next request and puts its interval in; says whether zeroes may be answered by a word.
fn pick(shared: &mut Shared, vnr: u16, budget: u32) -> Option<(Range, bool)> {
    let Shared {
        volumes,
        transfer,
        conn,
        ..
    } = shared;
    let volume = volumes.iter_mut().find(|volume| volume.vnr == vnr)?;
    if volume.state.conn != ConnState::SyncTarget || volume.stat.resync_pending >= MOST_REQUESTS {
        return None;
    }
    if throttle::yields(volume) {
        return None;
    }
    let bitmap = &volume.device.bitmap;
    let thin_resync = Features(conn.agreed_features).contains(Features::THIN_RESYNC);
    let granularity = volume
        .disk_conf
        .as_ref()
        .map_or(0, |conf| conf.rs_discard_granularity);
    let limits = Limits {
        max_bytes: volume
            .local_max_bio_size
            .min(volume.peer_max_bio_size)
            .clamp(4096, MAX_DATA_SIZE),
        discard_granularity: if thin_resync { granularity } else { 0 },
        capacity_sectors: volume.capacity,
        budget_blocks: budget,
    };
    let mut cursor = volume.requests.cursor;
    let (request, range) = loop {
        let Some(bit) = bitmap.find_set(cursor) else {
            // Bits that were set behind the cursor meanwhile get another round.
            if volume.stat.resync_pending == 0 && volume.resync.failed == 0 {
                volume.requests.cursor = 0;
            }
            return None;
        };
        let request = rules::next_request(bit, &limits, |bit| bitmap.any_set(bit, bit))?;
        let range = Range::new(vnr, request.sector, request.bytes);
        // What has come and is not on the disk yet is not asked for again. Each turn of the loop passes a write.
        if !requests::is_on_its_way(transfer, &range) {
            break (request, range);
        }
        cursor = request.next_bit();
    };
    if is_ahead_of_peer(transfer, &range) || requests::is_asked_for(transfer, &range) {
        // Its turn comes again.
        return None;
    }
    transfer.writes.insert(range, Owner::Peer(REQUESTED))?;
    volume.requests.cursor = request.next_bit();
    volume.requests.controller.requested(request.bits);
    volume.stat.resync_pending = volume.stat.resync_pending.saturating_add(1);
    Some((range, request.thin))
}

/// Blocks that arrive are not written: our disk is gone, or was when they were asked for.
fn turn_down(packet: &Arrived<'_>, range: &Range, requested: Option<NodeId>) -> Result {
    acks::send(packet.resource, Command::NegAck, range, SYNCER);
    let drained = drain(packet);
    if let Some(node) = requested {
        leave(packet.resource, node);
    }
    drained
}

/// P_RS_DATA_REPLY: blocks that we asked for.
pub(crate) fn data_reply(packet: &Arrived<'_>) -> Result {
    let head = DataPacket::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(
        packet,
        head.sector,
        digests::data_bytes(packet),
        MAX_DATA_SIZE,
    )?;
    if head.block_id != SYNCER || range.sectors == 0 {
        return Err(EPROTO);
    }
    let requested = requests::answered(packet, &device, &range)?;
    let (Some(requested), Some(local)) = (requested, Device::get_local(&device)) else {
        return turn_down(packet, &range, requested);
    };
    let pages = peer_data::receive_admitted(packet, &range, range.bytes())?;
    let node = occupy_admitted(packet.resource, &range, range.bytes())?;
    leave(packet.resource, requested);
    {
        let mut shared = packet.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(range.volume) {
            volume.stat.unacked = volume.stat.unacked.saturating_add(1);
            volume.stat.received = volume
                .stat
                .received
                .saturating_add(u64::from(range.sectors));
        }
    }
    let write = PeerWrite {
        device,
        pages: Some(pages),
        range,
        block_id: SYNCER,
        origin: Origin::Resync,
        node: Some(node),
        epoch: Ticket::default(),
        hold: None,
    };
    peer_data::submit_write(write, &local, Flags::default());
    Ok(())
}

fn occupy_admitted(resource: &Resource, range: &Range, bytes: u32) -> Result<NodeId> {
    occupy(resource, range).inspect_err(|_| peer_data::release(&mut resource.shared.lock(), bytes))
}

/// P_RS_DEALLOCATED: blocks that we asked for and that are zero.
pub(crate) fn deallocated(packet: &Arrived<'_>) -> Result {
    let desc = BlockDesc::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(packet, desc.sector, desc.blksize, MAX_RANGE)?;
    let requested = requests::answered(packet, &device, &range)?;
    let (Some(requested), Some(local)) = (requested, Device::get_local(&device)) else {
        return turn_down(packet, &range, requested);
    };
    admit(packet.resource, 0)?;
    let node = occupy_admitted(packet.resource, &range, 0)?;
    leave(packet.resource, requested);
    count_unacked(packet.resource, range.volume);
    let result = match local.disk() {
        Some(disk) => deallocate::carry_out(&device, disk, &range, Want::Discarded),
        None => Err(ENODEV),
    };
    let status = if result.is_ok() {
        Status::OK
    } else {
        Status::IO_ERROR
    };
    let origin = Origin::Resync;
    PeerWrite {
        device,
        pages: None,
        range,
        block_id: SYNCER,
        origin,
        node: Some(node),
        epoch: Ticket::default(),
        hold: None,
    }
    .ended(status);
    Ok(())
}

/// The peer could not read (target) or write (source) blocks, or does not want to go on (`failed` is false).
pub(crate) fn refused(packet: &Arrived<'_>, ack: &BlockAck, failed: bool) -> Result {
    let (device, range) = locate(packet, ack.sector, ack.blksize, MAX_RANGE)?;
    if packet.command == Command::NegAck {
        source_answered(packet, &range);
    } else {
        let Some(requested) = requests::answered(packet, &device, &range)? else {
            return Ok(());
        };
        leave(packet.resource, requested);
    }
    if failed {
        let mut shared = packet.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(range.volume) {
            count_failed(volume, u64::from(range.sectors));
            verify::not_compared(volume, &range);
        }
    }
    packet.resource.connection.wake_sender();
    Ok(())
}

/// The target has one of our answers less in its hands.
fn source_answered(packet: &Arrived<'_>, range: &Range) {
    {
        let mut shared = packet.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(range.volume) {
            volume.stat.resync_pending = volume.stat.resync_pending.saturating_sub(1);
        }
    }
    congestion::confirmed(packet.resource, range);
}

/// The target has written blocks that we sent.
pub(crate) fn written_by_peer(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    let (_, range) = locate(packet, ack.sector, ack.blksize, MAX_RANGE)?;
    {
        let mut shared = packet.resource.shared.lock();
        let volume = shared.vol_mut(range.volume);
        if let Some(volume) = volume.filter(|volume| rules::may_clear(volume.state.conn)) {
            set_in_sync(volume, range.sector, u64::from(range.sectors));
        }
    }
    source_answered(packet, &range);
    Ok(())
}

/// P_RS_IS_IN_SYNC: the source says that blocks which we asked for are equal already.
pub(crate) fn is_in_sync(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    let (device, range) = locate(packet, ack.sector, ack.blksize, MAX_RANGE)?;
    let Some(requested) = requests::answered(packet, &device, &range)? else {
        return Ok(());
    };
    {
        let mut shared = packet.resource.shared.lock();
        let volume = shared.vol_mut(range.volume);
        // Behind: a mark may have come on the other stream. The block is asked for again.
        if let Some(volume) = volume.filter(|volume| volume.state.conn != ConnState::Behind) {
            set_equal(volume, &range);
        }
    }
    leave(packet.resource, requested);
    packet.resource.connection.wake_sender();
    Ok(())
}

/// P_RS_DATA_REQUEST, P_RS_THIN_REQ, P_CSUM_RS_REQUEST: the target asks for blocks.
pub(crate) fn data_request(packet: &Arrived<'_>) -> Result {
    let request = BlockRequest::decode(packet.fixed).ok_or(EPROTO)?;
    let (device, range) = locate(packet, request.sector, request.blksize, MAX_DATA_SIZE)?;
    if range.sectors == 0 {
        return Err(EPROTO);
    }
    let purpose = match packet.command {
        Command::RsThinReq => Purpose::ThinResync,
        Command::CsumRsRequest => Purpose::ChecksumResync,
        _ => Purpose::Resync,
    };
    let digest = match purpose {
        Purpose::ChecksumResync => Some(receive_digest(packet)?),
        _ => None,
    };
    let up_to_date = |disk| disk == DiskState::UpToDate;
    let Some(local) = Device::get_local_if(&device, up_to_date) else {
        pr_warn!(
            "{}: cannot serve the resync: no good local data\n",
            Tag(&device)
        );
        acks::send(
            packet.resource,
            Command::NegRsDreply,
            &range,
            request.block_id,
        );
        return Ok(());
    };
    throttle::before_serving(packet);
    admit(packet.resource, range.bytes())?;
    let node = match serve(packet.resource, &range) {
        Ok(node) => node,
        Err(error) => {
            peer_data::release(&mut packet.resource.shared.lock(), range.bytes());
            return Err(error);
        }
    };
    count_unacked(packet.resource, range.volume);
    let wanted = peer_read::Wanted {
        range,
        block_id: request.block_id,
        purpose,
        node,
        digest,
        resync_ms: began_ms(packet.resource, range.volume),
    };
    peer_read::submit_read(device, &local, wanted);
    Ok(())
}

/// The payload of a packet that is nothing but a digest.
pub(crate) fn receive_digest(packet: &Arrived<'_>) -> Result<Digest> {
    let length = packet.payload as usize;
    Digest::fill(length, |bytes| packet.stream.recv_exact(bytes))
}

/// Sends a packet about a block with its digest. May sleep.
///
/// # Errors
///
/// Those of the network.
pub(crate) fn send_digest(
    resource: &Resource,
    command: Command,
    range: &Range,
    digest: &Digest,
) -> Result {
    let request = BlockRequest {
        sector: range.sector,
        block_id: SYNCER,
        blksize: range.bytes(),
    };
    let bytes = digest.as_bytes();
    let length = u32::try_from(bytes.len()).map_err(|_| EMSGSIZE)?;
    let link = &resource.connection.data;
    link.send_with(range.volume, command, &request, length, |payload| {
        payload.bytes(bytes, false)
    })
}

/// Whether what we read has the digest that the peer sent. May sleep.
///
/// # Errors
///
/// Those of finding the algorithm.
pub(crate) fn has_digest(resource: &Resource, what: Use, reply: &Reply) -> Result<bool> {
    let Some(theirs) = reply.digest.as_ref() else {
        return Ok(false);
    };
    Ok(digests::of_pages(resource, what, &reply.pages)? == *theirs)
}

/// Waits until our application does not write these blocks, and keeps it off them.
fn serve(resource: &Resource, range: &Range) -> Result<Option<NodeId>> {
    let mut node = None;
    wait_until(resource, |shared| {
        if overlapping(&shared.transfer, range).is_some() {
            return false;
        }
        node = shared.transfer.writes.insert(*range, Owner::Peer(SERVING));
        node.is_some()
    })?;
    Ok(node)
}

/// Answers a read for the peer's resync. The sender's thread; may sleep.
pub(crate) fn send_reply(resource: &Resource, reply: &mut Reply) -> Result {
    if reply.resync_ms != began_ms(resource, reply.range.volume) {
        // The target's disk went and came again: it asks anew for what it needs.
        return Ok(());
    }
    let sendable = reply.ok && is_wanted(resource, &reply.range);
    if sendable && checksums::is_equal(resource, reply)? {
        reply.spared = true;
        return Ok(());
    }
    let (ahead, peer_has_disk) = {
        let mut shared = resource.shared.lock();
        let Some(volume) = shared.vol_mut(reply.range.volume) else {
            return Ok(());
        };
        let ahead = volume.state.conn == ConnState::Ahead;
        let peer_has_disk = !state::has_no_data(volume.state.pdsk);
        let goes = reply.ok && peer_has_disk && !ahead;
        if goes {
            volume.stat.resync_pending = volume.stat.resync_pending.saturating_add(1);
        }
        if !reply.ok && !ahead {
            count_failed(volume, u64::from(reply.range.sectors));
        }
        // What our application writes from here on is sent by this thread, after the answer.
        if let Some(node) = reply.node.filter(|_| goes) {
            shared.transfer.writes.set_owner(node, Owner::Peer(AWAITED));
            reply.node = None;
        }
        (ahead, peer_has_disk)
    };
    let reply = &*reply;
    let range = &reply.range;
    if ahead {
        acks::send(resource, Command::RsCancel, range, reply.block_id);
        return Ok(());
    }
    if !reply.ok {
        acks::send(resource, Command::NegRsDreply, range, reply.block_id);
        return Ok(());
    }
    if !peer_has_disk {
        return Ok(());
    }
    if reply.purpose == Purpose::ThinResync && is_zero(reply) {
        let desc = BlockDesc {
            sector: range.sector,
            blksize: range.bytes(),
        };
        return resource
            .connection
            .data
            .send(range.volume, Command::RsDeallocated, &desc);
    }
    peer_read::send_data(resource, Command::RsDataReply, reply, SYNCER)
}

/// When the volume's resync began, which tells one resync from another.
fn began_ms(resource: &Resource, vnr: u16) -> u64 {
    let shared = resource.shared.lock();
    shared.vol(vnr).map_or(0, |volume| volume.resync.start_ms)
}

/// Whether the peer's disk is there to be resynced.
fn is_wanted(resource: &Resource, range: &Range) -> bool {
    let shared = resource.shared.lock();
    shared.vol(range.volume).is_some_and(|volume| {
        let ahead = volume.state.conn == ConnState::Ahead;
        !ahead && !state::has_no_data(volume.state.pdsk)
    })
}

fn is_zero(reply: &Reply) -> bool {
    let zero = |part: &[u8]| {
        if part.iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(())
        }
    };
    reply.pages.for_each(zero).is_ok()
}

/// A resync has just begun: requests start from the first block.
pub(crate) fn started(device: &Device) {
    let mut shared = device.resource.shared.lock();
    if let Some(volume) = shared.vol_mut(device.vnr) {
        volume.requests.reset();
        volume.stat.resync_pending = 0;
    }
}

/// The change that leads from one state to another.
fn difference(old: &State, new: &State) -> Change {
    Change {
        conn: (old.conn != new.conn).then_some(new.conn),
        disk: (old.disk != new.disk).then_some(new.disk),
        pdsk: (old.pdsk != new.pdsk).then_some(new.pdsk),
        aftr_isp: (old.aftr_isp != new.aftr_isp).then_some(new.aftr_isp),
        ..Change::NONE
    }
}

/// A resync (or verify) came to its end. May sleep.
pub(crate) fn finished(device: &Arc<Device>) {
    let resource = &device.resource;
    let end = {
        let mut shared = resource.shared.lock();
        end(&mut shared, device)
    };
    let Some(end) = end else { return };
    metadata::sync(device);
    let helper = match end.helper {
        Some(AfterHelper::AfterResyncTarget) => "after-resync-target",
        Some(AfterHelper::OutOfSync) => "out-of-sync",
        None => "",
    };
    if !helper.is_empty() {
        handlers::call(resource, Some(device), helper);
    }
    if end.unfence {
        handlers::call(resource, None, handlers::UNFENCE_PEER);
    }
}

/// What came to its end.
struct End {
    helper: Option<AfterHelper>,
    unfence: bool,
}

fn end(shared: &mut Shared, device: &Device) -> Option<End> {
    let volume = shared.vol_mut(device.vnr)?;
    let before = volume.state;
    let failed = volume.resync.failed;
    let question = Ending {
        own: before,
        failed,
        out_of_sync: device.bitmap.weight(),
    };
    let end = question.decide();
    let trace = &device.resource.trace;
    trace.note(device.vnr, Kind::End, &question.pack(), ending(&end));
    let end = end?;
    let verified = state::is_verify(before.conn);
    if verified {
        verify::report_last(volume);
    }
    report(volume, verified);
    match end.uuids {
        UuidUpdate::Keep => {}
        UuidUpdate::ClearBitmap | UuidUpdate::TakeFromSource => update_uuids(volume, end.uuids),
    }
    let change = difference(&before, &end.new);
    let result = change::change_locked(shared, device.vnr, &change, How::SOFT.verbose());
    if result != StateRv::Success {
        let tag = Tag(device);
        pr_err!(
            "{}: the end of the resync is refused: {}\n",
            tag,
            result.text()
        );
    }
    let volume = shared.vol_mut(device.vnr)?;
    volume.resync.total = 0;
    volume.resync.failed = 0;
    volume.resync.paused_ms = 0;
    let fencing = volume.disk_conf.as_ref().map(|conf| conf.fencing);
    let all = state::combined(shared.volumes.iter().map(|volume| &volume.state));
    Some(End {
        helper: end.helper,
        unfence: rules::is_unfence_due(before.conn, fencing.unwrap_or_default(), &all),
    })
}

fn report(volume: &VolumeShared, verify: bool) {
    let resync = &volume.resync;
    let paused = resync.paused_ms / 1000;
    let ran = time::now_ms()
        .saturating_sub(resync.start_ms)
        .saturating_sub(resync.paused_ms)
        / 1000;
    let ran = ran.max(1);
    let todo = if verify { resync.verify.left() } else { 0 };
    let done = resync.total.saturating_sub(todo);
    pr_info!(
        "{}: {} done (total {} sec; paused {} sec; {} K/sec)\n",
        Tag(&volume.device),
        if verify { "Online verify" } else { "Resync" },
        ran.saturating_add(paused),
        paused,
        done.saturating_mul(4) / ran.max(1)
    );
    let weight = volume.device.bitmap.weight();
    if verify && weight > 0 {
        pr_alert!(
            "{}: Online verify found {} 4k blocks out of sync!\n",
            Tag(&volume.device),
            weight
        );
    }
    if !verify && (resync.by_checksums || resync.equal > 0) {
        pr_info!(
            "{}: {} % had equal checksums, eliminated: {}K; transferred {}K total {}K\n",
            Tag(&volume.device),
            resync.equal.saturating_mul(100) / resync.total.max(1),
            resync.equal.saturating_mul(4),
            resync.total.saturating_sub(resync.equal).saturating_mul(4),
            resync.total.saturating_mul(4)
        );
    }
    if resync.failed > 0 {
        pr_info!(
            "{}:             {} failed blocks\n",
            Tag(&volume.device),
            resync.failed
        );
    }
}

/// Both sides have the same generation again.
fn update_uuids(volume: &mut VolumeShared, update: UuidUpdate) {
    let role = volume.state.role;
    let (Some(md), peer) = (volume.md.as_mut(), volume.peer_uuids.as_mut()) else {
        return;
    };
    match (update, &peer) {
        (UuidUpdate::TakeFromSource, Some(peer)) => md.uuids.finish_as_target(&peer.uuids, role),
        (UuidUpdate::TakeFromSource, None) => {
            pr_err!("{}: the peer's UUIDs are not known\n", Tag(&volume.device));
        }
        _ => {
            md.uuids.clear_bitmap();
        }
    }
    if let Some(peer) = peer {
        peer.uuids = md.uuids;
    }
    volume.md_dirty = true;
    pr_info!(
        "{}: updated UUIDs {}\n",
        Tag(&volume.device),
        Shown(md.uuids)
    );
}
