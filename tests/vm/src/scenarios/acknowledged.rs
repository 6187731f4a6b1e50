// SPDX-License-Identifier: GPL-2.0-only

//! No acknowledged write is lost: the log of acknowledgements is kept outside the guests.

use crate::acks::{Load, Writer};
use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::crash_points::Mirror;
use crate::proc_drbd::Minor;
use drbd_lab::switch::Conditions;
use drbd_lab::{deadline, Error, PowerCut, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LOAD: Load = Load {
    blocks: 1024,
    threads: 4,
    count: 0,
    seed: 11,
    durable: false,
};

fn start(setup: Setup, logs: &Path) -> Result<Cluster> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    Ok(c)
}

fn write(c: &Cluster, load: Load, at_least: u64) -> Result<Writer> {
    let mut writer = Writer::start(c.lab.node(0), DEVICE, load)?;
    if writer.listen(deadline(90), |log| log.acknowledged() >= at_least) {
        return Ok(writer);
    }
    let log = writer.log();
    Err(Error::new(format!(
        "only {} writes were acknowledged; {:?}",
        log.acknowledged(),
        log.errors()
    )))
}

/// Starts a node that lost its power, with the module it had.
fn back(c: &mut Cluster, node: usize) -> Result<()> {
    c.lab.node_mut(node).start()?;
    c.prepare(node)?;
    c.drbdadm(node, &["up", "r0"]).map(drop)
}

/// The writing node dies; the survivor has every acknowledged write, and gives them to the one that comes back.
pub(super) fn primary_power_cut(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs)?;
    let writer = write(&c, LOAD, 300)?;
    c.lab.node_mut(0).power_cut(PowerCut::Keep)?;
    let log = writer.lost();
    c.note(&format!("{} writes were acknowledged", log.acknowledged()));
    c.wait(1, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.drbdadm(1, &["primary", "r0"])?;
    log.check(c.lab.node(1).disk(DISK)?, "the survivor")?;
    back(&mut c, 0)?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    c.compare()?;
    log.check(c.lab.node(0).disk(DISK)?, "the node that came back")?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.finish()
}

