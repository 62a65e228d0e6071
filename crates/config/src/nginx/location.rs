//! Locations: nginx's tree of them becomes a flat list of routes, each with all that holds in it written out.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::draft::Kind;
use super::listen::Listeners;
use super::place::{self, Node, Place};
use super::proxy::{self, Way};
use super::rewrite::{self, Block};
use super::scope::Scope;
use super::server::Server;
use super::table::{self, Context, Treat};
use super::toml::{Table, Value};
use super::tree::Directive;
use super::{Cx, access, files, maps, response, tls};

/// What the routes of a server have in common, for the addresses where it is, or is not, the default server.
pub(super) struct Site<'s, 'a> {
    pub(super) server: &'s Server<'a>,
    listeners: Vec<String>,
    hosts: Vec<String>,
    /// Only requests without a host are meant.
    nameless: bool,
    /// Names of routes begin so.
    prefix: String,
    /// Names of the routes of named locations.
    pub(super) named: HashMap<String, String>,
    /// Found by the listener already.
    real_ip: Option<Table>,
    /// Refuses those without a certificate.
    gate: Option<Table>,
    /// What the server does before a location is chosen.
    once: Vec<Table>,
}

/// Makes the routes of a server.
pub(super) fn routes<'a>(server: &Server<'a>, number: usize, listeners: &Listeners, cx: &mut Cx<'a>) {
    for at in server.scope.own("valid_referers") {
        let names: Vec<String> = server.hosts.clone();
        maps::referers(&server.scope, at, &names, cx);
    }
    let made: Vec<_> = server.listens.iter().filter_map(|listen| listeners.get(&listen.place)).collect();
    for default in [true, false] {
        let here: Vec<_> = made.iter().filter(|made| (made.default == number) == default).collect();
        let Some(first) = here.first() else { continue };
        let mut names: Vec<String> = Vec::new();
        for made in &here {
            if !names.contains(&made.name) {
                names.push(made.name.clone());
            }
        }
        let mut hosts = server.hosts.clone();
        if default {
            hosts.push("*".to_owned());
        }
        let prefix = match server.hosts.first() {
            Some(host) => host.trim_start_matches("~(?i)").to_owned(),
            None => format!(
                "any{}",
                first.name.rsplit(':').next().map(|port| format!(":{port}")).unwrap_or_default()
            ),
        };
        let mut site = Site {
            server,
            listeners: names,
            hosts,
            nameless: false,
            prefix,
            named: HashMap::new(),
            // Routes say it themselves when not all of their listeners do.
            real_ip: first
                .real_ip
                .clone()
                .filter(|own| here.iter().all(|made| made.real_ip.as_ref() == Some(own))),
            gate: here.iter().find_map(|made| made.asks.as_deref()).and_then(|ca| tls::gate(server, ca, cx)),
            once: Vec::new(),
        };
        if !default && server.nameless {
            // HTTP/1.0 without a host.
            let hosts = std::mem::replace(&mut site.hosts, vec!["*".to_owned()]);
            site.nameless = true;
            one_site(&mut site, cx);
            site.nameless = false;
            site.hosts = hosts;
        }
        if site.hosts.is_empty() {
            if !server.nameless {
                let text =
                    "no request can reach this server: none of its names is one, and another is the default";
                cx.report.note(server.at.pos, text, "");
            }
            continue;
        }
        one_site(&mut site, cx);
    }
}

