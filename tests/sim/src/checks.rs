// SPDX-License-Identifier: GPL-2.0-only

//! What must never be, and what must be in the end.

use crate::{
    node::{Ending, Node, Told},
    verify::is_bad,
    world::{Adrift, Fault, World},
};
use drbd_core::{
    bitmap,
    config::choices::Protocol,
    meta::Superblock,
    state,
    types::{ConnState, DiskState, Role},
    uuid::{Plan, Refusal},
};

/// As in 8.4, what is completed before the new generation is on disk is not protected by it.
fn marked(node: &Node) -> bool {
    Superblock::read(&node.stable.superblock).is_ok_and(|(block, _)| !block.uuids.bitmap.is_zero())
}

fn has_generation(node: &Node) -> bool {
    Superblock::read(&node.stable.superblock).is_ok_and(|(block, _)| block.has_own_generation())
}

impl World {
    /// What the nodes have told is compared with what was promised.
    pub(crate) fn observe(&mut self) {
        for id in 0..2 {
            for link in std::mem::take(&mut self.nodes[id].closed) {
                self.adrift.push(Adrift { link, to: 1 - id });
            }
            for told in std::mem::take(&mut self.nodes[id].told) {
                self.hear(id, &told);
            }
            self.check_fresh(id);
            self.check_bounds(id);
            let node = &self.nodes[id];
            if self.trace {
                let uuids = node
                    .md
                    .as_ref()
                    .map(|md| md.uuids.to_string())
                    .unwrap_or_default();
                let now = format!(
                    "{} bits {} of {} sectors {uuids} works with {}",
                    node.state,
                    node.weight(),
                    node.capacity,
                    node.exposed
                );
                if now != self.shown[id] {
                    println!("{:6} {:8} node {id} is {now}", self.step, self.now_ms);
                    self.shown[id] = now;
                }
            }
            let writes = node.state.role == Role::Primary || node.state.peer == Role::Primary;
            // The peer's disk may have failed without this node having heard of it.
            let reaches = state::is_connected(node.state.conn)
                && !state::has_no_data(node.state.pdsk)
                && self.nodes[1 - id].has_disk();
            self.alone[id] |= node.up && writes && !reaches && node.has_disk();
            // What it was about to get, the other one has alone.
            self.alone[1 - id] |= node.up && state::is_sync_target(node.state.conn);
        }
        let attaches = |node: &Node| {
            let waits = matches!(
                node.state.disk,
                DiskState::Attaching | DiskState::Negotiating
            );
            waits && node.up && node.state.role == Role::Primary
        };
        self.both_attach |= self.nodes.iter().all(attaches);
        if self.are_equal() {
            self.alone = [false; 2];
            self.wrote = [false; 2];
            self.discarding = None;
            self.discards = [false; 2];
            self.forced = [false; 2];
            self.both_attach = false;
            self.nodes
                .iter_mut()
                .for_each(|node| node.split_brain = false);
        }
        let bits = |node: &Node| u64::from(node.state.to_wire()) | u64::from(node.up) << 32;
        self.hash = (self.hash ^ bits(&self.nodes[0])).wrapping_mul(0x0100_0000_01b3);
        self.hash = (self.hash ^ bits(&self.nodes[1])).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) fn hear(&mut self, id: usize, told: &Told) {
        let (now, peer) = (self.step, 1 - id);
        let volatile = self.nodes[id].disk.volatile;
        self.say(|| format!("node {id}: {told:?} in {}", self.nodes[id].state));
        match *told {
            Told::Began(tag, range, local, replicated) => {
                if local {
                    self.images[id].began(tag, &range, now);
                }
                if replicated {
                    self.images[peer].began(tag, &range, now);
                }
            }
            Told::Done(tag, range, local, replicated, late) => {
                if local {
                    let told = replicated || (!late && marked(&self.nodes[id]));
                    self.images[id].done(tag, &range, now, !volatile, told);
                } else if self.config.two_primaries {
                    self.images[id].failed(tag, &range);
                }
                if replicated {
                    let told = local || marked(&self.nodes[peer]);
                    self.images[peer].done(tag, &range, now, !volatile, told);
                }
                self.wrote[id] |= local && !replicated && has_generation(&self.nodes[id]);
            }
            Told::Arrived(tag, range) => {
                self.images[id].arrived(tag, &range);
                self.images[peer].done(tag, &range, now, !volatile, true);
            }
            Told::GaveWay => self.faults[Fault::Overlap as usize] += 1,
            Told::Differs(range) => self.check_difference(id, &range),
            Told::Wrong(ref what) => self.violate(format!("node {id}: {what}")),
            Told::Flushed(since) => self.images[id].flushed(since),
            Told::DiskFlushed | Told::Confirmed | Told::DiskError | Told::Failed(_) => {}
            Told::Verdict(verdict) => self.check_verdict(id, verdict),
            Told::PeerWaited => self.is_fresh_after(id, ConnState::SyncSource),
            Told::Forced => self.force(id),
            Told::Solved(direction) => self.solve(id, direction),
            Told::Target => {
                self.check_agreed();
                self.check_direction(id);
            }
            Told::Moved(range) => self.check_moved(id, &range),
            Told::Synced => {
                self.check_direction(id);
                self.stale[id] = None;
                self.images[id] = self.images[peer].clone();
                let link = |node: &Node| node.link.as_ref().map(|link| link.id);
                // The source may have given the connection up, or heard that this disk is being detached, and write alone already.
                let source = &self.nodes[peer].state;
                let left =
                    !state::is_connected(source.conn) || state::is_failed_or_less(source.pdsk);
                if left || link(&self.nodes[0]) != link(&self.nodes[1]) {
                    self.images[id].doubt();
                } else if self.config.protocol != Protocol::C {
                    self.images[id].doubt_what_is_late();
                }
                self.alone[id] = false;
                // Since then, the source may have been alone.
                self.alone[peer] &= left;
                self.wrote = [false; 2];
                self.both_attach = false;
            }
        }
    }

