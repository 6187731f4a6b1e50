// SPDX-License-Identifier: GPL-2.0-only

//! Command lines pasted from web pages and word processors: their long dashes, curly quotes and no-break spaces look
//! right and mean nothing to a program. Each is named, with its place and what was probably meant.

use drbd_config::pasted::{is_space, meant};

/// The arguments as they were meant: a no-break space separates words, which is said; what cannot be known is an error.
pub fn clean(program: &str, args: &[String]) -> Result<Vec<String>, String> {
    let mut cleaned = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        for (column, c) in arg.chars().enumerate() {
            let Some((name, instead)) = meant(c) else {
                continue;
            };
            let rest = arg.trim_start_matches(|c| meant(c).is_some());
            let remedy = if column == 0 && matches!(instead, "-" | "--" | "- or --") {
                format!("type '--{rest}', with two minus signs")
            } else {
                format!("{instead} was probably meant")
            };
            return Err(format!(
                "{program}: argument {} has {name} (U+{:04X}) as character {}: '{arg}'\n\
                 Pasted text often has such characters; {remedy}.",
                at + 1,
                u32::from(c),
                column + 1
            ));
        }
        if arg.contains(is_space) {
            eprintln!(
                "{program}: warning: argument {} has a no-break space, taken as a space: '{arg}'",
                at + 1
            );
            cleaned.extend(
                arg.split(is_space)
                    .filter(|w| !w.is_empty())
                    .map(str::to_owned),
            );
        } else {
            cleaned.push(arg.clone());
        }
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Vec<String>, String> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        clean("drbdadm", &args)
    }

    #[test]
    fn a_no_break_space_is_a_space() {
        assert_eq!(
            run(&["primary\u{a0}r0", "\u{a0}"]).unwrap(),
            ["primary", "r0"]
        );
    }

    #[test]
    fn dashes_and_quotes_are_named_with_their_place() {
        let text = run(&["--", "\u{2013}overwrite-data-of-peer"]).unwrap_err();
        assert!(
            text.contains("argument 2 has en dash (U+2013) as character 1"),
            "{text}"
        );
        assert!(text.contains("type '--overwrite-data-of-peer'"), "{text}");
        let text = run(&["\u{201c}r0\u{201d}"]).unwrap_err();
        assert!(
            text.contains("curly quote (U+201C)") && text.contains("\" was probably"),
            "{text}"
        );
    }

    #[test]
    fn other_text_is_left_alone() {
        assert_eq!(run(&["--näme=x y"]).unwrap(), ["--näme=x y"]);
    }
}
