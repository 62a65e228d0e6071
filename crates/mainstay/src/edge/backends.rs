//! What this process's threads are told of backends, and what is told of them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::balance::Order;
use mainstay_core::election::Verdict;
use mainstay_core::name::ProbeId;
use mainstay_proxy::pool::{BackendStatus, Standing};
use mainstay_proxy::snapshot::Snapshot;
use mainstay_proxy::thread::Thread;
use mainstay_proxy::worker::Process;

use crate::ipc::{PoolOrder, Seen};
use crate::status::ProbeStatus;

/// Pool, backend, address.
type Key = (String, String, String);

/// What is known and was told.
#[derive(Default)]
pub(super) struct Backends {
    /// Names of the probes, by number.
    probes: Vec<String>,
    /// What each probe said last.
    verdicts: HashMap<String, (Verdict, String)>,
    orders: Vec<PoolOrder>,
    told: HashMap<Key, Standing>,
}

impl Backends {
    /// What every thread does with a Plan of these probes before its first request: backends are told what is known.
    pub(super) fn brief(&mut self, probes: Vec<String>) -> impl Fn(&Rc<Thread>) + Clone + Send + use<> {
        self.probes = probes;
        let known: HashSet<&String> = self.probes.iter().collect();
        self.verdicts.retain(|name, _| known.contains(name));
        let by_number = self.probes.iter().map(|name| self.verdicts.get(name).cloned());
        let verdicts: Arc<Vec<Option<(Verdict, String)>>> = Arc::new(by_number.collect());
        let orders = Arc::new(self.orders.clone());
        move |thread| {
            let snapshot = thread.snapshot();
            for (slot, probe) in probed(&snapshot) {
                if let Some(Some((verdict, detail))) = verdicts.get(probe.index()) {
                    thread.pools.health(slot, *verdict, detail);
                }
            }
            give(thread, &orders);
        }
    }

    /// A probe has spoken.
    pub(super) fn heard(&mut self, process: &Process, status: ProbeStatus) {
        let (verdict, detail) = (status.verdict, status.detail.clone());
        self.verdicts.insert(status.name.clone(), (status.verdict, status.detail));
        let Some(id) = self.probes.iter().position(|probe| *probe == status.name) else { return };
        let Some(snapshot) = process.snapshot() else { return };
        let slots: Vec<u32> =
            probed(snapshot).filter(|(_, probe)| probe.index() == id).map(|(slot, _)| slot).collect();
        if slots.is_empty() {
            return;
        }
        process.tell(move |thread| {
            slots.iter().for_each(|slot| thread.pools.health(*slot, verdict, &detail));
        });
    }

    /// These are the operator's words, and no others.
    pub(super) fn obey(&mut self, process: &Process, orders: Vec<PoolOrder>) {
        let gone = self.orders.iter().filter(|old| {
            let same = |new: &&PoolOrder| (&new.pool, &new.backend) == (&old.pool, &old.backend);
            let kind = |order: Order| matches!(order, Order::Weight(_));
            !orders.iter().filter(same).any(|new| kind(new.order) == kind(old.order))
        });
        let mut words: Vec<PoolOrder> =
            gone.map(|old| PoolOrder { order: Order::AsWritten, ..old.clone() }).collect();
        words.extend(orders.iter().cloned());
        if !words.is_empty() {
            process.tell(move |thread| give(thread, &words));
        }
        self.orders = orders;
    }

    /// Which backends stand elsewhere than was told.
    pub(super) fn changes(&mut self, now: Vec<BackendStatus>) -> Vec<Seen> {
        let mut changed = Vec::new();
        let mut gone: HashSet<Key> = self.told.keys().cloned().collect();
        for status in now {
            let key = (status.pool.clone(), status.backend.clone(), status.address.clone());
            gone.remove(&key);
            if self.told.insert(key, status.state) != Some(status.state) {
                changed.push(Seen {
                    pool: status.pool,
                    backend: status.backend,
                    address: status.address,
                    state: Some(status.state),
                    why: status.why,
                });
            }
        }
        for key in gone {
            self.told.remove(&key);
            let (pool, backend, address) = key;
            changed.push(Seen { pool, backend, address, state: None, why: String::new() });
        }
        changed
    }
}

/// Slots of backends with a probe, and its number.
fn probed(snapshot: &Snapshot) -> impl Iterator<Item = (u32, ProbeId)> {
    let backends = snapshot.edge.pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b)));
    backends.filter_map(|(pool, backend)| {
        let slot = snapshot.slots.get(&format!("{}/{}", pool.name, backend.name))?;
        Some((*slot, backend.probe?))
    })
}

fn give(thread: &Rc<Thread>, words: &[PoolOrder]) {
    for word in words {
        thread.pools.operator(&word.pool, &word.backend, word.order);
    }
}
