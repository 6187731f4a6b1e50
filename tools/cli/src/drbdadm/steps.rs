// SPDX-License-Identifier: GPL-2.0-only

//! What a drbdadm command expands to: command lines of drbdsetup and drbdmeta, made from a resource's configuration.

use drbd_config::model::{MetaDisk, Opt, Volume};
use drbd_config::tables::{only_nine, only_nine_choice};

use super::target::Selected;
use crate::{drbdmeta, drbdsetup};

/// Which program a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// drbdsetup
    Setup,
    /// drbdmeta
    Meta,
}

/// One command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whose.
    pub program: Program,
    /// Its arguments.
    pub args: Vec<String>,
}

/// A drbdsetup command line.
pub fn setup(args: impl IntoIterator<Item = String>) -> Step {
    Step {
        program: Program::Setup,
        args: args.into_iter().collect(),
    }
}

/// Words to strings.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Step {
    /// As a shell would take it.
    pub fn line(&self) -> String {
        let program = match self.program {
            Program::Setup => "drbdsetup",
            Program::Meta => "drbdmeta",
        };
        let args: String = self
            .args
            .iter()
            .map(|arg| format!(" {}", escaped(arg)))
            .collect();
        format!("{program}{args}")
    }

    /// Runs it in this process.
    pub fn run(&self) -> i32 {
        match self.program {
            Program::Setup => drbdsetup::main(&self.args),
            Program::Meta => drbdmeta::main(&self.args),
        }
    }
}

/// Puts a backslash in front of what a shell would not take as it is.
pub fn escaped(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@%+".contains(c);
    word.chars()
        .flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c]))
        .collect()
}

/// Whether this driver knows the option and its value; what is only for DRBD 9 is not passed on.
pub fn for_driver(opt: &Opt) -> bool {
    !only_nine(opt.attr) && !only_nine_choice(opt.attr, &opt.value)
}

/// `--name=value` for each option.
pub fn options(opts: &[Opt]) -> impl Iterator<Item = String> + '_ {
    opts.iter()
        .filter(|opt| for_driver(opt))
        .map(|opt| format!("--{}={}", opt.name, opt.value))
}

fn minor(volume: &Volume) -> String {
    volume.minor.unwrap_or_default().to_string()
}

/// The volumes that a command is about.
pub fn volumes<'a>(selected: &'a Selected<'_>) -> impl Iterator<Item = &'a Volume> + 'a {
    selected
        .host()
        .volumes
        .iter()
        .filter(|volume| selected.volume.is_none_or(|vnr| vnr == volume.vnr))
}

/// `drbdsetup COMMAND MINOR ...` for each volume.
pub fn per_volume(selected: &Selected<'_>, command: &str, more: &[String]) -> Vec<Step> {
    volumes(selected)
        .map(|volume| {
            setup(
                [command.to_owned(), minor(volume)]
                    .into_iter()
                    .chain(more.iter().cloned()),
            )
        })
        .collect()
}

/// `resize`, to the size that the file says, unless the command line says another: without one it is all of the disk.
pub fn resize(selected: &Selected<'_>, volume: &Volume, more: &[String]) -> Step {
    let told = more.iter().any(|word| word.starts_with("--s"));
    let size = disk_opts(selected, volume)
        .into_iter()
        .find(|opt| opt.name == "size" && !told)
        .map(|opt| format!("--size={}", opt.value));
    let head = ["resize".to_owned(), minor(volume)];
    setup(head.into_iter().chain(size).chain(more.iter().cloned()))
}

/// `drbdmeta MINOR v08 DEVICE INDEX COMMAND ...` for a volume that has metadata.
pub fn meta(volume: &Volume, command: &[String]) -> Option<Step> {
    let disk = volume.disk.as_deref()?;
    let place = volume.meta_disk.as_ref()?;
    let index = match place {
        // As drbdsetup has it, drbdmeta of drbd-utils does not know it.
        MetaDisk::Flexible(_) => "flex-external".to_owned(),
        _ => place.index(),
    };
    let mut args = vec![
        minor(volume),
        "v08".to_owned(),
        place.device(disk).to_owned(),
        index,
    ];
    args.extend(command.iter().cloned());
    Some(Step {
        program: Program::Meta,
        args,
    })
}

/// `new-resource`
pub fn new_resource(selected: &Selected<'_>, more: &[String]) -> Step {
    let name = selected.resource.name.clone();
    setup(
        ["new-resource".to_owned(), name]
            .into_iter()
            .chain(options(&selected.resource.sections.options))
            .chain(more.iter().cloned()),
    )
}

