// SPDX-License-Identifier: GPL-2.0-only

//! One request by protocol and by accident; then the whole log under random events.

use super::*;
use crate::epoch::Wire;
use crate::interval::Range;

const RUN: Context = Context {
    suspended: false,
    peer_readable: true,
    locally_readable: true,
    inconsistent: false,
};
const STOPPED: Context = Context {
    suspended: true,
    peer_readable: true,
    locally_readable: true,
    inconsistent: false,
};

fn write(expect: Expect) -> NewRequest {
    NewRequest {
        kind: Kind::Write,
        range: Range::new(0, 8, 4096),
        local: true,
        job: Job::Replicate,
        expect,
        retry: true,
        now_ms: 0,
    }
}

fn read(local: bool) -> NewRequest {
    let job = if local { Job::Nothing } else { Job::Read };
    NewRequest {
        kind: Kind::Read,
        local,
        job,
        ..write(Expect::Written)
    }
}

fn log(n: usize) -> Log<Vec<Slot>> {
    Log::new(vec![Slot::default(); n])
}

fn sent(log: &mut Log<Vec<Slot>>, id: SlotId) -> Actions {
    assert_eq!(log.take_to_send().unwrap().slot, id);
    log.on(id, Event::Sent, RUN)
}

#[test]
fn protocol_c_waits_for_both_disks() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    assert_eq!(l.on(id, Event::LocalDone { ok: true }, RUN).complete, None);
    assert_eq!(sent(&mut l, id).complete, None);
    let acked = l.on(id, Event::WriteAcked { in_sync: false }, RUN);
    assert_eq!(
        (acked.complete, acked.mark, acked.forget),
        (Some(true), Mark::Nothing, false)
    );
    let mut forgotten = 0;
    let epoch = EpochNumber(0);
    l.confirm_barrier(epoch, 1, RUN, |_, _, a| forgotten += u32::from(a.forget))
        .unwrap();
    assert_eq!((forgotten, l.len()), (1, 0));
}

#[test]
fn protocol_b_waits_for_the_receipt() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Receipt), 100).unwrap();
    l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!(sent(&mut l, id).complete, None);
    assert_eq!(l.on(id, Event::ReceiptAcked, RUN).complete, Some(true));
}

#[test]
fn protocol_a_waits_for_the_send() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Nothing), 100).unwrap();
    assert_eq!(l.on(id, Event::LocalDone { ok: true }, RUN).complete, None);
    let a = sent(&mut l, id);
    assert_eq!((a.complete, a.mark), (Some(true), Mark::Nothing));
    let lost = l.on(id, Event::ConnectionLost, RUN);
    assert_eq!(
        (lost.mark, lost.forget),
        (Mark::OutOfSync, true),
        "sent is not written"
    );
}

#[test]
fn by_protocols_a_and_b_the_peer_may_have_older_data_until_the_barrier() {
    let answers = [
        (Expect::Nothing, None, true),
        (Expect::Receipt, Some(Event::ReceiptAcked), true),
        (
            Expect::Written,
            Some(Event::WriteAcked { in_sync: false }),
            false,
        ),
    ];
    for (expect, answer, late) in answers {
        let mut l = log(1);
        let id = l.admit(&write(expect), 100).unwrap();
        l.on(id, Event::LocalDone { ok: true }, RUN);
        assert!(l.get(id).unwrap().is_ahead_of_peer());
        sent(&mut l, id);
        if let Some(answer) = answer {
            l.on(id, answer, RUN);
        }
        let request = l.get(id).unwrap();
        assert_eq!(
            (request.completed(), request.is_ahead_of_peer()),
            (true, late),
            "{expect:?}"
        );
        assert!(l.on(id, Event::BarrierAcked, RUN).forget);
    }
}

#[test]
fn a_late_negative_answer_of_protocol_a_marks() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Nothing), 100).unwrap();
    l.on(id, Event::LocalDone { ok: true }, RUN);
    sent(&mut l, id);
    assert_eq!(l.on(id, Event::NegAcked, RUN).mark, Mark::OutOfSync);
}

