// SPDX-License-Identifier: GPL-2.0-only

//! No line of the linked module can reach a panic, except those of a written list.
//!
//! On these kernels overflow checks are on, and a panic is an oops: an addition of a number that a
//! peer sent would let the peer stop the node. What the optimiser could not prove impossible is
//! visible as a call of a `core::panicking` function. Relocations name the callee, and the debug
//! information says which line of which file the call was inlined from; calls that stem from the
//! kernel's own crates are the kernel's affair.
//!
//! The list (scripts/tidy/panics) has one line per exception: `file<TAB>panic function<TAB>reason`.

use crate::Finding;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Callees that do not return because something was wrong.
const PANICKING: &[&str] = &[
    "core::panicking::",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::cell::panic_already_",
    "copy_from_slice_impl::len_mismatch_fail",
    "rust_build_error",
];

/// A call of a panic function, where the linker will put it.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    section: String,
    address: String,
    callee: String,
}

/// Reads `objdump -dr` of a module.
fn panicking_calls(disassembly: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut section = "";
    for line in disassembly.lines() {
        if let Some(name) = line.strip_prefix("Disassembly of section ") {
            section = name.trim_end_matches(':');
        }
        let Some((address, relocation)) = line.trim().split_once(": R_X86_64_") else {
            continue;
        };
        let Some((_, target)) = relocation.split_once(char::is_whitespace) else {
            continue;
        };
        let target = target.trim();
        let callee = target
            .rsplit_once(['-', '+'])
            .map_or(target, |(name, _)| name);
        if PANICKING.iter().any(|prefix| callee.contains(prefix)) {
            calls.push(Call {
                section: section.to_owned(),
                address: address.to_owned(),
                callee: callee.to_owned(),
            });
        }
    }
    calls
}

/// The `file:line` that answers for a call: the innermost one that is not of the core library.
/// `frames` are the lines of `addr2line -i`, innermost first.
fn answerable<'a>(frames: &[&'a str]) -> &'a str {
    let own = frames.iter().find(|frame| !frame.contains("/library/"));
    own.or(frames.first()).copied().unwrap_or("??:0")
}

/// Groups the output of `addr2line -a -i`: an address starts the frames of a call.
fn frames(output: &str) -> Vec<Vec<&str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    for line in output.lines() {
        if line.starts_with("0x") {
            all.push(Vec::new());
        } else if let Some(last) = all.last_mut() {
            last.push(line.split(" (discriminator").next().unwrap_or(line));
        }
    }
    all
}

/// Where in the sources the calls are from: `callee` per `file:line`, files relative to the top.
fn places(
    module: &Path,
    top: &Path,
    calls: &[Call],
) -> Result<BTreeMap<(String, String), usize>, String> {
    let mut found = BTreeMap::new();
    let mut sections: Vec<&str> = calls.iter().map(|call| call.section.as_str()).collect();
    sections.sort_unstable();
    sections.dedup();
    for section in sections {
        let here: Vec<&Call> = calls
            .iter()
            .filter(|call| call.section == section)
            .collect();
        let addresses: String = here
            .iter()
            .map(|call| format!("0x{}\n", call.address))
            .collect();
        let output = addr2line(module, section, &addresses)?;
        for (call, frames) in here.iter().zip(frames(&output)) {
            let place = answerable(&frames);
            let place = Path::new(place)
                .strip_prefix(top)
                .unwrap_or(Path::new(place));
            if place.is_relative() {
                *found
                    .entry((place.display().to_string(), call.callee.clone()))
                    .or_insert(0) += 1;
            }
        }
    }
    Ok(found)
}

fn addr2line(module: &Path, section: &str, addresses: &str) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("cannot run addr2line (package binutils): {e}");
    let mut child = Command::new("addr2line")
        .args(["-a", "-i", "-j", section, "-e"])
        .arg(module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take().ok_or("addr2line has no input")?;
    let addresses = addresses.to_owned();
    // In a thread of its own: the output must be read while the input is being written.
    let writer = std::thread::spawn(move || input.write_all(addresses.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    writer
        .join()
        .map_err(|_| "cannot write to addr2line")?
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An exception: which file may call what, and why.
struct Allowed<'a> {
    file: &'a str,
    callee: &'a str,
    reason: &'a str,
    line: usize,
}

fn allowed(list: &str) -> Vec<Allowed<'_>> {
    let lines = list.lines().enumerate();
    let meant = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    meant
        .map(|(number, line)| {
            let mut words = line.splitn(3, '\t').map(str::trim);
            let mut word = || words.next().unwrap_or("");
            Allowed {
                file: word(),
                callee: word(),
                reason: word(),
                line: number + 1,
            }
        })
        .collect()
}

impl Allowed<'_> {
    fn covers(&self, place: &str, callee: &str) -> bool {
        let file = place.rsplit_once(':').map_or(place, |(file, _)| file);
        file == self.file && callee.ends_with(self.callee)
    }
}

