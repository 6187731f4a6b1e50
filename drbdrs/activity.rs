// SPDX-License-Identifier: GPL-2.0-only

//! The activity log of a device: the core's log in memory, its transactions on disk, and the writes that wait for one.
//!
//! ```text
//!  submit --> all extents hot? --yes--> route (submit.rs)
//!                  | no                    ^
//!                  v                       | their extents are in the log on disk
//!                queue --> thread: begin as many as fit --> bitmap pages of the extents that leave --> transaction
//! ```
//! The one who submits a bio must not wait for metadata I/O, because the block layer keeps what is submitted from
//! within a submission until that has returned; so a thread of the device writes the transactions. What gathers in
//! its queue meanwhile shares the next one.
//!
//! What starts again, because I/O was frozen or two Primaries wrote to one place, goes through the same thread.
//!
//! A write holds its extents ([`Hold`]) until it is forgotten: until the peer has it on stable storage, or its blocks
//! are marked in the bitmap.

use crate::{
    attach::Local,
    device::Device,
    local, meta_io, peer_data,
    prelude::*,
    resource::{Shared, VolumeShared},
    submit, transfer,
};
use drbd_core::{
    activity_log::{self, extents, heads_for, ActivityLog, Begun, Extents, MOST_SLOTS},
    handshake::Ring,
    interval::Range,
    meta::{log, Flags, Layout},
    request::{Request, SlotId},
    transaction::{self, Reason, Step, EXTENTS_PER_PAGE},
};
use kernel_ext::{
    block::{Bio, NoIo, Op, PageBuf},
    thread::Thread,
};

/// Bios that wait for the thread; who has one more waits.
const QUEUE: usize = 1024;
/// How long the last writes may take to be forgotten when the log is replaced.
const QUIET_MS: u32 = 10_000;

/// The log of an attached disk; under the resource's lock.
pub(crate) struct VolumeLog {
    log: ActivityLog<KVVec<activity_log::Slot>, KVVec<u32>>,
    /// Which log it is: holds of another one are void.
    serial: u32,
    /// Transactions are written (`al-updates`).
    updates: bool,
    /// Somebody waits for a slot.
    waiting: bool,
}

impl VolumeLog {
    /// Extents that it has room for.
    pub(crate) fn slots(&self) -> u32 {
        u32::from(self.log.len())
    }

    /// Extents that writes hold.
    pub(crate) fn in_use(&self) -> u32 {
        self.log.in_use()
    }
}

/// What a device has for it.
#[pin_data]
pub(crate) struct Activity {
    #[pin]
    queue: IrqLock<Queue>,
    /// The thread waits here, and who waits for a slot or for room in the queue.
    #[pin]
    wake: WaitQueue,
    /// Who writes a transaction holds it.
    #[pin]
    page: Mutex<PageBuf>,
    #[pin]
    thread: Mutex<Option<Thread>>,
}

struct Queue {
    bios: KVVec<Bio>,
    stop: bool,
}

/// Extents in use by a write. Must not be dropped under the resource's lock.
pub(crate) struct Hold {
    device: Option<Arc<Device>>,
    range: Range,
    serial: u32,
}

impl Hold {
    /// Leaves the end of the use to [`end`], which gets what this returns.
    pub(crate) fn keep(mut self) -> u32 {
        self.device = None;
        self.serial
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(device) = self.device.take() {
            if let Some(volume) = device.resource.shared.lock().vol_mut(device.vnr) {
                end(volume, &self.range, self.serial);
            }
        }
    }
}

/// What comes of a write that wants to start.
pub(crate) enum Entered {
    /// There is no log, or it is none of its business.
    Free,
    /// It may start.
    Hot(Hold),
    /// It must wait for a transaction: [`wait_in_line`].
    Cold,
}