#[test]
fn an_ack_may_overtake_the_sender() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.take_to_send().unwrap();
    l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!(
        l.on(id, Event::WriteAcked { in_sync: false }, RUN).complete,
        None
    );
    assert_eq!(l.on(id, Event::Sent, RUN).complete, Some(true));
}

#[test]
fn bits_before_completion_when_a_half_failed() {
    let mut l = log(2);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.on(id, Event::LocalDone { ok: false }, RUN);
    sent(&mut l, id);
    let a = l.on(id, Event::WriteAcked { in_sync: false }, RUN);
    assert_eq!((a.complete, a.mark), (Some(true), Mark::OutOfSync));
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.on(id, Event::LocalDone { ok: true }, RUN);
    let a = l.on(id, Event::ConnectionLost, RUN);
    assert_eq!(
        (a.complete, a.mark, a.forget),
        (Some(true), Mark::OutOfSync, true)
    );
    assert!(a.dequeue && l.take_to_send().is_none());
}

#[test]
fn both_halves_failed_is_an_error() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.on(id, Event::LocalDone { ok: false }, RUN);
    sent(&mut l, id);
    assert_eq!(l.on(id, Event::NegAcked, RUN).complete, Some(false));
}

#[test]
fn resync_writes_clear_bits_on_both_sides() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.on(id, Event::LocalDone { ok: true }, RUN);
    sent(&mut l, id);
    l.on(id, Event::WriteAcked { in_sync: true }, RUN);
    let a = l.on(id, Event::BarrierAcked, RUN);
    assert_eq!((a.mark, a.forget), (Mark::InSync, true));
}

#[test]
fn pages_stay_while_the_sender_reads_them() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.on(id, Event::LocalDone { ok: true }, RUN);
    l.take_to_send().unwrap();
    let lost = l.on(id, Event::ConnectionLost, RUN);
    assert_eq!((lost.complete, lost.forget), (None, false));
    let failed = l.on(id, Event::SendFailed, RUN);
    assert_eq!((failed.complete, failed.forget), (Some(true), true));
}

#[test]
fn an_aborted_disk_keeps_the_slot() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    l.on(id, Event::WriteAcked { in_sync: false }, RUN);
    let a = l.on(id, Event::LocalAborted, RUN);
    assert_eq!(
        (a.complete, a.mark, a.forget),
        (Some(true), Mark::OutOfSync, false)
    );
    assert!(!l.on(id, Event::BarrierAcked, RUN).forget);
    assert!(l.on(id, Event::LocalDone { ok: true }, RUN).forget);
}

#[test]
fn a_failed_read_tries_the_other_node_once() {
    let mut l = log(1);
    let id = l.admit(&read(true), 100).unwrap();
    let a = l.on(id, Event::LocalDone { ok: false }, RUN);
    assert_eq!((a.complete, a.mark), (None, Mark::OutOfSync));
    sent(&mut l, id);
    let a = l.on(id, Event::NegAcked, RUN);
    assert_eq!(
        (a.complete, a.submit_local, a.forget),
        (Some(false), false, true)
    );

    let id = l.admit(&read(false), 100).unwrap();
    sent(&mut l, id);
    let a = l.on(id, Event::ConnectionLost, RUN);
    assert_eq!((a.complete, a.submit_local), (None, true));
    assert_eq!(
        l.on(id, Event::LocalDone { ok: true }, RUN).complete,
        Some(true)
    );
}

#[test]
fn read_ahead_is_not_retried() {
    let mut l = log(1);
    let id = l
        .admit(
            &NewRequest {
                retry: false,
                ..read(true)
            },
            100,
        )
        .unwrap();
    let a = l.on(id, Event::LocalDone { ok: false }, RUN);
    assert_eq!((a.complete, a.mark), (Some(false), Mark::Nothing));
}

#[test]
fn suspended_io_is_completed_by_the_resume() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    l.on(id, Event::LocalDone { ok: true }, STOPPED);
    assert_eq!(l.on(id, Event::ConnectionLost, STOPPED).complete, None);
    let a = l.on(id, Event::Resumed, RUN);
    assert_eq!(
        (a.complete, a.mark, a.forget),
        (Some(true), Mark::OutOfSync, true)
    );
}

