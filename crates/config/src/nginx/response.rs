//! What is done with responses, and what is written down: headers, error pages, compression, access logs.

use std::collections::HashMap;

use super::draft::Kind;
use super::scope::Scope;
use super::toml::{Table, Value};
use super::tree::Directive;
use super::{Cx, values, vars};
use crate::values::written;

/// An access log's format.
#[derive(Clone, Debug)]
pub(super) struct Format {
    text: String,
    json: bool,
}

/// Reads every `log_format`.
pub(super) fn formats(scope: &Scope<'_>, cx: &mut Cx<'_>) {
    for at in scope.own("log_format") {
        let (escape, pieces) = match at.args.get(1).and_then(|arg| arg.strip_prefix("escape=")) {
            Some(escape) => (escape, &at.args[2..]),
            None => ("default", &at.args[1..]),
        };
        match escape {
            "json" | "default" => {}
            "none" => {
                cx.report.dropped(at.pos, "escape=none is left out", "values are escaped as by default")
            }
            other => cx.wrong(at, format!("unknown log format escaping \"{other}\"")),
        }
        let text = cx.text(&pieces.concat(), scope, at.pos);
        cx.formats.insert(at.arg(0).to_owned(), Format { text, json: escape == "json" });
    }
}

/// Logs of a route or a listener.
pub(super) fn logs(scope: &Scope<'_>, combined: bool, cx: &mut Cx<'_>) -> Vec<Value> {
    let mut uses = Vec::new();
    for at in scope.every("access_log").to_vec() {
        if at.arg(0) == "off" {
            return Vec::new();
        }
        if at.arg(0).starts_with("syslog:") || vars::has_vars(at.arg(0)) {
            let what = "nothing is written there; name a file, or \"stdout\" for the journal";
            cx.report.dropped(at.pos, format!("access_log {} is left out", at.arg(0)), what);
            continue;
        }
        let format = at.args.get(1).map_or("combined", String::as_str);
        let format = if format.contains('=') { "combined" } else { format };
        let Some(name) = log(at, format, combined, cx) else { continue };
        let when = at.option("if").map(|when| cx.text(when, scope, at.pos));
        uses.push(match when {
            Some(when) => Value::from(Table::of("name", name).with("when", when)),
            None => Value::from(name),
        });
    }
    uses
}

fn log(at: &Directive, format: &str, combined: bool, cx: &mut Cx<'_>) -> Option<String> {
    let to = match at.arg(0) {
        "/dev/stdout" | "/proc/self/fd/1" => "stdout".to_owned(),
        path => cx.served(path),
    };
    let key = (to.clone(), format.to_owned());
    if let Some(name) = cx.logs.get(&key) {
        return Some(name.clone());
    }
    let known = cx.formats.get(format).cloned();
    let wanted = to.rsplit('/').next().unwrap_or_default().to_owned();
    let mut table = Table::default();
    match known {
        Some(format) if !format.text.contains('{') => {
            let what = "nothing is written there; a format has at least one variable";
            cx.report.dropped(at.pos, format!("access_log {} is left out", at.arg(0)), what);
            return None;
        }
        Some(format) => {
            table.set("format", format.text);
            if format.json {
                table.set("json_escape", true);
            }
        }
        None if format == "combined" && combined => {}
        None => {
            cx.wrong(at, format!("unknown log format \"{format}\""));
            return None;
        }
    }
    let name = cx.draft.name(Kind::Log, &wanted);
    let mut named = Table::of("name", name.as_str()).with("to", to);
    named.append(table);
    cx.draft.push(Kind::Log, at.pos, named, &mut cx.report);
    cx.logs.insert(key, name.clone());
    Some(name)
}

/// Media types: a file of them is taken over as it is.
pub(super) fn types(http: &Scope<'_>, cx: &mut Cx<'_>) {
    for at in http.own("types") {
        let path = cx.report.path(at.pos).to_owned();
        let alone = http.all.iter().filter(|other| other.pos.file == at.pos.file).count() == 1;
        if alone && path.is_absolute() {
            cx.draft.edge.set("types", path.display().to_string());
        } else if !at.children().is_empty() {
            let what = "the built-in table holds; write a file of this form and name it in [edge] types";
            cx.report.dropped(at.pos, "types in the file itself are left out", what);
        }
    }
}

