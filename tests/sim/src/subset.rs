// SPDX-License-Identifier: GPL-2.0-only

//! Now and then, and at each loss of power: where the replicas differ, a bitmap or an activity log says so.

use crate::{node::Node, verify::is_bad, world::World};
use drbd_core::{
    bitmap,
    types::{ConnState, DiskState},
};

impl World {
    /// The sectors in which the disks differ, and nothing has gone bad.
    fn differing(&self) -> Vec<usize> {
        let [a, b] = [0, 1].map(|id| &self.nodes[id].disk.now[..self.common_size()]);
        if a == b {
            return Vec::new();
        }
        let differs = |s: &usize| a[*s] != b[*s] && !is_bad(a[*s]) && !is_bad(b[*s]);
        (0..a.len()).filter(differs).collect()
    }

    /// `when`: for people.
    pub(crate) fn check_subset(&mut self, when: &str) {
        let differing = self.differing();
        self.check_marked(when, &differing);
    }

    fn check_marked(&mut self, when: &str, differing: &[usize]) {
        if differing.is_empty() {
            return;
        }
        let [here, there] = [0, 1].map(|id| self.nodes[id].marked());
        let unmarked = |s: &&usize| {
            let block = **s as u64 / 8;
            !bitmap::is_set(&here, block) && !bitmap::is_set(&there, block)
        };
        if let Some(sector) = differing.iter().find(unmarked) {
            let what = format!("{when}, {}", self.difference(*sector));
            self.violate(format!("{what}, and nothing marks it"));
        }
    }

    fn difference(&self, sector: usize) -> String {
        let [one, two] = [0, 1].map(|id| self.nodes[id].disk.now[sector]);
        format!("the disks differ in sector {sector}, write {one} and write {two}")
    }

    /// What differs is marked all the time; while both call the other good it is even under way, or in a bitmap.
    pub(crate) fn check_marks(&mut self) {
        let differing = self.differing();
        self.check_marked("in operation", &differing);
        if differing.is_empty() || !self.are_equal() {
            return;
        }
        let known = |sector: usize| {
            self.nodes.iter().any(|node| {
                let there = |range: &drbd_core::interval::Range| {
                    (range.sector..range.end()).contains(&(sector as u64))
                };
                bitmap::is_set(&node.bits, sector as u64 / 8)
                    || node.log.iter().any(|(_, request)| there(&request.range))
            })
        };
        let lost = differing.into_iter().find(|&s| !known(s));
        if let Some(sector) = lost {
            let what = self.difference(sector);
            self.violate(format!(
                "both are good, {what}, and that is neither marked nor under way"
            ));
        }
    }

    /// Both call both disks good, over the same connection.
    pub(crate) fn are_equal(&self) -> bool {
        let equal = |node: &Node| {
            node.up
                && node.state.conn == ConnState::Connected
                && node.state.disk == DiskState::UpToDate
                && node.state.pdsk == DiskState::UpToDate
        };
        let link = |id: usize| self.nodes[id].link.as_ref().map(|link| link.id);
        self.nodes.iter().all(equal) && link(0) == link(1)
    }
}
