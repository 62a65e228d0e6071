//! What every connection of a thread shares.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::metrics::Counters;
use crate::shared::Cells;
use crate::snapshot::Snapshot;

/// One thread's state.
#[derive(Debug)]
pub struct Thread {
    snapshot: RefCell<Arc<Snapshot>>,
    /// Counters shared with the other processes.
    pub cells: Cells,
    /// What is counted.
    pub counters: Arc<Counters>,
    draining: Cell<bool>,
}

impl Thread {
    /// A thread that begins with this configuration.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, cells: Cells, counters: Arc<Counters>) -> Self {
        Self { snapshot: RefCell::new(snapshot), cells, counters, draining: Cell::new(false) }
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Requests that begin from here on follow this configuration.
    pub fn adopt(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.replace(snapshot);
    }

    /// Whether connections are to end as soon as they can.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Has connections end as soon as they can.
    pub fn drain(&self) {
        self.draining.set(true);
    }
}
