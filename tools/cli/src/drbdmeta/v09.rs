// SPDX-License-Identifier: GPL-2.0-only

//! Metadata v09 of DRBD 9: read and explained, never written. A driver of 8.4, stock or ours, does not attach it.

use drbd_core::bitmap;
use drbd_core::meta::{Superblock, Why, SUPERBLOCK_BYTES};

use super::disk::Disk;
use super::dump;
use super::{complain, Session, EXIT_ARGS};

const AL_CLEAN: u32 = 0x80;
const PEERS: usize = 32;
const PEERS_AT: usize = 112;
const PEER_BYTES: usize = 32;
const HISTORY: usize = 32;
const HISTORY_AT: usize = PEERS_AT + PEERS * PEER_BYTES;

/// Name of a flag of the superblock, in the order of `get-gi`.
const FLAGS: [(u32, &str); 7] = [
    (0x01, "consistent"),
    (0x10, "was-up-to-date"),
    (0x02, "primary"),
    (0x40, "crashed-primary"),
    (0x80, "al-clean"),
    (0x100, "al-disabled"),
    (0x200, "primary-lost-quorum"),
];
/// Name of a flag of a peer, in the order of `get-gi`.
const PEER_FLAGS: [(u32, &str); 5] = [
    (0x01, "connected"),
    (0x02, "outdated"),
    (0x04, "fencing"),
    (0x08, "full-sync"),
    (0x10, "seen"),
];

/// One of the peers that a superblock tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    bitmap_uuid: u64,
    dagtag: u64,
    flags: u32,
    bitmap_index: i32,
}

/// A superblock of DRBD 9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block09 {
    effective_size: u64,
    current_uuid: u64,
    device_uuid: u64,
    flags: u32,
    md_size_sect: u32,
    max_peers: u32,
    node_id: i32,
    stripes: (u32, u32),
    peers: Vec<Peer>,
    history: Vec<u64>,
    al_offset: i32,
    al_extents: u32,
    bm_offset: i32,
    bm_bytes_per_bit: u32,
    max_bio_size: u32,
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    let word = block.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    let word = block.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_be_bytes(*word))
}

