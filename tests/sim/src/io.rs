// SPDX-License-Identifier: GPL-2.0-only

//! The application's requests (`submit.rs`, `transfer.rs`, `local.rs`) and the sender (`sender.rs`).

use crate::{
    activity::Waiting,
    leftovers::MOST_REQUESTS,
    link::DATA,
    node::{Ending, Io, Node, Order, Purpose, Read, Reply, Rx, Told, SLOTS},
};
use drbd_core::{
    config::choices::Protocol,
    epoch::EpochNumber,
    interval::{Owner, Range},
    request::{
        Actions, Context, Event, Expect, Job, Kind, Local, Mark, NewRequest, Outgoing, Request,
        SlotId,
    },
    resync::{may_clear, next_request, Limits, Rates, TURN_MS},
    state,
    types::{ConnState, DiskState, Role},
    wire::{BarrierPacket, BlockDesc, BlockRequest, Command, DataFlags, DataPacket, ID_SYNCER},
};

/// Owner of an interval: a write of the peer is on its way to our disk.
pub const ON_DISK: u32 = 0;
/// Owner of an interval: we asked the peer for these blocks.
pub const REQUESTED: u32 = 1;
/// Owner of an interval: we read these blocks for the peer.
pub const SERVING: u32 = 2;
/// Owner of an interval: the peer answered, and these blocks are compared.
pub const ANSWERED: u32 = 3;

/// The bytes of some sectors: each begins with its tag.
pub fn bytes(tags: &[u64]) -> Vec<u8> {
    let mut out = vec![0; tags.len() * 512];
    for (at, tag) in tags.iter().enumerate() {
        out[at * 512..at * 512 + 8].copy_from_slice(&tag.to_le_bytes());
    }
    out
}

/// The tags in some bytes.
pub fn tags(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks(512)
        .map(|sector| u64::from_le_bytes(sector[..8].try_into().expect("whole sectors")))
        .collect()
}

impl Node {
    fn context(&self) -> Context {
        Context {
            suspended: self.suspended(),
            peer_readable: self.state.pdsk == DiskState::UpToDate
                && state::is_connected(self.state.conn),
            locally_readable: self.state.disk == DiskState::UpToDate,
            inconsistent: state::is_inconsistent_or_less(self.state.disk),
        }
    }

    /// Whether a write of our own to `range` has to wait.
    fn conflicts(&self, range: &Range) -> bool {
        let busy = |owner: Owner, _: &Range| match owner {
            Owner::Local(slot) => self.log.get(SlotId(slot)).is_some_and(|r| !r.completed()),
            Owner::Peer(_) => true,
        };
        self.entering.is_some_and(|other| other.overlaps(range))
            || self.writes.find_overlap(range, busy).is_some()
    }

    /// A write of ours that is under way there, and whether the peer has still to answer.
    pub fn own_write(&self, range: &Range) -> Option<(Range, bool)> {
        self.own(range, |request| !request.completed())
    }

    /// Whether the peer may have older data there than our application has written.
    pub fn is_ahead_of_peer(&self, range: &Range) -> bool {
        self.own(range, Request::is_ahead_of_peer).is_some()
    }

    fn own(&self, range: &Range, counts: impl Fn(&Request) -> bool) -> Option<(Range, bool)> {
        let mut found = None;
        self.writes.find_overlap(range, |owner, ours| {
            let request = match owner {
                Owner::Local(slot) => self.log.get(SlotId(slot)),
                Owner::Peer(_) => None,
            };
            let busy = request.filter(|request| counts(request));
            if let Some(request) = busy {
                found = Some((*ours, request.is_pending()));
            }
            busy.is_some()
        });
        found
    }

    /// The application's writes that have begun and not ended, wherever they wait.
    pub fn tags_under_way(&self) -> Vec<u64> {
        let held = self.held.iter().filter_map(|held| held.tag);
        let again = self.again.iter().map(|write| write.tag);
        held.chain(again).chain(self.activity.tags()).collect()
    }

    /// Whether a write of ours is under way there.
    pub fn writes_there(&self, range: &Range) -> bool {
        self.own_write(range).is_some()
    }

    /// The application submits a write (or a flush: no sectors). `None`: it has to wait. `Some(false)`: it fails.
    pub fn submit(&mut self, kind: Kind, range: Range, tag: u64) -> Option<bool> {
        if kind == Kind::Flush {
            return self.admit(kind, range, tag, true, None);
        }
        let write = Waiting {
            range,
            tag,
            again: false,
        };
        self.start(write).then_some(true)
    }