impl Activity {
    /// Nothing waits.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            queue <- new_irq_lock!(Queue { bios: KVVec::new(), stop: false }),
            wake <- new_wait_queue!(),
            page <- new_mutex!(PageBuf::new()?),
            thread <- new_mutex!(None),
        })
    }

    /// The device is deleted: the thread ends.
    pub(crate) fn stop(&self) {
        self.queue.lock().stop = true;
        self.wake.wake_all();
        let thread = self.thread.lock().take();
        drop(thread);
    }

    /// The disk is not used any more: who waits for its log need not. From any context.
    pub(crate) fn look_again(&self) {
        self.wake.wake_all();
    }

    /// There is something that starts again. Any context.
    pub(crate) fn wake(&self) {
        self.wake.wake_all();
    }

    /// The device comes. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or those of making a thread.
    pub(crate) fn start(&self, device: &Arc<Device>) -> Result {
        let room = KVVec::with_capacity(QUEUE, GFP_KERNEL)?;
        let batch = KVVec::with_capacity(QUEUE, GFP_KERNEL)?;
        let ready = KVVec::with_capacity(QUEUE, GFP_KERNEL)?;
        self.queue.lock().bios = room;
        let name = CString::try_from_fmt(fmt!("drbd{}_al", device.minor))?;
        let owned = device.clone();
        let thread = Thread::spawn(&name, move || run(&owned, batch, ready))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }
}

/// An attached disk gets its log: empty, as `apply-al` left the one on disk.
#[inline(never)]
pub(crate) fn attach(device: &Arc<Device>, slots: u32, updates: bool) -> Result {
    let new = new_log(slots, updates)?;
    let old = install(device, new);
    drop(old);
    Ok(())
}

fn new_log(slots: u32, updates: bool) -> Result<KBox<VolumeLog>> {
    let slots = usize::try_from(slots)
        .unwrap_or(0)
        .clamp(log::UPDATES, MOST_SLOTS as usize);
    let heads = KVVec::from_elem(0u32, heads_for(slots), GFP_KERNEL)?;
    let slots = KVVec::from_elem(activity_log::Slot::default(), slots, GFP_KERNEL)?;
    let new = VolumeLog {
        log: ActivityLog::new(slots, heads),
        serial: 0,
        updates,
        waiting: false,
    };
    Ok(KBox::new(new, GFP_KERNEL)?)
}

fn install(device: &Device, mut new: KBox<VolumeLog>) -> Option<KBox<VolumeLog>> {
    let mut shared = device.resource.shared.lock();
    let volume = shared.vol_mut(device.vnr)?;
    volume.al_serial = volume.al_serial.wrapping_add(1).max(1);
    new.serial = volume.al_serial;
    volume.al.replace(new)
}

/// The disk goes.
pub(crate) fn detach(device: &Device) {
    let old = match device.resource.shared.lock().vol_mut(device.vnr) {
        Some(volume) => volume.al.take(),
        None => None,
    };
    drop(old);
    device.activity.wake.wake_all();
}

/// A write wants to start.
pub(crate) fn enter(device: &Arc<Device>, range: &Range) -> Entered {
    let mut shared = device.resource.shared.lock();
    let Some(log) = log_of(&mut shared, device.vnr) else {
        return Entered::Free;
    };
    if !log.log.begin_hot(touched(range)) {
        return Entered::Cold;
    }
    Entered::Hot(Hold {
        device: Some(device.clone()),
        range: *range,
        serial: log.serial,
    })
}

/// As [`enter`], for what our disk may be slow with: it waits for the thread even if its extents are hot.
pub(crate) fn enter_in_line(device: &Device) -> Entered {
    match log_of(&mut device.resource.shared.lock(), device.vnr) {
        Some(_) => Entered::Cold,
        None => Entered::Free,
    }
}

/// The log, if the disk is in use.
fn log_of(shared: &mut Shared, vnr: u16) -> Option<&mut VolumeLog> {
    let volume = shared.vol_mut(vnr)?;
    if !volume.has_disk() {
        return None;
    }
    volume.al.as_deref_mut()
}

/// Whether the write that has `hold` needs no other one.
pub(crate) fn holds(shared: &Shared, device: &Device, hold: &Option<Hold>) -> bool {
    let volume = shared.vol(device.vnr);
    let log = volume.and_then(|volume| volume.al.as_ref());
    log.is_none_or(|log| hold.as_ref().is_some_and(|hold| hold.serial == log.serial))
}

fn touched(range: &Range) -> Extents {
    extents(range.sector, u64::from(range.sectors))
}

/// Leaves a cold write to the thread. May wait for room.
pub(crate) fn wait_in_line(device: &Device, bio: Bio) {
    let activity = &device.activity;
    let mut bio = Some(bio);
    activity.wake.wait_idle(|| {
        let mut queue = activity.queue.lock();
        let Some(waits) = bio.take() else { return true };
        // A bio that nobody will take any more ends with an error when it is dropped.
        if !queue.stop && queue.bios.len() < QUEUE {
            let _ = queue.bios.push_within_capacity(waits);
        } else if !queue.stop {
            bio = Some(waits);
        }
        bio.is_none()
    });
    activity.wake.wake_all();
}

