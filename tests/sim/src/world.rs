// SPDX-License-Identifier: GPL-2.0-only

//! One run: two nodes, what connects them, who uses them, what goes wrong; and the checks.
//!
//! At every step a lot decides who does something next: a thread of a node, a disk, the network, an application, an
//! administrator, or bad luck. After a number of steps bad luck ends, an administrator repairs what needs one, and
//! everything has to come to rest with equal disks that hold what was promised.

use crate::{
    admin::Task,
    disk::Disk,
    link::Link,
    node::{Io, Node, Purpose, Rx, Stable, Told},
    oracle::Image,
    rng::Rng,
};
use drbd_core::{
    config::conf::NetConf,
    interval::Range,
    meta::{Flags, Superblock, SUPERBLOCK_BYTES},
    request::Kind,
    state,
    types::{ConnState, DiskState, Role, Uuid},
    uuid::{Refusal, Set},
};

macro_rules! faults {
    ($( $name:ident $text:literal, )+) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $( #[doc = $text] $name, )+ }
        /// All of them, with their names.
        pub const FAULTS: &[(Fault, &str)] = &[ $( (Fault::$name, $text), )+ ];
    };
}

faults! {
    Crash "a node loses power",
    DoubleCrash "both nodes lose power",
    RestartInResync "a node loses power during a resync",
    Freeze "a node stands still",
    ClockJump "a clock jumps",
    TornWrite "a write is torn",
    LostWrite "a write is lost in the cache",
    Reordered "writes reach the disk in another order",
    WriteError "a write fails",
    ReadError "a read fails",
    Stall "a disk stalls",
    Detach "a disk is detached",
    Reset "a connection is reset",
    HalfOpen "one end of a connection vanishes",
    OneWay "the network is cut in one direction",
    Partition "the network is cut",
    Split "a packet arrives in parts",
}

/// What distinguishes a run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The lots.
    pub seed: u64,
    /// For how many steps things go wrong.
    pub steps: u32,
    /// Faults that do not happen, by number.
    pub without: u32,
}

impl Config {
    /// The usual run of a seed.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            steps: 1500,
            without: 0,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How often each fault happened.
    pub faults: Vec<u64>,
    /// What must not be.
    pub violation: Option<String>,
    /// A number that depends on everything that happened.
    pub hash: u64,
    /// Steps made.
    pub steps: u64,
    /// Simulated time.
    pub ms: u64,
}

struct Adrift {
    link: Link,
    to: usize,
}

struct World {
    config: Config,
    rng: Rng,
    nodes: [Node; 2],
    images: [Image; 2],
    parted: [bool; 2],
    adrift: Vec<Adrift>,
    frozen: [u64; 2],
    stalled: [u64; 2],
    links: u64,
    tags: u64,
    step: u64,
    now_ms: u64,
    hash: u64,
    healing: bool,
    faults: Vec<u64>,
    /// Primary without its peer since both were equal.
    alone: [bool; 2],
    /// Completed a write that the peer does not have since both were equal.
    wrote: [bool; 2],
    discarding: Option<usize>,
    violation: Option<String>,
    trace: bool,
    shown: [String; 2],
}

/// Plays a run.
pub fn run(config: Config, trace: bool) -> Report {
    let mut world = World::new(config, trace);
    world.play();
    Report {
        faults: world.faults,
        violation: world.violation,
        hash: world.hash,
        steps: world.step,
        ms: world.now_ms,
    }
}

fn fresh_stable(sectors: usize) -> Stable {
    let block = Superblock {
        effective_size: sectors as u64,
        uuids: Set::from_array([Uuid(0x1000), Uuid::ZERO, Uuid::ZERO, Uuid::ZERO]),
        device_uuid: 1,
        flags: {
            let mut flags = Flags::CONSISTENT;
            flags.insert(Flags::WAS_UP_TO_DATE);
            flags
        },
        md_size_sect: 80,
        al_offset: 8,
        al_nr_extents: 1237,
        bm_offset: 72,
        bm_bytes_per_bit: 4096,
        la_peer_max_bio_size: 0,
        al_stripes: 1,
        al_stripe_size_4k: 8,
    };
    let mut superblock = vec![0; SUPERBLOCK_BYTES];
    block.emit_unclean(&mut superblock);
    Stable {
        superblock,
        bitmap: vec![0; sectors.div_ceil(512)],
    }
}