#[test]
fn a_returning_peer_gets_what_it_may_lack() {
    let mut l = log(3);
    let completed = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, completed);
    l.on(completed, Event::LocalDone { ok: true }, RUN);
    l.on(completed, Event::WriteAcked { in_sync: true }, RUN);
    // Its cache may have lost what it acknowledged.
    let acked = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, acked);
    l.on(acked, Event::LocalDone { ok: true }, STOPPED);
    l.on(acked, Event::WriteAcked { in_sync: true }, STOPPED);
    let lost = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, lost);
    l.on(lost, Event::LocalDone { ok: true }, STOPPED);
    let mut seen = Vec::new();
    l.for_each(Event::Resend, RUN, |_| true, &mut |id, _, a| {
        seen.push((id, a.forget, a.enqueue))
    });
    let again = |id| (id, false, true);
    assert_eq!(seen, [(completed, true, false), again(acked), again(lost)]);
    for id in [acked, lost] {
        assert_eq!(l.take_to_send().unwrap().slot, id);
        l.on(id, Event::Sent, RUN);
    }
    // Written once more, and not by a resync.
    let a = l.on(acked, Event::WriteAcked { in_sync: false }, RUN);
    assert_eq!((a.complete, a.forget), (Some(true), false));
    let a = l.on(acked, Event::BarrierAcked, RUN);
    assert_eq!((a.mark, a.forget), (Mark::Nothing, true));
}

#[test]
fn what_was_completed_and_not_confirmed_is_marked_when_the_peer_is_compared() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!(
        l.on(id, Event::WriteAcked { in_sync: false }, RUN).complete,
        Some(true)
    );
    assert!(!l.on(id, Event::Parked, STOPPED).forget);
    let a = l.on(id, Event::ConnectionLost, STOPPED);
    assert_eq!((a.mark, a.forget), (Mark::OutOfSync, true));
}

#[test]
fn the_disk_has_a_write_until_its_mark_is_set() {
    let mut l = log(2);
    let reads = l.admit(&read(true), 100).unwrap();
    assert!(!l.has_writes_on_disk(0));
    let alone = NewRequest {
        job: Job::Nothing,
        ..write(Expect::Nothing)
    };
    let id = l.admit(&alone, 100).unwrap();
    assert!(l.has_writes_on_disk(0) && !l.has_writes_on_disk(1));
    let a = l.on(id, Event::LocalDone { ok: true }, STOPPED);
    assert_eq!((a.mark, a.complete), (Mark::OutOfSync, None));
    assert!(!l.has_writes_on_disk(0));
    assert!(l.get(reads).is_some());
}

#[test]
fn two_primaries_superseded_and_retried() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    l.on(id, Event::Superseded, RUN);
    let a = l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!((a.complete, a.restart, a.forget), (Some(true), false, true));
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    l.on(id, Event::RetryWrite, RUN);
    let a = l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!((a.complete, a.restart, a.forget), (None, true, true));
    // If the disk, the power or the connection goes before it is written again, only the bits tell that we have it.
    assert_eq!(a.mark, Mark::OutOfSync);
}

#[test]
fn a_flush_closes_the_epoch_and_waits_for_our_disk_only() {
    let mut l = log(2);
    let first = l.admit(&write(Expect::Written), 100).unwrap();
    let flush = NewRequest {
        kind: Kind::Flush,
        range: Range::new(0, 0, 0),
        ..write(Expect::Written)
    };
    let id = l.admit(&flush, 100).unwrap();
    assert_ne!(l.epoch.current(), l.get(first).unwrap().epoch);
    let a = l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!(
        (a.complete, a.mark, a.forget),
        (Some(true), Mark::Nothing, true)
    );
}

#[test]
fn ahead_marks_and_forgets() {
    let mut l = log(1);
    let new = NewRequest {
        job: Job::OutOfSync,
        ..write(Expect::Nothing)
    };
    let id = l.admit(&new, 100).unwrap();
    assert!(l.has_marks_to_send(0) && !l.has_marks_to_send(1));
    let a = l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!(
        (a.complete, a.mark, a.forget),
        (Some(true), Mark::OutOfSync, false),
        "who is ahead does not wait for the way to the peer"
    );
    l.take_to_send().unwrap();
    assert!(l.has_marks_to_send(0));
    assert!(l.on(id, Event::Sent, RUN).forget);
    assert!(!l.has_marks_to_send(0));
}

