// SPDX-License-Identifier: GPL-2.0-only

//! What would both disks of a mirror be, had the power gone at any moment of a recorded run?
//!
//! The record of both disks is played again. At many points a power cut is supposed: of what a disk holds in its cache
//! then, all, nothing, or each sector by lot survives. Where the two copies of a block differ after that, something on
//! the disks must say so, or no resync will ever touch it: a bit of either bitmap, the activity log of a disk whose
//! metadata say that its node was Primary, or a demand for a full sync.

use drbd_core::meta::log::{block_of, Transaction, FREE};
use drbd_core::meta::{layout, Flags, Layout, Superblock};
use drbd_lab::record::Step;
use drbd_lab::{Disk, Error, Lot, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const SECTOR: usize = 512;
type Sector = [u8; SECTOR];
/// Sectors of a block of the bitmap.
const PER_BLOCK: u64 = 8;
/// Blocks of an extent of the activity log.
const PER_EXTENT: u64 = 1024;
/// Blocks whose bits are in one sector.
const PER_BITMAP_SECTOR: u64 = 4096;

/// A disk as far as the record was played.
struct Image {
    platter: HashMap<u64, Sector>,
    cache: BTreeMap<u64, Sector>,
    superblock: u64,
    sectors: u64,
}

impl Image {
    fn of(disk: &Disk) -> Result<Image> {
        const STEP: u64 = 1 << 20;
        let mut platter = HashMap::new();
        for start in (0..disk.size()).step_by(STEP as usize) {
            let length = STEP.min(disk.size() - start) as usize;
            let bytes = disk.contents(start, length)?;
            let sectors = (start / SECTOR as u64..).zip(bytes.chunks_exact(SECTOR));
            for (number, sector) in sectors.filter(|(_, s)| s.iter().any(|byte| *byte != 0)) {
                platter.insert(number, copy(sector));
            }
        }
        let sectors = disk.size() / SECTOR as u64;
        let superblock = layout::superblock_sector(layout::INDEX_INTERNAL, sectors)
            .ok_or_else(|| Error::new("the disk is too small for metadata"))?;
        Ok(Image {
            platter,
            cache: BTreeMap::new(),
            superblock,
            sectors,
        })
    }

    /// Carries out a request; says which sectors of the platter it changed.
    fn play(&mut self, step: &Step) -> Vec<u64> {
        match step {
            Step::Flush => {
                let cache = std::mem::take(&mut self.cache);
                let changed = cache.keys().copied().collect();
                self.platter.extend(cache);
                changed
            }
            Step::Write {
                offset,
                bytes,
                stable,
            } => {
                let first = offset / SECTOR as u64;
                let mut changed = Vec::new();
                for (number, sector) in (first..).zip(bytes.chunks_exact(SECTOR)) {
                    if *stable {
                        self.cache.remove(&number);
                        self.platter.insert(number, copy(sector));
                        changed.push(number);
                    } else {
                        self.cache.insert(number, copy(sector));
                    }
                }
                changed
            }
        }
    }

    fn stable(&self, number: u64) -> Sector {
        self.platter.get(&number).copied().unwrap_or([0; SECTOR])
    }
}

fn copy(bytes: &[u8]) -> Sector {
    bytes.try_into().unwrap_or([0; SECTOR])
}

/// What a power cut does to a cache.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Keep,
    Drop,
    ByLot(u64),
}

impl Cut {
    fn keeps(self, number: u64) -> bool {
        match self {
            Cut::Keep => true,
            Cut::Drop => false,
            Cut::ByLot(seed) => Lot::new(seed ^ number.wrapping_mul(0x9e37_79b9)).draw() & 1 == 0,
        }
    }
}

/// A disk after the cut.
struct Left<'a> {
    image: &'a Image,
    cut: Cut,
}

impl Left<'_> {
    fn sector(&self, number: u64) -> Sector {
        match self.image.cache.get(&number) {
            Some(cached) if self.cut.keeps(number) => *cached,
            _ => self.image.stable(number),
        }
    }

    fn page(&self, first: u64) -> Vec<u8> {
        (first..first + PER_BLOCK)
            .flat_map(|number| self.sector(number))
            .collect()
    }

    /// What its metadata say.
    fn says(&self) -> Result<Says> {
        let bytes = self.page(self.image.superblock);
        let why = |why| Error::new(format!("the superblock: {why:?}"));
        let (superblock, _) = Superblock::read(&bytes).map_err(why)?;
        let (sectors, index) = (self.image.sectors, layout::INDEX_INTERNAL);
        let layout = Layout::of(&superblock, index, sectors, sectors).map_err(why)?;
        let primary = superblock.flags.contains(Flags::PRIMARY_IND);
        let hot = if primary {
            self.hot(&superblock, &layout)?
        } else {
            BTreeSet::new()
        };
        Ok(Says {
            superblock,
            layout,
            hot,
        })
    }

    /// The extents in the activity log, of which `apply-al` has to find at least one block.
    fn hot(&self, superblock: &Superblock, layout: &Layout) -> Result<BTreeSet<u32>> {
        let (stripes, size) = (superblock.al_stripes, superblock.al_stripe_size_4k);
        let pages: Vec<Vec<u8>> = (0..stripes * size)
            .map(|number| {
                let block = u64::from(block_of(number, stripes, size));
                self.page(layout.al_sector + PER_BLOCK * block)
            })
            .collect();
        let mut log: Vec<Transaction<'_>> = pages
            .iter()
            .filter_map(|page| Transaction::parse(page).ok())
            .collect();
        if log.is_empty() {
            return Err(Error::new(format!(
                "no block of the activity log ({stripes} x {size}) is readable"
            )));
        }
        log.retain(|transaction| !transaction.is_initial());
        log.sort_by_key(Transaction::number);
        let mut slots = HashMap::new();
        for transaction in log {
            slots.extend(transaction.context().chain(transaction.updates()));
        }
        Ok(slots
            .into_values()
            .filter(|extent| *extent != FREE)
            .collect())
    }

    fn is_marked(&self, says: &Says, block: u64) -> bool {
        let extent = u32::try_from(block / PER_EXTENT).unwrap_or(FREE);
        if says.superblock.flags.contains(Flags::FULL_SYNC) || says.hot.contains(&extent) {
            return true;
        }
        let sector = self.sector(says.layout.bitmap_sector + block / PER_BITMAP_SECTOR);
        let bit = (block % PER_BITMAP_SECTOR) as usize;
        sector[bit / 8] >> (bit % 8) & 1 == 1
    }
}

