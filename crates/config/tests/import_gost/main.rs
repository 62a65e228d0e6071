//! Importing gost's configuration and command lines: what becomes of them, and what is said about it.

mod clients;
mod hostile;
mod ports;
mod servers;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mainstay_config::gost::{Files, Finding, Import, Options, Severity, import, import_line};
use mainstay_config::{Checks, parse_str};

const CONF: &str = "/etc/gost/gost.yaml";
const SEED_ID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

/// A machine with these files and nothing else.
#[derive(Clone, Default)]
struct Memory(HashMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.0.get(path).map(|_| 0o644)
    }

    fn list(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
}

fn options() -> Options {
    Options { dir: PathBuf::from("/srv/gost"), domain: None }
}

/// What becomes of a file.
fn file(text: &str) -> Import {
    beside(text, &[])
}

/// The same where other files are.
fn beside(text: &str, others: &[(&str, &str)]) -> Import {
    let all = others.iter().copied().chain([(CONF, text)]);
    let files = Memory(all.map(|(path, text)| (path.into(), text.to_owned())).collect());
    let done = import(Path::new(CONF), &files, &options());
    assert_eq!(done, import(Path::new(CONF), &files, &options()), "it says the same twice");
    done
}

/// What becomes of a command line; a blank is the end of a word.
fn line(text: &str) -> Import {
    let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    import_line(&args, &Memory::default(), &options())
}

/// Everything but the line that says where it comes from, and places, is as written.
fn toml(done: &Import) -> String {
    let plain = done
        .toml
        .lines()
        .skip(1)
        .map(|line| line.split("  # ").next().unwrap_or(line).split(" # ").next().unwrap_or(line));
    let text: Vec<&str> = plain.collect();
    text.join("\n").trim().to_owned()
}

/// Our own loader takes it, as `mainstay check --elsewhere` does.
fn loads(done: &Import) {
    if let Err(wrong) = parse_str("mainstay.toml", &done.toml, &|_| None, Checks::NONE) {
        panic!("{}\n{:#?}", done.toml, wrong);
    }
}

/// The finding that says this.
fn said<'d>(done: &'d Import, text: &str) -> &'d Finding {
    let found = done.findings.iter().find(|finding| finding.text.contains(text));
    found.unwrap_or_else(|| panic!("nothing says {text:?}: {:#?}", done.findings))
}

/// Texts of the findings that change behaviour or are errors.
fn lost(done: &Import) -> Vec<&str> {
    let lost = done.findings.iter().filter(|finding| finding.severity != Severity::Note);
    lost.map(|finding| finding.text.as_str()).collect()
}
