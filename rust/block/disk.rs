// SPDX-License-Identifier: GPL-2.0-only

//! A block device that we are: a disk that gets bios, without a queue of requests.

use super::{
    backing::{BackingDevice, Limits},
    bio::Bio,
};
use crate::bindings;
use core::{marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::Arc,
    ModuleMetadata,
};

/// A registered block major number.
pub struct Major {
    number: u32,
    name: &'static CStr,
}

impl Major {
    /// Registers `number` under `name` (shown in `/proc/devices`).
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody has it.
    pub fn register(number: u32, name: &'static CStr) -> Result<Self> {
        // SAFETY: A C string that lives for ever.
        to_result(unsafe { bindings::__register_blkdev(number, name.as_char_ptr(), None) })?;
        Ok(Self { number, name })
    }
}

impl Drop for Major {
    fn drop(&mut self) {
        // SAFETY: Registered by us under this name.
        unsafe { bindings::unregister_blkdev(self.number, self.name.as_char_ptr()) };
    }
}

/// What a disk does.
pub trait BioDriver: Send + Sync + Sized + 'static {
    /// The module that the code is in.
    type Module: ModuleMetadata;

    /// A bio was submitted. Process context; may sleep unless [`Bio::is_nowait`].
    fn submit(this: &Arc<Self>, bio: Bio);

    /// Somebody opens it.
    ///
    /// # Errors
    ///
    /// Why not.
    fn open(this: &Arc<Self>, write: bool) -> Result;

    /// Somebody who had it open closes it.
    fn release(this: &Arc<Self>);
}

/// A disk in `/dev`. Dropping it removes it, which sleeps.
///
/// # Invariants
///
/// `disk` was added and not removed; its private data are an `Arc<T>` of its own.
pub struct BioDisk<T: BioDriver> {
    disk: NonNull<bindings::gendisk>,
    _driver: PhantomData<Arc<T>>,
}

// SAFETY: The functions of a gendisk are safe against each other, and `T` may be shared.
unsafe impl<T: BioDriver> Send for BioDisk<T> {}
// SAFETY: As above.
unsafe impl<T: BioDriver> Sync for BioDisk<T> {}

impl<T: BioDriver> BioDisk<T> {
    const OPS: bindings::block_device_operations = bindings::block_device_operations {
        submit_bio: Some(submit_bio::<T>),
        open: Some(open::<T>),
        release: Some(release::<T>),
        free_disk: Some(free_disk::<T>),
        owner: <T::Module as ModuleMetadata>::THIS_MODULE.as_ptr(),
        ..pin_init::zeroed()
    };

    /// Makes `/dev/NAME` appear, with no capacity. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EBUSY` (the minor or the name is taken), `EINVAL` (name longer than 31 bytes).
    pub fn new(
        major: &Major,
        minor: u32,
        name: &CStr,
        driver: Arc<T>,
        limits: &Limits,
    ) -> Result<Self> {
        let mut raw: bindings::queue_limits = pin_init::zeroed();
        // SAFETY: `raw` is ours.
        unsafe { bindings::blk_set_stacking_limits(&mut raw) };
        apply(&mut raw, limits);
        // SAFETY: `raw` is filled, the lock class lives for ever.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_alloc_disk(
                &mut raw,
                bindings::NUMA_NO_NODE,
                kernel::static_lock_class!().as_ptr(),
            )
        })?;
        let disk = NonNull::new(disk).ok_or(ENOMEM)?;
        let ptr = disk.as_ptr();
        let bytes = name.to_bytes_with_nul();
        // SAFETY: The disk is fresh and ours. `into_raw` gives it a reference that `free_disk` takes back.
        unsafe {
            let Some(target) = (&mut (*ptr).disk_name)[..].get_mut(..bytes.len()) else {
                bindings::put_disk(ptr);
                return Err(EINVAL);
            };
            for (to, from) in target.iter_mut().zip(bytes) {
                *to = *from;
            }
            (*ptr).major = major.number as i32;
            (*ptr).first_minor = minor as i32;
            (*ptr).minors = 1;
            (*ptr).fops = &Self::OPS;
            (*ptr).private_data = Arc::into_raw(driver).cast_mut().cast();
            bindings::set_capacity(ptr, 0);
        }
        // SAFETY: The disk is complete.
        let added = to_result(unsafe {
            bindings::device_add_disk(core::ptr::null_mut(), ptr, core::ptr::null_mut())
        });
        if let Err(error) = added {
            // SAFETY: Never added; this also runs `free_disk`.
            unsafe { bindings::put_disk(ptr) };
            return Err(error);
        }
        // INVARIANT: Just added.
        Ok(Self {
            disk,
            _driver: PhantomData,
        })
    }

    pub(super) fn raw(&self) -> *mut bindings::gendisk {
        self.disk.as_ptr()
    }

    /// Sets the size in sectors and tells user space of a change. Sleeps.
    pub fn set_capacity(&self, sectors: u64) {
        // SAFETY: Alive by the type invariant.
        unsafe { bindings::set_capacity_and_notify(self.raw(), sectors) };
    }

    /// Makes user space (udev) look at it again. Sleeps.
    pub fn announce_change(&self) {
        // SAFETY: Alive by the type invariant.
        unsafe { bindings::kx_disk_announce_change(self.raw()) };
    }

    /// Makes it read-only, or not. Sleeps.
    pub fn set_read_only(&self, read_only: bool) {
        // SAFETY: Alive by the type invariant.
        unsafe { bindings::set_disk_ro(self.raw(), read_only) };
    }

    /// Replaces the limits; with `lower`, what that device requires (alignment, block sizes) is stacked below.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the block layer finds them contradictory; the old ones stay.
    pub fn set_limits(&self, limits: &Limits, lower: Option<&BackingDevice>) -> Result {
        let disk = self.raw();
        let mut raw: bindings::queue_limits = pin_init::zeroed();
        // SAFETY: The disk is alive; start and commit belong together (a lock is held between them).
        unsafe {
            bindings::kx_queue_limits_start_update(disk, &mut raw);
            bindings::blk_set_stacking_limits(&mut raw);
            apply(&mut raw, limits);
            if let Some(lower) = lower {
                let name = (&raw const (*disk).disk_name).cast();
                bindings::queue_limits_stack_bdev(&mut raw, lower.bdev(), 0, name);
                apply(&mut raw, limits);
            }
            to_result(bindings::queue_limits_commit_update(
                (*disk).queue,
                &mut raw,
            ))
        }
    }
}

