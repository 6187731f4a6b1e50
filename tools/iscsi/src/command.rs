// SPDX-License-Identifier: GPL-2.0-only

//! What the commands do.

use std::fs;
use std::io;
use std::process::Command;

use clap::Parser as _;
use drbd_say::os_error;
use rustix::fs::{flock, FlockOperation};

use crate::allow::Allowed;
use crate::drbd::{Fencing, Replicated, DETECTION_DS};
use crate::line::{portal, Line, Options, Verb};
use crate::machine::Machine;
use crate::plan::{Plan, Unit, Wishes};
use crate::policy::{begins_anew, decide, Access, Decision, Rule, View};
use crate::proc::State;
use crate::steps::Step;
use crate::tree::{self, Tree};
use crate::{conf, follow, from_text, json, Planned};

/// Exit codes and what they mean.
pub const EXITS: &[(i32, &str)] = &[
    (0, "done"),
    (1, "wrong command line"),
    (10, "configuration refused; nothing was changed"),
    (20, "failed"),
];

/// A refusal: what is wrong, with the remedy.
pub(crate) type Answer<T> = Result<T, String>;

/// Runs a command line; the exit code: 0 done, 1 wrong usage, 10 configuration refused, 20 failed.
pub fn main(args: &[String]) -> i32 {
    let words = std::iter::once("drbd-iscsi").chain(args.iter().map(String::as_str));
    let Line { verb, options } = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(told) if told.use_stderr() => {
            // There is nobody else to tell.
            let _ = told.print();
            return 1;
        }
        Err(help) => {
            drbd_say::printed(help.print());
            return 0;
        }
    };
    let done = match verb {
        Verb::Plan => plan(&options),
        Verb::Json => load(&options).map(|planned| print!("{}", json::saveconfig(&planned.plan))),
        Verb::Apply => locked(&options, || apply(&options)),
        Verb::Remove => locked(&options, || remove(&options)),
        Verb::Status => status(&options),
        Verb::Follow => follow::run(&options),
        Verb::WaitTurn => follow::wait_turn(&options),
        Verb::Active => locked(&options, || switch(&options, Access::Active)),
        Verb::Standby => locked(&options, || switch(&options, Access::Standby)),
    };
    match done {
        Ok(()) => 0,
        Err(problem) => {
            eprintln!("drbd-iscsi: {problem}");
            if problem.starts_with("configuration") {
                10
            } else {
                20
            }
        }
    }
}

/// The kernel's tree, or the one in a folder that is there.
fn tree(options: &Options) -> Answer<Tree> {
    let root = options.root.as_deref();
    match root.filter(|root| *root != tree::KERNEL && !std::path::Path::new(root).is_dir()) {
        Some(root) => Err(format!("--root: there is no folder {root}: mkdir {root}")),
        None => Ok(Tree::new(root)),
    }
}

/// Runs what changes something, one at a time.
pub(crate) fn locked<T>(options: &Options, work: impl FnOnce() -> Answer<T>) -> Answer<T> {
    let tree = tree(options)?;
    if !tree.is_kernel() {
        return work();
    }
    let path = "/run/drbd-iscsi.lock";
    let file = fs::File::create(path).map_err(|e| format!("{path}: {}", os_error(&e)))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|e| format!("{path}: {}", os_error(&e.into())))?;
    work()
}

/// Reads both configurations and plans. What there is to say about them is printed.
pub(crate) fn load(options: &Options) -> Answer<Planned> {
    let candidates = match &options.config {
        Some(path) => vec![path.as_str()],
        None => vec!["/etc/iet/ietd.conf", "/etc/ietd.conf"],
    };
    let found = candidates.iter().find(|path| fs::metadata(path).is_ok());
    let path = found.ok_or_else(|| {
        format!(
            "no configuration: there is no {}; --config says where it is",
            candidates.join(" and no ")
        )
    })?;
    let bytes = fs::read(path).map_err(|e| format!("{path}: {}", os_error(&e)))?;
    let text = String::from_utf8_lossy(&bytes);
    let wishes = Wishes {
        mirrors: conf::read(options.drbd_conf.as_deref(), options.node.as_deref())?,
        machine: machine(options),
        node: options.node.as_ref().and_then(|node| node.parse().ok()),
        portals: options.portals.clone(),
        both_active: options.both_active,
        allowed: Allowed::read(options.initiators.as_deref(), path)?,
    };
    let planned = from_text(path, &text, &wishes);
    eprint!("{}", planned.report());
    if planned.is_broken(options.strict) {
        return Err("configuration refused; nothing was changed".to_owned());
    }
    Ok(planned)
}

/// Where the devices are: in a folder, if that has a `sys`.
fn machine(options: &Options) -> Machine {
    let root = options.root.as_deref().filter(|root| *root != tree::KERNEL);
    match root.map(std::path::Path::new) {
        Some(root) if root.join("sys").is_dir() => Machine::in_folder(root),
        _ => Machine::here(),
    }
}

