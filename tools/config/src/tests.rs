// SPDX-License-Identifier: GPL-2.0-only

//! Whole configurations: the first user's, those of the stock transcripts, broken ones.

use std::fmt::Write as _;

use crate::model::MetaDisk;
use crate::{dump, from_text, Identity, Loaded, Severity};

const SEED: &str = include_str!("../../../tests/golden/config/seed-drbd.conf");

fn me(node: &str) -> Identity {
    Identity {
        node: node.into(),
        addresses: Vec::new(),
    }
}

fn accepted(text: &str) -> Loaded {
    let loaded = from_text("t.conf", text);
    assert!(!loaded.is_broken(), "{}", loaded.report());
    loaded
}

fn errors(text: &str) -> Vec<(usize, usize, String)> {
    let loaded = from_text("t.conf", text);
    loaded
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| {
            let (line, column) = loaded.config.sources.position(d.span);
            (line, column, d.message.clone())
        })
        .collect()
}

fn values(options: &[crate::model::Opt]) -> String {
    let mut text = String::new();
    for opt in options {
        let _ = write!(text, "{}={} ", opt.name, opt.value);
    }
    text
}

#[test]
fn a_second_device_replaces_the_first_as_a_whole() {
    let loaded = accepted(
        "resource r { device /dev/drbd1; device minor 0; disk /dev/d; meta-disk internal;
         on a { address 10.0.0.1:1; } on b { address 10.0.0.2:1; } }",
    );
    let volume = &loaded.config.resources[0].hosts[0].volumes[0];
    assert_eq!((volume.device.clone(), volume.minor), (None, Some(0)));
    assert!(loaded.report().contains("'device' for the second time"));
    let printed = dump::resource(
        &loaded.config,
        &loaded.config.resources[0],
        &Identity::default(),
        false,
    );
    assert!(!from_text("again", &printed).is_broken(), "{printed}");
}

#[test]
fn the_first_users_file_verbatim() {
    let loaded = accepted(SEED);
    let resource = &loaded.config.resources[0];
    assert_eq!(
        values(&resource.sections.net),
        "protocol=C allow-two-primaries=yes "
    );
    assert_eq!(values(&resource.sections.disk), "resync-rate=33 ");
    assert_eq!(
        values(&resource.sections.startup),
        "become-primary-on=both "
    );
    assert_eq!(resource.host_of(&me("iSCSI2.au.intranet")), Some(1));
    assert_eq!(resource.host_of(&me("iscsi1")), Some(0));
    assert_eq!(resource.host_of(&me("other")), None);
    let host = &resource.hosts[1];
    assert_eq!(
        host.address.as_ref().unwrap().operand(),
        "ipv4:10.254.11.12:7789"
    );
    let volume = &host.volumes[0];
    assert_eq!(
        (volume.minor, volume.device_path().as_str()),
        (Some(1), "/dev/drbd1")
    );
    assert_eq!(volume.disk.as_deref(), Some("/dev/sdb"));
    assert_eq!(volume.meta_disk, Some(MetaDisk::Internal));
    let report = loaded.report();
    assert_eq!(report.matches("warning").count(), 1, "{report}");
    assert!(
        report.contains("'rate 33' without a unit means 33 KiB/s"),
        "{report}"
    );
}

#[test]
fn a_missing_semicolon_is_shown_where_it_belongs() {
    let text = SEED.replace("rate 33;", "rate 33");
    let loaded = from_text("drbd.conf", &text);
    let line = SEED.lines().position(|line| line == "rate 33;").unwrap() + 1;
    let expected = format!(
        "drbd.conf:{line}:8: error: ';' expected after '33', but got '}}'\n{line} | rate 33\n   |        ^ put ';' here\n"
    );
    assert!(loaded.report().contains(&expected), "{}", loaded.report());
    assert_eq!(errors(&text).len(), 1);
    assert_eq!(
        values(&loaded.config.resources[0].sections.disk),
        "resync-rate=33 "
    );
}

#[test]
fn no_break_spaces_from_a_web_page() {
    let text = SEED
        .replace("rate 33", "rate\u{a0}33")
        .replace("usage-count yes", "usage-count\u{a0}yes");
    let loaded = accepted(&text);
    assert_eq!(loaded.report().matches("no-break space").count(), 2);
    assert_eq!(
        values(&loaded.config.resources[0].sections.disk),
        "resync-rate=33 "
    );
}