fn one_site<'a>(site: &mut Site<'_, 'a>, cx: &mut Cx<'a>) {
    let server = site.server;
    let mut nodes = Vec::new();
    place::flatten(&server.scope, None, 0, &mut nodes, cx);
    if !nodes.iter().any(|node| {
        node.depth == 0 && node.place == (Place::Prefix { path: "/".to_owned(), last: false })
            || matches!(&node.place, Place::Prefix { path, .. } if path == "/")
    }) {
        // What no location takes the server itself answers.
        nodes.push(Node {
            pos: server.at.pos,
            scope: Rc::clone(&server.scope),
            place: Place::Prefix { path: "/".to_owned(), last: false },
            parent: None,
            depth: 0,
        });
    }
    site.named.clear();
    for node in &nodes {
        if let Place::Named(name) = &node.place {
            let ours = cx.draft.name(Kind::Route, &format!("{}{name}", site.prefix));
            site.named.insert(name.clone(), ours);
        }
    }
    let steps = rewrite::steps(&mut Block { server, scope: &server.scope, location: None, end: None }, cx);
    site.once = site.gate.iter().cloned().chain(steps.list).collect();
    if let Some(end) = steps.end {
        // No location is ever chosen; named ones still stand for error pages.
        let place = Place::Prefix { path: "/".to_owned(), last: false };
        let mut route = head(site, &place, cx);
        settle(site, &server.scope, &mut route, false, cx);
        let once = std::mem::take(&mut site.once);
        route.list("steps", once_steps(once));

        route.append(end);
        finish(&server.scope, &mut route);
        cx.draft.push(Kind::Route, server.at.pos, route, &mut cx.report);
        nodes.retain(|node| matches!(node.place, Place::Named(_)));
    }
    place::arrange(&mut nodes, cx);
    // Expressions inside a prefix are asked before those outside.
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|nth| match nodes[*nth].place {
        Place::Regex { .. } => std::cmp::Reverse(nodes[*nth].depth),
        Place::Exact(_) | Place::Prefix { .. } | Place::Named(_) => std::cmp::Reverse(0),
    });
    let paths: HashSet<String> =
        nodes.iter().filter_map(|node| node.place.path().map(str::to_owned)).collect();
    for nth in order {
        let in_regex =
            nodes[nth].parent.is_some_and(|parent| matches!(nodes[parent].place, Place::Regex { .. }));
        if !in_regex {
            node(nth, &nodes, &paths, site, cx);
        }
    }
}

/// The route of a location, and those that it needs beside it.
fn node<'a>(nth: usize, nodes: &[Node<'a>], paths: &HashSet<String>, site: &Site<'_, 'a>, cx: &mut Cx<'a>) {
    let Node { scope, place, pos, .. } = &nodes[nth];
    for at in scope.own("valid_referers") {
        maps::referers(scope, at, &site.server.hosts.clone(), cx);
    }
    let mut route = head(site, place, cx);
    // Expressions in an expression: the inner one goes on in place of the outer one.
    let mut steps = Vec::new();
    for (inner, node) in nodes.iter().enumerate().filter(|(_, node)| node.parent == Some(nth)) {
        if let (Place::Regex { .. }, Place::Regex { pattern, ignore_case }) = (place, &node.place) {
            let mut when = Table::of("value", "{uri}").with("regex", pattern.as_str());
            if *ignore_case {
                when.set("ignore_case", true);
            }
            let mut below = Vec::new();
            let name = nested(inner, nodes, site, &mut below, cx);
            // What the outer one does is not done any more.
            below.push(Table::of("break", true));
            steps.push(Table::of("when", when).with("steps", Value::from(below)).with("route", name));
        }
    }
    body(site, scope, place, false, steps, &mut route, cx);
    let slashed = redirected(place, scope, paths);
    let excepted = excepted(site, scope, place, &mut route, cx);
    cx.draft.push(Kind::Route, *pos, route, &mut cx.report);
    if let Some(except) = excepted {
        cx.draft.push(Kind::Route, *pos, except, &mut cx.report);
    }
    if let Some(path) = slashed {
        let place = Place::Exact(path.clone());
        let mut route = head(site, &place, cx);
        settle(site, scope, &mut route, true, cx);
        let to = format!("{}/{{is_args}}{{args}}", super::vars::escaped(&super::url::encoded(&path)));
        let to = rewrite::whole(to, scope, site.server);
        let end = Table::of("redirect", Table::of("to", to).with("status", 301i64));

        route.append(end);
        finish(scope, &mut route);
        cx.draft.push(Kind::Route, *pos, route, &mut cx.report);
    }
}

