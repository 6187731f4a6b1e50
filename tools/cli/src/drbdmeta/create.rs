// SPDX-License-Identifier: GPL-2.0-only

//! `create-md`: a new metadata block, after a look at what is there already.

use std::io;

use drbd_core::meta::layout::{is_internal, INDEX_FLEX_EXTERNAL};
use drbd_core::meta::log::{emit_initial, TRANSACTION_BYTES};
use drbd_core::meta::superblock::BYTES_PER_BIT;
use drbd_core::meta::{Cleanness, Flags, Layout, Superblock, Why};
use drbd_core::types::Uuid;
use drbd_core::uuid::Set;

use super::disk::{Disk, Found};
use super::{complain, confirm, Session};
use crate::args::Parsed;

const EXIT_REFUSED: i32 = 40;
/// What a fresh superblock says about the size of the activity log; the driver writes the configured one.
pub const FRESH_EXTENTS: u32 = 257;
/// Bytes written at a time.
const CHUNK: usize = 1 << 20;

/// A file system, or something else of value, on a disk.
#[derive(Debug, PartialEq, Eq)]
struct Existing {
    what: &'static str,
    /// How much of the disk it uses, if that can be told.
    bytes: Option<u64>,
}

/// Recognises what people lose most often. `head` is the first 68 KiB.
fn existing(head: &[u8]) -> Option<Existing> {
    let at = |at: usize, len: usize| head.get(at..at + len).unwrap_or(&[]);
    let le32 = |pos: usize| at(pos, 4).try_into().map_or(0, u32::from_le_bytes);
    let be = |pos: usize, len: usize| {
        at(pos, len)
            .iter()
            .fold(0u64, |n, b| n << 8 | u64::from(*b))
    };
    if at(0x438, 2) == [0x53, 0xef] {
        let blocks = u64::from(le32(0x404));
        let size = 1024u64.checked_shl(le32(0x418)).unwrap_or(1024);
        return Some(Existing {
            what: "ext3 filesystem",
            bytes: blocks.checked_mul(size),
        });
    }
    if at(0, 4) == b"XFSB" {
        return Some(Existing {
            what: "xfs filesystem",
            bytes: be(8, 8).checked_mul(be(4, 4)),
        });
    }
    let others: [(usize, &[u8], &'static str); 6] = [
        (0x1_0040, b"_BHRfS_M", "Btrfs file system"),
        (0x218, b"LVM2 001", "LVM2 physical volume"),
        (0xff6, b"SWAPSPACE2", "swap space"),
        (0x8000, b"JFS1", "JFS file system"),
        (0x1_0034, b"ReIsEr", "ReiserFS file system"),
        (0x1fe, b"\x55\xaa", "partition table or boot sector"),
    ];
    let (.., what) = others
        .iter()
        .find(|(pos, magic, _)| at(*pos, magic.len()) == *magic)?;
    Some(Existing { what, bytes: None })
}

fn style(index: i32) -> &'static str {
    if is_internal(index) {
        "flexible-size internal"
    } else if index == INDEX_FLEX_EXTERNAL {
        "flexible-size external"
    } else {
        "fixed-size indexed external"
    }
}

/// The superblock of a volume that has never seen a peer.
fn fresh(layout: &Layout, stripes: u32, stripe_size_4k: u32, peer_max_bio_size: u32) -> Superblock {
    Superblock {
        effective_size: 0,
        uuids: Set::from_array([Uuid::JUST_CREATED, Uuid::ZERO, Uuid::ZERO, Uuid::ZERO]),
        device_uuid: 0,
        flags: Flags::AL_CLEAN,
        md_size_sect: layout.md_size_sect,
        al_offset: layout.al_offset,
        al_nr_extents: FRESH_EXTENTS,
        bm_offset: layout.bm_offset,
        bm_bytes_per_bit: BYTES_PER_BIT,
        open_resync: Uuid::ZERO,
        la_peer_max_bio_size: peer_max_bio_size,
        al_stripes: stripes,
        al_stripe_size_4k: stripe_size_4k,
    }
}

