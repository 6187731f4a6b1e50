// SPDX-License-Identifier: GPL-2.0-only

//! The ietd.conf language: lines of words. The first word is the directive, without regard to case; a line that begins
//! with `#` is a comment (a `#` further on is not); what stands in front of the first `Target` holds for discovery.

use drbd_config::pasted::{self, Meant};
use drbd_config::source::{nearest, Diagnostic, Span};

use crate::keys::{find, Becomes, Key, Value, KEYS};
use crate::model::{Auth, Ietd, Setting, Target, User};

/// Longest line that ietd reads.
const LINE_MAX: usize = 4096;
/// How long a CHAP secret may be for all initiators.
const SECRET: std::ops::RangeInclusive<usize> = 12..=16;
/// Longest name of a target.
const NAME_MAX: usize = 223;

/// A word and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) span: Span,
    /// A backslash at the end of a line stands in front of it.
    pub(crate) joined: bool,
}

/// Reads a text; everything that is wrong with it goes to `diagnostics`.
pub fn parse(file: usize, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Ietd {
    let mut parser = Parser {
        diagnostics,
        ietd: Ietd::default(),
    };
    let mut start = 0;
    while let Some(line) = text.get(start..).and_then(first_line) {
        let words = words(file, start, line, parser.diagnostics);
        start += line.len();
        if let Some((first, rest)) = words.split_first() {
            parser.line(*first, rest, line.len());
        }
    }
    parser.ietd
}

/// Up to the end of the first line, or of the one behind it, if a backslash is the last character.
fn first_line(text: &str) -> Option<&str> {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        length += line.len();
        if !line.trim_end_matches(['\r', '\n']).ends_with('\\') {
            break;
        }
    }
    text.get(..length).filter(|line| !line.is_empty())
}

/// What joins two lines: the length of a backslash at the end of a line, and of that end.
fn joint(text: &str) -> Option<usize> {
    ["\\\n", "\\\r\n"]
        .into_iter()
        .find(|joint| text.starts_with(joint))
        .map(str::len)
}

/// Splits a line; none for a comment.
fn words<'a>(
    file: usize,
    start: usize,
    line: &'a str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Word<'a>> {
    let line = line.strip_prefix('\u{feff}').map_or(line, |rest| rest);
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let mut words = Vec::new();
    let mut at = 0;
    let mut joined = false;
    while let Some(skip) = line[at..].find(|c| !blank(c)) {
        let begin = at + skip;
        if let Some(length) = joint(&line[begin..]) {
            joined = true;
            at = begin + length;
            continue;
        }
        let rest = &line[begin..];
        let ends = |(at, c): (usize, char)| blank(c) || joint(&rest[at..]).is_some();
        let end = rest.char_indices().find(|found| ends(*found));
        at = begin + end.map_or(rest.len(), |(at, _)| at);
        let place = |begin, end| Span {
            file,
            start: start + begin,
            end: start + end,
        };
        if words.is_empty() && line[begin..].starts_with('#') {
            if let Some(end) = line.find("\\\n").or_else(|| line.find("\\\r\n")) {
                diagnostics.push(Diagnostic::warning(
                    place(end, end + 1),
                    "the next line belongs to this comment",
                    "a backslash at the end joins lines: remove it",
                ));
            }
            return Vec::new();
        }
        words.push(Word {
            text: &line[begin..at],
            span: place(begin, at),
            joined,
        });
        joined = false;
    }
    for (at, c) in line.char_indices() {
        if blank(c) && !c.is_ascii() {
            diagnostics.push(Diagnostic::warning(
                Span {
                    file,
                    start: start + at,
                    end: start + at + c.len_utf8(),
                },
                format!("U+{:04X} taken as a space", u32::from(c)),
                "ietd takes it as part of the word; retype the space",
            ));
        }
    }
    words
}

