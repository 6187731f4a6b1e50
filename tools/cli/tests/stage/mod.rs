// SPDX-License-Identifier: GPL-2.0-only

//! A folder with the programs under their names, and the transcripts of the stock ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A folder with the programs under their names.
pub struct Stage(PathBuf);

impl Stage {
    pub fn new(name: &str) -> Stage {
        let path = std::env::temp_dir().join(format!("drbd-golden-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        for program in ["drbdadm", "drbdsetup", "drbdmeta"] {
            symlink(env!("CARGO_BIN_EXE_drbd-tools"), path.join(program)).unwrap();
        }
        Stage(path)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Exit code, standard output, standard error.
    pub fn run(&self, words: &[&str]) -> (i32, String, String) {
        let (program, args) = words.split_first().unwrap();
        let output = Command::new(self.0.join(program))
            .args(args)
            .env("__DRBD_NODE__", "alpha")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One command of a transcript.
pub struct Recorded {
    pub command: String,
    pub text: String,
    pub exit: i32,
}

/// A transcript taken apart: `head` is in front of each command, `exit` in front of its exit code.
pub fn transcript(text: &str, head: &str, exit: &str) -> Vec<Recorded> {
    let mut all: Vec<Recorded> = Vec::new();
    for line in text.lines() {
        if let Some(code) = line.strip_prefix(exit) {
            all.last_mut().unwrap().exit = code.parse().unwrap();
        } else if let Some(command) = line.strip_prefix(head) {
            all.push(Recorded {
                command: command.trim().to_owned(),
                text: String::new(),
                exit: 0,
            });
        } else if let Some(last) = all.last_mut() {
            last.text += &format!("{line}\n");
        }
    }
    all
}

/// The text of a file under `tests/golden`.
pub fn golden(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
    fs::read_to_string(format!("{path}{name}")).unwrap()
}
