//! The edge processes: what they are given, whose sockets they serve, how they are replaced.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::Plan;
use mainstay_config::plan::edge::{Listener, Place as At};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::record::Record;
use mainstay_proxy::pool::Standing;
use mainstay_proxy::shared::{COLUMNS, Cells, WORDS};
use mainstay_proxy::worker::{EdgeStatus, SocketKey};
use mainstay_sys::clock::boot_now;
use mainstay_sys::shared::Shared;

use super::Supervisor;
use super::hubs::Run;
use super::listeners::Listeners;
use super::logs::Logs;
use super::secrets::Secrets;
use super::slots::Slots;
use super::tickets::TicketKeys;
use super::worker::Place;
use crate::ipc::{EdgePlan, FromEdge, HubIdentity, RunSecret, Sibling, ToApi, ToEdge, ToVip};
use crate::role::Role;

/// Sockets that go with one message.
const AT_ONCE: usize = 7;

/// How much longer than its time to drain a process may take to end.
const END_GRACE: Duration = Duration::from_secs(5);

/// How often edge processes are asked what they have counted: what one that is killed has counted since is lost.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How long commands, deliveries and questions of a worker that is replaced may go on.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// What the supervisor keeps for the edge processes.
#[derive(Default)]
pub(super) struct Edges {
    pub(super) listeners: Listeners,
    pub(super) slots: Slots,
    /// Counters that all of them share; there once an edge has been started.
    pub(super) cells: Option<Shared>,
    /// What processes that are gone have counted.
    pub(super) gone: EdgeStatus,
    /// Where backends stand, as events told it last.
    pub(super) told: HashMap<(String, String, String), Standing>,
    /// When processes are asked next what they have counted.
    pub(super) count_at: Boot,
    pub(super) logs: Logs,
    pub(super) secrets: Secrets,
    pub(super) tickets: TicketKeys,
    /// Key of sticky cookies of pools that name none.
    pub(super) sticky: Vec<u8>,
    /// This run of the node, as agents of tunnels and other hubs know it.
    pub(super) run: Run,
    /// What edge processes of this run know each other by.
    pub(super) secret: RunSecret,
    /// What they were told of each other.
    pub(super) siblings: Vec<Sibling>,
    /// What registries know of other hubs.
    pub(super) hubs: Vec<Record>,
    /// What the registry role was told of this one.
    pub(super) own: Option<Record>,
}

/// What an edge process has.
#[derive(Default)]
pub(super) struct Has {
    /// Its column in the shared memory.
    pub(super) column: u16,
    /// How many threads it has; 0 for one of an earlier version, which knows of no siblings.
    pub(super) threads: u16,
    /// The sockets that it was given.
    pub(super) sockets: HashSet<SocketKey>,
    /// What it said last.
    pub(super) status: EdgeStatus,
    /// Where it sees backends stand: pool, backend, address.
    pub(super) seen: HashMap<(String, String, String), Standing>,
    /// The tunnels that it has agents of.
    pub(super) offers: Vec<String>,
}

