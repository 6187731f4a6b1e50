// SPDX-License-Identifier: GPL-2.0-only

//! Options that do not go together: the driver refuses the connection or the disk, which the stock drbdadm lets it do.
//! Here the place is known.

use std::collections::HashSet;

use crate::model::{Opt, Resource};
use crate::source::{Diagnostic, Span};

/// What the driver says to that, in short.
type Refusal = (&'static str, &'static str);

/// Which option contradicts the protocol.
fn refusal(protocol: &str, name: &str, value: &str) -> Option<Refusal> {
    match (name, value) {
        ("allow-two-primaries", "yes") if protocol != "C" => Some((
            "the driver refuses to connect: two Primaries need protocol C",
            "write protocol C, or take allow-two-primaries out",
        )),
        ("fencing", "resource-and-stonith") if protocol == "A" => Some((
            "the driver refuses disk or connection: protocol A cannot be fenced like this",
            "write protocol C or B, or fencing resource-only",
        )),
        ("on-congestion", "pull-ahead" | "disconnect") if protocol != "A" => Some((
            "the driver refuses to connect: congestion is for protocol A",
            "write protocol A, or take on-congestion out",
        )),
        _ => None,
    }
}

fn check_one(
    protocol: Option<&Opt>,
    opt: &Opt,
    said: &mut HashSet<(usize, usize)>,
    found: &mut Vec<Diagnostic>,
) {
    let value = protocol.map_or("C".to_owned(), |protocol| protocol.value.to_uppercase());
    let Some((message, advice)) = refusal(&value, opt.name, &opt.value) else {
        return;
    };
    // What comes from `common` is said once, not for each resource.
    if said.insert((opt.span.file, opt.span.start)) {
        let message = format!("'{} {}': {message}", opt.name, opt.value);
        let diagnostic = Diagnostic::error(opt.span, message, advice);
        found.push(match protocol {
            Some(protocol) => diagnostic.with(protocol.span, "the protocol"),
            None => diagnostic,
        });
    }
}

/// Reports what the driver will refuse.
pub fn check(resources: &[Resource], diagnostics: &mut Vec<Diagnostic>) {
    let mut said = HashSet::new();
    for resource in resources {
        let own: &[Opt] = &[];
        let mut nets: Vec<&[Opt]> = resource.connections.iter().map(|c| &c.net[..]).collect();
        if nets.is_empty() {
            nets.push(own);
        }
        let disks: Vec<&Opt> = (resource.hosts.iter())
            .flat_map(|host| &host.volumes)
            .filter(|volume| !volume.diskless)
            .flat_map(|volume| &volume.options)
            .filter(|opt| opt.name == "fencing")
            .collect();
        for net in nets {
            let inherited = &resource.sections.net;
            let of = |name: &str| net.iter().chain(inherited).find(|opt| opt.name == name);
            let protocol = of("protocol");
            let opts = ["allow-two-primaries", "on-congestion"].map(of);
            for opt in opts.into_iter().flatten().chain(disks.iter().copied()) {
                check_one(protocol, opt, &mut said, diagnostics);
            }
        }
    }
}

/// Whether the driver can read a mask of CPUs: hexadecimal digits, in groups with commas between.
pub fn is_mask(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_hexdigit() || b == b',')
}

/// What is wrong with the value of an option of which the table knows that it is a text only.
pub fn text(name: &str, value: &str, span: Span) -> Option<Diagnostic> {
    (name == "cpu-mask" && !is_mask(value)).then(|| {
        Diagnostic::error(
            span,
            format!("'{value}' for '{name}' is no mask"),
            "hexadecimal digits are expected: f is the first four CPUs",
        )
    })
}
