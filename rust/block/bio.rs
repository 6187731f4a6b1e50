// SPDX-License-Identifier: GPL-2.0-only

//! Bios: those that the upper layers give us, and those that we give to a disk.

use super::{backing::BackingDevice, page::PageVec};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{prelude::*, sync::Arc};

/// What a bio asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read data.
    Read,
    /// Write data. Without data and with [`Bio::is_preflush`]: an empty flush.
    Write,
    /// Discard blocks.
    Discard,
    /// Write zeroes.
    WriteZeroes,
    /// An empty flush.
    Flush,
    /// What we do not do.
    Other,
}

/// How a bio ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(bindings::blk_status_t);

impl Status {
    /// Without error.
    pub const OK: Status = Status(bindings::BLK_STS_OK);
    /// An I/O error.
    pub const IO_ERROR: Status = Status(bindings::BLK_STS_IOERR);
    /// Not supported.
    pub const NOT_SUPPORTED: Status = Status(bindings::BLK_STS_NOTSUPP);
    /// It would have had to wait, and it must not.
    pub const AGAIN: Status = Status(bindings::BLK_STS_AGAIN);

    /// Whether it is [`Status::OK`].
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }

    /// The errno, negative; 0 for [`Status::OK`].
    pub fn errno(self) -> i32 {
        // SAFETY: Only a table look-up.
        unsafe { bindings::blk_status_to_errno(self.0) }
    }

    pub(super) fn from_raw(raw: bindings::blk_status_t) -> Self {
        Self(raw)
    }
}

/// Flags of an [`OutBio`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Somebody waits for it.
    pub sync: bool,
    /// The disk's cache is flushed first.
    pub preflush: bool,
    /// It is on stable storage when it ends.
    pub fua: bool,
    /// Zeroes must not deallocate.
    pub no_unmap: bool,
}

impl Flags {
    fn bits(self) -> u32 {
        let bit = |on: bool, bit: u32| if on { 1u32 << bit } else { 0 };
        bit(self.sync, bindings::req_flag_bits___REQ_SYNC)
            | bit(self.preflush, bindings::req_flag_bits___REQ_PREFLUSH)
            | bit(self.fua, bindings::req_flag_bits___REQ_FUA)
            | bit(self.no_unmap, bindings::req_flag_bits___REQ_NOUNMAP)
    }
}

/// A bio that the upper layers gave us. It is ended exactly once; dropped, it ends with an error.
///
/// # Invariants
///
/// The bio is ours until `bio_endio` is called on it, and its iterator is not advanced before.
pub struct Bio {
    bio: NonNull<bindings::bio>,
    acct: Option<usize>,
}

// SAFETY: A bio belongs to no thread, and every CPU may end it.
unsafe impl Send for Bio {}

impl Bio {
    /// # Safety
    ///
    /// `bio` was just handed to a `submit_bio` callback and nobody else uses it.
    pub(super) unsafe fn from_raw(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: The caller's promise.
        Self { bio, acct: None }
    }

    fn get(&self) -> &bindings::bio {
        // SAFETY: Alive by the type invariant.
        unsafe { self.bio.as_ref() }
    }

    fn has(&self, bit: u32) -> bool {
        self.get().bi_opf & (1 << bit) != 0
    }

    /// What it asks for.
    pub fn op(&self) -> Op {
        match self.get().bi_opf & 0xff {
            bindings::req_op_REQ_OP_READ => Op::Read,
            bindings::req_op_REQ_OP_WRITE if self.bytes() == 0 => Op::Flush,
            bindings::req_op_REQ_OP_WRITE => Op::Write,
            bindings::req_op_REQ_OP_FLUSH => Op::Flush,
            bindings::req_op_REQ_OP_DISCARD => Op::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Op::WriteZeroes,
            _ => Op::Other,
        }
    }