/// How the mirrors are.
pub(crate) fn proc_drbd(options: &Options) -> Answer<State> {
    State::read(options.proc_drbd.as_deref().unwrap_or("/proc/drbd"))
}

/// Decides who serves a unit; `None` if it is not a mirror.
fn decision(options: &Options, tree: &Tree, state: &State, unit: &Unit) -> Option<Decision> {
    let device = unit.replicated.as_ref()?;
    // What was exported with other locks was exported by another rule, which the peer may still go by.
    let same = tree.has_locks(&unit.backstore()) == Some(unit.locks);
    let view = View {
        mirror: state.known(device.minor),
        exported: tree.access(&unit.backstore()).filter(|_| same),
        both_active: options.both_active && device.two_primaries,
        fenced: device.fencing == Fencing::ResourceAndStonith,
        first: unit.group == 1,
    };
    Some(decide(&view, || {
        follow::probe(device, &peer_portals(options, device))
    }))
}

/// Where the peers of a device listen for initiators.
pub(crate) fn peer_portals(options: &Options, device: &Replicated) -> Vec<String> {
    if !options.peer_portals.is_empty() {
        return options.peer_portals.clone();
    }
    let peers = device.peers.iter();
    peers.filter_map(|peer| portal(peer).ok()).collect()
}

/// Fills in who serves; units that must not be exported here go. Says why.
fn settle(options: &Options, tree: &Tree, plan: &mut Plan) -> Answer<Vec<String>> {
    let state = proc_drbd(options)?;
    let mut said = Vec::new();
    for export in &mut plan.exports {
        export.units.retain_mut(|unit| {
            let Some(decision) = decision(options, tree, &state, unit) else {
                return true;
            };
            let reason = decision.rule.reason();
            let Some(access) = decision.access else {
                said.push(format!("{}: not exported: {reason}", unit.path));
                return false;
            };
            said.push(format!("{}: {access}: {reason}", unit.path));
            unit.access = access;
            true
        });
    }
    plan.exports.retain(|export| !export.units.is_empty());
    Ok(said)
}

fn plan(options: &Options) -> Answer<()> {
    let mut planned = load(options)?;
    let tree = tree(options)?;
    if planned.plan.exports.is_empty() {
        println!(
            "no targets: {} has no line 'Target NAME'",
            planned.sources.name(0)
        );
    }
    for export in &planned.plan.exports {
        println!("target {}, port {}", export.target.iqn, export.port);
        for unit in &export.units {
            println!(
                "  unit {}: {} serial {} naa.{} group {}{}",
                unit.number,
                if unit.path.is_empty() {
                    "nothing"
                } else {
                    &unit.path
                },
                unit.serial,
                unit.naa,
                unit.group,
                if unit.locks {
                    ""
                } else {
                    ", without SCSI locks"
                },
            );
            if let Some(text) = unit.replicated.as_ref().and_then(patience) {
                println!("    {text}");
            }
        }
    }
    for line in settle(options, &tree, &mut planned.plan)? {
        println!("{line}");
    }
    planned
        .plan
        .steps()
        .iter()
        .for_each(|step| println!("{step}"));
    Ok(())
}

/// What to say of how long writes wait when a node dies, if that can be shorter.
fn patience(device: &Replicated) -> Option<String> {
    (device.detection_ds > DETECTION_DS).then(|| {
        format!(
            "writes wait up to {}.{} s when a node dies; for 4 s: resource {}: net {{ ping-int 3; ping-timeout 10; timeout 40; }}",
            device.detection_ds / 10,
            device.detection_ds % 10,
            device.resource
        )
    })
}

/// Makes the kernel ready: what the target keeps on disk has a place before the module looks for it.
fn prepare(tree: &Tree) -> Answer<()> {
    if !tree.is_kernel() {
        return Ok(());
    }
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).status();
        match done {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{program} {}: {status}", args.join(" "))),
            Err(error) => Err(format!("{program}: {}", os_error(&error))),
        }
    };
    // Without these the target answers every reservation with "not ready".
    for folder in ["/etc/target/pr", "/etc/target/alua"] {
        fs::create_dir_all(folder).map_err(|e| format!("{folder}: {}", os_error(&e)))?;
    }
    run("modprobe", &["configfs"])?;
    if !fs::exists("/sys/kernel/config/target").unwrap_or(false) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        if !mounts.contains(" /sys/kernel/config configfs ") {
            run(
                "mount",
                &["-t", "configfs", "configfs", "/sys/kernel/config"],
            )?;
        }
    }
    run(
        "modprobe",
        &[
            "-a",
            "target_core_mod",
            "target_core_iblock",
            "target_core_file",
            "iscsi_target_mod",
        ],
    )
}

/// Exports what the configuration says, and nothing else.
pub(crate) fn apply(options: &Options) -> Answer<()> {
    let planned = load(options)?;
    converge(options, planned.plan, &mut String::new())
}