/// The first character of a word that pasting brought: where, what, and what to do.
fn pasted(word: Word<'_>) -> Option<(Span, String, String)> {
    let found = word.text.char_indices();
    let (at, c, meant) = found
        .filter_map(|(at, c)| Some((at, c, pasted::find(c)?.1)))
        .find(|(_, _, meant)| *meant != Meant::Space)?;
    let start = word.span.start + at;
    let span = Span {
        start,
        end: start + c.len_utf8(),
        ..word.span
    };
    let remedy = match meant {
        Meant::Char('"' | '\'') | Meant::Nothing => "remove it".to_owned(),
        Meant::Char(plain) => format!("a plain '{plain}' was probably meant"),
        Meant::Dash => "a plain '-' was probably meant".to_owned(),
        Meant::Space | Meant::Unknown => "write what was left out".to_owned(),
    };
    Some((
        span,
        pasted::name(c),
        format!("as pasted text often has it; {remedy}"),
    ))
}

struct Parser<'d> {
    diagnostics: &'d mut Vec<Diagnostic>,
    ietd: Ietd,
}

impl Parser<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::error(span, message, advice));
    }

    fn warning(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::warning(span, message, advice));
    }

    fn line(&mut self, first: Word<'_>, rest: &[Word<'_>], length: usize) {
        if length > LINE_MAX {
            self.error(
                first.span,
                format!("line of {length} bytes"),
                format!("ietd reads {LINE_MAX} at most"),
            );
            return;
        }
        let Some(key) = find(first.text) else {
            return self.unknown(first);
        };
        // Of a name for people any character will do; secrets are judged where they are read.
        let free = [Becomes::Alias, Becomes::IncomingUser, Becomes::OutgoingUser];
        if !free.contains(&key.becomes) && rest.iter().any(|word| self.pasted(*word)) {
            if let (Becomes::Lun, Some(target)) = (key.becomes, self.ietd.targets.last_mut()) {
                target.unread = true;
            }
            if key.becomes != Becomes::Target {
                return;
            }
        }
        if rest.is_empty() {
            return self.error(
                first.span.after(),
                format!("'{}' has no value", key.name),
                "write one behind it",
            );
        }
        let in_target = !self.ietd.targets.is_empty();
        if key.becomes == Becomes::Target {
            return self.target(rest);
        }
        if !in_target && !key.global {
            return self.error(
                first.span,
                format!("'{}' in front of the first 'Target'", key.name),
                "it belongs to a target: write it below its 'Target' line",
            );
        }
        if in_target && !key.target {
            return self.error(
                first.span,
                format!("'{}' in a target", key.name),
                "it holds for all: write it above the first 'Target' line",
            );
        }
        self.directive(key, first, rest);
    }

    /// Names the first character of a word that pasting brought, if there is one.
    fn pasted(&mut self, word: Word<'_>) -> bool {
        let Some((span, what, remedy)) = pasted(word) else {
            return false;
        };
        self.error(span, what, remedy);
        true
    }

    fn unknown(&mut self, word: Word<'_>) {
        if self.pasted(word) {
            return;
        }
        let lower = word.text.to_ascii_lowercase();
        let names: Vec<String> = KEYS.iter().map(|k| k.name.to_ascii_lowercase()).collect();
        let meant = nearest(&lower, names.iter().map(String::as_str)).and_then(find);
        match meant {
            // ietd skips what it does not know: a mistyped IncomingUser lets everybody in.
            Some(key) => self.error(
                word.span,
                format!("unknown directive '{}'", word.text),
                format!("'{}'? ietd would skip the line without a word", key.name),
            ),
            None => self.warning(
                word.span,
                format!("unknown directive '{}' skipped", word.text),
                "ietd skips it, too; remove it or put '#' in front",
            ),
        }
    }

    fn target(&mut self, rest: &[Word<'_>]) {
        let Some((name, more)) = rest.split_first() else {
            return;
        };
        self.surplus(more);
        let iqn = name.text.to_owned();
        // What was pasted has been said.
        let bad = bad_name(&iqn).filter(|_| pasted(*name).is_none());
        if let Some((problem, advice)) = bad {
            self.error(name.span, problem, advice);
        }
        if let Some(first) = self.ietd.targets.iter().find(|t| t.iqn == iqn) {
            let place = first.span;
            self.diagnostics.push(
                Diagnostic::error(
                    name.span,
                    format!("target '{iqn}' twice"),
                    "give it another name, or put its units under the first",
                )
                .with(place, "the first one"),
            );
        }
        self.ietd.targets.push(Target {
            iqn,
            span: name.span,
            alias: None,
            auth: Auth::default(),
            luns: Vec::new(),
            parameters: Vec::new(),
            attributes: Vec::new(),
            acl_attributes: Vec::new(),
            unread: false,
        });
    }

    /// Words behind the last one that means something.
    fn surplus(&mut self, words: &[Word<'_>]) {
        if let (Some(first), Some(last)) = (words.first(), words.last()) {
            let span = Span {
                end: last.span.end,
                ..first.span
            };
            let advice = if first.text.starts_with('#') {
                "a comment needs a line of its own"
            } else {
                "remove it"
            };
            self.warning(span, "ignored", advice);
        }
    }

    fn directive(&mut self, key: &'static Key, first: Word<'_>, rest: &[Word<'_>]) {
        match key.becomes {
            Becomes::IncomingUser | Becomes::OutgoingUser => self.user(key, first, rest),
            Becomes::Lun => {
                let lun = crate::lun::parse(rest, self.diagnostics);
                let Some(target) = self.ietd.targets.last_mut() else {
                    return;
                };
                let Some(lun) = lun else {
                    target.unread = true;
                    return;
                };
                if let Some(old) = target.luns.iter().find(|l| l.number == lun.number) {
                    self.diagnostics.push(
                        Diagnostic::error(
                            lun.span,
                            format!("unit {} twice", lun.number),
                            "give it another number",
                        )
                        .with(old.span, "the first one"),
                    );
                } else {
                    target.luns.push(lun);
                }
            }
            Becomes::Alias => {
                let text: Vec<&str> = rest.iter().map(|w| w.text).collect();
                if let Some(target) = self.ietd.targets.last_mut() {
                    target.alias = Some(text.join(" "));
                }
            }
            _ => self.value(key, first, rest),
        }
    }

    fn user(&mut self, key: &Key, first: Word<'_>, rest: &[Word<'_>]) {
        let [name, password, more @ ..] = rest else {
            let end = rest.last().map_or(first.span, |w| w.span);
            return self.error(
                end.after(),
                format!("'{}' without a password", key.name),
                "write: USER PASSWORD",
            );
        };
        self.surplus(more);
        for word in [name, password] {
            if let Some((span, what, remedy)) = pasted(*word) {
                // It may be meant: a secret can be anything.
                let remedy = format!("{remedy}, unless initiators have it, too");
                self.warning(span, what, remedy);
            }
        }
        self.secret(*password);
        let user = User {
            name: name.text.to_owned(),
            password: password.text.to_owned(),
            span: name.span,
        };
        let auth = match self.ietd.targets.last_mut() {
            Some(target) => &mut target.auth,
            None => &mut self.ietd.discovery,
        };
        if key.becomes == Becomes::IncomingUser {
            auth.incoming.push(user);
            return;
        }
        if let Some(old) = auth.outgoing.replace(user) {
            let span = name.span;
            self.diagnostics.push(
                Diagnostic::error(span, "a second OutgoingUser", "a target is one user only")
                    .with(old.span, "the first one"),
            );
        }
    }

    fn secret(&mut self, word: Word<'_>) {
        let length = word.text.len();
        if !SECRET.contains(&length) {
            self.warning(
                word.span,
                format!("secret of {length} bytes"),
                "take 12 to 16: initiators refuse shorter ones (RFC 7143), and Windows longer ones",
            );
        }
        self.ietd.secrets.push(word.span);
    }

    fn value(&mut self, key: &'static Key, first: Word<'_>, rest: &[Word<'_>]) {
        let Some((word, more)) = rest.split_first() else {
            return;
        };
        if key.value != Value::Text {
            self.surplus(more);
        }
        let value = match checked(key.value, word.text) {
            Ok(value) => value,
            Err(advice) => {
                let message = format!("'{}' is no value of '{}'", word.text, key.name);
                return self.error(word.span, message, advice);
            }
        };
        let setting = |name| Setting {
            name,
            value: value.clone(),
            span: word.span,
        };
        let target = self.ietd.targets.last_mut();
        match (key.becomes, target) {
            (Becomes::Parameter, Some(t)) => put(&mut t.parameters, setting(key.name)),
            (Becomes::Attribute(name), Some(t)) => put(&mut t.attributes, setting(name)),
            (Becomes::AclAttribute(name), Some(t)) => put(&mut t.acl_attributes, setting(name)),
            (Becomes::Nothing(harmless, why), _) if value != harmless => {
                self.warning(first.span, format!("'{}' has no effect", key.name), why);
            }
            (Becomes::Refused(harmless, why), _) if value != harmless => {
                let message = format!("'{} {value}' is not possible", key.name);
                self.error(word.span, message, format!("write {harmless}: {why}"));
            }
            _ => {}
        }
    }
}

/// The last one counts, as for ietd.
fn put(settings: &mut Vec<Setting>, new: Setting) {
    settings.retain(|old| old.name != new.name);
    settings.push(new);
}

/// The value as LIO takes it, or what it should have been.
fn checked(kind: Value, text: &str) -> Result<String, String> {
    match kind {
        Value::Text => Ok(text.to_owned()),
        Value::Bool => ["Yes", "No"]
            .into_iter()
            .find(|word| word.eq_ignore_ascii_case(text))
            .map(str::to_owned)
            .ok_or_else(|| "Yes or No".to_owned()),
        Value::Number(low, high) => text
            .parse()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .map(|number: u32| number.to_string())
            .ok_or_else(|| format!("a number from {low} to {high}")),
        Value::Digest => {
            let words: Option<Vec<&str>> = text
                .split(',')
                .map(|word| {
                    ["CRC32C", "None"]
                        .into_iter()
                        .find(|known| known.eq_ignore_ascii_case(word))
                })
                .collect();
            words
                .map(|words| words.join(","))
                .ok_or_else(|| "CRC32C, None, or CRC32C,None".to_owned())
        }
    }
}

/// What is wrong with the name of a target or an initiator, and the remedy.
pub(crate) fn bad_name(name: &str) -> Option<(String, &'static str)> {
    if name.len() > NAME_MAX {
        return Some((
            format!("name of {} bytes", name.len()),
            "at most 223 are allowed",
        ));
    }
    if let Some(c) = name
        .chars()
        .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':')))
    {
        let advice = if c.is_ascii_uppercase() {
            "write it in small letters: initiators do, and the kernel's target compares bytes"
        } else {
            "small letters, digits, '-', '.' and ':' are allowed"
        };
        return Some((format!("'{c}' in the name of a target"), advice));
    }
    let good = match name.split_once('.') {
        Some(("iqn", rest)) => rest.len() > 8 && rest.as_bytes().get(4) == Some(&b'-'),
        Some(("eui" | "naa", rest)) => rest.chars().all(|c| c.is_ascii_hexdigit()),
        _ => false,
    };
    (!good).then(|| {
        (
            format!("'{name}' is no iSCSI name"),
            "write iqn.YEAR-MONTH.REVERSED.DOMAIN:NAME, as in iqn.2026-01.com.example:disk1",
        )
    })
}
