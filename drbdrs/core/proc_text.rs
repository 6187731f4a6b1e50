// SPDX-License-Identifier: GPL-2.0-only

//! The text of /proc/drbd, byte for byte as DRBD 8.4 prints it.
//!
//! Monitoring scripts, the OCF agent and the init script match this text with regular expressions, so it is an
//! interface. The functions here only format; `proc.rs` of the shell collects the numbers under its locks.

use core::fmt::{self, Write};

/// What the first line claims to be: drbd-utils choose their dialect by it.
pub const COMPATIBLE_VERSION: &str = "8.4.11";

/// Writes the two head lines.
///
/// `source_version` is the hexadecimal identity of the build; the stock module pads it to 24 columns.
pub fn head(out: &mut impl Write, protocols: (u32, u32), source_version: &str) -> fmt::Result {
    let (lowest, highest) = protocols;
    writeln!(
        out,
        "version: {COMPATIBLE_VERSION} (api:1/proto:{lowest}-{highest})"
    )?;
    writeln!(out, "srcversion: {source_version:<24}")
}

/// The counters of a device's second line. Sizes are in 512-byte sectors and printed in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent to the peer, in sectors.
    pub sent: u64,
    /// Received from the peer, in sectors.
    pub received: u64,
    /// Written to the local disk, in sectors.
    pub written: u64,
    /// Read from the local disk, in sectors.
    pub read: u64,
    /// Writes to the activity log.
    pub al_writes: u64,
    /// Writes to the bitmap area.
    pub bm_writes: u64,
    /// Requests in flight to the local disk.
    pub local: u32,
    /// Requests sent to the peer and not answered.
    pub pending: u32,
    /// Requests received from the peer and not answered.
    pub unacked: u32,
    /// Bios of the upper layers in flight.
    pub application: u32,
    /// Epochs open.
    pub epochs: u32,
}

/// One configured device.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Connection or replication state.
    pub connection: &'a str,
    /// Own role and the peer's.
    pub roles: (&'a str, &'a str),
    /// Own disk state and the peer's.
    pub disks: (&'a str, &'a str),
    /// `A`, `B` or `C`; none without a network configuration.
    pub protocol: Option<char>,
    /// I/O is suspended, for whatever reason.
    pub suspended: bool,
    /// Resync waits: for another device's, for the peer, for the administrator.
    pub paused: (bool, bool, bool),
    /// The activity log is not being written.
    pub al_suspended: bool,
    /// See [`Counters`].
    pub counters: Counters,
    /// How write order is ensured: `n`one, `d`rain, `f`lush.
    pub write_ordering: char,
    /// Out of sync, in KiB.
    pub out_of_sync_kib: u64,
}

fn flag(set: bool, letter: char) -> char {
    if set {
        letter
    } else {
        '-'
    }
}

impl Device<'_> {
    /// Writes the device's two lines.
    pub fn write(&self, out: &mut impl Write, minor: u32) -> fmt::Result {
        let (after, peer, user) = self.paused;
        writeln!(
            out,
            "{minor:2}: cs:{} ro:{}/{} ds:{}/{} {} {}{}{}{}-{}",
            self.connection,
            self.roles.0,
            self.roles.1,
            self.disks.0,
            self.disks.1,
            self.protocol.unwrap_or(' '),
            if self.suspended { 's' } else { 'r' },
            flag(after, 'a'),
            flag(peer, 'p'),
            flag(user, 'u'),
            flag(self.al_suspended, 's'),
        )?;
        let c = &self.counters;
        write!(
            out,
            "    ns:{} nr:{} dw:{} dr:{} al:{} bm:{} ",
            c.sent / 2,
            c.received / 2,
            c.written / 2,
            c.read / 2,
            c.al_writes,
            c.bm_writes
        )?;
        writeln!(
            out,
            "lo:{} pe:{} ua:{} ap:{} ep:{} wo:{} oos:{}",
            c.local,
            c.pending,
            c.unacked,
            c.application,
            c.epochs,
            self.write_ordering,
            self.out_of_sync_kib
        )
    }
}

/// Writes the line of a minor that has neither disk nor network.
pub fn unconfigured(out: &mut impl Write, minor: u32) -> fmt::Result {
    writeln!(out, "{minor:2}: cs:Unconfigured")
}

/// Progress of a resync or verify; amounts in bitmap bits of 4 KiB, times in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// A verify, not a resync.
    pub verify: bool,
    /// Bits to do when it started.
    pub total: u64,
    /// Bits to do now.
    pub left: u64,
    /// Bits that were left at the mark that the short average starts from.
    pub mark_left: u64,
    /// Age of that mark.
    pub mark_seconds: u64,
    /// Time since the start without the pauses.
    pub run_seconds: u64,
    /// The rate wanted in KiB/s, on the side that asks for data.
    pub want_kib: Option<u64>,
}

/// The peer made no progress for so long that we say so.
const STALLED_SECONDS: u64 = 180;
const KIB_PER_BIT: u64 = 4;

/// A number with a comma after each group of three digits, as far as 8.4 groups it.
struct Thousands(u64);

impl fmt::Display for Thousands {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millions, thousands, ones) = (self.0 / 1_000_000, self.0 / 1000 % 1000, self.0 % 1000);
        if millions > 0 {
            write!(out, "{millions},{thousands:03},{ones:03}")
        } else if thousands > 0 {
            write!(out, "{thousands},{ones:03}")
        } else {
            write!(out, "{ones}")
        }
    }
}

