// SPDX-License-Identifier: GPL-2.0-only

//! Which configuration, which node, and which resources a command line means.

use std::path::Path;

use drbd_config::links::Peer;
use drbd_config::machine::{floating_addresses, FILES};
use drbd_config::model::{Host, HostKind, Resource, Volume};
use drbd_config::{Config, Identity, Loaded};

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

    /// The other node, and the connection to it.
    pub fn peer(&self) -> Result<Peer<'a>, String> {
        let resource: &'a Resource = self.resource;
        let mut peers = resource.peers(self.me);
        if let Some(name) = self.peer_name {
            peers.retain(|peer| peer.host.names.iter().any(|n| n == name));
        }
        let name = &resource.name;
        match (peers.pop(), peers.is_empty()) {
            (Some(peer), true) => Ok(peer),
            (Some(_), false) => Err(format!(
                "resource '{name}' has several peers, and this driver connects to one: choose with --peer=NAME"
            )),
            (None, _) => Err(format!("resource '{name}' has no such peer")),
        }
    }

    /// Whether this node has the resource on top of another one.
    pub fn is_stacked(&self) -> bool {
        matches!(self.host().kind, HostKind::Stacked(_))
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
    let addresses = floating_addresses(config);
    Identity { node, addresses }
}

/// Reads the configuration, with the files `tested` behind it and without the files `without`; the error is a sentence.
pub fn load(path: Option<&str>, tested: &[String], without: &[String]) -> Result<Loaded, String> {
    let is_there = |path: &&str| !matches!(std::fs::metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    let path = path
        .or_else(|| FILES.iter().copied().find(is_there))
        .ok_or_else(|| {
            format!(
                "there is no configuration: none of {} exists",
                FILES.join(", ")
            )
        })?;
    let unread = |path: &str, error: &std::io::Error| {
        format!("cannot read '{path}': {}", drbd_say::os_error(error))
    };
    let mut files = vec![(path, drbd_config::text_of(path))];
    files.extend(
        tested
            .iter()
            .map(|file| (file.as_str(), drbd_config::text_of(file))),
    );
    let texts: Result<Vec<_>, String> = files
        .into_iter()
        .map(|(path, text)| text.map_err(|error| unread(path, &error)))
        .collect();
    let without: Vec<&str> = without.iter().map(String::as_str).collect();
    Ok(drbd_config::from_texts(texts?, &without))
}

/// Leaves word for the kernel's calls which file a minor and a resource came from.
pub fn remember(name: &str, selected: &Selected<'_>) {
    let minors = selected
        .host()
        .volumes
        .iter()
        .filter_map(|volume| volume.minor);
    let links = minors
        .map(|minor| format!("{RUN}/drbd-minor-{minor}.conf"))
        .chain([format!(
            "{RUN}/drbd-resource-{}.conf",
            selected.resource.name
        )]);
    match name {
        "up" | "adjust" | "adjust-with-progress" | "new-resource" | "new-minor" => {
            use std::os::unix::fs::DirBuilderExt as _;
            let _ = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(RUN);
            for link in links {
                // The default file is found without a link; failing to leave one is no failure of the command.
                let _ = std::fs::remove_file(&link);
                let _ = std::os::unix::fs::symlink(&selected.config.path, &link);
            }
        }
        "down" => links.for_each(|link| {
            let _ = std::fs::remove_file(link);
        }),
        _ => {}
    }
}

/// The file that an object of the kernel was configured from, by the link in `run`. It is the file's own path: what it
/// includes lies beside the file, not beside the link.
pub fn remembered(run: &Path, operand: &str) -> Option<String> {
    let link = match operand.strip_prefix("minor-") {
        Some(minor) => format!("drbd-minor-{minor}.conf"),
        None => format!("drbd-resource-{operand}.conf"),
    };
    let file = run.join(link).canonicalize().ok()?;
    Some(file.to_str()?.to_owned())
}

/// Which resources a command line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those that lie on disks.
    Normal,
    /// Those that lie on other resources (`--stacked`).
    Stacked,
    /// All: the command is told which, by the kernel or by udev.
    Either,
}

impl Mode {
    fn admits(self, selected: &Selected<'_>) -> bool {
        match self {
            Mode::Normal => !selected.is_stacked(),
            Mode::Stacked => selected.is_stacked(),
            Mode::Either => true,
        }
    }
}

/// The resources of this node, as the mode allows.
pub fn all<'a>(
    config: &'a Config,
    identity: &'a Identity,
    peer_name: Option<&'a str>,
    mode: Mode,
) -> Vec<Selected<'a>> {
    let here = |resource: &'a Resource| {
        let me = resource.host_of(identity)?;
        Some(Selected {
            config,
            resource,
            me,
            volume: None,
            peer_name,
            identity,
        })
    };
    config
        .resources
        .iter()
        .filter_map(here)
        .filter(|selected| mode.admits(selected))
        .collect()
}

