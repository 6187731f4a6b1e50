// SPDX-License-Identifier: GPL-2.0-only

//! `read-balancing`: which node's disk reads, and that the data are the same.

use crate::cluster::{Cluster, Config, Setup, DEVICE};
use drbd_lab::{Error, Result};
use std::path::Path;

/// What is read under each policy, in pieces of 64 KiB.
const PIECES: u64 = 64;
const PIECE: u64 = 64 << 10;

/// Of the bytes that are read, this part by the peer; none if the policy does not say.
const POLICIES: [(&str, Option<u64>); 6] = [
    ("prefer-local", Some(0)),
    ("prefer-remote", Some(100)),
    ("round-robin", Some(50)),
    ("64K-striping", Some(50)),
    ("least-pending", None),
    ("when-congested-remote", Some(0)),
];

/// Each policy, with an idle device; then `prefer-remote` of blocks that are being written with protocol A.
pub(super) fn policies(setup: Setup, logs: &Path) -> Result<()> {
    let config = Config {
        protocol: 'A',
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, 16 << 20, &config.text())?;
    c.mirror(0)?;
    c.write_noise(0, 0, (PIECES * PIECE) >> 20)?;
    c.compare()?;
    let sum = |node: usize, device: &str| {
        let script = format!(
            "dd if={device} bs={PIECE} count={PIECES} iflag=direct status=none | sha256sum"
        );
        c.sh(node, &script)
    };
    let right = sum(0, DEVICE)?;
    for (policy, peers) in POLICIES {
        c.sh(
            0,
            &format!("drbdsetup disk-options 1 --read-balancing={policy}"),
        )?;
        let before = [c.state(0)?.counter("dr"), c.state(1)?.counter("dr")];
        if sum(0, DEVICE)? != right {
            return Err(Error::new(format!("{policy}: other data were read")));
        }
        let after = [c.state(0)?.counter("dr"), c.state(1)?.counter("dr")];
        let [here, there] = [after[0] - before[0], after[1] - before[1]];
        c.note(&format!("{policy}: {here} KiB here, {there} KiB there"));
        let all = (PIECES * PIECE) >> 10;
        let wrong = peers.is_some_and(|peers| there != all * peers / 100);
        if here + there != all || wrong {
            return Err(Error::new(format!(
                "{policy}: of {all} KiB {here} were read here and {there} by the peer"
            )));
        }
    }
    own_writes(&c)
}

/// With protocol A a write is complete before the peer has it; a read by the peer must see it all the same.
fn own_writes(c: &Cluster) -> Result<()> {
    c.sh(0, "drbdsetup disk-options 1 --read-balancing=prefer-remote")?;
    let script = format!(
        "for n in $(seq 40); do \
           dd if=/dev/urandom of=/tmp/wrote bs=16k count=1 status=none && \
           dd if=/tmp/wrote of={DEVICE} bs=16k seek=$((n % 3)) oflag=direct conv=notrunc status=none && \
           dd if={DEVICE} of=/tmp/read bs=16k skip=$((n % 3)) count=1 iflag=direct status=none && \
           cmp /tmp/wrote /tmp/read || exit 1; \
         done"
    );
    c.sh(0, &script)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