impl Supervisor {
    /// Gives a fresh edge process its memory, its sockets and its Plan.
    pub(super) fn greet_edge(&mut self, slot: usize, plan: &Arc<Plan>) -> anyhow::Result<()> {
        let column = self.free_column()?;
        if self.edges.cells.is_none() {
            self.edges.cells = Some(Shared::create("mainstay-edge", WORDS)?);
        }
        let cells = self.edges.cells.as_ref().context("it was just made")?;
        Cells::clear(cells.words(), usize::from(column));
        let memory = cells.as_fd().try_clone_to_owned().context("lend the shared memory")?;
        let worker = &mut self.workers[slot];
        let threads = plan.edge.threads.max(1);
        worker.edge = Has { column, threads, ..Has::default() };
        let own = worker.sibling();
        let hub = HubIdentity {
            name: plan.node.clone(),
            instance: self.edges.run.instance,
            process: worker.instance,
            processes: plan.edge.instances.max(1),
            threads,
            own,
            secret: self.edges.secret.clone(),
        };
        worker.send_with(&ToEdge::Start { column, threads, hub }, vec![memory]);
        worker.send(&ToEdge::Tickets(self.edges.tickets.keys().to_vec()));
        self.workers[slot].send(&ToEdge::Sticky(self.edges.sticky.clone()));
        self.send_logs_to(slot);
        for status in self.probes.values() {
            self.workers[slot].send(&ToEdge::Health(status.clone()));
        }
        self.workers[slot].send(&ToEdge::Hubs(self.edges.hubs.clone()));
        self.tell_siblings();
        self.workers[slot].send(&ToEdge::Siblings(self.edges.siblings.clone()));
        let words = self.orders.words();
        self.workers[slot].send(&ToEdge::Orders(words));
        // All that before the Plan, so that it serves everything as it should from the first connection on.
        self.settle_sockets();
        self.send_edge_plan(slot)
    }

    /// Hands out where access logs go.
    pub(super) fn send_logs_to(&mut self, slot: usize) {
        let mut logs = self.edges.logs.lend().into_iter().peekable();
        while logs.peek().is_some() {
            let (targets, fds): (Vec<_>, Vec<_>) = logs.by_ref().take(AT_ONCE).unzip();
            self.workers[slot].send_with(&ToEdge::Logs(targets), fds);
        }
    }

    /// Asks edge processes now and then what they have counted, so that it outlives them.
    pub(super) fn count(&mut self, now: Boot) {
        if !self.plan.edge.is_empty() && self.edges.count_at <= now {
            self.edges.count_at = now + COUNT_EVERY;
            self.tell(Role::Edge, &ToEdge::Status);
        }
    }

    /// A new key for session tickets, when it is time.
    pub(super) fn turn_tickets(&mut self, now: Boot) {
        if !self.plan.edge.is_empty() && self.edges.tickets.turn(now) {
            let keys = self.edges.tickets.keys().to_vec();
            self.tell(Role::Edge, &ToEdge::Tickets(keys));
        }
    }

    /// Columns are taken by every process that runs, also by one that drains.
    fn free_column(&self) -> anyhow::Result<u16> {
        let taken: HashSet<u16> = self
            .workers
            .iter()
            .filter(|w| w.role == Role::Edge && w.running.is_some())
            .map(|w| w.edge.column)
            .collect();
        // This one's own is not to be counted, whatever it was.
        let free = (0..COLUMNS).filter_map(|c| u16::try_from(c).ok()).find(|c| !taken.contains(c));
        free.context("too many edge processes at once, those that drain among them")
    }

    pub(super) fn send_edge_plan(&mut self, slot: usize) -> anyhow::Result<()> {
        let edge = self.plan.edge.clone();
        let slots = self.edges.slots.assign(&edge)?;
        let probes = self.plan.probes.iter().map(|p| p.name.clone()).collect();
        self.workers[slot].send(&ToEdge::Plan(Box::new(EdgePlan { edge, slots, probes })));
        Ok(())
    }