const TWO: &str = "
    on alpha { device /dev/drbd0; disk /dev/loop0; address 10.0.0.1:7788; meta-disk internal; }
    on beta { device /dev/drbd0; disk /dev/loop0; address 10.0.0.2:7788; meta-disk internal; }
";

#[test]
fn all_errors_of_a_file_in_one_run() {
    let text = format!(
        "resource r0 {{\n net {{\n timeout 100000;\n ping-int abc;\n after-sb-0pri foo;\n nosuch 1;\n protocol D;\n }}\n bogus;\n{TWO}}}\n"
    );
    let found: Vec<_> = errors(&text)
        .into_iter()
        .map(|(line, _, message)| (line, message))
        .collect();
    let expected = [
        (3, "timeout 100000 is out of range"),
        (4, "'abc' for 'ping-int' is not a number"),
        (5, "'foo' is no value of 'after-sb-0pri'"),
        (6, "'nosuch' is not known in section 'net'"),
        (7, "'D' is no value of 'protocol'"),
        (9, "'bogus' is not known in resource 'r0'"),
    ];
    assert_eq!(
        found,
        expected.map(|(line, message)| (line, message.to_owned()))
    );
}

#[test]
fn broken_in_every_way_and_still_a_diagnosis() {
    // Every error of the stock tool's transcript of broken files, with the line that it must name.
    let two = TWO.replace('\n', "");
    let cases = [
        (
            format!("resource r0 {{ bogus; {two} }}"),
            1,
            "'bogus' is not known",
        ),
        (
            format!("resource r0 {{\n{two}\n net {{ timeout 60 }}\n}}"),
            3,
            "';' expected after '60'",
        ),
        (
            format!("resource r0 {{ {two} }}\nresource r0 {{ }}"),
            2,
            "resource 'r0' for the second time",
        ),
        (
            format!("resource r0 {{ {two} }}\nresource r1 {{\n{two} }}"),
            3,
            "minor 0 on 'alpha' for the second time",
        ),
        (
            "resource r0 {\n on alpha { device /dev/drbd0; address 10.0.0.1:7788; }\n}".into(),
            2,
            "'disk' is missing",
        ),
        (
            format!(
                "resource r0 {{ {} }}",
                two.replacen("drbd0", "drbd0 minor 1", 1)
            ),
            1,
            "contradict",
        ),
        (
            format!(
                "resource r0 {{ {} }}",
                two.replacen("/dev/drbd0", "/dev/foo", 1)
            ),
            1,
            "no name for a device",
        ),
        (
            format!("resource r0 {{\n{two}\n on gamma {{"),
            3,
            "'}' expected, but the file ends",
        ),
        (
            "resource r0 {\n on a { disk \"/dev/unterminated;\n }\n}".into(),
            2,
            "string without closing quote",
        ),
        (
            "\ninclude \"nonexist.res\";".into(),
            2,
            "cannot find 'nonexist.res'",
        ),
        (
            format!(
                "resource r0 {{ {} }}",
                two.replacen("disk /dev/loop0;", "disk /dev/loop0; volume 1 { }", 1)
            ),
            1,
            "explicit and implicit",
        ),
        ("resource r!0 { }".into(), 1, "unexpected '!'"),
        ("skip\nresource".into(), 2, "'{' expected"),
        (
            format!(
                "resource r0 {{ {} }}",
                two.replacen("10.0.0.1:7788", "10.0.0.1", 1)
            ),
            1,
            "port expected",
        ),
        (
            format!(
                "resource r0 {{ {} }}",
                two.replacen("10.0.0.1:7788", "alpha:7788", 1)
            ),
            1,
            "'alpha' is not an IP address",
        ),
        (
            format!("resource r0 {{ {two}\nstartup {{ become-primary-on both; }} }}"),
            2,
            "both nodes cannot become primary",
        ),
        (
            format!("resource r0 {{ {two}\nstartup {{ become-primary-on gamma; }} }}"),
            2,
            "has no host 'gamma'",
        ),
        (
            format!("resource r0 {{ {two}\ndisk {{ resync-after r9; }} }}"),
            2,
            "there is no resource 'r9'",
        ),
        (
            "resource r0 { connection-mesh { } }".into(),
            1,
            "a connection without hosts",
        ),
        ("common { on a { } }".into(), 1, "'on' in section 'common'"),
        ("}".into(), 1, "expected, but got '}'"),
        (
            "resource r0 { device /dev/drbd_x; }".into(),
            1,
            "needs its minor number",
        ),
    ];
    for (text, line, message) in cases {
        let found = errors(&text);
        assert!(
            found
                .iter()
                .any(|(at, _, m)| *at == line && m.contains(message)),
            "{text}\nwanted line {line}: {message}\ngot {found:#?}"
        );
    }
}

