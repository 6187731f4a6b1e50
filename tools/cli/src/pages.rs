// SPDX-License-Identifier: GPL-2.0-only

//! `drbd-tools pages DIRECTORY`: man pages and completion for bash, zsh and fish, out of the tables that the programs
//! themselves are driven by. `make install` runs it; DIRECTORY becomes a `share`.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::args::{Spec, Takes};
use crate::catalog::{self, Flag, Group};

/// A command of one of the programs.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its operands as they are written.
    pub operands: String,
    /// One line about it.
    pub about: &'static str,
    /// Its options.
    pub options: Vec<Spec>,
    /// One line for each option that has more to say: `--name=range (default)`.
    pub details: Vec<String>,
}

impl From<catalog::Entry> for Entry {
    fn from(entry: catalog::Entry) -> Self {
        let spec = |flag: &Flag| Spec {
            name: flag.long,
            short: flag.short,
            takes: match flag.value.as_deref() {
                None => Takes::Nothing,
                Some("yes|no") => Takes::Maybe,
                Some(_) => Takes::Value,
            },
        };
        let detail = |flag: &Flag| {
            let value = flag.value.as_deref()?;
            Some(format!("--{}={value} ({})", flag.long, flag.about))
        };
        Self {
            name: entry.name,
            operands: entry.operands.to_owned(),
            about: entry.about,
            options: entry.options.iter().map(spec).collect(),
            details: entry.options.iter().filter_map(detail).collect(),
        }
    }
}

/// One of the programs.
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What stands before and behind a command.
    pub synopsis: &'static str,
    /// More about it, in paragraphs.
    pub text: &'static [&'static str],
    /// The number of operands in front of the command.
    pub before: usize,
    /// A shell command that prints what the operands of a command may be.
    pub candidates: &'static str,
    /// Its commands.
    pub entries: Vec<Entry>,
    /// Options of all commands: as they are completed, and one line for each: `--name=VALUE text`.
    pub common: Vec<(Spec, String)>,
    /// Exit codes and what they mean.
    pub exits: &'static [(i32, &'static str)],
}

/// What the operand of a command may be: one in a line.
pub const RESOURCES: &str = "echo all; drbdadm sh-resources 2>/dev/null | tr ' ' '\\n'";

/// drbd-iscsi, whose tables stand in its own crate.
fn iscsi() -> Program {
    let option = |(name, value, about): &(&'static str, &str, &str)| {
        let (takes, form) = if value.is_empty() {
            (Takes::Nothing, format!("--{name}"))
        } else {
            (Takes::Value, format!("--{name}={value}"))
        };
        (Spec::long(name, takes), format!("{form} {about}"))
    };
    let entry = |(name, about): &(&'static str, &'static str)| Entry {
        name,
        operands: String::new(),
        about,
        options: Vec::new(),
        details: Vec::new(),
    };
    Program {
        name: "drbd-iscsi",
        about: "exports mirrored disks by the kernel's iSCSI target",
        synopsis: "COMMAND [OPTION...]",
        text: &[
            "Reads ietd.conf, as the iSCSI Enterprise Target had it, and drbd.conf, and makes the kernel's own target of \
             them: every line is mapped, warned about or refused. Both nodes show the same disk; the one that is primary \
             serves.",
        ],
        before: 0,
        candidates: "true",
        entries: drbd_iscsi::COMMANDS.iter().map(entry).collect(),
        common: drbd_iscsi::OPTIONS.iter().map(option).collect(),
        exits: drbd_iscsi::EXITS,
    }
}

fn programs() -> Vec<Program> {
    vec![
        iscsi(),
        crate::drbdsetup::program(),
        crate::drbdmeta::program(),
        Program {
            name: "drbdadm",
            about: "administers DRBD resources as drbd.conf describes them",
            synopsis: "[OPTIONS] COMMAND [all|RESOURCE[/VOLUME]|minor-N]...",
            text: &[
                "Reads /etc/drbd.conf and runs what drbdsetup and drbdmeta do, for whole resources. \
                 drbdadm COMMAND --help lists the options of a command; -d prints what would be done.",
            ],
            before: 0,
            candidates: RESOURCES,
            common: Vec::new(),
            entries: crate::drbdadm::catalog()
                .into_iter()
                .filter(|entry| entry.group != Group::Handler)
                .map(Entry::from)
                .collect(),
            exits: &[
                (0, "done"),
                (1, "wrong command line, or a compound command failed"),
                (10, "configuration invalid, or request refused"),
                (11, "state change refused"),
                (17, "no up-to-date data"),
                (20, "not even asked"),
            ],
        },
    ]
}

