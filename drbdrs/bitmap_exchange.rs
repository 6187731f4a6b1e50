// SPDX-License-Identifier: GPL-2.0-only

//! The bitmaps travel: the source of a resync sends its own, the target answers with its own, and both OR.
//!
//! The packets of one bitmap are consecutive on the data stream: the link is held from the first to the last.

use crate::{
    attach,
    change::How,
    device::Device,
    params::{has_metadata, with_volume},
    prelude::*,
    receiver::Arrived,
    resource::ReceiverOrder,
    tag::Tag,
};
use drbd_core::{
    meta::Flags,
    resync::Side,
    state::Change,
    types::ConnState,
    wire::{Agreed, BitmapRecv, BitmapSend, Bits, Features, TransferStats, SOCKET_BUFFER_SIZE},
};
use kernel_ext::block::PageBuf;

/// A device's bitmap, as the exchange sees it.
struct View<'a>(&'a Device);

impl Bits for View<'_> {
    fn len(&self) -> u64 {
        self.0.bitmap.size_and_weight().0
    }

    fn next_set(&mut self, from: u64) -> Option<u64> {
        self.0.bitmap.find_set(from)
    }

    fn next_clear(&mut self, from: u64) -> Option<u64> {
        self.0.bitmap.find_clear(from)
    }

    fn set(&mut self, first: u64, last: u64) {
        self.0.bitmap.set_bits(first, last);
    }

    fn word(&mut self, index: u64) -> u64 {
        self.0.bitmap.word(index)
    }

    fn merge_word(&mut self, index: u64, bits: u64) {
        self.0.bitmap.merge_word(index, bits);
    }
}

fn agreed(device: &Device) -> Agreed {
    let shared = device.resource.shared.lock();
    Agreed {
        version: shared.conn.agreed_version,
        features: Features(shared.conn.agreed_features),
        integrity_digest: 0,
    }
}

/// Sends the whole bitmap. May sleep.
pub(crate) fn send(device: &Arc<Device>) -> Result {
    let owed = with_volume(device, |volume| {
        let flags = volume.md.as_ref().map(|md| md.flags);
        has_metadata(volume.state.disk) && flags.is_some_and(|f| f.contains(Flags::FULL_SYNC))
    });
    if owed == Some(true) {
        pr_info!(
            "{}: Writing the whole bitmap, MDF_FullSync was set.\n",
            Tag(device)
        );
        if let Err(error) = attach::set_whole_bitmap(device) {
            // The flag stays set, and the peer hears of a full sync all the same.
            pr_err!(
                "{}: Failed to write bitmap to disk: {:?}\n",
                Tag(device),
                error
            );
        }
    }
    let use_rle = device
        .resource
        .shared
        .lock()
        .conn
        .net_conf
        .is_some_and(|conf| conf.use_rle);
    let agreed = agreed(device);
    let mut view = View(device);
    let mut sending = BitmapSend::new(&agreed, view.len(), use_rle);
    let mut page = PageBuf::new()?;
    device.resource.connection.data.send_burst(|burst| {
        while let Some(chunk) = sending
            .next(&mut view, page.bytes_mut())
            .map_err(|_| EINVAL)?
        {
            let content = page.bytes().get(..chunk.len).ok_or(EINVAL)?;
            burst.send(device.vnr, chunk.command, content)?;
        }
        Ok(())
    })?;
    log_stats(device, "send", &sending.stats());
    Ok(())
}

fn log_stats(device: &Device, direction: &str, stats: &TransferStats) {
    pr_info!(
        "{}: {} bitmap stats [Bytes(packets)]: plain {}({}), RLE {}({}), total {}\n",
        Tag(device),
        direction,
        stats.plain_bytes,
        stats.plain_packets,
        stats.rle_bytes,
        stats.rle_packets,
        stats.plain_bytes.saturating_add(stats.rle_bytes)
    );
}

/// The worker's part of WFBitMapS: sends the bitmap while no application I/O changes it.
pub(crate) fn send_from_worker(device: &Arc<Device>) {
    // Requests that wait for a connection that is gone end only after this: the receiver waits for the worker first.
    attach::suspend_io_while(device, |shared| shared.conn.receiver == ReceiverOrder::Run);
    written(device);
    if let Err(error) = send(device) {
        pr_err!("{}: sending the bitmap failed: {:?}\n", Tag(device), error);
        device.resource.connection_failed(ConnState::NetworkFailure);
    }
    attach::resume_io(device);
}

/// Waits until our disk has what was written before the two met. Suspended I/O is not waited for otherwise.
fn written(device: &Device) {
    let resource = &device.resource;
    resource.state_wait.wait(|| {
        let mut shared = resource.shared.lock();
        // The end of a write wakes nobody unless somebody is known to wait.
        shared.transfer.waiting = true;
        let in_vain = shared.conn.receiver != ReceiverOrder::Run;
        in_vain || !shared.transfer.log.has_writes_on_disk(device.vnr)
    });
}

/// P_BITMAP, P_COMPRESSED_BITMAP
#[inline(never)]
pub(crate) fn receive(packet: &Arrived<'_>) -> Result {
    let device = packet.device().ok_or(EPROTO)?;
    let mut page = PageBuf::new()?;
    let size = usize::try_from(packet.payload).map_err(|_| EPROTO)?;
    if size > SOCKET_BUFFER_SIZE {
        return Err(EPROTO);
    }
    let content = page.bytes_mut().get_mut(..size).ok_or(EPROTO)?;
    packet.stream.recv_exact(content)?;
    let mut view = View(&device);
    let before = with_volume(&device, |volume| volume.bitmap_in.take()).flatten();
    let mut receiving = before.unwrap_or_else(|| BitmapRecv::new(&agreed(&device), view.len()));
    match receiving.packet(packet.command, content, &mut view) {
        Err(error) => {
            pr_err!(
                "{}: the peer's bitmap is malformed: {:?}\n",
                Tag(&device),
                error
            );
            Err(EPROTO)
        }
        Ok(false) => {
            with_volume(&device, |volume| volume.bitmap_in = Some(receiving));
            Ok(())
        }
        Ok(true) => {
            log_stats(&device, "receive", &receiving.stats());
            complete(&device)
        }
    }
}

/// The peer's bitmap is here: the target answers with its own, the source begins.
fn complete(device: &Arc<Device>) -> Result {
    let conn = with_volume(device, |volume| volume.state.conn).ok_or(ENODEV)?;
    match conn {
        ConnState::WfBitmapT => {
            send(device)?;
            let next = Change::conn(ConnState::WfSyncUuid);
            device
                .resource
                .change(device.vnr, &next, How::SOFT.verbose());
        }
        ConnState::WfBitmapS => {
            crate::handshake::start_resync(device, Side::Source);
        }
        // An administrator, or another thread, has decided otherwise meanwhile.
        other => {
            pr_info!(
                "{}: unexpected cstate ({}) in receive_bitmap\n",
                Tag(device),
                other.name()
            );
        }
    }
    Ok(())
}
