// SPDX-License-Identifier: GPL-2.0-only

//! The first user's walkthrough with their configuration, verbatim.

use crate::cluster::{Cluster, Module, Setup, DEVICE, SEED};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, PowerCut, Result};
use std::path::Path;

/// Both nodes up, first sync, both primary, a file system, fail-over, the lost node back.
pub(super) fn run(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = Cluster::start(setup, logs, 16 << 20, SEED)?;
    for node in 0..2 {
        let said = c.sh(node, "drbdadm create-md r0 && drbdadm up r0")?;
        expect(&said, "New drbd meta data block successfully created.")?;
    }
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    for node in 0..2 {
        let text = c.proc_drbd(node)?;
        expect(
            &text,
            " 1: cs:Connected ro:Secondary/Secondary ds:Inconsistent/Inconsistent C r-----\n",
        )?;
        let version = if setup.modules[node] == Module::Stock {
            "86-101"
        } else {
            "100-101"
        };
        expect(
            &text,
            &format!("version: 8.4.11 (api:1/proto:{version})\nsrcversion: "),
        )?;
    }
    // A Secondary's device must not be used.
    let refused = c.run(
        0,
        &[
            "dd",
            &format!("if={DEVICE}"),
            "of=/dev/null",
            "bs=4k",
            "count=1",
        ],
    )?;
    expect(&refused.errors(), "Wrong medium type")?;

    c.drbdadm(0, &["--", "--overwrite-data-of-peer", "primary", "r0"])?;
    c.wait(0, "is the source", 30, |m| {
        m.connection == "SyncSource" || m.mirrored()
    })?;
    c.wait_both("is mirrored", 300, Minor::mirrored)?;
    expect(&c.drbdadm(0, &["role", "r0"])?, "Primary/Secondary")?;
    expect(&c.drbdadm(0, &["cstate", "r0"])?, "Connected")?;
    expect(&c.drbdadm(1, &["dstate", "r0"])?, "UpToDate/UpToDate")?;
    // Both primary, as the configuration allows; repeating changes nothing.
    c.drbdadm(1, &["primary", "r0"])?;
    c.wait_both("is dual primary", 30, |m| {
        m.roles == ("Primary".into(), "Primary".into())
    })?;
    c.drbdadm(1, &["primary", "r0"])?;
    c.drbdadm(1, &["secondary", "r0"])?;

    c.sh(
        0,
        &format!("mkfs.ext4 -q {DEVICE} && mkdir -p /data && mount {DEVICE} /data"),
    )?;
    let sum = c.sh(
        0,
        "dd if=/dev/urandom of=/data/file bs=64k count=40 2>/dev/null; sync; sha256sum /data/file",
    )?;
    c.compare()?;
    c.lab.node_mut(0).power_cut(PowerCut::Keep)?;
    c.wait(1, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.drbdadm(1, &["primary", "r0"])?;
    let there = c.sh(
        1,
        &format!("mkdir -p /data && mount {DEVICE} /data && sha256sum /data/file"),
    )?;
    if there != sum {
        return Err(Error::new(format!(
            "the file is not what it was: {sum} and {there}"
        )));
    }
    c.sh(1, "echo 'written by n2' >/data/second; umount /data")?;
    c.lab.node_mut(0).start()?;
    c.prepare(0)?;
    c.drbdadm(0, &["up", "r0"])?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    c.compare()?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.drbdadm(0, &["primary", "r0"])?;
    expect(
        &c.sh(
            0,
            &format!("mkdir -p /data && mount {DEVICE} /data && cat /data/second"),
        )?,
        "written by n2",
    )?;
    c.sh(0, "umount /data")?;
    c.drbdadm(0, &["secondary", "r0"])?;
    drbd_lab::until("both are secondary", deadline(30), || {
        Ok((c.state(1)?.roles == ("Secondary".into(), "Secondary".into())).then_some(()))
    })?;
    c.finish()
}

fn expect(text: &str, part: &str) -> Result<()> {
    if text.contains(part) {
        return Ok(());
    }
    Err(Error::new(format!("expected\n{part}\nin\n{text}")))
}
