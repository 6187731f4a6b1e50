// SPDX-License-Identifier: GPL-2.0-only

//! One named test for every rule of the comparison, with the number and code that 8.4 logs.

use super::set::Generation;
use super::*;
use crate::types::{Role, Uuid};

const A: u64 = 0xa0;
const B: u64 = 0xb0;
const C: u64 = 0xc0;
const D: u64 = 0xd0;
const E: u64 = 0xe0;
const F: u64 = 0xf0;
const NEW: u64 = 4;

fn uuids(a: [u64; 4]) -> Set {
    Set::from_array(a.map(Uuid))
}

fn side(a: [u64; 4]) -> Side {
    Side {
        uuids: uuids(a),
        dirty_bits: 0,
        role: Role::Secondary,
        crashed_primary: false,
        discard_my_data: false,
    }
}

fn crashed(a: [u64; 4]) -> Side {
    Side {
        crashed_primary: true,
        ..side(a)
    }
}

fn primary(s: Side) -> Side {
    Side {
        role: Role::Primary,
        ..s
    }
}

const AGREED: Agreed = Agreed {
    version: 101,
    wsame: true,
    resolve_conflicts: false,
};

/// Both sides' view; the first must be `rule` with 8.4's number and code.
fn check(me: Side, peer: Side, rule: Rule, number: u32, code: i32) -> Decision {
    check_at(AGREED, me, peer, rule, number, code)
}

fn check_at(agreed: Agreed, me: Side, peer: Side, rule: Rule, number: u32, code: i32) -> Decision {
    let d = compare(&me, &peer, &agreed);
    assert_eq!(
        (d.rule, d.rule.number(), d.strategy.code()),
        (rule, number, code)
    );
    assert!(!d.rule.explain().is_empty());
    d
}

fn sync_of(u: u64) -> u64 {
    Uuid(u).sync_uuid().0
}

#[test]
fn both_just_created() {
    check(
        side([NEW, 0, 0, 0]),
        side([NEW, 0, 0, 0]),
        Rule::BothJustCreated,
        10,
        0,
    );
    check(
        side([NEW | 1, 0, 0, 0]),
        side([NEW, B, 0, 0]),
        Rule::BothJustCreated,
        10,
        0,
    );
}

#[test]
fn just_created() {
    check(
        side([NEW, 0, 0, 0]),
        side([A, 0, 0, 0]),
        Rule::JustCreated,
        20,
        -2,
    );
    check(
        side([0, 0, 0, 0]),
        side([A, 0, 0, 0]),
        Rule::JustCreated,
        20,
        -2,
    );
}

#[test]
fn peer_just_created() {
    check(
        side([A, 0, 0, 0]),
        side([NEW, 0, 0, 0]),
        Rule::PeerJustCreated,
        30,
        2,
    );
    check(
        side([A, 0, 0, 0]),
        side([0, 0, 0, 0]),
        Rule::PeerJustCreated,
        30,
        2,
    );
    check(
        side([0, 0, 0, 0]),
        side([NEW, 0, 0, 0]),
        Rule::PeerJustCreated,
        30,
        2,
    );
}

#[test]
fn leftover_bitmap_needs_protocol() {
    let old = Agreed {
        version: 90,
        ..AGREED
    };
    let rule = Rule::LeftoverBitmapNeedsProtocol;
    check_at(old, side([A, B, C, D]), side([A, 0, B, C]), rule, 30, -1091);
    check_at(old, side([A, 0, B, C]), side([A, B, C, D]), rule, 30, -1091);
}

#[test]
fn missed_resync_finished() {
    let me = side([A, B, C, D]);
    let peer = side([A | 1, 0, B | 1, C]);
    let d = check(me, peer, Rule::MissedResyncFinished, 34, 1);
    let (mut mine, mut theirs) = (me.uuids, peer.uuids);
    d.repair.unwrap().apply(&mut mine, &mut theirs);
    assert!(d.repair.unwrap().is_mine());
    assert_eq!((mine, theirs), (uuids([A, 0, B, C]), peer.uuids));
}

