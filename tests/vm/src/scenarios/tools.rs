// SPDX-License-Identifier: GPL-2.0-only

//! Our tools say what the stock tools say: the same commands by both programs, in the states that a cluster goes
//! through, and the same bytes from drbdmeta.

use crate::cluster::{Cluster, Config, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::path::Path;

/// Commands that change nothing; those that are refused say why.
const OBSERVE: &[&str] = &[
    "drbdsetup status",
    "drbdsetup status r0 --verbose",
    "drbdsetup status --verbose --statistics",
    "drbdsetup status --color=always",
    "drbdsetup status nosuch",
    "drbdsetup show",
    "drbdsetup show r0 --show-defaults",
    "drbdsetup sh-status",
    "drbdsetup events2 --now --statistics",
    "drbdsetup role /dev/drbd1",
    "drbdsetup cstate 1",
    "drbdsetup show-gi 1",
    "drbdsetup role 99",
    "drbdsetup primary 99",
    "drbdsetup down nosuch",
    "drbdsetup attach 1 /dev/nosuch /dev/nosuch internal",
    "drbdsetup disconnect ipv4:1.2.3.4:7788 ipv4:1.2.3.5:7788",
    "drbdadm role r0",
    "drbdadm dstate r0",
    "drbdadm status r0",
    "drbdadm get-gi r0",
    "drbdadm dump r0",
    "drbdadm sh-dev r0",
    "drbdadm sh-udev minor-1",
    "drbdadm sh-ll-dev all",
    "drbdadm sh-md-idx r0",
    "drbdadm dump-md r0",
    "drbdadm nosuch r0",
    "drbdadm up nosuch",
];

/// drbdmeta on a disk that is not attached. What writes, writes the same whoever comes first.
const META: &[&str] = &[
    "drbdmeta 1 v08 /dev/sdb internal dstate",
    "drbdmeta 1 v08 /dev/sdb internal dump-md",
    "drbdmeta 1 v08 /dev/sdb internal apply-al",
    "drbdmeta 1 v08 /dev/sdb internal get-gi",
    "drbdmeta 1 v08 /dev/sdb internal show-gi",
    "drbdmeta 1 v08 /dev/sdb internal read-dev-uuid",
    "drbdmeta 1 v08 /dev/sdb internal create-md",
    "drbdmeta 1 v08 /dev/sdb internal wipe-md",
    "drbdmeta 1 v08 /dev/sdb internal convert",
    "drbdmeta 1 v08 /dev/nosuch internal get-gi",
];

/// Runs a command by the stock program and by ours, and compares.
fn same(c: &Cluster, command: &str) -> Result<()> {
    let run = |directory: &str| -> Result<(i32, String, String)> {
        let line = format!("{directory}/{command} </dev/null");
        let output = c.run(0, &["sh", "-c", &line])?;
        Ok((output.code, output.text(), output.errors()))
    };
    let (stock, ours) = (run("/usr/sbin")?, run("/usr/local/sbin")?);
    // Ours warns about things in a configuration that the stock tool takes without a word.
    let warning = |line: &&str| line.contains(": warning: ") || line.contains(" | ");
    let quiet: Vec<&str> = ours.2.lines().filter(|line| !warning(line)).collect();
    if (stock.0, &stock.1) != (ours.0, &ours.1) || stock.2.lines().collect::<Vec<_>>() != quiet {
        return Err(Error::new(format!(
            "{command}: stock said\n{stock:?}\nours\n{ours:?}"
        )));
    }
    Ok(())
}

/// Metadata of all kinds on the scratch disk, created by both programs.
fn same_bytes(c: &Cluster) -> Result<()> {
    for place in [
        "internal create-md",
        "flex-external create-md",
        "internal create-md --al-stripes 2 --al-stripe-size-kB 16",
    ] {
        let create = |directory: &str| {
            c.sh(
                0,
                &format!(
                    "dd if=/dev/zero of=/dev/sda bs=1M conv=fsync 2>/dev/null; \
                     {directory}/drbdmeta --force 7 v08 /dev/sda {place} >/dev/null && sha256sum </dev/sda"
                ),
            )
        };
        if create("/usr/sbin")? != create("/usr/local/sbin")? {
            return Err(Error::new(format!("{place}: the disks differ")));
        }
    }
    Ok(())
}

/// Before the peer is there, mirrored, alone again, and down.
pub(super) fn compared(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    let observe = || OBSERVE.iter().try_for_each(|command| same(&c, command));
    c.drbdadm(0, &["create-md", "r0"])?;
    c.drbdadm(0, &["up", "r0"])?;
    c.wait(0, "waits for its peer", 30, |m| {
        m.connection == "WFConnection"
    })?;
    observe()?;
    c.drbdadm(1, &["create-md", "r0"])?;
    c.drbdadm(1, &["up", "r0"])?;
    c.first_sync(0)?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    observe()?;
    c.drbdadm(0, &["disconnect", "r0"])?;
    observe()?;
    c.drbdadm(0, &["down", "r0"])?;
    META.iter().try_for_each(|command| same(&c, command))?;
    same_bytes(&c)?;
    c.drbdadm(0, &["up", "r0"])?;
    c.wait_both("is mirrored again", 60, Minor::mirrored)?;
    c.finish()
}
