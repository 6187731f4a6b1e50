// SPDX-License-Identifier: GPL-2.0-only

//! The three headers: 8 bytes up to protocol 99 (one for short, one for long packets), 16 since.

use super::{Command, Reader, Writer};

const MAGIC: u32 = 0x8374_0267;
const MAGIC_BIG: u16 = 0x835a;
const MAGIC_100: u32 = 0x8620_ec20;
/// What the oldest header may announce, in bytes.
const MAX_SHORT: u32 = 1 << 15;

/// Which headers are spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 8 bytes, up to 32 KiB: before the versions are agreed, and up to protocol 94.
    Short,
    /// 8 bytes; long packets have a header of their own: protocols 95 to 99.
    ShortOrLong,
    /// 16 bytes, with the volume: since protocol 100.
    Volume,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The volume that the packet is about; 0 for packets about the connection.
    pub volume: u16,
    /// What follows.
    pub command: Command,
    /// How many bytes follow.
    pub length: u32,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    Short,
    /// The first bytes are not DRBD's, or those of another format.
    Magic(
        /// The four bytes that are there.
        u32,
    ),
    /// Bytes that must be zero are not.
    Padding,
}

impl Format {
    /// The format of an agreed protocol version.
    pub const fn of_version(version: u32) -> Self {
        match version {
            0..=94 => Format::Short,
            95..=99 => Format::ShortOrLong,
            _ => Format::Volume,
        }
    }

    /// How many bytes a header has.
    pub const fn size(self) -> usize {
        match self {
            Format::Short | Format::ShortOrLong => 8,
            Format::Volume => 16,
        }
    }

    /// Reads a header from [`Format::size`] bytes.
    ///
    /// Like stock, both 8-byte headers are understood whenever one is.
    pub fn parse(self, bytes: &[u8]) -> Result<Header, HeaderError> {
        let mut reader = Reader::new(bytes);
        match self {
            Format::Short | Format::ShortOrLong => parse8(&mut reader),
            Format::Volume => parse16(&mut reader),
        }
    }

    /// Writes a header; `None` when the buffer or the format has no room for it.
    pub fn emit(self, header: Header, out: &mut Writer<'_>) -> Option<()> {
        let command = header.command.to_wire();
        let long = header.length > MAX_SHORT;
        match self {
            Format::Volume => {
                out.u32(MAGIC_100)?;
                out.u16(header.volume)?;
                out.u16(command)?;
                out.u32(header.length)?;
                out.u32(0)
            }
            Format::ShortOrLong if long => {
                out.u16(MAGIC_BIG)?;
                out.u16(command)?;
                out.u32(header.length)
            }
            Format::Short | Format::ShortOrLong => {
                let length = u16::try_from(header.length).ok()?;
                out.u32(MAGIC)?;
                out.u16(command)?;
                out.u16(length)
            }
        }
    }
}

fn parse8(reader: &mut Reader<'_>) -> Result<Header, HeaderError> {
    let raw = reader.array::<8>().ok_or(HeaderError::Short)?;
    let [m0, m1, a0, a1, b0, b1, c0, c1] = raw;
    let header = |command: [u8; 2], length| Header {
        volume: 0,
        command: Command::from_wire(u16::from_be_bytes(command)),
        length,
    };
    if u16::from_be_bytes([m0, m1]) == MAGIC_BIG {
        return Ok(header([a0, a1], u32::from_be_bytes([b0, b1, c0, c1])));
    }
    match u32::from_be_bytes([m0, m1, a0, a1]) {
        MAGIC => Ok(header([b0, b1], u32::from(u16::from_be_bytes([c0, c1])))),
        other => Err(HeaderError::Magic(other)),
    }
}

fn parse16(reader: &mut Reader<'_>) -> Result<Header, HeaderError> {
    let magic = reader.u32().ok_or(HeaderError::Short)?;
    let volume = reader.u16().ok_or(HeaderError::Short)?;
    let command = reader.u16().ok_or(HeaderError::Short)?;
    let length = reader.u32().ok_or(HeaderError::Short)?;
    let pad = reader.u32().ok_or(HeaderError::Short)?;
    if magic != MAGIC_100 {
        return Err(HeaderError::Magic(magic));
    }
    if pad != 0 {
        return Err(HeaderError::Padding);
    }
    Ok(Header {
        volume,
        command: Command::from_wire(command),
        length,
    })
}
