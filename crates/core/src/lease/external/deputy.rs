//! The machine that speaks for the voter on one node: `handle`, `poll_timeout`, `poll_effect`. One step is under way at a
//! time, so that what the store says comes in the order in which it was so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::judge::{Asks, Who};
use super::record::{Done, Found, Snapshot, Step, VoterRecord};
use super::round::{Busy, Intent, Round};
use super::words::{Heard, Post, Posted};
use crate::lease::{Freed, Mark, NAME_MAX, RIGHTS_MAX, Request, Terms, VoterList};
use crate::time::Boot;

/// What a deputy begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// This node's id.
    pub node: String,
    /// The times.
    pub terms: Terms,
    /// The wall clock at the start, in milliseconds: a store that has forgotten takes no epoch below its own new start.
    pub epoch_floor: u64,
}

/// A change in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The leases of this node say something.
    Posted(Posted),
    /// A step was taken.
    Done {
        /// Its number.
        step: u64,
        /// What came of it.
        done: Done,
    },
    /// A step has failed, or nobody knows: it may be taken yet.
    Failed {
        /// Its number.
        step: u64,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Take this step now, and say what has come of it.
    Step {
        /// Its number.
        step: u64,
        /// The step.
        what: Step,
    },
    /// Tell the leases of this node.
    Say(Heard),
    /// The store has forgotten what was promised, or is new: it promises nothing for so long.
    Mute(Duration),
    /// It promises again.
    Open,
}

/// The deputy of an external voter on one node.
#[derive(Clone, Debug)]
pub struct Deputy {
    pub(super) ability: Ability,
    started: Boot,
    /// Who asks on this node.
    pub(super) asker: Option<Asker>,
    pub(super) rights: BTreeMap<String, Right>,
    /// The voter's record, when it was read and nothing has failed since.
    pub(super) voter: Option<Option<(VoterRecord, u64)>>,
    /// What the store calls itself, and its last revision.
    pub(super) seen: Option<(u64, u64)>,
    /// The store has gone back.
    pub(super) forgot: bool,
    /// The store's memory, since when this deputy knows it, and whether it was open when last seen.
    pub(super) birth: Option<(u64, Boot, bool)>,
    pub(super) busy: Option<Busy>,
    pub(super) step: u64,
    /// Nothing is tried before.
    pub(super) wait_until: Boot,
    /// When the store last answered, or was last given up.
    pub(super) looked: Boot,
    pub(super) effects: VecDeque<Effect>,
}

/// The process of this node that asks.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) instance: u64,
    pub(super) heir_of: Option<u64>,
    pub(super) list: VoterList,
    pub(super) mark: Mark,
}

/// One right.
#[derive(Clone, Debug, Default)]
pub(super) struct Right {
    pub(super) ask: Option<Ask>,
    /// The epoch under which it is given back.
    pub(super) free: Option<u64>,
    /// What lay in the store when it was last read or written.
    pub(super) known: Option<Found>,
    /// The version of the promise that stands, and when it was first seen.
    pub(super) since: Option<(u64, Boot)>,
    /// A promise may have been written, or may be yet.
    pub(super) unsure: bool,
}

/// What is asked for a right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) number: u64,
    pub(super) asks: Asks,
    /// When it is to be judged.
    pub(super) due: Boot,
    /// When nobody relies on it any more.
    pub(super) until: Boot,
    /// It was refused, and its asker knows.
    pub(super) told: bool,
}

impl Deputy {
    /// A deputy at the start of its process.
    #[must_use]
    pub fn new(ability: Ability, now: Boot) -> Self {
        Self {
            ability,
            started: now,
            asker: None,
            rights: BTreeMap::new(),
            voter: None,
            seen: None,
            forgot: false,
            birth: None,
            busy: None,
            step: 0,
            wait_until: now,
            looked: Boot::ZERO,
            effects: VecDeque::new(),
        }
    }

    /// The deputy of the same voter at other places: a store that is another one, or went back, has forgotten.
    #[must_use]
    pub fn after(before: &Self, ability: Ability, now: Boot) -> Self {
        Self { seen: before.seen, birth: before.birth, ..Self::new(ability, now) }
    }

    /// Other times, after a reload.
    pub fn set(&mut self, ability: Ability) {
        // The floor is of our start.
        self.ability = Ability { epoch_floor: self.ability.epoch_floor, ..ability };
    }

