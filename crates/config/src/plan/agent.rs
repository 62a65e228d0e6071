//! Agents: what this node offers through hubs elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HttpCheck;
use super::cluster::ClusterKey;

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// What it calls itself, unique on this node.
    pub name: String,
    /// Addresses of hubs; more are told by those.
    pub hubs: Vec<String>,
    /// The secret half of its key; empty at gost's servers, which ask for none.
    pub key: ClusterKey,
    /// The file that it comes from.
    pub key_file: Option<PathBuf>,
    /// Who it is to gost's servers.
    pub login: Option<Login>,
    /// Whether certificates of hubs are checked.
    pub verify: bool,
    /// Authorities that hubs are checked by: their file, and what it says, as PEM; the system's when absent.
    pub ca: Option<(PathBuf, String)>,
    /// The HTTP proxy that leads out, with its password.
    pub proxy: Option<ClusterKey>,
    /// How long streams may go on at its end.
    pub drain: Duration,
    /// What it offers.
    pub offers: Vec<Offer>,
}

/// A user of gost's servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: ClusterKey,
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

/// How targets are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Time between two looks.
    pub interval: Duration,
    /// A target that takes longer does not answer.
    pub timeout: Duration,
    /// Looks in a row that have to fail before a target is out.
    pub fall: u32,
    /// Looks in a row that have to succeed before it is back.
    pub rise: u32,
    /// What it is asked, with a path as URL; without, a connection is enough.
    pub http: Option<HttpCheck>,
}

/// What is at the end of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Service {
    /// Other servers, over TCP.
    Tcp {
        /// host:port of each.
        targets: Vec<String>,
        /// How they are looked at; never, when absent.
        look: Option<Box<Look>>,
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
