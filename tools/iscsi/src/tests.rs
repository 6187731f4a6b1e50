// SPDX-License-Identifier: GPL-2.0-only

//! Whole configurations: the first user's, one with every directive, one with every mistake; and trees in a folder.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use drbd_config::{Identity, Severity};

use crate::drbd::{mirrors, Me};
use crate::keys::{Becomes, KEYS};
use crate::plan::Wishes;
use crate::policy::Access;
use crate::tree::Tree;
use crate::{from_text, json, main, Planned};

fn golden(name: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.join("../../tests/golden/iscsi").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(golden(name)).unwrap()
}

fn same(name: &str, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden(name), text).unwrap();
    }
    assert_eq!(read(name), text, "{name}");
}

fn wishes(node: u16) -> Wishes {
    let text = include_str!("../../../tests/golden/config/seed-drbd.conf");
    let loaded = drbd_config::from_text("drbd.conf", text);
    let me = Identity {
        node: format!("iSCSI{node}.au.intranet"),
        addresses: Vec::new(),
    };
    Wishes {
        mirrors: mirrors(&loaded.config, &Me::Named(me)),
        ..Wishes::default()
    }
}

fn shown(planned: &Planned) -> String {
    let mut text = planned.report();
    for step in planned.plan.steps() {
        let _ = writeln!(text, "{step}");
    }
    text
}

#[test]
fn the_first_users_file_verbatim() {
    let mut text = String::new();
    for node in [1, 2] {
        let planned = from_text("ietd.conf", &read("seed-ietd.conf"), &wishes(node));
        assert!(!planned.is_broken(false));
        assert!(planned.is_broken(true), "fileio is worth a warning");
        let _ = write!(text, "# node {node}\n{}", shown(&planned));
    }
    same("seed.txt", &text);
}

#[test]
fn both_nodes_agree_but_for_groups_ports_and_access() {
    let steps = |node| {
        let planned = from_text("ietd.conf", &read("everything-ietd.conf"), &wishes(node));
        let steps: Vec<String> = planned.plan.steps().iter().map(|s| s.to_string()).collect();
        steps
    };
    let (one, two) = (steps(1), steps(2));
    assert_eq!(one.len(), two.len());
    for (a, b) in one.iter().zip(&two).filter(|(a, b)| a != b) {
        let may = ["/rtpi = ", "tg_pt_gp", "alua/node"];
        assert!(may.iter().any(|part| a.contains(part)), "{a}\n{b}");
    }
}

#[test]
fn every_directive_is_mapped_warned_about_or_refused() {
    let planned = from_text("ietd.conf", &read("everything-ietd.conf"), &wishes(1));
    assert!(!planned.is_broken(false), "{}", planned.report());
    same("everything.txt", &shown(&planned));
    same("everything.json", &json::saveconfig(&planned.plan));
    let written = read("everything-ietd.conf").to_ascii_lowercase();
    let report = planned.report();
    let steps = shown(&planned);
    for key in KEYS {
        let name = key.name.to_ascii_lowercase();
        let word = |line: &str| line.split_whitespace().next() == Some(&name);
        if key.name != "IFMarkInt" {
            assert!(written.lines().any(word), "{} is not in the file", key.name);
        }
        if let Becomes::Parameter = key.becomes {
            assert!(
                steps.contains(&format!("/param/{} = ", key.name)),
                "{}",
                key.name
            );
        }
        if let Becomes::Nothing("", _) = key.becomes {
            assert!(
                key.name == "IFMarkInt" || report.contains(key.name),
                "{}",
                key.name
            );
        }
    }
}

#[test]
fn every_mistake_has_its_place_and_its_remedy() {
    let planned = from_text("ietd.conf", &read("broken-ietd.conf"), &wishes(1));
    assert!(planned.is_broken(false));
    same("broken.txt", &planned.report());
    for diagnostic in &planned.diagnostics {
        assert!(!diagnostic.advice.is_empty(), "{}", diagnostic.message);
    }
}

