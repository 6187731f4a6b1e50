// SPDX-License-Identifier: GPL-2.0-only

//! Recorded sessions with the stock tools on the stock driver, command by command: the same exit codes, and the same text
//! where a program reads it.

use crate::cluster::{Cluster, Config, Setup};
use drbd_lab::{deadline, Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

const STANDALONE: &str = include_str!("../../../golden/commands/standalone.txt");
const CONNECTED: &str = include_str!("../../../golden/commands/connected.txt");
const EVENTS2: &str = include_str!("../../../golden/commands/connected-events2.txt");
const EVENTS: &str = include_str!("../../../golden/commands/connected-events.txt");

/// One end of a connection whose other end is in the same node.
fn config(name: &str, minor: u32, disk: &str, net: &str) -> String {
    format!(
        "global {{ usage-count no; disable-ip-verification; }}\nresource {name} {{\n\
         {disk} net {{ protocol C; {net} verify-alg crc32c; }}\n\
         device minor {minor}; disk /dev/ram{minor}; meta-disk internal;\n\
         on alpha {{ address 127.0.0.1:7788; }}\non beta {{ address 127.0.0.1:7789; }}\n}}\n"
    )
}

/// A node with both ends, `ra` and `rb`.
fn node_with_both(setup: Setup, logs: &Path, disk: &str, nets: [&str; 2]) -> Result<Cluster> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.sh(
        NODE,
        "mkdir -p /etc/beta && modprobe brd rd_nr=2 rd_size=16384 && ls -l /dev/ram0 /dev/ram1",
    )?;
    c.configure(NODE, &config("ra", 0, disk, nets[0]))?;
    let beta = config("rb", 1, disk, nets[1]);
    let guest = c.lab.node(NODE);
    guest.put("/etc/beta/drbd.conf", beta.as_bytes(), 0o644)?;
    Ok(c)
}

const NODE: usize = 0;

struct Recorded<'a> {
    command: &'a str,
    text: String,
    exit: i32,
}

fn recorded(session: &'static str) -> Vec<Recorded<'static>> {
    let mut all: Vec<Recorded<'_>> = Vec::new();
    for line in session.lines() {
        match (line.strip_prefix("### rc="), line.strip_prefix("### ")) {
            (Some(code), _) => {
                if let Some(last) = all.last_mut() {
                    last.exit = code.parse().unwrap_or(-1);
                }
            }
            (None, Some(command)) => all.push(Recorded {
                command,
                text: String::new(),
                exit: 0,
            }),
            (None, None) => {
                if let Some(last) = all.last_mut() {
                    last.text += &format!("{line}\n");
                }
            }
        }
    }
    all
}

/// What programs read; everything else people do.
fn is_read(command: &str) -> bool {
    let words: Vec<&str> = command.split(' ').collect();
    let read = [
        "status",
        "role",
        "cstate",
        "dstate",
        "events2",
        "sh-status",
        "show",
        "get-gi",
        "/proc/drbd",
        "-d",
    ];
    read.iter().any(|word| words.contains(word))
}

/// A text without what is another one every time: identifiers, times, the module's and the tools' own version, how often
/// the metadata were written.
fn body(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = line.trim_end();
        let skipped = line.is_empty()
            || [
                "version:",
                "srcversion:",
                "_drbd_",
                "_config_file",
                "_conf_file_line",
            ]
            .iter()
            .any(|start| line.starts_with(start))
            || line.contains("found __DRBD_NODE__")
            || line.contains("PRETENDING that I am");
        if skipped {
            continue;
        }
        let words: Vec<String> = line.split(' ').map(word).collect();
        out += &words.join(" ");
        out.push('\n');
    }
    out
}

fn word(word: &str) -> String {
    let hexadecimal = |part: &str| part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit());
    if word.split(':').any(hexadecimal) {
        let parts = word
            .split(':')
            .map(|part| if hexadecimal(part) { "ID" } else { part });
        return parts.collect::<Vec<_>>().join(":");
    }
    let counted = ["al:", "bm:", "al-writes:", "bm-writes:"];
    match counted.iter().find(|key| word.starts_with(**key)) {
        Some(key) => format!("{key}N"),
        None if word.starts_with("2026-") || word.ends_with("+00:00") => "TIME".to_owned(),
        None => word.replace("drbdsetup-84", "drbdsetup"),
    }
}

