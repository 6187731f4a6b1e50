// SPDX-License-Identifier: GPL-2.0-only

//! `restore-md` and `verify-dump`: the text of `dump-md`, ours or the stock tool's, back to a disk.
//!
//! The whole text is understood before anything is written; the bitmap is kept as runs, so that `N times` costs
//! nothing. Written are log, bitmap and at last the superblock, clean: the log that the dump was taken of had been
//! applied.

use std::io;

use drbd_core::meta::superblock::BYTES_PER_BIT;
use drbd_core::meta::{Cleanness, Flags, Layout, Superblock};
use drbd_core::types::Uuid;
use drbd_core::uuid::Set;

use super::create::{initialize, FRESH_EXTENTS};
use super::disk::{Disk, Found};
use super::{complain, confirm, Session, EXIT_ARGS, EXIT_BUSY};

/// What a dump says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    uuids: [u64; 4],
    flags: u32,
    effective_size: u64,
    device_uuid: u64,
    la_peer_max_bio_size: u32,
    stripes: u32,
    stripe_size_4k: u32,
    /// How often each word of the bitmap.
    runs: Vec<(u64, u64)>,
}

/// A word of the text and its line.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

struct Reader<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'a>>>,
    last_line: usize,
}

type Parsed<T> = Result<T, String>;

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut rest = line;
            loop {
                rest = rest.trim_start();
                let Some(first) = rest.chars().next() else {
                    break;
                };
                let own = |c: char| matches!(c, '{' | '}' | ';');
                let end = if own(first) {
                    first.len_utf8()
                } else {
                    rest.find(|c: char| own(c) || c.is_whitespace())
                        .unwrap_or(rest.len())
                };
                let (token, tail) = rest.split_at(end);
                tokens.push(Token {
                    text: token,
                    line: number + 1,
                });
                rest = tail;
            }
        }
        Self {
            last_line: text.lines().count().max(1),
            tokens: tokens.into_iter().peekable(),
        }
    }

    fn next(&mut self, wanted: &str) -> Parsed<Token<'a>> {
        self.tokens.next().ok_or(format!(
            "Parse error in line {}: {wanted} expected, but end of file encountered",
            self.last_line
        ))
    }

    fn wrong<T>(token: Token<'_>, wanted: &str) -> Parsed<T> {
        Err(format!(
            "Parse error in line {}: {wanted} expected, not '{}'",
            token.line, token.text
        ))
    }

    fn exactly(&mut self, text: &str, wanted: &str) -> Parsed<()> {
        let token = self.next(wanted)?;
        if token.text == text {
            return Ok(());
        }
        Self::wrong(token, wanted)
    }

    fn keyword(&mut self, text: &str) -> Parsed<()> {
        self.exactly(text, &format!("keyword '{text}'"))
    }

    fn semicolon(&mut self) -> Parsed<()> {
        self.exactly(";", "semicolon (;)")
    }

    /// `0x` and so many digits.
    fn hex(&mut self, digits: usize) -> Parsed<u64> {
        let wanted = format!("a {digits}-digit hex number");
        let token = self.next(&wanted)?;
        match hex(token.text, digits) {
            Some(number) => Ok(number),
            None => Self::wrong(token, &wanted),
        }
    }

    /// `KEY NUMBER;`
    fn number<T: std::str::FromStr>(&mut self, key: &str) -> Parsed<T> {
        self.keyword(key)?;
        let token = self.next("a number")?;
        let Ok(number) = token.text.parse() else {
            return Self::wrong(token, &format!("{key}: a number in range"));
        };
        self.semicolon()?;
        Ok(number)
    }

    fn runs(&mut self) -> Parsed<Vec<(u64, u64)>> {
        const WANTED: &str = "a 16-digit hex number, 'N times' or closing brace (})";
        let mut runs = Vec::new();
        loop {
            let token = self.next(WANTED)?;
            if token.text == "}" {
                return Ok(runs);
            }
            if let Some(word) = hex(token.text, 16) {
                runs.push((1, word));
            } else if let Ok(count) = token.text.parse() {
                self.keyword("times")?;
                runs.push((count, self.hex(16)?));
            } else {
                return Self::wrong(token, WANTED);
            }
            self.semicolon()?;
        }
    }
}

fn hex(text: &str, digits: usize) -> Option<u64> {
    let text = text.strip_prefix("0x")?;
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| plain)
}

