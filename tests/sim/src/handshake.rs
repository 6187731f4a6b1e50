// SPDX-License-Identifier: GPL-2.0-only

//! What the nodes tell each other about their disks, and what follows (`params.rs`, `handshake.rs`,
//! `bitmap_exchange.rs`, and the beginning and end of a resync in `resync.rs`).

use crate::{
    link::{Arrived, DATA},
    node::{Node, Told},
    receiver::Outcome::{self, Broken, Done, Wait},
};
use drbd_core::{
    handshake::{
        self, Conclusion, Considered, Facts, Pending, SyncUuidArrival, UuidFacts, UuidReaction,
    },
    resync::{self as rules, UuidUpdate},
    state::{self, Change, How},
    types::{ConnState, DiskState, Role, State, Uuid},
    uuid::{
        self, sync_handshake, Agreed as Common, Continues, Demotion, Handshake, PeerUuids, Plan,
        Policies, Policy, Refusal, Side, Solved,
    },
    wire::{
        BitmapRecv, BitmapSend, Bits, Command, Empty, Features, Packet, StatePacket, SyncUuid,
        UuidFlags, UuidsPacket,
    },
};

/// Bitmaps as the exchange sees them.
struct View<'a>(&'a mut Vec<u64>, u64);

impl Bits for View<'_> {
    fn len(&self) -> u64 {
        self.1
    }
    fn next_set(&mut self, from: u64) -> Option<u64> {
        drbd_core::bitmap::find_set(self.0, from, self.1)
    }
    fn next_clear(&mut self, from: u64) -> Option<u64> {
        drbd_core::bitmap::find_clear(self.0, from, self.1)
    }
    fn set(&mut self, first: u64, last: u64) {
        drbd_core::bitmap::set_range(self.0, first, last);
    }
    fn word(&mut self, index: u64) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }
    fn merge_word(&mut self, index: u64, bits: u64) {
        if let Some(word) = self.0.get_mut(index as usize) {
            *word |= bits;
        }
    }
}

fn has_metadata(disk: DiskState) -> bool {
    !state::is_failed_or_less(disk)
}

impl Node {
    pub fn give_up(&mut self) {
        self.change_all(&Change::conn(ConnState::Disconnecting), How::HARD);
    }

    pub fn send_uuids(&mut self) {
        let discard = self.net.is_some_and(|net| net.discard_my_data);
        let Some(md) = self.md.as_ref().filter(|_| has_metadata(self.state.disk)) else {
            return;
        };
        let packet = UuidsPacket {
            current: md.uuids.current,
            bitmap: md.uuids.bitmap,
            history: md.uuids.history,
            dirty_bits: self.told_bits,
            flags: UuidFlags::NONE
                .with(UuidFlags::DISCARD_MY_DATA, discard)
                .with(UuidFlags::CRASHED_PRIMARY, self.flags.crashed_primary)
                .with(
                    UuidFlags::INCONSISTENT,
                    self.state.disk == DiskState::Negotiating
                        && self.negotiated.0 == DiskState::Inconsistent,
                ),
        };
        self.send(DATA, Command::Uuids, &packet, &[]);
    }

    pub fn send_state(&mut self, state: State) {
        self.send(
            DATA,
            Command::State,
            &StatePacket {
                state: state.to_wire(),
            },
            &[],
        );
    }

    pub(crate) fn uuids(&mut self, packet: &Arrived) -> Outcome {
        if self.turn.is_some() {
            return Wait;
        }
        let theirs = UuidsPacket::decode(packet.fixed()).expect("uuids");
        let [young, old] = theirs.history;
        let peer = PeerUuids::from_wire([
            theirs.current.0,
            theirs.bitmap.0,
            young.0,
            old.0,
            theirs.dirty_bits,
            theirs.flags.0,
        ]);
        self.peer_uuids = Some(peer);
        let facts = UuidFacts {
            state: self.state,
            effective: self.exposed,
            local_current: self
                .md
                .as_ref()
                .filter(|_| self.has_disk())
                .map(|md| md.uuids.current),
            version: self.agreed.version,
        };
        match handshake::on_peer_uuids(&peer, &facts) {
            UuidReaction::Remember => {}
            UuidReaction::OtherGenerationInUse => {
                self.refused_other = true;
                self.give_up();
                return Broken("other generation in use");
            }
            UuidReaction::SkipInitialSync => {}
            UuidReaction::AdoptEffective(uuid) => self.exposed = uuid,
        }
        Done
    }

