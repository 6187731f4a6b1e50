// SPDX-License-Identifier: GPL-2.0-only

//! drbdsetup: one command of the kernel's netlink interface per invocation.
//!
//! `configure` changes something, `observe` asks for one thing, `status` and `show` print what is there, `events`
//! prints what happens, `wait` waits for it. Every one of them is driven by the option tables of `drbd_core::config`.

pub mod configure;
mod events;
mod events84;
mod gi;
mod help;
mod json;
mod kernel;
mod metrics;
mod observe;
pub mod show;
mod show_json;
mod status;
mod wait;
mod watch;
mod xml_help;

use drbd_config::suggest::nearest;

use crate::args::{parse, Parsed, Spec, Takes};
use crate::catalog::flag;
use crate::pages::{words_of, Entry, Program};

pub use gi::GenerationIds;
pub use kernel::{attached_to, driver, minor_operand};
pub use wait::OPTIONS as WAIT_OPTIONS;

/// Local failures: the kernel was not even asked.
pub const EXIT_LOCAL: i32 = 20;
const EXIT_USAGE: i32 = 10;

/// A command that observes.
struct Observer {
    name: &'static str,
    operands: &'static str,
    help: &'static str,
    options: &'static [Spec],
    run: fn(&Parsed) -> i32,
}

const NOTHING: &[Spec] = &[];

static OBSERVERS: &[Observer] = &[
    Observer {
        name: "role",
        operands: "MINOR",
        help: "our role and the peer's",
        options: NOTHING,
        run: observe::role,
    },
    Observer {
        name: "cstate",
        operands: "MINOR",
        help: "state of the connection",
        options: NOTHING,
        run: observe::cstate,
    },
    Observer {
        name: "dstate",
        operands: "MINOR",
        help: "state of our disk and of the peer's",
        options: NOTHING,
        run: observe::dstate,
    },
    Observer {
        name: "show-gi",
        operands: "MINOR",
        help: "data generation identifiers, explained",
        options: NOTHING,
        run: gi::show,
    },
    Observer {
        name: "get-gi",
        operands: "MINOR",
        help: "data generation identifiers",
        options: NOTHING,
        run: gi::get,
    },
    Observer {
        name: "show",
        operands: "[RESOURCE|MINOR]",
        help: "configuration as the kernel has it, as text that drbdadm reads",
        options: &[
            Spec::both("show-defaults", 'D', Takes::Nothing),
            Spec::both("json", 'j', Takes::Nothing),
        ],
        run: show::run,
    },
    Observer {
        name: "status",
        operands: "[RESOURCE]",
        help: "state of all resources, or of one",
        options: &[
            Spec::both("verbose", 'v', Takes::Nothing),
            Spec::both("statistics", 's', Takes::Nothing),
            Spec::both("color", 'c', Takes::Maybe),
            Spec::both("json", 'j', Takes::Nothing),
            Spec::both("watch", 'w', Takes::Nothing),
        ],
        run: status::run,
    },
    Observer {
        name: "metrics",
        operands: "",
        help: "state and counters of all resources as OpenMetrics text",
        options: NOTHING,
        run: metrics::run,
    },
    Observer {
        name: "sh-status",
        operands: "[RESOURCE|MINOR]",
        help: "state as shell assignments",
        options: NOTHING,
        run: observe::sh_status,
    },
    Observer {
        name: "check-resize",
        operands: "MINOR",
        help: "whether the minor is there; the size of its disk is looked at by 'resize'",
        options: NOTHING,
        run: observe::check_resize,
    },
    Observer {
        name: "events",
        operands: "[RESOURCE|MINOR]",
        help: "the state of each minor, then every change of it (see events2)",
        options: NOTHING,
        run: events84::run,
    },
    Observer {
        name: "events2",
        operands: "[RESOURCE]",
        help: "what there is, then every change",
        options: &[
            Spec::both("now", 'n', Takes::Nothing),
            Spec::both("statistics", 's', Takes::Nothing),
            Spec::both("timestamps", 'T', Takes::Nothing),
            Spec::both("poll", 'p', Takes::Nothing),
            Spec::both("full", 'f', Takes::Nothing),
        ],
        run: events::run,
    },
    Observer {
        name: "wait-connect",
        operands: "MINOR",
        help: "wait until the peer is there",
        options: wait::OPTIONS,
        run: wait::connect,
    },
    Observer {
        name: "wait-sync",
        operands: "MINOR",
        help: "wait until the disks are in sync",
        options: wait::OPTIONS,
        run: wait::sync,
    },
];

