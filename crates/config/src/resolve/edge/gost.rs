//! gost's clients, visitors and plugins: what they may, and where those are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mainstay_core::gost::relay::Id;

use super::listener::protocol;
use super::names::Kind;
use super::{Tables, flag, span_of};
use crate::plan::edge::{Hub, Listener, Place, Protocol, SharedKey};
use crate::plan::gost::{Admits, Compat, Gost, Hosts, Plugin, Serves, User, Via};
use crate::plan::registry::{Registry, Store};
use crate::raw;
use crate::resolve::target::host_port_of;
use crate::resolve::{HOUR, Resolver, SECOND};
use crate::source::{At, Span};
use crate::values::{CompatWord, GostHostsWord, GostTunnelsWord, Secret};

const WHO: &str = "[gost]";
/// Each is compared with what a client says.
const MOST_USERS: usize = 1024;
/// The wire has one byte for their lengths.
const LONGEST: usize = 255;
const LONGEST_URL: usize = 512;
/// gost's own.
const RENEW: Duration = Duration::from_secs(15);

/// What a listener speaks beside its own protocol.
pub(super) fn compat(raw: &raw::Listener) -> Option<Compat> {
    raw.compat.as_ref().map(|word| match word.value {
        CompatWord::Gost => Compat::Gost,
    })
}

/// Whether gost's clients offer tunnels at a listener.
fn takes_clients(raw: &raw::Listener) -> bool {
    compat(raw).is_some() && (protocol(raw) == Protocol::Hub || raw.agents.is_some())
}

/// How a node reaches a plugin that it is itself.
fn own(at: SocketAddr) -> Plugin {
    let ip = if at.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { at.ip() };
    let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    Plugin { via: Via::Grpc, tls: false, host, port: at.port(), path: String::new() }
}

/// Whether a listener takes requests, and TLS that does not end there.
pub(super) fn sorts_too(raw: &raw::Listener) -> bool {
    compat(raw).is_some() && raw.tls.is_none() && protocol(raw) == Protocol::Http
}

impl Tables {
    /// Where the file says that the node is gost's plugins.
    pub(in crate::resolve) fn plugin_span(&self) -> Span {
        let at = self.gost.as_ref().and_then(|at| span_of(&at.value.plugin));
        at.unwrap_or_default()
    }
}

