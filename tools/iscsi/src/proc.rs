// SPDX-License-Identifier: GPL-2.0-only

//! How the mirrors are at the moment: /proc/drbd, which our driver and the stock one write alike.

use std::fs;
use std::io::ErrorKind;

use drbd_say::os_error;

/// How a minor is at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minor {
    /// The connection: `Connected`, `WFConnection`, …
    pub connection: String,
    /// Our role.
    pub role: String,
    /// The peer's role.
    pub peer: String,
    /// Our disk.
    pub disk: String,
    /// The peer's disk.
    pub peer_disk: String,
    /// I/O is suspended.
    pub frozen: bool,
}

impl Minor {
    /// Finds a minor in the text of /proc/drbd.
    pub fn find(text: &str, number: u32) -> Option<Minor> {
        let line = text
            .lines()
            .find(|line| number_of(line) == Some(number.to_string().as_str()))?;
        let word = |name: &str| line.split_whitespace().find_map(|w| w.strip_prefix(name));
        let pair = |name: &str| {
            let (ours, peer) = word(name)
                .and_then(|w| w.split_once('/'))
                .unwrap_or_default();
            (ours.to_owned(), peer.to_owned())
        };
        let (role, peer) = pair("ro:");
        let (disk, peer_disk) = pair("ds:");
        // Behind the protocol: the first flag says whether I/O runs.
        let mut rest = line
            .split_whitespace()
            .skip_while(|w| !w.starts_with("ds:"));
        let frozen = rest.nth(2).is_some_and(|flags| flags.starts_with('s'));
        Some(Minor {
            connection: word("cs:")?.to_owned(),
            role,
            peer,
            disk,
            peer_disk,
            frozen,
        })
    }

    /// There is no connection to the peer.
    pub fn is_alone(&self) -> bool {
        self.peer != "Secondary" && self.peer != "Primary"
    }

    /// The peer is known not to have good data, so that it cannot serve: what fencing leads to.
    pub fn is_peer_fenced(&self) -> bool {
        matches!(self.peer_disk.as_str(), "Outdated" | "Inconsistent")
    }

    /// Reads give good data: those of our disk, or the peer's.
    pub fn has_good_data(&self) -> bool {
        self.disk == "UpToDate" || (!self.is_alone() && self.peer_disk == "UpToDate")
    }
}

/// `1` of ` 1: cs:Connected ...`.
fn number_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let number = words.next()?.strip_suffix(':')?;
    words.next()?.starts_with("cs:").then_some(number)
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// There is no driver.
    NoDriver,
    /// The driver does not have the device.
    NoDevice,
    /// It has.
    Is(Minor),
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(Option<String>);

impl State {
    /// Reads it. A missing file means that no driver is loaded; one that cannot be read must not be taken for that:
    /// what is exported would be taken down.
    pub fn read(path: &str) -> Result<State, String> {
        match fs::read(path) {
            Ok(bytes) => State::of(&String::from_utf8_lossy(&bytes))
                .ok_or_else(|| format!("{path} is not what a DRBD driver writes: look into it")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(State(None)),
            Err(error) => Err(format!("{path}: {}", os_error(&error))),
        }
    }

    /// From a text, if that is one.
    pub fn of(text: &str) -> Option<State> {
        let good = text.starts_with("version: ") || text.lines().any(|l| number_of(l).is_some());
        good.then(|| State(Some(text.to_owned())))
    }

    /// What it says about a device.
    pub fn known(&self, minor: u32) -> Known {
        let Some(text) = &self.0 else {
            return Known::NoDriver;
        };
        // Without a role it is there and not configured.
        let found = Minor::find(text, minor).filter(|found| !found.role.is_empty());
        found.map_or(Known::NoDevice, Known::Is)
    }

    /// The device, if the driver has it.
    pub fn minor(&self, minor: u32) -> Option<Minor> {
        match self.known(minor) {
            Known::Is(minor) => Some(minor),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: X\n\n \
                    1: cs:Connected ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n    ns:0 nr:0\n \
                    2: cs:Unconfigured\n \
                    3: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s-----\n";

    #[test]
    fn a_minor_in_proc_drbd() {
        let minor = Minor::find(TEXT, 1).unwrap();
        assert_eq!(
            (&*minor.connection, &*minor.role, &*minor.peer, &*minor.disk),
            ("Connected", "Primary", "Secondary", "UpToDate")
        );
        assert_eq!((&*minor.peer_disk, minor.frozen), ("Inconsistent", false));
        assert_eq!(Minor::find(TEXT, 2).unwrap().role, "");
        assert_eq!(Minor::find(TEXT, 11), None);
        assert!(Minor::find(TEXT, 3).unwrap().frozen);
    }

    #[test]
    fn no_driver_is_not_the_same_as_no_device_or_nonsense() {
        let state = State::of(TEXT).unwrap();
        assert_eq!(state.known(7), Known::NoDevice);
        assert_eq!(state.known(2), Known::NoDevice);
        assert!(matches!(state.known(1), Known::Is(_)));
        assert_eq!(
            State::of("version: 8.4.11\n").unwrap().known(1),
            Known::NoDevice
        );
        let missing = State::read("/nonexistent/drbd").unwrap();
        assert_eq!(missing.known(1), Known::NoDriver);
        for nonsense in ["", "garbage\n", "\0\0\0"] {
            assert_eq!(State::of(nonsense), None);
        }
    }

    #[test]
    fn good_data_are_here_or_at_a_connected_peer() {
        let good = |peer: &str, disk: &str, peer_disk: &str| {
            let minor = Minor {
                peer: peer.into(),
                disk: disk.into(),
                peer_disk: peer_disk.into(),
                ..Minor::default()
            };
            minor.has_good_data()
        };
        assert!(good("Unknown", "UpToDate", "DUnknown"));
        assert!(good("Secondary", "Diskless", "UpToDate"));
        assert!(good("Primary", "Inconsistent", "UpToDate"));
        assert!(!good("Unknown", "Diskless", "UpToDate"));
        assert!(!good("Unknown", "Outdated", "DUnknown"));
        assert!(!good("Secondary", "Inconsistent", "Inconsistent"));
    }
}
