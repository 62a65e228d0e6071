//! A store in memory: versions, records that end, steps that are taken late or twice.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lease::external::{
    Ability, Change, Deputy, Done, Effect, EpochRecord, Found, Heard, Input, Key, Post, Posted,
    PromiseRecord, Snapshot, Step, VoterRecord, Write,
};
use crate::lease::{Asked, Freed, Mark, Member, Outcome, Request, Terms, VoterList};
use crate::time::Boot;

pub(super) const RIGHT: &str = "vip/web";

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn terms() -> Terms {
    Terms { term: ms(5_000), term_max: ms(5_000), drift_ppm: 10_000, gate_error: ms(1) }
}

pub(super) fn list(epoch: u32, names: &[&str]) -> VoterList {
    let member = |id: &&str| Member { id: (*id).into(), votes: true, holds: *id != "etcd" };
    VoterList { epoch, members: names.iter().map(member).collect() }
}

/// The store.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) store: u64,
    /// How fast its clock is.
    pub(super) percent: u32,
    pub(super) revision: u64,
    pub(super) voter: Option<(VoterRecord, u64)>,
    pub(super) promises: BTreeMap<String, (PromiseRecord, u64, Boot)>,
    pub(super) epochs: BTreeMap<String, (EpochRecord, u64)>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self {
            store: 77,
            percent: 100,
            revision: 1,
            voter: None,
            promises: BTreeMap::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// Takes a step whose promises were given their time at `granted`; nothing when that time is over.
    pub(super) fn take(&mut self, step: &Step, granted: Boot, now: Boot) -> Option<Done> {
        self.promises.retain(|_, (_, _, until)| *until > now);
        let write = match step {
            Step::Read(rights) => return Some(Done::Read(self.snapshot(rights))),
            Step::Write(write) => write,
        };
        if write.lasts.is_some_and(|lasts| granted + self.true_time(lasts) <= now) {
            return None;
        }
        let birth = self.voter.as_ref().map(|(voter, _)| voter.birth);
        let same = write.birth == birth
            && write.unchanged.iter().all(|(key, version)| self.version(key) == *version);
        if !same || write.quiet && !self.promises.is_empty() {
            return Some(Done::Changed(self.snapshot(&write.rights)));
        }
        self.revision += 1;
        for change in &write.changes {
            self.change(change, write, granted);
        }
        Some(Done::Written { store: self.store, revision: self.revision })
    }

    fn change(&mut self, change: &Change, write: &Write, granted: Boot) {
        let version = self.revision;
        match change {
            Change::Voter(record) => self.voter = Some((record.clone(), version)),
            Change::Promise(right, record) => {
                let until = granted + self.true_time(write.lasts.expect("a promise lasts for a while"));
                self.promises.insert(right.clone(), (record.clone(), version, until));
            }
            Change::Release(right) => drop(self.promises.remove(right)),
            Change::Epoch(right, record) => {
                self.epochs.insert(right.clone(), (record.clone(), version));
            }
        }
    }

    fn true_time(&self, lasts: Duration) -> Duration {
        lasts * 100 / self.percent
    }

    fn version(&self, key: &Key) -> u64 {
        match key {
            Key::Voter => self.voter.as_ref().map_or(0, |(_, version)| *version),
            Key::Promise(right) => self.promises.get(right).map_or(0, |(_, version, _)| *version),
            Key::Epoch(right) => self.epochs.get(right).map_or(0, |(_, version)| *version),
        }
    }

    fn snapshot(&self, rights: &[String]) -> Snapshot {
        let found = |right: &String| Found {
            promise: self.promises.get(right).map(|(record, version, _)| (record.clone(), *version)),
            epoch: self.epochs.get(right).cloned(),
        };
        Snapshot {
            store: self.store,
            revision: self.revision,
            voter: self.voter.clone(),
            rights: rights.iter().map(found).collect(),
        }
    }

    /// Everything is lost.
    pub(super) fn wipe(&mut self) {
        *self = Self { store: self.store, percent: self.percent, ..Self::new() };
    }
}

