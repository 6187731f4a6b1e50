// SPDX-License-Identifier: GPL-2.0-only

//! The disks under a mirror in use grow, and it follows; then it is shrunk by hand.
//!
//! `/dev/dm-0` is the first part of the spare disk, so that the disk can be looked at from outside as ever.

use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, until, Error, Result};
use std::path::Path;

const DISK_SIZE: u64 = 48 << 20;
const SMALL: u64 = 16 << 20;
const MIDDLE: u64 = 28 << 20;
const LARGE: u64 = 40 << 20;
const SHRUNK: u64 = 12 << 20;

/// Metadata at the end of the disk: they move. The new part is synced, and nothing else.
pub(super) fn internal(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "internal")?;
    let before = c.device_size(0, 1)?;
    // What the disks hold behind the mirror differs.
    let noise: Vec<u8> = (0..1u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for at in [before + (1 << 20), LARGE - (4 << 20)] {
        c.lab.node(0).disk(DISK)?.overwrite(at, &noise)?;
    }
    c.write_noise(0, 2, 3)?;
    let sum = checksum(&c, 0)?;
    let sent = c.state(0)?.counter("ns");
    grow_disks(&c)?;
    c.drbdadm(0, &["resize", "r0"])?;
    let size = resized(&c, |size| size > before)?;
    c.wait_both("is mirrored", 120, Minor::mirrored)?;
    c.compare()?;
    let copied = c.state(0)?.counter("ns") - sent;
    let new = (size - before) >> 10;
    if !(new..new + 1024).contains(&copied) {
        return Err(Error::new(format!(
            "{new} KiB are new, and {copied} KiB were sent"
        )));
    }
    if checksum(&c, 0)? != sum {
        return Err(Error::new("the old data are not what they were"));
    }
    // The new part is as good as the old one.
    c.write_noise(0, (size >> 20) - 2, 2)?;
    c.compare()?;
    shrink(&c, &sum)?;
    again(&c, SHRUNK)?;
    c.finish()
}

/// Metadata on a device of their own, whose bitmap has room; the administrator says that the new part is equal.
pub(super) fn external(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "/dev/sda")?;
    c.write_noise(0, 2, 3)?;
    let sum = checksum(&c, 0)?;
    let sent = c.state(0)?.counter("ns");
    grow_disks(&c)?;
    c.drbdadm(0, &["--", "--assume-clean", "resize", "r0"])?;
    let size = resized(&c, |size| size > SMALL)?;
    if size != LARGE {
        return Err(Error::new(format!("{size} bytes, not {LARGE}")));
    }
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    let copied = c.state(0)?.counter("ns") - sent;
    if copied != 0 {
        return Err(Error::new(format!(
            "{copied} KiB were sent of what is equal"
        )));
    }
    c.write_noise(0, 36, 3)?;
    c.compare()?;
    if checksum(&c, 0)? != sum {
        return Err(Error::new("the old data are not what they were"));
    }
    again(&c, LARGE)?;
    c.finish()
}

/// Both disks grow while the resource is down, with metadata inside (they move), then outside.
pub(super) fn offline(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "internal")?;
    grown_while_down(&c)?;
    c.both(|node| {
        c.down(node)?;
        // The stock create-md asks a person about what is left of the old metadata.
        let script =
            "dmsetup remove data; dd if=/dev/zero of=/dev/sdb bs=1M conv=fsync 2>/dev/null; \
                      sed -i 's/meta-disk internal/meta-disk \\/dev\\/sda/' /etc/drbd.conf";
        c.sh(node, script)
    })?;
    small_disks(&c)?;
    c.mirror(0)?;
    grown_while_down(&c)?;
    c.finish()
}

/// What is new is marked on both sides, and differs until it is written or resynced. (Nothing does that by itself, by
/// 8.4 neither: the disks call themselves UpToDate.)
fn grown_while_down(c: &Cluster) -> Result<()> {
    let before = c.device_size(0, 1)?;
    let noise = vec![0x5a; 1 << 20];
    c.lab
        .node(0)
        .disk(DISK)?
        .overwrite(LARGE - (4 << 20), &noise)?;
    c.write_noise(0, 2, 3)?;
    let sum = checksum(c, 0)?;
    for node in 0..2 {
        c.down(node)?;
    }
    grow_disks(c)?;
    for node in 0..2 {
        c.drbdadm(node, &["up", "r0"])?;
    }
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    let size = resized(c, |size| size > before)?;
    let new = (size - before).div_ceil(4096) * 4;
    for node in 0..2 {
        let marked = c.state(node)?.counter("oos");
        if size < LARGE - (1 << 20) || marked.abs_diff(new) > 4 {
            return Err(Error::new(format!(
                "n{}: from {before} to {size} bytes, {marked} KiB are marked of {new} new ones",
                node + 1
            )));
        }
    }
    c.drbdadm(0, &["primary", "r0"])?;
    if checksum(c, 0)? != sum {
        return Err(Error::new("the old data are not what they were"));
    }
    c.drbdadm(0, &["invalidate-remote", "r0"])?;
    c.wait_both("is mirrored", 120, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    c.compare()?;
    c.write_noise(0, (size >> 20) - 2, 2)?;
    c.compare()
}

/// A disk grows alone. The other one does when it is attached, and is the only one that knows of a part to resync: it
/// leads that, or waits and says so, as the one that has dialled breaks the tie.
pub(super) fn unaware(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "/dev/sda")?;
    c.write_noise(0, 2, 3)?;
    let sum = checksum(&c, 0)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    grown_alone(&c, 1, SMALL, MIDDLE)?;
    grown_alone(&c, 0, MIDDLE, LARGE)?;
    c.sh(0, "dmesg | grep 'The peer waits for the resync'")?;
    c.drbdadm(0, &["primary", "r0"])?;
    if checksum(&c, 0)? != sum {
        return Err(Error::new("the old data are not what they were"));
    }
    c.finish()
}

