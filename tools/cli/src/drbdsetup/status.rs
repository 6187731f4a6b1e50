// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup status`: what there is, in the stock tool's layout.

use std::io::IsTerminal as _;

use drbd_core::config::info::{
    ConnectionInfo, ConnectionStatistics, DeviceInfo, DeviceStatistics, PeerDeviceInfo,
    PeerDeviceStatistics, ResourceInfo, ResourceStatistics,
};
use drbd_core::config::Command;
use drbd_genl::{Error, Message};

use super::kernel::{complain, Kernel};
use crate::args::Parsed;
use crate::names::{
    connection, disk, has_progress, replication, role, write_ordering, CONNECTED, UP_TO_DATE,
};

/// Everything that is known about one resource.
#[derive(Debug, Default)]
pub struct Picture {
    pub name: String,
    pub info: ResourceInfo,
    pub statistics: ResourceStatistics,
    /// Volume, minor, ...
    pub devices: Vec<(u32, u32, DeviceInfo, DeviceStatistics)>,
    pub connection: Option<(ConnectionInfo, ConnectionStatistics)>,
    /// Volume, ...
    pub peer_devices: Vec<(u32, PeerDeviceInfo, PeerDeviceStatistics)>,
}

impl Picture {
    /// Asks the kernel for one resource, given the message that lists it.
    fn take(kernel: &mut Kernel, message: &Message) -> Result<Self, Error> {
        let name = message.resource();
        let mut picture = Picture {
            info: message.get().unwrap_or_default(),
            statistics: message.get().unwrap_or_default(),
            ..Picture::default()
        };
        let volume = |message: &Message| message.context().volume.unwrap_or(0);
        for device in kernel.list(Command::GetDevices, Some(&name))? {
            if let Some(info) = device.get() {
                let statistics = device.get().unwrap_or_default();
                picture
                    .devices
                    .push((volume(&device), device.header.minor, info, statistics));
            }
        }
        for connection in kernel.list(Command::GetConnections, Some(&name))? {
            if let Some(info) = connection.get() {
                picture.connection = Some((info, connection.get().unwrap_or_default()));
            }
        }
        for peer in kernel.list(Command::GetPeerDevices, Some(&name))? {
            if let Some(info) = peer.get() {
                picture
                    .peer_devices
                    .push((volume(&peer), info, peer.get().unwrap_or_default()));
            }
        }
        picture.name = name;
        Ok(picture)
    }

    /// Sectors of a volume; 0 if it is not known.
    pub fn size_of(&self, volume: u32) -> u64 {
        let device = self.devices.iter().find(|(v, ..)| *v == volume);
        device.map_or(0, |device| device.3.size)
    }
}

/// How much is printed, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub verbose: bool,
    pub statistics: bool,
    pub color: bool,
}

/// A stretch of a line in one colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    /// The parameters of the terminal's SGR sequence; empty: as everything.
    pub paint: &'static str,
}

/// Lines that break before they get wider than a terminal.
struct Lines {
    done: Vec<Vec<Piece>>,
    line: Vec<Piece>,
    column: usize,
    indent: usize,
}

impl Lines {
    fn put(&mut self, text: impl Into<String>, paint: &'static str) {
        let text = text.into();
        if !text.is_empty() {
            self.line.push(Piece { text, paint });
        }
    }

    fn start(&mut self, indent: usize, continued: usize) {
        if self.column > 0 {
            self.done.push(std::mem::take(&mut self.line));
        }
        self.put(" ".repeat(indent), "");
        self.column = indent;
        self.indent = continued;
    }

    /// Appends `word`, with a space in front unless the line is fresh.
    fn word(&mut self, word: &str) {
        self.painted(word, "", "");
    }

    /// Appends `key` + `value`, the value in a colour.
    fn painted(&mut self, key: &str, value: &str, paint: &'static str) {
        let width = key.chars().count() + value.chars().count();
        let last = self.line.last();
        let fresh = last.is_none_or(|piece| piece.text.ends_with(' '));
        if !fresh && self.column + 1 + width >= 80 {
            let indent = self.indent;
            self.start(indent, indent);
        } else if !fresh {
            self.put(" ", "");
            self.column += 1;
        }
        self.put(key, "");
        self.put(value, paint);
        self.column += width;
    }
}

