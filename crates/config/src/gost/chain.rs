//! The way out of a client: a chain of one hop, whose nodes are the servers of one tunnel.

use super::service::{Part, SHARED};
use super::tree::{Map, Said};
use super::{Cx, addr, tls, users};
use crate::import::toml::Table;

/// Who is dialled, and for which tunnel.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) chain: String,
    /// `hubs`, and how one shows who one is.
    pub(super) hubs: Table,
    pub(super) tunnel: String,
    pub(super) weight: Option<i64>,
}

/// One server.
struct Server {
    url: String,
    tunnel: Said,
    weight: Option<i64>,
    /// Beside the address.
    keys: Table,
}

/// The chain that this part of a service names; `None` has been told of.
pub(super) fn of(name: &Said, who: &str, cx: &mut Cx<'_>) -> Option<Way> {
    let Some(mut chain) = Cx::named(&cx.chains, name) else {
        let text = format!("{who}: there is no chain \"{}\"", name.text);
        cx.report.error(name.pos, text, "write it under chains");
        return None;
    };
    let whose = format!("chain \"{}\"", name.text);
    let _ = chain.text(&["name"]);
    let hops = chain.maps("hops");
    chain.left(&whose, &mut cx.report);
    let [hop] = &hops[..] else {
        let text = format!("{who}: {whose} has {} hops: it is left out", hops.len());
        let advice = "one hop has a counterpart; where the first is an HTTP proxy, leave it out and write proxy = \"http://HOST:PORT\" into [[agent]]";
        cx.report.dropped(name.pos, text, advice);
        return None;
    };
    let servers = hop_of(hop.clone(), &whose, who, cx)?;
    let (first, rest) = servers.split_first()?;
    if let Some(other) = rest.iter().find(|s| s.tunnel.text != first.tunnel.text || s.keys != first.keys) {
        let text =
            format!("{who}: nodes of {whose} differ in their tunnel, user or certificates: it is left out");
        cx.report.dropped(other.tunnel.pos, text, "write a service and a chain for each");
        return None;
    }
    let mut hubs: Vec<&str> = Vec::new();
    for server in &servers {
        if !hubs.contains(&server.url.as_str()) {
            hubs.push(&server.url);
        }
    }
    if hubs.len() > 1 {
        let text = format!("{whose}: all its nodes are dialled at once, where gost has one at a time");
        cx.report.note(hop.pos, text, "");
    }
    let mut table = Table::of("hubs", hubs);
    table.append(first.keys.clone());
    Some(Way {
        chain: name.text.clone(),
        hubs: table,
        tunnel: first.tunnel.text.clone(),
        weight: first.weight,
    })
}

/// The servers of a hop, which may be one of `hops` by name.
fn hop_of(mut hop: Map, whose: &str, who: &str, cx: &mut Cx<'_>) -> Option<Vec<Server>> {
    let pos = hop.pos;
    let name = hop.text(&["name"]);
    let mut nodes = hop.maps("nodes");
    if let (true, Some(name)) = (nodes.is_empty(), &name)
        && let Some(mut named) = Cx::named(&cx.hops, name)
    {
        nodes = named.maps("nodes");
        hop.inherit(&named);
        let _ = hop.text(&["name"]);
    }
    let mut selector = hop.map("selector");
    if let Some(strategy) = selector.text(&["strategy"]) {
        let text = format!("{whose}: strategy {} is left out: every server is dialled", strategy.text);
        cx.report.note(strategy.pos, text, "");
    }
    let _ = hop.map("metadata");
    selector.left(whose, &mut cx.report);
    hop.left(whose, &mut cx.report);
    let mut servers = Vec::new();
    for node in nodes {
        servers.push(server(node, whose, who, cx)?);
    }
    if servers.is_empty() {
        cx.report.error(pos, format!("{whose}: its hop has no nodes"), "write a node with the server's addr");
        return None;
    }
    Some(servers)
}

