// SPDX-License-Identifier: GPL-2.0-only

//! data-integrity-alg: every packet of data carries its digest, and data that were changed on their way are not written.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::path::Path;

fn config(net: &str) -> String {
    let net = net.into();
    let config = Config {
        net,
        ..Config::default()
    };
    config.text()
}

/// Writes, reads through the peer, and a resync, from `node` as Primary.
fn exercise(c: &Cluster, node: usize) -> Result<()> {
    let other = 1 - node;
    c.drbdadm(other, &["secondary", "r0"])?;
    c.drbdadm(node, &["primary", "r0"])?;
    c.write_noise(node, 1, 2)?;
    c.compare()?;
    let sum = || {
        let script = format!("dd if={DEVICE} bs=64k count=64 iflag=direct 2>/dev/null | sha256sum");
        c.sh(node, &script)
    };
    let before = sum()?;
    c.drbdadm(node, &["detach", "r0"])?;
    c.wait(node, "is diskless", 30, |m| m.disks.0 == "Diskless")?;
    if sum()? != before {
        return Err(Error::new(
            "what is read through the peer is something else",
        ));
    }
    c.write_noise(node, 5, 1)?;
    c.drbdadm(node, &["attach", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()
}

fn failures(c: &Cluster, node: usize) -> Result<u64> {
    let text = c.sh(node, "dmesg | grep -c 'integrity check FAILED' || true")?;
    text.trim()
        .parse()
        .map_err(|_| Error::new(format!("'{text}' is no number")))
}

/// Both directions, another algorithm while it runs, and a writer that changes its buffer in flight.
pub(super) fn checked(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &config("data-integrity-alg sha1;"))?;
    c.mirror(0)?;
    exercise(&c, 1)?;
    // One node announces another digest; the other hears of the policy as well.
    let changed = config("data-integrity-alg crc32c; after-sb-0pri discard-zero-changes;");
    c.configure(0, &changed)?;
    c.drbdadm(0, &["adjust", "r0"])?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    exercise(&c, 0)?;
    let shown = c.sh(1, "drbdsetup show r0")?;
    if !shown.contains("discard-zero-changes") {
        return Err(Error::new(format!("the peer did not take over:\n{shown}")));
    }
    c.configure(1, &changed)?;
    c.drbdadm(1, &["adjust", "r0"])?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.drbdadm(0, &["primary", "r0"])?;
    c.write_noise(0, 3, 1)?;
    for node in 0..2 {
        if failures(&c, node)? != 0 {
            return Err(Error::new(format!("n{}: digests were wrong", node + 1)));
        }
    }
    if setup.modules[0] == Module::Drbdrs {
        changed_in_flight(&c)?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// A buffer that changes in flight does no harm where data are copied, and is found by the digest where not.
fn changed_in_flight(c: &Cluster) -> Result<()> {
    let scribble = || {
        let script = format!("/proc/1/exe scribble {DEVICE} 2048 200 65536");
        c.sh(0, &script).map(drop)
    };
    scribble()?;
    c.compare()?;
    if failures(c, 1)? != 0 {
        return Err(Error::new("a copy was changed in flight"));
    }
    let switch = |on: u32| {
        let script = format!("echo {on} > /sys/module/drbdrs/parameters/stable_buffers");
        c.sh(0, &script)
    };
    switch(0)?;
    scribble()?;
    switch(1)?;
    if failures(c, 1)? == 0 {
        return Err(Error::new("changed data were not noticed"));
    }
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.write_noise(0, 0, 8)?;
    c.compare()
}