#[test]
fn a_mark_is_not_sent_again() {
    let mut l = log(1);
    let new = NewRequest {
        job: Job::OutOfSync,
        ..write(Expect::Nothing)
    };
    let id = l.admit(&new, 100).unwrap();
    l.take_to_send().unwrap();
    l.on(id, Event::SendFailed, STOPPED);
    l.on(id, Event::LocalDone { ok: true }, STOPPED);
    assert!(!l.on(id, Event::Resend, STOPPED).enqueue);
    assert!(l.on(id, Event::Resumed, RUN).forget);
}

#[test]
fn a_write_is_in_flight_from_the_send_to_the_barrier() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Nothing), 100).unwrap();
    assert!(l.get(id).unwrap().is_pending());
    let count = |a: Actions| (a.pending, a.in_flight);
    use Count::{Less, More, Same};
    let done = l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!(count(done), (Same, Same));
    assert_eq!(count(sent(&mut l, id)), (Less, More));
    let mut end = Vec::new();
    l.confirm_barrier(EpochNumber(0), 1, RUN, |_, _, a| end.push(count(a)))
        .unwrap();
    assert_eq!(end, [(Same, Less)]);
}

#[test]
fn what_is_lost_is_in_flight_no_more() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    let lost = l.on(id, Event::ConnectionLost, STOPPED);
    assert_eq!((lost.pending, lost.in_flight), (Count::Less, Count::Less));
}

#[test]
fn what_may_clear_bits_holds_up_marks_until_it_is_confirmed() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    assert!(!l.get(id).unwrap().may_clear());
    l.take_to_send().unwrap();
    l.note_clears(id);
    l.on(id, Event::Sent, RUN);
    l.on(id, Event::LocalDone { ok: true }, RUN);
    l.on(id, Event::WriteAcked { in_sync: true }, RUN);
    let request = l.get(id).unwrap();
    assert!(request.completed() && request.may_clear());
}

#[test]
fn a_stale_or_foreign_block_id_finds_nothing() {
    let mut l = log(1);
    let id = l.admit(&read(true), 100).unwrap();
    let block = l.block_id(id).unwrap();
    assert_eq!(l.find(block, 0, 8), Some(id));
    assert_eq!(l.find(block, 0, 9), None);
    assert_eq!(l.find(block, 1, 8), None);
    assert!(l.on(id, Event::LocalDone { ok: true }, RUN).forget);
    assert_eq!(l.find(block, 0, 8), None);
    l.admit(&read(true), 100).unwrap();
    assert_eq!(
        l.find(block, 0, 8),
        None,
        "the slot is used again, the id is not"
    );
    assert_eq!(l.find(BlockId(u64::MAX), 0, 8), None);
}

#[test]
fn a_barrier_that_does_not_fit_is_refused() {
    let mut l = log(4);
    for _ in 0..2 {
        let id = l.admit(&write(Expect::Written), 100).unwrap();
        sent(&mut l, id);
    }
    let refused = Err(BarrierMismatch {
        expected: Some(EpochNumber(0)),
        writes: 2,
    });
    assert_eq!(
        l.confirm_barrier(EpochNumber(0), 1, RUN, |_, _, _| ()),
        refused
    );
    assert_eq!(
        l.confirm_barrier(EpochNumber(1), 2, RUN, |_, _, _| ()),
        refused
    );
    assert_eq!(
        l.confirm_barrier(EpochNumber(0), 2, RUN, |_, _, _| ()),
        refused,
        "no answer yet"
    );
    let ids: Vec<SlotId> = l.iter().map(|(id, _)| id).collect();
    for id in ids {
        l.on(id, Event::WriteAcked { in_sync: false }, RUN);
    }
    assert_eq!(
        l.confirm_barrier(EpochNumber(0), 2, RUN, |_, _, _| ()),
        Ok(())
    );
}

