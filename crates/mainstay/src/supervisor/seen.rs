//! What all edge processes together say of themselves, for status and events.

use mainstay_config::plan::edge::{Balance, Place as At, Pool};
use mainstay_proxy::metrics::{ListenerCounts, RouteCounts};
use mainstay_proxy::pool::{BackendStatus, Standing};
use mainstay_proxy::worker::EdgeStatus;

use super::Supervisor;
use super::orders::Orders;
use crate::ipc::Seen;
use crate::role::Role;
use crate::status::{BackendShown, Counter, HubStatus, ListenerStatus, PoolStatus, Status, TunnelStatus};
use crate::words;

/// So many tunnels that the file does not name are shown; of the others there is their number.
const OPEN_SHOWN: usize = 1000;

impl Supervisor {
    /// What all edge processes have counted, and what the Plan says of it.
    pub(super) fn edge_status(&self, status: &mut Status) {
        let mut sum = EdgeStatus::default();
        self.workers.iter().filter(|w| w.role == Role::Edge).for_each(|w| sum.add(&w.edge.status));
        sum.add(&self.edges.gone);
        for listener in &self.plan.edge.listeners {
            let counts = sum.listeners.iter().find(|c| c.name == listener.name).cloned();
            let counts = counts
                .unwrap_or_else(|| ListenerCounts { name: listener.name.clone(), ..Default::default() });
            status.listeners.push(ListenerStatus {
                protocol: listener.protocol,
                tls: listener.tls.is_some(),
                binds: listener.places.iter().map(bind).collect(),
                open: counts.accepted.saturating_sub(counts.closed),
                counts,
            });
        }
        for route in &self.plan.edge.routes {
            let counts = sum.routes.iter().find(|c| c.name == route.name).cloned();
            let none = || RouteCounts { name: route.name.clone(), ..Default::default() };
            status.routes.push(counts.unwrap_or_else(none));
        }
        for pool in &self.plan.edge.pools {
            let shown = pool_status(pool, &sum, &self.orders);
            let out = |b: &BackendShown| matches!(b.seen.state, Standing::Down | Standing::Unresolved);
            if shown.backends.iter().all(out) {
                status.degraded.push(format!("pool {} has no backend in use: requests get 503", pool.name));
            }
            status.pools.push(shown);
        }
        let places = usize::from(self.plan.edge.instances) * usize::from(self.plan.edge.threads.max(1));
        status.hubs = HubStatus::all(places, &sum.hubs);
        status.degraded.extend(status.hubs.iter().filter_map(HubStatus::degraded));
        for tunnel in &self.plan.edge.tunnels {
            let shown = TunnelStatus::new(tunnel, places, &sum.agents);
            if shown.agents.iter().all(|agent| agent.places.is_empty()) {
                let id = &tunnel.id;
                let mut elsewhere = status.hubs.iter().filter(|hub| hub.tunnels.contains(id));
                match elsewhere.next() {
                    // gost's clients have one node each, and the others are to go on to that.
                    Some(hub) if hub.is_plugin() => {}
                    Some(HubStatus { hub, .. }) => status.degraded.push(format!(
                        "no agent of tunnel {id} has met this hub: requests take the way by hub {hub}"
                    )),
                    None => {
                        status.degraded.push(format!("tunnel {id} is offered by no agent: requests get 503"))
                    }
                }
            }
            status.tunnels.push(shown);
        }
        let (open, all) = TunnelStatus::open_ones(places, OPEN_SHOWN, &sum.agents);
        status.open_tunnels = all;
        status.tunnels.extend(open);
        if let Some(why) = self.edges.secrets.trouble() {
            status.degraded.push(format!("a secret that has changed is not used: {why}"));
        }
        if !self.plan.edge.is_empty() {
            let name = "access_log_lines_dropped_total".into();
            status.counters.push(Counter { name, labels: Vec::new(), value: sum.log_lines_dropped });
            if self.plan.edge.listeners.iter().any(|listener| listener.quic) {
                status.counters.extend(quic(&sum.quic));
            }
        }
    }

