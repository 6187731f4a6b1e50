// SPDX-License-Identifier: GPL-2.0-only

//! The options of each section. `disk`, `net` and `options` are the kernel's tables; what only drbdadm reads is here.

use drbd_core::config::table::{choice, flag, number, text, Attr, Place, Unit, Wire};
use drbd_core::config::{DiskConf, Kind, NetConf, ResourceOpts};

use crate::model::{Opt, Sections};

/// A section that holds options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `options`
    Options,
    /// `net`
    Net,
    /// `disk`
    Disk,
    /// `startup`
    Startup,
    /// `handlers`
    Handlers,
    /// `syncer`, as DRBD 8.3 had it; what it says belongs to the first three.
    Syncer,
}

const fn timeout(name: &'static str) -> Attr {
    number(Wire::U32, name, (0, 300_000), 0, Unit::Seconds)
}

/// Who becomes primary at boot: names of hosts, or `both`.
pub const BECOME_PRIMARY_ON: &str = "become-primary-on";

/// Stacked resources wait as the others do.
pub const STACKED_TIMEOUTS: &str = "stacked-timeouts";

static STARTUP: [Attr; 6] = [
    timeout("wfc-timeout"),
    timeout("degr-wfc-timeout"),
    timeout("outdated-wfc-timeout"),
    flag("wait-after-sb", false),
    flag(STACKED_TIMEOUTS, false),
    text(BECOME_PRIMARY_ON, 1024),
];

const fn handler(name: &'static str) -> Attr {
    text(name, 1024)
}

/// What the driver of DRBD 9 knows and this one does not. It is read, so that a file can be shared with nodes that run
/// DRBD 9, and has no effect here, which is said.
static NINE_OPTIONS: [Attr; 12] = [
    flag("auto-promote", true),
    number(
        Wire::U32,
        "auto-promote-timeout",
        (0, 600),
        20,
        Unit::Tenths,
    ),
    number(
        Wire::U32,
        "peer-ack-window",
        (2048, 204_800),
        4096,
        Unit::Sectors,
    ),
    number(Wire::U32, "peer-ack-delay", (1, 10_000), 100, Unit::Count),
    number(Wire::U32, "twopc-timeout", (50, 600), 300, Unit::Tenths),
    number(Wire::U32, "twopc-retry-timeout", (1, 50), 1, Unit::Tenths),
    number(
        Wire::U32,
        "max-io-depth",
        (4, 0xffff_ffff),
        8000,
        Unit::Count,
    ),
    text("quorum", 16),
    choice("on-no-quorum", &[("io-error", 0), ("suspend-io", 1)], 1),
    text("quorum-minimum-redundancy", 16),
    choice(
        "on-suspended-primary-outdated",
        &[("disconnect", 0), ("force-secondary", 1)],
        0,
    ),
    flag("drbd8-compat-mode", false),
];

static NINE_NET: [Attr; 9] = [
    text("transport", 64),
    flag("load-balance-paths", false),
    flag("allow-remote-read", true),
    flag("tls", false),
    text("tls-keyring", 64),
    text("tls-privkey", 64),
    text("tls-certificate", 64),
    number(
        Wire::U32,
        "rdma-ctrl-rcvbuf-size",
        (0, 128 << 20),
        0,
        Unit::Bytes,
    ),
    number(
        Wire::U32,
        "rdma-ctrl-sndbuf-size",
        (0, 128 << 20),
        0,
        Unit::Bytes,
    ),
];

static NINE_DISK: [Attr; 5] = [
    flag("bitmap", true),
    flag("peer-tiebreaker", true),
    flag("resync-without-replication", true),
    number(
        Wire::U32,
        "discard-granularity",
        (0, 128 << 20),
        0,
        Unit::Bytes,
    ),
    number(Wire::U32, "block-size", (512, 4096), 512, Unit::Bytes),
];

/// Words that DRBD 9 added to choices of 8.4: option and word.
const NINE_CHOICES: &[(&str, &str)] = &[
    ("rr-conflict", "retry-connect"),
    ("rr-conflict", "auto-discard"),
];

/// Whether only DRBD 9's driver knows the option.
pub fn only_nine(attr: &Attr) -> bool {
    [&NINE_OPTIONS[..], &NINE_NET, &NINE_DISK]
        .iter()
        .any(|table| table.iter().any(|row| row.name == attr.name))
}

/// Whether only DRBD 9's driver knows that word of the option.
pub fn only_nine_choice(attr: &Attr, value: &str) -> bool {
    NINE_CHOICES.contains(&(attr.name, value))
}

static HANDLERS: [Attr; 14] = [
    handler("pri-on-incon-degr"),
    handler("pri-lost-after-sb"),
    handler("pri-lost"),
    handler("fence-peer"),
    handler("unfence-peer"),
    handler("local-io-error"),
    handler("initial-split-brain"),
    handler("split-brain"),
    handler("before-resync-source"),
    handler("before-resync-target"),
    handler("after-resync-target"),
    handler("out-of-sync"),
    handler("quorum-lost"),
    handler("disconnected"),
];

