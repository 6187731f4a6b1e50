// SPDX-License-Identifier: GPL-2.0-only

//! Pages for the data of I/O, from a pool that always has some.
//!
//! ```text
//!   spare pages --none--> the kernel, without waiting --no--> the reserve --no--> wait: one at a time, until pages
//!                                                                                 come back
//! ```
//!
//! Spare pages have been used before: the kernel clears every page that it gives, and these are overwritten anyway.
//!
//! A pool keeps a reserve for one request of the largest size. A page of it that comes back while the network still
//! holds it (it was sent, and the peer's TCP has not confirmed it) is parked until the network lets it go, so the
//! reserve cannot drain. Who does not get what it wants waits until somebody gives pages back; only one thread
//! collects the pages of a request that way, so two can never hold one half each of what one of them needs. So a
//! request always gets its pages in the end, as long as those that hold pages need none of the same pool to go on.

use super::{
    bio::Bio,
    page::{NoIo, RawPage},
};
use crate::{
    bindings,
    sync::{new_irq_lock, new_wait_queue, IrqLock, WaitQueue},
};
use core::ptr::NonNull;
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex, Refcount,
    },
};

/// Pages of the largest request: 1 MiB.
const RESERVED_PAGES: usize = 256;
/// Pages that are kept when they come back, besides the reserve: 1 MiB.
const SPARE_PAGES: usize = 256;
/// Heads of copies that can always be had.
const RESERVED_HEADS: i32 = 128;
/// How long to wait before the kernel is asked again.
const AGAIN_MS: u32 = 100;

/// Pages that are linked.
///
/// # Invariants
///
/// `first` is the first of `count` linked pages. Their links are ours, and so is one reference to each.
#[derive(Default)]
struct Chain {
    first: Option<NonNull<bindings::page>>,
    count: usize,
}

// SAFETY: Pages are memory; they belong to no thread.
unsafe impl Send for Chain {}
// SAFETY: Shared references only hand out pointers; who follows them answers for it.
unsafe impl Sync for Chain {}

impl Chain {
    fn push(&mut self, page: RawPage) {
        let page = page.into_raw();
        let next = self.first.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: The page is ours; its private word is free for our use.
        unsafe { bindings::kx_page_set_next(page.as_ptr(), next) };
        // INVARIANT: One more page, linked to the rest.
        self.first = Some(page);
        self.count = self.count.saturating_add(1);
    }

    fn pop(&mut self) -> Option<RawPage> {
        let page = self.first?;
        // SAFETY: Ours by the type invariant.
        self.first = NonNull::new(unsafe { bindings::kx_page_next(page.as_ptr()) });
        self.count = self.count.saturating_sub(1);
        // SAFETY: As above; the rest does not link to it.
        unsafe { bindings::kx_page_set_next(page.as_ptr(), core::ptr::null_mut()) };
        // SAFETY: It was put in by `into_raw`.
        Some(unsafe { RawPage::from_raw(page) })
    }

    fn iter(&self) -> impl Iterator<Item = NonNull<bindings::page>> + '_ {
        let mut at = self.first;
        core::iter::from_fn(move || {
            let page = at?;
            // SAFETY: Ours by the type invariant, and nobody changes the links while we are borrowed.
            at = NonNull::new(unsafe { bindings::kx_page_next(page.as_ptr()) });
            Some(page)
        })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        while let Some(page) = self.pop() {
            drop(page);
        }
    }
}

/// A reserve of small memory blocks.
///
/// # Invariants
///
/// `pool` is a memory pool of blocks for one `Head`.
struct Heads {
    pool: NonNull<bindings::mempool_t>,
}

// SAFETY: A memory pool may be used from every thread.
unsafe impl Send for Heads {}
// SAFETY: As above.
unsafe impl Sync for Heads {}

impl Heads {
    fn new() -> Result<Self> {
        // SAFETY: Any numbers may be asked for.
        let pool = unsafe { bindings::kx_mempool_create(RESERVED_HEADS, size_of::<Head>()) };
        Ok(Self {
            pool: NonNull::new(pool).ok_or(ENOMEM)?,
        })
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        // SAFETY: Ours; every head holds the pool, so none is out.
        unsafe { bindings::mempool_destroy(self.pool.as_ptr()) };
    }
}

