//! One backend on this thread, and the lease of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use mainstay_config::plan::edge::{Backend, Target};
use mainstay_core::balance::{Input, Latency, Ticket};
use mainstay_core::time::Boot;

use super::set::Set;
use crate::clock::boot_now;
use crate::road::{Goal, Load};
use crate::shared::{Cells, Permit};

/// So many answers make up the mean latency that is shown.
const MEAN_OF: u64 = 16;

/// One address of one backend.
pub(super) struct Entry {
    /// Unique on this thread.
    pub(super) id: u32,
    pub(super) set: Weak<Set>,
    /// Its place in the pool's list at this moment; beyond the list once it is gone.
    pub(super) at: Cell<u32>,
    /// As the operator wrote it.
    pub(super) name: Rc<str>,
    /// The host of what the operator wrote: what TLS asks for.
    pub(super) host: Rc<str>,
    /// `10.0.4.20:8080`, `unix:/path`, `tunnel:office/node-1`.
    pub(super) address: Rc<str>,
    pub(super) goal: Goal,
    /// What it goes by in hashes.
    pub(super) key: u64,
    /// Its row of shared counters.
    pub(super) slot: Cell<Option<u32>>,
    /// Addresses that share that row: those of the same name.
    pub(super) sharing: Cell<u32>,
    /// Requests under way over all processes; 0 is without bound.
    pub(super) max: Cell<u32>,
    /// Requests under way on this thread.
    pub(super) here: Cell<u32>,
    /// Those that others have, when it is an agent, which tells of them.
    pub(super) elsewhere: RefCell<Option<Load>>,
    pub(super) latency: Cell<Latency>,
    /// The mean of the last answers' latencies in nanoseconds, for people; 0 before the first.
    pub(super) mean: Cell<u64>,
    pub(super) requests: Cell<u64>,
    pub(super) failures: Cell<u64>,
    pub(super) retries: Cell<u64>,
    /// Value of the cookie that binds clients to it, and the whole `Set-Cookie`.
    pub(super) cookie: RefCell<Option<(u64, Rc<str>)>>,
}

impl Entry {
    pub(super) fn new(
        id: u32,
        set: &Rc<Set>,
        backend: &Backend,
        address: &str,
        goal: Goal,
        key: u64,
    ) -> Self {
        Self {
            id,
            set: Rc::downgrade(set),
            at: Cell::new(u32::MAX),
            name: backend.name.as_str().into(),
            host: match &backend.target {
                Target::Inet(address) => address.ip().to_string().into(),
                Target::Name { host, .. } => host.as_str().into(),
                Target::Tunnel(id) => id.as_str().into(),
                Target::Unix(_) | Target::Asked => address.into(),
            },
            address: address.into(),
            goal,
            key,
            slot: Cell::default(),
            sharing: Cell::default(),
            max: Cell::default(),
            here: Cell::default(),
            elsewhere: RefCell::default(),
            latency: Cell::default(),
            mean: Cell::default(),
            requests: Cell::default(),
            failures: Cell::default(),
            retries: Cell::default(),
            cookie: RefCell::default(),
        }
    }

    /// Requests under way, of everybody: what counts against `max`.
    pub(super) fn load(&self, cells: Cells) -> u64 {
        self.slot.get().map_or_else(|| u64::from(self.here.get()), |slot| cells.load(slot))
    }

    /// Its part of the load.
    pub(super) fn part(&self, cells: Cells) -> u64 {
        if let Some(elsewhere) = &*self.elsewhere.borrow() {
            return u64::from(self.here.get()) + u64::from(elsewhere.get());
        }
        match u64::from(self.sharing.get()) {
            0 | 1 => self.load(cells),
            // Of the others' requests nobody knows to which address they went: to all alike, as a rule.
            sharing => (self.load(cells) / sharing).max(u64::from(self.here.get())),
        }
    }

    /// One more answer.
    fn average(&self, latency: Duration) {
        let took = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.mean.set(match self.mean.get() {
            0 => took,
            mean => mean - mean / MEAN_OF + took / MEAN_OF,
        });
    }

