// SPDX-License-Identifier: GPL-2.0-only

//! Discards and write-zeroes: the disks can do different things, and are equal all the same.

use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::path::Path;

/// What is deallocated, as offset and length in bytes: whole MiB, few sectors, and ends that fill no granule.
const RANGES: [(u64, u64); 4] = [
    (1 << 20, 2 << 20),
    ((4 << 20) + 512, 3 << 20),
    ((8 << 20) - 1536, 5120),
    (9 << 20, 512),
];

/// n1's disk can only write; n2's disk knows how to write zeroes.
pub(super) fn and_zeroes(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    let limit = format!("/sys/block/{DISK}/queue/write_zeroes_max_bytes");
    let most = format!("/sys/block/{DISK}/device/scsi_disk/*/max_write_same_blocks");
    c.sh(0, &format!("for f in {most}; do echo 0 >\"$f\"; done"))?;
    for (node, can) in [(0, false), (1, true)] {
        if (c.sh(node, &format!("cat {limit}"))?.trim() != "0") != can {
            return Err(Error::new(format!(
                "the disk of n{} is not what this is about: write-zeroes {can}",
                node + 1
            )));
        }
    }
    c.mirror(0)?;
    for primary in [0, 1] {
        c.drbdadm(primary, &["primary", "r0"])?;
        c.write_noise(primary, 0, 12)?;
        each(&c, primary, "blkdiscard -z")?;
        zeroes_are_read(&c, primary)?;
        c.write_noise(primary, 0, 12)?;
        each(&c, primary, "blkdiscard")?;
        // The peer is away: what it misses is made up for.
        c.drbdadm(primary, &["disconnect", "r0"])?;
        c.write_noise(primary, 0, 12)?;
        each(&c, primary, "blkdiscard -z")?;
        c.drbdadm(primary, &["connect", "r0"])?;
        c.wait_both("is mirrored", 60, Minor::mirrored)?;
        c.compare()?;
        zeroes_are_read(&c, primary)?;
        c.drbdadm(primary, &["secondary", "r0"])?;
    }
    c.finish()
}

/// Does it to all ranges; nobody loses a disk over it, and the mirrors are equal.
fn each(c: &Cluster, node: usize, command: &str) -> Result<()> {
    for (offset, length) in RANGES {
        c.sh(node, &format!("{command} -o {offset} -l {length} {DEVICE}"))?;
    }
    let state = c.state(node)?;
    if state.disks.0 != "UpToDate" {
        return Err(Error::new(format!(
            "`{command}` cost a disk: it is {}",
            state.disks.0
        )));
    }
    if state.connection != "Connected" {
        return Ok(());
    }
    c.compare()
}

fn zeroes_are_read(c: &Cluster, node: usize) -> Result<()> {
    for (offset, length) in RANGES {
        c.sh(
            node,
            &format!("cmp -n {length} {DEVICE} /dev/zero {offset} 0"),
        )?;
    }
    Ok(())
}
