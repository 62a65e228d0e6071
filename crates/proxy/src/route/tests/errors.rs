//! Pages for statuses, answers and internal redirects. The expected values were seen in nginx 1.22 with the same directives.

use mainstay_config::plan::edge::*;
use mainstay_core::name::RouteId;

use super::super::decide::{begin, fail, judge};
use super::super::rig::*;
use super::super::{request_fields, request_method, response_fields, shown_status};
use crate::exchange::{Decision, Verdict};

fn failing(name: &str, code: u16, page: Page, shown: Option<u16>) -> Route {
    let errors = vec![ErrorPage { codes: vec![code, 418], page, status: shown }];
    Route { action: status(code), errors, ..route(name, exact(&format!("/{name}"))) }
}

fn page() -> Route {
    Route {
        internal: true,
        action: answer(200, "page {uri} {args} {request_method}"),
        ..route("page", exact("/page"))
    }
}

fn to(path: &str) -> Page {
    Page::Path(text(path))
}

#[test]
fn a_page_keeps_the_status_unless_another_is_named() {
    gets(
        vec![
            failing("kept", 404, to("/page?a={arg_x}"), None),
            failing("own", 404, to("/page"), Some(0)),
            failing("other", 404, to("/page"), Some(403)),
            failing("url", 404, Page::Url(text("http://u.test{uri}")), None),
            failing("moved", 404, Page::Url(text("http://u.test/")), Some(301)),
            failing("odd", 404, Page::Url(text("/p")), Some(200)),
            page(),
        ],
        &[
            ("/kept?x=1", "404 page /page a=1 GET"),
            ("/own", "200 page /page  GET"),
            ("/other", "403 page /page  GET"),
            ("/url", "302 > http://u.test/url"),
            ("/moved", "301 > http://u.test/"),
            ("/odd", "302 > http://example.com:8080/p"),
            ("/page", "404"),
        ],
    );
}

#[test]
fn a_page_that_redirects_shows_the_status_of_the_redirect() {
    let moved = Answer { status: 302, location: Some(text("http://u.test/")), body: None, media: None };
    let away = Route { action: Action::Answer(moved), ..route("away", exact("/away")) };
    gets(
        vec![failing("kept", 404, to("/away"), None), failing("good", 404, to("/away"), Some(200)), away],
        &[("/kept", "302 > http://u.test/"), ("/good", "302 > http://u.test/")],
    );
}

#[test]
fn an_answer_with_a_body_asks_no_page() {
    let own = Route { action: answer(404, "own body"), ..failing("own", 404, to("/page"), None) };
    gets(vec![own, page()], &[("/own", "404 own body")]);
}

#[test]
fn while_a_page_is_made_there_is_no_other_page() {
    let missing = failing("missing", 503, to("/page"), None);
    gets(
        vec![
            failing("a", 404, to("/missing"), None),
            missing,
            page(),
            failing("b", 404, to("/nowhere"), None),
        ],
        &[("/a", "503"), ("/b", "404"), ("/missing", "503 page /page  GET")],
    );
}

#[test]
fn a_page_by_path_is_asked_for_with_get_and_one_by_name_as_the_request_came() {
    let named = Route { action: answer(200, "{request_method} {uri}"), ..route("named", PathMatch::Never) };
    let routes = vec![
        failing("path", 404, to("/page"), None),
        failing("name", 404, Page::Route(RouteId(2)), None),
        named,
        page(),
    ];
    let snapshot = snapshot(edge(routes));
    for (method, target, expected) in [
        ("POST", "/path", "404 page /page  GET"),
        ("HEAD", "/path", "404 page /page  HEAD"),
        ("POST", "/name", "404 POST /name"),
    ] {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected);
    }
}

#[test]
fn an_error_on_the_way_to_a_backend_gets_its_page() {
    let mut api = Route { action: Action::Forward(Box::new(forward())), ..route("api", prefix("/api")) };
    api.errors = vec![ErrorPage { codes: vec![502, 504], page: to("/page"), status: None }];
    let snapshot = snapshot(edge(vec![api, page()]));
    for (code, expected) in [(502, "502 page /page  GET"), (503, "503")] {
        let mut exchange = get("/api/x");
        assert!(matches!(begin(&snapshot, &Open, &mut exchange), Decision::Forward));
        let decision = fail(&snapshot, &Open, &mut exchange, code);
        assert_eq!(said(&snapshot, &exchange, decision), expected);
    }
}

