// SPDX-License-Identifier: GPL-2.0-only

//! `drbd-tools complete PROGRAM WORD... CURRENT`: what the last word may become, a candidate in a line with what it is
//! about. The completions of the shells are a few lines that call this, so that all three know what the programs know.

use crate::args::{Spec, Takes};
use crate::drbdadm::{configured, Named};
use crate::pages::{programs, Entry, Program};

/// Names of files are meant: the shell knows those itself.
const EXIT_FILES: i32 = 3;

/// What a word may become.
#[derive(Debug, PartialEq, Eq)]
enum Candidates {
    /// One of these, each with what it is about.
    Words(Vec<(String, String)>),
    /// A file.
    Files,
}

fn words<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Candidates {
    Candidates::Words(
        words
            .into_iter()
            .map(|word| (word.into(), String::new()))
            .collect(),
    )
}

/// A command line up to the word that is completed.
#[derive(Default)]
struct Typed<'a> {
    operands: Vec<&'a str>,
    config_file: Option<&'a str>,
    /// The option whose value comes next.
    pending: Option<&'static str>,
}

impl<'a> Typed<'a> {
    fn read(program: &Program, before: &'a [String]) -> Self {
        let mut typed = Typed::default();
        for word in before {
            if let Some(option) = typed.pending.take() {
                typed.note(option, word);
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = long
                    .split_once('=')
                    .map_or((long, None), |(n, v)| (n, Some(v)));
                match (typed.spec(program, |spec| spec.name == name), value) {
                    (Some(spec), Some(value)) => typed.note(spec.name, value),
                    (Some(spec), None) if spec.takes == Takes::Value => {
                        typed.pending = Some(spec.name);
                    }
                    _ => {}
                }
            } else if let Some(letter) = word.strip_prefix('-').and_then(|rest| rest.chars().last())
            {
                let spec = typed.spec(program, |spec| spec.short == Some(letter));
                typed.pending = spec
                    .filter(|spec| spec.takes == Takes::Value)
                    .map(|s| s.name);
            } else {
                typed.operands.push(word);
            }
        }
        typed
    }

    fn note(&mut self, option: &str, value: &'a str) {
        if option == "config-file" {
            self.config_file = Some(value);
        }
    }

    fn entry<'p>(&self, program: &'p Program) -> Option<&'p Entry> {
        let name = self.operands.get(program.before)?;
        program.entries.iter().find(|entry| entry.name == *name)
    }

    fn spec<'p>(&self, program: &'p Program, is: impl Fn(&Spec) -> bool) -> Option<&'p Spec> {
        let own = self.entry(program).map_or(&[][..], |entry| &entry.options);
        let common = program.common.iter().map(|(spec, _)| spec);
        own.iter().chain(common).find(|spec| is(spec))
    }
}

/// What `current` may become.
fn candidates(program: &Program, before: &[String], current: &str) -> Candidates {
    let typed = Typed::read(program, before);
    if let Some(option) = typed.pending {
        return values(program, &typed, option, "");
    }
    if current.starts_with('-') && !(current == "-" && typed.operands.len() < program.before) {
        if let Some((option, _)) = current.trim_start_matches('-').split_once('=') {
            return values(program, &typed, option, &format!("--{option}="));
        }
        return options(program, typed.entry(program));
    }
    let commands = || {
        let named = program.entries.iter();
        Candidates::Words(
            named
                .map(|entry| (entry.name.to_owned(), entry.about.to_owned()))
                .collect(),
        )
    };
    let at = typed.operands.len();
    if at < program.before {
        return match at {
            0 => minors(&configured(typed.config_file), true),
            1 => words(["v08", "v09"]),
            2 => Candidates::Files,
            _ => words(["internal", "flex-external", "0"]),
        };
    }
    match typed.entry(program) {
        None if at == program.before => commands(),
        // `drbdadm help COMMAND`
        None if typed.operands == ["help"] => commands(),
        None => words::<String>([]),
        Some(entry) => operand(program, entry, &typed, current, at - program.before - 1),
    }
}

/// The options of a command, those that take a value with `=`.
fn options(program: &Program, entry: Option<&Entry>) -> Candidates {
    let own = entry.into_iter().flat_map(|entry| {
        let detail = |spec: &Spec| {
            let form = format!("--{}=", spec.name);
            let line = entry
                .details
                .iter()
                .find_map(|line| line.strip_prefix(&form));
            line.unwrap_or_default().to_owned()
        };
        entry.options.iter().map(move |spec| (spec, detail(spec)))
    });
    let common = program.common.iter().map(|(spec, line)| {
        let about = line.split_once(' ').map_or("", |(_, about)| about);
        (spec, about.to_owned())
    });
    let help = ("--help".to_owned(), "what it does and takes".to_owned());
    let mut all: Vec<(String, String)> = own
        .chain(common)
        .filter(|(spec, _)| spec.name != "help")
        .map(|(spec, about)| match spec.takes {
            Takes::Value => (format!("--{}=", spec.name), about),
            _ => (format!("--{}", spec.name), about),
        })
        .collect();
    all.push(help);
    Candidates::Words(all)
}

/// The values of an option, behind `form`.
fn values(program: &Program, typed: &Typed<'_>, option: &str, form: &str) -> Candidates {
    let entry = typed.entry(program);
    let known = entry.and_then(|entry| entry.words.iter().find(|(name, _)| *name == option));
    match known {
        Some((_, known)) => words(known.iter().map(|word| format!("{form}{word}"))),
        None if option.contains("file") || option.contains("config") => Candidates::Files,
        None => words::<String>([]),
    }
}