/// One node's deputy, and what it said.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) deputy: Deputy,
    pub(super) instance: u64,
    pub(super) heir_of: Option<u64>,
    pub(super) list: VoterList,
    pub(super) salt: u64,
    pub(super) number: u64,
    pub(super) heard: Vec<Heard>,
    pub(super) steps: Vec<(u64, Step)>,
}

impl Side {
    pub(super) fn new(node: &str, instance: u64, now: Boot) -> Self {
        let ability = Ability { node: node.into(), terms: terms(), epoch_floor: 1_000 };
        Self {
            deputy: Deputy::new(ability, now),
            instance,
            heir_of: None,
            list: list(1, &["n1", "n2", "etcd"]),
            salt: 3,
            number: 0,
            heard: Vec::new(),
            steps: Vec::new(),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        self.list.mark(self.salt)
    }

    pub(super) fn give(&mut self, input: Input, now: Boot) {
        self.deputy.handle(input, now);
        while let Some(effect) = self.deputy.poll_effect() {
            match effect {
                Effect::Step { step, what } => self.steps.push((step, what)),
                Effect::Say(heard) => self.heard.push(heard),
                Effect::Mute(_) | Effect::Open => {}
            }
        }
    }

    pub(super) fn post(&mut self, post: Post, now: Boot) {
        let posted = Posted {
            instance: self.instance,
            heir_of: self.heir_of,
            list: self.list.clone(),
            mark: self.mark(),
            posts: vec![post],
        };
        self.give(Input::Posted(posted), now);
    }

    /// Asks for the right; the number of the request.
    pub(super) fn ask(&mut self, epoch: u64, renewal: bool, now: Boot) -> u64 {
        self.ask_for(ms(5_000), epoch, renewal, now)
    }

    pub(super) fn ask_for(&mut self, term: Duration, epoch: u64, renewal: bool, now: Boot) -> u64 {
        self.number += 1;
        let rights = vec![Asked { right: RIGHT.into(), epoch, renewal }];
        self.post(Post::Request(Request { number: self.number, term, rights }), now);
        self.number
    }

    pub(super) fn free(&mut self, epoch: u64, now: Boot) {
        self.post(Post::Free(vec![Freed { right: RIGHT.into(), epoch, next: None }]), now);
    }

    /// Nobody waits for what was asked for.
    pub(super) fn post_nothing(&mut self, now: Boot) {
        let instance = std::mem::replace(&mut self.instance, u64::MAX);
        self.post(Post::Free(Vec::new()), now);
        self.instance = instance;
        self.post(Post::Free(Vec::new()), now);
    }

    /// Everything that it wants is done at once, and well.
    pub(super) fn settle(&mut self, shelf: &mut Shelf, now: Boot) {
        for _ in 0..20 {
            let steps = std::mem::take(&mut self.steps);
            if steps.is_empty() {
                return;
            }
            for (step, what) in steps {
                let done = shelf.take(&what, now, now).expect("taken at once");
                self.give(Input::Done { step, done }, now);
            }
        }
        panic!("it never comes to an end");
    }

    /// What it says last of the right, with the number.
    pub(super) fn said(&self) -> Option<(u64, Outcome)> {
        let reply = self.heard.last()?.replies.last()?;
        Some((reply.number, reply.rights.last()?.outcome.clone()))
    }

    /// Time passes, its timers are kept.
    pub(super) fn pass(&mut self, shelf: &mut Shelf, from: Boot, to: Boot) {
        let mut now = from;
        for _ in 0..10_000 {
            let next = self.deputy.poll_timeout().unwrap_or(Boot::NEVER).max(now + ms(1));
            if next > to {
                return;
            }
            now = next;
            self.give(Input::Tick, now);
            self.settle(shelf, now);
        }
        panic!("it spins");
    }
}
