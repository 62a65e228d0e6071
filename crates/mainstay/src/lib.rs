//! Composition: roles, supervisor, API, command line.

pub mod exec;
pub mod ipc;
pub mod status;
