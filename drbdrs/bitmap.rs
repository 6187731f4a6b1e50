// SPDX-License-Identifier: GPL-2.0-only

//! The bitmap of a device: one bit for each 4 KiB that may differ from the peer's.
//!
//! The bits live in memory; the area in the metadata is a copy that is brought up to date page by page. A page
//! remembers that it changed since it was written last. Bits are set *before* the write that needs them is
//! completed to the application; they reach the disk when the device is demoted, detached, a resync ends, or an
//! extent leaves the activity log. If a Primary crashes in between, the log on disk names every extent whose bits may
//! be missing there (see `activity.rs`).
//!
//! The lock is the innermost one and is taken in interrupts: nothing below sleeps under it.

use crate::{
    attach::Local,
    device::Device,
    meta_io::{self, MetaIo},
    prelude::*,
    tag::Tag,
};
use drbd_core::bitmap;
use kernel_ext::block::{PageBuf, PageVec};

/// 64-bit words in a page of the area on disk.
const PAGE_WORDS: usize = 512;
/// Sectors of a page.
const PAGE_SECTORS: u64 = 8;
/// Sectors of a bit.
pub(crate) const SECTORS_PER_BIT: u64 = 8;

struct Inner {
    words: KVVec<u64>,
    /// One bit for each page that differs from the disk.
    changed: KVVec<u64>,
    /// One bit for each page that changed since it was copied to where the bitmap gets another size; else empty.
    touched: KVVec<u64>,
    /// A bit was cleared since the data were flushed last on behalf of this bitmap.
    cleared: bool,
    sectors: u64,
    bits: u64,
    weight: u64,
}

impl Inner {
    fn empty() -> Self {
        Self {
            words: KVVec::new(),
            changed: KVVec::new(),
            touched: KVVec::new(),
            cleared: false,
            sectors: 0,
            bits: 0,
            weight: 0,
        }
    }

    /// For a device of that size, all clear. May sleep.
    fn for_device(sectors: u64) -> Result<Self> {
        let bits = bits_for(sectors);
        let words = padded(words_for(bits));
        Ok(Self {
            words: KVVec::from_elem(0u64, words, GFP_KERNEL)?,
            changed: KVVec::from_elem(0u64, (words / PAGE_WORDS).div_ceil(64), GFP_KERNEL)?,
            touched: KVVec::new(),
            cleared: true,
            sectors,
            bits,
            weight: 0,
        })
    }

    fn mark(&mut self, page: usize) {
        for list in [&mut self.changed, &mut self.touched] {
            if let Some(word) = list.get_mut(page / 64) {
                *word |= 1u64.wrapping_shl(page as u32 % 64);
            }
        }
    }

    /// Takes a page off the list of those to be copied once more.
    fn take_touched(&mut self) -> Option<usize> {
        let mut words = self.touched.iter_mut().enumerate();
        let (at, word) = words.find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= word.wrapping_sub(1);
        at.checked_mul(64)?.checked_add(bit as usize)
    }

    /// Marks the pages of bits `first..=last`.
    fn mark_bits(&mut self, first: u64, last: u64) {
        let page = |bit: u64| (bit / 64) as usize / PAGE_WORDS;
        for page in page(first)..=page(last) {
            self.mark(page);
        }
    }

    fn mark_all(&mut self) {
        for page in 0..self.pages() {
            self.mark(page);
        }
    }

    /// Pages that it has on disk.
    fn pages(&self) -> usize {
        self.words.len().div_ceil(PAGE_WORDS)
    }

    /// Takes the first changed page at or behind `from` off the list.
    fn take_changed(&mut self, from: usize) -> Option<usize> {
        let bit = bitmap::find_set(&self.changed, from as u64, self.pages() as u64)?;
        let page = usize::try_from(bit).ok()?;
        self.take_changed_page(page).map(|()| page)
    }

