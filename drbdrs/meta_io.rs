// SPDX-License-Identifier: GPL-2.0-only

//! Pages of metadata on their way to or from the disk, and patience with a disk that does not answer.
//!
//! A page travels in a copy of its own. So who has waited for longer than `disk-timeout`, or hears that the disk is
//! given up by force, can go on: the copy, and the use of the disk, stay with the I/O until it ends. The copies belong
//! to the device ([`Pages`]) and are got when a disk is attached; what comes back late is used again.
//!
//! ```text
//!   Free --take--> Out (filled, submitted) --end of I/O--> Back --collect--> Out --give back--> Free
//!                     '--nobody waits any more--> Forgotten --end of I/O--> Free
//! ```
//! Many pages go in a [`MetaIo`], a window at a time.

use crate::{attach::Local, device::Device, faults, prelude::*, tag::Tag, worker::Todo};
use drbd_core::faults::Fault;
use kernel_ext::block::{BackingDevice, EndIo, Flags, Op, OutBio, PageBuf, PageVec, Status};

/// Bytes of a page.
const PAGE: usize = 4096;
/// Pages that are on their way together.
const WINDOW: usize = 64;
/// Pages of a device: a window, and beside it the activity log's and one for luck.
const PAGES: usize = WINDOW + 2;

/// Where a page is.
enum Slot {
    /// Nobody uses it.
    Free(PageVec),
    /// In somebody's hands, or with the disk.
    Out,
    /// With the disk, and nobody waits for it.
    Forgotten,
    /// The disk has answered.
    Back(Status, PageVec),
}

/// The pages of a device.
#[pin_data]
pub(crate) struct Pages {
    #[pin]
    slots: IrqLock<KVec<Slot>>,
}

impl Pages {
    /// None yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { slots <- new_irq_lock!(KVec::new()) })
    }

    /// Gets them, for a disk that is attached. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn reserve(&self) -> Result {
        let mut fresh = KVec::with_capacity(PAGES, GFP_KERNEL)?;
        for _ in 0..PAGES {
            fresh.push(Slot::Free(PageVec::alone(PAGE)?), GFP_KERNEL)?;
        }
        let mut slots = self.slots.lock();
        if slots.is_empty() {
            core::mem::swap(&mut *slots, &mut fresh);
        }
        drop(slots);
        Ok(())
    }

    /// Gives them back: the disk is gone.
    pub(crate) fn release(&self) {
        let old = core::mem::replace(&mut *self.slots.lock(), KVec::new());
        drop(old);
    }

    fn take(&self) -> Option<(usize, PageVec)> {
        let mut slots = self.slots.lock();
        let mut free = slots.iter_mut().zip(0..=PAGES);
        let (slot, at) = free.find(|(slot, _)| matches!(slot, Slot::Free(_)))?;
        match core::mem::replace(slot, Slot::Out) {
            Slot::Free(pages) => Some((at, pages)),
            _ => None,
        }
    }

    fn with(&self, at: usize, change: impl FnOnce(Slot) -> Slot) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(at) {
            *slot = change(core::mem::replace(slot, Slot::Out));
        }
    }

    fn give_back(&self, at: usize, pages: PageVec) {
        self.with(at, |_| Slot::Free(pages));
    }

    /// The disk has answered. Any context.
    fn ended(&self, at: usize, status: Status, pages: PageVec) {
        self.with(at, |slot| match slot {
            Slot::Forgotten => Slot::Free(pages),
            _ => Slot::Back(status, pages),
        });
    }

    fn forget(&self, at: usize) {
        self.with(at, |slot| match slot {
            Slot::Back(_, pages) => Slot::Free(pages),
            _ => Slot::Forgotten,
        });
    }

    fn collect(&self, at: usize) -> Option<(Status, PageVec)> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(at)?;
        if !matches!(slot, Slot::Back(..)) {
            return None;
        }
        match core::mem::replace(slot, Slot::Out) {
            Slot::Back(status, pages) => Some((status, pages)),
            _ => None,
        }
    }

    /// How many of these are back.
    fn count_back(&self, list: impl Iterator<Item = usize>) -> usize {
        let slots = self.slots.lock();
        let is_back = |at: &usize| matches!(slots.get(*at), Some(Slot::Back(..)));
        count(list.filter(is_back))
    }
}

fn count<T>(list: impl Iterator<Item = T>) -> usize {
    list.fold(0, |sum: usize, _| sum.saturating_add(1))
}

/// Travels with the bio.
struct OnItsWay {
    device: Arc<Device>,
    at: usize,
    pages: PageVec,
}

impl EndIo for OnItsWay {
    fn end_io(self, status: Status) {
        let Self { device, at, pages } = self;
        device.meta_pages.ended(at, status, pages);
        device.meta_wait.wake_all();
        device.put_local();
    }

    fn pages(&self) -> Option<&PageVec> {
        Some(&self.pages)
    }
}

