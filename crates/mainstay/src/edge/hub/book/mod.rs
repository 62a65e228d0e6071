//! gost's plugins at a thread's desk: what they are told of gost's clients here, and what is done with what they tell.
//!
//! [`mainstay_core::gost::book`] decides; this calls the plugins, wakes who waits for them, and offers the pools the nodes that sd
//! names for a tunnel, as backups behind the agents of this node. A connection goes to such a node as a relay CONNECT to its
//! entrypoint ([`road`]), whatever it carries. Each thread has dealings of its own with the plugins.

mod road;
mod show;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use mainstay_config::plan::edge::Edge;
use mainstay_config::plan::gost::Gost;
use mainstay_config::plan::tunnel::label;
use mainstay_core::balance::hash::hash;
use mainstay_core::gost::book::{
    Asked, Book as Machine, Call, Effect, Input, Look, Plugin, Rule, Service, Settings,
};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::policy::tunnel::Held;
use mainstay_proxy::road::{Agent, Behind, Ends, Freight, Lead, Load, NoRoad, Offer, Road};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::Desk;
use super::seat::Seat;
use crate::plugin::client::Client;
use crate::plugin::say::Caller;
use crate::probe::AbortOnDrop;
use road::Onward;

/// What stands before the address in the name of an agent that is another node.
const NODE: &str = "node:";

/// Addresses of this node itself that are told of.
const SELVES: usize = 64;

/// How long the driver sleeps when nothing is due.
const IDLE: std::time::Duration = std::time::Duration::from_secs(3600);

/// A thread's dealings with gost's plugins.
#[derive(Debug, Default)]
pub(super) struct Book {
    own: Weak<Desk>,
    open: RefCell<Option<Open>>,
    bell: Rc<Notify>,
}

/// While there is a plugin.
#[derive(Debug)]
struct Open {
    machine: Machine,
    gost: Gost,
    sd: Option<Rc<Client>>,
    ingress: Option<Rc<Client>>,
    caller: Rc<Caller>,
    waits: HashMap<Asked, Rc<Wait>>,
    /// Where the names of nodes lead.
    places: HashMap<String, Vec<IpAddr>>,
    /// Addresses under which sd names this node itself, as far as that was told.
    selves: BTreeSet<String>,
    /// Sees to it that what is due is done.
    _driver: AbortOnDrop,
}

/// Those who wait for one question's answer.
#[derive(Debug, Default)]
struct Wait {
    done: Cell<bool>,
    bell: Notify,
}

impl Book {
    pub(super) fn new(own: Weak<Desk>) -> Self {
        Self { own, open: RefCell::default(), bell: Rc::default() }
    }

    /// Another configuration is in force.
    pub(super) fn adopt(&self, desk: &Rc<Desk>, edge: &Edge) {
        let gost = edge.gost.as_ref().filter(|gost| gost.sd.is_some() || gost.ingress.is_some());
        let Some(gost) = gost else {
            self.hush(desk);
            let before = self.open.take();
            let told = before.map(|open| open.machine.tunnels()).unwrap_or_default();
            return desk.tell_pools(told.iter().map(String::as_str));
        };
        let wanted = edge.tunnels.iter().filter(|tunnel| tunnel.gost).map(|tunnel| tunnel.id.clone());
        let wanted: BTreeSet<String> = wanted.collect();
        let before = self.open.borrow().as_ref().map(|open| open.gost.clone());
        match before {
            Some(before) if before == *gost => {}
            Some(before) => self.change(&before, gost, desk),
            None => self.begin(gost, desk),
        }
        self.give(Input::Wanted(wanted));
    }

    fn begin(&self, gost: &Gost, desk: &Rc<Desk>) {
        let settings = settings(gost, &desk.hub.name);
        let caller = Rc::new(Caller { node: settings.node.clone(), address: settings.address.clone() });
        let place = [u64::from(desk.place.process), u64::from(desk.place.thread)];
        let seed = hash(place, settings.node.as_bytes());
        let (sd, ingress) = clients(gost);
        let open = Open {
            machine: Machine::new(settings, seed, boot_now()),
            gost: gost.clone(),
            sd,
            ingress,
            caller,
            waits: HashMap::new(),
            places: HashMap::new(),
            selves: BTreeSet::new(),
            _driver: AbortOnDrop::spawn(drive(Rc::downgrade(desk), Rc::clone(&self.bell))),
        };
        self.open.replace(Some(open));
        let seats = desk.seats.borrow().to_vec();
        seats.iter().for_each(|seat| self.bound(seat));
    }

