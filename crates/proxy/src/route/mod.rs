//! Which route takes a request, and what it makes of it.

use mainstay_config::plan::edge::{Action, Edge, Template};

use crate::exchange::{Decision, Exchange, FieldSink, Head, Verdict};
use crate::response::{Body, Response};
use crate::snapshot::Snapshot;
use crate::thread::Thread;

/// The routes of a snapshot, compiled.
#[derive(Debug, Default)]
pub struct Table {}

impl Table {
    /// Compiles them.
    pub fn new(_: &Edge) -> Result<Self, std::convert::Infallible> {
        Ok(Self {})
    }
}

/// Decides on a request.
pub fn decide(snapshot: &Snapshot, thread: &Thread, exchange: &mut Exchange) -> Decision {
    let target = exchange.request.text(exchange.request.target).to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    exchange.path = path.to_owned();
    exchange.query = query.to_owned();
    exchange.client = exchange.connection.peer.map(|peer| peer.ip());
    let routes = &snapshot.edge.routes;
    let matches = |route: &mainstay_config::plan::edge::Route| match &route.path {
        mainstay_config::plan::edge::PathMatch::Prefix { path, .. } => {
            exchange.path.starts_with(path.as_str())
        }
        mainstay_config::plan::edge::PathMatch::Exact(path) => exchange.path == *path,
        _ => false,
    };
    let Some(at) = routes.iter().position(matches) else { return failed(snapshot, thread, exchange, 404) };
    exchange.route = Some(mainstay_core::name::RouteId(at as u32));
    match &routes[at].action {
        Action::Forward(_) => Decision::Forward,
        Action::Answer(answer) if answer.status == 444 => Decision::Close,
        Action::Answer(answer) => {
            let body = answer.body.as_ref().and_then(|b| b.literal()).unwrap_or_default().to_owned();
            Decision::Respond(Response {
                status: answer.status,
                fields: Vec::new(),
                body: Body::Bytes(body.into()),
            })
        }
        Action::Files(_) => failed(snapshot, thread, exchange, 404),
    }
}

/// A response for an error of our own.
pub fn failed(_: &Snapshot, _: &Thread, _: &mut Exchange, status: u16) -> Decision {
    let body = format!("{status} {}\n", crate::http1::reason(status));
    Decision::Respond(Response {
        status,
        fields: vec![("Content-Type".into(), b"text/plain".to_vec())],
        body: Body::Bytes(body.into()),
    })
}

/// Fields for the backend.
pub fn request_fields(_: &Snapshot, exchange: &Exchange, sink: &mut impl FieldSink) {
    for (name, value) in exchange.request.fields() {
        if !is_hop(name) {
            sink.field(name, value);
        }
    }
}

fn is_hop(name: &[u8]) -> bool {
    ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "content-length", "expect", "trailer"]
        .iter()
        .any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
}

/// The target for the backend.
pub fn request_target(_: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    out.extend_from_slice(exchange.request.bytes(exchange.request.target));
}

/// The method for the backend.
pub fn request_method(_: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    out.extend_from_slice(exchange.request.bytes(exchange.request.method));
}

/// The status that the client sees.
pub fn shown_status(_: &Exchange, status: u16) -> u16 {
    status
}

/// Fields for the client.
pub fn response_fields(_: &Snapshot, _: &Exchange, head: Head<'_>, sink: &mut impl FieldSink) {
    head.each(&mut |name, value| {
        if !is_hop(name) {
            sink.field(name, value);
        }
    });
}

/// What becomes of a backend's response.
pub fn verdict(_: &Snapshot, _: &Thread, _: &mut Exchange, _: Head<'_>) -> Verdict {
    Verdict::Pass
}

/// Renders a template.
pub fn render(template: &Template, _: &Snapshot, _: &Exchange, out: &mut Vec<u8>) {
    out.extend_from_slice(template.literal().unwrap_or_default().as_bytes());
}
