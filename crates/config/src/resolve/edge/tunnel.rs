//! Tunnels: what leads to them is written for the operator as routes, listeners and pools, and judged as those are.

use std::collections::HashSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::listener::protocol;
use super::names::Kind;
use super::{Tables, span_of, text_of};
use crate::plan::edge::{Hub, Protocol, Tunnel};
use crate::plan::tunnel::made_name;
use crate::raw;
use crate::read::Header;
use crate::resolve::Resolver;
use crate::source::{At, Span};
use crate::values::{BackendEntry, ProtocolWord, Words};

/// Each has a pool in every thread.
const MOST_TUNNELS: usize = 1024;
/// Keys of one tunnel; each hello looks through them.
const MOST_KEYS: usize = 256;
/// More names of the cluster's hubs do not fit a hello.
const MOST_HUBS: usize = 64;
const MOST: i64 = u32::MAX as i64;
/// A terabyte a second.
const FASTEST: u64 = 1 << 40;

/// How public keys are written.
const ED25519: &str = "ed25519:";

impl Resolver<'_> {
    /// Registers the ids, and writes what leads to the tunnels beside what the operator wrote.
    pub(super) fn tunnel_tables(&mut self, tables: &mut Tables) {
        self.at_most(&mut tables.tunnels, MOST_TUNNELS, "tunnels");
        let domain = tables.hub.as_ref().and_then(|hub| hub.value.domain.clone());
        let mut taken = std::collections::HashMap::new();
        let tunnels = std::mem::take(&mut tables.tunnels);
        for (nth, tunnel) in tunnels.iter().enumerate() {
            let raw = &tunnel.value;
            let id = self.required(&raw.id, &raw.head, "[[tunnel]]", "id");
            let Some(id) = id.filter(|id| self.is_id(id)) else { continue };
            let span = id.span;
            let Some(id) = self.unique(Some(id), &mut taken, "tunnel") else { continue };
            self.enter(Kind::Tunnel, id.clone(), nth, span);
            self.ways_to(&id, span, raw, domain.as_ref(), tables);
        }
        tables.tunnels = tunnels;
    }

    /// Ids stand in addresses, names of pools and first labels of hosts.
    fn is_id(&mut self, id: &At<String>) -> bool {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = !id.value.is_empty() && id.value.len() <= 57 && id.value.chars().all(good);
        if !fits {
            let message = format!("\"{}\" can't be the id of a tunnel", id.value.escape_debug());
            self.error(id.span, message, "write 1 to 57 letters, digits, points, _ and -");
        }
        fits
    }

    /// The pool, the route and the listeners of a tunnel.
    fn ways_to(
        &mut self,
        id: &str,
        span: Span,
        raw: &raw::Tunnel,
        domain: Option<&At<String>>,
        tables: &mut Tables,
    ) {
        let who = format!("tunnel \"{id}\"");
        let named = raw.listener.as_ref().map(|list| list.value.0.clone());
        let mut hosts: Vec<At<String>> = raw.hosts.iter().flat_map(|list| list.value.clone()).collect();
        if let (Some(domain), None) = (domain, &raw.hosts) {
            hosts.push(At::new(generated(id, &domain.value), span));
        }
        if hosts.is_empty() {
            self.foreign(span_of(&raw.listener), "listener", "`hosts`, or `domain` in [hub]", &who);
        }
        let name = At::new(made_name(id), span);
        let head = Header { span, spoiled: Vec::new() };
        let mut made = false;
        if !hosts.is_empty() {
            lead_hosts(&name, &head, hosts, named.as_deref(), tables);
            made = true;
        }
        for (binds, word) in [(&raw.tcp, ProtocolWord::Tcp), (&raw.udp, ProtocolWord::Udp)] {
            for bind in binds.iter().flat_map(|list| &list.value) {
                let proto = if word == ProtocolWord::Tcp { "tcp" } else { "udp" };
                let listener = raw::Listener {
                    head: head.clone(),
                    name: Some(At::new(format!("{}/{proto}{}", name.value, bind.value), bind.span)),
                    bind: Some(At::new(Words(vec![bind.clone()]), bind.span)),
                    protocol: Some(At::new(word, span)),
                    pool: Some(name.clone()),
                    ..raw::Listener::default()
                };
                tables.listeners.push(At::new(listener, bind.span));
                made = true;
            }
        }
        if made {
            let backend = raw::BackendTable {
                head: head.clone(),
                addr: Some(name.clone()),
                ..raw::BackendTable::default()
            };
            let pool = raw::Pool {
                head,
                name: Some(name),
                balance: raw.balance.clone(),
                backends: Some(At::new(vec![At::new(BackendEntry(backend), span)], span)),
                ..raw::Pool::default()
            };
            tables.pools.push(At::new(pool, span));
        } else {
            self.foreign(
                span_of(&raw.balance),
                "balance",
                "`hosts`, `tcp` or `udp`: the pool that names the tunnel says it",
                &who,
            );
        }
    }

    pub(super) fn hub(&mut self, raw: Option<&At<raw::Hub>>) -> Hub {
        let Some(At { value: raw, .. }) = raw else { return Hub::default() };
        let who = "[hub]";
        if let Some(domain) = &raw.domain {
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if domain.value.len() > 200 || !domain.value.split('.').all(label) {
                let message = format!("{who}: \"{}\" is not a domain", domain.value.escape_debug());
                self.error(domain.span, message, "write such as domain = \"tunnel.example.com\"");
            }
        }
        let mut addrs = Vec::new();
        for addr in raw.addrs.iter().flat_map(|list| &list.value) {
            let known = ["wss://", "ws://", "tls://", "tcp://"];
            let rest = known.iter().find_map(|scheme| addr.value.strip_prefix(scheme));
            if rest.is_none_or(str::is_empty)
                || addr.value.len() > 255
                || addr.value.contains(char::is_whitespace)
            {
                let message =
                    format!("{who}: addrs: \"{}\" is not where a hub is", addr.value.escape_debug());
                let help = "write \"wss://edge-1.example.com\", \"tls://10.0.0.1:7000\", \"ws://...\" or \"tcp://...\"";
                self.error(addr.span, message, help);
            }
            addrs.push(addr.value.clone());
        }
        if let (Some(list), true) = (&raw.addrs, addrs.len() > MOST_HUBS) {
            self.error(
                list.span,
                format!("{who}: more than {MOST_HUBS} addrs"),
                "one for each hub is enough",
            );
        }
        Hub {
            domain: raw.domain.as_ref().map(|domain| domain.value.to_ascii_lowercase()),
            addrs,
            advertise: Vec::new(),
        }
    }

    pub(super) fn tunnels(&mut self, tables: &Tables, hub: &Hub) -> Vec<Tunnel> {
        let tunnels: Vec<Tunnel> = tables.tunnels.iter().map(|at| self.tunnel(&at.value, hub)).collect();
        let comes_in =
            |at: &At<raw::Listener>| at.value.agents.is_some() || protocol(&at.value) == Protocol::Hub;
        if let (Some(first), false) = (tables.tunnels.first(), tables.listeners.iter().any(comes_in))
            && !self.findings.has_errors()
        {
            let help = "write agents = \"/.mainstay/tunnel\" in an http [[listener]], or one with protocol = \"hub\"";
            self.error(first.value.head.span, "there are tunnels, but no listener takes agents in", help);
        }
        tunnels
    }

    fn tunnel(&mut self, raw: &raw::Tunnel, hub: &Hub) -> Tunnel {
        let id = text_of(&raw.id);
        let who = format!("tunnel \"{id}\"");
        for (key, span) in [("private", span_of(&raw.private)), ("visitors", span_of(&raw.visitors))] {
            if let Some(span) = span {
                let message = format!("{who}: `{key}`: visitors are not served by this version");
                self.error(span, message, "take it out; what leads to a tunnel is public");
            }
        }
        let mut served: Vec<String> =
            raw.hosts.iter().flat_map(|list| &list.value).map(|host| host.value.clone()).collect();
        if let (Some(domain), None) = (&hub.domain, &raw.hosts) {
            served.push(generated(&id, domain));
        }
        for (binds, scheme) in [(&raw.tcp, "tcp://"), (&raw.udp, "udp://")] {
            let binds = binds.iter().flat_map(|list| &list.value);
            served.extend(binds.map(|bind| format!("{scheme}{}", bind.value)));
        }
        Tunnel {
            agents: self.public_keys(raw, &who),
            served,
            streams: self.count(&raw.streams, 0, 0..=MOST, &who, "streams"),
            rate_millis: raw.rate.as_ref().map_or(0, |rate| rate.value.0),
            bandwidth: self.bytes(&raw.bandwidth, 0, 1 << 10..=FASTEST, &who, "bandwidth"),
            id,
        }
    }

    fn public_keys(&mut self, raw: &raw::Tunnel, who: &str) -> Vec<[u8; 32]> {
        let Some(list) = self.required(&raw.agents, &raw.head, who, "agents") else { return Vec::new() };
        if list.value.is_empty() {
            let message = format!("{who}: nobody may offer it");
            self.findings.warn(list.span, message, "write the agents' public keys, or take the tunnel out");
        }
        if let Some(extra) = list.value.get(MOST_KEYS) {
            self.error(extra.span, format!("{who}: more than {MOST_KEYS} agents"), "several may share a key");
        }
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for text in &list.value {
            let bytes = text.value.strip_prefix(ED25519).and_then(|key| STANDARD.decode(key).ok());
            let Some(key) = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) else {
                let message = format!("{who}: agents: \"{}\" is not a public key", text.value.escape_debug());
                self.error(text.span, message, "write \"ed25519:...\" as `mainstay tunnel key` prints it");
                continue;
            };
            if !seen.insert(key) {
                self.error(text.span, format!("{who}: agents: this key stands there twice"), "write it once");
            }
            keys.push(key);
        }
        keys
    }
}

