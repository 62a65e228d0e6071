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
mod explain;
mod names;
mod open;
mod queue;
mod set;
mod source;
mod status;
mod sticky;
#[cfg(test)]
mod tests;
mod tunnels;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_core::balance::hash::Key;
use mainstay_core::balance::{Input, Nobody};
use mainstay_core::election::Verdict;
use mainstay_core::name::PoolId;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub use self::ask::{Ask, Reason, Refused};
pub use self::entry::{Lease, Outcome};
pub use self::explain::{Explained, ExplainedBackend};
pub use self::names::Names;
use self::open::Open;
pub(crate) use self::open::is_open;
use self::set::Set;
pub(crate) use self::source::written;
use self::source::{Source, host};
pub use self::status::{BackendStatus, Standing};
use self::tunnels::Tunnels;
use crate::clock::boot_now;
use crate::road::Offer;
use crate::shared::Cells;
use crate::snapshot::Snapshot;
pub use mainstay_core::balance::Order;

/// So many requests may wait for the first look-up of a pool's names, and so long, whatever its queue says.
const FIRST_LOOK: (u32, Duration) = (1000, Duration::from_secs(5));

/// Names are not looked up more often than this.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long the driver sleeps when there is nothing to look up.
const IDLE: Duration = Duration::from_secs(3600);

/// The pools of one thread.
pub struct Pools {
    cells: Cells,
    /// Key of sticky cookies.
    key: Cell<Key>,
    next_id: Cell<u32>,
    seed: Cell<u64>,
    names: Names,
    /// Which agents offer which tunnel.
    tunnels: RefCell<Tunnels>,
    /// Those of tunnels that no file names.
    open: RefCell<Open>,
    /// A snapshot was put in force.
    adopted: Notify,
    /// The newest first.
    tables: RefCell<Vec<Table>>,
}

/// The pools of one snapshot, by position.
struct Table {
    generation: u64,
    snapshot: Weak<Snapshot>,
    sets: Vec<Rc<Set>>,
    /// Pool and backend, by position, of each row.
    slots: HashMap<u32, (usize, usize)>,
}

impl Pools {
    /// No pools yet; names that nobody else looks up.
    #[must_use]
    pub fn new(cells: Cells) -> Self {
        Self::sharing(cells, Names::default())
    }

    /// No pools yet; what is known of names is shared by all threads that are given the same.
    #[must_use]
    pub fn sharing(cells: Cells, names: Names) -> Self {
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Self {
            cells,
            key: Cell::new([0, 0]),
            next_id: Cell::new(0),
            seed: Cell::new(seed),
            names,
            tunnels: RefCell::new(Tunnels::new(boot_now())),
            open: RefCell::default(),
            adopted: Notify::new(),
            tables: RefCell::default(),
        }
    }

    /// The key of the sticky cookies of pools that name none, which all instances must have in common. To be set before
    /// the first [`Self::adopt`].
    pub fn set_key(&self, key: [u8; 16]) {
        self.key.set(sticky::from_bytes(key));
    }

