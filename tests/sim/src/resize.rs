// SPDX-License-Identifier: GPL-2.0-only

//! Disks that grow, and the size that both sides agree on (`resize.rs`, P_SIZES in `params.rs`, `admin/disk.rs`).

use crate::{
    link::{Arrived, DATA},
    node::Node,
    receiver::Outcome::{self, Broken, Done, Wait},
    world::World,
};
use drbd_core::{
    bitmap,
    handshake::{
        self, FollowUpFacts, GrownPart, LocalSizes, PeerSizes, Resized, SizeFacts, SizeRule,
        WaitFacts,
    },
    meta::Superblock,
    request::Event,
    resync::Side,
    state::{self, Change, How},
    types::{ConnState, Role, State},
    wire::{Command, Features, Packet, Sizes, SizesFlags},
};

/// No disk gets larger: a verify of all of it has to end before the other side is given up for dead.
const MOST: u64 = 640;

impl Node {
    fn room(&self) -> u64 {
        self.disk.now.len() as u64
    }

    /// The size that the superblock on the disk speaks of.
    pub fn size_on_disk(&self) -> u64 {
        let (block, _) = Superblock::read(&self.stable.superblock).expect("our own superblock");
        block.effective_size
    }

    fn has_metadata(&self) -> bool {
        self.local && !state::is_failed_or_less(self.state.disk)
    }

    /// `ask_for_reply`: the peer answers with what it has.
    pub fn send_sizes(&mut self, ask_for_reply: bool) {
        let packet = Sizes {
            disk: if self.has_metadata() { self.room() } else { 0 },
            user: 0,
            current: if ask_for_reply { 0 } else { self.capacity },
            max_bio_size: 1 << 20,
            queue_order_type: 0,
            flags: SizesFlags::NONE,
            limits: self
                .agreed
                .features
                .contains(Features::WRITE_SAME)
                .then(Default::default),
        };
        self.send(DATA, Command::Sizes, &packet, &[]);
    }

    pub(crate) fn sizes(&mut self, packet: &Arrived) -> Outcome {
        let theirs = Sizes::decode(&packet.body).expect("sizes");
        match self.stage {
            0 => {
                self.flags.asked_size = false;
                let rule = self.rule(&theirs);
                if rule.is_refusal() {
                    self.give_up();
                    return Broken("sizes");
                }
                match rule {
                    SizeRule::TakePeerSize { new } => self.capacity = new,
                    SizeRule::Determine { .. } if self.size_changes() => {
                        self.io_suspenders += 1;
                        self.stage = 1;
                        return Wait;
                    }
                    _ => {}
                }
                self.after_sizes(&theirs, Resized::Unchanged, false)
            }
            1 => {
                if !self.suspended() && self.application > 0 {
                    return Wait;
                }
                let grown = self.room_seen != self.room();
                let resized = self.settle_size();
                self.resume_io();
                self.stage = 0;
                match resized {
                    Some(resized) => self.after_sizes(&theirs, resized, grown),
                    None => Broken("no metadata"),
                }
            }
            _ => self.start_resync(Side::Source),
        }
    }

    fn rule(&mut self, theirs: &Sizes) -> SizeRule {
        let peer = PeerSizes {
            disk: theirs.disk,
            requested: theirs.user,
            current: theirs.current,
        };
        let agreed = self.md.as_ref().map_or(0, |md| md.effective_size);
        let mine = self.has_metadata().then_some(LocalSizes {
            capacity: self.room(),
            last_agreed: agreed,
            requested: 0,
        });
        self.peer_disk = theirs.disk;
        handshake::on_peer_sizes(&peer, mine.as_ref(), self.capacity, &self.state)
    }

    fn agreed_size(&self) -> u64 {
        let facts = SizeFacts {
            mine: self.room(),
            peer: self.peer_disk,
            last_agreed: self.md.as_ref().map_or(0, |md| md.effective_size),
            requested: 0,
            assume_peer_has_space: false,
        };
        handshake::agreed_size(&facts, self.state.conn).sectors
    }

    fn size_changes(&self) -> bool {
        let sectors = self.agreed_size();
        let differs = sectors != self.capacity || bitmap::bits_for_sectors(sectors) != self.nbits;
        self.has_metadata() && (self.room_seen != self.room() || differs)
    }

    pub(crate) fn resume_io(&mut self) {
        self.io_suspenders -= 1;
        self.tell_all(Event::Resumed, |_| true);
    }

    /// The peer may need our new size, and a part that is new on both sides wants a resync.
    fn after_sizes(&mut self, theirs: &Sizes, resized: Resized, grown: bool) -> Outcome {
        self.sync_metadata();
        let connected = state::is_connected(self.state.conn);
        let follow_up = handshake::follow_up(&FollowUpFacts {
            state: self.state,
            peer_current: theirs.current,
            current: self.capacity,
            disk_size_changed: grown,
            resized,
            resize_pending: connected && std::mem::take(&mut self.flags.resize_pending),
            assume_clean: false,
        });
        self.flags.grown_while_away |= follow_up.grown_part == GrownPart::SyncLater;
        if follow_up.send_sizes {
            self.send_sizes(false);
        }
        if follow_up.grown_part != GrownPart::Sync {
            return Done;
        }
        if self.leads_grown_part() {
            self.stage = 2;
            return self.start_resync(Side::Source);
        }
        self.wait_for_grown_part();
        Done
    }

