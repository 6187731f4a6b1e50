// SPDX-License-Identifier: GPL-2.0-only

//! Bios: those that the upper layers give us, and those that we give to a disk.

use super::{
    backing::{BackingDevice, FRONT_PAD},
    pool::{PageVec, StableCopy},
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

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
    /// What the data are about, not data.
    pub meta: bool,
}

impl Flags {
    fn bits(self) -> u32 {
        let bit = |on: bool, bit: u32| if on { 1u32 << bit } else { 0 };
        bit(self.sync, bindings::req_flag_bits___REQ_SYNC)
            | bit(self.preflush, bindings::req_flag_bits___REQ_PREFLUSH)
            | bit(self.fua, bindings::req_flag_bits___REQ_FUA)
            | bit(self.no_unmap, bindings::req_flag_bits___REQ_NOUNMAP)
            | bit(self.meta, bindings::req_flag_bits___REQ_META)
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

    /// Whether nobody changes the data of a write before it ends. What is not known to be so is not so: buffers of
    /// direct I/O, for instance.
    pub fn is_stable(&self) -> bool {
        // SAFETY: Alive by the type invariant.
        unsafe { bindings::kx_bio_is_stable(self.bio.as_ptr()) }
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
            index = index.saturating_add(1);
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

/// Who is told when an [`OutBio`] has ended; it travels with the bio.
pub trait EndIo: Send + Sized + 'static {
    /// It ended. Interrupt context: must not sleep.
    fn end_io(self, status: Status);

    /// The pages of a bio of our own, see [`OutBio::submit_pages`].
    fn pages(&self) -> Option<&PageVec> {
        None
    }
}

/// A bio for a disk.
///
/// # Invariants
///
/// The bio is ours and not submitted. The end of `parent`, if there is one, is deferred by one call of `bio_endio`.
pub struct OutBio {
    bio: NonNull<bindings::bio>,
    parent: Option<NonNull<bindings::bio>>,
    copy: Option<StableCopy>,
}

// SAFETY: A bio belongs to no thread.
unsafe impl Send for OutBio {}

/// What comes back at the end of a bio. It travels in front of the bio, in memory that the set reserves.
struct InFlight<T> {
    owner: T,
    parent: Option<NonNull<bindings::bio>>,
    copy: Option<StableCopy>,
}

impl<T> InFlight<T> {
    const FITS: () = assert!(size_of::<Self>() <= FRONT_PAD && align_of::<Self>() <= 8);

    /// Where the one of `bio` is.
    ///
    /// # Safety
    ///
    /// `bio` comes from the set of a [`BackingDevice`].
    unsafe fn of(bio: *mut bindings::bio) -> *mut Self {
        let () = Self::FITS;
        // SAFETY: The set allocates that many bytes in front of each bio.
        unsafe { bio.cast::<u8>().sub(FRONT_PAD).cast() }
    }
}

impl OutBio {
    /// The same for `device`: data are shared with `bio`, whose end is deferred until this one has ended or was
    /// dropped. Does not wait for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn clone_of(device: &BackingDevice, bio: &Bio) -> Result<Self> {
        let raw = bio.bio.as_ptr();
        // SAFETY: All of them are alive; the reserve of the set makes this succeed in the end.
        let clone = unsafe {
            bindings::bio_alloc_clone(device.bdev(), raw, bindings::GFP_NOIO, device.bio_set())
        };
        let clone = NonNull::new(clone).ok_or(ENOMEM)?;
        // SAFETY: `raw` is alive. From here on its `bio_endio` does nothing until it was called once more for the
        // clone, so the shared pages outlive the clone.
        unsafe { bindings::kx_bio_inc_remaining(raw) };
        // INVARIANT: Fresh from the set, and the parent's end is deferred.
        let out = Self {
            bio: clone,
            parent: Some(bio.bio),
            copy: None,
        };
        out.may_wait();
        Ok(out)
    }

    /// The same write for `device`, of the data that were copied. Does not wait for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for more than a bio can carry.
    pub fn copy_of(device: &BackingDevice, bio: &Bio, copy: &StableCopy) -> Result<Self> {
        let raw = bio.get();
        let mut out = Self::raw(device, raw.bi_opf, bio.sector(), copy.pages().count()?)?;
        out.may_wait();
        // SAFETY: Ours by the type invariant.
        unsafe { (*out.bio.as_ptr()).bi_ioprio = raw.bi_ioprio };
        out.add(copy.pages())?;
        out.copy = Some(copy.clone());
        Ok(out)
    }

    /// Who submitted the original may be one that must not wait; a disk that is busy is no error of the disk.
    fn may_wait(&self) {
        // SAFETY: Ours by the type invariant.
        unsafe { (*self.bio.as_ptr()).bi_opf &= !(1 << bindings::req_flag_bits___REQ_NOWAIT) };
    }

    fn add(&mut self, pages: &PageVec) -> Result {
        for (page, length) in pages.raw() {
            // SAFETY: Bio and page are alive; the page belongs to what travels with the bio.
            let added = unsafe { bindings::bio_add_page(self.bio.as_ptr(), page, length, 0) };
            if added.unsigned_abs() != length {
                return Err(EINVAL);
            }
        }
        Ok(())
    }

    /// A read or write of `owner.pages()` at `sector` of `device`. May sleep, does not wait for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` when there are no pages or more than a bio can carry. The owner comes back.
    pub fn submit_pages<T: EndIo>(
        device: &BackingDevice,
        op: Op,
        flags: Flags,
        sector: u64,
        owner: T,
    ) -> Result<(), (T, Error)> {
        let out = match Self::of_pages(device, op, flags, sector, owner.pages()) {
            Ok(out) => out,
            Err(error) => return Err((owner, error)),
        };
        out.submit(owner);
        Ok(())
    }

    fn of_pages(
        device: &BackingDevice,
        op: Op,
        flags: Flags,
        sector: u64,
        pages: Option<&PageVec>,
    ) -> Result<Self> {
        let pages = pages.filter(|pages| !pages.is_empty()).ok_or(EINVAL)?;
        let mut out = Self::empty(device, op, flags, sector, pages.count()?)?;
        out.add(pages)?;
        Ok(out)
    }

    /// A discard, write-zeroes or flush. May sleep, does not wait for I/O. `bytes` is at most what the device's
    /// limits allow; 0 for a flush.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for another operation.
    pub fn without_data(
        device: &BackingDevice,
        op: Op,
        flags: Flags,
        sector: u64,
        bytes: u32,
    ) -> Result<Self> {
        if !matches!(op, Op::Discard | Op::WriteZeroes | Op::Flush) {
            return Err(EINVAL);
        }
        let out = Self::empty(device, op, flags, sector, 0)?;
        // SAFETY: Ours by the type invariant.
        unsafe { (*out.bio.as_ptr()).bi_iter.bi_size = bytes };
        Ok(out)
    }

    fn empty(device: &BackingDevice, op: Op, flags: Flags, sector: u64, vecs: u16) -> Result<Self> {
        let op = match op {
            Op::Read => bindings::req_op_REQ_OP_READ,
            Op::Write | Op::Flush => bindings::req_op_REQ_OP_WRITE,
            Op::Discard => bindings::req_op_REQ_OP_DISCARD,
            Op::WriteZeroes => bindings::req_op_REQ_OP_WRITE_ZEROES,
            Op::Other => return Err(EINVAL),
        };
        Self::raw(device, op | flags.bits(), sector, vecs)
    }

    fn raw(device: &BackingDevice, opf: u32, sector: u64, vecs: u16) -> Result<Self> {
        let gfp = bindings::GFP_NOIO;
        // SAFETY: Device and set are alive.
        let bio =
            unsafe { bindings::bio_alloc_bioset(device.bdev(), vecs, opf, gfp, device.bio_set()) };
        let bio = NonNull::new(bio).ok_or(ENOMEM)?;
        // SAFETY: Just allocated.
        unsafe { (*bio.as_ptr()).bi_iter.bi_sector = sector };
        // INVARIANT: Fresh from the set.
        Ok(Self {
            bio,
            parent: None,
            copy: None,
        })
    }

    /// Gives it to its disk; `owner` is told of its end. May sleep, does not wait for I/O.
    pub fn submit<T: EndIo>(self, owner: T) {
        let mut this = core::mem::ManuallyDrop::new(self);
        let in_flight = InFlight {
            owner,
            parent: this.parent,
            copy: this.copy.take(),
        };
        let bio = this.bio.as_ptr();
        // SAFETY: Ours by the type invariant, and from a set of a backing device; `end_io` takes what is written here.
        unsafe {
            InFlight::of(bio).write(in_flight);
            (*bio).bi_end_io = Some(end_io::<T>);
            bindings::submit_bio_noacct(bio);
        }
    }
}

impl Drop for OutBio {
    fn drop(&mut self) {
        // SAFETY: Never submitted, by the type invariant; the parent's end is no longer deferred.
        unsafe {
            bindings::bio_put(self.bio.as_ptr());
            if let Some(parent) = self.parent {
                bindings::bio_endio(parent.as_ptr());
            }
        }
    }
}

/// # Safety
///
/// Called by the block layer for a bio that `OutBio::submit::<T>` submitted.
unsafe extern "C" fn end_io<T: EndIo>(bio: *mut bindings::bio) {
    // SAFETY: `submit` wrote it there, and this is the one end of the bio.
    let in_flight = unsafe { InFlight::<T>::of(bio).read() };
    // SAFETY: The bio is alive until the put.
    let status = Status(unsafe { (*bio).bi_status });
    // SAFETY: The reference from the allocation.
    unsafe { bindings::bio_put(bio) };
    let InFlight {
        owner,
        parent,
        copy,
    } = in_flight;
    drop(copy);
    owner.end_io(status);
    if let Some(parent) = parent {
        // SAFETY: `clone_of` deferred the parent's end until this call.
        unsafe { bindings::bio_endio(parent.as_ptr()) };
    }
}
