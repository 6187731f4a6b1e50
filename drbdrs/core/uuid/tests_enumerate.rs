// SPDX-License-Identifier: GPL-2.0-only

//! Every pair of UUID sets, compared from both sides.
//!
//! The eight places of a pair hold nothing, the UUID of a new disk, or one of five generations. Two pairs that differ
//! only in the names of the generations are one: the comparison asks whether two UUIDs are equal, and whether one is
//! the other's sync UUID. So a place gets a name that was used before or the next unused one, and that is exhaustive:
//! 94,000 pairs instead of 5.7 million. Which generation is the sync UUID of which is drawn separately, because a
//! renaming has to keep it: where the rules look for it, between the newer history and the bitmap UUID of one side. With
//! `DRBDRS_ENUMERATE` (`make sim`) every such relation is tried, and every flag and mark for every pair; else, flags where
//! they count.

use super::set::Generation;
use super::*;
use crate::types::{Role, Uuid};
use std::collections::BTreeSet;
use std::{vec, vec::Vec};

/// Whether everything is tried, which takes 15 s of processor time in a release build.
pub(super) fn in_full() -> bool {
    std::env::var_os("DRBDRS_ENUMERATE").is_some()
}

/// Distinct generations in a pair.
const GENERATIONS: usize = 5;
/// Symbols for what a place holds; from [`FIRST`] on, generations.
const NOTHING: usize = 0;
const NEW: usize = 1;
const FIRST: usize = 2;

/// What the eight places hold, as symbols: my four, then the peer's.
pub(super) type Places = [usize; 8];

/// Calls `visit` with every pair, and the number of generations in it.
pub(super) fn every_pair(visit: &mut impl FnMut(&Places, usize)) {
    fn fill(places: &mut Places, at: usize, used: usize, visit: &mut impl FnMut(&Places, usize)) {
        if at == places.len() {
            return visit(places, used);
        }
        for symbol in 0..=(FIRST + used).min(FIRST + GENERATIONS - 1) {
            places[at] = symbol;
            let used = used.max((symbol + 1).saturating_sub(FIRST));
            fill(places, at + 1, used, visit);
        }
    }
    fill(&mut [NOTHING; 8], 0, 0, visit);
}

/// What follows what: `next[x] == y` means that generation `y` is the sync UUID of `x`.
pub(super) type Relation = Vec<Option<usize>>;

