// SPDX-License-Identifier: GPL-2.0-only

//! `drbd-sim [COUNT] [--from N] [--until-first] [--protocol A|B] [--two-primaries]`: plays COUNT seeds, and says what
//! was violated. With `--seed N [--steps N] [--without FAULTS] [--trace]`: one seed.

use drbd_core::config::choices::Protocol;
use drbd_sim::world::{run, Config, Fault, Report, FAULTS};
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

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| -> Option<u64> {
        let at = arguments.iter().position(|word| word == name)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let two_primaries = arguments.iter().any(|word| word == "--two-primaries");
    let has = |name: &str| {
        arguments
            .windows(2)
            .any(|words| words == ["--protocol", name])
    };
    let protocol = match (has("A"), has("B")) {
        (true, _) => Protocol::A,
        (_, true) => Protocol::B,
        _ => Protocol::C,
    };
    let of = move |seed| Config {
        protocol,
        two_primaries,
        ..Config::of(seed)
    };
    if let Some(seed) = number("--seed") {
        let config = Config {
            steps: number("--steps").map_or(Config::of(seed).steps, |steps| steps as u32),
            without: number("--without").unwrap_or(0) as u32,
            ..of(seed)
        };
        let report = run(config, arguments.iter().any(|word| word == "--trace"));
        println!(
            "hash {:016x}, {} steps, {:?}",
            report.hash, report.steps, report.violation
        );
        return;
    }
    let count = arguments
        .first()
        .and_then(|word| word.parse().ok())
        .unwrap_or(50_000);
    let from = number("--from").unwrap_or(1);
    let until_first = arguments.iter().any(|word| word == "--until-first");
    std::process::exit(campaign(&of, from, count, until_first));
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
