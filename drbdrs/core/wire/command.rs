// SPDX-License-Identifier: GPL-2.0-only

//! The numbers of the packets. A number that we do not know survives decoding.

macro_rules! commands {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $name:literal; )+) => {
        /// What a packet is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command {
            $( $(#[$doc])* $variant, )+
            /// A number that this version does not know.
            Unknown(u16),
        }

        impl Command {
            /// Every command that has a name.
            pub const ALL: &'static [Command] = &[$( Command::$variant ),+];

            /// From the number on the wire.
            pub const fn from_wire(number: u16) -> Self {
                match number {
                    $( $number => Command::$variant, )+
                    other => Command::Unknown(other),
                }
            }

            /// The number on the wire.
            pub const fn to_wire(self) -> u16 {
                match self {
                    $( Command::$variant => $number, )+
                    Command::Unknown(number) => number,
                }
            }

            /// The name, for the log.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Command::$variant => $name, )+
                    Command::Unknown(_) => "UNKNOWN",
                }
            }
        }
    };
}

commands! {
    /// data: a write, with its data.
    Data = 0x00, "Data";
    /// data: the answer to [`Command::DataRequest`].
    DataReply = 0x01, "DataReply";
    /// data: the answer to [`Command::RsDataRequest`], [`Command::CsumRsRequest`] and the like.
    RsDataReply = 0x02, "RSDataReply";
    /// data: the end of an epoch.
    Barrier = 0x03, "Barrier";
    /// data: a piece of the bitmap, as it is.
    Bitmap = 0x04, "ReportBitMap";
    /// data: of old versions, never used by 8.4.
    BecomeSyncTarget = 0x05, "BecomeSyncTarget";
    /// data: of old versions, never used by 8.4.
    BecomeSyncSource = 0x06, "BecomeSyncSource";
    /// data: a hint to start what has been queued.
    UnplugRemote = 0x07, "UnplugRemote";
    /// data: a read on behalf of the application.
    DataRequest = 0x08, "DataRequest";
    /// data: a read on behalf of the resync target.
    RsDataRequest = 0x09, "RSDataRequest";
    /// data: resync parameters up to protocol 88.
    SyncParam = 0x0a, "SyncParam";
    /// data: the protocol and the split-brain policies.
    Protocol = 0x0b, "ReportProtocol";
    /// data: the generations of the data.
    Uuids = 0x0c, "ReportUUIDs";
    /// data: sizes and queue limits.
    Sizes = 0x0d, "ReportSizes";
    /// data: the sender's state.
    State = 0x0e, "ReportState";
    /// data: the bitmap generation of a resync that begins.
    SyncUuid = 0x0f, "ReportSyncUUID";
    /// data: the challenge of the authentication.
    AuthChallenge = 0x10, "AuthChallenge";
    /// data: the response of the authentication.
    AuthResponse = 0x11, "AuthResponse";
    /// data: asks to agree to a state change of a volume.
    StateChgReq = 0x12, "StateChgRequest";
    /// meta: are you there?
    Ping = 0x13, "Ping";
    /// meta: I am.
    PingAck = 0x14, "PingAck";
    /// meta: a write has been received (protocol B).
    RecvAck = 0x15, "RecvAck";
    /// meta: a write is on the disk (protocol C).
    WriteAck = 0x16, "WriteAck";
    /// meta: a resync write is on the disk.
    RsWriteAck = 0x17, "RSWriteAck";
    /// meta: a write lost against a conflicting one (two primaries).
    Superseded = 0x18, "Superseded";
    /// meta: a write failed.
    NegAck = 0x19, "NegAck";
    /// meta: a read for the application failed.
    NegDreply = 0x1a, "NegDReply";
    /// meta: a read for the resync failed.
    NegRsDreply = 0x1b, "NegRSDReply";
    /// meta: all writes of an epoch are on the disk.
    BarrierAck = 0x1c, "BarrierAck";
    /// meta: the answer to [`Command::StateChgReq`].
    StateChgReply = 0x1d, "StateChgReply";
    /// data: asks for the digest of a block (verify).
    OvRequest = 0x1e, "OVRequest";
    /// data: the digest of a block (verify).
    OvReply = 0x1f, "OVReply";
    /// meta: whether a block was equal (verify).
    OvResult = 0x20, "OVResult";
    /// data: a resync read that carries the digest of what is there.
    CsumRsRequest = 0x21, "CsumRSRequest";
    /// meta: the digest was equal.
    RsIsInSync = 0x22, "CsumRSIsInSync";
    /// data: resync parameters from protocol 89 on.
    SyncParam89 = 0x23, "SyncParam89";
    /// data: a piece of the bitmap, run-length encoded.
    CompressedBitmap = 0x24, "CBitmap";
    /// both: for measurements, never sent by 8.4.
    DelayProbe = 0x27, "DelayProbe";
    /// data: a write that the peer does not get (ahead of it).
    OutOfSync = 0x28, "OutOfSync";
    /// meta: a resync read that will not be answered.
    RsCancel = 0x29, "RSCancel";
    /// data: asks to agree to a state change of the connection.
    ConnStChgReq = 0x2a, "conn_st_chg_req";
    /// meta: the answer to [`Command::ConnStChgReq`].
    ConnStChgReply = 0x2b, "conn_st_chg_reply";
    /// meta: a conflicting write shall be sent again (two primaries).
    RetryWrite = 0x2c, "RetryWrite";
    /// data: like [`Command::Protocol`], while connected.
    ProtocolUpdate = 0x2d, "protocol_update";
    /// data: a discard.
    Trim = 0x31, "Trim";
    /// data: a resync read that may be answered by [`Command::RsDeallocated`].
    RsThinReq = 0x32, "rs_thin_req";
    /// data: the range reads as zeroes.
    RsDeallocated = 0x33, "rs_deallocated";
    /// data: one block, many times; no longer accepted by anybody.
    WriteSame = 0x34, "WriteSame";
    /// data: a zero-out.
    Zeroes = 0x36, "Zeroes";
    /// meta: the first packet of the meta stream.
    InitialMeta = 0xfff1, "InitialMeta";
    /// data: the first packet of the data stream.
    InitialData = 0xfff2, "InitialData";
    /// data: the versions and features that the sender speaks.
    ConnectionFeatures = 0xfffe, "ConnectionFeatures";
}
