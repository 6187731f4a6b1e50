// SPDX-License-Identifier: GPL-2.0-only

//! Characters to tokens. Never fails: what it cannot read it reports and skips.
//!
//! Text that was pasted from a web page or a word processor is the commonest way that drbd.conf is written: a no-break
//! space counts as a space (with a warning); what looks like another character is named, and read as that one, so that
//! nothing else is said about it (`strange`).

mod strange;

use crate::pasted;
use crate::source::{Diagnostic, Span};

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare word: keyword, name, number, path.
    Word(String),
    /// A string in quotes, without them.
    Quoted(String),
    /// One of `{ } ; [ ] :`.
    Mark(char),
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub span: Span,
}

/// What stands for a byte that is no text.
const NO_TEXT: char = '\u{fffd}';

/// Longest bare word and longest quoted string that drbd-utils take.
const WORD_MAX: usize = 128;
const QUOTED_MAX: usize = 255;

/// Turns one source text into tokens; the last is `End`.
pub fn tokens(file: usize, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Token> {
    let mut lexer = Lexer {
        file,
        text,
        at: 0,
        between_statements: true,
        zero_seen: false,
        diagnostics,
    };
    lexer.refuse_utf16();
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        lexer.between_statements = matches!(token.kind, Kind::Mark('{' | '}' | ';'));
        let end = token.kind == Kind::End;
        tokens.push(token);
        if end {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    file: usize,
    text: &'a str,
    at: usize,
    /// A keyword comes next.
    between_statements: bool,
    /// Zero bytes were complained about.
    zero_seen: bool,
    diagnostics: &'a mut Vec<Diagnostic>,
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '%')
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|c| !accept(c)).unwrap_or(rest.len());
    }

    fn span_from(&self, start: usize) -> Span {
        Span {
            file: self.file,
            start,
            end: self.at,
        }
    }

    fn error(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::error(span, message, advice));
    }

    fn next(&mut self) -> Token {
        loop {
            let start = self.at;
            let Some(c) = self.peek() else {
                return Token {
                    kind: Kind::End,
                    span: self.span_from(start),
                };
            };
            if self.foreign_comment() {
                continue;
            }
            if in_word(c) || strange::in_word(c, true).is_some_and(|word| !word.is_empty()) {
                return self.word();
            }
            self.at += c.len_utf8();
            let kind = match c {
                ' ' | '\t' | '\r' | '\n' | '\u{feff}' => None,
                '#' => {
                    self.take_while(|c| c != '\n');
                    None
                }
                '{' | '}' | ';' | '[' | ']' | ':' => Some(Kind::Mark(c)),
                '"' => Some(self.quoted(start)),
                _ if c.is_whitespace() => {
                    let span = self.span_from(start);
                    self.diagnostics.push(Diagnostic::warning(
                        span,
                        format!("{} taken as a space", pasted::name(c)),
                        "other programs reject it; retype the space",
                    ));
                    None
                }
                _ => self.strange(c, start),
            };
            if let Some(kind) = kind {
                let span = self.span_from(start);
                return Token { kind, span };
            }
        }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        self.take_while(in_word);
        let mut word = self.text[start..self.at].to_owned();
        self.look_alikes(&mut word);
        let span = self.span_from(start);
        if word.len() > WORD_MAX {
            self.error(
                span,
                format!("word of {} characters", word.len()),
                "at most 128 are allowed",
            );
        }
        Token {
            kind: Kind::Word(word),
            span,
        }
    }

    fn quoted(&mut self, start: usize) -> Kind {
        let mut string = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => {
                    if let Some(string) = self.ended_alike(start) {
                        return Kind::Quoted(string);
                    }
                    let span = self.span_from(start);
                    self.error(
                        span,
                        "string without closing quote",
                        "put '\"' at its end, on the same line",
                    );
                    break;
                }
                Some('"') => {
                    self.at += 1;
                    break;
                }
                Some('\\') => {
                    self.at += 1;
                    if let Some(escaped) = self.peek().filter(|&c| c != '\n') {
                        self.at += escaped.len_utf8();
                        string.push(escaped);
                    }
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    string.push(c);
                }
            }
        }
        let span = self.span_from(start);
        if string.contains(NO_TEXT) {
            self.error(
                span,
                "string with a byte that is not UTF-8",
                "save the file as UTF-8",
            );
        }
        if string.len() > QUOTED_MAX {
            self.error(
                span,
                format!("string of {} bytes", string.len()),
                "at most 255 are allowed",
            );
        }
        if string.contains('\0') {
            self.zero(span);
        }
        Kind::Quoted(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Severity;

    pub(super) fn lex(text: &str) -> (Vec<Kind>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let tokens = tokens(0, text, &mut diagnostics);
        (
            tokens.into_iter().map(|token| token.kind).collect(),
            diagnostics,
        )
    }

    fn word(text: &str) -> Kind {
        Kind::Word(text.into())
    }

    #[test]
    fn words_marks_comments_and_strings() {
        let (kinds, diagnostics) =
            lex("disk /dev/sdb; # the \"disk\"\nname \"a \\\"b\\\\\" [fe80::1%eth0]");
        let expected = [
            word("disk"),
            word("/dev/sdb"),
            Kind::Mark(';'),
            word("name"),
            Kind::Quoted("a \"b\\".into()),
            Kind::Mark('['),
            word("fe80"),
            Kind::Mark(':'),
            Kind::Mark(':'),
            word("1%eth0"),
            Kind::Mark(']'),
            Kind::End,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(diagnostics, []);
    }

    #[test]
    fn a_no_break_space_separates_with_a_warning() {
        let (kinds, diagnostics) = lex("rate\u{a0}33;");
        assert_eq!(
            kinds,
            [word("rate"), word("33"), Kind::Mark(';'), Kind::End]
        );
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(diagnostics[0].severity, Severity::Warning);
        assert!(diagnostics[0].message.contains("no-break space"));
    }

    #[test]
    fn a_string_ends_with_its_line() {
        let (kinds, diagnostics) = lex("disk \"/dev/x;\n}");
        assert_eq!(
            kinds[1..],
            [Kind::Quoted("/dev/x;".into()), Kind::Mark('}'), Kind::End]
        );
        assert_eq!(diagnostics.len(), 1);
    }
}
