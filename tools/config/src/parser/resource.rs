// SPDX-License-Identifier: GPL-2.0-only

//! Resources, their hosts, their volumes.

use super::{Parsed, Parser, RawResource, Skip};
use crate::lexer::Kind;
use crate::model::{
    Address, Host, HostKind, MetaDisk, Resource, Sections, Volume, REMOTE_HOST, THIS_HOST,
};
use crate::source::{nearest, Span};
use crate::tables::Section;

const RESOURCE: &[&str] = &[
    "protocol",
    "on",
    "floating",
    "stacked-on-top-of",
    "volume",
    "device",
    "disk",
    "meta-disk",
    "flexible-meta-disk",
    "net",
    "options",
    "startup",
    "handlers",
    "syncer",
    "proxy",
    "skip",
    "ignore-on",
    "connection",
    "connection-mesh",
    "template-file",
];
const HOST: &[&str] = &[
    "device",
    "disk",
    "meta-disk",
    "flexible-meta-disk",
    "address",
    "volume",
    "proxy",
    "options",
    "node-id",
];
const VOLUME: &[&str] = &["device", "disk", "meta-disk", "flexible-meta-disk"];

impl Parser<'_> {
    pub(super) fn resource(&mut self) -> Parsed<()> {
        let (name, span) = self.word("a resource's name")?;
        if name.contains('/') {
            self.error(
                span,
                format!("'/' in the name of resource '{name}'"),
                "it separates resource and volume",
            );
        }
        let mut resource = Resource {
            name,
            span,
            sections: Sections::default(),
            hosts: Vec::new(),
            connections: Vec::new(),
            proxy: Vec::new(),
            template: None,
        };
        let mut volumes = Vec::new();
        let read = self
            .block(|p, word, span| p.resource_statement(word, span, &mut resource, &mut volumes));
        let template = resource
            .template
            .take()
            .and_then(|file| self.template(&mut resource, &file));
        self.raw.resources.push(RawResource {
            resource,
            volumes,
            template,
        });
        read
    }

    fn resource_statement(
        &mut self,
        word: &str,
        span: Span,
        resource: &mut Resource,
        volumes: &mut Vec<Volume>,
    ) -> Parsed<()> {
        match word {
            "protocol" => self.option(Section::Net, word, span, &mut resource.sections),
            "on" | "floating" | "stacked-on-top-of" | THIS_HOST | REMOTE_HOST => {
                let host = self.host(word, span)?;
                resource.hosts.push(host);
                Ok(())
            }
            "disk" if self.is_mark('{') => self.section(Section::Disk, &mut resource.sections),
            "volume" | "device" | "disk" | "meta-disk" | "flexible-meta-disk" => {
                self.volume_statement(word, span, volumes)
            }
            "skip" => self.skip_section(),
            "proxy" => {
                let items = self.proxy_items()?;
                resource.proxy.extend(items);
                Ok(())
            }
            "connection" | "connection-mesh" => {
                let connection = self.connection(word == "connection-mesh", span)?;
                resource.connections.push(connection);
                Ok(())
            }
            "template-file" => {
                let (file, at) = self.word("a file name")?;
                if resource.template.replace(file).is_some() {
                    self.error(at, "'template-file' for the second time", "one is allowed");
                }
                self.template_at = at;
                self.semicolon()
            }
            "ignore-on" => {
                self.word("a host's name")?;
                self.warn(
                    span,
                    "'ignore-on' has no effect",
                    "use 'skip' for resources of other hosts",
                );
                self.semicolon()
            }
            _ => match Section::from_name(word) {
                Some(section) => self.section(section, &mut resource.sections),
                None => self.unknown(
                    word,
                    span,
                    &format!("resource '{}'", resource.name),
                    RESOURCE,
                ),
            },
        }
    }

    fn host(&mut self, word: &str, span: Span) -> Parsed<Host> {
        let mut host = Host {
            kind: HostKind::Named,
            names: Vec::new(),
            span,
            address: None,
            volumes: Vec::new(),
            node_id: None,
            proxy: None,
            unread: Vec::new(),
        };
        match word {
            "on" => {
                host.names.push(self.word("a host's name")?.0);
                while !self.is_mark('{') && !self.lacks_brace_before(HOST) {
                    host.names.push(self.word("'{' or another name")?.0);
                }
            }
            THIS_HOST | REMOTE_HOST => host.names.push(word.to_owned()),
            "floating" => {
                host.kind = HostKind::Floating;
                host.address = Some(self.address()?);
                if self.is_mark(';') {
                    self.advance();
                    return Ok(host);
                }
            }
            _ => host.kind = HostKind::Stacked(self.word("the lower resource's name")?.0),
        }
        let place = match host.names.first() {
            Some(name) if name != word => format!("section '{word} {name}'"),
            Some(name) => format!("section '{name}'"),
            None => format!("section '{word}'"),
        };
        self.block(|p, word, span| {
            let read = p.host_statement(word, span, &place, &mut host);
            if read.is_err() {
                host.unread.extend(nearest(word, HOST.iter().copied()));
            }
            read
        })?;
        Ok(host)
    }

    fn host_statement(
        &mut self,
        word: &str,
        span: Span,
        place: &str,
        host: &mut Host,
    ) -> Parsed<()> {
        match word {
            "address" => {
                let address = self.address()?;
                host.address = Some(address);
                self.semicolon()
            }
            "volume" | "device" | "disk" | "meta-disk" | "flexible-meta-disk" => {
                self.volume_statement(word, span, &mut host.volumes)
            }
            "proxy" => {
                let proxy = self.host_proxy()?;
                host.proxy = Some(proxy);
                Ok(())
            }
            "node-id" => {
                let (id, at) = self.number::<u32>("a node number (0 to 31)")?;
                if id > 31 {
                    self.error(at, format!("node-id {id}"), "from 0 to 31");
                }
                host.node_id = Some(id);
                self.semicolon()
            }
            "options" => self.skip_section(),
            "alternate-link-address" => {
                self.address()?;
                self.semicolon()
            }
            _ => self.unknown(word, span, place, HOST),
        }
    }

    /// `[family] IP:PORT`, with an IPv6 address in brackets.
    pub(super) fn address(&mut self) -> Parsed<Address> {
        let mut family = None;
        let (mut word, mut span) = (String::new(), self.peek().span);
        if !self.is_mark('[') {
            (word, span) = self.word("an address")?;
            if matches!(word.as_str(), "ipv4" | "ipv6" | "ssocks" | "sci" | "sdp") {
                family = Some(if word == "sci" {
                    "ssocks".to_owned()
                } else {
                    word
                });
                word = String::new();
            }
        }
        if word.is_empty() {
            (word, span) = if self.is_mark('[') {
                self.bracketed()?
            } else {
                self.word("an address")?
            };
        }
        let (ip, scope) = match word.split_once('%') {
            Some((ip, scope)) => (ip, Some(scope.to_owned())),
            None => (word.as_str(), None),
        };
        let Ok(ip) = ip.parse::<std::net::IpAddr>() else {
            // A placeholder was reported as one.
            if self.sources.snippet(span).starts_with('<') {
                return Err(Skip);
            }
            let advice = "an IP address like 10.0.0.1:7788 or [fe80::1]:7788 is expected; names are not resolved";
            self.error(span, format!("'{word}' is not an IP address"), advice);
            return Err(Skip);
        };
        if !self.is_mark(':') {
            let advice = "put ':' and a port here, for example :7788";
            self.error(span.after(), "port expected", advice);
            return Err(Skip);
        }
        self.advance();
        let (port, at) = self.number::<u16>("a port (1 to 65535)")?;
        if port == 0 {
            self.error(at, "port 0", "a port is 1 to 65535");
        }
        let default = if ip.is_ipv6() { "ipv6" } else { "ipv4" };
        Ok(Address {
            family: family.unwrap_or_else(|| default.to_owned()),
            ip,
            scope,
            port,
        })
    }

    fn bracketed(&mut self) -> Parsed<(String, Span)> {
        let open = self.mark('[')?;
        while !self.is_mark(']') {
            if self.is_end() || self.is_mark(';') || self.is_mark('}') {
                return self.expected("']'");
            }
            self.advance();
        }
        let close = self.advance().span;
        let span = Span {
            start: open.end,
            end: close.start,
            ..open
        };
        Ok((self.sources.snippet(span).trim().to_owned(), span))
    }

    fn volume_statement(
        &mut self,
        word: &str,
        span: Span,
        volumes: &mut Vec<Volume>,
    ) -> Parsed<()> {
        let new = |vnr, implicit| Volume::new(vnr, implicit, span);
        if word == "volume" {
            let (vnr, at) = self.number::<u16>("a volume number (0 to 65534)")?;
            if volumes
                .iter()
                .any(|volume| volume.vnr == vnr && !volume.implicit)
            {
                self.error(at, format!("volume {vnr} for the second time"), "");
            }
            let mut volume = new(vnr, false);
            let read = self.block(|p, word, span| match word {
                "device" | "disk" | "meta-disk" | "flexible-meta-disk" => {
                    p.volume_item(word, &mut volume)
                }
                _ => p.unknown(word, span, &format!("volume {vnr}"), VOLUME),
            });
            volumes.push(volume);
            return read;
        }
        if !volumes.iter().any(|volume| volume.implicit) {
            volumes.push(new(0, true));
        }
        let at = volumes
            .iter()
            .position(|volume| volume.implicit)
            .unwrap_or(0);
        let mut volume = volumes.remove(at);
        let read = self.volume_item(word, &mut volume);
        volumes.insert(at, volume);
        read
    }

    fn volume_item(&mut self, word: &str, volume: &mut Volume) -> Parsed<()> {
        match word {
            "device" => self.device(volume)?,
            "disk" if self.is_mark('{') => {
                let mut sections = Sections {
                    disk: std::mem::take(&mut volume.options),
                    ..Sections::default()
                };
                let read = self.section(Section::Disk, &mut sections);
                volume.options = sections.disk;
                return read;
            }
            "disk" => {
                let (disk, _) = self.word("the path of a disk, or 'none'")?;
                volume.diskless = disk == "none";
                volume.disk = (disk != "none").then_some(disk);
            }
            _ => {
                let (device, span) = self.word("'internal' or the path of a device")?;
                volume.meta_disk = Some(if device == "internal" {
                    if word == "flexible-meta-disk" {
                        self.warn(
                            span,
                            "'flexible-meta-disk internal'",
                            "write meta-disk internal",
                        );
                    }
                    MetaDisk::Internal
                } else if self.is_mark('[') {
                    self.advance();
                    let (index, _) = self.number::<u32>("an index")?;
                    self.mark(']')?;
                    MetaDisk::Indexed(device, index)
                } else {
                    MetaDisk::Flexible(device)
                });
            }
        }
        self.semicolon()
    }

    /// `[/dev/drbdN | /dev/drbd_name | drbdN] [minor N]`
    fn device(&mut self, volume: &mut Volume) -> Parsed<()> {
        let (mut word, span) = self.word("a device name, or 'minor'")?;
        let mut named = None;
        // A second one replaces the first as a whole: half of each would contradict itself.
        if volume.minor.take().is_some() {
            self.warn(span, "'device' for the second time", "this one counts");
        }
        volume.device = None;
        if word != "minor" {
            let path = if word.starts_with('/') {
                word.clone()
            } else {
                format!("/dev/{word}")
            };
            let Some(rest) = path.strip_prefix("/dev/drbd") else {
                self.error(
                    span,
                    format!("'{word}' is no name for a device"),
                    "it must be /dev/drbdN or /dev/drbd_NAME",
                );
                return Err(Skip);
            };
            if !rest.starts_with('_') {
                match rest.parse::<u32>() {
                    Ok(minor) => named = Some(minor),
                    Err(_) => {
                        let advice = "it must be /dev/drbdN or /dev/drbd_NAME (mind the '_')";
                        self.error(span, format!("'{word}' is no name for a device"), advice);
                        return Err(Skip);
                    }
                }
            }
            volume.device = Some(path);
            if let Kind::Word(next) = &self.peek().kind {
                word = next.clone();
            }
            if word == "minor" {
                self.advance();
            }
        }
        if word == "minor" {
            let (minor, at) = self.number::<u32>("a minor number (0 to 1048575)")?;
            if minor > 0xf_ffff {
                self.error(at, format!("minor number {minor}"), "at most 1048575");
            }
            if let Some(other) = named.filter(|other| *other != minor) {
                let advice = format!("the name means minor {other}; leave one of the two out");
                self.error(at, "minor number and device name contradict", advice);
            }
            volume.minor = Some(minor);
        } else if let Some(minor) = named {
            volume.minor = Some(minor);
        } else {
            let advice = "put 'minor N' here";
            self.error(
                span.after(),
                "a device with a name of its own needs its minor number",
                advice,
            );
            return Err(Skip);
        }
        Ok(())
    }
}
