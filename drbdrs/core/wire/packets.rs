// SPDX-License-Identifier: GPL-2.0-only

//! The fixed parts of packets as values, and the frame around them.

use super::{DataFlags, Format, Header, Reader, UuidFlags, Writer};
use crate::types::Uuid;

/// The block id of a resync or verify request: nobody looks it up.
pub const ID_SYNCER: u64 = u64::MAX;
/// The block id of [`super::Command::OvResult`]: the block was equal. (A number on the wire, not a
/// cookie; kept as the bytes that [`BlockAck::block_id`] has.)
pub const ID_IN_SYNC: u64 = 4711u64.to_be();
/// The block id of [`super::Command::OvResult`]: the block differed.
pub const ID_OUT_OF_SYNC: u64 = 4712u64.to_be();

/// The fixed part of a packet.
pub trait Packet: Sized {
    /// Takes the value from the reader; `None` when there is not enough of it.
    fn parse(reader: &mut Reader<'_>) -> Option<Self>;

    /// Puts the value; `None` when there is no room.
    fn emit(&self, out: &mut Writer<'_>) -> Option<()>;

    /// The value of exactly these bytes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let value = Self::parse(&mut reader)?;
        reader.rest().is_empty().then_some(value)
    }
}

/// Writes header and fixed part, announcing `payload` more bytes (which the caller sends after
/// them). Returns how many bytes were written, `None` when the buffer is too small or the format
/// cannot express the length.
pub fn frame<P: Packet>(
    format: Format,
    volume: u16,
    command: super::Command,
    packet: &P,
    payload: u32,
    buffer: &mut [u8],
) -> Option<usize> {
    let (head, body) = buffer.split_at_mut_checked(format.size())?;
    let mut body = Writer::new(body);
    packet.emit(&mut body)?;
    let length = u32::try_from(body.written()).ok()?.checked_add(payload)?;
    format.emit(
        Header {
            volume,
            command,
            length,
        },
        &mut Writer::new(head),
    )?;
    format.size().checked_add(body.written())
}

macro_rules! packets {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident {
            $( $(#[$fdoc:meta])* $field:ident: $ty:ty as $via:ident; )*
        }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$fdoc])* pub $field: $ty, )*
        }

        impl Packet for $name {
            fn parse(reader: &mut Reader<'_>) -> Option<Self> {
                Some(Self { $( $field: <$ty>::from(reader.$via()?), )* })
            }

            fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
                $( out.$via(self.$field.into())?; )*
                Some(())
            }
        }
    )+ };
}

impl From<u32> for DataFlags {
    fn from(bits: u32) -> Self {
        Self(bits)
    }
}

impl From<DataFlags> for u32 {
    fn from(flags: DataFlags) -> Self {
        flags.0
    }
}

packets! {
    /// The head of a write, of the answer to a read, and of resync data.
    pub struct DataPacket {
        /// Where it starts, in sectors.
        sector: u64 as u64;
        /// The sender's cookie.
        block_id: u64 as opaque64;
        /// Orders acknowledgements and data (two primaries).
        seq_num: u32 as u32;
        /// How to do it.
        flags: DataFlags as u32;
    }

    /// An answer to a write or a read, on the meta stream.
    pub struct BlockAck {
        /// Where the block starts, in sectors.
        sector: u64 as u64;
        /// The cookie of what is answered.
        block_id: u64 as opaque64;
        /// The size of the block, in bytes.
        blksize: u32 as u32;
        /// Orders acknowledgements and data (two primaries).
        seq_num: u32 as u32;
    }

    /// The end of an epoch.
    pub struct BarrierPacket {
        /// The number of the epoch, a cookie.
        barrier: u32 as opaque32;
        /// Zero.
        pad: u32 as u32;
    }

    /// All writes of an epoch are on the disk.
    pub struct BarrierAck {
        /// The number of the epoch, a cookie.
        barrier: u32 as opaque32;
        /// How many writes the epoch had.
        set_size: u32 as u32;
    }

    /// The state of the sender, as [`crate::types::State::to_wire`] packs it.
    pub struct StatePacket {
        /// The packed state.
        state: u32 as u32;
    }

    /// A wish to change the state: of the bits in `mask`, those in `val` shall be set.
    pub struct StateChange {
        /// Which bits of the packed state.
        mask: u32 as u32;
        /// Their values.
        val: u32 as u32;
    }

    /// The bitmap generation of a resync that begins.
    pub struct SyncUuid {
        /// The generation.
        uuid: u64 as u64;
    }

    /// For measurements.
    pub struct DelayProbe {
        /// Matches the probes of the two streams.
        seq_num: u32 as u32;
        /// When, in microseconds.
        offset: u32 as u32;
    }
}