    /// Takes this page off the list, if it is on it.
    fn take_changed_page(&mut self, page: usize) -> Option<()> {
        let word = self.changed.get_mut(page / 64)?;
        let bit = 1u64.wrapping_shl(page as u32 % 64);
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        Some(())
    }

    /// Copies a page as it is on disk.
    fn copy_page(&self, at: usize, page: &mut PageBuf) {
        let start = at.saturating_mul(PAGE_WORDS);
        let words = self.words.get(start..start.saturating_add(PAGE_WORDS));
        bitmap::words_to_page(words.unwrap_or(&[]), page.bytes_mut());
    }

    /// Takes a page from disk.
    fn load_page(&mut self, at: usize, page: &PageVec) {
        let start = at.saturating_mul(PAGE_WORDS);
        let Some(room) = self.words.get_mut(start..start.saturating_add(PAGE_WORDS)) else {
            return;
        };
        let before = bitmap::count(room);
        let read: Result<(), ()> = page.for_each(|part| {
            bitmap::words_from_page(part, room);
            Ok(())
        });
        // A page has one part, and that was read.
        let _ = read;
        // What is behind the last bit means nothing, whoever wrote it.
        let first = (start as u64).saturating_mul(64);
        bitmap::trim(room, self.bits.saturating_sub(first));
        let now = bitmap::count(room);
        self.weight = self.weight.saturating_sub(before).saturating_add(now);
    }
}

/// What becomes of a bitmap that gets another size.
struct Copied {
    inner: Inner,
    /// Bits that both have.
    kept: u64,
    /// Bits that are set because they are new.
    set: Option<(u64, u64)>,
}

impl Copied {
    /// Takes a page over, once or again.
    fn copy(&mut self, from: &Inner, at: usize) {
        let start = at.saturating_mul(PAGE_WORDS);
        let page = start..start.saturating_add(PAGE_WORDS);
        let (Some(old), Some(room)) =
            (from.words.get(page.clone()), self.inner.words.get_mut(page))
        else {
            return;
        };
        let before = bitmap::count(room);
        room.iter_mut().zip(old).for_each(|(new, old)| *new = *old);
        let first = (start as u64).saturating_mul(64);
        bitmap::trim(room, self.kept.saturating_sub(first));
        if let Some((from, to)) = self.set.filter(|(_, to)| *to >= first) {
            let (from, to) = (from.saturating_sub(first), to.saturating_sub(first));
            bitmap::set_range(room, from, to);
        }
        let now = bitmap::count(room);
        let weight = self.inner.weight.saturating_sub(before);
        self.inner.weight = weight.saturating_add(now);
    }

    /// Sets what is new from that page on.
    fn set_behind(&mut self, page: usize) {
        let Some((first, last)) = self.set else {
            return;
        };
        let start = (page as u64)
            .saturating_mul(PAGE_WORDS as u64)
            .saturating_mul(64);
        let set = bitmap::set_range(&mut self.inner.words, first.max(start), last);
        self.inner.weight = self.inner.weight.saturating_add(set);
    }
}

/// See the module's description.
#[pin_data]
pub(crate) struct Bitmap {
    #[pin]
    inner: IrqLock<Inner>,
    /// One change of the size at a time.
    #[pin]
    resizing: Mutex<()>,
}

/// Where a page is in the area on disk.
fn offset_of(page: usize) -> u64 {
    (page as u64).saturating_mul(PAGE_SECTORS)
}

fn bits_for(sectors: u64) -> u64 {
    sectors.div_ceil(SECTORS_PER_BIT)
}

fn words_for(bits: u64) -> usize {
    usize::try_from(bits.div_ceil(64)).unwrap_or(usize::MAX)
}

/// Whole pages, so that the copy on disk has no ragged end.
fn padded(words: usize) -> usize {
    words.div_ceil(PAGE_WORDS).saturating_mul(PAGE_WORDS)
}

