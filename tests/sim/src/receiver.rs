// SPDX-License-Identifier: GPL-2.0-only

//! The receiver (`connection.rs`, `session.rs`, `receiver.rs`, `params.rs`): from the first packet to the end of the
//! connection.
//!
//! A handler that has to wait returns `Wait`; its packet is handed to it again later, and [`Node::stage`] says how far
//! it had come.

use crate::{
    io::{ANSWERED, REQUESTED, SERVING},
    link::{Arrived, DATA, META},
    node::{Node, Order, Rx, Told},
};
use drbd_core::{
    epoch::Incoming,
    handshake,
    interval::{Owner, Range},
    request::Event,
    state::{self, Change, How},
    types::{ConnState, StateRv},
    wire::{
        Command, ConnFlags, ConnectionFeatures, DataPacket, Features, Packet, Protocol,
        StateChange, StateChangeReply,
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
        self.send_sizes(false);
        self.told_bits = self.weight();
        self.send_uuids();
        self.send_state(self.state);
        self.flags.resize_pending = false;
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
        self.since_ms = self.now_ms;
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
                    // Only what arrives is a sign of life, not what waits.
                    self.heard_ms = self.now_ms;
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
                self.flags.asked_size = false;
                if self.cstate == ConnState::StandAlone {
                    self.rx = Rx::Off;
                    return true;
                }
                self.connection_failed(ConnState::NetworkFailure);
                self.in_flight -= std::mem::take(&mut self.put_off).len() as u32;
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
                let ours = |owner: Owner, _: &Range| {
                    matches!(owner, Owner::Peer(REQUESTED | SERVING | ANSWERED))
                };
                self.writes.remove_all(ours);
                self.packet_seq = 0;
                self.peer_seq = 0;
                self.forgotten = 0;
                self.reset_requests();
                self.rx = Rx::Down(2);
                self.stage = 0;
            }
            2 => {
                if self.worker_ready() {
                    return false;
                }
                self.state_sent = false;
                self.peer_uuids = None;
                if self.suspended() {
                    self.tell_all(Event::Parked, |_| true);
                } else {
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
        self.entering = None;
        let Some(packet) = self.packet.take() else {
            return;
        };
        let holds = matches!(
            packet.command,
            Command::Data | Command::RsDataRequest | Command::OvRequest | Command::OvReply
        );
        if packet.command == Command::Sizes && self.stage == 1 {
            self.resume_io();
        }
        if holds && self.stage >= 1 {
            self.in_flight -= 1;
            self.put_local();
        }
        let hold = self.packet_hold.take();
        if let (Some(_), Some(head)) = (hold, DataPacket::decode(packet.fixed())) {
            let range = Range::new(0, head.sector, packet.payload().len() as u32);
            self.leave_log(&range, hold);
        }
    }

    fn packet(&mut self, packet: &Arrived) -> Outcome {
        match packet.command {
            Command::Data => self.data(packet),
            Command::Barrier => self.barrier(packet),
            Command::OutOfSync => self.out_of_sync(packet),
            Command::RsDataRequest => self.rs_data_request(packet),
            Command::RsDataReply => self.rs_data_reply(packet),
            Command::OvRequest => self.ov_request(packet),
            Command::OvReply => self.ov_reply(packet),
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
}
