// SPDX-License-Identifier: GPL-2.0-only

//! What no drbd.conf has: characters that look like others, HTML, comments of other languages. Each is reported once, and
//! read as what was meant.

use super::{in_word as plain_in_word, Kind, Lexer, NO_TEXT};
use crate::pasted::{self, Meant};
use crate::source::Span;

/// What the character stands for in a word, if it can stand in one; `first`: the word begins with it.
pub fn in_word(c: char, first: bool) -> Option<String> {
    match pasted::find(c) {
        Some((_, Meant::Char(plain))) if plain_in_word(plain) => Some(plain.into()),
        Some((_, Meant::Dash)) => Some(if first { "--" } else { "-" }.into()),
        Some((_, Meant::Nothing)) => Some(String::new()),
        Some(_) => None,
        None if c == NO_TEXT || c.is_alphanumeric() => Some(c.into()),
        None => None,
    }
}

/// What to write instead of a character.
fn advice(c: char) -> String {
    match pasted::find(c) {
        Some((_, Meant::Char('\''))) => "strings stand in '\"'".to_owned(),
        Some((_, Meant::Char(plain))) => format!("a plain '{plain}' was probably meant"),
        Some((_, Meant::Dash)) => "'-' or '--' was probably meant".to_owned(),
        Some((_, Meant::Nothing)) => "it cannot be seen: delete it".to_owned(),
        Some((_, Meant::Unknown)) => "write what was left out".to_owned(),
        _ => match c {
            '\'' | '`' => "strings stand in '\"'",
            '=' => "name and value are separated by a space",
            ',' => "items are separated by a space",
            NO_TEXT => "save the file as UTF-8",
            _ => {
                "words are made of letters (a to z), digits and / . _ -; put anything else in '\"'"
            }
        }
        .to_owned(),
    }
}

/// The kind of a quote, if it is one: what ends it.
fn quote(c: char) -> Option<char> {
    match c {
        '"' | '\'' => Some(c),
        '`' => Some('\''),
        _ => match pasted::find(c)?.1 {
            Meant::Char(plain @ ('"' | '\'')) => Some(plain),
            _ => None,
        },
    }
}

/// Whether what stands in angle brackets is markup, and not a placeholder.
fn is_tag(inner: &str) -> bool {
    const TAGS: [&str; 12] = [
        "br", "p", "pre", "code", "div", "span", "li", "ul", "b", "i", "a", "td",
    ];
    let name = inner.trim_start_matches('/');
    let name = name.split([' ', '/']).next().unwrap_or_default();
    TAGS.iter().any(|tag| name.eq_ignore_ascii_case(tag))
}

