//! The hub inside the edge: what a thread of it knows of agents, between the proxy's pools and the sessions of `link`.
//!
//! A [`Desk`] is one thread's. Agents come in by connections that the proxy hands over ([`hello`] lets them in or not), each session
//! has a [`Seat`] at the desk of the thread that it ends on, and the pools of that thread are told who offers what. Agents that only
//! other threads have are lent by those ([`siblings`]).

mod book;
mod carrier;
mod gost;
mod hello;
mod hosts;
mod lobby;
mod news;
mod open;
mod peers;
mod quic;
mod road;
mod seat;
mod seats;
mod siblings;
mod visitor;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mainstay_config::plan::tunnel::PEERS_LISTENER;
use mainstay_core::tunnel::hello::Place;
use mainstay_link::tunnel::{Health, Kind, News, Open};
use mainstay_proxy::policy::tunnel::{self as bounds, Held, Unbounded};
use mainstay_proxy::road::{
    Agent, Arrival, Door, Ends, Freight, Hub, HubSession, Lead, NoRoad, Offer, Road, Roads, SessionStatus,
};
use mainstay_proxy::snapshot::Snapshot;
use mainstay_proxy::thread::Thread;
use tokio::task::spawn_local;

use crate::ipc::HubIdentity;
use lobby::Lobby;
use open::Hosts;
use peers::{Known, Peers};
use road::{Near, Through};
use seat::{Offered, Seat};
use seats::Seats;
use siblings::{Processes, Siblings};

pub(super) use news::News as HubNews;
pub(super) use news::Told;

/// The word in a hub's news that says that it is about to leave: agents look for another place and keep this one meanwhile.
pub(crate) const LEAVING: &str = "leaving";

/// One thread's tunnels.
#[derive(Debug)]
pub(super) struct Desk {
    /// The desk itself, for its tasks.
    own: Weak<Self>,
    thread: Weak<Thread>,
    hub: Arc<HubIdentity>,
    news: Arc<HubNews>,
    place: Place,
    /// What may be offered here, by id.
    tunnels: RefCell<HashMap<String, Rc<Spec>>>,
    /// Hosts that no route of the file has, and the tunnels that have them.
    hosts: Hosts,
    /// What agents are told of the cluster's hubs.
    addrs: RefCell<Vec<String>>,
    /// gost's plugins.
    book: book::Book,
    seats: RefCell<Seats>,
    /// Other hubs.
    peers: Peers,
    /// The node's other threads.
    siblings: Siblings,
    guests: RefCell<Vec<Rc<visitor::Guest>>>,
    /// Agents that are not let in yet.
    greeted: Lobby,
    draining: Cell<bool>,
    /// Where agents come in by QUIC.
    quic: quic::Calls,
}

/// A tunnel as the configuration in force has it.
#[derive(Debug)]
pub(super) struct Spec {
    agents: Vec<[u8; 32]>,
    /// Whether gost's clients may serve it.
    gost: bool,
    /// Those who may reach it, when it is private.
    visitors: Option<Vec<[u8; 32]>>,
    /// Hosts without wildcards are URLs.
    urls: Vec<String>,
    hosts: Vec<String>,
    bounds: bounds::Bounds,
}

/// Who else there is, as the supervisor tells.
#[derive(Clone, Debug)]
pub(super) struct Around {
    /// Other hubs that registries know.
    pub(super) hubs: Known,
    /// The node's edge processes.
    pub(super) siblings: Processes,
}

/// Gives a thread its tunnels; to be done before its first connection.
pub(super) fn settle(
    thread: &Rc<Thread>,
    hub: Arc<HubIdentity>,
    news: Arc<HubNews>,
    around: Around,
    number: u16,
) {
    let place =
        Place { process: hub.process, processes: hub.processes, thread: number, threads: hub.threads };
    let desk = Rc::new_cyclic(|own| Desk {
        own: own.clone(),
        thread: Rc::downgrade(thread),
        news,
        place,
        tunnels: RefCell::default(),
        hosts: Hosts::new(),
        addrs: RefCell::default(),
        seats: RefCell::default(),
        peers: Peers::new(own.clone(), around.hubs),
        siblings: Siblings::new(&hub, number, around.siblings),
        hub,
        guests: RefCell::default(),
        greeted: Lobby::new(hello::GREETED_MAX),
        draining: Cell::new(false),
        book: book::Book::new(own.clone()),
        quic: quic::Calls::default(),
    });
    desk.adopt(&thread.snapshot());
    thread.tunnel_by(Rc::clone(&desk) as Rc<dyn Roads>, desk);
}