/// `new-minor`
pub fn new_minor(selected: &Selected<'_>, volume: &Volume, more: &[String]) -> Step {
    let args = [
        "new-minor".to_owned(),
        selected.resource.name.clone(),
        minor(volume),
        volume.vnr.to_string(),
    ];
    setup(args.into_iter().chain(more.iter().cloned()))
}

/// `apply-al` and `attach`
pub fn attach(selected: &Selected<'_>, volume: &Volume, more: &[String]) -> Vec<Step> {
    let (Some(disk), Some(place)) = (&volume.disk, &volume.meta_disk) else {
        return Vec::new();
    };
    let mut args = words(&["attach"]);
    args.extend([
        minor(volume),
        disk.clone(),
        place.device(disk).to_owned(),
        place.index(),
    ]);
    args.extend(disk_options(selected, volume));
    args.extend(more.iter().cloned());
    let apply = meta(volume, &words(&["apply-al"]));
    apply.into_iter().chain([setup(args)]).collect()
}

/// The options of a volume's disk; `resync-after` names a minor by then.
pub fn disk_options(selected: &Selected<'_>, volume: &Volume) -> Vec<String> {
    let value = |opt: &Opt| match opt.name {
        "resync-after" => selected
            .minor_of(&opt.value)
            .map_or_else(|| opt.value.clone(), |minor| minor.to_string()),
        _ => opt.value.clone(),
    };
    disk_opts(selected, volume)
        .into_iter()
        .filter(|opt| for_driver(opt))
        .map(|opt| format!("--{}={}", opt.name, value(opt)))
        .collect()
}

/// What holds for a volume's disk; what the connection says about it (DRBD 9) comes before what the resource says.
pub fn disk_opts<'a>(selected: &Selected<'a>, volume: &'a Volume) -> Vec<&'a Opt> {
    let connection = selected.peer().ok().and_then(|peer| peer.connection);
    let Some(connection) = connection else {
        return volume.options.iter().collect();
    };
    let mut opts: Vec<&Opt> = Vec::new();
    for opt in connection.disk_options(volume) {
        if !opts.iter().any(|own| own.name == opt.name) {
            opts.push(opt);
        }
    }
    let rest = volume
        .options
        .iter()
        .filter(|opt| !opts.iter().any(|own| own.name == opt.name));
    let rest: Vec<&Opt> = rest.collect();
    opts.into_iter().chain(rest).collect()
}

/// Both ends of the connection.
pub fn ends(selected: &Selected<'_>) -> Result<[String; 2], String> {
    let peer = selected.peer()?;
    let ends = selected.resource.ends(selected.me, &peer).ok_or_else(|| {
        let name = &selected.resource.name;
        format!("resource '{name}' has a host without address")
    })?;
    Ok(ends.map(|address| address.operand()))
}

/// The options of the connection.
pub fn net_options(selected: &Selected<'_>) -> Result<Vec<Opt>, String> {
    Ok(selected.resource.net_options(&selected.peer()?))
}

/// `connect`
pub fn connect(selected: &Selected<'_>, more: &[String]) -> Result<Step, String> {
    let mut args = vec!["connect".to_owned(), selected.resource.name.clone()];
    args.extend(ends(selected)?);
    args.extend(options(&net_options(selected)?));
    args.extend(more.iter().cloned());
    Ok(setup(args))
}

/// A command that takes the two ends: `disconnect`, `net-options`.
pub fn per_connection(
    selected: &Selected<'_>,
    command: &str,
    more: &[String],
) -> Result<Step, String> {
    let mut args = vec![command.to_owned()];
    args.extend(ends(selected)?);
    args.extend(more.iter().cloned());
    Ok(setup(args))
}

/// Everything from nothing to connected.
pub fn up(selected: &Selected<'_>) -> Result<Vec<Step>, String> {
    let mut steps = vec![new_resource(selected, &[])];
    steps.extend(volumes(selected).map(|volume| new_minor(selected, volume, &[])));
    steps.extend(volumes(selected).flat_map(|volume| attach(selected, volume, &[])));
    steps.push(connect(selected, &[])?);
    Ok(steps)
}

/// `wait-connect` with the timeouts of the section `startup`; of two the last one counts.
pub fn wait_connect(selected: &Selected<'_>, more: &[String]) -> Vec<Step> {
    let startup = &selected.resource.sections.startup;
    let known = [
        "wfc-timeout",
        "degr-wfc-timeout",
        "outdated-wfc-timeout",
        "wait-after-sb",
    ];
    let opts: Vec<Opt> = startup
        .iter()
        .filter(|opt| known.contains(&opt.name))
        .cloned()
        .collect();
    let more: Vec<String> = options(&opts).chain(more.iter().cloned()).collect();
    per_volume(selected, "wait-connect", &more)
}
