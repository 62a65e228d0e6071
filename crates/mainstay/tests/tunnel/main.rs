//! What an operator may count on of tunnels: each promise as a test in network namespaces with the real program as the hub.
#![expect(clippy::disallowed_methods, reason = "what clients see is measured by the clock that they use")]

mod agent;
mod bed;
mod book;
mod carriers;
mod faults;
mod hub;
mod limits;
mod open;
mod peers;
mod quic;
mod registry;
mod role;
mod rolling;
mod siblings;
mod visit;