/// Writes the route of a tunnel's hosts, and the rules of passthrough listeners.
fn lead_hosts(
    name: &At<String>,
    head: &Header,
    hosts: Vec<At<String>>,
    named: Option<&[At<String>]>,
    tables: &mut Tables,
) {
    let span = head.span;
    let (through, routed) = sorted(named, tables);
    for at in &through {
        let rule = raw::Sni {
            head: head.clone(),
            host: Some(At::new(Words(hosts.clone()), span)),
            pool: Some(name.clone()),
        };
        let listener = &mut tables.listeners[*at].value;
        listener.sni.get_or_insert_with(|| At::new(Vec::new(), span)).value.push(At::new(rule, span));
    }
    if routed.as_ref().is_none_or(|routed| !routed.is_empty()) {
        let route = raw::Route {
            head: head.clone(),
            name: Some(name.clone()),
            listener: routed.map(|routed| At::new(Words(routed), span)),
            host: Some(At::new(Words(hosts), span)),
            pool: Some(name.clone()),
            ..raw::Route::default()
        };
        tables.routes.push(At::new(route, span));
    }
}

/// The listeners that a tunnel's hosts are for: positions of those of passthrough, and names of the others; `None` of those is
/// every one that speaks http.
fn sorted(named: Option<&[At<String>]>, tables: &Tables) -> (Vec<usize>, Option<Vec<At<String>>>) {
    let Some(named) = named else { return (Vec::new(), None) };
    let (mut through, mut routed) = (Vec::new(), Vec::new());
    for name in named {
        let at = tables.listeners.iter().position(|at| text_of(&at.value.name) == name.value);
        match at.filter(|at| protocol(&tables.listeners[*at].value) == Protocol::Passthrough) {
            Some(at) => through.push(at),
            // A name that is wrong is told by the route.
            None => routed.push(name.clone()),
        }
    }
    (through, Some(routed))
}

/// The host of a tunnel that has none of its own: the first half of its id's MD5, as gost makes it.
fn generated(id: &str, domain: &str) -> String {
    let digest = Md5::digest(id.as_bytes());
    let mut host = String::new();
    for byte in &digest[..8] {
        write!(host, "{byte:02x}").expect("a string takes all");
    }
    host.push('.');
    host.push_str(&domain.to_ascii_lowercase());
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_generated_as_the_tools_before_us_did() {
        let id = "381433e1-7980-11ee-bbdb-60f262c1e32d";
        assert_eq!(generated(id, "Gost.local"), "b7de88a94729b931.gost.local");
    }
}
