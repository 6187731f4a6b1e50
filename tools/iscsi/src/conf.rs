// SPDX-License-Identifier: GPL-2.0-only

//! Finds and reads drbd.conf, and finds out which of its nodes this one is: as drbdadm does.

use std::fs;

use drbd_config::machine::{floating_addresses, FILES};
use drbd_config::Identity;
use drbd_say::os_error;

use crate::drbd::{mirrors, Me, Mirrors};

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The mirrors of this node, or of the one that `node` names or counts.
pub fn read(path: Option<&str>, node: Option<&str>) -> Result<Mirrors, String> {
    let is_there = |path: &&str| fs::exists(path).unwrap_or(true);
    let Some(path) = path.or_else(|| FILES.iter().copied().find(is_there)) else {
        return Ok(Mirrors::default());
    };
    let loaded = drbd_config::from_file(path).map_err(|e| format!("{path}: {}", os_error(&e)))?;
    if loaded.is_broken() {
        eprint!("{}", loaded.report());
        return Err(format!("configuration refused: {path} has errors"));
    }
    let me = match node.map(|node| (node, node.parse())) {
        Some((_, Ok(number))) => Me::Numbered(number),
        named => Me::Named(Identity {
            node: named.map_or_else(hostname, |(node, _)| node.to_owned()),
            addresses: floating_addresses(&loaded.config),
        }),
    };
    let mirrors = mirrors(&loaded.config, &me);
    let found = !mirrors.devices.is_empty() || !mirrors.stacked.is_empty();
    match node {
        // Nobody asked for a node that is not there: a plain disk can be exported on any.
        None => Ok(mirrors),
        Some(_) if found || mirrors.hosts.is_empty() => Ok(mirrors),
        Some(node) => Err(format!(
            "configuration refused: {path} has no host {}; there are: {}",
            if let Me::Named(_) = me {
                format!("'{node}'")
            } else {
                format!("number {node}")
            },
            mirrors.hosts.join(", ")
        )),
    }
}
