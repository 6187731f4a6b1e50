// SPDX-License-Identifier: GPL-2.0-only

//! What the programs do when their output cannot be written.

use std::fs::File;
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
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let output = tools("drbdsetup --help")
        .stdout(Stdio::from(OwnedFd::from(near)))
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn output_that_is_lost_is_told() {
    let output = tools("drbdmeta --help")
        .stdout(full())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(20));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "cannot write the output: No space left on device\n"
    );
}

#[test]
fn complaints_that_are_lost_change_nothing() {
    let output = tools("drbdadm nosuchcommand").stderr(full()).output();
    assert_eq!(output.unwrap().status.code(), Some(1));
}
