// SPDX-License-Identifier: GPL-2.0-only

//! A bio of the upper layers comes in.
//!
//! It waits while I/O is suspended or the state is in transition, is refused where there is no data to work on, and
//! otherwise goes to the local disk. A write marks its blocks as out of sync *before* it is completed whenever the
//! peer does not get it.

use crate::{device::Device, local, prelude::*, resource::VolumeShared};
use drbd_core::{
    state,
    types::{DiskState, Role},
};
use kernel_ext::block::{Bio, Op, OutBio, Status};

/// What becomes of a bio right now.
enum Verdict {
    /// Go ahead; it is counted.
    Go,
    /// Not now.
    Wait,
    /// Never.
    Refuse,
}

/// Takes a bio in. Process context.
pub(crate) fn submit(device: &Arc<Device>, mut bio: Bio) {
    let op = bio.op();
    if op == Op::Other {
        bio.end(Status::NOT_SUPPORTED);
        return;
    }
    bio.start_accounting();
    loop {
        match admit(device) {
            Verdict::Go => break,
            Verdict::Refuse => {
                bio.end(Status::IO_ERROR);
                return;
            }
            Verdict::Wait if bio.is_nowait() => {
                bio.end(Status::AGAIN);
                return;
            }
            Verdict::Wait => {
                let resource = &device.resource;
                resource.state_wait.wait(|| !must_wait(device));
            }
        }
    }
    if matches!(op, Op::Write | Op::Discard | Op::WriteZeroes) {
        device.bitmap.set_out_of_sync(bio.sector(), u64::from(bio.bytes()) >> 9);
    }
    start(device, bio, op);
}

fn waits(volume: &VolumeShared, version: u32) -> bool {
    volume.io_suspenders > 0
        || volume.suspended()
        || !state::accepts_new_io(&volume.state, version)
}

fn must_wait(device: &Device) -> bool {
    let shared = device.resource.shared.lock();
    let version = shared.conn.agreed_version;
    shared.vol(device.vnr).is_some_and(|volume| waits(volume, version))
}

/// Decides, and counts the bio if it may go.
fn admit(device: &Device) -> Verdict {
    let mut shared = device.resource.shared.lock();
    let version = shared.conn.agreed_version;
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return Verdict::Refuse;
    };
    if waits(volume, version) {
        return Verdict::Wait;
    }
    if volume.state.role != Role::Primary || volume.state.disk != DiskState::UpToDate {
        return Verdict::Refuse;
    }
    volume.stat.application = volume.stat.application.saturating_add(1);
    Verdict::Go
}

fn start(device: &Arc<Device>, bio: Bio, op: Op) {
    let sectors = u64::from(bio.bytes()) >> 9;
    let Some(local) = Device::get_local(device) else {
        finish(device);
        bio.end(Status::IO_ERROR);
        return;
    };
    let clone = match local.disk() {
        Some(disk) => OutBio::clone_of(&disk.data, &bio),
        None => Err(ENODEV),
    };
    let Ok(clone) = clone else {
        finish(device);
        bio.end(Status::IO_ERROR);
        return;
    };
    count(device, op, sectors);
    let Some(held) = local.into_in_flight() else {
        return;
    };
    let request = local::AppIo { device: held, bio, op };
    if let Err((request, _)) = clone.submit(request) {
        request.end(Status::IO_ERROR);
    }
}

fn count(device: &Device, op: Op, sectors: u64) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let counter = match op {
        Op::Read => &mut volume.stat.read,
        _ => &mut volume.stat.written,
    };
    *counter = counter.saturating_add(sectors);
}

/// One application bio less. From any context.
pub(crate) fn finish(device: &Device) {
    let last = {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        volume.stat.application = volume.stat.application.saturating_sub(1);
        volume.stat.application == 0
    };
    if last {
        device.resource.state_wait.wake_all();
    }
}

/// I/O is no longer suspended: those who wait look again.
pub(crate) fn resume(device: &Device) {
    device.resource.state_wait.wake_all();
}
