//! What a store must be able to do so that a plugin keeps in it what it is told.

use std::future::Future;
use std::pin::Pin;

use mainstay_core::gost::plugin::{Found, Step};

/// What came of several steps.
pub(super) struct Taken {
    /// What each has found, in their order.
    pub(super) found: Vec<Found>,
    /// What the store has called itself since it was last empty: what was written before a change of it may be lost.
    pub(super) epoch: Vec<u8>,
}

/// What comes of steps, some time.
pub(super) type Taking<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Taken>> + 'a>>;

/// A store; each call is over within a deadline, and one that failed may be carried out at any time later.
pub(super) trait Shelf {
    /// Takes some steps.
    fn take<'a>(&'a mut self, steps: &'a [Step]) -> Taking<'a>;

    /// Where it is.
    fn place(&self) -> String;
}
