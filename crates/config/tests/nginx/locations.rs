//! Which location takes a request.

use super::{http, server, text};
use mainstay_config::plan::edge::{Action, Host, PathMatch};

#[test]
fn the_five_kinds_of_locations_are_five_kinds_of_routes() {
    let done = server(
        "location = /a { return 201; } location /b { return 202; } location ^~ /c/ { return 203; }
         location ~ \\.d$ { return 204; } location ~* \\.e$ { return 205; }",
    )
    .clean();
    let path = |name: &str| done.route(name).path.clone();
    assert_eq!(path("example.org=/a"), PathMatch::Exact("/a".to_owned()));
    assert_eq!(path("example.org/b"), PathMatch::Prefix { path: "/b".to_owned(), last: false });
    assert_eq!(path("example.org/c/"), PathMatch::Prefix { path: "/c/".to_owned(), last: true });
    let regex = |pattern: &str, ignore_case| PathMatch::Regex { pattern: pattern.to_owned(), ignore_case };
    assert_eq!(path("example.org~_.d_"), regex("\\.d$", false));
    assert_eq!(path("example.org~_.e_"), regex("\\.e$", true));
    assert!(
        done.edge
            .routes
            .iter()
            .all(|route| route.hosts == [Host::Exact("example.org".to_owned()), Host::Any])
    );
}

#[test]
fn a_modifier_may_stick_to_its_path() {
    let done = server("location =/a { return 201; } location ~^/b { return 202; }").clean();
    assert_eq!(done.route("example.org=/a").path, PathMatch::Exact("/a".to_owned()));
    assert!(matches!(done.route("example.org~^/b").path, PathMatch::Regex { .. }));
}

#[test]
fn expressions_keep_the_order_of_the_file() {
    let done =
        server("location ~ a { return 201; } location /x { return 200; } location ~ b { return 202; }")
            .clean();
    let of = |pattern: &str| {
        done.edge
            .routes
            .iter()
            .position(|route| matches!(&route.path, PathMatch::Regex { pattern: p, .. } if p == pattern))
    };
    assert!(of("a") < of("b"));
}

#[test]
fn what_no_location_takes_the_server_answers_from_its_root() {
    let done = server("root /srv/www; location /api { return 204; }").clean();
    let Action::Files(files) = &done.route("example.org/").action else { panic!("{}", done.import.toml) };
    assert_eq!(text(&files.root), "/srv/www");
    let done = server("location / { return 204; }").clean();
    assert_eq!(done.edge.routes.len(), 1);
}

#[test]
fn an_expression_inside_a_prefix_is_bound_to_it_and_asked_before_those_outside() {
    let done = server(
        "location ~ \\.php$ { return 201; } location /a/ { return 202; location ~ \\.php$ { return 203; } }",
    );
    let patterns: Vec<(String, u16)> = done
        .edge
        .routes
        .iter()
        .filter_map(|route| match (&route.path, &route.action) {
            (PathMatch::Regex { pattern, .. }, Action::Answer(answer)) => {
                Some((pattern.clone(), answer.status))
            }
            _ => None,
        })
        .collect();
    assert_eq!(patterns, [("^(?-i:/a/).*?(?:\\.php$)".to_owned(), 203), ("\\.php$".to_owned(), 201)]);
}

#[test]
fn longer_prefixes_outside_end_the_search_where_nothing_else_is_searched() {
    let done =
        server("location / { return 200; location ~ x { return 201; } } location /api/ { return 202; }")
            .clean();
    assert_eq!(
        done.route("example.org/api/").path,
        PathMatch::Prefix { path: "/api/".to_owned(), last: true }
    );
    assert_eq!(done.route("example.org/").path, PathMatch::Prefix { path: "/".to_owned(), last: false });
}

#[test]
fn an_expression_inside_an_expression_goes_on_in_its_place() {
    let done = server("location ~ ^/a { return 201; location ~ b$ { return 202; } }").clean();
    let outer = done.route("example.org~^/a");
    let shown = format!("{:?}", outer.steps);
    assert!(shown.contains("pattern: \"b$\"") && shown.contains("Break"), "{shown}");
    assert_eq!(done.answer("example.org~b_").status, 202);
    assert_eq!(done.route("example.org~b_").path, PathMatch::Never);
}

#[test]
fn a_directory_with_a_backend_takes_its_own_name_without_the_slash() {
    let done = server("location /a/ { proxy_pass http://127.0.0.1:81; }").clean();
    let answer = done.answer("example.org=/a");
    assert_eq!(answer.status, 301);
    assert_eq!(text(answer.location.as_ref().unwrap()), "/a/{Known(IsArgs)}{Known(Args)}");
    let done = server("location /a/ { proxy_pass http://127.0.0.1:81; } location /a { return 204; }").clean();
    assert!(!done.edge.routes.iter().any(|route| route.path == PathMatch::Exact("/a".to_owned())));
}

#[test]
fn named_locations_are_reached_by_name_alone() {
    let done =
        server("location / { try_files $uri @back; } location @back { proxy_pass http://127.0.0.1:81; }")
            .clean();
    assert_eq!(done.route("example.org@back").path, PathMatch::Never);
    let Action::Files(files) = &done.route("example.org/").action else { panic!() };
    assert!(format!("{:?}", files.fallback).contains("Route"), "{files:?}");
}

#[test]
fn limit_except_makes_a_second_route_for_the_other_methods() {
    let done =
        server("location / { limit_except GET { deny all; } proxy_pass http://127.0.0.1:81; }").clean();
    assert_eq!(done.route("example.org/").methods, ["GET", "HEAD"]);
    let other = done.route("example.org/-except");
    assert!(other.methods.is_empty() && !other.access[0].allow);
    assert!(matches!(other.action, Action::Forward(_)));
}

#[test]
fn internal_locations_answer_404_from_outside() {
    assert!(server("location /x { internal; return 200; }").clean().route("example.org/x").internal);
}

#[test]
fn captures_of_a_location_are_variables() {
    let done = server("location ~ ^/u/(?<Name>[a-z]+)/(.*)$ { alias /home/$Name/$2; }").clean();
    let Action::Files(files) = &done.edge.routes[0].action else { panic!() };
    assert_eq!(text(&files.root), "/home/{Own(\"name\")}/{Group(2)}");
    assert!(files.alias);
}

#[test]
fn the_same_locations_of_two_servers_have_names_of_their_own() {
    let done = http(
        "server { listen 80; location /a { return 201; } } server { listen 81; location /a { return 202; } }",
    );
    assert_eq!(done.clean().edge.routes.len(), 4);
}
