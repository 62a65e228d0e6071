//! Hostile files end soon, in a finding.

use super::{CONF, import_files};
use mainstay_config::nginx::Part;

fn ends(text: &str) {
    let done = import_files(&[(CONF, text)], Part::Http);
    assert!(done.findings.len() <= 1001);
    let _ = mainstay_config::parse_str("x.toml", &done.toml, &|_| None, mainstay_config::Checks::NONE);
}

#[test]
fn many_locations_times_many_values_of_a_variable_end() {
    let values: String = (0..60).map(|n| format!("k{n} 127.0.0.1:{};", 1000 + n)).collect();
    let locations: String =
        (0..400).map(|n| format!("location /{n} {{ proxy_pass http://$a$b; }}")).collect();
    ends(&format!("map $arg_x $a {{ {values} }} map $arg_y $b {{ {values} }} server {{ {locations} }}"));
}

#[test]
fn deep_and_wide_trees_of_locations_end() {
    let deep =
        (0..40).fold(String::new(), |inner, n| format!("location /{} {{ {inner} }}", "a/".repeat(40 - n)));
    ends(&format!("server {{ {deep} }}"));
    let wide: String =
        (0..3000).map(|n| format!("location /{n} {{ location ~ {n}$ {{ return 200; }} }}")).collect();
    ends(&format!("server {{ {wide} }}"));
}

#[test]
fn thousands_of_servers_on_one_address_end() {
    let servers: String =
        (0..3000).map(|n| format!("server {{ listen 80; server_name s{n}.example; }}")).collect();
    ends(&servers);
}

#[test]
fn many_ranges_end() {
    let ranges: String =
        (0..5000).map(|n| format!("10.{}.{}.0-10.{}.{}.9 v;", n / 250, n % 250, n / 250, n % 250)).collect();
    ends(&format!("geo $a {{ ranges; {ranges} }} server {{ return 200 $a; }}"));
}

#[test]
fn odd_texts_stay_texts() {
    for text in [
        "server { return 200 \"${}\"; }",
        "server { return 200 \"\u{0}\u{7f}${host}\"; server_name \"a b\"; }",
        "server { location \"/a\nb\" { return 200; } location ~ \"(\" { return 200; } }",
        "server { root \"${PATH}\"; access_log \"\"; index \"\"; }",
        "upstream \"\" { } server { location / { proxy_pass http://; } location /a { proxy_pass \"\"; } }",
        "map a b { } map $a { } geo { } split_clients a $b { x% y; }",
        "server { listen :; listen 0; listen [; listen unix:; }",
        "server { error_page 404; error_page a b; return; return 1 2; if { } if ( { } if ) { } }",
        "server { location / { limit_except { } try_files; proxy_set_header \"\" x; add_header \"a b\" c; } }",
    ] {
        ends(text);
    }
}

#[test]
fn files_with_pieces_lost_doubled_or_swapped_are_read_or_refused() {
    const TEXT: &str = "map $http_upgrade $up { default upgrade; '' close; ~^(?<n>x)$ $n; } geo $g { ranges; 10.0.0.0-10.0.0.9 a; }
        limit_req_zone $binary_remote_addr zone=one:1m rate=1r/s; log_format f escape=json '{\"a\":\"$uri\"}';
        upstream u { hash $uri consistent; server 127.0.0.1:81 weight=2 max_fails=3; server unix:/a.sock backup; keepalive 2; }
        server { listen 80 default_server; listen [::]:443 ssl http2; server_name .a.example ~^b(?<c>.+)$; ssl_certificate a; ssl_certificate_key b;
          ssl_verify_client on; ssl_client_certificate c; set_real_ip_from 10.0.0.0/8; error_page 404 =200 @n; access_log /a f if=$g;
          location ^~ /a/ { proxy_pass http://u/b/; proxy_redirect ~^(.*)$ $1; proxy_set_header Upgrade $up; location ~* \\.php$ { return 403; } }
          location ~ ^/c/(\\w+) { alias /d/$1; location ~ x { deny all; } } location @n { return 200 \"n $uri\"; }
          location / { if ($arg_a ~* \"^(x|y)$\") { set $b $1; proxy_pass http://u; } rewrite ^/e/(.*)$ /f/$1?g last; limit_except GET { deny all; }
            try_files $uri $uri/ @n; limit_req zone=one burst=3; valid_referers none *.x.example; add_header X $b always; gzip on; expires 1h; } }";
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let odd = [
        "{", "}", ";", "\"", "'", "$", "${", "~", "@", "=", "(", ")", "\\", "*", "/", "[", "#", " ", "\n",
        "é", "0",
    ];
    for _ in 0..300 {
        let mut chars: Vec<char> = TEXT.chars().collect();
        for _ in 0..=draw(4) {
            let (at, other) = (draw(chars.len()), draw(chars.len()));
            match draw(4) {
                0 => drop(chars.drain(at..(at + draw(20)).min(chars.len()))),
                1 => drop(chars.splice(at..at, odd[draw(odd.len())].chars())),
                2 => chars.swap(at, other),
                _ => {
                    let copy = chars[at..(at + 20).min(chars.len())].to_vec();
                    drop(chars.splice(other..other, copy));
                }
            }
        }
        let text: String = chars.into_iter().collect();
        for part in [Part::Http, Part::Stream] {
            let done = import_files(&[(CONF, &text)], part);
            let read =
                mainstay_config::parse_str("x.toml", &done.toml, &|_| None, mainstay_config::Checks::NONE);
            // What is imported without complaint is a configuration.
            if done.exit_code(false) == 0
                && let Err(report) = read
            {
                panic!("{report}\n{text}\n{}", done.toml);
            }
        }
    }
}
