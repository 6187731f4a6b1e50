// SPDX-License-Identifier: GPL-2.0-only

//! The first user's walkthrough on two virtual machines, shown command by command.

#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

use clap::Parser;
use drbd_lab::{deadline, LabConfig, Output, PowerCut};
use drbd_sim::progress;
use drbd_vm_tests::cluster::{source_logs, Cluster, Module, Setup, Tools, SEED};
use drbd_vm_tests::proc_drbd::Minor;
use drbd_vm_tests::{Error, Result};
use indicatif::ProgressBar;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const DISK_SIZE: u64 = 64 << 20;

/// Two virtual machines mirror a disk, lose a node and fail over, shown command by command.
#[derive(Parser)]
#[command(name = "demo")]
struct Wish {
    /// With the stock driver and tools instead of ours, to compare.
    #[arg(long)]
    stock: bool,
}

fn main() -> ExitCode {
    let setup = if Wish::parse().stock {
        Setup::new(Module::Stock, Module::Stock, Tools::Stock)
    } else {
        Setup::new(Module::Drbdrs, Module::Drbdrs, Tools::Drbdrs)
    };
    let start = Instant::now();
    match demo(setup) {
        Ok(()) => {
            println!(
                "\nThe demonstration took {} s and every step did what it should.",
                start.elapsed().as_secs()
            );
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("\ndemo: {e}");
            ExitCode::FAILURE
        }
    }
}

struct Show {
    c: Cluster,
}

impl Show {
    fn say(&self, text: &str) {
        println!("\n== {text}");
    }

    /// Shows a command and what it said; it must succeed. Returns its output without the errors.
    fn command(&self, node: usize, command: &str) -> Result<String> {
        self.output(node, command).map(|output| output.text())
    }

    fn output(&self, node: usize, command: &str) -> Result<Output> {
        println!("{}# {command}", self.c.lab.node(node).host());
        let output = self.c.run(node, &["/bin/sh", "-c", command])?;
        print!("{}{}", output.text(), output.errors());
        if output.code != 0 {
            return Err(Error::new(format!(
                "`{command}` ended with {}",
                output.code
            )));
        }
        Ok(output)
    }

    /// Shows /proc/drbd as it changes until `done`.
    fn watch(&self, node: usize, what: &str, done: impl Fn(&Minor) -> bool) -> Result<()> {
        println!(
            "{}# watch cat /proc/drbd      (until it {what})",
            self.c.lab.node(node).host()
        );
        let mut shown: Option<Instant> = None;
        let (mut bar, mut total) = (ProgressBar::hidden(), 0);
        drbd_lab::until(what, deadline(300), || {
            let text = self.c.proc_drbd(node)?;
            let minor = Minor::find(&text, drbd_vm_tests::cluster::MINOR).unwrap_or_default();
            let finished = done(&minor);
            let left = minor.counter("oos") << 10;
            if total == 0 && left > 0 {
                (bar, total) = (progress::bytes(left), left);
            }
            bar.set_position(total.saturating_sub(left));
            if finished {
                bar.finish_and_clear();
            }
            // Where a bar moves, more lines say nothing new.
            let due = |at: Instant| bar.is_hidden() && at.elapsed() > Duration::from_secs(3);
            if finished || shown.is_none_or(due) {
                let lines = text
                    .lines()
                    .filter(|l| l.starts_with(" 1:") || l.starts_with('\t'));
                let lines = lines.collect::<Vec<_>>().join("\n");
                bar.suspend(|| println!("{lines}"));
                shown = Some(Instant::now());
            }
            Ok(finished.then_some(()))
        })
    }
}

fn demo(setup: Setup) -> Result<()> {
    println!("Two virtual machines with Debian's stock kernel are started ({setup}).");
    let start = Instant::now();
    let lab = LabConfig::pair(DISK_SIZE);
    let c = Cluster::start_with(setup, &source_logs("demo"), lab, SEED)?;
    println!(
        "Both are up after {:.0} s: kernel {}.",
        start.elapsed().as_secs_f64(),
        c.lab.release()
    );
    let mut show = Show { c };
    prepare(&show)?;
    first_sync(&show)?;
    let sum = write_data(&show)?;
    fail_over(&mut show, &sum)?;
    come_back(&mut show)?;
    show.c.lab.check_consoles(&[])
}

