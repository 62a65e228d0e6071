//! The fields of a request for its backend.
//!
//! The client's fields pass but for those that are about its connection and those that are replaced. What says who the client is
//! (`forwarded`) is written anew: X-Real-IP always; X-Forwarded-Proto and X-Forwarded-Host unless a trusted proxy wrote them;
//! X-Forwarded-For is continued when a trusted proxy wrote it, begun anew when `real_ip` is set and the peer is not trusted (or
//! speaks PROXY, so that the fields are the client's own), and without `real_ip` continued as nginx's
//! `$proxy_add_x_forwarded_for` does. What is appended is the client's address, as in nginx: so a next hop finds it whether
//! it walks the list or takes its last entry.

use mainstay_config::plan::edge::{
    Auth, Forward, HeaderChange, HeaderOp, Jwt, Piece, Route, Template, TokenSource,
};
use smallvec::SmallVec;

use super::names::{HOP, Names, clean, is_hop, listed};
use super::vars::{Scope, addr};
use crate::exchange::{Exchange, FieldSink};
use crate::policy::{self, Kept};
use crate::snapshot::Snapshot;

/// What becomes of a request's fields on a route to a backend, compiled.
#[derive(Clone, Debug)]
pub(super) struct RequestFields {
    /// Fields of the client that don't pass.
    dropped: Names,
    host: Template,
    /// Which of X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP are written.
    forwarded: [bool; 4],
    added: Vec<(Box<[u8]>, Template)>,
    pass: bool,
    /// Tokens that the backend is not to see.
    kept_back: Option<Box<Jwt>>,
    /// Parameters that are cut out for the same reason.
    pub(super) queries: Vec<Box<str>>,
}

const FORWARDED: [&str; 4] = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP"];

/// Changes of headers that remain when later ones have undone earlier ones.
pub(super) struct Changes {
    /// Names of which nothing earlier stays.
    pub(super) replaced: Vec<String>,
    pub(super) added: Vec<(Box<[u8]>, Template)>,
}

impl Changes {
    pub(super) fn new<'a>(headers: impl IntoIterator<Item = &'a HeaderOp>) -> Self {
        let mut changes = Self { replaced: Vec::new(), added: Vec::new() };
        for header in headers {
            let name = header.name.to_ascii_lowercase();
            let value = match &header.op {
                HeaderChange::Add(value) => Some(value),
                HeaderChange::Set(value) => {
                    changes.replace(&name);
                    Some(value)
                }
                HeaderChange::Remove => {
                    changes.replace(&name);
                    None
                }
            };
            if let Some(value) = value.filter(|value| value.literal() != Some("")) {
                changes.added.push((header.name.as_bytes().into(), value.clone()));
            }
        }
        changes
    }

    fn replace(&mut self, name: &str) {
        self.added.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
        if !self.replaced.iter().any(|own| own == name) {
            self.replaced.push(name.to_owned());
        }
    }
}

impl RequestFields {
    pub(super) fn new(route: &Route, forward: &Forward) -> Self {
        let changes = Changes::new(&forward.headers);
        let host = changes.added.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(b"host"));
        let host = host.map_or(&forward.host, |(_, value)| value).clone();
        let kept = |name: &str| !changes.replaced.iter().any(|own| own.eq_ignore_ascii_case(name));
        let forwarded = FORWARDED.map(|name| forward.forwarded && kept(name));
        let kept_back = match &route.auth {
            Some(Auth::Jwt(jwt)) if jwt.strip => Some(jwt.clone()),
            Some(Auth::Jwt(_) | Auth::Basic { .. }) | None => None,
        };
        let sources = kept_back.iter().flat_map(|jwt| &jwt.sources);
        let queries = sources.filter_map(|source| match source {
            TokenSource::Query(name) => Some(name.as_str().into()),
            TokenSource::Bearer | TokenSource::Header(_) | TokenSource::Cookie(_) => None,
        });
        let queries = queries.collect();
        let ours = FORWARDED.iter().copied().filter(|_| forward.forwarded);
        let replaced = changes.replaced.iter().map(String::as_str);
        let dropped = HOP.into_iter().chain(["host"]).chain(ours).chain(replaced);
        Self {
            dropped: Names::new(dropped),
            host,
            forwarded,
            added: changes
                .added
                .into_iter()
                .filter(|(name, _)| {
                    let name = std::str::from_utf8(name).unwrap_or_default();
                    !is_hop(name) && !name.eq_ignore_ascii_case("host")
                })
                .collect(),
            pass: forward.pass_headers,
            queries,
            kept_back,
        }
    }
}

