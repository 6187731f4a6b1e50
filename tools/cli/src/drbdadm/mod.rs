// SPDX-License-Identifier: GPL-2.0-only

//! drbdadm: commands about whole resources, out of drbd.conf.
//!
//! A command becomes steps (`steps`, `adjust`); `-d` prints them, otherwise they run in this process. A step that
//! fails ends its resource; the worst exit code of all resources is the result, 1 for the compound commands.

mod adjust;
mod line;
mod listing;
mod shell;
mod stages;
mod steps;
mod target;

use std::io::IsTerminal as _;
use std::path::Path;

use drbd_config::suggest::nearest;
use drbd_config::{Config, Identity};

use crate::drbdsetup;
use line::{check_options, Line};
pub use listing::{catalog, general};
use listing::{help, usage};
use steps::{words, Step};
pub use target::{configured, Named};
use target::{Mode, Selected, RUN};

const EXIT_USAGE: i32 = 1;
const EXIT_CONFIG: i32 = 10;
const EXIT_EXEC: i32 = 20;
/// Commands that bring up several resources stage by stage.
const TOGETHER: [&str; 3] = ["up", "adjust", "adjust-with-progress"];

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// drbdsetup for each volume, with options of the drbdsetup command of the same name.
    Volume,
    /// drbdmeta for each volume.
    Meta,
    /// drbdsetup for the volume if it is attached, drbdmeta otherwise.
    VolumeOrMeta,
    /// Made of several steps.
    Compound,
    /// drbdsetup for the resource.
    Resource,
    /// drbdsetup for the connection.
    Connection,
    /// Only about the configuration.
    Config,
}

