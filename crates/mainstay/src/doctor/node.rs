//! What the running node says of itself, and whether it runs the configuration that is being looked at.

use std::time::Duration;

use mainstay_config::plan::Plan;
use mainstay_core::vrrp::Version;

use super::analyse::Case;
use super::finding::Finding;
use super::observed::{Daemon, Observed};
use crate::words;

/// The node as a whole.
pub(super) fn judge(plan: &Plan, seen: &Observed) -> Vec<Finding> {
    let mut found: Vec<Finding> = seen
        .blind
        .iter()
        .map(|what| Finding::hint(what.clone(), "the findings below do without it"))
        .collect();
    let status = match &seen.daemon {
        Daemon::Absent => {
            let todo = "start it (systemctl start mainstay) or name its --runtime-dir; the wire is looked at all the same";
            found.push(Finding::hint("no node runs here", todo));
            return found;
        }
        Daemon::Dumb(why) => {
            found.push(Finding::wrong(
                format!("the running node cannot be asked: {why}"),
                "systemctl restart mainstay",
            ));
            return found;
        }
        Daemon::Runs(both) => &both.1,
    };
    if status.node != plan.node {
        let says =
            format!("the running node is {}, this configuration is that of {}", status.node, plan.node);
        found.push(Finding::wrong(says, "give --config the file that the node runs"));
    }
    let degraded = status
        .degraded
        .iter()
        .map(|what| Finding::wrong(what.clone(), "mainstay status and mainstay events say more"));
    found.extend(degraded);
    for worker in status.workers.iter().filter(|w| w.pid.is_none()) {
        let says = format!("worker {} does not run", worker.role);
        found.push(Finding::wrong(says, "the journal of mainstay says why it dies"));
    }
    let gone = status.vips.iter().filter(|v| !plan.vips.iter().any(|p| p.spec.name == v.name));
    found.extend(gone.map(|v| {
        Finding::wrong(
            format!("the running node has a vip {}, this configuration does not", v.name),
            "mainstay reload",
        )
    }));
    if found.is_empty() {
        found.push(Finding::good(format!("node {} runs and is well", status.node)));
    }
    found
}

/// One vip as the node has it.
pub(super) fn vip(case: &Case<'_>) -> Vec<Finding> {
    let Daemon::Runs(_) = case.seen.daemon else { return Vec::new() };
    let Some((_, is)) = case.status() else {
        let says = "the running node does not know this vip";
        return vec![Finding::wrong(says, "mainstay reload")];
    };
    let spec = &case.vip.spec;
    let version = match spec.version {
        Version::V2 => 2,
        Version::V3 => 3,
    };
    let mut changed = Vec::new();
    let mut compare = |what: &str, running: String, file: String| {
        if running != file {
            changed.push(format!("{what} {running} instead of {file}"));
        }
    };
    compare("interface", is.interface.clone(), case.interface.to_owned());
    compare("vrid", is.vrid.to_string(), spec.vrid.to_string());
    compare("version", is.vrrp.to_string(), version.to_string());
    compare("priority", is.priority.to_string(), spec.priority.to_string());
    let span = super::observed::span;
    compare("advert", span(Duration::from_millis(is.advert_ms)), span(spec.advert));
    let mut found = Vec::new();
    if !changed.is_empty() {
        let says = format!("the running node still has {}", changed.join(", "));
        found.push(Finding::wrong(says, "mainstay reload"));
    }
    let state = format!("this node is {}: {}", words::standing(is.state), is.why);
    let says = if is.guard.gate == "nft" {
        Finding::hint(state, "its gate is nft, not tc-ebpf: relative deadlines, see docs/concepts.md")
    } else {
        Finding::good(state)
    };
    found.push(says);
    found
}
