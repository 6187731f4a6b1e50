// SPDX-License-Identifier: GPL-2.0-only

//! Power cuts and lost links at random points under load, one after the other on the same two disks.
//!
//! The disks have volatile caches: of what was not flushed, each sector survives a cut or not. After each cycle every
//! write that was acknowledged, in this cycle or an earlier one, must be on both disks, and the disks must be equal.

#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

use clap::Parser;
use drbd_lab::{deadline, Lot, PowerCut};
use drbd_sim::progress;
use drbd_vm_tests::acks::{AckLog, Load, Writer};
use drbd_vm_tests::cluster::{source_logs, Cluster, Config, Module, Setup, Tools, DEVICE, DISK};
use drbd_vm_tests::proc_drbd::Minor;
use drbd_vm_tests::{Error, Result};
use std::process::ExitCode;
use std::time::Instant;

const SIZE: u64 = 32 << 20;
/// 4 KiB blocks that are written: several extents of the activity log.
const BLOCKS: u64 = 6144;

/// Cuts power and links at random points under load, checks every acknowledged write and that the mirrors are equal.
#[derive(Parser)]
#[command(name = "crash")]
struct Wish {
    /// How many cycles.
    #[arg(long, value_name = "N", default_value_t = 40)]
    count: u64,
    /// Decides what happens and when.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The second node runs the stock driver, both the stock tools.
    #[arg(long)]
    stock: bool,
}

/// A pair under load, and what it has promised so far.
struct Campaign {
    c: Cluster,
    lot: Lot,
    primary: usize,
    /// Writers so far: each has a later seed than the one before.
    writers: u64,
    promised: AckLog,
}

impl Campaign {
    fn up_to(&mut self, limit: u64) -> u64 {
        self.lot.draw() % limit
    }

    fn writer(&mut self, durable: bool) -> Result<Writer> {
        self.writers += 1;
        let load = Load {
            blocks: BLOCKS,
            threads: 1 + self.writers % 4,
            count: 0,
            seed: self.writers,
            durable,
        };
        Writer::start(self.c.lab.node(self.primary), DEVICE, load)
    }

    /// Waits for some more acknowledgements.
    fn go_on(&mut self, writer: &mut Writer, at_least: u64, at_most: u64) -> Result<()> {
        let more = at_least + self.up_to(at_most - at_least);
        let target = writer.log().acknowledged() + more;
        if writer.listen(deadline(120), |log| log.acknowledged() >= target) {
            return Ok(());
        }
        Err(Error::new(format!(
            "the writer on n{} is stuck at {} of {target} acknowledgements: {:?}",
            self.primary + 1,
            writer.log().acknowledged(),
            writer.log().errors()
        )))
    }

    fn cut(&mut self, node: usize) -> Result<()> {
        let seed = self.lot.draw();
        self.c.lab.node_mut(node).power_cut(PowerCut::Random(seed))
    }

    fn back(&mut self, node: usize) -> Result<()> {
        self.c.lab.node_mut(node).start()?;
        self.c.prepare(node)?;
        self.c.drbdadm(node, &["up", "r0"]).map(drop)
    }

