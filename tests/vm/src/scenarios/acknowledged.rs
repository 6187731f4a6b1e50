// SPDX-License-Identifier: GPL-2.0-only

//! No acknowledged write is lost: the log of acknowledgements is kept outside the guests.

use crate::acks::{Load, Writer};
use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, PowerCut, Result};
use std::path::Path;

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
