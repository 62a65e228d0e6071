//! Agents of this node as people read them.

use super::{Table, paint_state};
use crate::status::{AgentStatus, Status};

/// A line for each offer, one for each door of a visit, and one for each hub.
pub(super) fn agents(status: &Status) -> String {
    let mut offers = Table::new(&["AGENT", "TUNNEL", "STATE", "STREAMS", "TO", "SERVED AT"]);
    let mut hubs = Table::new(&["AGENT", "HUB", "SESSIONS", "STREAMS", "RTT"]);
    let mut met = false;
    for agent in &status.agents {
        for offer in &agent.offers {
            let to = offer
                .targets
                .iter()
                .map(|(target, well)| if *well { target.clone() } else { format!("{target} (down)") });
            let to: Vec<String> = to.collect();
            let state = if !offer.targets.iter().any(|(_, well)| *well) {
                "down"
            } else if offer.granted > 0 {
                "up"
            } else if offer.refused.is_empty() {
                "pending"
            } else {
                "refused"
            };
            let served = if offer.served.is_empty() { "-".into() } else { offer.served.join(", ") };
            offers.row(vec![
                agent.name.clone(),
                offer.tunnel.clone(),
                state.into(),
                offer.streams.to_string(),
                to.join(", "),
                served,
            ]);
        }
        for hub in &agent.hubs {
            met = true;
            let rtt = hub.rtt_ms.map_or_else(|| "-".into(), |rtt| format!("{rtt:.1} ms"));
            hubs.row(vec![
                if agent.visit { format!("{} (visit)", agent.name) } else { agent.name.clone() },
                hub.hub.clone(),
                format!("{} of {}", hub.sessions, hub.places),
                hub.streams.to_string(),
                rtt,
            ]);
        }
    }
    let paint = |column: usize, cell: &str, text: String| match column {
        2 => paint_state(cell, text),
        _ => text,
    };
    let visits: Vec<&AgentStatus> = status.agents.iter().filter(|agent| agent.visit).collect();
    let mut tables = Vec::new();
    if visits.len() < status.agents.len() {
        tables.push(offers.render(paint));
    }
    if !visits.is_empty() {
        tables.push(doors(&visits));
    }
    if met {
        tables.push(hubs.render(|_, _, text| text));
    }
    tables.join("\n")
}

fn doors(visits: &[&AgentStatus]) -> String {
    let mut table = Table::new(&["VISIT", "TUNNEL", "STATE", "LISTENS AT", "OPEN", "TOTAL", "LOST"]);
    for visit in visits {
        for door in &visit.doors {
            let kind = if door.udp { " (udp)" } else { "" };
            let state = match (door.granted, door.refused.is_empty()) {
                (0, true) => "pending",
                (0, false) => "refused",
                _ => "up",
            };
            table.row(vec![
                visit.name.clone(),
                format!("{}{kind}", door.tunnel),
                state.into(),
                door.listen.clone(),
                door.streams.to_string(),
                door.opened.to_string(),
                door.lost.to_string(),
            ]);
        }
    }
    table.render(|column, cell, text| if column == 2 { paint_state(cell, text) } else { text })
}
