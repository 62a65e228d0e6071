//! Tunnels: what leads to them is written for the operator as routes, listeners and pools, and judged as those are.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_core::name::PoolId;

use super::gost::sorts_too;
use super::listener::protocol;
use super::names::Kind;
use super::{Tables, flag, span_of, text_of};
use crate::plan::edge::{Hub, Listener, Pool, Protocol, Tunnel};
use crate::plan::tunnel::{PEERS_LISTENER, generated, made_name};
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
            if flag(&raw.private, false) {
                self.private_way_to(&id, span, raw, tables);
            } else {
                self.ways_to(&id, span, raw, domain.as_ref(), tables);
            }
        }
        tables.tunnels = tunnels;
        self.open_tables(tables);
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

    /// The pool of a private tunnel. It has no name that anything could lead to it by.
    fn private_way_to(&mut self, id: &str, span: Span, raw: &raw::Tunnel, tables: &mut Tables) {
        let who = format!("tunnel \"{id}\"");
        let public = [
            ("listener", span_of(&raw.listener)),
            ("hosts", span_of(&raw.hosts)),
            ("tcp", span_of(&raw.tcp)),
            ("udp", span_of(&raw.udp)),
        ];
        for (key, span) in public {
            let Some(span) = span else { continue };
            let message = format!("{who}: `{key}` leads everybody to a private tunnel");
            self.error(span, message, "take it out, or `private`; its visitors run `mainstay visit`");
        }
        let name = made_name(id);
        let wrong = tables.pools.iter().find(|pool| text_of(&pool.value.name) == name);
        if let Some(pool) = wrong {
            let message = format!("pool \"{name}\" has the name that private tunnel \"{id}\" needs");
            self.error(pool.span, message, "call it otherwise");
        }
        self.edge.private.insert(id.to_owned());
        tables
            .private
            .push(At::new(pool_of(&At::new(name, span), Header { span, spoiled: Vec::new() }, raw), span));
    }

    /// What holds for the connections of visitors of private tunnels and of gost's: a listener each that is bound nowhere. The pools
    /// of private ones are the last.
    pub(super) fn visit_listeners(&mut self, tables: &Tables, pools: &[Pool]) -> Vec<Listener> {
        let first = pools.len() - tables.private.len();
        let mut made = Vec::new();
        let private = tables
            .private
            .iter()
            .enumerate()
            .map(|(nth, at)| (text_of(&at.value.name), at.span, first + nth));
        // Those of gost's name public tunnels as well.
        let named = |at: &At<raw::Tunnel>| {
            let raw = &at.value;
            let name = made_name(&text_of(&raw.id));
            let pool = pools[..first].iter().position(|pool| pool.name == name)?;
            (flag(&raw.gost, false) && !flag(&raw.private, false)).then_some((name, at.span, pool))
        };
        for (id, span, pool) in private.chain(tables.tunnels.iter().filter_map(named)) {
            let raw = raw::Listener {
                name: Some(At::new(format!("{id}/visit"), span)),
                protocol: Some(At::new(ProtocolWord::Tcp, span)),
                ..raw::Listener::default()
            };
            let pool = u32::try_from(pool).ok().map(PoolId);
            made.push(Listener { pool, ..self.listener_at(&raw, Vec::new(), pools) });
        }
        made
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
        // Visitors of gost's name the tunnel itself.
        if made || flag(&raw.gost, false) {
            tables.pools.push(At::new(pool_of(&name, head, raw), span));
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
            advertise: self.advertise(raw),
            among: self.among(raw),
        }
    }

    pub(super) fn tunnels(&mut self, tables: &Tables, hub: &Hub) -> Vec<Tunnel> {
        let tunnels: Vec<Tunnel> =
            tables.tunnels.iter().map(|at| self.tunnel(&at.value, hub, tables)).collect();
        let comes_in = |at: &At<raw::Listener>| {
            at.value.agents.is_some()
                || (protocol(&at.value) == Protocol::Hub && text_of(&at.value.name) != PEERS_LISTENER)
        };
        if let (Some(first), false) = (tables.tunnels.first(), tables.listeners.iter().any(comes_in))
            && !self.findings.has_errors()
        {
            let help = "write agents = \"/.mainstay/tunnel\" in an http [[listener]], or one with protocol = \"hub\"";
            self.error(first.value.head.span, "there are tunnels, but no listener takes agents in", help);
        }
        tunnels
    }

    fn tunnel(&mut self, raw: &raw::Tunnel, hub: &Hub, tables: &Tables) -> Tunnel {
        let id = text_of(&raw.id);
        let who = format!("tunnel \"{id}\"");
        let private = flag(&raw.private, false);
        if let (Some(span), false) = (span_of(&raw.visitors), private) {
            let message = format!("{who}: `visitors` means nothing: everybody may reach it");
            self.error(span, message, "write private = true, and take `hosts`, `tcp` and `udp` out");
        }
        let mut served: Vec<String> =
            raw.hosts.iter().flat_map(|list| &list.value).map(|host| host.value.clone()).collect();
        if let (Some(domain), None, false) = (&hub.domain, &raw.hosts, private) {
            served.push(generated(&id, domain));
        }
        for (binds, scheme) in [(&raw.tcp, "tcp://"), (&raw.udp, "udp://")] {
            let binds = binds.iter().flat_map(|list| &list.value);
            served.extend(binds.map(|bind| format!("{scheme}{}", bind.value)));
        }
        let gost = self.gost_tunnel(raw, &id, tables);
        let keys = |this: &mut Self, list: &Option<_>, whose| {
            // Those of gost's have no keys.
            let none = gost && list.is_none();
            if none { Vec::new() } else { this.public_keys(list, &raw.head, &who, whose) }
        };
        Tunnel {
            agents: keys(self, &raw.agents, &AGENTS),
            visitors: private.then(|| keys(self, &raw.visitors, &VISITORS)),
            gost,
            served,
            streams: self.count(&raw.streams, 0, 0..=MOST, &who, "streams"),
            rate_millis: raw.rate.as_ref().map_or(0, |rate| rate.value.0),
            bandwidth: self.bytes(&raw.bandwidth, 0, 1 << 10..=FASTEST, &who, "bandwidth"),
            id,
        }
    }

    fn public_keys(
        &mut self,
        list: &Option<At<Vec<At<String>>>>,
        head: &Header,
        who: &str,
        whose: &Whose,
    ) -> Vec<[u8; 32]> {
        let key = whose.key;
        let Some(list) = self.required(list, head, who, key) else { return Vec::new() };
        if list.value.is_empty() {
            let help = format!("write the {key}' public keys, or take the tunnel out");
            self.findings.warn(list.span, format!("{who}: nobody may {} it", whose.may), help);
        }
        if let Some(extra) = list.value.get(MOST_KEYS) {
            self.error(extra.span, format!("{who}: more than {MOST_KEYS} {key}"), "several may share a key");
        }
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for text in &list.value {
            let bytes = text.value.strip_prefix(ED25519).and_then(|key| STANDARD.decode(key).ok());
            let Some(public) = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) else {
                let message = format!("{who}: {key}: \"{}\" is not a public key", text.value.escape_debug());
                self.error(text.span, message, "write \"ed25519:...\" as `mainstay tunnel key` prints it");
                continue;
            };
            if is_weak(&public) {
                let message = format!("{who}: {key}: anybody can sign in the name of \"{}\"", text.value);
                self.error(text.span, message, "write a key that `mainstay tunnel key` has printed");
            }
            if !seen.insert(public) {
                self.error(text.span, format!("{who}: {key}: this key stands there twice"), "write it once");
            }
            keys.push(public);
        }
        keys
    }
}

