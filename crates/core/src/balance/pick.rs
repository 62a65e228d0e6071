//! The choice itself.

use std::time::Duration;

use super::hash::mix;
use super::outlier::Standing;
use super::roster::{Candidate, Policy, Roster};

/// So many places of the table are looked at for one in use, before all in use are compared.
const LOOKS: u64 = 8;

/// What a backend of unknown latency under load counts as, in nanoseconds: it gets one request to show itself, not all.
const UNKNOWN: u64 = 1_000_000_000;

/// The right to send a request to a backend, and what is told of it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its position; the holder keeps it up to date when the list is replaced.
    pub member: u32,
    /// Answers to older terms don't count.
    pub term: u32,
    /// This request tries a backend that was aside.
    pub trial: bool,
}

impl Ticket {
    /// Its position.
    #[must_use]
    pub const fn member(self) -> usize {
        self.member as usize
    }
}

/// Whether a backend can take the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// It can.
    Yes,
    /// Not now: it has as many as it may.
    Full,
    /// Not this one: it was there already.
    Tried,
}

/// What is known of backends outside of the machine.
pub trait View {
    /// Whether it can take this request.
    fn admits(&self, member: usize) -> Admits;
    /// Requests under way, everybody's.
    fn load(&self, member: usize) -> u64;
    /// Its latency; zero when unknown.
    fn latency(&self, member: usize) -> Duration;
}

/// Why nobody was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// All in use are full: it helps to wait.
    Full,
    /// All in use were asked already.
    Spent,
    /// None is in use.
    Out,
}

impl Roster {
    /// The next one. `key` is the hash of what the request is bound by; `draw` gives random numbers.
    ///
    /// # Errors
    /// When there is nobody.
    pub fn pick(
        &mut self,
        key: u64,
        draw: &mut impl FnMut() -> u64,
        view: &impl View,
    ) -> Result<Ticket, Nobody> {
        let mut why = Nobody::Out;
        for tier in 0..self.tiers.len() {
            if self.tiers[tier].is_empty() {
                continue;
            }
            let picked = match self.spec.policy {
                Policy::Turns => turns(&mut self.tiers[tier], |one| view.admits(one) == Admits::Yes),
                Policy::Least => self.least(tier, view),
                Policy::TwoChoices => two_choices(&self.tiers[tier], draw, view),
                Policy::Hash => self.hashed(tier, key, view),
                Policy::Random => random(&self.tiers[tier], draw, view),
            };
            if let Some(ticket) = picked {
                return Ok(ticket);
            }
            // One that was full a moment ago may have room by now: that is no reason to give up either.
            let asked = |one: &Candidate| view.admits(one.ticket.member()) == Admits::Tried;
            if !self.tiers[tier].iter().all(asked) {
                return Err(Nobody::Full);
            }
            why = Nobody::Spent;
        }
        Err(why)
    }

    /// This one, for whom it is bound to by a cookie: also while it is drained.
    #[must_use]
    pub fn bound(&self, member: usize) -> Option<Ticket> {
        let one = self.members.get(member)?;
        let trial = match one.standing {
            Standing::In => false,
            Standing::Trial => true,
            Standing::Aside(_) | Standing::Trying(_) => return None,
        };
        let ticket = Ticket { member: u32::try_from(member).ok()?, term: one.record.term, trial };
        (!one.is_down()).then_some(ticket)
    }

    fn least(&mut self, tier: usize, view: &impl View) -> Option<Ticket> {
        let list = &mut self.tiers[tier];
        let loads = &mut self.scratch;
        loads.clear();
        let mut best: Option<(u64, i64)> = None;
        for one in list.iter() {
            let member = one.ticket.member();
            if view.admits(member) != Admits::Yes {
                loads.push(u64::MAX);
                continue;
            }
            let load = view.load(member).min(u64::from(u32::MAX));
            loads.push(load);
            if best.is_none_or(|(least, weight)| compare(load, one.weight, least, weight).is_lt()) {
                best = Some((load, one.weight));
            }
        }
        let (least, weight) = best?;
        let ties = |at: usize, one: &Candidate| {
            loads[at] != u64::MAX && compare(loads[at], one.weight, least, weight).is_eq()
        };
        turns_among(list, ties)
    }

