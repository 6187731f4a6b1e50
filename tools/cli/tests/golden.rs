// SPDX-License-Identifier: GPL-2.0-only

//! The programs as processes, against transcripts of the stock ones: exit codes, and text where a program reads it.

mod stage;

use stage::{golden, transcript, Recorded, Stage};
use std::fs;

/// Where drbdadm differs, and why. `None` as text: only the exit code is compared.
fn differs(command: &str) -> Option<(i32, Option<&'static str>)> {
    Some(match command {
        // It is known here: `drbdsetup` has always had it.
        "wait-sync r0" => (0, Some("drbdsetup wait-sync 0\n")),
        // Its options work without `--` in front.
        "resize --size=10G r0" => (0, Some("drbdsetup resize 0 --size=10G\n")),
        "resize --assume-clean r0" => (0, Some("drbdsetup resize 0 --assume-clean\n")),
        "verify --start=0 --stop=100s r0" => {
            (0, Some("drbdsetup verify 0 --start=0 --stop=100s\n"))
        }
        // The check of the size is part of the resize.
        "resize r0" => (0, Some("drbdsetup resize 0\n")),
        "check-resize r0" => (
            0,
            Some("drbdsetup resize 0\ndrbdmeta 0 v08 /dev/loop0 internal check-resize\n"),
        ),
        // JSON came later.
        "status --json" => (0, Some("drbdsetup status --json\n")),
        // The configured resources are asked about one by one there, too, but with a warning about the terminal.
        "wait-con-int" => (0, None),
        // Without options a stacked resource's lower one is the empty word.
        "sh-lr-of r0" => (0, Some("")),
        // The usage lists what there is here.
        "up" => (1, None),
        // There is no proxy; it says so.
        "proxy-up r0" => (1, None),
        // Only the words behind the name.
        "-S up r0" | "nosuchcmd r0" => (1, None),
        _ => return None,
    })
}

/// What both tools write in their own way: complaints about the command line.
fn is_complaint(recorded: &Recorded) -> bool {
    recorded.exit == 1 && !recorded.text.is_empty()
}

