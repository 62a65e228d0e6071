//! Linux: netlink, packet sockets, gates, processes. All unsafe and all privilege of Mainstay live here.

#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure; no vip depends on their clock"))]

pub mod clock;
mod error;
pub mod gate;
pub mod labsock;
pub mod listen;
pub mod netlink;
pub mod netns;
mod os;
pub mod packet;
pub mod ping;
pub mod process;
pub mod shared;

pub use error::{Error, Result};

#[cfg(test)]
mod testnet;
