// SPDX-License-Identifier: GPL-2.0-only

//! Our tools say what the stock tools say: the same commands by both programs, in the states that a cluster goes
//! through, and the same bytes from drbdmeta.

use crate::cluster::{Cluster, Config, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::image::source_tree;
use drbd_lab::{Error, Result};
use std::path::Path;
use std::process::Command;

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

/// The same in other words, asked once.
const OTHER_FORMS: &[&str] = &[
    "drbdsetup status all",
    "drbdsetup show all",
    "drbdsetup show 1",
    "drbdsetup show /dev/drbd1",
    "drbdsetup sh-status all",
    "drbdsetup sh-status 1",
    "drbdsetup sh-status r0",
    "drbdsetup events2 all --now",
    "drbdsetup events2 r0 --now --stat",
    "drbdsetup dstate 1",
    "drbdsetup get-gi 1",
    "drbdsetup check-resize 1",
    "drbdsetup wait-connect 1 --wfc-timeout 1",
    "drbdsetup wait-sync 1",
    "drbdsetup disk-options 1 --resync-rate 33M",
    "drbdadm cstate all",
    "drbdadm show-gi r0/0",
    "drbdadm disk-options --resync-rate 33M r0",
    "drbdadm wait-connect r0",
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
    OTHER_FORMS
        .iter()
        .try_for_each(|command| same(&c, command))?;
    c.drbdadm(0, &["disconnect", "r0"])?;
    observe()?;
    c.down(0)?;
    META.iter().try_for_each(|command| same(&c, command))?;
    same_bytes(&c)?;
    c.drbdadm(0, &["up", "r0"])?;
    c.wait_both("is mirrored again", 60, Minor::mirrored)?;
    c.finish()
}

/// How often a command is run to measure it, and what one look at the cluster may cost.
const LOOKS: u32 = 50;
const ALLOWED_MS: f64 = 20.0;

/// The script that runs a command that often, and then tells the CPU time of all its processes.
fn loops(command: &str) -> String {
    format!("for ((n = 0; n < {LOOKS}; n++)); do {command} >/dev/null || exit 1; done; times")
}

/// Milliseconds of CPU for one run. The second line of `times` is about the children: `0m0.123s 0m0.045s`.
fn each_ms(text: &str) -> Result<f64> {
    let seconds = |word: &str| -> Option<f64> {
        let (minutes, seconds) = word.trim_end_matches('s').split_once('m')?;
        Some(60.0 * minutes.parse::<f64>().ok()? + seconds.parse::<f64>().ok()?)
    };
    let used: Option<f64> = text
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().map(seconds).sum());
    let used = used.ok_or_else(|| Error::new(format!("'{text}' is no time")))?;
    Ok(used * 1000.0 / f64::from(LOOKS))
}

/// How much of a CPU a look at the cluster costs, which monitoring takes every few seconds. A guest may be emulated, and its
/// CPU slower by any factor: then the same program is measured on this machine as well, reading the same file, and the
/// factor between the two is taken out. And never more than a little above what the stock tool takes in the same guest.
pub(super) fn status_cost(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config::default().text();
    let c = Cluster::start(setup, logs, 16 << 20, &config)?;
    c.mirror(0)?;
    let in_guest = |command: &str| -> Result<f64> {
        let output = c.run(0, &["bash", "-c", &loops(command)])?;
        each_ms(&output.success()?.text())
    };
    let ours = in_guest("/usr/local/sbin/drbdadm status")?;
    let stock = in_guest("/usr/sbin/drbdadm status")?;
    let read = "sh-resources";
    let emulated = in_guest(&format!("/usr/local/sbin/drbdadm {read}"))?;
    let file = logs.join("drbd.conf");
    std::fs::write(&file, &config)?;
    let tool = source_tree().join(".build/cargo/release/drbd-tools");
    let command = format!(
        "__DRBD_NODE__=iSCSI1.au.intranet {} drbdadm -c {} {read}",
        tool.display(),
        file.display()
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(loops(&command))
        .output()?;
    let native = each_ms(&String::from_utf8_lossy(&output.stdout))?;
    let factor = (emulated / native.max(0.1)).max(1.0);
    let told = format!(
        "drbdadm status takes {:.1} ms of CPU ({ours:.1} ms in a guest that is {factor:.1} times slower; \
         the stock tool {stock:.1} ms there)",
        ours / factor
    );
    c.note(&told);
    println!("{told}");
    if ours / factor > ALLOWED_MS || ours > 1.2 * stock {
        return Err(Error::new(told));
    }
    c.finish()
}
