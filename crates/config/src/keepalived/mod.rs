//! A keepalived.conf becomes our TOML: what it means here, and for each thing that has no meaning here where it
//! stood and what to do instead.
//!
//! The way: `source` reads files and expands includes, conditions, parameters, sequences and lists into plain lines;
//! `tree` makes statements and blocks of them; `table` knows every keyword of keepalived 2.2; the mappers fill drafts;
//! `emit` writes them. All of it is bounded: a hostile file ends in a finding, not in a hang.

mod draft;
mod emit;
mod globals;
mod instance;
mod lvs;
mod script;
mod source;
mod table;
mod track;
mod tree;
mod values;
mod words;

use std::path::Path;

use crate::import::report;
pub use crate::import::{Disk, Files, Finding, Import, Severity};

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
