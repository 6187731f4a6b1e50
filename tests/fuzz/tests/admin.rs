// SPDX-License-Identifier: GPL-2.0-only

//! An administrator, or a program, that says anything: netlink attributes and configuration files.

use drbd_core::config::{
    conf::{DiskConf, NetConf, ResourceOpts},
    nlattr::Writer,
    schema::{Command, Header, Invalid, Request},
    CfgContext,
};
use drbd_fuzz::corpus::{template, Corpus};
use drbd_fuzz::{damage, rounds, Random};
use std::collections::BTreeSet;

#[test]
fn damaged_netlink_requests() {
    let mut buffer = [0; 4096];
    let mut writer = Writer::new(&mut buffer);
    NetConf::default()
        .emit_nest(&mut writer, drbd_core::config::Secrets::Show)
        .unwrap();
    DiskConf::default()
        .emit_nest(&mut writer, drbd_core::config::Secrets::Show)
        .unwrap();
    ResourceOpts::default()
        .emit_nest(&mut writer, drbd_core::config::Secrets::Show)
        .unwrap();
    let mut good = vec![writer.bytes().to_vec()];
    let corpus = Corpus::open("netlink");
    good.extend(
        corpus
            .inputs()
            .map(|input| input.get(1..).unwrap_or_default().to_vec()),
    );
    let mut random = Random::new(6);
    for _ in 0..rounds(10_000) {
        let which = random.below(2) * random.below(good.len());
        let mut bytes = good[which].clone();
        let start = random.below(4) * 4;
        bytes.drain(..start.min(bytes.len()));
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        let _ = Header::parse(&bytes);
        for command in Command::ALL {
            if let Ok(request) = Request::parse(*command, &bytes) {
                let _ = NetConf::parse(request.arguments());
                let _ = DiskConf::parse(request.arguments());
                let _ = ResourceOpts::parse(request.arguments());
            }
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What stock drbdsetup sent: a byte with the command, then the attributes.
fn requests() -> Vec<Vec<u8>> {
    let recorded = include_str!("../../golden/netlink/drbdsetup-8.4.11.txt");
    let request = |line: &str| {
        let line = line.strip_prefix("REQ")?;
        let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        (value("type=") == Some("0x24")).then_some(())?;
        let command: u8 = value("genl=")?.split('/').next()?.parse().ok()?;
        let body = hex(value("body=")?);
        Some([&[command], body.get(8..)?].concat())
    };
    recorded.lines().filter_map(request).collect()
}

/// What the stock driver answered, and what it told unasked, as packets.
fn replies() -> Vec<Vec<u8>> {
    let recorded = include_str!("../../golden/netlink/drbdsetup-8.4.11.txt");
    let reply = |line: &str| {
        let line = line.strip_prefix("REP")?;
        let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        let ty = u16::from_str_radix(value("type=")?.trim_start_matches("0x"), 16).ok()?;
        let command: u8 = value("genl=")?.split('/').next()?.parse().ok()?;
        Some(drbd_genl::encode(
            ty,
            0,
            1,
            command,
            1,
            &hex(value("body=")?),
        ))
    };
    recorded.lines().filter_map(reply).collect()
}

/// What drbdsetup reads: packets in a datagram, a message in a packet, nests in a message.
#[test]
fn damaged_netlink_replies() {
    let good = replies();
    assert!(good.len() >= 5, "{}", good.len());
    let mut random = Random::new(10);
    for _ in 0..rounds(10_000) {
        let mut bytes = good[random.below(good.len())].clone();
        if random.below(4) == 0 {
            bytes.extend(&good[random.below(good.len())]);
        }
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        for packet in drbd_genl::packets(&bytes) {
            let _ = (packet.error(), packet.is_done());
            let Some(message) = drbd_genl::Message::from_packet(&packet) else {
                continue;
            };
            let _ = (message.resource(), message.info(), message.context());
            let _ = message.get::<NetConf>();
            let _ = message.get::<DiskConf>();
            let _ = message.get::<ResourceOpts>();
            for nr in 0..32 {
                if let Some(nest) = message.nest(nr) {
                    nest.nested().for_each(drop);
                }
            }
        }
    }
}

/// The kind of an error, and the attribute that it is about.
fn named(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let kind = text.split('(').next().unwrap_or_default();
    let name = text
        .split("name: \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    format!("{kind} {}", name.unwrap_or_default())
}

/// What the kernel makes of a request's attributes.
fn read(input: &[u8]) -> BTreeSet<String> {
    let Some((command, attributes)) = input.split_first() else {
        return BTreeSet::new();
    };
    let Some(command) = Command::from_wire(*command) else {
        return BTreeSet::new();
    };
    let said = match Request::parse(command, attributes) {
        Ok(request) => {
            let bytes = request.arguments();
            let nest = command.op().nest.map_or(0, |nest| nest.nr);
            let refused = if nest == NetConf::NEST.nr {
                NetConf::parse(bytes).err().map(|error| named(&error))
            } else if nest == DiskConf::NEST.nr {
                DiskConf::parse(bytes).err().map(|error| named(&error))
            } else if nest == ResourceOpts::NEST.nr {
                ResourceOpts::parse(bytes).err().map(|error| named(&error))
            } else {
                None
            };
            let refused = refused.unwrap_or_else(|| "read".to_owned());
            format!("nest {nest}: {refused}")
        }
        Err(Invalid::Attribute { nest, nr }) => {
            let own = command.op().nest.filter(|own| own.nr == nest);
            let attr = own.unwrap_or(&CfgContext::NEST).attr(nr);
            format!(
                "nest {nest}: not {}",
                attr.map_or("known", |attr| attr.name)
            )
        }
        Err(Invalid::Nest { .. }) => format!("{:?}: not its nest", command.op().target),
        Err(Invalid::Malformed) => format!("{command:?}: malformed"),
    };
    BTreeSet::from([said])
}

#[test]
fn netlink_corpus() {
    let good = requests();
    assert!(good.len() >= 12, "{}", good.len());
    let draw = |random: &mut Random| {
        let mut bytes = good[random.below(good.len())].clone();
        // Numbers of attributes: small, and wherever a nest begins.
        for _ in 0..random.below(3) {
            let at = 1 + random.below(bytes.len() / 4) * 4 + 2;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.below(40) as u8;
            }
        }
        if random.below(4) == 0 {
            bytes[0] = random.below(64) as u8;
        }
        for _ in 0..random.below(3) {
            damage(&mut bytes, random);
        }
        bytes
    };
    Corpus::open("netlink").replay(100, draw, read);
}

/// Every configuration of the golden tests.
fn configurations() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/config");
    let mut paths: Vec<_> = [folder.to_owned(), format!("{folder}/cases")]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Pieces of the language, which damage by the byte would not find.
const PIECES: &[&str] = &[
    " { ",
    " } ",
    ";",
    "[",
    "]",
    ":",
    "\"",
    "#",
    "\u{a0}",
    "\u{2013}",
    " on ",
    " volume 1 { ",
    " address ",
    " connection { ",
    " connection-mesh { ",
    " path { ",
    " host alpha ",
    " node-id 1; ",
    " proxy { plugin { ",
    " stacked-on-top-of r0 { ",
    " floating [fe80::1%x]:1 { ",
    " template-file t; ",
    " disk none; ",
    " disk { ",
    " minor 4294967296 ",
    " syncer { rate ",
    " no-",
    " # why\n",
    " _this_host { ",
    " _remote_host { ",
];

/// One damaged configuration.
fn damaged(good: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = good[random.below(good.len())].clone();
    for _ in 0..=random.below(4) {
        if random.below(3) > 0 {
            damage(&mut bytes, random);
            continue;
        }
        let at = random.below(bytes.len());
        let end = (at + random.below(24)).min(bytes.len());
        let piece = if random.below(2) == 0 {
            PIECES[random.below(PIECES.len())].as_bytes().to_vec()
        } else {
            let other = &good[random.below(good.len())];
            let from = random.below(other.len());
            other[from..(from + random.below(80)).min(other.len())].to_vec()
        };
        bytes.splice(at..end, piece);
    }
    bytes
}

/// What is said about a configuration; or what is in it.
fn said(input: &[u8]) -> BTreeSet<String> {
    // What is quoted in a message could not be told from the message.
    if input.contains(&b'\'') {
        return BTreeSet::new();
    }
    let loaded = drbd_config::from_text("corpus.conf", &String::from_utf8_lossy(input));
    let mut all: BTreeSet<String> = BTreeSet::new();
    for found in &loaded.diagnostics {
        all.insert(template(&format!(
            "{:?}: {}",
            found.severity, found.message
        )));
    }
    if !loaded.is_broken() {
        let model = drbd_config::json::config(&loaded.config, |_| true)["resources"].to_string();
        // Names of members: quoted, and followed by a colon.
        let words: Vec<&str> = model.split('"').collect();
        for pair in words.windows(2) {
            if pair[1].starts_with(':')
                && !pair[1].starts_with(":[]")
                && !pair[1].starts_with(":null")
            {
                all.insert(format!("has {}", pair[0]));
            }
        }
    }
    all
}

#[test]
fn configuration_corpus() {
    let good = configurations();
    Corpus::open("config").replay(250, |random| damaged(&good, random), said);
}

/// A diagnosis for any bytes; and what is accepted means the same after it was printed and read again.
#[test]
fn damaged_configuration_files() {
    let mut good = configurations();
    assert!(good.len() > 60);
    good.extend(Corpus::open("config").inputs().map(<[u8]>::to_vec));
    let me = drbd_config::Identity {
        node: "alpha".into(),
        addresses: Vec::new(),
    };
    let mut random = Random::new(7);
    for _ in 0..rounds(3000) {
        let bytes = damaged(&good, &mut random);
        let text = String::from_utf8_lossy(&bytes);
        let loaded = drbd_config::from_text("damaged.conf", &text);
        // Whatever is wrong can be shown to the administrator.
        let _ = loaded.report();
        if loaded.is_broken() {
            continue;
        }
        let config = &loaded.config;
        let printed = config
            .resources
            .iter()
            .fold(drbd_config::dump::head(config), |text, resource| {
                text + &drbd_config::dump::resource(config, resource, &me, false)
            });
        let again = drbd_config::from_text("again.conf", &printed);
        assert!(!again.is_broken(), "{text}\n{printed}\n{}", again.report());
        let mean = |config| drbd_config::json::config(config, |_| true)["resources"].clone();
        assert_eq!(mean(&again.config), mean(config), "{text}\n{printed}");
        // So it does after it was written in the one way, which writing again does not change.
        let formatted = drbd_config::format::text(&text).unwrap();
        let again = drbd_config::from_text("again.conf", &formatted);
        assert!(
            !again.is_broken(),
            "{text}\n{formatted}\n{}",
            again.report()
        );
        assert_eq!(mean(&again.config), mean(config), "{text}\n{formatted}");
        let twice = drbd_config::format::text(&formatted);
        assert_eq!(twice.ok().as_ref(), Some(&formatted), "{text}");
    }
}
