// SPDX-License-Identifier: GPL-2.0-only

//! The characters that pasting from a web page or a word processor brings: they look right and mean nothing to a
//! program. One table for configurations and command lines.

/// The name of such a character, and what probably stood there.
pub fn meant(c: char) -> Option<(&'static str, &'static str)> {
    Some(match c {
        '\u{2013}' => ("en dash", "- or --"),
        '\u{2014}' | '\u{2015}' => ("em dash", "--"),
        '\u{2010}' | '\u{2011}' | '\u{2012}' => ("hyphen", "-"),
        '\u{2212}' => ("minus sign", "-"),
        '\u{201c}' | '\u{201d}' | '\u{201e}' => ("curly quote", "\""),
        '\u{2018}' | '\u{2019}' | '\u{201a}' => ("curly quote", "'"),
        '\u{200b}' | '\u{feff}' => ("invisible character", "nothing"),
        _ => return None,
    })
}

/// Whether it looks like a space, and is none for programs.
pub fn is_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{202f}' | '\u{2007}')
}
