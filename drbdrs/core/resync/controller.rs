// SPDX-License-Identifier: GPL-2.0-only

//! How fast a resync goes: the dynamic controller, the fixed rate, and the throttle that yields to
//! applications.
//!
//! The controller keeps a wanted amount of data on its way: either `c-fill-target` sectors, or as much as
//! arrives in `c-delay-target`. The difference between what is wanted, what is on its way and what was
//! planned already is spread over the next `c-plan-ahead` turns; each turn then requests as much as arrived
//! plus its share of the correction. Rates are in KiB/s, a sector has 512 bytes, a block (bit) 4 KiB.

use crate::config::DiskConf;

/// The length of a turn.
pub const TURN_MS: u64 = 100;

/// `c-plan-ahead` is at most this many turns.
const MAX_STEPS: usize = 300;
const TURNS_PER_SECOND: i64 = 10;
const SECTORS_PER_KIB: i64 = 2;
const SECTORS_PER_BLOCK: i64 = 8;
const KIB_PER_BLOCK: i64 = 4;

/// The options that decide about the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// `resync-rate`: the fixed rate, or what the controller starts with.
    pub resync_rate_kib: u32,
    /// `c-plan-ahead` in tenths of a second; zero: the fixed rate.
    pub plan_ahead_ds: u32,
    /// `c-fill-target` in sectors; zero: `c-delay-target` counts.
    pub fill_target_sectors: u32,
    /// `c-delay-target` in tenths of a second.
    pub delay_target_ds: u32,
    /// `c-max-rate`
    pub max_rate_kib: u32,
    /// `c-min-rate`; zero: never yield to applications.
    pub min_rate_kib: u32,
}

impl From<&DiskConf> for Rates {
    fn from(conf: &DiskConf) -> Self {
        Self {
            resync_rate_kib: conf.resync_rate,
            plan_ahead_ds: conf.c_plan_ahead,
            fill_target_sectors: conf.c_fill_target,
            delay_target_ds: conf.c_delay_target,
            max_rate_kib: conf.c_max_rate,
            min_rate_kib: conf.c_min_rate,
        }
    }
}

/// The state of the rate control of one volume.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Corrections for the coming turns, a ring.
    plan: [i32; MAX_STEPS],
    steps: usize,
    head: usize,
    /// The sum of the plan.
    planned: i64,
    in_flight: i64,
    rate_kib: u32,
}

impl Default for Controller {
    fn default() -> Self {
        Self::new()
    }
}

impl Controller {
    /// Nothing on its way.
    pub const fn new() -> Self {
        Self {
            plan: [0; MAX_STEPS],
            steps: 0,
            head: 0,
            planned: 0,
            in_flight: 0,
            rate_kib: 0,
        }
    }

    /// A resync begins: nothing is on its way, nothing is planned.
    pub fn reset(&mut self) {
        self.plan = [0; MAX_STEPS];
        self.planned = 0;
        self.in_flight = 0;
    }

    /// The rate aimed at, for `want:`.
    pub fn rate_kib(&self) -> u32 {
        self.rate_kib
    }

    /// Sectors requested and not arrived.
    pub fn in_flight_sectors(&self) -> u64 {
        u64::try_from(self.in_flight).unwrap_or(0)
    }

    /// A turn: how many blocks to request, given the sectors that arrived since the last one.
    /// Never more than half of `max-buffers` (in pages) are on their way: the peer could stall on its buffers.
    pub fn tick(&mut self, arrived_sectors: u32, rates: &Rates, max_buffers: u32) -> u32 {
        let arrived = i64::from(arrived_sectors);
        self.in_flight = self.in_flight.saturating_sub(arrived);
        let steps = usize::try_from(rates.plan_ahead_ds)
            .unwrap_or(MAX_STEPS)
            .min(MAX_STEPS);
        if steps != self.steps {
            self.steps = steps;
            self.head = 0;
            self.plan = [0; MAX_STEPS];
            self.planned = 0;
        }
        let wanted = if steps == 0 {
            self.rate_kib = rates.resync_rate_kib;
            i64::from(rates.resync_rate_kib) / (KIB_PER_BLOCK * TURNS_PER_SECOND)
        } else {
            let blocks = self.correct(arrived, rates) / SECTORS_PER_BLOCK;
            let rate = blocks.saturating_mul(KIB_PER_BLOCK * TURNS_PER_SECOND);
            self.rate_kib = u32::try_from(rate).unwrap_or(u32::MAX);
            blocks
        };
        let room = i64::from(max_buffers / 2).saturating_sub(self.in_flight / SECTORS_PER_BLOCK);
        u32::try_from(wanted.min(room).max(0)).unwrap_or(u32::MAX)
    }