    /// The key of sticky cookies of pools that name none: a secret that all threads of the node's processes share.
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        let [low, high] = self.key.get();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&low.to_le_bytes());
        key[8..].copy_from_slice(&high.to_le_bytes());
        key
    }

    /// Puts a snapshot in force. Backends that stay (by pool, name and address) keep their state; requests of older snapshots go on under theirs.
    pub fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let now = boot_now();
        let mut tables = self.tables.borrow_mut();
        let mut slots = HashMap::new();
        let mut sets = Vec::with_capacity(snapshot.edge.pools.len());
        for pool in &snapshot.edge.pools {
            let known =
                tables.first().and_then(|table| table.sets.iter().find(|set| *set.name == *pool.name));
            let set = match known {
                Some(set) => Rc::clone(set),
                None => Rc::new(Set::new(pool, self.cells, self.new_seed(), now)),
            };
            set.configure(pool);
            let mut before = set.sources.take();
            let mut sources = Vec::with_capacity(pool.backends.len());
            for backend in &pool.backends {
                let slot = snapshot.slots.get(&format!("{}/{}", pool.name, backend.name)).copied();
                let mut source = Source::new(backend, slot);
                if let Some(old) = before.iter_mut().find(|one| one.backend.name == backend.name) {
                    source.inherit(old);
                }
                slots.extend(slot.map(|slot| (slot, (sets.len(), sources.len()))));
                sources.push(source);
            }
            set.sources.replace(sources);
            set.relist(pool, self.key.get(), &self.next_id, now);
            sets.push(set);
        }
        let table =
            Table { generation: snapshot.generation, snapshot: Arc::downgrade(snapshot), sets, slots };
        tables.retain(|one| one.generation != snapshot.generation && one.snapshot.strong_count() > 0);
        tables.insert(0, table);
        drop(tables);
        self.adopt_open(snapshot);
        self.take_names();
        self.adopted.notify_one();
    }

    /// These agents offer a tunnel, and no others.
    pub fn offers(&self, tunnel: &str, offers: Vec<Offer>) {
        if !self.tunnels.borrow_mut().replace(tunnel, offers, boot_now()) {
            return;
        }
        self.offer_open(tunnel);
        let tables = self.tables.borrow();
        let newest = tables.first().and_then(|table| table.snapshot.upgrade());
        drop(tables);
        // There may be very many that no file names, and no pool of the file has any of them.
        if newest.is_none_or(|snapshot| snapshot.has_behind(tunnel)) {
            self.take_names();
        }
    }

    /// Looks names up, again and again, for as long as the thread lives. Without it backends that are names stay unresolved.
    pub async fn drive(&self) {
        let mut changes = self.names.changes();
        loop {
            let (names, interval) = self.wanted_names();
            let next = if names.is_empty() { IDLE } else { self.names.look_up(&names, interval, boot_now()) };
            tokio::select! {
                // The sender lives as long as `self.names`.
                _ = changes.changed() => {}
                () = self.adopted.notified() => {}
                () = sleep(next) => {}
            }
            self.take_names();
        }
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
                Err(Nobody::Spent | Nobody::Out) if set.is_awaiting() => {}
                Err(nobody @ (Nobody::Spent | Nobody::Out)) => return Err(set.said(nobody)),
            }
        }
        Box::pin(wait(&set, ask)).await
    }

    /// Whether the pool's budget has a retry left; takes it.
    #[must_use]
    pub fn may_retry(&self, snapshot: &Snapshot, pool: PoolId) -> bool {
        self.set(snapshot, pool).is_some_and(|set| set.inner.borrow_mut().budget.retry(boot_now()))
    }

    /// What the probe of the backend with this row says, and its own words; to be told again after each [`Self::adopt`]. An
    /// `Unknown` keeps what was said before. Until the first word a backend is used.
    pub fn health(&self, slot: u32, verdict: Verdict, detail: &str) {
        let tables = self.tables.borrow();
        let Some(table) = tables.first() else { return };
        let Some((set, source)) = table.slots.get(&slot).map(|(set, at)| (&table.sets[*set], *at)) else {
            return;
        };
        let name = {
            let source = &mut set.sources.borrow_mut()[source];
            let (old, words) = source.verdict.get_or_insert_with(|| (Verdict::Pending, String::new()));
            if words != detail {
                detail.clone_into(words);
            }
            if std::mem::replace(old, verdict) == verdict {
                return;
            }
            source.backend.name.clone()
        };
        let now = boot_now();
        for member in set.members_of(&name) {
            set.hear(Input::Verdict { member, verdict }, now);
        }
    }

    /// What the operator wants of a backend. Returns whether there is one of that name.
    pub fn operator(&self, pool: &str, backend: &str, order: Order) -> bool {
        let tables = self.tables.borrow();
        let Some(set) = tables.first().and_then(|table| table.sets.iter().find(|set| *set.name == *pool))
        else {
            return false;
        };
        {
            let mut sources = set.sources.borrow_mut();
            let Some(source) = sources.iter_mut().find(|one| one.backend.name == backend) else {
                return false;
            };
            source.order(order);
        }
        let now = boot_now();
        for member in set.members_of(backend) {
            set.hear(Input::Order { member, order }, now);
        }
        true
    }

    /// Every backend of every pool, as this thread sees it.
    #[must_use]
    pub fn status(&self) -> Vec<BackendStatus> {
        let tables = self.tables.borrow();
        tables
            .first()
            .map(|table| table.sets.iter().flat_map(|set| self.status_of(set)).collect())
            .unwrap_or_default()
    }

    /// Which backend a request would get, and why not each other one.
    #[must_use]
    pub fn explain(&self, snapshot: &Snapshot, pool: PoolId, ask: &Ask<'_>) -> Option<Explained> {
        let balance = &snapshot.pool(pool)?.balance;
        Some(self.set(snapshot, pool)?.explain(ask, balance))
    }

    /// Requests that wait in queues.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        let tables = self.tables.borrow();
        tables.first().map_or(0, |table| table.sets.iter().map(|set| set.queue.len()).sum())
    }

    /// The names that the newest snapshot speaks of, and how often they are looked up.
    fn wanted_names(&self) -> (Vec<String>, Duration) {
        let tables = self.tables.borrow();
        let Some(snapshot) = tables.first().and_then(|table| table.snapshot.upgrade()) else {
            return (Vec::new(), IDLE);
        };
        let backends = snapshot.edge.pools.iter().flat_map(|pool| &pool.backends);
        let mut names: Vec<String> =
            backends.filter_map(|one| host(&one.target).map(str::to_owned)).collect();
        names.sort_unstable();
        names.dedup();
        (names, snapshot.edge.resolve.max(SHORTEST))
    }

    /// Takes over what is known of names and of agents.
    fn take_names(&self) {
        let now = boot_now();
        let tables = self.tables.borrow();
        let Some(table) = tables.first() else { return };
        let Some(snapshot) = table.snapshot.upgrade() else { return };
        for (set, pool) in table.sets.iter().zip(&snapshot.edge.pools) {
            let mut changed = false;
            for source in set.sources.borrow_mut().iter_mut() {
                changed |= source.learn(&self.names, &self.tunnels.borrow());
            }
            if changed {
                set.relist(pool, self.key.get(), &self.next_id, now);
            }
        }
    }

    fn set(&self, snapshot: &Snapshot, pool: PoolId) -> Option<Rc<Set>> {
        if is_open(pool) {
            return self.open.borrow().set(pool);
        }
        let tables = self.tables.borrow();
        let known = tables.iter().find(|table| table.generation == snapshot.generation);
        if let Some(table) = known {
            return table.sets.get(pool.index()).map(Rc::clone);
        }
        // A snapshot that this thread has not adopted, or no longer knows: the pool may be known by its name.
        let name = &snapshot.edge.pools.get(pool.index())?.name;
        tables.first()?.sets.iter().find(|set| *set.name == **name).map(Rc::clone)
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
    let (max, patience) = if set.is_awaiting() {
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
                Err(Nobody::Spent | Nobody::Out) if set.is_awaiting() => {}
                Err(nobody @ (Nobody::Spent | Nobody::Out)) => return Err(set.said(nobody)),
            }
        }
    });
    waited.await.unwrap_or_else(|_| Err(Reason::QueueTimeout.into()))
}
