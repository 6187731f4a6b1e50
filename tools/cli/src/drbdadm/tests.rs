// SPDX-License-Identifier: GPL-2.0-only

//! What commands expand to; `tests/golden.rs` has the stock tool's dry runs.

use super::*;

const CONFIG: &str = include_str!("../../../../tests/golden/config/dump-r0.conf");

fn expand(config: &str, node: &str, line: &str) -> Result<String, String> {
    let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let line = Line::parse(&args)?;
    let line = Line {
        dry_run: true,
        ..line
    };
    let name = line.words[0].as_str();
    let command = COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or("unknown")?;
    check_options(name, &line)?;
    let loaded = drbd_config::from_text("t.conf", config);
    assert!(!loaded.is_broken(), "{}", loaded.report());
    let identity = Identity {
        node: node.to_owned(),
        addresses: Vec::new(),
    };
    let mut text = String::new();
    for operand in line.words.iter().skip(1) {
        let mode = mode(name, &line);
        for selected in target::select(
            &loaded.config,
            &identity,
            operand,
            line.peer.as_deref(),
            mode,
        )? {
            for step in plan(command, &line, &selected)? {
                text += &step.line();
                text.push('\n');
            }
        }
    }
    Ok(text)
}

#[test]
fn the_first_users_file() {
    let seed = include_str!("../../../../tests/golden/config/seed-drbd.conf");
    assert_eq!(
        expand(seed, "iSCSI2.au.intranet", "up r0").unwrap(),
        "drbdsetup new-resource r0\ndrbdsetup new-minor r0 1 0\ndrbdmeta 1 v08 /dev/sdb internal apply-al\n\
         drbdsetup attach 1 /dev/sdb /dev/sdb internal --resync-rate=33\n\
         drbdsetup connect r0 ipv4:10.254.11.12:7789 ipv4:10.254.11.11:7789 --protocol=C --allow-two-primaries=yes\n"
    );
    assert_eq!(
        expand(
            seed,
            "iSCSI1.au.intranet",
            "-- --overwrite-data-of-peer primary r0"
        )
        .unwrap(),
        "drbdsetup primary 1 --overwrite-data-of-peer\n"
    );
    assert!(expand(
        seed,
        "iSCSI1.au.intranet",
        "\u{2014}overwrite-data-of-peer primary r0"
    )
    .unwrap_err()
    .contains("--overwrite"));
}

#[test]
fn addressing() {
    let two = |vnr: u16, minor: u16| {
        format!("volume {vnr} {{ device minor {minor}; disk /dev/d{vnr}; meta-disk internal; }}")
    };
    let config = format!(
        "resource a {{ on x {{ address 10.0.0.1:1; {} {} }} on y {{ address 10.0.0.2:1; {} {} }} }}
         resource b {{ disk {{ resync-after a/1; }} device minor 9; disk /dev/e; meta-disk /dev/m[3];
                      on x {{ address 10.0.0.1:2; }} on z {{ address 10.0.0.2:2; }} }}",
        two(0, 1),
        two(1, 2),
        two(0, 1),
        two(1, 2)
    );
    assert_eq!(
        expand(&config, "x", "primary a").unwrap(),
        "drbdsetup primary 1\ndrbdsetup primary 2\n"
    );
    assert_eq!(
        expand(&config, "x", "primary a/1").unwrap(),
        "drbdsetup primary 2\n"
    );
    assert_eq!(
        expand(&config, "x", "primary minor-2").unwrap(),
        "drbdsetup primary 2\n"
    );
    assert_eq!(
        expand(&config, "x", "secondary all")
            .unwrap()
            .lines()
            .count(),
        3
    );
    assert_eq!(
        expand(&config, "y", "secondary all")
            .unwrap()
            .lines()
            .count(),
        2
    );
    for unknown in ["c", "a/7", "minor-7", "b/1"] {
        assert!(
            expand(&config, "x", &format!("primary {unknown}"))
                .unwrap_err()
                .contains("not defined"),
            "{unknown}"
        );
    }
    assert_eq!(
        expand(&config, "x", "attach b").unwrap(),
        "drbdmeta 9 v08 /dev/m 3 apply-al\ndrbdsetup attach 9 /dev/e /dev/m 3 --resync-after=2\n"
    );
}

