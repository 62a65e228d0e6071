//! Tunnels: a session over a carrier, on one thread of tokio's (docs/internals/tunnel.md).
//!
//! [`Session::start`] drives `core::tunnel::Mux` from a task of its own: it reads, hands what streams carry straight to whoever
//! takes it, and writes once for all that was staged in a turn of the loop. Nothing here crosses threads.

pub mod carrier;
mod clock;
mod drive;
pub mod gost;
pub mod hello;
pub mod hubs;
mod inner;
pub mod keys;
mod machine;
pub mod quic;
mod session;
pub mod siblings;
mod socket;
mod splice;
mod stream;

use tokio::io::{AsyncRead, AsyncWrite};

pub use mainstay_core::tunnel::{
    Closed, Code, Counts, DATAGRAM_MAX, HOPS_MAX, Health, Kind, Limits, NAME_MAX, News, Open, Refused, Side,
    TARGETS_MAX, TURN, Wrong,
};
pub use session::{Counters, Incoming, Session};
pub use splice::{Splice, Spliced, Tally, splice_counted, splice_stream};
pub use stream::{Sink, Stream, code_of};

/// A reliable stream of bytes under a session: TCP, TLS, WebSocket. `poll_shutdown` ends it. A carrier over TCP is set to
/// TCP_NODELAY by whoever makes it, and better has a low TCP_NOTSENT_LOWAT, so that what waits waits in turn.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Carrier for T {}
