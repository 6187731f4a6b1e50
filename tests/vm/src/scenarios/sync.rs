// SPDX-License-Identifier: GPL-2.0-only

//! Resynchronisation: full, by bitmap after an outage, paused.

use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, switch::Conditions, Error, Fault, Result};
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 16 << 20;

/// Different noise on both disks; each node in turn is made the source of all of it.
pub(super) fn full(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, SIZE, &Config::default().text())?;
    c.up()?;
    c.fill(0, 1)?;
    c.fill(1, 2)?;
    let before = c.lab.node(0).disk(DISK)?.contents(0, 1 << 20)?;
    c.first_sync(0)?;
    c.compare()?;
    if c.lab.node(1).disk(DISK)?.contents(0, 1 << 20)? != before {
        return Err(Error::new("the source's data did not win"));
    }
    // The other direction: all of n1 is declared worthless.
    c.drbdadm(0, &["secondary", "r0"])?;
    let moved = c.state(1)?.counter("ns");
    c.drbdadm(0, &["invalidate", "r0"])
        .or_else(|_| invalidate_without_tool(&c))?;
    c.wait(1, "has sent all", 300, |m| {
        m.mirrored() && m.counter("ns") >= moved + SIZE / 1024 / 2
    })?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.compare()?;
    c.finish()
}

/// Our first tool has no `invalidate`: new metadata asks for the same.
fn invalidate_without_tool(c: &Cluster) -> Result<String> {
    c.down(0)?;
    c.drbdadm(0, &["--", "--force", "create-md", "r0"])?;
    c.drbdadm(0, &["up", "r0"])
}

/// What was written while the link was cut, and not much more, is sent when it heals; both ways.
pub(super) fn bitmap(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, SIZE, &Config::default().text())?;
    c.mirror(0)?;
    for primary in [0, 1] {
        let other = 1 - primary;
        c.drbdadm(other, &["secondary", "r0"])?;
        c.drbdadm(primary, &["primary", "r0"])?;
        c.lab.network().cut_both(0, 1);
        c.wait_both("sees that the peer is gone", 90, |m| {
            m.connection == "WFConnection"
        })?;
        c.write_noise(primary, 3, 1)?;
        c.write_noise(primary, 9, 1)?;
        let dirty = c.state(primary)?.counter("oos");
        if !(2048..=2048 + 512).contains(&dirty) {
            return Err(Error::new(format!(
                "2048 KiB were written while alone, {dirty} KiB are out of sync"
            )));
        }
        let sent = c.lab.network().traffic(primary, other).bytes;
        c.lab.network().heal_all();
        c.wait_both("is mirrored again", 120, |m| {
            m.mirrored() && m.counter("oos") == 0
        })?;
        let sent = c.lab.network().traffic(primary, other).bytes - sent;
        if !(2 << 20..4 << 20).contains(&sent) {
            return Err(Error::new(format!(
                "the resync of 2 MiB took {sent} bytes on the link"
            )));
        }
        c.compare()?;
    }
    c.drbdadm(1, &["secondary", "r0"])?;
    c.finish()
}

