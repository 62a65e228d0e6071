//! Who may come in, and how often.

use super::{http, server};
use mainstay_config::plan::edge::Auth;

#[test]
fn rules_of_a_location_take_the_place_of_those_around_it() {
    let done =
        server("allow 10.0.0.0/8; deny all; location / { root /a; } location /b { allow all; root /a; }")
            .clean();
    let rules = |route: &str| done.route(route).access.iter().map(|rule| rule.allow).collect::<Vec<_>>();
    assert_eq!(rules("example.org/"), [true, false]);
    assert_eq!(rules("example.org/b"), [true]);
}

#[test]
fn the_order_of_allow_and_deny_is_kept() {
    let done = server("deny 10.1.0.0/16; allow 10.0.0.0/8; deny all;").clean();
    assert_eq!(
        done.route("example.org/").access.iter().map(|rule| rule.allow).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn passwords_and_satisfy_any_are_taken_over() {
    let done = server(
        "satisfy any; allow 127.0.0.1; deny all; auth_basic \"closed\"; auth_basic_user_file htpasswd;
         location / { root /a; } location /open { auth_basic off; root /a; }",
    )
    .clean();
    let route = done.route("example.org/");
    assert!(route.satisfy_any);
    assert!(
        matches!(&route.auth, Some(Auth::Basic { file: Some(file), .. }) if file.to_str() == Some("/etc/nginx/htpasswd"))
    );
    assert!(done.route("example.org/open").auth.is_none());
}

#[test]
fn rates_and_numbers_at_once_name_their_zones() {
    let done = http(
        "limit_req_zone $binary_remote_addr zone=one:10m rate=10r/s; limit_req_zone $uri zone=two:1m rate=30r/m;
         limit_conn_zone $server_name zone=one:10m;
         server { server_name example.org; limit_req zone=one burst=5 nodelay; location / { root /a; }
            location /b { limit_req zone=one; limit_req zone=two burst=7 delay=3; limit_req_status 429; limit_conn one 4; root /a; }
            location /dry { limit_req zone=one; limit_req_dry_run on; root /a; } }",
    )
    .clean();
    let rate = done.route("example.org/").rates[0];
    assert_eq!((rate.burst, rate.undelayed, rate.status), (5, u32::MAX, 503));
    let b = done.route("example.org/b");
    assert_eq!((b.rates[0].burst, b.rates[0].undelayed, b.rates[0].status), (0, 0, 429));
    assert_eq!((b.rates[1].burst, b.rates[1].undelayed), (7, 3));
    assert_eq!((b.concurrency[0].max, b.concurrency[0].status), (4, 503));
    assert!(done.route("example.org/dry").rates.is_empty());
    assert_eq!(done.edge.zones.iter().map(|zone| zone.rate_millis).collect::<Vec<_>>(), [10_000, 500, 0]);
}

#[test]
fn the_bodys_bound_of_the_location_wins_and_zero_is_none() {
    let done = server("client_max_body_size 1024M; location / { client_max_body_size 100m; root /a; } location /b { client_max_body_size 0; root /a; }").clean();
    assert_eq!(done.route("example.org/").body_max, Some(100 << 20));
    assert_eq!(done.route("example.org/b").body_max, None);
}

#[test]
fn what_cannot_be_checked_stays_closed() {
    let done =
        server("auth_request /auth; location / { root /a; } location /open { auth_request off; root /a; }");
    let done = done.drops("auth_request is left out: everybody is kept out");
    assert!(!done.route("example.org/").access[0].allow);
    assert!(done.route("example.org/open").access.is_empty());
}

#[test]
fn referers_become_a_map() {
    let done = server(
        "location / { valid_referers none blocked server_names *.a.example b.example/x ~\\.c\\.; if ($invalid_referer) { return 403; } root /a; }",
    )
    .clean();
    assert_eq!(done.edge.maps[0].name, "invalid_referer");
}
