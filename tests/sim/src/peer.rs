// SPDX-License-Identifier: GPL-2.0-only

//! The receiver and the acknowledgements (`connection.rs`, `session.rs`, `receiver.rs`, `params.rs`, `handshake.rs`,
//! `peer_data.rs`, `bitmap_exchange.rs`, `ack.rs`, `acks.rs`, and the receiving half of `resync.rs`).
//!
//! A handler that has to wait returns `Wait`; its packet is handed to it again later, and [`Node::stage`] says how far
//! it had come.

use crate::{
    io::{tags, ON_DISK, REQUESTED, SERVING},
    link::{Arrived, DATA, META},
    node::{Answer, Io, Node, Order, PeerWrite, Purpose, Reply, Rx, Told},
};
use drbd_core::{
    epoch::Incoming,
    handshake::{
        self, Conclusion, Considered, Facts, LocalSizes, PeerSizes, Pending, SyncUuidArrival,
        UuidFacts, UuidReaction,
    },
    interval::{Owner, Range},
    peer_request::{self, Ack, Origin},
    request::{BlockId, Event},
    resync::{self as rules, UuidUpdate},
    state::{self, Change, How},
    types::{ConnState, DiskState, Role, State, StateRv, Uuid},
    uuid::{
        sync_handshake, Agreed as Common, Demotion, Handshake, PeerUuids, Plan, Policies, Policy,
        Refusal, Side,
    },
    wire::{
        BarrierAck, BarrierPacket, BitmapRecv, BitmapSend, Bits, BlockAck, BlockDesc, BlockRequest,
        Command, ConnFlags, ConnectionFeatures, DataFlags, DataPacket, Empty, Features, Packet,
        Protocol, Sizes, SizesFlags, StateChange, StateChangeReply, StatePacket, SyncUuid,
        UuidFlags, UuidsPacket, ID_SYNCER,
    },
};

/// What became of a packet.
#[derive(Debug)]
pub enum Outcome {
    /// It is done with.
    Done,
    /// Not now.
    Wait,
    /// The connection cannot go on.
    Broken(&'static str),
}
use Outcome::{Broken, Done, Wait};

/// Bitmaps as the exchange sees them.
struct View<'a>(&'a mut Vec<u64>, u64);

impl Bits for View<'_> {
    fn len(&self) -> u64 {
        self.1
    }
    fn next_set(&mut self, from: u64) -> Option<u64> {
        drbd_core::bitmap::find_set(self.0, from, self.1)
    }
    fn next_clear(&mut self, from: u64) -> Option<u64> {
        drbd_core::bitmap::find_clear(self.0, from, self.1)
    }
    fn set(&mut self, first: u64, last: u64) {
        drbd_core::bitmap::set_range(self.0, first, last);
    }
    fn word(&mut self, index: u64) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }
    fn merge_word(&mut self, index: u64, bits: u64) {
        if let Some(word) = self.0.get_mut(index as usize) {
            *word |= bits;
        }
    }
}

fn has_metadata(disk: DiskState) -> bool {
    !state::is_failed_or_less(disk)
}

impl Node {
    pub fn send<P: Packet>(&mut self, stream: usize, command: Command, packet: &P, payload: &[u8]) {
        let format = self.agreed.format();
        if let Some(link) = self.link.as_mut() {
            link.send(stream, format, command, packet, payload);
        }
    }

    /// Whether the receiver could do something.
    pub fn receiver(&mut self) -> bool {
        match self.rx {
            Rx::Off => {
                if !std::mem::take(&mut self.start_receiver) {
                    return false;
                }
                self.rx = Rx::Begin;
            }
            Rx::Retry(until) => {
                if self.wanted() && self.now_ms < until {
                    return false;
                }
                self.rx = Rx::Begin;
            }
            Rx::Begin => {
                if self.order == Order::Restart {
                    self.order = Order::Run;
                }
                let wish = Change::conn(ConnState::WfConnection);
                let entered = self.change_all(&wish, How::SOFT) == StateRv::Success;
                self.agreed.version = 80;
                self.agreed.features = Features::NONE;
                self.disconnect_sent = false;
                self.rx = if entered { Rx::WaitSocket } else { Rx::Down(0) };
            }
            Rx::WaitSocket => {
                if !self.wanted() {
                    self.rx = Rx::Down(0);
                } else if self.link.is_some() {
                    let ours = ConnectionFeatures::OURS;
                    if let Some(link) = self.link.as_mut() {
                        link.send(
                            DATA,
                            drbd_core::wire::Format::Short,
                            Command::ConnectionFeatures,
                            &ours,
                            &[],
                        );
                    }
                    self.rx = Rx::AwaitHello;
                    self.heard_ms = self.now_ms;
                } else {
                    return false;
                }
            }
            Rx::AwaitHello => return self.await_hello(),
            Rx::Report => return self.report(),
            Rx::Running => return self.run_receiver(),
            Rx::Down(stage) => return self.tear_down(stage),
        }
        true
    }