fn judge(calls: &BTreeMap<(String, String), usize>, list: &str) -> Vec<Finding> {
    let allowed = allowed(list);
    let mut findings = Vec::new();
    for (place, callee) in calls.keys() {
        if !allowed.iter().any(|entry| entry.covers(place, callee)) {
            let what = format!("can call {callee}: check the value, or use checked_, wrapping_, saturating_, get()");
            findings.push(Finding {
                place: place.clone(),
                rule: "panic",
                what,
            });
        }
    }
    for entry in allowed.iter().filter(|entry| entry.reason.is_empty()) {
        let what = "an exception needs `file<TAB>panic function<TAB>reason`";
        findings.push(Finding::at(
            "scripts/tidy/panics",
            entry.line,
            "panic",
            what,
        ));
    }
    findings
}

/// Checks a linked module against the list of exceptions.
pub(crate) fn check(module: &Path, top: &Path) -> Result<Vec<Finding>, String> {
    let list = top.join("scripts/tidy/panics");
    let list = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let dump = Command::new("objdump")
        .args(["-d", "-r", "--demangle=rust", "--no-show-raw-insn"])
        .arg(module)
        .output()
        .map_err(|e| format!("cannot run objdump (package binutils): {e}"))?;
    if !dump.status.success() {
        return Err(format!(
            "objdump {}: {}",
            module.display(),
            String::from_utf8_lossy(&dump.stderr)
        ));
    }
    let dump = String::from_utf8_lossy(&dump.stdout);
    let calls = panicking_calls(&dump);
    let places = places(module, top, &calls)?;
    println!(
        "tidy: {} panicking calls, {} of our own lines, {} exceptions",
        calls.len(),
        places.len(),
        allowed(&list).len()
    );
    // What is inlined where depends on the compiler; an exception that is idle today may be needed again.
    for entry in allowed(&list) {
        if !places
            .keys()
            .any(|(place, callee)| entry.covers(place, callee))
        {
            println!("note: scripts/tidy/panics:{}: not needed now", entry.line);
        }
    }
    let mut findings = judge(&places, &list);
    findings.extend(crate::stack::check(&dump));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "\
Disassembly of section .text.unlikely:

0000000000002410 <drbd_core::config::parse>:
    2420:\tcall   2425 <drbd_core::config::parse+0x15>
\t\t\t2421: R_X86_64_PLT32\tcore::panicking::panic_const::panic_const_add_overflow-0x4
    2430:\tcall   2435 <drbd_core::config::parse+0x25>
\t\t\t2431: R_X86_64_PLT32\tmemcpy-0x4
";

    fn one() -> BTreeMap<(String, String), usize> {
        let callee = "core::panicking::panic_const::panic_const_add_overflow".to_owned();
        BTreeMap::from([(("rust/a.rs:7".to_owned(), callee), 1)])
    }

    #[test]
    fn a_panicking_call_is_found_with_its_place() {
        let calls = panicking_calls(DUMP);
        assert_eq!(calls.len(), 1);
        assert_eq!(
            (calls[0].section.as_str(), calls[0].address.as_str()),
            (".text.unlikely", "2421")
        );
    }

    #[test]
    fn the_line_that_used_the_core_library_answers_for_it() {
        let output = "0x2421\n/usr/src/rustc-1.85.1/library/core/src/slice/index.rs:9\n/x/drbdrs/a.rs:3 (discriminator 1)\n0x1\n/k/rust/kernel/alloc/kvec.rs:4\n/x/drbdrs/b.rs:5\n";
        let frames = frames(output);
        assert_eq!(answerable(&frames[0]), "/x/drbdrs/a.rs:3");
        assert_eq!(answerable(&frames[1]), "/k/rust/kernel/alloc/kvec.rs:4");
    }

    #[test]
    fn a_listed_call_with_a_reason_is_allowed() {
        assert_eq!(judge(&one(), "").len(), 1);
        assert!(judge(
            &one(),
            "rust/a.rs\tpanic_const_add_overflow\tbounded by the table\n"
        )
        .is_empty());
    }

    #[test]
    fn an_exception_without_reason_is_a_finding() {
        let list = "rust/a.rs\tpanic_const_add_overflow\n";
        assert_eq!(judge(&one(), list).len(), 1);
    }
}
