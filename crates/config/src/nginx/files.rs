//! Files: `root`, `alias`, `index`, `try_files`, listings.

use super::location::{Site, default_type};
use super::place::Place;
use super::scope::Scope;
use super::toml::Table;
use super::{Cx, values, vars};

/// Fills `files` of a route. `steps` get what a route without a path of its own needs.
pub(super) fn fill(
    scope: &Scope<'_>,
    place: &Place,
    site: &Site<'_, '_>,
    by_name: bool,
    steps: &mut Vec<Table>,
    route: &mut Table,
    cx: &mut Cx<'_>,
) {
    let mut files = root(scope, place, by_name, steps, cx);
    let index: Vec<String> = match scope.get("index") {
        Some(_) => scope
            .every("index")
            .to_vec()
            .iter()
            .flat_map(|at| at.args.iter().map(|name| (name.clone(), at.pos)).collect::<Vec<_>>())
            .map(|(name, pos)| cx.text(&name, scope, pos))
            .collect(),
        None => vec!["index.html".to_owned()],
    };
    if index != ["index.html"] {
        files.set("index", index);
    }
    if !by_name || matches!(place, Place::Named(_)) {
        tries(scope, site, &mut files, cx);
    }
    if scope.flag("autoindex", false) {
        files.set("listing", true);
        if let Some(at) = scope.get("autoindex_format").filter(|at| at.arg(0) != "html") {
            let text = format!("autoindex_format {} is left out", at.arg(0));
            cx.report.dropped(at.pos, text, "directories are listed as HTML");
        }
    }
    if !scope.flag("etag", true) {
        files.set("etag", false);
    }
    if let Some(at) = scope.get("gzip_static").filter(|at| at.arg(0) != "off") {
        files.set("precompressed", true);
        if at.arg(0) == "always" {
            let what = "clients that do not take gzip get the file itself";
            cx.report.dropped(at.pos, "gzip_static always is taken as on", what);
        }
    }
    if scope.word("if_modified_since") == Some("before") {
        files.set("later_dates", true);
    }
    files.maybe("ranges_max", scope.number("max_ranges").map(|max| max.min(1000)));
    if let Some(at) = scope.get("if_modified_since").filter(|at| at.arg(0) == "off") {
        let text = format!("if_modified_since {} is left out", at.arg(0));
        cx.report.dropped(at.pos, text, "conditions of requests are obeyed by the exact time");
    }
    for name in ["server_name_in_redirect", "port_in_redirect"] {
        let usual = name != "server_name_in_redirect";
        if let Some(at) = scope.get(name).filter(|_| scope.flag(name, usual) != usual) {
            let what = "a directory without its slash is sent to scheme, host and port of the request";
            cx.report.dropped(at.pos, format!("{name} {} holds for `return` alone", at.arg(0)), what);
        }
    }
    if scope.get("types").is_some_and(|at| at.children().is_empty()) {
        media(scope, route);
    }
    route.set("files", files);
}

/// An empty `types` makes every file the default type.
fn media(scope: &Scope<'_>, route: &mut Table) {
    let op = Table::of("set", "Content-Type").with("value", vars::escaped(default_type(scope)));
    super::response::push_header(op, route);
}

fn root(scope: &Scope<'_>, place: &Place, by_name: bool, steps: &mut Vec<Table>, cx: &mut Cx<'_>) -> Table {
    let level = scope.every_of(&["root", "alias"]);
    let alias = level.and_then(|level| level.own("alias").last().copied());
    if let Some(at) = alias {
        let text = located(at.arg(0), scope, at.pos, cx);
        if !by_name {
            return Table::of("root", text).with("alias", true);
        }
        // A route without a path can't cut it off: a step does.
        if let Some(path) = place.path() {
            steps.push(super::proxy::cut(path, "/"));
        }
        return Table::of("root", text.trim_end_matches('/').to_owned());
    }
    let text = match level.and_then(|level| level.own("root").last().copied()) {
        Some(at) => located(at.arg(0), scope, at.pos, cx),
        None => vars::escaped(&cx.served("html")),
    };
    Table::of("root", text)
}

/// A path of the file system, absolute.
fn located(path: &str, scope: &Scope<'_>, pos: crate::import::report::Pos, cx: &mut Cx<'_>) -> String {
    let text = cx.text(path, scope, pos);
    if path.starts_with(['/', '$']) {
        return if text.is_empty() { "/".to_owned() } else { text };
    }
    let prefix = vars::escaped(&cx.prefix.display().to_string());
    format!("{}/{text}", prefix.trim_end_matches('/'))
}

fn tries(scope: &Scope<'_>, site: &Site<'_, '_>, files: &mut Table, cx: &mut Cx<'_>) {
    let Some(at) = scope.own("try_files").last().copied() else { return };
    let Some((last, tried)) = at.args.split_last() else { return };
    let tried: Vec<String> = tried.iter().map(|text| cx.text(text, scope, at.pos)).collect();
    files.set("try", tried);
    let fallback = if last.starts_with('@') {
        match site.named.get(last) {
            Some(name) => format!("@{}", vars::escaped(name)),
            None => return cx.wrong(at, format!("could not find named location \"{last}\"")),
        }
    } else if let Some(code) = last.strip_prefix('=') {
        match code.parse::<i64>() {
            Ok(200..=999) => last.clone(),
            Ok(_) | Err(_) => return cx.wrong(at, format!("invalid code \"{last}\"")),
        }
    } else {
        cx.text(last, scope, at.pos)
    };
    files.set("fallback", fallback);
}

/// Largest body of a request; `None` is without bound.
pub(super) fn body_max(scope: &Scope<'_>) -> Option<String> {
    match scope.size("client_max_body_size").unwrap_or(1 << 20) {
        0 => None,
        bytes => Some(values::size_text(bytes)),
    }
}