fn signed(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

impl Block09 {
    /// Reads a superblock; none if it is not one of DRBD 9.
    pub fn parse(block: &[u8]) -> Option<Self> {
        if Superblock::read(block) != Err(Why::NewMagic) {
            return None;
        }
        let peers = (0..PEERS).map(|number| {
            let at = PEERS_AT + number * PEER_BYTES;
            Peer {
                bitmap_uuid: u64_at(block, at),
                dagtag: u64_at(block, at + 8),
                flags: u32_at(block, at + 16),
                bitmap_index: signed(u32_at(block, at + 20)),
            }
        });
        Some(Self {
            effective_size: u64_at(block, 0),
            current_uuid: u64_at(block, 8),
            device_uuid: u64_at(block, 48),
            flags: u32_at(block, 56),
            md_size_sect: u32_at(block, 64),
            max_peers: u32_at(block, 88),
            node_id: signed(u32_at(block, 92)),
            stripes: (u32_at(block, 96), u32_at(block, 100)),
            peers: peers.collect(),
            history: (0..HISTORY)
                .map(|number| u64_at(block, HISTORY_AT + 8 * number))
                .collect(),
            al_offset: signed(u32_at(block, 68)),
            al_extents: u32_at(block, 72),
            bm_offset: signed(u32_at(block, 76)),
            bm_bytes_per_bit: u32_at(block, 80),
            max_bio_size: u32_at(block, 84),
        })
    }

    /// `get-gi` as the stock tool prints it.
    fn line(&self, peer: &Peer) -> String {
        let mut text = format!(
            "{:016X}:{:016X}:{:016X}:{:016X}",
            self.current_uuid, peer.bitmap_uuid, self.history[0], self.history[1]
        );
        for (flag, _) in FLAGS {
            text += if self.flags & flag != 0 { ":1" } else { ":0" };
        }
        for (flag, _) in PEER_FLAGS {
            text += if peer.flags & flag != 0 { ":1" } else { ":0" };
        }
        text
    }

    fn dstate(&self) -> &'static str {
        match (self.flags & 0x01 != 0, self.flags & 0x10 != 0) {
            (true, true) => "Consistent",
            (true, false) => "Outdated",
            _ => "Inconsistent",
        }
    }

    /// Whether the activity log is applied.
    fn is_clean(&self) -> bool {
        self.flags & AL_CLEAN != 0
    }

    /// Where something lies, in bytes of the device.
    fn byte(sector: u64, offset: i32) -> u64 {
        sector
            .saturating_add_signed(offset.into())
            .saturating_mul(512)
    }

    /// Bytes of all bitmaps together, in whole pages.
    fn bitmap_bytes(&self) -> u64 {
        let words = bitmap::words_for_bits(bitmap::bits_for_sectors(self.effective_size));
        let bytes = words.saturating_mul(8 * u64::from(self.max_peers));
        bytes.checked_next_multiple_of(4096).unwrap_or(bytes)
    }

    /// The superblock as `dump-md` of DRBD 9 prints it; the superblock is at `sector`.
    fn dump(&self, sector: u64) -> String {
        let unclean = if self.is_clean() { "" } else { dump::UNCLEAN };
        let mut text = format!(
            "{unclean}max-peers {};\n# md_size_sect {}\n# md_offset {}\n# al_offset {}\n# bm_offset {}\n\n\
             node-id {};\ncurrent-uuid 0x{:016X};\nflags 0x{:08X};\n",
            self.max_peers,
            self.md_size_sect,
            Self::byte(sector, 0),
            Self::byte(sector, self.al_offset),
            Self::byte(sector, self.bm_offset),
            self.node_id,
            self.current_uuid,
            self.flags,
        );
        for (number, peer) in self.peers.iter().enumerate() {
            let names = PEER_FLAGS.iter().filter(|(bit, _)| peer.flags & bit != 0);
            let names: Vec<&str> = names.map(|(_, name)| *name).collect();
            let comment = if names.is_empty() { "" } else { " # " };
            text += &format!(
                "peer[{number}] {{\n    bitmap-index {};\n    bitmap-uuid 0x{:016X};\n    \
                 bitmap-dagtag 0x{:016X};\n    flags 0x{:08X};{comment}{}\n}}\n",
                peer.bitmap_index,
                peer.bitmap_uuid,
                peer.dagtag,
                peer.flags,
                names.join(" | ")
            );
        }
        text += "history-uuids {";
        for line in self.history.chunks(4) {
            let uuids: Vec<String> = line.iter().map(|uuid| format!("0x{uuid:016X};")).collect();
            text += &format!("\n        {}", uuids.join(" "));
        }
        text + &format!(
            "\n}}\n# al-extents {};\nla-size-sect {};\nbm-byte-per-bit {};\ndevice-uuid 0x{:016X};\n\
             la-peer-max-bio-size {};\nal-stripes {};\nal-stripe-size-4k {};\n# bm-bytes {};\n",
            self.al_extents,
            self.effective_size,
            self.bm_bytes_per_bit,
            self.device_uuid,
            self.max_bio_size,
            self.stripes.0,
            self.stripes.1,
            self.bitmap_bytes(),
        )
    }

    /// The bitmap of each peer out of the one on disk, in which words of 32 bits of all peers take turns.
    fn bitmaps(&self, image: &[u8]) -> Vec<Vec<u64>> {
        let peers = self.max_peers as usize;
        let halves: Vec<u64> = image
            .chunks_exact(4)
            .map(|half| {
                half.iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte))
            })
            .collect();
        let of = |peer| {
            let own: Vec<u64> = halves.iter().skip(peer).step_by(peers).copied().collect();
            own.chunks_exact(2)
                .map(|pair| pair[1] << 32 | pair[0])
                .collect()
        };
        (0..peers).map(of).collect()
    }

    /// All of it in words.
    pub fn explained(&self) -> String {
        let names = |flags: u32, table: &[(u32, &'static str)]| {
            let known = table.iter().filter(|(bit, _)| flags & bit != 0);
            let names: Vec<_> = known.map(|(_, name)| *name).collect();
            format!("0x{flags:08x} {}", names.join(", "))
        };
        let mut text = format!(
            "superblock: v09 of DRBD 9, node {}, room for {} peers\n\
             last agreed size: {} sectors; metadata: {} sectors; activity log: {} x {} blocks of 4 KiB\n\
             current UUID {:016X}, device UUID {:016X}\nflags: {}\n",
            self.node_id,
            self.max_peers,
            self.effective_size,
            self.md_size_sect,
            self.stripes.0,
            self.stripes.1,
            self.current_uuid,
            self.device_uuid,
            names(self.flags, &FLAGS),
        );
        let untouched = Peer {
            bitmap_uuid: 0,
            dagtag: 0,
            flags: 0,
            bitmap_index: -1,
        };
        for (number, peer) in self.peers.iter().enumerate() {
            if *peer != untouched {
                text += &format!(
                    "peer {number}: bitmap UUID {:016X}, bitmap {}, flags: {}\n",
                    peer.bitmap_uuid,
                    peer.bitmap_index,
                    names(peer.flags, &PEER_FLAGS)
                );
            }
        }
        text + "DRBD 8.4 and drbdrs attach v08 only: create-md with v08 replaces this, and the data is synced in full.\n"
    }
}

