//! What the supervisor and its workers say to each other: SEQPACKET, a version byte, length-prefixed JSON.
//!
//! Each role has one type for each direction, and that type is its allow-list: what a role may not say cannot
//! be decoded. Payloads that do not fit a packet travel in a memfd beside it.

mod agent;
mod channel;
mod edge;
mod messages;
mod outbox;

pub use agent::{FromAgent, ToAgent};
pub use channel::{Channel, Closed, Received, watched};
pub use edge::{
    EdgePlan, FromEdge, HubIdentity, PoolOrder, RouteExplained, RunSecret, Seen, Sibling, ToEdge,
};
pub use messages::{
    ApiCall, ApiReply, Asker, ClusterAction, Deposit, Farewell, FromApi, FromExec, FromProbe, FromRegistry,
    FromVip, Identity, Notice, Outcome, PoolAction, Run, ToApi, ToExec, ToProbe, ToRegistry, ToVip,
    VipAction,
};
pub use outbox::Outbox;
