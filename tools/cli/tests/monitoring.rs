// SPDX-License-Identifier: GPL-2.0-only

//! /proc/drbd as others read it: the text is written by the module's own code, the readers are written after what
//! Prometheus' node_exporter, the Nagios checks called check_drbd and the agent of Check_MK look for.

use std::collections::HashMap;

use drbd_core::proc_text::{head, unconfigured, Counters, Device, Progress};

/// Three minors: in sync, receiving a resync, not configured.
fn text() -> String {
    let mut out = String::new();
    head(&mut out, (100, 101), "0123456789ABCDEF01234567").unwrap();
    let counters = Counters {
        sent: 2 * 1024,
        received: 2 * 30,
        written: 2 * 31,
        read: 2 * 32,
        al_writes: 5,
        bm_writes: 6,
        local: 1,
        pending: 2,
        unacked: 3,
        application: 4,
        epochs: 1,
    };
    let device = Device {
        connection: "Connected",
        roles: ("Primary", "Secondary"),
        disks: ("UpToDate", "UpToDate"),
        protocol: Some('C'),
        suspended: false,
        paused: (false, false, false),
        al_suspended: false,
        counters,
        write_ordering: 'f',
        out_of_sync_kib: 0,
    };
    device.write(&mut out, 0).unwrap();
    let target = Device {
        connection: "SyncTarget",
        roles: ("Secondary", "Primary"),
        disks: ("Inconsistent", "UpToDate"),
        out_of_sync_kib: 12_704,
        ..device
    };
    target.write(&mut out, 1).unwrap();
    progress().write(&mut out).unwrap();
    unconfigured(&mut out, 12).unwrap();
    out
}

fn progress() -> Progress {
    Progress {
        verify: false,
        total: 4086,
        left: 3176,
        mark_left: 4086,
        mark_seconds: 3,
        run_seconds: 3,
        want_kib: Some(1024),
    }
}

/// node_exporter: words over the whole text; `N:` names a device, what has one colon is a pair, unknown pairs are
/// passed over.
#[test]
fn node_exporter() {
    const NUMBERS: &[&str] = &[
        "ns", "nr", "dw", "dr", "al", "bm", "lo", "pe", "ua", "ap", "ep", "oos",
    ];
    let mut device = String::new();
    let mut numbers: HashMap<(String, String), f64> = HashMap::new();
    let mut states: HashMap<(String, String), [String; 2]> = HashMap::new();
    let mut connected: HashMap<String, bool> = HashMap::new();
    let text = text();
    for word in text.split_whitespace() {
        let Some((key, value)) = word.split_once(':') else {
            continue;
        };
        if let (Ok(minor), "") = (key.parse::<u32>(), value) {
            device = format!("drbd{minor}");
        } else if NUMBERS.contains(&key) {
            numbers.insert((device.clone(), key.into()), value.parse().unwrap());
        } else if matches!(key, "ro" | "ds") {
            let (ours, peers) = value.split_once('/').unwrap();
            states.insert((device.clone(), key.into()), [ours.into(), peers.into()]);
        } else if key == "cs" {
            connected.insert(device.clone(), value == "Connected");
        }
    }
    let number = |device: &str, key: &str| numbers[&(device.to_owned(), key.to_owned())];
    assert_eq!(number("drbd0", "ns"), 1024.0);
    assert_eq!(number("drbd0", "oos"), 0.0);
    assert_eq!(number("drbd1", "oos"), 12_704.0);
    assert_eq!(numbers.len(), 2 * NUMBERS.len());
    assert_eq!(
        states[&("drbd1".into(), "ds".into())],
        ["Inconsistent", "UpToDate"]
    );
    assert!(connected["drbd0"]);
    assert!(!connected["drbd1"]);
    assert!(!connected["drbd12"]);
}

/// A line cut by the expression that such checks have: `^\s*(\d+):\scs:(\w+)\sro:(\w+)\/(\w+)\sds:(\w+)\/(\w+)\s`.
fn matched(line: &str) -> Option<[&str; 6]> {
    let (minor, rest) = line.trim_start().split_once(": cs:")?;
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if !minor.bytes().all(|b| b.is_ascii_digit()) || minor.is_empty() {
        return None;
    }
    let (connection, rest) = rest.split_once(" ro:")?;
    let (roles, rest) = rest.split_once(" ds:")?;
    let (disks, _) = rest.split_once(' ')?;
    let (ours, peers) = roles.split_once('/')?;
    let (disk, peer_disk) = disks.split_once('/')?;
    let all = [minor, connection, ours, peers, disk, peer_disk];
    all.iter().all(|text| is_word(text)).then_some(all)
}

#[test]
fn check_drbd() {
    let text = text();
    let found: Vec<[&str; 6]> = text.lines().filter_map(matched).collect();
    assert_eq!(
        found,
        [
            [
                "0",
                "Connected",
                "Primary",
                "Secondary",
                "UpToDate",
                "UpToDate"
            ],
            [
                "1",
                "SyncTarget",
                "Secondary",
                "Primary",
                "Inconsistent",
                "UpToDate"
            ],
        ]
    );
    // `/version: (\d+)\.(\d+)\.(\d+)/` on the first line, and `cs:Unconfigured` on that of a minor without anything.
    let version = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("version: ")
        .unwrap();
    assert!(
        version.starts_with("8.4.11 (api:1/proto:100-101)"),
        "{version}"
    );
    assert!(text.contains("\n12: cs:Unconfigured\n"), "{text}");
    // `/sync'ed:\s*([\d.]+)%/` below the minor that it is about, `/finish: (\S+) speed: ([\d,]+)/` below that.
    let at = text.find("sync'ed:").unwrap();
    assert!(at > text.find(" 1: cs:SyncTarget").unwrap());
    let percent = text[at..].strip_prefix("sync'ed:").unwrap().trim_start();
    let percent: f64 = percent.split('%').next().unwrap().parse().unwrap();
    assert!((20.0..30.0).contains(&percent), "{percent}");
    let rest = &text[text.find("finish: ").unwrap()..];
    let words: Vec<&str> = rest.split_whitespace().collect();
    assert_eq!(words[1].split(':').count(), 3, "{rest}");
    assert_eq!(words[2], "speed:");
    assert!(
        words[3].chars().all(|c| c.is_ascii_digit() || c == ','),
        "{rest}"
    );
}

/// Check_MK's agent sends the text as it is; its check takes the blocks apart by `N:` and wants the pairs in order.
#[test]
fn check_mk() {
    let text = text();
    let words: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let at = words
        .iter()
        .position(|line| line.first() == Some(&"0:"))
        .unwrap();
    let keys: Vec<&str> = words[at][1..4]
        .iter()
        .map(|word| word.split(':').next().unwrap())
        .collect();
    assert_eq!(keys, ["cs", "ro", "ds"]);
    let keys: Vec<&str> = words[at + 1]
        .iter()
        .map(|word| word.split(':').next().unwrap())
        .collect();
    let order = "ns nr dw dr al bm lo pe ua ap ep wo oos";
    assert_eq!(keys.join(" "), order);
}
