// SPDX-License-Identifier: GPL-2.0-only

//! The first user's end state: two nodes export the mirror, an initiator sees one disk with two paths.

use crate::acks::{AckLog, Load};
use crate::cluster::{Cluster, Setup, DISK, SEED};
use crate::initiator::{self, INITIATOR, MAP, SEED_IETD, SERIAL};
use crate::proc_drbd::Minor;
use crate::stall::Heard;
use drbd_lab::{deadline, DiskSpec, Error, PowerCut, Process, Result};
use std::path::Path;

pub(super) const LOAD: Load = Load {
    blocks: 1024,
    threads: 2,
    count: 0,
    seed: 5,
    durable: false,
};

pub(super) fn expect(text: &str, part: &str) -> Result<()> {
    if text.contains(part) {
        return Ok(());
    }
    Err(Error::new(format!("expected\n{part}\nin\n{text}")))
}

/// Runs the exporter in a node; it must succeed. What it said, warnings and all.
pub(super) fn export(c: &Cluster, node: usize, args: &[&str]) -> Result<String> {
    let output = c.run(node, &[&["drbd-iscsi"], args].concat())?;
    let said = output.text() + &output.errors();
    output
        .success()
        .map_err(|e| e.at(c.lab.node(node).name()))?;
    Ok(said)
}

/// Both nodes mirrored, with the first user's files; the first one primary.
fn start(setup: Setup, logs: &Path) -> Result<Cluster> {
    start_with(setup, logs, SEED)
}

pub(super) fn start_with(setup: Setup, logs: &Path, config: &str) -> Result<Cluster> {
    let c = Cluster::start_with(setup, logs, initiator::lab(16 << 20), config)?;
    c.mirror(0)?;
    for node in 0..2 {
        c.lab
            .node(node)
            .put("/etc/iet/ietd.conf", SEED_IETD.as_bytes(), 0o644)?;
    }
    initiator::start(&c)?;
    Ok(c)
}

pub(super) fn follow(c: &Cluster, node: usize) -> Result<Process> {
    c.lab.node(node).spawn(&["drbd-iscsi", "follow"])
}

/// Makes a node primary and exports: what the first user has at every boot.
pub(super) fn serve(c: &Cluster, node: usize, access: &str) -> Result<()> {
    c.drbdadm(node, &["primary", "r0"])?;
    let said = export(c, node, &["apply"])?;
    expect(&said, &format!("/dev/drbd1: {access}: "))?;
    expect(&said, "ietd.conf:2:28: warning: Type=fileio")
}

/// One disk with two paths; the node that serves loses its power under load; the initiator sees no error, and the path
/// is back once its node is.
pub(super) fn failover(setup: Setup, logs: &Path) -> Result<()> {
    power_cut(setup, logs, SEED, 0)
}

/// The same of the standby node, with the times that the user guide recommends: writes wait for as long as DRBD takes
/// to see that the peer is dead.
pub(super) fn standby_cut(setup: Setup, logs: &Path) -> Result<()> {
    power_cut(setup, logs, &tuned(), 1)
}

/// The serving node's power cut with those times.
pub(super) fn failover_tuned(setup: Setup, logs: &Path) -> Result<()> {
    power_cut(setup, logs, &tuned(), 0)
}

/// The first user's file with the times recommended for storage.
pub(super) fn tuned() -> String {
    SEED.replace(
        "allow-two-primaries;",
        "allow-two-primaries; ping-int 3; ping-timeout 10; timeout 40;",
    )
}

/// Starts a node that has lost its power, with nothing configured in the driver yet.
pub(super) fn boot_again(c: &mut Cluster, node: usize) -> Result<()> {
    c.lab.node_mut(node).start()?;
    c.prepare(node)?;
    c.lab
        .node(node)
        .put("/etc/iet/ietd.conf", SEED_IETD.as_bytes(), 0o644)
}