    fn await_hello(&mut self) -> bool {
        if !self.wanted() {
            self.rx = Rx::Down(0);
            return true;
        }
        let late = self.now_ms > self.heard_ms + 2000;
        let agreed = self.agreed;
        let Some(link) = self.link.as_mut() else {
            self.rx = Rx::Down(0);
            return true;
        };
        let packet = match link.receive(DATA, &agreed, true) {
            Ok(Some(packet)) => packet,
            Ok(None) if link.ended || late => {
                self.rx = Rx::Down(0);
                return true;
            }
            Ok(None) => return false,
            Err(why) => panic!("first packet: {why}"),
        };
        let peer = ConnectionFeatures::decode(packet.fixed()).expect("features");
        let common = handshake::negotiate(peer.protocol_min, peer.protocol_max, peer.features.0)
            .expect("same program");
        self.agreed = drbd_core::wire::Agreed {
            version: common.version,
            features: Features(common.features.0),
            integrity_digest: 0,
        };
        let net = self.net.expect("configured");
        let protocol = Protocol {
            protocol: net.wire_protocol.to_wire(),
            after_sb_0p: net.after_sb_0p.to_wire(),
            after_sb_1p: net.after_sb_1p.to_wire(),
            after_sb_2p: net.after_sb_2p.to_wire(),
            flags: ConnFlags::NONE.with(ConnFlags::DISCARD_MY_DATA, net.discard_my_data),
            two_primaries: net.two_primaries.into(),
            integrity_alg: Some(drbd_core::wire::AlgName::NONE),
        };
        self.send(DATA, Command::Protocol, &protocol, &[]);
        self.rx = Rx::Report;
        true
    }

    fn report(&mut self) -> bool {
        if self.turn.is_some() {
            return false;
        }
        self.state_sent = true;
        self.flags.discard_my_data = self.net.is_some_and(|net| net.discard_my_data);
        self.bitmap_in = None;
        self.send_sizes();
        self.send_uuids();
        self.send_state(self.state);
        let result = self.change_all(&Change::conn(ConnState::WfReportParams), How::SOFT);
        if result != StateRv::Success || self.cstate != ConnState::WfReportParams {
            self.state_sent = false;
            self.rx = Rx::Down(0);
            return true;
        }
        if let Some(net) = self.net.as_mut() {
            net.discard_my_data = false;
        }
        self.heard_ms = self.now_ms;
        self.pinged_at = None;
        self.rx = Rx::Running;
        true
    }

    fn run_receiver(&mut self) -> bool {
        if !self.wanted() {
            self.rx = Rx::Down(0);
            return true;
        }
        if self.packet.is_none() {
            let agreed = self.agreed;
            let Some(link) = self.link.as_mut() else {
                self.connection_failed(ConnState::BrokenPipe);
                return true;
            };
            match link.receive(DATA, &agreed, false) {
                Ok(Some(packet)) => {
                    self.packet = Some(packet);
                    self.stage = 0;
                }
                Ok(None) if link.ended => {
                    if self.disconnect_sent
                        && self.cstate == ConnState::WfReportParams
                        && self.heard_ms + 500 > self.now_ms
                    {
                        return false;
                    }
                    self.connection_failed(ConnState::BrokenPipe);
                    return true;
                }
                Ok(None) => return false,
                Err(_) => {
                    self.connection_failed(ConnState::ProtocolError);
                    self.told.push(Told::Failed(u64::MAX));
                    return true;
                }
            }
        }
        self.heard_ms = self.now_ms;
        let packet = self.packet.take().expect("just seen");
        match self.packet(&packet) {
            Done => {}
            Wait => {
                self.packet = Some(packet);
                return false;
            }
            Broken(why) => {
                if self.wanted() && why.starts_with('!') {
                    panic!(
                        "node {}: {:?}: {why} in {}",
                        self.id, packet.command, self.state
                    );
                }
                self.connection_failed(ConnState::ProtocolError);
            }
        }
        true
    }

