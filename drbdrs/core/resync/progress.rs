// SPDX-License-Identifier: GPL-2.0-only

//! How far a resync or verify is. Amounts in bits of 4 KiB, times in milliseconds of any monotonic clock.

use crate::proc_text;

const MARKS: usize = 8;
const MARK_STEP_MS: u64 = 3000;
const KIB_PER_BIT: u64 = 4;

/// The record of one resync or verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    total: u64,
    failed: u64,
    same_checksum: u64,
    start_ms: u64,
    paused_ms: u64,
    mark_ms: [u64; MARKS],
    mark_left: [u64; MARKS],
    last: usize,
}

/// What is said at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Time from begin to end.
    pub total_seconds: u64,
    /// Of that, time that it was paused.
    pub paused_seconds: u64,
    /// The mean rate while it ran.
    pub rate_kib: u64,
}

impl Progress {
    /// Nothing runs.
    pub const NONE: Self = Self {
        total: 0,
        failed: 0,
        same_checksum: 0,
        start_ms: 0,
        paused_ms: 0,
        mark_ms: [0; MARKS],
        mark_left: [0; MARKS],
        last: 0,
    };

    /// Begins with `total` bits to do.
    pub fn begin(total: u64, now_ms: u64) -> Self {
        Self {
            total,
            start_ms: now_ms,
            mark_ms: [now_ms; MARKS],
            mark_left: [total; MARKS],
            ..Self::NONE
        }
    }

    /// Bits to do when it began; zero when nothing runs.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bits that could not be synced.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Bits that had equal checksums and were not transferred.
    pub fn same_checksum(&self) -> u64 {
        self.same_checksum
    }

    /// So many more bits could not be synced.
    pub fn add_failed(&mut self, bits: u64) {
        self.failed = self.failed.saturating_add(bits);
    }

    /// So many more bits had equal checksums.
    pub fn add_same_checksum(&mut self, bits: u64) {
        self.same_checksum = self.same_checksum.saturating_add(bits);
    }

    /// Bits left in a resync, given the bits set in the bitmap.
    pub fn left(&self, out_of_sync: u64) -> u64 {
        out_of_sync.saturating_sub(self.failed)
    }

    /// Nothing left that could still be synced?
    pub fn is_done(&self, out_of_sync: u64) -> bool {
        self.left(out_of_sync) == 0
    }

    /// Call when bits were cleared: sets a mark every three seconds, if anything was done and it runs.
    pub fn advance(&mut self, left: u64, now_ms: u64, paused: bool) {
        let at = |values: &[u64; MARKS], i: usize| values.get(i).copied().unwrap_or(0);
        let due = at(&self.mark_ms, self.last).saturating_add(MARK_STEP_MS);
        if now_ms < due || paused || at(&self.mark_left, self.last) == left {
            return;
        }
        let next = self.last.wrapping_add(1) % MARKS;
        self.set_mark(next, left, now_ms);
        self.last = next;
    }

    fn set_mark(&mut self, i: usize, left: u64, now_ms: u64) {
        if let Some(mark) = self.mark_left.get_mut(i) {
            *mark = left;
        }
        if let Some(mark) = self.mark_ms.get_mut(i) {
            *mark = now_ms;
        }
    }

    /// A pause begins.
    pub fn pause(&mut self, now_ms: u64) {
        if let Some(mark) = self.mark_ms.get_mut(self.last) {
            *mark = now_ms;
        }
    }

    /// The pause is over.
    pub fn resume(&mut self, now_ms: u64) {
        let since = self.mark_ms.get(self.last).copied().unwrap_or(now_ms);
        self.paused_ms = self.paused_ms.saturating_add(now_ms.saturating_sub(since));
    }

    /// The rate of the last three to six seconds: what the throttle looks at.
    pub fn recent_rate_kib(&self, left: u64, now_ms: u64) -> u64 {
        let (mark_left, age) = self.mark(MARKS - 1, now_ms);
        rate_kib(mark_left.saturating_sub(left), age)
    }