    fn hashed(&self, tier: usize, key: u64, view: &impl View) -> Option<Ticket> {
        let fits = |member: usize| {
            self.members.get(member).is_some_and(|one| one.tier == Some(tier))
                && view.admits(member) == Admits::Yes
        };
        if tier == 0 {
            let mut place = key;
            for _ in 0..LOOKS {
                match self.table.find(place) {
                    Some(member) if fits(member) => return self.bound(member),
                    Some(_) => place = mix(place),
                    None => break,
                }
            }
        }
        let left = self.tiers[tier].iter().filter(|one| fits(one.ticket.member()));
        left.max_by_key(|one| mix(key ^ self.members[one.ticket.member()].spec.key)).map(|one| one.ticket)
    }
}

/// Smooth weighted round robin, as nginx does it: everybody earns its weight, who has most pays what all have earned.
fn turns(list: &mut [Candidate], fits: impl Fn(usize) -> bool) -> Option<Ticket> {
    turns_among(list, |_, one| fits(one.ticket.member()))
}

fn turns_among(list: &mut [Candidate], fits: impl Fn(usize, &Candidate) -> bool) -> Option<Ticket> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (at, one) in list.iter_mut().enumerate() {
        if !fits(at, one) {
            continue;
        }
        one.credit += one.weight;
        total += one.weight;
        if best.is_none_or(|(_, most)| one.credit > most) {
            best = Some((at, one.credit));
        }
    }
    let (at, _) = best?;
    list[at].credit -= total;
    Some(list[at].ticket)
}

fn two_choices(list: &[Candidate], draw: &mut impl FnMut() -> u64, view: &impl View) -> Option<Ticket> {
    let count = list.len() as u64;
    let index = |number: u64| usize::try_from(number).expect("less than the length");
    let first = draw() % count;
    // The second is another one, when there is one.
    let second = if count > 1 { (first + 1 + draw() % (count - 1)) % count } else { first };
    let [one, other] = [list[index(first)], list[index(second)]];
    let fits = |one: &Candidate| view.admits(one.ticket.member()) == Admits::Yes;
    match (fits(&one), fits(&other)) {
        (true, true) => Some(if cost(&other, view) < cost(&one, view) { other.ticket } else { one.ticket }),
        (true, false) => Some(one.ticket),
        (false, true) => Some(other.ticket),
        (false, false) => {
            let rest = (0..count).map(|step| &list[index((first + step) % count)]);
            rest.into_iter().find(|one| fits(one)).map(|one| one.ticket)
        }
    }
}

fn cost(one: &Candidate, view: &impl View) -> u128 {
    let member = one.ticket.member();
    let load = view.load(member);
    let latency = match u64::try_from(view.latency(member).as_nanos()).unwrap_or(u64::MAX) {
        0 if load > 0 => UNKNOWN,
        known => known,
    };
    let weight = u128::from(one.weight.unsigned_abs().max(1));
    // Weights are of the order of 2^10 to 2^26: the shift keeps the difference of small costs.
    ((u128::from(latency) * u128::from(load + 1)) << 20) / weight
}

fn random(list: &[Candidate], draw: &mut impl FnMut() -> u64, view: &impl View) -> Option<Ticket> {
    let fits = |one: &&Candidate| view.admits(one.ticket.member()) == Admits::Yes;
    let total: u64 = list.iter().filter(fits).map(|one| one.weight.unsigned_abs()).sum();
    let mut left = draw().checked_rem(total)?;
    for one in list.iter().filter(fits) {
        match left.checked_sub(one.weight.unsigned_abs()) {
            Some(rest) => left = rest,
            None => return Some(one.ticket),
        }
    }
    None
}

/// Compares loads for their weights: `a / wa` with `b / wb`.
fn compare(a: u64, wa: i64, b: u64, wb: i64) -> std::cmp::Ordering {
    (u128::from(a) * u128::from(wb.unsigned_abs())).cmp(&(u128::from(b) * u128::from(wa.unsigned_abs())))
}
