// SPDX-License-Identifier: GPL-2.0-only

//! The node that serves loses its power while the mirror has a fencing policy: the survivor has its peer fenced before
//! it serves, the initiator waits for that and sees no error, and the peer is let in again once it is in sync.

use super::san::{self, LOAD};
use crate::cluster::{Cluster, Setup};
use crate::initiator::{self, INITIATOR, MAP};
use crate::proc_drbd::Minor;
use crate::stall::Heard;
use drbd_lab::{deadline, until, Error, PowerCut, Process, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// The handlers, as a machine with a switched power outlet has them: the peer is fenced until it is in sync again. The
/// outlet is the lab's, so the scenario answers for it.
const HANDLER: &str = "#!/bin/sh\n\
    case $1 in\n\
    fence) touch /tmp/fenced; until [ -e /tmp/answer ]; do sleep 0.1; done; exit $(cat /tmp/answer) ;;\n\
    unfence) rm /tmp/fenced ;;\n\
    esac\n";

/// The answer of a handler that has switched the peer off.
const SHOT: u8 = 7;
/// The answer of a handler that could not.
const FAILED: u8 = 1;
/// How long an initiator may wait once the survivor may serve: it is noticed, exported, logged in to.
const GOES_ON: u64 = 30;

/// Both nodes mirrored and exported, with that policy; the first one serves, and the initiator has two paths.
fn start(setup: Setup, logs: &Path, fencing: &str) -> Result<Cluster> {
    let sections = format!(
        "disk {{ fencing {fencing}; }}\n\
         handlers {{ fence-peer \"/lab/fence fence\"; unfence-peer \"/lab/fence unfence\"; }}\n\
         device /dev/drbd1;"
    );
    let config = san::tuned().replace("device /dev/drbd1;", &sections);
    let c = san::start_with(setup, logs, &config)?;
    c.both(|node| handlers(&c, node))?;
    san::serve(&c, 0, "active")?;
    san::serve(&c, 1, "standby")?;
    initiator::login(&c)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    Ok(c)
}

/// Puts the handlers in their place; our drbdadm calls them, as on a machine that has only ours.
fn handlers(c: &Cluster, node: usize) -> Result<()> {
    c.lab
        .node(node)
        .put("/lab/fence", HANDLER.as_bytes(), 0o755)?;
    let parameter = "/sys/module/drbdrs/parameters/usermode_helper";
    c.sh(
        node,
        &format!("printf /usr/local/sbin/drbdadm >{parameter}"),
    )
    .map(drop)
}

fn answer(c: &Cluster, node: usize, code: u8) -> Result<()> {
    let script = format!("echo {code} >/tmp/answer.new && mv /tmp/answer.new /tmp/answer");
    c.sh(node, &script).map(drop)
}

/// Waits until the exporter says that.
fn says(follower: &Process, wanted: &str) -> Result<()> {
    let mut said = String::new();
    until(&format!("'{wanted}' is said"), deadline(60), || {
        while let Some(frame) = follower.try_next() {
            said.push_str(&String::from_utf8_lossy(&frame.payload));
        }
        Ok(said.contains(wanted).then_some(()))
    })
    .map_err(|e| Error::new(format!("{e}; but:\n{said}")))
}

fn is_fenced(c: &Cluster, by: usize) -> Result<bool> {
    Ok(c.run(by, &["test", "-e", "/tmp/fenced"])?.code == 0)
}

/// A node that has lost the one that serves has frozen its I/O and called `fence-peer`, and does not serve.
fn freezes(c: &Cluster, node: usize, follower: &Process) -> Result<()> {
    c.wait(node, "has frozen its I/O", 60, Minor::frozen)?;
    until("fence-peer is called", deadline(30), || {
        Ok(is_fenced(c, node)?.then_some(()))
    })?;
    says(
        follower,
        "/dev/drbd1: standby: the peer is lost and not fenced yet",
    )
}

/// The initiator's writes go on soon after `since`, at which the survivor was free to serve.
fn soon(load: &Heard, since: Instant) -> Result<Duration> {
    load.goes_on(1)?;
    let waited = since.elapsed();
    if waited > deadline(GOES_ON) {
        return Err(Error::new(format!(
            "the survivor may serve, and the initiator waited {waited:?} more"
        )));
    }
    load.goes_on(200)?;
    Ok(waited)
}

/// A node that lost its power is part of the mirror again, as standby; it is fenced until it is in sync.
fn returns(c: &mut Cluster, node: usize) -> Result<()> {
    san::boot_again(c, node)?;
    handlers(c, node)?;
    if !is_fenced(c, 1 - node)? {
        return Err(Error::new("the peer was let in before it was in sync"));
    }
    san::join_again(c, node)?;
    until("the peer is let in again", deadline(30), || {
        Ok((!is_fenced(c, 1 - node)?).then_some(()))
    })
}

/// The policy `resource-and-stonith`: the survivor freezes until the handler has an answer. The first one is that the
/// peer is off, and all goes on. Then the nodes' parts are exchanged, the handler fails, and the survivor stays frozen, as
/// configured, until the administrator says `resume-io`.
pub(super) fn frozen(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs, "resource-and-stonith")?;
    let follower = san::follow(&c, 1)?;
    let load = Heard::start(c.lab.node(INITIATOR), MAP, LOAD)?;
    load.goes_on(200)?;
    load.longest();
    c.lab.node_mut(0).power_cut(PowerCut::Keep)?;
    freezes(&c, 1, &follower)?;
    let answered = Instant::now();
    answer(&c, 1, SHOT)?;
    says(&follower, "/dev/drbd1: active: the peer is lost and fenced")?;
    let after = soon(&load, answered)?;
    c.wait(1, "goes on", 10, |m| !m.frozen() && m.disks.1 == "Outdated")?;
    println!(
        "san: longest stall at a power cut with fencing: {:.1} s, {:.1} s of it after the answer of fence-peer",
        load.longest().as_secs_f64(),
        after.as_secs_f64()
    );
    returns(&mut c, 0)?;

    let follower = san::follow(&c, 0)?;
    load.goes_on(50)?;
    c.lab.node_mut(1).power_cut(PowerCut::Keep)?;
    freezes(&c, 0, &follower)?;
    let acknowledged = load.acknowledged();
    answer(&c, 0, FAILED)?;
    until("the handler has failed", deadline(60), || {
        let script = format!("dmesg | grep -c 'fence-peer.* exit code {FAILED}' || true");
        Ok((c.sh(0, &script)?.trim() != "0").then_some(()))
    })?;
    c.wait(0, "stays frozen", 10, |m| {
        m.frozen() && m.disks.1 == "DUnknown"
    })?;
    san::expect(&san::export(&c, 0, &["status"])?, "unit /dev/drbd1 standby")?;
    if load.acknowledged() != acknowledged {
        return Err(Error::new("a write was acknowledged by frozen I/O"));
    }
    let resumed = Instant::now();
    c.drbdadm(0, &["resume-io", "r0"])?;
    let after = soon(&load, resumed)?;
    println!(
        "san: the initiator went on {:.1} s after resume-io, where fence-peer had failed",
        after.as_secs_f64()
    );
    returns(&mut c, 1)?;
    end(&c, load, follower)
}