    /// Whether the attached disk has the generation that a Primary has seen, as far as this node knows.
    fn continues(&self) -> bool {
        self.md.as_ref().is_none_or(|md| {
            let (found, disk) = (md.uuids.current, md.device_uuid);
            uuid::continues(&self.state, self.exposed, None, found, disk) != Continues::No
        })
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            have_peer_uuids: self.peer_uuids.is_some(),
            have_disk: self.md.is_some() && has_metadata(self.state.disk),
            consider_resync: self.flags.consider_resync,
            out_of_sync: self.weight(),
            resync_failed: self.failed,
            negotiated_disk: self.negotiated.0,
            continues: self.continues(),
            new_generation_due: self.flags.new_current_uuid,
            in_doubt: self.log.has_in_doubt(0),
            dry_run: false,
        }
    }

    pub(crate) fn peer_state(&mut self, packet: &Arrived) -> Outcome {
        let bits = StatePacket::decode(packet.fixed()).expect("state").state;
        let peer = State::from_wire(bits).expect("a state");
        let mut peer_disk = handshake::real_peer_disk(peer.disk, self.peer_uuids.as_ref());
        loop {
            let (own, facts) = (self.state, self.facts());
            let pending = match handshake::consider(&own, &peer, peer_disk, &facts) {
                Considered::GoesDown => return Broken("goes down"),
                Considered::Contradiction => {
                    self.change_all(&Change::conn(ConnState::NetworkFailure), How::HARD);
                    return Broken("contradiction");
                }
                Considered::PeerFinishedResync { finish } => {
                    if finish {
                        self.finished();
                    } else {
                        self.target_has_all = true;
                    }
                    return Done;
                }
                Considered::VerifyFinished => {
                    self.finished();
                    return Done;
                }
                Considered::Pending(pending) => pending,
            };
            peer_disk = pending.peer_disk;
            if handshake::counts_anew(&own, pending.compare) {
                self.told_bits = self.weight();
            }
            let verdict = pending.compare.map(|_| self.compare(&peer, &pending));
            if let Some(verdict) = verdict {
                self.told.push(Told::Verdict(verdict));
                self.split_brain |= verdict == Err(Refusal::SplitBrain);
            }
            match handshake::conclude(&own, &peer, &pending, verdict, &facts) {
                Conclusion::Set {
                    new,
                    how,
                    peer_attach_aborted,
                } => {
                    let change = Change {
                        peer: Some(new.peer),
                        conn: Some(new.conn),
                        disk: Some(new.disk),
                        pdsk: Some(new.pdsk),
                        peer_isp: Some(new.peer_isp),
                        ..Change::NONE
                    };
                    self.flags.consider_resync = false;
                    self.flags.peer_attaches =
                        state::peer_attaches(self.flags.peer_attaches, &own, peer.disk);
                    if self.change(&change, how).is_refusal() {
                        self.give_up();
                        return Broken("refused");
                    }
                    if handshake::owes_answer(&own, &self.state, &peer, peer_attach_aborted) {
                        self.send_uuids();
                        self.send_state(self.state);
                    }
                    self.flags.discard_my_data = false;
                    self.sync_metadata();
                    if self.peer_waits(&peer) {
                        self.told.push(Told::PeerWaited);
                        return self.start_resync(rules::Side::Source);
                    }
                    return Done;
                }
                Conclusion::FailMyDisk => {
                    self.change(&Change::disk(DiskState::Failed), How::HARD);
                }
                Conclusion::Disconnect | Conclusion::EndDryRun => {
                    self.give_up();
                    return Broken("disconnect");
                }
                Conclusion::AbortFrozen => {
                    self.requests_lost();
                    self.new_current_uuid(false);
                    self.flags.new_current_uuid = false;
                    let change = Change {
                        susp: Some(false),
                        ..Change::conn(ConnState::ProtocolError)
                    };
                    self.change_all(&change, How::HARD);
                    return Broken("frozen");
                }
                Conclusion::MeetAgain => {
                    self.mark_unconfirmed();
                    self.new_current_uuid(false);
                    self.flags.new_current_uuid = false;
                    self.change_all(&Change::conn(ConnState::NetworkFailure), How::HARD);
                    return Broken("in doubt");
                }
            }
        }
    }

    pub(crate) fn compare(&mut self, peer: &State, pending: &Pending) -> Result<Plan, Refusal> {
        let mut demotion = Demotion::NotTried;
        let role = self.state.role;
        let outcome = loop {
            let Some(question) = self.question(peer, pending, role, demotion) else {
                return Err(Refusal::Unrelated);
            };
            let outcome = sync_handshake(&question);
            if !outcome.demote_first {
                break outcome;
            }
            let result = self.change(&Change::role(Role::Secondary), How::SOFT);
            demotion = if result.is_refusal() {
                Demotion::Refused
            } else {
                Demotion::Done
            };
        };
        if let (Some(repair), Some(md), Some(theirs)) =
            (outcome.repair(), self.md.as_mut(), self.peer_uuids.as_mut())
        {
            repair.apply(&mut md.uuids, &mut theirs.uuids);
            self.md_dirty |= repair.is_mine();
        }
        if let Some(Solved::ByPolicy { direction, .. }) = outcome.solved {
            if outcome.verdict.is_ok() {
                self.told.push(Told::Solved(direction));
            }
        }
        if matches!(outcome.verdict, Ok(plan) if plan.set_whole_bitmap) && !self.set_whole_bitmap()
        {
            return Err(Refusal::WholeBitmapFailed);
        }
        outcome.verdict
    }

    pub(crate) fn question(
        &self,
        peer: &State,
        pending: &Pending,
        role: Role,
        demotion: Demotion,
    ) -> Option<Handshake> {
        let net = self.net.as_ref()?;
        let md = self.md.as_ref()?;
        let theirs = self.peer_uuids.as_ref()?;
        let disk_now = self.state.disk;
        Some(Handshake {
            me: Side {
                uuids: md.uuids,
                dirty_bits: self.told_bits,
                role,
                crashed_primary: self.flags.crashed_primary,
                discard_my_data: self.flags.discard_my_data,
            },
            peer: Side {
                uuids: theirs.uuids,
                dirty_bits: theirs.dirty_bits,
                role: peer.role,
                crashed_primary: theirs.crashed_primary,
                discard_my_data: theirs.discard_my_data,
            },
            agreed: Common {
                version: self.agreed.version,
                wsame: self.agreed.features.contains(Features::WRITE_SAME),
                resolve_conflicts: self.resolve_conflicts,
            },
            disk: if disk_now == DiskState::Negotiating {
                self.negotiated.0
            } else {
                disk_now
            },
            disk_now,
            peer_disk: pending.peer_disk,
            peer_disk_now: peer.disk,
            policy: Policy {
                after_sb: Policies {
                    none: net.after_sb_0p,
                    one: net.after_sb_1p,
                    two: net.after_sb_2p,
                },
                always_asbp: net.always_asbp,
                rr_conflict: net.rr_conflict,
                dry_run: false,
            },
            demotion,
        })
    }

    pub(crate) fn sync_uuid(&mut self, packet: &Arrived) -> Outcome {
        if self.stage == 0 {
            match handshake::sync_uuid_arrival(&self.state, self.same_generation()) {
                SyncUuidArrival::Wait => return Wait,
                SyncUuidArrival::BothAreSource => return Broken("both are source"),
                SyncUuidArrival::Ignore => return Done,
                SyncUuidArrival::StartAsTarget => {}
            }
            let sync = Uuid(SyncUuid::decode(packet.fixed()).expect("uuid").uuid);
            let role = self.state.role;
            if let Some(md) = self.md.as_mut() {
                md.uuids.accept_sync_uuid(sync, role);
                self.md_dirty = true;
            }
            self.stage = 1;
        }
        let outcome = self.start_resync(rules::Side::Target);
        if matches!(outcome, Done) {
            self.write_bitmap();
        }
        outcome
    }

    /// Waits for its turn.
    pub(crate) fn start_resync(&mut self, side: rules::Side) -> Outcome {
        if self.turn.is_some() {
            return Wait;
        }
        self.begin_resync(side);
        Done
    }

    /// Becomes source or target.
    pub fn begin_resync(&mut self, side: rules::Side) {
        let Ok(change) = rules::start(&self.state, side) else {
            return;
        };
        let result = self.change(&change, How::SOFT);
        if result.is_refusal() || !state::is_connected(self.state.conn) {
            return;
        }
        self.failed = 0;
        self.target_has_all = false;
        self.owed.clone_from(&self.bits);
        if side == rules::Side::Target {
            self.told.push(Told::Target);
        }
        self.sync_metadata();
        self.reset_requests();
    }

    /// A resync came to its end.
    pub fn finished(&mut self) {
        let before = self.state;
        let Some(end) = rules::finished(&before, self.failed, self.weight()) else {
            return;
        };
        let role = self.state.role;
        if let Some(md) = self.md.as_mut() {
            match (end.uuids, &self.peer_uuids) {
                (UuidUpdate::Keep, _) => {}
                (UuidUpdate::TakeFromSource, Some(peer)) => {
                    md.uuids.finish_as_target(&peer.uuids, role);
                    self.told.push(Told::Synced);
                }
                (UuidUpdate::TakeFromSource, None) => {}
                (UuidUpdate::ClearBitmap, _) => {
                    md.uuids.clear_bitmap();
                }
            }
            if end.uuids != UuidUpdate::Keep {
                if let Some(peer) = self.peer_uuids.as_mut() {
                    peer.uuids = md.uuids;
                }
                self.md_dirty = true;
            }
        }
        let new = end.new;
        let change = Change {
            conn: (before.conn != new.conn).then_some(new.conn),
            disk: (before.disk != new.disk).then_some(new.disk),
            pdsk: (before.pdsk != new.pdsk).then_some(new.pdsk),
            aftr_isp: (before.aftr_isp != new.aftr_isp).then_some(new.aftr_isp),
            ..Change::NONE
        };
        self.change(&change, How::SOFT);
        self.failed = 0;
        self.sync_metadata();
    }

    pub fn send_bitmap(&mut self) {
        if self.owes_full_sync() {
            self.set_whole_bitmap();
        }
        let agreed = self.agreed;
        let bits = self.nbits();
        let mut sending = BitmapSend::new(&agreed, bits, true);
        let mut page = [0; 4096];
        let mut words = std::mem::take(&mut self.bits);
        while let Some(chunk) = sending
            .next(&mut View(&mut words, bits), &mut page)
            .expect("a bitmap")
        {
            self.send(DATA, chunk.command, &Empty, &page[..chunk.len]);
        }
        self.bits = words;
    }

    pub(crate) fn bitmap(&mut self, packet: &Arrived) -> Outcome {
        if self.stage == 0 {
            let agreed = self.agreed;
            let bits = self.nbits();
            let mut receiving = self
                .bitmap_in
                .take()
                .unwrap_or_else(|| BitmapRecv::new(&agreed, bits));
            match receiving.packet(
                packet.command,
                &packet.body,
                &mut View(&mut self.bits, bits),
            ) {
                // A disk that grew while the two introduced each other may give them two sizes; the next time they agree.
                Err(_) => return Broken("bitmap"),
                Ok(false) => {
                    self.bitmap_in = Some(receiving);
                    return Done;
                }
                Ok(true) => self.stage = 1,
            }
        }
        match self.state.conn {
            ConnState::WfBitmapT => {
                self.send_bitmap();
                self.change(&Change::conn(ConnState::WfSyncUuid), How::SOFT);
                Done
            }
            ConnState::WfBitmapS => self.start_resync(rules::Side::Source),
            _ => Done,
        }
    }
}
