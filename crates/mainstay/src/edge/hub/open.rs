//! Hosts that no route of the file has, and tunnels that the file does not name, at a thread's desk.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::Edge;
use mainstay_core::time::Boot;
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::Lead;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::hosts::{Book, Owner, Rules, Wants};
use super::{Desk, Spec};

/// Clients are back within a few seconds of a hub's start; so long a request waits for a host that nobody has named yet.
const RETURN: Duration = Duration::from_secs(5);

/// So many requests may wait so.
const WAITING: u32 = 1000;

/// How often is looked for tunnels that nobody has offered for long.
const SWEEP: Duration = Duration::from_secs(60);

/// The hosts of a thread's tunnels.
#[derive(Debug)]
pub(super) struct Hosts {
    book: RefCell<Book>,
    /// What holds for the connections of tunnels that the file does not name.
    spec: Rc<Spec>,
    /// A tunnel has come or gone, or has other hosts.
    changed: Notify,
    waiting: Cell<u32>,
    born: Boot,
    sweeps: Cell<bool>,
}

impl Hosts {
    pub(super) fn new() -> Self {
        Self {
            book: RefCell::default(),
            spec: Rc::new(Spec::open()),
            changed: Notify::new(),
            waiting: Cell::new(0),
            born: boot_now(),
            sweeps: Cell::new(false),
        }
    }

    /// The hosts that a tunnel has of those that no route of the file has.
    pub(super) fn of(&self, tunnel: &str) -> Vec<String> {
        self.book.borrow().hosts_of(tunnel)
    }

    /// What holds for a tunnel's connections when it is known and the file does not name it.
    pub(super) fn spec(&self, tunnel: &str) -> Option<Rc<Spec>> {
        self.book.borrow().is_open(tunnel).then(|| Rc::clone(&self.spec))
    }

    fn find(&self, host: &str) -> Option<Lead> {
        let owner = self.book.borrow().find(host)?;
        Some(match owner {
            Owner { private: true, .. } => Lead::Private,
            Owner { tunnel, .. } => Lead::To(tunnel),
        })
    }
}

/// One that waits.
struct Waits<'a>(&'a Cell<u32>);

