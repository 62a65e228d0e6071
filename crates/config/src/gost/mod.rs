//! A gost configuration becomes our TOML: what it means here, and for each thing that has no meaning here where it
//! stood and what that changes.
//!
//! The way: `yaml` reads a file into a tree with places, `line` makes the same tree of a command line as gost itself does,
//! `kubernetes` finds it in manifests; `service` takes a service apart; `server`, `client` and `plain` know what a service of
//! theirs means and fill a draft, which is written as TOML. What nobody took out of the tree is told of, by the table in
//! `known`. All of it is bounded: a hostile file ends in a finding, not in a hang.

mod addr;
mod chain;
mod client;
mod draft;
mod forward;
mod ingress;
mod known;
mod kubernetes;
mod line;
mod plain;
mod server;
mod service;
mod tls;
mod tree;
mod users;
mod yaml;

use std::path::{Path, PathBuf};

use crate::import::report::{Pos, Report};
pub use crate::import::{Disk, Files, Finding, Import, Severity};
use draft::Draft;
use service::Service;
use tree::{Map, Node, Said, Value};

/// As many services as our own file may have listeners.
const MOST_SERVICES: usize = 1024;

/// What is imported, beside the configuration itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory that gost is started in: what it serves without a `dir`, and where relative paths begin.
    pub dir: PathBuf,
    /// What gost-plugins' ingress is told by `--domain`: generated hosts are under it.
    pub domain: Option<String>,
}

/// Translates the configuration at `path`: YAML or JSON, by itself or in a ConfigMap of a Kubernetes manifest.
#[must_use]
pub fn import(path: &Path, files: &dyn Files, options: &Options) -> Import {
    let mut cx = Cx::new(files, options);
    let root = cx.file(path, None);
    cx.finish(root, path)
}

/// Translates the command line that follows `gost`: `-L file://:8000 -L rtcp://:0/:8000 -F tunnel+ws://...`.
#[must_use]
pub fn import_line(args: &[String], files: &dyn Files, options: &Options) -> Import {
    let mut cx = Cx::new(files, options);
    let from = Path::new("arguments");
    let file = cx.report.open(from);
    let given = line::read(args, file, &mut cx.report);
    let mut root = match &given.file {
        Some(path) => cx.file(&options.dir.join(&path.text), Some(path.pos)),
        None => Map::new(Pos { file, line: 1 }),
    };
    for (name, more) in [("services", given.services), ("chains", given.chains)] {
        let old = root.maps(name).into_iter();
        let mut list: Vec<Node> = old.map(|map| Node { pos: map.pos, value: Value::Map(map) }).collect();
        list.extend(more);
        root.add(name, Node { pos: root.pos, value: Value::List(list) });
    }
    cx.finish(root, from)
}

/// What is gathered on the way.
struct Cx<'a> {
    report: Report,
    draft: Draft,
    files: &'a dyn Files,
    dir: PathBuf,
    domain: Option<String>,
    chains: Vec<Map>,
    hops: Vec<Map>,
    authers: Vec<Map>,
    ingresses: Vec<Map>,
    sds: Vec<Map>,
    /// The certificate of services that name none.
    tls: Option<Map>,
    /// Services that serve files.
    folders: Vec<plain::Folder>,
    /// Hosts of rules, in the order in which they were written.
    rules: Vec<ingress::Rule>,
}

impl<'a> Cx<'a> {
    fn new(files: &'a dyn Files, options: &Options) -> Self {
        Self {
            report: Report::default(),
            draft: Draft::default(),
            files,
            dir: options.dir.clone(),
            domain: options.domain.clone(),
            chains: Vec::new(),
            hops: Vec::new(),
            authers: Vec::new(),
            ingresses: Vec::new(),
            sds: Vec::new(),
            tls: None,
            folders: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// What a file says; `from` is the argument that named it.
    fn file(&mut self, path: &Path, from: Option<Pos>) -> Map {
        let text = match self.files.read(path) {
            Ok(text) => text,
            Err(reason) => {
                let pos = from.unwrap_or_else(|| Pos { file: self.report.open(path), line: 1 });
                let text = format!("{} cannot be read: {reason}", path.display());
                self.report.error(pos, text, "give the path of gost's configuration that this user may read");
                return Map::new(pos);
            }
        };
        let file = self.report.open(path);
        let documents = yaml::read(&text, file, 1, &mut self.report);
        kubernetes::unpack(documents, file, self)
    }

    /// All that the tree means.
    fn finish(mut self, mut root: Map, from: &Path) -> Import {
        for (list, name) in [
            (&mut self.chains, "chains"),
            (&mut self.hops, "hops"),
            (&mut self.authers, "authers"),
            (&mut self.ingresses, "ingresses"),
            (&mut self.sds, "sds"),
        ] {
            *list = root.maps(name);
        }
        self.tls = root.maybe_map("tls");
        let mut services: Vec<Service> =
            root.maps("services").into_iter().enumerate().map(|(nth, map)| Service::read(map, nth)).collect();
        if let Some(extra) = services.get(MOST_SERVICES) {
            let text = format!("more than {MOST_SERVICES} services: the rest is left out");
            self.report.error(extra.pos, text, "split the file");
            services.truncate(MOST_SERVICES);
        }
        let empty = services.is_empty() && self.ingresses.is_empty();
        // What forwards to a folder has to know it.
        for service in &mut services {
            if service.handler.kind == "file" {
                let folder = plain::folder(service, &mut self);
                self.folders.push(folder);
            }
        }
        for service in services {
            self.service(service);
        }
        ingress::tunnels(&mut self);
        root.left("gost", &mut self.report);
        if empty && !self.report.has_losses() {
            let text = "there is no service in it: nothing would run";
            self.report.error(root.pos, text, "give the file that has gost's `services`");
        }
        let rough = self.draft.toml(from, &self.report);
        let toml = crate::format::fmt("import", &rough).unwrap_or(rough);
        Import { toml, findings: self.report.into_findings() }
    }

    fn service(&mut self, service: Service) {
        let (handler, listener) = (service.handler.kind.clone(), service.listener.kind.clone());
        match (handler.as_str(), listener.as_str()) {
            ("tunnel", _) => server::read(service, self),
            (_, "rtcp" | "rudp") => client::agent(service, self),
            ("file", _) => plain::files(service, self),
            ("tcp" | "udp" | "forward", "tcp" | "udp" | "tls") => client::forward(service, self),
            _ => {
                let text = format!(
                    "{}: handler `{handler}` over listener `{listener}` is not taken over",
                    service.who()
                );
                self.report.dropped(
                    service.handler.kind_pos,
                    text,
                    "there is no counterpart: gost can go on with this service, on its own port",
                );
            }
        }
    }

    /// The last of a list that has this name, as gost's registries keep it.
    fn named(list: &[Map], name: &Said) -> Option<Map> {
        list.iter()
            .rev()
            .find(|map| (*map).clone().text(&["name"]).is_some_and(|n| n.text == name.text))
            .cloned()
    }

    /// A path that may begin where gost was started.
    fn path(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }
}