/// Pages that are not out.
#[derive(Default)]
struct Kept {
    /// The reserve, and above it the spare pages.
    free: Chain,
    /// Pages of the reserve that the network still holds, too: they must not be written again yet.
    parked: Chain,
}

impl Kept {
    /// A page of the reserve.
    fn pop(&mut self) -> Option<RawPage> {
        if self.free.count == 0 {
            self.look_at_parked();
        }
        self.free.pop()
    }

    /// What the network has let go is free.
    fn look_at_parked(&mut self) {
        let mut parked = core::mem::take(&mut self.parked);
        while let Some(page) = parked.pop() {
            if page.is_shared() {
                self.parked.push(page);
            } else {
                self.free.push(page);
            }
        }
    }

    /// Pages that are, or will be, free.
    fn count(&self) -> usize {
        self.free.count.saturating_add(self.parked.count)
    }
}

/// See the module's description.
#[pin_data]
pub struct PagePool {
    #[pin]
    kept: IrqLock<Kept>,
    #[pin]
    freed: WaitQueue,
    #[pin]
    turn: Mutex<()>,
    /// Threads that wait for pages.
    waiting: Atomic<usize>,
    /// Pages that are out.
    used: Atomic<usize>,
    limit: usize,
    reserved: usize,
    heads: Heads,
}

impl PagePool {
    /// A pool of which at most `limit` pages are out at a time; one request alone always passes. Its reserve, no
    /// larger than that, is got here. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(limit: usize) -> Result<Arc<Self>> {
        let mut chain = Chain::default();
        let reserved = limit.min(RESERVED_PAGES);
        for _ in 0..reserved {
            chain.push(RawPage::new(bindings::GFP_NOIO)?);
        }
        let heads = Heads::new()?;
        Arc::pin_init(
            pin_init!(Self {
                kept <- new_irq_lock!(Kept { free: chain, ..Kept::default() }),
                freed <- new_wait_queue!(),
                turn <- new_mutex!(()),
                waiting: Atomic::new(0),
                used: Atomic::new(0),
                limit,
                reserved,
                heads,
            }),
            GFP_KERNEL,
        )
    }

    /// Pages that are out.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn allows(&self, count: usize) -> bool {
        let used = self.used();
        used == 0 || used.saturating_add(count) <= self.limit
    }

    /// Pages, from the kernel or from the reserve; none if there are not enough.
    fn try_take(&self, count: usize, gfp: bindings::gfp_t) -> Option<Chain> {
        if !self.allows(count) {
            return None;
        }
        self.gather(count, || RawPage::new(gfp).ok())
    }

    /// Takes pages, what is not to spare from the `kernel` or else from the reserve.
    fn gather(&self, count: usize, mut kernel: impl FnMut() -> Option<RawPage>) -> Option<Chain> {
        let mut chain = self.take_spare(count);
        while chain.count < count {
            match kernel().or_else(|| self.kept.lock().pop()) {
                Some(page) => chain.push(page),
                None => {
                    self.give_back(chain);
                    return None;
                }
            }
        }
        self.used.fetch_add(count, Relaxed);
        Some(chain)
    }

    /// Up to `count` pages of those above the reserve.
    fn take_spare(&self, count: usize) -> Chain {
        let mut chain = Chain::default();
        let mut kept = self.kept.lock();
        while chain.count < count && kept.free.count > self.reserved {
            let Some(page) = kept.free.pop() else { break };
            chain.push(page);
        }
        chain
    }

    /// Waits for pages, in turn.
    fn wait_for(&self, count: usize) -> Chain {
        self.waiting.fetch_add(1, Relaxed);
        let turn = self.turn.lock();
        let chain = loop {
            if let Some(chain) = self.try_take(count, bindings::KX_GFP_RECLAIM) {
                break chain;
            }
            let before = self.used();
            self.freed
                .wait_timeout(AGAIN_MS, || self.used() != before && self.allows(count));
        };
        drop(turn);
        self.waiting.fetch_sub(1, Relaxed);
        chain
    }

    fn take(&self, count: usize, may_wait: bool) -> Option<Chain> {
        let barging = self.waiting.load(Relaxed) > 0;
        let now = if barging {
            None
        } else {
            self.try_take(count, bindings::KX_GFP_TRY)
        };
        match now {
            None if may_wait => Some(self.wait_for(count)),
            now => now,
        }
    }

    /// Fills the reserve and keeps some to spare; the rest goes back to the kernel. Any context.
    fn give_back(&self, mut chain: Chain) {
        let most = self.reserved.saturating_add(SPARE_PAGES);
        // These are freed when the lock is let go.
        let mut shared = Chain::default();
        let mut kept = self.kept.lock();
        while kept.free.count < most {
            match chain.pop() {
                Some(page) if !page.is_shared() => kept.free.push(page),
                Some(page) if kept.count() < self.reserved => kept.parked.push(page),
                Some(page) => shared.push(page),
                None => break,
            }
        }
        drop(kept);
    }

    fn put(&self, chain: Chain) {
        let count = chain.count;
        self.give_back(chain);
        self.used.fetch_sub(count, Relaxed);
        if self.waiting.load(Relaxed) > 0 {
            self.freed.wake_all();
        }
    }
}

