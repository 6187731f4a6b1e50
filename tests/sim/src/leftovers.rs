// SPDX-License-Identifier: GPL-2.0-only

//! What a node holds is bounded, and nothing of it is left: not when everything has come to rest, and not when the
//! connection and the disk are taken away.

use crate::{
    admin::Task,
    node::{Ending, Node, Rx, SLOTS},
    world::World,
};
use drbd_core::types::{ConnState, DiskState};

/// A resync, or a verify, asks for no more at once.
pub(crate) const MOST_REQUESTS: u32 = 16;
/// One of so many runs ends without connections and disks.
const TAKEN_AWAY: u64 = 8;
/// Steps that taking everything away may need.
const PATIENCE: u32 = 20_000;

/// The names of the counts that are not zero.
fn not_zero(counts: &[(&str, u64)]) -> Option<String> {
    let left = counts.iter().filter(|(_, count)| *count > 0);
    let words: Vec<_> = left
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

impl Node {
    /// What is under way, or held, although nothing happens.
    fn left_at_rest(&self) -> Option<String> {
        not_zero(&[
            ("requests", self.log.len().into()),
            ("intervals", self.writes.len().into()),
            ("requests of the peer", self.in_flight.into()),
            ("disk operations", self.ios.len() as u64),
            ("application I/O", self.application.into()),
            ("references to the disk", self.local_refs.into()),
            ("those who suspend I/O", self.io_suspenders.into()),
            ("resync requests", self.resync_pending.into()),
            ("acknowledgements", self.acks.len() as u64),
            ("replies", self.replies.len() as u64),
            ("writes in the open epoch", self.incoming.active().into()),
            ("writes to begin anew", self.again.len() as u64),
            ("writes for the log", u64::from(!self.activity.is_idle())),
            ("uses of the log", self.activity.in_use().into()),
            ("a hold of the log", self.packet_hold.is_some().into()),
            ("a write that enters", self.entering.is_some().into()),
            ("a packet", self.packet.is_some().into()),
            ("a bitmap", self.bitmap_in.is_some().into()),
            ("a turn", self.turn.is_some().into()),
            ("a question", self.asked_peer.into()),
            ("an end", u64::from(self.ending != Ending::No)),
            ("changes", (self.changes.len() + self.current.len()) as u64),
            ("a command", self.admin.is_some().into()),
        ])
    }

    /// What is left of a connection and a disk that were taken away.
    fn left_behind(&self) -> Option<String> {
        not_zero(&[
            ("a disk", self.local.into()),
            ("metadata", self.md.is_some().into()),
            (
                "a disk state",
                u64::from(self.state.disk != DiskState::Diskless),
            ),
            ("a log", self.activity.has_log().into()),
            (
                "a connection",
                u64::from(self.cstate != ConnState::StandAlone),
            ),
            ("a configuration", self.net.is_some().into()),
            ("a receiver", u64::from(self.rx != Rx::Off)),
            ("sockets", self.link.is_some().into()),
            ("the peer's generations", self.peer_uuids.is_some().into()),
            ("jobs", self.worker_ready().into()),
        ])
        .or_else(|| self.left_at_rest())
    }

    /// What exceeds its bound.
    fn exceeds(&self) -> Option<String> {
        // Whoever sends blocks, or digests, waits until each is settled.
        let blocks = self.nbits as u32;
        let asked = match self.state.conn {
            ConnState::SyncTarget | ConnState::VerifyS => MOST_REQUESTS,
            _ => blocks,
        };
        let served = SLOTS as u32 + MOST_REQUESTS + blocks;
        let bounds = [
            ("intervals", self.writes.len(), 4 * SLOTS as u32 - 1),
            ("resync requests", self.resync_pending, asked),
            ("requests of the peer", self.in_flight, served),
            ("changes", self.changes.len() as u32, 2 * SLOTS as u32),
            ("acknowledgements", self.acks.len() as u32, 4 * SLOTS as u32),
        ];
        let over = bounds.into_iter().find(|(_, count, most)| count > most);
        over.map(|(name, count, _)| format!("{name}: {count}"))
    }
}

impl World {
    pub(crate) fn check_bounds(&mut self, id: usize) {
        if let Some(what) = self.nodes[id].exceeds() {
            self.violate(format!("node {id} exceeds a bound: {what}"));
        }
    }

    /// Everything has come to rest: nothing is under way. Then connections and disks are taken away.
    pub(crate) fn take_away(&mut self) {
        self.check_left(Node::left_at_rest);
        // It takes as long as a tenth of the run.
        if self.config.seed % TAKEN_AWAY != 0 {
            return;
        }
        self.leaving = true;
        let until = self.now_ms + 2000;
        for node in &mut self.nodes {
            node.admin = Some(Task::Leave {
                asked: false,
                until,
                left: false,
            });
        }
        self.until(|node| node.admin.is_none() && !node.worker_ready());
        for node in &mut self.nodes {
            node.admin = Some(Task::Detach {
                phase: 0,
                asked: false,
            });
        }
        self.until(|node| node.admin.is_none() && !node.worker_ready());
        self.check_left(Node::left_behind);
    }

    fn check_left(&mut self, look: impl Fn(&Node) -> Option<String>) {
        for id in 0..2 {
            if let Some(what) = look(&self.nodes[id]) {
                self.violate(format!("node {id}: left over: {what}"));
            }
        }
    }

    fn until(&mut self, over: impl Fn(&Node) -> bool) {
        let mut steps = 0;
        while self.violation.is_none() && !self.nodes.iter().all(&over) {
            if !self.go_on() {
                self.now_ms += 5;
            }
            steps += 1;
            if steps == PATIENCE {
                let tasks = [0, 1].map(|id| format!("{:?}", self.nodes[id].admin));
                self.violate(format!("it cannot be taken away: {tasks:?}"));
            }
        }
    }
}
