//! Importing nginx.conf: what becomes of the directives, and what is said about it. Everything that is imported
//! without an error is read by our own loader.

mod access;
mod bounds;
mod locations;
mod proxying;
mod responses;
mod rewriting;
mod servers;
mod streams;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mainstay_config::nginx::{Files, Import, Options, Part, Severity, import};
use mainstay_config::plan::edge::{Action, Answer, Edge, Forward, Piece, Pool, Route, Template};
use mainstay_config::{Checks, parse_str};

const CONF: &str = "/etc/nginx/nginx.conf";

/// Files that exist in memory alone.
struct Memory(BTreeMap<PathBuf, String>);

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

/// What became of a configuration.
struct Done {
    import: Import,
    edge: Edge,
}

/// Imports several files, the first of which is the main one.
fn import_files(files: &[(&str, &str)], part: Part) -> Import {
    let memory = Memory(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect());
    import(Path::new(files[0].0), &memory, &Options { part, prefix: None })
}

fn loaded(import: Import) -> Done {
    let plan = match parse_str("imported.toml", &import.toml, &|_| None, Checks::NONE) {
        Ok(loaded) => loaded.plan,
        Err(report) => panic!("{report}\n{}", import.toml),
    };
    Done { import, edge: plan.edge }
}

/// What stands in `http`.
fn http(text: &str) -> Done {
    loaded(import_files(&[(CONF, text)], Part::Http))
}

/// A server on port 80 for example.org.
fn server(text: &str) -> Done {
    http(&format!("server {{ listen 80; server_name example.org; {text} }}"))
}

/// What stands in `stream`.
fn stream(text: &str) -> Done {
    loaded(import_files(&[(CONF, text)], Part::Stream))
}

impl Done {
    /// Nothing was left out.
    fn clean(self) -> Self {
        let said: Vec<String> = self.said(Severity::Dropped).chain(self.said(Severity::Error)).collect();
        assert!(said.is_empty(), "{said:#?}");
        self
    }

    fn said(&self, severity: Severity) -> impl Iterator<Item = String> + '_ {
        let of = self.import.findings.iter().filter(move |finding| finding.severity == severity);
        of.map(|finding| format!("{}: {}", finding.line, finding.text))
    }

    /// Something that changes behaviour was left out, and these words are said about it.
    fn drops(self, words: &str) -> Self {
        assert!(self.said(Severity::Dropped).any(|text| text.contains(words)), "{:#?}", self.import.findings);
        self
    }

    /// The route of this name.
    fn route(&self, name: &str) -> &Route {
        let names: Vec<&str> = self.edge.routes.iter().map(|route| route.name.as_str()).collect();
        let found = self.edge.routes.iter().find(|route| route.name == name);
        found.unwrap_or_else(|| panic!("{name} is none of {names:?}\n{}", self.import.toml))
    }

    fn forward(&self, name: &str) -> &Forward {
        match &self.route(name).action {
            Action::Forward(forward) => forward,
            other => panic!("{name} does not forward: {other:?}"),
        }
    }

    fn pool(&self, route: &str) -> &Pool {
        &self.edge.pools[self.forward(route).pool.index()]
    }

    fn answer(&self, name: &str) -> &Answer {
        match &self.route(name).action {
            Action::Answer(answer) => answer,
            other => panic!("{name} does not answer: {other:?}"),
        }
    }
}

/// A text with variables as it is written.
fn text(template: &Template) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        Piece::Var(var) => format!("{{{var:?}}}"),
    };
    template.0.iter().map(piece).collect()
}

/// What nginx would refuse, with its line.
fn refused(text: &str) -> String {
    let done = import_files(&[(CONF, text)], Part::Http);
    assert_eq!(done.exit_code(true), 1, "{:#?}", done.findings);
    let first = done.findings.iter().find(|finding| finding.severity == Severity::Error).expect("an error");
    format!("{}: {}", first.line, first.text)
}
