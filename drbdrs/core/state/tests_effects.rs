// SPDX-License-Identifier: GPL-2.0-only

//! What follows from a change: one named test per rule, and bounds over all changes.

use super::tests_support::*;
use super::*;
use crate::types::{ConnState as C, DiskState as D, Role, State};

const NOW: NowContext = NowContext {
    has_disk: true,
    others_report_params: false,
};

fn now(old: State, new: State) -> NowList {
    now_effects(&old, &new, &NOW)
}

fn after(old: State, new: State) -> AfterList {
    after_with(
        old,
        new,
        AfterContext {
            now: new,
            lowest_conn: new.conn,
            ..FACTS
        },
    )
}

fn after_with(old: State, new: State, facts: AfterContext) -> AfterList {
    after_effects(&old, &new, &facts)
}

/// Position of an effect; fails if it is missing.
fn at(list: &AfterList, effect: After) -> usize {
    match list.iter().position(|e| e == effect) {
        Some(position) => position,
        None => panic!(
            "{effect:?} is missing in {:?}",
            list.iter().collect::<Vec<_>>()
        ),
    }
}

fn count(list: &AfterList, effect: After) -> usize {
    list.iter().filter(|e| *e == effect).count()
}

// --- under the lock

#[test]
fn a_disk_is_held_until_its_detach_is_handled() {
    let failed = State {
        disk: D::Failed,
        ..CONNECTED
    };
    let gone = State {
        disk: D::Diskless,
        ..CONNECTED
    };
    for (old, new) in [(CONNECTED, failed), (failed, gone), (CONNECTED, gone)] {
        assert!(now(old, new).contains(Now::HoldDisk));
        assert_eq!(count(&after(old, new), After::ReleaseDisk), 1);
    }
    assert!(!now(gone, CONNECTED).contains(Now::HoldDisk));
}

#[test]
fn every_hold_has_its_release() {
    for old_disk in all_disks() {
        for new_disk in all_disks() {
            let old = State {
                disk: old_disk,
                ..CONNECTED
            };
            let new = State {
                disk: new_disk,
                ..CONNECTED
            };
            let held = now(old, new).contains(Now::HoldDisk);
            let list = after_with(
                old,
                new,
                AfterContext {
                    backing_open: false,
                    ..FACTS
                },
            );
            assert_eq!(count(&list, After::ReleaseDisk), usize::from(held));
        }
    }
}

#[test]
fn the_epoch_closes_when_replication_starts_or_stops() {
    let lost = State {
        conn: C::Timeout,
        pdsk: D::Unknown,
        ..CONNECTED
    };
    assert!(now(CONNECTED, lost).contains(Now::StartEpoch));
    assert!(now(lost, CONNECTED).contains(Now::StartEpoch));
    assert!(!now(CONNECTED, PRIMARY).contains(Now::StartEpoch));
}

#[test]
fn what_nothing_confirmed_is_marked_before_the_bitmap_travels() {
    let reports = State {
        conn: C::WfReportParams,
        ..ALONE
    };
    let of = |conn| State { conn, ..CONNECTED };
    for conn in [C::WfBitmapS, C::WfBitmapT] {
        assert!(now(reports, of(conn)).contains(Now::MarkUnconfirmed));
        // What is under way on this connection will be answered.
        assert!(!now(CONNECTED, of(conn)).contains(Now::MarkUnconfirmed));
    }
    assert!(!now(reports, CONNECTED).contains(Now::MarkUnconfirmed));
}

#[test]
fn role_changes_go_on_when_the_last_volume_was_told() {
    let old = State {
        conn: C::WfReportParams,
        ..ALONE
    };
    assert!(now(old, CONNECTED).contains(Now::ForgetStateSent));
    let others = NowContext {
        others_report_params: true,
        ..NOW
    };
    assert!(!now_effects(&old, &CONNECTED, &others).contains(Now::ForgetStateSent));
}

