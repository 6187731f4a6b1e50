// SPDX-License-Identifier: GPL-2.0-only

//! What is refused: one named test per rule.

use super::tests_support::*;
use super::*;
use crate::config::choices::Fencing;
use crate::types::{ConnState as C, DiskState as D, Role, State, StateRv};

fn soft(old: State, new: State) -> StateRv {
    soft_transition(&old, &new, &CONF)
}

// --- states that must not be

fn objection(s: State) -> StateRv {
    valid(&s, &CONF)
}

#[test]
fn one_primary_only() {
    let both = State {
        peer: Role::Primary,
        ..PRIMARY
    };
    assert_eq!(objection(both), StateRv::TwoPrimaries);
    let allowed = Some(NetRules {
        two_primaries: true,
        can_verify: true,
    });
    assert_eq!(
        valid(
            &both,
            &Conf {
                net: allowed,
                ..CONF
            }
        ),
        StateRv::Success
    );
    let other_volume = Conf {
        highest_peer: Role::Primary,
        ..CONF
    };
    assert_eq!(valid(&PRIMARY, &other_volume), StateRv::OVolPeerPri);
    assert_eq!(valid(&CONNECTED, &other_volume), StateRv::Success);
}

#[test]
fn an_open_device_stays_primary() {
    let conf = Conf {
        is_open: true,
        ..CONF
    };
    assert_eq!(valid(&CONNECTED, &conf), StateRv::DeviceInUse);
    assert_eq!(valid(&PRIMARY, &conf), StateRv::Success);
}

#[test]
fn a_primary_needs_good_data() {
    let alone = State {
        role: Role::Primary,
        ..ALONE
    };
    assert_eq!(objection(alone), StateRv::Success);
    for disk in all_disks().filter(|d| *d != D::UpToDate) {
        assert_eq!(objection(State { disk, ..alone }), StateRv::NoUpToDateDisk);
    }
    let diskless = State {
        disk: D::Diskless,
        ..PRIMARY
    };
    assert_eq!(objection(diskless), StateRv::Success);
    let neither = State {
        disk: D::Inconsistent,
        pdsk: D::Inconsistent,
        ..PRIMARY
    };
    assert_eq!(objection(neither), StateRv::NoUpToDateDisk);
    let none_good = State {
        disk: D::Consistent,
        pdsk: D::Inconsistent,
        ..PRIMARY
    };
    assert_eq!(objection(none_good), StateRv::NoUpToDateDisk);
}

#[test]
fn a_fencing_primary_needs_an_outdated_peer() {
    let conf = Conf {
        fencing: Fencing::ResourceOnly,
        ..CONF
    };
    let alone = State {
        role: Role::Primary,
        ..ALONE
    };
    assert_eq!(valid(&alone, &conf), StateRv::PrimaryNop);
    let outdated = State {
        pdsk: D::Outdated,
        ..alone
    };
    assert_eq!(valid(&outdated, &conf), StateRv::Success);
}

#[test]
fn a_resync_needs_both_disks_and_one_good() {
    assert_eq!(objection(SOURCE), StateRv::Success);
    assert_eq!(objection(TARGET), StateRv::Success);
    let no_disk = State {
        disk: D::Negotiating,
        ..SOURCE
    };
    assert_eq!(objection(no_disk), StateRv::NoLocalDisk);
    let no_peer_disk = State {
        pdsk: D::Failed,
        ..SOURCE
    };
    assert_eq!(objection(no_peer_disk), StateRv::NoRemoteDisk);
    let none_good = State {
        disk: D::Inconsistent,
        ..SOURCE
    };
    assert_eq!(objection(none_good), StateRv::NoUpToDateDisk);
}

#[test]
fn a_connected_disk_is_not_outdated() {
    let outdated = State {
        disk: D::Outdated,
        ..CONNECTED
    };
    assert_eq!(objection(outdated), StateRv::ConnectedOutdates);
    let unknown = State {
        pdsk: D::Unknown,
        ..CONNECTED
    };
    assert_eq!(objection(unknown), StateRv::ConnectedOutdates);
    let starting = State {
        conn: C::StartingSyncS,
        ..unknown
    };
    assert_eq!(objection(starting), StateRv::NeedConnection);
}

