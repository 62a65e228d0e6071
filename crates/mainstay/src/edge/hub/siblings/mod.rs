//! The node's other threads, in this process and in others: an agent that has a session with one of them is lent to all.
//!
//! Each two threads have one session, over a unix socket ([`meet`]), by which both tell what agents they have of their own and open
//! streams to those of the other. An agent that this thread has itself is not lent; one stream goes over one such session at most.

mod meet;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::Edge;
use mainstay_core::tunnel::directory::{self, About, Directory, Effect, Message};
use mainstay_link::tunnel::siblings::{Secret, Spot};
use mainstay_link::tunnel::{Code, Kind, Open, Refused, Session, Stream, Tally};
use mainstay_proxy::policy::tunnel::Held;
use mainstay_proxy::road::{Agent, Behind, Ends, Load, NoRoad, Offer, Road};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::Desk;
use super::lobby::Lobby;
use super::peers::Count;
use super::peers::forward::ELSEWHERE;
use super::road::{End, Through};
use super::seat::apart;
use crate::ipc::{HubIdentity, Sibling};

/// The node's edge processes, as the supervisor tells.
pub(super) type Processes = watch::Receiver<Arc<[Sibling]>>;

/// What a thread has to do with the node's others.
#[derive(Debug)]
pub(super) struct Siblings {
    own: Spot,
    /// This process among those of its node.
    process: Sibling,
    secret: Secret,
    processes: Processes,
    /// Listens and dials, while agents may come in here.
    tasks: RefCell<Vec<AbortHandle>>,
    /// Whom tasks dial, or keep a session with.
    dialled: RefCell<BTreeSet<Spot>>,
    /// Those that are not let in yet.
    greeted: Lobby,
    strangers: meet::Strangers,
    lines: RefCell<Vec<Rc<Line>>>,
    numbers: Cell<u64>,
    book: RefCell<Directory>,
    /// The agents of other threads by tunnel, as the pools call them.
    shown: RefCell<HashMap<String, Vec<Shown>>>,
    /// Agents that were not where they were told to be, and are not asked for a while.
    strays: RefCell<HashSet<Stray>>,
}

/// The weight that threads of a node tell of an agent that takes all of its tunnel's connections; its share among such is 1.
pub(super) const EXCLUSIVE: u32 = u32::MAX;

/// An agent's share.
const fn weight(agent: &directory::Agent) -> u32 {
    if agent.weight == EXCLUSIVE { 1 } else { agent.weight }
}

/// A session, a tunnel and an agent's run.
type Stray = (u64, Rc<str>, u64);

/// So long an agent is not asked that was not there: that it has left is told within moments.
const STRAYS: Duration = Duration::from_secs(1);

/// A session with another thread.
pub(super) struct Line {
    number: u64,
    spot: Spot,
    session: Session,
    /// Its process is about to leave: it is asked when there is nobody else.
    leaving: Cell<bool>,
    count: Rc<Count>,
}

/// An agent at another thread.
#[derive(Debug)]
struct Shown {
    /// What the pools of this thread call it.
    name: String,
    line: Rc<Line>,
    /// What that thread tells of it, by its own name for it.
    agent: directory::Agent,
    busy: Rc<Busy>,
}

/// How busy an agent of another thread is.
#[derive(Debug, Default)]
struct Busy {
    told: Cell<u32>,
    /// Connections of this thread, which its pools count.
    ours: Cell<u32>,
    load: Load,
}

impl Busy {
    fn recount(&self) {
        self.load.set(self.told.get().saturating_sub(self.ours.get()));
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("spot", &self.spot).finish_non_exhaustive()
    }
}

impl Line {
    /// Whether streams can be opened to it.
    fn opens(&self) -> bool {
        !self.session.is_closed() && !self.session.has_left()
    }
}

/// Whether threads of a node have need of each other: where agents may come in.
fn wanted(edge: &Edge) -> bool {
    !edge.tunnels.is_empty() || edge.gost.is_some()
}

