// SPDX-License-Identifier: GPL-2.0-only

//! Options and their values: the same for every section, by the tables.

use drbd_core::config::{Attr, BadValue, Kind as AttrKind};

use super::{Parsed, Parser};
use crate::lexer::Kind;
use crate::model::{Opt, Sections};
use crate::refused;
use crate::source::{Diagnostic, Span};
use crate::suggest;
use crate::tables::{only_nine, only_nine_choice, Section, BECOME_PRIMARY_ON};
use crate::units;

impl Parser<'_> {
    pub(super) fn section(&mut self, section: Section, sections: &mut Sections) -> Parsed<()> {
        self.block(|p, word, span| p.option(section, word, span, sections))
    }

    /// One option whose name was read; `sections` takes it, whatever section it was written in.
    pub(super) fn option(
        &mut self,
        section: Section,
        word: &str,
        span: Span,
        sections: &mut Sections,
    ) -> Parsed<()> {
        let Some((target, attr, negated)) = section.find(word) else {
            let names: Vec<_> = section.names().collect();
            return self.unknown(word, span, &format!("section '{}'", section.name()), &names);
        };
        let (value, at) = self.value(attr, negated, span, word)?;
        if only_nine(attr) {
            self.warn(
                span,
                format!("'{word}' has no effect"),
                "it is for the DRBD 9 driver",
            );
        }
        self.semicolon()?;
        let list = sections.list(target);
        let opt = Opt {
            name: attr.name,
            value,
            span: at,
            attr,
            inherited: false,
        };
        if let Some(first) = list.iter_mut().find(|other| other.name == attr.name) {
            let old = std::mem::replace(first, opt);
            let diagnostic = Diagnostic::warning(
                span,
                format!("'{word}' for the second time"),
                "this one counts",
            )
            .with(old.span, "the first");
            self.diagnostics.push(diagnostic);
        } else {
            list.push(opt);
        }
        Ok(())
    }

    fn value(
        &mut self,
        attr: &Attr,
        negated: bool,
        name: Span,
        word: &str,
    ) -> Parsed<(String, Span)> {
        if negated {
            return Ok(("no".to_owned(), name));
        }
        let valueless = self.is_mark(';') || self.is_mark('}');
        if matches!(attr.kind, AttrKind::Bool { .. }) && valueless {
            return Ok(("yes".to_owned(), name));
        }
        if attr.name == BECOME_PRIMARY_ON {
            return self.names();
        }
        let (value, span) = self.word("a value")?;
        // The name of another resource, resolved when all are known.
        let by_name =
            attr.name == "resync-after" && value.starts_with(|c: char| c.is_ascii_alphabetic());
        if !by_name {
            self.check_value(attr, &value, span, word);
        }
        Ok((value, span))
    }

    fn names(&mut self) -> Parsed<(String, Span)> {
        let (mut names, mut span) = self.word("a host's name, or 'both'")?;
        while matches!(self.peek().kind, Kind::Word(_) | Kind::Quoted(_)) {
            let line = |span| self.sources.position(span).0;
            if line(self.peek().span) > line(span) {
                break;
            }
            let (name, end) = self.word("a name")?;
            names = format!("{names} {name}");
            span.end = end.end;
        }
        Ok((names, span))
    }

    pub(super) fn check_value(&mut self, attr: &Attr, value: &str, span: Span, word: &str) {
        if only_nine_choice(attr, value) {
            let advice = "the driver is given the default instead";
            self.warn(span, format!("'{word} {value}' is only for DRBD 9"), advice);
            return;
        }
        let bad = match attr.parse(value) {
            Ok(_) => {
                self.diagnostics
                    .extend(refused::text(attr.name, value, span));
                let plain = value.bytes().all(|b| b.is_ascii_digit());
                if plain && (word == "rate" || attr.name == "resync-rate") {
                    self.warn(
                        span,
                        format!("'{word} {value}' without a unit means {value} KiB/s"),
                        format!("write {value}M for MiB/s, or {value}K if you mean that"),
                    );
                }
                if let Some(advice) = units::time(attr, value) {
                    let message = format!("'{word} {value}': 's' stands for sectors of 512");
                    self.warn(span, message, advice);
                }
                return;
            }
            Err(bad) => bad,
        };
        if let Some(advice) = units::time(attr, value) {
            self.error(span, format!("'{value}' for '{word}'"), advice);
            return;
        }
        let (message, advice) = match bad {
            BadValue::NotABool => (
                format!("'{value}' for '{word}'"),
                "yes or no is expected".to_owned(),
            ),
            BadValue::NotANumber => (
                format!("'{value}' for '{word}' is not a number"),
                "digits are expected, and possibly one of s K M G behind them".to_owned(),
            ),
            BadValue::OutOfRange { min, max, .. } => {
                let AttrKind::Number { unit, .. } = attr.kind else {
                    return;
                };
                let unit = if unit.comment().is_empty() {
                    ""
                } else {
                    unit.suffix()
                };
                (
                    format!("{word} {value} is out of range"),
                    format!("from {min}{unit} to {max}{unit}"),
                )
            }
            BadValue::NotAChoice { names } => {
                let words: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                let message = format!("'{value}' is no value of '{word}'");
                (message, suggest::advice(value, &words))
            }
            BadValue::TooLong { max } => (
                format!("the value of '{word}' is too long"),
                format!("at most {max} bytes"),
            ),
        };
        self.error(span, message, advice);
    }
}
