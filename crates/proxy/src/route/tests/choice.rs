//! Which route takes a request.

use std::rc::Rc;

use mainstay_config::plan::edge::*;

use super::super::rig::*;
use super::super::{Error, Table};

fn hosted(name: &str, host: Host) -> Route {
    Route { hosts: vec![host], ..route(name, prefix("/")) }
}

fn by_host(routes: Vec<Route>, hosts: &[(&str, &str)]) {
    let snapshot = snapshot(edge(routes));
    for (host, expected) in hosts {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), *expected, "Host: {host}");
    }
}

#[test]
fn exact_then_last_prefix_then_expression_then_longest_prefix() {
    gets(
        vec![
            route("root", prefix("/")),
            route("img", last("/images/")),
            route("gif", regex(r"\.(gif|jpg)$")),
            route("doc", prefix("/documents/")),
            route("exact", exact("/")),
            route("deep", prefix("/images/deep/")),
            route("second", regex(r"\.gif$")),
        ],
        &[
            ("/", "200 exact"),
            ("/index.html", "200 root"),
            ("/documents/a.html", "200 doc"),
            ("/images/1.gif", "200 img"),
            ("/images/deep/1.gif", "200 gif"),
            ("/images/deep/1", "200 deep"),
            ("/documents/1.jpg", "200 gif"),
            ("/documentation", "200 root"),
            ("//images/./x/../1.gif", "200 img"),
            ("/%69mages/1.gif", "200 img"),
        ],
    );
}

#[test]
fn the_longest_prefix_is_found_among_many() {
    let names = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c/", "/b/"];
    gets(
        names.iter().map(|name| route(name, prefix(name))).collect(),
        &[
            ("/x", "200 /"),
            ("/a", "200 /a"),
            ("/a/", "200 /a/"),
            ("/a/bc", "200 /a/b"),
            ("/a/b/c", "200 /a/b"),
            ("/a/b/c/d", "200 /a/b/c/"),
            ("/abc", "200 /ab"),
            ("/ac", "200 /a"),
            ("/b", "200 /"),
            ("/b/x", "200 /b/"),
            ("/zzz", "200 /"),
        ],
    );
}

#[test]
fn exact_host_then_longest_suffix_then_longest_prefix_then_expression_then_any() {
    by_host(
        vec![
            hosted("any", Host::Any),
            hosted("expression", Host::Regex(r"^(\w+)\.example\.(?<land>\w+)$".into())),
            hosted("prefix", Host::Prefix("www.".into())),
            hosted("longer-prefix", Host::Prefix("www.example.".into())),
            hosted("suffix", Host::Suffix(".example.com".into())),
            hosted("longer-suffix", Host::Suffix(".a.example.com".into())),
            hosted("exact", Host::Exact("b.a.example.com".into())),
        ],
        &[
            ("b.a.example.com", "200 exact"),
            ("B.A.Example.COM:8080", "200 exact"),
            ("b.a.example.com.", "200 exact"),
            ("c.a.example.com", "200 longer-suffix"),
            ("a.example.com", "200 suffix"),
            ("www.example.com", "200 suffix"),
            ("www.example.org", "200 longer-prefix"),
            ("www.other.org", "200 prefix"),
            ("mail.example.org", "200 expression"),
            ("example.com", "200 any"),
            ("www.", "200 any"),
            ("", "200 any"),
        ],
    );
}

#[test]
fn the_next_best_host_is_tried_when_no_route_of_the_best_takes_the_request() {
    let api = Route { hosts: vec![Host::Exact("a.test".into())], ..route("api", prefix("/api/")) };
    let wide = Route { hosts: vec![Host::Suffix(".test".into())], ..route("wide", exact("/x")) };
    let snapshot = snapshot(edge(vec![api, wide, route("rest", prefix("/y"))]));
    for (target, expected) in [("/api/1", "200 api"), ("/x", "200 wide"), ("/y/z", "200 rest"), ("/z", "404")]
    {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected, "{target}");
    }
}

#[test]
fn of_equal_routes_the_one_with_more_conditions_comes_first_then_the_file_decides() {
    let header = |name: &str, value| FieldMatch { name: name.to_owned(), value, not: false };
    let plain = route("plain", prefix("/"));
    let post = Route { methods: vec!["POST".into()], ..route("post", prefix("/")) };
    let beta = Route {
        methods: vec!["POST".into(), "PUT".into()],
        headers: vec![header("x-beta", ValueMatch::Present)],
        ..route("beta", prefix("/"))
    };
    let post_again = Route { methods: vec!["POST".into()], ..route("post-again", prefix("/")) };
    let snapshot = snapshot(edge(vec![plain, post, beta, post_again]));
    for (line, expected) in [
        ("GET / HTTP/1.1", "200 plain"),
        ("POST / HTTP/1.1", "200 post"),
        ("POST / HTTP/1.1\r\nX-Beta: 1", "200 beta"),
        ("PUT / HTTP/1.1\r\nX-Beta:", "200 beta"),
        ("GET / HTTP/1.1\r\nX-Beta: 1", "200 plain"),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected, "{line}");
    }
}

