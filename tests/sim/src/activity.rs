// SPDX-License-Identifier: GPL-2.0-only

//! The activity log of a node (`activity.rs`), and what `drbdmeta apply-al` makes of it after a crash.
//!
//! The extents are small and the slots few, so that extents leave the log all the time. What is written to the metadata
//! disk is under way for a while: the power may go before, after, or in the middle of it.

use crate::{
    node::{Node, Stable, Told},
    rng::Rng,
};
use drbd_core::{
    activity_log::{extents_of, heads_for, ActivityLog, Begun, Extents, Slot},
    bitmap,
    interval::Range,
    meta::{
        log::{block_of, emit_initial, TRANSACTION_BYTES},
        replay::{self, Apply, Replay},
        Cleanness, Flags, Superblock,
    },
    request::Kind,
    transaction::{self, Reason, Step, Transaction},
    types::DiskState,
};
use std::collections::{BTreeSet, VecDeque};

/// Sectors of an extent: four blocks. DRBD's have 8192.
const EXTENT_SECTORS: u64 = 32;
const EXTENT_BITS: u64 = EXTENT_SECTORS / 8;
/// Extents whose bits are in one page of the bitmap.
const EXTENTS_PER_PAGE: u32 = 2;
const PAGE_BITS: u64 = EXTENT_BITS * EXTENTS_PER_PAGE as u64;
/// Writes that wait for the thread; who has one more waits.
const QUEUE: usize = 16;

/// The ring on the disk, with what there is to know about it.
#[derive(Clone, Debug)]
pub struct Ring {
    blocks: Vec<Vec<u8>>,
    stripes: u32,
    stripe_size_4k: u32,
    /// Slots of the log (`al-extents`).
    slots: usize,
    /// The log is written (`al-updates`).
    updates: bool,
    /// What must come of a replay, as the one who wrote it knows.
    logged: BTreeSet<u32>,
}

impl Ring {
    /// A ring that says nothing.
    pub fn new(slots: usize, updates: bool, (stripes, stripe_size_4k): (u32, u32)) -> Self {
        Self {
            blocks: vec![initial(); (stripes * stripe_size_4k) as usize],
            stripes,
            stripe_size_4k,
            slots,
            updates,
            logged: BTreeSet::new(),
        }
    }
}

fn initial() -> Vec<u8> {
    let mut block = vec![0; TRANSACTION_BYTES];
    emit_initial(&mut block);
    block
}

/// A write of the application that has no slot of the transfer log yet.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub range: Range,
    pub tag: u64,
    /// The application waits for it since the other Primary wanted it again.
    pub again: bool,
}

/// What is on its way to the metadata disk.
#[derive(Debug)]
enum UnderWay {
    Page(u32, Vec<u64>),
    Block(usize),
}

/// See the module's description.
#[derive(Default)]
pub struct Activity {
    log: Option<ActivityLog<Vec<Slot>, Vec<u32>>>,
    serial: u32,
    queue: VecDeque<Waiting>,
    ready: VecDeque<(Waiting, Option<u32>)>,
    page: Vec<u8>,
    new: Option<Transaction>,
    /// Pages of the bitmap that are to be written for it.
    pages: Vec<u32>,
    under_way: Option<UnderWay>,
}

/// What comes of a write that wants to start.
enum Entered {
    Free,
    Hot(u32),
    Cold,
}

fn touched(range: &Range) -> Extents {
    extents_of(range.sector, range.sectors.into(), EXTENT_SECTORS)
}

/// The bits of a page, those of all words.
fn page_mask(page: u32, words: usize) -> Vec<u64> {
    let mut mask = vec![0; words];
    let first = u64::from(page) * PAGE_BITS;
    bitmap::set_range(&mut mask, first, first + PAGE_BITS - 1);
    mask
}

