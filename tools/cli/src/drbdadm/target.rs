// SPDX-License-Identifier: GPL-2.0-only

//! Which configuration, which node, and which resources a command line means.

use std::net::{IpAddr, UdpSocket};

use drbd_config::model::{Host, Resource, Volume};
use drbd_config::{Config, Identity, Loaded};

/// Where the configuration is looked for; the first that is there counts.
const FILES: &[&str] = &[
    "/etc/drbd-84.conf",
    "/etc/drbd-83.conf",
    "/etc/drbd-82.conf",
    "/etc/drbd-08.conf",
    "/etc/drbd.conf",
];
/// Where drbdsetup remembers which file a minor or a resource came from.
pub const RUN: &str = "/var/run/drbd";

/// A resource, or one volume of it, on this node.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// The whole configuration.
    pub config: &'a Config,
    /// The resource.
    pub resource: &'a Resource,
    /// Index of the host section that means this node.
    pub me: usize,
    /// Only this volume.
    pub volume: Option<u16>,
    /// Name of the peer, for resources with more than two hosts.
    pub peer_name: Option<&'a str>,
    /// This node.
    pub identity: &'a Identity,
}

impl<'a> Selected<'a> {
    /// This node's section.
    pub fn host(&self) -> &'a Host {
        // INVARIANT: `me` came from `host_of`.
        &self.resource.hosts[self.me]
    }

    /// The other node's section.
    pub fn peer(&self) -> Result<&'a Host, String> {
        let others = self
            .resource
            .hosts
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != self.me)
            .map(|(_, host)| host);
        let mut others: Vec<&Host> = match self.peer_name {
            Some(name) => others
                .filter(|host| host.names.iter().any(|n| n == name))
                .collect(),
            None => others.collect(),
        };
        let name = &self.resource.name;
        match (others.pop(), others.is_empty()) {
            (Some(peer), true) => Ok(peer),
            (Some(_), false) => Err(format!(
                "resource '{name}' has several peers: choose one with --peer=NAME"
            )),
            (None, _) => Err(format!("resource '{name}' has no such peer")),
        }
    }

    /// The minor that `RESOURCE[/VOLUME]` means on this node.
    pub fn minor_of(&self, text: &str) -> Option<u32> {
        let (name, volume) = text.split_once('/').unwrap_or((text, "0"));
        let resource = self
            .config
            .resources
            .iter()
            .find(|resource| resource.name == name)?;
        let host = resource.hosts.get(resource.host_of(self.identity)?)?;
        let vnr: u16 = volume.parse().ok()?;
        host.volumes.iter().find(|volume| volume.vnr == vnr)?.minor
    }
}

/// Whether an address belongs to this machine: only then can a socket be bound to it.
pub fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// This node, as the configuration can name it.
pub fn identity(config: &Config) -> Identity {
    let node = match std::env::var("__DRBD_NODE__") {
        Ok(node) => {
            eprintln!(
                "\n   found __DRBD_NODE__ in environment\n   PRETENDING that I am >>{node}<<\n"
            );
            node
        }
        Err(_) => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap_or_default()
            .trim()
            .to_owned(),
    };
    let hosts = config.resources.iter().flat_map(|resource| &resource.hosts);
    let mut addresses: Vec<IpAddr> = hosts
        .filter(|host| host.kind == drbd_config::model::HostKind::Floating)
        .filter_map(|host| Some(host.address.as_ref()?.ip))
        .filter(|ip| is_local(*ip))
        .collect();
    addresses.dedup();
    Identity { node, addresses }
}

/// Reads the configuration; the error is a sentence.
pub fn load(path: Option<&str>) -> Result<Loaded, String> {
    if let Some(path) = path {
        return drbd_config::from_file(path)
            .map_err(|error| format!("cannot read '{path}': {}", crate::os_error(&error)));
    }
    for path in FILES {
        match drbd_config::from_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read '{path}': {}", crate::os_error(&error))),
            Ok(loaded) => return Ok(loaded),
        }
    }
    Err(format!(
        "there is no configuration: none of {} exists",
        FILES.join(", ")
    ))
}

/// What one operand means: `all`, `RES`, `RES/VOLUME`, `minor-N`.
pub fn select<'a>(
    config: &'a Config,
    identity: &'a Identity,
    operand: &str,
    peer_name: Option<&'a str>,
) -> Result<Vec<Selected<'a>>, String> {
    let here = |resource: &'a Resource, volume| {
        let me = resource.host_of(identity)?;
        Some(Selected {
            config,
            resource,
            me,
            volume,
            peer_name,
            identity,
        })
    };
    let all = || {
        config
            .resources
            .iter()
            .filter_map(|resource| here(resource, None))
    };
    // A resource may be called "all" or "minor-1": its name comes first.
    if let Some(selected) = all().find(|selected| selected.resource.name == operand) {
        return Ok(vec![selected]);
    }
    if operand == "all" {
        return Ok(all().collect());
    }
    let volume_of = |selected: Selected<'a>, wanted: &dyn Fn(&Volume) -> bool| {
        let volume = selected.host().volumes.iter().find(|v| wanted(v))?.vnr;
        Some(Selected {
            volume: Some(volume),
            ..selected
        })
    };
    let found = match (operand.strip_prefix("minor-"), operand.rsplit_once('/')) {
        (Some(minor), _) if minor.parse::<u32>().is_ok() => {
            let minor = minor.parse().ok();
            all().find_map(|selected| volume_of(selected, &|volume| volume.minor == minor))
        }
        (_, Some((name, vnr))) => all()
            .find(|selected| selected.resource.name == name)
            .and_then(|selected| volume_of(selected, &|volume| vnr.parse() == Ok(volume.vnr))),
        _ => None,
    };
    match found {
        Some(selected) => Ok(vec![selected]),
        None => Err(format!(
            "'{operand}' not defined in your config (for this host)."
        )),
    }
}