#[test]
fn a_typo_gets_a_suggestion() {
    let text = format!("resource r0 {{ net {{ protocoll C; }} {TWO} }}");
    assert!(from_text("t", &text)
        .report()
        .contains("did you mean 'protocol'?"));
    let text = format!("resource r0 {{ net {{ after-sb-0pri discard-zero-change; }} {TWO} }}");
    assert!(from_text("t", &text)
        .report()
        .contains("did you mean 'discard-zero-changes'?"));
}

#[test]
fn booleans_in_all_forms() {
    let text = format!(
        "resource r0 {{ net {{ allow-two-primaries; no-tcp-cork; use-rle no; }} disk {{ no-disk-flushes; md-flushes yes; }} {TWO} }}"
    );
    let loaded = accepted(&text);
    let sections = &loaded.config.resources[0].sections;
    assert_eq!(
        values(&sections.net),
        "allow-two-primaries=yes tcp-cork=no use-rle=no "
    );
    assert_eq!(values(&sections.disk), "disk-flushes=no md-flushes=yes ");
}

#[test]
fn inheritance_order_is_the_stock_tools() {
    let text = format!(
        "common {{ net {{ protocol C; timeout 50; }} disk {{ al-extents 1001; resync-rate 10M; }} }}
         resource r0 {{ net {{ timeout 60; ping-int 5; }} disk {{ on-io-error detach; }} {TWO} }}"
    );
    let loaded = accepted(&text);
    let resource = &loaded.config.resources[0];
    assert_eq!(
        values(&resource.sections.net),
        "protocol=C timeout=60 ping-int=5 "
    );
    assert_eq!(
        values(&resource.sections.disk),
        "resync-rate=10M al-extents=1001 on-io-error=detach "
    );
    assert_eq!(
        values(&resource.hosts[0].volumes[0].options),
        "on-io-error=detach al-extents=1001 resync-rate=10M "
    );
}

#[test]
fn dump_is_the_stock_tools_text() {
    let stock = include_str!("../../../tests/golden/config/dump-r0.txt");
    let text = include_str!("../../../tests/golden/config/dump-r0.conf");
    let loaded = accepted(text);
    let ours = dump::resource(
        &loaded.config,
        &loaded.config.resources[0],
        &me("alpha"),
        true,
    );
    let body = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .fold(String::new(), |a, l| a + l + "\n")
    };
    assert_eq!(body(&ours), body(stock));
    assert!(ours.starts_with("# resource r0 on alpha: not ignored, not stacked\n"));
}

#[test]
fn dump_parses_to_itself() {
    for text in [
        SEED,
        include_str!("../../../tests/golden/config/dump-r0.conf"),
        include_str!("../../../tests/golden/config/legacy.conf"),
    ] {
        let first = accepted(text);
        let print = |loaded: &Loaded| {
            let mut text = dump::head(&loaded.config);
            for resource in &loaded.config.resources {
                text += &dump::resource(&loaded.config, resource, &me("alpha"), false);
            }
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let once = print(&first);
        assert_eq!(print(&accepted(&once)), once);
    }
}

/// What `drbdsetup show` printed has what the kernel has, be it complete or not.
#[test]
fn a_host_without_device_is_dumped_without_device() {
    let shown =
        "resource r { on _this_host { disk /dev/a; meta-disk internal; address 10.0.0.1:1; } \
                 on b { device minor 0; disk /dev/a; meta-disk internal; address 10.0.0.2:1; } }";
    let loaded = accepted(shown);
    let printed =
        crate::dump::resource(&loaded.config, &loaded.config.resources[0], &me("a"), false);
    accepted(&printed);
}

#[test]
fn any_bytes_give_a_diagnosis() {
    // A small deterministic generator: mutilations of the seed file, character by character and block by block.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let pieces = [
        "{", "}", ";", "[", "]", ":", "\"", "#", "\u{a0}", "\u{2013}", "on", "volume", "address",
        "device", "\n", "65536", "disk {",
    ];
    for _ in 0..3000 {
        let mut text: Vec<char> = SEED.chars().collect();
        for _ in 0..=random(4) {
            let at = random(text.len());
            let to = (at + random(40)).min(text.len());
            let piece: Vec<char> = pieces[random(pieces.len())].chars().collect();
            text.splice(at..if random(2) == 0 { at } else { to }, piece);
        }
        let text: String = text.into_iter().collect();
        let loaded = from_text("t", &text);
        let _ = loaded.report();
    }
}

