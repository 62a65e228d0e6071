//! Where hubs find each other, as the supervisor sees it: how the store does, and what it last told of hubs, which outlives the
//! worker, the program and the run of the node. A store that is away when we start costs no hub that was known.

use std::path::Path;

use mainstay_config::plan::Plan;
use mainstay_core::tunnel::keeper::HUBS_MAX;
use mainstay_core::tunnel::record::Record;

use super::{Supervisor, identity};
use crate::ipc::{ToEdge, ToRegistry};
use crate::role::Role;
use crate::status::{RegistryStatus, Status};

/// In the state directory.
const HUBS: &str = "hubs.json";

/// The hubs that an earlier run knew; none without a registry.
pub(super) fn recall(state: &Path, plan: &Plan) -> Vec<Record> {
    if plan.registry.is_none() {
        return Vec::new();
    }
    let mut hubs: Vec<Record> = identity::read(&state.join(HUBS)).unwrap_or_default();
    hubs.retain(|hub| hub.hub != plan.node && hub.is_sound());
    hubs.truncate(HUBS_MAX);
    hubs
}

/// What is worth remembering of a hub: which tunnels it has is told by itself.
fn address(hub: &Record) -> Record {
    Record { tunnels: Vec::new(), ..hub.clone() }
}

impl Supervisor {
    /// The registry role says which hubs there are.
    pub(super) fn registry_told(&mut self, hubs: Vec<Record>) {
        let before: Vec<Record> = self.edges.hubs.iter().map(address).collect();
        self.hubs_told(hubs);
        let known: Vec<Record> = self.edges.hubs.iter().map(address).collect();
        if known != before {
            self.remember(&known);
        }
    }

    fn remember(&self, known: &[Record]) {
        let state = &self.options.dirs.state;
        let kept = std::fs::create_dir_all(state).map_err(anyhow::Error::from);
        if let Err(error) = kept.and_then(|()| identity::try_keep(&state.join(HUBS), &known)) {
            tracing::warn!("{error:#}: a restart while the registry is away would find no other hub");
        }
    }

    /// A fresh registry worker is told what was known before it.
    pub(super) fn remind_registry(&mut self, slot: usize) {
        let known = self.edges.hubs.clone();
        self.workers[slot].send(&ToRegistry::Known(known));
    }

    /// A Plan without a registry knows no hub from one.
    pub(super) fn forget_hubs(&mut self) {
        if self.plan.registry.is_some() {
            return;
        }
        self.registry = None;
        if !self.edges.hubs.is_empty() {
            self.edges.hubs.clear();
            self.tell(Role::Edge, &ToEdge::Hubs(Vec::new()));
            self.remember(&[]);
        }
    }

    pub(super) fn registry_state(&mut self, slot: usize, state: Option<Box<RegistryStatus>>) {
        // One that is replaced has nothing to say of how things are.
        if self.workers[slot].is_current() {
            self.registry = state.map(|state| *state);
        }
    }

    /// How the store does; of a worker that died, nothing is known.
    pub(super) fn registry_status(&self, status: &mut Status) {
        let runs = |w: &super::Worker| w.role == Role::Registry && w.is_current() && w.running.is_some();
        if self.plan.registry.is_none() || !self.workers.iter().any(runs) {
            return;
        }
        status.registry.clone_from(&self.registry);
        status.degraded.extend(status.registry.iter().flat_map(RegistryStatus::degraded));
    }
}
