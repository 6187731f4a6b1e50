// SPDX-License-Identifier: GPL-2.0-only

//! What a peer's state leads to: one named test per branch.

use super::*;
use crate::state::How;
use crate::types::{ConnState as C, DiskState as D, Role, State};
use crate::uuid::{PeerUuids, Plan, Refusal};

const FACTS: Facts = Facts {
    have_peer_uuids: true,
    have_disk: true,
    consider_resync: false,
    out_of_sync: 0,
    resync_failed: 0,
    negotiated_disk: D::UpToDate,
    continues: true,
    new_generation_due: false,
    in_doubt: false,
    dry_run: false,
};

const CONNECTED: State = State {
    conn: C::Connected,
    peer: Role::Secondary,
    disk: D::UpToDate,
    pdsk: D::UpToDate,
    ..State::NEW
};

const INTRODUCING: State = State {
    conn: C::WfReportParams,
    peer: Role::Unknown,
    pdsk: D::Unknown,
    ..CONNECTED
};

fn look(own: State, peer: State) -> Considered {
    consider(&own, &peer, peer.disk, &FACTS)
}

fn pending(own: State, peer: State) -> Pending {
    match look(own, peer) {
        Considered::Pending(p) => p,
        other => panic!("{other:?}"),
    }
}

fn plan(conn: C) -> Option<Result<Plan, Refusal>> {
    Some(Ok(Plan {
        conn,
        set_whole_bitmap: false,
        violates_stable_data: false,
    }))
}

