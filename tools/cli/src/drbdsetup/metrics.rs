// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup metrics`: OpenMetrics text, for a textfile collector or an exporter that runs a command. The names are
//! those of drbd-reactor's exporter, so that dashboards made for it work. Documentation/monitoring.md lists them.

use std::fmt::Write as _;

use super::kernel::{complain, Kernel};
use super::status::{pictures, reasons_of_resource, reasons_of_resync, Picture};
use crate::args::Parsed;
use crate::names::{connection, disk, replication, role};

/// What one family of metrics says.
struct Family {
    /// Without `_total`.
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
    /// Labels and value of each sample.
    samples: fn(&Picture) -> Vec<(String, u64)>,
}

const fn family(
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
    samples: fn(&Picture) -> Vec<(String, u64)>,
) -> Family {
    Family {
        name,
        kind,
        unit,
        help,
        samples,
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn label(key: &str, value: &str) -> String {
    format!("{key}=\"{}\"", escaped(value))
}

fn named(picture: &Picture) -> String {
    label("name", &picture.name)
}

type Device = (
    u32,
    u32,
    drbd_core::config::info::DeviceInfo,
    drbd_core::config::info::DeviceStatistics,
);
type PeerDevice = (
    u32,
    drbd_core::config::info::PeerDeviceInfo,
    drbd_core::config::info::PeerDeviceStatistics,
);

fn devices(picture: &Picture, value: fn(&Device) -> u64) -> Vec<(String, u64)> {
    let one = |device: &Device| {
        let labels = format!(
            "{},volume=\"{}\",minor=\"{}\"",
            named(picture),
            device.0,
            device.1
        );
        (labels, value(device))
    };
    picture.devices.iter().map(one).collect()
}

fn peers(picture: &Picture, value: fn(&PeerDevice) -> u64) -> Vec<(String, u64)> {
    let one = |peer: &PeerDevice| {
        let labels = format!(
            "{},conn_name=\"peer\",volume=\"{}\"",
            named(picture),
            peer.0
        );
        (labels, value(peer))
    };
    picture.peer_devices.iter().map(one).collect()
}

/// A sample for each state that there is, 1 for the one that it is in: so that a query for a state that nothing is
/// in finds 0, not nothing.
fn states(
    picture: &Picture,
    (key, more): (&str, &str),
    now: u32,
    name: fn(u32) -> &'static str,
) -> Vec<(String, u64)> {
    let mut names: Vec<&str> = Vec::new();
    for known in (0..32).map(name) {
        if !names.contains(&known) && (known == name(now) || known != "Unknown") {
            names.push(known);
        }
    }
    let sample = |known: &&str| {
        (
            format!("{}{more},{}", named(picture), label(key, known)),
            u64::from(*known == name(now)),
        )
    };
    names.iter().map(sample).collect()
}

static FAMILIES: &[Family] = &[
    family(
        "drbd_resource_role",
        "gauge",
        "",
        "Our role, as a label",
        |p| states(p, ("drbd_resource_role", ""), p.info.role, role),
    ),
    family(
        "drbd_resource_suspended",
        "gauge",
        "",
        "1 while I/O is suspended",
        |p| {
            vec![(
                named(p),
                u64::from(!reasons_of_resource(&p.info).is_empty()),
            )]
        },
    ),
    family(
        "drbd_device_state",
        "gauge",
        "",
        "State of our disk, as a label",
        |p| {
            let one = |(volume, minor, info, _): &Device| {
                let more = format!(",volume=\"{volume}\",minor=\"{minor}\"");
                states(p, ("drbd_device_state", &more), info.disk_state, disk)
            };
            p.devices.iter().flat_map(one).collect()
        },
    ),
    family(
        "drbd_device_size_bytes",
        "gauge",
        "bytes",
        "Size of the device",
        |p| devices(p, |d| d.3.size * 512),
    ),
    family(
        "drbd_device_read_bytes",
        "counter",
        "bytes",
        "Read from our disk",
        |p| devices(p, |d| d.3.read * 512),
    ),
    family(
        "drbd_device_written_bytes",
        "counter",
        "bytes",
        "Written to our disk",
        |p| devices(p, |d| d.3.write * 512),
    ),
    family(
        "drbd_device_alwrites",
        "counter",
        "",
        "Updates of the activity log",
        |p| devices(p, |d| d.3.al_writes),
    ),
    family(
        "drbd_device_bmwrites",
        "counter",
        "",
        "Updates of the bitmap",
        |p| devices(p, |d| d.3.bm_writes),
    ),
    family(
        "drbd_device_upperpending",
        "gauge",
        "",
        "Requests of applications under way",
        |p| devices(p, |d| d.3.upper_pending.into()),
    ),
    family(
        "drbd_device_lowerpending",
        "gauge",
        "",
        "Requests to our disk under way",
        |p| devices(p, |d| d.3.lower_pending.into()),
    ),
    family(
        "drbd_connection_state",
        "gauge",
        "",
        "State of the connection, as a label",
        |p| {
            let one = |(info, _): &(drbd_core::config::info::ConnectionInfo, _)| {
                states(
                    p,
                    ("drbd_connection_state", ",conn_name=\"peer\""),
                    info.connection_state,
                    connection,
                )
            };
            p.connection.iter().flat_map(one).collect()
        },
    ),
    family(
        "drbd_connection_congested",
        "gauge",
        "",
        "1 while the socket is full",
        |p| {
            let one = |(_, statistics): &(_, drbd_core::config::info::ConnectionStatistics)| {
                (
                    format!("{},conn_name=\"peer\"", named(p)),
                    u64::from(statistics.congested),
                )
            };
            p.connection.iter().map(one).collect()
        },
    ),
    family(
        "drbd_peerdevice_replication",
        "gauge",
        "",
        "State of the replication, as a label",
        |p| {
            let one = |(volume, info, _): &PeerDevice| {
                let more = format!(",conn_name=\"peer\",volume=\"{volume}\"");
                states(
                    p,
                    ("drbd_peerdevice_replication", &more),
                    info.repl_state,
                    replication,
                )
            };
            p.peer_devices.iter().flat_map(one).collect()
        },
    ),
    family(
        "drbd_peerdevice_resyncsuspended",
        "gauge",
        "",
        "1 while the resync is paused",
        |p| peers(p, |d| u64::from(!reasons_of_resync(&d.1).is_empty())),
    ),
    family(
        "drbd_peerdevice_outofsync_bytes",
        "gauge",
        "bytes",
        "What may differ from the peer",
        |p| peers(p, |d| d.2.out_of_sync * 512),
    ),
    family(
        "drbd_peerdevice_received_bytes",
        "counter",
        "bytes",
        "Received from the peer",
        |p| peers(p, |d| d.2.received * 512),
    ),
    family(
        "drbd_peerdevice_sent_bytes",
        "counter",
        "bytes",
        "Sent to the peer",
        |p| peers(p, |d| d.2.sent * 512),
    ),
    family(
        "drbd_peerdevice_pending",
        "gauge",
        "",
        "Requests that the peer has not answered",
        |p| peers(p, |d| d.2.pending.into()),
    ),
    family(
        "drbd_peerdevice_unacked",
        "gauge",
        "",
        "Requests of the peer not answered yet",
        |p| peers(p, |d| d.2.unacked.into()),
    ),
];

/// The whole text.
pub fn text(pictures: &[Picture]) -> String {
    let mut out = String::new();
    for family in FAMILIES {
        let name = family.name;
        let _ = writeln!(out, "# TYPE {name} {}", family.kind);
        if !family.unit.is_empty() {
            let _ = writeln!(out, "# UNIT {name} {}", family.unit);
        }
        let _ = writeln!(out, "# HELP {name} {}.", family.help);
        let suffix = if family.kind == "counter" {
            "_total"
        } else {
            ""
        };
        for (labels, value) in pictures.iter().flat_map(family.samples) {
            let _ = writeln!(out, "{name}{suffix}{{{labels}}} {value}");
        }
    }
    out + "# EOF\n"
}

/// `drbdsetup metrics`
pub fn run(_: &Parsed) -> i32 {
    // Monitoring does not load a driver that nobody uses.
    let mut kernel = match super::kernel::driver(false) {
        Ok(kernel) => kernel,
        Err(drbd_genl::Error::NoDriver) => {
            print!("{}", text(&[]));
            return 0;
        }
        Err(error) => return complain(error),
    };
    print(&mut kernel)
}

fn print(kernel: &mut Kernel) -> i32 {
    match pictures(kernel, None) {
        Ok(pictures) => {
            print!("{}", text(&pictures));
            0
        }
        Err(error) => complain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdsetup::status::example;

    #[test]
    fn a_resource_in_full() {
        assert_eq!(
            text(&[example()]),
            include_str!("../../../../tests/golden/status/syncing.metrics")
        );
    }

    /// What a strict parser asks for: types known, one block a family, counters end in `_total`, the end is marked.
    #[test]
    fn the_form_of_open_metrics() {
        let text = text(&[example(), example()]);
        assert!(text.ends_with("# EOF\n"));
        for block in text.trim_end_matches("# EOF\n").split("# TYPE ").skip(1) {
            let (head, rest) = block.split_once('\n').unwrap();
            let (name, kind) = head.split_once(' ').unwrap();
            assert!(matches!(kind, "gauge" | "counter"));
            let sample = if kind == "counter" {
                format!("{name}_total{{")
            } else {
                format!("{name}{{")
            };
            for line in rest.lines().filter(|line| !line.starts_with('#')) {
                assert!(line.starts_with(&sample), "{line}");
                assert!(line.rsplit_once("} ").unwrap().1.parse::<u64>().is_ok());
            }
            if let Some(unit) = rest.lines().find_map(|line| line.strip_prefix("# UNIT ")) {
                assert!(name.ends_with(unit.split_once(' ').unwrap().1));
            }
        }
        assert_eq!(label("a", "b\"c\\d\ne"), "a=\"b\\\"c\\\\d\\ne\"");
    }
}
