//! `include PATTERN` and its variants: wildcards, braces, relative paths.

use std::path::{Path, PathBuf};

use super::{DEEPEST, Pos, STEP, Source, paths};
use crate::import::glob;

/// Files that all includes of an import may open together.
const MOST_FILES: u32 = 1000;

impl Source<'_> {
    /// Reads what a pattern matches, in name order.
    pub(super) fn include(&mut self, argument: &str, pos: Pos) {
        let Some(pattern) = paths(argument).into_iter().next() else {
            return self.report.error(pos, "include names no file", "write `include /path/*.conf`");
        };
        let mut found = Vec::new();
        for one in braces(&pattern) {
            let full = self.directory().join(&one);
            self.matches(&full, pos, &mut found);
        }
        if found.is_empty() {
            let text = format!("include {pattern} matches no file here");
            return self.report.note(pos, text, "import on the machine that has it, or give the file's path");
        }
        for path in found {
            if self.open.contains(&path) || self.open.len() >= DEEPEST {
                let text = format!("include {} goes round in a circle", path.display());
                self.report.error(pos, text, "take this include out");
            } else if self.report.opened() >= MOST_FILES {
                return self.report.error(pos, "too many files are included", "narrow the pattern");
            } else {
                self.file(&path, Some(pos));
            }
        }
    }

    /// Walks the pattern's components, listing a directory for each one with a wildcard.
    fn matches(&mut self, pattern: &Path, pos: Pos, found: &mut Vec<PathBuf>) {
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
                    let name =
                        entry.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                    if !self.spend(STEP * (1 + name.len() * part.len() / 64), pos) {
                        return;
                    }
                    if glob(&part, &name) {
                        next.push(entry);
                    }
                }
            }
            reached = next;
        }
        found.extend(reached.into_iter().filter(|path| self.files.mode(path).is_some()));
    }
}

/// csh braces: `{a,b}.conf` is `a.conf` and `b.conf`; one level, which is what people write.
fn braces(pattern: &str) -> Vec<String> {
    if let Some((head, rest)) = pattern.split_once('{')
        && let Some((list, tail)) = rest.split_once('}')
        && list.contains(',')
    {
        return list.split(',').map(|one| format!("{head}{one}{tail}")).collect();
    }
    vec![pattern.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_two_names() {
        assert_eq!(braces("/etc/{a,b}.conf"), ["/etc/a.conf", "/etc/b.conf"]);
    }
}
