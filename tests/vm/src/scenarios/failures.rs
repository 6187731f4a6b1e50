// SPDX-License-Identifier: GPL-2.0-only

//! What goes wrong beside a dead node: buffers that change in flight, and what fails on purpose.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE, DISK, MINOR};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, Result};
use std::path::Path;
use std::time::Instant;

/// A program writes with O_DIRECT from a buffer that it changes meanwhile; the mirrors are equal afterwards. The
/// stock driver does not promise that.
pub(super) fn scribble(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    let mut differences = 0;
    for length in [4096, 65536, 1 << 20] {
        let said = c.sh(
            0,
            &format!("/proc/1/exe scribble {DEVICE} 2048 200 {length}"),
        )?;
        if said.contains(" 0 changes") {
            return Err(Error::new(format!("nothing was changed in flight: {said}")));
        }
        match (c.compare(), setup.modules[0]) {
            (Err(error), Module::Drbdrs) => return Err(error),
            (Err(_), Module::Stock) => differences += 1,
            (Ok(()), _) => {}
        }
    }
    c.note(&format!("{differences} of 3 runs left a difference"));
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The same in as many writes as one cares to wait for (`DRBDRS_SCRIBBLES`, a million; far fewer by the stock driver,
/// which must leave differences, or this scenario shows nothing). A verify tells how much differs, and so do the disks.
pub(super) fn scribble_million(setup: Setup, logs: &Path) -> Result<()> {
    const THREADS: u64 = 32;
    let stock = setup.modules[0] == Module::Stock;
    let wanted = std::env::var("DRBDRS_SCRIBBLES").ok();
    let count = match wanted.and_then(|text| text.parse::<u64>().ok()) {
        Some(count) => count,
        None if stock => 20_000,
        None => 1_000_000,
    };
    let config = Config {
        net: "verify-alg crc32c;".into(),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, 16 << 20, &config.text())?;
    c.mirror(0)?;
    let blocks = c.device_size(0, MINOR)? / 4096;
    let start = Instant::now();
    let line = format!("/proc/1/exe scribbles {DEVICE} {blocks} {count} {THREADS}");
    let said = c
        .lab
        .node(0)
        .run_within(deadline(3600), &["/bin/sh", "-c", &line])?;
    let (said, seconds) = (said.success()?.text(), start.elapsed().as_secs());
    if said.contains(" 0 changes") {
        return Err(Error::new(format!("nothing was changed in flight: {said}")));
    }
    c.drbdadm(0, &["verify", "r0"])?;
    c.wait_both("has verified", 300, |m| {
        m.connection == "Connected" && m.idle()
    })?;
    let differ = c.state(0)?.counter("oos") * 2;
    let difference = c.compare_disks(DISK, MINOR);
    println!(
        "scribble: {} in flight in {seconds} s, {differ} sectors out of sync",
        said.trim()
    );
    match (stock, differ, difference) {
        (false, 0, difference) => difference?,
        (true, 1.., Err(_)) => {}
        (_, _, difference) => {
            return Err(Error::new(format!(
                "{differ} sectors are out of sync; the disks: {difference:?}"
            )));
        }
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The module's own faults (`enable_faults` and its like): our disk's writes, the peer's, the resync's. Nothing that was
/// acknowledged is lost.
pub(super) fn injected(setup: Setup, logs: &Path) -> Result<()> {
    const RESYNC_WRITES: u32 = 1 << 2;
    const DATA_WRITES: u32 = 1 << 4;
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    let faults = |node: usize, kinds: u32, rate: u32| {
        let script = format!(
            "cd /sys/module/drbdrs/parameters && echo 0 > fault_count && echo 2 > fault_devs && \
             echo {kinds} > enable_faults && echo {rate} > fault_rate"
        );
        c.sh(node, &script).map(drop)
    };
    let lost = |node: usize, m: &Minor| {
        let disk = if node == 0 { &m.disks.0 } else { &m.disks.1 };
        disk == "Diskless"
    };
    for (round, node) in [0usize, 1].into_iter().enumerate() {
        faults(node, DATA_WRITES, 100)?;
        c.write_noise(0, 2 + round as u64, 1)?;
        c.wait(0, "has lost a disk on purpose", 60, |m| lost(node, m))?;
        let count = c.sh(node, "cat /sys/module/drbdrs/parameters/fault_count")?;
        if count.trim() == "0" {
            return Err(Error::new("a disk was lost, but no fault was counted"));
        }
        c.write_noise(0, 5 + round as u64, 1)?;
        // The resync fails on purpose, too, once.
        faults(node, RESYNC_WRITES, 100)?;
        c.drbdadm(node, &["attach", "r0"])?;
        c.wait(0, "has lost the target's disk again", 60, |m| lost(node, m))?;
        faults(node, 0, 0)?;
        c.drbdadm(node, &["attach", "r0"])?;
        c.wait_both("is mirrored again", 120, Minor::mirrored)?;
        c.compare()?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
