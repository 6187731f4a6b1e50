// SPDX-License-Identifier: GPL-2.0-only

//! Tokens to the raw model: recursive descent, one function per section.
//!
//! A statement that cannot be read is reported and skipped up to its `;` or the end of its block, so that one run
//! reports all errors of a file. A missing `;` is reported right behind the last word of the statement, where it
//! belongs, not at the word that surprised the parser.

mod connection;
mod options;
mod resource;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use drbd_core::config::Kind as AttrKind;

use crate::lexer::{self, Kind, Token};
use crate::model::{Global, Resource, Sections, Volume};
use crate::source::{Diagnostic, Sources, Span};
use crate::suggest;
use crate::tables::{Section, GLOBAL};

/// A statement could not be read; it was reported, the caller skips its rest.
struct Skip;
type Parsed<T> = Result<T, Skip>;

/// What the files said, nothing inherited or checked across sections yet.
#[derive(Debug, Default)]
pub struct Raw {
    /// Section `global`.
    pub global: Global,
    /// Section `common`.
    pub common: Option<Sections>,
    /// Resources with what they said for all hosts.
    pub resources: Vec<RawResource>,
}

/// A resource and the volumes that it described for all its hosts.
#[derive(Debug)]
pub struct RawResource {
    /// Name, options, hosts.
    pub resource: Resource,
    /// Volumes written outside of host sections.
    pub volumes: Vec<Volume>,
    /// What its template says instead of `common`.
    pub template: Option<Sections>,
}

/// Reads texts, each with its name, and what they include, but not the files `without`.
pub fn parse(
    texts: Vec<(String, String)>,
    without: &[&str],
    sources: &mut Sources,
    diagnostics: &mut Vec<Diagnostic>,
) -> Raw {
    let mut raw = Raw::default();
    let real = |name: &str| Path::new(name).canonicalize();
    let mut seen: HashSet<PathBuf> = without.iter().flat_map(|name| real(name)).collect();
    for (name, text) in texts {
        if let Ok(path) = real(&name) {
            // The first file included it.
            if !seen.insert(path) && !sources.is_empty() {
                continue;
            }
        }
        parse_source(
            &name,
            text,
            sources,
            diagnostics,
            &mut raw,
            &mut seen,
            Expects::Anything,
        );
    }
    raw
}

fn parse_source(
    name: &str,
    text: String,
    sources: &mut Sources,
    diagnostics: &mut Vec<Diagnostic>,
    raw: &mut Raw,
    seen: &mut HashSet<PathBuf>,
    expects: Expects,
) {
    let file = sources.add(name, text);
    let tokens = lexer::tokens(file, sources.text(file), diagnostics);
    let count = |mark| tokens.iter().filter(|t| t.kind == Kind::Mark(mark)).count();
    let mut parser = Parser {
        spare_braces: count('}').saturating_sub(count('{')),
        tokens,
        at: 0,
        sources,
        diagnostics,
        raw,
        seen,
        template_at: Span::default(),
        expects,
    };
    parser.file();
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    /// How many '}' are more than there are '{': where one is missing, it was forgotten.
    spare_braces: usize,
    sources: &'a mut Sources,
    diagnostics: &'a mut Vec<Diagnostic>,
    raw: &'a mut Raw,
    seen: &'a mut HashSet<PathBuf>,
    /// Where the name of the last template stands.
    template_at: Span,
    expects: Expects,
}

/// What a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// Every section.
    Anything,
    /// It is a template: `common` alone.
    Common,
}

const TOP: &[&str] = &["global", "common", "resource", "skip", "include"];
/// Conditions on the version of the driver, which this one does not have to meet.
const REQUIRE: &str = "require-drbd-module-version-";

