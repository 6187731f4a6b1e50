// SPDX-License-Identifier: GPL-2.0-only

//! A disk that one module has used is attached by the other, back and forth, without a resync.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::path::Path;

/// Both nodes change their module between uses of the same disks; internal metadata.
pub(super) fn exchange(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    let mut marks = Vec::new();
    for (round, module) in [Module::Stock, Module::Drbdrs, Module::Stock]
        .into_iter()
        .enumerate()
    {
        let sum = c.sh(
            0,
            &format!(
                "dd if=/dev/urandom of={DEVICE} bs=64k count=8 oflag=direct conv=fsync,notrunc \
             seek={} 2>/dev/null; dd if={DEVICE} bs=64k iflag=direct 2>/dev/null | sha256sum",
                round * 16
            ),
        )?;
        marks.push(sum.clone());
        for node in 0..2 {
            c.down(node)?;
            c.unload(node)?;
            let other = if setup.modules[node] == Module::Drbdrs {
                module
            } else {
                Module::Stock
            };
            c.load(node, other)?;
        }
        for node in 0..2 {
            c.drbdadm(node, &["up", "r0"])?;
        }
        c.wait_both("is mirrored", 60, Minor::mirrored)?;
        if c.state(0)?.counter("ns") + c.state(1)?.counter("ns") > 1024 {
            return Err(Error::new(
                "a clean change of modules was followed by a resync",
            ));
        }
        c.drbdadm(0, &["primary", "r0"])?;
        let there = c.sh(
            0,
            &format!("dd if={DEVICE} bs=64k iflag=direct 2>/dev/null | sha256sum"),
        )?;
        if there != sum {
            return Err(Error::new(format!(
                "round {round}: the data are not what the other module wrote"
            )));
        }
        c.compare()?;
    }
    c.finish()
}
