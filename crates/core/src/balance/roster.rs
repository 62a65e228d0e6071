//! The machine of one pool: who is in use, and in which tier.
//!
//! A backend is out when its configuration, the operator or its active probe says so, or while it is set aside. Those in use form the first
//! tier; backup backends the second, asked when the first has nobody left; those aside, but not down, the third: a
//! backend that is only suspected is better than none.

use std::collections::VecDeque;
use std::time::Duration;

use super::maglev::{Maglev, Seat};
use super::outlier::{OutlierSpec, Record, Standing};
use super::pick::Ticket;
use crate::election::Verdict;
use crate::time::Boot;

/// The share of a backend that is not on its way up, in parts of which weights are made.
pub(super) const WHOLE: u64 = 1024;

/// Of its share a backend on its way up has this much at least: less would leave it unused in small pools.
const RAMP_FIRST: u64 = WHOLE / 10;

/// Shares are computed anew so many times on the way up.
const RAMP_STEPS: u32 = 32;

/// How the next one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// In turn, by weight.
    Turns,
    /// Least load for its weight; ties in turn.
    Least,
    /// Of two drawn the one with less latency times load for its weight.
    TwoChoices,
    /// By a hash of the request.
    Hash,
    /// At random, by weight.
    Random,
}

/// What holds for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How the next one is chosen.
    pub policy: Policy,
    /// No more than this share is set aside, in percent.
    pub share_max: u32,
    /// Who comes back gets its full share after this long; hashes know no such thing.
    pub slow_start: Duration,
}

/// What holds for one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// The hash of its name, equal on all instances and unique in the pool.
    pub key: u64,
    /// Its share.
    pub weight: u32,
    /// Only asked when no other is usable.
    pub backup: bool,
    /// Never asked.
    pub down: bool,
    /// It has an active probe.
    pub probed: bool,
    /// When it is set aside.
    pub outlier: OutlierSpec,
}

/// What the operator wants of a backend at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// In use, also when its configuration says that it is down.
    Ready,
    /// Only those who are bound to it by a cookie are sent to it.
    Drain,
    /// Nobody is sent to it.
    Down,
    /// Another weight; 0 is the same as `Drain`.
    Weight(u32),
    /// As its configuration says.
    AsWritten,
}

/// What the machine hears. Positions are those of the list that it was given last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Its active probe says this.
    Verdict {
        /// Of whom.
        member: usize,
        /// What.
        verdict: Verdict,
    },
    /// The operator wants this.
    Order {
        /// Of whom.
        member: usize,
        /// What.
        order: Order,
    },
    /// The request goes out.
    Sent(Ticket),
    /// The backend has answered.
    Answered(Ticket),
    /// It has not, or not as it should.
    Failed(Ticket),
    /// The request was given up: that says nothing of the backend.
    Unanswered(Ticket),
    /// Time has passed.
    Tick,
}

/// What the machine tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is set aside.
    Aside {
        /// Who.
        member: usize,
        /// Until then.
        until: Boot,
    },
    /// It is in use again.
    Back {
        /// Who.
        member: usize,
        /// What ended it, for the log.
        why: &'static str,
    },
}

/// What the operator has put above the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Ready,
    Drain,
    Down,
}

/// One backend.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) spec: MemberSpec,
    /// What its probe last said for sure.
    pub(super) up: Option<bool>,
    /// That is long ago.
    pub(super) stale: bool,
    pub(super) mode: Option<Mode>,
    pub(super) weight: Option<u32>,
    pub(super) record: Record,
    /// It is in use; what becomes so later on has a way up.
    in_use: bool,
    /// When it came back, while it is on its way up.
    pub(super) risen: Option<Boot>,
    pub(super) tier: Option<usize>,
    /// Where its record stood when the tiers were made.
    pub(super) standing: Standing,
    credit: i64,
}

/// One who may be picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) ticket: Ticket,
    pub(super) weight: i64,
    pub(super) credit: i64,
}

/// The machine of one pool.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) spec: Spec,
    pub(super) members: Vec<Member>,
    /// In use, backup, aside.
    pub(super) tiers: [Vec<Candidate>; 3],
    pub(super) table: Maglev,
    seats: Vec<Seat>,
    pub(super) scratch: Vec<u64>,
    asides: usize,
    wake: Boot,
    effects: VecDeque<Effect>,
}

