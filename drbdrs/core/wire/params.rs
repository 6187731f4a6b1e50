// SPDX-License-Identifier: GPL-2.0-only

//! The packets that change shape with the version or the features: versions, protocol, resync
//! parameters, sizes.

use super::{
    ConnFlags, Features, Packet, Reader, SizesFlags, Writer, ALG_NAME_SIZE, PROTOCOL_MAX,
    PROTOCOL_MIN,
};

/// The name of an algorithm, as it travels: up to 63 bytes and a NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AlgName {
    bytes: [u8; ALG_NAME_SIZE],
    len: usize,
}

impl AlgName {
    /// No algorithm.
    pub const NONE: Self = Self {
        bytes: [0; ALG_NAME_SIZE],
        len: 0,
    };

    /// A name; `None` when it is too long or contains a NUL.
    pub fn new(name: &[u8]) -> Option<Self> {
        if name.len() >= ALG_NAME_SIZE || name.contains(&0) {
            return None;
        }
        Some(Self::until_nul(name))
    }

    /// The name in a field of a packet: up to the first NUL, at most 63 bytes, as stock reads it.
    fn until_nul(field: &[u8]) -> Self {
        let mut name = Self::NONE;
        let chars = field
            .iter()
            .take(ALG_NAME_SIZE.saturating_sub(1))
            .take_while(|c| **c != 0);
        for (to, from) in name.bytes.iter_mut().zip(chars) {
            *to = *from;
            name.len = name.len.saturating_add(1);
        }
        name
    }

    /// The name, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The name, with a NUL at its end.
    pub fn with_nul(&self) -> &[u8] {
        self.bytes.get(..=self.len).unwrap_or(&[0])
    }

    /// Whether there is no algorithm.
    pub fn is_none(&self) -> bool {
        self.len == 0
    }
}

impl core::fmt::Debug for AlgName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{:?}",
            core::str::from_utf8(self.as_bytes()).unwrap_or("?")
        )
    }
}

/// Which versions and features the sender speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionFeatures {
    /// The oldest version.
    pub protocol_min: u32,
    /// The features.
    pub features: Features,
    /// The newest version. Very old peers send 0: then it is `protocol_min`.
    pub protocol_max: u32,
}

impl ConnectionFeatures {
    /// What we speak.
    pub const OURS: Self = Self {
        protocol_min: PROTOCOL_MIN,
        features: Features::ALL,
        protocol_max: PROTOCOL_MAX,
    };

    /// The version and the features of both; `None` when no version is common.
    pub fn agree(&self, peer: &Self) -> Option<(u32, Features)> {
        let peer_max = if peer.protocol_max == 0 {
            peer.protocol_min
        } else {
            peer.protocol_max
        };
        if self.protocol_max < peer.protocol_min || self.protocol_min > peer_max {
            return None;
        }
        Some((
            self.protocol_max.min(peer_max),
            self.features.intersection(peer.features),
        ))
    }
}

impl Packet for ConnectionFeatures {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let value = Self {
            protocol_min: reader.u32()?,
            features: Features(reader.u32()?),
            protocol_max: reader.u32()?,
        };
        // Padding and 56 reserved bytes: ids of nodes in version 9, which we need not know.
        reader.bytes(60)?;
        Some(value)
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u32(self.protocol_min)?;
        out.u32(self.features.0)?;
        out.u32(self.protocol_max)?;
        out.zeroes(60)
    }
}

/// The protocol and the policies of the sender. The numbers are the configuration's own
/// ([`crate::config`]); they are compared, and judged by the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// 1, 2, 3 for A, B, C.
    pub protocol: u32,
    /// after-sb-0pri.
    pub after_sb_0p: u32,
    /// after-sb-1pri.
    pub after_sb_1p: u32,
    /// after-sb-2pri.
    pub after_sb_2p: u32,
    /// Wishes for this connection.
    pub flags: ConnFlags,
    /// Whether two primaries are allowed, 0 or 1.
    pub two_primaries: u32,
    /// data-integrity-alg, since version 87.
    pub integrity_alg: Option<AlgName>,
}

impl Packet for Protocol {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let value = Self {
            protocol: reader.u32()?,
            after_sb_0p: reader.u32()?,
            after_sb_1p: reader.u32()?,
            after_sb_2p: reader.u32()?,
            flags: ConnFlags(reader.u32()?),
            two_primaries: reader.u32()?,
            integrity_alg: match reader.rest() {
                [] => None,
                field => Some(AlgName::until_nul(field)),
            },
        };
        reader.bytes(reader.rest().len())?;
        Some(value)
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u32(self.protocol)?;
        out.u32(self.after_sb_0p)?;
        out.u32(self.after_sb_1p)?;
        out.u32(self.after_sb_2p)?;
        out.u32(self.flags.0)?;
        out.u32(self.two_primaries)?;
        match &self.integrity_alg {
            Some(name) => out.bytes(name.with_nul()),
            None => Some(()),
        }
    }
}

/// How the sender wants to resync, in the shape of version 95 and later. The units are those of
/// the configuration: `resync_rate` and `c_max_rate` in KiB/s, `c_plan_ahead` and `c_delay_target`
/// in tenths of a second, `c_fill_target` in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncParam {
    /// resync-rate.
    pub resync_rate: u32,
    /// verify-alg.
    pub verify_alg: AlgName,
    /// csums-alg.
    pub csums_alg: AlgName,
    /// c-plan-ahead.
    pub c_plan_ahead: u32,
    /// c-delay-target.
    pub c_delay_target: u32,
    /// c-fill-target.
    pub c_fill_target: u32,
    /// c-max-rate.
    pub c_max_rate: u32,
}

