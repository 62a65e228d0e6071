//! How states, verdicts and reasons are said to people and to machines.

use mainstay_config::plan::Plan;
use mainstay_core::election::{Reason, State, Verdict};

/// The word for a state.
#[must_use]
pub const fn state(state: State) -> &'static str {
    match state {
        State::Fault => "fault",
        State::Backup => "backup",
        State::Active => "active",
    }
}

/// A state within a sentence: `vip front is ...`.
#[must_use]
pub const fn standing(state: State) -> &'static str {
    match state {
        State::Fault => "in fault",
        State::Backup => "backup",
        State::Active => "active",
    }
}

/// The word for a verdict.
#[must_use]
pub const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pending => "pending",
        Verdict::Up => "up",
        Verdict::Down => "down",
        Verdict::Unknown => "unknown",
    }
}

/// A reason as a machine-readable word, for metrics and variables.
#[must_use]
pub const fn reason_kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Started => "started",
        Reason::Owner => "owner",
        Reason::Silence { .. } => "silence",
        Reason::Resigned { .. } => "resigned",
        Reason::Preempting { .. } => "preempting",
        Reason::Outranked { .. } => "outranked",
        Reason::Group { .. } => "group",
        Reason::LinkDown => "link-down",
        Reason::Recovered => "recovered",
        Reason::ProbeDown { .. } => "probe-down",
        Reason::ProbePending { .. } => "probe-pending",
        Reason::ServiceFailed => "service-failed",
        Reason::Late { .. } => "late",
        Reason::Granted { .. } => "granted",
        Reason::Unrenewed => "unrenewed",
        Reason::Superseded { .. } => "superseded",
        Reason::HandedOver { .. } => "handed-over",
        Reason::NoGate => "no-gate",
        Reason::NoReference => "no-reference",
        Reason::Isolated => "isolated",
        Reason::NoLock => "no-lock",
        Reason::HeldByPeer => "held-by-peer",
        Reason::Moved => "moved",
        Reason::Drained => "drained",
        Reason::Stopping => "stopping",
        Reason::Reloaded => "reloaded",
    }
}

/// A reason as a sentence for people.
#[must_use]
pub fn why(reason: &Reason, plan: &Plan) -> String {
    let probe = |id: u32| plan.probes.get(id as usize).map_or("(removed)", |p| p.name.as_str());
    match reason {
        Reason::Started => "a node starts as backup".into(),
        Reason::Owner => "this node owns the address (priority 255)".into(),
        Reason::Silence { last: Some(last) } => format!("{last}, which was active, has fallen silent"),
        Reason::Silence { last: None } => "nobody was heard".into(),
        Reason::Resigned { peer } => format!("{peer} gave it up"),
        Reason::Preempting { peer, theirs, ours } => {
            format!("our priority {ours} is higher than the {theirs} of {peer}, which was active")
        }
        Reason::Outranked { peer, theirs, ours } => {
            format!("{peer} is active with priority {theirs}, ours is {ours}")
        }
        Reason::Group { vip } => format!("it goes with vip {vip} of the same group"),
        Reason::LinkDown => {
            "its interface is missing, down, without carrier or without an address of its own".into()
        }
        Reason::Recovered => "what was wrong has been put right".into(),
        Reason::ProbeDown { probe: id } => format!("probe {}, which it requires, is down", probe(*id)),
        Reason::ProbePending { probe: id } => {
            format!("probe {}, which it requires, has no result yet", probe(*id))
        }
        Reason::ServiceFailed => "what it owns could not be started, or died".into(),
        Reason::Late { nanos } => {
            format!(
                "this node was frozen or starved: its hold had ended {} ms before it woke",
                nanos / 1_000_000
            )
        }
        Reason::Granted { epoch } if strict(plan) => format!("both nodes agreed (epoch {epoch})"),
        Reason::Granted { epoch } => format!("a majority of voters granted it (epoch {epoch})"),
        Reason::Unrenewed if strict(plan) => "the other node did not agree in time".into(),
        Reason::Unrenewed => "no majority of voters renewed it in time".into(),
        Reason::Superseded { epoch } => {
            format!("another node was granted it under the higher epoch {epoch}")
        }
        Reason::HandedOver { .. } => "it was handed to a node whose priority is higher".into(),
        Reason::NoGate => {
            "there is no gate: if this node froze, nothing would stop it from answering for the address"
                .into()
        }
        Reason::NoReference => "no reference address answers this node".into(),
        Reason::Isolated => "this node hears neither a peer nor a reference".into(),
        Reason::NoLock => "its peers are silent, and this node does not have the lock".into(),
        Reason::HeldByPeer => "a peer that is heard over another wire says that it holds it".into(),
        Reason::Moved => "an operator moved it".into(),
        Reason::Drained => "an operator drained it".into(),
        Reason::Stopping => "the daemon stops".into(),
        Reason::Reloaded => "a reload changed it".into(),
    }
}

/// A vip, pool or tunnel that is asked for and isn't here.
#[must_use]
pub fn unknown(kind: &str, name: &str, known: &[impl AsRef<str>]) -> String {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    if known.is_empty() {
        return format!("no {kind} is called \"{name}\": this node has no {kind}s");
    }
    format!("no {kind} is called \"{name}\"; there are: {}", known.join(", "))
}

/// Whether two nodes agree, and nobody is outvoted.
fn strict(plan: &Plan) -> bool {
    plan.cluster.as_ref().is_some_and(|cluster| cluster.strict)
}

/// A backend's standing, as tables, events and metrics write it.
#[must_use]
pub const fn standing_of(state: mainstay_proxy::pool::Standing) -> &'static str {
    use mainstay_proxy::pool::Standing;
    match state {
        Standing::Up => "up",
        Standing::Rising => "rising",
        Standing::Full => "full",
        Standing::Trial => "trial",
        Standing::Aside => "aside",
        Standing::Drained => "drained",
        Standing::Down => "down",
        Standing::Unresolved => "unresolved",
    }
}

/// What a listener speaks.
#[must_use]
pub const fn protocol(protocol: mainstay_config::plan::edge::Protocol) -> &'static str {
    use mainstay_config::plan::edge::Protocol;
    match protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Passthrough => "passthrough",
        Protocol::Hub => "hub",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_told_with_what_there_is_or_that_there_is_nothing() {
        assert_eq!(
            unknown("vip", "frnt", &["front", "back"]),
            "no vip is called \"frnt\"; there are: front, back"
        );
        let none: [&str; 0] = [];
        assert_eq!(unknown("vip", "front", &none), "no vip is called \"front\": this node has no vips");
    }
}
