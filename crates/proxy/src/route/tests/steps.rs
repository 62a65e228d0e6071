//! What steps do before a route acts. The expected values were seen in nginx 1.22 with the same directives.

use mainstay_config::plan::edge::*;
use mainstay_core::name::RouteId;

use super::super::rig::*;

fn with(name: &str, path: PathMatch, steps: Vec<Step>) -> Route {
    Route { steps, ..route(name, path) }
}

fn echo() -> Route {
    Route { action: answer(200, "uri={uri} args={args}"), ..route("echo", prefix("/echo")) }
}

fn set(name: &str, value: &str) -> Step {
    Step::Set { name: name.to_owned(), value: text(value) }
}

fn when(condition: Condition, steps: Vec<Step>) -> Step {
    Step::If { when: condition, steps, route: None }
}

fn matches(value: &str, pattern: &str) -> Condition {
    Condition::Match { value: text(value), pattern: pattern.into(), ignore_case: false, not: false }
}

fn says(body: &str) -> Step {
    Step::Answer(Answer { status: 200, location: None, body: Some(text(body)), media: None })
}

#[test]
fn a_rewrite_takes_the_query_along_unless_it_ends_with_a_question_mark() {
    gets(
        vec![
            with("a", prefix("/a/"), vec![rewrite("^/a/(.*)$", "/echo/{1}", Then::Again)]),
            with("b", prefix("/b/"), vec![rewrite("^/b/(.*)$", "/echo?x={1}", Then::Again)]),
            with("c", prefix("/c/"), vec![rewrite("^/c/(.*)$", "/echo?x={1}?", Then::Again)]),
            with("d", prefix("/d/"), vec![rewrite("^/d/(.*)$", "/echo?", Then::Again)]),
            echo(),
        ],
        &[
            ("/a/x?z=1", "200 uri=/echo/x args=z=1"),
            ("/b/x?z=1", "200 uri=/echo args=x=x&z=1"),
            ("/b/a%20b%26c?z=1", "200 uri=/echo args=x=a%20b%26c&z=1"),
            ("/b/a&b?z=1", "200 uri=/echo args=x=a&b&z=1"),
            ("/b/a+b&c?z=1", "200 uri=/echo args=x=a%2Bb%26c&z=1"),
            ("/c/a?z=1", "200 uri=/echo args=x=a"),
            ("/d/a?z=1", "200 uri=/echo args="),
        ],
    );
}

#[test]
fn a_redirect_by_rewrite_is_escaped_where_a_url_asks_for_it() {
    gets(
        vec![
            with("a", prefix("/a/"), vec![rewrite("^/a/(.*)$", "/t/{1}", Then::Redirect(302))]),
            with(
                "b",
                prefix("/b/"),
                vec![rewrite("^/b/(.*)$", "http://h.test/t/{1}?y={1}", Then::Redirect(301))],
            ),
            with("c", prefix("/c/"), vec![rewrite("^/c/", "http://h.test{uri}?", Then::Redirect(301))]),
        ],
        &[
            ("/a/x", "302 > http://example.com:8080/t/x"),
            ("/a/a%20b?z=1", "302 > http://example.com:8080/t/a%20b?z=1"),
            ("/a/a%3Fb?z=1", "302 > http://example.com:8080/t/a%3Fb?z=1"),
            ("/b/a%26b?z=1", "301 > http://h.test/t/a&b?y=a%26b&z=1"),
            ("/b/a", "301 > http://h.test/t/a?y=a"),
            ("/c/x%0d%0aSet-Cookie:%20a=b?z", "301 > http://h.test/c/x%0D%0ASet-Cookie:%20a=b"),
        ],
    );
}

#[test]
fn without_a_flag_further_rewrites_see_the_new_path_and_a_route_is_chosen_anew() {
    let steps = vec![
        set("x", "{uri}"),
        rewrite("^/m/(.*)$", "/m2/{1}", Then::Continue),
        rewrite("^/m2/(.*)$", "/echo/{1}", Then::Continue),
        set("y", "{uri}"),
    ];
    let echo = Route { action: answer(200, "x={x} y={y} uri={uri}"), ..echo() };
    gets(vec![with("m", prefix("/m/"), steps), echo], &[("/m/1", "200 x=/m/1 y=/echo/1 uri=/echo/1")]);
}

#[test]
fn break_keeps_the_route_and_ends_its_steps() {
    let own = |steps| Route { action: answer(200, "own {uri}"), ..with("own", prefix("/own/"), steps) };
    let again = rewrite("^/echo/(.*)$", "/no/{1}", Then::Again);
    for steps in [
        vec![rewrite("^/own/(.*)$", "/echo/{1}", Then::Break), again.clone()],
        vec![rewrite("^/own/(.*)$", "/echo/{1}", Then::Continue), Step::Break, again],
    ] {
        gets(vec![own(steps), echo()], &[("/own/1", "200 own /echo/1")]);
    }
    let stopped = own(vec![when(Condition::True(text("{arg_b}")), vec![Step::Break]), says("not broken")]);
    gets(
        vec![stopped],
        &[("/own/?b=1", "200 own /own/"), ("/own/", "200 not broken"), ("/own/?b=0", "200 not broken")],
    );
}

