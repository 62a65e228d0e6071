//! `proxy_pass` and `grpc_pass`: the pool that a location leads to, and what is changed on the way.

use std::time::Duration;

use super::location::{self, Site};
use super::place::Place;
use super::pool::{self, Made, Wire};
use super::response::{is_framing, is_token};
use super::scope::Scope;
use super::toml::{Table, Value};
use super::tree::Directive;
use super::url::{self, Url};
use super::vars::{self, Piece};
use super::{Cx, pcre, tls};

/// Alternatives that variables in a URL may make.
const MOST_VARIANTS: usize = 256;

/// What a location hands on to its backend.
pub(super) struct Way<'w, 'a> {
    pub(super) scope: &'w Scope<'a>,
    pub(super) place: &'w Place,
    pub(super) site: &'w Site<'w, 'a>,
    /// The route has no path of its own.
    pub(super) by_name: bool,
    /// The `proxy_pass` or `grpc_pass`.
    pub(super) at: &'a Directive,
}

/// Fills `pool` and `forward` of a route; `steps` get what chooses among several pools.
pub(super) fn fill<'a>(way: &Way<'_, 'a>, steps: &mut Vec<Table>, route: &mut Table, cx: &mut Cx<'a>) {
    let mut variants = variants(way.at.arg(0), cx);
    let Some((_, last)) = variants.pop() else {
        let text = way.at.arg(0).to_owned();
        if url::parse(&text, way.at.name == "grpc_pass").is_some() && !text.starts_with('$') {
            return to(way, &text, steps, route, cx);
        }
        let what =
            "a backend that is only known when the request is there does not exist here: 502 is answered";
        cx.report.dropped(way.at.pos, format!("{} {} is left out", way.at.name, way.at.arg(0)), what);
        return route.set("answer", Table::of("status", 502i64));
    };
    for (conditions, text) in variants {
        let mut inner = Vec::new();
        let mut other = Table::default();
        // The last variant is the route itself; the others are routes of their own.
        let by_name = Way { by_name: true, ..*way };
        to(&by_name, &text, &mut inner, &mut other, cx);
        let name = location::copy(way.site, way.scope, way.place, other, cx);
        let mut below = inner;
        let mut route = Some(name);
        for (variable, value) in conditions.into_iter().rev() {
            let when = Table::of("value", format!("{{{variable}}}")).with("is", vars::escaped(&value));
            let mut step = Table::of("when", when).with("steps", Value::from(below));
            step.maybe("route", route.take());
            below = vec![step];
        }
        steps.append(&mut below);
    }
    to(way, &last, steps, route, cx);
}

/// The URLs that a URL with variables can become, with the values that lead there.
type Variants = Vec<(Vec<(String, String)>, String)>;

fn variants(text: &str, cx: &Cx<'_>) -> Variants {
    let grpc = false;
    let fixed =
        |text: &str| url::parse(text, grpc).map_or(text.contains("://"), |url| vars::has_vars(url.authority));
    let mut open: Variants = vec![(Vec::new(), text.to_owned())];
    let mut done = Variants::new();
    while let Some((chosen, text)) = open.pop() {
        let unknown = if vars::has_vars(&text) && (text.starts_with('$') || fixed(&text)) {
            authority_variable(&text)
        } else {
            None
        };
        let Some(name) = unknown else {
            done.push((chosen, text));
            continue;
        };
        let Some(values) = cx.choices.get(&name.to_ascii_lowercase()).filter(|values| !values.is_empty())
        else {
            return Vec::new();
        };
        if open.len() + done.len() + values.len() > MOST_VARIANTS {
            return Vec::new();
        }
        for value in values {
            let replaced = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
            let mut chosen = chosen.clone();
            if values.len() > 1 {
                chosen.push((name.to_ascii_lowercase(), value.clone()));
            }
            open.push((chosen, replaced));
        }
    }
    done
}

/// The first variable that stands where the server does.
fn authority_variable(text: &str) -> Option<String> {
    let pieces = vars::pieces(text)?;
    pieces.iter().find_map(|piece| match piece {
        Piece::Var(name) => Some((*name).to_owned()),
        Piece::Text(_) => None,
    })
}

