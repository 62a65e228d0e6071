//! Packets that no ordinary socket sends: VRRP (IP protocol 112), ARP and neighbour discovery.

mod batch;
pub(crate) mod filter;
mod frame;
mod tap;
mod vrrp;

pub use batch::Sent;
pub use frame::FrameSocket;
pub use tap::{Tap, Tapped};
pub use vrrp::{Incoming, Outgoing, VrrpSocket};