#[test]
fn a_page_from_a_backend_has_the_status_of_the_error() {
    let pages = Route { action: Action::Forward(Box::new(forward())), ..route("pages", prefix("/pages/")) };
    let snapshot = snapshot(edge(vec![failing("err", 404, to("/pages/404"), None), pages]));
    let mut exchange = from("POST /err HTTP/1.1\r\nHost: a\r\n\r\n", "203.0.113.9:1");
    assert_eq!(outcome(&snapshot, &mut exchange), "forward pages /pages/404");
    let mut method = Vec::new();
    request_method(&snapshot, &exchange, &mut method);
    assert_eq!((shown_status(&exchange, 200), &method[..]), (404, &b"GET"[..]));
}

#[test]
fn a_backends_own_status_gets_a_page_only_when_it_is_intercepted_and_there_is_one() {
    let api = |intercept_errors| {
        let mut api = Route {
            action: Action::Forward(Box::new(Forward { intercept_errors, ..forward() })),
            ..route("api", prefix("/"))
        };
        api.errors = vec![ErrorPage { codes: vec![401, 404], page: to("/page"), status: None }];
        snapshot(edge(vec![api, page()]))
    };
    for (intercept, status, expected) in [
        (true, 404, Some("404 page /page  GET")),
        (true, 401, Some("401 page /page  GET")),
        (true, 503, None),
        (true, 200, None),
        (false, 404, None),
    ] {
        let snapshot = api(intercept);
        let mut exchange = get("/x");
        begin(&snapshot, &Open, &mut exchange);
        let reply = Reply(status, vec![("WWW-Authenticate", "Basic")]);
        match judge(&snapshot, &Open, &mut exchange, &reply) {
            Verdict::Pass => assert_eq!(expected, None),
            Verdict::Instead(decision) => {
                if let Decision::Respond(response) = &decision {
                    let asks = response.fields.iter().any(|(name, _)| &**name == "WWW-Authenticate");
                    assert_eq!(asks, status == 401);
                }
                assert_eq!(Some(said(&snapshot, &exchange, decision).as_str()), expected);
            }
        }
    }
}

