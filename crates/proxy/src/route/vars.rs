//! The values of variables.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::{Action, Files, Known, Piece, Template, Var};
use mainstay_core::path;

use super::pattern::{Groups, Pattern};
use super::{date, host};
use crate::clock;
use crate::exchange::{Attempt, Connection, Exchange, Head};
use crate::request::{Span, Version};
use crate::snapshot::Snapshot;

/// Appends a template's text, its variables replaced, as bytes that nobody has escaped: whoever puts them into a header, a URL or a
/// log does that.
pub fn render(template: &Template, snapshot: &Snapshot, exchange: &Exchange, out: &mut Vec<u8>) {
    Scope::new(snapshot, exchange).template(template, out);
}

/// Where variables have their values from.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) exchange: &'a Exchange,
    /// The backend's response, while it passes.
    pub(super) head: Option<Head<'a>>,
    /// The expression of a map that chose the template, and its groups.
    matched: Option<(&'a Pattern, &'a Groups)>,
}

impl<'a> Scope<'a> {
    pub(super) const fn new(snapshot: &'a Snapshot, exchange: &'a Exchange) -> Self {
        Self { snapshot, exchange, head: None, matched: None }
    }

    pub(super) const fn with_head(snapshot: &'a Snapshot, exchange: &'a Exchange, head: Head<'a>) -> Self {
        Self { snapshot, exchange, head: Some(head), matched: None }
    }

