// SPDX-License-Identifier: GPL-2.0-only

//! What the applications are promised, kept beside the cluster and compared with it.
//!
//! For every node and sector a list of candidates: writes that a read of that node's data may return. A write that
//! was completed takes every candidate away that was complete before it began. A node that loses its power loses the
//! promises that were not flushed; a node that was resynced has what its source has.

use drbd_core::interval::Range;

/// Stands for whatever was written once.
const ANY: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    tag: u64,
    began: u64,
    /// Whoever begins later comes after it.
    over: Option<u64>,
    /// It was completed, and nothing happened that may undo it.
    promised: bool,
    /// Promised even after a loss of power.
    stable: bool,
    /// The power was lost while it was under way.
    cut: bool,
    /// The generations tell who has it.
    told: bool,
    /// It may have given way to a write that failed on this disk.
    lost: bool,
}

impl Candidate {
    /// Whatever was there before.
    const ANYTHING: Self = Self::new(ANY, 0, Some(0));

    /// Nothing is promised yet.
    const fn new(tag: u64, began: u64, over: Option<u64>) -> Self {
        Self {
            tag,
            began,
            over,
            promised: false,
            stable: false,
            cut: false,
            told: false,
            lost: false,
        }
    }

    /// Whether it is another one, and was complete before `other` began.
    fn precedes(&self, other: &Self) -> bool {
        self.tag != other.tag && self.over.is_some_and(|over| over <= other.began)
    }
}

/// What one node's data may be.
#[derive(Clone, Debug)]
pub struct Image {
    sectors: Vec<Vec<Candidate>>,
}

impl Image {
    /// All zero, for good.
    pub fn new(sectors: usize) -> Self {
        let zero = Candidate {
            promised: true,
            stable: true,
            told: true,
            ..Candidate::new(0, 0, Some(0))
        };
        Self {
            sectors: vec![vec![zero]; sectors],
        }
    }

    /// There is more; it holds whatever it may.
    pub fn grow(&mut self, sectors: usize) {
        self.sectors.resize(sectors, vec![Candidate::ANYTHING]);
    }

    fn of(&mut self, range: &Range) -> &mut [Vec<Candidate>] {
        &mut self.sectors[range.sector as usize..range.end() as usize]
    }

    /// A write may be there from now on.
    pub fn began(&mut self, tag: u64, range: &Range, now: u64) {
        for list in self.of(range) {
            list.push(Candidate::new(tag, now, None));
        }
    }

    /// A write is promised; `told`: both nodes have it, or the generations say which one.
    pub fn done(&mut self, tag: u64, range: &Range, now: u64, stable: bool, told: bool) {
        for list in self.of(range) {
            if let Some(found) = list.iter_mut().find(|c| c.tag == tag) {
                // The power may have gone between its end on the disk and the news of it.
                let survived = found.over.is_none() && !found.cut;
                found.over = found.over.or(Some(now));
                found.promised |= !found.lost && (survived || stable);
                found.stable |= !found.lost && stable;
                found.told |= told;
            }
            prune(list);
        }
    }

    /// A write failed on this disk, and with it whatever of the other Primary gave way to it.
    pub fn failed(&mut self, tag: u64, range: &Range) {
        for list in self.of(range) {
            let Some(failed) = list.iter().find(|c| c.tag == tag).copied() else {
                continue;
            };
            let others = list.iter_mut().filter(|c| c.tag != tag);
            for candidate in others.filter(|c| !c.precedes(&failed)) {
                candidate.lost = true;
                candidate.promised = false;
                candidate.stable = false;
            }
        }
    }

    /// All that was promised before `since` is stable.
    pub fn flushed(&mut self, since: u64) {
        for list in &mut self.sectors {
            for candidate in list.iter_mut() {
                candidate.stable |=
                    candidate.promised && candidate.over.is_some_and(|over| over <= since);
            }
            prune(list);
        }
    }

