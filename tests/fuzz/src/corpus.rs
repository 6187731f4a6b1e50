// SPDX-License-Identifier: GPL-2.0-only

//! Committed inputs, each the smallest that was found for one thing that a decoder can say. They are played again by every
//! test run, apart from what the generator draws; damage starts from them, too.
//!
//! `DRBDRS_FUZZ_COLLECT=ROUNDS` looks for more: an input that makes a decoder say what none of them does is made smaller as
//! long as it still does, and written down. What is there already stays, under what is said about it now.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::{env, fs};

use crate::Random;

/// One file of inputs: a line with what a decoder says, then a line with the input.
#[derive(Debug)]
pub struct Corpus {
    path: PathBuf,
    inputs: BTreeMap<String, Vec<u8>>,
}

/// Bytes as printable text in one line.
fn escaped(bytes: &[u8]) -> String {
    let byte = |&byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(byte).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two digits behind \\x"));
            }
            other => bytes.extend(other),
        }
    }
    bytes
}

/// A sentence without what was written and without numbers.
pub fn template(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in text.chars() {
        // A quotation begins behind a blank; within a word it is an apostrophe.
        let opens = c == '\'' && !out.ends_with(char::is_alphanumeric);
        if quoted || opens {
            quoted = !(quoted && c == '\'');
            if !quoted {
                out += "''";
            }
            continue;
        }
        let code = ["U+", "0x", "0"].iter().any(|end| out.ends_with(end));
        if c.is_control() || code && c.is_ascii_hexdigit() {
            continue;
        }
        out.push(if c.is_ascii_digit() { '0' } else { c });
    }
    out
}

impl Corpus {
    /// Reads a file of this crate's folder `corpus`.
    pub fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut inputs = BTreeMap::new();
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("# "));
        while let (Some(said), Some(input)) = (lines.next(), lines.next()) {
            let input = input
                .strip_prefix('\t')
                .expect("an input begins with a tab");
            inputs.insert(said.to_owned(), unescaped(input));
        }
        Self { path, inputs }
    }

    /// The inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &[u8]> {
        self.inputs.values().map(Vec::as_slice)
    }

    /// Plays every input: it must still make the decoder say what is written. `least` of them have to be there.
    pub fn replay(
        mut self,
        least: usize,
        mut draw: impl FnMut(&mut Random) -> Vec<u8>,
        says: impl Fn(&[u8]) -> BTreeSet<String>,
    ) {
        let collect = env::var("DRBDRS_FUZZ_COLLECT").ok();
        if let Some(rounds) = collect.and_then(|text| text.parse().ok()) {
            self.collect(rounds, &mut draw, &says);
        }
        let wrong: Vec<_> = self
            .inputs
            .iter()
            .filter(|(said, input)| !says(input).contains(*said))
            .map(|(said, input)| format!("{said}: now {:?}\n\t{}", says(input), escaped(input)))
            .collect();
        assert!(
            wrong.is_empty(),
            "{}: after a change of what is said, DRBDRS_FUZZ_COLLECT=1 writes it anew\n{}",
            self.path.display(),
            wrong.join("\n")
        );
        let count = self.inputs.len();
        assert!(count >= least, "{}: {count} inputs", self.path.display());
    }

    fn collect(
        &mut self,
        rounds: usize,
        draw: &mut impl FnMut(&mut Random) -> Vec<u8>,
        says: &impl Fn(&[u8]) -> BTreeSet<String>,
    ) {
        let old = std::mem::take(&mut self.inputs);
        let mut random = Random::new(old.len() as u64 + 9);
        let drawn = (0..rounds).map(|_| draw(&mut random));
        for input in old.into_values().chain(drawn) {
            for said in says(&input) {
                if let Entry::Vacant(place) = self.inputs.entry(said) {
                    let said = place.key().clone();
                    place.insert(smaller(input.clone(), |input| says(input).contains(&said)));
                }
            }
        }
        let mut text =
            "# What a decoder says, and the smallest input found for it; see src/corpus.rs.\n"
                .to_owned();
        for (said, input) in &self.inputs {
            text += &format!("{said}\n\t{}\n", escaped(input));
        }
        fs::write(&self.path, text).expect("the corpus can be written");
    }
}

/// Leaves out whatever can be left out, in pieces that get shorter, until nothing can.
fn smaller(mut input: Vec<u8>, still: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut piece = input.len().next_power_of_two();
    while piece > 0 {
        let (mut at, mut left_out) = (0, false);
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + piece).min(input.len()));
            if still(&shorter) {
                input = shorter;
                left_out = true;
            } else {
                at += piece;
            }
        }
        if !left_out {
            // Three bytes may be one change (superblocks).
            piece = if piece == 4 {
                3
            } else {
                piece.div_ceil(2).min(piece - 1)
            };
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_as_text() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&escaped(&all)), all);
        assert_eq!(escaped(&all).lines().count(), 1);
    }

    #[test]
    fn a_sentence_loses_what_was_written() {
        assert_eq!(template("'a b' is 1234 s, not 'c'"), "'' is 0 s, not ''");
        assert_eq!(template("12 (0xfab0)"), "0 (0x)");
        assert_eq!(template("a host's (U+A0BD) 'it"), "a host's (U+) ");
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let input = b"some 7 thing ; or } other".to_vec();
        let small = smaller(input, |bytes| {
            bytes.contains(&b';') && bytes.contains(&b'}')
        });
        assert_eq!(small, b";}");
    }
}
