//! The plugins of gost that share who offers what: sd and ingress.
//!
//! `mainstay plugin sd|ingress` serves gost's servers, by gRPC and by JSON over HTTP on one port, over a redis in gost-plugins'
//! layout or from memory. One thread: a connection's task asks the `Desk`, which feeds `core::gost::plugin` and carries out
//! what it asks for.

mod call;
pub(crate) mod client;
mod desk;
mod grpc;
mod json;
mod redis;
mod run;
pub(crate) mod say;
mod serve;
mod shelf;
pub mod wire;

use std::time::Duration;

use mainstay_config::plan::cluster::Access;
use mainstay_config::plan::registry::Redis as Place;

pub use call::answer;
pub use desk::Desk;
pub use run::run;
pub(crate) use serve::serve;

/// Which plugin it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Which node serves which tunnel.
    Sd,
    /// Which host leads to which tunnel.
    Ingress,
}

impl Kind {
    /// The word of gost's configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sd => "sd",
            Self::Ingress => "ingress",
        }
    }
}

/// How a plugin is run.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which it is.
    pub kind: Kind,
    /// The redis that it keeps all in, by its addresses; its memory alone when absent.
    pub redis: Option<(Vec<Place>, Access)>,
    /// How long what was told lasts.
    pub expiration: Duration,
    /// Hosts below these are known by their first label.
    pub domains: Vec<String>,
    /// What callers have to show.
    pub token: Option<String>,
}