/// The route of an expression inside an expression; what it does first goes into `steps`.
fn nested<'a>(
    nth: usize,
    nodes: &[Node<'a>],
    site: &Site<'_, 'a>,
    steps: &mut Vec<Table>,
    cx: &mut Cx<'a>,
) -> String {
    let node = &nodes[nth];
    let wanted = format!("{}{}", site.prefix, node.place.shown());
    let name = cx.draft.name(Kind::Route, &wanted);
    let mut route = Table::of("name", name.as_str()).with("by_name", true);
    body(site, &node.scope, &node.place, true, Vec::new(), &mut route, cx);
    if let Some(Value::List(list)) = route.get("steps").cloned() {
        steps.extend(list.into_iter().filter_map(|step| match step {
            Value::Table(table) if table.get("once").is_none() => Some(table),
            _ => None,
        }));
        route.remove("steps");
    }
    cx.draft.push(Kind::Route, node.pos, route, &mut cx.report);
    name
}

/// Name, listeners, hosts and path of a route.
fn head(site: &Site<'_, '_>, place: &Place, cx: &mut Cx<'_>) -> Table {
    if let Place::Named(name) = place {
        let ours = site.named.get(name).map_or("", String::as_str);
        return Table::of("name", ours).with("by_name", true);
    }
    let name = cx.draft.name(Kind::Route, &format!("{}{}", site.prefix, place.shown()));
    let mut route = Table::of("name", name);
    route.set("listener", one_or_many(&site.listeners));
    route.set("host", one_or_many(&site.hosts));
    match place {
        Place::Exact(path) => route.set("path_exact", path.as_str()),
        Place::Prefix { path, last } => {
            route.set("path", path.as_str());
            if *last {
                route.set("last", true);
            }
        }
        Place::Regex { pattern, ignore_case } => {
            route.set("path_regex", pattern.as_str());
            if *ignore_case {
                route.set("ignore_case", true);
            }
        }
        Place::Named(_) => {}
    }
    if site.nameless {
        let no_host = Table::of("name", "Host").with("regex", ".").with("not", true);
        route.set("headers", vec![no_host]);
    }
    route
}

fn one_or_many(list: &[String]) -> Value {
    match list {
        [one] => Value::from(one.as_str()),
        many => Value::from(many.to_vec()),
    }
}

fn once_steps(once: Vec<Table>) -> Vec<Table> {
    if once.is_empty() { Vec::new() } else { vec![Table::of("once", once)] }
}

/// What holds for requests whatever answers them; `open` leaves out who may come in, which nginx asks later.
fn settle(site: &Site<'_, '_>, scope: &Scope<'_>, route: &mut Table, open: bool, cx: &mut Cx<'_>) {
    unserved(scope, cx);
    relative(scope, route);
    let real_ip = response::real_ip(scope, cx);
    if real_ip != site.real_ip && route.get("by_name").is_none() {
        route.maybe("real_ip", real_ip);
    }
    if !open {
        access::fill(scope, route, cx);
    }
    route.maybe("body_max", files::body_max(scope));
    response::fill(scope, &site.named, route, cx);
}

/// What is understood, and has no counterpart: said where it is not what happens anyway.
fn unserved(scope: &Scope<'_>, cx: &mut Cx<'_>) {
    const ASKED: [(&str, &str, &str); 3] = [
        ("proxy_set_body", "", "the body goes to the backend as the client sent it"),
        ("merge_slashes", "on", "several slashes in a path are one"),
        ("recursive_error_pages", "off", "the error page of an error page is not asked for"),
    ];
    for (name, same, instead) in ASKED {
        let said = scope.get(name).filter(|at| at.arg(0) != same);
        if let Some(at) = said {
            cx.report.dropped(at.pos, format!("{name} {} is left out", at.arg(0)), instead);
        }
    }
}

