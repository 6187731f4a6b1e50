// SPDX-License-Identifier: GPL-2.0-only

//! A volume's block device `/dev/drbdN`, and the counted use of its local disk.
//!
//! The kernel's block layer calls in here: open, release and bios. A Secondary's device cannot be opened (EMEDIUMTYPE
//! for readers, EROFS for writers), and while somebody has it open it cannot become Secondary.
//!
//! The local disk is used through [`LocalRef`] only. It counts in `Counters::local`; a disk that failed or is being
//! detached goes away when nobody counts any more. The reference to the disk itself is given back *before* the count,
//! so that the last one to close the block device is always the worker, who may sleep. I/O in flight counts without a
//! reference (see [`LocalRef::into_in_flight`]) and may therefore end in an interrupt.

use crate::{
    activity::Activity, attach::Local, bitmap::Bitmap, faults, meta_io::Pages, prelude::*,
    resource::Resource, retry::Retry, worker::Todo,
};
use drbd_core::{
    config::DiskConf,
    faults::Fault,
    types::{DiskState, Role, State},
};
use kernel_ext::block::{Bio, BioDisk, BioDriver};

/// A volume of a resource.
#[pin_data]
pub(crate) struct Device {
    /// `N` of `/dev/drbdN`.
    pub(crate) minor: u32,
    /// Its number within the resource.
    pub(crate) vnr: u16,
    /// Its resource. The cycle (the resource lists its devices) is broken when the volume is deleted.
    pub(crate) resource: Arc<Resource>,
    /// Which blocks differ from the peer's.
    #[pin]
    pub(crate) bitmap: Bitmap,
    /// Which parts of it may have writes in flight.
    #[pin]
    pub(crate) activity: Activity,
    /// Who reads here what the peer did not serve.
    #[pin]
    pub(crate) retry: Retry,
    /// What metadata travel in.
    #[pin]
    pub(crate) meta_pages: Pages,
    /// Who waits for metadata I/O.
    #[pin]
    pub(crate) meta_wait: WaitQueue,
    /// The block device; taken away when the volume is deleted.
    #[pin]
    disk: Mutex<Option<BioDisk<Device>>>,
}

impl Device {
    /// Makes the bitmap fit a disk of that size, see [`Bitmap::resize`]. May sleep.
    pub(crate) fn resize_bitmap(&self, sectors: u64, set_new: bool) -> Result {
        if faults::strikes(self.minor, Fault::BitmapAllocation) {
            return Err(ENOMEM);
        }
        self.bitmap.resize(sectors, set_new)
    }

    /// A device that has no disk in `/dev` yet; see [`Device::publish`].
    pub(crate) fn new(resource: Arc<Resource>, minor: u32, vnr: u16) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                minor,
                vnr,
                resource,
                bitmap <- Bitmap::new(),
                activity <- Activity::new(),
                retry <- Retry::new(),
                meta_pages <- Pages::new(),
                meta_wait <- new_wait_queue!(),
                disk <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Works on the block device, if it (still) exists.
    pub(crate) fn with_disk<R>(&self, work: impl FnOnce(&BioDisk<Device>) -> R) -> Option<R> {
        self.disk.lock().as_ref().map(work)
    }

    /// Makes `/dev/drbdN` appear.
    pub(crate) fn publish(&self, disk: BioDisk<Device>) {
        *self.disk.lock() = Some(disk);
    }

    /// Makes `/dev/drbdN` disappear. Nobody has it open: a Secondary cannot be open.
    pub(crate) fn unpublish(&self) {
        let disk = self.disk.lock().take();
        drop(disk);
    }

    /// Its state; none once the volume is deleted.
    pub(crate) fn state(&self) -> Option<State> {
        let shared = self.resource.shared.lock();
        shared.vol(self.vnr).map(|volume| volume.state)
    }

    /// The state of the local disk.
    pub(crate) fn disk_state(&self) -> DiskState {
        self.state().map_or(DiskState::Diskless, |state| state.disk)
    }

    /// Its role.
    pub(crate) fn role(&self) -> Role {
        self.state().map_or(Role::Secondary, |state| state.role)
    }

    /// The configuration of the local disk.
    pub(crate) fn disk_conf(&self) -> Option<DiskConf> {
        let shared = self.resource.shared.lock();
        shared.vol(self.vnr).and_then(|volume| volume.disk_conf)
    }

