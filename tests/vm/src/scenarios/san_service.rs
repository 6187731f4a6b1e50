// SPDX-License-Identifier: GPL-2.0-only

//! The exporter as a service of systemd, and as an agent of Pacemaker.

use super::san::{self, LOAD};
use crate::cluster::{Cluster, Setup, SEED};
use crate::initiator::{self, INITIATOR, MAP, SEED_IETD};
use crate::stall::Heard;
use drbd_lab::{deadline, Error, LabConfig, Result};
use std::path::Path;

/// As it is installed.
const UNIT: &str = include_str!("../../../../tools/iscsi/service/drbd-iscsi.service");
const AGENT: &str = include_str!("../../../../tools/iscsi/service/ocf-agent");

/// The guest's first process is the lab's; systemd is the first of a namespace, and boots into the service.
const BOOT: &str = "mkdir -p /run/lab; setsid unshare --fork --pid --mount --mount-proc \
    env -i container=lab PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=drbd-iscsi.service </dev/null >/lab/systemd.log 2>&1 &";

/// Runs a script where systemd is.
fn inside(c: &Cluster, node: usize, script: &str) -> Result<drbd_lab::Output> {
    let enter = format!(
        "nsenter -t $(pgrep -o -x systemd) -m -p /bin/sh -c '{script}' || \
         {{ code=$?; tail -5 /lab/systemd.log >&2; exit $code; }}"
    );
    c.run(node, &["/bin/sh", "-c", &enter])
}

/// Waits until the exporter of a node says so.
fn wait_status(c: &Cluster, node: usize, wanted: &str, seconds: u64) -> Result<()> {
    let what = format!("n{} exports: '{wanted}'", node + 1);
    let mut last = String::new();
    let done = drbd_lab::until(&what, deadline(seconds), || {
        let output = inside(c, node, "drbd-iscsi status; systemctl is-active drbd-iscsi")?;
        last = output.text() + &output.errors();
        Ok(last.contains(wanted).then_some(()))
    });
    done.map_err(|e| {
        let why = inside(
            c,
            node,
            "systemctl --no-pager --full status drbd-iscsi; journalctl -n 30 --no-pager",
        );
        let why = why.map(|o| o.text() + &o.errors()).unwrap_or_default();
        Error::new(format!("{e}; it says:\n{last}\n{why}"))
    })
}

fn must(c: &Cluster, node: usize, script: &str) -> Result<()> {
    let output = inside(c, node, script)?;
    output.success().map(drop).map_err(|e| e.at(script))
}

const ACTIVE: &str = "unit /dev/drbd1 active";
const STANDBY: &str = "unit /dev/drbd1 standby";

/// Both nodes boot into the service at once: up, promoted, exported, and the first node serves an initiator. When its
/// service ends, it is unexported, then demoted, and the other serves; when it is back, it is standby. The initiator has
/// its second path again, and sees no error.
pub(super) fn systemd(setup: Setup, logs: &Path) -> Result<()> {
    let c = san::start_with(setup, logs, SEED)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.both(|node| c.down(node))?;
    c.both(|node| {
        let place = "/etc/systemd/system/drbd-iscsi.service";
        c.lab.node(node).put(place, UNIT.as_bytes(), 0o644)?;
        c.sh(node, BOOT)
    })?;
    wait_status(&c, 0, ACTIVE, 180)?;
    wait_status(&c, 1, STANDBY, 120)?;
    initiator::login(&c)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    let load = Heard::start(c.lab.node(INITIATOR), MAP, LOAD)?;
    load.goes_on(200)?;
    load.longest();
    // A demotion of what is exported is refused, so a Secondary was unexported first.
    must(&c, 0, "systemctl stop drbd-iscsi")?;
    c.wait(0, "is demoted", 10, |m| m.roles.0 == "Secondary")?;
    wait_status(&c, 0, "nothing is exported", 10)?;
    wait_status(&c, 1, ACTIVE, 60)?;
    load.goes_on(200)?;
    println!(
        "san: longest stall when the service is stopped on the serving node: {:.1} s",
        load.longest().as_secs_f64()
    );
    initiator::wait_paths(&c, 1, 0, 60)?;
    must(&c, 0, "systemctl start drbd-iscsi")?;
    wait_status(&c, 0, STANDBY, 60)?;
    wait_status(&c, 1, ACTIVE, 10)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    // A program that is killed is started again, and what it had exported is not left behind by itself.
    must(
        &c,
        1,
        "systemctl kill -s KILL --kill-whom=main drbd-iscsi; systemctl is-failed drbd-iscsi || true",
    )?;
    wait_status(&c, 0, ACTIVE, 60)?;
    wait_status(&c, 1, STANDBY, 120)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    load.goes_on(50)?;
    san::nothing_is_missing(&c, &load.stop()?)?;
    for node in [1, 0] {
        must(&c, node, "systemctl stop drbd-iscsi")?;
        c.wait(node, "is demoted", 10, |m| m.roles.0 == "Secondary")?;
    }
    c.both(|node| c.sh(node, "kill -KILL $(pgrep -o -x systemd)"))?;
    san::finish(&c)
}

/// The codes of the agents of Pacemaker.
const NOT_RUNNING: i32 = 7;

/// What Pacemaker's agent answers, from start to stop.
pub(super) fn agent(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start_with(setup, logs, LabConfig::pair(16 << 20), SEED)?;
    c.mirror(0)?;
    for node in 0..2 {
        let guest = c.lab.node(node);
        guest.put("/etc/iet/ietd.conf", SEED_IETD.as_bytes(), 0o644)?;
        guest.put("/lab/agent", AGENT.as_bytes(), 0o755)?;
    }
    let agent = |node: usize, action: &str, wanted: i32| -> Result<()> {
        let output = c.run(node, &["/bin/sh", "/lab/agent", action])?;
        if output.code == wanted {
            return Ok(());
        }
        Err(Error::new(format!(
            "'{action}' of the agent of n{} says {} instead of {wanted}: {}",
            node + 1,
            output.code,
            output.errors()
        )))
    };
    let status = |node: usize, wanted: &str| -> Result<()> {
        let text = c.run(node, &["drbd-iscsi", "status"])?.text();
        if text.contains(wanted) {
            return Ok(());
        }
        Err(Error::new(format!("expected '{wanted}' in\n{text}")))
    };
    for node in 0..2 {
        agent(node, "meta-data", 0)?;
        agent(node, "validate-all", 0)?;
        agent(node, "monitor", NOT_RUNNING)?;
        agent(node, "stop", 0)?;
    }
    // Not promoted: nothing can be exported, and it is not said that it was.
    agent(1, "start", 1)?;
    agent(0, "start", 0)?;
    agent(0, "start", 0)?;
    agent(0, "monitor", 0)?;
    status(0, ACTIVE)?;
    c.drbdadm(1, &["primary", "r0"])?;
    agent(1, "start", 0)?;
    status(1, STANDBY)?;
    // The cluster manager moves it: the other one's monitor takes over.
    agent(0, "stop", 0)?;
    agent(0, "monitor", NOT_RUNNING)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    agent(1, "monitor", 0)?;
    status(1, ACTIVE)?;
    agent(1, "stop", 0)?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.compare()?;
    c.finish()
}
