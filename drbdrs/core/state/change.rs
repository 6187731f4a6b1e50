// SPDX-License-Identifier: GPL-2.0-only

//! A wished change: the fields that shall change and their values; everything else stays.

use crate::types::{ConnState, DiskState, Role, State};

/// The fields to change. On the wire this is 8.4's pair of mask and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// This node's role.
    pub role: Option<Role>,
    /// The peer's role.
    pub peer: Option<Role>,
    /// The connection.
    pub conn: Option<ConnState>,
    /// This node's disk.
    pub disk: Option<DiskState>,
    /// The peer's disk.
    pub pdsk: Option<DiskState>,
    /// I/O suspended by the administrator.
    pub susp: Option<bool>,
    /// I/O suspended because no data is in reach.
    pub susp_nod: Option<bool>,
    /// I/O suspended while the peer is being fenced.
    pub susp_fen: Option<bool>,
    /// The resync waits for another device.
    pub aftr_isp: Option<bool>,
    /// The resync waits for the peer.
    pub peer_isp: Option<bool>,
    /// The resync waits for the administrator.
    pub user_isp: Option<bool>,
}

/// A request from the peer that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChange {
    /// A mask that covers only a part of a field.
    PartialMask,
    /// A number that is no state.
    UnknownState,
    /// A connection state that only the node itself may enter.
    ForeignConnState,
}

impl Change {
    /// Changes nothing.
    pub const NONE: Self = Self {
        role: None,
        peer: None,
        conn: None,
        disk: None,
        pdsk: None,
        susp: None,
        susp_nod: None,
        susp_fen: None,
        aftr_isp: None,
        peer_isp: None,
        user_isp: None,
    };

    /// Only the role.
    pub const fn role(role: Role) -> Self {
        Self {
            role: Some(role),
            ..Self::NONE
        }
    }

    /// Only the connection.
    pub const fn conn(conn: ConnState) -> Self {
        Self {
            conn: Some(conn),
            ..Self::NONE
        }
    }

    /// Only the disk.
    pub const fn disk(disk: DiskState) -> Self {
        Self {
            disk: Some(disk),
            ..Self::NONE
        }
    }

    /// The state with the change made, and nothing else.
    pub fn apply(&self, old: State) -> State {
        State {
            role: self.role.unwrap_or(old.role),
            peer: self.peer.unwrap_or(old.peer),
            conn: self.conn.unwrap_or(old.conn),
            disk: self.disk.unwrap_or(old.disk),
            pdsk: self.pdsk.unwrap_or(old.pdsk),
            susp: self.susp.unwrap_or(old.susp),
            susp_nod: self.susp_nod.unwrap_or(old.susp_nod),
            susp_fen: self.susp_fen.unwrap_or(old.susp_fen),
            aftr_isp: self.aftr_isp.unwrap_or(old.aftr_isp),
            peer_isp: self.peer_isp.unwrap_or(old.peer_isp),
            user_isp: self.user_isp.unwrap_or(old.user_isp),
        }
    }

    /// The peer's request, as it sees things, turned to this node's view (8.4: `convert_state`).
    pub fn seen_from_here(self) -> Result<Self, BadChange> {
        let conn = match self.conn {
            None => None,
            Some(conn) => Some(mirrored_conn(conn).ok_or(BadChange::ForeignConnState)?),
        };
        let paused = self.aftr_isp.unwrap_or(false) || self.user_isp.unwrap_or(false);
        let asks_for_pause = self.aftr_isp.is_some() || self.user_isp.is_some();
        Ok(Self {
            role: self.peer,
            peer: self.role,
            conn,
            disk: self.pdsk,
            pdsk: self.disk,
            peer_isp: asks_for_pause.then_some(paused),
            ..Self::NONE
        })
    }

    /// Mask and value as P_STATE_CHG_REQ and P_CONN_ST_CHG_REQ carry them.
    pub fn to_wire(&self) -> (u32, u32) {
        let mut out = (0, 0);
        put(&mut out, ROLE, self.role.map(|r| r as u32));
        put(&mut out, PEER, self.peer.map(|r| r as u32));
        put(&mut out, CONN, self.conn.map(|c| c as u32));
        put(&mut out, DISK, self.disk.map(|d| d as u32));
        put(&mut out, PDSK, self.pdsk.map(|d| d as u32));
        put(&mut out, SUSP, self.susp.map(u32::from));
        put(&mut out, AFTR_ISP, self.aftr_isp.map(u32::from));
        put(&mut out, PEER_ISP, self.peer_isp.map(u32::from));
        put(&mut out, USER_ISP, self.user_isp.map(u32::from));
        put(&mut out, SUSP_NOD, self.susp_nod.map(u32::from));
        put(&mut out, SUSP_FEN, self.susp_fen.map(u32::from));
        out
    }

    /// From mask and value; padding bits are ignored.
    pub fn from_wire(mask: u32, value: u32) -> Result<Self, BadChange> {
        let field = |f| take(mask, value, f);
        let flag = |f| Ok(field(f)?.map(|bit| bit != 0));
        Ok(Self {
            role: known(field(ROLE)?, Role::from_wire)?,
            peer: known(field(PEER)?, Role::from_wire)?,
            conn: known(field(CONN)?, ConnState::from_wire)?,
            disk: known(field(DISK)?, DiskState::from_wire)?,
            pdsk: known(field(PDSK)?, DiskState::from_wire)?,
            susp: flag(SUSP)?,
            susp_nod: flag(SUSP_NOD)?,
            susp_fen: flag(SUSP_FEN)?,
            aftr_isp: flag(AFTR_ISP)?,
            peer_isp: flag(PEER_ISP)?,
            user_isp: flag(USER_ISP)?,
        })
    }
}