fn errors(text: &str, wishes: &Wishes) -> Vec<String> {
    let planned = from_text("ietd.conf", text, wishes);
    let errors = planned.diagnostics.iter();
    let errors = errors.filter(|d| d.severity == Severity::Error);
    errors.map(|d| d.message.clone()).collect()
}

#[test]
fn pasted_text() {
    let text = "\u{feff}target\u{a0}iqn.2026-01.com.example:a\r\n\r\n  # a comment\r\nlun\t0\u{a0}Path=/dev/sdc\r\n";
    let planned = from_text("ietd.conf", text, &Wishes::default());
    assert!(!planned.is_broken(false), "{}", planned.report());
    assert_eq!(planned.plan.units().count(), 1);
    assert_eq!(
        planned.report().matches("U+00A0 taken as a space").count(),
        2
    );
}

/// All that is said about a unit, without its places.
fn said(lun: &str) -> Vec<String> {
    let text = format!("Target iqn.2026-01.com.example:a\n{lun}\n");
    let planned = from_text("ietd.conf", &text, &wishes(1));
    let said = planned.diagnostics.iter();
    said.map(|d| format!("{}: {}", d.message, d.advice))
        .collect()
}

#[test]
fn one_mistake_in_a_unit_is_said_once() {
    for (lun, what) in [
        (
            "Lun 0 Path=/dev/drbd1, Type=blockio",
            "unexpected 'Type=blockio': no blanks after the comma",
        ),
        (
            "Lun 0 Path=/dev/drbd1 ,Type=blockio",
            "unexpected ',Type=blockio': the options of a unit are joined by commas, without blanks",
        ),
        (
            "Lun 0 Path=/dev/drbd1 Type=blockio",
            "unexpected 'Type=blockio': the options of a unit are joined by commas, without blanks",
        ),
        (
            "Lun 0 Path=/dev/my disk,Type=blockio",
            "unexpected 'disk,Type=blockio': remove it: a path with blanks cannot be written",
        ),
        (
            "Lun 0 Path=/dev/drbd1,Tpye=blockio",
            "unknown option 'Tpye': 'Type'?",
        ),
        (
            "lun 0 path=/dev/drbd1,Type=blockio",
            "unknown option 'path': 'Path'? (with regard to case)",
        ),
        (
            "Lun 0 Path=/dev/drbd1,Type=blokio",
            "'blokio' is no type: 'blockio'?",
        ),
        (
            "Lun 0 Path=,Type=blockio",
            "'Path' without a value: write NAME=VALUE",
        ),
        (
            "Lun 99999 Path=/dev/drbd1,Type=blockio",
            "'99999' is no number of a unit: a number from 0 to 16383",
        ),
    ] {
        assert_eq!(said(lun), [what], "{lun}");
    }
}

/// All that is said about a target with one good unit and these lines.
fn said_of(lines: &str) -> Vec<String> {
    said(&format!("{lines}\nLun 0 Path=/dev/drbd1,Type=blockio"))
}

#[test]
fn pasted_characters_are_named() {
    for (line, what) in [
        (
            "IncomingUser joe \u{201c}123456789\u{201d}",
            "curly quote (U+201C): ",
        ),
        (
            "IncomingUser jo\u{2013}e 123456789012",
            "en dash (U+2013): ",
        ),
        (
            "\u{201c}IncomingUser joe 123456789012",
            "curly quote (U+201C): ",
        ),
        ("MaxBurstLength \u{2018}1024", "curly quote (U+2018): "),
        (
            "Lun 1 Path=\u{201c}/dev/sdc\u{201d},Type=blockio",
            "curly quote (U+201C): ",
        ),
        (
            "Lun 1 Path=/dev/disk/by\u{2011}id/x,Type=blockio",
            "non-breaking hyphen (U+2011): ",
        ),
    ] {
        let told = said_of(line);
        assert!(
            told.len() == 1 && told[0].starts_with(what),
            "{line}: {told:?}"
        );
        assert!(told[0].contains("pasted"), "{told:?}");
    }
    assert_eq!(
        said_of("Alias Jo\u{2019}s disk \u{2013} big"),
        Vec::<String>::new()
    );
    let text = "Target iqn.2026\u{2013}01.com.example:a\nLun 0 Path=/dev/drbd1,Type=blockio\n";
    let planned = from_text("ietd.conf", text, &wishes(1));
    assert_eq!(planned.report().matches("error:").count(), 1);
    assert!(planned.report().contains("a plain '-' was probably meant"));
}