impl Progress {
    /// Done, in thousandths; coarse for small devices, as in 8.4.
    pub fn per_mille(&self) -> u64 {
        let shift = if self.total > u64::from(u32::MAX) {
            16
        } else {
            10
        };
        let left = self.left >> shift;
        let total = (self.total >> shift).saturating_add(1);
        1000u64.saturating_sub(left.saturating_mul(1000).checked_div(total).unwrap_or(0))
    }

    /// Writes the bar and the estimate.
    pub fn write(&self, out: &mut impl Write) -> fmt::Result {
        let done = self.per_mille();
        let filled = (done / 50).min(20);
        out.write_str("\t[")?;
        for _ in 1..filled {
            out.write_char('=')?;
        }
        out.write_char('>')?;
        for _ in filled..20 {
            out.write_char('.')?;
        }
        out.write_str(if self.verify {
            "] verified:"
        } else {
            "] sync'ed:"
        })?;
        write!(out, "{:3}.{}% ", done / 10, done % 10)?;
        let kib = |bits: u64| bits.saturating_mul(KIB_PER_BIT);
        if self.total > (4 << 18) {
            write!(out, "({}/{})M", kib(self.left >> 10), kib(self.total >> 10))?;
        } else {
            write!(out, "({}/{})K", kib(self.left), kib(self.total))?;
        }
        out.write_str("\n\t")?;
        self.estimate(out)
    }

    fn estimate(&self, out: &mut impl Write) -> fmt::Result {
        let stalled = self.mark_seconds > STALLED_SECONDS;
        let seconds = self.mark_seconds.max(1);
        let done = self.mark_left.saturating_sub(self.left);
        // The divisions are ordered to keep precision without overflow, and to survive "nothing was done".
        let rest = self
            .left
            .checked_div((done / 100).saturating_add(1))
            .unwrap_or(0);
        let finish = seconds.saturating_mul(rest) / 100;
        write!(
            out,
            "finish: {}:{:02}:{:02}",
            finish / 3600,
            finish % 3600 / 60,
            finish % 60
        )?;
        let speed = |bits: u64, seconds: u64| {
            Thousands(
                bits.checked_div(seconds.max(1))
                    .unwrap_or(0)
                    .saturating_mul(KIB_PER_BIT),
            )
        };
        write!(
            out,
            " speed: {} ({})",
            speed(done, seconds),
            speed(self.total.saturating_sub(self.left), self.run_seconds)
        )?;
        if let Some(want) = self.want_kib {
            write!(out, " want: {}", Thousands(want))?;
        }
        writeln!(out, " K/sec{}", if stalled { " (stalled)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn device() -> Device<'static> {
        Device {
            connection: "SyncSource",
            roles: ("Primary", "Secondary"),
            disks: ("UpToDate", "Inconsistent"),
            protocol: Some('C'),
            suspended: false,
            paused: (false, false, false),
            al_suspended: false,
            counters: Counters {
                sent: 5824,
                read: 5824,
                al_writes: 8,
                epochs: 1,
                ..Counters::default()
            },
            write_ordering: 'f',
            out_of_sync_kib: 13432,
        }
    }

    #[test]
    fn lines_of_a_sync_source_as_the_stock_module_prints_them() {
        let mut text = String::new();
        device().write(&mut text, 0).unwrap();
        let progress = Progress {
            verify: false,
            total: 4086,
            left: 3358,
            mark_left: 4086,
            mark_seconds: 3,
            run_seconds: 3,
            want_kib: None,
        };
        progress.write(&mut text).unwrap();
        assert_eq!(
            text,
            " 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n    \
             ns:2912 nr:0 dw:0 dr:2912 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:13432\n\
             \t[====>...............] sync'ed: 25.0% (13432/16344)K\n\
             \tfinish: 0:00:12 speed: 968 (968) K/sec\n"
        );
    }

    #[test]
    fn the_asking_side_tells_its_rate_and_groups_thousands() {
        let mut text = String::new();
        let progress = Progress {
            verify: true,
            total: 4086,
            left: 3358,
            mark_left: 4086,
            mark_seconds: 2,
            run_seconds: 2,
            want_kib: Some(1024),
        };
        progress.write(&mut text).unwrap();
        assert_eq!(
            text,
            "\t[====>...............] verified: 25.0% (13432/16344)K\n\
             \tfinish: 0:00:08 speed: 1,456 (1,456) want: 1,024 K/sec\n"
        );
    }

    #[test]
    fn flags_without_network_and_everything_paused() {
        let mut text = String::new();
        let device = Device {
            protocol: None,
            suspended: true,
            paused: (true, true, true),
            al_suspended: true,
            ..device()
        };
        device.write(&mut text, 12).unwrap();
        assert!(text.starts_with(
            "12: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent   sapu-s\n"
        ));
    }

    #[test]
    fn no_progress_for_long_is_called_stalled_and_large_devices_print_mib() {
        let mut text = String::new();
        let progress = Progress {
            verify: false,
            total: 1 << 30,
            left: 1 << 29,
            mark_left: 1 << 29,
            mark_seconds: 181,
            run_seconds: 1000,
            want_kib: None,
        };
        progress.write(&mut text).unwrap();
        assert!(
            text.contains("sync'ed: 50.1% (2097152/4194304)M\n"),
            "{text}"
        );
        assert!(text.ends_with("(2,147,480) K/sec (stalled)\n"), "{text}");
    }

    #[test]
    fn head_as_test_suites_read_it() {
        let mut text = String::new();
        head(&mut text, (100, 101), "B8171AFD2767BFC7E2C05FE").unwrap();
        assert_eq!(
            text,
            "version: 8.4.11 (api:1/proto:100-101)\nsrcversion: B8171AFD2767BFC7E2C05FE \n"
        );
    }
}