impl Dump {
    /// Understands a dump; the error names the line and what was expected.
    pub fn parse(text: &str) -> Parsed<Self> {
        let mut reader = Reader::new(text);
        reader.keyword("version")?;
        let version = reader.next("a version in quotes")?.text.trim_matches('"');
        if version != "v08" {
            return Err(format!("dump is '{version}' you requested 'v08'."));
        }
        reader.semicolon()?;
        reader.keyword("uuid")?;
        reader.exactly("{", "opening brace ({)")?;
        let mut uuids = [0; 4];
        for uuid in &mut uuids {
            *uuid = reader.hex(16)?;
            reader.semicolon()?;
        }
        reader.keyword("flags")?;
        let flags = u32::try_from(reader.hex(8)?).unwrap_or_default();
        reader.semicolon()?;
        reader.exactly("}", "closing brace (})")?;
        let effective_size = reader.number("la-size-sect")?;
        let line = reader.tokens.peek().map_or(0, |token| token.line);
        let bytes_per_bit: u32 = reader.number("bm-byte-per-bit")?;
        if bytes_per_bit != BYTES_PER_BIT {
            return Err(format!(
                "line {line}: bm-byte-per-bit {bytes_per_bit}: only {BYTES_PER_BIT} is supported"
            ));
        }
        reader.keyword("device-uuid")?;
        let device_uuid = reader.hex(16)?;
        reader.semicolon()?;
        let la_peer_max_bio_size = reader.number("la-peer-max-bio-size")?;
        // Dumps of old tools do not have the stripes.
        let striped = reader
            .tokens
            .peek()
            .is_some_and(|token| token.text == "al-stripes");
        let (stripes, stripe_size_4k) = if striped {
            (
                reader.number("al-stripes")?,
                reader.number("al-stripe-size-4k")?,
            )
        } else {
            (1, 8)
        };
        reader.keyword("bm")?;
        reader.exactly("{", "opening brace ({)")?;
        let runs = reader.runs()?;
        if let Some(token) = reader.tokens.next() {
            return Reader::wrong(token, "the end of the file");
        }
        Ok(Self {
            uuids,
            flags,
            effective_size,
            device_uuid,
            la_peer_max_bio_size,
            stripes,
            stripe_size_4k,
            runs,
        })
    }

    fn words(&self) -> u64 {
        self.runs
            .iter()
            .fold(0u64, |sum, (count, _)| sum.saturating_add(*count))
    }

    /// The metadata as it will be on that disk; the error says what does not fit.
    /// Where it belongs on a disk.
    pub fn placed(&self, disk: &Disk) -> Parsed<Found> {
        let (stripes, size) = (self.stripes, self.stripe_size_4k);
        let layout = Layout::new(disk.index, disk.data_sectors(), disk.sectors, stripes, size)
            .ok_or(format!(
            "{}: no room for metadata with an activity log of {stripes} x {size} blocks of 4 KiB",
            disk.path
        ))?;
        let superblock = Superblock {
            effective_size: self.effective_size,
            uuids: Set::from_array(self.uuids.map(Uuid)),
            device_uuid: self.device_uuid,
            flags: Flags::from_bits(self.flags),
            md_size_sect: layout.md_size_sect,
            al_offset: layout.al_offset,
            al_nr_extents: FRESH_EXTENTS,
            bm_offset: layout.bm_offset,
            bm_bytes_per_bit: BYTES_PER_BIT,
            // A dump does not say: the bitmap counts as the stock tools leave it.
            open_resync: Uuid::ZERO,
            la_peer_max_bio_size: self.la_peer_max_bio_size,
            al_stripes: stripes,
            al_stripe_size_4k: size,
        };
        if self.effective_size > layout.max_capacity || layout.check(&superblock).is_err() {
            return Err(format!(
                "{}: the dump is of a device of {} kB; here is room for {} kB only",
                disk.path,
                self.effective_size / 2,
                layout.max_capacity / 2
            ));
        }
        let room = layout.bitmap_sectors * 512 / 8;
        if self.words() > room {
            return Err(format!(
                "{}: the bitmap of the dump has {} words of 64 bits; here is room for {room} only",
                disk.path,
                self.words()
            ));
        }
        Ok(Found {
            superblock,
            cleanness: Cleanness::Clean,
            layout,
        })
    }

    /// Blocks of the activity log.
    pub fn log_blocks(&self) -> u64 {
        u64::from(self.stripes) * u64::from(self.stripe_size_4k)
    }