#[test]
fn a_first_burst_is_not_longer_than_the_longest() {
    let told = said_of("MaxBurstLength 65536\nFirstBurstLength 131072");
    assert!(told[0].starts_with("FirstBurstLength 131072 is more than MaxBurstLength 65536: "));
    let told = said_of("MaxBurstLength 32768");
    assert!(told[0].starts_with("FirstBurstLength 65536 (the default) is more than"));
    let told = said_of("FirstBurstLength 524288");
    assert!(told[0].contains("than MaxBurstLength 262144 (the default)"));
    assert!(said_of("MaxBurstLength 65536\nFirstBurstLength 65536").is_empty());
}

#[test]
fn lengths_that_initiators_refuse() {
    for (secret, warned) in [("12345678901", true), ("123456789012", false)] {
        let told = said_of(&format!("IncomingUser joe {secret}"));
        assert_eq!(!told.is_empty(), warned, "{told:?}");
    }
    assert!(said_of("IncomingUser joe 12345678901234567")[0].starts_with("secret of 17 bytes"));
    let told = said("Lun 0 Path=/dev/drbd1,Type=blockio,ScsiSN=12345678901234567");
    assert!(told[0].starts_with("serial number of 17 bytes"), "{told:?}");
}

#[test]
fn secrets_are_not_shown() {
    let text = "Target iqn.2026-01.com.example:a\nIncomingUser joe s3cr\u{e9}t more\nOutgoingUser x s3cr\u{e9}t\n";
    let planned = from_text("ietd.conf", text, &wishes(1));
    let report = planned.report();
    assert!(report.contains("IncomingUser joe ******* more"), "{report}");
    assert!(!report.contains("s3cr"), "{report}");
}

#[test]
fn two_paths_with_one_name() {
    let told = said("Lun 0 Path=/dev/a-b,Type=blockio\nLun 1 Path=/dev/a/b,Type=blockio");
    assert!(
        told.len() == 1 && told[0].contains("one name in the kernel's target"),
        "{told:?}"
    );
}

#[test]
fn a_backslash_joins_lines() {
    for lun in [
        "Lun 0 Path=/dev/drbd1,\\\n\tType=blockio",
        "Lun 0 \\\r\n  Path=/dev/drbd1,Type=blockio",
        "Lun 0 Path=/dev/drbd1\\\n,Type=blockio",
        "Lun \\\n\\\n0 Path=/dev/drbd1,\\\nType=blockio,\\\nScsiSN=12",
        "Lun 0 Path=/dev/drbd1,Type=blockio \\",
    ] {
        assert_eq!(said(lun), Vec::<String>::new(), "{lun}");
    }
    let told = said("# a comment \\\nLun 9 Path=/dev/nothing\nLun 0 Path=/dev/drbd1,Type=blockio");
    assert!(
        told.len() == 1 && told[0].starts_with("the next line belongs"),
        "{told:?}"
    );
    let told = said("Lun 0 Path=/dev/drbd1 \\ \n Type=blockio");
    assert!(
        told[0].contains("the last character of the first"),
        "{told:?}"
    );
    let told = said("Lun 0 Path=/dev/drbd1 \\\n Type=blockio");
    assert!(told[0].starts_with("unexpected 'Type=blockio'"), "{told:?}");
}