/// A resync pauses and goes on, and keeps to its rate.
pub(super) fn pause(setup: Setup, logs: &Path) -> Result<()> {
    let slow = Config::default()
        .text()
        .replace("resync-rate 1000M", "resync-rate 1M");
    let c = Cluster::start(setup, logs, SIZE, &slow)?;
    c.up()?;
    c.fill(0, 7)?;
    c.drbdadm(0, &["--", "--overwrite-data-of-peer", "primary", "r0"])?;
    c.wait(1, "is the target", 60, |m| {
        m.connection == "SyncTarget" && m.counter("oos") < SIZE / 1024 - 256
    })?;
    let text = c.proc_drbd(1)?;
    for part in ["sync'ed:", "finish:", "speed:"] {
        if !text.contains(part) {
            return Err(Error::new(format!("no '{part}' in the progress:\n{text}")));
        }
    }
    c.sh(0, "drbdsetup pause-sync 1")?;
    c.wait(1, "is paused", 30, |m| m.connection == "PausedSyncT")?;
    let stopped = c
        .wait(0, "is paused", 30, |m| {
            m.connection == "PausedSyncS" && m.idle()
        })?
        .counter("oos");
    c.write_noise(0, 1, 1)?; // takes a while, and is mirrored all the same
    let now = c.state(0)?.counter("oos");
    if now + 1024 < stopped || now > stopped {
        return Err(Error::new(format!(
            "a paused resync went from {stopped} to {now} KiB"
        )));
    }
    c.sh(0, "drbdsetup resume-sync 1")?;
    c.wait_both("is mirrored", 120, Minor::mirrored)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The target has all and says so while the source's own disk still writes what the application wrote over the last
/// blocks: the source ends the resync once that is done. (8.4 waits for a word of the target that has come already.)
pub(super) fn slow_source(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, SIZE, &Config::default().text())?;
    c.mirror(0)?;
    c.drbdadm(1, &["disconnect", "r0"])?;
    c.wait(0, "is alone", 60, |m| m.connection == "WFConnection")?;
    c.write_noise(0, 1, 1)?;
    c.drbdadm(1, &["pause-sync", "r0"])?;
    c.drbdadm(1, &["connect", "r0"])?;
    c.wait(0, "is paused", 60, |m| m.connection == "PausedSyncS")?;
    c.wait(1, "is paused", 60, |m| m.connection == "PausedSyncT")?;
    let disk = c.lab.node(0).disk(DISK)?;
    disk.set_fault(Fault::Stall);
    let (from, to) = ("if=/dev/urandom", format!("of={DEVICE}"));
    let over = ["bs=1M", "seek=1", "count=1", "oflag=direct", "conv=notrunc"];
    let writer = c
        .lab
        .node(0)
        .spawn(&[&["dd", from, &to][..], &over[..]].concat())?;
    c.wait(1, "has all that was written", 60, |m| m.counter("oos") == 0)?;
    // A pause does not keep it from ending.
    c.wait(1, "has ended", 60, |m| {
        m.connection == "Connected" && m.disks.0 == "UpToDate"
    })?;
    disk.set_fault(Fault::None);
    writer.wait(deadline(60))?.success()?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.drbdadm(1, &["resume-sync", "r0"])?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The target's disk is taken away and given back while many requests are on their way. What the source no longer
/// answers is asked for anew.
pub(super) fn disk_returns(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, SIZE, &Config::default().text())?;
    c.up()?;
    c.fill(0, 7)?;
    c.drbdadm(0, &["--", "--overwrite-data-of-peer", "primary", "r0"])?;
    c.wait_both("is mirrored", 120, Minor::mirrored)?;
    for (from, to) in [(0, 1), (1, 0)] {
        let slow = Conditions::late(Duration::from_millis(100));
        c.lab.network().set(from, to, slow);
    }
    for round in 0..2u64 {
        c.drbdadm(1, &["invalidate", "r0"])?;
        let begun = SIZE / 1024 - 1024 * (1 + round);
        c.wait(1, "is the target", 60, |m| {
            m.connection == "SyncTarget" && m.counter("oos") < begun
        })?;
        c.drbdadm(1, &["detach", "r0"])?;
        c.write_noise(0, 10 + round, 1)?;
        c.drbdadm(1, &["attach", "r0"])?;
        c.wait_both("is mirrored again", 120, |m| {
            m.mirrored() && m.counter("oos") == 0
        })?;
        c.compare()?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The bitmap travels plain from a node with `use-rle no`, and compressed from one with `use-rle yes`.
pub(super) fn compressed_bitmap(setup: Setup, logs: &Path) -> Result<()> {
    let with = |net: &str| {
        let config = Config {
            net: net.into(),
            ..Config::default()
        };
        config.text()
    };
    let c = Cluster::start(setup, logs, SIZE, &with("use-rle yes;"))?;
    c.configure(0, &with("use-rle no;"))?;
    c.mirror(0)?;
    c.lab.network().cut_both(0, 1);
    c.wait_both("sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.write_noise(0, 3, 1)?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    for (node, way, plain) in [
        (0, "send", true),
        (1, "receive", true),
        (1, "send", false),
        (0, "receive", false),
    ] {
        let lines = c.sh(node, &format!("dmesg | grep ' {way} bitmap stats' || true"))?;
        // The stock driver says nothing of a bitmap that was not compressed.
        let last = lines.lines().last().unwrap_or("RLE 0(0)");
        let is_plain = last.contains("RLE 0(0)");
        if is_plain != plain || (!plain && !last.contains("plain 0(0)")) {
            return Err(Error::new(format!(
                "n{} shall {way} it {}: {last}",
                node + 1,
                if plain { "plain" } else { "compressed" }
            )));
        }
    }
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// What is zero at the source is discarded by the target instead of sent (`rs-discard-granularity`).
pub(super) fn thin(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        disk: "rs-discard-granularity 65536;".into(),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, SIZE, &config.text())?;
    c.up()?;
    c.fill(1, 2)?;
    let noise: Vec<u8> = (0..1u32 << 20)
        .map(|n| ((n / 7) ^ (n / 512)) as u8 | 1)
        .collect();
    c.lab.node(0).disk(DISK)?.overwrite(4 << 20, &noise)?;
    let discards = c.lab.node(1).disk(DISK)?.counters().discards;
    let sent = c.lab.network().traffic(0, 1).bytes;
    c.first_sync(0)?;
    let discards = c.lab.node(1).disk(DISK)?.counters().discards - discards;
    let sent = c.lab.network().traffic(0, 1).bytes - sent;
    c.note(&format!("{sent} bytes sent, {discards} discards"));
    if discards == 0 || !(1 << 20..4 << 20).contains(&sent) {
        return Err(Error::new(format!(
            "a resync of 1 MiB in 16: {sent} bytes sent, {discards} discards"
        )));
    }
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
