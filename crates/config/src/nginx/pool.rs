//! Pools: an `upstream` or a single server, with what belongs to the connection to it (TLS, HTTP/2, the PROXY header).
//! Equal ones are shared.

use super::draft::Kind;
use super::toml::Table;
use super::tree::Directive;
use super::url::{self, Url};
use super::{Cx, backends};

/// A pool that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) name: String,
    /// How many backends it has, when that is known.
    pub(super) backends: Option<u32>,
}

/// What belongs to the connections of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub(super) tls: Option<Table>,
    pub(super) http2: bool,
    pub(super) proxy: bool,
    pub(super) stream: bool,
}

/// The pool that a URL leads to, made when it is new.
pub(super) fn of(url: &Url<'_>, wire: Wire, at: &Directive, cx: &mut Cx<'_>) -> Made {
    let (host, port) = url::split(url.authority);
    let key = host.to_ascii_lowercase();
    if let Some(upstream) = cx.backends.get_mut(&key)
        && !url.authority.starts_with("unix:")
    {
        upstream.used = true;
        let upstream = upstream.clone();
        if let Some(port) = port {
            cx.wrong(at, format!("upstream \"{host}\" may not have port {port}"));
        }
        let (table, backends) = upstream.keys(wire.stream, cx);
        return make(host, table, backends, wire, upstream.at, cx);
    }
    let addr = match url.authority.strip_prefix("unix:") {
        Some(path) => format!("unix:{}", cx.served(path)),
        None => url::with_port(url.authority, if url.tls { 443 } else { 80 }),
    };
    let named = backends::is_name(&addr);
    if named && port.is_none() && !host.contains('.') && host != "localhost" {
        let text = format!("no upstream is called \"{host}\": it is looked up as the name of a host");
        cx.report.note(at.pos, text, "write the [[pool]] if it is one");
    }
    let mut table = Table::of("backends", vec![addr.as_str()]).with("outlier", Table::of("failures", 0i64));
    if !wire.stream {
        table.set("keep", 0i64);
    }
    let backends = if named { None } else { Some(1) };
    make(&addr, table, backends, wire, at, cx)
}

/// The pool of requests that say themselves where they go. They may name any upstream: each gets its pool.
pub(super) fn asked(wire: Wire, at: &Directive, cx: &mut Cx<'_>) -> Made {
    let mut names: Vec<String> = cx.backends.keys().cloned().collect();
    names.sort();
    for name in names {
        let url = Url { tls: wire.tls.is_some(), authority: &name, base: &name, uri: "" };
        let made = of(&url, wire.clone(), at, cx);
        if made.name != name {
            let text = format!(
                "upstream \"{name}\" is also spoken to in another way: a variable that names it finds that one"
            );
            cx.report.dropped(at.pos, text, "give the upstream a second name");
        }
    }
    let table =
        Table::of("backends", vec!["*"]).with("outlier", Table::of("failures", 0i64)).with("keep", 0i64);
    make("by-request", table, Some(1), wire, at, cx)
}

fn make(
    wanted: &str,
    mut table: Table,
    backends: Option<u32>,
    wire: Wire,
    at: &Directive,
    cx: &mut Cx<'_>,
) -> Made {
    if wire.http2 {
        table.set("http2", true);
        // One connection carries many requests: nothing is gained by closing it.
        table.remove("keep");
    }
    if !wire.stream && !wire.http2 {
        table.set("bare_lf", true);
    }
    if wire.proxy {
        table.set("proxy", "v1");
    }
    if wire.stream {
        table.remove("sticky");
    }
    table.maybe("tls", wire.tls);
    if backends != Some(1) {
        table.set("retry_budget", 100i64);
    }
    let key = format!("{wanted}\n{table:?}");
    if let Some(made) = cx.pools.get(&key) {
        return made.clone();
    }
    let name = cx.draft.name(Kind::Pool, wanted);
    let mut named = Table::of("name", name.as_str());
    named.append(table);
    cx.draft.push(Kind::Pool, at.pos, named, &mut cx.report);
    let made = Made { name, backends };
    cx.pools.insert(key, made.clone());
    made
}

/// Says which upstreams nothing leads to.
pub(super) fn unused(cx: &mut Cx<'_>) {
    let mut unused: Vec<_> = cx.backends.values().filter(|upstream| !upstream.used).map(|u| u.at).collect();
    unused.sort_by_key(|at| at.pos);
    for at in unused {
        let text = format!("nothing leads to upstream \"{}\": it is left out", at.arg(0));
        cx.report.note(at.pos, text, "");
    }
    cx.backends.clear();
}
