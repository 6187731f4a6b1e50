// SPDX-License-Identifier: GPL-2.0-only

//! Online verify, and resync by checksums: differences that were planted in one disk from outside are found, counted
//! to the sector, and repaired; nothing else is sent.

use crate::cluster::{Cluster, Config, Module, Setup, DISK, MINOR};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

const SIZE: u64 = 16 << 20;
const BLOCK: u64 = 4096;

/// Blocks that are changed in the second node's disk: one in the first MiB, three in a row, one byte in the last block.
fn plant(c: &Cluster, node: usize) -> Result<Vec<(u64, u64)>> {
    let last = c.device_size(0, MINOR)? / BLOCK - 1;
    let disk = c.lab.node(node).disk(DISK)?;
    let noise = |n: u64| -> Vec<u8> { (0..n).map(|i| (i * 167 + 41) as u8).collect() };
    disk.overwrite(10 * BLOCK, &noise(BLOCK))?;
    disk.overwrite(700 * BLOCK + 512, &noise(2 * BLOCK))?;
    let mut byte = disk.contents(last * BLOCK + 77, 1)?;
    byte[0] ^= 1;
    disk.overwrite(last * BLOCK + 77, &byte)?;
    Ok(vec![(10, 1), (700, 3), (last, 1)])
}

fn expect(what: &str, found: u64, wanted: u64) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::new(format!("{what}: {found}, and not {wanted}")))
}

/// Lets `node` drive a verify, and waits for its end.
fn verify(c: &Cluster, node: usize, options: &str) -> Result<()> {
    c.sh(node, &format!("drbdsetup verify 1 {options}"))?;
    c.wait(node, "has verified", 120, |m| m.connection == "Connected")?;
    c.wait_both("is connected and idle", 60, |m| {
        m.connection == "Connected" && m.idle()
    })
}

fn out_of_sync(c: &Cluster, kib: u64) -> Result<()> {
    (0..2).try_for_each(|node| {
        let found = c.state(node)?.counter("oos");
        expect(&format!("KiB out of sync on n{}", node + 1), found, kib)
    })
}

