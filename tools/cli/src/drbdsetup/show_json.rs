// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup show --json`: the keys of DRBD 9's tool. Booleans are booleans, everything else is text as drbd.conf has it.

use drbd_core::config::nlattr::Attribute;
use drbd_core::config::{DiskConf, Nest, NetConf, ResourceOpts, Value};
use drbd_genl::Message;

use super::configure::sockaddr_text;
use super::json::{list, object, quoted};
use super::show::{printed, value_text};

/// The options of a nest that are not at their default, or all.
fn options(indent: usize, nest: &Nest, bytes: Attribute<'_>, defaults: bool) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for attr in printed(nest) {
        let found = bytes.nested().find(attr.nr);
        let Some(value) = found.as_ref().and_then(|found| attr.value(found)) else {
            continue;
        };
        if value == attr.default_value() && !defaults {
            continue;
        }
        let text = match value {
            Value::Bool(value) => value.to_string(),
            Value::Text(text) => quoted(&String::from_utf8_lossy(text)),
            value => quoted(&value_text(attr, &value)),
        };
        pairs.push((attr.name, text));
    }
    object(indent, &pairs).trim_start().to_owned()
}

/// One resource out of the messages about its minors.
pub fn resource(name: &str, messages: &[&Message], defaults: bool) -> String {
    let first = |nr| messages.iter().find_map(|message| message.nest(nr));
    let mut pairs = vec![("resource", quoted(name))];
    if let Some(nest) = first(ResourceOpts::NEST.nr) {
        pairs.push(("options", options(2, &ResourceOpts::NEST, nest, defaults)));
    }
    let volumes: Vec<String> = messages
        .iter()
        .filter_map(|message| volume(message, defaults))
        .collect();
    let host = object(
        2,
        &[("node-id", "0".to_owned()), ("volumes", list(4, &volumes))],
    );
    pairs.push(("_this_host", host.trim_start().to_owned()));
    let connection: Vec<String> = messages
        .first()
        .and_then(|message| connection(message, first(NetConf::NEST.nr), defaults))
        .into_iter()
        .collect();
    pairs.push(("connections", list(2, &connection)));
    object(0, &pairs)
}

fn volume(message: &Message, defaults: bool) -> Option<String> {
    let volume = message.context().volume?;
    let mut pairs = vec![
        ("volume_nr", volume.to_string()),
        ("device_minor", message.header.minor.to_string()),
    ];
    if let Some(conf) = message.get::<DiskConf>() {
        let meta = match conf.meta_dev_idx {
            -3 | -1 => "internal".to_owned(),
            -2 => conf.meta_dev.to_string(),
            index => format!("{} [ {index} ]", conf.meta_dev),
        };
        pairs.push(("backing-disk", quoted(&conf.backing_dev.to_string())));
        pairs.push(("meta-disk", quoted(&meta)));
    }
    if let Some(nest) = message.nest(DiskConf::NEST.nr) {
        pairs.push(("disk", options(8, &DiskConf::NEST, nest, defaults)));
    }
    Some(object(6, &pairs))
}

fn connection(message: &Message, net: Option<Attribute<'_>>, defaults: bool) -> Option<String> {
    let context = message.context();
    let end = |bytes: Option<drbd_core::config::text::Bytes<128>>| {
        let (family, host, port) = sockaddr_text(bytes?.as_bytes())?;
        Some(quoted(&format!("{family} {host}:{port}")))
    };
    let path = object(
        6,
        &[
            ("_this_host", end(context.my_addr)?),
            ("_remote_host", end(context.peer_addr)?),
        ],
    );
    let mut pairs = vec![
        ("_peer_node_id", "0".to_owned()),
        ("path", path.trim_start().to_owned()),
    ];
    if let Some(net) = net {
        pairs.push(("net", options(6, &NetConf::NEST, net, defaults)));
    }
    Some(object(4, &pairs))
}

#[cfg(test)]
mod tests {
    use super::super::show::tests::golden_status;
    use super::resource;

    #[test]
    fn keys_and_values() {
        let message = golden_status();
        assert_eq!(
            resource("ra", &[&message], false),
            include_str!("../../../../tests/golden/status/show.json").trim_end()
        );
        let all = resource("ra", &[&message], true);
        for line in [
            "      \"on-no-data-accessible\": \"io-error\"\n",
            "        \"timeout\": \"60\",\n",
            "        \"allow-two-primaries\": false,\n",
            "        \"congestion-fill\": \"0s\",\n",
        ] {
            assert!(all.contains(line.trim_start()), "{line}\n{all}");
        }
    }
}
