//! From files to plain lines: comments cut, `include` read, `@` conditions decided, `$NAME` replaced, `~SEQ` and `~LST`
//! unrolled (keepalived.conf(5), "ADVANCED CONFIGURATION").
//!
//! A few bytes can ask for gigabytes, so all work is paid from one budget; when that is spent the import says so and
//! goes on with what it has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::report::{Pos, Report};
use super::words::{plain, without_comment};
use super::{Files, table};

mod blocks;
mod include;

/// Bytes that expansion may copy altogether: 1000 instances of 100 lines with room to spare, in well under a second.
const BUDGET: usize = 16 * 1024 * 1024;
/// Cost of a step however short its text, so that empty loops end too.
const STEP: usize = 64;
/// Includes and nested expansions deeper than this are loops.
const DEEPEST: usize = 32;
/// Longest line after expansion.
const LONGEST_LINE: usize = 64 * 1024;
/// Replacements in one line beyond this are parameters that name each other.
const MOST_REPLACEMENTS: usize = 1000;

/// A line with nothing left to expand.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Where it was written.
    pub(super) pos: Pos,
    /// What it says.
    pub(super) text: String,
}

/// All lines of the file at `path` and of those that it includes.
pub(super) fn lines(
    path: &Path,
    files: &dyn Files,
    config_id: Option<&str>,
    report: &mut Report,
) -> Vec<Line> {
    let mut source = Source {
        files,
        report,
        config_id: config_id.map_or_else(|| files.host(), str::to_owned),
        defined: HashMap::new(),
        open: Vec::new(),
        budget: BUDGET,
        spent_told: false,
        condition_told: false,
        out: Vec::new(),
    };
    source.file(path, None);
    source.out
}

struct Source<'a> {
    files: &'a dyn Files,
    report: &'a mut Report,
    config_id: String,
    defined: HashMap<String, String>,
    /// Files being read, outermost first: their directories, and a guard against loops.
    open: Vec<PathBuf>,
    budget: usize,
    spent_told: bool,
    condition_told: bool,
    out: Vec<Line>,
}