#[test]
fn two_paths_need_protocol_c() {
    let mut wishes = wishes(1);
    let text = "Target iqn.2026-01.com.example:a\nLun 0 Path=/dev/drbd1,Type=blockio\n";
    assert!(errors(text, &wishes).is_empty());
    wishes.mirrors.devices[0].protocol = "A".to_owned();
    assert!(errors(text, &wishes)[0].contains("with protocol A"));
    wishes.mirrors.devices[0].two_primaries = false;
    assert!(
        errors(text, &wishes).is_empty(),
        "one path works with any protocol"
    );
    let planned = from_text("ietd.conf", text, &wishes);
    assert!(planned.report().contains("are lost with the node"));
    wishes.both_active = true;
    assert!(errors(text, &wishes)[0].contains("only one may be Primary"));
}

#[test]
fn both_active_has_no_locks() {
    let mut wishes = wishes(2);
    wishes.both_active = true;
    let planned = from_text("ietd.conf", &read("seed-ietd.conf"), &wishes);
    let text = shown(&planned);
    for name in ["emulate_caw", "emulate_pr", "emulate_3pc"] {
        assert!(text.contains(&format!("attrib/{name} = 0\n")), "{name}");
    }
    assert!(text.contains("it has no SCSI locks"));
}

/// A folder of the test's own; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("drbd-iscsi-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        Folder(path)
    }

    fn proc_drbd(&self, state: &str) {
        fs::write(self.0.join("proc"), format!(" 1: {state} C r-----\n")).unwrap();
    }

    fn run(&self, verb: &str, more: &[&str]) -> i32 {
        let path = |name: &str| self.0.join(name).display().to_string();
        let drbd_conf = golden("../config/seed-drbd.conf").display().to_string();
        let config = golden("seed-ietd.conf").display().to_string();
        let (root, proc) = (path("root"), path("proc"));
        let mut args = vec![verb, "--node", "iSCSI1.au.intranet", "--config", &config];
        args.extend(["--drbd-conf", &drbd_conf, "--root", &root, "--proc", &proc]);
        args.extend(more);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        main(&args)
    }

    fn tree(&self) -> Tree {
        Tree::new(Some(&self.0.join("root").display().to_string()))
    }

    fn access(&self) -> Option<Access> {
        self.tree().access("core/iblock_84/drbd1")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const IQN: &str = "iqn.2000-12.com.blogsite.lraikhman:storage.lun1";

#[test]
fn applied_twice_changes_nothing_and_removed_leaves_nothing() {
    let folder = Folder::new("twice");
    folder.proc_drbd("cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", &[]), 0);
    let tree = folder.tree();
    assert_eq!(tree.targets(), [IQN]);
    assert_eq!(folder.access(), Some(Access::Active));
    let planned = from_text("ietd.conf", &read("seed-ietd.conf"), &wishes(1));
    for step in planned.plan.steps() {
        // The plan alone says 'standby'; who carries it out decides.
        let decided = step.to_string().contains("alua_access_state");
        assert!(decided || !tree.apply(&step).unwrap(), "{step}");
    }
    assert_eq!(folder.run("status", &[]), 0);
    assert_eq!(folder.run("remove", &[]), 0);
    assert!(tree.targets().is_empty() && tree.backstores().is_empty());
    assert_eq!(folder.run("remove", &[]), 0);
}

#[test]
fn foreign_targets_are_left_alone() {
    let folder = Folder::new("foreign");
    let tree = folder.tree();
    let foreign = "iscsi/iqn.2026-01.com.example:other/tpgt_1";
    tree.write("core/iblock_0/other/enable", "1").unwrap();
    tree.write(&format!("{foreign}/lun/lun_0/alua_tg_pt_gp"), "")
        .unwrap();
    let link = crate::steps::Step::Link {
        path: format!("{foreign}/lun/lun_0/other"),
        to: "core/iblock_0/other".to_owned(),
    };
    tree.apply(&link).unwrap();
    folder.proc_drbd("cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", &[]), 0);
    assert_eq!(tree.targets(), [IQN]);
    assert_eq!(folder.run("remove", &[]), 0);
    assert!(tree.exists(foreign) && tree.exists("core/iblock_0/other"));
}