    fn change(&self, before: &Gost, gost: &Gost, desk: &Rc<Desk>) {
        let trust = (&before.token, &before.ca) != (&gost.token, &gost.ca);
        let of = [(Plugin::Sd, before.sd != gost.sd), (Plugin::Ingress, before.ingress != gost.ingress)];
        let anew = of.into_iter().filter(|(_, other)| *other || trust).map(|(plugin, _)| plugin).collect();
        self.hush(desk);
        let settings = settings(gost, &desk.hub.name);
        if let Some(open) = self.open.borrow_mut().as_mut() {
            (open.sd, open.ingress) = clients(gost);
            open.gost = gost.clone();
            open.caller = Rc::new(Caller { node: settings.node.clone(), address: settings.address.clone() });
        }
        self.give(Input::Settings { settings, anew });
    }

    /// One of gost's clients has a session here.
    pub(super) fn bound(&self, seat: &Seat) {
        let Some(gost) = &seat.gost else { return };
        let told = self.open.borrow().as_ref().is_some_and(|open| !open.gost.advertise.is_empty());
        let Some(offer) = seat.offers.first().filter(|_| told) else { return };
        let hosts = std::iter::once(label(&offer.tunnel)).chain(gost.own_host.clone()).collect();
        let (id, tunnel) = (gost.connector.clone(), offer.tunnel.clone());
        self.give(Input::Bound(Service { id, tunnel, datagrams: offer.udp, private: gost.private, hosts }));
    }

    /// It has gone.
    pub(super) fn unbound(&self, seat: &Seat) {
        if let Some(gost) = &seat.gost {
            self.give(Input::Unbound(gost.connector.clone()));
        }
    }

    /// Whether there is something to be asked.
    pub(super) fn is_open(&self) -> bool {
        self.open.borrow().is_some()
    }

    /// Where a host leads that nobody here has.
    pub(super) fn lead(&self, host: &str) -> Lead {
        let look = self.look(|machine| machine.rule(host, boot_now()));
        match look {
            Some(Look::Known(rule)) => self.lead_by(&rule),
            Some(Look::Asked) => {
                let Some(desk) = self.own.upgrade() else { return Lead::Nowhere };
                let (wait, host) = (self.wait(Asked::Host(host.to_owned())), host.to_owned());
                Lead::Wait(Box::pin(async move {
                    wait.await;
                    let rule = desk.book.peek(|machine| machine.known_rule(&host).cloned());
                    rule.flatten().map_or(Lead::Nowhere, |rule| desk.book.lead_by(&rule))
                }))
            }
            Some(Look::Nobody) | None => Lead::Nowhere,
        }
    }

    /// Where a host leads: what is known here counts, then what ingress says.
    pub(super) fn beyond(&self, host: &str, own: Lead) -> Lead {
        if !self.is_open() {
            return own;
        }
        match own {
            Lead::To(tunnel) => self.toward(&tunnel),
            Lead::Private => Lead::Private,
            Lead::Nowhere => self.lead(host),
            // A client may be about to come here; ingress is not waited for in vain.
            Lead::Wait(own) => match self.lead(host) {
                Lead::Nowhere => Lead::Wait(own),
                Lead::Wait(asked) => Lead::Wait(Box::pin(async move {
                    match asked.await {
                        Lead::Nowhere => own.await,
                        found @ (Lead::To(_) | Lead::Private | Lead::Wait(_)) => found,
                    }
                })),
                found @ (Lead::To(_) | Lead::Private) => found,
            },
        }
    }

    fn lead_by(&self, rule: &Rule) -> Lead {
        let Some(desk) = self.own.upgrade() else { return Lead::Nowhere };
        // A rule opens nothing that the file keeps from gost's visitors.
        if desk.may_bind(&rule.tunnel).is_err() {
            return Lead::Nowhere;
        }
        let kept = desk.tunnels.borrow().get(&rule.tunnel).is_some_and(|spec| spec.visitors.is_some());
        if rule.private || kept { Lead::Private } else { self.toward(&rule.tunnel) }
    }

    /// To a tunnel, once it is known where its clients are when none is here.
    pub(super) fn toward(&self, tunnel: &str) -> Lead {
        let Some(desk) = self.own.upgrade() else { return Lead::Nowhere };
        if !self.is_open() || desk.is_offered_here(tunnel) {
            return Lead::To(tunnel.into());
        }
        let Some(Look::Asked) = self.look(|machine| machine.nodes(tunnel, boot_now())) else {
            return Lead::To(tunnel.into());
        };
        let (wait, tunnel) = (self.wait(Asked::Tunnel(tunnel.to_owned())), Rc::from(tunnel));
        Lead::Wait(Box::pin(async move {
            wait.await;
            Lead::To(tunnel)
        }))
    }

