// SPDX-License-Identifier: GPL-2.0-only

//! The superblock of metadata v08: 4096 bytes, big-endian, zero behind the last field.
//!
//! ```text
//!    0 last agreed size (u64)       8 UUIDs: current, bitmap, 2 history     40 device UUID (u64)    48 open resync (u64)
//!   56 flags (u32)   60 magic      64 md_size_sect   68 al_offset (i32)     72 al_nr_extents
//!   76 bm_offset (i32)   80 bm_bytes_per_bit   84 la_peer_max_bio_size      88 al_stripes   92 al_stripe_size_4k
//! ```
//! Byte 48 is reserved in 8.4, which neither reads it nor keeps it ([`Superblock::open_resync`]).
//! An attached driver writes the "unclean" magic, so that nobody attaches a disk whose activity log was not applied;
//! `drbdmeta apply-al`, or a detach in good order, makes it clean.

use super::Why;
use crate::types::Uuid;
use crate::types::UuidSet as Set;

/// Bytes of a superblock.
pub const SUPERBLOCK_BYTES: usize = 4096;

const BASE: u32 = 0x8374_0267;
const MAGIC_07: u32 = BASE + 3;
const MAGIC_08: u32 = BASE + 4;
const MAGIC_84_UNCLEAN: u32 = BASE + 5;
const MAGIC_09: u32 = BASE + 6;

/// Bytes that one bit of the bitmap stands for.
pub const BYTES_PER_BIT: u32 = 4096;

/// The flags of a superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// The data is one state of the volume, not a mixture of several.
    pub const CONSISTENT: Self = Self(1);
    /// We were primary.
    pub const PRIMARY_IND: Self = Self(2);
    /// We were connected.
    pub const CONNECTED_IND: Self = Self(4);
    /// The whole bitmap was being set.
    pub const FULL_SYNC: Self = Self(8);
    /// The data was the newest that there is.
    pub const WAS_UP_TO_DATE: Self = Self(0x10);
    /// The peer's data was older.
    pub const PEER_OUTDATED: Self = Self(0x20);
    /// We were primary when we died, and the peer has not been told.
    pub const CRASHED_PRIMARY: Self = Self(0x40);
    /// The activity log needs not be applied.
    pub const AL_CLEAN: Self = Self(0x80);
    /// The activity log is not kept.
    pub const AL_DISABLED: Self = Self(0x100);

    /// From the number on disk; unknown flags are kept.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The number on disk.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Clears `other`.
    pub fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Sets or clears `other`.
    pub fn set(&mut self, other: Self, on: bool) {
        if on {
            self.insert(other);
        } else {
            self.remove(other);
        }
    }
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The size that the nodes last agreed upon, in sectors; 0 before they met.
    pub effective_size: u64,
    /// Data generations.
    pub uuids: Set,
    /// Names this metadata block.
    pub device_uuid: u64,
    /// See `Flags`.
    pub flags: Flags,
    /// Size of all metadata in sectors.
    pub md_size_sect: u32,
    /// Where the activity log starts, in sectors relative to the superblock.
    pub al_offset: i32,
    /// Extents that the activity log may hold.
    pub al_nr_extents: u32,
    /// Where the bitmap starts, in sectors relative to the superblock.
    pub bm_offset: i32,
    /// Always `BYTES_PER_BIT`.
    pub bm_bytes_per_bit: u32,
    /// The sync UUID of a resync from here of whose end this node may not have heard: the target may have all that this
    /// disk had. Of a bitmap UUID that is not this one it says nothing.
    pub open_resync: Uuid,
    /// The largest bio that the peer took.
    pub la_peer_max_bio_size: u32,
    /// Stripes of the activity log's ring.
    pub al_stripes: u32,
    /// Blocks of 4 KiB in a stripe.
    pub al_stripe_size_4k: u32,
}

/// Whether the activity log has to be applied before anybody attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanness {
    /// It has not.
    Clean,
    /// It has: the last user did not detach in good order.
    Unclean,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    word.map_or(0, |word| u64::from_be_bytes(*word))
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