fn prepare(show: &Show) -> Result<()> {
    show.say("The configuration, the same on both nodes");
    show.command(0, "cat /etc/drbd.conf")?;
    show.command(0, "grep -E '^drbd' /proc/modules; lsblk /dev/sdb")?;
    show.say("On both nodes: metadata, and up");
    for node in 0..2 {
        show.command(node, "drbdadm create-md r0 && drbdadm up r0")?;
    }
    show.watch(0, "is connected", |m| m.connection == "Connected")?;
    show.command(0, "cat /proc/drbd")?;
    let state = show.c.state(0)?;
    if state.disks != ("Inconsistent".into(), "Inconsistent".into()) {
        return Err(Error::new("at first both disks must be Inconsistent"));
    }
    Ok(())
}

fn first_sync(show: &Show) -> Result<()> {
    show.say("No sync has happened yet. The first node becomes the source");
    show.command(0, "drbdadm -- --overwrite-data-of-peer primary r0")?;
    show.watch(0, "is mirrored", Minor::mirrored)?;
    show.c.wait_both("is mirrored", 60, Minor::mirrored)?;
    compare(show)?;
    show.say("The second may be primary too: the configuration allows it");
    show.command(
        1,
        "drbdadm primary r0 && drbdadm role r0 && drbdadm secondary r0",
    )?;
    Ok(())
}

fn compare(show: &Show) -> Result<()> {
    show.c.compare()?;
    println!("(both backing disks were compared from outside, byte by byte: equal)");
    Ok(())
}

fn write_data(show: &Show) -> Result<String> {
    show.say("A file system with data on the first node");
    show.command(
        0,
        "mkfs.ext4 -q -b 4096 -E nodiscard,lazy_itable_init=0 /dev/drbd1 && mkdir -p /data && mount /dev/drbd1 /data",
    )?;
    show.command(
        0,
        "dd if=/dev/urandom of=/data/disk.img bs=1M count=4 2>&1 | tail -n 1; sync",
    )?;
    let sum = show.command(0, "sha256sum /data/disk.img")?;
    show.watch(0, "is mirrored", Minor::mirrored)?;
    Ok(sum)
}

fn fail_over(show: &mut Show, sum: &str) -> Result<()> {
    show.say("The first node loses its power, now");
    show.c.lab.node_mut(0).power_cut(PowerCut::Keep)?;
    show.watch(1, "sees that its peer is gone", |m| {
        m.connection == "WFConnection"
    })?;
    show.say("The second node takes over");
    show.command(
        1,
        "drbdadm primary r0 && mkdir -p /data && mount /dev/drbd1 /data",
    )?;
    let there = show.command(1, "sha256sum /data/disk.img")?;
    if there != sum {
        return Err(Error::new("the data are not what the first node wrote"));
    }
    println!("(the same as on the first node)");
    show.command(
        1,
        "echo 'written while the first node was away' >/data/note; sync",
    )?;
    Ok(())
}

fn come_back(show: &mut Show) -> Result<()> {
    show.say("The first node is switched on again");
    show.c.lab.node_mut(0).start()?;
    show.c.prepare(0)?;
    let before = show.c.state(1)?;
    let up = show.output(0, "drbdadm up r0")?;
    show.watch(1, "is mirrored again", Minor::mirrored)?;
    show.c.wait_both("is mirrored again", 60, Minor::mirrored)?;
    only_what_was_logged(show, &up, &before)?;
    show.command(1, "umount /data && drbdadm secondary r0")?;
    compare(show)?;
    show.command(
        0,
        "drbdadm primary r0 && mkdir -p /data && mount /dev/drbd1 /data && cat /data/note",
    )?;
    show.command(0, "umount /data && drbdadm status r0; drbdadm down r0")?;
    show.command(1, "drbdadm down r0 && cat /proc/drbd")?;
    Ok(())
}

/// Only the extents that the first node's activity log held, and what the second one wrote alone, were resynced.
fn only_what_was_logged(show: &Show, up: &Output, before: &Minor) -> Result<()> {
    let said = up.text() + &up.errors();
    let logged = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Marked additional "))
        .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
        .ok_or_else(|| Error::new("the activity log of the first node held nothing"))?;
    let (alone, disk) = (before.counter("oos"), DISK_SIZE >> 10);
    let sent = show.c.state(1)?.counter("ns") - before.counter("ns");
    println!(
        "(of {disk} KiB the activity log named {} KiB, the second node wrote {alone} KiB alone: {sent} KiB were resynced)",
        logged << 10
    );
    // What the mounted file system writes meanwhile is mirrored, and counted with it.
    let most = (logged << 10) + alone + 128;
    if sent < 4096 || sent > most || most > disk / 2 {
        return Err(Error::new(format!(
            "{sent} KiB of {disk} were sent where {most} should do"
        )));
    }
    Ok(())
}