#[test]
fn a_verify_needs_an_algorithm_and_protocol_88() {
    let verify = State {
        conn: C::VerifyS,
        ..CONNECTED
    };
    assert_eq!(objection(verify), StateRv::Success);
    let none = Some(NetRules {
        two_primaries: false,
        can_verify: false,
    });
    assert_eq!(
        valid(&verify, &Conf { net: none, ..CONF }),
        StateRv::NoVerifyAlg
    );
    assert_eq!(
        valid(
            &verify,
            &Conf {
                version: 87,
                ..CONF
            }
        ),
        StateRv::NotSupported
    );
}

// --- transitions that must not be asked for

/// The peer's disk is no good, or ours.
fn one_bad(bad: D) -> [State; 2] {
    [
        State {
            pdsk: bad,
            ..CONNECTED
        },
        State {
            disk: bad,
            ..CONNECTED
        },
    ]
}

#[test]
fn a_full_sync_needs_a_good_source() {
    for bad in [D::Inconsistent, D::Outdated, D::Consistent] {
        let [theirs, ours] = one_bad(bad);
        for (old, conn) in [(theirs, C::StartingSyncT), (ours, C::StartingSyncS)] {
            assert_eq!(soft(old, State { conn, ..old }), StateRv::NoUpToDateDisk);
        }
        for (old, conn) in [(theirs, C::StartingSyncS), (ours, C::StartingSyncT)] {
            assert_eq!(soft(old, State { conn, ..old }), StateRv::Success);
        }
    }
}

#[test]
fn a_verify_needs_two_good_disks() {
    for bad in [D::Inconsistent, D::Outdated, D::Consistent, D::Negotiating] {
        for old in one_bad(bad) {
            for conn in [C::VerifyS, C::VerifyT] {
                // What `sanitize` would make of it.
                let new = State { conn, ..CONNECTED };
                assert_eq!(soft(old, new), StateRv::NoUpToDateDisk);
            }
        }
    }
    let stops = State {
        conn: C::VerifyS,
        ..CONNECTED
    };
    assert_eq!(soft(stops, CONNECTED), StateRv::Success);
}

#[test]
fn full_sync_and_verify_need_a_quiet_connection() {
    for start in [C::StartingSyncS, C::StartingSyncT, C::VerifyS] {
        let rv = soft(
            SOURCE,
            State {
                conn: start,
                ..SOURCE
            },
        );
        assert_eq!(rv, StateRv::ResyncRunning);
        let rv = soft(
            ALONE,
            State {
                conn: start,
                ..ALONE
            },
        );
        assert_eq!(rv, StateRv::NeedConnection);
        let rv = soft(
            CONNECTED,
            State {
                conn: start,
                ..CONNECTED
            },
        );
        assert_eq!(rv, StateRv::Success);
    }
}

#[test]
fn disconnecting_twice_or_in_between() {
    let leave = |old: State| {
        soft(
            old,
            State {
                conn: C::Disconnecting,
                ..old
            },
        )
    };
    assert_eq!(leave(UNCONFIGURED), StateRv::AlreadyStandalone);
    assert_eq!(
        leave(State {
            conn: C::Unconnected,
            ..ALONE
        }),
        StateRv::InTransientState
    );
    assert_eq!(leave(CONNECTED), StateRv::Success);
}

#[test]
fn a_disk_cannot_become_better_without_being_attached() {
    let diskless = State {
        disk: D::Diskless,
        ..CONNECTED
    };
    assert_eq!(soft(diskless, CONNECTED), StateRv::IsDiskless);
    let attaching = State {
        disk: D::Attaching,
        ..CONNECTED
    };
    assert_eq!(soft(diskless, attaching), StateRv::Success);
}

#[test]
fn connecting_needs_a_configuration() {
    let waits = State {
        conn: C::WfConnection,
        ..UNCONFIGURED
    };
    assert_eq!(soft(UNCONFIGURED, waits), StateRv::NoNetConfig);
}

#[test]
fn only_better_disks_can_be_outdated() {
    let outdated = |disk| {
        let old = State { disk, ..ALONE };
        soft(
            old,
            State {
                disk: D::Outdated,
                ..old
            },
        )
    };
    assert_eq!(outdated(D::Inconsistent), StateRv::LowerThanOutdated);
    assert_eq!(outdated(D::Consistent), StateRv::Success);
    assert_eq!(outdated(D::Attaching), StateRv::Success);
}

