// SPDX-License-Identifier: GPL-2.0-only

//! What is made of a comparison when two disks meet.

use super::*;
use crate::config::choices::{AfterSb0p, AfterSb1p, AfterSb2p, RrConflict};
use crate::types::{ConnState, DiskState, Role, Uuid};
use Direction::{Source, Target};

fn side(a: [u64; 4]) -> Side {
    Side {
        uuids: Set::from_array(a.map(Uuid)),
        dirty_bits: 7,
        role: Role::Secondary,
        crashed_primary: false,
        discard_my_data: false,
    }
}

const POLICY: Policy = Policy {
    after_sb: Policies {
        none: AfterSb0p::Disconnect,
        one: AfterSb1p::Disconnect,
        two: AfterSb2p::Disconnect,
    },
    always_asbp: false,
    rr_conflict: RrConflict::Disconnect,
    dry_run: false,
};

fn meet(mine: [u64; 4], theirs: [u64; 4]) -> Handshake {
    Handshake {
        me: side(mine),
        peer: side(theirs),
        agreed: Agreed {
            version: 101,
            wsame: true,
            resolve_conflicts: true,
        },
        disk: DiskState::UpToDate,
        disk_now: DiskState::UpToDate,
        peer_disk: DiskState::UpToDate,
        peer_disk_now: DiskState::UpToDate,
        policy: POLICY,
        demotion: Demotion::NotTried,
    }
}

const EQUAL: ([u64; 4], [u64; 4]) = ([0xa0, 0, 0xb0, 0xc0], [0xa0, 0, 0xb0, 0xc0]);
const AHEAD: ([u64; 4], [u64; 4]) = ([0xd0, 0xa0, 0xb0, 0xc0], [0xa0, 0, 0xb0, 0xc0]);
const BEHIND: ([u64; 4], [u64; 4]) = ([0xa0, 0, 0xb0, 0xc0], [0xd0, 0xa0, 0xb0, 0xc0]);
/// Rule 90: both went on from the same generation.
const SPLIT: ([u64; 4], [u64; 4]) = ([0xd0, 0xa0, 0xb0, 0xc0], [0xe0, 0xa0, 0xb0, 0xc0]);
/// Rule 100: only older history in common.
const FAR_SPLIT: ([u64; 4], [u64; 4]) = ([0xd0, 0x10, 0xb0, 0xc0], [0xe0, 0x20, 0xb0, 0xc0]);

fn of(pair: ([u64; 4], [u64; 4])) -> Handshake {
    meet(pair.0, pair.1)
}

fn conn(h: &Handshake) -> Result<ConnState, Refusal> {
    sync_handshake(h).verdict.map(|plan| plan.conn)
}

#[test]
fn equal_data_connects_without_a_sync() {
    let out = sync_handshake(&of(EQUAL));
    let plan = Plan {
        conn: ConnState::Connected,
        set_whole_bitmap: false,
        violates_stable_data: false,
    };
    assert_eq!(out.verdict, Ok(plan));
    assert_eq!((out.solved, out.helpers), (None, Helpers::default()));
}

#[test]
fn newer_data_goes_to_the_older() {
    assert_eq!(conn(&of(AHEAD)), Ok(ConnState::WfBitmapS));
    assert_eq!(conn(&of(BEHIND)), Ok(ConnState::WfBitmapT));
    assert!(!sync_handshake(&of(AHEAD)).verdict.unwrap().set_whole_bitmap);
}

#[test]
fn a_brand_new_disk_gets_everything() {
    let mut h = meet([4, 0, 0, 0], [0xa0, 0, 0, 0]);
    h.disk = DiskState::Inconsistent;
    let out = sync_handshake(&h);
    assert_eq!(out.solved, Some(Solved::ByDiskStates(Target)));
    let plan = out.verdict.unwrap();
    assert_eq!(
        (plan.conn, plan.set_whole_bitmap),
        (ConnState::WfBitmapT, true)
    );
}