    /// One change. Drain the effects before the next.
    pub fn handle(&mut self, input: Input, now: Boot) {
        match input {
            Input::Posted(posted) => self.hear(posted, now),
            Input::Done { step, done } => self.done(step, done, now),
            Input::Failed { step } => self.failed(step, now),
            Input::Tick => {}
        }
        self.run(now);
    }

    /// When the machine wants its next `Input::Tick` at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        if self.busy.is_some() {
            return None;
        }
        let due = |right: &Right| match (&right.ask, right.free) {
            (_, Some(_)) => Some(Boot::ZERO),
            (Some(ask), None) => Some(ask.due.min(ask.until)),
            (None, None) => None,
        };
        let look = self.looked + self.ability.terms.renew();
        self.rights.values().filter_map(due).chain([look]).min().map(|at| at.max(self.wait_until))
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether a step is under way, or a right waits to be given back.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.is_some() || self.rights.values().any(|right| right.free.is_some())
    }

    fn hear(&mut self, posted: Posted, now: Boot) {
        let Posted { instance, heir_of, list, mark, posts } = posted;
        if self.asker.as_ref().is_some_and(|asker| asker.instance != instance) {
            // What the process before it asked for, nobody waits for.
            for right in self.rights.values_mut() {
                (right.ask, right.free) = (None, None);
            }
        }
        self.asker = Some(Asker { instance, heir_of, list, mark });
        for post in posts {
            match post {
                Post::Request(request) => self.request(&request, now),
                Post::Free(freed) => freed.iter().for_each(|freed| self.free(freed)),
            }
        }
    }

    fn request(&mut self, request: &Request, now: Boot) {
        for asked in &request.rights {
            let Some(right) = self.right(&asked.right) else { continue };
            let asks = Asks { epoch: asked.epoch, renewal: asked.renewal, term: request.term };
            let until = now + request.term;
            right.ask = Some(Ask { number: request.number, asks, due: now, until, told: false });
        }
    }

    fn free(&mut self, freed: &Freed) {
        let Some(right) = self.right(&freed.right) else { return };
        right.ask = right.ask.filter(|ask| ask.asks.epoch > freed.epoch);
        right.free = Some(right.free.map_or(freed.epoch, |before| before.max(freed.epoch)));
    }

    /// The place of a right, when there is room.
    fn right(&mut self, name: &str) -> Option<&mut Right> {
        if name.is_empty() || name.len() > NAME_MAX {
            return None;
        }
        if !self.rights.contains_key(name) && self.rights.len() >= RIGHTS_MAX {
            let idle = self.rights.iter().find(|(_, right)| right.ask.is_none() && right.free.is_none());
            let idle = idle.map(|(name, _)| name.clone())?;
            self.rights.remove(&idle);
        }
        Some(self.rights.entry(name.to_owned()).or_default())
    }

    /// Takes up what is due.
    fn run(&mut self, now: Boot) {
        for right in self.rights.values_mut() {
            right.ask = right.ask.filter(|ask| ask.until > now);
        }
        if self.busy.is_some() || now < self.wait_until {
            return;
        }
        let due = |right: &Right| right.free.is_some() || right.ask.is_some_and(|ask| ask.due <= now);
        let batch: Vec<String> = self
            .rights
            .iter()
            .filter(|(_, right)| due(right))
            .map(|(name, _)| name.clone())
            .take(super::STEP_RIGHTS)
            .collect();
        if !batch.is_empty() {
            self.decide(Round::new(batch), now);
        } else if now >= self.looked + self.ability.terms.renew() {
            self.take(Intent::Look, Round::new(Vec::new()), Step::Read(Vec::new()));
        }
    }

    fn done(&mut self, step: u64, done: Done, now: Boot) {
        // One that was given up: whatever it did, the versions tell.
        let Some(busy) = self.busy.take_if(|busy| busy.step == step) else { return };
        self.looked = now;
        match done {
            Done::Read(snapshot) => {
                if !self.learn(&busy.round.batch, snapshot, now) {
                    return self.give_up(&busy, now);
                }
                if !matches!(busy.intent, Intent::Look) {
                    self.decide(Round { fresh: true, ..busy.round }, now);
                }
            }
            Done::Changed(snapshot) => {
                let before = self.voter_version();
                if !self.learn(&busy.round.batch, snapshot, now) {
                    return self.give_up(&busy, now);
                }
                let unquiet = matches!(busy.intent, Intent::Voter { quiet: true, .. })
                    && before == self.voter_version();
                let (tries, unquiet) = (busy.round.tries + 1, busy.round.unquiet || unquiet);
                self.decide(Round { fresh: true, tries, unquiet, ..busy.round }, now);
            }
            Done::Written { store, revision } => {
                if !self.remembers(store, revision) {
                    return self.give_up(&busy, now);
                }
                self.written(busy, revision, now);
            }
        }
    }

    fn failed(&mut self, step: u64, now: Boot) {
        let Some(busy) = self.busy.take_if(|busy| busy.step == step) else { return };
        self.looked = now;
        self.give_up(&busy, now);
    }

    /// Nothing that was read is believed any more; what was written may have been or may be yet.
    fn give_up(&mut self, busy: &Busy, now: Boot) {
        self.voter = None;
        for right in self.rights.values_mut() {
            right.known = None;
        }
        if let Intent::Rights { grants, .. } = &busy.intent {
            for grant in grants {
                if let Some(right) = self.rights.get_mut(&grant.right) {
                    right.unsure = true;
                }
            }
        }
        self.wait_until = now + self.ability.terms.term / 20;
    }

    /// Keeps what was read; false when it can't be what was asked for.
    fn learn(&mut self, batch: &[String], snapshot: Snapshot, now: Boot) -> bool {
        if snapshot.rights.len() != batch.len() {
            return false;
        }
        self.remembers(snapshot.store, snapshot.revision);
        self.know_voter(snapshot.voter, now);
        for (name, found) in batch.iter().zip(snapshot.rights) {
            let Some(right) = self.rights.get_mut(name) else { continue };
            let version = found.promise.as_ref().map(|(_, version)| *version);
            if right.since.map(|(version, _)| version) != version {
                right.since = version.map(|version| (version, now));
            }
            right.known = Some(found);
        }
        true
    }

    /// Whether the store goes on from where it was last seen: one that was set back, or is another, has forgotten promises.
    fn remembers(&mut self, store: u64, revision: u64) -> bool {
        let back = self.seen.is_some_and(|(before, last)| before != store || revision < last);
        self.seen = Some((store, revision));
        self.forgot |= back;
        !back
    }

    pub(super) fn know_voter(&mut self, voter: Option<(VoterRecord, u64)>, now: Boot) {
        if let Some((record, _)) = &voter {
            let known = self.birth.filter(|(birth, ..)| *birth == record.birth);
            // Whoever else saw that it has forgotten was first.
            self.forgot &= known.is_some() || self.birth.is_none() || record.open;
            let since = known.map_or(now, |(_, since, _)| since);
            if !record.open && known.is_none() {
                self.effects.push_back(Effect::Mute(self.ability.terms.mute()));
            } else if record.open && known.is_some_and(|(.., open)| !open) {
                self.effects.push_back(Effect::Open);
            }
            self.birth = Some((record.birth, since, record.open));
        }
        self.voter = Some(voter);
    }

    fn voter_version(&self) -> Option<u64> {
        self.voter.as_ref()?.as_ref().map(|(_, version)| *version)
    }

    /// Sends a step on its way.
    pub(super) fn take(&mut self, intent: Intent, round: Round, what: Step) {
        self.step += 1;
        self.busy = Some(Busy { step: self.step, intent, round });
        self.effects.push_back(Effect::Step { step: self.step, what });
    }

    /// A memory that begins: nobody else draws the same number.
    pub(super) fn new_birth(&self, now: Boot) -> u64 {
        let instance = self.asker.as_ref().map_or(0, |asker| asker.instance);
        let mut mixed = instance ^ now.as_nanos().rotate_left(32) ^ self.step;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }

    /// Milliseconds of the wall clock, had it not been set since the start.
    pub(super) fn floor(&self, now: Boot) -> u64 {
        let ran = u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.ability.epoch_floor.saturating_add(ran)
    }

    pub(super) fn who<'a>(&'a self, asker: &Asker) -> Who<'a> {
        Who { node: &self.ability.node, instance: asker.instance, heir_of: asker.heir_of }
    }
}
