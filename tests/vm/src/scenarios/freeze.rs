// SPDX-License-Identifier: GPL-2.0-only

//! I/O that is frozen: until the peer is fenced, until there are data again, until the administrator says so. What is
//! frozen ends well in the end, and its data are where they belong.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::switch::Conditions;
use drbd_lab::{deadline, Error, Fault, Result};
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 16 << 20;

/// The handlers: they say what they were told; the one that fences ends with what is answered for it.
const FENCE: &str = "#!/bin/sh\n\
    env | grep '^DRBD_' | sort > /tmp/$1.env\n\
    [ $1 = unfence ] && exit 0\n\
    until [ -e /tmp/answer ]; do sleep 0.1; done\n\
    exit $(cat /tmp/answer)\n";

fn start(setup: Setup, logs: &Path) -> Result<Cluster> {
    let config = Config {
        disk: "fencing resource-and-stonith;".into(),
        ..Config::default()
    };
    let handlers = "handlers { fence-peer \"/lab/fence fence\"; \
                    unfence-peer \"/lab/fence unfence\"; } device /dev/drbd1";
    let text = config.text().replace("device /dev/drbd1", handlers);
    let c = Cluster::start(setup, logs, SIZE, &text)?;
    c.both(|node| c.lab.node(node).put("/lab/fence", FENCE.as_bytes(), 0o755))?;
    c.mirror(0)?;
    let_in_again(&c)?;
    Ok(c)
}

/// The source of a resync calls `unfence-peer` at its end.
fn let_in_again(c: &Cluster) -> Result<()> {
    drbd_lab::until("the peer is let in again", deadline(30), || {
        let run = c.sh(0, "rm /tmp/unfence.env 2>/dev/null && echo yes || true")?;
        Ok((run.trim() == "yes").then_some(()))
    })
}

fn answer(c: &Cluster, code: Option<u8>) -> Result<()> {
    let script = match code {
        Some(code) => format!("echo {code} > /tmp/answer.new && mv /tmp/answer.new /tmp/answer"),
        None => "rm -f /tmp/answer".to_owned(),
    };
    c.both(|node| c.sh(node, &script)).map(drop)
}

/// Writes 256 KiB of noise at `mib` MiB in the background; its sum is in /tmp/noise.N, its exit code in /tmp/end.N.
fn write(c: &Cluster, mib: u64) -> Result<()> {
    let write = format!(
        "dd if=/tmp/noise.{mib} of={DEVICE} bs=64k count=4 seek={} oflag=direct conv=notrunc >/tmp/dd.{mib} 2>&1; echo $? > /tmp/end.{mib}",
        mib * 16
    );
    let script = format!(
        "rm -f /tmp/end.{mib}; dd if=/dev/urandom of=/tmp/noise.{mib} bs=64k count=4 2>/dev/null; \
         setsid sh -c '{write}' >/dev/null 2>&1 </dev/null &"
    );
    c.sh(0, &script).map(drop)
}

fn end(c: &Cluster, mib: u64) -> Result<Option<i32>> {
    let text = c.sh(0, &format!("cat /tmp/end.{mib} 2>/dev/null || true"))?;
    Ok(text.trim().parse().ok())
}

/// The write has ended, without error, and its data are on the disks of `nodes`.
fn written(c: &Cluster, mib: u64, nodes: &[usize]) -> Result<()> {
    let code = drbd_lab::until("the write ends", deadline(60), || end(c, mib))?;
    if code != 0 {
        return Err(Error::new(format!(
            "the write at {mib} MiB ended with {code}"
        )));
    }
    let noise = c.lab.node(0).get(&format!("/tmp/noise.{mib}"))?;
    for &node in nodes {
        if c.lab
            .node(node)
            .disk(DISK)?
            .contents(mib << 20, noise.len())?
            != noise
        {
            return Err(Error::new(format!(
                "the data at {mib} MiB are not on the disk of n{}",
                node + 1
            )));
        }
    }
    Ok(())
}

/// The write waits: twice seen, with other things done in between.
fn waits(c: &Cluster, mib: u64) -> Result<()> {
    c.wait(0, "has frozen its I/O", 60, Minor::frozen)?;
    c.sh(
        0,
        "drbdsetup status r0 --verbose || drbdsetup-84 status r0 --verbose || true",
    )?;
    match end(c, mib)? {
        None => Ok(()),
        Some(code) => Err(Error::new(format!("the frozen write ended with {code}"))),
    }
}

fn generation(c: &Cluster, node: usize) -> Result<String> {
    let text = c.drbdadm(node, &["get-gi", "r0"])?;
    let last = text.lines().last().unwrap_or("").trim();
    Ok(last.split(':').next().unwrap_or("").to_uppercase())
}

