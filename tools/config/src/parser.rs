// SPDX-License-Identifier: GPL-2.0-only

//! Tokens to the raw model: recursive descent, one function per section.
//!
//! A statement that cannot be read is reported and skipped up to its `;` or the end of its block, so that one run
//! reports all errors of a file. A missing `;` is reported right behind the last word of the statement, where it
//! belongs, not at the word that surprised the parser.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use drbd_core::config::{Attr, BadValue, Kind as AttrKind};

use crate::lexer::{self, Kind, Token};
use crate::model::{Address, Global, Host, HostKind, MetaDisk, Opt, Resource, Sections, Volume};
use crate::source::{nearest, Diagnostic, Sources, Span};
use crate::tables::{Section, BECOME_PRIMARY_ON, GLOBAL};

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
}

/// Reads `text` and what it includes.
pub fn parse(
    name: &str,
    text: String,
    sources: &mut Sources,
    diagnostics: &mut Vec<Diagnostic>,
) -> Raw {
    let mut raw = Raw::default();
    let mut seen = HashSet::new();
    if let Ok(path) = Path::new(name).canonicalize() {
        seen.insert(path);
    }
    parse_source(name, text, sources, diagnostics, &mut raw, &mut seen);
    raw
}

fn parse_source(
    name: &str,
    text: String,
    sources: &mut Sources,
    diagnostics: &mut Vec<Diagnostic>,
    raw: &mut Raw,
    seen: &mut HashSet<PathBuf>,
) {
    let file = sources.add(name, text);
    let tokens = lexer::tokens(file, sources.text(file), diagnostics);
    let mut parser = Parser {
        tokens,
        at: 0,
        sources,
        diagnostics,
        raw,
        seen,
    };
    parser.file();
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    sources: &'a mut Sources,
    diagnostics: &'a mut Vec<Diagnostic>,
    raw: &'a mut Raw,
    seen: &'a mut HashSet<PathBuf>,
}

