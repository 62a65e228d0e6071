//! This node as a hub among others: which run of it, what it has agents of, and what registries know of the others.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::tunnel::record::{Record, TUNNELS_MAX};
use serde::{Deserialize, Serialize};

use super::worker::Place;
use super::{Supervisor, tickets};
use crate::ipc::{Sibling, ToEdge, ToRegistry};
use crate::role::Role;

/// Bits of an instance that are drawn; what is left counts milliseconds until the year 2527.
const DRAWN: u32 = 20;

/// A run of the node. An upgrade goes on with it: the processes are others, the hub is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The epoch, and behind it what was drawn: two hubs that were started in one moment are told apart.
    pub(super) instance: u64,
    /// When it began, in milliseconds of the wall clock: a later run has a higher number.
    pub(super) epoch: u64,
}

impl Run {
    pub(super) fn begin() -> anyhow::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { instance: epoch << DRAWN | tickets::hub_instance()? >> (u64::BITS - DRAWN), epoch })
    }
}

impl Supervisor {
    /// An edge process has agents of other tunnels than before.
    pub(super) fn offers_told(&mut self, slot: usize, tunnels: Vec<String>) {
        self.workers[slot].edge.offers = tunnels;
        self.tell_own();
    }

    /// Tells edge processes of each other, when there are others than before. One that drains is dialled by nobody: who knows it has
    /// its session.
    pub(super) fn tell_siblings(&mut self) {
        let serves = |w: &&super::Worker| {
            let ready = w.running.as_ref().is_some_and(|running| running.ready);
            w.role == Role::Edge && w.place != Place::Retired && w.edge.threads > 0 && ready
        };
        let all = self.workers.iter().filter(serves);
        let all: Vec<Sibling> = all.map(super::Worker::sibling).collect();
        if self.edges.siblings == all {
            return;
        }
        let knows =
            |w: &&mut super::Worker| w.role == Role::Edge && w.running.is_some() && w.edge.threads > 0;
        for worker in self.workers.iter_mut().filter(knows) {
            worker.send(&ToEdge::Siblings(all.clone()));
        }
        self.edges.siblings = all;
    }

    /// Tells the registry role of this hub, when anything of it has changed.
    pub(super) fn tell_own(&mut self) {
        let own = self.own_hub();
        if self.edges.own.as_ref() != Some(&own) {
            self.tell(Role::Registry, &ToRegistry::Own(own.clone()));
            self.edges.own = Some(own);
        }
    }

    /// A fresh registry worker is told of this hub whatever its predecessor knew.
    pub(super) fn introduce_hub(&mut self, slot: usize) {
        let own = self.own_hub();
        self.workers[slot].send(&ToRegistry::Own(own.clone()));
        self.edges.own = Some(own);
    }

    fn own_hub(&self) -> Record {
        let edges = self.workers.iter().filter(|w| w.role == Role::Edge && w.running.is_some());
        let tunnels: BTreeSet<&String> = edges.flat_map(|w| &w.edge.offers).collect();
        Record {
            hub: self.plan.node.clone(),
            epoch: self.edges.run.epoch,
            addrs: self.plan.edge.hub.advertise.clone(),
            tunnels: tunnels.into_iter().take(TUNNELS_MAX).cloned().collect(),
        }
    }

    /// Registries know these hubs.
    pub(super) fn hubs_told(&mut self, hubs: Vec<Record>) {
        let others = hubs.into_iter().filter(|hub| hub.hub != self.plan.node && hub.is_sound());
        self.edges.hubs = others.collect();
        self.tell(Role::Edge, &ToEdge::Hubs(self.edges.hubs.clone()));
    }
}