    /// So many blocks were requested after the last turn.
    pub fn requested(&mut self, blocks: u32) {
        let sectors = i64::from(blocks).saturating_mul(SECTORS_PER_BLOCK);
        self.in_flight = self.in_flight.saturating_add(sectors);
    }

    /// Sectors to request in this turn.
    fn correct(&mut self, arrived: i64, rates: &Rates) -> i64 {
        let steps = i64::try_from(self.steps).unwrap_or(1).max(1);
        let per_turn = |kib: u32| i64::from(kib) * SECTORS_PER_KIB / TURNS_PER_SECOND;
        let want = if self.in_flight.saturating_add(arrived) == 0 {
            per_turn(rates.resync_rate_kib).saturating_mul(steps)
        } else if rates.fill_target_sectors != 0 {
            i64::from(rates.fill_target_sectors)
        } else {
            arrived.saturating_mul(i64::from(rates.delay_target_ds))
        };
        let missing = want
            .saturating_sub(self.in_flight)
            .saturating_sub(self.planned);
        let share =
            i32::try_from(missing / steps).unwrap_or(if missing < 0 { i32::MIN } else { i32::MAX });
        for value in self.plan.iter_mut().take(self.steps) {
            *value = value.saturating_add(share);
        }
        self.planned = self
            .planned
            .saturating_add(i64::from(share).saturating_mul(steps));
        let now = self.take_planned();
        self.planned = self.planned.saturating_sub(now);
        let max = per_turn(rates.max_rate_kib);
        arrived.saturating_add(now).clamp(0, max)
    }

    fn take_planned(&mut self) -> i64 {
        let planned = match self.plan.get_mut(self.head) {
            Some(value) => core::mem::take(value),
            None => 0,
        };
        self.head = self.head.saturating_add(1);
        if self.head >= self.steps {
            self.head = 0;
        }
        i64::from(planned)
    }
}

/// Notices applications that use the disk beside the resync.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    last_events: i64,
}

impl Throttle {
    /// So many sectors are enough to count as somebody else's I/O.
    const NOTICEABLE_SECTORS: i64 = 64;

    /// A resync begins; `disk_sectors`: all that the disk has read and written until now.
    pub fn reset(&mut self, disk_sectors: u64) {
        self.last_events = i64::try_from(disk_sectors).unwrap_or(i64::MAX);
    }

