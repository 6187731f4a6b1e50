// SPDX-License-Identifier: GPL-2.0-only

//! One node: a QEMU process and all that the lab holds of it.

use crate::agent::{Agent, Output, Process};
use crate::console::Console;
use crate::disk::{Disk, PowerCut};
use crate::error::At;
use crate::frame::Exec;
use crate::lab::{Bus, DiskBack, NodeConfig};
use crate::nbd::Server;
use crate::process;
use crate::qmp::Monitor;
use crate::socket::Listener;
use crate::wait::deadline;
use crate::{Error, Result};
use serde_json::json;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What all nodes of a lab boot from.
pub(crate) struct Boot {
    pub(crate) kernel: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) accelerator: &'static str,
    pub(crate) hosts: Vec<(String, String)>,
}

/// A node of a [`crate::Lab`].
pub struct Node {
    config: NodeConfig,
    boot: Arc<Boot>,
    port: PathBuf,
    qemu_log: PathBuf,
    agent: Agent,
    console: Console,
    disks: Vec<NodeDisk>,
    sockets: Vec<(&'static str, Listener)>,
    monitors: Mutex<Receiver<UnixStream>>,
    monitor: Option<Monitor>,
    qemu: Option<Child>,
}

struct NodeDisk {
    name: String,
    bus: Bus,
    disk: Arc<Disk>,
    server: Option<Server>,
}

impl Node {
    /// A node that is off. `folder` takes its sockets, `logs` its logs, `port` is its socket at the switch.
    pub(crate) fn new(
        config: NodeConfig,
        boot: Arc<Boot>,
        folder: &Path,
        logs: &Path,
        port: &Path,
    ) -> Result<Node> {
        let name = config.name.clone();
        let console = Console::new(&logs.join(format!("{name}.console")))?;
        let agent = Agent::default();
        let (to_monitors, monitors) = channel();
        let monitors = Mutex::new(monitors);
        let mut sockets = Vec::new();
        let (heard, spoken) = (console.clone(), agent.clone());
        let path = |what: &str| folder.join(format!("{name}.{what}"));
        sockets.push((
            "console",
            Listener::new(&path("console"), move |stream| {
                let console = heard.clone();
                thread::spawn(move || console.follow(stream));
            })?,
        ));
        sockets.push((
            "agent",
            Listener::new(&path("agent"), move |stream| {
                let agent = spoken.clone();
                thread::spawn(move || agent.follow(stream));
            })?,
        ));
        sockets.push((
            "qmp",
            Listener::new(&path("qmp"), move |stream| {
                let _ = to_monitors.send(stream);
            })?,
        ));
        let mut disks = Vec::new();
        for (index, spec) in config.disks.iter().enumerate() {
            let disk = Arc::new(Disk::create(
                &folder.join(format!("{name}.{}", spec.name)),
                spec.size,
            )?);
            let server = match spec.back {
                DiskBack::Modelled => {
                    Some(Server::new(&path(&format!("nbd{index}")), disk.clone())?)
                }
                DiskBack::File => None,
            };
            disks.push(NodeDisk {
                name: spec.name.clone(),
                bus: spec.bus,
                disk,
                server,
            });
        }
        let qemu_log = logs.join(format!("{name}.qemu"));
        let port = port.to_owned();
        let (monitor, qemu) = (None, None);
        Ok(Node {
            config,
            boot,
            port,
            qemu_log,
            agent,
            console,
            disks,
            sockets,
            monitors,
            monitor,
            qemu,
        })
    }

    /// What the lab calls it: n1, n2, …
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its host name in the guest.
    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// Its address on the replication link, without the prefix length.
    pub fn address(&self) -> &str {
        self.config.address.split('/').next().unwrap_or("")
    }

    /// Its console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The agent, for commands from another thread while this node is borrowed elsewhere.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// A disk by its name in the guest (`sdb`).
    pub fn disk(&self, name: &str) -> Result<&Arc<Disk>> {
        let disk = self.disks.iter().find(|d| d.name == name).map(|d| &d.disk);
        disk.ok_or_else(|| Error::new(format!("{} has no disk '{name}'", self.name())))
    }

    /// The names of its disks in the guest.
    pub fn disk_names(&self) -> impl Iterator<Item = &str> {
        self.disks.iter().map(|d| d.name.as_str())
    }

    /// Starts the node and waits until commands can be run in it.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_up()
    }

    /// Starts the node; [`Node::wait_up`] waits for it. So several can boot at once.
    pub fn launch(&mut self) -> Result<()> {
        if self.running() {
            return Err(Error::new(format!("{} is on already", self.name())));
        }
        self.console.note("power on");
        {
            let monitors = self.monitors.get_mut().unwrap_or_else(|e| e.into_inner());
            while monitors.try_recv().is_ok() {}
        }
        self.qemu = Some(process::spawn_logged(&self.command(), &self.qemu_log)?);
        Ok(())
    }