impl Desk {
    /// Whether a key may offer a tunnel here.
    fn may_offer(&self, tunnel: &str, key: &[u8; 32]) -> bool {
        self.tunnels.borrow().get(tunnel).is_some_and(|spec| spec.agents.contains(key))
    }

    /// A name for an agent that no other one of this thread has. One that comes again takes its old session's place. What tells
    /// agents of one name apart is the same on all threads of all hubs.
    fn label(&self, name: &str, instance: u64, key: &[u8; 32]) -> String {
        if !self.seats.borrow().called(name).iter().any(|seat| seat.is_other(name, instance, key)) {
            return name.to_owned();
        }
        let run = seat::run_of(instance, key);
        tracing::warn!(agent = name, "two agents call themselves so: give each a name of its own");
        seat::apart(name, run)
    }

    /// Gives agents their own names whose namesakes have gone.
    fn call_by_name(&self) {
        let apart = self.seats.borrow().apart();
        for seat in apart.iter().filter(|seat| seat.serves()) {
            let is_other = |other: &Rc<Seat>| other.is_other(&seat.name, seat.instance, &seat.key);
            if !self.seats.borrow().called(&seat.name).iter().any(is_other) {
                self.seats.borrow_mut().call(seat, &seat.name);
                self.publish(seat.tunnels());
            }
        }
    }

    /// Takes a session in.
    fn seat(&self, seat: Rc<Seat>) {
        let label = seat.label();
        let again = |old: &&Rc<Seat>| {
            old.is_called(&label) && old.serves() && (old.instance, old.key) == (seat.instance, seat.key)
        };
        if let Some(old) = self.seats.borrow().called(&label).iter().find(again) {
            // The same agent at the same place: its old session is lost to it, or about to be.
            old.superseded.set(true);
            old.leave(self.drain_time());
            self.let_go();
        }
        self.seats.borrow_mut().push(Rc::clone(&seat));
        self.book.bound(&seat);
        self.publish(seat.tunnels());
        let from = seat.from.map(|from| from.to_string()).unwrap_or_default();
        for tunnel in seat.tunnels() {
            self.news.joined(tunnel, &seat.told_as, seat.instance, &from);
        }
    }

    /// A session is over.
    fn unseat(&self, seat: &Rc<Seat>, why: &str) {
        let was_there = self.seats.borrow_mut().remove(seat);
        if was_there {
            self.book.unbound(seat);
            self.publish(seat.tunnels());
            for tunnel in seat.tunnels() {
                self.news.left(tunnel, &seat.told_as, seat.instance, why);
            }
            self.call_by_name();
        }
    }

