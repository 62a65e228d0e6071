//! `listen`: every address of all servers becomes a place of a listener; addresses with the same servers behind them
//! share one.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::draft::Kind;
use super::server::Server;
use super::toml::Table;
use super::tree::Directive;
use super::{Cx, response, tls, values};
use crate::import::report::Pos;

/// Ports of one range.
const WIDEST: u16 = 256;

/// One address of a `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) pos: Pos,
    /// As our `bind` has it.
    pub(super) place: String,
    pub(super) default: bool,
    pub(super) ssl: bool,
    pub(super) http2: bool,
    pub(super) proxy: bool,
    pub(super) udp: bool,
}

impl Listen {
    /// What holds without any `listen`.
    pub(super) fn port_80(at: &Directive) -> Self {
        Self::at(at, "0.0.0.0:80".to_owned())
    }

    fn at(at: &Directive, place: String) -> Self {
        Self { pos: at.pos, place, default: false, ssl: false, http2: false, proxy: false, udp: false }
    }
}

/// The addresses of a `listen`, with its parameters.
pub(super) fn read(at: &Directive, stream: bool, cx: &mut Cx<'_>) -> Vec<Listen> {
    let options: Vec<&str> = at.args.iter().skip(1).map(String::as_str).collect();
    let mut made = Listen::at(at, String::new());
    let mut both = false;
    for option in options {
        match option.split_once('=').map_or((option, ""), |(key, value)| (key, value)) {
            ("default_server" | "default", "") => made.default = true,
            ("ssl", "") => made.ssl = true,
            ("http2", "") if !stream => made.http2 = true,
            ("proxy_protocol", "") => made.proxy = true,
            ("udp", "") if stream => made.udp = true,
            ("ipv6only", "off") => both = true,
            ("ipv6only", "on") => {}
            ("quic" | "http3", "") => {
                cx.report.dropped(at.pos, "HTTP/3 is not spoken: clients fall back to HTTP/2", "take it out");
                return Vec::new();
            }
            ("spdy" | "reuseport" | "bind" | "deferred" | "multipath", "") => {}
            (
                "backlog" | "rcvbuf" | "sndbuf" | "so_keepalive" | "fastopen" | "setfib" | "accept_filter",
                _,
            ) => {}
            _ => cx.wrong(at, format!("invalid parameter \"{option}\"")),
        }
    }
    let places = places(at.arg(0), both);
    if places.is_none() {
        let what = "names are not looked up by the importer, write the address";
        cx.report.dropped(at.pos, format!("listen {} is left out", at.arg(0)), what);
    }
    places.into_iter().flatten().map(|place| Listen { place, ..made.clone() }).collect()
}

fn places(text: &str, both: bool) -> Option<Vec<String>> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(vec![format!("unix:{path}")]);
    }
    let (host, ports) = match text.rfind(':').filter(|at| text.rfind(']').is_none_or(|end| end < *at)) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None if text.bytes().all(|c| c.is_ascii_digit() || c == b'-') => ("*", text),
        None => (text, "80"),
    };
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
    if low > high || high - low > WIDEST || low == 0 {
        return None;
    }
    let host = match host {
        "*" | "" => "0.0.0.0".to_owned(),
        "localhost" => "127.0.0.1".to_owned(),
        host => match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => {
                let addr: Ipv6Addr = inner.parse().ok()?;
                if both && addr.is_unspecified() { String::new() } else { format!("[{addr}]") }
            }
            None => host.parse::<std::net::Ipv4Addr>().ok()?.to_string(),
        },
    };
    Some((low..=high).map(|port| format!("{host}:{port}")).collect())
}

/// What stands behind an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Entrance {
    ssl: bool,
    http2: bool,
    proxy: bool,
    /// Servers by number, the default one first.
    servers: Vec<usize>,
}

/// A listener that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) name: String,
    /// The server that takes what nobody else takes.
    pub(super) default: usize,
    /// The real address is found here, for all its routes.
    pub(super) real_ip: Option<Table>,
    /// Clients are asked for certificates of these authorities, and the servers decide.
    pub(super) asks: Option<String>,
}

