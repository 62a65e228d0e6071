//! Probes: one check each, its timing, and what tries to revive the service.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::{CommandId, PoolId, ProbeId};

use super::command::COMMAND_TIMEOUT;
use super::edge::Kind;
use super::{HOUR, Resolver, SECOND};
use regex_lite::RegexBuilder;

use crate::plan::{Check, GrpcCheck, HttpCheck, Probe, Restart, Vip, probes_of};
use crate::raw;
use crate::source::{At, Span};
use crate::values::{Status, Verdict, written};

/// Faster checks cost more than they tell.
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(86_400);
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);
const RESTART_WAIT: Duration = Duration::from_secs(5);
/// In bytes of the compiled form; a pattern that looks for a word in a page is a hundredth of it.
const LARGEST_PATTERN: usize = 128 * 1024;
/// Every probe runs all the time.
pub(super) const MOST_PROBES: usize = 4096;

/// The kinds of check, as the key that asks for each.
const KINDS: &str = "exec, tcp, http, grpc, ping, process, up, file, pool";

impl Resolver<'_> {
    pub(super) fn all_probes(&mut self, probes: &[At<raw::Probe>]) -> Vec<Probe> {
        if let Some(extra) = probes.get(MOST_PROBES) {
            self.error(
                extra.span,
                format!("more than {MOST_PROBES} probes"),
                "let several vips share a probe",
            );
            return Vec::new();
        }
        let mut names = HashMap::new();
        let mut resolved = Vec::new();
        for At { value: raw, .. } in probes {
            let name = self.required(&raw.name, &raw.head, "[[probe]]", "name");
            let name = self.unique(name, &mut names, "probe").unwrap_or_default();
            let id = ProbeId(u32::try_from(resolved.len()).expect("bounded above"));
            self.probes.entry(name.clone()).or_insert(id);
            resolved.push(self.probe(raw, name));
        }
        resolved
    }

    /// The index of a probe that something names.
    pub(super) fn probe_id(&mut self, name: &At<String>, who: &str) -> Option<ProbeId> {
        let found = self.probes.get(&name.value).copied();
        if found.is_none() {
            let message = format!("{who}: there is no probe \"{}\"", name.value);
            let help = if self.link_ids.contains_key(&name.value) {
                format!(
                    "write [[probe]] with name = \"{0}\" and up = \"{0}\" to watch an interface",
                    name.value
                )
            } else if self.probes.is_empty() {
                format!("write [[probe]] with name = \"{}\"", name.value)
            } else {
                self.advice(&name.value, "probe", self.probes.keys().map(String::as_str))
            };
            self.error(name.span, message, help);
        }
        found
    }

    /// A probe that no vip asks for is run and shown, but moves nothing.
    pub(super) fn unused_probes(&mut self, raw: &[At<raw::Probe>], vips: &[Vip]) {
        let mut used = vec![false; raw.len()];
        for probe in vips.iter().flat_map(|vip| probes_of(&vip.spec)) {
            if let Some(used) = used.get_mut(probe.index()) {
                *used = true;
            }
        }
        for (probe, used) in raw.iter().zip(used) {
            let through = probe.value.through.is_some();
            if let (false, false, Some(name)) = (used, through, &probe.value.name) {
                let message = format!(
                    "no vip asks for probe \"{}\": it is run and shown, but moves nothing",
                    name.value
                );
                self.findings.warn(
                    name.span,
                    message,
                    format!("write requires = [\"{}\"] in a [[vip]]", name.value),
                );
            }
        }
    }

    /// What looks through a vip: who it looks at, and what it must not be used for.
    pub(super) fn probes_through(&mut self, raw: &[At<raw::Probe>], vips: &[Vip]) {
        for (at, probe) in raw.iter().enumerate().map(|(at, probe)| (at, &probe.value)) {
            let name = probe.name.as_ref().map_or("", |name| name.value.as_str());
            let who = format!("probe \"{name}\"");
            let Some(through) = &probe.through else {
                self.foreign(probe.notify.as_ref().map(|v| v.span), "notify", "probes with `through`", &who);
                continue;
            };
            self.foreign(probe.restart.as_ref().map(|v| v.span), "restart", "probes without `through`", &who);
            for (kind, span) in [
                ("pool", probe.pool.as_ref().map(|v| v.span)),
                ("process", probe.process.as_ref().map(|v| v.span)),
                ("up", probe.up.as_ref().map(|v| v.span)),
                ("file", probe.file.as_ref().map(|v| v.span)),
            ] {
                self.foreign(
                    span,
                    kind,
                    "probes without `through`: it looks at this host, not at who holds the vip",
                    &who,
                );
            }
            let used = |vip: &&Vip| probes_of(&vip.spec).iter().any(|probe| probe.index() == at);
            if let Some(vip) = vips.iter().find(used) {
                let message = format!(
                    "vip \"{}\" depends on {who}, which looks through a vip: who does not hold it would be \
                    kept from taking it by the holder's trouble",
                    vip.spec.name
                );
                self.error(
                    through.span,
                    message,
                    "require a probe of the local service, and keep this one for the alarm",
                );
            }
            if !self.standing.witness && !vips.iter().any(|vip| vip.spec.name == through.value) {
                let names = vips.iter().map(|vip| vip.spec.name.as_str());
                let help = self.advice(&through.value, "vip", names);
                self.error(through.span, format!("{who}: there is no vip \"{}\"", through.value), help);
            }
        }
    }

    fn probe(&mut self, raw: &raw::Probe, name: String) -> Probe {
        let who = format!("probe \"{name}\"");
        let interval = self.time(&raw.interval, SECOND, INTERVAL, &who, "interval");
        let timeout = self.time(&raw.timeout, interval, TIMEOUT, &who, "timeout");
        if let (true, Some(at)) = (timeout > interval, &raw.timeout) {
            let message = format!(
                "{who}: a check may take {}, longer than its interval of {}",
                written(timeout),
                written(interval)
            );
            let help = format!("write interval = \"{}\", or a shorter timeout", written(timeout));
            self.findings.warn(at.span, message, help);
        }
        let check = self.check(raw, timeout, &who);
        let fall = self.number(&raw.fall, 1, 1..=1000, &who, "fall");
        let rise = self.number(&raw.rise, 1, 1..=1000, &who, "rise");
        Probe {
            name,
            check,
            interval,
            timeout,
            fall: u32::try_from(fall).unwrap_or(1),
            rise: u32::try_from(rise).unwrap_or(1),
            initial: raw.initial.as_ref().map(|initial| initial.value == Verdict::Up),
            restart: raw.restart.as_ref().map(|restart| self.restart(&restart.value, &who)),
            through: raw.through.as_ref().map(|vip| vip.value.clone()),
            notify: self.notify(raw.notify.as_ref(), &who),
        }
    }

    fn check(&mut self, raw: &raw::Probe, timeout: Duration, who: &str) -> Check {
        let kinds = [
            (raw.exec.as_ref().map(|v| v.span), "exec"),
            (raw.tcp.as_ref().map(|v| v.span), "tcp"),
            (raw.http.as_ref().map(|v| v.span), "http"),
            (raw.grpc.as_ref().map(|v| v.span), "grpc"),
            (raw.pool.as_ref().map(|v| v.span), "pool"),
            (raw.ping.as_ref().map(|v| v.span), "ping"),
            (raw.process.as_ref().map(|v| v.span), "process"),
            (raw.up.as_ref().map(|v| v.span), "up"),
            (raw.file.as_ref().map(|v| v.span), "file"),
        ];
        let given: Vec<(Span, &str)> =
            kinds.iter().filter_map(|(span, kind)| span.map(|span| (span, *kind))).collect();
        match given.as_slice() {
            [] if raw.head.spoiled.iter().any(|key| kinds.iter().any(|(_, kind)| key == kind)) => {}
            [] => {
                let message = format!("{who} checks nothing");
                self.error(raw.head.span, message, format!("write exactly one of {KINDS}"));
            }
            [(_, kind)] => self.keys_of_other_kinds(raw, kind, who),
            [(_, first), (span, second), ..] => {
                let message = format!("{who} has both `{first}` and `{second}`");
                self.error(
                    *span,
                    message,
                    format!("write exactly one of {KINDS}: two checks are two probes"),
                );
            }
        }
        if let Some(argv) = &raw.exec {
            let user = self.user(raw.user.as_ref(), who);
            self.stopping_script(argv, who);
            Check::Exec { command: self.command(argv, user, timeout, who) }
        } else if let Some(target) = &raw.tcp {
            self.host_port(target, who);
            Check::Tcp { target: target.value.clone() }
        } else if let Some(url) = &raw.http {
            Check::Http(self.http(raw, url, who))
        } else if let Some(target) = &raw.grpc {
            Check::Grpc(self.grpc(raw, target, who))
        } else if let Some(name) = &raw.pool {
            let pool = self.named(Kind::Pool, name, who).unwrap_or(0);
            let min = self.number(&raw.min, 1, 1..=i64::from(u16::MAX), who, "min");
            Check::Pool { pool: PoolId(pool), min: u32::try_from(min).unwrap_or(1) }
        } else if let Some(target) = &raw.ping {
            Check::Ping { target: self.ip(target, who).unwrap_or(IpAddr::from([0, 0, 0, 0])) }
        } else if let Some(process) = &raw.process {
            self.process(raw, process, who)
        } else if let Some(up) = &raw.up {
            self.link(up, who);
            Check::Interface { name: up.value.clone() }
        } else {
            self.file(raw, who)
        }
    }

    /// Refuses keys of one kind of check beside another.
    fn keys_of_other_kinds(&mut self, raw: &raw::Probe, kind: &str, who: &str) {
        let keys = [
            (raw.user.as_ref().map(|v| v.span), "user", "exec"),
            (raw.method.as_ref().map(|v| v.span), "method", "http"),
            (raw.host.as_ref().map(|v| v.span), "host", "http"),
            (raw.status.as_ref().map(|v| v.span), "status", "http"),
            (raw.body.as_ref().map(|v| v.span), "body", "http"),
            (raw.ca.as_ref().map(|v| v.span), "ca", "http and grpc"),
            (raw.insecure.as_ref().map(|v| v.span), "insecure", "http and grpc"),
            (raw.service.as_ref().map(|v| v.span), "service", "grpc"),
            (raw.tls.as_ref().map(|v| v.span), "tls", "grpc"),
            (raw.args.as_ref().map(|v| v.span), "args", "process"),
            (raw.min.as_ref().map(|v| v.span), "min", "process and pool"),
            (raw.max.as_ref().map(|v| v.span), "max", "process"),
            (raw.content.as_ref().map(|v| v.span), "content", "file"),
        ];
        for (span, key, belongs_to) in keys {
            if !belongs_to.split(" and ").any(|one| one == kind) {
                self.foreign(span, key, belongs_to, who);
            }
        }
    }

    fn http(&mut self, raw: &raw::Probe, url: &At<String>, who: &str) -> HttpCheck {
        let https = self.url(url, who);
        if !https {
            self.foreign(raw.ca.as_ref().map(|v| v.span), "ca", "https URLs", who);
            self.foreign(raw.insecure.as_ref().map(|v| v.span), "insecure", "https URLs", who);
        }
        let ca = self.ca_file(raw.ca.as_ref(), who);
        let insecure = raw.insecure.as_ref().is_some_and(|insecure| insecure.value);
        let (method, host, body, status) =
            (raw.method.as_ref(), raw.host.as_ref(), raw.body.as_ref(), raw.status.as_ref());
        HttpCheck { ca, insecure, ..self.http_words(method, host, body, status, url.value.clone(), who) }
    }

    fn ca_file(&mut self, ca: Option<&At<String>>, who: &str) -> Option<PathBuf> {
        let ca = ca?;
        if self.checks.files
            && let Err(error) = readable(&ca.value)
        {
            let message = format!("{who}: ca {} can't be read: {error}", ca.value);
            self.error(ca.span, message, "write the path of a PEM file");
        }
        Some(PathBuf::from(&ca.value))
    }

    fn grpc(&mut self, raw: &raw::Probe, target: &At<String>, who: &str) -> GrpcCheck {
        self.host_port(target, who);
        let tls = raw.tls.as_ref().is_some_and(|tls| tls.value);
        if !tls {
            self.foreign(raw.ca.as_ref().map(|v| v.span), "ca", "tls = true", who);
            self.foreign(raw.insecure.as_ref().map(|v| v.span), "insecure", "tls = true", who);
        }
        GrpcCheck {
            target: target.value.clone(),
            service: raw.service.as_ref().map(|service| service.value.clone()).unwrap_or_default(),
            tls,
            server_name: None,
            ca: self.ca_file(raw.ca.as_ref(), who),
            insecure: raw.insecure.as_ref().is_some_and(|insecure| insecure.value),
        }
    }

    /// What a probe and the probe of a pool say of an HTTP check in the same words.
    pub(super) fn http_words(
        &mut self,
        method: Option<&At<String>>,
        host: Option<&At<String>>,
        body: Option<&At<String>>,
        status: Option<&At<Vec<At<Status>>>>,
        url: String,
        who: &str,
    ) -> HttpCheck {
        if let Some(body) = body
            && let Err(error) = RegexBuilder::new(&body.value).size_limit(LARGEST_PATTERN).build()
        {
            let message = format!("{who}: body is not a regular expression: {error}");
            self.error(
                body.span,
                message,
                "escape . * + ? ( ) [ ] { } | ^ $ \\ with a backslash where they stand for themselves",
            );
        }
        if let Some(at) = method
            && (at.value.is_empty() || !at.value.chars().all(|c| c.is_ascii_uppercase()))
        {
            let message = format!("{who}: \"{}\" is not a method", at.value);
            self.error(at.span, message, "write \"GET\" or \"HEAD\"");
        }
        if let Some(host) = host
            && (host.value.is_empty() || host.value.contains(|c: char| c.is_whitespace() || c.is_control()))
        {
            self.error(host.span, format!("{who}: this is not a Host header"), "write \"www.example.com\"");
        }
        let status: Vec<(u16, u16)> =
            status.iter().flat_map(|list| &list.value).map(|code| (code.value.0, code.value.1)).collect();
        HttpCheck {
            url,
            method: method.map_or("GET", |method| method.value.as_str()).to_owned(),
            host: host.map(|host| host.value.clone()),
            server_name: None,
            status: if status.is_empty() { vec![(200, 399)] } else { status },
            body: body.map(|body| body.value.clone()),
            ca: None,
            insecure: false,
        }
    }

    fn process(&mut self, raw: &raw::Probe, process: &At<String>, who: &str) -> Check {
        if process.value.is_empty() || process.value.contains('/') {
            let message = format!("{who}: \"{}\" is not the name of a process", process.value);
            self.error(process.span, message, "write the name that `ps -C` takes, without a path");
        }
        let most = i64::from(u32::MAX);
        let min = u32::try_from(self.number(&raw.min, 1, 0..=most, who, "min")).unwrap_or(1);
        let max = raw.max.as_ref().map(|at| (at.span, self.number(&raw.max, most, 0..=most, who, "max")));
        let max = max.map(|(span, max)| (span, u32::try_from(max).unwrap_or(u32::MAX)));
        if let Some((span, max)) = max
            && max < min
        {
            self.error(
                span,
                format!("{who}: max {max} is less than min {min}"),
                "no number of processes fits both",
            );
        }
        let args = raw.args.as_ref().map(|args| args.value.iter().map(|arg| arg.value.clone()).collect());
        Check::Process { name: process.value.clone(), args, min, max: max.map(|(_, max)| max) }
    }

    fn file(&mut self, raw: &raw::Probe, who: &str) -> Check {
        let path = raw.file.as_ref().map(|file| file.value.clone()).unwrap_or_default();
        if let Some(file) = &raw.file
            && !path.starts_with('/')
        {
            let message = format!("{who}: \"{path}\" is not an absolute path");
            self.error(file.span, message, "write the whole path, such as \"/run/ready\"");
        }
        Check::File {
            path: PathBuf::from(path),
            content: raw.content.as_ref().map(|content| content.value.clone()),
        }
    }

    fn restart(&mut self, raw: &raw::Restart, who: &str) -> Restart {
        let who = format!("{who}: restart");
        let timeout = self.time(&raw.timeout, RESTART_TIMEOUT, COMMAND_TIMEOUT, &who, "timeout");
        let user = raw.user.as_ref().map_or_else(|| "root".to_owned(), |user| self.user(Some(user), &who));
        let command = match self.required(&raw.exec, &raw.head, &who, "exec") {
            Some(argv) => {
                self.stopping_script(&argv, &who);
                self.command(&argv, user, timeout, &who)
            }
            None => CommandId(0),
        };
        let tries = self.number(&raw.tries, 1, 1..=100, &who, "tries");
        let wait = self.time(&raw.wait, RESTART_WAIT, Duration::ZERO..=HOUR, &who, "wait");
        Restart { command, tries: u32::try_from(tries).unwrap_or(1), wait }
    }
}

/// Whether it is a file that can be read; opening a pipe would wait for a writer.
fn readable(path: &str) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    std::fs::File::open(path).map(drop)
}
