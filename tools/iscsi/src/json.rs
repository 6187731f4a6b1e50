// SPDX-License-Identifier: GPL-2.0-only

//! The plan as targetcli's saveconfig.json, for those who manage the kernel's target with it. Its keys are rtslib's;
//! what rtslib has no key for (the relative port, which must differ between nodes) is left out.

use std::fmt::Write as _;

use crate::plan::{Export, Plan, Store, Unit};

/// A JSON value.
enum Json {
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(&'static str, Json)>),
    Named(Vec<(String, Json)>),
}

fn text(value: impl Into<String>) -> Json {
    Json::Text(value.into())
}

/// The whole file.
pub fn saveconfig(plan: &Plan) -> String {
    let objects = plan.units().map(object).collect();
    let targets = plan.exports.iter().map(|e| target(plan, e)).collect();
    let mut top = vec![
        ("storage_objects", Json::List(objects)),
        ("targets", Json::List(targets)),
    ];
    if let Some(user) = plan.discovery.incoming.first() {
        let mut module = vec![
            ("discovery_enable_auth", Json::Bool(true)),
            ("discovery_password", text(&*user.password)),
            ("discovery_userid", text(&*user.name)),
        ];
        if let Some(user) = &plan.discovery.outgoing {
            module.push(("discovery_mutual_password", text(&*user.password)));
            module.push(("discovery_mutual_userid", text(&*user.name)));
        }
        module.push(("name", text("iscsi")));
        top.insert(0, ("fabric_modules", Json::List(vec![Json::Map(module)])));
    }
    let mut out = String::new();
    write(&mut out, &Json::Map(top), 0);
    out.push('\n');
    out
}

fn object(unit: &Unit) -> Json {
    let locks = u64::from(unit.locks);
    let mut attributes = Vec::new();
    if let Some(size) = unit.block_size {
        attributes.push(("block_size", Json::Number(size.into())));
    }
    attributes
        .extend(["emulate_3pc", "emulate_caw", "emulate_pr"].map(|n| (n, Json::Number(locks))));
    let group = Json::Map(vec![
        (
            "alua_access_state",
            Json::Number(unit.access.number().into()),
        ),
        ("alua_access_type", Json::Number(1)),
        ("name", text(unit.group_name())),
        ("tg_pt_gp_id", Json::Number(unit.group.into())),
    ]);
    let mut map = vec![
        ("alua_tpgs", Json::List(vec![group])),
        ("attributes", Json::Map(attributes)),
    ];
    match unit.store {
        Store::Block => map.extend([
            ("dev", text(&*unit.path)),
            ("name", text(&*unit.name)),
            ("plugin", text("block")),
            ("readonly", Json::Bool(unit.read_only)),
            ("write_back", Json::Bool(false)),
        ]),
        Store::File => map.extend([
            ("dev", text(&*unit.path)),
            ("name", text(&*unit.name)),
            ("plugin", text("fileio")),
            ("write_back", Json::Bool(false)),
        ]),
        Store::Null(bytes) => map.extend([
            ("name", text(&*unit.name)),
            ("nullio", Json::Bool(true)),
            ("plugin", text("ramdisk")),
            ("size", Json::Number(bytes)),
        ]),
    }
    map.push(("wwn", text(&*unit.serial)));
    Json::Map(map)
}

fn target(plan: &Plan, export: &Export) -> Json {
    let plugin = |unit: &Unit| match unit.store {
        Store::Block => "block",
        Store::File => "fileio",
        Store::Null(_) => "ramdisk",
    };
    let luns = export.units.iter().map(|unit| {
        Json::Map(vec![
            ("alua_tg_pt_gp_name", text(unit.group_name())),
            ("index", Json::Number(unit.number.into())),
            (
                "storage_object",
                text(format!("/backstores/{}/{}", plugin(unit), unit.name)),
            ),
        ])
    });
    let portals = plan.portals.iter().map(|portal| {
        let (ip, port) = portal.rsplit_once(':').unwrap_or((portal, "3260"));
        let ip = ip.trim_matches(['[', ']']);
        Json::Map(vec![
            ("ip_address", text(ip)),
            ("port", Json::Number(port.parse().unwrap_or(3260))),
        ])
    });
    let acls = export.initiators.iter().flatten().map(|initiator| {
        let mapped = export.units.iter().map(|unit| {
            Json::Map(vec![
                ("index", Json::Number(unit.number.into())),
                ("tpg_lun", Json::Number(unit.number.into())),
                ("write_protect", Json::Bool(unit.read_only)),
            ])
        });
        let mapped = Json::List(mapped.collect());
        let mut map = vec![("mapped_luns", mapped), ("node_wwn", text(&**initiator))];
        map.extend(chap(export));
        Json::Map(map)
    });
    let mut parameters: Vec<(String, Json)> = Vec::new();
    if let Some(alias) = &export.target.alias {
        parameters.push(("TargetAlias".to_owned(), text(&**alias)));
    }
    for setting in &export.target.parameters {
        parameters.push((setting.name.to_owned(), text(&*setting.value)));
    }
    let listed = export.initiators.is_some();
    let flag = |name: &str, on: bool| (name.to_owned(), Json::Number(on.into()));
    let mut attributes = vec![
        flag("authentication", !export.target.auth.incoming.is_empty()),
        flag("cache_dynamic_acls", !listed),
        flag("demo_mode_write_protect", listed),
        flag("generate_node_acls", !listed),
    ];
    for setting in &export.target.attributes {
        let value = setting.value.parse().unwrap_or(0);
        attributes.push((setting.name.to_owned(), Json::Number(value)));
    }
    let mut group = vec![
        ("attributes", Json::Named(attributes)),
        ("enable", Json::Bool(true)),
        ("luns", Json::List(luns.collect())),
        ("node_acls", Json::List(acls.collect())),
        ("parameters", Json::Named(parameters)),
        ("portals", Json::List(portals.collect())),
        ("tag", Json::Number(1)),
    ];
    group.extend(chap(export));
    Json::Map(vec![
        ("fabric", text("iscsi")),
        ("tpgs", Json::List(vec![Json::Map(group)])),
        ("wwn", text(&*export.target.iqn)),
    ])
}

fn chap(export: &Export) -> Vec<(&'static str, Json)> {
    let mut map = Vec::new();
    if let Some(user) = export.target.auth.incoming.first() {
        map.push(("chap_password", text(&*user.password)));
        map.push(("chap_userid", text(&*user.name)));
    }
    if let Some(user) = &export.target.auth.outgoing {
        map.push(("chap_mutual_password", text(&*user.password)));
        map.push(("chap_mutual_userid", text(&*user.name)));
    }
    map
}

fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write(out: &mut String, value: &Json, depth: usize) {
    match value {
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(value) => out.push_str(&value.to_string()),
        Json::Text(value) => string(out, value),
        Json::List(items) => {
            let items = items.iter().map(|item| (None, item));
            block(out, '[', ']', items, depth);
        }
        Json::Map(items) => {
            let items = items.iter().map(|(name, item)| (Some(*name), item));
            block(out, '{', '}', items, depth);
        }
        Json::Named(items) => {
            let items = items.iter().map(|(name, item)| (Some(name.as_str()), item));
            block(out, '{', '}', items, depth);
        }
    }
}

fn block<'a>(
    out: &mut String,
    open: char,
    close: char,
    items: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
    depth: usize,
) {
    out.push(open);
    let mut empty = true;
    for (name, item) in items {
        if !empty {
            out.push(',');
        }
        empty = false;
        out.push('\n');
        out.push_str(&"  ".repeat(depth + 1));
        if let Some(name) = name {
            string(out, name);
            out.push_str(": ");
        }
        write(out, item, depth + 1);
    }
    if !empty {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(close);
}
