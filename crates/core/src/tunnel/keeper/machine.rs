//! The machine: what the store answers goes in, one call at a time comes out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{GAP, HUBS_MAX, POLL, RENEWALS, RETRY, TOLD};
use crate::time::Boot;
use crate::tunnel::record::Record;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// What is to be known of this hub. Without addresses nobody can dial it, and it is not written.
    Own(Record),
    /// The store has told every record that it has.
    Listed {
        /// The call's number.
        call: u64,
        /// The records; what is not sound is not among them.
        records: Vec<Record>,
    },
    /// The store has taken our record.
    Written {
        /// The call's number.
        call: u64,
    },
    /// A call has come to nothing, or nobody knows.
    Failed {
        /// The call's number.
        call: u64,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Our record is to be written. Each call ends with an input, and no other is asked for before.
    Write {
        /// The call's number.
        call: u64,
        /// The record.
        record: Record,
        /// How long it lasts.
        ttl: Duration,
    },
    /// All records are to be read.
    List {
        /// The call's number.
        call: u64,
    },
    /// These other hubs are known from here on, in the order of their names.
    Hubs(Vec<Record>),
    /// People should know.
    Tell(News),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The store does not answer.
    Silent,
    /// It answers again, after so long.
    Returned(Duration),
    /// It answers, and does not take our record.
    Unwritten,
    /// It takes our record again.
    Taken,
    /// It has lost our record before its time.
    Lost {
        /// And every other.
        all: bool,
    },
    /// Somebody else writes records in our name.
    Twin(Record),
}

/// A hub's dealings with one registry.
#[derive(Clone, Debug)]
pub struct Keeper {
    pub(super) hub: String,
    pub(super) ttl: Duration,
    /// For how long a hub may be missing.
    pub(super) patience: Duration,
    pub(super) own: Option<Record>,
    call: Option<(u64, Call)>,
    calls: u64,
    list_at: Boot,
    write_at: Boot,
    /// Nothing is asked of a store that has just failed.
    hold: Boot,
    asked: Boot,
    listed: bool,
    /// When our record, of this run, was last asked to be written and was.
    pub(super) written: Option<Boot>,
    pub(super) stands: bool,
    pub(super) lost: u64,
    lost_told: Option<Boot>,
    rival: Rival,
    pub(super) hubs: BTreeMap<String, Known>,
    pub(super) left_out: usize,
    failures: u32,
    refusals: u32,
    pub(super) unwritten: bool,
    pub(super) silent: Option<Boot>,
    last_answer: Boot,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Debug)]
enum Call {
    Write { record: Record, asked: Boot },
    List,
}

/// Another hub.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) record: Record,
    /// Since when the store answers without it, and how often it has.
    pub(super) missed: Option<(Boot, u32)>,
}

/// Records in our name that are not ours.
#[derive(Clone, Debug, Default)]
struct Rival {
    /// Times that an earlier run's stood where ours had been.
    earlier: u32,
    /// Since when a later run's stands there: we do not write over it.
    later: Option<Boot>,
    told: bool,
}

impl Keeper {
    /// Dealings of this hub, whose records last for `ttl` each time that they are written.
    #[must_use]
    pub fn new(hub: &str, ttl: Duration, now: Boot) -> Self {
        Self {
            hub: hub.into(),
            ttl,
            patience: ttl,
            own: None,
            call: None,
            calls: 0,
            list_at: now,
            write_at: now,
            hold: now,
            asked: Boot::ZERO,
            listed: false,
            written: None,
            stands: false,
            lost: 0,
            lost_told: None,
            rival: Rival::default(),
            hubs: BTreeMap::new(),
            left_out: 0,
            failures: 0,
            refusals: 0,
            unwritten: false,
            silent: None,
            last_answer: now,
            effects: VecDeque::new(),
        }
    }

