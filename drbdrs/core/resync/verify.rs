// SPDX-License-Identifier: GPL-2.0-only

//! Online verify: where it is, what it compares next, what it found.
//!
//! One side drives (VerifyS): it asks for the digest of a block, compares it with its own and tells the result. The
//! other side (VerifyT) learns with the first request where the verify begins. Both count the blocks that are left;
//! each ends when there are none, the driving side also when the stop sector is reached.
//!
//! ```text
//!   driving  ── P_OV_REQUEST ──►  reads, digest  ── P_OV_REPLY ──►  reads, compares  ── P_OV_RESULT ──►  counts
//! ```

const SECTORS_PER_BIT: u64 = 8;

/// Whether both sides understand that a verify ends before the last block (8.4: verify_can_do_stop_sector).
pub fn can_stop_early(version: u32) -> bool {
    version >= 97 && version != 100
}

/// Sectors in a row that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// The first of them.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
}

/// What is compared next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// Where the block starts.
    pub sector: u64,
    /// Its size; the last block of a device may be short.
    pub bytes: u32,
}

/// The verify of one volume on one side; kept between two verifies, because the next one goes on where the last one
/// was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Where the next one begins.
    start: u64,
    /// No block is asked for from here on.
    stop: u64,
    /// Where the driving side is.
    position: u64,
    /// Blocks to compare.
    left: u64,
    /// Blocks that were asked for and are not compared yet: the digest is on its way, or our own read is.
    outstanding: u64,
    /// The first request of the driving side will say where it begins.
    waits: bool,
    /// Grows while the differences touch each other.
    run: Differing,
    /// All that was found.
    found: u64,
}

impl Default for Verify {
    fn default() -> Self {
        Self::NEW
    }
}

impl Verify {
    /// None was ever run.
    pub const NEW: Self = Self {
        start: 0,
        stop: u64::MAX,
        position: 0,
        left: 0,
        outstanding: 0,
        waits: false,
        run: Differing {
            sector: 0,
            sectors: 0,
        },
        found: 0,
    };

    /// What the administrator asked for. Without a start it goes on where the last one was interrupted.
    pub fn plan(&mut self, start: Option<u64>, stop: Option<u64>) {
        let start = start.unwrap_or(self.start);
        self.start = start.saturating_sub(start % SECTORS_PER_BIT);
        self.stop = stop.unwrap_or(u64::MAX);
    }

    /// It begins, on the side that drives or on the other one.
    pub fn begin(&mut self, drives: bool, version: u32, capacity_sectors: u64) {
        let bits = capacity_sectors.div_ceil(SECTORS_PER_BIT);
        (self.run, self.found, self.outstanding) = (Differing::default(), 0, 0);
        // Peers before version 90 always begin at the first sector.
        if version < 90 {
            self.start = 0;
        }
        self.waits = !drives && version >= 90;
        if !drives {
            (self.left, self.stop) = (bits, u64::MAX);
            return;
        }
        let first = (self.start / SECTORS_PER_BIT).min(bits.saturating_sub(1));
        self.start = first.saturating_mul(SECTORS_PER_BIT);
        self.position = self.start;
        self.left = bits.saturating_sub(first);
    }

    /// A request of the driving side came; true if it is the first one and says where the verify begins.
    pub fn requested_by_peer(&mut self, sector: u64, capacity_sectors: u64) -> bool {
        if !core::mem::take(&mut self.waits) {
            return false;
        }
        let bits = capacity_sectors.div_ceil(SECTORS_PER_BIT);
        self.start = sector;
        self.position = sector;
        self.left = bits.saturating_sub(sector / SECTORS_PER_BIT);
        true
    }

    /// What the driving side asks for next. `first`: nothing was asked for in this verify; at least one block is,
    /// because the verify ends with an answer.
    pub fn next(&self, first: bool, version: u32, capacity_sectors: u64) -> Option<VerifyRequest> {
        let past_stop = can_stop_early(version) && self.position >= self.stop;
        if self.position >= capacity_sectors || (past_stop && !first) {
            return None;
        }
        let sectors = capacity_sectors
            .saturating_sub(self.position)
            .min(SECTORS_PER_BIT);
        Some(VerifyRequest {
            sector: self.position,
            bytes: u32::try_from(sectors.saturating_mul(512)).ok()?,
        })
    }

