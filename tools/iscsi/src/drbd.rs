// SPDX-License-Identifier: GPL-2.0-only

//! What the exporter has to know of the mirror: which devices are replicated and how (drbd.conf), and how they are at
//! the moment (/proc/drbd, which our driver and the stock one write alike).

use drbd_config::model::{Config, Opt};
use drbd_config::Identity;

/// A replicated device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// Its resource.
    pub resource: String,
    /// Its minor number.
    pub minor: u32,
    /// Its device node.
    pub device: String,
    /// `A`, `B` or `C`.
    pub protocol: String,
    /// Both nodes may be primary at once.
    pub two_primaries: bool,
    /// A peer that is lost is fenced before I/O goes on.
    pub fenced: bool,
    /// This node, counted from 1 in the order of the `on` sections.
    pub node: u16,
    /// Addresses of the other nodes on the replication link.
    pub peers: Vec<String>,
    /// How long writes wait for a peer that has died, at most, in tenths of a second: `ping-int` and `ping-timeout`.
    pub detection_ds: u32,
}

/// What a mirror that is exported should not exceed: the recommended times, 3 s and 1 s.
pub const DETECTION_DS: u32 = 40;

/// Every replicated device that this node has.
pub fn replicated(config: &Config, me: &Identity) -> Vec<Replicated> {
    let mut devices = Vec::new();
    for resource in config.resources.iter().filter(|r| !r.is_stacked()) {
        let Some(own) = resource.host_of(me) else {
            continue;
        };
        let net = |name: &str| option(&resource.sections.net, name);
        let disk = |name: &str| option(&resource.sections.disk, name);
        let fencing = disk("fencing").or_else(|| net("fencing"));
        let peers = resource.hosts.iter().enumerate();
        let peers = peers.filter(|(index, _)| *index != own);
        let peers = peers.filter_map(|(_, host)| host.address.as_ref().map(|a| a.host()));
        let peers: Vec<String> = peers.collect();
        for volume in &resource.hosts[own].volumes {
            let Some(minor) = volume.minor else { continue };
            devices.push(Replicated {
                resource: resource.name.clone(),
                minor,
                device: volume.device_path(),
                protocol: net("protocol").unwrap_or_else(|| "C".to_owned()),
                two_primaries: net("allow-two-primaries").is_some_and(|value| value != "no"),
                // The weaker `resource-only` does not freeze I/O meanwhile.
                fenced: fencing.as_deref() == Some("resource-and-stonith"),
                node: u16::try_from(own + 1).unwrap_or(u16::MAX),
                peers: peers.clone(),
                detection_ds: detection(net("ping-int"), net("ping-timeout")),
            });
        }
    }
    devices
}

/// With DRBD's defaults of 10 s and 0.5 s.
fn detection(interval: Option<String>, timeout: Option<String>) -> u32 {
    let number = |text: Option<String>| text.and_then(|t| t.parse::<u32>().ok());
    let interval = number(interval).unwrap_or(10).saturating_mul(10);
    interval.saturating_add(number(timeout).unwrap_or(5))
}

fn option(options: &[Opt], name: &str) -> Option<String> {
    options
        .iter()
        .find(|opt| opt.name == name)
        .map(|opt| opt.value.clone())
}

/// The device that a path means; `Err` says what is wrong with a path that looks like one.
pub fn device_at<'r>(
    devices: &'r [Replicated],
    path: &str,
) -> Result<Option<&'r Replicated>, String> {
    let by_minor = |minor: u32| devices.iter().find(|d| d.minor == minor);
    let found = devices.iter().find(|d| d.device == path);
    if found.is_some() {
        return Ok(found);
    }
    let by_resource = path.strip_prefix("/dev/drbd/by-res/");
    let name = by_resource.and_then(|rest| rest.split('/').next());
    if let Some(device) = name.and_then(|name| devices.iter().find(|d| d.resource == name)) {
        return Ok(Some(device));
    }
    let minor = path.strip_prefix("/dev/drbd").and_then(|n| n.parse().ok());
    if let Some(device) = minor.and_then(by_minor) {
        return Ok(Some(device));
    }
    if path.starts_with("/dev/drbd") {
        return Err(format!("'{path}' is in no resource that this node has"));
    }
    Ok(None)
}

/// How a minor is at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minor {
    /// The connection: `Connected`, `WFConnection`, …
    pub connection: String,
    /// Our role.
    pub role: String,
    /// The peer's role.
    pub peer: String,
    /// Our disk.
    pub disk: String,
}

impl Minor {
    /// Finds a minor in the text of /proc/drbd.
    pub fn find(text: &str, number: u32) -> Option<Minor> {
        let line = text.lines().find(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&format!("{number}:"))
                && words.next().is_some_and(|w| w.starts_with("cs:"))
        })?;
        let word = |name: &str| line.split_whitespace().find_map(|w| w.strip_prefix(name));
        let (role, peer) = word("ro:")
            .and_then(|w| w.split_once('/'))
            .unwrap_or_default();
        let (disk, _) = word("ds:")
            .and_then(|w| w.split_once('/'))
            .unwrap_or_default();
        Some(Minor {
            connection: word("cs:")?.to_owned(),
            role: role.to_owned(),
            peer: peer.to_owned(),
            disk: disk.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minor_in_proc_drbd() {
        let text = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: X\n\n \
                    1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n    ns:0 nr:0\n \
                    2: cs:Unconfigured\n";
        let minor = Minor::find(text, 1).unwrap();
        assert_eq!(
            (&*minor.connection, &*minor.role, &*minor.peer, &*minor.disk),
            ("Connected", "Primary", "Secondary", "UpToDate")
        );
        assert_eq!(Minor::find(text, 2).unwrap().role, "");
        assert_eq!(Minor::find(text, 11), None);
    }

    #[test]
    fn how_long_a_dead_peer_is_waited_for() {
        let text = include_str!("../../../tests/golden/config/seed-drbd.conf");
        let me = Identity {
            node: "iSCSI1.au.intranet".into(),
            addresses: Vec::new(),
        };
        let of = |text: &str| {
            let loaded = drbd_config::from_text("seed", text);
            replicated(&loaded.config, &me)[0].detection_ds
        };
        assert_eq!(of(text), 105, "the defaults");
        let wish = "allow-two-primaries; ping-int 3; ping-timeout 10;";
        let tuned = text.replace("allow-two-primaries;", wish);
        assert_eq!(of(&tuned), DETECTION_DS);
    }

    #[test]
    fn a_device_by_each_of_its_names() {
        let text = include_str!("../../../tests/golden/config/seed-drbd.conf");
        let loaded = drbd_config::from_text("seed", text);
        let me = Identity {
            node: "iSCSI2.au.intranet".into(),
            addresses: Vec::new(),
        };
        let devices = replicated(&loaded.config, &me);
        assert_eq!(devices.len(), 1);
        assert_eq!((devices[0].node, devices[0].two_primaries), (2, true));
        assert_eq!((&*devices[0].protocol, devices[0].fenced), ("C", false));
        assert_eq!(devices[0].peers, ["10.254.11.11"]);
        for path in ["/dev/drbd1", "/dev/drbd/by-res/r0/0"] {
            assert_eq!(device_at(&devices, path).unwrap().unwrap().resource, "r0");
        }
        assert_eq!(device_at(&devices, "/dev/sdc"), Ok(None));
        assert!(device_at(&devices, "/dev/drbd7").is_err());
    }
}
