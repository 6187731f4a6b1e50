// SPDX-License-Identifier: GPL-2.0-only

//! Two disks meet, seen from both sides: pairs of UUID sets for every rule, with every state of the disks, every policy
//! and every flag. Never two sources, never an inconsistent source; both refuse for the same reason, or have plans that
//! fit.
//!
//! All values along some axes are combined, and the others change from case to case: the axes of each row of [`SHORT`], or
//! many more of them with `DRBDRS_ENUMERATE` (`make sim`).

use super::tests_enumerate::{
    agreed, every_pair, in_full, marked, mirrored, relations_of, sides, values,
};
use super::*;
use crate::config::choices::{AfterSb0p, AfterSb1p, AfterSb2p, RrConflict};
use crate::types::{ConnState, DiskState, Role};
use std::collections::BTreeMap;
use std::vec::Vec;

/// What a case is made of; each with as many values as [`SIZES`] says.
#[derive(Clone, Copy)]
enum Axis {
    Disk,
    PeerDisk,
    Negotiates,
    Roles,
    Crashed,
    Wsame,
    Discard,
    Dirty,
    Marks,
    NoPrimary,
    OnePrimary,
    TwoPrimaries,
    AlwaysAsbp,
    Primary,
    DryRun,
}
use Axis::*;

const AXES: usize = 15;
const SIZES: [usize; AXES] = [9, 9, 4, 9, 4, 2, 4, 4, 4, 7, 5, 3, 2, 3, 2];
/// The policies of a split brain, and what they look at.
const SPLIT_BRAIN: [Axis; 8] = [
    Roles,
    Discard,
    Dirty,
    Marks,
    NoPrimary,
    OnePrimary,
    TwoPrimaries,
    AlwaysAsbp,
];
const SHORT: [&[Axis]; 3] = [
    &[Disk, PeerDisk, Negotiates, Roles],
    &[Roles, Crashed, Wsame, Discard, Primary, DryRun],
    &[Roles, Discard, NoPrimary, OnePrimary, TwoPrimaries],
];

type Case = [usize; AXES];

/// Calls `visit` with all combinations along `axes`; along the others it is another value each time.
fn every_case(axes: &[Axis], turn: &mut usize, visit: &mut impl FnMut(&Case)) {
    let size = |axis: &Axis| SIZES[*axis as usize];
    for number in 0..axes.iter().map(size).product() {
        *turn = turn.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let mut case: Case = core::array::from_fn(|axis| (*turn >> 33 >> axis) % SIZES[axis]);
        let mut rest: usize = number;
        for axis in axes {
            case[*axis as usize] = rest % size(axis);
            rest /= size(axis);
        }
        visit(&case);
    }
}

fn nth<T>(decode: impl Fn(u32) -> Option<T>, n: usize) -> T {
    (0..32).filter_map(decode).nth(n).expect("as many values")
}

fn handshake(pair: &(Side, Side, Agreed), case: &Case) -> Handshake {
    let of = |axis: Axis| case[axis as usize];
    let bits = |axis| (of(axis) & 1 != 0, of(axis) & 2 != 0);
    let (mine, theirs) = (of(Marks) & 1, of(Marks) >> 1);
    let (mut me, mut peer) = marked(&pair.0, &pair.1, (mine << 1 | theirs << 5) as u32);
    let role = |n: usize| [Role::Secondary, Role::Primary, Role::Unknown][n % 3];
    (me.role, peer.role) = (role(of(Roles)), role(of(Roles) / 3));
    (me.crashed_primary, peer.crashed_primary) = bits(Crashed);
    (me.discard_my_data, peer.discard_my_data) = bits(Discard);
    (me.dirty_bits, peer.dirty_bits) = [(0, 0), (0, 3), (3, 0), (3, 5)][of(Dirty)];
    let disk = |axis| nth(DiskState::from_wire, of(axis));
    let now = |disk, negotiates| {
        if negotiates {
            DiskState::Negotiating
        } else {
            disk
        }
    };
    let (i_negotiate, peer_negotiates) = bits(Negotiates);
    Handshake {
        me,
        peer,
        agreed: Agreed {
            wsame: of(Wsame) != 0,
            ..pair.2
        },
        disk: disk(Disk),
        disk_now: now(disk(Disk), i_negotiate),
        peer_disk: disk(PeerDisk),
        peer_disk_now: now(disk(PeerDisk), peer_negotiates),
        policy: Policy {
            after_sb: Policies {
                none: nth(AfterSb0p::from_wire, of(NoPrimary)),
                one: nth(AfterSb1p::from_wire, of(OnePrimary)),
                two: nth(AfterSb2p::from_wire, of(TwoPrimaries)),
            },
            always_asbp: of(AlwaysAsbp) != 0,
            rr_conflict: nth(RrConflict::from_wire, of(Primary)),
            dry_run: of(DryRun) != 0,
        },
        demotion: Demotion::NotTried,
    }
}

