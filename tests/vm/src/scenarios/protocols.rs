// SPDX-License-Identifier: GPL-2.0-only

//! What the protocols promise, shown with a link that swallows everything.

use crate::acks::{Load, Writer};
use crate::cluster::{Cluster, Config, Setup, DEVICE};
use crate::proc_drbd::Minor;
use drbd_lab::{deadline, Error, Result};
use std::path::Path;
use std::time::Duration;

const ONE: Load = Load {
    blocks: 64,
    threads: 1,
    count: 1,
    seed: 3,
    durable: false,
};

fn start(setup: Setup, logs: &Path, protocol: char) -> Result<Cluster> {
    let config = Config {
        protocol,
        ..Config::default()
    };
    let c = Cluster::start(setup, logs, 8 << 20, &config.text())?;
    c.mirror(0)?;
    let state = c.state(0)?;
    if state.protocol != protocol.to_string() {
        return Err(Error::new(format!(
            "protocol {} instead of {protocol}",
            state.protocol
        )));
    }
    Ok(c)
}

fn end(c: &Cluster) -> Result<()> {
    c.lab.network().heal_all();
    c.wait_both("is mirrored again", 120, Minor::mirrored)?;
    c.compare()?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}

/// A: a write is complete when it is on the local disk and in the socket's buffer, whatever the link does.
pub(super) fn a(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs, 'A')?;
    c.lab.network().cut_both(0, 1);
    let mut writer = Writer::start(c.lab.node(0), DEVICE, ONE)?;
    let acknowledged = writer.listen(deadline(20), |log| log.acknowledged() == 1);
    let state = c.state(0)?;
    // It was acknowledged while the peer was still counted on.
    if !acknowledged || state.connection != "Connected" {
        return Err(Error::new(format!(
            "acknowledged: {acknowledged}, connection: {}",
            state.connection
        )));
    }
    c.wait(0, "declares the peer gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    end(&c)
}

/// C: a write waits for the peer's disk, until the peer is declared gone.
pub(super) fn c(setup: Setup, logs: &Path) -> Result<()> {
    waits(setup, logs, 'C')
}

/// B: a write waits for the peer's memory, until the peer is declared gone.
pub(super) fn b(setup: Setup, logs: &Path) -> Result<()> {
    waits(setup, logs, 'B')
}

fn waits(setup: Setup, logs: &Path, protocol: char) -> Result<()> {
    let c = start(setup, logs, protocol)?;
    c.lab.network().cut_both(0, 1);
    let mut writer = Writer::start(c.lab.node(0), DEVICE, ONE)?;
    // As long as the peer is counted on, no acknowledgement comes.
    drbd_lab::until("n1 declares the peer gone", deadline(90), || {
        let waiting = c.state(0)?.connection == "Connected";
        let acknowledged = writer.listen(Duration::from_millis(50), |log| log.acknowledged() > 0);
        // Asked again: the peer may have been declared gone between the two questions.
        if acknowledged && waiting && c.state(0)?.connection == "Connected" {
            return Err(Error::new(
                "a write was acknowledged while the peer had not answered",
            ));
        }
        Ok((!waiting).then_some(()))
    })?;
    if !writer.listen(deadline(30), |log| log.acknowledged() == 1) {
        return Err(Error::new(
            "the peer is declared gone, but the write is not acknowledged",
        ));
    }
    if c.wait(0, "waits for the peer", 30, |m| {
        m.connection == "WFConnection"
    })?
    .counter("oos")
        == 0
    {
        return Err(Error::new(
            "the write that the peer did not get is not marked out of sync",
        ));
    }
    end(&c)
}
