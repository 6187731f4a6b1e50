// SPDX-License-Identifier: GPL-2.0-only

//! What is shown of long lines and long words: a file of one line must not fill the terminal.

use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

/// Columns that are shown of a line.
const COLUMNS: usize = 120;
/// Characters of a sentence about a place.
const SENTENCE: usize = 300;

/// How many columns of a terminal a character takes; what is no character is shown as one.
pub fn columns(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// The same of what is clipped: what cannot be seen fills no line, but a terminal has to read it.
fn cost(c: char) -> usize {
    columns(c).max(1)
}

/// The last place in front of that byte where a character begins, or the end.
pub fn boundary(text: &str, at: usize) -> usize {
    let starts = |at: &usize| text.is_char_boundary(*at);
    (0..=at.min(text.len())).rev().find(starts).unwrap_or(0)
}

/// Bytes of the first characters that fit into so many columns.
fn fitting(chars: impl Iterator<Item = char>, room: usize) -> usize {
    let fits = |taken: &mut usize, c: char| {
        *taken += cost(c);
        (*taken <= room).then_some(c.len_utf8())
    };
    chars.scan(0, fits).sum()
}

/// The part of a line around a mark (in bytes), and the mark in it. Where something was left out stands '…'.
pub fn line(line: &str, mark: Range<usize>) -> (String, Range<usize>) {
    let start = boundary(line, mark.start);
    let mark = start..boundary(line, mark.end.max(start));
    // A character has four bytes at most.
    if line.len() <= 4 * COLUMNS && line.chars().map(cost).sum::<usize>() <= COLUMNS {
        return (line.to_owned(), mark);
    }
    let (before, behind) = line.split_at(mark.start);
    // A third in front of the mark, and what is not needed there behind it.
    let front = fitting(before.chars().rev(), COLUMNS / 3);
    let front = &before[before.len() - front..];
    let back = fitting(
        behind.chars(),
        COLUMNS - front.chars().map(cost).sum::<usize>(),
    );
    let mut text = String::new();
    if front.len() < before.len() {
        text.push('…');
    }
    text += front;
    let start = text.len();
    let end = start + (mark.end - mark.start).min(back);
    text += &behind[..back];
    if back < behind.len() {
        text.push('…');
    }
    (text, start..end)
}

/// A sentence that names a long word, without the middle of it.
pub fn sentence(text: &str) -> String {
    let count = text.chars().count();
    if count <= SENTENCE || text.contains('\n') {
        return text.to_owned();
    }
    let half = SENTENCE / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(count - half).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_line_is_shown_as_it_is() {
        assert_eq!(line("rate 33;", 5..7), ("rate 33;".to_owned(), 5..7));
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mark_is_shown() {
        let long = format!("{}x;y{}", "ä".repeat(5000), "z".repeat(5000));
        let (text, mark) = line(&long, 10_001..10_002);
        assert_eq!(&text[mark.clone()], ";");
        assert!(text.starts_with("…ä") && text.ends_with("z…"));
        assert!(text.chars().map(columns).sum::<usize>() <= COLUMNS + 2);
        let (text, mark) = line(&long, 0..long.len());
        assert_eq!(mark.start, 0);
        assert!(text.len() <= 2 * COLUMNS + 3 && mark.end <= text.len());
        assert!(text.get(mark).is_some());
        let end = long.len();
        assert_eq!(line(&long, end..end).1.start, line(&long, end..end).0.len());
    }

    #[test]
    fn a_mark_within_a_character_is_one_on_it() {
        let text = "\u{feff}ab";
        assert_eq!(line(text, 1..2), (text.to_owned(), 0..0));
        assert_eq!(line(text, 2..4), (text.to_owned(), 0..4));
        assert_eq!(line(text, 9..9), (text.to_owned(), 5..5));
        let long = "\u{feff}".repeat(500);
        assert!(line(&long, 601..603).0.starts_with('…'));
    }

    #[test]
    fn of_a_long_word_both_ends_are_named() {
        let text = sentence(&format!("'{}' is not known", "x".repeat(9999)));
        assert!(text.ends_with("x' is not known") && text.chars().count() == SENTENCE + 1);
    }
}