// The tokens themselves.
impl Parser<'_> {
    fn peek(&self) -> &Token {
        // INVARIANT: the list ends with `End`, and `advance` never moves past it.
        &self.tokens[self.at]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    fn previous(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn after_word(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.is_some_and(|token| !matches!(token.kind, Kind::Mark(_)))
    }

    fn is_mark(&self, mark: char) -> bool {
        self.peek().kind == Kind::Mark(mark)
    }

    fn is_end(&self) -> bool {
        self.peek().kind == Kind::End
    }

    fn show(&self, token: &Token) -> String {
        match &token.kind {
            Kind::End => "the end of the file".to_owned(),
            _ => format!("'{}'", self.sources.snippet(token.span)),
        }
    }

    fn error(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::error(span, message, advice));
    }

    fn warn(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::warning(span, message, advice));
    }

    fn expected<T>(&mut self, what: &str) -> Parsed<T> {
        let token = self.peek().clone();
        let got = self.show(&token);
        self.error(token.span, format!("{what} expected, but got {got}"), "");
        Err(Skip)
    }

    /// A word that is none of `words`.
    fn unknown<T>(&mut self, word: &str, span: Span, place: &str, words: &[&str]) -> Parsed<T> {
        let message = format!("'{word}' is not known in {place}");
        self.error(span, message, suggest::advice(word, words));
        Err(Skip)
    }

    fn mark(&mut self, mark: char) -> Parsed<Span> {
        if self.is_mark(mark) {
            return Ok(self.advance().span);
        }
        self.expected(&format!("'{mark}'"))
    }

    /// The end of a statement.
    fn semicolon(&mut self) -> Parsed<()> {
        if self.is_mark(';') {
            self.advance();
            return Ok(());
        }
        let before = self.previous();
        let next = self.peek().clone();
        let got = self.show(&next);
        let message = format!(
            "';' expected after '{}', but got {got}",
            self.sources.snippet(before)
        );
        self.error(before.after(), message, "put ';' here");
        // The statement is clear all the same when what follows is on another line or ends the block.
        let line = |span| self.sources.position(span).0;
        if self.is_mark('}') || self.is_end() || line(next.span) > line(before) {
            Ok(())
        } else {
            Err(Skip)
        }
    }

    fn word(&mut self, what: &str) -> Parsed<(String, Span)> {
        match &self.peek().kind {
            Kind::Word(_) | Kind::Quoted(_) => {
                let token = self.advance();
                match token.kind {
                    Kind::Word(word) | Kind::Quoted(word) => Ok((word, token.span)),
                    _ => Err(Skip),
                }
            }
            // The value is missing: say so right behind the word before.
            Kind::Mark(';' | '}') if self.after_word() => {
                let before = self.previous();
                let message = format!("{what} expected after '{}'", self.sources.snippet(before));
                self.error(before.after(), message, format!("put {what} here"));
                Err(Skip)
            }
            _ => self.expected(what),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Parsed<(T, Span)> {
        let (word, span) = self.word(what)?;
        match word.parse() {
            Ok(number) => Ok((number, span)),
            Err(_) => {
                self.error(span, format!("'{word}' is not {what}"), "");
                Err(Skip)
            }
        }
    }

    /// Skips the rest of a statement: through its `;`, through its block, or up to the `}` around it.
    fn skip_statement(&mut self) {
        loop {
            match self.peek().kind {
                Kind::End | Kind::Mark('}') => return,
                Kind::Mark(';') => {
                    self.advance();
                    return;
                }
                Kind::Mark('{') => {
                    self.skip_block();
                    return;
                }
                _ => {
                    self.advance();
                }
            }
        }
    }

    /// Skips a balanced `{ ... }`.
    fn skip_block(&mut self) {
        let mut depth = 0usize;
        while !self.is_end() {
            match self.advance().kind {
                Kind::Mark('{') => depth += 1,
                Kind::Mark('}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Whether a `{` was forgotten in front of the next word, which is one of those that stand in the block.
    fn lacks_brace_before(&self, words: &[&str]) -> bool {
        let known = |word: &String| words.contains(&word.as_str());
        self.spare_braces > 0 && matches!(&self.peek().kind, Kind::Word(word) if known(word))
    }

    /// The `{` of a block. One that was forgotten is reported, and the block is read all the same.
    fn open(&mut self) -> Parsed<Span> {
        if self.spare_braces == 0 || !matches!(self.peek().kind, Kind::Word(_)) {
            return self.mark('{');
        }
        self.spare_braces -= 1;
        let (before, next) = (self.previous(), self.peek().clone());
        let message = format!(
            "'{{' expected after '{}', but got {}",
            self.sources.snippet(before),
            self.show(&next)
        );
        self.error(before.after(), message, "put '{' here");
        Ok(before)
    }

    /// `{ statement* }`; `statement` gets the first word of each.
    fn block(
        &mut self,
        mut statement: impl FnMut(&mut Self, &str, Span) -> Parsed<()>,
    ) -> Parsed<()> {
        let opened = self.open()?;
        while !self.is_mark('}') {
            if self.is_end() {
                let end = self.peek().span;
                let (line, _) = self.sources.position(opened);
                let diagnostic = Diagnostic::error(end, "'}' expected, but the file ends", "")
                    .with(
                        opened,
                        format!("the block that is open starts in line {line}"),
                    );
                self.diagnostics.push(diagnostic);
                return Ok(());
            }
            if self.is_mark(';') {
                // An empty statement hurts nobody.
                self.advance();
                continue;
            }
            let before = self.at;
            let read = match self.word("a keyword") {
                Ok((word, span)) => statement(self, &word, span),
                Err(skip) => Err(skip),
            };
            if read.is_err() {
                self.skip_statement();
                if self.at == before {
                    self.advance();
                }
            }
        }
        self.advance();
        Ok(())
    }
}

// Files and the sections at the top.
impl Parser<'_> {
    fn file(&mut self) {
        while !self.is_end() {
            let before = self.at;
            if self.top().is_err() {
                self.skip_statement();
                if self.at == before || self.is_mark('}') {
                    self.advance();
                }
            }
        }
    }

    fn top(&mut self) -> Parsed<()> {
        if self.is_mark(';') {
            self.advance();
            return Ok(());
        }
        let (word, span) = self.word("'global', 'common', 'resource', 'skip' or 'include'")?;
        if self.expects == Expects::Common && word != "common" {
            self.error(
                span,
                format!("'{word}' in a template"),
                "a template has a section 'common' and nothing else",
            );
            return Err(Skip);
        }
        match word.as_str() {
            "global" => self.global(span),
            "common" => self.common(span),
            "resource" => self.resource(),
            "skip" => self.skip_section(),
            "include" => self.include(),
            _ if word.starts_with(REQUIRE) => {
                self.word("a version like 9.0.16")?;
                self.warn(
                    span,
                    format!("'{word}' has no effect"),
                    "it is about the DRBD 9 driver",
                );
                self.semicolon()
            }
            "protocol" => {
                let mut common = self.raw.common.take().unwrap_or_default();
                let read = self.option(Section::Net, "protocol", span, &mut common);
                self.raw.common = Some(common);
                read
            }
            _ => self.unknown(&word, span, "the file", TOP),
        }
    }

    fn skip_section(&mut self) -> Parsed<()> {
        while !self.is_mark('{') {
            if self.is_end() || self.is_mark(';') {
                return self.expected("'{'");
            }
            self.advance();
        }
        self.skip_block();
        Ok(())
    }

    fn global(&mut self, at: Span) -> Parsed<()> {
        if !self.raw.resources.is_empty() {
            self.warn(
                at,
                "section 'global' behind a resource",
                "put it in front of all resources",
            );
        }
        let mut options = Vec::new();
        let read = self.block(|p, word, span| {
            let Some(attr) = GLOBAL.iter().find(|attr| attr.name == word) else {
                let names: Vec<_> = GLOBAL.iter().map(|attr| attr.name).collect();
                return p.unknown(word, span, "section 'global'", &names);
            };
            let value = if matches!(attr.kind, AttrKind::Bool { .. }) {
                "yes".to_owned()
            } else {
                let (value, span) = p.word("a value")?;
                p.check_value(attr, &value, span, word);
                if attr.name == "usage-count" && !matches!(value.as_str(), "yes" | "no" | "ask") {
                    p.error(
                        span,
                        format!("'{value}' is no value of 'usage-count'"),
                        "one of: yes no ask",
                    );
                }
                value
            };
            options.push((attr.name.to_owned(), value));
            p.semicolon()
        });
        self.raw.global.options.extend(options);
        read
    }

    fn common(&mut self, at: Span) -> Parsed<()> {
        if self.raw.common.is_some() {
            self.warn(
                at,
                "a second section 'common'",
                "its options are added to the first",
            );
        }
        let mut common = self.raw.common.take().unwrap_or_default();
        let read = self.block(|p, word, span| match Section::from_name(word) {
            Some(section) => p.section(section, &mut common),
            None => match word {
                "protocol" => p.option(Section::Net, word, span, &mut common),
                "on" | "floating" | "stacked-on-top-of" | "volume" | "device" | "meta-disk"
                | "address" => {
                    p.error(
                        span,
                        format!("'{word}' in section 'common'"),
                        "hosts and volumes belong to a resource",
                    );
                    Err(Skip)
                }
                "proxy" | "skip" => p.skip_section(),
                _ => p.unknown(
                    word,
                    span,
                    "section 'common'",
                    &[
                        "protocol", "net", "disk", "syncer", "startup", "handlers", "options",
                    ],
                ),
            },
        });
        self.raw.common = Some(common);
        read
    }

    /// A path, seen from the file that names it.
    fn beside(&self, span: Span, path: &str) -> PathBuf {
        let from = Path::new(self.sources.name(span.file))
            .parent()
            .map(Path::to_owned);
        from.unwrap_or_default().join(path)
    }

    fn include(&mut self) -> Parsed<()> {
        let (pattern, span) = self.word("a file name")?;
        self.semicolon()?;
        let full = self.beside(span, &pattern);
        let paths = crate::glob::expand(&full);
        if paths.is_empty() && !crate::glob::is_pattern(&pattern) {
            self.error(
                span,
                format!("cannot find '{}'", full.display()),
                "create it, or take the line out",
            );
            return Ok(());
        }
        for path in paths {
            let Ok(real) = path.canonicalize() else {
                continue;
            };
            if !self.seen.insert(real) {
                continue;
            }
            match crate::read_file(&path) {
                Ok(text) => parse_source(
                    &path.to_string_lossy(),
                    text,
                    self.sources,
                    self.diagnostics,
                    self.raw,
                    self.seen,
                    self.expects,
                ),
                Err(error) => self.error(
                    span,
                    format!("cannot read '{}': {error}", path.display()),
                    "",
                ),
            }
        }
        Ok(())
    }
}
