//! What every connection of a thread shares.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstay_config::plan::edge::BackendHttp;
use mainstay_core::name::PoolId;
use mainstay_core::time::Boot;
use tokio::sync::Notify;

use crate::clock::boot_now;
use crate::deadline::Deadlines;
use crate::http1::{Kept, Parked};
use crate::http2::Links;
use crate::log::Logs;
use crate::metrics::Counters;
use crate::pool::Pools;
use crate::road::{Hub, HubSession, Roads, SessionStatus};
use crate::shared::Cells;
use crate::snapshot::Snapshot;
use crate::stream::pipes::Pipes;
use crate::stream::relay::Relays;

/// The snapshot in force. Who asks often shares this: the count of the Arc is a word that all threads write to.
#[derive(Debug)]
pub(crate) struct Current(pub(crate) Arc<Snapshot>);

/// One thread's state.
#[derive(Debug)]
pub struct Thread {
    snapshot: RefCell<Rc<Current>>,
    /// Names of listeners, by position in the snapshot in force: what a connection remembers of its listener.
    listeners: RefCell<Vec<Rc<str>>>,
    /// Counters shared with the other processes.
    pub cells: Cells,
    /// Which backend gets a request.
    pub pools: Pools,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Access logs.
    pub logs: Logs,
    /// Deadlines of its connections.
    pub deadlines: Deadlines,
    /// Connections kept to backends.
    pub kept: RefCell<Kept>,
    /// HTTP/2 connections to backends.
    pub links: Links,
    /// TLS towards the pools of the snapshot in force, made when first asked for.
    client_tls: RefCell<Vec<(u64, PoolId, Arc<rustls::ClientConfig>)>>,
    /// Connections that are relayed as bytes; there from [`Self::relays`]'s first call on.
    relays: OnceCell<Rc<Relays>>,
    /// Clients between two requests, once there were any.
    parked: RefCell<Option<Rc<Parked>>>,
    /// Roads through tunnels, and who takes those that agents come in by; there before the first connection, when at all.
    tunnels: OnceCell<(Rc<dyn Roads>, Rc<dyn Hub>)>,
    /// Pipes that bodies are spliced through.
    pub pipes: Pipes,
    keeps_house: Cell<bool>,
    draining: Cell<bool>,
    /// Told once: what still runs is to end now.
    cut: Notify,
    was_cut: Cell<bool>,
    connections: Cell<u64>,
    /// When a lack of descriptors may be said again.
    starved_again: Cell<Boot>,
}

/// How often a lack of descriptors is said; it is counted each time.
const STARVED_EVERY: Duration = Duration::from_secs(10);

/// Gives freed memory back to the kernel; set once by a process that can. Without it, a burst of clients leaves behind what their
/// requests needed.
pub static TRIM: OnceLock<fn()> = OnceLock::new();

/// So many clients more that wait are worth a look for memory that can go back.
const TRIM_STEP: usize = 256;

/// How often what is kept is looked through.
const HOUSE: Duration = Duration::from_secs(1);

