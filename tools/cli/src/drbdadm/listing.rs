// SPDX-License-Identifier: GPL-2.0-only

//! The commands that print the configuration, or what there is to type.

use drbd_config::model::Resource;
use drbd_config::{dump, json, xml, Config, Identity};

use super::line::{Line, GENERAL};
use super::target::{self, Mode};
use super::{shell, COMMANDS, EXIT_USAGE};
use crate::catalog::{flag, Entry, Flag, Group};
use crate::drbdsetup::configure;

/// Commands for people who know what they do.
const EXPERT: &[&str] = &[
    "sh-new-minor",
    "new-minor",
    "new-resource",
    "suspend-io",
    "resume-io",
    "set-gi",
    "new-current-uuid",
    "check-resize",
];

/// `dump`, `dump-xml`, `dump --json`, `format`.
pub fn print(
    name: &str,
    line: &Line,
    config: &Config,
    identity: &Identity,
    operands: &[&str],
) -> i32 {
    if name == "format" {
        // The main file is the first of the texts; what it includes is left to be formatted by its own name.
        return match drbd_config::format::text(config.sources.text(0)) {
            Ok(text) => {
                print!("{text}");
                0
            }
            Err(_) => EXIT_USAGE,
        };
    }
    let expanded = line.verbose || line.dry_run;
    let all = operands.is_empty() || operands.contains(&"all");
    // A resource of any node by its name; one of this node by what else means it, as for other commands.
    let mut names: Vec<&str> = Vec::new();
    for operand in operands.iter().filter(|operand| **operand != "all") {
        if config.resources.iter().any(|r| r.name == **operand) {
            names.push(operand);
            continue;
        }
        match target::select(config, identity, operand, None, Mode::Either) {
            Ok(selected) => names.extend(selected.iter().map(|s| s.resource.name.as_str())),
            Err(text) => {
                eprintln!("{text}");
                return EXIT_USAGE;
            }
        }
    }
    let named = |resource: &Resource| names.contains(&resource.name.as_str());
    let chosen: Vec<&Resource> = config
        .resources
        .iter()
        .filter(|resource| all || named(resource))
        .collect();
    if line.json {
        let value = json::config(config, |resource| all || named(resource));
        println!("{value:#}");
    } else if name == "dump-xml" && all {
        print!("{}", xml::config(config, expanded));
    } else if name == "dump-xml" {
        for resource in chosen {
            print!("{}", xml::resource(config, resource, expanded));
        }
    } else {
        if all {
            print!("{}", dump::head(config));
        }
        for resource in chosen {
            print!("{}", dump::resource(config, resource, identity, expanded));
        }
    }
    0
}

/// The options that come in front of every command.
pub fn general() -> Vec<Flag> {
    GENERAL
        .iter()
        .map(|(long, short, takes)| Flag {
            long,
            short: Some(*short),
            value: takes.then(|| match *long {
                "config-file" | "config-to-test" | "config-to-exclude" => "FILE".to_owned(),
                "peer" | "sh-varname" => "NAME".to_owned(),
                "setup-option" => "OPTION".to_owned(),
                _ => "PROGRAM".to_owned(),
            }),
            about: general_about(long).to_owned(),
        })
        .collect()
}

fn general_about(long: &str) -> &'static str {
    match long {
        "stacked" => "resources that lie on other resources, instead of those on disks",
        "dry-run" => "print what would be done",
        "verbose" => "print what is done",
        "config-file" => "instead of /etc/drbd.conf ('-': standard input)",
        "config-to-test" => "read this file behind the configuration, to check it",
        "config-to-exclude" => "leave this file out where it is included",
        "sh-varname" => "print NAME=RESOURCE in front of the output",
        "peer" => "which peer, if a resource has several",
        "version" => "versions of driver and tools, for the eval of scripts",
        "setup-option" => "pass an option on, as '--' in front of it does",
        "help" => "this text, or that of a command",
        _ => "accepted and not used: the programs are one",
    }
}

fn written(flag: &Flag) -> String {
    let short = flag.short.map_or_else(String::new, |c| format!("-{c}, "));
    let value = flag
        .value
        .as_ref()
        .map_or_else(String::new, |v| format!("={v}"));
    format!("{short}--{}{value}", flag.long)
}

/// All commands for people, and the general options.
pub fn usage() -> String {
    let mut text = String::from(
        "USAGE: drbdadm [OPTIONS] COMMAND [all|RESOURCE|RESOURCE/VOLUME|minor-N]...\n\nOPTIONS:\n",
    );
    for flag in general() {
        text += &format!("  {:<28} {}\n", written(&flag), flag.about);
    }
    text += "\nCOMMANDS:\n";
    for entry in catalog().iter().filter(|entry| entry.group == Group::User) {
        text += &format!("  {:<22} {}\n", entry.name, entry.about);
    }
    text += "\nExit codes: 0 done, 1 wrong command line or a compound command failed, 10 configuration invalid or\n\
             request refused, 11 state change refused, 17 no up-to-date data, 20 not even asked.\n";
    text
}

