// SPDX-License-Identifier: GPL-2.0-only

//! What /proc/drbd says of a minor.

use std::collections::HashMap;

/// A minor, as /proc/drbd shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minor {
    /// The connection state: `Connected`, `SyncSource`, …
    pub connection: String,
    /// The roles, ours and the peer's: `Primary`, `Secondary`, `Unknown`.
    pub roles: (String, String),
    /// The disk states, ours and the peer's: `UpToDate`, `Inconsistent`, …
    pub disks: (String, String),
    /// `A`, `B` or `C`.
    pub protocol: String,
    /// Running or suspended and why, and the pauses of the resync: `r-----`, `s---F-`, …
    pub flags: String,
    /// The counters: `ns`, `nr`, …, `oos`.
    pub counters: HashMap<String, u64>,
}

impl Minor {
    /// Looks for a minor in the text of /proc/drbd.
    pub fn find(text: &str, minor: u32) -> Option<Minor> {
        let mut lines = text
            .lines()
            .skip_while(|line| !line.trim_start().starts_with(&format!("{minor}: ")));
        let mut found = Minor::default();
        let pair = |value: &str| {
            let (mine, peers) = value.split_once('/').unwrap_or((value, ""));
            (mine.to_owned(), peers.to_owned())
        };
        for word in lines.next()?.split_whitespace() {
            match word.split_once(':') {
                Some(("cs", value)) => found.connection = value.to_owned(),
                Some(("ro", value)) => found.roles = pair(value),
                Some(("ds", value)) => found.disks = pair(value),
                None if word.len() == 1 => found.protocol = word.to_owned(),
                None if word.len() == 6 => found.flags = word.to_owned(),
                _ => {}
            }
        }
        for word in lines.next().unwrap_or("").split_whitespace() {
            if let Some((name, value)) = word.split_once(':') {
                if let Ok(value) = value.parse() {
                    found.counters.insert(name.to_owned(), value);
                }
            }
        }
        Some(found)
    }

    /// A counter; 0 if it is not shown.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Connected, and both disks are up to date.
    pub fn mirrored(&self) -> bool {
        self.connection == "Connected" && self.disks.0 == "UpToDate" && self.disks.1 == "UpToDate"
    }

    /// I/O is suspended.
    pub fn frozen(&self) -> bool {
        self.flags.starts_with('s')
    }

    /// Nothing is on its way to a disk or to the peer.
    pub fn idle(&self) -> bool {
        ["lo", "pe", "ua", "ap"]
            .iter()
            .all(|name| self.counter(name) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNCING: &str =
        "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: B8171AFD2767BFC7E2C05FE \n\n \
        1: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n    \
        ns:6256 nr:0 dw:0 dr:6256 al:8 bm:0 lo:0 pe:3 ua:0 ap:0 ep:1 wo:f oos:124776\n\
        \t[>...................] sync'ed:  6.3% (124776/131032)K\n";

    #[test]
    fn a_minor_is_read() {
        let minor = Minor::find(SYNCING, 1).unwrap();
        assert_eq!(minor.connection, "SyncSource");
        assert_eq!(minor.roles, ("Primary".into(), "Secondary".into()));
        assert_eq!(minor.disks, ("UpToDate".into(), "Inconsistent".into()));
        assert_eq!(
            (minor.protocol.as_str(), minor.counter("oos")),
            ("C", 124_776)
        );
        assert!(minor.flags == "r-----" && !minor.frozen());
        assert!(!minor.mirrored() && !minor.idle());
        assert!(Minor::find(SYNCING, 0).is_none());
    }

    #[test]
    fn an_unconfigured_minor_has_no_more() {
        let minor = Minor::find("version: 8.4.11\n 0: cs:Unconfigured\n", 0).unwrap();
        assert_eq!(minor.connection, "Unconfigured");
        assert!(minor.idle());
    }
}
