// SPDX-License-Identifier: GPL-2.0-only

//! Resync by checksums: the target sends digests of what it has, and the source sends only what differs.
//!
//! ```text
//!  target's sender: turn --> its disk --> its sender --> P_CSUM_RS_REQUEST --> source's receiver --> its disk
//!  target <-- P_RS_IS_IN_SYNC, or P_RS_DATA_REPLY <-- source's sender: equal? <-----------------------'
//! ```

use crate::{
    acks,
    device::Device,
    digests::{self, Use},
    peer_data::{self, SYNCER},
    peer_read::{self, Purpose, Reply},
    prelude::*,
    requests,
    resource::{Resource, VolumeShared},
    resync,
};
use drbd_core::{
    interval::Range,
    resync as rules,
    types::DiskState,
    wire::{BlockRequest, Command},
};
use kernel_ext::block::PageVec;

/// Whether the resync that begins goes by checksums. Under the lock, on the target.
pub(crate) fn wanted(shared: &crate::resource::Shared, volume: &VolumeShared) -> bool {
    shared.conn.net_conf.as_ref().is_some_and(|conf| {
        rules::uses_checksums(
            shared.conn.agreed_version,
            !conf.csums_alg.is_empty(),
            conf.csums_after_crash_only,
            volume.flags.has(VolFlag::CrashedPrimary),
        )
    })
}

/// Reads what we have of a block that a request is to be sent for; false if there is no room for that now.
/// The sender's thread.
///
/// # Errors
///
/// `ENOMEM`, and `ENODEV` without a disk.
pub(crate) fn read(device: &Arc<Device>, range: Range) -> Result<bool> {
    let any = |disk: DiskState| crate::resource::usable(disk);
    let local = Device::get_local_if(device, any).ok_or(ENODEV)?;
    // The pages are given back by this very thread, so it must not wait for them.
    let bytes = range.bytes();
    let Some(pages) = PageVec::try_new(&device.resource.pools.served, bytes as usize) else {
        return Ok(false);
    };
    if !peer_data::try_admit(&mut device.resource.shared.lock(), bytes) {
        return Ok(false);
    }
    let read = peer_read::Wanted {
        range,
        block_id: SYNCER,
        purpose: Purpose::OwnChecksum,
        node: None,
        digest: None,
        resync_ms: 0,
    };
    peer_read::submit_read_into(device.clone(), &local, read, pages);
    Ok(true)
}

/// Our block was read: asks for it by its digest, or for the data if that was no success. The sender's thread; may
/// sleep.
///
/// # Errors
///
/// Those of the network, and of finding the algorithm.
pub(crate) fn ask(resource: &Resource, reply: &Reply) -> Result {
    let range = &reply.range;
    if !requests::is_asked_for(&resource.shared.lock().transfer, range) {
        // Our disk went meanwhile.
        return Ok(());
    }
    if reply.ok {
        let digest = digests::of_pages(resource, Use::Checksums, &reply.pages)?;
        return resync::send_digest(resource, Command::CsumRsRequest, range, &digest);
    }
    let request = BlockRequest {
        sector: range.sector,
        block_id: SYNCER,
        blksize: range.bytes(),
    };
    let link = &resource.connection.data;
    link.send(range.volume, Command::RsDataRequest, &request)
}

/// Whether the target has this block already; if so it is told, and the block is in sync. The sender's thread; may
/// sleep.
///
/// # Errors
///
/// Those of finding the algorithm.
pub(crate) fn is_equal(resource: &Resource, reply: &Reply) -> Result<bool> {
    if reply.purpose != Purpose::ChecksumResync
        || !resync::has_digest(resource, Use::Checksums, reply)?
    {
        return Ok(false);
    }
    let range = &reply.range;
    if let Some(volume) = resource.shared.lock().vol_mut(range.volume) {
        resync::set_equal(volume, range);
    }
    acks::send(resource, Command::RsIsInSync, range, reply.block_id);
    Ok(true)
}