    fn tear_down(&mut self, stage: u8) -> bool {
        match stage {
            0 => {
                self.drop_packet();
                if self.cstate == ConnState::StandAlone {
                    self.rx = Rx::Off;
                    return true;
                }
                self.connection_failed(ConnState::NetworkFailure);
                self.closed.extend(self.link.take());
                self.ending = crate::node::Ending::No;
                self.resync_wish = None;
                self.rx = Rx::Down(1);
            }
            1 => {
                if self.in_flight > 0 {
                    return false;
                }
                for reply in std::mem::take(&mut self.replies) {
                    if let Some(node) = reply.node {
                        self.writes.remove(node);
                    }
                }
                self.acks.clear();
                self.incoming = Incoming::default();
                self.wire = drbd_core::epoch::Wire::default();
                let all = Range {
                    volume: 0,
                    sector: 0,
                    sectors: u32::MAX,
                };
                let ours = |owner: Owner, _: &Range| owner == Owner::Peer(REQUESTED);
                while let Some((node, _)) = self.writes.find_overlap(&all, ours) {
                    self.writes.remove(node);
                }
                self.resync_pending = 0;
                self.cursor = 0;
                self.controller.reset();
                self.arrived = 0;
                self.rx = Rx::Down(2);
                self.stage = 0;
            }
            2 => {
                if self.worker_ready() {
                    return false;
                }
                self.state_sent = false;
                self.peer_uuids = None;
                if !self.suspended() {
                    self.requests_lost();
                }
                self.sync_metadata();
                self.write_bitmap();
                let leaving = self.cstate == ConnState::Disconnecting;
                let result = match leaving {
                    true => StateRv::InTransientState,
                    false => self.change_all(&Change::conn(ConnState::Unconnected), How::SOFT),
                };
                if result == StateRv::InTransientState {
                    self.change_all(&Change::conn(ConnState::StandAlone), How::HARD);
                }
                self.rx = match self.cstate {
                    ConnState::Unconnected => Rx::Retry(self.now_ms + 100),
                    _ => Rx::Off,
                };
            }
            _ => {}
        }
        true
    }

    /// A packet that waits is not carried out any more: what it holds is given back.
    fn drop_packet(&mut self) {
        let Some(packet) = self.packet.take() else {
            return;
        };
        if matches!(packet.command, Command::Data | Command::RsDataRequest) && self.stage >= 1 {
            self.in_flight -= 1;
            self.put_local();
        }
    }

    fn packet(&mut self, packet: &Arrived) -> Outcome {
        match packet.command {
            Command::Data => self.data(packet),
            Command::Barrier => self.barrier(packet),
            Command::OutOfSync => self.out_of_sync(packet),
            Command::RsDataRequest => self.rs_data_request(packet),
            Command::RsDataReply => self.rs_data_reply(packet),
            Command::Sizes => self.sizes(packet),
            Command::Uuids => self.uuids(packet),
            Command::State => self.peer_state(packet),
            Command::SyncUuid => self.sync_uuid(packet),
            Command::Bitmap | Command::CompressedBitmap => self.bitmap(packet),
            Command::Protocol => self.protocol(packet),
            Command::StateChgReq => self.requested(packet, Command::StateChgReply),
            Command::ConnStChgReq => self.requested(packet, Command::ConnStChgReply),
            _ => Broken("! unexpected"),
        }
    }

    fn protocol(&mut self, packet: &Arrived) -> Outcome {
        let peer = Protocol::decode(&packet.body).expect("protocol");
        if self.net.is_some_and(|net| net.discard_my_data)
            && peer.flags.contains(ConnFlags::DISCARD_MY_DATA)
        {
            self.connection_failed(ConnState::Disconnecting);
            return Broken("both discard");
        }
        Done
    }

    pub fn send_sizes(&mut self) {
        let packet = Sizes {
            disk: if self.local && has_metadata(self.state.disk) {
                self.capacity
            } else {
                0
            },
            user: 0,
            current: self.capacity,
            max_bio_size: 1 << 20,
            queue_order_type: 0,
            flags: SizesFlags::NONE,
            limits: self
                .agreed
                .features
                .contains(Features::WRITE_SAME)
                .then(Default::default),
        };
        self.send(DATA, Command::Sizes, &packet, &[]);
    }

    fn sizes(&mut self, packet: &Arrived) -> Outcome {
        let theirs = Sizes::decode(&packet.body).expect("sizes");
        let peer = PeerSizes {
            disk: theirs.disk,
            requested: theirs.user,
            current: theirs.current,
        };
        let mine = self.has_disk().then_some(LocalSizes {
            capacity: self.capacity,
            last_agreed: self.capacity,
            requested: 0,
        });
        self.peer_disk = theirs.disk;
        if handshake::on_peer_sizes(&peer, mine.as_ref(), self.capacity, &self.state).is_refusal() {
            self.give_up();
            return Broken("sizes");
        }
        Done
    }

    pub fn give_up(&mut self) {
        self.change_all(&Change::conn(ConnState::Disconnecting), How::HARD);
    }

    pub fn send_uuids(&mut self) {
        let discard = self.net.is_some_and(|net| net.discard_my_data);
        let dirty_bits = self.weight();
        let Some(md) = self.md.as_ref().filter(|_| has_metadata(self.state.disk)) else {
            return;
        };
        let packet = UuidsPacket {
            current: md.uuids.current,
            bitmap: md.uuids.bitmap,
            history: md.uuids.history,
            dirty_bits,
            flags: UuidFlags::NONE
                .with(UuidFlags::DISCARD_MY_DATA, discard)
                .with(UuidFlags::CRASHED_PRIMARY, self.flags.crashed_primary)
                .with(
                    UuidFlags::INCONSISTENT,
                    self.state.disk == DiskState::Negotiating
                        && self.negotiated.0 == DiskState::Inconsistent,
                ),
        };
        self.told_bits = dirty_bits;
        self.send(DATA, Command::Uuids, &packet, &[]);
    }

