// SPDX-License-Identifier: GPL-2.0-only

//! What an administrator does to a node (`admin/`, `attach.rs`), and the peer's consent to it (`consent.rs`).

use crate::{
    link::DATA,
    node::{Node, Rx, Told, Who},
};
use drbd_core::{
    bitmap,
    config::{choices::Fencing, conf::NetConf},
    handshake,
    meta::Superblock,
    state::{self, next_attempt, Attempt, Change, How, Promotion},
    types::{ConnState, DiskState, Role, StateRv},
    uuid::{self, Continues},
    wire::{Command, StateChange},
};

/// A command under way.
#[derive(Clone, Debug)]
pub enum Task {
    /// `primary`, `secondary`
    Role {
        promotion: Promotion,
        role: Role,
        phase: RolePhase,
        last: bool,
        asked: bool,
    },
    /// `disconnect`
    Leave { asked: bool, until: u64, left: bool },
    /// `detach`
    Detach { phase: u8, asked: bool },
    /// `attach`
    Attach { phase: u8, applied: u8 },
    /// `verify`
    Verify {
        start: Option<u64>,
        stop: Option<u64>,
        asked: bool,
    },
    /// `resize`
    Resize { suspends: bool },
    /// `resume-io`
    ResumeIo { locked: bool },
    /// `invalidate`, `invalidate-remote`
    FullSync { start: ConnState, asked: bool },
}

/// How far a change of role is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolePhase {
    Turn,
    Try,
    Settle(u64),
    Wait(u64),
    Flush(u64),
}

impl Node {
    /// Begins to change the role.
    pub fn set_role(&mut self, role: Role, force: bool) {
        self.admin = Some(Task::Role {
            promotion: Promotion::new(role, force),
            role,
            phase: RolePhase::Turn,
            last: false,
            asked: false,
        });
    }

    /// Configures the connection.
    pub fn connect(&mut self, conf: NetConf) {
        if self.cstate == ConnState::StandAlone && self.rx == Rx::Off && self.net.is_none() {
            self.net = Some(conf);
            self.order = crate::node::Order::Run;
            self.change_all(&Change::conn(ConnState::Unconnected), How::SOFT);
        }
    }

    /// Whether the change needs the peer's consent.
    fn needs_peer(&self, change: &Change) -> Option<bool> {
        let accepted = self.judge(change, How::SOFT, false).ok()?;
        Some(state::needs_peer(&self.state, &accepted.new))
    }

    /// A change of the volume with the peer's consent; `None`: not yet.
    fn wish(&mut self, change: &Change, asked: &mut bool, has_turn: bool) -> Option<StateRv> {
        if !*asked {
            if self.needs_peer(change) != Some(true) {
                return Some(self.change(change, How::SOFT));
            }
            if !has_turn {
                if self.turn.is_some() {
                    return None;
                }
                self.turn = Some(Who::Admin);
            }
            self.flags.agreed = false;
            self.flags.refused = false;
            let (mask, val) = change.to_wire();
            self.send(DATA, Command::StateChgReq, &StateChange { mask, val }, &[]);
            *asked = true;
            return None;
        }
        let verdict = if std::mem::take(&mut self.flags.agreed) {
            Ok(())
        } else if std::mem::take(&mut self.flags.refused) {
            Err(StateRv::CwFailedByPeer)
        } else {
            match self.judge(change, How::SOFT, false) {
                Ok(accepted) if state::needs_peer(&self.state, &accepted.new) => return None,
                Ok(_) | Err(StateRv::NothingToDo) => Ok(()),
                Err(refusal) => Err(refusal),
            }
        };
        *asked = false;
        if !has_turn {
            self.turn = None;
        }
        Some(match verdict {
            Ok(()) => self.change(change, How::SOFT),
            Err(refusal) => refusal,
        })
    }

