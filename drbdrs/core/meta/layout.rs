// SPDX-License-Identifier: GPL-2.0-only

//! Where superblock, activity log and bitmap are. All in sectors of 512 bytes.
//!
//! ```text
//!   internal   [ data ........................ | bitmap | activity log | superblock ]  the last whole 4 KiB block
//!   flexible   [ superblock | activity log | bitmap .............................. ]  a device of its own
//!   indexed    slots of 128 MiB on a shared device, each like `flexible` with a log of 32 KiB
//! ```
//! The bitmap has one bit per 4 KiB of data.

use super::superblock::Superblock;
use super::Why;

/// `meta-disk internal;` of DRBD 0.7.
pub const INDEX_INTERNAL: i32 = -1;
/// `meta-disk DEVICE;`
pub const INDEX_FLEX_EXTERNAL: i32 = -2;
/// `meta-disk internal;`
pub const INDEX_FLEX_INTERNAL: i32 = -3;

/// Sectors of 4 KiB: a superblock, a block of the activity log.
const BLOCK: u64 = 8;
/// Sectors of a slot on a shared device.
const SLOT: u64 = 128 << 11;
/// Smallest activity log, and that of a slot.
const LOG_MIN_BLOCKS: u64 = 8;
/// Largest activity log: 16 GiB.
const LOG_MAX_BLOCKS: u64 = 4 << 20;
/// Sectors of data whose bits fill one sector of bitmap.
const DATA_PER_BITMAP_SECTOR: u64 = 1 << 15;
/// Largest device with a bitmap of any size, in sectors.
const MAX_FLEXIBLE: u64 = 1 << 51;

/// Where everything is on the metadata device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The superblock.
    pub superblock_sector: u64,
    /// All metadata.
    pub md_size_sect: u32,
    /// The activity log relative to the superblock.
    pub al_offset: i32,
    /// The bitmap relative to the superblock.
    pub bm_offset: i32,
    /// The activity log.
    pub al_sector: u64,
    /// The bitmap.
    pub bitmap_sector: u64,
    /// Room for the bitmap.
    pub bitmap_sectors: u64,
    /// The first sector of all metadata.
    pub first_sector: u64,
    /// The largest device that data disk and bitmap allow.
    pub max_capacity: u64,
}

/// Whether an index means the data device itself.
pub const fn is_internal(meta_dev_idx: i32) -> bool {
    matches!(meta_dev_idx, INDEX_INTERNAL | INDEX_FLEX_INTERNAL)
}

/// Where the superblock is on a metadata device of that size; none if it has no room for one.
pub fn superblock_sector(meta_dev_idx: i32, meta_sectors: u64) -> Option<u64> {
    let sector = match meta_dev_idx {
        INDEX_INTERNAL | INDEX_FLEX_INTERNAL => (meta_sectors & !7).checked_sub(BLOCK)?,
        INDEX_FLEX_EXTERNAL => 0,
        index => SLOT.checked_mul(u64::try_from(index).ok()?)?,
    };
    (sector.checked_add(BLOCK)? <= meta_sectors).then_some(sector)
}

/// Sectors that the bitmap of a device takes, in whole blocks of 4 KiB.
pub const fn bitmap_sectors(data_sectors: u64) -> u64 {
    let sectors = data_sectors.div_ceil(DATA_PER_BITMAP_SECTOR);
    sectors.saturating_add(BLOCK - 1) & !(BLOCK - 1)
}

/// Blocks of the activity log, if the stripes make sense.
fn log_blocks(stripes: u32, stripe_size_4k: u32) -> Result<u64, Why> {
    let wrong = Why::Stripes {
        stripes,
        stripe_size_4k,
    };
    let blocks = u64::from(stripes)
        .checked_mul(u64::from(stripe_size_4k))
        .ok_or(wrong)?;
    if (LOG_MIN_BLOCKS..=LOG_MAX_BLOCKS).contains(&blocks) {
        Ok(blocks)
    } else {
        Err(wrong)
    }
}

impl Layout {
    /// The layout of metadata that is created now. For internal metadata both sizes are the data device's.
    pub fn new(
        meta_dev_idx: i32,
        data_sectors: u64,
        meta_sectors: u64,
        al_stripes: u32,
        al_stripe_size_4k: u32,
    ) -> Option<Self> {
        let log = log_blocks(al_stripes, al_stripe_size_4k)
            .ok()?
            .checked_mul(BLOCK)?;
        let log_offset = i32::try_from(log).ok()?;
        let (md_size_sect, al_offset, bm_offset) = if is_internal(meta_dev_idx) {
            let size = bitmap_sectors(data_sectors)
                .checked_add(BLOCK)?
                .checked_add(log)?;
            let bm_offset = 8i32.checked_sub(i32::try_from(size).ok()?)?;
            (size, log_offset.checked_neg()?, bm_offset)
        } else if meta_dev_idx == INDEX_FLEX_EXTERNAL {
            (meta_sectors, 8, log_offset.checked_add(8)?)
        } else {
            (SLOT, 8, log_offset.checked_add(8)?)
        };
        // The on-disk field has 32 bits; what is behind 2 TiB of a metadata device is of no use.
        let md_size_sect = u32::try_from(md_size_sect).unwrap_or(!7);
        let wanted = Offsets {
            md_size_sect,
            al_offset,
            bm_offset,
            al_stripes,
            al_stripe_size_4k,
            effective_size: 0,
        };
        wanted.place(meta_dev_idx, data_sectors, meta_sectors).ok()
    }

