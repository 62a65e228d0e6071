//! From files to directives: nginx's own rules for words, quotes, comments and braces (ngx_conf_read_token), and
//! `include` read where it stands.
//!
//! Nginx stops at the first error of syntax; so does this, and says it in nginx's words. All work is paid from one
//! budget: a hostile file ends in a finding.

use std::path::{Path, PathBuf};

use super::words::{End, Reader};
use crate::import::report::{Pos, Report};
use crate::import::{Files, glob};

/// Bytes of all files together.
const BUDGET: usize = 8 * 1024 * 1024;
/// Directives of all files together.
const MOST_DIRECTIVES: usize = 100_000;
/// Files that includes may open together.
const MOST_FILES: u32 = 1000;
/// Files that include each other deeper than this go round in a circle.
const DEEPEST_INCLUDE: usize = 16;
/// Blocks in blocks.
const DEEPEST_BLOCK: usize = 48;
/// Names that wildcards may be compared with.
const MOST_NAMES: usize = 100_000;

/// A directive with its arguments and its block.
#[derive(Clone, Debug, Default)]
pub(super) struct Directive {
    /// Where it starts.
    pub(super) pos: Pos,
    /// Its name.
    pub(super) name: String,
    /// Its arguments, quotes and escapes resolved.
    pub(super) args: Vec<String>,
    /// What stands in its braces.
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    /// An argument, from 0; empty when it is missing.
    pub(super) fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }

    /// What stands in its braces.
    pub(super) fn children(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The value of `key=value` among the arguments.
    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.args.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
    }

    /// Whether `word` is among the arguments behind the first.
    pub(super) fn has(&self, word: &str) -> bool {
        self.args.iter().skip(1).any(|arg| arg == word)
    }
}

/// The directives of the file at `path` and of those that it includes; `None` when nginx would not start with it.
pub(super) fn read(path: &Path, files: &dyn Files, report: &mut Report) -> Option<Vec<Directive>> {
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut builder = Builder {
        files,
        report,
        dir,
        open: Vec::new(),
        budget: BUDGET,
        left: MOST_DIRECTIVES,
        names: MOST_NAMES,
    };
    let mut all = Vec::new();
    builder.file(path, None, 0, &mut all).then_some(all)
}

struct Builder<'a> {
    files: &'a dyn Files,
    report: &'a mut Report,
    /// Of the first file: relative includes start there.
    dir: PathBuf,
    /// Files being read, outermost first.
    open: Vec<PathBuf>,
    budget: usize,
    left: usize,
    names: usize,
}