/// The blocks that a node has reported; neighbours may have come together or apart.
fn reports(c: &Cluster, node: usize) -> Result<BTreeSet<u64>> {
    let text = c.sh(node, "dmesg | grep 'Out of sync: start=' || true")?;
    let number = |line: &str, name: &str| -> Option<u64> {
        let rest = line.split(name).nth(1)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let pair = |line: &str| Some((number(line, "start=")?, number(line, "size=")?));
    Ok(blocks(text.lines().filter_map(pair)))
}

/// The blocks of some runs of sectors.
fn blocks(runs: impl Iterator<Item = (u64, u64)>) -> BTreeSet<u64> {
    runs.flat_map(|(start, size)| (start..start + size).step_by(8))
        .collect()
}

/// Planted corruption is found by either side, repaired by the next resync, and a verify under load finds nothing.
pub(super) fn online(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        net: "verify-alg sha1;".into(),
        ..Config::default()
    };
    let text = config
        .text()
        .replace("resync-rate 1000M", "resync-rate 8M")
        .replace(
            "  net { protocol",
            "handlers { out-of-sync \"echo $DRBD_RESOURCE >> /run/out-of-sync\"; } net { protocol",
        );
    let c = Cluster::start(setup, logs, SIZE, &text)?;
    c.mirror(0)?;
    verify(&c, 0, "")?;
    out_of_sync(&c, 0)?;
    let planted = plant(&c, 1)?;
    // A part, driven by the secondary.
    verify(&c, 1, "--start 0s --stop 2048s")?;
    out_of_sync(&c, 4)?;
    // All of it, driven by the primary.
    c.sh(0, "drbdsetup verify 1 --start 0s")?;
    c.wait(0, "drives a verify", 30, |m| m.connection == "VerifyS")?;
    let progress = c.proc_drbd(1)?;
    if !progress.contains("verified:") && !progress.contains("cs:Connected") {
        return Err(Error::new(format!("no progress is shown:\n{progress}")));
    }
    c.wait_both("has verified", 60, |m| {
        m.connection == "Connected" && m.idle()
    })?;
    let planted = blocks(planted.into_iter().map(|(at, n)| (at * 8, n * 8)));
    out_of_sync(&c, planted.len() as u64 * BLOCK / 1024)?;
    for node in 0..2 {
        let found = reports(&c, node)?;
        // The stock driver forgets a run when the results come out of order.
        let stock = setup.modules[node] == Module::Stock;
        if !(found == planted || stock && found.is_subset(&planted)) {
            return Err(Error::new(format!(
                "n{} reported {found:?}; planted was {planted:?}",
                node + 1
            )));
        }
        c.sh(node, "grep -q r0 /run/out-of-sync")?;
    }
    // The next resync repairs these blocks, and no others.
    let before = c.lab.network().traffic(0, 1).bytes;
    c.drbdadm(1, &["disconnect", "r0"])?;
    c.wait(0, "is alone", 60, |m| m.connection == "WFConnection")?;
    c.drbdadm(1, &["connect", "r0"])?;
    c.wait_both("is mirrored again", 120, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    let sent = c.lab.network().traffic(0, 1).bytes - before;
    if sent > 256 << 10 {
        return Err(Error::new(format!("{sent} bytes repaired 5 blocks")));
    }
    c.compare()?;
    // While the application writes there is nothing to find.
    c.sh(1, "drbdsetup verify 1")?;
    c.wait(1, "drives a verify", 30, |m| m.connection == "VerifyS")?;
    c.write_noise(0, 2, 3)?;
    c.write_noise(0, 9, 2)?;
    c.wait_both("has verified", 120, |m| {
        m.connection == "Connected" && m.idle()
    })?;
    out_of_sync(&c, 0)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// Resyncs all of `target`, which differs in little; returns the bytes on the link, both ways.
fn resync(c: &Cluster, target: usize) -> Result<u64> {
    let bytes = || {
        let network = c.lab.network();
        network.traffic(0, 1).bytes + network.traffic(1, 0).bytes
    };
    plant(c, target)?;
    let (before, source) = (bytes(), 1 - target);
    c.sh(source, "drbdsetup invalidate-remote 1")?;
    c.wait_both("is mirrored again", 300, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    c.compare()?;
    Ok(bytes() - before)
}

/// What has equal checksums is not sent, whoever is the source; unless that is wanted after a crash only.
pub(super) fn checksums(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        net: "csums-alg crc32c;".into(),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, SIZE, &config.text())?;
    c.up()?;
    c.fill(0, 5)?;
    c.first_sync(0)?;
    for source in [0, 1] {
        c.drbdadm(1 - source, &["secondary", "r0"])?;
        c.drbdadm(source, &["primary", "r0"])?;
        let bytes = resync(&c, 1 - source)?;
        c.note(&format!("the resync by checksums took {bytes} bytes"));
        // Requests of up to 1 MiB are equal as a whole, or not; three of them are not.
        if bytes > SIZE / 4 {
            return Err(Error::new(format!(
                "{bytes} bytes were sent for 5 blocks that differ"
            )));
        }
    }
    c.both(|node| c.drbdadm(node, &["disconnect", "r0"]))?;
    let after_crash = Config {
        net: "csums-alg crc32c; csums-after-crash-only yes;".into(),
        ..Config::default()
    };
    c.both(|node| {
        c.configure(node, &after_crash.text())?;
        c.drbdadm(node, &["connect", "r0"])
    })?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    let bytes = resync(&c, 0)?;
    if bytes < SIZE * 7 / 8 {
        return Err(Error::new(format!(
            "{bytes} bytes were sent where checksums are not wanted"
        )));
    }
    c.drbdadm(1, &["secondary", "r0"])?;
    c.finish()
}