/// Pages that hold the data of one request, filled by the network, by a disk, or from a bio.
///
/// The content is reached only by copying, because a disk may be writing it while we look. Dropping it is possible in
/// any context.
pub struct PageVec {
    pages: Chain,
    bytes: usize,
    /// Where the pages go; the kernel gets them if they belong to nobody.
    pool: Option<Arc<PagePool>>,
}

impl PageVec {
    /// Pages for `bytes` bytes. May sleep, but does not start I/O; see the pool for how long.
    pub fn new(pool: &Arc<PagePool>, bytes: usize) -> Self {
        let _noio = NoIo::enter();
        let count = bytes.div_ceil(PAGE_SIZE);
        let pages = pool.take(count, true).unwrap_or_default();
        Self {
            pages,
            bytes,
            pool: Some(pool.clone()),
        }
    }

    /// Pages that are kept apart from every pool. May sleep, but does not start I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn alone(bytes: usize) -> Result<Self> {
        let mut pages = Chain::default();
        for _ in 0..bytes.div_ceil(PAGE_SIZE) {
            pages.push(RawPage::new(bindings::GFP_NOIO)?);
        }
        Ok(Self {
            pages,
            bytes,
            pool: None,
        })
    }

    /// As [`PageVec::new`], for those whom the pool may not let wait.
    pub fn try_new(pool: &Arc<PagePool>, bytes: usize) -> Option<Self> {
        let _noio = NoIo::enter();
        let pages = pool.take(bytes.div_ceil(PAGE_SIZE), false)?;
        Some(Self {
            pages,
            bytes,
            pool: Some(pool.clone()),
        })
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
        for (page, length) in self.raw() {
            // SAFETY: The page has PAGE_SIZE bytes. A disk that writes them meanwhile changes what is read,
            // not whether it may be read.
            visit(unsafe { core::slice::from_raw_parts(address(page), length as usize) })?;
        }
        Ok(())
    }

    /// Runs `fill` on each page's part of the content, in order; stops at the first error.
    ///
    /// # Errors
    ///
    /// What `fill` says.
    pub fn fill<E>(&mut self, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        for (page, length) in self.raw() {
            // SAFETY: The page has PAGE_SIZE bytes, and the reference to all of them is exclusive.
            fill(unsafe { core::slice::from_raw_parts_mut(address(page), length as usize) })?;
        }
        Ok(())
    }

    /// Number of pages.
    ///
    /// # Errors
    ///
    /// `EINVAL`: more than a bio can carry.
    pub(super) fn count(&self) -> Result<u16> {
        u16::try_from(self.pages.count).map_err(|_| EINVAL)
    }

    pub(crate) fn raw(&self) -> impl Iterator<Item = (*mut bindings::page, u32)> + '_ {
        let mut left = self.bytes;
        self.pages.iter().map(move |page| {
            let length = left.min(PAGE_SIZE);
            left -= length;
            (page.as_ptr(), length as u32)
        })
    }

    /// Takes the data of a write over.
    fn copy_from(&mut self, bio: &Bio) {
        let mut pages = self.raw();
        let (mut to, mut room) = (core::ptr::null_mut::<u8>(), 0);
        let copied: Result<(), ()> = bio.for_each(|mut from| {
            while !from.is_empty() {
                if room == 0 {
                    let (page, length) = pages.next().ok_or(())?;
                    (to, room) = (address(page), length as usize);
                }
                let part = from.len().min(room);
                let (now, rest) = from.split_at_checked(part).ok_or(())?;
                // SAFETY: `to` points to `room` bytes of a page that is ours alone, and `part` is not more.
                unsafe {
                    core::ptr::copy_nonoverlapping(now.as_ptr(), to, part);
                    to = to.add(part);
                }
                room -= part;
                from = rest;
            }
            Ok(())
        });
        // There are as many bytes here as there.
        let _ = copied;
    }
}

