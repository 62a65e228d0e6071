//! What a running node says of itself: the JSON of `status --json`, the API and `events`, version 1.

mod agent;
mod arbitration;
mod cluster;
mod conflict;
mod hub;
mod registry;
mod through;
mod tunnel;

use std::net::IpAddr;

use mainstay_config::plan::edge::Protocol;
use mainstay_core::election::{Reason, State, Verdict};
use mainstay_core::name::ProbeId;
use mainstay_proxy::metrics::{ListenerCounts, RouteCounts};
use mainstay_proxy::pool::BackendStatus;
use serde::{Deserialize, Serialize};

pub use agent::{AgentCounts, AgentStatus, DoorStatus, HubSeen, OfferStatus};
pub use arbitration::{ArbitrationStatus, LockStatus, ReferenceStatus};
#[cfg(test)]
pub(crate) use cluster::tests as cluster_tests;
pub use cluster::{ClusterStatus, ExternalStatus, LeaseStatus, NodeStatus, SayingStatus, WireStatus};
pub use conflict::ConflictStatus;
pub use hub::HubStatus;
#[cfg(test)]
pub(crate) use registry::tests as registry_tests;
pub use registry::{HubKnown, RegistryStatus};
pub use through::ThroughStatus;
pub use tunnel::{TunnelAgent, TunnelStatus, TunnelVisitor};

/// The whole node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this shape; grows when a field changes its meaning.
    pub schema: u32,
    /// The node's id.
    pub node: String,
    /// The running program.
    pub version: String,
    /// Seconds since the supervisor started.
    pub uptime_s: u64,
    /// Milliseconds since 1970 at which this was taken.
    pub at_ms: u64,
    /// The nodes that it speaks with; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterStatus>,
    /// What helps where nobody votes; absent without a reference or a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arbitration: Option<ArbitrationStatus>,
    /// The vips, in the Plan's order.
    pub vips: Vec<VipStatus>,
    /// The probes, in the Plan's order.
    pub probes: Vec<ProbeStatus>,
    /// What probes see through vips that others hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<ThroughStatus>,
    /// The edge's listeners, in the Plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
    /// The edge's pools, in the Plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolStatus>,
    /// The edge's routes, in the Plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteCounts>,
    /// The tunnels, in the Plan's order, then those that the file does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<TunnelStatus>,
    /// Tunnels that the file does not name; the first of them are among `tunnels`.
    #[serde(default)]
    pub open_tunnels: usize,
    /// Other hubs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hubs: Vec<HubStatus>,
    /// Where hubs find each other; absent without `[registry]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryStatus>,
    /// What this node offers through hubs elsewhere, in the Plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentStatus>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// What is wrong but not fatal, as sentences: empty means healthy.
    pub degraded: Vec<String>,
    /// Counters that belong to no vip, by metric name without prefix.
    pub counters: Vec<Counter>,
}

impl Status {
    /// A sentence for each role of this node that no worker does at the moment.
    pub fn absent(&self) -> impl Iterator<Item = String> {
        let done = |role: &str| self.workers.iter().any(|worker| worker.role == role && worker.pid.is_some());
        let mut roles: Vec<&str> = self.workers.iter().map(|worker| worker.role.as_str()).collect();
        roles.dedup();
        roles.retain(|role| !done(role));
        roles.into_iter().map(|role| format!("no {role} worker is up"))
    }

    /// A node of which nothing is known.
    #[must_use]
    pub fn empty(node: &str) -> Self {
        Self {
            schema: 1,
            node: node.into(),
            version: String::new(),
            uptime_s: 0,
            at_ms: 0,
            cluster: None,
            arbitration: None,
            vips: Vec::new(),
            probes: Vec::new(),
            through: Vec::new(),
            listeners: Vec::new(),
            pools: Vec::new(),
            tunnels: Vec::new(),
            open_tunnels: 0,
            hubs: Vec::new(),
            routes: Vec::new(),
            registry: None,
            agents: Vec::new(),
            workers: Vec::new(),
            degraded: Vec::new(),
            counters: Vec::new(),
        }
    }
}

/// A counter with its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Metric name without the prefix `mainstay_`.
    pub name: String,
    /// Label names and values.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: u64,
}