    /// Whether a caller is another node that sends on what came to it for this tunnel: it is served from here, or by nobody.
    pub(super) async fn is_from_node(&self, tunnel: &str, from: IpAddr) -> bool {
        if let Some(Look::Asked) = self.look(|machine| machine.nodes(tunnel, boot_now())) {
            self.wait(Asked::Tunnel(tunnel.to_owned())).await;
        }
        self.is_node(from)
    }

    /// Whether another node has clients of a tunnel that nobody here has; sd is asked when that is not known.
    pub(super) async fn reaches(&self, tunnel: &str) -> bool {
        if let Lead::Wait(asked) = self.toward(tunnel) {
            asked.await;
        }
        self.has_nodes(tunnel)
    }

    /// Whether what this node sends on may come from there: from this machine, or from the address that other nodes are told.
    pub(super) fn is_own_place(&self, from: IpAddr) -> bool {
        let open = self.open.borrow();
        let Some(open) = open.as_ref() else { return false };
        road::ip_of(&open.gost.advertise) == Some(from.to_canonical()) || road::is_here(from)
    }

    /// sd names this node for one of the others; that is told once.
    fn is_self(&self, address: &str) {
        let mut open = self.open.borrow_mut();
        let Some(open) = open.as_mut().filter(|open| open.selves.len() < SELVES) else { return };
        if open.selves.insert(address.to_owned()) {
            tracing::warn!(
                "node {address}, which sd names for a tunnel, is this node itself: it is passed over"
            );
        }
    }

    /// Whether sd names this address as a node's.
    fn is_node(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        let open = self.open.borrow();
        let Some(open) = open.as_ref() else { return false };
        let is = |address: &str| {
            let literal = road::ip_of(address).is_some_and(|ip| ip == from);
            literal || open.places.get(address).is_some_and(|ips| ips.contains(&from))
        };
        open.machine.addresses().any(is)
    }

    /// The nodes at which a tunnel has clients, as agents of it behind all others.
    pub(super) fn offers(&self, tunnel: &str, offers: &mut Vec<Offer>) {
        let nodes = self.peek(|machine| machine.known_nodes(tunnel)).unwrap_or_default();
        for node in nodes {
            let agent = format!("{NODE}{}", node.address);
            if !offers.iter().any(|known| known.agent == agent) {
                offers.push(Offer {
                    agent,
                    weight: 1,
                    trouble: None,
                    behind: Some(Behind::Node),
                    load: Load::default(),
                });
            }
        }
    }

    /// Whether other nodes are known for a tunnel.
    pub(super) fn has_nodes(&self, tunnel: &str) -> bool {
        self.peek(|machine| !machine.known_nodes(tunnel).is_empty()).unwrap_or(false)
    }

    /// The address of the node that an agent is, if it is one that carries this.
    pub(super) fn find(&self, agent: &Agent, udp: bool) -> Option<String> {
        let address = agent.name.strip_prefix(NODE)?;
        let nodes = self.peek(|machine| machine.known_nodes(&agent.tunnel)).unwrap_or_default();
        nodes
            .into_iter()
            .find(|node| node.address == address && node.datagrams == udp)
            .map(|node| node.address)
    }

    /// A connection to a node's entrypoint. What has come from a node goes to none: two that name each other would send it to and fro.
    pub(super) fn open(
        &self,
        agent: &Agent,
        address: String,
        (ends, freight): (Option<Ends>, Freight),
        held: Held,
    ) -> Result<Box<dyn Road>, NoRoad> {
        if let Some((visitor, _)) = ends.filter(|(visitor, _)| self.is_node(visitor.ip())) {
            tracing::debug!(%visitor, tunnel = %agent.tunnel, "it comes from another node, and nobody here serves it");
            return Err(NoRoad::Full);
        }
        let desk = self.own.upgrade().ok_or(NoRoad::Gone)?;
        Ok(Box::new(Onward::new(&desk, agent, address, (ends, freight), held)))
    }

    /// A node that sd named did not serve a tunnel.
    fn doubt(&self, tunnel: &str) {
        self.give(Input::Doubt(tunnel.to_owned()));
    }

    fn give(&self, input: Input) {
        let gave = self.open.borrow_mut().as_mut().map(|open| open.machine.handle(input, boot_now()));
        if gave.is_some() {
            self.drain();
        }
    }

    fn look<T>(&self, look: impl FnOnce(&mut Machine) -> Look<T>) -> Option<Look<T>> {
        let seen = self.open.borrow_mut().as_mut().map(|open| look(&mut open.machine));
        self.drain();
        seen
    }

    fn peek<T>(&self, peek: impl FnOnce(&Machine) -> T) -> Option<T> {
        self.open.borrow().as_ref().map(|open| peek(&open.machine))
    }

