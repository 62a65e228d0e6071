//! A hub's dealings with gost's sd and ingress plugins, as their client.
//!
//! sd says at which nodes a tunnel has clients, ingress which tunnel is behind a host. Both are somebody else's programs before
//! somebody else's store: they forget, hang, lie and come back. So what we have told them is told again, each [`Settings::renew`] and
//! as soon as a call finds it gone; what they have told us is known for as long as they are silent, and for a while after they have
//! begun to leave it out; and nobody waits for a plugin that is known to be silent. No more than [`CALLS_MAX`] calls are under way
//! with either, those that a visitor waits for first.

mod line;
mod machine;
mod nodes;
mod own;
mod rules;
mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::time::Duration;

use crate::time::Boot;

pub use machine::{Book, Input};
pub use view::{PluginView, View};

/// Calls that may be under way with one plugin.
pub const CALLS_MAX: usize = 8;

/// Visitors' questions that may wait for one plugin; who asks more is told that nobody knows.
pub const ASKS_MAX: usize = 256;

/// What a plugin has told is asked again after this, by who needs it, and is served meanwhile.
pub const FRESH: Duration = Duration::from_secs(5);

/// For so long nobody asks again for what a plugin does not know.
pub const NEGATIVE: Duration = Duration::from_secs(1);

/// What nobody has asked for in this time is forgotten.
pub const IDLE: Duration = Duration::from_secs(15 * 60);

/// Renewals for which what a plugin leaves out stays known: who has been forgotten by it has said again meanwhile that it is there.
pub const PATIENCE: u32 = 3;

/// Hosts and tunnels that are known.
pub const KNOWN_MAX: usize = 4096;

/// Nodes of one tunnel.
pub const NODES_MAX: usize = 64;

/// The longest name, address or id that is taken from a plugin, in bytes.
pub const TEXT_MAX: usize = 255;

/// Calls that fail one after the other before a plugin counts as silent.
pub const SILENT: u32 = 2;

/// The first wait after a call that failed; each that follows is twice as long, and [`RETRY_MAX`] at most.
pub const RETRY: Duration = Duration::from_millis(250);

/// A silent plugin is asked this often whether it is back.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// A client that has gone is taken back so often at most: its entry ends by itself.
pub const FAREWELLS: u32 = 3;

/// People are told no more often that a plugin has forgotten clients.
const FORGOT_GAP: Duration = Duration::from_secs(60);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// Where a tunnel's clients are.
    Sd,
    /// Which tunnel is behind a host.
    Ingress,
}

/// Who we are, and what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our node's name: entries under it are ours.
    pub node: String,
    /// Our entrypoint, as it is told; without a host the plugin takes the address that the call comes from.
    pub address: String,
    /// There is an sd plugin.
    pub sd: bool,
    /// There is an ingress plugin.
    pub ingress: bool,
    /// How often what we have told is told again.
    pub renew: Duration,
}

/// A client that is bound here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The client's own number, a UUID.
    pub id: String,
    /// The tunnel that it serves, a UUID.
    pub tunnel: String,
    /// It carries datagrams.
    pub datagrams: bool,
    /// Its hosts lead only visitors to it that name the tunnel.
    pub private: bool,
    /// Hosts under which it is reached. The first is made of the tunnel's id: it is no other tunnel's, whoever asks for it.
    pub hosts: Vec<String>,
}

/// A node with clients of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// Its entrypoint: `HOST:PORT`.
    pub address: String,
    /// Its clients carry datagrams.
    pub datagrams: bool,
}

/// What is behind a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The tunnel.
    pub tunnel: String,
    /// Only for visitors that name the tunnel.
    pub private: bool,
    /// The host is made of the tunnel's id, so that it can never lead elsewhere.
    pub made: bool,
}

/// A call of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A client is bound here.
    Register {
        /// The client.
        id: String,
        /// Its tunnel.
        tunnel: String,
        /// Its kind.
        datagrams: bool,
    },
    /// It still is.
    Renew {
        /// The client.
        id: String,
        /// Its tunnel.
        tunnel: String,
        /// Its kind: for a plugin that registers anew what it has lost.
        datagrams: bool,
    },
    /// It has gone.
    Deregister {
        /// The client.
        id: String,
        /// Its tunnel.
        tunnel: String,
        /// Its kind.
        datagrams: bool,
    },
    /// Where are a tunnel's clients?
    Nodes {
        /// The tunnel.
        tunnel: String,
    },
    /// A host leads to a tunnel of ours.
    Lead {
        /// The host.
        host: String,
        /// The tunnel, `$` before it when it is private.
        tunnel: String,
    },
    /// What is behind a host?
    Rule {
        /// The host.
        host: String,
    },
}

/// What a call was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To what was told: taken, or not.
    Done(bool),
    /// To [`Call::Nodes`].
    Nodes(Vec<Node>),
    /// To [`Call::Rule`].
    Rule(Option<Rule>),
}

/// What somebody asked for and waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asked {
    /// What is behind a host.
    Host(String),
    /// Where a tunnel's clients are.
    Tunnel(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A plugin is to be called. Each call ends with an input, within the driver's deadline.
    Call {
        /// The call's number.
        call: u64,
        /// The call.
        what: Call,
    },
    /// Who waits for this may look again: more will not be known soon.
    Settled(Asked),
    /// Other nodes than before have clients of this tunnel.
    Nodes(String),
    /// People should know.
    Tell(News),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A plugin does not answer, and why.
    Silent(Plugin, String),
    /// It answers again, after so long.
    Returned(Plugin, Duration),
    /// It does not know clients any more that it was told of.
    Forgot(Plugin),
}

/// What is known of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// This, even if nobody has asked for a while.
    Known(T),
    /// A plugin was asked: [`Effect::Settled`] says when to look again.
    Asked,
    /// Nobody knows, and nobody will at once.
    Nobody,
}

/// What is to be said or asked; each at one time once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// A client of ours.
    Service(String),
    /// A host of ours.
    Lead(String),
    /// A tunnel's nodes.
    Nodes(String),
    /// A host's rule.
    Rule(String),
}

impl Job {
    const fn plugin(&self) -> Plugin {
        match self {
            Self::Service(_) | Self::Nodes(_) => Plugin::Sd,
            Self::Lead(_) | Self::Rule(_) => Plugin::Ingress,
        }
    }

    fn asked(&self) -> Option<Asked> {
        match self {
            Self::Nodes(tunnel) => Some(Asked::Tunnel(tunnel.clone())),
            Self::Rule(host) => Some(Asked::Host(host.clone())),
            Self::Service(_) | Self::Lead(_) => None,
        }
    }
}

/// What goes before all that is due: somebody waits for it.
const AT_ONCE: Boot = Boot::ZERO;
