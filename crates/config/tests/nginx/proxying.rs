//! `proxy_pass` and its directives, `upstream` and its servers.

use std::time::Duration;

use super::{http, server, text};
use mainstay_config::nginx::Severity;
use mainstay_config::plan::edge::{
    BackendHttp, Balance, HeaderChange, PathMatch, RetryOn, Target, TextPattern, Uri,
};

const ROUTE: &str = "example.org/";

#[test]
fn nginxs_defaults_that_differ_are_written_out() {
    let done = server("location / { proxy_pass http://127.0.0.1:81; }").clean();
    let forward = done.forward(ROUTE);
    assert_eq!(
        (text(&forward.host).as_str(), forward.forwarded, forward.upgrade),
        ("127.0.0.1:81", false, false)
    );
    assert_eq!(forward.connect_timeout, Duration::from_secs(60));
    assert!(forward.buffer_request && forward.accel && !forward.retry.non_idempotent);
    assert!(
        forward.hide.iter().any(|name| name == "server") && forward.hide.iter().any(|name| name == "date")
    );
    assert_eq!(done.route(ROUTE).body_max, Some(1 << 20));
    let pool = done.pool(ROUTE);
    assert_eq!((pool.keep, pool.outlier.failures, pool.backends.len()), (0, 0, 1));
}

#[test]
fn a_url_without_a_path_passes_the_request_as_it_came() {
    assert_eq!(
        server("location / { proxy_pass http://127.0.0.1:81; }").clean().forward(ROUTE).uri,
        Uri::Same
    );
}

#[test]
fn a_url_with_a_path_replaces_what_the_location_matched() {
    let done = server("location /a/ { proxy_pass http://127.0.0.1:81/b/; }").clean();
    assert_eq!(done.forward("example.org/a/").uri, Uri::Prefix("/b/".to_owned()));
    let redirect = &done.forward("example.org/a/").redirects[0];
    assert!(matches!(&redirect.from, TextPattern::Prefix(from) if text(from) == "http://127.0.0.1:81/b/"));
    assert_eq!(text(&redirect.to), "/a/");
}

#[test]
fn a_url_with_variables_behind_the_server_is_the_whole_target() {
    let done = server("location / { proxy_pass http://127.0.0.1:81/x$request_uri; }").clean();
    assert!(matches!(&done.forward(ROUTE).uri, Uri::Text(uri) if text(uri) == "/x{Known(RequestUri)}"));
    assert!(done.forward(ROUTE).redirects.is_empty());
}

#[test]
fn a_path_may_not_stand_behind_an_expression() {
    let error = super::refused("server { location ~ a {\n proxy_pass http://127.0.0.1:81/b; } }");
    assert!(error.starts_with("2: \"proxy_pass\" cannot have URI part"), "{error}");
}

