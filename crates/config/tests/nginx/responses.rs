//! Files, headers, error pages, compression, logs.

use std::path::PathBuf;

use super::{http, server, text};
use mainstay_config::nginx::Severity;
use mainstay_config::plan::edge::{
    Action, Expires, Fallback, Files, HeaderChange, LogFormat, LogTarget, Page,
};

fn files(lines: &str) -> Files {
    match &server(lines).clean().route("example.org/").action {
        Action::Files(files) => (**files).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_have_root_index_listing_and_etag() {
    let found =
        files("root /srv/$host; index a.html $arg_i /b.html; autoindex on; etag off; gzip_static on;");
    assert_eq!(
        (text(&found.root).as_str(), found.index.len(), found.listing),
        ("/srv/{Known(Host)}", 3, true)
    );
    assert!(!found.etag && found.precompressed);
    assert_eq!(text(&files("root www;").root), "/usr/share/nginx/www");
    assert_eq!(text(&files("").root), "/usr/share/nginx/html");
}

#[test]
fn try_files_has_its_fallbacks() {
    let fallback = |line: &str| {
        files(&format!("location / {{ root /a; try_files {line}; }} location @b {{ return 200; }}")).fallback
    };
    assert_eq!(fallback("$uri $uri/ =404"), Some(Fallback::Status(404)));
    assert!(
        matches!(fallback("$uri /i.php?q=$uri&$args"), Some(Fallback::Path(path)) if text(&path).starts_with("/i.php?q="))
    );
    assert!(matches!(fallback("$uri @b"), Some(Fallback::Route(_))));
}

#[test]
fn headers_of_a_location_take_the_place_of_those_around_it() {
    let done = server(
        "add_header X-A 1; location / { root /a; } location /b { add_header X-B $uri always; root /a; }
         location /c { add_header_inherit merge; add_header X-C 3; add_header ETag x; root /a; }",
    )
    .clean();
    let names = |route: &str| -> Vec<String> {
        done.route(route).response_headers.iter().map(|op| op.name.clone()).collect()
    };
    assert_eq!(names("example.org/"), ["X-A"]);
    assert_eq!(names("example.org/b"), ["X-B"]);
    assert_eq!(names("example.org/c"), ["X-A", "X-C", "ETag"]);
    assert!(done.route("example.org/b").response_headers[0].always);
    assert!(matches!(done.route("example.org/c").response_headers[2].op, HeaderChange::Set(_)));
}

#[test]
fn error_pages_of_all_forms_are_understood() {
    let done = server(
        "error_page 404 /404.html; error_page 500 502 =200 /ok; error_page 403 = @n; error_page 401 http://login.example/;
         error_page 503 =301 https://x.example/; location @n { return 200; } location / { root /a; } location /b { error_page 404 /b404; root /a; }",
    )
    .clean();
    let pages = &done.route("example.org/").errors;
    assert!(
        matches!(&pages[0].page, Page::Path(path) if text(path) == "/404.html") && pages[0].status.is_none()
    );
    assert_eq!((pages[1].codes.as_slice(), pages[1].status), ([500, 502].as_slice(), Some(200)));
    assert!(matches!(pages[2].page, Page::Route(_)) && pages[2].status == Some(0));
    assert!(matches!(pages[3].page, Page::Url(_)) && pages[3].status.is_none());
    assert_eq!(pages[4].status, Some(301));
    assert_eq!(done.route("example.org/b").errors.len(), 1);
}

#[test]
fn compression_and_expiry_are_taken_over() {
    let done = server(
        "gzip on; gzip_types text/css application/json; gzip_min_length 1k; gzip_comp_level 5; gzip_vary on; gzip_proxied any;
         gzip_http_version 1.0; expires modified 1h; location /m { expires max; root /a; } location /o { gzip off; expires off; root /a; }
         location /n { expires -1; root /a; }",
    )
    .clean();
    let route = done.route("example.org/");
    let gzip = route.gzip.as_ref().unwrap();
    assert_eq!((gzip.types.len(), gzip.min_length, gzip.level), (3, 1024, 5));
    assert!(gzip.vary && gzip.proxied && gzip.http10);
    assert_eq!(route.expires, Some(Expires::Modified(3600)));
    assert_eq!(done.route("example.org/m").expires, Some(Expires::Max));
    assert_eq!(done.route("example.org/n").expires, Some(Expires::After(-1)));
    assert!(done.route("example.org/o").gzip.is_none() && done.route("example.org/o").expires.is_none());
    let usual = server("gzip on;").clean();
    let gzip = usual.route("example.org/").gzip.as_ref().unwrap().clone();
    assert_eq!(
        (gzip.types, gzip.min_length, gzip.vary, gzip.proxied),
        (vec!["text/html".to_owned()], 20, false, false)
    );
}

#[test]
fn logs_have_formats_conditions_and_an_end() {
    let done = http(
        "log_format short '$remote_addr ' '$status'; log_format j escape=json '{\"a\":\"$uri\"}'; access_log /var/log/a.log short;
         server { server_name example.org; location / { root /a; } location /off { access_log off; root /a; }
            location /j { access_log logs/j.log j if=$arg_l; access_log /dev/stdout; root /a; } }",
    )
    .clean();
    let logs = &done.edge.logs;
    assert_eq!(logs.len(), 3);
    assert_eq!(logs[0].to, LogTarget::File(PathBuf::from("/var/log/a.log")));
    assert!(
        matches!(&logs[0].format, LogFormat::Text { line, .. } if text(line) == "{Known(RemoteAddr)} {Known(Status)}")
    );
    assert!(matches!(&logs[1].format, LogFormat::Text { json_escape: true, .. }));
    assert_eq!((&logs[2].to, &logs[2].format), (&LogTarget::Stdout, &LogFormat::Combined));
    assert!(done.route("example.org/off").logs.is_empty());
    assert!(done.route("example.org/j").logs[0].when.is_some());
}

#[test]
fn absolute_redirect_off_sends_paths() {
    let done =
        server("absolute_redirect off; location /a { return 301 /b; } location / { return 200; }").clean();
    assert!(done.route("example.org/a").relative_redirects && done.route("example.org/").relative_redirects);
    assert!(!server("location / { return 200; }").clean().route("example.org/").relative_redirects);
    let named = server("server_name_in_redirect on; port_in_redirect off; location /a { return 301 /b; } location / { return 200; }").clean();
    assert_eq!(
        text(named.answer("example.org/a").location.as_ref().unwrap()),
        "{Known(Scheme)}://example.org/b"
    );
}

#[test]
fn an_empty_table_of_types_gives_every_file_the_default() {
    let done = server("location / { root /a; types { } default_type text/x-log; }").clean();
    let route = done.route("example.org/");
    assert_eq!(
        (route.response_headers[0].name.as_str(), route.default_type.as_str()),
        ("Content-Type", "text/x-log")
    );
}

#[test]
fn a_rate_of_bytes_is_taken_over() {
    assert_eq!(server("limit_rate 10k;").clean().route("example.org/").rate_bytes, 10 << 10);
    let _ = server("limit_rate $arg_r;").drops("limit_rate $arg_r is left out");
}

#[test]
fn what_would_change_responses_is_said_to_be_left_out() {
    for line in
        ["sub_filter a b;", "charset utf-8;", "ssi on;", "add_trailer X y;", "dav_methods PUT;", "gunzip on;"]
    {
        let name = line.split(' ').next().unwrap();
        let _ = server(line).drops(&format!("{name} is left out"));
    }
}

#[test]
fn what_is_understood_but_not_served_is_said_once_and_only_where_it_changes_something() {
    let done = http(
        "merge_slashes off; recursive_error_pages on; ignore_invalid_headers on;\n\
         server { listen 80; proxy_set_body x; location / { return 204; } location /b { recursive_error_pages off; return 204; } }",
    );
    let dropped: Vec<String> = done.said(Severity::Dropped).collect();
    for name in ["merge_slashes off", "recursive_error_pages on", "proxy_set_body x"] {
        assert_eq!(dropped.iter().filter(|text| text.contains(name)).count(), 1, "{name}: {dropped:?}");
    }
    assert_eq!(dropped.len(), 3, "{dropped:?}");
}

#[test]
fn ranges_dates_and_cookies_of_backends_are_taken_over() {
    let done = server(
        "location / { max_ranges 2; if_modified_since before; }
         location /a { proxy_pass http://127.0.0.1:81; add_header X-A $upstream_cookie_sid; }",
    )
    .clean();
    let Action::Files(files) = &done.route("example.org/").action else { panic!("files") };
    assert_eq!((files.ranges_max, files.later_dates), (2, true));
    let header = format!("{:?}", done.route("example.org/a").response_headers[0]);
    assert!(header.contains("BackendCookie(\"sid\")"), "{header}");
}
