// SPDX-License-Identifier: GPL-2.0-only

//! `dump-md`: all of the metadata as text that `restore-md` of drbd-utils reads.

use std::fmt::Write as _;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use drbd_core::bitmap;
use drbd_core::meta::{Cleanness, Flags};

use super::disk::{Disk, Found};
use super::{complain, confirm, Session};

/// The first lines; `now` is in seconds since 1970.
pub fn head(command: &str, now: u64, host: &str, version: &str) -> String {
    let (date, clock) = crate::time::civil(now);
    format!(
        "# DRBD meta data dump\n# {date} {clock} +0000 [{now}]\n# {host}> {command}\n#\n\n\
         version \"{version}\";\n\n"
    )
}

/// Whoever restores an unclean dump by mistake is stopped by a word that is no keyword; the stock tool has the same.
pub const UNCLEAN: &str = "This_is_an_unclean_meta_data_dump._Don't_trust_the_bitmap.\n\
     # You should \"apply-al\" first, if you plan to restore this.\n\n";

/// Says that the log is not applied; whether the dump is printed all the same.
pub fn although_unclean(session: &Session) -> bool {
    eprintln!("Found meta data is \"unclean\", please apply-al first");
    session.force
}

/// The time and this host's name, for the head.
pub fn here() -> (u64, String) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    (now, host.trim().to_owned())
}

/// The whole text.
pub fn text(disk: &Disk, found: &Found, command: &str, now: u64, host: &str) -> io::Result<String> {
    let sb = &found.superblock;
    let [current, base, younger, older] = sb.uuids.to_array();
    let mut flags = sb.flags;
    // Whether the log is clean is said by the magic number of v08.
    flags.remove(Flags::AL_CLEAN);
    let unclean = match found.cleanness {
        Cleanness::Clean => "",
        Cleanness::Unclean => UNCLEAN,
    };
    let head = head(command, now, host, "v08");
    let bytes = bitmap_bytes(sb.effective_size).min(found.layout.bitmap_sectors * 512);
    let mut image = vec![0; usize::try_from(bytes).unwrap_or(0)];
    disk.read(found.layout.bitmap_sector, &mut image)?;
    let (words, bits) = bitmap_text(&image);
    Ok(format!(
        "{head}{unclean}\
         # md_size_sect {}\n# md_offset {}\n# al_offset {}\n# bm_offset {}\n\n\
         uuid {{\n    0x{:016X}; 0x{:016X}; 0x{:016X}; 0x{:016X};\n    flags 0x{:08X};\n}}\n\
         # al-extents {};\nla-size-sect {};\nbm-byte-per-bit {};\ndevice-uuid 0x{:016X};\n\
         la-peer-max-bio-size {};\nal-stripes {};\nal-stripe-size-4k {};\n\
         # bm-bytes {bytes};\nbm {{{words}\n}}\n# bits-set {bits};\n",
        sb.md_size_sect,
        found.layout.superblock_sector * 512,
        found.layout.al_sector * 512,
        found.layout.bitmap_sector * 512,
        current.0,
        base.0,
        younger.0,
        older.0,
        flags.bits(),
        sb.al_nr_extents,
        sb.effective_size,
        sb.bm_bytes_per_bit,
        sb.device_uuid,
        sb.la_peer_max_bio_size,
        sb.al_stripes,
        sb.al_stripe_size_4k,
    ))
}

/// Bytes of bitmap for a device, in whole pages.
fn bitmap_bytes(sectors: u64) -> u64 {
    (bitmap::words_for_bits(bitmap::bits_for_sectors(sectors)) * 8).next_multiple_of(4096)
}

/// The words, four in a line, equal lines folded into `N times`; and how many bits are set.
fn bitmap_text(image: &[u8]) -> (String, u64) {
    let mut words = vec![0; image.len() / 8];
    bitmap::words_from_page(image, &mut words);
    words_text(&words)
}

/// The same of words.
pub fn words_text(words: &[u64]) -> (String, u64) {
    const PER_LINE: usize = 4;
    let mut text = String::new();
    let mut at = 0;
    while let Some(&word) = words.get(at) {
        // A word stands for 256 kB.
        if at % (8 * PER_LINE) == 0 {
            let _ = write!(text, "\n   # at {}kB\n   ", at * 256);
        } else {
            text += "\n   ";
        }
        let halves_equal = word >> 32 == word & 0xffff_ffff;
        let run = words[at..]
            .iter()
            .take_while(|other| **other == word && halves_equal)
            .count();
        let run = run / PER_LINE * PER_LINE;
        if run > PER_LINE {
            let _ = write!(text, " {run} times 0x{word:016X};");
            at += run;
        } else {
            for word in words[at..].iter().take(PER_LINE) {
                let _ = write!(text, " 0x{word:016X};");
            }
            at += PER_LINE;
        }
    }
    (text, bitmap::count(words))
}

/// `dump-md`
pub fn run(session: &Session) -> i32 {
    let disk = match Disk::open(&session.device, session.index, false, false) {
        Ok(disk) => disk,
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            eprintln!(
                "open({}) failed: {}",
                session.device,
                drbd_say::os_error(&error)
            );
            if !confirm("Exclusive open failed. Do it anyways?", session.force) {
                println!("Operation canceled.");
                return 20;
            }
            match Disk::open(&session.device, session.index, false, true) {
                Ok(disk) => disk,
                Err(error) => return complain(&session.device, &error),
            }
        }
        Err(error) => return complain(&session.device, &error),
    };
    let found = match session.find(&disk) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    if found.cleanness == Cleanness::Unclean && !although_unclean(session) {
        return 1;
    }
    let (now, host) = here();
    match text(&disk, &found, &session.command_line, now, &host) {
        Ok(text) => {
            print!("{text}");
            0
        }
        Err(error) => complain(&disk.path, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_lines_and_runs() {
        assert_eq!(bitmap_text(&[]), (String::new(), 0));
        let zeroes = 512 * 8;
        assert_eq!(
            bitmap_text(&vec![0; zeroes]),
            (
                "\n   # at 0kB\n    512 times 0x0000000000000000;".to_owned(),
                0
            )
        );
        let mut image = vec![0xff; 64 * 8];
        image[0] = 0xfe;
        let (text, bits) = bitmap_text(&image);
        assert_eq!(bits, 64 * 64 - 1);
        assert_eq!(
            text,
            "\n   # at 0kB\n    0xFFFFFFFFFFFFFFFE; 0xFFFFFFFFFFFFFFFF; 0xFFFFFFFFFFFFFFFF; 0xFFFFFFFFFFFFFFFF;\
             \n    60 times 0xFFFFFFFFFFFFFFFF;"
        );
        assert_eq!(
            (bitmap_bytes(0), bitmap_bytes(1), bitmap_bytes(8 * 8 * 4096)),
            (0, 4096, 4096)
        );
    }
}
