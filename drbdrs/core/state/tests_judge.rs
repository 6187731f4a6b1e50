// SPDX-License-Identifier: GPL-2.0-only

//! Corrections, the verdict, and what states mean for the peer, I/O and metadata; properties over all states.

use super::tests_support::*;
use super::*;
use crate::config::choices::{Fencing, OnNoData};
use crate::meta::Flags;
use crate::types::{ConnState as C, DiskState as D, Role, State, StateRv};

fn fixed(old: State, wished: State) -> State {
    sanitize(old, wished, &CONF).0
}

// --- corrections

#[test]
fn a_lost_peer_is_unknown_except_that_its_old_data_stays_old() {
    let lost = State {
        conn: C::Timeout,
        peer_isp: true,
        ..PRIMARY
    };
    let s = fixed(PRIMARY, lost);
    assert_eq!(
        (s.peer, s.pdsk, s.peer_isp),
        (Role::Unknown, D::Unknown, false)
    );
    for known in [D::Inconsistent, D::Outdated] {
        let s = fixed(
            PRIMARY,
            State {
                pdsk: known,
                ..lost
            },
        );
        assert_eq!(s.pdsk, known);
    }
}

#[test]
fn an_unconfigured_volume_waits_for_nothing() {
    let s = fixed(
        UNCONFIGURED,
        State {
            aftr_isp: true,
            ..UNCONFIGURED
        },
    );
    assert!(!s.aftr_isp);
    assert!(
        fixed(
            ALONE,
            State {
                aftr_isp: true,
                ..ALONE
            }
        )
        .aftr_isp
    );
}

#[test]
fn a_failing_disk_ends_a_resync_or_verify() {
    let (s, w) = sanitize(
        SOURCE,
        State {
            disk: D::Failed,
            ..SOURCE
        },
        &CONF,
    );
    assert_eq!((s.conn, w), (C::Connected, Some(Warning::ResyncAborted)));
    let verify = State {
        conn: C::VerifyS,
        ..CONNECTED
    };
    let (s, w) = sanitize(
        verify,
        State {
            pdsk: D::Diskless,
            ..verify
        },
        &CONF,
    );
    assert_eq!((s.conn, w), (C::Connected, Some(Warning::VerifyAborted)));
}

#[test]
fn a_connection_lost_while_negotiating_settles_the_disk() {
    let old = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let lost = State {
        conn: C::NetworkFailure,
        ..old
    };
    let known = Negotiation::Known {
        disk: D::UpToDate,
        pdsk: D::Outdated,
    };
    let (s, w) = sanitize(
        old,
        lost,
        &Conf {
            negotiation: known,
            ..CONF
        },
    );
    assert_eq!((s.disk, s.pdsk, w), (D::UpToDate, D::Outdated, None));
    let other = Conf {
        negotiation: Negotiation::OtherGeneration,
        ..CONF
    };
    let (s, w) = sanitize(old, lost, &other);
    assert_eq!((s.disk, s.pdsk), (D::Diskless, D::Unknown));
    assert_eq!(w, Some(Warning::ConnectionLostWhileNegotiating));
}

#[test]
fn connecting_makes_consistent_and_outdated_disks_good() {
    let old = State {
        conn: C::WfReportParams,
        disk: D::Consistent,
        ..ALONE
    };
    let new = State {
        conn: C::Connected,
        pdsk: D::Outdated,
        ..old
    };
    let s = fixed(old, new);
    assert_eq!((s.disk, s.pdsk), (D::UpToDate, D::UpToDate));
}

#[test]
fn a_sync_target_is_inconsistent_and_its_source_good() {
    let s = fixed(
        CONNECTED,
        State {
            conn: C::SyncTarget,
            ..CONNECTED
        },
    );
    assert_eq!((s.disk, s.pdsk), (D::Inconsistent, D::UpToDate));
    let s = fixed(
        CONNECTED,
        State {
            conn: C::SyncSource,
            ..CONNECTED
        },
    );
    assert_eq!((s.disk, s.pdsk), (D::UpToDate, D::Inconsistent));
    // While bitmaps travel the target keeps what it has: it may still be called back.
    let s = fixed(
        CONNECTED,
        State {
            conn: C::WfBitmapT,
            ..CONNECTED
        },
    );
    assert_eq!(s.disk, D::Outdated);
}