    pub fn send_state(&mut self, state: State) {
        self.send(
            DATA,
            Command::State,
            &StatePacket {
                state: state.to_wire(),
            },
            &[],
        );
    }

    fn uuids(&mut self, packet: &Arrived) -> Outcome {
        if self.turn.is_some() {
            return Wait;
        }
        let theirs = UuidsPacket::decode(packet.fixed()).expect("uuids");
        let [young, old] = theirs.history;
        let peer = PeerUuids::from_wire([
            theirs.current.0,
            theirs.bitmap.0,
            young.0,
            old.0,
            theirs.dirty_bits,
            theirs.flags.0,
        ]);
        self.peer_uuids = Some(peer);
        let facts = UuidFacts {
            state: self.state,
            effective: self.exposed,
            local_current: self
                .md
                .as_ref()
                .filter(|_| self.has_disk())
                .map(|md| md.uuids.current),
            version: self.agreed.version,
        };
        match handshake::on_peer_uuids(&peer, &facts) {
            UuidReaction::Remember => {}
            UuidReaction::OtherGenerationInUse => {
                self.refused_other = true;
                self.give_up();
                return Broken("other generation in use");
            }
            UuidReaction::SkipInitialSync => {}
            UuidReaction::AdoptEffective(uuid) => self.exposed = uuid,
        }
        Done
    }

    fn facts(&self) -> Facts {
        Facts {
            have_peer_uuids: self.peer_uuids.is_some(),
            have_disk: self.md.is_some() && has_metadata(self.state.disk),
            consider_resync: self.flags.consider_resync,
            out_of_sync: self.weight(),
            resync_failed: self.failed,
            negotiated_disk: self.negotiated.0,
            new_generation_due: self.flags.new_current_uuid,
            dry_run: false,
        }
    }

    fn peer_state(&mut self, packet: &Arrived) -> Outcome {
        let bits = StatePacket::decode(packet.fixed()).expect("state").state;
        let peer = State::from_wire(bits).expect("a state");
        let mut peer_disk = handshake::real_peer_disk(peer.disk, self.peer_uuids.as_ref());
        loop {
            let (own, facts) = (self.state, self.facts());
            let pending = match handshake::consider(&own, &peer, peer_disk, &facts) {
                Considered::GoesDown => return Broken("goes down"),
                Considered::PeerFinishedResync { finish } => {
                    if finish {
                        self.finished();
                    }
                    return Done;
                }
                Considered::VerifyFinished => return Done,
                Considered::Pending(pending) => pending,
            };
            peer_disk = pending.peer_disk;
            let verdict = pending.compare.map(|_| self.compare(&peer, &pending));
            if let Some(verdict) = verdict {
                self.told.push(Told::Verdict(verdict));
                self.split_brain |= verdict == Err(Refusal::SplitBrain);
            }
            match handshake::conclude(&own, &peer, &pending, verdict, &facts) {
                Conclusion::Set { new, how, .. } => {
                    let change = Change {
                        peer: Some(new.peer),
                        conn: Some(new.conn),
                        disk: Some(new.disk),
                        pdsk: Some(new.pdsk),
                        peer_isp: Some(new.peer_isp),
                        ..Change::NONE
                    };
                    self.flags.consider_resync = false;
                    if self.change(&change, how).is_refusal() {
                        self.give_up();
                        return Broken("refused");
                    }
                    if handshake::wants_resync_first(&own, &self.state, &peer) {
                        self.send_uuids();
                        self.send_state(self.state);
                    }
                    self.flags.discard_my_data = false;
                    self.sync_metadata();
                    return Done;
                }
                Conclusion::FailMyDisk => {
                    self.change(&Change::disk(DiskState::Failed), How::HARD);
                }
                Conclusion::Disconnect | Conclusion::EndDryRun => {
                    self.give_up();
                    return Broken("disconnect");
                }
                Conclusion::AbortFrozen => {
                    self.requests_lost();
                    self.new_current_uuid();
                    self.flags.new_current_uuid = false;
                    let change = Change {
                        susp: Some(false),
                        ..Change::conn(ConnState::ProtocolError)
                    };
                    self.change_all(&change, How::HARD);
                    return Broken("frozen");
                }
            }
        }
    }

    fn compare(&mut self, peer: &State, pending: &Pending) -> Result<Plan, Refusal> {
        let mut demotion = Demotion::NotTried;
        let role = self.state.role;
        let outcome = loop {
            let Some(question) = self.question(peer, pending, role, demotion) else {
                return Err(Refusal::Unrelated);
            };
            let outcome = sync_handshake(&question);
            if !outcome.demote_first {
                break outcome;
            }
            let result = self.change(&Change::role(Role::Secondary), How::SOFT);
            demotion = if result.is_refusal() {
                Demotion::Refused
            } else {
                Demotion::Done
            };
        };
        if let (Some(repair), Some(md), Some(theirs)) = (
            outcome.decision.repair,
            self.md.as_mut(),
            self.peer_uuids.as_mut(),
        ) {
            repair.apply(&mut md.uuids, &mut theirs.uuids);
            self.md_dirty |= repair.is_mine();
        }
        if matches!(outcome.verdict, Ok(plan) if plan.set_whole_bitmap) && !self.set_whole_bitmap()
        {
            return Err(Refusal::SplitBrain);
        }
        outcome.verdict
    }

