//! A hub's dealings with a registry: its own record is kept there, and what other hubs' records say is known here.
//!
//! A registry is somebody else's store (redis, etcd): it forgets, hangs and comes back. So what is known lasts while the store is
//! away or empty, our own record is written again as soon as it is missing, and a hub leaves only when the store has answered
//! without it for longer than a record lasts, more than once. Of two records of one hub the later run's counts, in the store and
//! here. Nothing here is in a request's way.

mod machine;
mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::time::Duration;

pub use machine::{Effect, Input, Keeper, News};
pub use view::View;

/// The store is asked this often what it has: so soon our own record is missed.
pub const POLL: Duration = Duration::from_secs(1);

/// Changes of our own record that come within this are written as one.
pub const GAP: Duration = Duration::from_millis(100);

/// The first wait after a call that failed; each that follows is twice as long, and [`POLL`] at most.
pub const RETRY: Duration = Duration::from_millis(250);

/// A record is written again after this part of its time.
pub const RENEWALS: u32 = 3;

/// One call that failed is no news.
pub const TOLD: u32 = 2;

/// The most hubs that are known beside our own: more names do not fit a hello.
pub const HUBS_MAX: usize = 64;

/// The longest record, in bytes of JSON: a hub of 1,024 tunnels writes less.
pub const RECORD_MAX: usize = 128 << 10;

/// The shortest time that a record may last: three times [`POLL`].
pub const TTL_MIN: Duration = Duration::from_secs(3);
