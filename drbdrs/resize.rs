// SPDX-License-Identifier: GPL-2.0-only

//! The size of the device: what both disks, the metadata and the administrator agree on; and following a disk that
//! grew.

use crate::{activity, attach::Local, device::Device, local, metadata, prelude::*, tag::Tag};
use drbd_core::{
    handshake::{agreed_size, resized, ResizeRefusal, Resized, Ring, SizeFacts},
    meta::{Flags, Layout},
};

/// What is asked for beside what is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// The peer, which is not there, has room for all that we have.
    pub(crate) assume_peer_has_space: bool,
    /// What is added needs no resync.
    pub(crate) assume_clean: bool,
    /// Another activity log on disk.
    pub(crate) ring: Option<Ring>,
}

/// Why the size could not be settled. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// No memory for the bitmap, or metadata that could not be written.
    Resources,
    /// What was asked for cannot be had.
    Refused(ResizeRefusal),
}

impl From<ResizeRefusal> for Failed {
    fn from(refusal: ResizeRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Settles the size. Application I/O is suspended by the caller. May sleep.
pub(crate) fn determine(
    device: &Arc<Device>,
    local: &Local,
    wish: Wish,
) -> Result<Resized, Failed> {
    let old_ring = ring_of(device)?;
    let ring = wish.ring.unwrap_or(old_ring);
    let layout = layout_with(local, ring)?;
    let mine = layout.max_capacity;
    let (facts, conn) = {
        let shared = device.resource.shared.lock();
        let volume = shared.vol(device.vnr).ok_or(Failed::Resources)?;
        let facts = SizeFacts {
            mine,
            peer: volume.peer_disk_size,
            last_agreed: volume.md.as_ref().map_or(0, |md| md.effective_size),
            requested: volume.disk_conf.as_ref().map_or(0, |conf| conf.disk_size),
            assume_peer_has_space: wish.assume_peer_has_space,
        };
        (facts, volume.state.conn)
    };
    let size = agreed_size(&facts, conn);
    if size.requested_too_big {
        let (wanted, got) = (facts.requested >> 1, size.sectors >> 1);
        pr_err!(
            "{}: requested disk size is too big ({} > {})\n",
            Tag(device),
            wanted,
            got
        );
    }
    let (sectors, last) = (size.sectors, facts.last_agreed);
    let result = resized(sectors, last, facts.requested, wish.ring.is_some())?;
    if device.bitmap.capacity() != sectors {
        device
            .resize_bitmap(sectors, !wish.assume_clean)
            .map_err(|_| Failed::Resources)?;
    }
    if sectors <= last {
        agree(device, sectors);
    }
    let moved = layout != local.layout() || ring != old_ring;
    if sectors != last || moved {
        let place = moved.then_some((layout, ring));
        write_metadata(device, local, place, last != sectors).map_err(|_| {
            // What is on the disk describes neither the old size nor the new one.
            local::io_error(device, local::Failure::Metadata);
            Failed::Resources
        })?;
    }
    if sectors > last {
        // Only now: the superblock never speaks of blocks that the bitmap on disk has no bits for.
        agree(device, sectors);
        metadata::sync(device);
    }
    Ok(result)
}

/// Whether there is room for more or less data than when the disk was looked at last.
pub(crate) fn disk_changed(device: &Device, local: &Local) -> bool {
    let before = local.layout().max_capacity;
    layout_now(device, local).is_ok_and(|layout| layout.max_capacity != before)
}

/// How much data the disk can hold now.
pub(crate) fn room(device: &Device, local: &Local) -> u64 {
    let layout = layout_now(device, local);
    layout.map_or(local.layout().max_capacity, |layout| layout.max_capacity)
}

/// Where the metadata belong, given the sizes that the devices have now.
pub(crate) fn layout_now(device: &Device, local: &Local) -> Result<Layout, Failed> {
    layout_with(local, ring_of(device)?)
}

fn layout_with(local: &Local, ring: Ring) -> Result<Layout, Failed> {
    let (data, meta) = (local.data.sectors(), local.meta_sectors());
    Layout::new(local.index, data, meta, ring.stripes, ring.stripe_size_4k)
        .ok_or(Failed::Refused(ResizeRefusal::NoSpaceForMetadata))
}

/// The activity log on disk.
fn ring_of(device: &Device) -> Result<Ring, Failed> {
    let shared = device.resource.shared.lock();
    let md = shared.vol(device.vnr).and_then(|volume| volume.md.as_ref());
    md.map(Ring::of).ok_or(Failed::Resources)
}

/// The metadata tell the size from now on, and the device has it.
fn agree(device: &Device, sectors: u64) {
    {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        if let Some(md) = volume.md.as_mut() {
            md.effective_size = sectors;
            volume.md_dirty = true;
        }
    }
    set_capacity(device, sectors);
}

/// Tells the kernel and ourselves. Nothing but that is done without a disk: one that fails just now may still write its
/// metadata.
pub(crate) fn set_capacity(device: &Device, sectors: u64) {
    let changed = {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        core::mem::replace(&mut volume.capacity, sectors) != sectors
    };
    device.with_disk(|disk| disk.set_capacity(sectors));
    if changed {
        pr_info!("{}: size = {} KB\n", Tag(device), sectors >> 1);
    }
}

/// Writes the bitmap as it is now, and all metadata if they have another `place`. Until the bitmap is complete there,
/// the superblock asks for a full sync.
fn write_metadata(
    device: &Arc<Device>,
    local: &Local,
    place: Option<(Layout, Ring)>,
    size_changed: bool,
) -> Result {
    let owed = set_full_sync(device, true);
    let what = match (size_changed, place.is_some()) {
        (true, true) => "size changed and md moved",
        (true, false) => "size changed",
        _ => "md moved",
    };
    pr_info!("{}: writing the whole bitmap, {}\n", Tag(device), what);
    if let Some((layout, ring)) = place {
        // Where the superblock stays, the one with the old layout tells of the new log, too: its blocks are where
        // those of the old one were, or beside them.
        if layout.superblock_sector == local.layout().superblock_sector {
            metadata::sync(device);
        }
        activity::move_ring(device, local, layout, ring)?;
    }
    metadata::sync(device);
    device.bitmap.write_all(device, local)?;
    set_full_sync(device, owed);
    metadata::sync(device);
    Ok(())
}

/// Notes whether a full sync is needed; returns what was noted before.
fn set_full_sync(device: &Device, needed: bool) -> bool {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return needed;
    };
    let Some(md) = volume.md.as_mut() else {
        return needed;
    };
    let before = md.flags.contains(Flags::FULL_SYNC);
    md.flags.set(Flags::FULL_SYNC, needed);
    volume.md_dirty = true;
    before
}
