// SPDX-License-Identifier: GPL-2.0-only

//! Metadata on a device of its own, in both forms: created, synced, detached, attached again, used by the other module.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE};
use crate::proc_drbd::Minor;
use drbd_lab::{DiskSpec, Error, LabConfig, PowerCut, Result};
use std::path::Path;

const SIZE: u64 = 16 << 20;

fn config(meta_disk: &str) -> String {
    Config {
        meta_disk: meta_disk.into(),
        ..Config::default()
    }
    .text()
}

fn sum(c: &Cluster) -> Result<String> {
    c.sh(
        0,
        &format!("dd if={DEVICE} bs=64k iflag=direct 2>/dev/null | sha256sum"),
    )
}

/// A flexible device, then the second slot of an indexed one.
pub(super) fn metadata(setup: Setup, logs: &Path) -> Result<()> {
    let mut lab = LabConfig::pair(SIZE);
    for node in &mut lab.nodes {
        node.disks[0] = DiskSpec::new("sda", 260 << 20);
    }
    let c = Cluster::start_with(setup, logs, lab, &config("/dev/sda"))?;
    life(&c, "flex-external")?;
    c.both(|node| {
        c.down(node)?;
        // The stock create-md asks a person when the device begins with something.
        c.sh(
            node,
            "dd if=/dev/zero of=/dev/sda bs=1M count=4 conv=fsync 2>&1",
        )?;
        c.configure(node, &config("/dev/sda[1]"))
    })?;
    life(&c, "1")?;
    c.finish()
}

/// One form of metadata, which `drbdmeta` calls `place`.
fn life(c: &Cluster, place: &str) -> Result<()> {
    c.mirror(0)?;
    // Nothing of the disk is taken away.
    let size = c.device_size(0, 1)?;
    if size != SIZE {
        return Err(Error::new(format!(
            "{place}: the device has {size} bytes of {SIZE}"
        )));
    }
    c.write_noise(0, 15, 1)?;
    c.compare()?;
    // What is written while the second node has no disk is all that is sent when it has it again.
    c.drbdadm(1, &["detach", "r0"])?;
    c.write_noise(0, 3, 1)?;
    c.drbdadm(1, &["attach", "r0"])?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.compare()?;
    let written = sum(c)?;
    // One after the other: of two that leave each other at once, one takes its data for outdated.
    for node in 0..2 {
        c.down(node)?;
    }
    c.both(|node| {
        c.unload(node)?;
        let own = c.setup.modules[node];
        c.load(
            node,
            if own == Module::Stock {
                Module::Drbdrs
            } else {
                Module::Stock
            },
        )?;
        let line = format!("drbdmeta 1 v08 /dev/sda {place} dstate");
        let state = c.sh(node, &line)?;
        if state.trim() != "Consistent" {
            return Err(Error::new(format!("{line}: {state}")));
        }
        c.drbdadm(node, &["up", "r0"])
    })?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    if c.state(0)?.counter("ns") + c.state(1)?.counter("ns") > 0 {
        return Err(Error::new(format!(
            "{place}: the other module's metadata led to a resync"
        )));
    }
    c.drbdadm(0, &["primary", "r0"])?;
    if sum(c)? != written {
        return Err(Error::new(format!(
            "{place}: the data are not what the other module wrote"
        )));
    }
    for node in 0..2 {
        c.down(node)?;
    }
    c.both(|node| {
        c.unload(node)?;
        c.load(node, c.setup.modules[node])?;
        c.drbdadm(node, &["up", "r0"])
    })?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.drbdadm(0, &["primary", "r0"])?;
    if sum(c)? != written {
        return Err(Error::new(format!("{place}: the data changed")));
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.compare()
}

/// The data device forgets what was not flushed, the metadata device does not: what a resync brought must be stable
/// before the metadata say that it is there.
pub(super) fn cache(setup: Setup, logs: &Path) -> Result<()> {
    let mut lab = LabConfig::pair(SIZE);
    for node in &mut lab.nodes {
        node.disks[0] = DiskSpec::new("sda", 8 << 20);
    }
    let mut c = Cluster::start_with(setup, logs, lab, &config("/dev/sda"))?;
    c.mirror(0)?;
    c.drbdadm(1, &["disconnect", "r0"])?;
    c.write_noise(0, 4, 2)?;
    c.drbdadm(1, &["connect", "r0"])?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.lab.node_mut(1).power_cut(PowerCut::Drop)?;
    c.wait(0, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.lab.node_mut(1).start()?;
    c.prepare(1)?;
    c.drbdadm(1, &["up", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