    pub(crate) fn admit(
        &mut self,
        kind: Kind,
        range: Range,
        tag: u64,
        first: bool,
        hold: Option<u32>,
    ) -> Option<bool> {
        if self.suspended()
            || self.io_suspenders > 0
            || !state::accepts_new_io(&self.state, self.agreed.version)
        {
            return None;
        }
        if kind == Kind::Write && self.conflicts(&range) {
            return None;
        }
        let job = if state::replicates(&self.state) {
            Job::Replicate
        } else if kind == Kind::Write && state::sends_out_of_sync(&self.state) {
            Job::OutOfSync
        } else {
            Job::Nothing
        };
        let local = self.has_disk();
        if !local && job != Job::Replicate {
            return Some(false);
        }
        // The peer marks a block that only it has, so it must know that only it has it; and it refuses one before it knows
        // that its own disk is good.
        let news = (kind == Kind::Write && self.flags.peer_disk_untold)
            || (!local && self.flags.loss_untold);
        let all_done = self.changes.is_empty() && self.current.is_empty();
        if news && job == Job::Replicate && !all_done {
            return None;
        }
        if kind == Kind::Flush && !local {
            self.log.epoch.close();
            return Some(true);
        }
        let expect = match self.net.as_ref().map(|conf| conf.wire_protocol) {
            Some(Protocol::A) => Expect::Nothing,
            Some(Protocol::B) => Expect::Receipt,
            _ => Expect::Written,
        };
        let new = NewRequest {
            kind,
            range,
            local,
            job,
            expect,
            retry: true,
            now_ms: self.now_ms,
        };
        let max = self
            .net
            .as_ref()
            .map_or(u32::MAX, |conf| conf.max_epoch_size);
        let Ok(slot) = self.log.admit(&new, max) else {
            self.log.epoch.close();
            return None;
        };
        let interval = (kind == Kind::Write)
            .then(|| self.writes.insert(range, Owner::Local(slot.0)))
            .flatten();
        let held = &mut self.held[slot.0 as usize];
        held.tag = Some(tag);
        held.data = tag;
        held.interval = interval;
        held.since = self.clock;
        held.hold = hold;
        self.application += 1;
        if kind == Kind::Write {
            if let (Some(md), DiskState::UpToDate) = (&self.md, self.state.disk) {
                self.exposed = md.uuids.current;
            }
            if first {
                self.told
                    .push(Told::Began(tag, range, local, job == Job::Replicate));
            }
        }
        if local {
            self.local_refs += 1;
            let tags = if kind == Kind::Write {
                vec![tag; range.sectors as usize]
            } else {
                Vec::new()
            };
            self.ios.push(Io {
                purpose: Purpose::Local(slot),
                sector: range.sector as usize,
                tags,
                read: 0,
            });
        }
        Some(true)
    }

    /// A disk operation of ours has ended.
    pub fn local_ended(&mut self, slot: SlotId, ok: bool) {
        if !ok && self.log.get(slot).is_some_and(|r| r.kind == Kind::Write) {
            self.io_error();
        }
        self.tell(slot, Event::LocalDone { ok });
        self.put_local();
    }

    /// Tells a request what happened.
    pub fn tell(&mut self, slot: SlotId, event: Event) {
        let Some(before) = self.log.get(slot).copied() else {
            return;
        };
        let context = self.context();
        let actions = self.log.on(slot, event, context);
        let local = self.log.get(slot).map_or(before.local(), |r| r.local());
        self.perform(
            slot,
            &before,
            actions,
            local == Local::Ok || event == (Event::LocalDone { ok: true }),
        );
    }

    /// Tells all requests.
    pub fn tell_all(&mut self, event: Event, select: impl Fn(&Request) -> bool) {
        let context = self.context();
        let mut list = Vec::new();
        self.log
            .for_each(event, context, select, &mut |slot, request, actions| {
                list.push((slot, request, actions));
            });
        for (slot, request, actions) in list {
            self.perform(slot, &request, actions, request.local() == Local::Ok);
        }
    }

    /// The peer confirmed a barrier.
    pub fn confirm_barrier(&mut self, epoch: u32, writes: u32) -> bool {
        let context = Context {
            suspended: self.suspended(),
            ..Context::default()
        };
        let mut list = Vec::new();
        let confirmed = self.log.confirm_barrier(
            EpochNumber(epoch),
            writes,
            context,
            |slot, request, actions| {
                list.push((slot, request, actions));
            },
        );
        for (slot, request, actions) in list {
            self.perform(slot, &request, actions, request.local() == Local::Ok);
        }
        confirmed.is_ok()
    }

