// SPDX-License-Identifier: GPL-2.0-only

//! Our driver and the stock one, alternately in the same two guests, as ratios.
//!
//! Wall-clock numbers of emulated guests on a shared machine mean little by themselves; a ratio of two measurements
//! that follow each other means more, and the instructions that both guests execute for each operation mean most. Each
//! round boots anew and measures both drivers on the same disks; the median of the rounds' ratios is printed.

#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

use clap::Parser;
use drbd_lab::{deadline, LabConfig};
use drbd_sim::progress;
use drbd_vm_tests::cluster::{source_logs, Cluster, Config, Module, Setup, Tools, DEVICE};
use drbd_vm_tests::{Error, Result};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A load: its name, fio's words for it, and how much of it is written where instructions are counted.
const LOADS: [(&str, &str, &str); 3] = [
    (
        "4 KiB random write, depth 1",
        "--rw=randwrite --bs=4k --iodepth=1",
        "4m",
    ),
    (
        "4 KiB random write, depth 32",
        "--rw=randwrite --bs=4k --iodepth=32",
        "32m",
    ),
    (
        "128 KiB sequential write, depth 4",
        "--rw=write --bs=128k --iodepth=4",
        "128m",
    ),
];
const SYNC: &str = "full sync";
const DISK_SIZE: u64 = 64 << 20;

/// Prints drbdrs / stock for each load.
///
/// Protocol C: throughput (above 1 is better), and the instructions that both guests execute and the processor time for
/// an operation (below 1 is better).
#[derive(Parser)]
#[command(name = "bench")]
struct Wish {
    /// Timed rounds of both drivers, each with a boot; two more count instructions.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Of each load.
    #[arg(long, value_name = "S", default_value_t = 8)]
    seconds: u64,
    /// Fail if the stock driver needs less than RATIO of our instructions for an operation.
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    at_least: f64,
    /// Stock against itself: what the noise is.
    #[arg(long, conflicts_with = "copies")]
    stock: bool,
    /// Ours against ours with `stable_buffers=N`: what the copies cost that keep data from changing in flight.
    #[arg(long)]
    copies: bool,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    Stock,
    Ours,
    /// Without the copies of what a program may change in flight.
    OursWithoutCopies,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Driver::Stock => "stock",
            Driver::Ours => "ours",
            Driver::OursWithoutCopies => "no copies",
        }
    }

    fn load(self, c: &Cluster, node: usize) -> Result<()> {
        let module = if self == Driver::Stock {
            Module::Stock
        } else {
            Module::Drbdrs
        };
        c.load(node, module)?;
        if self == Driver::OursWithoutCopies {
            c.sh(
                node,
                "echo N > /sys/module/drbdrs/parameters/stable_buffers",
            )?;
        }
        Ok(())
    }
}

impl Wish {
    /// What is compared with, and what is compared.
    fn drivers(&self) -> [Driver; 2] {
        match (self.stock, self.copies) {
            (true, _) => [Driver::Stock, Driver::Stock],
            (_, true) => [Driver::OursWithoutCopies, Driver::Ours],
            _ => [Driver::Stock, Driver::Ours],
        }
    }
}

/// Operations a second, and what each of them took.
#[derive(Clone, Copy)]
struct Measure {
    rate: f64,
    used: Used,
}

/// What both machines used.
#[derive(Clone, Copy)]
struct Used {
    /// Processor time, in seconds.
    cpu: f64,
    /// Instructions of the guests, in the round that counts them.
    instructions: f64,
    /// Frames on the link, both ways.
    frames: f64,
    /// Context switches.
    switches: f64,
}

impl Used {
    fn until_now(c: &Cluster) -> Result<Self> {
        let network = c.lab.network();
        let frames = network.traffic(0, 1).frames + network.traffic(1, 0).frames;
        let (mut switches, mut instructions) = (0.0, 0.0);
        for node in 0..2 {
            if let Some(count) = c.lab.node(node).instructions()? {
                instructions += count as f64;
            }
            let text = c.sh(node, "grep ctxt /proc/stat")?;
            let count = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
            switches += count.unwrap_or(0.0);
        }
        Ok(Self {
            cpu: cpu_seconds(c)?,
            instructions,
            frames: frames as f64,
            switches,
        })
    }

    /// What was used since then, for each of so many operations.
    fn since(c: &Cluster, then: &Self, operations: f64) -> Result<Self> {
        let now = Self::until_now(c)?;
        Ok(Self {
            cpu: (now.cpu - then.cpu) / operations,
            instructions: (now.instructions - then.instructions) / operations,
            frames: (now.frames - then.frames) / operations,
            switches: (now.switches - then.switches) / operations,
        })
    }
}