#[test]
fn pausing_and_continuing() {
    let paused = State {
        conn: C::PausedSyncT,
        ..TARGET
    };
    assert!(now(TARGET, paused).contains(Now::PauseResync));
    assert!(now(paused, TARGET).contains(Now::ContinueResync { as_target: true }));
    let paused = State {
        conn: C::PausedSyncS,
        ..SOURCE
    };
    assert!(now(paused, SOURCE).contains(Now::ContinueResync { as_target: false }));
}

#[test]
fn a_verify_is_set_up_and_its_position_kept() {
    let verify = State {
        conn: C::VerifyS,
        ..CONNECTED
    };
    assert!(now(CONNECTED, verify).contains(Now::StartVerify { as_source: true }));
    assert!(now(verify, CONNECTED).contains(Now::KeepVerifyPosition));
    let lost = State {
        conn: C::Timeout,
        ..CONNECTED
    };
    assert!(now(verify, lost).contains(Now::KeepVerifyPosition));
}

#[test]
fn metadata_is_touched_only_with_a_disk() {
    assert!(now(CONNECTED, PRIMARY).contains(Now::UpdateMetadataFlags));
    let without = NowContext {
        has_disk: false,
        ..NOW
    };
    assert!(!now_effects(&CONNECTED, &PRIMARY, &without).contains(Now::UpdateMetadataFlags));
}

#[test]
fn usable_data_becomes_the_generation_in_use() {
    assert!(now(TARGET, CONNECTED).contains(Now::AdoptLocalGeneration));
    assert!(!now(CONNECTED, PRIMARY).contains(Now::AdoptLocalGeneration));
}

#[test]
fn who_loses_the_disk_works_with_the_peers_generation() {
    let lost = |pdsk| State {
        disk: D::Failed,
        pdsk,
        ..PRIMARY
    };
    assert!(now(PRIMARY, lost(D::UpToDate)).contains(Now::AdoptPeerGeneration));
    assert!(!now(PRIMARY, lost(D::Inconsistent)).contains(Now::AdoptPeerGeneration));
    let diskless = |conn| State {
        conn,
        disk: D::Diskless,
        pdsk: match conn {
            C::Connected => D::UpToDate,
            _ => D::Unknown,
        },
        ..State::NEW
    };
    let met = now(diskless(C::WfReportParams), diskless(C::Connected));
    assert!(met.contains(Now::AdoptPeerGeneration));
    let alone = now(diskless(C::Unconnected), diskless(C::WfConnection));
    assert!(!alone.contains(Now::AdoptPeerGeneration));
}

#[test]
fn a_peer_forced_primary_is_looked_at_again() {
    let old = State {
        disk: D::Inconsistent,
        pdsk: D::Inconsistent,
        ..CONNECTED
    };
    let new = State {
        peer: Role::Primary,
        pdsk: D::UpToDate,
        ..old
    };
    assert!(now(old, new).contains(Now::ConsiderResync));
    assert!(!now(
        CONNECTED,
        State {
            peer: Role::Primary,
            ..CONNECTED
        }
    )
    .contains(Now::ConsiderResync));
}

#[test]
fn the_receiver_is_stopped_or_restarted() {
    let leaving = State {
        conn: C::Disconnecting,
        ..ALONE
    };
    let left = State {
        conn: C::StandAlone,
        ..ALONE
    };
    let failed = State {
        conn: C::BrokenPipe,
        ..ALONE
    };
    assert!(now(CONNECTED, leaving).contains(Now::StopReceiver));
    assert!(now(leaving, left).contains(Now::StopReceiver));
    assert!(now(CONNECTED, failed).contains(Now::RestartReceiver));
    let waiting = State {
        conn: C::WfConnection,
        ..ALONE
    };
    assert!(!now(waiting, failed).contains(Now::RestartReceiver));
}

#[test]
fn milestones_are_noted() {
    let reports = State {
        conn: C::WfReportParams,
        ..ALONE
    };
    assert!(now(reports, CONNECTED).contains(Now::Established));
    let negotiates = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    assert!(now(negotiates, CONNECTED).contains(Now::NoteAttach));
    let attaching = State {
        disk: D::Attaching,
        ..CONNECTED
    };
    assert!(now(attaching, negotiates).contains(Now::LogUuids));
    assert!(!now(attaching, negotiates).contains(Now::NoteAttach));
}

