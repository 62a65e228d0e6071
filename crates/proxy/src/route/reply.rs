//! The fields of a response for its client: a backend's, and those that the route changes of any response.

use mainstay_config::plan::edge::{Expires, Forward, Route, Template, TextRewrite};
use mainstay_core::path;
use smallvec::SmallVec;

use super::fields::{Changes, write};
use super::names::{HOP, Names, clean, listed};
use super::table::{Error, Replace, Sought, forward_of, replaces};
use super::vars::Scope;
use super::{answer, date};
use crate::clock;
use crate::exchange::{Exchange, FieldSink, Head};
use crate::response::Response;
use crate::snapshot::Snapshot;

/// What becomes of a response's fields, compiled.
#[derive(Clone, Debug)]
pub(super) struct ResponseFields {
    /// On the statuses of success and redirection.
    good: Set,
    /// On others: what is to be set always.
    other: Set,
    redirects: Vec<Replace>,
    cookie_domains: Vec<Replace>,
    cookie_paths: Vec<Replace>,
    expires: Option<Expires>,
}

/// Changes for a class of statuses.
#[derive(Clone, Debug)]
struct Set {
    /// Fields of a backend that don't pass.
    dropped: Names,
    /// Fields of our own responses that are replaced.
    replaced: Names,
    added: Vec<(Box<[u8]>, Template)>,
}

/// Statuses on which headers are changed that are not to be changed always.
const GOOD: [u16; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];

impl ResponseFields {
    pub(super) fn new(
        route: &Route,
        forward: Option<&Forward>,
        place: &impl Fn() -> String,
    ) -> Result<Self, Error> {
        let hide: &[String] = forward.map_or(&[], |forward| &forward.hide);
        let set = |all: bool| {
            let changes = Changes::new(route.response_headers.iter().filter(|header| all || header.always));
            let mut replaced: Vec<&str> = changes.replaced.iter().map(String::as_str).collect();
            if all && route.expires.is_some() {
                replaced.extend(["expires", "cache-control"]);
            }
            let hop = HOP.into_iter().filter(|name| !matches!(*name, "trailer" | "expect"));
            let hidden = hide.iter().map(String::as_str);
            Set {
                dropped: Names::new(hop.chain(hidden).chain(replaced.iter().copied())),
                replaced: Names::new(replaced),
                added: changes.added,
            }
        };
        let forward = |list: fn(&Forward) -> &[TextRewrite]| replaces(forward.map_or(&[][..], list), place);
        Ok(Self {
            good: set(true),
            other: set(false),
            redirects: forward(|forward| &forward.redirects)?,
            cookie_domains: forward(|forward| &forward.cookie_domains)?,
            cookie_paths: forward(|forward| &forward.cookie_paths)?,
            expires: route.expires,
        })
    }

    const fn set(&self, status: u16) -> &Set {
        if is_good(status) { &self.good } else { &self.other }
    }
}

const fn is_good(status: u16) -> bool {
    let mut n = 0;
    while n < GOOD.len() {
        if GOOD[n] == status {
            return true;
        }
        n += 1;
    }
    false
}

/// The status that the client sees of a response that has this one: an error page may be told to show another.
#[must_use]
pub fn shown_status(exchange: &Exchange, status: u16) -> u16 {
    exchange.memory.shown.unwrap_or(status)
}

/// Bytes per second of a response's body, 0 without bound: the route's, or what a backend that is obeyed asks for.
#[must_use]
pub fn rate_bytes(snapshot: &Snapshot, exchange: &Exchange, head: Option<Head<'_>>) -> u64 {
    let Some(route) = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index())) else { return 0 };
    let obeyed = head.filter(|_| forward_of(&route.action).is_some_and(|forward| forward.accel));
    let asked =
        obeyed.and_then(|head| std::str::from_utf8(head.field("x-accel-limit-rate")?).ok()?.parse().ok());
    asked.unwrap_or(route.rate_bytes)
}