    /// The node comes back while the other one writes; sometimes it dies again at once.
    fn back_under_load(&mut self, node: usize, writer: &mut Writer) -> Result<&'static str> {
        self.back(node)?;
        if self.up_to(3) > 0 {
            return Ok("");
        }
        self.go_on(writer, 0, 60)?;
        self.cut(node)?;
        self.go_on(writer, 1, 60)?;
        self.back(node)?;
        Ok(", which dies again in the resync")
    }

    fn settle(&mut self, writer: Option<Writer>) -> Result<()> {
        self.c.lab.network().heal_all();
        if let Some(writer) = writer {
            let log = writer.stop();
            if !log.errors().is_empty() {
                return Err(Error::new(format!("the writer saw {:?}", log.errors())));
            }
            self.promised.absorb(log);
        }
        self.c.wait_both("is mirrored again", 300, Minor::mirrored)
    }

    fn primary_dies(&mut self) -> Result<String> {
        let (dead, survivor) = (self.primary, 1 - self.primary);
        let mut writer = self.writer(false)?;
        self.go_on(&mut writer, 1, 300)?;
        self.cut(dead)?;
        self.promised.absorb(writer.lost());
        self.c
            .wait(survivor, "sees that the peer is gone", 90, |m| {
                m.connection == "WFConnection"
            })?;
        self.c.drbdadm(survivor, &["primary", "r0"])?;
        self.primary = survivor;
        let disk = self.c.lab.node(survivor).disk(DISK)?;
        self.promised.check(disk, "the survivor")?;
        let mut writer = self.writer(false)?;
        self.go_on(&mut writer, 1, 200)?;
        let again = self.back_under_load(dead, &mut writer)?;
        self.settle(Some(writer))?;
        Ok(format!("the primary n{} dies{again}", dead + 1))
    }

    fn secondary_dies(&mut self) -> Result<String> {
        let dead = 1 - self.primary;
        let mut writer = self.writer(false)?;
        self.go_on(&mut writer, 1, 300)?;
        self.cut(dead)?;
        self.go_on(&mut writer, 1, 200)?;
        let again = self.back_under_load(dead, &mut writer)?;
        self.settle(Some(writer))?;
        Ok(format!("the secondary n{} dies{again}", dead + 1))
    }

    /// What was acknowledged as durable, and what was flushed before, survives.
    fn both_die(&mut self) -> Result<String> {
        let flush = format!("dd if=/dev/null of={DEVICE} count=0 conv=fsync,notrunc 2>&1");
        self.c.sh(self.primary, &flush)?;
        let mut writer = self.writer(true)?;
        self.go_on(&mut writer, 1, 150)?;
        self.cut(0)?;
        self.cut(1)?;
        self.promised.absorb(writer.lost());
        for node in 0..2 {
            let disk = self.c.lab.node(node).disk(DISK)?;
            self.promised
                .check(disk, &format!("n{} after the power cut", node + 1))?;
        }
        self.back(0)?;
        self.back(1)?;
        self.settle(None)?;
        self.primary = self.up_to(2) as usize;
        self.c.drbdadm(self.primary, &["primary", "r0"])?;
        Ok(format!("both die, n{} goes on", self.primary + 1))
    }

    fn link_dies(&mut self) -> Result<String> {
        let other = 1 - self.primary;
        let mut writer = self.writer(false)?;
        self.go_on(&mut writer, 1, 200)?;
        let network = self.c.lab.network();
        let how = match self.lot.draw() % 4 {
            0 => {
                network.cut_both(0, 1);
                "the link dies"
            }
            1 => {
                network.cut(self.primary, other);
                "the link dies, towards the secondary"
            }
            2 => {
                network.cut(other, self.primary);
                "the link dies, towards the primary"
            }
            _ => {
                self.c.lab.node_mut(other).set_cable(false)?;
                "the cable is pulled"
            }
        };
        self.c
            .wait(self.primary, "declares the peer gone", 90, |m| {
                m.connection != "Connected"
            })?;
        self.go_on(&mut writer, 1, 100)?;
        self.c.lab.network().heal_all();
        self.c.lab.node_mut(other).set_cable(true)?;
        self.go_on(&mut writer, 0, 60)?;
        self.settle(Some(writer))?;
        Ok(how.to_owned())
    }

    fn cycle(&mut self) -> Result<String> {
        let what = match self.up_to(4) {
            0 => self.primary_dies(),
            1 => self.secondary_dies(),
            2 => self.both_die(),
            _ => self.link_dies(),
        }?;
        for node in 0..2 {
            let disk = self.c.lab.node(node).disk(DISK)?;
            self.promised.check(disk, &format!("n{}", node + 1))?;
        }
        self.c.compare()?;
        Ok(what)
    }
}

fn campaign(wish: &Wish) -> Result<()> {
    let logs = source_logs("crash");
    let start = Instant::now();
    let setup = Setup {
        modules: [
            Module::Drbdrs,
            if wish.stock {
                Module::Stock
            } else {
                Module::Drbdrs
            },
        ],
        tools: if wish.stock {
            Tools::Stock
        } else {
            Tools::Drbdrs
        },
    };
    let c = Cluster::start(setup, &logs, SIZE, &Config::default().text())?;
    c.mirror(0)?;
    let mut campaign = Campaign {
        c,
        lot: Lot::new(wish.seed),
        primary: 0,
        writers: 0,
        promised: AckLog::default(),
    };
    let bar = progress::few(wish.count, "cycles");
    for cycle in 1..=wish.count {
        let begun = Instant::now();
        campaign.c.note(&format!("cycle {cycle}"));
        let what = campaign.cycle().map_err(|error| {
            let (seed, logs) = (wish.seed, logs.display());
            Error::new(format!(
                "cycle {cycle} of seed {seed}: {error}\nlogs: {logs}"
            ))
        })?;
        bar.suspend(|| {
            println!(
                "cycle {cycle} of {}: {what}: {} writes acknowledged so far, none lost ({:.1} s)",
                wish.count,
                campaign.promised.acknowledged(),
                begun.elapsed().as_secs_f64()
            );
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    campaign.c.drbdadm(campaign.primary, &["secondary", "r0"])?;
    campaign.c.finish()?;
    println!(
        "{} cycles, {} acknowledged writes, 0 lost, 0 differences in {} s",
        wish.count,
        campaign.promised.acknowledged(),
        start.elapsed().as_secs()
    );
    Ok(())
}

fn main() -> ExitCode {
    match campaign(&Wish::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}
