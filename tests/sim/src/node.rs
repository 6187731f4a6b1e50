// SPDX-License-Identifier: GPL-2.0-only

//! A node: the shell's twin. What the shell keeps under its lock is here, and every state changes through
//! [`Node::change`] and [`Node::change_all`], as `drbdrs/change.rs` does it.

use crate::{
    activity::{Activity, Ring, Waiting},
    disk::Disk,
    link::Link,
    rng::Rng,
    world::Fault,
};
use drbd_core::{
    bitmap,
    config::{
        choices::{Fencing, OnNoData},
        conf::{DiskConf, NetConf},
    },
    epoch::{Incoming, Wire},
    interval::{self, NodeId, Range},
    meta::Superblock,
    peer_request::Origin,
    request::{Log, Slot, SlotId},
    resync::{Controller, Verify},
    state::{self, Accepted, Change, Conf, Negotiation, NetRules, Now, NowContext},
    types::{ConnState, DiskState, Role, State, StateRv, Uuid},
    uuid::{Direction, PeerUuids, Plan, Refusal, Unstored},
    wire::{Agreed, BitmapRecv, Command},
};
use std::collections::VecDeque;

/// Requests of the application at once.
pub const SLOTS: usize = 48;

/// What the receiver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Run,
    /// Begin anew.
    Restart,
    /// End.
    Stop,
}

/// A change whose consequences the worker executes.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// The volume's part: before and after; none for the connection's part.
    pub volume: Option<(State, State)>,
    /// The connection before and after.
    pub conn: (ConnState, ConnState),
    /// I/O is suspended until the peer is fenced.
    pub susp_fen: bool,
    /// Its number.
    pub serial: u64,
}

/// The shell's half of a request.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The write's tag; none when it has ended.
    pub tag: Option<u64>,
    /// Its interval.
    pub interval: Option<NodeId>,
    /// What it writes, also when the application has been told.
    pub data: u64,
    /// A flush covers what was complete before this moment.
    pub since: u64,
    /// The activity log that holds its extents.
    pub hold: Option<u32>,
}

/// What a disk operation is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// The application's request.
    Local(SlotId),
    /// A write of the peer.
    Peer(PeerWrite),
    /// The flush before a barrier is confirmed.
    BarrierFlush,
    /// A read for the peer.
    Serve(Reply),
}

/// A write on behalf of the peer.
#[derive(Clone, Debug)]
pub struct PeerWrite {
    /// Where.
    pub range: Range,
    /// As the peer named it.
    pub block_id: u64,
    /// Why.
    pub origin: Origin,
    /// Its interval.
    pub node: Option<NodeId>,
    /// The activity log that holds its extents.
    pub hold: Option<u32>,
}

/// What a read of our disk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The peer's resync.
    Resync,
    /// The peer's verify: it gets the digest.
    VerifyRequest,
    /// Our verify: it is compared with this digest.
    VerifyReply(u64),
}

/// An answer to a read of the peer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// What for.
    pub read: Read,
    /// Where.
    pub range: Range,
    /// As the peer named it.
    pub block_id: u64,
    /// Its interval.
    pub node: Option<NodeId>,
    /// The data.
    pub data: Vec<u64>,
    /// It could be read.
    pub ok: bool,
}

/// An operation on our disk.
#[derive(Clone, Debug)]
pub struct Io {
    /// Why.
    pub purpose: Purpose,
    /// First sector.
    pub sector: usize,
    /// What is written; empty: a flush or a read.
    pub tags: Vec<u64>,
    /// How many sectors are read.
    pub read: usize,
}

/// An acknowledgement that waits to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Of a block.
    Block(Command, Range, u64, u32),
    /// Of a barrier.
    Barrier(u32, u32),
}

/// What the world has to hear of.
#[derive(Clone, Debug)]
pub enum Told {
    /// The application's write was admitted: tag, range, whether our disk and the peer shall get it.
    Began(u64, Range, bool, bool),
    /// It was completed without error; our disk has it; the peer has it; or it may be on its way there. Else it is marked.
    Done(u64, Range, bool, bool, bool),
    /// The peer has a write that was completed before: tag, range.
    Arrived(u64, Range),
    /// A write gives way to one of ours.
    GaveWay,
    /// A flush was completed: what was complete before that moment is stable here.
    Flushed(u64),
    /// The peer confirmed a barrier.
    Confirmed,
    /// The disk of this node has been flushed.
    DiskFlushed,
    /// The generations were compared.
    Verdict(Result<Plan, Refusal>),
    /// The peer waits for the resync of what is new, the generations are the same, and it begins here.
    PeerWaited,
    /// Data that were not good are called good by force.
    Forced,
    /// A resync begins here as target.
    Target,
    /// A resync writes here what the source has.
    Moved(Range),
    /// A policy has settled a split brain: the resync goes in this direction.
    Solved(Direction),
    /// A resync has ended here as target.
    Synced,
    /// Our disk went: an error.
    DiskError,
    /// A request ended with an error.
    Failed(u64),
    /// What must never be.
    Wrong(String),
    /// A verify says that these blocks differ.
    Differs(Range),
}