/// Makes a node that has started again part of the mirror: the initiator has two paths again, and this is the other one.
pub(super) fn join_again(c: &Cluster, node: usize) -> Result<()> {
    c.drbdadm(node, &["up", "r0"])?;
    c.wait_both("is mirrored again", 300, Minor::mirrored)?;
    serve(c, node, "standby")?;
    initiator::wait_paths(c, 1, 1, 120).map(drop)
}

/// A verifying load through the initiator while `victim` loses its power and comes back.
fn power_cut(setup: Setup, logs: &Path, config: &str, victim: usize) -> Result<()> {
    let mut c = start_with(setup, logs, config)?;
    serve(&c, 0, "active")?;
    serve(&c, 1, "standby")?;
    let again = export(&c, 0, &["apply"])?;
    if again.contains("changes") {
        return Err(Error::new(format!(
            "a second apply changed something:\n{again}"
        )));
    }
    // What is exported cannot be demoted.
    let refused = c.run(1, &["drbdadm", "secondary", "r0"])?;
    if refused.code == 0 {
        return Err(Error::new("an exported device was demoted"));
    }
    let follower = follow(&c, 1 - victim)?;
    initiator::login(&c)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    let inquiry = c.sh(INITIATOR, &format!("sg_inq --page=sn {MAP}"))?;
    expect(&inquiry, SERIAL)?;

    let load = Heard::start(c.lab.node(INITIATOR), MAP, LOAD)?;
    load.goes_on(200)?;
    c.note(&format!(
        "longest wait before the power cut: {:?}",
        load.longest()
    ));
    c.lab.node_mut(victim).power_cut(PowerCut::Keep)?;
    load.goes_on(200)?;
    println!(
        "san: longest stall at the power cut of the {} node: {:.1} s",
        ["serving", "standby"][victim],
        load.longest().as_secs_f64()
    );

    boot_again(&mut c, victim)?;
    join_again(&c, victim)?;
    load.goes_on(50)?;
    let log = load.stop()?;
    nothing_is_missing(&c, &log)?;
    follower.kill(15)?;
    finish(&c)
}

/// The initiator leaves; both disks are equal and have every write that it was told of.
pub(super) fn nothing_is_missing(c: &Cluster, log: &AckLog) -> Result<()> {
    initiator::logout(c)?;
    c.compare()?;
    for node in 0..2 {
        log.check(c.lab.node(node).disk(DISK)?, &format!("n{}", node + 1))?;
    }
    Ok(())
}

/// Both nodes serve at once, because the user said so: no read is stale, and there are no SCSI locks to rely on.
pub(super) fn both_active(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs)?;
    for node in 0..2 {
        c.drbdadm(node, &["primary", "r0"])?;
        let said = export(&c, node, &["apply", "--both-active"])?;
        expect(&said, "both nodes serve /dev/drbd1: it has no SCSI locks")?;
    }
    initiator::login(&c)?;
    initiator::wait_paths(&c, 2, 0, 60)?;
    let paths = [initiator::path_of(&c, 0)?, initiator::path_of(&c, 1)?];
    let stale = ["/proc/1/exe", "stale", &paths[0], &paths[1], "1000"];
    expect(
        &c.run(INITIATOR, &stale)?.success()?.text(),
        "0 of 1000 reads were stale",
    )?;
    for path in &paths {
        let compare = format!(
            "head -c 1024 /dev/zero >/tmp/zero; sg_compare_and_write --in=/tmp/zero --lba=9 {path}"
        );
        for script in [
            compare,
            format!("sg_persist -i -k {path}"),
            format!("sg_raw {path} 16 00 00 00 00 00"),
        ] {
            let output = c.run(INITIATOR, &["/bin/sh", "-c", &script])?;
            expect(
                &(output.text() + &output.errors()).to_lowercase(),
                "illegal request",
            )?;
        }
    }
    initiator::logout(&c)?;
    c.compare()?;
    finish(&c)
}