    fn question(
        &self,
        peer: &State,
        pending: &Pending,
        role: Role,
        demotion: Demotion,
    ) -> Option<Handshake> {
        let net = self.net.as_ref()?;
        let md = self.md.as_ref()?;
        let theirs = self.peer_uuids.as_ref()?;
        let disk_now = self.state.disk;
        Some(Handshake {
            me: Side {
                uuids: md.uuids,
                dirty_bits: self.told_bits,
                role,
                crashed_primary: self.flags.crashed_primary,
                discard_my_data: self.flags.discard_my_data,
            },
            peer: Side {
                uuids: theirs.uuids,
                dirty_bits: theirs.dirty_bits,
                role: peer.role,
                crashed_primary: theirs.crashed_primary,
                discard_my_data: theirs.discard_my_data,
            },
            agreed: Common {
                version: self.agreed.version,
                wsame: self.agreed.features.contains(Features::WRITE_SAME),
                resolve_conflicts: self.resolve_conflicts,
            },
            disk: if disk_now == DiskState::Negotiating {
                self.negotiated.0
            } else {
                disk_now
            },
            disk_now,
            peer_disk: pending.peer_disk,
            policy: Policy {
                after_sb: Policies {
                    none: net.after_sb_0p,
                    one: net.after_sb_1p,
                    two: net.after_sb_2p,
                },
                always_asbp: net.always_asbp,
                rr_conflict: net.rr_conflict,
                dry_run: false,
            },
            demotion,
        })
    }

    fn sync_uuid(&mut self, packet: &Arrived) -> Outcome {
        if self.stage == 0 {
            match handshake::sync_uuid_arrival(&self.state) {
                SyncUuidArrival::Wait => return Wait,
                SyncUuidArrival::Ignore => return Done,
                SyncUuidArrival::StartAsTarget => {}
            }
            let sync = Uuid(SyncUuid::decode(packet.fixed()).expect("uuid").uuid);
            let role = self.state.role;
            if let Some(md) = self.md.as_mut() {
                md.uuids.accept_sync_uuid(sync, role);
                self.md_dirty = true;
            }
            self.stage = 1;
        }
        self.start_resync(ConnState::SyncTarget)
    }

    /// Waits for its turn.
    fn start_resync(&mut self, side: ConnState) -> Outcome {
        if self.turn.is_some() {
            return Wait;
        }
        self.begin_resync(side);
        Done
    }

    /// Becomes source or target.
    pub fn begin_resync(&mut self, side: ConnState) {
        if state::is_resync(self.state.conn)
            || !state::is_connected(self.state.conn)
            || !has_metadata(self.state.disk)
        {
            return;
        }
        let change = match side {
            ConnState::SyncTarget => Change {
                disk: Some(DiskState::Inconsistent),
                ..Change::conn(side)
            },
            _ => Change {
                pdsk: Some(DiskState::Inconsistent),
                ..Change::conn(side)
            },
        };
        let result = self.change(&change, How::SOFT);
        if result.is_refusal() || !state::is_connected(self.state.conn) {
            return;
        }
        self.failed = 0;
        self.sync_metadata();
        self.cursor = 0;
        self.controller.reset();
        self.arrived = 0;
        self.resync_pending = 0;
    }

    /// A resync came to its end.
    pub fn finished(&mut self) {
        let before = self.state;
        let Some(end) = rules::finished(&before, self.failed, self.weight()) else {
            return;
        };
        let role = self.state.role;
        if let Some(md) = self.md.as_mut() {
            match (end.uuids, &self.peer_uuids) {
                (UuidUpdate::Keep, _) => {}
                (UuidUpdate::TakeFromSource, Some(peer)) => {
                    md.uuids.finish_as_target(&peer.uuids, role);
                    self.told.push(Told::Synced);
                }
                (UuidUpdate::TakeFromSource, None) => {}
                (UuidUpdate::ClearBitmap, _) => {
                    md.uuids.clear_bitmap();
                }
            }
            if end.uuids != UuidUpdate::Keep {
                if let Some(peer) = self.peer_uuids.as_mut() {
                    peer.uuids = md.uuids;
                }
                self.md_dirty = true;
            }
        }
        let new = end.new;
        let change = Change {
            conn: (before.conn != new.conn).then_some(new.conn),
            disk: (before.disk != new.disk).then_some(new.disk),
            pdsk: (before.pdsk != new.pdsk).then_some(new.pdsk),
            aftr_isp: (before.aftr_isp != new.aftr_isp).then_some(new.aftr_isp),
            ..Change::NONE
        };
        self.change(&change, How::SOFT);
        self.failed = 0;
        self.sync_metadata();
    }