fn server(mut node: Map, whose: &str, who: &str, cx: &mut Cx<'_>) -> Option<Server> {
    let _ = node.text(&["name"]);
    let pos = node.pos;
    let addr = node.text(&["addr"]).unwrap_or(Said { text: String::new(), pos });
    let mut shared = node.map(SHARED);
    let mut connector = Part::read(&mut node, "connector", "http");
    let mut dialer = Part::read(&mut node, "dialer", "tcp");
    if connector.kind != "tunnel" {
        let text = format!("{who}: connector `{}` of {whose} is not taken over", connector.kind);
        cx.report.dropped(connector.kind_pos, text, "tunnels are what has a counterpart: connector `tunnel`");
        return None;
    }
    if !["tcp", "tls", "ws", "wss"].contains(&dialer.kind.as_str()) {
        let text = format!("{who}: dialer `{}` of {whose} is not taken over", dialer.kind);
        cx.report.dropped(
            dialer.kind_pos,
            text,
            "let the server listen on tcp, tls, ws or wss as well, and dial that",
        );
        return None;
    }
    let Some(host_port) = addr::target(&addr.text) else {
        let text = format!("{whose}: \"{}\" is no address of a server", addr.text);
        cx.report.error(addr.pos, text, "write addr: HOST:PORT");
        return None;
    };
    let said =
        connector.meta.text(&["tunnelid", "tunnel.id"]).or_else(|| shared.text(&["tunnelid", "tunnel.id"]));
    let Some(said) = said else {
        let text = format!("{who}: {whose} names no tunnel: gost makes an id up at each start");
        cx.report.dropped(pos, text, "write tunnel.id, which has to be somebody's to be reached");
        return None;
    };
    let Some(tunnel) = addr::uuid(&said.text) else {
        cx.report.error(
            said.pos,
            format!("{whose}: \"{}\" is no UUID", said.text),
            "gost would not start with this",
        );
        return None;
    };
    let weight = connector.meta.text(&["tunnel.weight"]).or_else(|| shared.text(&["tunnel.weight"]));
    let mut keys = Table::default();
    if let Some(mut auth) = connector.map.maybe_map("auth")
        && let Some(user) = users::user(&mut auth, whose, cx)
    {
        keys.set("user", user.name.text);
        keys.set("password", user.password);
    }
    let url = address(&mut dialer, &mut shared, &host_port, whose, &mut keys, cx);
    for map in [&node, &shared, &connector.map, &connector.meta, &dialer.map, &dialer.meta] {
        map.left(whose, &mut cx.report);
    }
    Some(Server {
        url,
        tunnel: Said { text: tunnel, pos: said.pos },
        // gost keeps the lowest byte.
        weight: weight.and_then(|w| w.text.parse::<i64>().ok()).filter(|w| *w > 0).map(|w| w & 0xff),
        keys,
    })
}

/// `gost+ws://gost.local:80/ws`, and what is said beside it.
fn address(
    dialer: &mut Part,
    shared: &mut Map,
    host_port: &str,
    whose: &str,
    keys: &mut Table,
    cx: &mut Cx<'_>,
) -> String {
    let kind = dialer.kind.clone();
    let mut url = format!("gost+{kind}://{host_port}");
    let host = addr::split(host_port).map_or("", |(host, _)| host);
    if kind.starts_with("ws") {
        let path = dialer.meta.text(&["ws.path", "path"]).or_else(|| shared.text(&["ws.path", "path"]));
        if let Some(path) = path.filter(|path| path.text != "/ws") {
            url.push_str(if path.text.starts_with('/') { "" } else { "/" });
            url.push_str(&path.text);
        }
        let asked = dialer.meta.text(&["ws.host", "host"]).or_else(|| shared.text(&["ws.host", "host"]));
        if let Some(asked) = asked.filter(|asked| asked.text != host && asked.text != host_port) {
            let text = format!("{whose}: host {} is left out: the upgrade asks for {host}", asked.text);
            cx.report.dropped(asked.pos, text, "dial the server by the name that the way to it goes by");
        }
    }
    let tls = dialer.map.maybe_map("tls");
    if kind == "tls" || kind == "wss" {
        match tls {
            Some(mut tls) => self::tls::towards(&mut tls, host, whose, keys, cx),
            None => self::tls::unchecked(dialer.kind_pos, whose, keys, cx),
        }
    }
    url
}