/// Fills `pool` and `forward` for one URL.
fn to<'a>(way: &Way<'_, 'a>, text: &str, steps: &mut Vec<Table>, route: &mut Table, cx: &mut Cx<'a>) {
    let grpc = way.at.name == "grpc_pass";
    let Some(url) = url::parse(text, grpc) else {
        cx.wrong(way.at, format!("invalid URL prefix in \"{text}\""));
        return route.set("answer", Table::of("status", 500i64));
    };
    let module = if grpc { "grpc" } else { "proxy" };
    let (host, _) = url::split(url.authority);
    let asked = vars::has_vars(url.authority);
    let tls_name = if asked {
        "$proxy_host"
    } else if url.authority.starts_with("unix:") {
        "localhost"
    } else {
        host
    };
    let tls = url.tls.then(|| tls::client(module, way.scope, tls_name, cx));
    let http2 = grpc || way.scope.word("proxy_http_version") == Some("2");
    let wire = Wire { tls, http2, ..Wire::default() };
    let mut forward = Table::default();
    let made = if asked {
        let start = text.find("://").map_or(0, |at| at + 3);
        let to = cx.text(&text[start..], way.scope, way.at.pos);
        forward.set("to", to);
        pool::asked(wire, way.at, cx)
    } else {
        target(way, &url, steps, &mut forward, cx);
        pool::of(&url, wire, way.at, cx)
    };
    request(way, &url, module, &mut forward, cx);
    if http2 {
        forward.set("upgrade", false);
    }
    times(way.scope, module, &made, &mut forward, cx);
    response(way, &url, module, &mut forward, cx);
    route.set("pool", made.name);
    route.set("forward", forward);
}

/// The request target: as it came, with another prefix, or as the URL says.
fn target(way: &Way<'_, '_>, url: &Url<'_>, steps: &mut Vec<Table>, forward: &mut Table, cx: &mut Cx<'_>) {
    let uri = url.uri;
    if uri.is_empty() {
        return;
    }
    if vars::has_vars(way.at.arg(0)) {
        let text = cx.text(uri, way.scope, way.at.pos);
        let text = if text.starts_with('?') { format!("/{text}") } else { text };
        return forward.set("uri", text);
    }
    let Some(path) = way.place.path() else {
        let what = "\"proxy_pass\" cannot have URI part in location given by regular expression, or inside named location";
        return cx.wrong(way.at, what);
    };
    let uri = if uri.starts_with('?') { format!("/{uri}") } else { uri.to_owned() };
    if way.by_name {
        steps.push(cut(path, &uri));
    } else if path != uri || uri.contains('?') {
        forward.set("prefix", uri);
    } else {
        // The same path again, normalised and encoded anew.
        forward.set("prefix", uri);
    }
}

/// A step that replaces the beginning of the path.
pub(super) fn cut(path: &str, by: &str) -> Table {
    Table::of("rewrite", format!("^{}(.*)$", pcre::literal(path)))
        .with("to", format!("{}{{1}}", vars::escaped(by)))
        .with("then", "break")
}

/// Host and headers of the request, and what of it is passed.
fn request(way: &Way<'_, '_>, url: &Url<'_>, module: &str, forward: &mut Table, cx: &mut Cx<'_>) {
    let scope = way.scope;
    let proxy_host =
        if url.authority.starts_with("unix:") { "localhost".to_owned() } else { proxy_host(url) };
    let mut host =
        if vars::has_vars(url.authority) { "{proxy_host}".to_owned() } else { vars::escaped(&proxy_host) };
    let mut ops: Vec<Table> = Vec::new();
    let mut upgrade = false;
    for at in scope.every(&format!("{module}_set_header")).to_vec() {
        let name = at.arg(0);
        let value = cx.text(at.arg(1), scope, at.pos);
        if name.eq_ignore_ascii_case("host") {
            host = value;
        } else if name.eq_ignore_ascii_case("upgrade") {
            upgrade = !value.is_empty();
        } else if is_framing(name) || name.eq_ignore_ascii_case("expect") {
            framing(at, &value, cx);
        } else if is_token(name) {
            ops.push(Table::of("set", name).with("value", value));
        } else {
            cx.report.dropped(
                at.pos,
                format!("{} {name} is left out", at.name),
                "this is not the name of a header",
            );
        }
    }
    forward.set("host", host);
    forward.set("forwarded", false);
    forward.list("headers", ops);
    forward.set("upgrade", upgrade);
    if module == "grpc" {
        return;
    }
    if let Some(at) = scope.get("proxy_method") {
        let method = cx.text(at.arg(0), scope, at.pos);
        forward.set("method", method);
    }
    if !scope.flag("proxy_pass_request_headers", true) {
        forward.set("pass_headers", false);
    }
    if !scope.flag("proxy_pass_request_body", true) {
        forward.set("pass_body", false);
    }
    if scope.flag("proxy_request_buffering", true) {
        forward.set("buffer_request", true);
    }
}