    /// Nothing was asked for in this verify.
    pub fn is_at_start(&self) -> bool {
        self.position == self.start
    }

    /// A request was sent.
    pub fn asked(&mut self, request: &VerifyRequest) {
        self.position = request.sector.saturating_add(SECTORS_PER_BIT);
        self.outstanding = self.outstanding.saturating_add(1);
    }

    /// The result about a block. Returns a run of differences that has come to its end: report it.
    pub fn compared(&mut self, sector: u64, sectors: u64, equal: bool) -> Option<Differing> {
        self.left = self.left.saturating_sub(1);
        self.outstanding = self.outstanding.saturating_sub(1);
        if equal {
            return self.take_run();
        }
        self.found = self.found.saturating_add(sectors);
        if self.run.sectors > 0 && self.run.sector.saturating_add(self.run.sectors) == sector {
            self.run.sectors = self.run.sectors.saturating_add(sectors);
            return None;
        }
        let ended = self.take_run();
        self.run = Differing { sector, sectors };
        ended
    }

    /// The last run of differences, if it was not reported.
    pub fn take_run(&mut self) -> Option<Differing> {
        let run = core::mem::take(&mut self.run);
        (run.sectors > 0).then_some(run)
    }

    /// Whether this side is through: the driving side when all that it asked for is compared and there is no more to
    /// ask for, the other one by its count.
    pub fn is_through(&self, drives: bool, version: u32, capacity_sectors: u64) -> bool {
        if !drives {
            return !self.waits && self.left == 0;
        }
        let first = self.is_at_start();
        let asked_for_all = self.next(first, version, capacity_sectors).is_none();
        self.left == 0 || (self.outstanding == 0 && asked_for_all)
    }

    /// It ended, for whatever reason. Returns the sector that it reached if that is not the end; the next one begins
    /// there.
    pub fn ended(&mut self, capacity_sectors: u64) -> Option<u64> {
        let bits = capacity_sectors.div_ceil(SECTORS_PER_BIT);
        if self.waits {
            // Nothing was compared.
            self.waits = false;
            return None;
        }
        if self.left == 0 {
            self.start = 0;
            return None;
        }
        self.start = bits
            .saturating_sub(self.left)
            .saturating_mul(SECTORS_PER_BIT);
        Some(self.start)
    }

    /// Blocks to compare.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Where it began; where the next one begins.
    pub fn start_sector(&self) -> u64 {
        self.start
    }

