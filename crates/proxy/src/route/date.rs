//! The time of day as logs and headers write it, always in UTC.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month (1 to 12), day, hour, minute, second of a time since 1970.
#[must_use]
pub fn civil(time: Duration) -> (u64, usize, u64, u64, u64, u64) {
    let (days, secs) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    // Days are counted from 0000-03-01, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, usize::try_from(month).unwrap_or(1), day, secs / 3600, secs / 60 % 60, secs % 60)
}

/// `2026-11-20T12:00:00+00:00`.
pub fn iso8601(time: Duration, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = civil(time);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00");
}

/// `20/Nov/2026:12:00:00 +0000`, the common log format's.
pub fn clf(time: Duration, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = civil(time);
    let name = MONTHS[(month - 1) % 12];
    let _ = write!(out, "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
}

/// `Fri, 20 Nov 2026 12:00:00 GMT`; what lies before 1970 is 1970.
#[must_use]
pub fn http(seconds: i64) -> String {
    // The format ends with the year 9999.
    let seconds = u64::try_from(seconds).unwrap_or(0).min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A date of a header in seconds since 1970.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let time: SystemTime = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> (String, String) {
        let (mut iso, mut log) = (Vec::new(), Vec::new());
        iso8601(Duration::from_secs(seconds), &mut iso);
        clf(Duration::from_secs(seconds), &mut log);
        (String::from_utf8(iso).unwrap(), String::from_utf8(log).unwrap())
    }

    #[test]
    fn days_are_counted_over_leap_years_and_centuries() {
        for (seconds, iso, log) in [
            (0, "1970-01-01T00:00:00+00:00", "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59+00:00", "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "2000-02-29T00:00:00+00:00", "29/Feb/2000:00:00:00 +0000"),
            (1_795_176_000, "2026-11-20T12:00:00+00:00", "20/Nov/2026:12:00:00 +0000"),
            (4_107_542_400, "2100-03-01T00:00:00+00:00", "01/Mar/2100:00:00:00 +0000"),
        ] {
            assert_eq!(at(seconds), (iso.to_owned(), log.to_owned()));
        }
    }

    #[test]
    fn dates_of_headers_go_both_ways() {
        assert_eq!(http(1_795_176_000), "Fri, 20 Nov 2026 12:00:00 GMT");
        assert_eq!(parse(b"Fri, 20 Nov 2026 12:00:00 GMT"), Some(1_795_176_000));
        assert_eq!(http(-5), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(parse(b"yesterday"), None);
        assert!(http(i64::MAX).starts_with("Fri, 31 Dec 9999"));
    }
}
