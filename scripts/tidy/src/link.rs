// SPDX-License-Identifier: GPL-2.0-only

//! No function of the linked module can reach a panic, except those of a written list.
//!
//! On these kernels overflow checks are on, and a panic is an oops: an addition of a number that a
//! peer sent would let the peer stop the node. What the optimiser could not prove impossible is
//! visible as a call of a `core::panicking` function; relocations name the caller and the callee.
//!
//! The list (scripts/tidy/panics) has one line per exception: `function panic-function reason...`.

use crate::Finding;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

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

/// Reads `objdump -dr` of a module: callee per caller, both demangled, without duplicates.
fn panicking_calls(disassembly: &str) -> BTreeMap<(String, String), usize> {
    let mut calls = BTreeMap::new();
    let mut caller = String::new();
    for line in disassembly.lines() {
        if let Some(name) = line
            .strip_suffix(">:")
            .and_then(|l| l.split_once(" <"))
            .map(|(_, name)| name)
        {
            caller = name.to_owned();
        } else if let Some((_, target)) = line
            .split_once("R_X86_64_")
            .and_then(|(_, l)| l.split_once(char::is_whitespace))
        {
            let target = target.trim();
            let callee = target
                .rsplit_once(['-', '+'])
                .map_or(target, |(name, _)| name);
            if PANICKING.iter().any(|prefix| callee.contains(prefix)) {
                *calls
                    .entry((caller.clone(), callee.to_owned()))
                    .or_insert(0) += 1;
            }
        }
    }
    calls
}

/// An exception: who may call what, and why.
struct Allowed<'a> {
    caller: &'a str,
    callee: &'a str,
    reason: &'a str,
    line: usize,
}

fn allowed(list: &str) -> Vec<Allowed<'_>> {
    let meant = list
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    meant
        .map(|(number, line)| {
            let mut words = line.splitn(3, '\t').map(str::trim);
            let mut word = || words.next().unwrap_or("");
            Allowed {
                caller: word(),
                callee: word(),
                reason: word(),
                line: number + 1,
            }
        })
        .collect()
}

fn judge(calls: &BTreeMap<(String, String), usize>, list: &str) -> Vec<Finding> {
    let allowed = allowed(list);
    let mut findings = Vec::new();
    for ((caller, callee), times) in calls {
        if !allowed
            .iter()
            .any(|a| a.caller == caller && callee.ends_with(a.callee))
        {
            let what = format!("can call {callee} ({times}x): check the value, or use checked_, wrapping_, saturating_, get()");
            findings.push(Finding {
                place: caller.clone(),
                rule: "panic",
                what,
            });
        }
    }
    for entry in &allowed {
        let used = calls
            .keys()
            .any(|(caller, callee)| caller == entry.caller && callee.ends_with(entry.callee));
        let what = match (used, entry.reason.is_empty()) {
            (_, true) => "an exception needs `function<TAB>panic function<TAB>reason`",
            (false, _) => "this exception is not needed any more: remove the line",
            (true, false) => continue,
        };
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
pub(crate) fn check(module: &Path, list: &Path) -> Result<Vec<Finding>, String> {
    let list = std::fs::read_to_string(list).map_err(|e| format!("{}: {e}", list.display()))?;
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
    let calls = panicking_calls(&String::from_utf8_lossy(&dump.stdout));
    println!(
        "tidy: {} panicking calls linked, {} exceptions",
        calls.len(),
        allowed(&list).len()
    );
    Ok(judge(&calls, &list))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "\
0000000000002410 <drbd_core::config::parse>:
    2420:\tcall   2425 <drbd_core::config::parse+0x15>
\t\t\t2421: R_X86_64_PLT32\tcore::panicking::panic_const::panic_const_add_overflow-0x4
    2430:\tcall   2435 <drbd_core::config::parse+0x25>
\t\t\t2431: R_X86_64_PLT32\tmemcpy-0x4
";

    #[test]
    fn a_panicking_call_is_found_with_its_caller() {
        let findings = judge(&panicking_calls(DUMP), "");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "drbd_core::config::parse");
    }

    #[test]
    fn a_listed_call_with_a_reason_is_allowed() {
        let list = "drbd_core::config::parse\tpanic_const_add_overflow\tbounded by the table\n";
        assert!(judge(&panicking_calls(DUMP), list).is_empty());
    }

    #[test]
    fn an_exception_without_reason_or_use_is_a_finding() {
        let list = "drbd_core::config::parse\tpanic_const_add_overflow\nx\ty\tz\n";
        assert_eq!(judge(&panicking_calls(DUMP), list).len(), 2);
    }
}
