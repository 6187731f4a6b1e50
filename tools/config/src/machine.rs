// SPDX-License-Identifier: GPL-2.0-only

//! What this machine has to do with a configuration: where the file is, which node it is.

use std::net::{IpAddr, UdpSocket};

use crate::model::{Config, HostKind};

/// Where the configuration is looked for; the first that is there counts.
pub const FILES: &[&str] = &[
    "/etc/drbd-84.conf",
    "/etc/drbd-83.conf",
    "/etc/drbd-82.conf",
    "/etc/drbd-08.conf",
    "/etc/drbd.conf",
    // The Debian package's, which has no file in /etc.
    "/usr/share/drbdrs-utils/drbd.conf",
];

/// Whether an address belongs to this machine: only then can a socket be bound to it.
pub fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// This machine's addresses among those that `floating` sections name.
pub fn floating_addresses(config: &Config) -> Vec<IpAddr> {
    let hosts = config.resources.iter().flat_map(|resource| &resource.hosts);
    let mut addresses: Vec<IpAddr> = hosts
        .filter(|host| host.kind == HostKind::Floating)
        .filter_map(|host| Some(host.address.as_ref()?.ip))
        .filter(|ip| is_local(*ip))
        .collect();
    addresses.dedup();
    addresses
}