impl Activity {
    /// The writes that wait for it.
    pub fn tags(&self) -> impl Iterator<Item = u64> + '_ {
        let ready = self.ready.iter().map(|(write, _)| write);
        self.queue.iter().chain(ready).map(|write| write.tag)
    }

    /// No write waits for a transaction, or for its turn after it.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.ready.is_empty() && self.new.is_none()
    }

    /// A disk is attached.
    pub fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Uses of extents by writes that are not forgotten.
    pub fn in_use(&self) -> u32 {
        self.log.as_ref().map_or(0, |log| log.in_use())
    }

    /// The disk is gone.
    pub fn detach(&mut self) {
        self.log = None;
    }

    /// Extents that may have writes in flight, or had.
    pub fn extents(&self) -> BTreeSet<u32> {
        self.log.iter().flat_map(|log| log.logged()).collect()
    }
}

impl Node {
    /// An attached disk gets its log: empty, as `apply-al` left the one on disk.
    pub fn attach_log(&mut self) {
        let slots = self.stable.ring.slots;
        let activity = &mut self.activity;
        activity.serial += 1;
        activity.log = Some(ActivityLog::new(
            vec![Slot::default(); slots],
            vec![0; heads_for(slots)],
        ));
    }

    /// Notes whether the log on disk can be trusted.
    pub fn flag_log(&self, flags: &mut Flags) {
        flags.set(Flags::AL_DISABLED, !self.stable.ring.updates);
    }

    fn log_of(&mut self) -> Option<&mut ActivityLog<Vec<Slot>, Vec<u32>>> {
        self.has_disk().then_some(())?;
        self.activity.log.as_mut()
    }

    fn enter(&mut self, range: &Range) -> Entered {
        let serial = self.activity.serial;
        match self.log_of().map(|log| log.begin_hot(touched(range))) {
            None => Entered::Free,
            Some(true) => Entered::Hot(serial),
            Some(false) => Entered::Cold,
        }
    }

    /// A write is forgotten that held log `serial`.
    pub fn leave_log(&mut self, range: &Range, hold: Option<u32>) {
        let activity = &mut self.activity;
        if let Some(log) = activity
            .log
            .as_mut()
            .filter(|_| hold == Some(activity.serial))
        {
            log.end(touched(range));
        }
    }

    /// A write goes to our disk only with its extents in the log. False: it must wait.
    pub fn start(&mut self, write: Waiting) -> bool {
        let hold = match self.enter(&write.range) {
            Entered::Free => None,
            Entered::Hot(serial) => Some(serial),
            Entered::Cold if self.activity.queue.len() >= QUEUE => return false,
            Entered::Cold => {
                self.activity.queue.push_back(write);
                return true;
            }
        };
        self.go_on(write, hold)
    }

    /// A write with its extents in the log. False: it must wait, and holds nothing.
    fn go_on(&mut self, write: Waiting, hold: Option<u32>) -> bool {
        let admitted = self.admit(Kind::Write, write.range, write.tag, !write.again, hold);
        if admitted != Some(true) {
            self.leave_log(&write.range, hold);
        }
        if admitted == Some(false) && write.again {
            self.told.push(Told::Failed(write.tag));
        }
        admitted.is_some()
    }

    /// What a write of the peer holds: it has no disk for it. `None`: not yet.
    pub fn hold_for_peer(&mut self, range: &Range) -> Option<Option<u32>> {
        let serial = self.activity.serial;
        let Some(log) = self.log_of() else {
            return Some(None);
        };
        // Until then the thread writes the transaction.
        if !log.begin_hot(touched(range)) {
            if log.begin(touched(range)) == Begun::Pending {
                log.end(touched(range));
            }
            return None;
        }
        Some(Some(serial))
    }

    /// One step of the log's thread; false: it has nothing to do.
    pub fn activity(&mut self) -> bool {
        if self.activity.new.is_some() {
            // Until something is under way.
            self.write_on();
            while self.activity.new.is_some() && self.activity.under_way.is_none() {
                self.write_on();
            }
            return true;
        }
        if let Some((write, hold)) = self.activity.ready.pop_front() {
            let log_is_new = self.has_disk() && self.activity.log.is_some();
            if log_is_new && hold != Some(self.activity.serial) {
                self.activity.queue.push_front(write);
            } else if !self.go_on(write, hold) {
                self.again.push_back(write);
            }
            return true;
        }
        self.gather()
    }