impl Builder<'_> {
    /// Reads a file into `out`; `from` is the include that named it. False when the syntax is broken.
    fn file(&mut self, path: &Path, from: Option<Pos>, depth: usize, out: &mut Vec<Directive>) -> bool {
        let text = self.files.read(path);
        if self.report.opened() >= MOST_FILES {
            let pos = from.unwrap_or_default();
            self.report.error(pos, "too many files are included", "narrow the pattern");
            return false;
        }
        let text = match text {
            Ok(text) => text,
            Err(reason) => {
                let pos = from.unwrap_or_else(|| Pos { file: self.report.open(path), line: 1 });
                let text = format!("{} cannot be read: {reason}", path.display());
                self.report.error(pos, text, "import on the machine that has it, as a user that may read it");
                return false;
            }
        };
        let file = self.report.open(path);
        self.open.push(path.to_owned());
        let whole = match self.budget.checked_sub(text.len()) {
            Some(left) => {
                self.budget = left;
                let mut reader = Reader::new(&text);
                self.block(&mut reader, file, depth, None, out)
            }
            None => {
                let text = format!("the files are larger than {} MiB together", BUDGET >> 20);
                self.report.error(Pos { file, line: 1 }, text, "import them one by one, with --context");
                false
            }
        };
        self.open.pop();
        whole
    }

    /// Directives up to `}`, or to the end of the file when `owner` is absent.
    fn block(
        &mut self,
        reader: &mut Reader<'_>,
        file: u32,
        depth: usize,
        owner: Option<&str>,
        out: &mut Vec<Directive>,
    ) -> bool {
        loop {
            let (words, line, end) = match reader.statement() {
                Ok(found) => found,
                Err((line, wrong)) => return self.broken(Pos { file, line }, &wrong),
            };
            let pos = Pos { file, line };
            match (end, owner) {
                (End::Close, Some(_)) | (End::File, None) => return true,
                (End::Close, None) => return self.broken(pos, "unexpected \"}\""),
                (End::File, Some(owner)) => {
                    let wrong =
                        format!("unexpected end of file, expecting \"}}\": the block of `{owner}` is open");
                    return self.broken(pos, &wrong);
                }
                (End::Semicolon, _) => {
                    if !self.push(words, pos, None, depth, out) {
                        return false;
                    }
                }
                (End::Open, _) => {
                    let name = words.first().cloned().unwrap_or_default();
                    if depth >= DEEPEST_BLOCK {
                        self.report.error(pos, "blocks are nested too deeply", "nest them less deeply");
                        return false;
                    }
                    let mut inner = Vec::new();
                    if name.ends_with("_by_lua_block") {
                        reader.skip_foreign();
                    } else if !self.block(reader, file, depth + 1, Some(&name), &mut inner) {
                        return false;
                    }
                    if !self.push(words, pos, Some(inner), depth, out) {
                        return false;
                    }
                }
            }
        }
    }

    fn push(
        &mut self,
        words: Vec<String>,
        pos: Pos,
        block: Option<Vec<Directive>>,
        depth: usize,
        out: &mut Vec<Directive>,
    ) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            let text = format!("more than {MOST_DIRECTIVES} directives");
            self.report.error(pos, text, "import the files one by one, with --context");
            return false;
        };
        self.left = left;
        let mut words = words.into_iter();
        let name = words.next().unwrap_or_default();
        let directive = Directive { pos, name, args: words.collect(), block };
        if directive.name == "include" && directive.block.is_none() {
            return self.include(&directive, depth, out);
        }
        out.push(directive);
        true
    }

    fn include(&mut self, include: &Directive, depth: usize, out: &mut Vec<Directive>) -> bool {
        let [pattern] = include.args.as_slice() else {
            return self.broken(include.pos, "invalid number of arguments in \"include\" directive");
        };
        let full = self.dir.join(pattern);
        let wild = pattern.contains(['*', '?', '[']);
        let found = if wild { self.matches(&full, include.pos) } else { vec![full] };
        for path in found {
            if self.open.contains(&path) || self.open.len() >= DEEPEST_INCLUDE {
                let text = format!("include {} goes round in a circle", path.display());
                self.report.error(include.pos, text, "take this include out");
                return false;
            }
            if !self.file(&path, Some(include.pos), depth, out) {
                return false;
            }
        }
        true
    }

    /// Walks the pattern's components, listing a directory for each one with a wildcard.
    fn matches(&mut self, pattern: &Path, pos: Pos) -> Vec<PathBuf> {
        let mut reached = vec![PathBuf::new()];
        for part in pattern.components() {
            let part = part.as_os_str().to_string_lossy();
            if !part.contains(['*', '?', '[']) {
                reached.iter_mut().for_each(|path| path.push(&*part));
                continue;
            }
            let mut next = Vec::new();
            for dir in &reached {
                let mut entries = self.files.list(dir);
                entries.sort();
                for entry in entries {
                    let Some(left) = self.names.checked_sub(1) else {
                        self.report.error(pos, "the wildcards match too many files", "narrow the pattern");
                        return Vec::new();
                    };
                    self.names = left;
                    let name = entry.file_name().map(|name| name.to_string_lossy().into_owned());
                    if name.is_some_and(|name| glob(&part, &name)) {
                        next.push(entry);
                    }
                }
            }
            reached = next;
        }
        reached.retain(|path| self.files.mode(path).is_some());
        reached
    }

    fn broken(&mut self, pos: Pos, wrong: &str) -> bool {
        self.report.error(pos, wrong, "nginx would not start with this; `nginx -t` says the same");
        false
    }
}

#[cfg(test)]
mod tests;
