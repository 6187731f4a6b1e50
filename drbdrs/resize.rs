// SPDX-License-Identifier: GPL-2.0-only

//! The size of the device: what both disks, the metadata and the administrator agree on; and following a disk that
//! grew.

use crate::{activity, attach::Local, device::Device, metadata, prelude::*, tag::Tag};
use drbd_core::{
    handshake::{agreed_size, resized, ResizeRefusal, Resized, SizeFacts},
    meta::{Flags, Layout},
};

/// What is asked for beside what is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// The peer, which is not there, has room for all that we have.
    pub(crate) assume_peer_has_space: bool,
    /// What is added needs no resync.
    pub(crate) assume_clean: bool,
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
    let old_layout = local.layout();
    let layout = layout_now(device, local)?;
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
    let result = resized(sectors, last, facts.requested, false)?;
    if device.bitmap.capacity() != sectors {
        device
            .bitmap
            .resize(sectors, !wish.assume_clean)
            .map_err(|_| Failed::Resources)?;
    }
    set_capacity(device, sectors);
    if sectors != last || layout != old_layout {
        move_metadata(device, local, layout, last != sectors)?;
    }
    Ok(result)
}

/// Whether there is room for more or less data than when the disk was looked at last.
pub(crate) fn disk_changed(device: &Device, local: &Local) -> bool {
    let before = local.layout().max_capacity;
    layout_now(device, local).is_ok_and(|layout| layout.max_capacity != before)
}

/// Where the metadata belong, given the sizes that the devices have now.
pub(crate) fn layout_now(device: &Device, local: &Local) -> Result<Layout, Failed> {
    let (stripes, stripe_size) = {
        let shared = device.resource.shared.lock();
        let md = shared.vol(device.vnr).and_then(|volume| volume.md.as_ref());
        md.map(|md| (md.al_stripes, md.al_stripe_size_4k))
            .ok_or(Failed::Resources)?
    };
    let (data, meta) = (local.data.sectors(), local.meta_sectors());
    Layout::new(local.index, data, meta, stripes, stripe_size)
        .ok_or(Failed::Refused(ResizeRefusal::NoSpaceForMetadata))
}

/// Tells the kernel and ourselves.
pub(crate) fn set_capacity(device: &Device, sectors: u64) {
    let changed = {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        if let Some(md) = volume.md.as_mut() {
            md.effective_size = sectors;
            volume.md_dirty = true;
        }
        core::mem::replace(&mut volume.capacity, sectors) != sectors
    };
    device.with_disk(|disk| disk.set_capacity(sectors));
    if changed {
        pr_info!("{}: size = {} KB\n", Tag(device), sectors >> 1);
    }
}

/// Writes the metadata to where they belong now. Until the bitmap is complete there, the superblock asks for a full
/// sync.
fn move_metadata(
    device: &Arc<Device>,
    local: &Local,
    layout: Layout,
    size_changed: bool,
) -> Result<(), Failed> {
    let moved = layout != local.layout();
    local.set_layout(layout);
    {
        let mut shared = device.resource.shared.lock();
        if let Some(md) = shared
            .vol_mut(device.vnr)
            .and_then(|volume| volume.md.as_mut())
        {
            md.md_size_sect = layout.md_size_sect;
            md.al_offset = layout.al_offset;
            md.bm_offset = layout.bm_offset;
        }
    }
    let flags = change_flags(device, |flags| flags.insert(Flags::FULL_SYNC));
    metadata::sync(device);
    let what = match (size_changed, moved) {
        (true, true) => "size changed and md moved",
        (true, false) => "size changed",
        _ => "md moved",
    };
    pr_info!("{}: writing the whole bitmap, {}\n", Tag(device), what);
    if moved {
        activity::write_ring(device, local).map_err(|_| Failed::Resources)?;
    }
    device
        .bitmap
        .write_all(device, local)
        .map_err(|_| Failed::Resources)?;
    change_flags(device, |now| *now = flags.unwrap_or(*now));
    metadata::sync(device);
    Ok(())
}

fn change_flags(device: &Device, change: impl FnOnce(&mut Flags)) -> Option<Flags> {
    let mut shared = device.resource.shared.lock();
    let volume = shared.vol_mut(device.vnr)?;
    let md = volume.md.as_mut()?;
    let before = md.flags;
    change(&mut md.flags);
    volume.md_dirty = true;
    Some(before)
}
