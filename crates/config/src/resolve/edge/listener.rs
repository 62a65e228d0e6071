//! Listeners: where connections are taken and what is spoken there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::PoolId;

use super::gost::{compat, sorts_too};
use super::names::Kind;
use super::{Seen, WAIT_OR_NONE, flag, span_of, text_of};
use crate::plan::edge::{
    Host, HttpLimits, Listener, Place, Pool, Protocol, RealIp, RealIpSource, SniRule, Target,
};
use crate::raw;
use crate::resolve::{Resolver, SECOND};
use crate::source::{At, Span};
use crate::values::ProtocolWord;

/// `sun_path` of a unix socket has 108 bytes, the last of them zero.
const LONGEST_SOCKET: usize = 107;
/// File descriptors of one process.
const MOST_CONNECTIONS: i64 = 1_000_000;

/// Where each place was written first; datagrams have ports of their own.
type Places = Seen<(bool, Place)>;

impl Resolver<'_> {
    pub(super) fn listeners(&mut self, list: &[At<raw::Listener>], pools: &[Pool]) -> Vec<Listener> {
        let mut places = Places::new();
        if let Some((metrics, span)) = self.metrics_at {
            places.insert((false, Place::Inet(metrics)), ("[node] metrics".to_owned(), span));
        }
        list.iter().map(|at| self.listener(&at.value, &mut places, pools)).collect()
    }

    fn listener(&mut self, raw: &raw::Listener, places: &mut Places, pools: &[Pool]) -> Listener {
        let name = text_of(&raw.name);
        let who = format!("listener \"{name}\"");
        let protocol = protocol(raw);
        self.keys_of_other_protocols(raw, protocol, &who);
        let bound = self.places(raw, protocol, &who, places);
        self.where_it_goes(raw, protocol, &who);
        self.quic(raw, protocol, &who);
        self.listener_at(raw, bound, pools)
    }

    /// A listener that is bound at these places.
    pub(super) fn listener_at(&mut self, raw: &raw::Listener, bound: Vec<Place>, pools: &[Pool]) -> Listener {
        let name = text_of(&raw.name);
        let who = format!("listener \"{name}\"");
        let protocol = protocol(raw);
        let idle = match protocol {
            Protocol::Http => SECOND * 75,
            Protocol::Tcp | Protocol::Passthrough => SECOND * 600,
            Protocol::Udp => SECOND * 30,
            // Sessions of agents are pinged; this is none of their bounds.
            Protocol::Hub => SECOND * 600,
        };
        let idle_timeout = self.time(&raw.idle_timeout, idle, WAIT_OR_NONE, &who, "idle_timeout");
        if let (Protocol::Tcp | Protocol::Udp | Protocol::Passthrough, true, Some(at)) =
            (protocol, idle_timeout.is_zero(), &raw.idle_timeout)
        {
            let message = format!("{who}: an idle_timeout of zero closes every connection at once");
            self.error(at.span, message, "write such as \"10m\"");
        }
        let proxy_from = self.nets(&raw.proxy_from, &format!("{who}: proxy_from"));
        let real_ip = raw.real_ip.as_ref().map(|real_ip| self.real_ip(real_ip, &who));
        if let (Some(at), Some(RealIp { source: RealIpSource::Proxy, .. }), true) =
            (&raw.real_ip, &real_ip, raw.proxy_from.is_none())
        {
            let message = format!("{who}: real_ip: no connection begins with a PROXY header here");
            self.error(
                at.span,
                message,
                "write proxy_from = [\"10.0.0.0/8\"] with the networks that send it",
            );
        }
        let pool = raw.pool.as_ref().and_then(|pool| self.stream_pool(pool, protocol, pools, &who));
        let sni = self.sni(raw.sni.as_ref(), pools, &who);
        let answer = raw.answer.as_ref().map(|answer| self.template(answer, &who));
        let most = self.count(&raw.max_connections, 20_000, 1..=MOST_CONNECTIONS, &who, "max_connections");
        let udp_responses = raw
            .udp_responses
            .as_ref()
            .map(|_| self.count(&raw.udp_responses, 0, 0..=i64::from(u32::MAX), &who, "udp_responses"));
        Listener {
            places: bound,
            protocol,
            tls: self.tls_server(raw, &who),
            proxy_from,
            real_ip,
            http: self.http_limits(raw, idle_timeout, &who),
            max_connections: most,
            access: self.access(&raw.access, &who),
            pool,
            sni,
            connect_timeout: self.wait(&raw.connect_timeout, SECOND * 5, &who, "connect_timeout"),
            idle_timeout,
            udp_responses,
            logs: self.log_uses(raw.log.as_ref(), &who),
            answer,
            agents: self.agents_path(raw, &who),
            quic: protocol == Protocol::Hub && flag(&raw.quic, false),
            compat: compat(raw),
            name,
        }
    }

    /// Where agents come in beside requests.
    fn agents_path(&mut self, raw: &raw::Listener, who: &str) -> Option<String> {
        let at = raw.agents.as_ref()?;
        let good = |b: u8| b.is_ascii_graphic() && !b"?#%\"".contains(&b);
        if !at.value.starts_with('/') || at.value.len() > 255 || !at.value.bytes().all(good) {
            let message = format!("{who}: agents: \"{}\" is not a path", at.value.escape_debug());
            self.error(at.span, message, "write such as agents = \"/.mainstay/tunnel\"");
        }
        Some(at.value.clone())
    }

    /// QUIC has TLS of its own kind, and nothing comes before it.
    fn quic(&mut self, raw: &raw::Listener, protocol: Protocol, who: &str) {
        let Some(at) = raw.quic.as_ref().filter(|at| at.value && protocol == Protocol::Hub) else { return };
        if raw.tls.as_ref().is_none_or(|tls| tls.value.is_empty()) {
            let message = format!("{who}: quic needs a certificate");
            self.error(at.span, message, "write tls = [{ cert = \"FILE\", key = \"FILE\" }]");
        }
        if let Some(proxy_from) = &raw.proxy_from {
            let message = format!("{who}: what comes by QUIC begins with no PROXY header");
            self.error(proxy_from.span, message, "write a listener with quic = true and without proxy_from");
        }
        if let Some(span) = span_of(&raw.client_ca).or(span_of(&raw.client_auth)) {
            let message = format!("{who}: agents show keys, and no certificates by QUIC");
            self.error(span, message, "take client_ca and client_auth out");
        }
        for text in raw.bind.iter().flat_map(|bind| &bind.value.0) {
            if text.value.starts_with("unix:") {
                let message = format!("{who}: \"{}\" carries no QUIC", text.value.escape_debug());
                self.error(text.span, message, "bind unix sockets with a listener without quic");
            }
        }
    }

    fn http_limits(&mut self, raw: &raw::Listener, idle_timeout: Duration, who: &str) -> HttpLimits {
        let head_max = self.bytes(&raw.head_max, 32 << 10, 1 << 10..=1 << 20, who, "head_max");
        HttpLimits {
            http2: flag(&raw.http2, true),
            head_max: u32::try_from(head_max).unwrap_or(32 << 10),
            fields_max: self.count(&raw.fields_max, 100, 1..=1000, who, "fields_max"),
            head_timeout: self.wait(&raw.head_timeout, SECOND * 30, who, "head_timeout"),
            body_timeout: self.wait(&raw.body_timeout, SECOND * 60, who, "body_timeout"),
            send_timeout: self.wait(&raw.send_timeout, SECOND * 60, who, "send_timeout"),
            idle_timeout,
            requests_max: self.count(&raw.requests_max, 0, 0..=i64::from(u32::MAX), who, "requests_max"),
            streams_max: self.count(&raw.streams_max, 128, 1..=10_000, who, "streams_max"),
            underscores: flag(&raw.underscores, false),
            bare_lf: flag(&raw.bare_lf, false),
            says_keep: flag(&raw.says_keep, false),
            keep_hint: self.count(&raw.keep_hint, 0, 0..=86_400, who, "keep_hint"),
            half_close: flag(&raw.half_close, true),
        }
    }

    /// Keys that mean nothing with what is spoken.
    fn keys_of_other_protocols(&mut self, raw: &raw::Listener, protocol: Protocol, who: &str) {
        use Protocol::{Http, Hub, Passthrough, Tcp, Udp};
        let routed = "tcp, udp and passthrough: with http a [[route]] says it";
        let sni = span_of(&raw.sni).filter(|_| !sorts_too(raw));
        let keys: [(Option<Span>, &str, &[Protocol], &str); 32] = [
            (span_of(&raw.http2), "http2", &[Http], "http"),
            (span_of(&raw.head_max), "head_max", &[Http], "http"),
            (span_of(&raw.fields_max), "fields_max", &[Http], "http"),
            (span_of(&raw.head_timeout), "head_timeout", &[Http], "http"),
            (span_of(&raw.body_timeout), "body_timeout", &[Http], "http"),
            (span_of(&raw.send_timeout), "send_timeout", &[Http], "http"),
            (span_of(&raw.requests_max), "requests_max", &[Http], "http"),
            (span_of(&raw.streams_max), "streams_max", &[Http], "http"),
            (span_of(&raw.underscores), "underscores", &[Http], "http"),
            (span_of(&raw.bare_lf), "bare_lf", &[Http], "http"),
            (span_of(&raw.says_keep), "says_keep", &[Http], "http"),
            (span_of(&raw.keep_hint), "keep_hint", &[Http], "http"),
            (span_of(&raw.half_close), "half_close", &[Http], "http"),
            (span_of(&raw.tls), "tls", &[Http, Tcp, Hub], "http, tcp and hub: TLS does not end here"),
            (span_of(&raw.tls12), "tls12", &[Http, Tcp, Hub], "http, tcp and hub"),
            (span_of(&raw.tickets), "tickets", &[Http, Tcp, Hub], "http, tcp and hub"),
            (span_of(&raw.tls_timeout), "tls_timeout", &[Http, Tcp, Hub], "http, tcp and hub"),
            (span_of(&raw.client_ca), "client_ca", &[Http, Tcp, Hub], "http, tcp and hub"),
            (span_of(&raw.client_auth), "client_auth", &[Http, Tcp, Hub], "http, tcp and hub"),
            (
                span_of(&raw.proxy_from),
                "proxy_from",
                &[Http, Tcp, Passthrough, Hub],
                "http, tcp, passthrough and hub",
            ),
            (span_of(&raw.real_ip), "real_ip", &[Http, Tcp, Passthrough], "http, tcp and passthrough"),
            (
                span_of(&raw.access),
                "access",
                &[Tcp, Udp, Passthrough, Hub],
                "tcp, udp, passthrough and hub: with http a [[route]] says it",
            ),
            (span_of(&raw.pool), "pool", &[Tcp, Udp, Passthrough], routed),
            (span_of(&raw.log), "log", &[Tcp, Udp, Passthrough], routed),
            (span_of(&raw.connect_timeout), "connect_timeout", &[Tcp, Udp, Passthrough], routed),
            (sni, "sni", &[Passthrough], "passthrough, and http with `compat` and without `tls`"),
            (span_of(&raw.udp_responses), "udp_responses", &[Udp], "udp"),
            (span_of(&raw.answer), "answer", &[Tcp], "tcp: with http a [[route]] says it"),
            (span_of(&raw.compat), "compat", &[Http, Hub], "http and hub"),
            (
                span_of(&raw.agents),
                "agents",
                &[Http],
                "http: with protocol = \"hub\" every connection is an agent's",
            ),
            (span_of(&raw.quic), "quic", &[Hub], "hub"),
            (span_of(&raw.idle_timeout), "idle_timeout", &[Http, Tcp, Udp, Passthrough], "all but hub"),
        ];
        for (span, key, good, belongs_to) in keys {
            if !good.contains(&protocol) {
                self.foreign(span, key, belongs_to, who);
            }
        }
        if let (Tcp | Passthrough, Some(At { value: real_ip, .. })) = (protocol, &raw.real_ip) {
            self.foreign(
                span_of(&real_ip.header),
                "header",
                "http: write proxy = true",
                &format!("{who}: real_ip"),
            );
        }
    }

    /// tcp, udp and passthrough need somebody who answers.
    fn where_it_goes(&mut self, raw: &raw::Listener, protocol: Protocol, who: &str) {
        match protocol {
            Protocol::Http => {}
            Protocol::Tcp => {
                let keys = [("pool", span_of(&raw.pool)), ("answer", span_of(&raw.answer))];
                self.exactly_one(&keys, &raw.head, who);
            }
            Protocol::Hub => {}
            Protocol::Udp => self.needs(raw.pool.is_some(), "pool", "udp", &raw.head, who),
            Protocol::Passthrough => {
                let there = raw.pool.is_some() || raw.sni.as_ref().is_some_and(|sni| !sni.value.is_empty());
                self.needs(there, "sni", "passthrough without `pool`", &raw.head, who);
            }
        }
    }

    fn stream_pool(
        &mut self,
        name: &At<String>,
        protocol: Protocol,
        pools: &[Pool],
        who: &str,
    ) -> Option<PoolId> {
        let id = self.named(Kind::Pool, name, who)?;
        let pool = pools.get(id as usize)?;
        let wrong = match protocol {
            Protocol::Http | Protocol::Hub => None,
            Protocol::Tcp | Protocol::Udp | Protocol::Passthrough
                if pool.backends.iter().any(|backend| backend.target == Target::Asked) =>
            {
                Some("the backend \"*\", which requests alone can name")
            }
            Protocol::Udp if pool.tls.is_some() => Some("`tls`, which udp does not speak"),
            Protocol::Udp
                if pool.backends.iter().any(|backend| matches!(backend.target, Target::Unix(_))) =>
            {
                Some("a unix socket, which udp does not reach")
            }
            Protocol::Passthrough if pool.tls.is_some() => {
                Some("`tls`, but clients speak TLS to its backends themselves")
            }
            Protocol::Tcp | Protocol::Udp | Protocol::Passthrough if pool.sticky.is_some() => {
                Some("`sticky`, but there are no cookies without http")
            }
            Protocol::Tcp | Protocol::Udp | Protocol::Passthrough => None,
        };
        if let Some(wrong) = wrong {
            let message = format!("{who}: pool \"{}\" has {wrong}", name.value);
            self.error(name.span, message, "write a pool of its own for this listener");
        }
        Some(PoolId(id))
    }

    fn sni(&mut self, list: Option<&At<Vec<At<raw::Sni>>>>, pools: &[Pool], who: &str) -> Vec<SniRule> {
        let who = format!("{who}: sni");
        let mut rules: Vec<SniRule> = Vec::new();
        let mut seen: Seen<Host> = Seen::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let hosts = self.required(&raw.host, &raw.head, &who, "host");
            let pool = self.required(&raw.pool, &raw.head, &who, "pool");
            let pool = pool.and_then(|pool| self.stream_pool(&pool, Protocol::Passthrough, pools, &who));
            for text in hosts.iter().flat_map(|hosts| &hosts.value.0) {
                let (Some(host), Some(pool)) = (self.host(text, &who), pool) else { continue };
                if let Some((_, first)) = seen.insert(host.clone(), (String::new(), text.span)) {
                    let place = self.findings.line_of(first);
                    let message = format!("{who}: \"{}\" stands there twice, first at {place}", text.value);
                    self.error(text.span, message, "keep it in one place");
                }
                rules.push(SniRule { host, pool });
            }
        }
        rules
    }

    pub(super) fn real_ip(&mut self, at: &At<raw::RealIp>, who: &str) -> RealIp {
        let raw = &at.value;
        let who = format!("{who}: real_ip");
        let proxy = flag(&raw.proxy, false);
        if proxy {
            self.not_both(("proxy", span_of(&raw.proxy)), ("header", span_of(&raw.header)), &who);
            self.foreign(
                span_of(&raw.recursive),
                "recursive",
                "`header`: a PROXY header has one address",
                &who,
            );
        }
        let header = raw.header.as_ref().map(|header| self.field_name(header, &who));
        let header = header.unwrap_or_else(|| "X-Forwarded-For".to_owned()).to_ascii_lowercase();
        let mut unix = false;
        let mut trusted = Vec::new();
        let list = self.required(&raw.trusted, &raw.head, &who, "trusted");
        for text in list.iter().flat_map(|list| &list.value) {
            if text.value == "unix:" {
                unix = true;
            } else if let Some(net) = self.net(&text.value, text.span, &who) {
                if net.prefix == 0 {
                    let message = format!("{who}: everybody is believed: any client can say any address");
                    self.findings.warn(text.span, message, "write the networks of your own proxies alone");
                }
                trusted.push(net);
            }
        }
        if let Some(At { span, .. }) = list.filter(|list| list.value.is_empty()) {
            self.error(span, format!("{who}: nobody is believed"), "write trusted = [\"10.0.0.0/8\"]");
        }
        let source = if proxy { RealIpSource::Proxy } else { RealIpSource::Header(header) };
        RealIp { source, trusted, unix, recursive: flag(&raw.recursive, true) }
    }

    /// Two sockets can't have one place. A wildcard beside one of its addresses can: the kernel prefers the address.
    fn places(
        &mut self,
        raw: &raw::Listener,
        protocol: Protocol,
        who: &str,
        taken: &mut Places,
    ) -> Vec<Place> {
        let mut places = Vec::new();
        let Some(bind) = self.required(&raw.bind, &raw.head, who, "bind") else { return places };
        if bind.value.0.is_empty() {
            self.error(bind.span, format!("{who} is bound nowhere"), "write bind = \":80\"");
        }
        let udp = protocol == Protocol::Udp;
        let flows: &[bool] = match (udp, protocol == Protocol::Hub && flag(&raw.quic, false)) {
            (true, _) => &[true],
            (false, true) => &[false, true],
            (false, false) => &[false],
        };
        for text in &bind.value.0 {
            for place in self.place(text, udp, who) {
                let keys = || flows.iter().map(|udp| (*udp, place.clone()));
                let Some((other, first)) = keys().find_map(|key| taken.get(&key).cloned()) else {
                    taken.extend(keys().map(|key| (key, (who.to_owned(), text.span))));
                    places.push(place);
                    continue;
                };
                let line = self.findings.line_of(first);
                let message = format!("{who}: \"{}\" is taken by {other} already, at {line}", text.value);
                let help =
                    "one listener takes a place: its routes are told apart by `host`, a passthrough by `sni`";
                self.error(text.span, message, help);
            }
        }
        places
    }

    fn place(&mut self, text: &At<String>, udp: bool, who: &str) -> Vec<Place> {
        if let Some(path) = text.value.strip_prefix("unix:") {
            if udp || !path.starts_with('/') || path.len() > LONGEST_SOCKET || path.contains('\0') {
                let message =
                    format!("{who}: \"{}\" can't be the place of a socket", text.value.escape_debug());
                let help = "write \"unix:\" and an absolute path of up to 107 bytes; udp needs an address and a port";
                self.error(text.span, message, help);
            }
            return vec![Place::Unix(PathBuf::from(path))];
        }
        let any = text.value.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
        let parsed = match any {
            Some(port) => vec![
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            ],
            None => text.value.parse().into_iter().collect(),
        };
        if parsed.is_empty() || parsed.iter().any(|addr| addr.port() == 0 || addr.ip().is_multicast()) {
            let message = format!("{who}: \"{}\" is not an address and a port", text.value.escape_debug());
            self.error(text.span, message, bind_advice(&text.value));
            return Vec::new();
        }
        parsed.into_iter().map(Place::Inet).collect()
    }
}

/// What is spoken; http when nothing is said.
pub(super) fn protocol(raw: &raw::Listener) -> Protocol {
    match raw.protocol.as_ref().map(|protocol| protocol.value) {
        None | Some(ProtocolWord::Http) => Protocol::Http,
        Some(ProtocolWord::Tcp) => Protocol::Tcp,
        Some(ProtocolWord::Udp) => Protocol::Udp,
        Some(ProtocolWord::Passthrough) => Protocol::Passthrough,
        Some(ProtocolWord::Hub) => Protocol::Hub,
    }
}

fn bind_advice(text: &str) -> String {
    let port = text.rsplit(':').next().unwrap_or_default();
    match port.parse::<u16>() {
        Ok(1..) if text == port || text.starts_with("*:") => {
            format!("write \":{port}\" for every address of this host")
        }
        Ok(1..) => format!(
            "write an address of this host, such as \"10.0.4.20:{port}\"; names are not looked up here"
        ),
        Ok(_) | Err(_) => {
            "write \":80\", \"10.0.4.20:80\", \"[2001:db8::1]:80\" or \"unix:/run/x.sock\"".to_owned()
        }
    }
}