impl<'a> Waits<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Desk {
    /// Whether gost's clients may offer a tunnel at this node.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(super) fn may_bind(&self, tunnel: &str) -> Result<(), String> {
        self.hosts.book.borrow().may_offer(tunnel)
    }

    /// The host of its own that one of gost's clients gets, as it is looked up.
    ///
    /// # Errors
    /// A sentence that says why it does not get it.
    pub(super) fn may_have_host(&self, tunnel: &str, host: &str) -> Result<String, String> {
        self.hosts.book.borrow().may_have(tunnel, host)
    }

    /// Tells that a client does not get a host that it wanted.
    pub(super) fn holds_back(&self, tunnel: &str, host: &str, why: &str) {
        let why = format!("tunnel {tunnel} does not get host {}: {why}", host.escape_debug());
        tracing::warn!(tunnel, "{why}");
        self.news.kept_back(tunnel, &why);
    }

    /// Whether a host is this tunnel's, be it private.
    pub(super) fn leads_to(&self, host: &str, tunnel: &str) -> bool {
        self.hosts.book.borrow().find(host).is_some_and(|owner| *owner.tunnel == *tunnel)
    }

    /// Takes over what a configuration says of hosts; which tunnels it does not name are to be told of again.
    pub(super) fn adopt_hosts(&self, edge: &Edge) -> Vec<Rc<str>> {
        let before = self.hosts.book.borrow().open_ones();
        self.hosts.book.borrow_mut().adopt(Rules::of(edge), boot_now());
        let book = self.hosts.book.borrow();
        if let Some(thread) = self.thread.upgrade() {
            let gone = before.iter().filter(|tunnel| !book.is_open(tunnel));
            gone.for_each(|tunnel| thread.pools.forget(tunnel));
        }
        if book.is_used()
            && !self.hosts.sweeps.replace(true)
            && let Some(desk) = self.own.upgrade()
        {
            spawn_local(desk.sweep_hosts());
        }
        let mut all: Vec<Rc<str>> = book.open_ones();
        if book.is_used() {
            let clients = self.seats.borrow();
            let clients = clients.iter().filter(|seat| seat.gost.is_some());
            all.extend(clients.flat_map(|seat| seat.tunnels()).map(Rc::from));
            let elsewhere = [self.peers.tunnels(), self.siblings.tunnels()].concat();
            all.extend(elsewhere.iter().map(|tunnel| Rc::from(tunnel.as_str())));
        }
        all
    }

    /// Takes over what those who offer a tunnel want at this moment; whether the tunnel is one that is served here.
    pub(super) fn hear_hosts(&self, tunnel: &str) -> bool {
        let written = self.tunnels.borrow().contains_key(tunnel);
        if !self.hosts.book.borrow().is_used() {
            return written;
        }
        let wants = self.wants(tunnel);
        let refused = self.hosts.book.borrow_mut().hear(tunnel, wants, boot_now());
        let pushed_out = self.hosts.book.borrow_mut().pushed_out();
        if let Some(thread) = self.thread.upgrade() {
            pushed_out.iter().for_each(|tunnel| thread.pools.forget(tunnel));
        }
        if let Some(why) = refused {
            tracing::warn!(tunnel, "{why}");
            self.news.kept_back(tunnel, &why);
        }
        self.hosts.changed.notify_waiters();
        written || self.hosts.book.borrow().is_open(tunnel)
    }

    /// What gost's clients want of a tunnel: our own, and those of others.
    fn wants(&self, tunnel: &str) -> Option<Wants> {
        let mut all = None;
        for seat in self.seats.borrow().of(tunnel).iter().filter(|seat| seat.serves()) {
            let Some(gost) = &seat.gost else { continue };
            add(&mut all, gost.private, gost.own_host.iter());
        }
        self.siblings.gost(tunnel, |gost| add(&mut all, gost.private, gost.hosts.iter()));
        self.peers.gost(tunnel, |gost| add(&mut all, gost.private, gost.hosts.iter()));
        if self.book.has_nodes(tunnel) {
            // Whoever offers it there, its hosts are ingress' to tell.
            all.get_or_insert_default();
        }
        all
    }

    /// A host that a client wants, when its tunnel has it: others are told of no other.
    pub(super) fn has(&self, tunnel: &str, host: &Option<String>) -> Vec<String> {
        let book = self.hosts.book.borrow();
        host.iter().filter(|host| book.has(tunnel, host)).cloned().collect()
    }

    /// Where a host leads that no route of the file has.
    pub(super) fn lead_to(&self, host: &str) -> Lead {
        if let Some(lead) = self.hosts.find(host) {
            return lead;
        }
        let young = boot_now() < self.hosts.born + RETURN && self.hosts.waiting.get() < WAITING;
        match self.own.upgrade().filter(|_| young && self.hosts.book.borrow().is_used()) {
            Some(desk) => Lead::Wait(Box::pin(desk.host_comes(host.to_owned()))),
            None => Lead::Nowhere,
        }
    }

    /// Waits for a client that names a host, as long as they are about to come (back).
    async fn host_comes(self: Rc<Self>, host: String) -> Lead {
        let _counted = Waits::new(&self.hosts.waiting);
        let by = self.hosts.born + RETURN;
        loop {
            let changed = self.hosts.changed.notified();
            if let Some(lead) = self.hosts.find(&host) {
                return lead;
            }
            if timeout(by.since(boot_now()), changed).await.is_err() {
                return Lead::Nowhere;
            }
        }
    }

    /// Waits until this thread knows of somebody who serves a tunnel, at any thread of the node or beyond.
    pub(super) async fn is_told_of(&self, tunnel: &str) {
        loop {
            let changed = self.hosts.changed.notified();
            if self.is_offered_here(tunnel) || self.book.has_nodes(tunnel) {
                return;
            }
            changed.await;
        }
    }

    /// Forgets tunnels that nobody has offered for long, as long as the thread lives.
    async fn sweep_hosts(self: Rc<Self>) {
        let own = Rc::downgrade(&self);
        drop(self);
        loop {
            sleep(SWEEP).await;
            let Some(desk) = own.upgrade() else { return };
            let gone = desk.hosts.book.borrow_mut().sweep(boot_now());
            let Some(thread) = desk.thread.upgrade() else { return };
            gone.iter().for_each(|tunnel| thread.pools.forget(tunnel));
        }
    }
}

/// Puts what one of those who offer a tunnel wants with what the others want.
fn add<'a>(all: &mut Option<Wants>, private: bool, hosts: impl Iterator<Item = &'a String>) {
    let all = all.get_or_insert_default();
    all.private |= private;
    for host in hosts {
        if !all.hosts.contains(host) {
            all.hosts.push(host.clone());
        }
    }
}
