//! A voter that is no node: a store that others keep, with compare-and-swap and keys that end by themselves
//! (docs/internals/leases.md, "A store as a voter").
//!
//! Each node has a `Deputy`, which turns what its leases ask of that voter into steps on the store, and the store's
//! answers into a voter's. What the voter has promised, its epochs, its list and whether it is mute lie in the store
//! alone; deputies of several nodes never speak with each other.

mod deputy;
mod judge;
mod record;
mod round;
#[cfg(test)]
mod tests;
mod words;

pub use deputy::{Ability, Deputy, Effect, Input};
pub use record::{Change, Done, EpochRecord, Found, Key, PromiseRecord, Snapshot, Step, VoterRecord, Write};
pub use words::{Heard, Post, Posted};

/// Rights in one step, so that its comparisons stay below the 128 that etcd takes unless it is told otherwise.
pub const STEP_RIGHTS: usize = 40;
