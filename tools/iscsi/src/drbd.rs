// SPDX-License-Identifier: GPL-2.0-only

//! What the exporter has to know of the mirrors from drbd.conf: which devices are replicated and how, and which disks
//! belong to them and to nobody else.

use drbd_config::model::{Config, Host, HostKind, Opt, Resource, Volume};
use drbd_config::Identity;

/// A replicated device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// Its resource.
    pub resource: String,
    /// Its number in the resource.
    pub volume: u16,
    /// Its minor number.
    pub minor: u32,
    /// Its device node.
    pub device: String,
    /// The lower disk.
    pub disk: Option<String>,
    /// `A`, `B` or `C`.
    pub protocol: String,
    /// Both nodes may be primary at once.
    pub two_primaries: bool,
    /// What is done with a peer that is lost.
    pub fencing: Fencing,
    /// The command of the handler `fence-peer`.
    pub fence_peer: Option<String>,
    /// This node, counted from 1 in the order of the `on` sections.
    pub node: u16,
    /// Addresses of the other nodes on the replication link.
    pub peers: Vec<String>,
    /// How long writes wait for a peer that has died, at most, in tenths of a second: `ping-int` and `ping-timeout`.
    pub detection_ds: u32,
}

/// DRBD's `fencing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fencing {
    /// Nothing is done.
    DontCare,
    /// `fence-peer` is called, and I/O goes on meanwhile.
    ResourceOnly,
    /// I/O is frozen until `fence-peer` says that the peer is fenced.
    ResourceAndStonith,
}

/// A disk that belongs to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lower {
    /// Its path.
    pub path: String,
    /// Whose it is.
    pub resource: String,
    /// `lower disk` or `meta-disk`.
    pub what: &'static str,
    /// The device that is to be used instead.
    pub device: String,
}

/// What a drbd.conf says about this node.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    /// The replicated devices.
    pub devices: Vec<Replicated>,
    /// The disks below them.
    pub lowers: Vec<Lower>,
    /// Devices of stacked resources, with their minors.
    pub stacked: Vec<(String, u32)>,
    /// The name of this node.
    pub me: String,
    /// The names of all hosts.
    pub hosts: Vec<String>,
}

/// What a mirror that is exported should not exceed: the recommended times, 3 s and 1 s.
pub const DETECTION_DS: u32 = 40;

/// How this node is known.
#[derive(Clone, Debug)]
pub enum Me {
    /// By name and address.
    Named(Identity),
    /// By its place among the `on` sections, counted from 1.
    Numbered(u16),
}

impl Me {
    fn index_in(&self, resource: &Resource) -> Option<usize> {
        match self {
            Me::Named(identity) => resource.host_of(identity),
            Me::Numbered(number) => {
                let index = usize::from(*number).checked_sub(1)?;
                (index < resource.hosts.len()).then_some(index)
            }
        }
    }
}

/// How a message names a host.
fn name_of(host: &Host) -> String {
    match (host.names.first(), &host.address) {
        (Some(name), _) => name.clone(),
        (None, Some(address)) => address.host(),
        (None, None) => "floating".to_owned(),
    }
}

/// All that this node has.
pub fn mirrors(config: &Config, me: &Me) -> Mirrors {
    let mut mirrors = Mirrors {
        me: match me {
            Me::Named(identity) => identity.node.clone(),
            Me::Numbered(number) => format!("number {number}"),
        },
        ..Mirrors::default()
    };
    for resource in &config.resources {
        for host in &resource.hosts {
            let name = name_of(host);
            if !mirrors.hosts.contains(&name) {
                mirrors.hosts.push(name);
            }
        }
        let Some(own) = me.index_in(resource) else {
            continue;
        };
        for volume in &resource.hosts[own].volumes {
            mirrors.lowers.extend(lowers(resource, volume));
            let Some(minor) = volume.minor else { continue };
            if matches!(resource.hosts[own].kind, HostKind::Stacked(_)) {
                mirrors.stacked.push((volume.device_path(), minor));
            } else {
                mirrors
                    .devices
                    .push(replicated(resource, own, volume, minor));
            }
        }
    }
    mirrors
}

