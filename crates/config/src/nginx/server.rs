//! A `server` block: its names and where it listens.

use std::rc::Rc;

use super::listen::{self, Listen};
use super::scope::Scope;
use super::tree::Directive;
use super::{Cx, vars};

/// A `server` of http.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) at: &'a Directive,
    pub(super) scope: Rc<Scope<'a>>,
    /// Hosts as routes have them.
    pub(super) hosts: Vec<String>,
    /// Requests without a host are meant as well.
    pub(super) nameless: bool,
    pub(super) listens: Vec<Listen>,
}

/// Reads names and places; the rest is asked for when it is needed.
pub(super) fn read<'a>(at: &'a Directive, http: &Rc<Scope<'a>>, cx: &mut Cx<'a>) -> Server<'a> {
    let bare = http.inside(at.children());
    let mut hosts = Vec::new();
    let mut nameless = bare.own("server_name").is_empty();
    let mut first = None;
    for directive in bare.own("server_name") {
        for name in &directive.args {
            if first.is_none() {
                first = Some(shown(name, &cx.host));
            }
            nameless |= name.is_empty();
            names(name, directive, &mut hosts, cx);
        }
    }
    let mut seen = std::collections::HashSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    let name = first.unwrap_or_default();
    let scope = http.server(at.children(), &name);
    let mut listens: Vec<Listen> = Vec::new();
    for directive in scope.own("listen") {
        for listen in listen::read(directive, false, cx) {
            if listens.iter().any(|other| other.place == listen.place) {
                cx.wrong(directive, format!("a duplicate listen {}", directive.arg(0)));
            } else {
                listens.push(listen);
            }
        }
    }
    if scope.own("listen").is_empty() {
        listens.push(Listen::port_80(at));
    }
    Server { at, scope, hosts, nameless, listens }
}

/// A name as `$server_name` shows it.
fn shown(name: &str, host: &str) -> String {
    match name {
        "$hostname" => host.to_owned(),
        _ if name.starts_with('~') => name.to_owned(),
        _ => name.strip_prefix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

/// What a server name is as hosts of a route; names that no request can have are left out.
fn names(name: &str, at: &Directive, hosts: &mut Vec<String>, cx: &mut Cx<'_>) {
    if let Some(pattern) = name.strip_prefix('~') {
        let what = "requests for such hosts go to other servers";
        // Nginx matches hosts without regard to case, and ours are in lower case.
        hosts.extend(cx.regex(pattern, at, what).map(|pattern| format!("~(?i){pattern}")));
        return;
    }
    let lower = if name == "$hostname" { cx.host.clone() } else { name.to_ascii_lowercase() };
    if vars::has_vars(&lower) {
        return cx.wrong(at, format!("invalid server name \"{name}\""));
    }
    let lower = lower.trim_end_matches('.');
    if let Some(rest) = lower.strip_prefix('.') {
        if is_name(rest) {
            hosts.extend([rest.to_owned(), format!("*.{rest}")]);
        }
        return;
    }
    let inner = lower.strip_prefix("*.").or_else(|| lower.strip_suffix(".*")).unwrap_or(lower);
    if lower.contains('*') && (inner == lower || inner.contains('*')) {
        return cx.wrong(at, format!("server name \"{name}\" is invalid"));
    }
    // `_` and its like only fill the place of a name.
    if is_name(inner) && lower != "_" && lower != "default" {
        hosts.push(lower.to_owned());
    }
}

fn is_name(name: &str) -> bool {
    if let Some(addr) = name.strip_prefix('[').and_then(|addr| addr.strip_suffix(']')) {
        return addr.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        })
}