#[test]
fn raising_a_disk_is_worth_a_warning() {
    let source = State {
        conn: C::WfBitmapS,
        disk: D::Inconsistent,
        ..CONNECTED
    };
    let (s, w) = sanitize(CONNECTED, source, &CONF);
    assert_eq!((s.disk, w), (D::UpToDate, Some(Warning::DiskUpgraded)));
    let behind = State {
        conn: C::SyncTarget,
        pdsk: D::Inconsistent,
        ..CONNECTED
    };
    let (s, w) = sanitize(CONNECTED, behind, &CONF);
    assert_eq!((s.pdsk, w), (D::UpToDate, Some(Warning::PeerDiskUpgraded)));
}

#[test]
fn a_primary_freezes_when_its_peer_must_be_fenced() {
    let conf = Conf {
        fencing: Fencing::ResourceAndStonith,
        ..CONF
    };
    let lost = State {
        conn: C::Timeout,
        ..PRIMARY
    };
    assert!(sanitize(PRIMARY, lost, &conf).0.susp_fen);
    let outdated = State {
        pdsk: D::Outdated,
        ..lost
    };
    assert!(!sanitize(PRIMARY, outdated, &conf).0.susp_fen);
    assert!(!sanitize(PRIMARY, lost, &CONF).0.susp_fen);
    let secondary = State {
        role: Role::Secondary,
        ..lost
    };
    assert!(!sanitize(CONNECTED, secondary, &conf).0.susp_fen);
    // Only the loss freezes: clearing the flag later must not set it again.
    let frozen = sanitize(PRIMARY, lost, &conf).0;
    assert!(
        !sanitize(
            frozen,
            State {
                susp_fen: false,
                ..frozen
            },
            &conf
        )
        .0
        .susp_fen
    );
}

#[test]
fn a_primary_freezes_when_it_loses_all_data() {
    let conf = Conf {
        on_no_data: OnNoData::SuspendIo,
        ..CONF
    };
    let diskless = State {
        disk: D::Diskless,
        ..PRIMARY
    };
    let lost = State {
        conn: C::Timeout,
        ..diskless
    };
    assert!(sanitize(diskless, lost, &conf).0.susp_nod);
    assert!(!sanitize(diskless, lost, &CONF).0.susp_nod);
    assert!(!sanitize(PRIMARY, diskless, &conf).0.susp_nod);
}

#[test]
fn anybodys_wish_pauses_a_resync_and_the_last_one_continues_it() {
    let paused = fixed(
        SOURCE,
        State {
            user_isp: true,
            ..SOURCE
        },
    );
    assert_eq!(paused.conn, C::PausedSyncS);
    let paused = fixed(
        paused,
        State {
            aftr_isp: true,
            user_isp: false,
            ..paused
        },
    );
    assert_eq!(paused.conn, C::PausedSyncS);
    assert_eq!(
        fixed(
            paused,
            State {
                aftr_isp: false,
                ..paused
            }
        )
        .conn,
        C::SyncSource
    );
    let paused = fixed(
        TARGET,
        State {
            peer_isp: true,
            ..TARGET
        },
    );
    assert_eq!(paused.conn, C::PausedSyncT);
}

/// A resync that continues keeps its disks as they are until the next change, as in 8.4; nothing else needs
/// a second round.
#[test]
fn a_corrected_state_is_correct() {
    for wished in all_states() {
        let (once, _) = sanitize(wished, wished, &CONF);
        let (twice, _) = sanitize(once, once, &CONF);
        assert!(once == twice || is_paused_resync(wished.conn), "{wished}");
        assert_eq!(sanitize(twice, twice, &CONF).0, twice, "{wished}");
    }
}