fn address(page: *mut bindings::page) -> *mut u8 {
    // SAFETY: A page of ours; 64-bit kernels map all memory.
    unsafe { bindings::kx_page_address(page) }.cast()
}

impl Drop for PageVec {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.put(core::mem::take(&mut self.pages));
        }
    }
}

/// What the users of a copy share.
struct Head {
    users: Refcount,
    pages: PageVec,
    /// Where the head goes.
    pool: Arc<PagePool>,
}

/// A copy of a write's data, as it was at one moment: what the application does to its buffer later changes nothing.
/// The disk and the network share it.
///
/// # Invariants
///
/// `head` is valid, and one of its users is us.
pub struct StableCopy {
    head: NonNull<Head>,
}

// SAFETY: The count is atomic, and the pages may be read by every thread.
unsafe impl Send for StableCopy {}
// SAFETY: As above.
unsafe impl Sync for StableCopy {}

impl StableCopy {
    /// Copies the data of `bio`. Waits for memory if `may_wait`, but not for I/O of the caller's.
    pub fn of(pool: &Arc<PagePool>, bio: &Bio, may_wait: bool) -> Option<Self> {
        let _noio = NoIo::enter();
        let bytes = bio.bytes() as usize;
        // SAFETY: The memory pool lives as long as the page pool.
        let head = unsafe { bindings::kx_mempool_alloc(pool.heads.pool.as_ptr(), may_wait) };
        let head = NonNull::new(head.cast::<Head>())?;
        let Some(pages) = pool.take(bytes.div_ceil(PAGE_SIZE), may_wait) else {
            // SAFETY: Just allocated there.
            unsafe { bindings::mempool_free(head.as_ptr().cast(), pool.heads.pool.as_ptr()) };
            return None;
        };
        let mut pages = PageVec {
            pages,
            bytes,
            pool: Some(pool.clone()),
        };
        pages.copy_from(bio);
        let new = Head {
            users: Refcount::new(1),
            pages,
            pool: pool.clone(),
        };
        // SAFETY: Memory for one head, from the pool of heads.
        unsafe { head.as_ptr().write(new) };
        // INVARIANT: Its one user is us.
        Some(Self { head })
    }

    /// The data.
    pub fn pages(&self) -> &PageVec {
        // SAFETY: Valid by the type invariant.
        unsafe { &self.head.as_ref().pages }
    }
}

impl Clone for StableCopy {
    fn clone(&self) -> Self {
        // SAFETY: Valid by the type invariant.
        unsafe { self.head.as_ref() }.users.inc();
        // INVARIANT: One more user.
        Self { head: self.head }
    }
}

impl Drop for StableCopy {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant.
        if !unsafe { self.head.as_ref() }.users.dec_and_test() {
            return;
        }
        // SAFETY: We were the last user; the memory goes back to where it came from.
        unsafe {
            let Head { pages, pool, .. } = self.head.as_ptr().read();
            drop(pages);
            bindings::mempool_free(self.head.as_ptr().cast(), pool.heads.pool.as_ptr());
        }
    }
}

#[kunit_tests(kernel_ext_pool)]
mod tests {
    use super::*;

    fn kept(pool: &PagePool) -> usize {
        pool.kept.lock().free.count
    }

    /// Takes another reference to each page, as the network does; `let_go` gives them back.
    fn hold(chain: &Chain) -> KVec<NonNull<bindings::page>> {
        let mut held = KVec::new();
        for page in chain.iter() {
            // SAFETY: The page is in the chain.
            unsafe { bindings::kx_page_get(page.as_ptr()) };
            held.push(page, GFP_KERNEL).unwrap();
        }
        held
    }

