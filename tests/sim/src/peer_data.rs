// SPDX-License-Identifier: GPL-2.0-only

//! Data of the peer, and reads for it (`peer_data.rs`, and the receiving half of `resync.rs`).

use crate::{
    io::{tags, ON_DISK, REQUESTED, SERVING},
    link::Arrived,
    node::{Answer, Io, Node, PeerWrite, Purpose, Read, Reply, Told},
    receiver::Outcome::{self, Broken, Done, Wait},
};
use drbd_core::{
    bitmap::{self, SECTORS_PER_BIT_SHIFT},
    interval::{Owner, Range},
    peer_request::{self, Ack, Conflict, Origin},
    state,
    types::DiskState,
    wire::{
        BarrierPacket, BlockDesc, BlockRequest, Command, DataFlags, DataPacket, Packet, ID_SYNCER,
    },
};

/// What becomes of a write of the peer's.
enum Verdict {
    Write,
    Drop(Command),
}

/// What an answer for a resync, or a verify, belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// A request.
    Asked,
    /// A request that was given up.
    Late,
    /// Nothing.
    Unasked,
}

impl Node {
    pub(crate) fn range(&self, sector: u64, bytes: usize) -> Option<Range> {
        let fits = bytes % 512 == 0 && sector.checked_add(bytes as u64 / 512)? <= self.capacity;
        fits.then(|| Range::new(0, sector, bytes as u32))
    }

    pub fn queue_ack(&mut self, command: Command, range: Range, block_id: u64) {
        self.packet_seq += 1;
        self.acks
            .push_back(Answer::Block(command, range, block_id, self.packet_seq));
    }

    pub(crate) fn occupied(&self, range: &Range) -> bool {
        let disk = |owner: Owner, _: &Range| owner == Owner::Peer(ON_DISK);
        self.writes.find_overlap(range, disk).is_some()
    }

    pub(crate) fn data(&mut self, packet: &Arrived) -> Outcome {
        let head = DataPacket::decode(packet.fixed()).expect("data");
        let Some(range) = self.range(head.sector, packet.payload().len()) else {
            return Broken("range");
        };
        if self.stage == 0 {
            if !self.in_turn(head.seq_num) {
                return Wait;
            }
            if !self.get_local_if(Self::usable) {
                self.note_number(head.seq_num);
                let epoch = self.incoming.received();
                self.incoming.written(epoch);
                self.queue_ack(Command::NegAck, range, head.block_id);
                return Done;
            }
            self.incoming.received();
            self.in_flight += 1;
            self.stage = 1;
            if head.flags.contains(DataFlags::SEND_RECEIVE_ACK) {
                self.queue_ack(Command::RecvAck, range, head.block_id);
            }
            if state::peer_keeps_no_copy(&self.state, self.flags.peer_attaches) {
                self.set_out_of_sync(range.sector, range.sectors.into());
                self.stage = 2;
            }
        }
        if self.stage == 2 {
            let Some(hold) = self.hold_for_peer(&range) else {
                return Wait;
            };
            self.packet_hold = hold;
            self.stage = 3;
        }
        match self.turn_of(&range, head.seq_num) {
            None => return Wait,
            Some(Verdict::Write) => {}
            Some(Verdict::Drop(command)) => {
                self.told.push(Told::GaveWay);
                self.queue_ack(command, range, head.block_id);
                self.incoming.dropped(self.incoming.open());
                self.in_flight -= 1;
                let hold = self.packet_hold.take();
                self.leave_log(&range, hold);
                self.put_local();
                return Done;
            }
        }
        let origin = Origin::Application {
            receipt: head.flags.contains(DataFlags::SEND_RECEIVE_ACK),
            written: head.flags.contains(DataFlags::SEND_WRITE_ACK),
            may_set_in_sync: self.stage == 1 && head.flags.contains(DataFlags::MAY_SET_IN_SYNC),
        };
        if !self.has_disk() {
            // Given up while this waited, maybe because the log could not be written.
            let write = PeerWrite {
                range,
                block_id: head.block_id,
                origin,
                node: None,
                hold: self.packet_hold.take(),
            };
            self.peer_write_ended(&write, false);
            return Done;
        }
        self.write_for_peer(range, head.block_id, origin, packet.payload());
        Done
    }

    /// Notes the number of a packet of the peer's.
    pub(crate) fn note_number(&mut self, number: u32) {
        self.peer_seq = self.peer_seq.max(number);
    }

    /// Whether everything that the peer sent before packet `number` has been carried out.
    fn in_turn(&self, number: u32) -> bool {
        let resolves = self.resolve_conflicts && self.net.is_some_and(|net| net.two_primaries);
        !resolves || number <= self.peer_seq + 1
    }

