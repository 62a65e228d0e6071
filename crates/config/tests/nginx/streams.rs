//! The `stream` block.

use std::time::Duration;

use super::{stream, text};
use mainstay_config::nginx::{Part, Severity};
use mainstay_config::plan::edge::{Host, Protocol, ProxyHeader, Target};

#[test]
fn a_port_leads_to_a_pool() {
    let done = stream(
        "upstream ssh { server 192.168.10.25:52101; server 192.168.10.26:52201; server 192.168.10.28:52301; }
         server { listen 52001; proxy_pass ssh; proxy_timeout 1h; proxy_connect_timeout 3s; allow 10.0.0.0/8; deny all; }",
    )
    .clean();
    let listener = &done.edge.listeners[0];
    let pool = &done.edge.pools[listener.pool.unwrap().index()];
    assert_eq!((listener.protocol, pool.backends.len(), listener.access.len()), (Protocol::Tcp, 3, 2));
    assert_eq!(
        (listener.idle_timeout, listener.connect_timeout),
        (Duration::from_secs(3600), Duration::from_secs(3))
    );
    assert_eq!(pool.backends[1].target, Target::Inet("192.168.10.26:52201".parse().unwrap()));
}

#[test]
fn nginxs_times_are_written_out() {
    let done = stream("server { listen 1; proxy_pass 127.0.0.1:2; }").clean();
    let listener = &done.edge.listeners[0];
    assert_eq!(
        (listener.idle_timeout, listener.connect_timeout),
        (Duration::from_secs(600), Duration::from_secs(60))
    );
}

#[test]
fn datagrams_have_their_answers_counted() {
    let done =
        stream("server { listen 53 udp; proxy_pass 127.0.0.1:5353; proxy_responses 1; proxy_timeout 5s; }")
            .clean();
    assert_eq!(
        (done.edge.listeners[0].protocol, done.edge.listeners[0].udp_responses),
        (Protocol::Udp, Some(1))
    );
}

#[test]
fn a_map_of_server_names_becomes_rules() {
    let done = stream(
        "map $ssl_preread_server_name $name { hostnames; a.example one; .b.example 127.0.0.1:443; default two; }
         upstream one { server 127.0.0.1:81; } upstream two { server 127.0.0.1:82; }
         server { listen 443; ssl_preread on; proxy_pass $name; }",
    )
    .clean();
    let listener = &done.edge.listeners[0];
    assert_eq!(listener.protocol, Protocol::Passthrough);
    assert_eq!(listener.sni[0].host, Host::Exact("a.example".to_owned()));
    assert_eq!((listener.sni.len(), &listener.sni[2].host), (3, &Host::Suffix(".b.example".to_owned())));
    assert_eq!(done.edge.pools[listener.pool.unwrap().index()].name, "two");
}

#[test]
fn the_proxy_header_goes_in_and_out() {
    let done = stream("server { listen 1 proxy_protocol; proxy_pass 127.0.0.1:2; proxy_protocol on; set_real_ip_from 10.0.0.0/8; }").clean();
    let listener = &done.edge.listeners[0];
    assert!(!listener.proxy_from.is_empty() && listener.real_ip.is_some());
    assert_eq!(done.edge.pools[0].proxy, ProxyHeader::V1);
}

#[test]
fn tls_ends_and_begins() {
    let done = stream(
        "server { listen 1 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; proxy_pass 127.0.0.1:2; proxy_ssl on; proxy_ssl_name b.example; }",
    )
    .clean();
    assert!(done.edge.listeners[0].tls.is_some());
    assert_eq!(text(done.edge.pools[0].tls.as_ref().unwrap().name.as_ref().unwrap()), "b.example");
}

#[test]
fn return_answers_with_a_text() {
    let done = stream("server { listen 1; return \"hi $remote_addr\\n\"; }").clean();
    assert_eq!(text(done.edge.listeners[0].answer.as_ref().unwrap()), "hi {Known(RemoteAddr)}\n");
}

#[test]
fn what_is_not_understood_is_said() {
    let _ = stream("server { listen 1; proxy_pass 127.0.0.1:2; proxy_upload_rate 1k; }")
        .drops("proxy_upload_rate is left out");
    let _ = stream("map $remote_addr $b { default $hostname:1; } server { listen 1; proxy_pass $b; }")
        .drops("proxy_pass $b is left out");
    let done = super::import_files(&[(super::CONF, "server { listen 1; }")], Part::Stream);
    assert!(
        done.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error
                && finding.text.contains("no handler for server"))
    );
}
