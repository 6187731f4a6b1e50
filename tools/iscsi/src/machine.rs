// SPDX-License-Identifier: GPL-2.0-only

//! The block devices of this machine: what a path leads to, and which devices are below another one.
//!
//! A name says little: `/dev//drbd1`, `/dev/disk/by-id/...` and `/dev/drbd/by-disk/...` are the same mirror, and a
//! logical volume may lie on one. So paths are followed, devices are compared by number, and what is below is asked of
//! sysfs. In a folder that stands for the machine (tests) a device is a file of any kind whose name
//! `sys/class/block` has.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// DRBD's major number.
pub const DRBD: u32 = 147;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its name in sysfs.
    pub name: String,
    /// Major and minor number.
    pub number: (u32, u32),
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Nobody asked.
    Unknown,
    /// Nothing.
    Missing,
    /// A block device.
    Block(Block),
    /// A file, and the device that its file system is on, if that is one.
    File {
        /// Where it really is.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The device.
        on: Option<Block>,
    },
    /// Something that cannot be exported.
    Other(&'static str),
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Without one nothing is known.
    root: Option<PathBuf>,
}

fn split(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        Machine::in_folder("/")
    }

    /// A folder with `dev` and `sys` in it.
    pub fn in_folder(root: impl Into<PathBuf>) -> Machine {
        Machine {
            root: Some(root.into()),
        }
    }

    fn is_fake(&self) -> bool {
        self.root.as_deref().is_some_and(|r| r != Path::new("/"))
    }

    /// What is there.
    pub fn node(&self, path: &str) -> Node {
        let Some(root) = &self.root else {
            return Node::Unknown;
        };
        let full = root.join(path.trim_start_matches('/'));
        let found = fs::canonicalize(full).and_then(|path| Ok((fs::metadata(&path)?, path)));
        let (data, path) = match found {
            Ok(found) => found,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Node::Missing;
            }
            Err(_) => return Node::Unknown,
        };
        let kind = data.file_type();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let faked = self.number(&name).filter(|_| self.is_fake());
        if let Some(number) = faked.or_else(|| kind.is_block_device().then(|| split(data.rdev()))) {
            let name = self.named(number).unwrap_or_else(|| name.into_owned());
            return Node::Block(Block { name, number });
        }
        if kind.is_file() {
            let number = split(data.dev());
            let on = self.named(number).map(|name| Block { name, number });
            let size = data.len();
            return Node::File { path, size, on };
        }
        Node::Other(if kind.is_dir() {
            "a folder"
        } else {
            "neither a block device nor a file"
        })
    }

    fn class(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join("sys/class/block").join(name))
    }

    /// A device's number, by its name.
    fn number(&self, name: &str) -> Option<(u32, u32)> {
        let text = fs::read_to_string(self.class(name)?.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// A device's name, by its number.
    fn named(&self, number: (u32, u32)) -> Option<String> {
        let names = names(&self.class("")?);
        names.into_iter().find(|n| self.number(n) == Some(number))
    }

    /// What is right below a device: the slaves of device mapper and md, the disk of a partition.
    fn parents(&self, name: &str) -> Vec<String> {
        let Some(folder) = self.class(name) else {
            return Vec::new();
        };
        let mut parents = names(&folder.join("slaves"));
        if folder.join("partition").exists() {
            let real = fs::canonicalize(&folder).unwrap_or_default();
            let disk = real.parent().and_then(|disk| disk.file_name());
            parents.extend(disk.map(|disk| disk.to_string_lossy().into_owned()));
        }
        parents
    }

    /// A device and all that is below it. What is below a mirror is the mirror's own business.
    pub fn stack(&self, device: &Block) -> Vec<Block> {
        let mut stack = vec![device.clone()];
        let mut at = 0;
        while let Some(upper) = stack.get(at).cloned() {
            at += 1;
            if upper.number.0 == DRBD {
                continue;
            }
            for name in self.parents(&upper.name) {
                let Some(number) = self.number(&name) else {
                    continue;
                };
                let below = Block { name, number };
                if !stack.contains(&below) {
                    stack.push(below);
                }
            }
        }
        stack
    }

    /// Whether nothing is known to be below it.
    pub fn is_bottom(&self, device: &Block) -> bool {
        device.number.0 == DRBD || self.parents(&device.name).is_empty()
    }
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
