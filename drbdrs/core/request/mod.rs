// SPDX-License-Identifier: GPL-2.0-only

//! The life of one request of the local application, and the log that holds all of them.
//!
//! A request has a local half (our disk) and a network half (the peer). It is *completed* to the
//! application when neither half is busy any more, and *forgotten* when also the peer has confirmed
//! the barrier behind it, because until then its blocks may have to be resynced.
//!
//! ```text
//!            admit                                settle                      settle
//!  (free) ----------> halves busy --LocalDone,---------> completed --Barrier--------> (free)
//!                     Local: Pending  Sent, Ack,  bits first,        Acked, or
//!                     Net:   Queued   NegAck,     then the bio       ConnectionLost
//!                            Sending  ConnectionLost
//!                            Expected
//! ```
//!
//! [`Request::on`] is the only gate. It changes nothing but the request; what else must happen is in
//! the [`Actions`] that it returns: bits first, then the completion, then the slot.

mod log;

pub use log::{BarrierMismatch, BlockId, Full, Log, NewRequest, Outgoing, Slot, SlotId, Work};

use crate::epoch::EpochNumber;
use crate::interval::Range;

/// What the application asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Read.
    #[default]
    Read,
    /// Write with data.
    Write,
    /// Discard (trim).
    Discard,
    /// Write zeroes.
    Zeroes,
    /// An empty flush.
    Flush,
}

impl Kind {
    /// Whether it is carried out while somebody waits, see [`deallocate`](crate::deallocate).
    pub fn deallocates(self) -> bool {
        match self {
            Kind::Discard | Kind::Zeroes => true,
            Kind::Read | Kind::Write | Kind::Flush => false,
        }
    }

    /// Whether it changes blocks.
    pub fn modifies(self) -> bool {
        match self {
            Kind::Write | Kind::Discard | Kind::Zeroes => true,
            Kind::Read | Kind::Flush => false,
        }
    }
}

/// The local half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Local {
    /// Not for our disk.
    #[default]
    Absent,
    /// Submitted, not completed.
    Pending,
    /// Completed without error.
    Ok,
    /// Completed with an error.
    Failed,
    /// Given up (forced detach) while the disk still holds it: the buffers stay in use.
    Aborted,
}

/// Which answer of the peer completes a write: the replication protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Protocol A: none, being sent is enough.
    #[default]
    Nothing,
    /// Protocol B: the peer has received it.
    Receipt,
    /// Protocol C: the peer has written it. Also a remote read: the data.
    Written,
}

/// What the sender is to do for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Job {
    /// Nothing: the request has no network half.
    #[default]
    Nothing,
    /// Replicate the data, the discard or the zeroes.
    Replicate,
    /// Ask for the data.
    Read,
    /// Tell the peer that its copy of these sectors is now old (Ahead).
    OutOfSync,
}

/// The answer of the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    NotExpected,
    Expected,
    Positive,
    Negative,
    /// The peer resolved a conflict of two primaries against us: do it all again.
    Retry,
}

/// The network half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Net {
    job: Job,
    expect: Expect,
    /// In the send queue.
    queued: bool,
    /// The sender works on it and reads the application's pages.
    sending: bool,
    /// The receiver fills the application's pages with the data of a read.
    receiving: bool,
    answer: Answer,
    /// The sender handed it to the network.
    sent: bool,
    /// The peer may clear its out-of-sync bits for it, and then ours are cleared too.
    clears: bool,
    /// The peer said that this write also cleared its out-of-sync bits.
    in_sync: bool,
    /// Nothing more will come from the peer for it.
    done: bool,
}

impl Net {
    /// Whether the application has to wait for it. Not for a mark: our copy has its own.
    fn busy(&self) -> bool {
        let under_way = (self.queued || self.sending) && self.job != Job::OutOfSync;
        under_way || self.receiving || self.answer == Answer::Expected
    }

    fn ok(&self) -> bool {
        self.answer == Answer::Positive
    }

    /// Sent, and no barrier confirms it yet.
    fn in_flight(&self) -> bool {
        self.job == Job::Replicate && self.sent && !self.done
    }

