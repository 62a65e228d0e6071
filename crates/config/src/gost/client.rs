//! Clients of tunnels: `rtcp` and `rudp` become agents, `tcp` and `udp` with a chain become visits.

use super::forward::Forward;
use super::service::Service;
use super::{Cx, addr, chain, draft, forward, plain};
use crate::import::toml::Table;

/// What is offered through a server.
pub(super) fn agent(mut service: Service, cx: &mut Cx<'_>) {
    let who = service.who();
    let udp = service.listener.kind == "rudp";
    let Some(name) = service.listener.map.text(&["chain"]) else {
        let text = format!("{who}: it names no chain, so it listens here and forwards");
        let advice = "write handler and listener `tcp` or `udp`, or the chain of the tunnel's server";
        return cx.report.dropped(service.pos, text, advice);
    };
    let Some(way) = chain::of(&name, &who, cx) else { return };
    let mut offer = Table::of("tunnel", way.tunnel.as_str());
    match service.handler.kind.as_str() {
        "file" => match plain::folder_of(&service.name, cx) {
            Some(folder) if folder.open => offer.set("files", folder.dir),
            Some(_) | None => {
                let text = format!("{who}: files with a password are not offered directly");
                let advice = "serve them by a [[route]] with basic_auth, and offer that listener by `to`";
                return cx.report.dropped(service.handler.kind_pos, text, advice);
            }
        },
        "rtcp" | "rudp" | "tcp" | "udp" | "forward" => {
            let Some(forward) = forward::of(&mut service, cx) else { return };
            what(&forward, udp, &who, &mut offer, cx);
        }
        other => {
            let text = format!("{who}: a `{other}` offered through a tunnel is not taken over");
            let advice = "let gost serve it on a port of this machine, and offer that by `to`";
            return cx.report.dropped(service.handler.kind_pos, text, advice);
        }
    }
    if udp {
        offer.set("udp", true);
    }
    offer.maybe("weight", way.weight.filter(|weight| *weight > 0));
    // A name in front of the port is asked for as a host; a number is where one would listen.
    let own = service.addr.text.rsplit_once(':').map_or("", |(host, _)| host);
    if own.parse::<std::net::IpAddr>().is_err() && !own.is_empty() && !own.starts_with('[') {
        offer.set("host", own);
    }
    service.left(&mut cx.report);
    let Cx { draft, .. } = cx;
    let wanted = draft.agents.iter().all(|agent| agent.hubs != way.hubs || agent.name != way.chain);
    let made = if wanted { way.chain.clone() } else { service.name.clone() };
    let name = draft.name("agent", &made);
    let place = (service.pos, name);
    draft::client(&mut draft.agents, &way.hubs, (&way.tunnel, udp), || place).parts.push((
        way.tunnel,
        udp,
        (service.pos, offer),
    ));
}

/// `to`, or `files` when the target is a service of files beside it.
fn what(forward: &Forward, udp: bool, who: &str, offer: &mut Table, cx: &mut Cx<'_>) {
    if let (Some(said), false) = (&forward.in_order, forward.targets.len() < 2) {
        let text = format!("{who}: strategy {} is left out: targets that answer take turns", said.text);
        cx.report.dropped(
            said.pos,
            text,
            "offer a listener of this machine, whose pool has the others as `backup`",
        );
    }
    if let (Some(balance), false) = (forward.balance, forward.targets.len() < 2) {
        cx.report.note(
            forward.first.pos,
            format!("{who}: targets take turns, where gost chooses by {balance}"),
            "",
        );
    }
    if let ([target], false) = (&forward.targets[..], udp)
        && let Some(folder) = plain::folder_at(target, cx)
    {
        let text = format!(
            "{who}: {target} is where \"{}\" serves files: the tunnel offers the folder itself",
            folder.name
        );
        cx.report.note(forward.first.pos, text, "");
        return offer.set("files", folder.dir);
    }
    offer.set("to", forward.targets.clone());
}

/// A port of this machine that leads to a tunnel elsewhere, or, without a chain, to its targets.
pub(super) fn forward(mut service: Service, cx: &mut Cx<'_>) {
    let who = service.who();
    let Some(name) = service.handler.map.text(&["chain"]) else { return plain::forward(service, cx) };
    let Some(way) = chain::of(&name, &who, cx) else { return };
    if service.listener.kind == "tls" {
        let text = format!("{who}: TLS in front of a visitor's port is not taken over");
        return cx.report.dropped(service.listener.kind_pos, text, "let the tunnel's target end it");
    }
    let Some(forward) = forward::of(&mut service, cx) else { return };
    let udp = service.listener.kind == "udp";
    let Some(listen) = addr::bind(&service.addr.text) else {
        let text = format!("{who}: \"{}\" is no address to listen at", service.addr.text);
        return cx.report.error(service.addr.pos, text, "write addr: 127.0.0.1:8022");
    };
    let listen = match listen.strip_prefix(':') {
        // Both families where the kernel's bindv6only is off, as it is.
        Some(port) => format!("[::]:{port}"),
        None => listen,
    };
    let mut door = Table::of("id", way.tunnel.as_str()).with("listen", listen);
    if udp {
        door.set("udp", true);
    }
    door.set("host", forward.first.text.as_str());
    if forward.targets.len() > 1 {
        let text =
            format!("{who}: {} alone is asked for, of {} targets", forward.first.text, forward.targets.len());
        cx.report.dropped(forward.first.pos, text, "a tunnel's other end has the targets");
    }
    service.left(&mut cx.report);
    let Cx { draft, .. } = cx;
    let name = draft.name("visit", &way.chain);
    let place = (service.pos, name);
    draft::client(&mut draft.visits, &way.hubs, (&way.tunnel, udp), || place).parts.push((
        way.tunnel,
        udp,
        (service.pos, door),
    ));
}
