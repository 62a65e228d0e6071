//! Nginx's texts with variables become ours: `$host` is `{host}`, braces are doubled.

use std::collections::HashSet;

use super::pcre;
use super::tree::Directive;
use crate::import::report::{Pos, Report};
use crate::plan::edge::Known;

/// Variables of nginx that have no counterpart; they are empty here.
const ABSENT: &str = "request_body request_body_file limit_rate gzip_ratio ssl_ciphers ssl_curve \
    ssl_curves ssl_sigalg ssl_sigalgs ssl_session_id ssl_client_cert ssl_client_raw_cert ssl_client_v_start \
    ssl_client_v_end ssl_client_v_remain ssl_client_sigalg ssl_client_s_dn_legacy ssl_client_i_dn_legacy \
    ssl_early_data ssl_alpn_protocol ssl_ech_status ssl_ech_outer_server_name ssl_server_cert_type \
    upstream_bytes_received upstream_bytes_sent upstream_cache_status upstream_cache_last_modified \
    upstream_cache_etag upstream_cache_key upstream_cache_age upstream_response_length upstream_queue_time \
    upstream_first_byte_time upstream_session_time upstream_last_server_name date_local date_gmt \
    fastcgi_script_name fastcgi_path_info memcached_key secure_link secure_link_expires slice_range uid_got uid_set \
    uid_reset connection_time request_port is_request_port \
    limit_req_status limit_conn_status tcpinfo_rtt tcpinfo_rttvar tcpinfo_snd_cwnd tcpinfo_rcv_space http3 quic \
    ssl_preread_protocol ssl_preread_alpn_protocols ssl_preread_server_name proxy_internal_body_length \
    proxy_internal_chunked grpc_internal_trailers modern_browser ancient_browser msie spdy spdy_request_priority \
    proxy_key_identifier session_log_id";
/// Families of them.
const ABSENT_FAMILIES: &[&str] = &[
    "sent_trailer_",
    "upstream_trailer_",
    "proxy_protocol_tlv_",
    "geoip_",
    "geoip2_",
    "jwt_",
    "oidc_",
    "http_upstream_",
];
/// Families that exist here too.
const FAMILIES: &[&str] = &["http_", "sent_http_", "upstream_http_", "upstream_cookie_", "cookie_", "arg_"];

/// The variables that a configuration defines itself.
#[derive(Debug, Default)]
pub(super) struct Vars {
    own: HashSet<String>,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// As it is.
    Text(&'t str),
    /// A variable's name.
    Var(&'t str),
}

impl Vars {
    /// Finds what `set`, `map`, `geo`, `split_clients` and the groups of expressions define anywhere in the file.
    pub(super) fn collect(&mut self, all: &[Directive]) {
        for directive in all {
            let args = &directive.args;
            let defined = match directive.name.as_str() {
                "set" | "auth_request_set" | "perl_set" | "js_set" | "js_var" => args.first(),
                "map" | "geo" | "split_clients" => args.last(),
                _ => None,
            };
            if let Some(name) = defined.and_then(|name| name.strip_prefix('$')) {
                self.define(name);
            }
            let patterned = matches!(directive.name.as_str(), "location" | "server_name" | "rewrite" | "if");
            if patterned {
                args.iter().flat_map(|arg| pcre::names(arg)).for_each(|name| self.define(&name));
            }
            if directive.name == "valid_referers" {
                self.define("invalid_referer");
            }
            if directive.name == "map" {
                let keys = directive.children().iter().filter(|entry| entry.name.starts_with('~'));
                keys.flat_map(|entry| pcre::names(&entry.name)).for_each(|name| self.define(&name));
            } else {
                self.collect(directive.children());
            }
        }
    }

    /// Another variable of the file's own.
    pub(super) fn define(&mut self, name: &str) {
        self.own.insert(name.to_ascii_lowercase());
    }

    /// The text with our variables.
    pub(super) fn text(
        &self,
        text: &str,
        server_name: Option<&str>,
        pos: Pos,
        report: &mut Report,
    ) -> String {
        let Some(pieces) = pieces(text) else {
            report.error(
                pos,
                "invalid variable name",
                "nginx would not start with this; `nginx -t` says the same",
            );
            return escaped(text);
        };
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(&escaped(text)),
                Piece::Var(name) => out.push_str(&self.variable(name, server_name, pos, report)),
            }
        }
        out
    }

