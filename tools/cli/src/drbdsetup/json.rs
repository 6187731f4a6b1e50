// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup status --json`: the keys and units of DRBD 9's tool, so that programs written for it read this too.
//! What 8.4 has no notion of (quorum, clients) is left out, not invented. Documentation/monitoring.md has the schema.

use super::status::{
    blocked, percent_done, reasons_of_resource, reasons_of_resync, resync_suspended, Picture,
};
use crate::names::{connection, disk, has_progress, replication, role, write_ordering};

/// Text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// An object, one key a line. Values are JSON already.
pub fn object(indent: usize, pairs: &[(&str, String)]) -> String {
    let pad = " ".repeat(indent);
    if pairs.is_empty() {
        return format!("{pad}{{}}");
    }
    let lines: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{pad}  \"{key}\": {value}"))
        .collect();
    format!("{pad}{{\n{}\n{pad}}}", lines.join(",\n"))
}

/// A list, one item a line.
pub fn list(indent: usize, items: &[String]) -> String {
    if items.is_empty() {
        return "[]".to_owned();
    }
    format!("[\n{}\n{}]", items.join(",\n"), " ".repeat(indent))
}

fn words(reasons: &[&str]) -> String {
    let quoted: Vec<String> = reasons.iter().map(|reason| quoted(reason)).collect();
    format!("[{}]", quoted.join(", "))
}

/// All resources.
pub fn text(pictures: &[Picture]) -> String {
    let resources: Vec<String> = pictures.iter().map(resource).collect();
    list(0, &resources) + "\n"
}

fn resource(picture: &Picture) -> String {
    let devices: Vec<String> = picture
        .devices
        .iter()
        .map(|(volume, minor, info, statistics)| {
            object(
                4,
                &[
                    ("volume", volume.to_string()),
                    ("minor", minor.to_string()),
                    ("disk-state", quoted(disk(info.disk_state))),
                    ("size", (statistics.size / 2).to_string()),
                    ("read", (statistics.read / 2).to_string()),
                    ("written", (statistics.write / 2).to_string()),
                    ("al-writes", statistics.al_writes.to_string()),
                    ("bm-writes", statistics.bm_writes.to_string()),
                    ("upper-pending", statistics.upper_pending.to_string()),
                    ("lower-pending", statistics.lower_pending.to_string()),
                    ("al-suspended", statistics.al_suspended.to_string()),
                    ("blocked", quoted(blocked(statistics))),
                ],
            )
        })
        .collect();
    let reasons = reasons_of_resource(&picture.info);
    object(
        0,
        &[
            ("name", quoted(&picture.name)),
            ("role", quoted(role(picture.info.role))),
            ("suspended", (!reasons.is_empty()).to_string()),
            ("suspended-by", words(&reasons)),
            (
                "write-ordering",
                quoted(write_ordering(picture.statistics.write_ordering)),
            ),
            ("devices", list(2, &devices)),
            ("connections", list(2, &connections(picture))),
        ],
    )
}

fn connections(picture: &Picture) -> Vec<String> {
    let Some((info, statistics)) = &picture.connection else {
        return Vec::new();
    };
    let peers: Vec<String> = picture
        .peer_devices
        .iter()
        .map(|(volume, info, statistics)| {
            let size = picture.size_of(*volume);
            let synced = percent_done(statistics.out_of_sync, size);
            object(
                8,
                &[
                    ("volume", volume.to_string()),
                    ("replication-state", quoted(replication(info.repl_state))),
                    ("peer-disk-state", quoted(disk(info.disk_state))),
                    ("resync-suspended", quoted(&resync_suspended(info))),
                    ("resync-suspended-by", words(&reasons_of_resync(info))),
                    ("received", (statistics.received / 2).to_string()),
                    ("sent", (statistics.sent / 2).to_string()),
                    ("out-of-sync", (statistics.out_of_sync / 2).to_string()),
                    ("pending", statistics.pending.to_string()),
                    ("unacked", statistics.unacked.to_string()),
                    (
                        "has-sync-details",
                        has_progress(info.repl_state).to_string(),
                    ),
                    ("percent-in-sync", synced),
                ],
            )
        })
        .collect();
    vec![object(
        4,
        &[
            ("peer-node-id", "0".to_owned()),
            ("name", quoted("peer")),
            (
                "connection-state",
                quoted(connection(info.connection_state)),
            ),
            ("congested", statistics.congested.to_string()),
            ("peer-role", quoted(role(info.role))),
            ("peer_devices", list(6, &peers)),
        ],
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdsetup::status::example;

    #[test]
    fn a_resource_in_full() {
        let text = text(&[example()]);
        assert_eq!(
            text,
            include_str!("../../../../tests/golden/status/syncing.json")
        );
        assert_eq!(super::text(&[]), "[]\n");
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b\\c\n\u{e4}"), "\"a\\\"b\\\\c\\u000a\u{e4}\"");
    }
}