/// Where a field lies in the 32 bits: shift, width.
type Field = (u32, u32);
const ROLE: Field = (0, 2);
const PEER: Field = (2, 2);
const CONN: Field = (4, 5);
const DISK: Field = (9, 4);
const PDSK: Field = (13, 4);
const SUSP: Field = (17, 1);
const AFTR_ISP: Field = (18, 1);
const PEER_ISP: Field = (19, 1);
const USER_ISP: Field = (20, 1);
const SUSP_NOD: Field = (21, 1);
const SUSP_FEN: Field = (22, 1);

fn full((_, width): Field) -> u32 {
    (1 << width) - 1
}

fn put(out: &mut (u32, u32), field: Field, value: Option<u32>) {
    if let Some(value) = value {
        out.0 |= full(field) << field.0;
        out.1 |= (value & full(field)) << field.0;
    }
}

fn take(mask: u32, value: u32, field: Field) -> Result<Option<u32>, BadChange> {
    match (mask >> field.0) & full(field) {
        0 => Ok(None),
        all if all == full(field) => Ok(Some((value >> field.0) & full(field))),
        _ => Err(BadChange::PartialMask),
    }
}

fn known<T>(
    number: Option<u32>,
    from_wire: impl Fn(u32) -> Option<T>,
) -> Result<Option<T>, BadChange> {
    match number {
        None => Ok(None),
        Some(n) => from_wire(n).map(Some).ok_or(BadChange::UnknownState),
    }
}

/// What a connection state that the peer asks for means on this side.
fn mirrored_conn(conn: ConnState) -> Option<ConnState> {
    Some(match conn {
        ConnState::WfReportParams => ConnState::WfReportParams,
        ConnState::Connected => ConnState::Connected,
        ConnState::StartingSyncS => ConnState::StartingSyncT,
        ConnState::StartingSyncT => ConnState::StartingSyncS,
        ConnState::Disconnecting => ConnState::TearDown,
        ConnState::VerifyS => ConnState::VerifyT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_has_8_4s_bits() {
        assert_eq!(Change::role(Role::Primary).to_wire(), (0x3, 0x1));
        assert_eq!(
            Change::conn(ConnState::Disconnecting).to_wire(),
            (0x1f0, 0x10)
        );
        assert_eq!(Change::disk(DiskState::Failed).to_wire(), (0x1e00, 0x400));
        let both = Change {
            pdsk: Some(DiskState::Outdated),
            user_isp: Some(true),
            susp_fen: Some(false),
            ..Change::NONE
        };
        assert_eq!(
            both.to_wire(),
            (0x1e000 | 1 << 20 | 1 << 22, 5 << 13 | 1 << 20)
        );
    }

    #[test]
    fn every_field_round_trips() {
        let all = Change {
            role: Some(Role::Secondary),
            peer: Some(Role::Primary),
            conn: Some(ConnState::Behind),
            disk: Some(DiskState::UpToDate),
            pdsk: Some(DiskState::Unknown),
            susp: Some(true),
            susp_nod: Some(false),
            susp_fen: Some(true),
            aftr_isp: Some(false),
            peer_isp: Some(true),
            user_isp: Some(false),
        };
        let (mask, value) = all.to_wire();
        assert_eq!(Change::from_wire(mask, value), Ok(all));
        assert_eq!(Change::from_wire(0, u32::MAX), Ok(Change::NONE));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Change::from_wire(0x1, 0x1), Err(BadChange::PartialMask));
        assert_eq!(
            Change::from_wire(0x1f0, 0x1f0),
            Err(BadChange::UnknownState)
        );
        assert_eq!(
            Change::from_wire(0x1e00, 0x1e00),
            Err(BadChange::UnknownState)
        );
        let foreign = Change::conn(ConnState::SyncTarget);
        assert_eq!(foreign.seen_from_here(), Err(BadChange::ForeignConnState));
    }

    #[test]
    fn no_bits_of_the_peer_can_panic() {
        for n in 0..4096_u32 {
            let bits = n.wrapping_mul(0x9e37_79b1);
            if let Ok(change) = Change::from_wire(bits | (bits << 7), bits.rotate_left(13)) {
                let _ = change.seen_from_here();
            }
        }
    }

    #[test]
    fn the_peers_wish_is_mirrored() {
        let wish = Change {
            role: Some(Role::Primary),
            disk: Some(DiskState::Failed),
            conn: Some(ConnState::StartingSyncS),
            user_isp: Some(true),
            ..Change::NONE
        };
        let here = wish.seen_from_here().unwrap();
        let expected = Change {
            peer: Some(Role::Primary),
            pdsk: Some(DiskState::Failed),
            conn: Some(ConnState::StartingSyncT),
            peer_isp: Some(true),
            ..Change::NONE
        };
        assert_eq!(here, expected);
        let leave = Change::conn(ConnState::Disconnecting)
            .seen_from_here()
            .unwrap();
        assert_eq!(leave.conn, Some(ConnState::TearDown));
    }
}