/// Everything of a route but what it matches.
fn body<'a>(
    site: &Site<'_, 'a>,
    scope: &Rc<Scope<'a>>,
    place: &Place,
    by_name: bool,
    mut first: Vec<Table>,
    route: &mut Table,
    cx: &mut Cx<'a>,
) {
    let named = by_name || matches!(place, Place::Named(_));
    if !scope.own("internal").is_empty() && !named {
        route.set("internal", true);
    }
    let of_server = Rc::ptr_eq(scope, &site.server.scope);
    let found = if of_server {
        rewrite::Steps::default()
    } else {
        rewrite::steps(
            &mut Block { server: site.server, scope, location: Some((site, place)), end: None },
            cx,
        )
    };
    let mut steps = if named { Vec::new() } else { once_steps(site.once.clone()) };
    steps.append(&mut first);
    steps.extend(found.list);
    // Behind a step that may end the steps, a return is one of them.
    let mut end = found.end;
    if steps.iter().any(may_end)
        && let Some(end) = end.take()
    {
        steps.push(end);
    }
    // A return comes before anybody asks who may come in.
    settle(site, scope, route, end.is_some(), cx);
    match end {
        Some(end) => {
            route.append(end);
        }
        None => match handler(scope, false) {
            Some(at) => answered(&Way { scope, place, site, by_name: named, at }, &mut steps, route, cx),
            None => files::fill(scope, place, site, named, &mut steps, route, cx),
        },
    }
    route.list("steps", steps);
    finish(scope, route);
}

/// Whether a step, or one in it, lets the route act at once.
fn may_end(step: &Table) -> bool {
    let breaks = step.get("break").is_some() || step.get("then") == Some(&Value::from("break"));
    let inner = match step.get("steps") {
        Some(Value::List(list)) => {
            list.iter().any(|step| matches!(step, Value::Table(step) if may_end(step)))
        }
        Some(_) | None => false,
    };
    breaks || inner
}

/// `absolute_redirect off`: the path stands alone in the response.
fn relative(scope: &Scope<'_>, route: &mut Table) {
    if !scope.flag("absolute_redirect", true) {
        route.set("relative_redirects", true);
    }
}

/// Directives that answer requests.
const HANDLERS: &[&str] = &[
    "proxy_pass",
    "grpc_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "tunnel_pass",
    "empty_gif",
    "stub_status",
    "perl",
    "js_content",
    "content_by_lua_block",
    "content_by_lua_file",
    "echo",
];

/// What answers: a directive of the block itself, or, in `if` and `limit_except`, of the location around it.
fn handler<'a>(scope: &Scope<'a>, noname: bool) -> Option<&'a Directive> {
    let own = |scope: &Scope<'a>| HANDLERS.iter().find_map(|name| scope.own(name).last().copied());
    own(scope).or_else(|| scope.up.as_deref().filter(|_| noname).and_then(own))
}

/// Content from a directive that answers.
fn answered<'a>(way: &Way<'_, 'a>, steps: &mut Vec<Table>, route: &mut Table, cx: &mut Cx<'a>) {
    let (scope, at) = (way.scope, way.at);
    if let Some(tries) = scope.own("try_files").last() {
        let what =
            "every request goes to the backend; write `files` with `fallback_pool` if a file may answer";
        cx.report.dropped(tries.pos, format!("try_files beside {} is left out", at.name), what);
    }
    if matches!(at.name.as_str(), "proxy_pass" | "grpc_pass") {
        return proxy::fill(way, steps, route, cx);
    }
    debug_assert!(matches!(
        table::treat(&at.name, Context::Location).or_else(|| table::treat(&at.name, Context::Server)),
        Some(Treat::Content(_))
    ));
    route.set("answer", Table::of("status", 501i64));
}

/// The media type of what has none.
pub(super) fn default_type<'a>(scope: &Scope<'a>) -> &'a str {
    scope.word("default_type").unwrap_or("text/plain")
}

fn finish(scope: &Scope<'_>, route: &mut Table) {
    let default = default_type(scope);
    if default != "application/octet-stream" && default.contains('/') && route.get("files").is_some() {
        route.set("default_type", default);
    }
}

/// The route that goes on under an `if`; what it needs first is appended to `steps`. Its name.
pub(super) fn alternative<'a>(
    site: &Site<'_, 'a>,
    scope: &Rc<Scope<'a>>,
    place: &Place,
    steps: &mut Vec<Table>,
    cx: &mut Cx<'a>,
) -> String {
    let name = cx.draft.name(Kind::Route, &format!("{}{}-if", site.prefix, place.shown()));
    let mut route = Table::of("name", name.as_str()).with("by_name", true);
    settle(site, scope, &mut route, false, cx);
    let place = match place {
        // Only what a path needs to be cut off is asked of it.
        Place::Named(_) => Place::Regex { pattern: String::new(), ignore_case: false },
        place => place.clone(),
    };
    match handler(scope, true) {
        Some(at) => answered(&Way { scope, place: &place, site, by_name: true, at }, steps, &mut route, cx),
        None => files::fill(scope, &place, site, true, steps, &mut route, cx),
    }
    finish(scope, &mut route);
    let pos = scope.all.first().map_or(site.server.at.pos, |at| at.pos);
    cx.draft.push(Kind::Route, pos, route, &mut cx.report);
    name
}

