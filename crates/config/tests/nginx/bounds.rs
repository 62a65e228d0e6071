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
