// SPDX-License-Identifier: GPL-2.0-only

//! From what was written to what holds: inheritance from `common` and from the resource, implicit volumes, and the
//! rules that tie sections together.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::model::{Config, Host, HostKind, MetaDisk, Opt, Resource, Sections, Volume, THIS_HOST};
use crate::parser::{Raw, RawResource};
use crate::source::{nearest, Diagnostic, Sources, Span};
use crate::tables::BECOME_PRIMARY_ON;

/// Which node this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `uname -n`, or what stands for it.
    pub node: String,
    /// The addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
}

/// Applies inheritance and checks what a single statement cannot know.
pub fn resolve(
    path: String,
    raw: Raw,
    sources: Sources,
    diagnostics: &mut Vec<Diagnostic>,
) -> Config {
    let common = raw.common;
    let mut resources: Vec<Resource> = raw
        .resources
        .into_iter()
        .map(|raw| complete(raw, common.as_ref(), diagnostics))
        .collect();
    complete_stacked_hosts(&mut resources, diagnostics);
    for resource in &resources {
        check_primaries(resource, diagnostics);
        check_fencing(resource, diagnostics);
        check_resync_after(resource, &resources, diagnostics);
    }
    crate::refused::check(&resources, diagnostics);
    check_unique(&resources, diagnostics);
    Config {
        path,
        global: raw.global,
        common,
        resources,
        sources,
    }
}

/// Puts what `from` has and `to` lacks in front of `to`, one by one: the order that drbd-utils make.
fn inherit(from: &[Opt], to: &mut Vec<Opt>) {
    for opt in from {
        if !to.iter().any(|own| own.name == opt.name) {
            to.insert(
                0,
                Opt {
                    inherited: true,
                    ..opt.clone()
                },
            );
        }
    }
}

