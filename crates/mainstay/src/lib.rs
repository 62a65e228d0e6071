//! Composition: roles, supervisor, API, command line.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure; no vip depends on their clock"))]

pub mod agent;
pub mod api;
pub mod cli;
mod confine;
pub mod dirs;
pub mod doctor;
pub mod edge;
pub mod events;
#[allow(
    clippy::disallowed_methods,
    reason = "a command stands still while its host is suspended, and so does its deadline"
)]
pub mod exec;
pub mod ipc;
pub mod log;
pub mod notify;
#[cfg(test)]
mod pages;
pub mod plugin;
pub mod probe;
mod proof;
pub mod registry;
pub mod role;
pub mod status;
pub mod supervisor;
mod token;
pub mod vip;
pub mod words;
pub mod worker;
