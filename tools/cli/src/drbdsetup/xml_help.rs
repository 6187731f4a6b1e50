// SPDX-License-Identifier: GPL-2.0-only

//! `xml-help COMMAND`: operands and options of a command, with type, range and default, for programs that offer them.

use std::fmt::Write as _;

use drbd_core::config::{Attr, Kind};

use super::configure::{self, Configure};
use super::{Observer, OBSERVERS};
use crate::args::Takes;

/// The commands of this text, or none if there is no such command.
pub fn text(name: &str) -> Option<String> {
    if let Some(command) = configure::find(name) {
        return Some(changing(command));
    }
    let named = if name == "state" { "role" } else { name };
    let observer = OBSERVERS.iter().find(|observer| observer.name == named)?;
    Some(observing(name, observer))
}

fn changing(command: &Configure) -> String {
    let mut text = format!("<command name=\"{}\">\n", command.name);
    for operand in command.operands {
        let _ = writeln!(
            text,
            "\t<argument>{}</argument>",
            match *operand {
                "META_DEV" => "meta_data_dev".to_owned(),
                "META_INDEX" => "meta_data_index".to_owned(),
                operand => operand.to_lowercase(),
            }
        );
    }
    for spec in command.specs() {
        // Other names of the same thing are not offered.
        match command.rows().find(|attr| attr.name == spec.name) {
            Some(attr) => text += &option(attr),
            None if spec.takes == Takes::Nothing => {
                let _ = writeln!(
                    text,
                    "\t<option name=\"{}\" type=\"flag\">\n\t</option>",
                    spec.name
                );
            }
            None => {}
        }
    }
    text + "</command>\n"
}

fn option(attr: &Attr) -> String {
    let (kind, lines): (&str, Vec<(&str, String)>) = match attr.kind {
        Kind::Bool { default } => {
            let default = if default { "yes" } else { "no" };
            ("boolean", vec![("default", default.to_owned())])
        }
        Kind::Number {
            min,
            max,
            default,
            unit,
            ..
        } => {
            let prefix = match unit.suffix() {
                "" => "1",
                suffix => suffix,
            };
            let mut lines = vec![
                ("min", min.to_string()),
                ("max", max.to_string()),
                ("default", default.to_string()),
                ("unit_prefix", prefix.to_owned()),
            ];
            if !unit.comment().is_empty() {
                lines.push(("unit", unit.comment().to_owned()));
            }
            ("numeric", lines)
        }
        Kind::Choice { names, .. } => {
            let words = names
                .iter()
                .map(|(word, _)| ("handler", (*word).to_owned()));
            ("handler", words.collect())
        }
        Kind::Text { .. } | Kind::Bytes { .. } | Kind::U32 | Kind::U64 => ("string", Vec::new()),
    };
    let mut text = format!("\t<option name=\"{}\" type=\"{kind}\">\n", attr.name);
    for (tag, value) in lines {
        let _ = writeln!(text, "\t\t<{tag}>{value}</{tag}>");
    }
    text + "\t</option>\n"
}

fn observing(name: &str, observer: &Observer) -> String {
    let mut text = format!("<command name=\"{name}\">\n");
    match observer.operands.strip_prefix('[') {
        // What may be left out may also be all of them.
        Some(optional) => {
            text += "\t<group>\n";
            for word in optional.trim_end_matches(']').split('|').chain(["ALL"]) {
                let _ = writeln!(text, "\t\t<argument>{}</argument>", word.to_lowercase());
            }
            text += "\t</group>\n";
        }
        None if observer.operands.is_empty() => {}
        None => {
            let _ = writeln!(
                text,
                "\t<argument>{}</argument>",
                observer.operands.to_lowercase()
            );
        }
    }
    for spec in observer.options {
        let kind = if spec.takes == Takes::Nothing {
            "flag"
        } else {
            "string"
        };
        let _ = writeln!(
            text,
            "\t<option name=\"{}\" type=\"{kind}\">\n\t</option>",
            spec.name
        );
    }
    text + "</command>\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Options and operands of a command: each with all that is said of it in one line.
    fn parts(command: &str) -> BTreeSet<String> {
        let flat: String = command.lines().map(str::trim).collect();
        flat.replace("<argument>", "\n<argument>")
            .replace("<option ", "\n<option ")
            .lines()
            .skip(1)
            .map(|line| {
                line.trim_end_matches("</command>")
                    .trim_end_matches("<group>")
                    .trim_end_matches("</group>")
                    .to_owned()
            })
            .collect()
    }

    /// Without the unit of a number, where it is said here only.
    fn without_unit(part: &str) -> String {
        let (before, rest) = part.split_once("<unit>").unwrap_or((part, ""));
        before.to_owned()
            + rest
                .split_once("</unit>")
                .map_or(rest, |(_, behind)| behind)
    }

    fn left_out(option: &str) -> bool {
        // A second address pair, which the driver 8.4.11 refuses.
        ["alternate-address", "alternate-peer-address"]
            .iter()
            .any(|name| option.contains(&format!("name=\"{name}\"")))
    }

    /// Every command and every option of the stock tool is there, with its type, range, default and unit.
    #[test]
    fn every_option_of_the_stock_tool_with_its_range() {
        let stock = include_str!("../../../../tests/golden/commands/xml-help-8.4.txt");
        let (mut commands, mut wrong) = (0, String::new());
        for command in stock.split_inclusive("</command>\n") {
            let name = command.split('"').nth(1).unwrap();
            commands += 1;
            let Some(ours) = text(name) else {
                wrong += &format!("{name}: missing\n");
                continue;
            };
            let ours = parts(&ours);
            for part in parts(command).difference(&ours) {
                let without = ours.iter().any(|ours| without_unit(ours) == *part);
                if !without && !left_out(part) {
                    wrong += &format!("{name}: {part} is missing\n");
                }
            }
        }
        assert_eq!(commands, 38);
        assert!(wrong.is_empty(), "{wrong}");
        assert!(text("nonsense").is_none());
    }
}