fn complete(
    raw: RawResource,
    common: Option<&Sections>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Resource {
    let RawResource {
        mut resource,
        volumes,
        template,
    } = raw;
    if let Some(common) = template.as_ref().or(common) {
        let sections = &mut resource.sections;
        inherit(&common.options, &mut sections.options);
        inherit(&common.net, &mut sections.net);
        inherit(&common.disk, &mut sections.disk);
        inherit(&common.startup, &mut sections.startup);
        inherit(&common.handlers, &mut sections.handlers);
    }
    if resource.hosts.is_empty() {
        diagnostics.push(Diagnostic::error(
            resource.span,
            format!("resource '{}' has no hosts", resource.name),
            "it needs two sections 'on NAME { ... }'",
        ));
    }
    for host in &mut resource.hosts {
        for common in &volumes {
            match host
                .volumes
                .iter_mut()
                .find(|own| own.vnr == common.vnr && own.implicit == common.implicit)
            {
                Some(own) => fill(own, common),
                None => host.volumes.push(common.clone()),
            }
        }
        host.volumes.sort_by_key(|volume| volume.vnr);
        for volume in &mut host.volumes {
            inherit(&resource.sections.disk, &mut volume.options);
        }
    }
    for host in resource.hosts.iter().filter(|host| !host.is_shown()) {
        check_host(&resource, host, diagnostics);
    }
    crate::links::check(&resource, diagnostics);
    resource
}

/// What the resource says about a volume holds where the host says nothing.
fn fill(own: &mut Volume, common: &Volume) {
    if own.minor.is_none() {
        own.device.clone_from(&common.device);
        own.minor = common.minor;
    }
    if own.disk.is_none() && !own.diskless {
        own.disk.clone_from(&common.disk);
        own.diskless = common.diskless;
    }
    if own.meta_disk.is_none() {
        own.meta_disk.clone_from(&common.meta_disk);
    }
    for opt in &common.options {
        if !own.options.iter().any(|o| o.name == opt.name) {
            own.options.push(opt.clone());
        }
    }
}

fn check_host(whole: &Resource, host: &Host, diagnostics: &mut Vec<Diagnostic>) {
    let resource = &whole.name;
    let place = match (&host.kind, host.names.first()) {
        (HostKind::Named, Some(name)) => format!("resource '{resource}', on '{name}'"),
        (HostKind::Stacked(lower), _) => format!("resource '{resource}', stacked on '{lower}'"),
        _ => format!("resource '{resource}', floating"),
    };
    let mut missing = |span, what: &str, example: &str| {
        // It is there, and was complained about.
        if host.unread.contains(&what) {
            return;
        }
        diagnostics.push(Diagnostic::error(
            span,
            format!("{place}: '{what}' is missing"),
            example,
        ));
    };
    if host.address.is_none() && !whole.is_addressed(host) {
        missing(host.span, "address", "for example: address 10.0.0.1:7788;");
    }
    if host.volumes.is_empty() {
        missing(host.span, "device", "it needs device, disk and meta-disk");
    }
    for volume in &host.volumes {
        if volume.minor.is_none() {
            missing(volume.span, "device", "for example: device /dev/drbd0;");
        }
        if matches!(host.kind, HostKind::Stacked(_)) {
            continue;
        }
        if volume.diskless {
            continue;
        }
        if volume.disk.is_none() {
            missing(volume.span, "disk", "for example: disk /dev/sdb;");
        }
        if volume.meta_disk.is_none() {
            missing(volume.span, "meta-disk", "usually: meta-disk internal;");
        }
    }
    let implicit = host.volumes.iter().find(|volume| volume.implicit);
    let explicit = host.volumes.iter().find(|volume| !volume.implicit);
    if let (Some(implicit), Some(explicit)) = (implicit, explicit) {
        diagnostics.push(
            Diagnostic::error(
                explicit.span,
                format!("{place}: explicit and implicit volumes"),
                "write all of them as 'volume N { ... }'",
            )
            .with(implicit.span, "without 'volume' this means volume 0"),
        );
    }
}

/// A stacked host is the nodes of the lower resource, and its disks are that resource's devices.
fn complete_stacked_hosts(resources: &mut [Resource], diagnostics: &mut Vec<Diagnostic>) {
    type Lower = (Vec<String>, Vec<(u16, String)>);
    let lowers: HashMap<String, Lower> = resources
        .iter()
        .map(|resource| {
            let hosts = &resource.hosts;
            let names = hosts.iter().flat_map(|host| host.names.clone()).collect();
            let volumes = hosts.first().map_or(&[][..], |host| &host.volumes);
            let devices = volumes.iter().map(|v| (v.vnr, v.device_path())).collect();
            (resource.name.clone(), (names, devices))
        })
        .collect();
    for resource in resources {
        for host in &mut resource.hosts {
            let HostKind::Stacked(lower) = &host.kind else {
                continue;
            };
            let Some((names, devices)) = lowers.get(lower) else {
                let advice = match nearest(lower, lowers.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "the name of the resource below is expected".to_owned(),
                };
                let message = format!("there is no resource '{lower}' to stack on");
                diagnostics.push(Diagnostic::error(host.span, message, advice));
                continue;
            };
            host.names.clone_from(names);
            for volume in &mut host.volumes {
                let device = devices.iter().find(|(vnr, _)| *vnr == volume.vnr);
                if device.is_none() {
                    let message = format!("resource '{lower}' has no volume {}", volume.vnr);
                    let advice = "a stacked volume lies on the one with the same number";
                    diagnostics.push(Diagnostic::error(volume.span, message, advice));
                }
                volume.disk = device.map(|(_, path)| path.clone());
                volume.meta_disk = Some(MetaDisk::Internal);
            }
        }
    }
}

fn check_primaries(resource: &Resource, diagnostics: &mut Vec<Diagnostic>) {
    let Some(primary) = resource
        .sections
        .startup
        .iter()
        .find(|opt| opt.name == BECOME_PRIMARY_ON)
    else {
        return;
    };
    if primary.value == "both" {
        let allowed = resource
            .sections
            .net
            .iter()
            .any(|opt| opt.name == "allow-two-primaries" && opt.value == "yes");
        if !allowed {
            diagnostics.push(Diagnostic::error(
                primary.span,
                format!(
                    "resource '{}': both nodes cannot become primary",
                    resource.name
                ),
                "net needs allow-two-primaries for that",
            ));
        }
        return;
    }
    for name in primary.value.split(' ') {
        if !resource
            .hosts
            .iter()
            .any(|host| host.names.iter().any(|n| n == name))
        {
            diagnostics.push(Diagnostic::error(
                primary.span,
                format!("resource '{}' has no host '{name}'", resource.name),
                "one of its 'on' names, or 'both', is expected",
            ));
        }
    }
}

/// Without the handler nobody is fenced: what waits for it waits for a person.
fn check_fencing(resource: &Resource, diagnostics: &mut Vec<Diagnostic>) {
    let handled = |opt: &Opt| opt.name == "fence-peer";
    if resource.sections.handlers.iter().any(handled) {
        return;
    }
    let fencing = resource.sections.disk.iter().find(|o| o.name == "fencing");
    let Some(opt) = fencing.filter(|opt| opt.value != "dont-care") else {
        return;
    };
    // What `common` says is said once.
    let said = |told: &Diagnostic| opt.inherited && told.span == opt.span;
    if diagnostics.iter().any(said) {
        return;
    }
    let name = &resource.name;
    let follows = match opt.value.as_str() {
        "resource-and-stonith" => {
            format!("I/O stays frozen when the peer is lost, until 'drbdadm resume-io {name}'")
        }
        _ => "whoever has lost its peer cannot be promoted".to_owned(),
    };
    diagnostics.push(Diagnostic::warning(
        opt.span,
        format!(
            "resource '{name}': fencing {} without a handler fence-peer",
            opt.value
        ),
        format!("{follows}; write handlers {{ fence-peer \"PROGRAM\"; }}"),
    ));
}

fn check_resync_after(resource: &Resource, all: &[Resource], diagnostics: &mut Vec<Diagnostic>) {
    for opt in resource
        .sections
        .disk
        .iter()
        .filter(|opt| opt.name == "resync-after" && !opt.inherited)
    {
        if opt.value.parse::<i64>().is_ok() {
            continue;
        }
        let name = opt.value.split('/').next().unwrap_or_default();
        if !all.iter().any(|other| other.name == name) {
            diagnostics.push(Diagnostic::error(
                opt.span,
                format!("there is no resource '{name}'"),
                "the name of another resource, or a minor number, is expected",
            ));
        }
    }
}

/// Reports every key that two places claim.
#[derive(Default)]
struct Claims(HashMap<String, Span>);

impl Claims {
    fn claim(&mut self, key: String, span: Span, what: &str, diagnostics: &mut Vec<Diagnostic>) {
        match self.0.get(&key) {
            Some(&first) => diagnostics.push(
                Diagnostic::error(span, format!("{what} for the second time"), "")
                    .with(first, "first used here"),
            ),
            None => {
                self.0.insert(key, span);
            }
        }
    }
}

fn check_unique(resources: &[Resource], diagnostics: &mut Vec<Diagnostic>) {
    let mut claims = Claims::default();
    for resource in resources {
        let name = &resource.name;
        claims.claim(
            format!("resource {name}"),
            resource.span,
            &format!("resource '{name}'"),
            diagnostics,
        );
        let mut sections = Claims::default();
        for host in &resource.hosts {
            let stacked = matches!(host.kind, HostKind::Stacked(_));
            for node in &host.names {
                if !stacked {
                    sections.claim(
                        node.clone(),
                        host.span,
                        &format!("'on {node}'"),
                        diagnostics,
                    );
                }
                for volume in &host.volumes {
                    if let Some(minor) = volume.minor {
                        let what = format!("minor {minor} on '{node}'");
                        claims.claim(
                            format!("minor {node} {minor}"),
                            volume.span,
                            &what,
                            diagnostics,
                        );
                    }
                }
            }
            if let Some(address) = &host.address {
                // The nodes of a lower resource share the address of the upper one: it moves with the role.
                let node = host.names.first().map_or("", String::as_str);
                let end = address.operand();
                let what = format!("address {end}");
                claims.claim(
                    format!("address {node} {end}"),
                    host.span,
                    &what,
                    diagnostics,
                );
            }
        }
    }
}

impl Resource {
    /// The host section that means this node.
    pub fn host_of(&self, me: &Identity) -> Option<usize> {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let by_name = |matches: &dyn Fn(&str) -> bool| {
            self.hosts
                .iter()
                .position(|host| host.names.iter().any(|name| matches(name)))
        };
        let floating = || {
            self.hosts.iter().position(|host| {
                host.kind == HostKind::Floating
                    && host
                        .address
                        .as_ref()
                        .is_some_and(|address| me.addresses.contains(&address.ip))
            })
        };
        // A short name means the same node as its full one, as long as one of the two is short.
        let short = |name: &str| {
            let label = |full: &str| full.split('.').next().unwrap_or_default().to_owned();
            name.contains('.') != me.node.contains('.') && same(&label(name), &label(&me.node))
        };
        by_name(&|name| same(name, &me.node) || name == THIS_HOST)
            .or_else(floating)
            .or_else(|| by_name(&short))
    }
}
