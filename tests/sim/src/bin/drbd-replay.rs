// SPDX-License-Identifier: GPL-2.0-only

//! Makes the decisions of a live module once more: `drbd-replay FILE...`, copies of `/sys/kernel/debug/drbd/trace`.
//! The last line is the figure; the exit code is 1 if a decision came out differently.

#[macro_use]
extern crate drbd_say;

use clap::Parser;
use drbd_sim::replay::replay;
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes the decisions of a live module once more.
#[derive(Parser)]
#[command(name = "drbd-replay")]
struct Line {
    /// Copies of /sys/kernel/debug/drbd/trace of a node.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Line { files } = Line::parse();
    let (mut decisions, mut differ) = (0, 0);
    for file in files {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("drbd-replay: {}: {error}", file.display());
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