    /// The layout that a superblock describes; refused if it contradicts itself or the devices.
    pub fn of(
        superblock: &Superblock,
        meta_dev_idx: i32,
        data_sectors: u64,
        meta_sectors: u64,
    ) -> Result<Self, Why> {
        let described = Offsets {
            md_size_sect: superblock.md_size_sect,
            al_offset: superblock.al_offset,
            bm_offset: superblock.bm_offset,
            al_stripes: superblock.al_stripes,
            al_stripe_size_4k: superblock.al_stripe_size_4k,
            effective_size: superblock.effective_size,
        };
        described.place(meta_dev_idx, data_sectors, meta_sectors)
    }

    /// Whether this layout may be used with that superblock: same places, room for the agreed size.
    pub fn check(&self, superblock: &Superblock) -> Result<(), Why> {
        log_blocks(superblock.al_stripes, superblock.al_stripe_size_4k)?;
        if superblock.al_offset != self.al_offset {
            return Err(Why::Offsets("al_offset"));
        }
        if superblock.bm_offset != self.bm_offset {
            return Err(Why::Offsets("bm_offset"));
        }
        if superblock.md_size_sect != self.md_size_sect {
            return Err(Why::Offsets("md_size_sect"));
        }
        covers(self.bitmap_sectors, superblock.effective_size)
    }
}

/// The numbers of a superblock that say where things are.
struct Offsets {
    md_size_sect: u32,
    al_offset: i32,
    bm_offset: i32,
    al_stripes: u32,
    al_stripe_size_4k: u32,
    effective_size: u64,
}

impl Offsets {
    fn place(
        &self,
        meta_dev_idx: i32,
        data_sectors: u64,
        meta_sectors: u64,
    ) -> Result<Layout, Why> {
        let log = log_blocks(self.al_stripes, self.al_stripe_size_4k)?.saturating_mul(BLOCK);
        let size = u64::from(self.md_size_sect);
        let superblock = superblock_sector(meta_dev_idx, meta_sectors).ok_or(Why::NoRoom)?;
        let at = |offset: i32, what| {
            superblock
                .checked_add_signed(i64::from(offset))
                .ok_or(Why::Offsets(what))
        };
        let al_sector = at(self.al_offset, "al_offset")?;
        let bitmap_sector = at(self.bm_offset, "bm_offset")?;
        if self.bm_offset % 8 != 0 {
            return Err(Why::Offsets("bm_offset"));
        }
        let internal = is_internal(meta_dev_idx);
        let (log_room, bitmap_room) = if internal {
            // Both offsets are negative: bitmap, log, superblock.
            let log = gap(al_sector, superblock, "al_offset")?;
            (log, gap(bitmap_sector, al_sector, "bm_offset")?)
        } else {
            if self.al_offset != 8 {
                return Err(Why::Offsets("al_offset"));
            }
            let log = gap(al_sector, bitmap_sector, "bm_offset")?;
            let end = superblock.saturating_add(size);
            (log, gap(bitmap_sector, end, "md_size_sect")?)
        };
        if log_room != log {
            return Err(Why::Offsets("al_offset"));
        }
        if meta_dev_idx >= 0
            && (size != SLOT || self.al_stripes != 1 || self.al_stripe_size_4k != 8)
        {
            return Err(Why::Offsets("md_size_sect"));
        }
        let first_sector = if internal { bitmap_sector } else { superblock };
        let fits = meta_sectors
            .checked_sub(size)
            .is_some_and(|room| first_sector <= room);
        if !fits {
            return Err(Why::NoRoom);
        }
        covers(bitmap_room, self.effective_size)?;
        let by_bitmap = bitmap_room.saturating_mul(DATA_PER_BITMAP_SECTOR);
        let max_capacity = match meta_dev_idx {
            INDEX_INTERNAL | INDEX_FLEX_INTERNAL => MAX_FLEXIBLE.min(first_sector),
            INDEX_FLEX_EXTERNAL => MAX_FLEXIBLE.min(data_sectors).min(by_bitmap),
            _ => data_sectors.min(by_bitmap),
        };
        Ok(Layout {
            superblock_sector: superblock,
            md_size_sect: self.md_size_sect,
            al_offset: self.al_offset,
            bm_offset: self.bm_offset,
            al_sector,
            bitmap_sector,
            bitmap_sectors: bitmap_room,
            first_sector,
            max_capacity,
        })
    }
}

/// Sectors from one place to a later one.
fn gap(from: u64, to: u64, what: &'static str) -> Result<u64, Why> {
    to.checked_sub(from).ok_or(Why::Offsets(what))
}

/// Whether so much bitmap covers the size that the nodes agreed upon. The stock driver rounds down; what it creates
/// itself has room for the last, partly used sector, too, and nothing else may be written.
fn covers(bitmap_sectors: u64, effective_size: u64) -> Result<(), Why> {
    if bitmap_sectors < effective_size.div_ceil(DATA_PER_BITMAP_SECTOR) {
        return Err(Why::BitmapTooSmall);
    }
    Ok(())
}
