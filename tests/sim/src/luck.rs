// SPDX-License-Identifier: GPL-2.0-only

//! The network, the disks and bad luck.

use crate::{
    link::{hand_over, Link},
    node::{Io, Node, Purpose, Rx, Told},
    world::{Fault, World, FAULTS},
};
use drbd_core::{
    state,
    types::{ConnState, DiskState},
};

impl World {
    /// Bytes arrive at `to`.
    pub(crate) fn deliver(&mut self, to: usize) -> bool {
        let from = 1 - to;
        if self.parted[from] > self.now_ms || !self.nodes[to].up {
            return false;
        }
        let stream = self.rng.below(2) as usize;
        if self.quiet[to][stream] > self.now_ms {
            return false;
        }
        let Some(id) = self.nodes[to].link.as_ref().map(|link| link.id) else {
            return false;
        };
        let whole = !self.rng.one_in(4);
        let part = self.rng.any();
        let splits = self.may(Fault::Split);
        let mut split = false;
        let mut some = |out: &mut std::collections::VecDeque<u8>, into: &mut Link| {
            let most = out.len();
            if most == 0 {
                return false;
            }
            let bytes = if whole || !splits {
                most
            } else {
                1 + (part % most as u64) as usize
            };
            split = bytes < most;
            hand_over(out, bytes, |piece| into.arrived[stream].extend(piece));
            true
        };
        let [a, b] = &mut self.nodes;
        let (source, target) = if to == 0 { (b, a) } else { (a, b) };
        let link = target.link.as_mut().expect("just seen");
        if link.ended {
            return false;
        }
        let moved = match source
            .link
            .as_mut()
            .filter(|other| source.up && other.id == id)
        {
            Some(other) => some(&mut other.out[stream], link),
            None => match self
                .adrift
                .iter_mut()
                .find(|adrift| adrift.link.id == id && adrift.to == to)
            {
                Some(adrift) => {
                    let moved = some(&mut adrift.link.out[stream], link);
                    if adrift.link.out.iter().all(|out| out.is_empty()) {
                        link.ended = true;
                    }
                    moved
                }
                None => !std::mem::replace(&mut link.ended, true),
            },
        };
        if split {
            self.count(Fault::Split);
        }
        moved
    }

    /// Both wait for a connection.
    pub(crate) fn dial(&mut self) -> bool {
        let waits = |node: &Node| {
            node.up && node.rx == Rx::WaitSocket && node.link.is_none() && node.wanted()
        };
        if self.parted.iter().any(|&until| until > self.now_ms) || !self.nodes.iter().all(waits) {
            return false;
        }
        self.links += 1;
        let first = self.rng.one_in(2);
        for node in &mut self.nodes {
            node.link = Some(Link {
                id: self.links,
                ..Link::default()
            });
            node.resolve_conflicts = (node.id == 0) == first;
        }
        self.adrift.clear();
        self.say(|| "connected".into());
        true
    }

    /// An operation of a disk ends: any.
    pub(crate) fn disk(&mut self, id: usize) -> bool {
        let (writes, reads) = (self.may(Fault::WriteError), self.may(Fault::ReadError));
        let node = &mut self.nodes[id];
        if node.ios.is_empty() {
            return false;
        }
        let at = self.rng.below(node.ios.len() as u64) as usize;
        let Io {
            purpose,
            sector,
            tags,
            read,
        } = node.ios.remove(at);
        let is_read = read > 0;
        let dies = node.dying > 0;
        node.dying -= usize::from(dies);
        let fails = self.rng.one_in(if is_read { 20 } else { 400 })
            && if is_read {
                reads
            } else {
                writes && !tags.is_empty()
            };
        let ok = !fails && !dies && node.state.disk != DiskState::Diskless;
        if ok && !tags.is_empty() {
            node.disk.write(sector, &tags);
        } else if ok && !is_read {
            node.disk.flush();
            node.told.push(Told::DiskFlushed);
        }
        match purpose {
            Purpose::Local(slot) => node.local_ended(slot, ok),
            Purpose::Peer(write) => node.peer_write_ended(&write, ok),
            Purpose::BarrierFlush => {
                node.put_local();
                if node.packet.is_some() && node.stage == 2 {
                    node.stage = 3;
                }
            }
            Purpose::Serve(mut reply) => {
                if ok {
                    reply.data = node.disk.now[sector..sector + read].to_vec();
                }
                reply.ok = ok;
                node.replies.push_back(reply);
                node.in_flight -= 1;
                if !ok {
                    node.io_error();
                }
                node.put_local();
            }
        }
        if at > 0 {
            self.faults[Fault::Reordered as usize] += 1;
        }
        if fails {
            self.count(if is_read {
                Fault::ReadError
            } else {
                Fault::WriteError
            });
        }
        true
    }

