// SPDX-License-Identifier: GPL-2.0-only

//! A lab: nodes, the switch between them, and the folder where their traces are.

use crate::error::At;
use crate::image;
use crate::node::{Boot, Node};
use crate::switch::{Sockets, Switch};
use crate::wait::deadline;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// How a disk is attached; this decides its name in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `sda`, `sdb`, … in the order of the configuration.
    Scsi,
    /// `vda`, `vdb`, … in the order of the configuration.
    Virtio,
}

/// What is behind a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBack {
    /// [`crate::Disk`]: a volatile cache, faults, counters.
    Modelled,
    /// The file itself, by QEMU: faster, for measurements; a power cut keeps what was written.
    File,
}

/// A disk of a node.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// Its name in the guest. It must be the next one of its bus.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// How it is attached.
    pub bus: Bus,
    /// What is behind it.
    pub back: DiskBack,
}

impl DiskSpec {
    /// A modelled disk named `name` (`sdX` or `vdX`).
    pub fn new(name: &str, size: u64) -> DiskSpec {
        let bus = if name.starts_with("vd") {
            Bus::Virtio
        } else {
            Bus::Scsi
        };
        DiskSpec {
            name: name.to_owned(),
            size,
            bus,
            back: DiskBack::Modelled,
        }
    }

    /// The same with a plain file behind it.
    pub fn plain(mut self) -> DiskSpec {
        self.back = DiskBack::File;
        self
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What the lab calls it.
    pub name: String,
    /// Its host name.
    pub host: String,
    /// Its address on the replication link, with the prefix length.
    pub address: String,
    /// Its hardware address.
    pub mac: String,
    /// Its memory.
    pub memory_mib: u32,
    /// Its processors.
    pub cpus: u32,
    /// Its disks.
    pub disks: Vec<DiskSpec>,
    /// KFENCE and slab debugging. Off only to measure.
    pub detectors: bool,
    /// Whether [`Node::instructions`] can be asked; makes an emulated guest slower.
    pub counted: bool,
    /// More words for the kernel command line.
    pub kernel_args: String,
}

/// A lab.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// The nodes.
    pub nodes: Vec<NodeConfig>,
    /// Where consoles and QEMU's messages go; a temporary folder if `None`.
    pub logs: Option<PathBuf>,
    /// Decides what is random.
    pub seed: u64,
    /// The flavour of the guests' kernel, if the scenario needs a certain one.
    pub flavour: Option<&'static str>,
}

impl LabConfig {
    /// `count` nodes as in the first user's walkthrough: hosts iSCSI1.au.intranet, …, addresses 10.254.11.11, …, and
    /// `/dev/sdb` with `size` bytes as the spare disk beside a small `/dev/sda`.
    pub fn nodes(count: usize, size: u64) -> LabConfig {
        let node = |number: usize| NodeConfig {
            name: format!("n{number}"),
            host: format!("iSCSI{number}.au.intranet"),
            address: format!("10.254.11.{}/24", 10 + number),
            mac: format!("52:54:00:0a:fe:{:02x}", 10 + number),
            memory_mib: 256,
            cpus: 1,
            disks: vec![DiskSpec::new("sda", 8 << 20), DiskSpec::new("sdb", size)],
            detectors: true,
            counted: false,
            kernel_args: String::new(),
        };
        LabConfig {
            nodes: (1..=count).map(node).collect(),
            logs: None,
            seed: 1,
            flavour: None,
        }
    }

    /// Two nodes, see [`LabConfig::nodes`].
    pub fn pair(size: u64) -> LabConfig {
        LabConfig::nodes(2, size)
    }

    /// Keeps consoles and QEMU's messages in `folder`.
    pub fn logs(mut self, folder: impl Into<PathBuf>) -> LabConfig {
        self.logs = Some(folder.into());
        self
    }
}

/// Nodes and the link between them. When it is dropped, all is gone but the logs.
pub struct Lab {
    // Dropped in this order: QEMUs, then what they are connected to, then the folders.
    nodes: Vec<Node>,
    switch: Switch,
    _sockets: Sockets,
    logs: PathBuf,
    folder: Folder,
    release: String,
}

