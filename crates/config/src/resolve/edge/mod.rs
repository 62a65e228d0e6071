//! The edge: what its tables name is registered first, so that order in the file never matters.

mod forward;
mod gost;
mod hub;
mod jwt;
mod kinds;
mod listener;
mod map;
mod names;
mod net;
mod open;
mod path;
mod policy;
mod pool;
mod pool_probe;
mod route;
mod steps;
mod text;
mod tls;
mod tunnel;
mod types;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{HOUR, Resolver, SECOND};
use crate::plan::edge::{AccessLog, Edge, LogFormat, LogTarget, LogUse, Pool, Template, Zone};
use crate::raw;
use crate::read::Header;
use crate::source::{At, Span};
use crate::values::{LogEntry, Size, Time, written_size};

pub(super) use names::{Kind, State};

/// The edge's tables.
#[derive(Default)]
pub(super) struct Tables {
    edge: Option<At<raw::Edge>>,
    listeners: Vec<At<raw::Listener>>,
    routes: Vec<At<raw::Route>>,
    pools: Vec<At<raw::Pool>>,
    zones: Vec<At<raw::Zone>>,
    maps: Vec<At<raw::Map>>,
    logs: Vec<At<raw::Log>>,
    hub: Option<At<raw::Hub>>,
    gost: Option<At<raw::Gost>>,
    tunnels: Vec<At<raw::Tunnel>>,
    /// Pools of private tunnels.
    private: Vec<At<raw::Pool>>,
}

/// More of one kind is a mistake in a template; each is looked at on the way of a request.
const MOST: usize = 4096;
/// Each has a socket for each thread.
const MOST_LISTENERS: usize = 1024;
const PERCENT: RangeInclusive<i64> = 0..=100;
/// Times of connections and requests.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
/// Times that may be zero.
const WAIT_OR_NONE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(366 * 86_400);

impl Tables {
    /// Takes the edge's tables out of the root.
    pub(super) fn of(root: &mut raw::Root) -> Self {
        fn list<T>(slot: &mut Option<At<Vec<At<T>>>>) -> Vec<At<T>> {
            slot.take().map(|list| list.value).unwrap_or_default()
        }
        Self {
            edge: root.edge.take(),
            listeners: list(&mut root.listener),
            routes: list(&mut root.route),
            pools: list(&mut root.pool),
            zones: list(&mut root.zone),
            maps: list(&mut root.map),
            logs: list(&mut root.log),
            hub: root.hub.take(),
            gost: root.gost.take(),
            tunnels: list(&mut root.tunnel),
            private: Vec::new(),
        }
    }
}