/// Writes the fields that the client gets of a backend's response, without framing and without what is about a connection.
pub fn response_fields(snapshot: &Snapshot, exchange: &Exchange, head: Head<'_>, sink: &mut impl FieldSink) {
    let Some(route) = exchange.route.and_then(|id| snapshot.table.routes.get(id.index())) else { return };
    let plan = &route.response;
    let status = shown_status(exchange, head.status());
    let set = plan.set(status);
    let scope = Scope::with_head(snapshot, exchange, head);
    let used = &snapshot.table.used;
    let mut noting = Noting { sink, scope, on: !used.sent.is_empty() };
    if !used.backend.is_empty() {
        note_backend(snapshot, exchange, head);
    }
    let mut extra: SmallVec<[Box<[u8]>; 2]> = SmallVec::new();
    if let Some(connection) = head.field("connection") {
        extra.extend(listed(connection).map(Box::from));
    }
    head.each(&mut |name, value| {
        if set.dropped.has(name) || extra.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return;
        }
        let rewritten = plan.rewritten(name, value, &scope);
        noting.field(name, rewritten.as_deref().unwrap_or(value));
    });
    for (name, value) in &exchange.memory.carried {
        noting.field(name.as_bytes(), value);
    }
    if let Some(expires) = plan.expires.filter(|_| is_good(status)) {
        let modified = head.field("last-modified").and_then(date::parse);
        let [until, control] = caching(expires, modified);
        noting.field(b"Expires", until.as_bytes());
        noting.field(b"Cache-Control", control.as_bytes());
    }
    let mut value = Vec::new();
    for (name, template) in &set.added {
        write(&scope, name, template, &mut value, &mut noting);
    }
}

/// Changes the fields of a response of ours as its route says.
pub(super) fn finish(snapshot: &Snapshot, exchange: &Exchange, mut response: Response) -> Response {
    response.status = shown_status(exchange, response.status);
    let status = response.status;
    if let Some(route) = exchange.route.and_then(|id| snapshot.table.routes.get(id.index())) {
        let set = route.response.set(status);
        let carried = exchange.memory.carried.iter();
        let absent: Vec<_> = carried
            .filter(|(name, _)| {
                let multiple = name.eq_ignore_ascii_case("set-cookie");
                multiple || !response.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
            })
            .cloned()
            .collect();
        response.fields.extend(absent);
        let modified = response.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("last-modified"));
        let modified = modified.and_then(|(_, value)| date::parse(value));
        response.fields.retain(|(name, _)| !set.replaced.has(name.as_bytes()));
        if let Some(expires) = route.response.expires.filter(|_| is_good(status)) {
            let [until, control] = caching(expires, modified);
            response.fields.push(("Expires".into(), until.into_bytes()));
            response.fields.push(("Cache-Control".into(), control.into_bytes()));
        }
        note_sent(snapshot, exchange, &response);
        let scope = Scope::new(snapshot, exchange);
        let mut value = Vec::new();
        let on = !snapshot.table.used.sent.is_empty();
        let mut noting = Noting { sink: &mut Fields(&mut response.fields), scope, on };
        for (name, template) in &set.added {
            write(&scope, name, template, &mut value, &mut noting);
        }
    } else {
        note_sent(snapshot, exchange, &response);
    }
    response
}

/// Keeps the fields of a response of ours that are asked for.
fn note_sent(snapshot: &Snapshot, exchange: &Exchange, response: &Response) {
    let names = &snapshot.table.used.sent;
    if names.is_empty() {
        return;
    }
    let mut noted = exchange.memory.noted.borrow_mut();
    noted.sent.clear();
    for (name, value) in &response.fields {
        if let Some(own) = names.iter().find(|own| own.eq_ignore_ascii_case(name)) {
            noted.sent.push((own.clone(), value.clone()));
        }
    }
}

/// A response's list of fields.
pub(super) struct Fields<'a>(pub(super) &'a mut Vec<(Box<str>, Vec<u8>)>);

impl FieldSink for Fields<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name);
        self.0.push((name.into(), value.to_vec()));
    }
}

/// Passes fields on and notes those that are asked for later.
struct Noting<'a, S> {
    sink: &'a mut S,
    scope: Scope<'a>,
    on: bool,
}

impl<S: FieldSink> FieldSink for Noting<'_, S> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.on {
            let names = &self.scope.snapshot.table.used.sent;
            if let Some(own) = names.iter().find(|own| own.as_bytes().eq_ignore_ascii_case(name)) {
                self.scope.exchange.memory.noted.borrow_mut().sent.push((own.clone(), value.to_vec()));
            }
        }
        self.sink.field(name, value);
    }
}

/// Keeps the fields of a backend's response that are asked for when it is gone.
pub(super) fn note_backend(snapshot: &Snapshot, exchange: &Exchange, head: Head<'_>) {
    let mut noted = exchange.memory.noted.borrow_mut();
    noted.backend.clear();
    head.each(&mut |name, value| {
        let names = &snapshot.table.used.backend;
        if let Some(own) = names.iter().find(|own| own.as_bytes().eq_ignore_ascii_case(name)) {
            noted.backend.push((own.clone(), value.to_vec()));
        }
    });
}