/// A temporary folder; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("drbdrs-lab-{}-{number}", std::process::id());
        // Disks belong in memory; the socket paths in it must be short.
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = base.join(name);
        sweep(&base);
        fs::create_dir(&path).at(path.display())?;
        Ok(Folder(path))
    }
}

/// Removes what labs left whose process was killed.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let owner = name
            .strip_prefix("drbdrs-lab-")
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Lab {
    /// Makes a lab and starts all its nodes.
    pub fn start(config: LabConfig) -> Result<Lab> {
        let mut lab = Lab::new(config)?;
        lab.nodes.iter_mut().try_for_each(Node::launch)?;
        lab.nodes.iter_mut().try_for_each(Node::wait_up)?;
        Ok(lab)
    }

    /// Makes a lab whose nodes are off.
    pub fn new(config: LabConfig) -> Result<Lab> {
        let image = image::image(config.flavour)?;
        let folder = Folder::new()?;
        let logs = config.logs.clone().unwrap_or_else(|| folder.0.join("logs"));
        fs::create_dir_all(&logs).at(logs.display())?;
        let initramfs = folder.0.join("initramfs");
        fs::write(&initramfs, image::initramfs(&image.early)?)?;
        let ports: Vec<PathBuf> = config
            .nodes
            .iter()
            .map(|n| folder.0.join(format!("{}.net", n.name)))
            .collect();
        let (switch, sockets) = Switch::new(&ports, config.seed)?;
        let host = |n: &NodeConfig| {
            (
                n.address.split('/').next().unwrap_or("").to_owned(),
                n.host.clone(),
            )
        };
        let boot = Arc::new(Boot {
            accelerator: image::accelerator(&image),
            kernel: image.kernel,
            root: image.root,
            initramfs,
            hosts: config.nodes.iter().map(host).collect(),
        });
        let mut nodes = Vec::new();
        for (node, port) in config.nodes.into_iter().zip(&ports) {
            nodes.push(Node::new(node, boot.clone(), &folder.0, &logs, port)?);
        }
        Ok(Lab {
            nodes,
            switch,
            _sockets: sockets,
            logs,
            folder,
            release: image.release,
        })
    }

    /// Removes the temporary folder now: for a process that ends without dropping the lab.
    pub fn clean_up(&self) {
        let _ = fs::remove_dir_all(&self.folder.0);
    }

    /// The kernel's release in the guests.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Where the logs are.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Node `index`, from 0.
    ///
    /// # Panics
    /// If there is none: the caller made the lab.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Node `index`, from 0, to change it.
    ///
    /// # Panics
    /// If there is none: the caller made the lab.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The index of the node that the lab calls `name` (or whose host name it is).
    pub fn find(&self, name: &str) -> Result<usize> {
        let found = self
            .nodes
            .iter()
            .position(|n| n.name() == name || n.host() == name);
        let names: Vec<&str> = self.nodes.iter().map(Node::name).collect();
        found.ok_or_else(|| Error::new(format!("no node '{name}'; there are {}", names.join(", "))))
    }

    /// The replication link; ports have the numbers of the nodes.
    pub fn network(&self) -> &Switch {
        &self.switch
    }

    /// An error if a console has a report of trouble (see [`crate::console::REPORTS`]) that is not in `allowed`.
    pub fn check_consoles(&self, allowed: &[&str]) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| node.console().check(allowed))
    }

    /// Waits until `poll` gives a value; see [`crate::until`]. The error ends with what the consoles said last.
    pub fn until<T>(
        &self,
        what: &str,
        seconds: u64,
        poll: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        crate::until(what, deadline(seconds), poll).map_err(|e| {
            let tails = self
                .nodes
                .iter()
                .map(|n| format!("-- console of {}:\n{}", n.name(), n.console().tail(12)));
            Error::new(format!("{e}\n{}", tails.collect::<Vec<_>>().join("\n")))
        })
    }
}