    /// First sector (512 bytes).
    pub fn sector(&self) -> u64 {
        self.get().bi_iter.bi_sector
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u32 {
        self.get().bi_iter.bi_size
    }

    /// The disk's cache is to be flushed first.
    pub fn is_preflush(&self) -> bool {
        self.has(bindings::req_flag_bits___REQ_PREFLUSH)
    }

    /// It must be on stable storage when it ends.
    pub fn is_fua(&self) -> bool {
        self.has(bindings::req_flag_bits___REQ_FUA)
    }

    /// Somebody waits for it.
    pub fn is_sync(&self) -> bool {
        self.has(bindings::req_flag_bits___REQ_SYNC)
    }

    /// It is read-ahead: it may fail.
    pub fn is_readahead(&self) -> bool {
        self.has(bindings::req_flag_bits___REQ_RAHEAD)
    }

    /// The submitter must not be made to wait.
    pub fn is_nowait(&self) -> bool {
        self.has(bindings::req_flag_bits___REQ_NOWAIT)
    }

    /// Zeroes must not deallocate.
    pub fn is_no_unmap(&self) -> bool {
        self.has(bindings::req_flag_bits___REQ_NOUNMAP)
    }

    /// Begins the I/O accounting of the disk it was submitted to.
    pub fn start_accounting(&mut self) {
        // SAFETY: Alive by the type invariant.
        self.acct = Some(unsafe { bindings::bio_start_io_acct(self.bio.as_ptr()) });
    }

    /// Runs `visit` on each segment of the data of a write, in order; stops at the first error.
    ///
    /// # Errors
    ///
    /// What `visit` says.
    pub fn for_each<E>(&self, mut visit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.segments(|start, length| {
            // SAFETY: The segment is memory of the bio, which is alive. The application may change it meanwhile:
            // that changes what is read, not whether it may be read.
            visit(unsafe { core::slice::from_raw_parts(start, length) })
        })
    }

    /// Runs `fill` on each segment of the buffer of a read, in order; stops at the first error.
    ///
    /// # Errors
    ///
    /// What `fill` says; `E::from(EINVAL)` if it is not a read.
    pub fn fill<E: From<Error>>(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.op() != Op::Read {
            return Err(EINVAL.into());
        }
        self.segments(|start, length| {
            // SAFETY: As above, and the buffer of a read is ours to write.
            fill(unsafe { core::slice::from_raw_parts_mut(start, length) })
        })
    }

    fn segments<E>(&self, mut visit: impl FnMut(*mut u8, usize) -> Result<(), E>) -> Result<(), E> {
        if !matches!(self.op(), Op::Read | Op::Write) {
            return Ok(());
        }
        let bio = self.get();
        let mut left = bio.bi_iter.bi_size as usize;
        let mut index = bio.bi_iter.bi_idx as usize;
        let mut done = bio.bi_iter.bi_offset as usize;
        while left > 0 {
            // SAFETY: While bytes are left, the vector has an element at `index`.
            let vec = unsafe { bio.bi_io_vec.add(index) };
            // SAFETY: As above.
            let length = (unsafe { (*vec).bv_len } as usize)
                .saturating_sub(done)
                .min(left);
            // SAFETY: `done` is within the segment.
            let start = unsafe { bindings::kx_bvec_virt(vec).cast::<u8>().add(done) };
            visit(start, length)?;
            left -= length;
            index += 1;
            done = 0;
        }
        Ok(())
    }

    /// Ends it. Any context.
    pub fn end(self, status: Status) {
        let bio = self.bio.as_ptr();
        let acct = self.acct;
        core::mem::forget(self);
        // SAFETY: Ours by the type invariant, and never used again: `self` is forgotten.
        unsafe {
            (*bio).bi_status = status.0;
            if let Some(start) = acct {
                bindings::bio_end_io_acct_remapped(bio, start, (*bio).bi_bdev);
            }
            bindings::bio_endio(bio);
        }
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariant, and this is its last use.
        unsafe {
            (*self.bio.as_ptr()).bi_status = Status::IO_ERROR.0;
            if let Some(start) = self.acct {
                let bdev = (*self.bio.as_ptr()).bi_bdev;
                bindings::bio_end_io_acct_remapped(self.bio.as_ptr(), start, bdev);
            }
            bindings::bio_endio(self.bio.as_ptr());
        }
    }
}

/// What is told when an [`OutBio`] has ended.
pub trait EndIo: Send + Sync + Sized + 'static {
    /// It ended. Interrupt context: must not sleep.
    fn end_io(this: Arc<Self>, status: Status);

    /// The pages of a bio of our own, see [`OutBio::with_pages`].
    fn pages(&self) -> Option<&PageVec> {
        None
    }
}

/// A bio for a disk.
///
/// # Invariants
///
/// The bio is ours and not submitted; `bi_private` is null.
pub struct OutBio {
    bio: NonNull<bindings::bio>,
}

// SAFETY: A bio belongs to no thread.
unsafe impl Send for OutBio {}

/// Room for the pointers of one bio in flight: what `end_io` needs.
struct InFlight<T> {
    owner: Arc<T>,
    parent: Option<NonNull<bindings::bio>>,
}