// --- in the worker

#[test]
fn user_space_hears_of_every_change_and_metadata_is_synced_last() {
    for new in all_states() {
        let list = after(CONNECTED, new);
        assert_eq!(count(&list, After::EmitEvents), 1);
        assert_eq!(list.iter().last(), Some(After::SyncMetadata));
    }
}

#[test]
fn two_good_disks_forget_a_crash_before_the_events() {
    let list = after(TARGET, CONNECTED);
    assert!(at(&list, After::ForgetCrash) < at(&list, After::EmitEvents));
    assert_eq!(count(&after(CONNECTED, PRIMARY), After::ForgetCrash), 0);
}

#[test]
fn a_primary_that_lost_its_data_calls_for_help() {
    let lost = State {
        disk: D::Failed,
        pdsk: D::Unknown,
        conn: C::Timeout,
        ..PRIMARY
    };
    let help = After::CallHelper(Helper::PriOnInconDegr);
    assert_eq!(count(&after(PRIMARY, lost), help), 1);
    assert_eq!(
        count(
            &after(
                lost,
                State {
                    disk: D::Diskless,
                    ..lost
                }
            ),
            help
        ),
        0
    );
}

#[test]
fn frozen_io_resumes_when_data_is_back() {
    let frozen = State {
        susp_nod: true,
        role: Role::Primary,
        ..ALONE
    };
    let old = State {
        disk: D::Diskless,
        conn: C::WfReportParams,
        ..frozen
    };
    let new = State {
        conn: C::Connected,
        pdsk: D::UpToDate,
        ..old
    };
    assert_eq!(count(&after(old, new), After::ThawNoData(Io::Resend)), 1);
    let facts = AfterContext {
        now: new,
        lowest_conn: C::WfReportParams,
        ..FACTS
    };
    let list = after_with(old, new, facts);
    assert_eq!(
        count(&list, After::ThawNoData(Io::Resend)),
        0,
        "another volume is not there yet"
    );
    let attaching = State {
        disk: D::Attaching,
        ..frozen
    };
    let list = after(attaching, frozen);
    assert_eq!(count(&list, After::ThawNoData(Io::RestartLocal)), 1);
    let thawed = AfterContext {
        now: ALONE,
        ..FACTS
    };
    let list = after_with(attaching, frozen, thawed);
    assert_eq!(
        count(&list, After::ThawNoData(Io::RestartLocal)),
        0,
        "thawed already"
    );
}

#[test]
fn io_frozen_for_fencing_resumes_when_the_peer_is_back() {
    let old = State {
        conn: C::WfReportParams,
        susp_fen: true,
        ..ALONE
    };
    let new = State {
        susp_fen: true,
        ..CONNECTED
    };
    assert_eq!(count(&after(old, new), After::ThawFencing), 1);
    let facts = AfterContext {
        now: new,
        lowest_conn: C::WfConnection,
        ..FACTS
    };
    assert_eq!(count(&after_with(old, new, facts), After::ThawFencing), 0);
}

#[test]
fn the_source_sends_the_sync_uuid_before_any_state() {
    let waits = State {
        conn: C::WfBitmapS,
        ..CONNECTED
    };
    let paused = State {
        conn: C::PausedSyncS,
        aftr_isp: true,
        ..SOURCE
    };
    let list = after(waits, paused);
    assert!(at(&list, After::SendSyncUuid) < at(&list, After::SendState));
    assert_eq!(count(&after(paused, SOURCE), After::SendSyncUuid), 0);
    let old = AfterContext {
        version: 95,
        now: SOURCE,
        ..FACTS
    };
    assert_eq!(
        count(&after_with(waits, SOURCE, old), After::SendSyncUuid),
        0
    );
}