/// Looks at what is on the disk; false if the person does not want to lose it.
fn may_overwrite(session: &Session, disk: &Disk, layout: &Layout) -> Result<bool, i32> {
    let found = disk.find().map_err(|error| complain(&disk.path, &error))?;
    let there = match found {
        Ok(_) => Some("v08"),
        Err(Why::NewMagic) => Some("v09"),
        Err(Why::OldMagic) => Some("v07"),
        Err(Why::NoMagic | Why::TooShort | Why::NoRoom) => None,
        // A superblock whose numbers make no sense is still one.
        Err(_) => Some("damaged v08"),
    };
    if let Some(version) = there {
        eprintln!(
            "You want me to create a v08 style {} meta data block.",
            style(disk.index)
        );
        eprintln!(
            "There appears to be a {version} {} meta data block",
            style(disk.index)
        );
        eprintln!(
            "already in place on {} at byte offset {}",
            disk.path,
            layout.superblock_sector * 512
        );
        return Ok(confirm(
            "Do you really want to overwrite the existing meta-data?",
            session.force,
        ));
    }
    let mut head = vec![0; 68 << 10];
    let room = usize::try_from(disk.sectors * 512)
        .unwrap_or(usize::MAX)
        .min(head.len());
    disk.read(0, &mut head[..room])
        .map_err(|error| complain(&disk.path, &error))?;
    let Some(existing) = existing(&head[..room]) else {
        return Ok(true);
    };
    println!("md_offset {}", layout.superblock_sector * 512);
    println!("al_offset {}", layout.al_sector * 512);
    println!("bm_offset {}\n", layout.bitmap_sector * 512);
    println!("Found {}", existing.what);
    let usable = if is_internal(disk.index) {
        layout.max_capacity * 512
    } else {
        0
    };
    if let Some(bytes) = existing.bytes {
        println!("{:12} kB data area apparently used", bytes / 1024);
        println!(
            "{:12} kB left usable by current configuration",
            usable / 1024
        );
        if bytes > usable && !session.force {
            println!(
                "\nThe end of it would be overwritten. Either\n   \
                 * use external meta data\n   * shrink it first\n   \
                 * zero the device, if you do not need it\nOperation refused."
            );
            return Err(EXIT_REFUSED);
        }
    } else {
        println!("How much of the disk it uses is not known; its end may be overwritten.");
    }
    Ok(confirm("Do you want to proceed?", session.force))
}

/// Writes one initial transaction to each block of the log.
fn initialize_log(disk: &Disk, layout: &Layout, log_blocks: u64) -> io::Result<()> {
    println!("initializing activity log");
    let mut block = [0; TRANSACTION_BYTES];
    emit_initial(&mut block);
    for number in 0..log_blocks {
        disk.write(layout.al_sector + 8 * number, &block)?;
    }
    Ok(())
}

/// Writes zeroes to the bitmap, and one initial transaction to each block of the log.
pub fn initialize(disk: &Disk, layout: &Layout, log_blocks: u64) -> io::Result<()> {
    initialize_log(disk, layout, log_blocks)?;
    eprintln!(
        "initializing bitmap ({} KB) to all zero",
        layout.bitmap_sectors / 2
    );
    let zeroes = vec![0; CHUNK];
    let mut done = 0;
    while done < layout.bitmap_sectors {
        let sectors = (layout.bitmap_sectors - done).min(CHUNK as u64 / 512);
        disk.write(
            layout.bitmap_sector + done,
            &zeroes[..sectors as usize * 512],
        )?;
        done += sectors;
    }
    Ok(())
}

/// What the command line asks for.
struct Wanted {
    stripes: u32,
    /// Blocks of 4 KiB in a stripe.
    stripe_4k: u32,
    peer_max_bio_size: u32,
    /// The bitmap is written.
    bitmap: bool,
}

/// The log has 32 KiB at least and 16 GiB at most, however it is divided.
const LOG_KIB: std::ops::RangeInclusive<u64> = 32..=16 << 20;

impl Wanted {
    /// The error is a sentence.
    fn of(parsed: &Parsed) -> Result<Self, String> {
        let number = |name, default: u32| match parsed.value(name) {
            Some(text) => text
                .parse::<u32>()
                .map_err(|_| format!("--{name}={text}: a number is expected")),
            None => Ok(default),
        };
        let stripes = number("al-stripes", 1)?;
        let kib = number("al-stripe-size-kB", 32)?;
        if !(1..=1024).contains(&stripes) {
            return Err(format!("--al-stripes={stripes}: 1 to 1024"));
        }
        let whole = u64::from(stripes) * u64::from(kib);
        if kib % 4 != 0 || kib == 0 || !LOG_KIB.contains(&whole) {
            return Err(format!(
                "--al-stripe-size-kB={kib}: multiples of 4; all stripes together have {} to {}",
                LOG_KIB.start(),
                LOG_KIB.end()
            ));
        }
        let bitmap = match parsed.value("initialize-bitmap") {
            // The ways to write zeroes are the kernel's business here.
            None | Some("automatic" | "zero" | "zeroout" | "pwrite") => true,
            Some("skip") => false,
            Some(other) => {
                return Err(format!(
                    "--initialize-bitmap={other}: automatic, zeroout, pwrite or skip"
                ))
            }
        };
        Ok(Self {
            stripes,
            stripe_4k: kib / 4,
            peer_max_bio_size: number("peer-max-bio-size", 0)?,
            bitmap,
        })
    }

