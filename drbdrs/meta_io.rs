// SPDX-License-Identifier: GPL-2.0-only

//! Pages of metadata on their way to or from the disk, and patience with a disk that does not answer.
//!
//! The page travels in a copy of its own. So who has waited for longer than `disk-timeout`, or hears that the disk is
//! given up by force, can go on: the copy, and the use of the disk, stay with the I/O until it ends.

use crate::{attach::Local, device::Device, faults, prelude::*, tag::Tag, worker::Todo};
use drbd_core::faults::Fault;
use kernel_ext::block::{EndIo, Flags, NoIo, Op, OutBio, PageBuf, PageVec, Status};

/// Bytes of a page.
const PAGE: usize = 4096;

/// What the I/O leaves for the one who waits.
#[pin_data]
struct Done {
    #[pin]
    result: IrqLock<Option<(Status, Option<PageVec>)>>,
}

/// Travels with the bio.
struct OnItsWay {
    device: Arc<Device>,
    pages: Option<PageVec>,
    done: Arc<Done>,
}

impl EndIo for OnItsWay {
    fn end_io(self, status: Status) {
        let Self {
            device,
            pages,
            done,
        } = self;
        *done.result.lock() = Some((status, pages));
        drop(done);
        device.meta_wait.wake_all();
        device.put_local();
    }

    fn pages(&self) -> Option<&PageVec> {
        self.pages.as_ref()
    }
}

/// Reads one page of the metadata device. May sleep.
///
/// # Errors
///
/// `EIO`; `ETIMEDOUT` when the disk did not answer, and is given up.
pub(crate) fn read(device: &Arc<Device>, disk: &Local, sector: u64, page: &mut PageBuf) -> Result {
    if faults::strikes(device.minor, Fault::MetadataRead) {
        return Err(EIO);
    }
    let flags = Flags {
        sync: true,
        meta: true,
        ..Flags::default()
    };
    let pages = PageVec::new(&device.resource.pools.metadata, PAGE);
    let pages = carry(device, Some(pages), |io| {
        OutBio::submit_pages(disk.meta(), Op::Read, flags, sector, io)
    })?;
    let pages = pages.ok_or(EIO)?;
    let mut into = page.bytes_mut().iter_mut();
    pages.for_each(|part| {
        into.by_ref().zip(part).for_each(|(to, from)| *to = *from);
        Ok(())
    })
}

/// Writes one page of the metadata device; it is stable when this returns. May sleep.
///
/// # Errors
///
/// `EIO`; `ETIMEDOUT` when the disk did not answer, and is given up.
pub(crate) fn write(device: &Arc<Device>, disk: &Local, sector: u64, page: &PageBuf) -> Result {
    if faults::strikes(device.minor, Fault::MetadataWrite) {
        return Err(EIO);
    }
    let stable = disk.flushes();
    let flags = Flags {
        sync: true,
        meta: true,
        preflush: stable,
        fua: stable,
        ..Flags::default()
    };
    let mut pages = PageVec::new(&device.resource.pools.metadata, PAGE);
    pages.fill(|part| {
        let bytes = page.bytes().get(..part.len()).ok_or(EINVAL)?;
        part.copy_from_slice(bytes);
        Ok::<_, Error>(())
    })?;
    if stable {
        flush_data(device, disk)?;
    }
    let write = |io| OutBio::submit_pages(disk.meta(), Op::Write, flags, sector, io);
    carry(device, Some(pages), write).map(drop)
}

/// What metadata say of the data must be true of what is stable: that an extent is not in use any more, that a block
/// is in sync. With internal metadata the flush in front of the write does this.
fn flush_data(device: &Arc<Device>, disk: &Local) -> Result {
    if disk.external.is_none() || !disk.data.limits().write_cache {
        return Ok(());
    }
    let flags = Flags {
        sync: true,
        preflush: true,
        ..Flags::default()
    };
    let flush = |io| match OutBio::without_data(&disk.data, Op::Flush, flags, 0, 0) {
        Ok(bio) => {
            bio.submit(io);
            Ok(())
        }
        Err(error) => Err((io, error)),
    };
    carry(device, None, flush).map(drop)
}

/// Submits, and waits.
fn carry(
    device: &Arc<Device>,
    pages: Option<PageVec>,
    submit: impl FnOnce(OnItsWay) -> Result<(), (OnItsWay, Error)>,
) -> Result<Option<PageVec>> {
    if is_abandoned(device) {
        return Err(EIO);
    }
    let done = {
        let _noio = NoIo::enter();
        let new = pin_init!(Done { result <- new_irq_lock!(None) });
        Arc::pin_init(new, GFP_KERNEL)?
    };
    let io = OnItsWay {
        device: device.clone(),
        pages,
        done: done.clone(),
    };
    device.count_in_flight();
    if let Err((io, error)) = submit(io) {
        drop(io);
        device.put_local();
        return Err(error);
    }
    let in_time = wait(device, &done);
    match done.result.lock().take() {
        Some((status, pages)) if status.is_ok() => return Ok(pages),
        Some(_) => return Err(EIO),
        None => {}
    }
    if !in_time {
        pr_err!(
            "{}: metadata I/O failed to meet the disk-timeout\n",
            Tag(device)
        );
        abandon(device);
    }
    Err(ETIMEDOUT)
}

/// Nobody waits for the disk any more. The worker does the rest: we may be deep in somebody's stack.
fn abandon(device: &Device) {
    if let Some(volume) = device.resource.shared.lock().vol_mut(device.vnr) {
        volume.flags.set(VolFlag::Abandoned);
        volume.todo.set(Todo::AbandonDisk);
    }
    device.meta_wait.wake_all();
    device.resource.worker.wake();
}

/// Waits for the end; false if that takes too long.
fn wait(device: &Device, done: &Done) -> bool {
    let over = || done.result.lock().is_some() || is_abandoned(device);
    // Tenths of a second.
    let patience = device.disk_conf().map_or(0, |conf| conf.disk_timeout);
    if patience == 0 {
        device.meta_wait.wait(over);
        return true;
    }
    device
        .meta_wait
        .wait_timeout(patience.saturating_mul(100), over)
}

fn is_abandoned(device: &Device) -> bool {
    let shared = device.resource.shared.lock();
    let volume = shared.vol(device.vnr);
    volume.is_none_or(|volume| volume.flags.has(VolFlag::Abandoned))
}