#[test]
fn headers_queries_and_sources_decide() {
    let field = |name: &str, value, not| FieldMatch { name: name.to_owned(), value, not };
    let routes = vec![
        Route {
            headers: vec![field("x-v", ValueMatch::Regex("^[23]$".into()), false)],
            ..route("header", prefix("/"))
        },
        Route {
            queries: vec![field("q", ValueMatch::Exact("a b&".into()), false)],
            ..route("query", prefix("/"))
        },
        Route { from: vec![net("10.0.0.0/8"), net("2001:db8::/32")], ..route("inside", prefix("/")) },
        Route { headers: vec![field("x-v", ValueMatch::Present, true)], ..route("without", exact("/none")) },
    ];
    let snapshot = snapshot(edge(routes));
    for (line, peer, expected) in [
        ("GET / HTTP/1.1\r\nX-V: 2", "203.0.113.9:1", "200 header"),
        ("GET / HTTP/1.1\r\nX-V: 4\r\nX-V: 3", "203.0.113.9:1", "200 header"),
        ("GET / HTTP/1.1\r\nX-V: 23", "203.0.113.9:1", "404"),
        ("GET /?x=1&q=a+b%26 HTTP/1.1", "203.0.113.9:1", "200 query"),
        ("GET /?q=ab HTTP/1.1", "203.0.113.9:1", "404"),
        ("GET / HTTP/1.1", "10.1.1.1:1", "200 inside"),
        ("GET / HTTP/1.1", "[::ffff:10.1.1.1]:1", "200 inside"),
        ("GET / HTTP/1.1", "[2001:db8::5]:1", "200 inside"),
        ("GET /none HTTP/1.1", "203.0.113.9:1", "200 without"),
        ("GET /none HTTP/1.1\r\nX-V: 1", "203.0.113.9:1", "404"),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, peer)), expected, "{line} from {peer}");
    }
}

#[test]
fn groups_of_host_and_path_become_variables() {
    let mut one = Route {
        hosts: vec![Host::Regex(r"^(?<user>\w+)\.test$".into())],
        action: answer(200, "{user} {kind} {1}{2}"),
        ..route("one", regex(r"^/(a|b)/(?<kind>\w+)"))
    };
    let host_alone = Route { path: prefix("/"), action: answer(200, "{user} {1}"), ..one.clone() };
    one.name = "other".into();
    let snapshot = snapshot(edge(vec![one, host_alone]));
    for (target, expected) in [("/a/file/x", "200 ann file afile"), ("/c", "200 ann ann")] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: Ann.test:80\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected);
    }
}

#[test]
fn a_route_takes_part_only_in_its_listeners() {
    let mut edge = edge(vec![
        route("first", prefix("/")),
        Route { listeners: vec![1], ..route("second", prefix("/")) },
        Route { listeners: vec![0, 1], ..route("both", prefix("/both")) },
    ]);
    edge.listeners.push(listener());
    let snapshot = snapshot(edge);
    for (listener, target, expected) in
        [(0, "/", "200 first"), (1, "/", "200 second"), (0, "/both", "200 both"), (1, "/both", "200 both")]
    {
        let mut exchange = get(target);
        Rc::get_mut(&mut exchange.connection).unwrap().listener = listener;
        assert_eq!(outcome(&snapshot, &mut exchange), expected);
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let snapshot = snapshot(edge(vec![route("all", prefix("/"))]));
    for (head, expected) in [
        ("GET /.. HTTP/1.1\r\nHost: a", "400"),
        ("GET /%00 HTTP/1.1\r\nHost: a", "400"),
        ("GET /%zz HTTP/1.1\r\nHost: a", "400"),
        ("GET * HTTP/1.1\r\nHost: a", "400"),
        ("GET / HTTP/1.1\r\nHost: a/b", "400"),
        ("GET / HTTP/1.1\r\nHost: a b", "400"),
        ("GET / HTTP/1.1", "400"),
        ("TRACE / HTTP/1.1\r\nHost: a", "405"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80", "405"),
        ("OPTIONS * HTTP/1.1\r\nHost: a", "404"),
        ("GET / HTTP/1.1\r\nHost:", "200 all"),
    ] {
        let head = format!("{head}\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected, "{head}");
    }
}

#[test]
fn no_route_is_404_and_an_internal_one_is_not_found_from_outside() {
    let hidden = Route { internal: true, ..route("hidden", prefix("/hidden")) };
    let mut to = route("to", exact("/go"));
    to.steps = vec![rewrite("^/go$", "/hidden", Then::Again)];
    gets(vec![hidden, to], &[("/hidden", "404"), ("/go", "200 hidden"), ("/else", "404")]);
}

#[test]
fn a_thousand_hosts_and_prefixes_are_told_apart() {
    let routes = (0..1000).map(|n| Route {
        hosts: vec![Host::Exact(format!("h{n}.test")), Host::Suffix(format!(".s{n}.test"))],
        ..route(&format!("r{n}"), prefix(&format!("/p{n}/")))
    });
    let snapshot = snapshot(edge(routes.collect()));
    for n in [0, 1, 10, 99, 500, 999] {
        for host in [format!("h{n}.test"), format!("x.y.s{n}.test")] {
            let head = format!("GET /p{n}/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), format!("200 r{n}"));
        }
    }
}

#[test]
fn what_cannot_be_compiled_says_where_and_why() {
    let error = |edge: Edge| Table::new(&edge).unwrap_err();
    let broken = error(edge(vec![route("api", regex("^/(?!x)"))]));
    assert!(broken.to_string().starts_with("route \"api\": expression `^/(?!x)`: look-around"), "{broken}");
    let far = Route { listeners: vec![3], ..route("far", prefix("/")) };
    assert_eq!(error(edge(vec![far])), Error::Nowhere("route \"far\"".into(), "listener"));
    let mut circle = edge(vec![]);
    for (name, source) in [("a", "{b}"), ("b", "x{a}")] {
        circle.maps.push(Map {
            name: name.into(),
            source: text(source),
            rules: MapRules::Shares(Vec::new()),
            default: Template::default(),
        });
    }
    assert_eq!(error(circle), Error::Circle("a".into()));
}
