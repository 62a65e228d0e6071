//! Linux: netlink, packet sockets, gates, processes. All unsafe and all privilege of Mainstay live here.

#![allow(unsafe_code)]

pub mod clock;
mod error;
mod os;
pub mod process;

pub use error::{Error, Result};
