// SPDX-License-Identifier: GPL-2.0-only

//! Two primaries: overlapping writes on both nodes, and when they lose each other.

use crate::cluster::{Cluster, Config, Setup, Tools, DEVICE};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, Result};
use std::path::Path;

fn config(protocol: char) -> Config {
    Config {
        protocol,
        net: "allow-two-primaries yes;".to_owned(),
        ..Config::default()
    }
}

fn both_primary(c: &Cluster) -> Result<()> {
    c.both(|node| c.drbdadm(node, &["primary", "r0"]))?;
    c.wait_both("is dual primary", 30, |m| {
        m.roles == ("Primary".into(), "Primary".into())
    })
}

/// A command that must be refused, with these words.
fn refused(c: &Cluster, node: usize, script: &str, words: &str) -> Result<()> {
    let output = c.run(node, &["/bin/sh", "-c", script])?;
    let said = output.text() + &output.errors();
    if output.code != 0 && said.contains(words) {
        return Ok(());
    }
    Err(Error::new(format!(
        "'{script}' ended with {} and said\n{said}instead of being refused with '{words}'",
        output.code
    )))
}

/// Writers on both nodes, on the same few blocks, at offsets and lengths that overlap in part. Both disks end equal.
///
/// Not with the stock driver: after a few such writes two of them lose each other (`BAD! BarrierAck #2 received,
/// expected #1!`, or `ASSERTION FAILED: connection->current_epoch->list not empty`) and end in a split brain, or one
/// reads freed memory in `drbd_remove_interval`. We take the barrier that it skips for confirmed by the next one, which
/// is enough most of the time; but it also counts a write that we told it to retry, until it has written ours. To
/// confirm its epoch only then is no cure: the one thread that submits such writes again then waits for a second one,
/// submitted meanwhile, which is told to retry as well and queues behind that thread.
pub(super) fn overlapping(setup: Setup, logs: &Path) -> Result<()> {
    writers(setup, logs, 0)
}

/// Writers on both nodes, each on blocks of its own: what a cluster file system does, which has locks.
pub(super) fn apart(setup: Setup, logs: &Path) -> Result<()> {
    writers(setup, logs, 1024)
}

/// Both nodes write; the second one's blocks begin `apart` sectors behind the first one's.
fn writers(setup: Setup, logs: &Path, apart: u64) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &config('C').text())?;
    c.both(|node| c.drbdadm(node, &["create-md", "r0"]))?;
    c.configure(0, &config('A').text())?;
    // Our drbdadm says so at its place in the file; the stock one leaves it to the driver.
    let words = match setup.tools {
        Tools::Drbdrs => "two Primaries need protocol C",
        Tools::Stock => "(139)",
    };
    refused(&c, 0, "drbdadm up r0", words)?;
    if setup.tools == Tools::Stock {
        c.down(0)?;
    }
    for node in 0..2 {
        c.configure(node, &config('C').text())?;
    }
    c.both(|node| c.drbdadm(node, &["up", "r0"]))?;
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    c.first_sync(0)?;
    both_primary(&c)?;
    for (round, sectors) in [64u64, 512, 24].into_iter().enumerate() {
        c.both(|node| {
            let (seed, first) = (10 * round + node + 1, apart * node as u64);
            let script = format!("/proc/1/exe overlap {DEVICE} {sectors} 4 200 {seed} {first}");
            c.sh(node, &script)
        })?;
        c.compare()?;
    }
    // A demotion under the other node's writes: it is refused while somebody has the device open, and harms no one.
    let hold = format!("exec 3<>{DEVICE}; drbdadm secondary r0");
    refused(&c, 1, &hold, "Device is held open")?;
    c.sh(
        1,
        &format!("mkfs.ext4 -q {DEVICE} && mkdir -p /data && mount {DEVICE} /data"),
    )?;
    refused(&c, 1, "drbdadm secondary r0", "Device is held open")?;
    c.sh(1, "umount /data")?;
    c.both(|node| {
        if node == 0 {
            return c.sh(0, &format!("/proc/1/exe overlap {DEVICE} 512 4 200 77 0"));
        }
        c.sh(
            1,
            "for i in 1 2 3; do drbdadm secondary r0 && drbdadm primary r0 || exit 1; done",
        )
    })?;
    c.compare()?;
    c.both(|node| c.drbdadm(node, &["secondary", "r0"]))?;
    c.finish()
}

/// The link goes while both are primary and both go on writing: they do not connect again until one is told to give
/// up its changes, and then have the other's.
pub(super) fn split_brain(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &config('C').text())?;
    c.mirror(0)?;
    both_primary(&c)?;
    c.lab.network().cut_both(0, 1);
    c.wait_both("is alone", 90, |m| {
        m.connection != "Connected" && m.roles.1 == "Unknown"
    })?;
    c.write_noise(0, 1, 1)?;
    c.write_noise(1, 1, 2)?;
    let sum = format!("dd if={DEVICE} bs=1M count=4 iflag=direct 2>/dev/null | sha256sum");
    let first = c.sh(0, &sum)?;
    let second = c.sh(1, &sum)?;
    if first == second {
        return Err(Error::new("the nodes did not write alone"));
    }
    c.lab.network().heal_all();
    drbd_lab::until("both see the split brain", deadline(90), || {
        let alone = |node: usize| Ok::<_, Error>(c.state(node)?.connection);
        let (a, b) = (alone(0)?, alone(1)?);
        let given_up = [&a, &b].into_iter().any(|state| state == "StandAlone");
        Ok((given_up && a != "Connected" && b != "Connected").then_some(()))
    })?;
    // Neither has taken anything from the other.
    if c.sh(0, &sum)? != first || c.sh(1, &sum)? != second {
        return Err(Error::new("a node's data changed in the split brain"));
    }
    c.drbdadm(1, &["secondary", "r0"])?;
    // It may be StandAlone already, which the stock tools call a failure.
    c.run(1, &["drbdadm", "disconnect", "r0"])?;
    c.drbdadm(1, &["connect", "--discard-my-data", "r0"])?;
    if c.state(0)?.connection == "StandAlone" {
        c.drbdadm(0, &["connect", "r0"])?;
    }
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    if c.sh(0, &sum)? != first {
        return Err(Error::new("the survivor lost its data"));
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