fn yes_no(value: bool) -> &'static str {
    if value {
        "yes"
    } else {
        "no"
    }
}

fn kib(sectors: u64) -> u64 {
    sectors / 2
}

/// One resource as text, an empty line behind it.
pub fn text(picture: &Picture, style: Style) -> String {
    let mut text = String::new();
    for line in lines(picture, style) {
        for Piece { text: part, paint } in line {
            if style.color && !paint.is_empty() {
                text += &format!("\x1b[{paint}m{part}\x1b[0m");
            } else {
                text += &part;
            }
        }
        text.push('\n');
    }
    text + "\n"
}

/// One resource, line by line.
pub fn lines(picture: &Picture, style: Style) -> Vec<Vec<Piece>> {
    let mut out = Lines {
        done: Vec::new(),
        line: Vec::new(),
        column: 0,
        indent: 4,
    };
    out.word(&picture.name);
    out.painted(
        "role:",
        role(picture.info.role),
        if picture.info.role == 1 { "1;36" } else { "" },
    );
    let suspended = suspended(&picture.info);
    if style.verbose || suspended != "no" {
        out.painted(
            "suspended:",
            &suspended,
            if suspended == "no" { "" } else { "1;31" },
        );
    }
    if style.statistics {
        out.start(4, 4);
        out.word(&format!(
            "write-ordering:{}",
            write_ordering(picture.statistics.write_ordering)
        ));
    }
    let single =
        picture.devices.len() <= 1 && picture.devices.iter().all(|(volume, ..)| *volume == 0);
    for (volume, minor, info, statistics) in &picture.devices {
        device(&mut out, style, single, *volume, *minor, info, statistics);
    }
    if let Some((info, statistics)) = &picture.connection {
        peer(&mut out, style, info, statistics);
        for (volume, info, statistics) in &picture.peer_devices {
            if style.verbose || info.repl_state >= CONNECTED {
                let size = picture.size_of(*volume);
                peer_device(&mut out, style, single, *volume, info, statistics, size);
            }
        }
    }
    out.done.push(out.line);
    out.done
}

fn chosen(reasons: [(bool, &'static str); 3]) -> Vec<&'static str> {
    let given = reasons.iter().filter(|(is, _)| *is);
    given.map(|(_, word)| *word).collect()
}

fn or_no(reasons: &[&str]) -> String {
    if reasons.is_empty() {
        "no".to_owned()
    } else {
        reasons.join(",")
    }
}

/// Why I/O is suspended.
pub fn reasons_of_resource(info: &ResourceInfo) -> Vec<&'static str> {
    chosen([
        (info.susp, "user"),
        (info.susp_nod, "no-data"),
        (info.susp_fen, "fencing"),
    ])
}

/// Why I/O is suspended, or `no`.
pub fn suspended(info: &ResourceInfo) -> String {
    or_no(&reasons_of_resource(info))
}

/// Who waits for I/O, or `no`.
pub fn blocked(statistics: &DeviceStatistics) -> &'static str {
    match (statistics.upper_blocked, statistics.lower_blocked) {
        (true, true) => "upper,lower",
        (true, false) => "upper",
        (false, true) => "lower",
        (false, false) => "no",
    }
}

fn device(
    out: &mut Lines,
    style: Style,
    single: bool,
    volume: u32,
    minor: u32,
    info: &DeviceInfo,
    statistics: &DeviceStatistics,
) {
    out.start(2, 6);
    if style.verbose || !single {
        out.word(&format!("volume:{volume}"));
    }
    if style.verbose {
        out.word(&format!("minor:{minor}"));
    }
    out.painted(
        "disk:",
        disk(info.disk_state),
        if info.disk_state == UP_TO_DATE {
            "1;32"
        } else {
            "1;31"
        },
    );
    if style.statistics {
        out.start(6, 6);
        out.word(&format!("size:{}", kib(statistics.size)));
        out.word(&format!("read:{}", kib(statistics.read)));
        out.word(&format!("written:{}", kib(statistics.write)));
        out.word(&format!("al-writes:{}", statistics.al_writes));
        out.word(&format!("bm-writes:{}", statistics.bm_writes));
        out.word(&format!("upper-pending:{}", statistics.upper_pending));
        out.word(&format!("lower-pending:{}", statistics.lower_pending));
        out.word(&format!("al-suspended:{}", yes_no(statistics.al_suspended)));
    }
    let blocked = blocked(statistics);
    if style.statistics || style.verbose || blocked != "no" {
        out.word(&format!("blocked:{blocked}"));
    }
}

fn peer(out: &mut Lines, style: Style, info: &ConnectionInfo, statistics: &ConnectionStatistics) {
    out.start(2, 6);
    out.word("peer");
    let up = connection(info.connection_state) == "Connected";
    if style.verbose || !up {
        out.painted(
            "connection:",
            connection(info.connection_state),
            if up { "" } else { "1;31" },
        );
    }
    if style.verbose || up {
        out.painted(
            "role:",
            role(info.role),
            if info.role == 1 { "36" } else { "" },
        );
    }
    if style.statistics || style.verbose || statistics.congested {
        out.word(&format!("congested:{}", yes_no(statistics.congested)));
    }
}

/// Why a resync waits.
pub fn reasons_of_resync(info: &PeerDeviceInfo) -> Vec<&'static str> {
    chosen([
        (info.susp_user != 0, "user"),
        (info.susp_peer != 0, "peer"),
        (info.susp_dependency != 0, "dependency"),
    ])
}