    pub fn send_bitmap(&mut self) {
        if self.owes_full_sync() {
            self.set_whole_bitmap();
        }
        let agreed = self.agreed;
        let bits = self.nbits();
        let mut sending = BitmapSend::new(&agreed, bits, true);
        let mut page = [0; 4096];
        let mut words = std::mem::take(&mut self.bits);
        while let Some(chunk) = sending
            .next(&mut View(&mut words, bits), &mut page)
            .expect("a bitmap")
        {
            self.send(DATA, chunk.command, &Empty, &page[..chunk.len]);
        }
        self.bits = words;
    }

    fn bitmap(&mut self, packet: &Arrived) -> Outcome {
        if self.stage == 0 {
            let agreed = self.agreed;
            let bits = self.nbits();
            let mut receiving = self
                .bitmap_in
                .take()
                .unwrap_or_else(|| BitmapRecv::new(&agreed, bits));
            match receiving.packet(
                packet.command,
                &packet.body,
                &mut View(&mut self.bits, bits),
            ) {
                Err(_) => return Broken("! bitmap"),
                Ok(false) => {
                    self.bitmap_in = Some(receiving);
                    return Done;
                }
                Ok(true) => self.stage = 1,
            }
        }
        match self.state.conn {
            ConnState::WfBitmapT => {
                self.send_bitmap();
                self.change(&Change::conn(ConnState::WfSyncUuid), How::SOFT);
                Done
            }
            ConnState::WfBitmapS => self.start_resync(ConnState::SyncSource),
            _ => Done,
        }
    }

    fn range(&self, sector: u64, bytes: usize) -> Option<Range> {
        let fits = bytes % 512 == 0 && sector.checked_add(bytes as u64 / 512)? <= self.capacity;
        fits.then(|| Range::new(0, sector, bytes as u32))
    }

    pub fn queue_ack(&mut self, command: Command, range: Range, block_id: u64) {
        self.packet_seq += 1;
        self.acks
            .push_back(Answer::Block(command, range, block_id, self.packet_seq));
    }

    fn occupied(&self, range: &Range) -> bool {
        let disk = |owner: Owner, _: &Range| owner == Owner::Peer(ON_DISK);
        self.writes.find_overlap(range, disk).is_some()
    }

    fn data(&mut self, packet: &Arrived) -> Outcome {
        let head = DataPacket::decode(packet.fixed()).expect("data");
        let Some(range) = self.range(head.sector, packet.payload().len()) else {
            return Broken("! range");
        };
        if self.stage == 0 {
            if !self.get_local_if(Self::usable) {
                self.incoming.received();
                self.incoming.written();
                self.queue_ack(Command::NegAck, range, head.block_id);
                return Done;
            }
            self.incoming.received();
            self.in_flight += 1;
            self.stage = 1;
            if head.flags.contains(DataFlags::SEND_RECEIVE_ACK) {
                self.queue_ack(Command::RecvAck, range, head.block_id);
            }
            if matches!(
                self.state.pdsk,
                DiskState::Diskless
                    | DiskState::Attaching
                    | DiskState::Failed
                    | DiskState::Negotiating
            ) {
                self.set_out_of_sync(range.sector, range.sectors.into());
                self.stage = 2;
            }
        }
        if self.occupied(&range) {
            return Wait;
        }
        let origin = Origin::Application {
            receipt: head.flags.contains(DataFlags::SEND_RECEIVE_ACK),
            written: head.flags.contains(DataFlags::SEND_WRITE_ACK),
            may_set_in_sync: self.stage == 1 && head.flags.contains(DataFlags::MAY_SET_IN_SYNC),
        };
        self.write_for_peer(range, head.block_id, origin, packet.payload());
        Done
    }

    fn write_for_peer(&mut self, range: Range, block_id: u64, origin: Origin, payload: &[u8]) {
        let node = self.writes.insert(range, Owner::Peer(ON_DISK));
        let write = PeerWrite {
            range,
            block_id,
            origin,
            node,
        };
        self.ios.push(Io {
            purpose: Purpose::Peer(write),
            sector: range.sector as usize,
            tags: tags(payload),
            read: 0,
        });
    }

    /// A write for the peer has ended.
    pub fn peer_write_ended(&mut self, write: &PeerWrite, ok: bool) {
        let Range {
            sector, sectors, ..
        } = write.range;
        let outcome = peer_request::written(write.origin, ok, state::is_resync(self.state.conn));
        if outcome.set_in_sync {
            self.set_in_sync(sector, sectors.into());
        }
        if outcome.set_out_of_sync {
            self.set_out_of_sync(sector, sectors.into());
        }
        if outcome.resync_failed {
            self.failed += u64::from(sectors).div_ceil(8);
        }
        if let Some(ack) = outcome.ack {
            let command = match ack {
                Ack::Write => Command::WriteAck,
                Ack::ResyncWrite => Command::RsWriteAck,
                Ack::Negative => Command::NegAck,
            };
            self.queue_ack(command, write.range, write.block_id);
        }
        if let Some(node) = write.node {
            self.writes.remove(node);
        }
        if write.origin != Origin::Resync {
            self.incoming.written();
        }
        self.in_flight -= 1;
        if !ok {
            self.io_error();
        }
        self.put_local();
    }