/// What `$proxy_host` is: the server as it was written, without the usual port.
fn proxy_host(url: &Url<'_>) -> String {
    match url::split(url.authority) {
        (host, Some("80")) if !url.tls => host.to_owned(),
        (host, Some("443")) if url.tls => host.to_owned(),
        _ => url.authority.to_owned(),
    }
}

/// Headers that belong to the connection: most ways to write them ask for what is done anyway.
fn framing(at: &Directive, value: &str, cx: &mut Cx<'_>) {
    let name = at.arg(0).to_ascii_lowercase();
    let usual = value.is_empty()
        || value.starts_with('{')
        || name == "connection"
            && ["close", "upgrade", "keep-alive"].iter().any(|word| value.eq_ignore_ascii_case(word))
        || name == "te" && value.eq_ignore_ascii_case("trailers");
    if !usual {
        let what = "it belongs to the connection, not to the message, and is made anew for each";
        cx.report.dropped(at.pos, format!("{} {} is left out", at.name, at.arg(0)), what);
    }
}

/// Times, and when another backend is tried.
fn times(scope: &Scope<'_>, module: &str, made: &Made, forward: &mut Table, cx: &mut Cx<'_>) {
    let minute = Duration::from_secs(60);
    for (key, name, ours) in [
        ("connect_timeout", "connect_timeout", Duration::from_secs(5)),
        ("send_timeout", "send_timeout", minute),
        ("read_timeout", "read_timeout", minute),
    ] {
        let time = scope.time(&format!("{module}_{name}")).unwrap_or(minute);
        if time != ours {
            forward.set(key, time.clamp(Duration::from_millis(1), Duration::from_secs(86_400)));
        }
    }
    forward.set("retry", retry(scope, module, made, cx));
}

fn retry(scope: &Scope<'_>, module: &str, made: &Made, cx: &mut Cx<'_>) -> Table {
    let mut on: Vec<Value> = Vec::new();
    let mut again = false;
    let directive = scope.get(&format!("{module}_next_upstream"));
    match directive {
        None => on.extend([Value::from("error"), Value::from("timeout")]),
        Some(at) => {
            for word in &at.args {
                match word.as_str() {
                    "error" | "timeout" => on.push(Value::from(word.as_str())),
                    "invalid_header" | "invalid_response" => on.push(Value::from("invalid-header")),
                    "non_idempotent" => again = true,
                    "off" => {
                        return Table::of("on", Value::List(Vec::new())).with("tries", 1i64);
                    }
                    "updating" | "denied" => {}
                    word => match word.strip_prefix("http_").and_then(|code| code.parse::<i64>().ok()) {
                        Some(code @ 400..=599) => on.push(Value::from(code)),
                        Some(_) | None => cx.wrong(at, format!("invalid value \"{word}\"")),
                    },
                }
            }
        }
    }
    let mut table = Table::of("on", Value::List(on));
    let most = made.backends.unwrap_or(0).min(100);
    let tries = match scope.number(&format!("{module}_next_upstream_tries")).unwrap_or(0) {
        0 => most,
        tries if most == 0 => tries.min(100),
        tries => tries.min(most),
    };
    table.set("tries", tries);
    let within = scope.time(&format!("{module}_next_upstream_timeout")).filter(|within| !within.is_zero());
    table.maybe("within", within);
    if again {
        table.set("non_idempotent", true);
    }
    table
}

