// SPDX-License-Identifier: GPL-2.0-only

//! Makes the decisions of a live module once more: `drbd-replay FILE...`, copies of `/sys/kernel/debug/drbd/trace`.
//! The last line is the figure; the exit code is 1 if a decision came out differently.

#[macro_use]
extern crate drbd_say;

use drbd_sim::replay::replay;
use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() || files.iter().any(|file| file.starts_with('-')) {
        eprintln!("usage: drbd-replay FILE...   copies of /sys/kernel/debug/drbd/trace of a node");
        return ExitCode::from(2);
    }
    let (mut decisions, mut differ) = (0, 0);
    for file in files {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("drbd-replay: {file}: {error}");
                return ExitCode::from(2);
            }
        };
        let replay = replay(&text);
        replay.differing.iter().for_each(|text| println!("{text}"));
        decisions += replay.decisions;
        differ += replay.differing.len();
    }
    println!("{decisions} decisions, {differ} differ");
    ExitCode::from(u8::from(differ > 0))
}
