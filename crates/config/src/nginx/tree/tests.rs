//! Files, includes and what is broken in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::import::Severity;

struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
    }

    fn read(&self) -> (Option<Vec<Directive>>, Vec<String>) {
        let mut report = Report::default();
        let all = read(Path::new("/etc/nginx/nginx.conf"), self, &mut report);
        let said = report.into_findings();
        assert!(said.iter().all(|finding| finding.severity == Severity::Error));
        (all, said.iter().map(|f| format!("{}:{}: {}", f.file.display(), f.line, f.text)).collect())
    }

    fn broken(text: &str) -> String {
        let (all, said) = Self::of(&[("/etc/nginx/nginx.conf", text)]).read();
        assert!(all.is_none(), "{text}");
        said.join("\n")
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.0.contains_key(path).then_some(0o644)
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        self.0.keys().filter(|path| path.parent() == Some(dir)).cloned().collect()
    }
}

#[test]
fn includes_stand_where_they_are_written_and_start_at_the_main_files_directory() {
    let (all, said) = Memory::of(&[
        ("/etc/nginx/nginx.conf", "http { include conf.d/*.conf; b 2; }"),
        ("/etc/nginx/conf.d/y.conf", "y;\ninclude conf.d/deep/z;"),
        ("/etc/nginx/conf.d/x.conf", "x { one two; }"),
        ("/etc/nginx/conf.d/.hidden.conf", "never;"),
        ("/etc/nginx/conf.d/deep/z", "z;"),
    ])
    .read();
    let names: Vec<String> = all.unwrap()[0].children().iter().map(|at| at.name.clone()).collect();
    assert_eq!((names.join(" "), said.len()), ("x y z b".to_owned(), 0));
}

#[test]
fn a_wildcard_may_match_nothing_and_a_name_may_not() {
    assert!(Memory::of(&[("/etc/nginx/nginx.conf", "include none/*.conf;")]).read().0.is_some());
    assert_eq!(
        Memory::broken("a;\ninclude none.conf;"),
        "/etc/nginx/nginx.conf:2: /etc/nginx/none.conf cannot be read: no such file"
    );
}

#[test]
fn a_circle_of_includes_ends() {
    assert!(Memory::broken("include nginx.conf;").contains("goes round in a circle"));
}

#[test]
fn braces_that_do_not_match_are_said_with_their_line() {
    assert_eq!(Memory::broken("a {\nb;\n}\n}"), "/etc/nginx/nginx.conf:4: unexpected \"}\"");
    assert!(Memory::broken("a {\nb;").contains("2: unexpected end of file, expecting \"}\""));
    assert!(Memory::broken("a {\n b\n}").contains("2: directive \"b\" is not terminated by \";\""));
}

#[test]
fn blocks_nest_so_deep_and_no_deeper() {
    assert!(Memory::broken(&"a {".repeat(10_000)).contains("nested too deeply"));
}

#[test]
fn more_directives_than_anybody_writes_end_the_import() {
    assert!(Memory::broken(&"a;".repeat(200_000)).contains("more than 100000 directives"));
}

#[test]
fn a_block_of_another_language_is_skipped() {
    let text = "content_by_lua_block { if x then y({1}) end } b;";
    let (all, _) = Memory::of(&[("/etc/nginx/nginx.conf", text)]).read();
    assert_eq!(all.unwrap().last().map(|at| at.name.clone()).as_deref(), Some("b"));
}
