//! The fields that backends and clients get.

use super::super::decide::begin;
use super::super::request_fields;
use super::super::rig::*;
use mainstay_config::plan::edge::*;

fn sent(edge: Edge, head: &str, peer: &str) -> Collected {
    let snapshot = snapshot(edge);
    let mut exchange = from(head, peer);
    begin(&snapshot, &Open, &mut exchange);
    let mut sink = Collected::default();
    request_fields(&snapshot, &exchange, &mut sink);
    sink
}

fn forwarding() -> Edge {
    let mut one = route("api", prefix("/"));
    one.action = Action::Forward(Box::new(Forward { forwarded: true, ..forward() }));
    edge(vec![one])
}

#[test]
fn a_client_cannot_forge_who_it_is() {
    let head = "GET / HTTP/1.1\r\nHost: a:8080\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nAccept: */*\r\n\r\n";
    let fields = sent(forwarding(), head, "203.0.113.9:1");
    assert_eq!(fields.0[0], ("Host".into(), "a:8080".into()));
    assert_eq!(fields.all("x-real-ip"), ["203.0.113.9"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(fields.all("x-forwarded-host"), ["a:8080"]);
    assert_eq!(fields.all("x-forwarded-for"), ["6.6.6.6, 203.0.113.9"]);
    assert_eq!(fields.all("accept"), ["*/*"]);
}