/// Why a resync waits, or `no`.
pub fn resync_suspended(info: &PeerDeviceInfo) -> String {
    or_no(&reasons_of_resync(info))
}

fn peer_device(
    out: &mut Lines,
    style: Style,
    single: bool,
    volume: u32,
    info: &PeerDeviceInfo,
    statistics: &PeerDeviceStatistics,
    size: u64,
) {
    out.start(4, 8);
    if style.verbose || !single {
        out.word(&format!("volume:{volume}"));
    }
    let paint = match replication(info.repl_state) {
        "SyncSource" => "31",
        "SyncTarget" | "PausedSyncT" => "1;31",
        _ => "",
    };
    out.painted("replication:", replication(info.repl_state), paint);
    let paint = match disk(info.disk_state) {
        "UpToDate" => "32",
        "DUnknown" => "",
        _ => "31",
    };
    out.painted("peer-disk:", disk(info.disk_state), paint);
    if has_progress(info.repl_state) {
        out.word(&format!(
            "done:{}",
            percent_done(statistics.out_of_sync, size)
        ));
    }
    let suspended = resync_suspended(info);
    if style.verbose || suspended != "no" {
        out.word(&format!("resync-suspended:{suspended}"));
    }
    if style.statistics {
        out.start(8, 8);
        out.word(&format!("received:{}", kib(statistics.received)));
        out.word(&format!("sent:{}", kib(statistics.sent)));
        out.word(&format!("out-of-sync:{}", kib(statistics.out_of_sync)));
        out.word(&format!("pending:{}", statistics.pending));
        out.word(&format!("unacked:{}", statistics.unacked));
    }
}

