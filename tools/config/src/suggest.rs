// SPDX-License-Identifier: GPL-2.0-only

//! What a mistyped word most likely meant.

use std::cmp::Reverse;

/// Of shorter words every other one is near.
const SHORTEST: usize = 3;
/// Columns that a list of words takes at most.
const LIST_COLUMNS: usize = 90;

/// How near a word is to what was typed: less is nearer. Where the edits are as many (letters that are exchanged count
/// one), the word that begins, and then the one that ends, like what was typed is the nearer one.
fn rank(typed: &str, word: &str) -> (usize, Reverse<usize>, Reverse<usize>) {
    let word = word.to_lowercase();
    let same = |pairs: &mut dyn Iterator<Item = (char, char)>| {
        let pairs = pairs.take_while(|(a, b)| a == b);
        Reverse(pairs.count())
    };
    (
        strsim::osa_distance(typed, &word),
        same(&mut typed.chars().zip(word.chars())),
        same(&mut typed.chars().rev().zip(word.chars().rev())),
    )
}

/// The candidate that a mistyped word most likely meant: one with few edits, or else the only one that begins with it.
/// Capitals do not matter.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = word.to_lowercase();
    if typed.chars().count() < SHORTEST {
        return None;
    }
    let candidates: Vec<&str> = candidates.collect();
    let near = candidates
        .iter()
        .map(|candidate| (rank(&typed, candidate), *candidate))
        .filter(|((edits, ..), candidate)| *edits <= 1 + candidate.len() / 5)
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, candidate)| candidate);
    let mut longer = candidates
        .iter()
        .copied()
        .filter(|candidate| candidate.to_lowercase().starts_with(&typed));
    near.or_else(|| longer.next().filter(|_| longer.next().is_none()))
}

/// What to say to an unknown word: the one that was meant, or else all that there are; of many the nearest first, three at
/// most, if they are near at all.
pub fn advice(word: &str, words: &[&str]) -> String {
    const MANY: usize = 12;
    if let Some(near) = nearest(word, words.iter().copied()) {
        return format!("did you mean '{near}'?");
    }
    if words.len() <= MANY {
        return format!("one of: {}", words.join(" "));
    }
    let typed = word.to_lowercase();
    let mut near: Vec<&str> = words.to_vec();
    near.retain(|word| strsim::osa_distance(&typed, word) * 2 <= word.len().max(typed.len()));
    near.sort_by_key(|word| rank(&typed, word));
    near.truncate(3);
    let head = if near.is_empty() {
        "one of".to_owned()
    } else {
        format!("{}? There are", near.join(", "))
    };
    format!("{head}:{}", wrapped(words))
}

/// Words in lines of their own.
fn wrapped(words: &[&str]) -> String {
    const INDENT: &str = "\n     ";
    let mut text = String::new();
    let mut column = LIST_COLUMNS;
    for word in words {
        if column + 1 + word.len() > LIST_COLUMNS {
            text += INDENT;
            column = INDENT.len() - 1;
        }
        text += " ";
        text += word;
        column += 1 + word.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str, words: &[&'static str]) -> Option<&'static str> {
        nearest(word, words.iter().copied())
    }

    #[test]
    fn a_typo_is_found_and_nonsense_is_not() {
        let words = ["timeout", "ping-int", "protocol"];
        assert_eq!(of("timeuot", &words), Some("timeout"));
        assert_eq!(of("timeout1", &words), Some("timeout"));
        assert_eq!(of("protocoll", &words), Some("protocol"));
        assert_eq!(of("xyz", &words), None);
    }

    #[test]
    fn exchanged_letters_are_one_mistake_and_capitals_none() {
        let words = ["dump", "show", "Type", "net", "up", "down"];
        for (typed, meant) in [
            ("dupm", "dump"),
            ("dmup", "dump"),
            ("shwo", "show"),
            ("Tpye", "Type"),
            ("NET", "net"),
        ] {
            assert_eq!(of(typed, &words), Some(meant), "{typed}");
        }
    }

    #[test]
    fn of_two_that_are_as_near_the_one_that_begins_and_ends_alike() {
        assert_eq!(of("event2", &["events", "events2"]), Some("events2"));
        assert_eq!(of("get-gx", &["set-gi", "get-gi"]), Some("get-gi"));
        assert_eq!(
            of("allow-two", &["allow-two-primaries", "al-extents"]),
            Some("allow-two-primaries")
        );
        assert_eq!(of("conn", &["connect-int", "connect-all"]), None);
    }

    #[test]
    fn short_words_are_not_guessed() {
        assert_eq!(of("D", &["A", "B", "C"]), None);
        assert_eq!(of("r0", &["r1", "r2"]), None);
        assert_eq!(advice("D", &["A", "B", "C"]), "one of: A B C");
    }

    #[test]
    fn of_many_words_the_nearest_come_first_in_lines_that_can_be_read() {
        let words: Vec<String> = (0..40).map(|n| format!("some-option-{n}")).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.push("frobnicated-it");
        let text = advice("frobnicate-those", &words);
        assert!(text.starts_with("frobnicated-it? There are:\n"), "{text}");
        assert!(
            text.lines().all(|line| line.len() <= LIST_COLUMNS),
            "{text}"
        );
        assert!(words.iter().all(|word| text.contains(word)));
    }
}
