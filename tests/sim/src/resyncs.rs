// SPDX-License-Identifier: GPL-2.0-only

//! Resyncs: the newer data are never the target, and no more is copied than differs.

use crate::world::World;
use drbd_core::{bitmap, config::choices::Protocol, interval::Range};

impl World {
    /// What node `target` has is replaced by what the other one has.
    pub(crate) fn check_direction(&mut self, target: usize) {
        // Who calls bad data good may overwrite the good ones with them.
        if self.discards[target] || self.forced[1 - target] {
            return;
        }
        if self.wrote[target] {
            self.violate(format!(
                "node {target}: a resync overwrites what was written apart"
            ));
            return;
        }
        // By protocols A and B, a write may be acknowledged that only a lost disk has.
        if self.config.protocol != Protocol::C {
            return;
        }
        let [a, b] = &self.images;
        let (mine, source) = if target == 0 { (a, b) } else { (b, a) };
        if let Some(sector) = mine.lacks(source) {
            let (mine, theirs) = (mine.explain(sector), source.explain(sector));
            self.violate(format!(
                "node {target}: a resync overwrites sector {sector}, where {mine} was promised, with {theirs}"
            ));
        }
    }

    /// The resync writes a block: one that either side had marked, and once for each mark.
    pub(crate) fn check_moved(&mut self, target: usize, range: &Range) {
        let blocks = range.sector / 8..range.end().div_ceil(8);
        for block in blocks {
            let owed = |node: usize| bitmap::is_set(&self.nodes[node].owed, block);
            if !owed(0) && !owed(1) {
                self.violate(format!(
                    "node {target}: a resync copies block {block}, which nobody had marked"
                ));
            }
            for node in &mut self.nodes {
                bitmap::clear_range(&mut node.owed, block, block);
            }
        }
    }
}
