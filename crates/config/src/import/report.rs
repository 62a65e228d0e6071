//! Findings: what the operator should know of an import, each with its place and what to do.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::source::visible;

/// More findings than this help nobody; the last one says that there were more.
const MOST_FINDINGS: usize = 1000;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; behaves as it did, or as its author meant.
    Note,
    /// Something that changes behaviour is not in the TOML.
    Dropped,
    /// The file, or a script that it names, is broken.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Dropped => "dropped",
            Self::Error => "error",
        })
    }
}

/// Something the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file that it stands in.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u32,
    /// How much it matters.
    pub severity: Severity,
    /// What is the case.
    pub text: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text.chars().map(visible).collect();
        write!(f, "{}:{}: {}: {text}", self.file.display(), self.line, self.severity)?;
        for (nth, line) in self.advice.lines().enumerate() {
            let label = if nth == 0 { "help:" } else { "     " };
            let line: String = line.chars().map(visible).collect();
            write!(f, "\n  {label} {line}")?;
        }
        Ok(())
    }
}

/// A line of one of the files that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pos {
    /// Which file, in the order of reading.
    pub(crate) file: u32,
    /// Its line, from 1.
    pub(crate) line: u32,
}

/// Collects findings and knows the files by number.
#[derive(Debug, Default)]
pub(crate) struct Report {
    files: Vec<PathBuf>,
    findings: Vec<(Pos, Finding)>,
    /// How many of each severity are kept.
    kept: [usize; 3],
    more: usize,
}

impl Report {
    /// A file is about to be read: its number.
    pub(crate) fn open(&mut self, path: &Path) -> u32 {
        self.files.push(path.to_owned());
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// How many files were opened.
    pub(crate) fn opened(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    /// The path of a file that was opened.
    pub(crate) fn path(&self, pos: Pos) -> &Path {
        self.files.get(pos.file as usize).map_or(Path::new(""), PathBuf::as_path)
    }

    /// `keepalived.conf:17`.
    pub(crate) fn place(&self, pos: Pos) -> String {
        let name = self.path(pos).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        format!("{name}:{}", pos.line)
    }

    /// Whether what is found from here on takes somebody's place.
    pub(crate) fn is_full(&self) -> bool {
        self.findings.len() >= MOST_FINDINGS
    }

    /// Whether something is broken, or is left out.
    pub(crate) const fn has_losses(&self) -> bool {
        self.kept[Severity::Error as usize] > 0 || self.kept[Severity::Dropped as usize] > 0
    }

    /// Worth knowing.
    pub(crate) fn note(&mut self, pos: Pos, text: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Note, pos, text.into(), advice.into());
    }

    /// Changes behaviour and is not in the TOML.
    pub(crate) fn dropped(&mut self, pos: Pos, text: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Dropped, pos, text.into(), advice.into());
    }

    /// Broken.
    pub(crate) fn error(&mut self, pos: Pos, text: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Error, pos, text.into(), advice.into());
    }

    fn add(&mut self, severity: Severity, pos: Pos, text: String, advice: String) {
        // A weaker finding gives way, or a flood of notes could hide the one that decides the exit code.
        if self.is_full() {
            self.more += 1;
            if self.kept[..severity as usize].iter().all(|kept| *kept == 0) {
                return;
            }
            let Some(weak) = self.findings.iter().rposition(|(_, f)| f.severity < severity) else { return };
            let (_, gone) = self.findings.swap_remove(weak);
            self.kept[gone.severity as usize] -= 1;
        }
        self.kept[severity as usize] += 1;
        let file = self.path(pos).to_owned();
        self.findings.push((pos, Finding { file, line: pos.line, severity, text, advice }));
    }

    /// All of them, in the order of the files.
    pub(crate) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|(pos, _)| *pos);
        // What several blocks inherit is said once.
        let mut said = HashSet::new();
        self.findings.retain(|(pos, finding)| said.insert((*pos, finding.text.clone())));
        let mut all: Vec<Finding> = self.findings.into_iter().map(|(_, finding)| finding).collect();
        all.dedup();
        if self.more > 0
            && let Some(last) = all.last().cloned()
        {
            let text = format!("and {} findings more", self.more);
            all.push(Finding { severity: Severity::Note, text, advice: String::new(), ..last });
        }
        all
    }
}
