//! Which hubs an agent dials, and when: it wants a session to every thread of every process of every hub.
//!
//! What it dials are addresses (URLs), and each may lead to any hub: behind one load-balanced name are all of them. Only the hub's answer
//! tells where a dial has come out; one that comes out at a place that the agent has already is given up before anything is proven.

mod hubs;
mod machine;
mod source;
mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::time::Duration;

pub use machine::{Effect, Input, Roam};
pub use view::{HubView, PlaceView};

/// The first wait after a dial that came to nothing; each that follows is twice as long.
pub const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait while an outage is young: an agent is back that soon after its hub.
pub const YOUNG_WAIT: Duration = Duration::from_secs(1);

/// The longest wait after a dial that a hub answered which we have met: behind one name it is chance that finds the others.
pub const MET_WAIT: Duration = Duration::from_millis(250);

/// How long an outage is young.
pub const YOUNG: Duration = Duration::from_secs(60);

/// The longest wait after that.
pub const OLD_WAIT: Duration = Duration::from_secs(5);

/// A hub that refuses is asked again after this; what it needs is a person.
pub const REFUSED_WAIT: Duration = Duration::from_secs(10);

/// A hub that is full is asked again after this.
pub const FULL_WAIT: Duration = Duration::from_secs(5);

/// When nothing is missing, an address is dialled this often: it may lead to a hub that nobody told of.
pub const SCOUT: Duration = Duration::from_secs(30);

/// A session that was lost sooner counts as a dial that came to nothing.
pub const STEADY: Duration = Duration::from_secs(5);

/// So many times in a row, and an address that gives us sessions is dialled as one that gives none.
pub const DROPS: u32 = 3;

/// A hub without a session for so long, and that no other hub names, is forgotten.
pub const FORGET: Duration = Duration::from_secs(600);

/// A dial that has no answer for so long does not keep the next one waiting.
pub const SLOW: Duration = Duration::from_secs(1);

/// Of addresses that lead to one hub, those that begin so are taken as long as they answer; sessions that came otherwise give way to theirs.
pub const PREFERRED: &str = "quic://";

/// Dials of one address at once.
pub const AT_ONCE: usize = 4;

/// The same with those that are slow.
pub const AT_ONCE_SLOW: usize = 8;

/// The most addresses, and the most hubs.
pub const MOST: usize = 64;

/// The most places of one hub that are met.
pub const PLACES_MOST: usize = 1024;