    /// Whether the new part is copied from here.
    fn leads_grown_part(&self) -> bool {
        handshake::leads_grown_part(&self.state, self.resolve_conflicts)
    }

    fn wait_for_grown_part(&mut self) {
        self.change(&Change::conn(ConnState::WfSyncUuid), How::SOFT);
        self.send_state(self.state);
    }

    /// The other one takes this node for the source of what is new, and nothing else is under way.
    pub(crate) fn peer_waits(&self, peer: &State) -> bool {
        let facts = WaitFacts {
            resolve_conflicts: self.resolve_conflicts,
            same_generation: self.same_generation(),
            out_of_sync: self.weight(),
        };
        handshake::begins_for_waiting_peer(&self.state, peer, &facts)
    }

    /// Both disks have the same generation, as far as is known.
    pub(crate) fn same_generation(&self) -> bool {
        let mine = self.md.as_ref().map(|md| &md.uuids);
        handshake::same_generation(mine, self.peer_uuids.as_ref())
    }

    /// The worker's way to resync what is new.
    pub(crate) fn sync_grown_part(&mut self) {
        // A resync that was agreed on meanwhile copies what is new, too; its target must not become a source.
        if self.state.conn != ConnState::Connected || !state::both_up_to_date(&self.state) {
            return;
        }
        if self.leads_grown_part() {
            self.begin_resync(Side::Source);
        } else {
            self.wait_for_grown_part();
        }
    }

    /// Makes the bitmap fit; what is new is set.
    pub(crate) fn fit_bitmap(&mut self, old: u64, new: u64) {
        let bits = bitmap::bits_for_sectors(new);
        self.nbits = bits;
        self.bits.resize(bitmap::words_for_bits(bits) as usize, 0);
        bitmap::trim(&mut self.bits, bits);
        self.stable.wanted_again.resize(self.bits.len(), 0);
        self.owed.resize(self.bits.len(), 0);
        if let Some((first, last)) = bitmap::grown_blocks(old, new) {
            bitmap::set_range(&mut self.bits, first, last);
            bitmap::set_range(&mut self.owed, first, last);
        }
    }

    /// Settles the size, with no I/O of the application under way. `None`: it could not be written.
    pub(crate) fn settle_size(&mut self) -> Option<Resized> {
        let last = self.md.as_ref().map_or(0, |md| md.effective_size);
        let sectors = self.agreed_size();
        let resized = handshake::resized(sectors, last, 0, false).ok()?;
        let moved = self.room_seen != self.room();
        self.room_seen = self.room();
        if sectors != last {
            self.fit_bitmap(last, sectors);
        }
        if sectors <= last {
            self.agree(sectors);
        }
        if sectors != last || moved {
            let owed = self.owes_full_sync();
            self.set_full_sync(true);
            if !self.metadata_write() {
                return None;
            }
            self.settle_bitmap();
            self.stable.bitmap.clone_from(&self.bits);
            self.set_full_sync(owed);
        }
        if sectors > last {
            self.agree(sectors);
            self.sync_metadata();
            // As in 8.4: while they introduce each other, or one is busy, both mark what is new, and no resync follows from
            // that alone.
            self.stable.unowed |= self.state.conn != ConnState::Connected;
        }
        Some(resized)
    }

    fn agree(&mut self, sectors: u64) {
        self.capacity = sectors;
        if let Some(md) = self.md.as_mut() {
            self.md_dirty |= md.effective_size != sectors;
            md.effective_size = sectors;
        }
    }

    /// `resize`: true when it is over.
    pub(crate) fn step_resize(&mut self, suspends: &mut bool) -> bool {
        if !std::mem::replace(suspends, true) {
            let allowed = self.has_disk()
                && !state::is_beyond_connected(self.state.conn)
                && (self.state.role == Role::Primary || self.state.peer == Role::Primary);
            self.io_suspenders += u32::from(allowed);
            return !allowed;
        }
        if !self.suspended() && self.application > 0 {
            return false;
        }
        // A verify or resync may have begun while we waited.
        let resized = if self.has_disk() && !state::is_beyond_connected(self.state.conn) {
            self.settle_size()
        } else {
            None
        };
        self.sync_metadata();
        if let Some(resized) = resized {
            let announcement = handshake::announcement(self.state.conn, resized);
            self.flags.resize_pending |= announcement.pending;
            if announcement.tell_peer {
                self.flags.asked_size = true;
                self.send_uuids();
                self.send_sizes(true);
            }
        }
        self.resume_io();
        true
    }
}

impl World {
    /// What both disks hold, or should.
    pub(crate) fn common_size(&self) -> usize {
        let [a, b] = &self.nodes;
        a.size_on_disk().min(b.size_on_disk()) as usize
    }

    /// The backing devices grow, both or one. What is new holds whatever was there.
    pub(crate) fn grow(&mut self) {
        let more = 8 * (1 + self.rng.below(12)) + self.rng.below(8);
        let most = self.nodes.iter().map(Node::room).max().unwrap_or(0);
        if most + more > MOST {
            return;
        }
        let both = !self.rng.one_in(4);
        let lot = self.rng.below(2) as usize;
        for id in 0..2 {
            if both || id == lot {
                self.tags += 1;
                let size = most + more;
                self.nodes[id].disk.grow(size as usize, self.tags);
            }
            self.images[id].grow((most + more) as usize);
        }
        self.say(|| format!("the disks grow to {}", most + more));
    }
}
