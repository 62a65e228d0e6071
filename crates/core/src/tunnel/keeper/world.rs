//! Hubs and a store that forgets, hangs, takes late what nobody waits for any more, and sometimes answers without what it has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Effect, Input, Keeper, News};
use crate::time::Boot;
use crate::tunnel::record::Record;

/// How long records last here.
pub(super) const TTL: Duration = Duration::from_secs(10);

/// The longest that a call takes: then it has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// Numbers from a seed (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub(super) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) fn record(hub: &str, epoch: u64) -> Record {
    Record { hub: hub.into(), epoch, addrs: vec![format!("{hub}:7001")], tunnels: Vec::new() }
}

/// One hub: alive, or what is left of it.
pub(super) struct Hub {
    pub(super) keeper: Keeper,
    pub(super) lives: bool,
    pub(super) known: Vec<Record>,
    pub(super) news: Vec<News>,
    /// The answer that is on its way, and what it is an answer to.
    coming: Option<(Boot, Input)>,
    epoch: u64,
}

/// A rule that is not kept, to see what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// All rules are kept.
    Nothing,
    /// A hub that is missing twice is gone.
    Patience,
    /// The time in which the store was silent counts as answered.
    Anew,
}

/// What stands in the store.
struct Entry {
    record: Record,
    ends: Boot,
}

pub(super) struct World {
    pub(super) now: Boot,
    pub(super) dice: Dice,
    pub(super) hubs: Vec<Hub>,
    without: Without,
    store: BTreeMap<String, Entry>,
    /// Until when it does not answer.
    hangs: Boot,
    /// What was written while it hung, which it takes when it goes on.
    queued: Vec<Record>,
    /// When it last answered without something that it has.
    lied: Boot,
    pub(super) dropped: usize,
}

impl World {
    pub(super) fn new(seed: u64, hubs: u64, without: Without) -> Self {
        let now = Boot::from_nanos(1_000_000_000_000);
        let mut world = Self {
            now,
            dice: Dice(seed),
            hubs: Vec::new(),
            without,
            store: BTreeMap::new(),
            hangs: Boot::ZERO,
            queued: Vec::new(),
            lied: Boot::ZERO,
            dropped: 0,
        };
        for n in 0..hubs {
            let hub = world.born(&format!("h{n}"), 1);
            world.hubs.push(hub);
        }
        world
    }

    fn born(&self, name: &str, epoch: u64) -> Hub {
        let mut keeper = Keeper::new(name, TTL, self.now);
        if self.without == Without::Patience {
            keeper.patience = Duration::ZERO;
        }
        keeper.handle(Input::Own(record(name, epoch)), self.now);
        Hub { keeper, lives: true, known: Vec::new(), news: Vec::new(), coming: None, epoch }
    }

    pub(super) fn flush(&mut self) {
        self.store.clear();
    }

    pub(super) fn hang(&mut self, time: Duration) {
        self.hangs = self.hangs.max(self.now + time);
    }

    pub(super) fn kill(&mut self, n: usize) {
        self.hubs[n].lives = false;
        self.hubs[n].coming = None;
    }

    pub(super) fn start(&mut self, n: usize) {
        let (name, epoch) = (format!("h{n}"), self.hubs[n].epoch + 1);
        self.hubs[n] = self.born(&name, epoch);
    }

    pub(super) fn retunnel(&mut self, n: usize) {
        let mut own = record(&format!("h{n}"), self.hubs[n].epoch);
        own.tunnels = vec![format!("t{}", self.dice.roll(4))];
        self.hubs[n].keeper.handle(Input::Own(own), self.now);
    }

    /// Lets so much time pass, in steps of ten milliseconds.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(10);
            self.settle();
            for n in 0..self.hubs.len() {
                self.drive(n);
            }
        }
    }

    /// What was waiting while it hung is taken, and what is over goes.
    fn settle(&mut self) {
        if self.hangs <= self.now {
            for record in std::mem::take(&mut self.queued) {
                self.put(record);
            }
        }
        self.store.retain(|_, entry| entry.ends > self.now);
    }

    fn put(&mut self, record: Record) {
        self.store.insert(record.hub.clone(), Entry { record, ends: self.now + TTL });
    }

    fn drive(&mut self, n: usize) {
        if !self.hubs[n].lives {
            return;
        }
        if let Some((_, input)) = self.hubs[n].coming.take_if(|(at, _)| *at <= self.now) {
            let before = self.hubs[n].keeper.hubs.clone();
            let failed = matches!(input, Input::Failed { .. });
            self.hubs[n].keeper.handle(input, self.now);
            if failed && self.without == Without::Anew {
                self.hubs[n].keeper.hubs = before;
            }
        }
        if self.hubs[n].keeper.poll_timeout().is_some_and(|at| at <= self.now) {
            self.hubs[n].keeper.handle(Input::Tick, self.now);
        }
        while let Some(effect) = self.hubs[n].keeper.poll_effect() {
            self.carry_out(n, effect);
        }
    }

    fn carry_out(&mut self, n: usize, effect: Effect) {
        let answer = match effect {
            Effect::Hubs(hubs) => {
                self.dropped += usize::from(hubs.len() < self.hubs[n].known.len());
                self.hubs[n].known = hubs;
                return;
            }
            Effect::Tell(news) => return self.hubs[n].news.push(news),
            Effect::Write { call, record, .. } if self.hangs > self.now => {
                self.queued.push(record);
                Err(call)
            }
            Effect::List { call } if self.hangs > self.now => Err(call),
            Effect::Write { call, record, ttl } => {
                assert_eq!(ttl, TTL);
                self.put(record);
                Ok(Input::Written { call })
            }
            Effect::List { call } => Ok(Input::Listed { call, records: self.list() }),
        };
        assert!(self.hubs[n].coming.is_none(), "two calls at once");
        self.hubs[n].coming = Some(match answer {
            Ok(input) => (self.now + ms(1 + self.dice.roll(30)), input),
            Err(call) => (self.now + DEADLINE, Input::Failed { call }),
        });
    }

    /// Everything that stands, but for one record now and then: what a replica that is behind may answer.
    fn list(&mut self) -> Vec<Record> {
        let mut all: Vec<Record> = self.store.values().map(|entry| entry.record.clone()).collect();
        if !all.is_empty() && self.now.since(self.lied) > ms(3_000) && self.dice.roll(20) == 0 {
            self.lied = self.now;
            all.remove(self.dice.roll(all.len() as u64) as usize);
        }
        all
    }

    /// Whether the store has what this hub would have it have.
    pub(super) fn stands(&self, n: usize) -> bool {
        let hub = &self.hubs[n];
        self.store.get(&format!("h{n}")).map(|entry| &entry.record) == hub.keeper.own.as_ref()
    }
}
