//! Other hubs, as one thread of the edge speaks to them.
//!
//! The thread dials each hub once ([`dial`]) and is told over that session which agents the place has that it came out at ([`push`]);
//! what it hears is backups of the thread's pools, and gone with the session. Hubs that dial are told the same by us, and what they send
//! goes to our own agents alone ([`forward`]).

mod accept;
mod dial;
pub(super) mod forward;
pub(super) mod join;
pub(super) mod push;
mod seen;

pub(super) use accept::greet;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::tunnel::Among;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::directory::{self, Directory, Effect, Message};
use mainstay_core::tunnel::record::Record;
use mainstay_core::tunnel::roam::{Input, Roam};
use mainstay_link::tunnel::hubs::HubKeys;
use mainstay_link::tunnel::{Kind, Open, Session, Tally};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::policy::tunnel::Held;
use mainstay_proxy::road::{Agent, Behind, Ends, Load, NoRoad, Offer, Road};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::Desk;
use super::lobby::Lobby;
use super::road::{End, Through};

/// The hubs that registries know.
pub(crate) type Known = watch::Receiver<Arc<[Record]>>;

/// What a thread has to do with other hubs.
#[derive(Debug)]
pub(super) struct Peers {
    desk: Weak<Desk>,
    among: RefCell<Option<Among>>,
    keys: RefCell<Option<Rc<HubKeys>>>,
    known: Known,
    roam: RefCell<Roam>,
    inputs: UnboundedSender<Input>,
    heard: RefCell<Option<UnboundedReceiver<Input>>>,
    book: RefCell<Directory>,
    /// Sessions that we have dialled.
    lines: RefCell<Vec<Rc<Line>>>,
    /// Sessions of hubs that have dialled us.
    guests: RefCell<Vec<Rc<Guest>>>,
    /// Hubs that are not let in yet.
    greeted: Lobby,
    /// Something of what we push is otherwise.
    changed: watch::Sender<()>,
}

/// A session that we have dialled: it leads to the agents of another hub.
pub(super) struct Line {
    /// Its number among dials and in the directory.
    number: u64,
    hub: String,
    instance: u64,
    to: SocketAddr,
    session: Session,
    began: Boot,
    leaving: Cell<bool>,
    /// Not told: agents of other hubs are asked when there is nobody to choose from.
    load: Load,
    count: Count,
}

/// A session of a hub that has dialled us.
struct Guest {
    hub: String,
    from: Option<SocketAddr>,
    session: Session,
    began: Boot,
    count: Rc<Count>,
}

/// What went through a session.
#[derive(Debug, Default)]
pub(super) struct Count {
    streams: Cell<u64>,
    opened: Cell<u64>,
    pub(super) tally: Rc<Tally>,
}

impl Count {
    pub(super) fn begin(&self) {
        self.streams.set(self.streams.get() + 1);
        self.opened.set(self.opened.get() + 1);
    }