/// What a running resync or verify changes all the time.
const MOVING: [&str; 17] = [
    "ns",
    "nr",
    "dw",
    "dr",
    "lo",
    "pe",
    "ua",
    "ap",
    "oos",
    "done",
    "read",
    "written",
    "sent",
    "received",
    "out-of-sync",
    "pending",
    "unacked",
];

/// The words of a text, where something moves without how far it is.
fn words(text: &str) -> Vec<String> {
    let moves = ["SyncSource", "SyncTarget", "PausedSync", "Verify"];
    let moves = moves.iter().any(|state| text.contains(state));
    let mut all = Vec::new();
    for line in text.lines() {
        if moves && (line.starts_with("\t[") || line.starts_with("\tfinish:")) {
            all.push(line.split_whitespace().next().unwrap_or_default()[..1].to_owned());
            continue;
        }
        all.extend(
            line.split_whitespace()
                .map(|word| match word.split_once([':', '=']) {
                    Some((key, _))
                        if moves && (MOVING.contains(&key) || key.contains("percent")) =>
                    {
                        format!("{key}:N")
                    }
                    _ => word.to_owned(),
                }),
        );
    }
    all
}

/// Plays commands; returns what was different.
fn play(c: &Cluster, session: &'static str) -> Result<String> {
    let mut wrong = String::new();
    for stock in recorded(session) {
        // There it had taken so long that nothing was under way any more.
        if stock.command == "drbdadm disconnect ra" && session == CONNECTED {
            drbd_lab::until("the verify ends", deadline(60), || {
                Ok((!c.proc_drbd(NODE)?.contains("cs:Verify")).then_some(()))
            })?;
        }
        let beta = stock.command.contains("/etc/beta/");
        let name = if beta { "beta" } else { "alpha" };
        let script = format!(
            "export __DRBD_NODE__={name}; {} 2>/tmp/errors </dev/null",
            stock.command
        );
        let wanted = stock.exit;
        let text = body(&stock.text);
        let read = is_read(stock.command) && stock.exit == 0;
        let mut last = (0, String::new());
        // What is read may be on its way: connections come and go by themselves.
        let same = drbd_lab::until("the text is the recorded one", deadline(10), || {
            let output = c.run(NODE, &["sh", "-c", &script])?;
            last = (output.code, body(&output.text()));
            let same = last.0 == wanted && (!read || words(&last.1) == words(&text));
            Ok((same || !read).then_some(same))
        });
        if !same.unwrap_or(false) {
            let errors = c.sh(NODE, "cat /tmp/errors")?;
            wrong += &format!(
                "# {}: {} instead of {wanted}\n{}{errors}instead of\n{text}\n",
                stock.command, last.0, last.1
            );
        }
    }
    Ok(wrong)
}

/// Every command of the session in which they refuse each other: they disagree about a policy.
pub(super) fn standalone(setup: Setup, logs: &Path) -> Result<()> {
    let suspend = "options { on-no-data-accessible suspend-io; }";
    let nets = ["after-sb-0pri discard-zero-changes;", ""];
    let c = node_with_both(setup, logs, suspend, nets)?;
    finish(&c, play(&c, STANDALONE)?)
}

fn finish(c: &Cluster, wrong: String) -> Result<()> {
    if !wrong.is_empty() {
        return Err(Error::new(wrong));
    }
    c.configure(NODE, &Config::default().text())?;
    c.finish()
}

