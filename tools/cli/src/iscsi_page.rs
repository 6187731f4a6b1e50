// SPDX-License-Identifier: GPL-2.0-only

//! drbd-iscsi(8), and what shells complete behind drbd-iscsi, out of the definition of its command line.

use std::io;

use clap::Command;
use clap_complete::{generate, Shell};
use clap_mangen::roff::{bold, roman, Roff};
use clap_mangen::Man;

/// The name of the program.
pub const NAME: &str = "drbd-iscsi";

/// The pages that stand beside this one.
const SEE: [(&str, &str); 4] = [
    ("drbdadm", "(8),"),
    ("drbdsetup", "(8),"),
    ("drbdmeta", "(8),"),
    ("drbd.conf", "(5)"),
];

/// Entries, each with what it is about.
fn entries<T: Into<String>>(roff: &mut Roff, entries: impl Iterator<Item = (T, String)>) {
    for (name, about) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(about)]);
    }
}

/// A command and what it is for.
fn about(command: &Command) -> (&str, String) {
    let about = command.get_about().map(ToString::to_string);
    (command.get_name(), about.unwrap_or_default())
}

/// The page. The commands have no pages of their own: all take the same options.
pub fn man() -> io::Result<String> {
    let command = drbd_iscsi::command().disable_help_subcommand(true);
    let man = Man::new(command.clone())
        .section("8")
        .title(NAME.to_uppercase())
        .source(concat!("drbdrs ", env!("CARGO_PKG_VERSION")))
        .manual("System administration")
        // Without it the arguments behind it would move up.
        .date(" ");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    entries(&mut roff, command.get_subcommands().map(about));
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    let exits = drbd_iscsi::EXITS.iter();
    entries(
        &mut roff,
        exits.map(|(code, text)| (code.to_string(), (*text).to_owned())),
    );
    roff.control("SH", ["SEE ALSO"]);
    for (name, section) in SEE {
        roff.control("BR", [name, section]);
    }
    roff.to_writer(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}

/// The completion of a shell.
pub fn completion(shell: Shell) -> io::Result<String> {
    let mut script = Vec::new();
    generate(shell, &mut drbd_iscsi::command(), NAME, &mut script);
    String::from_utf8(script).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_manual() {
        let page = man().unwrap();
        let command = drbd_iscsi::command();
        assert!(command.get_subcommands().count() >= 9);
        for name in command.get_subcommands().map(Command::get_name) {
            let line = format!("\\fB{}\\fR", name.replace('-', "\\-"));
            assert!(page.contains(&line), "{name}\n{page}");
        }
        for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
            let form = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&form), "{option}\n{page}");
        }
        for (code, text) in drbd_iscsi::EXITS {
            assert!(page.contains(&format!("\\fB{code}\\fR\n{text}")), "{page}");
        }
    }

    /// bash is everywhere; zsh and fish are asked by `make test-completion`.
    #[test]
    fn bash_offers_commands_options_and_files() {
        let script = completion(Shell::Bash).unwrap();
        let offered = |line: &str| {
            let asks = format!(
                "{script}\nCOMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
                 _drbd-iscsi drbd-iscsi \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
                 echo \"${{COMPREPLY[@]}}\""
            );
            let bash = std::process::Command::new("bash")
                .args(["--norc", "-c", &asks])
                .output()
                .unwrap();
            String::from_utf8_lossy(&bash.stdout).trim().to_owned()
        };
        assert_eq!(offered("drbd-iscsi pl"), "plan");
        assert_eq!(offered("drbd-iscsi plan --peer"), "--peer-portal");
        assert_eq!(offered("drbd-iscsi plan --config /dev/nul"), "/dev/null");
    }
}