    /// Its size in sectors.
    pub(crate) fn capacity(&self) -> u64 {
        let shared = self.resource.shared.lock();
        shared.vol(self.vnr).map_or(0, |volume| volume.capacity)
    }

    /// The peer's disk in sectors; 0 while unknown.
    pub(crate) fn peer_disk_size(&self) -> u64 {
        let shared = self.resource.shared.lock();
        shared
            .vol(self.vnr)
            .map_or(0, |volume| volume.peer_disk_size)
    }

    /// Uses the local disk, if it is attached for good.
    pub(crate) fn get_local(this: &Arc<Self>) -> Option<LocalRef> {
        Self::get_local_if(this, crate::resource::usable)
    }

    /// Uses the local disk, if there is one and its state is `acceptable`.
    pub(crate) fn get_local_if(
        this: &Arc<Self>,
        acceptable: impl FnOnce(DiskState) -> bool,
    ) -> Option<LocalRef> {
        let mut shared = this.resource.shared.lock();
        let volume = shared.vol_mut(this.vnr)?;
        if !acceptable(volume.state.disk) {
            return None;
        }
        let local = volume.local.clone()?;
        volume.stat.local = volume.stat.local.saturating_add(1);
        drop(shared);
        Some(LocalRef {
            device: Some(this.clone()),
            local: Some(local),
        })
    }

    /// One more user of the local disk, which somebody uses already, for I/O in flight; [`Device::put_local`] ends it.
    pub(crate) fn count_in_flight(&self) {
        if let Some(volume) = self.resource.shared.lock().vol_mut(self.vnr) {
            volume.stat.local = volume.stat.local.saturating_add(1);
        }
    }

    /// One user of the local disk less; from any context. The last one lets a failed disk go.
    pub(crate) fn put_local(&self) {
        let mut shared = self.resource.shared.lock();
        let Some(volume) = shared.vol_mut(self.vnr) else {
            return;
        };
        volume.stat.local = volume.stat.local.saturating_sub(1);
        if volume.stat.local > 0 {
            return;
        }
        let todo = match volume.state.disk {
            DiskState::Failed => Some(Todo::GoDiskless),
            DiskState::Diskless => Some(Todo::ReleaseDisk),
            _ => None,
        };
        if let Some(todo) = todo {
            volume.todo.set(todo);
        }
        drop(shared);
        if todo.is_some() {
            self.resource.worker.wake();
        }
        self.resource.state_wait.wake_all();
    }
}

/// A use of the local disk: it stays attached until this is dropped. Process context only.
pub(crate) struct LocalRef {
    device: Option<Arc<Device>>,
    local: Option<Arc<Local>>,
}

impl LocalRef {
    /// The disk.
    pub(crate) fn disk(&self) -> Option<&Local> {
        self.local.as_deref()
    }

    /// One more use, without a reference, for I/O in flight; [`Device::put_local`] ends it, from any context.
    pub(crate) fn count_in_flight(&self) {
        if let Some(device) = &self.device {
            device.count_in_flight();
        }
    }

    /// Turns the use into a bare count, for I/O in flight; [`Device::put_local`] ends it, from any context.
    pub(crate) fn into_in_flight(mut self) -> Option<Arc<Device>> {
        self.local = None;
        self.device.take()
    }
}

impl Drop for LocalRef {
    fn drop(&mut self) {
        self.local = None;
        if let Some(device) = self.device.take() {
            device.put_local();
        }
    }
}

impl BioDriver for Device {
    type Module = crate::Drbdrs;

    fn submit(this: &Arc<Self>, bio: Bio) {
        crate::submit::submit(this, bio);
    }

    fn open(this: &Arc<Self>, write: bool) -> Result {
        let mut shared = this.resource.shared.lock();
        let volume = shared.vol_mut(this.vnr).ok_or(ENODEV)?;
        if volume.state.role != Role::Primary {
            return Err(if write { EROFS } else { EMEDIUMTYPE });
        }
        volume.openers = volume.openers.saturating_add(1);
        Ok(())
    }

    fn release(this: &Arc<Self>) {
        let mut shared = this.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(this.vnr) {
            volume.openers = volume.openers.saturating_sub(1);
        }
    }
}
