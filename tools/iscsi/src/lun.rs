// SPDX-License-Identifier: GPL-2.0-only

//! `Lun NUMBER OPTION=VALUE,OPTION=VALUE`: the one directive with a grammar of its own. The names of the options are
//! compared with regard to case, as ietd does.

use drbd_config::source::{nearest, Diagnostic, Span};

use crate::model::{Kind, Lun};
use crate::parse::Word;

const OPTIONS: [&str; 8] = [
    "Path",
    "Type",
    "ScsiId",
    "ScsiSN",
    "IOMode",
    "BlockSize",
    "Blocks",
    "Sectors",
];
const TYPES: [&str; 3] = ["fileio", "blockio", "nullio"];
/// Highest unit number of ietd; the kernel's target has fewer.
const NUMBER_MAX: u32 = 16383;
/// Longest serial number that the kernel's target takes.
const SERIAL_MAX: usize = 253;

/// The option that a mistyped name most likely means.
fn meant(name: &str) -> Option<&'static str> {
    let sorted = |word: &str| {
        let mut bytes = word.to_ascii_lowercase().into_bytes();
        bytes.sort_unstable();
        bytes
    };
    let swapped = || OPTIONS.into_iter().find(|o| sorted(o) == sorted(name));
    nearest(name, OPTIONS.into_iter()).or_else(swapped)
}

/// Longest serial number of ietd.
const SERIAL_SEEN: usize = 16;