#[test]
fn disk_states_override_the_uuids() {
    // Ahead by UUIDs, but inconsistent: an interrupted resync target.
    let mut h = of(AHEAD);
    h.disk = DiskState::Inconsistent;
    let out = sync_handshake(&h);
    assert_eq!(out.solved, Some(Solved::ByDiskStates(Target)));
    let plan = out.verdict.unwrap();
    assert_eq!(
        (plan.conn, plan.set_whole_bitmap),
        (ConnState::WfBitmapT, false)
    );
    // Equal UUIDs, the peer's disk is inconsistent.
    let mut h = of(EQUAL);
    h.peer_disk = DiskState::Inconsistent;
    assert_eq!(conn(&h), Ok(ConnState::WfBitmapS));
    // Even a split brain is no question then; only old history in common: everything is copied.
    let mut h = of(FAR_SPLIT);
    h.peer_disk = DiskState::Inconsistent;
    let out = sync_handshake(&h);
    assert!(out.verdict.unwrap().set_whole_bitmap);
    assert_eq!(out.helpers, Helpers::default());
    let mut h = of(SPLIT);
    h.peer_disk = DiskState::Inconsistent;
    assert!(!sync_handshake(&h).verdict.unwrap().set_whole_bitmap);
}

#[test]
fn an_inconsistent_disk_never_becomes_source() {
    let mut h = of(AHEAD);
    h.disk = DiskState::Inconsistent;
    h.peer_disk = DiskState::Inconsistent;
    assert_eq!(conn(&h), Err(Refusal::InconsistentSource));
}

#[test]
fn a_resync_that_ended_unseen_is_corrected_when_the_next_one_starts() {
    // The source kept the bitmap UUID; the target has it in its history.
    let h = meet([0x10, 0x20, 0x30, 0], [0x10, 0, 0x20, 0x30]);
    let out = sync_handshake(&h);
    assert_eq!(conn(&h), Ok(ConnState::WfBitmapS));
    assert_eq!(out.decision.repair, Some(Repair::FinishMyResync));
    // The connection may break before the bitmaps have travelled: then the same is found again.
    assert_eq!(out.repair(), None);
    let mut set = h.me.uuids;
    set.start_sync_source(Uuid(0x40));
    assert_eq!(set.history[0], Uuid(0x20));
    // The other side's view is corrected at once, and so is ours if there is no resync with us as its source.
    let peer = sync_handshake(&meet([0x10, 0, 0x20, 0x30], [0x10, 0x20, 0x30, 0]));
    assert_eq!(peer.repair(), Some(Repair::FinishPeersResync));
    let mut h = h;
    h.disk = DiskState::Inconsistent;
    let out = sync_handshake(&h);
    assert_eq!(conn(&h), Ok(ConnState::WfBitmapT));
    assert_eq!(out.repair(), Some(Repair::FinishMyResync));
}

#[test]
fn unrelated_data_is_refused_whatever_the_disks_say() {
    let mut h = meet([0xa0, 0xb0, 0xc0, 0xd0], [0x10, 0x20, 0x30, 0x40]);
    assert_eq!(conn(&h), Err(Refusal::Unrelated));
    h.peer_disk = DiskState::Inconsistent;
    h.me.discard_my_data = true;
    assert_eq!(conn(&h), Err(Refusal::Unrelated));
}

#[test]
fn an_old_peer_is_refused_where_the_repair_needs_a_newer_one() {
    let mut h = meet([0xa0, 0xb0, 0xc0, 0xd0], [0xa0, 0, 0xb0, 0xc0]);
    h.agreed.version = 90;
    assert_eq!(conn(&h), Err(Refusal::NeedsProtocol(91)));
    let mut h = of(EQUAL);
    h.agreed.wsame = false;
    h.me.role = Role::Primary;
    h.peer.crashed_primary = true;
    assert_eq!(
        conn(&h),
        Err(Refusal::NeedsFeature {
            version: 101,
            features: 4
        })
    );
}

#[test]
fn split_brain_without_policies_calls_both_helpers_and_parts() {
    for pair in [SPLIT, FAR_SPLIT] {
        let out = sync_handshake(&of(pair));
        assert_eq!(out.verdict, Err(Refusal::SplitBrain));
        let helpers = Helpers {
            initial_split_brain: true,
            split_brain: true,
            ..Helpers::default()
        };
        assert_eq!(out.helpers, helpers);
    }
}

#[test]
fn discard_my_data_solves_a_split_brain_if_only_one_side_says_so() {
    for pair in [SPLIT, FAR_SPLIT] {
        let mut h = of(pair);
        h.me.discard_my_data = true;
        let out = sync_handshake(&h);
        assert_eq!(out.solved, Some(Solved::ByDiscardMyData(Target)));
        assert_eq!(out.verdict.unwrap().conn, ConnState::WfBitmapT);
        assert!(out.helpers.initial_split_brain && !out.helpers.split_brain);
        h.peer.discard_my_data = true;
        assert_eq!(conn(&h), Err(Refusal::SplitBrain));
        h.me.discard_my_data = false;
        assert_eq!(conn(&h), Ok(ConnState::WfBitmapS));
    }
}

