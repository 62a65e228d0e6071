//! Listeners, routes and backends as Prometheus reads them.

use mainstay_proxy::metrics::{BUCKETS, RequestCounts, RouteCounts};
use mainstay_proxy::pool::Standing;

use super::Families;
use crate::status::{BackendShown, HubStatus, Status, TunnelStatus};
use crate::words;

/// Classes of statuses, in the order in which they are counted.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

const STANDINGS: [Standing; 8] = [
    Standing::Up,
    Standing::Rising,
    Standing::Full,
    Standing::Trial,
    Standing::Aside,
    Standing::Drained,
    Standing::Down,
    Standing::Unresolved,
];

pub(super) fn add(families: &mut Families, status: &Status) {
    for listener in &status.listeners {
        let counts = &listener.counts;
        let name = [("listener", counts.name.as_str())];
        families.add("listener_connections", "gauge", &name, &listener.open.to_string());
        families.add("listener_connections_total", "counter", &name, &counts.accepted.to_string());
        requests(families, "listener", name[0], &counts.requests);
        for (reason, count) in &counts.refused {
            if let Some(reason) = reason.strip_prefix("gost:") {
                let labels = [name[0], ("reason", reason)];
                families.add("gost_refused_total", "counter", &labels, &count.to_string());
            }
        }
        for (family, counted) in [
            ("listener_refused_total", &counts.refused),
            ("listener_handshakes_failed_total", &counts.handshakes_failed),
        ] {
            for (reason, count) in counted {
                families.add(family, "counter", &[name[0], ("reason", reason)], &count.to_string());
            }
        }
    }
    status.routes.iter().for_each(|counts| route(families, counts));
    let backends = status.pools.iter().flat_map(|pool| &pool.backends);
    backends.for_each(|shown| backend(families, shown));
    status.tunnels.iter().filter(|shown| !shown.open).for_each(|shown| tunnel(families, shown));
    open_tunnels(families, status);
    for shown in status.hubs.iter().filter(|shown| !shown.hub.is_empty()) {
        match shown.failed {
            Some(failed) => plugin(families, shown, failed),
            None => hub(families, shown),
        }
    }
}

/// One of gost's plugins, over all threads.
fn plugin(families: &mut Families, plugin: &HubStatus, failed: u64) {
    let name = [("plugin", plugin.hub.trim_end_matches(" plugin"))];
    let answered = plugin.opened.saturating_sub(failed + plugin.streams);
    for (result, count) in [("answered", answered), ("failed", failed)] {
        let labels = [name[0], ("result", result)];
        families.add("gost_plugin_calls_total", "counter", &labels, &count.to_string());
    }
    families.add("gost_plugin_calls", "gauge", &name, &plugin.streams.to_string());
    let up = if plugin.trouble.is_none() { "1" } else { "0" };
    families.add("gost_plugin_up", "gauge", &name, up);
}

fn hub(families: &mut Families, hub: &HubStatus) {
    let labels = [("hub", hub.hub.as_str())];
    families.add("hub_peer_sessions", "gauge", &labels, &hub.sessions.to_string());
    families.add("hub_peer_incoming", "gauge", &labels, &hub.incoming.to_string());
    families.add("hub_peer_tunnels", "gauge", &labels, &hub.tunnels.len().to_string());
    families.add("hub_peer_rtt_seconds", "gauge", &labels, &format!("{:.6}", hub.rtt_ms / 1000.0));
    families.add("hub_peer_connections", "gauge", &labels, &hub.streams.to_string());
    families.add("hub_peer_connections_total", "counter", &labels, &hub.opened.to_string());
    families.add("hub_peer_sent_bytes_total", "counter", &labels, &hub.sent.to_string());
    families.add("hub_peer_received_bytes_total", "counter", &labels, &hub.received.to_string());
}

/// Tunnels that the file does not name: however many there are, they are one row.
fn open_tunnels(families: &mut Families, status: &Status) {
    let tunnels = status.tunnels.iter().filter(|shown| shown.open);
    let agents = || tunnels.clone().flat_map(|shown| &shown.agents);
    families.add("open_tunnels", "gauge", &[], &status.open_tunnels.to_string());
    families.add("open_tunnel_agents", "gauge", &[], &agents().count().to_string());
    let streams: u64 = agents().map(|agent| agent.streams).sum();
    families.add("open_tunnel_connections", "gauge", &[], &streams.to_string());
}