/// Reads what stands behind `Lun`; `None` if there is no use in going on.
pub(crate) fn parse(words: &[Word<'_>], diagnostics: &mut Vec<Diagnostic>) -> Option<Lun> {
    let [number, options, more @ ..] = words else {
        let end = words.last().map(|w| w.span)?;
        diagnostics.push(Diagnostic::error(
            end.after(),
            "a unit without options",
            "write: Lun NUMBER Path=DEVICE,Type=blockio",
        ));
        return None;
    };
    let value = number.text.parse().ok().filter(|n| *n <= NUMBER_MAX);
    let Some(value) = value else {
        diagnostics.push(Diagnostic::error(
            number.span,
            format!("'{}' is no number of a unit", number.text),
            format!("a number from 0 to {NUMBER_MAX}"),
        ));
        return None;
    };
    let lun = Lun {
        number: value,
        span: number.span,
        kind: (Kind::FileIo, number.span),
        path: None,
        read_only: false,
        write_back: None,
        serial: None,
        id: None,
        block_size: None,
        blocks: None,
        unread: false,
    };
    let mut reader = Reader {
        lun,
        seen: Vec::new(),
        diagnostics,
    };
    reader.options(*options);
    reader.more(*options, more);
    reader.finish()
}

struct Reader<'d> {
    lun: Lun,
    seen: Vec<(String, Span)>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn options(&mut self, word: Word<'_>) {
        let mut start = word.span.start;
        for option in word.text.split(',') {
            let span = Span {
                start,
                end: start + option.len(),
                ..word.span
            };
            start = span.end + 1;
            self.option(option, span);
        }
    }

    /// What stands behind a blank: the rest, if a backslash joined two lines behind a comma; else nothing that may.
    fn more(&mut self, before: Word<'_>, words: &[Word<'_>]) {
        let Some((first, rest)) = words.split_first() else {
            return;
        };
        if first.joined && (before.text.ends_with(',') || first.text.starts_with(',')) {
            self.options(*first);
            return self.more(*first, rest);
        }
        let last = rest.last().unwrap_or(first);
        let span = Span {
            end: last.span.end,
            ..first.span
        };
        let name = first.text.trim_start_matches(',').split('=').next();
        let option = before.text.ends_with(',')
            || first.text.starts_with(',')
            || name.is_some_and(|name| OPTIONS.contains(&name));
        let advice = if first.text.starts_with('#') {
            "a comment needs a line of its own"
        } else if first.text == "\\" {
            "a backslash joins two lines if it is the last character of the first: remove what is behind it"
        } else if option && before.text.ends_with(',') {
            "no blanks after the comma"
        } else if option {
            "the options of a unit are joined by commas, without blanks"
        } else {
            "remove it: a path with blanks cannot be written"
        };
        self.error(span, format!("unexpected '{}'", first.text), advice);
        // A comment hides nothing that was meant.
        self.lun.unread |= !first.text.starts_with('#');
    }

    fn error(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::error(span, message, advice));
    }

    fn option(&mut self, option: &str, span: Span) {
        if option.is_empty() {
            return;
        }
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value_span = Span {
            start: (span.start + name.len() + 1).min(span.end),
            ..span
        };
        let name_span = Span {
            end: span.start + name.len(),
            ..span
        };
        if !OPTIONS.contains(&name) {
            let advice = match meant(name) {
                Some(meant) if meant.eq_ignore_ascii_case(name) => {
                    format!("'{meant}'? (with regard to case)")
                }
                Some(meant) => format!("'{meant}'?"),
                None => format!("one of {}", OPTIONS.join(", ")),
            };
            self.lun.unread = true;
            return self.error(name_span, format!("unknown option '{name}'"), advice);
        }
        if value.is_empty() {
            self.lun.unread = true;
            return self.error(
                value_span,
                format!("'{name}' without a value"),
                "write NAME=VALUE",
            );
        }
        if let Some((_, first)) = self.seen.iter().find(|(seen, _)| seen == name) {
            let first = *first;
            self.diagnostics.push(
                Diagnostic::error(span, format!("'{name}' twice"), "remove one")
                    .with(first, "the first"),
            );
            return;
        }
        self.seen.push((name.to_owned(), span));
        self.value(name, value, value_span);
    }

    fn value(&mut self, name: &str, value: &str, span: Span) {
        let owned = (value.to_owned(), span);
        match name {
            "Path" => self.lun.path = Some(owned),
            "Type" => match value {
                "fileio" => self.lun.kind = (Kind::FileIo, span),
                "blockio" => self.lun.kind = (Kind::BlockIo, span),
                "nullio" => self.lun.kind = (Kind::NullIo, span),
                _ => {
                    self.lun.unread = true;
                    let advice = match nearest(value, TYPES.into_iter()) {
                        Some(meant) => format!("'{meant}'?"),
                        None => TYPES.join(", "),
                    };
                    self.error(span, format!("'{value}' is no type"), advice);
                }
            },
            "IOMode" => match value {
                "ro" => self.lun.read_only = true,
                "wb" => self.lun.write_back = Some(span),
                "wt" => {}
                _ => self.diagnostics.push(Diagnostic::warning(
                    span,
                    format!("'{value}' taken as 'wt'"),
                    "ietd knows ro, wb and wt",
                )),
            },
            "ScsiSN" | "ScsiId" => {
                self.identity(value, span);
                if name == "ScsiSN" {
                    self.lun.serial = Some(owned);
                } else {
                    self.lun.id = Some(owned);
                }
            }
            "BlockSize" => match value.parse() {
                Ok(size @ (512 | 1024 | 2048 | 4096)) => self.lun.block_size = Some((size, span)),
                _ => self.error(
                    span,
                    format!("'{value}' is no size of a block"),
                    "512, 1024, 2048 or 4096",
                ),
            },
            // `Sectors` is the name that ietd had before 1.4.20.
            _ => match value.parse() {
                Ok(blocks @ 1..) => self.lun.blocks = Some(blocks),
                _ => self.error(
                    span,
                    format!("'{value}' is no number of blocks"),
                    "1 or more",
                ),
            },
        }
    }

    fn identity(&mut self, value: &str, span: Span) {
        if value.len() > SERIAL_MAX {
            self.error(
                span,
                format!("serial number of {} bytes", value.len()),
                format!("at most {SERIAL_MAX} (ietd: 16)"),
            );
        } else if value.len() > SERIAL_SEEN {
            let message = format!("serial number of {} bytes", value.len());
            let advice = format!(
                "take {SERIAL_SEEN} at most: ietd cuts it there, and initiators would see another disk"
            );
            self.diagnostics
                .push(Diagnostic::warning(span, message, advice));
        }
        if let Some(c) = value.chars().find(|c| !c.is_ascii_graphic()) {
            self.error(
                span,
                format!("'{c}' in a serial number"),
                "ASCII letters, digits and marks only",
            );
        }
    }

    fn finish(mut self) -> Option<Lun> {
        if self.lun.unread {
            return Some(self.lun);
        }
        let (kind, span) = self.lun.kind;
        match (kind, &self.lun.path) {
            (Kind::FileIo | Kind::BlockIo, None) => {
                let place = self.lun.span.after();
                self.error(place, "a unit without 'Path'", "write Path=/dev/drbd1");
                return None;
            }
            (Kind::FileIo | Kind::BlockIo, Some((path, place))) if !path.starts_with('/') => {
                let (place, message) = (*place, format!("'{path}' is no full path"));
                self.error(place, message, "begin it with '/'");
                return None;
            }
            (Kind::NullIo, Some((_, place))) => {
                let place = *place;
                self.error(place, "a path for nothing", "remove it, or Type=nullio");
                return None;
            }
            _ => {}
        }
        if kind == Kind::NullIo && self.lun.blocks.is_none() {
            self.error(span, "Type=nullio without a size", "add Blocks=NUMBER");
        }
        Some(self.lun)
    }
}
