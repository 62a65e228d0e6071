//! Visits: private tunnels elsewhere that are reached from here.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agent::Login;
use super::cluster::ClusterKey;

/// A visit: one key, and the tunnels that are reached with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// What it calls itself, unique on this node among visits.
    pub name: String,
    /// Addresses of hubs; more are told by those.
    pub hubs: Vec<String>,
    /// The secret half of its key; empty at gost's servers, which ask for none.
    pub key: ClusterKey,
    /// Who it is to gost's servers.
    pub login: Option<Login>,
    /// Whether certificates of hubs are checked.
    pub verify: bool,
    /// Authorities that hubs are checked by, as PEM; the system's when absent.
    pub ca: Option<String>,
    /// The HTTP proxy that leads out, with its password.
    pub proxy: Option<ClusterKey>,
    /// How long connections may go on at its end.
    pub drain: Duration,
    /// What it reaches.
    pub doors: Vec<Door>,
}

/// One tunnel, and where it is reached on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// The tunnel's id.
    pub tunnel: String,
    /// Where connections, or datagrams, are taken.
    pub listen: SocketAddr,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// The host that is wanted behind it, of gost's servers.
    pub host: Option<String>,
}
