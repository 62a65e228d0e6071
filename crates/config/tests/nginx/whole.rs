//! Whole configurations as people have them: a gateway in front of an API, UI and API of a bastion behind several
//! layers, a main file that includes the others.

use super::{Done, import_files, loaded, text};
use mainstay_config::nginx::{Import, Part, Severity};
use mainstay_config::plan::edge::{PathMatch, Protocol, RealIpSource, Uri};

const MAIN: &str = "
user www-data;
worker_processes auto;
pid /run/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 768; }
http {
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include mime.types;
    default_type application/octet-stream;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    access_log /var/log/nginx/access.log;
    gzip on;
    include conf.d/*;
}
stream { include stream.d/*; }
";
const TYPES: &str = "types { text/html html htm; text/css css; }";
const BASTION: &str = "
upstream ui { server 192.0.2.23:52100; server 192.0.2.24:52100; }
upstream api { server 192.0.2.23:52100; server 192.0.2.24:52100; server 192.0.2.25:52100; }
server {
    listen 80;
    server_name bastion.example.org;
    root /opt/bastion/web;
    index index.html index.htm;
    location / {
        proxy_pass_header Server;
        proxy_set_header Host $http_host;
        proxy_redirect off;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Scheme $scheme;
        proxy_pass http://ui;
    }
    location ~ ^/api/ {
        proxy_pass_header Server;
        proxy_set_header Host $http_host;
        proxy_redirect off;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_pass http://api;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection \"upgrade\";
    }
}
";
const SSH: &str = "
upstream ssh { server 192.0.2.25:52101; server 192.0.2.26:52201; server 192.0.2.28:52301; server 192.0.2.29:52301; }
server { listen 52001; proxy_pass ssh; }
";
const LAYER: &str = "
real_ip_header x-Forwarded-For;
set_real_ip_from 192.0.2.8;
server {
    listen 52100;
    location / {
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_pass http://next_layer;
    }
}
";
const GATEWAY: &str = "
server {
    listen 80; server_name iam.example.org;
    client_max_body_size 1024M; location / {
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_pass http://127.0.0.1:8080/;
        client_max_body_size 100m;
    }
}
";

fn everything() -> Import {
    import_files(
        &[
            ("/etc/nginx/nginx.conf", MAIN),
            ("/etc/nginx/mime.types", TYPES),
            ("/etc/nginx/conf.d/bastion.conf", BASTION),
            ("/etc/nginx/stream.d/ssh.conf", SSH),
        ],
        Part::Main,
    )
}

#[test]
fn a_main_file_with_its_parts_is_imported_whole() {
    let import = everything();
    assert_eq!(import.exit_code(false), 0, "{:#?}", import.findings);
    let done = loaded(import).clean();
    assert_eq!(done.pool("bastion.example.org/").backends.len(), 2);
    let api = done
        .edge
        .routes
        .iter()
        .find(|route| matches!(&route.path, PathMatch::Regex { pattern, .. } if pattern == "^/api/"));
    let api = api.expect("the route of the API").name.clone();
    assert_eq!(done.pool(&api).backends.len(), 3);
    assert!(done.forward(&api).upgrade && !done.forward("bastion.example.org/").upgrade);
    assert!(!done.forward(&api).hide.iter().any(|name| name == "server"));
    let ssh = done
        .edge
        .listeners
        .iter()
        .find(|listener| listener.protocol == Protocol::Tcp)
        .expect("a listener for ssh");
    assert_eq!(done.edge.pools[ssh.pool.unwrap().index()].backends.len(), 4);
    assert!(done.import.toml.contains("types = \"/etc/nginx/mime.types\""));
}

#[test]
fn the_same_file_gives_the_same_text() {
    assert_eq!(everything(), everything());
}

#[test]
fn the_text_is_laid_out_as_fmt_lays_it_out() {
    let toml = everything().toml;
    assert_eq!(mainstay_config::fmt("imported.toml", &toml).unwrap(), toml);
}

#[test]
fn a_layer_of_proxies_believes_the_one_before_it_alone() {
    let done = loaded(import_files(&[("/etc/nginx/nginx.conf", LAYER)], Part::Http)).clean();
    let real = done.edge.listeners[0].real_ip.as_ref().unwrap();
    assert_eq!(real.source, RealIpSource::Header("x-forwarded-for".to_owned()));
    assert!(!real.recursive && real.trusted.len() == 1);
    assert_eq!(text(&done.forward("any:52100/").host), "next_layer");
}

#[test]
fn a_gateway_keeps_the_locations_bound_and_its_headers() {
    let done = loaded(import_files(&[("/etc/nginx/nginx.conf", GATEWAY)], Part::Http)).clean();
    let name = "iam.example.org/";
    assert_eq!(
        (done.route(name).body_max, &done.forward(name).uri),
        (Some(100 << 20), &Uri::Prefix("/".to_owned()))
    );
    let headers: Vec<&str> = done.forward(name).headers.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(headers, ["X-Forwarded-Host", "X-Real-IP", "X-Forwarded-For"]);
}

#[test]
fn a_part_without_its_context_is_named_as_what_it_is() {
    let import = import_files(&[("/etc/nginx/nginx.conf", GATEWAY)], Part::Main);
    let first = &import.findings[0];
    assert_eq!((first.severity, import.exit_code(true)), (Severity::Error, 1));
    assert!(first.advice.contains("--context http"), "{first}");
}

#[test]
fn findings_name_the_file_that_they_are_in() {
    let files = [
        ("/etc/nginx/nginx.conf", "http { include a.conf; }"),
        ("/etc/nginx/a.conf", "server {\n ssi on;\n}"),
    ];
    let done: Done = loaded(import_files(&files, Part::Main)).drops("ssi is left out");
    let found = done.import.findings.iter().find(|finding| finding.text.contains("ssi")).unwrap();
    assert_eq!((found.file.to_str(), found.line), (Some("/etc/nginx/a.conf"), 2));
    assert_eq!((done.import.exit_code(false), done.import.exit_code(true)), (1, 0));
}