    pub(super) fn end(&self) {
        self.streams.set(self.streams.get() - 1);
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("hub", &self.hub).field("to", &self.to).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("hub", &self.hub).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Peers {
    pub(super) fn new(desk: Weak<Desk>, known: Known) -> Self {
        let (inputs, heard) = unbounded_channel();
        Self {
            desk,
            among: RefCell::default(),
            keys: RefCell::default(),
            known,
            roam: RefCell::new(Roam::one_each([], boot_now())),
            inputs,
            heard: RefCell::new(Some(heard)),
            book: RefCell::default(),
            lines: RefCell::default(),
            guests: RefCell::default(),
            greeted: Lobby::new(accept::GREETED_MAX),
            changed: watch::Sender::new(()),
        }
    }

    /// Takes over what the configuration in force says.
    pub(super) fn adopt(&self, desk: &Rc<Desk>, among: Option<&Among>) {
        let key = |among: Option<&Among>| among.map(|among| among.key.clone());
        let (before, after) = (key(self.among.borrow().as_ref()), key(among));
        if before != after {
            let keys = after.map(|key| HubKeys::new(key.as_bytes(), &desk.hub.name));
            if let Some(Err(why)) = &keys {
                tracing::error!("{why}: this thread speaks to no other hub");
            }
            self.keys.replace(keys.and_then(Result::ok).map(Rc::new));
            // Who knows the old key alone is a hub no more.
            self.cut();
        }
        self.among.replace(among.cloned());
        self.changed.send_replace(());
        if among.is_some()
            && let Some(heard) = self.heard.take()
        {
            tokio::task::spawn_local(dial::run(Rc::clone(desk), heard));
        }
        self.tell_addresses();
    }

    /// Whether this hub speaks to others at all.
    pub(super) fn speaks(&self) -> bool {
        self.keys.borrow().is_some()
    }

    /// Everything that is to be dialled: what is written, and what registries tell.
    fn tell_addresses(&self) {
        let mut addrs: Vec<String> =
            self.among.borrow().iter().flat_map(|among| among.peers.clone()).collect();
        let known = self.known.borrow();
        let told = known.iter().flat_map(|record| &record.addrs);
        addrs.extend(told.filter(|addr| !addrs.contains(addr)).cloned().collect::<BTreeSet<_>>());
        if !self.speaks() {
            addrs.clear();
        }
        let _ = self.inputs.send(Input::Told(addrs));
    }

    /// Our own agents are others, or do otherwise.
    pub(super) fn changed(&self) {
        self.changed.send_replace(());
    }

    /// This process is about to leave: what it offers goes at once, what runs may end.
    pub(super) fn drain(&self, within: Duration) {
        self.changed.send_replace(());
        self.guests.borrow().iter().for_each(|guest| guest.session.drain(within));
    }

    /// Nobody of ours needs other hubs any more.
    pub(super) fn leave(&self, within: Duration) {
        self.lines.borrow().iter().for_each(|line| line.leave(within));
    }

    pub(super) fn cut(&self) {
        self.lines.borrow().iter().for_each(|line| line.session.close());
        self.guests.borrow().iter().for_each(|guest| guest.session.close());
    }

    /// Connections of hubs that are open.
    pub(super) fn open_in_all(&self) -> usize {
        self.guests.borrow().len() + self.greeted.len()
    }

    /// The agents of a tunnel at other hubs, as the pools call them.
    pub(super) fn offers(&self, tunnel: &str, offers: &mut Vec<Offer>) {
        let book = self.book.borrow();
        for told in book.offers(tunnel) {
            let Some(line) = self.line(told.session).filter(|line| line.serves()) else { continue };
            let agent = format!("{}@{}", told.agent.name, told.hub);
            if !offers.iter().any(|known| known.agent == agent) {
                let (weight, trouble) = (told.agent.weight, told.agent.trouble.clone());
                offers.push(Offer {
                    agent,
                    weight,
                    trouble,
                    load: line.load.clone(),
                    behind: Some(Behind::Hub),
                });
            }
        }
    }

    /// What gost's clients at other hubs want of a tunnel.
    pub(super) fn gost(&self, tunnel: &str, told: impl FnMut(&directory::Gost)) {
        self.book.borrow().gost(tunnel).for_each(told);
    }

    /// The tunnels that other hubs have agents of.
    pub(super) fn tunnels(&self) -> Vec<String> {
        self.book.borrow().tunnels().map(str::to_owned).collect()
    }

    fn line(&self, number: u64) -> Option<Rc<Line>> {
        self.lines.borrow().iter().find(|line| line.number == number).map(Rc::clone)
    }

    /// The session that leads to an agent, and what the hub there calls it.
    pub(super) fn find(&self, agent: &Agent, udp: bool) -> Option<(Rc<Line>, String)> {
        let book = self.book.borrow();
        let named = |line: &directory::Line<'_>| {
            let name = agent.name.strip_suffix(line.hub).and_then(|name| name.strip_suffix('@'));
            name == Some(line.agent.name.as_str())
        };
        let found = book.offers(&agent.tunnel).find(|line| named(line))?;
        let carries = if udp { found.agent.datagrams } else { found.agent.bytes };
        let line = self.line(found.session).filter(|line| carries && line.serves())?;
        Some((line, found.agent.name.clone()))
    }

    /// Opens a connection to an agent of another hub.
    pub(super) fn open(
        &self,
        desk: &Rc<Desk>,
        (line, name): (Rc<Line>, String),
        (agent, ends, udp): (&Agent, Option<Ends>, bool),
        held: Held,
    ) -> Result<Box<dyn Road>, NoRoad> {
        let open = Open {
            kind: if udp { Kind::Datagrams } else { Kind::Bytes },
            target: if udp { format!("{}/udp", agent.tunnel) } else { agent.tunnel.to_string() },
            visitor: ends.map(|(visitor, _)| visitor),
            destination: ends.map(|(_, ours)| ours),
            host: Some(name),
            hops: vec![desk.hub.name.clone()],
        };
        let stream = line.session.open(&open, &[]).map_err(|_| NoRoad::Gone)?;
        line.count.begin();
        let way = Across { desk: Rc::clone(desk), line };
        Ok(Box::new(Through::new(stream, way, held, udp)))
    }

    /// A hub has said something.
    fn said(&self, number: u64, message: Message) {
        if let Message::Hub(about) = &message
            && let Some(line) = self.line(number).filter(|line| line.leaving.get() != about.leaving)
        {
            line.leaving.set(about.leaving);
            if about.leaving {
                let _ = self.inputs.send(Input::Leaving(number));
                self.desk.upgrade().iter().for_each(|desk| desk.let_go());
            }
        }
        self.book.borrow_mut().handle(directory::Input::Said(number, message));
        self.settle();
    }

    /// Has pools know what the directory knows.
    fn settle(&self) {
        let Some(desk) = self.desk.upgrade() else { return };
        loop {
            let effect = self.book.borrow_mut().poll_effect();
            match effect {
                Some(Effect::Tunnel(tunnel)) => desk.tell_pools(std::iter::once(tunnel.as_str())),
                Some(Effect::Hubs) => {}
                None => return,
            }
        }
    }

    /// A session that we have dialled is over, or cannot be used.
    fn lost(&self, line: &Rc<Line>, why: &str) {
        let before = self.lines.borrow().len();
        self.lines.borrow_mut().retain(|one| !Rc::ptr_eq(one, line));
        if self.lines.borrow().len() < before {
            self.book.borrow_mut().handle(directory::Input::Ended(line.number));
            self.settle();
            if let Some(desk) = self.desk.upgrade() {
                desk.let_go();
                desk.news.hub_left(&line.hub, line.instance, why);
            }
            let _ = self.inputs.send(Input::Lost(line.number));
        }
    }
}

impl Line {
    /// Whether streams may be opened to it.
    fn serves(&self) -> bool {
        !self.leaving.get() && !self.session.is_closed() && !self.session.has_left()
    }

    fn leave(&self, within: Duration) {
        self.leaving.set(true);
        self.session.drain(within);
    }
}

/// The end of a connection that is at another hub.
pub(super) struct Across {
    desk: Rc<Desk>,
    line: Rc<Line>,
}

impl std::fmt::Debug for Across {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.line.fmt(f)
    }
}

impl End for Across {
    fn serves(&self) -> bool {
        self.line.serves()
    }

    fn broken(&self) {
        if self.line.session.is_closed() {
            self.desk.peers.lost(&self.line, "its session has broken");
        }
    }

    fn tally(&self) -> &Rc<Tally> {
        &self.line.count.tally
    }
}

impl Drop for Across {
    fn drop(&mut self) {
        self.line.count.end();
    }
}