/// Bits of a volume that mean something for a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolFlags {
    pub crashed_primary: bool,
    pub consider_resync: bool,
    pub new_current_uuid: bool,
    pub discard_my_data: bool,
    pub agreed: bool,
    pub refused: bool,
    pub was_io_error: bool,
    pub force_detach: bool,
    /// The size grew when one of the disks could not be resynced (8.4: RESYNC_AFTER_NEG).
    pub grown_while_away: bool,
    pub peer_attaches: bool,
    /// The administrator waits for the peer's answer to a resize.
    pub asked_size: bool,
    /// The peer has not answered our new size (8.4: RESIZE_PENDING).
    pub resize_pending: bool,
    /// The peer may not know yet that our disk cannot be used.
    pub loss_untold: bool,
    /// The peer may not know yet that its disk has come.
    pub peer_disk_untold: bool,
}

/// What metadata survives on the disk.
#[derive(Clone, Debug)]
pub struct Stable {
    /// The superblock's bytes.
    pub superblock: Vec<u8>,
    /// The bitmap.
    pub bitmap: Vec<u64>,
    /// The activity log.
    pub ring: Ring,
    /// Some bits were set for all blocks, wherever they differ. When no resync follows, because the generations are
    /// equal (a full sync that the loss of the connection ended; a bitmap that could not be written), they stay, as
    /// in 8.4.
    pub unowed: bool,
    /// Bits of writes that the other Primary wanted again. They were set when only this disk had the write; nothing
    /// clears them when both have it, and no resync follows, as in 8.4.
    pub wanted_again: Vec<u64>,
}

/// Where the receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rx {
    Off,
    Begin,
    WaitSocket,
    AwaitHello,
    Report,
    Running,
    Down(u8),
    Retry(u64),
}

/// The end of a resync at the target, as the sender waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    No,
    AcksIdle,
    Ping { before: u32, until: u64 },
}

/// See the module's description.
pub struct Node {
    pub id: usize,
    pub up: bool,
    pub rng: Rng,
    pub now_ms: u64,
    pub clock: u64,
    pub disk: Disk,
    pub stable: Stable,
    pub told: Vec<Told>,
    /// How many more writes of metadata succeed, and what happens then.
    pub meta_fuse: Option<(u32, Fault)>,
    /// That has happened.
    pub meta_fault: Option<Fault>,
    /// Operations under way on a disk that has failed.
    pub dying: usize,
    pub ios: Vec<Io>,
    // The volume.
    /// The size of the device.
    pub capacity: u64,
    /// What the disk had room for when it was looked at last.
    pub room_seen: u64,
    pub state: State,
    pub local: bool,
    pub local_refs: u32,
    pub md: Option<Superblock>,
    pub md_dirty: bool,
    pub exposed: Uuid,
    /// That generation, while the superblock on disk does not have it.
    pub unstored: Option<Unstored>,
    pub peer_uuids: Option<PeerUuids>,
    pub told_bits: u64,
    pub negotiated: (DiskState, DiskState),
    pub bitmap_in: Option<BitmapRecv>,
    pub bits: Vec<u64>,
    /// The bits when the last resync began, and those that were set since, without what was copied.
    pub owed: Vec<u64>,
    /// How many they are: of a node without a disk, as many as when it had one.
    pub nbits: u64,
    pub flags: VolFlags,
    pub peer_disk: u64,
    pub application: u32,
    pub io_suspenders: u32,
    pub failed: u64,
    pub target_has_all: bool,
    pub resync_pending: u32,
    /// Requests that were given up when our disk went; the peer may still answer them.
    pub forgotten: u32,
    pub cursor: u64,
    pub verify: Verify,
    pub controller: Controller,
    pub arrived: u32,
    pub last_turn_ms: u64,
    pub disk_conf: DiskConf,
    pub todo_diskless: bool,
    pub todo_release: bool,
    pub todo_metadata: bool,
    // The connection.
    pub cstate: ConnState,
    pub net: Option<NetConf>,
    pub agreed: Agreed,
    pub state_sent: bool,
    pub resolve_conflicts: bool,
    pub order: Order,
    pub disconnect_sent: bool,
    pub asked_peer: bool,
    pub peer_reply: Option<StateRv>,
    pub turn: Option<Who>,
    pub link: Option<Link>,
    pub closed: Vec<Link>,
    pub packet: Option<crate::link::Arrived>,
    pub rx: Rx,
    pub stage: u8,
    pub resync_wish: Option<ConnState>,
    pub start_receiver: bool,
    // Requests.
    pub log: Log<Vec<Slot>>,
    pub writes: interval::Set<Vec<interval::Node>>,
    pub held: Vec<Held>,
    pub acks: VecDeque<Answer>,
    pub replies: VecDeque<Reply>,
    pub incoming: Incoming,
    pub in_flight: u32,
    /// Blocks to be compared that our application writes: the worker reads them when it has.
    pub put_off: Vec<(Range, u64)>,
    pub packet_seq: u32,
    /// The newest packet of the peer's that was carried out.
    pub peer_seq: u32,
    /// A write of the other Primary that waits until one of ours has been settled.
    pub entering: Option<Range>,
    /// Writes that have to wait, or that the other Primary wants again.
    pub again: VecDeque<Waiting>,
    pub activity: Activity,
    /// What the packet in the receiver's hands holds in the activity log.
    pub packet_hold: Option<u32>,
    pub wire: Wire,
    pub ending: Ending,
    pub ping_acks: u32,
    pub last_tick: u64,
    pub heard_ms: u64,
    /// When the connection was made.
    pub since_ms: u64,
    pub pinged_at: Option<u64>,
    // The worker.
    pub changes: VecDeque<Committed>,
    pub pushed: u64,
    pub done: u64,
    pub current: VecDeque<(crate::worker::Job, Committed)>,
    pub suspended_by_worker: bool,
    pub admin: Option<crate::admin::Task>,
    pub split_brain: bool,
    /// Applications may write: the device is open.
    pub writable: bool,
    pub refused_other: bool,
}

