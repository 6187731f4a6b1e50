// SPDX-License-Identifier: GPL-2.0-only

//! States of a volume and their packing into 32 bits.

/// Declares a state enum with DRBD's numbers and names.
macro_rules! states {
    ($(
        $(#[$doc:meta])*
        pub enum $name:ident {
            $( $(#[$vdoc:meta])* $variant:ident = $number:literal, $text:literal; )+
        }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $( $(#[$vdoc])* $variant = $number, )+
        }

        impl $name {
            /// From the number on the wire.
            pub const fn from_wire(number: u32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$variant), )+
                    _ => None,
                }
            }

            /// The number on the wire.
            pub const fn to_wire(self) -> u32 {
                self as u32
            }

            /// The name, as /proc/drbd and the log print it.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }
    )+ };
}

states! {
    /// The role of a node for a resource.
    pub enum Role {
        /// Not known (only ever said of the peer).
        Unknown = 0, "Unknown";
        /// May be written by applications.
        Primary = 1, "Primary";
        /// Receives what the primary writes.
        Secondary = 2, "Secondary";
    }

    /// The connection to the peer, and what the two are busy with.
    pub enum ConnState {
        /// Not configured, or given up.
        StandAlone = 0, "StandAlone";
        /// On the way to StandAlone.
        Disconnecting = 1, "Disconnecting";
        /// About to try to connect.
        Unconnected = 2, "Unconnected";
        /// The peer did not answer in time.
        Timeout = 3, "Timeout";
        /// The connection broke while sending.
        BrokenPipe = 4, "BrokenPipe";
        /// The connection broke while receiving.
        NetworkFailure = 5, "NetworkFailure";
        /// The peer said something it must not say.
        ProtocolError = 6, "ProtocolError";
        /// The peer wants to leave.
        TearDown = 7, "TearDown";
        /// Trying to connect.
        WfConnection = 8, "WFConnection";
        /// There is a socket; the two introduce each other.
        WfReportParams = 9, "WFReportParams";
        /// Connected, nothing to do but replicate.
        Connected = 10, "Connected";
        /// A full sync to the peer was asked for.
        StartingSyncS = 11, "StartingSyncS";
        /// A full sync from the peer was asked for.
        StartingSyncT = 12, "StartingSyncT";
        /// Sync source, exchanging bitmaps.
        WfBitmapS = 13, "WFBitMapS";
        /// Sync target, exchanging bitmaps.
        WfBitmapT = 14, "WFBitMapT";
        /// Sync target, waiting for the sync UUID.
        WfSyncUuid = 15, "WFSyncUUID";
        /// Resync to the peer runs.
        SyncSource = 16, "SyncSource";
        /// Resync from the peer runs.
        SyncTarget = 17, "SyncTarget";
        /// Online verify runs, driven from here.
        VerifyS = 18, "VerifyS";
        /// Online verify runs, driven by the peer.
        VerifyT = 19, "VerifyT";
        /// Resync to the peer waits.
        PausedSyncS = 20, "PausedSyncS";
        /// Resync from the peer waits.
        PausedSyncT = 21, "PausedSyncT";
        /// Congested: the peer is only told what changed.
        Ahead = 22, "Ahead";
        /// The peer is ahead.
        Behind = 23, "Behind";
    }

    /// A disk, and what its data is worth.
    pub enum DiskState {
        /// No disk.
        Diskless = 0, "Diskless";
        /// The metadata is being read.
        Attaching = 1, "Attaching";
        /// It failed, or is being detached; becomes Diskless when nobody uses it any more.
        Failed = 2, "Failed";
        /// Attached while connected: the two decide what the data is worth.
        Negotiating = 3, "Negotiating";
        /// No version of the whole data.
        Inconsistent = 4, "Inconsistent";
        /// An older version.
        Outdated = 5, "Outdated";
        /// Not known (only ever said of the peer's disk).
        Unknown = 6, "DUnknown";
        /// Some version; whether it is the newest is not known.
        Consistent = 7, "Consistent";
        /// The newest version.
        UpToDate = 8, "UpToDate";
    }
}

/// The state of a volume, this node's view (8.4: `union drbd_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// This node's role.
    pub role: Role,
    /// The peer's role.
    pub peer: Role,
    /// The connection.
    pub conn: ConnState,
    /// This node's disk.
    pub disk: DiskState,
    /// The peer's disk.
    pub pdsk: DiskState,
    /// I/O suspended by the administrator.
    pub susp: bool,
    /// The resync waits for another device.
    pub aftr_isp: bool,
    /// The resync waits for the peer.
    pub peer_isp: bool,
    /// The resync waits for the administrator.
    pub user_isp: bool,
    /// I/O suspended because no data is in reach.
    pub susp_nod: bool,
    /// I/O suspended while the peer is being fenced.
    pub susp_fen: bool,
}

/// A field of a packed state held a number that is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownState(
    /// The packed state.
    pub u32,
);

