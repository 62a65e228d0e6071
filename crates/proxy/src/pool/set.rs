//! One pool on this thread: its backends as they are at this moment, and the way to a lease.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::{Balance, Pool, Target};
use mainstay_core::balance::{
    Admits, Effect, Input, Nobody, Policy, RetryBudget, Roster, Spec, Ticket, View,
};
use mainstay_core::time::Boot;
use smallvec::SmallVec;
use tracing::{info, warn};

use super::ask::{Ask, Reason, Refused};
use super::entry::{Entry, Lease, latency};
use super::open::Counts;
use super::queue::Queue;
use super::source::Source;
use crate::clock::boot_now;
use crate::shared::Cells;

/// Two who race for the last place may both give it back: then both look again, so often at most.
const RACES: u32 = 3;

/// One pool.
pub(super) struct Set {
    pub(super) name: Rc<str>,
    pub(super) cells: Cells,
    pub(super) queue: Queue,
    /// The queue's bounds.
    pub(super) queue_max: Cell<u32>,
    pub(super) queue_timeout: Cell<Duration>,
    pub(super) bind: Cell<Bind>,
    /// Clients keep their backend.
    pub(super) sticky: Cell<bool>,
    /// Latencies matter.
    pub(super) measures: Cell<bool>,
    /// Somebody has a bound of requests.
    pub(super) bounded: Cell<bool>,
    /// The state of our random numbers (SplitMix64).
    pub(super) random: Cell<u64>,
    /// A name is being looked up for the first time.
    pub(super) pending: Cell<bool>,
    /// Until then it is worth waiting for an agent of a tunnel.
    pub(super) awaits: Cell<Boot>,
    /// What backends have counted that are not in the list any more.
    pub(super) gone: Cell<Counts>,
    /// The backends as they are written.
    pub(super) sources: RefCell<Vec<Source>>,
    pub(super) inner: RefCell<Inner>,
}

/// What changes with every request.
pub(super) struct Inner {
    pub(super) roster: Roster,
    pub(super) entries: Vec<Rc<Entry>>,
    pub(super) budget: RetryBudget,
}

/// What requests are bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    Nothing,
    Client,
    Key,
}

impl Set {
    pub(super) fn new(pool: &Pool, cells: Cells, seed: u64, now: Boot) -> Self {
        let set = Self {
            name: pool.name.as_str().into(),
            cells,
            queue: Queue::default(),
            queue_max: Cell::new(0),
            queue_timeout: Cell::new(Duration::ZERO),
            bind: Cell::new(Bind::Nothing),
            sticky: Cell::new(false),
            measures: Cell::new(false),
            bounded: Cell::new(false),
            random: Cell::new(seed),
            pending: Cell::new(false),
            awaits: Cell::new(Boot::ZERO),
            gone: Cell::default(),
            sources: RefCell::default(),
            inner: RefCell::new(Inner {
                roster: Roster::new(spec(pool)),
                entries: Vec::new(),
                budget: RetryBudget::new(pool.retry_budget, now),
            }),
        };
        set.configure(pool);
        set
    }

    /// Takes over what the pool's table says, but for its backends.
    pub(super) fn configure(&self, pool: &Pool) {
        self.queue_max.set(pool.queue.max);
        self.queue_timeout.set(pool.queue.timeout);
        self.sticky.set(pool.sticky.is_some());
        self.measures.set(pool.balance == Balance::TwoChoices);
        self.bind.set(match pool.balance {
            Balance::Source => Bind::Client,
            Balance::Hash(_) => Bind::Key,
            Balance::RoundRobin | Balance::Least | Balance::TwoChoices | Balance::Random => Bind::Nothing,
        });
        self.inner.borrow_mut().budget.set_percent(pool.retry_budget);
    }

    /// A backend, if one can take the request now.
    pub(super) fn try_lease(&self, ask: &Ask<'_>) -> Result<Lease, Nobody> {
        let mut inner = self.inner.borrow_mut();
        let Inner { roster, entries, budget } = &mut *inner;
        if roster.poll_timeout() != Boot::NEVER {
            let now = boot_now();
            if roster.poll_timeout() <= now {
                roster.handle(Input::Tick, now);
            }
        }
        let mut full = SmallVec::<[u32; 4]>::new();
        let mut races = RACES;
        let bound = if self.sticky.get() { self.bound(roster, entries, ask) } else { Bound::Free };
        let mut wanted = if let Bound::To(ticket) = bound { Some(ticket) } else { None };
        let key = self.key_of(ask);
        loop {
            let ticket = match wanted.take() {
                Some(ticket) => ticket,
                None => {
                    let view =
                        Sight { set: self, entries, tried: ask.tried, full: &full, now: Cell::new(None) };
                    match roster.pick(key, &mut || self.draw(), &view) {
                        Ok(ticket) => ticket,
                        Err(Nobody::Full) if !full.is_empty() && races > 0 => {
                            races -= 1;
                            full.clear();
                            continue;
                        }
                        Err(nobody) => return Err(nobody),
                    }
                }
            };
            let entry = &entries[ticket.member()];
            let Some(permit) = entry.take(self.cells) else {
                full.push(ticket.member);
                continue;
            };
            if ticket.trial {
                roster.handle(Input::Sent(ticket), boot_now());
            }
            if ask.tried.is_empty() {
                budget.request();
            } else {
                entry.retries.set(entry.retries.get() + 1);
            }
            // Who is only elsewhere while its own backend is full or was asked keeps its cookie.
            let fresh_cookie = self.sticky.get() && matches!(bound, Bound::Free);
            return Ok(Lease::new(entry, permit, ticket, fresh_cookie));
        }
    }

