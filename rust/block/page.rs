// SPDX-License-Identifier: GPL-2.0-only

//! Pages for I/O.

use crate::bindings;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::{page::PAGE_SIZE, prelude::*, types::NotThreadSafe};

/// One page, from the kernel's page allocator.
///
/// # Invariants
///
/// `page` is ours alone and stays allocated until we drop it.
pub(super) struct RawPage {
    page: NonNull<bindings::page>,
}

// SAFETY: A page is memory; it belongs to no thread.
unsafe impl Send for RawPage {}
// SAFETY: Shared references only hand out the pointer; who follows it answers for it.
unsafe impl Sync for RawPage {}

impl RawPage {
    pub(super) fn new(gfp: bindings::gfp_t) -> Result<Self> {
        // SAFETY: Any flags and order may be asked for.
        let page = unsafe { bindings::alloc_pages(gfp, 0) };
        // INVARIANT: The allocator gave it to us.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
        })
    }

    /// Gives the page out, to come back by [`RawPage::from_raw`].
    pub(super) fn into_raw(self) -> NonNull<bindings::page> {
        core::mem::ManuallyDrop::new(self).page
    }

    /// # Safety
    ///
    /// `page` comes from [`RawPage::into_raw`], once.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: The caller's promise.
        Self { page }
    }

    /// Whether somebody else (the network) holds a reference.
    pub(super) fn is_shared(&self) -> bool {
        // SAFETY: The page is valid by the type invariant.
        unsafe { bindings::kx_page_is_shared(self.page.as_ptr()) }
    }

    fn address(&self) -> *mut u8 {
        // SAFETY: The page is valid by the type invariant; 64-bit kernels map all memory.
        unsafe { bindings::kx_page_address(self.page.as_ptr()) }.cast()
    }
}

impl Drop for RawPage {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariant, of order 0.
        unsafe { bindings::__free_pages(self.page.as_ptr(), 0) };
    }
}

/// A page that is read and written through exclusive references: metadata.
pub struct PageBuf(RawPage);

impl PageBuf {
    /// A zeroed page. May sleep, but does not start I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Self(RawPage::new(
            bindings::GFP_NOIO | bindings::__GFP_ZERO,
        )?))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: The page lives as long as `self`, and only `bytes_mut` and I/O into a `&mut Self` write it.
        unsafe { &*self.0.address().cast() }
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: As in `bytes`, and the reference is exclusive.
        unsafe { &mut *self.0.address().cast() }
    }

    pub(super) fn page(&self) -> *mut bindings::page {
        self.0.page.as_ptr()
    }
}

/// While it lives, no allocation of this thread waits for I/O.
pub struct NoIo {
    flags: u32,
    _here: PhantomData<NotThreadSafe>,
}

impl NoIo {
    /// Begins the scope.
    pub fn enter() -> Self {
        // SAFETY: Only sets a flag of the current task; the guard cannot leave the thread.
        let flags = unsafe { bindings::kx_memalloc_noio_save() };
        Self {
            flags,
            _here: PhantomData,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: The flags came from the matching save on this task.
        unsafe { bindings::kx_memalloc_noio_restore(self.flags) };
    }
}
