// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup status --watch` in a terminal, as a person looks at it.

use crate::cluster::{Cluster, Config, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::path::Path;

/// A resync that is paused, one that goes on slowly, and none.
pub(super) fn in_a_terminal(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 32 << 20, &Config::default().text())?;
    c.both(|node| {
        c.drbdadm(node, &["create-md", "r0"])?;
        c.drbdadm(node, &["up", "r0"])
    })?;
    c.wait_both("is connected", 60, |m| m.connection == "Connected")?;
    c.drbdadm(0, &["pause-sync", "r0"])?;
    c.drbdadm(0, &["primary", "--force", "r0"])?;
    c.wait(0, "would like to sync", 30, |m| {
        m.connection == "PausedSyncS"
    })?;
    let all = "r0 role:\u{1b}|volume 0 PausedSyncS: [....|0.00%, 31 MiB left|\
               ! volume 0: paused here: drbdadm resume-sync";
    shows(&c, 0, all)?;
    shows(
        &c,
        1,
        "! volume 0: paused by the peer: drbdadm resume-sync there",
    )?;
    c.both(|node| c.sh(node, "drbdsetup disk-options 1 --resync-rate=400k"))?;
    c.drbdadm(0, &["resume-sync", "r0"])?;
    shows(&c, 0, "volume 0 SyncSource: [| KiB/s, 0:0| to go")?;
    c.both(|node| c.sh(node, "drbdsetup disk-options 1 --resync-rate=1000M"))?;
    c.wait_both("is mirrored", 120, Minor::mirrored)?;
    let refused = c.sh(1, "drbdsetup status --watch 2>&1 | cat")?;
    if !refused.contains("--watch needs a terminal") {
        return Err(Error::new(format!("into a pipe: {refused:?}")));
    }
    c.finish()
}

/// What it draws within some seconds has all of these words, which `|` separates.
fn shows(c: &Cluster, node: usize, words: &str) -> Result<()> {
    let drawn = c.sh(
        node,
        "script -q -c 'stty rows 24 cols 100; TERM=xterm LC_ALL=C timeout 6 drbdsetup status --watch' /dev/null </dev/null || true",
    )?;
    match words.split('|').find(|word| !drawn.contains(word)) {
        None => Ok(()),
        Some(word) => Err(Error::new(format!("'{word}' is not in {drawn:?}"))),
    }
}