    /// What becomes of a write of the peer (`conflict.rs`); none: not yet.
    fn turn_of(&mut self, range: &Range, number: u32) -> Option<Verdict> {
        self.note_number(number);
        if self.occupied(range) {
            return None;
        }
        if !self.net.is_some_and(|net| net.two_primaries) {
            return Some(Verdict::Write);
        }
        self.entering = None;
        let Some((ours, pending)) = self.own_write(range) else {
            return Some(Verdict::Write);
        };
        match peer_request::conflict(self.resolve_conflicts, &ours, range, pending) {
            Conflict::Supersede => Some(Verdict::Drop(Command::Superseded)),
            Conflict::AskRetry => Some(Verdict::Drop(Command::RetryWrite)),
            Conflict::WaitForVerdict | Conflict::WaitForDisk => {
                // Our application starts no write there any more.
                self.entering = Some(*range);
                None
            }
        }
    }

    pub(crate) fn write_for_peer(
        &mut self,
        range: Range,
        block_id: u64,
        origin: Origin,
        payload: &[u8],
    ) {
        let node = self.writes.insert(range, Owner::Peer(ON_DISK));
        let write = PeerWrite {
            range,
            block_id,
            origin,
            node,
            hold: self.packet_hold.take(),
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
            if write.origin == Origin::Resync {
                self.check_mark(sector);
            }
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
            // A barrier waits for all writes before it, so there is one epoch only.
            self.incoming.written(self.incoming.open());
        }
        self.in_flight -= 1;
        if !ok {
            self.io_error();
        }
        self.put_local();
        self.leave_log(&write.range, write.hold);
    }

    /// A block that a resync has copied may still be lost from the cache: the bitmap on disk has to name it.
    fn check_mark(&self, sector: u64) {
        let bit = sector >> SECTORS_PER_BIT_SHIFT;
        let marked = |bits: &[u64]| bitmap::is_set(bits, bit);
        // What a second Primary marks itself may be in its activity log only.
        let alone = !self.net.is_some_and(|net| net.two_primaries);
        let expected = alone && state::is_sync_target(self.state.conn) && !self.owes_full_sync();
        assert!(
            !expected || !marked(&self.bits) || marked(&self.stable.bitmap),
            "what the cache may lose is not marked on disk"
        );
    }

    pub(crate) fn barrier(&mut self, packet: &Arrived) -> Outcome {
        let BarrierPacket { barrier, .. } = BarrierPacket::decode(packet.fixed()).expect("barrier");
        if self.stage == 0 {
            if self.incoming.active() > 0 {
                return Wait;
            }
            self.stage = 1;
            if self.get_local_if(|disk| Self::usable(disk) || disk == DiskState::Failed) {
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
        let closed = self.incoming.close(barrier);
        debug_assert!(closed.is_ok());
        if let Some((barrier, writes)) = self.incoming.confirm() {
            self.acks.push_back(Answer::Barrier(barrier, writes));
        }
        Done
    }

    pub(crate) fn out_of_sync(&mut self, packet: &Arrived) -> Outcome {
        let desc = BlockDesc::decode(packet.fixed()).expect("desc");
        self.set_out_of_sync(desc.sector, u64::from(desc.blksize / 512));
        if state::is_sync_target(self.state.conn) {
            self.write_bitmap();
        }
        Done
    }

    pub(crate) fn rs_data_request(&mut self, packet: &Arrived) -> Outcome {
        let request = BlockRequest::decode(packet.fixed()).expect("request");
        let Some(range) = self.range(request.sector, request.blksize as usize) else {
            return Broken("range");
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
            read: Read::Resync,
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

    /// Our disk is gone, and what was asked for is not waited for (`requests.rs`).
    pub(crate) fn forget(&mut self) {
        let ours = |owner: Owner, _: &Range| owner == Owner::Peer(REQUESTED);
        self.forgotten += self.writes.remove_all(ours);
        self.reset_requests();
    }

    /// Nothing is asked for.
    pub(crate) fn reset_requests(&mut self) {
        self.resync_pending = 0;
        self.cursor = 0;
        self.controller.reset();
        self.arrived = 0;
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, range: &Range) -> Answered {
        let Some(node) = self.interval_of(range, REQUESTED) else {
            let Some(left) = self.forgotten.checked_sub(1) else {
                return Answered::Unasked;
            };
            self.forgotten = left;
            return Answered::Late;
        };
        self.writes.remove(node);
        self.resync_pending = self.resync_pending.saturating_sub(1);
        self.arrived += range.sectors;
        Answered::Asked
    }

    pub(crate) fn rs_data_reply(&mut self, packet: &Arrived) -> Outcome {
        let head = DataPacket::decode(packet.fixed()).expect("data");
        let Some(range) = self.range(head.sector, packet.payload().len()) else {
            return Broken("range");
        };
        if self.stage == 0 {
            if self.occupied(&range) {
                return Wait;
            }
            // The request's interval makes room for that of the write, in one step.
            let answered = self.answered(&range);
            if answered == Answered::Unasked {
                return Broken("! not asked for");
            }
            if answered == Answered::Late || !self.get_local_if(Self::usable) {
                self.queue_ack(Command::NegAck, range, ID_SYNCER);
                return Done;
            }
            self.in_flight += 1;
        }
        self.told.push(Told::Moved(range));
        self.write_for_peer(range, ID_SYNCER, Origin::Resync, packet.payload());
        Done
    }
}