/// As [`enter`], and waits for what has to happen before. Not while a bio is being submitted.
pub(crate) fn enter_here(device: &Arc<Device>, range: &Range) -> Option<Hold> {
    loop {
        let (begun, serial, pending) = {
            let mut shared = device.resource.shared.lock();
            let log = log_of(&mut shared, device.vnr)?;
            let begun = log.log.begin(touched(range));
            (begun, log.serial, log.log.has_pending())
        };
        match begun {
            Begun::Hot => {}
            Begun::Pending => commit(device),
            Begun::Wait if pending => {
                commit(device);
                continue;
            }
            Begun::Wait => {
                wait_for_slot(device, range);
                continue;
            }
        }
        return Some(Hold {
            device: Some(device.clone()),
            range: *range,
            serial,
        });
    }
}

fn wait_for_slot(device: &Device, range: &Range) {
    device.activity.wake.wait_idle(|| {
        let mut shared = device.resource.shared.lock();
        let Some(log) = log_of(&mut shared, device.vnr) else {
            return true;
        };
        log.waiting = true;
        log.log.has_pending() || !log.log.would_wait(touched(range))
    });
}

/// A write is forgotten that held log `serial`. Under the lock.
pub(crate) fn end(volume: &mut VolumeShared, range: &Range, serial: u32) {
    let Some(log) = volume.al.as_mut().filter(|log| log.serial == serial) else {
        return;
    };
    log.log.end(touched(range));
    if core::mem::replace(&mut log.waiting, false) {
        volume.device.activity.wake.wake_all();
    }
}

/// The body of the thread.
fn run(device: &Arc<Device>, mut batch: KVVec<Bio>, mut ready: KVVec<(Bio, Option<u32>)>) {
    let _noio = NoIo::enter();
    let activity = &device.activity;
    let mut cpus = 0;
    loop {
        device.resource.follow_cpus(&mut cpus);
        activity.wake.wait_idle(|| {
            let queue = activity.queue.lock();
            let called = queue.stop || !queue.bios.is_empty();
            drop(queue);
            called || transfer::starts_again(&device.resource, device.vnr)
        });
        let stop = {
            let mut queue = activity.queue.lock();
            core::mem::swap(&mut queue.bios, &mut batch);
            queue.stop
        };
        activity.wake.wake_all();
        let again = take_again(device, &mut batch);
        if stop && batch.is_empty() && !again {
            return;
        }
        // The oldest is taken first.
        batch.reverse();
        while !batch.is_empty() {
            round(device, &mut batch, &mut ready);
        }
        if again {
            // There is room for others.
            transfer::finish(&device.resource);
        }
    }
}

/// What starts again: writes get into line, the rest goes on at once. Tells whether there was something.
fn take_again(device: &Arc<Device>, batch: &mut KVVec<Bio>) -> bool {
    let mut some = false;
    while batch.len() < QUEUE {
        let Some(bio) = transfer::take_again(&device.resource, device.vnr) else {
            break;
        };
        some = true;
        if matches!(bio.op(), Op::Write | Op::Discard | Op::WriteZeroes) {
            let _ = batch.push_within_capacity(bio);
        } else {
            submit::go_on(device, bio, None, || ());
        }
    }
    some
}

/// Starts as many of the waiting writes as one transaction has room for.
fn round(device: &Arc<Device>, batch: &mut KVVec<Bio>, ready: &mut KVVec<(Bio, Option<u32>)>) {
    let mut blocked = None;
    {
        let mut shared = device.resource.shared.lock();
        while let Some(bio) = batch.pop() {
            let range = Range::new(device.vnr, bio.sector(), bio.bytes());
            let begun = log_of(&mut shared, device.vnr)
                .map(|log| (log.log.begin(touched(&range)), log.serial));
            if let Some((Begun::Wait, _)) = begun {
                blocked = Some(range);
                let _ = batch.push_within_capacity(bio);
                break;
            }
            let serial = begun.map(|(_, serial)| serial);
            // Both have room for a whole queue.
            let _ = ready.push_within_capacity((bio, serial));
        }
    }
    commit(device);
    if let (true, Some(range)) = (ready.is_empty(), blocked) {
        wait_for_slot(device, &range);
    }
    // The oldest goes first.
    ready.reverse();
    while let Some((bio, serial)) = ready.pop() {
        let range = Range::new(device.vnr, bio.sector(), bio.bytes());
        let hold = serial.map(|serial| Hold {
            device: Some(device.clone()),
            range,
            serial,
        });
        submit::go_on(device, bio, hold, || let_go(device, ready));
    }
}

