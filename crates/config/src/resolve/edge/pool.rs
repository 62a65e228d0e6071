//! Pools: backends, how one is chosen, how connections to them are made and kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::names::Kind;
use super::{PERCENT, WAIT_OR_NONE, flag, span_of, text_of};
use crate::material;
use crate::plan::Probe;
use crate::plan::edge::{
    Backend, BackendHttp, BackendTls, Balance, Outlier, Pool, ProxyHeader, Queue, SharedKey, Sticky, Target,
};
use crate::raw;
use crate::resolve::target::host_port_of;
use crate::resolve::{HOUR, Resolver, SECOND};
use crate::source::{At, Span};
use crate::values::{BackendEntry, BalanceWord, ProxyWord, SameSiteWord, Secret};

/// More backends than this in one pool is a mistake in a template.
const MOST_BACKENDS: usize = 1024;
const MOST: i64 = u32::MAX as i64;

const OUTLIER: Outlier =
    Outlier { failures: 5, window: Duration::from_secs(10), aside: Duration::from_secs(10), share_max: 50 };

impl Resolver<'_> {
    pub(super) fn pool(&mut self, at: &At<raw::Pool>, probes: &mut Vec<Probe>) -> Pool {
        let raw = &at.value;
        let name = text_of(&raw.name);
        let who = &format!("pool \"{name}\"");
        let tls = raw.tls.as_ref().map(|tls| self.backend_tls(&tls.value, &format!("{who}: tls")));
        let outlier = self.outlier(raw.outlier.as_ref(), OUTLIER, who);
        let mut backends = self.backends(raw, outlier, who);
        if let Some(probe) = &raw.probe {
            self.pool_probe(&name, probe, tls.as_ref(), &mut backends, probes);
        }
        Pool {
            balance: self.balance(raw, who),
            backends,
            tls,
            http: if flag(&raw.http2, false) { BackendHttp::Http2 } else { BackendHttp::Http1 },
            proxy: match raw.proxy.as_ref().map(|proxy| proxy.value) {
                None | Some(ProxyWord::Off) => ProxyHeader::Off,
                Some(ProxyWord::V1) => ProxyHeader::V1,
                Some(ProxyWord::V2) => ProxyHeader::V2,
            },
            sticky: raw.sticky.as_ref().map(|sticky| self.sticky(&sticky.value, &format!("{who}: sticky"))),
            outlier,
            queue: self.queue(raw.queue.as_ref(), &format!("{who}: queue")),
            slow_start: self.time(&raw.slow_start, Duration::ZERO, Duration::ZERO..=HOUR, who, "slow_start"),
            keep: self.count(&raw.keep, 256, 0..=65_535, who, "keep"),
            keep_timeout: self.wait(&raw.keep_timeout, SECOND * 60, who, "keep_timeout"),
            keep_requests: self.count(&raw.keep_requests, 0, 0..=MOST, who, "keep_requests"),
            bare_lf: super::flag(&raw.bare_lf, false),
            retry_budget: self.count(&raw.retry_budget, 20, 0..=1000, who, "retry_budget"),
            name,
        }
    }

    fn balance(&mut self, raw: &raw::Pool, who: &str) -> Balance {
        let word = raw.balance.as_ref().map_or(BalanceWord::RoundRobin, |balance| balance.value);
        if word != BalanceWord::Hash {
            self.foreign(span_of(&raw.key), "key", "balance = \"hash\"", who);
        }
        match word {
            BalanceWord::RoundRobin => Balance::RoundRobin,
            BalanceWord::Least => Balance::Least,
            BalanceWord::TwoChoices => Balance::TwoChoices,
            BalanceWord::Source => Balance::Source,
            BalanceWord::Random => Balance::Random,
            BalanceWord::Hash => {
                self.needs(raw.key.is_some(), "key", "balance = \"hash\"", &raw.head, who);
                Balance::Hash(raw.key.as_ref().map(|key| self.template(key, who)).unwrap_or_default())
            }
        }
    }

    fn backends(&mut self, raw: &raw::Pool, outlier: Outlier, who: &str) -> Vec<Backend> {
        let Some(list) = self.required(&raw.backends, &raw.head, who, "backends") else { return Vec::new() };
        if let Some(extra) = list.value.get(MOST_BACKENDS) {
            self.error(
                extra.span,
                format!("{who}: more than {MOST_BACKENDS} backends"),
                "spread them over several pools",
            );
            return Vec::new();
        }
        let mut taken: HashMap<String, Span> = HashMap::new();
        let mut backends = Vec::new();
        for At { value: BackendEntry(raw), .. } in &list.value {
            let who = &format!("{who}: backends");
            let addr = self.required(&raw.addr, &raw.head, who, "addr");
            let weight = self.count(&raw.weight, 1, 1..=65_535, who, "weight");
            let max_connections = self.count(&raw.max_connections, 0, 0..=MOST, who, "max_connections");
            let own = raw.outlier.as_ref().map(|own| self.outlier(Some(own), outlier, who));
            let Some(addr) = addr else { continue };
            let Some(target) = self.target(&addr, who) else { continue };
            let name = raw.name.as_ref().unwrap_or(&addr);
            if let Some(first) = taken.insert(name.value.clone(), name.span) {
                let place = self.findings.line_of(first);
                let message = format!("{who}: \"{}\" stands there twice, first at {place}", name.value);
                let what = "write it once, with weight = 2 if it takes two shares, or give it a `name`";
                self.error(name.span, message, what);
            }
            backends.push(Backend {
                name: name.value.clone(),
                target,
                weight,
                backup: flag(&raw.backup, false),
                down: flag(&raw.down, false),
                max_connections,
                probe: None,
                outlier: own,
            });
        }
        let wrong = if list.value.is_empty() {
            Some("has no backend")
        } else if !backends.is_empty() && backends.iter().all(|backend| backend.down) {
            Some("has no backend that is not down")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let message = format!("{who} {wrong}: every request gets 503");
            self.findings.warn(
                list.span,
                message,
                "write backends = [\"10.0.4.20:8080\"], or add some at run time",
            );
        }
        backends
    }

    fn target(&mut self, at: &At<String>, who: &str) -> Option<Target> {
        let text = at.value.as_str();
        if text == "*" {
            return Some(Target::Asked);
        }
        if let Some(id) = text.strip_prefix("tunnel:") {
            let id = At::new(id.to_owned(), at.span);
            self.named(Kind::Tunnel, &id, who)?;
            if self.edge.private.contains(&id.value) && !self.edge.leads_private {
                let message = format!("{who}: tunnel \"{}\" is private: it stands in no pool", id.value);
                self.error(at.span, message, "take it out; its visitors run `mainstay visit`");
            }
            return Some(Target::Tunnel(id.value));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.len() > 107 || path.contains('\0') {
                let message = format!("{who}: \"{}\" is not the place of a socket", text.escape_debug());
                self.error(at.span, message, "write \"unix:\" and an absolute path of up to 107 bytes");
                return None;
            }
            return Some(Target::Unix(PathBuf::from(path)));
        }
        if text.contains("://") {
            let message = format!("{who}: \"{}\" is a URL, not a backend", text.escape_debug());
            self.error(
                at.span,
                message,
                "write host:port; https is tls = {} in the pool, a path is `prefix` in `forward`",
            );
            return None;
        }
        match host_port_of(text) {
            Ok((host, port)) => Some(match text.parse::<SocketAddr>() {
                Ok(addr) => Target::Inet(addr),
                Err(_) => Target::Name { host: host.to_owned(), port },
            }),
            Err(wrong) => {
                let message = format!("{who}: \"{}\" is not host:port: {wrong}", text.escape_debug());
                self.error(
                    at.span,
                    message,
                    "write \"10.0.4.20:8080\", \"name:8080\", \"[2001:db8::1]:8080\" or \"unix:/path\"",
                );
                None
            }
        }
    }

    fn outlier(&mut self, raw: Option<&At<raw::Outlier>>, default: Outlier, who: &str) -> Outlier {
        let Some(At { value: raw, .. }) = raw else { return default };
        let who = &format!("{who}: outlier");
        let moment = Duration::from_millis(10)..=HOUR * 24;
        Outlier {
            failures: self.count(&raw.failures, default.failures, 0..=MOST, who, "failures"),
            window: self.time(&raw.window, default.window, moment.clone(), who, "window"),
            aside: self.time(&raw.aside, default.aside, moment, who, "aside"),
            share_max: self.count(&raw.share_max, default.share_max, PERCENT, who, "share_max"),
        }
    }

    fn queue(&mut self, raw: Option<&At<raw::Queue>>, who: &str) -> Queue {
        let raw = raw.map(|at| at.value.clone()).unwrap_or_default();
        Queue {
            max: self.count(&raw.max, 1000, 0..=1_000_000, who, "max"),
            timeout: self.wait(&raw.timeout, SECOND * 5, who, "timeout"),
        }
    }

    fn backend_tls(&mut self, raw: &raw::PoolTls, who: &str) -> BackendTls {
        let verify = flag(&raw.verify, true);
        if !verify {
            self.foreign(span_of(&raw.ca), "ca", "verify = true", who);
        }
        let cert = match (&raw.cert, &raw.key) {
            (Some(cert), Some(key)) => Some(self.material(cert, key, who)),
            (None, None) => None,
            (Some(_), None) => {
                self.needs(false, "key", "`cert`", &raw.head, who);
                None
            }
            (None, Some(_)) => {
                self.needs(false, "cert", "`key`", &raw.head, who);
                None
            }
        };
        BackendTls {
            name: raw.name.as_ref().map(|name| self.template(name, who)),
            verify,
            ca: raw.ca.as_ref().map(|ca| self.authorities(ca, who, "ca")),
            cert,
        }
    }

    fn sticky(&mut self, raw: &raw::Sticky, who: &str) -> Sticky {
        let cookie = self.required(&raw.cookie, &raw.head, who, "cookie");
        let cookie = cookie.map(|cookie| {
            if !super::kinds::is_token(&cookie.value) {
                let message =
                    format!("{who}: \"{}\" can't be the name of a cookie", cookie.value.escape_debug());
                self.error(cookie.span, message, "write letters, digits and - alone");
            }
            cookie.value
        });
        for at in raw.path.iter().chain(&raw.domain) {
            if at.value.is_empty() || at.value.contains(|c: char| c.is_control() || c == ';' || c == ' ') {
                let message = format!("{who}: \"{}\" can't stand in a cookie", at.value.escape_debug());
                self.error(at.span, message, "write it without blanks and semicolons");
            }
        }
        let secure = flag(&raw.secure, false);
        let same_site = raw.same_site.as_ref().map(|word| match word.value {
            SameSiteWord::Strict => "Strict".to_owned(),
            SameSiteWord::Lax => "Lax".to_owned(),
            SameSiteWord::None => {
                if !secure {
                    let message =
                        format!("{who}: browsers drop a cookie with same_site = \"None\" that is not secure");
                    self.error(word.span, message, "write secure = true as well");
                }
                "None".to_owned()
            }
        });
        Sticky {
            cookie: cookie.unwrap_or_default(),
            max_age: self.time(&raw.max_age, Duration::ZERO, WAIT_OR_NONE, who, "max_age"),
            path: raw.path.as_ref().map_or_else(|| "/".to_owned(), |path| path.value.clone()),
            domain: raw.domain.as_ref().map(|domain| domain.value.clone()),
            http_only: flag(&raw.http_only, true),
            secure,
            same_site,
            key: raw.key.as_ref().and_then(|key| self.shared_key(key, who)),
        }
    }

    fn shared_key(&mut self, at: &At<Secret>, who: &str) -> Option<SharedKey> {
        let (file, unread) = self.secret_place(&at.value);
        let text = self.secret(at, who, "key")?;
        if !unread && text.len() < material::SHORTEST_SHARED {
            let message = format!("{who}: a key of {} bytes can be guessed", text.len());
            let help = "write the same `openssl rand -hex 32` on all nodes that serve these clients";
            self.error(at.span, message, help);
        }
        Some(SharedKey { file, text })
    }
}