/// How the client's address is found, as a table of ours.
pub(super) fn real_ip(scope: &Scope<'_>, cx: &mut Cx<'_>) -> Option<Table> {
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
    if trusted.is_empty() {
        return None;
    }
    let header = scope.word("real_ip_header").unwrap_or("X-Real-IP");
    let mut table = Table::default();
    if header.eq_ignore_ascii_case("proxy_protocol") {
        table.set("proxy", true);
    } else {
        table.set("header", header);
        table.set("recursive", scope.flag("real_ip_recursive", false));
    }
    table.set("trusted", trusted);
    Some(table)
}

/// Fills what a route does with responses.
pub(super) fn fill(scope: &Scope<'_>, pages: &HashMap<String, String>, route: &mut Table, cx: &mut Cx<'_>) {
    headers(scope, route, cx);
    errors(scope, pages, route, cx);
    gzip(scope, route);
    if let Some(at) = scope.get("limit_rate") {
        match values::size(at.arg(0)) {
            Some(0) => {}
            Some(bytes) => route.set("rate_bytes", values::size_text(bytes)),
            None => {
                let what = "responses go out as fast as the client takes them";
                cx.report.dropped(at.pos, format!("limit_rate {} is left out", at.arg(0)), what);
            }
        }
    }
    expires(scope, route, cx);
    let log = logs(scope, true, cx);
    route.list("log", log);
}

fn headers(scope: &Scope<'_>, route: &mut Table, cx: &mut Cx<'_>) {
    let mut ops = Vec::new();
    for at in merged(scope, "add_header") {
        let name = at.arg(0);
        let value = cx.text(at.arg(1), scope, at.pos);
        let always = match at.args.get(2).map(String::as_str) {
            None => false,
            Some("always") => true,
            Some(other) => {
                cx.wrong(at, format!("invalid parameter \"{other}\""));
                continue;
            }
        };
        if is_framing(name) || !is_token(name) {
            let what = "lengths and connections are taken care of";
            cx.report.dropped(at.pos, format!("add_header {name} is left out"), what);
            continue;
        }
        // These two exist once: what is added takes the place of what is there.
        let once = name.eq_ignore_ascii_case("last-modified") || name.eq_ignore_ascii_case("etag");
        let mut op = Table::of(if once { "set" } else { "add" }, name).with("value", value);
        if always {
            op.set("always", true);
        }
        ops.push(op);
    }
    route.list("response_headers", ops);
}

/// One more change of the response's headers.
pub(super) fn push_header(op: Table, route: &mut Table) {
    let mut ops = match route.get("response_headers") {
        Some(Value::List(ops)) => ops.clone(),
        Some(_) | None => Vec::new(),
    };
    ops.push(op.into());
    route.set("response_headers", Value::List(ops));
}

/// The directives of a list that may ask for those of the outer blocks too (`add_header_inherit merge`).
fn merged<'a>(scope: &Scope<'a>, name: &str) -> Vec<&'a Directive> {
    let how = format!("{name}_inherit");
    let mut all: Vec<&'a Directive> = Vec::new();
    let mut level = Some(scope);
    while let Some(scope) = level {
        let own = scope.own(name);
        all.splice(0..0, own.iter().copied());
        let goes_on = match scope.word(&how) {
            Some("merge") => true,
            Some("off") => false,
            Some(_) | None => own.is_empty(),
        };
        if !goes_on {
            break;
        }
        level = scope.up.as_deref();
    }
    all
}

