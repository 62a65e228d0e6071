//! The fields that backends and clients get.

use std::rc::Rc;

use mainstay_config::plan::edge::*;

use super::super::decide::begin;
use super::super::rig::*;
use super::super::{rate_bytes, request_fields, request_target, response_fields};
use crate::exchange::{Connection, Decision, Exchange};

fn sent_by(edge: Edge, mut exchange: Exchange) -> Collected {
    let snapshot = snapshot(edge);
    begin(&snapshot, &Open, &mut exchange);
    let mut sink = Collected::default();
    request_fields(&snapshot, &exchange, &mut sink);
    sink
}

fn sent(edge: Edge, head: &str, peer: &str) -> Collected {
    sent_by(edge, from(head, peer))
}

fn to_backend(forward: Forward) -> Edge {
    edge(vec![Route { action: Action::Forward(Box::new(forward)), ..route("api", prefix("/")) }])
}

fn forwarding(real_ip: Option<RealIp>) -> Edge {
    let mut edge = to_backend(Forward { forwarded: true, ..forward() });
    edge.listeners[0].real_ip = real_ip;
    edge
}

fn op(name: &str, op: HeaderChange) -> HeaderOp {
    HeaderOp { name: name.to_owned(), op, always: false }
}

fn set(name: &str, value: &str) -> HeaderOp {
    op(name, HeaderChange::Set(text(value)))
}

fn add(name: &str, value: &str) -> HeaderOp {
    op(name, HeaderChange::Add(text(value)))
}

const FORGED: &str = "GET / HTTP/1.1\r\nHost: a:8080\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                      X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nAccept: */*\r\n\r\n";