#[test]
fn who_serves_follows_the_roles() {
    let folder = Folder::new("roles");
    let silent = &["--peer-portal", "127.0.0.1:1"];
    folder.proc_drbd("cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", silent), 0);
    assert_eq!(folder.access(), None);
    // Promoted while the peer serves.
    folder.proc_drbd("cs:Connected ro:Primary/Primary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", silent), 0);
    assert_eq!(folder.access(), Some(Access::Standby));
    // The link goes, the peer's portal answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = listener.local_addr().unwrap().to_string();
    folder.proc_drbd("cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown");
    assert_eq!(folder.run("apply", &["--peer-portal", &portal]), 0);
    assert_eq!(folder.access(), Some(Access::Standby));
    // It does not answer either.
    assert_eq!(folder.run("apply", silent), 0);
    assert_eq!(folder.access(), Some(Access::Active));
    // It comes back.
    folder.proc_drbd("cs:Connected ro:Primary/Primary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", silent), 0);
    assert_eq!(folder.access(), Some(Access::Active));
    assert_eq!(folder.run("standby", silent), 0);
    assert_eq!(folder.access(), Some(Access::Standby));
    assert_eq!(folder.run("apply", silent), 0);
    assert_eq!(
        folder.access(),
        Some(Access::Standby),
        "what the user said holds"
    );
    assert_eq!(folder.run("active", silent), 0);
    assert_eq!(folder.access(), Some(Access::Active));
    // Demoted: nothing is exported.
    folder.proc_drbd("cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", silent), 0);
    assert!(folder.tree().targets().is_empty());
}

#[test]
fn the_second_node_waits_until_the_first_exports() {
    let folder = Folder::new("turn");
    folder.proc_drbd("cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate");
    let first = ["--node", "iSCSI1.au.intranet"];
    assert_eq!(folder.run("wait-turn", &first), 0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = listener.local_addr().unwrap().to_string();
    drop(listener);
    let started = std::time::Instant::now();
    let opens = std::thread::spawn({
        let portal = portal.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            std::net::TcpListener::bind(portal).unwrap()
        }
    });
    let second = ["--node", "iSCSI2.au.intranet", "--peer-portal", &portal];
    assert_eq!(folder.run("wait-turn", &second), 0);
    assert!(started.elapsed() >= std::time::Duration::from_millis(300));
    drop(opens.join().unwrap());
    // A peer that is not there is not waited for.
    folder.proc_drbd("cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown");
    assert_eq!(folder.run("wait-turn", &second), 0);
}

#[test]
fn commands_and_reservations_end_with_the_switch() {
    let folder = Folder::new("locks");
    folder.proc_drbd("cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", &[]), 0);
    let tree = folder.tree();
    // A folder knows no commands: that the unit was taken down shows by what was in it.
    let registered = "core/iblock_84/drbd1/pr/res_pr_registered_i_pts";
    for (verb, access) in [("standby", Access::Standby), ("active", Access::Active)] {
        tree.write(registered, "a registration").unwrap();
        // Nothing switches: they stay.
        assert_eq!(folder.run("apply", &["--peer-portal", "127.0.0.1:1"]), 0);
        assert!(tree.exists(registered));
        folder.proc_drbd("cs:Connected ro:Primary/Primary ds:UpToDate/UpToDate");
        assert_eq!(folder.run(verb, &[]), 0);
        assert!(!tree.exists(registered), "{verb}");
        assert_eq!(folder.access(), Some(access));
        assert_eq!(tree.targets(), [IQN]);
    }
}