/// What became of each object, in its order; how the objects take turns is chance.
fn histories(text: &str, statistics: bool) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let (object, what) = if statistics {
            let is_name = |word: &&&str| {
                ["name:", "volume:", "minor:", "peer-node-id:"]
                    .iter()
                    .any(|key| word.starts_with(key))
            };
            let (names, rest): (Vec<&&str>, Vec<&&str>) =
                parts.iter().skip(1).partition(|word| is_name(word));
            let state = |word: &&&&str| {
                [
                    "role:",
                    "disk:",
                    "connection:",
                    "replication:",
                    "peer-disk:",
                    "suspended:",
                    "resync-suspended:",
                    "helper:",
                    "status:",
                ]
                .iter()
                .any(|key| word.starts_with(key))
            };
            let told: Vec<&str> = rest.iter().filter(state).map(|word| **word).collect();
            let kind = rest.first().map_or("", |word| **word);
            let names: Vec<&str> = names.iter().map(|word| **word).collect();
            (format!("{kind} {}", names.join(" ")), told.join(" "))
        } else {
            // NUMBER KIND MINOR,NAME[VOLUME] WHAT
            if parts.get(1) != Some(&"ST-new") && parts.get(1) != Some(&"UH-post") {
                continue;
            }
            (
                format!("{} {}", parts[1], parts.get(2).unwrap_or(&"")),
                parts[3..].join(" "),
            )
        };
        let history = all.entry(object).or_default();
        if !what.is_empty() && history.last() != Some(&what) {
            history.push(what);
        }
    }
    all
}

/// Leaves the peer a few times. It closes the streams as soon as it has agreed, here on the same processors: that is never
/// a failure of the connection.
fn leave(c: &Cluster) -> Result<String> {
    let script = "export __DRBD_NODE__=alpha; drbdadm up ra >/dev/null; for round in 1 2 3; do \
         drbdadm connect ra 2>/dev/null; drbdadm wait-connect ra && drbdadm disconnect ra || exit 1; done >/dev/null; \
         dmesg | grep 'ra[:/].* -> BrokenPipe'; drbdadm down ra >/dev/null";
    c.sh(NODE, script)
}

/// Every command of the session in which they meet: resync, pause, verify, and what was told of it meanwhile.
pub(super) fn connected(setup: Setup, logs: &Path) -> Result<()> {
    let net = "timeout 300; connect-int 3; ping-int 60; ping-timeout 50; after-sb-0pri discard-zero-changes;";
    let disk = "disk { resync-rate 1M; c-plan-ahead 0; c-max-rate 2M; }";
    let c = node_with_both(setup, logs, disk, [net, net])?;
    // A handler that does nothing, as when this was recorded: the configuration of rb is none that the kernel's helper finds.
    c.sh(
        NODE,
        "for name in /sys/module/drbd*/parameters/usermode_helper; do printf /bin/true >$name; done",
    )?;
    let beta = "export __DRBD_NODE__=beta; drbdadm -c /etc/beta/drbd.conf";
    c.sh(
        NODE,
        "export __DRBD_NODE__=alpha; drbdadm create-md --force ra && drbdadm up ra",
    )?;
    c.sh(
        NODE,
        "for kind in 'events2 --statistics' events; do \
         setsid drbdsetup $kind </dev/null >\"/lab/${kind%% *}\" 2>&1 & done",
    )?;
    drbd_lab::until("events are told", deadline(30), || {
        let told = c.sh(
            NODE,
            "grep -c 'exists -' /lab/events2; grep -c ' ST ' /lab/events; true",
        )?;
        Ok((told.trim() == "1\n1").then_some(()))
    })?;
    c.sh(
        NODE,
        &format!("{beta} create-md --force rb && {beta} up rb"),
    )?;
    let mut wrong = play(&c, CONNECTED)?;
    c.sh(NODE, "pkill drbdsetup")?;
    wrong += &leave(&c)?;
    c.sh(NODE, &format!("{beta} down rb"))?;
    for (file, stock, statistics) in [("events2", EVENTS2, true), ("events", EVENTS, false)] {
        let told = c.sh(NODE, &format!("cat /lab/{file}"))?;
        let (ours, stock) = (histories(&told, statistics), histories(stock, statistics));
        for (object, wanted) in stock {
            // What came behind the recorded end is not compared.
            let mut history = ours.get(&object).cloned().unwrap_or_default();
            history.truncate(wanted.len());
            if history != wanted {
                wrong += &format!("{file}: {object}: {history:#?}\ninstead of\n{wanted:#?}\n");
            }
        }
    }
    finish(&c, wrong)
}
