// SPDX-License-Identifier: GPL-2.0-only

//! The program that runs a lab guest: process 1 of the initramfs, then the agent on the virtio-serial port.
//!
//! As process 1 ([`boot`]) it mounts the shared read-only root below a writable overlay, binds the disks in a fixed
//! order, configures the network from the kernel command line, starts itself again as the agent ([`serve`]), and from
//! then on reaps orphans. There is no shell script and no service manager in the way, so a guest is up as soon as the
//! kernel is.

#![forbid(unsafe_code)]

mod boot;
#[path = "../../src/frame.rs"]
#[allow(dead_code)]
mod frame;
mod load;
mod serve;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|word| word == "serve") {
        serve::run();
    } else if std::process::id() == 1 {
        boot::run();
    } else if !load::run(&args) {
        eprintln!("usage: serve | write ... | overlap ... | stale ... | nonsense ...");
        std::process::exit(2);
    }
}