struct Says {
    superblock: Superblock,
    layout: Layout,
    hot: BTreeSet<u32>,
}

/// Both disks of a mirror, whose record is played.
pub struct Mirror {
    images: [Image; 2],
    /// Blocks that differ on the platters.
    differing: BTreeSet<u64>,
    lot: Lot,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Supposed power cuts.
    pub points: u64,
    /// Blocks that differed after one of them, all of them marked.
    pub differences: u64,
}

impl Mirror {
    /// Both disks as they are now; nobody may use them.
    pub fn of(disks: [&Disk; 2], seed: u64) -> Result<Mirror> {
        let images = [Image::of(disks[0])?, Image::of(disks[1])?];
        let mut mirror = Mirror {
            images,
            differing: BTreeSet::new(),
            lot: Lot::new(seed),
        };
        let [a, b] = &mirror.images;
        let all: BTreeSet<u64> = a.platter.keys().chain(b.platter.keys()).copied().collect();
        mirror.compare(all);
        Ok(mirror)
    }

    fn compare(&mut self, sectors: impl IntoIterator<Item = u64>) {
        let blocks: BTreeSet<u64> = sectors.into_iter().map(|s| s / PER_BLOCK).collect();
        let [a, b] = &self.images;
        for block in blocks {
            let mut sectors = block * PER_BLOCK..(block + 1) * PER_BLOCK;
            if sectors.any(|number| a.stable(number) != b.stable(number)) {
                self.differing.insert(block);
            } else {
                self.differing.remove(&block);
            }
        }
    }

    /// Plays the record, and supposes about `points` power cuts on the way.
    ///
    /// # Errors
    ///
    /// A block that differs and is not marked anywhere.
    pub fn play(&mut self, record: &[(usize, Step)], points: u64) -> Result<Found> {
        let mut found = Found::default();
        for (at, (disk, step)) in record.iter().enumerate() {
            let changed = match self.images.get_mut(*disk) {
                Some(image) => image.play(step),
                None => continue,
            };
            self.compare(changed);
            let mut cuts = points / record.len() as u64;
            cuts +=
                u64::from(self.lot.draw() % (record.len() as u64) < points % record.len() as u64);
            for _ in 0..cuts {
                found.points += 1;
                found.differences += self.cut().map_err(|e| {
                    Error::new(format!("after request {at} of {}: {e}", record.len()))
                })?;
            }
        }
        Ok(found)
    }

    fn lots(&mut self) -> Cut {
        match self.lot.draw() % 4 {
            0 => Cut::Keep,
            1 => Cut::Drop,
            _ => Cut::ByLot(self.lot.draw()),
        }
    }

    /// Supposes a power cut of both nodes; says how many blocks differ.
    fn cut(&mut self) -> Result<u64> {
        let cuts = [self.lots(), self.lots()];
        let left = [0, 1].map(|node| Left {
            image: &self.images[node],
            cut: cuts[node],
        });
        let says = [left[0].says()?, left[1].says()?];
        let size = says[0]
            .superblock
            .effective_size
            .min(says[1].superblock.effective_size);
        let volatile = self.images.iter().flat_map(|image| image.cache.keys());
        let blocks: BTreeSet<u64> = volatile
            .map(|number| number / PER_BLOCK)
            .chain(self.differing.iter().copied())
            .filter(|block| block * PER_BLOCK < size)
            .collect();
        let mut differences = 0;
        for block in blocks {
            let mut sectors = block * PER_BLOCK..(block + 1) * PER_BLOCK;
            if sectors.all(|number| left[0].sector(number) == left[1].sector(number)) {
                continue;
            }
            differences += 1;
            if !left[0].is_marked(&says[0], block) && !left[1].is_marked(&says[1], block) {
                return Err(Error::new(format!(
                    "after the cuts {cuts:?} block {block} differs, and neither bitmap nor activity log says so"
                )));
            }
        }
        Ok(differences)
    }
}