/// What becomes of the backend's response.
fn response(way: &Way<'_, '_>, url: &Url<'_>, module: &str, forward: &mut Table, cx: &mut Cx<'_>) {
    let scope = way.scope;
    let mut hide: Vec<String> = [
        "Date",
        "Server",
        "X-Pad",
        "X-Accel-Expires",
        "X-Accel-Redirect",
        "X-Accel-Limit-Rate",
        "X-Accel-Buffering",
        "X-Accel-Charset",
    ]
    .map(str::to_owned)
    .to_vec();
    for at in scope.every(&format!("{module}_pass_header")) {
        hide.retain(|name| !name.eq_ignore_ascii_case(at.arg(0)));
    }
    for at in scope.every(&format!("{module}_hide_header")).to_vec() {
        if !is_token(at.arg(0)) {
            cx.wrong(at, format!("invalid header \"{}\"", at.arg(0)));
        } else if !hide.iter().any(|name| name.eq_ignore_ascii_case(at.arg(0))) {
            hide.push(at.arg(0).to_owned());
        }
    }
    forward.list("hide", hide);
    if module == "proxy" {
        let redirects = redirects(way, url, cx);
        forward.list("redirects", redirects);
        let domains = cookies(scope, "proxy_cookie_domain", cx);
        forward.list("cookie_domains", domains);
        let paths = cookies(scope, "proxy_cookie_path", cx);
        forward.list("cookie_paths", paths);
    }
    if scope.flag(&format!("{module}_intercept_errors"), false) {
        forward.set("intercept_errors", true);
    }
    let ignored = scope.every(&format!("{module}_ignore_headers"));
    let ignores =
        |name: &str| ignored.iter().any(|at| at.args.iter().any(|arg| arg.eq_ignore_ascii_case(name)));
    if !ignores("X-Accel-Redirect") {
        forward.set("accel", true);
    }
}

/// `proxy_redirect`.
fn redirects(way: &Way<'_, '_>, url: &Url<'_>, cx: &mut Cx<'_>) -> Vec<Table> {
    let scope = way.scope;
    let all = scope.every("proxy_redirect").to_vec();
    let mut list = Vec::new();
    if all.is_empty() {
        list.extend(default_redirect(way, url));
    }
    for at in all {
        match (at.arg(0), at.args.get(1)) {
            ("off", None) => return Vec::new(),
            ("default", None) if vars::has_vars(way.at.arg(0)) => {
                cx.wrong(
                    at,
                    "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables",
                );
            }
            ("default", None) => list.extend(default_redirect(way, url)),
            (from, Some(to)) => list.extend(text_rewrite(at, from, to, scope, cx)),
            (other, None) => cx.wrong(at, format!("invalid parameter \"{other}\"")),
        }
    }
    list
}

fn default_redirect(way: &Way<'_, '_>, url: &Url<'_>) -> Option<Table> {
    if vars::has_vars(way.at.arg(0)) {
        return None;
    }
    let base = vars::escaped(url.base);
    let (from, to) = match (url.uri, way.place.path()) {
        ("", _) => (format!("{base}/"), "/".to_owned()),
        (uri, Some(path)) => (format!("{base}{}", vars::escaped(uri)), vars::escaped(path)),
        (_, None) => return None,
    };
    Some(Table::of("from", from).with("to", to))
}

/// `from to`, `~expression to` or `~*expression to`.
fn text_rewrite(at: &Directive, from: &str, to: &str, scope: &Scope<'_>, cx: &mut Cx<'_>) -> Option<Table> {
    let to = cx.text(to, scope, at.pos);
    let Some(pattern) = from.strip_prefix('~') else {
        let from = cx.text(from, scope, at.pos);
        return Some(Table::of("from", from).with("to", to));
    };
    let (ignore_case, pattern) = match pattern.strip_prefix('*') {
        Some(pattern) => (true, pattern),
        None => (false, pattern),
    };
    let mut table = Table::of("regex", cx.regex(pattern, at, "what it matches is passed as it is")?);
    if ignore_case {
        table.set("ignore_case", true);
    }
    Some(table.with("to", to))
}

/// `proxy_cookie_domain` and `proxy_cookie_path`.
fn cookies(scope: &Scope<'_>, name: &str, cx: &mut Cx<'_>) -> Vec<Table> {
    let mut list = Vec::new();
    for at in scope.every(name).to_vec() {
        match (at.arg(0), at.args.get(1)) {
            ("off", None) => return Vec::new(),
            // A domain is compared as a whole, its case and a leading dot aside; the new one loses its dot.
            (from, Some(to))
                if name == "proxy_cookie_domain" && !from.starts_with('~') && !vars::has_vars(from) =>
            {
                let to = cx.text(to.strip_prefix('.').unwrap_or(to), scope, at.pos);
                let pattern = format!("^\\.?{}$", pcre::literal(from.strip_prefix('.').unwrap_or(from)));
                list.push(Table::of("regex", pattern).with("ignore_case", true).with("to", to));
            }
            (from, Some(to)) => list.extend(text_rewrite(at, from, to, scope, cx)),
            (other, None) => cx.wrong(at, format!("invalid parameter \"{other}\"")),
        }
    }
    list
}
