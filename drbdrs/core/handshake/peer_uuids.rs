// SPDX-License-Identifier: GPL-2.0-only

//! P_UUIDS and P_SYNC_UUID: what the peer's data is, before its state arrives.

use crate::state::{both_up_to_date, has_no_data, is_connected, is_failed_or_less, is_sync_source};
use crate::types::{ConnState, DiskState, Role, State, Uuid};
use crate::uuid::PeerUuids;

/// What is known when P_UUIDS arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UuidFacts {
    /// The volume's state.
    pub state: State,
    /// The generation that this node works with (8.4: `ed_uuid`).
    pub effective: Uuid,
    /// The current UUID of the local disk, if there is one with data.
    pub local_current: Option<Uuid>,
    /// The agreed protocol version.
    pub version: u32,
}

/// What is done about the peer's UUIDs. They are remembered in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidReaction {
    /// They are for the comparison that comes with the state.
    Remember,
    /// A diskless primary works with another generation than the peer has: disconnect.
    OtherGenerationInUse,
    /// Both disks were declared equal: clear the bitmap and write it, take over the generation
    /// ([`crate::uuid::Set::accept_skip_initial_sync`]), and make both disks UpToDate.
    SkipInitialSync,
    /// There is no data here: the peer's generation is the one that this node works with.
    AdoptEffective(Uuid),
}

/// Decides about the peer's UUIDs.
pub fn on_peer_uuids(peer: &PeerUuids, f: &UuidFacts) -> UuidReaction {
    let s = &f.state;
    let theirs = peer.uuids.current;
    let same_generation = f.effective.0 | 1 == theirs.0 | 1;
    // Of a disk that was coming already, only if none of ours can come. (8.4 looks at new connections only.)
    let comes = s.pdsk == DiskState::Diskless || has_no_data(s.pdsk) && is_failed_or_less(s.disk);
    let new_to_us = !is_connected(s.conn) || comes;
    let serves_from_peer = has_no_data(s.disk) && s.role == Role::Primary;
    if new_to_us && serves_from_peer && !same_generation {
        return UuidReaction::OtherGenerationInUse;
    }
    if let Some(current) = f.local_current {
        let skip = s.conn == ConnState::Connected
            && f.version >= 90
            && current == Uuid::JUST_CREATED
            && peer.skip_initial_sync;
        if skip {
            return UuidReaction::SkipInitialSync;
        }
    }
    let no_data_here = has_no_data(s.disk) && (is_connected(s.conn) || s.role == Role::Primary);
    if no_data_here && f.effective != theirs {
        return UuidReaction::AdoptEffective(theirs);
    }
    UuidReaction::Remember
}

/// What is done about P_SYNC_UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncUuidArrival {
    /// The bitmaps are still being exchanged: wait for the next change of state, then ask again.
    Wait,
    /// Take it over ([`crate::uuid::Set::accept_sync_uuid`]) and start the resync as target.
    StartAsTarget,
    /// The connection or the disk is gone meanwhile.
    Ignore,
    /// Each has begun a resync as its source (of a new part, see [`super::leads_grown_part`]): end the connection. (8.4
    /// waits, and hears nothing more of its peer.)
    BothAreSource,
}

