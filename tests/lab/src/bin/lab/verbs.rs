// SPDX-License-Identifier: GPL-2.0-only

//! What the words of the command line do to the lab.

use crate::daemon::{Client, Shared};
use drbd_lab::frame::Exec;
use drbd_lab::switch::Conditions;
use drbd_lab::{Error, Fault, Lab, PowerCut, Result};
use std::path::Path;
use std::time::Duration;

/// Does one command; returns its exit code.
pub(crate) fn run(exec: &Exec, shared: &Shared, client: &mut Client) -> Result<i32> {
    let args: Vec<&str> = exec.args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["status"] => client.say(&status(&mut shared.lab()))?,
        ["exec" | "run", node, "--", command @ ..] | ["exec" | "run", node, command @ ..] => {
            return in_nodes(node, command, exec, shared, client);
        }
        ["sh", node] => return in_nodes(node, &["/bin/bash", "-i"], exec, shared, client),
        ["sh", node, script] => {
            return in_nodes(node, &["/bin/bash", "-c", script], exec, shared, client)
        }
        ["put", nodes, file, path] => {
            let lab = shared.lab();
            for index in select(&lab, nodes)? {
                lab.node(index).put_file(Path::new(file), path)?;
            }
        }
        ["get", node, path, file] => {
            let lab = shared.lab();
            std::fs::write(file, lab.node(lab.find(node)?).get(path)?)?;
        }
        ["insmod", nodes, file, params @ ..] => {
            let lab = shared.lab();
            for index in select(&lab, nodes)? {
                let node = lab.node(index);
                let name = Path::new(file)
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy();
                let path = format!("/lab/{name}");
                node.put_file(Path::new(file), &path)?;
                node.run(&[&["insmod", path.as_str()][..], params].concat())?
                    .success()?;
            }
        }
        ["log", node] => client.say(&console(shared, node, usize::MAX)?)?,
        ["log", node, lines] => client.say(&console(shared, node, number(lines)? as usize)?)?,
        ["check"] => shared.lab().check_consoles(&[])?,
        ["fail", node, disk, how] => {
            let lab = shared.lab();
            lab.node(lab.find(node)?).disk(disk)?.set_fault(fault(how)?);
        }
        ["compare", disk] => return compare(&shared.lab(), disk, client),
        ["heal"] => shared.lab().network().heal_all(),
        ["cut" | "delay" | "lose", ..] => link(&args, &shared.lab())?,
        [word, rest @ ..] => power(word, rest, &mut shared.lab())?,
        [] => return Err(Error::new("no word")),
    }
    Ok(0)
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .map_err(|_| Error::new(format!("'{text}' is no number")))
}

fn fault(how: &str) -> Result<Fault> {
    Ok(match how {
        "none" => Fault::None,
        "reads" => Fault::Reads,
        "writes" => Fault::Writes,
        "all" => Fault::All,
        "stall" => Fault::Stall,
        _ => {
            return Err(Error::new(format!(
                "'{how}': reads, writes, all, stall or none"
            )))
        }
    })
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
    command: &[&str],
    exec: &Exec,
    shared: &Shared,
    client: &mut Client,
) -> Result<i32> {
    let command = if command.first() == Some(&"--") {
        command.get(1..).unwrap_or(&[])
    } else {
        command
    };
    let args = command.iter().map(|word| (*word).to_owned()).collect();
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

fn link(args: &[&str], lab: &Lab) -> Result<()> {
    let one_way = args.last() == Some(&"--one-way");
    let words = args.get(..args.len() - usize::from(one_way)).unwrap_or(&[]);
    let (a, b, change): (_, _, Box<dyn Fn(Conditions) -> Conditions>) = match words {
        ["cut", a, b] => (a, b, Box::new(|c| Conditions { cut: true, ..c })),
        ["delay", a, b, ms] => {
            let delay = Duration::from_millis(number(ms)?);
            (a, b, Box::new(move |c| Conditions { delay, ..c }))
        }
        ["lose", a, b, percent] => {
            let percent: f64 = percent
                .parse()
                .map_err(|_| Error::new(format!("'{percent}' is no number")))?;
            let loss_per_million = (percent * 10_000.0) as u32;
            (
                a,
                b,
                Box::new(move |c| Conditions {
                    loss_per_million,
                    ..c
                }),
            )
        }
        _ => return Err(Error::new("which nodes? see `lab help`")),
    };
    let (a, b, network) = (lab.find(a)?, lab.find(b)?, lab.network());
    network.set(a, b, change(network.conditions(a, b)));
    if !one_way {
        network.set(b, a, change(network.conditions(b, a)));
    }
    Ok(())
}

fn power(word: &str, rest: &[&str], lab: &mut Lab) -> Result<()> {
    let mut cut = PowerCut::Keep;
    let mut nodes = Vec::new();
    for arg in rest {
        match *arg {
            "--keep" => cut = PowerCut::Keep,
            "--drop" => cut = PowerCut::Drop,
            "out" | "in" => {}
            arg => match arg.strip_prefix("--random=") {
                Some(seed) => cut = PowerCut::Random(number(seed)?),
                None => nodes.extend(select(lab, arg)?),
            },
        }
    }
    if nodes.is_empty() {
        return Err(Error::new(format!("'{word}': which node? see `lab help`")));
    }
    for node in &nodes {
        let node = lab.node_mut(*node);
        match word {
            "power-cut" | "reset" => node.power_cut(cut)?,
            "start" => node.launch()?,
            "freeze" => node.freeze()?,
            "thaw" => node.thaw()?,
            "cable" => node.set_cable(!rest.contains(&"out"))?,
            _ => {
                return Err(Error::new(format!(
                    "'{word}' is not a word of lab; see `lab help`"
                )))
            }
        }
        if word == "reset" {
            node.launch()?;
        }
    }
    if matches!(word, "start" | "reset") {
        nodes
            .iter()
            .try_for_each(|node| lab.node_mut(*node).wait_up())?;
    }
    Ok(())
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