impl Thread {
    /// A thread that begins with this configuration.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, cells: Cells, counters: Arc<Counters>) -> Self {
        Self::with(snapshot, cells, counters, Pools::new(cells), Logs::new(Arc::default()))
    }

    /// The same with pools and logs that share what they know with other threads.
    #[must_use]
    pub fn with(
        snapshot: Arc<Snapshot>,
        cells: Cells,
        counters: Arc<Counters>,
        pools: Pools,
        logs: Logs,
    ) -> Self {
        pools.adopt(&snapshot);
        Self {
            listeners: RefCell::new(names(&snapshot, &[])),
            snapshot: RefCell::new(Rc::new(Current(snapshot))),
            cells,
            pools,
            counters,
            logs,
            deadlines: Deadlines::default(),
            kept: RefCell::default(),
            links: Links::default(),
            client_tls: RefCell::default(),
            relays: OnceCell::new(),
            parked: RefCell::default(),
            tunnels: OnceCell::new(),
            pipes: Pipes::default(),
            keeps_house: Cell::new(false),
            draining: Cell::new(false),
            cut: Notify::new(),
            was_cut: Cell::new(false),
            connections: Cell::new(0),
            starved_again: Cell::new(Boot::ZERO),
        }
    }

    /// Who has the tunnels of this thread; to be told before its first connection, and only once.
    pub fn tunnel_by(&self, roads: Rc<dyn Roads>, hub: Rc<dyn Hub>) {
        let _ = self.tunnels.set((roads, hub));
    }

    /// The sessions of agents.
    #[must_use]
    pub fn agents(&self) -> Vec<SessionStatus> {
        self.hub().map(|hub| hub.sessions()).unwrap_or_default()
    }

    /// Other hubs.
    #[must_use]
    pub fn hubs(&self) -> Vec<HubSession> {
        self.hub().map(|hub| hub.hubs()).unwrap_or_default()
    }

    /// What is counted of QUIC.
    #[must_use]
    pub fn quic(&self) -> crate::quic::Counts {
        self.hub().map(|hub| hub.quic()).unwrap_or_default()
    }

    /// Roads through tunnels.
    pub(crate) fn roads(&self) -> Option<&Rc<dyn Roads>> {
        self.tunnels.get().map(|(roads, _)| roads)
    }

    /// Who takes the connections of agents.
    pub(crate) fn hub(&self) -> Option<&Rc<dyn Hub>> {
        self.tunnels.get().map(|(_, hub)| hub)
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow().0)
    }

    /// The same for those of this thread, without a word that all threads write to.
    #[must_use]
    pub(crate) fn current(&self) -> Rc<Current> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// Requests that begin from here on follow this configuration.
    pub fn adopt(&self, snapshot: Arc<Snapshot>) {
        self.pools.adopt(&snapshot);
        let known = names(&snapshot, &self.listeners.borrow());
        self.listeners.replace(known);
        self.client_tls.borrow_mut().clear();
        if let Some(hub) = self.hub() {
            hub.adopt(&snapshot);
        }
        let old = self.snapshot.replace(Rc::new(Current(snapshot)));
        self.counters.adopted();
        if old.0.edge.pools != self.snapshot.borrow().0.edge.pools {
            self.kept.borrow_mut().clear();
            self.links.clear();
        }
    }

    /// Whether connections are to end as soon as they can.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Has connections end as soon as they can: each gets the answer to its next request, idle ones are closed after a
    /// while.
    pub fn drain(&self) {
        self.draining.set(true);
        self.kept.borrow_mut().clear();
        if let Some(hub) = self.hub() {
            hub.drain();
        }
        self.deadlines.wake_all();
    }

    /// The relays of this thread, which run from the first call on.
    ///
    /// # Errors
    /// When the kernel has no descriptor for them; the next call tries again.
    pub(crate) fn relays(&self) -> std::io::Result<&Rc<Relays>> {
        if let Some(relays) = self.relays.get() {
            return Ok(relays);
        }
        let relays = Relays::new()?;
        tokio::task::spawn_local(Rc::clone(&relays).run());
        Ok(self.relays.get_or_init(|| relays))
    }

    /// Ends what still runs: the time to drain is over.
    pub fn cut(&self) {
        self.was_cut.set(true);
        if let Some(hub) = self.hub() {
            hub.cut();
        }
        self.cut.notify_waiters();
        self.deadlines.wake_all();
        if let Some(relays) = self.relays.get() {
            relays.cut_all();
        }
    }

    /// Whether [`Self::cut`] was called, which wakes whoever waits for a deadline.
    pub(crate) const fn was_cut(&self) -> bool {
        self.was_cut.get()
    }

    /// Waits until [`Self::cut`].
    pub(crate) async fn is_cut(&self) {
        while !self.was_cut.get() {
            self.cut.notified().await;
        }
    }

    /// The clients between two requests; `None` when the kernel has no descriptor for them.
    pub(crate) fn parked(self: &Rc<Self>) -> Option<Rc<Parked>> {
        let mut parked = self.parked.borrow_mut();
        if parked.is_none() {
            let fresh = Rc::new(Parked::new().ok()?);
            tokio::task::spawn_local(Parked::run(Rc::clone(self), Rc::clone(&fresh)));
            *parked = Some(fresh);
        }
        parked.as_ref().map(Rc::clone)
    }

    /// Clients that wait between two requests without a task.
    #[must_use]
    pub fn parked_clients(&self) -> usize {
        self.parked.borrow().as_ref().map_or(0, |parked| parked.count())
    }

    /// Has what is kept looked through from time to time, as long as the thread is there.
    pub(crate) fn keep_house(self: &Rc<Self>) {
        if self.keeps_house.replace(true) {
            return;
        }
        let thread = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            let mut trimmed_at = 0;
            loop {
                tokio::time::sleep(HOUSE).await;
                let Some(thread) = thread.upgrade() else { return };
                let now = boot_now();
                thread.kept.borrow_mut().sweep(now);
                let parked = thread.parked.borrow().as_ref().map(Rc::clone);
                if let Some(parked) = parked {
                    parked.sweep(&thread, now);
                    trimmed_at = trimmed_at.min(parked.count());
                    if parked.count() >= trimmed_at + TRIM_STEP {
                        trimmed_at = parked.count();
                        TRIM.get().inspect(|trim| trim());
                    }
                }
            }
        });
    }

    /// Closes kept connections to backends that have something to say, which means that they end.
    pub fn sweep_kept(&self) {
        self.kept.borrow_mut().sweep(boot_now());
    }

    /// TLS towards a pool; `None` when it has none that can be used.
    pub(crate) fn client_tls(&self, snapshot: &Snapshot, pool: PoolId) -> Option<Arc<rustls::ClientConfig>> {
        let mut known = self.client_tls.borrow_mut();
        let of_pool = |entry: &&(u64, PoolId, _)| (entry.0, entry.1) == (snapshot.generation, pool);
        if let Some((_, _, config)) = known.iter().find(of_pool) {
            return Some(Arc::clone(config));
        }
        let settings = snapshot.pool(pool)?;
        let http2 = settings.http == BackendHttp::Http2;
        let config = crate::tls::client_config(settings.tls.as_ref()?, http2);
        let config =
            config.inspect_err(|error| tracing::error!(pool = %settings.name, "tls: {error}")).ok()?;
        known.push((snapshot.generation, pool, Arc::clone(&config)));
        Some(config)
    }

    /// A listener's name; that of one of the configuration in force is shared.
    pub(crate) fn listener_name(&self, name: &str) -> Rc<str> {
        shared(name, &self.listeners.borrow())
    }

    /// The position of a listener in the configuration in force.
    pub(crate) fn listener_of(&self, name: &Rc<str>) -> Option<u32> {
        let listeners = self.listeners.borrow();
        let at = listeners.iter().position(|known| Rc::ptr_eq(known, name) || known == name)?;
        u32::try_from(at).ok()
    }

    /// There is no descriptor left for what a client wants; `counts` is where its listener counts.
    pub(crate) fn starved(&self, counts: u32) {
        self.counters.refused(counts, "no-descriptors");
        let now = boot_now();
        if self.starved_again.get() <= now {
            self.starved_again.set(now + STARVED_EVERY);
            let current = self.current();
            let listeners = (0..).zip(&current.0.edge.listeners);
            let name = listeners.filter(|(place, _)| current.0.places.listener(*place) == counts);
            let name = name.map(|(_, listener)| listener.name.as_str()).next();
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            tracing::warn!(
                listener = name,
                limit,
                "too few descriptors for all clients: some are turned away; a higher LimitNOFILE or more instances serve more"
            );
        }
    }

    /// Too few descriptors are left for another client of a listener: whether idle ones were closed for it.
    pub(crate) fn makes_room(&self, counts: u32) -> bool {
        let parked = self.parked.borrow().as_ref().map(Rc::clone);
        let closed = parked.map_or(0, |parked| parked.shed(self, boot_now()));
        if closed == 0 {
            self.starved(counts);
        }
        closed > 0
    }

    /// A number that no other connection of this thread has.
    pub(crate) fn number_connection(&self) -> u64 {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        number
    }
}

/// The names of listeners; those known already are shared.
fn names(snapshot: &Snapshot, known: &[Rc<str>]) -> Vec<Rc<str>> {
    snapshot.edge.listeners.iter().map(|listener| shared(&listener.name, known)).collect()
}

fn shared(name: &str, known: &[Rc<str>]) -> Rc<str> {
    known.iter().find(|known| ***known == *name).map_or_else(|| name.into(), Rc::clone)
}