impl ResponseFields {
    /// A field that is rewritten on its way.
    fn rewritten(&self, name: &[u8], value: &[u8], scope: &Scope<'_>) -> Option<Vec<u8>> {
        match name.len() {
            8 if !self.redirects.is_empty() && name.eq_ignore_ascii_case(b"location") => {
                let to = self.redirects.iter().find_map(|replace| replace.apply(value, scope, Whole::No))?;
                Some(answer::absolute(scope.snapshot, scope.exchange, &to))
            }
            7 if !self.redirects.is_empty() && name.eq_ignore_ascii_case(b"refresh") => {
                let at = value.windows(4).position(|w| w.eq_ignore_ascii_case(b"url="))? + 4;
                let (before, url) = value.split_at(at);
                let to = self.redirects.iter().find_map(|replace| replace.apply(url, scope, Whole::No))?;
                Some([before, &to].concat())
            }
            10 if !(self.cookie_domains.is_empty() && self.cookie_paths.is_empty())
                && name.eq_ignore_ascii_case(b"set-cookie") =>
            {
                Some(self.cookie(value, scope))
            }
            _ => None,
        }
    }

    fn cookie(&self, value: &[u8], scope: &Scope<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len() + 16);
        for (n, part) in value.split(|b| *b == b';').enumerate() {
            if n > 0 {
                out.push(b';');
            }
            let name_end = part.iter().position(|b| *b == b'=').map_or(part.len(), |at| at + 1);
            let (name, text) = part.split_at(name_end);
            let key = name.strip_suffix(b"=").unwrap_or(name).trim_ascii();
            let replaced = match n {
                0 => None,
                _ if key.eq_ignore_ascii_case(b"domain") => {
                    self.cookie_domains.iter().find_map(|replace| replace.apply(text, scope, Whole::Domain))
                }
                _ if key.eq_ignore_ascii_case(b"path") => {
                    self.cookie_paths.iter().find_map(|replace| replace.apply(text, scope, Whole::No))
                }
                _ => None,
            };
            out.extend_from_slice(name);
            out.extend_from_slice(replaced.as_deref().unwrap_or(text));
        }
        out
    }
}

/// What a fixed text is compared with.
#[derive(Clone, Copy)]
enum Whole {
    /// The beginning.
    No,
    /// All of it, letters of either case, a dot at its beginning left out: a domain.
    Domain,
}

impl Replace {
    /// The new text; `None` when the old one is not meant.
    fn apply(&self, value: &[u8], scope: &Scope<'_>, whole: Whole) -> Option<Vec<u8>> {
        let mut out = match (&self.from, whole) {
            (Sought::Prefix(from), Whole::No) => {
                let from = scope.bytes(from);
                let rest = value.strip_prefix(&from[..])?;
                [&scope.bytes(&self.to)[..], rest].concat()
            }
            (Sought::Prefix(from), Whole::Domain) => {
                let from = scope.bytes(from);
                let own = value.strip_prefix(b".").unwrap_or(value);
                let from = from.strip_prefix(b".").unwrap_or(&from);
                if !own.eq_ignore_ascii_case(from) {
                    return None;
                }
                let to = scope.bytes(&self.to);
                let dot: &[u8] = if value.starts_with(b".") { b"." } else { b"" };
                [dot, to.strip_prefix(b".").unwrap_or(&to)].concat()
            }
            (Sought::Pattern(pattern), _) => {
                let text = path::to_text(value);
                let groups = pattern.groups(&text)?;
                scope.matched_by(pattern, &groups).bytes(&self.to)
            }
        };
        clean(&mut out);
        Some(out)
    }
}

/// `Expires` and `Cache-Control`.
fn caching(expires: Expires, modified: Option<i64>) -> [String; 2] {
    let now = i64::try_from(clock::wall().as_secs()).unwrap_or(i64::MAX);
    let until = match expires {
        Expires::Epoch => return ["Thu, 01 Jan 1970 00:00:01 GMT".to_owned(), "no-cache".to_owned()],
        Expires::Max => {
            return ["Thu, 31 Dec 2037 23:55:55 GMT".to_owned(), "max-age=315360000".to_owned()];
        }
        Expires::After(seconds) if seconds < 0 => {
            return [date::http(now.saturating_add(seconds)), "no-cache".to_owned()];
        }
        Expires::After(seconds) => now.saturating_add(seconds),
        Expires::Modified(seconds) => modified.unwrap_or(now).saturating_add(seconds),
    };
    let age = until.saturating_sub(now);
    let control = if age < 0 { "no-cache".to_owned() } else { format!("max-age={age}") };
    [date::http(until), control]
}
