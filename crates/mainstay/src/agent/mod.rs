//! The agent: it dials hubs from behind a NAT and offers them what runs here.
//!
//! One thread. `Agent` feeds `core::tunnel::roam` with what becomes of dials and sessions and carries out what it asks for; each stream that a
//! hub opens is a task that joins it to a target.

mod dial;
mod files;
mod gost;
mod keys;
mod look;
mod news;
mod offer;
mod role;
mod seen;
mod serve;
mod settings;
mod streams;
mod target;
mod visit;
mod voice;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_core::tunnel::address::Address;
use mainstay_core::tunnel::hello::{Caller, Offer};
use mainstay_core::tunnel::roam::{Effect, Input, Roam};
use mainstay_link::tunnel::Session;
use mainstay_link::tunnel::carrier::Dialing;
use mainstay_link::tunnel::keys::SigningKey;
use mainstay_link::{Entropy as _, SystemEntropy};
use mainstay_sys::clock::boot_now;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use offer::Offered;
pub(crate) use role::run as serve_node;
use seen::{Counts, Heard};
pub use settings::{Listen, Service, Settings, Wish};
use visit::{Bound, Door, Ways};
use voice::Voice;

use crate::edge::LEAVING;

/// What sessions that drain may take beyond their time, to say so.
const PARTING: Duration = Duration::from_millis(100);

/// What the tasks of the agent share.
struct Agent {
    name: String,
    instance: u64,
    key: RefCell<Rc<SigningKey>>,
    dialing: Dialing,
    /// Hubs that are told are dialled only over carriers that nobody can listen to.
    sealed: bool,
    offered: RefCell<Vec<Rc<Offered>>>,
    /// What looks at its targets.
    looks: RefCell<Vec<JoinHandle<()>>>,
    /// What it reaches, when it is a visitor.
    doors: Vec<Rc<Door>>,
    ways: Ways,
    roam: RefCell<Roam>,
    /// The hubs, when they are gost's: then there is nothing to roam.
    servers: Option<gost::Servers>,
    sessions: RefCell<HashMap<u64, Session>>,
    inputs: UnboundedSender<Input>,
    /// A target's health has changed.
    changed: Rc<Notify>,
    /// Streams that are open, of all hubs.
    load: Rc<Cell<u32>>,
    /// What was said already, so that it is said once: URLs that are served, addresses that fail.
    said: RefCell<HashSet<String>>,
    leaving: Cell<bool>,
    /// Another has its name and its places: it dials no more.
    succeeded: Cell<bool>,
    counts: Counts,
    /// What hubs have said.
    heard: RefCell<Heard>,
    /// Why offers are not made.
    unusable: Vec<String>,
    voice: Voice,
    /// How long streams may go on at the end.
    drain: Cell<Duration>,
    /// It is to end; the second time at once.
    stop: Notify,
    /// Why it did not do what it was run for.
    failed: Cell<Option<String>>,
}

/// Runs an agent until it is told to end, and its streams have.
///
/// # Errors
/// With a sentence, when it cannot begin.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    // A runtime that lives on one thread wakes its tasks without the detour of a LocalSet.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default())?;
    let done = runtime.block_on(async move {
        let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::user_defined1()]
            .map(signal)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let key_file = settings.key_file.clone();
        let (agent, inputs) = Agent::new(settings, Voice::Log, chance())?;
        let told = Rc::clone(&agent);
        let ear = spawn_local(async move {
            let [term, interrupt, asked] = &mut signals[..] else { return };
            loop {
                tokio::select! {
                    _ = term.recv() => told.stop.notify_one(),
                    _ = interrupt.recv() => told.stop.notify_one(),
                    _ = asked.recv() => told.sum_up(),
                }
            }
        });
        let follow = key_file.map(|file| spawn_local(Rc::clone(&agent).follow_key(file)));
        Rc::clone(&agent).run(inputs).await;
        agent.sum_up();
        ear.abort();
        follow.iter().for_each(JoinHandle::abort);
        agent.failed.take().map_or(Ok(()), |why| Err(anyhow::Error::msg(why)))
    });
    // A thread that waits for standard input must not hold up the end.
    runtime.shutdown_background();
    done
}

