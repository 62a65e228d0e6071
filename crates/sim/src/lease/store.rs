//! A store that votes, instead of the last node: the real deputies of the others in front of a store that is down, loses
//! everything, takes steps late and twice, and whose answers are lost.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::lease::external::{
    Ability, Change, Deputy, Done, Effect, EpochRecord, Found, Input, Key, Post, Posted, PromiseRecord,
    Snapshot, Step, VoterRecord, Write,
};
use mainstay_core::lease::{Letter, Mark};
use mainstay_core::time::Boot;

use crate::kernel::Time;
use crate::lease::suffer::{SALT, WALL};
use crate::lease::world::{Event, World};
use crate::rng::Rng;

/// A step is given up after so long.
const DEADLINE: Time = 1_500_000_000;

/// An answer takes so long at most, and now and then so long.
const QUICK: Time = 50_000_000;
const SLOW: Time = 7_000_000_000;

/// The store, and a deputy for each node.
pub(crate) struct Store {
    /// Its own, so that what happens to the nodes is the same with a store and without.
    rng: Rng,
    shelf: Shelf,
    sides: Vec<Option<Side>>,
    up: bool,
    forgetful: bool,
}

struct Side {
    deputy: Deputy,
    /// Counts the deputies of the node, so that answers to a dead one are told apart.
    life: u64,
}

/// What happens to a deputy or the store.
#[derive(Clone, Debug)]
pub(crate) enum StoreEvent {
    /// A step is taken; its promises were given their time then, by the store's clock.
    Taken { node: usize, life: u64, step: u64, what: Rc<Step>, granted: Boot, answered: bool },
    /// A deputy hears of it, or gives it up.
    Heard { node: usize, life: u64, input: Input },
}

/// The records.
#[derive(Clone, Debug, Default)]
struct Shelf {
    name: u64,
    revision: u64,
    voter: Option<(VoterRecord, u64)>,
    promises: BTreeMap<String, (PromiseRecord, u64, Boot)>,
    epochs: BTreeMap<String, (EpochRecord, u64)>,
}

impl Store {
    pub(crate) fn new(seed: u64, nodes: usize, forgetful: bool) -> Self {
        let rng = Rng::new(seed ^ 0x5707_e000);
        let sides = (0..nodes).map(|_| None).collect();
        Self { rng, shelf: Shelf::default(), sides, up: false, forgetful }
    }
}

impl World {
    /// The node whose place the store has.
    pub(crate) fn is_store(&self, n: usize) -> bool {
        self.store.is_some() && n + 1 == self.nodes.len()
    }

    /// The store's process starts: what was promised lasts anew, never shorter.
    pub(crate) fn start_store(&mut self) {
        let now = self.store_clock();
        let term = self.scenario.terms.term;
        let Some(store) = &mut self.store else { return };
        if !std::mem::replace(&mut store.up, true) {
            for (_, _, until) in store.shelf.promises.values_mut() {
                *until = (*until).max(now + term);
            }
        }
    }

    /// It ends, with its data or without.
    pub(crate) fn stop_store(&mut self, wiped: bool) {
        let Some(store) = &mut self.store else { return };
        store.up = false;
        if store.forgetful {
            store.shelf.promises.clear();
        } else if wiped {
            store.shelf = Shelf::default();
        }
    }

    /// A node's process starts, and its deputy with it.
    pub(crate) fn start_deputy(&mut self, n: usize) {
        let (now, wall) = (self.nodes[n].clock.read(self.now), self.nodes[n].wall);
        let epoch_floor = (WALL + self.now).saturating_add_signed(wall) / 1_000_000;
        let ability = Ability { node: format!("n{n}"), terms: self.scenario.terms, epoch_floor };
        let Some(store) = &mut self.store else { return };
        let life = store.rng.next();
        store.sides[n] = Some(Side { deputy: Deputy::new(ability, now), life });
    }

    /// A letter to the store's place.
    pub(crate) fn post_to_store(&mut self, from: usize, letter: &Letter) {
        let Some(task) = &self.nodes[from].task else { return };
        let list = task.leases.list().clone();
        let posts: Vec<Post> = letter.messages.iter().filter_map(Post::of).collect();
        // The list is that of the letter, unless another has come into force on its way.
        if list.mark(SALT) != letter.mark || posts.is_empty() {
            return;
        }
        let Letter { instance, heir_of, mark, .. } = *letter;
        self.feed_deputy(from, Input::Posted(Posted { instance, heir_of, list, mark, posts }));
    }

    /// Time passes for all deputies.
    pub(crate) fn tick_deputies(&mut self) {
        for n in 0..self.nodes.len() {
            self.feed_deputy(n, Input::Tick);
        }
    }