/// Whether a key of Ed25519 is a point of small order: some signature fits it and any message, and nobody has its secret.
fn is_weak(key: &[u8; 32]) -> bool {
    /// The y of those eight points, the sign of x aside; 0 and 1 also as p and p + 1.
    const SMALL: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut y = *key;
    y[31] &= 0x7f;
    SMALL.contains(&y.map(|byte| format!("{byte:02x}")).concat().as_str())
}

/// Those who have keys.
struct Whose {
    /// How their list is written.
    key: &'static str,
    /// What they may do with the tunnel.
    may: &'static str,
}

const AGENTS: Whose = Whose { key: "agents", may: "offer" };
const VISITORS: Whose = Whose { key: "visitors", may: "reach" };

/// The pool of a tunnel's agents.
pub(super) fn pool_of(name: &At<String>, head: Header, raw: &raw::Tunnel) -> raw::Pool {
    let span = head.span;
    let backend =
        raw::BackendTable { head: head.clone(), addr: Some(name.clone()), ..raw::BackendTable::default() };
    raw::Pool {
        head,
        name: Some(name.clone()),
        balance: raw.balance.clone(),
        backends: Some(At::new(vec![At::new(BackendEntry(backend), span)], span)),
        ..raw::Pool::default()
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
    let Some(named) = named else {
        let through = tables.listeners.iter().enumerate().filter(|(_, at)| sorts_too(&at.value));
        return (through.map(|(at, _)| at).collect(), None);
    };
    let (mut through, mut routed) = (Vec::new(), Vec::new());
    for name in named {
        let at = tables.listeners.iter().position(|at| text_of(&at.value.name) == name.value);
        match at.filter(|at| protocol(&tables.listeners[*at].value) == Protocol::Passthrough) {
            Some(at) => through.push(at),
            // A name that is wrong is told by the route.
            None => routed.push(name.clone()),
        }
        through.extend(at.filter(|at| sorts_too(&tables.listeners[*at].value)));
    }
    (through, Some(routed))
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