/// The serving node hands over.
fn hand_over(c: &Cluster, from: usize, to: usize) -> Result<()> {
    export(c, from, &["standby"])?;
    export(c, to, &["active"]).map(drop)
}

/// Reservations hold in the node that serves, and end when the other one does.
pub(super) fn locks(setup: Setup, logs: &Path) -> Result<()> {
    let c = start(setup, logs)?;
    serve(&c, 0, "active")?;
    serve(&c, 1, "standby")?;
    initiator::login(&c)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    let path = initiator::path_of(&c, 0)?;
    c.sh(
        INITIATOR,
        &format!("sg_persist -o -G -S 0xabc {path} && sg_persist -o -R -K 0xabc -T 5 {path}"),
    )?;
    expect(
        &c.sh(INITIATOR, &format!("sg_persist -i -k {path}"))?,
        "0xabc",
    )?;
    for (from, to) in [(0, 1), (1, 0)] {
        hand_over(&c, from, to)?;
        initiator::wait_paths(&c, 1, 1, 60)?;
        for node in 0..2 {
            let path = initiator::path_of(&c, node)?;
            let said = c.sh(
                INITIATOR,
                &format!("sg_turs -q {path}; sg_persist -i -k {path}"),
            )?;
            expect(&said, "NO registered reservation keys")?;
        }
        c.sh(
            INITIATOR,
            &format!("dd if=/dev/urandom of={MAP} bs=64k count=4 oflag=direct"),
        )?;
    }
    initiator::logout(&c)?;
    c.compare()?;
    finish(&c)
}

/// Two workers of the initiator count with COMPARE AND WRITE while the nodes take turns in serving: no count is lost.
pub(super) fn counter(setup: Setup, logs: &Path) -> Result<()> {
    const EACH: u32 = 1000;
    const WORKER: &str = include_str!("../../guest/count.pl");
    let c = start(setup, logs)?;
    serve(&c, 0, "active")?;
    serve(&c, 1, "standby")?;
    initiator::login(&c)?;
    initiator::wait_paths(&c, 1, 1, 60)?;
    let initiator = c.lab.node(INITIATOR);
    initiator.put("/lab/count.pl", WORKER.as_bytes(), 0o755)?;
    let zero =
        format!("printf %-512s '0 0' >/tmp/0; dd if=/tmp/0 of={MAP} bs=512 count=1 oflag=direct");
    c.sh(INITIATOR, &zero)?;
    let each = EACH.to_string();
    let worker = |who: &str| initiator.spawn(&["/usr/bin/perl", "/lab/count.pl", MAP, who, &each]);
    let (first, second) = (worker("0")?, worker("1")?);
    let value = || -> Result<u32> {
        let text = initiator.sh(&format!(
            "dd if={MAP} bs=512 count=1 iflag=direct 2>/dev/null"
        ))?;
        let counts = text.split_whitespace().map(str::parse::<u32>);
        let sum: std::result::Result<u32, _> = counts.sum();
        sum.map_err(|e| Error::new(format!("the sector says '{}': {e}", text.trim())))
    };
    let mut serving = 0;
    let mut switches = 0;
    for target in (100..2 * EACH - 100).step_by(100) {
        let goes_on = drbd_lab::until("the counter goes on", deadline(120), || {
            Ok((value()? >= target).then_some(()))
        });
        if let Err(e) = goes_on {
            first.kill(15)?;
            second.kill(15)?;
            let said = [first, second].map(|worker| match worker.wait(deadline(60)) {
                Ok(output) => output.text() + &output.errors(),
                Err(e) => e.to_string(),
            });
            return Err(Error::new(format!(
                "{e}: {} of {target}; workers: {said:?}",
                value()?
            )));
        }
        hand_over(&c, serving, 1 - serving)?;
        serving = 1 - serving;
        switches += 1;
    }
    for worker in [first, second] {
        c.note(&worker.wait(deadline(300))?.success()?.text());
    }
    println!("san: {} counted over {switches} switches", value()?);
    if value()? != 2 * EACH {
        return Err(Error::new(format!(
            "the counter is {}, not {}",
            value()?,
            2 * EACH
        )));
    }
    initiator::logout(&c)?;
    c.compare()?;
    // The kernel's target wonders about a COMPARE AND WRITE on a standby path; a node that begins to serve has a new
    // unit because of what it does then.
    finish_allowing(&c, &["compare_and_write_callback"])
}

