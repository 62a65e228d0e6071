//! A command line as the tree of the configuration that gost makes of it: each `-L` a service, each `-F` a hop of one chain.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::addr;
use super::service::SHARED;
use super::tree::{Map, Node, Said, Value};
use crate::import::report::{Pos, Report};

/// More of them are no command line.
const MOST: usize = 1024;
/// Handlers of gost; what is none is `auto`.
const HANDLERS: [&str; 30] = [
    "auto", "dns", "file", "forward", "http", "http2", "http3", "masque", "metrics", "red", "redir",
    "redirect", "redu", "relay", "router", "rtcp", "rudp", "serial", "sni", "socks", "socks4", "socks4a",
    "socks5", "ss", "sshd", "ssu", "tap", "tcp", "tun", "tunnel",
];
const MORE_HANDLERS: [&str; 4] = ["udp", "unix", "api", "virtual"];
/// Listeners of gost; what is none is `tcp`.
const LISTENERS: [&str; 38] = [
    "dns", "dtls", "ftcp", "grpc", "h2", "h2c", "h3", "http2", "http3", "icmp", "kcp", "mtcp", "mtls", "mws",
    "mwss", "obfs", "ohttp", "otls", "pht", "phts", "quic", "red", "redir", "redirect", "redu", "rtcp",
    "rudp", "runix", "serial", "ssh", "sshd", "stdio", "tap", "tcp", "tls", "tun", "udp", "unix",
];
const MORE_LISTENERS: [&str; 5] = ["ws", "wss", "wt", "wg", "icmp6"];
/// Listeners that a path leads on from by a handler of their own name.
const FORWARDING: [&str; 10] = ["tcp", "udp", "rtcp", "rudp", "tun", "tap", "dns", "unix", "runix", "serial"];

/// What a command line says.
pub(super) struct Given {
    pub(super) services: Vec<Node>,
    pub(super) chains: Vec<Node>,
    /// `-C`.
    pub(super) file: Option<Said>,
}

/// An address of a service or a node.
struct Url {
    schemes: (String, String),
    user: Option<(String, String)>,
    host: String,
    path: String,
    query: Vec<(String, String)>,
}

/// Reads the options; the line of each is its number.
pub(super) fn read(args: &[String], file: u32, report: &mut Report) -> Given {
    let mut given = Given { services: Vec::new(), chains: Vec::new(), file: None };
    let mut hops = Vec::new();
    let mut nodes_at = Pos { file, line: 1 };
    let mut args = args.iter().map(String::as_str).peekable();
    if args.peek().is_some_and(|first| *first == "gost" || first.ends_with("/gost")) {
        args.next();
    }
    let mut line = 0;
    while let Some(arg) = args.next() {
        line += 1;
        let pos = Pos { file, line };
        let name = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty());
        let Some(name) = name else {
            let text = format!("\"{arg}\" is no option of gost");
            report.error(pos, text, "import each of several instances by itself");
            break;
        };
        let (name, mut value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        if ["L", "F", "C", "O", "R", "api", "metrics"].contains(&name) && value.is_none() {
            value = args.next().map(str::to_owned);
        }
        match (name, value) {
            ("L" | "F" | "C" | "O" | "api" | "metrics", None) => {
                report.error(pos, format!("-{name} says nothing"), "write its value behind it");
            }
            ("L", Some(text)) if given.services.len() < MOST => {
                service(&text, pos, &mut given.services, report)
            }
            ("F", Some(text)) if hops.len() < MOST => {
                nodes_at = pos;
                hops.extend(hop(&text, pos, report));
            }
            ("L" | "F", Some(_)) => report.error(pos, format!("more than {MOST} of -{name}"), "split them"),
            ("C", Some(text)) => given.file = Some(Said { text, pos }),
            ("D" | "DD" | "O" | "V", _) => {
                report.note(pos, format!("-{name} is left out: MAINSTAY_LOG=debug tells more"), "")
            }
            ("metrics", _) => {
                report.dropped(pos, "-metrics is left out", "write metrics = \"127.0.0.1:9105\" into [node]");
            }
            _ => report.dropped(pos, format!("-{name} is left out"), "there is no counterpart"),
        }
    }
    if !hops.is_empty() {
        let mut chain = Map::new(nodes_at);
        chain.say("name", "chain-0", nodes_at);
        chain.add("hops", Node { pos: nodes_at, value: Value::List(hops) });
        given.chains.push(Node { pos: nodes_at, value: Value::Map(chain) });
        given.services.iter_mut().for_each(chained);
    }
    given
}

/// Names the chain where gost names it: the listener of what is offered elsewhere, the handler of all else.
fn chained(service: &mut Node) {
    let Value::Map(map) = &mut service.value else { return };
    let listens = map.map("listener");
    let remote = ["rtcp", "rudp", "runix"]
        .contains(&listens.clone().text(&["type"]).unwrap_or_default().text.as_str());
    let handles = map.map("handler");
    for (name, mut part, named) in [("listener", listens, remote), ("handler", handles, !remote)] {
        if named {
            part.say("chain", "chain-0", service.pos);
        }
        map.add(name, Node { pos: service.pos, value: Value::Map(part) });
    }
}

