// SPDX-License-Identifier: GPL-2.0-only

//! A file system that both storage nodes have mounted: OCFS2, whose own lock manager keeps the two apart.
//!
//! Debian's cloud kernel has no OCFS2, so these guests run the full flavour, and our module is built for it.

use crate::cluster::{Cluster, Config, Setup, DEVICE};
use drbd_lab::{deadline, Error, LabConfig, Result};
use std::path::Path;

/// Debian's full kernel.
const FLAVOUR: &str = "amd64";
/// Where the file system is mounted.
const AT: &str = "/mnt";
/// Guests are slow: a node that is late is not dead.
const PATIENCE: [(&str, u32); 2] = [
    ("idle_timeout_ms", 120_000),
    ("heartbeat/dead_threshold", 91),
];

/// What each node writes: files of its own in a directory of both, and every other block of one file of both, so that
/// the lock of that file and of that directory goes to and fro all the time.
const WRITE: &str = "set -e; cd $AT\n\
    for i in $(seq 40); do\n\
    \thead -c $((i * 3000)) /dev/urandom >both/$ME.$i; sha256sum both/$ME.$i >>/tmp/sums\n\
    \tdd if=/dev/zero bs=4096 count=1 2>/dev/null | tr '\\0' $ME |\n\
    \t\tdd of=file bs=4096 seek=$((2 * i + ME)) conv=notrunc 2>/dev/null\n\
    \t[ $((i % 4)) != 0 ] || mv both/$ME.$i both/$ME.$i.moved\n\
    done\n\
    sync";

/// The sums of all that there is, as this node reads it.
const SUMS: &str = "cd $AT && sha256sum file both/* | sort -k 2";

fn with(script: &str, node: usize) -> String {
    format!("AT={AT} ME={node}\n{script}")
}

/// The same on both nodes: the lock manager's modules, its configuration, and the cluster of the two.
fn join(c: &Cluster, node: usize) -> Result<()> {
    let mut text = String::from("cluster:\n\tnode_count = 2\n\tname = lab\n");
    for number in 0..2 {
        let other = c.lab.node(number);
        text.push_str(&format!(
            "\nnode:\n\tip_port = 7777\n\tip_address = {}\n\tnumber = {number}\n\tname = {}\n\tcluster = lab\n",
            other.address(),
            other.host()
        ));
    }
    c.sh(node, "mkdir -p /etc/ocfs2 /dlm")?;
    c.lab
        .node(node)
        .put("/etc/ocfs2/cluster.conf", text.as_bytes(), 0o644)?;
    c.sh(
        node,
        "modprobe -a configfs ocfs2_stackglue ocfs2_stack_o2cb ocfs2_dlmfs ocfs2\n\
         mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config\n\
         mount -t ocfs2_dlmfs ocfs2_dlmfs /dlm && o2cb register-cluster lab",
    )?;
    for (attribute, value) in PATIENCE {
        c.sh(
            node,
            &format!("echo {value} >/sys/kernel/config/cluster/lab/{attribute}"),
        )?;
    }
    Ok(())
}

/// Runs a script that may take its time.
fn patiently(c: &Cluster, node: usize, script: &str) -> Result<String> {
    let args = ["/bin/sh", "-c", script];
    let output = c.lab.node(node).run_within(deadline(300), &args)?;
    let said = output.text() + &output.errors();
    c.note(&format!("n{}# {script}\n{said}", node + 1));
    output
        .success()
        .map_err(|e| e.at(c.lab.node(node).name()))?;
    Ok(said)
}

/// Mounted on both nodes, written by both at once, read by each what the other wrote; the file system is sound on both
/// replicas, and these are equal.
pub(super) fn both_mounted(setup: Setup, logs: &Path) -> Result<()> {
    let mut lab = LabConfig::pair(96 << 20);
    lab.flavour = Some(FLAVOUR);
    for node in &mut lab.nodes {
        node.memory_mib = 512;
        // A heartbeat that is late kills the node, and what is tested is not this kernel.
        node.detectors = false;
    }
    let config = Config {
        net: "allow-two-primaries yes;".into(),
        ..Config::default()
    };
    let c = Cluster::start_with(setup, logs, lab, &config.text())?;
    c.mirror(0)?;
    c.drbdadm(1, &["primary", "r0"])?;
    c.both(|node| join(&c, node))?;
    patiently(
        &c,
        0,
        &format!(
            "mkfs.ocfs2 -x -F -q -L mirror -N 2 -b 4K -C 4K -J size=4M \
             --cluster-stack=o2cb --cluster-name=lab {DEVICE} </dev/null"
        ),
    )?;
    c.both(|node| patiently(&c, node, &format!("mount -t ocfs2 {DEVICE} {AT}")))?;
    // It is in use.
    for node in 0..2 {
        if c.run(node, &["drbdadm", "secondary", "r0"])?.code == 0 {
            return Err(Error::new("a mounted device was demoted"));
        }
    }
    c.sh(0, &format!("mkdir {AT}/both"))?;
    c.both(|node| patiently(&c, node, &with(WRITE, node)))?;
    let sums = c.both(|node| patiently(&c, node, &with(SUMS, node)))?;
    if sums[0] != sums[1] || sums[0].lines().count() != 81 {
        return Err(Error::new(format!(
            "the nodes do not read the same files: {sums:?}"
        )));
    }
    for node in 0..2 {
        unharmed(&c, node, &sums[1 - node])?;
    }
    for node in 0..2 {
        patiently(&c, node, &format!("umount {AT}"))?;
    }
    for node in 0..2 {
        let said = patiently(&c, node, &format!("fsck.ocfs2 -f -n {DEVICE} 2>&1"))?;
        if !said.contains("All passes succeeded") {
            return Err(Error::new(format!(
                "the check of n{} says:\n{said}",
                node + 1
            )));
        }
        c.sh(node, "o2cb unregister-cluster lab; umount /dlm")?;
        c.drbdadm(node, &["secondary", "r0"])?;
    }
    c.compare()?;
    c.finish()
}

/// What a node wrote is what the other one reads: its own files by their sums, its blocks of the file of both.
fn unharmed(c: &Cluster, node: usize, read_by_the_other: &str) -> Result<()> {
    let written = c.sh(node, "cat /tmp/sums")?;
    for line in written.lines() {
        let sum = line.split_whitespace().next().unwrap_or("no sum");
        if !read_by_the_other.contains(sum) {
            return Err(Error::new(format!(
                "the other node does not read what n{} wrote: {line}",
                node + 1
            )));
        }
    }
    // Blocks 2i + ME of the file have only the digit ME, in both nodes' eyes.
    let count = format!("tr -cd {node} <{AT}/file | wc -c");
    for reader in 0..2 {
        let bytes = c.sh(reader, &count)?;
        if bytes.trim() != (40 * 4096).to_string() {
            return Err(Error::new(format!(
                "n{} reads {} bytes of n{} in the file of both",
                reader + 1,
                bytes.trim(),
                node + 1
            )));
        }
    }
    Ok(())
}
