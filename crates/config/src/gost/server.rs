//! A service with handler `tunnel`: a listener where clients come in, another one where visitors do, and `[gost]`.

use super::service::Service;
use super::tree::{Said, time};
use super::{Cx, addr, ingress, tls, users};
use crate::import::report::Pos;
use crate::import::toml::{Table, Value};

/// gost's own, and ours.
const USUAL_TTL: u64 = 15;

/// Takes the service over.
pub(super) fn read(mut service: Service, cx: &mut Cx<'_>) {
    let who = service.who();
    let carrier = service.listener.kind.clone();
    let secure = match carrier.as_str() {
        "tcp" | "ws" => false,
        "tls" | "wss" => true,
        _ => {
            let text = format!("{who}: tunnels over listener `{carrier}` are not taken over");
            let advice = "let its clients dial tcp, tls, ws or wss, which all have a counterpart";
            return cx.report.dropped(service.listener.kind_pos, text, advice);
        }
    };
    let Some(bind) = addr::bind(&service.addr.text) else {
        return cx.report.error(
            service.addr.pos,
            format!("{who}: \"{}\" is no address to listen at", service.addr.text),
            "write addr: :8421, or an address of this machine with a port",
        );
    };
    let Ok(users) = users::of(&mut service.handler, &who, cx) else { return };
    // Any path leads to the tunnel.
    let _ = service.of_listener(&["ws.path", "path"]);
    let name = cx.draft.name("listener", &service.name);
    let mut listener =
        Table::of("name", name.as_str()).with("bind", bind).with("protocol", "hub").with("compat", "gost");
    if secure {
        tls::fill(&mut service, &mut listener, cx);
    }
    cx.draft.listeners.push((service.pos, listener));
    let entry = entrypoint(&mut service, cx);
    let mut gost = Table::default();
    match users {
        Some(users) => gost.set("users", users.iter().map(users::User::table).collect::<Vec<_>>()),
        None => {
            let text = format!("{who}: nobody is asked who they are, as with gost: a tunnel's id is enough");
            cx.report.note(
                service.pos,
                text,
                "write users = [{ name = \"...\", password = { file = \"...\" } }] into [gost]",
            );
        }
    }
    settings(&mut service, entry.as_deref(), &mut gost, cx);
    service.left(&mut cx.report);
    let names: Vec<String> = [Some(name), entry].into_iter().flatten().collect();
    keep(gost, service.pos, &who, &names, cx);
}

/// The listener of visitors, when there is an entrypoint: its name.
fn entrypoint(service: &mut Service, cx: &mut Cx<'_>) -> Option<String> {
    let said = service.of_handler(&["entrypoint"])?;
    let who = service.who();
    let Some(bind) = addr::bind(&said.text) else {
        let text = format!("{who}: entrypoint \"{}\" is no address to listen at", said.text);
        cx.report.error(said.pos, text, "write entrypoint: :80");
        return None;
    };
    let taken = |table: &Table| table.get("bind") == Some(&Value::Text(bind.clone()));
    if cx.draft.listeners.iter().any(|(_, table)| taken(table)) {
        let text = format!("{who}: entrypoint {} is another service's address", said.text);
        cx.report.error(said.pos, text, "gost would not start this service: give it a port of its own");
        return None;
    }
    let wanted = format!("{}-entrypoint", service.name);
    let name = cx.draft.name("listener", &wanted);
    let table =
        Table::of("name", name.as_str()).with("bind", bind).with("protocol", "http").with("compat", "gost");
    cx.draft.listeners.push((said.pos, table));
    Some(name)
}