/// The thread is about to wait: those behind take their extents again later, so that the peer's writes get some meanwhile.
fn let_go(device: &Device, ready: &mut [(Bio, Option<u32>)]) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    for (bio, serial) in ready.iter_mut() {
        if let Some(serial) = serial.take() {
            let range = Range::new(device.vnr, bio.sector(), bio.bytes());
            end(volume, &range, serial);
        }
    }
}

/// Writes the transaction that pending writes wait for, if there is one. May sleep.
fn commit(device: &Arc<Device>) {
    let mut page = device.activity.page.lock();
    let local = Device::get_local(device);
    let mut result = Ok(());
    if let Some(disk) = local.as_ref().and_then(|local| local.disk()) {
        result = write_one(device, disk, &mut page, Why::Pending);
    } else if let Some(log) = device
        .resource
        .shared
        .lock()
        .vol_mut(device.vnr)
        .and_then(|volume| volume.al.as_mut())
    {
        // There is nothing to write to; the writes find that out themselves.
        log.log.committed();
    }
    drop(page);
    drop(local);
    device.activity.wake.wake_all();
    if let Err(error) = result {
        pr_err!(
            "{}: writing the activity log failed: {:?}\n",
            crate::tag::Tag(device),
            error
        );
    }
}

/// Which transaction is written.
#[derive(Clone, Copy)]
enum Why {
    /// What writes may wait for.
    Pending,
    /// Any, because the ring is written anew.
    Anew,
    /// Any, because the ring is written to another place, this sector.
    Moved(u64, Ring),
}

impl Why {
    fn reason(self) -> Reason {
        match self {
            Why::Pending => Reason::Pending,
            Why::Anew => Reason::Anew,
            Why::Moved(..) => Reason::Moved,
        }
    }
}

/// Writes a transaction, if something is pending or it is needed anyway.
fn write_one(device: &Arc<Device>, disk: &Local, page: &mut PageBuf, why: Why) -> Result {
    let (sector, mut new) = {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return Ok(());
        };
        let (Some(log), Some(md)) = (volume.al.as_mut(), volume.md.as_ref()) else {
            return Ok(());
        };
        let (bytes, reason, updates) = (page.bytes_mut(), why.reason(), log.updates);
        let begun = transaction::begin(&mut log.log, bytes, reason, updates, EXTENTS_PER_PAGE);
        let Some(new) = begun else {
            return Ok(());
        };
        let (start, ring) = match why {
            Why::Moved(sector, ring) => (sector, ring),
            _ => (disk.layout().al_sector, Ring::of(md)),
        };
        let block = new.block(ring.stripes, ring.stripe_size_4k);
        let sector = start.saturating_add(u64::from(block).saturating_mul(8));
        (sector, new)
    };
    let mut result = Ok(());
    while new.step() != Step::End {
        result = match new.step() {
            Step::Bitmap => device.bitmap.write_pages(device, disk, new.pages()),
            _ => meta_io::write(device, disk, sector, page),
        };
        new.done(result.is_ok());
    }
    let mut shared = device.resource.shared.lock();
    if result.is_err() {
        // Before anybody takes the extents for logged.
        local::io_error_locked(&mut shared, device, local::Failure::Metadata);
    }
    if let Some(volume) = shared.vol_mut(device.vnr) {
        if new.written {
            volume.stat.al_writes = volume.stat.al_writes.saturating_add(1);
        }
        if let Some(log) = volume.al.as_mut() {
            new.end(&mut log.log);
        }
    }
    result
}

/// Writes the whole ring anew, which says something else than the log in memory.
fn write_ring(device: &Arc<Device>, disk: &Local) -> Result {
    let ring = {
        let shared = device.resource.shared.lock();
        let md = shared.vol(device.vnr).and_then(|volume| volume.md.as_ref());
        md.map(Ring::of).ok_or(ENODEV)?
    };
    let mut page = device.activity.page.lock();
    for _ in 0..ring.blocks() {
        write_one(device, disk, &mut page, Why::Anew)?;
    }
    drop(page);
    device.activity.wake.wake_all();
    Ok(())
}

