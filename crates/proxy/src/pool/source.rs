//! The backends of a pool as they are written, and the list that follows: each address of a name is one.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use mainstay_config::plan::edge::{Backend, Place, Pool, Target};
use mainstay_core::balance::hash::Key;
use mainstay_core::balance::{Input, MemberSpec, Order, OutlierSpec};
use mainstay_core::election::Verdict;
use mainstay_core::time::Boot;

use super::ask::name_hash;
use super::entry::Entry;
use super::names::Names;
use super::set::{Set, spec};
use super::sticky;
use super::tunnels::Tunnels;
use crate::road::{Agent, Behind, Goal, Offer};

/// One backend as it is written.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) backend: Backend,
    pub(super) slot: Option<u32>,
    /// What its name was last found to be.
    pub(super) addresses: Vec<SocketAddr>,
    /// It was looked up, with success or without.
    pub(super) looked_up: bool,
    /// The agents that offer it, when it is a tunnel.
    pub(super) offers: Vec<Offer>,
    /// Until then it is worth waiting for an agent; long ago while there is one.
    pub(super) awaited: Boot,
    /// Why the last look-up failed.
    pub(super) trouble: Option<String>,
    /// What its probe says.
    pub(super) verdict: Option<(Verdict, String)>,
    /// What the operator wants, in order: mode and weight.
    pub(super) orders: Vec<Order>,
}

impl Source {
    pub(super) fn new(backend: &Backend, slot: Option<u32>) -> Self {
        Self {
            backend: backend.clone(),
            slot,
            addresses: Vec::new(),
            offers: Vec::new(),
            awaited: Boot::ZERO,
            looked_up: false,
            trouble: None,
            verdict: None,
            orders: Vec::new(),
        }
    }

    /// Goes on with what is known of it; a changed name is looked up anew, another row has another's verdicts.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        if self.backend.target == old.backend.target {
            self.addresses = std::mem::take(&mut old.addresses);
            self.looked_up = old.looked_up;
            self.trouble = old.trouble.take();
        }
        if self.slot == old.slot && self.backend.probe.is_some() {
            self.verdict = old.verdict.take();
        }
        self.orders = std::mem::take(&mut old.orders);
    }

    /// Whether it is to be looked up for the first time.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.backend.target, Target::Name { .. }) && !self.looked_up
    }

    /// Notes what the operator wants; of the orders for mode and weight the last one each counts.
    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::AsWritten => self.orders.clear(),
            Order::Weight(_) => self.orders.retain(|one| !matches!(one, Order::Weight(_))),
            Order::Ready | Order::Drain | Order::Down => {
                self.orders.retain(|one| matches!(one, Order::Weight(_)))
            }
        }
        if order != Order::AsWritten {
            self.orders.push(order);
        }
    }

    /// Takes over what is known of its name. Returns whether its addresses are others, or are known at last.
    pub(super) fn learn(&mut self, names: &Names, tunnels: &Tunnels) -> bool {
        let (host, port) = match &self.backend.target {
            Target::Name { host, port } => (host, port),
            Target::Tunnel(id) => {
                let (offers, awaited) = tunnels.of(id);
                let changed = (offers, awaited) != (&self.offers, self.awaited);
                if changed {
                    self.offers = offers.to_vec();
                    self.awaited = awaited;
                }
                return changed;
            }
            Target::Inet(_) | Target::Unix(_) | Target::Asked => return false,
        };
        let Some(known) = names.get(host).filter(|known| known.looked_up) else { return false };
        let addresses: Vec<SocketAddr> =
            known.addresses.iter().map(|ip| SocketAddr::new(*ip, *port)).collect();
        let changed = !self.looked_up || addresses != self.addresses;
        self.looked_up = true;
        self.trouble = known.trouble;
        self.addresses = addresses;
        changed
    }

    /// Where it is reached, and the offer when that is an agent's.
    fn goals(&self) -> Vec<(Goal, Option<&Offer>)> {
        let place = |place| (Goal::Place(place), None);
        match &self.backend.target {
            Target::Inet(address) => vec![place(Place::Inet(*address))],
            Target::Unix(path) => vec![place(Place::Unix(path.clone()))],
            // Never dialled: the request brings its own.
            Target::Asked => vec![place(Place::Inet(SocketAddr::from(([0, 0, 0, 0], 0))))],
            Target::Name { .. } => self.addresses.iter().copied().map(Place::Inet).map(place).collect(),
            Target::Tunnel(id) => {
                let tunnel: Rc<str> = id.as_str().into();
                let agent =
                    |offer: &Offer| Agent { tunnel: Rc::clone(&tunnel), name: offer.agent.as_str().into() };
                self.offers.iter().map(|offer| (Goal::Agent(agent(offer)), Some(offer))).collect()
            }
        }
    }
}

impl Source {
    /// Whether an entry of it is asked only when no other is usable; and whether that is so because of where the agent is.
    pub(super) fn is_backup(&self, entry: &Entry) -> (bool, Option<Behind>) {
        let behind = match &entry.goal {
            Goal::Agent(agent) => {
                let offer = self.offers.iter().find(|offer| *offer.agent == *agent.name);
                offer.and_then(|offer| offer.behind)
            }
            Goal::Place(_) => None,
        };
        (self.backend.backup || behind.is_some(), behind)
    }
}

