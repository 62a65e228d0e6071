//! What this process's threads are told of backends, and what is told of them.

use std::collections::{HashMap, HashSet};

use mainstay_core::balance::Order;
use mainstay_core::election::Verdict;
use mainstay_proxy::pool::{BackendStatus, Standing};
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
    /// Another Plan is in force: its new backends are told what is known.
    pub(super) fn follow(&mut self, process: &Process, probes: Vec<String>) {
        self.probes = probes;
        let known: HashSet<&String> = self.probes.iter().collect();
        self.verdicts.retain(|name, _| known.contains(name));
        for name in self.verdicts.keys() {
            self.tell(process, name);
        }
        give(process, self.orders.clone());
    }

    /// A probe has spoken.
    pub(super) fn heard(&mut self, process: &Process, status: ProbeStatus) {
        self.verdicts.insert(status.name.clone(), (status.verdict, status.detail));
        self.tell(process, &status.name);
    }

    fn tell(&self, process: &Process, name: &str) {
        let (Some(snapshot), Some((verdict, detail))) = (process.snapshot(), self.verdicts.get(name)) else {
            return;
        };
        let Some(id) = self.probes.iter().position(|probe| probe == name) else { return };
        let mut slots = Vec::new();
        for pool in &snapshot.edge.pools {
            let probed = pool.backends.iter().filter(|b| b.probe.is_some_and(|probe| probe.index() == id));
            slots.extend(
                probed.filter_map(|b| snapshot.slots.get(&format!("{}/{}", pool.name, b.name)).copied()),
            );
        }
        if slots.is_empty() {
            return;
        }
        let (verdict, detail) = (*verdict, detail.clone());
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
        give(process, words);
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

fn give(process: &Process, words: Vec<PoolOrder>) {
    if words.is_empty() {
        return;
    }
    process.tell(move |thread| {
        for word in &words {
            thread.pools.operator(&word.pool, &word.backend, word.order);
        }
    });
}