    /// The same, with the groups of an expression.
    pub(super) const fn matched_by<'b>(&'b self, pattern: &'b Pattern, groups: &'b Groups) -> Scope<'b> {
        Scope {
            snapshot: self.snapshot,
            exchange: self.exchange,
            head: self.head,
            matched: Some((pattern, groups)),
        }
    }

    /// A template's text.
    pub(super) fn template(&self, template: &Template, out: &mut Vec<u8>) {
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Var(var) => self.var(var, out),
            }
        }
    }

    /// A template's text in a buffer of its own.
    pub(super) fn bytes(&self, template: &Template) -> Vec<u8> {
        let mut out = Vec::new();
        self.template(template, &mut out);
        out
    }

    /// A template's text as text.
    pub(super) fn text(&self, template: &Template) -> String {
        path::to_text(&self.bytes(template)).into_owned()
    }

    /// The value of a variable.
    pub(super) fn var(&self, var: &Var, out: &mut Vec<u8>) {
        match var {
            Var::Known(known) => self.known(*known, out),
            Var::Header(name) => self.header(name, out),
            Var::Sent(name) => noted(&self.exchange.memory.noted.borrow().sent, name, out),
            Var::Upstream(name) => match self.head {
                Some(head) => lines(head, name, out),
                None => noted(&self.exchange.memory.noted.borrow().backend, name, out),
            },
            Var::BackendCookie(name) => self.backend_cookie(name, out),
            Var::Cookie(name) => self.cookie(name, out),
            Var::Arg(name) => push(argument(&self.exchange.query, name).unwrap_or_default(), out),
            Var::Claim(name) => self.claim(name, out),
            Var::Group(n) => {
                let groups = self.matched.map_or(&self.exchange.groups, |(_, groups)| groups);
                push(groups.get(usize::from(*n)).and_then(Option::as_deref).unwrap_or_default(), out);
            }
            Var::Own(name) => self.own(name, out),
        }
    }

    fn header(&self, name: &str, out: &mut Vec<u8>) {
        if name == "host" {
            // What the route was found by: a target's host wins over the Host header (RFC 9112 3.2.2).
            return out.extend_from_slice(self.exchange.request.bytes(self.exchange.request.authority));
        }
        let between: &[u8] = if name == "cookie" { b"; " } else { b", " };
        let mut first = true;
        for (own, value) in self.exchange.request.fields() {
            if own.eq_ignore_ascii_case(name.as_bytes()) {
                if !first {
                    out.extend_from_slice(between);
                }
                out.extend_from_slice(value);
                first = false;
            }
        }
    }

    fn cookie(&self, name: &str, out: &mut Vec<u8>) {
        let lines = self.exchange.request.fields().filter(|(own, _)| own.eq_ignore_ascii_case(b"cookie"));
        for pair in lines.flat_map(|(_, value)| value.split(|b| *b == b';')) {
            let pair = pair.trim_ascii();
            if let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                out.extend_from_slice(value);
                return;
            }
        }
    }

    /// The value that a backend's response gives to a cookie.
    fn backend_cookie(&self, name: &str, out: &mut Vec<u8>) {
        let mut found = false;
        let mut look = |line: &[u8]| {
            let pair = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            let value = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let Some(value) = value.filter(|_| !found) {
                out.extend_from_slice(value);
                found = true;
            }
        };
        match self.head {
            Some(head) => head.each(&mut |own, value| {
                if own.eq_ignore_ascii_case(b"set-cookie") {
                    look(value);
                }
            }),
            None => {
                let noted = self.exchange.memory.noted.borrow();
                noted
                    .backend
                    .iter()
                    .filter(|(own, _)| **own == *"set-cookie")
                    .for_each(|(_, line)| look(line));
            }
        }
    }

    fn claim(&self, name: &str, out: &mut Vec<u8>) {
        match self.exchange.claims.as_ref().and_then(|claims| claims.get(name)) {
            None | Some(serde_json::Value::Null) => {}
            Some(serde_json::Value::String(text)) => out.extend_from_slice(text.as_bytes()),
            Some(value) => {
                let _ = write!(out, "{value}");
            }
        }
    }

    fn own(&self, name: &str, out: &mut Vec<u8>) {
        if let Some((pattern, groups)) = self.matched
            && let Some(n) = pattern.named(name)
        {
            return push(groups.get(n).and_then(Option::as_deref).unwrap_or_default(), out);
        }
        if let Some((_, value)) = self.exchange.vars.iter().find(|(own, _)| **own == *name) {
            return push(value, out);
        }
        let maps = &self.snapshot.table.maps;
        let Some(number) = maps.number(name) else {
            let noted = self.exchange.memory.noted.borrow();
            return push(
                noted.named.iter().find(|(own, _)| **own == *name).map_or("", |(_, value)| value),
                out,
            );
        };
        let cached = self
            .exchange
            .memory
            .noted
            .borrow()
            .maps
            .iter()
            .find(|(n, _)| *n == number)
            .map(|m| Rc::clone(&m.1));
        if let Some(value) = cached {
            return out.extend_from_slice(&value);
        }
        let map = maps.get(number);
        let source = self.bytes(&map.source);
        let chosen = map.choose(&source);
        let start = out.len();
        match &chosen.matched {
            Some((pattern, groups)) => self.matched_by(pattern, groups).template(chosen.value, out),
            None => self.template(chosen.value, out),
        }
        let mut noted = self.exchange.memory.noted.borrow_mut();
        noted.maps.push((number, out[start..].into()));
        for (name, value) in chosen.matched.iter().flat_map(|(pattern, groups)| pattern.names(groups)) {
            noted.named.retain(|(own, _)| **own != *name);
            noted.named.push((name.into(), value.into()));
        }
    }

    fn known(&self, known: Known, out: &mut Vec<u8>) {
        let exchange = self.exchange;
        let request = &exchange.request;
        let connection = &exchange.connection;
        match known {
            Known::RequestMethod => out.extend_from_slice(method(exchange)),
            Known::Request => self.request_line(out),
            Known::RequestUri => out.extend_from_slice(request.bytes(request.target)),
            Known::Uri | Known::DocumentUri => push(&exchange.path, out),
            Known::Args | Known::QueryString => push(&exchange.query, out),
            Known::IsArgs => push(if exchange.query.is_empty() { "" } else { "?" }, out),
            Known::Host => self.host(out),
            Known::ServerName => push(self.server_name(), out),
            Known::Hostname => push(&self.snapshot.table.hostname, out),
            Known::Scheme => push(if connection.tls.is_some() { "https" } else { "http" }, out),
            Known::Https => push(if connection.tls.is_some() { "on" } else { "" }, out),
            Known::RemoteAddr => addr(exchange.client, out),
            Known::BinaryRemoteAddr => binary(exchange.client, out),
            Known::RemotePort => number(u64::from(exchange.client_port), out, exchange.client_port != 0),
            Known::RemoteUser => push(&crate::policy::user(exchange).unwrap_or_default(), out),
            Known::PeerAddr => addr(connection.peer.map(|peer| peer.ip()), out),
            Known::PeerPort => port(connection.peer, out),
            Known::ProxyProtocolAddr => addr_of(connection.proxy.map(|(from, _)| from), out),
            Known::ProxyProtocolPort => port(connection.proxy.map(|(from, _)| from), out),
            Known::ProxyProtocolServerAddr => addr_of(connection.proxy.map(|(_, to)| to), out),
            Known::ProxyProtocolServerPort => port(connection.proxy.map(|(_, to)| to), out),
            Known::ServerAddr => addr(connection.local.map(|local| local.ip()), out),
            Known::ServerPort => port(connection.local, out),
            Known::ServerProtocol => push(version(request.version), out),
            Known::Http2 => push(http2(request.version, connection), out),
            Known::RequestId => out.extend_from_slice(exchange.id.as_ref().map_or(&[][..], |id| &id[..])),
            Known::RequestLength => number(exchange.received, out, true),
            Known::ContentLength => self.field("content-length", out),
            Known::ContentType => self.header("content-type", out),
            Known::Connection => number(connection.number, out, true),
            Known::ConnectionRequests => number(u64::from(exchange.earlier) + 1, out, true),
            Known::Pipe => push(if exchange.pipelined { "p" } else { "." }, out),
            Known::ProxyAddXForwardedFor => self.forwarded_for(out),
            Known::ProxyHost | Known::ProxyPort => self.pool(known, out),
            Known::DocumentRoot => self.root(out),
            Known::RequestFilename => self.filename(out),
            Known::Pid => number(u64::from(std::process::id()), out, true),
            Known::Version => push(env!("CARGO_PKG_VERSION"), out),
            Known::Route => push(self.route().map_or("", |route| &route.name), out),
            Known::Msec | Known::TimeIso8601 | Known::TimeLocal => time(known, out),
            Known::RequestTime
            | Known::SessionTime
            | Known::RequestCompletion
            | Known::Status
            | Known::BodyBytesSent
            | Known::BytesSent
            | Known::BytesReceived
            | Known::StreamProtocol
            | Known::UpstreamAddr
            | Known::UpstreamStatus
            | Known::UpstreamResponseTime
            | Known::UpstreamConnectTime
            | Known::UpstreamHeaderTime => outcome(exchange, known, out),
            Known::SslProtocol
            | Known::SslCipher
            | Known::SslServerName
            | Known::SslSessionReused
            | Known::SslClientVerify
            | Known::SslClientSDn
            | Known::SslClientIDn
            | Known::SslClientSerial
            | Known::SslClientFingerprint
            | Known::SslClientEscapedCert => super::certificate::variable(connection, known, out),
        }
    }

    /// A header of the request.
    fn field(&self, name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.exchange.request.field(name).unwrap_or_default());
    }

    fn route(&self) -> Option<&'a mainstay_config::plan::edge::Route> {
        self.exchange.route.and_then(|id| self.snapshot.edge.routes.get(id.index()))
    }

    fn server_name(&self) -> &'a str {
        let compiled = self.exchange.route.and_then(|id| self.snapshot.table.routes.get(id.index()));
        compiled.map_or("", |route| &route.server_name)
    }

    /// The host in lower case, without port.
    pub(super) fn host(&self, out: &mut Vec<u8>) {
        let request = &self.exchange.request;
        match host::of(request.bytes(request.authority)) {
            Some("") | None => push(self.server_name(), out),
            Some(host) => {
                let start = out.len();
                out.extend_from_slice(host.as_bytes());
                out[start..].make_ascii_lowercase();
            }
        }
    }

    /// The host that a redirect leads to: the request's, else our address.
    pub(super) fn host_or_local(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let request = &self.exchange.request;
        if host::of(request.bytes(request.authority)).is_some_and(|host| !host.is_empty()) {
            return self.host(out);
        }
        match self.exchange.connection.local.map(|local| mainstay_core::net::plain(local.ip())) {
            Some(IpAddr::V6(local)) => push(&format!("[{local}]"), out),
            local => addr(local, out),
        }
        if out[start..] == *b"unix:" {
            out.truncate(start);
        }
    }

    fn request_line(&self, out: &mut Vec<u8>) {
        let request = &self.exchange.request;
        for (span, after) in [(request.method, " "), (request.target, " ")] {
            out.extend_from_slice(request.bytes(span));
            push(after, out);
        }
        push(version(request.version), out);
    }

    /// X-Forwarded-For of the request with the client's address appended, as nginx has it.
    pub(super) fn forwarded_for(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.header("x-forwarded-for", out);
        if out.len() > start {
            push(", ", out);
        }
        addr(self.exchange.client, out);
    }

    fn pool(&self, known: Known, out: &mut Vec<u8>) {
        let forward = self.route().and_then(|route| super::table::forward_of(&route.action));
        let pool = forward.and_then(|forward| self.snapshot.edge.pools.get(forward.pool.index()));
        let Some(pool) = pool else { return };
        let to =
            self.exchange.memory.to.as_ref().filter(|_| forward.is_some_and(|forward| forward.to.is_some()));
        if let Some(to) = to {
            let usual = if pool.tls.is_some() { "443" } else { "80" };
            let shown = match known {
                Known::ProxyHost => to,
                _port => super::aim::port_of(to).unwrap_or(usual),
            };
            return push(shown, out);
        }
        if known == Known::ProxyHost {
            return push(&pool.name, out);
        }
        let digits =
            pool.name.rsplit_once(':').map(|(_, port)| port).filter(|port| port.parse::<u16>().is_ok());
        push(digits.unwrap_or(if pool.tls.is_some() { "443" } else { "80" }), out);
    }

    fn files(&self) -> Option<&'a Files> {
        match &self.route()?.action {
            Action::Files(files) => Some(files),
            Action::Forward(_) | Action::Answer(_) => None,
        }
    }

    fn root(&self, out: &mut Vec<u8>) {
        if let Some(files) = self.files() {
            self.template(&files.root, out);
        }
    }

    fn filename(&self, out: &mut Vec<u8>) {
        self.root(out);
        let path = &self.exchange.path;
        let alias = self.files().is_some_and(|files| files.alias);
        let compiled = self.exchange.route.and_then(|id| self.snapshot.table.routes.get(id.index()));
        let cut = compiled.filter(|_| alias).map_or("", |route| &route.prefix);
        match path.strip_prefix(cut) {
            Some(rest) => push(rest, out),
            None => push(path, out),
        }
    }
}

