// SPDX-License-Identifier: GPL-2.0-only

//! A recorded session with the stock tools on the stock driver, command by command: the same exit codes, and the same text
//! where a program reads it.

use crate::cluster::{Cluster, Config, Setup};
use drbd_lab::{deadline, Error, Result};
use std::path::Path;

const RECORDED: &str = include_str!("../../../golden/commands/standalone.txt");

/// Both ends of one connection in one node; they disagree about the policy, and so refuse each other.
fn config(name: &str, minor: u32, policy: &str) -> String {
    format!(
        "global {{ usage-count no; disable-ip-verification; }}\nresource {name} {{\n\
         options {{ on-no-data-accessible suspend-io; }}\nnet {{ protocol C; {policy} verify-alg crc32c; }}\n\
         device minor {minor}; disk /dev/ram{minor}; meta-disk internal;\n\
         on alpha {{ address 127.0.0.1:7788; }}\non beta {{ address 127.0.0.1:7789; }}\n}}\n"
    )
}

struct Recorded<'a> {
    command: &'a str,
    text: String,
    exit: i32,
}

fn recorded() -> Vec<Recorded<'static>> {
    let mut all: Vec<Recorded<'_>> = Vec::new();
    for line in RECORDED.lines() {
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

/// The two refuse each other. Which of them sees only that the other hangs up, and would try again, is chance: it is made
/// to give up as the other did, and as both did when this was recorded.
fn settled(c: &Cluster, node: usize) -> Result<()> {
    let stands_alone = |minor: u32| -> Result<Option<()>> {
        let text = c.proc_drbd(node)?;
        Ok(text
            .contains(&format!(" {minor}: cs:StandAlone "))
            .then_some(()))
    };
    drbd_lab::until("one gives up", deadline(30), || {
        Ok(stands_alone(0)?.or(stands_alone(1)?))
    })?;
    c.sh(
        node,
        "for ends in '7788 ipv4:127.0.0.1:7789' '7789 ipv4:127.0.0.1:7788'; do \
         drbdsetup disconnect ipv4:127.0.0.1:$ends 2>/dev/null || true; done",
    )?;
    drbd_lab::until("both have given up", deadline(30), || {
        Ok(stands_alone(0)?.and(stands_alone(1)?))
    })
}

/// Every command of the session.
pub(super) fn standalone(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    let node = 0;
    c.sh(
        node,
        "mkdir -p /etc/beta && modprobe brd rd_nr=2 rd_size=16384 && ls -l /dev/ram0 /dev/ram1",
    )?;
    c.configure(
        node,
        &config("ra", 0, "after-sb-0pri discard-zero-changes;"),
    )?;
    let beta = config("rb", 1, "");
    c.lab
        .node(node)
        .put("/etc/beta/drbd.conf", beta.as_bytes(), 0o644)?;
    let mut wrong = String::new();
    for stock in recorded() {
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
            let output = c.run(node, &["sh", "-c", &script])?;
            last = (output.code, body(&output.text()));
            let same = last.0 == wanted && (!read || last.1 == text);
            Ok((same || !read).then_some(same))
        });
        if stock.command.ends_with(" up rb") {
            settled(&c, node)?;
        }
        if !same.unwrap_or(false) {
            let errors = c.sh(node, "cat /tmp/errors")?;
            wrong += &format!(
                "# {}: {} instead of {wanted}\n{}{errors}instead of\n{text}\n",
                stock.command, last.0, last.1
            );
        }
    }
    if !wrong.is_empty() {
        return Err(Error::new(wrong));
    }
    c.configure(node, &Config::default().text())?;
    c.finish()
}
