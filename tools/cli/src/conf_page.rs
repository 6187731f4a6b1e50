// SPDX-License-Identifier: GPL-2.0-only

//! drbd.conf(5), out of the option tables that its parser is driven by.

use std::fmt::Write as _;

use drbd_config::about::about;
use drbd_config::tables::{only_nine, Section, GLOBAL};
use drbd_core::config::Attr;

use crate::catalog;
use crate::pages::plain;

const EXAMPLE: &str = "\
resource r0 {
    net { protocol C; }
    on alpha {
        device /dev/drbd0;
        disk /dev/sda7;
        address 10.0.0.1:7788;
        meta-disk internal;
    }
    on beta {
        device /dev/drbd0;
        disk /dev/sda7;
        address 10.0.0.2:7788;
        meta-disk internal;
    }
}
";

/// Statements that are no options: how they are written, and what they mean.
const STATEMENTS: &[(&str, &str)] = &[
    ("include \"PATTERN\";", "Reads other files; a relative name is beside this file. Anywhere between sections."),
    ("global { ... }", "What holds for this node's tools, once."),
    ("common { ... }", "Sections that every resource inherits; its own options win."),
    ("resource NAME { ... }", "A mirror: two hosts, its volumes, and sections of options."),
    ("skip ...", "In front of a section: it is left out."),
    ("on HOST... { ... }", "A host by its name (uname -n), with its address and volumes. Several names share what a cluster moves."),
    ("floating ADDRESS:PORT { ... }", "A host by its address."),
    ("stacked-on-top-of RESOURCE { ... }", "A host that is whoever is primary of the lower resource."),
    ("volume NUMBER { ... }", "A device of the resource; without it there is one, number 0."),
    ("device [/dev/drbdN|NAME] [minor N];", "The mirrored device."),
    ("disk DEVICE;", "The lower disk; in sections disk { ... } holds options."),
    ("meta-disk internal|DEVICE|DEVICE[INDEX];", "Where the metadata is: at the end of the disk, on a device of its own, or in a slot of 128 MiB there."),
    ("address [ipv4|ipv6|ssocks|sdp] ADDRESS:PORT;", "Where this host is reached; an IPv6 address stands in brackets."),
    ("node-id, connection, connection-mesh, path, template-file", "As DRBD 9 writes them. With several peers a command needs --peer."),
    ("proxy { ... }", "Read and kept; there is no proxy."),
    ("protocol, syncer { ... }", "As DRBD 8.3 wrote them: what syncer says belongs to disk, net and options."),
];

/// An option with its value, and what it is for.
fn row(out: &mut String, attr: &'static Attr) {
    let mut flag = catalog::flag(attr);
    // The kernel's number; the file has the name.
    if attr.name == "resync-after" {
        flag.value = Some("RESOURCE[/VOLUME]".to_owned());
        flag.about = "default: at once".to_owned();
    }
    let value = flag.value.unwrap_or_default();
    let text = match (about(attr.name), only_nine(attr)) {
        ("", true) => "Of DRBD 9's driver only: read, and without effect here.",
        ("", false) => "Of DRBD 9 only: never called here.",
        (text, _) => text,
    };
    let _ = writeln!(
        out,
        ".TP\n.B {} {};\n{}\n({})",
        plain(attr.name),
        plain(&value),
        plain(text),
        plain(&flag.about)
    );
}

/// The page.
pub fn man() -> String {
    let mut out = format!(
        ".TH DRBD.CONF 5 \"\" \"drbdrs {}\" \"File formats\"\n.ds AD l\n.ad l\n.nh\n.SH NAME\ndrbd.conf \\- configuration of \
         mirrored disks (DRBD 8.4)\n.SH DESCRIPTION\n\
         The file is the same on both nodes. It is made of sections in braces and statements that end with a semicolon; \
         a word with blanks or punctuation stands in double quotes, # begins a comment.\n.PP\n\
         A size or a rate takes the suffixes k, M and G (powers of 1024) and s (sectors of 512 bytes); without one \
         the unit is that of the default. A yes or no may be left out (yes), or written as no\\-NAME.\n.PP\n\
         drbdadm sh\\-nop checks the file, and says all that is wrong with it; drbdadm adjust RESOURCE puts into effect \
         what was changed.\n.SH EXAMPLE\n.nf\n",
        env!("CARGO_PKG_VERSION"),
    );
    for line in EXAMPLE.lines() {
        let _ = writeln!(out, "{}", plain(line));
    }
    out += ".fi\n.SH STATEMENTS\n";
    for (form, text) in STATEMENTS {
        let _ = writeln!(out, ".TP\n.B {}\n{}", plain(form), plain(text));
    }
    out += ".SH SECTION GLOBAL\n";
    for attr in &GLOBAL {
        row(&mut out, attr);
    }
    use Section::{Disk, Handlers, Net, Options, Startup};
    for (section, text) in [
        (Disk, "The lower disk; in common, in a resource or in a volume."),
        (Net, "The connection; in common, in a resource or in a connection."),
        (Options, "The resource."),
        (Startup, "For wait\\-connect and at boot."),
        (Handlers, "Programs that are called when something happens, with DRBD_RESOURCE, DRBD_MINOR, DRBD_PEER_ADDRESS and more in the environment."),
    ] {
        let _ = writeln!(out, ".SH SECTION {}\n{text}", section.name().to_uppercase());
        for attr in section.rows() {
            row(&mut out, attr);
        }
    }
    out += ".SH FILES\n/etc/drbd.conf; as Debian packages it, and without it there, /etc/drbd.d/global_common.conf and \
            /etc/drbd.d/*.res count.\n\
            .SH SEE ALSO\n.BR drbdadm (8),\n.BR drbdsetup (8),\n.BR drbdmeta (8)\n";
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_there_and_the_example_is_right() {
        let page = man();
        let sections = [Section::Disk, Section::Net, Section::Options];
        for attr in sections
            .iter()
            .flat_map(|section| section.rows())
            .chain(&GLOBAL)
        {
            assert!(
                page.contains(&format!("\n.B {} ", plain(attr.name))),
                "{}",
                attr.name
            );
        }
        let loaded = drbd_config::from_text("example", EXAMPLE);
        assert!(!loaded.is_broken(), "{}", loaded.report());
    }
}
