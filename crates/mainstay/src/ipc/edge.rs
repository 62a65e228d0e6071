//! What the supervisor and an edge process say to each other.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_config::plan::edge::{Edge, LogTarget};
use mainstay_core::balance::Order;
use mainstay_core::tunnel::record::Record;
use mainstay_proxy::pool::{Explained, Standing};
use mainstay_proxy::route::{Explanation, Question};
use mainstay_proxy::worker::{EdgeStatus, SocketKey};
use serde::{Deserialize, Serialize};

use crate::status::{Event, ProbeStatus};

/// Supervisor to edge.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToEdge {
    /// The first message; the memory that the instances share comes with it.
    Start {
        /// Which column of the memory is its own.
        column: u16,
        /// How many threads it has.
        threads: u16,
        /// What agents of tunnels are told of it.
        hub: HubIdentity,
    },
    /// Sockets to take connections from; they come with it in this order.
    Sockets(Vec<SocketKey>),
    /// Sockets that others serve.
    Leave(Vec<SocketKey>),
    /// Sockets that nobody will serve: what waits on them is taken first. Answered by `FromEdge::Finished`.
    Finish(Vec<SocketKey>),
    /// What to do from here on; sockets whose place it does not have are finished. Answered by `FromEdge::Ready` or `Refused`.
    Plan(Box<EdgePlan>),
    /// A probe's verdict.
    Health(ProbeStatus),
    /// Everything that operators want of backends; what they do not want any more is as written.
    Orders(Vec<PoolOrder>),
    /// Keys of session tickets: the first one seals, all of them open.
    Tickets(Vec<Vec<u8>>),
    /// The key of sticky cookies of pools that name none: sixteen bytes.
    Sticky(Vec<u8>),
    /// All other hubs that a registry knows; those that are reached otherwise may lack.
    Hubs(Vec<Record>),
    /// All edge processes of the node that serve, itself among them.
    Siblings(Vec<Sibling>),
    /// Where the lines of these access logs go; the descriptors come with it in this order.
    Logs(Vec<LogTarget>),
    /// Answer with `FromEdge::Synced` once everything that was said before is done.
    Sync(u64),
    /// Answer with `FromEdge::Status`.
    Status,
    /// What would become of a request? Answered by `FromEdge::Explained`.
    Explain {
        /// Chosen by the supervisor.
        id: u64,
        /// The request.
        question: Box<Question>,
    },
    /// Serve what waits, let connections end, and exit when none is left or this long after.
    Drain(Duration),
}

/// An edge process as agents of tunnels know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubIdentity {
    /// The node's id.
    pub name: String,
    /// Each run of the node has its own; a later one has a higher.
    pub instance: u64,
    /// Which of its edge processes it is.
    pub process: u16,
    /// How many there are.
    pub processes: u16,
    /// Threads of each.
    pub threads: u16,
    /// The process among those of its node.
    pub own: Sibling,
    /// What only the edge processes of this run of the node know.
    pub secret: RunSecret,
}

/// What only the edge processes of one run of the node know.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSecret(pub Vec<u8>);

impl std::fmt::Debug for RunSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunSecret(***)")
    }
}

/// An edge process as its siblings know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// Its column in the memory that all of them share.
    pub column: u16,
    /// How many threads it has.
    pub threads: u16,
    /// When it was started, in nanoseconds since boot: of two the later one dials the other.
    pub born: u64,
}

/// An edge's part of the Plan, with its secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct EdgePlan {
    /// Listeners, routes, pools.
    pub edge: Edge,
    /// Where each backend counts in the shared memory, by `pool/backend`.
    pub slots: HashMap<String, u32>,
    /// Names of the probes, by their numbers.
    pub probes: Vec<String>,
}

/// What an operator wants of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolOrder {
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub backend: String,
    /// What.
    pub order: Order,
}

/// What would become of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteExplained {
    /// Its way to a route, by each listener that it may come to.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Which backend it would get of each pool on those ways, and why not the others.
    pub pools: Vec<Explained>,
}

/// How one process sees a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub backend: String,
    /// Its address.
    pub address: String,
    /// Where it stands; nothing when it is gone.
    pub state: Option<Standing>,
    /// Why.
    pub why: String,
}

/// edge to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromEdge {
    /// The Plan is in force.
    Ready,
    /// The Plan cannot be used and the one before it goes on: why.
    Refused(String),
    /// What was said before `ToEdge::Sync` is done by all threads.
    Synced(u64),
    /// All threads do what they are told: sent every second.
    Alive,
    /// Nothing waits on these sockets any more, and they are closed here.
    Finished(Vec<SocketKey>),
    /// The answer to `ToEdge::Status`.
    Status(Box<EdgeStatus>),
    /// The answer to `ToEdge::Explain`.
    Explained {
        /// The question's number.
        id: u64,
        /// What would become of it.
        explained: Box<RouteExplained>,
    },
    /// Backends that stand elsewhere than they did.
    Seen(Vec<Seen>),
    /// The tunnels that this process has agents of; said when they are others than before.
    Offers(Vec<String>),
    /// Something happened that events should tell.
    Event(Event),
    /// Nothing is accepted any more; so many connections are open.
    Draining(u64),
}
