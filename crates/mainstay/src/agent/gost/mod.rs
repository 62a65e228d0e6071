//! An agent or a visitor at gost's servers (docs/how-to/tunnel.md).
//!
//! A server of gost's tells of no others and binds one tunnel to a connection: each offer has a session of its own with every address
//! that a server's name stands for. Nothing can be said of how targets are: an offer that has none which is well has no session.

mod keep;
mod line;
#[cfg(test)]
mod tests;
mod visit;
mod wait;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::gost::relay::{Addr, Id, Login};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::address::{Address, authority};
use mainstay_link::tunnel::{Counters, carrier};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::{Agent, Settings};
use crate::status::HubSeen;

pub(super) use visit::{bytes, datagrams, stream};
use wait::Waits;

/// How often it is looked what a server's name stands for.
const LOOK_UP: Duration = Duration::from_secs(30);

/// The most addresses of one name that are met.
const ADDRESSES_MAX: usize = 64;

/// The longest text of a login: its length stands in one byte.
const LOGIN_MAX: usize = 255;

/// One address of a server: which server, and where; behind a proxy nobody here knows where.
type Spot = (usize, Option<SocketAddr>);

/// One session that is wanted: a spot, and the place of an offer among all.
type Place = (Spot, usize);

/// The servers of an agent or a visitor.
pub(super) struct Servers {
    all: Vec<Address>,
    login: Option<Login>,
    /// What the servers' names stand for; none of one that was not looked up yet.
    spots: RefCell<BTreeMap<usize, BTreeSet<Spot>>>,
    /// The sessions, by the number under which the agent has them.
    sessions: RefCell<BTreeMap<Place, u64>>,
    /// Places that somebody keeps.
    kept: RefCell<BTreeSet<Place>>,
    numbers: Cell<u64>,
    /// Some target is another than before.
    pub(super) health: Notify,
    /// There are other spots.
    found: Notify,
    /// Spots at which a visitor has come to nothing, until when others are tried first; and whose turn it is.
    poor: RefCell<BTreeMap<Spot, Boot>>,
    turn: Cell<usize>,
}

/// What the settings of an agent at gost's servers come to; none when its hubs are ours.
pub(super) fn servers(settings: &Settings) -> anyhow::Result<Option<Servers>> {
    let gost = settings.hubs.iter().filter(|hub| hub.gost).count();
    if gost == 0 {
        anyhow::ensure!(settings.login.is_none(), "hubs that are not gost's know no user and no password");
        let host = settings.wishes.iter().find_map(|wish| wish.host.as_ref());
        anyhow::ensure!(host.is_none(), "hubs that are not gost's know no host behind a tunnel");
        return Ok(None);
    }
    anyhow::ensure!(gost == settings.hubs.len(), "either all hubs are gost's or none is");
    let tunnels = settings.services.iter().map(|service| &service.tunnel);
    for tunnel in tunnels.chain(settings.wishes.iter().map(|wish| &wish.tunnel)) {
        id(tunnel)?;
    }
    for service in &settings.services {
        let weight = service.weight;
        anyhow::ensure!(weight <= 255, "tunnel {}: gost's weights end at 255, not {weight}", service.tunnel);
    }
    for host in settings.wishes.iter().filter_map(|wish| wish.host.as_ref()) {
        target(Some(host)).with_context(|| format!("host {host}"))?;
    }
    if let Some(login) = &settings.login {
        let long = login.user.len() > LOGIN_MAX || login.password.len() > LOGIN_MAX;
        anyhow::ensure!(!long, "a user and a password have {LOGIN_MAX} bytes at most");
    }
    Ok(Some(Servers {
        all: settings.hubs.clone(),
        login: settings.login.clone(),
        spots: RefCell::default(),
        sessions: RefCell::default(),
        kept: RefCell::default(),
        numbers: Cell::new(0),
        health: Notify::new(),
        found: Notify::new(),
        poor: RefCell::default(),
        turn: Cell::new(0),
    }))
}

/// A tunnel's id as gost's servers know it.
fn id(tunnel: &str) -> anyhow::Result<Id> {
    let id: Id =
        tunnel.parse().with_context(|| format!("tunnel {tunnel}: at gost's servers an id is a UUID"))?;
    anyhow::ensure!(!id.is_zero(), "tunnel {tunnel}: no tunnel has this id");
    Ok(id)
}

