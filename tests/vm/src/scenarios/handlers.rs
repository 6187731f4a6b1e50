// SPDX-License-Identifier: GPL-2.0-only

//! The administrator's handlers: when each is called, what it is told, and what its exit code does.

use crate::cluster::{Cluster, Config, Setup, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, until, Error, Result};
use std::path::Path;

const SIZE: u64 = 16 << 20;

/// Those that are only looked at, in the configuration.
const NAMES: [&str; 7] = [
    "before-resync-target",
    "before-resync-source",
    "after-resync-target",
    "initial-split-brain",
    "split-brain",
    "pri-on-incon-degr",
    "out-of-sync",
];

/// Writes down what it was told (the stock tool tells itself not to warn); fails once if that is wanted.
const HANDLER: &str = "#!/bin/sh\n\
    env | grep '^DRBD_' | grep -v DONT_WARN | sort > /tmp/$1.new\n\
    mv /tmp/$1.new /tmp/$1.told\n\
    ! rm /tmp/$1.fail 2>/dev/null\n";

fn start(setup: Setup, logs: &Path) -> Result<Cluster> {
    let config = Config {
        net: "verify-alg crc32c; after-sb-0pri discard-zero-changes;".into(),
        ..Config::default()
    };
    let handlers: String = NAMES
        .iter()
        .map(|name| format!("{name} \"/lab/handler {name}\"; "))
        .collect();
    let text = config.text().replace(
        " device /dev/drbd1",
        &format!(" handlers {{ {handlers} }} device /dev/drbd1"),
    );
    let c = Cluster::start(setup, logs, SIZE, &text)?;
    c.both(|node| {
        c.lab
            .node(node)
            .put("/lab/handler", HANDLER.as_bytes(), 0o755)
    })?;
    Ok(c)
}

/// What the stock driver and its tools tell a handler on `node`.
fn environment(node: usize) -> String {
    let (peer, host) = (2 - node, 12 - node);
    format!(
        "DRBD_CONF=/etc/drbd.conf\nDRBD_LL_DISK=/dev/sdb\nDRBD_MINOR=1\nDRBD_PEER=iSCSI{peer}.au.intranet\n\
         DRBD_PEERS=iSCSI{peer}.au.intranet\nDRBD_PEER_ADDRESS=10.254.11.{host}\nDRBD_PEER_AF=ipv4\n\
         DRBD_RESOURCE=r0\nDRBD_VOLUME=0\n"
    )
}

/// Waits until exactly the handlers `expected` were called since the last question, as (node, name), and were told all.
fn called(c: &Cluster, expected: &[(usize, &str)]) -> Result<()> {
    let mut expected: Vec<String> = expected
        .iter()
        .map(|(node, name)| format!("n{}: {name}", node + 1))
        .collect();
    expected.sort();
    let mut last = Vec::new();
    until("the handlers are called", deadline(60), || {
        last.clear();
        for node in 0..2 {
            let names = c.sh(node, "cd /tmp; ls | sed -n 's/\\.told$//p'")?;
            last.extend(names.lines().map(|name| format!("n{}: {name}", node + 1)));
        }
        last.sort();
        Ok(expected
            .iter()
            .all(|name| last.contains(name))
            .then_some(()))
    })
    .map_err(|e| Error::new(format!("{e}: expected {expected:?}, called were {last:?}")))?;
    if last != expected {
        return Err(Error::new(format!(
            "called were {last:?}, and not {expected:?}"
        )));
    }
    for node in 0..2 {
        let script =
            "cd /tmp; for f in *.told; do [ -e $f ] && cat $f && echo $f && rm $f; done; true";
        let told = c.sh(node, script)?;
        for part in told.split_inclusive(".told\n") {
            if !part.starts_with(&environment(node)) {
                return Err(Error::new(format!(
                    "a handler of n{} was told\n{part}and not\n{}",
                    node + 1,
                    environment(node)
                )));
            }
        }
    }
    Ok(())
}