impl Siblings {
    pub(super) fn new(hub: &HubIdentity, thread: u16, processes: Processes) -> Self {
        Self {
            own: Spot { column: hub.own.column, thread },
            process: hub.own,
            secret: Secret::new(&hub.secret.0),
            processes,
            tasks: RefCell::default(),
            dialled: RefCell::default(),
            greeted: Lobby::new(meet::GREETED_MAX),
            strangers: meet::Strangers::default(),
            lines: RefCell::default(),
            numbers: Cell::new(0),
            book: RefCell::default(),
            shown: RefCell::default(),
            strays: RefCell::default(),
        }
    }

    /// Takes over what the configuration in force says.
    pub(super) fn adopt(&self, desk: &Rc<Desk>, edge: &Edge) {
        self.shown.borrow_mut().retain(|tunnel, _| desk.tunnels.borrow().contains_key(tunnel));
        if !wanted(edge) {
            self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
            self.dialled.borrow_mut().clear();
            let lines = self.lines.borrow().clone();
            for line in lines {
                line.session.close();
                self.lost(desk, &line);
            }
            return;
        }
        if self.tasks.borrow().is_empty() {
            let task = spawn_local(meet::run(Rc::clone(desk)));
            self.tasks.borrow_mut().push(task.abort_handle());
        }
    }

    /// Nobody of ours needs other threads any more; what they have under way here may end.
    pub(super) fn leave(&self, within: Duration) {
        self.lines.borrow().iter().for_each(|line| line.session.drain(within));
    }

    pub(super) fn cut(&self) {
        self.lines.borrow().iter().for_each(|line| line.session.close());
    }

    /// Adds the agents of other threads to those that this one has itself (`near`: name and run) of a tunnel.
    pub(super) fn offers(
        &self,
        tunnel: &str,
        near: Vec<(String, u64)>,
        taken: [bool; 2],
        offers: &mut Vec<Offer>,
    ) {
        let mut names = near;
        let before = self.shown.borrow_mut().remove(tunnel).unwrap_or_default();
        let mut shown: Vec<Shown> = Vec::new();
        let book = self.book.borrow();
        // Those that stay are preferred: they come first.
        for leaving in [false, true] {
            for told in book.offers(tunnel) {
                let line = self.line(told.session);
                let Some(line) = line.filter(|line| line.opens() && line.leaving.get() == leaving) else {
                    continue;
                };
                let (run, agent) = (told.agent.run, told.agent);
                let idle = (taken[0] || !agent.bytes) && (taken[1] || !agent.datagrams);
                if idle && agent.weight != EXCLUSIVE {
                    continue;
                }
                if self.strays.borrow().contains(&(told.session, tunnel.into(), run)) {
                    continue;
                }
                let name = match names.iter().find(|(_, known)| *known == run) {
                    Some((name, _)) => name.clone(),
                    None => {
                        let taken = names.iter().any(|(name, _)| *name == told.agent.name);
                        let name = if taken { apart(&told.agent.name, run) } else { told.agent.name.clone() };
                        names.push((name.clone(), run));
                        name
                    }
                };
                let known = shown.iter().chain(&before).find(|one| one.agent.run == run);
                let busy = known.map(|one| Rc::clone(&one.busy)).unwrap_or_default();
                busy.told.set(told.agent.load);
                busy.recount();
                if !offers.iter().any(|known| known.agent == name) {
                    let (weight, trouble) = (weight(agent), agent.trouble.clone());
                    let (agent, load) = (name.clone(), busy.load.clone());
                    let behind = leaving.then_some(Behind::Leaving);
                    offers.push(Offer { agent, weight, trouble, load, behind });
                }
                shown.push(Shown { name, line, agent: told.agent.clone(), busy });
            }
        }
        if !shown.is_empty() {
            self.shown.borrow_mut().insert(tunnel.to_owned(), shown);
        }
    }

    /// Whether an agent of another thread offers a tunnel here.
    pub(super) fn shows(&self, tunnel: &str) -> bool {
        self.shown.borrow().contains_key(tunnel)
    }

    /// What gost's clients at other threads want of a tunnel.
    pub(super) fn gost(&self, tunnel: &str, told: impl FnMut(&directory::Gost)) {
        self.book.borrow().gost(tunnel).for_each(told);
    }

    /// The tunnels that other threads have agents of.
    pub(super) fn tunnels(&self) -> Vec<String> {
        self.book.borrow().tunnels().map(str::to_owned).collect()
    }

