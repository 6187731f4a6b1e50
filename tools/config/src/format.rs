// SPDX-License-Identifier: GPL-2.0-only

//! One way of writing: the text of a file with its comments, indented by what it is in, one statement a line. Nothing is
//! inherited, included or left out; what the text means stays the same.

use crate::lexer::{self, Kind};
use crate::source::Diagnostic;

const INDENT: usize = 4;

/// The text of one file in that form; its diagnostics when it cannot be read as words at all.
pub fn text(text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let tokens = lexer::tokens(0, text, &mut diagnostics);
    if diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == crate::Severity::Error)
    {
        return Err(diagnostics);
    }
    let mut out = Out::default();
    let mut end = 0;
    for token in &tokens {
        let gap = text.get(end..token.span.start).unwrap_or_default();
        end = token.span.end;
        out.gap(gap, &token.kind);
        let word = text.get(token.span.start..end).unwrap_or_default();
        match token.kind {
            Kind::End => out.flush(),
            Kind::Mark('{') => out.open(),
            Kind::Mark('}') => out.close(),
            Kind::Mark(';') => out.end_statement(),
            _ => out.word(word, gap.is_empty()),
        }
    }
    Ok(out.text)
}

/// Lines as they become ready.
#[derive(Default)]
struct Out {
    text: String,
    level: usize,
    /// The statement so far.
    line: String,
    /// The statement began on a line before.
    continued: bool,
    /// Nothing stands in the block yet.
    fresh: bool,
}

impl Out {
    fn flush(&mut self) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            let extra = usize::from(self.continued);
            self.put(&line, extra);
        }
    }

    fn put(&mut self, line: &str, extra: usize) {
        let indent = INDENT * (self.level + extra);
        self.text += &format!("{:indent$}{line}\n", "");
        self.fresh = false;
    }

    fn word(&mut self, word: &str, adjacent: bool) {
        if !self.line.is_empty() && !adjacent {
            self.line.push(' ');
        }
        self.line += word;
    }

    fn end_statement(&mut self) {
        self.line.push(';');
        self.flush();
        self.continued = false;
    }

    fn open(&mut self) {
        self.word("{", false);
        self.flush();
        self.continued = false;
        self.fresh = true;
        self.level += 1;
    }

    fn close(&mut self) {
        self.flush();
        self.continued = false;
        self.level = self.level.saturating_sub(1);
        self.put("}", 0);
    }

    /// What stands between two tokens: comments, and empty lines, of which one is kept.
    fn gap(&mut self, gap: &str, next: &Kind) {
        let mut lines = gap.split('\n');
        let first = lines.next().unwrap_or_default().trim();
        if first.starts_with('#') {
            self.trailing(first);
        }
        let mut empty = false;
        let mut rest = lines.map(str::trim).peekable();
        while let Some(line) = rest.next() {
            if line.starts_with('#') {
                self.interrupt();
                self.separate(empty);
                self.put(line, usize::from(self.continued));
                empty = false;
            } else if rest.peek().is_some() {
                empty = true;
            }
        }
        if self.line.is_empty() && !matches!(next, Kind::Mark('}') | Kind::End) {
            self.separate(empty);
        }
    }

    fn separate(&mut self, empty: bool) {
        if empty && !self.fresh && !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A comment behind something on the same line.
    fn trailing(&mut self, comment: &str) {
        if !self.line.is_empty() {
            self.line += &format!(" {comment}");
            self.interrupt();
        } else if self.text.ends_with('\n') {
            self.text.pop();
            self.text += &format!(" {comment}\n");
        } else {
            self.put(comment, 0);
        }
    }

    /// A comment ends the line, not the statement.
    fn interrupt(&mut self) {
        if !self.line.is_empty() {
            self.flush();
            self.continued = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn comments_stay_where_they_are() {
        let written = "# head\n\n\n\nglobal{usage-count no;}# why\nresource  \"r 0\" { # r\n\n  # the disk\n  disk /dev/sdb; # sdb\n\
                       net{ timeout # tenths\n 60; # six\n # last\n }\n\n\n on a { address [fe80::1%eth0]:7788; meta-disk /dev/m [ 3 ]; }\n}\n# end\n\n";
        let formatted = text(written).unwrap();
        assert_eq!(
            formatted,
            "# head\n\nglobal {\n    usage-count no;\n} # why\nresource \"r 0\" { # r\n    # the disk\n    disk /dev/sdb; # sdb\n    \
             net {\n        timeout # tenths\n            60; # six\n        # last\n    }\n\n    on a {\n        \
             address [fe80::1%eth0]:7788;\n        meta-disk /dev/m [ 3 ];\n    }\n}\n# end\n"
        );
        assert_eq!(text(&formatted).unwrap(), formatted, "a fixed point");
        assert!(text("a \u{201c}b\u{201d};").is_err());
        assert_eq!(text("").unwrap(), "");
    }
}
