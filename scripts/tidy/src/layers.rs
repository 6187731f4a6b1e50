// SPDX-License-Identifier: GPL-2.0-only

//! Which room may know which: the arrows of Documentation/architecture.md.

/// The core's modules, lowest layer first; a module may use those of lower layers, and itself.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["wire", "meta", "config"],
    &[
        "uuid",
        "state",
        "bitmap",
        "activity_log",
        "interval",
        "epoch",
        "faults",
        "proc_text",
        "write_order",
        "deallocate",
    ],
    &[
        "request",
        "peer_request",
        "handshake",
        "resync",
        "read_balance",
        "congestion",
        "transaction",
    ],
    &["trace"],
];

/// Words that a folder's code must not contain, with the reason.
const FOREIGN: &[(&str, &str, &str)] = &[
    (
        "drbdrs/core/",
        "kernel",
        "the core runs in a simulator too: it knows no kernel",
    ),
    (
        "drbdrs/core/",
        "kernel_ext",
        "the core runs in a simulator too: it knows no kernel",
    ),
    (
        "drbdrs/core/",
        "alloc",
        "the core allocates nothing: its storage is the caller's",
    ),
    (
        "rust/",
        "drbd_core",
        "what the kernel crate lacks has nothing to do with DRBD",
    ),
    ("tools/", "kernel_ext", "the tools run on the host"),
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The core module that a file belongs to.
fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("drbdrs/core/")?;
    let name = inner.split('/').next()?;
    Some(name.strip_suffix(".rs").unwrap_or(name))
}

/// The core module of this file when nobody has said where it stands.
pub(crate) fn unplaced(path: &str) -> Option<&str> {
    module_of(path).filter(|name| path.ends_with(".rs") && *name != "lib" && layer(name).is_none())
}

/// Why a line of code of this file breaks an arrow, if it does.
pub(crate) fn breach(path: &str, line: &str) -> Option<String> {
    for (folder, word, reason) in FOREIGN {
        let named = format!("{word}::");
        if path.starts_with(folder)
            && line
                .match_indices(&named)
                .any(|(i, _)| starts_path(line, i))
        {
            return Some(format!("`{named}`: {reason}"));
        }
    }
    let own = module_of(path)?;
    let own_layer = layer(own)?;
    for (i, _) in line.match_indices("crate::") {
        let rest = &line[i + "crate::".len()..];
        for used in used_modules(rest) {
            if used != own && layer(used).is_some_and(|theirs| theirs >= own_layer) {
                return Some(format!(
                    "`{own}` must not use `{used}`: arrows go to lower layers only"
                ));
            }
        }
    }
    None
}

fn starts_path(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The modules named right after `crate::`, also in braces.
fn used_modules(rest: &str) -> Vec<&str> {
    let first = |text: &str| {
        text.find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(text.len())
    };
    match rest.strip_prefix('{') {
        None => vec![&rest[..first(rest)]],
        Some(list) => {
            let mut depth = 0i32;
            let top_level = list.split(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            top_level
                .map(str::trim)
                .map(|item| &item[..first(item)])
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downward_is_allowed_and_upward_is_not() {
        assert_eq!(
            breach("drbdrs/core/request.rs", "use crate::epoch::Epoch;"),
            None
        );
        assert!(breach("drbdrs/core/types.rs", "use crate::wire::Header;").is_some());
        assert!(breach("drbdrs/core/wire/mod.rs", "crate::config::x()").is_some());
        assert_eq!(
            breach(
                "drbdrs/core/wire/header.rs",
                "use crate::wire::{Error, Kind};"
            ),
            None
        );
    }

    #[test]
    fn braces_are_looked_into() {
        let line = "use crate::{types::{Sector, Bytes}, request::Request};";
        assert!(breach("drbdrs/core/epoch.rs", line).is_some());
        assert_eq!(
            breach(
                "drbdrs/core/resync.rs",
                "use crate::{types::Sector, epoch};"
            ),
            None
        );
    }

    #[test]
    fn the_core_knows_no_kernel_and_the_extension_no_drbd() {
        assert!(breach("drbdrs/core/types.rs", "use kernel::prelude::*;").is_some());
        assert_eq!(breach("drbdrs/core/types.rs", "my_kernel::x()"), None);
        assert!(breach("rust/net/mod.rs", "use drbd_core::types;").is_some());
        assert_eq!(breach("drbdrs/device.rs", "use kernel::prelude::*;"), None);
    }

    #[test]
    fn a_module_without_a_layer_is_told() {
        assert_eq!(unplaced("drbdrs/core/magic.rs"), Some("magic"));
        assert_eq!(unplaced("drbdrs/core/wire/magic.rs"), None);
        assert_eq!(unplaced("drbdrs/core/lib.rs"), None);
    }
}