impl Resolver<'_> {
    /// Two processes serve a node's plugins, and share no memory: what one is told the other has to read.
    pub(in crate::resolve) fn gost_store(
        &mut self,
        gost: Option<&Gost>,
        registry: Option<&Registry>,
        span: Span,
    ) {
        let is_redis = registry.is_some_and(|registry| matches!(registry.store, Store::Redis(_)));
        let serves = gost.map(|gost| gost.serves).unwrap_or_default();
        if serves == Serves::default() || is_redis || self.findings.has_errors() {
            return;
        }
        let message = "[gost.plugin]: the processes that serve it share what they are told through a redis, and [registry] names none";
        let help = "write [registry] with redis = [\"redis://HOST:6379\"], and bind and key in [hub]; or run `mainstay plugin`, which can keep all in memory";
        self.error(span, message, help);
    }

    /// What holds for gost's clients and visitors; nothing when none come.
    pub(super) fn gost(&mut self, tables: &Tables, hub: &Hub, listeners: &[Listener]) -> Option<Gost> {
        let first = tables.listeners.iter().find_map(|at| at.value.compat.as_ref());
        let raw = match (&tables.gost, first) {
            (None, None) => return None,
            (Some(at), first) => {
                if first.is_none() && at.value.plugin.is_none() {
                    let message = format!("{WHO} holds for no listener: none has compat = \"gost\"");
                    let help = "write compat = \"gost\" in the [[listener]] that they come to, or take the table out";
                    self.findings.warn(at.span, message, help);
                }
                at.value.clone()
            }
            (None, Some(_)) => raw::Gost::default(),
        };
        let span = tables.gost.as_ref().map(|at| at.span).or(first.map(|at| at.span)).unwrap_or_default();
        let tunnels = match raw.tunnels.as_ref().map(|word| word.value) {
            None | Some(GostTunnelsWord::Listed) => Admits::Listed,
            Some(GostTunnelsWord::Any) => Admits::Any,
        };
        let hosts = match raw.hosts.as_ref().map(|word| word.value) {
            None | Some(GostHostsWord::Generated) => Hosts::Generated,
            Some(GostHostsWord::Any) => Hosts::Any,
        };
        if let Some(first) = first {
            self.warns_of_clients(tables, first.span, tunnels, raw.users.is_none().then_some(span));
        }
        if let (Some(word), Admits::Any, Hosts::Generated, None) =
            (&raw.tunnels, tunnels, hosts, hub.domain.as_ref())
        {
            let message =
                format!("{WHO}: without `domain` in [hub] nothing leads to tunnels that no file names");
            self.findings.warn(word.span, message, "write [hub] with domain = \"gost.local\"");
        }
        let serves = raw.plugin.as_ref().map(|at| self.serves(at)).unwrap_or_default();
        let sd = self.plugin(&raw.sd, "sd").or_else(|| serves.sd.map(own));
        let ingress = self.plugin(&raw.ingress, "ingress").or_else(|| serves.ingress.map(own));
        let advertise = self.gost_advertise(&raw, listeners);
        self.needs_own_host(&raw, serves, &advertise);
        let secure = [&sd, &ingress].into_iter().flatten().any(|plugin| plugin.tls);
        if let (Some(ca), false) = (&raw.ca, secure) {
            let message = format!("{WHO}: `ca` means nothing without TLS");
            self.error(ca.span, message, "write grpcs:// or https:// in `sd` and `ingress`, or take it out");
        }
        self.needs_plugin(&raw);
        self.lets_anybody_call(&raw);
        Some(Gost {
            users: self.gost_users(raw.users.as_ref()),
            tunnels,
            entrypoint: raw.entrypoint.as_ref().and_then(|id| self.entrypoint(id)),
            direct: flag(&raw.direct, false),
            hosts,
            advertise,
            sd,
            ingress,
            token: raw.token.as_ref().and_then(|token| self.gost_secret(token, WHO, "token")),
            ca: raw.ca.as_ref().and_then(|ca| self.authorities_of(ca, WHO)),
            timeout: self.time(&raw.timeout, SECOND, SECOND / 10..=SECOND * 60, WHO, "timeout"),
            renew: self.time(&raw.renew, RENEW, SECOND..=HOUR, WHO, "renew"),
            serves,
        })
    }

    /// Says who may offer tunnels: nobody, or everybody (`open`: where it would stand who).
    fn warns_of_clients(&mut self, tables: &Tables, compat: Span, tunnels: Admits, open: Option<Span>) {
        let listed = tables.tunnels.iter().any(|at| at.value.gost.as_ref().is_some_and(|gost| gost.value));
        let may = match tunnels {
            Admits::Listed if !listed => {
                let message = format!("{WHO}: no client may serve anything: no [[tunnel]] has gost = true");
                let help = "write gost = true into its [[tunnel]], or tunnels = \"any\" into [gost]";
                return self.findings.warn(compat, message, help);
            }
            Admits::Listed => "whoever knows a tunnel's id may offer it",
            Admits::Any => "everybody may offer tunnels",
        };
        if let Some(span) = open {
            let help =
                "write users = [{ name = \"NAME\", password = { file = \"/etc/mainstay/gost.password\" } }]";
            self.findings.warn(span, format!("{WHO}: nobody is asked who they are: {may}"), help);
        }
    }

    /// Where this node's own plugins listen.
    fn serves(&mut self, at: &At<raw::GostPlugin>) -> Serves {
        let raw = &at.value;
        let (sd, ingress) = (self.serves_at(&raw.sd, "sd"), self.serves_at(&raw.ingress, "ingress"));
        if raw.sd.is_none() && raw.ingress.is_none() {
            self.error(at.span, "[gost.plugin] says of no plugin where it listens", "write sd = \":8000\"");
        }
        if let (Some(one), Some(other), Some(text)) = (sd, ingress, &raw.ingress)
            && one == other
        {
            let message = format!("[gost.plugin]: sd and ingress both listen at {other}");
            self.error(text.span, message, "give each a port of its own");
        }
        Serves { sd, ingress }
    }

    fn serves_at(&mut self, text: &Option<At<String>>, key: &str) -> Option<SocketAddr> {
        let text = text.as_ref()?;
        let any = text.value.strip_prefix(':').and_then(|port| port.parse().ok());
        let any = any.map(|port: u16| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
        let addr = any.or_else(|| text.value.parse().ok()).filter(|addr| addr.port() != 0);
        if addr.is_none() {
            let message = format!(
                "[gost.plugin]: {key} = \"{}\" is not where it can listen",
                text.value.escape_debug()
            );
            self.error(text.span, message, "write \":8000\", or an address and a port: \"10.0.4.20:8000\"");
        }
        addr
    }

    /// A plugin that is asked over the loopback can't tell where its caller is reached.
    fn needs_own_host(&mut self, raw: &raw::Gost, serves: Serves, advertise: &str) {
        let span = span_of(&raw.advertise).or(span_of(&raw.plugin));
        let asks_itself = serves.sd.is_some() && raw.sd.is_none() && !advertise.is_empty();
        if let (Some(span), true) = (span, asks_itself && advertise.starts_with(':')) {
            let message = format!("{WHO}: `advertise` names no host, and this node tells its own plugin");
            self.error(
                span,
                message,
                format!("write advertise = \"10.0.4.20{advertise}\" with this node's address"),
            );
        }
    }

    /// Plugins believe whoever calls them.
    fn lets_anybody_call(&mut self, raw: &raw::Gost) {
        let span = span_of(&raw.plugin).or(span_of(&raw.sd)).or(span_of(&raw.ingress));
        if let (Some(span), None) = (span, &raw.token) {
            let message =
                format!("{WHO}: the plugins have no `token`: whoever reaches one may name nodes and hosts");
            self.findings.warn(span, message, "write token = { file = \"/etc/mainstay/gost.token\" }");
        }
    }

    /// Keys that only plugins have a use for.
    fn needs_plugin(&mut self, raw: &raw::Gost) {
        let none = raw.sd.is_none() && raw.ingress.is_none() && raw.plugin.is_none();
        for (key, span) in [
            ("token", span_of(&raw.token)),
            ("timeout", span_of(&raw.timeout)),
            ("renew", span_of(&raw.renew)),
        ] {
            if let (Some(span), true) = (span, none) {
                let message = format!("{WHO}: `{key}` means nothing without a plugin");
                self.error(span, message, "write sd = \"grpc://HOST:PORT\" too, or take it out");
            }
        }
        let own = raw.plugin.as_ref().is_some_and(|at| at.value.sd.is_some());
        if let (Some(span), None, false) = (span_of(&raw.advertise), &raw.sd, own) {
            let message = format!("{WHO}: `advertise` means nothing without `sd`, which is told it");
            self.error(span, message, "write sd = \"grpc://HOST:PORT\" too, or take it out");
        }
    }

    fn gost_users(&mut self, list: Option<&At<Vec<At<raw::GostUser>>>>) -> Vec<User> {
        let Some(list) = list else { return Vec::new() };
        if list.value.is_empty() || list.value.len() > MOST_USERS {
            let message = format!("{WHO}: `users` names {}", list.value.len());
            self.error(list.span, message, format!("write 1 to {MOST_USERS}, or take `users` out"));
        }
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut users = Vec::new();
        for At { value: raw, .. } in &list.value {
            let who = "gost.users";
            let name = self.required(&raw.name, &raw.head, who, "name");
            let password = self.required(&raw.password, &raw.head, who, "password");
            let (Some(name), Some(password)) = (name, password) else { continue };
            if name.value.is_empty() || name.value.len() > LONGEST || name.value.contains(char::is_control) {
                let message = format!("{WHO}: \"{}\" can't be the name of a user", name.value.escape_debug());
                self.error(name.span, message, format!("write 1 to {LONGEST} bytes"));
            }
            if let Some(first) = seen.insert(name.value.clone(), name.span) {
                let place = self.findings.line_of(first);
                let message = format!("{WHO}: user \"{}\" stands there twice, first at {place}", name.value);
                self.error(name.span, message, "keep one of them");
            }
            let who = format!("{WHO}: user \"{}\"", name.value);
            let Some(secret) = self.gost_secret(&password, &who, "password") else { continue };
            if secret.text.len() > LONGEST {
                let message = format!("{who}: the password has {} bytes", secret.text.len());
                self.error(password.span, message, format!("gost's protocol carries {LONGEST} at most"));
            }
            users.push(User { name: name.value, password: secret });
        }
        users
    }

    fn gost_secret(&mut self, at: &At<Secret>, who: &str, key: &str) -> Option<SharedKey> {
        let (file, unread) = self.secret_place(&at.value);
        let text = self.secret(at, who, key)?;
        if text.is_empty() && !unread {
            self.error(at.span, format!("{who}: the {key} is empty"), "write one");
        }
        Some(SharedKey { file, text })
    }

    fn entrypoint(&mut self, id: &At<String>) -> Option<String> {
        let known = id.value.parse::<Id>().ok().filter(|id| !id.is_zero() && !id.is_private());
        let Some(known) = known.map(|id| id.to_string()) else {
            let message =
                format!("{WHO}: entrypoint: \"{}\" can't be the id of one", id.value.escape_debug());
            self.error(id.span, message, "write a UUID as `uuidgen` prints it");
            return None;
        };
        if let Some(first) = self.span_of_name(Kind::Tunnel, &known) {
            let place = self.findings.line_of(first);
            let message = format!("{WHO}: entrypoint: this is the id of the tunnel at {place}");
            self.error(id.span, message, "write an id that no tunnel has");
        }
        Some(known)
    }

    /// What other nodes are told of this one.
    fn gost_advertise(&mut self, raw: &raw::Gost, listeners: &[Listener]) -> String {
        if let Some(text) = &raw.advertise {
            let place = text.value.trim();
            // Without a host it is this node's own.
            let whole = if place.starts_with(':') { format!("localhost{place}") } else { place.to_owned() };
            let judged = host_port_of(&whole);
            if let Err(wrong) = judged {
                let message = format!("{WHO}: advertise: \"{}\": {wrong}", text.value.escape_debug());
                self.error(
                    text.span,
                    message,
                    "write \"10.0.4.20:80\", or \":80\" on a node with one address",
                );
            }
            if let Ok((host, _)) = &judged
                && super::hub::is_nowhere(host)
            {
                let message = format!("{WHO}: advertise: no other node is reached at {host}");
                self.error(
                    text.span,
                    message,
                    "write the address of one interface, or \":80\" on a node with one address",
                );
            }
            return place.to_owned();
        }
        let port = |place: &Place| match place {
            Place::Inet(at) => Some(at.port()),
            Place::Unix(_) => None,
        };
        let entry = |listener: &&Listener| listener.compat.is_some() && listener.protocol == Protocol::Http;
        let port = listeners.iter().filter(entry).flat_map(|listener| &listener.places).find_map(port);
        if let (Some(sd), None) = (&raw.sd, port) {
            let message =
                format!("{WHO}: `sd` is told where visitors reach this node, and no listener says it");
            let help = "write an http [[listener]] with compat = \"gost\", or advertise = \"ADDRESS:PORT\"";
            self.error(sd.span, message, help);
        }
        port.map(|port| format!(":{port}")).unwrap_or_default()
    }

    fn plugin(&mut self, text: &Option<At<String>>, key: &str) -> Option<Plugin> {
        let text = text.as_ref()?;
        match plugin_of(text.value.trim()) {
            Ok(plugin) => Some(plugin),
            Err(wrong) => {
                let message = format!(
                    "{WHO}: {key}: \"{}\" is not where a plugin is: {wrong}",
                    text.value.escape_debug()
                );
                let help = "write \"grpc://sd-plugin:8000\", or \"http://sd-plugin:8000/sd\"";
                self.error(text.span, message, help);
                None
            }
        }
    }

    /// What makes a tunnel of the file one that gost's clients may offer.
    pub(super) fn gost_tunnel(&mut self, raw: &raw::Tunnel, id: &str, tables: &Tables) -> bool {
        let Some(At { value: true, span }) = raw.gost else { return false };
        let who = format!("tunnel \"{id}\"");
        let known = id.parse::<Id>().ok().filter(|id| !id.is_zero() && !id.is_private());
        match known.map(|known| known.to_string()) {
            None => {
                let message = format!("{who}: gost's clients name tunnels by UUIDs, and this is none");
                self.error(span, message, "write an id as `uuidgen` prints it, or take `gost` out");
            }
            Some(known) if known != id => {
                let help = format!("write id = \"{known}\", as gost makes hosts of it");
                self.error(span, format!("{who}: its id is not in lower case"), help);
            }
            Some(_) => {}
        }
        if !tables.listeners.iter().any(|at| takes_clients(&at.value)) {
            let message = format!("{who}: gost's clients come to no listener");
            let help =
                "write compat = \"gost\" in a [[listener]] with protocol = \"hub\", or in one with `agents`";
            self.error(span, message, help);
        }
        true
    }
}

