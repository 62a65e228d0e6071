//! The operators' schema: text becomes raw, raw becomes a Plan, and past that border nobody validates again.

pub mod keepalived;
pub mod plan;