fn lowers(resource: &Resource, volume: &Volume) -> Vec<Lower> {
    let Some(disk) = &volume.disk else {
        return Vec::new();
    };
    let lower = |path: &str, what| Lower {
        path: path.to_owned(),
        resource: resource.name.clone(),
        what,
        device: volume.device_path(),
    };
    let meta = volume.meta_disk.as_ref().map(|meta| meta.device(disk));
    let meta = meta.filter(|path| path != disk);
    let meta = meta.map(|path| lower(path, "meta-disk"));
    [lower(disk, "lower disk")]
        .into_iter()
        .chain(meta)
        .collect()
}

/// The options are those that drbdadm connects and attaches with. Where there are several peers (this driver connects
/// to one, which is chosen when it does), what is least safe of them counts.
fn replicated(resource: &Resource, own: usize, volume: &Volume, minor: u32) -> Replicated {
    let peers = resource.peers(own);
    let mut nets: Vec<Vec<Opt>> = peers.iter().map(|p| resource.net_options(p)).collect();
    if nets.is_empty() {
        nets.push(resource.sections.net.clone());
    }
    let all = |name: &str| -> Vec<Option<String>> {
        nets.iter().map(|net| option(net.iter(), name)).collect()
    };
    let protocols = all("protocol").into_iter().flatten();
    let protocols: Vec<String> = protocols.map(|p| p.to_ascii_uppercase()).collect();
    let weak = protocols.iter().find(|protocol| *protocol != "C");
    let fencings = peers.iter().map(|peer| {
        let connection = peer.connection.into_iter();
        let of_peer = connection.flat_map(|connection| connection.disk_options(volume));
        fencing(option(of_peer.chain(&volume.options), "fencing").as_deref())
    });
    let addresses = peers.iter().filter_map(|peer| {
        let ends = resource.ends(own, peer).map(|[_, end]| end);
        let address = ends.or_else(|| peer.host.address.clone());
        address.map(|address| address.host())
    });
    let detections = nets.iter().map(|net| detection(net));
    Replicated {
        resource: resource.name.clone(),
        volume: volume.vnr,
        minor,
        device: volume.device_path(),
        disk: volume.disk.clone(),
        protocol: weak.cloned().unwrap_or_else(|| "C".to_owned()),
        two_primaries: all("allow-two-primaries")
            .into_iter()
            .flatten()
            .any(|value| value != "no"),
        fencing: fencings.min().unwrap_or(Fencing::DontCare),
        fence_peer: option(resource.sections.handlers.iter(), "fence-peer"),
        node: u16::try_from(own + 1).unwrap_or(u16::MAX),
        peers: addresses.collect(),
        detection_ds: detections.max().unwrap_or_default(),
    }
}

fn fencing(value: Option<&str>) -> Fencing {
    match value {
        Some("resource-and-stonith") => Fencing::ResourceAndStonith,
        Some("resource-only") => Fencing::ResourceOnly,
        _ => Fencing::DontCare,
    }
}

/// With DRBD's defaults of 10 s and 0.5 s.
fn detection(net: &[Opt]) -> u32 {
    let number = |name| option(net.iter(), name).and_then(|t| t.parse::<u32>().ok());
    let interval = number("ping-int").unwrap_or(10).saturating_mul(10);
    interval.saturating_add(number("ping-timeout").unwrap_or(5))
}

fn option<'o>(mut options: impl Iterator<Item = &'o Opt>, name: &str) -> Option<String> {
    options
        .find(|opt| opt.name == name)
        .map(|opt| opt.value.clone())
}

impl Replicated {
    /// What has to be said about fencing that cannot work, with the remedy.
    pub fn unfit_fencing(&self) -> Option<(String, String)> {
        let policy = match self.fencing {
            Fencing::DontCare => return None,
            Fencing::ResourceOnly => "resource-only",
            Fencing::ResourceAndStonith => "resource-and-stonith",
        };
        let problem = match self.fence_peer.as_deref() {
            None => "without a handler fence-peer".to_owned(),
            Some(command) => {
                let program = missing_program(command)?;
                format!("with a handler fence-peer that is not there: {program}")
            }
        };
        let name = &self.resource;
        let follows = match self.fencing {
            Fencing::ResourceAndStonith => {
                format!("I/O stays frozen when the peer is lost, until 'drbdadm resume-io {name}'")
            }
            _ => "whoever has lost its peer cannot be promoted".to_owned(),
        };
        Some((
            format!("resource {name}: fencing {policy} {problem}"),
            format!("{follows}; in drbd.conf: handlers {{ fence-peer \"PROGRAM THAT FENCES\"; }}"),
        ))
    }
}

