// SPDX-License-Identifier: GPL-2.0-only

//! Runs scenarios, a few at a time: one line for each, a last line with the counts, logs under `.build/vm`.

use crate::cluster::{Setup, LAST_WORDS_FILE};
use clap::Parser;
use drbd_lab::image::source_tree;
use drbd_lab::Result;
use drbd_sim::progress;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// A scenario: who may play it, and how.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The setups that `make test` runs it in.
    pub setups: &'static [Setup],
    /// The setups that only `make test-long` runs it in.
    pub long: &'static [Setup],
    /// Whether the stock driver on both nodes can play it.
    pub control: bool,
    /// Whether something fails in it: then it is played with the stock driver as the peer on either side.
    pub fault: bool,
    /// The scenario: the setup, and the folder for its logs.
    pub run: fn(Setup, &Path) -> Result<()>,
}

/// Runs the scenarios on virtual machines.
#[derive(Clone, Debug, Parser)]
#[command(name = "drbd-vm-tests")]
pub struct Wish {
    /// Only those whose name, NAME[N1+N2,TOOLS], contains every FILTER.
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Also with the stock driver and tools on both nodes.
    #[arg(long)]
    pub control: bool,
    /// Also the setups that take too long for every change.
    #[arg(long)]
    pub long: bool,
    /// The scenarios in which something fails, and no others, with the stock driver as the first node and as the second.
    #[arg(long, conflicts_with = "long")]
    pub faults: bool,
    /// Not those that passed in the run before.
    #[arg(long)]
    pub resume: bool,
    /// How many are played at the same time: each has guests of its own, and waits most of the time.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub jobs: usize,
    /// Only say which.
    #[arg(long)]
    pub list: bool,
}

fn results() -> PathBuf {
    source_tree().join(".build/vm/results")
}

/// The setups in which a scenario is wished for.
fn setups(scenario: &Scenario, wish: &Wish) -> Vec<Setup> {
    let both = scenario.setups.iter().chain(scenario.long).copied();
    if wish.faults {
        let mixed = |setup: &Setup| setup.modules[0] != setup.modules[1];
        return both.filter(|s| scenario.fault && mixed(s)).collect();
    }
    let control = Setup::new(
        crate::Module::Stock,
        crate::Module::Stock,
        crate::Tools::Stock,
    );
    let long = scenario.long.iter().filter(|_| wish.long);
    let control = (wish.control && scenario.control).then_some(control);
    scenario
        .setups
        .iter()
        .chain(long)
        .copied()
        .chain(control)
        .collect()
}

/// How many fault scenarios passed with the stock driver on which side.
#[derive(Default)]
struct Faults {
    names: HashSet<&'static str>,
    first: u32,
    second: u32,
}

impl Faults {
    fn passed(&mut self, name: &'static str, setup: Setup) {
        self.names.insert(name);
        if setup.modules[0] == crate::Module::Stock {
            self.first += 1;
        } else {
            self.second += 1;
        }
    }

    fn say(&self) {
        println!(
            "{} fault scenarios passed with stock 8.4.11 as the peer: {} with it as the first node, {} as the second",
            self.names.len(),
            self.first,
            self.second
        );
    }
}

/// Runs what is wished for; true if nothing failed.
pub fn run(scenarios: &[Scenario], wish: &Wish) -> Result<bool> {
    fs::create_dir_all(source_tree().join(".build/vm"))?;
    let before = fs::read_to_string(results()).unwrap_or_default();
    let passed_before: HashSet<&str> = before
        .lines()
        .filter_map(|l| l.strip_suffix(" ok"))
        .collect();
    let (mut plan, mut filtered) = (Vec::new(), 0);
    for scenario in scenarios {
        for setup in setups(scenario, wish) {
            let name = format!("{}[{setup}]", scenario.name);
            let wanted = wish.filters.iter().all(|f| name.contains(f.as_str()));
            if wanted && !(wish.resume && passed_before.contains(name.as_str())) {
                plan.push((name, scenario, setup));
            } else {
                filtered += 1;
            }
        }
    }
    if wish.list {
        plan.iter().for_each(|(name, ..)| println!("{name}"));
        return Ok(true);
    }
    let mut record = OpenOptions::new();
    record.create(true).append(true);
    if !wish.resume {
        fs::write(results(), "")?;
    }
    let count = plan.len();
    println!("\nrunning {count} tests");
    let played = Played {
        start: Instant::now(),
        bar: progress::few(count as u64, "scenarios"),
        next: AtomicUsize::new(0),
        said: Mutex::new(Said {
            record: record.open(results())?,
            failures: Vec::new(),
            faults: Faults::default(),
        }),
        plan,
    };
    thread::scope(|scope| {
        for _ in 0..wish.jobs.clamp(1, count.max(1)) {
            scope.spawn(|| played.some());
        }
    });
    Ok(played.result(wish, filtered))
}

/// One entry of the plan: its name, and what to play in which setup.
type Entry<'a> = (String, &'a Scenario, Setup);

/// What the threads that play the plan share.
struct Played<'a> {
    plan: Vec<Entry<'a>>,
    /// The first entry that nobody has taken.
    next: AtomicUsize,
    start: Instant,
    bar: progress::ProgressBar,
    said: Mutex<Said>,
}

/// What came of the entries that were played.
struct Said {
    record: File,
    failures: Vec<String>,
    faults: Faults,
}

impl Played<'_> {
    /// Takes entries until none is left.
    fn some(&self) {
        while let Some(entry) = self.plan.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let (name, scenario, setup) = entry;
            let logs = source_tree().join(".build/vm").join(name);
            let begin = Instant::now();
            self.bar.set_message(name.clone());
            // A scenario that panics has failed, no more.
            let result = catch_unwind(AssertUnwindSafe(|| (scenario.run)(*setup, &logs)));
            let failure = match result {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(e.to_string()),
                Err(_) => Some("it panicked; the message is above".to_owned()),
            };
            self.note(entry, &logs, begin.elapsed().as_secs_f64(), failure);
        }
    }

    fn note(&self, entry: &Entry<'_>, logs: &Path, seconds: f64, failure: Option<String>) {
        let (name, scenario, setup) = entry;
        // A thread that panicked while it held this would have failed to write a line.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let word = if failure.is_none() { "ok" } else { "FAILED" };
        self.bar
            .suspend(|| println!("test {name} ... {word} ({seconds:.1} s)"));
        self.bar.inc(1);
        if let Err(e) = writeln!(said.record, "{name} {word}") {
            self.bar
                .suspend(|| eprintln!("{}: {e}", results().display()));
        }
        let Some(text) = failure else {
            said.faults.passed(scenario.name, *setup);
            return;
        };
        let last = fs::read_to_string(logs.join(LAST_WORDS_FILE)).unwrap_or_default();
        let logs = logs.display();
        self.bar
            .suspend(|| println!("{text}\nlogs of this scenario: {logs}\n{last}"));
        said.failures.push(name.clone());
    }

    /// Says how it went; true if nothing failed.
    fn result(self, wish: &Wish, filtered: u32) -> bool {
        self.bar.finish_and_clear();
        let Said {
            failures, faults, ..
        } = self
            .said
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if !failures.is_empty() {
            println!("\nfailures:\n    {}", failures.join("\n    "));
        }
        let word = if failures.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {filtered} filtered out; \
             finished in {:.2}s\n",
            self.plan.len() - failures.len(),
            failures.len(),
            self.start.elapsed().as_secs_f64()
        );
        if wish.faults {
            faults.say();
        }
        failures.is_empty()
    }
}
