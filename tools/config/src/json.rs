// SPDX-License-Identifier: GPL-2.0-only

//! The configuration as JSON, for programs: `drbdadm dump --json`. Places in files are left out, so that two texts that
//! mean the same give the same JSON.
//!
//! ```text
//! { "global": {NAME: VALUE}, "common": SECTIONS | null, "resources": [
//!   { "name", "stacked", "hosts": [ { "kind": "on"|"floating"|"stacked-on-top-of", "names", "node-id", "address",
//!       "proxy", "volumes": [ { "volume", "device", "minor", "disk", "meta-disk", "options" } ] } ],
//!     "connections": [ { "mesh", "hosts", "paths", "net", "disk", "volumes" } ],
//!     "options", "net", "disk", "startup", "handlers": {NAME: VALUE}, "proxy", "template-file" } ] }
//! ```
//! Values are strings, as written; booleans are `yes` and `no`. Inheritance has been applied.

use serde_json::{json, Map, Value};

use crate::model::{
    Address, Config, Connection, End, Host, HostKind, MetaDisk, Opt, ProxyItem, Resource, Sections,
    Volume,
};

fn options(options: &[Opt]) -> Value {
    let pairs = options
        .iter()
        .map(|opt| (opt.name.to_owned(), Value::from(opt.value.as_str())));
    Value::Object(pairs.collect())
}

fn sections(sections: &Sections) -> Map<String, Value> {
    sections
        .all()
        .into_iter()
        .map(|(name, list)| (name.to_owned(), options(list)))
        .collect()
}

fn address(address: &Address) -> Value {
    json!({ "family": address.family, "address": address.host(), "port": address.port })
}

fn proxy(items: &[ProxyItem]) -> Value {
    items
        .iter()
        .map(|item| match item {
            ProxyItem::Line(words) => json!(words),
            ProxyItem::Block(name, inner) => json!({ name.as_str(): proxy(inner) }),
        })
        .collect()
}

fn volume(volume: &Volume) -> Value {
    let meta = volume.meta_disk.as_ref().map(|meta| match meta {
        MetaDisk::Internal => json!("internal"),
        MetaDisk::Flexible(device) => json!({ "device": device }),
        MetaDisk::Indexed(device, index) => json!({ "device": device, "index": index }),
    });
    json!({
        "volume": volume.vnr,
        "device": volume.device_path(),
        "minor": volume.minor,
        "disk": volume.disk,
        "meta-disk": meta,
        "options": options(&volume.options),
    })
}

fn host(host: &Host) -> Value {
    let kind = match &host.kind {
        HostKind::Named => "on",
        HostKind::Floating => "floating",
        HostKind::Stacked(_) => "stacked-on-top-of",
    };
    let lower = match &host.kind {
        HostKind::Stacked(lower) => Some(lower),
        _ => None,
    };
    json!({
        "kind": kind,
        "names": host.names,
        "lower": lower,
        "node-id": host.node_id,
        "address": host.address.as_ref().map(address),
        "volumes": host.volumes.iter().map(volume).collect::<Vec<_>>(),
        "proxy": host.proxy.as_ref().map(|p| json!({
            "names": p.names,
            "inside": p.inside.as_ref().map(address),
            "outside": p.outside.as_ref().map(address),
            "options": proxy(&p.options),
        })),
    })
}

fn connection(connection: &Connection) -> Value {
    let ends = |ends: &[End]| -> Vec<Value> {
        ends.iter()
            .map(|end| {
                json!({
                    "host": end.host,
                    "address": end.address.as_ref().map(address),
                    "port": end.port,
                })
            })
            .collect()
    };
    let volumes = connection
        .volumes
        .iter()
        .map(|(vnr, list)| json!({ "volume": vnr, "disk": options(list) }));
    json!({
        "mesh": connection.mesh,
        "hosts": ends(&connection.ends),
        "paths": connection.paths.iter().map(|path| ends(path)).collect::<Vec<_>>(),
        "net": options(&connection.net),
        "disk": options(&connection.disk),
        "volumes": volumes.collect::<Vec<_>>(),
    })
}

/// One resource.
pub fn resource(resource: &Resource) -> Value {
    let mut object = sections(&resource.sections);
    let more = [
        ("name", json!(resource.name)),
        ("stacked", json!(resource.is_stacked())),
        ("hosts", resource.hosts.iter().map(host).collect()),
        (
            "connections",
            resource.connections.iter().map(connection).collect(),
        ),
        ("proxy", proxy(&resource.proxy)),
        ("template-file", json!(resource.template)),
    ];
    object.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}

/// The whole configuration, or those of its resources that are chosen.
pub fn config(config: &Config, chosen: impl Fn(&Resource) -> bool) -> Value {
    let global: Map<String, Value> = config
        .global
        .options
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    let common = config
        .common
        .as_ref()
        .map(|common| Value::Object(sections(common)));
    let resources = config.resources.iter().filter(|r| chosen(r)).map(resource);
    json!({
        "global": global,
        "common": common,
        "resources": resources.collect::<Vec<_>>(),
    })
}