/// `dials`: the node that connects, while the other one listens.
fn grown_alone(c: &Cluster, dials: usize, before: u64, size: u64) -> Result<()> {
    let noise = vec![0x5a; 1 << 20];
    let disk = c.lab.node(0).disk(DISK)?;
    disk.overwrite(size - (4 << 20), &noise)?;
    for (node, seconds) in [(dials, 1), (1 - dials, 60)] {
        let option = format!("--connect-int={seconds}");
        c.drbdadm(node, &["--", &option, "net-options", "r0"])?;
    }
    c.drbdadm(1, &["detach", "r0"])?;
    c.drbdadm(dials, &["disconnect", "r0"])?;
    resize_disks(c, size)?;
    c.drbdadm(0, &["--", "--assume-peer-has-space", "resize", "r0"])?;
    c.drbdadm(dials, &["connect", "r0"])?;
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    c.drbdadm(1, &["attach", "r0"])?;
    c.wait_both("has what is new", 120, |m| {
        m.mirrored() && m.counter("oos") == 0
    })?;
    resized(c, |now| now == size)?;
    // Counted from when it disconnected.
    let copied = c.state(dials)?.counter("ns");
    let new = (size - before) >> 10;
    if copied != new {
        return Err(Error::new(format!(
            "{new} KiB are new, and {copied} KiB were sent"
        )));
    }
    c.compare()
}

fn start(setup: Setup, logs: &Path, meta_disk: &str) -> Result<Cluster> {
    let config = Config {
        meta_disk: meta_disk.into(),
        ..Config::default()
    };
    let text = config.text().replace("/dev/sdb", "/dev/dm-0");
    let c = Cluster::start(setup, logs, DISK_SIZE, &text)?;
    small_disks(&c)?;
    c.mirror(0)?;
    Ok(c)
}

fn small_disks(c: &Cluster) -> Result<()> {
    let sectors = SMALL >> 9;
    let script =
        format!("modprobe dm-mod; dmsetup create data --table '0 {sectors} linear /dev/sdb 0'");
    c.both(|node| c.sh(node, &script)).map(drop)
}

fn grow_disks(c: &Cluster) -> Result<()> {
    resize_disks(c, LARGE)
}

fn resize_disks(c: &Cluster, size: u64) -> Result<()> {
    let sectors = size >> 9;
    c.both(|node| {
        c.sh(
            node,
            &format!(
                "dmsetup load data --table '0 {sectors} linear /dev/sdb 0' && \
                 dmsetup suspend data && dmsetup resume data && blockdev --getsz /dev/dm-0"
            ),
        )
    })
    .map(drop)
}

/// Waits until both nodes have the same size, one that is wanted.
fn resized(c: &Cluster, wanted: impl Fn(u64) -> bool) -> Result<u64> {
    until("both nodes have the new size", deadline(60), || {
        let (a, b) = (c.device_size(0, 1)?, c.device_size(1, 1)?);
        Ok((a == b && wanted(a)).then_some(a))
    })
}

/// Of what is inside all sizes.
fn checksum(c: &Cluster, node: usize) -> Result<String> {
    c.sh(
        node,
        &format!("dd if={DEVICE} bs=1M count=10 iflag=direct 2>/dev/null | sha256sum"),
    )
}

fn shrink(c: &Cluster, sum: &str) -> Result<()> {
    c.drbdadm(
        0,
        &["--", &format!("--size={}s", SHRUNK >> 9), "resize", "r0"],
    )?;
    resized(c, |size| size == SHRUNK)?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    if checksum(c, 0)? != sum {
        return Err(Error::new("the data changed when the device was shrunk"));
    }
    c.compare()
}

/// What is on the disks describes the new size: the mirror comes up again without a resync, the other way round.
fn again(c: &Cluster, size: u64) -> Result<()> {
    let sum = checksum(c, 0)?;
    c.both(|node| {
        c.down(node)?;
        // An explicit size is part of the configuration, from which it is applied again.
        let text = c.sh(node, "cat /etc/drbd.conf")?;
        let sized = text.replace(" disk { ", &format!(" disk {{ size {}s; ", size >> 9));
        c.configure(node, &sized)?;
        c.drbdadm(node, &["up", "r0"])
    })?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    let moved = c.state(0)?.counter("ns") + c.state(1)?.counter("ns");
    if moved != 0 {
        return Err(Error::new(format!(
            "{moved} KiB were resynced after a clean restart"
        )));
    }
    resized(c, |now| now == size)?;
    c.drbdadm(1, &["primary", "r0"])?;
    if checksum(c, 1)? != sum {
        return Err(Error::new("the other node has other data"));
    }
    c.drbdadm(1, &["secondary", "r0"])?;
    c.compare()
}
