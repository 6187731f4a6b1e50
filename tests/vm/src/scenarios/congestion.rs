// SPDX-License-Identifier: GPL-2.0-only

//! `on-congestion`: a primary runs ahead of a peer behind a slow link, and brings it up to date afterwards.

use crate::acks::{Load, Writer};
use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, switch::Conditions, Error, Result};
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 16 << 20;

const LOAD: Load = Load {
    blocks: SIZE / 4096 / 2,
    threads: 4,
    count: 0,
    seed: 5,
    durable: false,
};

fn start(setup: Setup, logs: &Path, policy: &str) -> Result<Cluster> {
    let config = Config {
        protocol: 'A',
        net: format!("on-congestion {policy}; congestion-fill 1M; sndbuf-size 8M;"),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, SIZE, &config.text())?;
    c.mirror(0)?;
    Ok(c)
}

/// The way to the peer takes most of a second: what is in flight fills up.
fn slow(c: &Cluster, delay: Duration) {
    for (from, to) in [(0, 1), (1, 0)] {
        let conditions = c.lab.network().conditions(from, to);
        c.lab.network().set(
            from,
            to,
            Conditions {
                delay,
                ..conditions
            },
        );
    }
}

/// Ahead and Behind, marks instead of data, a resync when nothing is in flight any more.
pub(super) fn pull_ahead(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "pull-ahead")?;
    slow(&c, Duration::from_millis(700));
    let mut writer = Writer::start(c.lab.node(0), DEVICE, LOAD)?;
    let mut ahead = || {
        writer.listen(Duration::from_millis(20), |_| false);
        let state = c.state(0)?;
        Ok((state.connection == "Ahead").then_some(state))
    };
    let state = drbd_lab::until("n1 is ahead", deadline(60), &mut ahead)?;
    if state.disks != ("UpToDate".into(), "Consistent".into()) {
        return Err(Error::new(format!("ahead with disks {:?}", state.disks)));
    }
    c.wait(1, "is behind", 30, |m| {
        m.connection == "Behind" && m.disks == ("Outdated".into(), "UpToDate".into())
    })?;
    // Writes go on at the speed of the disk, and only marks travel.
    let sent = c.lab.network().traffic(0, 1).bytes;
    let acknowledged = writer.log().acknowledged();
    writer.listen(deadline(30), |log| log.acknowledged() >= acknowledged + 500);
    let written = (writer.log().acknowledged() - acknowledged) * 4096;
    let sent = c.lab.network().traffic(0, 1).bytes - sent;
    c.note(&format!(
        "ahead: {written} bytes written, {sent} bytes sent"
    ));
    let state = c.state(0)?;
    if state.connection == "Ahead" && sent > written / 2 {
        return Err(Error::new(format!(
            "{sent} bytes were sent for {written} written ones"
        )));
    }
    slow(&c, Duration::ZERO);
    let log = writer.stop();
    c.wait_both("is mirrored again", 120, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    c.compare()?;
    for node in 0..2 {
        log.check(c.lab.node(node).disk(DISK)?, &format!("n{}", node + 1))?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// `drbdsetup status` says when the send buffer is full, and when it is not any more.
pub(super) fn send_buffer(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        protocol: 'A',
        net: "sndbuf-size 256k;".into(),
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, SIZE, &config.text())?;
    c.mirror(0)?;
    let says = |word: &str| {
        let status = c.sh(0, "drbdsetup status r0 --verbose --statistics")?;
        Ok(status.contains(&format!("congested:{word}")).then_some(()))
    };
    drbd_lab::until("the send buffer is empty", deadline(10), || says("no"))?;
    c.lab.network().cut(0, 1);
    let mut writer = Writer::start(c.lab.node(0), DEVICE, LOAD)?;
    drbd_lab::until("the send buffer is full", deadline(20), || {
        writer.listen(Duration::from_millis(20), |_| false);
        says("yes")
    })?;
    c.lab.network().heal_all();
    let log = writer.stop();
    drbd_lab::until("it is empty again", deadline(60), || says("no"))?;
    c.wait_both("is mirrored", 120, Minor::mirrored)?;
    c.compare()?;
    log.check(c.lab.node(1).disk(DISK)?, "n2")?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// Ahead, back and ahead again while the application writes the same few blocks: no mark may get lost on the way.
pub(super) fn ahead_and_back(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "pull-ahead")?;
    let hot = Load {
        blocks: 600,
        ..LOAD
    };
    let mut writer = Writer::start(c.lab.node(0), DEVICE, hot)?;
    for round in 1..=3 {
        slow(&c, Duration::from_millis(500));
        let what = format!("n1 is ahead, round {round}");
        drbd_lab::until(&what, deadline(60), || {
            writer.listen(Duration::from_millis(20), |_| false);
            Ok((c.state(0)?.connection == "Ahead").then_some(()))
        })?;
        slow(&c, Duration::ZERO);
        drbd_lab::until("n1 is back", deadline(60), || {
            writer.listen(Duration::from_millis(20), |_| false);
            Ok((c.state(0)?.connection != "Ahead").then_some(()))
        })?;
    }
    let log = writer.stop();
    c.wait_both("is mirrored again", 120, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    c.compare()?;
    for node in 0..2 {
        log.check(c.lab.node(node).disk(DISK)?, &format!("n{}", node + 1))?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The other policy gives the connection up; only the way to the peer is lost, no write is.
pub(super) fn disconnect(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "disconnect")?;
    slow(&c, Duration::from_millis(700));
    let mut writer = Writer::start(c.lab.node(0), DEVICE, LOAD)?;
    drbd_lab::until("n1 has given up", deadline(60), || {
        writer.listen(Duration::from_millis(20), |_| false);
        Ok((c.state(0)?.connection == "StandAlone").then_some(()))
    })?;
    slow(&c, Duration::ZERO);
    let log = writer.stop();
    log.check(c.lab.node(0).disk(DISK)?, "n1")?;
    c.wait(1, "waits", 60, |m| m.connection == "WFConnection")?;
    c.drbdadm(0, &["connect", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    log.check(c.lab.node(1).disk(DISK)?, "n2")?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
