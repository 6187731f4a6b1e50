// SPDX-License-Identifier: GPL-2.0-only

//! Metadata v08 on disk: the superblock, where log and bitmap are, the transactions of the activity log.
//!
//! Everything here is a codec over byte slices: reading and writing blocks is the business of the shell and of
//! drbdmeta. Nothing that a disk may hold makes it fail otherwise than by a `Why` or a `Bad`.

pub mod crc32c;
mod generation;
pub mod layout;
pub mod log;
pub mod replay;
pub mod superblock;

#[cfg(test)]
mod tests;

use crate::types::RetCode;

pub use layout::Layout;
pub use superblock::{Cleanness, Flags, Superblock, SUPERBLOCK_BYTES};

/// Why metadata is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Less than a superblock.
    TooShort,
    /// No metadata there.
    NoMagic,
    /// Metadata of DRBD 0.7.
    OldMagic,
    /// Metadata of DRBD 9.
    NewMagic,
    /// The activity log was not applied.
    Unclean,
    /// A bitmap of another granularity.
    BytesPerBit(u32),
    /// An activity log that cannot be.
    Stripes {
        /// Stripes.
        stripes: u32,
        /// Blocks of 4 KiB in each.
        stripe_size_4k: u32,
    },
    /// A number that contradicts the others; its name.
    Offsets(&'static str),
    /// The device is too small for what the superblock describes.
    NoRoom,
    /// The bitmap does not cover the size that the nodes agreed upon.
    BitmapTooSmall,
}

impl Why {
    /// The stock driver's return code.
    pub const fn code(self) -> RetCode {
        match self {
            Why::Unclean => RetCode::MdUnclean,
            _ => RetCode::MdInvalid,
        }
    }

    /// What to log, with the remedy where there is one.
    pub const fn text(self) -> &'static str {
        match self {
            Why::TooShort => "the block is shorter than a superblock",
            Why::NoMagic => "no metadata found; create it: drbdadm create-md",
            Why::OldMagic => "metadata of DRBD 0.7 found; convert it: drbdadm create-md",
            Why::NewMagic => "metadata v09 of DRBD 9 found, v08 needed; convert it: drbdmeta ... v08 ... create-md",
            Why::Unclean => "unclean metadata found; apply its activity log: drbdadm apply-al",
            Why::BytesPerBit(_) => "the bitmap has another granularity than 4 KiB per bit",
            Why::Stripes { .. } => "the stripes of the activity log make no sense",
            Why::Offsets(_) => "the offsets in the superblock contradict each other",
            Why::NoRoom => "the metadata device is too small for metadata, or for what its superblock describes",
            Why::BitmapTooSmall => "the bitmap does not cover the agreed size",
        }
    }
}
