//! Tunnels: what is said before the streams of a session.

pub mod hello;
