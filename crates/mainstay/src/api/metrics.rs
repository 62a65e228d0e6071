//! The status as Prometheus reads it (text format 0.0.4): one prefix, base units, `_total` for counters.

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
        let mut sample = format!("mainstay_{name}");
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

/// What a family means.
fn help(name: &str) -> &'static str {
    match name {
        "info" => "Version of the running program.",
        "uptime_seconds" => "Seconds since the supervisor started.",
        "degraded" => "Things that are wrong but not fatal; 0 means healthy.",
        "vip_holder" => "1 while this node holds the vip.",
        "vip_state" => "1 for the state that the vip has on this node.",
        "vip_priority" => "Priority in force, after weights.",
        "vip_epoch" => "Acquisitions of the vip by this node.",
        "vip_since_seconds" => "Unix time of the last change of state.",
        "vip_transitions_total" => "Changes of state by new state and reason.",
        "vip_adverts_total" => "Adverts by result: sent, received, or the reason of their rejection.",
        "vip_outage_seconds_total" => "Seconds in which nobody was known to hold the vip.",
        "vip_gate_window_seconds" => "The kernel stops answering this long after the last sign of life.",
        "vip_guard_info" => "Grade of the promise and the gate in use.",
        "probe_up" => "1 while the probe's verdict is up.",
        "probe_state" => "1 for the verdict that the probe has.",
        "probe_checks_total" => "Checks by result.",
        "probe_restarts_total" => "Attempts to revive the service.",
        "probe_duration_seconds" => "How long the last check took.",
        "worker_up" => "Processes of the role that run.",
        "worker_restarts_total" => "How often a worker of the role had to be started again.",
        "vip_announcements_total" => "Gratuitous ARPs and unsolicited neighbour advertisements sent.",
        "vip_gate_arms_total" => "Times the gate was armed.",
        "vip_conflicts_total" => "Times somebody else claimed an address that was held here.",
        "vip_late_total" => "Times the vip was given up because this node woke after its gate had closed.",
        "vip_verdicts_put_off_total" => {
            "Verdicts on a silent active node put off because this node was late itself."
        }
        "vip_addresses_put_back_total" => "Addresses put back after somebody removed them.",
        "gate_repairs_total" => "Times the gate was put back after somebody removed it.",
        "send_errors_total" => "Batches of adverts or announcements that the kernel refused to send.",
        "notify_failures_total" => "Notify commands that failed.",
        "messages_dropped_total" => "Messages to the supervisor dropped because it did not read.",
        "log_lines_dropped_total" => "Log lines dropped because nobody took them in time.",
        "vrrp_strays_total" => "VRRP packets that belong to no vip of this node, by reason.",
        "reloads_total" => "Reloads that were put in force.",
        "reload_failures_total" => "Reloads that were refused.",
        _ => "See the reference.",
    }
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
    for vip in &status.vips {
        let name = [("vip", vip.name.as_str())];
        let flag = |on: bool| if on { "1" } else { "0" };
        families.add("vip_holder", "gauge", &name, flag(vip.state == State::Active));
        for state in [State::Active, State::Backup, State::Fault] {
            let labels = [name[0], ("state", words::state(state))];
            families.add("vip_state", "gauge", &labels, flag(vip.state == state));
        }
        families.add("vip_priority", "gauge", &name, &vip.effective_priority.to_string());
        families.add("vip_epoch", "gauge", &name, &vip.epoch.to_string());
        families.add("vip_since_seconds", "gauge", &name, &seconds(vip.since_ms));
        families.add("vip_outage_seconds_total", "counter", &name, &format!("{:.3}", vip.outage_s));
        families.add("vip_gate_window_seconds", "gauge", &name, &seconds(vip.guard.window_ms));
        let guard = [name[0], ("grade", vip.guard.grade.as_str()), ("gate", vip.guard.gate.as_str())];
        families.add("vip_guard_info", "gauge", &guard, "1");
        for counter in vip.transitions.iter().chain(&vip.adverts).chain(&vip.counters) {
            families.counter(counter, &name);
        }
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
}
