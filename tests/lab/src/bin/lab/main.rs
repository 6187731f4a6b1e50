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
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: lab [--dir DIR] WORD ...           (DIR: default $DRBDRS_LAB, else .build/lab here)

  up [--nodes N] [--disk SIZE] [--memory MIB] [--cpus N] [--plain] [--no-detectors] [--kernel-args 'WORDS']
                               start N (2) nodes n1, n2, ... with a spare disk /dev/sdb of SIZE (128M)
  down                         switch all off; nothing is left but the logs in DIR
  status                       nodes, links, disks
  exec NODE -- CMD ARG...      run a program in a node (standard input is passed on when it is not a terminal)
  sh NODE [SCRIPT]             a shell in a node, or a script run by it
  put NODE FILE PATH           copy a file into a node
  get NODE PATH FILE           copy a file out of a node
  insmod NODE FILE [ARG...]    copy a module into a node and load it
  log NODE [LINES]             the node's console (all, or the last LINES)
  check                        fail if a console has a BUG, WARNING, hung task, KFENCE or slab report

  reset NODE [CACHE]           power cut, and on again
  power-cut NODE... [CACHE]    CACHE: --keep (default), --drop or --random=SEED: what becomes of what was not flushed
  start NODE...                power on
  freeze NODE, thaw NODE       stop the processor; let it go on
  cable NODE out|in            pull the cable of the replication link; plug it in

  cut A B [--one-way]          frames between A and B vanish (--one-way: only those from A to B)
  delay A B MS [--one-way]     frames arrive MS milliseconds later
  lose A B PERCENT [--one-way] frames are lost
  heal                         all links are well again

  fail NODE DISK HOW           HOW: reads, writes, all, stall, none
  compare DISK                 compare a disk of n1 and n2 byte by byte, from outside

NODE is n1, n2, ... or a host name; `all` stands for every node in exec, sh, put, insmod, reset and power-cut.";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut dir =
        std::env::var_os("DRBDRS_LAB").map_or_else(|| PathBuf::from(".build/lab"), PathBuf::from);
    if args.first().is_some_and(|a| a == "--dir") && args.len() > 1 {
        dir = PathBuf::from(args.remove(1));
        args.remove(0);
    }
    let result = match args.first().map(String::as_str) {
        None | Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            return if args.is_empty() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
        Some("up") => client::up(&dir, &args[1..]),
        Some("daemon") => daemon::run(&dir, &args[1..]).map(|()| 0),
        Some(_) => client::send(&dir, &args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("lab: {e}");
            ExitCode::from(125)
        }
    }
}
