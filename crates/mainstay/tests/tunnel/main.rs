//! What an operator may count on of tunnels: each promise as a test in network namespaces with the real program as the hub.

mod agent;
mod bed;
mod hub;
mod role;
mod visit;
