// SPDX-License-Identifier: GPL-2.0-only

//! `drbd-tools pages DIRECTORY`: man pages and completion for bash, zsh and fish, out of the tables that the programs
//! themselves are driven by (those of drbd-iscsi by [`iscsi_page`]). `make install` runs it; DIRECTORY becomes a `share`.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use clap_complete::Shell;

use crate::args::{Spec, Takes};
use crate::catalog::{self, Flag, Group};
use crate::iscsi_page;

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
    /// The values of options that have few.
    pub words: Vec<(&'static str, Vec<String>)>,
}

/// The values that an option may have, if it is one of some words.
pub fn words_of(flag: &Flag) -> Option<(&'static str, Vec<String>)> {
    let value = flag.value.as_deref()?;
    let words = value.contains('|').then(|| value.split('|'))?;
    Some((flag.long, words.map(str::to_owned).collect()))
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
            words: entry.options.iter().filter_map(words_of).collect(),
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
    /// Its commands.
    pub entries: Vec<Entry>,
    /// Options of all commands: as they are completed, and one line for each: `--name=VALUE text`.
    pub common: Vec<(Spec, String)>,
    /// Exit codes and what they mean.
    pub exits: &'static [(i32, &'static str)],
}

/// An option of all commands, from the table.
fn common(flag: &Flag) -> (Spec, String) {
    let takes = if flag.value.is_some() {
        Takes::Value
    } else {
        Takes::Nothing
    };
    let short = flag
        .short
        .map_or(String::new(), |short| format!("-{short},"));
    let value = flag
        .value
        .as_ref()
        .map_or(String::new(), |value| format!("={value}"));
    let spec = Spec {
        name: flag.long,
        short: flag.short,
        takes,
    };
    (
        spec,
        format!("{short}--{}{value} {}", flag.long, flag.about),
    )
}

/// The programs with the stock tools' command lines.
pub fn programs() -> Vec<Program> {
    vec![
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
            common: crate::drbdadm::general().iter().map(common).collect(),
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
        ".TH {} 8 \"\" \"drbdrs {}\" \"System administration\"\n.ds AD l\n.ad l\n.nh\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n{}\n.SH DESCRIPTION\n",
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
            let flag = format!("--{}", spec.name);
            let is_flag = |line: &&String| {
                let rest = line.strip_prefix(&flag);
                rest.is_some_and(|rest| rest.starts_with(['=', '[', ' ', ':']))
            };
            let detail = entry.details.iter().find(is_flag);
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

/// Where the programs are, for users whose PATH has no `sbin`.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The completions only ask `drbd-tools complete`; 3 means that the shell's own names of files are meant.
fn bash(name: &str) -> String {
    format!(
        r#"# Completion of {name} for bash; generated by drbd-tools.
_drbd_tools() {{
  local line=${{COMP_LINE:0:COMP_POINT}} words current found status=0
  read -ra words <<<"$line"
  case $line in *[[:space:]]) words+=('') ;; esac
  current=${{words[-1]}}
  COMPREPLY=()
  found=$(PATH=$PATH:{sbin} drbd-tools complete "${{words[@]}}" 2>/dev/null) || status=$?
  if [ $status = 3 ]; then
    compopt -o default
  elif [ -n "$found" ]; then
    mapfile -t COMPREPLY < <(cut -f1 <<<"$found")
    case ${{COMPREPLY[0]}} in *=) compopt -o nospace ;; esac
    # '=' ends a word for readline.
    case $current in *=*) COMPREPLY=("${{COMPREPLY[@]#"${{current%%=*}}="}}") ;; esac
  fi
}}
complete -F _drbd_tools {name}
"#,
        sbin = SBIN.join(":"),
    )
}

fn zsh(name: &str) -> String {
    format!(
        r#"#compdef {name}
# Generated by drbd-tools.
local list line
local -a names shown
list=$(PATH=$PATH:{sbin} drbd-tools complete "${{(@)words[1,CURRENT]}}" 2>/dev/null)
case $? in
  3) [[ $PREFIX != --*=* ]] || compset -P 1 '*='; _files; return ;;
  0) ;;
  *) return 1 ;;
esac
for line in "${{(@f)list}}"; do
  [[ -n $line ]] || continue
  names+=("${{line%%$'	'*}}")
  shown+=("${{line%%$'	'*}}  ${{line#*$'	'}}")
done
if [[ ${{names[1]}} == *= ]]; then
  compadd -S '' -l -d shown -- "${{names[@]}}"
else
  compadd -l -d shown -- "${{names[@]}}"
fi
"#,
        sbin = SBIN.join(":"),
    )
}

fn fish(name: &str) -> String {
    format!(
        r#"# Completion of {name} for fish; generated by drbd-tools.
function __drbd_tools
    set -l current (commandline -ct)
    set -lx PATH $PATH {sbin}
    drbd-tools complete (commandline -opc) "$current" 2>/dev/null
    or __fish_complete_path "$current"
end
complete -c {name} -f -a '(__drbd_tools)'
"#,
        sbin = SBIN.join(" "),
    )
}

fn write(directory: &Path) -> io::Result<()> {
    let put = |path: String, text: String| {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)
    };
    let program = |name: &str, [man, bash, zsh, fish]: [String; 4]| {
        put(format!("man/man8/{name}.8"), man)?;
        put(format!("bash-completion/completions/{name}"), bash)?;
        put(format!("zsh/site-functions/_{name}"), zsh)?;
        put(format!("fish/vendor_completions.d/{name}.fish"), fish)
    };
    put("man/man5/drbd.conf.5".to_owned(), crate::conf_page::man())?;
    for stock in programs() {
        let name = stock.name;
        program(name, [man(&stock), bash(name), zsh(name), fish(name)])?;
    }
    let shell = iscsi_page::completion;
    program(
        iscsi_page::NAME,
        [
            iscsi_page::man()?,
            shell(Shell::Bash)?,
            shell(Shell::Zsh)?,
            shell(Shell::Fish)?,
        ],
    )
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
            eprintln!("{directory}: {}", drbd_say::os_error(&error));
            20
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_manual() {
        for program in programs() {
            assert!(program.entries.len() >= 9, "{}", program.name);
            let man = man(&program);
            for entry in &program.entries {
                let name = entry.name;
                assert!(
                    man.contains(&format!(".B {} ", plain(name))),
                    "{name}\n{man}"
                );
                let common = program.common.iter().map(|(spec, _)| spec);
                for spec in entry.options.iter().chain(common) {
                    assert!(man.contains(&plain(&format!("--{}", spec.name))));
                }
            }
        }
    }

    /// bash is everywhere; zsh and fish are asked by `make test-completion`.
    #[test]
    fn bash_takes_what_is_generated_for_it() {
        for program in programs() {
            let output = std::process::Command::new("bash")
                .args(["-nc", &bash(program.name)])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }

    #[test]
    fn text_is_no_troff() {
        assert_eq!(plain(".so x"), "\\&.so x");
        assert_eq!(plain("a-b\\c"), "a\\-b\\ec");
        assert_eq!(plain("say \"x\""), "say \\(dqx\\(dq");
    }
}
