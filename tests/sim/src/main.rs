// SPDX-License-Identifier: GPL-2.0-only

//! Plays COUNT seeds, and says what was violated; or one seed, with everything that happens. See [`USAGE`].

#[macro_use]
extern crate drbd_say;

use drbd_core::config::choices::Protocol;
use drbd_sim::world::{run, Config, Fault, Report, FAULTS};
use std::{
    panic,
    str::FromStr,
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

/// What the command line asks for.
#[derive(Default)]
struct Wish {
    count: Option<u64>,
    from: Option<u64>,
    until_first: bool,
    protocol: Option<Protocol>,
    two_primaries: bool,
    seed: Option<u64>,
    steps: Option<u32>,
    without: u32,
    trace: bool,
}

impl Wish {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wish = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match &*word {
                "--from" => wish.from = Some(number(&value()?)?),
                "--until-first" => wish.until_first = true,
                "--two-primaries" => wish.two_primaries = true,
                "--trace" => wish.trace = true,
                "--seed" => wish.seed = Some(number(&value()?)?),
                "--steps" => wish.steps = Some(number(&value()?)?),
                "--without" => wish.without = number(&value()?)?,
                "--protocol" => {
                    let name = value()?;
                    let known = [Protocol::A, Protocol::B, Protocol::C];
                    let protocol = known.into_iter().find(|known| known.name() == name);
                    wish.protocol =
                        Some(protocol.ok_or(format!("{name} is no protocol: A, B, C"))?);
                }
                _ if wish.count.is_none() => wish.count = Some(number(&word)?),
                _ => return Err(format!("{word} is one word too many")),
            }
        }
        Ok(wish)
    }

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

fn number<N: FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

const USAGE: &str = "usage: drbd-sim [COUNT] [--from N] [--until-first] [--protocol A|B|C] [--two-primaries]
       drbd-sim --seed N [--steps N] [--without FAULTS] [--protocol A|B|C] [--two-primaries] [--trace]";

fn main() {
    if std::env::args().any(|word| word == "--help") {
        println!("{USAGE}");
        return;
    }
    let wish = Wish::parse(std::env::args().skip(1)).unwrap_or_else(|why| {
        eprintln!("drbd-sim: {why}\n{USAGE}");
        std::process::exit(2);
    });
    if let Some(seed) = wish.seed {
        let report = run(wish.config(seed), wish.trace);
        println!(
            "hash {:016x}, {} steps, {:?}",
            report.hash, report.steps, report.violation
        );
        return;
    }
    let (count, from) = (wish.count.unwrap_or(50_000), wish.from.unwrap_or(1));
    let of = |seed| wish.config(seed);
    std::process::exit(campaign(&of, from, count, wish.until_first));
}

/// Plays seeds, all of them or until one violates something.
fn campaign(of: &(impl Fn(u64) -> Config + Sync), from: u64, count: u64, until_first: bool) -> i32 {
    panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let work = || {
        let mut sum = Report {
            faults: vec![0; FAULTS.len()],
            ..Report::default()
        };
        let mut bad = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return (sum, bad);
            }
            let report = play(of(seed));
            for (all, one) in sum.faults.iter_mut().zip(&report.faults) {
                *all += one;
            }
            sum.steps += report.steps;
            sum.ms += report.ms;
            if report.violation.is_some() {
                bad.push(seed);
                if until_first {
                    next.store(from + count, Ordering::Relaxed);
                }
            }
        }
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("panics are caught"))
            .collect()
    });
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
    let rare = show_faults(&faults, of(from).two_primaries, count);
    for &seed in bad.iter().take(10) {
        show(of(seed));
    }
    let seconds = begun.elapsed().as_secs();
    println!(
        "{steps} steps, {} simulated hours, {rare} kinds of fault that happened too rarely",
        ms / 3_600_000
    );
    let total: u64 = faults.iter().sum();
    println!(
        "{count} schedules, {total} faults, {} violations in {seconds} s",
        bad.len()
    );
    i32::from(!bad.is_empty() || rare > 0)
}

/// How often each kind of fault happened; says how many did too rarely: once in a hundred schedules is asked for, of many
/// schedules, else once at all. A few seeds need not meet everything.
fn show_faults(faults: &[u64], two_primaries: bool, count: u64) -> usize {
    let least = match count {
        100_000.. => count / 100,
        10_000.. => 1,
        _ => 0,
    };
    let mut list: Vec<_> = FAULTS.iter().zip(faults).collect();
    for ((_, name), times) in &list {
        println!("{times:12}  {name}");
    }
    list.retain(|((fault, _), _)| *fault != Fault::Overlap || two_primaries);
    if let Some(((_, name), times)) = list.iter().min_by_key(|(_, times)| **times) {
        println!("the rarest: {name}, {times} times");
    }
    list.iter().filter(|(_, times)| **times < least).count()
}
