// SPDX-License-Identifier: GPL-2.0-only

//! drbdadm, drbdsetup, drbdmeta and drbd-iscsi in one program: the name that it is called by decides, or else its first argument.
//!
//! ```text
//!   drbdadm    drbd.conf -> steps ──┬─> drbdsetup  one netlink request per command
//!                                   └─> drbdmeta   the metadata on a disk that is not attached
//! ```
//! drbdadm calls the other two in the same process; what it prints with -d are command lines all the same.
#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

mod args;
mod catalog;
mod complete;
mod conf_page;
mod drbdadm;
mod drbdmeta;
mod drbdsetup;
mod iscsi_page;
mod last_known;
mod lock;
mod names;
mod pages;
mod pasted;
mod time;

use std::path::Path;

fn main() {
    let mut args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let called = if args.is_empty() {
        String::new()
    } else {
        args.remove(0)
    };
    let name = Path::new(&called)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let args = match pasted::clean(&name, &args) {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}");
            std::process::exit(1);
        }
    };
    let exit = match run(&name, &args) {
        Some(exit) => exit,
        None => match args
            .split_first()
            .and_then(|(first, rest)| run(first, rest))
        {
            Some(exit) => exit,
            None => {
                eprintln!("USAGE: {name} drbdadm|drbdsetup|drbdmeta|drbd-iscsi ...\n  or call it by one of these names (links)");
                1
            }
        },
    };
    std::process::exit(exit);
}

/// The name of the program without the version that the stock tools have in /lib/drbd (`drbdadm-84`).
fn unversioned(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((program @ ("drbdadm" | "drbdsetup" | "drbdmeta"), version))
            if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            program
        }
        _ => name,
    }
}

fn run(name: &str, args: &[String]) -> Option<i32> {
    match unversioned(name) {
        "drbdsetup" => Some(drbdsetup::main(args)),
        "drbdadm" => Some(drbdadm::main(args)),
        "drbdmeta" => Some(drbdmeta::main(args)),
        "pages" => Some(pages::main(args)),
        "complete" => Some(complete::main(args)),
        "drbd-iscsi" => Some(drbd_iscsi::main(args)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::unversioned;

    #[test]
    fn names_with_a_version_are_the_same_programs() {
        assert_eq!(unversioned("drbdadm-84"), "drbdadm");
        assert_eq!(unversioned("drbdsetup-83"), "drbdsetup");
        assert_eq!(unversioned("drbdadm-"), "drbdadm-");
        assert_eq!(unversioned("drbd-iscsi"), "drbd-iscsi");
        assert_eq!(unversioned("drbdadm-x"), "drbdadm-x");
    }
}