#[test]
fn a_disk_that_the_peer_attached_is_met_with_uuids_then_state() {
    let old = State {
        pdsk: D::Diskless,
        ..CONNECTED
    };
    let new = State {
        pdsk: D::Negotiating,
        ..CONNECTED
    };
    let list = after(old, new);
    let order = [After::ResetResync, After::SendUuids, After::SendState].map(|e| at(&list, e));
    assert!(order[0] < order[1] && order[1] < order[2]);
    // The connection came up while it was attaching: what was said then does not count for the new disk.
    let attaching = State {
        pdsk: D::Attaching,
        ..CONNECTED
    };
    assert_eq!(count(&after(attaching, new), After::SendUuids), 1);
    let lost = State {
        pdsk: D::Unknown,
        conn: C::Timeout,
        ..CONNECTED
    };
    assert_eq!(count(&after(old, lost), After::ResetResync), 0);
}

#[test]
fn the_source_sends_its_bitmap_unless_the_connection_is_gone_again() {
    let new = State {
        conn: C::WfBitmapS,
        ..CONNECTED
    };
    assert_eq!(count(&after(CONNECTED, new), After::SendBitmap), 1);
    let gone = AfterContext {
        now: ALONE,
        ..FACTS
    };
    assert_eq!(
        count(&after_with(CONNECTED, new, gone), After::SendBitmap),
        0
    );
    let target = State {
        conn: C::WfBitmapT,
        ..CONNECTED
    };
    assert_eq!(count(&after(CONNECTED, target), After::SendBitmap), 0);
}

#[test]
fn a_primary_that_lost_the_peers_data_starts_a_generation() {
    let lost = State {
        conn: C::Timeout,
        pdsk: D::Unknown,
        peer: Role::Unknown,
        ..PRIMARY
    };
    let list = after(PRIMARY, lost);
    assert!(at(&list, After::NewCurrentUuid) < at(&list, After::SendUuids));
    let counts = AfterContext {
        has_own_generation: true,
        now: lost,
        ..FACTS
    };
    assert_eq!(
        count(&after_with(PRIMARY, lost, counts), After::NewCurrentUuid),
        0
    );
    let no_disk = AfterContext {
        has_disk: false,
        now: lost,
        ..FACTS
    };
    assert_eq!(
        count(&after_with(PRIMARY, lost, no_disk), After::NewCurrentUuid),
        0
    );
    let secondary = State {
        role: Role::Secondary,
        ..lost
    };
    assert_eq!(
        count(&after(CONNECTED, secondary), After::NewCurrentUuid),
        0
    );
}

#[test]
fn while_io_is_frozen_the_generation_waits() {
    let frozen = State {
        susp_fen: true,
        conn: C::Timeout,
        pdsk: D::Unknown,
        ..PRIMARY
    };
    let list = after(PRIMARY, frozen);
    assert_eq!(count(&list, After::NewCurrentUuidLater), 1);
    assert_eq!(count(&list, After::NewCurrentUuid), 0);
}

#[test]
fn a_peer_that_comes_back_without_its_disk_counts_as_lost_data() {
    let old = State {
        pdsk: D::Unknown,
        ..PRIMARY
    };
    let new = State {
        pdsk: D::Diskless,
        ..PRIMARY
    };
    assert_eq!(count(&after(old, new), After::NewCurrentUuid), 1);
    let outdated = State {
        pdsk: D::Outdated,
        ..PRIMARY
    };
    assert_eq!(
        count(&after(outdated, new), After::NewCurrentUuid),
        0,
        "it was old already"
    );
}

#[test]
fn a_diskless_peer_that_becomes_primary_starts_a_generation_here_once() {
    let old = State {
        pdsk: D::Diskless,
        ..CONNECTED
    };
    let new = State {
        peer: Role::Primary,
        ..old
    };
    let list = after(old, new);
    assert_eq!(count(&list, After::NewCurrentUuid), 1);
    assert!(at(&list, After::NewCurrentUuid) < at(&list, After::SendUuids));
    let both = State {
        pdsk: D::UpToDate,
        ..CONNECTED
    };
    assert_eq!(
        count(&after(both, new), After::NewCurrentUuid),
        1,
        "lost and promoted at once"
    );
    let write = After::WriteBitmap(BitmapWrite::DisklessPeerDemoted);
    assert_eq!(count(&after(new, old), write), 1);
}

