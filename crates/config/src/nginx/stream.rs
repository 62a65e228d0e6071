//! The `stream` block: each server is a listener that hands its connections to a pool.

use std::rc::Rc;
use std::time::Duration;

use super::draft::Kind;
use super::listen::{self, Listen};
use super::pool::{self, Wire};
use super::scope::Scope;
use super::toml::{Table, Value};
use super::tree::Directive;
use super::url::Url;
use super::{Cx, access, backends, maps, response, tls, values, vars};

/// Reads a `stream` block.
pub(super) fn read<'a>(stream: &Rc<Scope<'a>>, cx: &mut Cx<'a>) {
    let names: Vec<&Directive> = stream.own("map").iter().copied().filter(|at| is_sni(at)).collect();
    // Maps of server names become rules of listeners.
    let others: Vec<Directive> = stream
        .all
        .iter()
        .filter(|at| !names.iter().any(|name| name.pos == at.pos && at.name == "map"))
        .cloned()
        .collect();
    maps::read(&Scope::outermost(&others), cx);
    maps::choices(stream, cx);
    response::formats(stream, cx);
    backends::read(stream, cx);
    let mut taken: Vec<(bool, String)> = Vec::new();
    for at in stream.own("server").to_vec() {
        server(at, stream, &names, &mut taken, cx);
    }
    pool::unused(cx);
}

/// Whether a map looks at the name that a TLS client asks for.
fn is_sni(at: &Directive) -> bool {
    at.name == "map" && matches!(at.arg(0), "$ssl_preread_server_name" | "${ssl_preread_server_name}")
}

fn server<'a>(
    at: &'a Directive,
    stream: &Rc<Scope<'a>>,
    names: &[&'a Directive],
    taken: &mut Vec<(bool, String)>,
    cx: &mut Cx<'a>,
) {
    let scope = stream.inside(at.children());
    let mut listens: Vec<Listen> = Vec::new();
    for directive in scope.own("listen") {
        for listen in listen::read(directive, true, cx) {
            if taken.contains(&(listen.udp, listen.place.clone())) {
                let what = "one server takes an address; server names of stream are not told apart";
                cx.report.dropped(
                    directive.pos,
                    format!("another server listens on {} already", listen.place),
                    what,
                );
            } else {
                taken.push((listen.udp, listen.place.clone()));
                listens.push(listen);
            }
        }
    }
    if scope.own("listen").is_empty() {
        return cx.wrong(at, "no \"listen\" is defined for server in stream");
    }
    // What differs from address to address makes listeners of their own.
    let mut groups: Vec<Vec<Listen>> = Vec::new();
    for listen in listens {
        let like = |other: &&mut Vec<Listen>| {
            let first = &other[0];
            (first.udp, first.ssl, first.proxy) == (listen.udp, listen.ssl, listen.proxy)
        };
        match groups.iter_mut().find(like) {
            Some(group) => group.push(listen),
            None => groups.push(vec![listen]),
        }
    }
    for group in groups {
        listener(at, &group, &scope, names, cx);
    }
}

fn listener<'a>(
    at: &'a Directive,
    group: &[Listen],
    scope: &Scope<'a>,
    names: &[&'a Directive],
    cx: &mut Cx<'a>,
) {
    let first = &group[0];
    let bare = first.place.strip_prefix("0.0.0.0").unwrap_or(&first.place);
    let name = cx.draft.name(Kind::Listener, &if first.udp { format!("udp{bare}") } else { bare.to_owned() });
    let mut table = Table::of("name", name);
    match group {
        [one] => table.set("bind", one.place.as_str()),
        many => table.set("bind", many.iter().map(|listen| listen.place.clone()).collect::<Vec<_>>()),
    }
    let preread = scope.flag("ssl_preread", false) && !first.udp && !first.ssl;
    table.set(
        "protocol",
        if first.udp {
            "udp"
        } else if preread {
            "passthrough"
        } else {
            "tcp"
        },
    );
    if first.ssl && !first.udp {
        let list = tls::certificates(scope, cx);
        if list.is_empty() {
            cx.wrong(at, "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive");
        }
        tls::options(scope, list, &mut table, cx);
        let handshake = scope.time("ssl_handshake_timeout").unwrap_or(Duration::from_secs(60));
        table.set("tls_timeout", handshake.max(Duration::from_millis(1)).min(Duration::from_secs(86_400)));
    }
    if first.proxy && !first.udp {
        table.set("proxy_from", vec!["0.0.0.0/0", "::/0"]);
        real_ip(scope, &mut table, cx);
    }
    let rules = access::rules(scope, cx);
    table.list("access", rules);
    if !target(at, first, preread, scope, names, &mut table, cx) {
        return;
    }
    let wait = |time: Duration| time.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
    table
        .set("connect_timeout", wait(scope.time("proxy_connect_timeout").unwrap_or(Duration::from_secs(60))));
    table.set("idle_timeout", wait(scope.time("proxy_timeout").unwrap_or(Duration::from_secs(600))));
    if first.udp {
        table.maybe("udp_responses", scope.number("proxy_responses"));
    }
    let log = response::logs(scope, false, cx);
    table.list("log", log);
    cx.draft.push(Kind::Listener, first.pos, table, &mut cx.report);
}

