//! `return`, `rewrite`, `set`, `if`, `break`.

use super::{http, server, text};
use mainstay_config::plan::edge::{Action, Condition, FileKind, Step, Then};

const ROUTE: &str = "example.org/";

fn steps(lines: &str) -> Vec<Step> {
    server(&format!("location / {{ {lines} }}")).clean().route(ROUTE).steps.clone()
}

#[test]
fn return_answers_or_redirects() {
    let done = server(
        "location /a { return 204; } location /b { default_type text/html; return 200 \"hi $uri {x}\"; }
         location /c { return 301 https://$host$request_uri; } location /d { return http://x.example/; }
         location /e { return 404 no; } location /f { return 444; }",
    )
    .clean();
    assert_eq!((done.answer("example.org/a").status, &done.answer("example.org/a").body), (204, &None));
    let b = done.answer("example.org/b");
    assert_eq!(
        (text(b.body.as_ref().unwrap()).as_str(), b.media.as_deref()),
        ("hi {Known(Uri)} {{x}}", Some("text/html"))
    );
    let c = done.answer("example.org/c");
    assert_eq!(
        (c.status, text(c.location.as_ref().unwrap()).as_str()),
        (301, "https://{Known(Host)}{Known(RequestUri)}")
    );
    assert_eq!(done.answer("example.org/d").status, 302);
    assert_eq!((done.answer("example.org/e").status, done.answer("example.org/f").status), (404, 444));
}

#[test]
fn a_return_comes_before_anybody_asks_who_may_come_in() {
    let done =
        server("deny all; location / { return 200; } location /x { return 200; if ($a) { set $a 1; } }")
            .clean();
    assert!(done.edge.routes.iter().all(|route| route.access.is_empty()));
}

#[test]
fn a_return_of_the_server_leaves_no_location_but_the_named_ones() {
    let done =
        server("error_page 503 @m; return 503; location /a { return 200; } location @m { return 200; }")
            .clean();
    let names: Vec<&str> = done.edge.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["example.org/", "example.org@m"]);
    assert_eq!(done.answer(ROUTE).status, 503);
}

#[test]
fn rewrites_keep_their_flags() {
    let then = |flag: &str| match &steps(&format!("rewrite ^/a/(.*)$ /b/$1 {flag};"))[0] {
        Step::Rewrite { then, to, .. } => (*then, text(to)),
        other => panic!("{other:?}"),
    };
    assert_eq!(then(""), (Then::Continue, "/b/{Group(1)}".to_owned()));
    assert_eq!(then("last").0, Then::Again);
    assert_eq!(then("break").0, Then::Break);
    assert_eq!(then("redirect").0, Then::Redirect(302));
    assert_eq!(then("permanent").0, Then::Redirect(301));
}

#[test]
fn a_return_after_a_rewrite_that_goes_on_is_a_step() {
    let after = steps("rewrite ^/a /b; return 200 $uri;");
    assert!(matches!(&after[..], [Step::Rewrite { then: Then::Continue, .. }, Step::Answer(_)]), "{after:?}");
    let under = steps("if ($arg_a) { rewrite ^/a /b; } return 204;");
    assert!(matches!(under.last(), Some(Step::Answer(_))), "{under:?}");
    let last = steps("rewrite ^/a /b last; return 204;");
    assert!(matches!(&last[..], [Step::Rewrite { then: Then::Again, .. }]), "{last:?}");
}

#[test]
fn a_rewrite_to_a_url_redirects() {
    let Step::Rewrite { then, .. } = &steps("rewrite ^ https://x.example$uri;")[0] else { panic!() };
    assert_eq!(*then, Then::Redirect(302));
}

#[test]
fn conditions_of_every_kind_are_understood() {
    let when = |condition: &str| match steps(&format!("if ({condition}) {{ set $x 1; }}")).remove(0) {
        Step::If { when, .. } => when,
        other => panic!("{other:?}"),
    };
    assert!(matches!(when("$arg_a"), Condition::True(_)));
    assert!(matches!(when(" $arg_a "), Condition::True(_)));
    assert!(matches!(when("$arg_a = b"), Condition::Equal { not: false, .. }));
    assert!(matches!(when("$arg_a != \"b c\""), Condition::Equal { not: true, .. }));
    assert!(matches!(when("$arg_a ~ ^b"), Condition::Match { not: false, ignore_case: false, .. }));
    assert!(matches!(when("$arg_a !~* \"b;(c)\""), Condition::Match { not: true, ignore_case: true, .. }));
    assert!(matches!(when("-f $request_filename"), Condition::File { kind: FileKind::File, not: false, .. }));
    assert!(matches!(when("!-d /a$uri"), Condition::File { kind: FileKind::Directory, not: true, .. }));
    assert!(matches!(when("-e /a"), Condition::File { kind: FileKind::Any, .. }));
    assert!(matches!(when("!-x /a"), Condition::File { kind: FileKind::Executable, not: true, .. }));
    assert!(matches!(when("$arg_a = ''"), Condition::Equal { .. }));
}

