//! The agent: it dials hubs from behind a NAT and offers them what runs here.
//!
//! One thread. `Agent` feeds `core::tunnel::roam` with what becomes of dials and sessions and carries out what it asks for; each stream that a
//! hub opens is a task that joins it to a target.

mod dial;
mod files;
mod news;
mod offer;
mod role;
mod seen;
mod serve;
mod settings;
mod target;
mod voice;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_core::tunnel::address::Address;
use mainstay_core::tunnel::roam::{Effect, Input, Roam};
use mainstay_link::tunnel::Session;
use mainstay_link::tunnel::carrier::Dialing;
use mainstay_link::{Entropy as _, SystemEntropy};
use mainstay_sys::clock::boot_now;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use offer::Offered;
pub(crate) use role::run as serve_node;
use seen::Heard;
pub use settings::{Service, Settings};
use voice::Voice;

use crate::edge::LEAVING;

/// How often it is looked which hubs are about to leave.
const LOOK: Duration = Duration::from_millis(100);

/// What the tasks of the agent share.
struct Agent {
    name: String,
    instance: u64,
    key: mainstay_link::tunnel::keys::SigningKey,
    dialing: Dialing,
    /// Hubs that are told are dialled only over carriers that nobody can listen to.
    sealed: bool,
    offered: Vec<Rc<Offered>>,
    roam: RefCell<Roam>,
    sessions: RefCell<HashMap<u64, Session>>,
    inputs: UnboundedSender<Input>,
    /// A target's health has changed.
    changed: Rc<Notify>,
    /// What was said already, so that it is said once: URLs that are served, addresses that fail.
    said: RefCell<HashSet<String>>,
    leaving: Cell<bool>,
    /// What hubs have said.
    heard: RefCell<Heard>,
    /// Why offers are not made.
    unusable: Vec<String>,
    voice: Voice,
    /// How long streams may go on at the end.
    drain: Cell<Duration>,
    /// It is to end; the second time at once.
    stop: Notify,
}

/// Runs an agent until it is told to end, and its streams have.
///
/// # Errors
/// With a sentence, when it cannot begin.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    // A runtime that lives on one thread wakes its tasks without the detour of a LocalSet.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let (agent, inputs) = Agent::new(settings, Voice::Log)?;
        let told = Rc::clone(&agent);
        let ear = spawn_local(async move {
            let [term, interrupt] = &mut signals;
            loop {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = interrupt.recv() => {}
                }
                told.stop.notify_one();
            }
        });
        agent.run(inputs).await;
        ear.abort();
        Ok(())
    })
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
    fn new(settings: Settings, voice: Voice) -> anyhow::Result<(Rc<Self>, UnboundedReceiver<Input>)> {
        let (inputs, heard) = unbounded_channel();
        let changed = Rc::new(Notify::new());
        let urls: Vec<String> = settings.hubs.iter().map(Address::to_string).collect();
        let (mut offered, mut unusable) = (Vec::new(), Vec::new());
        for (index, service) in (0..).zip(&settings.services) {
            match Offered::new(index, service, &changed) {
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
        anyhow::ensure!(!offered.is_empty(), "nothing can be offered: {}", unusable.join("; "));
        let agent = Self {
            name: settings.name,
            instance: chance(),
            key: settings.key,
            dialing: settings.dialing,
            sealed: settings.hubs.iter().all(|hub| hub.way.is_sealed()),
            offered,
            roam: RefCell::new(Roam::new(urls.iter().map(String::as_str), boot_now())),
            sessions: RefCell::default(),
            inputs,
            changed,
            said: RefCell::default(),
            leaving: Cell::new(false),
            heard: RefCell::default(),
            unusable,
            voice,
            drain: Cell::new(settings.drain),
            stop: Notify::new(),
        };
        Ok((Rc::new(agent), heard))
    }

    async fn run(self: Rc<Self>, mut inputs: UnboundedReceiver<Input>) {
        let looks: Vec<_> = self.offered.iter().filter_map(|offered| offered.watch(&self)).collect();
        self.handle(Input::Tick);
        loop {
            let due = self.roam.borrow().poll_timeout(boot_now());
            tokio::select! {
                Some(input) = inputs.recv() => self.handle(input),
                () = sleep_until(due.map_or_else(|| Instant::now() + LOOK, instant)), if due.is_some() => {
                    self.handle(Input::Tick);
                }
                () = sleep(LOOK) => self.look_for_leaving(),
                () = self.changed.notified() => self.tell(),
                () = self.stop.notified() => break,
            }
        }
        self.leave().await;
        looks.iter().for_each(tokio::task::JoinHandle::abort);
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

    /// Hubs that said that they take no new streams, or soon will not, are to be replaced by others.
    fn look_for_leaving(self: &Rc<Self>) {
        let left = self.sessions.borrow();
        let leaves = |s: &Session| s.has_left() || s.heard().targets.iter().any(|(word, _)| word == LEAVING);
        let left: Vec<u64> = left.iter().filter(|(_, s)| leaves(s)).map(|(id, _)| *id).collect();
        for session in left {
            self.handle(Input::Leaving(session));
        }
    }

    /// Tells every hub how the targets are.
    fn tell(&self) {
        let news = news::of(&self.offered);
        self.sessions.borrow().values().for_each(|session| session.tell(news.clone()));
    }

    /// Says something once; `forget` makes it new again.
    fn once(&self, what: &str) -> bool {
        self.said.borrow_mut().insert(what.to_owned())
    }

    /// Takes no new streams and waits for the others to end.
    async fn leave(self: &Rc<Self>) {
        self.leaving.set(true);
        let within = self.drain.get();
        let sessions: Vec<Session> = self.sessions.borrow().values().cloned().collect();
        tracing::info!(sessions = sessions.len(), "the agent leaves: streams that are open are let end");
        sessions.iter().for_each(|session| session.drain(within));
        let ended = async {
            for session in &sessions {
                session.closed().await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = sleep(within + LOOK) => {}
            () = self.stop.notified() => {}
        }
        sessions.iter().for_each(Session::close);
    }
}