    /// What all of its backends have counted.
    pub(super) fn counts(&self) -> Counts {
        self.inner.borrow().entries.iter().fold(self.gone.get(), |counts, entry| counts.and(entry))
    }

    /// Requests under way on this thread.
    pub(super) fn here(&self) -> u64 {
        self.inner.borrow().entries.iter().map(|entry| u64::from(entry.here.get())).sum()
    }

    /// Tells the machine something, and tells of what follows.
    pub(super) fn hear(&self, input: Input, now: Boot) {
        let mut inner = self.inner.borrow_mut();
        inner.roster.handle(input, now);
        self.relate(&mut inner, now);
        drop(inner);
        self.queue.wake();
    }

    /// Whether somebody may turn up soon: a name is being looked up for the first time, an agent is about to come (back).
    pub(super) fn is_awaiting(&self) -> bool {
        self.pending.get() || (self.awaits.get() > Boot::ZERO && boot_now() < self.awaits.get())
    }

    /// Why nobody is in use.
    pub(super) fn why_out(&self) -> Refused {
        let sources = self.sources.borrow();
        if sources.is_empty() {
            return Reason::Empty.into();
        }
        if !self.inner.borrow().entries.is_empty() {
            return Reason::Down.into();
        }
        let tunnels = sources.iter().all(|source| matches!(source.backend.target, Target::Tunnel(_)));
        if tunnels { Reason::NoAgent.into() } else { Reason::Unresolved.into() }
    }

    /// Logs what the machine tells.
    pub(super) fn relate(&self, inner: &mut Inner, now: Boot) {
        while let Some(effect) = inner.roster.poll_effect() {
            match effect {
                Effect::Aside { member, until } => {
                    let Some(entry) = inner.entries.get(member) else { continue };
                    let seconds = until.since(now).as_secs_f64();
                    warn!(pool = %self.name, backend = %entry.name, address = %entry.address, seconds, "set aside: too many requests to it failed");
                }
                Effect::Back { member, why } => {
                    let Some(entry) = inner.entries.get(member) else { continue };
                    info!(pool = %self.name, backend = %entry.name, address = %entry.address, why, "no longer aside");
                }
            }
        }
    }

    /// The hash of what the request is bound by.
    pub(super) fn key_of(&self, ask: &Ask<'_>) -> u64 {
        match self.bind.get() {
            Bind::Nothing => 0,
            Bind::Client => ask.by_client(),
            Bind::Key => ask.by_key(),
        }
    }

    /// Where the client's cookie sends it.
    pub(super) fn bound(&self, roster: &Roster, entries: &[Rc<Entry>], ask: &Ask<'_>) -> Bound {
        let Some(value) = ask.cookie.and_then(super::sticky::parse) else { return Bound::Free };
        let is_it = |entry: &Rc<Entry>| entry.cookie.borrow().as_ref().is_some_and(|(own, _)| *own == value);
        let Some(at) = entries.iter().position(is_it) else { return Bound::Free };
        let Some(ticket) = roster.bound(at) else { return Bound::Free };
        if ask.tried.contains(&entries[at].id) { Bound::Elsewhere } else { Bound::To(ticket) }
    }

    fn draw(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        mainstay_core::balance::hash::mix(state)
    }
}

/// Where a cookie sends a request.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// Nowhere, or to a backend that is gone or out: it gets a new one.
    Free,
    /// There.
    To(Ticket),
    /// To one that was asked already.
    Elsewhere,
}

/// The backends as the machine looks at them for one request.
pub(super) struct Sight<'a> {
    pub(super) set: &'a Set,
    pub(super) entries: &'a [Rc<Entry>],
    pub(super) tried: &'a [u32],
    /// Those whose last place somebody else was faster to take.
    pub(super) full: &'a [u32],
    pub(super) now: Cell<Option<Boot>>,
}

impl Sight<'_> {
    /// Whether it is below its bound.
    pub(super) fn has_room(&self, member: usize) -> bool {
        let entry = &self.entries[member];
        entry.max.get() == 0 || entry.load(self.set.cells) < u64::from(entry.max.get())
    }
}

impl View for Sight<'_> {
    fn admits(&self, member: usize) -> Admits {
        if !self.set.bounded.get() && self.tried.is_empty() {
            return Admits::Yes;
        }
        let entry = &self.entries[member];
        if self.tried.contains(&entry.id) {
            return Admits::Tried;
        }
        let lost = self.full.iter().any(|one| *one as usize == member);
        if lost || !self.has_room(member) { Admits::Full } else { Admits::Yes }
    }

    fn load(&self, member: usize) -> u64 {
        self.entries[member].part(self.set.cells)
    }

    fn latency(&self, member: usize) -> Duration {
        let now = self.now.get().unwrap_or_else(boot_now);
        self.now.set(Some(now));
        latency(&self.entries[member], now)
    }
}

/// The machine's view of a pool's table.
pub(super) fn spec(pool: &Pool) -> Spec {
    let policy = match pool.balance {
        Balance::RoundRobin => Policy::Turns,
        Balance::Least => Policy::Least,
        Balance::TwoChoices => Policy::TwoChoices,
        Balance::Source | Balance::Hash(_) => Policy::Hash,
        Balance::Random => Policy::Random,
    };
    Spec { policy, share_max: pool.outlier.share_max, slow_start: pool.slow_start }
}
