// SPDX-License-Identifier: GPL-2.0-only

//! A guest's console: kept in a file, read by tests, and searched for what a healthy kernel never says.

use crate::error::At;
use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The last line of a report with a trace.
const TRACE_ENDS: &str = "---[ end trace";

/// What a healthy kernel never says. Each is looked for anywhere in a line.
pub const REPORTS: &[&str] = &[
    "BUG:",
    "BUG ",
    "kernel BUG at",
    "WARNING:",
    "Oops:",
    "general protection fault",
    "Kernel panic",
    "Call Trace:",
    "blocked for more than",
    "soft lockup",
    "rcu_preempt detected stalls",
    "rcu_sched detected stalls",
    "rcu: INFO:",
    "KFENCE:",
    "KASAN:",
    "UBSAN:",
    "still has objects",
    "Objects remaining",
    "Slab cache still",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
    "scheduling while atomic",
    "sleeping function called",
    "Out of memory",
    "page allocation failure",
    "unregister_netdevice: waiting",
    "lab: boot failed",
];

/// The console of one node; it goes on over power cuts.
#[derive(Clone)]
pub struct Console {
    path: PathBuf,
    text: Arc<Mutex<Text>>,
}

struct Text {
    file: File,
    all: String,
}

impl Console {
    /// Keeps what a guest says in the file `path`.
    pub fn new(path: &Path) -> Result<Console> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .at(path.display())?;
        let text = Arc::new(Mutex::new(Text {
            file,
            all: String::new(),
        }));
        Ok(Console {
            path: path.to_owned(),
            text,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a QEMU's serial line until it is gone.
    pub(crate) fn follow(&self, mut stream: UnixStream) {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            self.append(&String::from_utf8_lossy(buffer.get(..n).unwrap_or(&[])));
        }
    }

    /// A line of the lab's own, so that the log shows what was done when.
    pub fn note(&self, line: &str) {
        self.append(&format!("[lab] {line}\n"));
    }

    fn append(&self, said: &str) {
        let mut text = self.text.lock().unwrap_or_else(|e| e.into_inner());
        let said = said.replace('\r', "");
        let _ = text.file.write_all(said.as_bytes());
        text.all.push_str(&said);
    }

    /// All that was said so far.
    pub fn text(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .all
            .clone()
    }

    /// The last `lines` lines.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..)
            .unwrap_or(&[])
            .join("\n")
    }

    /// An error that quotes the first report of trouble; one with a word of `allowed` in its line or its trace is none.
    pub fn check(&self, allowed: &[&str]) -> Result<()> {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        let is_allowed = |line: &&str| allowed.iter().any(|word| line.contains(word));
        let bad = (0..lines.len()).find(|at| {
            let report = lines.get(*at..).unwrap_or(&[]);
            let is_report = report
                .first()
                .is_some_and(|line| REPORTS.iter().any(|r| line.contains(r)));
            let end = report.iter().take(80).position(|l| l.contains(TRACE_ENDS));
            is_report && !report.iter().take(end.unwrap_or(1)).any(is_allowed)
        });
        let Some(bad) = bad else { return Ok(()) };
        let quoted = lines
            .get(bad.saturating_sub(3)..(bad + 30).min(lines.len()))
            .unwrap_or(&[]);
        Err(Error::new(format!(
            "trouble in {}:\n{}",
            self.path.display(),
            quoted.join("\n")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_found_and_allowed_trouble_is_not() {
        let path = std::env::temp_dir().join(format!("lab-console-{}", std::process::id()));
        let console = Console::new(&path).unwrap();
        console.append("[    1.0] all is well\r\n");
        console.check(&[]).unwrap();
        console.append("[    2.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 some_place+0x1/0x2\n");
        let error = console.check(&[]).unwrap_err().to_string();
        assert!(error.contains("some_place"), "{error}");
        console.append("[    2.0]  some_caller+0x3/0x4\n");
        assert!(console.check(&["some_caller"]).is_err(), "no trace yet");
        console.append("[    2.0] ---[ end trace 0000000000000000 ]---\n");
        console.check(&["some_caller"]).unwrap();
        assert!(console.check(&["some_other"]).is_err());
        console.check(&["some_place"]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), console.text());
        std::fs::remove_file(path).unwrap();
    }
}
