//! A tunnel's session: many streams over one reliable stream of bytes (docs/internals/tunnel.md).
//!
//! [`Mux`] is one side of it. Bytes that come go into [`Mux::receive`], which lends what streams carry out of the caller's own
//! buffer; bytes to send are staged in one buffer, [`Mux::output`], which streams fill in turn.

pub mod address;
mod code;
pub mod directory;
mod fields;
mod frame;
pub mod hello;
pub(crate) mod inbox;
pub mod keeper;
pub mod lane;
mod limits;
mod mux;
mod news;
mod open;
pub(crate) mod outbox;
mod receive;
pub mod record;
pub mod roam;
mod send;
pub(crate) mod stream;
pub mod websocket;

#[cfg(test)]
mod tests;

pub use code::{Closed, Code, Flood, Refused, Wrong};
pub use limits::Limits;
pub use mux::{Counts, Effect, Mux, Side};
pub use news::{Health, News, TARGETS_MAX};
pub use open::{HOPS_MAX, Kind, NAME_MAX, Open};
pub use receive::{Heard, Unread};
pub use stream::Key;

/// A header: stream 4, length 2, kind 1, flags 1.
pub const HEADER: usize = 8;

/// What one stream sends while others wait.
pub const TURN: usize = 16 << 10;

/// Bytes that are staged to be sent at once; streams wait for their turn beyond that. A frame that comes to wait has at most
/// so much before it and a [`TURN`] of each other stream.
pub const STAGE: usize = 64 << 10;

/// The longest datagram (UDP over IPv4).
pub const DATAGRAM_MAX: usize = 65_507;

/// Unread bytes of a stream that do not count against the session's budget, so that readers who are slow never stop the small
/// requests of others.
pub const RESERVE: u32 = 8 << 10;

/// What a datagram costs of a stream's credit besides its bytes: as much as it takes to keep it.
const DATAGRAM_COST: u32 = 64;
