//! From files and environment to a Plan.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Report};
use crate::findings::Findings;
use crate::plan::Plan;
use crate::raw::Root;
use crate::read::{Reader, Table, Value};
use crate::resolve::resolve;
use crate::source::{At, Kind, Span};

/// A configuration that means something, and what should be looked at nevertheless.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub plan: Plan,
    /// What was accepted, but should be looked at.
    pub warnings: Vec<Diagnostic>,
    /// The files that were read, in the order in which they were merged.
    pub files: Vec<PathBuf>,
}

/// What beside the text itself is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Scripts, certificates, files with secrets, the host name.
    pub files: bool,
    /// Users of commands.
    pub users: bool,
}

impl Checks {
    /// Everything: the configuration is for this host.
    pub const ALL: Self = Self { files: true, users: true };
    /// Nothing: the configuration is for another host. A secret that is kept in a file stays unread.
    pub const NONE: Self = Self { files: false, users: false };
}

/// Hand-written configurations are a hundredth of this.
const LARGEST_FILE: u64 = 1024 * 1024;
/// What follows the first few is caused by them.
const MOST_SYNTAX_ERRORS: usize = 20;
/// All files together.
const MOST_FILES: usize = 256;

/// Reads `path` and `conf.d/*.toml` beside it for this host.
///
/// `env` gives the environment; overrides are `MAINSTAY_<TABLE>_<KEY>` for the keys of single tables.
///
/// # Errors
/// Everything that is wrong, in the order of the files.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Report> {
    load_with(path, env, Checks::ALL)
}

/// [`load`] with a choice of what is looked at.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    checks: Checks,
) -> Result<Loaded, Report> {
    let mut findings = Findings::default();
    let mut texts = Vec::new();
    let mut files = vec![path.to_path_buf()];
    files.extend(fragments(path, &mut findings));
    for file in &files {
        texts.extend(read_file(file, &mut findings));
    }
    let plan = meaning(&texts, findings_or(findings)?, env, checks)?;
    Ok(Loaded { plan: plan.0, warnings: plan.1, files })
}

/// The meaning of one text; no file is opened unless `checks` says so.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn parse_str(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    checks: Checks,
) -> Result<Loaded, Report> {
    let mut findings = Findings::default();
    if text.len() as u64 > LARGEST_FILE {
        let source = findings.sources.add(name, "", Kind::File);
        too_large(source, &mut findings);
        return Err(refused(findings));
    }
    let source = findings.sources.add(name, text, Kind::File);
    let (plan, warnings) = meaning(&[(source, text.to_owned())], findings, env, checks)?;
    Ok(Loaded { plan, warnings, files: Vec::new() })
}

fn findings_or(findings: Findings) -> Result<Findings, Report> {
    if findings.has_errors() { Err(refused(findings)) } else { Ok(findings) }
}

fn refused(findings: Findings) -> Report {
    match findings.finish() {
        Err(report) => report,
        Ok(diagnostics) => Report { diagnostics },
    }
}

fn too_large(source: usize, findings: &mut Findings) {
    let help = "a configuration has at most 1 MiB; is this the right file?";
    findings.refuse(source, "the file is too large", help);
}

/// `conf.d/*.toml` beside the main file, in name order.
fn fragments(path: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let source = findings.sources.add(directory.display().to_string(), "", Kind::File);
            findings.refuse(source, format!("the directory can't be read: {error}"), "let this user read it");
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.retain(|file| {
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && file.extension().is_some_and(|extension| extension == "toml")
    });
    files.sort();
    if files.len() > MOST_FILES {
        let source = findings.sources.add(directory.display().to_string(), "", Kind::File);
        findings.refuse(source, format!("more than {MOST_FILES} files"), "join them");
    }
    files
}

fn read_file(path: &Path, findings: &mut Findings) -> Option<(usize, String)> {
    let name = path.display().to_string();
    let text = match open(path) {
        Ok(text) => text,
        Err(error) => {
            let source = findings.sources.add(name, "", Kind::File);
            let (message, help) = unreadable(&error);
            findings.refuse(source, message, help);
            return None;
        }
    };
    if text.len() as u64 > LARGEST_FILE {
        let source = findings.sources.add(name, "", Kind::File);
        too_large(source, findings);
        return None;
    }
    let source = findings.sources.add(name, text.as_str(), Kind::File);
    Some((source, text))
}

fn open(path: &Path) -> std::io::Result<String> {
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(error: &std::io::Error) -> (String, &'static str) {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => (
            "the file does not exist".to_owned(),
            "write it, name another with --config, or make one with `mainstay import keepalived FILE`",
        ),
        ErrorKind::PermissionDenied => {
            ("this user may not read the file".to_owned(), "run as root, or chmod it")
        }
        ErrorKind::IsADirectory => ("it is not a regular file".to_owned(), "name the file itself"),
        ErrorKind::InvalidData => {
            ("the file is not UTF-8 text".to_owned(), "save it as UTF-8; is this the right file?")
        }
        _ => (format!("the file can't be read: {error}"), "look at the disk"),
    }
}

