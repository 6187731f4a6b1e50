// SPDX-License-Identifier: GPL-2.0-only

//! Runs the scenarios on virtual machines.

#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

use clap::Parser as _;
use drbd_vm_tests::runner::{run, Wish};
use drbd_vm_tests::scenarios;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&scenarios::all(), &Wish::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("drbd-vm-tests: {e}");
            ExitCode::FAILURE
        }
    }
}