    /// Backends stand elsewhere for a process than they did: told when the worst of all views has changed.
    pub(super) fn backends_seen(&mut self, slot: usize, seen: Vec<Seen>) {
        for one in seen {
            let key = (one.pool, one.backend, one.address);
            let of_worker = &mut self.workers[slot].edge.seen;
            let _ = match one.state {
                Some(state) => of_worker.insert(key.clone(), state),
                None => of_worker.remove(&key),
            };
            let Some(state) = self.worst(&key) else {
                // The operator or the configuration has taken it out, or all processes are being started again.
                if !self
                    .plan
                    .edge
                    .pools
                    .iter()
                    .any(|p| p.name == key.0 && p.backends.iter().any(|b| b.name == key.1))
                {
                    self.edges.told.remove(&key);
                }
                continue;
            };
            let before = self.edges.told.insert(key.clone(), state);
            // That a fresh one is well is no news.
            if state == before.unwrap_or(Standing::Up) {
                continue;
            }
            let (pool, backend, address) = &key;
            let more = if address.is_empty() || address == backend {
                String::new()
            } else {
                format!(" ({address})")
            };
            let why = if one.why.is_empty() { String::new() } else { format!(": {}", one.why) };
            let word = words::standing_of(state);
            let message = format!("pool {pool}: {backend}{more} is {word}{why}");
            let about = format!("{pool}/{backend}");
            let mut event = crate::events::event(&self.plan.node, "backend", &about, message);
            event.from = before.map(|s| words::standing_of(s).into());
            event.to = Some(word.into());
            self.news.push_back(event);
        }
    }

    /// How the process that sees it worst sees a backend.
    fn worst(&self, key: &(String, String, String)) -> Option<Standing> {
        let current = self.workers.iter().filter(|w| w.role == Role::Edge && w.is_current());
        current.filter_map(|w| w.edge.seen.get(key)).max().copied()
    }
}

fn pool_status(pool: &Pool, sum: &EdgeStatus, orders: &Orders) -> PoolStatus {
    let mut backends = Vec::new();
    for backend in &pool.backends {
        let of = |s: &&BackendStatus| s.pool == pool.name && s.backend == backend.name && s.threads > 0;
        let by_operator = orders.added(&pool.name, &backend.name);
        let order = orders.of(&pool.name, &backend.name);
        let shown =
            |seen: &BackendStatus| BackendShown { by_operator, order: order.clone(), seen: seen.clone() };
        backends.extend(sum.backends.iter().filter(of).map(shown));
    }
    let balance = match &pool.balance {
        Balance::RoundRobin => "round-robin",
        Balance::Least => "least",
        Balance::TwoChoices => "two-choices",
        Balance::Source => "source",
        Balance::Hash(_) => "hash",
        Balance::Random => "random",
    };
    let (name, removed) = (pool.name.clone(), orders.removed(&pool.name));
    PoolStatus { name, balance: balance.into(), backends, removed }
}

fn bind(place: &At) -> String {
    match place {
        At::Inet(addr) => addr.to_string(),
        At::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// What is counted of agents by QUIC.
fn quic(counts: &mainstay_proxy::quic::Counts) -> impl Iterator<Item = Counter> {
    let all = [
        ("hub_quic_connections_total", counts.accepted),
        ("hub_quic_datagrams_handed_over_total", counts.handed_over),
        ("hub_quic_datagrams_taken_over_total", counts.taken_over),
        ("hub_quic_datagrams_total", counts.datagrams),
        ("hub_quic_handshakes_failed_total", counts.failed),
        ("hub_quic_refused_total", counts.refused),
        ("hub_quic_retries_total", counts.retried),
    ];
    all.into_iter().map(|(name, value)| Counter { name: name.into(), labels: Vec::new(), value })
}
