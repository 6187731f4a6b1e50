// SPDX-License-Identifier: GPL-2.0-only

//! What `adjust` does about each difference, with a kernel made up here.

use drbd_core::config::nest::Secrets;
use drbd_core::config::nlattr::Writer;
use drbd_core::config::schema::{Command, Header};
use drbd_core::config::text::Bytes;
use drbd_core::config::CfgContext;
use drbd_genl::Packet;

use super::*;
use crate::drbdadm::target::{select, Mode};

const HEAD: &str =
    "resource r0 { on a { address 10.0.0.1:7788; device minor 3; disk /dev/d; meta-disk internal; }
    on b { address 10.0.0.2:7788; device minor 3; disk /dev/d; meta-disk internal; }";

/// Connected, both disks up to date.
const CONNECTED: u32 = 2 | 2 << 2 | 10 << 4 | 8 << 9 | 8 << 13;

struct InForce {
    state: u32,
    disk: DiskConf,
    net: Option<NetConf>,
    options: ResourceOpts,
}

impl InForce {
    fn new() -> Self {
        let disk = DiskConf {
            backing_dev: "/dev/d".parse_text(),
            meta_dev: "/dev/d".parse_text(),
            meta_dev_idx: -3,
            ..DiskConf::default()
        };
        InForce {
            state: CONNECTED,
            disk,
            net: Some(NetConf::default()),
            options: ResourceOpts::default(),
        }
    }

    fn message(&self) -> Message {
        let end = |text: &str| Bytes::new(&sockaddr(text).unwrap()).ok();
        let context = CfgContext {
            volume: Some(0),
            resource_name: Some("r0".parse_text()),
            my_addr: end("ipv4:10.0.0.1:7788"),
            peer_addr: end("ipv4:10.0.0.2:7788"),
        };
        let state = StateInfo {
            current_state: self.state,
            ..StateInfo::default()
        };
        let mut bytes = [0; 4096];
        let mut writer = Writer::new(&mut bytes);
        let show = Secrets::Show;
        let written = context
            .emit_nest(&mut writer, show)
            .and_then(|()| self.options.emit_nest(&mut writer, show))
            .and_then(|()| self.disk.emit_nest(&mut writer, show))
            .and_then(|()| {
                self.net
                    .map_or(Ok(()), |net| net.emit_nest(&mut writer, show))
            })
            .and_then(|()| state.emit_nest(&mut writer, show));
        assert!(written.is_ok());
        let genl = [Command::GetStatus as u8, 1, 0, 0];
        let header = Header::request(3, 0).emit();
        let payload = [&genl[..], &header, writer.bytes()].concat();
        Message::from_packet(&Packet {
            ty: 0x24,
            seq: 1,
            payload,
        })
        .unwrap()
    }

    /// The steps for a file with `text` in the resource.
    fn plan(&self, text: &str) -> Vec<String> {
        let config = format!("{HEAD} {text} }}");
        let loaded = drbd_config::from_text("t.conf", &config);
        assert!(!loaded.is_broken(), "{}", loaded.report());
        let me = drbd_config::Identity {
            node: "a".to_owned(),
            addresses: Vec::new(),
        };
        let selected = select(&loaded.config, &me, "r0", None, Mode::Normal).unwrap();
        let steps = adjust(&selected[0], &vec![self.message()]).unwrap();
        steps.iter().map(Step::line).collect()
    }
}

trait ParseText {
    fn parse_text<const N: usize>(&self) -> drbd_core::config::text::Text<N>;
}

impl ParseText for str {
    fn parse_text<const N: usize>(&self) -> drbd_core::config::text::Text<N> {
        drbd_core::config::text::Text::new(self.as_bytes()).unwrap()
    }
}

#[test]
fn what_is_as_written_is_left_alone() {
    let mut kernel = InForce::new();
    assert_eq!(kernel.plan(""), [""; 0]);
    kernel.disk.resync_rate = 30 << 10;
    kernel.disk.disk_size = 2 << 20;
    kernel.net = Some(NetConf {
        ping_int: 5,
        ..NetConf::default()
    });
    let written = "disk { resync-rate 30M; size 1G; } net { ping-int 5; protocol c; }";
    assert_eq!(kernel.plan(written), [""; 0]);
}

#[test]
fn only_what_differs_is_told() {
    let mut kernel = InForce::new();
    kernel.disk.resync_rate = 30 << 10;
    kernel.disk.al_extents = 257;
    kernel.disk.disk_flushes = false;
    assert_eq!(
        kernel.plan("disk { resync-rate 30M; al-extents 1001; }"),
        ["drbdsetup disk-options 3 --al-extents=1001 --disk-flushes=yes"]
    );
    let net = NetConf {
        verify_alg: "crc32c".parse_text(),
        ..NetConf::default()
    };
    let kernel = InForce {
        net: Some(net),
        ..InForce::new()
    };
    assert_eq!(
        kernel.plan("net { protocol A; } options { on-no-data-accessible suspend-io; }"),
        [
            "drbdsetup resource-options r0 --on-no-data-accessible=suspend-io",
            "drbdsetup net-options ipv4:10.0.0.1:7788 ipv4:10.0.0.2:7788 --verify-alg= --protocol=A"
        ]
    );
}

#[test]
fn another_size_is_a_resize() {
    let mut kernel = InForce::new();
    assert_eq!(
        kernel.plan("disk { size 1G; }"),
        ["drbdsetup resize 3 --size=1G"]
    );
    kernel.disk.disk_size = 1 << 20;
    assert_eq!(
        kernel.plan("disk { size 1G; }"),
        ["drbdsetup resize 3 --size=1G"]
    );
    // Without the line all of the disk is meant.
    assert_eq!(kernel.plan(""), ["drbdsetup resize 3"]);
    // A disk that is not there takes its size when it comes.
    kernel.state = 2 | 10 << 4;
    assert_eq!(
        kernel.plan("disk { size 1G; }"),
        [
            "drbdmeta 3 v08 /dev/d internal apply-al",
            "drbdsetup attach 3 /dev/d /dev/d internal --size=1G"
        ]
    );
}

#[test]
fn a_connection_that_was_given_up_is_made_anew() {
    let mut kernel = InForce::new();
    kernel.state = 2 | 8 << 9;
    assert_eq!(
        kernel.plan("net { ping-int 5; }"),
        [
            "drbdsetup disconnect ipv4:10.0.0.1:7788 ipv4:10.0.0.2:7788",
            "drbdsetup connect r0 ipv4:10.0.0.1:7788 ipv4:10.0.0.2:7788 --ping-int=5"
        ]
    );
    kernel.net = None;
    assert_eq!(
        kernel.plan(""),
        ["drbdsetup connect r0 ipv4:10.0.0.1:7788 ipv4:10.0.0.2:7788"]
    );
}
