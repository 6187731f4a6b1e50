// SPDX-License-Identifier: GPL-2.0-only

//! Who is connected to whom, where the ends listen, and which options hold for that connection.

use std::collections::HashMap;

use crate::model::{Address, Connection, End, Host, Opt, Resource, Volume};
use crate::source::{nearest, Diagnostic, Span};

/// A peer of a host.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its section.
    pub host: &'a Host,
    /// The connection that was written for the two, if one was.
    pub connection: Option<&'a Connection>,
}

fn is_named(host: &Host, name: &str) -> bool {
    host.names.iter().any(|own| own == name)
}

impl Connection {
    fn joins(&self, a: &Host, b: &Host) -> bool {
        let has = |host: &Host| self.names().any(|name| is_named(host, name));
        has(a) && has(b)
    }

    /// What a host's end of the connection says.
    fn end_of(&self, host: &Host) -> Option<&End> {
        let ends = self.paths.first().unwrap_or(&self.ends);
        ends.iter().find(|end| is_named(host, &end.host))
    }

    /// Where the host listens for this connection.
    pub fn address_of(&self, host: &Host) -> Option<Address> {
        let end = self.end_of(host)?;
        let address = end.address.as_ref().or(host.address.as_ref())?;
        Some(Address {
            port: end.port.unwrap_or(address.port),
            ..address.clone()
        })
    }

    /// What is written for one volume's disk towards this peer; what is closest to the volume wins.
    pub fn disk_options<'a>(&'a self, volume: &'a Volume) -> impl Iterator<Item = &'a Opt> {
        let own = self
            .volumes
            .iter()
            .filter(|(vnr, _)| *vnr == volume.vnr)
            .flat_map(|(_, options)| options);
        own.chain(&self.disk)
    }
}

impl Resource {
    /// The hosts that the host at index `me` replicates with.
    pub fn peers(&self, me: usize) -> Vec<Peer<'_>> {
        let Some(own) = self.hosts.get(me) else {
            return Vec::new();
        };
        let others = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != me)
            .map(|(_, host)| host);
        others
            .filter_map(|host| {
                let connection = self.connections.iter().find(|c| c.joins(own, host));
                let connected = self.connections.is_empty() || connection.is_some();
                connected.then_some(Peer { host, connection })
            })
            .collect()
    }

    /// Where the two ends of the connection to a peer listen, ours first.
    pub fn ends(&self, me: usize, peer: &Peer<'_>) -> Option<[Address; 2]> {
        let own = self.hosts.get(me)?;
        let address = |host: &Host| match peer.connection {
            Some(connection) => connection.address_of(host),
            None => host.address.clone(),
        };
        Some([address(own)?, address(peer.host)?])
    }

    /// The options of the connection to a peer.
    pub fn net_options(&self, peer: &Peer<'_>) -> Vec<Opt> {
        let own = peer
            .connection
            .map_or(&[][..], |connection| &connection.net);
        let inherited = self
            .sections
            .net
            .iter()
            .filter(|opt| !own.iter().any(|own| own.name == opt.name));
        inherited.chain(own).cloned().collect()
    }

    /// Whether each end of each connection of this host has an address of its own.
    pub(crate) fn is_addressed(&self, host: &Host) -> bool {
        let mut own = self
            .connections
            .iter()
            .filter_map(|connection| connection.end_of(host))
            .peekable();
        own.peek().is_some() && own.all(|end| end.address.is_some())
    }
}

/// Hosts of connections that do not exist, pairs that are connected twice, node numbers that are not unique.
pub fn check(resource: &Resource, diagnostics: &mut Vec<Diagnostic>) {
    let names = || resource.hosts.iter().flat_map(|host| &host.names);
    let mut pairs: HashMap<[&str; 2], Span> = HashMap::new();
    for connection in &resource.connections {
        for end in connection.paths.iter().flatten().chain(&connection.ends) {
            if resource.hosts.iter().any(|host| is_named(host, &end.host)) {
                continue;
            }
            let advice = match nearest(&end.host, names().map(String::as_str)) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "one of its 'on' names is expected".to_owned(),
            };
            let message = format!("resource '{}' has no host '{}'", resource.name, end.host);
            diagnostics.push(Diagnostic::error(end.span, message, advice));
        }
        let ends: Vec<&str> = connection.names().collect();
        for (at, a) in ends.iter().enumerate() {
            for b in ends.iter().skip(at + 1) {
                let pair = if a < b { [*a, *b] } else { [*b, *a] };
                if let Some(first) = pairs.insert(pair, connection.span) {
                    let message = format!("'{a}' and '{b}' are connected for the second time");
                    let advice = "several ways of one connection are written as several 'path { }'";
                    diagnostics.push(
                        Diagnostic::error(connection.span, message, advice)
                            .with(first, "the first"),
                    );
                }
            }
        }
    }
    let mut ids: HashMap<u32, Span> = HashMap::new();
    for host in &resource.hosts {
        let Some(id) = host.node_id else { continue };
        if let Some(first) = ids.insert(id, host.span) {
            diagnostics.push(
                Diagnostic::error(
                    host.span,
                    format!(
                        "resource '{}': node-id {id} for the second time",
                        resource.name
                    ),
                    "each host needs its own",
                )
                .with(first, "first used here"),
            );
        }
    }
}