/// The first parameter of a query with this name, letters of either case, as it came.
pub(super) fn argument<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (own, value) = pair.split_once('=')?;
        own.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The method at this moment.
pub(super) fn method(exchange: &Exchange) -> &[u8] {
    let span: Span = exchange.request.method;
    if exchange.method_get { b"GET" } else { exchange.request.bytes(span) }
}

fn push(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&path::to_bytes(text));
}

/// All lines of a response's header, joined.
fn lines(head: Head<'_>, name: &str, out: &mut Vec<u8>) {
    let mut first = true;
    head.each(&mut |own, value| {
        if own.eq_ignore_ascii_case(name.as_bytes()) {
            if !std::mem::take(&mut first) {
                push(", ", out);
            }
            out.extend_from_slice(value);
        }
    });
}

fn noted(list: &[(Box<str>, Vec<u8>)], name: &str, out: &mut Vec<u8>) {
    let mut lines = list.iter().filter(|(own, _)| **own == *name).map(|(_, value)| value);
    if let Some(first) = lines.next() {
        out.extend_from_slice(first);
    }
    for line in lines {
        push(", ", out);
        out.extend_from_slice(line);
    }
}

fn number(value: u64, out: &mut Vec<u8>, shown: bool) {
    if shown {
        let _ = write!(out, "{value}");
    }
}

