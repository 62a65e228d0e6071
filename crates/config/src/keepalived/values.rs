//! Arguments of statements: numbers, times, addresses, on and off, command lines. What cannot be read is reported here,
//! once, and the keyword then counts as not written, which is what keepalived does.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::draft::Command;
use super::report::{Pos, Report};
use super::table::shorten;
use super::tree::Stmt;
use super::words::shell_like;

/// The only argument.
pub(super) fn word(stmt: &Stmt, report: &mut Report) -> Option<String> {
    let word = stmt.arg(1).filter(|word| !word.is_empty()).map(str::to_owned);
    if word.is_none() {
        report.error(
            stmt.pos,
            format!("{} has no value", stmt.keyword()),
            "give it one, or take the line out",
        );
    }
    word
}

/// A whole number within a range.
pub(super) fn number<N>(stmt: &Stmt, range: RangeInclusive<N>, report: &mut Report) -> Option<N>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let text = word(stmt, report)?;
    let number = text.parse::<N>().ok().filter(|number| range.contains(number));
    if number.is_none() {
        out_of_range(stmt, &text, range.start(), range.end(), report);
    }
    number
}

/// A time in seconds, with a fraction or without.
pub(super) fn seconds(stmt: &Stmt, range: RangeInclusive<f64>, report: &mut Report) -> Option<Duration> {
    let text = word(stmt, report)?;
    let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
    if number.is_none() {
        out_of_range(stmt, &text, range.start(), range.end(), report);
    }
    // Micro-seconds are keepalived's resolution.
    number.map(|number| Duration::from_micros((number * 1e6).round() as u64))
}

fn out_of_range(stmt: &Stmt, text: &str, least: &impl ToString, most: &impl ToString, report: &mut Report) {
    let help = format!("a number from {} to {}", least.to_string(), most.to_string());
    report.error(stmt.pos, format!("{} {} cannot be", stmt.keyword(), shorten(text)), help);
}

/// on, off and their like; no word at all is on.
pub(super) fn flag(stmt: &Stmt, report: &mut Report) -> Option<bool> {
    match stmt.arg(1) {
        None | Some("on" | "true" | "yes") => Some(true),
        Some("off" | "false" | "no") => Some(false),
        Some(other) => {
            let text = format!("{} {} is neither on nor off", stmt.keyword(), shorten(other));
            report.error(stmt.pos, text, "write on, off, true, false, yes or no");
            None
        }
    }
}

/// An IP address.
pub(super) fn address(stmt: &Stmt, report: &mut Report) -> Option<IpAddr> {
    let text = word(stmt, report)?;
    let address = text.parse().ok();
    if address.is_none() {
        let what = format!("{} {} is not an address", stmt.keyword(), shorten(&text));
        report.error(stmt.pos, what, "write an IPv4 or IPv6 address");
    }
    address
}

/// `weight N [reverse|noreverse]` from the argument `at` on.
pub(super) fn weight(stmt: &Stmt, at: usize, report: &mut Report) -> Option<(i32, Option<bool>)> {
    let reverse = match stmt.arg(at + 1) {
        Some("reverse") => Some(true),
        Some("noreverse" | "no_reverse") => Some(false),
        Some(other) => {
            let text = format!("{} is not understood after a weight", shorten(other));
            report.error(stmt.pos, text, "only `reverse` or `noreverse` may follow");
            None
        }
        None => None,
    };
    let number =
        stmt.arg(at).and_then(|text| text.parse().ok()).filter(|number| (-254..=254).contains(number));
    if number.is_none() {
        let text = format!("weight {} cannot be", shorten(stmt.arg(at).unwrap_or_default()));
        report.error(stmt.pos, text, "a number from -253 to 253");
    }
    number.map(|number| (number, reverse))
}

/// A command line, as keepalived splits it: quoted as a whole, or one unquoted word; then a user may follow.
pub(super) fn command(stmt: &Stmt, may_name_user: bool, report: &mut Report) -> Option<Command> {
    let words = shell_like(&stmt.rest);
    let Some(words) = words.filter(|words| words.first().is_some_and(|first| !first.text.trim().is_empty()))
    else {
        let help = "quote the whole line: \"/path/program argument\"";
        report.error(stmt.pos, format!("{} has no readable command", stmt.keyword()), help);
        return None;
    };
    let argv: Option<Vec<String>> =
        shell_like(&words[0].text).map(|argv| argv.into_iter().map(|word| word.text).collect());
    let Some(argv) = argv.filter(|argv| !argv.is_empty()) else {
        report.error(
            stmt.pos,
            format!("{}: a quote is not closed inside the command", stmt.keyword()),
            "close it",
        );
        return None;
    };
    let after: Vec<&str> = words[1..].iter().map(|word| word.text.as_str()).collect();
    let mut user = None;
    if may_name_user {
        user = after.first().map(|&user| user.to_owned());
        if after.len() > 1 && after[1] != after[0] {
            let text = format!("{}: the group {} is left out", stmt.keyword(), shorten(after[1]));
            report.note(stmt.pos, text, "commands run with their user's groups");
        }
    } else if !after.is_empty() {
        let text = format!("keepalived ignores `{}` after an unquoted command", shorten(&after.join(" ")));
        report.note(stmt.pos, text, "quote the whole command line if these are its arguments");
    }
    shell_words(stmt.pos, &argv, report);
    Some(Command { argv, user, pos: stmt.pos })
}

/// keepalived starts no shell, so `a && b` gives the program a the arguments `&&` and `b`.
fn shell_words(pos: Pos, argv: &[String], report: &mut Report) {
    let signs = ["&&", "||", "|", ";", ">", ">>", "<", "2>&1", ">/dev/null", "&"];
    if let Some(sign) = argv.iter().find(|word| signs.contains(&word.as_str())) {
        let text = format!("no shell reads `{sign}`: it is an argument, as under keepalived");
        report.note(pos, text, "write [\"/bin/sh\", \"-c\", \"...\"] if a shell is meant");
    }
}

/// Whether it could be delivered to.
pub(super) fn is_mail(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !"<>[](),;:\\\"".contains(c));
    plain && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}

/// Whether the kernel could know it (IFNAMSIZ is 16, its end included).
pub(super) fn is_interface(text: &str) -> bool {
    (1..16).contains(&text.len()) && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}