/// A primary that loses its peer freezes until the handler says that the peer is outdated; the peer then refuses to be
/// promoted, and gets what was written alone when it is back.
pub(super) fn fenced_failover(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs)?;
    let before = generation(&c, 0)?;
    c.lab.network().cut_both(0, 1);
    c.wait(0, "has frozen its I/O", 90, Minor::frozen)?;
    write(&c, 2)?;
    waits(&c, 2)?;
    let told = c.sh(0, "cat /tmp/fence.env")?;
    for line in [
        "DRBD_PEER_AF=ipv4",
        "DRBD_PEER_ADDRESS=10.254.11.12",
        "DRBD_RESOURCE=r0",
    ] {
        if !told.lines().any(|l| l == line) {
            return Err(Error::new(format!(
                "fence-peer was not told {line}:\n{told}"
            )));
        }
    }
    // What the handler would do on the peer.
    c.wait(1, "is alone", 90, |m| m.connection == "WFConnection")?;
    c.drbdadm(1, &["outdate", "r0"])?;
    let refused = c.run(1, &["drbdadm", "primary", "r0"])?;
    if refused.code == 0 {
        return Err(Error::new("an outdated node became primary"));
    }
    waits(&c, 2)?;
    answer(&c, Some(4))?;
    c.wait(0, "goes on", 60, |m| !m.frozen() && m.disks.1 == "Outdated")?;
    written(&c, 2, &[0])?;
    if generation(&c, 0)? == before {
        return Err(Error::new("no new generation was begun"));
    }
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    written(&c, 2, &[0, 1])?;
    c.compare()?;
    let_in_again(&c)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    // The stock driver ends the freeze by writing its superblock within an RCU read-side critical section, and the kernel
    // says so when the disk takes long enough.
    c.finish_allowing(&["w_after_conn_state_ch+"])
}

/// Each exit code of `fence-peer`: what becomes of the disks, and whether frozen I/O goes on.
pub(super) fn answers(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs)?;
    // The code, our disk and the peer's then, and whether I/O goes on.
    for (mib, code, disks, goes_on) in [
        (2, 3, ("UpToDate", "Inconsistent"), true),
        (3, 5, ("UpToDate", "Outdated"), true),
        (4, 7, ("UpToDate", "Outdated"), true),
        // A Primary cannot outdate itself: it stays frozen.
        (5, 6, ("UpToDate", "DUnknown"), false),
        (6, 1, ("UpToDate", "DUnknown"), false),
    ] {
        let before = generation(&c, 0)?;
        c.lab.network().cut_both(0, 1);
        c.wait(0, "has frozen its I/O", 90, Minor::frozen)?;
        write(&c, mib)?;
        waits(&c, mib)?;
        answer(&c, Some(code))?;
        drbd_lab::until("the handler has ended", deadline(60), || {
            let script = format!("dmesg | grep -c 'fence-peer.* exit code {code}' || true");
            Ok((c.sh(0, &script)?.trim() != "0").then_some(()))
        })?;
        c.wait(0, &format!("does what {code} says"), 30, |m| {
            m.frozen() != goes_on && (m.disks.0.as_str(), m.disks.1.as_str()) == disks
        })?;
        if goes_on {
            written(&c, mib, &[0])?;
        } else {
            waits(&c, mib)?;
        }
        // The new generation is there as soon as a write went on without the peer.
        if (generation(&c, 0)? != before) != goes_on {
            return Err(Error::new(format!("{code}: the generation was {before}")));
        }
        answer(&c, None)?;
        c.lab.network().heal_all();
        c.wait_both("is mirrored again", 120, |m| m.mirrored() && !m.frozen())?;
        written(&c, mib, &[0, 1])?;
        c.compare()?;
    }
    answer(&c, Some(1))?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish_allowing(&["w_after_conn_state_ch+"])
}

/// By protocol A a write is done when it is sent. Those that a lost link may have taken along while I/O was suspended are
/// sent again when the peer is back, though both disks are of one generation.
pub(super) fn in_doubt(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        protocol: 'A',
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, SIZE, &config.text())?;
    c.mirror(0)?;
    let before = generation(&c, 0)?;
    let slow = Conditions::late(Duration::from_secs(2));
    c.lab.network().set(0, 1, slow);
    write(&c, 2)?;
    written(&c, 2, &[0])?;
    c.drbdadm(0, &["suspend-io", "r0"])?;
    c.lab.network().cut_both(0, 1);
    c.wait(0, "is alone", 90, |m| m.connection == "WFConnection")?;
    if written(&c, 2, &[1]).is_ok() {
        return Err(Error::new("what was on its way arrived: nothing is shown"));
    }
    c.lab.network().heal_all();
    c.wait_both("has met its peer", 120, |m| m.connection == "Connected")?;
    c.drbdadm(0, &["resume-io", "r0"])?;
    c.wait_both("is mirrored again", 120, |m| m.mirrored() && !m.frozen())?;
    write(&c, 3)?;
    written(&c, 3, &[0])?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.compare()?;
    written(&c, 2, &[0, 1])?;
    if generation(&c, 0)? == before {
        return Err(Error::new(
            "the peer lacked something, and no new generation says so",
        ));
    }
    c.finish()
}

/// Frozen I/O that nobody fenced for: the peer comes back, the administrator decides, the disk comes back.
pub(super) fn and_thaw(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs)?;
    peer_returns(&c)?;
    by_hand(&c)?;
    with_the_peer(&c)?;
    no_data(&c)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// The peer is back before the handler answered: the write is sent again, in the same generation.
