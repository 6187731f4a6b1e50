// SPDX-License-Identifier: GPL-2.0-only

//! Both nodes wrote without each other: whose blocks survive, by each policy.

use crate::cluster::{Cluster, Config, Setup, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, Result};
use std::path::Path;

const SIZE: u64 = 24 << 20;
const MIB: usize = 1 << 20;

/// What both nodes did while the link was cut: how many MiB each wrote.
struct Round {
    wrote: [u64; 2],
    /// Where n1 wrote, and n2 behind it, in MiB.
    at: u64,
    /// What was there before, on both.
    before: Vec<u8>,
    /// What is there now.
    after: [Vec<u8>; 2],
}

fn place(c: &Cluster, node: usize, at: u64) -> Result<Vec<u8>> {
    c.lab.node(node).disk(DISK)?.contents(at << 20, 4 * MIB)
}

/// Cuts the link and has n1 write at `at` MiB, and n2, promoted later, two MiB behind it.
fn diverge(c: &Cluster, at: u64, wrote: [u64; 2]) -> Result<Round> {
    let before = place(c, 0, at)?;
    c.drbdadm(0, &["primary", "r0"])?;
    c.lab.network().cut_both(0, 1);
    c.wait_both("is alone", 90, |m| m.connection == "WFConnection")?;
    c.drbdadm(1, &["primary", "r0"])?;
    for (node, mib) in wrote.into_iter().enumerate() {
        if mib > 0 {
            c.write_noise(node, at + 2 * node as u64, mib)?;
        }
    }
    let after = [place(c, 0, at)?, place(c, 1, at)?];
    Ok(Round {
        wrote,
        at,
        before,
        after,
    })
}

fn demote(c: &Cluster, nodes: &[usize]) -> Result<()> {
    nodes
        .iter()
        .try_for_each(|node| c.drbdadm(*node, &["secondary", "r0"]).map(drop))
}

fn policy(c: &Cluster, words: &str) -> Result<()> {
    let script = format!("sed -i 's/after-sb-0pri.*#/{words} #/' /etc/drbd.conf");
    c.both(|node| {
        c.sh(node, &script)?;
        c.drbdadm(node, &["adjust", "r0"])
    })
    .map(drop)
}

/// Both have what `winner` had, and nothing of the other.
fn survived(c: &Cluster, round: &Round, winner: usize) -> Result<()> {
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    let now = place(c, 1 - winner, round.at)?;
    if now != round.after[winner] {
        return Err(Error::new(format!(
            "n{}'s blocks did not survive alone: {} and {} MiB were written",
            winner + 1,
            round.wrote[0],
            round.wrote[1]
        )));
    }
    Ok(())
}

/// Nobody gives in: both keep what they have, and say so.
fn refused(c: &Cluster, round: &Round) -> Result<()> {
    c.lab.network().heal_all();
    drbd_lab::until("a node gives up", deadline(60), || {
        let alone = |node| c.state(node).map(|m: Minor| m.connection == "StandAlone");
        Ok((alone(0)? || alone(1)?).then_some(()))
    })?;
    drbd_lab::until("a handler is called", deadline(30), || {
        let called = |node| c.sh(node, "cat /tmp/split-brain 2>/dev/null || true");
        let text = [called(0)?, called(1)?].concat();
        Ok(text.contains("r0 1").then_some(()))
    })?;
    for node in 0..2 {
        if place(c, node, round.at)? != round.after[node] {
            return Err(Error::new(format!("n{}'s blocks were touched", node + 1)));
        }
    }
    if round.after[0] == round.before || round.after[1] == round.before {
        return Err(Error::new("nothing was written"));
    }
    Ok(())
}

/// The policies for no primary, one after the other, and one for one primary.
pub(super) fn policies(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        net: "after-sb-0pri disconnect; #\n".into(),
        ..Config::default()
    };
    let handlers =
        "handlers { split-brain \"echo $DRBD_RESOURCE $DRBD_MINOR > /tmp/split-brain\"; } \
                    device /dev/drbd1";
    let text = config.text().replace("device /dev/drbd1", handlers);
    let c = Cluster::start(setup, logs, SIZE, &text)?;
    c.mirror(0)?;
    c.write_noise(0, 0, 22)?;

    let round = diverge(&c, 0, [1, 1])?;
    demote(&c, &[0, 1])?;
    refused(&c, &round)?;
    // By hand, the way the user guide says.
    c.run(1, &["drbdadm", "disconnect", "r0"])?;
    c.drbdadm(1, &["connect", "--discard-my-data", "r0"])
        .or_else(|_| c.drbdadm(1, &["--", "--discard-my-data", "connect", "r0"]))?;
    if c.state(0)?.connection == "StandAlone" {
        c.drbdadm(0, &["connect", "r0"])?;
    }
    survived(&c, &round, 0)?;

    for (at, words, wrote, primaries, winner) in [
        (4, "after-sb-0pri discard-zero-changes;", [1, 0], &[][..], 0),
        (8, "after-sb-0pri discard-younger-primary;", [1, 2], &[], 0),
        (12, "after-sb-0pri discard-least-changes;", [1, 2], &[], 1),
        (
            16,
            "after-sb-0pri discard-zero-changes; after-sb-1pri discard-secondary;",
            [1, 2],
            &[0],
            0,
        ),
    ] {
        let round = diverge(&c, at, wrote)?;
        let demoted: Vec<usize> = (0..2).filter(|node| !primaries.contains(node)).collect();
        demote(&c, &demoted)?;
        policy(&c, words)?;
        c.lab.network().heal_all();
        survived(&c, &round, winner)?;
        demote(&c, primaries)?;
    }
    c.finish()
}
