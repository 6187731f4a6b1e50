// SPDX-License-Identifier: GPL-2.0-only

//! The steps that make a plan true, as paths below the kernel's `target` folder in configfs.

use std::fmt;

use crate::model::Auth;
use crate::plan::{Export, Plan, Store, Unit};

/// How the kernel says what a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// As it was written.
    Text,
    /// As a number, maybe in hexadecimal.
    Number,
    /// Behind `Some words: ` on the first line.
    Labelled,
    /// In these words.
    Words(&'static str),
    /// Not at all, and it can be written only while that file beside it says 0.
    Before(&'static str),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// That folder is there.
    Folder(String),
    /// That file says so.
    Write {
        /// The file.
        path: String,
        /// What it says.
        value: String,
        /// How it says it.
        reads: Reads,
        /// Not to be shown.
        secret: bool,
    },
    /// That link leads there.
    Link {
        /// The link.
        path: String,
        /// Where to.
        to: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Folder(path) => write!(f, "mkdir {path}"),
            Step::Write {
                path, secret: true, ..
            } => write!(f, "write {path} = (secret)"),
            Step::Write { path, value, .. } => write!(f, "write {path} = {value}"),
            Step::Link { path, to } => write!(f, "link {path} -> {to}"),
        }
    }
}

/// Collects steps below one folder.
struct Steps(Vec<Step>);

impl Steps {
    fn folder(&mut self, path: impl Into<String>) {
        let step = Step::Folder(path.into());
        if !self.0.contains(&step) {
            self.0.push(step);
        }
    }

    fn write(&mut self, path: String, value: impl Into<String>, reads: Reads) {
        self.0.push(Step::Write {
            path,
            value: value.into(),
            reads,
            secret: false,
        });
    }

    fn secret(&mut self, path: String, value: &str) {
        self.0.push(Step::Write {
            path,
            value: value.to_owned(),
            reads: Reads::Text,
            secret: true,
        });
    }

    fn auth(&mut self, folder: &str, auth: &Auth) {
        let both = [
            (auth.incoming.first(), "userid", "password"),
            (auth.outgoing.as_ref(), "userid_mutual", "password_mutual"),
        ];
        for (user, name, password) in both {
            let Some(user) = user else { continue };
            self.write(format!("{folder}/{name}"), &*user.name, Reads::Text);
            self.secret(format!("{folder}/{password}"), &user.password);
        }
    }
}

/// All steps of a plan.
pub fn of(plan: &Plan) -> Vec<Step> {
    let mut steps = Steps(Vec::new());
    for unit in plan.units() {
        backstore(&mut steps, unit);
    }
    if !plan.exports.is_empty() {
        steps.folder("iscsi");
    }
    if !plan.discovery.incoming.is_empty() {
        steps.auth("iscsi/discovery_auth", &plan.discovery);
        let path = "iscsi/discovery_auth/enforce_discovery_auth".to_owned();
        steps.write(path, "1", Reads::Number);
    }
    for export in &plan.exports {
        target(&mut steps, plan, export);
    }
    steps.0
}

