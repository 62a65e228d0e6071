//! Agents of this node as people read them.

use super::{Table, paint_state};
use crate::status::Status;

/// A line for each offer, and one for each hub.
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
                agent.name.clone(),
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
    let mut out = offers.render(paint);
    if met {
        out.push('\n');
        out.push_str(&hubs.render(|_, _, text| text));
    }
    out
}
