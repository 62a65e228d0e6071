//! Where findings are gathered: a load goes on after an error, so that one run reports all of them.

use crate::diagnostic::{Diagnostic, Report, Severity};
use crate::source::{Sources, Span};

/// The texts of a load and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) sources: Sources,
    list: Vec<(Span, Diagnostic)>,
}

impl Findings {
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), help.into());
    }

    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), help.into());
    }

    /// An error about a text as a whole.
    pub(crate) fn refuse(&mut self, source: usize, message: impl Into<String>, help: impl Into<String>) {
        let place = self.sources.whole(source);
        let severity = Severity::Error;
        let diagnostic = Diagnostic { severity, message: message.into(), place, help: Some(help.into()) };
        self.list.push((Span { source, start: 0, end: 0 }, diagnostic));
    }

    fn push(&mut self, severity: Severity, span: Span, message: String, help: String) {
        let place = self.sources.place(span);
        let help = (!help.is_empty()).then_some(help);
        self.list.push((span, Diagnostic { severity, message, place, help }));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|(_, d)| d.severity == Severity::Error)
    }

    /// The findings in the order of the texts; an error when one of them is.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, Report> {
        let failed = self.has_errors();
        self.list.sort_by_key(|(span, _)| (span.source, span.start));
        self.list.dedup();
        let diagnostics = self.list.into_iter().map(|(_, diagnostic)| diagnostic).collect();
        if failed { Err(Report { diagnostics }) } else { Ok(diagnostics) }
    }
}
