// SPDX-License-Identifier: GPL-2.0-only

//! Rust source with everything blanked that is not code, line by line as it was.
//!
//! A lexer of the few forms that can hide a word from a search: comments, strings, characters.

/// What the lexer is inside of.
#[derive(Clone, Copy)]
enum Inside {
    Code,
    Line,
    Block(u32),
    String,
    Raw(usize),
}

/// Replaces comments and the contents of strings by spaces; lines stay where they are.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut inside = Inside::Code;
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let next = chars.get(i + 1).copied().unwrap_or('\0');
        let mut taken = 1;
        let mut keep = false;
        inside = match (inside, c, next) {
            (Inside::Code, '/', '/') => Inside::Line,
            (Inside::Code, '/', '*') => {
                taken = 2;
                Inside::Block(1)
            }
            (Inside::Code, '"', _) => Inside::String,
            (Inside::Code, 'r', '"' | '#') if !word_before(&chars, i) => {
                match raw_opening(&chars, i) {
                    Some(hashes) => {
                        taken = hashes + 2;
                        Inside::Raw(hashes)
                    }
                    None => {
                        keep = true;
                        Inside::Code
                    }
                }
            }
            (Inside::Code, '\'', _) => {
                taken = character_length(&chars, i);
                Inside::Code
            }
            (Inside::Code, ..) => {
                keep = true;
                Inside::Code
            }
            (Inside::Line, '\n', _) => Inside::Code,
            (Inside::Block(depth), '/', '*') => {
                taken = 2;
                Inside::Block(depth + 1)
            }
            (Inside::Block(depth), '*', '/') => {
                taken = 2;
                if depth == 1 {
                    Inside::Code
                } else {
                    Inside::Block(depth - 1)
                }
            }
            (Inside::String, '\\', _) => {
                taken = 2;
                Inside::String
            }
            (Inside::String, '"', _) => Inside::Code,
            (Inside::Raw(hashes), '"', _)
                if chars[i + 1..].iter().take_while(|&&h| h == '#').count() >= hashes =>
            {
                taken = hashes + 1;
                Inside::Code
            }
            (same, ..) => same,
        };
        for &c in chars.iter().skip(i).take(taken) {
            out.push(if keep || c == '\n' { c } else { ' ' });
        }
        i += taken;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_before(chars: &[char], i: usize) -> bool {
    // `br"..."` and `cr"..."` are raw strings too.
    let before = |n: usize| {
        i.checked_sub(n)
            .and_then(|j| chars.get(j))
            .copied()
            .unwrap_or(' ')
    };
    let prefix = matches!(before(1), 'b' | 'c') && !is_word(before(2));
    is_word(before(1)) && !prefix
}

fn raw_opening(chars: &[char], i: usize) -> Option<usize> {
    let hashes = chars[i + 1..].iter().take_while(|&&h| h == '#').count();
    (chars.get(i + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// A character literal's length at `i`, or 1 when the quote starts a lifetime.
fn character_length(chars: &[char], i: usize) -> usize {
    match (chars.get(i + 1), chars.get(i + 2)) {
        (Some('\\'), _) => {
            let end = chars[i + 3..].iter().position(|&c| c == '\'');
            end.map_or(1, |n| n + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}

/// What marks an item that is compiled for tests only.
const TEST_MARKS: &[&str] = &["#[cfg(test)]", "#[kunit_tests("];

/// Lines (from 0) that belong to test items, given code as `code_only` returns it.
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for mark in TEST_MARKS {
        for (start, _) in code.match_indices(mark) {
            let end = item_end(code, start + mark.len());
            let first = code[..start].matches('\n').count();
            let last = code[..end].matches('\n').count();
            marks
                .iter_mut()
                .take(last + 1)
                .skip(first)
                .for_each(|mark| *mark = true);
        }
    }
    marks
}

/// Where the item that begins after `start` ends: at its closing brace, or at a semicolon before any.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0usize;
    for (i, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return i + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return i + 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether `code` contains `word` with no letter, digit or underscore at either side.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(i, _)| {
        let before = code[..i].chars().next_back().unwrap_or(' ');
        let after = code[i + word.len()..].chars().next().unwrap_or(' ');
        !is_word(before) && !is_word(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_lines_stay() {
        let source = "let a = \"unsafe \\\" x\"; // unsafe\n/* unsafe /* n */ unsafe */ f('\\'', 'u', &'a T)\n";
        let code = code_only(source);
        assert!(!has_word(&code, "unsafe"), "{code}");
        assert!(has_word(&code, "f") && has_word(&code, "a"));
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        let code = code_only("r#\"todo \" todo\"# + br\"todo\" + for_r(x)");
        assert!(!code.contains("todo"), "{code}");
        assert!(code.contains("for_r(x)"));
    }

    #[test]
    fn a_raw_identifier_is_code() {
        assert!(code_only("let r#type = 1;").contains("r#type"));
    }

    #[test]
    fn test_modules_are_marked_to_their_closing_brace() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n";
        assert_eq!(test_lines(code), [false, true, true, true, true, false]);
    }
}