/// One command.
struct Command {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

const fn command(name: &'static str, kind: Kind, help: &'static str) -> Command {
    Command { name, kind, help }
}

static COMMANDS: &[Command] = &[
    command(
        "create-md",
        Kind::Meta,
        "new metadata (--force: without asking)",
    ),
    command("up", Kind::Compound, "from nothing to connected"),
    command("down", Kind::Resource, "disconnect, detach, remove"),
    command("attach", Kind::Compound, "give the volumes their disks"),
    command(
        "detach",
        Kind::Volume,
        "take the disks away (--force: at once)",
    ),
    command(
        "connect",
        Kind::Compound,
        "connect to the peer (--discard-my-data)",
    ),
    command(
        "disconnect",
        Kind::Connection,
        "drop the connection (--force)",
    ),
    command(
        "primary",
        Kind::Volume,
        "become primary (--force: our data is the good one)",
    ),
    command("secondary", Kind::Volume, "become secondary"),
    command(
        "adjust",
        Kind::Compound,
        "make the kernel what the configuration says",
    ),
    command("role", Kind::Volume, "our role and the peer's"),
    command("cstate", Kind::Volume, "state of the connection"),
    command(
        "dstate",
        Kind::VolumeOrMeta,
        "state of our disk and of the peer's",
    ),
    command("status", Kind::Resource, "state of a resource, or of all"),
    command(
        "show-gi",
        Kind::VolumeOrMeta,
        "data generation identifiers, explained",
    ),
    command("get-gi", Kind::VolumeOrMeta, "data generation identifiers"),
    command(
        "dump",
        Kind::Config,
        "the configuration, inheritance applied",
    ),
    command(
        "dump-xml",
        Kind::Config,
        "the configuration as XML, for programs",
    ),
    command(
        "format",
        Kind::Config,
        "the configuration file in one way of writing, with its comments",
    ),
    command("dump-md", Kind::Meta, "the metadata as text"),
    command(
        "apply-al",
        Kind::Meta,
        "apply the activity log after a crash",
    ),
    command("wipe-md", Kind::Meta, "remove the metadata"),
    command(
        "invalidate",
        Kind::VolumeOrMeta,
        "resync from the peer in full",
    ),
    command(
        "invalidate-remote",
        Kind::Volume,
        "resync to the peer in full",
    ),
    command("outdate", Kind::VolumeOrMeta, "mark our data as outdated"),
    command("pause-sync", Kind::Volume, "pause the resync"),
    command("resume-sync", Kind::Volume, "let the resync go on"),
    command("verify", Kind::Volume, "compare the disks online"),
    command("resize", Kind::Volume, "adapt to the disks' new size"),
    command("suspend-io", Kind::Volume, "freeze I/O"),
    command("resume-io", Kind::Volume, "thaw I/O"),
    command(
        "new-current-uuid",
        Kind::Volume,
        "start a new data generation (--clear-bitmap)",
    ),
    command(
        "wait-connect",
        Kind::Compound,
        "wait until the peer is there",
    ),
    command(
        "wait-con-int",
        Kind::Compound,
        "wait until the peers are there, at boot",
    ),
    command("wait-sync", Kind::Volume, "wait until the resync is done"),
    command(
        "adjust-with-progress",
        Kind::Compound,
        "adjust, telling what is done",
    ),
    command(
        "hidden-commands",
        Kind::Config,
        "what else there is, for scripts and experts",
    ),
    command(
        "check-resize",
        Kind::VolumeOrMeta,
        "find the metadata where a disk grew while it was detached",
    ),
    command("set-gi", Kind::Meta, "write data generation identifiers"),
    command("sh-new-minor", Kind::Compound, "new-minor, for scripts"),
    command("proxy-up", Kind::Config, "configure the proxy"),
    command("proxy-down", Kind::Config, "take the proxy down"),
    command("disk-options", Kind::Volume, "change options of the disks"),
    command(
        "net-options",
        Kind::Connection,
        "change options of the connection",
    ),
    command(
        "resource-options",
        Kind::Resource,
        "change options of the resource",
    ),
    command(
        "new-resource",
        Kind::Compound,
        "add the resource to the kernel",
    ),
    command("new-minor", Kind::Compound, "add the volumes to the kernel"),
    command("sh-nop", Kind::Config, "check the configuration"),
    command(
        "sh-resources",
        Kind::Config,
        "names of the resources of this host",
    ),
    command("sh-mod-parms", Kind::Config, "parameters for the module"),
    command(
        "sh-b-pri",
        Kind::Compound,
        "become primary if startup { become-primary-on } says so",
    ),
];

/// Runs one command line (without the program's name); the result is the exit code.
pub fn main(args: &[String]) -> i32 {
    let line = match Line::parse(args) {
        Ok(line) => line,
        Err(text) => {
            eprintln!("drbdadm: {text}\ntry 'drbdadm help'");
            return EXIT_USAGE;
        }
    };
    if line.version {
        print!("{}", version());
        return 0;
    }
    let Some(name) = line.words.first().map(String::as_str) else {
        print!("{}", usage());
        return if line.help { 0 } else { EXIT_USAGE };
    };
    if line.help || name == "help" {
        print!(
            "{}",
            line.words
                .get(usize::from(name == "help"))
                .map_or_else(usage, |name| help(name))
        );
        return 0;
    }
    let name = match name {
        "state" => {
            eprintln!("'drbdadm state' is deprecated, use 'drbdadm role' instead.");
            "role"
        }
        "sh-new-minor" => "new-minor",
        name => name,
    };
    if name == "hidden-commands" {
        print!("{}", listing::hidden());
        return 0;
    }
    let known = COMMANDS.iter().find(|command| command.name == name);
    let other = shell::HANDLERS.contains(&name) || shell::COMMANDS.contains(&name);
    if known.is_none() && !other {
        let near = nearest(name, COMMANDS.iter().map(|command| command.name));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        eprintln!("drbdadm: Unknown command '{name}'{hint}");
        return EXIT_USAGE;
    }
    if let Err(text) = check_options(name, &line) {
        eprintln!("drbdadm: {text}\ntry 'drbdadm help {name}'");
        return EXIT_USAGE;
    }
    with_config(name, known, &line)
}

fn with_config(name: &str, known: Option<&Command>, line: &Line) -> i32 {
    // The kernel calls without -c: use the file that the minor was configured from.
    let remembered = line
        .words
        .get(1)
        .filter(|_| shell::HANDLERS.contains(&name))
        .and_then(|operand| target::remembered(Path::new(RUN), operand));
    let file = line.config_file.as_deref().or(remembered.as_deref());
    let loaded = match target::load(file, &line.tested, &line.without) {
        Ok(loaded) => loaded,
        Err(text) => {
            eprintln!("drbdadm: {text}");
            return EXIT_CONFIG;
        }
    };
    // Warnings are for the commands with which a configuration is brought into use, not for every look.
    let warns = matches!(
        name,
        "dump" | "format" | "sh-nop" | "create-md" | "up" | "adjust"
    );
    if loaded.is_broken() || warns {
        eprint!("{}", loaded.report());
    }
    if loaded.is_broken() {
        return EXIT_CONFIG;
    }
    let config = loaded.config;
    let identity = target::identity(&config);
    let operands: Vec<&str> = line.words.iter().skip(1).map(String::as_str).collect();
    if let Some(exit) = about_config(name, line, &config, &identity, &operands) {
        return exit;
    }
    if name == "status" && line.json && operands.is_empty() {
        return execute(line, &[steps::setup(words(&["status", "--json"]))], false);
    }
    let operands = match (operands.is_empty(), name) {
        (false, _) => operands,
        (true, "status" | "wait-con-int" | "sh-status") => vec!["all"],
        (true, _) => {
            eprintln!("{}No resource names specified", help(name));
            return EXIT_USAGE;
        }
    };
    let mode = mode(name, line);
    let (mut worst, mut together, mut done) = (0, Vec::new(), Vec::new());
    for operand in operands {
        let selected = match target::select(&config, &identity, operand, line.peer.as_deref(), mode)
        {
            Ok(selected) => selected,
            Err(text) => {
                eprintln!("{text}");
                return EXIT_USAGE;
            }
        };
        // These two are asked at boot, when nothing has to be configured yet.
        if selected.is_empty() && !["wait-con-int", "sh-status"].contains(&name) {
            eprintln!("{}", target::nothing(&config, &identity, mode));
            return EXIT_USAGE;
        }
        for selected in selected {
            // `up all r0` names r0 twice; scripts get a line for each name that they give.
            let what = (&selected.resource.name, selected.volume);
            if done.contains(&what) && !name.starts_with("sh-") {
                continue;
            }
            done.push(what);
            let exit = if TOGETHER.contains(&name) {
                checked(line, &selected, &mut together)
            } else {
                on_resource(name, known, line, &selected)
            };
            worst = worst.max(exit);
            if worst >= EXIT_EXEC {
                return worst;
            }
        }
    }
    match known {
        Some(command) if !together.is_empty() => worst.max(stages::run(command, line, &together)),
        _ => worst,
    }
}

/// The kernel and udev name what they mean; people say which kind they mean.
fn mode(name: &str, line: &Line) -> Mode {
    let of_all = name == "sh-status" && line.words.len() == 1;
    if shell::HANDLERS.contains(&name) || name == "sh-udev" || of_all {
        Mode::Either
    } else if line.stacked {
        Mode::Stacked
    } else {
        Mode::Normal
    }
}

/// The commands that are about the configuration alone.
fn about_config(
    name: &str,
    line: &Line,
    config: &Config,
    identity: &Identity,
    operands: &[&str],
) -> Option<i32> {
    match name {
        "sh-nop" => Some(0),
        "sh-resources" => {
            let here = target::all(config, identity, None, mode(name, line));
            let names: Vec<String> = here
                .iter()
                .map(|selected| drbd_config::dump::quoted(&selected.resource.name))
                .collect();
            if !names.is_empty() {
                println!("{}", names.join(" "));
            }
            Some(0)
        }
        "sh-mod-parms" => {
            println!(
                "minor_count={}",
                config.global.get("minor-count").unwrap_or("32")
            );
            Some(0)
        }
        "dump" | "dump-xml" | "format" => {
            Some(listing::print(name, line, config, identity, operands))
        }
        "proxy-up" | "proxy-down" => {
            eprintln!("drbdadm: {name}: this version does not run a proxy; leave the sections 'proxy' out");
            Some(EXIT_USAGE)
        }
        _ => None,
    }
}

fn on_resource(name: &str, known: Option<&Command>, line: &Line, selected: &Selected<'_>) -> i32 {
    if let Some(variable) = &line.sh_varname {
        println!("{variable}={}", selected.resource.name);
    }
    if shell::HANDLERS.contains(&name) {
        return shell::handler(selected, name, line.dry_run);
    }
    if name == "sh-status" {
        return sh_status(line, selected);
    }
    if shell::COMMANDS.contains(&name) {
        shell::lines(selected, name)
            .iter()
            .for_each(|line| println!("{line}"));
        return 0;
    }
    if name == "connect" {
        if let Err(exit) = verified(line, selected) {
            return exit;
        }
    }
    let Some(command) = known else {
        return EXIT_USAGE;
    };
    match plan(command, line, selected) {
        Ok(steps) => {
            let exit = execute(line, &steps, false);
            if exit == 0 && !line.dry_run {
                target::remember(name, selected);
            }
            exit
        }
        Err(text) => {
            eprintln!("drbdadm: {text}");
            EXIT_CONFIG
        }
    }
}

/// What the file says of a resource, then, volume by volume, what the kernel says: scripts look at each when it ends.
fn sh_status(line: &Line, selected: &Selected<'_>) -> i32 {
    let mut head = shell::status_head(selected);
    let mut worst = 0;
    for volume in steps::volumes(selected) {
        println!("{head}_conf_volume={}", volume.vnr);
        head.clear();
        let minor = volume.minor.unwrap_or_default().to_string();
        let step = steps::setup(words(&["sh-status", &minor]));
        worst = worst.max(execute(line, &[step], false));
    }
    worst
}

/// An address that the resource listens on has to be ours.
fn verified(line: &Line, selected: &Selected<'_>) -> Result<(), i32> {
    if line.dry_run && !std::io::stdout().is_terminal() {
        return Ok(());
    }
    shell::verify_address(selected).map_err(|text| {
        eprintln!("{text}");
        EXIT_CONFIG
    })
}

/// Puts a resource on the list of those that are brought up together.
fn checked<'a>(line: &Line, selected: &Selected<'a>, together: &mut Vec<Selected<'a>>) -> i32 {
    if let Some(variable) = &line.sh_varname {
        println!("{variable}={}", selected.resource.name);
    }
    match verified(line, selected) {
        Ok(()) => together.push(*selected),
        Err(exit) => return exit,
    }
    0
}