#[test]
fn peer_missed_resync_finished() {
    let me = side([A, 0, B, C]);
    let peer = side([A, B, C, D]);
    let d = check(me, peer, Rule::PeerMissedResyncFinished, 35, -1);
    let (mut mine, mut theirs) = (me.uuids, peer.uuids);
    d.repair.unwrap().apply(&mut mine, &mut theirs);
    assert!(!d.repair.unwrap().is_mine());
    assert_eq!((mine, theirs), (me.uuids, uuids([A, 0, B, C])));
}

#[test]
fn peer_failed_to_write_sync_uuid() {
    let d = check(
        side([A, B, C, D]),
        side([A, 0, C, D]),
        Rule::PeerFailedToWriteSyncUuid,
        36,
        1,
    );
    assert_eq!(d.repair, None);
}

#[test]
fn failed_to_write_sync_uuid() {
    let d = check(
        side([A, 0, C, D]),
        side([A, B, C, D]),
        Rule::FailedToWriteSyncUuid,
        37,
        -1,
    );
    assert_eq!(d.repair, None);
}

#[test]
fn link_hiccup() {
    check(
        side([A, 0, B, C]),
        primary(side([A | 1, 0, B, C])),
        Rule::LinkHiccup,
        40,
        0,
    );
    check(
        side([A, E, B, C]),
        side([A, F, B, C]),
        Rule::LinkHiccup,
        40,
        0,
    );
}

#[test]
fn crashed_primary() {
    check(
        crashed([A, 0, B, C]),
        side([A, 0, B, C]),
        Rule::CrashedPrimary,
        40,
        1,
    );
}

#[test]
fn peer_crashed_primary() {
    check(
        side([A, 0, B, C]),
        crashed([A, 0, B, C]),
        Rule::PeerCrashedPrimary,
        40,
        -1,
    );
}

#[test]
fn both_crashed_primary() {
    let tie = Agreed {
        resolve_conflicts: true,
        ..AGREED
    };
    let s = crashed([A, 0, B, C]);
    check_at(tie, s, s, Rule::BothCrashedPrimary, 40, -1);
    check_at(AGREED, s, s, Rule::BothCrashedPrimary, 40, 1);
}

#[test]
fn primary_present_needs_feature() {
    let old = Agreed {
        wsame: false,
        ..AGREED
    };
    let rule = Rule::PrimaryPresentNeedsFeature;
    let d = check_at(
        old,
        crashed([A, 0, B, C]),
        primary(side([A, 0, B, C])),
        rule,
        41,
        -0x10465,
    );
    assert_eq!(
        d.strategy,
        Strategy::NeedsFeature {
            version: 101,
            features: 4
        }
    );
}

#[test]
fn both_primary_present() {
    let me = primary(crashed([A, 0, B, C]));
    check(
        me,
        primary(side([A, 0, B, C])),
        Rule::BothPrimaryPresent,
        41,
        -100,
    );
}

#[test]
fn primary_present() {
    let me = primary(side([A, 0, B, C]));
    check(me, crashed([A, 0, B, C]), Rule::PrimaryPresent, 41, 1);
}

#[test]
fn peer_primary_present() {
    let peer = primary(side([A, 0, B, C]));
    check(
        crashed([A, 0, B, C]),
        peer,
        Rule::PeerPrimaryPresent,
        41,
        -1,
    );
}

#[test]
fn peer_bitmap_since_mine() {
    check(
        side([A | 1, 0, C, D]),
        side([B, A, C, D]),
        Rule::PeerBitmapSinceMine,
        50,
        -1,
    );
}

#[test]
fn peer_lost_sync_uuid() {
    let me = side([A, 0, C, D]);
    let peer = side([B, sync_of(A), A | 1, C]);
    let d = check(me, peer, Rule::PeerLostSyncUuid, 51, -1);
    let (mut mine, mut theirs) = (me.uuids, peer.uuids);
    d.repair.unwrap().apply(&mut mine, &mut theirs);
    assert!(!d.repair.unwrap().is_mine());
    assert_eq!((mine, theirs), (me.uuids, uuids([B, A | 1, C, C])));
    // Before protocol 96 the sync UUID was random: older history had to match instead.
    let v95 = Agreed {
        version: 95,
        ..AGREED
    };
    check_at(
        v95,
        side([A, 0, C, D]),
        side([B, E, A, C]),
        Rule::PeerLostSyncUuid,
        51,
        -1,
    );
    check_at(
        v95,
        side([A, 0, D, D]),
        side([B, E, A, C]),
        Rule::InPeerHistory,
        60,
        -2,
    );
}