/// Brings the tree to the plan. `said` has what was said the last time; it is not said again.
pub(crate) fn converge(options: &Options, mut plan: Plan, said: &mut String) -> Answer<()> {
    let tree = tree(options)?;
    let lines = settle(options, &tree, &mut plan)?.join("\n");
    if *said != lines {
        note!("{lines}");
        *said = lines;
    }
    carry_out(&tree, &plan)
}

/// Makes the plan true, and what is ours and not in it goes.
fn carry_out(tree: &Tree, plan: &Plan) -> Answer<()> {
    let failed = |e: io::Error| e.to_string();
    if !plan.exports.is_empty() {
        prepare(tree)?;
    }
    let gone = tree.prune(plan).map_err(failed)?;
    gone.iter().for_each(|what| note!("removed {what}"));
    for unit in plan.units() {
        let store = unit.backstore();
        let before = tree.access(&store).zip(tree.has_locks(&store));
        let writes = tree.is_read_only(&store) == Some(!unit.read_only);
        let writes = writes.then_some("who may write changes");
        if let Some(reason) = begins_anew(before, (unit.access, unit.locks)).or(writes) {
            note!("{}: initiators log in again: {reason}", unit.path);
            tree.remove_target(&unit.iqn).map_err(failed)?;
            tree.remove_backstore(&store).map_err(failed)?;
        }
    }
    let mut changes = 0;
    for step in plan.steps() {
        match tree.apply(&step) {
            Ok(changed) => changes += u32::from(changed),
            Err(error) => return Err(explain(&step, &error)),
        }
    }
    if changes > 0 {
        note!("{changes} changes");
    }
    Ok(())
}

fn explain(step: &Step, error: &io::Error) -> String {
    let remedy = match step {
        Step::Write { path, .. } if path.ends_with("/enable") && path.starts_with("core/") => {
            "; is the device there, Primary here, and neither mounted nor used otherwise?"
        }
        Step::Write { path, .. }
            if path.contains("/attrib/") || path.ends_with("vpd_unit_serial") =>
        {
            "; it cannot change while the unit is exported: drbd-iscsi remove, then apply"
        }
        Step::Folder(path) if path.contains("/np/") => "; does another target listen there?",
        _ => "",
    };
    format!("{error}{remedy}")
}

fn remove(options: &Options) -> Answer<()> {
    let tree = tree(options)?;
    let gone = tree.prune(&Plan::default()).map_err(|e| e.to_string())?;
    gone.iter().for_each(|what| note!("removed {what}"));
    Ok(())
}

fn status(options: &Options) -> Answer<()> {
    let tree = tree(options)?;
    let (targets, backstores) = (tree.targets(), tree.backstores());
    if targets.is_empty() && backstores.is_empty() {
        println!("nothing is exported");
    }
    for iqn in targets {
        let group = format!("iscsi/{iqn}/tpgt_1");
        let enabled = tree.read(&format!("{group}/enable")).as_deref() == Some("1");
        println!(
            "target {iqn} {}",
            if enabled { "enabled" } else { "disabled" }
        );
    }
    for path in backstores {
        let access = tree.access(&path);
        let access = access.map_or("not exported".to_owned(), |access| access.to_string());
        let serial = tree
            .read(&format!("{path}/wwn/vpd_unit_serial"))
            .unwrap_or_default();
        let serial = serial.rsplit(' ').next().unwrap_or_default();
        let device = tree.read(&format!("{path}/udev_path")).unwrap_or_default();
        println!(
            "unit {device} {access} serial {serial} naa.{}",
            crate::identity::Naa::of(serial)
        );
    }
    Ok(())
}

/// Not even by request does a node serve that has no good data.
fn refuse_bad_data(options: &Options, tree: &Tree, plan: &Plan) -> Answer<()> {
    let state = proc_drbd(options)?;
    for unit in plan.units() {
        let rule = decision(options, tree, &state, unit).map(|decision| decision.rule);
        if let Some(rule @ Rule::NoGoodData) = rule {
            return Err(format!("{}: {}", unit.path, rule.reason()));
        }
    }
    Ok(())
}

/// The user says who serves.
fn switch(options: &Options, access: Access) -> Answer<()> {
    let mut plan = load(options)?.plan;
    let tree = tree(options)?;
    settle(options, &tree, &mut plan)?;
    let mut any = false;
    if access == Access::Active {
        refuse_bad_data(options, &tree, &plan)?;
    }
    for unit in plan.units_mut().filter(|unit| unit.replicated.is_some()) {
        if tree.access(&unit.backstore()).is_none() {
            return Err(format!(
                "{} is not exported here: drbd-iscsi apply",
                unit.path
            ));
        }
        unit.access = access;
        any = true;
        note!("{}: {access}", unit.path);
    }
    if !any {
        return Err("no mirrored device is exported here: drbd-iscsi apply".to_owned());
    }
    carry_out(&tree, &plan)
}
