// SPDX-License-Identifier: GPL-2.0-only

//! drbdadm against transcripts of the stock one in its 9 mode. There it drives another driver, by other commands: what is
//! compared is the exit code, what scripts read (names, devices, minors, disks, XML), what a dump means, and of the steps
//! of a command (`-d`) their order, options and addresses, as far as 8.4 has them.

mod stage;

use drbd_config::{from_text, json};
use stage::{golden, transcript, Recorded, Stage};
use std::collections::BTreeSet;
use std::fs;

/// Where the exit code differs on the same file, and why.
fn exit_differs(command: &str) -> Option<i32> {
    let mut words = command.split(' ');
    Some(match (words.next()?, words.next().unwrap_or_default()) {
        // More than one peer, and what is a command of its own for them, is of DRBD 9's driver only.
        ("create-md", "--max-peers=3") => 1,
        ("forget-peer" | "new-peer" | "new-path" | "peer-device-options" | "del-minor", _) => 1,
        // Options that 9 mode added; the stock tool refuses them in 8.4 mode, too.
        ("secondary", "--force") => 1,
        ("adjust", "--discard-my-data" | "--skip-net" | "--skip-disk") => 1,
        // No stacked resource.
        ("-S", _) => 1,
        // JSON came later, and asks about all.
        ("status", "--json") => 0,
        // Commands of 8.4 that 9 mode took away.
        ("sh-b-pri" | "sh-new-minor" | "sh-status", _) => 0,
        // Without options a stacked resource's lower one is the empty word.
        ("sh-lr-of", _) => 0,
        _ => return None,
    })
}

/// What 9 mode does in more or in fewer steps, and why.
fn steps_differ(command: &str) -> bool {
    [
        // The check of the size is part of the resize.
        "resize",
        "check-resize",
        // The kernel is asked, the timeouts of wait-connect are not for it.
        "wait-sync",
        // 8.4's driver changes what is named, and keeps the rest.
        "net-options",
        "disk-options",
    ]
    .iter()
    .any(|name| command.split(' ').any(|word| word == *name))
}

/// The steps of a dry run: programs with their verbs, and all that these are told.
#[derive(Debug, PartialEq, Eq, Default)]
struct Steps {
    verbs: Vec<String>,
    told: BTreeSet<String>,
}

impl Steps {
    /// Of several resources 9 mode does all that is first, then all that is second; it promotes a resource, not its volumes.
    fn order(&self) -> Vec<String> {
        let mut verbs = self.verbs.clone();
        if verbs
            .iter()
            .filter(|verb| *verb == "drbdsetup new-resource")
            .count()
            > 1
        {
            verbs.sort();
        }
        let per_volume = ["drbdsetup primary", "drbdsetup secondary"];
        verbs.dedup_by(|a, b| a == b && per_volume.contains(&a.as_str()));
        verbs
    }
}

fn steps(text: &str) -> Steps {
    let mut steps = Steps::default();
    for line in text.lines() {
        // Said without a line's end.
        let line = line.trim_start_matches("WARN: stdin/stdout is not a TTY; using /dev/console");
        let words: Vec<&str> = line.split(' ').collect();
        let verb = match words.as_slice() {
            ["drbdsetup", verb, ..] => verb.trim_end_matches("-resource"),
            ["drbdmeta", rest @ ..] => rest
                .iter()
                .find(|word| word.ends_with("-md") || VERBS.contains(word))
                .copied()
                .unwrap_or("?"),
            _ => continue,
        };
        // DRBD 9 makes a connection in three steps.
        if !["new-peer", "new-path", "peer-device-options"].contains(&verb) {
            steps.verbs.push(format!("{} {verb}", words[0]));
        }
        // The peer's name and number, and that the rest is set to defaults, are DRBD 9's words.
        let nine = ["--_name=", "--node-id=", "--set-defaults"];
        let told = |word: &&&str| {
            (word.starts_with("--") || word.starts_with("ipv"))
                && !nine.iter().any(|no| word.starts_with(no))
        };
        steps
            .told
            .extend(words.iter().filter(told).map(|word| (*word).to_owned()));
    }
    steps
}

