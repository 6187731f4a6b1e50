// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup events2`: what exists, then every change, one line each.
//!
//! A `change` line carries only the keys whose value changed, so the last known line of every object is kept.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::{SystemTime, UNIX_EPOCH};

use drbd_core::config::info::{
    ConnectionInfo, ConnectionStatistics, DeviceInfo, DeviceStatistics, HelperInfo,
    NotificationHeader, NotificationType, PeerDeviceInfo, PeerDeviceStatistics, ResourceInfo,
    ResourceStatistics,
};
use drbd_core::config::schema::{Header, NO_MINOR};
use drbd_core::config::{Command, Nested};
use drbd_genl::{Error, Message};

use super::kernel::{complain, Kernel};
use super::status::{blocked, resync_suspended, suspended};
use crate::args::Parsed;
use crate::names::{connection, disk, replication, role, write_ordering};

type Pairs = Vec<(&'static str, String)>;

/// Turns notifications into lines.
#[derive(Default)]
struct Printer {
    statistics: bool,
    timestamps: bool,
    /// Only about this resource.
    only: Option<String>,
    known: HashMap<String, Pairs>,
}

/// What a notification is about: the word, the keys that name the object, what there is to tell.
struct Told {
    object: &'static str,
    key: Pairs,
    info: Pairs,
    statistics: Pairs,
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn told(message: &Message) -> Option<Told> {
    let context = message.context();
    let name = ("name", message.resource());
    // The connection of 8.4 has no name; drbdsetup gives it one while there is a connection.
    let named = context.my_addr.is_some();
    let mut peer = vec![("peer-node-id", "0".to_owned())];
    if named {
        peer.push(("conn-name", "peer".to_owned()));
    }
    let volume = ("volume", context.volume.unwrap_or(0).to_string());
    let minor = ("minor", message.header.minor.to_string());
    Some(match message.command? {
        Command::ResourceState => Told {
            object: "resource",
            key: vec![name],
            info: pairs(message, resource_info),
            statistics: pairs(message, resource_statistics),
        },
        Command::DeviceState => Told {
            object: "device",
            key: vec![name, volume, minor],
            info: pairs(message, device_info),
            statistics: pairs(message, device_statistics),
        },
        Command::ConnectionState => Told {
            object: "connection",
            key: [name].into_iter().chain(peer).collect(),
            info: pairs(message, connection_info),
            statistics: pairs(message, connection_statistics),
        },
        Command::PeerDeviceState => Told {
            object: "peer-device",
            key: [name].into_iter().chain(peer).chain([volume]).collect(),
            info: pairs(message, peer_device_info),
            statistics: pairs(message, peer_device_statistics),
        },
        Command::Helper => {
            let helper: HelperInfo = message.get()?;
            let mut key = vec![name];
            if named {
                key.extend(peer);
            }
            if context.volume.is_some() {
                key.extend([volume, minor]);
            }
            let mut info = vec![("helper", helper.name.to_string())];
            if notification(message) == Some(NotificationType::Response) {
                info.push(("status", helper.status.to_string()));
            }
            Told {
                object: "helper",
                key,
                info,
                statistics: Vec::new(),
            }
        }
        _ => return None,
    })
}

/// What a nest of the message tells, if it is there.
fn pairs<T: Nested>(message: &Message, tell: fn(T) -> Pairs) -> Pairs {
    message.get().map(tell).unwrap_or_default()
}

fn resource_statistics(s: ResourceStatistics) -> Pairs {
    vec![(
        "write-ordering",
        write_ordering(s.write_ordering).to_owned(),
    )]
}

fn device_info(info: DeviceInfo) -> Pairs {
    vec![("disk", disk(info.disk_state).to_owned())]
}

fn connection_statistics(s: ConnectionStatistics) -> Pairs {
    vec![("congested", yes_no(s.congested))]
}

fn resource_info(info: ResourceInfo) -> Pairs {
    vec![
        ("role", role(info.role).to_owned()),
        ("suspended", suspended(&info)),
    ]
}

fn connection_info(info: ConnectionInfo) -> Pairs {
    vec![
        ("connection", connection(info.connection_state).to_owned()),
        ("role", role(info.role).to_owned()),
    ]
}

fn peer_device_info(info: PeerDeviceInfo) -> Pairs {
    vec![
        ("replication", replication(info.repl_state).to_owned()),
        ("peer-disk", disk(info.disk_state).to_owned()),
        ("resync-suspended", resync_suspended(&info)),
    ]
}

fn device_statistics(s: DeviceStatistics) -> Pairs {
    vec![
        ("size", (s.size / 2).to_string()),
        ("read", (s.read / 2).to_string()),
        ("written", (s.write / 2).to_string()),
        ("al-writes", s.al_writes.to_string()),
        ("bm-writes", s.bm_writes.to_string()),
        ("upper-pending", s.upper_pending.to_string()),
        ("lower-pending", s.lower_pending.to_string()),
        ("al-suspended", yes_no(s.al_suspended)),
        ("blocked", blocked(&s).to_owned()),
    ]
}

fn peer_device_statistics(s: PeerDeviceStatistics) -> Pairs {
    vec![
        ("received", (s.received / 2).to_string()),
        ("sent", (s.sent / 2).to_string()),
        ("out-of-sync", (s.out_of_sync / 2).to_string()),
        ("pending", s.pending.to_string()),
        ("unacked", s.unacked.to_string()),
    ]
}

fn notification(message: &Message) -> Option<NotificationType> {
    NotificationType::from_wire(message.get::<NotificationHeader>()?.nh_type)
}

impl Printer {
    /// The line for a message; none if it is about another resource.
    fn line(&mut self, message: &Message, now: SystemTime) -> Option<String> {
        let stamp = if self.timestamps {
            timestamp(now) + " "
        } else {
            String::new()
        };
        if message.command == Some(Command::InitialStateDone) {
            return Some(format!("{stamp}exists -\n"));
        }
        if self
            .only
            .as_ref()
            .is_some_and(|only| *only != message.resource())
        {
            return None;
        }
        let what = notification(message)?;
        let told = told(message)?;
        let pairs = |pairs: &Pairs| {
            pairs
                .iter()
                .map(|(key, value)| format!(" {key}:{value}"))
                .collect::<String>()
        };
        let id = format!("{}{}", told.object, pairs(&told.key));
        let word = match what {
            NotificationType::Exists => "exists",
            NotificationType::Create => "create",
            NotificationType::Change => "change",
            NotificationType::Destroy => "destroy",
            NotificationType::Call => "call",
            NotificationType::Response => "response",
        };
        if what == NotificationType::Destroy {
            self.known.remove(&id);
            return Some(format!("{stamp}{word} {id}\n"));
        }
        let mut now_known = told.info;
        if self.statistics {
            now_known.extend(told.statistics);
        }
        if matches!(what, NotificationType::Call | NotificationType::Response) {
            return Some(format!("{stamp}{word} {id}{}\n", pairs(&now_known)));
        }
        let before = self.known.insert(id.clone(), now_known.clone());
        let mut shown = now_known;
        if what == NotificationType::Change {
            let before = before.unwrap_or_default();
            shown.retain(|pair| !before.contains(pair));
        }
        Some(format!("{stamp}{word} {id}{}\n", pairs(&shown)))
    }
}

impl Printer {
    /// The line for a message of a later look: only what differs from what was told, which no event told yet.
    fn news(&mut self, message: &Message, now: SystemTime) -> Option<String> {
        if message.command == Some(Command::InitialStateDone) {
            return self.line(message, now);
        }
        let told = told(message)?;
        let keys: String = told
            .key
            .iter()
            .map(|(key, value)| format!(" {key}:{value}"))
            .collect();
        let before = self.known.get(&format!("{}{keys}", told.object)).cloned();
        let line = self.line(message, now)?;
        let Some(before) = before else {
            return Some(line);
        };
        let mut pairs = told.info;
        if self.statistics {
            pairs.extend(told.statistics);
        }
        pairs.retain(|pair| !before.contains(pair));
        if pairs.is_empty() {
            return None;
        }
        let stamp = if self.timestamps {
            timestamp(now) + " "
        } else {
            String::new()
        };
        let changed: String = pairs
            .iter()
            .map(|(key, value)| format!(" {key}:{value}"))
            .collect();
        Some(format!("{stamp}change {}{keys}{changed}\n", told.object))
    }
}

/// `2026-11-22T10:17:39.073706+00:00`
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (date, clock) = crate::time::civil(since.as_secs());
    format!("{date}T{clock}.{:06}+00:00", since.subsec_micros())
}

/// Where lines go. An error ends the program: nobody reads any more.
type Print<'a> = dyn FnMut(&str) -> bool + 'a;

/// `drbdsetup events2`
pub fn run(parsed: &Parsed) -> i32 {
    let mut printer = Printer {
        statistics: parsed.has("statistics"),
        timestamps: parsed.has("timestamps"),
        only: parsed.operands.first().cloned(),
        known: HashMap::new(),
    };
    let mut kernel = match Kernel::open(true) {
        Ok(kernel) => kernel,
        Err(exit) => return exit,
    };
    let mut out = std::io::stdout();
    let mut print = |line: &str| {
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .is_ok()
    };
    match follow(&mut printer, &mut kernel, parsed, &mut print) {
        Ok(()) => 0,
        Err(error) => complain(error),
    }
}

/// What there is, then what happens, until nobody reads, or until the standard input says so.
fn follow(
    printer: &mut Printer,
    kernel: &mut Kernel,
    parsed: &Parsed,
    print: &mut Print<'_>,
) -> Result<(), Error> {
    let (now_only, polls) = (parsed.has("now"), parsed.has("poll"));
    // Listen first, ask then: no change in between is lost.
    if !now_only {
        kernel.0.subscribe()?;
    }
    for message in &initial(kernel)? {
        let line = printer.line(message, SystemTime::now());
        if !line.is_none_or(|line| print(&line)) {
            return Ok(());
        }
    }
    if now_only {
        return Ok(());
    }
    let stdin = std::io::stdin();
    loop {
        if polls && kernel.0.event_or(stdin.as_fd())? {
            match read_byte(&stdin) {
                Some(b'n') => {
                    for message in &initial(kernel)? {
                        let line = printer.news(message, SystemTime::now());
                        if !line.is_none_or(|line| print(&line)) {
                            return Ok(());
                        }
                    }
                }
                None | Some(b'q') => return Ok(()),
                Some(_) => {}
            }
            continue;
        }
        if let Some(message) = kernel.0.event(None)? {
            let line = printer.line(&message, SystemTime::now());
            if !line.is_none_or(|line| print(&line)) {
                return Ok(());
            }
        }
    }
}

fn initial(kernel: &mut Kernel) -> Result<Vec<Message>, Error> {
    let header = Header::request(NO_MINOR, 0);
    kernel.0.dump(Command::GetInitialState, header, |_| Ok(()))
}

/// The next byte, past any buffer: what is left in the pipe must keep `poll` awake.
fn read_byte(stdin: &std::io::Stdin) -> Option<u8> {
    let mut byte = [0];
    match rustix::io::read(stdin, &mut byte) {
        Ok(1) => Some(byte[0]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drbd_genl::Packet;

    /// The stock driver's answer to GET_INITIAL_STATE in the golden file.
    fn golden() -> Vec<Message> {
        let golden = include_str!("../../../../tests/golden/netlink/drbdsetup-8.4.11.txt");
        let lines = golden
            .lines()
            .skip_while(|line| !line.contains("events2 --now"))
            .skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("REP"))
            .map(|line| {
                let command = line
                    .split("genl=")
                    .nth(1)
                    .unwrap()
                    .split('/')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
                let hex = line.split("body=").nth(1).unwrap();
                let body = (0..hex.len() / 2)
                    .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
                let payload = [command, 1, 0, 0].into_iter().chain(body).collect();
                Message::from_packet(&Packet {
                    ty: 0x24,
                    seq: 1,
                    payload,
                })
                .unwrap()
            })
            .collect()
    }

    #[test]
    fn lines_of_the_stock_tool() {
        let mut printer = Printer::default();
        let text: String = golden()
            .iter()
            .filter_map(|m| printer.line(m, UNIX_EPOCH))
            .collect();
        assert_eq!(
            text,
            "exists resource name:ra role:Secondary suspended:no\n\
             exists connection name:ra peer-node-id:0 conn-name:peer connection:Connecting role:Unknown\n\
             exists device name:ra volume:0 minor:0 disk:Diskless\n\
             exists peer-device name:ra peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown resync-suspended:no\n\
             exists -\n"
        );
        let mut printer = Printer {
            timestamps: true,
            only: Some("other".into()),
            ..Printer::default()
        };
        let text: String = golden()
            .iter()
            .filter_map(|m| printer.line(m, UNIX_EPOCH))
            .collect();
        assert_eq!(text, "1970-01-01T00:00:00.000000+00:00 exists -\n");
    }

    #[test]
    fn a_later_look_tells_only_what_no_event_told() {
        let mut printer = Printer::default();
        for message in golden() {
            printer.line(&message, UNIX_EPOCH);
        }
        let news = |printer: &mut Printer| -> String {
            let lines = golden();
            lines
                .iter()
                .filter_map(|m| printer.news(m, UNIX_EPOCH))
                .collect()
        };
        assert_eq!(news(&mut printer), "exists -\n");
        for (key, pairs) in &mut printer.known {
            if key.starts_with("resource ") {
                pairs[0].1 = "Primary".into();
            }
        }
        assert_eq!(
            news(&mut printer),
            "change resource name:ra role:Secondary\nexists -\n"
        );
        printer.known.retain(|key, _| !key.starts_with("device "));
        assert_eq!(
            news(&mut printer),
            "exists device name:ra volume:0 minor:0 disk:Diskless\nexists -\n"
        );
    }

    #[test]
    fn a_change_tells_only_what_changed() {
        let mut printer = Printer::default();
        printer.known.insert(
            "resource name:ra".into(),
            vec![("role", "Primary".into()), ("suspended", "no".into())],
        );
        let mut message = golden();
        let resource = message.remove(0);
        let told = told(&resource).unwrap();
        assert_eq!(told.info[0].1, "Secondary");
        // The same message as `exists` replaces what is known and is told in full.
        assert!(printer
            .line(&resource, UNIX_EPOCH)
            .unwrap()
            .contains("suspended:no"));
        assert_eq!(printer.known["resource name:ra"][0].1, "Secondary");
    }
}