/// Every relation of `count` generations: no two have the same sync UUID, and none is reached from itself.
fn every_relation(count: usize) -> Vec<Relation> {
    let mut all = vec![vec![]];
    for _ in 0..count {
        let longer = |one: Relation| {
            (0..=count).map(move |next| [&one[..], &[next.checked_sub(1)]].concat())
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all.retain(may_be);
    all
}

fn may_be(relation: &Relation) -> bool {
    let twice = |at: usize| relation[at].is_some() && relation[..at].contains(&relation[at]);
    let circle = |at: usize| {
        core::iter::successors(relation[at], |&next| relation[next])
            .take(relation.len())
            .any(|next| next == at)
    };
    (0..relation.len()).all(|at| !twice(at) && !circle(at))
}

/// The relations that the rules look for in this pair.
pub(super) fn relations_of(places: &Places, count: usize) -> Vec<Relation> {
    let edge = |side: usize| {
        let (bitmap, newer) = (places[side + 1], places[side + 2]);
        (bitmap >= FIRST && newer >= FIRST).then(|| (newer - FIRST, bitmap - FIRST))
    };
    let mut all = vec![vec![None; count]];
    for (from, to) in [edge(0), edge(4)].into_iter().flatten() {
        let with = |one: &Relation| {
            let mut one = one.clone();
            one[from] = Some(to);
            one
        };
        let more: Vec<_> = all.iter().map(with).collect();
        all.extend(more);
    }
    all.retain(may_be);
    all.sort_unstable();
    all.dedup();
    all
}

/// The UUIDs of the generations.
pub(super) fn values(relation: &Relation) -> Vec<Uuid> {
    let before = |at: usize| relation.iter().position(|next| *next == Some(at));
    let value = |mut at: usize| {
        let mut steps = 0;
        while let Some(from) = before(at) {
            (at, steps) = (from, steps + 1);
        }
        (0..steps).fold(Uuid(0xa0 + 0x10 * at as u64), |uuid, _| uuid.sync_uuid())
    };
    (0..relation.len()).map(value).collect()
}

pub(super) fn sides(places: &Places, values: &[Uuid]) -> (Side, Side) {
    let uuid = |symbol: usize| match symbol {
        NOTHING => Uuid::ZERO,
        NEW => Uuid::JUST_CREATED,
        other => values[other - FIRST],
    };
    let [a, b, c, d, e, f, g, h] = places.map(uuid);
    let side = |uuids| Side {
        uuids: Set::from_array(uuids),
        dirty_bits: 0,
        role: Role::Secondary,
        crashed_primary: false,
        discard_my_data: false,
    };
    (side([a, b, c, d]), side([e, f, g, h]))
}

pub(super) fn agreed(version: u32) -> Agreed {
    Agreed {
        version,
        wsame: true,
        resolve_conflicts: true,
    }
}

/// What the peer must conclude when this side concludes `s`.
pub(super) fn mirrored(s: Strategy) -> Strategy {
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

/// Rules that are each other's mirror; every other one is its own.
const PAIRS: [(Rule, Rule); 10] = [
    (Rule::JustCreated, Rule::PeerJustCreated),
    (Rule::MissedResyncFinished, Rule::PeerMissedResyncFinished),
    (Rule::PeerFailedToWriteSyncUuid, Rule::FailedToWriteSyncUuid),
    (Rule::PrimaryPresent, Rule::PeerPrimaryPresent),
    (Rule::CrashedPrimary, Rule::PeerCrashedPrimary),
    (Rule::PeerBitmapSinceMine, Rule::BitmapSincePeer),
    (Rule::PeerLostSyncUuid, Rule::LostSyncUuid),
    (
        Rule::PeerLostSyncUuidNeedsProtocol,
        Rule::LostSyncUuidNeedsProtocol,
    ),
    (Rule::PeerLeftResyncBehind, Rule::LeftResyncBehind),
    (Rule::InPeerHistory, Rule::PeerInHistory),
];

fn mirrored_rule(rule: Rule) -> Rule {
    let mut pairs = PAIRS.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]);
    pairs.find(|(a, _)| *a == rule).map_or(rule, |(_, b)| b)
}

/// Compares from both sides; returns what this one decides.
fn check_pair(me: &Side, peer: &Side, agreed: &Agreed, seen: &mut BTreeSet<Rule>) -> Decision {
    let theirs_agreed = Agreed {
        resolve_conflicts: !agreed.resolve_conflicts,
        ..*agreed
    };
    let here = compare(me, peer, agreed);
    let there = compare(peer, me, &theirs_agreed);
    seen.insert(here.rule);
    let of = |d: &Decision| (d.rule, d.strategy);
    let expected = (mirrored_rule(here.rule), mirrored(here.strategy));
    assert_eq!(expected, of(&there), "{me:?} {peer:?} {here:?}");
    check_repairs(me, peer, &here, &there);
    here
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

/// The flags that [`compare`] gets, from the bits of a number below [`FLAGS`]. Who breaks ties is no choice: every pair
/// comes in both orders.
const FLAGS: u32 = 3 * 3 * 8;

fn flagged(me: &Side, peer: &Side, agreed: &Agreed, number: u32) -> (Side, Side, Agreed) {
    let role = |n: u32| [Role::Secondary, Role::Primary, Role::Unknown][(n % 3) as usize];
    let bit = |n: u32| (number / 9) >> n & 1 != 0;
    let side = |side: &Side, role, crashed_primary| Side {
        role,
        crashed_primary,
        dirty_bits: u64::from(number),
        discard_my_data: number % 2 != 0,
        ..*side
    };
    let agreed = Agreed {
        wsame: bit(2),
        ..*agreed
    };
    let mine = side(me, role(number), bit(0));
    (mine, side(peer, role(number / 3), bit(1)), agreed)
}

/// A Primary has marked those UUIDs whose bit is set in `mask`; nothing and a new disk bear no mark.
pub(super) fn marked(me: &Side, peer: &Side, mask: u32) -> (Side, Side) {
    let side = |side: &Side, mask: u32| {
        let mut uuids = side.uuids.to_array();
        for (at, uuid) in uuids.iter_mut().enumerate() {
            if !uuid.is_zero() {
                uuid.0 |= u64::from(mask >> at & 1);
            }
        }
        Side {
            uuids: Set::from_array(uuids),
            ..*side
        }
    };
    (side(me, mask & 15), side(peer, mask >> 4))
}

fn same_data(me: &Side, peer: &Side) -> bool {
    let new = [Uuid::ZERO, Uuid::JUST_CREATED].contains(&me.uuids.current);
    me.uuids.current == peer.uuids.current && !new
}

/// Flags count only with equal generations, where all of them are tried; marks never do.
fn check_flags_and_marks(
    pair: (&Side, &Side),
    agreed: &Agreed,
    decision: &Decision,
    seen: &mut BTreeSet<Rule>,
    some: impl Fn(u32) -> bool,
) {
    let (me, peer) = pair;
    let matter = same_data(me, peer);
    for number in (0..FLAGS).filter(|&number| matter || some(number)) {
        let (me, peer, agreed) = flagged(me, peer, agreed, number);
        let with_flags = check_pair(&me, &peer, &agreed, seen);
        assert!(matter || with_flags == *decision, "{me:?} {peer:?}");
    }
    for mask in (1..256).filter(|&mask| some(mask)) {
        let (me, peer) = marked(me, peer, mask);
        let with_marks = check_pair(&me, &peer, agreed, seen);
        assert_eq!(with_marks, *decision, "{me:?} {peer:?}");
    }
}

#[test]
fn every_pair_is_mirrored_and_never_has_two_sources() {
    let everything = in_full();
    let relations: Vec<_> = (0..=GENERATIONS).map(every_relation).collect();
    let mut seen = BTreeSet::new();
    let mut count = 0_u32;
    every_pair(&mut |places, generations| {
        let some = relations_of(places, generations);
        for relation in if everything {
            &relations[generations]
        } else {
            &some
        } {
            let (me, peer) = sides(places, &values(relation));
            for version in [90, 95, 101] {
                let agreed = agreed(version);
                let decision = check_pair(&me, &peer, &agreed, &mut seen);
                count += 1;
                // Otherwise one set of flags and one of marks; which, changes from pair to pair.
                let some = |number| everything || [count % FLAGS, count % 256].contains(&number);
                if relation.iter().all(Option::is_none) && (everything || version == 101) {
                    check_flags_and_marks((&me, &peer), &agreed, &decision, &mut seen, some);
                }
            }
        }
    });
    assert!(count > 300_000, "{count}");
    assert_eq!(
        seen,
        BTreeSet::from(ALL_RULES),
        "a rule that no pair reaches, or one missing in ALL_RULES"
    );
}

#[test]
fn rules_are_mirrored_in_pairs() {
    for rule in ALL_RULES {
        assert_eq!(mirrored_rule(mirrored_rule(rule)), rule);
    }
}

#[test]
fn as_many_pairs_and_relations_as_there_are() {
    // Partitions of the places into nothing, new and up to five generations; lists of all the generations.
    let mut pairs = 0;
    every_pair(&mut |_, _| pairs += 1);
    assert_eq!(pairs, 94_069);
    let relations = (0..=GENERATIONS).map(|count| every_relation(count).len());
    assert_eq!(relations.collect::<Vec<_>>(), [1, 1, 3, 13, 73, 501]);
}

const ALL_RULES: [Rule; 30] = [
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
    Rule::PeerLeftResyncBehind,
    Rule::InPeerHistory,
    Rule::BitmapSincePeer,
    Rule::LostSyncUuid,
    Rule::LostSyncUuidNeedsProtocol,
    Rule::LeftResyncBehind,
    Rule::PeerInHistory,
    Rule::Crossed,
    Rule::SameOrigin,
    Rule::SharedHistory,
    Rule::NothingInCommon,
];
