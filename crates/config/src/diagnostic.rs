//! What is wrong with a configuration, where it stands and what to write instead.
//!
//! A [`Report`] prints one block for each finding:
//!
//! ```text
//! mainstay.toml:12:12: error: vip "front": priority 300 is out of range
//!   12 | priority = 300
//!      |            ^^^
//!   help: write a number from 1 to 254, or 255 on the node that owns the address
//! ```

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is accepted, but somebody should look.
    Warning,
}

/// A place in a file or, for overrides, in an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the operator named it, or `environment variable NAME`.
    pub file: String,
    /// Counted from 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// How many characters are marked, at least 1.
    pub width: usize,
    /// The line itself, with secrets starred.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// Where it stands.
    pub place: Place,
    /// What to write instead; may have several lines.
    pub help: Option<String>,
}

impl Diagnostic {
    fn write(&self, f: &mut fmt::Formatter<'_>, paint: Paint) -> fmt::Result {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", paint.red),
            Severity::Warning => ("warning", paint.yellow),
        };
        let Paint { bold, blue, off, .. } = paint;
        writeln!(f, "{bold}{}{off}: {colour}{word}{off}: {bold}{}{off}", self.place, self.message)?;
        if self.place.line > 0 {
            let line = self.place.line.to_string();
            let gutter = line.len().max(4);
            let mark = "^".repeat(self.place.width);
            let indent: String = self.place.text.chars().take(self.place.column - 1).map(blank).collect();
            writeln!(f, "{blue}{line:>gutter$} |{off} {}", self.place.text)?;
            writeln!(f, "{blue}{:>gutter$} |{off} {indent}{colour}{mark}{off}", "")?;
        }
        if let Some(help) = &self.help {
            for (nth, line) in help.lines().enumerate() {
                let label = if nth == 0 { "help:" } else { "     " };
                writeln!(f, "  {blue}{label}{off} {line}")?;
            }
        }
        Ok(())
    }
}

/// A tab stays a tab so that the marks stand under what they mark.
const fn blank(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, PLAIN)
    }
}

/// Everything that was found; it has at least one error when a load returns it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Report {
    /// In the order of the files and their lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// The same text with colours, for a terminal.
    #[must_use]
    pub const fn coloured(&self) -> Coloured<'_> {
        Coloured(self)
    }

    /// How many findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, paint: Paint) -> fmt::Result {
        for diagnostic in self.diagnostics.iter().take(SHOWN) {
            diagnostic.write(f, paint)?;
        }
        if let Some(more) = self.diagnostics.len().checked_sub(SHOWN + 1) {
            writeln!(f, "and {} more", more + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, PLAIN)
    }
}

/// A report that prints with colours.
pub struct Coloured<'a>(&'a Report);

impl fmt::Display for Coloured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, ANSI)
    }
}

/// More than a few screens help nobody: the first ones usually cause the rest.
const SHOWN: usize = 50;

#[derive(Clone, Copy)]
struct Paint {
    bold: &'static str,
    red: &'static str,
    yellow: &'static str,
    blue: &'static str,
    off: &'static str,
}

const PLAIN: Paint = Paint { bold: "", red: "", yellow: "", blue: "", off: "" };
const ANSI: Paint =
    Paint { bold: "\x1b[1m", red: "\x1b[1;31m", yellow: "\x1b[1;33m", blue: "\x1b[34m", off: "\x1b[0m" };