    /// Sectors that differ.
    pub fn found_sectors(&self) -> u64 {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: u32 = 101;

    /// Drives a verify whose blocks in `bad` differ; returns what was compared and what was reported.
    fn run(v: &mut Verify, capacity: u64, bad: &[u64]) -> (Vec<u64>, Vec<Differing>) {
        let (mut seen, mut reports) = (Vec::new(), Vec::new());
        v.begin(true, VERSION, capacity);
        let mut first = true;
        while let Some(r) = v.next(first, VERSION, capacity) {
            assert!(!v.is_through(true, VERSION, capacity));
            first = false;
            v.asked(&r);
            let sectors = u64::from(r.bytes / 512);
            reports.extend(v.compared(r.sector, sectors, !bad.contains(&r.sector)));
            seen.push(r.sector);
        }
        reports.extend(v.take_run());
        assert!(v.is_through(true, VERSION, capacity));
        (seen, reports)
    }

    #[test]
    fn all_blocks_are_compared_and_neighbours_are_reported_together() {
        let mut v = Verify::NEW;
        let (seen, reports) = run(&mut v, 85, &[8, 16, 40, 80]);
        assert_eq!(seen, (0..11).map(|bit| bit * 8).collect::<Vec<_>>());
        let at = |sector, sectors| Differing { sector, sectors };
        assert_eq!(reports, [at(8, 16), at(40, 8), at(80, 5)]);
        assert_eq!(v.found_sectors(), 29, "the last block is short");
        assert_eq!((v.left(), v.ended(85), v.start_sector()), (0, None, 0));
    }

    #[test]
    fn start_and_stop_are_kept_to() {
        let mut v = Verify::NEW;
        v.plan(Some(27), Some(60));
        let (seen, _) = run(&mut v, 800, &[]);
        assert_eq!(seen, [24, 32, 40, 48, 56], "the start is rounded down");
        assert_eq!(v.ended(800), Some(64), "the next one goes on there");
        v.plan(None, None);
        let (seen, _) = run(&mut v, 800, &[]);
        assert_eq!((seen.first(), seen.len()), (Some(&64), 92));
    }

    #[test]
    fn it_is_not_through_before_the_last_answer_is_compared() {
        let mut v = Verify::NEW;
        v.plan(Some(0), Some(16));
        v.begin(true, VERSION, 800);
        for first in [true, false] {
            let request = v.next(first, VERSION, 800).unwrap();
            v.asked(&request);
        }
        assert_eq!(v.next(false, VERSION, 800), None);
        v.compared(8, 8, true);
        // The digest of the first block may be here: it is our own read that the end waits for.
        assert!(!v.is_through(true, VERSION, 800));
        v.compared(0, 8, false);
        assert!(v.is_through(true, VERSION, 800));
        assert_eq!(v.take_run().map(|run| run.sector), Some(0));
    }

    #[test]
    fn a_start_behind_the_end_compares_the_last_block() {
        let mut v = Verify::NEW;
        v.plan(Some(1 << 40), None);
        assert_eq!(run(&mut v, 85, &[]).0, [80]);
    }

    #[test]
    fn one_block_is_compared_even_if_the_stop_lies_before_it() {
        let mut v = Verify::NEW;
        v.plan(Some(80), Some(8));
        assert_eq!(run(&mut v, 800, &[]).0, [80]);
    }

    #[test]
    fn old_peers_do_not_know_a_stop_nor_a_start() {
        let mut v = Verify::NEW;
        v.plan(Some(80), Some(160));
        v.begin(true, 89, 800);
        assert_eq!((v.start_sector(), v.left()), (0, 100));
        v.asked(&VerifyRequest {
            sector: 400,
            bytes: 4096,
        });
        assert!(v.next(false, 89, 800).is_some());
        assert!(!can_stop_early(100) && can_stop_early(101) && !can_stop_early(96));
    }

    #[test]
    fn the_other_side_learns_the_start_from_the_first_request() {
        let mut v = Verify::NEW;
        v.begin(false, VERSION, 800);
        assert!(!v.is_through(false, VERSION, 800));
        assert!(v.requested_by_peer(640, 800));
        assert!(!v.requested_by_peer(648, 800));
        assert_eq!(v.left(), 20);
        for bit in 80..99 {
            assert_eq!(v.compared(bit * 8, 8, true), None);
        }
        assert!(!v.is_through(false, VERSION, 800));
        v.compared(792, 8, false);
        assert!(v.is_through(false, VERSION, 800));
        assert_eq!(v.take_run().map(|r| r.sector), Some(792));
    }

    #[test]
    fn an_interrupted_verify_goes_on_there() {
        let mut v = Verify::NEW;
        v.begin(true, VERSION, 800);
        for sector in [0, 8, 16] {
            v.asked(&VerifyRequest {
                sector,
                bytes: 4096,
            });
        }
        v.compared(0, 8, true);
        v.compared(8, 8, true);
        assert!(!v.is_through(true, VERSION, 800));
        assert_eq!(
            v.ended(800),
            Some(16),
            "what was not answered is asked again"
        );
        let mut other = Verify::NEW;
        other.begin(false, VERSION, 800);
        assert_eq!(other.ended(800), None, "nothing was compared");
    }
}