    /// Tells of each agent that other threads have, by the tunnel and under the name that it has here.
    pub(super) fn lent(&self, mut tell: impl FnMut(&str, directory::Agent)) {
        for (tunnel, all) in &*self.shown.borrow() {
            for one in all.iter().filter(|one| one.line.opens()) {
                let (name, weight) = (one.name.clone(), weight(&one.agent));
                tell(tunnel, directory::Agent { name, weight, run: 0, load: 0, ..one.agent.clone() });
            }
        }
    }

    fn line(&self, number: u64) -> Option<Rc<Line>> {
        self.lines.borrow().iter().find(|line| line.number == number).map(Rc::clone)
    }

    /// The way to an agent of another thread.
    pub(super) fn find(&self, agent: &Agent, udp: bool) -> Option<Via> {
        let shown = self.shown.borrow();
        let all = shown.get(&*agent.tunnel)?.iter();
        let mut named = all.filter(|one| *one.name == *agent.name && one.line.opens());
        let one = named.find(|one| if udp { one.agent.datagrams } else { one.agent.bytes })?;
        let (line, busy) = (Rc::clone(&one.line), Rc::clone(&one.busy));
        let stray = (line.number, Rc::clone(&agent.tunnel), one.agent.run);
        Some(Via { line, busy, name: one.agent.name.clone(), stray })
    }

    /// An agent is not where it was told to be. What others tell of it may be as old: it is asked again when one of them tells anew,
    /// or after a while, and requests wait for that as they do for an agent that has left.
    fn strayed(&self, desk: &Rc<Desk>, (number, tunnel, run): &Stray) {
        if self.strays.borrow().contains(&(*number, Rc::clone(tunnel), *run)) {
            return;
        }
        let told: Vec<Stray> = {
            let book = self.book.borrow();
            let same = book.offers(tunnel).filter(|told| told.agent.run == *run);
            same.map(|told| (told.session, Rc::clone(tunnel), *run)).collect()
        };
        self.strays.borrow_mut().extend(told.iter().cloned());
        desk.publish(std::iter::once(&**tunnel));
        let (desk, tunnel) = (Rc::clone(desk), Rc::clone(tunnel));
        spawn_local(async move {
            sleep(STRAYS).await;
            desk.siblings.strays.borrow_mut().retain(|stray| !told.contains(stray));
            desk.publish(std::iter::once(&*tunnel));
        });
    }

    /// Another agent of a tunnel that carries this, when the one that a pool has chosen does not: pools know agents, not what they carry.
    pub(super) fn instead(&self, agent: &Agent, udp: bool) -> Option<Via> {
        let other = {
            let shown = self.shown.borrow();
            let carries = |one: &&Shown| if udp { one.agent.datagrams } else { one.agent.bytes };
            let fit = shown.get(&*agent.tunnel)?.iter().filter(|one| one.line.opens()).filter(carries);
            let least = fit.min_by_key(|one| one.busy.told.get().max(one.busy.ours.get()))?;
            Agent { tunnel: Rc::clone(&agent.tunnel), name: least.name.as_str().into() }
        };
        self.find(&other, udp)
    }

    /// Whether an agent of another thread takes all of a tunnel's connections.
    pub(super) fn takes_all(&self, tunnel: &str, udp: bool) -> bool {
        let carries = |agent: &directory::Agent| if udp { agent.datagrams } else { agent.bytes };
        let book = self.book.borrow();
        book.offers(tunnel).any(|told| told.agent.weight == EXCLUSIVE && carries(told.agent))
    }

    /// Another thread takes other streams than before, or none.
    fn turned(&self, desk: &Desk) {
        let tunnels: Vec<String> = desk.tunnels.borrow().keys().cloned().collect();
        desk.publish(tunnels.iter().map(String::as_str));
        desk.let_go();
    }

    /// Another thread has said something.
    fn said(&self, desk: &Desk, line: &Line, message: Message) {
        match message {
            Message::Hub(about) => {
                if line.leaving.replace(about.leaving) != about.leaving {
                    self.turned(desk);
                }
                // What it offers counts until it is gone.
                let about = Message::Hub(About { leaving: false, ..about });
                self.book.borrow_mut().handle(directory::Input::Said(line.number, about));
            }
            Message::Tunnel(ref offers) => {
                let fresh = |stray: &Stray| stray.0 == line.number && *stray.1 == *offers.tunnel;
                self.strays.borrow_mut().retain(|stray| !fresh(stray));
                self.book.borrow_mut().handle(directory::Input::Said(line.number, message));
            }
        }
        self.settle(desk);
    }