/// Metadata I/O of a disk, one at a time but for the activity log's: what [`Local::meta_io`] guards.
pub(crate) struct MetaIo {
    /// The page that superblocks and bitmap pages pass through.
    pub(crate) page: PageBuf,
    window: KVec<Entry>,
    /// What was written may be in the disk's cache only.
    cached: bool,
}

/// A page of a window.
struct Entry {
    /// What the caller calls it.
    tag: usize,
    sector: u64,
    at: usize,
    /// None once the disk has it.
    pages: Option<PageVec>,
    sent: bool,
}

impl MetaIo {
    /// With a page that is there already. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(page: PageBuf) -> Result<Self> {
        Ok(Self {
            page,
            window: KVec::with_capacity(WINDOW, GFP_KERNEL)?,
            cached: false,
        })
    }

    /// Whether one more page fits into the window.
    pub(crate) fn has_room(&self) -> bool {
        self.window.len() < WINDOW
    }

    /// Adds a page to be read from `sector`. May sleep.
    ///
    /// # Errors
    ///
    /// As [`write`].
    pub(crate) fn add(&mut self, device: &Device, tag: usize, sector: u64) -> Result {
        let (at, pages) = take(device)?;
        let entry = Entry {
            tag,
            sector,
            at,
            pages: Some(pages),
            sent: false,
        };
        // There is room, or it goes back.
        if let Err(full) = self.window.push_within_capacity(entry) {
            if let Some(pages) = full.0.pages {
                give_back(device, at, pages);
            }
            return Err(ENOMEM);
        }
        Ok(())
    }

    /// Adds a copy of [`MetaIo::page`], to be written to `sector`. May sleep.
    ///
    /// # Errors
    ///
    /// As [`write`].
    pub(crate) fn add_copy(&mut self, device: &Device, tag: usize, sector: u64) -> Result {
        self.add(device, tag, sector)?;
        match self
            .window
            .last_mut()
            .and_then(|entry| entry.pages.as_mut())
        {
            Some(pages) => fill(pages, &self.page),
            None => Ok(()),
        }
    }

    /// Reads the window, unless it is not `ready`; `each` gets what was read. May sleep.
    ///
    /// # Errors
    ///
    /// As [`write`]: the first one.
    pub(crate) fn read(
        &mut self,
        device: &Arc<Device>,
        disk: &Local,
        ready: Result,
        mut each: impl FnMut(usize, &PageVec),
    ) -> Result {
        let flags = Flags {
            sync: true,
            meta: true,
            ..Flags::default()
        };
        self.run(device, disk, ready, (Op::Read, flags), |tag, pages| {
            if let Some(pages) = pages {
                each(tag, pages);
            }
        })
    }

    /// Writes the window, unless it is not `ready`; `lost` hears of each page that was not written. What was written
    /// without `fua` is stable after [`MetaIo::settle`]. May sleep.
    ///
    /// # Errors
    ///
    /// As [`write`]: the first one.
    pub(crate) fn write(
        &mut self,
        device: &Arc<Device>,
        disk: &Local,
        ready: Result,
        fua: bool,
        mut lost: impl FnMut(usize),
    ) -> Result {
        let flags = Flags {
            sync: true,
            meta: true,
            fua: fua && disk.flushes(),
            ..Flags::default()
        };
        self.cached |= !fua;
        self.run(device, disk, ready, (Op::Write, flags), |tag, pages| {
            if pages.is_none() {
                lost(tag);
            }
        })
    }

    /// Makes stable what windows wrote. May sleep.
    ///
    /// # Errors
    ///
    /// As [`write`].
    pub(crate) fn settle(&mut self, device: &Arc<Device>, disk: &Local) -> Result {
        if self.cached && disk.flushes() {
            flush(device, disk.meta())?;
        }
        self.cached = false;
        Ok(())
    }

    /// Submits all, waits for all, and empties the window. `each` gets every page, or none where it failed.
    fn run(
        &mut self,
        device: &Arc<Device>,
        disk: &Local,
        ready: Result,
        (op, flags): (Op, Flags),
        mut each: impl FnMut(usize, Option<&PageVec>),
    ) -> Result {
        let fault = match op {
            Op::Read => Fault::MetadataRead,
            _ => Fault::MetadataWrite,
        };
        let mut result = ready;
        for entry in self.window.iter_mut() {
            let Some(pages) = entry.pages.take() else {
                continue;
            };
            if result.is_ok() && faults::strikes(device.minor, fault) {
                result = Err(EIO);
            }
            if result.is_err() {
                give_back(device, entry.at, pages);
                continue;
            }
            let sector = entry.sector;
            result = start(device, entry.at, pages, |io| {
                OutBio::submit_pages(disk.meta(), op, flags, sector, io)
            });
            entry.sent = result.is_ok();
        }
        let in_time = wait_for_all(device, &self.window);
        let mut missing = false;
        for entry in self.window.drain_all() {
            let ended = match entry.sent {
                true => collect(device, entry.at),
                false => Err(EIO),
            };
            each(entry.tag, ended.as_ref().ok());
            match ended {
                Ok(pages) => give_back(device, entry.at, pages),
                Err(error) => {
                    missing |= error == ETIMEDOUT;
                    result = result.and(Err(error));
                }
            }
        }
        // One that came at the last moment came.
        if missing && !in_time {
            late(device);
        }
        result
    }
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
    if stable && disk.external.is_some() {
        // With internal metadata the flush in front of the write does this.
        flush_data(device, disk)?;
    }
    let (at, mut pages) = take(device)?;
    if let Err(error) = fill(&mut pages, page) {
        give_back(device, at, pages);
        return Err(error);
    }
    carry(device, at, pages, |io| {
        OutBio::submit_pages(disk.meta(), Op::Write, flags, sector, io)
    })
}

