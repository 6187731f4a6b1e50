// SPDX-License-Identifier: GPL-2.0-only

//! The resource agent of the iSCSI exporter, action by action, on a folder in place of the kernel's target.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Stage(PathBuf);

impl Stage {
    fn new() -> Stage {
        let path = std::env::temp_dir().join(format!("drbd-iscsi-ocf-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        symlink(env!("CARGO_BIN_EXE_drbd-tools"), path.join("drbd-iscsi")).unwrap();
        Stage(path)
    }

    fn role(&self, roles: &str) {
        let text = format!(" 1: cs:Connected ro:{roles} ds:UpToDate/UpToDate C r-----\n");
        fs::write(self.0.join("proc"), text).unwrap();
    }

    fn act(&self, action: &str) -> (i32, String) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let top = here.join("../..");
        let stage = self.0.display();
        let golden = top.join("tests/golden");
        let golden = golden.display();
        let options = format!(
            "--root {stage}/root --proc {stage}/proc --node iSCSI1.au.intranet \
             --config {golden}/iscsi/seed-ietd.conf --drbd-conf {golden}/config/seed-drbd.conf"
        );
        let output = Command::new("/bin/sh")
            .arg(top.join("tools/iscsi/service/ocf-agent"))
            .arg(action)
            .env("OCF_RESKEY_program", self.0.join("drbd-iscsi"))
            .env("OCF_RESKEY_options", options)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), text)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_action() {
    let stage = Stage::new();
    assert!(stage
        .act("meta-data")
        .1
        .contains("<action name=\"monitor\""));
    assert_eq!(stage.act("promote").0, 3);
    stage.role("Secondary/Primary");
    assert_eq!(stage.act("validate-all").0, 0);
    assert_eq!(stage.act("monitor").0, 7);
    assert_eq!(stage.act("start").0, 1, "not promoted");
    stage.role("Primary/Secondary");
    assert_eq!(stage.act("start").0, 0);
    assert_eq!(stage.act("start").0, 0, "started twice");
    assert_eq!(stage.act("monitor").0, 0);
    stage.role("Secondary/Primary");
    assert_eq!(stage.act("monitor").0, 7, "demoted");
    stage.role("Primary/Primary");
    assert_eq!(stage.act("start").0, 0);
    assert_eq!(stage.act("stop").0, 0);
    assert_eq!(stage.act("monitor").0, 7);
    assert_eq!(stage.act("stop").0, 0, "stopped twice");
}
