//! What is shown of agents: the hubs they have met, and what became of their offers.

use serde::{Deserialize, Serialize};

/// An agent of this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// What it calls itself.
    pub name: String,
    /// It is a visit: it offers nothing, and reaches what its doors lead to.
    #[serde(default)]
    pub visit: bool,
    /// Hubs that it has met.
    pub hubs: Vec<HubSeen>,
    /// What it offers.
    pub offers: Vec<OfferStatus>,
    /// What it reaches.
    #[serde(default)]
    pub doors: Vec<DoorStatus>,
    /// What is wrong, as sentences.
    pub trouble: Vec<String>,
}

/// A hub as an agent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HubSeen {
    /// What it calls itself.
    pub hub: String,
    /// Its places: threads of processes.
    pub places: usize,
    /// Those to which there is a session.
    pub sessions: usize,
    /// Streams that are open.
    pub streams: usize,
    /// The shortest round trip of its sessions in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferStatus {
    /// Under which tunnel.
    pub tunnel: String,
    /// Targets, and whether each is well; a folder is one.
    pub targets: Vec<(String, bool)>,
    /// Streams that are open.
    pub streams: u32,
    /// Streams so far.
    #[serde(default)]
    pub opened: u64,
    /// Hubs that have granted it.
    pub granted: usize,
    /// Where it is served, as URLs.
    pub served: Vec<String>,
    /// Why hubs do not serve it: hub and sentence.
    pub refused: Vec<(String, String)>,
}

/// A private tunnel that a visit reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStatus {
    /// The tunnel's id.
    pub tunnel: String,
    /// Where connections are taken.
    pub listen: String,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// Connections that are open.
    pub streams: u32,
    /// Connections so far.
    pub opened: u64,
    /// Those of them that found no way.
    pub lost: u64,
    /// Hubs that lead to it.
    pub granted: usize,
    /// Why hubs do not: hub and sentence.
    pub refused: Vec<(String, String)>,
}

impl AgentStatus {
    /// What is wrong but not fatal.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let Self { name, visit, hubs, offers, doors, trouble } = self;
        let what = if *visit { "visit" } else { "agent" };
        let mut said: Vec<String> = trouble.iter().map(|why| format!("{what} {name}: {why}")).collect();
        if hubs.iter().all(|hub| hub.sessions == 0) {
            said.push(format!("{what} {name} has a session to no hub"));
        }
        for door in doors {
            for (hub, why) in &door.refused {
                said.push(format!("visit {name}: hub {hub} does not lead to tunnel {}: {why}", door.tunnel));
            }
        }
        for offer in offers {
            for (hub, why) in &offer.refused {
                said.push(format!("agent {name}: hub {hub} does not serve tunnel {}: {why}", offer.tunnel));
            }
            if !offer.targets.iter().any(|(_, well)| *well) {
                said.push(format!("agent {name}: no target of tunnel {} answers", offer.tunnel));
            }
        }
        said
    }
}
