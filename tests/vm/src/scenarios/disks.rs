// SPDX-License-Identifier: GPL-2.0-only

//! A disk that fails: the node goes on through its peer, and is made whole when the disk is well again.

use crate::cluster::{Cluster, Config, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Fault, Result};
use std::path::Path;

/// The primary's disk refuses writes.
pub(super) fn failing(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    c.write_noise(0, 1, 1)?;
    c.lab.node(0).disk(DISK)?.set_fault(Fault::All);
    c.write_noise(0, 3, 1)?;
    c.wait(0, "has lost its disk", 60, |m| {
        m.disks.0 == "Diskless" && m.disks.1 == "UpToDate"
    })?;
    // Reads come from the peer.
    let sum = |node: usize| {
        c.sh(
            node,
            &format!("dd if={DEVICE} bs=64k count=96 iflag=direct 2>/dev/null | sha256sum"),
        )
    };
    let read = sum(0)?;
    c.write_noise(0, 8, 1)?;
    c.lab.node(0).disk(DISK)?.set_fault(Fault::None);
    c.drbdadm(0, &["attach", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    if sum(0)? != read {
        return Err(Error::new(
            "what was read through the peer is not what the disk has now",
        ));
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