/// `set_real_ip_from` believes the PROXY header of some; without it the header only fills its own variables.
fn real_ip(scope: &Scope<'_>, table: &mut Table, cx: &mut Cx<'_>) {
    let mut trusted = Vec::new();
    for at in scope.every("set_real_ip_from").to_vec() {
        match values::network(at.arg(0)) {
            Some(network) => trusted.push(network),
            None if at.arg(0) == "unix:" => trusted.push("unix:".to_owned()),
            None => {
                let what =
                    "names are not looked up by the importer: nobody there is believed; write the address";
                cx.report.dropped(at.pos, format!("set_real_ip_from {} is left out", at.arg(0)), what);
            }
        }
    }
    if !trusted.is_empty() {
        table.set("real_ip", Table::of("proxy", true).with("trusted", trusted));
    }
}

/// Where connections go; false when there is no such place.
fn target<'a>(
    at: &'a Directive,
    first: &Listen,
    preread: bool,
    scope: &Scope<'a>,
    names: &[&'a Directive],
    table: &mut Table,
    cx: &mut Cx<'a>,
) -> bool {
    if let Some(answer) = scope.own("return").last() {
        let text = cx.text(answer.arg(0), scope, answer.pos);
        table.set("protocol", "tcp");
        table.set("answer", text);
        return !first.udp;
    }
    let Some(pass) = scope.own("proxy_pass").last().copied() else {
        cx.wrong(at, "no handler for server");
        return false;
    };
    let text = pass.arg(0);
    if let Some(map) = names.iter().find(|map| map.args.last().is_some_and(|name| name == text)) {
        return by_name(map, pass, preread, scope, table, cx);
    }
    if matches!(text, "$ssl_preread_server_name" | "${ssl_preread_server_name}") || vars::has_vars(text) {
        let known = text.strip_prefix('$').and_then(|name| cx.choices.get(name)).cloned();
        if let Some([one]) = known.as_deref() {
            let name = to(one, pass, preread, scope, cx);
            table.set("pool", name);
            return true;
        }
        let what = "a backend that is only known when the connection is there does not exist here; \
                    a map of $ssl_preread_server_name does";
        cx.report.dropped(pass.pos, format!("proxy_pass {text} is left out, and the listener with it"), what);
        return false;
    }
    let name = to(text, pass, preread, scope, cx);
    table.set("pool", name);
    true
}

/// The pool of one server or upstream.
fn to<'a>(text: &str, pass: &'a Directive, preread: bool, scope: &Scope<'a>, cx: &mut Cx<'a>) -> String {
    let over_tls = scope.flag("proxy_ssl", false) && !preread;
    let host = super::url::split(text).0.to_owned();
    let tls = over_tls.then(|| tls::client("proxy", scope, &host, cx));
    let wire = Wire { tls, proxy: scope.flag("proxy_protocol", false), stream: true, http2: false };
    let url = Url { tls: false, authority: text, base: text, uri: "" };
    let known = cx.backends.contains_key(&host.to_ascii_lowercase());
    if !known && super::url::split(text).1.is_none() && !text.starts_with("unix:") {
        cx.wrong(pass, format!("no port in upstream \"{text}\""));
    }
    pool::of(&url, wire, pass, cx).name
}

/// A map of the name that a TLS client asks for becomes rules.
fn by_name<'a>(
    map: &'a Directive,
    pass: &'a Directive,
    preread: bool,
    scope: &Scope<'a>,
    table: &mut Table,
    cx: &mut Cx<'a>,
) -> bool {
    if !preread {
        cx.wrong(pass, "$ssl_preread_server_name is empty without ssl_preread");
        return false;
    }
    let mut rules: Vec<(String, Vec<String>)> = Vec::new();
    for entry in map.children() {
        let (key, value) = (entry.name.as_str(), entry.arg(0));
        if value.is_empty() {
            continue;
        }
        if vars::has_vars(value) {
            let what = "connections for it are closed";
            cx.report.dropped(entry.pos, format!("{key} {value} is left out"), what);
            continue;
        }
        let pool = to(value, pass, preread, scope, cx);
        let hosts = match key {
            "default" => {
                table.set("pool", pool);
                continue;
            }
            "" => {
                let what = "connections without a server name go to the default";
                cx.report.dropped(entry.pos, "the rule for no name is left out", what);
                continue;
            }
            _ => match (key.strip_prefix("~*").or_else(|| key.strip_prefix('~')), key.strip_prefix('.')) {
                (Some(pattern), _) => {
                    let pattern = cx.regex(pattern, entry, "such names go to the default");
                    pattern.into_iter().map(|pattern| format!("~(?i){pattern}")).collect()
                }
                (None, Some(rest)) => {
                    vec![rest.to_ascii_lowercase(), format!("*.{}", rest.to_ascii_lowercase())]
                }
                (None, None) => vec![key.strip_prefix('\\').unwrap_or(key).to_ascii_lowercase()],
            },
        };
        match rules.iter_mut().find(|(known, _)| *known == pool) {
            Some((_, known)) => known.extend(hosts),
            None => rules.push((pool, hosts)),
        }
    }
    let rules: Vec<Value> = rules
        .into_iter()
        .filter(|(_, hosts)| !hosts.is_empty())
        .map(|(pool, hosts)| Value::from(Table::of("host", hosts).with("pool", pool)))
        .collect();
    if rules.is_empty() && table.get("pool").is_none() {
        cx.wrong(map, "no server name leads anywhere");
        return false;
    }
    table.list("sni", rules);
    true
}
