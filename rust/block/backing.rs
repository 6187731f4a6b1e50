// SPDX-License-Identifier: GPL-2.0-only

//! A block device that we use: opened, read, written, asked for its limits.

use super::{disk::BioDisk, page::PageBuf, BioDriver};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::{from_err_ptr, to_result},
    page::PAGE_SIZE,
    prelude::*,
    types::Opaque,
};

/// Bios that can always be allocated, whatever the state of memory.
const RESERVED_BIOS: u32 = 128;

/// Bytes in front of each bio, for what travels with it.
pub(super) const FRONT_PAD: usize = 192;

/// Who may open the device beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Exclusive,
    /// Only other openers of this module that say the same.
    SharedMetadata,
}

/// Its address says who holds a device that we share among ourselves.
static SHARED: u8 = 0;

/// A set that bios come from.
#[pin_data(PinnedDrop)]
struct BioSet {
    #[pin]
    set: Opaque<bindings::bio_set>,
}

// SAFETY: A bio set is made for use by every CPU.
unsafe impl Send for BioSet {}
// SAFETY: As above.
unsafe impl Sync for BioSet {}

impl BioSet {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            set <- Opaque::try_ffi_init(|set: *mut bindings::bio_set| {
                // SAFETY: `set` may be written and stays where it is; `bioset_init` wants zeroes.
                unsafe {
                    core::ptr::write_bytes(set, 0, 1);
                    let flags = bindings::BIOSET_NEED_BVECS as i32;
                    to_result(bindings::bioset_init(set, RESERVED_BIOS, FRONT_PAD as u32, flags))
                }
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for BioSet {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised; all bios were put, because each keeps its device open.
        unsafe { bindings::bioset_exit(self.set.get()) };
    }
}

/// What a device can do, in the units of the block layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a logical block.
    pub logical_block_size: u32,
    /// Bytes of a physical block.
    pub physical_block_size: u32,
    /// Preferred smallest I/O in bytes.
    pub io_min: u32,
    /// Optimal I/O in bytes, 0 if unknown.
    pub io_opt: u32,
    /// Largest read or write in sectors.
    pub max_hw_sectors: u32,
    /// Largest discard in sectors; 0 if it cannot.
    pub max_discard_sectors: u32,
    /// Granularity of discards in bytes.
    pub discard_granularity: u32,
    /// Largest write-zeroes in sectors; 0 if it cannot.
    pub max_write_zeroes_sectors: u32,
    /// It can write zeroes by deallocating.
    pub zeroes_unmap: bool,
    /// It has a volatile cache.
    pub write_cache: bool,
    /// It knows force-unit-access.
    pub fua: bool,
    /// Pages under write must not change.
    pub stable_writes: bool,
    /// It rotates.
    pub rotational: bool,
}

/// An open block device. Closing sleeps: drop it in process context.
///
/// # Invariants
///
/// `file` is a block device that we opened, until we are dropped.
pub struct BackingDevice {
    file: NonNull<bindings::file>,
    bios: Pin<KBox<BioSet>>,
}

// SAFETY: An open file belongs to no thread.
unsafe impl Send for BackingDevice {}
// SAFETY: Everything done through a shared reference is safe against others.
unsafe impl Sync for BackingDevice {}

impl BackingDevice {
    /// Opens the device at `path` for reading and writing. May sleep.
    ///
    /// # Errors
    ///
    /// Those of opening: `ENOENT`, `ENOTBLK` (no block device), `EBUSY` (somebody else holds it), `ENOMEM`.
    pub fn open(path: &CStr, holder: Holder) -> Result<Self> {
        let bios = KBox::pin_init(BioSet::new(), GFP_KERNEL)?;
        let token = match holder {
            // An address of its own, so that two openers of ours exclude each other, too.
            Holder::Exclusive => (&raw const *bios).cast::<u8>(),
            Holder::SharedMetadata => &raw const SHARED,
        };
        // SAFETY: The path is a C string, the holder is an address that only stands for itself.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_path(
                path.as_char_ptr(),
                bindings::BLK_OPEN_READ | bindings::BLK_OPEN_WRITE,
                token.cast_mut().cast(),
                core::ptr::null(),
            )
        })?;
        // INVARIANT: Just opened.
        Ok(Self {
            file: NonNull::new(file).ok_or(ENODEV)?,
            bios,
        })
    }

    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: A block device's file by the type invariant.
        unsafe { bindings::file_bdev(self.file.as_ptr()) }
    }

    pub(super) fn bio_set(&self) -> *mut bindings::bio_set {
        self.bios.set.get()
    }

    /// Its size in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        // SAFETY: Open by the type invariant.
        unsafe { bindings::kx_bdev_nr_sectors(self.bdev()) }
    }

    /// Its number, as in `stat`'s `st_rdev` of the kernel.
    pub fn number(&self) -> u32 {
        // SAFETY: Open by the type invariant.
        unsafe { (*self.bdev()).bd_dev }
    }

    /// Whether `path` names the same device. May sleep.
    ///
    /// # Errors
    ///
    /// Those of looking `path` up.
    pub fn is_same(&self, path: &CStr) -> Result<bool> {
        let mut number = 0;
        // SAFETY: A C string, and a place for the answer.
        to_result(unsafe { bindings::lookup_bdev(path.as_char_ptr(), &mut number) })?;
        Ok(number == self.number())
    }

    /// What it can do.
    pub fn limits(&self) -> Limits {
        // SAFETY: Open by the type invariant; the numbers may change while we look, each is read once.
        let raw = unsafe { &*bindings::kx_bdev_limits(self.bdev()) };
        let has = |feature| raw.features & feature != 0;
        Limits {
            logical_block_size: raw.logical_block_size,
            physical_block_size: raw.physical_block_size,
            io_min: raw.io_min,
            io_opt: raw.io_opt,
            max_hw_sectors: raw.max_hw_sectors,
            max_discard_sectors: raw.max_discard_sectors,
            discard_granularity: raw.discard_granularity,
            max_write_zeroes_sectors: raw.max_write_zeroes_sectors,
            zeroes_unmap: raw.max_wzeroes_unmap_sectors > 0,
            write_cache: has(bindings::BLK_FEAT_WRITE_CACHE),
            fua: has(bindings::BLK_FEAT_FUA),
            stable_writes: has(bindings::BLK_FEAT_STABLE_WRITES),
            rotational: has(bindings::BLK_FEAT_ROTATIONAL),
        }
    }

    /// Where the first whole granule of discards begins, in bytes.
    pub fn discard_alignment(&self) -> u32 {
        // SAFETY: Open by the type invariant.
        unsafe { bindings::bdev_discard_alignment(self.bdev()) }
    }

    /// Reads one page at `sector` into `page`. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the device; `ENOMEM`.
    pub fn read(&self, sector: u64, page: &mut PageBuf) -> Result {
        let opf = bindings::req_op_REQ_OP_READ | SYNC_META;
        // SAFETY: Device, set and page are alive during the call, which waits for the end of the bio.
        unsafe {
            let gfp = bindings::GFP_NOIO;
            let bio = bindings::bio_alloc_bioset(self.bdev(), 1, opf, gfp, self.bio_set());
            let bio = NonNull::new(bio).ok_or(ENOMEM)?.as_ptr();
            (*bio).bi_iter.bi_sector = sector;
            let added = bindings::bio_add_page(bio, page.page(), PAGE_SIZE as u32, 0);
            let result = if added as usize == PAGE_SIZE {
                to_result(bindings::submit_bio_wait(bio))
            } else {
                Err(EIO)
            };
            bindings::bio_put(bio);
            result
        }
    }

    /// Makes everything that was written stable. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn flush(&self) -> Result {
        // SAFETY: Open by the type invariant.
        to_result(unsafe { bindings::blkdev_issue_flush(self.bdev()) })
    }

    /// Writes zeroes, deallocating if the device likes to and `unmap` says so. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn zero_out(&self, sector: u64, sectors: u64, unmap: bool) -> Result {
        let flags = if unmap {
            0
        } else {
            bindings::BLKDEV_ZERO_NOUNMAP
        };
        let gfp = bindings::GFP_NOIO;
        // SAFETY: Open by the type invariant.
        to_result(unsafe {
            bindings::blkdev_issue_zeroout(self.bdev(), sector, sectors, gfp, flags)
        })
    }

    /// Discards. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn discard(&self, sector: u64, sectors: u64) -> Result {
        let gfp = bindings::GFP_NOIO;
        // SAFETY: Open by the type invariant.
        to_result(unsafe { bindings::blkdev_issue_discard(self.bdev(), sector, sectors, gfp) })
    }

    /// Shows in sysfs that `disk` uses this device (slaves and holders). Undo with [`Self::unlink`].
    ///
    /// # Errors
    ///
    /// Those of sysfs.
    pub fn link<T: BioDriver>(&self, disk: &BioDisk<T>) -> Result {
        // SAFETY: Both are alive.
        to_result(unsafe { bindings::bd_link_disk_holder(self.bdev(), disk.raw()) })
    }

    /// Undoes [`Self::link`].
    pub fn unlink<T: BioDriver>(&self, disk: &BioDisk<T>) {
        // SAFETY: Both are alive.
        unsafe { bindings::bd_unlink_disk_holder(self.bdev(), disk.raw()) };
    }
}

const SYNC_META: u32 =
    1 << bindings::req_flag_bits___REQ_SYNC | 1 << bindings::req_flag_bits___REQ_META;

impl Drop for BackingDevice {
    fn drop(&mut self) {
        // SAFETY: Opened by us, and this is the last use.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}