/// One command with its options.
pub fn help(name: &str) -> String {
    let Some(entry) = catalog().into_iter().find(|entry| entry.name == name) else {
        return usage();
    };
    let mut text = format!(
        "USAGE: {} [OPTIONS] {name} {{{}}}\n  {}\n",
        entry.program, entry.operands, entry.about
    );
    if !entry.options.is_empty() {
        text += "\nOPTIONS of its own:\n";
    }
    for flag in &entry.options {
        text += &format!("  {:<40} {}\n", written(flag), flag.about);
    }
    text
}

/// The options of one command.
fn own(name: &str) -> Vec<Flag> {
    let plain = |long, about: &str| Flag {
        long,
        short: None,
        value: None,
        about: about.to_owned(),
    };
    match name {
        "create-md" | "wipe-md" => vec![plain("force", "without asking")],
        "status" | "dump" => vec![plain("json", "for programs")],
        _ => configure::find(name)
            .map(|command| command.rows().map(flag).collect())
            .unwrap_or_default(),
    }
}

/// Every command of drbdadm.
pub fn catalog() -> Vec<Entry> {
    let entry = |name, group, operands, about| Entry {
        program: "drbdadm",
        name,
        group,
        operands,
        about,
        options: own(name),
    };
    const RESOURCES: &str = "all|RESOURCE[/VOLUME]|minor-N...";
    let known = COMMANDS.iter().map(|command| {
        let group = if EXPERT.contains(&command.name) {
            Group::Expert
        } else if command.name.starts_with("sh-") {
            Group::Script
        } else {
            Group::User
        };
        entry(command.name, group, RESOURCES, command.help)
    });
    let scripts = shell::COMMANDS
        .iter()
        .map(|name| entry(name, Group::Script, RESOURCES, shell::about(name)));
    let handlers = shell::HANDLERS.iter().map(|name| {
        let about = drbd_config::about::about(name);
        entry(name, Group::Handler, "RESOURCE|minor-N", about)
    });
    known.chain(scripts).chain(handlers).collect()
}

/// `hidden-commands`: what the usage leaves out.
pub fn hidden() -> String {
    let parts = [
        (Group::Script, "These are for shell scripts:"),
        (Group::Handler, "These are called by the kernel:"),
        (Group::Expert, "These are for experts and developers:"),
    ];
    let mut text = String::new();
    for (group, head) in parts {
        text += &format!("\n{head}\n\n");
        for entry in catalog().iter().filter(|entry| entry.group == group) {
            text += &format!(" {:<22} {}\n", entry.name, entry.about);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_hidden_commands_are_told_alike() {
        let text = hidden();
        assert!(text.contains("\n sh-new-minor "), "{text}");
        let about = |line: &str| {
            line.trim()
                .split_once(' ')
                .map(|(_, about)| about.trim().to_owned())
        };
        let commands = text.lines().filter(|line| line.starts_with(' '));
        let mut abouts: Vec<String> = commands.filter_map(about).collect();
        let count = abouts.len();
        abouts.sort();
        abouts.dedup();
        assert_eq!(abouts.len(), count, "{text}");
    }

    #[test]
    fn every_command_of_the_stock_tool_is_there() {
        let stock = "adjust adjust-with-progress apply-al attach connect create-md cstate detach disconnect disk-options \
            down dstate dump dump-md dump-xml get-gi hidden-commands invalidate invalidate-remote net-options outdate \
            pause-sync primary resize resource-options resume-sync role secondary show-gi status up verify wait-con-int \
            wait-connect wait-sync wipe-md sh-nop sh-resources sh-resource sh-mod-parms sh-dev sh-udev sh-minor sh-ll-dev \
            sh-md-dev sh-md-idx sh-ip sh-lr-of sh-b-pri sh-status proxy-up proxy-down new-resource before-resync-target \
            after-resync-target before-resync-source pri-on-incon-degr pri-lost-after-sb fence-peer unfence-peer \
            local-io-error pri-lost initial-split-brain split-brain out-of-sync sh-new-minor new-minor suspend-io \
            resume-io set-gi new-current-uuid check-resize";
        let catalog = catalog();
        for name in stock.split_whitespace() {
            assert_eq!(
                catalog.iter().filter(|entry| entry.name == name).count(),
                1,
                "{name}"
            );
        }
    }
}
