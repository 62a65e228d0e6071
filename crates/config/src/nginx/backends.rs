//! `upstream`: its servers and how one is chosen, as keys of a pool.

use std::rc::Rc;
use std::time::Duration;

use super::scope::Scope;
use super::toml::{Table, Value};
use super::tree::Directive;
use super::{Cx, url, values, vars};

/// An `upstream` that can become a pool.
#[derive(Clone, Debug)]
pub(super) struct Backends<'a> {
    pub(super) at: &'a Directive,
    scope: Rc<Scope<'a>>,
    /// Whether a `proxy_pass` names it.
    pub(super) used: bool,
}

/// One `server` of it.
struct Peer {
    addr: String,
    weight: u32,
    fails: u32,
    timeout: Duration,
    backup: bool,
    down: bool,
    max: u32,
}

/// Reads every `upstream` of a block.
pub(super) fn read<'a>(scope: &Rc<Scope<'a>>, cx: &mut Cx<'a>) {
    for at in scope.own("upstream") {
        let upstream = Backends { at, scope: scope.inside(at.children()), used: false };
        if cx.backends.insert(at.arg(0).to_ascii_lowercase(), upstream).is_some() {
            cx.wrong(at, format!("duplicate upstream \"{}\"", at.arg(0)));
        }
    }
}

impl Backends<'_> {
    /// The keys of its pool, and how many backends there are; `None` when one of them is a name with any number of addresses.
    pub(super) fn keys(&self, stream: bool, cx: &mut Cx<'_>) -> (Table, Option<u32>) {
        let scope = Rc::clone(&self.scope);
        let mut table = Table::default();
        balance(&scope, &mut table, cx);
        let mut peers: Vec<Peer> = Vec::new();
        let mut slow = None;
        for at in scope.own("server").to_vec() {
            let Some(peer) = peer(at, &mut slow, cx) else { continue };
            peers.push(peer);
        }
        if peers.is_empty() {
            cx.wrong(self.at, "no servers are inside upstream");
        }
        list(&peers, &mut table);
        if let Some(slow) = slow {
            table.set("slow_start", slow);
        }
        if peers.iter().any(|peer| peer.max > 0) {
            table.set("queue", queue(&scope));
        }
        if !stream {
            keep(&scope, &mut table);
            sticky(&scope, &mut table, cx);
        }
        let named = peers.iter().any(|peer| is_name(&peer.addr));
        let number = u32::try_from(peers.len()).unwrap_or(u32::MAX);
        (table, if named { None } else { Some(number) })
    }
}

/// Whether an address is looked up.
pub(super) fn is_name(addr: &str) -> bool {
    !addr.starts_with("unix:") && addr.parse::<std::net::SocketAddr>().is_err()
}

fn balance(scope: &Scope<'_>, table: &mut Table, cx: &mut Cx<'_>) {
    if !scope.own("least_conn").is_empty() {
        table.set("balance", "least");
    }
    if !scope.own("ip_hash").is_empty() {
        table.set("balance", "source");
    }
    if let Some(at) = scope.own("least_time").last() {
        table.set("balance", "two-choices");
        cx.report.note(at.pos, "least_time becomes two-choices", "of two backends the faster one is asked");
    }
    if let Some(at) = scope.own("random").last() {
        table.set("balance", if at.arg(0) == "two" { "two-choices" } else { "random" });
    }
    if let Some(at) = scope.own("hash").last() {
        let key = cx.text(at.arg(0), scope, at.pos);
        table.set("balance", "hash");
        table.set("key", key);
        if at.arg(1) != "consistent" {
            let text = "hash is consistent here: a key may belong to another backend than before";
            cx.report.note(at.pos, text, "sessions that live in one backend are lost once");
        }
    }
}

fn peer(at: &Directive, slow: &mut Option<Duration>, cx: &mut Cx<'_>) -> Option<Peer> {
    let addr = at.arg(0);
    if vars::has_vars(addr) {
        cx.wrong(at, format!("host not found in upstream \"{addr}\""));
        return None;
    }
    let addr = match addr.strip_prefix("unix:") {
        Some(path) => format!("unix:{}", cx.served(path)),
        None => url::with_port(addr, 80),
    };
    let second = Duration::from_secs(1);
    let mut peer =
        Peer { addr, weight: 1, fails: 1, timeout: second * 10, backup: false, down: false, max: 0 };
    for option in at.args.iter().skip(1) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number = value.parse::<u32>().ok();
        match (key, number, values::time(value)) {
            ("weight", Some(weight @ 1..), _) => peer.weight = weight.min(65_535),
            ("max_fails", Some(fails), _) => peer.fails = fails,
            ("fail_timeout", _, Some(time)) => peer.timeout = time,
            ("max_conns", Some(max), _) => peer.max = max,
            ("slow_start", _, Some(time)) => *slow = Some(time.min(second * 3600)),
            ("backup", None, _) => peer.backup = true,
            ("down", None, _) => peer.down = true,
            ("resolve", None, _) => {}
            ("route" | "drain", ..) => {
                cx.report.dropped(
                    at.pos,
                    format!("{key} of a server is left out"),
                    "cookies name backends by themselves",
                );
            }
            ("service", ..) => {
                let what = "the name's addresses are asked on the port that is written";
                cx.report.dropped(at.pos, "service is left out", what);
            }
            _ => cx.wrong(at, format!("invalid parameter \"{option}\"")),
        }
    }
    Some(peer)
}