#[test]
fn a_client_cannot_forge_who_it_is() {
    let fields = sent(forwarding(None), FORGED, "203.0.113.9:1");
    assert_eq!(fields.0[0], ("Host".into(), "a:8080".into()));
    assert_eq!(fields.all("x-real-ip"), ["203.0.113.9"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(fields.all("x-forwarded-host"), ["a:8080"]);
    assert_eq!(fields.all("x-forwarded-for"), ["6.6.6.6, 203.0.113.9"]);
    assert_eq!(fields.all("accept"), ["*/*"]);
}

#[test]
fn with_real_ip_what_an_untrusted_peer_wrote_is_begun_anew() {
    let fields = sent(forwarding(Some(real_ip(&["10.0.0.0/8"], true))), FORGED, "203.0.113.9:1");
    assert_eq!(fields.all("x-forwarded-for"), ["203.0.113.9"]);
    assert_eq!(fields.all("x-real-ip"), ["203.0.113.9"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["http"]);
}

#[test]
fn what_a_trusted_proxy_wrote_is_continued() {
    let fields = sent(forwarding(Some(real_ip(&["10.0.0.0/8"], true))), FORGED, "10.1.1.1:1");
    assert_eq!(fields.all("x-forwarded-for"), ["6.6.6.6, 6.6.6.6"]);
    assert_eq!(fields.all("x-real-ip"), ["6.6.6.6"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["https"]);
    assert_eq!(fields.all("x-forwarded-host"), ["evil"]);
}

#[test]
fn behind_proxies_of_bytes_the_fields_are_the_clients_own() {
    let mut edge =
        forwarding(Some(RealIp { source: RealIpSource::Proxy, ..real_ip(&["10.0.0.0/8"], false) }));
    let mut exchange = from(FORGED, "10.1.1.1:1");
    let proxy = Some(("192.0.2.77:99".parse().unwrap(), "192.0.2.1:80".parse().unwrap()));
    exchange.connection = Rc::new(Connection { proxy, ..(*exchange.connection).clone() });
    let fields = sent_by(edge.clone(), exchange);
    assert_eq!(fields.all("x-forwarded-for"), ["192.0.2.77"]);
    assert_eq!(fields.all("x-real-ip"), ["192.0.2.77"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["http"]);
    edge.listeners[0].real_ip.as_mut().unwrap().trusted.clear();
    let mut exchange = from(FORGED, "10.1.1.1:1");
    exchange.connection = Rc::new(Connection { proxy, ..(*exchange.connection).clone() });
    assert_eq!(sent_by(edge, exchange).all("x-real-ip"), ["10.1.1.1"]);
}

#[test]
fn a_unix_peer_is_believed_when_it_is_told_to_be() {
    for (unix, expected) in [(true, vec!["6.6.6.6"]), (false, vec![])] {
        let mut exchange = from(FORGED, "10.1.1.1:1");
        exchange.connection = Rc::new(Connection { peer: None, ..(*exchange.connection).clone() });
        let fields = sent_by(forwarding(Some(RealIp { unix, ..real_ip(&[], true) })), exchange);
        assert_eq!(fields.all("x-real-ip"), expected);
        assert_eq!(fields.all("x-forwarded-for").is_empty(), !unix);
    }
}

#[test]
fn a_route_may_find_the_client_in_its_own_way() {
    let mut edge = forwarding(None);
    edge.routes[0].real_ip =
        Some(RealIp { source: RealIpSource::Header("X-Real-IP".into()), ..real_ip(&["10.0.0.0/8"], false) });
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 192.0.2.5:77\r\n\r\n";
    assert_eq!(sent(edge.clone(), head, "10.1.1.1:1").all("x-real-ip"), ["192.0.2.5"]);
    assert_eq!(sent(edge, head, "11.1.1.1:1").all("x-real-ip"), ["11.1.1.1"]);
}

/// Seed 000, through the same headers as its nginx files set; the last layer recursive or not.
#[test]
fn four_layers_give_the_client_whatever_it_forges() {
    let layer = |trusts: Option<&str>, recursive| {
        let mut edge = to_backend(Forward {
            headers: vec![
                set("X-Real-IP", "{remote_addr}"),
                set("X-Forwarded-For", "{proxy_add_x_forwarded_for}"),
                set("Host", "{http_host}"),
            ],
            ..forward()
        });
        edge.listeners[0].real_ip = trusts.map(|net| real_ip(&[net], recursive));
        edge
    };
    let layers = [
        ("10.1.23.8", None),
        ("10.8.2.163", Some("10.1.23.8/32")),
        ("10.120.126.14", Some("10.8.2.163/32")),
        ("192.168.1.23", Some("10.120.126.14/32")),
    ];
    for own in [true, false] {
        for forged in [
            "",
            "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 7.7.7.7\r\n",
            "x-forwarded-for: 10.1.23.8\r\nX-Forwarded-For: unknown\r\n",
        ] {
            let mut head = format!("GET / HTTP/1.1\r\nHost: tp.test:52100\r\n{forged}\r\n");
            let mut peer = "203.0.113.9".to_owned();
            for (at, trusts) in layers {
                let edge = if own {
                    let mut edge = layer(trusts, true);
                    edge.routes[0].action =
                        Action::Forward(Box::new(Forward { forwarded: true, ..forward() }));
                    edge
                } else {
                    layer(trusts, false)
                };
                let fields = sent(edge, &head, &format!("{peer}:1"));
                assert_eq!(fields.all("x-real-ip"), ["203.0.113.9"], "at {at}, {forged:?}");
                head = fields
                    .0
                    .iter()
                    .fold("GET / HTTP/1.1\r\n".to_owned(), |head, (n, v)| format!("{head}{n}: {v}\r\n"))
                    + "\r\n";
                at.clone_into(&mut peer);
            }
        }
    }
}

#[test]
fn what_is_about_the_connection_or_framing_does_not_pass() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Own, Upgrade\r\nX-Own: 1\r\nKeep-Alive: 5\r\n\
                Proxy-Connection: x\r\nTE: trailers\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\n\
                Content-Length: 5\r\nExpect: 100-continue\r\nHTTP2-Settings: a\r\nContent-Type: b\r\nX: y\r\n\r\n";
    let edge = to_backend(Forward {
        headers: vec![
            set("Connection", "upgrade"),
            set("Upgrade", "{http_upgrade}"),
            set("Content-Length", "0"),
        ],
        ..forward()
    });
    let fields = sent(edge, head, "203.0.113.9:1");
    let names: Vec<&str> = fields.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "Content-Type", "X"]);
}

#[test]
fn changes_apply_in_their_order() {
    let edge = to_backend(Forward {
        forwarded: true,
        headers: vec![
            add("X-A", "1"),
            set("x-a", "2"),
            add("X-A", "3"),
            add("X-B", "4"),
            op("X-C", HeaderChange::Remove),
            set("X-D", ""),
            set("X-E", "{arg_none}"),
            add("X-F", "{arg_none}"),
            op("X-Forwarded-For", HeaderChange::Remove),
            set("X-Real-IP", "[{remote_addr}]"),
            set("Host", "other"),
        ],
        ..forward()
    });
    let head =
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: 0\r\nX-B: 0\r\nX-C: 0\r\nX-D: 0\r\nX-E: 0\r\nX-F: 0\r\n\r\n";
    let fields = sent(edge, head, "203.0.113.9:1");
    assert_eq!(fields.0[0], ("Host".into(), "other".into()));
    assert_eq!(fields.all("host").len(), 1);
    assert_eq!(fields.all("x-a"), ["2", "3"]);
    assert_eq!(fields.all("x-b"), ["0", "4"]);
    assert_eq!(fields.all("x-c"), [""; 0]);
    assert_eq!(fields.all("x-d"), [""; 0]);
    assert_eq!(fields.all("x-e"), [""; 0]);
    assert_eq!(fields.all("x-f"), ["0"]);
    assert_eq!(fields.all("x-forwarded-for"), [""; 0]);
    assert_eq!(fields.all("x-real-ip"), ["[203.0.113.9]"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["http"]);
}

#[test]
fn without_pass_headers_only_ours_go() {
    let edge =
        to_backend(Forward { pass_headers: false, headers: vec![set("X-A", "{http_x}")], ..forward() });
    let fields = sent(edge, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nCookie: c\r\n\r\n", "203.0.113.9:1");
    assert_eq!(fields.0, [("Host".into(), "a".into()), ("X-A".into(), "y".into())]);
}

#[test]
fn no_value_can_end_its_line() {
    let edge = to_backend(Forward {
        host: text("{uri}"),
        headers: vec![set("X-Path", "{uri}"), set("X-Group", "{1}"), set("X-User", "{remote_user}")],
        ..forward()
    });
    let mut edge = edge;
    edge.routes[0].path = regex("(?s)^/(.*)$");
    let mut exchange = get("/a%0d%0aX-Evil:%201%00".trim_end_matches("%00"));
    exchange.user = Some("u\r\nX-Evil: 2\0".into());
    let fields = sent_by(edge, exchange);
    assert_eq!(fields.all("x-evil"), [""; 0]);
    for (name, value) in &fields.0 {
        assert!(!value.bytes().any(|b| b < b' ' || b == 0x7f), "{name}: {value:?}");
    }
    assert_eq!(fields.all("x-path"), ["/a  X-Evil: 1"]);
}

#[test]
fn tokens_that_a_backend_is_not_to_see_are_cut_out() {
    let jwt = Jwt {
        keys: Vec::new(),
        sources: vec![
            TokenSource::Bearer,
            TokenSource::Header("X-Token".into()),
            TokenSource::Cookie("token".into()),
            TokenSource::Query("token".into()),
        ],
        issuers: Vec::new(),
        audiences: Vec::new(),
        claims: Vec::new(),
        leeway: std::time::Duration::ZERO,
        need_exp: false,
        realm: String::new(),
        strip: true,
    };
    let mut edge = to_backend(forward());
    edge.routes[0].auth = Some(Auth::Jwt(Box::new(jwt)));
    let head = "GET /p%20q?a=1&token=x&b=2 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nX-Token: x\r\nCookie: a=b; token=x; c=d\r\n\r\n";
    let snapshot = snapshot(edge);
    let mut exchange = from(head, "203.0.113.9:1");
    begin(&snapshot, &Open, &mut exchange);
    let (mut fields, mut target) = (Collected::default(), Vec::new());
    request_fields(&snapshot, &exchange, &mut fields);
    request_target(&snapshot, &exchange, &mut target);
    assert_eq!(fields.0, [("Host".into(), "a".into()), ("Cookie".into(), "a=b; c=d".into())]);
    assert_eq!(target, b"/p%20q?a=1&b=2");
}

fn received(route: Route, reply: &Reply) -> Collected {
    let snapshot = snapshot(edge(vec![route]));
    let mut exchange = get("/x");
    begin(&snapshot, &Open, &mut exchange);
    let mut sink = Collected::default();
    response_fields(&snapshot, &exchange, reply, &mut sink);
    sink
}

fn answering(forward: Forward) -> Route {
    Route { action: Action::Forward(Box::new(forward)), ..route("api", prefix("/")) }
}

#[test]
fn a_response_loses_what_is_hidden_and_what_is_about_its_connection() {
    let one = answering(Forward { hide: vec!["server".into(), "x-powered-by".into()], ..forward() });
    let reply = Reply(
        200,
        vec![
            ("Server", "x"),
            ("X-Powered-By", "x"),
            ("Connection", "close, X-Own"),
            ("X-Own", "1"),
            ("Keep-Alive", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "3"),
            ("Upgrade", "h2c"),
            ("Set-Cookie", "a=b"),
            ("Set-Cookie", "c=d"),
            ("Date", "now"),
        ],
    );
    let fields = received(one, &reply);
    let names: Vec<&str> = fields.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Set-Cookie", "Set-Cookie", "Date"]);
}

#[test]
fn headers_are_set_on_good_statuses_and_on_all_when_told() {
    let mut one = answering(forward());
    one.response_headers = vec![
        set("X-A", "{upstream_http_x_b}"),
        HeaderOp { always: true, ..add("X-C", "c") },
        op("X-B", HeaderChange::Remove),
    ];
    let with = |status| received(one.clone(), &Reply(status, vec![("X-A", "old"), ("X-B", "b")]));
    assert_eq!(with(200).0, [("X-A".into(), "b".into()), ("X-C".into(), "c".into())]);
    let kept = [("X-A".into(), "old".into()), ("X-B".into(), "b".into()), ("X-C".into(), "c".into())];
    assert_eq!(with(404).0, kept);
}

#[test]
fn our_own_responses_get_the_same_headers() {
    let mut one = Route { action: answer(200, "x"), ..route("own", prefix("/")) };
    one.response_headers =
        vec![set("Content-Type", "text/css"), HeaderOp { always: true, ..add("X-C", "{uri}") }];
    one.expires = Some(Expires::After(10));
    let mut missing = Route { action: status(404), ..one.clone() };
    missing.path = exact("/missing");
    let snapshot = snapshot(edge(vec![one, missing]));
    let fields = |target: &str| match begin(&snapshot, &Open, &mut get(target)) {
        Decision::Respond(response) => {
            let name =
                |(name, value): (Box<str>, Vec<u8>)| (name.to_string(), String::from_utf8(value).unwrap());
            Collected(response.fields.into_iter().map(name).collect())
        }
        other => panic!("{other:?}"),
    };
    let good = fields("/%0a");
    assert_eq!(good.all("content-type"), ["text/css"]);
    assert_eq!(good.all("cache-control"), ["max-age=10"]);
    assert_eq!(good.all("expires").len(), 1);
    assert_eq!(good.all("x-c"), ["/"]);
    let bad = fields("/missing");
    assert_eq!((bad.all("content-type"), bad.all("expires").len()), (vec!["text/html"], 0));
    assert_eq!(bad.all("x-c"), ["/missing"]);
}

#[test]
fn expires_takes_the_place_of_what_a_backend_says() {
    let reply = Reply(
        200,
        vec![
            ("Expires", "x"),
            ("Cache-Control", "private"),
            ("Last-Modified", "Fri, 20 Nov 2026 12:00:00 GMT"),
        ],
    );
    let with = |expires| {
        let fields = received(Route { expires: Some(expires), ..answering(forward()) }, &reply);
        (fields.all("expires").join("|"), fields.all("cache-control").join("|"))
    };
    assert_eq!(with(Expires::Epoch), ("Thu, 01 Jan 1970 00:00:01 GMT".into(), "no-cache".into()));
    assert_eq!(with(Expires::Max), ("Thu, 31 Dec 2037 23:55:55 GMT".into(), "max-age=315360000".into()));
    assert_eq!(with(Expires::After(60)).1, "max-age=60");
    assert_eq!(with(Expires::After(-1)).1, "no-cache");
    assert_eq!(with(Expires::Modified(0)).0, "Fri, 20 Nov 2026 12:00:00 GMT");
}

#[test]
fn locations_of_a_backend_are_rewritten() {
    let replace = |from: TextPattern, to: &str| TextRewrite { from, to: text(to) };
    let pattern = |pattern: &str| TextPattern::Regex { pattern: pattern.into(), ignore_case: true };
    let one = answering(Forward {
        redirects: vec![
            replace(TextPattern::Prefix(text("http://backend:8080/")), "/"),
            replace(pattern("/user/([^/]+)/(.+)$"), "http://{1}.example.com/{2}"),
        ],
        ..forward()
    });
    for (location, expected) in [
        ("http://backend:8080/one/two", "http://example.com:8080/one/two"),
        ("http://localhost:8000/USER/alice/x", "http://alice.example.com/x"),
        ("http://other/", "http://other/"),
        ("/relative", "/relative"),
    ] {
        let reply = Reply(302, vec![("Location", location), ("Refresh", "5; URL=http://backend:8080/a")]);
        let fields = received(one.clone(), &reply);
        assert_eq!(fields.all("location"), [expected]);
        assert_eq!(fields.all("refresh"), ["5; URL=/a"]);
    }
}

#[test]
fn domains_and_paths_of_cookies_are_rewritten() {
    let replace = |from: &str, to: &str| TextRewrite { from: TextPattern::Prefix(text(from)), to: text(to) };
    let one = answering(Forward {
        cookie_domains: vec![replace("backend.local", "front.test")],
        cookie_paths: vec![replace("/app/", "/")],
        ..forward()
    });
    for (cookie, expected) in [
        ("a=b; Domain=.Backend.local; Path=/app/x; HttpOnly", "a=b; Domain=.front.test; Path=/x; HttpOnly"),
        ("path=/app/; domain=backend.local", "path=/app/; domain=front.test"),
        ("a=b; Domain=sub.backend.local; Path=/other", "a=b; Domain=sub.backend.local; Path=/other"),
        ("a=b", "a=b"),
        ("", ""),
    ] {
        let reply = Reply(200, vec![("Set-Cookie", Box::leak(cookie.to_owned().into_boxed_str()))]);
        assert_eq!(received(one.clone(), &reply).all("set-cookie"), [expected]);
    }
}

#[test]
fn a_backend_that_is_obeyed_says_how_fast_its_body_goes() {
    for (accel, said, expected) in [(true, "5", 5), (true, "x", 7), (true, "0", 0), (false, "5", 7)] {
        let one = Route { rate_bytes: 7, ..answering(Forward { accel, ..forward() }) };
        let snapshot = snapshot(edge(vec![one]));
        let mut exchange = get("/");
        begin(&snapshot, &Open, &mut exchange);
        let reply = Reply(200, vec![("X-Accel-Limit-Rate", said)]);
        assert_eq!(rate_bytes(&snapshot, &exchange, Some(&reply)), expected);
        assert_eq!(rate_bytes(&snapshot, &exchange, None), 7);
    }
}