    /// Bits first, then the application.
    fn perform(&mut self, slot: SlotId, request: &Request, actions: Actions, local_ok: bool) {
        let range = request.range;
        match actions.mark {
            Mark::Nothing => {}
            Mark::OutOfSync => self.set_out_of_sync(range.sector, range.sectors.into()),
            Mark::InSync if !may_clear(self.state.conn) => {}
            Mark::InSync => self.set_in_sync(range.sector, range.sectors.into()),
        }
        // What began anew without a copy here was never given to the peer.
        if actions.restart && local_ok && actions.mark == Mark::OutOfSync {
            let last = range.end() - 1;
            drbd_core::bitmap::set_range(&mut self.stable.wanted_again, range.sector / 8, last / 8);
        }
        let held = &mut self.held[slot.0 as usize];
        if actions.complete.is_some() || actions.restart {
            self.application = self.application.saturating_sub(1);
            if let Some(tag) = held.tag.take() {
                let since = held.since;
                // By protocols A and B, the peer's disk may have it later, or never.
                let sent = request.job() == Job::Replicate && actions.mark != Mark::OutOfSync;
                let replicated = sent && request.wanted() == Expect::Written;
                let late = sent && !replicated;
                match (actions.complete, request.kind) {
                    (Some(true), Kind::Write) => self
                        .told
                        .push(Told::Done(tag, range, local_ok, replicated, late)),
                    (Some(true), _) => self.told.push(Told::Flushed(since)),
                    _ if actions.restart => {
                        self.again.push_back(Waiting {
                            range,
                            tag,
                            again: true,
                        });
                    }
                    _ => self.told.push(Told::Failed(tag)),
                }
            }
        }
        if actions.forget {
            let late = request.job() == Job::Replicate && request.wanted() != Expect::Written;
            if late && request.kind == Kind::Write && actions.mark != Mark::OutOfSync {
                let data = self.held[slot.0 as usize].data;
                self.told.push(Told::Arrived(data, range));
            }
            if let Some(node) = self.held[slot.0 as usize].interval.take() {
                self.writes.remove(node);
            }
            let hold = self.held[slot.0 as usize].hold.take();
            self.leave_log(&range, hold);
        }
    }

    pub fn requests_lost(&mut self) {
        // A demoted node marks what the peer did not confirm, and no new generation says so, as in 8.4.
        self.stable.unowed |= self.state.role == Role::Secondary && !self.log.is_empty();
        self.tell_all(Event::ConnectionLost, |_| true);
    }

    /// What an earlier connection carried, and was completed, is marked unless it was confirmed.
    pub fn mark_unconfirmed(&mut self) {
        self.tell_all(Event::ConnectionLost, Request::completed);
    }

    /// Whether the sender could do something.
    pub fn sender_ready(&self) -> bool {
        self.rx == Rx::Running
            && self.order == Order::Run
            && (!self.replies.is_empty()
                || self.ending != Ending::No
                || self.log.has_to_send(&self.wire, false)
                || self.now_ms.saturating_sub(self.last_tick) >= TURN_MS)
    }

    /// One job of the sender.
    pub fn sender(&mut self) {
        match self.ending {
            Ending::No => {}
            Ending::AcksIdle => {
                if self.acks.is_empty() {
                    self.send(
                        crate::link::META,
                        Command::Ping,
                        &drbd_core::wire::Empty,
                        &[],
                    );
                    self.ending = Ending::Ping {
                        before: self.ping_acks,
                        until: self.now_ms + 2000,
                    };
                }
                return;
            }
            Ending::Ping { before, until } => {
                if self.ping_acks != before {
                    self.ending = Ending::No;
                    self.finished();
                } else if self.now_ms > until {
                    self.ending = Ending::No;
                }
                return;
            }
        }
        if self.now_ms.saturating_sub(self.last_tick) >= TURN_MS {
            self.last_tick = self.now_ms;
            self.tick();
            return;
        }
        if let Some(reply) = self.replies.pop_front() {
            self.send_reply(reply);
            return;
        }
        match self.log.next_to_send(&mut self.wire, false) {
            Some(Outgoing::Request(work)) => self.send_request(work.slot, work.id.0, &work.request),
            Some(Outgoing::Barrier(epoch)) => self.send_barrier(epoch),
            None => {}
        }
    }

    fn send_barrier(&mut self, epoch: EpochNumber) {
        self.send(
            DATA,
            Command::Barrier,
            &BarrierPacket {
                barrier: epoch.0,
                pad: 0,
            },
            &[],
        );
    }

