// SPDX-License-Identifier: GPL-2.0-only

//! Data generation identifiers: four UUIDs and the flags of the superblock, as one line or explained.

use drbd_core::config::info::StateInfo;

use super::kernel::{minor_operand, Kernel};
use super::EXIT_LOCAL;
use crate::args::Parsed;

/// What a superblock says about its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationIds {
    /// Current, bitmap, younger and older history.
    pub uuids: [u64; 4],
    /// Flags of the superblock.
    pub flags: u32,
}

/// Flags in the order in which they are printed.
const PRINTED: [u32; 7] = [0x01, 0x10, 0x02, 0x04, 0x08, 0x20, 0x40];
const CONSISTENT: u32 = 0x01;
const PRIMARY: u32 = 0x02;
const CONNECTED: u32 = 0x04;
const FULL_SYNC: u32 = 0x08;
const UP_TO_DATE: u32 = 0x10;
const PEER_OUTDATED: u32 = 0x20;
const CRASHED: u32 = 0x40;
const AL_CLEAN: u32 = 0x80;

const ABOVE: &str = "
       +--<  Current data generation UUID  >-
       |               +--<  Bitmap's base data generation UUID  >-
       |               |                 +--<  younger history UUID  >-
       |               |                 |         +-<  older history  >-
       V               V                 V         V
";
const BELOW: &str =
    "                                                                    ^ ^ ^ ^ ^ ^ ^
                                      -<  Data consistency flag  >--+ | | | | | |
                             -<  Data was/is currently up-to-date  >--+ | | | | |
                                  -<  Node was/is currently primary  >--+ | | | |
                                  -<  Node was/is currently connected  >--+ | | |
         -<  Node was in the progress of setting all bits in the bitmap  >--+ | |
                        -<  The peer's disk was out-dated or inconsistent  >--+ |
      -<  This node was a crashed primary, and has not seen its peer since   >--+
";

impl GenerationIds {
    /// One line, which `set-gi` reads.
    pub fn line(&self) -> String {
        let uuids: Vec<String> = self
            .uuids
            .iter()
            .map(|uuid| format!("{uuid:016X}"))
            .collect();
        let flags: Vec<&str> = PRINTED
            .iter()
            .map(|flag| if self.flags & flag != 0 { "1" } else { "0" })
            .collect();
        format!("{}:{}", uuids.join(":"), flags.join(":"))
    }

    /// The same, explained.
    pub fn explained(&self) -> String {
        let has = |flag| self.flags & flag != 0;
        let pick = |flag, yes, no| if has(flag) { yes } else { no };
        let disk = match (has(CONSISTENT), has(UP_TO_DATE)) {
            (true, true) => "UpToDate",
            (true, false) => "Outdated",
            _ => "Inconsistent",
        };
        format!(
            "{ABOVE}{}\n{BELOW}\nflags: {}{}, {}, {disk}{}{}\nmeta-data: {}\n",
            self.line(),
            pick(CRASHED, "crashed ", ""),
            pick(PRIMARY, "Primary", "Secondary"),
            pick(CONNECTED, "Connected", "StandAlone"),
            pick(FULL_SYNC, ", need full sync", ""),
            pick(PEER_OUTDATED, ", peer Outdated", ""),
            pick(AL_CLEAN, "clean", "need apply-al"),
        )
    }
}

fn of_minor(parsed: &Parsed) -> Result<GenerationIds, i32> {
    let operand = parsed.operands.first().map_or("", String::as_str);
    let Some(minor) = minor_operand(operand) else {
        eprintln!("'{operand}' is not a minor number");
        return Err(EXIT_LOCAL);
    };
    let reply = Kernel::open(true)?.status(minor)?;
    let state: StateInfo = reply.get().unwrap_or_default();
    let (Some(bytes), Some(flags)) = (state.uuids, state.disk_flags) else {
        eprintln!("{minor}: no disk is attached");
        return Err(11);
    };
    let mut uuids = [0; 4];
    for (uuid, bytes) in uuids.iter_mut().zip(bytes.as_bytes().chunks_exact(8)) {
        *uuid = bytes.try_into().map_or(0, u64::from_ne_bytes);
    }
    Ok(GenerationIds { uuids, flags })
}

/// `drbdsetup get-gi`
pub fn get(parsed: &Parsed) -> i32 {
    match of_minor(parsed) {
        Ok(ids) => {
            println!("{}", ids.line());
            0
        }
        Err(exit) => exit,
    }
}

/// `drbdsetup show-gi`
pub fn show(parsed: &Parsed) -> i32 {
    match of_minor(parsed) {
        Ok(ids) => {
            print!("{}", ids.explained());
            0
        }
        Err(exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_tools_text() {
        let ids = GenerationIds {
            uuids: [0x1F97_B510_1583_0EE9, 4, 0, 0],
            flags: 0x13,
        };
        assert_eq!(
            ids.line(),
            "1F97B51015830EE9:0000000000000004:0000000000000000:0000000000000000:1:1:1:0:0:0:0"
        );
        let text = ids.explained();
        assert!(
            text.ends_with("\nflags: Primary, StandAlone, UpToDate\nmeta-data: need apply-al\n")
        );
        let line = text.lines().position(|l| l.starts_with("1F97")).unwrap();
        let carets = text.lines().nth(line + 1).unwrap();
        // Every flag has its caret.
        assert_eq!(
            carets.find('^'),
            text.lines()
                .nth(line)
                .unwrap()
                .find(":1:1:1")
                .map(|at| at + 1)
        );
        let crashed = GenerationIds {
            uuids: [0; 4],
            flags: 0xe9,
        };
        assert!(crashed.explained().ends_with(
            "\nflags: crashed Secondary, StandAlone, Outdated, need full sync, peer Outdated\nmeta-data: clean\n"
        ));
    }
}