    fn let_go(held: KVec<NonNull<bindings::page>>) {
        for page in held {
            // SAFETY: The reference of `hold`.
            unsafe { bindings::__free_pages(page.as_ptr(), 0) };
        }
    }

    #[test]
    fn pages_are_counted_and_come_back() {
        let pool = PagePool::new(usize::MAX).unwrap();
        let mut pages = PageVec::new(&pool, 3 * PAGE_SIZE + 512);
        assert!(pool.used() == 4);
        assert!(pages.raw().map(|(_, length)| length).sum::<u32>() == 3 * PAGE_SIZE as u32 + 512);
        let mut number = 0;
        let filled: Result<(), ()> = pages.fill(|part| {
            part.fill(number);
            number += 1;
            Ok(())
        });
        assert!(filled.is_ok() && number == 4);
        let mut seen = 0;
        let visited: Result<(), ()> = pages.for_each(|part| {
            assert!(part.iter().all(|byte| *byte == seen));
            seen += 1;
            Ok(())
        });
        assert!(visited.is_ok());
        drop(pages);
        assert!(pool.used() == 0);
    }

    #[test]
    fn beyond_the_limit_is_only_one_request_alone() {
        let pool = PagePool::new(4).unwrap();
        let large = pool.take(8, false).unwrap();
        assert!(pool.take(1, false).is_none());
        pool.put(large);
        let small = pool.take(3, false).unwrap();
        assert!(pool.take(2, false).is_none());
        let rest = pool.take(1, false).unwrap();
        pool.put(small);
        pool.put(rest);
        assert!(pool.used() == 0);
    }

    #[test]
    fn the_reserve_comes_back_when_the_network_lets_it_go() {
        let pool = PagePool::new(usize::MAX).unwrap();
        let all = pool.gather(RESERVED_PAGES, || None).unwrap();
        assert!(kept(&pool) == 0);
        let held = hold(&all);
        pool.give_back(all);
        assert!(kept(&pool) == 0 && pool.kept.lock().parked.count == RESERVED_PAGES);
        assert!(pool.gather(1, || None).is_none());
        let_go(held);
        let again = pool.gather(RESERVED_PAGES, || None).unwrap();
        assert!(again.iter().count() == RESERVED_PAGES && kept(&pool) == 0);
        pool.give_back(again);
        assert!(kept(&pool) == RESERVED_PAGES);
    }

    #[test]
    fn what_the_network_holds_is_parked_only_for_the_reserve() {
        let pool = PagePool::new(usize::MAX).unwrap();
        let mut more = pool.gather(3, || None).unwrap();
        more.push(RawPage::new(bindings::KX_GFP_TRY).unwrap());
        let held = hold(&more);
        pool.give_back(more);
        assert!(kept(&pool) == RESERVED_PAGES - 3 && pool.kept.lock().parked.count == 3);
        let_go(held);
        let mut fresh = Chain::default();
        fresh.push(RawPage::new(bindings::KX_GFP_TRY).unwrap());
        pool.give_back(fresh);
        assert!(kept(&pool) == RESERVED_PAGES - 2);
    }

    #[test]
    fn what_comes_back_is_taken_first_and_the_reserve_last() {
        let pool = PagePool::new(usize::MAX).unwrap();
        let three = pool.take(3, false).unwrap();
        assert!(kept(&pool) == RESERVED_PAGES);
        pool.put(three);
        assert!(kept(&pool) == RESERVED_PAGES + 3);
        let five = pool.take(5, false).unwrap();
        assert!(kept(&pool) == RESERVED_PAGES);
        pool.put(five);
        let many = pool.take(SPARE_PAGES + 10, false).unwrap();
        pool.put(many);
        assert!(kept(&pool) == RESERVED_PAGES + SPARE_PAGES);
    }

    #[test]
    fn who_waits_gets_what_comes_back() {
        let pool = PagePool::new(4).unwrap();
        let held = pool.take(4, false).unwrap();
        let giver = pool.clone();
        let work = move || giver.put(held);
        assert!(kernel::workqueue::system()
            .try_spawn(GFP_KERNEL, work)
            .is_ok());
        let got = pool.take(4, true).unwrap();
        assert!(got.count == 4);
        pool.put(got);
    }
}