    pub(crate) fn store_event(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Taken { node, life, step, what, granted, answered } => {
                let now = self.store_clock();
                let Some(store) = self.store.as_mut().filter(|store| store.up) else { return };
                let Some(done) = store.shelf.take(&what, granted, now) else { return };
                if answered {
                    let after = store.rng.within(1..QUICK);
                    let input = Input::Done { step, done };
                    self.at(self.now + after, Event::Store(StoreEvent::Heard { node, life, input }));
                }
            }
            StoreEvent::Heard { node, life, input } => {
                let side = self.store.as_ref().and_then(|store| store.sides[node].as_ref());
                if side.is_some_and(|side| side.life == life) {
                    self.feed_deputy(node, input);
                }
            }
        }
    }

    fn feed_deputy(&mut self, n: usize, input: Input) {
        let local = self.nodes[n].clock.read(self.now);
        let mut effects = Vec::new();
        let Some(side) = self.store.as_mut().and_then(|store| store.sides[n].as_mut()) else { return };
        side.deputy.handle(input, local);
        while let Some(effect) = side.deputy.poll_effect() {
            effects.push(effect);
        }
        let (life, place) = (side.life, self.nodes.len() - 1);
        for effect in effects {
            match effect {
                Effect::Step { step, what } => self.launch(n, life, step, what),
                Effect::Say(heard) => {
                    self.trace(|_| format!("the store tells n{n}: {:?}", heard.replies));
                    self.transmit(place, n, heard.letter());
                }
                Effect::Mute(_) | Effect::Open => self.trace(|_| format!("n{n} of the store: {effect:?}")),
            }
        }
    }

    /// A step leaves: it is taken soon or late, now and then twice, and its answer may be lost.
    fn launch(&mut self, n: usize, life: u64, step: u64, what: Step) {
        let clock = self.nodes[self.nodes.len() - 1].clock;
        let Some(store) = &mut self.store else { return };
        let what = Rc::new(what);
        let mut events = Vec::new();
        for _ in 0..=u32::from(store.rng.percent(5)) {
            let late = if store.rng.percent(8) { SLOW } else { QUICK };
            let after = store.rng.within(1..late);
            let granted = clock.read(self.now + store.rng.within(0..after));
            let answered = store.rng.percent(92);
            let what = Rc::clone(&what);
            events.push((after, StoreEvent::Taken { node: n, life, step, what, granted, answered }));
        }
        events.push((DEADLINE, StoreEvent::Heard { node: n, life, input: Input::Failed { step } }));
        for (after, event) in events {
            self.at(self.now + after, Event::Store(event));
        }
    }

    fn store_clock(&self) -> Boot {
        self.nodes[self.nodes.len() - 1].clock.read(self.now)
    }
}

impl Shelf {
    /// Takes a step whose promises were given their time at `granted`; nothing when that time is over.
    fn take(&mut self, step: &Step, granted: Boot, now: Boot) -> Option<Done> {
        self.promises.retain(|_, (_, _, until)| *until > now);
        let write = match step {
            Step::Read(rights) => return Some(Done::Read(self.snapshot(rights))),
            Step::Write(write) => write,
        };
        if write.lasts.is_some_and(|lasts| granted + lasts <= now) {
            return None;
        }
        if !self.matches(write) {
            return Some(Done::Changed(self.snapshot(&write.rights)));
        }
        self.revision += 1;
        let version = self.revision;
        for change in &write.changes {
            match change.clone() {
                Change::Voter(record) => self.voter = Some((record, version)),
                Change::Promise(right, record) => {
                    let until = granted + write.lasts.unwrap_or(Duration::ZERO);
                    self.promises.insert(right, (record, version, until));
                }
                Change::Release(right) => drop(self.promises.remove(&right)),
                Change::Epoch(right, record) => drop(self.epochs.insert(right, (record, version))),
            }
        }
        Some(Done::Written { store: self.name, revision: version })
    }

    fn matches(&self, write: &Write) -> bool {
        let birth = self.voter.as_ref().map(|(voter, _)| voter.birth);
        let version = |key: &Key| match key {
            Key::Voter => self.voter.as_ref().map_or(0, |(_, version)| *version),
            Key::Promise(right) => self.promises.get(right).map_or(0, |(_, version, _)| *version),
            Key::Epoch(right) => self.epochs.get(right).map_or(0, |(_, version)| *version),
        };
        write.birth == birth
            && write.unchanged.iter().all(|(key, known)| version(key) == *known)
            && (!write.quiet || self.promises.is_empty())
    }

    fn snapshot(&self, rights: &[String]) -> Snapshot {
        let found = |right: &String| Found {
            promise: self.promises.get(right).map(|(record, version, _)| (record.clone(), *version)),
            epoch: self.epochs.get(right).cloned(),
        };
        Snapshot {
            store: self.name,
            revision: self.revision,
            voter: self.voter.clone(),
            rights: rights.iter().map(found).collect(),
        }
    }

    /// The list under which it answers.
    fn mark(&self) -> Option<Mark> {
        self.voter.as_ref().map(|(voter, _)| voter.mark)
    }
}

impl Store {
    /// What it stands at, for the end of a trace.
    pub(crate) fn told(&self) -> String {
        let promised: Vec<_> =
            self.shelf.promises.iter().map(|(right, (to, ..))| (right, &to.node)).collect();
        format!("the store: {:?}, revision {}, {promised:?}", self.shelf.mark(), self.shelf.revision)
    }

    /// How many writes it has taken since it last lost everything.
    pub(crate) fn writes(&self) -> u64 {
        self.shelf.revision
    }
}