/// The services of a `-L`: one for each port of a range.
fn service(text: &str, pos: Pos, services: &mut Vec<Node>, report: &mut Report) {
    let Some(mut url) = parse(text, pos, report) else { return };
    let (mut handler, mut listener) = url.schemes.clone();
    if !HANDLERS.contains(&handler.as_str()) && !MORE_HANDLERS.contains(&handler.as_str()) {
        handler = "auto".to_owned();
    }
    if !LISTENERS.contains(&listener.as_str()) && !MORE_LISTENERS.contains(&listener.as_str()) {
        listener = if handler == "ssu" { "udp" } else { "tcp" }.to_owned();
    }
    let targets: Vec<String> =
        url.path.split(',').filter(|one| !one.is_empty()).flat_map(addr::ports).take(MOST).collect();
    if !targets.is_empty() && handler != "relay" {
        handler =
            if FORWARDING.contains(&listener.as_str()) { listener.clone() } else { "forward".to_owned() };
    }
    let auth = credentials(&mut url, pos, report);
    let tls = tls(&mut url, &["certfile", "keyfile", "cafile"], pos);
    let selector = selector(&mut url, pos);
    let addrs = addr::ports(&url.host);
    let many = addrs.len() > 1;
    for (nth, addr) in addrs.into_iter().enumerate() {
        let mut map = Map::new(pos);
        let part = |kind: &str, more: Vec<(&str, Option<Map>)>| {
            let mut part = Map::new(pos);
            part.say("type", kind, pos);
            for (name, map) in more {
                put(&mut part, name, map);
            }
            part
        };
        let handles =
            part(&handler, vec![("auth", auth.clone()), ("metadata", prefixed(&url, "handler.", pos))]);
        let listens =
            part(&listener, vec![("tls", tls.clone()), ("metadata", prefixed(&url, "listener.", pos))]);
        map.say("name", format!("service-{}", services.len()), pos);
        map.say("addr", addr, pos);
        put(&mut map, "handler", Some(handles));
        put(&mut map, "listener", Some(listens));
        put(&mut map, "metadata", prefixed(&url, "service.", pos));
        put(&mut map, SHARED, prefixed(&url, "", pos));
        // Of several targets each port of a range has its own.
        let own: Vec<&String> = match targets.get(nth) {
            Some(target) if many && targets.len() > 1 => vec![target],
            None if many && targets.len() > 1 => Vec::new(),
            Some(_) | None => targets.iter().collect(),
        };
        if !own.is_empty() {
            put(&mut map, "forwarder", Some(forwarder(&own, selector.clone(), pos)));
        }
        if services.len() < MOST {
            services.push(Node { pos, value: Value::Map(map) });
        }
    }
}

fn forwarder(targets: &[&String], selector: Option<Map>, pos: Pos) -> Map {
    let node = |target: &&String| {
        let mut node = Map::new(pos);
        node.say("addr", target.as_str(), pos);
        Node { pos, value: Value::Map(node) }
    };
    let mut forwarder = Map::new(pos);
    forwarder.add("nodes", Node { pos, value: Value::List(targets.iter().map(node).collect()) });
    put(&mut forwarder, "selector", selector);
    forwarder
}

/// The hop of a `-F`: a node for each host.
fn hop(text: &str, pos: Pos, report: &mut Report) -> Option<Node> {
    let mut url = parse(text, pos, report)?;
    let auth = credentials(&mut url, pos, report);
    let tls = tls(&mut url, &["certfile", "keyfile", "cafile", "secure", "servername"], pos);
    let selector = selector(&mut url, pos);
    let (connector, mut dialer) = url.schemes.clone();
    let dialers = LISTENERS.contains(&dialer.as_str()) || MORE_LISTENERS.contains(&dialer.as_str());
    if !dialers {
        "tcp".clone_into(&mut dialer);
    }
    let nodes = url.host.split(',').filter(|host| !host.is_empty()).take(MOST).map(|host| {
        let mut node = Map::new(pos);
        node.say("addr", host, pos);
        let mut connects = Map::new(pos);
        connects.say("type", connector.as_str(), pos);
        put(&mut connects, "auth", auth.clone());
        put(&mut connects, "metadata", prefixed(&url, "connector.", pos));
        let mut dials = Map::new(pos);
        dials.say("type", dialer.as_str(), pos);
        put(&mut dials, "tls", tls.clone());
        put(&mut dials, "metadata", prefixed(&url, "dialer.", pos));
        put(&mut node, "connector", Some(connects));
        put(&mut node, "dialer", Some(dials));
        put(&mut node, "metadata", prefixed(&url, "node.", pos));
        put(&mut node, SHARED, prefixed(&url, "", pos));
        Node { pos, value: Value::Map(node) }
    });
    let nodes = nodes.collect();
    let mut hop = Map::new(pos);
    hop.add("nodes", Node { pos, value: Value::List(nodes) });
    put(&mut hop, "metadata", prefixed(&url, "hop.", pos));
    put(&mut hop, "selector", selector);
    Some(Node { pos, value: Value::Map(hop) })
}

