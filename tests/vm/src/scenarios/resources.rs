// SPDX-License-Identifier: GPL-2.0-only

//! Resources that are not the first user's: a shared secret, several volumes, addresses of IPv6.

use crate::cluster::{Cluster, Config, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, DiskSpec, Error, LabConfig, Result};
use std::path::Path;

const SIZE: u64 = 16 << 20;

/// The nodes disagree on a setting that both must have: both say so and give up, and meet when they agree.
pub(super) fn settings_disagree(setup: Setup, logs: &Path) -> Result<()> {
    let right = Config::default().text();
    let wrong = Config {
        net: "after-sb-0pri discard-older-primary;".into(),
        ..Config::default()
    }
    .text();
    let c = Cluster::start(setup, logs, SIZE, &right)?;
    c.mirror(0)?;
    c.down(1)?;
    c.configure(1, &wrong)?;
    c.drbdadm(1, &["up", "r0"])?;
    c.wait_both("gives up", 60, |m| m.connection == "StandAlone")?;
    c.write_noise(0, 3, 1)?;
    c.down(1)?;
    c.configure(1, &right)?;
    c.drbdadm(1, &["up", "r0"])?;
    c.drbdadm(0, &["connect", "r0"])?;
    c.wait_both("is mirrored", 120, Minor::mirrored)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// Only peers that know the secret are connected, and the secret is told to nobody.
pub(super) fn secrets(setup: Setup, logs: &Path) -> Result<()> {
    let with = |words: &str| Config {
        net: words.into(),
        ..Config::default()
    };
    let right = with("cram-hmac-alg sha256; shared-secret \"tell-nobody\";").text();
    let wrong = with("cram-hmac-alg sha256; shared-secret \"tell-anybody\";").text();
    let c = Cluster::start(setup, logs, SIZE, &right)?;
    c.mirror(0)?;
    for stranger in [wrong, with("").text()] {
        c.down(1)?;
        c.configure(1, &stranger)?;
        c.drbdadm(1, &["up", "r0"])?;
        // Whoever finds out that the other does not know the secret gives up.
        drbd_lab::until("a node gives up", deadline(60), || {
            let alone = |node| c.state(node).map(|m: Minor| m.connection == "StandAlone");
            Ok((alone(0)? || alone(1)?).then_some(()))
        })?;
        c.write_noise(0, 3, 1)?;
        for node in 0..2 {
            if c.state(node)?.disks.1 != "DUnknown" {
                return Err(Error::new("a stranger was told of our disk"));
            }
        }
        // Whoever has not given up may be busy with one more try.
        drbd_lab::until("n2 lets go", deadline(60), || {
            let down = c.run(1, &["drbdadm", "down", "r0"])?;
            Ok((down.code == 0).then_some(()))
        })?;
        c.configure(1, &right)?;
        c.drbdadm(1, &["up", "r0"])?;
        if c.state(0)?.connection == "StandAlone" {
            c.drbdadm(0, &["connect", "r0"])?;
        }
        c.wait_both("is mirrored", 120, Minor::mirrored)?;
        c.compare()?;
    }
    for node in 0..2 {
        let told = c.sh(node, "dmesg | grep -c tell- || true")?;
        if told.trim() != "0" {
            return Err(Error::new(format!("n{}'s log has the secret", node + 1)));
        }
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// Two nodes with the volumes 0 and 1 of r0 on a disk each, mirrored.
pub(super) fn two_volumes(setup: Setup, logs: &Path) -> Result<Cluster> {
    let mut lab = LabConfig::pair(SIZE);
    for node in &mut lab.nodes {
        node.disks.push(DiskSpec::new("sdc", SIZE));
    }
    let one = "device /dev/drbd1; disk /dev/sdb; meta-disk internal;";
    let text = Config::default().text().replace(
        one,
        &format!("volume 0 {{ {one} }} volume 1 {{ device /dev/drbd2; disk /dev/sdc; meta-disk internal; }}"),
    );
    let c = Cluster::start_with(setup, logs, lab, &text)?;
    c.both(|node| {
        c.drbdadm(node, &["create-md", "r0"])?;
        c.drbdadm(node, &["up", "r0"])
    })?;
    both_volumes(&c, "is connected", |m| m.connection == "Connected")?;
    c.drbdadm(0, &["--", "--overwrite-data-of-peer", "primary", "r0"])?;
    both_volumes(&c, "is mirrored", Minor::mirrored)?;
    Ok(c)
}

/// Two volumes share a connection: synced, cut off, one detached and used through the peer, equal at the end.
pub(super) fn volumes(setup: Setup, logs: &Path) -> Result<()> {
    let c = two_volumes(setup, logs)?;
    noise(&c, 0)?;
    equal(&c)?;

    c.lab.network().cut_both(0, 1);
    both_volumes(&c, "sees that the peer is gone", |m| {
        m.connection == "WFConnection"
    })?;
    noise(&c, 4)?;
    c.lab.network().heal_all();
    both_volumes(&c, "is mirrored again", Minor::mirrored)?;
    equal(&c)?;

    c.drbdadm(0, &["detach", "r0/1"])?;
    wait(&c, 0, 2, "has no disk", |m| m.disks.0 == "Diskless")?;
    if !c.state(0)?.mirrored() {
        return Err(Error::new("volume 0 has lost its disk with volume 1"));
    }
    noise(&c, 8)?;
    let sum = "dd if=/dev/drbd2 bs=1M skip=8 count=1 iflag=direct 2>/dev/null | sha256sum";
    let through_the_peer = c.sh(0, sum)?;
    c.drbdadm(0, &["attach", "r0/1"])?;
    both_volumes(&c, "is mirrored with its disk", Minor::mirrored)?;
    if c.sh(0, sum)? != through_the_peer {
        return Err(Error::new(
            "what was read through the peer was not what its disk has",
        ));
    }
    equal(&c)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The second volume syncs after the first one; the first one must not sync after the second one as well.
pub(super) fn resync_after(setup: Setup, logs: &Path) -> Result<()> {
    let c = two_volumes(setup, logs)?;
    c.sh(0, "drbdsetup disk-options 2 --resync-after=1")?;
    let circle = c.run(0, &["drbdsetup", "disk-options", "1", "--resync-after=2"])?;
    if circle.code == 0 || !circle.errors().contains("(133)") {
        return Err(Error::new(format!(
            "a circle of dependencies: code {}, {}",
            circle.code,
            circle.errors()
        )));
    }
    c.both(|node| {
        c.sh(node, "drbdsetup disk-options 1 --resync-rate=40k")?;
        c.sh(node, "drbdsetup disk-options 2 --resync-rate=40k")
    })?;
    c.lab.network().cut_both(0, 1);
    both_volumes(&c, "sees that the peer is gone", |m| {
        m.connection == "WFConnection"
    })?;
    noise(&c, 4)?;
    c.lab.network().heal_all();
    wait(&c, 0, 1, "syncs", |m| m.connection == "SyncSource")?;
    wait(&c, 0, 2, "waits for it", |m| {
        m.connection == "PausedSyncS" && m.flags.contains('a')
    })?;
    wait(&c, 1, 2, "waits for it", |m| m.connection == "PausedSyncT")?;
    c.both(|node| c.sh(node, "drbdsetup disk-options 1 --resync-rate=1000M"))?;
    wait(&c, 0, 1, "is mirrored", Minor::mirrored)?;
    wait(&c, 0, 2, "has its turn", |m| {
        m.connection == "SyncSource" || m.mirrored()
    })?;
    c.both(|node| c.sh(node, "drbdsetup disk-options 2 --resync-rate=1000M"))?;
    both_volumes(&c, "is mirrored again", Minor::mirrored)?;
    equal(&c)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// Mirrored over IPv6.
pub(super) fn ipv6(setup: Setup, logs: &Path) -> Result<()> {
    let text = Config::default()
        .text()
        .replace("address 10.254.11.11:", "address ipv6 [fd0a:fe0b::11]:")
        .replace("address 10.254.11.12:", "address ipv6 [fd0a:fe0b::12]:");
    let c = Cluster::start(setup, logs, SIZE, &text)?;
    c.both(|node| {
        let address = format!("fd0a:fe0b::1{}/64", node + 1);
        c.sh(node, &format!("ip -6 address add {address} dev eth0 nodad"))
    })?;
    c.mirror(0)?;
    c.write_noise(0, 3, 1)?;
    let shown = c.sh(1, "drbdsetup show r0")?;
    for end in ["fd0a:fe0b::11", "fd0a:fe0b::12"] {
        if !shown.contains(end) {
            return Err(Error::new(format!("no {end} in\n{shown}")));
        }
    }
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

fn wait(
    c: &Cluster,
    node: usize,
    minor: u32,
    what: &str,
    wanted: impl Fn(&Minor) -> bool,
) -> Result<()> {
    let what = format!("n{}: minor {minor} {what}", node + 1);
    let mut last = String::new();
    let result = drbd_lab::until(&what, deadline(120), || {
        last = c.proc_drbd(node)?;
        Ok(Minor::find(&last, minor).filter(&wanted).map(drop))
    });
    result.map_err(|e| Error::new(format!("{e}; /proc/drbd says:\n{last}")))
}

pub(super) fn both_volumes(c: &Cluster, what: &str, wanted: impl Fn(&Minor) -> bool) -> Result<()> {
    for (node, minor) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
        wait(c, node, minor, what, &wanted)?;
    }
    Ok(())
}

/// A MiB of noise at `offset` MiB of each volume, written at the same time.
fn noise(c: &Cluster, offset: u64) -> Result<()> {
    let dd = |minor| {
        format!(
            "dd if=/dev/urandom of=/dev/drbd{minor} bs=64k seek={} count=16 \
             oflag=direct conv=fsync,notrunc 2>&1",
            offset * 16
        )
    };
    let script = format!("{} & first=$!; {} && wait $first", dd(1), dd(2));
    c.sh(0, &script).map(drop)
}

/// The disks of both volumes are equal, from outside.
pub(super) fn equal(c: &Cluster) -> Result<()> {
    both_volumes(c, "is idle", Minor::idle)?;
    c.compare_disks("sdb", 1)?;
    c.compare_disks("sdc", 2)
}