/// Runs one command line (without the program's name); the result is the exit code.
pub fn main(args: &[String]) -> i32 {
    let Some(name) = args.first() else {
        print!("{}", usage());
        return EXIT_USAGE;
    };
    if matches!(name.as_str(), "--help" | "-h" | "help" | "xml-help") {
        return tell(name == "xml-help", args.get(1).map(String::as_str));
    }
    if matches!(name.as_str(), "--version" | "-V") {
        println!(
            "drbdsetup {} (drbdrs; netlink API 1)",
            env!("CARGO_PKG_VERSION")
        );
        return 0;
    }
    let rest = args.get(1..).unwrap_or_default();
    if let Some(command) = configure::find(name) {
        return configure::main(command, rest);
    }
    let name = if name == "state" {
        eprintln!("'drbdsetup ... state' is deprecated, use 'drbdsetup ... role' instead.");
        "role"
    } else {
        name
    };
    let Some(observer) = OBSERVERS.iter().find(|observer| observer.name == name) else {
        return unknown(name);
    };
    let mut specs = observer.options.to_vec();
    specs.push(Spec::both("help", 'h', Takes::Nothing));
    let parsed = match parse(rest, &specs) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("drbdsetup {name}: {error}");
            return EXIT_LOCAL;
        }
    };
    if parsed.has("help") {
        print!("{}", observer.usage());
        return 0;
    }
    let (least, most) = match observer.operands {
        "" => (0, 0),
        operands if operands.starts_with('[') => (0, 1),
        _ => (1, 1),
    };
    if !(least..=most).contains(&parsed.operands.len()) {
        eprint!("{}", observer.usage());
        wrong_number(name, parsed.operands.len());
        return EXIT_LOCAL;
    }
    (observer.run)(&observer.all_is_nothing_named(parsed))
}

/// What is wrong with a command line stands in its last line.
fn wrong_number(name: &str, given: usize) {
    eprintln!("drbdsetup {name}: wrong number of operands, {given} given");
}

fn unknown(name: &str) -> i32 {
    let observing = OBSERVERS.iter().map(|observer| observer.name);
    let changing = configure::COMMANDS.iter().map(|command| command.name);
    let hint = match nearest(name, changing.chain(observing)) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "'drbdsetup help' lists them".to_owned(),
    };
    eprintln!("drbdsetup: '{name}' is not a command; {hint}");
    EXIT_LOCAL
}

/// `help [COMMAND]`, `xml-help COMMAND`.
fn tell(xml: bool, name: Option<&str>) -> i32 {
    match name {
        Some(name) if xml => match xml_help::text(name) {
            Some(text) => {
                print!("{text}");
                0
            }
            None => unknown(name),
        },
        Some(name) => main(&[name.to_owned(), "--help".to_owned()]),
        None => {
            print!("{}", usage());
            if xml {
                EXIT_LOCAL
            } else {
                0
            }
        }
    }
}

impl Observer {
    /// `events2 all`, as monitors call it, is `events2`.
    fn all_is_nothing_named(&self, mut parsed: Parsed) -> Parsed {
        if self.operands.starts_with('[') {
            parsed.operands.retain(|operand| operand != "all");
        }
        parsed
    }

    fn usage(&self) -> String {
        let options = if self.options.is_empty() {
            ""
        } else {
            " [OPTIONS]"
        };
        let mut text = format!(
            "USAGE: drbdsetup {} {}{options}\n  {}\n",
            self.name, self.operands, self.help
        );
        for line in help::lines(self.options) {
            text += &format!("    {line}\n");
        }
        text
    }
}

