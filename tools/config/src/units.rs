// SPDX-License-Identifier: GPL-2.0-only

//! Times that were written with a unit. drbd.conf has them without, and takes an `s` for sectors of 512.

use drbd_core::config::table::Unit;
use drbd_core::config::{Attr, Kind};

/// What to write instead of a time with a unit; none if it is none.
pub fn time(attr: &Attr, value: &str) -> Option<String> {
    let Kind::Number { unit, .. } = attr.kind else {
        return None;
    };
    let (per_second, name) = match unit {
        Unit::Tenths => (10, "1/10 s"),
        Unit::Seconds => (1, "s"),
        _ => return None,
    };
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match &value[number.len()..] {
        "ms" | "msec" => 1,
        "s" | "S" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    // One place behind the point is enough: 0.5s.
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let tenth = tenth.parse::<u64>().ok().filter(|tenth| *tenth < 10)?;
    let tenths = whole.parse::<u64>().ok()?.checked_mul(10)? + tenth;
    let units = tenths
        .checked_mul(milliseconds * per_second)?
        .div_ceil(10 * 1000);
    Some(format!("the unit is {name}: write {units}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Section;

    #[test]
    fn times_with_units() {
        let of = |name: &str, value: &str| time(Section::Net.find(name).unwrap().1, value);
        let write = |text: &str| Some(text.to_owned());
        assert_eq!(of("timeout", "6s"), write("the unit is 1/10 s: write 60"));
        assert_eq!(of("timeout", "250ms"), write("the unit is 1/10 s: write 3"));
        assert_eq!(
            of("ping-timeout", "0.5s"),
            write("the unit is 1/10 s: write 5")
        );
        assert_eq!(of("ping-int", "2m"), write("the unit is s: write 120"));
        assert_eq!(of("timeout", "60"), None);
        assert_eq!(of("timeout", "s"), None);
        assert_eq!(of("max-buffers", "6s"), None);
    }
}