#[test]
fn a_demoted_node_writes_its_bitmap() {
    let write = After::WriteBitmap(BitmapWrite::Demoted);
    assert_eq!(count(&after(PRIMARY, CONNECTED), write), 1);
    // Also when a resync has begun meanwhile: nothing else remembers what was written as a Primary.
    let syncing = AfterContext {
        now: SOURCE,
        ..FACTS
    };
    assert_eq!(count(&after_with(PRIMARY, CONNECTED, syncing), write), 1);
}

#[test]
fn a_disk_attached_while_connected_introduces_itself() {
    let old = State {
        disk: D::Attaching,
        ..CONNECTED
    };
    let new = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let list = after(old, new);
    let order = [After::SendSizes, After::SendUuids, After::SendState].map(|e| at(&list, e));
    assert!(order[0] < order[1] && order[1] < order[2]);
}

#[test]
fn pauses_are_told_to_the_peer_and_to_other_devices() {
    let paused = State {
        conn: C::PausedSyncS,
        user_isp: true,
        ..SOURCE
    };
    let list = after(SOURCE, paused);
    assert_eq!(
        (
            count(&list, After::SendState),
            count(&list, After::PauseDependent)
        ),
        (1, 1)
    );
    let list = after(paused, SOURCE);
    assert_eq!(
        (
            count(&list, After::SendState),
            count(&list, After::ResumeDependent)
        ),
        (1, 1)
    );
    let by_peer = State {
        conn: C::PausedSyncS,
        peer_isp: true,
        ..SOURCE
    };
    assert_eq!(
        count(&after(SOURCE, by_peer), After::SendState),
        0,
        "the peer knows"
    );
}

#[test]
fn the_peer_hears_our_state_once_introduced() {
    let old = State {
        conn: C::WfReportParams,
        ..ALONE
    };
    assert_eq!(count(&after(old, CONNECTED), After::SendState), 1);
    let ahead = State {
        conn: C::Ahead,
        ..CONNECTED
    };
    assert_eq!(count(&after(CONNECTED, ahead), After::SendState), 1);
}

#[test]
fn a_full_sync_starts_with_the_whole_bitmap() {
    for conn in [C::StartingSyncS, C::StartingSyncT] {
        let list = after(CONNECTED, State { conn, ..CONNECTED });
        assert_eq!(count(&list, After::StartFullSync), 1);
    }
}

#[test]
fn a_failed_disk_calls_the_helper_first_and_lets_go_last() {
    let failed = State {
        disk: D::Failed,
        ..CONNECTED
    };
    let facts = AfterContext {
        call_local_io_error: true,
        force_detach: true,
        now: failed,
        ..FACTS
    };
    let list = after_with(CONNECTED, failed, facts);
    let order = [
        After::CallHelper(Helper::LocalIoError),
        After::AbortLocalIo,
        After::SendState,
        After::CancelResync,
        After::ReleaseDisk,
    ]
    .map(|e| at(&list, e));
    assert!(order.windows(2).all(|w| w[0] < w[1]), "{order:?}");
    let plain = after(CONNECTED, failed);
    assert_eq!(
        count(&plain, After::AbortLocalIo),
        0,
        "only a forced detach aborts"
    );
}

#[test]
fn an_error_that_is_passed_on_is_told_to_the_peer() {
    let new = State {
        disk: D::Inconsistent,
        ..CONNECTED
    };
    assert_eq!(count(&after(CONNECTED, new), After::SendState), 1);
}

#[test]
fn a_disk_that_grew_is_synced_where_both_are_there() {
    let old = State {
        disk: D::Negotiating,
        ..CONNECTED
    };
    let grown = AfterContext {
        grown_while_away: true,
        ..FACTS
    };
    assert_eq!(
        count(&after_with(old, CONNECTED, grown), After::SyncGrownPart),
        1
    );
    let diskless = State {
        pdsk: D::Diskless,
        ..CONNECTED
    };
    assert_eq!(
        count(&after_with(old, diskless, grown), After::SyncGrownPart),
        0
    );
    let lacking = State {
        disk: D::Inconsistent,
        ..CONNECTED
    };
    assert_eq!(
        count(&after_with(old, lacking, grown), After::SyncGrownPart),
        0
    );
}

