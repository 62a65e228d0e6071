//! What agents offer through us.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::cluster::ClusterKey;

/// The hub as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hub {
    /// Domain of generated hosts.
    pub domain: Option<String>,
    /// Where agents reach the hubs of the cluster, as URLs.
    pub addrs: Vec<String>,
    /// Where other hubs reach this one: `HOST:PORT`.
    pub advertise: Vec<String>,
    /// How hubs speak to each other; nothing when this one speaks to no other.
    pub among: Option<Among>,
}

/// A hub among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Among {
    /// Where others are, as `HOST:PORT`; this hub may be among them.
    pub peers: Vec<String>,
    /// What all of them know.
    pub key: ClusterKey,
}

/// The name of the listener that is made for other hubs.
pub const PEERS_LISTENER: &str = "hub:peers";

/// A name under which agents offer the same thing. What leads to it (routes, listeners, its pool) is among the edge's others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Its id.
    pub id: String,
    /// Ed25519 public keys of those who may offer it.
    pub agents: Vec<[u8; 32]>,
    /// Whether gost's clients may offer it.
    #[serde(default)]
    pub gost: bool,
    /// Ed25519 public keys of those who may reach it, when it is private.
    #[serde(default)]
    pub visitors: Option<Vec<[u8; 32]>>,
    /// Where visitors reach it, for agents to show: hosts as they are written, then places of ports.
    pub served: Vec<String>,
    /// Connections at once; 0 is without bound.
    pub streams: u32,
    /// New connections per second, in thousandths; 0 is without bound.
    pub rate_millis: u64,
    /// Bytes per second; 0 is without bound.
    pub bandwidth: u64,
}

/// Digits of the label that is generated for a tunnel.
pub const GENERATED: usize = 16;

/// The first label of the host that is generated for a tunnel: the first half of its id's MD5, as gost makes it.
#[must_use]
pub fn label(id: &str) -> String {
    let digest = Md5::digest(id.as_bytes());
    let mut label = String::with_capacity(GENERATED);
    for byte in &digest[..GENERATED / 2] {
        write!(label, "{byte:02x}").expect("a string takes all");
    }
    label
}

/// The host that is generated for a tunnel, in lower case.
#[must_use]
pub fn generated(id: &str, domain: &str) -> String {
    format!("{}.{}", label(id), domain.to_ascii_lowercase())
}

/// Stands for the tunnels that no file names: the pool and the route `tunnel:*` are theirs. It is no id.
pub const OPEN: &str = "*";

/// The name of the pool, the route and the listeners that are made for a tunnel, and of the backend that is its agents.
#[must_use]
pub fn made_name(id: &str) -> String {
    format!("tunnel:{id}")
}

/// The name of the listener that stands for the visitors of a private tunnel: bound nowhere, it says what holds for their
/// connections and counts them.
#[must_use]
pub fn visit_name(id: &str) -> String {
    format!("tunnel:{id}/visit")
}