fn plugin_of(url: &str) -> Result<Plugin, &'static str> {
    let schemes = [
        ("grpc://", Via::Grpc, false, None),
        ("grpcs://", Via::Grpc, true, None),
        ("http://", Via::Http, false, Some(80)),
        ("https://", Via::Http, true, Some(443)),
    ];
    if url.len() > LONGEST_URL || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it is too long, or has blanks");
    }
    let found = schemes
        .into_iter()
        .find_map(|(scheme, via, tls, usual)| Some((url.strip_prefix(scheme)?, via, tls, usual)));
    let Some((rest, via, tls, usual)) = found else {
        return Err("it does not begin with grpc://, grpcs://, http:// or https://");
    };
    let (place, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if place.contains('@') || path.contains(['?', '#']) {
        return Err("it has more than a host, a port and a path");
    }
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let with_port = match usual {
        Some(port) if !has_port => format!("{place}:{port}"),
        Some(_) | None => place.to_owned(),
    };
    let (host, port) = host_port_of(&with_port)?;
    let path = match via {
        Via::Grpc if path.len() > 1 => return Err("gRPC has no path"),
        Via::Grpc => String::new(),
        Via::Http if path.is_empty() => "/".to_owned(),
        Via::Http => path.to_owned(),
    };
    Ok(Plugin { via, tls, host: host.to_owned(), port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_read_as_it_is_written() {
        for (text, shown) in [
            ("grpc://sd-plugin:8000", "grpc://sd-plugin:8000"),
            ("grpcs://[2001:db8::1]:8000/", "grpcs://[2001:db8::1]:8000"),
            ("http://sd", "http://sd:80/"),
            ("https://sd:8443/v1/sd", "https://sd:8443/v1/sd"),
        ] {
            assert_eq!(plugin_of(text).expect(text).to_string(), shown);
        }
        for wrong in
            ["sd:8000", "grpc://sd", "grpc://sd:1/x", "http://a@b/", "http://a/?b", "tcp://a:1", "http://"]
        {
            assert!(plugin_of(wrong).is_err(), "{wrong}");
        }
    }
}
