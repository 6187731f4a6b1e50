// SPDX-License-Identifier: GPL-2.0-only

//! Command lines in the manner of getopt_long: options anywhere, `--name=value` or `--name value`, unique prefixes,
//! `-x`, `--` ends the options. Hand-written because scripts depend on these forms.

use drbd_config::suggest::nearest;

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Never.
    Nothing,
    /// `--name=value` or just `--name`.
    Maybe,
    /// Always.
    Value,
}

/// An option that is understood.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Without the dashes.
    pub name: &'static str,
    /// The letter of its short form.
    pub short: Option<char>,
    /// Its value.
    pub takes: Takes,
}

impl Spec {
    /// An option without a short form.
    pub const fn long(name: &'static str, takes: Takes) -> Self {
        Self {
            name,
            short: None,
            takes,
        }
    }

    /// An option with a short form.
    pub const fn both(name: &'static str, short: char, takes: Takes) -> Self {
        Self {
            name,
            short: Some(short),
            takes,
        }
    }
}

/// A command line taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The options in order, by their full names.
    pub options: Vec<(&'static str, Option<String>)>,
    /// Everything else in order.
    pub operands: Vec<String>,
}

impl Parsed {
    /// Whether the option was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The last value given for the option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(given, _)| *given == name)?
            .1
            .as_deref()
    }
}

/// Takes a command line apart; the error is a sentence.
pub fn parse(args: &[String], specs: &[Spec]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            parsed.operands.extend(rest.cloned());
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let (name, mut value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let spec = find(name, specs)?;
            match (spec.takes, &value) {
                (Takes::Nothing, Some(_)) => {
                    return Err(format!("option '--{}' takes no value", spec.name))
                }
                (Takes::Value, None) => {
                    value = Some(
                        rest.next()
                            .cloned()
                            .ok_or(format!("option '--{}' needs a value", spec.name))?,
                    );
                }
                _ => {}
            }
            parsed.options.push((spec.name, value));
        } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            short(letters, &mut rest, specs, &mut parsed)?;
        } else {
            pasted_dash(arg)?;
            parsed.operands.push(arg.clone());
        }
    }
    Ok(parsed)
}

/// Text pasted from a web page has a long dash where `--` stood.
fn pasted_dash(arg: &str) -> Result<(), String> {
    match arg.strip_prefix(['\u{2013}', '\u{2014}', '\u{2212}', '\u{2010}', '\u{2011}']) {
        Some(rest) => Err(format!("'{arg}' starts with a long dash, as pasted text often does; type '--{rest}' with two minus signs")),
        None => Ok(()),
    }
}

fn short<'a>(
    letters: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    specs: &[Spec],
    parsed: &mut Parsed,
) -> Result<(), String> {
    let mut chars = letters.chars();
    while let Some(letter) = chars.next() {
        let spec = specs
            .iter()
            .find(|spec| spec.short == Some(letter))
            .ok_or(format!("unrecognized option '-{letter}'"))?;
        if spec.takes != Takes::Value {
            parsed.options.push((spec.name, None));
            continue;
        }
        let value = match chars.as_str() {
            "" => rest
                .next()
                .cloned()
                .ok_or(format!("option '-{letter}' needs a value"))?,
            value => value.to_owned(),
        };
        parsed.options.push((spec.name, Some(value)));
        break;
    }
    Ok(())
}

fn find<'a>(name: &str, specs: &'a [Spec]) -> Result<&'a Spec, String> {
    if let Some(spec) = specs.iter().find(|spec| spec.name == name) {
        return Ok(spec);
    }
    let mut candidates = specs.iter().filter(|spec| spec.name.starts_with(name));
    match (candidates.next(), candidates.next()) {
        (Some(spec), None) if !name.is_empty() => Ok(spec),
        (Some(a), Some(b)) if !name.is_empty() => Err(format!(
            "option '--{name}' is ambiguous: --{} or --{}",
            a.name, b.name
        )),
        _ => {
            let hint = nearest(name, specs.iter().map(|spec| spec.name))
                .map_or_else(String::new, |near| format!("; did you mean '--{near}'?"));
            Err(format!("unrecognized option '--{name}'{hint}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Parsed, String> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let specs = [
            Spec::long("force", Takes::Nothing),
            Spec::long("wfc-timeout", Takes::Value),
            Spec::long("wait-after-sb", Takes::Maybe),
            Spec::both("config-file", 'c', Takes::Value),
            Spec::both("dry-run", 'd', Takes::Nothing),
        ];
        parse(&args, &specs)
    }

    #[test]
    fn forms() {
        let parsed =
            run("primary --force -dc f r0 --wfc-timeout 5 --wait-after-sb=yes -- --r1").unwrap();
        assert_eq!(parsed.operands, ["primary", "r0", "--r1"]);
        assert!(parsed.has("force") && parsed.has("dry-run"));
        assert_eq!(parsed.value("config-file"), Some("f"));
        assert_eq!(parsed.value("wfc-timeout"), Some("5"));
        assert_eq!(
            run("-cfile --fo").unwrap().value("config-file"),
            Some("file")
        );
    }

    #[test]
    fn refusals() {
        assert_eq!(run("--bogus").unwrap_err(), "unrecognized option '--bogus'");
        assert!(run("--wfc-timeuot")
            .unwrap_err()
            .ends_with("did you mean '--wfc-timeout'?"));
        assert!(run("--w").unwrap_err().contains("ambiguous"));
        assert!(run("--wfc-timeout").unwrap_err().contains("needs a value"));
        assert!(run("--force=yes").unwrap_err().contains("takes no value"));
        assert!(run("\u{2014}overwrite-data-of-peer")
            .unwrap_err()
            .contains("two minus signs"));
    }
}
