//! Linux: netlink, packet sockets, gates, processes. All unsafe and all privilege of Mainstay live here.

#![allow(unsafe_code)]

pub mod labsock;
pub mod netns;
