//! The status as Prometheus reads it (text format 0.0.4): one prefix, base units, `_total` for counters.

mod agent;
mod cluster;
mod edge;
mod registry;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mainstay_core::election::State;

use crate::status::{Counter, Status};
use crate::words;

/// Samples by family, so that each family's HELP and TYPE come once.
#[derive(Default)]
struct Families {
    all: BTreeMap<String, (&'static str, Vec<String>)>,
}

impl Families {
    fn add(&mut self, name: &str, kind: &'static str, labels: &[(&str, &str)], value: &str) {
        self.sample(name, "", kind, labels, value);
    }

    /// A sample whose name is the family's with something behind it, as histograms have.
    fn sample(&mut self, name: &str, suffix: &str, kind: &'static str, labels: &[(&str, &str)], value: &str) {
        let mut sample = format!("mainstay_{name}{suffix}");
        for (place, (label, text)) in labels.iter().enumerate() {
            let _ = write!(sample, "{}{label}=\"{}\"", if place == 0 { "{" } else { "," }, escape(text));
        }
        if !labels.is_empty() {
            sample.push('}');
        }
        let _ = write!(sample, " {value}");
        self.all.entry(name.to_owned()).or_insert((kind, Vec::new())).1.push(sample);
    }

    fn counter(&mut self, counter: &Counter, about: &[(&str, &str)]) {
        let mut labels = about.to_vec();
        labels.extend(counter.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        self.add(&counter.name, "counter", &labels, &counter.value.to_string());
    }
}

/// Every family that there is, without prefix, and what it means.
const FAMILIES: &[(&str, &str)] = &[
    ("access_log_lines_dropped_total", "Lines of access logs that could not be written in time."),
    ("agent_dials_failed_total", "Dials that came out at no hub."),
    ("agent_dials_total", "Dials to hubs that were begun."),
    ("agent_hubs", "Hubs that the agent knows."),
    ("agent_hubs_met", "Hubs to which the agent has a session."),
    ("agent_places", "Threads of the hub, to each of which the agent wants a session."),
    ("agent_received_bytes_total", "Bytes of streams from hubs."),
    ("agent_refusals_total", "Dials that a hub has sent away."),
    ("agent_rtt_seconds", "The shortest round trip of the sessions to the hub."),
    ("agent_sent_bytes_total", "Bytes of streams to hubs."),
    ("agent_sessions", "Places of the hub to which the agent has a session."),
    ("agent_streams", "Streams that are open."),
    ("agent_streams_total", "Streams so far."),
    ("agent_target_up", "1 while the target answers; a folder is one."),
    ("backend_failures_total", "Requests that failed at the backend."),
    (
        "backend_latency_seconds",
        "Average latency, sensitive to peaks; measured for two-choices, and after failures.",
    ),
    ("backend_load", "Requests under way to the backend."),
    ("backend_requests_total", "Requests that were sent to the backend."),
    ("backend_retries_total", "Requests that came to the backend after another had failed."),
    ("backend_state", "1 for where the backend stands."),
    ("backend_weight", "Weight in force, the operator's when there is one."),
    ("cluster_datagrams_dropped_total", "Datagrams and letters of peers and strangers that came to nothing."),
    ("cluster_list_epoch", "How often the voter list has changed."),
    ("cluster_node_mute_seconds", "How much longer a voter that has just started promises nothing."),
    ("cluster_node_other_list", "1 while the node has another voter list or longest term than ours."),
    ("cluster_node_reachable", "1 while the node is heard."),
    ("cluster_quorum", "1 while a majority of voters answers."),
    ("cluster_send_errors_total", "Times that the kernel refused a datagram to a peer."),
    ("cluster_session_age_seconds", "How old the session with the node is."),
    ("cluster_store_answers", "1 while the last call to a store that votes was answered."),
    ("cluster_store_calls_total", "Calls to a store that votes."),
    ("cluster_store_failures_total", "Those that came to nothing."),
    ("cluster_store_rtt_seconds", "How long the last answer of a store that votes took."),
    ("cluster_term_seconds", "How long a voter promises a right."),
    ("cluster_voters", "How many votes there are."),
    ("cluster_voters_answering", "Voters that answer and count, this node's own among them."),
    ("cluster_voters_needed", "How many voters make a majority."),
    ("cluster_wire_datagrams_total", "Authentic datagrams that came over the wire."),
    ("cluster_wire_duplicates_total", "Those that had come over another wire before."),
    ("cluster_wire_received_bytes_total", "Bytes of authentic datagrams that came over the wire."),
    ("cluster_wire_rtt_seconds", "The last round trip that was measured over the wire."),
    ("cluster_wire_up", "1 while the wire carries."),
    ("degraded", "Things that are wrong but not fatal; 0 means healthy."),
    ("gate_repairs_total", "How often somebody tore the gate out and it was put back."),
    ("gost_plugin_calls", "Calls that are under way with one of gost's plugins."),
    ("gost_plugin_calls_total", "Calls to one of gost's plugins by result: answered, failed."),
    ("gost_plugin_up", "1 while the plugin of gost's answers."),
    (
        "gost_refused_total",
        "Clients and visitors of gost's that were refused, or broke off for what they sent, by reason.",
    ),
    ("gost_sessions", "Sessions of gost's clients."),
    ("hub_peer_connections", "Connections that are open to agents of another hub, or of it to ours."),
    ("hub_peer_connections_total", "Connections to agents of another hub, or of it to ours."),
    ("hub_peer_incoming", "Sessions that another hub has with this one."),
    ("hub_peer_received_bytes_total", "Bytes from another hub."),
    ("hub_peer_rtt_seconds", "The longest round trip of the sessions with another hub."),
    ("hub_peer_sent_bytes_total", "Bytes to another hub."),
    ("hub_peer_sessions", "Threads of this hub that have a session with another."),
    ("hub_peer_tunnels", "Tunnels of this hub that another has agents of."),
    ("hub_quic_connections_total", "Connections of agents and visitors by QUIC."),
    (
        "hub_quic_datagrams_handed_over_total",
        "Datagrams that came in at another thread's socket than that of their connection, and were handed over.",
    ),
    (
        "hub_quic_datagrams_taken_over_total",
        "Datagrams that were handed over to the thread of their connection.",
    ),
    ("hub_quic_datagrams_total", "Datagrams that came in at sockets for QUIC."),
    ("hub_quic_handshakes_failed_total", "Handshakes by QUIC that came to nothing."),
    ("hub_quic_refused_total", "Callers by QUIC that were turned away before their handshake."),
    ("hub_quic_retries_total", "Callers by QUIC that had to show their address first."),
    ("info", "Version of the running program."),
    ("isolated", "1 while neither a peer nor a reference is heard."),
    ("isolated_seconds", "For how long that has been so."),
    ("lease_acquired_total", "Times that the right came to this node."),
    ("lease_epoch", "The highest epoch of the right that is known here."),
    ("lease_held", "1 while the right is this node's."),
    ("lease_left_seconds", "Until this node's right ends, unless it is renewed."),
    ("lease_refused_total", "Requests of this node that a majority did not grant."),
    ("lease_unrenewed_total", "Times that the right ended here because no majority renewed it."),
    ("lease_voters_granting", "Voters that have promised the right to this node."),
    ("listener_connections", "Connections that are open."),
    ("listener_connections_total", "Connections that were accepted."),
    ("listener_handshakes_failed_total", "Handshakes of TLS and of the PROXY header that failed."),
    ("listener_received_bytes_total", "Bytes from clients."),
    ("listener_refused_total", "Requests that were refused before they had a route."),
    ("listener_requests_total", "Requests by class of their status; none got no answer."),
    ("listener_sent_bytes_total", "Bytes to clients."),
    ("lock_state", "1 for how the lock stands with this node."),
    ("lock_usable", "0 while the lock can't be read or written though it is wanted."),
    ("log_lines_dropped_total", "Log lines that nobody read in time."),
    ("messages_dropped_total", "Messages of the vip worker that the supervisor did not read in time."),
    ("notify_failures_total", "Notify commands, webhooks and mails that failed for good."),
    ("open_tunnel_agents", "Those who offer tunnels that no file names, of the first 1,000 tunnels."),
    ("open_tunnel_connections", "Their open connections, of the first 1,000 tunnels."),
    ("open_tunnels", "Tunnels that no file names."),
    ("probe_checks_total", "Checks by result."),
    ("probe_duration_seconds", "How long the last check took."),
    ("probe_restarts_total", "Attempts to revive the service."),
    ("probe_state", "1 for the verdict that the probe has."),
    ("probe_up", "1 while the probe's verdict is up."),
    ("reference_answers_refused_total", "Packets that looked like pings' answers and did not count."),
    ("registry_answers", "1 while the store answers in which hubs find each other."),
    ("registry_calls_total", "Calls to it."),
    ("registry_failures_total", "Those that came to nothing."),
    ("registry_hubs", "Other hubs that are known from it."),
    ("registry_lost_total", "How often it has lost this hub's record before its time."),
    ("registry_own_stands", "1 while this hub's record stands there."),
    ("registry_rtt_seconds", "How long its last answer took."),
    ("registry_unreadable", "Records there that no hub would write."),
    ("reload_failures_total", "Reloads that were refused."),
    ("reloads_total", "Reloads that came into force."),
    ("route_received_bytes_total", "Bytes from clients."),
    (
        "route_request_duration_seconds",
        "Histogram of the time from a request's first byte to the end of its response.",
    ),
    ("route_requests_total", "Requests by class of their status; none got no answer."),
    ("route_retries_total", "Further backends that were asked for requests."),
    ("route_sent_bytes_total", "Bytes to clients."),
    ("send_errors_total", "Times that the kernel refused adverts or announcements."),
    ("tunnel_agent_load", "Connections that the agent's targets have through all hubs, as it last said."),
    ("tunnel_agent_sessions", "Places of this hub to which the agent has a session."),
    ("tunnel_agent_up", "1 while the agent says that its target answers."),
    ("tunnel_connections", "Connections to the agent's target that are open."),
    ("tunnel_connections_total", "Connections to the agent's target."),
    ("tunnel_places", "Threads of this hub, each of which wants a session of every agent."),
    ("tunnel_received_bytes_total", "Bytes from the agent's target."),
    ("tunnel_rtt_seconds", "The longest round trip of the agent's sessions."),
    ("tunnel_sent_bytes_total", "Bytes to the agent's target."),
    ("tunnel_visitor_connections", "Connections of the visitor to a private tunnel that are open."),
    ("tunnel_visitor_connections_total", "Connections of the visitor's present sessions."),
    ("tunnel_visitor_received_bytes_total", "Bytes from the visitor, over its present sessions."),
    ("tunnel_visitor_sent_bytes_total", "Bytes to the visitor, over its present sessions."),
    ("tunnel_visitor_sessions", "Sessions of the visitor with this hub."),
    ("upgrades_total", "Programs that took over from their predecessor."),
    ("uptime_seconds", "Seconds since the supervisor started."),
    ("vip_addresses_put_back_total", "Addresses that somebody else removed and that were put back."),
    ("vip_adverts_total", "Adverts by result: sent, received, or the reason of their rejection."),
    ("vip_announcements_total", "Bursts of gratuitous ARP or neighbour advertisements."),
    ("vip_claims_late_total", "Claims that came from before a hand-off, and are no conflict."),
    ("vip_claims_own_total", "Claims of another interface of this host."),
    ("vip_conflict", "1 while somebody else claims the vip's address."),
    ("vip_conflict_episodes_total", "Conflicts over the vip's address that began."),
    ("vip_conflicts_total", "Frames and adverts of others that claim the vip's address."),
    ("vip_epoch", "Acquisitions of the vip by this node."),
    ("vip_gate_arms_total", "Times that the gate's deadline was moved on."),
    ("vip_gate_window_seconds", "The kernel stops answering this long after the last sign of life."),
    ("vip_guard_info", "Grade of the promise, how strong it is, and the gate in use."),
    ("vip_holder", "1 while this node holds the vip."),
    ("vip_late_total", "Times that the vip was given up because this node ran late."),
    ("vip_outage_seconds_total", "Seconds in which nobody was known to hold the vip."),
    ("vip_priority", "Priority in force, after weights."),
    ("vip_reference_up", "1 while a reference address of the vip answers this node."),
    ("vip_since_seconds", "Unix time of the last change of state."),
    ("vip_state", "1 for the state that the vip has on this node."),
    ("vip_transitions_total", "Changes of state by new state and reason."),
    ("vip_usable", "0 while another node holds the vip and the probe cannot use it from here."),
    ("vip_verdicts_put_off_total", "Times that peers were not judged because this node ran late."),
    ("vrrp_strays_total", "Adverts that belong to no vip, by reason."),
    ("worker_restarts_total", "How often a worker of the role had to be started again."),
    ("worker_up", "Processes of the role that run."),
];

/// What a family means.
fn help(name: &str) -> &'static str {
    let found = FAMILIES.iter().find(|(family, _)| *family == name);
    debug_assert!(found.is_some(), "{name} is not in the table of families");
    found.map_or("A counter of another version.", |(_, help)| help)
}

/// The whole page.
pub(super) fn render(status: &Status) -> String {
    let mut families = Families::default();
    families.add("info", "gauge", &[("version", &status.version), ("node", &status.node)], "1");
    families.add("uptime_seconds", "gauge", &[], &status.uptime_s.to_string());
    families.add("degraded", "gauge", &[], &status.degraded.len().to_string());
    status.counters.iter().for_each(|c| families.counter(c, &[]));
    vips(&mut families, status);
    probes(&mut families, status);
    cluster::add(&mut families, status);
    registry::add(&mut families, status);
    arbitration(&mut families, status);
    edge::add(&mut families, status);
    agent::add(&mut families, status);
    workers(&mut families, status);
    let mut out = String::new();
    for (name, (kind, samples)) in families.all {
        let _ = writeln!(out, "# HELP mainstay_{name} {}\n# TYPE mainstay_{name} {kind}", help(&name));
        samples.iter().for_each(|s| {
            let _ = writeln!(out, "{s}");
        });
    }
    out
}

fn vips(families: &mut Families, status: &Status) {
    for seen in &status.through {
        let labels = [("vip", seen.vip.as_str()), ("probe", seen.probe.as_str())];
        families.add("vip_usable", "gauge", &labels, if seen.unusable.is_some() { "0" } else { "1" });
    }
    for vip in &status.vips {
        let name = [("vip", vip.name.as_str())];
        let flag = |on: bool| if on { "1" } else { "0" };
        families.add("vip_holder", "gauge", &name, flag(vip.state == State::Active));
        families.add("vip_conflict", "gauge", &name, flag(vip.conflict.is_some()));
        for state in [State::Active, State::Backup, State::Fault] {
            let labels = [name[0], ("state", words::state(state))];
            families.add("vip_state", "gauge", &labels, flag(vip.state == state));
        }
        families.add("vip_priority", "gauge", &name, &vip.effective_priority.to_string());
        families.add("vip_epoch", "gauge", &name, &vip.epoch.to_string());
        families.add("vip_since_seconds", "gauge", &name, &seconds(vip.since_ms));
        families.add("vip_outage_seconds_total", "counter", &name, &format!("{:.3}", vip.outage_s));
        families.add("vip_gate_window_seconds", "gauge", &name, &seconds(vip.guard.window_ms));
        let strength = vip.guard.promise.split(':').next().unwrap_or_default();
        let (grade, gate) = (vip.guard.grade.as_str(), vip.guard.gate.as_str());
        let guard = [name[0], ("grade", grade), ("promise", strength), ("gate", gate)];
        families.add("vip_guard_info", "gauge", &guard, "1");
        for counter in vip.transitions.iter().chain(&vip.adverts).chain(&vip.counters) {
            families.counter(counter, &name);
        }
    }
}

/// References, the lock and isolation.
fn arbitration(families: &mut Families, status: &Status) {
    let flag = |on: bool| if on { "1" } else { "0" };
    for vip in &status.vips {
        if let Some(reference) = &vip.reference {
            let name = [("vip", vip.name.as_str())];
            families.add("vip_reference_up", "gauge", &name, flag(reference.answers == Some(true)));
        }
    }
    let Some(of) = &status.arbitration else { return };
    families.add("isolated", "gauge", &[], flag(of.isolated_s.is_some()));
    families.add("isolated_seconds", "gauge", &[], &format!("{:.3}", of.isolated_s.unwrap_or_default()));
    if let Some(lock) = &of.lock {
        for state in ["idle", "wanted", "owned"] {
            families.add("lock_state", "gauge", &[("state", state)], flag(lock.state == state));
        }
        families.add("lock_usable", "gauge", &[], flag(lock.trouble.is_none()));
    }
}

/// Several processes may share a role: what is said is their sum.
fn workers(families: &mut Families, status: &Status) {
    let mut roles: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for worker in &status.workers {
        let (running, restarts) = roles.entry(&worker.role).or_default();
        *running += u64::from(worker.pid.is_some());
        *restarts += worker.restarts;
    }
    for (role, (running, restarts)) in roles {
        families.add("worker_up", "gauge", &[("role", role)], &running.to_string());
        families.add("worker_restarts_total", "counter", &[("role", role)], &restarts.to_string());
    }
}

fn probes(families: &mut Families, status: &Status) {
    use mainstay_core::election::Verdict::{Down, Pending, Unknown, Up};
    for probe in &status.probes {
        let name = [("probe", probe.name.as_str())];
        families.add("probe_up", "gauge", &name, if probe.verdict == Up { "1" } else { "0" });
        for verdict in [Pending, Up, Down, Unknown] {
            let labels = [name[0], ("state", words::verdict(verdict))];
            families.add("probe_state", "gauge", &labels, if probe.verdict == verdict { "1" } else { "0" });
        }
        families.add(
            "probe_checks_total",
            "counter",
            &[name[0], ("result", "passed")],
            &probe.passed.to_string(),
        );
        families.add(
            "probe_checks_total",
            "counter",
            &[name[0], ("result", "failed")],
            &probe.failed.to_string(),
        );
        families.add("probe_restarts_total", "counter", &name, &probe.restarts.to_string());
        families.add("probe_duration_seconds", "gauge", &name, &format!("{:.6}", probe.took_ms / 1000.0));
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Backslash, quote and line feed, as the format asks.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_described_once_and_labels_are_escaped() {
        let mut status = Status::empty("a\"b");
        status.workers = ["vip", "exec"]
            .map(|role| crate::status::WorkerStatus { role: role.into(), pid: Some(1), restarts: 0 })
            .into();
        let page = render(&status);
        assert_eq!(page.matches("# TYPE mainstay_worker_up gauge").count(), 1);
        assert!(page.contains("mainstay_worker_up{role=\"exec\"} 1"), "{page}");
        assert!(page.contains(r#"node="a\"b""#), "{page}");
    }
    #[test]
    fn the_page_about_metrics_lists_every_family_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `mainstay_")?.split('`').next());
        let families = FAMILIES.iter().map(|(name, _)| *name);
        assert_eq!(rows.collect::<Vec<_>>(), families.collect::<Vec<_>>());
    }

    #[test]
    fn the_alerts_ask_for_families_that_exist() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let alerts: Vec<&str> = page
            .lines()
            .filter(|line| line.trim_start().starts_with("expr:"))
            .flat_map(|line| line.split("mainstay_").skip(1))
            .filter_map(|rest| rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next())
            .collect();
        assert!(alerts.len() >= 4);
        for name in alerts {
            assert!(FAMILIES.iter().any(|(family, _)| *family == name), "{name}");
        }
    }
}