#[test]
fn a_skipped_barrier_is_confirmed_by_the_next_one_when_all_is_answered() {
    let mut l = log(8);
    let mut ids = Vec::new();
    for _ in 0..3 {
        // Two writes in each epoch.
        for _ in 0..2 {
            let id = l.admit(&write(Expect::Written), 2).unwrap();
            sent(&mut l, id);
            ids.push(id);
        }
    }
    let acked = Event::WriteAcked { in_sync: false };
    for id in [ids[1], ids[2], ids[3]] {
        l.on(id, Event::LocalDone { ok: true }, RUN);
        l.on(id, acked, RUN);
    }
    let mut forgotten = 0;
    let mut skip = |l: &mut Log<Vec<Slot>>, epoch| {
        l.confirm_skipped(EpochNumber(epoch), RUN, |_, _, a| {
            forgotten += u32::from(a.forget)
        });
        forgotten
    };
    // The first write of the first epoch is refused, which the peer's epoch never gets over.
    assert_eq!(skip(&mut l, 1), 0, "it has no answer");
    l.on(ids[0], Event::LocalDone { ok: true }, RUN);
    l.on(ids[0], Event::Superseded, RUN);
    assert_eq!(skip(&mut l, 7), 0, "nobody waits for that one");
    assert_eq!(skip(&mut l, 1), 1, "the other write of the first epoch");
    let confirmed = l.confirm_barrier(EpochNumber(1), 2, RUN, |_, _, _| ());
    assert_eq!(confirmed, Ok(()));
    assert_eq!(l.iter().count(), 2, "the third epoch");
}

#[test]
fn a_barrier_before_the_answer_does_not_strand_the_request() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    l.on(id, Event::BarrierAcked, RUN);
    l.on(id, Event::LocalDone { ok: true }, RUN);
    let a = l.on(id, Event::ConnectionLost, RUN);
    assert_eq!(
        (a.complete, a.mark, a.forget),
        (Some(true), Mark::OutOfSync, true)
    );
}

#[test]
fn what_failed_while_frozen_begins_anew_when_there_are_data_and_nothing_else_does() {
    let alone = NewRequest {
        job: Job::Nothing,
        ..write(Expect::Written)
    };
    let mut l = log(3);
    let failed = l.admit(&alone, 100).unwrap();
    let good = l.admit(&alone, 100).unwrap();
    let busy = l.admit(&alone, 100).unwrap();
    let a = l.on(failed, Event::LocalDone { ok: false }, STOPPED);
    assert_eq!((a.mark, a.complete), (Mark::OutOfSync, None));
    l.on(good, Event::LocalDone { ok: true }, STOPPED);
    let a = l.on(failed, Event::Restart, STOPPED);
    assert!(a.restart && a.forget && a.complete.is_none());
    for id in [good, busy] {
        let a = l.on(id, Event::Restart, STOPPED);
        assert!(!a.restart && a.complete.is_none());
    }
    assert_eq!(l.on(good, Event::Resumed, RUN).complete, Some(true));
}

#[test]
fn an_aborted_write_goes_on_without_our_disk_and_keeps_its_slot_until_the_disk_gives_it_back() {
    let mut l = log(1);
    let id = l.admit(&write(Expect::Written), 100).unwrap();
    sent(&mut l, id);
    l.on(id, Event::WriteAcked { in_sync: false }, RUN);
    let a = l.on(id, Event::LocalAborted, RUN);
    assert_eq!(
        (a.mark, a.complete, a.forget),
        (Mark::OutOfSync, Some(true), false)
    );
    l.on(id, Event::BarrierAcked, RUN);
    let a = l.on(id, Event::LocalDone { ok: true }, RUN);
    assert_eq!((a.complete, a.forget), (None, true));
    // Without the peer it failed, and the bits are set before that is said.
    let alone = NewRequest {
        job: Job::Nothing,
        ..write(Expect::Written)
    };
    let id = l.admit(&alone, 100).unwrap();
    let a = l.on(id, Event::LocalAborted, RUN);
    assert_eq!((a.mark, a.complete), (Mark::OutOfSync, Some(false)));
}