    /// Waits until a question is answered, or nobody will answer it in time.
    fn wait(&self, asked: Asked) -> impl Future<Output = ()> + 'static {
        let mut open = self.open.borrow_mut();
        let wait = open.as_mut().map(|open| {
            // Others may be before it with the plugin: it waits for as long as one call and no longer.
            (Rc::clone(open.waits.entry(asked).or_default()), open.gost.timeout)
        });
        async move {
            let Some((wait, limit)) = wait else { return };
            let settled = wait.bell.notified();
            if !wait.done.get() {
                let _ = timeout(limit, settled).await;
            }
        }
    }

    fn poll_effect(&self) -> Option<Effect> {
        self.open.borrow_mut().as_mut()?.machine.poll_effect()
    }

    /// Does what the machine wants.
    fn drain(&self) {
        let Some(desk) = self.own.upgrade() else { return };
        while let Some(effect) = self.poll_effect() {
            match effect {
                Effect::Call { call, what } => self.call(&desk, call, what),
                Effect::Settled(asked) => {
                    let wait = self.open.borrow_mut().as_mut().and_then(|open| open.waits.remove(&asked));
                    if let Some(wait) = wait {
                        wait.done.set(true);
                        wait.bell.notify_waiters();
                    }
                }
                Effect::Nodes(tunnel) => {
                    self.resolve(&desk, &tunnel);
                    desk.tell_pools(std::iter::once(tunnel.as_str()));
                }
                Effect::Tell(news) => self.tell(&desk, &news),
            }
        }
        self.bell.notify_one();
    }

    fn call(&self, desk: &Rc<Desk>, call: u64, what: Call) {
        let open = self.open.borrow();
        let Some(open) = open.as_ref() else { return };
        let client = match &what {
            Call::Register { .. } | Call::Renew { .. } | Call::Deregister { .. } | Call::Nodes { .. } => {
                &open.sd
            }
            Call::Lead { .. } | Call::Rule { .. } => &open.ingress,
        };
        let (client, caller, desk) = (client.clone(), Rc::clone(&open.caller), Rc::downgrade(desk));
        spawn_local(async move {
            let answer = match client {
                Some(client) => client.call(&what, &caller).await.map_err(|why| format!("{why:#}")),
                None => Err("it cannot be called as the configuration says".to_owned()),
            };
            let Some(desk) = desk.upgrade() else { return };
            desk.book.give(match answer {
                Ok(answer) => Input::Answered { call, answer },
                Err(why) => Input::Failed { call, why },
            });
        });
    }

    /// Finds out where the names of a tunnel's nodes lead: visitors that come from there are known by it.
    fn resolve(&self, desk: &Rc<Desk>, tunnel: &str) {
        let nodes = self.peek(|machine| machine.known_nodes(tunnel)).unwrap_or_default();
        for node in nodes.into_iter().filter(|node| road::ip_of(&node.address).is_none()) {
            let desk = Rc::downgrade(desk);
            spawn_local(async move {
                let found = tokio::net::lookup_host(&node.address).await;
                let ips: Vec<IpAddr> = found.into_iter().flatten().map(|at| at.ip().to_canonical()).collect();
                let Some(desk) = desk.upgrade() else { return };
                if let Some(open) = desk.book.open.borrow_mut().as_mut() {
                    let known: BTreeSet<&str> = open.machine.addresses().collect();
                    open.places.retain(|address, _| known.contains(address.as_str()));
                    open.places.insert(node.address, ips);
                }
            });
        }
    }
}

/// Tells the machine the time, as long as the thread lives.
async fn drive(desk: Weak<Desk>, bell: Rc<Notify>) {
    loop {
        let Some(alive) = desk.upgrade() else { return };
        let due = alive.book.peek(Machine::poll_timeout).flatten();
        let now = boot_now();
        let wait = due.map_or(IDLE, |due| due.since(now));
        if wait.is_zero() {
            alive.book.give(Input::Tick);
        }
        drop(alive);
        tokio::select! {
            () = bell.notified() => {}
            () = sleep(wait) => {}
        }
    }
}

fn settings(gost: &Gost, node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        address: gost.advertise.clone(),
        sd: gost.sd.is_some(),
        ingress: gost.ingress.is_some(),
        renew: gost.renew,
    }
}

/// Who calls them; one that cannot be called is told of with each call.
fn clients(gost: &Gost) -> (Option<Rc<Client>>, Option<Rc<Client>>) {
    let client = |place: &Option<_>| {
        let client = Client::new(place.as_ref()?, gost);
        client
            .inspect_err(|why| tracing::error!("gost's plugins cannot be called: {why:#}"))
            .ok()
            .map(Rc::new)
    };
    (client(&gost.sd), client(&gost.ingress))
}
