// SPDX-License-Identifier: GPL-2.0-only

//! How much of the kernel's 16 KiB stack the module takes: one frame, and the deepest chain of calls.
//!
//! Read off `objdump -d -r`: a frame is what a function pushes and subtracts from the stack pointer, an edge is a
//! direct call. Calls through pointers and into the kernel are not followed, recursion is counted once; so the chain is
//! an estimate from below, for noticing growth. What a bio meets has a bound of its own, for a file system, the
//! network and the driver of the disk are on the same stack.

use crate::Finding;
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of one function's frame. (The kernel holds its C code to the same 2 KiB.)
const FRAME_BYTES: u64 = 2048;
/// Most bytes of any chain of calls inside the module.
const CHAIN_BYTES: u64 = 8192;
/// Most bytes below the functions that the block layer calls.
const IO_CHAIN_BYTES: u64 = 2048;
/// The functions that the block layer calls, by their demangled names.
const IO_ENTRIES: &[&str] = &[
    "kernel_ext::block::disk::submit_bio",
    "kernel_ext::block::bio::end_io",
];

#[derive(Debug, Default)]
struct Function {
    pushed: u64,
    subtracted: u64,
    calls: BTreeSet<String>,
}

impl Function {
    /// With the return address.
    fn frame(&self) -> u64 {
        8 + self.pushed + self.subtracted
    }
}

/// `name+0x15` without the offset.
fn without_offset(name: &str) -> &str {
    match name.rsplit_once("+0x") {
        Some((function, offset)) if hexadecimal(offset).is_some() => function,
        _ => name,
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The bytes of `sub $0x10,%rsp`. Huge values are negative numbers: the stack shrinks.
fn subtracted(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(",%rsp")?;
    let (_, value) = before.split_once("\tsub ")?.1.split_once("$0x")?;
    hexadecimal(value).filter(|bytes| *bytes < 1 << 31)
}

/// The target of `R_X86_64_PLT32  name-0x4`, or section and address of `R_X86_64_PLT32  .text+0x1c`.
fn relocated(line: &str) -> Option<Result<String, (String, u64)>> {
    let (_, relocation) = line.split_once(": R_X86_64_PLT32")?;
    let (name, addend) = relocation.trim().rsplit_once("0x")?;
    let addend = hexadecimal(addend)?;
    if let Some(section) = name.strip_suffix('+') {
        return Some(Err((section.to_owned(), addend + 4)));
    }
    let name = name.strip_suffix('-')?;
    Some(if name.starts_with(".text") {
        Err((name.to_owned(), 0))
    } else {
        Ok(name.to_owned())
    })
}

/// Reads `objdump -d -r`. Functions of one demangled name are taken as one.
fn functions(disassembly: &str) -> BTreeMap<String, Function> {
    let mut all: BTreeMap<String, Function> = BTreeMap::new();
    let mut places = BTreeMap::new();
    let mut unresolved = Vec::new();
    let (mut section, mut name) = (String::new(), String::new());
    let mut current = Function::default();
    let mut merge = |name: &str, new: Function| {
        let known = all.entry(name.to_owned()).or_default();
        known.pushed = known.pushed.max(new.pushed);
        known.subtracted = known.subtracted.max(new.subtracted);
        known.calls.extend(new.calls);
    };
    for line in disassembly.lines() {
        if let Some(new) = line.strip_prefix("Disassembly of section ") {
            section = new.trim_end_matches(':').to_owned();
        } else if let Some((address, new)) = line
            .strip_suffix(">:")
            .and_then(|line| line.split_once(" <"))
        {
            merge(&name, std::mem::take(&mut current));
            name = new.to_owned();
            places.insert(
                (section.clone(), hexadecimal(address).unwrap_or(0)),
                name.clone(),
            );
        } else if let Some(target) = relocated(line) {
            match target {
                Ok(callee) => _ = current.calls.insert(callee),
                Err(place) => unresolved.push((name.clone(), place)),
            }
        } else if let Some(bytes) = subtracted(line) {
            current.subtracted = current.subtracted.max(bytes);
        } else if line.contains("\tpush ") {
            current.pushed += 8;
        } else if line.contains("\tcall ") || line.contains("\tjmp ") {
            let target = line.split_once(" <").and_then(|(_, t)| t.strip_suffix('>'));
            // A jump inside of the function has an offset, and is no call.
            current.calls.extend(
                target
                    .filter(|t| without_offset(t) == *t)
                    .map(str::to_owned),
            );
        }
    }
    merge(&name, current);
    for (caller, place) in unresolved {
        if let (Some(function), Some(callee)) = (all.get_mut(&caller), places.get(&place)) {
            function.calls.insert(callee.clone());
        }
    }
    all
}

/// Bytes of the deepest chain of calls that starts at `name`, and its functions.
fn deepest<'a>(
    name: &'a str,
    all: &'a BTreeMap<String, Function>,
    known: &mut BTreeMap<&'a str, (u64, Vec<&'a str>)>,
) -> (u64, Vec<&'a str>) {
    if let Some(found) = known.get(name) {
        return found.clone();
    }
    let Some(function) = all.get(name) else {
        return (0, Vec::new());
    };
    // While it is being looked at: recursion ends here.
    known.insert(name, (0, Vec::new()));
    let below = function
        .calls
        .iter()
        .map(|callee| deepest(callee, all, known));
    let (bytes, mut chain) = below.max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
    chain.insert(0, name);
    let found = (bytes + function.frame(), chain);
    known.insert(name, found.clone());
    found
}

