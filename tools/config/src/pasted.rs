// SPDX-License-Identifier: GPL-2.0-only

//! Text that was pasted from web pages and word processors: characters that look like others, HTML that was not
//! undone, bytes of other encodings. What was meant is known of each.

/// What stood there before a web page or a word processor changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// That character.
    Char(char),
    /// `-` or `--`.
    Dash,
    /// A space.
    Space,
    /// Nothing: it cannot be seen.
    Nothing,
    /// Something that was left out.
    Unknown,
}

/// A character, its name, and what it was.
type Row = (char, &'static str, Meant);

static TABLE: &[Row] = &[
    ('\u{a0}', "no-break space", Meant::Space),
    ('\u{2007}', "no-break space", Meant::Space),
    ('\u{202f}', "no-break space", Meant::Space),
    ('\u{3000}', "full-width space", Meant::Space),
    ('\u{ad}', "soft hyphen", Meant::Nothing),
    ('\u{200b}', "zero-width space", Meant::Nothing),
    ('\u{200c}', "zero-width non-joiner", Meant::Nothing),
    ('\u{200d}', "zero-width joiner", Meant::Nothing),
    ('\u{200e}', "left-to-right mark", Meant::Nothing),
    ('\u{200f}', "right-to-left mark", Meant::Nothing),
    ('\u{202a}', "direction mark", Meant::Nothing),
    ('\u{202b}', "direction mark", Meant::Nothing),
    ('\u{202c}', "direction mark", Meant::Nothing),
    ('\u{202d}', "direction mark", Meant::Nothing),
    ('\u{202e}', "direction mark", Meant::Nothing),
    ('\u{2060}', "word joiner", Meant::Nothing),
    ('\u{feff}', "byte order mark", Meant::Nothing),
    ('\u{2010}', "hyphen", Meant::Char('-')),
    ('\u{2011}', "non-breaking hyphen", Meant::Char('-')),
    ('\u{2012}', "figure dash", Meant::Char('-')),
    ('\u{2212}', "minus sign", Meant::Char('-')),
    ('\u{fe63}', "small hyphen", Meant::Char('-')),
    ('\u{2013}', "en dash", Meant::Dash),
    ('\u{2014}', "em dash", Meant::Dash),
    ('\u{2015}', "horizontal bar", Meant::Dash),
    ('\u{201c}', "curly quote", Meant::Char('"')),
    ('\u{201d}', "curly quote", Meant::Char('"')),
    ('\u{201e}', "curly quote", Meant::Char('"')),
    ('\u{201f}', "curly quote", Meant::Char('"')),
    ('\u{ab}', "angle quote", Meant::Char('"')),
    ('\u{bb}', "angle quote", Meant::Char('"')),
    ('\u{2033}', "double prime", Meant::Char('"')),
    ('\u{2018}', "curly quote", Meant::Char('\'')),
    ('\u{2019}', "curly quote", Meant::Char('\'')),
    ('\u{201a}', "curly quote", Meant::Char('\'')),
    ('\u{201b}', "curly quote", Meant::Char('\'')),
    ('\u{2032}', "prime", Meant::Char('\'')),
    ('\u{b4}', "acute accent", Meant::Char('\'')),
    ('\u{37e}', "Greek question mark", Meant::Char(';')),
    ('\u{2044}', "fraction slash", Meant::Char('/')),
    ('\u{2215}', "division slash", Meant::Char('/')),
    ('\u{2236}', "ratio sign", Meant::Char(':')),
    ('\u{2026}', "ellipsis", Meant::Unknown),
];

/// The full-width forms of the characters from `!` to `~`.
const FULL_WIDTH: std::ops::RangeInclusive<char> = '\u{ff01}'..='\u{ff5e}';

/// The name of a character that pasting brings, and what stood there.
pub fn find(c: char) -> Option<(&'static str, Meant)> {
    if FULL_WIDTH.contains(&c) {
        let plain = char::from_u32(u32::from(c) - 0xfee0)?;
        return Some(("full-width character", Meant::Char(plain)));
    }
    let (_, name, meant) = TABLE.iter().find(|(known, ..)| *known == c)?;
    Some((name, *meant))
}

/// A character as a message names it.
pub fn name(c: char) -> String {
    let name = match find(c) {
        Some((name, _)) => name,
        None if c == '\u{fffd}' => return "byte that is not UTF-8".to_owned(),
        None if c.is_ascii_graphic() => return format!("'{c}'"),
        None if c.is_control() => "control character",
        None if c.is_whitespace() => "space of another kind",
        None => "character",
    };
    format!("{name} (U+{:04X})", u32::from(c))
}

/// Entities of HTML, and their characters.
static ENTITIES: &[(&str, char)] = &[
    ("nbsp", ' '),
    ("lt", '<'),
    ("gt", '>'),
    ("amp", '&'),
    ("quot", '"'),
    ("ldquo", '"'),
    ("rdquo", '"'),
    ("apos", '\''),
    ("lsquo", '\''),
    ("rsquo", '\''),
    ("ndash", '-'),
    ("mdash", '-'),
    ("shy", '-'),
    ("hellip", '\u{2026}'),
    ("semi", ';'),
];

/// The entity of HTML that a text begins with, as it stands there, and its character.
pub fn entity(text: &str) -> Option<(&str, char)> {
    const LONGEST: usize = 10;
    let name = text.strip_prefix('&')?;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '#')?;
    if end == 0 || end > LONGEST || !name[end..].starts_with(';') {
        return None;
    }
    let whole = &text[..end + 2];
    let name = &name[..end];
    let number = match name.strip_prefix('#') {
        Some(digits) => match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        },
        None => {
            let known = ENTITIES.iter().find(|(known, _)| *known == name)?;
            return Some((whole, known.1));
        }
    };
    let c = number.and_then(char::from_u32)?;
    let plain = match find(c) {
        Some((_, Meant::Char(plain))) => plain,
        Some((_, Meant::Space)) => ' ',
        Some((_, Meant::Dash)) => '-',
        _ => c,
    };
    Some((whole, plain))
}