/// An address; a unix socket reads as nginx writes it.
pub(super) fn addr(value: Option<IpAddr>, out: &mut Vec<u8>) {
    match value.map(mainstay_core::net::plain) {
        Some(IpAddr::V4(value)) => {
            for (n, byte) in value.octets().into_iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                if byte >= 100 {
                    out.push(b'0' + byte / 100);
                }
                if byte >= 10 {
                    out.push(b'0' + byte / 10 % 10);
                }
                out.push(b'0' + byte % 10);
            }
        }
        Some(IpAddr::V6(value)) => {
            let _ = write!(out, "{value}");
        }
        None => push("unix:", out),
    }
}

/// The bytes of an address.
fn binary(value: Option<IpAddr>, out: &mut Vec<u8>) {
    match value {
        Some(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
        Some(IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
        None => {}
    }
}

fn addr_of(value: Option<SocketAddr>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        addr(Some(value.ip()), out);
    }
}

fn port(value: Option<SocketAddr>, out: &mut Vec<u8>) {
    number(value.map_or(0, |v| u64::from(v.port())), out, value.is_some_and(|v| v.port() != 0));
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}

fn http2(version: Version, connection: &Connection) -> &'static str {
    match version {
        Version::Http2 if connection.tls.is_some() => "h2",
        Version::Http2 => "h2c",
        Version::Http10 | Version::Http11 => "",
    }
}

