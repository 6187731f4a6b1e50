// SPDX-License-Identifier: GPL-2.0-only

//! Taking the local disk away from a volume.
//!
//! `Failed` (no new uses), the last use ends, the worker writes the bitmap and makes the volume `Diskless`, and closes
//! the devices when that has been told to everybody.

use crate::{
    activity,
    attach::{resume_io, set_full_sync, suspend_io, wait_released, Local},
    change::{self, How},
    device::Device,
    flags::VolFlag,
    local, metadata,
    prelude::*,
    tag::Tag,
};
use drbd_core::{
    state::Change,
    types::{DiskState, StateRv},
    write_order::WriteOrder,
};

/// Waits for nothing of the disk any more, now or ever. Any state, with or without `Resource::admin`.
pub(crate) fn give_up(device: &Arc<Device>) -> StateRv {
    {
        let mut shared = device.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(device.vnr) {
            volume.flags.set(VolFlag::ForceDetach);
            volume.flags.set(VolFlag::Abandoned);
        }
        change::change_hard(&mut shared, device.vnr, &Change::disk(DiskState::Failed));
    }
    // At once: the worker may itself wait for this disk.
    local::abort(device);
    StateRv::Success
}

/// Takes the disk away. Called with `Resource::admin` held.
pub(crate) fn detach(device: &Arc<Device>) -> StateRv {
    let resource = &device.resource;
    let failed = Change::disk(DiskState::Failed);
    suspend_io(device);
    let result = resource.change(device.vnr, &failed, How::SOFT.verbose().waiting());
    if !result.is_refusal() {
        resource.state_wait.wait(|| {
            let shared = resource.shared.lock();
            shared
                .vol(device.vnr)
                .is_none_or(|volume| volume.state.disk != DiskState::Failed)
        });
        wait_released(device);
    }
    resume_io(device);
    if result == StateRv::IsDiskless {
        StateRv::NothingToDo
    } else {
        result
    }
}

/// The last user of a failed disk is gone: save the bitmap, become Diskless. The worker's business.
pub(crate) fn go_diskless(device: &Arc<Device>) {
    let (bits, _) = device.bitmap.size_and_weight();
    if let Some(volume) = device.resource.shared.lock().vol_mut(device.vnr) {
        // It has answered everything, so it may answer this, too.
        volume.flags.clear(VolFlag::Abandoned);
    }
    let local = Device::get_local_if(device, |disk| disk == DiskState::Failed);
    if let Some(disk) = local.as_ref().and_then(|local| local.disk()) {
        flush_last(device, disk);
    }
    if let (Some(local), true) = (&local, bits > 0) {
        if let Some(disk) = local.disk() {
            if device.bitmap.write(device, disk).is_err() {
                // The copy on disk is too old to be trusted; if the superblock can still be written, say so.
                set_full_sync(device, true);
            }
            metadata::sync(device);
        }
    }
    {
        let mut shared = device.resource.shared.lock();
        change::change_hard(&mut shared, device.vnr, &Change::disk(DiskState::Diskless));
    }
    drop(local);
}

/// A barrier that comes later is confirmed without this disk: what it acknowledged must not be in its cache only.
fn flush_last(device: &Device, disk: &Local) {
    let order = device.resource.shared.lock().conn.write_order;
    if order == WriteOrder::Flush && disk.data.limits().write_cache && disk.data.flush().is_err() {
        pr_err!("{}: the disk's cache could not be flushed\n", Tag(device));
    }
}

/// The last user of the disk of a diskless volume is gone: close it. The worker's business.
pub(crate) fn release_disk(device: &Device) {
    let local = {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        if volume.state.disk != DiskState::Diskless || volume.stat.local > 0 {
            return;
        }
        volume.md = None;
        volume.md_dirty = false;
        volume.disk_conf = None;
        // Counts until the device is closed, for `wait_released`.
        volume.stat.local = 1;
        volume.local.take()
    };
    if let Some(local) = local {
        device.with_disk(|disk| {
            local.data.unlink(disk);
            if let Some(external) = &local.external {
                external.unlink(disk);
            }
        });
        drop(local);
    }
    activity::detach(device);
    device.bitmap.release();
    device.meta_pages.release();
    if let Some(volume) = device.resource.shared.lock().vol_mut(device.vnr) {
        volume.stat.local = volume.stat.local.saturating_sub(1);
    }
    device.resource.state_wait.wake_all();
}