/// Listeners by address.
pub(super) type Listeners = HashMap<String, Made>;

/// Makes the listeners of all servers.
pub(super) fn http(servers: &[Server<'_>], cx: &mut Cx<'_>) -> Listeners {
    let mut order: Vec<(String, Pos)> = Vec::new();
    let mut entrances: HashMap<String, Entrance> = HashMap::new();
    let mut defaults: HashMap<String, usize> = HashMap::new();
    for (number, server) in servers.iter().enumerate() {
        for listen in &server.listens {
            let entrance = entrances.entry(listen.place.clone()).or_insert_with(|| {
                order.push((listen.place.clone(), listen.pos));
                Entrance::default()
            });
            entrance.ssl |= listen.ssl || server.scope.flag("ssl", false);
            entrance.http2 |= listen.http2;
            entrance.proxy |= listen.proxy;
            entrance.servers.push(number);
            if listen.default && defaults.insert(listen.place.clone(), number).is_some() {
                cx.wrong(server.at, format!("a duplicate default server for {}", listen.place));
            }
        }
    }
    for (place, entrance) in &mut entrances {
        let default = defaults.get(place).or(entrance.servers.first()).copied().unwrap_or_default();
        entrance.servers.retain(|number| *number != default);
        entrance.servers.insert(0, default);
        entrance.http2 |= servers[default].scope.flag("http2", false);
    }
    let mut groups: Vec<(Entrance, Pos, Vec<String>)> = Vec::new();
    for (place, pos) in order {
        let Some(entrance) = entrances.remove(&place) else { continue };
        match groups.iter_mut().find(|(other, ..)| *other == entrance) {
            Some((.., places)) => places.push(place),
            None => groups.push((entrance, pos, vec![place])),
        }
    }
    let mut made = Listeners::new();
    for (entrance, pos, places) in groups {
        let listener = listener(&entrance, pos, &places, servers, cx);
        made.extend(places.into_iter().map(|place| (place, listener.clone())));
    }
    made
}

fn listener(
    entrance: &Entrance,
    pos: Pos,
    places: &[String],
    servers: &[Server<'_>],
    cx: &mut Cx<'_>,
) -> Made {
    let default = entrance.servers[0];
    let first = places.first().map_or("", String::as_str);
    let name = cx.draft.name(Kind::Listener, first.strip_prefix("0.0.0.0").unwrap_or(first));
    let mut table = Table::of("name", name.as_str());
    match places {
        [one] => table.set("bind", one.as_str()),
        many => table.set("bind", many.to_vec()),
    }
    let mut asks = None;
    if entrance.ssl {
        let all: Vec<&Server<'_>> = entrance.servers.iter().map(|number| &servers[*number]).collect();
        asks = tls::server(&all, &mut table, cx);
    }
    if entrance.proxy {
        table.set("proxy_from", vec!["0.0.0.0/0", "::/0"]);
    }
    // Where all servers agree it stands here, else in the routes.
    let all: Vec<Option<Table>> =
        entrance.servers.iter().map(|number| response::real_ip(&servers[*number].scope, cx)).collect();
    let real_ip = all[0].clone().filter(|first| all.iter().all(|other| other.as_ref() == Some(first)));
    let real_ip = real_ip.filter(|table| entrance.proxy || table.get("proxy").is_none());
    table.maybe("real_ip", real_ip.clone());
    if !entrance.http2 {
        table.set("http2", false);
    }
    limits(servers, entrance, &mut table, cx);
    cx.draft.push(Kind::Listener, pos, table, &mut cx.report);
    Made { name, default, real_ip, asks }
}

/// Bounds and times of connections: nginx has them for servers and locations, and takes those of the default server
/// until it knows better.
fn limits(servers: &[Server<'_>], entrance: &Entrance, table: &mut Table, cx: &mut Cx<'_>) {
    let scope = &servers[entrance.servers[0]].scope;
    if let Some(directive) = scope.get("large_client_header_buffers") {
        let number: Option<u64> = directive.arg(0).parse().ok();
        let size = values::size(directive.arg(1));
        if let (Some(number), Some(size)) = (number, size) {
            let all = number.saturating_mul(size).clamp(1 << 10, 1 << 20);
            if all != 32 << 10 {
                table.set("head_max", values::size_text(all));
            }
        } else {
            cx.wrong(directive, "invalid value of large_client_header_buffers");
        }
    }
    table.maybe("fields_max", scope.number("max_headers").map(|fields| fields.clamp(1, 1000)));
    let second = Duration::from_secs(1);
    table.set("head_timeout", wait(scope.time("client_header_timeout").unwrap_or(second * 60)));
    for (key, name) in [("body_timeout", "client_body_timeout"), ("send_timeout", "send_timeout")] {
        let time = scope.time(name).filter(|time| *time != second * 60);
        table.maybe(key, time.map(wait));
    }
    let idle = scope.time("keepalive_timeout").filter(|idle| *idle != second * 75);
    table.maybe("idle_timeout", idle);
    table.maybe("requests_max", scope.number("keepalive_requests"));
    if entrance.http2 {
        table.maybe(
            "streams_max",
            scope.number("http2_max_concurrent_streams").map(|max| max.clamp(1, 10_000)),
        );
    }
    if scope.flag("underscores_in_headers", false) || !scope.flag("ignore_invalid_headers", true) {
        table.set("underscores", true);
    }
    // nginx takes them from everybody.
    table.set("bare_lf", true);
    table.set("says_keep", true);
    let hint = scope.get("keepalive_timeout").and_then(|at| values::time(at.args.get(1)?));
    table.maybe(
        "keep_hint",
        hint.map(|hint| i64::try_from(hint.as_secs().min(86_400)).unwrap_or(0)).filter(|hint| *hint > 0),
    );
    if !scope.flag("proxy_ignore_client_abort", false) {
        table.set("half_close", false);
    }
    for number in &entrance.servers[1..] {
        differing(scope, &servers[*number], cx);
    }
    for number in &entrance.servers {
        in_locations(servers[*number].scope.all, cx);
    }
}

/// Times of connections are at least a millisecond and at most a day.
fn wait(time: Duration) -> Duration {
    time.clamp(Duration::from_millis(1), Duration::from_secs(86_400))
}

const BOUNDS: &[&str] = &[
    "client_body_timeout",
    "send_timeout",
    "keepalive_timeout",
    "keepalive_requests",
    "underscores_in_headers",
];

fn differing(first: &super::scope::Scope<'_>, other: &Server<'_>, cx: &mut Cx<'_>) {
    for name in BOUNDS {
        let own = other.scope.own(name).last();
        if let Some(directive) = own.filter(|_| first.word(name) != other.scope.word(name)) {
            let text = format!(
                "{name} of this server is left out: that of the default server holds for the address"
            );
            cx.report.note(directive.pos, text, "give the server an address of its own if it matters");
        }
    }
}

fn in_locations(all: &[Directive], cx: &mut Cx<'_>) {
    for location in all.iter().filter(|directive| directive.name == "location") {
        for directive in location.children() {
            if BOUNDS.contains(&directive.name.as_str()) {
                let text = format!("{} of a location is left out: that of the server holds", directive.name);
                cx.report.dropped(directive.pos, text, "write it into the server");
            }
        }
        in_locations(location.children(), cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_with_its_port_and_a_port_alone_is_ipv4() {
        for (text, place) in [
            ("80", "0.0.0.0:80"),
            ("*:8080", "0.0.0.0:8080"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("[::]:80", "[::]:80"),
            ("[::1]", "[::1]:80"),
            ("localhost:81", "127.0.0.1:81"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(places(text, false).unwrap(), [place], "{text}");
        }
        assert_eq!(places("[::]:80", true).unwrap(), [":80"]);
        assert_eq!(places("127.0.0.1:80-82", false).unwrap().len(), 3);
        for wrong in ["name.example:80", "0", "127.0.0.1:x", "[::x]:80", "82-80"] {
            assert_eq!(places(wrong, false), None, "{wrong}");
        }
    }
}