    /// Two nodes have met, and one says what follows.
    fn check_verdict(&mut self, id: usize, verdict: Result<Plan, Refusal>) {
        if !std::mem::take(&mut self.by_policy) {
            self.solved[id] = None;
        }
        match verdict {
            Ok(plan) => {
                self.is_fresh_after(id, plan.conn);
                // A peer that is not there any more may have been told otherwise since.
                let link = |node: &Node| node.link.as_ref().map(|link| link.id);
                let meet = link(&self.nodes[0]) == link(&self.nodes[1]);
                if meet && self.wrote == [true; 2] && self.discards == [false; 2] {
                    self.violate(format!(
                        "node {id}: both were written apart, and nobody says so"
                    ));
                }
            }
            Err(refusal) => {
                self.discarding = None;
                let apart = matches!(refusal, Refusal::SplitBrain | Refusal::Unrelated);
                if apart && self.alone != [true; 2] && !self.both_attach {
                    self.violate(format!("node {id}: {refusal:?}, but the history is linear"));
                }
            }
        }
    }

    pub(crate) fn at_rest(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.up
                && node.is_idle()
                && node.admin.is_none()
                && node.ending == Ending::No
                && node.state.conn == ConnState::Connected
                && node.state.disk == DiskState::UpToDate
                && node.state.pdsk == DiskState::UpToDate
                && node.link.as_ref().is_some_and(|link| {
                    link.out
                        .iter()
                        .chain(&link.arrived)
                        .all(|bytes| bytes.is_empty())
                })
        })
    }

    pub(crate) fn check_end(&mut self) {
        for id in 0..2 {
            let node = &self.nodes[id];
            // Bits that nothing accounts for.
            let bits = node.bits.iter().zip(&node.stable.wanted_again);
            let dirty: u32 = bits.map(|(bits, known)| (bits & !known).count_ones()).sum();
            let wrong = (0..node.capacity as usize)
                .filter(|&s| !is_bad(node.disk.now[s]))
                .find(|&s| !self.images[id].allows(s, node.disk.now[s]));
            if let Some(sector) = wrong {
                let found = node.disk.now[sector];
                let expected = self.images[id].explain(sector);
                self.violate(format!(
                    "node {id}: sector {sector} holds write {found}, promised: {expected}"
                ));
            } else if dirty > 0 && !node.stable.unowed {
                self.violate(format!("node {id}: {dirty} bits are set at rest"));
            }
        }
        self.check_verified();
        let [a, b] = &self.nodes;
        if a.capacity != b.capacity {
            let sizes = (a.capacity, b.capacity);
            self.violate(format!("the sizes differ at rest: {sizes:?}"));
            return;
        }
        let bad = |s: &usize| is_bad(a.disk.now[*s]) || is_bad(b.disk.now[*s]);
        let known = |s: &usize| {
            let marked = |node: &Node| bitmap::is_set(&node.bits, *s as u64 / 8);
            [a, b].into_iter().all(marked)
        };
        let differs = (0..a.capacity as usize)
            .filter(|s| !bad(s) && !known(s))
            .find(|&s| a.disk.now[s] != b.disk.now[s]);
        if let Some(sector) = differs {
            let (a, b) = (a.disk.now[sector], b.disk.now[sector]);
            self.violate(format!(
                "the disks differ in sector {sector}: write {a} and write {b}"
            ));
        }
    }
}
