// SPDX-License-Identifier: GPL-2.0-only

//! Strangers on the replication port.

use crate::cluster::{Cluster, Config, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, Result};
use std::path::Path;

/// (No control: the stock driver goes StandAlone at the first malformed feature packet.)
///
/// Nonsense before, during and after the connection of the legitimate pair: it neither crashes nor keeps the pair apart.
pub(super) fn port(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 8 << 20, &Config::default().text())?;
    for node in 0..2 {
        c.drbdadm(node, &["create-md", "r0"])?;
    }
    c.drbdadm(0, &["up", "r0"])?;
    c.wait(0, "waits for its peer", 60, |m| {
        m.connection == "WFConnection"
    })?;
    let target = "10.254.11.11:7789";
    // From the peer's own address, while n1 waits for it.
    let first = c
        .lab
        .node(1)
        .run_within(
            deadline(240),
            &["/proc/1/exe", "nonsense", target, "48", "5"],
        )?
        .success()?;
    c.note(&first.text());
    if first.text().starts_with("0 ") {
        return Err(Error::new("no connection was accepted: nothing was tested"));
    }
    // Some strangers are still there, silent, while the pair connects.
    let noise = c
        .lab
        .node(1)
        .spawn(&["/proc/1/exe", "nonsense", target, "400", "6"])?;
    c.drbdadm(1, &["up", "r0"])?;
    c.wait_both("is connected in spite of strangers", 90, |m| {
        m.connection == "Connected"
    })?;
    let _ = noise.kill(9);
    let _ = noise.wait(deadline(30))?;
    c.first_sync(0)?;
    c.lab
        .node(1)
        .run_within(
            deadline(120),
            &["/proc/1/exe", "nonsense", target, "24", "7"],
        )?
        .success()?;
    c.wait_both("is still mirrored", 60, Minor::mirrored)?;
    c.write_noise(0, 1, 1)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
