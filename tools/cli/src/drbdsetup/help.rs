// SPDX-License-Identifier: GPL-2.0-only

//! What the options of the commands that observe mean: value, range, default. Help and man page say the same.

use crate::args::Spec;

/// Option, its value, what it means.
static MEANINGS: &[(&str, &str, &str)] = &[
    ("show-defaults", "", "options that have their default, too"),
    ("json", "", "as JSON, for programs"),
    ("verbose", "", "what is as it should be, too"),
    ("statistics", "", "counters, too"),
    ("color", "auto|always|never", "colours; default auto: in a terminal"),
    ("watch", "", "draw it anew whenever something changes, until interrupted"),
    ("now", "", "what there is, without waiting for changes"),
    ("timestamps", "", "each line begins with the time (UTC)"),
    ("poll", "", "'n' on the standard input: what changed without an event; 'q' or its end: stop"),
    ("full", "", "accepted and without effect: everything is told"),
    (
        "wfc-timeout",
        "SECONDS",
        "how long to wait for the peer: 0 to 300000, default 0: for ever",
    ),
    (
        "degr-wfc-timeout",
        "SECONDS",
        "the same for a node that was alone when it went down: 0 to 300000, default and at most wfc-timeout",
    ),
    (
        "outdated-wfc-timeout",
        "SECONDS",
        "the same while the peer's data was outdated: 0 to 300000, default and at most degr-wfc-timeout",
    ),
    ("wait-after-sb", "yes|no", "wait on behind a split brain; default no"),
];

/// A line about an option: its forms, what it means.
pub fn line(spec: &Spec) -> String {
    let short = spec
        .short
        .map_or_else(String::new, |letter| format!(" (-{letter})"));
    let found = MEANINGS.iter().find(|(name, ..)| *name == spec.name);
    let (_, value, meaning) = found.unwrap_or(&("", "", ""));
    let value = match value {
        &"" => String::new(),
        value if spec.takes == crate::args::Takes::Maybe => format!("[={value}]"),
        value => format!("={value}"),
    };
    format!("--{}{value}{short}: {meaning}", spec.name)
}

/// A line about each option.
pub fn lines(specs: &[Spec]) -> Vec<String> {
    specs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::OBSERVERS;
    use super::*;

    #[test]
    fn every_option_has_a_meaning() {
        for spec in OBSERVERS.iter().flat_map(|observer| observer.options) {
            let found = MEANINGS.iter().find(|(name, ..)| *name == spec.name);
            assert!(found.is_some(), "{}", spec.name);
        }
        let wait = OBSERVERS.iter().find(|o| o.name == "wait-connect").unwrap();
        let text = wait.usage();
        assert!(
            text.contains("    --wfc-timeout=SECONDS (-t): how long to wait for the peer: 0 to 300000, default 0: for ever\n"),
            "{text}"
        );
        assert!(
            text.contains("    --wait-after-sb[=yes|no] (-w): "),
            "{text}"
        );
    }
}
