//! Where hubs find each other: a store of somebody else's.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster::Access;

/// A store in which the hubs of a cluster find each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// Which.
    pub store: Store,
    /// How it is told who we are, and how we are told who it is. A redis without users is given the password alone: its user has no name.
    pub access: Access,
    /// What our keys there begin with.
    pub prefix: String,
    /// How long a record lasts.
    pub ttl: Duration,
}

/// A kind of store and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// A redis.
    Redis(Vec<Redis>),
    /// An etcd cluster: URLs of its members, without a slash at the end.
    Etcd(Vec<String>),
}

impl Store {
    /// The word of the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Etcd(_) => "etcd",
        }
    }
}

/// One address of a redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redis {
    /// Host: an address, in brackets when it is IPv6, or a name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Which of its databases.
    pub database: u16,
    /// Whether it is spoken to with TLS.
    pub tls: bool,
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
