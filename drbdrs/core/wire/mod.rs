// SPDX-License-Identifier: GPL-2.0-only

//! The packets of DRBD's wire protocol 86-101, as bytes and as values.
//!
//! A connection has two TCP streams, *data* and *meta*. On both, a packet is a header (8 or 16
//! bytes, see [`Format`]), a fixed part whose shape belongs to the [`Command`], and for a few
//! commands a payload. Receiving is therefore always the same three steps:
//!
//! 1. read [`Format::size`] bytes, [`Format::parse`] them into a [`Header`];
//! 2. [`Agreed::admit`] the header: the per-command table says how many bytes of fixed part and
//!    how many of payload follow, or refuses. Nothing beyond that is ever read or reserved;
//! 3. read the fixed part, [`Packet::decode`] it, and let the command's owner take the payload.
//!
//! Sending: [`frame`] writes header and fixed part into the sender's own buffer and returns how
//! many bytes to send before the payload.
//!
//! All integers are big-endian except block ids and barrier numbers: these belong to whoever
//! invented them and are echoed bit by bit, so they travel in the host's own order.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod bitmap;
mod command;
mod flags;
mod header;
mod io;
mod packets;
mod params;
mod rle;
mod rule;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_golden;
#[cfg(test)]
mod tests_rle;

pub use bitmap::{
    BitmapError, BitmapRecv, BitmapSend, Bits, Chunk, CompressedHeader, TransferStats,
};
pub use command::Command;
pub use flags::{ConnFlags, DataFlags, Features, SizesFlags, UuidFlags};
pub use header::{Format, Header, HeaderError};
pub use io::{Reader, Writer};
pub use packets::{
    frame, BarrierAck, BarrierPacket, BlockAck, BlockDesc, BlockRequest, DataPacket, DelayProbe,
    Empty, Packet, StateChange, StateChangeReply, StatePacket, SyncUuid, TrimPacket, UuidsPacket,
    ID_IN_SYNC, ID_OUT_OF_SYNC, ID_SYNCER,
};
pub use params::{AlgName, ConnectionFeatures, Protocol, QueueLimits, Sizes, SyncParam};
pub use rle::{decode_run, encode_run, MAX_RUN};
pub use rule::{Agreed, Bounds, Refused, Socket};

/// The oldest protocol version that is spoken.
pub const PROTOCOL_MIN: u32 = 86;
/// The newest protocol version that is spoken.
pub const PROTOCOL_MAX: u32 = 101;
/// What fits in one control or bitmap packet, header included, in bytes.
pub const SOCKET_BUFFER_SIZE: usize = 4096;
/// The largest data payload of one packet, in bytes.
pub const MAX_DATA_SIZE: u32 = 1 << 20;
/// The largest range of one trim or zero-out, in bytes.
pub const MAX_TRIM_SIZE: u32 = 128 << 20;
/// The largest message digest (data integrity, checksum resync, verify, HMAC), in bytes.
pub const MAX_DIGEST_SIZE: u32 = 64;
/// The size of our own authentication challenge, in bytes; a peer's may be twice that.
pub const CHALLENGE_SIZE: u32 = 64;
/// The room for the name of an algorithm, terminating NUL included, in bytes.
pub const ALG_NAME_SIZE: usize = 64;