/// The same as the peer sees it. `discard-local` here is `discard-remote` there: that is checked before.
fn from_there(h: &Handshake) -> Handshake {
    let mut policy = h.policy;
    policy.after_sb.none = match policy.after_sb.none {
        AfterSb0p::DiscardLocal => AfterSb0p::DiscardRemote,
        AfterSb0p::DiscardRemote => AfterSb0p::DiscardLocal,
        same => same,
    };
    Handshake {
        me: h.peer,
        peer: h.me,
        agreed: Agreed {
            resolve_conflicts: !h.agreed.resolve_conflicts,
            ..h.agreed
        },
        disk: h.peer_disk,
        disk_now: h.peer_disk_now,
        peer_disk: h.disk,
        peer_disk_now: h.disk_now,
        policy,
        demotion: h.demotion,
    }
}

/// What comes of it; two possibilities if a Primary has to give up its role.
fn outcomes(h: &Handshake) -> [Outcome; 2] {
    let with = |demotion| sync_handshake(&Handshake { demotion, ..*h });
    let first = with(Demotion::NotTried);
    if !first.demote_first {
        return [first, first];
    }
    let both = [Demotion::Done, Demotion::Refused].map(with);
    assert!(both.iter().all(|out| !out.demote_first), "{h:?}");
    both
}

/// A refusal for a reason that only this side has.
fn refused_alone(out: &Outcome) -> bool {
    match out.verdict {
        Err(Refusal::PrimaryTarget | Refusal::InconsistentSource) => true,
        Err(Refusal::SplitBrain) => out.helpers.pri_lost_after_sb,
        _ => false,
    }
}

fn is_source(out: &Outcome) -> bool {
    matches!(out.verdict, Ok(plan) if plan.conn == ConnState::WfBitmapS)
}

fn check_meeting(h: &Handshake) {
    let peers = from_there(h);
    for here in outcomes(h) {
        for there in outcomes(&peers) {
            check_outcomes(h, &here, &there);
        }
        let whole = matches!(
            h.disk,
            DiskState::Outdated | DiskState::Unknown | DiskState::Consistent | DiskState::UpToDate
        );
        assert!(whole || !is_source(&here), "{h:?} {here:?}");
    }
}

fn check_outcomes(h: &Handshake, here: &Outcome, there: &Outcome) {
    assert!(!(is_source(here) && is_source(there)), "{h:?}");
    assert_eq!(
        here.decision.repair.is_some(),
        there.decision.repair.is_some(),
        "{h:?}"
    );
    if refused_alone(here) || refused_alone(there) {
        return;
    }
    let fits = match (here.verdict, there.verdict) {
        (Ok(mine), Ok(theirs)) => {
            let expected = match mine.conn {
                ConnState::WfBitmapS => ConnState::WfBitmapT,
                ConnState::WfBitmapT => ConnState::WfBitmapS,
                other => other,
            };
            theirs.conn == expected && theirs.set_whole_bitmap == mine.set_whole_bitmap
        }
        (Err(Refusal::DryRun(mine)), Err(Refusal::DryRun(theirs))) => mirrored(mine) == theirs,
        (Err(mine), Err(theirs)) => mine == theirs,
        _ => false,
    };
    assert!(fits, "{h:?} {here:?} {there:?}");
}

/// Some pairs for every rule that the UUIDs alone decide; the flags make the others of the same generation.
fn representatives(of_each: usize) -> Vec<(Rule, (Side, Side, Agreed))> {
    let mut found: BTreeMap<Rule, Vec<_>> = BTreeMap::new();
    let mut count = 0_usize;
    every_pair(&mut |places, generations| {
        for relation in relations_of(places, generations) {
            let (me, peer) = sides(places, &values(&relation));
            for version in [90, 95, 101] {
                count += 1;
                let rule = compare(&me, &peer, &agreed(version)).rule;
                let of_rule = found.entry(rule).or_default();
                // The first ones, and one after them now and then.
                let at = of_rule.len();
                if at < of_each {
                    of_rule.push((me, peer, agreed(version)));
                } else if count % 997 == 0 {
                    of_rule[count % of_each] = (me, peer, agreed(version));
                }
            }
        }
    });
    let each = |(rule, pairs): (Rule, Vec<_>)| pairs.into_iter().map(move |pair| (rule, pair));
    found.into_iter().flat_map(each).collect()
}

fn needs_policies(rule: Rule) -> bool {
    use Rule::*;
    matches!(rule, SameOrigin | SharedHistory | Crossed | LinkHiccup)
}

#[test]
fn two_disks_come_to_the_same_conclusion() {
    let everything = in_full();
    let mut turn = 1;
    let mut cases = 0_u32;
    for (rule, pair) in representatives(if everything { 4 } else { 2 }) {
        let mut check = |axes: &[Axis]| {
            every_case(axes, &mut turn, &mut |case| {
                check_meeting(&handshake(&pair, case));
                cases += 1;
            });
        };
        let [disks, states, policies] = SHORT;
        if !everything {
            SHORT.into_iter().for_each(&mut check);
        } else {
            check(&[disks, &states[1..]].concat());
        }
        match (needs_policies(rule), everything) {
            (true, false) => check(&SPLIT_BRAIN[1..]),
            (true, true) => {
                check(&[&SPLIT_BRAIN[..], &[Negotiates]].concat());
                check(&[&disks[..2], policies, &[AlwaysAsbp]].concat());
            }
            (false, _) => {}
        }
    }
    assert!(cases > 300_000, "{cases}");
}
