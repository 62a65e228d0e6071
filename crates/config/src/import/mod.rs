//! What every importer needs: the machine as it sees it, and what it has to say.

mod disk;
mod glob;
pub(crate) mod report;
mod text;
pub(crate) mod toml;

use std::path::{Path, PathBuf};

pub use disk::Disk;
pub(crate) use glob::glob;
pub use report::{Finding, Severity};
pub(crate) use text::quote;

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

/// What became of another program's configuration.
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
