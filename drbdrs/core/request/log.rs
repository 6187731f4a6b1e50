// SPDX-License-Identifier: GPL-2.0-only

//! The transfer log: every request that is not forgotten, in the order of submission, over slots
//! that are reserved when the resource is made.
//!
//! The block id that travels on the wire is a slot and its generation, never an address, so an
//! answer of the peer is looked up and checked; a stale or invented one finds nothing.

use core::ops::DerefMut;

use super::{Actions, Context, Event, Expect, Job, Kind, Local, Request};
use crate::epoch::{EpochNumber, Tracker, Wire};
use crate::interval::Range;

const NIL: u32 = u32::MAX;

/// The index of a live request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(pub u32);

/// What identifies a request on the wire. Opaque to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId(pub u64);

/// No slot is free: the application has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The peer confirmed a barrier that does not fit our log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierMismatch {
    /// The oldest epoch that waits for a confirmation.
    pub expected: Option<EpochNumber>,
    /// How many writes it has.
    pub writes: u32,
}

/// What is asked of the log.
#[derive(Clone, Copy, Debug)]
pub struct NewRequest {
    /// What it is.
    pub kind: Kind,
    /// Where.
    pub range: Range,
    /// It goes to our disk.
    pub local: bool,
    /// What the sender does for it.
    pub job: Job,
    /// Which answer completes it.
    pub expect: Expect,
    /// A failed read is tried on the other node.
    pub retry: bool,
    /// Now, in milliseconds of any steady clock.
    pub now_ms: u64,
}

/// What the sender is to do next.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// For which request.
    pub slot: SlotId,
    /// Its id on the wire.
    pub id: BlockId,
    /// A copy of the request.
    pub request: Request,
}

/// What goes on the wire next.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing {
    /// The end of that epoch.
    Barrier(EpochNumber),
    /// A request.
    Request(Work),
}

/// Storage of one request.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    request: Option<Request>,
    generation: u32,
    /// Neighbours in the log; `next` also links the free slots.
    previous: u32,
    next: u32,
    /// Neighbours in the send queue.
    send_previous: u32,
    send_next: u32,
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            request: None,
            generation: 1,
            previous: NIL,
            next: NIL,
            send_previous: NIL,
            send_next: NIL,
        }
    }
}

/// The transfer log and its slots.
#[derive(Clone)]
pub struct Log<S> {
    slots: S,
    free: u32,
    head: u32,
    tail: u32,
    send_head: u32,
    send_tail: u32,
    live: u32,
    /// The open epoch.
    pub epoch: Tracker,
}

impl<S: DerefMut<Target = [Slot]>> Log<S> {
    /// An empty log over `slots`, whose length is the capacity.
    pub fn new(mut slots: S) -> Self {
        let mut free = NIL;
        for (i, slot) in slots.iter_mut().enumerate().rev() {
            *slot = Slot {
                next: free,
                ..Slot::default()
            };
            free = i as u32;
        }
        Log {
            slots,
            free,
            head: NIL,
            tail: NIL,
            send_head: NIL,
            send_tail: NIL,
            live: 0,
            epoch: Tracker::default(),
        }
    }

    /// Live requests.
    pub fn len(&self) -> u32 {
        self.live
    }

    /// Whether no request is live.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Takes a request in: a slot, the log, the epoch and, with a job, the send queue.
    /// A replicated flush closes the epoch: its barrier makes the peer flush.
    pub fn admit(&mut self, new: &NewRequest, max_epoch_size: u32) -> Result<SlotId, Full> {
        let id = self.free;
        let slot = self.slots.get_mut(id as usize).ok_or(Full)?;
        self.free = slot.next;
        let epoch = match (new.job, new.kind) {
            (Job::Replicate, Kind::Flush) => {
                self.epoch.close();
                self.epoch.current()
            }
            (Job::Replicate, _) => self.epoch.admit(max_epoch_size),
            _ => self.epoch.current(),
        };
        let request = Request::new(new, epoch);
        slot.request = Some(request);
        slot.previous = self.tail;
        slot.next = NIL;
        let tail = core::mem::replace(&mut self.tail, id);
        match self.slots.get_mut(tail as usize) {
            Some(before) => before.next = id,
            None => self.head = id,
        }
        self.live = self.live.saturating_add(1);
        if request.net.queued {
            self.enqueue(id);
        }
        Ok(SlotId(id))
    }

    /// A live request.
    pub fn get(&self, id: SlotId) -> Option<&Request> {
        self.slots.get(id.0 as usize)?.request.as_ref()
    }

    /// The id of a live request on the wire.
    pub fn block_id(&self, id: SlotId) -> Option<BlockId> {
        let slot = self
            .slots
            .get(id.0 as usize)
            .filter(|slot| slot.request.is_some())?;
        Some(BlockId(u64::from(slot.generation) << 32 | u64::from(id.0)))
    }