    fn barrier(&mut self, packet: &Arrived) -> Outcome {
        let BarrierPacket { barrier, .. } = BarrierPacket::decode(packet.fixed()).expect("barrier");
        if self.stage == 0 {
            if self.incoming.active() > 0 {
                return Wait;
            }
            self.stage = 1;
            if self.get_local_if(Self::usable) {
                self.ios.push(Io {
                    purpose: Purpose::BarrierFlush,
                    sector: 0,
                    tags: Vec::new(),
                    read: 0,
                });
                self.stage = 2;
            }
        }
        if self.stage == 2 {
            return Wait;
        }
        let writes = self.incoming.confirm();
        if writes > 0 {
            self.acks.push_back(Answer::Barrier(barrier, writes));
        }
        Done
    }

    fn out_of_sync(&mut self, packet: &Arrived) -> Outcome {
        let desc = BlockDesc::decode(packet.fixed()).expect("desc");
        self.set_out_of_sync(desc.sector, u64::from(desc.blksize / 512));
        Done
    }

    fn rs_data_request(&mut self, packet: &Arrived) -> Outcome {
        let request = BlockRequest::decode(packet.fixed()).expect("request");
        let Some(range) = self.range(request.sector, request.blksize as usize) else {
            return Broken("! range");
        };
        if self.stage == 0 {
            if !self.get_local_if(|disk| disk == DiskState::UpToDate) {
                self.queue_ack(Command::NegRsDreply, range, request.block_id);
                return Done;
            }
            self.in_flight += 1;
            self.stage = 1;
        }
        if self.writes_there(&range) {
            return Wait;
        }
        let node = self.writes.insert(range, Owner::Peer(SERVING));
        let reply = Reply {
            resync: true,
            range,
            block_id: request.block_id,
            node,
            data: Vec::new(),
            ok: true,
        };
        self.ios.push(Io {
            purpose: Purpose::Serve(reply),
            sector: range.sector as usize,
            tags: Vec::new(),
            read: range.sectors as usize,
        });
        Done
    }

    fn answered(&mut self, range: &Range) -> bool {
        let same = |owner: Owner, other: &Range| owner == Owner::Peer(REQUESTED) && other == range;
        let Some((node, _)) = self.writes.find_overlap(range, same) else {
            return false;
        };
        self.writes.remove(node);
        self.resync_pending = self.resync_pending.saturating_sub(1);
        self.arrived += range.sectors;
        true
    }

    fn rs_data_reply(&mut self, packet: &Arrived) -> Outcome {
        let head = DataPacket::decode(packet.fixed()).expect("data");
        let Some(range) = self.range(head.sector, packet.payload().len()) else {
            return Broken("! range");
        };
        if self.stage == 0 {
            if self.occupied(&range) {
                return Wait;
            }
            // The request's interval makes room for that of the write, in one step.
            if !self.answered(&range) {
                return Broken("! not asked for");
            }
            if !self.get_local_if(Self::usable) {
                self.queue_ack(Command::NegAck, range, ID_SYNCER);
                return Done;
            }
            self.in_flight += 1;
        }
        self.write_for_peer(range, ID_SYNCER, Origin::Resync, packet.payload());
        Done
    }

    fn requested(&mut self, packet: &Arrived, reply: Command) -> Outcome {
        let wish = StateChange::decode(packet.fixed()).expect("wish");
        let result = match self.peers_wish(&wish) {
            Ok(change) if reply == Command::StateChgReply => self.change(&change, How::SOFT),
            Ok(change) => {
                let how = How {
                    ignore_outdate_failure: true,
                    ..How::SOFT
                };
                self.change_all(&change, how)
            }
            Err(refusal) => refusal,
        };
        let answer = StateChangeReply {
            retcode: result.to_wire(),
        };
        self.send(META, reply, &answer, &[]);
        self.sync_metadata();
        Done
    }

    fn peers_wish(&mut self, wish: &StateChange) -> Result<Change, StateRv> {
        let change = Change::from_wire(wish.mask, wish.val)
            .and_then(Change::seen_from_here)
            .map_err(|_| StateRv::NotSupported)?;
        let ours = match (self.turn.is_some(), self.asked_peer) {
            (false, _) => state::Pending::Nothing,
            (true, true) => state::Pending::Leave,
            (true, false) => state::Pending::Other,
        };
        if state::collides(self.resolve_conflicts, ours, &change) {
            return Err(StateRv::ConcurrentStChg);
        }
        Ok(change)
    }