#[test]
fn options_are_checked_and_passed_on() {
    let run = |line: &str| expand(CONFIG, "alpha", line);
    assert!(run("primary --bogus r0")
        .unwrap_err()
        .contains("unrecognized option '--bogus'"));
    assert!(run("up --force r0").unwrap_err().contains("unrecognized"));
    assert_eq!(
        run("disk-options --al-extents=77 r0").unwrap(),
        "drbdsetup disk-options 0 --al-extents=77\n"
    );
    // As getopt_long has it: the value in a word of its own, the beginning of a name, in front of the command.
    for line in [
        "disk-options --al-extents 77 r0",
        "disk-options r0 --al-ex=77",
        "--al-extents 77 disk-options r0",
    ] {
        assert_eq!(
            run(line).unwrap(),
            "drbdsetup disk-options 0 --al-extents=77\n",
            "{line}"
        );
    }
    assert_eq!(
        run("primary r0 --forc").unwrap(),
        "drbdsetup primary 0 --force\n"
    );
    assert_eq!(
        run("-- --size 10G resize r0").unwrap(),
        "drbdsetup resize 0 --size 10G\n"
    );
    assert!(run("-- 1:2:3:4 set-gi r0")
        .unwrap()
        .ends_with(" set-gi 1:2:3:4\n"));
    assert!(run("up --config r0")
        .unwrap_err()
        .contains("ambiguous: --config-file, --config-to-test"));
    assert!(run("disk-options r0 --al-extents")
        .unwrap_err()
        .contains("needs a value"));
    assert!(run("disk-options r0 --al-extent5=77")
        .unwrap_err()
        .contains("did you mean '--al-extents'?"));
    assert_eq!(
        run("-W--size=10G resize r0").unwrap(),
        "drbdsetup resize 0 --size=10G\n"
    );
    assert_eq!(
        run("-- --size=10G resize r0").unwrap(),
        "drbdsetup resize 0 --size=10G\n"
    );
}

#[test]
fn escaping_is_the_shells() {
    assert_eq!(
        escaped_line("--shared-secret=se\"cr\\et x"),
        "--shared-secret=se\\\"cr\\\\et\\ x"
    );
    assert_eq!(
        escaped_line("ipv6:[fe80::2]:7788"),
        "ipv6:\\[fe80::2\\]:7788"
    );
}

fn escaped_line(word: &str) -> String {
    steps::escaped(word)
}

#[test]
fn stacked_resources_lie_on_the_devices_below() {
    let config = include_str!("../../../../tests/golden/config/cases/stacked.conf");
    let up = "drbdsetup new-resource up\ndrbdsetup new-minor up 10 0\ndrbdmeta 10 v08 /dev/drbd0 internal apply-al\n\
              drbdsetup attach 10 /dev/drbd0 /dev/drbd0 internal --on-io-error=detach\n\
              drbdsetup connect up ipv4:10.3.3.3:99 ipv4:10.3.3.4:99 --protocol=A\n";
    assert_eq!(expand(config, "alpha", "-S up up").unwrap(), up);
    assert_eq!(expand(config, "beta", "-S up all").unwrap(), up);
    assert_eq!(
        expand(config, "alpha", "down all").unwrap(),
        "drbdsetup down low\n"
    );
    // The third node has it on a disk: nothing special there.
    assert_eq!(
        expand(config, "gamma", "up all").unwrap(),
        "drbdsetup new-resource up\ndrbdsetup new-minor up 10 0\ndrbdmeta 10 v08 /dev/q internal apply-al\n\
         drbdsetup attach 10 /dev/q /dev/q internal --on-io-error=detach\n\
         drbdsetup connect up ipv4:10.3.3.4:99 ipv4:10.3.3.3:99 --protocol=A\n"
    );
    let refused = |line: &str| expand(config, "alpha", line).unwrap_err();
    assert!(refused("up up").contains("'up' is a stacked resource"));
    assert!(refused("-S up low").contains("'low' is a normal resource"));
}