    /// Left at, and age in seconds of, the mark that is `offset` after the last one in the ring.
    fn mark(&self, offset: usize, now_ms: u64) -> (u64, u64) {
        let i = self.last.wrapping_add(offset) % MARKS;
        let left = self.mark_left.get(i).copied().unwrap_or(0);
        let at = self.mark_ms.get(i).copied().unwrap_or(now_ms);
        (left, now_ms.saturating_sub(at) / 1000)
    }

    fn run_seconds(&self, now_ms: u64) -> u64 {
        now_ms
            .saturating_sub(self.start_ms)
            .saturating_sub(self.paused_ms)
            / 1000
    }

    /// For /proc/drbd. `want_kib`: the rate aimed at, on the side that asks for data.
    pub fn text(
        &self,
        verify: bool,
        left: u64,
        want_kib: Option<u64>,
        now_ms: u64,
    ) -> proc_text::Progress {
        // The last but one of the marks: old enough for a steady mean, and not about to be rewritten.
        let (mark_left, mark_seconds) = self.mark(2, now_ms);
        proc_text::Progress {
            verify,
            total: self.total,
            left: left.min(self.total),
            mark_left,
            mark_seconds,
            run_seconds: self.run_seconds(now_ms),
            want_kib,
        }
    }

    /// The end. `not_done`: bits that a verify did not get to.
    pub fn summary(&self, not_done: u64, now_ms: u64) -> Summary {
        let ran = self.run_seconds(now_ms).max(1);
        let paused_seconds = self.paused_ms / 1000;
        Summary {
            total_seconds: ran.saturating_add(paused_seconds),
            paused_seconds,
            rate_kib: rate_kib(self.total.saturating_sub(not_done), ran),
        }
    }
}

fn rate_kib(bits: u64, seconds: u64) -> u64 {
    (bits / seconds.max(1)).saturating_mul(KIB_PER_BIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_three_seconds_apart_and_only_where_something_was_done() {
        let mut p = Progress::begin(10_000, 0);
        p.advance(9_000, 2999, false);
        assert_eq!(p.last, 0);
        p.advance(9_000, 3000, false);
        assert_eq!((p.last, p.mark_left[1], p.mark_ms[1]), (1, 9_000, 3000));
        p.advance(9_000, 9000, false);
        p.advance(8_000, 9000, true);
        assert_eq!(p.last, 1);
        for n in 2..12 {
            p.advance(9_000 - n * 100, n * 3000 + 3000, false);
        }
        assert_eq!(p.last, 11 % MARKS);
    }

    #[test]
    fn pauses_do_not_count() {
        let mut p = Progress::begin(1000, 1000);
        p.pause(3000);
        p.resume(63_000);
        let s = p.summary(0, 65_000);
        assert_eq!(
            s,
            Summary {
                total_seconds: 64,
                paused_seconds: 60,
                rate_kib: 1000
            }
        );
    }

    #[test]
    fn a_resync_of_no_time_has_a_rate() {
        let p = Progress::begin(25, 500);
        assert_eq!(p.summary(5, 700).rate_kib, 80);
        assert_eq!(p.summary(0, 0).total_seconds, 1, "a clock that jumped back");
    }

    #[test]
    fn failed_bits_are_not_left() {
        let mut p = Progress::begin(10, 0);
        assert!(!p.is_done(4));
        p.add_failed(4);
        assert!(p.is_done(4));
        assert_eq!((p.left(3), p.left(9)), (0, 5));
    }

    #[test]
    fn the_recent_rate_is_that_of_the_last_seconds() {
        let mut p = Progress::begin(100_000, 0);
        p.advance(70_000, 3000, false);
        p.advance(64_000, 6000, false);
        // From the mark before the last: 6000 bits in three seconds, and nothing since.
        assert_eq!(p.recent_rate_kib(64_000, 6000), 2000 * 4);
    }

    #[test]
    fn the_text_is_what_a_stock_node_prints() {
        // 65496 KiB, the whole device of the stock transcript, halfway through after four seconds.
        let p = Progress::begin(16_374, 0);
        let mut out = std::string::String::new();
        p.text(false, 8187, Some(250), 4000)
            .write(&mut out)
            .unwrap();
        let expected = "\t[==========>.........] sync'ed: 56.3% (32748/65496)K\n\
                        \tfinish: 0:00:03 speed: 8,184 (8,184) want: 250 K/sec\n";
        assert_eq!(out, expected);
    }
}
