// SPDX-License-Identifier: GPL-2.0-only

//! A disk that fails: the node goes on through its peer, and is made whole when the disk is well again.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, Fault, Result};
use std::path::Path;

/// The primary's disk refuses writes, then the other one's.
pub(super) fn failing(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    for (node, at) in [(0, 1), (1, 10)] {
        fails(&c, node, at)?;
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The disk of `node` fails under writes from `at` MiB on; n1, the Primary, goes on with the other one alone.
fn fails(c: &Cluster, node: usize, at: u64) -> Result<()> {
    c.write_noise(0, at, 1)?;
    c.lab.node(node).disk(DISK)?.set_fault(Fault::All);
    c.write_noise(0, at + 1, 1)?;
    c.wait(node, "has lost its disk", 60, |m| {
        m.disks.0 == "Diskless" && m.disks.1 == "UpToDate"
    })?;
    // On n1 reads come from the peer.
    let sum = || {
        let script =
            format!("dd if={DEVICE} bs=64k count=224 iflag=direct 2>/dev/null | sha256sum");
        c.sh(0, &script)
    };
    c.write_noise(0, at + 3, 1)?;
    let read = sum()?;
    c.lab.node(node).disk(DISK)?.set_fault(Fault::None);
    c.drbdadm(node, &["attach", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    if sum()? != read {
        return Err(Error::new(
            "what was read without the disk is not what it has now",
        ));
    }
    Ok(())
}

const HANDLERS: &str = "handlers { local-io-error \"echo $DRBD_RESOURCE $DRBD_MINOR $DRBD_VOLUME > /tmp/local-io-error\"; }";

/// What `on-io-error` and `disk-timeout` say is done, one after the other; each time the application goes on through
/// the peer, and the mirror is made whole again.
pub(super) fn policies(setup: Setup, logs: &Path) -> Result<()> {
    let text = Config::default().text();
    let text = text.replace(
        " device /dev/drbd1",
        &format!(" {HANDLERS} device /dev/drbd1"),
    );
    let c = Cluster::start(setup, logs, 16 << 20, &text)?;
    c.mirror(0)?;
    pass_on(&c)?;
    call_handler(&c)?;
    // The stock driver panics when a request that it gave up ends after all: the memory may be another's by then.
    if setup.modules[0] == Module::Drbdrs {
        for (by_hand, cold) in [(true, false), (false, false), (true, true), (false, true)] {
            stalled(&c, by_hand, cold)?;
        }
    }
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

fn options(c: &Cluster, options: &str) -> Result<()> {
    c.sh(0, &format!("drbdsetup disk-options 1 {options}"))
        .map(drop)
}

fn mirrored_again(c: &Cluster) -> Result<()> {
    c.drbdadm(0, &["attach", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()
}

/// The disk stays, its data count as incomplete, the peer's are read; what failed is resynced.
fn pass_on(c: &Cluster) -> Result<()> {
    options(c, "--on-io-error=pass_on")?;
    // Writes would do as well, but then also the metadata cannot be written, and that is never passed on.
    let disk = c.lab.node(0).disk(DISK)?;
    c.write_noise(0, 2, 1)?;
    let script =
        format!("dd if={DEVICE} bs=64k count=16 skip=32 iflag=direct 2>/dev/null | sha256sum");
    let good = c.sh(0, &script)?;
    disk.set_fault(Fault::Reads);
    let read = c.sh(0, &script)?;
    let state = c.wait(0, "keeps its bad disk", 30, |m| m.disks.0 == "Inconsistent")?;
    if state.disks.1 != "UpToDate" || !(1024..1100).contains(&state.counter("oos")) {
        return Err(Error::new(format!(
            "1 MiB was not readable, but this is said: {state:?}"
        )));
    }
    if read != good {
        return Err(Error::new("the peer's data are not what was written"));
    }
    disk.set_fault(Fault::None);
    c.drbdadm(0, &["detach", "r0"])?;
    mirrored_again(c)
}

/// The handler runs with the environment that it expects, and the disk is given up.
fn call_handler(c: &Cluster) -> Result<()> {
    options(c, "--on-io-error=call-local-io-error")?;
    let disk = c.lab.node(0).disk(DISK)?;
    disk.set_fault(Fault::All);
    c.write_noise(0, 4, 1)?;
    c.wait(0, "has lost its disk", 60, |m| m.disks.0 == "Diskless")?;
    let said = c.sh(0, "cat /tmp/local-io-error")?;
    if said.trim() != "r0 1 0" {
        return Err(Error::new(format!(
            "local-io-error was told '{}'",
            said.trim()
        )));
    }
    disk.set_fault(Fault::None);
    mirrored_again(c)
}

/// The disk does not answer; the administrator or `disk-timeout` gives it up, and a write that hung in it ends. A cold
/// write hangs in a transaction of the activity log.
fn stalled(c: &Cluster, by_hand: bool, cold: bool) -> Result<()> {
    let timeout = if by_hand { 0 } else { 30 };
    options(c, &format!("--on-io-error=detach --disk-timeout={timeout}"))?;
    let disk = c.lab.node(0).disk(DISK)?;
    if !cold {
        c.write_noise(0, 5, 1)?;
    }
    disk.set_fault(Fault::Stall);
    let script = format!("dd if=/dev/urandom of={DEVICE} bs=64k count=4 seek=96 oflag=direct 2>&1; echo $? > /tmp/stalled");
    c.sh(
        0,
        &format!("rm -f /tmp/stalled; setsid sh -c '{script}' >/dev/null 2>&1 &"),
    )?;
    c.wait(0, "has a write in its disk", 30, |m| m.counter("lo") > 0)?;
    if by_hand {
        c.drbdadm(0, &["detach", "--force", "r0"])?;
    }
    c.wait(0, "gives its disk up", 60, |m| m.disks.0 == "Failed")?;
    drbd_lab::until("the write that hung ends well", deadline(30), || {
        let end = c.sh(0, "cat /tmp/stalled 2>/dev/null || true")?;
        match end.trim() {
            "" => Ok(None),
            "0" => Ok(Some(())),
            code => Err(Error::new(format!(
                "the write that hung failed with {code}"
            ))),
        }
    })?;
    disk.set_fault(Fault::None);
    c.wait(0, "has no disk", 60, |m| m.disks.0 == "Diskless")?;
    mirrored_again(c)
}