/// The suites of libiscsi that say what a target must do.
const SUITES: [&str; 15] = [
    "CompareAndWrite",
    "ProutRegister",
    "ProutReserve",
    "PrinReadKeys",
    "Reserve6",
    "Inquiry",
    "ReadCapacity10",
    "ReadCapacity16",
    "Read16",
    "Write16",
    "WriteSame10",
    "WriteSame16",
    "Unmap",
    "ModeSense6",
    "ReportSupportedOpcodes",
];

/// The mirrored disk answers every test of libiscsi as a plain disk under the same target does.
pub(super) fn conformance(setup: Setup, logs: &Path) -> Result<()> {
    let mut lab = initiator::lab(16 << 20);
    for node in &mut lab.nodes[..2] {
        node.disks.push(DiskSpec::new("sdc", 16 << 20));
    }
    let c = Cluster::start_with(setup, logs, lab, SEED)?;
    c.mirror(0)?;
    let plain = format!("{SEED_IETD}\nLun 1 Path=/dev/sdc,Type=blockio\n");
    c.lab
        .node(0)
        .put("/etc/iet/ietd.conf", plain.as_bytes(), 0o644)?;
    expect(&export(&c, 0, &["apply"])?, "/dev/drbd1: active: ")?;
    let target = format!(
        "iscsi://{}/iqn.2000-12.com.blogsite.lraikhman:storage.lun1",
        c.lab.node(0).address()
    );
    let mut tests = 0;
    for suite in SUITES {
        let results = |unit: u32| -> Result<Vec<String>> {
            let url = format!("{target}/{unit}");
            let args = [
                "iscsi-test-cu",
                "-d",
                "-v",
                "-t",
                &format!("SCSI.{suite}"),
                &url,
            ];
            let output = c.lab.node(INITIATOR).run_within(deadline(240), &args)?;
            let text = output.text();
            c.note(&format!("{}\n{text}", args.join(" ")));
            Ok(verdicts(&text))
        };
        let (mirror, plain) = (results(0)?, results(1)?);
        if mirror.is_empty() || mirror != plain {
            return Err(Error::new(format!(
                "{suite}: the mirror says {mirror:?}, a plain disk {plain:?}"
            )));
        }
        tests += mirror.len();
    }
    println!("san: {tests} tests of libiscsi answered as by a plain disk");
    c.compare()?;
    finish(&c)
}

/// `Test: NAME ...passed`, without what is said in between.
fn verdicts(text: &str) -> Vec<String> {
    let mut verdicts = Vec::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("Test: ") {
            verdicts.push(rest.split([' ', '.']).next().unwrap_or("").to_owned());
        }
        let word = ["passed", "FAILED"]
            .into_iter()
            .find(|word| line.trim_end().ends_with(word));
        if let (Some(word), Some(last)) = (word, verdicts.last_mut()) {
            if !last.contains(' ') {
                last.push(' ');
                last.push_str(word);
            }
        }
    }
    verdicts
}

/// What the initiator's own kernel may say when a session ends: of a work queue that flushes another one.
const INITIATORS: [&str; 2] = ["check_flush_dependency", "Call Trace:"];

/// Unexports and ends.
pub(super) fn finish(c: &Cluster) -> Result<()> {
    finish_allowing(c, &[])
}

fn finish_allowing(c: &Cluster, allowed: &[&str]) -> Result<()> {
    for node in 0..2 {
        export(c, node, &["remove"])?;
        c.drbdadm(node, &["secondary", "r0"])?;
    }
    c.finish_allowing(&[&INITIATORS, allowed].concat())
}
