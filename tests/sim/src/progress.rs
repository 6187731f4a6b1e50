// SPDX-License-Identifier: GPL-2.0-only

//! How far long work is, for who looks at a terminal. Elsewhere nothing is drawn: what is worth keeping is said in lines,
//! by [`ProgressBar::suspend`], so that a log reads the same.

pub use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use std::time::Duration;

/// Work that is done many times a second.
const MANY: &str =
    "{bar:30} {human_pos} of {human_len} {prefix}, {per_sec}, {eta} to go  {wide_msg}";
/// Work whose every part takes a while.
const FEW: &str = "{bar:30} {pos} of {len} {prefix}, {elapsed} so far, {eta} to go  {wide_msg}";
/// Bytes that go somewhere.
const BYTES: &str =
    "{bar:30} {percent}%, {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} to go";

/// Of much: how fast it goes is said.
pub fn many(count: u64, what: &'static str) -> ProgressBar {
    styled(ProgressBar::new(count).with_prefix(what), MANY)
}

/// Of some; a message says which it is.
pub fn few(count: u64, what: &'static str) -> ProgressBar {
    styled(ProgressBar::new(count).with_prefix(what), FEW)
}

/// Of bytes.
pub fn bytes(count: u64) -> ProgressBar {
    styled(ProgressBar::new(count), BYTES)
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    // A test parses them all.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_one() {
        for template in [MANY, FEW, BYTES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