    /// Tells the pools and other hubs who offers these tunnels.
    fn publish<'a>(&self, tunnels: impl Iterator<Item = &'a str>) {
        self.peers.changed();
        self.tell_pools(tunnels);
    }

    /// Tells the pools who offers these tunnels: our own agents first, then those of the node's other threads, those of other hubs
    /// behind them.
    fn tell_pools<'a>(&self, tunnels: impl Iterator<Item = &'a str>) {
        let Some(thread) = self.thread.upgrade() else { return };
        for tunnel in tunnels.collect::<BTreeSet<_>>() {
            if !self.hear_hosts(tunnel) {
                continue;
            }
            let taken = self.set_aside(tunnel);
            let mut offers: Vec<Offer> = Vec::new();
            let mut near = Vec::new();
            for seat in self.seats.borrow().of(tunnel).iter().filter(|seat| seat.serves()) {
                for offer in seat.offered().filter(|offer| offer.tunnel == tunnel) {
                    // Bytes and datagrams of one tunnel are one backend: the worse of the two is told.
                    let trouble = offer.trouble.borrow().clone();
                    match offers.iter_mut().find(|known| seat.is_called(&known.agent)) {
                        Some(known) => known.trouble = known.trouble.take().or(trouble),
                        None => {
                            let (agent, weight) = (seat.label(), offer.weight);
                            near.push((agent.clone(), seat.run()));
                            let load = seat.load.clone();
                            offers.push(Offer { agent, weight, trouble, load, behind: None });
                        }
                    }
                }
            }
            self.siblings.offers(tunnel, near, taken, &mut offers);
            self.peers.offers(tunnel, &mut offers);
            self.book.offers(tunnel, &mut offers);
            thread.pools.offers(tunnel, offers);
        }
    }

    /// Whether an agent of this node offers a tunnel, or one of another hub that has a session with this one.
    fn is_offered_here(&self, tunnel: &str) -> bool {
        self.seats.borrow().of(tunnel).iter().any(|seat| seat.serves()) || self.is_offered_near(tunnel)
    }

    fn is_offered_near(&self, tunnel: &str) -> bool {
        let mut offers = Vec::new();
        self.peers.offers(tunnel, &mut offers);
        self.siblings.shows(tunnel) || !offers.is_empty()
    }

    /// The session and the offer of an agent.
    fn find(&self, agent: &Agent, udp: bool) -> Option<(Rc<Seat>, Rc<Offered>)> {
        let seats = self.seats.borrow();
        let of_it = seats.of(&agent.tunnel).iter();
        let named = of_it.filter(|seat| seat.is_called(&agent.name) && seat.serves());
        named.into_iter().find_map(|seat| {
            let offer = seat.offers.iter().find(|one| one.udp == udp && *one.tunnel == *agent.tunnel)?;
            Some((Rc::clone(seat), Rc::clone(offer)))
        })
    }

    /// Another agent of a tunnel of gost's clients, when the one that a pool has chosen does not carry this: pools know agents, not what
    /// they carry, and each of those carries one kind.
    fn instead(&self, agent: &Agent, udp: bool) -> Option<(Rc<Seat>, Rc<Offered>)> {
        let seats = self.seats.borrow();
        let serving = || seats.of(&agent.tunnel).iter().filter(|seat| seat.serves());
        serving().find(|seat| seat.gost.is_some())?;
        let fits = |offer: &&Rc<Offered>| offer.udp == udp && *offer.tunnel == *agent.tunnel;
        let others = serving().filter_map(|seat| Some((seat, seat.offered().find(fits)?)));
        let least = others.min_by_key(|(_, offer)| offer.streams.get());
        least.map(|(seat, offer)| (Rc::clone(seat), Rc::clone(offer)))
    }

    /// Ends connections that are kept for later through sessions that leave.
    fn let_go(&self) {
        if let Some(thread) = self.thread.upgrade() {
            thread.sweep_kept();
        }
    }

    /// How long streams of a session that leaves may go on.
    fn drain_time(&self) -> std::time::Duration {
        self.thread.upgrade().map_or(std::time::Duration::ZERO, |thread| thread.snapshot().edge.drain)
    }

    /// Has sessions end once nobody needs them: the last client of this thread has gone.
    async fn wind_up(self: Rc<Self>) {
        loop {
            let Some(thread) = self.thread.upgrade() else { return };
            let own = self.seats.borrow().len() + self.guests.borrow().len() + self.greeted.len();
            let own = own + self.peers.open_in_all();
            if thread.counters.open_in_all() <= own as u64 {
                break;
            }
            thread.counters.one_closes().await;
        }
        let within = self.drain_time();
        self.seats.borrow().iter().for_each(|seat| seat.leave(within));
        self.peers.leave(within);
        self.siblings.leave(within);
        self.let_go();
    }

    /// A place for one more connection of a tunnel; why not, or nothing when there is no such tunnel.
    fn hold(&self, tunnel: &str) -> Result<Held, Option<Unbounded>> {
        let thread = self.thread.upgrade().ok_or(None)?;
        let spec = self.tunnels.borrow().get(tunnel).map(Rc::clone);
        let spec = spec.or_else(|| self.hosts.spec(tunnel)).ok_or(None)?;
        spec.bounds.open(thread.cells).map_err(Some)
    }
}

/// Why there is no place for one more connection of a tunnel.
const fn no_road(full: Option<Unbounded>) -> NoRoad {
    match full {
        None => NoRoad::Gone,
        Some(Unbounded::Streams) => NoRoad::Full,
        Some(Unbounded::Rate) => NoRoad::TooMany,
    }
}

impl Roads for Desk {
    fn lead(&self, host: &str, _port: u16) -> Lead {
        self.book.beyond(host, self.lead_to(host))
    }

