//! Moments as logs write them, in UTC.

use std::fmt::Write as _;
use std::time::Duration;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Year, month (1 to 12), day; of days since 1970 (the era arithmetic of the proleptic Gregorian calendar).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// `20/Nov/2026:12:00:00 +0000`, of the time since 1970.
#[must_use]
pub fn local(wall: Duration) -> String {
    let (secs, mut out) = (wall.as_secs(), String::with_capacity(26));
    let (year, month, day) = civil(secs / DAY);
    let name = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (secs % DAY / 3600, secs % 3600 / 60, secs % 60);
    let _ = write!(out, "{day:02}/{name}/{year}:{hour:02}:{minute:02}:{second:02} +0000");
    out
}

/// `2026-11-20T12:00:00+00:00`, of the time since 1970.
#[must_use]
pub fn iso8601(wall: Duration) -> String {
    let (secs, mut out) = (wall.as_secs(), String::with_capacity(25));
    let (year, month, day) = civil(secs / DAY);
    let (hour, minute, second) = (secs % DAY / 3600, secs % 3600 / 60, secs % 60);
    let _ = write!(out, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_nginx_writes_them_in_utc() {
        for (secs, expected_local, expected_iso) in [
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00+00:00"),
            (951_782_399, "28/Feb/2000:23:59:59 +0000", "2000-02-28T23:59:59+00:00"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00+00:00"),
            (1_795_176_000, "20/Nov/2026:12:00:00 +0000", "2026-11-20T12:00:00+00:00"),
            (4_107_542_399, "28/Feb/2100:23:59:59 +0000", "2100-02-28T23:59:59+00:00"),
            (4_107_542_400, "01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00+00:00"),
        ] {
            assert_eq!(local(Duration::from_secs(secs)), expected_local);
            assert_eq!(iso8601(Duration::from_secs(secs)), expected_iso);
        }
    }
}