/// Reads and resolves every text. A file with bad syntax is not looked at further: what follows from a missing quote
/// would only hide it.
fn meaning(
    texts: &[(usize, String)],
    mut findings: Findings,
    env: &dyn Fn(&str) -> Option<String>,
    checks: Checks,
) -> Result<(Plan, Vec<Diagnostic>), Report> {
    let mut parsed = Vec::new();
    for (source, text) in texts {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors.into_iter().take(MOST_SYNTAX_ERRORS) {
            syntax(*source, text, &error, &mut findings);
        }
        parsed.push((*source, document));
    }
    let mut findings = findings_or(findings)?;
    let mut root = Root::default();
    for (source, document) in &parsed {
        let mut reader = Reader { findings: &mut findings, env, source: *source };
        let span = reader.span(document);
        let part: Root = reader.table(document.get_ref(), span);
        join(&mut root, part, &mut findings);
    }
    override_from_environment(&mut root, &mut findings, env);
    let plan = resolve(root, &mut findings, env, checks);
    findings.finish().map(|warnings| (plan, warnings))
}

/// Only whether a text is TOML.
pub(crate) fn syntax_of(name: &str, text: &str) -> Result<(), Report> {
    let mut findings = Findings::default();
    if text.len() as u64 > LARGEST_FILE {
        let source = findings.sources.add(name, "", Kind::File);
        too_large(source, &mut findings);
    } else {
        let source = findings.sources.add(name, text, Kind::File);
        for error in DeTable::parse_recoverable(text).1.into_iter().take(MOST_SYNTAX_ERRORS) {
            syntax(source, text, &error, &mut findings);
        }
    }
    findings_or(findings).map(|_| ())
}

fn syntax(source: usize, text: &str, error: &toml::de::Error, findings: &mut Findings) {
    let range = error.span().unwrap_or(text.len()..text.len());
    let span = Span { source, start: range.start, end: range.end };
    let from = text.get(..range.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(from..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    findings.error(span, error.message(), crate::hint::syntax(line, error.message()));
}

/// Lists are appended, the keys of single tables may be set once.
fn join(root: &mut Root, later: Root, findings: &mut Findings) {
    join_table(&mut root.node, later.node, findings);
    join_table(&mut root.cluster, later.cluster, findings);
    join_table(&mut root.mail, later.mail, findings);
    append(&mut root.vip, later.vip);
    append(&mut root.group, later.group);
    append(&mut root.probe, later.probe);
    append(&mut root.agent, later.agent);
    append(&mut root.visit, later.visit);
    join_table(&mut root.edge, later.edge, findings);
    append(&mut root.listener, later.listener);
    append(&mut root.route, later.route);
    append(&mut root.pool, later.pool);
    append(&mut root.zone, later.zone);
    append(&mut root.map, later.map);
    append(&mut root.log, later.log);
    join_table(&mut root.hub, later.hub, findings);
    join_table(&mut root.gost, later.gost, findings);
    join_table(&mut root.registry, later.registry, findings);
    append(&mut root.tunnel, later.tunnel);
}

fn join_table<T: Table>(mine: &mut Option<At<T>>, later: Option<At<T>>, findings: &mut Findings) {
    match (mine, later) {
        (Some(mine), Some(later)) => mine.value.merge(later.value, findings),
        (mine @ None, later) => *mine = later,
        (Some(_), None) => {}
    }
}

fn append<T>(mine: &mut Option<At<Vec<T>>>, later: Option<At<Vec<T>>>) {
    match (mine, later) {
        (Some(mine), Some(later)) => mine.value.extend(later.value),
        (mine @ None, later) => *mine = later,
        (Some(_), None) => {}
    }
}

/// `MAINSTAY_NODE_ID` stands over `[node] id`, and so on for every key of a single table.
fn override_from_environment(root: &mut Root, findings: &mut Findings, env: &dyn Fn(&str) -> Option<String>) {
    override_table(&mut root.node, "NODE", findings, env);
    override_table(&mut root.cluster, "CLUSTER", findings, env);
    override_table(&mut root.mail, "MAIL", findings, env);
    override_table(&mut root.edge, "EDGE", findings, env);
    override_table(&mut root.hub, "HUB", findings, env);
    override_table(&mut root.gost, "GOST", findings, env);
    override_table(&mut root.registry, "REGISTRY", findings, env);
}

fn override_table<T: Table>(
    slot: &mut Option<At<T>>,
    table: &str,
    findings: &mut Findings,
    env: &dyn Fn(&str) -> Option<String>,
) {
    for key in T::KEYS {
        let variable = format!("MAINSTAY_{table}_{}", key.to_ascii_uppercase());
        let Some(text) = env(&variable) else { continue };
        let source =
            findings.sources.add(format!("environment variable {variable}"), text.as_str(), Kind::Variable);
        let value = match as_value(&text) {
            Ok(value) => value,
            Err(message) => {
                findings.refuse(source, message, "write a list as in TOML: [\"a\", \"b\"]");
                continue;
            }
        };
        let mine =
            slot.get_or_insert_with(|| At::new(T::default(), Span { source, start: 0, end: text.len() }));
        mine.value.set(key, &value, &mut Reader { findings, env, source });
    }
}

/// A list or a table is written as in TOML, everything else as it is.
fn as_value(text: &str) -> Result<Value<'_>, String> {
    if text.trim_start().starts_with(['[', '{']) {
        return DeValue::parse(text.trim()).map_err(|error| error.message().to_owned());
    }
    Ok(Value::new(0..text.len(), DeValue::String(text.into())))
}
