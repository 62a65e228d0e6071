//! Which server takes a request, and what holds for its connections.

use std::time::Duration;

use super::{http, refused, server};
use mainstay_config::nginx::Severity;
use mainstay_config::plan::edge::{Host, Place, RealIpSource};

fn exact(name: &str) -> Host {
    Host::Exact(name.to_owned())
}

#[test]
fn the_first_server_of_an_address_takes_what_nobody_else_takes() {
    let done = http(
        "server { listen 80; server_name a.example; return 201; }
         server { listen 80; server_name b.example; return 202; }",
    )
    .clean();
    assert_eq!(done.route("a.example/").hosts, [exact("a.example"), Host::Any]);
    assert_eq!(done.route("b.example/").hosts, [exact("b.example")]);
}

#[test]
fn default_server_says_who_does() {
    let done = http(
        "server { listen 80; server_name a.example; return 201; }
         server { listen 80 default_server; server_name b.example; return 202; }",
    )
    .clean();
    assert_eq!(done.route("a.example/").hosts, [exact("a.example")]);
    assert_eq!(done.route("b.example/").hosts, [exact("b.example"), Host::Any]);
}

#[test]
fn a_server_may_be_the_default_of_one_address_and_not_of_another() {
    let done = http(
        "server { listen 80; listen 81; server_name a.example; return 201; }
         server { listen 81 default_server; server_name b.example; return 202; }",
    )
    .clean();
    let listeners = |name: &str| done.route(name).listeners.len();
    assert_eq!((listeners("a.example/"), listeners("a.example/-2"), listeners("b.example/")), (1, 1, 1));
    assert_eq!(done.route("a.example/").hosts.len(), 2);
    assert_eq!(done.route("a.example/-2").hosts, [exact("a.example")]);
}

#[test]
fn names_are_exact_wildcards_or_expressions() {
    let done = http(
        "server { listen 80; return 200; }
         server { listen 80; server_name A.example *.b.example c.* .d.example ~^e(?<Nr>\\d+)$ _; return 201; }",
    )
    .clean();
    let hosts = &done.route("a.example/").hosts;
    let expected = [
        exact("a.example"),
        Host::Suffix(".b.example".to_owned()),
        Host::Prefix("c.".to_owned()),
        exact("d.example"),
        Host::Suffix(".d.example".to_owned()),
        Host::Regex("(?i)^e(?P<nr>\\d+)$".to_owned()),
    ];
    assert_eq!(hosts.as_slice(), expected);
}

#[test]
fn a_server_without_a_name_that_is_not_the_default_takes_requests_without_a_host() {
    let done =
        http("server { listen 80; server_name a.example; return 200; } server { listen 80; return 201; }")
            .clean();
    let nameless = done.route("any:80/");
    assert_eq!(nameless.hosts, [Host::Any]);
    assert!(nameless.headers[0].not, "{nameless:?}");
}

#[test]
fn a_server_that_no_request_can_reach_is_left_out_and_said() {
    let done = http("server { listen 80; return 200; } server { listen 80; server_name _; return 201; }");
    assert_eq!(done.edge.routes.len(), 1);
    assert!(done.said(Severity::Note).any(|text| text.contains("no request can reach this server")));
}

#[test]
fn addresses_with_the_same_servers_share_a_listener() {
    let done =
        http("server { listen 80; listen [::]:80; return 200; } server { listen 443; return 201; }").clean();
    let places: Vec<usize> = done.edge.listeners.iter().map(|listener| listener.places.len()).collect();
    assert_eq!(places, [2, 1]);
    assert_eq!(done.edge.listeners[0].places[0], Place::Inet("0.0.0.0:80".parse().unwrap()));
}

#[test]
fn without_listen_it_is_port_80() {
    let done = http("server { return 200; }").clean();
    assert_eq!(done.edge.listeners[0].places, [Place::Inet("0.0.0.0:80".parse().unwrap())]);
}

#[test]
fn all_parameters_of_listen_are_understood() {
    let done = http(
        "server { listen 127.0.0.1:8080 default_server proxy_protocol reuseport backlog=511 rcvbuf=8k sndbuf=8k deferred
             so_keepalive=on fastopen=3; listen unix:/run/a.sock; listen [::]:8081 ipv6only=off; return 200; }",
    )
    .clean();
    assert_eq!(done.edge.listeners.len(), 2);
    assert_eq!(done.edge.listeners[0].proxy_from.len(), 2);
    assert_eq!(
        done.edge.listeners[1].places.len(),
        3,
        "unix, and both families: {:?}",
        done.edge.listeners[1]
    );
}