#[test]
fn the_end_of_a_resync_is_told_and_written() {
    let list = after(TARGET, CONNECTED);
    assert_eq!(count(&list, After::SendState), 1);
    assert_eq!(count(&list, After::ResumeDependent), 1);
    assert_eq!(
        count(&list, After::WriteBitmap(BitmapWrite::ResyncEnded)),
        1
    );
    let list = after(SOURCE, CONNECTED);
    assert_eq!(
        count(&list, After::SendState),
        0,
        "the target tells, not the source"
    );
}

#[test]
fn a_finished_verify_is_told_if_the_stop_sector_is_known() {
    let verify = State {
        conn: C::VerifyS,
        ..CONNECTED
    };
    let stop = AfterContext {
        verify_stop_sector: true,
        ..FACTS
    };
    assert_eq!(
        count(&after_with(verify, CONNECTED, stop), After::SendState),
        1
    );
    assert_eq!(count(&after(verify, CONNECTED), After::SendState), 0);
}

#[test]
fn an_unconfigured_device_lets_others_go_on() {
    let old = State {
        aftr_isp: true,
        ..UNCONFIGURED
    };
    assert_eq!(count(&after(old, UNCONFIGURED), After::ResumeDependent), 1);
}

#[test]
fn a_connection_that_is_configured_left_or_fenced() {
    let effects = |old, conn, pdsk, fen| after_connection_effects(old, conn, pdsk, fen);
    let list = effects(C::StandAlone, C::Unconnected, D::Unknown, false);
    assert!(list.contains(AfterConnection::StartReceiver));
    let list = effects(C::Disconnecting, C::StandAlone, D::Unknown, true);
    assert!(list.contains(AfterConnection::ForgetConfiguration));
    assert!(
        !list.contains(AfterConnection::ResumeFenced),
        "the peer may still write"
    );
    let list = effects(C::WfConnection, C::WfConnection, D::Outdated, true);
    assert!(list.contains(AfterConnection::ResumeFenced));
}

/// The lists are big enough for every change of every state, whatever the facts.
#[test]
fn no_change_has_more_effects_than_fit() {
    let flags = [
        UNCONFIGURED,
        State {
            susp_nod: true,
            susp_fen: true,
            user_isp: true,
            aftr_isp: true,
            ..UNCONFIGURED
        },
    ];
    let with = |s: State, f: State| State {
        susp_nod: f.susp_nod,
        susp_fen: f.susp_fen,
        user_isp: f.user_isp,
        aftr_isp: f.aftr_isp,
        ..s
    };
    // Every 31st state, with every 37th: the rules look at each field separately.
    for old in all_states().step_by(31) {
        for new in all_states().step_by(37) {
            for f in flags {
                let new = with(new, f);
                assert!(!now(old, new).overflowed());
                let facts = AfterContext {
                    now: new,
                    lowest_conn: new.conn,
                    grown_while_away: true,
                    call_local_io_error: true,
                    force_detach: true,
                    verify_stop_sector: true,
                    ..FACTS
                };
                assert!(!after_with(old, new, facts).overflowed());
            }
        }
    }
}

#[test]
fn a_disk_that_fails_or_is_refused_is_lost() {
    let lost = |old: D, new: D| {
        let with = |disk| State { disk, ..CONNECTED };
        loses_disk(&with(old), &with(new))
    };
    assert!(lost(D::UpToDate, D::Failed));
    assert!(lost(D::Inconsistent, D::Diskless));
    // The peer has compared it already, and may have found it good.
    assert!(lost(D::Negotiating, D::Failed));
    assert!(!lost(D::Negotiating, D::UpToDate));
    assert!(!lost(D::Attaching, D::Diskless));
    assert!(!lost(D::Failed, D::Diskless));
}

#[test]
fn a_disk_that_comes_is_no_news_of_a_loss() {
    let tells = |disk| tells_of_loss(&State { disk, ..CONNECTED });
    assert!(tells(D::Failed) && tells(D::Diskless));
    assert!(!tells(D::Attaching) && !tells(D::Negotiating) && !tells(D::UpToDate));
}
