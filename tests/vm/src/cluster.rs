// SPDX-License-Identifier: GPL-2.0-only

//! Two nodes with a module and tools on each, and the resource r0 on /dev/sdb: what scenarios are written with.

use crate::proc_drbd::Minor;
use drbd_lab::image::source_tree;
use drbd_lab::{deadline, Error, Lab, LabConfig, Output, Result};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The first user's configuration, as they wrote it.
pub const SEED: &str = include_str!("../seed/drbd.conf");

/// Which driver a node loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// drbdrs.ko, as `make` built it.
    Drbdrs,
    /// drbd.ko of the stock kernel.
    Stock,
}

/// Which tools drive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// Ours.
    Drbdrs,
    /// Debian's drbd-utils.
    Stock,
}

/// Who is who in a run of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The module of each node.
    pub modules: [Module; 2],
    /// The tools of both.
    pub tools: Tools,
}

impl Setup {
    /// A setup.
    pub const fn new(n1: Module, n2: Module, tools: Tools) -> Setup {
        Setup {
            modules: [n1, n2],
            tools,
        }
    }

    /// Nothing of ours.
    pub fn is_control(&self) -> bool {
        self.modules == [Module::Stock; 2] && self.tools == Tools::Stock
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |module: Module| {
            if module == Module::Drbdrs {
                "drbdrs"
            } else {
                "stock"
            }
        };
        let tools = if self.tools == Tools::Drbdrs {
            "our-tools"
        } else {
            "stock-tools"
        };
        write!(
            f,
            "{}+{},{tools}",
            name(self.modules[0]),
            name(self.modules[1])
        )
    }
}

/// The configuration of r0 in most scenarios: the seed's resource with times that suit a slow guest.
#[derive(Clone, Debug)]
pub struct Config {
    /// `A`, `B` or `C`.
    pub protocol: char,
    /// More words for the net section.
    pub net: String,
    /// More words for the disk section.
    pub disk: String,
    /// `internal`, or a device.
    pub meta_disk: String,
}

impl Default for Config {
    fn default() -> Config {
        let (net, disk) = (String::new(), String::new());
        Config {
            protocol: 'C',
            net,
            disk,
            meta_disk: "internal".into(),
        }
    }
}

impl Config {
    /// As the text of drbd.conf.
    pub fn text(&self) -> String {
        let Config {
            protocol,
            net,
            disk,
            meta_disk,
        } = self;
        format!(
            "global {{ usage-count no; cmd-timeout-short 60; cmd-timeout-medium 120; }}\n\
             resource r0 {{\n\
             \x20 net {{ protocol {protocol}; timeout 40; ping-int 3; connect-int 1; ping-timeout 30; {net} }}\n\
             \x20 disk {{ c-plan-ahead 0; resync-rate 1000M; {disk} }}\n\
             \x20 device /dev/drbd1; disk /dev/sdb; meta-disk {meta_disk};\n\
             \x20 on iSCSI1.au.intranet {{ address 10.254.11.11:7789; }}\n\
             \x20 on iSCSI2.au.intranet {{ address 10.254.11.12:7789; }}\n\
             }}\n"
        )
    }
}

/// The lab with modules and tools; every command and its output goes to the scenario's log.
pub struct Cluster {
    /// The lab.
    pub lab: Lab,
    /// Who is who.
    pub setup: Setup,
    config: String,
    log: Mutex<File>,
    start: Instant,
    logs: PathBuf,
    ended_well: AtomicBool,
    module: PathBuf,
}

/// The minor of r0.
pub const MINOR: u32 = 1;
/// The device of r0.
pub const DEVICE: &str = "/dev/drbd1";
/// A side of the cluster to compare: the disk behind r0.
pub const DISK: &str = "sdb";

/// Where the logs of `name` go.
pub fn source_logs(name: &str) -> PathBuf {
    source_tree().join(".build/vm").join(name)
}

/// What `make` built for guests.
fn built(path: &str) -> Result<PathBuf> {
    let path = source_tree().join(".build").join(path);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::new(format!(
        "{} is missing: `make` builds it",
        path.display()
    )))
}

/// Our module for the kernel of a flavour; another one than `make` built it for is built now.
fn module_for(flavour: Option<&str>) -> Result<PathBuf> {
    let Some(flavour) = flavour else {
        return built("module/drbdrs.ko");
    };
    let folder = format!("module-{flavour}");
    let script = source_tree().join("scripts/kmake");
    let mut command = Command::new(&script);
    drbd_lab::image::for_flavour(&mut command, flavour);
    let status = command
        .arg(format!(".build/{folder}"))
        .arg("--no-print-directory")
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(Error::new(format!(
            "{} failed for the flavour {flavour}: its messages are above",
            script.display()
        )));
    }
    built(&format!("{folder}/drbdrs.ko"))
}

