//! What a refused configuration is told, as tests ask for it.

use mainstay_config::{Checks, Report, Severity, parse_str};

/// No variable is set.
pub(crate) fn no_env(_: &str) -> Option<String> {
    None
}

/// The report of a configuration that must be refused.
pub(crate) fn refused(text: &str) -> Report {
    match parse_str("t.toml", text, &no_env, Checks::NONE) {
        Err(report) => report,
        Ok(loaded) => panic!("accepted:\n{text}\n{loaded:?}"),
    }
}

/// Asserts that some error of the report points at `line`, says `says` and advises `advises`.
#[track_caller]
pub(crate) fn assert_finding(text: &str, line: usize, says: &str, advises: &str) {
    let report = refused(text);
    let hit = report.diagnostics.iter().any(|d| {
        d.severity == Severity::Error
            && d.place.file == "t.toml"
            && d.place.line == line
            && d.message.contains(says)
            && d.help.as_deref().unwrap_or_default().contains(advises)
    });
    assert!(hit, "no error in line {line} says {says:?} and advises {advises:?}; the report is\n{report}");
}
