//! TCP, UDP and TLS that is passed through.

pub mod flow;
pub mod pipes;
pub mod relay;
mod session;