#[test]
fn a_circle_ends_with_500() {
    gets(vec![with("loop", prefix("/"), vec![rewrite("^", "/again", Then::Again)])], &[("/", "500")]);
    let mut pages = with("page", prefix("/"), vec![rewrite("^", "/again", Then::Again)]);
    pages.errors = vec![ErrorPage { codes: vec![500], page: Page::Path(text("/500")), status: None }];
    gets(vec![pages], &[("/", "500")]);
}

#[test]
fn a_rewrite_to_nothing_is_500_and_one_that_climbs_400() {
    let steps = vec![rewrite("^/e/(.*)$", "{1}", Then::Again), rewrite("^/d/", "/x/{arg_p}", Then::Again)];
    gets(
        vec![with("r", prefix("/"), steps)],
        &[
            ("/e/", "500"),
            ("/e/x", "200 r"),
            ("/d/?p=../../etc", "400"),
            ("/d/?p=..", "400"),
            ("/d/?p=a..b", "200 r"),
        ],
    );
}

#[test]
fn conditions_compare_and_their_groups_stay() {
    let steps = vec![
        set("a", "{1}"),
        when(matches("{http_x}", "q(.)"), vec![set("b", "{1}")]),
        says("a={a} b={b} one={1} two={2}"),
    ];
    let one = snapshot(edge(vec![with("rx", regex("^/rx/(.)(.)"), steps)]));
    let ask = |x: &str| {
        let head = format!("GET /rx/12 HTTP/1.1\r\nHost: a\r\n{x}\r\n");
        outcome(&one, &mut from(&head, "203.0.113.9:1"))
    };
    assert_eq!(ask("X: q9\r\n"), "200 a=1 b=9 one=9 two=");
    assert_eq!(ask("X: z\r\n"), "200 a=1 b= one= two=");
    let not = |not| Condition::Equal { value: text("{arg_v}"), to: text("a"), not };
    let steps = vec![when(not(false), vec![says("equal")]), when(not(true), vec![says("other")])];
    gets(
        vec![with("eq", prefix("/"), steps)],
        &[("/?v=a", "200 equal"), ("/?v=b", "200 other"), ("/", "200 other")],
    );
}

#[test]
fn files_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("there"), "x").unwrap();
    let root = dir.path().to_str().unwrap();
    let there = |kind, not| Condition::File { path: text(&format!("{root}{{uri}}")), kind, not };
    let steps = vec![
        when(there(FileKind::Executable, false), vec![says("executable")]),
        when(there(FileKind::File, false), vec![says("file")]),
        when(there(FileKind::Directory, false), vec![says("directory")]),
        when(there(FileKind::Any, true), vec![says("nothing")]),
    ];
    let mut run = with("f", prefix("/"), steps);
    if let Step::If { when: Condition::File { kind, .. }, .. } = &mut run.steps[0] {
        *kind = FileKind::File;
    }
    gets(vec![run], &[("/there", "200 executable"), ("/", "200 directory"), ("/none", "200 nothing")]);
}

#[test]
fn by_a_condition_another_route_goes_on_with_the_path_as_it_is() {
    let other = Route { action: answer(200, "other {uri}"), ..route("other", PathMatch::Never) };
    let own = with(
        "own",
        prefix("/"),
        vec![
            Step::If {
                when: Condition::True(text("{arg_a}")),
                steps: vec![set("v", "1")],
                route: Some(RouteId(1)),
            },
            set("w", "2"),
        ],
    );
    let own = Route { action: answer(200, "own {v}{w}"), ..own };
    gets(vec![own, other], &[("/x?a=1", "200 other /x"), ("/x", "200 own 2")]);
}

#[test]
fn steps_of_the_host_run_once_for_rewrites_and_again_for_internal_redirects() {
    let once = || Step::Once(vec![set("n", "{n}x"), rewrite("^/srv/(.*)$", "/loc/{1}", Then::Continue)]);
    let loc = Route { action: answer(200, "n={n} {uri}"), ..with("loc", prefix("/loc"), vec![once()]) };
    let other = with("other", prefix("/"), vec![once()]);
    let again = with("again", exact("/last"), vec![once(), rewrite("^", "/loc", Then::Again)]);
    let mut err = Route { action: status(404), ..with("err", exact("/err"), vec![once()]) };
    err.errors = vec![ErrorPage { codes: vec![404], page: Page::Path(text("/loc")), status: None }];
    gets(
        vec![loc, other, again, err],
        &[
            ("/loc", "200 n=x /loc"),
            ("/srv/a", "200 n=x /loc/a"),
            ("/last", "200 n=x /loc"),
            ("/err", "404 n=xx /loc"),
        ],
    );
}

#[test]
fn a_body_that_is_too_large_is_refused_before_an_answer_but_after_the_steps_of_the_host() {
    let mut bounded = with(
        "b",
        prefix("/"),
        vec![Step::Once(vec![when(matches("{uri}", "^/host"), vec![says("host")])]), says("own")],
    );
    bounded.body_max = Some(5);
    let snapshot = snapshot(edge(vec![bounded]));
    for (target, length, expected) in [("/own", 6, "413"), ("/own", 5, "200 own"), ("/host", 6, "200 host")] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(outcome(&snapshot, &mut from(&head, "203.0.113.9:1")), expected);
    }
}
