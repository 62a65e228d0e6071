//! A keepalived.conf becomes our TOML: what it means here, and for each thing that has no meaning here where it
//! stood and what to do instead.
//!
//! The way: `source` reads files and expands includes, conditions, parameters, sequences and lists into plain lines;
//! `tree` makes statements and blocks of them; `table` knows every keyword of keepalived 2.2; the mappers fill drafts;
//! `emit` writes them. All of it is bounded: a hostile file ends in a finding, not in a hang.

mod disk;
mod draft;
mod emit;
mod globals;
mod instance;
mod lvs;
mod report;
mod script;
mod source;
mod table;
mod track;
mod tree;
mod values;
mod words;

use std::path::{Path, PathBuf};

pub use disk::Disk;
pub use report::{Finding, Severity};

/// What an import may ask of the machine; `Disk` is the real one.
pub trait Files {
    /// The text of a file; the error is a reason for people.
    ///
    /// # Errors
    /// When the file is missing, unreadable or too large.
    fn read(&self, path: &Path) -> Result<String, String>;

    /// Permission bits, or `None` when there is no such file.
    fn mode(&self, path: &Path) -> Option<u32>;

    /// What stands in a directory, in any order.
    fn list(&self, dir: &Path) -> Vec<PathBuf>;

    /// The host name up to its first dot.
    fn host(&self) -> String {
        "localhost".to_owned()
    }

    /// A variable of the environment.
    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    /// Whether this machine knows the user.
    fn has_user(&self, _name: &str) -> bool {
        false
    }
}

/// What became of a keepalived.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Our configuration.
    pub toml: String,
    /// What the operator should know, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Import {
    /// 0, or 1 when the file is broken or something that changes behaviour was dropped; `lenient` accepts the latter.
    #[must_use]
    pub fn exit_code(&self, lenient: bool) -> u8 {
        let bad = self.findings.iter().any(|finding| match finding.severity {
            Severity::Note => false,
            Severity::Dropped => !lenient,
            Severity::Error => true,
        });
        u8::from(bad)
    }
}

/// Translates the keepalived.conf at `path`, and all that it includes.
///
/// `config_id` is what keepalived is started with as -i, the host name when absent: `@` conditions and `${_INSTANCE}`
/// compare it.
#[must_use]
pub fn import(path: &Path, files: &dyn Files, config_id: Option<&str>) -> Import {
    let mut report = report::Report::default();
    let lines = source::lines(path, files, config_id, &mut report);
    let tree = tree::build(&lines, &mut report);
    let mut draft = draft::Draft::default();
    globals::read(&tree, &mut draft, files, &mut report);
    track::read(&tree, &mut draft, &mut report);
    instance::read(&tree, &mut draft, &mut report);
    lvs::read(&tree, &mut report);
    track::resolve(&mut draft, files, &mut report);
    let toml = emit::toml(&draft, path, &report);
    Import { toml, findings: report.into_findings() }
}