impl Lexer<'_> {
    /// A file in UTF-16 gives one error, and no token.
    pub(super) fn refuse_utf16(&mut self) {
        if let Some(encoding) = pasted::utf16(self.text) {
            let span = self.span_from(0);
            let advice = format!("convert it: iconv -f {encoding} -t UTF-8");
            self.error(span, format!("the file is {encoding}"), advice);
            self.at = self.text.len();
        }
    }

    /// Zero bytes are left out; it is said once how many there are.
    pub(super) fn zero(&mut self, span: Span) {
        if !std::mem::replace(&mut self.zero_seen, true) {
            let count = self.text.matches('\0').count();
            let message = match count {
                1 => "the text has a zero byte".to_owned(),
                _ => format!("the text has {count} zero bytes"),
            };
            self.error(span, message, "is it damaged, or no text? delete them");
        }
    }

    /// Goes on with a word behind its plain characters, as long as there are some that look as if they belonged to it.
    pub(super) fn look_alikes(&mut self, word: &mut String) {
        let mut first: Option<(Span, char)> = None;
        while let Some(c) = self.peek() {
            let start = self.at;
            if plain_in_word(c) {
                word.push(c);
            } else if let Some(meant) = in_word(c, word.is_empty()) {
                word.push_str(&meant);
            } else {
                break;
            }
            self.at += c.len_utf8();
            if !plain_in_word(c) && first.is_none() {
                first = Some((self.span_from(start), c));
            }
        }
        if let Some((span, c)) = first {
            let mut advice = advice(c);
            if matches!(pasted::find(c), Some((_, Meant::Char(_) | Meant::Dash))) {
                advice = format!("{advice}: {word}");
            }
            self.error(span, format!("unexpected {}", pasted::name(c)), advice);
        }
    }

    /// The string that began with a plain quote and ends with one that looks alike; the lexer is at the end of the line.
    pub(super) fn ended_alike(&mut self, start: usize) -> Option<String> {
        let rest = self.text.get(start + 1..self.at)?;
        let (at, c) = rest
            .char_indices()
            .find(|(_, c)| *c != '"' && quote(*c) == Some('"'))?;
        self.at = start + 1 + at;
        let from = self.at;
        self.at += c.len_utf8();
        let span = self.span_from(from);
        self.error(span, format!("unexpected {}", pasted::name(c)), advice(c));
        Some(rest[..at].to_owned())
    }

    /// The rest of a string that something other than a plain quote began; none if nothing on the line ends it.
    fn string_alike(&mut self, ends: char) -> Option<Kind> {
        let rest = &self.text[self.at..];
        let line = rest.split('\n').next().unwrap_or_default();
        for (at, c) in line.char_indices() {
            let entity = pasted::entity(&line[at..]).filter(|(_, c)| *c == ends);
            let length = match entity {
                Some((whole, _)) => whole.len(),
                None if quote(c) == Some(ends) => c.len_utf8(),
                None => continue,
            };
            self.at += at + length;
            return Some(Kind::Quoted(line[..at].to_owned()));
        }
        None
    }

    /// A comment as another language has it, skipped to its end.
    pub(super) fn foreign_comment(&mut self) -> bool {
        let rest = &self.text[self.at..];
        // A path may begin with two slashes, a keyword does not.
        let (begin, length) = if self.between_statements && rest.starts_with("//") {
            ("//", rest.find('\n'))
        } else if rest.starts_with("/*") {
            ("/*", rest.find("*/").map(|at| at + 2))
        } else if rest.starts_with("<!--") {
            ("<!--", rest.find("-->").map(|at| at + 3))
        } else {
            return false;
        };
        let start = self.at;
        self.at += begin.len();
        let span = self.span_from(start);
        let length = length.or_else(|| rest.find('\n')).unwrap_or(rest.len());
        self.at = start + length;
        let advice = if self.text[start..self.at].contains('\n') {
            "put '#' in front of each line of the comment"
        } else {
            "comments start with '#'"
        };
        self.error(span, format!("'{begin}' starts no comment"), advice);
        true
    }

    /// `<br>`, `<name>`.
    fn angle(&mut self, start: usize) -> Option<Kind> {
        const LONGEST: usize = 64;
        let rest = &self.text[self.at..];
        let end = rest.find(['>', '\n', ';', '{', '}', '"'])?;
        if end == 0 || end > LONGEST || !rest[end..].starts_with('>') {
            return None;
        }
        let inner = &rest[..end];
        self.at += end + 1;
        let span = self.span_from(start);
        let whole = &self.text[start..self.at];
        if is_tag(inner) {
            self.error(span, format!("HTML's '{whole}'"), "delete it");
            return Some(Kind::End);
        }
        let message = format!("'{whole}' stands for a value");
        self.error(span, message, "put your own value here");
        Some(Kind::Word(inner.to_owned()))
    }

    /// A character that no word, mark or string begins with; what it is read as, if anything.
    pub(super) fn strange(&mut self, c: char, start: usize) -> Option<Kind> {
        let span = self.span_from(start);
        if c == '\0' {
            self.zero(span);
            return None;
        }
        if let Some((whole, plain)) = pasted::entity(&self.text[start..]) {
            self.at = start + whole.len();
            let span = self.span_from(start);
            let advice = match plain {
                ' ' => "a web page wrote this for a space".to_owned(),
                plain => format!("a web page wrote this for '{plain}'"),
            };
            self.error(span, format!("HTML's '{whole}'"), advice);
            return match plain {
                '"' | '\'' => self.string_alike(plain),
                ';' => Some(Kind::Mark(';')),
                _ => None,
            };
        }
        if c == '<' {
            if let Some(kind) = self.angle(start) {
                return Some(kind).filter(|kind| *kind != Kind::End);
            }
        }
        self.error(span, format!("unexpected {}", pasted::name(c)), advice(c));
        if let Some(ends) = quote(c) {
            return self.string_alike(ends);
        }
        match pasted::find(c)?.1 {
            Meant::Char(mark @ ('{' | '}' | ';' | '[' | ']' | ':')) => Some(Kind::Mark(mark)),
            Meant::Char('#') => {
                self.take_while(|c| c != '\n');
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::tests::lex;

    /// Tokens as text: strings in quotes, a bar between two.
    fn read(kinds: &[Kind]) -> String {
        let texts = kinds.iter().filter_map(|kind| match kind {
            Kind::Word(word) => Some(word.clone()),
            Kind::Quoted(word) => Some(format!("\"{word}\"")),
            Kind::Mark(mark) => Some(mark.to_string()),
            Kind::End => None,
        });
        texts.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn what_looks_like_a_character_is_read_as_it_and_named_once() {
        for (text, tokens, message) in [
            (
                "a \u{201c}b c\u{201d};",
                "a|\"b c\"|;",
                "unexpected curly quote (U+201C)",
            ),
            (
                "a \"b c\u{201d};",
                "a|\"b c\"|;",
                "unexpected curly quote (U+201D)",
            ),
            ("a 'b c';", "a|\"b c\"|;", "unexpected '''"),
            (
                "a \u{2018}b\u{2019};",
                "a|\"b\"|;",
                "unexpected curly quote (U+2018)",
            ),
            ("\u{2014}c;", "--c|;", "unexpected em dash (U+2014)"),
            (
                "al\u{2011}ex\u{2011}t 1;",
                "al-ex-t|1|;",
                "unexpected non-breaking hyphen (U+2011)",
            ),
            (
                "rate 33\u{ff1b}",
                "rate|33|;",
                "unexpected full-width character (U+FF1B)",
            ),
            (
                "rate\u{200b} 33;",
                "rate|33|;",
                "unexpected zero-width space (U+200B)",
            ),
            (
                "\u{200b}rate 33;",
                "rate|33|;",
                "unexpected zero-width space (U+200B)",
            ),
            (
                "net \u{ff5b}",
                "net|{",
                "unexpected full-width character (U+FF5B)",
            ),
            (
                "on k\u{f6}ln {",
                "on|k\u{f6}ln|{",
                "unexpected character (U+00F6)",
            ),
            (
                "a\u{fffd}\u{fffd}b;",
                "a\u{fffd}\u{fffd}b|;",
                "unexpected byte that is not UTF-8",
            ),
            ("a\0\0 b\0;", "a|b|;", "the text has 3 zero bytes"),
            ("disk&nbsp;a;", "disk|a|;", "HTML's '&nbsp;'"),
            ("disk &quot;a b&quot;;", "disk|\"a b\"|;", "HTML's '&quot;'"),
            ("<br/>a;", "a|;", "HTML's '<br/>'"),
            ("host <name>;", "host|name|;", "'<name>' stands for a value"),
            ("a; // the disk;\nb;", "a|;|b|;", "'//' starts no comment"),
            ("a; /* b;\n c; */ d;", "a|;|d|;", "'/*' starts no comment"),
            ("<!-- b; -->d;", "d|;", "'<!--' starts no comment"),
        ] {
            let (kinds, diagnostics) = lex(text);
            let said: Vec<_> = diagnostics.iter().map(|d| d.message.as_str()).collect();
            assert_eq!(said, [message], "{text}");
            assert_eq!(read(&kinds), tokens, "{text}");
        }
    }

    #[test]
    fn advice_tells_what_to_write() {
        for (text, advice) in [
            ("al\u{2011}ex;", "a plain '-' was probably meant: al-ex"),
            ("x\u{200b};", "it cannot be seen: delete it"),
            ("a &lt; b", "a web page wrote this for '<'"),
            ("a; // b", "comments start with '#'"),
            ("host <name>;", "put your own value here"),
        ] {
            assert_eq!(lex(text).1[0].advice, advice, "{text}");
        }
    }

    #[test]
    fn a_path_may_begin_with_two_slashes() {
        let (kinds, diagnostics) = lex("disk //dev/sda;");
        assert_eq!(read(&kinds), "disk|//dev/sda|;");
        assert_eq!(diagnostics, []);
    }

    #[test]
    fn utf_16_is_one_error() {
        let text = "\u{feff}resource r0 { }\n".encode_utf16();
        let bytes: Vec<u8> = text.flat_map(u16::to_le_bytes).collect();
        let (kinds, diagnostics) = lex(&String::from_utf8_lossy(&bytes));
        assert_eq!(kinds, [Kind::End]);
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(diagnostics[0].message, "the file is UTF-16");
        let advice = "convert it: iconv -f UTF-16 -t UTF-8";
        assert_eq!(diagnostics[0].advice, advice);
    }
}
