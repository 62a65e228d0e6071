//! Routes, requests and responses as short values, for tests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use mainstay_config::plan::edge::*;
use mainstay_core::name::RouteId;
use mainstay_core::time::Boot;

use super::decide::{Asked, begin};
use super::request_target;
use crate::exchange::{Connection, Decision, Exchange, FieldSink};
use crate::files::Outcome;
use crate::fixture::{self, pool};
use crate::metrics::Names;
use crate::policy::Denied;
use crate::request::{BodyLength, Field, Request, Span, Version};
use crate::response::{Body, Response, ResponseHead};
use crate::snapshot::Snapshot;

pub(super) use crate::fixture::listener;

/// A template as configurations write it; `{name}` is a variable.
pub(super) fn text(text: &str) -> Template {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').expect("a closing brace");
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Var(var(name)));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Template(pieces)
}

fn var(name: &str) -> Var {
    let dashes = |name: &str| name.replace('_', "-");
    if let Some((_, known)) = Known::ALL.iter().find(|(own, _)| *own == name) {
        return Var::Known(*known);
    }
    if let Ok(n) = name.parse() {
        return Var::Group(n);
    }
    for (prefix, make) in [
        ("http_", Box::new(|n: &str| Var::Header(dashes(n))) as Box<dyn Fn(&str) -> Var>),
        ("sent_http_", Box::new(|n| Var::Sent(dashes(n)))),
        ("upstream_http_", Box::new(|n| Var::Upstream(dashes(n)))),
        ("cookie_", Box::new(|n| Var::Cookie(n.to_owned()))),
        ("arg_", Box::new(|n| Var::Arg(n.to_owned()))),
        ("jwt_", Box::new(|n| Var::Claim(n.to_owned()))),
    ] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return make(rest);
        }
    }
    Var::Own(name.to_owned())
}

pub(super) fn answer(status: u16, body: &str) -> Action {
    Action::Answer(Answer { status, location: None, body: Some(text(body)), media: None })
}

pub(super) fn status(status: u16) -> Action {
    Action::Answer(Answer { status, location: None, body: None, media: None })
}

pub(super) fn forward() -> Forward {
    Forward { host: text("{http_host}"), ..fixture::forward() }
}

/// A route that answers with its own name.
pub(super) fn route(name: &str, path: PathMatch) -> Route {
    Route { name: name.to_owned(), listeners: vec![0], path, action: answer(200, name), ..fixture::route() }
}

pub(super) fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.to_owned())
}

pub(super) fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix { path: path.to_owned(), last: false }
}

pub(super) fn last(path: &str) -> PathMatch {
    PathMatch::Prefix { path: path.to_owned(), last: true }
}

pub(super) fn regex(pattern: &str) -> PathMatch {
    PathMatch::Regex { pattern: pattern.to_owned(), ignore_case: false }
}

