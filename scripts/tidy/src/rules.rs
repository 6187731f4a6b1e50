// SPDX-License-Identifier: GPL-2.0-only

//! The rules for source files.

use crate::text::{code_only, has_word, item_end, test_lines};
use crate::{layers, Finding};

const LICENCE: &str = "SPDX-License-Identifier: GPL-2.0-only";
/// Recommended lengths; longer ones are noted.
const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// Crate roots that must forbid unsafe code themselves.
const SAFE_ROOTS: &[&str] = &["drbdrs/core/lib.rs", "drbdrs/drbdrs_main.rs"];

/// Never in the repository, in code or in comments.
/// (Written in two halves, or this file would break its own rule.)
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimpl", "emented!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("#[ign", "ore"),
    concat!("dbg", "!("),
];

/// Never in code that runs in a kernel, where a panic is an oops.
const PANICS: &[&str] = &[
    ".unwrap()",
    ".expect(",
    ".unwrap_err()",
    "panic!(",
    "unreachable!(",
    "assert!(",
    "assert_eq!(",
    "assert_ne!(",
];

/// Checks one file; `path` is relative to the top, with slashes.
pub(crate) fn check(
    path: &str,
    content: &str,
    findings: &mut Vec<Finding>,
    notes: &mut Vec<Finding>,
) {
    licence(path, content, findings);
    if !path.starts_with("tests/golden/") && !path.starts_with("Documentation/") {
        for (number, line) in content.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                findings.push(Finding::at(
                    path,
                    number + 1,
                    "unfinished",
                    format!("`{word}`: finish it or remove it"),
                ));
            }
        }
    }
    if path.ends_with(".rs") {
        rust(path, content, findings, notes);
    }
}

fn licence(path: &str, content: &str, findings: &mut Vec<Finding>) {
    let mut lines = content.lines();
    let mut first = lines.next().unwrap_or("");
    let named = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    let source =
        named(&[".rs", ".c", ".h", ".mk", "Kbuild", "Makefile", ".sh"]) || first.starts_with("#!/");
    if first.starts_with("#!/") || first.starts_with("# shellcheck") {
        first = lines.next().unwrap_or("");
    }
    if source && !first.contains(LICENCE) {
        findings.push(Finding::at(
            path,
            1,
            "licence",
            format!("the first line must be a comment `{LICENCE}`"),
        ));
    }
}

fn rust(path: &str, content: &str, findings: &mut Vec<Finding>, notes: &mut Vec<Finding>) {
    let code = code_only(content);
    let in_tests = test_lines(&code);
    let in_kernel = path.starts_with("drbdrs/") || path.starts_with("rust/");
    let name = path.rsplit('/').next().unwrap_or(path);
    let only_tests = name.starts_with("tests") || path.contains("/tests/");

    if !content.lines().take(4).any(|line| line.starts_with("//! ")) {
        findings.push(Finding::at(
            path,
            2,
            "module-docs",
            "say in a `//! ` line what this file is for",
        ));
    }
    if SAFE_ROOTS.contains(&path) && !code.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::at(
            path,
            1,
            "unsafe",
            "the crate must say `#![forbid(unsafe_code)]`",
        ));
    }
    if let Some(module) = layers::unplaced(path) {
        let what = format!("module `{module}` has no layer: name it in scripts/tidy/src/layers.rs");
        findings.push(Finding::at(path, 1, "layers", what));
    }
    for (number, line) in code.lines().enumerate() {
        let mut tell =
            |rule, what: String| findings.push(Finding::at(path, number + 1, rule, what));
        if !path.starts_with("rust/") && has_word(line, "unsafe") {
            tell(
                "unsafe",
                "unsafe code lives in rust/ only: put a safe wrapper there".into(),
            );
        }
        if let Some(what) = layers::breach(path, line) {
            tell("layers", what);
        }
        let test = only_tests || in_tests.get(number).copied().unwrap_or(false);
        if in_kernel && !test {
            for call in PANICS.iter().filter(|call| called(line, call)) {
                tell(
                    "panic",
                    format!("`{call}`: in a kernel a panic is an oops; handle the case"),
                );
            }
        }
    }
    lengths(path, content, &code, notes);
}