    /// Has every socket served: by the process whose it is, and while that is not ready also by a sibling.
    pub(super) fn settle_sockets(&mut self) {
        let threads = self.plan.edge.threads.max(1);
        let serving: Vec<(usize, u16, bool)> = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, w)| w.role == Role::Edge && w.is_current())
            .filter_map(|(slot, w)| Some((slot, w.instance, w.running.as_ref()?.ready)))
            .collect();
        let mut wanted: Vec<HashSet<SocketKey>> = vec![HashSet::new(); self.workers.len()];
        for (key, held) in self.edges.listeners.iter() {
            if held.leaving == Some(super::listeners::Leaving::Gone) {
                continue;
            }
            let shared = matches!(key.place, At::Unix(_));
            let owner = key.thread / threads;
            let is_owner = |instance: u16| shared || instance == owner;
            let mut served = false;
            for (slot, instance, ready) in serving.iter().filter(|(_, instance, _)| is_owner(*instance)) {
                wanted[*slot].insert(key.clone());
                served |= *ready && (shared || *instance == owner);
            }
            // The next one that is ready, so that two that are down are served by different siblings.
            let after = |instance: u16| instance.wrapping_sub(owner).wrapping_sub(1);
            let sibling = serving.iter().filter(|(.., ready)| *ready).min_by_key(|(_, i, _)| after(*i));
            if let (false, Some((slot, ..))) = (served, sibling) {
                wanted[*slot].insert(key.clone());
            }
        }
        for (slot, ..) in serving {
            let wanted = std::mem::take(&mut wanted[slot]);
            self.give_sockets(slot, &wanted);
        }
    }

    /// Sends a process the sockets that it lacks and takes those back that others serve.
    fn give_sockets(&mut self, slot: usize, wanted: &HashSet<SocketKey>) {
        let has = &self.workers[slot].edge.sockets;
        let more: Vec<SocketKey> = wanted.difference(has).cloned().collect();
        let stays = |key: &SocketKey| {
            wanted.contains(key) || self.edges.listeners.iter().any(|(k, h)| k == key && h.leaving.is_some())
        };
        let less: Vec<SocketKey> = has.iter().filter(|key| !stays(key)).cloned().collect();
        for keys in more.chunks(AT_ONCE) {
            let lent: Option<Vec<_>> = keys.iter().map(|key| self.edges.listeners.lend(key)).collect();
            let Some(fds) = lent else {
                tracing::error!("no descriptor left to lend sockets");
                return;
            };
            self.workers[slot].edge.sockets.extend(keys.iter().cloned());
            self.workers[slot].send_with(&ToEdge::Sockets(keys.to_vec()), fds);
        }
        if !less.is_empty() {
            self.workers[slot].edge.sockets.retain(|key| !less.contains(key));
            self.workers[slot].send(&ToEdge::Leave(less));
        }
    }

    pub(super) fn hear_edge(&mut self, slot: usize, message: FromEdge) {
        match message {
            FromEdge::Ready => {
                self.confirmed(slot);
                self.tell_siblings();
                self.edge_took_plan(slot);
            }
            FromEdge::Refused(why) => {
                // It goes on with what it has; the sockets of the new Plan are served by nobody but are held.
                self.confirmed(slot);
                let message = format!("the edge does not take the configuration: {why}");
                self.news.push_back(crate::events::event(&self.plan.node, "config", "edge", message));
            }
            FromEdge::Alive => {}
            FromEdge::Synced(number) => self.synced(slot, number),
            FromEdge::Finished(keys) => {
                self.workers[slot].edge.sockets.retain(|key| !keys.contains(key));
                self.close_sockets();
            }
            FromEdge::Status(status) => {
                self.workers[slot].edge.status = *status;
                self.edge_answered(slot);
            }
            FromEdge::Explained { id, explained } => self.route_explained(id, explained),
            FromEdge::Seen(seen) => self.backends_seen(slot, seen),
            FromEdge::Offers(tunnels) => self.offers_told(slot, tunnels),
            FromEdge::Event(event) => self.news.push_back(event),
            FromEdge::Draining(open) => {
                tracing::debug!(open, "an edge process drains");
                self.workers[slot].edge.sockets.clear();
                if self.stop.is_some() && self.workers.iter().all(|w| w.edge.sockets.is_empty()) {
                    self.edges.listeners.close_all();
                }
                self.close_sockets();
            }
        }
    }

    /// It has finished the sockets of places that the Plan does not have.
    fn edge_took_plan(&mut self, slot: usize) {
        let Some(plan) = self.workers[slot].running.as_ref().map(|r| Arc::clone(&r.plan)) else { return };
        let places: HashSet<_> = plan.edge.listeners.iter().flat_map(Listener::sockets).collect();
        self.workers[slot].edge.sockets.retain(|key| places.contains(&(&key.place, key.udp)));
        self.close_sockets();
        self.settle_sockets();
    }

    /// Closes what goes and is served by nobody.
    fn close_sockets(&mut self) {
        let served: HashSet<SocketKey> =
            self.workers.iter().flat_map(|w| w.edge.sockets.iter().cloned()).collect();
        self.edges.listeners.close(|key| served.contains(key));
    }

    /// An edge process is dead: what it had under way counts no more, what it has counted does.
    pub(super) fn bury_edge(&mut self, slot: usize) {
        let has = std::mem::take(&mut self.workers[slot].edge);
        self.edges.gone.add(&has.status.counted());
        self.tell_own();
        if let Some(cells) = &self.edges.cells {
            Cells::clear(cells.words(), usize::from(has.column));
        }
        self.close_sockets();
        self.settle_sockets();
        self.tell_siblings();
    }

    /// Sockets whose connections go elsewhere by now are finished.
    pub(super) fn finish_sockets(&mut self, now: Boot) {
        let ripe = self.edges.listeners.ripe(now);
        if ripe.is_empty() {
            return;
        }
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Edge && w.running.is_some()) {
            let keys: Vec<SocketKey> =
                ripe.iter().filter(|k| worker.edge.sockets.contains(k)).cloned().collect();
            if !keys.is_empty() {
                worker.send(&ToEdge::Finish(keys));
            }
        }
        self.close_sockets();
    }

    /// A worker that is not needed any more ends what it has under way.
    pub(super) fn retire(&mut self, slot: usize) {
        let drain = self.plan.edge.drain;
        let worker = &mut self.workers[slot];
        worker.again_at = None;
        let Some(running) = worker.running.as_mut() else {
            worker.place = Place::Vacant;
            return;
        };
        worker.place = Place::Retired;
        let within = match worker.role {
            Role::Exec | Role::Probe | Role::Registry => {
                running.hang_up();
                FINISH_MAX
            }
            Role::Agent => {
                let within = super::agents::longest_drain(&running.plan);
                running.hang_up();
                within
            }
            Role::Vip => {
                worker.send(&ToVip::Stop);
                super::stop::RELEASE_MAX
            }
            Role::Api => {
                worker.send(&ToApi::Leave);
                FINISH_MAX
            }
            Role::Edge => {
                worker.send(&ToEdge::Drain(drain));
                drain
            }
        };
        self.workers[slot].retire_by = Some(boot_now() + within + END_GRACE);
        self.tell_siblings();
    }

    /// Kills those that do not end.
    pub(super) fn press_retired(&mut self, now: Boot) {
        for worker in self.workers.iter_mut().filter(|w| w.retire_by.is_some_and(|by| by <= now)) {
            worker.retire_by = None;
            if let Some(running) = &worker.running {
                tracing::warn!(role = %worker.role, "a worker that was to end has not: killing it");
                running.kill();
            }
        }
    }

    /// Has every edge process replaced by a new one, which takes over once it is ready.
    pub(super) fn renew_edges(&mut self) {
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Edge && w.is_current()) {
            worker.place = if worker.running.is_some() { Place::Replaced } else { Place::Vacant };
        }
    }

    /// Retires workers of a role that have successors, once all of these are ready.
    pub(super) fn retire_replaced(&mut self, role: Role) {
        let mut current = self.workers.iter().filter(|w| w.role == role && w.is_current());
        if !current.all(|w| w.running.as_ref().is_some_and(|r| r.ready)) {
            return;
        }
        let old = |w: &super::Worker| w.role == role && w.place == Place::Replaced;
        let done: Vec<usize> = (0..self.workers.len()).filter(|slot| old(&self.workers[*slot])).collect();
        done.into_iter().for_each(|slot| self.retire(slot));
    }
}
