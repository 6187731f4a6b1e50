// SPDX-License-Identifier: GPL-2.0-only

//! Both disks grew, and what is new has to be copied: from which side?
//!
//! As in 8.4 each side judges for itself, by the roles that it knows then: one begins as the source, the other waits in
//! WFSyncUUID. The protocol has no packet that settles it. If a role changes meanwhile, both may wait; if one side was
//! restarted, it may not know that anything grew. (8.4 waits until the connection is lost, and so does the application's
//! I/O.) So the side that waits tells that it does, and the other one begins, if it does nothing else; when both wait, the
//! one that breaks ties.

use crate::state::both_up_to_date;
use crate::types::{ConnState, DiskState, Role, State};
use crate::uuid::{PeerUuids, Set};

/// Whether this side leads the resync of a part that is new on both sides: the primary, or the one that breaks ties.
pub fn leads_grown_part(own: &State, resolve_conflicts: bool) -> bool {
    if own.role == own.peer {
        resolve_conflicts
    } else {
        own.role == Role::Primary
    }
}

/// What is known beside the two states when the peer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitFacts {
    /// This side breaks ties.
    pub resolve_conflicts: bool,
    /// Both disks have the same generation: neither of them is old.
    pub same_generation: bool,
    /// Bits that are out of sync now.
    pub out_of_sync: u64,
}

/// Both disks have the same generation, as far as the UUIDs are known.
pub fn same_generation(mine: Option<&Set>, peer: Option<&PeerUuids>) -> bool {
    mine.is_some_and(|set| peer.is_some_and(|p| set.has_generation_of(&p.uuids)))
}

/// The peer's state arrived, and was written: does the peer wait for a resync that this side has to begin, as source?
pub fn begins_for_waiting_peer(own: &State, peer: &State, f: &WaitFacts) -> bool {
    let waits = |s: &State| s.conn == ConnState::WfSyncUuid && s.disk == DiskState::Outdated;
    let idle = own.conn == ConnState::Connected && both_up_to_date(own);
    // The end of a resync that copied nothing may come before the peer's word of its wait.
    let knows_nothing = idle && f.out_of_sync > 0;
    let both_wait = waits(own) && f.resolve_conflicts;
    f.same_generation && waits(peer) && (knows_nothing || both_wait)
}

/// The peer waits for the resync of a new part, which this side begins: until then its disk counts as before.
pub(super) fn waits_for_new_part(own: &State, peer: &State, peer_disk: DiskState) -> bool {
    matches!(own.conn, ConnState::Connected | ConnState::VerifyT)
        && both_up_to_date(own)
        && peer.conn == ConnState::WfSyncUuid
        && peer_disk == DiskState::Outdated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;

    const WAITING: State = State {
        conn: ConnState::WfSyncUuid,
        role: Role::Secondary,
        peer: Role::Secondary,
        disk: DiskState::Outdated,
        pdsk: DiskState::UpToDate,
        ..State::NEW
    };

    const MINE_TO_BEGIN: WaitFacts = WaitFacts {
        resolve_conflicts: true,
        same_generation: true,
        out_of_sync: 5,
    };

    #[test]
    fn the_primary_leads_and_among_equals_the_one_that_breaks_ties() {
        let with = |role, peer| State {
            role,
            peer,
            ..WAITING
        };
        for tie in [false, true] {
            assert!(leads_grown_part(&with(Role::Primary, Role::Secondary), tie));
            assert!(!leads_grown_part(
                &with(Role::Secondary, Role::Primary),
                tie
            ));
            for both in [Role::Primary, Role::Secondary] {
                assert_eq!(leads_grown_part(&with(both, both), tie), tie);
            }
        }
    }

    #[test]
    fn when_both_wait_the_one_that_breaks_ties_begins() {
        assert!(begins_for_waiting_peer(&WAITING, &WAITING, &MINE_TO_BEGIN));
        let not_mine = WaitFacts {
            resolve_conflicts: false,
            ..MINE_TO_BEGIN
        };
        assert!(!begins_for_waiting_peer(&WAITING, &WAITING, &not_mine));
        for conn in [
            ConnState::Connected,
            ConnState::SyncSource,
            ConnState::WfBitmapT,
        ] {
            let busy = State { conn, ..WAITING };
            assert!(!begins_for_waiting_peer(&busy, &WAITING, &MINE_TO_BEGIN));
            assert!(!begins_for_waiting_peer(&WAITING, &busy, &MINE_TO_BEGIN));
        }
    }

    #[test]
    fn one_that_knows_of_nothing_begins_if_there_is_something_to_copy() {
        let idle = State {
            conn: ConnState::Connected,
            disk: DiskState::UpToDate,
            ..WAITING
        };
        for resolve_conflicts in [false, true] {
            let f = WaitFacts {
                resolve_conflicts,
                ..MINE_TO_BEGIN
            };
            assert!(begins_for_waiting_peer(&idle, &WAITING, &f));
            let done = WaitFacts {
                out_of_sync: 0,
                ..f
            };
            assert!(!begins_for_waiting_peer(&idle, &WAITING, &done));
            let one_is_old = State {
                pdsk: DiskState::Outdated,
                ..idle
            };
            assert!(!begins_for_waiting_peer(&one_is_old, &WAITING, &f));
        }
    }

    #[test]
    fn old_data_never_becomes_the_source() {
        let other = WaitFacts {
            same_generation: false,
            ..MINE_TO_BEGIN
        };
        assert!(!begins_for_waiting_peer(&WAITING, &WAITING, &other));
        let invalidated = State {
            disk: DiskState::Inconsistent,
            ..WAITING
        };
        assert!(!begins_for_waiting_peer(
            &invalidated,
            &WAITING,
            &MINE_TO_BEGIN
        ));
        assert!(!begins_for_waiting_peer(
            &WAITING,
            &invalidated,
            &MINE_TO_BEGIN
        ));
    }

    #[test]
    fn generations_are_the_same_whoever_is_primary() {
        let set = |current| Set {
            current: Uuid(current),
            ..Set::default()
        };
        let peer = |current| PeerUuids {
            uuids: set(current),
            ..PeerUuids::default()
        };
        let same = |a, b| same_generation(Some(&set(a)), Some(&peer(b)));
        assert!(same(0x10, 0x11));
        assert!(!same(0x10, 0x20));
        assert!(!same_generation(None, Some(&peer(0x10))));
        assert!(!same_generation(Some(&set(0x10)), None));
    }
}