/// A resource, as it can be named.
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its volumes on this node, or else on the first: number and minor.
    pub volumes: Vec<(u16, Option<u32>)>,
}

/// What can be named: nothing, if there is no configuration that can be read.
pub fn configured(file: Option<&str>) -> Vec<Named> {
    let Ok(loaded) = load(file, &[], &[]) else {
        return Vec::new();
    };
    let identity = identity(&loaded.config);
    let named = |resource: &Resource| Named {
        name: resource.name.clone(),
        volumes: resource
            .hosts
            .get(resource.host_of(&identity).unwrap_or(0))
            .into_iter()
            .flat_map(|host| &host.volumes)
            .map(|volume| (volume.vnr, volume.minor))
            .collect(),
    };
    loaded.config.resources.iter().map(named).collect()
}

/// Why there is nothing to do for `all`.
pub fn nothing(config: &Config, identity: &Identity, mode: Mode) -> String {
    let node = &identity.node;
    if config.resources.is_empty() {
        "no resources defined! Each has a file of its own in drbd.d; see drbd.conf(5)".to_owned()
    } else if mode == Mode::Stacked {
        format!("WARN: nothing stacked for this host ({node}), nothing to do in stacked mode!")
    } else {
        format!(
            "WARN: no normal resources defined for this host ({node})!?\nMisspelled name of the local machine with the 'on' keyword ?"
        )
    }
}

/// What one operand means: `all`, `RES`, `RES/VOLUME`, `minor-N`.
pub fn select<'a>(
    config: &'a Config,
    identity: &'a Identity,
    operand: &str,
    peer_name: Option<&'a str>,
    mode: Mode,
) -> Result<Vec<Selected<'a>>, String> {
    let everything = all(config, identity, peer_name, Mode::Either);
    let found = find(&everything, operand);
    match found {
        // A minor number says which it is.
        Some(selected) if mode.admits(&selected) || operand.starts_with("minor-") => {
            Ok(vec![selected])
        }
        Some(selected) if selected.is_stacked() => Err(format!(
            "'{operand}' is a stacked resource, and not available in normal mode.\nGive --stacked (-S) for it."
        )),
        Some(_) => Err(format!(
            "'{operand}' is a normal resource, and not available in stacked mode.\nLeave out --stacked (-S)."
        )),
        None if operand == "all" => Ok(all(config, identity, peer_name, mode)),
        None => {
            let hint = hint(&everything, operand);
            Err(format!(
                "'{operand}' not defined in your config (for this host).{hint}"
            ))
        }
    }
}

/// What an operand that names nothing most likely meant.
fn hint(everything: &[Selected<'_>], operand: &str) -> String {
    let name = operand.split('/').next().unwrap_or_default();
    if let Some(selected) = everything.iter().find(|s| s.resource.name == name) {
        let volumes = selected.host().volumes.iter();
        let volumes: Vec<String> = volumes.map(|v| format!("{name}/{}", v.vnr)).collect();
        return format!("\nThere are: {}", volumes.join(" "));
    }
    let names = everything.iter().map(|s| s.resource.name.as_str());
    let near = drbd_config::suggest::nearest(name, names);
    near.map_or_else(String::new, |near| format!("\nDid you mean '{near}'?"))
}

fn find<'a>(everything: &[Selected<'a>], operand: &str) -> Option<Selected<'a>> {
    // A resource may be called "all" or "minor-1": its name comes first.
    if let Some(selected) = everything.iter().find(|s| s.resource.name == operand) {
        return Some(*selected);
    }
    let volume_of = |selected: &Selected<'a>, wanted: &dyn Fn(&Volume) -> bool| {
        let volume = selected.host().volumes.iter().find(|v| wanted(v))?.vnr;
        Some(Selected {
            volume: Some(volume),
            ..*selected
        })
    };
    match (operand.strip_prefix("minor-"), operand.rsplit_once('/')) {
        (Some(minor), _) if minor.parse::<u32>().is_ok() => {
            let minor = minor.parse().ok();
            everything
                .iter()
                .find_map(|selected| volume_of(selected, &|volume| volume.minor == minor))
        }
        (_, Some((name, vnr))) => everything
            .iter()
            .find(|selected| selected.resource.name == name)
            .and_then(|selected| volume_of(selected, &|volume| vnr.parse() == Ok(volume.vnr))),
        _ => None,
    }
}