    /// Writes the bitmap to where it belongs.
    pub fn write_bitmap(&self, disk: &Disk, layout: &Layout) -> io::Result<()> {
        const WORDS: usize = 1 << 16;
        let mut words = self
            .runs
            .iter()
            .flat_map(|(count, word)| (0..*count).map(|_| *word));
        let mut sector = layout.bitmap_sector;
        loop {
            let mut chunk: Vec<u8> = words
                .by_ref()
                .take(WORDS)
                .flat_map(u64::to_le_bytes)
                .collect();
            if chunk.is_empty() {
                return Ok(());
            }
            chunk.resize(chunk.len().next_multiple_of(512), 0);
            disk.write(sector, &chunk)?;
            sector += chunk.len() as u64 / 512;
        }
    }
}

fn read(path: &str) -> Result<Dump, i32> {
    let text = std::fs::read(path).map_err(|error| {
        eprintln!("open of '{path}' failed: {}", drbd_say::os_error(&error));
        EXIT_BUSY
    })?;
    Dump::parse(&String::from_utf8_lossy(&text)).map_err(|text| {
        eprintln!("{text}");
        EXIT_ARGS
    })
}

/// `verify-dump FILE`
pub fn verify(session: &Session) -> i32 {
    match read(session.operand()) {
        Ok(_) => {
            println!("input file parsed ok");
            0
        }
        Err(exit) => exit,
    }
}

/// `restore-md FILE`
pub fn run(session: &Session) -> i32 {
    let dump = match read(session.operand()) {
        Ok(dump) => dump,
        Err(exit) => return exit,
    };
    let disk = match session.open(true) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    let found = match dump.placed(&disk) {
        Ok(found) => found,
        Err(text) => {
            eprintln!("{text}");
            return EXIT_ARGS;
        }
    };
    match disk.find() {
        Ok(Ok(_)) if !confirm("Valid meta-data in place, overwrite?", session.force) => {
            println!("Operation cancelled.");
            return 1;
        }
        Ok(_) => {}
        Err(error) => return complain(&disk.path, &error),
    }
    println!("reinitializing");
    let written = initialize(&disk, &found.layout, dump.log_blocks())
        .and_then(|()| dump.write_bitmap(&disk, &found.layout))
        .and_then(|()| disk.sync())
        .and_then(|()| disk.write_superblock(&found));
    match written {
        Ok(()) => {
            println!("Successfully restored meta data");
            0
        }
        Err(error) => complain(&disk.path, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = include_str!("../../../../tests/golden/metadata/dump-flexible.txt");

    #[test]
    fn a_dump_of_the_stock_tool_is_understood() {
        let dump = Dump::parse(STOCK).unwrap();
        assert_eq!(
            dump.uuids,
            [0xaaaa_aaaa_aaaa_aaaa, 0xbbbb_bbbb_bbbb_bbbb, 0, 0]
        );
        assert_eq!(dump.effective_size, 65_536);
        assert_eq!((dump.stripes, dump.stripe_size_4k), (1, 8));
        assert_eq!(dump.words(), 512);
        assert_eq!(dump.runs[0], (1, 0xff));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refused = |from: &str, to: &str| {
            let text = STOCK.replacen(from, to, 1);
            assert_ne!(text, STOCK);
            Dump::parse(&text).unwrap_err()
        };
        assert_eq!(
            refused("\nuuid", "\nvuid"),
            "Parse error in line 13: keyword 'uuid' expected, not 'vuid'"
        );
        assert_eq!(
            refused("0xAAAAAAAAAAAAAAAA", "0xAA"),
            "Parse error in line 14: a 16-digit hex number expected, not '0xAA'"
        );
        assert_eq!(
            refused("v08\"", "v07\""),
            "dump is 'v07' you requested 'v08'."
        );
        assert_eq!(
            refused("bm-byte-per-bit 4096", "bm-byte-per-bit 8192"),
            "line 19: bm-byte-per-bit 8192: only 4096 is supported"
        );
        assert!(refused("al-stripes 1;", "al-stripes -1;").contains("a number in range"));
        assert!(refused("0x00000000000000FF;", "0xFF;").contains("'N times'"));
        assert_eq!(
            Dump::parse("# nothing\n").unwrap_err(),
            "Parse error in line 1: keyword 'version' expected, but end of file encountered"
        );
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut state = 0x1234_5678_9abc_def1u64;
        for _ in 0..4_000 {
            let mut bytes = STOCK.as_bytes().to_vec();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = usize::try_from(state >> 16).unwrap_or(0) % bytes.len();
                if state & 1 == 0 {
                    bytes[at] = state.to_le_bytes()[7];
                } else {
                    bytes.remove(at);
                }
            }
            let _ = Dump::parse(&String::from_utf8_lossy(&bytes)).map(|dump| dump.words());
        }
    }
}
