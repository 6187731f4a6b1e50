// SPDX-License-Identifier: GPL-2.0-only

//! What the administrator wants to become of a split brain, the same on both sides.

use crate::{rng::Rng, world::World};
use drbd_core::{
    config::{
        choices::{AfterSb0p, AfterSb1p, AfterSb2p, RrConflict},
        conf::NetConf,
    },
    uuid::Direction,
};

/// The policies of a run. Half of the runs have none.
pub(crate) fn policies(seed: u64) -> NetConf {
    let mut lots = Rng::new(seed ^ 0x5b5b);
    if lots.one_in(2) {
        return NetConf::default();
    }
    NetConf {
        after_sb_0p: [
            AfterSb0p::Disconnect,
            AfterSb0p::DiscardYoungerPrimary,
            AfterSb0p::DiscardOlderPrimary,
            AfterSb0p::DiscardZeroChanges,
            AfterSb0p::DiscardLeastChanges,
        ][lots.below(5) as usize],
        after_sb_1p: [
            AfterSb1p::Disconnect,
            AfterSb1p::Consensus,
            AfterSb1p::DiscardSecondary,
            AfterSb1p::CallPriLost,
            AfterSb1p::Violently,
        ][lots.below(5) as usize],
        after_sb_2p: [
            AfterSb2p::Disconnect,
            AfterSb2p::CallPriLost,
            AfterSb2p::Violently,
        ][lots.below(3) as usize],
        rr_conflict: [
            RrConflict::Disconnect,
            RrConflict::CallPriLost,
            RrConflict::Violently,
        ][lots.below(3) as usize],
        always_asbp: lots.one_in(2),
        ..NetConf::default()
    }
}

impl World {
    /// A policy has settled a split brain. Both sides say the same, and there was one.
    pub(crate) fn solve(&mut self, id: usize, direction: Direction) {
        let target = match direction {
            Direction::Target => id,
            Direction::Source => 1 - id,
        };
        if self.alone != [true; 2] && !self.both_attach {
            self.violate(format!(
                "node {id}: a split brain is settled, but the history is linear"
            ));
        }
        let link = self.nodes[id].link.as_ref().map_or(0, |link| link.id);
        self.solved[id] = Some((link, target));
        self.by_policy = true;
        self.discards[target] = true;
    }

    /// A resync begins. Two who have settled a split brain in different ways part, or think again, before that.
    pub(crate) fn check_agreed(&mut self) {
        if let [Some((link, one)), Some((other, two))] = std::mem::take(&mut self.solved) {
            if link == other && one != two {
                self.violate("the two settle a split brain in different ways".to_owned());
            }
        }
    }
}