    fn wish_to_leave(&mut self, asked: &mut bool) -> Option<StateRv> {
        let leave = Change::conn(ConnState::Disconnecting);
        let agree = |node: &Self| match node.judge(&leave, How::SOFT, true) {
            Ok(_) | Err(StateRv::NothingToDo) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        if !*asked {
            let needed =
                state::connection_needs_peer(self.cstate, leave.conn) && agree(self).is_ok();
            if !needed {
                return Some(self.change_all(&leave, How::SOFT));
            }
            if self.turn.is_some() {
                return None;
            }
            self.turn = Some(Who::Admin);
            self.asked_peer = true;
            self.peer_reply = None;
            let (mask, val) = leave.to_wire();
            self.send(DATA, Command::ConnStChgReq, &StateChange { mask, val }, &[]);
            self.disconnect_sent = true;
            *asked = true;
            return None;
        }
        let reply = self.peer_reply.take();
        let verdict = if let Err(refusal) = agree(self) {
            Err(refusal)
        } else if self.cstate != ConnState::WfReportParams {
            Ok(())
        } else {
            match reply {
                None => return None,
                Some(rv) if rv.is_refusal() => Err(rv),
                Some(_) => Ok(()),
            }
        };
        *asked = false;
        self.asked_peer = false;
        self.turn = None;
        Some(match verdict {
            Ok(()) => self.change_all(&leave, How::SOFT),
            Err(refusal) => refusal,
        })
    }

    /// One step of the command under way; false: it has to wait.
    pub fn administrate(&mut self) -> bool {
        let Some(mut task) = self.admin.take() else {
            return false;
        };
        let before = format_args!("{task:?}").to_string();
        let over = match &mut task {
            Task::Role { .. } => self.step_role(&mut task),
            Task::Leave { asked, until, left } => self.step_leave(asked, *until, left),
            Task::Detach { phase, asked } => self.step_detach(phase, asked),
            Task::Attach { phase, applied } => self.step_attach(phase, applied),
            Task::Verify { start, stop, asked } => {
                if !*asked && !state::is_verify(self.state.conn) {
                    self.verify.plan(*start, *stop);
                }
                let change = Change::conn(ConnState::VerifyS);
                self.wish(&change, asked, false).is_some()
            }
            Task::Resize { suspends } => self.step_resize(suspends),
            Task::ResumeIo { locked } => self.step_resume(locked),
            Task::FullSync { start, asked } => {
                let change = Change::conn(*start);
                self.wish(&change, asked, false).is_some()
            }
        };
        let moved = over || before != format!("{task:?}");
        if !over {
            self.admin = Some(task);
        }
        moved
    }

    fn step_role(&mut self, task: &mut Task) -> bool {
        let Task::Role {
            promotion,
            role,
            phase,
            last,
            asked,
        } = task
        else {
            return true;
        };
        let over = self.try_role(promotion, *role, phase, last, asked);
        if over {
            // Read-only until a new generation has begun.
            self.writable = self.state.role == Role::Primary;
        }
        over
    }

    fn try_role(
        &mut self,
        promotion: &mut Promotion,
        role: Role,
        phase: &mut RolePhase,
        last: &mut bool,
        asked: &mut bool,
    ) -> bool {
        match *phase {
            RolePhase::Turn => {
                // Whoever has it open closes it before it can be read-only.
                self.writable &= role == Role::Primary;
                // The peer has all that was written, or will never say so.
                let in_vain = role == Role::Primary || !state::replicates(&self.state);
                let confirmed = in_vain || self.log.is_empty();
                let closed = self.writable || self.no_write_waits() && confirmed;
                // Who waits for I/O that is held up has the device open.
                if !closed && self.suspended() {
                    return true;
                }
                if self.turn.is_none() && closed {
                    self.turn = Some(Who::Admin);
                    *phase = RolePhase::Try;
                }
            }
            RolePhase::Try => {
                let Some(result) = self.wish(&promotion.change, asked, true) else {
                    return false;
                };
                if result == StateRv::InTransientState {
                    self.turn = None;
                    *phase = RolePhase::Settle(self.pushed);
                    return false;
                }
                let attempt = if *last {
                    Attempt::Done(result)
                } else {
                    next_attempt(promotion, result, &self.state)
                };
                match attempt {
                    Attempt::Done(result)
                        if result.is_refusal() || result == StateRv::NothingToDo =>
                    {
                        self.turn = None;
                        return true;
                    }
                    Attempt::Done(_) => {
                        if promotion.forced {
                            self.told.push(Told::Forced);
                        }
                        *phase = RolePhase::Flush(self.pushed);
                    }
                    Attempt::Again | Attempt::LastTry => {
                        *last |= attempt == Attempt::LastTry;
                        self.turn = None;
                        *phase = RolePhase::Turn;
                    }
                    Attempt::FencePeer => {
                        promotion.fenced(result, false);
                        self.turn = None;
                        *phase = RolePhase::Turn;
                    }
                    Attempt::WaitForPeer => {
                        self.turn = None;
                        *phase = RolePhase::Wait(self.now_ms + 600);
                    }
                }
            }
            RolePhase::Settle(seen) => {
                if self.pushed != seen {
                    *phase = RolePhase::Turn;
                }
            }
            RolePhase::Wait(until) => {
                if self.now_ms >= until {
                    *phase = RolePhase::Turn;
                }
            }
            RolePhase::Flush(serial) => {
                if self.done < serial {
                    return false;
                }
                let has_own = self.md.as_ref().is_some_and(Superblock::has_own_generation);
                if role == Role::Primary {
                    if let Some(net) = self.net.as_mut() {
                        net.discard_my_data = false;
                    }
                    if state::starts_generation(promotion, &self.state, has_own) {
                        self.new_current_uuid(promotion.forced);
                    }
                }
                self.mark_role(role);
                self.sync_metadata();
                if state::has_socket(self.state.conn) {
                    if promotion.forced {
                        self.send_uuids();
                    }
                    self.send_state(self.state);
                }
                self.turn = None;
                return true;
            }
        }
        false
    }

    fn step_leave(&mut self, asked: &mut bool, until: u64, left: &mut bool) -> bool {
        if !*left {
            let Some(result) = self.wish_to_leave(asked) else {
                return false;
            };
            match result {
                StateRv::CwFailedByPeer | StateRv::ConcurrentStChg | StateRv::InTransientState => {
                    if self.now_ms > until {
                        self.change_all(&Change::conn(ConnState::Disconnecting), How::HARD);
                        *left = true;
                    }
                }
                other if other.is_refusal() => return true,
                _ => *left = true,
            }
            return false;
        }
        if self.rx != Rx::Off || self.start_receiver {
            return false;
        }
        self.change_all(&Change::conn(ConnState::StandAlone), How::HARD);
        !self.worker_ready()
    }

    fn step_detach(&mut self, phase: &mut u8, asked: &mut bool) -> bool {
        match *phase {
            0 => {
                self.io_suspenders += 1;
                *phase = 1;
            }
            1 if self.suspended() || self.application == 0 => *phase = 2,
            2 => {
                let Some(result) = self.wish(&Change::disk(DiskState::Failed), asked, false) else {
                    return false;
                };
                *phase = if result.is_refusal() { 4 } else { 3 };
            }
            3 if self.state.disk != DiskState::Failed && !self.local => *phase = 4,
            4 => {
                self.io_suspenders -= 1;
                self.tell_all(drbd_core::request::Event::Resumed, |_| true);
                return true;
            }
            _ => {}
        }
        false
    }

    fn step_attach(&mut self, phase: &mut u8, applied: &mut u8) -> bool {
        match *phase {
            0 => {
                if self.state.disk != DiskState::Diskless || self.local || self.todo_release {
                    return true;
                }
                *phase = 1;
            }
            1 => {
                match self.apply_log(applied) {
                    None => return false,
                    Some(true) => {}
                    Some(false) => return true,
                }
                self.io_suspenders += 1;
                *phase = 2;
            }
            // What went to the peer alone is settled before it hears of a disk.
            2 if self.suspended() || self.application == 0 => {
                let result = self.change(&Change::disk(DiskState::Attaching), How::SOFT);
                self.io_suspenders -= 1;
                self.tell_all(drbd_core::request::Event::Resumed, |_| true);
                if result.is_refusal() {
                    return true;
                }
                *phase = 3;
            }
            3 if !self.worker_ready() => {
                if !self.bring_in() {
                    self.change(&Change::disk(DiskState::Diskless), How::HARD);
                    if self.local {
                        self.todo_release = true;
                    }
                }
                return true;
            }
            _ => {}
        }
        false
    }

    fn bring_in(&mut self) -> bool {
        let (mut block, _) = Superblock::read(&self.stable.superblock).expect("our own superblock");
        let unstored = self.unstored.take();
        if self.state.pdsk != DiskState::UpToDate {
            let (found, disk) = (block.uuids.current, block.device_uuid);
            let continues =
                uuid::continues(&self.state, self.exposed, unstored.as_ref(), found, disk);
            if continues != Continues::Yes {
                self.unstored = unstored;
            }
            match continues {
                Continues::Yes => {}
                Continues::Unaware => {
                    let role = self.state.role;
                    block.resume_generation(self.exposed, role);
                }
                Continues::No => return false,
            }
        }
        let attached = state::attach(
            block.flags,
            self.state.role,
            self.state.susp_nod,
            Fencing::DontCare,
        );
        self.local = true;
        self.flag_log(&mut block.flags);
        self.md = Some(block);
        self.attach_log();
        self.flags.crashed_primary = attached.crashed_primary;
        self.room_seen = self.disk.now.len() as u64;
        self.capacity = block.effective_size;
        self.fit_bitmap(0, block.effective_size);
        if attached.set_whole_bitmap {
            if !self.fill_bitmap() {
                return false;
            }
        } else {
            let words = self.bits.len();
            self.bits.clone_from(&self.stable.bitmap);
            self.bits.resize(words, 0);
            bitmap::trim(&mut self.bits, self.nbits);
        }
        match self.settle_size() {
            Some(handshake::Resized::Grew) => self.flags.grown_while_away = true,
            Some(_) => {}
            None => return false,
        }
        self.negotiated = (attached.disk, attached.pdsk.unwrap_or(self.state.pdsk));
        let change = if self.state.conn == ConnState::Connected {
            self.peer_uuids = None;
            Change::disk(DiskState::Negotiating)
        } else {
            Change {
                disk: Some(attached.disk),
                pdsk: attached.pdsk,
                ..Change::NONE
            }
        };
        if self.change(&change, How::SOFT).is_refusal() {
            return false;
        }
        self.mark_role(self.state.role);
        self.md_dirty = true;
        self.sync_metadata();
        true
    }
}
