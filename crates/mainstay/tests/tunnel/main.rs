//! What an operator may count on of tunnels: each promise as a test in network namespaces with the real program as the hub.

mod agent;
mod bed;
mod carriers;
mod faults;
mod hub;
mod limits;
mod peers;
mod role;
mod rolling;
mod visit;
