// SPDX-License-Identifier: GPL-2.0-only

//! The applications and the administrators.

use crate::{
    admin::Task,
    node::{Node, Rx},
    policies::policies,
    world::{Fault, World},
};
use drbd_core::{
    config::{conf::NetConf, text::Text},
    interval::Range,
    request::Kind,
    types::{ConnState, DiskState, Role},
};

impl World {
    /// The application.
    pub(crate) fn use_cluster(&mut self, id: usize) -> bool {
        let node = &mut self.nodes[id];
        if !node.up || self.frozen[id] > self.now_ms {
            return false;
        }
        node.clock = self.step;
        if let Some(write) = node.again.pop_front() {
            // Who has the device open no more does not wait.
            let begun = !(write.again || node.writable) || node.start(write);
            if !begun {
                node.again.push_front(write);
            }
            return begun;
        }
        if self.healing || !node.writable {
            return false;
        }
        if self.rng.one_in(6) {
            let range = Range {
                volume: 0,
                sector: 0,
                sectors: 0,
            };
            return node.submit(Kind::Flush, range, 0).is_some();
        }
        let sectors = if self.rng.one_in(3) {
            1 + self.rng.below(16)
        } else {
            8
        };
        // Without a disk on either side, nobody has told the size yet.
        if node.capacity == 0 {
            return false;
        }
        let blocks = node.capacity / 8;
        let hot = if self.rng.one_in(2) {
            blocks.min(6)
        } else {
            blocks
        };
        let mut sector = 8 * self.rng.below(hot);
        if self.rng.one_in(4) {
            sector += self.rng.below(8);
        }
        let sectors = sectors.min(node.capacity.saturating_sub(sector)).max(1);
        let sector = sector.min(node.capacity - sectors);
        let range = Range {
            volume: 0,
            sector,
            sectors: sectors as u32,
        };
        self.tags += 1;
        node.submit(Kind::Write, range, self.tags).is_some()
    }

    /// The administrators.
    pub(crate) fn administrate(&mut self, id: usize) -> bool {
        if self.frozen[id] > self.now_ms {
            return false;
        }
        let now = self.now_ms;
        self.nodes[id].now_ms = now;
        self.nodes[id].clock = self.step;
        if self.nodes[id].admin.is_some() {
            return self.nodes[id].administrate();
        }
        if self.leaving {
            return false;
        }
        let roll = self.rng.below(60);
        let repair = self.healing || self.rng.one_in(3);
        if repair && self.repair(id) {
            return true;
        }
        let node = &mut self.nodes[id];
        if self.healing || !node.up {
            return false;
        }
        // Who invalidates a copy looks whether the other one is good.
        let good = |node: &Node| {
            node.state.conn == ConnState::Connected
                && node.state.disk == DiskState::UpToDate
                && node.state.pdsk == DiskState::UpToDate
        };
        let calm = self.config.two_primaries;
        let writes = node.state.role == Role::Primary;
        // With two Primaries a resync may end unnoticed by its source, or a demotion cross: then both lead the resync of the
        // new part, or none, until the connection is made anew. Whoever resizes looks, and does one thing at a time.
        let other = &self.nodes[1 - id];
        let may_grow = !calm || self.nodes.iter().all(good) && other.admin.is_none();
        let asked = self.nodes.iter().any(|node| node.flags.asked_size);
        let resizes = calm && (asked || matches!(other.admin, Some(Task::Resize { .. })));
        let node = &mut self.nodes[id];
        if resizes {
            return false;
        }
        match roll {
            0..=7 if node.state.role == Role::Secondary => {
                // Data that are good anyway need no force.
                let force = !calm && self.rng.one_in(4);
                node.set_role(Role::Primary, force);
            }
            8..=10 if writes && (!calm || roll == 8) => node.set_role(Role::Secondary, false),
            // It would be a split brain, which is found soon enough.
            11..=12 if node.net.is_some() && !(calm && writes) => {
                node.admin = Some(Task::Leave {
                    asked: false,
                    until: now + 2000,
                    left: false,
                });
            }
            13 if node.has_disk() && !(calm && writes) => {
                if !self.may(Fault::Detach) {
                    return false;
                }
                self.count(Fault::Detach);
                self.nodes[id].admin = Some(Task::Detach {
                    phase: 0,
                    asked: false,
                });
            }
            14 if good(node) && node.state.role == Role::Secondary => {
                self.discards[id] = true;
                node.admin = Some(Task::FullSync {
                    start: ConnState::StartingSyncT,
                    asked: false,
                });
            }
            15 if good(node) && node.state.role == Role::Primary => {
                node.admin = Some(Task::FullSync {
                    start: ConnState::StartingSyncS,
                    asked: false,
                });
            }
            16..=35 if good(node) => {
                let capacity = node.capacity;
                let mut lot = || (!self.rng.one_in(2)).then(|| self.rng.below(capacity));
                let (start, stop) = (lot(), lot());
                node.admin = Some(Task::Verify {
                    start,
                    stop,
                    asked: false,
                });
            }
            36..=37 if may_grow => {
                self.grow();
                self.nodes[id].admin = Some(Task::Resize { suspends: false });
            }
            38..=39 => node.pause(!node.state.user_isp),
            40 if writes && !calm && !node.state.susp => node.suspend(),
            41..=45 if node.state.susp => node.admin = Some(Task::ResumeIo { locked: false }),
            _ => return false,
        }
        self.say(|| format!("node {id}: {:?}", self.nodes[id].admin));
        true
    }

    /// Brings a node back to what its configuration says.
    pub(crate) fn repair(&mut self, id: usize) -> bool {
        let split = self.nodes.iter().any(|node| node.split_brain);
        if !self.nodes[id].up {
            let node = &self.nodes[id];
            let (disk, stable) = (node.disk.clone(), node.stable.clone());
            self.nodes[id] = Node::boot(id, disk, stable, self.rng.clone_lot());
            self.nodes[id].split_brain = split;
            self.say(|| format!("node {id} boots"));
            return true;
        }
        let waits = self.healing && split && self.discarding.is_none();
        let node = &mut self.nodes[id];
        if self.healing && node.state.user_isp {
            node.pause(false);
        } else if self.healing && node.suspended() {
            node.admin = Some(Task::ResumeIo { locked: false });
        } else if self.healing && node.state.role == Role::Primary {
            node.set_role(Role::Secondary, false);
        } else if waits && node.net.is_some() {
            // A split brain is settled by a new connection. Its other end waits for us without knowing, or an attach
            // was given up, and both are connected.
            node.admin = Some(Task::Leave {
                asked: false,
                until: 0,
                left: false,
            });
        } else if node.state.disk == DiskState::Diskless && !node.local && !node.todo_release {
            node.admin = Some(Task::Attach {
                phase: 0,
                applied: 0,
            });
        } else if node.cstate == ConnState::StandAlone
            && node.net.is_none()
            && node.rx == Rx::Off
            && !node.start_receiver
        {
            if split && !self.healing {
                return false;
            }
            let mut conf = NetConf {
                wire_protocol: self.config.protocol,
                two_primaries: self.config.two_primaries,
                verify_alg: Text::new(b"crc32c").unwrap_or_default(),
                ..policies(self.config.seed)
            };
            if split {
                let victim = *self.discarding.get_or_insert(id);
                if victim == id {
                    conf.discard_my_data = true;
                    self.discards[id] = true;
                }
            }
            self.nodes[id].connect(conf);
        } else {
            return false;
        }
        true
    }
}
