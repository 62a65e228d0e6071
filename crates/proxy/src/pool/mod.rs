//! Which backend gets a request.
//!
//! [`Pools`] is one thread's view of all pools. The choice is a [`mainstay_core::balance::Roster`]'s; requests under way are
//! counted over all processes in [`Cells`], so that `least` and `max_connections` mean the same everywhere. What is
//! learnt from requests (latency, who is set aside) each thread learns by itself. A [`Lease`] holds a
//! backend's place until it is dropped.
//!
//! Pools are looked up by snapshot and position: a request goes on under the snapshot that it came with, while the pool
//! itself, known by its name, is one over all snapshots.

mod ask;
mod entry;
mod queue;
mod set;
mod source;
mod sticky;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_core::balance::hash::Key;
use mainstay_core::balance::{Input, Nobody};
use mainstay_core::election::Verdict;
use mainstay_core::name::PoolId;
use mainstay_core::time::Boot;
use tokio::time::timeout;

pub use self::ask::{Ask, Reason, Refused};
pub use self::entry::{Lease, Outcome};
use self::set::Set;
use self::source::Source;
use crate::clock::boot_now;
use crate::shared::Cells;
use crate::snapshot::Snapshot;
pub use mainstay_core::balance::Order;

/// So many requests may wait for the first look-up of a pool's names, and so long, whatever its queue says.
const FIRST_LOOK: (u32, Duration) = (1000, Duration::from_secs(5));

/// The pools of one thread.
pub struct Pools {
    cells: Cells,
    /// Key of sticky cookies.
    key: Cell<Key>,
    next_id: Cell<u32>,
    seed: Cell<u64>,
    /// The newest first.
    tables: RefCell<Vec<Table>>,
}

/// The pools of one snapshot, by position.
struct Table {
    generation: u64,
    snapshot: Weak<Snapshot>,
    sets: Vec<Rc<Set>>,
}

impl Pools {
    /// No pools yet.
    #[must_use]
    pub fn new(cells: Cells) -> Self {
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Self {
            cells,
            key: Cell::new([0, 0]),
            next_id: Cell::new(0),
            seed: Cell::new(seed),
            tables: RefCell::default(),
        }
    }

    /// The key of sticky cookies, which all instances, and all nodes that share clients, must have in common. To be set before the first [`Self::adopt`].
    pub fn set_key(&self, key: [u8; 16]) {
        let half = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes"));
        self.key.set([half(0), half(8)]);
    }