/// Whether `line` calls it: `const` assertions are evaluated by the compiler and may stay.
fn called(line: &str, call: &str) -> bool {
    let constant = line.trim_start().starts_with("const ") || line.contains("const {");
    !constant
        && line.match_indices(call).any(|(i, _)| {
            // `expect` without a message is somebody's own.
            let own = call.ends_with('(') && line[i + call.len()..].starts_with(')');
            (call.starts_with('.') && !own)
                || !call.starts_with('.')
                    && !line[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_')
        })
}

fn lengths(path: &str, content: &str, code: &str, notes: &mut Vec<Finding>) {
    let lines = content.lines().count();
    if lines > FILE_LINES {
        notes.push(Finding::at(
            path,
            1,
            "length",
            format!("{lines} lines; split files above {FILE_LINES}"),
        ));
    }
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let word = at == 0 || code[..at].ends_with(|c: char| c.is_whitespace());
        if !word || name.is_empty() {
            continue;
        }
        let length = code[at..item_end(code, at)].matches('\n').count() + 1;
        if length > FUNCTION_LINES {
            let line = code[..at].matches('\n').count() + 1;
            let what =
                format!("`{name}` has {length} lines; split functions above {FUNCTION_LINES}");
            notes.push(Finding::at(path, line, "length", what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "// SPDX-License-Identifier: GPL-2.0-only\n\n//! A file.\n";

    fn broken(path: &str, rest: &str) -> Vec<&'static str> {
        let mut findings = Vec::new();
        check(
            path,
            &format!("{HEAD}{rest}"),
            &mut findings,
            &mut Vec::new(),
        );
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_clean_file_has_no_finding() {
        assert!(broken("drbdrs/device.rs", "fn a() -> u8 { 1 }\n").is_empty());
    }

    #[test]
    fn a_missing_licence_or_description_is_found() {
        let mut findings = Vec::new();
        check("tools/a.rs", "fn a() {}\n", &mut findings, &mut Vec::new());
        assert_eq!(
            findings.iter().map(|f| f.rule).collect::<Vec<_>>(),
            ["licence", "module-docs"]
        );
    }

    #[test]
    fn unsafe_is_found_outside_rust_only() {
        let line = "fn a() { unsafe { b() } }\n";
        assert_eq!(broken("drbdrs/device.rs", line), ["unsafe"]);
        assert!(broken("rust/block/mod.rs", line).is_empty());
        assert!(broken("drbdrs/device.rs", "// unsafe\n").is_empty());
    }

    #[test]
    fn panics_are_found_in_kernel_code_but_not_in_its_tests() {
        assert_eq!(
            broken("drbdrs/core/types.rs", "fn a() { b().unwrap(); }\n"),
            ["panic"]
        );
        let test = "#[cfg(test)]\nmod tests {\n fn a() { b().unwrap(); }\n}\n";
        assert!(broken("drbdrs/core/types.rs", test).is_empty());
        assert!(broken(
            "drbdrs/core/types.rs",
            "const _: () = assert!(SIZE == 4);\n"
        )
        .is_empty());
        assert!(broken("drbdrs/core/types.rs", "debug_assert!(x);\n").is_empty());
        assert!(broken("tools/cli/src/main.rs", "fn a() { b().unwrap(); }\n").is_empty());
    }

    #[test]
    fn unfinished_work_is_found_in_comments_too() {
        assert_eq!(
            broken("rust/a.rs", concat!("// FIX", "ME later\n")),
            ["unfinished"]
        );
    }

    #[test]
    fn long_functions_are_noted() {
        let long = format!("{HEAD}fn a() {{\n{}}}\n", "b();\n".repeat(80));
        let mut notes = Vec::new();
        check("rust/a.rs", &long, &mut Vec::new(), &mut notes);
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}