    /// Should a request for the resync wait? Yes if applications use the disk and the resync is faster than
    /// `c-min-rate`. `resync_sectors`: what the resync itself submitted since [`Throttle::reset`];
    /// `application_waits`: somebody waits for the activity log; `rate_kib`: of the last seconds.
    pub fn yields(
        &mut self,
        disk_sectors: u64,
        resync_sectors: u64,
        application_waits: bool,
        rate_kib: u64,
        rates: &Rates,
    ) -> bool {
        if rates.min_rate_kib == 0 {
            return false;
        }
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let events = signed(disk_sectors).saturating_sub(signed(resync_sectors));
        let others = events.saturating_sub(self.last_events) > Self::NOTICEABLE_SECTORS;
        if !application_waits && !others {
            return false;
        }
        self.last_events = events;
        rate_kib > u64::from(rates.min_rate_kib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        resync_rate_kib: 250,
        plan_ahead_ds: 20,
        fill_target_sectors: 100,
        delay_target_ds: 10,
        max_rate_kib: 102_400,
        min_rate_kib: 250,
    };
    const BUFFERS: u32 = 2048;

    #[test]
    fn the_options_default_to_8_4s() {
        assert_eq!(Rates::from(&DiskConf::default()), RATES);
    }

    #[test]
    fn a_fixed_rate_is_that_rate() {
        let mut c = Controller::new();
        let rates = Rates {
            plan_ahead_ds: 0,
            resync_rate_kib: 33 * 1024,
            ..RATES
        };
        assert_eq!(c.tick(0, &rates, 100_000), 844);
        assert_eq!(c.rate_kib(), 33 * 1024);
    }

    #[test]
    fn the_first_turn_starts_with_the_resync_rate() {
        let mut c = Controller::new();
        // 50 sectors a turn are wanted over 20 turns; this turn's share of that.
        assert_eq!(c.tick(0, &RATES, BUFFERS), 6);
        assert_eq!(c.rate_kib(), 240);
    }

    /// A peer that can send 200 sectors a turn: that rate is reached, and no more than the fill target and one
    /// turn's worth wait at the peer.
    #[test]
    fn it_settles_at_what_the_peer_can_do() {
        let mut c = Controller::new();
        let mut arrived = 0;
        for turn in 0..600 {
            let blocks = c.tick(arrived, &RATES, BUFFERS);
            c.requested(blocks);
            arrived = u32::try_from(c.in_flight_sectors()).unwrap().min(200);
            if turn > 400 {
                assert!(
                    (160..=240).contains(&(blocks * 8)),
                    "turn {turn}: {blocks} blocks"
                );
                let waiting = c.in_flight_sectors();
                assert!(
                    (200..=400).contains(&waiting),
                    "turn {turn}: {waiting} on their way"
                );
            }
        }
    }

    #[test]
    fn it_never_exceeds_the_maximum_and_stops_when_nothing_arrives() {
        let rates = Rates {
            fill_target_sectors: 1 << 20,
            max_rate_kib: 4000,
            ..RATES
        };
        let mut c = Controller::new();
        for _ in 0..100 {
            let blocks = c.tick(800, &rates, 1 << 20);
            assert!(blocks <= 100, "4000 KiB/s are 100 blocks a turn");
            c.requested(blocks);
        }
        let mut c = Controller::new();
        let mut sum = 0;
        for _ in 0..1000 {
            let blocks = c.tick(0, &RATES, BUFFERS);
            c.requested(blocks);
            sum += blocks;
        }
        assert!(
            sum < 200,
            "{sum} blocks requested from a peer that sends nothing"
        );
    }

    #[test]
    fn half_of_the_buffers_bound_what_is_on_its_way() {
        let rates = Rates {
            plan_ahead_ds: 0,
            resync_rate_kib: 1 << 22,
            ..RATES
        };
        let mut c = Controller::new();
        let blocks = c.tick(0, &rates, 2000);
        assert_eq!(blocks, 1000);
        c.requested(blocks);
        assert_eq!(c.tick(0, &rates, 2000), 0);
        assert_eq!(c.tick(80, &rates, 2000), 10);
    }

    #[test]
    fn more_arrivals_than_requests_do_no_harm() {
        let mut c = Controller::new();
        for _ in 0..50 {
            c.tick(u32::MAX, &RATES, u32::MAX);
        }
        let wild = Rates {
            fill_target_sectors: 0,
            delay_target_ds: u32::MAX,
            ..RATES
        };
        for _ in 0..50 {
            c.tick(u32::MAX, &wild, 0);
            c.requested(u32::MAX);
        }
    }

    #[test]
    fn a_new_plan_length_forgets_the_old_plan() {
        let mut c = Controller::new();
        let blocks = c.tick(0, &RATES, BUFFERS);
        c.requested(blocks);
        let longer = Rates {
            plan_ahead_ds: 300,
            ..RATES
        };
        c.tick(8, &longer, BUFFERS);
        assert_eq!(c.steps, 300);
        let shorter = Rates {
            plan_ahead_ds: 1,
            ..RATES
        };
        for _ in 0..5 {
            c.tick(8, &shorter, BUFFERS);
        }
        assert_eq!((c.steps, c.head), (1, 0));
    }

    #[test]
    fn the_resync_yields_to_applications_down_to_the_minimum() {
        let mut t = Throttle::default();
        t.reset(1000);
        assert!(
            !t.yields(1064, 0, false, 9000, &RATES),
            "hardly anything happened"
        );
        assert!(t.yields(1065, 0, false, 9000, &RATES));
        assert!(!t.yields(1066, 0, false, 9000, &RATES), "nothing new since");
        assert!(
            !t.yields(3000, 1900, false, 9000, &RATES),
            "that was the resync itself"
        );
        assert!(t.yields(3000, 1900, true, 9000, &RATES));
        assert!(!t.yields(9000, 0, true, 250, &RATES), "slow enough");
        let never = Rates {
            min_rate_kib: 0,
            ..RATES
        };
        assert!(!t.yields(90_000, 0, true, 9000, &never));
    }
}

#[cfg(test)]
#[path = "tests_controller.rs"]
mod tests_link;