/// Headers that belong to a connection, not to a message.
pub(super) fn is_framing(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    NAMES.iter().any(|framing| name.eq_ignore_ascii_case(framing))
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn errors(scope: &Scope<'_>, pages: &HashMap<String, String>, route: &mut Table, cx: &mut Cx<'_>) {
    let mut all = Vec::new();
    for at in scope.every("error_page").to_vec() {
        all.extend(error_page(at, scope, pages, cx));
    }
    route.list("errors", all);
}

fn error_page(
    at: &Directive,
    scope: &Scope<'_>,
    pages: &HashMap<String, String>,
    cx: &mut Cx<'_>,
) -> Option<Table> {
    let (page, rest) = at.args.split_last()?;
    let (codes, status) = match rest.split_last() {
        Some((last, codes)) if last.starts_with('=') => {
            let status = if last == "=" { Some(0) } else { last[1..].parse::<i64>().ok() };
            match status {
                Some(status @ (0 | 200..=999)) => (codes, Some(status)),
                Some(_) | None => {
                    cx.wrong(at, format!("invalid value \"{last}\""));
                    return None;
                }
            }
        }
        Some(_) | None => (rest, None),
    };
    let mut numbers: Vec<i64> = Vec::new();
    for code in codes {
        match code.parse::<i64>() {
            Ok(code @ 300..=599) => {
                // What nginx calls its own troubles; only a `return` comes to them here.
                if (494..=497).contains(&code) {
                    let what = "clients get 400, or 431 for a head that is too large";
                    cx.report.note(
                        at.pos,
                        format!("error_page {code} only stands for `return {code}`"),
                        what,
                    );
                }
                numbers.push(code);
            }
            Ok(_) | Err(_) => cx.wrong(at, format!("value \"{code}\" must be between 300 and 599")),
        }
    }
    if numbers.is_empty() {
        return None;
    }
    let mut table = match numbers.as_slice() {
        [one] => Table::of("codes", *one),
        many => Table::of("codes", many.to_vec()),
    };
    if page.starts_with('@') {
        let Some(name) = pages.get(page) else {
            cx.wrong(at, format!("could not find named location \"{page}\""));
            return None;
        };
        table.set("route", name.as_str());
    } else {
        let text = cx.text(page, scope, at.pos);
        let path = page.starts_with('/') || (page.starts_with('$') && !page.starts_with("$scheme"));
        table.set(if path { "path" } else { "url" }, text);
        if !path && !matches!(status, Some(301..=303 | 307 | 308)) {
            // A redirect is one whatever the directive says.
            return Some(table);
        }
    }
    table.maybe("status", status);
    Some(table)
}

fn gzip(scope: &Scope<'_>, route: &mut Table) {
    if !scope.flag("gzip", false) {
        return;
    }
    let mut types = vec!["text/html".to_owned()];
    for at in scope.every("gzip_types") {
        types.extend(at.args.iter().filter(|media| media.contains('/') || *media == "*").cloned());
    }
    if types.iter().any(|media| media == "*") {
        types = vec!["*".to_owned()];
    }
    let mut seen = std::collections::HashSet::new();
    types.retain(|media| seen.insert(media.clone()));
    let mut table = Table::of("types", types);
    table.set("min_length", values::size_text(scope.size("gzip_min_length").unwrap_or(20)));
    table.maybe("level", scope.number("gzip_comp_level").filter(|level| (2..=9).contains(level)));
    table.set("vary", scope.flag("gzip_vary", false));
    let proxied = scope.get("gzip_proxied").is_some_and(|at| at.args.iter().any(|word| word != "off"));
    table.set("proxied", proxied);
    if scope.word("gzip_http_version") == Some("1.0") {
        table.set("http10", true);
    }
    route.set("gzip", table);
}

fn expires(scope: &Scope<'_>, route: &mut Table, cx: &mut Cx<'_>) {
    let Some(at) = scope.get("expires") else { return };
    let (modified, text) = match at.args.as_slice() {
        [word, time] if word == "modified" => ("modified ", time.as_str()),
        [time] => ("", time.as_str()),
        _ => return cx.wrong(at, "invalid value of expires"),
    };
    match text {
        "off" => return,
        "epoch" | "max" if modified.is_empty() => return route.set("expires", text),
        _ => {}
    }
    let (sign, time) = text.strip_prefix('-').map_or(("", text), |time| ("-", time));
    match values::time(time) {
        Some(time) => route.set("expires", format!("{modified}{sign}{}", written(time))),
        None => {
            let what = "Expires and Cache-Control are not set";
            cx.report.dropped(at.pos, format!("expires {text} is left out"), what);
        }
    }
}