fn time(known: Known, out: &mut Vec<u8>) {
    let now = clock::wall();
    match known {
        Known::TimeIso8601 => date::iso8601(now, out),
        Known::TimeLocal => date::clf(now, out),
        _msec => seconds(now, out),
    }
}

fn seconds(time: Duration, out: &mut Vec<u8>) {
    let _ = write!(out, "{}.{:03}", time.as_secs(), time.subsec_millis());
}

/// What is known at the end: for logs.
fn outcome(exchange: &Exchange, known: Known, out: &mut Vec<u8>) {
    let times = |out: &mut Vec<u8>, time: fn(&Attempt) -> Option<Duration>| {
        attempts(exchange, out, |attempt, out| match time(attempt) {
            Some(time) => seconds(time, out),
            None => push("-", out),
        });
    };
    match known {
        Known::RequestTime | Known::SessionTime => seconds(clock::boot_now().since(exchange.started), out),
        Known::RequestCompletion => push(if exchange.complete { "OK" } else { "" }, out),
        Known::Status => {
            let _ = write!(out, "{:03}", exchange.status);
        }
        Known::BodyBytesSent => number(exchange.body_sent, out, true),
        Known::BytesSent => number(exchange.sent, out, true),
        Known::BytesReceived => number(exchange.received, out, true),
        Known::StreamProtocol => push("TCP", out),
        Known::UpstreamAddr => attempts(exchange, out, |attempt, out| push(&attempt.addr, out)),
        Known::UpstreamStatus => attempts(exchange, out, |attempt, out| match attempt.status {
            Some(status) => number(u64::from(status), out, true),
            None => push("-", out),
        }),
        Known::UpstreamResponseTime => times(out, |attempt| attempt.total),
        Known::UpstreamConnectTime => times(out, |attempt| attempt.connect),
        Known::UpstreamHeaderTime => times(out, |attempt| attempt.header),
        other => debug_assert!(false, "{other:?} is known before the end"),
    }
}

fn attempts(exchange: &Exchange, out: &mut Vec<u8>, mut write: impl FnMut(&Attempt, &mut Vec<u8>)) {
    for (n, attempt) in exchange.attempts.iter().enumerate() {
        if n > 0 {
            push(", ", out);
        }
        write(attempt, out);
    }
}