fn written(conclusion: Conclusion) -> (State, How) {
    match conclusion {
        Conclusion::Set { new, how, .. } => (new, how),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_negotiating_peer_disk_is_what_it_wants_to_become() {
    let inconsistent = PeerUuids {
        inconsistent: true,
        ..PeerUuids::default()
    };
    assert_eq!(
        real_peer_disk(D::Negotiating, Some(&inconsistent)),
        D::Inconsistent
    );
    assert_eq!(
        real_peer_disk(D::Negotiating, Some(&PeerUuids::default())),
        D::Consistent
    );
    assert_eq!(real_peer_disk(D::Negotiating, None), D::Consistent);
    assert_eq!(
        real_peer_disk(D::UpToDate, Some(&inconsistent)),
        D::UpToDate
    );
}

#[test]
fn a_state_that_comes_too_late() {
    for conn in [C::StandAlone, C::Disconnecting, C::Timeout, C::TearDown] {
        let own = State { conn, ..CONNECTED };
        assert_eq!(look(own, CONNECTED), Considered::GoesDown);
    }
}

#[test]
fn two_that_both_begin_as_the_source_or_as_the_target_meet_again() {
    for conn in [C::WfBitmapS, C::WfBitmapT] {
        let begins = State { conn, ..CONNECTED };
        assert_eq!(look(begins, begins), Considered::Contradiction);
        assert_ne!(look(CONNECTED, begins), Considered::Contradiction);
    }
    let [source, target] = [C::WfBitmapS, C::WfBitmapT].map(|conn| State { conn, ..CONNECTED });
    assert_ne!(look(source, target), Considered::Contradiction);
    let runs = State {
        conn: C::SyncSource,
        ..CONNECTED
    };
    assert_ne!(look(runs, runs), Considered::Contradiction);
}

#[test]
fn bits_are_counted_anew_by_the_side_whose_disk_was_there() {
    let attaches = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let reason = Some(Reason::DiskAttached);
    assert!(counts_anew(&CONNECTED, reason) && !counts_anew(&attaches, reason));
    assert!(!counts_anew(&CONNECTED, Some(Reason::NewConnection)));
    assert!(!counts_anew(&CONNECTED, None));
}

#[test]
fn a_new_connection_compares() {
    let p = pending(INTRODUCING, INTRODUCING);
    assert_eq!(
        (p.conn, p.compare),
        (C::Connected, Some(Reason::NewConnection))
    );
    let no_uuids = Facts {
        have_peer_uuids: false,
        ..FACTS
    };
    let diskless = Facts {
        have_disk: false,
        ..FACTS
    };
    for f in [no_uuids, diskless] {
        match consider(&INTRODUCING, &INTRODUCING, D::UpToDate, &f) {
            Considered::Pending(p) => assert_eq!(p.compare, None),
            other => panic!("{other:?}"),
        }
    }
    let peer = State {
        disk: D::Diskless,
        ..INTRODUCING
    };
    assert_eq!(pending(INTRODUCING, peer).compare, None);
}

#[test]
fn a_disk_attached_while_connected_compares() {
    let own = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    assert_eq!(pending(own, CONNECTED).compare, Some(Reason::DiskAttached));
    let peer = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    assert_eq!(pending(CONNECTED, peer).compare, Some(Reason::DiskAttached));
    assert_eq!(pending(CONNECTED, CONNECTED).compare, None);
}

#[test]
fn a_disk_that_is_good_before_it_was_seen_to_negotiate_compares() {
    for pdsk in [D::Diskless, D::Attaching] {
        let own = State { pdsk, ..CONNECTED };
        let reason = pending(own, CONNECTED).compare;
        assert_eq!(reason, Some(Reason::DiskAttached), "{pdsk:?}");
    }
}

#[test]
fn a_forced_peer_compares() {
    let f = Facts {
        consider_resync: true,
        ..FACTS
    };
    match consider(&CONNECTED, &CONNECTED, D::UpToDate, &f) {
        Considered::Pending(p) => assert_eq!(p.compare, Some(Reason::PeerWasForced)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_sync_asked_for_compares() {
    for conn in [
        C::StartingSyncS,
        C::StartingSyncT,
        C::WfBitmapS,
        C::WfBitmapT,
    ] {
        let peer = State { conn, ..CONNECTED };
        assert_eq!(
            pending(CONNECTED, peer).compare,
            Some(Reason::FullSyncRequested)
        );
    }
}

#[test]
fn a_peer_that_prepares_a_sync_is_not_up_to_date_yet() {
    let own = State {
        conn: C::WfBitmapS,
        pdsk: D::Consistent,
        ..CONNECTED
    };
    let peer = State {
        conn: C::WfBitmapT,
        ..CONNECTED
    };
    assert_eq!(pending(own, peer).peer_disk, D::Inconsistent);
}

#[test]
fn a_peer_that_finished_the_resync_ends_it_here_when_nothing_is_left() {
    let own = State {
        conn: C::SyncSource,
        pdsk: D::Inconsistent,
        ..CONNECTED
    };
    assert_eq!(
        look(own, CONNECTED),
        Considered::PeerFinishedResync { finish: true }
    );
    let left = Facts {
        out_of_sync: 5,
        resync_failed: 4,
        ..FACTS
    };
    let ignored = Considered::PeerFinishedResync { finish: false };
    assert_eq!(consider(&own, &CONNECTED, D::UpToDate, &left), ignored);
    let failed = Facts {
        resync_failed: 5,
        ..left
    };
    let finished = Considered::PeerFinishedResync { finish: true };
    assert_eq!(consider(&own, &CONNECTED, D::UpToDate, &failed), finished);
}

#[test]
fn a_verify_that_the_peer_ended() {
    let own = State {
        conn: C::VerifyT,
        ..CONNECTED
    };
    assert_eq!(look(own, CONNECTED), Considered::VerifyFinished);
}

#[test]
fn a_peer_that_has_not_noticed_the_end_of_the_resync_is_up_to_date() {
    let peer = State {
        conn: C::SyncTarget,
        disk: D::Inconsistent,
        ..CONNECTED
    };
    assert_eq!(pending(CONNECTED, peer).peer_disk, D::UpToDate);
    let really = State {
        conn: C::Connected,
        ..peer
    };
    assert_eq!(pending(CONNECTED, really).peer_disk, D::Inconsistent);
}

#[test]
fn a_peer_that_ran_ahead_leaves_us_behind() {
    let peer = State {
        conn: C::Ahead,
        ..CONNECTED
    };
    assert_eq!(pending(CONNECTED, peer).conn, C::Behind);
}

#[test]
fn a_connection_is_established_softly_and_everything_later_is_a_fact() {
    let p = pending(INTRODUCING, INTRODUCING);
    let peer = State {
        role: Role::Primary,
        user_isp: true,
        ..INTRODUCING
    };
    let (new, how) = written(conclude(
        &INTRODUCING,
        &peer,
        &p,
        plan(C::WfBitmapT),
        &FACTS,
    ));
    assert_eq!(
        (new.conn, new.peer, new.pdsk),
        (C::WfBitmapT, Role::Primary, D::UpToDate)
    );
    assert!(new.peer_isp);
    assert_eq!(how, How::SOFT);
    let p = pending(CONNECTED, CONNECTED);
    let (_, how) = written(conclude(&CONNECTED, &CONNECTED, &p, None, &FACTS));
    assert_eq!(how, How::HARD);
}

#[test]
fn a_negotiating_disk_becomes_what_it_wanted_unless_it_is_a_target() {
    let own = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let p = pending(own, CONNECTED);
    let facts = Facts {
        negotiated_disk: D::Outdated,
        ..FACTS
    };
    for (conn, disk) in [
        (C::Connected, D::Outdated),
        (C::WfBitmapS, D::Outdated),
        (C::WfBitmapT, D::Negotiating),
    ] {
        let (new, _) = written(conclude(&own, &CONNECTED, &p, plan(conn), &facts));
        assert_eq!(new.disk, disk);
    }
}

#[test]
fn an_attach_follows_a_peer_that_has_just_corrected_itself_to_be_the_source() {
    let own = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let source = State {
        conn: C::WfBitmapS,
        ..CONNECTED
    };
    let p = pending(own, source);
    let after = |own: State, verdict| {
        let (new, _) = written(conclude(&own, &source, &p, verdict, &FACTS));
        (new.conn, new.disk)
    };
    let target = (C::WfBitmapT, D::Negotiating);
    assert_eq!(after(own, plan(C::Connected)), target);
    assert_eq!(after(own, plan(C::WfBitmapS)).0, C::WfBitmapS);
    let settled = (C::Connected, D::UpToDate);
    assert_eq!(after(CONNECTED, plan(C::Connected)), settled);
}

/// A state that the peer sent before it knew of our disk: nothing was compared, so ours may be the old one.
#[test]
fn a_negotiating_disk_waits_for_the_comparison() {
    let own = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let facts = Facts {
        have_peer_uuids: false,
        ..FACTS
    };
    let settled = |peer: State| {
        let Considered::Pending(p) = consider(&own, &peer, peer.disk, &facts) else {
            panic!();
        };
        assert_eq!(p.compare, None);
        written(conclude(&own, &peer, &p, None, &facts)).0.disk
    };
    assert_eq!(settled(CONNECTED), D::Negotiating);
    let diskless = State {
        disk: D::Diskless,
        ..CONNECTED
    };
    assert_eq!(settled(diskless), D::UpToDate);
}

/// A resync was aborted because its source lost the disk. That comes back, and the two find each other equal.
#[test]
fn an_outdated_disk_is_good_when_the_other_one_comes_back_equal() {
    let outdated = State {
        disk: D::Outdated,
        pdsk: D::Diskless,
        ..CONNECTED
    };
    let attaches = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let p = pending(outdated, attaches);
    let equal = conclude(&outdated, &attaches, &p, plan(C::Connected), &FACTS);
    assert_eq!(written(equal).0.disk, D::UpToDate);
    let behind = conclude(&outdated, &attaches, &p, plan(C::WfBitmapT), &FACTS);
    assert_eq!(written(behind).0.disk, D::Outdated);
    let p = pending(outdated, outdated);
    let nothing = conclude(&outdated, &outdated, &p, None, &FACTS);
    assert_eq!(written(nothing).0.disk, D::Outdated);
    // Seen from the other side.
    let p = pending(attaches, outdated);
    let equal = conclude(&attaches, &outdated, &p, plan(C::Connected), &FACTS);
    assert_eq!(written(equal).0.pdsk, D::UpToDate);
}

#[test]
fn a_disk_with_other_data_than_a_primary_has_seen_is_not_good_because_the_peers_is_gone() {
    let own = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let failed = State {
        disk: D::Failed,
        ..CONNECTED
    };
    let old = Facts {
        continues: false,
        ..FACTS
    };
    let p = pending(own, failed);
    assert_eq!(p.compare, None);
    let unseen = conclude(&own, &failed, &p, None, &old);
    assert_eq!(unseen, Conclusion::FailMyDisk);
    // As long as there are two, they are compared.
    let p = pending(own, CONNECTED);
    let compared = conclude(&own, &CONNECTED, &p, plan(C::Connected), &old);
    assert_eq!(written(compared).0.disk, D::UpToDate);
}

#[test]
fn data_that_does_not_fit_costs_the_attaching_disk_or_the_connection() {
    let refused = Some(Err(Refusal::Unrelated));
    let mine = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let p = pending(mine, CONNECTED);
    assert_eq!(
        conclude(&mine, &CONNECTED, &p, refused, &FACTS),
        Conclusion::FailMyDisk
    );
    let theirs = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let p = pending(CONNECTED, theirs);
    let conclusion = conclude(&CONNECTED, &theirs, &p, refused, &FACTS);
    match conclusion {
        Conclusion::Set {
            new,
            peer_attach_aborted,
            ..
        } => {
            assert!(peer_attach_aborted);
            assert_eq!((new.conn, new.pdsk), (C::Connected, D::Diskless));
        }
        other => panic!("{other:?}"),
    }
    let p = pending(INTRODUCING, INTRODUCING);
    let end = conclude(&INTRODUCING, &INTRODUCING, &p, refused, &FACTS);
    assert_eq!(end, Conclusion::Disconnect);
    let dry = Facts {
        dry_run: true,
        ..FACTS
    };
    let end = conclude(&INTRODUCING, &INTRODUCING, &p, refused, &dry);
    assert_eq!(end, Conclusion::EndDryRun);
}

#[test]
fn frozen_io_does_not_go_to_a_rebooted_peer() {
    let frozen = State {
        susp_fen: true,
        role: Role::Primary,
        ..INTRODUCING
    };
    let peer = State {
        disk: D::Consistent,
        ..INTRODUCING
    };
    let p = pending(frozen, peer);
    let due = Facts {
        new_generation_due: true,
        ..FACTS
    };
    let end = conclude(&frozen, &peer, &p, plan(C::Connected), &due);
    assert_eq!(end, Conclusion::AbortFrozen);
    let up_to_date = pending(frozen, INTRODUCING);
    let (new, _) = written(conclude(
        &frozen,
        &INTRODUCING,
        &up_to_date,
        plan(C::Connected),
        &due,
    ));
    assert_eq!(new.conn, C::Connected);
}

#[test]
fn what_may_have_got_lost_is_never_taken_for_equal() {
    let frozen = State {
        susp_fen: true,
        role: Role::Primary,
        ..INTRODUCING
    };
    let p = pending(frozen, INTRODUCING);
    let doubt = Facts {
        in_doubt: true,
        ..FACTS
    };
    let ends = |own: &State, found, facts: &Facts| conclude(own, &INTRODUCING, &p, found, facts);
    let end = ends(&frozen, plan(C::Connected), &doubt);
    assert_eq!(end, Conclusion::MeetAgain);
    // Also if the peer has no disk now: it may attach the one that lacks them.
    assert_eq!(ends(&frozen, None, &doubt), Conclusion::MeetAgain);
    for (own, found, facts) in [
        (frozen, plan(C::Connected), &FACTS),
        (frozen, plan(C::WfBitmapS), &doubt),
    ] {
        assert!(matches!(ends(&own, found, facts), Conclusion::Set { .. }));
    }
    // Nothing to send them from.
    let diskless = State {
        disk: D::Diskless,
        ..frozen
    };
    assert_ne!(ends(&diskless, None, &doubt), Conclusion::MeetAgain);
    // What this connection carries is on its way.
    let end = conclude(
        &CONNECTED,
        &CONNECTED,
        &pending(CONNECTED, CONNECTED),
        None,
        &doubt,
    );
    assert_ne!(end, Conclusion::MeetAgain);
}

#[test]
fn a_resync_that_only_we_want_is_announced() {
    let syncs = State {
        conn: C::WfBitmapS,
        ..CONNECTED
    };
    assert!(owes_answer(&CONNECTED, &syncs, &CONNECTED, false));
    assert!(!owes_answer(&INTRODUCING, &syncs, &CONNECTED, false));
    assert!(!owes_answer(&CONNECTED, &CONNECTED, &CONNECTED, false));
    let knows = State {
        conn: C::WfBitmapT,
        ..CONNECTED
    };
    assert!(!owes_answer(&CONNECTED, &syncs, &knows, false));
    let attaches = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    assert!(!owes_answer(&CONNECTED, &syncs, &attaches, false));
}

#[test]
fn a_peer_whose_attach_is_aborted_is_told_why() {
    let attaches = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let pending = Pending {
        peer_disk: D::Consistent,
        conn: C::Connected,
        compare: Some(Reason::DiskAttached),
    };
    let apart = Some(Err(Refusal::SplitBrain));
    let Conclusion::Set {
        new,
        peer_attach_aborted,
        ..
    } = conclude(&CONNECTED, &attaches, &pending, apart, &FACTS)
    else {
        panic!("the connection stays");
    };
    assert_eq!(new.pdsk, D::Diskless);
    // Without our generations it would negotiate for ever.
    assert!(owes_answer(
        &CONNECTED,
        &new,
        &attaches,
        peer_attach_aborted
    ));
}

#[test]
fn what_a_peer_was_about_to_do_with_a_disk_that_is_gone_compares_nothing() {
    let was_about_to = State {
        conn: C::WfBitmapT,
        disk: D::Outdated,
        ..CONNECTED
    };
    assert!(pending(CONNECTED, was_about_to).compare.is_some());
    let gone = State {
        pdsk: D::Failed,
        ..CONNECTED
    };
    assert_eq!(pending(gone, was_about_to).compare, None);
}

#[test]
fn a_disk_that_was_thought_gone_is_compared_before_it_is_used() {
    let gone = State {
        pdsk: D::Diskless,
        ..CONNECTED
    };
    let settled_alone = pending(gone, CONNECTED);
    assert_eq!(settled_alone.compare, Some(Reason::DiskAttached));
    let apart = Some(Err(Refusal::SplitBrain));
    let conclusion = conclude(&gone, &CONNECTED, &settled_alone, apart, &FACTS);
    assert_eq!(conclusion, Conclusion::Disconnect);
}

#[test]
fn a_disk_that_waits_for_the_resync_of_a_new_part_counts_until_that_begins() {
    let waits = State {
        conn: C::WfSyncUuid,
        disk: D::Outdated,
        ..CONNECTED
    };
    assert_eq!(pending(CONNECTED, waits).peer_disk, D::UpToDate);
    let verifies = State {
        conn: C::VerifyT,
        ..CONNECTED
    };
    let p = pending(verifies, waits);
    assert_eq!((p.conn, p.peer_disk), (C::Connected, D::UpToDate));
    // Of two copies one of which is not good, it is what the peer says.
    let mine_is_old = State {
        disk: D::Outdated,
        ..CONNECTED
    };
    assert_eq!(pending(mine_is_old, waits).peer_disk, D::Outdated);
    let outdated = State {
        conn: C::Connected,
        ..waits
    };
    assert_eq!(pending(CONNECTED, outdated).peer_disk, D::Outdated);
}

#[test]
fn a_primary_that_attaches_a_disk_keeps_the_data_that_it_works_with() {
    let attaching = |role| State {
        role,
        disk: D::Negotiating,
        ..CONNECTED
    };
    let serves = State {
        peer: Role::Primary,
        pdsk: D::Diskless,
        ..CONNECTED
    };
    let end = |own: State, peer: State, conn| {
        conclude(&own, &peer, &pending(own, peer), plan(conn), &FACTS)
    };
    // What the policy found is refused on both sides.
    let primary = attaching(Role::Primary);
    assert_eq!(
        end(primary, CONNECTED, C::WfBitmapS),
        Conclusion::FailMyDisk
    );
    let refused = end(serves, primary, C::WfBitmapT);
    let aborted = matches!(
        refused,
        Conclusion::Set {
            peer_attach_aborted: true,
            ..
        }
    );
    assert!(aborted);
    assert_eq!(written(refused).0.pdsk, D::Diskless);
    // The other way round, and that of a Secondary, it goes on.
    assert_eq!(
        written(end(primary, CONNECTED, C::WfBitmapT)).0.conn,
        C::WfBitmapT
    );
    assert_eq!(
        written(end(serves, primary, C::WfBitmapS)).0.conn,
        C::WfBitmapS
    );
    let secondary = attaching(Role::Secondary);
    assert_eq!(
        written(end(secondary, CONNECTED, C::WfBitmapS)).0.conn,
        C::WfBitmapS
    );
}
