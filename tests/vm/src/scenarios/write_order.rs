// SPDX-License-Identifier: GPL-2.0-only

//! `disk-flushes` and `disk-drain`: how a node keeps the peer's epochs apart, and what its disk sees of it.

use crate::acks::{Load, Writer};
use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use drbd_lab::{deadline, Error, Result};
use std::path::Path;

/// Writes each of which waits for the one before: as many epochs.
const WRITES: u64 = 100;

const MANY: Load = Load {
    blocks: 1024,
    threads: 6,
    count: 0,
    seed: 11,
    durable: false,
};

/// Flush, drain, none and back: /proc/drbd says so, and the peer's disk is flushed only where it shall be.
pub(super) fn methods(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 8 << 20, &Config::default().text())?;
    c.mirror(0)?;
    for (options, letter, flushes) in [
        ("--disk-flushes=yes", "wo:f", true),
        ("--disk-flushes=no", "wo:d", false),
        ("--disk-drain=no", "wo:n", false),
        ("--disk-drain=yes --disk-flushes=yes", "wo:f", true),
    ] {
        c.sh(1, &format!("drbdsetup disk-options 1 {options}"))?;
        let text = c.proc_drbd(1)?;
        if !text.contains(letter) {
            return Err(Error::new(format!("no {letter} after {options}:\n{text}")));
        }
        one_by_one(&c, options, flushes)?;
        // Many epochs at once.
        let mut writer = Writer::start(c.lab.node(0), DEVICE, MANY)?;
        writer.listen(deadline(30), |log| log.acknowledged() >= 600);
        let log = writer.stop();
        if log.acknowledged() < 600 {
            return Err(Error::new(format!(
                "{options}: only {} writes were acknowledged in time",
                log.acknowledged()
            )));
        }
        c.compare()?;
        log.check(c.lab.node(1).disk(DISK)?, "n2")?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

fn one_by_one(c: &Cluster, options: &str, flushes: bool) -> Result<()> {
    let disk = c.lab.node(1).disk(DISK)?;
    let before = disk.counters().flushes;
    let script = format!(
        "dd if=/dev/urandom of={DEVICE} bs=4k count={WRITES} oflag=direct conv=notrunc 2>&1"
    );
    c.sh(0, &script)?;
    let seen = disk.counters().flushes - before;
    c.note(&format!("{options}: {WRITES} writes, {seen} flushes"));
    let right = if flushes {
        seen >= WRITES / 2
    } else {
        seen <= WRITES / 10
    };
    if !right {
        return Err(Error::new(format!(
            "{options}: the peer's disk saw {seen} flushes for {WRITES} writes"
        )));
    }
    Ok(())
}
