// SPDX-License-Identifier: GPL-2.0-only

//! Seconds since 1970 as date and time of day, UTC.

/// `YYYY-MM-DD` and `HH:MM:SS`.
pub fn civil(seconds: u64) -> (String, String) {
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let clock = format!(
        "{:02}:{:02}:{:02}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    );
    (format!("{year:04}-{month:02}-{:02}", days + 1), clock)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn known_moments() {
        assert_eq!(civil(0), ("1970-01-01".into(), "00:00:00".into()));
        assert_eq!(
            civil(1_795_342_833),
            ("2026-11-22".into(), "10:20:33".into())
        );
        assert_eq!(civil(951_827_696), ("2000-02-29".into(), "12:34:56".into()));
    }
}