    /// Puts a snapshot in force. Backends that stay (by pool, name and address) keep their state; requests of older snapshots go on under theirs.
    pub fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let now = boot_now();
        let mut next_id = self.next_id.get();
        let mut tables = self.tables.borrow_mut();
        let sets = snapshot.edge.pools.iter().map(|pool| {
            let known =
                tables.first().and_then(|table| table.sets.iter().find(|set| *set.name == *pool.name));
            let set =
                known.map_or_else(|| Rc::new(Set::new(pool, self.cells, self.new_seed(), now)), Rc::clone);
            set.configure(pool);
            let mut before = set.sources.take();
            let sources = pool.backends.iter().map(|backend| {
                let slot = snapshot.slots.get(&format!("{}/{}", pool.name, backend.name)).copied();
                let mut source = Source::new(backend, slot);
                let old = before.iter_mut().find(|one| one.backend.name == backend.name);
                if let Some(old) = old {
                    source.inherit(old);
                }
                source
            });
            let sources = sources.collect();
            set.sources.replace(sources);
            set.relist(pool, self.key.get(), &mut next_id, now);
            set
        });
        let sets = sets.collect();
        let table = Table { generation: snapshot.generation, snapshot: Arc::downgrade(snapshot), sets };
        tables.retain(|one| one.generation != snapshot.generation && one.snapshot.strong_count() > 0);
        tables.insert(0, table);
        self.next_id.set(next_id);
    }

    /// A backend for a request; waits when all are full and the pool has a queue.
    ///
    /// # Errors
    /// When there is none: 503.
    pub async fn lease(&self, snapshot: &Snapshot, pool: PoolId, ask: &Ask<'_>) -> Result<Lease, Refused> {
        let set = self.set(snapshot, pool).ok_or(Refused::from(Reason::Empty))?;
        // Nobody overtakes those who wait.
        if set.queue.len() == 0 {
            match set.try_lease(ask) {
                Ok(lease) => return Ok(lease),
                Err(Nobody::Full) => {}
                Err(Nobody::Spent | Nobody::Out) if set.pending.get() => {}
                Err(Nobody::Spent) => return Err(Reason::Spent.into()),
                Err(Nobody::Out) => return Err(set.why_out()),
            }
        }
        Box::pin(wait(&set, ask)).await
    }

    /// Whether the pool's budget has a retry left; takes it.
    #[must_use]
    pub fn may_retry(&self, snapshot: &Snapshot, pool: PoolId) -> bool {
        self.set(snapshot, pool).is_some_and(|set| set.inner.borrow_mut().budget.retry(boot_now()))
    }

    /// What the probe of the backend with this row says, and its own words. An `Unknown` keeps what was said before.
    pub fn health(&self, slot: u32, verdict: Verdict, detail: &str) {
        self.each_source(
            |source| source.slot == Some(slot),
            |set, source, members, now| {
                source.verdict = Some((verdict, detail.to_owned()));
                members.iter().for_each(|member| set.hear(Input::Verdict { member: *member, verdict }, now));
            },
        );
    }

    /// What the operator wants of a backend. Returns whether there is one of that name.
    pub fn operator(&self, pool: &str, backend: &str, order: Order) -> bool {
        let mut found = false;
        self.each_source(
            |source| source.backend.name == backend,
            |set, source, members, now| {
                if *set.name != *pool {
                    return;
                }
                found = true;
                source.order(order);
                members.iter().for_each(|member| set.hear(Input::Order { member: *member, order }, now));
            },
        );
        found
    }

    /// Calls with each source of the newest table that is wanted, and with the positions of its backends.
    fn each_source(
        &self,
        wanted: impl Fn(&Source) -> bool,
        mut call: impl FnMut(&Set, &mut Source, &[usize], Boot),
    ) {
        let now = boot_now();
        let tables = self.tables.borrow();
        let Some(table) = tables.first() else { return };
        for set in &table.sets {
            for source in set.sources.borrow_mut().iter_mut().filter(|source| wanted(source)) {
                let members = set.members_of(&source.backend.name);
                call(set, source, &members, now);
            }
        }
    }

    fn set(&self, snapshot: &Snapshot, pool: PoolId) -> Option<Rc<Set>> {
        let tables = self.tables.borrow();
        let table = tables.iter().find(|table| table.generation == snapshot.generation)?;
        table.sets.get(pool.index()).map(Rc::clone)
    }

    fn new_seed(&self) -> u64 {
        let seed = mainstay_core::balance::hash::mix(self.seed.get());
        self.seed.set(seed);
        seed
    }
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

/// Waits in the pool's queue.
async fn wait(set: &Set, ask: &Ask<'_>) -> Result<Lease, Refused> {
    let (max, patience) = if set.pending.get() {
        let (max, patience) = FIRST_LOOK;
        (max.max(set.queue_max.get()), patience.max(set.queue_timeout.get()))
    } else {
        (set.queue_max.get(), set.queue_timeout.get())
    };
    if set.queue.len() >= max as usize {
        return Err(Reason::QueueFull.into());
    }
    let turn = set.queue.join();
    let waited = timeout(patience, async {
        loop {
            turn.come().await;
            match set.try_lease(ask) {
                Ok(lease) => return Ok(lease),
                // What is there may be for others: this request was there already.
                Err(Nobody::Full) if !ask.tried.is_empty() => turn.pass_on(),
                Err(Nobody::Full) => {}
                Err(Nobody::Spent | Nobody::Out) if set.pending.get() => {}
                Err(Nobody::Spent) => return Err(Reason::Spent.into()),
                Err(Nobody::Out) => return Err(set.why_out()),
            }
        }
    });
    waited.await.unwrap_or_else(|_| Err(Reason::QueueTimeout.into()))
}
