// SPDX-License-Identifier: GPL-2.0-only

//! The drbd.conf language: text to model, with everything that is wrong said at once, and back.
//!
//! ```text
//!   text -> lexer -> tokens -> parser -> Raw -> resolve -> Config -> dump -> text
//!                      \__________\______________\__ diagnostics: place, caret, advice
//! ```
//!
//! The language is DRBD 8.4's with what 8.2 and 8.3 wrote differently (`syncer`, options without value, `no-` in front
//! of them). The options themselves stand in `drbd_core::config`, shared with the kernel module.
#![forbid(unsafe_code)]

pub mod about;
mod clip;
pub mod dump;
pub mod format;
pub mod glob;
pub mod json;
mod lexer;
pub mod links;
pub mod machine;
pub mod model;
mod parser;
pub mod pasted;
mod refused;
mod resolve;
pub mod source;
pub mod suggest;
pub mod tables;
pub mod units;
pub mod xml;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_golden;

use std::io::Read;
use std::path::Path;

pub use model::Config;
pub use resolve::Identity;
pub use source::{Diagnostic, Severity, Sources};

/// Nobody reads on behind these.
const REPORTED_MAX: usize = 1000;

/// A configuration, as far as it could be read, and what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// What was read. Not to be acted on while `is_broken`.
    pub config: Config,
    /// Errors and warnings, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether there are errors.
    pub fn is_broken(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// All diagnostics as text. Where there are more than anybody reads: errors first, and how many are left out.
    pub fn report(&self) -> String {
        let mut said: Vec<&Diagnostic> = self.diagnostics.iter().collect();
        if said.len() > REPORTED_MAX {
            // Stable: in the order of the files otherwise.
            said.sort_by_key(|diagnostic| diagnostic.severity != Severity::Error);
        }
        let (shown, more) = said.split_at(said.len().min(REPORTED_MAX));
        let mut text: String = shown
            .iter()
            .map(|diagnostic| diagnostic.render(&self.config.sources))
            .collect();
        if !more.is_empty() {
            text += &format!(
                "{} more are left out; is this a configuration?\n",
                more.len()
            );
        }
        text
    }
}

/// Reads a configuration from a text; `name` is what messages call it, and where `include` looks.
pub fn from_text(name: &str, text: &str) -> Loaded {
    from_texts(vec![(name.to_owned(), text.to_owned())], &[])
}

/// Reads one configuration out of several texts; the first is the one that it is called after. Files `without` are left
/// out where they are included.
pub fn from_texts(texts: Vec<(String, String)>, without: &[&str]) -> Loaded {
    let name = texts.first().map_or("", |(name, _)| name).to_owned();
    let mut sources = Sources::default();
    let mut diagnostics = Vec::new();
    let raw = parser::parse(texts, without, &mut sources, &mut diagnostics);
    let path = Path::new(&name)
        .canonicalize()
        .map_or_else(|_| name, |p| p.to_string_lossy().into_owned());
    let config = resolve::resolve(path, raw, sources, &mut diagnostics);
    // Stable: several about one place stay in the order in which they were found.
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.file, diagnostic.span.start));
    Loaded {
        config,
        diagnostics,
    }
}

/// No configuration is larger; a device that never ends is.
const LARGEST: u64 = 64 << 20;

fn read(from: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("it has more than {} MiB", LARGEST >> 20);
        return Err(std::io::Error::other(text));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of a file, a pipe or a device.
fn read_file(path: &Path) -> std::io::Result<String> {
    read(std::fs::File::open(path)?)
}

/// The text of a file, with the name that messages call it; `-` is the standard input.
pub fn text_of(path: &str) -> std::io::Result<(String, String)> {
    let (name, text) = if path == "-" {
        ("STDIN", read(std::io::stdin())?)
    } else {
        (path, read_file(Path::new(path))?)
    };
    Ok((name.to_owned(), text))
}

/// Reads a file; `-` is the standard input.
pub fn from_file(path: &str) -> std::io::Result<Loaded> {
    Ok(from_texts(vec![text_of(path)?], &[]))
}
