//! The active check of a pool becomes one probe for each backend, called `pool/backend`.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::ProbeId;

use super::span_of;
use crate::plan::edge::{Backend, BackendTls, Target};
use crate::plan::{Check, GrpcCheck, HttpCheck, Probe};
use crate::raw;
use crate::resolve::probe::{INTERVAL, MOST_PROBES, TIMEOUT};
use crate::resolve::{Resolver, SECOND};
use crate::source::{At, Span};

/// What a check gets that nobody gave a timeout.
const LONGEST_DEFAULT: Duration = Duration::from_secs(5);

/// What is the same for every backend.
struct Shared<'a> {
    raw: &'a raw::PoolProbe,
    tls: Option<&'a BackendTls>,
    timeout: Duration,
    who: &'a str,
}

impl Resolver<'_> {
    pub(super) fn pool_probe(
        &mut self,
        pool: &str,
        at: &At<raw::PoolProbe>,
        tls: Option<&BackendTls>,
        backends: &mut [Backend],
        probes: &mut Vec<Probe>,
    ) {
        let raw = &at.value;
        let who = &format!("pool \"{pool}\": probe");
        let keys = [
            ("http", span_of(&raw.http)),
            ("tcp", span_of(&raw.tcp)),
            ("grpc", span_of(&raw.grpc)),
            ("exec", span_of(&raw.exec)),
        ];
        let Some(kind) = self.exactly_one(&keys, &raw.head, who) else { return };
        self.keys_of_other_checks(raw, kind, who);
        let interval = self.time(&raw.interval, SECOND * 2, INTERVAL, who, "interval");
        let timeout = self.time(&raw.timeout, interval.min(LONGEST_DEFAULT), TIMEOUT, who, "timeout");
        let fall = self.count(&raw.fall, 2, 1..=1000, who, "fall");
        let rise = self.count(&raw.rise, 2, 1..=1000, who, "rise");
        let shared = Shared { raw, tls, timeout, who };
        for backend in backends.iter_mut().filter(|backend| !backend.down) {
            let name = format!("{pool}/{}", backend.name);
            let Some(check) = self.check_of(&shared, backend, at.span) else { return };
            if probes.len() == MOST_PROBES {
                let message = format!("more than {MOST_PROBES} probes, those of pools among them");
                self.error(at.span, message, "let pools share backends, or check fewer of them");
                return;
            }
            let id = ProbeId(u32::try_from(probes.len()).expect("bounded above"));
            if self.probes.insert(name.clone(), id).is_some() {
                let message = format!("{who}: there is already a probe \"{name}\"");
                self.error(at.span, message, "rename the [[probe]] of this name");
            }
            backend.probe = Some(id);
            let (initial, restart, through, notify) = (None, None, None, Vec::new());
            probes.push(Probe {
                name,
                check,
                interval,
                timeout,
                fall,
                rise,
                initial,
                restart,
                through,
                notify,
            });
        }
    }

    fn keys_of_other_checks(&mut self, raw: &raw::PoolProbe, kind: &str, who: &str) {
        for (span, key, belongs_to) in [
            (span_of(&raw.user), "user", "exec"),
            (span_of(&raw.method), "method", "http"),
            (span_of(&raw.host), "host", "http"),
            (span_of(&raw.status), "status", "http"),
            (span_of(&raw.body), "body", "http"),
        ] {
            if belongs_to != kind {
                self.foreign(span, key, belongs_to, who);
            }
        }
        if let Some(At { value: false, span }) = raw.tcp {
            self.error(
                span,
                format!("{who}: tcp = false checks nothing"),
                "write tcp = true, or another check",
            );
        }
    }

    fn check_of(&mut self, shared: &Shared<'_>, backend: &Backend, span: Span) -> Option<Check> {
        let Shared { raw, tls, timeout, who } = *shared;
        let port = raw.port.as_ref().map(|_| self.number(&raw.port, 80, 1..=65_535, who, "port"));
        let port = port.and_then(|port| u16::try_from(port).ok());
        let (host, port) = match &backend.target {
            Target::Inet(addr) => (addr.ip().to_string(), port.unwrap_or_else(|| addr.port())),
            Target::Name { host, port: own } => (host.clone(), port.unwrap_or(*own)),
            Target::Unix(path) => (format!("unix:{}", path.display()), 0),
            Target::Asked => ("*".to_owned(), 0),
        };
        if let Some(argv) = &raw.exec {
            let mut argv = argv.clone();
            let end = |text: String| At::new(text, span);
            argv.value.extend([end(host), end(port.to_string())]);
            let user = self.user(raw.user.as_ref(), who);
            return Some(Check::Exec { command: self.command(&argv, user, timeout, who) });
        }
        if let Target::Unix(_) | Target::Asked = backend.target {
            let is = if backend.target == Target::Asked { "no host and port" } else { "a unix socket" };
            let message = format!("{who}: {} is {is}, which this check does not reach", backend.name);
            self.error(
                span,
                message,
                "write exec = [\"/path/to/check\"], which gets the path as an argument",
            );
            return None;
        }
        let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
        let target = format!("{host}:{port}");
        let ca = tls.and_then(|tls| tls.ca.as_ref()).map(|(path, _): &(PathBuf, String)| path.clone());
        let insecure = tls.is_some_and(|tls| !tls.verify);
        let server_name =
            tls.and_then(|tls| tls.name.as_ref()).and_then(|name| name.literal()).map(str::to_owned);
        if let Some(path) = &raw.http {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let url = format!("{scheme}://{target}{}", path.value);
            return Some(Check::Http(HttpCheck {
                server_name,
                ca,
                insecure,
                ..self.page(raw, path, url, who)
            }));
        }
        if let Some(service) = &raw.grpc {
            let service = service.value.clone();
            return Some(Check::Grpc(GrpcCheck {
                target,
                service,
                tls: tls.is_some(),
                server_name,
                ca,
                insecure,
            }));
        }
        Some(Check::Tcp { target })
    }

    fn page(&mut self, raw: &raw::PoolProbe, path: &At<String>, url: String, who: &str) -> HttpCheck {
        if !path.value.starts_with('/') || path.value.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            let message = format!("{who}: http \"{}\" is not a path", path.value.escape_debug());
            self.error(
                path.span,
                message,
                "write such as http = \"/healthz\"; the backend says the rest of the URL",
            );
        }
        self.http_words(
            raw.method.as_ref(),
            raw.host.as_ref(),
            raw.body.as_ref(),
            raw.status.as_ref(),
            url,
            who,
        )
    }
}
