// SPDX-License-Identifier: GPL-2.0-only

//! The limits of our block device: what the upper layers may ask for.
//!
//! They follow from the lower disk (stacked as for any stacking driver), from the peer (what it said in its sizes, or
//! what the metadata remember of it) and from DRBD: bios of at most 1 MiB, stable pages, discards of at most 128 MiB.

use crate::{device::Device, prelude::*, tag::Tag};
use drbd_core::state;
use kernel_ext::block::Limits;

/// The largest bio of protocol 100 and later.
pub(crate) const MAX_BIO_SIZE: u32 = 1 << 20;
/// What any peer that ever was can take; used until we know better.
pub(crate) const MAX_BIO_SIZE_SAFE: u32 = 1 << 12;
/// The largest discard or write-zeroes with a peer that knows about them.
const MAX_BATCH_SECTORS: u32 = 128 << 11;
/// The largest discard with a peer before 8.4.7.
const MAX_OLD_DISCARD_SECTORS: u32 = 4 << 11;
/// The features that decide.
const FEATURE_TRIM: u32 = 1;
const FEATURE_WSAME: u32 = 4;
const FEATURE_WZEROES: u32 = 8;

/// Before there is a disk.
pub(crate) fn without_disk() -> Limits {
    Limits {
        logical_block_size: 512,
        physical_block_size: 512,
        io_min: 512,
        io_opt: 0,
        max_hw_sectors: MAX_BIO_SIZE_SAFE >> 9,
        max_discard_sectors: 0,
        discard_granularity: 0,
        max_write_zeroes_sectors: 0,
        zeroes_unmap: false,
        write_cache: true,
        fua: true,
        stable_writes: true,
        rotational: true,
    }
}

/// What is known about the peer.
struct Peer {
    max_bio_size: u32,
    connected: bool,
    features: u32,
}

fn of_peer(device: &Device) -> Option<Peer> {
    let shared = device.resource.shared.lock();
    let volume = shared.vol(device.vnr)?;
    let talking = state::has_socket(volume.state.conn);
    let remembered = volume.peer_max_bio_size;
    Some(Peer {
        // Peers that speak protocol 100 split on their own; a lone node must not exceed what the peer could.
        max_bio_size: if talking {
            MAX_BIO_SIZE.max(remembered)
        } else {
            remembered
        },
        connected: state::is_connected(volume.state.conn),
        features: shared.conn.agreed_features,
    })
}

/// Works the limits out again and sets them. May sleep.
pub(crate) fn apply(device: &Arc<Device>) {
    let Some(peer) = of_peer(device) else { return };
    let local = Device::get_local_if(device, crate::attach::is_open);
    let disk = local.as_ref().and_then(|local| local.disk());
    let mut limits = match disk {
        Some(disk) => disk.data.limits(),
        None => without_disk(),
    };
    let own = disk.map_or(MAX_BIO_SIZE, |_| limits.max_hw_sectors.saturating_mul(512));
    let bytes = MAX_BIO_SIZE
        .min(own)
        .min(peer.max_bio_size)
        .max(MAX_BIO_SIZE_SAFE);
    limits.max_hw_sectors = bytes >> 9;
    limits.stable_writes = true;
    // The peer's disk may have a volatile cache although ours has none: flushes have to come here.
    limits.write_cache = true;
    limits.fua = true;
    let lower_discards = disk.is_none() || limits.max_discard_sectors > 0;
    let peer_discards = !peer.connected || peer.features & FEATURE_TRIM != 0;
    if lower_discards && peer_discards {
        let most = if peer.features & FEATURE_WSAME != 0 {
            MAX_BATCH_SECTORS
        } else {
            MAX_OLD_DISCARD_SECTORS
        };
        let own = limits.max_discard_sectors;
        limits.max_discard_sectors = if own > 0 { most.min(own) } else { most };
        limits.discard_granularity = limits.discard_granularity.max(512);
    } else {
        limits.max_discard_sectors = 0;
        limits.discard_granularity = 0;
    }
    limits.max_write_zeroes_sectors = if peer.features & FEATURE_WZEROES != 0 {
        MAX_BATCH_SECTORS
    } else {
        0
    };
    let set = device.with_disk(|gendisk| gendisk.set_limits(&limits, disk.map(|disk| &disk.data)));
    match set {
        Some(Err(error)) => {
            pr_err!(
                "{}: setting new queue limits failed: {:?}\n",
                Tag(device),
                error
            );
        }
        _ => {
            let mut shared = device.resource.shared.lock();
            let Some(volume) = shared.vol_mut(device.vnr) else {
                return;
            };
            if core::mem::replace(&mut volume.local_max_bio_size, bytes) != bytes {
                pr_info!("{}: max BIO size = {}\n", Tag(device), bytes);
            }
        }
    }
}