impl World {
    fn new(config: Config, trace: bool) -> Self {
        let mut rng = Rng::new(config.seed);
        let sectors = 256
            + 8 * rng.below(40) as usize
            + if rng.one_in(4) {
                rng.below(8) as usize
            } else {
                0
            };
        let volatile = rng.one_in(2);
        let mut node = |id| {
            Node::boot(
                id,
                Disk::new(sectors, volatile),
                fresh_stable(sectors),
                rng.clone_lot(),
            )
        };
        let nodes = [node(0), node(1)];
        Self {
            config,
            rng,
            nodes,
            images: [Image::new(sectors), Image::new(sectors)],
            parted: [false; 2],
            adrift: Vec::new(),
            frozen: [0; 2],
            stalled: [0; 2],
            links: 0,
            tags: 0,
            step: 0,
            now_ms: 1000,
            hash: 0xcbf2_9ce4_8422_2325,
            healing: false,
            faults: vec![0; FAULTS.len()],
            alone: [false; 2],
            wrote: [false; 2],
            discarding: None,
            violation: None,
            trace,
            shown: Default::default(),
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:6} {:8} {}", self.step, self.now_ms, what());
        }
    }

    fn violate(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    fn count(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
        self.say(|| format!("fault: {}", FAULTS[fault as usize].1));
    }

    fn may(&self, fault: Fault) -> bool {
        !self.healing && self.config.without & (1 << fault as u32) == 0
    }

    fn play(&mut self) {
        let mut idle = 0u32;
        let mut rest = 0;
        let limit = u64::from(self.config.steps) + 60_000;
        while self.violation.is_none() && self.step < limit {
            if self.step == u64::from(self.config.steps) {
                self.heal();
            }
            self.step += 1;
            self.now_ms += self.rng.below(2);
            let moved = self.act();
            self.observe();
            idle = if moved { 0 } else { idle + 1 };
            if idle > 24 {
                idle = 0;
                self.now_ms += 50 + self.rng.below(400);
                if self.healing && self.at_rest() {
                    rest += 1;
                    if rest > 3 {
                        self.check_end();
                        return;
                    }
                } else {
                    rest = 0;
                }
            }
        }
        if self.violation.is_none() {
            let states = format!("{} / {}", self.nodes[0].state, self.nodes[1].state);
            self.violate(format!("it never comes to rest: {states}"));
        }
    }

    fn heal(&mut self) {
        self.healing = true;
        self.parted = [false; 2];
        self.frozen = [0; 2];
        self.stalled = [0; 2];
        self.say(|| "no more faults".into());
    }

    /// Somebody does something; false: there was nothing to do.
    fn act(&mut self) -> bool {
        let id = self.rng.below(2) as usize;
        let what = self.rng.below(16);
        let now = self.now_ms;
        self.hash = (self.hash ^ (what | (id as u64) << 8)).wrapping_mul(0x0100_0000_01b3);
        match what {
            0..=1 => return self.deliver(id),
            12 => return self.use_cluster(id),
            13 => return self.administrate(id),
            14 => return self.go_wrong(id),
            15 => return self.dial(),
            _ => {}
        }
        let (frozen, stalled) = (self.frozen[id] > now, self.stalled[id] > now);
        let node = &mut self.nodes[id];
        if !node.up || frozen {
            return false;
        }
        node.now_ms = now;
        node.clock = self.step;
        match what {
            2..=3 => node.receiver(),
            4 => node.ack_receiver(),
            5 => node.ack_sender(),
            6..=7 => {
                let ready = node.sender_ready();
                if ready {
                    node.sender();
                }
                ready
            }
            8..=9 => {
                let ready = node.worker_ready();
                if ready {
                    node.worker();
                }
                ready
            }
            _ => !stalled && self.disk(id),
        }
    }

    /// Bytes arrive at `to`.
    fn deliver(&mut self, to: usize) -> bool {
        let from = 1 - to;
        if self.parted[from] || !self.nodes[to].up {
            return false;
        }
        let stream = self.rng.below(2) as usize;
        let Some(id) = self.nodes[to].link.as_ref().map(|link| link.id) else {
            return false;
        };
        let whole = !self.rng.one_in(4);
        let part = self.rng.any();
        let splits = self.may(Fault::Split);
        let mut split = false;
        let mut hand_over = |out: &mut std::collections::VecDeque<u8>, into: &mut Link| {
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
            into.arrived[stream].extend(out.drain(..bytes));
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
            Some(other) => hand_over(&mut other.out[stream], link),
            None => match self
                .adrift
                .iter_mut()
                .find(|adrift| adrift.link.id == id && adrift.to == to)
            {
                Some(adrift) => {
                    let moved = hand_over(&mut adrift.link.out[stream], link);
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
    fn dial(&mut self) -> bool {
        let waits = |node: &Node| {
            node.up && node.rx == Rx::WaitSocket && node.link.is_none() && node.wanted()
        };
        if self.parted != [false; 2] || !self.nodes.iter().all(waits) {
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
    fn disk(&mut self, id: usize) -> bool {
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
        let fails = self.rng.one_in(400)
            && if is_read {
                reads
            } else {
                writes && !tags.is_empty()
            };
        let mut ok = !fails && node.state.disk != DiskState::Diskless;
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
                ok &= !fails;
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

    /// The application.
    fn use_cluster(&mut self, id: usize) -> bool {
        let node = &mut self.nodes[id];
        if self.healing || !node.up || !node.writable || self.frozen[id] > self.now_ms {
            return false;
        }
        node.clock = self.step;
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
    fn administrate(&mut self, id: usize) -> bool {
        if self.frozen[id] > self.now_ms {
            return false;
        }
        let now = self.now_ms;
        self.nodes[id].now_ms = now;
        self.nodes[id].clock = self.step;
        if self.nodes[id].admin.is_some() {
            return self.nodes[id].administrate();
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
        match roll {
            0..=7 if node.state.role == Role::Secondary => node.set_role(Role::Primary, false),
            8..=10 if node.state.role == Role::Primary => node.set_role(Role::Secondary, false),
            11..=12 if node.net.is_some() => {
                node.admin = Some(Task::Leave {
                    asked: false,
                    until: now + 2000,
                    left: false,
                });
            }
            13 if node.has_disk() => {
                if !self.may(Fault::Detach) {
                    return false;
                }
                self.count(Fault::Detach);
                self.nodes[id].admin = Some(Task::Detach {
                    phase: 0,
                    asked: false,
                });
            }
            14 if node.state.conn == ConnState::Connected && node.state.role == Role::Secondary => {
                node.admin = Some(Task::FullSync {
                    start: ConnState::StartingSyncT,
                    asked: false,
                });
            }
            15 if node.state.conn == ConnState::Connected && node.state.role == Role::Primary => {
                node.admin = Some(Task::FullSync {
                    start: ConnState::StartingSyncS,
                    asked: false,
                });
            }
            _ => return false,
        }
        self.say(|| format!("node {id}: {:?}", self.nodes[id].admin));
        true
    }

    /// Brings a node back to what its configuration says.
    fn repair(&mut self, id: usize) -> bool {
        let split = self.nodes.iter().any(|node| node.split_brain);
        if !self.nodes[id].up {
            let node = &self.nodes[id];
            let (disk, stable) = (node.disk.clone(), node.stable.clone());
            self.nodes[id] = Node::boot(id, disk, stable, self.rng.clone_lot());
            self.nodes[id].split_brain = split;
            self.say(|| format!("node {id} boots"));
            return true;
        }
        let node = &mut self.nodes[id];
        if self.healing && node.state.role == Role::Primary {
            node.set_role(Role::Secondary, false);
        } else if node.state.disk == DiskState::Diskless && !node.local && !node.todo_release {
            node.admin = Some(Task::Attach { phase: 0 });
        } else if node.cstate == ConnState::StandAlone
            && node.net.is_none()
            && node.rx == Rx::Off
            && !node.start_receiver
        {
            if split && !self.healing {
                return false;
            }
            let mut conf = NetConf::default();
            if split {
                let victim = *self.discarding.get_or_insert(id);
                if victim == id {
                    conf.discard_my_data = true;
                }
            }
            self.nodes[id].connect(conf);
        } else if split && self.healing && node.net.is_some() && self.discarding.is_none() {
            // The other end of a split brain waits for us without knowing.
            node.admin = Some(Task::Leave {
                asked: false,
                until: 0,
                left: false,
            });
        } else {
            return false;
        }
        true
    }

    fn cut_power(&mut self, id: usize) {
        let now = self.step;
        let node = &mut self.nodes[id];
        let mut under_way = Vec::new();
        for io in node.ios.drain(..) {
            if !io.tags.is_empty() {
                under_way.push((io.sector, io.tags));
            }
        }
        let (lost, torn) = node.disk.cut(&mut self.rng, &under_way);
        node.up = false;
        node.link = None;
        node.admin = None;
        self.faults[Fault::LostWrite as usize] += lost;
        self.faults[Fault::TornWrite as usize] += torn;
        self.images[id].cut(now);
    }

    /// Bad luck.
    fn go_wrong(&mut self, id: usize) -> bool {
        if self.healing || !self.rng.one_in(12) {
            return false;
        }
        let fault = FAULTS[self.rng.below(FAULTS.len() as u64) as usize].0;
        if !self.may(fault) {
            return false;
        }
        let until = self.now_ms + 20 + self.rng.below(3000);
        match fault {
            Fault::Crash if self.nodes[id].up && self.rng.one_in(2) => self.cut_power(id),
            Fault::DoubleCrash if self.nodes.iter().all(|node| node.up) && self.rng.one_in(6) => {
                self.cut_power(0);
                self.cut_power(1);
            }
            Fault::RestartInResync
                if self.nodes[id].up && state::is_resync(self.nodes[id].state.conn) =>
            {
                self.cut_power(id);
            }
            Fault::Freeze => self.frozen[id] = until,
            Fault::ClockJump => self.now_ms = until,
            Fault::Stall => self.stalled[id] = until,
            Fault::Reset if self.nodes.iter().all(|node| node.link.is_some()) => {
                for node in &mut self.nodes {
                    if let Some(link) = node.link.as_mut() {
                        link.out.iter_mut().for_each(|out| out.clear());
                        link.ended = true;
                    }
                }
            }
            Fault::HalfOpen if self.nodes[id].link.is_some() => {
                if let Some(link) = self.nodes[id].link.as_mut() {
                    link.ended = true;
                }
            }
            Fault::OneWay => self.parted[id] = !self.parted[id],
            Fault::Partition => {
                self.parted = if self.parted == [true; 2] {
                    [false; 2]
                } else {
                    [true; 2]
                }
            }
            _ => return false,
        }
        self.count(fault);
        true
    }

    /// What the nodes have told is compared with what was promised.
    fn observe(&mut self) {
        for id in 0..2 {
            for link in std::mem::take(&mut self.nodes[id].closed) {
                self.adrift.push(Adrift { link, to: 1 - id });
            }
            for told in std::mem::take(&mut self.nodes[id].told) {
                self.hear(id, &told);
            }
            let node = &self.nodes[id];
            if self.trace {
                let uuids = node
                    .md
                    .as_ref()
                    .map(|md| md.uuids.to_string())
                    .unwrap_or_default();
                let now = format!("{} bits {} {uuids}", node.state, node.weight());
                if now != self.shown[id] {
                    println!("{:6} {:8} node {id} is {now}", self.step, self.now_ms);
                    self.shown[id] = now;
                }
            }
            let writes = node.state.role == Role::Primary || node.state.peer == Role::Primary;
            let reaches =
                state::is_connected(node.state.conn) && !state::has_no_data(node.state.pdsk);
            self.alone[id] |= node.up && writes && !reaches && node.has_disk();
        }
        let equal = |node: &Node| {
            node.up
                && node.state.conn == ConnState::Connected
                && node.state.disk == DiskState::UpToDate
                && node.state.pdsk == DiskState::UpToDate
        };
        let [a, b] = &self.nodes;
        let same_link = a.link.as_ref().map(|link| link.id) == b.link.as_ref().map(|link| link.id);
        if equal(a) && equal(b) && same_link {
            self.alone = [false; 2];
            self.wrote = [false; 2];
            self.discarding = None;
            self.nodes
                .iter_mut()
                .for_each(|node| node.split_brain = false);
        }
        let bits = |node: &Node| u64::from(node.state.to_wire()) | u64::from(node.up) << 32;
        self.hash = (self.hash ^ bits(&self.nodes[0])).wrapping_mul(0x0100_0000_01b3);
        self.hash = (self.hash ^ bits(&self.nodes[1])).wrapping_mul(0x0100_0000_01b3);
    }

    fn hear(&mut self, id: usize, told: &Told) {
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
            Told::Done(tag, range, local, replicated) => {
                if local {
                    self.images[id].done(tag, &range, now, !volatile);
                }
                if replicated {
                    self.images[peer].done(tag, &range, now, !volatile);
                }
                self.wrote[id] |= local && !replicated;
            }
            Told::Flushed(since) => self.images[id].flushed(since),
            Told::DiskFlushed | Told::Confirmed | Told::DiskError | Told::Failed(_) => {}
            Told::Verdict(Ok(_)) => {
                if self.wrote == [true; 2] && self.discarding.is_none() {
                    self.violate(format!(
                        "node {id}: both were written apart, and nobody says so"
                    ));
                }
            }
            Told::Verdict(Err(refusal)) => {
                let apart = matches!(refusal, Refusal::SplitBrain | Refusal::Unrelated);
                if apart && self.alone != [true; 2] {
                    self.violate(format!("node {id}: {refusal:?}, but the history is linear"));
                }
            }
            Told::Synced => {
                self.images[id] = self.images[peer].clone();
                self.alone = [false; 2];
                self.wrote = [false; 2];
            }
        }
    }

    fn at_rest(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.up
                && node.is_idle()
                && node.admin.is_none()
                && node.state.conn == ConnState::Connected
                && node.state.disk == DiskState::UpToDate
                && node.state.pdsk == DiskState::UpToDate
                && node
                    .link
                    .as_ref()
                    .is_some_and(|link| link.out.iter().all(|out| out.is_empty()))
        })
    }

    fn check_end(&mut self) {
        for id in 0..2 {
            let node = &self.nodes[id];
            let dirty = node.weight();
            let wrong =
                (0..node.disk.now.len()).find(|&s| !self.images[id].allows(s, node.disk.now[s]));
            if let Some(sector) = wrong {
                let found = node.disk.now[sector];
                let expected = self.images[id].explain(sector);
                self.violate(format!(
                    "node {id}: sector {sector} holds write {found}, promised: {expected}"
                ));
            } else if dirty > 0 {
                self.violate(format!("node {id}: {dirty} bits are set at rest"));
            }
        }
        let [a, b] = &self.nodes;
        let differs = (0..a.disk.now.len()).find(|&s| a.disk.now[s] != b.disk.now[s]);
        if let Some(sector) = differs {
            let (a, b) = (a.disk.now[sector], b.disk.now[sector]);
            self.violate(format!(
                "the disks differ in sector {sector}: write {a} and write {b}"
            ));
        }
    }
}
