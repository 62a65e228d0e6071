//! Access logs.

use crate::exchange::Exchange;
use crate::snapshot::Snapshot;

/// The logs of a thread.
#[derive(Debug, Default)]
pub struct Logs {}

impl Logs {
    /// Writes a line for a request.
    pub fn write(&self, _: &Snapshot, _: &mut Exchange) {}
}
