// SPDX-License-Identifier: GPL-2.0-only

//! Load, up, sync, down, rmmod, again and again: nothing is left, and nothing grows.

use crate::cluster::{Cluster, Config, Setup};
use drbd_lab::{Error, Result};
use std::path::Path;

/// Before memory is compared: caches of the guest fill during the first cycles.
const WARM: usize = 4;
/// What a guest's own caches may still grow by between the cycles.
const NOISE_KIB: u64 = 1024;

/// For every change.
pub(super) fn dozen(setup: Setup, logs: &Path) -> Result<()> {
    run(setup, logs, 12)
}

/// For the long run.
pub(super) fn hundred(setup: Setup, logs: &Path) -> Result<()> {
    run(setup, logs, 100)
}

/// Each node's memory that nobody can reclaim is the same after many cycles.
fn run(setup: Setup, logs: &Path, cycles: usize) -> Result<()> {
    let c = Cluster::start(setup, logs, 4 << 20, &Config::default().text())?;
    c.both(|node| {
        // In this order: without a module the tools would load the stock one.
        c.drbdadm(node, &["create-md", "r0"])?;
        c.unload(node)
    })?;
    let mut before = [0; 2];
    for cycle in 0..cycles {
        c.both(|node| {
            c.load(node, setup.modules[node])?;
            c.drbdadm(node, &["up", "r0"])
        })?;
        c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
        c.first_sync(cycle % 2)?;
        c.write_noise(cycle % 2, 1, 1)?;
        c.compare()?;
        c.both(|node| {
            c.down(node)?;
            c.unload(node)?;
            c.nothing_left(node)
        })?;
        if cycle == WARM {
            before = c.both(|node| held(&c, node))?;
        }
    }
    for (node, before) in before.into_iter().enumerate() {
        let after = held(&c, node)?;
        if after > before + NOISE_KIB {
            return Err(Error::new(format!(
                "n{} held {before} KiB after {} cycles, {after} KiB after {cycles}",
                node + 1,
                WARM + 1
            )));
        }
    }
    c.lab.check_consoles(&[])
}

/// Memory that the kernel holds for itself, in KiB.
fn held(c: &Cluster, node: usize) -> Result<u64> {
    let script = "sync; echo 3 >/proc/sys/vm/drop_caches; \
        awk '/^(SUnreclaim|VmallocUsed|Percpu|KernelStack|PageTables):/ { sum += $2 } END { print sum }' /proc/meminfo";
    let text = c.sh(node, script)?;
    text.trim()
        .parse()
        .map_err(|_| Error::new(format!("'{text}' is no number of KiB")))
}
