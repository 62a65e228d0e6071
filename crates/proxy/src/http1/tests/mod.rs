//! HTTP/1.1 from one socket to the other: clients and backends in this process say exact bytes.

mod asked;
mod bodies;
mod connections;
mod open;
mod refused;
mod retries;
pub(crate) mod rig;
mod served;
mod tunnels;
mod upgrades;
