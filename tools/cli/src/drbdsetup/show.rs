// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup show`: the kernel's configuration in the language of drbd.conf, in the stock tool's layout.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use drbd_core::config::nlattr::Attribute;
use drbd_core::config::table::Place;
use drbd_core::config::{Attr, DiskConf, Kind, Nest, NetConf, ResourceOpts, Value};
use drbd_genl::Message;

use super::configure::sockaddr_text;
use super::kernel::{complain, minor_operand, Kernel};
use super::{json, show_json};
use crate::args::Parsed;

/// The order in which the stock tool prints options; what is not listed follows in the table's order.
const ORDER: &[&str] = &[
    "protocol",
    "timeout",
    "max-epoch-size",
    "max-buffers",
    "unplug-watermark",
    "connect-int",
    "ping-int",
    "sndbuf-size",
    "rcvbuf-size",
    "ko-count",
    "allow-two-primaries",
    "cram-hmac-alg",
    "shared-secret",
    "after-sb-0pri",
    "after-sb-1pri",
    "after-sb-2pri",
    "always-asbp",
    "rr-conflict",
    "ping-timeout",
    "data-integrity-alg",
    "tcp-cork",
    "on-congestion",
    "congestion-fill",
    "congestion-extents",
    "csums-alg",
    "csums-after-crash-only",
    "verify-alg",
    "use-rle",
    "socket-check-timeout",
    "size",
    "max-bio-bvecs",
    "on-io-error",
    "fencing",
    "disk-barrier",
    "disk-flushes",
    "disk-drain",
    "md-flushes",
    "resync-rate",
    "resync-after",
    "al-extents",
    "al-updates",
    "discard-zeroes-if-aligned",
    "disable-write-same",
    "c-plan-ahead",
    "c-delay-target",
    "c-fill-target",
    "c-max-rate",
    "c-min-rate",
    "disk-timeout",
    "read-balancing",
    "rs-discard-granularity",
];

/// Numbers with a unit that the stock tool does not mention.
const UNITLESS: &[&str] = &["socket-check-timeout", "rs-discard-granularity"];

/// The attributes of a nest that drbd.conf knows, in printing order.
pub fn printed(nest: &Nest) -> Vec<&'static Attr> {
    let mut attrs: Vec<&Attr> = nest
        .attrs
        .iter()
        .filter(|attr| attr.place == Place::Config)
        .collect();
    attrs.sort_by_key(|attr| {
        ORDER
            .iter()
            .position(|name| *name == attr.name)
            .unwrap_or(usize::MAX)
    });
    attrs
}

