// SPDX-License-Identifier: GPL-2.0-only

//! The activity log on disk gets another shape while the device is written, and then a power cut.

use crate::acks::{Load, Writer};
use crate::cluster::{Cluster, Config, Module, Setup, DEVICE, DISK};
use crate::crash_points::Mirror;
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, PowerCut, Result};
use std::path::Path;
use std::sync::Arc;

const EXTENT: u64 = 4 << 20;

/// Of one extent.
const LOAD: Load = Load {
    blocks: 1024,
    threads: 4,
    count: 0,
    seed: 23,
    durable: false,
};

/// A larger log under load, refusals, and a power cut of the writing node: the new log tells what is to be sent.
pub(super) fn reshaped(setup: Setup, logs: &Path) -> Result<()> {
    // Behind the data there is room for a larger log.
    let config = Config {
        disk: "size 60M;".into(),
        ..Config::default()
    };
    let mut c = Cluster::start(setup, logs, 16 * EXTENT, &config.text())?;
    c.mirror(0)?;
    extents(&c, 65_534, 7 * 919)?;
    refused(&c, "--al-stripe-size-kB=16", "(168)")?;
    refused(&c, "--al-stripes=8 --al-stripe-size-kB=1024", "(169)")?;
    let mut writer = Writer::start(c.lab.node(0), DEVICE, LOAD)?;
    acknowledged(&mut writer, 100)?;
    c.sh(0, &resize("--al-stripes=4 --al-stripe-size-kB=64"))?;
    acknowledged(&mut writer, 200)?;
    extents(&c, 65_534, 63 * 919)?;
    // An extent of its own, written once, whose slot stays in the log.
    c.write_noise(0, 41, 1)?;
    if setup.modules[0] == Module::Drbdrs {
        // So many slots are more than the old log could tell after a crash; the stock driver does not mind.
        refused(&c, "--al-stripes=1 --al-stripe-size-kB=32", "(168)")?;
    }
    acknowledged(&mut writer, 100)?;
    c.lab.node_mut(0).power_cut(PowerCut::Random(5))?;
    let log = writer.lost();
    c.wait(1, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.drbdadm(1, &["primary", "r0"])?;
    let before = c.lab.network().traffic(1, 0).bytes;
    c.lab.node_mut(0).start()?;
    c.prepare(0)?;
    shape(&c)?;
    c.drbdadm(0, &["up", "r0"])?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    let sent = c.lab.network().traffic(1, 0).bytes - before;
    c.note(&format!("{sent} bytes were sent"));
    if !(2 * EXTENT..3 * EXTENT).contains(&sent) {
        return Err(Error::new(format!(
            "two extents of {EXTENT} bytes were in the activity log, {sent} bytes were sent"
        )));
    }
    c.compare()?;
    log.check(c.lab.node(0).disk(DISK)?, "the node that came back")?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.finish()
}

/// The log is reshaped, and the device grows, under load and alone; the power may go at any moment of that.
pub(super) fn points(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        disk: "al-extents 67; size 60M;".into(),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, 16 * EXTENT, &config.text())?;
    c.mirror(0)?;
    let disks = [c.lab.node(0).disk(DISK)?, c.lab.node(1).disk(DISK)?];
    let recorder = Arc::default();
    for (number, disk) in disks.iter().enumerate() {
        disk.record(&recorder, number)?;
    }
    let mut mirror = Mirror::of([disks[0], disks[1]], 1)?;
    let mut writer = Writer::start(c.lab.node(0), DEVICE, LOAD)?;
    acknowledged(&mut writer, 50)?;
    for options in [
        "--size=60M --al-stripes=4 --al-stripe-size-kB=64",
        "--size=60M --al-stripes=1 --al-stripe-size-kB=128",
        "--size=62M --assume-clean --al-stripes=1 --al-stripe-size-kB=32",
    ] {
        c.sh(0, &format!("drbdsetup resize 1 {options}"))?;
        acknowledged(&mut writer, 50)?;
    }
    // What the peer lacks is told by the bitmap, which moves.
    c.lab.network().cut_both(0, 1);
    c.wait(0, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    let alone = |kib: u32| {
        let options = "--size=62M --assume-peer-has-space --al-stripes=1";
        c.sh(
            0,
            &format!("drbdsetup resize 1 {options} --al-stripe-size-kB={kib}"),
        )
    };
    for kib in [256, 32] {
        alone(kib)?;
        acknowledged(&mut writer, 50)?;
    }
    writer.stop();
    // These are told by the bitmap alone, as another log begins empty; the bits of some are where a transaction has
    // zeros, should one be written there.
    c.write_noise(0, 0, 4)?;
    c.sh(0, "drbdsetup disk-options 1 --al-extents=89")?;
    for kib in [256, 32] {
        alone(kib)?;
    }
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    let record = recorder.take();
    let found = mirror.play(&record, 10_000)?;
    c.note(&format!("{} requests recorded, {found:?}", record.len()));
    if found.points < 9_000 || found.differences < found.points {
        return Err(Error::new(format!("too little was found: {found:?}")));
    }
    c.compare()?;
    c.finish()
}

fn resize(options: &str) -> String {
    format!("drbdsetup resize 1 --size=60M {options}")
}

fn refused(c: &Cluster, options: &str, code: &str) -> Result<()> {
    let line = resize(options);
    let output = c.run(0, &["/bin/sh", "-c", &line])?;
    if output.code != 10 || !output.errors().contains(code) {
        return Err(Error::new(format!(
            "{line}: {code} was expected, and {}: {}",
            output.code,
            output.errors()
        )));
    }
    Ok(())
}

/// Asks for a log of more extents than the one on disk has room for.
fn extents(c: &Cluster, wanted: u32, got: u32) -> Result<()> {
    let script = format!("drbdsetup disk-options 1 --al-extents={wanted} && drbdsetup show 1");
    let shown = c.sh(0, &script)?;
    let words: Vec<&str> = shown.split_whitespace().collect();
    let number = format!("{got};");
    if !words.windows(2).any(|pair| pair == ["al-extents", &number]) {
        return Err(Error::new(format!("{got} al-extents are not in: {shown}")));
    }
    Ok(())
}

fn acknowledged(writer: &mut Writer, more: u64) -> Result<()> {
    let wanted = writer.log().acknowledged() + more;
    if writer.listen(deadline(90), |log| log.acknowledged() >= wanted) {
        return Ok(());
    }
    let log = writer.log();
    Err(Error::new(format!(
        "only {} writes were acknowledged; {:?}",
        log.acknowledged(),
        log.errors()
    )))
}

/// What the superblock says after the crash.
fn shape(c: &Cluster) -> Result<()> {
    let dump = c.sh(
        0,
        "drbdmeta 1 v08 /dev/sdb internal apply-al 2>&1; drbdmeta 1 v08 /dev/sdb internal dump-md 2>&1",
    )?;
    for line in ["al-stripes 4;", "al-stripe-size-4k 16;"] {
        if !dump.contains(line) {
            return Err(Error::new(format!("'{line}' is not in: {dump}")));
        }
    }
    Ok(())
}