/// Functions and chains of calls that take too much stack.
pub(crate) fn check(disassembly: &str) -> Vec<Finding> {
    let all = functions(disassembly);
    let mut findings = Vec::new();
    let (mut worst, mut worst_io) = (0, 0);
    for (name, function) in &all {
        if function.subtracted > FRAME_BYTES {
            findings.push(Finding {
                place: name.clone(),
                rule: "stack",
                what: format!(
                    "a stack frame of {} bytes, more than {FRAME_BYTES}: pass large values by reference, or box them",
                    function.subtracted
                ),
            });
        }
        // Anew for each: what was found inside of a recursion holds for its start only.
        let (bytes, chain) = deepest(name, &all, &mut BTreeMap::new());
        let io = IO_ENTRIES.iter().any(|entry| name.starts_with(entry));
        worst = worst.max(bytes);
        worst_io = if io { worst_io.max(bytes) } else { worst_io };
        let bound = if io { IO_CHAIN_BYTES } else { CHAIN_BYTES };
        if bytes > bound {
            findings.push(Finding {
                place: name.clone(),
                rule: "stack",
                what: format!(
                    "a chain of calls takes {bytes} bytes of stack, more than {bound}: {}",
                    chain.join(" > ")
                ),
            });
        }
    }
    println!(
        "tidy: the deepest chain of calls takes {worst} bytes of stack, of a bio's way {worst_io}"
    );
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_is_found_with_its_function() {
        let small = "0000 <a>:\n  10:\tsub    $0x800,%rsp\n";
        assert!(check(small).is_empty());
        let large = "0000 <a>:\n  10:\tsub    $0x808,%rsp\n";
        assert_eq!(check(large)[0].place, "a");
    }

    /// `b` is called by name, `c` by its place in the section, `a` again by `c`: recursion ends.
    const CHAIN: &str = "\
Disassembly of section .text:

0000 <kernel_ext::block::bio::end_io::<a>>:
   1:\tpush   %rbx
   2:\tsub    $0x400,%rsp
   4:\tcall   9 <kernel_ext::block::bio::end_io::<a>+0x9>
\t\t\t5: R_X86_64_PLT32\tb-0x4
0100 <b>:
 102:\tcall   107 <b+0x7>
\t\t\t103: R_X86_64_PLT32\t.text+0x1fc
0200 <c>:
 202:\tsub    $0x3f0,%rsp
 204:\tcall   0 <kernel_ext::block::bio::end_io::<a>>
";

    #[test]
    fn a_deep_chain_of_calls_is_found_with_its_functions() {
        let all = functions(CHAIN);
        let (bytes, chain) = deepest(
            "kernel_ext::block::bio::end_io::<a>",
            &all,
            &mut BTreeMap::new(),
        );
        assert_eq!(bytes, 8 + 8 + 0x400 + 8 + 8 + 0x3f0);
        assert_eq!(chain[1..], ["b", "c"]);
        // The chain that starts at `c` is as long, but is not one of a bio.
        let findings = check(CHAIN);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("end_io::<a> > b > c"));
    }
}
