// SPDX-License-Identifier: GPL-2.0-only

//! The meta stream (`ack.rs`, `acks.rs`): acknowledgements, and whether the peer is alive.

use crate::link::Arrived;
use crate::{
    link::META,
    node::{Answer, Node, Rx, Told},
    peer_data::Answered,
};
use drbd_core::{
    interval::Range,
    request::{BlockId, Event},
    resync::may_clear,
    state,
    types::{ConnState, StateRv},
    wire::{
        BarrierAck, BlockAck, Command, Empty, Packet, StateChangeReply, ID_OUT_OF_SYNC, ID_SYNCER,
    },
};

impl Node {
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
            // Data that came meanwhile are as good as an answer.
            Some(at) if self.now_ms > at + 500 && self.heard_ms > at => {
                self.pinged_at = Some(self.now_ms);
            }
            Some(at) if self.now_ms > at + 500 => {
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
                self.block_ack(command, &ack, range)?;
                self.note_number(ack.seq_num);
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
                if may_clear(self.state.conn) {
                    self.set_in_sync(range.sector, range.sectors.into());
                }
                return Ok(());
            }
            Command::NegAck if resync => {
                self.resync_pending = self.resync_pending.saturating_sub(1);
                self.failed += u64::from(range.sectors).div_ceil(8);
                return Ok(());
            }
            Command::OvResult => {
                return self.ov_result(range, ack.block_id != ID_OUT_OF_SYNC);
            }
            Command::NegRsDreply => {
                match self.answered(&range) {
                    Answered::Asked => {}
                    Answered::Late => return Ok(()),
                    Answered::Unasked => return Err("not asked for"),
                }
                if state::is_verify(self.state.conn) {
                    self.not_compared(&range);
                    return Ok(());
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
            Command::Superseded => Event::Superseded,
            Command::RetryWrite => Event::RetryWrite,
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