impl OutBio {
    /// The same for `device`: data are shared with `bio`, whose end is deferred until this one has ended too.
    /// Does not wait for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn submit_clone<T: EndIo>(device: &BackingDevice, bio: &Bio, owner: Arc<T>) -> Result {
        let raw = bio.bio.as_ptr();
        // SAFETY: All of them are alive; the reserve of the set makes this succeed in the end.
        let clone = unsafe {
            bindings::bio_alloc_clone(device.bdev(), raw, bindings::GFP_NOIO, device.bio_set())
        };
        let clone = NonNull::new(clone).ok_or(ENOMEM)?;
        let in_flight = InFlight {
            owner,
            parent: Some(bio.bio),
        };
        // INVARIANT: Fresh from the set.
        let out = Self { bio: clone };
        // SAFETY: `raw` is alive. From here on its `bio_endio` does nothing until the clone's end has called it
        // once more, so the shared pages outlive the clone.
        unsafe { bindings::kx_bio_inc_remaining(raw) };
        if let Err(error) = out.submit(in_flight) {
            // SAFETY: Takes back what was just added.
            unsafe { bindings::bio_endio(raw) };
            return Err(error);
        }
        Ok(())
    }

    /// A read or write of `owner.pages()` at `sector` of `device`. May sleep, does not wait for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` when there are no pages or more than a bio can carry.
    pub fn submit_pages<T: EndIo>(
        device: &BackingDevice,
        op: Op,
        flags: Flags,
        sector: u64,
        owner: Arc<T>,
    ) -> Result {
        let count = owner.pages().map_or(0, |pages| pages.raw().count());
        let out = Self::alloc(
            device,
            op,
            flags,
            sector,
            u16::try_from(count).map_err(|_| EINVAL)?,
        )?;
        let pages = owner
            .pages()
            .filter(|pages| !pages.is_empty())
            .ok_or(EINVAL)?;
        for (page, length) in pages.raw() {
            // SAFETY: Bio and page are alive; the page belongs to `owner`, which the bio keeps until its end.
            let added = unsafe { bindings::bio_add_page(out.bio.as_ptr(), page, length, 0) };
            if added as u32 != length {
                return Err(EINVAL);
            }
        }
        out.submit(InFlight {
            owner,
            parent: None,
        })
    }

    /// A discard, write-zeroes or flush. May sleep, does not wait for I/O. `bytes` is at most what the device's
    /// limits allow; 0 for a flush.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn submit_empty<T: EndIo>(
        device: &BackingDevice,
        op: Op,
        flags: Flags,
        sector: u64,
        bytes: u32,
        owner: Arc<T>,
    ) -> Result {
        let out = Self::alloc(device, op, flags, sector, 0)?;
        // SAFETY: Ours by the type invariant.
        unsafe { (*out.bio.as_ptr()).bi_iter.bi_size = bytes };
        out.submit(InFlight {
            owner,
            parent: None,
        })
    }

    fn alloc(device: &BackingDevice, op: Op, flags: Flags, sector: u64, vecs: u16) -> Result<Self> {
        let op = match op {
            Op::Read => bindings::req_op_REQ_OP_READ,
            Op::Write | Op::Flush => bindings::req_op_REQ_OP_WRITE,
            Op::Discard => bindings::req_op_REQ_OP_DISCARD,
            Op::WriteZeroes => bindings::req_op_REQ_OP_WRITE_ZEROES,
            Op::Other => return Err(EINVAL),
        };
        let gfp = bindings::GFP_NOIO;
        // SAFETY: Device and set are alive.
        let bio = unsafe {
            bindings::bio_alloc_bioset(
                device.bdev(),
                vecs,
                op | flags.bits(),
                gfp,
                device.bio_set(),
            )
        };
        let bio = NonNull::new(bio).ok_or(ENOMEM)?;
        // SAFETY: Just allocated.
        unsafe { (*bio.as_ptr()).bi_iter.bi_sector = sector };
        // INVARIANT: Fresh from the set.
        Ok(Self { bio })
    }

    fn submit<T: EndIo>(self, in_flight: InFlight<T>) -> Result {
        let private = {
            let _noio = super::page::NoIo::enter();
            KBox::into_raw(KBox::new(in_flight, GFP_KERNEL)?)
        };
        let bio = self.bio.as_ptr();
        core::mem::forget(self);
        // SAFETY: Ours by the type invariant; `end_io` gets exactly this `private` back, once.
        unsafe {
            (*bio).bi_private = private.cast();
            (*bio).bi_end_io = Some(end_io::<T>);
            bindings::submit_bio_noacct(bio);
        }
        Ok(())
    }
}

impl Drop for OutBio {
    fn drop(&mut self) {
        // SAFETY: Never submitted, by the type invariant.
        unsafe { bindings::bio_put(self.bio.as_ptr()) };
    }
}

/// # Safety
///
/// Called by the block layer for a bio that `OutBio::submit::<T>` submitted.
unsafe extern "C" fn end_io<T: EndIo>(bio: *mut bindings::bio) {
    // SAFETY: `submit` put a box there, and this is the one end of the bio.
    let in_flight = unsafe { KBox::from_raw((*bio).bi_private.cast::<InFlight<T>>()) };
    // SAFETY: The bio is alive until the put.
    let status = Status::from_raw(unsafe { (*bio).bi_status });
    // SAFETY: The reference from the allocation.
    unsafe { bindings::bio_put(bio) };
    let InFlight { owner, parent } = KBox::into_inner(in_flight);
    T::end_io(owner, status);
    if let Some(parent) = parent {
        // SAFETY: `submit_clone` deferred the parent's end until this call.
        unsafe { bindings::bio_endio(parent.as_ptr()) };
    }
}