/// A value as drbd.conf writes it.
pub fn value_text(attr: &Attr, value: &Value<'_>) -> String {
    match (*value, attr.kind) {
        (Value::Bool(value), _) => if value { "yes" } else { "no" }.to_owned(),
        (Value::Number(number), Kind::Number { unit, .. }) => format!("{number}{}", unit.suffix()),
        (Value::Number(number), _) => number.to_string(),
        (Value::Wide(number), _) => number.to_string(),
        (Value::Choice(number), Kind::Choice { names, .. }) => {
            let name = names.iter().find(|(_, n)| *n == number);
            name.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
        }
        (Value::Choice(number), _) => number.to_string(),
        (Value::Text(text), _) => {
            let text = String::from_utf8_lossy(text);
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
    }
}

fn options(out: &mut String, indent: usize, nest: &Nest, bytes: Attribute<'_>, defaults: bool) {
    for attr in printed(nest) {
        let found = bytes.nested().find(attr.nr);
        let Some(value) = found.as_ref().and_then(|found| attr.value(found)) else {
            continue;
        };
        let is_default = value == attr.default_value();
        if is_default && !defaults {
            continue;
        }
        let unit = match attr.kind {
            Kind::Number { unit, .. } if !UNITLESS.contains(&attr.name) => unit.comment(),
            _ => "",
        };
        let comment = match (unit, is_default) {
            ("", false) => String::new(),
            ("", true) => " # default".to_owned(),
            (unit, false) => format!(" # {unit}"),
            (unit, true) => format!(" # {unit}, default"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:indent$}{:<16}\t{};{comment}",
            "",
            attr.name,
            value_text(attr, &value)
        );
    }
}

/// One resource out of the messages about its minors.
pub fn resource(name: &str, messages: &[&Message], defaults: bool) -> String {
    let mut out = format!("resource {} {{\n", drbd_config::dump::quoted(name));
    let first = |nr| messages.iter().find_map(|message| message.nest(nr));
    out += "    options {\n";
    if let Some(nest) = first(ResourceOpts::NEST.nr) {
        options(&mut out, 8, &ResourceOpts::NEST, nest, defaults);
    }
    out += "    }\n";
    if let Some(nest) = first(NetConf::NEST.nr) {
        out += "    net {\n";
        options(&mut out, 8, &NetConf::NEST, nest, defaults);
        out += "    }\n";
    }
    let context = messages
        .first()
        .map(|message| message.context())
        .unwrap_or_default();
    let address = |bytes: &[u8]| {
        sockaddr_text(bytes)
            .map(|(family, host, port)| format!("        address\t\t\t{family} {host}:{port};\n"))
    };
    if let Some(line) = context
        .peer_addr
        .and_then(|bytes| address(bytes.as_bytes()))
    {
        out += &format!("    _remote_host {{\n{line}    }}\n");
    }
    out += "    _this_host {\n";
    out += &context
        .my_addr
        .and_then(|bytes| address(bytes.as_bytes()))
        .unwrap_or_default();
    for message in messages {
        if let Some(volume) = message.context().volume {
            volume_block(&mut out, volume, message, defaults);
        }
    }
    out += "    }\n}\n";
    out
}

fn volume_block(out: &mut String, volume: u32, message: &Message, defaults: bool) {
    *out += &format!(
        "        volume {volume} {{\n            device\t\t\tminor {};\n",
        message.header.minor
    );
    if let Some(conf) = message.get::<DiskConf>() {
        let index = match conf.meta_dev_idx {
            -3 | -1 => "internal".to_owned(),
            -2 => format!("\"{}\"", conf.meta_dev),
            index => format!("\"{}\" [ {index} ]", conf.meta_dev),
        };
        let keyword = if conf.meta_dev_idx == -2 {
            "flexible-meta-disk"
        } else {
            "meta-disk"
        };
        *out += &format!(
            "            disk\t\t\t\"{}\";\n            {keyword}\t\t\t{index};\n",
            conf.backing_dev
        );
    }
    if let Some(nest) = message.nest(DiskConf::NEST.nr) {
        *out += "            disk {\n";
        options(out, 16, &DiskConf::NEST, nest, defaults);
        *out += "            }\n";
    }
    *out += "        }\n";
}

/// `drbdsetup show`
pub fn run(parsed: &Parsed) -> i32 {
    let mut kernel = match Kernel::open(true) {
        Ok(kernel) => kernel,
        Err(exit) => return exit,
    };
    let all = match kernel.all() {
        Ok(all) => all,
        Err(error) => return complain(error),
    };
    let wanted = parsed.operands.first();
    let minor = wanted.and_then(|operand| minor_operand(operand));
    let mut resources: BTreeMap<String, Vec<&Message>> = BTreeMap::new();
    for message in &all {
        let name = message.resource();
        let matches = match (wanted, minor) {
            (None, _) => true,
            (Some(_), Some(minor)) => message.header.minor == minor,
            (Some(wanted), None) => *wanted == name,
        };
        if matches {
            resources.entry(name).or_default().push(message);
        }
    }
    if let (true, Some(wanted)) = (resources.is_empty(), wanted) {
        eprintln!("{wanted}: No such resource");
        return 10;
    }
    if parsed.has("json") {
        let listed = resources.iter().map(|(name, messages)| {
            show_json::resource(name, messages, parsed.has("show-defaults"))
        });
        print!("{}", json::list(0, &listed.collect::<Vec<_>>()) + "\n");
        return 0;
    }
    let texts: Vec<String> = resources
        .iter()
        .map(|(name, messages)| resource(name, messages, parsed.has("show-defaults")))
        .collect();
    print!("{}", texts.join("\n"));
    0
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use drbd_genl::Packet;

    /// The stock driver's answer to GET_STATUS in the golden file.
    pub fn golden_status() -> Message {
        let golden = include_str!("../../../../tests/golden/netlink/drbdsetup-8.4.11.txt");
        let line = golden
            .lines()
            .find(|line| line.starts_with("REP len=500"))
            .unwrap();
        let hex = line.split("body=").nth(1).unwrap();
        let body =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
        let payload = [2, 1, 0, 0].into_iter().chain(body).collect();
        Message::from_packet(&Packet {
            ty: 0x24,
            seq: 1,
            payload,
        })
        .unwrap()
    }

    /// What drbdsetup prints drbdadm reads, and prints again as it was understood.
    #[test]
    fn what_is_shown_is_read_again() {
        let message = golden_status();
        for defaults in [false, true] {
            let text = resource("ra", &[&message], defaults);
            let loaded = drbd_config::from_text("shown", &text);
            assert!(!loaded.is_broken(), "{}", loaded.report());
            let resource = &loaded.config.resources[0];
            let me = resource.host_of(&drbd_config::Identity::default()).unwrap();
            assert_eq!(resource.hosts[me].volumes[0].minor, Some(0));
            let peer = &resource.peers(me)[0];
            let ends = resource.ends(me, peer).unwrap().map(|end| end.operand());
            assert_eq!(ends, ["ipv4:127.0.0.1:7788", "ipv4:127.0.0.1:7789"]);
            let dumped =
                drbd_config::dump::resource(&loaded.config, resource, &Default::default(), false);
            let again = drbd_config::from_text("dumped", &dumped);
            assert!(!again.is_broken(), "{dumped}\n{}", again.report());
        }
    }

    #[test]
    fn layout_of_the_stock_tool() {
        let message = golden_status();
        assert_eq!(
            resource("ra", &[&message], false),
            "resource ra {\n    options {\n    }\n    net {\n    }\n    _remote_host {\n        \
             address\t\t\tipv4 127.0.0.1:7789;\n    }\n    _this_host {\n        \
             address\t\t\tipv4 127.0.0.1:7788;\n        volume 0 {\n            device\t\t\tminor 0;\n        }\n    }\n}\n"
        );
        let all = resource("ra", &[&message], true);
        // A few lines of tests/golden's transcript of `show --show-defaults`, tabs included, and their order.
        let mut rest = all.as_str();
        for line in [
            "        cpu-mask        \t\"\"; # default\n        on-no-data-accessible\tio-error; # default\n",
            "        protocol        \tC; # default\n        timeout         \t60; # 1/10 seconds, default\n",
            "        connect-int     \t10; # seconds, default\n",
            "        sndbuf-size     \t0; # bytes, default\n",
            "        allow-two-primaries\tno; # default\n",
            "        congestion-fill \t0s; # bytes, default\n",
            "        socket-check-timeout\t0; # default\n    }\n",
        ] {
            let at = rest.find(line).unwrap_or_else(|| panic!("{line}\n{rest}"));
            rest = &rest[at..];
        }
    }
}
