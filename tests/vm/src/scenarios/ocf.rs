// SPDX-License-Identifier: GPL-2.0-only

//! The cluster manager's resource agent for DRBD, unmodified, action by action: what Pacemaker would do on two nodes,
//! without Pacemaker. Around the agent stand the few shell functions and programs that it calls.

use crate::cluster::{Cluster, Config, Setup, DEVICE};
use crate::proc_drbd::Minor;
use drbd_lab::{Error, Result};
use std::path::Path;

const AGENT: &str = "/usr/lib/ocf/resource.d/linbit/drbd";
const NAMES: [&str; 2] = ["iSCSI1.au.intranet", "iSCSI2.au.intranet"];

const OK: i32 = 0;
const NOT_RUNNING: i32 = 7;
const PROMOTED: i32 = 8;

/// Numbers and words that every agent of the OCF finds.
const FUNCTIONS: &str = r#"
OCF_SUCCESS=0 OCF_ERR_GENERIC=1 OCF_ERR_ARGS=2 OCF_ERR_UNIMPLEMENTED=3 OCF_ERR_PERM=4 OCF_ERR_INSTALLED=5
OCF_ERR_CONFIGURED=6 OCF_NOT_RUNNING=7 OCF_RUNNING_MASTER=8 OCF_FAILED_MASTER=9
HA_SBIN_DIR=/lab/sbin
PATH=/lab/sbin:$PATH
set_logtag() { :; }
ocf_log() { echo "$*" >>/tmp/agent.log; }
ocf_exit_reason() { echo "$*" | tee -a /tmp/agent.log >&2; }
ocf_is_true() { case $1 in yes | true | 1 | on) true ;; *) false ;; esac; }
ocf_is_probe() { [ "$__OCF_ACTION" = monitor ] && [ "$OCF_RESKEY_CRM_meta_interval" = 0 ]; }
check_binary() { command -v "$1" >/dev/null || exit $OCF_ERR_INSTALLED; }
"#;

/// Keeps the score that the agent gives its node.
const CRM_MASTER: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    -v) echo "$2" >/tmp/score; shift ;;
    -D) rm -f /tmp/score ;;
    -G) cat /tmp/score ;;
    esac
    shift
done
"#;

/// What Pacemaker tells about the nodes in a notification.
struct Notice<'a> {
    what: &'a str,
    promoted: &'a str,
}

impl Cluster {
    fn agent(&self, node: usize, action: &str, notice: &Notice<'_>) -> Result<(i32, String)> {
        let (kind, operation) = notice.what.split_once('/').unwrap_or(("", ""));
        let interval = if action == "monitor" { 10_000 } else { 0 };
        let script = format!(
            "export OCF_ROOT=/usr/lib/ocf OCF_FUNCTIONS_DIR=/lab/ocf OCF_RESOURCE_INSTANCE=r0 \
             OCF_RESKEY_drbd_resource=r0 OCF_RESKEY_stop_outdates_secondary=true OCF_RESKEY_crm_feature_set=3.19.0 \
             OCF_RESKEY_CRM_meta_clone_max=2 OCF_RESKEY_CRM_meta_clone_node_max=1 \
             OCF_RESKEY_CRM_meta_master_max=1 OCF_RESKEY_CRM_meta_master_node_max=1 \
             OCF_RESKEY_CRM_meta_notify=true OCF_RESKEY_CRM_meta_interval={interval} \
             OCF_RESKEY_CRM_meta_notify_type={kind} OCF_RESKEY_CRM_meta_notify_operation={operation} \
             OCF_RESKEY_CRM_meta_notify_start_uname='{}' \
             OCF_RESKEY_CRM_meta_notify_master_uname='{}'; exec {AGENT} {action}",
            NAMES.join(" "),
            notice.promoted,
        );
        let output = self.run(node, &["bash", "-c", &script])?;
        Ok((output.code, output.errors()))
    }

    fn acts(&self, node: usize, action: &str, promoted: &str, wanted: i32) -> Result<()> {
        let notice = Notice { what: "", promoted };
        let (code, errors) = self.agent(node, action, &notice)?;
        if code == wanted {
            return Ok(());
        }
        let log = self.sh(node, "tail -n 20 /tmp/agent.log 2>/dev/null || true")?;
        Err(Error::new(format!(
            "'{action}' on n{} ended with {code} instead of {wanted}: {errors}\n{log}",
            node + 1
        )))
    }

    fn notify(&self, what: &str, promoted: &str) -> Result<()> {
        self.both(|node| {
            let (code, errors) = self.agent(node, "notify", &Notice { what, promoted })?;
            if code != OK {
                return Err(Error::new(format!("{what}: {code}: {errors}")));
            }
            Ok(())
        })
        .map(drop)
    }

