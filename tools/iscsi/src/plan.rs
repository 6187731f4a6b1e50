// SPDX-License-Identifier: GPL-2.0-only

//! From an ietd.conf to the kernel's target: what has to be there, in the order in which it can be made.

use drbd_config::source::{Diagnostic, Span};

use crate::allow::Allowed;
use crate::behind::{self, Behind};
use crate::drbd::{plain, Fencing, Mirrors, Replicated};
use crate::identity::{derived, digits, Naa};
use crate::machine::Machine;
use crate::model::{Auth, Ietd, Kind, Lun, Setting, Target};
use crate::policy::Access;
use crate::steps::{self, Step};

/// Bursts of the kernel's target, in bytes, where nothing is written.
const FIRST_BURST: u32 = 65536;
const MAX_BURST: u32 = 262_144;

/// What this node is and what its user wants.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The mirrors of this node.
    pub mirrors: Mirrors,
    /// Where paths lead; by default nobody looks.
    pub machine: Machine,
    /// This node's number, 1 or more, in place of what drbd.conf says.
    pub node: Option<u16>,
    /// Where the target listens; everywhere if empty.
    pub portals: Vec<String>,
    /// Both paths of a mirrored device shall serve.
    pub both_active: bool,
    /// Who may log in.
    pub allowed: Allowed,
}

/// What is behind a unit in the kernel's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// A block device, without a cache in between.
    Block,
    /// A regular file.
    File,
    /// Memory that forgets; with a size in bytes.
    Null(u64),
}

impl Store {
    /// The folder in configfs. The number marks what is ours.
    pub fn folder(&self) -> &'static str {
        match self {
            Store::Block => "iblock_84",
            Store::File => "fileio_84",
            Store::Null(_) => "rd_mcp_84",
        }
    }
}

/// A logical unit as it will be.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its target.
    pub iqn: String,
    /// Its number.
    pub number: u32,
    /// The name of its backstore.
    pub name: String,
    /// What is behind it.
    pub store: Store,
    /// The device or file.
    pub path: String,
    /// Its serial number.
    pub serial: String,
    /// What initiators know it by.
    pub naa: Naa,
    /// Nobody may write.
    pub read_only: bool,
    /// Bytes of a block, if it was said.
    pub block_size: Option<u32>,
    /// The mirror that it is or lies on.
    pub replicated: Option<Replicated>,
    /// What is behind the path.
    pub behind: Behind,
    /// COMPARE AND WRITE and reservations are there.
    pub locks: bool,
    /// The number of this node's group of ports.
    pub group: u16,
    /// The state of the path; decided when the plan is carried out.
    pub access: Access,
    /// Where it was written.
    pub places: Places,
}

/// Where things of a unit stand; where they were not written, its number.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// What identifies it.
    pub serial: Span,
    /// Its path.
    pub path: Span,
}

impl Unit {
    /// The backstore in configfs.
    pub fn backstore(&self) -> String {
        format!("core/{}/{}", self.store.folder(), self.name)
    }

    /// Whether a write to the one is a write to the other.
    fn shares_blocks_with(&self, other: &Unit) -> bool {
        let named = !self.path.is_empty() && !other.path.is_empty();
        named && self.behind.overlaps(&other.behind)
    }

    /// Its group of ports.
    pub fn group_path(&self) -> String {
        format!("{}/alua/{}", self.backstore(), self.group_name())
    }

    /// The name of that group.
    pub fn group_name(&self) -> String {
        format!("node{}", self.group)
    }
}

/// A target as it will be.
#[derive(Clone, Debug)]
pub struct Export {
    /// What was written.
    pub target: Target,
    /// Its units.
    pub units: Vec<Unit>,
    /// The relative identifier of its port, different on each node.
    pub port: u16,
    /// Who may log in; all if there is no list.
    pub initiators: Option<Vec<String>>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The targets.
    pub exports: Vec<Export>,
    /// Who may ask for targets.
    pub discovery: Auth,
    /// Where the target listens.
    pub portals: Vec<String>,
}

impl Plan {
    /// All units.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.exports.iter().flat_map(|export| &export.units)
    }

    /// All units, to set their access.
    pub fn units_mut(&mut self) -> impl Iterator<Item = &mut Unit> {
        self.exports.iter_mut().flat_map(|export| &mut export.units)
    }

    /// What has to be written, in order.
    pub fn steps(&self) -> Vec<Step> {
        steps::of(self)
    }
}