#[test]
fn includes_are_relative_to_their_file_and_read_once() {
    let dir = std::env::temp_dir().join(format!("drbd-config-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("d")).unwrap();
    std::fs::write(
        dir.join("main.conf"),
        "include \"d/*.res\";\ninclude \"d/a.res\";\ninclude \"none-*.res\";\n",
    )
    .unwrap();
    std::fs::write(
        dir.join("d/a.res"),
        format!("resource a {{ {TWO} }}\ninclude \"b.inc\";"),
    )
    .unwrap();
    std::fs::write(dir.join("d/b.inc"), "common { net { timeout 5x; } }").unwrap();
    let loaded = crate::from_file(dir.join("main.conf").to_str().unwrap()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(loaded.config.resources.len(), 1);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert!(
        loaded
            .report()
            .contains("/d/b.inc:1:24: error: '5x' for 'timeout' is not a number"),
        "{}",
        loaded.report()
    );
}

/// Anything may be named behind `-c`: an image, a log. The answer comes in seconds, and does not fill the terminal.
#[test]
fn megabytes_of_garbage_are_diagnosed_in_time() {
    let mut seed = 1u64;
    let bytes: Vec<u8> = (0..2_000_000)
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .collect();
    let begun = std::time::Instant::now();
    let report = from_text("t.conf", &String::from_utf8_lossy(&bytes)).report();
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    assert!(report.lines().count() < 5000);
    assert!(report.ends_with("left out; is this a configuration?\n"));
}

#[test]
fn other_encodings_are_named() {
    let text = String::from_utf8_lossy(b"resource r\xe9 { handlers { split-brain \"caf\xe9\"; } }")
        .into_owned();
    let messages: Vec<String> = errors(&text).into_iter().map(|(_, _, said)| said).collect();
    assert!(
        messages.contains(&"unexpected byte that is not UTF-8".to_owned()),
        "{messages:?}"
    );
    assert!(
        messages.contains(&"string with a byte that is not UTF-8".to_owned()),
        "{messages:?}"
    );
}

#[test]
fn what_could_not_be_read_is_not_missing() {
    let text = "resource r { device minor 1; meta-disk internal;\n\
        on a { adress 10.0.0.1:1; disk /dev/d; } on b { address 10.0.0.2:77890; } }";
    let messages: Vec<String> = errors(text).into_iter().map(|(_, _, said)| said).collect();
    assert_eq!(
        messages,
        [
            "resource 'r', on 'b': 'disk' is missing",
            "'adress' is not known in section 'on a'",
            "'77890' is not a port (1 to 65535)"
        ]
    );
}

#[test]
fn fencing_needs_a_handler() {
    let resource = |name: &str, minor: u32, more: &str| {
        format!(
            "resource {name} {{ {more} device minor {minor}; disk /dev/sd{name}; meta-disk internal; \
             on a {{ address 192.0.2.1:{}; }} on b {{ address 192.0.2.2:{}; }} }}\n",
            7000 + minor,
            7000 + minor
        )
    };
    let said = |text: &str| {
        let loaded = from_text("f", text);
        assert!(!loaded.is_broken(), "{}", loaded.report());
        loaded.report()
    };
    let common = "common { disk { fencing resource-and-stonith; } }\n";
    let two = resource("x", 1, "") + &resource("y", 2, "");
    let told = said(&format!("{common}{two}"));
    assert_eq!(
        told.matches("without a handler fence-peer").count(),
        1,
        "{told}"
    );
    assert!(told.contains("'drbdadm resume-io x'"), "{told}");
    let handlers =
        "common { disk { fencing resource-and-stonith; } handlers { fence-peer \"x\"; } }\n";
    assert_eq!(said(&format!("{handlers}{two}")), "");
    let told = said(&resource("x", 1, "disk { fencing resource-only; }"));
    assert!(told.contains("cannot be promoted"), "{told}");
    assert_eq!(said(&resource("x", 1, "disk { fencing dont-care; }")), "");
}

/// The report of a resource with that text in it.
fn report_of(part: &str) -> String {
    from_text("t.conf", &format!("resource r0 {{\n{part}\n{TWO}}}\n")).report()
}

#[test]
fn a_forgotten_brace_is_one_error() {
    for (part, place) in [
        ("net cram-hmac-alg sha1; timeout 60; }", "t.conf:2:4: "),
        (
            "net { timeout 60; }\nhandlers pri-lost \"x\"; }",
            "t.conf:3:9: ",
        ),
    ] {
        let report = report_of(part);
        assert_eq!(report.matches(": error: ").count(), 1, "{report}");
        assert!(report.starts_with(place), "{report}");
        assert!(report.contains("'{' expected after"), "{report}");
    }
    for text in [
        format!("resource r0\n{TWO}}}"),
        format!(
            "resource r0 {{ {} }}",
            TWO.replacen("on alpha {", "on alpha", 1)
        ),
    ] {
        let found = errors(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        assert!(found[0].2.starts_with("'{' expected after"), "{found:?}");
    }
    // Nothing closes a block that nobody began.
    assert_eq!(
        errors(&format!(
            "common {{ disk /dev/sda; }}\nresource r0 {{ {TWO} }}"
        ))
        .len(),
        1
    );
}

#[test]
fn a_time_with_a_unit_is_told_without() {
    let report = report_of("net { timeout 6s; ping-timeout 500ms; }");
    assert!(report.contains("the unit is 1/10 s: write 60"), "{report}");
    assert!(report.contains("the unit is 1/10 s: write 5"), "{report}");
    let report = report_of("net { timeout 1s; }");
    assert!(report.contains("warning: 'timeout 1s'"), "{report}");
    assert!(report.contains("write 10"), "{report}");
}

#[test]
fn a_long_line_does_not_fill_the_terminal() {
    let report = from_text("t.conf", &"x y; ".repeat(5_000)).report();
    assert!(report.len() < 1_000_000, "{}", report.len());
    assert!(report.lines().all(|line| line.chars().count() < 250));
    let report = from_text("t.conf", &format!("{}\n;", "x".repeat(1 << 20))).report();
    assert!(report.len() < 2_000, "{}", report.len());
}

#[test]
fn a_text_that_never_ends_is_refused() {
    let error = crate::from_file("/dev/zero").unwrap_err();
    assert_eq!(error.to_string(), "it has more than 64 MiB");
    let report = from_text("t.conf", "include \"/dev/zero\";\n").report();
    assert!(
        report.contains("cannot read '/dev/zero': it has more than 64 MiB"),
        "{report}"
    );
    assert!(!crate::from_file("/dev/null").unwrap().is_broken());
}

#[test]
fn what_the_driver_refuses_is_an_error() {
    for (part, message) in [
        (
            "net { protocol A; allow-two-primaries; }",
            "two Primaries need protocol C",
        ),
        (
            "net { protocol B; allow-two-primaries yes; }",
            "two Primaries need protocol C",
        ),
        (
            "net { protocol A; } disk { fencing resource-and-stonith; }",
            "cannot be fenced",
        ),
        (
            "net { on-congestion pull-ahead; }",
            "congestion is for protocol A",
        ),
    ] {
        let report = report_of(part);
        assert!(report.contains(message), "{report}");
        // Once, though two hosts have the disk's options.
        assert_eq!(report.matches("error: ").count(), 1, "{report}");
    }
    for part in [
        "net { protocol C; allow-two-primaries; }",
        "net { protocol A; allow-two-primaries no; on-congestion pull-ahead; }",
        "net { protocol B; } disk { fencing resource-and-stonith; } handlers { fence-peer x; }",
    ] {
        assert_eq!(report_of(part), "", "{part}");
    }
    let report = report_of("options { cpu-mask zz; }");
    assert!(
        report.contains("error: 'zz' for 'cpu-mask' is no mask"),
        "{report}"
    );
    assert_eq!(report_of("options { cpu-mask \"ff,00000000\"; }"), "");
}

#[test]
fn a_placeholder_is_one_error() {
    let text = format!(
        "resource r0 {{ {} }}",
        TWO.replacen("10.0.0.1", "<your-ip>", 1)
    );
    let found = errors(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].2.contains("stands for a value"), "{found:?}");
}