impl Roster {
    /// A pool without backends.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            members: Vec::new(),
            tiers: Default::default(),
            table: Maglev::default(),
            seats: Vec::new(),
            scratch: Vec::new(),
            asides: 0,
            wake: Boot::NEVER,
            effects: VecDeque::new(),
        }
    }

    /// Puts another list of backends in force; who was there before keeps its state. Newcomers to a pool at work have a way up.
    pub fn replace(&mut self, spec: Spec, members: &[MemberSpec], now: Boot) {
        self.keep_credits();
        // They speak of the old positions.
        self.tiers.iter_mut().for_each(Vec::clear);
        let at_work = !self.members.is_empty();
        self.spec = spec;
        let mut before: Vec<Member> = std::mem::take(&mut self.members);
        before.sort_by_key(|one| one.spec.key);
        for spec in members {
            let member = match before.binary_search_by_key(&spec.key, |one| one.spec.key) {
                Ok(found) => before[found].clone().follow(*spec),
                Err(_) => Member::new(*spec, !at_work),
            };
            self.members.push(member);
        }
        self.keep_share();
        self.lay_table();
        self.rebuild(now);
    }

    /// Takes in one change.
    pub fn handle(&mut self, input: Input, now: Boot) {
        let changed = match input {
            Input::Verdict { member, verdict } => self.judge(member, verdict),
            Input::Order { member, order } => self.obey(member, order),
            Input::Sent(ticket) => self.on_trial(ticket, |record| record.try_it(now)),
            Input::Answered(ticket) => self.answered(ticket),
            Input::Failed(ticket) => self.failed(ticket, now),
            Input::Unanswered(ticket) => self.on_trial(ticket, Record::try_again),
            Input::Tick => false,
        };
        // Answers are many, and those that change nothing cost nothing.
        if changed || self.wake <= now {
            self.rebuild(now);
        }
    }

    /// When the machine wants `Input::Tick` next: before a pick at the latest.
    #[must_use]
    pub const fn poll_timeout(&self) -> Boot {
        self.wake
    }

    /// The next thing to tell, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether answers mean anything to it: somebody is aside.
    #[must_use]
    pub const fn hears_answers(&self) -> bool {
        self.asides > 0
    }

    /// How many are aside.
    #[must_use]
    pub const fn asides(&self) -> usize {
        self.asides
    }

    /// How many backends there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn judge(&mut self, member: usize, verdict: Verdict) -> bool {
        let Some(one) = self.members.get_mut(member) else { return false };
        match verdict {
            Verdict::Pending => {}
            Verdict::Unknown => one.stale = true,
            Verdict::Down => {
                one.stale = false;
                one.up = Some(false);
            }
            Verdict::Up => {
                one.stale = false;
                if one.up.replace(true) != Some(true) && one.record.absolve() {
                    self.back(member, "its probe is up again");
                }
            }
        }
        true
    }

    fn obey(&mut self, member: usize, order: Order) -> bool {
        let Some(one) = self.members.get_mut(member) else { return false };
        match order {
            Order::Ready => {
                one.mode = Some(Mode::Ready);
                if one.record.absolve() {
                    self.back(member, "the operator says that it is ready");
                }
            }
            Order::Drain => one.mode = Some(Mode::Drain),
            Order::Down => one.mode = Some(Mode::Down),
            Order::Weight(weight) => one.weight = Some(weight),
            Order::AsWritten => (one.mode, one.weight) = (None, None),
        }
        self.lay_table();
        true
    }

    fn on_trial(&mut self, ticket: Ticket, change: impl FnOnce(&mut Record)) -> bool {
        if !ticket.trial {
            return false;
        }
        self.record(ticket).map(change).is_some()
    }

    fn answered(&mut self, ticket: Ticket) -> bool {
        let was_aside = self.record(ticket).is_some_and(Record::absolve);
        if was_aside {
            self.back(ticket.member(), "it has answered");
        }
        was_aside
    }

    fn failed(&mut self, ticket: Ticket, now: Boot) -> bool {
        let room = (self.asides + 1) * 100 <= self.spec.share_max as usize * self.members.len();
        let member = ticket.member();
        let Some(one) = self.members.get_mut(member) else { return false };
        if one.record.term != ticket.term {
            return false;
        }
        let was_aside = one.record.is_aside();
        let Some(until) = one.record.failed(&one.spec.outlier, room, now) else { return false };
        self.asides += usize::from(!was_aside);
        self.effects.push_back(Effect::Aside { member, until });
        true
    }

    /// The record that a ticket of its present term speaks of.
    fn record(&mut self, ticket: Ticket) -> Option<&mut Record> {
        let record = &mut self.members.get_mut(ticket.member())?.record;
        (record.term == ticket.term).then_some(record)
    }

    fn back(&mut self, member: usize, why: &'static str) {
        self.asides -= 1;
        self.effects.push_back(Effect::Back { member, why });
    }

    /// After a change of the list: nobody is aside without reason, and not too many are.
    fn keep_share(&mut self) {
        self.asides = self.members.iter().filter(|one| one.record.is_aside()).count();
        for member in 0..self.members.len() {
            let one = &mut self.members[member];
            if one.spec.outlier.failures == 0 && one.record.absolve() {
                self.back(member, "nothing sets it aside any more");
            }
        }
        while self.asides * 100 > self.spec.share_max as usize * self.members.len() {
            let aside =
                self.members.iter().enumerate().filter_map(|(at, one)| Some((one.record.until()?, at)));
            let Some((_, first)) = aside.min() else { break };
            self.members[first].record.absolve();
            self.back(first, "too much of the pool would be aside");
        }
    }

    /// Makes the table anew when its seats are others. Those that are down keep theirs: that they come and go moves nobody else's keys.
    fn lay_table(&mut self) {
        let hashes = self.spec.policy == Policy::Hash;
        let primaries = self.members.iter().enumerate().filter(|(_, one)| hashes && !one.spec.backup);
        let seats: Vec<Seat> = primaries
            .map(|(index, one)| Seat {
                member: u16::try_from(index).unwrap_or(u16::MAX),
                name: one.spec.key,
                weight: if one.weight() == 0 { one.spec.weight } else { one.weight() },
            })
            .collect();
        if seats != self.seats {
            self.table = Maglev::new(&seats);
            self.seats = seats;
        }
    }

    fn keep_credits(&mut self) {
        for candidate in self.tiers.iter().flatten() {
            self.members[candidate.ticket.member()].credit = candidate.credit;
        }
    }

    /// Sorts everybody into the tiers.
    fn rebuild(&mut self, now: Boot) {
        self.keep_credits();
        self.tiers.iter_mut().for_each(Vec::clear);
        self.wake = Boot::NEVER;
        for (index, one) in self.members.iter_mut().enumerate() {
            let standing = one.record.standing(now);
            one.rise(standing, self.spec.slow_start, now);
            let (share, next) = ramp(one.risen, self.spec.slow_start, now);
            if next == Boot::NEVER {
                one.risen = None;
            }
            self.wake = self.wake.min(next).min(one.record.changes(now));
            one.standing = standing;
            one.tier = one.tier_now(standing);
            let Some(tier) = one.tier else { continue };
            let trial = standing == Standing::Trial;
            let member = u32::try_from(index).expect("a pool has fewer backends than that");
            let ticket = Ticket { member, term: one.record.term, trial };
            let weight = i64::from(one.weight()) * i64::try_from(share).expect("at most WHOLE");
            self.tiers[tier].push(Candidate { ticket, weight, credit: one.credit });
        }
    }
}