impl Set {
    /// Makes the list of backends anew; addresses that stay keep their state.
    pub(super) fn relist(self: &Rc<Self>, pool: &Pool, key: Key, next_id: &Cell<u32>, now: Boot) {
        let own = pool.sticky.as_ref().and_then(|sticky| sticky.key.as_ref());
        let key = own.map_or(key, |own| sticky::key_of(&own.text));
        let sources = self.sources.borrow();
        let mut inner = self.inner.borrow_mut();
        let old = std::mem::take(&mut inner.entries);
        let known: HashMap<u64, Rc<Entry>> = old.iter().map(|one| (one.key, Rc::clone(one))).collect();
        // Those that stay are given their new place below.
        old.iter().for_each(|one| one.at.set(u32::MAX));
        let mut specs = Vec::new();
        let mut from = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let goals = source.goals();
            let sharing = u32::try_from(goals.len()).unwrap_or(u32::MAX);
            for (goal, offer) in goals {
                let address = goal.to_string();
                let hash = name_hash(&source.backend.name, &address);
                let entry = known.get(&hash).cloned().unwrap_or_else(|| {
                    next_id.set(next_id.get().wrapping_add(1));
                    Rc::new(Entry::new(next_id.get(), self, &source.backend, &address, goal, hash))
                });
                entry.at.set(u32::try_from(inner.entries.len()).unwrap_or(u32::MAX));
                entry.slot.set(source.slot);
                entry.sharing.set(sharing);
                entry.max.set(source.backend.max_connections);
                *entry.elsewhere.borrow_mut() = offer.map(|offer| offer.load.clone());
                *entry.cookie.borrow_mut() = pool.sticky.as_ref().map(|table| {
                    // An agent is the same whichever hub has it.
                    let elsewhere = offer.and_then(|offer| offer.behind).and(address.rsplit_once('@'));
                    let whose = elsewhere.map_or(&*address, |(own, _)| own);
                    let value = sticky::value(key, &pool.name, &source.backend.name, whose);
                    (value, sticky::set_cookie(table, value).into())
                });
                specs.push(member(pool, &source.backend, offer, hash));
                from.push((index, known.contains_key(&hash), offer));
                inner.entries.push(entry);
            }
        }
        let left = old.iter().filter(|one| one.at.get() == u32::MAX);
        self.gone.set(left.fold(self.gone.get(), |counts, entry| counts.and(entry)));
        self.bounded.set(sources.iter().any(|source| source.backend.max_connections > 0));
        self.pending.set(sources.iter().any(Source::is_pending));
        let awaited = sources.iter().map(|source| source.awaited).max().unwrap_or(Boot::ZERO);
        self.awaits.set(awaited);
        inner.roster.replace(spec(pool), &specs, now);
        for (member, (index, was_there, offer)) in from.into_iter().enumerate() {
            let source = &sources[index];
            if let Some(offer) = offer {
                let verdict = if offer.trouble.is_none() { Verdict::Up } else { Verdict::Down };
                inner.roster.handle(Input::Verdict { member, verdict }, now);
            }
            if let Some((verdict, _)) = source.verdict {
                inner.roster.handle(Input::Verdict { member, verdict }, now);
            }
            for order in source.orders.iter().filter(|_| !was_there) {
                inner.roster.handle(Input::Order { member, order: *order }, now);
            }
        }
        self.relate(&mut inner, now);
        drop(inner);
        self.queue.wake();
    }

    /// The positions in the list that belong to a source.
    pub(super) fn members_of(&self, name: &str) -> Vec<usize> {
        let inner = self.inner.borrow();
        inner.entries.iter().enumerate().filter(|(_, one)| *one.name == *name).map(|(at, _)| at).collect()
    }
}

/// The name to look up, when it is one.
pub(super) fn host(target: &Target) -> Option<&str> {
    match target {
        Target::Name { host, .. } => Some(host),
        Target::Inet(_) | Target::Unix(_) | Target::Asked | Target::Tunnel(_) => None,
    }
}

fn member(pool: &Pool, backend: &Backend, offer: Option<&Offer>, key: u64) -> MemberSpec {
    let outlier = backend.outlier.unwrap_or(pool.outlier);
    MemberSpec {
        key,
        weight: backend.weight.max(1).saturating_mul(offer.map_or(1, |offer| offer.weight.max(1))),
        backup: backend.backup || offer.is_some_and(|offer| offer.behind.is_some()),
        down: backend.down,
        // An agent probes its target and says so.
        probed: backend.probe.is_some() || offer.is_some(),
        outlier: OutlierSpec { failures: outlier.failures, window: outlier.window, aside: outlier.aside },
    }
}

/// As addresses are shown: `10.0.4.20:8080`, `[::1]:80`, `unix:/path`.
pub(crate) fn written(place: &Place) -> String {
    match place {
        Place::Inet(address) => address.to_string(),
        Place::Unix(path) => format!("unix:{}", path.display()),
    }
}