#[test]
fn http2_is_spoken_where_it_is_written() {
    let done = http(
        "server { listen 80; return 200; } server { listen 81 http2; return 200; } server { listen 82; http2 on; return 200; }",
    );
    let spoken: Vec<bool> = done.clean().edge.listeners.iter().map(|listener| listener.http.http2).collect();
    assert_eq!(spoken, [false, true, true]);
}

#[test]
fn certificates_of_all_servers_of_an_address_stand_in_its_listener_the_defaults_first() {
    let done = http(
        "ssl_certificate all.pem; ssl_certificate_key all.key; ssl_protocols TLSv1.3; ssl_session_tickets off;
         server { listen 443 ssl; server_name a.example; ssl_certificate a.pem; ssl_certificate_key a.key; return 200; }
         server { listen 443 ssl default_server; server_name b.example; return 200; }",
    )
    .clean();
    let tls = done.edge.listeners[0].tls.as_ref().unwrap();
    let files: Vec<&str> = tls.certificates.iter().filter_map(|pair| pair.cert_file.to_str()).collect();
    assert_eq!(files, ["/etc/nginx/all.pem", "/etc/nginx/a.pem"]);
    assert!(!tls.tls12 && !tls.tickets);
}

#[test]
fn client_certificates_are_asked_for() {
    let done = http(
        "server { listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;
            ssl_client_certificate ca.pem; ssl_verify_client optional; return 200; }",
    )
    .clean();
    let tls = done.edge.listeners[0].tls.as_ref().unwrap();
    assert_eq!(format!("{:?}", tls.client), "Optional");
    assert_eq!(tls.client_ca.as_ref().unwrap().0.to_str(), Some("/etc/nginx/ca.pem"));
}

#[test]
fn times_and_bounds_of_connections_are_those_of_the_default_server() {
    let done = http(
        "client_header_timeout 5s; keepalive_timeout 10s 20s; large_client_header_buffers 4 4k; underscores_in_headers on;
         server { listen 80; client_body_timeout 7; send_timeout 8; keepalive_requests 9; max_headers 50; return 200; }",
    )
    .clean();
    let limits = &done.edge.listeners[0].http;
    let second = Duration::from_secs(1);
    assert_eq!(
        (limits.head_timeout, limits.idle_timeout, limits.body_timeout),
        (second * 5, second * 10, second * 7)
    );
    assert_eq!((limits.send_timeout, limits.requests_max, limits.head_max), (second * 8, 9, 16 << 10));
    assert!(limits.underscores && limits.fields_max == 50);
    let usual = server("return 200;").clean();
    let limits = &usual.edge.listeners[0].http;
    assert_eq!(
        (limits.head_timeout, limits.idle_timeout, limits.head_max),
        (second * 60, second * 75, 32 << 10)
    );
}

#[test]
fn a_time_of_connections_in_a_location_is_said_to_be_left_out() {
    server("location / { keepalive_timeout 0; return 200; }")
        .drops("2: keepalive_timeout of a location".trim_start_matches("2: "));
}

#[test]
fn the_real_address_is_found_where_all_servers_agree_by_the_listener() {
    let done = http(
        "set_real_ip_from 10.1.23.8; real_ip_header x-Forwarded-For;
         server { listen 80; location / { return 200; } location /b { set_real_ip_from 10.0.0.0/8; real_ip_recursive on; return 201; } }",
    )
    .clean();
    let listener = done.edge.listeners[0].real_ip.as_ref().unwrap();
    assert_eq!(listener.source, RealIpSource::Header("x-forwarded-for".to_owned()));
    assert!(!listener.recursive && done.route("any:80/").real_ip.is_none());
    assert!(done.route("any:80/b").real_ip.as_ref().unwrap().recursive);
}

#[test]
fn the_real_address_may_come_from_the_proxy_header() {
    let done = http(
        "server { listen 80 proxy_protocol; set_real_ip_from 127.0.0.1; set_real_ip_from unix:; real_ip_header proxy_protocol; return 200; }",
    )
    .clean();
    let real = done.edge.listeners[0].real_ip.as_ref().unwrap();
    assert!(real.source == RealIpSource::Proxy && real.unix);
}

