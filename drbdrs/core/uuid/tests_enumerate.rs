// SPDX-License-Identifier: GPL-2.0-only

//! Every pair of UUID sets over a small alphabet, compared from both sides.
//!
//! The alphabet: empty, brand new, and three generations, where the third is the sync UUID of the second,
//! so that the rules about lost P_SYNC_UUIDs are reached. 625 sets a side, 390,625 pairs, for each protocol
//! range and each combination of crash flags and roles where these matter.

use super::set::Generation;
use super::*;
use crate::types::{Role, Uuid};
use std::collections::BTreeSet;

fn alphabet() -> [Uuid; 5] {
    let b = Uuid(0xb0);
    [Uuid::ZERO, Uuid::JUST_CREATED, Uuid(0xa0), b, b.sync_uuid()]
}

fn all_sets() -> Vec<Set> {
    let a = alphabet();
    let mut sets = Vec::new();
    for current in a {
        for bitmap in a {
            for newer in a {
                for older in a {
                    sets.push(Set::from_array([current, bitmap, newer, older]));
                }
            }
        }
    }
    sets
}

fn side(uuids: Set, role: Role, crashed_primary: bool) -> Side {
    Side {
        uuids,
        dirty_bits: 0,
        role,
        crashed_primary,
        discard_my_data: false,
    }
}

/// What the peer must conclude when this side concludes `s`.
fn mirrored(s: Strategy) -> Strategy {
    let swap = |d| match d {
        Direction::Source => Direction::Target,
        Direction::Target => Direction::Source,
    };
    match s {
        Strategy::UseBitmap(d) => Strategy::UseBitmap(swap(d)),
        Strategy::SetBitmap(d) => Strategy::SetBitmap(swap(d)),
        other => other,
    }
}

/// Each side remembers the other's generation as an older one: no sequence of operations leads there.
fn crossed(me: &Set, peer: &Set) -> bool {
    let remembers = |a: &Set, b: &Set| a.bitmap == b.current || a.history.contains(&b.current);
    remembers(me, peer) && remembers(peer, me)
}

fn check_pair(me: &Side, peer: &Side, agreed: &Agreed, seen: &mut BTreeSet<Rule>) {
    let theirs_agreed = Agreed {
        resolve_conflicts: !agreed.resolve_conflicts,
        ..*agreed
    };
    let here = compare(me, peer, agreed);
    let there = compare(peer, me, &theirs_agreed);
    seen.insert(here.rule);
    let is_source = |d: &Decision| d.strategy.direction() == Some(Direction::Source);
    assert!(
        !(is_source(&here) && is_source(&there)),
        "two sources: {me:?} {peer:?}"
    );
    let neither_has_data = me.uuids.current.is_zero() && peer.uuids.current.is_zero();
    if !crossed(&me.uuids, &peer.uuids) && !neither_has_data {
        assert_eq!(
            mirrored(here.strategy),
            there.strategy,
            "{me:?} {peer:?} {here:?} {there:?}"
        );
        check_repairs(me, peer, &here, &there);
    }
}

/// Both sides make the same correction, each in its own copy.
fn check_repairs(me: &Side, peer: &Side, here: &Decision, there: &Decision) {
    assert_eq!(
        here.repair.is_some(),
        there.repair.is_some(),
        "{me:?} {peer:?}"
    );
    let (Some(a), Some(b)) = (here.repair, there.repair) else {
        return;
    };
    let (mut mine, mut theirs) = (me.uuids, peer.uuids);
    a.apply(&mut mine, &mut theirs);
    let (mut mine_there, mut theirs_there) = (me.uuids, peer.uuids);
    b.apply(&mut theirs_there, &mut mine_there);
    assert_eq!((mine, theirs), (mine_there, theirs_there));
    assert_eq!(a.is_mine(), !b.is_mine());
}

#[test]
fn every_pair_is_mirrored_and_never_has_two_sources() {
    let sets = all_sets();
    let mut seen = BTreeSet::new();
    for version in [90, 95, 101] {
        let agreed = Agreed {
            version,
            wsame: true,
            resolve_conflicts: true,
        };
        for mine in &sets {
            for theirs in &sets {
                let me = side(*mine, Role::Secondary, false);
                let peer = side(*theirs, Role::Secondary, false);
                check_pair(&me, &peer, &agreed, &mut seen);
            }
        }
    }
    add_crash_cases(&mut seen);
    let all: BTreeSet<Rule> = ALL_RULES.into_iter().collect();
    assert_eq!(
        seen, all,
        "a rule that no pair reaches, or one missing in ALL_RULES"
    );
}

/// Same generation: all combinations of role, crash flag, feature and tie breaker.
fn add_crash_cases(seen: &mut BTreeSet<Rule>) {
    let uuids = Set::from_array([Uuid(0xa0), Uuid::ZERO, Uuid(0xb0), Uuid(0xc0)]);
    for bits in 0..64_u32 {
        let bit = |n: u32| bits & (1 << n) != 0;
        let role = |primary| {
            if primary {
                Role::Primary
            } else {
                Role::Secondary
            }
        };
        let me = side(uuids, role(bit(0)), bit(1));
        let peer = side(uuids, role(bit(2)), bit(3));
        let agreed = Agreed {
            version: 101,
            wsame: bit(4),
            resolve_conflicts: bit(5),
        };
        check_pair(&me, &peer, &agreed, seen);
    }
}

const ALL_RULES: [Rule; 27] = [
    Rule::BothJustCreated,
    Rule::JustCreated,
    Rule::PeerJustCreated,
    Rule::LeftoverBitmapNeedsProtocol,
    Rule::MissedResyncFinished,
    Rule::PeerMissedResyncFinished,
    Rule::PeerFailedToWriteSyncUuid,
    Rule::FailedToWriteSyncUuid,
    Rule::LinkHiccup,
    Rule::PrimaryPresentNeedsFeature,
    Rule::BothPrimaryPresent,
    Rule::PrimaryPresent,
    Rule::PeerPrimaryPresent,
    Rule::CrashedPrimary,
    Rule::PeerCrashedPrimary,
    Rule::BothCrashedPrimary,
    Rule::PeerBitmapSinceMine,
    Rule::PeerLostSyncUuid,
    Rule::PeerLostSyncUuidNeedsProtocol,
    Rule::InPeerHistory,
    Rule::BitmapSincePeer,
    Rule::LostSyncUuid,
    Rule::LostSyncUuidNeedsProtocol,
    Rule::PeerInHistory,
    Rule::SameOrigin,
    Rule::SharedHistory,
    Rule::NothingInCommon,
];
