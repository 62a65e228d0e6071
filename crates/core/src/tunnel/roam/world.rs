//! Hubs that an agent roams among: each with processes and threads, behind one name or each under its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Boot;
use crate::tunnel::hello::{Challenge, Place};
use crate::tunnel::roam::{Effect, Input, Roam};

/// What a dial takes until it has its answer.
const TRIP: Duration = Duration::from_millis(5);

pub(super) struct Hub {
    pub(super) instance: u64,
    pub(super) up: bool,
}

pub(super) struct World {
    pub(super) now: Boot,
    pub(super) roam: Roam,
    pub(super) hubs: Vec<Hub>,
    pub(super) shape: (u16, u16),
    /// Whether a process passes a dial on to a thread that the agent lacks.
    pub(super) passes_on: bool,
    /// Sessions: hub, process, thread.
    pub(super) sessions: BTreeMap<u64, (usize, u16, u16)>,
    pub(super) dials: usize,
    pub(super) names: Vec<String>,
    pub(super) told: Vec<String>,
    /// Which hubs `tcp://dns` stands for.
    pub(super) listed: Vec<usize>,
    answers: Vec<(Boot, u64, String)>,
    chance: u64,
}

impl World {
    /// Hubs, each with 2 processes of 2 threads.
    pub(super) fn new(hubs: usize, urls: &[&str], seed: u64) -> Self {
        let hub = |instance| Hub { instance, up: true };
        Self {
            now: Boot::from_nanos(1_000_000_000),
            roam: Roam::new(urls.iter().copied(), Boot::from_nanos(1_000_000_000)),
            hubs: (1..=hubs as u64).map(hub).collect(),
            shape: (2, 2),
            passes_on: true,
            sessions: BTreeMap::new(),
            dials: 0,
            names: Vec::new(),
            told: Vec::new(),
            listed: Vec::new(),
            answers: Vec::new(),
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    pub(super) fn say(&mut self, input: Input) {
        let chance = self.draw();
        self.roam.handle(input, chance, self.now);
        while let Some(effect) = self.roam.poll_effect() {
            match effect {
                Effect::Dial { dial, url, turn } => {
                    self.dials += 1;
                    let of = |turn: u32| self.listed.get(turn as usize % self.listed.len().max(1));
                    let listed =
                        of(turn).filter(|_| url == "tcp://dns").map(|hub| format!("tcp://hub-{hub}"));
                    self.answers.push((self.now + TRIP, dial, listed.unwrap_or(url)));
                }
                Effect::Drain(session) => {
                    self.sessions.remove(&session);
                }
            }
        }
    }

    /// Lets time pass until `done` or for so long; whether it was.
    pub(super) fn until(&mut self, within: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + within;
        self.say(Input::Tick);
        while !done(self) {
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let tick = self.roam.poll_timeout(self.now).map(|at| at.max(self.now));
            let Some(next) = answer.into_iter().chain(tick).min().filter(|at| *at <= end) else {
                self.now = end;
                return done(self);
            };
            assert!(self.dials < 100_000, "it dials without an end");
            self.now = next;
            match self.answers.iter().position(|(at, ..)| *at <= next) {
                Some(at) => {
                    let (_, dial, url) = self.answers.remove(at);
                    let addr = |hub: &usize| SocketAddr::from(([10, 0, 0, 1], 7000 + *hub as u16));
                    let addrs: Vec<_> = self.listed.iter().map(addr).collect();
                    if !addrs.is_empty() {
                        self.say(Input::Found(dial, addrs));
                    }
                    self.answer(dial, &url);
                }
                None => self.say(Input::Tick),
            }
        }
        true
    }

    fn answer(&mut self, dial: u64, url: &str) {
        // A balancer sends nobody to a hub that is down.
        let up: Vec<usize> = (0..self.hubs.len()).filter(|hub| self.hubs[*hub].up).collect();
        let hub = match url.strip_prefix("tcp://hub-") {
            Some(number) => number.parse().ok().filter(|hub| up.contains(hub)),
            None if up.is_empty() => None,
            None => Some(up[usize::try_from(self.draw() % up.len() as u64).unwrap()]),
        };
        let Some(hub) = hub else { return self.say(Input::Failed(dial)) };
        let (processes, threads) = self.shape;
        let process = u16::try_from(self.draw() % u64::from(processes)).unwrap();
        let mut thread = u16::try_from(self.draw() % u64::from(threads)).unwrap();
        if self.passes_on {
            let lacks = |thread: &u16| !self.sessions.values().any(|held| *held == (hub, process, *thread));
            thread = (0..threads).find(lacks).unwrap_or(thread);
        }
        let place = Place { process, processes, thread, threads };
        let instance = self.hubs[hub].instance;
        let challenge = Challenge { version: 1, hub: format!("hub-{hub}"), instance, place, nonce: [0; 32] };
        if !self.roam.meets(dial, &challenge, self.now) {
            return self.say(Input::Known(dial));
        }
        self.sessions.insert(dial, (hub, process, thread));
        let (hubs, names) = (self.told.clone(), self.names.clone());
        self.say(Input::Welcome { dial, hubs, names });
    }

    /// A hub dies with its sessions; when it comes back, it is another run.
    pub(super) fn kill(&mut self, hub: usize) {
        self.hubs[hub].up = false;
        let lost: Vec<u64> =
            self.sessions.iter().filter(|(_, held)| held.0 == hub).map(|(id, _)| *id).collect();
        for session in lost {
            self.sessions.remove(&session);
            self.say(Input::Lost(session));
        }
    }

    pub(super) fn back(&mut self, hub: usize) {
        self.hubs[hub].up = true;
        self.hubs[hub].instance += 100;
    }

    pub(super) fn places(&self, hub: usize) -> usize {
        self.sessions.values().filter(|held| held.0 == hub).count()
    }

    /// One session at each place of each hub that is up, and none twice.
    pub(super) fn complete(&self) -> bool {
        let each = usize::from(self.shape.0 * self.shape.1);
        let mut held: Vec<_> = self.sessions.values().collect();
        held.sort_unstable();
        held.dedup();
        assert!(held.len() == self.sessions.len() || self.sessions.len() > held.len());
        (0..self.hubs.len()).all(|hub| self.places(hub) == if self.hubs[hub].up { each } else { 0 })
    }
}