#[test]
fn peer_lost_sync_uuid_needs_protocol() {
    let v90 = Agreed {
        version: 90,
        ..AGREED
    };
    let rule = Rule::PeerLostSyncUuidNeedsProtocol;
    check_at(v90, side([A, 0, C, D]), side([B, E, A, C]), rule, 51, -1091);
}

#[test]
fn in_peer_history() {
    check(
        side([A, 0, C, D]),
        side([B, E, A, F]),
        Rule::InPeerHistory,
        60,
        -2,
    );
    check(
        side([A, 0, C, D]),
        side([B, E, F, A]),
        Rule::InPeerHistory,
        60,
        -2,
    );
}

#[test]
fn bitmap_since_peer() {
    check(
        side([B, A | 1, C, D]),
        side([A, 0, C, D]),
        Rule::BitmapSincePeer,
        70,
        1,
    );
}

#[test]
fn lost_sync_uuid() {
    let me = side([B, sync_of(A), A, C]);
    let peer = side([A, 0, C, D]);
    let d = check(me, peer, Rule::LostSyncUuid, 71, 1);
    let (mut mine, mut theirs) = (me.uuids, peer.uuids);
    d.repair.unwrap().apply(&mut mine, &mut theirs);
    assert!(d.repair.unwrap().is_mine());
    assert_eq!((mine, theirs), (uuids([B, A, C, C]), peer.uuids));
    let v95 = Agreed {
        version: 95,
        ..AGREED
    };
    check_at(
        v95,
        side([B, E, A, C]),
        side([A, 0, C, D]),
        Rule::LostSyncUuid,
        71,
        1,
    );
}

#[test]
fn left_resync_behind() {
    // The resync had ended, or had never begun at the target.
    for target in [[B, 0, sync_of(A), A], [B, 0, A, C]] {
        let (me, peer) = (side([D, sync_of(A), A, B | 1]), side(target));
        let d = check(me, peer, Rule::LeftResyncBehind, 72, 1);
        let repair = d.repair.unwrap();
        let (mut mine, mut theirs) = (me.uuids, peer.uuids);
        repair.apply(&mut mine, &mut theirs);
        assert!(repair.is_mine());
        assert_eq!(
            (mine, theirs),
            (uuids([D, B | 1, sync_of(A), A]), peer.uuids)
        );

        let d = check(peer, me, Rule::PeerLeftResyncBehind, 52, -1);
        let repair = d.repair.unwrap();
        let (mut mine, mut theirs) = (peer.uuids, me.uuids);
        repair.apply(&mut mine, &mut theirs);
        assert!(!repair.is_mine());
        assert_eq!(
            (mine, theirs),
            (peer.uuids, uuids([D, B | 1, sync_of(A), A]))
        );
    }
    // Two young disks have no history.
    let (me, peer) = (side([D, E, 0, B]), side([B, 0, E, 0]));
    check(me, peer, Rule::LeftResyncBehind, 72, 1);
    // The target that had not finished has the sync UUID.
    let (me, peer) = (side([D, sync_of(A), A, B]), side([sync_of(A), 0, C, 0]));
    check(me, peer, Rule::BitmapSincePeer, 70, 1);
    // One that had, and was written alone.
    let (me, peer) = (side([D, sync_of(A), A, B]), side([E, B, sync_of(A), A]));
    check(me, peer, Rule::SharedHistory, 100, -100);
}

#[test]
fn a_generation_that_is_left_as_usual_leaves_no_resync() {
    let older = side([A, 0, C, F]);
    let me = side([D, B, E, A]);
    check(me, older, Rule::PeerInHistory, 80, 2);
}

#[test]
fn lost_sync_uuid_needs_protocol() {
    let v90 = Agreed {
        version: 90,
        ..AGREED
    };
    let rule = Rule::LostSyncUuidNeedsProtocol;
    check_at(v90, side([B, E, A, C]), side([A, 0, C, D]), rule, 71, -1091);
}