    /// The request that the peer answers, when it is live and of that place.
    pub fn find(&self, id: BlockId, volume: u16, sector: u64) -> Option<SlotId> {
        let index = (id.0 & u64::from(u32::MAX)) as u32;
        let slot = self.slots.get(index as usize)?;
        let request = slot.request.as_ref()?;
        (u64::from(slot.generation) == id.0 >> 32
            && request.range.volume == volume
            && request.range.sector == sector)
            .then_some(SlotId(index))
    }

    /// Tells a request what happened. Keeps the queues and the epoch; when the actions say forget,
    /// the slot is free already.
    pub fn on(&mut self, id: SlotId, event: Event, context: Context) -> Actions {
        let Some(request) = self
            .slots
            .get_mut(id.0 as usize)
            .and_then(|s| s.request.as_mut())
        else {
            return Actions::default();
        };
        let actions = request.on(event, context);
        if actions.enqueue && request.job() == Job::Read {
            // It goes out among the writes of the epoch that is open now.
            request.epoch = self.epoch.current();
        }
        let (epoch, modifies) = (request.epoch, request.kind.modifies());
        if actions.dequeue {
            self.dequeue(id.0);
        }
        if actions.enqueue {
            self.enqueue(id.0);
        }
        if actions.complete.is_some() && modifies {
            self.epoch.completed(epoch);
        }
        if actions.forget {
            self.release(id.0);
        }
        actions
    }

    /// What the sender puts on the wire next; of a request it then says `Sent` or `SendFailed`. With `held_back` no
    /// request goes out now.
    ///
    /// Queue and open epoch are looked at together: were the barrier decided on after the lock was let go, a write
    /// could be admitted and its epoch closed in between, and the barrier would go out before the write.
    pub fn next_to_send(&mut self, wire: &mut Wire, held_back: bool) -> Option<Outgoing> {
        if let Some(barrier) = wire.advance(self.epoch_to_send()) {
            return Some(Outgoing::Barrier(barrier));
        }
        if held_back {
            return None;
        }
        let work = self.take_to_send()?;
        if work.request.job() == Job::Replicate {
            wire.write(work.request.epoch);
        }
        Some(Outgoing::Request(work))
    }

    /// Whether [`Log::next_to_send`] gives something.
    pub fn has_to_send(&self, wire: &Wire, held_back: bool) -> bool {
        (!held_back && self.peek_to_send().is_some()) || wire.owes_barrier(self.epoch_to_send())
    }

    /// Of what goes out next, now or later.
    fn epoch_to_send(&self) -> EpochNumber {
        let next = self.peek_to_send();
        next.map_or(self.epoch.current(), |request| request.epoch)
    }

    pub(super) fn take_to_send(&mut self) -> Option<Work> {
        let id = self.send_head;
        self.slots.get(id as usize)?;
        self.dequeue(id);
        let slot = self.slots.get_mut(id as usize)?;
        let request = slot.request.as_mut()?;
        request.on(
            Event::Taken,
            Context {
                suspended: true,
                ..Context::default()
            },
        );
        let request = *request;
        Some(Work {
            slot: SlotId(id),
            id: self.block_id(SlotId(id))?,
            request,
        })
    }

    /// The next request in the queue of the sender.
    pub fn peek_to_send(&self) -> Option<&Request> {
        self.slots.get(self.send_head as usize)?.request.as_ref()
    }

    /// Notes the time at which a request went out.
    pub fn note_sent(&mut self, id: SlotId, now_ms: u64) {
        if let Some(request) = self
            .slots
            .get_mut(id.0 as usize)
            .and_then(|s| s.request.as_mut())
        {
            request.sent_ms = now_ms;
        }
    }

    /// The packet of a request that goes out now lets the peer clear its out-of-sync bits.
    pub fn note_clears(&mut self, id: SlotId) {
        let slot = self.slots.get_mut(id.0 as usize);
        if let Some(request) = slot.and_then(|slot| slot.request.as_mut()) {
            request.net.clears = true;
        }
    }

    /// Whether a mark of that volume waits for the sender, or is in its hands.
    pub fn has_marks_to_send(&self, volume: u16) -> bool {
        self.iter().any(|(_, request)| {
            let net = &request.net;
            net.job == Job::OutOfSync
                && (net.queued || net.sending)
                && request.range.volume == volume
        })
    }

    /// Whether our disk has a write of that volume in its hands. If it goes there alone, it is marked when that ends: a
    /// bitmap that is sent before lacks it. (Suspended I/O is not completed, so the application's count does not tell.)
    pub fn has_writes_on_disk(&self, volume: u16) -> bool {
        self.iter().any(|(_, request)| {
            let pending = request.local == Local::Pending && request.kind.modifies();
            pending && request.range.volume == volume
        })
    }

    /// Whether the peer may lack writes of a volume that are done for the application ([`Request::in_doubt`]).
    pub fn has_in_doubt(&self, volume: u16) -> bool {
        self.iter()
            .any(|(_, request)| request.in_doubt() && request.range.volume == volume)
    }

