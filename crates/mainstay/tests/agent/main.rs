//! The agent against a hub that is made of link's own sessions.

mod hub;
mod serves;