// --- the verdict

#[test]
fn a_fact_is_not_discussed() {
    let gone = State {
        conn: C::NetworkFailure,
        disk: D::Failed,
        ..PRIMARY
    };
    let accepted = judge(PRIMARY, gone, How::HARD, &CONF).unwrap();
    assert_eq!(
        (accepted.new.disk, accepted.new.pdsk),
        (D::Failed, D::Unknown)
    );
    assert_eq!(
        judge(PRIMARY, gone, How::SOFT, &CONF),
        Err(StateRv::NoUpToDateDisk)
    );
}

#[test]
fn nothing_to_do_after_corrections() {
    let s = fixed(
        ALONE,
        State {
            pdsk: D::UpToDate,
            ..ALONE
        },
    );
    assert_eq!(s, ALONE);
    let wished = State {
        pdsk: D::UpToDate,
        ..ALONE
    };
    assert_eq!(
        judge(ALONE, wished, How::SOFT, &CONF),
        Err(StateRv::NothingToDo)
    );
}

#[test]
fn an_invalid_state_may_move_on_if_it_was_invalid_before() {
    let conf = Conf {
        is_open: true,
        ..CONF
    };
    let lost = State {
        conn: C::Timeout,
        ..CONNECTED
    };
    assert_eq!(valid(&CONNECTED, &conf), StateRv::DeviceInUse);
    assert!(judge(CONNECTED, lost, How::SOFT, &conf).is_ok());
    assert_eq!(
        judge(PRIMARY, CONNECTED, How::SOFT, &conf),
        Err(StateRv::DeviceInUse)
    );
}

#[test]
fn a_primary_whose_only_disk_is_outdated_can_be_demoted() {
    let stuck = State {
        disk: D::Outdated,
        pdsk: D::Diskless,
        ..PRIMARY
    };
    let demoted = State {
        role: Role::Secondary,
        ..stuck
    };
    assert!(judge(stuck, demoted, How::SOFT, &CONF).is_ok());
    let open = Conf {
        is_open: true,
        ..CONF
    };
    assert_eq!(
        judge(stuck, demoted, How::SOFT, &open),
        Err(StateRv::DeviceInUse)
    );
    assert_eq!(
        judge(demoted, stuck, How::SOFT, &CONF),
        Err(StateRv::NoUpToDateDisk)
    );
}

#[test]
fn a_disk_too_bad_to_be_outdated_can_be_left_alone() {
    let old = State {
        disk: D::Inconsistent,
        ..ALONE
    };
    let leave = Change {
        conn: Some(C::Disconnecting),
        disk: Some(D::Outdated),
        ..Change::NONE
    };
    let how = How {
        ignore_outdate_failure: true,
        ..How::SOFT
    };
    let accepted = judge_in_connection(old, leave.apply(old), how, &CONF).unwrap();
    assert_eq!(
        (accepted.new.disk, accepted.new.conn),
        (D::Inconsistent, C::Disconnecting)
    );
    let plain = judge_in_connection(old, leave.apply(old), How::SOFT, &CONF);
    assert_eq!(plain, Err(StateRv::LowerThanOutdated));
}

#[test]
fn a_disk_that_negotiates_is_not_left_alone_when_the_peer_leaves() {
    let old = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let conf = Conf {
        negotiation: Negotiation::Known {
            disk: D::Outdated,
            pdsk: D::Unknown,
        },
        ..CONF
    };
    let leave = Change::conn(C::TearDown);
    let how = How {
        ignore_outdate_failure: true,
        ..How::SOFT
    };
    let accepted = judge_in_connection(old, leave.apply(old), how, &conf).unwrap();
    assert_eq!(accepted.new.disk, D::Outdated);
}