/// Verbs of drbdmeta.
const VERBS: [&str; 8] = [
    "apply-al",
    "invalidate",
    "outdate",
    "dstate",
    "show-gi",
    "get-gi",
    "check-resize",
    "forget-peer",
];

fn play(stage: &Stage, config: &str, stock: &Recorded, dry: bool) -> (i32, String, String) {
    let mut words = vec!["drbdadm", "-c", config];
    if dry {
        words.push("-d");
    }
    words.extend(stock.command.split(' '));
    stage.run(&words)
}

/// What is wrong with what we say, if anything.
fn judge(
    stock: &Recorded,
    wanted: i32,
    config: &str,
    (exit, out, err): (i32, String, String),
) -> Option<String> {
    if exit != wanted {
        return Some(format!(
            "{exit} instead of {wanted}\n{out}{err}instead of\n{}",
            stock.text
        ));
    }
    if wanted != 0 || stock.exit != 0 {
        return (exit != 0 && err.is_empty()).then(|| "no word about it".to_owned());
    }
    let text = stock.text.replace("@CONFIG@", config);
    let command = stock.command.trim_start_matches("-d ");
    let first = command.split(' ').next().unwrap_or_default();
    let same = match first {
        "dump" => meaning(&text).is_none_or(|text| meaning(&out) == Some(text)),
        "sh-resources" | "sh-dev" | "sh-minor" | "sh-ll-dev" | "sh-md-dev" | "sh-md-idx"
        | "sh-ip" | "hidden-commands" => out == text,
        "dump-xml" => xml(&out, config) == xml(&text, config),
        _ => {
            let (ours, theirs) = (steps(&out), steps(&text));
            steps_differ(command)
                || ours.order() == theirs.order() && theirs.told.is_subset(&ours.told)
        }
    };
    (!same).then(|| format!("{out}instead of\n{text}"))
}

