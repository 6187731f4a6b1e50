// SPDX-License-Identifier: GPL-2.0-only

//! Our module under the name of the kernel's own, for scripts that say `rmmod drbd` or `lsmod | grep drbd`.

use crate::cluster::{Cluster, Config, Setup};
use drbd_lab::image::source_tree;
use drbd_lab::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = ".build/module-drbd";

/// `make DRBDRS_NAME=drbd`, in a folder of its own.
fn built() -> Result<PathBuf> {
    let script = source_tree().join("scripts/kmake");
    let status = Command::new(&script)
        .args([FOLDER, "--no-print-directory", "DRBDRS_NAME=drbd"])
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(Error::new(format!(
            "{} failed: its messages are above",
            script.display()
        )));
    }
    Ok(source_tree().join(FOLDER).join("drbd.ko"))
}

/// What a test suite does to the stock driver: load, look, mirror, restart it, remove.
pub(super) fn drbd(setup: Setup, logs: &Path) -> Result<()> {
    let module = built()?;
    let c = Cluster::start(setup, logs, 8 << 20, &Config::default().text())?;
    c.both(|node| {
        // While a module is there: without one the tools would load the stock one.
        c.drbdadm(node, &["create-md", "r0"])?;
        c.unload(node)?;
        c.lab.node(node).put_file(&module, "/lab/drbd.ko")?;
        insert(&c, node)?;
        c.drbdadm(node, &["up", "r0"])
    })?;
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    c.first_sync(0)?;
    c.write_noise(0, 1, 2)?;
    c.compare()?;
    c.down(1)?;
    c.write_noise(0, 3, 1)?;
    c.sh(1, "rmmod drbd && ! lsmod | grep drbd")?;
    insert(&c, 1)?;
    c.drbdadm(1, &["up", "r0"])?;
    c.wait_both("is mirrored again", 60, |m| m.mirrored())?;
    c.compare()?;
    c.finish()
}

/// Loads it, and makes sure that it is ours: the stock driver has no such parameter.
fn insert(c: &Cluster, node: usize) -> Result<()> {
    c.sh(
        node,
        "insmod /lab/drbd.ko && lsmod | grep '^drbd ' && ! lsmod | grep drbdrs && \
         cat /sys/module/drbd/parameters/stable_buffers && \
         [ \"$(modinfo -F srcversion /lab/drbd.ko)\" = \"$(cat /sys/module/drbd/srcversion)\" ]",
    )
    .map(drop)
}
