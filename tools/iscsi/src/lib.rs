// SPDX-License-Identifier: GPL-2.0-only

//! `drbd-iscsi`: exports replicated devices through the kernel's own iSCSI target (LIO), from an `ietd.conf`.
//!
//! ```text
//!   ietd.conf -> parse -> Ietd ──> plan -> Plan ──> steps ──> tree: configfs
//!   drbd.conf -> drbd: mirrors ────^         ^         └────> json: targetcli
//!   /dev, /sys -> machine -> behind┘         │
//!   /proc/drbd -> policy: who serves ────────┘
//! ```
//! Every line of ietd.conf is mapped, or warned about, or refused with its place. What the plan holds is the same on
//! both nodes but for three things that must differ: the number of the group of ports, the number of the port, and
//! which of the two serves.
#![forbid(unsafe_code)]

#[macro_use]
extern crate drbd_say;

pub mod allow;
pub mod behind;
mod command;
mod conf;
pub mod drbd;
mod follow;
pub mod identity;
pub mod json;
pub mod keys;
mod line;
mod lun;
pub mod machine;
pub mod model;
mod parse;
pub mod plan;
pub mod policy;
pub mod proc;
pub mod steps;
pub mod tree;

#[cfg(test)]
mod tests;

pub use command::{main, EXITS};
pub use line::command;

use drbd_config::source::Span;
use drbd_config::{Diagnostic, Severity, Sources};

use model::Ietd;
use plan::{Plan, Wishes};

/// A plan, and what there is to say about what it was made of.
#[derive(Debug)]
pub struct Planned {
    /// Not to be acted on while `is_broken`.
    pub plan: Plan,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts.
    pub sources: Sources,
}

impl Planned {
    /// Whether there are errors; with `strict` a warning is one.
    pub fn is_broken(&self, strict: bool) -> bool {
        let counts = |d: &Diagnostic| strict || d.severity == Severity::Error;
        self.diagnostics.iter().any(counts)
    }

    /// All diagnostics as text.
    pub fn report(&self) -> String {
        let render = |d: &Diagnostic| d.render(&self.sources);
        self.diagnostics.iter().map(render).collect()
    }
}

/// A text to be shown, with stars in place of secrets: what is said about a line shows it, and goes to logs.
fn without(text: &str, secrets: &[Span]) -> String {
    let mut shown = text.to_owned();
    for secret in secrets {
        let stars = "*".repeat(secret.end - secret.start);
        shown.replace_range(secret.start..secret.end, &stars);
    }
    shown
}

/// Plans for the text of an ietd.conf that messages call `name`.
pub fn from_text(name: &str, text: &str, wishes: &Wishes) -> Planned {
    let mut sources = Sources::default();
    let mut diagnostics = Vec::new();
    // There is one file.
    let ietd: Ietd = parse::parse(0, text, &mut diagnostics);
    sources.add(name, without(text, &ietd.secrets));
    let plan = plan::plan(&ietd, wishes, &mut diagnostics);
    // Stable: several about one place stay in the order in which they were found.
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.file, diagnostic.span.start));
    Planned {
        plan,
        diagnostics,
        sources,
    }
}