    /// Has pools, and other hubs, know what the directory knows.
    fn settle(&self, desk: &Desk) {
        loop {
            let effect = self.book.borrow_mut().poll_effect();
            match effect {
                Some(Effect::Tunnel(tunnel)) => desk.publish(std::iter::once(tunnel.as_str())),
                Some(Effect::Hubs) => {}
                None => return,
            }
        }
    }

    /// There is a session with another thread. A later one with the same replaces the earlier.
    fn began(&self, desk: &Desk, spot: Spot, session: Session) -> Rc<Line> {
        let old = self.lines.borrow().iter().find(|line| line.spot == spot).map(Rc::clone);
        if let Some(old) = old {
            old.session.close();
            self.lost(desk, &old);
        }
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let line = Rc::new(Line { number, spot, session, leaving: Cell::new(false), count: Rc::default() });
        self.lines.borrow_mut().push(Rc::clone(&line));
        let hub = format!("{}.{}", spot.column, spot.thread);
        self.book.borrow_mut().handle(directory::Input::Began { session: number, hub, epoch: 0 });
        self.settle(desk);
        line
    }

    /// A session is over, or cannot be used.
    fn lost(&self, desk: &Desk, line: &Rc<Line>) {
        let before = self.lines.borrow().len();
        self.lines.borrow_mut().retain(|one| !Rc::ptr_eq(one, line));
        if self.lines.borrow().len() < before {
            self.book.borrow_mut().handle(directory::Input::Ended(line.number));
            self.settle(desk);
            desk.let_go();
        }
    }
}

/// The way to an agent of another thread.
pub(super) struct Via {
    line: Rc<Line>,
    busy: Rc<Busy>,
    /// What that thread calls it.
    name: String,
    stray: Stray,
}

impl Via {
    /// Opens a stream there, with what `open` says besides.
    pub(super) fn open(self, desk: &Rc<Desk>, open: Open) -> Result<(Stream, Lent), Refused> {
        let open = Open { host: Some(self.name), ..open };
        let stream = self.line.session.open(&open, &[])?;
        self.line.count.begin();
        self.busy.ours.set(self.busy.ours.get() + 1);
        self.busy.recount();
        Ok((stream, Lent { desk: Rc::clone(desk), line: self.line, busy: self.busy, stray: self.stray }))
    }
}

/// Opens a connection to an agent of another thread.
pub(super) fn open(
    desk: &Rc<Desk>,
    via: Via,
    (agent, ends, udp): (&Agent, Option<Ends>, bool),
    held: Held,
) -> Result<Box<dyn Road>, NoRoad> {
    let open = Open {
        kind: if udp { Kind::Datagrams } else { Kind::Bytes },
        target: if udp { format!("{}/udp", agent.tunnel) } else { agent.tunnel.to_string() },
        visitor: ends.map(|(visitor, _)| visitor),
        destination: ends.map(|(_, ours)| ours),
        ..Open::default()
    };
    let (stream, lent) = via.open(desk, open).map_err(|_| NoRoad::Gone)?;
    Ok(Box::new(Through::new(stream, lent, held, udp)))
}

/// The end of a connection that is at another thread.
pub(super) struct Lent {
    desk: Rc<Desk>,
    line: Rc<Line>,
    busy: Rc<Busy>,
    stray: Stray,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

impl End for Lent {
    fn serves(&self) -> bool {
        !self.line.leaving.get() && self.line.opens()
    }

    fn broken(&self) {
        if self.line.session.is_closed() {
            self.desk.siblings.lost(&self.desk, &self.line);
        }
    }

    fn refused(&self, code: Code) -> bool {
        let elsewhere = code == ELSEWHERE;
        if elsewhere {
            self.desk.siblings.strayed(&self.desk, &self.stray);
        }
        elsewhere
    }

    fn tally(&self) -> &Rc<Tally> {
        &self.line.count.tally
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.line.count.end();
        self.busy.ours.set(self.busy.ours.get() - 1);
        self.busy.recount();
    }
}