fn minors(named: &[Named], none: bool) -> Candidates {
    let minors = named.iter().flat_map(|named| {
        let name = &named.name;
        named.volumes.iter().filter_map(move |(vnr, minor)| {
            Some((minor.as_ref()?.to_string(), format!("{name}/{vnr}")))
        })
    });
    let none = none.then(|| ("-".to_owned(), "no minor: an image".to_owned()));
    Candidates::Words(minors.chain(none).collect())
}

/// An operand of a command, the first of which has number 0.
fn operand(
    program: &Program,
    entry: &Entry,
    typed: &Typed<'_>,
    current: &str,
    at: usize,
) -> Candidates {
    let optional = entry.operands.starts_with('[');
    let kinds = entry.operands.trim_matches(['[', ']']).split(' ').nth(at);
    let several = program.name == "drbdadm";
    let kind = match kinds {
        _ if several => "RESOURCE",
        Some(kind) => kind,
        None => return words::<String>([]),
    };
    if kind.ends_with("_DEV") || kind == "FILE" {
        return Candidates::Files;
    }
    if kind == "META_INDEX" {
        return words(["internal", "flexible", "0"]);
    }
    let named = configured(typed.config_file);
    if kind == "MINOR" {
        return minors(&named, false);
    }
    if !kind.starts_with("RESOURCE") {
        return words::<String>([]);
    }
    let mut names = Vec::new();
    if several || optional {
        names.push("all".to_owned());
    }
    for named in &named {
        names.push(named.name.clone());
        // Volumes are offered to who has begun to name one.
        if several && current.starts_with(&format!("{}/", named.name)) {
            let of = named.volumes.iter();
            names.extend(of.map(|(vnr, _)| format!("{}/{vnr}", named.name)));
        }
    }
    words(names)
}

/// `drbd-tools complete PROGRAM WORD... CURRENT`
pub fn main(args: &[String]) -> i32 {
    let Some(([name, before @ ..], current)) = args.split_last().map(|(c, rest)| (rest, c)) else {
        return 1;
    };
    let name = name.rsplit('/').next().unwrap_or_default();
    let Some(program) = programs().into_iter().find(|program| program.name == name) else {
        return 1;
    };
    match candidates(&program, before, current) {
        Candidates::Files => EXIT_FILES,
        Candidates::Words(words) => {
            for (word, about) in words.iter().filter(|(word, _)| word.starts_with(current)) {
                println!("{word}\t{about}");
            }
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "resource r0 { on x { device minor 1; disk /dev/d; meta-disk internal; address 10.0.0.1:7788; }\n\
        on y { device minor 1; disk /dev/d; meta-disk internal; address 10.0.0.2:7788; } }";

    fn offered(line: &str) -> Vec<String> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (current, rest) = args.split_last().unwrap();
        let program = programs().into_iter().find(|p| p.name == rest[0]).unwrap();
        match candidates(&program, &rest[1..], current) {
            Candidates::Files => vec!["FILES".to_owned()],
            Candidates::Words(words) => words
                .into_iter()
                .map(|(word, _)| word)
                .filter(|word| word.starts_with(current))
                .collect(),
        }
    }

    #[test]
    fn commands_options_and_values() {
        assert_eq!(offered("drbdadm adj"), ["adjust", "adjust-with-progress"]);
        assert_eq!(
            offered("drbdadm -d -c /x adju"),
            ["adjust", "adjust-with-progress"]
        );
        assert_eq!(offered("drbdadm --config-f"), ["--config-file="]);
        assert_eq!(offered("drbdadm -c /e"), ["FILES"]);
        assert_eq!(offered("drbdadm --config-file=/e"), ["FILES"]);
        assert_eq!(offered("drbdadm help adjust-"), ["adjust-with-progress"]);
        assert_eq!(offered("drbdadm attach --on-io"), ["--on-io-error="]);
        assert_eq!(
            offered("drbdadm attach --on-io-error=d"),
            ["--on-io-error=detach"]
        );
        assert_eq!(offered("drbdadm attach --on-io-error pass"), ["pass_on"]);
        assert_eq!(offered("drbdadm create-md --f"), ["--force"]);
        assert_eq!(offered("drbdsetup events2 --ti"), ["--timestamps"]);
        assert_eq!(
            offered("drbdsetup connect --protocol="),
            ["A", "B", "C"].map(|p| format!("--protocol={p}"))
        );
        assert_eq!(offered("drbdsetup attach 1 /dev/s"), ["FILES"]);
        assert_eq!(
            offered("drbdsetup attach 1 /dev/s /dev/s int"),
            ["internal"]
        );
        assert_eq!(offered("drbdmeta "), ["-"]);
        assert_eq!(offered("drbdmeta - v0"), ["v08", "v09"]);
        assert_eq!(offered("drbdmeta - v08 x"), ["FILES"]);
        assert_eq!(offered("drbdmeta - v08 x int"), ["internal"]);
        assert_eq!(offered("drbdmeta - v08 x internal dump"), ["dump-md"]);
        assert_eq!(offered("drbdmeta - v08 x internal restore-md "), ["FILES"]);
    }

    #[test]
    fn names_of_the_configuration_that_is_meant() {
        let file = std::env::temp_dir().join(format!("drbd-complete-{}.conf", std::process::id()));
        std::fs::write(&file, CONFIG).unwrap();
        let file = file.display();
        assert_eq!(offered(&format!("drbdadm -c {file} up ")), ["all", "r0"]);
        assert_eq!(
            offered(&format!("drbdadm --config-file={file} up r0/")),
            ["r0/0"]
        );
        assert_eq!(offered("drbdadm -c /nothere up "), ["all"]);
        std::fs::remove_file(file.to_string()).unwrap();
    }
}