/// Each handler is called when it should be, and no other, with the environment of 8.4.
pub(super) fn logged(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs)?;
    c.mirror(0)?;
    called(&c, &RESYNC)?;
    for (refuses, name) in [(1, "before-resync-target"), (0, "before-resync-source")] {
        refused(&c, refuses, name)?;
    }
    found_out_of_sync(&c)?;
    split_brain(&c)?;
    no_good_data(&c)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// A resync from n1 to n2.
const RESYNC: [(usize, &str); 3] = [
    (0, "before-resync-source"),
    (1, "before-resync-target"),
    (1, "after-resync-target"),
];

/// A handler that fails before a resync: the connection is dropped, and nothing is resynced.
fn refused(c: &Cluster, node: usize, name: &str) -> Result<()> {
    c.drbdadm(1, &["disconnect", "r0"])?;
    c.wait(0, "is alone", 60, |m| m.connection == "WFConnection")?;
    c.write_noise(0, 3, 1)?;
    let before = c.lab.node(1).disk(DISK)?.contents(3 << 20, 1 << 20)?;
    c.sh(node, &format!("touch /tmp/{name}.fail"))?;
    c.drbdadm(1, &["connect", "r0"])?;
    c.wait(node, "drops the connection", 60, |m| {
        m.connection == "StandAlone"
    })?;
    c.wait(1 - node, "has lost the connection", 60, |m| {
        m.connection == "WFConnection"
    })?;
    let marked = c.state(0)?.counter("oos");
    let now = c.lab.node(1).disk(DISK)?.contents(3 << 20, 1 << 20)?;
    if marked != 1024 || now != before {
        return Err(Error::new(format!(
            "{name} refused, {marked} KiB are out of sync, n2's disk is {}",
            if now == before {
                "untouched"
            } else {
                "written"
            }
        )));
    }
    c.drbdadm(node, &["connect", "r0"])?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.compare()?;
    called(c, &RESYNC)
}

fn found_out_of_sync(c: &Cluster) -> Result<()> {
    c.lab.node(1).disk(DISK)?.overwrite(5 << 20, &[7; 4096])?;
    c.drbdadm(0, &["verify", "r0"])?;
    called(c, &[(0, "out-of-sync"), (1, "out-of-sync")])?;
    c.wait_both("has verified", 60, |m| m.connection == "Connected")?;
    c.drbdadm(1, &["disconnect", "r0"])?;
    c.wait(0, "is alone", 60, |m| m.connection == "WFConnection")?;
    c.drbdadm(1, &["connect", "r0"])?;
    c.wait_both("is mirrored", 60, |m| m.mirrored() && m.counter("oos") == 0)?;
    c.compare()?;
    called(c, &RESYNC)
}

/// Both were Primary apart, one wrote: the policy decides, and only the first of the two handlers is called.
fn split_brain(c: &Cluster) -> Result<()> {
    c.lab.network().cut_both(0, 1);
    c.wait_both("is alone", 90, |m| m.connection == "WFConnection")?;
    c.drbdadm(1, &["primary", "r0"])?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.write_noise(0, 8, 1)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored", 90, Minor::mirrored)?;
    c.compare()?;
    let both = [(0, "initial-split-brain"), (1, "initial-split-brain")];
    called(c, &[&RESYNC[..], &both[..]].concat())?;
    c.drbdadm(0, &["primary", "r0"]).map(drop)
}

/// A Primary without a disk loses its peer.
fn no_good_data(c: &Cluster) -> Result<()> {
    c.drbdadm(0, &["detach", "r0"])?;
    c.wait(0, "has no disk", 30, |m| m.disks.0 == "Diskless")?;
    called(c, &[])?;
    c.lab.network().cut_both(0, 1);
    called(c, &[(0, "pri-on-incon-degr")])?;
    c.lab.network().heal_all();
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    c.drbdadm(0, &["attach", "r0"])?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.compare()
}
