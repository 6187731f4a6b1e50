// SPDX-License-Identifier: GPL-2.0-only

//! Whole drbd.conf files, and what the exporter makes of them.

use super::*;

const SEED: &str = include_str!("../../../../tests/golden/config/seed-drbd.conf");

fn of(text: &str, node: &str) -> Mirrors {
    let loaded = drbd_config::from_text("drbd.conf", text);
    assert!(!loaded.is_broken(), "{}", loaded.report());
    let me = match node.parse() {
        Ok(number) => Me::Numbered(number),
        Err(_) => Me::Named(Identity {
            node: node.to_owned(),
            addresses: vec!["192.0.2.2".parse().unwrap()],
        }),
    };
    mirrors(&loaded.config, &me)
}

fn seed(from: &str, to: &str) -> Replicated {
    of(&SEED.replace(from, to), "iSCSI1.au.intranet").devices[0].clone()
}

/// A resource of two nodes: what stands in the resource, and for each node.
fn two(resource: &str, host: &str) -> String {
    format!(
        "resource r1 {{ {resource}\n on alpha {{ address 192.0.2.1:7789; {host} }}\n \
         on beta {{ address 192.0.2.2:7789; {host} }} }}"
    )
}

const ONE_VOLUME: &str = "device /dev/drbd1; disk /dev/sdb; meta-disk internal;";
const TWO_VOLUMES: &str = "volume 0 { device /dev/drbd10; disk /dev/sdb; meta-disk internal; } \
                           volume 1 { device /dev/drbd11; disk /dev/sdc; meta-disk /dev/sdd; }";

#[test]
fn how_long_a_dead_peer_is_waited_for() {
    assert_eq!(seed("", "").detection_ds, 105, "the defaults");
    let wish = "allow-two-primaries; ping-int 3; ping-timeout 10;";
    assert_eq!(
        seed("allow-two-primaries;", wish).detection_ds,
        DETECTION_DS
    );
}

#[test]
fn a_device_by_each_of_its_names() {
    let mirrors = of(SEED, "iSCSI2.au.intranet");
    let device = &mirrors.devices[0];
    assert_eq!(mirrors.devices.len(), 1);
    assert_eq!((device.node, device.two_primaries), (2, true));
    assert_eq!(
        (&*device.protocol, device.fencing),
        ("C", Fencing::DontCare)
    );
    assert_eq!(device.peers, ["10.254.11.11"]);
    for path in [
        "/dev/drbd1",
        "/dev//drbd1",
        "/dev/./x/../drbd1",
        "/dev/drbd/by-res/r0",
        "/dev/drbd/by-res/r0/0",
        "/dev/drbd/by-disk/sdb",
    ] {
        let found = mirrors.by_name(path).unwrap();
        assert_eq!(found.map(|d| &*d.resource), Some("r0"), "{path}");
    }
    assert_eq!(mirrors.by_name("/dev/sdc"), Ok(None));
    assert!(mirrors.by_name("/dev/drbd7").is_err());
}

#[test]
fn each_volume_is_a_device_of_its_own() {
    let mirrors = of(&two("", TWO_VOLUMES), "beta");
    let minor = |path| mirrors.by_name(path).map(|found| found.unwrap().minor);
    assert_eq!(minor("/dev/drbd/by-res/r1/0"), Ok(10));
    assert_eq!(minor("/dev/drbd/by-res/r1/1"), Ok(11));
    let told = minor("/dev/drbd/by-res/r1/9").unwrap_err();
    assert!(
        told.contains("has no volume '9' here") && told.contains("r1/1"),
        "{told}"
    );
    let told = minor("/dev/drbd/by-res/r1").unwrap_err();
    assert!(told.contains("several volumes"), "{told}");
    assert!(minor("/dev/drbd/by-res/r9/0").is_err());
}

