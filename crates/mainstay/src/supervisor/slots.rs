//! Where each backend counts in the memory that edge processes share: by name, and the same across reloads.

use std::collections::{HashMap, VecDeque};

use mainstay_config::plan::edge::Edge;
use mainstay_proxy::shared::BACKENDS;

/// The slots given out, by `pool/backend`.
#[derive(Default)]
pub(super) struct Slots {
    given: HashMap<String, u32>,
    /// Given back; the one that has been free for longest goes first, since requests of its former backend may still be under way.
    free: VecDeque<u32>,
    fresh: u32,
}

impl Slots {
    /// The slots of every backend of a Plan.
    ///
    /// # Errors
    /// When there are more backends than slots; then nothing changes.
    pub(super) fn assign(&mut self, edge: &Edge) -> anyhow::Result<HashMap<String, u32>> {
        let name = |pool: &str, backend: &str| format!("{pool}/{backend}");
        let names: Vec<String> =
            edge.pools.iter().flat_map(|p| p.backends.iter().map(move |b| name(&p.name, &b.name))).collect();
        anyhow::ensure!(names.len() <= BACKENDS, "{} backends, at most {BACKENDS} on one node", names.len());
        let mut given = HashMap::new();
        let mut old = std::mem::take(&mut self.given);
        let mut new = Vec::new();
        for name in names {
            match old.remove(&name) {
                Some(slot) => drop(given.insert(name, slot)),
                None => new.push(name),
            }
        }
        self.free.extend(old.into_values());
        for name in new {
            given.entry(name).or_insert_with(|| self.next());
        }
        self.given = given;
        Ok(self.given.clone())
    }

    /// What is given out.
    pub(super) const fn given(&self) -> &HashMap<String, u32> {
        &self.given
    }

    /// Never used ones first.
    fn next(&mut self) -> u32 {
        if (self.fresh as usize) < BACKENDS {
            self.fresh += 1;
            return self.fresh - 1;
        }
        self.free.pop_front().expect("no more names than slots")
    }

    /// What was given out before this process became another program.
    pub(super) fn adopt(&mut self, given: HashMap<String, u32>) {
        self.fresh = given.values().max().map_or(0, |most| most + 1);
        self.free = (0..self.fresh).filter(|slot| !given.values().any(|used| used == slot)).collect();
        self.given = given;
    }
}