impl Source<'_> {
    /// Reads a file; `from` is the include that named it.
    fn file(&mut self, path: &Path, from: Option<Pos>) {
        let text = match self.files.read(path) {
            Ok(text) => text,
            Err(reason) => {
                let pos = from.unwrap_or_else(|| Pos { file: self.report.open(path), line: 1 });
                let text = format!("{} cannot be read: {reason}", path.display());
                return self.report.error(
                    pos,
                    text,
                    "give the path of a keepalived.conf that this user may read",
                );
            }
        };
        let file = self.report.open(path);
        self.open.push(path.to_owned());
        let mut lines = (1u32..).zip(text.lines());
        while let Some((line, text)) = lines.next() {
            let pos = Pos { file, line };
            if !self.spend(text.len(), pos) {
                break;
            }
            let mut text = without_comment(text).to_owned();
            // Only a definition goes on after a backslash, and its lines stay lines.
            if self.starts_definition(&text) {
                while text.ends_with('\\') {
                    let next = lines.next().map_or("", |(_, next)| without_comment(next));
                    text.truncate(text.trim_end_matches('\\').trim_end().len());
                    text.push('\n');
                    text.push_str(next);
                    if !self.spend(next.len(), pos) {
                        break;
                    }
                }
            }
            self.line(&text, pos, 0);
        }
        self.open.pop();
    }

    /// Whether the line, its conditions aside, is `$NAME=`.
    fn starts_definition(&self, text: &str) -> bool {
        let mut rest = text;
        while rest.starts_with('@') {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        definition(rest).is_some()
    }

    /// Expands one line; what comes out is at most one line for each level.
    fn line(&mut self, text: &str, pos: Pos, depth: usize) {
        if depth > DEEPEST {
            let help = "write the blocks out, or nest parameters less deeply";
            return self.report.error(pos, "expansion is nested too deeply", help);
        }
        let mut text = text.trim().to_owned();
        let mut replaced = 0;
        loop {
            let Some(rest) = self.condition(&text, pos) else { return };
            text = rest;
            if let Some((name, value)) = definition(&text) {
                self.defined.insert(name.to_owned(), value.to_owned());
                return;
            }
            if text.starts_with("~SEQ") || text.starts_with("~LST") {
                return self.repeat(&text, pos, depth);
            }
            if let Some((head, rest)) = text.split_once(char::is_whitespace)
                && table::INCLUDES.contains(&head)
            {
                let rest = rest.trim().to_owned();
                return self.include(&rest, pos);
            }
            let Some((range, value)) = self.first_parameter(&text, pos) else { break };
            replaced += 1;
            if !self.spend(text.len() + value.len(), pos) {
                return;
            }
            if replaced > MOST_REPLACEMENTS || text.len() + value.len() > LONGEST_LINE {
                let help = "look for a parameter whose value contains itself";
                return self.report.error(pos, "parameters of this line expand without end", help);
            }
            text.replace_range(range, &value);
            if text.contains('\n') {
                for line in text.lines() {
                    self.line(line, pos, depth + 1);
                }
                return;
            }
        }
        if !text.is_empty() && self.spend(text.len(), pos) {
            self.out.push(Line { pos, text });
        }
    }

    /// Takes the `@` conditions off; `None` when one of them does not hold.
    fn condition(&mut self, text: &str, pos: Pos) -> Option<String> {
        let mut rest = text;
        while let Some(after) = rest.strip_prefix('@') {
            if !self.condition_told {
                self.condition_told = true;
                let text = format!("`@` conditions are decided for the config-id \"{}\"", self.config_id);
                self.report.note(pos, text, "import once for each node, with --config-id as keepalived's -i");
            }
            let (name, tail) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
            let holds = match name.strip_prefix(['^', '!']) {
                Some(other) => other != self.config_id,
                None => name == self.config_id,
            };
            if !holds {
                return None;
            }
            rest = tail.trim_start();
        }
        Some(rest.to_owned())
    }

    /// The first parameter of the line that has a value, and the value.
    fn first_parameter(&mut self, text: &str, pos: Pos) -> Option<(std::ops::Range<usize>, String)> {
        let mut from = 0;
        while let Some(at) = text[from..].find('$').map(|at| at + from) {
            let Some((name, end)) = parameter(&text[at..]).map(|(name, len)| (name, at + len)) else {
                from = at + 1;
                continue;
            };
            if let Some(value) = self.value(name, pos) {
                return Some((at..end, value));
            }
            from = at + 1;
        }
        None
    }

    /// What a parameter stands for.
    fn value(&mut self, name: &str, pos: Pos) -> Option<String> {
        if let Some(value) = self.defined.get(name) {
            return Some(value.clone());
        }
        let mut words = name.split_whitespace();
        match words.next()? {
            "_PWD" => Some(self.directory().display().to_string()),
            "_INSTANCE" => Some(self.config_id.clone()),
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            "_ENV" => self.environment(words.next()?, pos),
            "_RANDOM" => {
                let least = words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
                let text = format!("${{_RANDOM}} has no meaning here: {least} stands in its place");
                self.report.dropped(pos, text, "write the number that you want");
                Some(least.to_string())
            }
            _ => None,
        }
    }

    fn environment(&mut self, name: &str, pos: Pos) -> Option<String> {
        let value = self.files.env(name);
        if value.is_none() {
            let help = format!("set {name} as keepalived's unit does and import again");
            self.report.error(pos, format!("${{_ENV {name}}} is not set here"), help);
        }
        value
    }

    fn directory(&self) -> &Path {
        self.open.last().and_then(|path| path.parent()).unwrap_or(Path::new("."))
    }

    /// Pays for work; false, and said once, when the budget is spent.
    fn spend(&mut self, bytes: usize, pos: Pos) -> bool {
        match self.budget.checked_sub(bytes.saturating_add(STEP)) {
            Some(left) => {
                self.budget = left;
                true
            }
            None => {
                self.budget = 0;
                if !std::mem::replace(&mut self.spent_told, true) {
                    let text =
                        format!("the file expands to more than {} MiB: the rest is left out", BUDGET >> 20);
                    self.report.error(pos, text, "split the file, or narrow its ~SEQ and parameters");
                }
                false
            }
        }
    }
}

/// `$NAME` before white space or the end, or `${NAME ...}`: the name with what belongs to it, and the length of all.
fn parameter(text: &str) -> Option<(&str, usize)> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(inner) = text.strip_prefix("${") {
        let len = inner.find(|c: char| !named(c) && c != ' ').unwrap_or(inner.len());
        return inner[len..].starts_with('}').then(|| (&inner[..len], len + 3));
    }
    let inner = text.strip_prefix('$')?;
    let len = inner.find(|c: char| !named(c)).unwrap_or(inner.len());
    let ends = inner[len..].chars().next().is_none_or(char::is_whitespace);
    (len > 0 && ends).then(|| (&inner[..len], len + 1))
}

/// `$NAME=value`: no space before the `=`, and a name of letters, digits and `_`.
fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named.then(|| (name, value.trim()))
}

/// The words of an include's argument; quotes are no part of a path.
fn paths(text: &str) -> Vec<String> {
    plain(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
