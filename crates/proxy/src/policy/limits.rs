//! Rates and requests at once, by key.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

use mainstay_config::plan::edge::{RateUse, Route};
use mainstay_core::name::ZoneId;
use mainstay_core::rate::{Rate, Verdict};
use smallvec::SmallVec;

use super::{Denied, table};
use crate::clock;
use crate::exchange::{Exchange, Render};
use crate::shared::Cells;
use crate::snapshot::Snapshot;

thread_local! {
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A hash that every process of this host computes alike and that nobody outside can foresee: keys are seeded with the
/// kernel's boot id, so that a client can't choose one that shares another's place.
fn hasher() -> impl Hasher {
    static SEED: OnceLock<Vec<u8>> = OnceLock::new();
    let seed = SEED.get_or_init(|| std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default());
    // Its keys are fixed: the same in all processes of one build.
    let mut hasher = DefaultHasher::new();
    hasher.write(seed);
    hasher
}

/// The hash of a zone's name.
pub(super) fn hash_of(name: &[u8]) -> u64 {
    let mut hasher = hasher();
    hasher.write(name);
    hasher.finish()
}

/// The hash of a request's key in a zone; `None` when the key is empty, and the request is not counted.
fn key_of(zone: ZoneId, snapshot: &Snapshot, exchange: &Exchange, render: Render<'_>) -> Option<u64> {
    let template = &snapshot.edge.zones.get(zone.index())?.key;
    let zone = *snapshot.guards.zones.get(zone.index())?;
    KEY.with_borrow_mut(|key| {
        key.clear();
        render(template, exchange, key);
        if key.is_empty() {
            return None;
        }
        let mut hasher = hasher();
        hasher.write_u64(zone);
        hasher.write(key);
        Some(hasher.finish())
    })
}

/// A rate of the route that this request is counted by.
struct Asked {
    rate: Rate,
    hash: u64,
    status: u16,
}

fn asked(
    rates: &[RateUse],
    snapshot: &Snapshot,
    exchange: &Exchange,
    render: Render<'_>,
) -> SmallVec<[Asked; 2]> {
    let mut all = SmallVec::new();
    for used in rates {
        let Some(zone) = snapshot.edge.zones.get(used.zone.index()) else { continue };
        let Some(hash) = key_of(used.zone, snapshot, exchange, render) else { continue };
        let rate = Rate::new(zone.rate_millis, used.burst, used.undelayed);
        all.push(Asked { rate, hash, status: used.status });
    }
    all
}

/// Asks every rate of the route; only a request that passes all of them is counted, and by all.
pub(super) fn rates(
    route: &Route,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    cells: Cells,
    render: Render<'_>,
) -> Result<(), Denied> {
    if route.rates.is_empty() || exchange.rated {
        return Ok(());
    }
    let asked = asked(&route.rates, snapshot, exchange, render);
    let Some((last, others)) = asked.split_last() else { return Ok(()) };
    exchange.rated = true;
    let now = clock::boot_now();
    let mut held_back = Duration::ZERO;
    for one in others {
        match one.rate.ask(table::due(cells, one.hash), now) {
            Verdict::Pass { delay, .. } => held_back = held_back.max(delay),
            Verdict::Refuse(wait) => return Err(refused(one.status, wait)),
        }
    }
    match table::ask(cells, last.hash, last.rate, now) {
        Verdict::Pass { delay, .. } => held_back = held_back.max(delay),
        Verdict::Refuse(wait) => return Err(refused(last.status, wait)),
    }
    for one in others {
        table::charge(cells, one.hash, one.rate, now);
    }
    exchange.delay = exchange.delay.max(held_back);
    Ok(())
}

/// A refusal that says when one more request would be let in, in whole seconds.
fn refused(status: u16, wait: Duration) -> Denied {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    tracing::debug!(status, ?wait, "the rate is exceeded");
    Denied::new(status, "rate").with("Retry-After", secs.max(1).to_string())
}

/// Takes a place in every zone of the route that counts requests at once.
pub(super) fn concurrency(
    route: &Route,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    cells: Cells,
    render: Render<'_>,
) -> Result<(), Denied> {
    if route.concurrency.is_empty() || exchange.counted {
        return Ok(());
    }
    let before = exchange.permits.len();
    for used in &route.concurrency {
        let Some(hash) = key_of(used.zone, snapshot, exchange, render) else { continue };
        let Some(permit) = table::hold(cells, hash, used.max) else {
            exchange.permits.truncate(before);
            tracing::debug!(status = used.status, max = used.max, "too many requests at once");
            return Err(Denied::new(used.status, "concurrency").with("Retry-After", "1"));
        };
        exchange.permits.push(permit);
        exchange.counted = true;
    }
    Ok(())
}
