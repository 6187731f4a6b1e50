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
struct RawPage {
    page: NonNull<bindings::page>,
}

// SAFETY: A page is memory; it belongs to no thread.
unsafe impl Send for RawPage {}
// SAFETY: Shared references only hand out the pointer; who follows it answers for it.
unsafe impl Sync for RawPage {}

impl RawPage {
    fn new(gfp: bindings::gfp_t) -> Result<Self> {
        // SAFETY: Any flags and order may be asked for.
        let page = unsafe { bindings::alloc_pages(gfp, 0) };
        // INVARIANT: The allocator gave it to us.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
        })
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

/// Pages that hold the data of one peer request, filled by the network or by a disk.
///
/// The content is reached only by copying, because a disk may be writing it while we look.
pub struct PageVec {
    pages: KVec<RawPage>,
    bytes: usize,
}

impl PageVec {
    /// Pages for `bytes` bytes. May sleep, but does not start I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(bytes: usize) -> Result<Self> {
        let _noio = NoIo::enter();
        let count = bytes.div_ceil(PAGE_SIZE);
        let mut pages = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            pages.push(RawPage::new(bindings::GFP_NOIO)?, GFP_KERNEL)?;
        }
        Ok(Self { pages, bytes })
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Runs `visit` on each page's part of the content, in order; stops at the first error.
    ///
    /// # Errors
    ///
    /// What `visit` says.
    pub fn for_each<E>(&self, mut visit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut left = self.bytes;
        for page in &self.pages {
            let length = left.min(PAGE_SIZE);
            // SAFETY: The page has PAGE_SIZE bytes. A disk that writes them meanwhile changes what is read,
            // not whether it may be read.
            visit(unsafe { core::slice::from_raw_parts(page.address(), length) })?;
            left -= length;
        }
        Ok(())
    }

    /// Runs `fill` on each page's part of the content, in order; stops at the first error.
    ///
    /// # Errors
    ///
    /// What `fill` says.
    pub fn fill<E>(&mut self, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        let mut left = self.bytes;
        for page in &mut self.pages {
            let length = left.min(PAGE_SIZE);
            // SAFETY: The page has PAGE_SIZE bytes, and the reference to all of them is exclusive.
            fill(unsafe { core::slice::from_raw_parts_mut(page.address(), length) })?;
            left -= length;
        }
        Ok(())
    }

    pub(crate) fn raw(&self) -> impl Iterator<Item = (*mut bindings::page, u32)> + '_ {
        let mut left = self.bytes;
        self.pages.iter().map(move |page| {
            let length = left.min(PAGE_SIZE);
            left -= length;
            (page.page.as_ptr(), length as u32)
        })
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