/// The program as man page and completion need it.
pub fn program() -> Program {
    let changing = configure::COMMANDS.iter().map(|command| Entry {
        name: command.name,
        operands: command.operands.join(" "),
        about: command.help,
        options: command.specs(),
        details: command.details(),
        words: command
            .rows()
            .map(flag)
            .filter_map(|flag| words_of(&flag))
            .collect(),
    });
    let observing = OBSERVERS.iter().map(|observer| Entry {
        name: observer.name,
        operands: observer.operands.to_owned(),
        about: observer.help,
        options: observer.options.to_vec(),
        details: help::lines(observer.options),
        words: Vec::new(),
    });
    Program {
        name: "drbdsetup",
        about: "changes and observes DRBD in the kernel",
        synopsis: "COMMAND [OPERANDS] [OPTIONS]",
        text: &["One request to the kernel per command; drbdadm does so for whole resources out of drbd.conf."],
        before: 0,
        common: Vec::new(),
        entries: changing.chain(observing).collect(),
        exits: &[
            (0, "done"),
            (5, "timeout, or the data is inconsistent"),
            (10, "refused"),
            (11, "state change refused"),
            (16, "no local disk"),
            (17, "no up-to-date data"),
            (20, "the kernel was not even asked"),
        ],
    }
}

/// What is answered without the kernel.
const ABOUT: [(&str, &str, &str); 3] = [
    ("help", "[COMMAND]", "this text, or that of a command"),
    (
        "xml-help",
        "COMMAND",
        "operands and options as XML, for programs",
    ),
    ("--version", "", "the version of these tools"),
];

fn usage() -> String {
    let mut text = String::from(
        "USAGE: drbdsetup COMMAND [OPERANDS] [OPTIONS]\n\n\
         Talks to the kernel; drbdadm does so for whole resources out of drbd.conf.\n\
         'drbdsetup COMMAND --help' lists the options of a command.\n\nThat change something:\n",
    );
    for command in configure::COMMANDS {
        text += &format!(
            "  {:<18} {:<34} {}\n",
            command.name,
            command.operands.join(" "),
            command.help
        );
    }
    text += "\nThat observe:\n";
    for observer in OBSERVERS {
        text += &format!(
            "  {:<18} {:<34} {}\n",
            observer.name, observer.operands, observer.help
        );
    }
    text += "\nAbout this program:\n";
    for (name, operands, about) in ABOUT {
        text += &format!("  {name:<18} {operands:<34} {about}\n");
    }
    text +=
        "\nExit codes: 0 done, 5 timeout or inconsistent, 10 refused, 11 state change refused,\n\
             16 no local disk, 17 no up-to-date data, 20 not even asked.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_stands_for_no_resource() {
        let run = |name: &str, words: &str| {
            let observer = OBSERVERS.iter().find(|o| o.name == name).unwrap();
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            observer
                .all_is_nothing_named(parse(&words, observer.options).unwrap())
                .operands
        };
        for name in ["status", "show", "events", "events2", "sh-status"] {
            assert!(run(name, "all").is_empty(), "{name}");
            assert_eq!(run(name, "r0"), ["r0"], "{name}");
        }
        assert_eq!(run("role", "all"), ["all"]);
    }

    #[test]
    fn every_command_has_help() {
        let text = usage();
        assert!(text.contains("  xml-help "), "{text}");
        for name in OBSERVERS
            .iter()
            .map(|o| o.name)
            .chain(configure::COMMANDS.iter().map(|c| c.name))
        {
            assert!(text.contains(&format!("  {name} ")), "{name}");
            assert_eq!(main(&[name.to_owned(), "--help".to_owned()]), 0, "{name}");
        }
        let run = |line: &str| main(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(run("nonsense"), EXIT_LOCAL);
        assert_eq!(run("help attach"), 0);
        assert_eq!(run("help nonsense"), EXIT_LOCAL);
        assert_eq!(run("xml-help attach"), 0);
        assert_eq!(run("xml-help nonsense"), EXIT_LOCAL);
        assert_eq!(
            main(&["status".to_owned(), "a".to_owned(), "b".to_owned()]),
            EXIT_LOCAL
        );
    }
}
