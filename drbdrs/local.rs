// SPDX-License-Identifier: GPL-2.0-only

//! Application I/O on our own disk: its end, and what an error means.

use crate::{
    change::{self, How},
    deallocate::{self, Want},
    device::{Device, LocalRef},
    faults,
    prelude::*,
    resource::{Resource, Shared},
    tag::Tag,
    transfer,
};
use drbd_core::{
    config::choices::OnIoError,
    interval::Range,
    request::{Event, Kind, Local, Request, SlotId},
    state::Change,
    types::DiskState,
};
use kernel_ext::{
    block::{EndIo, OutBio, Status},
    time,
};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Reading data.
    Read,
    /// Writing data.
    Write,
    /// Reading or writing metadata.
    Metadata,
    /// The administrator wants the disk gone, in whatever state it is.
    Forced,
}

/// Travels with a bio on our disk.
struct LocalIo {
    device: Arc<Device>,
    slot: SlotId,
}

impl LocalIo {
    fn fails_on_purpose(&self) -> bool {
        if faults::is_off() {
            return false;
        }
        let request = self
            .device
            .resource
            .shared
            .lock()
            .transfer
            .log
            .get(self.slot)
            .copied();
        request.is_some_and(|request| {
            faults::strikes(self.device.minor, faults::of_application(&request))
        })
    }
}

impl EndIo for LocalIo {
    fn end_io(self, status: Status) {
        ended(&self.device, self.slot, status);
        self.device.put_local();
    }
}

/// Submits the clone of a request's bio; the use of the disk goes with it.
pub(crate) fn submit(clone: OutBio, local: LocalRef, slot: SlotId) {
    let Some(device) = local.into_in_flight() else {
        return;
    };
    let io = LocalIo { device, slot };
    if io.fails_on_purpose() {
        drop(clone);
        io.end_io(Status::IO_ERROR);
        return;
    }
    clone.submit(io);
}

/// As [`submit`] for a discard or write-zeroes: carries it out. Not while a bio is being submitted.
pub(crate) fn deallocate(
    device: &Device,
    local: LocalRef,
    slot: SlotId,
    range: &Range,
    want: Want,
) {
    let result = match local.disk() {
        Some(disk) => deallocate::carry_out(device, disk, range, want),
        None => Err(ENODEV),
    };
    let Some(device) = local.into_in_flight() else {
        return;
    };
    let io = LocalIo { device, slot };
    let fails = result.is_err() || io.fails_on_purpose();
    io.end_io(if fails { Status::IO_ERROR } else { Status::OK });
}

fn ended(device: &Device, slot: SlotId, status: Status) {
    let ok = status.is_ok();
    {
        let mut shared = device.resource.shared.lock();
        if let Some(request) = shared.transfer.log.get(slot).copied() {
            let sectors = u64::from(request.range.sectors);
            count(&mut shared, device.vnr, request.kind, sectors);
            if !ok {
                refused(&mut shared, device, request.kind, request.retry, status);
            }
        }
        transfer::tell(&mut shared, slot, Event::LocalDone { ok });
    }
    transfer::finish(&device.resource);
}

fn count(shared: &mut Shared, vnr: u16, kind: Kind, sectors: u64) {
    let Some(volume) = shared.vol_mut(vnr) else {
        return;
    };
    match kind {
        Kind::Read => volume.stat.read = volume.stat.read.saturating_add(sectors),
        Kind::Write | Kind::Discard | Kind::Zeroes => {
            volume.stat.written = volume.stat.written.saturating_add(sectors);
        }
        Kind::Flush => {}
    }
}

/// An application request failed on our disk. Read-ahead and discards may fail without harm.
fn refused(shared: &mut Shared, device: &Device, kind: Kind, retry: bool, status: Status) {
    let failure = match kind {
        Kind::Read if retry => Failure::Read,
        // A flush that failed may have lost what was written before it.
        Kind::Write | Kind::Zeroes | Kind::Flush => Failure::Write,
        Kind::Read | Kind::Discard => return,
    };
    let tag = Tag(device);
    pr_warn!(
        "{}: local {:?} IO error, errno {}\n",
        tag,
        failure,
        status.errno()
    );
    io_error_locked(shared, device, failure);
}

