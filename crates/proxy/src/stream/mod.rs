//! TCP, UDP and TLS that is passed through.

mod datagram;
pub mod flow;
pub mod pipes;
pub mod relay;
mod session;
