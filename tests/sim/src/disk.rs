// SPDX-License-Identifier: GPL-2.0-only

//! A disk with a volatile cache, sector by sector.
//!
//! Every write fills its sectors with one tag. Without power, every sector whose writes were not flushed keeps one of
//! them by lot, or what was there before; a write under way may be torn at any sector.

use crate::rng::Rng;

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What a read sees.
    pub now: Vec<u64>,
    /// What a loss of power cannot take.
    stable: Vec<u64>,
    /// What the cache holds, in the order of the writes.
    cache: Vec<(usize, u64)>,
    /// Whether it has a volatile cache.
    pub volatile: bool,
}

impl Disk {
    /// All zero.
    pub fn new(sectors: usize, volatile: bool) -> Self {
        Self {
            now: vec![0; sectors],
            stable: vec![0; sectors],
            cache: Vec::new(),
            volatile,
        }
    }

    /// It gets larger; what is new holds `tag`.
    pub fn grow(&mut self, sectors: usize, tag: u64) {
        self.now.resize(sectors, tag);
        self.stable.resize(sectors, tag);
    }

    /// A write has ended.
    pub fn write(&mut self, sector: usize, tags: &[u64]) {
        for (at, &tag) in tags.iter().enumerate() {
            self.now[sector + at] = tag;
            if self.volatile {
                self.cache.push((sector + at, tag));
            } else {
                self.stable[sector + at] = tag;
            }
        }
    }

    /// A sector holds something that nobody wrote.
    pub fn rot(&mut self, sector: usize, tag: u64) {
        self.cache.retain(|(cached, _)| *cached != sector);
        self.stable[sector] = tag;
        self.now[sector] = tag;
    }

    /// What was written is on the disk for good.
    pub fn flush(&mut self) {
        for (sector, tag) in self.cache.drain(..) {
            self.stable[sector] = tag;
        }
    }

    /// The power goes. Says how many sectors lost something.
    pub fn cut(&mut self, rng: &mut Rng, under_way: &[(usize, Vec<u64>)]) -> (u64, u64) {
        let (mut lost, mut torn) = (0, 0);
        let cache = std::mem::take(&mut self.cache);
        // Each sector keeps a prefix of its writes: the first lot that is against it ends it.
        let mut ended = std::collections::BTreeSet::new();
        for (sector, tag) in cache {
            if ended.contains(&sector) {
                continue;
            }
            if rng.one_in(2) {
                self.stable[sector] = tag;
            } else {
                lost += 1;
                ended.insert(sector);
            }
        }
        for (sector, tags) in under_way {
            let mut kept = 0;
            for (at, &tag) in tags.iter().enumerate() {
                if rng.one_in(2) {
                    self.stable[sector + at] = tag;
                    kept += 1;
                }
            }
            torn += u64::from(kept > 0 && kept < tags.len());
        }
        self.now.copy_from_slice(&self.stable);
        (lost, torn)
    }
}