    /// Waits until commands can be run in a launched node.
    pub fn wait_up(&mut self) -> Result<()> {
        let limit = deadline(240);
        let agent = self.agent.clone();
        let up = agent.wait_ready(limit, || !self.running());
        if up {
            return Ok(());
        }
        let qemu = std::fs::read_to_string(&self.qemu_log).unwrap_or_default();
        Err(Error::new(format!(
            "{} did not come up in {} s; its console ends with:\n{}\nQEMU said:\n{qemu}",
            self.name(),
            limit.as_secs(),
            self.console.tail(25)
        )))
    }

    /// Whether its QEMU runs.
    pub fn running(&mut self) -> bool {
        matches!(self.qemu.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// The process id of its QEMU, for accounting.
    pub fn pid(&self) -> Option<u32> {
        self.qemu.as_ref().map(Child::id)
    }

    /// The instructions that its processors have executed since it was started, if its configuration has `counted`.
    pub fn instructions(&self) -> Result<Option<u64>> {
        if !self.config.counted {
            return Ok(None);
        }
        let path = self.counter();
        let mut text = String::new();
        UnixStream::connect(&path)
            .and_then(|mut stream| stream.read_to_string(&mut text))
            .at(path.display())?;
        text.parse()
            .map(Some)
            .map_err(|_| Error::new(format!("'{text}' is no count of instructions")))
    }

    /// The socket of the plugin that counts instructions.
    fn counter(&self) -> PathBuf {
        self.port.with_file_name(format!("{}.count", self.name()))
    }

    /// Cuts its power: it stops between two instructions, and its disks lose of their caches what `cut` says.
    pub fn power_cut(&mut self, cut: PowerCut) -> Result<()> {
        self.monitor = None;
        if let Some(mut qemu) = self.qemu.take() {
            qemu.kill()?;
            qemu.wait()?;
            self.agent.hang_up();
            self.console.note(&format!("power cut ({cut:?})"));
        }
        self.disks
            .iter()
            .filter(|d| d.server.is_some())
            .try_for_each(|d| d.disk.power_cut(cut))
    }

    /// Stops its processor: it is silent, but its disks and its link are there.
    pub fn freeze(&mut self) -> Result<()> {
        self.monitor()?.command("stop", json!({})).map(drop)
    }

    /// Lets a frozen node go on.
    pub fn thaw(&mut self) -> Result<()> {
        self.monitor()?.command("cont", json!({})).map(drop)
    }

    /// Pulls the cable of the replication link (the guest sees the carrier go), or plugs it in again.
    pub fn set_cable(&mut self, plugged: bool) -> Result<()> {
        self.monitor()?
            .command("set_link", json!({ "name": "net0", "up": plugged }))
            .map(drop)
    }

    fn monitor(&mut self) -> Result<&mut Monitor> {
        if self.monitor.is_none() {
            let monitors = self.monitors.get_mut().unwrap_or_else(|e| e.into_inner());
            let stream = monitors.recv_timeout(deadline(30));
            let stream = stream.map_err(|_| Error::new(format!("{} is off", self.config.name)))?;
            self.monitor = Some(Monitor::new(stream)?);
        }
        self.monitor
            .as_mut()
            .ok_or_else(|| Error::new("no monitor"))
    }

    /// Runs a program in the guest to its end, at most two minutes.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_within(deadline(120), args)
    }

    /// Runs a program in the guest to its end.
    pub fn run_within(&self, limit: Duration, args: &[&str]) -> Result<Output> {
        self.spawn(args)?.wait(limit).map_err(|e| e.at(self.name()))
    }

    /// Runs a shell script in the guest; its exit code must be 0. Returns its standard output.
    pub fn sh(&self, script: &str) -> Result<String> {
        let output = self.run(&["/bin/sh", "-c", script])?;
        Ok(output.success().map_err(|e| e.at(self.name()))?.text())
    }

    /// Starts a program in the guest.
    pub fn spawn(&self, args: &[&str]) -> Result<Process> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let exec = Exec {
            args,
            ..Exec::default()
        };
        self.agent.spawn(&exec).map_err(|e| e.at(self.name()))
    }

