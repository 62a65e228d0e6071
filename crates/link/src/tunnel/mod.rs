//! Tunnels: carriers, what is said first over them, and who may say it.

pub mod hello;
pub mod keys;