impl State {
    /// A volume that was just made.
    pub const NEW: Self = Self {
        role: Role::Secondary,
        peer: Role::Unknown,
        conn: ConnState::StandAlone,
        disk: DiskState::Diskless,
        pdsk: DiskState::Unknown,
        susp: false,
        aftr_isp: false,
        peer_isp: false,
        user_isp: false,
        susp_nod: false,
        susp_fen: false,
    };

    /// The 32 bits of P_STATE and of netlink's `current_state`.
    pub const fn to_wire(self) -> u32 {
        self.role.to_wire()
            | self.peer.to_wire() << 2
            | self.conn.to_wire() << 4
            | self.disk.to_wire() << 9
            | self.pdsk.to_wire() << 13
            | (self.susp as u32) << 17
            | (self.aftr_isp as u32) << 18
            | (self.peer_isp as u32) << 19
            | (self.user_isp as u32) << 20
            | (self.susp_nod as u32) << 21
            | (self.susp_fen as u32) << 22
    }

    /// From the 32 bits; padding is ignored.
    pub fn from_wire(bits: u32) -> Result<Self, UnknownState> {
        let flag = |shift: u32| (bits >> shift) & 1 != 0;
        let unknown = UnknownState(bits);
        Ok(Self {
            role: Role::from_wire(bits & 3).ok_or(unknown)?,
            peer: Role::from_wire((bits >> 2) & 3).ok_or(unknown)?,
            conn: ConnState::from_wire((bits >> 4) & 31).ok_or(unknown)?,
            disk: DiskState::from_wire((bits >> 9) & 15).ok_or(unknown)?,
            pdsk: DiskState::from_wire((bits >> 13) & 15).ok_or(unknown)?,
            susp: flag(17),
            aftr_isp: flag(18),
            peer_isp: flag(19),
            user_isp: flag(20),
            susp_nod: flag(21),
            susp_fen: flag(22),
        })
    }
}

impl core::fmt::Display for State {
    /// As 8.4 logs a refused change: `{ cs:... ro:.../... ds:.../... r----- }`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let flag = |on: bool, letter: char| if on { letter } else { '-' };
        write!(
            f,
            "{{ cs:{} ro:{}/{} ds:{}/{} {}{}{}{}{}{} }}",
            self.conn,
            self.role,
            self.peer,
            self.disk,
            self.pdsk,
            if self.susp || self.susp_nod || self.susp_fen {
                's'
            } else {
                'r'
            },
            flag(self.aftr_isp, 'a'),
            flag(self.peer_isp, 'p'),
            flag(self.user_isp, 'u'),
            flag(self.susp_fen, 'F'),
            flag(self.susp_nod, 'N'),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_has_8_4s_bits() {
        let s = State {
            role: Role::Primary,
            peer: Role::Secondary,
            conn: ConnState::Connected,
            disk: DiskState::UpToDate,
            pdsk: DiskState::UpToDate,
            ..State::NEW
        };
        assert_eq!(s.to_wire(), 1 | 2 << 2 | 10 << 4 | 8 << 9 | 8 << 13);
        assert_eq!(State::from_wire(s.to_wire() | 0xff80_0000), Ok(s));
    }

    #[test]
    fn every_valid_field_round_trips_and_no_bits_panic() {
        for low in 0..1 << 17 {
            if let Ok(s) = State::from_wire(low | 0x2a_0000) {
                assert_eq!(s.to_wire(), low | 0x2a_0000);
                assert!(s.susp && s.peer_isp && s.susp_nod);
                assert!(!s.aftr_isp && !s.user_isp && !s.susp_fen);
            } else {
                let number = |shift: u32, mask: u32| (low >> shift) & mask;
                let bad = number(0, 3) > 2
                    || number(2, 3) > 2
                    || number(4, 31) > 23
                    || number(9, 15) > 8
                    || number(13, 15) > 8;
                assert!(bad, "{low:#x}");
            }
        }
    }

    #[test]
    fn a_state_prints_as_8_4_logs_it() {
        let s = State {
            susp_nod: true,
            user_isp: true,
            ..State::NEW
        };
        let line = "{ cs:StandAlone ro:Secondary/Unknown ds:Diskless/DUnknown s--u-N }";
        assert_eq!(s.to_string(), line);
    }
}
