// SPDX-License-Identifier: GPL-2.0-only

//! Characters to tokens. Never fails: what it cannot read it reports and skips.
//!
//! Text that was pasted from a web page or a word processor is the commonest way that drbd.conf is written: a no-break
//! space counts as a space (with a warning), curly quotes and long dashes are named with what was probably meant (`pasted`).

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
        diagnostics,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
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
            if in_word(c) {
                return self.word();
            }
            self.at += c.len_utf8();
            match c {
                ' ' | '\t' | '\r' | '\n' | '\u{feff}' => {}
                '#' => self.take_while(|c| c != '\n'),
                '{' | '}' | ';' | '[' | ']' | ':' => {
                    return Token {
                        kind: Kind::Mark(c),
                        span: self.span_from(start),
                    };
                }
                '"' => return self.quoted(start),
                _ if c.is_whitespace() => {
                    let span = self.span_from(start);
                    self.diagnostics.push(Diagnostic::warning(
                        span,
                        format!("{} taken as a space", character_name(c)),
                        "other programs reject it; retype the space",
                    ));
                }
                _ => self.strange(c, start),
            }
        }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        self.take_while(in_word);
        let span = self.span_from(start);
        let word = self.text[start..self.at].to_owned();
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

    fn quoted(&mut self, start: usize) -> Token {
        let mut string = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => {
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
        Token {
            kind: Kind::Quoted(string),
            span,
        }
    }

    fn strange(&mut self, c: char, start: usize) {
        let advice = match c {
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}' => {
                "a plain '\"' was probably meant"
            }
            '\u{2018}' | '\u{2019}' | '\'' | '`' => "strings stand in '\"'",
            '\u{2010}'..='\u{2012}' | '\u{2212}' => "a plain '-' was probably meant",
            '\u{2013}' | '\u{2014}' => "'-' or '--' was probably meant",
            '=' => "name and value are separated by a space",
            ',' => "items are separated by a space",
            '\u{37e}' | '\u{ff1b}' => "a plain ';' was probably meant",
            NO_TEXT => "save the file as UTF-8",
            _ => "words are made of letters, digits and / . _ -; put anything else in '\"'",
        };
        let span = self.span_from(start);
        self.error(span, format!("unexpected {}", character_name(c)), advice);
    }
}

/// A character as a message names it.
fn character_name(c: char) -> String {
    let name = match (pasted::meant(c), c) {
        (Some((name, _)), _) => name,
        (None, NO_TEXT) => return "byte that is not UTF-8".to_owned(),
        (None, c) if pasted::is_space(c) => "no-break space",
        (None, c) if c.is_ascii_graphic() => return format!("'{c}'"),
        (None, _) => "character",
    };
    format!("{name} (U+{:04X})", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Severity;

    fn lex(text: &str) -> (Vec<Kind>, Vec<Diagnostic>) {
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
    fn pasted_quotes_and_dashes_are_named() {
        let (_, diagnostics) = lex("a \u{201c}b\u{201d} \u{2013}c ;");
        let messages: Vec<_> = diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "unexpected curly quote (U+201C)",
                "unexpected curly quote (U+201D)",
                "unexpected en dash (U+2013)"
            ]
        );
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
