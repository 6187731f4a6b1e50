// SPDX-License-Identifier: GPL-2.0-only

//! The rules of the house that no compiler checks.
//!
//! `tidy source` reads every file that git knows or would add; `tidy link MODULE` reads a linked
//! kernel module (panics, stack). Each finding is a line `place: rule: what, and what to do`; the exit code is 1
//! when there is one. Lengths over the recommended ones are listed as notes and do not fail.

mod layers;
mod link;
mod rules;
mod stack;
mod text;

use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// File, and line where there is one.
    pub(crate) place: String,
    /// Short name of the rule.
    pub(crate) rule: &'static str,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn at(path: &str, line: usize, rule: &'static str, what: impl Into<String>) -> Self {
        Self {
            place: format!("{path}:{line}"),
            rule,
            what: what.into(),
        }
    }
}

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn files() -> Result<Vec<String>, String> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .map_err(|e| format!("cannot run git: {e}"))?;
    if !listing.status.success() {
        return Err(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&listing.stderr)
        ));
    }
    Ok(String::from_utf8_lossy(&listing.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

fn source() -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    let mut seen = 0;
    for path in files()? {
        let Ok(bytes) = std::fs::read(top().join(&path)) else {
            continue; // deleted, not yet committed
        };
        let Ok(content) = String::from_utf8(bytes) else {
            continue; // captured bytes
        };
        seen += 1;
        rules::check(&path, &content, &mut findings, &mut notes);
    }
    for note in &notes {
        println!("note: {}: {}: {}", note.place, note.rule, note.what);
    }
    println!(
        "tidy: {seen} files, {} notes, {} findings",
        notes.len(),
        findings.len()
    );
    Ok(findings)
}

/// The rules of the house that no compiler checks.
#[derive(Parser)]
#[command(name = "tidy")]
enum Line {
    /// Read every file that git knows or would add.
    Source,
    /// Read a linked kernel module: panics, stack.
    Link {
        /// As .build/module/drbdrs.ko.
        module: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Line::parse() {
        Line::Source => source(),
        Line::Link { module } => link::check(&module, &top()),
    };
    match result {
        Ok(findings) => {
            for finding in &findings {
                eprintln!("{}: {}: {}", finding.place, finding.rule, finding.what);
            }
            ExitCode::from(u8::from(!findings.is_empty()))
        }
        Err(message) => {
            eprintln!("tidy: {message}");
            ExitCode::from(2)
        }
    }
}