#[test]
fn by_hand_everything_is_copied_if_the_bitmaps_do_not_count_from_the_same_generation() {
    for (pair, whole) in [(SPLIT, false), (FAR_SPLIT, true)] {
        let mut h = of(pair);
        h.me.discard_my_data = true;
        let plan = sync_handshake(&h).verdict.unwrap();
        assert_eq!(plan.set_whole_bitmap, whole);
    }
}

#[test]
fn policies_solve_a_split_brain_and_only_always_asbp_a_far_one() {
    let mut h = of(SPLIT);
    h.policy.after_sb.none = AfterSb0p::DiscardLeastChanges;
    h.peer.dirty_bits = 9;
    let out = sync_handshake(&h);
    let solved = Solved::ByPolicy {
        primaries: 0,
        direction: Target,
        full: false,
        fell_back: false,
    };
    assert_eq!(out.solved, Some(solved));
    assert!(!out.verdict.unwrap().set_whole_bitmap);
    let far = of(FAR_SPLIT);
    let mut h = Handshake {
        me: far.me,
        peer: far.peer,
        ..h
    };
    h.peer.dirty_bits = 9;
    assert_eq!(conn(&h), Err(Refusal::SplitBrain));
    h.policy.always_asbp = true;
    let out = sync_handshake(&h);
    assert!(
        out.verdict.unwrap().set_whole_bitmap,
        "ambiguous UUIDs: full sync"
    );
}

#[test]
fn a_losing_primary_is_demoted_first() {
    let mut h = of(SPLIT);
    h.me.role = Role::Primary;
    h.policy.after_sb.none = AfterSb0p::DiscardLocal;
    h.policy.after_sb.one = AfterSb1p::CallPriLost;
    let out = sync_handshake(&h);
    assert!(out.demote_first);
    assert!(!out.helpers.split_brain, "not lost yet");
    h.demotion = Demotion::Done;
    let out = sync_handshake(&h);
    assert!(!out.demote_first);
    assert_eq!(out.verdict.unwrap().conn, ConnState::WfBitmapT);
    h.demotion = Demotion::Refused;
    let out = sync_handshake(&h);
    assert_eq!(out.verdict, Err(Refusal::SplitBrain));
    assert!(out.helpers.pri_lost_after_sb && out.helpers.split_brain);
}

/// The policies have made the other side the source. 8.4 follows the wish of its administrator then: two sources.
#[test]
fn a_primary_that_cannot_give_way_does_not_become_the_source_either() {
    let mut h = of(SPLIT);
    h.me.role = Role::Primary;
    h.policy.after_sb.none = AfterSb0p::DiscardLocal;
    h.policy.after_sb.one = AfterSb1p::CallPriLost;
    h.demotion = Demotion::Refused;
    h.peer.discard_my_data = true;
    let out = sync_handshake(&h);
    assert_eq!(out.verdict, Err(Refusal::SplitBrain));
    assert!(out.helpers.pri_lost_after_sb && out.helpers.split_brain);
}

#[test]
fn a_primary_does_not_become_target_unless_told_so() {
    let mut h = of(BEHIND);
    h.me.role = Role::Primary;
    let out = sync_handshake(&h);
    assert_eq!(out.verdict, Err(Refusal::PrimaryTarget));
    assert!(!out.helpers.pri_lost);
    h.policy.rr_conflict = RrConflict::CallPriLost;
    let out = sync_handshake(&h);
    assert_eq!(out.verdict, Err(Refusal::PrimaryTarget));
    assert!(out.helpers.pri_lost);
    h.policy.rr_conflict = RrConflict::Violently;
    let plan = sync_handshake(&h).verdict.unwrap();
    assert!(plan.violates_stable_data);
    assert_eq!(plan.conn, ConnState::WfBitmapT);
    // A diskless primary that attaches old data serves its reads from the peer: that is fine.
    h.policy.rr_conflict = RrConflict::Disconnect;
    h.disk_now = DiskState::Negotiating;
    assert_eq!(conn(&h), Ok(ConnState::WfBitmapT));
}

