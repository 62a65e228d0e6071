//! The plugins of gost that share who offers what: sd and ingress.

pub(crate) mod client;
pub(crate) mod say;
pub mod wire;
