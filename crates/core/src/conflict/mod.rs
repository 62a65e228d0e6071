//! Who else claims an address: when that is a conflict, when it is the end of an ordinary hand-off, and when it is over.
//!
//! A frame proves nothing, and a flood of them is one conflict: it begins once, names a few claimants, counts the rest, and
//! ends when it has been quiet (rule 8 of docs/internals/leases.md says what follows for the holder: nothing is ever dropped for
//! a frame).

mod episode;
mod machine;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use machine::{Conflict, Counts, Standing};

use crate::arp::Mac;

/// Frames of whoever held the address before, or of a peer, may come so late after a hand-off.
pub const LATE: Duration = Duration::from_secs(1);

/// Frames of anybody may come so late after this node took the address: not every peer's station is known.
pub const LATE_ANYBODY: Duration = Duration::from_millis(300);

/// Another station than the holder's is given so long to turn out to be the next holder. An alarm is due in a second.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// A conflict in which nothing was seen for so long is over.
pub const QUIET: Duration = Duration::from_secs(10);

/// A conflict that comes again and again is over only after this long: the time doubles up to here.
pub const QUIET_MAX: Duration = Duration::from_secs(320);

/// One that begins so soon after the last is the same trouble again.
pub const AGAIN: Duration = Duration::from_secs(600);

/// Claimants that are named in one conflict; the frames of others are counted.
pub const NAMED: usize = 4;

/// Who claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claimant {
    /// A station of the link, by ARP or neighbour discovery.
    Station(Mac),
    /// Whoever sends adverts from that address.
    Router(IpAddr),
}

/// Where the address is as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This node holds it.
    Here,
    /// Another of us does.
    There,
    /// Nobody does, or nobody is known to.
    Nowhere,
}

/// Whose a station is as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Another interface of this host.
    Own,
    /// A peer's.
    Peer {
        /// Whether it is the one that holds the address.
        holds: bool,
    },
    /// Anybody's.
    Unknown,
}

/// What is to be said or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A conflict has begun.
    Began {
        /// With whom.
        who: Claimant,
    },
    /// Somebody else has joined it.
    Joined {
        /// Who.
        who: Claimant,
    },
    /// It has been quiet for long enough.
    Over {
        /// Frames and adverts.
        claims: u64,
        /// From the first of them to the last.
        lasted: Duration,
    },
    /// The address is held here: announce it again, as often as is allowed.
    Answer,
}
