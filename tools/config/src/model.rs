// SPDX-License-Identifier: GPL-2.0-only

//! What a drbd.conf says, as data.

use std::net::IpAddr;

use drbd_core::config::Attr;

use crate::source::{Sources, Span};

/// A whole configuration, inheritance applied.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The main file's name, absolute where it has one.
    pub path: String,
    /// Section `global`.
    pub global: Global,
    /// Section `common`, if there is one.
    pub common: Option<Sections>,
    /// The resources, in the order of the files.
    pub resources: Vec<Resource>,
    /// The texts that all this came from.
    pub sources: Sources,
}

/// Section `global`.
#[derive(Clone, Debug, Default)]
pub struct Global {
    /// The statements, with canonical names; booleans have the value `yes`.
    pub options: Vec<(String, String)>,
}

impl Global {
    /// The value of a statement.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One option as it was written.
#[derive(Clone, Debug)]
pub struct Opt {
    /// Canonical name.
    pub name: &'static str,
    /// The value as written; `yes` or `no` for a boolean.
    pub value: String,
    /// Where the value (or the name, if there is no value) stands.
    pub span: Span,
    /// Its row in the option table, which checked the value.
    pub attr: &'static Attr,
    /// It came down from `common` or from the resource.
    pub inherited: bool,
}

/// The sections of options that `common` and a resource have.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    /// `options`
    pub options: Vec<Opt>,
    /// `net`
    pub net: Vec<Opt>,
    /// `disk`
    pub disk: Vec<Opt>,
    /// `startup`
    pub startup: Vec<Opt>,
    /// `handlers`
    pub handlers: Vec<Opt>,
}

impl Sections {
    /// Whether no section has an option.
    pub fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, options)| options.is_empty())
    }

    /// The sections with their names, in the order of `dump`.
    pub fn all(&self) -> [(&'static str, &[Opt]); 5] {
        [
            ("options", &self.options),
            ("net", &self.net),
            ("disk", &self.disk),
            ("startup", &self.startup),
            ("handlers", &self.handlers),
        ]
    }
}

/// One resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// Its options.
    pub sections: Sections,
    /// The nodes that have it.
    pub hosts: Vec<Host>,
    /// Who is connected to whom, where that was written (DRBD 9); without any, everybody to everybody.
    pub connections: Vec<Connection>,
    /// Section `proxy`: settings of a program that may stand between the nodes. Kept for the dump only.
    pub proxy: Vec<ProxyItem>,
    /// Inherits from that file instead of from `common`.
    pub template: Option<String>,
}

impl Resource {
    /// Whether it lies on another resource.
    pub fn is_stacked(&self) -> bool {
        self.hosts
            .iter()
            .any(|host| matches!(host.kind, HostKind::Stacked(_)))
    }
}

/// What `drbdsetup show` calls this node and its peer.
pub const THIS_HOST: &str = "_this_host";
/// The other one; it has an address only.
pub const REMOTE_HOST: &str = "_remote_host";

impl Host {
    /// Whether it was printed by `drbdsetup show`: it has what the kernel has, be it complete or not.
    pub fn is_shown(&self) -> bool {
        let name = self.names.first().map(String::as_str);
        matches!(name, Some(THIS_HOST | REMOTE_HOST))
    }
}

/// What makes a node the one that a host section means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// Its name (`on`).
    Named,
    /// Its address (`floating`).
    Floating,
    /// That it has that resource (`stacked-on-top-of`).
    Stacked(String),
}

/// One `on`, `floating` or `stacked-on-top-of` section.
#[derive(Clone, Debug)]
pub struct Host {
    /// How it finds its node.
    pub kind: HostKind,
    /// Names of the nodes (none for `floating`; filled in from the lower resource for `stacked-on-top-of`).
    pub names: Vec<String>,
    /// Where the section starts.
    pub span: Span,
    /// Where the node listens.
    pub address: Option<Address>,
    /// Its volumes, by number.
    pub volumes: Vec<Volume>,
    /// DRBD 9's number of the node.
    pub node_id: Option<u32>,
    /// The section `proxy on`.
    pub proxy: Option<HostProxy>,
    /// What is said in it, but in a way that could not be read.
    pub unread: Vec<&'static str>,
}

/// Where a host's proxy listens.
#[derive(Clone, Debug, Default)]
pub struct HostProxy {
    /// The machines that it may run on.
    pub names: Vec<String>,
    /// Towards the node.
    pub inside: Option<Address>,
    /// Towards the other proxy.
    pub outside: Option<Address>,
    /// Settings of this host's proxy.
    pub options: Vec<ProxyItem>,
}

