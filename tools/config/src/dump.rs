// SPDX-License-Identifier: GPL-2.0-only

//! The configuration as text again, in the form of `drbdadm dump`: scripts read it, and it parses.

use std::fmt::Write as _;

use crate::model::{
    Address, Config, Connection, End, Host, HostKind, HostProxy, MetaDisk, Opt, ProxyItem,
    Resource, Sections, Volume,
};
use crate::resolve::Identity;
use crate::tables::{BECOME_PRIMARY_ON, STACKED_TIMEOUTS};

/// Quotes a string unless it is a plain word.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `FAMILY ADDRESS:PORT`
fn end(address: &Address) -> String {
    let host = address.host();
    let host = if address.ip.is_ipv6() {
        format!("[{host}]")
    } else {
        host
    };
    format!("{} {host}:{}", address.family, address.port)
}

/// Text with four spaces of indentation per level.
struct Out {
    text: String,
    level: usize,
    /// Also what came down from `common` or from the resource.
    inherited: bool,
}

impl Out {
    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = 4 * self.level);
    }

    fn item(&mut self, name: &str, value: &str) {
        let width = 24usize.saturating_sub(4 * self.level);
        self.line(&format!("{name:<width$} {value};"));
    }

    /// An item in the column that the stock tool gives some of them at every level.
    fn wide(&mut self, name: &str, value: &str) {
        self.line(&format!("{name:<16} {value};"));
    }

    fn block(&mut self, head: &str, body: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.level += 1;
        body(self);
        self.level -= 1;
        self.line("}");
    }

    fn options(&mut self, section: &str, options: &[Opt]) {
        let shown = |opt: &&Opt| !opt.inherited || self.inherited;
        let mut options: Vec<&Opt> = options.iter().filter(shown).collect();
        // The stock tool prints these two behind all others, the first without its value.
        options.sort_by_key(|opt| match opt.name {
            STACKED_TIMEOUTS => 1,
            BECOME_PRIMARY_ON => 2,
            _ => 0,
        });
        if options.is_empty() {
            return;
        }
        self.block(section, |out| {
            for opt in options {
                let width = 24usize.saturating_sub(4 * out.level);
                if opt.name == STACKED_TIMEOUTS && opt.value == "yes" {
                    out.line("stacked-timeouts;");
                    continue;
                }
                let value = if opt.name == BECOME_PRIMARY_ON {
                    opt.value.clone()
                } else {
                    quoted(&opt.value)
                };
                out.line(&format!("{:<width$} {value:>3};", opt.name));
            }
        });
    }

    fn sections(&mut self, sections: &Sections) {
        for (name, options) in sections.all() {
            self.options(name, options);
        }
    }

    fn address(&mut self, address: &Address) {
        self.item("address", &end(address));
    }

    fn volume(&mut self, volume: &Volume, stacked: bool) {
        if volume.implicit {
            self.volume_items(volume, stacked);
        } else {
            self.block(&format!("volume {}", volume.vnr), |out| {
                out.volume_items(volume, stacked)
            });
        }
    }

    /// On a stacked host disk and metadata go without saying: the device below.
    fn volume_items(&mut self, volume: &Volume, stacked: bool) {
        self.options("disk", &volume.options);
        let minor = volume
            .minor
            .map_or_else(String::new, |minor| format!("minor {minor}"));
        match &volume.device {
            Some(device) => self.item("device", &format!("{} {minor}", quoted(device))),
            // What `drbdsetup show` printed may lack it.
            None if minor.is_empty() => {}
            None => self.item("device", &minor),
        }
        if stacked {
            return;
        }
        if let Some(disk) = &volume.disk {
            self.item("disk", &quoted(disk));
        } else if volume.diskless {
            self.item("disk", "none");
        }
        match &volume.meta_disk {
            Some(MetaDisk::Internal) => self.item("meta-disk", "internal"),
            Some(MetaDisk::Flexible(device)) => self.wide("meta-disk", &quoted(device)),
            Some(MetaDisk::Indexed(device, index)) => {
                self.wide("meta-disk", &format!("{} [{index}]", quoted(device)))
            }
            None => {}
        }
    }

    fn host(&mut self, host: &Host) {
        let names = || {
            host.names
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let head = match &host.kind {
            HostKind::Named if host.is_shown() => names(),
            HostKind::Named => format!("on {}", names()),
            HostKind::Stacked(lower) => format!("stacked-on-top-of {}", quoted(lower)),
            HostKind::Floating => {
                format!(
                    "floating {}",
                    host.address.as_ref().map_or_else(String::new, end)
                )
            }
        };
        self.block(&head, |out| {
            if matches!(host.kind, HostKind::Stacked(_)) {
                out.line(&format!("# on {} ", names()));
            }
            if let Some(id) = host.node_id {
                out.line(&format!("node-id {id};"));
            }
            let stacked = matches!(host.kind, HostKind::Stacked(_));
            for volume in &host.volumes {
                out.volume(volume, stacked);
            }
            if let (Some(address), true) = (&host.address, host.kind != HostKind::Floating) {
                out.address(address);
            }
            if let Some(proxy) = &host.proxy {
                out.host_proxy(proxy);
            }
        });
    }

    fn host_proxy(&mut self, proxy: &HostProxy) {
        let names: Vec<String> = proxy.names.iter().map(|name| quoted(name)).collect();
        self.block(&format!("proxy on {}", names.join(" ")), |out| {
            for (name, address) in [("inside", &proxy.inside), ("outside", &proxy.outside)] {
                if let Some(address) = address {
                    out.wide(name, &end(address));
                }
            }
            if !proxy.options.is_empty() {
                out.block("options", |out| out.proxy_items(&proxy.options, false));
            }
        });
    }

    fn proxy_items(&mut self, items: &[ProxyItem], in_plugin: bool) {
        for item in items {
            match item {
                ProxyItem::Line(words) => {
                    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                    match words.as_slice() {
                        [name, value] if !in_plugin => {
                            self.item(name, &format!("{value:>3}"));
                        }
                        _ => self.line(&format!("{};", words.join(" "))),
                    }
                }
                ProxyItem::Block(name, inner) => {
                    self.block(name, |out| out.proxy_items(inner, true))
                }
            }
        }
    }

    fn connection(&mut self, connection: &Connection) {
        let head = if connection.mesh {
            "connection-mesh"
        } else {
            "connection"
        };
        self.block(head, |out| {
            if connection.mesh {
                let names: Vec<String> = connection.names().map(quoted).collect();
                out.line(&format!("hosts {};", names.join(" ")));
            } else {
                out.ends(&connection.ends);
            }
            for path in &connection.paths {
                out.block("path", |out| out.ends(path));
            }
            out.options("net", &connection.net);
            out.options("disk", &connection.disk);
            for (vnr, options) in &connection.volumes {
                out.block(&format!("volume {vnr}"), |out| out.options("disk", options));
            }
        });
    }

    fn ends(&mut self, ends: &[End]) {
        for one in ends {
            let mut line = format!("host {}", quoted(&one.host));
            if let Some(address) = &one.address {
                line += &format!(" address {}", end(address));
            }
            if let Some(port) = one.port {
                line += &format!(" port {port}");
            }
            self.line(&format!("{line};"));
        }
    }

    fn resource(&mut self, resource: &Resource) {
        self.block(&format!("resource {}", quoted(&resource.name)), |out| {
            if let Some(template) = &resource.template {
                out.line(&format!("template-file {};", quoted(template)));
            }
            resource.hosts.iter().for_each(|host| out.host(host));
            for connection in &resource.connections {
                out.connection(connection);
            }
            out.sections(&resource.sections);
            if !resource.proxy.is_empty() {
                out.block("proxy", |out| out.proxy_items(&resource.proxy, false));
            }
        });
    }
}

