//! Listeners and pools as people read them.

use super::{Table, paint_state};
use crate::status::{BackendShown, HubStatus, PoolStatus, Status, TunnelAgent, TunnelStatus};
use crate::words;

/// One line for each listener.
pub(super) fn listeners(status: &Status) -> String {
    let mut table =
        Table::new(&["LISTENER", "SPEAKS", "OPEN", "ACCEPTED", "REQUESTS", "4XX", "5XX", "REFUSED", "AT"]);
    for listener in &status.listeners {
        let counts = &listener.counts;
        let classes = &counts.requests.classes;
        let refused = counts.refused.values().chain(counts.handshakes_failed.values());
        table.row(vec![
            counts.name.clone(),
            format!("{}{}", words::protocol(listener.protocol), if listener.tls { ", tls" } else { "" }),
            listener.open.to_string(),
            counts.accepted.to_string(),
            classes.iter().sum::<u64>().to_string(),
            classes[4].to_string(),
            classes[5].to_string(),
            refused.sum::<u64>().to_string(),
            listener.binds.join(", "),
        ]);
    }
    table.render(|_, _, text| text)
}

/// One line for each backend.
pub(in crate::cli) fn pools(status: &Status) -> String {
    let mut table =
        Table::new(&["POOL", "BACKEND", "STATE", "WEIGHT", "LOAD", "REQUESTS", "FAILED", "LATENCY", "WHY"]);
    for pool in &status.pools {
        if pool.backends.is_empty() && pool.removed.is_empty() {
            let mut cells = vec![pool.name.clone(), "none".into()];
            cells.resize(9, String::new());
            table.row(cells);
        }
        pool.backends.iter().for_each(|backend| table.row(backend_row(pool, backend)));
        for removed in &pool.removed {
            let mut cells = vec![pool.name.clone(), removed.clone(), "removed".into()];
            cells.resize(8, String::new());
            cells.push("by operator".into());
            table.row(cells);
        }
    }
    table.render(|column, cell, text| if column == 2 { paint_state(cell, text) } else { text })
}

/// One line for each other hub.
pub(in crate::cli) fn hubs(hubs: &[HubStatus]) -> String {
    let mut table = Table::new(&[
        "HUB", "ADDRESS", "STATE", "SESSIONS", "IN", "RTT", "TUNNELS", "SINCE", "OPEN", "TOTAL", "TO IT",
        "FROM IT", "WHY",
    ]);
    for hub in hubs {
        let rtt = if hub.rtt_ms > 0.0 { format!("{:.1} ms", hub.rtt_ms) } else { String::new() };
        table.row(vec![
            if hub.hub.is_empty() { "?".to_owned() } else { hub.hub.clone() },
            hub.address.clone(),
            hub.state().to_owned(),
            format!("{}/{}", hub.sessions, hub.places),
            hub.incoming.to_string(),
            rtt,
            hub.tunnels.len().to_string(),
            format!("{} s", hub.seconds),
            hub.streams.to_string(),
            hub.opened.to_string(),
            hub.sent.to_string(),
            hub.received.to_string(),
            hub.trouble.clone().unwrap_or_default(),
        ]);
    }
    table.render(|column, cell, text| if column == 2 { paint_state(cell, text) } else { text })
}

/// One line for each agent, and below one for each visitor.
pub(in crate::cli) fn tunnels(tunnels: &[TunnelStatus], hubs: &[HubStatus]) -> String {
    let mut table = Table::new(&[
        "TUNNEL", "AGENT", "STATE", "PLACES", "BY", "RTT", "OPEN", "LOAD", "TOTAL", "TO IT", "FROM IT", "WHY",
    ]);
    for tunnel in tunnels {
        if tunnel.agents.is_empty() {
            let by =
                hubs.iter().filter(|hub| hub.tunnels.contains(&tunnel.id)).map(|hub| match hub.is_plugin() {
                    true => format!("by nodes that the {} names", hub.hub),
                    false => format!("by hub {}", hub.hub),
                });
            let (state, why) = match by.collect::<Vec<_>>().join(", ").as_str() {
                "" => ("down", "no agent has a session".to_owned()),
                by => ("up", by.to_owned()),
            };
            let mut cells = vec![tunnel.id.clone(), "none here".into(), state.into()];
            cells.resize(11, String::new());
            cells.push(why);
            table.row(cells);
        }
        tunnel.agents.iter().for_each(|agent| table.row(agent_row(tunnel, agent)));
    }
    let mut out = table.render(|column, cell, text| if column == 2 { paint_state(cell, text) } else { text });
    if tunnels.iter().any(|tunnel| tunnel.private) {
        out.push('\n');
        out.push_str(&visitors(tunnels));
    }
    out
}