    /// As many of the waiting writes as one transaction has room for.
    fn gather(&mut self) -> bool {
        let serial = self.activity.serial;
        let mut moved = false;
        while let Some(write) = self.activity.queue.pop_front() {
            let begun = self.log_of().map(|log| log.begin(touched(&write.range)));
            if begun == Some(Begun::Wait) {
                self.activity.queue.push_front(write);
                break;
            }
            moved = true;
            let hold = begun.map(|_| serial);
            self.activity.ready.push_back((write, hold));
        }
        let pending = self
            .activity
            .log
            .as_ref()
            .is_some_and(|log| log.has_pending());
        if !pending {
            return moved;
        }
        if !self.get_local_if(Self::usable) {
            // There is nothing to write to; the writes find that out themselves.
            self.activity.log.iter_mut().for_each(|log| log.committed());
            return true;
        }
        let updates = self.stable.ring.updates;
        let activity = &mut self.activity;
        activity.page.resize(TRANSACTION_BYTES, 0);
        if let Some(log) = &mut activity.log {
            let (page, reason) = (&mut activity.page, Reason::Pending);
            activity.new = transaction::begin(log, page, reason, updates, EXTENTS_PER_PAGE);
        }
        activity.pages = activity
            .new
            .iter()
            .flat_map(|new| new.pages())
            .copied()
            .collect();
        true
    }

    /// A transaction goes on: what is under way ends, or the next write begins.
    fn write_on(&mut self) {
        let Some(mut new) = self.activity.new else {
            return;
        };
        if let Some(write) = self.activity.under_way.take() {
            let was_page = matches!(write, UnderWay::Page(..));
            self.land(write);
            if !was_page {
                new.done(true);
            }
        } else if let (Step::Bitmap, Some(page)) = (new.step(), self.activity.pages.pop()) {
            let mask = page_mask(page, self.bits.len());
            let copy: Vec<u64> = self
                .bits
                .iter()
                .zip(&mask)
                .map(|(word, mask)| word & mask)
                .collect();
            let old = self
                .stable
                .bitmap
                .iter()
                .zip(&mask)
                .map(|(word, mask)| word & mask);
            if old.eq(copy.iter().copied()) {
                return;
            }
            if self.metadata_write() {
                self.activity.under_way = Some(UnderWay::Page(page, copy));
            } else {
                new.done(false);
            }
        } else if new.step() == Step::Bitmap {
            new.done(true);
        } else if self.metadata_write() {
            let ring = &self.stable.ring;
            let block = new.block(ring.stripes, ring.stripe_size_4k);
            self.activity.under_way = Some(UnderWay::Block(block as usize));
        } else {
            new.done(false);
        }
        self.activity.new = Some(new);
        if new.step() == Step::End {
            self.end_transaction();
            self.put_local();
        }
    }

    fn end_transaction(&mut self) {
        let Some(new) = self.activity.new.take() else {
            return;
        };
        if let Some(log) = &mut self.activity.log {
            new.end(log);
            if new.written {
                self.stable.ring.logged = log.logged().collect();
            }
        }
    }

    fn land(&mut self, write: UnderWay) {
        match write {
            UnderWay::Page(page, copy) => {
                let mask = page_mask(page, copy.len());
                let words = self.stable.bitmap.iter_mut().zip(copy.iter().zip(&mask));
                words.for_each(|(word, (new, mask))| *word = *word & !mask | new);
            }
            UnderWay::Block(at) => self.stable.ring.blocks[at].clone_from(&self.activity.page),
        }
    }

    /// Somebody else writes the bitmap: what is under way there comes first.
    pub fn settle_bitmap(&mut self) {
        if let Some(UnderWay::Page(..)) = self.activity.under_way {
            if let Some(write) = self.activity.under_way.take() {
                self.land(write);
            }
        }
    }