/// The steps of a command for one resource.
fn plan(command: &Command, line: &Line, selected: &Selected<'_>) -> Result<Vec<Step>, String> {
    let more = &line.backend;
    let name = command.name;
    let resource = selected.resource.name.clone();
    Ok(match command.kind {
        Kind::Volume if name == "resize" => steps::volumes(selected)
            .map(|volume| steps::resize(selected, volume, more))
            .collect(),
        Kind::Volume => steps::per_volume(selected, name, more),
        Kind::Meta => meta_steps(name, line, selected)?,
        Kind::VolumeOrMeta => volume_or_meta(name, line, selected),
        Kind::Resource => {
            let json = (name == "status" && line.json).then(|| "--json".to_owned());
            let head = [name.to_owned(), resource].into_iter().chain(json);
            vec![steps::setup(head.chain(more.iter().cloned()))]
        }
        Kind::Connection => vec![steps::per_connection(selected, name, more)?],
        Kind::Config => Vec::new(),
        Kind::Compound => match name {
            "up" => steps::up(selected)?,
            "attach" => steps::volumes(selected)
                .flat_map(|volume| steps::attach(selected, volume, more))
                .collect(),
            "connect" => vec![steps::connect(selected, more)?],
            "adjust" | "adjust-with-progress" => {
                let kernel = drbdsetup::driver(false)
                    .and_then(|mut kernel| kernel.all())
                    .unwrap_or_default();
                adjust::adjust(selected, &kernel)?
            }
            "new-resource" => vec![steps::new_resource(selected, more)],
            "new-minor" => steps::volumes(selected)
                .map(|volume| steps::new_minor(selected, volume, more))
                .collect(),
            "sh-b-pri" if becomes_primary(selected) => steps::per_volume(selected, "primary", &[]),
            "wait-connect" | "wait-con-int" => steps::wait_connect(selected, more),
            _ => Vec::new(),
        },
    })
}