const TOP: &[&str] = &["global", "common", "resource", "skip", "include"];
const RESOURCE: &[&str] = &[
    "protocol",
    "on",
    "floating",
    "stacked-on-top-of",
    "volume",
    "device",
    "disk",
    "meta-disk",
    "flexible-meta-disk",
    "net",
    "options",
    "startup",
    "handlers",
    "syncer",
    "proxy",
    "skip",
    "ignore-on",
];
const HOST: &[&str] = &[
    "device",
    "disk",
    "meta-disk",
    "flexible-meta-disk",
    "address",
    "volume",
    "proxy",
    "options",
];
const VOLUME: &[&str] = &["device", "disk", "meta-disk", "flexible-meta-disk"];
/// Words of DRBD 9's language that deserve a better answer than "unexpected".
const NINE: &[&str] = &[
    "connection",
    "connection-mesh",
    "node-id",
    "path",
    "template-file",
    "quorum",
];

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
        let advice = if NINE.contains(&word) {
            "this is DRBD 9's language; this version configures DRBD 8.4 resources".to_owned()
        } else if let Some(near) = nearest(word, words.iter().copied()) {
            format!("did you mean '{near}'?")
        } else {
            format!("one of: {}", words.join(" "))
        };
        self.error(span, format!("'{word}' is not known in {place}"), advice);
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

    /// `{ statement* }`; `statement` gets the first word of each.
    fn block(
        &mut self,
        mut statement: impl FnMut(&mut Self, &str, Span) -> Parsed<()>,
    ) -> Parsed<()> {
        let opened = self.mark('{')?;
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
        match word.as_str() {
            "global" => self.global(span),
            "common" => self.common(span),
            "resource" => self.resource(),
            "skip" => self.skip_section(),
            "include" => self.include(),
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

    fn include(&mut self) -> Parsed<()> {
        let (pattern, span) = self.word("a file name")?;
        self.semicolon()?;
        let from = Path::new(self.sources.name(span.file))
            .parent()
            .map(Path::to_owned);
        let full = from.unwrap_or_default().join(&pattern);
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
            match std::fs::read(&path) {
                Ok(bytes) => parse_source(
                    &path.to_string_lossy(),
                    String::from_utf8_lossy(&bytes).into_owned(),
                    self.sources,
                    self.diagnostics,
                    self.raw,
                    self.seen,
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

// Options.
impl Parser<'_> {
    fn section(&mut self, section: Section, sections: &mut Sections) -> Parsed<()> {
        self.block(|p, word, span| p.option(section, word, span, sections))
    }

    /// One option whose name was read; `sections` takes it, whatever section it was written in.
    fn option(
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

    fn check_value(&mut self, attr: &Attr, value: &str, span: Span, word: &str) {
        let bad = match attr.parse(value) {
            Ok(_) => {
                let plain = value.bytes().all(|b| b.is_ascii_digit());
                if plain && (word == "rate" || attr.name == "resync-rate") {
                    self.warn(
                        span,
                        format!("'{word} {value}' without a unit means {value} KiB/s"),
                        format!("write {value}M for MiB/s, or {value}K if you mean that"),
                    );
                }
                return;
            }
            Err(bad) => bad,
        };
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
                let advice = match nearest(value, words.iter().copied()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("one of: {}", words.join(" ")),
                };
                (format!("'{value}' is no value of '{word}'"), advice)
            }
            BadValue::TooLong { max } => (
                format!("the value of '{word}' is too long"),
                format!("at most {max} bytes"),
            ),
        };
        self.error(span, message, advice);
    }
}

// Resources, hosts, volumes.
impl Parser<'_> {
    fn resource(&mut self) -> Parsed<()> {
        let (name, span) = self.word("a resource's name")?;
        if name.contains('/') {
            self.error(
                span,
                format!("'/' in the name of resource '{name}'"),
                "it separates resource and volume",
            );
        }
        let mut resource = Resource {
            name,
            span,
            sections: Sections::default(),
            hosts: Vec::new(),
        };
        let mut volumes = Vec::new();
        let read = self
            .block(|p, word, span| p.resource_statement(word, span, &mut resource, &mut volumes));
        self.raw.resources.push(RawResource { resource, volumes });
        read
    }

    fn resource_statement(
        &mut self,
        word: &str,
        span: Span,
        resource: &mut Resource,
        volumes: &mut Vec<Volume>,
    ) -> Parsed<()> {
        match word {
            "protocol" => self.option(Section::Net, word, span, &mut resource.sections),
            "on" | "floating" | "stacked-on-top-of" => {
                let host = self.host(word, span)?;
                resource.hosts.push(host);
                Ok(())
            }
            "disk" if self.is_mark('{') => self.section(Section::Disk, &mut resource.sections),
            "volume" | "device" | "disk" | "meta-disk" | "flexible-meta-disk" => {
                self.volume_statement(word, span, volumes)
            }
            "proxy" | "skip" => self.skip_section(),
            "ignore-on" => {
                self.word("a host's name")?;
                self.warn(
                    span,
                    "'ignore-on' has no effect",
                    "use 'skip' for resources of other hosts",
                );
                self.semicolon()
            }
            _ => match Section::from_name(word) {
                Some(section) => self.section(section, &mut resource.sections),
                None => self.unknown(
                    word,
                    span,
                    &format!("resource '{}'", resource.name),
                    RESOURCE,
                ),
            },
        }
    }

    fn host(&mut self, word: &str, span: Span) -> Parsed<Host> {
        let mut host = Host {
            kind: HostKind::Named,
            names: Vec::new(),
            span,
            address: None,
            volumes: Vec::new(),
        };
        match word {
            "on" => {
                host.names.push(self.word("a host's name")?.0);
                while !self.is_mark('{') {
                    host.names.push(self.word("'{' or another name")?.0);
                }
            }
            "floating" => {
                host.kind = HostKind::Floating;
                host.address = Some(self.address()?);
                if self.is_mark(';') {
                    self.advance();
                    return Ok(host);
                }
            }
            _ => host.kind = HostKind::Stacked(self.word("the lower resource's name")?.0),
        }
        let place = match host.names.first() {
            Some(name) => format!("section '{word} {name}'"),
            None => format!("section '{word}'"),
        };
        self.block(|p, word, span| match word {
            "address" => {
                let address = p.address()?;
                host.address = Some(address);
                p.semicolon()
            }
            "volume" | "device" | "disk" | "meta-disk" | "flexible-meta-disk" => {
                p.volume_statement(word, span, &mut host.volumes)
            }
            "proxy" | "options" => p.skip_section(),
            "alternate-link-address" => {
                p.address()?;
                p.semicolon()
            }
            _ => p.unknown(word, span, &place, HOST),
        })?;
        Ok(host)
    }

    /// `[family] IP:PORT`, with an IPv6 address in brackets.
    fn address(&mut self) -> Parsed<Address> {
        let mut family = None;
        let (mut word, mut span) = (String::new(), self.peek().span);
        if !self.is_mark('[') {
            (word, span) = self.word("an address")?;
            if matches!(word.as_str(), "ipv4" | "ipv6" | "ssocks" | "sci" | "sdp") {
                family = Some(if word == "sci" {
                    "ssocks".to_owned()
                } else {
                    word
                });
                word = String::new();
            }
        }
        if word.is_empty() {
            (word, span) = if self.is_mark('[') {
                self.bracketed()?
            } else {
                self.word("an address")?
            };
        }
        let (ip, scope) = match word.split_once('%') {
            Some((ip, scope)) => (ip, Some(scope.to_owned())),
            None => (word.as_str(), None),
        };
        let Ok(ip) = ip.parse::<std::net::IpAddr>() else {
            let advice = "an IP address like 10.0.0.1:7788 or [fe80::1]:7788 is expected; names are not resolved";
            self.error(span, format!("'{word}' is not an IP address"), advice);
            return Err(Skip);
        };
        if !self.is_mark(':') {
            let advice = "put ':' and a port here, for example :7788";
            self.error(span.after(), "port expected", advice);
            return Err(Skip);
        }
        self.advance();
        let (port, at) = self.number::<u16>("a port (1 to 65535)")?;
        if port == 0 {
            self.error(at, "port 0", "a port is 1 to 65535");
        }
        let default = if ip.is_ipv6() { "ipv6" } else { "ipv4" };
        Ok(Address {
            family: family.unwrap_or_else(|| default.to_owned()),
            ip,
            scope,
            port,
        })
    }

    fn bracketed(&mut self) -> Parsed<(String, Span)> {
        let open = self.mark('[')?;
        while !self.is_mark(']') {
            if self.is_end() || self.is_mark(';') || self.is_mark('}') {
                return self.expected("']'");
            }
            self.advance();
        }
        let close = self.advance().span;
        let span = Span {
            start: open.end,
            end: close.start,
            ..open
        };
        Ok((self.sources.snippet(span).trim().to_owned(), span))
    }

    fn volume_statement(
        &mut self,
        word: &str,
        span: Span,
        volumes: &mut Vec<Volume>,
    ) -> Parsed<()> {
        let new = |vnr, implicit| Volume {
            vnr,
            implicit,
            span,
            device: None,
            minor: None,
            disk: None,
            meta_disk: None,
            options: Vec::new(),
        };
        if word == "volume" {
            let (vnr, at) = self.number::<u16>("a volume number (0 to 65534)")?;
            if volumes
                .iter()
                .any(|volume| volume.vnr == vnr && !volume.implicit)
            {
                self.error(at, format!("volume {vnr} for the second time"), "");
            }
            let mut volume = new(vnr, false);
            let read = self.block(|p, word, span| match word {
                "device" | "disk" | "meta-disk" | "flexible-meta-disk" => {
                    p.volume_item(word, &mut volume)
                }
                _ => p.unknown(word, span, &format!("volume {vnr}"), VOLUME),
            });
            volumes.push(volume);
            return read;
        }
        if !volumes.iter().any(|volume| volume.implicit) {
            volumes.push(new(0, true));
        }
        let at = volumes
            .iter()
            .position(|volume| volume.implicit)
            .unwrap_or(0);
        let mut volume = volumes.remove(at);
        let read = self.volume_item(word, &mut volume);
        volumes.insert(at, volume);
        read
    }

    fn volume_item(&mut self, word: &str, volume: &mut Volume) -> Parsed<()> {
        match word {
            "device" => self.device(volume)?,
            "disk" if self.is_mark('{') => {
                let mut sections = Sections {
                    disk: std::mem::take(&mut volume.options),
                    ..Sections::default()
                };
                let read = self.section(Section::Disk, &mut sections);
                volume.options = sections.disk;
                return read;
            }
            "disk" => {
                let (disk, _) = self.word("the path of a disk, or 'none'")?;
                volume.disk = (disk != "none").then_some(disk);
            }
            _ => {
                let (device, span) = self.word("'internal' or the path of a device")?;
                volume.meta_disk = Some(if device == "internal" {
                    if word == "flexible-meta-disk" {
                        self.warn(
                            span,
                            "'flexible-meta-disk internal'",
                            "write meta-disk internal",
                        );
                    }
                    MetaDisk::Internal
                } else if self.is_mark('[') {
                    self.advance();
                    let (index, _) = self.number::<u32>("an index")?;
                    self.mark(']')?;
                    MetaDisk::Indexed(device, index)
                } else {
                    MetaDisk::Flexible(device)
                });
            }
        }
        self.semicolon()
    }

    /// `[/dev/drbdN | /dev/drbd_name | drbdN] [minor N]`
    fn device(&mut self, volume: &mut Volume) -> Parsed<()> {
        let (mut word, span) = self.word("a device name, or 'minor'")?;
        let mut named = None;
        if word != "minor" {
            let path = if word.starts_with('/') {
                word.clone()
            } else {
                format!("/dev/{word}")
            };
            let Some(rest) = path.strip_prefix("/dev/drbd") else {
                self.error(
                    span,
                    format!("'{word}' is no name for a device"),
                    "it must be /dev/drbdN or /dev/drbd_NAME",
                );
                return Err(Skip);
            };
            if !rest.starts_with('_') {
                match rest.parse::<u32>() {
                    Ok(minor) => named = Some(minor),
                    Err(_) => {
                        let advice = "it must be /dev/drbdN or /dev/drbd_NAME (mind the '_')";
                        self.error(span, format!("'{word}' is no name for a device"), advice);
                        return Err(Skip);
                    }
                }
            }
            volume.device = Some(path);
            if let Kind::Word(next) = &self.peek().kind {
                word = next.clone();
            }
            if word == "minor" {
                self.advance();
            }
        }
        if word == "minor" {
            let (minor, at) = self.number::<u32>("a minor number (0 to 1048575)")?;
            if minor > 0xf_ffff {
                self.error(at, format!("minor number {minor}"), "at most 1048575");
            }
            if let Some(other) = named.filter(|other| *other != minor) {
                let advice = format!("the name means minor {other}; leave one of the two out");
                self.error(at, "minor number and device name contradict", advice);
            }
            volume.minor = Some(minor);
        } else if let Some(minor) = named {
            volume.minor = Some(minor);
        } else {
            let advice = "put 'minor N' here";
            self.error(
                span.after(),
                "a device with a name of its own needs its minor number",
                advice,
            );
            return Err(Skip);
        }
        Ok(())
    }
}