/// What the cluster as a whole relies on, over every pair of a valid state and a soft change of one field.
#[test]
fn soft_changes_of_one_field_lead_to_valid_states_only() {
    let changes = || {
        let roles = ROLES.into_iter().map(Change::role);
        let disks = all_disks().map(Change::disk);
        roles.chain(all_conns().map(Change::conn)).chain(disks)
    };
    for old in all_states().filter(|s| valid(s, &CONF) == StateRv::Success) {
        for change in changes() {
            if let Ok(accepted) = judge(old, change.apply(old), How::SOFT, &CONF) {
                let rv = valid(&accepted.new, &CONF);
                assert_eq!(rv, StateRv::Success, "{old} -> {}", accepted.new);
            }
        }
    }
}

// --- the peer's consent

#[test]
fn what_the_peer_is_asked() {
    let asked = |old: State, change: Change| needs_peer(&old, &change.apply(old));
    assert!(asked(CONNECTED, Change::role(Role::Primary)));
    assert!(!asked(PRIMARY, Change::role(Role::Secondary)));
    assert!(!asked(ALONE, Change::role(Role::Primary)));
    assert!(asked(CONNECTED, Change::conn(C::StartingSyncT)));
    assert!(asked(CONNECTED, Change::conn(C::StartingSyncS)));
    assert!(asked(CONNECTED, Change::conn(C::VerifyS)));
    assert!(!asked(SOURCE, Change::conn(C::VerifyS)));
    assert!(asked(CONNECTED, Change::conn(C::WfReportParams)));
    assert!(asked(CONNECTED, Change::disk(D::Failed)));
    assert!(!asked(ALONE, Change::disk(D::Failed)));
    assert!(asked(TARGET, Change::conn(C::Disconnecting)));
    assert!(!asked(ALONE, Change::conn(C::Disconnecting)));
    assert!(!asked(CONNECTED, Change::conn(C::Timeout)));
}

#[test]
fn a_connection_is_left_with_the_peers_consent() {
    assert!(connection_needs_peer(
        C::WfReportParams,
        Some(C::Disconnecting)
    ));
    assert!(!connection_needs_peer(
        C::WfConnection,
        Some(C::Disconnecting)
    ));
    assert!(!connection_needs_peer(C::WfReportParams, Some(C::Timeout)));
    assert!(!connection_needs_peer(C::WfReportParams, None));
}

#[test]
fn two_nodes_may_leave_each_other_at_once() {
    let leave = Change::conn(C::Disconnecting).seen_from_here().unwrap();
    let fenced = Change {
        disk: Some(D::Outdated),
        ..Change::conn(C::Disconnecting)
    };
    let fenced = fenced.seen_from_here().unwrap();
    for wish in [leave, fenced] {
        assert!(!collides(true, Pending::Leave, &wish));
        assert!(collides(true, Pending::Other, &wish));
        assert!(!collides(true, Pending::Nothing, &wish));
        assert!(!collides(false, Pending::Other, &wish));
    }
    let promote = Change {
        role: Some(Role::Primary),
        ..Change::NONE
    };
    let promote = promote.seen_from_here().unwrap();
    assert!(collides(true, Pending::Leave, &promote));
    assert!(!collides(false, Pending::Leave, &promote));
}

// --- volumes taken together

#[test]
fn extremes_over_volumes() {
    let c = combined(&[
        PRIMARY,
        TARGET,
        State {
            peer: Role::Unknown,
            ..SOURCE
        },
    ]);
    assert_eq!(
        (c.highest_role, c.highest_peer),
        (Role::Primary, Role::Secondary)
    );
    assert_eq!(
        (c.highest_disk, c.lowest_disk),
        (D::UpToDate, D::Inconsistent)
    );
    assert_eq!(
        (c.highest_pdsk, c.lowest_pdsk),
        (D::UpToDate, D::Inconsistent)
    );
    assert_eq!(
        (c.highest_conn, c.lowest_conn),
        (C::SyncTarget, Some(C::Connected))
    );
    assert_eq!(c.volumes, 3);
    assert!(!c.all_unconfigured && !c.any_suspended && !c.any_reports_params);
    let none = combined([]);
    assert_eq!(
        (none.highest_role, none.lowest_conn),
        (Role::Secondary, None)
    );
    assert!(none.all_unconfigured);
}

