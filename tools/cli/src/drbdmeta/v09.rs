// SPDX-License-Identifier: GPL-2.0-only

//! Metadata v09 of DRBD 9: read and explained, never written. A driver of 8.4, stock or ours, does not attach it.

use drbd_core::meta::{Superblock, Why, SUPERBLOCK_BYTES};

use super::disk::Disk;
use super::{complain, Session, EXIT_ARGS, EXIT_BUSY};

const PEERS: usize = 32;
const PEERS_AT: usize = 112;
const PEER_BYTES: usize = 32;
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
    history: [u64; 2],
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
            history: [u64_at(block, HISTORY_AT), u64_at(block, HISTORY_AT + 8)],
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

/// Runs a command on metadata v09.
pub fn run(session: &Session, command: &str) -> i32 {
    if !matches!(
        command,
        "get-gi" | "show-gi" | "dstate" | "check" | "read-dev-uuid"
    ) {
        eprintln!(
            "{command}: metadata v09 is only read here (get-gi, show-gi, dstate, check, read-dev-uuid); use drbd-utils of DRBD 9"
        );
        return EXIT_BUSY;
    }
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
        _ => print!("{}", found.explained()),
    }
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
}
