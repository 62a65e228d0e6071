//! Composition: roles, supervisor, API, command line.

pub mod api;
pub mod cli;
mod confine;
pub mod dirs;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod ipc;
pub mod log;
pub mod notify;
pub mod probe;
pub mod role;
pub mod status;
pub mod supervisor;
pub mod vip;
pub mod words;
pub mod worker;