    /// The peer confirmed barrier `epoch` of `writes` writes: tells each of them.
    ///
    /// # Errors
    ///
    /// The oldest unconfirmed epoch has another number or another size, or a write in it has no
    /// answer yet; nothing was changed.
    pub fn confirm_barrier(
        &mut self,
        epoch: EpochNumber,
        writes: u32,
        context: Context,
        mut act: impl FnMut(SlotId, Request, Actions),
    ) -> Result<(), BarrierMismatch> {
        let expected = self
            .iter()
            .find(|(_, r)| r.awaits_barrier())
            .map(|(_, r)| r.epoch);
        let waiting = |r: &Request| r.awaits_barrier() && Some(r.epoch) == expected;
        let count = self.iter().filter(|(_, r)| waiting(r)).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let unanswered = self.iter().any(|(_, r)| waiting(r) && r.awaits_answer());
        if expected != Some(epoch) || count != writes || unanswered {
            return Err(BarrierMismatch {
                expected,
                writes: count,
            });
        }
        self.for_each(Event::BarrierAcked, context, waiting, &mut act);
        Ok(())
    }

    /// A barrier is confirmed while two Primaries are allowed: earlier ones that the peer did not confirm are, too.
    ///
    /// 8.4 never ends the epoch of a write that it has refused for the sake of its own, and confirms the next one. By
    /// then it has written, and flushed, what came before; nothing is taken for confirmed that has no answer. Call
    /// [`Log::confirm_barrier`] afterwards.
    pub fn confirm_skipped(
        &mut self,
        confirmed: EpochNumber,
        context: Context,
        mut act: impl FnMut(SlotId, Request, Actions),
    ) {
        let waits = |r: &Request| r.awaits_barrier() && r.epoch == confirmed;
        let skipped = |r: &Request| r.awaits_barrier() && r.epoch.is_before(confirmed);
        let unanswered = |r: &Request| skipped(r) && r.awaits_answer();
        if self.iter().any(|(_, r)| waits(r)) && !self.iter().any(|(_, r)| unanswered(r)) {
            self.for_each(Event::BarrierAcked, context, skipped, &mut act);
        }
    }

    /// Tells every request that `select` picks, oldest first.
    pub fn for_each(
        &mut self,
        event: Event,
        context: Context,
        select: impl Fn(&Request) -> bool,
        act: &mut impl FnMut(SlotId, Request, Actions),
    ) {
        let mut at = self.head;
        while let Some(slot) = self.slots.get(at as usize) {
            let next = slot.next;
            if let Some(request) = slot.request.filter(|r| select(r)) {
                let actions = self.on(SlotId(at), event, context);
                act(SlotId(at), request, actions);
            }
            at = next;
        }
    }

    /// The live requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &Request)> + '_ {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            let id = core::mem::replace(&mut at, slot.next);
            Some((SlotId(id), slot.request.as_ref()?))
        })
    }

    fn epoch_of(&self, id: u32) -> Option<EpochNumber> {
        let request = self.slots.get(id as usize)?.request.as_ref()?;
        Some(request.epoch)
    }

    /// Behind what is as old: a barrier parts the epochs, so what is sent again must not come behind what is younger.
    fn enqueue(&mut self, id: u32) {
        let Some(epoch) = self.epoch_of(id) else {
            return;
        };
        let (mut previous, mut next) = (self.send_tail, NIL);
        while self
            .epoch_of(previous)
            .is_some_and(|other| epoch.is_before(other))
        {
            next = previous;
            previous = (self.slots.get(previous as usize)).map_or(NIL, |slot| slot.send_previous);
        }
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.send_previous = previous;
            slot.send_next = next;
        }
        match self.slots.get_mut(previous as usize) {
            Some(before) => before.send_next = id,
            None => self.send_head = id,
        }
        match self.slots.get_mut(next as usize) {
            Some(after) => after.send_previous = id,
            None => self.send_tail = id,
        }
    }

    fn dequeue(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        let previous = core::mem::replace(&mut slot.send_previous, NIL);
        let next = core::mem::replace(&mut slot.send_next, NIL);
        match self.slots.get_mut(previous as usize) {
            Some(before) => before.send_next = next,
            None => self.send_head = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(after) => after.send_previous = previous,
            None => self.send_tail = previous,
        }
    }

    fn release(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        slot.request = None;
        // Never 0 nor all ones: those ids mean other things on the wire.
        slot.generation = if slot.generation >= u32::MAX - 1 {
            1
        } else {
            slot.generation + 1
        };
        let previous = core::mem::replace(&mut slot.previous, NIL);
        let next = core::mem::replace(&mut slot.next, self.free);
        self.free = id;
        match self.slots.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => self.tail = previous,
        }
        self.live = self.live.saturating_sub(1);
    }
}