/// What the handler's metadata say of tunnels.
fn settings(service: &mut Service, entry: Option<&str>, gost: &mut Table, cx: &mut Cx<'_>) {
    let who = service.who();
    // Anybody may bring a tunnel to gost. Where all hosts are in the file, those of other ids are reached by nobody.
    let mut any = true;
    if let Some(id) = service.of_handler(&["entrypoint.id"]) {
        match addr::uuid(&id.text) {
            Some(uuid) => gost.set("entrypoint", uuid),
            None => {
                cx.report.error(id.pos, format!("{who}: \"{}\" is no UUID", id.text), "write one, or none")
            }
        }
    }
    if service.flag_of_handler(&["tunnel.direct"]).is_some_and(|(yes, _)| yes) {
        gost.set("direct", true);
    }
    let inline = service.of_handler(&["tunnel"]);
    match service.of_handler(&["ingress"]) {
        Some(name) => {
            if ingress::named(&name, &who, gost, entry, cx) {
                gost.set("hosts", "any");
                domain(&name, cx);
            } else {
                any = false;
            }
        }
        None => {
            if let Some(rules) = inline {
                ingress::inline(&rules, &who, entry, cx);
                any = false;
            }
        }
    }
    if let Some(name) = service.of_handler(&["sd"]) {
        sd(&name, &who, gost, cx);
    }
    if any || gost.get("direct").is_some() || gost.get("sd").is_some() {
        gost.set("tunnels", "any");
    }
    if let Some(ttl) = service.of_handler(&["tunnel.ttl"]) {
        // It is plugins that are told each time.
        let told = gost.get("sd").is_some() || gost.get("ingress").is_some();
        match time(&ttl.text) {
            Some(time) if told && time.as_secs() != USUAL_TTL => gost.set("renew", time),
            Some(_) => {}
            None => {
                cx.report.note(ttl.pos, format!("{who}: tunnel.ttl \"{}\" is no time: 15 s", ttl.text), "");
            }
        }
    }
}

/// Generated hosts are the plugin's: it alone has been told their domain.
fn domain(ingress: &Said, cx: &mut Cx<'_>) {
    match &cx.domain {
        Some(domain) => cx.draft.hub.set("domain", domain.as_str()),
        None => cx.report.note(
            ingress.pos,
            "the domain of generated hosts is said to the ingress plugin alone, by its --domain: without it each host is asked for there",
            "import with --domain gost.local, or write [hub] domain: hosts of this server's own clients then lead to them even while the plugin is away",
        ),
    }
}

fn sd(name: &Said, who: &str, gost: &mut Table, cx: &mut Cx<'_>) {
    let Some(mut sd) = Cx::named(&cx.sds, name) else {
        let text = format!("{who}: there is no sd \"{}\"", name.text);
        return cx.report.error(name.pos, text, "write it, or take its name out");
    };
    let whose = format!("sd \"{}\"", name.text);
    let _ = sd.text(&["name"]);
    match sd.maybe_map("plugin") {
        Some(plugin) => {
            ingress::plugin(plugin, &whose, "sd", gost, cx);
        }
        None => cx.report.note(name.pos, format!("{whose} has no plugin: it finds nobody"), ""),
    }
    sd.left(&whose, &mut cx.report);
}

/// One table holds for all services; where others are let in, a service of other users must not be open.
fn keep(gost: Table, pos: Pos, who: &str, listeners: &[String], cx: &mut Cx<'_>) {
    match &cx.draft.gost {
        None => cx.draft.gost = Some((pos, gost)),
        Some((_, first)) if *first == gost => {}
        Some((_, first)) => {
            let differ: Vec<&str> =
                ["users", "entrypoint", "direct", "hosts", "sd", "ingress", "token", "timeout", "renew"]
                    .into_iter()
                    .filter(|key| first.get(key) != gost.get(key))
                    .collect();
            let text = format!(
                "{who}: {} differ from the first tunnel service's, which hold for all",
                differ.join(", ")
            );
            if first.get("users") != gost.get("users") {
                let of_it = |table: &Table| matches!(table.get("name"), Some(Value::Text(n)) if listeners.contains(n));
                cx.draft.listeners.retain(|(_, table)| !of_it(table));
            }
            cx.report.dropped(pos, text, "run two nodes, or give both services the same");
        }
    }
}
