//! Agents of this node as Prometheus reads them.

use super::Families;
use crate::status::{AgentStatus, Status};

pub(super) fn add(families: &mut Families, status: &Status) {
    status.agents.iter().for_each(|shown| agent(families, shown));
}

fn agent(families: &mut Families, agent: &AgentStatus) {
    let name = ("agent", agent.name.as_str());
    let met = agent.hubs.iter().filter(|hub| hub.sessions > 0).count();
    families.add("agent_hubs", "gauge", &[name], &agent.hubs.len().to_string());
    families.add("agent_hubs_met", "gauge", &[name], &met.to_string());
    for hub in &agent.hubs {
        let labels = [name, ("hub", hub.hub.as_str())];
        families.add("agent_places", "gauge", &labels, &hub.places.to_string());
        families.add("agent_sessions", "gauge", &labels, &hub.sessions.to_string());
        if let Some(rtt) = hub.rtt_ms {
            families.add("agent_rtt_seconds", "gauge", &labels, &format!("{:.6}", rtt / 1000.0));
        }
    }
    for offer in &agent.offers {
        let kind = if offer.udp { "udp" } else { "tcp" };
        let labels = [name, ("tunnel", offer.tunnel.as_str()), ("kind", kind)];
        families.add("agent_streams", "gauge", &labels, &offer.streams.to_string());
        families.add("agent_streams_total", "counter", &labels, &offer.opened.to_string());
        for (target, well) in &offer.targets {
            let labels = [labels[0], labels[1], labels[2], ("target", target.as_str())];
            families.add("agent_target_up", "gauge", &labels, if *well { "1" } else { "0" });
        }
    }
    let counts = &agent.counts;
    for (family, count) in [
        ("agent_dials_failed_total", counts.failures),
        ("agent_dials_total", counts.dials),
        ("agent_received_bytes_total", counts.received),
        ("agent_refusals_total", counts.refusals),
        ("agent_sent_bytes_total", counts.sent),
    ] {
        families.add(family, "counter", &[name], &count.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{AgentCounts, HubSeen, OfferStatus};

    #[test]
    fn hubs_offers_and_targets_of_an_agent_are_told() {
        let hub = |name: &str, sessions| HubSeen {
            hub: name.into(),
            places: 4,
            sessions,
            streams: 0,
            rtt_ms: Some(1.5),
        };
        let offer = OfferStatus {
            tunnel: "office".into(),
            udp: false,
            targets: vec![("a:1".into(), true), ("b:1".into(), false)],
            streams: 2,
            opened: 9,
            granted: 1,
            served: Vec::new(),
            refused: Vec::new(),
        };
        let agent_status = AgentStatus {
            name: "site".into(),
            visit: false,
            doors: Vec::new(),
            hubs: vec![hub("edge-1", 4), hub("edge-2", 0)],
            offers: vec![offer],
            trouble: Vec::new(),
            counts: AgentCounts { dials: 12, failures: 3, refusals: 1, sent: 100, received: 50 },
        };
        let mut families = Families::default();
        agent(&mut families, &agent_status);
        let has = |family: &str, sample: &str| {
            let (_, samples) = &families.all[family];
            assert!(samples.iter().any(|one| one == sample), "{sample}: {samples:?}");
        };
        has("agent_hubs", "mainstay_agent_hubs{agent=\"site\"} 2");
        has("agent_hubs_met", "mainstay_agent_hubs_met{agent=\"site\"} 1");
        has("agent_sessions", "mainstay_agent_sessions{agent=\"site\",hub=\"edge-1\"} 4");
        has(
            "agent_streams_total",
            "mainstay_agent_streams_total{agent=\"site\",tunnel=\"office\",kind=\"tcp\"} 9",
        );
        has(
            "agent_target_up",
            "mainstay_agent_target_up{agent=\"site\",tunnel=\"office\",kind=\"tcp\",target=\"b:1\"} 0",
        );
        has("agent_dials_failed_total", "mainstay_agent_dials_failed_total{agent=\"site\"} 3");
    }
}