fn main() -> ExitCode {
    match bench(&Wish::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn bench(wish: &Wish) -> Result<bool> {
    let names: Vec<&str> = [SYNC]
        .into_iter()
        .chain(LOADS.iter().map(|(name, ..)| *name))
        .collect();
    let bar = progress::few(wish.rounds as u64 + 2, "rounds");
    let done = |what: String| {
        bar.suspend(|| eprintln!("{what} done"));
        bar.inc(1);
    };
    let mut rounds = Vec::new();
    for number in 0..wish.rounds {
        rounds.push(round(wish, number, false)?);
        done(format!("round {} of {}", number + 1, wish.rounds));
    }
    let mut counted = Vec::new();
    for number in 0..2 {
        counted.push(round(wish, number, true)?);
        done(format!("count {} of 2", number + 1));
    }
    bar.finish_and_clear();
    Ok(print(wish, &names, &rounds, &counted))
}

/// What the one driver needs, and what the other.
type Round = [Vec<Measure>; 2];

/// Boots two nodes and measures both drivers in them, one after the other.
fn round(wish: &Wish, number: usize, counted: bool) -> Result<Round> {
    let setup = Setup::new(Module::Stock, Module::Stock, Tools::Stock);
    let mut lab = LabConfig::pair(DISK_SIZE);
    for node in &mut lab.nodes {
        node.detectors = false;
        node.counted = counted;
        node.disks = node.disks.drain(..).map(|disk| disk.plain()).collect();
    }
    let config = Config {
        disk: "al-extents 1237;".into(),
        // A busy host keeps a guest from answering for longer than the half second of the default.
        net: "ping-timeout 50;".into(),
        ..Config::default()
    };
    let c = Cluster::start_with(
        setup,
        &source_logs(&format!("bench-{}", number + 1)),
        lab,
        &config.text(),
    )?;
    (0..2).try_for_each(|node| c.unload(node))?;
    let length = (!counted).then_some(wish.seconds);
    // Who is first changes, so that what drifts favours nobody.
    let [stock, ours] = wish.drivers();
    if number % 2 == 0 {
        let first = measure(&c, stock, length)?;
        Ok([first, measure(&c, ours, length)?])
    } else {
        let first = measure(&c, ours, length)?;
        Ok([measure(&c, stock, length)?, first])
    }
}

/// Prints the table; whether all ratios are as high as is wished.
fn print(wish: &Wish, names: &[&str], rounds: &[Round], counted: &[Round]) -> bool {
    let [base, other] = wish.drivers();
    let (base, other) = (base.name(), other.name());
    println!(
        "{:34} {:>12} {:>12} {:>6} {:>14} {:>13} {:>13} {:>5} {:>6} {:>13} {:>13}",
        "", base, other, "ratio", "(rounds)", "instructions", "", "", "cpu", "frames", "switches"
    );
    let mut good = true;
    for (index, name) in names.iter().enumerate() {
        let pick = |from: &[Round], pick: &dyn Fn(&Measure, &Measure) -> f64| -> Vec<f64> {
            from.iter()
                .map(|[stock, ours]| pick(&stock[index], &ours[index]))
                .collect()
        };
        let all = |what: &dyn Fn(&Measure, &Measure) -> f64| pick(rounds, what);
        let of = |what: &dyn Fn(&Measure, &Measure) -> f64| median(all(what));
        let executed = |driver: usize| {
            let all = counted
                .iter()
                .map(|round| round[driver][index].used.instructions);
            median(all.collect())
        };
        let (stock, ours) = (executed(0), executed(1));
        let ratios = all(&|stock, ours| ours.rate / stock.rate);
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        let unit = if *name == SYNC { "MiB/s" } else { "/s" };
        let pair = |stock: f64, ours: f64| format!("{stock:.1} {ours:>6.1}");
        println!(
            "{name:34} {:>6.0} {unit:<5} {:>6.0} {unit:<5} {:>6.2} {:>14} {:>11.0} k {:>11.0} k {:>5.2} {:>6.2} {:>13} {:>13}",
            of(&|stock, _| stock.rate),
            of(&|_, ours| ours.rate),
            median(ratios),
            if rounds.is_empty() {
                String::new()
            } else {
                format!("({low:.2} .. {high:.2})")
            },
            stock / 1e3,
            ours / 1e3,
            ours / stock,
            of(&|stock, ours| ours.used.cpu / stock.used.cpu),
            pair(of(&|stock, _| stock.used.frames), of(&|_, ours| ours.used.frames)),
            pair(of(&|stock, _| stock.used.switches), of(&|_, ours| ours.used.switches)),
        );
        good &= stock >= wish.at_least * ours;
    }
    println!(
        "ratio: of throughput, the median of the rounds and their range. For an operation (a MiB of the sync): instructions\n\
         of both guests, {base}, {other} and their ratio; cpu: the ratio of processor time; frames on the wire and switches\n\
         between threads, {base} and {other}."
    );
    if !good {
        println!(
            "{base} needs less than {} of the instructions of {other} for a load",
            wish.at_least
        );
    }
    good
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.get(middle.wrapping_sub(1))) {
        (Some(high), Some(low)) if values.len() % 2 == 0 => (high + low) / 2.0,
        (Some(value), _) => *value,
        _ => f64::NAN,
    }
}

/// Loads a driver on both nodes, measures a full sync and every load, for so many seconds or of the size to be counted, and
/// removes it again.
fn measure(c: &Cluster, driver: Driver, seconds: Option<u64>) -> Result<Vec<Measure>> {
    for node in 0..2 {
        driver.load(c, node)?;
        c.drbdadm(node, &["--", "--force", "create-md", "r0"])?;
        c.drbdadm(node, &["up", "r0"])?;
    }
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    let (before, start) = (Used::until_now(c)?, Instant::now());
    c.drbdadm(0, &["--", "--overwrite-data-of-peer", "primary", "r0"])?;
    loop {
        if c.state(0)?.mirrored() {
            break;
        }
        if start.elapsed() > deadline(300) {
            return Err(Error::new("the full sync does not end"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mib = (DISK_SIZE >> 20) as f64;
    let sync = Measure {
        rate: mib / start.elapsed().as_secs_f64(),
        used: Used::since(c, &before, mib)?,
    };
    let mut measures = vec![sync];
    for (_, words, size) in LOADS {
        let length = match seconds {
            Some(seconds) => format!("--time_based --ramp_time=1 --runtime={seconds}"),
            None => format!("--io_size={size}"),
        };
        measures.push(fio(c, words, &length)?);
        undisturbed(c, words)?;
    }
    for node in 0..2 {
        c.down(node)?;
        c.unload(node)?;
    }
    Ok(measures)
}

/// What was measured without the peer is no measure.
fn undisturbed(c: &Cluster, words: &str) -> Result<()> {
    for node in 0..2 {
        let lost = c.sh(node, "dmesg | grep -E 'conn\\( [A-Za-z]+ -> (Timeout|BrokenPipe|NetworkFailure|ProtocolError)' || true")?;
        if !lost.is_empty() {
            return Err(Error::new(format!(
                "n{} lost its peer under `{words}`: {lost}",
                node + 1
            )));
        }
    }
    Ok(())
}

fn fio(c: &Cluster, words: &str, length: &str) -> Result<Measure> {
    let line = format!(
        "fio --name=load --filename={DEVICE} --ioengine=libaio --direct=1 --size=48m --randrepeat=1 \
         --output-format=json {length} {words}"
    );
    let args: Vec<&str> = line.split_whitespace().collect();
    let before = Used::until_now(c)?;
    let output = c.lab.node(0).run_within(deadline(300), &args)?.success()?;
    let text = output.text();
    let json = text.find('{').and_then(|at| text.get(at..)).unwrap_or("");
    let report: serde_json::Value =
        serde_json::from_str(json).map_err(|e| Error::new(format!("fio's report: {e}")))?;
    let number = |path: &str| {
        report
            .pointer(path)
            .and_then(serde_json::Value::as_f64)
            .unwrap_or(0.0)
    };
    let (rate, operations) = (
        number("/jobs/0/write/iops"),
        number("/jobs/0/write/total_ios"),
    );
    if rate == 0.0 || operations == 0.0 {
        return Err(Error::new(format!("fio measured nothing:\n{text}")));
    }
    Ok(Measure {
        rate,
        used: Used::since(c, &before, operations)?,
    })
}

/// The processor time that both QEMUs have used, in seconds.
fn cpu_seconds(c: &Cluster) -> Result<f64> {
    let mut ticks = 0u64;
    for node in c.lab.nodes() {
        let pid = node.pid().ok_or_else(|| Error::new("a node is off"))?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name, which may hold anything: state is field 3, utime 14, stime 15.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let field = |n: usize| {
            fields
                .get(n - 3)
                .and_then(|f| f.parse::<u64>().ok())
                .unwrap_or(0)
        };
        ticks += field(14) + field(15);
    }
    // Linux counts in hundredths of a second, whatever its timer does.
    Ok(ticks as f64 / 100.0)
}