#[test]
fn headers_of_a_location_take_the_place_of_all_headers_of_the_server() {
    let done = server(
        "proxy_set_header X-A a; proxy_set_header Host $http_host;
         location / { proxy_pass http://127.0.0.1:81; }
         location /b { proxy_set_header X-B $remote_addr; proxy_set_header X-C ''; proxy_pass http://127.0.0.1:81; }",
    )
    .clean();
    let names = |route: &str| -> Vec<String> {
        done.forward(route).headers.iter().map(|op| op.name.clone()).collect()
    };
    assert_eq!(names(ROUTE), ["X-A"]);
    assert_eq!(text(&done.forward(ROUTE).host), "{Header(\"host\")}");
    assert_eq!(names("example.org/b"), ["X-B", "X-C"]);
    assert_eq!(text(&done.forward("example.org/b").host), "127.0.0.1:81");
    assert!(
        matches!(&done.forward("example.org/b").headers[1].op, HeaderChange::Set(value) if value.is_empty())
    );
}

#[test]
fn an_upgrade_passes_when_its_headers_do() {
    let done = server(
        "location / { proxy_pass http://127.0.0.1:81; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; }",
    )
    .clean();
    assert!(done.forward(ROUTE).upgrade && done.forward(ROUTE).headers.is_empty());
}

#[test]
fn the_smaller_directives_of_proxy_are_obeyed() {
    let done = server(
        "location / { proxy_pass http://127.0.0.1:81; proxy_method $arg_m; proxy_pass_request_headers off;
            proxy_pass_request_body off; proxy_request_buffering off; proxy_connect_timeout 3s; proxy_send_timeout 4s;
            proxy_read_timeout 5s; proxy_hide_header X-Secret; proxy_pass_header Server; proxy_intercept_errors on;
            proxy_ignore_headers X-Accel-Redirect Expires; proxy_buffering off; proxy_buffers 4 8k; proxy_socket_keepalive on; }",
    )
    .clean();
    let forward = done.forward(ROUTE);
    assert!(
        forward.method.is_some() && !forward.pass_headers && !forward.pass_body && !forward.buffer_request
    );
    let second = Duration::from_secs(1);
    assert_eq!(
        (forward.connect_timeout, forward.send_timeout, forward.read_timeout),
        (second * 3, second * 4, second * 5)
    );
    assert!(
        forward.hide.iter().any(|name| name == "x-secret")
            && !forward.hide.iter().any(|name| name == "server")
    );
    assert!(forward.intercept_errors && !forward.accel);
}

#[test]
fn redirects_and_cookies_are_rewritten() {
    let done = server(
        "location / { proxy_pass http://127.0.0.1:81; proxy_redirect default; proxy_redirect http://a/ /b/;
            proxy_redirect ~*^https?://c(.*)$ $1; proxy_cookie_domain a.example $host; proxy_cookie_path /x/ /; }
         location /off { proxy_pass http://127.0.0.1:81; proxy_redirect off; proxy_cookie_domain off; }",
    )
    .clean();
    let forward = done.forward(ROUTE);
    assert_eq!(forward.redirects.len(), 3);
    assert!(matches!(&forward.redirects[2].from, TextPattern::Regex { ignore_case: true, .. }));
    assert!(
        matches!(&forward.cookie_domains[0].from, TextPattern::Regex { pattern, .. } if pattern == "^\\.?a\\.example$")
    );
    assert!(matches!(&forward.cookie_paths[0].from, TextPattern::Prefix(from) if text(from) == "/x/"));
    let dotted =
        server("location / { proxy_pass http://127.0.0.1:81; proxy_cookie_domain a.example .b.example; }");
    assert_eq!(text(&dotted.clean().forward(ROUTE).cookie_domains[0].to), "b.example");
    let off = done.forward("example.org/off");
    assert!(off.redirects.is_empty() && off.cookie_domains.is_empty());
}

#[test]
fn when_another_backend_is_asked_is_taken_over() {
    let upstream = "upstream u { server 127.0.0.1:81; server 127.0.0.1:82; server 127.0.0.1:83; }";
    let with = |more: &str| {
        http(&format!(
            "{upstream} server {{ server_name example.org; location / {{ proxy_pass http://u; {more} }} }}"
        ))
        .clean()
        .forward(ROUTE)
        .retry
        .clone()
    };
    let usual = with("");
    assert_eq!(
        (usual.on, usual.tries, usual.non_idempotent),
        (vec![RetryOn::Error, RetryOn::Timeout], 3, false)
    );
    let off = with("proxy_next_upstream off;");
    assert_eq!((off.on.len(), off.tries), (0, 1));
    let most = with(
        "proxy_next_upstream error invalid_header http_502 http_429 non_idempotent;
         proxy_next_upstream_tries 2; proxy_next_upstream_timeout 3s;",
    );
    assert_eq!(most.on, [RetryOn::Error, RetryOn::InvalidHeader, RetryOn::Status(502), RetryOn::Status(429)]);
    assert_eq!((most.tries, most.within, most.non_idempotent), (2, Duration::from_secs(3), true));
}

#[test]
fn servers_of_an_upstream_keep_their_parameters() {
    let done = http(
        "upstream u { least_conn; zone u 64k; keepalive 16; keepalive_timeout 30s; keepalive_requests 100;
            server a.example weight=3; server 127.0.0.1:81 max_fails=3 fail_timeout=30s max_conns=7;
            server unix:/run/b.sock backup; server [::1]:82 down; }
         server { server_name example.org; location / { proxy_pass http://u; } }",
    )
    .clean();
    let pool = done.pool(ROUTE);
    assert_eq!(
        (pool.name.as_str(), pool.balance.clone(), pool.keep, pool.keep_requests),
        ("u", Balance::Least, 16, 100)
    );
    let backends = &pool.backends;
    assert_eq!(
        (backends[0].weight, &backends[0].target),
        (3, &Target::Name { host: "a.example".to_owned(), port: 80 })
    );
    assert_eq!((backends[1].max_connections, backends[1].outlier.unwrap().failures), (7, 3));
    assert!(backends[2].backup && backends[3].down);
    assert_eq!(
        (pool.outlier.failures, pool.outlier.aside, pool.outlier.share_max),
        (1, Duration::from_secs(10), 100)
    );
    assert_eq!(pool.queue.max, 0, "nginx has none");
}

#[test]
fn ways_to_choose_a_backend_are_taken_over() {
    let balance = |line: &str| {
        let done = http(&format!(
            "upstream u {{ {line} server 127.0.0.1:81; server 127.0.0.1:82; }}
             server {{ server_name example.org; location / {{ proxy_pass http://u; }} }}"
        ));
        format!("{:?}", done.clean().pool(ROUTE).balance)
    };
    assert_eq!(balance(""), "RoundRobin");
    assert_eq!(balance("ip_hash;"), "Source");
    assert_eq!(balance("random;"), "Random");
    assert_eq!(balance("random two least_conn;"), "TwoChoices");
    assert!(balance("hash $arg_k consistent;").starts_with("Hash"));
}

#[test]
fn equal_backends_share_a_pool_and_different_connections_have_their_own() {
    let done = server(
        "location /a { proxy_pass http://127.0.0.1:81; } location /b { proxy_pass http://127.0.0.1:81/x; }
         location /c { proxy_pass https://127.0.0.1:81; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; }
         location /d { grpc_pass grpc://127.0.0.1:81; grpc_read_timeout 9s; }",
    )
    .clean();
    assert_eq!(done.edge.pools.len(), 3);
    let tls = done.pool("example.org/c").tls.as_ref().unwrap();
    assert!(tls.verify && tls.ca.is_some());
    assert_eq!(done.pool("example.org/d").http, BackendHttp::Http2);
    assert_eq!(done.forward("example.org/d").read_timeout, Duration::from_secs(9));
}

#[test]
fn tls_towards_backends_is_not_verified_unless_it_is_written() {
    let done = server("location / { proxy_pass https://b.example; }").clean();
    let pool = done.pool(ROUTE);
    assert_eq!(pool.backends[0].name, "b.example:443");
    assert!(!pool.tls.as_ref().unwrap().verify);
    assert_eq!(text(&done.forward(ROUTE).host), "b.example");
}

#[test]
fn a_backend_behind_a_variable_of_known_values_is_chosen_by_steps() {
    let done = http(
        "map $arg_v $pool { default blue; g green; } upstream blue { server 127.0.0.1:81; } upstream green { server 127.0.0.1:82; }
         server { server_name example.org; location / { proxy_pass http://$pool; }
            location /one { set $one 127.0.0.1:83; proxy_pass http://$one/x; } }",
    )
    .clean();
    let green =
        done.edge.routes.iter().find(|route| route.name.ends_with("-green")).expect("a route for green");
    assert_eq!(green.path, PathMatch::Never);
    assert_eq!(done.route(ROUTE).steps.len(), 1);
    assert_eq!(done.pool("example.org/one").backends[0].name, "127.0.0.1:83");
}

#[test]
fn a_backend_that_only_a_request_knows_is_named_by_it() {
    let done = http(
        "upstream u { server 127.0.0.1:81; }
         server { server_name example.org; location / { proxy_pass https://$arg_b; } location /a { proxy_pass http://${arg_b}/x$uri; } }",
    )
    .drops("upstream \"u\" is also spoken to in another way");
    let (plain, tls) = (done.forward("example.org/a"), done.forward(ROUTE));
    assert_eq!(text(tls.to.as_ref().unwrap()), "{Arg(\"b\")}");
    assert_eq!(text(plain.to.as_ref().unwrap()), "{Arg(\"b\")}/x{Known(Uri)}");
    assert_eq!(text(&plain.host), "{Known(ProxyHost)}");
    let name = done.pool(ROUTE).tls.as_ref().unwrap().name.as_ref().unwrap();
    assert_eq!(text(name), "{Known(ProxyHost)}");
    assert!(done.edge.pools.iter().any(|pool| pool.name == "u"), "a request may name it");
    let done = server("location / { proxy_pass $arg_b; }").drops("proxy_pass $arg_b is left out");
    assert_eq!(done.answer(ROUTE).status, 502);
}

#[test]
fn a_server_that_stands_twice_is_two_backends() {
    let done = http(
        "upstream u { server 127.0.0.1:81; server 127.0.0.1:81 weight=2; }
         server { server_name example.org; location / { proxy_pass http://u; } }",
    )
    .clean();
    let backends = &done.pool(ROUTE).backends;
    let shown: Vec<(&str, u32)> = backends.iter().map(|one| (one.name.as_str(), one.weight)).collect();
    assert_eq!(shown, [("127.0.0.1:81", 1), ("127.0.0.1:81#2", 2)]);
    assert_eq!(backends[0].target, backends[1].target);
    assert_eq!(done.forward(ROUTE).retry.tries, 2);
}

#[test]
fn a_name_that_is_no_upstream_is_a_host_and_said() {
    let done = server("location / { proxy_pass http://backend; }").clean();
    assert!(done.said(Severity::Note).any(|text| text.contains("no upstream is called \"backend\"")));
    assert_eq!(done.pool(ROUTE).backends[0].name, "backend:80");
}

#[test]
fn a_sticky_cookie_is_taken_over() {
    let done = http(
        "upstream u { server 127.0.0.1:81; server 127.0.0.1:82; sticky cookie sid expires=1h domain=.a.example path=/ httponly samesite=lax; }
         server { server_name example.org; location / { proxy_pass http://u; } }",
    )
    .clean();
    let sticky = done.pool(ROUTE).sticky.as_ref().unwrap();
    assert_eq!(
        (sticky.cookie.as_str(), sticky.max_age, sticky.http_only),
        ("sid", Duration::from_secs(3600), true)
    );
}

#[test]
fn what_is_cached_or_copied_there_is_said_to_be_left_out() {
    server("location / { proxy_pass http://127.0.0.1:81; proxy_cache c; mirror /m; }")
        .drops("proxy_cache is left out")
        .drops("mirror");
    let done = server(
        "location ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; include /dev/null; }"
            .replace("include /dev/null;", "")
            .as_str(),
    );
    let done = done.drops("fastcgi_pass is left out");
    assert_eq!(done.answer("example.org~_.php_").status, 501);
}
