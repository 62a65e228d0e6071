//! Pools of tunnels that no file names: one for each, made of the template ([`OPEN`]) when a request first asks for it.
//!
//! What a request carries is a [`PoolId`] all the same, but no position: it is looked up here, and settings are the template's
//! ([`Snapshot::pool`]). So leases, retries and queues are those of every pool.

use std::collections::HashMap;
use std::rc::Rc;

use mainstay_config::plan::edge::{Pool, Target};
use mainstay_config::plan::tunnel::{OPEN, made_name};
use mainstay_core::name::PoolId;

use super::Pools;
use super::entry::Entry;
use super::set::Set;
use super::source::Source;
use super::status::{BackendStatus, Standing};
use crate::clock::boot_now;
use crate::snapshot::Snapshot;

/// Ids from here on are no positions in a file, which has some thousands of pools at most.
const FIRST: u32 = 1 << 31;

/// Whether a pool is a tunnel's that no file names.
pub(crate) const fn is_open(id: PoolId) -> bool {
    id.0 >= FIRST
}

/// The pools of a thread that no file names.
#[derive(Default)]
pub(super) struct Open {
    ids: HashMap<Rc<str>, u32>,
    sets: HashMap<u32, Rc<Set>>,
    next: u32,
    /// What those have counted that are gone.
    gone: Counts,
}

/// What was sent to backends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) retries: u64,
}

impl Counts {
    /// With what one backend has counted.
    pub(super) fn and(mut self, entry: &Entry) -> Self {
        self.add(Self {
            requests: entry.requests.get(),
            failures: entry.failures.get(),
            retries: entry.retries.get(),
        });
        self
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.retries += other.retries;
    }
}

impl Open {
    pub(super) fn set(&self, id: PoolId) -> Option<Rc<Set>> {
        self.sets.get(&id.0).map(Rc::clone)
    }

    fn of(&self, tunnel: &str) -> Option<Rc<Set>> {
        self.set(PoolId(*self.ids.get(tunnel)?))
    }

    /// Takes a pool in; the number that it goes by is nobody's.
    fn add(&mut self, tunnel: &str, set: Rc<Set>) -> PoolId {
        let mut id = FIRST | self.next;
        while self.sets.contains_key(&id) {
            id = FIRST | (id + 1);
        }
        self.next = (id + 1) & !FIRST;
        self.ids.insert(tunnel.into(), id);
        self.sets.insert(id, set);
        PoolId(id)
    }

    fn remove(&mut self, tunnel: &str) {
        let set = self.ids.remove(tunnel).and_then(|id| self.sets.remove(&id));
        if let Some(set) = set {
            self.gone.add(set.counts());
        }
    }
}

/// The pool of one tunnel.
fn made(template: &Pool, tunnel: &str) -> Pool {
    let mut pool = Pool { name: made_name(tunnel), ..template.clone() };
    for backend in &mut pool.backends {
        backend.name.clone_from(&pool.name);
        backend.target = Target::Tunnel(tunnel.to_owned());
        // A probe of the template would be nobody's.
        backend.probe = None;
    }
    pool
}

impl Pools {
    /// The pool of a tunnel: the file's when it has one, else one like all that no file names, made now when it is new. `None` when
    /// the configuration in force has no such pools.
    pub fn of_tunnel(&self, snapshot: &Snapshot, tunnel: &str) -> Option<PoolId> {
        if let Some(id) = snapshot.pool_of_tunnel(tunnel) {
            return Some(id);
        }
        if let Some(id) = self.open.borrow().ids.get(tunnel) {
            return Some(PoolId(*id));
        }
        let newest = self.tables.borrow().first().and_then(|table| table.snapshot.upgrade());
        let newest = newest.as_deref().unwrap_or(snapshot);
        let pool = made(newest.template()?, tunnel);
        let set = Rc::new(Set::new(&pool, self.cells, self.new_seed(), boot_now()));
        self.list(&set, &pool);
        Some(self.open.borrow_mut().add(tunnel, set))
    }

    /// Frees what is kept of a tunnel that no file names. Requests that are under way in it go on.
    pub fn forget(&self, tunnel: &str) {
        self.tunnels.borrow_mut().forget(tunnel);
        self.open.borrow_mut().remove(tunnel);
    }

    /// Pools that no file names.
    #[must_use]
    pub fn open_ones(&self) -> usize {
        self.open.borrow().sets.len()
    }

    /// Another list of agents is in force for a tunnel.
    pub(super) fn offer_open(&self, tunnel: &str) {
        let Some(set) = self.open.borrow().of(tunnel) else { return };
        let newest = self.tables.borrow().first().and_then(|table| table.snapshot.upgrade());
        if let Some(template) = newest.as_deref().and_then(Snapshot::template) {
            self.list(&set, &made(template, tunnel));
        }
    }

    /// Takes over what a new configuration says of all of them.
    pub(super) fn adopt_open(&self, snapshot: &Snapshot) {
        let Some(template) = snapshot.template() else {
            let mut open = self.open.borrow_mut();
            let tunnels: Vec<Rc<str>> = open.ids.keys().map(Rc::clone).collect();
            return tunnels.iter().for_each(|tunnel| open.remove(tunnel));
        };
        let known: Vec<Rc<str>> = self.open.borrow().ids.keys().map(Rc::clone).collect();
        for tunnel in known {
            if snapshot.pool_of_tunnel(&tunnel).is_some() {
                self.open.borrow_mut().remove(&tunnel);
                continue;
            }
            let Some(set) = self.open.borrow().of(&tunnel) else { continue };
            let pool = made(template, &tunnel);
            set.configure(&pool);
            self.list(&set, &pool);
        }
    }

    /// Makes the list of a pool's backends.
    fn list(&self, set: &Rc<Set>, pool: &Pool) {
        let mut before = set.sources.take();
        let mut sources: Vec<Source> = pool.backends.iter().map(|one| Source::new(one, None)).collect();
        for source in &mut sources {
            if let Some(old) = before.iter_mut().find(|old| old.backend.name == source.backend.name) {
                source.inherit(old);
            }
            source.learn(&self.names, &self.tunnels.borrow());
        }
        set.sources.replace(sources);
        set.relist(pool, self.key.get(), &self.next_id, boot_now());
    }

    /// A pool's backends; those of tunnels that no file names are one, however many there are.
    pub(super) fn status_of(&self, set: &Set) -> Vec<BackendStatus> {
        if *set.name != *made_name(OPEN) {
            return set.status();
        }
        let open = self.open.borrow();
        let (mut load, mut counts) = (0, open.gone);
        for set in open.sets.values() {
            load += set.here();
            counts.add(set.counts());
        }
        let all = set.status().into_iter().map(|one| BackendStatus {
            state: Standing::Up,
            why: String::new(),
            degraded: false,
            share: 100,
            load,
            requests: counts.requests,
            failures: counts.failures,
            retries: counts.retries,
            ..one
        });
        all.collect()
    }
}