/// Text for troff: nothing in it is a command.
pub fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // Quotes would group the words of a macro.
    let text = text.replace('"', "\\(dq");
    // A line may end between two words of a choice.
    let text = text.replace('|', "|\\:");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

fn option(spec: &Spec) -> String {
    let short = spec
        .short
        .map_or(String::new(), |short| format!("-{short}, "));
    match spec.takes {
        Takes::Nothing => format!("{short}--{}", spec.name),
        Takes::Maybe => format!("{short}--{}[=yes|no]", spec.name),
        Takes::Value => format!("{short}--{}=VALUE", spec.name),
    }
}

/// The man page of a program.
fn man(program: &Program) -> String {
    let mut out = format!(
        ".TH {} 8 \"\" \"drbdrs {}\" \"System administration\"\n.ad l\n.nh\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n{}\n.SH DESCRIPTION\n",
        program.name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        program.name,
        plain(program.about),
        program.name,
        plain(program.synopsis),
    );
    for text in program.text {
        let _ = writeln!(out, "{}\n.PP", plain(text));
    }
    out += ".SH COMMANDS\n";
    for entry in &program.entries {
        let _ = writeln!(
            out,
            ".TP\n.B {} {}\n{}",
            plain(entry.name),
            plain(&entry.operands),
            plain(entry.about)
        );
        for spec in &entry.options {
            let flag = format!("--{}=", spec.name);
            let detail = entry.details.iter().find(|line| line.starts_with(&flag));
            let line = detail.cloned().unwrap_or_else(|| option(spec));
            let _ = writeln!(out, ".br\n{}", plain(&line));
        }
    }
    if !program.common.is_empty() {
        out += ".SH OPTIONS\n";
    }
    for (_, line) in &program.common {
        let (form, about) = line.split_once(' ').unwrap_or((line, ""));
        let _ = writeln!(out, ".TP\n.B {}\n{}", plain(form), plain(about));
    }
    out += ".SH EXIT STATUS\n";
    for (code, text) in program.exits {
        let _ = writeln!(out, ".TP\n.B {code}\n{}", plain(text));
    }
    out += ".SH SEE ALSO\n.BR drbdadm (8),\n.BR drbdsetup (8),\n.BR drbdmeta (8),\n.BR drbd.conf (5)\n";
    out
}

fn names(program: &Program) -> String {
    let names: Vec<&str> = program.entries.iter().map(|entry| entry.name).collect();
    names.join(" ")
}

fn flags(program: &Program, entry: &Entry) -> String {
    let common = program.common.iter().map(|(spec, _)| spec);
    let flags: Vec<String> = entry
        .options
        .iter()
        .chain(common)
        .map(|spec| match spec.takes {
            Takes::Value => format!("--{}=", spec.name),
            _ => format!("--{}", spec.name),
        })
        .chain(["--help".to_owned()])
        .collect();
    flags.join(" ")
}

fn bash(program: &Program) -> String {
    let mut cases = String::new();
    for entry in &program.entries {
        let _ = writeln!(
            cases,
            "    {}) flags=\"{}\" ;;",
            entry.name,
            flags(program, entry)
        );
    }
    format!(
        "# Completion of {name} for bash; generated by drbd-tools.\n\
         _{name}() {{\n\
         \x20 local word=\"${{COMP_WORDS[COMP_CWORD]}}\" command= flags= at=0 each\n\
         \x20 COMPREPLY=()\n\
         \x20 for each in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n\
         \x20   case $each in -?*) continue ;; esac\n\
         \x20   if [ $at -eq {before} ]; then command=$each; break; fi\n\
         \x20   at=$((at + 1))\n\
         \x20 done\n\
         \x20 case $command in\n\
         \x20   '')\n\
         \x20     if [ $at -lt {before} ]; then mapfile -t COMPREPLY < <(compgen -W 'v08 internal flex-external' -f -- \"$word\")\n\
         \x20     else mapfile -t COMPREPLY < <(compgen -W '{names}' -- \"$word\"); fi\n\
         \x20     return ;;\n\
         {cases}  esac\n\
         \x20 case $word in\n\
         \x20   -*) mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$word\") ;;\n\
         \x20   *) mapfile -t COMPREPLY < <(compgen -W \"$({candidates})\" -- \"$word\") ;;\n\
         \x20 esac\n\
         }}\n\
         complete -F _{name} {name}\n",
        name = program.name,
        before = program.before,
        names = names(program),
        candidates = program.candidates,
    )
}

fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh(program: &Program) -> String {
    let mut commands = String::new();
    for entry in &program.entries {
        let about = quoted(&entry.about.replace(':', "\\:"));
        let _ = writeln!(commands, "    '{}:{about}'", entry.name);
    }
    format!(
        "#compdef {name}\n# Generated by drbd-tools.\nlocal -a commands\ncommands=(\n{commands})\n\
         if (( CURRENT == {at} )); then\n  _describe command commands\n\
         elif (( CURRENT > {at} )); then\n  compadd -- ${{(f)\"$({candidates})\"}}\nelse\n  _files\nfi\n",
        name = program.name,
        at = program.before + 2,
        candidates = program.candidates,
    )
}

fn fish(program: &Program) -> String {
    let name = program.name;
    let all = names(program);
    let mut out = format!("# Completion of {name} for fish; generated by drbd-tools.\n");
    for entry in &program.entries {
        let _ = writeln!(
            out,
            "complete -c {name} -n 'not __fish_seen_subcommand_from {all}' -a {} -d '{}'",
            entry.name,
            quoted(entry.about)
        );
        for spec in &entry.options {
            let short = spec
                .short
                .map_or(String::new(), |short| format!(" -s {short}"));
            let value = if spec.takes == Takes::Value {
                " -r"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "complete -c {name} -n '__fish_seen_subcommand_from {}' -l {}{short}{value}",
                entry.name, spec.name
            );
        }
    }
    for (spec, _) in &program.common {
        let value = if spec.takes == Takes::Value {
            " -r"
        } else {
            ""
        };
        let _ = writeln!(out, "complete -c {name} -l {}{value}", spec.name);
    }
    let _ = writeln!(
        out,
        "complete -c {name} -n '__fish_seen_subcommand_from {all}' -a '({})'",
        quoted(program.candidates)
    );
    out
}

fn write(directory: &Path) -> io::Result<()> {
    let put = |path: String, text: String| {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)
    };
    put("man/man5/drbd.conf.5".to_owned(), crate::conf_page::man())?;
    for program in programs() {
        let name = program.name;
        for (path, text) in [
            (format!("man/man8/{name}.8"), man(&program)),
            (
                format!("bash-completion/completions/{name}"),
                bash(&program),
            ),
            (format!("zsh/site-functions/_{name}"), zsh(&program)),
            (
                format!("fish/vendor_completions.d/{name}.fish"),
                fish(&program),
            ),
        ] {
            put(path, text)?;
        }
    }
    Ok(())
}

/// `drbd-tools pages DIRECTORY`
pub fn main(args: &[String]) -> i32 {
    let [directory] = args else {
        eprintln!("USAGE: drbd-tools pages DIRECTORY\n  man pages and shell completion, as below /usr/share");
        return 1;
    };
    match write(Path::new(directory)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{directory}: {}", crate::os_error(&error));
            20
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_every_page() {
        for program in programs() {
            assert!(program.entries.len() >= 9, "{}", program.name);
            let (man, bash) = (man(&program), bash(&program));
            let (zsh, fish) = (zsh(&program), fish(&program));
            for entry in &program.entries {
                let name = entry.name;
                assert!(
                    man.contains(&format!(".B {} ", plain(name))),
                    "{name}\n{man}"
                );
                assert!(bash.contains(&format!("    {name}) ")), "{name}");
                assert!(zsh.contains(&format!("'{name}:")), "{name}");
                let common = program.common.iter().map(|(spec, _)| spec);
                for spec in entry.options.iter().chain(common) {
                    assert!(man.contains(&plain(&format!("--{}", spec.name))));
                    assert!(bash.contains(&format!("--{}", spec.name)));
                    assert!(fish.contains(&format!("-l {}", spec.name)));
                }
            }
        }
    }

    #[test]
    fn bash_takes_what_is_generated_for_it() {
        for program in programs() {
            let script = format!(
                "{}\nCOMP_WORDS=({} {} '') COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _{} 2>/dev/null; printf '%s ' \"${{COMPREPLY[@]}}\"",
                bash(&program),
                program.name,
                "x ".repeat(program.before),
                program.name
            );
            let output = std::process::Command::new("bash")
                .args(["-c", &script])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let first = program.entries[0].name;
            assert!(text.split(' ').any(|word| word == first), "{text}");
        }
    }

    #[test]
    fn text_is_no_troff() {
        assert_eq!(plain(".so x"), "\\&.so x");
        assert_eq!(plain("a-b\\c"), "a\\-b\\ec");
        assert_eq!(plain("say \"x\""), "say \\(dqx\\(dq");
    }
}
