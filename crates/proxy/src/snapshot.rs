//! A configuration as the threads use it: compiled once in a process, swapped as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_config::plan::edge::Edge;

/// A configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with each.
    pub generation: u64,
    /// What the operator wants.
    pub edge: Edge,
    /// The slot in [`crate::shared::Cells`] of each backend, by `pool/backend`; the supervisor gives them out.
    pub slots: HashMap<String, u32>,
    /// TLS of each listener, by position.
    pub tls: Vec<Option<Arc<crate::tls::Server>>>,
    /// Which route takes a request.
    pub table: crate::route::Table,
}