#[test]
fn an_aborted_read_waits_for_its_buffer_and_is_tried_on_the_peer() {
    let mut l = log(1);
    let read = NewRequest {
        kind: Kind::Read,
        job: Job::Nothing,
        retry: true,
        ..write(Expect::Written)
    };
    let id = l.admit(&read, 100).unwrap();
    let a = l.on(id, Event::LocalAborted, RUN);
    assert_eq!((a.complete, a.forget), (None, false));
    let readable = Context {
        peer_readable: true,
        ..RUN
    };
    let a = l.on(id, Event::LocalDone { ok: false }, readable);
    assert!(a.enqueue && a.complete.is_none());
}

#[test]
fn a_disk_is_late_after_its_time_and_not_for_what_is_older_than_it() {
    let mut l = log(1);
    let new = NewRequest {
        now_ms: 1000,
        ..write(Expect::Written)
    };
    let id = l.admit(&new, 100).unwrap();
    let late = |l: &Log<Vec<Slot>>, now, limit, attached| {
        l.get(id)
            .is_some_and(|r| r.is_late_on_disk(now, limit, attached))
    };
    assert!(!late(&l, 3000, 2000, 0));
    assert!(late(&l, 3001, 2000, 0));
    assert!(!late(&l, 9000, 0, 0), "not watched");
    assert!(!late(&l, 3001, 2000, 1500), "attached since");
    l.on(id, Event::LocalDone { ok: true }, RUN);
    assert!(!late(&l, 9000, 2000, 0));
}

/// Any order of events: each request is completed exactly once and forgotten exactly once, never
/// forgotten before it is completed, and every write that is not on both disks is marked before.
#[test]
fn every_request_ends_once_whatever_happens() {
    let mut seed = 7u64;
    let mut random = move |n: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for _ in 0..3_000 {
        let mut l = log(1);
        let kind = [Kind::Read, Kind::Write, Kind::Discard, Kind::Flush][random(4) as usize];
        let job = match kind {
            Kind::Read => [Job::Nothing, Job::Read][random(2) as usize],
            Kind::Flush => Job::Replicate,
            _ => [Job::Nothing, Job::Replicate, Job::OutOfSync][random(3) as usize],
        };
        let expect = [Expect::Nothing, Expect::Receipt, Expect::Written][random(3) as usize];
        let local = job == Job::Nothing || (kind != Kind::Read && random(4) > 0);
        let new = NewRequest {
            kind,
            job,
            expect,
            local,
            ..write(expect)
        };
        let id = l.admit(&new, 100).unwrap();
        let (mut completed, mut forgotten, mut marked, mut on_both) = (0, 0, false, false);
        let mut disk_busy = local;
        for step in 0..400 {
            let ctx = if step < 300 && random(3) == 0 {
                STOPPED
            } else {
                RUN
            };
            if l.get(id).is_none() {
                break;
            }
            let event = match random(9) {
                0 if disk_busy => Event::LocalDone { ok: random(3) > 0 },
                1 => Event::WriteAcked {
                    in_sync: random(2) == 0,
                },
                2 => Event::NegAcked,
                3 => Event::ConnectionLost,
                4 | 5 if l.take_to_send().is_some() => {
                    [Event::Sent, Event::SendFailed][random(2) as usize]
                }
                6 => Event::Resumed,
                7 => Event::BarrierAcked,
                8 if random(8) == 0 => Event::LocalAborted,
                _ if step > 300 && disk_busy => Event::LocalDone { ok: true },
                _ if step > 300 => Event::ConnectionLost,
                _ => continue,
            };
            if matches!(event, Event::LocalDone { .. }) {
                disk_busy = false;
            }
            let a = l.on(id, event, ctx);
            disk_busy |= a.submit_local;
            if let Some(request) = l.get(id) {
                on_both = request.local() == Local::Ok && request.net.ok();
            }
            marked |= a.mark == Mark::OutOfSync;
            completed += u32::from(a.complete.is_some());
            forgotten += u32::from(a.forget);
            assert!(completed <= 1 && forgotten <= completed, "{new:?}");
            if a.complete.is_some() && kind.modifies() && !on_both && l.get(id).is_some() {
                assert!(marked, "completed before the bits: {new:?}");
            }
        }
        assert_eq!((completed, forgotten), (1, 1), "{new:?} is stuck");
    }
}

