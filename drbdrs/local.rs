// SPDX-License-Identifier: GPL-2.0-only

//! I/O on the local disk, and what its failures lead to.

use crate::{
    change,
    device::Device,
    prelude::*,
    submit,
    tag::Tag,
};
use drbd_core::{
    config::choices::OnIoError,
    state::Change,
    types::DiskState,
};
use kernel_ext::block::{Bio, EndIo, Op, Status};

/// A bio of the application on its way through the local disk.
pub(crate) struct AppIo {
    pub(crate) device: Arc<Device>,
    pub(crate) bio: Bio,
    pub(crate) op: Op,
}

impl AppIo {
    /// Completes it.
    pub(crate) fn end(self, status: Status) {
        let Self { device, bio, op } = self;
        if !status.is_ok() && status != Status::NOT_SUPPORTED {
            let failure = match op {
                Op::Read => Failure::Read,
                _ => Failure::Write,
            };
            io_error(&device, failure);
        }
        device.put_local();
        submit::finish(&device);
        bio.end(status);
    }
}

impl EndIo for AppIo {
    fn end_io(self, status: Status) {
        self.end(status);
    }
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A read of data.
    Read,
    /// A write of data.
    Write,
    /// Metadata.
    Metadata,
}

/// The local disk failed an I/O: what `on-io-error` says. From any context.
pub(crate) fn io_error(device: &Device, failure: Failure) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let policy = volume.disk_conf.as_ref().map_or(OnIoError::Detach, |conf| conf.on_io_error);
    volume.flags.set(VolFlag::WAS_IO_ERROR);
    if failure == Failure::Read {
        volume.flags.set(VolFlag::WAS_READ_ERROR);
    }
    let attached = crate::resource::usable(volume.state.disk);
    let better = attached && volume.state.disk != DiskState::Inconsistent;
    // Metadata that cannot be written are never passed on: nothing could be promised any more.
    if policy == OnIoError::PassOn && failure != Failure::Metadata {
        if better && failure == Failure::Write {
            let change = Change::disk(DiskState::Inconsistent);
            change::change_hard(&mut shared, device.vnr, &change);
        }
        return;
    }
    if attached {
        pr_err!("{}: local {:?} error, detaching\n", Tag(device), failure);
        change::change_hard(&mut shared, device.vnr, &Change::disk(DiskState::Failed));
    }
}