// --- I/O

#[test]
fn writes_are_replicated_where_the_peer_needs_them() {
    let conns_with = |pdsk: D, f: fn(&State) -> bool| {
        all_conns().filter(move |conn| {
            f(&State {
                conn: *conn,
                pdsk,
                ..CONNECTED
            })
        })
    };
    assert_eq!(conns_with(D::UpToDate, replicates).count(), 24);
    assert_eq!(conns_with(D::Diskless, replicates).count(), 0);
    let to_inconsistent: Vec<C> = conns_with(D::Inconsistent, replicates).collect();
    assert_eq!(
        to_inconsistent,
        [
            C::WfBitmapT,
            C::WfSyncUuid,
            C::SyncSource,
            C::SyncTarget,
            C::VerifyS,
            C::VerifyT,
            C::PausedSyncS,
            C::PausedSyncT
        ]
    );
    let told: Vec<C> = conns_with(D::Inconsistent, sends_out_of_sync).collect();
    assert_eq!(told, [C::WfBitmapS, C::Ahead]);
}

#[test]
fn a_write_is_never_both_replicated_and_marked() {
    for s in all_states() {
        let s = sanitize(s, s, &CONF).0;
        assert!(
            !(replicates(&s) && sends_out_of_sync(&s)) || s.pdsk == D::UpToDate,
            "{s}"
        );
    }
}

#[test]
fn new_io_waits_for_bitmaps_and_disks() {
    assert!(accepts_new_io(&CONNECTED, 101));
    assert!(!accepts_new_io(
        &State {
            conn: C::WfBitmapT,
            ..CONNECTED
        },
        101
    ));
    assert!(!accepts_new_io(
        &State {
            conn: C::WfSyncUuid,
            ..CONNECTED
        },
        101
    ));
    assert!(accepts_new_io(
        &State {
            conn: C::WfBitmapS,
            ..CONNECTED
        },
        96
    ));
    assert!(!accepts_new_io(
        &State {
            conn: C::WfBitmapS,
            ..CONNECTED
        },
        95
    ));
    assert!(!accepts_new_io(
        &State {
            disk: D::Negotiating,
            ..CONNECTED
        },
        101
    ));
    assert!(accepts_new_io(
        &State {
            disk: D::Failed,
            ..CONNECTED
        },
        101
    ));
}

// --- metadata

fn flags(all: &[Flags]) -> Flags {
    let mut flags = Flags::default();
    all.iter().for_each(|flag| flags.insert(*flag));
    flags
}

#[test]
fn attaching_reads_what_was_recorded() {
    let at = |f: Flags, fencing| attach(f, Role::Secondary, false, fencing);
    let clean = flags(&[Flags::CONSISTENT, Flags::WAS_UP_TO_DATE]);
    assert_eq!(at(clean, Fencing::DontCare).disk, D::UpToDate);
    assert_eq!(at(clean, Fencing::ResourceOnly).disk, D::Consistent);
    let peer_old = flags(&[clean, Flags::PEER_OUTDATED]);
    let a = at(peer_old, Fencing::ResourceOnly);
    assert_eq!((a.disk, a.pdsk), (D::UpToDate, Some(D::Outdated)));
    assert_eq!(at(Flags::CONSISTENT, Fencing::DontCare).disk, D::Outdated);
    assert_eq!(
        at(Flags::default(), Fencing::DontCare).disk,
        D::Inconsistent
    );
}