#[test]
fn a_write_that_only_the_target_of_a_resync_has_is_not_acknowledged() {
    // The source comes back without it, and overwrites it.
    let target = Context {
        inconsistent: true,
        ..RUN
    };
    let mut request = Request::new(&write(Expect::Written), EpochNumber(1));
    request.on(Event::Taken, target);
    request.on(Event::Sent, target);
    let local = request.on(Event::LocalDone { ok: true }, target);
    assert_eq!(local.complete, None);
    let lost = request.on(Event::ConnectionLost, target);
    assert_eq!((lost.complete, lost.mark), (Some(false), Mark::OutOfSync));

    let mut request = Request::new(&write(Expect::Written), EpochNumber(1));
    request.on(Event::Taken, target);
    request.on(Event::Sent, target);
    request.on(Event::LocalDone { ok: true }, target);
    let both = request.on(Event::WriteAcked { in_sync: true }, target);
    assert_eq!(both.complete, Some(true));
}

#[test]
fn what_may_depend_on_a_completed_write_is_in_a_later_epoch() {
    let mut l = log(2);
    let first = l.admit(&write(Expect::Nothing), 100).unwrap();
    sent(&mut l, first);
    let epoch = l.get(first).unwrap().epoch;
    assert_eq!(l.epoch.current(), epoch);
    let done = l.on(first, Event::LocalDone { ok: true }, RUN);
    assert_eq!(done.complete, Some(true));
    assert_ne!(l.epoch.current(), epoch);
}

/// What goes on the wire next: a barrier's number, or -1 for a request.
fn outgoing(l: &mut Log<Vec<Slot>>, wire: &mut Wire, held_back: bool) -> Option<i64> {
    assert_eq!(
        l.has_to_send(wire, held_back),
        l.clone().next_to_send(&mut { *wire }, held_back).is_some()
    );
    l.next_to_send(wire, held_back).map(|next| match next {
        Outgoing::Barrier(epoch) => i64::from(epoch.0),
        Outgoing::Request(_) => -1,
    })
}

#[test]
fn no_write_goes_out_behind_the_barrier_of_its_epoch() {
    let mut l = log(4);
    let mut wire = Wire::default();
    let first = l.admit(&write(Expect::Nothing), 100).unwrap();
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1));
    assert_eq!(outgoing(&mut l, &mut wire, false), None);
    l.on(first, Event::Sent, RUN);
    // One more is admitted, and the end of the first one closes the epoch of both.
    l.admit(&write(Expect::Nothing), 100).unwrap();
    l.on(first, Event::LocalDone { ok: true }, RUN);
    let next = l.admit(&write(Expect::Nothing), 100).unwrap();
    assert_eq!(l.get(next).unwrap().epoch, EpochNumber(1));
    // Held back, too, the barrier waits for the write.
    assert_eq!(outgoing(&mut l, &mut wire, true), None);
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1));
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(0));
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1));
    assert_eq!(outgoing(&mut l, &mut wire, false), None);
}

#[test]
fn a_read_that_failed_here_does_not_end_the_epoch_that_is_open_by_then() {
    let mut l = log(8);
    let mut wire = Wire::default();
    let failing = l.admit(&read(true), 100).unwrap();
    let first = l.admit(&write(Expect::Nothing), 100).unwrap();
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1));
    l.on(first, Event::Sent, RUN);
    l.on(first, Event::LocalDone { ok: true }, RUN);
    l.admit(&write(Expect::Nothing), 100).unwrap();
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(0));
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1));
    // It was submitted in the epoch before; the open one gets another write.
    let actions = l.on(failing, Event::LocalDone { ok: false }, RUN);
    assert!(actions.enqueue);
    l.admit(&write(Expect::Nothing), 100).unwrap();
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1), "the read");
    assert_eq!(outgoing(&mut l, &mut wire, false), Some(-1), "the write");
    assert_eq!(outgoing(&mut l, &mut wire, false), None);
}