#[test]
fn peer_in_history() {
    check(
        side([B, E, A, F]),
        side([A, 0, C, D]),
        Rule::PeerInHistory,
        80,
        2,
    );
    check(
        side([B, E, F, A]),
        side([A, 0, C, D]),
        Rule::PeerInHistory,
        80,
        2,
    );
}

#[test]
fn same_origin() {
    check(
        side([A, C | 1, D, 0]),
        side([B, C, D, 0]),
        Rule::SameOrigin,
        90,
        100,
    );
}

#[test]
fn shared_history() {
    check(
        side([A, C, D, E]),
        side([B, F, 0x99, D]),
        Rule::SharedHistory,
        100,
        -100,
    );
    // Two young disks that became primary apart: empty history counts as common.
    check(
        side([A, NEW, 0, 0]),
        side([B, 0, 0, 0]),
        Rule::SharedHistory,
        100,
        -100,
    );
}

#[test]
fn what_one_wrote_on_from_is_in_the_others_history() {
    // It went on once more from there: both wrote, and only one of them twice. No history is common.
    check(
        side([A, C, 0x50, 0x51]),
        side([B, F, C | 1, E]),
        Rule::SharedHistory,
        100,
        -100,
    );
    check(
        side([B, F, E, C | 1]),
        side([A, C, 0x50, 0x51]),
        Rule::SharedHistory,
        100,
        -100,
    );
}

#[test]
fn nothing_in_common() {
    check(
        side([A, C, D, E]),
        side([B, F, 0x98, 0x9a]),
        Rule::NothingInCommon,
        100,
        -1000,
    );
}

/// Each remembers the other's generation. Where both remember it in the same way, neither is newer, and both say so; 8.4
/// takes either for the target, and both wait for a bitmap for ever.
#[test]
fn crossed_generations_are_a_split_brain_on_both_sides() {
    let lost_both = |a, b| [a, sync_of(b), b, D];
    for (mine, theirs) in [
        ([A, B, C, D], [B, A, C, D]),
        (lost_both(A, B), lost_both(B, A)),
        ([A, 0, B, 0], [B, 0, A, 0]),
        ([A, C, D, B], [B, D, A, E]),
    ] {
        check(side(mine), side(theirs), Rule::Crossed, 100, -100);
        check(side(theirs), side(mine), Rule::Crossed, 100, -100);
    }
}

/// A node that had written on from A was invalidated, and is the target of a resync from A, which breaks: each remembers
/// the other's generation, but the bitmap counts from the target's. 8.4's source takes itself for the target, by rule 60.
#[test]
fn a_bitmap_that_counts_from_the_other_generation_comes_before_history() {
    let (source, target) = (side([A, F, B, D]), side([F, 0, A, B]));
    check(source, target, Rule::BitmapSincePeer, 70, 1);
    check(target, source, Rule::PeerBitmapSinceMine, 50, -1);
}

#[test]
fn two_disks_without_any_generation_have_nothing_in_common() {
    let nothing = side([0, 0, 0, 0]);
    check(nothing, nothing, Rule::NothingInCommon, 100, -1000);
}

#[test]
fn who_wrote_on_from_where_resyncs_began_is_related() {
    let begun = sync_of(sync_of(A));
    let forced = side([E, A, 0, 0]);
    let (again, after) = (side([D, begun, sync_of(A), B]), side([D, 0, begun, B]));
    check(again, forced, Rule::SharedHistory, 100, -100);
    check(after, side([E, A, C, F]), Rule::SharedHistory, 100, -100);
    check(
        side([D, C, B, F]),
        side([E, A, 0x990, 0x9a0]),
        Rule::NothingInCommon,
        100,
        -1000,
    );
}

#[test]
fn where_resyncs_began_is_older_history() {
    let me = side([D, sync_of(sync_of(A)), sync_of(A), B]);
    check(me, side([A, 0, C, F]), Rule::PeerInHistory, 80, 2);
    check(side([A, 0, C, F]), me, Rule::InPeerHistory, 60, -2);
    let finished = side([D, 0, sync_of(sync_of(A)), B]);
    check(finished, side([A, 0, C, F]), Rule::PeerInHistory, 80, 2);
}