impl Cluster {
    /// Boots two nodes with a spare disk of `size` bytes, loads the modules and installs tools and `config`.
    pub fn start(setup: Setup, logs: &Path, size: u64, config: &str) -> Result<Cluster> {
        Cluster::start_with(setup, logs, LabConfig::pair(size), config)
    }

    /// The same with a lab of the scenario's own.
    pub fn start_with(setup: Setup, logs: &Path, lab: LabConfig, config: &str) -> Result<Cluster> {
        fs::create_dir_all(logs)?;
        for old in fs::read_dir(logs)?.flatten() {
            fs::remove_file(old.path())?;
        }
        let log = Mutex::new(File::create(logs.join("log"))?);
        let start = Instant::now();
        let module = module_for(lab.flavour)?;
        let lab = Lab::start(lab.logs(logs))?;
        let cluster = Cluster {
            lab,
            setup,
            config: config.to_owned(),
            log,
            start,
            logs: logs.to_owned(),
            ended_well: AtomicBool::new(false),
            module,
        };
        cluster.both(|node| cluster.prepare(node))?;
        Ok(cluster)
    }

    /// Does the same in both nodes at once.
    pub fn both<T: Send>(&self, work: impl Fn(usize) -> Result<T> + Sync) -> Result<[T; 2]> {
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| work(1));
            (work(0), second.join())
        });
        let second = second.map_err(|_| Error::new("a thread of the scenario panicked"))?;
        Ok([first?, second?])
    }

    /// Loads the module of a node that has just booted, and installs tools and configuration.
    pub fn prepare(&self, node: usize) -> Result<()> {
        if self.setup.tools == Tools::Drbdrs {
            let target = "/usr/local/sbin/drbd-tools";
            self.lab
                .node(node)
                .put_file(&built("cargo/release/drbd-tools")?, target)?;
            self.sh(node, "cd /usr/local/sbin && for n in drbdadm drbdsetup drbdmeta drbd-iscsi; do ln -sf drbd-tools $n; done")?;
        }
        self.configure(node, &self.config)?;
        self.load(node, self.setup.modules[node])
    }

    /// Replaces the configuration of a node.
    pub fn configure(&self, node: usize, config: &str) -> Result<()> {
        self.note(&format!("n{}: /etc/drbd.conf\n{config}", node + 1));
        self.lab
            .node(node)
            .put("/etc/drbd.conf", config.as_bytes(), 0o644)
    }

    /// Loads a module.
    pub fn load(&self, node: usize, module: Module) -> Result<()> {
        match module {
            Module::Stock => self.sh(node, "modprobe drbd")?,
            Module::Drbdrs => {
                self.lab
                    .node(node)
                    .put_file(&self.module, "/lab/drbdrs.ko")?;
                self.sh(node, "insmod /lab/drbdrs.ko")?
            }
        };
        Ok(())
    }

    /// Removes whichever module is loaded.
    pub fn unload(&self, node: usize) -> Result<()> {
        self.sh(
            node,
            "if grep -q '^drbdrs ' /proc/modules; then rmmod drbdrs; else rmmod drbd; fi",
        )
        .map(drop)
    }

    /// Writes a line into the scenario's log.
    pub fn note(&self, text: &str) {
        let mut log = self.log.lock().unwrap_or_else(|e| e.into_inner());
        let _ = writeln!(log, "[{:8.3}] {text}", self.start.elapsed().as_secs_f64());
    }

    /// Runs a program in a node and logs it.
    pub fn run(&self, node: usize, args: &[&str]) -> Result<Output> {
        let output = self.lab.node(node).run(args)?;
        let (text, errors) = (output.text(), output.errors());
        self.note(&format!(
            "n{}# {}\n{text}{errors}=> {}",
            node + 1,
            args.join(" "),
            output.code
        ));
        Ok(output)
    }

    /// Runs a shell script in a node; it must succeed. Returns what it said.
    pub fn sh(&self, node: usize, script: &str) -> Result<String> {
        let output = self.run(node, &["/bin/sh", "-c", script])?;
        Ok(output
            .success()
            .map_err(|e| e.at(self.lab.node(node).name()))?
            .text())
    }

    /// Runs drbdadm in a node; it must succeed. Returns what it said.
    pub fn drbdadm(&self, node: usize, args: &[&str]) -> Result<String> {
        let line = [&["drbdadm"], args].concat();
        Ok(self.insist(node, &line, &["(-18)"])?.text())
    }

    /// What /proc/drbd of a node says.
    pub fn proc_drbd(&self, node: usize) -> Result<String> {
        let text = self.lab.node(node).get("/proc/drbd")?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// r0 as /proc/drbd of a node shows it.
    pub fn state(&self, node: usize) -> Result<Minor> {
        let text = self.proc_drbd(node)?;
        let minor = Minor::find(&text, MINOR);
        minor.ok_or_else(|| {
            Error::new(format!(
                "minor {MINOR} is not in /proc/drbd of n{}:\n{text}",
                node + 1
            ))
        })
    }

    /// Waits until r0 of a node is as `wanted` says.
    pub fn wait(
        &self,
        node: usize,
        what: &str,
        seconds: u64,
        wanted: impl Fn(&Minor) -> bool,
    ) -> Result<Minor> {
        let mut last = String::new();
        let what = format!("n{}: {what}", node + 1);
        let result = drbd_lab::until(&what, deadline(seconds), || {
            let text = self.proc_drbd(node)?;
            let minor = Minor::find(&text, MINOR).filter(&wanted);
            last = text;
            Ok(minor)
        });
        self.note(&format!(
            "{what}: {}\n{last}",
            if result.is_ok() { "yes" } else { "NO" }
        ));
        result.map_err(|e| {
            let consoles = self
                .lab
                .nodes()
                .iter()
                .map(|n| format!("-- console of {}:\n{}", n.name(), n.console().tail(15)));
            Error::new(format!(
                "{e}; /proc/drbd says:\n{last}\n{}",
                consoles.collect::<Vec<_>>().join("\n")
            ))
        })
    }

    /// Waits until both nodes say so.
    pub fn wait_both(
        &self,
        what: &str,
        seconds: u64,
        wanted: impl Fn(&Minor) -> bool,
    ) -> Result<()> {
        (0..2).try_for_each(|node| self.wait(node, what, seconds, &wanted).map(drop))
    }

    /// create-md and up on both nodes, until they are connected.
    pub fn up(&self) -> Result<()> {
        self.both(|node| {
            self.drbdadm(node, &["create-md", "r0"])?;
            self.drbdadm(node, &["up", "r0"])
        })?;
        self.wait_both("is connected", 60, |m| m.connection == "Connected")
    }

    /// Makes `node` primary over a peer whose data are given up, and waits until the mirror is complete.
    pub fn first_sync(&self, node: usize) -> Result<()> {
        self.drbdadm(node, &["--", "--overwrite-data-of-peer", "primary", "r0"])?;
        self.wait_both("is mirrored", 300, Minor::mirrored)
    }

    /// Connected and mirrored, with little work: both nodes up, one synced from the other.
    pub fn mirror(&self, primary: usize) -> Result<()> {
        self.up()?;
        self.first_sync(primary)
    }

    /// The size of a device, in bytes.
    pub fn device_size(&self, node: usize, minor: u32) -> Result<u64> {
        let text = self.sh(node, &format!("cat /sys/block/drbd{minor}/size"))?;
        let sectors: u64 = text
            .trim()
            .parse()
            .map_err(|_| Error::new(format!("'{text}' is no size")))?;
        Ok(sectors * 512)
    }

    /// Compares both backing disks from outside, byte by byte, once nothing is under way.
    pub fn compare(&self) -> Result<()> {
        self.wait_both("is idle", 60, Minor::idle)?;
        self.compare_disks(DISK, MINOR)
    }

    /// Compares the disks that are called `disk` as far as `minor`, which is idle, uses them.
    pub fn compare_disks(&self, disk: &str, minor: u32) -> Result<()> {
        let size = self.device_size(0, minor)?;
        let (a, b) = (self.lab.node(0).disk(disk)?, self.lab.node(1).disk(disk)?);
        match a.first_difference(b, 0..size)? {
            None => Ok(()),
            Some(at) => {
                let show = |disk: &drbd_lab::Disk| disk.contents(at, 16.min((size - at) as usize));
                let (a, b) = (show(a)?, show(b)?);
                Err(Error::new(format!(
                    "the mirrors differ at byte {at} of {size}: {a:02x?} and {b:02x?}"
                )))
            }
        }
    }

    /// Fills the data area of a node's disk from outside with bytes that `seed` decides. Nothing may be mirrored yet.
    pub fn fill(&self, node: usize, seed: u64) -> Result<()> {
        let disk = self.lab.node(node).disk(DISK)?;
        let mut lot = seed;
        let mut step = vec![0u8; 1 << 20];
        let mut at = 0;
        // The last MiB has the metadata.
        while at + 2 * (step.len() as u64) <= disk.size() {
            for word in step.chunks_exact_mut(8) {
                lot = lot
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                word.copy_from_slice(&(lot ^ (lot >> 29)).to_le_bytes());
            }
            disk.overwrite(at, &step)?;
            at += step.len() as u64;
        }
        Ok(())
    }

    /// Writes `mib` MiB of noise at `offset` MiB of the device of a node, through the driver.
    pub fn write_noise(&self, node: usize, offset: u64, mib: u64) -> Result<()> {
        let script = format!(
            "dd if=/dev/urandom of={DEVICE} bs=1M seek={offset} count={mib} oflag=direct conv=fsync,notrunc 2>&1"
        );
        self.sh(node, &script).map(drop)
    }

    /// `down` at once. The stock driver refuses it for a moment while the peer leaves, too; ours must not.
    pub fn down(&self, node: usize) -> Result<()> {
        self.insist(node, &["drbdadm", "down", "r0"], &["(-10)", "(-18)"])
            .map(drop)
    }

    /// Runs a command that the stock driver may refuse for a moment, with one of the codes `passing`.
    fn insist(&self, node: usize, line: &[&str], passing: &[&str]) -> Result<Output> {
        drbd_lab::until("the stock driver lets it pass", deadline(30), || {
            let output = self.run(node, line)?;
            let text = output.errors();
            let again = output.code != 0
                && passing.iter().any(|code| text.contains(code))
                && self.has_stock(node)?;
            Ok((!again).then_some(output))
        })?
        .success()
        .map_err(|e| e.at(self.lab.node(node).name()))
    }

    /// Whether it is the stock driver that a node has loaded now.
    fn has_stock(&self, node: usize) -> Result<bool> {
        let loaded = self.sh(node, "grep -c '^drbd ' /proc/modules || true")?;
        Ok(loaded.trim() == "1")
    }

    /// `down` and `rmmod` on both nodes; nothing of the driver may be left, and the consoles must be clean.
    pub fn finish(&self) -> Result<()> {
        self.finish_allowing(&[])
    }

    /// The same where the consoles may have reports with these words.
    pub fn finish_allowing(&self, allowed: &[&str]) -> Result<()> {
        self.both(|node| {
            self.replay_decisions(node)?;
            self.down(node)?;
            self.unload(node)?;
            self.nothing_left(node)
        })?;
        self.lab.check_consoles(allowed)?;
        self.ended_well.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What our module decided in a node is decided again here, by the core as the host compiles it.
    fn replay_decisions(&self, node: usize) -> Result<()> {
        // A scenario may have exchanged the module, or named it otherwise; the stock one has no such file.
        let trace = self.sh(
            node,
            "trace=/sys/kernel/debug/drbd/trace; \
             if grep -q '^drbdrs ' /proc/modules || [ -e $trace ]; then cat $trace; else echo stock; fi",
        )?;
        if trace.trim() == "stock" {
            return Ok(());
        }
        let configured = self.sh(node, "cat /proc/drbd")?.contains(" cs:");
        let replay = drbd_sim::replay::replay(&trace);
        if configured && replay.decisions == 0 {
            return Err(Error::new(
                "a configured device without a decision in drbd/trace",
            ));
        }
        match replay.differing.first() {
            None => Ok(()),
            Some(first) => Err(Error::new(format!(
                "{} of {} decisions of n{} come out differently here; the first: {first}",
                replay.differing.len(),
                replay.decisions,
                node + 1
            ))),
        }
    }

    /// No slab, thread or socket of the driver is left in a node without module. (Sockets that TCP itself still closes
    /// are nobody's: the peer may be off.)
    pub fn nothing_left(&self, node: usize) -> Result<()> {
        let left = self.sh(
            node,
            "grep '^drbd' /proc/slabinfo; ps -e -o comm= | grep '^drbd'; \
             awk '$2 ~ /:1E6D$/ || $3 ~ /:1E6D$/ { if ($4 ~ /0[1238A]/) print \"socket\", $0 }' /proc/net/tcp; \
             ls -d /sys/kernel/debug/drbd /proc/drbd 2>/dev/null; true",
        )?;
        if left.trim().is_empty() {
            return Ok(());
        }
        Err(Error::new(format!(
            "left in n{} after rmmod:\n{left}",
            node + 1
        )))
    }
}

/// The state of the devices, and where the driver's threads and all that sleep without interruption are.
const LAST_WORDS: &str = "cat /proc/drbd; cd /proc; for p in [0-9]*; do \
    read -r comm <$p/comm; read -r _ _ state _ <$p/stat; \
    case $comm-$state in drbd*|*-D) echo \"$p $comm $state\"; cat $p/stack;; esac; done 2>/dev/null";

/// Where a failed scenario's nodes were is in a file of this name among its logs.
pub const LAST_WORDS_FILE: &str = "last-words";

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ended_well.load(Ordering::Relaxed) {
            return;
        }
        let mut text = String::new();
        for number in 0..self.lab.nodes().len() {
            let node = self.lab.node(number);
            let said = node.run_within(Duration::from_secs(20), &["/bin/sh", "-c", LAST_WORDS]);
            let said = said.map_or_else(|e| e.to_string(), |output| output.text());
            text.push_str(&format!("at the end, {}:\n{said}\n", node.name()));
        }
        let _ = fs::write(self.logs.join(LAST_WORDS_FILE), text);
    }
}