/// The share that is in sync, in per cent with two decimals, rounded; 100.00 only when nothing is left.
pub fn percent_done(out_of_sync: u64, size: u64) -> String {
    let in_sync = u128::from(size.saturating_sub(out_of_sync)) * 10_000 + u128::from(size / 2);
    let most = if out_of_sync == 0 { 10_000 } else { 9_999 };
    let hundredths = in_sync
        .checked_div(u128::from(size))
        .unwrap_or(most)
        .min(most);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// `drbdsetup status`
pub fn run(parsed: &Parsed) -> i32 {
    let color = match parsed.value("color") {
        Some("always") => true,
        Some("never") => false,
        Some("auto") | None => std::io::stdout().is_terminal(),
        Some(other) => {
            eprintln!("--color={other}: always, auto or never is expected");
            return super::EXIT_LOCAL;
        }
    };
    let verbose = parsed.has("verbose");
    let style = Style {
        verbose,
        statistics: parsed.has("statistics"),
        color,
    };
    let mut kernel = match Kernel::open(true) {
        Ok(kernel) => kernel,
        Err(exit) => return exit,
    };
    let wanted = parsed.operands.first().map(String::as_str);
    if parsed.has("watch") {
        return super::watch::run(&mut kernel, wanted, style);
    }
    match pictures(&mut kernel, wanted) {
        Ok(pictures) if pictures.is_empty() && !parsed.operands.is_empty() => {
            eprintln!("{}: No such resource", parsed.operands[0]);
            10
        }
        Ok(pictures) if parsed.has("json") => {
            print!("{}", super::json::text(&pictures));
            0
        }
        Ok(pictures) => {
            pictures
                .iter()
                .for_each(|picture| print!("{}", text(picture, style)));
            0
        }
        Err(error) => complain(error),
    }
}

/// Asks the kernel for all resources, or for one.
pub fn pictures(kernel: &mut Kernel, wanted: Option<&str>) -> Result<Vec<Picture>, Error> {
    let resources = kernel.list(Command::GetResources, None)?;
    resources
        .iter()
        .filter(|message| wanted.is_none_or(|wanted| wanted == message.resource()))
        .map(|message| Picture::take(kernel, message))
        .collect()
}

#[cfg(test)]
fn picture(conn: u32, repl: u32, disk: u32, peer_disk: u32) -> Picture {
    let statistics = DeviceStatistics {
        size: 2 * 16344,
        read: 2 * 3120,
        al_writes: 8,
        ..Default::default()
    };
    let peer = PeerDeviceStatistics {
        sent: 2 * 3120,
        out_of_sync: 2 * 13224,
        ..Default::default()
    };
    Picture {
        name: "ra".into(),
        info: ResourceInfo {
            role: 1,
            ..Default::default()
        },
        statistics: ResourceStatistics { write_ordering: 2 },
        devices: vec![(0, 0, DeviceInfo { disk_state: disk }, statistics)],
        connection: Some((
            ConnectionInfo {
                connection_state: conn,
                role: 2,
            },
            Default::default(),
        )),
        peer_devices: vec![(
            0,
            PeerDeviceInfo {
                repl_state: repl,
                disk_state: peer_disk,
                ..Default::default()
            },
            peer,
        )],
    }
}

/// The source of a resync.
#[cfg(test)]
pub fn example() -> Picture {
    picture(10, 16, 8, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_tools_layout_while_syncing() {
        let picture = picture(10, 16, 8, 4);
        assert_eq!(
            text(&picture, Style::default()),
            "ra role:Primary\n  disk:UpToDate\n  peer role:Secondary\n    replication:SyncSource peer-disk:Inconsistent done:19.09\n\n"
        );
        let style = Style {
            verbose: true,
            statistics: true,
            color: false,
        };
        assert_eq!(
            text(&picture, style),
            "ra role:Primary suspended:no\n    write-ordering:flush\n  volume:0 minor:0 disk:UpToDate\n      \
             size:16344 read:3120 written:0 al-writes:8 bm-writes:0 upper-pending:0\n      \
             lower-pending:0 al-suspended:no blocked:no\n  peer connection:Connected role:Secondary congested:no\n    \
             volume:0 replication:SyncSource peer-disk:Inconsistent done:19.09\n        resync-suspended:no\n        \
             received:0 sent:3120 out-of-sync:13224 pending:0 unacked:0\n\n"
        );
    }

    #[test]
    fn the_stock_tools_layout_while_alone() {
        let mut picture = picture(8, 0, 4, 6);
        picture.info = ResourceInfo {
            role: 2,
            susp: true,
            ..Default::default()
        };
        picture.devices[0].3.upper_blocked = true;
        assert_eq!(
            text(&picture, Style::default()),
            "ra role:Secondary suspended:user\n  disk:Inconsistent blocked:upper\n  peer connection:Connecting\n\n"
        );
        picture
            .devices
            .push((1, 1, DeviceInfo { disk_state: 8 }, Default::default()));
        assert!(text(&picture, Style::default()).contains("\n  volume:1 disk:UpToDate\n"));
    }

    #[test]
    fn colors_do_not_count_as_width() {
        let style = Style {
            color: true,
            ..Style::default()
        };
        let colored = text(&picture(10, 16, 8, 4), style);
        assert!(
            colored.contains("role:\x1b[1;36mPrimary\x1b[0m\n  disk:\x1b[1;32mUpToDate\x1b[0m\n")
        );
    }
}
