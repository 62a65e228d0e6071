//! Which route takes a request, and what it makes of it.

/// The routes of a snapshot, compiled.
#[derive(Debug, Default)]
pub struct Table {}
