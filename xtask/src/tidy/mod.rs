//! The house rules that no compiler checks: imports, purity, names, sizes, tests, links; errors with file and line.

mod imports;
mod names;
mod pages;
mod rust;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::project::Project;
use crate::tidy::source::Source;

/// Folders at the root whose files are ours to judge.
const FOLDERS: [&str; 11] =
    ["crates", "xtask", "fuzz", "docs", "examples", "packaging", "bench", ".ci", ".cargo", ".github", "."];

/// Folders that cargo or a fuzzer fills.
const BUILT: [&str; 5] = ["target", "corpus", "artifacts", "coverage", "book"];

/// Endings of files that hold text of ours.
const TEXTS: [&str; 10] = ["rs", "toml", "md", "c", "h", "conf", "service", "sh", "json", "yml"];

/// A rule broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    file: String,
    /// From 1; 0 when the file as a whole is meant.
    line: usize,
    says: String,
}

impl Fault {
    fn new(file: &str, line: usize, says: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, says: says.into() }
    }
}

/// Checks every file; an error when a rule is broken.
pub(crate) fn tidy(project: &Project) -> anyhow::Result<()> {
    let mut faults = imports::manifests(project);
    let mut sources = Vec::new();
    let files = files(&project.root)?;
    for path in &files {
        let name = path.strip_prefix(&project.root).unwrap_or(path).display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("read {name}"))?;
        faults.extend(pages::text(&name, &text));
        if name.ends_with(".rs") {
            sources.push(Source::new(&name, &text));
        }
        if name.ends_with(".md") {
            faults.extend(pages::links(&project.root, &name, &text));
        }
    }
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in sources {
        let source = if tests.contains(&source.path) { source.into_test() } else { source };
        faults.extend(rust::check(&source));
        faults.extend(names::check(&source));
        faults.extend(imports::check(&source));
    }
    faults.extend(pages::summary(&project.root)?);
    faults.sort();
    for fault in &faults {
        println!("{}:{}: {}", fault.file, fault.line, fault.says);
    }
    if !faults.is_empty() {
        bail!("tidy: {} faults", faults.len());
    }
    println!("tidy: {} files", files.len());
    Ok(())
}

fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let path = root.join(folder);
        if path.is_dir() {
            gather(&path, folder != ".", &mut found)?;
        }
    }
    found.sort();
    Ok(found)
}

fn gather(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if deep && !BUILT.contains(&name.as_str()) {
                gather(&path, deep, found)?;
            }
        } else if TEXTS.iter().any(|t| name.ends_with(&format!(".{t}"))) {
            found.push(path);
        }
    }
    Ok(())
}