fn backstore(steps: &mut Steps, unit: &Unit) {
    let base = unit.backstore();
    let at = |name: &str| format!("{base}/{name}");
    steps.folder(format!("core/{}", unit.store.folder()));
    steps.folder(&*base);
    let read_only = if unit.read_only { ",readonly=1" } else { "" };
    let control = match &unit.store {
        Store::Block => format!("udev_path={}{read_only}", unit.path),
        Store::File => {
            let size = std::fs::metadata(&unit.path).map_or(0, |m| m.len());
            format!("fd_dev_name={},fd_dev_size={size}", unit.path)
        }
        Store::Null(bytes) => format!("rd_pages={},rd_nullio=1", bytes.div_ceil(4096)),
    };
    steps.write(at("control"), control, Reads::Before("enable"));
    if unit.store != Store::Null(0) && !unit.path.is_empty() {
        steps.write(at("udev_path"), &*unit.path, Reads::Before("enable"));
    }
    steps.write(at("enable"), "1", Reads::Number);
    steps.write(at("wwn/vpd_unit_serial"), &*unit.serial, Reads::Labelled);
    if let Some(size) = unit.block_size {
        steps.write(at("attrib/block_size"), size.to_string(), Reads::Number);
    }
    // What cannot hold across two nodes is not there: an initiator that needs it refuses the disk.
    let locks = if unit.locks { "1" } else { "0" };
    for name in ["emulate_caw", "emulate_pr", "emulate_3pc"] {
        steps.write(at(&format!("attrib/{name}")), locks, Reads::Number);
    }
    let group = unit.group_path();
    steps.folder(&*group);
    let in_group = |name: &str| format!("{group}/{name}");
    steps.write(
        in_group("tg_pt_gp_id"),
        unit.group.to_string(),
        Reads::Number,
    );
    // Implicit: the initiator is told which path serves, and cannot choose.
    steps.write(in_group("alua_access_type"), "1", Reads::Words("Implicit"));
}

fn target(steps: &mut Steps, plan: &Plan, export: &Export) {
    let iqn = format!("iscsi/{}", export.target.iqn);
    let base = format!("{iqn}/tpgt_1");
    let at = |name: &str| format!("{base}/{name}");
    steps.folder(&*iqn);
    steps.folder(&*base);
    steps.write(at("rtpi"), export.port.to_string(), Reads::Number);
    for unit in &export.units {
        let lun = at(&format!("lun/lun_{}", unit.number));
        steps.folder(&*lun);
        steps.0.push(Step::Link {
            path: format!("{lun}/{}", unit.name),
            to: unit.backstore(),
        });
        steps.write(
            format!("{lun}/alua_tg_pt_gp"),
            unit.group_name(),
            Reads::Labelled,
        );
        let state = format!("{}/alua_access_state", unit.group_path());
        steps.write(state, unit.access.number().to_string(), Reads::Number);
    }
    let chap = !export.target.auth.incoming.is_empty();
    let listed = export.initiators.is_some();
    let attributes = [
        ("authentication", chap),
        ("generate_node_acls", !listed),
        ("cache_dynamic_acls", !listed),
        ("demo_mode_write_protect", listed),
    ];
    for (name, on) in attributes {
        let value = if on { "1" } else { "0" };
        steps.write(at(&format!("attrib/{name}")), value, Reads::Number);
    }
    for setting in &export.target.attributes {
        steps.write(
            at(&format!("attrib/{}", setting.name)),
            &*setting.value,
            Reads::Number,
        );
    }
    steps.auth(&at("auth"), &export.target.auth);
    if let Some(alias) = &export.target.alias {
        steps.write(at("param/TargetAlias"), &**alias, Reads::Text);
    }
    for setting in &export.target.parameters {
        steps.write(
            at(&format!("param/{}", setting.name)),
            &*setting.value,
            Reads::Text,
        );
    }
    for initiator in export.initiators.iter().flatten() {
        acl(steps, export, &at(&format!("acls/{initiator}")));
    }
    for portal in &plan.portals {
        steps.folder(at(&format!("np/{portal}")));
    }
    steps.write(at("enable"), "1", Reads::Number);
}

fn acl(steps: &mut Steps, export: &Export, base: &str) {
    steps.folder(base);
    steps.auth(&format!("{base}/auth"), &export.target.auth);
    for setting in &export.target.acl_attributes {
        steps.write(
            format!("{base}/attrib/{}", setting.name),
            &*setting.value,
            Reads::Number,
        );
    }
    for unit in &export.units {
        let lun = format!("{base}/lun_{}", unit.number);
        steps.folder(&*lun);
        steps.0.push(Step::Link {
            path: format!("{lun}/{}", unit.name),
            to: format!("iscsi/{}/tpgt_1/lun/lun_{}", unit.iqn, unit.number),
        });
        let protect = if unit.read_only { "1" } else { "0" };
        steps.write(format!("{lun}/write_protect"), protect, Reads::Number);
    }
}