/// The program of a shell command, if its full path leads nowhere.
fn missing_program(command: &str) -> Option<&str> {
    let program = command.split_whitespace().next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let checked = program.starts_with('/') && program.chars().all(plain);
    (checked && !std::path::Path::new(program).exists()).then_some(program)
}

/// A path without what changes nothing: `//`, `/./`, `x/..`.
pub fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Mirrors {
    /// The replicated device with that minor.
    pub fn by_minor(&self, minor: u32) -> Option<&Replicated> {
        self.devices.iter().find(|d| d.minor == minor)
    }

    /// The device that a path means by its name alone; `Err` says what is wrong with a path that looks like one.
    pub fn by_name(&self, path: &str) -> Result<Option<&Replicated>, String> {
        let path = &plain(path);
        if let Some(found) = self.devices.iter().find(|d| plain(&d.device) == *path) {
            return Ok(Some(found));
        }
        if let Some(rest) = path.strip_prefix("/dev/drbd/by-res/") {
            return self.by_resource(rest, path);
        }
        // udev keeps the last part only.
        if let Some(rest) = path.strip_prefix("/dev/drbd/by-disk/") {
            let last = |d: &Replicated| d.disk.as_deref()?.rsplit('/').next().map(str::to_owned);
            let name = rest.rsplit('/').next();
            let found = self.devices.iter().find(|d| last(d).as_deref() == name);
            if found.is_some() {
                return Ok(found);
            }
        }
        let minor = path.strip_prefix("/dev/drbd").and_then(|n| n.parse().ok());
        if let Some(device) = minor.and_then(|minor| self.by_minor(minor)) {
            return Ok(Some(device));
        }
        if path.starts_with("/dev/drbd") {
            return Err(self.unknown(path, minor));
        }
        Ok(None)
    }

    /// `RESOURCE` or `RESOURCE/VOLUME`.
    fn by_resource(&self, rest: &str, path: &str) -> Result<Option<&Replicated>, String> {
        let (name, volume) = match rest.split_once('/') {
            Some((name, volume)) => (name, Some(volume)),
            None => (rest, None),
        };
        let of: Vec<&Replicated> = self.devices.iter().filter(|d| d.resource == name).collect();
        match (of.as_slice(), volume) {
            ([], _) => Err(self.unknown(path, None)),
            ([only], None) => Ok(Some(only)),
            (several, None) => Err(format!(
                "'{path}' has several volumes: {}",
                volumes(several)
            )),
            (some, Some(volume)) => {
                let found = some.iter().find(|d| Ok(d.volume) == volume.parse());
                found.map(|d| Some(*d)).ok_or_else(|| {
                    let there = volumes(some);
                    format!("resource '{name}' has no volume '{volume}' here; there are: {there}")
                })
            }
        }
    }

    /// Says that no resource has it.
    pub fn unknown(&self, path: &str, minor: Option<u32>) -> String {
        let stacked = |(device, number): &(String, u32)| *device == path || Some(*number) == minor;
        if self.stacked.iter().any(stacked) {
            return format!("'{path}' belongs to a stacked resource, which cannot be exported");
        }
        match self.me.as_str() {
            "" => format!("'{path}' is in no resource that this node has"),
            me => format!("'{path}' is in no resource that this node ({me}) has"),
        }
    }

    /// The remedy.
    pub fn advice(&self) -> String {
        let must = "drbd.conf must have it, with an 'on' section for this node";
        if self.hosts.is_empty() || !self.devices.is_empty() {
            return must.to_owned();
        }
        let hosts = self.hosts.join(", ");
        format!("{must}; there are: {hosts} (--node says which one this is)")
    }
}

fn volumes(devices: &[&Replicated]) -> String {
    let paths = devices
        .iter()
        .map(|d| format!("/dev/drbd/by-res/{}/{}", d.resource, d.volume));
    paths.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
