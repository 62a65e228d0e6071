//! What holds for gost's clients and visitors, and where its plugins are.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::edge::SharedKey;

/// What holds on every listener that gost's clients and visitors come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gost {
    /// One of these has to be named; of none, nobody is asked.
    pub users: Vec<User>,
    /// Which tunnels clients may offer.
    pub tunnels: Admits,
    /// The id by which visitors reach public tunnels by their hosts: a UUID in lower case.
    pub entrypoint: Option<String>,
    /// Whether a tunnel's id alone lets a visitor through.
    pub direct: bool,
    /// Which hosts clients get.
    pub hosts: Hosts,
    /// Where other nodes are told to send visitors: `HOST:PORT` or `:PORT`; empty when nobody is told.
    pub advertise: String,
    /// Which node serves which tunnel.
    pub sd: Option<Plugin>,
    /// Which host leads to which tunnel.
    pub ingress: Option<Plugin>,
    /// What plugins know us by.
    pub token: Option<SharedKey>,
    /// CA certificates (PEM) that plugins are checked by, and the file they come from; the system's when absent.
    pub ca: Option<(PathBuf, String)>,
    /// How long a call of a plugin may take.
    pub timeout: Duration,
    /// How often plugins are told again what is here.
    pub renew: Duration,
    /// Plugins that this node is itself.
    #[serde(default)]
    pub serves: Serves,
}

/// Plugins that a node is itself, and where they listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serves {
    /// sd.
    pub sd: Option<SocketAddr>,
    /// ingress.
    pub ingress: Option<SocketAddr>,
}

/// One of gost's users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: SharedKey,
}

/// Which tunnels clients may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admits {
    /// Those of the file that say so.
    Listed,
    /// Every one that is not the file's, beside them.
    Any,
}

/// Which hosts clients get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hosts {
    /// The generated one.
    Generated,
    /// One that they ask for beside it, when it is nobody else's.
    Any,
}

/// What a listener speaks beside its own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// gost's relay protocol.
    Gost,
}

/// Where a plugin is, and what it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// What it speaks.
    pub via: Via,
    /// Whether by TLS.
    pub tls: bool,
    /// An address, in brackets when it is IPv6, or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// With HTTP, the path that is asked for, from its slash on.
    pub path: String,
}

/// What a plugin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// gRPC.
    Grpc,
    /// JSON over HTTP/1.1.
    Http,
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.via, self.tls) {
            (Via::Grpc, false) => "grpc",
            (Via::Grpc, true) => "grpcs",
            (Via::Http, false) => "http",
            (Via::Http, true) => "https",
        };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}
