// SPDX-License-Identifier: GPL-2.0-only

//! The command line of drbdadm: options of its own, and those that a command passes on, anywhere; `--name=value` or
//! `--name value`, unique beginnings of names.

use drbd_config::suggest::nearest;

use super::{shell, Kind, COMMANDS, TOGETHER};
use crate::args::{Spec, Takes};
use crate::drbdsetup::{self, configure};

/// A command line taken apart.
#[derive(Debug, Default)]
pub struct Line {
    pub(super) dry_run: bool,
    pub(super) verbose: bool,
    pub(super) stacked: bool,
    pub(super) json: bool,
    pub(super) config_file: Option<String>,
    pub(super) tested: Vec<String>,
    pub(super) without: Vec<String>,
    pub(super) sh_varname: Option<String>,
    pub(super) peer: Option<String>,
    pub(super) help: bool,
    pub(super) version: bool,
    /// Options for drbdsetup or drbdmeta.
    pub(super) backend: Vec<String>,
    /// Those of them behind `--`: passed on unread.
    pub(super) passed: usize,
    pub(super) words: Vec<String>,
}

/// Long names, letters, and whether they take a value.
pub const GENERAL: &[(&str, char, bool)] = &[
    ("stacked", 'S', false),
    ("dry-run", 'd', false),
    ("verbose", 'v', false),
    ("config-file", 'c', true),
    ("config-to-test", 't', true),
    ("config-to-exclude", 'E', true),
    ("drbdsetup", 's', true),
    ("drbdmeta", 'm', true),
    ("drbd-proxy-ctl", 'p', true),
    ("sh-varname", 'n', true),
    ("peer", 'P', true),
    ("version", 'V', false),
    ("setup-option", 'W', true),
    ("help", 'h', false),
];

impl Line {
    /// Takes a command line apart; the error is a sentence.
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut line = Line::default();
        let passed_on = backend_of(args);
        let mut rest = args.iter().peekable();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                // `drbdadm -- --overwrite-data-of-peer primary r0`: the old way to pass options on, with their values.
                let more = rest.clone().position(|arg| is_command(arg));
                let all = more.filter(|_| line.words.is_empty()).unwrap_or(0);
                let mut taken = 0;
                while let Some(word) = rest.next_if(|arg| taken < all || arg.starts_with('-')) {
                    taken += 1;
                    line.backend.insert(line.passed, word.clone());
                    line.passed += 1;
                }
                continue;
            }
            if let Some(dashed) = arg.strip_prefix(['\u{2013}', '\u{2014}', '\u{2212}']) {
                return Err(format!(
                    "'{arg}' starts with a long dash, as pasted text often does; type '--{dashed}', or for the old form '-- --{dashed}'"
                ));
            }
            if let Some(long) = arg.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let name = whole(name, &passed_on)?;
                let general = GENERAL.iter().find(|(general, ..)| *general == name);
                let spec = passed_on.iter().find(|spec| spec.name == name);
                let takes = general.map_or_else(
                    || spec.is_some_and(|spec| spec.takes == Takes::Value),
                    |(_, _, takes)| *takes,
                );
                let value = if takes && value.is_none() {
                    rest.next().cloned()
                } else {
                    value
                };
                match (general, value) {
                    (Some((name, ..)), value) => line.general(name, value)?,
                    (None, None) if name == "json" => line.json = true,
                    (None, None) if takes => {
                        return Err(format!("option '--{name}' needs a value"))
                    }
                    (None, None) => line.backend.push(format!("--{name}")),
                    (None, Some(value)) => line.backend.push(format!("--{name}={value}")),
                }
            } else if let Some(letters) =
                arg.strip_prefix('-').filter(|letters| !letters.is_empty())
            {
                line.short(letters, &mut rest)?;
            } else {
                line.words.push(arg.clone());
            }
        }
        Ok(line)
    }

    fn short<'a>(
        &mut self,
        letters: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let mut chars = letters.chars();
        while let Some(letter) = chars.next() {
            let (name, _, takes) = GENERAL
                .iter()
                .find(|(_, l, _)| *l == letter)
                .ok_or(format!("unrecognized option '-{letter}'"))?;
            if !takes {
                self.general(name, None)?;
                continue;
            }
            let value = match chars.as_str() {
                "" => rest.next().cloned(),
                value => Some(value.to_owned()),
            };
            return self.general(name, value);
        }
        Ok(())
    }

    fn general(&mut self, name: &str, value: Option<String>) -> Result<(), String> {
        let needed = || {
            value
                .clone()
                .ok_or(format!("option '--{name}' needs a value"))
        };
        match name {
            "dry-run" => self.dry_run = true,
            "verbose" => self.verbose = true,
            "help" => self.help = true,
            "version" => self.version = true,
            "config-file" => self.config_file = Some(needed()?),
            "config-to-test" => self.tested.push(needed()?),
            "config-to-exclude" => self.without.push(needed()?),
            "sh-varname" => self.sh_varname = Some(needed()?),
            "peer" => self.peer = Some(needed()?),
            "setup-option" => {
                self.backend.insert(self.passed, needed()?);
                self.passed += 1;
            }
            "stacked" => self.stacked = true,
            // The programs are this one.
            _ => {
                needed()?;
            }
        }
        Ok(())
    }
}