    fn over(&self) -> bool {
        self.job == Job::Nothing || (self.done && !self.sending && !self.receiving)
    }
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Our disk completed it.
    LocalDone {
        /// Without error.
        ok: bool,
    },
    /// Our disk is being given up; do not wait for it any longer.
    LocalAborted,
    /// The sender took it from the queue.
    Taken,
    /// The sender handed it to the network.
    Sent,
    /// The sender could not send it.
    SendFailed,
    /// Protocol B: received by the peer.
    ReceiptAcked,
    /// Written by the peer.
    WriteAcked {
        /// The peer also cleared its out-of-sync bits for it.
        in_sync: bool,
    },
    /// The peer failed to write (or to read) it.
    NegAcked,
    /// Two primaries: the peer dropped our write in favour of a newer overlapping one of its own.
    Superseded,
    /// Two primaries: the peer wants us to write again.
    RetryWrite,
    /// The data of a remote read begin to arrive: the receiver has the application's pages now.
    Receiving,
    /// They did not all arrive, or are damaged. The connection ends.
    ReceiveFailed,
    /// The data of a remote read arrived and is in the application's pages.
    DataReceived,
    /// The barrier behind it was confirmed.
    BarrierAcked,
    /// The connection is gone.
    ConnectionLost,
    /// The connection is gone, and I/O is suspended: what it is to be told later waits for [`Event::Resend`].
    Parked,
    /// I/O was suspended while the peer was away, and it is back: send again what it may lack.
    Resend,
    /// I/O was suspended for the lack of data, and there are data again: what failed begins anew.
    Restart,
    /// I/O is no longer suspended.
    Resumed,
}

/// What surrounds a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// I/O is suspended: nothing is completed to the application.
    pub suspended: bool,
    /// A read may be sent to the peer.
    pub peer_readable: bool,
    /// A read may be done by our disk.
    pub locally_readable: bool,
    /// Our disk is no copy to rely on: it failed, or it is the target of a resync, which replaces what it holds.
    pub inconsistent: bool,
}

/// What the bitmap must learn before the application does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    #[default]
    Nothing,
    /// The copies may differ: set the bits.
    OutOfSync,
    /// Both copies have the same data, and the peer cleared its bits: clear ours.
    InSync,
}

/// How a change of a request changes a count of the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// Not at all.
    #[default]
    Same,
    /// The request counts from now on.
    More,
    /// It counts no more.
    Less,
}

impl Count {
    fn of(before: bool, after: bool) -> Self {
        match (before, after) {
            (false, true) => Count::More,
            (true, false) => Count::Less,
            _ => Count::Same,
        }
    }
}

/// What the shell must do, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Requests that the peer has not answered.
    pub pending: Count,
    /// Writes that were sent and that no barrier confirms yet.
    pub in_flight: Count,
    /// First the bitmap.
    pub mark: Mark,
    /// Submit the read to our disk (the peer could not serve it).
    pub submit_local: bool,
    /// Put it into the send queue.
    pub enqueue: bool,
    /// Take it out of the send queue.
    pub dequeue: bool,
    /// Then complete the bio: `Some(true)` without error.
    pub complete: Option<bool>,
    /// Submit the bio anew from the start (two primaries).
    pub restart: bool,
    /// Last, the slot is free again.
    pub forget: bool,
}

/// A request of the local application.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub range: Range,
    /// The epoch it was admitted to.
    pub epoch: EpochNumber,
    /// When it was admitted, in the caller's milliseconds.
    pub started_ms: u64,
    /// When it was sent.
    pub sent_ms: u64,
    /// A failed read is tried on the other node (not so for read-ahead).
    pub retry: bool,
    local: Local,
    net: Net,
    completed: bool,
}

impl Request {
    fn new(new: &NewRequest, epoch: EpochNumber) -> Self {
        let answer = match (new.job, new.kind) {
            (Job::Nothing | Job::OutOfSync, _) => Answer::NotExpected,
            (_, Kind::Flush) => Answer::Positive,
            _ => Answer::Expected,
        };
        Request {
            kind: new.kind,
            range: new.range,
            epoch,
            started_ms: new.now_ms,
            sent_ms: 0,
            retry: new.retry,
            local: if new.local {
                Local::Pending
            } else {
                Local::Absent
            },
            net: Net {
                job: new.job,
                expect: new.expect,
                queued: new.job != Job::Nothing && new.kind != Kind::Flush,
                answer,
                done: new.kind == Kind::Flush,
                ..Net::default()
            },
            completed: false,
        }
    }

    /// The local half.
    pub fn local(&self) -> Local {
        self.local
    }

    /// What the sender does for it.
    pub fn job(&self) -> Job {
        self.net.job
    }

    /// Which answer completes it.
    pub fn wanted(&self) -> Expect {
        self.net.expect
    }

    /// Whether the application has been told.
    pub fn completed(&self) -> bool {
        self.completed
    }

    /// Whether the sender handed it over and the peer's answer is still missing.
    pub fn awaits_answer(&self) -> bool {
        !self.net.queued && !self.net.sending && self.net.answer == Answer::Expected
    }

