//! Which host leads to which tunnel: rules of the file, and plugins that know.

use std::collections::BTreeMap;

use super::tree::{Said, time};
use super::{Cx, Map, addr};
use crate::import::report::Pos;
use crate::import::toml::Table;

/// A host and the tunnel that it leads to.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) pos: Pos,
    pub(super) host: String,
    pub(super) id: String,
    pub(super) private: bool,
    /// The entrypoint's listener, when there is one.
    pub(super) listener: Option<String>,
}

/// What `ingress` of a server names; true when it is a plugin, which knows hosts that no file names.
pub(super) fn named(
    name: &Said,
    who: &str,
    gost: &mut Table,
    listener: Option<&str>,
    cx: &mut Cx<'_>,
) -> bool {
    let Some(mut ingress) = Cx::named(&cx.ingresses, name) else {
        let text = format!("{who}: there is no ingress \"{}\"", name.text);
        cx.report.error(name.pos, text, "write it, or take its name out");
        return false;
    };
    let whose = format!("ingress \"{}\"", name.text);
    let _ = ingress.text(&["name"]);
    // The plugin is asked alone when there is one.
    if let Some(plugin) = ingress.maybe_map("plugin") {
        let asked = self::plugin(plugin, &whose, "ingress", gost, cx);
        ingress.left(&whose, &mut cx.report);
        return asked;
    }
    for mut rule in ingress.maps("rules") {
        let pair = (rule.text(&["hostname"]), rule.text(&["endpoint"]));
        rule.left(&whose, &mut cx.report);
        match pair {
            (Some(host), Some(id)) => add(&host, &id.text, &whose, listener, cx),
            (None, _) | (_, None) => {
                cx.report.note(
                    rule.pos,
                    format!("{whose}: a rule without hostname or endpoint says nothing"),
                    "",
                );
            }
        }
    }
    if let Some(mut file) = ingress.maybe_map("file") {
        if let Some(path) = file.text(&["path"]) {
            listed(&path, &whose, listener, cx);
        }
        file.left(&whose, &mut cx.report);
    }
    ingress.left(&whose, &mut cx.report);
    false
}

/// Rules in a file: `host id`, one a line.
fn listed(path: &Said, whose: &str, listener: Option<&str>, cx: &mut Cx<'_>) {
    let text = match cx.files.read(&cx.dir.join(&path.text)) {
        Ok(text) => text,
        Err(reason) => {
            let text = format!("{whose}: {} cannot be read: {reason}", path.text);
            return cx.report.dropped(path.pos, text, "import where gost runs, or write the rules out");
        }
    };
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(host), Some(id)) = (words.next(), words.next()) {
            add(&Said { text: host.to_owned(), pos: path.pos }, id, whose, listener, cx);
        }
    }
}

/// `host:id,host:id`, as the option `tunnel` has it.
pub(super) fn inline(rules: &Said, who: &str, listener: Option<&str>, cx: &mut Cx<'_>) {
    for rule in rules.text.split(',') {
        if let Some((host, id)) = rule.split_once(':') {
            add(&Said { text: host.to_owned(), pos: rules.pos }, id, who, listener, cx);
        }
    }
}

fn add(host: &Said, endpoint: &str, whose: &str, listener: Option<&str>, cx: &mut Cx<'_>) {
    let (private, id) = match endpoint.strip_prefix('$') {
        Some(id) => (true, id),
        None => (false, endpoint),
    };
    let Some(id) = addr::uuid(id) else {
        let text = format!(
            "{whose}: \"{endpoint}\" is no id of a tunnel: gost refuses what comes for {}",
            host.text
        );
        return cx.report.note(host.pos, text, "write a UUID");
    };
    let listener = listener.map(str::to_owned);
    cx.rules.push(Rule { pos: host.pos, host: host.text.to_lowercase(), id, private, listener });
}

