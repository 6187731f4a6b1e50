// SPDX-License-Identifier: GPL-2.0-only

//! The activity log on disk: a ring of transactions of 4 KiB, big-endian.
//!
//! ```text
//!    0 magic   4 number   8 crc32c (over the block with this field 0)   12 type (u16)   14 updates (u16)
//!   16 context size (u16)   18 first slot of the context (u16)          20 reserved (16 bytes)
//!   36 slot of each update (64 x u16)   164 extent of each update (64 x u32)   420 context (919 x u32)
//! ```
//! An update says that a slot of the log now holds another extent of 4 MiB. The context repeats a part of the slots
//! that did not change, in turn, so that the newest few transactions tell all slots.

use super::crc32c::crc32c;

/// Bytes of a transaction.
pub const TRANSACTION_BYTES: usize = 4096;
/// Most updates in one transaction.
pub const UPDATES: usize = 64;
/// Slots that one transaction repeats.
pub const CONTEXT: usize = 919;
/// The extent of a slot that holds none.
pub const FREE: u32 = u32::MAX;

const MAGIC: u32 = 0x69cb_65a2;
const TYPE_UPDATE: u16 = 0;
const TYPE_INITIALIZED: u16 = 0xffff;
const CRC_AT: usize = 8;
const SLOTS_AT: usize = 36;
const EXTENTS_AT: usize = 164;
const CONTEXT_AT: usize = 420;

/// The block of the ring, in 4 KiB from its start, that a transaction goes to: neighbours in time are on different
/// stripes.
pub fn block_of(number: u32, stripes: u32, stripe_size_4k: u32) -> u32 {
    let position = stripes
        .checked_mul(stripe_size_4k)
        .and_then(|blocks| number.checked_rem(blocks))
        .unwrap_or(0);
    let stripe = position.checked_rem(stripes).unwrap_or(0);
    let within = position.checked_div(stripes).unwrap_or(0);
    stripe.saturating_mul(stripe_size_4k).saturating_add(within)
}

/// A block that is no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Too short, or another magic number: never written, or overwritten.
    Foreign,
    /// The checksum does not match: torn, or damaged.
    Checksum,
    /// The checksum matches, the content makes no sense.
    Nonsense,
}

/// A transaction that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    bytes: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    word.map_or(0, |word| u16::from_be_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

/// The checksum of a block, its own field taken as 0.
fn checksum(bytes: &[u8]) -> u32 {
    let head = bytes.get(..CRC_AT).unwrap_or_default();
    let tail = bytes.get(CRC_AT.saturating_add(4)..).unwrap_or_default();
    crc32c(crc32c(crc32c(0, head), &[0; 4]), tail)
}

impl<'a> Transaction<'a> {
    /// Checks a block.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Bad> {
        let bytes = bytes.get(..TRANSACTION_BYTES).ok_or(Bad::Foreign)?;
        if u32_at(bytes, 0) != MAGIC {
            return Err(Bad::Foreign);
        }
        if u32_at(bytes, CRC_AT) != checksum(bytes) {
            return Err(Bad::Checksum);
        }
        let new = Self { bytes };
        let known = matches!(u16_at(bytes, 12), TYPE_UPDATE | TYPE_INITIALIZED);
        if !known || usize::from(u16_at(bytes, 14)) > UPDATES {
            return Err(Bad::Nonsense);
        }
        Ok(new)
    }

    /// Its number; they wrap.
    pub fn number(&self) -> u32 {
        u32_at(self.bytes, 4)
    }

    /// Whether it only says that the ring was initialised.
    pub fn is_initial(&self) -> bool {
        u16_at(self.bytes, 12) == TYPE_INITIALIZED
    }

    /// Slots of the log when it was written.
    pub fn slots(&self) -> u16 {
        u16_at(self.bytes, 16)
    }

    /// The slots that it repeats, with their extents.
    pub fn context(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        let (bytes, slots, first) = (self.bytes, self.slots(), u16_at(self.bytes, 18));
        let words = bytes
            .get(CONTEXT_AT..)
            .unwrap_or_default()
            .chunks_exact(4)
            .take(CONTEXT);
        (first..slots).zip(words.map(|word| u32_at(word, 0)))
    }

    /// The slots that it changes, with their new extents.
    pub fn updates(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        let bytes = self.bytes;
        let count = usize::from(u16_at(bytes, 14)).min(UPDATES);
        let slots = bytes
            .get(SLOTS_AT..EXTENTS_AT)
            .unwrap_or_default()
            .chunks_exact(2);
        let extents = bytes
            .get(EXTENTS_AT..CONTEXT_AT)
            .unwrap_or_default()
            .chunks_exact(4);
        slots
            .zip(extents)
            .take(count)
            .map(|(slot, extent)| (u16_at(slot, 0), u32_at(extent, 0)))
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let end = at.saturating_add(value.len());
    for (to, from) in bytes
        .get_mut(at..end)
        .unwrap_or_default()
        .iter_mut()
        .zip(value)
    {
        *to = *from;
    }
}

fn seal(bytes: &mut [u8]) {
    let crc = checksum(bytes);
    put(bytes, CRC_AT, &crc.to_be_bytes());
}

/// Writes the block that initialises the ring.
pub fn emit_initial(bytes: &mut [u8]) {
    bytes.fill(0);
    put(bytes, 0, &MAGIC.to_be_bytes());
    put(bytes, 12, &TYPE_INITIALIZED.to_be_bytes());
    seal(bytes);
}

/// Writes a transaction. `slots` is the whole log's size; `context` starts at slot `first`. What is more than fits is
/// left out: at most `UPDATES` and `CONTEXT`.
pub fn emit(
    bytes: &mut [u8],
    number: u32,
    updates: impl Iterator<Item = (u16, u32)>,
    slots: u16,
    first: u16,
    context: impl Iterator<Item = u32>,
) {
    bytes.fill(0);
    put(bytes, 0, &MAGIC.to_be_bytes());
    put(bytes, 4, &number.to_be_bytes());
    put(bytes, 12, &TYPE_UPDATE.to_be_bytes());
    put(bytes, 16, &slots.to_be_bytes());
    put(bytes, 18, &first.to_be_bytes());
    let (mut count, mut slot_at, mut extent_at) = (0u16, SLOTS_AT, EXTENTS_AT);
    for (slot, extent) in updates.take(UPDATES) {
        put(bytes, slot_at, &slot.to_be_bytes());
        put(bytes, extent_at, &extent.to_be_bytes());
        slot_at = slot_at.saturating_add(2);
        extent_at = extent_at.saturating_add(4);
        count = count.saturating_add(1);
    }
    put(bytes, 14, &count.to_be_bytes());
    // Updates that are not used say "no slot, no extent".
    for at in (slot_at..EXTENTS_AT).step_by(2) {
        put(bytes, at, &u16::MAX.to_be_bytes());
    }
    for at in (extent_at..CONTEXT_AT).step_by(4) {
        put(bytes, at, &FREE.to_be_bytes());
    }
    let mut at = CONTEXT_AT;
    for extent in context.take(CONTEXT) {
        put(bytes, at, &extent.to_be_bytes());
        at = at.saturating_add(4);
    }
    while at < TRANSACTION_BYTES {
        put(bytes, at, &FREE.to_be_bytes());
        at = at.saturating_add(4);
    }
    seal(bytes);
}
