// SPDX-License-Identifier: GPL-2.0-only

//! The controller behind a simulated link: what it settles at, measured.

use super::*;
use std::collections::VecDeque;

/// A peer that answers no earlier than `latency` turns after the request, and so many sectors a turn.
struct Link {
    capacity: u64,
    latency: usize,
    requests: VecDeque<(usize, u64)>,
}

/// Means over some turns.
#[derive(Debug)]
struct Measured {
    /// Sectors that arrived in a turn.
    arrived: u64,
    /// Sectors requested and not arrived, at the beginning of a turn.
    in_flight: u64,
}

impl Link {
    fn new(capacity: u64, latency: usize) -> Self {
        Self {
            capacity,
            latency,
            requests: VecDeque::new(),
        }
    }

    fn arrivals(&mut self, turn: usize) -> u64 {
        let mut left = self.capacity;
        while let Some((asked, sectors)) = self.requests.front_mut() {
            if turn < *asked + self.latency || left == 0 {
                break;
            }
            let part = left.min(*sectors);
            left -= part;
            *sectors -= part;
            if *sectors == 0 {
                self.requests.pop_front();
            }
        }
        self.capacity - left
    }

    /// Runs the turns, and measures the last 100 of them.
    fn run(
        &mut self,
        c: &mut Controller,
        rates: &Rates,
        turns: core::ops::Range<usize>,
    ) -> Measured {
        let (mut arrived, mut in_flight) = (0, 0);
        let measured = turns.end - 100..turns.end;
        for turn in turns {
            let now = self.arrivals(turn);
            let blocks = c.tick(u32::try_from(now).unwrap(), rates, 1 << 20);
            if measured.contains(&turn) {
                arrived += now;
                in_flight += c.in_flight_sectors();
            }
            c.requested(blocks);
            if blocks > 0 {
                self.requests.push_back((turn, u64::from(blocks) * 8));
            }
        }
        Measured {
            arrived: arrived / 100,
            in_flight: in_flight / 100,
        }
    }
}

const RATES: Rates = Rates {
    resync_rate_kib: 250,
    plan_ahead_ds: 20,
    fill_target_sectors: 2000,
    delay_target_ds: 10,
    max_rate_kib: 1 << 20,
    min_rate_kib: 0,
};

fn near(value: u64, target: u64, percent: u64) -> bool {
    value.abs_diff(target) * 100 <= target * percent
}

#[test]
fn it_converges_to_the_fill_target_at_the_links_speed() {
    for (capacity, latency) in [(200, 1), (400, 2), (1000, 1)] {
        let mut c = Controller::new();
        let measured = Link::new(capacity, latency).run(&mut c, &RATES, 0..600);
        assert!(
            near(measured.arrived, capacity, 5),
            "{capacity}: {measured:?}"
        );
        assert!(
            near(measured.in_flight, 2000, 10),
            "{capacity}: {measured:?}"
        );
    }
}

#[test]
fn it_converges_to_the_delay_target() {
    let rates = Rates {
        fill_target_sectors: 0,
        ..RATES
    };
    for delay_target_ds in [5, 10, 20] {
        let rates = Rates {
            delay_target_ds,
            ..rates
        };
        let capacity = 400;
        let mut c = Controller::new();
        let measured = Link::new(capacity, 1).run(&mut c, &rates, 0..1500);
        assert!(near(measured.arrived, capacity, 5), "{measured:?}");
        // What is on its way needs that long to arrive.
        let delay_ds = measured.in_flight / capacity;
        assert!(
            near(delay_ds, u64::from(delay_target_ds), 20),
            "{delay_target_ds}: {measured:?}"
        );
    }
}

#[test]
fn it_follows_a_link_that_changes() {
    let mut c = Controller::new();
    let mut link = Link::new(800, 1);
    link.run(&mut c, &RATES, 0..600);
    link.capacity = 200;
    let slower = link.run(&mut c, &RATES, 600..1000);
    assert!(near(slower.arrived, 200, 5), "{slower:?}");
    assert!(near(slower.in_flight, 2000, 10), "{slower:?}");
    link.capacity = 1200;
    let faster = link.run(&mut c, &RATES, 1000..1600);
    assert!(near(faster.arrived, 1200, 5), "{faster:?}");
}

#[test]
fn it_keeps_to_the_maximum_on_a_fast_link() {
    let rates = Rates {
        max_rate_kib: 2000,
        ..RATES
    };
    let mut c = Controller::new();
    let measured = Link::new(100_000, 1).run(&mut c, &rates, 0..600);
    // 2000 KiB/s are 400 sectors a turn.
    assert!(near(measured.arrived, 400, 5), "{measured:?}");
}
