// SPDX-License-Identifier: GPL-2.0-only

//! Answers of the peer: which are owed to what, and who has the application's pages meanwhile.

use super::*;
use crate::interval::Range;

const RUN: Context = Context {
    suspended: false,
    peer_readable: true,
    locally_readable: true,
    inconsistent: false,
};
const WRITTEN: Event = Event::WriteAcked { in_sync: false };

fn request(kind: Kind, job: Job) -> NewRequest {
    NewRequest {
        kind,
        range: Range::new(0, 8, 4096),
        local: kind != Kind::Read,
        job,
        expect: Expect::Written,
        retry: true,
        now_ms: 0,
    }
}

/// A log with one request, which the sender has taken.
fn taken(kind: Kind, job: Job) -> (Log<Vec<Slot>>, SlotId) {
    let mut log = Log::new(vec![Slot::default(); 1]);
    let id = log.admit(&request(kind, job), 100).unwrap();
    assert_eq!(log.take_to_send().unwrap().slot, id);
    (log, id)
}

fn owed(log: &Log<Vec<Slot>>, id: SlotId) -> [bool; 4] {
    let events = [
        WRITTEN,
        Event::ReceiptAcked,
        Event::Receiving,
        Event::NegAcked,
    ];
    events.map(|event| log.get(id).unwrap().owed(event))
}

#[test]
fn a_read_takes_no_acknowledgement_of_a_write_and_a_write_no_data() {
    let (log, id) = taken(Kind::Write, Job::Replicate);
    assert_eq!(owed(&log, id), [true, true, false, true]);
    let (log, id) = taken(Kind::Read, Job::Read);
    assert_eq!(owed(&log, id), [false, false, true, true]);
    let mut log = Log::new(vec![Slot::default(); 1]);
    let id = log
        .admit(&request(Kind::Write, Job::OutOfSync), 100)
        .unwrap();
    assert_eq!(owed(&log, id), [false; 4]);
}

#[test]
fn nothing_is_owed_before_it_was_asked() {
    let mut log = Log::new(vec![Slot::default(); 1]);
    let id = log.admit(&request(Kind::Read, Job::Read), 100).unwrap();
    assert_eq!(owed(&log, id), [false; 4]);
}

#[test]
fn data_may_come_before_the_sender_says_that_it_has_asked() {
    let (mut log, id) = taken(Kind::Read, Job::Read);
    log.on(id, Event::Receiving, RUN);
    assert_eq!(log.on(id, Event::DataReceived, RUN).complete, None);
    let told = log.on(id, Event::Sent, RUN);
    assert_eq!((told.complete, told.forget), (Some(true), true));
}

#[test]
fn nothing_ends_a_read_while_its_data_arrive() {
    let (mut log, id) = taken(Kind::Read, Job::Read);
    log.on(id, Event::Sent, RUN);
    log.on(id, Event::Receiving, RUN);
    assert_eq!(owed(&log, id), [false; 4], "one answer is enough");
    let lost = log.on(id, Event::ConnectionLost, RUN);
    assert_eq!((lost.complete, lost.submit_local), (None, false));
    let all = log.on(id, Event::DataReceived, RUN);
    assert_eq!((all.complete, all.forget), (Some(true), true));
}

#[test]
fn data_that_do_not_all_arrive_are_read_here() {
    for lost_first in [true, false] {
        let (mut log, id) = taken(Kind::Read, Job::Read);
        log.on(id, Event::Sent, RUN);
        log.on(id, Event::Receiving, RUN);
        let events = match lost_first {
            true => [Event::ConnectionLost, Event::ReceiveFailed],
            false => [Event::ReceiveFailed, Event::ConnectionLost],
        };
        let [first, second] = events.map(|event| log.on(id, event, RUN));
        assert_eq!((first.complete, first.submit_local), (None, false));
        assert_eq!((second.complete, second.submit_local), (None, true));
        let read = log.on(id, Event::LocalDone { ok: true }, RUN);
        assert_eq!(read.complete, Some(true));
    }
}

#[test]
fn what_is_sent_again_goes_out_in_the_order_of_its_epochs() {
    let mut log = Log::new(vec![Slot::default(); 4]);
    let mut wire = crate::epoch::Wire::default();
    let stopped = Context {
        suspended: true,
        ..RUN
    };
    let new = request(Kind::Write, Job::Replicate);
    let mut ids = Vec::new();
    for _ in 0..3 {
        // Each in an epoch of its own.
        ids.push(log.admit(&new, 1).unwrap());
    }
    for _ in 0..2 {
        let sent = loop {
            match log.next_to_send(&mut wire, false).unwrap() {
                Outgoing::Request(work) => break work.slot,
                Outgoing::Barrier(_) => {}
            }
        };
        log.on(sent, Event::Sent, stopped);
    }
    // The connection goes while the last one still waits to be sent.
    for &id in &ids {
        log.on(id, Event::Parked, stopped);
    }
    let mut wire = crate::epoch::Wire::default();
    assert!(
        !log.has_to_send(&wire, false),
        "nothing goes to a peer that nobody knows yet"
    );
    // Told in any order, as volume follows volume.
    for &id in [ids[2], ids[0], ids[1]].iter() {
        assert!(log.on(id, Event::Resend, stopped).enqueue);
    }
    let mut order = Vec::new();
    while let Some(next) = log.next_to_send(&mut wire, false) {
        match next {
            Outgoing::Request(work) => {
                log.on(work.slot, Event::Sent, stopped);
                order.push(work.request.epoch.0);
            }
            Outgoing::Barrier(_) => {}
        }
    }
    assert_eq!(order, [0, 1, 2]);
}
