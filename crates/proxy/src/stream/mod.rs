//! TCP, UDP and TLS that is passed through.

mod carry;
mod datagram;
pub mod flow;
mod open;
pub mod pipes;
mod prepare;
pub mod relay;
mod session;
mod slow;
mod through;
mod udp;
mod visit;

pub(crate) use open::admits;
pub use open::open;
pub use through::pass_through;
pub use udp::udp;
pub use visit::{visit, visit_tunnel};