/// A statement about a proxy, or a section of such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyItem {
    /// Words up to `;`.
    Line(Vec<String>),
    /// A named block.
    Block(String, Vec<ProxyItem>),
}

/// One `connection` or `connection-mesh`.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Where it starts.
    pub span: Span,
    /// `connection-mesh`: each of `ends` with each other.
    pub mesh: bool,
    /// The hosts, where they were named outside of a path.
    pub ends: Vec<End>,
    /// The ways between the two hosts; the first is the one that is used.
    pub paths: Vec<Vec<End>>,
    /// Options of the connection.
    pub net: Vec<Opt>,
    /// Options of all disks towards this peer.
    pub disk: Vec<Opt>,
    /// Options of single disks towards this peer, by volume.
    pub volumes: Vec<(u16, Vec<Opt>)>,
}

impl Connection {
    /// The names of its hosts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let ends = self.paths.first().unwrap_or(&self.ends);
        ends.iter().map(|end| end.host.as_str())
    }
}

/// A host in a connection, and where it listens for it.
#[derive(Clone, Debug)]
pub struct End {
    /// The host's name, as its `on` says it.
    pub host: String,
    /// Where the name stands.
    pub span: Span,
    /// Address of this connection; that of the host otherwise.
    pub address: Option<Address>,
    /// The host's address with another port.
    pub port: Option<u16>,
}

/// An end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `ipv4`, `ipv6`, `ssocks` or `sdp`.
    pub family: String,
    /// The address.
    pub ip: IpAddr,
    /// Interface of a link-local IPv6 address.
    pub scope: Option<String>,
    /// The port.
    pub port: u16,
}

impl Address {
    /// The address without the port, with the scope.
    pub fn host(&self) -> String {
        match &self.scope {
            Some(scope) => format!("{}%{scope}", self.ip),
            None => self.ip.to_string(),
        }
    }

    /// `FAMILY:ADDRESS:PORT` as drbdsetup takes it.
    pub fn operand(&self) -> String {
        match self.ip {
            IpAddr::V4(_) => format!("{}:{}:{}", self.family, self.host(), self.port),
            IpAddr::V6(_) => format!("{}:[{}]:{}", self.family, self.host(), self.port),
        }
    }
}

/// One volume on one node.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its number within the resource.
    pub vnr: u16,
    /// It was not written as `volume N { }`.
    pub implicit: bool,
    /// Where it starts.
    pub span: Span,
    /// The device's name, if one was written.
    pub device: Option<String>,
    /// Its minor number, written or taken from the name.
    pub minor: Option<u32>,
    /// The lower disk.
    pub disk: Option<String>,
    /// Written as `disk none`: this node has no disk of its own.
    pub diskless: bool,
    /// Where the metadata is.
    pub meta_disk: Option<MetaDisk>,
    /// Options of the disk.
    pub options: Vec<Opt>,
}

impl Volume {
    /// A volume of which nothing is known yet.
    pub fn new(vnr: u16, implicit: bool, span: Span) -> Self {
        Self {
            vnr,
            implicit,
            span,
            device: None,
            minor: None,
            disk: None,
            diskless: false,
            meta_disk: None,
            options: Vec::new(),
        }
    }

    /// The path of the device node.
    pub fn device_path(&self) -> String {
        self.device.clone().unwrap_or_else(|| match self.minor {
            Some(minor) => format!("/dev/drbd{minor}"),
            None => "/dev/drbd?".to_owned(),
        })
    }
}

/// Where a volume's metadata is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaDisk {
    /// At the end of the data device.
    Internal,
    /// A device of its own.
    Flexible(String),
    /// A slot on a shared device.
    Indexed(String, u32),
}

impl MetaDisk {
    /// The device, given the data device.
    pub fn device<'a>(&'a self, disk: &'a str) -> &'a str {
        match self {
            MetaDisk::Internal => disk,
            MetaDisk::Flexible(device) | MetaDisk::Indexed(device, _) => device,
        }
    }

    /// The index as drbdsetup and drbdmeta take it.
    pub fn index(&self) -> String {
        match self {
            MetaDisk::Internal => "internal".to_owned(),
            MetaDisk::Flexible(_) => "flexible".to_owned(),
            MetaDisk::Indexed(_, index) => index.to_string(),
        }
    }
}
