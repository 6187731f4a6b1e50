// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's target as a tree of files: made, changed and taken down. A plain folder does as well, for tests.
//!
//! In configfs a folder is an object: `mkdir` makes it with its files in it, `rmdir` ends it, and works only when the
//! folders that a user made in it are gone. So a target is taken down from the leaves: stop, access lists, units,
//! portals, portal group, target; then the backstores, of which the groups of ports go first.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::plan::{Export, Plan, Unit};
use crate::policy::Access;
use crate::steps::{Reads, Step};

/// Where the kernel has it.
pub const KERNEL: &str = "/sys/kernel/config/target";
/// Ends of the names of backstore folders that are ours.
const OURS: &str = "_84";

/// The tree.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    plain: bool,
}

/// An error with the path that it is about.
fn at(path: &Path, error: &Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::NotFound => ": is the module loaded?",
        ErrorKind::PermissionDenied => ": only root may",
        ErrorKind::ResourceBusy => ": in use",
        _ => "",
    };
    Error::new(
        error.kind(),
        format!("{}: {}{hint}", path.display(), drbd_say::os_error(error)),
    )
}

impl Tree {
    /// The kernel's, or a plain folder.
    pub fn new(root: Option<&str>) -> Tree {
        Tree {
            root: PathBuf::from(root.unwrap_or(KERNEL)),
            plain: root.is_some_and(|root| root != KERNEL),
        }
    }

    /// Whether it is the kernel's.
    pub fn is_kernel(&self) -> bool {
        !self.plain
    }

    /// What a file says.
    pub fn read(&self, path: &str) -> Option<String> {
        let text = fs::read(self.root.join(path)).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Some(text.trim_end_matches(['\n', '\0']).to_owned())
    }

