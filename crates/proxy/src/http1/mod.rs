//! HTTP/1.1: connections of clients and to backends.

mod agents;
mod backend;
mod client;
mod head;
mod parked;
mod serve;
mod status;
mod talk;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use backend::{
    Connection as BackendConnection, Exchange as BackendExchange, Head as BackendHead, Keep, Kept, Key,
};
pub use client::Side as ClientSide;
pub use parked::Parked;
pub use serve::{serve, upgrade};
pub use status::reason;
