// SPDX-License-Identifier: GPL-2.0-only

//! The peer's reads, carried out on our disk and answered by the sender; and the data of reads that the peer carries
//! out for our application.
//!
//! ```text
//!  receiver:  P_DATA_REQUEST, resync requests --> our disk --> queue of replies --> sender
//!  receiver:  P_DATA_REPLY --> the pages of the application's bio
//! ```

use crate::{
    acks, checksums,
    device::{Device, LocalRef},
    digests::{self, Digest},
    faults,
    link::Content,
    local::{self, Failure},
    peer_data::{admit, locate, release_pages, wait_until, DISK},
    prelude::*,
    receiver::Arrived,
    resource::{Resource, Shared},
    resync,
    tag::Tag,
    throttle, transfer, verify,
};
use drbd_core::{
    faults::Fault,
    interval::{NodeId, Owner, Range},
    request::{BlockId, Event, SlotId},
    types::DiskState,
    wire::{BlockRequest, Command, DataFlags, DataPacket, Packet, MAX_DATA_SIZE},
};
use kernel_ext::block::{Bio, EndIo, Flags, Op, OutBio, PageVec, Status};

/// What a read of the peer's wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The data, for its application.
    Application,
    /// The data, for its resync.
    Resync,
    /// As [`Purpose::Resync`]; zeroes need not be sent.
    ThinResync,
    /// As [`Purpose::Resync`]; what has the peer's digest need not be sent.
    ChecksumResync,
    /// Our own resync wants the digest of what we have.
    OwnChecksum,
    /// The digest, for its verify.
    VerifyRequest,
    /// Our verify compares it with the peer's digest.
    VerifyReply,
}

impl Purpose {
    /// Whether the peer waits for an answer.
    fn is_asked(self) -> bool {
        self != Self::OwnChecksum
    }

    /// Whether the answer is the data.
    fn sends_data(self) -> bool {
        match self {
            Self::Application | Self::Resync | Self::ThinResync | Self::ChecksumResync => true,
            Self::OwnChecksum | Self::VerifyRequest | Self::VerifyReply => false,
        }
    }
}

/// A read that is wanted of our disk.
pub(crate) struct Wanted {
    pub(crate) range: Range,
    pub(crate) block_id: u64,
    pub(crate) purpose: Purpose,
    /// Its interval in the set, if it leaves that when it is answered.
    pub(crate) node: Option<NodeId>,
    /// What the peer has, or says that it has.
    pub(crate) digest: Option<Digest>,
    /// When the resync began that wants it; 0 if none does.
    pub(crate) resync_ms: u64,
}

/// A read of the peer's that our disk has ended.
pub(crate) struct Reply {
    pub(crate) purpose: Purpose,
    pub(crate) range: Range,
    pub(crate) block_id: u64,
    pub(crate) pages: PageVec,
    pub(crate) node: Option<NodeId>,
    pub(crate) digest: Option<Digest>,
    pub(crate) resync_ms: u64,
    pub(crate) ok: bool,
    /// It was answered without the data.
    pub(crate) spared: bool,
}

/// A read on our disk on behalf of the peer; travels with the bio.
pub(crate) struct PeerRead {
    device: Arc<Device>,
    pages: PageVec,
    wanted: Wanted,
}

impl EndIo for PeerRead {
    fn end_io(self, status: Status) {
        let Self {
            device,
            pages,
            wanted:
                Wanted {
                    range,
                    block_id,
                    purpose,
                    node,
                    digest,
                    resync_ms,
                },
        } = self;
        let ok = status.is_ok();
        {
            let mut shared = device.resource.shared.lock();
            if let Some(volume) = shared.vol_mut(device.vnr) {
                let sectors = u64::from(range.sectors);
                volume.stat.read = volume.stat.read.saturating_add(sectors);
                if purpose != Purpose::Application {
                    throttle::count(volume, sectors);
                }
            }
            shared.peer.in_flight = shared.peer.in_flight.saturating_sub(1);
            let reply = Reply {
                purpose,
                range,
                block_id,
                pages,
                node,
                digest,
                resync_ms,
                ok,
                spared: false,
            };
            // There is room: the receiver saw to it.
            let lost = shared.peer.replies.push(reply);
            let waited = shared.peer.take_waiting();
            drop(shared);
            drop(lost);
            if waited {
                device.resource.state_wait.wake_all();
            }
        }
        if !ok {
            local::io_error(&device, Failure::Read);
        }
        device.resource.connection.wake_sender();
        device.put_local();
    }

