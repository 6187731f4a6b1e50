// SPDX-License-Identifier: GPL-2.0-only

//! Which sectors have a write in flight, so that overlapping writes never run at the same time.
//!
//! Intervals hang in hash buckets by 1 MiB region. A write is at most 1 MiB, so it touches at most
//! two regions; what is larger (discards) goes to one short list that every query looks at. All
//! nodes come from storage that the caller gives, nothing is allocated.

use core::ops::DerefMut;

/// Sectors of one region: 1 MiB.
const REGION_SHIFT: u32 = 11;
/// Number of hash chains.
const BUCKETS: usize = 256;
/// The chain of intervals that touch more than two regions.
const LARGE: usize = BUCKETS;
/// End of a chain.
const NIL: u32 = u32::MAX;

/// A run of sectors of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Volume number.
    pub volume: u16,
    /// First sector (512 bytes each).
    pub sector: u64,
    /// Number of sectors.
    pub sectors: u32,
}

impl Range {
    /// The range of `bytes` (rounded up to sectors) from `sector` on.
    pub fn new(volume: u16, sector: u64, bytes: u32) -> Self {
        Range {
            volume,
            sector,
            sectors: bytes.div_ceil(512),
        }
    }

    /// First sector after the range.
    pub fn end(&self) -> u64 {
        self.sector.saturating_add(u64::from(self.sectors))
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u32 {
        self.sectors.saturating_mul(512)
    }

    /// Whether both share a sector.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.volume == other.volume && self.sector < other.end() && other.sector < self.end()
    }

    /// Whether every sector of `other` is in `self`.
    pub fn contains(&self, other: &Range) -> bool {
        self.volume == other.volume && self.sector <= other.sector && other.end() <= self.end()
    }

    /// First and last region, `None` when there are more than two.
    fn regions(&self) -> Option<(u64, u64)> {
        let first = self.sector >> REGION_SHIFT;
        let last = self.end().saturating_sub(1).max(self.sector) >> REGION_SHIFT;
        (last.saturating_sub(first) <= 1).then_some((first, last))
    }
}

/// Whose write an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A request of the local application, by slot.
    Local(u32),
    /// A write that the peer sent, by the caller's own number.
    Peer(u32),
}

/// A handle to an interval in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(u32);

/// Storage of one interval.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    range: Range,
    owner: Owner,
    /// Next in the chains of the first and of the second region.
    next: [u32; 2],
    used: bool,
}

impl Node {
    /// Its link in `chain`, which is one of its two.
    fn next_in(&self, chain: usize) -> u32 {
        let [first, second] = self.next;
        if chains(&self.range).0 == chain {
            first
        } else {
            second
        }
    }

    fn next_in_mut(&mut self, chain: usize) -> &mut u32 {
        let [first, second] = &mut self.next;
        if chains(&self.range).0 == chain {
            first
        } else {
            second
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Node {
            range: Range {
                volume: 0,
                sector: 0,
                sectors: 0,
            },
            owner: Owner::Local(NIL),
            next: [NIL; 2],
            used: false,
        }
    }
}

/// The set of intervals with a write in flight.
pub struct Set<S> {
    nodes: S,
    heads: [u32; BUCKETS + 1],
    free: u32,
    live: u32,
}

impl<S: DerefMut<Target = [Node]>> Set<S> {
    /// An empty set over `nodes`, whose length is the capacity.
    pub fn new(mut nodes: S) -> Self {
        let mut free = NIL;
        for (i, node) in nodes.iter_mut().enumerate().rev() {
            *node = Node::default();
            node.next[0] = free;
            free = i as u32;
        }
        Set {
            nodes,
            heads: [NIL; BUCKETS + 1],
            free,
            live: 0,
        }
    }

