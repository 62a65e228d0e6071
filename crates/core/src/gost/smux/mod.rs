//! smux, version 2 (xtaci/smux): many streams over one reliable stream of bytes.
//!
//! A frame is `version 1 | kind 1 | length 2 | stream 4`, little-endian, then as many bytes as it says: SYN opens a stream, PSH
//! carries its bytes, FIN ends it, UPD tells what was read of it and how much may be unread from there on, NOP is a sign of life.
//! There is no reset, no limit of streams and no farewell. [`Mux`] takes care of what that leaves open: who opens what nobody
//! wants is answered with FIN, who sends more than it may loses the stream, and who floods the session.

mod frame;
mod limits;
mod mux;
mod receive;
mod send;
mod stream;

pub use frame::{FRAME_MAX, HEADER, INITIAL_WINDOW};
pub use limits::{Limits, Role};
pub use mux::Mux;

pub(super) use receive::Came;

#[cfg(test)]
pub(super) use frame::{FIN, Header, NOP, PSH, SYN, UPD};