    fn pages(&self) -> Option<&PageVec> {
        Some(&self.pages)
    }
}

/// Reads for the peer; [`admit`] has counted it.
pub(crate) fn submit_read(device: Arc<Device>, local: &LocalRef, wanted: Wanted) {
    let pool = &device.resource.pools.served;
    let pages = PageVec::new(pool, wanted.range.bytes() as usize);
    submit_read_into(device, local, wanted, pages);
}

/// As [`submit_read`], with pages for the data.
pub(crate) fn submit_read_into(
    device: Arc<Device>,
    local: &LocalRef,
    wanted: Wanted,
    pages: PageVec,
) {
    let sector = wanted.range.sector;
    let flags = Flags {
        sync: wanted.purpose == Purpose::Application,
        ..Flags::default()
    };
    let read = PeerRead {
        device,
        pages,
        wanted,
    };
    local.count_in_flight();
    let fault = match read.wanted.purpose {
        Purpose::Application => Fault::DataRead,
        _ => Fault::ResyncRead,
    };
    if faults::strikes(read.device.minor, fault) {
        read.end_io(Status::IO_ERROR);
        return;
    }
    let result = match local.disk() {
        Some(disk) => OutBio::submit_pages(&disk.data, Op::Read, flags, sector, read),
        None => Err((read, ENODEV)),
    };
    if let Err((read, _)) = result {
        read.end_io(Status::IO_ERROR);
    }
}

/// P_DATA_REQUEST: the peer's application reads what the peer does not have.
pub(crate) fn data_request(packet: &Arrived<'_>) -> Result {
    let request = BlockRequest::decode(packet.fixed).ok_or(EPROTO)?;
    let most = MAX_DATA_SIZE;
    let (device, range) = locate(packet, request.sector, request.blksize, most)?;
    if range.sectors == 0 {
        return Err(EPROTO);
    }
    let up_to_date = |disk| disk == DiskState::UpToDate;
    let Some(local) = Device::get_local_if(&device, up_to_date) else {
        pr_warn!(
            "{}: cannot serve the peer's read: no good local data\n",
            Tag(&device)
        );
        acks::send(
            packet.resource,
            Command::NegDreply,
            &range,
            request.block_id,
        );
        return Ok(());
    };
    // What it wrote before may be on its way to our disk still: with protocols A and B it does not wait for that.
    wait_until(packet.resource, |shared| {
        let write = |owner: Owner, _: &Range| owner == Owner::Peer(DISK);
        shared.transfer.writes.find_overlap(&range, write).is_none()
    })?;
    admit(packet.resource, range.bytes())?;
    count_unacked(packet.resource, range.volume);
    let wanted = Wanted {
        range,
        block_id: request.block_id,
        purpose: Purpose::Application,
        node: None,
        digest: None,
        resync_ms: 0,
    };
    submit_read(device, &local, wanted);
    Ok(())
}

/// The peer waits for one more answer.
pub(crate) fn count_unacked(resource: &Resource, vnr: u16) {
    if let Some(volume) = resource.shared.lock().vol_mut(vnr) {
        volume.stat.unacked = volume.stat.unacked.saturating_add(1);
    }
}

/// P_DATA_REPLY: the data of a read that we asked the peer for.
pub(crate) fn data_reply(packet: &Arrived<'_>) -> Result {
    let head = DataPacket::decode(packet.fixed).ok_or(EPROTO)?;
    let digest = digests::receive(packet)?;
    let (slot, mut bio) = take_reader(packet, &head)?;
    let bytes = digests::data_bytes(packet);
    let filled = if bio.bytes() == bytes {
        let read = |part: &mut [u8]| packet.stream.recv_exact(part);
        bio.fill(read)
            .and_then(|()| digests::check_bio(packet, digest.as_ref(), head.sector, &bio))
    } else {
        pr_err!(
            "{}/{}: {} bytes of data came for a read of {}\n",
            packet.resource.name(),
            packet.vnr,
            bytes,
            bio.bytes()
        );
        Err(EPROTO)
    };
    {
        let mut shared = packet.resource.shared.lock();
        shared.transfer.put_bio(slot, bio);
        if filled.is_ok() {
            let sectors = u64::from(bytes / 512);
            if let Some(volume) = shared.vol_mut(packet.vnr) {
                volume.stat.received = volume.stat.received.saturating_add(sectors);
            }
        }
        let event = if filled.is_ok() {
            Event::DataReceived
        } else {
            Event::ReceiveFailed
        };
        transfer::tell(&mut shared, slot, event);
    }
    transfer::finish(packet.resource);
    filled
}