    /// Whether our disk has it for longer than `limit_ms` (0: it may take as long as it likes), of a disk that was
    /// attached at `attached_ms`: what waits since before that is not its fault.
    pub fn is_late_on_disk(&self, now_ms: u64, limit_ms: u64, attached_ms: u64) -> bool {
        let since = self.started_ms.max(attached_ms);
        limit_ms > 0 && self.local == Local::Pending && now_ms.saturating_sub(since) > limit_ms
    }

    /// Whether `answer`, of the peer, is one to what was asked of it. What the peer does not owe us is an error of its.
    pub fn owed(&self, answer: Event) -> bool {
        let net = &self.net;
        let asked = !net.queued && !net.receiving;
        match answer {
            Event::ReceiptAcked
            | Event::WriteAcked { .. }
            | Event::Superseded
            | Event::RetryWrite => asked && net.job == Job::Replicate,
            Event::Receiving => asked && net.job == Job::Read && net.answer == Answer::Expected,
            Event::NegAcked => asked && matches!(net.job, Job::Replicate | Job::Read),
            _ => false,
        }
    }

    /// Whether a barrier acknowledgement still has to come for it.
    pub fn awaits_barrier(&self) -> bool {
        self.net.job == Job::Replicate && !self.net.done && !self.net.queued
    }

    /// Whether the peer may still have older data there: what it has is not asked for, or compared, before that is over.
    /// By protocols A and B the application is told before the peer's disk has it.
    pub fn is_ahead_of_peer(&self) -> bool {
        let net = &self.net;
        let late = net.job == Job::Replicate && !net.done && net.expect != Expect::Written;
        self.kind.modifies() && (!self.completed || late)
    }

    /// Whether the application was told that it is done (protocol A) while nothing says that the peer has got it: if the
    /// connection ended, it may have got lost on its way.
    pub fn in_doubt(&self) -> bool {
        let net = &self.net;
        let late = net.job == Job::Replicate && !net.done && net.expect == Expect::Nothing;
        self.kind.modifies() && self.completed && late
    }

    /// Whether the peer owes an answer, sent or not.
    pub fn is_pending(&self) -> bool {
        self.net.answer == Answer::Expected
    }

    /// Whether out-of-sync bits of its blocks may still be cleared because of it: what marks the same blocks must wait.
    pub fn may_clear(&self) -> bool {
        self.net.clears && !self.net.over()
    }

    /// The gate: every change of a request.
    pub fn on(&mut self, event: Event, context: Context) -> Actions {
        let mut actions = Actions::default();
        let (pending, in_flight) = (self.is_pending(), self.net.in_flight());
        match event {
            Event::LocalDone { ok } => self.local_done(ok, context, &mut actions),
            Event::LocalAborted => {
                // The disk may still fill the buffer of a read: that waits, and is tried on the peer if it fails.
                if self.local == Local::Pending && self.kind != Kind::Read {
                    self.local = Local::Aborted;
                }
            }
            Event::Taken => {
                self.net.queued = false;
                self.net.sending = true;
            }
            Event::Sent => self.sent(),
            Event::SendFailed => self.net.sending = false,
            Event::ReceiptAcked => self.answered(Answer::Positive),
            Event::WriteAcked { in_sync } => {
                self.net.in_sync |= in_sync && !self.net.done;
                self.answered(Answer::Positive);
            }
            Event::NegAcked => self.refused(context, &mut actions),
            Event::Superseded => {
                self.answered(Answer::Positive);
                self.net.done = true;
            }
            Event::RetryWrite => {
                self.answered(Answer::Retry);
                self.net.done = true;
            }
            Event::Receiving => self.net.receiving = true,
            Event::ReceiveFailed => {
                self.net.receiving = false;
                if self.net.done {
                    self.read_here(context, &mut actions);
                }
            }
            Event::DataReceived => {
                // Also if the connection was given up meanwhile: they are all here.
                self.net.receiving = false;
                self.net.answer = Answer::Positive;
                self.net.done = true;
            }
            Event::BarrierAcked => {
                // A barrier cannot confirm what was not answered.
                if self.awaits_barrier() && self.net.answer != Answer::Expected {
                    self.net.done = true;
                }
            }
            Event::ConnectionLost => self.connection_lost(context, &mut actions),
            Event::Parked => {
                actions.dequeue = core::mem::take(&mut self.net.queued);
            }
            Event::Resend => self.resend(&mut actions),
            Event::Restart => self.restart(&mut actions),
            Event::Resumed => {}
        }
        self.settle(context, &mut actions);
        actions.pending = Count::of(pending, self.is_pending());
        actions.in_flight = Count::of(in_flight, self.net.in_flight());
        actions
    }

