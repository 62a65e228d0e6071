//! Composition: roles, supervisor, API, command line.

pub mod exec;
pub mod ipc;
pub mod notify;
pub mod probe;
pub mod status;
