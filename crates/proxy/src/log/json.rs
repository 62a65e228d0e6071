//! The JSON format: one object to a line; its fields are in docs/reference/access-log.md.

use std::io::Write as _;
use std::time::Duration;

use super::escape;
use super::line::protocol;
use crate::clock;
use crate::exchange::{Attempt, Exchange};
use crate::policy;
use crate::route::date;
use crate::snapshot::Snapshot;

/// Writes a request.
pub(super) fn write(snapshot: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    let request = &exchange.request;
    let wall = clock::wall();
    out.extend(b"{\"time\":\"");
    date::iso8601(wall, out);
    // Milliseconds take the place of the zone, which is always UTC.
    out.truncate(out.len() - "+00:00".len());
    let _ = write!(out, ".{:03}Z\"", wall.subsec_millis());
    if let Some(id) = &exchange.id {
        text(out, "request_id", id);
    }
    if let Some(client) = exchange.client {
        let _ = write!(out, ",\"client\":\"{client}\",\"client_port\":{}", exchange.client_port);
    }
    if let Some(user) = policy::user(exchange) {
        text(out, "user", user.as_bytes());
    }
    if let Some(listener) = snapshot.edge.listeners.get(exchange.connection.listener as usize) {
        text(out, "listener", listener.name.as_bytes());
    }
    if let Some(route) = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index())) {
        text(out, "route", route.name.as_bytes());
    }
    text(out, "method", request.bytes(request.method));
    text(out, "host", request.bytes(request.authority));
    text(out, "target", request.bytes(request.target));
    text(out, "protocol", protocol(request).as_bytes());
    if let Some(tls) = &exchange.connection.tls {
        text(out, "tls", tls.protocol.as_bytes());
    }
    for (key, name) in [("referer", "referer"), ("user_agent", "user-agent")] {
        if let Some(value) = request.field(name) {
            text(out, key, value);
        }
    }
    let _ = write!(
        out,
        ",\"status\":{},\"complete\":{},\"received\":{},\"sent\":{},\"body_sent\":{}",
        exchange.status, exchange.complete, exchange.received, exchange.sent, exchange.body_sent
    );
    seconds(out, "duration", Some(clock::boot_now().since(exchange.started)));
    attempts(out, &exchange.attempts);
    out.push(b'}');
}

fn attempts(out: &mut Vec<u8>, attempts: &[Attempt]) {
    if attempts.is_empty() {
        return;
    }
    out.extend(b",\"backends\":[");
    for (n, attempt) in attempts.iter().enumerate() {
        out.extend(if n == 0 { &b"{\"addr\":\""[..] } else { b",{\"addr\":\"" });
        escape::json(out, attempt.addr.as_bytes());
        out.push(b'"');
        if let Some(status) = attempt.status {
            let _ = write!(out, ",\"status\":{status}");
        }
        seconds(out, "connect", attempt.connect);
        seconds(out, "header", attempt.header);
        seconds(out, "total", attempt.total);
        out.push(b'}');
    }
    out.push(b']');
}

fn text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let _ = write!(out, ",\"{key}\":\"");
    escape::json(out, value);
    out.push(b'"');
}

fn seconds(out: &mut Vec<u8>, key: &str, time: Option<Duration>) {
    if let Some(time) = time {
        let _ = write!(out, ",\"{key}\":{}.{:06}", time.as_secs(), time.subsec_micros());
    }
}
