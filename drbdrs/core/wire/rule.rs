// SPDX-License-Identifier: GPL-2.0-only

//! The per-command table: on which stream a packet may come, and how long it may be.
//!
//! [`Agreed::admit`] is the only way from a header to a number of bytes to read. It refuses what
//! stock refuses, and what stock would allocate without a bound.

use super::{
    Command, Features, Format, Header, ALG_NAME_SIZE, CHALLENGE_SIZE, MAX_DATA_SIZE,
    MAX_DIGEST_SIZE, SOCKET_BUFFER_SIZE,
};

/// One of the two streams of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Writes, requests, parameters: ordered.
    Data,
    /// Acknowledgements and pings: prompt.
    Meta,
}

/// What both sides have agreed on, as far as it changes the sizes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The protocol version.
    pub version: u32,
    /// The features of both.
    pub features: Features,
    /// The size of the peer's data integrity digest, in bytes; 0 without data-integrity-alg.
    pub integrity_digest: u32,
}

/// How an admitted packet continues after its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The size of the fixed part, in bytes; never more than 256.
    pub fixed: u32,
    /// What follows the fixed part, in bytes; within the bound of the command.
    pub payload: u32,
}

/// Why a packet is refused before anything of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody understands this command on this stream.
    Unexpected,
    /// Fewer bytes than the fixed part and the least payload.
    TooShort {
        /// The least length, in bytes.
        least: u32,
    },
    /// More bytes than the command may have.
    TooLong {
        /// The greatest length, in bytes.
        most: u32,
    },
}

/// Sizes of a command: its fixed part, and between what bounds the rest lies.
struct Rule {
    fixed: u32,
    least: u32,
    most: u32,
}

impl Rule {
    const fn exactly(fixed: u32) -> Option<Self> {
        Some(Self {
            fixed,
            least: 0,
            most: 0,
        })
    }

    const fn with(fixed: u32, least: u32, most: u32) -> Option<Self> {
        Some(Self { fixed, least, most })
    }
}

impl Agreed {
    /// Before the versions are agreed: only [`Command::InitialData`], [`Command::InitialMeta`] and
    /// [`Command::ConnectionFeatures`] make sense then.
    pub const NOTHING: Self = Self {
        version: 0,
        features: Features::NONE,
        integrity_digest: 0,
    };

    /// The header format of the agreed version.
    pub const fn format(&self) -> Format {
        Format::of_version(self.version)
    }

    /// How many bytes of a bitmap packet are left for its content.
    pub fn bitmap_room(&self) -> usize {
        SOCKET_BUFFER_SIZE.saturating_sub(self.format().size())
    }

    /// Says how many bytes follow this header, or why they must not be read.
    ///
    /// Packets of the handshake (first packets, features, authentication) are admitted by
    /// [`Agreed::admit_handshake`] only.
    pub fn admit(&self, socket: Socket, header: Header) -> Result<Bounds, Refused> {
        let rule = match socket {
            Socket::Data => self.data_rule(header.command),
            Socket::Meta => meta_rule(header.command),
        };
        apply(rule, header.length)
    }

    /// Like [`Agreed::admit`], for the packets that come before the connection is established.
    pub fn admit_handshake(&self, socket: Socket, header: Header) -> Result<Bounds, Refused> {
        let rule = match (socket, header.command) {
            (Socket::Data, Command::InitialData) | (Socket::Meta, Command::InitialMeta) => {
                Rule::exactly(0)
            }
            (Socket::Data, Command::ConnectionFeatures) => Rule::exactly(72),
            (Socket::Data, Command::AuthChallenge) => {
                Rule::with(0, CHALLENGE_SIZE, CHALLENGE_SIZE.saturating_mul(2))
            }
            (Socket::Data, Command::AuthResponse) => Rule::with(0, 1, MAX_DIGEST_SIZE),
            (Socket::Data, Command::Protocol) => self.protocol_rule(),
            _ => None,
        };
        apply(rule, header.length)
    }

    fn data_rule(&self, command: Command) -> Option<Rule> {
        let bitmap_room = u32::try_from(self.bitmap_room()).unwrap_or(0);
        match command {
            Command::Data | Command::DataReply | Command::RsDataReply => Rule::with(
                24,
                self.integrity_digest,
                MAX_DATA_SIZE.saturating_add(self.integrity_digest),
            ),
            Command::Trim | Command::Zeroes => Rule::exactly(28),
            Command::Barrier | Command::StateChgReq | Command::ConnStChgReq => Rule::exactly(8),
            Command::SyncUuid | Command::DelayProbe => Rule::exactly(8),
            Command::UnplugRemote => Rule::exactly(0),
            Command::DataRequest
            | Command::RsDataRequest
            | Command::OvRequest
            | Command::RsThinReq => Rule::exactly(24),
            Command::OvReply | Command::CsumRsRequest => Rule::with(24, 1, MAX_DIGEST_SIZE),
            Command::Bitmap => Rule::with(0, 0, bitmap_room),
            Command::CompressedBitmap => Rule::with(0, 2, bitmap_room),
            Command::SyncParam | Command::SyncParam89 => self.sync_param_rule(),
            Command::Protocol | Command::ProtocolUpdate => self.protocol_rule(),
            Command::Uuids => Rule::exactly(48),
            Command::Sizes if self.features.contains(Features::WRITE_SAME) => Rule::exactly(56),
            Command::Sizes => Rule::exactly(32),
            Command::State => Rule::exactly(4),
            Command::OutOfSync | Command::RsDeallocated => Rule::exactly(16),
            _ => None,
        }
    }

    fn protocol_rule(&self) -> Option<Rule> {
        match self.version {
            0..=86 => Rule::exactly(24),
            _ => Rule::with(24, 0, u32::try_from(ALG_NAME_SIZE).unwrap_or(0)),
        }
    }

    fn sync_param_rule(&self) -> Option<Rule> {
        match self.version {
            0..=87 => Rule::exactly(4),
            88 => Rule::with(4, 1, 64),
            89..=94 => Rule::exactly(132),
            _ => Rule::exactly(148),
        }
    }
}

fn meta_rule(command: Command) -> Option<Rule> {
    match command {
        Command::Ping | Command::PingAck => Rule::exactly(0),
        Command::RecvAck
        | Command::WriteAck
        | Command::RsWriteAck
        | Command::Superseded
        | Command::RetryWrite
        | Command::NegAck
        | Command::NegDreply
        | Command::NegRsDreply
        | Command::RsCancel
        | Command::OvResult
        | Command::RsIsInSync => Rule::exactly(24),
        Command::BarrierAck | Command::DelayProbe => Rule::exactly(8),
        Command::StateChgReply | Command::ConnStChgReply => Rule::exactly(4),
        _ => None,
    }
}

fn apply(rule: Option<Rule>, length: u32) -> Result<Bounds, Refused> {
    let Rule { fixed, least, most } = rule.ok_or(Refused::Unexpected)?;
    let least = fixed.saturating_add(least);
    let most = fixed.saturating_add(most);
    if length < least {
        return Err(Refused::TooShort { least });
    }
    if length > most {
        return Err(Refused::TooLong { most });
    }
    Ok(Bounds {
        fixed,
        payload: length.saturating_sub(fixed),
    })
}