impl Member {
    fn new(spec: MemberSpec, in_use: bool) -> Self {
        Self {
            spec,
            up: None,
            stale: false,
            mode: None,
            weight: None,
            record: Record::default(),
            in_use,
            risen: None,
            tier: None,
            standing: Standing::In,
            credit: 0,
        }
    }

    /// Goes on under another specification.
    fn follow(self, spec: MemberSpec) -> Self {
        let up = self.up.filter(|_| spec.probed);
        Self { spec, up, stale: self.stale && spec.probed, ..self }
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight.unwrap_or(self.spec.weight)
    }

    pub(super) fn is_down(&self) -> bool {
        let by_order = match self.mode {
            Some(Mode::Down) => true,
            Some(Mode::Ready) => false,
            Some(Mode::Drain) | None => self.spec.down,
        };
        by_order || self.up == Some(false)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.mode == Some(Mode::Drain) || self.weight() == 0
    }

    fn tier_now(&self, standing: Standing) -> Option<usize> {
        if self.is_down() || self.is_drained() {
            return None;
        }
        Some(match standing {
            Standing::In | Standing::Trial => usize::from(self.spec.backup),
            Standing::Aside(_) | Standing::Trying(_) => 2,
        })
    }

    /// Notes when it comes back.
    fn rise(&mut self, standing: Standing, slow_start: Duration, now: Boot) {
        let in_use = standing == Standing::In && !self.is_down() && !self.is_drained();
        if in_use && !self.in_use && !slow_start.is_zero() {
            self.risen = Some(now);
        }
        self.in_use = in_use;
    }
}

/// The share of one that came back then, and when it changes.
pub(super) fn ramp(risen: Option<Boot>, length: Duration, now: Boot) -> (u64, Boot) {
    let Some(risen) = risen else { return (WHOLE, Boot::NEVER) };
    let age = now.since(risen);
    if age >= length {
        return (WHOLE, Boot::NEVER);
    }
    let share = age.as_nanos() * u128::from(WHOLE) / length.as_nanos().max(1);
    let share = u64::try_from(share).unwrap_or(WHOLE).clamp(RAMP_FIRST, WHOLE);
    (share, (now + length / RAMP_STEPS).min(risen + length))
}