/// The route that answers under an `if` with headers of its own. Its name.
pub(super) fn answering<'a>(
    site: &Site<'_, 'a>,
    scope: &Rc<Scope<'a>>,
    place: &Place,
    answer: Option<Table>,
    cx: &mut Cx<'a>,
) -> String {
    let name = cx.draft.name(Kind::Route, &format!("{}{}-if", site.prefix, place.shown()));
    let mut route = Table::of("name", name.as_str()).with("by_name", true);
    settle(site, scope, &mut route, true, cx);
    route.append(answer.unwrap_or_default());
    finish(scope, &mut route);
    let pos = scope.all.first().map_or(site.server.at.pos, |at| at.pos);
    cx.draft.push(Kind::Route, pos, route, &mut cx.report);
    name
}

/// A route like that of a location, with another backend. Its name.
pub(super) fn copy<'a>(
    site: &Site<'_, 'a>,
    scope: &Scope<'a>,
    place: &Place,
    action: Table,
    cx: &mut Cx<'a>,
) -> String {
    let pool = match action.get("pool") {
        Some(Value::Text(pool)) => pool.clone(),
        Some(_) | None => "other".to_owned(),
    };
    let name = cx.draft.name(Kind::Route, &format!("{}{}-{pool}", site.prefix, place.shown()));
    let mut route = Table::of("name", name.as_str()).with("by_name", true);
    settle(site, scope, &mut route, false, cx);
    route.append(action);
    finish(scope, &mut route);
    let pos = scope.all.first().map_or(site.server.at.pos, |at| at.pos);
    cx.draft.push(Kind::Route, pos, route, &mut cx.report);
    name
}

/// `location /x/` with a backend: `/x` is sent there.
fn redirected(place: &Place, scope: &Scope<'_>, paths: &HashSet<String>) -> Option<String> {
    let Place::Prefix { path, .. } = place else { return None };
    let bare = path.strip_suffix('/').filter(|bare| !bare.is_empty())?;
    let passes = ["proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"];
    let backend = passes.iter().any(|name| !scope.own(name).is_empty());
    (backend && !paths.contains(bare)).then(|| bare.to_owned())
}

/// `limit_except`: the location keeps its methods, and a second route takes the others.
fn excepted<'a>(
    site: &Site<'_, 'a>,
    scope: &Rc<Scope<'a>>,
    place: &Place,
    route: &mut Table,
    cx: &mut Cx<'a>,
) -> Option<Table> {
    let at = scope.own("limit_except").last().copied()?;
    let mut methods: Vec<String> = at.args.iter().map(|method| method.to_ascii_uppercase()).collect();
    if methods.iter().any(|method| method == "GET") && !methods.iter().any(|method| method == "HEAD") {
        methods.push("HEAD".to_owned());
    }
    if matches!(place, Place::Named(_)) {
        cx.report.dropped(at.pos, "limit_except in a named location is left out", "every method is taken");
        return None;
    }
    let inner = scope.inside(at.children());
    let name = cx.draft.name(Kind::Route, &format!("{}{}-except", site.prefix, place.shown()));
    let mut other = head(site, place, cx);
    other.set("name", name);
    if !scope.own("internal").is_empty() {
        other.set("internal", true);
    }
    settle(site, &inner, &mut other, false, cx);
    // The location's own steps are not run for them.
    let mut steps = once_steps(site.once.clone());
    match handler(&inner, true) {
        Some(at) => {
            answered(&Way { scope: &inner, place, site, by_name: false, at }, &mut steps, &mut other, cx)
        }
        None => files::fill(&inner, place, site, false, &mut steps, &mut other, cx),
    }
    other.list("steps", steps);
    finish(&inner, &mut other);
    route.set("methods", methods);
    Some(other)
}
