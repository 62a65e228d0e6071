//! What peers say to each other as bytes, and which of the wires between them carry it (docs/internals/peers.md).
//!
//! Sessions (crates/link) seal what [`encode()`] gives, send it over every wire at once and hand what they open to
//! [`parse`]; nothing here knows of keys.

mod cursor;
mod decode;
mod encode;
mod wires;

#[cfg(test)]
mod tests;

pub use decode::{Wrong, parse};
pub use encode::{Unfit, encode};
pub use wires::{WireChange, WireView, Wires};

/// The layout that is written; a reader takes no other, and skips what it does not know inside.
pub const VERSION: u8 = 1;

/// The longest name of a node or a right, in bytes.
pub const NAME_MAX: usize = 128;

/// The most members that a voter list may have.
pub const MEMBERS_MAX: usize = 64;

/// The longest letter: a voter list is never cut in two.
pub const LETTER_MAX: usize = 64 + MEMBERS_MAX * (NAME_MAX + 8);

/// Types of records.
mod record {
    pub(super) const HEAD: u8 = 1;
    pub(super) const HEIR: u8 = 2;
    pub(super) const BEAT: u8 = 16;
    pub(super) const REQUEST: u8 = 17;
    pub(super) const REPLY: u8 = 18;
    pub(super) const FREE: u8 = 19;
    pub(super) const LIST: u8 = 20;
    pub(super) const SIGHTS: u8 = 21;
}

/// Kinds of outcomes.
mod outcome {
    pub(super) const GRANTED: u8 = 1;
    pub(super) const HELD: u8 = 2;
    pub(super) const STALE: u8 = 3;
    pub(super) const MUTE: u8 = 4;
    pub(super) const MISMATCH: u8 = 5;
    pub(super) const FULL: u8 = 6;
}

/// Bits of a byte of flags.
mod flag {
    /// A standing.
    pub(super) const READY: u8 = 1;
    pub(super) const PREEMPTS: u8 = 2;
    /// A right asked for.
    pub(super) const RENEWAL: u8 = 1;
    /// A member.
    pub(super) const VOTES: u8 = 1;
    pub(super) const HOLDS: u8 = 2;
    /// A right given back names who follows.
    pub(super) const NEXT: u8 = 1;
    /// Of the lock.
    pub(super) const LOCK_WANTED: u8 = 1;
    pub(super) const LOCK_OWNED: u8 = 2;
    /// A vip that is held by no lease: active, whether its reference is known, and whether it answers.
    pub(super) const ACTIVE: u8 = 1;
    pub(super) const REFERENCE_KNOWN: u8 = 2;
    pub(super) const REFERENCE_HEARD: u8 = 4;
}
