//! Where a host leads that no route of the file has: the pool of a tunnel, found at the moment of a request.

use std::rc::Rc;

use mainstay_core::name::PoolId;

use crate::pool::Pools;
use crate::road::Lead;
use crate::snapshot::Snapshot;
use crate::thread::Thread;

/// So often it may have to be found out again where a host leads before it counts as leading nowhere.
const TURNS: u32 = 4;

/// Why a host leads to no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No tunnel that is known has it.
    Nowhere,
    /// It is a private tunnel's.
    Private,
}

/// The pool of the tunnel that a host leads to; the host is without port, its letters as they came.
///
/// # Errors
/// When it leads to none.
pub async fn lead(thread: &Thread, snapshot: &Snapshot, host: &str, port: u16) -> Result<PoolId, Lost> {
    let host = plain(host);
    let Some(roads) = thread.roads().map(Rc::clone).filter(|_| !host.is_empty()) else {
        return Err(Lost::Nowhere);
    };
    let mut lead = roads.lead(&host, port);
    for _ in 0..TURNS {
        lead = match lead {
            Lead::Wait(wait) => wait.await,
            told => return found(&thread.pools, snapshot, &told),
        };
    }
    found(&thread.pools, snapshot, &lead)
}

/// Where a host leads as far as is known now, as a sentence for people; and the tunnel and its pool when there is one.
#[must_use]
pub fn told(
    thread: &Thread,
    snapshot: &Snapshot,
    host: &str,
    port: u16,
) -> (String, Option<(Rc<str>, PoolId)>) {
    let host = plain(host);
    let lead = thread.roads().map_or(Lead::Nowhere, |roads| roads.lead(&host, port));
    let pool = match &lead {
        Lead::To(tunnel) => thread.pools.of_tunnel(snapshot, tunnel).map(|pool| (Rc::clone(tunnel), pool)),
        Lead::Nowhere | Lead::Private | Lead::Wait(_) => None,
    };
    let sentence = match (&lead, &pool) {
        (Lead::To(tunnel), Some(_)) => format!("host {host} is tunnel {tunnel}'s at this moment"),
        (Lead::Private, _) => format!("host {host} is a private tunnel's: status 502"),
        (Lead::Wait(_), _) => format!("whose host {host} is, is asked when a request comes"),
        (Lead::To(_) | Lead::Nowhere, _) => format!("no tunnel has host {host} at this moment: status 404"),
    };
    (sentence, pool)
}

fn found(pools: &Pools, snapshot: &Snapshot, lead: &Lead) -> Result<PoolId, Lost> {
    match lead {
        Lead::To(tunnel) => pools.of_tunnel(snapshot, tunnel).ok_or(Lost::Nowhere),
        Lead::Private => Err(Lost::Private),
        Lead::Nowhere | Lead::Wait(_) => Err(Lost::Nowhere),
    }
}

/// As hosts are looked up.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}