    /// Whether something is there.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let path = self.root.join(path);
        if self.plain {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
        }
        // One write: configfs takes each for a value of its own.
        fs::write(&path, value).map_err(|e| at(&path, &e))
    }

    /// Carries out a step; whether there was something to do.
    pub fn apply(&self, step: &Step) -> Result<bool> {
        match step {
            Step::Folder(name) => {
                let path = self.root.join(name);
                if path.is_dir() {
                    return Ok(false);
                }
                let made = if self.plain {
                    fs::create_dir_all(&path)
                } else {
                    fs::create_dir(&path)
                };
                made.map_err(|e| at(&path, &e)).map(|()| true)
            }
            Step::Write {
                path, value, reads, ..
            } => {
                if self.says(path, value, *reads) {
                    return Ok(false);
                }
                self.write(path, value).map(|()| true)
            }
            Step::Link { path, to } => {
                let (path, to) = (self.root.join(path), self.root.join(to));
                if fs::symlink_metadata(&path).is_ok() {
                    return Ok(false);
                }
                symlink(&to, &path)
                    .map_err(|e| at(&path, &e))
                    .map(|()| true)
            }
        }
    }

    /// Whether a file says so already.
    fn says(&self, path: &str, value: &str, reads: Reads) -> bool {
        if let Reads::Before(gate) = reads {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            return self.read(&format!("{folder}/{gate}")).as_deref() == Some("1");
        }
        let Some(text) = self.read(path) else {
            return false;
        };
        if text == value {
            return true;
        }
        match reads {
            Reads::Number => number(&text).is_some_and(|n| Some(n) == number(value)),
            Reads::Words(words) => text == words,
            Reads::Labelled => {
                let line = text.lines().next().unwrap_or("");
                line.split_once(": ")
                    .is_some_and(|(_, rest)| rest.trim() == value)
            }
            Reads::Text | Reads::Before(_) => false,
        }
    }

    /// Names in a folder, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn folders(&self, path: &str) -> Vec<String> {
        let names = self.names(path).into_iter().map(|n| format!("{path}/{n}"));
        names
            .filter(|n| self.root.join(n).is_dir() && !self.is_link(n))
            .collect()
    }

    fn is_link(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path)).is_ok_and(|m| m.is_symlink())
    }

    fn links(&self, path: &str) -> Vec<String> {
        let names = self.names(path).into_iter().map(|n| format!("{path}/{n}"));
        names.filter(|n| self.is_link(n)).collect()
    }

    /// Ends an object.
    fn end(&self, path: &str) -> Result<()> {
        let full = self.root.join(path);
        let done = if self.plain {
            fs::remove_dir_all(&full)
        } else {
            fs::remove_dir(&full)
        };
        match done {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(at(&full, &e)),
            _ => Ok(()),
        }
    }

    fn unlink(&self, path: &str) -> Result<()> {
        let full = self.root.join(path);
        fs::remove_file(&full).map_err(|e| at(&full, &e))
    }

    /// The targets that have a unit of ours, by name.
    pub fn targets(&self) -> Vec<String> {
        let targets = self.folders("iscsi").into_iter();
        let targets = targets.filter(|target| {
            self.folders(target)
                .iter()
                .flat_map(|group| self.folders(&format!("{group}/lun")))
                .flat_map(|lun| self.links(&lun))
                .any(|link| self.is_ours(&link))
        });
        targets
            .filter_map(|t| t.strip_prefix("iscsi/").map(str::to_owned))
            .collect()
    }

    fn is_ours(&self, link: &str) -> bool {
        let to = fs::read_link(self.root.join(link)).unwrap_or_default();
        to.parent()
            .is_some_and(|p| p.to_string_lossy().ends_with(OURS))
    }

    /// Our backstores, as paths.
    pub fn backstores(&self) -> Vec<String> {
        let hosts = self.folders("core").into_iter();
        let hosts = hosts.filter(|host| host.ends_with(OURS));
        hosts.flat_map(|host| self.folders(&host)).collect()
    }

    /// How a backstore is exported: the state of our group of ports.
    pub fn access(&self, backstore: &str) -> Option<Access> {
        let groups = self.folders(&format!("{backstore}/alua"));
        let group = groups.iter().find(|g| !g.ends_with("/default_tg_pt_gp"))?;
        let text = self.read(&format!("{group}/alua_access_state"))?;
        number(&text).and_then(|n| Access::from_number(u8::try_from(n).ok()?))
    }

    /// Whether a backstore was made with SCSI locks; `None` if it is not there.
    pub fn has_locks(&self, backstore: &str) -> Option<bool> {
        let text = self.read(&format!("{backstore}/attrib/emulate_caw"))?;
        number(&text).map(|number| number != 0)
    }

    /// Whether a block backstore was made read-only; `None` if it does not say. It cannot be changed.
    pub fn is_read_only(&self, backstore: &str) -> Option<bool> {
        let text = self.read(&format!("{backstore}/info"))?;
        let (_, rest) = text.split_once("readonly: ")?;
        Some(rest.starts_with('1'))
    }

    /// Takes a target down.
    pub fn remove_target(&self, iqn: &str) -> Result<()> {
        let target = format!("iscsi/{iqn}");
        let groups = self.folders(&target).into_iter();
        for group in groups.filter(|g| g.contains("/tpgt_")) {
            self.write(&format!("{group}/enable"), "0")?;
            for acl in self.folders(&format!("{group}/acls")) {
                self.remove_units(&acl)?;
                self.end(&acl)?;
            }
            self.remove_units(&format!("{group}/lun"))?;
            for portal in self.folders(&format!("{group}/np")) {
                self.end(&portal)?;
            }
            self.end(&group)?;
        }
        self.end(&target)
    }

    fn remove_units(&self, folder: &str) -> Result<()> {
        let units = self.folders(folder).into_iter();
        for unit in units.filter(|u| u.contains("/lun_")) {
            self.remove_unit(&unit)?;
        }
        Ok(())
    }

    fn remove_unit(&self, unit: &str) -> Result<()> {
        for link in self.links(unit) {
            self.unlink(&link)?;
        }
        self.end(unit)
    }

    /// Removes a backstore that no target has any more.
    pub fn remove_backstore(&self, path: &str) -> Result<()> {
        for group in self.folders(&format!("{path}/alua")) {
            if !group.ends_with("/default_tg_pt_gp") {
                self.end(&group)?;
            }
        }
        self.end(path)
    }

    /// Takes away what a target that stays has and should not have: initiators, units, portals.
    fn prune_target(&self, plan: &Plan, export: &Export) -> Result<Vec<String>> {
        let iqn = &export.target.iqn;
        let group = format!("iscsi/{iqn}/tpgt_1");
        let mut gone = Vec::new();
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let listed = |path: &str| {
            let name = last(path);
            export.initiators.iter().flatten().any(|i| *i == name)
        };
        let (kept, left): (Vec<String>, Vec<String>) = self
            .folders(&format!("{group}/acls"))
            .into_iter()
            .partition(|path| listed(path));
        for acl in left {
            self.remove_units(&acl)?;
            self.end(&acl)?;
            gone.push(format!("initiator {} of {iqn}", last(&acl)));
        }
        // Where a unit is another one now, the link has another name.
        let stays = |unit: &str| {
            let number = last(unit);
            let planned = export.units.iter();
            let planned = planned.filter(|u| format!("lun_{}", u.number) == number);
            planned
                .into_iter()
                .any(|u| self.links(unit).iter().all(|link| last(link) == u.name))
        };
        for unit in self.folders(&format!("{group}/lun")) {
            if stays(&unit) {
                continue;
            }
            let number = last(&unit);
            for acl in &kept {
                self.remove_unit(&format!("{acl}/{number}"))?;
            }
            self.remove_unit(&unit)?;
            gone.push(format!("unit {number} of {iqn}"));
        }
        for portal in self.folders(&format!("{group}/np")) {
            let address = last(&portal);
            if !plan.portals.contains(&address) {
                self.end(&portal)?;
                gone.push(format!("portal {address} of {iqn}"));
            }
        }
        Ok(gone)
    }

    /// Takes down all that is ours and not in the plan; says what.
    pub fn prune(&self, plan: &Plan) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        for iqn in self.targets() {
            match plan.exports.iter().find(|export| export.target.iqn == iqn) {
                Some(export) => gone.extend(self.prune_target(plan, export)?),
                None => {
                    self.remove_target(&iqn)?;
                    gone.push(format!("target {iqn}"));
                }
            }
        }
        let backstores: Vec<String> = plan.units().map(Unit::backstore).collect();
        for path in self.backstores() {
            if !backstores.contains(&path) {
                self.remove_backstore(&path)?;
                gone.push(format!("backstore {path}"));
            }
        }
        let hosts = self.folders("core").into_iter();
        for host in hosts.filter(|host| host.ends_with(OURS)) {
            if self.folders(&host).is_empty() {
                self.end(&host)?;
            }
        }
        let discovery = "iscsi/discovery_auth/enforce_discovery_auth";
        let last = !self
            .folders("iscsi")
            .iter()
            .any(|t| t.contains("iscsi/iqn."));
        if last && self.read(discovery).as_deref() == Some("1") {
            self.write(discovery, "0")?;
        }
        Ok(gone)
    }
}

/// A number as the kernel writes it: decimal, or hexadecimal with 0x.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