    /// The power was lost. What the other node still has under way may be sent anew.
    pub fn cut(&mut self, now: u64, under_way: &[u64]) {
        for candidate in self.sectors.iter_mut().flatten() {
            if !candidate.stable {
                candidate.promised = false;
                candidate.cut |= candidate.over.is_none();
                if !under_way.contains(&candidate.tag) {
                    candidate.over = candidate.over.or(Some(now));
                }
            }
        }
    }

    /// It is the copy of another node's that may have gone on meanwhile: nothing of it is promised, and what that node
    /// can do without by now may be here.
    pub fn doubt(&mut self) {
        for list in &mut self.sectors {
            list.push(Candidate::ANYTHING);
        }
        for candidate in self.sectors.iter_mut().flatten() {
            candidate.promised = false;
            candidate.stable = false;
        }
    }

    /// The other node has a write, too.
    pub fn arrived(&mut self, tag: u64, range: &Range) {
        let written = self.of(range).iter_mut().flatten();
        for candidate in written.filter(|c| c.tag == tag) {
            candidate.told = true;
        }
    }

    /// It is the copy of a node's whose writes may be on their way still: those are promised on that one alone.
    pub fn doubt_what_is_late(&mut self) {
        let late = |list: &&mut Vec<Candidate>| list.iter().any(|c| c.promised && !c.told);
        for list in self.sectors.iter_mut().filter(late) {
            list.push(Candidate::ANYTHING);
            for candidate in list {
                candidate.promised = false;
                candidate.stable = false;
            }
        }
    }

    /// A sector in which something is promised that `source` never got, and that it may not replace by what it has.
    pub fn lacks(&self, source: &Self) -> Option<usize> {
        let pairs = self.sectors.iter().zip(&source.sectors);
        let lost = |(mine, theirs): (&Vec<Candidate>, &Vec<Candidate>)| {
            let unknown =
                |d: &&Candidate| d.promised && d.told && !theirs.iter().any(|c| c.tag == d.tag);
            mine.iter().filter(unknown).any(|d| {
                let stays = |c: &Candidate| !theirs.iter().any(|e| overwritten(c, e));
                theirs
                    .iter()
                    .any(|c| c.tag != ANY && overwritten(c, d) && stays(c))
            })
        };
        pairs.into_iter().position(lost)
    }

    /// Whether a sector may read as that.
    pub fn allows(&self, sector: usize, tag: u64) -> bool {
        let list = &self.sectors[sector];
        list.iter()
            .any(|c| (c.tag == tag || c.tag == ANY) && !list.iter().any(|d| overwritten(c, d)))
    }

    /// What a sector may read as, for people.
    pub fn explain(&self, sector: usize) -> String {
        format!("{:?}", self.sectors[sector])
    }
}

/// Whether `c` was complete before `d`, which is promised, began.
fn overwritten(c: &Candidate, d: &Candidate) -> bool {
    d.promised && c.precedes(d)
}

/// Forgets what not even a loss of power can bring back.
fn prune(list: &mut Vec<Candidate>) {
    let stable: Vec<Candidate> = list
        .iter()
        .filter(|c| c.stable && c.promised)
        .copied()
        .collect();
    list.retain(|c| !stable.iter().any(|d| overwritten(c, d)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volatile cache. Zero; a write that was complete before the one that fails began; one of the other Primary that
    /// gave way to that.
    fn image(gave_way_first: bool) -> Image {
        let range = Range::new(0, 0, 512);
        let mut image = Image::new(1);
        image.began(1, &range, 10);
        image.done(1, &range, 20, false, true);
        image.began(2, &range, 25);
        image.began(3, &range, 30);
        if gave_way_first {
            image.done(2, &range, 40, false, true);
        }
        image.failed(3, &range);
        if !gave_way_first {
            image.done(2, &range, 50, false, true);
        }
        image
    }

    #[test]
    fn what_gave_way_to_a_write_that_failed_is_not_promised() {
        for gave_way_first in [true, false] {
            assert!(image(gave_way_first).allows(0, 1));
        }
    }

    #[test]
    fn what_was_complete_before_the_failed_write_began_stays_promised() {
        for gave_way_first in [true, false] {
            assert!(!image(gave_way_first).allows(0, 0));
        }
    }
}
