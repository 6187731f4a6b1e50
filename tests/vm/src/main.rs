// SPDX-License-Identifier: GPL-2.0-only

//! Runs the scenarios on virtual machines.

#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

use drbd_vm_tests::runner::{run, Wish};
use drbd_vm_tests::scenarios;
use std::process::ExitCode;

const USAGE: &str = "\
usage: drbd-vm-tests [--list] [--long | --faults] [--control] [--resume] [FILTER...]

Runs the scenarios whose name, NAME[N1+N2,TOOLS], contains every FILTER.
  --long     also the setups that take too long for every change
  --faults   the scenarios in which something fails, and no others, with the stock driver as the first node and as the second
  --control  also with the stock driver and tools on both nodes
  --resume   not those that passed in the run before
  --list     only say which";

fn main() -> ExitCode {
    let mut wish = Wish::default();
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--list" => wish.list = true,
            "--long" => wish.long = true,
            "--faults" => wish.faults = true,
            "--control" => wish.control = true,
            "--resume" => wish.resume = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ if arg.starts_with('-') => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
            _ => wish.filters.push(arg),
        }
    }
    match run(&scenarios::all(), &wish) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("drbd-vm-tests: {e}");
            ExitCode::FAILURE
        }
    }
}