/// The commands that read.
const READING: [&str; 6] = [
    "get-gi",
    "show-gi",
    "dump-md",
    "dstate",
    "check",
    "read-dev-uuid",
];
/// The commands of DRBD 9's tool that write, or read something else.
const OTHERS: [&str; 12] = [
    "create-md",
    "forget-peer",
    "restore-md",
    "verify-dump",
    "apply-al",
    "wipe-md",
    "set-gi",
    "outdate",
    "invalidate",
    "write-dev-uuid",
    "check-resize",
    "repair",
];

/// Whether a command is for metadata v09, whatever stands behind it; words that are none are left to the caller.
pub fn may(command: &str) -> Result<(), String> {
    if OTHERS.contains(&command) {
        return Err(format!(
            "{command}: metadata v09 is only read here ({}); use drbd-utils of DRBD 9\n",
            READING.join(", ")
        ));
    }
    Ok(())
}

/// Runs a command on metadata v09.
pub fn run(session: &Session, command: &str) -> i32 {
    let disk = match session.open(false) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    let found = match read(&disk) {
        Ok(Some(found)) => found,
        Ok(None) => {
            eprintln!("No valid meta data found");
            return 1;
        }
        Err(error) => return complain(&disk.path, &error),
    };
    match command {
        "get-gi" => {
            let Some(text) = session.parsed.value("node-id") else {
                eprintln!("The get-gi command requires the --node-id option");
                return EXIT_ARGS;
            };
            let number = text.parse::<usize>().ok();
            let Some(peer) = number.and_then(|number| found.peers.get(number)) else {
                eprintln!("--node-id={text}: 0 to {} is expected", PEERS - 1);
                return EXIT_ARGS;
            };
            println!("{}", found.line(peer));
        }
        "dstate" => println!("{}", found.dstate()),
        "read-dev-uuid" => println!("{:016X}", found.device_uuid),
        "dump-md" => return dump_md(session, &disk, &found),
        _ => print!("{}", found.explained()),
    }
    0
}

/// `dump-md`
fn dump_md(session: &Session, disk: &Disk, found: &Block09) -> i32 {
    if !found.is_clean() && !dump::although_unclean(session) {
        return 1;
    }
    if found.max_peers as usize > PEERS {
        eprintln!("max-peers value {} out of bounds", found.max_peers);
        return 1;
    }
    let sector = disk.superblock_sector().unwrap_or_default();
    let bytes = found.bitmap_bytes();
    if bytes / 512 > disk.sectors {
        eprintln!("{}: the bitmap is larger than the device", disk.path);
        return 1;
    }
    let mut image = vec![0; usize::try_from(bytes).unwrap_or_default()];
    let place = sector.saturating_add_signed(found.bm_offset.into());
    if let Err(error) = disk.read(place, &mut image) {
        return complain(&disk.path, &error);
    }
    let (now, host) = dump::here();
    let mut text = dump::head(&session.command_line, now, &host, "v09") + &found.dump(sector);
    let mut set = 0;
    for (number, words) in found.bitmaps(&image).iter().enumerate() {
        let (lines, bits) = dump::words_text(words);
        text += &format!("bitmap[{number}] {{{lines}\n}}\n");
        set += bits;
    }
    print!("{text}# bits-set {set};\n");
    0
}