fn visitors(tunnels: &[TunnelStatus]) -> String {
    let mut table = Table::new(&[
        "PRIVATE", "VISITOR", "SESSIONS", "SINCE", "BY", "RTT", "OPEN", "TOTAL", "TO IT", "FROM IT",
    ]);
    for tunnel in tunnels.iter().filter(|tunnel| tunnel.private) {
        if tunnel.visitors.is_empty() {
            let mut cells = vec![tunnel.id.clone(), "none".into()];
            cells.resize(10, String::new());
            table.row(cells);
        }
        for visitor in &tunnel.visitors {
            let kind = if visitor.udp { " (udp)" } else { "" };
            let rtt = if visitor.rtt_ms > 0.0 { format!("{:.1} ms", visitor.rtt_ms) } else { String::new() };
            table.row(vec![
                tunnel.id.clone(),
                format!("{}{kind}", visitor.visitor),
                visitor.sessions.to_string(),
                format!("{} s", visitor.seconds),
                format!("{} {}", visitor.carrier, visitor.from),
                rtt,
                visitor.streams.to_string(),
                visitor.opened.to_string(),
                visitor.sent.to_string(),
                visitor.received.to_string(),
            ]);
        }
    }
    table.render(|_, _, text| text)
}

fn agent_row(tunnel: &TunnelStatus, agent: &TunnelAgent) -> Vec<String> {
    let state = match (agent.places.is_empty(), &agent.trouble) {
        (true, _) => "drained",
        (false, Some(_)) => "down",
        (false, None) => "up",
    };
    let kind = if agent.udp { " (udp)" } else { "" };
    let rtt = if agent.rtt_ms > 0.0 { format!("{:.1} ms", agent.rtt_ms) } else { String::new() };
    let leaving = (agent.leaving > 0).then(|| format!("{} sessions end", agent.leaving));
    let why: Vec<String> = agent.trouble.clone().into_iter().chain(leaving).collect();
    vec![
        tunnel.id.clone(),
        format!("{}{kind}", agent.agent),
        state.into(),
        format!("{}/{}", agent.places.len(), tunnel.places),
        format!("{} {}", agent.carrier, agent.from),
        rtt,
        agent.streams.to_string(),
        agent.load.to_string(),
        agent.opened.to_string(),
        amount(agent.sent),
        amount(agent.received),
        why.join("; "),
    ]
}

/// An amount of bytes in three digits.
fn amount(bytes: u64) -> String {
    let mut rest = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if rest < 999.5 {
            return if rest < 10.0 && unit != "B" {
                format!("{rest:.1} {unit}")
            } else {
                format!("{rest:.0} {unit}")
            };
        }
        rest /= 1000.0;
    }
    format!("{rest:.0} PB")
}

fn backend_row(pool: &PoolStatus, backend: &BackendShown) -> Vec<String> {
    let seen = &backend.seen;
    let name = if seen.address.is_empty() || seen.address == seen.backend {
        seen.backend.clone()
    } else {
        format!("{} ({})", seen.backend, seen.address)
    };
    let share = if seen.share < 100 { format!(" ({} %)", seen.share) } else { String::new() };
    let latency = if seen.latency_ms > 0.0 { format!("{:.1} ms", seen.latency_ms) } else { String::new() };
    let operator = match (&backend.order, backend.by_operator) {
        (None, false) => None,
        (Some(order), _) => Some(format!("{order} by operator")),
        (None, true) => Some("added by operator".into()),
    };
    let backup = seen.backup.then(|| "backup".to_owned());
    // What an operator did is said once.
    let said = operator.is_some() && seen.why.starts_with("the operator");
    let why = (!seen.why.is_empty() && !said).then(|| seen.why.clone());
    let why: Vec<String> = backup.into_iter().chain(operator).chain(why).collect();
    vec![
        pool.name.clone(),
        name,
        words::standing_of(seen.state).into(),
        format!("{}{share}", seen.weight),
        seen.load.to_string(),
        seen.requests.to_string(),
        seen.failures.to_string(),
        latency,
        why.join("; "),
    ]
}