    fn variable(&self, name: &str, server_name: Option<&str>, pos: Pos, report: &mut Report) -> String {
        let name = name.to_ascii_lowercase();
        if name == "server_name"
            && let Some(server_name) = server_name
        {
            return escaped(server_name);
        }
        let digit = matches!(name.as_bytes(), [b'1'..=b'9']);
        let known = Known::ALL.iter().any(|(known, _)| *known == name);
        if digit || known || self.own.contains(&name) {
            return format!("{{{name}}}");
        }
        if name == "realpath_root" {
            return "{document_root}".to_owned();
        }
        let absent = ABSENT.split_whitespace().any(|absent| absent == name)
            || ABSENT_FAMILIES.iter().any(|family| name.starts_with(family));
        if !absent && FAMILIES.iter().any(|family| name.len() > family.len() && name.starts_with(family)) {
            return format!("{{{name}}}");
        }
        if absent {
            report.dropped(pos, format!("the variable ${name} is empty here"), "write the text without it");
        } else {
            let help = "nginx would not start with this; `nginx -t` says the same";
            report.error(pos, format!("unknown \"{name}\" variable"), help);
        }
        String::new()
    }
}

/// Text in which nothing is a variable.
pub(super) fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Whether a variable of one's own may be called so: none that has a meaning already.
pub(super) fn is_own(name: &str) -> bool {
    let known = Known::ALL.iter().any(|(known, _)| *known == name);
    let family = FAMILIES.iter().chain(ABSENT_FAMILIES).any(|family| name.starts_with(family));
    let absent = ABSENT.split_whitespace().any(|absent| absent == name);
    !known && !family && !absent && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether variables are in a text.
pub(super) fn has_vars(text: &str) -> bool {
    text.contains('$')
}

/// The pieces of a text; `None` when a `$` is followed by no name.
pub(super) fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            all.push(Piece::Text(&rest[..at]));
        }
        let after = &rest[at + 1..];
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(inner) = after.strip_prefix('{') {
            let len = inner.find(|c| !named(c)).filter(|len| inner[*len..].starts_with('}') && *len > 0)?;
            all.push(Piece::Var(&inner[..len]));
            rest = &inner[len + 1..];
        } else if after.starts_with(|c: char| c.is_ascii_digit()) {
            all.push(Piece::Var(&after[..1]));
            rest = &after[1..];
        } else {
            let len = after.find(|c| !named(c)).unwrap_or(after.len());
            if len == 0 {
                return None;
            }
            all.push(Piece::Var(&after[..len]));
            rest = &after[len..];
        }
    }
    if !rest.is_empty() {
        all.push(Piece::Text(rest));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn ours(text: &str) -> (String, usize) {
        let mut vars = Vars::default();
        vars.define("mine");
        let mut report = Report::default();
        let file = report.open(Path::new("nginx.conf"));
        let out = vars.text(text, Some("a.example"), Pos { file, line: 1 }, &mut report);
        (out, report.into_findings().len())
    }

    #[test]
    fn variables_keep_their_names_and_braces_are_doubled() {
        assert_eq!(
            ours("$scheme://$host:${server_port}x{y}$1a"),
            ("{scheme}://{host}:{server_port}x{{y}}{1}a".into(), 0)
        );
        assert_eq!(
            ours("$http_x_y$arg_a$cookie_b$mine$Host"),
            ("{http_x_y}{arg_a}{cookie_b}{mine}{host}".into(), 0)
        );
        assert_eq!(ours("$binary_remote_addr $server_name"), ("{binary_remote_addr} a.example".into(), 0));
    }

    #[test]
    fn a_variable_that_does_not_exist_here_is_empty_and_said() {
        assert_eq!(ours("a$request_body"), ("a".into(), 1));
        assert_eq!(ours("a$nonsense"), ("a".into(), 1));
        assert_eq!(ours("5$").1, 1);
    }
}