impl Bitmap {
    /// A bitmap of nothing.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_irq_lock!(Inner::empty()),
            resizing <- new_mutex!(()),
        })
    }

    /// Bits, and how many of them are set.
    pub(crate) fn size_and_weight(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.bits, inner.weight)
    }

    /// The size of the device that it is made for, in sectors.
    pub(crate) fn capacity(&self) -> u64 {
        self.inner.lock().sectors
    }

    /// How many bits are set.
    pub(crate) fn weight(&self) -> u64 {
        self.inner.lock().weight
    }

    /// Makes it fit a device of that size. The bits of what is new are set or not, as `set_new` says. Memory is got
    /// outside the lock, and the bits are copied page by page, those again that changed meanwhile. May sleep.
    pub(crate) fn resize(&self, sectors: u64, set_new: bool) -> Result {
        let _turn = self.resizing.lock();
        let (old_sectors, old_bits) = {
            let inner = self.inner.lock();
            (inner.sectors, inner.bits)
        };
        let bits = bits_for(sectors);
        let mut new = Copied {
            inner: Inner::for_device(sectors)?,
            kept: old_bits.min(bits),
            set: bitmap::grown_blocks(old_sectors, sectors).filter(|_| set_new),
        };
        let pages = padded(words_for(new.kept)) / PAGE_WORDS;
        let touched = KVVec::from_elem(0u64, pages.div_ceil(64), GFP_KERNEL)?;
        let none = core::mem::replace(&mut self.inner.lock().touched, touched);
        drop(none);
        new.set_behind(pages);
        for at in 0..pages {
            new.copy(&self.inner.lock(), at);
        }
        for _ in 0..pages {
            let mut inner = self.inner.lock();
            let Some(at) = inner.take_touched() else {
                break;
            };
            new.copy(&inner, at);
        }
        let old = {
            let mut inner = self.inner.lock();
            while let Some(at) = inner.take_touched() {
                new.copy(&inner, at);
            }
            core::mem::replace(&mut *inner, new.inner)
        };
        drop(old);
        Ok(())
    }

    /// Gives the memory back.
    pub(crate) fn release(&self) {
        let _turn = self.resizing.lock();
        let old = core::mem::replace(&mut *self.inner.lock(), Inner::empty());
        drop(old);
    }

    /// Sets the bits of every block that the sectors touch, even in part; returns how many were clear.
    pub(crate) fn set_out_of_sync(&self, sector: u64, sectors: u64) -> u64 {
        if sectors == 0 {
            return 0;
        }
        let last = sector.saturating_add(sectors).saturating_sub(1) / SECTORS_PER_BIT;
        self.set_bits(sector / SECTORS_PER_BIT, last)
    }

    /// Sets bits `first..=last`; returns how many were clear.
    pub(crate) fn set_bits(&self, first: u64, last: u64) -> u64 {
        let mut inner = self.inner.lock();
        if inner.bits == 0 || first >= inner.bits {
            return 0;
        }
        let last = last.min(inner.bits.saturating_sub(1));
        let changed = bitmap::set_range(&mut inner.words, first, last);
        if changed > 0 {
            inner.weight = inner.weight.saturating_add(changed);
            inner.mark_bits(first, last);
        }
        changed
    }

    /// Whether every block that the sectors touch is marked already.
    pub(crate) fn is_out_of_sync(&self, sector: u64, sectors: u64) -> bool {
        let last = sector.saturating_add(sectors).saturating_sub(1) / SECTORS_PER_BIT;
        let inner = self.inner.lock();
        let last = last.min(inner.bits.saturating_sub(1));
        inner.bits == 0 || !bitmap::any_clear(&inner.words, sector / SECTORS_PER_BIT, last)
    }

    /// Clears the bits of every block that the sectors cover in full (the last one of the device may be short);
    /// returns how many were set.
    pub(crate) fn set_in_sync(&self, sector: u64, sectors: u64, capacity: u64) -> u64 {
        let end = sector.saturating_add(sectors).min(capacity);
        let first = sector.div_ceil(SECTORS_PER_BIT);
        let behind = if end == capacity {
            bits_for(capacity)
        } else {
            end / SECTORS_PER_BIT
        };
        if behind <= first {
            return 0;
        }
        self.clear_bits(first, behind.saturating_sub(1))
    }

    /// Clears bits `first..=last`; returns how many were set.
    pub(crate) fn clear_bits(&self, first: u64, last: u64) -> u64 {
        let mut inner = self.inner.lock();
        if inner.bits == 0 || first >= inner.bits {
            return 0;
        }
        let last = last.min(inner.bits.saturating_sub(1));
        let changed = bitmap::clear_range(&mut inner.words, first, last);
        if changed > 0 {
            inner.cleared = true;
            inner.weight = inner.weight.saturating_sub(changed);
            inner.mark_bits(first, last);
        }
        changed
    }

    /// Sets all bits.
    pub(crate) fn set_all(&self) {
        let mut inner = self.inner.lock();
        let bits = inner.bits;
        if bits == 0 {
            return;
        }
        bitmap::set_range(&mut inner.words, 0, bits.saturating_sub(1));
        inner.weight = bits;
        inner.mark_all();
    }

    /// Clears all bits.
    pub(crate) fn clear_all(&self) {
        let mut inner = self.inner.lock();
        inner.words.iter_mut().for_each(|word| *word = 0);
        inner.weight = 0;
        inner.cleared = true;
        inner.mark_all();
    }

    /// The first set bit at or behind `from`.
    pub(crate) fn find_set(&self, from: u64) -> Option<u64> {
        let inner = self.inner.lock();
        bitmap::find_set(&inner.words, from, inner.bits)
    }

    /// The first clear bit at or behind `from`.
    pub(crate) fn find_clear(&self, from: u64) -> Option<u64> {
        let inner = self.inner.lock();
        bitmap::find_clear(&inner.words, from, inner.bits)
    }

    /// 64 bits from bit `64 * index` on; the lowest first.
    pub(crate) fn word(&self, index: u64) -> u64 {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        self.inner.lock().words.get(at).copied().unwrap_or(0)
    }

    /// Sets these bits of the word as well.
    pub(crate) fn merge_word(&self, index: u64, bits: u64) {
        let mut inner = self.inner.lock();
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(word) = inner.words.get_mut(at) else {
            return;
        };
        let added = bits & !*word;
        *word |= bits;
        if added != 0 {
            inner.weight = inner.weight.saturating_add(u64::from(added.count_ones()));
            let first = index.saturating_mul(64);
            inner.mark_bits(first, first.saturating_add(63));
        }
    }

    /// Whether it differs from its copy on disk.
    pub(crate) fn is_changed(&self) -> bool {
        self.inner.lock().changed.iter().any(|word| *word != 0)
    }

    /// Whether some bit of `first..=last` is set.
    pub(crate) fn any_set(&self, first: u64, last: u64) -> bool {
        let inner = self.inner.lock();
        let last = last.min(inner.bits.saturating_sub(1));
        inner.bits > 0 && bitmap::any_set(&inner.words, first, last)
    }

    /// Reads it from the metadata. May sleep.
    pub(crate) fn read(&self, device: &Arc<Device>, disk: &Local) -> Result {
        let layout = disk.layout();
        let pages = self.inner.lock().pages();
        let mut next = 0;
        while next < pages {
            let mut io = disk.meta_io.lock();
            let mut ready = Ok(());
            while ready.is_ok() && next < pages && io.has_room() {
                let sector = layout.bitmap_sector.saturating_add(offset_of(next));
                ready = io.add(device, next, sector);
                next = next.saturating_add(1);
            }
            let load = |at, page: &PageVec| self.inner.lock().load_page(at, page);
            io.read(device, disk, ready, load)?;
        }
        let mut inner = self.inner.lock();
        inner.changed.iter_mut().for_each(|word| *word = 0);
        let weight = inner.weight;
        drop(inner);
        report(device, weight);
        Ok(())
    }

    /// Writes the pages that changed. May sleep. Others get their turn with the metadata between two windows of pages.
    pub(crate) fn write(&self, device: &Arc<Device>, disk: &Local) -> Result {
        let mut from = 0;
        let mut written = 0u64;
        loop {
            let mut io = disk.meta_io.lock();
            let now = self.write_window(device, disk, &mut io, false, |inner| {
                let at = inner.take_changed(from)?;
                from = at.saturating_add(1);
                Some(at)
            })?;
            written = written.saturating_add(now);
            if now > 0 {
                continue;
            }
            // Nobody can tell which of them the disk has forgotten.
            let lost = |_: &Error| self.inner.lock().mark_all();
            io.settle(device, disk).inspect_err(lost)?;
            break;
        }
        count_writes(device, written);
        report(device, self.weight());
        Ok(())
    }

    /// Writes those of `pages` that changed: an extent leaves the activity log. They are stable when this returns.
    /// May sleep.
    pub(crate) fn write_pages(&self, device: &Arc<Device>, disk: &Local, pages: &[u32]) -> Result {
        let mut pages = pages.iter().map(|at| *at as usize);
        let mut written = 0u64;
        let mut io = disk.meta_io.lock();
        loop {
            let now = self.write_window(device, disk, &mut io, true, |inner| {
                pages.find(|at| inner.take_changed_page(*at).is_some())
            })?;
            if now == 0 {
                break;
            }
            written = written.saturating_add(now);
        }
        drop(io);
        count_writes(device, written);
        Ok(())
    }

    /// Writes as many of the pages that `next` takes as go together; returns how many.
    fn write_window(
        &self,
        device: &Arc<Device>,
        disk: &Local,
        io: &mut MetaIo,
        fua: bool,
        mut next: impl FnMut(&mut Inner) -> Option<usize>,
    ) -> Result<u64> {
        let layout = disk.layout();
        let lost = |at| self.inner.lock().mark(at);
        let mut written = 0u64;
        let mut ready = Ok(());
        while ready.is_ok() && io.has_room() {
            let at = {
                let mut inner = self.inner.lock();
                let Some(at) = next(&mut inner) else { break };
                if offset_of(at) >= layout.bitmap_sectors {
                    // The device grows, and its metadata have not moved yet: all pages are written when they have.
                    inner.mark(at);
                    continue;
                }
                inner.copy_page(at, &mut io.page);
                at
            };
            let sector = layout.bitmap_sector.saturating_add(offset_of(at));
            ready = io
                .add_copy(device, at, sector)
                .inspect_err(|_: &Error| lost(at));
            written = written.saturating_add(1);
        }
        if written == 0 {
            return Ok(0);
        }
        let ready = ready.and_then(|()| self.flush_what_was_cleared(device, disk));
        io.write(device, disk, ready, fua, lost)?;
        Ok(written)
    }

    /// A clear bit must not be stable before the block that it speaks of.
    fn flush_what_was_cleared(&self, device: &Arc<Device>, disk: &Local) -> Result {
        if !disk.flushes() || !core::mem::replace(&mut self.inner.lock().cleared, false) {
            return Ok(());
        }
        meta_io::flush_data(device, disk).inspect_err(|_| self.inner.lock().cleared = true)
    }

    /// Writes every page: the area moved, or nobody knows what is in it.
    pub(crate) fn write_all(&self, device: &Arc<Device>, disk: &Local) -> Result {
        self.inner.lock().mark_all();
        self.write(device, disk)
    }
}

fn count_writes(device: &Device, pages: u64) {
    let mut shared = device.resource.shared.lock();
    if let Some(volume) = shared.vol_mut(device.vnr) {
        volume.stat.bm_writes = volume.stat.bm_writes.saturating_add(pages);
    }
}

fn report(device: &Device, weight: u64) {
    pr_info!(
        "{}: {} KB ({} bits) marked out-of-sync by on disk bit-map.\n",
        Tag(device),
        weight.saturating_mul(4),
        weight
    );
}