/// The writing node dies. Only the extents of its activity log are sent when it returns, and that is enough.
pub(super) fn logged_extents(setup: Setup, logs: &Path) -> Result<()> {
    const EXTENT: u64 = 4 << 20;
    let text = Config::default().text();
    let mut c = Cluster::start(setup, logs, 16 * EXTENT, &text)?;
    c.mirror(0)?;
    // An extent of its own, written once, whose slot stays in the log.
    c.write_noise(0, 41, 1)?;
    let writer = write(&c, LOAD, 300)?;
    c.lab.node_mut(0).power_cut(PowerCut::Random(5))?;
    let log = writer.lost();
    c.wait(1, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.drbdadm(1, &["primary", "r0"])?;
    log.check(c.lab.node(1).disk(DISK)?, "the survivor")?;
    let before = c.lab.network().traffic(1, 0).bytes;
    back(&mut c, 0)?;
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

/// The Primary has no disk; the node with the only copy dies. The activity log that it kept for the other one's writes
/// tells what the other disk lacks.
pub(super) fn lone_copy(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs)?;
    c.drbdadm(0, &["detach", "r0"])?;
    c.wait(1, "is the only copy", 30, |m| m.disks.1 == "Diskless")?;
    c.write_noise(0, 3, 1)?;
    c.write_noise(0, 9, 1)?;
    c.lab.node_mut(1).power_cut(PowerCut::Random(9))?;
    c.wait(0, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.drbdadm(0, &["secondary", "r0"])?;
    back(&mut c, 1)?;
    c.wait_both("is connected", 90, |m| m.connection == "Connected")?;
    c.drbdadm(0, &["attach", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    if c.state(0)?.counter("nr") < 2048 {
        return Err(Error::new("what the lone copy got was not sent"));
    }
    c.compare()?;
    c.finish()
}

/// A mirror with many more extents than its activity log has slots.
fn many_extents(setup: Setup, logs: &Path) -> Result<Cluster> {
    let config = Config {
        disk: "al-extents 67;".into(),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, 600 << 20, &config.text())?;
    c.up()?;
    // Both disks are empty: nothing to sync.
    c.sh(0, "drbdsetup new-current-uuid --clear-bitmap 1")?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.drbdadm(0, &["primary", "r0"])?;
    Ok(c)
}

/// Writes all over a device with many more extents than the log has slots, while the log is resized and switched off
/// and on: nobody hangs, and the mirrors are equal.
pub(super) fn cold_extents(setup: Setup, logs: &Path) -> Result<()> {
    let c = many_extents(setup, logs)?;
    let fio = format!(
        "fio --name=cold --filename={DEVICE} --direct=1 --rw=randwrite --bs=4k --iodepth=16 \
         --ioengine=libaio --number_ios=1500 --randseed=7 --output-format=terse"
    );
    let load = c.lab.node(0).spawn(&["/bin/sh", "-c", &fio])?;
    for options in [
        "--al-extents=89",
        "--al-updates=no",
        "--al-updates=yes",
        "--al-extents=67",
    ] {
        let at = c.state(0)?.counter("ns");
        c.sh(0, &format!("drbdsetup disk-options 1 {options}"))?;
        c.wait(0, "writes on", 60, |m| {
            m.counter("ns") > at + 100 || m.counter("ns") >= 6000
        })?;
    }
    let output = load.wait(std::time::Duration::from_secs(180))?;
    c.note(&output.text());
    output.success()?;
    let state = c.state(0)?;
    if state.counter("al") < 100 {
        return Err(Error::new(format!(
            "1500 writes to 150 extents with 67 slots made {} transactions",
            state.counter("al")
        )));
    }
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The other node dies; the writer goes on, and the one that comes back gets everything.
pub(super) fn secondary_power_cut(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs)?;
    let mut writer = write(&c, LOAD, 200)?;
    c.lab.node_mut(1).power_cut(PowerCut::Random(3))?;
    let before = writer.log().acknowledged();
    if !writer.listen(deadline(120), |log| log.acknowledged() >= before + 200) {
        return Err(Error::new(format!(
            "the writer did not go on alone: {:?}",
            writer.log().errors()
        )));
    }
    back(&mut c, 1)?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    let log = writer.stop();
    c.compare()?;
    log.check(c.lab.node(0).disk(DISK)?, "the writer's node")?;
    log.check(c.lab.node(1).disk(DISK)?, "the node that came back")?;
    if !log.errors().is_empty() {
        return Err(Error::new(format!("the writer saw {:?}", log.errors())));
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The peer loses its power right after a demotion, and what was in its disk's cache: a Secondary begins no generation
/// over that, so the demotion has to be over only when the peer has everything on stable storage.
pub(super) fn demoted(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs)?;
    // The barrier is sent when the write is complete, and is then on its way for so long.
    let slow = Conditions::late(Duration::from_millis(1500));
    c.lab.network().set(0, 1, slow);
    let script = format!("dd if=/dev/urandom of={DEVICE} bs=256k count=1 seek=9 oflag=direct 2>&1");
    c.sh(0, &script)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.lab.node_mut(1).power_cut(PowerCut::Drop)?;
    c.lab.network().heal_all();
    c.wait(0, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    back(&mut c, 1)?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    c.compare()?;
    c.finish()
}

/// Both die at once, and their disks lose what was not flushed: what was acknowledged as durable is there.
pub(super) fn both_power_cut(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs)?;
    let writer = write(
        &c,
        Load {
            durable: true,
            ..LOAD
        },
        150,
    )?;
    for node in 0..2 {
        c.lab
            .node_mut(node)
            .power_cut(PowerCut::Random(17 + node as u64))?;
    }
    let log = writer.lost();
    log.check(c.lab.node(0).disk(DISK)?, "n1 after the power cut")?;
    log.check(c.lab.node(1).disk(DISK)?, "n2 after the power cut")?;
    back(&mut c, 0)?;
    back(&mut c, 1)?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    c.compare()?;
    log.check(c.lab.node(0).disk(DISK)?, "n1 after the resync")?;
    c.finish()
}

/// The link goes and comes at random points under load.
pub(super) fn link_loss(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs)?;
    let mut writer = write(&c, LOAD, 50)?;
    for (round, pause) in [40u64, 75, 20].into_iter().enumerate() {
        let target = writer.log().acknowledged() + pause;
        if !writer.listen(deadline(90), |log| log.acknowledged() >= target) {
            return Err(Error::new(format!(
                "the writer is stuck: {:?}",
                writer.log().errors()
            )));
        }
        match round {
            0 => c.lab.network().cut_both(0, 1),
            1 => c.lab.network().cut(1, 0),
            _ => c.lab.node_mut(1).set_cable(false)?,
        }
        c.wait(0, "declares the peer gone", 90, |m| {
            m.connection != "Connected"
        })?;
        let target = writer.log().acknowledged() + 50;
        if !writer.listen(deadline(90), |log| log.acknowledged() >= target) {
            return Err(Error::new("the writer does not go on alone"));
        }
        c.lab.network().heal_all();
        c.lab.node_mut(1).set_cable(true)?;
        c.wait(0, "is mirrored again", 120, Minor::mirrored)?;
    }
    let log = writer.stop();
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.compare()?;
    log.check(c.lab.node(0).disk(DISK)?, "n1")?;
    log.check(c.lab.node(1).disk(DISK)?, "n2")?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// At ten thousand moments of a run the power of both nodes might have gone: what would differ then is marked on the
/// disks. The writes go to more extents than the log has slots, and the link is lost in between.
pub(super) fn crash_points(setup: Setup, logs: &Path) -> Result<()> {
    let c = many_extents(setup, logs)?;
    let disks = [c.lab.node(0).disk(DISK)?, c.lab.node(1).disk(DISK)?];
    let recorder = Arc::default();
    for (number, disk) in disks.iter().enumerate() {
        disk.record(&recorder, number)?;
    }
    let mut mirror = Mirror::of([disks[0], disks[1]], 1)?;
    let write = |seed: u32, count: u32| {
        let fio = format!(
            "fio --name=points --filename={DEVICE} --direct=1 --rw=randwrite --bs=4k --iodepth=16 --fsync=50 \
             --ioengine=libaio --number_ios={count} --randseed={seed} --output-format=terse"
        );
        c.sh(0, &fio).map(drop)
    };
    write(7, 600)?;
    c.lab.network().cut_both(0, 1);
    write(8, 200)?;
    c.wait(0, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    write(9, 200)?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    write(10, 200)?;
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