/// The policy `resource-only`, and a cluster manager that has one Primary: the survivor is Secondary, its promotion fences
/// the peer, or is refused, and then it serves.
pub(super) fn promoted(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = start(setup, logs, "resource-only")?;
    san::export(&c, 1, &["remove"])?;
    c.drbdadm(1, &["secondary", "r0"])?;
    initiator::wait_paths(&c, 1, 0, 60)?;
    let follower = san::follow(&c, 1)?;
    says(
        &follower,
        "/dev/drbd1: not exported: this node is not Primary",
    )?;
    let load = Heard::start(c.lab.node(INITIATOR), MAP, LOAD)?;
    load.goes_on(200)?;
    load.longest();
    c.lab.node_mut(0).power_cut(PowerCut::Keep)?;
    c.wait(1, "is alone", 60, |m| m.connection == "WFConnection")?;
    answer(&c, 1, FAILED)?;
    let refused = c.run(1, &["drbdadm", "primary", "r0"])?;
    if refused.code == 0 {
        return Err(Error::new("promoted though the peer could not be fenced"));
    }
    answer(&c, 1, SHOT)?;
    c.drbdadm(1, &["primary", "r0"])?;
    let promoted = Instant::now();
    let after = soon(&load, promoted)?;
    println!(
        "san: longest stall at a power cut and a promotion that fences: {:.1} s, {:.1} s of it after the promotion",
        load.longest().as_secs_f64(),
        after.as_secs_f64()
    );
    c.wait(1, "has fenced its peer", 10, |m| m.disks.1 == "Outdated")?;
    returns(&mut c, 0)?;
    end(&c, load, follower)
}

fn end(c: &Cluster, load: Heard, follower: Process) -> Result<()> {
    load.goes_on(50)?;
    san::nothing_is_missing(c, &load.stop()?)?;
    follower.kill(15)?;
    san::finish(c)
}