/// The parts of a file in front of the resources: name of the file, `global`, `common`.
pub fn head(config: &Config) -> String {
    let mut out = Out {
        text: format!("# {}\n", config.path),
        level: 0,
        inherited: true,
    };
    let flag = |name: &str| config.global.get(name).is_some();
    out.block("global", |out| {
        if flag("disable-ip-verification") {
            out.line("disable-ip-verification;");
        }
        for name in ["minor-count", "dialog-refresh"] {
            if let Some(value) = config.global.get(name) {
                out.line(&format!("{name} {value};"));
            }
        }
        // The stock tool forgets it.
        if flag("udev-always-use-vnr") {
            out.line("udev-always-use-vnr;");
        }
        out.line(&format!(
            "usage-count {};",
            config.global.get("usage-count").unwrap_or("no")
        ));
        // The stock tool prints the timeouts that it really uses, which differ from the documented ones.
        if let Some(value) = config.global.get("cmd-timeout-short") {
            out.line(&format!("cmd-timeout-short {value};"));
        }
        out.line(&format!(
            "cmd-timeout-medium {};",
            config.global.get("cmd-timeout-medium").unwrap_or("600")
        ));
        out.line(&format!(
            "cmd-timeout-long {};",
            config.global.get("cmd-timeout-long").unwrap_or("0")
        ));
    });
    if let Some(common) = &config.common {
        out.text.push('\n');
        out.block("common", |out| out.sections(common));
    }
    out.text.push('\n');
    out.text
}

/// One resource with the comment in front of it; with `inherited`, everything that holds for it.
pub fn resource(config: &Config, resource: &Resource, me: &Identity, inherited: bool) -> String {
    let (line, _) = config.sources.position(resource.span);
    let stacked = if resource.is_stacked() {
        "stacked"
    } else {
        "not stacked"
    };
    let ignored = if resource.host_of(me).is_some() {
        "not ignored"
    } else {
        "ignored"
    };
    let mut file = config.sources.name(resource.span.file).to_owned();
    if let Ok(path) = std::path::absolute(&file) {
        file = path.to_string_lossy().into_owned();
    }
    let name = quoted(&resource.name);
    let mut out = Out {
        text: format!(
            "# resource {name} on {}: {ignored}, {stacked}\n# defined at {file}:{line}\n",
            me.node
        ),
        level: 0,
        inherited,
    };
    out.resource(resource);
    out.text + "\n"
}