fn tunnel(families: &mut Families, tunnel: &TunnelStatus) {
    let clients = tunnel.agents.iter().filter(|agent| agent.carrier.starts_with("gost+"));
    let clients: usize = clients.map(|agent| agent.places.len()).sum();
    if clients > 0 {
        families.add("gost_sessions", "gauge", &[("tunnel", tunnel.id.as_str())], &clients.to_string());
    }
    for agent in &tunnel.agents {
        let kind = if agent.udp { "udp" } else { "tcp" };
        let labels = [("tunnel", tunnel.id.as_str()), ("agent", &agent.agent), ("kind", kind)];
        let up = if agent.trouble.is_none() { "1" } else { "0" };
        families.add("tunnel_agent_load", "gauge", &labels, &agent.load.to_string());
        families.add("tunnel_agent_sessions", "gauge", &labels, &agent.places.len().to_string());
        families.add("tunnel_agent_up", "gauge", &labels, up);
        families.add("tunnel_connections", "gauge", &labels, &agent.streams.to_string());
        families.add("tunnel_connections_total", "counter", &labels, &agent.opened.to_string());
        families.add("tunnel_received_bytes_total", "counter", &labels, &agent.received.to_string());
        families.add("tunnel_rtt_seconds", "gauge", &labels, &format!("{:.6}", agent.rtt_ms / 1000.0));
        families.add("tunnel_sent_bytes_total", "counter", &labels, &agent.sent.to_string());
    }
    for visitor in &tunnel.visitors {
        let kind = if visitor.udp { "udp" } else { "tcp" };
        let host = visitor.from.rsplit_once(':').map_or("", |(host, _)| host);
        let labels =
            [("tunnel", tunnel.id.as_str()), ("visitor", &visitor.visitor), ("from", host), ("kind", kind)];
        families.add("tunnel_visitor_sessions", "gauge", &labels, &visitor.sessions.to_string());
        families.add("tunnel_visitor_connections", "gauge", &labels, &visitor.streams.to_string());
        families.add("tunnel_visitor_connections_total", "counter", &labels, &visitor.opened.to_string());
        families.add(
            "tunnel_visitor_received_bytes_total",
            "counter",
            &labels,
            &visitor.received.to_string(),
        );
        families.add("tunnel_visitor_sent_bytes_total", "counter", &labels, &visitor.sent.to_string());
    }
    let places = tunnel.places.to_string();
    families.add("tunnel_places", "gauge", &[("tunnel", &tunnel.id)], &places);
}

fn requests(families: &mut Families, kind: &str, name: (&str, &str), counts: &RequestCounts) {
    for (class, count) in CLASSES.iter().zip(&counts.classes) {
        families.add(
            &format!("{kind}_requests_total"),
            "counter",
            &[name, ("class", class)],
            &count.to_string(),
        );
    }
    families.add(&format!("{kind}_received_bytes_total"), "counter", &[name], &counts.received.to_string());
    families.add(&format!("{kind}_sent_bytes_total"), "counter", &[name], &counts.sent.to_string());
}

fn route(families: &mut Families, counts: &RouteCounts) {
    let name = ("route", counts.name.as_str());
    requests(families, "route", name, &counts.requests);
    families.add("route_retries_total", "counter", &[name], &counts.retries.to_string());
    let family = "route_request_duration_seconds";
    let mut below = 0;
    for (bound, count) in BUCKETS.iter().zip(counts.buckets.iter().chain(std::iter::repeat(&0))) {
        below += count;
        families.sample(
            family,
            "_bucket",
            "histogram",
            &[name, ("le", &seconds(*bound))],
            &below.to_string(),
        );
    }
    let all: u64 = counts.buckets.iter().sum();
    families.sample(family, "_bucket", "histogram", &[name, ("le", "+Inf")], &all.to_string());
    families.sample(family, "_sum", "histogram", &[name], &seconds(counts.micros));
    families.sample(family, "_count", "histogram", &[name], &all.to_string());
}

fn backend(families: &mut Families, shown: &BackendShown) {
    let seen = &shown.seen;
    let name = [("pool", &*seen.pool), ("backend", &*seen.backend), ("address", &*seen.address)];
    for standing in STANDINGS {
        let labels = [name[0], name[1], name[2], ("state", words::standing_of(standing))];
        families.add("backend_state", "gauge", &labels, if seen.state == standing { "1" } else { "0" });
    }
    families.add("backend_weight", "gauge", &name, &seen.weight.to_string());
    families.add("backend_load", "gauge", &name, &seen.load.to_string());
    families.add("backend_latency_seconds", "gauge", &name, &format!("{:.6}", seen.latency_ms / 1000.0));
    families.add("backend_requests_total", "counter", &name, &seen.requests.to_string());
    families.add("backend_failures_total", "counter", &name, &seen.failures.to_string());
    families.add("backend_retries_total", "counter", &name, &seen.retries.to_string());
}

/// Microseconds in the unit of the page, without zeros that say nothing.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let mut buckets = vec![0; BUCKETS.len() + 1];
        (buckets[0], buckets[2], buckets[13]) = (5, 2, 1);
        let mut families = Families::default();
        let name = "api".to_owned();
        route(&mut families, &RouteCounts { name, buckets, micros: 2_500_000, ..RouteCounts::default() });
        let (_, samples) = &families.all["route_request_duration_seconds"];
        let has = |text: &str| assert!(samples.iter().any(|s| s == text), "{text}: {samples:?}");
        has("mainstay_route_request_duration_seconds_bucket{route=\"api\",le=\"0.001\"} 5");
        has("mainstay_route_request_duration_seconds_bucket{route=\"api\",le=\"0.005\"} 7");
        has("mainstay_route_request_duration_seconds_bucket{route=\"api\",le=\"10\"} 7");
        has("mainstay_route_request_duration_seconds_bucket{route=\"api\",le=\"+Inf\"} 8");
        has("mainstay_route_request_duration_seconds_sum{route=\"api\"} 2.5");
        has("mainstay_route_request_duration_seconds_count{route=\"api\"} 8");
    }
}