/// The disk failed us: does what `on-io-error` says.
pub(crate) fn io_error(device: &Device, failure: Failure) {
    io_error_locked(&mut device.resource.shared.lock(), device, failure);
    if failure == Failure::Forced {
        // At once: the worker may itself wait for this disk.
        abort(device);
    }
}

/// Requests of the application no longer wait for our disk. A request whose pages the disk may still write into or
/// read from, because they are the application's own, ends only when the disk gives them back.
pub(crate) fn abort(device: &Device) {
    {
        let mut shared = device.resource.shared.lock();
        let pending = |request: &Request| request.local() == Local::Pending;
        transfer::tell_all(&mut shared, device.vnr, Event::LocalAborted, pending);
    }
    transfer::finish(&device.resource);
    device.meta_wait.wake_all();
}

/// How often to look whether the disks of a resource take too long; none if that is not to be watched.
pub(crate) fn watch_ms(shared: &Shared) -> Option<u32> {
    let limits = shared.volumes.iter().filter_map(|volume| {
        let limit = volume.disk_conf.as_ref()?.disk_timeout;
        (limit > 0 && volume.has_disk()).then_some(limit)
    });
    // Tenths of a second.
    limits.min().map(|limit| limit.saturating_mul(100))
}

/// Gives up disks that keep a request for longer than `disk-timeout`.
pub(crate) fn check_patience(resource: &Resource) {
    let late = {
        let shared = resource.shared.lock();
        if watch_ms(&shared).is_none() {
            return;
        }
        let now = time::now_ms();
        let late = shared.transfer.log.iter().find(|(_, request)| {
            shared.vol(request.range.volume).is_some_and(|volume| {
                let limit = volume
                    .disk_conf
                    .as_ref()
                    .map_or(0, |conf| conf.disk_timeout);
                let limit = u64::from(limit).saturating_mul(100);
                volume.has_disk() && request.is_late_on_disk(now, limit, volume.attached_ms)
            })
        });
        let volume = late.and_then(|(_, request)| shared.vol(request.range.volume));
        volume.map(|volume| volume.device.clone())
    };
    if let Some(device) = late {
        pr_warn!(
            "{}: Local backing device failed to meet the disk-timeout\n",
            Tag(&device)
        );
        io_error(&device, Failure::Forced);
    }
}

/// As [`io_error`], under the lock; any context.
pub(crate) fn io_error_locked(shared: &mut Shared, device: &Device, failure: Failure) {
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let policy = volume
        .disk_conf
        .as_ref()
        .map_or(OnIoError::Detach, |conf| conf.on_io_error);
    let data = matches!(failure, Failure::Read | Failure::Write);
    if data && policy == OnIoError::PassOn {
        if matches!(
            volume.state.disk,
            DiskState::UpToDate | DiskState::Consistent | DiskState::Outdated
        ) {
            pr_err!(
                "{}: Local IO failed. The data are no longer complete.\n",
                Tag(device)
            );
            let worse = Change {
                disk: Some(DiskState::Inconsistent),
                ..Change::NONE
            };
            change::change_locked(shared, device.vnr, &worse, How::HARD);
        }
        return;
    }
    volume.flags.set(VolFlag::WasIoError);
    if failure == Failure::Read {
        volume.flags.set(VolFlag::WasReadError);
    }
    if failure == Failure::Forced {
        volume.flags.set(VolFlag::ForceDetach);
        volume.flags.set(VolFlag::Abandoned);
    }
    if matches!(volume.state.disk, DiskState::Diskless | DiskState::Failed) {
        return;
    }
    pr_err!(
        "{}: Local IO failed ({:?}). Detaching...\n",
        Tag(device),
        failure
    );
    let failed = Change {
        disk: Some(DiskState::Failed),
        ..Change::NONE
    };
    change::change_locked(shared, device.vnr, &failed, How::HARD);
}