/// Plans; what is changed, dropped or impossible goes to `diagnostics`.
pub fn plan(ietd: &Ietd, wishes: &Wishes, diagnostics: &mut Vec<Diagnostic>) -> Plan {
    let mut planner = Planner {
        wishes,
        diagnostics,
    };
    planner.users(&ietd.discovery);
    let exports: Vec<Export> = ietd
        .targets
        .iter()
        .enumerate()
        .map(|(index, target)| planner.export(index, target))
        .collect();
    planner.collisions(&exports);
    let portals = if wishes.portals.is_empty() {
        vec!["0.0.0.0:3260".to_owned()]
    } else {
        wishes.portals.clone()
    };
    Plan {
        exports,
        discovery: ietd.discovery.clone(),
        portals,
    }
}

struct Planner<'a> {
    wishes: &'a Wishes,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Planner<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::error(span, message, advice));
    }

    fn warning(&mut self, span: Span, message: impl Into<String>, advice: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::warning(span, message, advice));
    }

    /// This node's number: drbd.conf's, unless the user says.
    fn node(&self, replicated: Option<&Replicated>) -> u16 {
        let told = self.wishes.node.or(replicated.map(|r| r.node));
        told.or(self.wishes.mirrors.devices.first().map(|d| d.node))
            .unwrap_or(1)
    }

    fn users(&mut self, auth: &Auth) {
        if let [first, second, ..] = auth.incoming.as_slice() {
            self.diagnostics.push(
                Diagnostic::error(
                    second.span,
                    "a second IncomingUser",
                    "the kernel's target has one for all initiators of a target: keep one",
                )
                .with(first.span, "the first one"),
            );
        }
        if let (Some(user), []) = (&auth.outgoing, auth.incoming.as_slice()) {
            let advice =
                "add an IncomingUser: a target names itself only to initiators that did so first";
            self.error(user.span, "OutgoingUser without IncomingUser", advice);
        }
        if let (Some(out), Some(user)) = (&auth.outgoing, auth.incoming.first()) {
            if out.password == user.password {
                let advice = "take another: initiators refuse a target with their own password";
                self.error(out.span, "the same password in both directions", advice);
            }
        }
    }

    fn export(&mut self, index: usize, target: &Target) -> Export {
        self.users(&target.auth);
        self.bursts(target);
        if target.luns.is_empty() && !target.unread {
            let advice = "add a line: Lun 0 Path=/dev/drbd1,Type=blockio";
            self.warning(target.span, "a target without units", advice);
        }
        let initiators = self.wishes.allowed.to(&target.iqn);
        if initiators.as_ref().is_some_and(Vec::is_empty) {
            let advice =
                "initiators.allow has no line for it: add one, TARGET INITIATOR, or ALL ALL";
            self.warning(target.span, "nobody may log in to this target", advice);
        }
        if initiators.is_none() {
            for setting in &target.acl_attributes {
                self.warning(
                    setting.span,
                    "no effect without a list of initiators",
                    "the kernel's target asks idle initiators every 15 s and waits 30 s; name the initiators to change it",
                );
            }
        }
        let units: Vec<Unit> = target
            .luns
            .iter()
            .filter_map(|lun| self.unit(index, target, lun))
            .collect();
        let node = units.iter().find_map(|u| u.replicated.as_ref()).cloned();
        Export {
            // One identifier for each target of each node; they share the node's number space.
            port: port_of(index, self.node(node.as_ref())),
            target: target.clone(),
            units,
            initiators,
        }
    }

    /// The kernel's target refuses the login of an initiator that agrees to these.
    fn bursts(&mut self, target: &Target) {
        let of = |name, default| {
            let found = target.parameters.iter().find(|p| p.name == name);
            let value = found.and_then(|p| p.value.parse::<u32>().ok());
            (value.unwrap_or(default), found)
        };
        let (first, first_set) = of("FirstBurstLength", FIRST_BURST);
        let (most, most_set) = of("MaxBurstLength", MAX_BURST);
        let Some(place) = first_set.or(most_set).filter(|_| first > most) else {
            return;
        };
        let default = |set: Option<&Setting>| if set.is_some() { "" } else { " (the default)" };
        let message = format!(
            "FirstBurstLength {first}{} is more than MaxBurstLength {most}{}",
            default(first_set),
            default(most_set)
        );
        let advice = format!("RFC 7143 forbids it: write FirstBurstLength {most}, or less");
        self.error(place.span, message, advice);
    }

    fn unit(&mut self, index: usize, target: &Target, lun: &Lun) -> Option<Unit> {
        if lun.unread {
            return None;
        }
        // The kernel's target keeps 8 bits of a flat number and 14 of a longer one.
        let path = lun
            .path
            .as_ref()
            .map_or(String::new(), |(path, _)| path.clone());
        let behind = if path.is_empty() {
            Behind::default()
        } else {
            match behind::look(&self.wishes.mirrors, &self.wishes.machine, &path) {
                Ok(behind) => behind,
                Err((problem, advice)) => {
                    let place = lun.place_of(lun.path.as_ref());
                    self.error(place, problem, advice);
                    return None;
                }
            }
        };
        let store = self.store(lun, &path, &behind);
        if behind.mirror.is_some() {
            self.mirror(lun, &behind);
        }
        let serial = self.serial(target, lun);
        let replicated = behind.mirror.clone();
        let name = match (&replicated, &store) {
            (_, Store::Null(_)) => format!("null{index}-{}", lun.number),
            (Some(device), _) if behind.is_mirror => format!("drbd{}", device.minor),
            _ => plain(&path).trim_matches('/').replace('/', "-"),
        };
        let two = replicated.as_ref().is_some_and(|r| r.two_primaries);
        // Whoever carries the plan out decides; where nobody does (targetcli), two nodes must not both serve.
        let access = if two && !self.wishes.both_active {
            Access::Standby
        } else {
            Access::Active
        };
        Some(Unit {
            iqn: target.iqn.clone(),
            number: lun.number,
            name,
            store,
            path,
            naa: Naa::of(&serial),
            serial,
            read_only: lun.read_only,
            block_size: lun.block_size.map(|(size, _)| size),
            locks: !(two && self.wishes.both_active),
            group: self.node(replicated.as_ref()),
            places: Places {
                serial: lun.place_of(lun.serial.as_ref().or(lun.id.as_ref())),
                path: lun.place_of(lun.path.as_ref()),
            },
            replicated,
            behind,
            access,
        })
    }

    fn store(&mut self, lun: &Lun, path: &str, behind: &Behind) -> Store {
        let (kind, span) = lun.kind;
        let device = behind.is_device;
        let device = device.unwrap_or_else(|| path.starts_with("/dev/"));
        if let Some(place) = lun.write_back {
            if device || kind != Kind::FileIo {
                self.error(
                    place,
                    "IOMode=wb would keep acknowledged writes in this node's memory",
                    "remove it: a device has its own write cache, and initiators flush it",
                );
            } else {
                self.warning(
                    place,
                    "IOMode=wb taken as 'wt'",
                    "every write is complete when it is on the disk",
                );
            }
        }
        match kind {
            Kind::NullIo => {
                let size = u64::from(lun.block_size.map_or(512, |(size, _)| size));
                let Some(bytes) = lun.blocks.unwrap_or(0).checked_mul(size) else {
                    self.error(lun.span, "too large", "fewer blocks");
                    return Store::Null(0);
                };
                Store::Null(bytes)
            }
            Kind::FileIo if device && behind.mirror.is_some() => {
                self.warning(
                    span,
                    format!("Type=fileio on the mirrored {path} becomes blockio"),
                    "through the page cache the other node's path reads old data; write Type=blockio",
                );
                Store::Block
            }
            Kind::FileIo if device => {
                self.warning(
                    span,
                    format!("Type=fileio on the device {path} becomes blockio"),
                    "the page cache only costs memory here; write Type=blockio",
                );
                Store::Block
            }
            Kind::FileIo => {
                if behind.is_empty {
                    let place = lun.place_of(lun.path.as_ref());
                    let advice = format!("give it its size first: truncate -s 10G {path}");
                    self.error(place, format!("{path} has no bytes"), advice);
                }
                Store::File
            }
            Kind::BlockIo if device => Store::Block,
            Kind::BlockIo => {
                self.error(
                    span,
                    format!("Type=blockio on the file {path}"),
                    "write Type=fileio",
                );
                Store::File
            }
        }
    }

    /// Rules of a unit that two nodes have.
    fn mirror(&mut self, lun: &Lun, behind: &Behind) {
        let Some(device) = &behind.mirror else { return };
        let place = lun.place_of(lun.path.as_ref());
        if let Some((problem, advice)) = device.unfit_fencing() {
            self.warning(place, problem, advice);
        }
        if !device.two_primaries {
            if device.protocol != "C" {
                self.warning(
                    place,
                    format!(
                        "{} with protocol {}: writes that initiators were told of are lost with the node",
                        device.device, device.protocol
                    ),
                    format!("resource {}: net {{ protocol C; }}", device.resource),
                );
            }
            if self.wishes.both_active {
                self.error(
                    place,
                    format!(
                        "both nodes shall serve {}, but only one may be Primary",
                        device.device
                    ),
                    format!(
                        "resource {}: net {{ allow-two-primaries yes; }}",
                        device.resource
                    ),
                );
            }
            return;
        }
        if device.protocol != "C" {
            self.error(
                place,
                format!(
                    "two paths to {} with protocol {}: a write that is complete on one may be missing on the other",
                    device.device, device.protocol
                ),
                format!(
                    "resource {}: net {{ protocol C; }}, also in its sections 'connection'",
                    device.resource
                ),
            );
        }
        if !behind.is_mirror {
            self.warning(
                place,
                format!("what lies between this and the mirror {} must keep nothing of its own", device.device),
                "the other node's has to be the same at all times: no cache, thin pool, snapshot or RAID in between",
            );
        }
        if self.wishes.both_active {
            self.warning(
                place,
                format!("both nodes serve {}: it has no SCSI locks", device.device),
                "COMPARE AND WRITE and reservations are switched off, as they would hold on one node only",
            );
            if device.fencing != Fencing::ResourceAndStonith {
                self.warning(
                    place,
                    format!(
                        "both nodes serve {} without fencing: when the link breaks both write, if only for seconds",
                        device.device
                    ),
                    format!(
                        "resource {}: disk {{ fencing resource-and-stonith; }}, with a handler fence-peer",
                        device.resource
                    ),
                );
            }
        }
    }

    fn serial(&mut self, target: &Target, lun: &Lun) -> String {
        let (text, span) = match (&lun.serial, &lun.id) {
            (Some(serial), None) => serial.clone(),
            (None, Some(id)) => id.clone(),
            (Some(serial), Some(id)) => {
                if serial.0 != id.0 {
                    self.warning(
                        id.1,
                        "ScsiId has no effect beside ScsiSN",
                        "the kernel's target makes both pages of ScsiSN; initiators see a new disk if they knew ScsiId",
                    );
                }
                serial.clone()
            }
            (None, None) => return derived(&target.iqn, lun.number),
        };
        if digits(&text) == 0 {
            self.error(
                span,
                format!("no character of '{text}' counts for the identifier of page 0x83"),
                "use some of 0-9 and a-f, or leave it out for one that is derived",
            );
        }
        text
    }

    /// Two units that initiators would take for one, or one device under two units. Each is said of the first of the
    /// others.
    fn collisions(&mut self, exports: &[Export]) {
        let units: Vec<&Unit> = exports.iter().flat_map(|e| &e.units).collect();
        for (index, unit) in units.iter().enumerate() {
            let others = &units[..index];
            if let Some(other) = others.iter().find(|other| other.naa == unit.naa) {
                let message = format!(
                    "initiators take this for the same disk: both are naa.{}",
                    unit.naa
                );
                let advice = "change a digit 0-9 or a-f of it; other characters do not count";
                self.diagnostics.push(
                    Diagnostic::error(unit.places.serial, message, advice)
                        .with(other.places.serial, "as this one"),
                );
            }
            // `/dev/a-b` and `/dev/a/b`.
            let namesake = others.iter().find(|other| {
                unit.backstore() == other.backstore() && !unit.shares_blocks_with(other)
            });
            if let Some(other) = namesake {
                let message = format!(
                    "{} and {} would have one name in the kernel's target: {}",
                    unit.path, other.path, unit.name
                );
                let advice = "name one by another path, as /dev/disk/by-id has it";
                self.diagnostics.push(
                    Diagnostic::error(unit.places.path, message, advice)
                        .with(other.places.path, "the other one"),
                );
            }
            let shared = others.iter().find(|other| unit.shares_blocks_with(other));
            let Some(other) = shared else { continue };
            let twice = unit.behind.place == other.behind.place;
            let message = if twice {
                format!("{} is exported twice", unit.path)
            } else {
                format!("{} and {} have blocks in common", unit.path, other.path)
            };
            let advice =
                "one unit for a device: caches and locks of two would not know of each other";
            self.diagnostics.push(
                Diagnostic::error(unit.places.path, message, advice)
                    .with(other.places.path, "the first one"),
            );
        }
    }
}

/// The relative port of target `index` on node `node`: 16 nodes apart, so that both nodes agree without talking.
fn port_of(index: usize, node: u16) -> u16 {
    u16::try_from(index)
        .unwrap_or(0)
        .saturating_mul(16)
        .saturating_add(node)
}