/// The name of the encoding with two bytes for each character, when the text was read from such a file as if it were
/// UTF-8. Every second byte of it is zero as long as it is about ASCII.
pub fn utf16(text: &str) -> Option<&'static str> {
    const LOOKED_AT: usize = 256;
    let head: Vec<char> = text.chars().take(LOOKED_AT).collect();
    let zeroes = head.iter().filter(|&&c| c == '\0').count();
    if zeroes * 3 < head.len() || zeroes < 2 {
        return None;
    }
    if text.starts_with("\u{fffd}\u{fffd}") {
        return Some("UTF-16");
    }
    let at = |second: usize| {
        let every = head.iter().skip(second).step_by(2);
        every.filter(|&&c| c == '\0').count()
    };
    if at(1) == 0 {
        Some("UTF-16BE")
    } else if at(0) == 0 {
        Some("UTF-16LE")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_have_names() {
        assert_eq!(find('\u{ff1b}').unwrap().1, Meant::Char(';'));
        assert_eq!(name('\u{2011}'), "non-breaking hyphen (U+2011)");
        assert_eq!(name('\u{1}'), "control character (U+0001)");
        assert_eq!(find('\u{e4}'), None);
        let mut known: Vec<char> = TABLE.iter().map(|row| row.0).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), TABLE.len());
    }

    #[test]
    fn entities_are_undone() {
        assert_eq!(entity("&quot;x"), Some(("&quot;", '"')));
        assert_eq!(entity("&#160;x"), Some(("&#160;", ' ')));
        assert_eq!(entity("&#x2011;"), Some(("&#x2011;", '-')));
        assert_eq!(entity("& x;"), None);
        assert_eq!(entity("&"), None);
        assert_eq!(entity("&;"), None);
        assert_eq!(entity("&#xffffffff;"), None);
        assert_eq!(entity("&bogus;"), None);
    }

    #[test]
    fn utf16_is_known_by_its_zeroes() {
        let read = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(utf16(&read(little("\u{feff}resource"))), Some("UTF-16"));
        assert_eq!(utf16(&read(big("\u{feff}resource"))), Some("UTF-16"));
        assert_eq!(utf16(&read(little("resource"))), Some("UTF-16LE"));
        assert_eq!(utf16(&read(big("resource"))), Some("UTF-16BE"));
        assert_eq!(utf16("resource r0 { \0 }"), None);
        assert_eq!(utf16(&"\0".repeat(100)), None);
    }
}
