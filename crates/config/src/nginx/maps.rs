//! Variables computed from others: `map`, `geo`, `split_clients`, and `valid_referers`, which is a map in disguise.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::draft::Kind;
use super::scope::Scope;
use super::spans::Spans;
use super::toml::Table;
use super::tree::Directive;
use super::vars::escaped;
use super::{Cx, pcre, values, vars};

/// Values that `proxy_pass` may choose among.
const MOST_CHOICES: usize = 64;

/// Makes the maps of a block.
pub(super) fn read(scope: &Rc<Scope<'_>>, cx: &mut Cx<'_>) {
    // The last one of a name holds.
    let mut last: HashMap<&str, &Directive> = HashMap::new();
    let all: Vec<&Directive> =
        scope.all.iter().filter(|at| matches!(at.name.as_str(), "map" | "geo" | "split_clients")).collect();
    for at in &all {
        if let Some(old) = at.args.last().and_then(|name| last.insert(name, at)) {
            let place = cx.report.place(at.pos);
            let text = format!("this {} is never asked: {place} gives the variable its value", old.name);
            cx.report.note(old.pos, text, "take it out");
        }
    }
    for at in all {
        let Some(name) =
            at.args.last().filter(|name| last.get(name.as_str()).is_some_and(|kept| kept.pos == at.pos))
        else {
            continue;
        };
        let Some(name) = name.strip_prefix('$') else {
            cx.wrong(at, format!("invalid variable name \"{name}\""));
            continue;
        };
        let mut table = Table::of("name", name.to_ascii_lowercase());
        let source = match at.name.as_str() {
            "geo" if at.args.len() == 1 => "{remote_addr}".to_owned(),
            _ => cx.text(at.arg(0), scope, at.pos),
        };
        table.set("from", source);
        match at.name.as_str() {
            "map" => map(at, scope, &mut table, cx),
            "geo" => geo(at, &mut table, cx),
            _ => shares(at, scope, &mut table, cx),
        }
        cx.draft.push(Kind::Map, at.pos, table, &mut cx.report);
    }
}

fn map(at: &Directive, scope: &Scope<'_>, table: &mut Table, cx: &mut Cx<'_>) {
    let mut entries: Vec<Table> = Vec::new();
    let mut seen = HashSet::new();
    let hostnames = at.children().iter().any(|entry| entry.name == "hostnames" && entry.args.is_empty());
    for entry in at.children() {
        let key = entry.name.as_str();
        if entry.args.is_empty() && matches!(key, "hostnames" | "volatile") {
            continue;
        }
        let [value] = entry.args.as_slice() else {
            cx.wrong(entry, "invalid number of the map parameters");
            continue;
        };
        let to = cx.text(value, scope, entry.pos);
        if key == "default" {
            table.set("default", to);
            continue;
        }
        if let Some(pattern) = key.strip_prefix('~') {
            let (ignore_case, pattern) = match pattern.strip_prefix('*') {
                Some(pattern) => (true, pattern),
                None => (false, pattern),
            };
            let what = "texts that it matches get the default";
            let Some(pattern) = cx.regex(pattern, entry, what) else { continue };
            let mut value = Table::of("regex", pattern);
            if ignore_case {
                value.set("ignore_case", true);
            }
            entries.push(value.with("to", to));
            continue;
        }
        let key = key.strip_prefix('\\').unwrap_or(key);
        let keys = match key.strip_prefix('.') {
            Some(rest) if hostnames => vec![rest.to_owned(), format!("*.{rest}")],
            Some(_) | None => vec![key.to_owned()],
        };
        for key in keys {
            if seen.insert(key.to_lowercase()) {
                entries.push(Table::of("is", key).with("to", to.as_str()));
            } else {
                cx.wrong(entry, format!("conflicting parameter \"{key}\""));
            }
        }
    }
    if hostnames {
        table.set("hostnames", true);
    }
    table.set("values", entries);
}

fn geo(at: &Directive, table: &mut Table, cx: &mut Cx<'_>) {
    let ranges = at.children().iter().any(|entry| entry.name == "ranges");
    let mut networks: Vec<(String, String)> = Vec::new();
    let mut spans = Spans::default();
    for entry in at.children() {
        match (entry.name.as_str(), entry.args.as_slice()) {
            ("ranges" | "volatile", []) => {}
            ("default", [value]) => table.set("default", escaped(value)),
            ("delete", [range]) if ranges => spans.remove(range),
            ("delete", [network]) => {
                let network = values::network(network);
                networks.retain(|(known, _)| Some(known) != network.as_ref());
            }
            ("proxy" | "proxy_recursive", _) => {
                let what = "the address of the connection is looked at; write `real_ip` into the listener";
                cx.report.dropped(entry.pos, format!("{} of geo is left out", entry.name), what);
            }
            (range, [value]) if ranges => {
                if !spans.insert(range, &escaped(value)) {
                    cx.wrong(entry, format!("invalid range \"{range}\""));
                }
            }
            (network, [value]) => match values::network(network) {
                Some(network) => {
                    networks.retain(|(known, _)| *known != network);
                    networks.push((network, escaped(value)));
                }
                None => cx.wrong(entry, format!("invalid network \"{network}\"")),
            },
            _ => cx.wrong(entry, "invalid number of the geo parameters"),
        }
    }
    networks.extend(spans.networks());
    let networks: Vec<Table> =
        networks.into_iter().map(|(net, to)| Table::of("net", net).with("to", to)).collect();
    table.set("networks", networks);
}