    fn open(&self, agent: &Agent, ends: Option<Ends>, freight: Freight) -> Result<Box<dyn Road>, NoRoad> {
        let desk = self.own.upgrade().ok_or(NoRoad::Gone)?;
        let udp = freight == Freight::Datagrams;
        let near = self.find(agent, udp);
        let lent = if near.is_none() { self.siblings.find(agent, udp) } else { None };
        let near = near.or_else(|| if lent.is_none() { self.instead(agent, udp) } else { None });
        let lent = lent.or_else(|| if near.is_none() { self.siblings.instead(agent, udp) } else { None });
        let here = near.is_some() || lent.is_some();
        let far = if here { None } else { self.peers.find(agent, udp) };
        if !here && far.is_none() {
            if let Some(address) = self.book.find(agent, udp) {
                let held = self.hold(&agent.tunnel).map_err(no_road)?;
                return self.book.open(agent, address, (ends, freight), held);
            }
            // It has left, and the pools do not know yet.
            self.publish(std::iter::once(&*agent.tunnel));
            return Err(NoRoad::Gone);
        }
        let held = self.hold(&agent.tunnel).map_err(no_road)?;
        if let Some(far) = far {
            return self.peers.open(&desk, far, (agent, ends, udp), held).inspect_err(|_| {
                self.publish(std::iter::once(&*agent.tunnel));
            });
        }
        if let Some(lent) = lent {
            return siblings::open(&desk, lent, (agent, ends, udp), held).inspect_err(|_| {
                self.publish(std::iter::once(&*agent.tunnel));
            });
        }
        let (seat, offer) = near.ok_or(NoRoad::Gone)?;
        let open = Open {
            kind: if udp { Kind::Datagrams } else { Kind::Bytes },
            target: offer.route.clone(),
            visitor: ends.map(|(visitor, _)| visitor),
            destination: ends.map(|(_, ours)| ours),
            host: seat.gost.as_ref().and_then(|gost| self.shown_host(gost, &agent.tunnel)),
            ..Open::default()
        };
        let Ok(stream) = seat.session.open(&open, &[]) else {
            self.publish(std::iter::once(&*agent.tunnel));
            return Err(NoRoad::Gone);
        };
        Ok(Box::new(Through::new(stream, Near::new(desk, seat, offer), held, udp)))
    }
}

impl Hub for Desk {
    fn take(&self, arrival: Arrival) {
        let Some(desk) = self.own.upgrade() else { return };
        if *arrival.listener == *PEERS_LISTENER {
            spawn_local(peers::greet(desk, arrival));
        } else if self.is_compat(&arrival.listener) {
            spawn_local(gost::greet(desk, arrival));
        } else {
            spawn_local(hello::greet(desk, arrival));
        }
    }

    fn listen(&self, socket: OwnedFd, number: u16, listener: Rc<Cell<u32>>) -> io::Result<Box<dyn Door>> {
        let desk = self.own.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        quic::listen(&desk, socket, number, listener)
    }

    fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let edge = &snapshot.edge;
        let specs = edge.tunnels.iter().map(|tunnel| (tunnel.id.clone(), Rc::new(Spec::new(tunnel, edge))));
        self.tunnels.replace(specs.collect());
        self.addrs.replace(edge.hub.addrs.clone());
        if let Some(desk) = self.own.upgrade() {
            self.peers.adopt(&desk, edge.hub.among.as_ref());
            self.siblings.adopt(&desk, edge);
            self.book.adopt(&desk, edge);
        }
        let open = self.adopt_hosts(edge);
        let open = open.iter().map(|tunnel| &**tunnel);
        self.tell_pools(edge.tunnels.iter().map(|tunnel| tunnel.id.as_str()).chain(open));
        let seats = self.seats.borrow().to_vec();
        for seat in seats {
            let revoked = seat.offers.iter().find(|offer| match &seat.gost {
                Some(gost) => !self.may_stay(edge.gost.as_ref(), gost, &offer.tunnel),
                None => !self.may_offer(&offer.tunnel, &seat.key),
            });
            if let Some(offer) = revoked {
                tracing::warn!(agent = %seat.label(), tunnel = %offer.tunnel, "it may not offer the tunnel any more: its session is cut");
                seat.session.close();
            } else if seat.refused.iter().any(|tunnel| self.may_offer(tunnel, &seat.key)) {
                // It may offer more than it does: it comes again and asks.
                seat.leave(edge.drain);
                self.let_go();
            }
        }
        self.look_at_guests(edge.drain);
    }

    fn drain(&self) {
        if self.draining.replace(true) {
            return;
        }
        let news = News { load: 0, targets: vec![(LEAVING.to_owned(), Health::Down)] };
        self.seats.borrow().iter().for_each(|seat| seat.session.tell(news.clone()));
        self.peers.drain(self.drain_time());
        self.guests.borrow().iter().for_each(|guest| guest.session.tell(news.clone()));
        if let Some(desk) = self.own.upgrade() {
            spawn_local(Rc::clone(&desk).see_off());
            spawn_local(desk.wind_up());
        }
    }

    fn cut(&self) {
        self.peers.cut();
        self.siblings.cut();
        self.seats.borrow().iter().for_each(|seat| seat.session.close());
        self.guests.borrow().iter().for_each(|guest| guest.session.close());
    }

    fn quic(&self) -> mainstay_proxy::quic::Counts {
        self.quic.counts()
    }

    fn hubs(&self) -> Vec<HubSession> {
        let mut hubs = self.peers.status(self);
        hubs.extend(self.book.status(self, (self.place.process, self.place.thread)));
        hubs
    }

    fn sessions(&self) -> Vec<SessionStatus> {
        let place = (self.place.process, self.place.thread);
        let mut agents = self.seats.borrow().iter().map(|seat| seat.status(place)).collect::<Vec<_>>();
        for offer in agents.iter_mut().flat_map(|agent| &mut agent.offers) {
            offer.open = self.hosts.spec(&offer.tunnel).map(|_| self.hosts.of(&offer.tunnel));
        }
        agents.into_iter().chain(self.guests.borrow().iter().map(|guest| guest.status(place))).collect()
    }
}

impl Spec {
    fn new(tunnel: &mainstay_config::plan::edge::Tunnel, edge: &mainstay_config::plan::edge::Edge) -> Self {
        Self {
            agents: tunnel.agents.clone(),
            gost: tunnel.gost,
            visitors: tunnel.visitors.clone(),
            urls: urls(tunnel, edge),
            hosts: tunnel.served.clone(),
            bounds: bounds::Bounds::new(tunnel),
        }
    }
}

impl Spec {
    /// What holds for tunnels that the file does not name: nothing bounds them but what bounds the hub.
    fn open() -> Self {
        let (urls, hosts) = (Vec::new(), Vec::new());
        Self { agents: Vec::new(), gost: true, visitors: None, urls, hosts, bounds: bounds::Bounds::none() }
    }
}

/// Where visitors reach a tunnel, as agents show it to people.
fn urls(
    tunnel: &mainstay_config::plan::edge::Tunnel,
    edge: &mainstay_config::plan::edge::Edge,
) -> Vec<String> {
    use mainstay_config::plan::edge::Place as At;
    let made = mainstay_config::plan::tunnel::made_name(&tunnel.id);
    let route = edge.routes.iter().find(|route| route.name == made);
    let listeners: Vec<u32> = route.map(|route| route.listeners.clone()).unwrap_or_default();
    let mut urls = Vec::new();
    for host in &tunnel.served {
        if host.contains("://") {
            urls.push(host.clone());
            continue;
        }
        if host.contains('*') || host.starts_with('~') {
            continue;
        }
        let through = edge.listeners.iter().enumerate().filter(|(at, listener)| {
            let routed = u32::try_from(*at).is_ok_and(|at| listeners.contains(&at));
            let sorted = || listener.sni.iter().any(|rule| edge.pools[rule.pool.index()].name == made);
            routed || sorted()
        });
        for (_, listener) in through {
            let secure = listener.tls.is_some() || !listener.sni.is_empty();
            let (scheme, usual) = if secure { ("https", 443) } else { ("http", 80) };
            let port = listener.places.iter().find_map(|place| match place {
                At::Inet(addr) => Some(addr.port()),
                At::Unix(_) => None,
            });
            match port {
                Some(port) if port != usual => urls.push(format!("{scheme}://{host}:{port}")),
                Some(_) => urls.push(format!("{scheme}://{host}")),
                None => {}
            }
        }
    }
    urls.sort_by_key(|url| !url.starts_with("https"));
    urls.dedup();
    urls.truncate(mainstay_core::tunnel::hello::LIST_MAX);
    urls
}