/// It has worked with the other disk until then, which did not know yet that the resync of this one had ended.
#[test]
fn a_primary_that_attaches_is_the_target() {
    let (primary, secondary) = (Role::Primary, Role::Secondary);
    for other in [primary, secondary] {
        let mut h = of(EQUAL);
        (h.me.role, h.me.crashed_primary) = (primary, true);
        (h.disk_now, h.peer.role) = (DiskState::Negotiating, other);
        assert_eq!(conn(&h), Ok(ConnState::WfBitmapT), "{other:?}");
        let mut h = of(EQUAL);
        (h.peer.role, h.peer.crashed_primary) = (primary, true);
        (h.peer_disk_now, h.me.role) = (DiskState::Negotiating, other);
        let out = sync_handshake(&h);
        assert_eq!(out.verdict.unwrap().conn, ConnState::WfBitmapS);
        assert!(!out.helpers.initial_split_brain);
    }
    let mut h = of(EQUAL);
    (h.me.role, h.peer.role, h.me.crashed_primary) = (primary, primary, true);
    assert_eq!(conn(&h), Err(Refusal::SplitBrain), "nobody attaches");
    h.peer.role = secondary;
    assert_eq!(conn(&h), Ok(ConnState::WfBitmapS));
    // A Secondary that attaches has not written.
    h.peer_disk_now = DiskState::Negotiating;
    assert_eq!(conn(&h), Ok(ConnState::WfBitmapS));
}

#[test]
fn a_dry_run_parts_and_says_what_would_have_happened() {
    let mut h = of(AHEAD);
    h.policy.dry_run = true;
    assert_eq!(conn(&h), Err(Refusal::DryRun(Strategy::UseBitmap(Source))));
    let mut h = of(EQUAL);
    h.policy.dry_run = true;
    assert_eq!(conn(&h), Err(Refusal::DryRun(Strategy::NoSync)));
}

/// Both sides of every combination of disks, roles, flags and policies end up in matching states, and data
/// never flows out of an inconsistent disk.
#[test]
fn both_sides_agree_on_the_direction_of_every_sync() {
    use DiskState::{Consistent, Inconsistent, Outdated, UpToDate};
    let policies = [
        AfterSb0p::Disconnect,
        AfterSb0p::DiscardLeastChanges,
        AfterSb0p::DiscardZeroChanges,
    ];
    for pair in [EQUAL, AHEAD, BEHIND, SPLIT, FAR_SPLIT] {
        for bits in 0..64_u32 {
            for (disk, peer_disk) in [Inconsistent, Outdated, Consistent, UpToDate]
                .into_iter()
                .flat_map(|a| [Inconsistent, UpToDate].map(|b| (a, b)))
            {
                for policy in policies {
                    let h = combination(pair, bits, (disk, peer_disk), policy);
                    check_both_sides(&h);
                }
            }
        }
    }
}

fn combination(
    pair: ([u64; 4], [u64; 4]),
    bits: u32,
    disks: (DiskState, DiskState),
    policy: AfterSb0p,
) -> Handshake {
    let bit = |n: u32| bits & (1 << n) != 0;
    let mut h = of(pair);
    h.me.discard_my_data = bit(0);
    h.peer.discard_my_data = bit(1);
    h.me.crashed_primary = bit(2);
    h.peer.crashed_primary = bit(3);
    h.policy.always_asbp = bit(4);
    h.me.dirty_bits = if bit(5) { 0 } else { 3 };
    h.policy.after_sb.none = policy;
    (h.disk, h.peer_disk) = disks;
    h
}

fn check_both_sides(h: &Handshake) {
    let there = Handshake {
        me: h.peer,
        peer: h.me,
        disk: h.peer_disk,
        peer_disk: h.disk,
        agreed: Agreed {
            resolve_conflicts: !h.agreed.resolve_conflicts,
            ..h.agreed
        },
        ..*h
    };
    match (conn(h), conn(&there)) {
        (Ok(ConnState::WfBitmapS), other) => {
            assert_ne!(h.disk, DiskState::Inconsistent);
            assert_eq!(other, Ok(ConnState::WfBitmapT), "{h:?}");
        }
        (Ok(ConnState::WfBitmapT), Err(Refusal::InconsistentSource)) => {
            assert_eq!(h.peer_disk, DiskState::Inconsistent);
        }
        (Ok(ConnState::WfBitmapT), other) => assert_eq!(other, Ok(ConnState::WfBitmapS), "{h:?}"),
        (Ok(c), other) => assert_eq!(Ok(c), other, "{h:?}"),
        (Err(Refusal::InconsistentSource), other) => {
            assert_eq!(other, Ok(ConnState::WfBitmapT), "{h:?}");
        }
        (Err(refusal), other) => assert_eq!(Err(refusal), other, "{h:?}"),
    }
}