    /// The same with another store or other times: what is known stays known.
    #[must_use]
    pub fn after(before: &Self, ttl: Duration, now: Boot) -> Self {
        let mut keeper = Self::new(&before.hub, ttl, now);
        keeper.own.clone_from(&before.own);
        keeper.hubs.clone_from(&before.hubs);
        keeper.hubs.values_mut().for_each(|known| known.missed = None);
        keeper
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Boot) {
        match input {
            Input::Tick => {}
            Input::Own(record) => self.become_known_as(record, now),
            Input::Listed { call, records } => match self.ended(call) {
                Some(Call::List) => {
                    self.answered(now);
                    self.listed(records, now);
                }
                Some(Call::Write { .. }) | None => {}
            },
            Input::Written { call } => match self.ended(call) {
                Some(Call::Write { record, asked }) => {
                    self.answered(now);
                    self.taken(&record, asked);
                }
                Some(Call::List) | None => {}
            },
            Input::Failed { call } => {
                if let Some(call) = self.ended(call) {
                    self.failed(&call, now);
                }
            }
        }
        self.ask(now);
    }

    /// When time passing matters next; never while a call is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        if self.call.is_some() {
            return None;
        }
        let write = if self.may_write() { self.write_at } else { Boot::NEVER };
        Some(self.list_at.min(write).max(self.hold))
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn become_known_as(&mut self, record: Record, now: Boot) {
        if self.own.as_ref() == Some(&record) {
            return;
        }
        if self.own.as_ref().is_some_and(|own| own.epoch != record.epoch) {
            self.written = None;
            self.stands = false;
            self.rival = Rival::default();
        }
        self.own = Some(record);
        self.write_at = now.max(self.asked + GAP);
    }

    /// The call that this ends; nothing when it is none of ours.
    fn ended(&mut self, number: u64) -> Option<Call> {
        let (_, call) = self.call.take_if(|(under_way, _)| *under_way == number)?;
        Some(call)
    }

    fn answered(&mut self, now: Boot) {
        self.failures = 0;
        if let Some(since) = self.silent.take() {
            self.refusals = 0;
            self.effects.push_back(Effect::Tell(News::Returned(now.since(since))));
        }
        self.last_answer = now;
    }

    fn failed(&mut self, call: &Call, now: Boot) {
        match call {
            Call::List => {
                self.hold = now + (RETRY * 2_u32.pow(self.failures.min(4))).min(POLL);
                self.failures = self.failures.saturating_add(1);
                if self.failures == TOLD {
                    self.fell_silent();
                }
            }
            Call::Write { .. } => {
                self.hold = now + RETRY;
                self.write_at = now + POLL;
                self.refusals = self.refusals.saturating_add(1);
                // Whether it answers at all, the next look tells.
                self.list_at = self.list_at.min(now);
            }
        }
    }

    fn fell_silent(&mut self) {
        self.silent = Some(self.last_answer);
        self.effects.push_back(Effect::Tell(News::Silent));
        // Others could not write either: what is missing when it returns is missing from then on.
        self.hubs.values_mut().for_each(|known| known.missed = None);
    }

    fn taken(&mut self, record: &Record, asked: Boot) {
        self.refusals = 0;
        if std::mem::take(&mut self.unwritten) {
            self.effects.push_back(Effect::Tell(News::Taken));
        }
        // It may have changed meanwhile: then that is to be written, and its time is set.
        if self.own.as_ref() == Some(record) {
            self.written = Some(asked);
            self.stands = true;
            self.write_at = asked + self.ttl / RENEWALS;
        }
    }

    fn listed(&mut self, records: Vec<Record>, now: Boot) {
        self.listed = true;
        if self.refusals >= TOLD && !std::mem::replace(&mut self.unwritten, true) {
            self.effects.push_back(Effect::Tell(News::Unwritten));
        }
        let empty = records.is_empty();
        let (own, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.hub == self.hub);
        self.found(own.into_iter().max_by_key(|record| record.epoch), empty, now);
        self.others(others, now);
    }

    /// What the store has in our name.
    fn found(&mut self, found: Option<Record>, empty: bool, now: Boot) {
        let Some(own) = &self.own else { return };
        let Some(found) = found else { return self.missing(empty, now) };
        if found.epoch > own.epoch {
            self.stands = false;
            let since = *self.rival.later.get_or_insert(now);
            // That of an earlier run of ours, whose clock was ahead, ends by itself.
            if now.since(since) > self.ttl {
                self.tell_twin(found);
            }
            return;
        }
        self.rival.later = None;
        if found == *own {
            self.stands = true;
            return;
        }
        self.stands = false;
        self.write_at = now;
        if found.epoch < own.epoch && self.written.is_some() {
            self.rival.earlier = self.rival.earlier.saturating_add(1);
            // Once may be what our own earlier run had said and the store takes late.
            if self.rival.earlier >= 2 {
                self.tell_twin(found);
            }
        }
    }

    fn missing(&mut self, empty: bool, now: Boot) {
        self.stands = false;
        self.rival.later = None;
        self.write_at = self.write_at.min(now);
        let lasts = |asked: &Boot| now.since(*asked) < self.ttl;
        if self.written.take().is_some_and(|asked| lasts(&asked)) {
            self.lost += 1;
            if self.lost_told.is_none_or(|told| now.since(told) > self.ttl) {
                self.effects.push_back(Effect::Tell(News::Lost { all: empty }));
            }
            self.lost_told = Some(now);
        }
    }

    fn tell_twin(&mut self, record: Record) {
        if !std::mem::replace(&mut self.rival.told, true) {
            self.effects.push_back(Effect::Tell(News::Twin(record)));
        }
    }

    /// What the store has of others.
    fn others(&mut self, mut records: Vec<Record>, now: Boot) {
        records.sort_by(|a, b| (&a.hub, b.epoch).cmp(&(&b.hub, a.epoch)));
        records.dedup_by(|a, b| a.hub == b.hub);
        let mut changed = false;
        self.left_out = 0;
        let mut seen = Vec::new();
        for record in records {
            let room = self.hubs.len() < HUBS_MAX;
            match self.hubs.get_mut(&record.hub) {
                // An earlier run's does not stand for the later one that we know.
                Some(known) if !record.replaces(&known.record) => {}
                Some(known) => {
                    seen.push(record.hub.clone());
                    known.missed = None;
                    if known.record != record {
                        known.record = record;
                        changed = true;
                    }
                }
                None if room => {
                    seen.push(record.hub.clone());
                    self.hubs.insert(record.hub.clone(), Known { record, missed: None });
                    changed = true;
                }
                None => self.left_out += 1,
            }
        }
        let before = self.hubs.len();
        self.hubs.retain(|hub, known| {
            if seen.binary_search(hub).is_ok() {
                return true;
            }
            let (since, times) = known.missed.unwrap_or((now, 0));
            known.missed = Some((since, times.saturating_add(1)));
            times == 0 || now.since(since) <= self.patience
        });
        if changed || self.hubs.len() != before {
            let hubs = self.hubs.values().map(|known| known.record.clone()).collect();
            self.effects.push_back(Effect::Hubs(hubs));
        }
    }

    /// The next call, when it is time for one.
    fn ask(&mut self, now: Boot) {
        if self.call.is_some() || self.hold > now {
            return;
        }
        let write = self.may_write() && self.write_at <= now;
        if write && (self.list_at > now || self.write_at <= self.list_at) {
            let Some(record) = self.own.clone() else { return };
            let call = self.number(now);
            self.call = Some((call, Call::Write { record: record.clone(), asked: now }));
            self.effects.push_back(Effect::Write { call, record, ttl: self.ttl });
        } else if self.list_at <= now {
            let call = self.number(now);
            self.list_at = now + POLL;
            self.call = Some((call, Call::List));
            self.effects.push_back(Effect::List { call });
        }
    }

    fn number(&mut self, now: Boot) -> u64 {
        self.asked = now;
        self.calls += 1;
        self.calls
    }

    /// What the store has is looked at first, and a later run's record is not written over.
    fn may_write(&self) -> bool {
        let dialable = |own: &Record| !own.addrs.is_empty() && own.is_sound();
        self.listed && self.rival.later.is_none() && self.own.as_ref().is_some_and(dialable)
    }
}