/// The host that a visitor wants behind a tunnel.
fn target(host: Option<&String>) -> anyhow::Result<Addr> {
    let Some(host) = host else { return Ok(Addr::NONE) };
    let (name, port) = authority(host, 0)?;
    Ok(Addr::new(name, port))
}

impl Servers {
    /// How a spot is spoken of.
    fn name(&self, (server, to): Spot) -> String {
        let address = &self.all[server];
        match to.filter(|_| address.host.parse::<IpAddr>().is_err()) {
            Some(to) => format!("{address} ({to})"),
            None => address.to_string(),
        }
    }

    /// All that are known.
    fn spots(&self) -> Vec<Spot> {
        self.spots.borrow().values().flatten().copied().collect()
    }

    fn is_known(&self, spot: Spot) -> bool {
        self.spots.borrow().get(&spot.0).is_some_and(|spots| spots.contains(&spot))
    }

    fn has_session(&self, server: usize) -> bool {
        self.sessions.borrow().keys().any(|((at, _), _)| *at == server)
    }

    /// Whether every name was looked up.
    fn is_complete(&self) -> bool {
        self.spots.borrow().len() == self.all.len()
    }
}

impl Agent {
    /// Finds out what the names of servers stand for, again and again, and has a session with each.
    pub(super) fn meet_servers(self: &Rc<Self>) {
        let count = self.servers.as_ref().map_or(0, |servers| servers.all.len());
        for server in 0..count {
            spawn_local(Rc::clone(self).look_up(server));
        }
    }

    async fn look_up(self: Rc<Self>, server: usize) {
        let Some(servers) = &self.servers else { return };
        let address = &servers.all[server];
        let mut waits = Waits::default();
        while !self.is_going() {
            let found = match &self.dialing.proxy {
                Some(_) => Ok(vec![None]),
                None => carrier::find(address).await.map(|found| found.into_iter().map(Some).collect()),
            };
            let pause = match found {
                Ok(found) => {
                    let spots = found.into_iter().take(ADDRESSES_MAX).map(|to| (server, to)).collect();
                    let before = servers.spots.borrow_mut().insert(server, spots);
                    if before.as_ref() != servers.spots.borrow().get(&server) {
                        servers.found.notify_waiters();
                        self.keep_all(server);
                    }
                    let name = address.to_string();
                    self.said.borrow_mut().remove(&name);
                    self.heard.borrow_mut().reached(&name);
                    waits.reset();
                    LOOK_UP
                }
                Err(why) => {
                    // What it stood for is better than nothing.
                    self.failed_at(&address.to_string(), &why);
                    waits.next(super::chance())
                }
            };
            sleep(pause).await;
        }
    }

    /// Whether no new sessions are wanted.
    fn is_going(&self) -> bool {
        self.leaving.get() || self.succeeded.get()
    }
}

/// What can be seen.
impl Servers {
    /// Whether every session that is wanted is there; `well` says of which offers any is.
    pub(super) fn is_settled(&self, well: &[bool]) -> bool {
        let sessions = self.sessions.borrow();
        let wanted = |offer: &usize| well.get(*offer) == Some(&true);
        self.is_complete()
            && self.spots().iter().all(|spot| {
                (0..well.len()).filter(wanted).all(|offer| sessions.contains_key(&(*spot, offer)))
            })
    }

    /// Each server, with what the agent's sessions count.
    pub(super) fn seen(&self, offers: usize, counters: impl Fn(u64) -> Option<Counters>) -> Vec<HubSeen> {
        let sessions = self.sessions.borrow();
        let spots = self.spots.borrow();
        let one = |(server, address): (usize, &Address)| {
            let its = sessions.iter().filter(|(((at, _), _), _)| *at == server);
            let its: Vec<Counters> = its.filter_map(|(_, number)| counters(*number)).collect();
            HubSeen {
                hub: address.to_string(),
                places: spots.get(&server).map_or(0, BTreeSet::len) * offers,
                sessions: its.len(),
                streams: its.iter().map(|of| of.streams).sum(),
                rtt_ms: None,
            }
        };
        self.all.iter().enumerate().map(one).collect()
    }

    /// A session has begun: its number.
    fn begun(&self, place: Place) -> u64 {
        let number = self.numbers.get() + 1;
        self.numbers.set(number);
        self.sessions.borrow_mut().insert(place, number);
        number
    }
}