    pub(crate) fn cut_power(&mut self, id: usize) {
        let now = self.step;
        let node = &mut self.nodes[id];
        let mut under_way = Vec::new();
        for io in node.ios.drain(..) {
            if !io.tags.is_empty() {
                under_way.push((io.sector, io.tags));
            }
        }
        let (lost, torn) = node.disk.cut(&mut self.rng, &under_way);
        node.cut_log(&mut self.rng);
        node.up = false;
        node.link = None;
        node.admin = None;
        // As when the connection ends before both have data, it is forgotten but for its bits.
        node.stable.unowed |= node.flags.grown_while_away;
        self.faults[Fault::LostWrite as usize] += lost;
        self.faults[Fault::TornWrite as usize] += torn;
        let under_way = self.nodes[1 - id].tags_under_way();
        self.images[id].cut(now, &under_way);
        self.stale_after_cut(id);
        self.check_subset(&format!("node {id} loses power"));
    }

    /// What comes of a fault in the metadata.
    pub(crate) fn burn(&mut self) {
        for id in 0..2 {
            match self.nodes[id].meta_fault.take() {
                None => {}
                Some(fault @ Fault::MetaCut) => {
                    self.cut_power(id);
                    self.count(fault);
                }
                Some(fault) => self.count(fault),
            }
        }
    }

    fn reset(&mut self) {
        for node in &mut self.nodes {
            if let Some(link) = node.link.as_mut() {
                link.out.iter_mut().for_each(|out| out.clear());
                link.ended = true;
            }
        }
    }

    /// What fits the moment, now and then; else anything.
    fn choose(&mut self, id: usize) -> Fault {
        let node = &self.nodes[id];
        let attaches = matches!(
            node.state.disk,
            DiskState::Attaching | DiskState::Negotiating
        );
        let fitting = if attaches {
            Some(Fault::CrashInAttach)
        } else if node.state.conn == ConnState::WfReportParams {
            Some(Fault::CrashInHandshake)
        } else if state::is_resync(node.state.conn) {
            Some(Fault::RestartInResync)
        } else if state::is_beyond_connected(node.state.conn) {
            Some(Fault::ResetInResync)
        } else if node.state.conn == ConnState::Connected {
            Some(Fault::Rot)
        } else {
            None
        };
        match fitting {
            Some(fault) if self.rng.one_in(3) => fault,
            // The last of them comes by itself.
            _ => FAULTS[self.rng.below(FAULTS.len() as u64 - 1) as usize].0,
        }
    }

    /// Bad luck.
    pub(crate) fn go_wrong(&mut self, id: usize) -> bool {
        if self.healing
            || !self
                .rng
                .one_in(if self.config.two_primaries { 200 } else { 12 })
        {
            return false;
        }
        let fault = self.choose(id);
        if !self.may(fault) || !self.strike(id, fault) {
            return false;
        }
        if !matches!(fault, Fault::MetaCut | Fault::MetaError) {
            self.count(fault);
        }
        true
    }

    fn strike(&mut self, id: usize, fault: Fault) -> bool {
        let until = self.now_ms + 20 + self.rng.below(3000);
        let both_up = self.nodes.iter().all(|node| node.up);
        let both_linked = self.nodes.iter().all(|node| node.link.is_some());
        let rarely = self.rng.one_in(3);
        let node = &mut self.nodes[id];
        let (up, conn) = (node.up, node.state.conn);
        match fault {
            Fault::Crash if up && rarely => self.cut_power(id),
            Fault::DoubleCrash if both_up && rarely => {
                self.cut_power(0);
                self.cut_power(1);
            }
            Fault::RestartInResync if up && state::is_resync(conn) => self.cut_power(id),
            Fault::CrashInHandshake if up && conn == ConnState::WfReportParams => {
                self.cut_power(id);
            }
            Fault::CrashInAttach
                if up
                    && matches!(
                        node.state.disk,
                        DiskState::Attaching | DiskState::Negotiating
                    ) =>
            {
                self.cut_power(id);
            }
            Fault::Freeze => self.frozen[id] = until,
            Fault::ClockJump if rarely => self.now_ms = until,
            Fault::Stall => self.stalled[id] = until,
            Fault::Congested if node.link.is_some() => self.congested[id] = until,
            Fault::StreamStall if node.link.is_some() => {
                self.quiet[id][self.rng.below(2) as usize] = until;
            }
            Fault::Reset if rarely && both_linked => {
                self.reset();
            }
            Fault::ResetInResync if state::is_beyond_connected(conn) && both_linked => {
                self.reset();
            }
            Fault::HalfOpen if rarely && node.link.is_some() => {
                if let Some(link) = node.link.as_mut() {
                    link.ended = true;
                }
            }
            Fault::OneWay if rarely => self.parted[id] = until,
            Fault::Partition if rarely => self.parted = [until; 2],
            Fault::MetaCut | Fault::MetaError if up && rarely && node.meta_fuse.is_none() => {
                node.meta_fuse = Some((self.rng.below(4) as u32, fault));
            }
            Fault::Rot => return self.rot(id),
            Fault::DiskDies if up && rarely && node.has_disk() && node.ios.len() > 1 => {
                node.dying = node.ios.len();
                node.io_error();
            }
            _ => return false,
        }
        true
    }
}
