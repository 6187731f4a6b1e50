// SPDX-License-Identifier: GPL-2.0-only

//! An administrator, or a program, that says anything: netlink attributes and configuration files.

use drbd_core::config::{
    conf::{DiskConf, NetConf, ResourceOpts},
    nlattr::Writer,
    schema::{Command, Header, Request},
};
use drbd_fuzz::{damage, rounds, Random};

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
    let good = writer.bytes().to_vec();
    let mut random = Random::new(6);
    for _ in 0..rounds(10_000) {
        let mut bytes = good.clone();
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

/// A diagnosis for any bytes; and what is accepted means the same after it was printed and read again.
#[test]
fn damaged_configuration_files() {
    let good = configurations();
    assert!(good.len() > 60);
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
