// SPDX-License-Identifier: GPL-2.0-only

//! The tables against what the stock tool and the stock driver really sent to each other.

use super::conf::{DiskConf, NetConf, ResourceOpts};
use super::info::*;
use super::nest::{Refusal, Secrets};
use super::nlattr::{Reader, Writer, MANDATORY, NESTED};
use super::parms::CfgContext;
use super::schema::{Command, Header, Invalid, Request, Target, NESTS};
use super::table::{Kind, Place};

const GOLDEN: &str = include_str!("../../../tests/golden/netlink/drbdsetup-8.4.11.txt");

struct Message {
    request: bool,
    command: u8,
    body: Vec<u8>,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn messages(ty: &str) -> Vec<Message> {
    let messages: Vec<_> = GOLDEN
        .lines()
        .filter(|line| line.contains(&format!("type={ty} ")))
        .map(|line| {
            let field = |name: &str| line.split(' ').find_map(|w| w.strip_prefix(name)).unwrap();
            Message {
                request: line.starts_with("REQ"),
                command: field("genl=").split('/').next().unwrap().parse().unwrap(),
                body: unhex(field("body=")),
            }
        })
        .collect();
    assert!(!messages.is_empty());
    messages
}

#[test]
fn every_request_of_the_stock_tool_follows_the_schema() {
    for message in messages("0x24").iter().filter(|m| m.request) {
        let (_, attributes) = Header::parse(&message.body).unwrap();
        let command = Command::from_wire(message.command).unwrap();
        Request::parse(command, attributes).unwrap_or_else(|e| panic!("{command:?}: {e:?}"));
    }
}

#[test]
fn what_the_stock_driver_sent_is_read_and_written_back_byte_for_byte() {
    let mut nests = 0;
    for message in messages("0x24").iter().filter(|m| !m.request) {
        let (_, attributes) = Header::parse(&message.body).unwrap();
        for nest in Reader::new(attributes) {
            let nest = nest.unwrap();
            let mut buffer = [0; 1024];
            let mut writer = Writer::new(&mut buffer);
            macro_rules! again {
                ($($ty:ident)+) => {
                    match nest.nr {
                        $( nr if nr == $ty::NEST.nr => $ty::parse(nest.payload)
                            .unwrap()
                            .emit(&mut writer, Secrets::Show)
                            .unwrap(), )+
                        other => panic!("nest {other}"),
                    }
                };
            }
            again!(CfgContext ResourceOpts NetConf StateInfo ResourceInfo DeviceInfo ConnectionInfo
                PeerDeviceInfo ResourceStatistics DeviceStatistics ConnectionStatistics
                PeerDeviceStatistics NotificationHeader);
            let mut sent: Vec<_> = Reader::new(nest.payload).map(Result::unwrap).collect();
            let ours: Vec<_> = Reader::new(writer.bytes()).map(Result::unwrap).collect();
            if nest.nr == CfgContext::NEST.nr {
                // Most replies echo the request's context verbatim, in the tool's order.
                sent.sort_by_key(|attribute| attribute.nr);
            }
            assert_eq!(
                sent, ours,
                "nest {} of command {}",
                nest.nr, message.command
            );
            nests += 1;
        }
    }
    assert!(nests > 20, "{nests}");
}

#[test]
fn the_command_table_is_the_stock_family() {
    let messages = messages("0x10");
    let family = messages.iter().find(|m| !m.request).unwrap();
    let operations = Reader::new(&family.body).find(6).unwrap();
    let stock: Vec<_> = operations
        .nested()
        .map(|op| {
            let op = op.unwrap();
            let number = |nr| Reader::new(op.payload).find(nr).unwrap().u32().unwrap();
            (number(1), number(2))
        })
        .collect();
    let ours: Vec<_> = Command::ALL
        .iter()
        .map(|command| command.op())
        .filter(|op| op.target != Target::Notification)
        .map(|op| {
            // GENL_ADMIN_PERM 1, GENL_CMD_CAP_DO 2, _DUMP 4, _HASPOL 8
            let flags = u32::from(op.admin) + u32::from(op.single) * 2 + u32::from(op.dump) * 4;
            (op.command as u32, flags + 8)
        })
        .collect();
    assert_eq!(stock, ours);
}

#[test]
fn strictness() {
    let context = [0x0c, 0, 2, 0x80, 7, 0, 2, 0x40, b'r', b'a', 0, 0];
    assert_eq!(
        Request::parse(Command::Down, &context)
            .unwrap()
            .context
            .resource_name
            .unwrap()
            .as_bytes(),
        b"ra"
    );
    let disk = [8, 0, 3, 0x80, 4, 0, 1, 0];
    assert_eq!(
        Request::parse(Command::Down, &disk),
        Err(Invalid::Nest { nr: 3 })
    );
    assert_eq!(
        Request::parse(Command::Attach, &disk),
        Err(Invalid::Attribute { nest: 3, nr: 1 })
    );
    let unknown = [8, 0, 5, 0x80, 4, 0, 35, 0x40];
    assert_eq!(
        Request::parse(Command::Connect, &unknown),
        Err(Invalid::Attribute { nest: 5, nr: 35 })
    );
    assert_eq!(
        Request::parse(Command::Down, &context[..11]),
        Err(Invalid::Malformed)
    );
}

#[test]
fn required_invariant_and_defaults() {
    assert!(matches!(DiskConf::parse(&[]), Err(Refusal::Missing(a)) if a.name == "backing-dev"));
    let mut net = NetConf::default();
    assert_eq!(
        (net.timeout, net.use_rle, net.wire_protocol.name()),
        (60, true, "C")
    );

    let mut buffer = [0; 64];
    let mut writer = Writer::new(&mut buffer);
    writer.put(8 | MANDATORY, &30u32.to_ne_bytes()).unwrap();
    net.ping_int = 3;
    net.change(writer.bytes(), false).unwrap();
    assert_eq!((net.timeout, net.ping_int), (30, 3));
    net.discard_my_data = true;
    net.change(&[], true).unwrap();
    assert_eq!(
        (net.timeout, net.ping_int, net.discard_my_data),
        (60, 10, true)
    );

    writer.put(25, &[1]).unwrap();
    let before = net;
    assert!(matches!(
        net.change(writer.bytes(), false),
        Err(Refusal::Invariant(_))
    ));
    assert_eq!(net, before);
    assert_eq!(net.change(&[3], false), Err(Refusal::Malformed));
    assert!(matches!(
        net.change(&[4, 0, 40, 0], false),
        Err(Refusal::Unknown { nr: 40 })
    ));
}

#[test]
fn a_secret_is_written_for_the_administrator_only() {
    let mut net = NetConf::default();
    net.change(&[8, 0, 1, 0, b'k', b'e', b'y', 0], false)
        .unwrap();
    let mut buffer = [0; 1024];
    let mut writer = Writer::new(&mut buffer);
    net.emit_nest(&mut writer, Secrets::Hide).unwrap();
    let nest = Reader::new(writer.bytes()).find(5).unwrap();
    assert!(nest.nested().find(1).is_none() && nest.nested().find(2).is_some());
    writer.truncate(0);
    net.emit_nest(&mut writer, Secrets::Show).unwrap();
    let nest = Reader::new(writer.bytes()).find(5).unwrap();
    assert_eq!(nest.nested().find(1).unwrap().string(), Some(&b"key"[..]));
    assert_eq!(u16::from_ne_bytes([buffer[2], buffer[3]]), 5 | NESTED);
}

#[test]
fn tables_are_sound() {
    for nest in NESTS {
        for (i, attr) in nest.attrs.iter().enumerate() {
            assert!((1..64).contains(&attr.nr), "{}", attr.name);
            let twice = nest.attrs[..i]
                .iter()
                .any(|a| a.nr == attr.nr || a.name == attr.name);
            assert!(!twice, "{} twice in nest {}", attr.name, nest.nr);
            if let Kind::Number {
                min, max, default, ..
            } = attr.kind
            {
                assert!((min..=max).contains(&default), "{}", attr.name);
            }
            // A default that is written in drbd.conf must be readable there.
            if let (Kind::Choice { names, default }, Place::Config) = (attr.kind, attr.place) {
                let word = names
                    .iter()
                    .find(|(_, number)| *number == default)
                    .unwrap()
                    .0;
                assert!(attr.parse(word).is_ok());
            }
        }
    }
}
