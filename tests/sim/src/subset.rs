// SPDX-License-Identifier: GPL-2.0-only

//! At each loss of power: where the replicas differ, a bitmap or an activity log says so.

use crate::{verify::is_bad, world::World};
use drbd_core::bitmap;

impl World {
    pub(crate) fn check_subset(&mut self, id: usize) {
        let [a, b] = &self.nodes;
        let differs = |s: &usize| {
            let (one, two) = (a.disk.now[*s], b.disk.now[*s]);
            one != two && !is_bad(one) && !is_bad(two)
        };
        let (here, there) = (a.marked(), b.marked());
        let unmarked = |s: &usize| {
            let block = *s as u64 / 8;
            !bitmap::is_set(&here, block) && !bitmap::is_set(&there, block)
        };
        let found = (0..self.common_size()).filter(differs).find(unmarked);
        if let Some(sector) = found {
            let (one, two) = (a.disk.now[sector], b.disk.now[sector]);
            self.violate(format!(
                "node {id} loses power: the disks differ in sector {sector}, write {one} and write {two}, and nothing marks it"
            ));
        }
    }
}