fn put(map: &mut Map, name: &str, inner: Option<Map>) {
    if let Some(inner) = inner {
        map.add(name, Node { pos: map.pos, value: Value::Map(inner) });
    }
}

/// What the query says under this prefix; without one, what has none.
fn prefixed(url: &Url, prefix: &str, pos: Pos) -> Option<Map> {
    const PREFIXES: [&str; 7] =
        ["handler.", "listener.", "service.", "connector.", "dialer.", "node.", "hop."];
    let mut map = Map::new(pos);
    for (name, value) in &url.query {
        let own = match name.strip_prefix(prefix) {
            Some(own) if !prefix.is_empty() => own,
            Some(own) if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => own,
            Some(_) | None => continue,
        };
        map.say(own, value.as_str(), pos);
    }
    (!map.is_empty()).then_some(map)
}

/// User and password: of the address, or base64 in `auth`.
fn credentials(url: &mut Url, pos: Pos, report: &mut Report) -> Option<Map> {
    let said = taken(url, &["auth"]);
    let decode = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (name, password) = text.split_once(':').unwrap_or((&text, ""));
        Some((name.to_owned(), password.to_owned()))
    };
    let pair = match (url.user.take(), said) {
        (Some(pair), _) => pair,
        (None, None) => return None,
        (None, Some(text)) => match decode(&text) {
            Some(pair) => pair,
            None => {
                report.error(pos, "auth is no base64 of USER:PASSWORD", "gost would not start with this");
                return None;
            }
        },
    };
    let mut auth = Map::new(pos);
    auth.say("username", pair.0, pos);
    auth.say("password", pair.1, pos);
    Some(auth)
}

/// The keys of `tls`, which have three spellings.
fn tls(url: &mut Url, keys: &[&str], pos: Pos) -> Option<Map> {
    let mut map = Map::new(pos);
    for key in keys {
        let apart = format!("tls.{key}");
        let short = key.strip_suffix("file").unwrap_or(key);
        if let Some(value) = taken(url, &[&apart, key, short]) {
            map.say(key, value, pos);
        }
    }
    (!map.is_empty()).then_some(map)
}

fn selector(url: &mut Url, pos: Pos) -> Option<Map> {
    let strategy = taken(url, &["strategy"])?;
    let mut map = Map::new(pos);
    map.say("strategy", strategy, pos);
    Some(map)
}

/// Takes the first of these out of the query.
fn taken(url: &mut Url, keys: &[&str]) -> Option<String> {
    let at =
        keys.iter().find_map(|key| url.query.iter().position(|(name, _)| name.eq_ignore_ascii_case(key)))?;
    Some(url.query.remove(at).1)
}

/// `SCHEME[+SCHEME]://[USER:PASSWORD@]HOST:PORT[/TARGETS][?NAME=VALUE&...]`.
fn parse(text: &str, pos: Pos, report: &mut Report) -> Option<Url> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("auto", text));
    let rest = rest.split('#').next().unwrap_or_default();
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let scheme = scheme.to_lowercase();
    let scheme = if scheme == "https" { "http+tls" } else { &scheme };
    let schemes: Vec<&str> = scheme.split('+').collect();
    let (first, second) = match schemes[..] {
        [one] => (one, one),
        [one, two] => (one, two),
        _ => {
            report.error(pos, format!("`{scheme}` has more than two parts"), "write HANDLER+LISTENER://");
            return None;
        }
    };
    let user = user.map(|user| {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        (decoded(name, false), decoded(password, false))
    });
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name, true), decoded(value, true))
    });
    Some(Url {
        schemes: (first.to_owned(), second.to_owned()),
        user,
        host: host.to_owned(),
        path: path.trim_matches('/').to_owned(),
        query: query.collect(),
    })
}

/// `%3A` is a colon; in a query `+` is a blank.
fn decoded(text: &str, query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (first, after.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) if query => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_stay() {
        assert_eq!(decoded("a%3Ab+c%", false), "a:b+c%");
        assert_eq!(decoded("a+b%zz%4", true), "a b%zz%4");
    }

    #[test]
    fn an_option_without_its_value_and_a_word_without_a_dash_are_told() {
        let mut report = Report::default();
        let file = report.open(Path::new("arguments"));
        let args = ["-L", ":80", "-F"].map(str::to_owned);
        assert_eq!(read(&args, file, &mut report).services.len(), 1);
        let args = ["extra".to_owned()];
        read(&args, file, &mut report);
        let said: Vec<String> = report.into_findings().iter().map(|f| f.text.clone()).collect();
        assert_eq!(said, ["\"extra\" is no option of gost", "-F says nothing"]);
    }
}