/// One vip on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The operator's name.
    pub name: String,
    /// Its addresses as text with prefix, `10.0.4.99/32 dev eth0`.
    pub addrs: Vec<String>,
    /// The interface of its adverts.
    pub interface: String,
    /// Virtual router id.
    pub vrid: u8,
    /// VRRP version, 2 or 3.
    pub vrrp: u8,
    /// Where it stands here.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The reason as a sentence.
    pub why: String,
    /// Milliseconds since 1970 of the last change of state.
    pub since_ms: u64,
    /// Acquisitions by this node.
    pub epoch: u64,
    /// Configured priority.
    pub priority: u8,
    /// Priority after weights.
    pub effective_priority: u8,
    /// Advert interval in milliseconds.
    pub advert_ms: u64,
    /// Who holds it as far as this node knows: its own id, or the active node's address.
    pub holder: Option<String>,
    /// Who comes next as far as this node knows, as a sentence.
    pub next: String,
    /// Other nodes heard for this vip.
    pub peers: Vec<PeerStatus>,
    /// Grade of the promise and the gate in use, e.g. `best-effort, gate tc-ebpf`.
    pub guard: Guard,
    /// The right that it is held under, with guard `quorum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// Addresses that this node hears unless it is itself in trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceStatus>,
    /// The sync group, when it is in one.
    pub group: Option<String>,
    /// Whether an operator drained it here.
    pub drained: bool,
    /// Whether an operator holds it where it is.
    #[serde(default)]
    pub on_hold: bool,
    /// Who else claims its addresses, while somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictStatus>,
    /// Seconds in which nobody was known to hold it, summed up.
    pub outage_s: f64,
    /// Changes of state by reason.
    pub transitions: Vec<Counter>,
    /// Adverts by result.
    pub adverts: Vec<Counter>,
    /// Other counters (announcements, addresses put back, conflicts, gate re-arms).
    pub counters: Vec<Counter>,
}

/// The promise under which a vip is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// `best-effort`, `strict` or `quorum`.
    pub grade: String,
    /// What is proven of it and what is best effort, as a sentence.
    #[serde(default)]
    pub promise: String,
    /// `tc-ebpf`, `nft` or `address-lifetime`.
    pub gate: String,
    /// The window after which the gate closes, in milliseconds.
    pub window_ms: u64,
}

/// Another node heard for a vip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its address.
    pub addr: IpAddr,
    /// The priority of its last advert; absent when it was never heard.
    pub priority: Option<u8>,
    /// Milliseconds since that advert.
    pub heard_ms_ago: Option<u64>,
}

/// One probe on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Position in the Plan.
    pub id: ProbeId,
    /// The operator's name.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What the last check said, at most 2 KiB: status line, error, output of a command.
    pub detail: String,
    /// CLOCK_BOOTTIME nanoseconds of the end of the last check.
    pub checked: u64,
    /// CLOCK_BOOTTIME nanoseconds since which the verdict stands.
    pub since: u64,
    /// How long the last check took, in milliseconds.
    pub took_ms: f64,
    /// Checks that succeeded.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Restarts tried.
    pub restarts: u64,
}

/// One listener of the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether TLS ends there.
    pub tls: bool,
    /// Its addresses.
    pub binds: Vec<String>,
    /// Connections that are open.
    pub open: u64,
    /// Its name and what was counted.
    #[serde(flatten)]
    pub counts: ListenerCounts,
}

/// One pool of the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How a backend is chosen.
    pub balance: String,
    /// Its backends; one for each address of a name.
    pub backends: Vec<BackendShown>,
    /// Those of the configuration that an operator has taken out.
    pub removed: Vec<String>,
}

/// One backend of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendShown {
    /// An operator has put it in, and no configuration.
    pub by_operator: bool,
    /// What an operator wants of it.
    pub order: Option<String>,
    /// How all edge processes together see it.
    #[serde(flatten)]
    pub seen: BackendStatus,
}

/// One worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its role.
    pub role: String,
    /// Its process id; absent while it waits to be started again.
    pub pid: Option<u32>,
    /// How often it had to be started again.
    pub restarts: u64,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The node's id.
    pub node: String,
    /// What kind: `vip`, `probe`, `worker`, `config`, `address`, `gate`, `notify`, `conflict`, `unusable`, `arbitration`, `tunnel`, `registry`.
    pub kind: String,
    /// What it is about: a vip's, probe's or role's name.
    pub about: String,
    /// The state before, for a vip or probe.
    pub from: Option<String>,
    /// The state after.
    pub to: Option<String>,
    /// Why, as a machine-readable word.
    pub reason: Option<String>,
    /// The acquisition's number, for a vip.
    pub epoch: Option<u64>,
    /// The addresses, for a vip.
    pub addrs: Vec<String>,
    /// Effective priority, for a vip.
    pub priority: Option<u8>,
    /// A sentence for people.
    pub message: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A vip in backup, of which nothing more is known.
    pub(crate) fn vip() -> VipStatus {
        VipStatus {
            name: "front".into(),
            addrs: Vec::new(),
            interface: "eth0".into(),
            vrid: 51,
            vrrp: 3,
            state: State::Backup,
            reason: Reason::Started,
            why: "a node starts as backup".into(),
            since_ms: 0,
            epoch: 1,
            priority: 150,
            effective_priority: 150,
            advert_ms: 1000,
            holder: None,
            next: String::new(),
            peers: Vec::new(),
            guard: Guard {
                grade: "best-effort".into(),
                promise: "best effort: ...".into(),
                gate: "tc-ebpf".into(),
                window_ms: 3000,
            },
            lease: None,
            reference: None,
            group: None,
            drained: false,
            on_hold: false,
            conflict: None,
            outage_s: 0.0,
            transitions: Vec::new(),
            adverts: Vec::new(),
            counters: Vec::new(),
        }
    }
}