fn read(disk: &Disk) -> std::io::Result<Option<Block09>> {
    let Some(sector) = disk.superblock_sector() else {
        return Ok(None);
    };
    let mut block = [0; SUPERBLOCK_BYTES];
    disk.read(sector, &mut block)?;
    Ok(Block09::parse(&block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_drbd_9_is_read_as_its_own_tool_reads_it() {
        let bytes = include_bytes!("../../../../tests/golden/metadata/v09.bin");
        let block = Block09::parse(bytes).unwrap();
        assert_eq!(
            block.line(&block.peers[1]),
            "AAAAAAAAAAAAAAAA:BBBBBBBBBBBBBBBB:0000000000000000:0000000000000000:1:1:0:0:0:0:0:1:0:0:0:0"
        );
        assert_eq!(
            (block.max_peers, block.node_id, block.stripes),
            (2, -1, (1, 8))
        );
        assert_eq!(block.dstate(), "Consistent");
        let text = block.explained();
        assert!(text.contains("flags: 0x00000011 consistent, was-up-to-date\n"));
        assert!(text.contains(
            "peer 1: bitmap UUID BBBBBBBBBBBBBBBB, bitmap -1, flags: 0x00000001 connected\n"
        ));
        assert!(!text.contains("peer 2"));
        assert_eq!(Block09::parse(&bytes[..100]), None);
        assert_eq!(Block09::parse(&[0; 4096]), None);
    }

    /// The stock tool's dump of metadata that it had converted, on a device of 64 MiB.
    #[test]
    fn a_dump_is_that_of_the_stock_tool() {
        let golden = include_str!("../../../../tests/golden/metadata/dump-v09.txt");
        let mut bytes = *include_bytes!("../../../../tests/golden/metadata/v09.bin");
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(56, &0x80u32.to_be_bytes());
        put(64, &80u32.to_be_bytes());
        put(68, &(-64i32).to_be_bytes());
        put(76, &(-72i32).to_be_bytes());
        put(88, &1u32.to_be_bytes());
        let none = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255,
        ];
        (0..PEERS).for_each(|peer| put(PEERS_AT + PEER_BYTES * peer, &none));
        put(PEERS_AT + 16, &8u32.to_be_bytes());
        let block = Block09::parse(&bytes).unwrap();
        let head = dump::head(
            "drbdmeta 0 v09 /dev/loop0 internal dump-md",
            1_795_342_833,
            "vm",
            "v09",
        );
        let text = head + &block.dump(67_104_768 / 512) + "bitmap[0] {\n}\n# bits-set 0;\n";
        assert_eq!(text, golden);
    }

    #[test]
    fn the_bitmaps_of_peers_take_turns() {
        let bytes = include_bytes!("../../../../tests/golden/metadata/v09.bin");
        let block = Block09::parse(bytes).unwrap();
        let image: Vec<u8> = (1u32..=8).flat_map(u32::to_le_bytes).collect();
        assert_eq!(
            block.bitmaps(&image),
            [
                [0x3_0000_0001, 0x7_0000_0005],
                [0x4_0000_0002, 0x8_0000_0006]
            ]
        );
    }

    #[test]
    fn what_writes_is_refused_whatever_stands_behind_it() {
        for command in ["create-md", "forget-peer"] {
            assert!(may(command).unwrap_err().contains("only read here"));
        }
        assert_eq!(may("dump-md"), Ok(()));
        assert_eq!(may("convert"), Ok(()));
    }
}
