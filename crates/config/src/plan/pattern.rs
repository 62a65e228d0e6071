//! Regular expressions of the edge: one engine and one set of options, here and where requests are served.

use regex::bytes::{Regex, RegexBuilder};

/// In bytes of the compiled form: some thousand words, or a few hundred repetitions.
const LARGEST: usize = 2 * 1024 * 1024;

/// Compiles an expression as the edge uses it: over bytes, `\w`, `\d`, `.` and case by ASCII as in nginx, linear in time.
///
/// # Errors
/// What the engine says: syntax, look-around and back references that it does not have, size.
pub fn pattern(text: &str, ignore_case: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).case_insensitive(ignore_case).unicode(false).size_limit(LARGEST).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_see_bytes_and_know_named_groups() {
        let php = pattern(r"^/(?<section>\w+)/.+\.php$", true).unwrap();
        assert!(php.is_match(b"/news/\xff\xfe.PHP"));
        assert_eq!(php.capture_names().flatten().collect::<Vec<_>>(), ["section"]);
        assert!(pattern("é", false).unwrap().is_match("café".as_bytes()));
    }

    #[test]
    fn what_needs_backtracking_is_refused() {
        for text in ["(?!a)b", r"(a)\1", "(", "((a{1000}){1000}){1000}"] {
            assert!(pattern(text, false).is_err(), "{text}");
        }
    }
}