    /// Writes a file in the guest.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        self.agent
            .put(path, bytes, mode, deadline(120))
            .map_err(|e| e.at(self.name()))
    }

    /// Copies a file of this machine into the guest, with its mode.
    pub fn put_file(&self, from: &Path, path: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let bytes =
            std::fs::read(from).map_err(|e| Error::new(format!("{}: {e}", from.display())))?;
        let mode = std::fs::metadata(from)?.permissions().mode() & 0o7777;
        self.put(path, &bytes, mode)
    }

    /// Reads a file of the guest.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.agent
            .get(path, deadline(120))
            .map_err(|e| e.at(self.name()))
    }

    fn socket(&self, what: &str) -> String {
        let socket = self.sockets.iter().find(|(name, _)| *name == what);
        socket
            .map(|(_, s)| s.path().display().to_string())
            .unwrap_or_default()
    }

    /// The command line of its QEMU.
    fn command(&self) -> Command {
        let (config, boot) = (&self.config, &self.boot);
        let mut qemu = Command::new("qemu-system-x86_64");
        let mut args = |line: &str| {
            qemu.args(line.split_whitespace());
        };
        // Without ACPI a guest has no AML to interpret: that was four fifths of its boot.
        args("-nodefaults -no-user-config -display none -no-reboot -machine pc,acpi=off,hpet=off");
        match boot.accelerator {
            "kvm" => args("-accel kvm -cpu host"),
            // Few features: what a guest does with wide vectors, TCG does one by one.
            _ => args("-accel tcg,tb-size=192,thread=multi -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+rdrand"),
        }
        if config.counted {
            let _ = std::fs::remove_file(self.counter());
            let (plugin, at) = (counter_plugin(), self.counter());
            args(&format!("-plugin {},at={}", plugin.display(), at.display()));
        }
        args(&format!("-m {} -smp {}", config.memory_mib, config.cpus));
        args(&format!(
            "-chardev socket,id=con,path={} -serial chardev:con",
            self.socket("console")
        ));
        args(&format!(
            "-chardev socket,id=qmp,path={} -mon chardev=qmp,mode=control",
            self.socket("qmp")
        ));
        args("-device virtio-serial-pci,addr=4");
        args(&format!(
            "-chardev socket,id=agent,path={}",
            self.socket("agent")
        ));
        args("-device virtserialport,chardev=agent,name=lab");
        args(&format!(
            "-netdev stream,id=net0,server=off,addr.type=unix,addr.path={}",
            self.port.display()
        ));
        args(&format!(
            "-device virtio-net-pci,netdev=net0,addr=5,mac={},romfile=",
            config.mac
        ));
        args(
            "-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng,addr=6",
        );
        args(&format!(
            "-drive if=none,id=root,format=raw,readonly=on,file={}",
            boot.root.display()
        ));
        args("-device nvme,drive=root,serial=root,addr=3");
        args("-device virtio-scsi-pci,id=scsi,addr=7");
        let (mut scsi, mut slot) = (0, 8);
        for (index, disk) in self.disks.iter().enumerate() {
            match &disk.server {
                Some(server) => args(&format!(
                    "-blockdev driver=nbd,node-name=d{index},discard=unmap,export=disk,server.type=unix,server.path={}",
                    server.path().display()
                )),
                None => args(&format!(
                    "-blockdev driver=file,node-name=d{index},discard=unmap,filename={}",
                    disk.disk.path().display()
                )),
            }
            let common =
                format!("drive=d{index},write-cache=on,werror=report,rerror=report,share-rw=on");
            match disk.bus {
                Bus::Scsi => {
                    args(&format!(
                        "-device scsi-hd,bus=scsi.0,scsi-id={scsi},serial={},{common}",
                        disk.name
                    ));
                    scsi += 1;
                }
                Bus::Virtio => {
                    args(&format!(
                        "-device virtio-blk-pci,addr={slot},serial={},{common}",
                        disk.name
                    ));
                    slot += 1;
                }
            }
        }
        qemu.arg("-kernel")
            .arg(&boot.kernel)
            .arg("-initrd")
            .arg(&boot.initramfs);
        qemu.arg("-append").arg(self.kernel_line(scsi));
        qemu
    }

    fn kernel_line(&self, scsi: usize) -> String {
        let config = &self.config;
        // TCG translates a page of code again wherever else it is mapped: with addresses drawn by lot, every program that
        // starts is translated from the beginning, and what was translated before goes when the buffer is full.
        let mut line = String::from(
            "console=ttyS0 ignore_loglevel panic=-1 oops=panic no_timer_check cryptomgr.notests rcupdate.rcu_expedited=1 \
             mitigations=off nokaslr norandmaps net.ifnames=0 random.trust_cpu=on tsc=reliable scsi_mod.scan=sync \
             rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60 \
             sysctl.kernel.hung_task_timeout_secs=90 sysctl.kernel.hung_task_warnings=-1",
        );
        // Under TCG a guest's time stamp counter is the host's. Without ACPI a guest has only the PIT to calibrate it
        // with, and on a busy host that is wrong by any factor: its timeouts would be, too.
        if let (true, Some(khz)) = (self.boot.accelerator == "tcg", crate::image::tsc_khz()) {
            line.push_str(&format!(" tsc_early_khz={khz}"));
        }
        if config.detectors {
            // Not U: a stack trace for every object of every cache makes a guest four times as slow.
            line.push_str(" kfence.sample_interval=100 slab_debug=FZP");
        }
        line.push_str(&format!(
            " lab.host={} lab.ip={} lab.scsi={scsi}",
            config.host, config.address
        ));
        for (address, name) in &self.boot.hosts {
            line.push_str(&format!(" lab.hosts={address}:{name}"));
        }
        if !config.kernel_args.is_empty() {
            line.push(' ');
            line.push_str(&config.kernel_args);
        }
        line
    }
}

/// The plugin of `tests/icount`: cargo puts it beside the program that runs.
fn counter_plugin() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("libdrbd_icount.so")
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
    }
}
