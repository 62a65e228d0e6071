//! An nginx.conf becomes our TOML: what it means here, and for each thing that has no meaning here where it stood and
//! what that changes.
//!
//! The way: `words` and `tree` read files into directives as nginx does, includes among them; `table` knows every
//! directive of nginx and reports what is not taken over; `scope` answers what holds in a block; `http` and `stream`
//! and what they call fill a draft, which is written as TOML. All of it is bounded: a hostile file ends in a finding,
//! not in a hang.

mod access;
mod backends;
mod draft;
mod files;
mod http;
mod listen;
mod location;
mod maps;
mod pcre;
mod place;
mod pool;
mod proxy;
mod response;
mod rewrite;
mod scope;
mod server;
mod spans;
mod stream;
mod table;
mod tls;
mod tree;
mod url;
mod values;
mod vars;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::import::report::{Pos, Report};
use crate::import::toml;
pub use crate::import::{Disk, Files, Finding, Import, Severity};
use draft::Draft;
use scope::Scope;
use table::Context;
use tree::Directive;
use vars::Vars;

/// Which part of a configuration a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Main,
    /// What stands in `http`.
    Http,
    /// What stands in `stream`.
    Stream,
}

/// What is imported, beside the file itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which part of a configuration it is.
    pub part: Part,
    /// Where relative paths of files that are served start (nginx's -p); guessed when absent.
    pub prefix: Option<PathBuf>,
}

/// Translates the nginx.conf at `path`, and all that it includes.
#[must_use]
pub fn import(path: &Path, files: &dyn Files, options: &Options) -> Import {
    let mut report = Report::default();
    let directives = tree::read(path, files, &mut report).unwrap_or_default();
    let context = match options.part {
        Part::Main => Context::Main,
        Part::Http => Context::Http,
        Part::Stream => Context::Stream,
    };
    table::check(&directives, context, &mut report);
    let mut cx = Cx::new(path, files, options, report);
    cx.vars.collect(&directives);
    let all = Scope::outermost(&directives);
    match options.part {
        Part::Main => {
            alone(&all, &mut cx);
            // Nginx takes one of each; more are read as one.
            for http in all.own("http") {
                http::read(&all.inside(http.children()), &mut cx);
            }
            for stream in all.own("stream") {
                stream::read(&all.inside(stream.children()), &mut cx);
            }
        }
        Part::Http => http::read(&all, &mut cx),
        Part::Stream => stream::read(&all, &mut cx),
    }
    let rough = cx.draft.toml(path, &cx.report);
    let toml = crate::format::fmt("import", &rough).unwrap_or(rough);
    Import { toml, findings: cx.report.into_findings() }
}

/// Without `worker_processes` nginx works in one process, so that turns and failures are the same for all requests.
fn alone(all: &Scope<'_>, cx: &mut Cx<'_>) {
    if all.own("worker_processes").is_empty() && !(all.own("http").is_empty() && all.own("stream").is_empty())
    {
        cx.draft.edge.set("instances", 1i64);
        cx.draft.edge.set("threads", 1i64);
    }
}

/// What is gathered on the way.
struct Cx<'a> {
    report: Report,
    draft: Draft,
    vars: Vars,
    /// Of the main file.
    dir: PathBuf,
    /// Of files that are served.
    prefix: PathBuf,
    host: String,
    backends: HashMap<String, backends::Backends<'a>>,
    /// Pools that were made, by what is in them.
    pools: HashMap<String, pool::Made>,
    /// Values that a variable can have, when they are known.
    choices: HashMap<String, Vec<String>>,
    formats: HashMap<String, response::Format>,
    /// Access logs that were made, by target and format.
    logs: HashMap<(String, String), String>,
    /// Zones by kind and nginx's name.
    zones: HashMap<(access::Counts, String), String>,
}

impl Cx<'_> {
    fn new(path: &Path, files: &dyn Files, options: &Options, report: Report) -> Self {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let prefix = options.prefix.clone().unwrap_or_else(|| match dir.to_str() {
            // As Debian builds it; others have no files there.
            Some("/etc/nginx") => PathBuf::from("/usr/share/nginx"),
            Some("/usr/local/nginx/conf") => PathBuf::from("/usr/local/nginx"),
            Some(_) | None => dir.clone(),
        });
        Self {
            report,
            draft: Draft::default(),
            vars: Vars::default(),
            dir,
            prefix,
            host: files.host(),
            backends: HashMap::new(),
            pools: HashMap::new(),
            choices: HashMap::new(),
            formats: HashMap::new(),
            logs: HashMap::new(),
            zones: HashMap::new(),
        }
    }

    /// A text of nginx with our variables.
    fn text(&mut self, text: &str, scope: &Scope<'_>, pos: Pos) -> String {
        self.vars.text(text, scope.server_name.as_deref(), pos, &mut self.report)
    }

    /// An expression in our engine's words; `None` has been reported with what it means.
    fn regex(&mut self, pattern: &str, at: &Directive, meaning: &str) -> Option<String> {
        match pcre::translate(pattern) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                let text =
                    format!("{why} in \"{pattern}\" is not understood: expressions take linear time here");
                self.report.dropped(at.pos, text, meaning);
                None
            }
        }
    }

    /// Path of a file beside the configuration: a certificate, a list of users.
    fn beside(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }

    /// Path of something that is served or written.
    fn served(&self, path: &str) -> String {
        self.prefix.join(path).display().to_string()
    }

    /// A place that nginx would refuse.
    fn wrong(&mut self, at: &Directive, text: impl Into<String>) {
        self.report.error(at.pos, text, "nginx would not start with this; `nginx -t` says the same");
    }
}
