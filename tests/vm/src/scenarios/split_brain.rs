// SPDX-License-Identifier: GPL-2.0-only

//! Both nodes wrote without each other: whose blocks survive, by each policy.

use crate::cluster::{Cluster, Config, Module, Setup, DISK};
use crate::proc_drbd::Minor;
use drbd_lab::switch::Conditions;
use drbd_lab::{deadline, Error, Result};
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 28 << 20;
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
    c.both(|node| policy_of(c, node, words)).map(drop)
}

fn policy_of(c: &Cluster, node: usize, words: &str) -> Result<()> {
    // Between these two words there is nothing but policies.
    let script = format!("sed -i 's/after-sb-0pri.*#/{words} #/' /etc/drbd.conf");
    c.sh(node, &script)?;
    c.drbdadm(node, &["adjust", "r0"]).map(drop)
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

fn start(setup: Setup, logs: &Path, net: &str) -> Result<Cluster> {
    let config = Config {
        net: format!("{net} after-sb-0pri disconnect; #\n"),
        ..Config::default()
    };
    let handlers =
        "handlers { split-brain \"echo $DRBD_RESOURCE $DRBD_MINOR > /tmp/split-brain\"; \
                    pri-lost \"echo $DRBD_RESOURCE $DRBD_MINOR > /tmp/pri-lost\"; \
                    pri-lost-after-sb \"echo $DRBD_RESOURCE $DRBD_MINOR > /tmp/pri-lost-after-sb\"; } \
                    device /dev/drbd1";
    let text = config.text().replace("device /dev/drbd1", handlers);
    let c = Cluster::start(setup, logs, SIZE, &text)?;
    c.mirror(0)?;
    c.write_noise(0, 0, 24)?;
    Ok(c)
}

/// By hand, the way the user guide says: n2 gives its data up.
fn discard_second(c: &Cluster, round: &Round) -> Result<()> {
    c.run(1, &["drbdadm", "disconnect", "r0"])?;
    c.drbdadm(1, &["connect", "--discard-my-data", "r0"])
        .or_else(|_| c.drbdadm(1, &["--", "--discard-my-data", "connect", "r0"]))?;
    if c.state(0)?.connection == "StandAlone" {
        c.drbdadm(0, &["connect", "r0"])?;
    }
    survived(c, round, 0)
}

/// The policies for no primary, one after the other, and one for one primary.
pub(super) fn policies(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "")?;
    let round = diverge(&c, 0, [1, 1])?;
    demote(&c, &[0, 1])?;
    refused(&c, &round)?;
    discard_second(&c, &round)?;

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

/// The other policies: the rest of those for no primary, and those that cost a primary its role or its data.
pub(super) fn more_policies(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "allow-two-primaries yes;")?;
    let older = "after-sb-0pri discard-older-primary;";
    let consensus = "after-sb-0pri discard-zero-changes; after-sb-1pri consensus;";
    let one_by_force = "after-sb-0pri discard-younger-primary; after-sb-1pri violently-as0p; rr-conflict violently;";
    let two_by_force =
        "after-sb-0pri discard-older-primary; after-sb-2pri violently-as0p; rr-conflict violently;";
    // What n1 and n2 do, what n1 and n2 write, who is Primary when they meet, whose blocks survive, who is then.
    for (at, [mine, theirs], wrote, primaries, winner, remain) in [
        (0, [older, older], [1, 1], &[][..], 1, &[][..]),
        (
            4,
            [
                "after-sb-0pri discard-local;",
                "after-sb-0pri discard-remote;",
            ],
            [2, 1],
            &[],
            1,
            &[],
        ),
        (8, [consensus, consensus], [1, 0], &[0], 0, &[0]),
        (16, [one_by_force, one_by_force], [1, 1], &[1], 0, &[1]),
        (4, [two_by_force, two_by_force], [1, 1], &[0, 1], 1, &[0, 1]),
    ] {
        let round = diverge(&c, at, wrote)?;
        let demoted: Vec<usize> = (0..2).filter(|node| !primaries.contains(node)).collect();
        demote(&c, &demoted)?;
        for (node, words) in [mine, theirs].into_iter().enumerate() {
            policy_of(&c, node, words)?;
        }
        c.lab.network().heal_all();
        survived(&c, &round, winner)?;
        for node in 0..2 {
            let primary = c.state(node)?.roles.0 == "Primary";
            if primary != remain.contains(&node) {
                return Err(Error::new(format!(
                    "`{mine}` left n{} {}",
                    node + 1,
                    if primary { "Primary" } else { "Secondary" }
                )));
            }
        }
        demote(&c, remain)?;
    }
    c.finish()
}

