// SPDX-License-Identifier: GPL-2.0-only

//! The volumes of one connection are one consistency group: what was written to one volume when a write to the other
//! was complete is never on a survivor without that.

use super::resources::{both_volumes, equal, two_volumes};
use crate::cluster::{Cluster, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::frame::Kind;
use drbd_lab::switch::Conditions;
use drbd_lab::{deadline, Error, PowerCut, Process, Result};
use std::path::Path;
use std::time::Duration;

const BLOCK: usize = 4096;
/// How many blocks of each volume the writer uses.
const BLOCKS: u64 = 2048;

/// What ends a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Link,
    Primary,
    /// The power of both: n2's disks lose of their caches what the lot says.
    Both,
}

/// A writer writes each number to volume 0, waits until that is complete, and writes it to volume 1; then something
/// fails at a moment by lot.
pub(super) fn consistent(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = two_volumes(setup, logs)?;
    let mut round = 0;
    for protocol in ['A', 'C'] {
        c.both(|node| {
            configure(&c, node, protocol)?;
            c.drbdadm(node, &["adjust", "r0"])
        })?;
        both_volumes(&c, "uses the protocol", |m| {
            m.protocol == protocol.to_string() && m.mirrored()
        })?;
        for end in [End::Link, End::Primary, End::Both] {
            round += 1;
            play(&mut c, round, end, protocol)?;
        }
    }
    c.finish()
}

fn configure(c: &Cluster, node: usize, protocol: char) -> Result<()> {
    let script = format!("sed -i 's/protocol [AC];/protocol {protocol};/' /etc/drbd.conf");
    c.sh(node, &script).map(drop)
}

/// One round: write, fail, look at n2's disks, and mirror again.
fn play(c: &mut Cluster, round: u64, end: End, protocol: char) -> Result<()> {
    // So there are many writes of protocol A on their way.
    let slow = Conditions::late(Duration::from_millis(40));
    c.drbdadm(0, &["primary", "r0"])?;
    c.lab.network().set(0, 1, slow);
    let first = round << 24;
    let lot = 60 + round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 97;
    let turns = format!("exec /proc/1/exe turns /dev/drbd1 /dev/drbd2 {BLOCKS} {first}");
    let writer = c.lab.node(0).spawn(&["/bin/sh", "-c", &turns])?;
    reach(&writer, first + lot)?;
    match end {
        End::Link => c.lab.network().cut_both(0, 1),
        End::Primary => c.lab.node_mut(0).power_cut(PowerCut::Keep)?,
        End::Both => {
            c.lab.node_mut(1).power_cut(PowerCut::Random(round))?;
            c.lab.node_mut(0).power_cut(PowerCut::Random(round + 1))?;
        }
    }
    if end != End::Both {
        gone(c, 1)?;
    }
    let newest = check(c, first)?;
    c.note(&format!(
        "round {round}, {end:?}: n2 has {}",
        newest - first
    ));
    if end == End::Link {
        writer.kill(9)?;
        // Its last write ends when the node knows that its peer is gone.
        writer.wait(deadline(90))?;
        c.drbdadm(0, &["secondary", "r0"])?;
    }
    let off = match end {
        End::Link => &[][..],
        End::Primary => &[0],
        End::Both => &[0, 1],
    };
    for node in off {
        c.lab.node_mut(*node).start()?;
        c.prepare(*node)?;
        configure(c, *node, protocol)?;
        c.drbdadm(*node, &["up", "r0"])?;
    }
    c.lab.network().heal_all();
    both_volumes(c, "is mirrored again", Minor::mirrored)?;
    equal(c)
}

/// Waits until the writer says that it has come to `number`.
fn reach(writer: &Process, number: u64) -> Result<()> {
    let mut said = String::new();
    loop {
        let frame = writer.next(deadline(60))?;
        said.push_str(&String::from_utf8_lossy(&frame.payload));
        if frame.kind == Kind::Exit {
            return Err(Error::new(format!("the writer ended: {said}")));
        }
        let whole = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let last = whole.lines().last().and_then(|l| l.parse::<u64>().ok());
        if last.is_some_and(|last| last >= number) {
            return Ok(());
        }
    }
}

/// `node` knows that its peer is gone, and all that came from it is on its disks.
fn gone(c: &Cluster, node: usize) -> Result<()> {
    drbd_lab::until("the peer is gone", deadline(90), || {
        let text = c.proc_drbd(node)?;
        let apart = |minor| {
            Minor::find(&text, minor).is_some_and(|m| m.connection == "WFConnection" && m.idle())
        };
        Ok((apart(1) && apart(2)).then_some(()))
    })
}

/// The number in each block of a disk of n2.
fn numbers(c: &Cluster, disk: &str) -> Result<Vec<u64>> {
    let bytes = c.lab.node(1).disk(disk)?;
    let bytes = bytes.contents(0, BLOCKS as usize * BLOCK)?;
    let number = |block: &[u8]| u64::from_le_bytes(block.first_chunk().copied().unwrap_or([0; 8]));
    Ok(bytes.chunks_exact(BLOCK).map(number).collect())
}

/// What n2 has is what the writer had written at some moment: the newest number on either volume has all before it on
/// both volumes. Returns the newest number.
fn check(c: &Cluster, first: u64) -> Result<u64> {
    let volumes = [numbers(c, "sdb")?, numbers(c, "sdc")?];
    let newest = volumes
        .iter()
        .map(|volume| volume.iter().copied().max().unwrap_or(0));
    let newest: Vec<u64> = newest.collect();
    if newest.iter().all(|newest| *newest < first) {
        return Err(Error::new(format!("n2 has got nothing: {newest:?}")));
    }
    let has = |volume: usize, n: u64| volumes[volume][(n % BLOCKS) as usize] >= n;
    // (volume, the newest number on it, what that volume has to have, what the other one has to have)
    for (volume, last, other) in [
        (0, newest[0], newest[0].saturating_sub(1)),
        (1, newest[1], newest[1]),
    ] {
        let missing = (first..=last)
            .map(|n| (volume, n))
            .chain((first..=other).map(|n| (1 - volume, n)))
            .find(|(volume, n)| !has(*volume, *n));
        if let Some((place, n)) = missing {
            return Err(Error::new(format!(
                "n2 has {last} on volume {volume}, and not {n} on volume {place}"
            )));
        }
    }
    Ok(newest[0].max(first))
}