    fn send_request(&mut self, slot: SlotId, id: u64, request: &Request) {
        let range = request.range;
        match request.job() {
            Job::Replicate if request.kind == Kind::Write => {
                self.packet_seq += 1;
                let resync = state::is_resync(self.state.conn);
                let head = DataPacket {
                    sector: range.sector,
                    block_id: id,
                    seq_num: self.packet_seq,
                    flags: DataFlags::NONE
                        .with(DataFlags::MAY_SET_IN_SYNC, resync)
                        .with(
                            DataFlags::SEND_RECEIVE_ACK,
                            request.wanted() == Expect::Receipt,
                        )
                        .with(
                            DataFlags::SEND_WRITE_ACK,
                            request.wanted() == Expect::Written || resync,
                        ),
                };
                let tag = self.held[slot.0 as usize].data;
                let payload = bytes(&vec![tag; range.sectors as usize]);
                self.send(DATA, Command::Data, &head, &payload);
            }
            Job::OutOfSync => {
                let desc = BlockDesc {
                    sector: range.sector,
                    blksize: range.bytes(),
                };
                self.send(DATA, Command::OutOfSync, &desc, &[]);
            }
            _ => {}
        }
        self.log.note_sent(slot, self.now_ms);
        self.tell(slot, Event::Sent);
    }

    /// A turn of the target (`resync.rs`).
    fn tick(&mut self) {
        if self.tick_verify() {
            return;
        }
        let target = matches!(
            self.state.conn,
            ConnState::SyncTarget | ConnState::PausedSyncT
        );
        if target && self.weight() <= self.failed && self.resync_pending == 0 {
            self.ending = Ending::AcksIdle;
            return;
        }
        let source = state::is_sync_source(self.state.conn);
        if source && self.target_has_all && self.weight() <= self.failed {
            self.finished();
            return;
        }
        if self.state.conn != ConnState::SyncTarget || !self.has_disk() {
            return;
        }
        let rates = Rates::from(&self.disk_conf);
        let arrived = std::mem::take(&mut self.arrived);
        let mut budget = self.controller.tick(arrived, &rates, 2048);
        while budget > 0 {
            let Some(range) = self.pick(budget) else {
                break;
            };
            budget = budget.saturating_sub(range.sectors.div_ceil(8));
            let request = BlockRequest {
                sector: range.sector,
                block_id: ID_SYNCER,
                blksize: range.bytes(),
            };
            self.send(DATA, Command::RsDataRequest, &request, &[]);
        }
    }

    fn pick(&mut self, budget: u32) -> Option<Range> {
        if self.resync_pending >= MOST_REQUESTS {
            return None;
        }
        let bits = self.nbits();
        let (request, range) = loop {
            let Some(bit) = drbd_core::bitmap::find_set(&self.bits, self.cursor, bits) else {
                if self.resync_pending == 0 && self.failed == 0 {
                    self.cursor = 0;
                }
                return None;
            };
            let limits = Limits {
                max_bytes: 32768,
                discard_granularity: 0,
                capacity_sectors: self.capacity,
                budget_blocks: budget,
            };
            let request = next_request(bit, &limits, |bit| {
                bit < bits && drbd_core::bitmap::is_set(&self.bits, bit)
            })?;
            let range = Range::new(0, request.sector, request.bytes);
            // What has come and is not on the disk yet is not asked for again.
            if !self.occupied(&range) {
                break (request, range);
            }
            self.cursor = request.next_bit();
        };
        let asked = |owner: Owner, _: &Range| owner == Owner::Peer(REQUESTED);
        if self.is_ahead_of_peer(&range) || self.writes.find_overlap(&range, asked).is_some() {
            return None;
        }
        self.writes.insert(range, Owner::Peer(REQUESTED))?;
        self.cursor = request.next_bit();
        self.controller.requested(request.bits);
        self.resync_pending += 1;
        Some(range)
    }

    fn send_reply(&mut self, reply: Reply) {
        let range = reply.range;
        match reply.read {
            Read::Resync => {}
            Read::VerifyRequest => return self.send_digest(&reply),
            Read::VerifyReply(theirs) => return self.compare_digest(&reply, theirs),
        }
        if let Some(node) = reply.node {
            self.writes.remove(node);
        }
        if !reply.ok {
            self.failed += u64::from(range.sectors).div_ceil(8);
            self.queue_ack(Command::NegRsDreply, range, reply.block_id);
            return;
        }
        if state::has_no_data(self.state.pdsk) {
            return;
        }
        self.resync_pending += 1;
        let head = DataPacket {
            sector: range.sector,
            block_id: ID_SYNCER,
            seq_num: 0,
            flags: DataFlags::NONE,
        };
        let payload = bytes(&reply.data);
        self.send(DATA, Command::RsDataReply, &head, &payload);
    }

    /// Whether a slot is free.
    pub fn has_room(&self) -> bool {
        (self.log.len() as usize) < SLOTS
    }
}
