// SPDX-License-Identifier: GPL-2.0-only

//! What the words of the command line do to the lab.

use crate::daemon::{Client, Shared};
use crate::line::{End, Link, Nodes, Word};
use drbd_lab::frame::Exec;
use drbd_lab::switch::Conditions;
use drbd_lab::{Error, Lab, Result};
use std::path::Path;
use std::time::Duration;

/// Does one command; returns its exit code.
pub(crate) fn run(word: &Word, exec: &Exec, shared: &Shared, client: &mut Client) -> Result<i32> {
    match word {
        Word::Status => client.say(&status(&mut shared.lab()))?,
        Word::Exec { node, command } => return in_nodes(node, command, exec, shared, client),
        Word::Sh { node, script } => {
            let words = match script {
                None => vec!["/bin/bash", "-i"],
                Some(script) => vec!["/bin/bash", "-c", script],
            };
            return in_nodes(node, &words, exec, shared, client);
        }
        Word::Put { node, file, path } => {
            let lab = shared.lab();
            for index in select(&lab, node)? {
                lab.node(index).put_file(file, path)?;
            }
        }
        Word::Get { node, path, file } => {
            let lab = shared.lab();
            std::fs::write(file, lab.node(lab.find(node)?).get(path)?)?;
        }
        Word::Insmod {
            node,
            file,
            parameters,
        } => insmod(&shared.lab(), node, file, parameters)?,
        Word::Log { node, lines } => {
            client.say(&console(shared, node, lines.unwrap_or(usize::MAX))?)?;
        }
        Word::Check => shared.lab().check_consoles(&[])?,
        Word::Fail { node, disk, how } => {
            let lab = shared.lab();
            lab.node(lab.find(node)?)
                .disk(disk)?
                .set_fault((*how).into());
        }
        Word::Compare { disk } => return compare(&shared.lab(), disk, client),
        Word::Heal => shared.lab().network().heal_all(),
        Word::Cut(between) => link(&shared.lab(), between, |c| Conditions { cut: true, ..c })?,
        Word::Delay { link: on, delay_ms } => {
            let delay = Duration::from_millis(*delay_ms);
            link(&shared.lab(), on, |c| Conditions { delay, ..c })?;
        }
        Word::Lose { link: on, percent } => {
            let loss_per_million = (percent * 10_000.0) as u32;
            link(&shared.lab(), on, |c| Conditions {
                loss_per_million,
                ..c
            })?;
        }
        _ => power(word, &mut shared.lab())?,
    }
    Ok(0)
}

fn insmod(lab: &Lab, nodes: &str, file: &Path, parameters: &[String]) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let path = format!("/lab/{name}");
    let mut command = vec!["insmod", path.as_str()];
    command.extend(parameters.iter().map(String::as_str));
    for index in select(lab, nodes)? {
        lab.node(index).put_file(file, &path)?;
        lab.node(index).run(&command)?.success()?;
    }
    Ok(())
}

/// One node, or `all`.
fn select(lab: &Lab, name: &str) -> Result<Vec<usize>> {
    if name == "all" {
        return Ok((0..lab.len()).collect());
    }
    Ok(vec![lab.find(name)?])
}

fn in_nodes(
    nodes: &str,
    command: &[impl ToString],
    exec: &Exec,
    shared: &Shared,
    client: &mut Client,
) -> Result<i32> {
    let args = command.iter().map(ToString::to_string).collect();
    let request = Exec {
        args,
        stdin: exec.stdin,
        terminal: exec.terminal,
    };
    // The lab is not held while the command runs: others go on.
    let agents: Vec<_> = {
        let lab = shared.lab();
        select(&lab, nodes)?
            .into_iter()
            .map(|i| lab.node(i).agent().clone())
            .collect()
    };
    let mut worst = 0;
    for agent in &agents {
        let process = agent.spawn(&request)?;
        if request.stdin && agents.len() == 1 {
            client.feed(process.input().clone())?;
        }
        worst = worst.max(client.relay(&process)?);
    }
    Ok(worst)
}