impl Resolver<'_> {
    /// Registers every name of the edge.
    pub(super) fn edge_names(&mut self, tables: &mut Tables) {
        self.tunnel_tables(tables);
        self.hub_listener(tables);
        self.at_most(&mut tables.listeners, MOST_LISTENERS, "listeners");
        self.at_most(&mut tables.routes, MOST, "routes");
        self.at_most(&mut tables.pools, MOST, "pools");
        self.at_most(&mut tables.zones, MOST, "zones");
        self.at_most(&mut tables.maps, MOST, "maps");
        self.at_most(&mut tables.logs, MOST, "logs");
        fn slots<T>(list: &[At<T>], get: fn(&T) -> (&Option<At<String>>, &Header)) -> Vec<Slot> {
            let slot = |at: &At<T>| {
                let (name, head) = get(&at.value);
                (name.clone(), head.clone())
            };
            list.iter().map(slot).collect()
        }
        self.register(Kind::Listener, &slots(&tables.listeners, |raw| (&raw.name, &raw.head)));
        self.register(Kind::Pool, &slots(&tables.pools, |raw| (&raw.name, &raw.head)));
        self.register(Kind::Zone, &slots(&tables.zones, |raw| (&raw.name, &raw.head)));
        self.register(Kind::Log, &slots(&tables.logs, |raw| (&raw.name, &raw.head)));
        self.register_routes(&tables.routes);
    }

    fn at_most<T>(&mut self, list: &mut Vec<At<T>>, most: usize, what: &str) {
        if let Some(extra) = list.get(most) {
            self.error(extra.span, format!("more than {most} {what}"), "join some of them");
            list.truncate(most);
        }
    }

    /// Everything but the pools, which probes had to know before.
    pub(super) fn edge(&mut self, tables: &Tables, pools: Vec<Pool>) -> Edge {
        let mut edge = self.edge_table(tables.edge.as_ref());
        edge.pools = pools;
        edge.zones = tables.zones.iter().map(|at| self.zone(&at.value)).collect();
        edge.logs = tables.logs.iter().map(|at| self.access_log(&at.value)).collect();
        edge.maps = self.maps(&tables.maps);
        edge.hub = self.hub(tables.hub.as_ref());
        edge.tunnels = self.tunnels(tables, &edge.hub);
        edge.listeners = self.listeners(&tables.listeners, &edge.pools);
        edge.gost = self.gost(tables, &edge.hub, &edge.listeners);
        edge.listeners.extend(self.visit_listeners(tables, &edge.pools));
        self.open_pool(&edge.pools);
        edge.routes = self.routes(&tables.routes, &edge);
        self.unknown_variables();
        if !self.findings.has_errors() {
            self.unused_of_the_edge(&tables.maps, &edge);
        }
        edge
    }

    pub(super) fn pools_of(&mut self, tables: &Tables, probes: &mut Vec<crate::plan::Probe>) -> Vec<Pool> {
        // The pools of private tunnels come last, and nothing can name them.
        let mut pools: Vec<Pool> = tables.pools.iter().map(|at| self.pool(at, probes)).collect();
        self.edge.leads_private = true;
        pools.extend(tables.private.iter().map(|at| self.pool(at, probes)));
        pools
    }

    fn edge_table(&mut self, raw: Option<&At<raw::Edge>>) -> Edge {
        let raw = raw.map(|at| at.value.clone()).unwrap_or_default();
        let who = "[edge]";
        let instances = self.count(&raw.instances, 2, 1..=16, who, "instances");
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let fill = u32::try_from(cores).unwrap_or(1).div_ceil(instances).clamp(1, 64);
        let threads = self.count(&raw.threads, fill, 1..=64, who, "threads");
        Edge {
            instances: u16::try_from(instances).unwrap_or(2),
            threads: u16::try_from(threads).unwrap_or(1),
            drain: self.time(&raw.drain, SECOND * 30, Duration::ZERO..=HOUR * 24, who, "drain"),
            resolve: self.time(&raw.resolve, SECOND * 10, SECOND..=HOUR * 24, who, "resolve"),
            types: self.media_types(raw.types.as_ref(), who),
            ..Edge::default()
        }
    }

    fn zone(&mut self, raw: &raw::Zone) -> Zone {
        let name = text_of(&raw.name);
        let who = format!("zone \"{name}\"");
        let key = self.required(&raw.key, &raw.head, &who, "key");
        let key = key.map(|key| self.template(&key, &who)).unwrap_or_default();
        if let (Some(at), Some(_)) = (&raw.key, key.literal()) {
            let message = format!("{who}: the key is the same for every request");
            self.findings.warn(
                at.span,
                message,
                "write key = \"{remote_addr}\" to count each client by itself",
            );
        }
        Zone { name, key, rate_millis: raw.rate.as_ref().map_or(0, |rate| rate.value.0) }
    }

    fn access_log(&mut self, raw: &raw::Log) -> AccessLog {
        let name = text_of(&raw.name);
        let who = format!("log \"{name}\"");
        let to = match self.required(&raw.to, &raw.head, &who, "to") {
            Some(to) if to.value == "stdout" => LogTarget::Stdout,
            Some(to) => {
                LogTarget::File(self.absolute(&to, &who, "\"/var/log/mainstay/access.log\" or \"stdout\""))
            }
            None => LogTarget::Stdout,
        };
        let json_escape = flag(&raw.json_escape, false);
        let format = match raw.format.as_ref().map(|format| (format, format.value.as_str())) {
            None | Some((_, "combined")) => LogFormat::Combined,
            Some((_, "json")) => LogFormat::Json,
            Some((at, text)) => LogFormat::Text { line: self.log_line(at, text, &who), json_escape },
        };
        if !matches!(format, LogFormat::Text { .. }) {
            self.foreign(span_of(&raw.json_escape), "json_escape", "a `format` of one's own", &who);
        }
        AccessLog { name, to, format }
    }

    fn log_line(&mut self, at: &At<String>, text: &str, who: &str) -> Template {
        match Template::parse(text) {
            Ok(line) if line.vars().next().is_none() => {
                let message =
                    format!("{who}: \"{text}\" is neither a known format nor a text with variables");
                self.error(
                    at.span,
                    message,
                    "write \"combined\", \"json\", or such as \"{remote_addr} {status}\"",
                );
                line
            }
            Ok(line) => self.noted(line, at.span, who),
            Err(wrong) => {
                self.error(at.span, format!("{who}: {}", wrong.message), wrong.help);
                Template::default()
            }
        }
    }

    /// The logs that a route or a listener writes to.
    fn log_uses(&mut self, list: Option<&At<Vec<At<LogEntry>>>>, who: &str) -> Vec<LogUse> {
        let mut uses = Vec::new();
        for At { value: LogEntry(raw), .. } in list.into_iter().flat_map(|list| &list.value) {
            let who = format!("{who}: log");
            let when = raw.when.as_ref().map(|when| self.template(when, &who));
            let Some(name) = self.required(&raw.name, &raw.head, &who, "name") else { continue };
            if let Some(log) = self.named(Kind::Log, &name, &who) {
                uses.push(LogUse { log: mainstay_core::name::LogId(log), when });
            }
        }
        uses
    }

    /// A number that fits 32 bits.
    pub(in crate::resolve) fn count(
        &mut self,
        slot: &Option<At<i64>>,
        default: u32,
        range: RangeInclusive<i64>,
        who: &str,
        key: &str,
    ) -> u32 {
        u32::try_from(self.number(slot, i64::from(default), range, who, key)).unwrap_or(default)
    }

    fn bytes(
        &mut self,
        slot: &Option<At<Size>>,
        default: u64,
        range: RangeInclusive<u64>,
        who: &str,
        key: &str,
    ) -> u64 {
        let Some(At { value: Size(value), span }) = slot else { return default };
        if range.contains(value) {
            return *value;
        }
        let (low, high) = (written_size(*range.start()), written_size(*range.end()));
        let message = format!("{who}: {key} {} is out of range", written_size(*value));
        self.error(*span, message, format!("write a size from {low} to {high}"));
        default
    }

    fn wait(&mut self, slot: &Option<At<Time>>, default: Duration, who: &str, key: &str) -> Duration {
        self.time(slot, default, WAIT, who, key)
    }

    /// Which of several keys is written, when it is exactly one.
    fn exactly_one(
        &mut self,
        keys: &[(&'static str, Option<Span>)],
        head: &Header,
        who: &str,
    ) -> Option<&'static str> {
        let given: Vec<(&'static str, Span)> =
            keys.iter().filter_map(|(key, span)| span.map(|span| (*key, span))).collect();
        let all: Vec<String> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
        let all = all.join(", ");
        match given.as_slice() {
            [(key, _)] => return Some(key),
            [] if head.spoiled.iter().any(|spoiled| keys.iter().any(|(key, _)| key == spoiled)) => {}
            [] => self.error(
                head.span,
                format!("{who} has none of {all}"),
                format!("write exactly one of {all}"),
            ),
            [(first, _), (second, span), ..] => {
                let message = format!("{who} has both `{first}` and `{second}`");
                self.error(*span, message, format!("write exactly one of {all}"));
            }
        }
        None
    }

    /// Refuses two keys of which one alone can be meant.
    fn not_both(&mut self, one: (&str, Option<Span>), other: (&str, Option<Span>), who: &str) -> bool {
        let (Some(_), Some(span)) = (one.1, other.1) else { return false };
        let message = format!("{who}: `{}` and `{}` exclude each other", one.0, other.0);
        self.error(span, message, "take one of the two out");
        true
    }
}

/// A name, if written, and what is known of its table.
type Slot = (Option<At<String>>, Header);

fn flag(slot: &Option<At<bool>>, default: bool) -> bool {
    slot.as_ref().map_or(default, |flag| flag.value)
}

fn span_of<T>(slot: &Option<At<T>>) -> Option<Span> {
    slot.as_ref().map(|at| at.span)
}

fn text_of(slot: &Option<At<String>>) -> String {
    slot.as_ref().map(|text| text.value.clone()).unwrap_or_default()
}

/// Names and where each was first seen.
type Seen<K> = HashMap<K, (String, Span)>;