    /// Number of intervals in the set.
    pub fn len(&self) -> u32 {
        self.live
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds `range`; `None` when the storage is full. Overlaps are the caller's to look for first.
    pub fn insert(&mut self, range: Range, owner: Owner) -> Option<NodeId> {
        let id = self.free;
        let node = self.nodes.get_mut(id as usize)?;
        self.free = node.next[0];
        *node = Node {
            range,
            owner,
            next: [NIL; 2],
            used: true,
        };
        self.live = self.live.saturating_add(1);
        let (first, second) = chains(&range);
        self.push(id, first, 0);
        if let Some(second) = second {
            self.push(id, second, 1);
        }
        Some(NodeId(id))
    }

    /// Takes an interval out; a handle that is not live is ignored.
    pub fn remove(&mut self, id: NodeId) {
        let Some(node) = self
            .nodes
            .get(id.0 as usize)
            .copied()
            .filter(|node| node.used)
        else {
            return;
        };
        let (first, second) = chains(&node.range);
        self.unlink(id.0, first, 0);
        if let Some(second) = second {
            self.unlink(id.0, second, 1);
        }
        if let Some(slot) = self.nodes.get_mut(id.0 as usize) {
            *slot = Node {
                next: [self.free, NIL],
                ..Node::default()
            };
            self.free = id.0;
            self.live = self.live.saturating_sub(1);
        }
    }

    /// Gives an interval another owner; a handle that is not live is ignored.
    pub fn set_owner(&mut self, id: NodeId, owner: Owner) {
        let node = self.nodes.get_mut(id.0 as usize);
        if let Some(node) = node.filter(|node| node.used) {
            node.owner = owner;
        }
    }

    /// Takes all intervals out that `chosen` accepts; says how many.
    pub fn remove_all(&mut self, mut chosen: impl FnMut(Owner, &Range) -> bool) -> u32 {
        let mut removed = 0u32;
        let mut id = 0u32;
        while let Some(node) = self.nodes.get(id as usize) {
            if node.used && chosen(node.owner, &node.range) {
                self.remove(NodeId(id));
                removed = removed.saturating_add(1);
            }
            id = id.saturating_add(1);
        }
        removed
    }

    /// The first interval that overlaps `range` and that `relevant` accepts.
    pub fn find_overlap(
        &self,
        range: &Range,
        mut relevant: impl FnMut(Owner, &Range) -> bool,
    ) -> Option<(NodeId, Owner)> {
        let mut hit = |id: u32, node: &Node| {
            (node.range.overlaps(range) && relevant(node.owner, &node.range))
                .then_some((NodeId(id), node.owner))
        };
        if range.regions().is_none() {
            return (0..=u32::MAX)
                .zip(self.nodes.iter())
                .filter(|(_, node)| node.used)
                .find_map(|(id, node)| hit(id, node));
        }
        let (first, second) = chains(range);
        [Some(first), second, Some(LARGE)]
            .into_iter()
            .flatten()
            .find_map(|chain| self.walk(chain, &mut hit))
    }

    fn walk<R>(&self, chain: usize, hit: &mut impl FnMut(u32, &Node) -> Option<R>) -> Option<R> {
        let mut at = self.heads.get(chain).copied().unwrap_or(NIL);
        while let Some(node) = self.nodes.get(at as usize) {
            if let Some(found) = hit(at, node) {
                return Some(found);
            }
            at = node.next_in(chain);
        }
        None
    }

    fn push(&mut self, id: u32, chain: usize, which: usize) {
        let Some(head) = self.heads.get_mut(chain) else {
            return;
        };
        if let Some(next) = self
            .nodes
            .get_mut(id as usize)
            .and_then(|n| n.next.get_mut(which))
        {
            *next = *head;
            *head = id;
        }
    }

    fn unlink(&mut self, id: u32, chain: usize, which: usize) {
        let after = self
            .nodes
            .get(id as usize)
            .and_then(|n| n.next.get(which))
            .copied();
        let Some(after) = after else { return };
        let mut at = self.heads.get(chain).copied().unwrap_or(NIL);
        if at == id {
            if let Some(head) = self.heads.get_mut(chain) {
                *head = after;
            }
            return;
        }
        while let Some(node) = self.nodes.get_mut(at as usize) {
            let next = node.next_in_mut(chain);
            if *next == id {
                *next = after;
                return;
            }
            at = *next;
        }
    }
}

/// The chain of a region.
fn chain_of(volume: u16, region: u64) -> usize {
    let mixed = (region ^ (u64::from(volume) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize % BUCKETS
}

/// The chains that an interval hangs in.
fn chains(range: &Range) -> (usize, Option<usize>) {
    let Some((first, last)) = range.regions() else {
        return (LARGE, None);
    };
    let a = chain_of(range.volume, first);
    let b = chain_of(range.volume, last);
    (a, (a != b).then_some(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(n: usize) -> Set<Vec<Node>> {
        Set::new(vec![Node::default(); n])
    }

    fn range(sector: u64, sectors: u32) -> Range {
        Range {
            volume: 0,
            sector,
            sectors,
        }
    }

    #[test]
    fn all_of_an_owner_leave_together() {
        let mut s = set(4);
        let kept = s.insert(range(8, 8), Owner::Peer(1)).unwrap();
        s.insert(range(64, 8), Owner::Peer(1)).unwrap();
        s.insert(range(u64::MAX / 2, 1 << 20), Owner::Peer(1))
            .unwrap();
        s.insert(range(128, 8), Owner::Local(1)).unwrap();
        s.set_owner(kept, Owner::Peer(2));
        assert_eq!(s.remove_all(|owner, _| owner == Owner::Peer(1)), 2);
        assert_eq!(s.len(), 2);
        let (found, owner) = s.find_overlap(&range(8, 1), |_, _| true).unwrap();
        assert_eq!((found, owner), (kept, Owner::Peer(2)));
        assert!(s.find_overlap(&range(64, 8), |_, _| true).is_none());
        s.remove(kept);
        s.set_owner(kept, Owner::Peer(1));
        assert_eq!(s.remove_all(|owner, _| owner == Owner::Peer(1)), 0);
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let mut s = set(4);
        s.insert(range(8, 8), Owner::Local(1)).unwrap();
        assert!(s.find_overlap(&range(0, 8), |_, _| true).is_none());
        assert!(s.find_overlap(&range(16, 8), |_, _| true).is_none());
        assert_eq!(
            s.find_overlap(&range(15, 1), |_, _| true).unwrap().1,
            Owner::Local(1)
        );
        let other = Range {
            volume: 1,
            ..range(8, 8)
        };
        assert!(s.find_overlap(&other, |_, _| true).is_none());
    }

    #[test]
    fn large_ranges_are_found_and_find() {
        let mut s = set(4);
        let big = s.insert(range(0, 1 << 20), Owner::Peer(7)).unwrap();
        assert_eq!(
            s.find_overlap(&range(1 << 19, 1), |_, _| true).unwrap().1,
            Owner::Peer(7)
        );
        s.remove(big);
        s.insert(range(1 << 19, 8), Owner::Local(3)).unwrap();
        assert_eq!(
            s.find_overlap(&range(0, 1 << 20), |_, _| true).unwrap().1,
            Owner::Local(3)
        );
    }

    #[test]
    fn storage_is_bounded_and_comes_back() {
        let mut s = set(2);
        let a = s.insert(range(0, 1), Owner::Local(0)).unwrap();
        s.insert(range(1, 1), Owner::Local(1)).unwrap();
        assert!(s.insert(range(2, 1), Owner::Local(2)).is_none());
        s.remove(a);
        s.remove(a);
        assert_eq!(s.len(), 1);
        assert!(s.insert(range(2, 1), Owner::Local(2)).is_some());
    }

    /// The set agrees with a plain list over random inserts, removes and queries.
    #[test]
    fn agrees_with_a_list() {
        let mut seed = 1u64;
        let mut random = move |n: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let mut s = set(64);
        let mut list: Vec<(NodeId, Range, u32)> = Vec::new();
        for step in 0..20_000u32 {
            let length = [1, 8, 2048, 5000, 300_000][random(5) as usize];
            let r = Range {
                volume: random(2) as u16,
                ..range(random(40_000), length)
            };
            let expected = list.iter().any(|(_, other, _)| other.overlaps(&r));
            assert_eq!(s.find_overlap(&r, |_, _| true).is_some(), expected);
            if random(2) == 0 && list.len() < 64 {
                list.push((s.insert(r, Owner::Local(step)).unwrap(), r, step));
            } else if !list.is_empty() {
                let (id, _, _) = list.swap_remove(random(list.len() as u64) as usize);
                s.remove(id);
            }
        }
    }
}