    /// Takes a place; `None` when it has as many as it may, over all processes.
    pub(super) fn take(&self, cells: Cells) -> Option<Option<Permit>> {
        let permit = self.slot.get().map(|slot| cells.take(slot));
        let max = u64::from(self.max.get());
        // Whoever takes a place counts before it looks: two who race for the last one may both give it back, never both keep it.
        if max > 0 && self.load(cells) + u64::from(permit.is_none()) > max {
            return None;
        }
        Some(permit)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// How a request to a backend went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gave an answer with this status (for connections that are not HTTP: bytes; any number). That is a success, whatever the status.
    Answered(u16),
    /// It gave an answer that the route does not take for one (`retry.on` lists its status): a failure.
    Unwanted(u16),
    /// No connection could be made.
    ConnectFailed,
    /// It said nothing in time.
    Timeout,
    /// The connection broke, or what came was no answer.
    Broken,
    /// The client went away, or we gave up for reasons of our own: says nothing of the backend.
    Cancelled,
}

/// A backend that a request may go to. Its place is given back when this is dropped.
pub struct Lease {
    entry: Rc<Entry>,
    _permit: Option<Permit>,
    ticket: Ticket,
    told: bool,
    fresh_cookie: bool,
}

impl Lease {
    pub(super) fn new(entry: &Rc<Entry>, permit: Option<Permit>, ticket: Ticket, fresh_cookie: bool) -> Self {
        entry.here.set(entry.here.get() + 1);
        entry.requests.set(entry.requests.get() + 1);
        Self { entry: Rc::clone(entry), _permit: permit, ticket, told: false, fresh_cookie }
    }

    /// Where it is.
    #[must_use]
    pub fn goal(&self) -> &Goal {
        &self.entry.goal
    }

    /// Its number on this thread, as [`super::Ask::tried`] lists them; an address that stays keeps its number over reloads.
    #[must_use]
    pub fn backend(&self) -> u32 {
        self.entry.id
    }

    /// Its row in [`Cells`]; `None` when there were no more rows.
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        self.entry.slot.get()
    }

    /// Its name, as the operator wrote it.
    #[must_use]
    pub fn name(&self) -> &Rc<str> {
        &self.entry.name
    }

    /// The host of what the operator wrote, without port.
    #[must_use]
    pub fn host(&self) -> &Rc<str> {
        &self.entry.host
    }

    /// `10.0.4.20:8080`, `unix:/path` or `tunnel:office/node-1`.
    #[must_use]
    pub fn address(&self) -> &Rc<str> {
        &self.entry.address
    }

    /// The `Set-Cookie` that binds the client to this backend, when it is not bound already.
    #[must_use]
    pub fn set_cookie(&self) -> Option<Rc<str>> {
        if !self.fresh_cookie {
            return None;
        }
        self.entry.cookie.borrow().as_ref().map(|(_, line)| Rc::clone(line))
    }

    /// Tells how it goes, as soon as that is known: an answer when its head is there, and again if its body breaks.
    /// `latency` is the time to the head, or to the failure.
    pub fn tell(&mut self, outcome: Outcome, latency: Duration) {
        self.told = true;
        self.ticket.member = self.entry.at.get();
        match outcome {
            Outcome::Answered(_) => self.answered(latency),
            Outcome::Unwanted(_) | Outcome::ConnectFailed | Outcome::Timeout | Outcome::Broken => {
                self.failed(latency)
            }
            Outcome::Cancelled => self.unanswered(),
        }
    }

    /// Tells how it went and gives the place back.
    pub fn ended(mut self, outcome: Outcome, latency: Duration) {
        self.tell(outcome, latency);
    }

    fn answered(&self, latency: Duration) {
        self.entry.average(latency);
        let Some(set) = self.entry.set.upgrade() else { return };
        let needs_time = set.measures.get();
        let heard = set.inner.borrow().roster.hears_answers();
        if !needs_time && !heard {
            return;
        }
        let now = boot_now();
        if needs_time {
            self.observe(|known| known.observe(latency, now));
        }
        if heard {
            set.hear(Input::Answered(self.ticket), now);
        }
    }

    fn failed(&self, latency: Duration) {
        let now = boot_now();
        self.entry.failures.set(self.entry.failures.get() + 1);
        self.observe(|known| known.failed(latency, now));
        if let Some(set) = self.entry.set.upgrade() {
            set.hear(Input::Failed(self.ticket), now);
        }
    }

    fn unanswered(&self) {
        if self.ticket.trial
            && let Some(set) = self.entry.set.upgrade()
        {
            set.hear(Input::Unanswered(self.ticket), boot_now());
        }
    }

    fn observe(&self, change: impl FnOnce(&mut Latency)) {
        let mut latency = self.entry.latency.get();
        change(&mut latency);
        self.entry.latency.set(latency);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.told {
            self.tell(Outcome::Cancelled, Duration::ZERO);
        }
        self.entry.here.set(self.entry.here.get() - 1);
        if let Some(set) = self.entry.set.upgrade() {
            set.queue.wake();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.entry).finish()
    }
}

/// The latency of an entry at this moment.
pub(super) fn latency(entry: &Entry, now: Boot) -> Duration {
    entry.latency.get().at(now)
}
