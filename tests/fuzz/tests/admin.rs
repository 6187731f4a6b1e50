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

#[test]
fn damaged_configuration_files() {
    let good: [&str; 3] = [
        include_str!("../../golden/config/seed-drbd.conf"),
        include_str!("../../golden/config/legacy.conf"),
        include_str!("../../golden/config/dump-r0.conf"),
    ];
    let mut random = Random::new(7);
    for _ in 0..rounds(1500) {
        let mut bytes = good[random.below(good.len())].as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        let text = String::from_utf8_lossy(&bytes);
        let loaded = drbd_config::from_text("damaged.conf", &text);
        // Whatever is wrong can be shown to the administrator.
        let _ = loaded.report();
    }
}