    fn local_done(&mut self, ok: bool, context: Context, actions: &mut Actions) {
        let awaited = self.local == Local::Pending;
        self.local = if ok && awaited {
            Local::Ok
        } else {
            Local::Failed
        };
        let retry = self.kind == Kind::Read && !ok && awaited && self.retry;
        if retry {
            actions.mark = Mark::OutOfSync;
        }
        if retry && self.net.job == Job::Nothing && context.peer_readable {
            self.net = Net {
                job: Job::Read,
                expect: Expect::Written,
                queued: true,
                answer: Answer::Expected,
                ..Net::default()
            };
            actions.enqueue = true;
        }
    }

    fn sent(&mut self) {
        self.net.sending = false;
        self.net.sent = true;
        match self.net.job {
            Job::OutOfSync => self.net.done = true,
            Job::Replicate
                if self.net.expect == Expect::Nothing && self.net.answer == Answer::Expected =>
            {
                self.net.answer = Answer::Positive;
            }
            Job::Replicate | Job::Read | Job::Nothing => {}
        }
    }

    fn answered(&mut self, answer: Answer) {
        if !self.net.done && self.net.answer != Answer::Negative {
            self.net.answer = answer;
        }
    }

    fn refused(&mut self, context: Context, actions: &mut Actions) {
        if self.net.done {
            return;
        }
        self.net.answer = Answer::Negative;
        if self.net.job == Job::Read {
            self.net.done = true;
            self.read_here(context, actions);
        }
    }

    /// A read that the peer did not serve goes to our disk, once.
    fn read_here(&mut self, context: Context, actions: &mut Actions) {
        if self.kind == Kind::Read
            && self.retry
            && self.local == Local::Absent
            && context.locally_readable
        {
            self.local = Local::Pending;
            actions.submit_local = true;
        }
    }

    fn connection_lost(&mut self, context: Context, actions: &mut Actions) {
        if self.net.job == Job::Nothing || self.net.done {
            return;
        }
        actions.dequeue = self.net.queued;
        self.net.queued = false;
        self.net.answer = Answer::Negative;
        self.net.done = true;
        if self.net.job == Job::Read && !self.net.receiving {
            self.read_here(context, actions);
        }
    }

    fn resend(&mut self, actions: &mut Actions) {
        let net = &mut self.net;
        if net.job == Job::Nothing || net.done || net.queued || net.sending || net.receiving {
            return;
        }
        if net.job == Job::OutOfSync {
            // The bitmaps were exchanged when the two met again.
            net.done = true;
        } else if net.ok() && self.completed {
            // The application has its buffer back. Had the two exchanged bitmaps, it would be marked and forgotten.
            net.done = true;
        } else {
            // Also what was acknowledged: no barrier says that it outlived a restart of the peer. (8.4 takes it for
            // confirmed; a peer that restarted as the target of a resync looks like one that did not.)
            net.queued = true;
            net.sent = false;
            net.clears = false;
            net.in_sync = false;
            net.answer = Answer::Expected;
            actions.enqueue = true;
        }
    }

    fn restart(&mut self, actions: &mut Actions) {
        let idle = self.local != Local::Pending && !self.net.busy();
        let good = self.local == Local::Ok || self.net.ok();
        // What the disk still holds cannot be given away a second time.
        if idle && !good && !self.completed && self.local != Local::Aborted {
            self.completed = true;
            self.net.done = true;
            actions.restart = true;
        }
    }

    /// Completes and forgets when nothing stands against it.
    fn settle(&mut self, context: Context, actions: &mut Actions) {
        let idle = self.local != Local::Pending && !self.net.busy();
        let both = self.local == Local::Ok && self.net.ok();
        // So does what is to be written again from the start: it may never be, and nothing else says by then that only
        // our disk has it.
        if self.kind.modifies() && idle && !both {
            actions.mark = Mark::OutOfSync;
        }
        if idle && !self.completed && !context.suspended {
            self.completed = true;
            if self.net.answer == Answer::Retry {
                actions.restart = true;
            } else {
                // A copy that the next resync overwrites is none.
                let kept = !(context.inconsistent && self.kind.modifies());
                actions.complete = Some((self.local == Local::Ok && kept) || self.net.ok());
            }
        }
        let disk_done = !matches!(self.local, Local::Pending | Local::Aborted);
        if self.completed && disk_done && self.net.over() {
            actions.forget = true;
            if both && self.net.in_sync && self.kind.modifies() {
                actions.mark = Mark::InSync;
            }
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_answers;
