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

/// The part of a line around a mark (in bytes), and the mark in it. Where something was left out stands '…'.
pub fn line(line: &str, mark: Range<usize>) -> (String, Range<usize>) {
    if line.chars().map(columns).take(COLUMNS + 1).count() <= COLUMNS
        && line.chars().map(columns).sum::<usize>() <= COLUMNS
    {
        return (line.to_owned(), mark);
    }
    let (before, behind) = line.split_at(mark.start);
    // A third in front of the mark, and what is not needed there behind it.
    let room = COLUMNS / 3;
    let mut taken = 0;
    let mut fits = |c: char, room: usize| {
        taken += columns(c);
        taken <= room
    };
    let front: usize = (before.chars().rev())
        .take_while(|c| fits(*c, room))
        .map(char::len_utf8)
        .sum();
    let front = &before[before.len() - front..];
    let mut taken: usize = front.chars().map(columns).sum();
    let back: usize = (behind.chars())
        .take_while(|c| {
            taken += columns(*c);
            taken <= COLUMNS
        })
        .map(char::len_utf8)
        .sum();
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
    fn of_a_long_word_both_ends_are_named() {
        let text = sentence(&format!("'{}' is not known", "x".repeat(9999)));
        assert!(text.ends_with("x' is not known") && text.chars().count() == SENTENCE + 1);
    }
}