fn apply(raw: &mut bindings::queue_limits, limits: &Limits) {
    let feature = |on: bool, bit| if on { bit } else { 0 };
    raw.logical_block_size = raw.logical_block_size.max(limits.logical_block_size);
    raw.physical_block_size = raw.physical_block_size.max(limits.physical_block_size);
    raw.io_min = raw.io_min.max(limits.io_min);
    raw.io_opt = limits.io_opt;
    raw.max_hw_sectors = limits.max_hw_sectors;
    raw.max_hw_discard_sectors = limits.max_discard_sectors;
    raw.discard_granularity = limits.discard_granularity;
    raw.max_write_zeroes_sectors = limits.max_write_zeroes_sectors;
    raw.max_hw_wzeroes_unmap_sectors = 0;
    let ours = bindings::BLK_FEAT_WRITE_CACHE
        | bindings::BLK_FEAT_FUA
        | bindings::BLK_FEAT_STABLE_WRITES
        | bindings::BLK_FEAT_ROTATIONAL;
    raw.features = raw.features & !ours
        | feature(limits.write_cache, bindings::BLK_FEAT_WRITE_CACHE)
        | feature(limits.fua, bindings::BLK_FEAT_FUA)
        | feature(limits.stable_writes, bindings::BLK_FEAT_STABLE_WRITES)
        | feature(limits.rotational, bindings::BLK_FEAT_ROTATIONAL);
}

impl<T: BioDriver> Drop for BioDisk<T> {
    fn drop(&mut self) {
        // SAFETY: Added and ours by the type invariant; the last reference runs `free_disk`.
        unsafe {
            bindings::del_gendisk(self.raw());
            bindings::put_disk(self.raw());
        }
    }
}

/// # Safety
///
/// `disk` is one of ours whose `free_disk` has not run.
unsafe fn driver<T: BioDriver>(disk: *mut bindings::gendisk) -> ManuallyDrop<Arc<T>> {
    // SAFETY: `new` put it there, and the reference stays with the disk.
    ManuallyDrop::new(unsafe { Arc::from_raw((*disk).private_data.cast::<T>()) })
}

/// # Safety
///
/// Called by the block layer on a disk of ours.
unsafe extern "C" fn submit_bio<T: BioDriver>(bio: *mut bindings::bio) {
    // The block layer leaves it to us to cut bios to our limits; what is cut off comes back as another bio.
    // SAFETY: The bio was just submitted to us.
    let Some(bio) = NonNull::new(unsafe { bindings::bio_split_to_limits(bio) }) else {
        return;
    };
    // SAFETY: The bio was submitted to a disk of ours, which lives until the bio has ended.
    let driver = unsafe { driver::<T>((*(*bio.as_ptr()).bi_bdev).bd_disk) };
    // SAFETY: The bio is ours from here on.
    T::submit(&driver, unsafe { Bio::from_raw(bio) });
}

/// # Safety
///
/// Called by the block layer on a disk of ours.
unsafe extern "C" fn open<T: BioDriver>(
    disk: *mut bindings::gendisk,
    mode: bindings::blk_mode_t,
) -> c_int {
    // SAFETY: The caller holds the disk.
    let driver = unsafe { driver::<T>(disk) };
    match T::open(&driver, mode & bindings::BLK_OPEN_WRITE != 0) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by the block layer on a disk of ours.
unsafe extern "C" fn release<T: BioDriver>(disk: *mut bindings::gendisk) {
    // SAFETY: The caller holds the disk.
    let driver = unsafe { driver::<T>(disk) };
    T::release(&driver);
}

/// # Safety
///
/// Called by the block layer when the last reference to a disk of ours goes.
unsafe extern "C" fn free_disk<T: BioDriver>(disk: *mut bindings::gendisk) {
    // SAFETY: The reference that `new` gave to the disk; nobody uses the disk any more.
    drop(unsafe { Arc::from_raw((*disk).private_data.cast::<T>()) });
}
