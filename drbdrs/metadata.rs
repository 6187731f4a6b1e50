// SPDX-License-Identifier: GPL-2.0-only

//! The superblock of an attached disk: read once, written whenever what it mirrors has changed.
//!
//! Memory holds the truth while attached (`VolumeShared::md`, under the resource's lock); [`sync`] copies it out
//! under the lock and writes it outside. On disk it is marked unclean as long as we are attached, and after: the
//! next attach, ours or the stock driver's, needs `drbdadm apply-al` first.

use crate::{
    attach::Local,
    device::Device,
    meta_io::{self, MetaIo},
    prelude::*,
    resource::{Resource, VolumeShared},
    tag::Tag,
    worker::Todo,
};
use drbd_core::{
    meta::{Flags, Superblock},
    state,
    types::{ConnState, Role, Uuid},
    uuid::{self, Continues, Unstored},
};

/// Notes that the superblock in memory is newer than the one on disk, and lets the worker write it.
pub(crate) fn mark_dirty(device: &Device) {
    let mut shared = device.resource.shared.lock();
    if let Some(volume) = shared.vol_mut(device.vnr) {
        volume.md_dirty = true;
        volume.todo.set(Todo::WriteMetadata);
    }
    drop(shared);
    device.resource.worker.wake();
}

/// Writes the superblock if it changed. May sleep.
pub(crate) fn sync(device: &Arc<Device>) {
    let Some(local) = Device::get_local_if(device, |_| true) else {
        return;
    };
    let Some(disk) = local.disk() else { return };
    let mut io = disk.meta_io.lock();
    let block = {
        let mut shared = device.resource.shared.lock();
        let unconfirmed = shared
            .transfer
            .log
            .iter()
            .any(|(_, request)| request.range.volume == device.vnr && request.kind.modifies());
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        if !core::mem::replace(&mut volume.md_dirty, false) {
            return;
        }
        let Some(md) = volume.md.as_mut() else { return };
        if volume.capacity > 0 {
            md.effective_size = volume.capacity;
        }
        md.la_peer_max_bio_size = volume.peer_max_bio_size;
        let mut block = *md;
        let primary = block.flags.contains(Flags::PRIMARY_IND);
        let before = volume.flags.has(VolFlag::PrimaryOnDisk);
        let owed = volume.device.bitmap.is_changed();
        let on_disk = state::primary_on_disk(primary, before, owed, unconfirmed);
        block.flags.set(Flags::PRIMARY_IND, on_disk);
        volume.flags.assign(VolFlag::PrimaryOnDisk, on_disk);
        // The truth is written when the bitmap has been.
        volume.md_dirty = on_disk != primary;
        block
    };
    if let Err(error) = write(device, disk, &mut io, &block) {
        pr_err!("{}: metadata update failed: {:?}\n", Tag(device), error);
        drop(io);
        if let Some(volume) = device.resource.shared.lock().vol_mut(device.vnr) {
            // A disk that answers again gets it before it goes.
            volume.md_dirty = true;
        }
        crate::local::io_error(device, crate::local::Failure::Metadata);
        return;
    }
    note_stored(device, &block);
}

/// The disk knows of its generation. In a function of its own, so that the lock is let go before the caller's use of the
/// disk is.
fn note_stored(device: &Device, block: &Superblock) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let current = block.uuids.current;
    volume.unstored = volume.unstored.filter(|begun| begun.exposed != current);
}

/// Writes the superblocks of all volumes, where they changed. May sleep.
pub(crate) fn sync_all(resource: &Resource) {
    let mut from = Some(0);
    while let Some(device) = from.and_then(|vnr| resource.device_from(vnr)) {
        sync(&device);
        from = device.vnr.checked_add(1);
    }
}

/// Writes a superblock.
fn write(device: &Arc<Device>, disk: &Local, io: &mut MetaIo, block: &Superblock) -> Result {
    block.emit_unclean(io.page.bytes_mut());
    meta_io::write(device, disk, disk.layout().superblock_sector, &io.page)
}

/// The application sees the generation that has just begun from here on; the disk will, where it said `stored`.
fn expose(volume: &mut VolumeShared, stored: Uuid) {
    let Some(md) = &volume.md else { return };
    volume.exposed_uuid = md.uuids.current;
    volume.md_dirty = true;
    // It may not have been told of the one before, either.
    let stored = volume.unstored.map_or(stored, |before| before.stored);
    volume.unstored = Some(Unstored {
        exposed: md.uuids.current,
        stored,
        device: md.device_uuid,
    });
}

/// Whether the attached disk has the generation that a Primary has seen, as far as we know.
pub(crate) fn continues(volume: &VolumeShared) -> bool {
    volume.md.as_ref().is_none_or(|md| {
        let (found, disk) = (md.uuids.current, md.device_uuid);
        uuid::continues(&volume.state, volume.exposed_uuid, None, found, disk) != Continues::No
    })
}

/// Begins a new data generation if there is none since both sides were equal. May sleep.
pub(crate) fn begin_generation(device: &Arc<Device>) {
    begin(device, Superblock::begin_generation);
}

/// While I/O was suspended no new generation was begun; now it must be, before the first write, unless the peer is back.
/// May sleep.
pub(crate) fn begin_put_off_generation(device: &Arc<Device>) {
    let (due, has_disk, conn) = {
        let mut shared = device.resource.shared.lock();
        match shared.vol_mut(device.vnr) {
            Some(volume) => (
                volume.flags.clear(VolFlag::NewCurrentUuid)
                    && state::put_off_generation_is_due(&volume.state),
                volume.local.is_some(),
                volume.state.conn,
            ),
            None => return,
        }
    };
    if !due {
        return;
    }
    if has_disk {
        begin_generation(device);
        if conn == ConnState::WfReportParams {
            // The peer was told of the one before; the two meet again.
            device.resource.connection_failed(ConnState::NetworkFailure);
        }
        return;
    }
    // No peer and no disk: nothing that can be attached or connected later has the data of this moment.
    let mut shared = device.resource.shared.lock();
    if let Some(volume) = shared.vol_mut(device.vnr) {
        volume.exposed_uuid = Uuid(kernel_ext::time::random_u64());
        pr_warn!(
            "{}: resumed without access to data; please tear down before attempting to re-configure\n",
            Tag(device)
        );
    }
}

/// Begins a new data generation, whatever there was. May sleep.
pub(crate) fn new_current_uuid(device: &Arc<Device>) {
    begin(device, |md, fresh, role| {
        if md.uuids.new_current(fresh, role).is_some() {
            pr_warn!("{}: the bitmap UUID was set already\n", Tag(device));
        }
        true
    });
}

/// Begins a generation with a new UUID, if `begins` does.
fn begin(device: &Arc<Device>, begins: impl FnOnce(&mut Superblock, Uuid, Role) -> bool) {
    let fresh = Uuid(kernel_ext::time::random_u64());
    {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        let role = volume.state.role;
        let Some(md) = volume.md.as_mut() else { return };
        let stored = md.uuids.current;
        if !begins(md, fresh, role) {
            return;
        }
        pr_info!("{}: new current UUID {}\n", Tag(device), Shown(md.uuids));
        expose(volume, stored);
    }
    sync(device);
}

/// Marks in the current UUID whether we are Primary.
pub(crate) fn mark_role(device: &Device, role: Role) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let Some(md) = volume.md.as_mut() else { return };
    let before = md.uuids;
    md.uuids.mark_role(role);
    if md.uuids != before {
        volume.md_dirty = true;
    }
}
