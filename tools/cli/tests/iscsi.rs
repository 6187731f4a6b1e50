// SPDX-License-Identifier: GPL-2.0-only

//! What drbd-iscsi says and how it ends, on a folder in place of the kernel's target.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

const IETD: &str = "Target iqn.2026-01.com.example:a\nLun 0 Path=/dev/drbd1,Type=blockio\n";
const DRBD: &str = "common { net { protocol C; allow-two-primaries; } }\n\
    resource r0 { device /dev/drbd1; disk /dev/sdq; meta-disk internal;\n\
    on alpha { address 192.0.2.1:7789; } on beta { address 192.0.2.2:7789; } }\n";
const PROC: &str = "version: 8.4.11 (api:1/proto:86-101)\n \
    1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n";

struct Stage(PathBuf);

impl Stage {
    fn new(name: &str) -> Stage {
        let name = format!("drbd-iscsi-says-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        let stage = Stage(path);
        stage.write("ietd.conf", IETD);
        stage.write("drbd.conf", DRBD);
        stage.write("proc", PROC);
        stage
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// The exit code and all that was said.
    fn says(&self, verb: &str, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drbd-tools"));
        command.args(["drbd-iscsi", verb]);
        for (option, name) in [
            ("--config", "ietd.conf"),
            ("--drbd-conf", "drbd.conf"),
            ("--proc", "proc"),
            ("--root", "root"),
        ] {
            if !more.contains(&option) {
                command.arg(option).arg(self.0.join(name));
            }
        }
        if !more.contains(&"--node") {
            command.args(["--node", "alpha"]);
        }
        let output = command.args(more).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    fn expect(&self, verb: &str, more: &[&str], code: i32, part: &str) {
        let (ended, text) = self.says(verb, more);
        assert!(ended == code && text.contains(part), "{ended}: {text}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_node_by_name_or_number() {
    let stage = Stage::new("node");
    stage.expect("plan", &["--node", "beta"], 0, "group 2");
    stage.expect("plan", &["--node", "2"], 0, "group 2");
    let none = "has no host 'nosuch'; there are: alpha, beta";
    stage.expect("plan", &["--node", "nosuch"], 10, none);
    let none = "has no host number 3; there are: alpha, beta";
    stage.expect("plan", &["--node", "3"], 10, none);
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let stage = Stage::new("root");
    let root = stage.0.join("nowhere");
    let path = root.display().to_string();
    for verb in ["apply", "status", "remove", "plan"] {
        stage.expect(verb, &["--root", &path], 20, "there is no folder");
    }
    assert!(!root.exists());
}

#[test]
fn nothing_is_something_to_say() {
    let stage = Stage::new("nothing");
    stage.expect("status", &[], 0, "nothing is exported\n");
    stage.write("ietd.conf", "# nothing\n");
    stage.expect("plan", &[], 0, "no targets");
    stage.write("ietd.conf", IETD);
    stage.expect("apply", &[], 0, "/dev/drbd1: active");
    stage.expect("status", &[], 0, "unit /dev/drbd1 active");
}

#[test]
fn a_driver_that_cannot_be_asked() {
    let stage = Stage::new("driver");
    stage.expect("apply", &[], 0, "/dev/drbd1: active");
    stage.write("proc", "garbage\n");
    for verb in ["plan", "apply", "active"] {
        stage.expect(verb, &[], 20, "is not what a DRBD driver writes");
    }
    stage.expect("status", &[], 0, "unit /dev/drbd1 active");
    stage.write("proc", "version: 8.4.11 (api:1/proto:86-101)\n");
    stage.expect("plan", &[], 0, "does not have this device: drbdadm up all");
    fs::remove_file(stage.0.join("proc")).unwrap();
    stage.expect("plan", &[], 0, "no driver is loaded: modprobe drbdrs");
}

#[test]
fn no_good_data_no_service() {
    let stage = Stage::new("data");
    stage.expect("apply", &[], 0, "/dev/drbd1: active");
    let lost = "ro:Primary/Unknown ds:Outdated/DUnknown";
    stage.write(
        "proc",
        &PROC.replace("ro:Primary/Secondary ds:UpToDate/UpToDate", lost),
    );
    let why = "the data of this node are not UpToDate";
    stage.expect("apply", &[], 0, &format!("standby: {why}"));
    stage.expect("active", &[], 20, why);
    stage.expect("status", &[], 0, "unit /dev/drbd1 standby");
}

#[test]
fn locks_that_were_off_do_not_come_back_on_both_nodes() {
    let stage = Stage::new("locks");
    stage.write(
        "proc",
        &PROC.replace("Primary/Secondary", "Primary/Primary"),
    );
    stage.expect("apply", &["--both-active"], 0, "/dev/drbd1: active");
    stage.expect("apply", &[], 0, "/dev/drbd1: standby: the peer is Primary");
}

#[test]
fn json_alone_makes_nobody_serve() {
    let stage = Stage::new("json");
    stage.expect("json", &[], 0, "\"alua_access_state\": 2");
    stage.expect("json", &["--both-active"], 0, "\"alua_access_state\": 0");
}

#[test]
fn what_is_no_longer_in_the_files_goes() {
    let stage = Stage::new("gone");
    let (one, two) = ("iqn.2026-01.x.y:one", "iqn.2026-01.x.y:two");
    let null = "Lun 3 Type=nullio,Blocks=8\n";
    stage.write("ietd.conf", &format!("{IETD}{null}"));
    // Beside ietd.conf, where ietd looks.
    stage.write("initiators.allow", &format!("ALL {one},{two}\n"));
    stage.expect("apply", &["--portal", "192.0.2.7"], 0, "active");
    let group = "root/iscsi/iqn.2026-01.com.example:a/tpgt_1";
    let there = |path: &str| stage.0.join(group).join(path).exists();
    for path in ["lun/lun_3", "np/192.0.2.7:3260"] {
        assert!(there(path), "{path}");
    }
    assert!(there(&format!("acls/{two}/lun_3")));
    stage.write("ietd.conf", IETD);
    stage.write("initiators.allow", &format!("ALL {one}\n"));
    let (code, text) = stage.says("apply", &[]);
    assert_eq!(code, 0, "{text}");
    for gone in [
        &format!("initiator {two} of"),
        "unit lun_3 of",
        "portal 192.0.2.7:3260 of",
    ] {
        assert!(text.contains(gone), "{text}");
    }
    for path in [
        "lun/lun_3",
        "np/192.0.2.7:3260",
        &format!("acls/{two}"),
        &format!("acls/{one}/lun_3"),
    ] {
        assert!(!there(path), "{path}");
    }
    assert!(there("lun/lun_0") && there(&format!("acls/{one}/lun_0")));
    stage.write("initiators.allow", "iqn.2026-01.com.example:b ALL\n");
    stage.expect("apply", &[], 0, "nobody may log in");
    stage.write("initiators.allow", "ALL 10.0.0.0/8\n");
    stage.expect(
        "apply",
        &[],
        10,
        "initiators.allow:1: '10.0.0.0/8' is no name",
    );
}