#[test]
fn x_accel_redirect_leads_to_another_route_and_takes_fields_along() {
    let files = Files {
        root: text("/srv"),
        alias: false,
        index: Vec::new(),
        tries: Vec::new(),
        fallback: None,
        listing: false,
        etag: false,
        precompressed: false,
        ranges_max: 64,
        later_dates: false,
    };
    let protected =
        Route { internal: true, action: Action::Files(Box::new(files)), ..route("protected", prefix("/p/")) };
    let named = Route { action: answer(200, "named"), ..route("@named", PathMatch::Never) };
    let api = |accel| Route {
        action: Action::Forward(Box::new(Forward { accel, ..forward() })),
        ..route("api", prefix("/"))
    };
    for (accel, header, expected) in [
        (true, "/p/a%20b.txt", Some("200 /srv/p/a b.txt")),
        (true, "/p/../../etc", Some("404")),
        (true, "@named", Some("200 named")),
        (true, "@other", Some("500")),
        (true, "", None),
        (false, "/p/a.txt", None),
    ] {
        let snapshot = snapshot(edge(vec![api(accel), protected.clone(), named.clone()]));
        let mut exchange = get("/download");
        begin(&snapshot, &Open, &mut exchange);
        let reply = Reply(
            200,
            vec![("X-Accel-Redirect", header), ("Content-Disposition", "attachment"), ("X-Other", "1")],
        );
        match judge(&snapshot, &Open, &mut exchange, &reply) {
            Verdict::Pass => assert_eq!(expected, None),
            Verdict::Instead(Decision::Respond(response)) => {
                let taken = response.fields.iter().find(|(name, _)| &**name == "Content-Disposition");
                assert_eq!(taken.map(|(_, value)| &value[..]), Some(&b"attachment"[..]));
                assert!(!response.fields.iter().any(|(name, _)| &**name == "X-Other"));
                let decision = Decision::Respond(response);
                assert_eq!(Some(said(&snapshot, &exchange, decision).as_str()), expected, "{header}");
            }
            Verdict::Instead(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn redirects_are_completed_with_scheme_host_and_port() {
    let redirect = |location: &str| {
        Action::Answer(Answer { status: 302, location: Some(text(location)), body: None, media: None })
    };
    let routes = vec![
        Route { action: redirect("{arg_u}"), ..route("r", prefix("/r")) },
        Route { action: redirect("https://{host}{request_uri}"), ..route("https", prefix("/s")) },
        Route { action: redirect("http://h.test{uri}"), ..route("inject", prefix("/i")) },
    ];
    let snapshot = snapshot(edge(routes));
    for (target, host, expected) in [
        ("/r?u=/foo", "a.test:99", "302 > http://a.test:8080/foo"),
        ("/r?u=/foo", "[::1]", "302 > http://[::1]:8080/foo"),
        ("/r?u=/foo", "", "302 > http://192.0.2.1:8080/foo"),
        ("/r?u=http://x/", "a", "302 > http://x/"),
        ("/r?u=foo/bar", "a", "302 > foo/bar"),
        ("/s/a%20b?c=d", "A.test:80", "302 > https://a.test/s/a%20b?c=d"),
        ("/i/%0d%0aSet-Cookie:%20a%E4%B8%AD", "a", "302 > http://h.test/i/%0D%0ASet-Cookie:%20a%E4%B8%AD"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected);
    }
}

#[test]
fn statuses_without_a_body_come_with_a_short_page_and_444_without_a_word() {
    let with = |name: &str, code| Route { action: status(code), ..route(name, exact(&format!("/{name}"))) };
    let snapshot = snapshot(edge(vec![with("a", 403), with("b", 204), with("c", 444), with("d", 200)]));
    for (target, expected) in [("/a", "403"), ("/b", "204"), ("/c", "closed"), ("/d", "200")] {
        assert_eq!(outcome(&snapshot, &mut get(target)), expected);
    }
    let Decision::Respond(response) = begin(&snapshot, &Open, &mut get("/a")) else { panic!("a response") };
    let crate::response::Body::Bytes(body) = response.body else { panic!("a page") };
    assert!(String::from_utf8_lossy(&body).contains("<h1>403 Forbidden</h1>"));
}

#[test]
fn files_fall_back_to_paths_routes_statuses_and_actions() {
    let files = |fallback| {
        Action::Files(Box::new(Files {
            root: text("/srv"),
            alias: false,
            index: Vec::new(),
            tries: Vec::new(),
            fallback,
            listing: false,
            etag: false,
            precompressed: false,
            ranges_max: 64,
            later_dates: false,
        }))
    };
    let with =
        |name: &str, fallback| Route { action: files(fallback), ..route(name, prefix(&format!("/{name}/"))) };
    let api = Action::Forward(Box::new(forward()));
    let routes = vec![
        with("path", Some(Fallback::Path(text("/page?q={uri}")))),
        with("route", Some(Fallback::Route(RouteId(4)))),
        with("status", Some(Fallback::Status(403))),
        with("action", Some(Fallback::Action(Box::new(api)))),
        Route { action: answer(200, "named {uri}"), ..route("named", PathMatch::Never) },
        page(),
    ];
    let snapshot = snapshot(edge(routes));
    for (target, expected) in [
        ("/path/a.txt", "200 /srv/path/a.txt"),
        ("/path/a?x", "200 page /page q=/path/a GET"),
        ("/route/a", "200 named /route/a"),
        ("/status/a", "403"),
        ("/action/a?b", "forward action /action/a?b"),
    ] {
        let mut exchange = get(target);
        assert_eq!(outcome(&snapshot, &mut exchange), expected);
        let mut sink = Collected::default();
        request_fields(&snapshot, &exchange, &mut sink);
        assert_eq!(sink.all("host").len(), usize::from(target.starts_with("/action")));
        response_fields(&snapshot, &exchange, &Reply(200, vec![]), &mut sink);
    }
}

#[test]
fn a_redirect_may_have_a_page_and_goes_out_as_it_is_where_the_route_says_so() {
    let redirect = |location: &str| {
        Action::Answer(Answer { status: 302, location: Some(text(location)), body: None, media: None })
    };
    let page = ErrorPage { codes: vec![302], page: Page::Path(text("/page")), status: None };
    let routes = vec![
        Route { relative_redirects: true, action: redirect("/to"), ..route("relative", exact("/a")) },
        Route { errors: vec![page], action: redirect("/to"), ..route("paged", exact("/b")) },
        Route { action: answer(200, "a page"), ..route("page", exact("/page")) },
    ];
    let snapshot = snapshot(edge(routes));
    assert_eq!(outcome(&snapshot, &mut get("/a")), "302 > /to");
    let Decision::Respond(response) = begin(&snapshot, &Open, &mut get("/b")) else { panic!("a response") };
    let location = response.fields.iter().find(|(name, _)| &**name == "Location");
    assert_eq!(response.status, 302);
    assert_eq!(location.map(|(_, to)| &to[..]), Some(&b"http://example.com:8080/to"[..]));
    let crate::response::Body::Bytes(body) = response.body else { panic!("a page") };
    assert_eq!(body, "a page");
}
