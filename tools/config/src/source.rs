// SPDX-License-Identifier: GPL-2.0-only

//! The texts that a configuration was read from, places in them, and what there is to say about a place.

use std::fmt::Write as _;
use std::ops::Range;

use crate::clip::{self, columns};
pub use crate::suggest::nearest;

/// A stretch of one source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index among the sources.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// Byte behind the last.
    pub end: usize,
}

impl Span {
    /// The empty place right behind this one.
    pub fn after(self) -> Span {
        Span {
            start: self.end,
            ..self
        }
    }
}

/// One source text.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it is named in messages.
    pub name: String,
    /// Its content.
    pub text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
}

/// Every text that took part.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a text; returns its index.
    pub fn add(&mut self, name: &str, text: String) -> usize {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        self.files.push(Source {
            name: name.to_owned(),
            text,
            lines,
        });
        self.files.len() - 1
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The text with that index.
    pub fn text(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |source| &source.text)
    }

    /// The name of that text.
    pub fn name(&self, file: usize) -> &str {
        self.files.get(file).map_or("?", |source| &source.name)
    }

    /// The characters of a span.
    pub fn snippet(&self, span: Span) -> &str {
        self.text(span.file).get(span.start..span.end).unwrap_or("")
    }

    /// Line and column (in characters) of a span's start, both from 1.
    pub fn position(&self, span: Span) -> (usize, usize) {
        let Some(source) = self.files.get(span.file) else {
            return (1, 1);
        };
        let line = source.lines.partition_point(|begin| *begin <= span.start);
        let begin = source.lines.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let before = source.text.get(begin..span.start).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    /// The line that a span begins in, as much as is shown of it, and the span in it.
    fn line(&self, span: Span) -> (String, Range<usize>) {
        let text = self.text(span.file);
        let start = text[..clip::boundary(text, span.start)]
            .rfind('\n')
            .map_or(0, |at| at + 1);
        let line = text.get(start..).unwrap_or("").lines().next().unwrap_or("");
        let within = |at: usize| at.saturating_sub(start).min(line.len());
        clip::line(line, within(span.start)..within(span.end.max(span.start)))
    }
}

/// Whether the configuration can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It can.
    Warning,
    /// It cannot.
    Error,
}

/// Something to say about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do about it; stands under the caret.
    pub advice: String,
    /// Other places that matter, with what they are.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error.
    pub fn error(span: Span, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            message: message.into(),
            advice: advice.into(),
            related: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(span: Span, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message, advice)
        }
    }

    /// The same with another place.
    pub fn with(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related.push((span, what.into()));
        self
    }

    /// `FILE:LINE:COLUMN: error: what`, the line, a caret, the advice.
    pub fn render(&self, sources: &Sources) -> String {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut out = String::new();
        excerpt(
            &mut out,
            sources,
            self.span,
            &format!("{word}: {}", self.message),
            &self.advice,
        );
        for (span, what) in &self.related {
            excerpt(&mut out, sources, *span, &format!("note: {what}"), "");
        }
        out
    }
}

fn excerpt(out: &mut String, sources: &Sources, span: Span, headline: &str, advice: &str) {
    let (line, column) = sources.position(span);
    let (text, mark) = sources.line(span);
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    // Tabs stay tabs so that the caret stands under its character whatever the terminal's tab stops.
    let under = |c: char| match c {
        '\t' => "\t".to_owned(),
        c => " ".repeat(columns(c)),
    };
    let indent: String = text[..mark.start].chars().map(under).collect();
    let marked = &text[mark];
    let carets = "^".repeat(marked.chars().map(columns).sum::<usize>().max(1));
    // A file must not be able to command the terminal.
    let harmless = |text: &str| {
        let commands = |c: char| c.is_control() && c != '\t' && c != '\n';
        text.replace(commands, "\u{fffd}")
    };
    let (headline, advice) = (clip::sentence(headline), clip::sentence(advice));
    let (text, headline, advice) = (harmless(&text), harmless(&headline), harmless(&advice));
    let space = if advice.is_empty() { "" } else { " " };
    let name = sources.name(span.file);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name}:{line}:{column}: {headline}");
    let _ = writeln!(out, " {number} | {text}");
    let _ = writeln!(out, " {gutter} | {indent}{carets}{space}{advice}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caret_under_the_place_with_tabs_and_wide_characters() {
        let mut sources = Sources::default();
        let file = sources.add("f", "a\n\tä rate 33\n}".into());
        let start = sources.text(file).find("33").unwrap();
        let span = Span {
            file,
            start,
            end: start + 2,
        };
        let text = Diagnostic::error(span.after(), "';' expected", "put ';' here").render(&sources);
        assert_eq!(
            text,
            "f:2:11: error: ';' expected\n 2 | \tä rate 33\n   | \t         ^ put ';' here\n"
        );
    }

    #[test]
    fn a_file_does_not_command_the_terminal() {
        let mut sources = Sources::default();
        let file = sources.add("f", "\u{1b}[2J\u{ff1b}x;".into());
        let start = sources.text(file).find('x').unwrap();
        let span = Span {
            file,
            start,
            end: start + 1,
        };
        // The semicolon of full width takes two columns.
        assert_eq!(
            Diagnostic::error(span, "\u{1b}x", "y").render(&sources),
            "f:1:6: error: \u{fffd}x\n 1 | \u{fffd}[2J\u{ff1b}x;\n   |       ^ y\n"
        );
    }
}