fn console(shared: &Shared, node: &str, lines: usize) -> Result<String> {
    let lab = shared.lab();
    Ok(lab.node(lab.find(node)?).console().tail(lines) + "\n")
}

fn compare(lab: &Lab, disk: &str, client: &mut Client) -> Result<i32> {
    let (a, b) = (lab.node(0).disk(disk)?, lab.node(1).disk(disk)?);
    match a.first_difference(b, 0..a.size().min(b.size()))? {
        None => client.say("equal\n")?,
        Some(at) => {
            client.say(&format!(
                "they differ, first at byte {at} (sector {})\n",
                at / 512
            ))?;
            return Ok(1);
        }
    }
    Ok(0)
}

fn link(lab: &Lab, link: &Link, change: impl Fn(Conditions) -> Conditions) -> Result<()> {
    let (a, b, network) = (lab.find(&link.a)?, lab.find(&link.b)?, lab.network());
    network.set(a, b, change(network.conditions(a, b)));
    if !link.one_way {
        network.set(b, a, change(network.conditions(b, a)));
    }
    Ok(())
}

fn several(lab: &Lab, Nodes { nodes }: &Nodes) -> Result<Vec<usize>> {
    let each = nodes.iter().map(|name| select(lab, name));
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}

fn power(word: &Word, lab: &mut Lab) -> Result<()> {
    match word {
        Word::PowerCut { nodes, cache } => several(lab, nodes)?
            .into_iter()
            .try_for_each(|node| lab.node_mut(node).power_cut(cache.cut())),
        Word::Reset { nodes, cache } => {
            let nodes = several(lab, nodes)?;
            for &node in &nodes {
                lab.node_mut(node).power_cut(cache.cut())?;
                lab.node_mut(node).launch()?;
            }
            wait_up(lab, &nodes)
        }
        Word::Start(nodes) => {
            let nodes = several(lab, nodes)?;
            for &node in &nodes {
                lab.node_mut(node).launch()?;
            }
            wait_up(lab, &nodes)
        }
        Word::Freeze(nodes) => several(lab, nodes)?
            .into_iter()
            .try_for_each(|node| lab.node_mut(node).freeze()),
        Word::Thaw(nodes) => several(lab, nodes)?
            .into_iter()
            .try_for_each(|node| lab.node_mut(node).thaw()),
        Word::Cable { node, end } => select(lab, node)?
            .into_iter()
            .try_for_each(|node| lab.node_mut(node).set_cable(*end == End::In)),
        _ => Err(Error::new("a lab is up already: `lab down` ends it")),
    }
}

fn wait_up(lab: &mut Lab, nodes: &[usize]) -> Result<()> {
    nodes
        .iter()
        .try_for_each(|node| lab.node_mut(*node).wait_up())
}

fn status(lab: &mut Lab) -> String {
    let mut text = format!(
        "kernel {}, logs in {}\n",
        lab.release(),
        lab.logs().display()
    );
    for index in 0..lab.len() {
        let on = if lab.node_mut(index).running() {
            "on"
        } else {
            "off"
        };
        let node = lab.node(index);
        text += &format!("{}: {on}, {} {}", node.name(), node.host(), node.address());
        for name in node.disk_names() {
            if let Ok(disk) = node.disk(name) {
                let mib = disk.size() >> 20;
                text += &format!(
                    ", {name} {mib} MiB ({} KiB volatile)",
                    disk.volatile() >> 10
                );
            }
        }
        text.push('\n');
        for to in (0..lab.len()).filter(|to| *to != index) {
            let (c, t) = (
                lab.network().conditions(index, to),
                lab.network().traffic(index, to),
            );
            text += &format!(
                "  to {}: {} frames, {} bytes, {} lost",
                lab.node(to).name(),
                t.frames,
                t.bytes,
                t.dropped
            );
            if c.cut {
                text += ", CUT";
            }
            if !c.delay.is_zero() {
                text += &format!(", delayed {} ms", c.delay.as_millis());
            }
            if c.loss_per_million > 0 {
                text += &format!(", loses {} %", f64::from(c.loss_per_million) / 10_000.0);
            }
            text.push('\n');
        }
    }
    text
}
