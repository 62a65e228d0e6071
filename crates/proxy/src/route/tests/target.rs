//! The target and method that a backend gets. The expected values were seen in nginx 1.22.

use mainstay_config::plan::edge::*;

use super::super::rig::*;
use super::super::{decide, request_method};

fn to(name: &str, path: PathMatch, uri: Uri) -> Route {
    Route { action: Action::Forward(Box::new(Forward { uri, ..forward() })), ..route(name, path) }
}

#[test]
fn an_untouched_target_passes_as_it_came() {
    gets(
        vec![to("api", prefix("/"), Uri::Same)],
        &[
            ("/same/a%2Fb//c/../d", "forward api /same/a%2Fb//c/../d"),
            ("/%e4%b8?x=%20&y", "forward api /%e4%b8?x=%20&y"),
        ],
    );
}

#[test]
fn a_prefix_is_replaced_on_the_decoded_path() {
    let odd = "/p/a%20b%22%3C%5E%60%7B%7C%7D%5C%25%E4%B8%AD&+;=:@~!x?q=%20";
    gets(
        vec![
            to("api", prefix("/p/"), Uri::Prefix("/q/".into())),
            to("one", exact("/one"), Uri::Prefix("/".into())),
        ],
        &[
            (odd, "forward api /q/a%20b%22%3C%5E%60%7B%7C%7D%5C%25%E4%B8%AD&+;=:@~!x?q=%20"),
            ("/p/../p//x/./y", "forward api /q/x/y"),
            ("/p/%C4%E3", "forward api /q/%C4%E3"),
            ("/one?a", "forward one /?a"),
        ],
    );
}

#[test]
fn a_rewritten_path_is_encoded_anew_and_its_prefix_stays() {
    let steps = |flag| vec![rewrite("^/r/(.*)$", "/new/{1}", flag)];
    let mut same = to("same", prefix("/r/"), Uri::Same);
    same.steps = steps(Then::Break);
    gets(vec![same], &[("/r/a%20b%2F?z=1", "forward same /new/a%20b/?z=1")]);
    let mut replaced = to("replaced", prefix("/r/"), Uri::Prefix("/u/".into()));
    replaced.steps = steps(Then::Break);
    gets(vec![replaced], &[("/r/a%20b?z=1", "forward replaced /new/a%20b?z=1")]);
    let mut again = to("again", prefix("/r/"), Uri::Same);
    again.steps = steps(Then::Again);
    gets(
        vec![again, to("new", prefix("/new/"), Uri::Prefix("/u/".into()))],
        &[("/r/a%20b?z=1", "forward new /u/a%20b?z=1")],
    );
}

#[test]
fn a_text_is_the_target_and_can_not_leave_its_line() {
    gets(
        vec![
            to("text", prefix("/t"), Uri::Text(text("/x{uri}{is_args}{args}"))),
            to("query", prefix("/q"), Uri::Text(text("?{args}"))),
            to("empty", prefix("/e"), Uri::Text(text("{arg_none}"))),
        ],
        &[
            ("/t/a?b=c", "forward text /x/t/a?b=c"),
            ("/t%20HTTP/1.1%0d%0aX:%20y", "forward text /x/t%20HTTP/1.1%0D%0AX:%20y"),
            ("/q?a=b", "forward query /?a=b"),
            ("/e?a=b", "forward empty /e?a=b"),
        ],
    );
}

#[test]
fn the_method_is_the_clients_unless_another_one_is_named() {
    for (named, expected) in
        [(None, "POST"), (Some("PUT"), "PUT"), (Some("{arg_m}"), "POST"), (Some("P T"), "POST")]
    {
        let mut one = to("api", prefix("/"), Uri::Same);
        if let Action::Forward(forward) = &mut one.action {
            forward.method = named.map(text);
        }
        let snapshot = snapshot(edge(vec![one]));
        let mut exchange = from("POST /?m= HTTP/1.1\r\nHost: a\r\n\r\n", "203.0.113.9:1");
        decide::begin(&snapshot, &Open, &mut exchange);
        let mut method = Vec::new();
        request_method(&snapshot, &exchange, &mut method);
        assert_eq!(String::from_utf8(method).unwrap(), expected);
    }
}