/// A Primary would become the target of a resync: its data do not change under its user unless that is wanted.
pub(super) fn stable_data(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "allow-two-primaries yes;")?;
    let older = "after-sb-0pri discard-older-primary;";
    // Whether n2, whose data shall survive, is Primary when they meet, as n1 is.
    for (at, two, words, handler) in [
        (
            0,
            false,
            "after-sb-1pri violently-as0p; rr-conflict disconnect;",
            "",
        ),
        (
            4,
            false,
            "after-sb-1pri violently-as0p; rr-conflict call-pri-lost;",
            "pri-lost",
        ),
        (
            8,
            false,
            "after-sb-1pri call-pri-lost-after-sb;",
            "pri-lost-after-sb",
        ),
        (
            20,
            true,
            "after-sb-2pri call-pri-lost-after-sb;",
            "pri-lost-after-sb",
        ),
    ] {
        let round = diverge(&c, at, [1, 1])?;
        if !two {
            demote(&c, &[1])?;
        }
        policy(&c, &format!("{older} {words}"))?;
        c.sh(0, "rm -f /tmp/pri-lost*")?;
        c.lab.network().heal_all();
        drbd_lab::until("a node gives up", deadline(60), || {
            let alone = |node| c.state(node).map(|m: Minor| m.connection == "StandAlone");
            Ok((alone(0)? || alone(1)?).then_some(()))
        })?;
        if place(&c, 0, round.at)? != round.after[0] {
            return Err(Error::new("the Primary's data changed under its user"));
        }
        let called = c.sh(0, "cd /tmp; ls | grep pri-lost || true")?;
        if called.trim() != handler {
            return Err(Error::new(format!("`{words}` called '{}'", called.trim())));
        }
        demote(&c, &[0, 1])?;
        together(&c)?;
        survived(&c, &round, 1)?;
    }
    no_consensus(&c)?;
    ambiguous(&c)?;
    c.finish()
}

/// What the policies for no Primary say would cost the Primary its data: no consensus, nobody gives in.
fn no_consensus(c: &Cluster) -> Result<()> {
    let round = diverge(c, 16, [1, 1])?;
    demote(c, &[1])?;
    policy(
        c,
        "after-sb-0pri discard-older-primary; after-sb-1pri consensus;",
    )?;
    c.both(|node| c.sh(node, "rm -f /tmp/split-brain"))?;
    refused(c, &round)?;
    demote(c, &[0])?;
    policy(c, "after-sb-0pri discard-older-primary;")?;
    together(c)?;
    survived(c, &round, 1)
}

/// Only older history is shared: the policies are asked if `always-asbp` says so, and then everything is copied.
fn ambiguous(c: &Cluster) -> Result<()> {
    policy(c, "after-sb-0pri discard-least-changes;")?;
    let round = diverge(c, 12, [1, 2])?;
    demote(c, &[0, 1])?;
    c.drbdadm(0, &["disconnect", "r0"])?;
    c.sh(0, "drbdsetup new-current-uuid 1")?;
    c.drbdadm(0, &["connect", "r0"])?;
    refused(c, &round)?;
    policy(c, "after-sb-0pri discard-least-changes; always-asbp yes;")?;
    together(c)?;
    survived(c, &round, 1)
}

/// A source that does not hear of the end of its resync: what it writes alone is resynced afterwards, and is a split brain
/// if its target, which has all of the generation, is written alone as well.
pub(super) fn missed_end(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, "")?;
    unheard_end(&c, 0)?;
    c.write_noise(0, 2, 1)?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    if setup.modules == [Module::Drbdrs; 2] {
        let log = c.sh(1, "dmesg | grep 'Began resync as SyncTarget' | tail -n 1")?;
        let rest = log.split("will sync ").nth(1).unwrap_or("");
        let kib = rest.split(' ').next().and_then(|kib| kib.parse().ok());
        // A MiB that was written alone, and what of the one before nobody has said that it arrived.
        if !kib.is_some_and(|kib: u64| (1024..=2048).contains(&kib)) {
            return Err(Error::new(format!(
                "two MiB are to be synced at most: {log}"
            )));
        }
    }

    let before = place(&c, 0, 4)?;
    unheard_end(&c, 4)?;
    c.write_noise(0, 5, 1)?;
    c.drbdadm(1, &["primary", "r0"])?;
    c.write_noise(1, 6, 1)?;
    let round = Round {
        wrote: [1, 1],
        at: 4,
        before,
        after: [place(&c, 0, 4)?, place(&c, 1, 4)?],
    };
    demote(&c, &[0, 1])?;
    refused(&c, &round)?;
    discard_second(&c, &round)?;
    c.finish()
}

/// n1 writes a MiB alone at `at` MiB; in the resync that follows the link is cut when n2 has all, and n1 does not know yet.
fn unheard_end(c: &Cluster, at: u64) -> Result<()> {
    let network = c.lab.network();
    network.cut_both(0, 1);
    c.wait_both("is alone", 90, |m| m.connection == "WFConnection")?;
    c.write_noise(0, at, 1)?;
    c.drbdadm(0, &["pause-sync", "r0"])?;
    network.heal_all();
    c.wait(0, "waits", 60, |m| m.connection == "PausedSyncS")?;
    c.wait(1, "waits", 60, |m| m.connection == "PausedSyncT")?;
    let slow = Conditions::late(Duration::from_millis(1500));
    network.set(1, 0, slow);
    c.drbdadm(0, &["resume-sync", "r0"])?;
    c.wait(1, "has all", 60, |m| m.disks.0 == "UpToDate")?;
    network.cut_both(0, 1);
    let source = c.state(0)?;
    if source.connection != "SyncSource" {
        return Err(Error::new(format!("n1 has heard of the end: {source:?}")));
    }
    c.wait_both("is alone", 90, |m| m.connection == "WFConnection")
}

/// Connects whoever gave up.
fn together(c: &Cluster) -> Result<()> {
    for node in 0..2 {
        if c.state(node)?.connection == "StandAlone" {
            c.drbdadm(node, &["connect", "r0"])?;
        }
    }
    Ok(())
}
