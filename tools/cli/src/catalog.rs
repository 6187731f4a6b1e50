// SPDX-License-Identifier: GPL-2.0-only

//! What there is to type: every command and every option of a program, for help, man pages and completion.

use drbd_core::config::{Attr, Kind};

/// Whom a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// People.
    User,
    /// Scripts: udev, Pacemaker, boot.
    Script,
    /// The kernel, which calls it by name.
    Handler,
    /// People who know what they do.
    Expert,
}

/// One command.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Of which program.
    pub program: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whom it is for.
    pub group: Group,
    /// What stands behind it.
    pub operands: &'static str,
    /// One line.
    pub about: &'static str,
    /// Its own options.
    pub options: Vec<Flag>,
}

/// One option.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its value is: a word in capitals, or `a|b|c`; none if it takes none.
    pub value: Option<String>,
    /// One line.
    pub about: String,
}

/// An option out of the option table: type, range, default and unit are said there.
pub fn flag(attr: &'static Attr) -> Flag {
    let (value, about) = match attr.kind {
        Kind::Bool { default } => (
            Some("yes|no".to_owned()),
            format!("default {}", if default { "yes" } else { "no" }),
        ),
        Kind::Number {
            min,
            max,
            default,
            unit,
            ..
        } => {
            let comment = unit.comment();
            let comment = if comment.is_empty() {
                String::new()
            } else {
                format!(", {comment}")
            };
            let suffix = unit.suffix();
            (
                Some("NUMBER".to_owned()),
                format!("{min}{suffix} to {max}{suffix}, default {default}{suffix}{comment}"),
            )
        }
        Kind::Choice { names, default } => {
            let words: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let name = names.iter().find(|(_, number)| *number == default);
            (
                Some(words.join("|")),
                format!("default {}", name.map_or("none", |(name, _)| name)),
            )
        }
        Kind::Text { max } => (
            Some("TEXT".to_owned()),
            format!("at most {} bytes", max.saturating_sub(1)),
        ),
        Kind::Bytes { .. } | Kind::U32 | Kind::U64 => (Some("VALUE".to_owned()), String::new()),
    };
    Flag {
        long: attr.name,
        short: None,
        value,
        about,
    }
}