impl Superblock {
    /// Reads a superblock that a driver may attach.
    pub fn parse(bytes: &[u8]) -> Result<Self, Why> {
        match Self::read(bytes)? {
            (superblock, Cleanness::Clean) => Ok(superblock),
            (_, Cleanness::Unclean) => Err(Why::Unclean),
        }
    }

    /// Reads a superblock, whether or not its activity log was applied.
    pub fn read(bytes: &[u8]) -> Result<(Self, Cleanness), Why> {
        if bytes.len() < SUPERBLOCK_BYTES {
            return Err(Why::TooShort);
        }
        let flags = Flags(u32_at(bytes, 56));
        let cleanness = match u32_at(bytes, 60) {
            MAGIC_08 if flags.contains(Flags::AL_CLEAN) => Cleanness::Clean,
            MAGIC_08 | MAGIC_84_UNCLEAN => Cleanness::Unclean,
            MAGIC_07 => return Err(Why::OldMagic),
            MAGIC_09 => return Err(Why::NewMagic),
            _ => return Err(Why::NoMagic),
        };
        let bm_bytes_per_bit = u32_at(bytes, 80);
        if bm_bytes_per_bit != BYTES_PER_BIT {
            return Err(Why::BytesPerBit(bm_bytes_per_bit));
        }
        let (al_stripes, al_stripe_size_4k) = match (u32_at(bytes, 88), u32_at(bytes, 92)) {
            // Written before there were stripes.
            (0, 0) => (1, 8),
            (stripes, size) => (stripes, size),
        };
        let superblock = Self {
            effective_size: u64_at(bytes, 0),
            uuids: Set::from_array([
                Uuid(u64_at(bytes, 8)),
                Uuid(u64_at(bytes, 16)),
                Uuid(u64_at(bytes, 24)),
                Uuid(u64_at(bytes, 32)),
            ]),
            device_uuid: u64_at(bytes, 40),
            flags,
            md_size_sect: u32_at(bytes, 64),
            al_offset: i32::from_ne_bytes(u32_at(bytes, 68).to_ne_bytes()),
            al_nr_extents: u32_at(bytes, 72),
            bm_offset: i32::from_ne_bytes(u32_at(bytes, 76).to_ne_bytes()),
            bm_bytes_per_bit,
            open_resync: Uuid(u64_at(bytes, 48)),
            la_peer_max_bio_size: u32_at(bytes, 84),
            al_stripes,
            al_stripe_size_4k,
        };
        Ok((superblock, cleanness))
    }

    /// Writes the superblock of an attached disk.
    pub fn emit_unclean(&self, bytes: &mut [u8]) {
        self.emit(bytes, MAGIC_84_UNCLEAN, self.flags);
    }

    /// Writes the superblock of a disk that anybody may attach.
    pub fn emit_clean(&self, bytes: &mut [u8]) {
        let mut flags = self.flags;
        flags.insert(Flags::AL_CLEAN);
        self.emit(bytes, MAGIC_08, flags);
    }

    fn emit(&self, bytes: &mut [u8], magic: u32, flags: Flags) {
        bytes.fill(0);
        put(bytes, 0, &self.effective_size.to_be_bytes());
        for (uuid, at) in self.uuids.to_array().into_iter().zip([8, 16, 24, 32]) {
            put(bytes, at, &uuid.0.to_be_bytes());
        }
        put(bytes, 40, &self.device_uuid.to_be_bytes());
        if self.resync_is_open() {
            put(bytes, 48, &self.open_resync.0.to_be_bytes());
        }
        let words = [
            (56, flags.0),
            (60, magic),
            (64, self.md_size_sect),
            (68, u32::from_ne_bytes(self.al_offset.to_ne_bytes())),
            (72, self.al_nr_extents),
            (76, u32::from_ne_bytes(self.bm_offset.to_ne_bytes())),
            (80, self.bm_bytes_per_bit),
            (84, self.la_peer_max_bio_size),
            (88, self.al_stripes),
            (92, self.al_stripe_size_4k),
        ];
        for (at, word) in words {
            put(bytes, at, &word.to_be_bytes());
        }
    }
}