/// Whether a hub is about to leave, or does.
fn leaves(session: &Session) -> bool {
    session.has_left() || session.heard().targets.iter().any(|(word, _)| word == LEAVING)
}

fn chance() -> u64 {
    let mut bytes = [0; 8];
    SystemEntropy.fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

fn instant(at: Boot) -> Instant {
    Instant::now() + at.since(boot_now())
}

impl Agent {
    /// An agent, and the inputs of its [`Self::run`]. `instance` is the run that hubs are told of: who has the name and the run of
    /// another takes its place.
    fn new(
        settings: Settings,
        voice: Voice,
        instance: u64,
    ) -> anyhow::Result<(Rc<Self>, UnboundedReceiver<Input>)> {
        let servers = gost::servers(&settings)?;
        let (inputs, heard) = unbounded_channel();
        let (changed, load) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let urls: Vec<String> = settings.hubs.iter().map(Address::to_string).collect();
        let (mut offered, mut unusable) = (Vec::new(), Vec::new());
        for (index, service) in (0..).zip(&settings.services) {
            match Offered::new(index, service, &changed, &load) {
                Ok(usable) => offered.push(Rc::new(usable)),
                // Alone in the foreground, it has nobody to serve for.
                Err(error) if settings.services.len() == 1 => return Err(error),
                Err(error) => {
                    let why = format!("tunnel {} is not offered: {error:#}", service.tunnel);
                    voice.warn(&settings.name, why.clone());
                    unusable.push(why);
                }
            }
        }
        let wishes = (0..).zip(&settings.wishes);
        let doors: Vec<_> = wishes.map(|(index, wish)| Rc::new(Door::new(index, wish))).collect();
        if let (Voice::Log, Some(why)) = (&voice, doors.iter().find_map(|door| door.trouble())) {
            // Whoever runs it in the foreground wants to know at once.
            anyhow::bail!(why);
        }
        let nothing = offered.is_empty() && doors.is_empty();
        anyhow::ensure!(!nothing, "there is nothing to do: {}", unusable.join("; "));
        let dialled = urls.iter().filter(|_| servers.is_none()).map(String::as_str);
        let roam = match doors.is_empty() {
            true => Roam::new(dialled, boot_now()),
            false => Roam::one_each(dialled, boot_now()),
        };
        let agent = Self {
            name: settings.name,
            instance,
            key: RefCell::new(Rc::new(settings.key)),
            dialing: settings.dialing,
            sealed: settings.hubs.iter().all(|hub| hub.way.is_sealed()),
            offered: RefCell::new(offered),
            looks: RefCell::default(),
            doors,
            ways: Ways::default(),
            roam: RefCell::new(roam),
            servers,
            sessions: RefCell::default(),
            inputs,
            changed,
            load,
            said: RefCell::default(),
            leaving: Cell::new(false),
            succeeded: Cell::new(false),
            counts: Counts::default(),
            heard: RefCell::default(),
            unusable,
            voice,
            drain: Cell::new(settings.drain),
            stop: Notify::new(),
            failed: Cell::new(None),
        };
        Ok((Rc::new(agent), heard))
    }

    async fn run(self: Rc<Self>, mut inputs: UnboundedReceiver<Input>) {
        self.look_after();
        let doors: Vec<_> = self.doors.iter().map(|door| door.keep(&self)).collect();
        self.handle(Input::Tick);
        self.meet_servers();
        loop {
            let due = self.roam.borrow().poll_timeout(boot_now());
            tokio::select! {
                Some(input) = inputs.recv() => self.handle(input),
                () = sleep_until(due.map_or_else(Instant::now, instant)), if due.is_some() => {
                    self.handle(Input::Tick);
                }
                () = self.changed.notified() => self.tell(),
                () = self.stop.notified() => break,
            }
        }
        doors.iter().for_each(tokio::task::JoinHandle::abort);
        self.doors.iter().for_each(|door| door.close());
        self.leave().await;
        self.looks.borrow().iter().for_each(JoinHandle::abort);
    }

    /// Has the targets looked at, and nothing else.
    fn look_after(self: &Rc<Self>) {
        let looks = self.offered.borrow().iter().filter_map(|offered| offered.watch(self)).collect();
        self.looks.replace(looks).iter().for_each(JoinHandle::abort);
    }

    /// Leads what it offers to other targets. Sessions go on, and so do streams that are open.
    fn retarget(self: &Rc<Self>, services: &[Service]) -> anyhow::Result<()> {
        let again = |(old, service): (&Rc<Offered>, &Service)| {
            if old.service == *service { Ok(Rc::clone(old)) } else { old.again(service).map(Rc::new) }
        };
        let fresh =
            self.offered.borrow().iter().zip(services).map(again).collect::<anyhow::Result<Vec<_>>>()?;
        self.offered.replace(fresh);
        self.look_after();
        self.tell();
        Ok(())
    }

    fn handle(self: &Rc<Self>, input: Input) {
        let mut roam = self.roam.borrow_mut();
        roam.handle(input, chance(), boot_now());
        while let Some(effect) = roam.poll_effect() {
            match effect {
                Effect::Dial { dial, url, turn } => {
                    spawn_local(Rc::clone(self).dial(dial, url, turn));
                }
                Effect::Drain(session) => {
                    if let Some(session) = self.sessions.borrow().get(&session) {
                        session.drain(settings::DRAIN);
                    }
                }
            }
        }
    }

    /// Tells every hub how the targets are.
    fn tell(&self) {
        let news = news::of(&self.offered.borrow(), &self.load);
        self.sessions.borrow().values().for_each(|session| session.tell(news.clone()));
        self.servers.iter().for_each(|servers| servers.health.notify_waiters());
    }

    /// Says something once; `forget` makes it new again.
    fn once(&self, what: &str) -> bool {
        self.said.borrow_mut().insert(what.to_owned())
    }

    /// What hubs are told: what it offers, or as a visitor wants.
    fn offers(&self) -> Vec<Offer> {
        let wishes = self.doors.iter().map(|door| door.wish());
        self.offered.borrow().iter().map(|offered| offered.offer()).chain(wishes).collect()
    }

    fn caller(&self) -> Caller {
        if self.doors.is_empty() { Caller::Agent } else { Caller::Visitor }
    }

    /// The socket of its door at a place.
    fn socket_of(&self, listen: Listen, udp: bool) -> Option<Rc<Bound>> {
        let door = self.doors.iter().find(|door| door.listen == listen && door.udp == udp)?;
        door.socket()
    }

    /// A connection of a door found no way to its tunnel.
    fn no_way(&self, door: &Door) {
        let why = self.why_not(door);
        if door.listen == Listen::Stdio {
            self.failed.set(Some(format!("tunnel {} can't be reached: {why}", door.tunnel)));
        } else {
            tracing::debug!(tunnel = door.tunnel, "a connection is closed: {why}");
        }
    }

    /// Takes no new streams and waits for the others to end.
    async fn leave(self: &Rc<Self>) {
        self.leaving.set(true);
        self.servers.iter().for_each(|servers| servers.health.notify_waiters());
        let within = self.drain.get();
        let sessions: Vec<Session> = self.sessions.borrow().values().cloned().collect();
        tracing::info!(sessions = sessions.len(), "it leaves: streams that are open are let end");
        sessions.iter().for_each(|session| session.drain(within));
        let ended = async {
            for session in &sessions {
                session.closed().await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = sleep(within + PARTING) => {}
            () = self.stop.notified() => {}
        }
        sessions.iter().for_each(Session::close);
    }
}