fn peer_returns(c: &Cluster) -> Result<()> {
    let before = generation(c, 0)?;
    c.lab.network().cut_both(0, 1);
    write(c, 3)?; // on its way when the link is found to be gone
    waits(c, 3)?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, |m| m.mirrored() && !m.frozen())?;
    written(c, 3, &[0, 1])?;
    c.compare()?;
    if generation(c, 0)? != before {
        return Err(Error::new(
            "a new generation was begun though nothing was lost",
        ));
    }
    answer(c, Some(1))?; // the handler of that time ends, and says nothing
    c.both(|node| {
        c.sh(
            node,
            "sed -i 's/fencing resource-and-stonith;//' /etc/drbd.conf",
        )?;
        c.drbdadm(node, &["adjust", "r0"])
    })
    .map(drop)
}

/// `suspend-io` and `resume-io`; the link goes meanwhile.
fn by_hand(c: &Cluster) -> Result<()> {
    c.drbdadm(0, &["suspend-io", "r0"])?;
    write(c, 4)?;
    drbd_lab::until("I/O is suspended", deadline(30), || {
        Ok(c.state(0)?.frozen().then_some(()))
    })?;
    if let Some(code) = end(c, 4)? {
        return Err(Error::new(format!("a suspended write ended with {code}")));
    }
    c.lab.network().cut_both(0, 1);
    c.wait(0, "is alone", 90, |m| m.connection == "WFConnection")?;
    c.drbdadm(0, &["resume-io", "r0"])?;
    written(c, 4, &[0])?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    written(c, 4, &[0, 1])?;
    c.compare()
}

/// `suspend-io` while writes are on their way to a peer that answers them meanwhile, and `resume-io`: they end well, and
/// the connection stays. With our disk and without it: only the peer has them then.
///
/// Not for the stock driver as the writer: what was answered while I/O was suspended it never completes, unless the
/// connection or its disk went meanwhile.
fn with_the_peer(c: &Cluster) -> Result<()> {
    if c.setup.modules[0] != Module::Drbdrs {
        return Ok(());
    }
    let lost = || c.sh(0, "dmesg | grep -c 'conn( .* -> Unconnected )' || true");
    let before = lost()?;
    answered_while_suspended(c, 7)?;
    written(c, 7, &[0, 1])?;
    c.drbdadm(0, &["detach", "r0"])?;
    answered_while_suspended(c, 8)?;
    written(c, 8, &[1])?;
    c.drbdadm(0, &["attach", "r0"])?;
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    let after = lost()?;
    if after == before {
        return Ok(());
    }
    Err(Error::new(format!(
        "resuming I/O cost the connection: lost {} times before, {} after",
        before.trim(),
        after.trim()
    )))
}

fn answered_while_suspended(c: &Cluster, mib: u64) -> Result<()> {
    let slow = Conditions::late(Duration::from_secs(2));
    c.lab.network().set(0, 1, slow);
    write(c, mib)?;
    c.wait(0, "has a write on its way", 30, |m| m.counter("pe") > 0)?;
    c.drbdadm(0, &["suspend-io", "r0"])?;
    c.lab.network().heal_all();
    c.wait(0, "has its answer", 30, |m| m.counter("pe") == 0)?;
    if let Some(code) = end(c, mib)? {
        return Err(Error::new(format!("a suspended write ended with {code}")));
    }
    c.drbdadm(0, &["resume-io", "r0"]).map(drop)
}

/// The last copy fails: I/O waits for data, and begins anew when the disk is back; or fails, if that is wanted.
fn no_data(c: &Cluster) -> Result<()> {
    let options = |words: &str| {
        let script = format!(
            "drbdsetup resource-options r0 {words} || drbdsetup-84 resource-options r0 {words}"
        );
        c.sh(0, &script).map(drop)
    };
    options("--on-no-data-accessible=suspend-io")?;
    c.lab.network().cut_both(0, 1);
    c.wait(0, "is alone", 90, |m| m.connection == "WFConnection")?;
    c.lab.node(0).disk(DISK)?.set_fault(Fault::All);
    write(c, 5)?;
    waits(c, 5)?;
    c.wait(0, "has lost its disk", 60, |m| m.disks.0 == "Diskless")?;
    c.lab.node(0).disk(DISK)?.set_fault(Fault::None);
    c.drbdadm(0, &["attach", "r0"])?;
    c.wait(0, "goes on", 60, |m| !m.frozen() && m.disks.0 == "UpToDate")?;
    written(c, 5, &[0])?;
    options("--on-no-data-accessible=io-error")?;
    c.lab.node(0).disk(DISK)?.set_fault(Fault::All);
    write(c, 6)?;
    let code = drbd_lab::until("the write ends", deadline(60), || end(c, 6))?;
    if code == 0 {
        return Err(Error::new("a write without any disk was acknowledged"));
    }
    c.wait(0, "has lost its disk", 60, |m| m.disks.0 == "Diskless")?;
    c.lab.node(0).disk(DISK)?.set_fault(Fault::None);
    c.drbdadm(0, &["attach", "r0"])?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    written(c, 5, &[0, 1])?;
    c.compare()
}
