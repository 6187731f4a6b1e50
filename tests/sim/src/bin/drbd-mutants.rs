// SPDX-License-Identifier: GPL-2.0-only

//! `drbd-mutants [--again] [--sim-only] [NAME...]`: puts one bug after the other into a copy of the source, and lets the
//! unit tests of the core and the simulator look for it; with `--sim-only` the simulator alone.
//!
//! What was tried is noted in `.build/mutants/results` (`results-sim`), and tried again only when the bug has changed (or
//! with `--again`). Nothing counts unless both are content with the source as it is. The last line is
//! `N of M mutations killed`; the one before counts those that are modelled on bugs of DRBD.

#[macro_use]
extern crate drbd_say;

use clap::Parser;
use drbd_sim::mutations::{table, Change, Mutation};
use drbd_sim::progress;
use indicatif::ProgressBar;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Seeds, in growing portions, and a mode.
const SEEDS: [(u32, u32, &str); 4] = [
    (1, 300, ""),
    (301, 3_000, ""),
    (3_301, 20_000, ""),
    (1, 4_000, "--two-primaries"),
];
/// A bug that makes a test or a run endless is noticed, too.
const PATIENCE: Duration = Duration::from_secs(900);

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A copy of what git knows of.
fn copy(to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let script = "git ls-files -z .cargo drbdrs/core tests tools scripts | tar --null -T - -cf - | tar -xmf - -C \"$0\"";
    let status = Command::new("bash")
        .args(["-ceu", script])
        .arg(to)
        .current_dir(top())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("copying the source failed: {other:?}")),
    }
}

enum Ran {
    Good,
    Bad,
    Late,
}

fn run(tree: &Path, program: &str, arguments: &[&str]) -> Ran {
    let begun = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .current_dir(tree)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return Ran::Bad;
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ran::Good,
            Ok(Some(_)) | Err(_) => return Ran::Bad,
            Ok(None) if begun.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Ran::Late;
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn cargo(tree: &Path, arguments: &[&str]) -> Ran {
    run(tree, "scripts/cargo", arguments)
}

/// Who noticed the bug; none: nobody did. The unit tests come first, because they take seconds.
fn hunt(tree: &Path, sim_only: bool) -> Result<Option<String>, String> {
    let noticed = if sim_only { None } else { unit_tests(tree)? };
    match noticed {
        None => schedules(tree),
        by => Ok(by),
    }
}

fn unit_tests(tree: &Path) -> Result<Option<String>, String> {
    let build = [
        "test",
        "--quiet",
        "--no-run",
        "--lib",
        "--package",
        "drbd_core",
    ];
    if !matches!(cargo(tree, &build), Ran::Good) {
        return Err("it does not compile".into());
    }
    let tests = ["test", "--quiet", "--lib", "--package", "drbd_core"];
    Ok(match cargo(tree, &tests) {
        Ran::Good => None,
        Ran::Bad => Some("unit tests".into()),
        Ran::Late => Some("unit tests, which do not end".into()),
    })
}

fn schedules(tree: &Path) -> Result<Option<String>, String> {
    let build = ["build", "--release", "--quiet", "--package", "drbd-sim"];
    if !matches!(cargo(tree, &build), Ran::Good) {
        return Err("the simulator does not compile".into());
    }
    let simulator = tree.join(".build/cargo/release/drbd-sim");
    for (from, count, mode) in SEEDS {
        let (count, from) = (count.to_string(), from.to_string());
        let mut arguments = vec![&*count, "--from", &*from, "--until-first"];
        arguments.extend(mode.split_whitespace());
        match run(tree, &simulator.to_string_lossy(), &arguments) {
            Ran::Good => {}
            Ran::Bad => {
                let by = format!("simulator, before seed {from} + {count} {mode}");
                return Ok(Some(by.trim_end().into()));
            }
            Ran::Late => return Ok(Some("simulator, which does not end".into())),
        }
    }
    Ok(None)
}

fn try_one(tree: &Path, bug: &Mutation, sim_only: bool) -> Result<Option<String>, String> {
    let read = |change: &Change| {
        fs::read_to_string(tree.join(&change.path))
            .map_err(|error| format!("{}: {error}", bug.name))
    };
    let write = |change: &Change, text: &str| {
        fs::write(tree.join(&change.path), text).map_err(|error| error.to_string())
    };
    let before: Vec<_> = bug.changes.iter().map(read).collect::<Result<_, _>>()?;
    // Two changes may be of one file.
    let made = bug
        .changes
        .iter()
        .try_for_each(|change| write(change, &change.apply(&read(change)?)?));
    let found = made.and_then(|()| hunt(tree, sim_only));
    for (change, source) in bug.changes.iter().zip(&before) {
        write(change, source)?;
    }
    found
}

/// Name and digest of what was tried, and who noticed.
fn read_results(path: &Path) -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let fields = |line: &str| {
        let mut words = line.splitn(3, '\t').map(String::from);
        Some((words.next()?, (words.next()?, words.next()?)))
    };
    text.lines().filter_map(fields).collect()
}

