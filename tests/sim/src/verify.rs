// SPDX-License-Identifier: GPL-2.0-only

//! Online verify (`verify.rs`), and what it is for: blocks that go bad on a disk, and nobody knows.

use crate::{
    io::{bytes, tags, ANSWERED, ON_DISK, REQUESTED, SERVING},
    link::{Arrived, DATA},
    node::{Ending, Io, Node, Purpose, Read, Reply, Told},
    peer_data::Answered,
    receiver::Outcome::{self, Broken, Done, Wait},
    world::{Fault, World},
};
use drbd_core::{
    bitmap,
    interval::{NodeId, Owner, Range},
    state,
    types::{ConnState, DiskState},
    wire::{BlockRequest, Command, Packet, ID_IN_SYNC, ID_OUT_OF_SYNC, ID_SYNCER},
};

/// What has gone bad reads as no write ever wrote it.
const BAD: u64 = 1 << 63;
/// Requests at once.
const MOST: u32 = 8;
/// How often a verify may be interrupted when nothing goes wrong any more.
const TRIES: u32 = 5;

/// Whether a sector has gone bad.
pub fn is_bad(tag: u64) -> bool {
    tag & BAD != 0
}

/// A digest of some sectors.
fn digest(tags: &[u64]) -> u64 {
    tags.iter().fold(0xcbf2_9ce4_8422_2325, |hash, tag| {
        (hash ^ tag).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Node {
    /// A verify begins, here as the driving side or not.
    pub fn begin_verify(&mut self, drives: bool) {
        self.verify
            .begin(drives, self.agreed.version, self.capacity);
        self.failed = 0;
        self.resync_pending = 0;
    }

    /// A turn of either side; true: that is what there was to do.
    pub(crate) fn tick_verify(&mut self) -> bool {
        let drives = match self.state.conn {
            ConnState::VerifyS => true,
            ConnState::VerifyT => false,
            _ => return false,
        };
        let (version, capacity) = (self.agreed.version, self.capacity);
        if self.verify.is_through(drives, version, capacity) {
            self.ending = Ending::AcksIdle;
            return true;
        }
        while drives && self.resync_pending < MOST {
            let first = self.verify.is_at_start();
            let Some(request) = self.verify.next(first, version, capacity) else {
                break;
            };
            let range = Range::new(0, request.sector, request.bytes);
            if self.is_ahead_of_peer(&range)
                || self.writes.insert(range, Owner::Peer(REQUESTED)).is_none()
            {
                break;
            }
            self.verify.asked(&request);
            self.resync_pending += 1;
            let packet = BlockRequest {
                sector: range.sector,
                block_id: ID_SYNCER,
                blksize: range.bytes(),
            };
            self.send(DATA, Command::OvRequest, &packet, &[]);
        }
        true
    }

    fn read_for_verify(&mut self, range: Range, block_id: u64, read: Read, node: Option<NodeId>) {
        let reply = Reply {
            read,
            range,
            block_id,
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
    }

    pub(crate) fn ov_request(&mut self, packet: &Arrived) -> Outcome {
        let request = BlockRequest::decode(packet.fixed()).expect("request");
        let Some(range) = self.range(request.sector, request.blksize as usize) else {
            return Broken("range");
        };
        if self.stage == 0 {
            if self.state.conn == ConnState::VerifyT {
                self.verify.requested_by_peer(range.sector, self.capacity);
            }
            if !self.get_local_if(|disk| disk == DiskState::UpToDate) {
                self.queue_ack(Command::NegRsDreply, range, request.block_id);
                return Done;
            }
            self.in_flight += 1;
            self.stage = 1;
        }
        if self.is_ahead_of_peer(&range) {
            // Not here: what that write waits for may come behind this.
            self.put_local();
            self.put_off.push((range, request.block_id));
            return Done;
        }
        if self.occupied(&range) {
            return Wait;
        }
        self.serve_verify(range, request.block_id);
        Done
    }

    fn serve_verify(&mut self, range: Range, block_id: u64) {
        let node = self.writes.insert(range, Owner::Peer(SERVING));
        self.read_for_verify(range, block_id, Read::VerifyRequest, node);
    }

    /// A block that was put off, and that nobody writes now.
    pub(crate) fn next_put_off(&self) -> Option<usize> {
        let free =
            |(range, _): &(Range, u64)| !self.is_ahead_of_peer(range) && !self.occupied(range);
        self.put_off.iter().position(free)
    }

    /// The worker's part.
    pub(crate) fn serve_put_off(&mut self) {
        let Some(at) = self.next_put_off() else {
            return;
        };
        let (range, block_id) = self.put_off.remove(at);
        if self.get_local_if(|disk| disk == DiskState::UpToDate) {
            self.serve_verify(range, block_id);
        } else {
            self.in_flight -= 1;
            self.queue_ack(Command::NegRsDreply, range, block_id);
        }
    }

    pub(crate) fn interval_of(&self, range: &Range, owner: u32) -> Option<NodeId> {
        let same = |of: Owner, other: &Range| of == Owner::Peer(owner) && other == range;
        self.writes.find_overlap(range, same).map(|(node, _)| node)
    }

    pub(crate) fn ov_reply(&mut self, packet: &Arrived) -> Outcome {
        let head = BlockRequest::decode(packet.fixed()).expect("reply");
        let Some(range) = self.range(head.sector, head.blksize as usize) else {
            return Broken("range");
        };
        if self.stage == 0 {
            let answered = self.answered(&range);
            if answered == Answered::Unasked {
                return Broken("! not asked for");
            }
            if answered == Answered::Late || !self.get_local_if(|disk| disk == DiskState::UpToDate)
            {
                self.queue_ack(Command::OvResult, range, ID_IN_SYNC);
                return Done;
            }
            self.writes.insert(range, Owner::Peer(ANSWERED));
            self.in_flight += 1;
            self.stage = 1;
        }
        if self
            .writes
            .find_overlap(&range, |owner, _| owner == Owner::Peer(ON_DISK))
            .is_some()
        {
            return Wait;
        }
        let theirs = tags(&padded(packet.payload()))[0];
        let node = self.interval_of(&range, ANSWERED);
        self.read_for_verify(range, head.block_id, Read::VerifyReply(theirs), node);
        Done
    }

    /// A block was read for the driving side.
    pub(crate) fn send_digest(&mut self, reply: &Reply) {
        let range = reply.range;
        // Equal to nothing: what cannot be read is not in sync.
        let sum = if reply.ok { digest(&reply.data) } else { 0 };
        self.resync_pending += 1;
        let head = BlockRequest {
            sector: range.sector,
            block_id: ID_SYNCER,
            blksize: range.bytes(),
        };
        self.send(DATA, Command::OvReply, &head, &bytes(&[sum])[..8]);
    }

    /// A block of the driving side was read.
    pub(crate) fn compare_digest(&mut self, reply: &Reply, theirs: u64) {
        if let Some(node) = reply.node {
            self.writes.remove(node);
        }
        let equal = reply.ok && digest(&reply.data) == theirs;
        // Two failed reads do not say that the data differ.
        self.note_verified(&reply.range, equal, reply.ok && theirs != 0);
        let result = if equal { ID_IN_SYNC } else { ID_OUT_OF_SYNC };
        self.queue_ack(Command::OvResult, reply.range, result);
    }

    pub(crate) fn ov_result(&mut self, range: Range, equal: bool) -> Result<(), &'static str> {
        let node = self
            .interval_of(&range, SERVING)
            .ok_or("nobody compares it")?;
        self.resync_pending = self.resync_pending.saturating_sub(1);
        self.note_verified(&range, equal, false);
        self.writes.remove(node);
        Ok(())
    }

    fn note_verified(&mut self, range: &Range, equal: bool, sure: bool) {
        let (sector, sectors) = (range.sector, u64::from(range.sectors));
        if !equal {
            if sure && !bitmap::is_set(&self.bits, sector / 8) {
                self.told.push(Told::Differs(*range));
            }
            self.set_out_of_sync(sector, sectors);
            self.stable.unowed = true;
        }
        if state::is_verify(self.state.conn) {
            self.verify.compared(sector, sectors, equal);
        }
    }

    /// The other side has no data to compare.
    pub(crate) fn not_compared(&mut self, range: &Range) {
        self.verify
            .compared(range.sector, range.sectors.into(), true);
    }
}

fn padded(payload: &[u8]) -> Vec<u8> {
    let mut sector = payload.to_vec();
    sector.resize(512, 0);
    sector
}

impl World {
    /// A sector of a copy that is good, as everybody thinks, goes bad. False: there is none.
    pub(crate) fn rot(&mut self, id: usize) -> bool {
        let good = |node: &Node| {
            node.up
                && node.state.conn == ConnState::Connected
                && node.state.disk == DiskState::UpToDate
                && node.state.pdsk == DiskState::UpToDate
        };
        if !self.nodes.iter().all(good) {
            return false;
        }
        let sector = self.rng.below(self.nodes[id].capacity) as usize;
        self.tags += 1;
        self.nodes[id].disk.rot(sector, BAD | self.tags);
        self.say(|| format!("node {id}: sector {sector} goes bad"));
        true
    }

    /// A verify says that these blocks differ: something has gone bad there, or the other side knows. (A write that was
    /// told to come again is marked where it was made, and on its way anew.)
    pub(crate) fn check_difference(&mut self, id: usize, range: &Range) {
        let mut sectors = range.sector as usize..range.end() as usize;
        let bad = |sector| self.nodes.iter().any(|node| is_bad(node.disk.now[sector]));
        let known = bitmap::is_set(&self.nodes[1 - id].bits, range.sector / 8);
        if !known && !sectors.any(bad) {
            self.violate(format!(
                "node {id}: a verify finds a difference in sector {}, and there is none",
                range.sector
            ));
        }
    }

    /// A block differs, and a side does not know.
    fn unmarked(&self) -> Option<usize> {
        let [a, b] = &self.nodes;
        (0..self.common_size()).find(|&s| {
            let block = s as u64 / 8;
            let marked = bitmap::is_set(&a.bits, block) && bitmap::is_set(&b.bits, block);
            a.disk.now[s] != b.disk.now[s] && !marked
        })
    }

    /// Everything has come to rest. Whatever went bad is then found by a verify; a lost connection may interrupt it.
    /// False: it runs.
    pub(crate) fn verified(&mut self) -> bool {
        let rots = self.config.without & (1 << Fault::Rot as u32) == 0;
        if rots && !std::mem::replace(&mut self.rested, true) && self.rng.one_in(4) {
            // Hardly ever everything is well before.
            let id = self.rng.below(2) as usize;
            for _ in 0..1 + self.rng.below(3) {
                if self.rot(id) {
                    self.count(Fault::Rot);
                }
            }
        }
        if self.verifies == TRIES || self.unmarked().is_none() {
            return true;
        }
        self.verifies += 1;
        let id = self.rng.below(2) as usize;
        self.nodes[id].admin = Some(crate::admin::Task::Verify {
            start: Some(0),
            stop: None,
            asked: false,
        });
        false
    }

    /// What differs in the end has gone bad, and was found.
    pub(crate) fn check_verified(&mut self) {
        if let Some(sector) = self.unmarked() {
            let [one, two] = [0, 1].map(|id| self.nodes[id].disk.now[sector]);
            self.violate(format!(
                "a verify has not found that the disks differ in sector {sector}: write {one:#x} and write {two:#x}"
            ));
        }
    }
}
