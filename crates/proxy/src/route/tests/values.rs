//! The values of variables and maps.

use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::*;

use super::super::decide::begin;
use super::super::rig::*;
use super::super::{render, response_fields};
use crate::exchange::{Attempt, Connection, Exchange, TlsInfo};
use crate::snapshot::Snapshot;

fn shown(snapshot: &Snapshot, exchange: &Exchange, template: &str) -> String {
    let mut out = Vec::new();
    render(&text(template), snapshot, exchange, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn each_variable_has_the_value_that_nginx_gives_it() {
    let mut one = Route { hosts: vec![Host::Suffix(".test".into())], ..route("one", prefix("/")) };
    one.action = Action::Forward(Box::new(forward()));
    let snapshot = snapshot(edge(vec![one]));
    let head = "POST /a%20b/../c?B=1&b=2&x HTTP/1.1\r\nHost: A.Test:99\r\nX-Forwarded-For: 1.1.1.1\r\n\
                X-Forwarded-For: 2.2.2.2\r\nCookie: x=1; a=2\r\nCookie: a=3\r\nMulti: a\r\nMulti: b\r\n\
                Content-Length: 4\r\nContent-Type: t/x\r\n\r\n";
    let mut exchange = from(head, "203.0.113.9:40000");
    exchange.earlier = 2;
    begin(&snapshot, &Open, &mut exchange);
    for (template, expected) in [
        ("{request_method}", "POST"),
        ("{request}", "POST /a%20b/../c?B=1&b=2&x HTTP/1.1"),
        ("{request_uri}", "/a%20b/../c?B=1&b=2&x"),
        ("{uri}{document_uri}", "/c/c"),
        ("{args}|{query_string}|{is_args}", "B=1&b=2&x|B=1&b=2&x|?"),
        ("{host}|{http_host}|{server_name}", "a.test|A.Test:99|*.test"),
        ("{scheme}{https}", "http"),
        ("{remote_addr}:{remote_port}", "203.0.113.9:40000"),
        ("{realip_remote_addr}:{realip_remote_port}", "203.0.113.9:40000"),
        ("{server_addr}:{server_port}", "192.0.2.1:8080"),
        ("{server_protocol}{http2}", "HTTP/1.1"),
        ("{proxy_add_x_forwarded_for}", "1.1.1.1, 2.2.2.2, 203.0.113.9"),
        ("{cookie_a}|{cookie_none}|{http_cookie}", "2||x=1; a=2; a=3"),
        ("{arg_b}|{arg_B}|{arg_x}|{arg_none}", "1|1||"),
        ("{http_multi}|{http_none}", "a, b|"),
        ("{content_length}|{content_type}", "4|t/x"),
        ("{connection}|{connection_requests}|{pipe}", "7|3|."),
        ("{proxy_host}:{proxy_port}", "api:80"),
        ("{route}|{own}|{1}|{jwt_sub}|{remote_user}", "one||||"),
        ("{status}|{body_bytes_sent}|{upstream_addr}|{request_completion}", "000|0||"),
        ("{ssl_protocol}{ssl_client_verify}", ""),
        ("{proxy_protocol_addr}", ""),
    ] {
        assert_eq!(shown(&snapshot, &exchange, template), expected, "{template}");
    }
    assert!(!shown(&snapshot, &exchange, "{hostname}").is_empty());
    assert_eq!(shown(&snapshot, &exchange, "{pid}"), std::process::id().to_string());
    assert_eq!(shown(&snapshot, &exchange, "{time_iso8601}").len(), "2026-11-20T12:00:00+00:00".len());
    assert_eq!(shown(&snapshot, &exchange, "{time_local}").len(), "20/Nov/2026:12:00:00 +0000".len());
}

#[test]
fn what_is_known_at_the_end_is_there_for_logs() {
    let snapshot = snapshot(edge(vec![route("one", prefix("/"))]));
    let mut exchange = get("/");
    begin(&snapshot, &Open, &mut exchange);
    exchange.status = 200;
    exchange.complete = true;
    (exchange.body_sent, exchange.sent, exchange.received) = (10, 200, 90);
    let attempt = |addr: &str, status, connect| Attempt {
        addr: addr.into(),
        status,
        connect,
        header: status.map(|_| Duration::from_millis(5)),
        total: Some(Duration::from_millis(1250)),
    };
    exchange.attempts = vec![
        attempt("10.0.0.1:80", None, None),
        attempt("unix:/x", Some(200), Some(Duration::from_millis(2))),
    ];
    for (template, expected) in [
        ("{status} {body_bytes_sent} {bytes_sent} {request_length} {request_completion}", "200 10 200 90 OK"),
        ("{upstream_addr}|{upstream_status}", "10.0.0.1:80, unix:/x|-, 200"),
        ("{upstream_connect_time}|{upstream_header_time}", "-, 0.002|-, 0.005"),
        ("{upstream_response_time}", "1.250, 1.250"),
    ] {
        assert_eq!(shown(&snapshot, &exchange, template), expected, "{template}");
    }
}

#[test]
fn tls_and_the_other_ends_of_the_connection_are_shown() {
    let snapshot = snapshot(edge(vec![route("one", prefix("/"))]));
    let mut exchange = get("/");
    let tls = TlsInfo {
        protocol: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        server_name: Some("a.test".into()),
        resumed: true,
        client: Some((vec![1], Err("expired".into()))),
        h2: false,
    };
    let proxy = Some(("192.0.2.77:99".parse().unwrap(), "192.0.2.1:80".parse().unwrap()));
    exchange.connection =
        Rc::new(Connection { tls: Some(tls), proxy, peer: None, ..(*exchange.connection).clone() });
    begin(&snapshot, &Open, &mut exchange);
    for (template, expected) in [
        ("{scheme}{https}", "httpson"),
        ("{ssl_protocol} {ssl_cipher}", "TLSv1.3 TLS_AES_128_GCM_SHA256"),
        ("{ssl_server_name} {ssl_session_reused} {ssl_client_verify}", "a.test r FAILED:expired"),
        ("{proxy_protocol_addr}:{proxy_protocol_port}", "192.0.2.77:99"),
        ("{proxy_protocol_server_addr}:{proxy_protocol_server_port}", "192.0.2.1:80"),
        ("{remote_addr}|{remote_port}", "unix:|"),
    ] {
        assert_eq!(shown(&snapshot, &exchange, template), expected, "{template}");
    }
}

#[test]
fn request_ids_are_made_when_somebody_asks_for_them() {
    let with =
        |body: &str| snapshot(edge(vec![Route { action: answer(200, body), ..route("r", prefix("/")) }]));
    let (with_id, without) = (with("{request_id}"), with("x"));
    let (mut a, mut b, mut c) = (get("/"), get("/"), get("/"));
    let (first, second) = (outcome(&with_id, &mut a), outcome(&with_id, &mut b));
    assert!(first.len() == "200 ".len() + 32 && first != second);
    assert!(first[4..].bytes().all(|b| b.is_ascii_hexdigit()));
    outcome(&without, &mut c);
    assert_eq!(c.id, None);
}

fn mapped(rules: MapRules, source: &str, value: &str) -> (Snapshot, String) {
    let mut edge = edge(vec![Route { action: answer(200, value), ..route("r", prefix("/")) }]);
    edge.maps = vec![Map { name: "m".into(), source: text(source), rules, default: text("default") }];
    (snapshot(edge), "200 ".to_owned())
}

fn values(list: &[(&str, &str)]) -> Vec<(String, Template)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect()
}

#[test]
fn maps_find_texts_then_wildcards_then_expressions() {
    let rules = MapRules::Values {
        values: values(&[
            ("A.test", "exact"),
            ("*.test", "suffix"),
            ("*.b.test", "longer"),
            ("www.*", "prefix"),
            (".c.org", "dot"),
        ]),
        hostnames: true,
        patterns: vec![
            ("^x(?<rest>.*)$".into(), false, text("rest={rest} one={1} uri={uri}")),
            ("^X".into(), true, text("late")),
        ],
    };
    let (snapshot, status) = mapped(rules, "{arg_h}", "{m}");
    for (host, expected) in [
        ("a.test", "exact"),
        ("A.TEST.", "exact"),
        ("z.test", "suffix"),
        ("z.b.test", "longer"),
        ("www.example", "prefix"),
        ("c.org", "dot"),
        ("x.c.org", "dot"),
        ("xyz", "rest=yz one=yz uri=/"),
        ("Xyz", "late"),
        ("", "default"),
        ("test", "default"),
    ] {
        assert_eq!(
            outcome(&snapshot, &mut get(&format!("/?h={host}"))),
            format!("{status}{expected}"),
            "{host}"
        );
    }
}

#[test]
fn a_map_is_computed_once_and_its_named_groups_stay() {
    let rules = MapRules::Values {
        values: vec![],
        hostnames: false,
        patterns: vec![("^/(?<first>.)".into(), false, text("{uri}"))],
    };
    let (snapshot, _) = mapped(rules, "{uri}", "{m} {first}");
    let mut exchange = get("/abc");
    assert_eq!(outcome(&snapshot, &mut exchange), "200 /abc a");
    exchange.path = "/changed".into();
    assert_eq!(shown(&snapshot, &exchange, "{m}"), "/abc");
}

#[test]
fn maps_by_network_take_the_narrowest() {
    let rules = MapRules::Networks(vec![
        (net("10.0.0.0/8"), text("wide")),
        (net("10.1.0.0/16"), text("narrow")),
        (net("2001:db8::/32"), text("six")),
    ]);
    let (snapshot, status) = mapped(rules, "{remote_addr}", "{m}");
    for (peer, expected) in [
        ("10.2.0.1:1", "wide"),
        ("10.1.0.1:1", "narrow"),
        ("[2001:db8::1]:1", "six"),
        ("11.0.0.1:1", "default"),
    ] {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(outcome(&snapshot, &mut from(head, peer)), format!("{status}{expected}"));
    }
}

#[test]
fn shares_are_those_of_nginx() {
    // Seen in nginx 1.22: split_clients "$arg_k" $share { 20% a; 30% b; * c; }
    let percent = |share: u64| u32::try_from(share * 0xffff_ffff / 10_000).unwrap();
    let rules = MapRules::Shares(vec![(percent(2000), text("a")), (percent(5000), text("b"))]);
    let (snapshot, status) = mapped(rules, "{arg_k}", "{m}");
    let share = |key: &str| {
        let said = outcome(&snapshot, &mut get(&format!("/?k={key}")));
        said.strip_prefix(&status)
            .map(|share| if share == "default" { "c".to_owned() } else { share.to_owned() })
    };
    let many: String = (0..30).filter_map(|n| share(&format!("client-{n}"))).collect();
    assert_eq!(many, "bcbccccccabbcabacacbcbcacacabc");
    let lengths: String = ["a", "ab", "abc", "abcd", "abcde", "中文"].into_iter().filter_map(share).collect();
    assert_eq!(lengths, "caaabb");
}

#[test]
fn fields_of_responses_are_noted_when_a_log_asks_for_them() {
    let mut one = route("one", prefix("/"));
    one.action = Action::Forward(Box::new(forward()));
    one.response_headers =
        vec![HeaderOp { name: "X-New".into(), op: HeaderChange::Set(text("n")), always: false }];
    let mut edge = edge(vec![one]);
    edge.logs = vec![AccessLog {
        name: "l".into(),
        to: LogTarget::Stdout,
        format: LogFormat::Text {
            line: text("{upstream_http_x_a} {sent_http_x_new} {sent_http_x_b}"),
            json_escape: false,
        },
    }];
    let snapshot = snapshot(edge);
    let mut exchange = get("/");
    begin(&snapshot, &Open, &mut exchange);
    response_fields(
        &snapshot,
        &exchange,
        &Reply(200, vec![("X-A", "a"), ("X-B", "1"), ("X-B", "2")]),
        &mut Collected::default(),
    );
    assert_eq!(
        shown(&snapshot, &exchange, "{upstream_http_x_a}|{sent_http_x_new}|{sent_http_x_b}"),
        "a|n|1, 2"
    );
}