/// Who has the turn to change the state together with the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Admin,
}

/// How a change is made.
pub use drbd_core::state::How;

impl Node {
    /// A node that has just booted.
    pub fn boot(id: usize, disk: Disk, stable: Stable, mut rng: Rng) -> Self {
        let rng = Rng::new(rng.any());
        Self {
            id,
            up: true,
            rng,
            now_ms: 0,
            clock: 0,
            disk,
            stable,
            told: Vec::new(),
            meta_fuse: None,
            meta_fault: None,
            dying: 0,
            ios: Vec::new(),
            capacity: 0,
            room_seen: 0,
            state: State::NEW,
            local: false,
            local_refs: 0,
            md: None,
            md_dirty: false,
            exposed: Uuid::ZERO,
            unstored: None,
            peer_uuids: None,
            told_bits: 0,
            negotiated: (DiskState::Inconsistent, DiskState::Unknown),
            bitmap_in: None,
            bits: Vec::new(),
            owed: Vec::new(),
            nbits: 0,
            flags: VolFlags::default(),
            peer_disk: 0,
            application: 0,
            io_suspenders: 0,
            failed: 0,
            target_has_all: false,
            resync_pending: 0,
            forgotten: 0,
            cursor: 0,
            verify: Verify::NEW,
            controller: Controller::new(),
            arrived: 0,
            last_turn_ms: 0,
            disk_conf: DiskConf {
                c_plan_ahead: 0,
                resync_rate: 100_000,
                ..DiskConf::default()
            },
            todo_diskless: false,
            todo_release: false,
            todo_metadata: false,
            cstate: ConnState::StandAlone,
            net: None,
            agreed: Agreed::NOTHING,
            state_sent: false,
            resolve_conflicts: false,
            order: Order::Run,
            disconnect_sent: false,
            asked_peer: false,
            peer_reply: None,
            turn: None,
            link: None,
            closed: Vec::new(),
            packet: None,
            rx: Rx::Off,
            stage: 0,
            resync_wish: None,
            start_receiver: false,
            log: Log::new(vec![Slot::default(); SLOTS]),
            writes: interval::Set::new(vec![interval::Node::default(); SLOTS * 4]),
            held: vec![Held::default(); SLOTS],
            acks: VecDeque::new(),
            replies: VecDeque::new(),
            incoming: Incoming::default(),
            in_flight: 0,
            put_off: Vec::new(),
            packet_seq: 0,
            peer_seq: 0,
            entering: None,
            again: VecDeque::new(),
            activity: Activity::default(),
            packet_hold: None,
            wire: Wire::default(),
            ending: Ending::No,
            ping_acks: 0,
            last_tick: 0,
            heard_ms: 0,
            since_ms: 0,
            pinged_at: None,
            changes: VecDeque::new(),
            pushed: 0,
            done: 0,
            current: VecDeque::new(),
            suspended_by_worker: false,
            admin: None,
            split_brain: false,
            writable: false,
            refused_other: false,
        }
    }

