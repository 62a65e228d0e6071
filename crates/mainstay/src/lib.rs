//! Composition: roles, supervisor, API, command line.

pub mod ipc;
pub mod status;
