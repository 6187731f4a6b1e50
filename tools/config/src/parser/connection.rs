// SPDX-License-Identifier: GPL-2.0-only

//! What DRBD 9's language added around a resource: connections, paths, templates; and the sections of the proxy.

use super::{parse_source, Expects, Parsed, Parser, Raw};
use crate::lexer::Kind;
use crate::model::{Connection, End, HostProxy, ProxyItem, Resource, Sections};
use crate::source::Span;
use crate::tables::Section;

const CONNECTION: &[&str] = &["host", "path", "net", "disk", "volume", "options"];
const MESH: &[&str] = &["hosts", "net", "disk", "volume"];

impl Parser<'_> {
    pub(super) fn connection(&mut self, mesh: bool, span: Span) -> Parsed<Connection> {
        let mut connection = Connection {
            span,
            mesh,
            ..Connection::default()
        };
        if !mesh && !self.is_mark('{') && !self.lacks_brace_before(CONNECTION) {
            let (name, at) = self.word("'{'")?;
            self.warn(
                at,
                format!("the name '{name}' of a connection has no effect"),
                "connections are named by their hosts; leave it out",
            );
        }
        self.block(|p, word, span| p.connection_statement(word, span, &mut connection))?;
        for ends in connection.paths.iter().chain([&connection.ends]) {
            let enough = match (mesh, ends.len()) {
                (_, 0) => true,
                (true, count) => count >= 2,
                (false, count) => count == 2,
            };
            if !enough {
                let what = if mesh {
                    "two hosts or more"
                } else {
                    "two hosts"
                };
                self.error(
                    ends.first().map_or(span, |end| end.span),
                    format!("{what} expected, but there are {}", ends.len()),
                    "a connection has two ends",
                );
            }
        }
        if connection.names().next().is_none() {
            let advice = if mesh {
                "for example: hosts alpha beta;"
            } else {
                "for example: host alpha address 10.0.0.1:7788; host beta address 10.0.0.2:7788;"
            };
            self.error(span, "a connection without hosts", advice);
        }
        Ok(connection)
    }

    fn connection_statement(
        &mut self,
        word: &str,
        span: Span,
        connection: &mut Connection,
    ) -> Parsed<()> {
        match word {
            "net" | "disk" => {
                let mut sections = Sections::default();
                let section = if word == "net" {
                    Section::Net
                } else {
                    Section::Disk
                };
                let read = self.section(section, &mut sections);
                connection.net.extend(sections.net);
                connection.disk.extend(sections.disk);
                read
            }
            "volume" => {
                let (vnr, _) = self.number::<u16>("a volume number (0 to 65534)")?;
                let mut sections = Sections::default();
                let read = self.block(|p, word, span| match word {
                    "disk" => p.section(Section::Disk, &mut sections),
                    _ => p.unknown(
                        word,
                        span,
                        &format!("volume {vnr} of a connection"),
                        &["disk"],
                    ),
                });
                connection.volumes.push((vnr, sections.disk));
                read
            }
            "hosts" if connection.mesh => {
                while !self.is_mark(';') {
                    let end = self.end()?;
                    connection.ends.push(end);
                }
                self.semicolon()
            }
            "host" if !connection.mesh => {
                let end = self.host_end()?;
                connection.ends.push(end);
                Ok(())
            }
            "path" if !connection.mesh => {
                let mut ends = Vec::new();
                let read = self.block(|p, word, span| match word {
                    "host" => {
                        let end = p.host_end()?;
                        ends.push(end);
                        Ok(())
                    }
                    _ => p.unknown(word, span, "section 'path'", &["host"]),
                });
                connection.paths.push(ends);
                read
            }
            _ if connection.mesh => self.unknown(word, span, "section 'connection-mesh'", MESH),
            _ => self.unknown(word, span, "section 'connection'", CONNECTION),
        }
    }

    fn end(&mut self) -> Parsed<End> {
        let (host, span) = self.word("a host's name")?;
        Ok(End {
            host,
            span,
            address: None,
            port: None,
        })
    }

    /// `NAME [address A] [port N] [via proxy on ...]` and its end.
    fn host_end(&mut self) -> Parsed<End> {
        let mut end = self.end()?;
        loop {
            let Kind::Word(word) = &self.peek().kind else {
                return self.semicolon().map(|()| end);
            };
            let word = word.clone();
            let (_, span) = self.word("'address', 'port' or ';'")?;
            match word.as_str() {
                "address" => end.address = Some(self.address()?),
                "port" => {
                    let (port, at) = self.number::<u16>("a port (1 to 65535)")?;
                    if port == 0 {
                        self.error(at, "port 0", "a port is 1 to 65535");
                    }
                    end.port = Some(port);
                }
                "via" => {
                    self.word("'proxy'")?;
                    self.host_proxy()?;
                    if self.is_mark(';') {
                        self.advance();
                    }
                    return Ok(end);
                }
                _ => return self.unknown(&word, span, "'host'", &["address", "port", "via"]),
            }
        }
    }

    /// `on NAME... { inside A; outside A; options { ... } }`
    pub(super) fn host_proxy(&mut self) -> Parsed<HostProxy> {
        let mut proxy = HostProxy::default();
        let (on, span) = self.word("'on'")?;
        if on != "on" {
            return self.unknown(&on, span, "'proxy'", &["on"]);
        }
        while !self.is_mark('{') {
            proxy.names.push(self.word("'{' or a host's name")?.0);
        }
        self.block(|p, word, span| match word {
            "inside" => {
                proxy.inside = Some(p.address()?);
                p.semicolon()
            }
            "outside" => {
                proxy.outside = Some(p.address()?);
                p.semicolon()
            }
            "options" => {
                let items = p.proxy_items()?;
                proxy.options.extend(items);
                Ok(())
            }
            _ => p.unknown(
                word,
                span,
                "section 'proxy'",
                &["inside", "outside", "options"],
            ),
        })?;
        Ok(proxy)
    }

    /// `{ words; name { ... } }`: what the proxy reads is its business.
    pub(super) fn proxy_items(&mut self) -> Parsed<Vec<ProxyItem>> {
        let mut items = Vec::new();
        self.block(|p, word, _| {
            if word == "plugin" && p.is_mark('{') {
                let mut inner = Vec::new();
                let read = p.block(|p, word, _| p.proxy_line(word, &mut inner));
                items.push(ProxyItem::Block(word.to_owned(), inner));
                return read;
            }
            p.proxy_line(word, &mut items)
        })?;
        Ok(items)
    }

    fn proxy_line(&mut self, word: &str, items: &mut Vec<ProxyItem>) -> Parsed<()> {
        let mut line = vec![word.to_owned()];
        while matches!(self.peek().kind, Kind::Word(_) | Kind::Quoted(_)) {
            line.push(self.word("a value")?.0);
        }
        items.push(ProxyItem::Line(line));
        self.semicolon()
    }

    /// Reads `common { ... }` of a template; it stands in for the file's own `common`.
    pub(super) fn template(&mut self, resource: &mut Resource, file: &str) -> Option<Sections> {
        let span = self.template_at;
        let path = self.beside(span, file);
        resource.template = Some(file.to_owned());
        let text = match crate::read_file(&path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot read the template '{}': {error}", path.display());
                self.error(span, message, "it is a file with a section 'common'");
                return None;
            }
        };
        let mut raw = Raw::default();
        parse_source(
            &path.to_string_lossy(),
            text,
            self.sources,
            self.diagnostics,
            &mut raw,
            self.seen,
            Expects::Common,
        );
        if raw.common.is_none() || !raw.resources.is_empty() {
            let message = format!("'{}' is no template", path.display());
            self.error(
                span,
                message,
                "it must have one section 'common' and nothing else",
            );
        }
        raw.common
    }
}