#[test]
fn attaching_notices_a_crash() {
    let crashed = flags(&[Flags::PRIMARY_IND, Flags::CONNECTED_IND]);
    let a = attach(crashed, Role::Secondary, false, Fencing::DontCare);
    assert!(a.crashed_primary && !a.use_degr_wfc_timeout && !a.set_whole_bitmap);
    let alone = flags(&[Flags::PRIMARY_IND, Flags::AL_DISABLED]);
    let a = attach(alone, Role::Secondary, false, Fencing::DontCare);
    assert!(a.use_degr_wfc_timeout && a.set_whole_bitmap);
    // A primary whose I/O is frozen re-attaches its own disk: that was no crash.
    assert!(!attach(crashed, Role::Primary, true, Fencing::DontCare).crashed_primary);
    let noted = flags(&[crashed, Flags::CRASHED_PRIMARY]);
    assert!(attach(noted, Role::Primary, true, Fencing::DontCare).crashed_primary);
    let a = attach(Flags::FULL_SYNC, Role::Secondary, false, Fencing::DontCare);
    assert!(a.set_whole_bitmap && !a.crashed_primary);
}

#[test]
fn the_recorded_flags_follow_the_state() {
    let old = flags(&[Flags::AL_DISABLED, Flags::FULL_SYNC, Flags::AL_CLEAN]);
    let all_well = flags(&[
        Flags::CONSISTENT,
        Flags::PRIMARY_IND,
        Flags::CONNECTED_IND,
        Flags::WAS_UP_TO_DATE,
        Flags::AL_DISABLED,
        Flags::FULL_SYNC,
    ]);
    assert_eq!(metadata_flags(old, &PRIMARY, false), all_well);
    let alone = State {
        pdsk: D::Outdated,
        conn: C::WfConnection,
        ..ALONE
    };
    let f = metadata_flags(old, &alone, true);
    assert!(f.contains(flags(&[Flags::PEER_OUTDATED, Flags::CRASHED_PRIMARY])));
    assert!(!f.contains(Flags::CONNECTED_IND) && !f.contains(Flags::PRIMARY_IND));
    let diskless_peer = State {
        peer: Role::Primary,
        pdsk: D::Diskless,
        ..CONNECTED
    };
    assert!(metadata_flags(old, &diskless_peer, false).contains(Flags::PRIMARY_IND));
    let f = metadata_flags(old, &TARGET, false);
    assert!(!f.contains(Flags::CONSISTENT) && !f.contains(Flags::WAS_UP_TO_DATE));
}

/// The source lost its disk before the target had got anything: what the target has is still the old version.
#[test]
fn an_aborted_resync_leaves_the_target_outdated() {
    let target = State {
        conn: C::WfBitmapT,
        peer: Role::Secondary,
        disk: D::Outdated,
        pdsk: D::UpToDate,
        ..State::NEW
    };
    let lost = Change {
        pdsk: Some(D::Failed),
        ..Change::NONE
    };
    let conf = Conf::UNCONFIGURED;
    let (new, _) = sanitize(target, lost.apply(target), &conf);
    assert_eq!((new.conn, new.disk), (C::Connected, D::Outdated));
    let gone = Change {
        pdsk: Some(D::Diskless),
        ..Change::NONE
    };
    assert_eq!(sanitize(new, gone.apply(new), &conf).0.disk, D::Outdated);
    let alone = gone.apply(new);
    let promoted = judge(
        alone,
        Change::role(Role::Primary).apply(alone),
        How::SOFT,
        &conf,
    );
    assert_eq!(promoted.err(), Some(StateRv::NoUpToDateDisk));
    let source = State {
        conn: C::WfBitmapS,
        disk: D::UpToDate,
        pdsk: D::Consistent,
        ..target
    };
    let failed = Change::disk(D::Failed);
    let (new, _) = sanitize(source, failed.apply(source), &conf);
    assert_eq!((new.conn, new.pdsk), (C::Connected, D::Consistent));
    // Nor does it become a good one by its own word that it is not.
    let told = Change {
        pdsk: Some(D::Outdated),
        ..Change::NONE
    };
    let diskless = State {
        disk: D::Diskless,
        ..sanitize(new, told.apply(new), &conf).0
    };
    assert_eq!(diskless.pdsk, D::Outdated);
    let promoted = Change::role(Role::Primary).apply(diskless);
    let refused = judge(diskless, promoted, How::SOFT, &conf).err();
    assert_eq!(refused, Some(StateRv::NoUpToDateDisk));
}