    /// Where everything goes; the error is a sentence.
    fn layout(&self, disk: &Disk) -> Result<Layout, String> {
        if disk.sectors == 0 {
            return Err(format!("{}: the device has 0 bytes", disk.path));
        }
        let data = disk.data_sectors();
        let (stripes, size) = (self.stripes, self.stripe_4k);
        Layout::new(disk.index, data, disk.sectors, stripes, size).ok_or_else(|| {
            let bytes = disk.sectors * 512;
            format!(
                "{}: no room for the metadata: the device has {bytes} bytes",
                disk.path
            )
        })
    }
}

/// `create-md`
pub fn run(session: &Session) -> i32 {
    let refused = |text: String| {
        eprintln!("drbdmeta: {text}");
        super::EXIT_ARGS
    };
    let wanted = match Wanted::of(&session.parsed) {
        Ok(wanted) => wanted,
        Err(text) => return refused(text),
    };
    let disk = match session.open(true) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    let layout = match wanted.layout(&disk) {
        Ok(layout) => layout,
        Err(text) => return refused(text),
    };
    match may_overwrite(session, &disk, &layout) {
        Ok(true) => {}
        Ok(false) => {
            println!("Operation cancelled.");
            return 1;
        }
        Err(exit) => return exit,
    }
    let (stripes, size) = (wanted.stripes, wanted.stripe_4k);
    let found = Found {
        superblock: fresh(&layout, stripes, size, wanted.peer_max_bio_size),
        cleanness: Cleanness::Clean,
        layout,
    };
    let log_blocks = u64::from(stripes) * u64::from(size);
    let initialized = if wanted.bitmap {
        initialize(&disk, &layout, log_blocks)
    } else {
        initialize_log(&disk, &layout, log_blocks)
    };
    // The superblock last: before it is there, none of the rest counts.
    let written = initialized
        .and_then(|()| disk.sync())
        .map(|()| println!("Writing meta data..."))
        .and_then(|()| disk.write_superblock(&found));
    match written {
        Ok(()) => {
            println!("New drbd meta data block successfully created.");
            0
        }
        Err(error) => complain(&disk.path, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdmeta::tests::Image;

    #[test]
    fn recognises_what_people_lose() {
        let mut head = vec![0u8; 68 << 10];
        assert_eq!(existing(&head), None);
        head[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        head[0x404..0x408].copy_from_slice(&65536u32.to_le_bytes());
        assert_eq!(existing(&head).unwrap().bytes, Some(64 << 20));
        let mut head = vec![0u8; 4096];
        head[0xff6..].copy_from_slice(b"SWAPSPACE2");
        assert_eq!(existing(&head).unwrap().what, "swap space");
        assert_eq!(existing(&[]), None);
    }

    fn wanted(line: &str) -> Result<Wanted, String> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Wanted::of(&crate::args::parse(&args, crate::drbdmeta::OPTIONS).unwrap())
    }

    #[test]
    fn what_cannot_be_is_told_by_its_name() {
        let refused = |line| wanted(line).err().unwrap();
        assert_eq!(refused("--al-stripes=0"), "--al-stripes=0: 1 to 1024");
        assert!(refused("--al-stripe-size-kB=6").contains("multiples of 4"));
        assert!(refused("--al-stripe-size-kB=4").contains("32 to 16777216"));
        assert!(refused("--initialize-bitmap=x").contains("skip"));
        for way in ["automatic", "zero", "zeroout", "pwrite", "skip"] {
            let bitmap = wanted(&format!("--initialize-bitmap={way}"))
                .unwrap()
                .bitmap;
            assert_eq!(bitmap, way != "skip", "{way}");
        }
    }

    #[test]
    fn an_empty_device_has_0_bytes() {
        let image = Image::new("empty", 0);
        let disk = Disk::open(&image.path(), INDEX_FLEX_EXTERNAL, false, true).unwrap();
        let text = wanted("-v").unwrap().layout(&disk).err().unwrap();
        assert!(text.ends_with(": the device has 0 bytes"), "{text}");
        assert_eq!(image.run("internal", "create-md"), 10);
    }

    #[test]
    fn a_dry_run_writes_nothing() {
        let image = Image::new("dry", 8 << 20);
        assert_eq!(image.run("internal", "create-md --dry-run"), 0);
        assert!(std::fs::read(image.path()).unwrap().iter().all(|b| *b == 0));
        assert_eq!(
            image.run("internal", "create-md --initialize-bitmap=skip"),
            0
        );
        let before = std::fs::read(image.path()).unwrap();
        for command in ["create-md", "wipe-md", "outdate", "write-dev-uuid 7"] {
            image.run("internal", &format!("{command} --dry-run --force"));
            assert!(std::fs::read(image.path()).unwrap() == before, "{command}");
        }
    }
}