    /// One job of the ack sender.
    pub fn ack_sender(&mut self) -> bool {
        if self.rx != Rx::Running {
            return false;
        }
        match self.acks.pop_front() {
            None => return false,
            Some(Answer::Block(command, range, block_id, seq_num)) => {
                let ack = BlockAck {
                    sector: range.sector,
                    block_id,
                    blksize: range.bytes(),
                    seq_num,
                };
                self.send(META, command, &ack, &[]);
            }
            Some(Answer::Barrier(barrier, set_size)) => {
                self.send(
                    META,
                    Command::BarrierAck,
                    &BarrierAck { barrier, set_size },
                    &[],
                );
            }
        }
        true
    }

    /// One job of the ack receiver: a packet of the meta stream, or a look at the clock.
    pub fn ack_receiver(&mut self) -> bool {
        if self.rx != Rx::Running {
            return false;
        }
        let agreed = self.agreed;
        if !self.wanted() {
            return false;
        }
        let Some(link) = self.link.as_mut() else {
            return false;
        };
        match link.receive(META, &agreed, false) {
            Ok(Some(packet)) => {
                self.heard_ms = self.now_ms;
                self.pinged_at = None;
                if let Err(why) = self.meta(&packet) {
                    panic!(
                        "node {}: {:?}: {why} in {}",
                        self.id, packet.command, self.state
                    );
                }
                true
            }
            Ok(None)
                if link.ended
                    && self.cstate == ConnState::WfReportParams
                    && !self.disconnect_sent =>
            {
                self.connection_failed(ConnState::NetworkFailure);
                true
            }
            Ok(None) => self.patience(),
            Err(why) => panic!("meta: {why}"),
        }
    }

    fn patience(&mut self) -> bool {
        match self.pinged_at {
            None if self.now_ms > self.heard_ms + 1000 => {
                self.send(META, Command::Ping, &Empty, &[]);
                self.pinged_at = Some(self.now_ms);
            }
            Some(at) if self.now_ms > at + 500 && self.heard_ms <= at => {
                self.pinged_at = None;
                self.connection_failed(ConnState::NetworkFailure);
            }
            _ => return false,
        }
        true
    }

    fn meta(&mut self, packet: &Arrived) -> Result<(), &'static str> {
        match packet.command {
            Command::Ping => self.send(META, Command::PingAck, &Empty, &[]),
            Command::PingAck => self.ping_acks += 1,
            Command::StateChgReply | Command::ConnStChgReply => {
                let reply = StateChangeReply::decode(packet.fixed()).ok_or("reply")?;
                let agreed = reply.retcode >= StateRv::Success.to_wire();
                if packet.command == Command::ConnStChgReply || self.asked_peer {
                    self.peer_reply = Some(match StateRv::from_wire(reply.retcode) {
                        Some(StateRv::ConcurrentStChg) => StateRv::ConcurrentStChg,
                        _ if agreed => StateRv::Success,
                        _ => StateRv::CwFailedByPeer,
                    });
                } else if agreed {
                    self.flags.agreed = true;
                } else {
                    self.flags.refused = true;
                }
            }
            Command::BarrierAck => {
                let ack = BarrierAck::decode(packet.fixed()).ok_or("barrier")?;
                if !self.confirm_barrier(ack.barrier, ack.set_size) {
                    return Err("barrier does not fit");
                }
                self.told.push(Told::Confirmed);
            }
            command => {
                let ack = BlockAck::decode(packet.fixed()).ok_or("ack")?;
                let range = self
                    .range(ack.sector, ack.blksize as usize)
                    .ok_or("range")?;
                return self.block_ack(command, &ack, range);
            }
        }
        Ok(())
    }

    fn block_ack(
        &mut self,
        command: Command,
        ack: &BlockAck,
        range: Range,
    ) -> Result<(), &'static str> {
        let resync = ack.block_id == ID_SYNCER;
        match command {
            Command::RsWriteAck if resync => {
                self.resync_pending = self.resync_pending.saturating_sub(1);
                self.set_in_sync(range.sector, range.sectors.into());
                return Ok(());
            }
            Command::NegAck if resync => {
                self.resync_pending = self.resync_pending.saturating_sub(1);
                self.failed += u64::from(range.sectors).div_ceil(8);
                return Ok(());
            }
            Command::NegRsDreply => {
                if !self.answered(&range) {
                    return Err("not asked for");
                }
                self.failed += u64::from(range.sectors).div_ceil(8);
                return Ok(());
            }
            _ => {}
        }
        let event = match command {
            Command::WriteAck => Event::WriteAcked { in_sync: false },
            Command::RsWriteAck => Event::WriteAcked { in_sync: true },
            Command::RecvAck => Event::ReceiptAcked,
            Command::NegAck => Event::NegAcked,
            _ => return Err("no acknowledgement"),
        };
        match self.log.find(BlockId(ack.block_id), 0, ack.sector) {
            Some(slot) => self.tell(slot, event),
            None if command == Command::NegAck => {
                self.set_out_of_sync(range.sector, range.sectors.into())
            }
            None => return Err("no such request"),
        }
        Ok(())
    }
}