/// What the rules make of tunnels, when all are known.
pub(super) fn tunnels(cx: &mut Cx<'_>) {
    struct Made {
        pos: Pos,
        listener: Option<String>,
        hosts: Vec<String>,
        public: bool,
    }
    let rules = std::mem::take(&mut cx.rules);
    // Of two rules for a host the later one holds.
    let last: BTreeMap<&str, usize> =
        rules.iter().enumerate().map(|(at, rule)| (bare(&rule.host), at)).collect();
    let mut order: Vec<String> = Vec::new();
    let mut made: BTreeMap<String, Made> = BTreeMap::new();
    for (at, rule) in rules.iter().enumerate() {
        if last.get(bare(&rule.host)) != Some(&at) {
            cx.report.note(rule.pos, format!("a later rule for {} holds", rule.host), "");
            continue;
        }
        let tunnel = made.entry(rule.id.clone()).or_insert_with(|| {
            order.push(rule.id.clone());
            Made { pos: rule.pos, listener: rule.listener.clone(), hosts: Vec::new(), public: false }
        });
        if rule.private {
            let text = format!(
                "{} leads to the private tunnel {}: the host is not taken over, so nobody comes in by it here either",
                rule.host, rule.id
            );
            cx.report.note(rule.pos, text, "visitors name the tunnel by its id");
            continue;
        }
        tunnel.public = true;
        match hosts(&rule.host) {
            Some(hosts) => tunnel.hosts.extend(hosts),
            None => {
                cx.report.note(
                    rule.pos,
                    format!("\"{}\" is no host that anybody can ask for", rule.host),
                    "",
                );
            }
        }
    }
    for id in order {
        let Some(tunnel) = made.remove(&id) else { continue };
        let mut table = Table::of("id", id.as_str()).with("gost", true);
        if tunnel.public {
            table.maybe("listener", tunnel.listener);
            table.set("hosts", tunnel.hosts);
        } else {
            table.set("private", true);
        }
        cx.draft.tunnels.push((tunnel.pos, table));
    }
}

/// gost looks `*.example.com` and `.example.com` up as one.
fn bare(host: &str) -> &str {
    host.strip_prefix('*').unwrap_or(host)
}

/// `.example.com` is the host itself and all below it.
fn hosts(host: &str) -> Option<Vec<String>> {
    let good = |host: &str| {
        !host.is_empty()
            && host.chars().all(|c| c.is_alphanumeric() || "._-".contains(c))
            && !host.starts_with('.')
    };
    let host = bare(host);
    match host.strip_prefix('.') {
        Some(suffix) if good(suffix) => Some(vec![suffix.to_owned(), format!("*.{suffix}")]),
        None if good(host) => Some(vec![host.to_owned()]),
        Some(_) | None => None,
    }
}

/// A plugin's address and how it is asked, under `key` of `[gost]`; whether there is one.
pub(super) fn plugin(
    mut plugin: Map,
    whose: &str,
    key: &'static str,
    gost: &mut Table,
    cx: &mut Cx<'_>,
) -> bool {
    let kind = plugin.text(&["type"]).map_or_else(|| "grpc".to_owned(), |kind| kind.text.to_lowercase());
    let Some(addr) = plugin.text(&["addr"]) else {
        cx.report.error(plugin.pos, format!("{whose}: the plugin has no addr"), "write addr: HOST:PORT");
        return false;
    };
    let tls = plugin.maybe_map("tls");
    let url = match kind.as_str() {
        "http" if addr.text.starts_with("http://") || addr.text.starts_with("https://") => addr.text.clone(),
        "http" => format!("http://{}", addr.text),
        _ if tls.is_some() => format!("grpcs://{}", addr.text),
        _ => format!("grpc://{}", addr.text),
    };
    gost.set(key, url);
    if let Some(mut tls) = tls {
        let secure = tls.flag(&["secure"]).is_some_and(|(yes, _)| yes);
        if !secure {
            let text = format!("{whose}: the plugin's certificate is checked here, where gost takes any");
            cx.report.dropped(tls.pos, text, "name its authority by `ca` in [gost]");
        }
        tls.left(&format!("{whose}: tls"), &mut cx.report);
    }
    let timeout = plugin.text(&["timeout"]).and_then(|said| Some((time(&said.text)?, said.pos)));
    let token = plugin.text(&["token"]);
    for (name, value, pos) in [
        ("token", token.as_ref().map(|said| said.text.clone().into()), token.as_ref().map(|said| said.pos)),
        ("timeout", timeout.map(|(time, _)| time.into()), timeout.map(|(_, pos)| pos)),
    ] {
        let (Some(value), Some(pos)) = (value, pos) else { continue };
        if gost.get(name).is_some_and(|other| *other != value) {
            let text = format!("{whose}: `{name}` differs from the other plugin's: one holds for both");
            cx.report.dropped(pos, text, "give both the same");
        } else {
            gost.set(name, value);
        }
    }
    plugin.left(&format!("{whose}: plugin"), &mut cx.report);
    true
}
