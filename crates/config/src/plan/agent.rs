//! Agents: what this node offers through hubs elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster::ClusterKey;

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// What it calls itself, unique on this node.
    pub name: String,
    /// Addresses of hubs; more are told by those.
    pub hubs: Vec<String>,
    /// The secret half of its key.
    pub key: ClusterKey,
    /// Authorities that hubs are checked by, as PEM; the system's when absent.
    pub ca: Option<String>,
    /// The HTTP proxy that leads out, with its password.
    pub proxy: Option<ClusterKey>,
    /// How long streams may go on at its end.
    pub drain: Duration,
    /// What it offers.
    pub offers: Vec<Offer>,
}

/// One service of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Under which tunnel.
    pub tunnel: String,
    /// What is at its end.
    pub service: Service,
    /// Its share among the agents of the tunnel.
    pub weight: u16,
    /// A host that it would like to be served under.
    pub host: Option<String>,
}

/// What is at the end of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Service {
    /// Other servers, over TCP.
    Tcp {
        /// host:port of each.
        targets: Vec<String>,
        /// How often they are looked at; zero: never.
        interval: Duration,
        /// The version of the PROXY header.
        header: Option<u8>,
    },
    /// The same over UDP.
    Udp {
        /// host:port of each.
        targets: Vec<String>,
    },
    /// Files of a folder.
    Files {
        /// Which.
        root: PathBuf,
    },
}