impl SyncParam {
    /// The shape that an older version has, read from `bytes`; what it lacks is taken from `self`.
    pub fn decode_version(&self, version: u32, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let mut value = *self;
        match version {
            0..=87 => value.resync_rate = reader.u32()?,
            88 => {
                value.resync_rate = reader.u32()?;
                value.verify_alg = AlgName::until_nul(reader.bytes(reader.rest().len())?);
            }
            89..=94 => {
                value.resync_rate = reader.u32()?;
                value.verify_alg = AlgName::until_nul(reader.bytes(ALG_NAME_SIZE)?);
                value.csums_alg = AlgName::until_nul(reader.bytes(ALG_NAME_SIZE)?);
            }
            _ => value = Self::parse(reader)?,
        }
        reader.rest().is_empty().then_some(value)
    }

    /// Puts the shape that a version has.
    pub fn emit_version(&self, version: u32, out: &mut Writer<'_>) -> Option<()> {
        match version {
            0..=87 => out.u32(self.resync_rate),
            88 => {
                out.u32(self.resync_rate)?;
                out.bytes(self.verify_alg.with_nul())
            }
            89..=94 => {
                out.u32(self.resync_rate)?;
                out.bytes(&self.verify_alg.bytes)?;
                out.bytes(&self.csums_alg.bytes)
            }
            _ => self.emit(out),
        }
    }
}

impl Packet for SyncParam {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            resync_rate: reader.u32()?,
            verify_alg: AlgName::until_nul(reader.bytes(ALG_NAME_SIZE)?),
            csums_alg: AlgName::until_nul(reader.bytes(ALG_NAME_SIZE)?),
            c_plan_ahead: reader.u32()?,
            c_delay_target: reader.u32()?,
            c_fill_target: reader.u32()?,
            c_max_rate: reader.u32()?,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u32(self.resync_rate)?;
        out.bytes(&self.verify_alg.bytes)?;
        out.bytes(&self.csums_alg.bytes)?;
        out.u32(self.c_plan_ahead)?;
        out.u32(self.c_delay_target)?;
        out.u32(self.c_fill_target)?;
        out.u32(self.c_max_rate)
    }
}

/// What the sender's backing device likes; all sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLimits {
    /// Physical block size.
    pub physical_block_size: u32,
    /// Logical block size.
    pub logical_block_size: u32,
    /// Offset of the alignment.
    pub alignment_offset: u32,
    /// Least efficient I/O.
    pub io_min: u32,
    /// Best I/O.
    pub io_opt: u32,
    /// Whether it discards.
    pub discard_enabled: bool,
    /// Whether discarded blocks read as zeroes. Stock never says so.
    pub discard_zeroes_data: bool,
    /// Whether it can write one block many times. Stock never says so.
    pub write_same_capable: bool,
}

impl Packet for QueueLimits {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let value = Self {
            physical_block_size: reader.u32()?,
            logical_block_size: reader.u32()?,
            alignment_offset: reader.u32()?,
            io_min: reader.u32()?,
            io_opt: reader.u32()?,
            discard_enabled: reader.u8()? != 0,
            discard_zeroes_data: reader.u8()? != 0,
            write_same_capable: reader.u8()? != 0,
        };
        // One byte of padding.
        reader.u8()?;
        Some(value)
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u32(self.physical_block_size)?;
        out.u32(self.logical_block_size)?;
        out.u32(self.alignment_offset)?;
        out.u32(self.io_min)?;
        out.u32(self.io_opt)?;
        out.u8(self.discard_enabled.into())?;
        out.u8(self.discard_zeroes_data.into())?;
        out.u8(self.write_same_capable.into())?;
        out.u8(0)
    }
}

/// The sizes of the sender's volume, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What the backing device could hold; 0 without one.
    pub disk: u64,
    /// What the administrator asked for; 0 for as much as possible.
    pub user: u64,
    /// What is exported now; 0 asks the peer to answer with its sizes.
    pub current: u64,
    /// The largest request, in bytes.
    pub max_bio_size: u32,
    /// How writes are ordered; nobody reads it.
    pub queue_order_type: u16,
    /// How it is meant.
    pub flags: SizesFlags,
    /// The limits of the backing device; present exactly with [`Features::WRITE_SAME`].
    pub limits: Option<QueueLimits>,
}

impl Packet for Sizes {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            disk: reader.u64()?,
            user: reader.u64()?,
            current: reader.u64()?,
            max_bio_size: reader.u32()?,
            queue_order_type: reader.u16()?,
            flags: SizesFlags(reader.u16()?),
            limits: match reader.rest() {
                [] => None,
                _ => Some(QueueLimits::parse(reader)?),
            },
        })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        out.u64(self.disk)?;
        out.u64(self.user)?;
        out.u64(self.current)?;
        out.u32(self.max_bio_size)?;
        out.u16(self.queue_order_type)?;
        out.u16(self.flags.0)?;
        match &self.limits {
            Some(limits) => limits.emit(out),
            None => Some(()),
        }
    }
}