/// Decides whether a sync UUID can be taken over now. `same_generation`: [`super::same_generation`].
pub fn sync_uuid_arrival(s: &State, same_generation: bool) -> SyncUuidArrival {
    if is_failed_or_less(s.disk) {
        return SyncUuidArrival::Ignore;
    }
    match s.conn {
        ConnState::WfSyncUuid | ConnState::Behind => SyncUuidArrival::StartAsTarget,
        // Something grew, and only the peer knows that. (8.4 waits, and hears nothing more of its peer.)
        ConnState::Connected if same_generation && both_up_to_date(s) => {
            SyncUuidArrival::StartAsTarget
        }
        conn if is_sync_source(conn) => SyncUuidArrival::BothAreSource,
        conn if is_connected(conn) => SyncUuidArrival::Wait,
        _ => SyncUuidArrival::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uuid::Set;

    const CONNECTED: State = State {
        conn: ConnState::Connected,
        disk: DiskState::UpToDate,
        pdsk: DiskState::UpToDate,
        ..State::NEW
    };

    fn facts(state: State, local_current: Option<u64>) -> UuidFacts {
        let local_current = local_current.map(Uuid);
        UuidFacts {
            state,
            effective: Uuid(0xa0),
            local_current,
            version: 101,
        }
    }

    fn peer(current: u64) -> PeerUuids {
        let uuids = Set {
            current: Uuid(current),
            ..Set::default()
        };
        PeerUuids {
            uuids,
            ..PeerUuids::default()
        }
    }

    #[test]
    fn a_diskless_primary_accepts_only_its_own_generation() {
        let s = State {
            conn: ConnState::WfReportParams,
            disk: DiskState::Diskless,
            role: Role::Primary,
            ..CONNECTED
        };
        let other = on_peer_uuids(&peer(0xb0), &facts(s, None));
        assert_eq!(other, UuidReaction::OtherGenerationInUse);
        let same = on_peer_uuids(&peer(0xa1), &facts(s, None));
        assert_eq!(
            same,
            UuidReaction::AdoptEffective(Uuid(0xa1)),
            "only the mark differs"
        );
        let secondary = State {
            role: Role::Secondary,
            ..s
        };
        assert_eq!(
            on_peer_uuids(&peer(0xb0), &facts(secondary, None)),
            UuidReaction::Remember
        );
        // Our disk failed while the peer's was coming: that may be an old one.
        for disk in [DiskState::Failed, DiskState::Diskless] {
            let lost = State {
                conn: ConnState::Connected,
                pdsk: DiskState::Attaching,
                disk,
                ..s
            };
            let old = on_peer_uuids(&peer(0xb0), &facts(lost, None));
            assert_eq!(old, UuidReaction::OtherGenerationInUse);
        }
        // Connected, the peer makes new generations for its diskless primary.
        let connected = State {
            conn: ConnState::Connected,
            ..s
        };
        let new = on_peer_uuids(&peer(0xb0), &facts(connected, None));
        assert_eq!(new, UuidReaction::AdoptEffective(Uuid(0xb0)));
    }

    #[test]
    fn brand_new_disks_can_be_declared_equal() {
        let declared = PeerUuids {
            skip_initial_sync: true,
            ..peer(0xb0)
        };
        let f = facts(CONNECTED, Some(4));
        assert_eq!(on_peer_uuids(&declared, &f), UuidReaction::SkipInitialSync);
        assert_eq!(on_peer_uuids(&peer(0xb0), &f), UuidReaction::Remember);
        let old = UuidFacts { version: 89, ..f };
        assert_eq!(on_peer_uuids(&declared, &old), UuidReaction::Remember);
        let has_data = facts(CONNECTED, Some(0xa0));
        assert_eq!(on_peer_uuids(&declared, &has_data), UuidReaction::Remember);
        let syncing = State {
            conn: ConnState::SyncTarget,
            ..CONNECTED
        };
        assert_eq!(
            on_peer_uuids(&declared, &facts(syncing, Some(4))),
            UuidReaction::Remember
        );
    }

    #[test]
    fn a_sync_uuid_waits_for_the_bitmaps() {
        let at = |conn, disk| {
            let state = State {
                conn,
                disk,
                ..CONNECTED
            };
            sync_uuid_arrival(&state, true)
        };
        let disk = DiskState::Inconsistent;
        assert_eq!(at(ConnState::WfBitmapT, disk), SyncUuidArrival::Wait);
        assert_eq!(
            at(ConnState::WfSyncUuid, disk),
            SyncUuidArrival::StartAsTarget
        );
        assert_eq!(at(ConnState::Behind, disk), SyncUuidArrival::StartAsTarget);
        assert_eq!(at(ConnState::Timeout, disk), SyncUuidArrival::Ignore);
        assert_eq!(
            at(ConnState::WfSyncUuid, DiskState::Failed),
            SyncUuidArrival::Ignore
        );
    }

    #[test]
    fn a_side_that_knows_of_nothing_new_follows_and_two_sources_part() {
        use SyncUuidArrival::{BothAreSource, StartAsTarget, Wait};
        assert_eq!(sync_uuid_arrival(&CONNECTED, true), StartAsTarget);
        assert_eq!(sync_uuid_arrival(&CONNECTED, false), Wait);
        let old = State {
            disk: DiskState::Outdated,
            ..CONNECTED
        };
        assert_eq!(sync_uuid_arrival(&old, true), Wait);
        for conn in [ConnState::SyncSource, ConnState::PausedSyncS] {
            let source = State { conn, ..CONNECTED };
            assert_eq!(sync_uuid_arrival(&source, true), BothAreSource);
        }
    }
}