    /// The power goes: what is under way gets to the disk, or not, or in parts.
    pub fn cut_log(&mut self, rng: &mut Rng) {
        match self.activity.under_way.take() {
            None => {}
            Some(write @ UnderWay::Page(..)) if rng.one_in(2) => self.land(write),
            Some(UnderWay::Page(..)) => {}
            Some(UnderWay::Block(at)) => {
                let lots: Vec<bool> = match rng.below(3) {
                    0 => vec![false; 8],
                    1 => vec![true; 8],
                    _ => (0..8).map(|_| rng.one_in(2)).collect(),
                };
                let block = self.stable.ring.blocks[at].chunks_mut(512);
                for ((old, new), _) in block
                    .zip(self.activity.page.chunks(512))
                    .zip(&lots)
                    .filter(|(_, lot)| **lot)
                {
                    old.copy_from_slice(new);
                }
                if self.stable.ring.blocks[at] == self.activity.page {
                    if let Some(new) = &mut self.activity.new {
                        new.done(true);
                    }
                    self.end_transaction();
                }
            }
        }
    }

    /// Before an attach: what the log names is marked. One step; `None`: there is another one. No: it failed.
    pub fn apply_log(&mut self, step: &mut u8) -> Option<bool> {
        let (block, cleanness) =
            Superblock::read(&self.stable.superblock).expect("our own superblock");
        if cleanness == Cleanness::Clean {
            return Some(true);
        }
        if !self.metadata_write() {
            return Some(false);
        }
        match *step {
            0 => self.mark_logged(block.flags.contains(Flags::PRIMARY_IND), cleanness),
            1 => {
                let ring = &mut self.stable.ring;
                ring.blocks.fill_with(initial);
                ring.logged.clear();
            }
            _ => block.emit_clean(&mut self.stable.superblock),
        }
        *step += 1;
        None
    }

    fn mark_logged(&mut self, was_primary: bool, cleanness: Cleanness) {
        let ring = &self.stable.ring;
        let mut replay = Replay::new(vec![replay::Told::NOTHING; ring.slots]);
        for number in 0..ring.stripes * ring.stripe_size_4k {
            let at = block_of(number, ring.stripes, ring.stripe_size_4k) as usize;
            replay.read(&ring.blocks[at]);
        }
        let hot: BTreeSet<u32> = replay.hot().collect();
        let known = ring.logged.clone();
        match replay.apply(was_primary, cleanness) {
            Apply::Nothing | Apply::Forget => return,
            Apply::Refuse => self
                .told
                .push(Told::Wrong("the activity log tells nothing".into())),
            Apply::Mark if hot != known => {
                let what = format!("the activity log tells {hot:?}, not {known:?}");
                self.told.push(Told::Wrong(what));
            }
            Apply::Mark => {}
        }
        for extent in hot {
            let size = self.size_on_disk();
            mark_extent(&mut self.stable.bitmap, extent, size);
        }
    }

    /// The blocks that this node, or its next attach, takes for different from the peer's. It may have lost its power.
    pub fn marked(&self) -> Vec<u64> {
        let disk = self.state.disk;
        let attached = self.up && self.local && disk != DiskState::Attaching;
        let (mut bits, hot, flags) = match &self.md {
            Some(md) if attached => (self.bits.clone(), self.activity.extents(), md.flags),
            _ => self.stable.marked(),
        };
        if flags.contains(Flags::FULL_SYNC) {
            bits.fill(u64::MAX);
        }
        for extent in hot {
            mark_extent(&mut bits, extent, self.size_on_disk());
        }
        bits
    }
}

fn mark_extent(bits: &mut [u64], extent: u32, capacity: u64) {
    let first = u64::from(extent) * EXTENT_BITS;
    let end = bitmap::bits_for_sectors(capacity);
    if first < end {
        bitmap::set_range(bits, first, (first + EXTENT_BITS).min(end) - 1);
    }
}

impl Stable {
    /// The bitmap, and the extents and flags that count at the next attach.
    fn marked(&self) -> (Vec<u64>, BTreeSet<u32>, Flags) {
        let (block, _) = Superblock::read(&self.superblock).expect("our own superblock");
        let primary = block.flags.contains(Flags::PRIMARY_IND);
        let hot = if primary {
            self.ring.logged.clone()
        } else {
            BTreeSet::new()
        };
        let mut flags = block.flags;
        flags.set(
            Flags::FULL_SYNC,
            flags.contains(Flags::FULL_SYNC) || primary && flags.contains(Flags::AL_DISABLED),
        );
        (self.bitmap.clone(), hot, flags)
    }
}
