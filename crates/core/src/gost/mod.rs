//! gost's tunnels on the wire, as both of their sides speak it (docs/internals/gost.md).
//!
//! A connection begins with one request and one answer of [`relay`], which [`step`] waits for and [`ask`] gives a meaning. What was
//! bound goes on as a [`Session`]: many streams over [`smux`], opened by who was dialled; what was connected goes on as raw
//! bytes, or as [`datagram`]s. The session has the face of [`crate::tunnel::Mux`], and speaks of streams in its words.

pub mod ask;
pub mod book;
pub mod datagram;
pub mod plugin;
pub mod relay;
mod session;
pub mod smux;
pub mod step;

#[cfg(test)]
mod tests;

pub use session::{HEADER_MAX, Session};