fn becomes_primary(selected: &Selected<'_>) -> bool {
    let startup = &selected.resource.sections.startup;
    let Some(opt) = startup
        .iter()
        .find(|opt| opt.name == drbd_config::tables::BECOME_PRIMARY_ON)
    else {
        return false;
    };
    opt.value == "both"
        || opt
            .value
            .split(' ')
            .any(|name| selected.host().names.iter().any(|n| n == name))
}

fn meta_steps(name: &str, line: &Line, selected: &Selected<'_>) -> Result<Vec<Step>, String> {
    let mut command = words(&[name]);
    command.extend(line.backend.iter().cloned());
    let mut steps = Vec::new();
    for volume in steps::volumes(selected) {
        steps.extend(steps::meta(volume, &command));
        if name == "create-md" && !line.dry_run {
            steps.extend(steps::meta(
                volume,
                &[words(&["write-dev-uuid"]), vec![random_uuid()?]].concat(),
            ));
        }
    }
    Ok(steps)
}

fn random_uuid() -> Result<String, String> {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| format!("/dev/urandom: {}", drbd_say::os_error(&error)))?;
    Ok(format!("{:016X}", u64::from_ne_bytes(bytes)))
}

/// A dry run shows both ways; a real one takes the one that applies.
fn volume_or_meta(name: &str, line: &Line, selected: &Selected<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for volume in steps::volumes(selected) {
        let minor = volume.minor.unwrap_or_default();
        // What has a disk is looked at anew by the driver.
        let looks = name == "check-resize";
        let on_driver = || {
            if looks {
                return steps::resize(selected, volume, &line.backend);
            }
            steps::setup(
                [name.to_owned(), minor.to_string()]
                    .into_iter()
                    .chain(line.backend.iter().cloned()),
            )
        };
        let on_disk = || steps::meta(volume, &[words(&[name]), line.backend.clone()].concat());
        // The state of a minor that exists is the driver's to tell, with or without disk.
        let driver_knows = if name == "dstate" {
            drbdsetup::driver(false).is_ok_and(|mut kernel| kernel.knows(minor))
        } else {
            drbdsetup::attached_to(minor).is_some()
        };
        if line.dry_run || driver_knows {
            steps.push(on_driver());
        }
        if line.dry_run && !looks || !driver_knows {
            steps.extend(on_disk());
        }
    }
    steps
}