/// Nothing: packets without a fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty;

impl Packet for Empty {
    fn parse(_: &mut Reader<'_>) -> Option<Self> {
        Some(Self)
    }

    fn emit(&self, _: &mut Writer<'_>) -> Option<()> {
        Some(())
    }
}

/// A discard or zero-out: the head of a write, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimPacket {
    /// The head of the write.
    pub data: DataPacket,
    /// The size of the range, in bytes.
    pub size: u32,
}

impl Packet for TrimPacket {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            data: DataPacket::parse(reader)?,
            size: reader.u32()?,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        self.data.emit(out)?;
        out.u32(self.size)
    }
}

/// A request for a block, or for its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// Where the block starts, in sectors.
    pub sector: u64,
    /// The sender's cookie.
    pub block_id: u64,
    /// The size of the block, in bytes.
    pub blksize: u32,
}

impl Packet for BlockRequest {
    // The last word is padding. Stock does not clear it before sending: it says nothing.
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let value = Self {
            sector: reader.u64()?,
            block_id: reader.opaque64()?,
            blksize: reader.u32()?,
        };
        reader.u32()?;
        Some(value)
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u64(self.sector)?;
        out.opaque64(self.block_id)?;
        out.u32(self.blksize)?;
        out.u32(0)
    }
}

/// A range: out of sync, or deallocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDesc {
    /// Where it starts, in sectors.
    pub sector: u64,
    /// Its size, in bytes.
    pub blksize: u32,
}

impl Packet for BlockDesc {
    // The last word is padding, as in BlockRequest.
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let value = Self {
            sector: reader.u64()?,
            blksize: reader.u32()?,
        };
        reader.u32()?;
        Some(value)
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u64(self.sector)?;
        out.u32(self.blksize)?;
        out.u32(0)
    }
}

/// The answer to [`StateChange`]: a number of [`crate::types::StateRv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChangeReply {
    /// The number; 1 and above are agreement.
    pub retcode: i32,
}

impl Packet for StateChangeReply {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            retcode: i32::from_be_bytes(reader.array()?),
        })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.bytes(&self.retcode.to_be_bytes())
    }
}

/// The generations of the sender's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UuidsPacket {
    /// The current generation.
    pub current: Uuid,
    /// The generation that the bitmap is relative to.
    pub bitmap: Uuid,
    /// Older generations, the younger first.
    pub history: [Uuid; 2],
    /// How many bits are set in the sender's bitmap.
    pub dirty_bits: u64,
    /// What else there is to say.
    pub flags: UuidFlags,
}

impl Packet for UuidsPacket {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            current: Uuid(reader.u64()?),
            bitmap: Uuid(reader.u64()?),
            history: [Uuid(reader.u64()?), Uuid(reader.u64()?)],
            dirty_bits: reader.u64()?,
            flags: UuidFlags(reader.u64()?),
        })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        let [young, old] = self.history;
        for uuid in [self.current, self.bitmap, young, old] {
            out.u64(uuid.0)?;
        }
        out.u64(self.dirty_bits)?;
        out.u64(self.flags.0)
    }
}
