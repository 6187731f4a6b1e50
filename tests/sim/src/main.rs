// SPDX-License-Identifier: GPL-2.0-only

//! Plays COUNT seeds, and says what was violated; or one seed, with everything that happens.

#[macro_use]
extern crate drbd_say;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::Parser;
use drbd_core::config::choices::Protocol;
use drbd_sim::progress;
use drbd_sim::world::{run, Config, Fault, Report, FAULTS};
use indicatif::ProgressBar;
use std::{
    panic,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// A run in which a panic is a violation, too.
fn play(config: Config) -> Report {
    panic::catch_unwind(|| run(config, false)).unwrap_or_else(|why| Report {
        faults: vec![0; FAULTS.len()],
        violation: Some(match why.downcast_ref::<String>() {
            Some(text) => format!("panic: {text}"),
            None => format!("panic: {:?}", why.downcast_ref::<&str>()),
        }),
        ..Report::default()
    })
}

/// What a violation is about, without its numbers.
fn kind_of(report: &Report) -> Option<String> {
    let words = report.violation.as_ref()?.split([':', '{']).take(2);
    let letters = |word: &str| word.replace(|c: char| !c.is_alphabetic(), "");
    Some(words.map(letters).collect())
}

/// Fewer faults and fewer steps that still violate the same.
fn shrink(mut config: Config) -> Config {
    let kind = kind_of(&play(config));
    for (fault, _) in FAULTS {
        let fewer = Config {
            without: config.without | 1 << *fault as u32,
            ..config
        };
        if kind_of(&play(fewer)) == kind {
            config = fewer;
        }
    }
    while config.steps > 20 {
        let Some(fewer) = [2, 4, 10, 20]
            .map(|part| Config {
                steps: config.steps - (config.steps / part).max(1),
                ..config
            })
            .into_iter()
            .find(|&fewer| kind_of(&play(fewer)) == kind)
        else {
            break;
        };
        config = fewer;
    }
    config
}

fn show(config: Config) {
    let small = shrink(config);
    let report = play(small);
    let what = report.violation.unwrap_or_default();
    let Config {
        seed,
        steps,
        without,
        protocol,
        two_primaries,
    } = small;
    let both = if two_primaries {
        " --two-primaries"
    } else {
        ""
    };
    let mode = format!("--protocol {protocol:?}{both}");
    println!("seed {seed}: {what}");
    println!(
        "    again: drbd-sim --seed {seed} --steps {steps} --without {without} {mode} --trace"
    );
}

/// Plays seeds of the simulated cluster, and says what was violated; or one seed.
#[derive(Parser)]
#[command(name = "drbd-sim")]
struct Wish {
    /// How many seeds.
    #[arg(default_value_t = 50_000)]
    count: u64,
    /// The first of them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Not those behind the first that violates something.
    #[arg(long)]
    until_first: bool,
    /// In place of that of the seed.
    #[arg(long, value_parser = PossibleValuesParser::new(["A", "B", "C"]).map(protocol))]
    protocol: Option<Protocol>,
    /// Both nodes are Primary.
    #[arg(long)]
    two_primaries: bool,
    /// Only this one.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// In place of those of the seed.
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// A bit for each kind of fault that is left out.
    #[arg(long, value_name = "FAULTS", default_value_t = 0)]
    without: u32,
    /// Everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn protocol(name: String) -> Protocol {
    let known = [Protocol::A, Protocol::B];
    let named = known.into_iter().find(|known| known.name() == name);
    named.unwrap_or(Protocol::C)
}

impl Wish {
    fn config(&self, seed: u64) -> Config {
        let of_seed = Config::of(seed);
        Config {
            protocol: self.protocol.unwrap_or(of_seed.protocol),
            two_primaries: self.two_primaries,
            steps: self.steps.unwrap_or(of_seed.steps),
            without: self.without,
            ..of_seed
        }
    }
}

fn main() {
    let wish = Wish::parse();
    if let Some(seed) = wish.seed {
        let report = run(wish.config(seed), wish.trace);
        println!(
            "hash {:016x}, {} steps, {:?}",
            report.hash, report.steps, report.violation
        );
        return;
    }
    let of = |seed| wish.config(seed);
    std::process::exit(campaign(&of, wish.from, wish.count, wish.until_first));
}

/// The seeds that are still to be played.
struct Seeds {
    next: AtomicU64,
    end: u64,
    until_first: bool,
    bar: ProgressBar,
}

impl Seeds {
    /// Plays some of them, until there are none; what happened, and which violated something.
    fn play(&self, of: &impl Fn(u64) -> Config) -> (Report, Vec<u64>) {
        let mut sum = Report {
            faults: vec![0; FAULTS.len()],
            ..Report::default()
        };
        let mut bad = Vec::new();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return (sum, bad);
            }
            let report = play(of(seed));
            self.bar.inc(1);
            for (all, one) in sum.faults.iter_mut().zip(&report.faults) {
                *all += one;
            }
            sum.steps += report.steps;
            sum.ms += report.ms;
            if report.violation.is_some() {
                bad.push(seed);
                self.bar
                    .set_message(format!("seed {seed} violates something"));
                if self.until_first {
                    self.next.store(self.end, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Plays seeds, all of them or until one violates something.
fn campaign(of: &(impl Fn(u64) -> Config + Sync), from: u64, count: u64, until_first: bool) -> i32 {
    panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let seeds = Seeds {
        next: AtomicU64::new(from),
        end: from + count,
        until_first,
        bar: progress::many(count, "schedules"),
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| seeds.play(of)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("panics are caught"))
            .collect()
    });
    seeds.bar.finish_and_clear();
    let mut faults = vec![0; FAULTS.len()];
    let (mut bad, mut steps, mut ms) = (Vec::new(), 0, 0);
    for (sum, some) in parts {
        for (all, one) in faults.iter_mut().zip(&sum.faults) {
            *all += one;
        }
        steps += sum.steps;
        ms += sum.ms;
        bad.extend(some);
    }
    bad.sort_unstable();
    if until_first && !bad.is_empty() {
        println!("seed {bad:?} of {count}");
        return 1;
    }
    let mut missing = 0;
    for ((fault, name), times) in FAULTS.iter().zip(&faults) {
        println!("{times:12}  {name}");
        let possible = *fault != Fault::Overlap || of(from).two_primaries;
        missing += i32::from(*times == 0 && possible);
    }
    for &seed in bad.iter().take(10) {
        show(of(seed));
    }
    let seconds = begun.elapsed().as_secs();
    println!(
        "{steps} steps, {} simulated hours, {missing} kinds of fault that never happened",
        ms / 3_600_000
    );
    let total: u64 = faults.iter().sum();
    println!(
        "{count} schedules, {total} faults, {} violations in {seconds} s",
        bad.len()
    );
    // A few seeds need not meet everything.
    i32::from(!bad.is_empty() || (missing > 0 && count >= 10_000))
}
