// SPDX-License-Identifier: GPL-2.0-only

//! The configuration as XML, in the form of the stock tool's `dump-xml`, down to the white space.

use std::fmt::Write as _;

use crate::model::{
    Address, Config, Connection, Host, HostKind, HostProxy, MetaDisk, Opt, ProxyItem, Resource,
    Sections, Volume,
};

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
        out
    })
}

#[derive(Default)]
struct Out {
    text: String,
    level: usize,
}

impl Out {
    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = 4 * self.level);
    }

    /// `<NAME ATTRIBUTES> ... </NAME>`
    fn block(&mut self, name: &str, attributes: &str, body: impl FnOnce(&mut Self)) {
        self.line(&format!("<{name}{attributes}>"));
        self.level += 1;
        body(self);
        self.level -= 1;
        self.line(&format!("</{name}>"));
    }

    fn options(&mut self, section: &str, options: &[Opt], inherited: bool) {
        let mut shown = options
            .iter()
            .filter(|opt| inherited || !opt.inherited)
            .peekable();
        if shown.peek().is_none() {
            return;
        }
        self.block("section", &format!(" name=\"{section}\""), |out| {
            for opt in shown {
                out.line(&format!(
                    "<option name=\"{}\" value=\"{}\"/>",
                    opt.name,
                    escaped(&opt.value)
                ));
            }
        });
    }

    fn sections(&mut self, sections: &Sections, inherited: bool) {
        for (name, options) in sections.all() {
            self.options(name, options, inherited);
        }
    }

    fn volume(&mut self, volume: &Volume, inherited: bool) {
        self.block("volume", &format!(" vnr=\"{}\"", volume.vnr), |out| {
            out.options("disk", &volume.options, inherited);
            let minor = volume.minor.unwrap_or_default();
            let device = escaped(volume.device.as_deref().unwrap_or_default());
            out.line(&format!("<device minor=\"{minor}\">{device}</device>"));
            let disk = escaped(volume.disk.as_deref().unwrap_or("none"));
            out.line(&format!("<disk>{disk}</disk>"));
            match &volume.meta_disk {
                Some(MetaDisk::Internal) => out.line("<meta-disk>internal</meta-disk>"),
                Some(MetaDisk::Flexible(device)) => {
                    out.line(&format!("<meta-disk>{}</meta-disk>", escaped(device)));
                }
                Some(MetaDisk::Indexed(device, index)) => {
                    let device = escaped(device);
                    out.line(&format!(
                        "<meta-disk index=\"{index}\">{device}</meta-disk>"
                    ));
                }
                None => {}
            }
        });
    }

    fn host(&mut self, host: &Host, inherited: bool) {
        let attributes = match host.kind {
            HostKind::Floating => " floating=\"1\"".to_owned(),
            _ => format!(" name=\"{}\"", escaped(&host.names.join(" "))),
        };
        self.block("host", &attributes, |out| {
            for volume in &host.volumes {
                out.volume(volume, inherited);
            }
            if let Some(address) = &host.address {
                out.line(&at("address", address));
            }
            if let Some(proxy) = &host.proxy {
                out.proxy(proxy);
            }
        });
    }

    fn proxy(&mut self, proxy: &HostProxy) {
        let attributes = format!(" hostname=\"{}\"", escaped(&proxy.names.join(" ")));
        self.block("proxy", &attributes, |out| {
            if let Some(address) = &proxy.inside {
                out.line(&at("inside", address));
            }
            if let Some(address) = &proxy.outside {
                out.line(&at("outside", address));
            }
            if !proxy.options.is_empty() {
                out.block("section", " name=\"options\"", |out| {
                    out.proxy_items(&proxy.options, false);
                });
            }
        });
    }

    fn proxy_items(&mut self, items: &[ProxyItem], in_plugin: bool) {
        for item in items {
            match item {
                ProxyItem::Line(words) => match words.as_slice() {
                    [name, value] if !in_plugin => self.line(&format!(
                        "<option name=\"{}\" value=\"{}\"/>",
                        escaped(name),
                        escaped(value)
                    )),
                    words => {
                        let words = escaped(&words.join(" "));
                        self.line(&format!("<option name=\"{words}\"/>"));
                    }
                },
                ProxyItem::Block(name, inner) => {
                    self.block("section", &format!(" name=\"{}\"", escaped(name)), |out| {
                        out.proxy_items(inner, true);
                    });
                }
            }
        }
    }

    /// Each pair of a mesh is a connection of its own here.
    fn connection(&mut self, resource: &Resource, connection: &Connection) {
        let names: Vec<&str> = connection.names().collect();
        for (at_a, a) in names.iter().enumerate() {
            for b in names.iter().skip(at_a + 1) {
                self.block("connection", "", |out| {
                    for name in [a, b] {
                        let host = resource
                            .hosts
                            .iter()
                            .find(|host| host.names.iter().any(|own| own == name));
                        let address = host.and_then(|host| connection.address_of(host));
                        let address = address.map_or_else(String::new, |a| at("address", &a));
                        let name = escaped(name);
                        out.line(&format!("<host name=\"{name}\">{address}</host>"));
                    }
                    out.options("net", &connection.net, true);
                    out.options("disk", &connection.disk, true);
                });
            }
        }
    }

    fn resource(&mut self, config: &Config, resource: &Resource, inherited: bool) {
        let (line, _) = config.sources.position(resource.span);
        let mut file = config.sources.name(resource.span.file).to_owned();
        if let Ok(path) = std::path::absolute(&file) {
            file = path.to_string_lossy().into_owned();
        }
        let attributes = format!(
            " name=\"{}\" conf-file-line=\"{}:{line}\"",
            escaped(&resource.name),
            escaped(&file)
        );
        self.block("resource", &attributes, |out| {
            for host in &resource.hosts {
                out.host(host, inherited);
            }
            for connection in &resource.connections {
                out.connection(resource, connection);
            }
            out.sections(&resource.sections, inherited);
            if !resource.proxy.is_empty() {
                out.block("section", " name=\"proxy\"", |out| {
                    out.proxy_items(&resource.proxy, false);
                });
            }
        });
    }
}

fn at(name: &str, address: &Address) -> String {
    format!(
        "<{name} family=\"{}\" port=\"{}\">{}</{name}>",
        address.family,
        address.port,
        escaped(&address.host())
    )
}

/// The whole configuration; with `inherited`, everything that holds for a resource stands there.
pub fn config(config: &Config, inherited: bool) -> String {
    let mut out = Out::default();
    out.block(
        "config",
        &format!(" file=\"{}\"", escaped(&config.path)),
        |out| {
            out.block("global", "", |out| {
                let value = |name| config.global.get(name);
                if value("disable-ip-verification").is_some() {
                    out.line("<disable-ip-verification/>");
                }
                if let Some(count) = value("minor-count") {
                    out.line(&format!("<minor-count count=\"{}\"/>", escaped(count)));
                }
                if let Some(refresh) = value("dialog-refresh") {
                    out.line(&format!(
                        "<dialog-refresh refresh=\"{}\"/>",
                        escaped(refresh)
                    ));
                }
            });
            if let Some(common) = config.common.as_ref().filter(|common| !common.is_empty()) {
                out.block("common", "", |out| out.sections(common, true));
            }
            for resource in &config.resources {
                out.resource(config, resource, inherited);
            }
        },
    );
    out.text
}

/// One resource.
pub fn resource(config: &Config, resource: &Resource, inherited: bool) -> String {
    let mut out = Out::default();
    out.resource(config, resource, inherited);
    out.text
}