#[test]
fn nothing_else_changes_while_the_two_introduce_each_other() {
    let conf = Conf {
        state_sent: true,
        ..CONF
    };
    let old = State {
        conn: C::WfReportParams,
        ..ALONE
    };
    let promote = State {
        role: Role::Primary,
        ..old
    };
    assert_eq!(
        soft_transition(&old, &promote, &conf),
        StateRv::InTransientState
    );
    assert_eq!(soft_transition(&old, &CONNECTED, &conf), StateRv::Success);
    let waits = State {
        conn: C::WfConnection,
        ..ALONE
    };
    assert_eq!(soft_transition(&waits, &old, &conf), StateRv::Success);
    assert_eq!(soft(old, promote), StateRv::Success);
}

#[test]
fn no_promotion_while_a_forced_primary_is_about_to_sync_us() {
    let inconsistent = State {
        disk: D::Inconsistent,
        ..CONNECTED
    };
    let promoted = State {
        role: Role::Primary,
        ..inconsistent
    };
    assert_eq!(soft(inconsistent, promoted), StateRv::InTransientState);
    let target = State {
        role: Role::Primary,
        ..TARGET
    };
    assert_eq!(soft(TARGET, target), StateRv::Success);
    let diskless = State {
        disk: D::Diskless,
        ..CONNECTED
    };
    assert_eq!(
        soft(
            diskless,
            State {
                role: Role::Primary,
                ..diskless
            }
        ),
        StateRv::Success
    );
}

#[test]
fn a_resync_needs_a_socket() {
    assert_eq!(
        soft(
            ALONE,
            State {
                conn: C::SyncTarget,
                ..ALONE
            }
        ),
        StateRv::NeedConnection
    );
}

#[test]
fn a_peer_is_not_outdated_while_leaving_without_a_connection() {
    let leaving = State {
        conn: C::Disconnecting,
        pdsk: D::Outdated,
        ..ALONE
    };
    assert_eq!(soft(ALONE, leaving), StateRv::OutdateWoConn);
    let known = State {
        pdsk: D::Outdated,
        ..ALONE
    };
    assert_eq!(soft(known, leaving), StateRv::Success);
}

#[test]
fn the_steps_of_a_connection() {
    let step = connection_transition;
    assert_eq!(step(C::StandAlone, C::StandAlone), StateRv::NothingToDo);
    assert_eq!(
        step(C::StandAlone, C::Disconnecting),
        StateRv::AlreadyStandalone
    );
    assert_eq!(
        step(C::StandAlone, C::WfConnection),
        StateRv::NeedConnection
    );
    assert_eq!(step(C::StandAlone, C::Unconnected), StateRv::Success);
    assert_eq!(
        step(C::WfConnection, C::StartingSyncS),
        StateRv::NeedConnection
    );
    assert_eq!(step(C::Timeout, C::BrokenPipe), StateRv::InTransientState);
    assert_eq!(step(C::Timeout, C::Unconnected), StateRv::Success);
    assert_eq!(
        step(C::Disconnecting, C::Timeout),
        StateRv::InTransientState
    );
    assert_eq!(step(C::Disconnecting, C::StandAlone), StateRv::Success);
    assert_eq!(step(C::Connected, C::NetworkFailure), StateRv::Success);
}

#[test]
fn a_detached_disk_cannot_fail() {
    let diskless = State {
        disk: D::Diskless,
        ..CONNECTED
    };
    let failed = State {
        disk: D::Failed,
        ..CONNECTED
    };
    assert_eq!(transition(&diskless, &failed), StateRv::IsDiskless);
    assert_eq!(
        judge(diskless, failed, How::HARD, &CONF),
        Err(StateRv::IsDiskless)
    );
}

/// A forced promotion that waited for its turn says so of the disk that it has seen before.
#[test]
fn a_disk_that_has_failed_is_not_called_good() {
    let failed = State {
        disk: D::Failed,
        ..CONNECTED
    };
    let forced = State {
        disk: D::UpToDate,
        role: Role::Primary,
        ..failed
    };
    let refused = judge(failed, forced, How::SOFT, &CONF).err();
    assert_eq!(refused, Some(StateRv::IsDiskless));
    let gone = State {
        disk: D::Diskless,
        ..failed
    };
    assert!(judge(failed, gone, How::SOFT, &CONF).is_ok());
}
