//! The agent and the visitor at a server that is made of the libraries that gost is made of (crates/lab/gost), in namespaces.

mod bed;
mod node;
mod serves;
mod visits;
