// SPDX-License-Identifier: GPL-2.0-only

//! `lab`: a lab from the shell.
//!
//! `lab up` leaves a daemon ([`daemon`]) that holds the nodes; every other word is sent to it as a frame with the
//! words of the command line, and its answer is copied to standard output and standard error ([`client`]).

#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

mod client;
mod daemon;
mod line;
mod verbs;

use clap::Parser as _;
use line::{Line, Word};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Line { dir, word } = Line::parse();
    let result = match word {
        Word::Up(machines) => client::up(&dir, &machines),
        Word::Daemon(machines) => daemon::run(&dir, &machines).map(|()| 0),
        word => client::send(&dir, &word, &words()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("lab: {e}");
            ExitCode::from(125)
        }
    }
}

/// The words for the daemon: all but those that say where it is.
fn words() -> Vec<String> {
    let mut words = std::env::args().skip(1).peekable();
    while let Some(dir) = words.next_if(|word| word.starts_with("--dir")) {
        if dir == "--dir" {
            words.next();
        }
    }
    words.collect()
}