/// Puts one bug after the other into a copy of the source, and lets the simulator and the unit tests look for it.
#[derive(Parser)]
#[command(name = "drbd-mutants")]
struct Line {
    /// Also those that were tried before.
    #[arg(long)]
    again: bool,
    /// Without the unit tests: what the simulator sees by itself.
    #[arg(long)]
    sim_only: bool,
    /// The bugs (all).
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

fn main() {
    let Line {
        again,
        sim_only,
        names,
    } = Line::parse();
    let work = top().join(".build/mutants");
    let noted = work.join(if sim_only { "results-sim" } else { "results" });
    let tree = work.join("tree");
    if let Err(error) = copy(&tree) {
        eprintln!("{error}");
        std::process::exit(2);
    }
    match hunt(&tree, sim_only) {
        Ok(None) => {}
        other => {
            eprintln!("the source without a bug is not accepted either: {other:?}");
            std::process::exit(2);
        }
    }
    let results = read_results(&noted);
    let list = table();
    let bar = progress::few(list.len() as u64, "bugs");
    let mut tries = Tries {
        tree,
        noted,
        sim_only,
        results,
        bar,
    };
    let (mut killed, mut survivors) = (Vec::new(), Vec::new());
    for (at, bug) in list.iter().enumerate() {
        tries.bar.set_position(at as u64);
        let digest = format!("{:016x}", bug.digest());
        let wanted = names.is_empty() || names.contains(&bug.name);
        let known = tries.results.get(&bug.name).filter(|(of, _)| *of == digest);
        let by = match known {
            Some((_, by)) if !(again && wanted) => by.clone(),
            _ if !wanted => continue,
            _ => tries.one(at + 1, list.len(), bug, digest),
        };
        match by.as_str() {
            "-" => survivors.push((bug, "nobody noticed")),
            by if by.starts_with('!') => survivors.push((bug, "could not be tried")),
            _ => killed.push(bug),
        }
    }
    tries.bar.finish_and_clear();
    for (bug, what) in &survivors {
        println!("{what}: {}: {}", bug.name, bug.why);
    }
    let of_drbd = |bugs: &[&Mutation]| bugs.iter().filter(|bug| !bug.drbd.is_empty()).count();
    let left: Vec<_> = survivors.iter().map(|(bug, _)| *bug).collect();
    let (modelled, missed) = (of_drbd(&killed), of_drbd(&left));
    println!(
        "{modelled} of {} that are modelled on bugs of DRBD",
        modelled + missed
    );
    let (killed, tried) = (killed.len(), killed.len() + left.len());
    println!("{killed} of {tried} mutations killed");
    std::process::exit(i32::from(killed * 100 < tried * 95));
}

/// What is tried, and was.
struct Tries {
    tree: PathBuf,
    noted: PathBuf,
    sim_only: bool,
    /// By name: digest, and who noticed.
    results: BTreeMap<String, (String, String)>,
    bar: ProgressBar,
}

impl Tries {
    /// Tries a bug, says and notes who noticed.
    fn one(&mut self, number: usize, of: usize, bug: &Mutation, digest: String) -> String {
        let begun = Instant::now();
        self.bar.set_message(bug.name.clone());
        let by = match try_one(&self.tree, bug, self.sim_only) {
            Ok(Some(by)) => by,
            Ok(None) => "-".into(),
            Err(error) => format!("! {error}"),
        };
        let seconds = begun.elapsed().as_secs();
        self.bar
            .suspend(|| println!("{number:3} of {of}  {:28} {by} ({seconds} s)", bug.name));
        self.results.insert(bug.name.clone(), (digest, by.clone()));
        let lines = self.results.iter();
        let lines = lines.map(|(name, (digest, by))| format!("{name}\t{digest}\t{by}\n"));
        if let Err(error) = fs::write(&self.noted, lines.collect::<String>()) {
            let noted = self.noted.display();
            self.bar.suspend(|| eprintln!("{noted}: {error}"));
        }
        by
    }
}