#[test]
fn other_directives_in_an_if_make_a_route_that_goes_on() {
    let done =
        server("location / { root /a; if ($arg_a) { add_header X-A 1; } proxy_pass http://127.0.0.1:81/x; }")
            .clean();
    let Step::If { route, steps, .. } = &done.route(ROUTE).steps[0] else { panic!() };
    let name = &done.edge.routes[route.unwrap().index()].name;
    assert_eq!((name.as_str(), done.forward(name).headers.len()), ("example.org/-if", 0));
    assert!(matches!(&steps[0], Step::Rewrite { then: Then::Break, .. }), "the path is replaced: {steps:?}");
    assert_eq!(done.route(name).response_headers.len(), 1);
}

#[test]
fn a_break_keeps_what_follows_from_answering() {
    let done = server("location / { root /a; if ($arg_a) { break; } return 200; }").clean();
    assert!(matches!(done.route(ROUTE).action, Action::Files(_)));
    assert!(matches!(done.route(ROUTE).steps.last(), Some(Step::Answer(_))));
}

#[test]
fn steps_of_the_server_are_run_once_before_those_of_its_locations() {
    let done =
        server("if ($host = a) { return 301 http://b/; } rewrite ^/x /y; location / { set $l 1; root /a; }")
            .clean();
    let steps = &done.route(ROUTE).steps;
    assert!(matches!(&steps[0], Step::Once(once) if once.len() == 2), "{steps:?}");
    assert!(matches!(&steps[1], Step::Set { .. }));
}

#[test]
fn maps_are_taken_over_with_all_their_keys() {
    let done = http(
        "map $http_x $y { hostnames; default d$host; a 1; .b.example 2; c.* 3; ~^(?<Part>x+)$ $part; ~*Y z; \\default q; include more; }
         server { return 200 $y; }"
            .replace("include more;", "")
            .as_str(),
    )
    .clean();
    let map = format!("{:?}", done.edge.maps[0].rules);
    for part in [
        "\"b.example\"",
        "\"*.b.example\"",
        "\"c.*\"",
        "(\"default\"",
        "(?P<part>x+)",
        "hostnames: true",
        "(\"Y\", true",
    ] {
        assert!(map.contains(part), "{part} in {map}");
    }
}

#[test]
fn geo_and_split_clients_are_maps_too() {
    let done = http(
        "geo $g { default a; 10.0.0.0/8 b; 10.1.0.0/16 c; } geo $arg_ip $r { ranges; 10.0.0.0-10.0.0.1 b; }
         split_clients \"$remote_addr\" $s { 0.5% one; * two; }
         server { return 200 $g$r$s; }",
    )
    .clean();
    let shown = format!("{:?}", done.edge.maps);
    assert!(shown.contains("Networks") && shown.contains("Shares"), "{shown}");
}

#[test]
fn expressions_that_take_more_than_linear_time_are_named_with_their_meaning() {
    let done = server("location ~ (a)\\1 { return 200; } location / { rewrite (?<!a)b /c; root /x; }");
    let done = done.drops("a back reference in \"(a)\\1\" is not understood").drops("a look-behind");
    assert_eq!(done.edge.routes.len(), 1);
}

#[test]
fn variables_that_do_not_exist_here_are_said_and_empty() {
    let done = server("location / { return 200 \"a$request_body\"; }").drops("$request_body is empty here");
    assert_eq!(text(done.answer(ROUTE).body.as_ref().unwrap()), "a");
    assert!(super::refused("server { return 200 $nonsense; }").contains("unknown \"nonsense\" variable"));
}

#[test]
fn a_return_behind_an_if_has_the_headers_of_the_if() {
    let done = server("location / { if ($arg_c) { add_header X-C $arg_c; } return 200 x; }").clean();
    let Step::If { route: Some(route), .. } = &done.route(ROUTE).steps[0] else { panic!() };
    let under = &done.edge.routes[route.index()];
    assert_eq!((under.response_headers.len(), done.answer(&under.name).status), (1, 200));
    assert_eq!(done.answer(ROUTE).status, 200);
}
