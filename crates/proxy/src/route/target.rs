//! Method and target of a request for its backend.

use mainstay_config::plan::edge::{Forward, Uri};
use mainstay_core::path;

use super::vars::{Scope, method};
use crate::exchange::Exchange;
use crate::snapshot::Snapshot;

fn forward<'a>(snapshot: &'a Snapshot, exchange: &Exchange) -> Option<&'a Forward> {
    let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()))?;
    super::table::forward_of(&route.action)
}

/// Writes the method that the backend gets.
pub fn request_method(snapshot: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    let start = out.len();
    if let Some(template) = forward(snapshot, exchange).and_then(|forward| forward.method.as_ref()) {
        Scope::new(snapshot, exchange).template(template, out);
        let is_token = out.len() > start
            && out[start..].iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b));
        if is_token {
            return;
        }
        out.truncate(start);
    }
    out.extend_from_slice(method(exchange));
}

/// Writes the target that the backend gets.
pub fn request_target(snapshot: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    let Some(forward) = forward(snapshot, exchange) else { return same(snapshot, exchange, out) };
    match &forward.uri {
        Uri::Same => same(snapshot, exchange, out),
        Uri::Prefix(new) => {
            let compiled = exchange.route.and_then(|id| snapshot.table.routes.get(id.index()));
            let old = compiled.map_or("", |route| &route.prefix);
            let located = exchange.memory.located && !old.is_empty();
            match exchange.path.strip_prefix(old).filter(|_| located) {
                Some(rest) => {
                    path::encode_rest(new.as_bytes(), out);
                    path::encode_path(rest, out);
                }
                None => path::encode_path(&exchange.path, out),
            }
            append_query(snapshot, exchange, out);
        }
        Uri::Text(template) => {
            let text = Scope::new(snapshot, exchange).bytes(template);
            match text.first() {
                None => return same(snapshot, exchange, out),
                Some(b'/') => {}
                Some(_) => out.push(b'/'),
            }
            path::encode_rest(&text, out);
        }
    }
}

/// The target as it came, or path and query as they are now.
fn same(snapshot: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    let request = &exchange.request;
    let cut = stripped(snapshot, exchange);
    if !exchange.rewritten && cut.is_empty() {
        out.extend_from_slice(request.bytes(request.target));
        return;
    }
    if exchange.rewritten {
        path::encode_path(&exchange.path, out);
    } else {
        let target = request.bytes(request.target);
        out.extend_from_slice(target.split(|b| *b == b'?').next().unwrap_or_default());
    }
    append_query(snapshot, exchange, out);
}

/// Parameters that the backend is not to see.
fn stripped<'a>(snapshot: &'a Snapshot, exchange: &Exchange) -> &'a [Box<str>] {
    let compiled = exchange.route.and_then(|id| snapshot.table.routes.get(id.index()));
    compiled.and_then(|route| route.request.as_deref()).map_or(&[], |plan| &plan.queries)
}

fn append_query(snapshot: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    let cut = stripped(snapshot, exchange);
    let mut first = true;
    let mut push = |part: &str| {
        out.push(if first { b'?' } else { b'&' });
        first = false;
        path::encode_rest(&path::to_bytes(part), out);
    };
    if exchange.query.is_empty() {
        return;
    }
    if cut.is_empty() {
        return push(&exchange.query);
    }
    for pair in exchange.query.split('&') {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if !cut.iter().any(|own| **own == *name) {
            push(pair);
        }
    }
}
