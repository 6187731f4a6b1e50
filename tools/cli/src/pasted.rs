// SPDX-License-Identifier: GPL-2.0-only

//! Command lines pasted from web pages and word processors: their long dashes, curly quotes and no-break spaces look
//! right and mean nothing to a program. Each is named, with its place and what was probably meant.

use drbd_config::pasted::{find, name, Meant};

/// A terminal would obey it.
fn is_command(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n')
}

/// A text with its control characters spelt out.
fn visible(text: &str) -> String {
    let spell = |c: char| match is_command(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(spell).collect()
}

fn is_space(c: char) -> bool {
    matches!(find(c), Some((_, Meant::Space)))
}

/// What to do about the character with that index of an argument.
fn remedy(arg: &str, at: usize, meant: Meant) -> String {
    let rest = arg.trim_start_matches(|c| find(c).is_some());
    match meant {
        Meant::Char('-') | Meant::Dash if at == 0 => {
            match rest.chars().nth(1) {
                // An option of one letter.
                None => format!("type '-{rest}', with a minus sign"),
                Some(_) => format!("type '--{rest}', with two minus signs"),
            }
        }
        Meant::Dash => "- or -- was probably meant".to_owned(),
        Meant::Char(c) => format!("{c} was probably meant"),
        Meant::Nothing | Meant::Space => "it cannot be seen: delete it".to_owned(),
        Meant::Unknown => "write what was left out".to_owned(),
    }
}

/// The arguments as they were meant: a no-break space separates words, which is said; what cannot be known is an error.
/// What a file is called is left alone.
pub fn clean(program: &str, args: &[String]) -> Result<Vec<String>, String> {
    let mut cleaned = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        if !arg.contains(|c: char| !c.is_ascii() || is_command(c))
            || std::path::Path::new(arg).exists()
        {
            cleaned.push(arg.clone());
            continue;
        }
        let strange = arg
            .chars()
            .enumerate()
            .find_map(|(column, c)| match find(c) {
                Some((_, Meant::Space)) => None,
                None if is_command(c) => Some((column, c, Meant::Nothing)),
                found => found.map(|(_, meant)| (column, c, meant)),
            });
        if let Some((column, c, meant)) = strange {
            return Err(format!(
                "{program}: argument {} has {} as character {}: '{}'\n\
                 Pasted text often has such characters; {}.",
                at + 1,
                name(c),
                column + 1,
                visible(arg),
                remedy(arg, column, meant)
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
        let text = run(&["\u{2013}d"]).unwrap_err();
        assert!(text.contains("type '-d', with a minus sign"), "{text}");
        let text = run(&["\u{201c}r0\u{201d}"]).unwrap_err();
        assert!(
            text.contains("curly quote (U+201C)") && text.contains("\" was probably"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_to_be_deleted() {
        let text = run(&["primary", "r0\u{200b}"]).unwrap_err();
        assert!(
            text.contains("zero-width space (U+200B) as character 3"),
            "{text}"
        );
        assert!(text.ends_with("it cannot be seen: delete it."), "{text}");
        let text = run(&["up", "r0\u{ff1b}"]).unwrap_err();
        assert!(text.ends_with("; was probably meant."), "{text}");
    }

    #[test]
    fn an_argument_does_not_command_the_terminal() {
        let text = run(&["\u{1b}[31mfoo"]).unwrap_err();
        assert!(
            text.contains("control character (U+001B) as character 1: '\\u{1b}[31mfoo'"),
            "{text}"
        );
        assert_eq!(run(&["a\tb\nc"]).unwrap(), ["a\tb\nc"]);
    }

    #[test]
    fn other_text_is_left_alone() {
        assert_eq!(run(&["--näme=x y"]).unwrap(), ["--näme=x y"]);
        let file = std::env::temp_dir().join(format!("a\u{a0}b\u{200c}c-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        let cleaned = run(&[file]);
        std::fs::remove_file(file).unwrap();
        assert_eq!(cleaned.unwrap(), [file]);
    }
}