/// XML without the connections that 9 mode works out, without places, and options in any order.
fn xml(text: &str, config: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.replace(config, "").lines() {
        inside |= line.trim() == "<connection>";
        if !inside && !line.trim().is_empty() {
            lines.push(
                line.split(" conf-file-line=")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        inside &= line.trim() != "</connection>";
    }
    lines.sort();
    lines
}

/// What a dump says; the stock tool's of a stacked resource lacks the device, and it does not read it again either.
fn meaning(text: &str) -> Option<String> {
    let loaded = from_text("dump", text);
    let said = json::config(&loaded.config, |_| true)["resources"].to_string();
    // 9 mode numbers nodes that have no number.
    let mut parts = said.split("\"node-id\":");
    let mut same = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        same += part
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start_matches("null")
            .trim_start_matches(',');
    }
    (!loaded.is_broken()).then_some(same)
}

#[test]
fn dry_runs() {
    let stage = Stage::new("dry9");
    let config = stage.file("dry.conf");
    fs::write(&config, golden("config/dump-r0.conf")).unwrap();
    let recorded = transcript(&golden("commands/dry-run-9.txt"), "## drbdadm", "rc=");
    assert!(recorded.len() >= 90, "{}", recorded.len());
    let mut wrong = String::new();
    for stock in &recorded {
        let wanted = exit_differs(&stock.command).unwrap_or(stock.exit);
        if let Some(why) = judge(stock, wanted, &config, play(&stage, &config, stock, true)) {
            wrong += &format!("-- {}: {why}\n", stock.command);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Where a file of its own is taken differently, and why.
fn file_differs(file: &str, command: &str) -> Option<i32> {
    Some(match (file, command) {
        // The 8.2 and 8.3 words are read, whatever the driver; 9 mode has forgotten them.
        ("legacy", _) => 0,
        // `fencing` in `disk` is 8.4's place for it.
        ("fencing", _) => 0,
        // 8.4's driver takes both with these commands.
        ("options", "-d primary --overwrite-data-of-peer r0" | "-d connect --protocol=A r0") => 0,
        // This driver has one peer: with several, it has to be said which.
        ("cases/nine-connections" | "cases/nine-mesh-three", "-d up all") => 10,
        _ => return exit_differs(command),
    })
}

/// What is compared in its exit code only, and why.
fn text_differs(file: &str, command: &str) -> bool {
    matches!(
        (file, command),
        // 8.4 mode prints the names in one line, quoted; 9 mode one in a line.
        ("cases/proxy" | "cases/nine-connections", "sh-resources")
            // Options of single volumes, which it forgets.
            | ("cases/proxy" | "cases/volumes" | "cases/nine-connections", "dump-xml")
            // The section that `fencing` is in; a path's address, for which it prints `(null)`.
            | ("cases/nine-fencing" | "cases/nine-paths", "dump-xml")
            // There is no proxy: the peer is connected to directly.
            | ("cases/proxy", "-d up all")
            // Options and paths of DRBD 9's driver only; `fencing` goes to the disk. Each is warned about.
            | (
                "cases/nine-diskless" | "cases/nine-fencing" | "cases/nine-paths" | "cases/nine-quorum",
                "-d up all"
            )
    )
}

#[test]
fn files_good_and_broken() {
    let stage = Stage::new("files9");
    let (old, text) = (
        golden("commands/files-8.4.txt"),
        golden("commands/files-9.txt"),
    );
    let (mut wrong, mut played) = (String::new(), 0);
    for part in text.split("#### ").skip(1) {
        let (name, part) = part.split_once('\n').unwrap();
        // The configurations are those of 8.4 mode, or cases.
        let written = match name.strip_prefix("cases/") {
            Some(_) => golden(&format!("config/{name}.conf")),
            None => {
                let start = old.find(&format!("#### {name}\n")).unwrap();
                let body = old[start..].split_once('\n').unwrap().1;
                body[..body.find("\n## ").unwrap() + 1].to_owned()
            }
        };
        let config = stage.file(&format!("{}.conf", name.replace('/', "-")));
        fs::write(&config, written).unwrap();
        for stock in transcript(part, "## ", "rc=") {
            let wanted = file_differs(name, &stock.command).unwrap_or(stock.exit);
            played += 1;
            let said = play(&stage, &config, &stock, false);
            let stock = Recorded {
                // What is not compared is replaced by ours.
                text: if text_differs(name, &stock.command) {
                    said.1.clone()
                } else {
                    stock.text
                },
                ..stock
            };
            if let Some(why) = judge(&stock, wanted, &config, said) {
                wrong += &format!("-- {name}: {}: {why}\n", stock.command);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(played, 164);
}

#[test]
fn drbdmeta_of_the_ninth_version() {
    let stage = Stage::new("meta9");
    let device = stage.file("device");
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/metadata/v09.bin"
    );
    let mut bytes = fs::read(path).unwrap();
    bytes.resize(1 << 20, 0);
    fs::write(&device, &bytes).unwrap();
    let recorded = transcript(&golden("commands/drbdmeta-v09.txt"), "###", "### rc=");
    assert_eq!(recorded.len(), 10);
    let mut wrong = String::new();
    for stock in recorded {
        let command = stock.command.replace("/dev/loop0", &device);
        let (exit, out, _) = stage.run(&command.split(' ').collect::<Vec<_>>());
        // An option that the command has no use for is no reason to refuse.
        let unused = command.ends_with("--node-id=1 dstate");
        let wanted = if unused { 0 } else { stock.exit };
        // What programs read; `show-gi` is for people.
        let read = !unused && wanted == 0 && !command.ends_with("show-gi");
        if exit != wanted || read && out != stock.text {
            wrong += &format!(
                "{command}: {exit} instead of {wanted}\n{out}instead of\n{}\n",
                stock.text
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for refused in ["create-md 1", "--node-id=1 forget-peer", "wipe-md --force"] {
        let line = format!("drbdmeta 0 v09 {device} flex-external {refused}");
        let (exit, _, err) = stage.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(exit, 20, "{refused}");
        assert!(err.contains("metadata v09 is only read here"), "{err}");
    }
    // Its log is not applied.
    for (force, wanted) in [("-v", 1), ("--force", 0)] {
        let line = format!("drbdmeta {force} 0 v09 {device} flex-external dump-md");
        let (exit, out, _) = stage.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(exit, wanted, "{force}");
        assert_eq!(out.contains("bitmap[1] {\n}\n# bits-set 0;\n"), wanted == 0);
    }
    assert!(fs::read(&device).unwrap() == bytes, "v09 is never written");
}
