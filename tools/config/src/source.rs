// SPDX-License-Identifier: GPL-2.0-only

//! The texts that a configuration was read from, places in them, and what there is to say about a place.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::clip;
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
        let within = |at: usize| {
            let at = at.saturating_sub(start).min(line.len());
            (0..=at)
                .rev()
                .find(|at| line.is_char_boundary(*at))
                .unwrap_or(0)
        };
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

/// A file must not be able to command the terminal.
fn harmless(text: &str) -> String {
    let commands = |c: char| c.is_control() && c != '\t' && c != '\n';
    text.replace(commands, "\u{fffd}")
}

/// The headline is ours: editors and scripts look for its `FILE:LINE:COLUMN:`. The line and the caret are
/// annotate-snippets', which knows how wide characters are and what fits a terminal.
fn excerpt(out: &mut String, sources: &Sources, span: Span, headline: &str, advice: &str) {
    let (line, column) = sources.position(span);
    let (text, mark) = sources.line(span);
    let (headline, advice) = (clip::sentence(headline), clip::sentence(advice));
    let (headline, advice) = (harmless(&headline), harmless(&advice));
    let before = harmless(&text[..mark.start]).len();
    let end = before + harmless(&text[mark]).len();
    let text = harmless(&text);
    let mark = AnnotationKind::Primary.span(before..end);
    let mark = if advice.is_empty() {
        mark
    } else {
        mark.label(&advice)
    };
    let snippet = Snippet::source(&text).line_start(line).annotation(mark);
    let shown = Renderer::plain().render(&[Group::with_level(Level::ERROR).element(snippet)]);
    let name = sources.name(span.file);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name}:{line}:{column}: {headline}");
    // The bar on top would be an empty line in every message.
    for line in shown.lines().skip_while(|line| line.trim() == "|") {
        let _ = writeln!(out, "{}", line.trim_end());
    }
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
            "f:2:11: error: ';' expected\n2 |     ä rate 33\n  |              ^ put ';' here\n"
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
            "f:1:6: error: \u{fffd}x\n1 | \u{fffd}[2J\u{ff1b}x;\n  |       ^ y\n"
        );
    }

    /// Text whose width a terminal and a program may think differently of, cut anywhere: nothing of it commands the
    /// terminal or makes the drawing panic, and the place stays the first thing in the first line.
    #[test]
    fn no_text_breaks_the_excerpt() {
        let parts = [
            "a",
            " ",
            "\t",
            "\n",
            "\r\n",
            "\r",
            "\0",
            "\u{1b}[31m",
            "\u{9b}2J",
            "\u{85}",
            "\u{a0}",
            "é",
            "\u{301}",
            "\u{200b}",
            "\u{200d}",
            "\u{202e}",
            "\u{2028}",
            "\u{feff}",
            "\u{ff1b}",
            "漢",
            "👩\u{200d}🚀",
            "\u{e0100}",
            "\"x y\"",
            "{ ",
            "}",
        ];
        let mut lot = 1u64;
        let mut draw = |limit: usize| {
            lot = lot
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(lot >> 33).unwrap() % limit
        };
        for _ in 0..4_000 {
            let text: String = (0..draw(60)).map(|_| parts[draw(parts.len())]).collect();
            let (start, length) = (draw(text.len() + 1), draw(12));
            let mut sources = Sources::default();
            let file = sources.add("f", text);
            let end = start + length;
            let advice = parts[draw(parts.len())];
            let span = Span { file, start, end };
            let shown = Diagnostic::error(span, "what", advice).render(&sources);
            let (line, column) = sources.position(span);
            let first = format!("f:{line}:{column}: error: what\n{line} |");
            assert!(shown.starts_with(&first) && shown.contains('^'), "{shown}");
            let commands = |c: char| c.is_control() && c != '\n';
            assert!(!shown.contains(commands), "{shown:?}");
        }
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let mut sources = Sources::default();
        let text = format!("{} here {}", "before ".repeat(60), "behind ".repeat(60));
        let start = text.find("here").unwrap();
        let file = sources.add("f", text);
        let span = Span {
            file,
            start,
            end: start + 4,
        };
        let shown = Diagnostic::error(span, "what", "advice").render(&sources);
        let lines: Vec<&str> = shown.lines().collect();
        let column = |line: &str, what: &str| Some(line[..line.find(what)?].chars().count());
        assert!(lines[1].len() < 160, "{shown}");
        let place = column(lines[1], "here");
        assert!(place.is_some(), "{shown}");
        assert_eq!(column(lines[2], "^^^^ advice"), place, "{shown}");
    }
}
