// SPDX-License-Identifier: GPL-2.0-only

//! What the programs do when their output cannot be written.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

fn tools(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drbd-tools"));
    command.args(words.split(' '));
    command
}

/// Where every write fails for want of room.
fn full() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").unwrap())
}

#[test]
fn a_reader_that_went_away_is_no_crash() {
    for program in ["drbdadm", "drbdsetup", "drbdmeta", "drbd-iscsi"] {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let output = tools(&format!("{program} --help"))
            .stdout(Stdio::from(OwnedFd::from(near)))
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program}");
        assert_eq!(output.status.code(), Some(141), "{program}");
    }
}

#[test]
fn output_that_is_lost_is_told() {
    for program in ["drbdmeta", "drbd-iscsi"] {
        let output = tools(&format!("{program} --help"))
            .stdout(full())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "cannot write the output: No space left on device\n",
            "{program}"
        );
        assert_eq!(output.status.code(), Some(20), "{program}");
    }
}

#[test]
fn complaints_that_are_lost_change_nothing() {
    for program in ["drbdadm", "drbd-iscsi"] {
        let output = tools(&format!("{program} nosuchcommand"))
            .stderr(full())
            .output();
        assert_eq!(output.unwrap().status.code(), Some(1), "{program}");
    }
}

/// What an export says of its progress may be lost; the export may not.
#[test]
fn an_export_goes_on_when_nobody_listens() {
    let folder = std::env::temp_dir().join(format!("drbd-output-{}", std::process::id()));
    let path = |name: &str| folder.join(name).display().to_string();
    fs::create_dir_all(path("root")).unwrap();
    fs::write(path("disk"), [0; 4096]).unwrap();
    let config = format!(
        "Target iqn.2001-04.com.example:a\n  Lun 0 Path={},Type=fileio\n",
        path("disk")
    );
    fs::write(path("ietd.conf"), config).unwrap();
    fs::write(path("drbd.conf"), "").unwrap();
    let run = |verb: &str| {
        let words = format!(
            "drbd-iscsi {verb} --config={} --drbd-conf={} --root={} --node=alpha",
            path("ietd.conf"),
            path("drbd.conf"),
            path("root")
        );
        tools(&words).stdout(full()).stderr(full()).output()
    };
    let target = folder.join("root/iscsi/iqn.2001-04.com.example:a");
    let applied = run("apply").unwrap().status.code();
    let exported = target.join("tpgt_1/lun/lun_0").exists();
    let removed = run("remove").unwrap().status.code();
    let left = target.exists();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!((applied, exported), (Some(0), true));
    assert_eq!((removed, left), (Some(0), false));
}