    fn score(&self, node: usize) -> Result<String> {
        let text = self.sh(node, "cat /tmp/score 2>/dev/null || true")?;
        Ok(text.trim().to_owned())
    }

    fn scores(&self, wanted: [&str; 2]) -> Result<()> {
        let found = [self.score(0)?, self.score(1)?];
        if found == wanted {
            return Ok(());
        }
        Err(Error::new(format!(
            "the scores are {found:?}, not {wanted:?}"
        )))
    }

    fn sum(&self, node: usize) -> Result<String> {
        let script = format!("dd if={DEVICE} iflag=direct bs=1M status=none | md5sum");
        self.sh(node, &script)
    }
}

/// Start, promote, fail over, stop, start again: the data go with the role, and the scores say who is good for it.
pub(super) fn agent(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.both(|node| {
        c.sh(node, "mkdir -p /lab/ocf /lab/sbin")?;
        let lab = c.lab.node(node);
        lab.put("/lab/ocf/ocf-shellfuncs", FUNCTIONS.as_bytes(), 0o644)?;
        lab.put("/lab/sbin/crm_master", CRM_MASTER.as_bytes(), 0o755)?;
        lab.put("/lab/sbin/crm_resource", b"#!/bin/sh\n", 0o755)
    })?;
    c.mirror(0)?;
    c.drbdadm(0, &["secondary", "r0"])?;
    c.both(|node| c.down(node))?;

    // A cluster that starts: nothing runs, both nodes start, each hears of it.
    c.acts(0, "validate-all", "", OK)?;
    c.both(|node| c.acts(node, "monitor", "", NOT_RUNNING))?;
    c.both(|node| c.acts(node, "start", "", OK))?;
    c.notify("post/start", "")?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.both(|node| c.acts(node, "monitor", "", OK))?;
    c.scores(["10000", "10000"])?;

    // One is promoted and works.
    c.acts(0, "promote", "", OK)?;
    c.notify("post/promote", NAMES[0])?;
    c.acts(0, "monitor", NAMES[0], PROMOTED)?;
    c.acts(1, "monitor", NAMES[0], OK)?;
    c.write_noise(0, 2, 4)?;
    let written = c.sum(0)?;

    // The role moves, and the data with it.
    c.acts(0, "demote", NAMES[0], OK)?;
    c.notify("post/demote", "")?;
    c.acts(1, "promote", "", OK)?;
    c.notify("post/promote", NAMES[1])?;
    c.acts(1, "monitor", NAMES[1], PROMOTED)?;
    if c.sum(1)? != written {
        return Err(Error::new("the promoted node reads other data"));
    }

    // One node is stopped while the other goes on: it knows that its data are old.
    c.acts(0, "stop", NAMES[1], OK)?;
    c.acts(0, "monitor", NAMES[1], NOT_RUNNING)?;
    c.acts(0, "stop", NAMES[1], OK)?;
    c.scores(["", "10000"])?;
    let state = c.drbdadm(0, &["dstate", "r0"])?;
    if state.lines().last() != Some("Outdated") {
        return Err(Error::new(format!("the stopped node is {state}")));
    }
    c.write_noise(1, 8, 2)?;
    let newer = c.sum(1)?;

    // It comes back and catches up; a reload changes nothing.
    c.acts(0, "start", NAMES[1], OK)?;
    c.notify("post/start", NAMES[1])?;
    c.wait_both("is mirrored", 60, Minor::mirrored)?;
    c.acts(1, "reload", NAMES[1], OK)?;
    c.both(|node| {
        c.acts(
            node,
            "monitor",
            NAMES[1],
            if node == 1 { PROMOTED } else { OK },
        )
    })?;
    c.scores(["10000", "10000"])?;
    c.compare()?;
    c.acts(1, "demote", NAMES[1], OK)?;
    c.acts(0, "promote", "", OK)?;
    if c.sum(0)? != newer {
        return Err(Error::new("the node that came back reads other data"));
    }

    // The link is cut; the Secondary hears who is promoted, and outdates itself.
    c.lab.network().cut_both(0, 1);
    c.wait(1, "sees the link gone", 60, |m| {
        m.connection == "WFConnection"
    })?;
    let lost = Notice {
        what: "post/promote",
        promoted: NAMES[0],
    };
    let (code, errors) = c.agent(1, "notify", &lost)?;
    if code != OK {
        return Err(Error::new(format!("notify: {code}: {errors}")));
    }
    c.wait(1, "is outdated", 30, |m| m.disks.0 == "Outdated")?;
    c.lab.network().heal_all();
    c.wait_both("is mirrored", 60, Minor::mirrored)?;

    c.acts(0, "demote", NAMES[0], OK)?;
    c.both(|node| c.acts(node, "stop", "", OK))?;
    c.both(|node| c.acts(node, "monitor", "", NOT_RUNNING))?;
    c.finish()
}