/// Writes the fields that the backend gets: Host first; neither framing nor what is about a connection.
pub fn request_fields(snapshot: &Snapshot, exchange: &Exchange, sink: &mut impl FieldSink) {
    let Some(route) = exchange.route.and_then(|id| snapshot.table.routes.get(id.index())) else { return };
    let Some(plan) = route.request.as_deref() else { return };
    let scope = Scope::new(snapshot, exchange);
    let mut value = Vec::with_capacity(64);
    write(&scope, b"Host", &plan.host, &mut value, sink);
    if plan.pass {
        pass(plan, exchange, sink);
    }
    if plan.forwarded != [false; 4] {
        forwarded(plan, &scope, &mut value, sink);
    }
    for (name, template) in &plan.added {
        write(&scope, name, template, &mut value, sink);
    }
}

/// One field of ours; an empty value is none.
pub(super) fn write(
    scope: &Scope<'_>,
    name: &[u8],
    template: &Template,
    value: &mut Vec<u8>,
    sink: &mut impl FieldSink,
) {
    if let [Piece::Text(text)] = template.0.as_slice()
        && text.bytes().all(|b| b >= b' ')
    {
        return sink.field(name, text.as_bytes());
    }
    value.clear();
    scope.template(template, value);
    clean(value);
    if !value.is_empty() {
        sink.field(name, value);
    }
}

/// The client's own fields.
fn pass(plan: &RequestFields, exchange: &Exchange, sink: &mut impl FieldSink) {
    let request = &exchange.request;
    let mut extra: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for (name, value) in request.fields() {
        if name.len() == 10 && name.eq_ignore_ascii_case(b"connection") {
            extra.extend(listed(value));
        }
    }
    for (name, value) in request.fields() {
        if plan.dropped.has(name) || extra.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            continue;
        }
        match plan.kept_back.as_ref().map_or(Kept::Whole, |jwt| policy::keeps(jwt, name, value)) {
            Kept::Whole => sink.field(name, value),
            Kept::Part(part) => sink.field(name, &part),
            Kept::Not => {}
        }
    }
}

/// Who the client is.
fn forwarded(plan: &RequestFields, scope: &Scope<'_>, value: &mut Vec<u8>, sink: &mut impl FieldSink) {
    let exchange = scope.exchange;
    let [list, proto, host, client] = plan.forwarded;
    let believed = exchange.memory.believed;
    if list {
        value.clear();
        if believed || !exchange.memory.asked {
            for (_, line) in
                exchange.request.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"x-forwarded-for"))
            {
                if !line.is_empty() {
                    value.extend_from_slice(line);
                    value.extend_from_slice(b", ");
                }
            }
        }
        match exchange.client {
            Some(client) => addr(Some(client), value),
            None => value.truncate(value.len().saturating_sub(2)),
        }
        if !value.is_empty() {
            sink.field(b"X-Forwarded-For", value);
        }
    }
    let said = |name: &str| {
        let said = if believed { exchange.request.field(name) } else { None };
        said.filter(|said| !said.is_empty())
    };
    if proto {
        let own: &[u8] = if exchange.connection.tls.is_some() { b"https" } else { b"http" };
        sink.field(b"X-Forwarded-Proto", said("x-forwarded-proto").unwrap_or(own));
    }
    if host {
        let own = exchange.request.bytes(exchange.request.authority);
        let value = said("x-forwarded-host").unwrap_or(own);
        if !value.is_empty() {
            sink.field(b"X-Forwarded-Host", value);
        }
    }
    if client && exchange.client.is_some() {
        value.clear();
        addr(exchange.client, value);
        sink.field(b"X-Real-IP", value);
    }
}