fn outlier(fails: u32, timeout: Duration) -> Table {
    let table = Table::of("failures", fails);
    if fails == 0 {
        return table;
    }
    let bound = timeout.clamp(Duration::from_millis(10), Duration::from_secs(86_400));
    table.with("window", bound).with("aside", bound).with("share_max", 100i64)
}

fn list(peers: &[Peer], table: &mut Table) {
    // Nginx does not set its only server aside.
    let alone = peers.len() == 1;
    let common = peers.first().map(|peer| (peer.fails, peer.timeout));
    let mut list: Vec<Value> = Vec::new();
    for (nth, peer) in peers.iter().enumerate() {
        let mut one = Table::of("addr", peer.addr.as_str());
        let before = peers[..nth].iter().filter(|other| other.addr == peer.addr).count();
        if before > 0 {
            one.set("name", format!("{}#{}", peer.addr, before + 1));
        }
        if peer.weight != 1 {
            one.set("weight", peer.weight);
        }
        for (key, is) in [("backup", peer.backup), ("down", peer.down)] {
            if is {
                one.set(key, true);
            }
        }
        if peer.max > 0 {
            one.set("max_connections", peer.max);
        }
        if !alone && common != Some((peer.fails, peer.timeout)) {
            one.set("outlier", outlier(peer.fails, peer.timeout));
        }
        list.push(if one.len() == 1 { Value::from(peer.addr.as_str()) } else { Value::from(one) });
    }
    table.set("backends", list);
    let (fails, timeout) = common.filter(|_| !alone).unwrap_or((0, Duration::ZERO));
    table.set("outlier", outlier(fails, timeout));
}

fn queue(scope: &Scope<'_>) -> Table {
    let Some(at) = scope.own("queue").last() else { return Table::of("max", 0i64) };
    let mut table = Table::of("max", at.arg(0).parse::<u32>().unwrap_or(0).min(1_000_000));
    table.set("timeout", at.option("timeout").and_then(values::time).unwrap_or(Duration::from_secs(60)));
    table
}

/// Without `keepalive` nginx closes each connection after its request.
fn keep(scope: &Scope<'_>, table: &mut Table) {
    let number = scope.own("keepalive").last().and_then(|at| at.arg(0).parse::<u32>().ok());
    table.set("keep", number.unwrap_or(0).min(65_535));
    if number.is_some() {
        let own = |name: &str| scope.own(name).last().map(|at| at.arg(0).to_owned());
        if let Some(time) = own("keepalive_timeout").and_then(|text| values::time(&text)) {
            table.set("keep_timeout", time.max(Duration::from_millis(1)).min(Duration::from_secs(86_400)));
        }
        table.maybe("keep_requests", own("keepalive_requests").and_then(|text| text.parse::<u32>().ok()));
    }
}

fn sticky(scope: &Scope<'_>, table: &mut Table, cx: &mut Cx<'_>) {
    let Some(at) = scope.own("sticky").last() else { return };
    if at.arg(0) != "cookie" || !super::response::is_token(at.arg(1)) {
        cx.report.dropped(
            at.pos,
            "sticky of this kind is left out",
            "clients keep no backend; write `sticky = { cookie = \"name\" }`",
        );
        return;
    }
    let mut sticky = Table::of("cookie", at.arg(1));
    sticky.set("http_only", at.has("httponly"));
    if at.has("secure") {
        sticky.set("secure", true);
    }
    match at.option("expires") {
        Some("max") => sticky.set("max_age", Duration::from_secs(366 * 86_400)),
        Some(time) => sticky.maybe("max_age", values::time(time)),
        None => {}
    }
    for (key, option) in [("path", "path"), ("domain", "domain")] {
        sticky.maybe(key, at.option(option).filter(|text| !vars::has_vars(text)));
    }
    match at.option("samesite").map(str::to_ascii_lowercase).as_deref() {
        Some("strict") => sticky.set("same_site", "Strict"),
        Some("lax") => sticky.set("same_site", "Lax"),
        Some("none") => sticky.set("same_site", "None"),
        Some(_) | None => {}
    }
    table.set("sticky", sticky);
}