#[test]
fn read_only_from_now_on() {
    let folder = Folder::new("read-only");
    folder.proc_drbd("cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate");
    assert_eq!(folder.run("apply", &[]), 0);
    let info = "core/iblock_84/drbd1/info";
    let tree = folder.tree();
    tree.write(
        info,
        "iBlock device: drbd1  UDEV PATH: /dev/drbd1  readonly: 0\n",
    )
    .unwrap();
    assert_eq!(folder.run("apply", &[]), 0);
    assert!(tree.exists(info), "nothing changed");
    let config = folder.0.join("ietd.conf");
    let text = read("seed-ietd.conf").replace("Type=fileio", "Type=blockio,IOMode=ro");
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    assert_eq!(folder.run("apply", &["--config", &config]), 0);
    assert!(!tree.exists(info), "it was made anew");
    let control = tree.read("core/iblock_84/drbd1/control").unwrap();
    assert!(control.ends_with(",readonly=1"), "{control}");
}

#[test]
fn initiators_by_name() {
    let folder = Folder::new("initiators");
    folder.proc_drbd("cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate");
    let file = folder.0.join("initiators.allow");
    let name = "iqn.1998-01.com.vmware:esx1";
    fs::write(&file, format!("# who\n{IQN} {name}, {name}2\n")).unwrap();
    let path = file.display().to_string();
    assert_eq!(folder.run("apply", &["--initiators", &path]), 0);
    let acl = format!("iscsi/{IQN}/tpgt_1/acls/{name}2/lun_0/write_protect");
    assert_eq!(folder.tree().read(&acl).as_deref(), Some("0"));
    let generate = format!("iscsi/{IQN}/tpgt_1/attrib/generate_node_acls");
    assert_eq!(folder.tree().read(&generate).as_deref(), Some("0"));
    assert_eq!(folder.run("remove", &[]), 0);
    fs::write(&file, format!("{IQN} 192.168.0.0/24\n")).unwrap();
    assert_eq!(folder.run("apply", &["--initiators", &path]), 10);
    fs::write(&file, "ALL ALL\n").unwrap();
    assert_eq!(folder.run("plan", &["--initiators", &path]), 0);
}

#[test]
fn wrong_usage() {
    let folder = Folder::new("usage");
    folder.proc_drbd("cs:Unconfigured");
    assert_eq!(main(&[]), 1);
    assert_eq!(folder.run("exprot", &[]), 1);
    assert_eq!(folder.run("plan", &["--protal", "1.2.3.4"]), 1);
    assert_eq!(folder.run("plan", &["--portal", "here"]), 1);
    assert_eq!(folder.run("plan", &["--strict"]), 10);
    assert_eq!(folder.run("active", &[]), 20, "not exported");
}

mod words {
    use super::*;

    /// A small generator: no text makes the parser panic or lose a place.
    #[test]
    fn no_text_breaks_the_parser() {
        let parts = [
            "Target",
            "Lun",
            " 0 ",
            "Path=",
            "/dev/sdc",
            ",",
            "Type=fileio",
            "\n",
            "\t",
            "#",
            "\u{a0}",
            "é",
            "iqn.2026-01.a.b:c",
            "IncomingUser",
            "HeaderDigest",
            "ScsiSN=",
            "=",
            "\r\n",
            "\0",
            "99999999999999999999",
            "Alias",
            "\u{feff}",
        ];
        let mut lot = 1u64;
        for _ in 0..800 {
            let mut text = String::new();
            for _ in 0..24 {
                lot = lot
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let index = usize::try_from(lot >> 33).unwrap() % parts.len();
                text.push_str(parts[index]);
            }
            let planned = from_text("ietd.conf", &text, &Wishes::default());
            let _ = shown(&planned);
            let _ = json::saveconfig(&planned.plan);
        }
    }
}
