//! The plugins of gost that share who offers what: sd and ingress.

pub mod wire;
