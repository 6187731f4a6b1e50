// SPDX-License-Identifier: GPL-2.0-only

//! What other programs ask drbdadm: the `sh-` commands of scripts, udev and Pacemaker, and the handlers that the
//! kernel calls.

use std::process::Command;

use drbd_config::machine::is_local;
use drbd_config::model::HostKind;

use super::steps::{escaped, volumes};
use super::target::Selected;

/// The handlers that the kernel may call by name.
pub const HANDLERS: &[&str] = &[
    "before-resync-source",
    "before-resync-target",
    "after-resync-target",
    "fence-peer",
    "unfence-peer",
    "initial-split-brain",
    "split-brain",
    "local-io-error",
    "out-of-sync",
    "pri-lost",
    "pri-lost-after-sb",
    "pri-on-incon-degr",
];

/// The `sh-` commands about one resource.
pub const COMMANDS: &[&str] = &[
    "sh-resource",
    "sh-dev",
    "sh-minor",
    "sh-ll-dev",
    "sh-md-dev",
    "sh-md-idx",
    "sh-ip",
    "sh-udev",
    "sh-status",
    "sh-lr-of",
];

/// One line about each of them.
pub fn about(command: &str) -> &'static str {
    match command {
        "sh-resource" => "the resource's name",
        "sh-dev" => "devices of the volumes",
        "sh-minor" => "minor numbers of the volumes",
        "sh-ll-dev" => "lower disks of the volumes",
        "sh-md-dev" => "devices of the metadata",
        "sh-md-idx" => "places of the metadata: internal, flexible, an index",
        "sh-ip" => "this node's address",
        "sh-udev" => "names for the rules of udev",
        "sh-status" => "state as shell assignments",
        _ => "the lower resource of a stacked one",
    }
}

/// The lines that a `sh-` command prints for a resource.
pub fn lines(selected: &Selected<'_>, command: &str) -> Vec<String> {
    let host = selected.host();
    let per_volume = |tell: &dyn Fn(&drbd_config::model::Volume) -> Option<String>| {
        volumes(selected).filter_map(tell).collect()
    };
    match command {
        "sh-resource" => vec![selected.resource.name.clone()],
        "sh-dev" => per_volume(&|volume| Some(volume.device_path())),
        "sh-minor" => per_volume(&|volume| volume.minor.map(|minor| minor.to_string())),
        "sh-ll-dev" => per_volume(&|volume| volume.disk.clone()),
        "sh-md-dev" => per_volume(&|volume| {
            Some(
                volume
                    .meta_disk
                    .as_ref()?
                    .device(volume.disk.as_deref()?)
                    .to_owned(),
            )
        }),
        "sh-md-idx" => per_volume(&|volume| Some(volume.meta_disk.as_ref()?.index())),
        "sh-ip" => per_volume(&|_| Some(host.address.as_ref()?.host())),
        "sh-lr-of" => match &host.kind {
            HostKind::Stacked(lower) => vec![escaped(lower)],
            _ => Vec::new(),
        },
        _ => per_volume(&|volume| Some(udev(selected, volume))),
    }
}

fn udev(selected: &Selected<'_>, volume: &drbd_config::model::Volume) -> String {
    let name = &selected.resource.name;
    let base = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
    let always = selected.config.global.get("udev-always-use-vnr").is_some();
    let resource = if volume.implicit && !always {
        name.clone()
    } else {
        format!("{name}/{}", volume.vnr)
    };
    let disk = base(volume.disk.clone().unwrap_or_default());
    format!(
        "RESOURCE={resource}\nDEVICE={}\nDISK={disk}",
        base(volume.device_path())
    )
}

/// What `sh-status` says of a resource as the file has it.
pub fn status_head(selected: &Selected<'_>) -> String {
    let config = selected.config;
    let (line, _) = config.sources.position(selected.resource.span);
    let mut file = config.sources.name(selected.resource.span.file).to_owned();
    if let Ok(path) = std::path::absolute(&file) {
        file = path.to_string_lossy().into_owned();
    }
    let lower = match &selected.host().kind {
        HostKind::Stacked(lower) => config.resources.iter().find(|r| r.name == *lower),
        _ => None,
    };
    let volume = lower.and_then(|lower| {
        let me = lower.host_of(selected.identity)?;
        lower.hosts.get(me)?.volumes.first()
    });
    let minor = volume.and_then(|volume| volume.minor);
    format!(
        "_conf_res_name={}\n_conf_file_line={file}:{line}\n\n_stacked_on={}\n_stacked_on_device={}\n_stacked_on_minor={}\n",
        escaped(&selected.resource.name),
        lower.map_or_else(String::new, |lower| escaped(&lower.name)),
        volume.map_or_else(String::new, |volume| escaped(&volume.device_path())),
        minor.map_or_else(String::new, |minor| minor.to_string()),
    )
}

/// Runs a handler; 0 if none is configured.
pub fn handler(selected: &Selected<'_>, name: &str, dry_run: bool) -> i32 {
    let Some(opt) = selected
        .resource
        .sections
        .handlers
        .iter()
        .find(|opt| opt.name == name)
    else {
        return 0;
    };
    if dry_run {
        println!("/bin/sh -c {}", escaped(&opt.value));
        return 0;
    }
    let list = |tell: &dyn Fn(&drbd_config::model::Volume) -> Option<String>| {
        volumes(selected)
            .filter_map(tell)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &opt.value])
        .env("DRBD_CONF", &selected.config.path)
        .env("DRBD_RESOURCE", &selected.resource.name)
        .env(
            "DRBD_MINOR",
            list(&|volume| volume.minor.map(|minor| minor.to_string())),
        )
        .env("DRBD_VOLUME", list(&|volume| Some(volume.vnr.to_string())))
        .env("DRBD_LL_DISK", list(&|volume| volume.disk.clone()));
    if let Ok(peer) = selected.peer() {
        command
            .env("DRBD_PEER", peer.host.names.join(" "))
            .env("DRBD_PEERS", peer.host.names.join(" "));
        if let Some([_, address]) = selected.resource.ends(selected.me, &peer) {
            // The kernel knows better, if it was it that called.
            if std::env::var_os("DRBD_PEER_ADDRESS").is_none() {
                command
                    .env("DRBD_PEER_AF", &address.family)
                    .env("DRBD_PEER_ADDRESS", address.host());
            }
        }
    }
    match command.status() {
        Ok(status) => status.code().unwrap_or(20),
        Err(error) => {
            eprintln!("/bin/sh: {}", drbd_say::os_error(&error));
            20
        }
    }
}

/// Complains about an address of ours that this machine does not have.
pub fn verify_address(selected: &Selected<'_>) -> Result<(), String> {
    let ends = selected
        .peer()
        .ok()
        .and_then(|peer| selected.resource.ends(selected.me, &peer));
    let Some([address, _]) = ends else {
        return Ok(());
    };
    if selected
        .config
        .global
        .get("disable-ip-verification")
        .is_some()
        || is_local(address.ip)
    {
        return Ok(());
    }
    let (line, _) = selected.config.sources.position(selected.resource.span);
    let file = selected.config.sources.name(selected.resource.span.file);
    Err(format!(
        "{file}:{line}: in resource {}, on {}:\n\tIP {} not found on this host.",
        selected.resource.name,
        selected
            .host()
            .names
            .first()
            .map_or("floating", String::as_str),
        address.ip
    ))
}