/// The bio that waits for those data.
fn take_reader(packet: &Arrived<'_>, head: &DataPacket) -> Result<(SlotId, Bio)> {
    let mut shared = packet.resource.shared.lock();
    let slot = shared
        .transfer
        .log
        .find(BlockId(head.block_id), packet.vnr, head.sector);
    let waits = slot.filter(|&slot| {
        let request = shared.transfer.log.get(slot);
        request.is_some_and(|request| request.owed(Event::Receiving))
    });
    let bio = waits.and_then(|slot| shared.transfer.take_bio(slot));
    if let (Some(slot), Some(_)) = (waits, &bio) {
        // Until the data are in, nothing else may end the request: its bio is in our hands.
        transfer::tell(&mut shared, slot, Event::Receiving);
    }
    drop(shared);
    match (waits, bio) {
        (Some(slot), Some(bio)) => Ok((slot, bio)),
        _ => {
            pr_err!(
                "{}/{}: DataReply for block id {:#x}, sector {}: nobody asked for it\n",
                packet.resource.name(),
                packet.vnr,
                head.block_id,
                head.sector
            );
            Err(EPROTO)
        }
    }
}

/// Forgets the reads that nobody will be told of any more.
pub(crate) fn forget_all(resource: &Resource) {
    loop {
        let mut shared = resource.shared.lock();
        let Some(reply) = shared.peer.replies.pop() else {
            return;
        };
        forget_reply(&mut shared, &reply, false);
        drop(shared);
        drop(reply);
    }
}

/// Whether the sender has a read of the peer's to answer.
pub(crate) fn has_replies(shared: &Shared) -> bool {
    !shared.peer.replies.is_empty()
}

/// Answers one read of the peer's; tells whether there was one. The sender's thread; may sleep.
///
/// # Errors
///
/// Those of the network.
pub(crate) fn send_reply(resource: &Arc<Resource>) -> Result<bool> {
    let reply = resource.shared.lock().peer.replies.pop();
    let Some(mut reply) = reply else {
        return Ok(false);
    };
    let sent = match reply.purpose {
        Purpose::Application => reply_to_application(resource, &reply),
        Purpose::Resync | Purpose::ThinResync | Purpose::ChecksumResync => {
            resync::send_reply(resource, &mut reply)
        }
        Purpose::OwnChecksum => checksums::ask(resource, &reply),
        Purpose::VerifyRequest => verify::send_digest(resource, &mut reply),
        Purpose::VerifyReply => verify::compare(resource, &reply),
    };
    let woken = {
        let mut shared = resource.shared.lock();
        forget_reply(&mut shared, &reply, sent.is_ok());
        shared.peer.take_waiting() | core::mem::take(&mut shared.transfer.waiting)
    };
    drop(reply);
    if woken {
        resource.state_wait.wake_all();
    }
    sent.map(|()| true)
}

fn forget_reply(shared: &mut Shared, reply: &Reply, sent: bool) {
    release_pages(shared, reply.range.bytes());
    if let Some(node) = reply.node {
        shared.transfer.writes.remove(node);
    }
    if let Some(volume) = shared.vol_mut(reply.range.volume) {
        if reply.purpose.is_asked() {
            volume.stat.unacked = volume.stat.unacked.saturating_sub(1);
        }
        if sent && reply.ok && reply.purpose.sends_data() && !reply.spared {
            let sectors = u64::from(reply.range.sectors);
            volume.stat.sent = volume.stat.sent.saturating_add(sectors);
        }
    }
}

fn reply_to_application(resource: &Resource, reply: &Reply) -> Result {
    if !reply.ok {
        acks::send(resource, Command::NegDreply, &reply.range, reply.block_id);
        return Ok(());
    }
    send_data(resource, Command::DataReply, reply, reply.block_id)
}

/// Sends the pages of a reply.
pub(crate) fn send_data(
    resource: &Resource,
    command: Command,
    reply: &Reply,
    block_id: u64,
) -> Result {
    let head = DataPacket {
        sector: reply.range.sector,
        block_id,
        seq_num: 0,
        flags: DataFlags::NONE,
    };
    let (vnr, bytes) = (reply.range.volume, reply.range.bytes());
    resource
        .connection
        .data
        .send_data(vnr, command, &head, bytes, Content::Pages(&reply.pages))
}