#[test]
fn connections_of_the_ninth_version() {
    let config = include_str!("../../../../tests/golden/config/cases/nine-connections.conf");
    let run = |line: &str| expand(config, "alpha", line);
    assert_eq!(
        run("connect paths").unwrap(),
        "drbdsetup connect paths ipv4:10.1.0.1:7001 ipv4:10.1.0.2:7001 --protocol=A\n"
    );
    assert_eq!(
        run("attach paths").unwrap(),
        "drbdmeta 5 v08 /dev/x internal apply-al\ndrbdsetup attach 5 /dev/x /dev/x internal --resync-rate=5M\n"
    );
    assert_eq!(
        run("connect ports").unwrap(),
        "drbdsetup connect ports ipv4:10.0.0.1:7791 ipv4:10.9.0.2:7791 --protocol=C\n"
    );
    assert!(run("connect mesh").unwrap_err().contains("several peers"));
    assert_eq!(
        run("--peer=gamma connect mesh").unwrap(),
        "drbdsetup connect mesh ipv4:10.0.0.1:7788 ipv4:10.0.0.3:7788 --protocol=C --allow-two-primaries=yes --ping-int=5\n"
    );
    assert_eq!(
        run("--peer=gamma attach mesh/1").unwrap(),
        "drbdmeta 1 v08 /dev/c 0 apply-al\ndrbdsetup attach 1 /dev/b /dev/c 0 --resync-rate=20M --on-io-error=detach --fencing=resource-only --al-extents=257\n"
    );
}

#[test]
fn what_the_remembered_file_includes_lies_beside_it() {
    let base = std::env::temp_dir().join(format!("drbdadm-remembered-{}", std::process::id()));
    let (etc, run) = (base.join("etc"), base.join("run"));
    std::fs::create_dir_all(etc.join("drbd.d")).unwrap();
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(etc.join("drbd.conf"), "include \"drbd.d/r0.res\";\n").unwrap();
    std::fs::write(etc.join("drbd.d/r0.res"), CONFIG).unwrap();
    for link in ["drbd-minor-0.conf", "drbd-resource-r0.conf"] {
        std::os::unix::fs::symlink(etc.join("drbd.conf"), run.join(link)).unwrap();
    }
    for operand in ["minor-0", "r0"] {
        let file = target::remembered(&run, operand).unwrap();
        let loaded = target::load(Some(&file), &[], &[]).unwrap();
        assert!(!loaded.is_broken(), "{operand}: {}", loaded.report());
        assert_eq!(loaded.config.resources.len(), 1);
    }
    assert_eq!(target::remembered(&run, "minor-7"), None);
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn options_behind_two_dashes_are_passed_on_or_refused() {
    let run = |line: &str| expand(CONFIG, "alpha", line);
    let out = run("-- --wfc-timeout=5 wait-connect r0").unwrap();
    assert!(out.starts_with("drbdsetup wait-connect 0 "), "{out}");
    assert!(out.ends_with(" --wfc-timeout=5\n"), "{out}");
    assert_eq!(run("wait-connect --wfc-timeout=5 r0").unwrap(), out);
    let out = run("-- --cpu-mask=3 new-resource r0").unwrap();
    assert!(out.ends_with(" --cpu-mask=3\n"), "{out}");
    let out = run("-- --foo outdate r0").unwrap();
    assert_eq!(out.matches(" --foo\n").count(), 2, "{out}");
    for name in ["up", "adjust", "sh-b-pri", "dump"] {
        let text = run(&format!("-- --foo {name} r0")).unwrap_err();
        assert!(text.starts_with("'--foo': "), "{text}");
    }
}

#[test]
fn an_option_of_several_that_begin_alike_is_ambiguous() {
    let parse = |line: &str| {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Line::parse(&args)
    };
    assert_eq!(
        parse("--config a.conf dump").unwrap_err(),
        "option '--config' is ambiguous: --config-file, --config-to-test, --config-to-exclude"
    );
    let line = parse("--config-f a.conf dump").unwrap();
    assert_eq!(line.config_file.as_deref(), Some("a.conf"));
}

#[test]
fn a_volume_that_is_not_there_is_no_other_resource() {
    let text = expand(CONFIG, "alpha", "primary r0/7").unwrap_err();
    assert!(text.ends_with("\nThere are: r0/0"), "{text}");
}