/// Statements of the section `global`.
pub static GLOBAL: [Attr; 8] = [
    text("usage-count", 8),
    number(Wire::U32, "minor-count", (1, 255), 32, Unit::Count),
    number(Wire::U32, "dialog-refresh", (0, 600), 1, Unit::Seconds),
    flag("disable-ip-verification", false),
    flag("udev-always-use-vnr", false),
    number(Wire::U32, "cmd-timeout-short", (0, 900), 5, Unit::Seconds),
    number(
        Wire::U32,
        "cmd-timeout-medium",
        (0, 900),
        121,
        Unit::Seconds,
    ),
    number(Wire::U32, "cmd-timeout-long", (0, 900), 600, Unit::Seconds),
];

/// Names that older versions used.
const ALIASES: &[(Section, &str, &str)] = &[
    (Section::Syncer, "rate", "resync-rate"),
    (Section::Syncer, "after", "resync-after"),
    (Section::Handlers, "outdate-peer", "fence-peer"),
];

impl Section {
    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Section::Options => "options",
            Section::Net => "net",
            Section::Disk => "disk",
            Section::Startup => "startup",
            Section::Handlers => "handlers",
            Section::Syncer => "syncer",
        }
    }

    /// From the name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        use Section::{Disk, Handlers, Net, Options, Startup, Syncer};
        [Options, Net, Disk, Startup, Handlers, Syncer]
            .into_iter()
            .find(|section| section.name() == name)
    }

    fn attrs(self) -> Box<dyn Iterator<Item = (Section, &'static Attr)>> {
        let of = |section, attrs: &'static [Attr]| {
            let writable = move |attr: &&Attr| {
                attr.place == Place::Config
                    || matches!(section, Section::Startup | Section::Handlers)
                    || only_nine(attr)
            };
            attrs
                .iter()
                .filter(writable)
                .map(move |attr| (section, attr))
        };
        match self {
            Section::Options => {
                Box::new(of(self, ResourceOpts::NEST.attrs).chain(of(self, &NINE_OPTIONS)))
            }
            // DRBD 9 moved the fencing policy to the connection; here it belongs to the disks.
            Section::Net => {
                let moved = |(_, attr): &(Section, &Attr)| attr.name == "fencing";
                Box::new(
                    of(self, NetConf::NEST.attrs)
                        .chain(of(self, &NINE_NET))
                        .chain(of(Section::Disk, DiskConf::NEST.attrs).filter(moved)),
                )
            }
            Section::Disk => Box::new(of(self, DiskConf::NEST.attrs).chain(of(self, &NINE_DISK))),
            Section::Startup => Box::new(of(self, &STARTUP)),
            Section::Handlers => Box::new(of(self, &HANDLERS)),
            Section::Syncer => Box::new(
                of(Section::Disk, DiskConf::NEST.attrs)
                    .chain(of(Section::Net, NetConf::NEST.attrs))
                    .chain(of(Section::Options, ResourceOpts::NEST.attrs)),
            ),
        }
    }

    /// The options that belong there.
    pub fn rows(self) -> impl Iterator<Item = &'static Attr> {
        let own =
            move |(section, attr): (Section, &'static Attr)| (section == self).then_some(attr);
        self.attrs().filter_map(own)
    }

    /// Finds an option: where it belongs, its row, and whether it was written with `no-`.
    pub fn find(self, name: &str) -> Option<(Section, &'static Attr, bool)> {
        let canonical = ALIASES
            .iter()
            .find(|(section, old, _)| *section == self && *old == name)
            .map_or(name, |(_, _, new)| new);
        let find = |name: &str| self.attrs().find(|(_, attr)| attr.name == name);
        if let Some((section, attr)) = find(canonical) {
            return Some((section, attr, false));
        }
        let (section, attr) = find(name.strip_prefix("no-")?)?;
        matches!(attr.kind, Kind::Bool { .. }).then_some((section, attr, true))
    }

    /// Everything that may be written there, for suggestions.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let aliases = ALIASES.iter().filter(move |(section, ..)| *section == self);
        self.attrs()
            .map(|(_, attr)| attr.name)
            .chain(aliases.map(|(_, old, _)| *old))
    }
}

impl Sections {
    /// The list of a section (never `Syncer`, whose options go elsewhere).
    pub fn list(&mut self, section: Section) -> &mut Vec<Opt> {
        match section {
            Section::Options => &mut self.options,
            Section::Net => &mut self.net,
            Section::Disk | Section::Syncer => &mut self.disk,
            Section::Startup => &mut self.startup,
            Section::Handlers => &mut self.handlers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_and_negations() {
        let (section, attr, no) = Section::Syncer.find("rate").unwrap();
        assert_eq!(
            (section, attr.name, no),
            (Section::Disk, "resync-rate", false)
        );
        let (section, attr, _) = Section::Syncer.find("verify-alg").unwrap();
        assert_eq!((section, attr.name), (Section::Net, "verify-alg"));
        let (_, attr, no) = Section::Disk.find("no-disk-flushes").unwrap();
        assert_eq!((attr.name, no), ("disk-flushes", true));
        assert!(Section::Disk.find("no-al-extents").is_none());
        assert!(Section::Disk.find("backing-dev").is_none());
        assert!(Section::Net.find("discard-my-data").is_none());
        assert!(Section::Disk.find("rate").is_none());
    }
}