fn is_command(word: &str) -> bool {
    let known = COMMANDS.iter().any(|command| command.name == word);
    known || shell::COMMANDS.contains(&word) || shell::HANDLERS.contains(&word)
}

/// The options that the command of this line passes on. It is looked for, because options may stand in front of it.
fn backend_of(args: &[String]) -> Vec<Spec> {
    let command = args.iter().find_map(|arg| {
        let known = COMMANDS.iter().find(|command| command.name == arg);
        known.map(|command| command.name)
    });
    command.map_or_else(Vec::new, backend)
}

/// Whether what stands behind `--` has somewhere to go: the commands of several steps do not know which is meant.
fn passes_on(name: &str) -> bool {
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return false;
    };
    match command.kind {
        Kind::Config => false,
        Kind::Compound => !TOGETHER.contains(&name) && name != "sh-b-pri",
        _ => true,
    }
}

fn backend(name: &str) -> Vec<Spec> {
    if name == "create-md" || name == "wipe-md" {
        return vec![Spec::long("force", Takes::Nothing)];
    }
    if name.starts_with("wait-") {
        return drbdsetup::WAIT_OPTIONS.to_vec();
    }
    configure::find(name).map_or_else(Vec::new, |command| command.specs())
}

/// The option that begins like this, if it is the only one; the name itself if there is none.
fn whole<'a>(name: &'a str, passed_on: &[Spec]) -> Result<&'a str, String> {
    let general = GENERAL.iter().map(|(general, ..)| *general);
    let names = general.chain(passed_on.iter().map(|spec| spec.name));
    let mut begin: Vec<&str> = names.filter(|known| known.starts_with(name)).collect();
    begin.dedup();
    match begin[..] {
        _ if name.is_empty() || begin.contains(&name) => Ok(name),
        [] => Ok(name),
        [only] => Ok(only),
        _ => Err(format!(
            "option '--{name}' is ambiguous: --{}",
            begin.join(", --")
        )),
    }
}

/// Options that a command passes on must be known to it; what stands behind `--` is passed on as it is.
pub fn check_options(name: &str, line: &Line) -> Result<(), String> {
    let backend = backend(name);
    let passed = line.backend.first().filter(|_| line.passed > 0);
    if let Some(option) = passed.filter(|_| !passes_on(name)) {
        return Err(format!(
            "'{option}': '{name}' passes no options on; give it to the command that it is for"
        ));
    }
    if line.json && !matches!(name, "dump" | "status") {
        return Err("unrecognized option '--json'".to_owned());
    }
    for option in line.backend.iter().skip(line.passed) {
        let long = option
            .trim_start_matches('-')
            .split('=')
            .next()
            .unwrap_or_default();
        if !backend.iter().any(|spec| spec.name == long) {
            let general = GENERAL.iter().map(|(general, ..)| *general);
            let known = general.chain(backend.iter().map(|spec| spec.name));
            let hint = nearest(long, known)
                .map_or_else(String::new, |near| format!("; did you mean '--{near}'?"));
            return Err(format!("unrecognized option '{option}'{hint}"));
        }
    }
    Ok(())
}