#[test]
fn options_are_those_that_drbdadm_connects_with() {
    let connection = "net { protocol A; ping-int 3; ping-timeout 10; } \
        connection { host alpha; host beta; net { protocol C; allow-two-primaries; ping-int 7; } \
        disk { fencing resource-and-stonith; } }";
    let device = &of(&two(connection, ONE_VOLUME), "alpha").devices[0];
    assert_eq!(device.protocol, "C");
    assert!(device.two_primaries);
    assert_eq!(device.detection_ds, 80);
    assert_eq!(device.fencing, Fencing::ResourceAndStonith);
    let moved = "net { fencing resource-only; }";
    let device = &of(&two(moved, ONE_VOLUME), "alpha").devices[0];
    assert_eq!(device.fencing, Fencing::ResourceOnly);
    let addressed =
        "connection { host alpha address 198.51.100.1:7789; host beta address 198.51.100.2:7789; }";
    let device = &of(&two(addressed, ONE_VOLUME), "alpha").devices[0];
    assert_eq!(device.peers, ["198.51.100.2"]);
}

#[test]
fn the_letter_of_a_protocol_may_be_small() {
    assert_eq!(seed("protocol C;", "protocol c;").protocol, "C");
    let alone = SEED
        .replace("allow-two-primaries;", "")
        .replace("become-primary-on both;", "");
    let b = of(
        &alone.replace("protocol C;", "protocol b;"),
        "iSCSI1.au.intranet",
    );
    assert_eq!(b.devices[0].protocol, "B");
}

#[test]
fn the_node_by_number_and_by_address() {
    let mirrors = of(SEED, "2");
    assert_eq!(mirrors.devices[0].node, 2);
    assert_eq!(mirrors.devices[0].peers, ["10.254.11.11"]);
    assert!(of(SEED, "3").devices.is_empty() && of(SEED, "0").devices.is_empty());
    let floating = two("", ONE_VOLUME)
        .replace(
            "on alpha { address 192.0.2.1:7789;",
            "floating 192.0.2.1:7789 {",
        )
        .replace(
            "on beta { address 192.0.2.2:7789;",
            "floating 192.0.2.2:7789 {",
        );
    let mirrors = of(&floating, "anything");
    assert_eq!(mirrors.devices[0].node, 2);
    assert_eq!(mirrors.devices[0].peers, ["192.0.2.1"]);
    assert_eq!(mirrors.hosts, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn disks_of_a_resource() {
    let mirrors = of(&two("", TWO_VOLUMES), "alpha");
    let lowers = mirrors.lowers.iter();
    let lowers: Vec<_> = lowers.map(|l| (&*l.path, l.what, &*l.device)).collect();
    assert_eq!(
        lowers,
        [
            ("/dev/sdb", "lower disk", "/dev/drbd10"),
            ("/dev/sdc", "lower disk", "/dev/drbd11"),
            ("/dev/sdd", "meta-disk", "/dev/drbd11"),
        ]
    );
}

#[test]
fn fencing_without_a_handler_is_said() {
    let fenced = |handlers: &str| {
        let text = format!("disk {{ fencing resource-and-stonith; }} {handlers}");
        of(&two(&text, ONE_VOLUME), "alpha").devices[0].unfit_fencing()
    };
    let (problem, advice) = fenced("").unwrap();
    assert!(
        problem.contains("without a handler fence-peer"),
        "{problem}"
    );
    assert!(advice.contains("drbdadm resume-io r1"), "{advice}");
    let (problem, _) = fenced("handlers { fence-peer \"/nonexistent/fence -x\"; }").unwrap();
    assert!(
        problem.ends_with("not there: /nonexistent/fence"),
        "{problem}"
    );
    for handler in ["/bin/sh -c true", "fence", "echo b > /proc/sysrq-trigger"] {
        let told = fenced(&format!("handlers {{ fence-peer \"{handler}\"; }}"));
        assert_eq!(told, None, "{handler}");
    }
    assert_eq!(seed("", "").unfit_fencing(), None);
}