    pub fn nbits(&self) -> u64 {
        self.nbits
    }

    pub fn weight(&self) -> u64 {
        bitmap::count(&self.bits)
    }

    pub fn set_out_of_sync(&mut self, sector: u64, sectors: u64) {
        if sectors > 0 && self.nbits > 0 {
            let last = ((sector + sectors - 1) / 8).min(self.nbits - 1);
            bitmap::set_range(&mut self.bits, sector / 8, last);
            bitmap::set_range(&mut self.owed, sector / 8, last);
        }
    }

    pub fn set_in_sync(&mut self, sector: u64, sectors: u64) {
        let end = (sector + sectors).min(self.capacity);
        let first = sector.div_ceil(8);
        let behind = if end == self.capacity {
            self.nbits()
        } else {
            end / 8
        };
        if behind > first {
            bitmap::clear_range(&mut self.bits, first, behind - 1);
            bitmap::clear_range(&mut self.stable.wanted_again, first, behind - 1);
            self.stable.unowed &= self.weight() > 0;
        }
    }

    pub fn usable(disk: DiskState) -> bool {
        !state::is_failed_or_less(disk) && disk != DiskState::Negotiating
    }

    pub fn has_disk(&self) -> bool {
        self.local && Self::usable(self.state.disk)
    }

    /// A use of the disk in any of the states that pass; the count goes up.
    pub fn get_local_if(&mut self, good: impl Fn(DiskState) -> bool) -> bool {
        let yes = self.local && good(self.state.disk);
        self.local_refs += u32::from(yes);
        yes
    }

    pub fn put_local(&mut self) {
        self.local_refs = self.local_refs.saturating_sub(1);
        if self.local_refs == 0 {
            match self.state.disk {
                DiskState::Failed => self.todo_diskless = true,
                DiskState::Diskless => self.todo_release = true,
                _ => {}
            }
        }
    }

    pub fn suspended(&self) -> bool {
        state::is_suspended(&self.state)
    }

    fn conf(&self) -> Conf {
        Conf {
            fencing: if self.has_disk() {
                self.disk_conf.fencing
            } else {
                Fencing::DontCare
            },
            on_no_data: OnNoData::default(),
            net: self.net.as_ref().map(|net| NetRules {
                two_primaries: net.two_primaries,
                can_verify: !net.verify_alg.is_empty(),
            }),
            highest_peer: self.state.peer,
            // Who waits for a write has it open.
            is_open: self.writable || !self.no_write_waits(),
            version: self.agreed.version,
            state_sent: self.state_sent,
            negotiation: self.negotiation(),
        }
    }

    fn negotiation(&self) -> Negotiation {
        if self.state.disk != DiskState::Negotiating {
            return Negotiation::None;
        }
        if self.md.as_ref().map(|md| md.uuids.current) == Some(self.exposed) {
            Negotiation::Known {
                disk: self.negotiated.0,
                pdsk: self.negotiated.1,
            }
        } else {
            Negotiation::OtherGeneration
        }
    }

    pub fn judge(&self, change: &Change, how: How, all: bool) -> Result<Accepted, StateRv> {
        let conf = self.conf();
        let wished = change.apply(self.state);
        if all {
            state::judge_in_connection(self.state, wished, how, &conf)
        } else {
            state::judge(self.state, wished, how, &conf)
        }
    }

    /// Changes the volume.
    pub fn change(&mut self, change: &Change, how: How) -> StateRv {
        match self.judge(change, how, false) {
            Ok(accepted) => {
                self.commit(accepted.new);
                StateRv::Success
            }
            Err(refusal) => refusal,
        }
    }