#[test]
fn dry_runs_of_drbdadm() {
    let stage = Stage::new("dry");
    let config = stage.file("dry.conf");
    fs::write(&config, golden("config/dump-r0.conf")).unwrap();
    let mut wrong = String::new();
    let recorded = transcript(&golden("commands/dry-run-8.4.txt"), "## drbdadm", "rc=");
    assert!(recorded.len() >= 90, "{}", recorded.len());
    for stock in recorded {
        let command: Vec<&str> = ["drbdadm", "-d", "-c", &config]
            .into_iter()
            .chain(stock.command.split(' '))
            .collect();
        let (exit, out, _) = stage.run(&command);
        let (wanted_exit, wanted) = match differs(&stock.command) {
            Some((exit, text)) => (exit, text.map(str::to_owned)),
            None if is_complaint(&stock) => (stock.exit, None),
            None => (
                stock.exit,
                Some(
                    stock
                        .text
                        .replace("drbdsetup-84 ", "drbdsetup ")
                        .replace("@CONFIG@", &config)
                        .replace(
                            "'drbdadm state' is deprecated, use 'drbdadm role' instead.\n",
                            "",
                        ),
                ),
            ),
        };
        // Comments of a dump tell places.
        let body = |text: &str| -> String {
            text.lines()
                .filter(|line| !line.starts_with("# ") && !line.is_empty())
                .fold(String::new(), |all, line| all + line + "\n")
        };
        let same = wanted.as_ref().is_none_or(|text| body(text) == body(&out));
        if exit != wanted_exit || !same {
            wrong += &format!(
                "{}: {exit} instead of {wanted_exit}\n{out}instead of\n{}\n",
                stock.command,
                wanted.unwrap_or_default()
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Where drbdadm differs on a file of its own, and why.
fn file_differs(file: &str, command: &str) -> Option<(i32, Option<&'static str>)> {
    Some(match (file, command) {
        // Every mistake of a file ends with 10, also a number that is none.
        ("e_range", _) => (10, None),
        // Known before the kernel refuses it, with its place.
        ("e_enum", _) => (10, None),
        // Options work without `--` in front; the check of the size is part of the resize.
        (
            "options",
            "-d resize --size=10G r0" | "-d -- --size=10G resize r0" | "-d -W--size=10G resize r0",
        ) => (0, Some("drbdsetup resize 0 --size=10G\n")),
        ("options", "-d resize --assume-clean r0") => {
            (0, Some("drbdsetup resize 0 --assume-clean\n"))
        }
        ("options", "-d verify --start=0 r0") => (0, Some("drbdsetup verify 0 --start=0\n")),
        // drbdmeta knows no such option.
        ("options", "-d attach --size=10G r0") => (
            0,
            Some("drbdmeta 0 v08 /dev/a internal apply-al\ndrbdsetup attach 0 /dev/a /dev/a internal --size=10G\n"),
        ),
        ("options", "-d primary --overwrite-data-of-peer r0") => {
            (0, Some("drbdsetup primary 0 --overwrite-data-of-peer\n"))
        }
        _ => return None,
    })
}

/// What programs read of a text: not where something stands, what the program itself is called, what is said to people,
/// or which of several options comes first.
fn as_read(text: &str, config: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut options = 0;
    for line in text.replace("drbdsetup-84 ", "drbdsetup ").lines() {
        if line.is_empty() || ["# ", "\t", config].iter().any(|no| line.starts_with(no)) {
            continue;
        }
        let mut line = line.to_owned();
        if let Some((before, _)) = line.split_once(" conf-file-line=") {
            line = format!("{before}>");
        }
        if line.starts_with("drbdsetup ") {
            let mut words: Vec<&str> = line.split(' ').collect();
            words.sort_by_key(|word| {
                (
                    word.starts_with("--"),
                    if word.starts_with("--") { word } else { "" },
                )
            });
            line = words.join(" ");
        }
        options = if line.trim_start().starts_with("<option ") {
            options + 1
        } else {
            0
        };
        lines.push(line);
        let last = lines.len() - options;
        lines[last..].sort();
    }
    lines
        .iter()
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn files_good_and_broken() {
    let stage = Stage::new("files");
    let text = golden("commands/files-8.4.txt");
    let (mut wrong, mut played) = (String::new(), 0);
    for part in text.split("#### ").skip(1) {
        let (name, part) = part.split_once('\n').unwrap();
        // The configuration, then the commands on it.
        let start = part.find("\n## ").unwrap() + 1;
        let config = stage.file(&format!("{name}.conf"));
        fs::write(&config, &part[..start]).unwrap();
        for stock in transcript(&part[start..], "## ", "rc=") {
            played += 1;
            let mut command = vec!["drbdadm", "-c", &config];
            command.extend(stock.command.split(' '));
            let (exit, out, err) = stage.run(&command);
            let (wanted_exit, wanted) = match file_differs(name, &stock.command) {
                Some((exit, text)) => (exit, text.map(str::to_owned)),
                None if stock.exit != 0 => (stock.exit, None),
                None => (
                    0,
                    Some(as_read(&stock.text.replace("@CONFIG@", &config), &config)),
                ),
            };
            let out = as_read(&out, &config);
            let same = match wanted.as_deref() {
                None => exit == 0 || !err.is_empty(),
                Some(text) => out == text,
            };
            if exit != wanted_exit || !same {
                wrong += &format!(
                    "{name}: {}: {exit} instead of {wanted_exit}\n{out}{err}instead of\n{}\n",
                    stock.command,
                    wanted.unwrap_or_default()
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(played, 66);
}

/// Where drbdmeta differs, and why.
fn meta_differs(command: &str) -> Option<i32> {
    // The first slot does not fit onto the file; the stock tool takes no files at all for it.
    command.contains("@IMAGE@ 0 create-md").then_some(10)
}

#[test]
fn drbdmeta_on_a_device() {
    let stage = Stage::new("meta");
    let device = stage.file("device");
    let image = stage.file("m.img");
    for (file, size) in [(&device, 64 << 20), (&image, 64 << 20)] {
        fs::File::create(file).unwrap().set_len(size).unwrap();
    }
    let mut wrong = String::new();
    let recorded = transcript(&golden("commands/drbdmeta-v08.txt"), "###", "### rc=");
    assert!(recorded.len() >= 18, "{}", recorded.len());
    for stock in recorded {
        let command = stock
            .command
            .replace("/dev/loop0", &device)
            .replace("@IMAGE@", &image);
        let words: Vec<&str> = command.split(' ').collect();
        let (exit, out, _) = stage.run(&words);
        let wanted = meta_differs(&stock.command).unwrap_or(stock.exit);
        // What programs read: identifiers, states, the dump; who made it, and when, aside.
        let read = ["get-gi", "dstate", "dump-md", "read-dev-uuid", "show-gi"];
        let body = |text: &str| -> String {
            text.lines()
                .filter(|line| !line.starts_with("# 2") && !line.contains("> drbdmeta "))
                .fold(String::new(), |all, line| all + line.trim_end() + "\n")
        };
        let compared = read.iter().any(|name| command.contains(name));
        // Invalidated data are resynced in full, whatever the bitmap says; the stock tool leaves it to the bitmap.
        let ours = out.replace("flags 0x00000008;", "flags 0x00000000;");
        let same = !compared || body(&ours) == body(&stock.text);
        if exit != wanted || !same {
            wrong += &format!(
                "{command}: {exit} instead of {wanted}\n{out}instead of\n{}\n",
                stock.text
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_file_is_tested_as_if_it_belonged() {
    let stage = Stage::new("test");
    let host = |name: &str, last: u8| {
        format!("on {name} {{ address 10.0.0.{last}:7788; device minor 1; disk /dev/d; meta-disk internal; }}")
    };
    let resource =
        |name: &str, first: &str| format!("resource {name} {{ {first} {} }}", host("beta", 2));
    let main = stage.file("main.conf");
    fs::write(
        &main,
        "global { disable-ip-verification; }\ninclude \"d/*.res\";\n",
    )
    .unwrap();
    fs::create_dir(stage.file("d")).unwrap();
    let old = stage.file("d/r0.res");
    fs::write(&old, resource("r0", &host("alpha", 1))).unwrap();
    let new = stage.file("new.res");
    let run = |words: &[&str]| {
        let mut all = vec!["drbdadm", "-c", &main];
        all.extend(words);
        stage.run(&all)
    };
    assert_eq!(run(&["sh-nop"]).0, 0);
    // What is wrong in the file is said.
    fs::write(&new, "resource r1 { bogus; }").unwrap();
    let (exit, _, err) = run(&["--config-to-test", &new, "sh-nop"]);
    assert_eq!(exit, 10);
    assert!(
        err.contains("new.res:1:15: error:") && err.contains("bogus"),
        "{err}"
    );
    // What fits nowhere beside the rest is said, too: the minor is taken.
    fs::write(&new, resource("r1", &host("alpha", 1))).unwrap();
    let (exit, _, err) = run(&["-t", &new, "sh-nop"]);
    assert_eq!(exit, 10);
    assert!(
        err.contains("minor 1 on 'alpha' for the second time"),
        "{err}"
    );
    // In place of the old file it is fine, and what is printed has it.
    let (exit, out, err) = run(&["-t", &new, "-E", &old, "sh-resources"]);
    assert_eq!((exit, out.as_str()), (0, "r1\n"), "{err}");
    assert_eq!(run(&["-t", &stage.file("none"), "sh-nop"]).0, 10);
    // A file that is included anyhow is no second copy.
    assert_eq!(run(&["-t", &old, "sh-nop"]).0, 0);
}

#[test]
fn operands_mean_what_they_mean_elsewhere() {
    let stage = Stage::new("operands");
    let main = stage.file("main.conf");
    let hosts = "on alpha { address 10.0.0.1:7788; } on beta { address 10.0.0.2:7788; }";
    let volume = |vnr: u32| {
        let minor = vnr + 1;
        format!("volume {vnr} {{ device minor {minor}; disk /dev/d{vnr}; meta-disk internal; }}")
    };
    let volumes = volume(0) + &volume(1);
    fs::write(&main, format!("resource r0 {{ {hosts} {volumes} }}\n")).unwrap();
    let run = |words: &[&str]| stage.run(&[&["drbdadm", "-c", &main], words].concat());
    let (exit, whole, _) = run(&["dump", "r0"]);
    assert!(exit == 0 && whole.contains("resource r0 {"), "{whole}");
    for operand in ["minor-2", "r0/1"] {
        assert_eq!(run(&["dump", operand]).1, whole, "{operand}");
    }
    for operand in ["minor-3", "r0/2", "r1"] {
        let (exit, out, err) = run(&["dump", operand]);
        assert!(exit == 1 && out.is_empty(), "{operand}: {out}");
        assert!(err.contains(&format!("'{operand}' not defined")), "{err}");
    }
    // What is named twice is done once.
    let once = run(&["-d", "up", "r0"]).1;
    assert!(once.contains("new-resource r0"), "{once}");
    for again in [&["all", "r0"], &["r0", "all"], &["r0", "r0"]] {
        assert_eq!(run(&[&["-d", "up"], &again[..]].concat()).1, once);
    }
    let both = ["-d", "primary", "r0/1", "r0/0", "minor-2"];
    assert_eq!(run(&both).1, "drbdsetup primary 2\ndrbdsetup primary 1\n");
    assert_eq!(run(&["sh-resource", "r0", "r0"]).1, "r0\nr0\n");
}

#[test]
fn a_file_with_all_kinds_of_places() {
    let stage = Stage::new("places");
    let main = stage.file("main.conf");
    let text = "global { disable-ip-verification; }
resource r0 {
  volume 0 { device minor 5; disk /dev/a; meta-disk /dev/m[1]; }
  volume 1 { device minor 6; disk /dev/b; flexible-meta-disk /dev/n; disk { size 10G; } }
  on alpha { address 10.0.0.1:7000; }
  on beta { address 10.0.0.2:7000; }
}
resource low {
  device /dev/drbd_low minor 8; disk /dev/l; meta-disk internal;
  on alpha { address 10.0.0.1:7001; }
  on beta { address 10.0.0.2:7001; }
}
resource high {
  stacked-on-top-of low { device minor 20; address 10.3.0.1:7002; }
  on gamma { device minor 20; disk /dev/q; meta-disk internal; address 10.3.0.2:7002; }
}
";
    fs::write(&main, text).unwrap();
    let run = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let (exit, out, err) = stage.run(&[&["drbdadm", "-c", &main], &words[..]].concat());
        assert_eq!(exit, 0, "{words:?}: {err}");
        out
    };
    // drbdmeta and drbdsetup have each a word of their own for metadata that grows with its device.
    assert_eq!(
        run("-d attach r0/1"),
        "drbdmeta 6 v08 /dev/n flex-external apply-al\ndrbdsetup attach 6 /dev/b /dev/n flexible --size=10G\n"
    );
    // Without its size it would grow to all of the disk.
    assert_eq!(
        run("-d resize r0"),
        "drbdsetup resize 5\ndrbdsetup resize 6 --size=10G\n"
    );
    assert_eq!(
        run("-d -- --size=5G resize r0/1"),
        "drbdsetup resize 6 --size=5G\n"
    );
    assert!(run("-d check-resize r0/1").starts_with("drbdsetup resize 6 --size=10G\n"));
    assert_eq!(run("sh-ip r0"), "10.0.0.1\n10.0.0.1\n");
    // A minor number says itself that it is stacked.
    assert_eq!(run("-d primary minor-20"), "drbdsetup primary 20\n");
    // Each volume's lines stand in front of what the kernel says of it, as scripts read them; stacked ones, too.
    let head = |name: &str, line: u32, on: [&str; 3]| {
        let [lower, device, minor] = on;
        format!(
            "_conf_res_name={name}\n_conf_file_line={main}:{line}\n\n_stacked_on={lower}\n\
             _stacked_on_device={device}\n_stacked_on_minor={minor}\n"
        )
    };
    let none = [""; 3];
    assert_eq!(
        run("-d sh-status"),
        head("r0", 2, none)
            + "_conf_volume=0\ndrbdsetup sh-status 5\n_conf_volume=1\ndrbdsetup sh-status 6\n"
            + &head("low", 8, none)
            + "_conf_volume=0\ndrbdsetup sh-status 8\n"
            + &head("high", 13, ["low", "/dev/drbd_low", "8"])
            + "_conf_volume=0\ndrbdsetup sh-status 20\n"
    );
    assert!(!run("-d sh-status r0").contains("_conf_res_name=low"));
}