/// What metadata say of the data must be true of what is stable: that an extent is not in use any more, that a block
/// is in sync. May sleep.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn flush_data(device: &Arc<Device>, disk: &Local) -> Result {
    if !disk.data.limits().write_cache {
        return Ok(());
    }
    flush(device, &disk.data)
}

fn flush(device: &Arc<Device>, disk: &BackingDevice) -> Result {
    let flags = Flags {
        sync: true,
        preflush: true,
        ..Flags::default()
    };
    // The page is not written; its place says when the flush has ended.
    let (at, pages) = take(device)?;
    carry(device, at, pages, |io| {
        match OutBio::without_data(disk, Op::Flush, flags, 0, 0) {
            Ok(bio) => {
                bio.submit(io);
                Ok(())
            }
            Err(error) => Err((io, error)),
        }
    })
}

fn fill(pages: &mut PageVec, from: &PageBuf) -> Result {
    pages.fill(|part| {
        let bytes = from.bytes().get(..part.len()).ok_or(EINVAL)?;
        part.copy_from_slice(bytes);
        Ok(())
    })
}

/// A page to be filled and submitted.
fn take(device: &Device) -> Result<(usize, PageVec)> {
    let mut taken = None;
    let in_time = wait(device, || {
        taken = taken.take().or_else(|| device.meta_pages.take());
        taken.is_some()
    });
    match taken {
        Some(taken) if !is_abandoned(device) => Ok(taken),
        Some((at, pages)) => {
            give_back(device, at, pages);
            Err(EIO)
        }
        None if in_time => Err(EIO),
        None => {
            late(device);
            Err(ETIMEDOUT)
        }
    }
}

fn give_back(device: &Device, at: usize, pages: PageVec) {
    device.meta_pages.give_back(at, pages);
    device.meta_wait.wake_all();
}

/// Submits, and waits.
fn carry(
    device: &Arc<Device>,
    at: usize,
    pages: PageVec,
    submit: impl FnOnce(OnItsWay) -> Result<(), (OnItsWay, Error)>,
) -> Result {
    start(device, at, pages, submit)?;
    let in_time = wait(device, || {
        device.meta_pages.count_back([at].into_iter()) > 0
    });
    let ended = collect(device, at).map(|pages| give_back(device, at, pages));
    // One that came at the last moment came.
    if !in_time && ended == Err(ETIMEDOUT) {
        late(device);
    }
    ended
}

fn start(
    device: &Arc<Device>,
    at: usize,
    pages: PageVec,
    submit: impl FnOnce(OnItsWay) -> Result<(), (OnItsWay, Error)>,
) -> Result {
    let io = OnItsWay {
        device: device.clone(),
        at,
        pages,
    };
    device.count_in_flight();
    submit(io).map_err(|(io, error)| {
        give_back(device, at, io.pages);
        device.put_local();
        error
    })
}

/// What came of an I/O that is waited for no longer.
fn collect(device: &Device, at: usize) -> Result<PageVec> {
    match device.meta_pages.collect(at) {
        Some((status, pages)) if status.is_ok() => Ok(pages),
        Some((_, pages)) => {
            give_back(device, at, pages);
            Err(EIO)
        }
        None => {
            device.meta_pages.forget(at);
            Err(ETIMEDOUT)
        }
    }
}

/// The disk did not answer in time.
fn late(device: &Device) {
    pr_err!(
        "{}: metadata I/O failed to meet the disk-timeout\n",
        Tag(device)
    );
    abandon(device);
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

/// Waits for what was sent; false if for too long nothing comes back.
fn wait_for_all(device: &Device, window: &[Entry]) -> bool {
    let sent = || window.iter().filter(|entry| entry.sent);
    let back = || {
        let places = sent().map(|entry| entry.at);
        device.meta_pages.count_back(places)
    };
    let all = count(sent());
    let mut before = 0;
    loop {
        if wait(device, || back() >= all) {
            return true;
        }
        let now = back();
        if now <= before {
            return false;
        }
        before = now;
    }
}

/// Waits for the end, or for the disk to be given up; false if that takes too long.
fn wait(device: &Device, mut ended: impl FnMut() -> bool) -> bool {
    let over = || ended() || is_abandoned(device);
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
