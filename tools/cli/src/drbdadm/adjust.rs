// SPDX-License-Identifier: GPL-2.0-only

//! `adjust`: the difference between the configuration and the kernel, and only that.

use drbd_config::model::{Opt, Volume};
use drbd_core::config::info::StateInfo;
use drbd_core::config::nlattr::Attribute;
use drbd_core::config::table::Place;
use drbd_core::config::{Attr, BadValue, DiskConf, Nest, NetConf, ResourceOpts, Value};
use drbd_genl::Message;

use super::steps::{self, setup, words, Step};
use super::target::Selected;
use crate::drbdsetup::configure::sockaddr;
use crate::drbdsetup::show::value_text;
use crate::names::{StateWord, DISKLESS};

/// The kernel's state, one message per minor (or one for a resource without minors).
pub type Kernel = Vec<Message>;

/// `--name=value` for each option that is written otherwise than it is in force, given the attributes of a nest. What is
/// not written any more goes back to its default.
fn differences(
    nest: &Nest,
    in_force: Option<Attribute<'_>>,
    written: &[(&'static str, String)],
) -> Vec<String> {
    let mut changed = Vec::new();
    for attr in nest.attrs {
        if attr.place != Place::Config || attr.invariant {
            continue;
        }
        let now = in_force.and_then(|bytes| bytes.nested().find(attr.nr));
        let now = now
            .as_ref()
            .and_then(|found| attr.value(found))
            .unwrap_or(attr.default_value());
        let text = written
            .iter()
            .find(|(name, _)| *name == attr.name)
            .map(|(_, text)| text.as_str());
        let wanted = text.map_or(Ok(attr.default_value()), |text| attr.parse(text));
        // What the kernel does not show (a secret, to others than root) is taken as equal.
        let hidden = attr.sensitive && now == Value::Text(&[]);
        if hidden || wanted == Ok(now) {
            continue;
        }
        let text = text.map_or_else(|| plain(attr, &attr.default_value()), str::to_owned);
        changed.push(format!("--{}={text}", attr.name));
    }
    changed
}

/// A value as a command line takes it.
fn plain(attr: &Attr, value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        value => value_text(attr, value),
    }
}

fn written(opts: &[Opt]) -> Vec<(&'static str, String)> {
    opts.iter()
        .filter(|opt| steps::for_driver(opt))
        .map(|opt| (opt.name, opt.value.clone()))
        .collect()
}

fn written_disk(selected: &Selected<'_>, volume: &Volume) -> Vec<(&'static str, String)> {
    let texts = steps::disk_options(selected, volume);
    let value = |text: &String| {
        text.split_once('=')
            .map_or_else(String::new, |(_, value)| value.to_owned())
    };
    steps::disk_opts(selected, volume)
        .into_iter()
        .filter(|opt| steps::for_driver(opt))
        .zip(&texts)
        .map(|(opt, text)| (opt.name, value(text)))
        .collect()
}

/// The steps that make the kernel's resource what the configuration says.
pub fn adjust(selected: &Selected<'_>, kernel: &Kernel) -> Result<Vec<Step>, String> {
    let name = &selected.resource.name;
    let ours: Vec<&Message> = kernel
        .iter()
        .filter(|message| message.resource() == *name)
        .collect();
    if ours.is_empty() {
        return steps::up(selected);
    }
    let mut plan = Vec::new();
    let sections = &selected.resource.sections;
    let in_force = ours
        .iter()
        .find_map(|message| message.nest(ResourceOpts::NEST.nr));
    let changed = differences(&ResourceOpts::NEST, in_force, &written(&sections.options));
    if !changed.is_empty() {
        let head = words(&["resource-options", name]);
        plan.push(setup(head.into_iter().chain(changed)));
    }
    let volumes: Vec<&Volume> = steps::volumes(selected).collect();
    remove_volumes(selected, &ours, &mut plan);
    for volume in &volumes {
        adjust_volume(selected, volume, &ours, &mut plan);
    }
    adjust_connection(selected, &ours, &mut plan)?;
    Ok(plan)
}

/// What the kernel has and the configuration has not.
fn remove_volumes(selected: &Selected<'_>, ours: &[&Message], plan: &mut Vec<Step>) {
    if selected.volume.is_some() {
        return;
    }
    for message in ours {
        let Some(vnr) = message.context().volume else {
            continue;
        };
        let minor = message.header.minor;
        let kept = selected
            .host()
            .volumes
            .iter()
            .any(|v| u32::from(v.vnr) == vnr && v.minor == Some(minor));
        if !kept {
            if is_attached(message) {
                plan.push(setup(words(&["detach", &minor.to_string()])));
            }
            plan.push(setup(words(&["del-minor", &minor.to_string()])));
        }
    }
}

fn is_attached(message: &Message) -> bool {
    let state = message.get::<StateInfo>().unwrap_or_default();
    StateWord(state.current_state).disk_number() != DISKLESS
}

fn adjust_volume(
    selected: &Selected<'_>,
    volume: &Volume,
    ours: &[&Message],
    plan: &mut Vec<Step>,
) {
    let Some(message) = ours
        .iter()
        .find(|message| Some(message.header.minor) == volume.minor)
    else {
        plan.push(steps::new_minor(selected, volume, &[]));
        plan.extend(steps::attach(selected, volume, &[]));
        return;
    };
    let minor = message.header.minor.to_string();
    if !is_attached(message) {
        plan.extend(steps::attach(selected, volume, &[]));
        return;
    }
    let conf = message.get::<DiskConf>().unwrap_or_default();
    let wanted = volume.disk.as_deref().unwrap_or_default();
    let meta = volume
        .meta_disk
        .as_ref()
        .map_or(wanted, |place| place.device(wanted));
    if conf.backing_dev.to_string() != wanted || conf.meta_dev.to_string() != meta {
        plan.push(setup(words(&["detach", &minor])));
        plan.extend(steps::attach(selected, volume, &[]));
        return;
    }
    let opts = written_disk(selected, volume);
    let changed = differences(&DiskConf::NEST, message.nest(DiskConf::NEST.nr), &opts);
    if !changed.is_empty() {
        let head = words(&["disk-options", &minor]);
        plan.push(setup(head.into_iter().chain(changed)));
    }
    resize(&minor, conf.disk_size, &opts, plan);
}

/// `size` is not an option that can be changed: the device is resized to it. Without it the disk is used in full.
fn resize(minor: &str, now: u64, opts: &[(&'static str, String)], plan: &mut Vec<Step>) {
    let Some(attr) = DiskConf::NEST.attrs.iter().find(|a| a.name == "size") else {
        return;
    };
    let text = opts.iter().find(|(name, _)| *name == "size");
    let wanted = text.map_or(Ok(Value::Number(0)), |(_, text)| attr.parse(text));
    if wanted
        == i64::try_from(now)
            .map(Value::Number)
            .map_err(|_| BadValue::NotANumber)
    {
        return;
    }
    let size = text.map(|(_, text)| format!("--size={text}"));
    plan.push(setup(words(&["resize", minor]).into_iter().chain(size)));
}

fn adjust_connection(
    selected: &Selected<'_>,
    ours: &[&Message],
    plan: &mut Vec<Step>,
) -> Result<(), String> {
    let net = ours
        .iter()
        .find_map(|message| message.nest(NetConf::NEST.nr));
    let context = ours
        .first()
        .map(|message| message.context())
        .unwrap_or_default();
    let [me, peer] = steps::ends(selected)?;
    let is = |bytes: Option<drbd_core::config::text::Bytes<128>>, end: &str| {
        bytes.is_some_and(|bytes| Ok(bytes.as_bytes().to_vec()) == sockaddr(end))
    };
    if net.is_none() {
        plan.push(steps::connect(selected, &[])?);
    } else if !is(context.my_addr, &me) || !is(context.peer_addr, &peer) {
        let text = |bytes: Option<drbd_core::config::text::Bytes<128>>| {
            let bytes = bytes.unwrap_or_default();
            crate::drbdsetup::configure::sockaddr_text(bytes.as_bytes())
                .map_or_else(String::new, |(family, host, port)| {
                    format!("{family}:{host}:{port}")
                })
        };
        plan.push(setup([
            "disconnect".to_owned(),
            text(context.my_addr),
            text(context.peer_addr),
        ]));
        plan.push(steps::connect(selected, &[])?);
    } else if is_standalone(ours) {
        plan.push(steps::per_connection(selected, "disconnect", &[])?);
        plan.push(steps::connect(selected, &[])?);
    } else {
        let wanted = written(&steps::net_options(selected)?);
        let changed = differences(&NetConf::NEST, net, &wanted);
        if !changed.is_empty() {
            plan.push(steps::per_connection(selected, "net-options", &changed)?);
        }
    }
    Ok(())
}

/// Configured, but given up: a connection that was refused stays so until it is made anew.
fn is_standalone(ours: &[&Message]) -> bool {
    ours.iter().any(|message| {
        let state = message.get::<StateInfo>();
        message.context().volume.is_some()
            && state.is_some_and(|s| StateWord(s.current_state).conn_number() == 0)
    })
}

#[cfg(test)]
mod tests;