/// Prints or runs the steps up to the first that fails.
fn execute(line: &Line, steps: &[Step], deferred: bool) -> i32 {
    for step in steps {
        if line.dry_run || line.verbose {
            println!("{}", step.line());
        }
        if line.dry_run {
            continue;
        }
        let exit = step.run();
        if exit != 0 {
            if exit >= 10 {
                eprintln!("Command '{}' terminated with exit code {exit}", step.line());
            }
            return if deferred { 1 } else { exit };
        }
    }
    0
}

/// For the `eval` of scripts.
fn version() -> String {
    let proc = std::fs::read_to_string("/proc/drbd").unwrap_or_default();
    let version = proc
        .strip_prefix("version: ")
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("0");
    let code = version.split('.').take(3).fold(0u32, |code, part| {
        code << 8 | part.parse::<u32>().unwrap_or(0) & 0xff
    });
    let ours = env!("CARGO_PKG_VERSION");
    let code = if version.contains('.') { code } else { 0 };
    format!(
        "DRBDADM_BUILDTAG=drbdrs-{ours}\nDRBDADM_API_VERSION=1\nDRBD_KERNEL_VERSION_CODE=0x{code:06x}\n\
         DRBD_KERNEL_VERSION={version}\nDRBDADM_VERSION_CODE=0x080400\nDRBDADM_VERSION=8.4.0\n"
    )
}

#[cfg(test)]
mod tests;