fn shares(at: &Directive, scope: &Scope<'_>, table: &mut Table, cx: &mut Cx<'_>) {
    let mut all = Vec::new();
    for entry in at.children() {
        let [value] = entry.args.as_slice() else {
            cx.wrong(entry, "invalid number of the split_clients parameters");
            continue;
        };
        let percent = entry.name.strip_suffix('%').unwrap_or(&entry.name);
        let good =
            percent == "*" || percent.parse::<f64>().is_ok_and(|number| number > 0.0 && number <= 100.0);
        if good {
            let to = cx.text(value, scope, entry.pos);
            all.push(Table::of("percent", percent).with("to", to));
        } else {
            cx.wrong(entry, format!("invalid percent value \"{}\"", entry.name));
        }
    }
    table.set("shares", all);
}

/// Finds out which values the variables can have that `proxy_pass` names.
pub(super) fn choices(scope: &Rc<Scope<'_>>, cx: &mut Cx<'_>) {
    let mut found: HashMap<String, Option<Vec<String>>> = HashMap::new();
    for at in scope.all.iter().filter(|at| at.name == "map" || at.name == "geo" || at.name == "split_clients")
    {
        let name = at.args.last().map_or("", String::as_str);
        let mut values: Vec<&str> =
            at.children().iter().map(|entry| entry.arg(0)).filter(|value| !value.is_empty()).collect();
        values.dedup();
        for value in values {
            choice(name, value, &mut found);
        }
    }
    sets(scope.all, &mut found);
    for (name, values) in found {
        if let Some(values) = values {
            cx.choices.insert(name, values);
        }
    }
}

fn sets(all: &[Directive], found: &mut HashMap<String, Option<Vec<String>>>) {
    for at in all {
        if at.name == "set" && at.args.len() == 2 {
            choice(at.arg(0), at.arg(1), found);
        } else if at.name != "map" && at.name != "geo" {
            sets(at.children(), found);
        }
    }
}

fn choice(name: &str, value: &str, found: &mut HashMap<String, Option<Vec<String>>>) {
    let Some(name) = name.strip_prefix('$') else { return };
    let values = found.entry(name.to_ascii_lowercase()).or_insert_with(|| Some(Vec::new()));
    match values {
        Some(list) if !vars::has_vars(value) && list.len() < MOST_CHOICES => {
            if !list.iter().any(|known| known == value) {
                list.push(value.to_owned());
            }
        }
        // Not known before a request is there.
        values => *values = None,
    }
}

/// `valid_referers` as a map of the Referer header: its variable is empty for those that are valid.
pub(super) fn referers(scope: &Scope<'_>, at: &Directive, names: &[String], cx: &mut Cx<'_>) {
    let mut entries: Vec<Table> = Vec::new();
    let valid = |pattern: String, ignore_case: bool| {
        let mut table = Table::of("regex", pattern);
        if ignore_case {
            table.set("ignore_case", true);
        }
        table.with("to", "")
    };
    for word in &at.args {
        match word.as_str() {
            "none" => entries.push(Table::of("is", "").with("to", "")),
            "blocked" => {
                entries.push(valid("^(?:[^h]|h[^t]|ht[^t]|htt[^p]|http[^s:]|https[^:])".to_owned(), true))
            }
            "server_names" => {
                entries.extend(names.iter().map(|name| valid(referer(name), true)));
            }
            word => match word.strip_prefix('~') {
                Some(pattern) => {
                    let pattern = cx.regex(pattern, at, "such referers are not valid");
                    entries.extend(pattern.map(|pattern| {
                        let pattern = match pattern.strip_prefix('^') {
                            Some(rest) => format!("^https?://{rest}"),
                            None => format!("^https?://.*(?:{pattern})"),
                        };
                        valid(pattern, true)
                    }));
                }
                None => entries.push(valid(referer(word), true)),
            },
        }
    }
    let _ = scope;
    let table = Table::of("name", "invalid_referer").with("from", "{http_referer}").with("default", "1");
    let table = table.with("values", entries);
    cx.draft.push(Kind::Map, at.pos, table, &mut cx.report);
}

fn referer(name: &str) -> String {
    let (host, path) =
        name.split_once('/').map_or((name, String::new()), |(host, path)| (host, format!("/{path}")));
    let host = if let Some(rest) = host.strip_prefix("*.") {
        format!("[^/:?#]+\\.{}", pcre::literal(rest))
    } else if let Some(rest) = host.strip_prefix('.') {
        format!("(?:[^/:?#]+\\.)?{}", pcre::literal(rest))
    } else if let Some(rest) = host.strip_suffix(".*") {
        format!("{}\\.[^/:?#]+", pcre::literal(rest))
    } else {
        pcre::literal(host)
    };
    format!("^https?://{host}(?::[0-9]+)?(?:$|[/?#])").replace(
        "(?:$|[/?#])",
        &if path.is_empty() { "(?:$|[/?#])".to_owned() } else { pcre::literal(&path) },
    )
}