/// Writes a ring to where `layout` has it, and uses that layout from then on. The superblock on disk says by now that
/// bitmap and log are not to be believed.
pub(crate) fn move_ring(device: &Arc<Device>, disk: &Local, layout: Layout, ring: Ring) -> Result {
    let mut page = device.activity.page.lock();
    // Where the new ring is there may be bitmap now.
    let metadata = disk.meta_io.lock();
    for _ in 0..ring.blocks() {
        write_one(device, disk, &mut page, Why::Moved(layout.al_sector, ring))?;
    }
    disk.set_layout(layout);
    {
        let mut shared = device.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(device.vnr) {
            if let Some(md) = volume.md.as_mut() {
                md.md_size_sect = layout.md_size_sect;
                md.al_offset = layout.al_offset;
                md.bm_offset = layout.bm_offset;
                md.al_stripes = ring.stripes;
                md.al_stripe_size_4k = ring.stripe_size_4k;
            }
            volume.md_dirty = true;
        }
    }
    drop(metadata);
    drop(page);
    device.activity.wake.wake_all();
    Ok(())
}

/// `al-updates` or `al-extents` may have changed. Called with `Resource::admin` held; the superblock is to be
/// written after.
///
/// # Errors
///
/// `EBUSY` when the last writes are not confirmed in time, `ENOMEM`, or an error of the disk.
pub(crate) fn configure(device: &Arc<Device>, disk: &Local, slots: u32, updates: bool) -> Result {
    let (old_slots, old_updates) = {
        let mut shared = device.resource.shared.lock();
        match log_of(&mut shared, device.vnr) {
            Some(log) => (u32::from(log.log.len()), log.updates),
            None => return Ok(()),
        }
    };
    let done = rewrite(
        device,
        disk,
        (slots != old_slots).then_some(slots),
        (old_updates, updates),
    );
    done.inspect_err(|error| {
        if matches!(*error, EIO | ETIMEDOUT) {
            local::io_error(device, local::Failure::Metadata);
        }
    })?;
    if let Some(log) = log_of(&mut device.resource.shared.lock(), device.vnr) {
        log.updates = updates;
    }
    Ok(())
}

fn rewrite(
    device: &Arc<Device>,
    disk: &Local,
    slots: Option<u32>,
    (old_updates, updates): (bool, bool),
) -> Result {
    if let Some(slots) = slots {
        replace(device, disk, slots, updates)?;
    }
    if updates && (slots.is_some() || !old_updates) {
        write_ring(device, disk)?;
    }
    Ok(())
}

/// Notes in the superblock whether the log on disk can be trusted.
pub(crate) fn flag(flags: &mut Flags, updates: bool) {
    if updates {
        flags.remove(Flags::AL_DISABLED);
    } else {
        flags.insert(Flags::AL_DISABLED);
    }
}

/// Whether writes are under way that are to be forgotten by the log that they are in.
fn is_written(shared: &Shared, vnr: u16) -> bool {
    let ours =
        |(_, request): (SlotId, &Request)| request.range.volume == vnr && request.kind.modifies();
    let peer_is_alone = shared.vol(vnr).is_some_and(peer_data::keeps_no_copy);
    shared.transfer.log.iter().any(ours) || (peer_is_alone && shared.peer.incoming.active() > 0)
}

/// Replaces the log by one of another size, once no write is in it.
fn replace(device: &Arc<Device>, disk: &Local, slots: u32, updates: bool) -> Result {
    let new = new_log(slots, updates)?;
    crate::attach::suspend_io(device);
    let quiet = device.resource.state_wait.wait_timeout(QUIET_MS, || {
        let mut shared = device.resource.shared.lock();
        // Confirmed writes wake nobody unless somebody is known to wait.
        shared.transfer.waiting = true;
        !is_written(&shared, device.vnr)
    });
    // Writes that wait hold extents of the old log, too: the thread takes many at once. They take them again.
    let result = if quiet {
        let nobody_writes_a_transaction = device.activity.page.lock();
        // All extents leave the log at once.
        let result = device.bitmap.write(device, disk);
        let old = result.is_ok().then(|| install(device, new));
        drop(nobody_writes_a_transaction);
        drop(old);
        result
    } else {
        Err(EBUSY)
    };
    crate::attach::resume_io(device);
    transfer::finish(&device.resource);
    result
}