    /// Changes the volume and the connection.
    pub fn change_all(&mut self, change: &Change, how: How) -> StateRv {
        let mut changes_anything = false;
        if let Some(wanted) = change.conn {
            let legal = state::connection_transition(self.cstate, wanted);
            if legal.is_refusal() {
                return legal;
            }
            changes_anything = legal != StateRv::NothingToDo;
        }
        match self.judge(change, how, true) {
            Ok(_) => changes_anything = true,
            Err(StateRv::NothingToDo) => {}
            Err(refusal) => return refusal,
        }
        if !changes_anything {
            return StateRv::NothingToDo;
        }
        let before = self.cstate;
        if let Some(cstate) = change.conn {
            self.cstate = cstate;
            match cstate {
                ConnState::Disconnecting | ConnState::StandAlone if before != cstate => {
                    self.order = Order::Stop;
                }
                _ if state::has_socket(before) && state::is_network_error(cstate) => {
                    self.order = Order::Restart;
                }
                _ => {}
            }
        }
        let planned = self
            .judge(change, how, true)
            .or_else(|_| self.judge(change, How::HARD, true));
        if let Ok(accepted) = planned {
            self.commit(accepted.new);
        }
        self.push(None, before);
        StateRv::Success
    }

    fn push(&mut self, volume: Option<(State, State)>, before: ConnState) {
        self.pushed += 1;
        self.changes.push_back(Committed {
            volume,
            conn: (before, self.cstate),
            susp_fen: self.state.susp_fen,
            serial: self.pushed,
        });
    }

    fn commit(&mut self, new: State) {
        let old = self.state;
        let context = NowContext {
            has_disk: self.local && Self::usable(new.disk),
            others_report_params: false,
        };
        self.flags.loss_untold |= state::loses_disk(&old, &new);
        self.flags.peer_disk_untold |= state::peer_disk_comes(&old, &new);
        self.state = new;
        for effect in state::now_effects(&old, &new, &context).iter() {
            self.now_effect(effect);
        }
        self.push(Some((old, new)), self.cstate);
    }

    fn now_effect(&mut self, effect: Now) {
        match effect {
            Now::HoldDisk => self.local_refs += 1,
            Now::MarkUnconfirmed => self.mark_unconfirmed(),
            Now::CountDirty => self.told_bits = self.weight(),
            Now::ForgetStateSent => self.state_sent = false,
            Now::UpdateMetadataFlags => self.update_metadata(),
            Now::AdoptLocalGeneration => {
                if let Some(md) = &self.md {
                    self.exposed = md.uuids.current;
                }
            }
            Now::AdoptPeerGeneration => {
                if let Some(peer) = &self.peer_uuids {
                    self.exposed = peer.uuids.current;
                }
            }
            Now::ForgetPeerGeneration => self.peer_uuids = None,
            Now::ConsiderResync => self.flags.consider_resync = true,
            Now::StopReceiver => self.order = Order::Stop,
            Now::StartEpoch => {
                self.log.epoch.close();
            }
            Now::RestartReceiver => self.order = Order::Restart,
            Now::StartVerify { as_source } => self.begin_verify(as_source),
            Now::KeepVerifyPosition => {
                self.verify.ended(self.capacity);
            }
            _ => {}
        }
    }

    /// A new generation begins; unless `forced`, only if there is none since both sides were equal.
    pub fn new_current_uuid(&mut self, forced: bool) {
        let fresh = Uuid(self.rng.any() & !0xff | 0x100);
        let role = self.state.role;
        let Some(md) = self.md.as_mut() else { return };
        let stored = md.uuids.current;
        if forced {
            md.uuids.new_current(fresh, role);
        } else if !md.begin_generation(fresh, role) {
            return;
        }
        self.exposed = md.uuids.current;
        self.unstored = Some(Unstored {
            exposed: self.exposed,
            stored: self.unstored.map_or(stored, |before| before.stored),
            device: md.device_uuid,
        });
        self.md_dirty = true;
        self.sync_metadata();
    }

    pub fn mark_role(&mut self, role: Role) {
        let Some(md) = self.md.as_mut() else { return };
        let before = md.uuids;
        md.uuids.mark_role(role);
        if md.uuids != before {
            self.md_dirty = true;
        }
    }

    /// The disk failed us (`on-io-error detach`).
    pub fn io_error(&mut self) {
        self.flags.was_io_error = true;
        self.told.push(Told::DiskError);
        if !matches!(self.state.disk, DiskState::Diskless | DiskState::Failed) {
            self.change(&Change::disk(DiskState::Failed), How::HARD);
        }
    }

    pub fn connection_failed(&mut self, why: ConnState) {
        self.change_all(&Change::conn(why), How::HARD);
    }

    pub fn wanted(&self) -> bool {
        self.order == Order::Run
    }

    /// Nothing is under way that will end by itself.
    pub fn is_idle(&self) -> bool {
        self.ios.is_empty()
            && self.changes.is_empty()
            && self.current.is_empty()
            && self.no_write_waits()
    }

    /// Nobody waits for a write of the application, wherever it is.
    pub fn no_write_waits(&self) -> bool {
        self.application == 0 && self.again.is_empty() && self.activity.is_idle()
    }
}