pub(super) fn net(text: &str) -> Net {
    let (addr, prefix) = text.split_once('/').expect("a prefix length");
    Net { addr: addr.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

pub(super) fn real_ip(trusted: &[&str], recursive: bool) -> RealIp {
    RealIp {
        source: RealIpSource::Header("x-forwarded-for".to_owned()),
        trusted: trusted.iter().map(|t| net(t)).collect(),
        unix: false,
        recursive,
    }
}

pub(super) fn edge(routes: Vec<Route>) -> Edge {
    Edge { listeners: vec![listener()], routes, pools: vec![pool("api")], ..Edge::default() }
}

pub(super) fn snapshot(edge: Edge) -> Snapshot {
    Snapshot::compile(edge, HashMap::new(), &mut Names::default(), &crate::tls::Tickets::new(), None).unwrap()
}

/// A request as its head's lines.
pub(super) fn request(head: &str) -> Request {
    let raw = head.as_bytes().to_vec();
    let span = |part: &str| {
        let start = part.as_ptr() as usize - head.as_ptr() as usize;
        Span { start: u32::try_from(start).unwrap(), end: u32::try_from(start + part.len()).unwrap() }
    };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap().splitn(3, ' ');
    let (method, target) = (span(words.next().unwrap()), span(words.next().unwrap()));
    let mut request = Request {
        raw,
        method,
        target,
        authority: Span::default(),
        version: Version::Http11,
        body: BodyLength::None,
        close: false,
        upgrade: None,
        expects_continue: false,
        fields: smallvec::SmallVec::new(),
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim();
        if name.eq_ignore_ascii_case("host") {
            request.authority = span(value);
        }
        if name.eq_ignore_ascii_case("content-length") {
            request.body = BodyLength::Known(value.parse().unwrap());
        }
        request.fields.push(Field { name: span(name), value: span(value) });
    }
    request
}

pub(super) fn from(head: &str, peer: &str) -> Exchange {
    let connection = Connection {
        number: 7,
        listener: 0,
        counts: 0,
        peer: Some(peer.parse::<SocketAddr>().unwrap()),
        local: Some("192.0.2.1:8080".parse().unwrap()),
        proxy: None,
        tls: None,
    };
    Exchange::new(request(head), Rc::new(connection), Boot::ZERO)
}

/// A GET from 203.0.113.9 for `example.com`.
pub(super) fn get(target: &str) -> Exchange {
    from(&format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n"), "203.0.113.9:40000")
}

/// Lets everybody in; has every file that ends with `.txt`.
pub(super) struct Open;

impl Asked for Open {
    fn check(&self, _snapshot: &Snapshot, _exchange: &mut Exchange) -> Result<(), Denied> {
        Ok(())
    }

    fn files<'a>(&self, files: &'a Files, snapshot: &Snapshot, exchange: &mut Exchange) -> Outcome<'a> {
        let scope = super::vars::Scope::new(snapshot, exchange);
        if exchange.path.ends_with(".txt") {
            let text = format!("{}{}", scope.text(&files.root), exchange.path);
            return Outcome::Respond(Response {
                status: 200,
                fields: Vec::new(),
                body: Body::Bytes(text.into()),
            });
        }
        match &files.fallback {
            None => Outcome::Status { status: 404, fields: Vec::new() },
            Some(Fallback::Path(to)) => {
                let (path, query, _) = super::table::cut(to);
                let query = query.map(|query| scope.text(&query)).unwrap_or_default();
                Outcome::Path { path: scope.text(&path), query }
            }
            Some(Fallback::Route(id)) => Outcome::Route(*id),
            Some(Fallback::Status(status)) => Outcome::Status { status: *status, fields: Vec::new() },
            Some(Fallback::Action(action)) => Outcome::Action(action),
        }
    }
}

/// Collected fields.
#[derive(Debug, Default)]
pub(super) struct Collected(pub(super) Vec<(String, String)>);

impl FieldSink for Collected {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

impl Collected {
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// A backend's response.
pub(super) struct Reply(pub(super) u16, pub(super) Vec<(&'static str, &'static str)>);

impl ResponseHead for Reply {
    fn status(&self) -> u16 {
        self.0
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.1.iter().for_each(|(name, value)| visit(name.as_bytes(), value.as_bytes()));
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        self.1.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

/// What came of a request: `200 body`, `301 > location`, `forward route target`, `closed`.
pub(super) fn outcome(snapshot: &Snapshot, exchange: &mut Exchange) -> String {
    let decision = begin(snapshot, &Open, exchange);
    said(snapshot, exchange, decision)
}

pub(super) fn said(snapshot: &Snapshot, exchange: &Exchange, decision: Decision) -> String {
    match decision {
        Decision::Close => "closed".to_owned(),
        Decision::Forward => {
            let RouteId(id) = exchange.route.unwrap();
            let mut target = Vec::new();
            request_target(snapshot, exchange, &mut target);
            let name = &snapshot.edge.routes[id as usize].name;
            format!("forward {name} {}", String::from_utf8_lossy(&target))
        }
        Decision::Respond(response) => {
            let status = response.status;
            if let Some((_, to)) = response.fields.iter().find(|(name, _)| &**name == "Location") {
                return format!("{status} > {}", String::from_utf8_lossy(to));
            }
            match response.body {
                Body::Bytes(body) if !body.starts_with(b"<html>") => {
                    format!("{status} {}", String::from_utf8_lossy(&body))
                }
                Body::Bytes(_) | Body::Empty | Body::File { .. } => status.to_string(),
            }
        }
    }
}

/// What comes of GETs for targets.
pub(super) fn gets(routes: Vec<Route>, targets: &[(&str, &str)]) {
    let snapshot = snapshot(edge(routes));
    for (target, expected) in targets {
        assert_eq!(outcome(&snapshot, &mut get(target)), *expected, "GET {target}");
    }
}

/// A step that rewrites.
pub(super) fn rewrite(pattern: &str, to: &str, then: Then) -> Step {
    Step::Rewrite { pattern: pattern.to_owned(), ignore_case: false, to: text(to), then }
}