#[test]
fn what_nginx_would_refuse_is_refused_in_its_words() {
    assert_eq!(
        refused("server {\n listen 80;\n root /a /b;\n}"),
        "3: invalid number of arguments in \"root\" directive"
    );
    assert_eq!(
        refused("server {\n sendfile maybe;\n}\nlocation / {}"),
        "4: \"location\" directive is not allowed here"
    );
    assert_eq!(
        refused("server {\n gzip maybe;\n}"),
        "2: invalid value \"maybe\" in \"gzip\" directive, it must be \"on\" or \"off\""
    );
    assert_eq!(refused("server {\n listen 80\n root /a;\n}"), "2: invalid parameter \"root\"");
    assert_eq!(
        refused("server {\n listen 443 ssl;\n}"),
        "1: no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive"
    );
    assert_eq!(
        refused("server { location /a { return 200; } location /a { return 200; } }"),
        "1: duplicate location \"/a\""
    );
    assert_eq!(
        refused("server { client_max_body_size 1m;\nclient_max_body_size 2m; }"),
        "2: \"client_max_body_size\" directive is duplicate"
    );
}

#[test]
fn servers_of_one_address_that_differ_about_client_certificates_decide_for_themselves() {
    let pair = "listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;";
    let done = http(&format!(
        "server {{ {pair} server_name open.example; location / {{ return 200; }} }}
         server {{ {pair} server_name closed.example; ssl_client_certificate ca.pem; ssl_verify_client on; location / {{ root /a; }} }}"
    ))
    .clean();
    assert_eq!(format!("{:?}", done.edge.listeners[0].tls.as_ref().unwrap().client), "Optional");
    assert!(done.route("open.example/").steps.is_empty());
    let steps = format!("{:?}", done.route("closed.example/").steps);
    assert!(steps.contains("NONE|FAILED") && steps.contains("status: 400"), "{steps}");
}

#[test]
fn a_second_file_of_authorities_at_an_address_lets_nobody_in() {
    let pair = "listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_verify_client on;";
    let done = http(&format!(
        "server {{ {pair} server_name a.example; ssl_client_certificate a-ca.pem; location / {{ return 200; }} }}
         server {{ {pair} server_name b.example; ssl_client_certificate b-ca.pem; location / {{ return 200; }} }}"
    ))
    .drops("ssl_client_certificate of this server is left out");
    assert!(format!("{:?}", done.route("b.example/").steps).contains("\"^on:\""));
    assert!(format!("{:?}", done.route("a.example/").steps).contains("NONE|FAILED"));
}

#[test]
fn a_server_on_two_listeners_of_which_one_finds_the_real_address_finds_it_itself() {
    let done = http(
        "server { listen 80; listen 81; server_name a.example; set_real_ip_from 10.0.0.0/8; location / { return 200; } }
         server { listen 81; server_name b.example; location / { return 200; } }",
    )
    .clean();
    assert!(done.route("a.example/").real_ip.is_some() && done.route("b.example/").real_ip.is_none());
}

#[test]
fn connections_are_what_they_are_in_nginx() {
    let limits = |text: &str| server(text).clean().edge.listeners[0].http;
    let usual = limits("location / { return 200; }");
    assert_eq!(
        (usual.bare_lf, usual.says_keep, usual.keep_hint, usual.half_close, usual.underscores),
        (true, true, 0, false, false)
    );
    let own = limits("keepalive_timeout 5s 9s; proxy_ignore_client_abort on; ignore_invalid_headers off;");
    assert_eq!((own.keep_hint, own.half_close, own.underscores), (9, true, true));
}

#[test]
fn without_worker_processes_all_is_done_by_one_thread() {
    let whole = |main: &str| {
        let text = format!("{main} events {{ }} http {{ server {{ listen 80; return 200; }} }}");
        let edge =
            crate::loaded(crate::import_files(&[(crate::CONF, &text)], mainstay_config::nginx::Part::Main))
                .clean()
                .edge;
        (edge.instances, edge.threads)
    };
    assert_eq!(whole("daemon off; pid /run/n.pid;"), (1, 1));
    assert_eq!(whole("worker_processes auto;").0, 2);
}
