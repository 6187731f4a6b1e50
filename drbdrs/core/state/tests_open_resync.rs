// SPDX-License-Identifier: GPL-2.0-only

//! A source that may not have heard of the end of its resync.

use super::tests_support::{CONNECTED, FACTS};
use super::*;
use crate::types::{ConnState as C, DiskState as D, Role, State};

const SOURCE: State = State {
    role: Role::Primary,
    conn: C::SyncSource,
    pdsk: D::Inconsistent,
    ..CONNECTED
};

fn effects(old: State, new: State, own: bool, open: bool) -> AfterList {
    let facts = AfterContext {
        has_own_generation: own,
        resync_is_open: open,
        now: new,
        lowest_conn: new.conn,
        ..FACTS
    };
    after_effects(&old, &new, &facts)
}

fn begins(old: State, new: State) -> bool {
    effects(old, new, false, true).contains(After::NewCurrentUuid)
}

#[test]
fn a_generation_begins_when_the_target_is_out_of_reach() {
    // What was Inconsistent stays so in the eyes of the other side.
    for pdsk in [D::Inconsistent, D::Unknown] {
        let gone = State {
            conn: C::BrokenPipe,
            pdsk,
            ..SOURCE
        };
        assert!(begins(SOURCE, gone));
        assert!(!effects(SOURCE, gone, true, false).contains(After::NewCurrentUuid));
        let secondary = |s| State {
            role: Role::Secondary,
            ..s
        };
        assert!(!begins(secondary(SOURCE), secondary(gone)));
    }
}

#[test]
fn a_target_whose_disk_goes_hears_of_the_generation_when_it_is_gone() {
    let of = |pdsk| State {
        conn: C::Connected,
        pdsk,
        ..SOURCE
    };
    let fails = effects(SOURCE, of(D::Failed), false, true);
    assert!(fails.contains(After::NewCurrentUuid) && !fails.contains(After::SendUuids));
    let gone = effects(of(D::Failed), of(D::Diskless), true, false);
    assert!(gone.contains(After::SendUuids) && !gone.contains(After::NewCurrentUuid));
}

#[test]
fn a_target_that_says_late_that_it_is_outdated_is_there() {
    let outdated = State {
        pdsk: D::Outdated,
        ..SOURCE
    };
    assert!(!begins(SOURCE, outdated) && !begins(outdated, SOURCE));
}

#[test]
fn a_target_that_is_out_of_reach_hears_of_no_resync() {
    assert!(target_hears_sync_uuid(&SOURCE));
    let gone = State {
        conn: C::BrokenPipe,
        ..SOURCE
    };
    assert!(!target_hears_sync_uuid(&gone));
    for pdsk in [D::Failed, D::Diskless] {
        let without = State {
            conn: C::Connected,
            pdsk,
            ..SOURCE
        };
        assert!(!target_hears_sync_uuid(&without), "{pdsk:?}");
    }
}
