//! What time does to each right: asking, renewing, leaving.

use std::time::Duration;

use crate::lease::leases::Leases;
use crate::lease::right::Stand;
use crate::lease::right::{Giving, Lasting};
use crate::lease::{Effect, Ending, Freed, Phase};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

/// User space leaves at least this long before the gate closes.
const LEAVE_MIN: Duration = Duration::from_millis(2);

/// Whether a right goes into the request that is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    No,
    /// When another one does: one message for all (rule 6).
    Along,
    Now,
}

impl Leases {
    pub(super) fn tend(&mut self, now: Boot) {
        let mut turns = Vec::with_capacity(self.rights.len());
        for at in 0..self.rights.len() {
            self.rights[at].due = None;
            turns.push(self.tend_one(at, now));
            self.give_again(at, now);
            self.remind(at, now);
        }
        if !turns.contains(&Turn::Now) {
            return;
        }
        let asks: Vec<usize> = (0..turns.len()).filter(|at| turns[*at] != Turn::No).collect();
        self.request(&asks, now);
    }

    fn tend_one(&mut self, at: usize, now: Boot) -> Turn {
        // A promise that came too late may have found it out before us.
        let right = &mut self.rights[at];
        if right.claim.lapse(now) || right.claim.phase() == Phase::Ended && right.leaving.is_none() {
            self.ended(at);
        }
        match self.rights[at].claim.phase() {
            Phase::Idle => self.tend_idle(at, now),
            Phase::Asking => self.tend_asking(at, now),
            Phase::Held if self.lasting => self.tend_lasting(at, now),
            Phase::Held => self.tend_held(at, now),
            Phase::Ended => Turn::No,
        }
    }

    fn tend_idle(&mut self, at: usize, now: Boot) -> Turn {
        let asks_at = self.wants(at, now);
        self.rights[at].seek.asks_at = asks_at;
        match asks_at {
            None => Turn::No,
            Some(asks_at) if asks_at > now => {
                self.rights[at].wake(asks_at);
                Turn::No
            }
            Some(_) => {
                self.begin(at, now);
                Turn::Now
            }
        }
    }

    fn tend_asking(&mut self, at: usize, now: Boot) -> Turn {
        if self.wants(at, now).is_none() {
            self.withdraw(at, now);
            return Turn::No;
        }
        if self.loses(at, now) {
            return Turn::No;
        }
        let right = &mut self.rights[at];
        if right.seek.again <= now {
            return Turn::Now;
        }
        right.wake(right.seek.again);
        Turn::No
    }

    fn tend_held(&mut self, at: usize, now: Boot) -> Turn {
        let Some(until) = self.rights[at].claim.until() else { return Turn::No };
        let leave_at = until - LEAVE_MIN.max(self.terms.term / 100);
        if self.rights[at].leaving.is_none() {
            if let Some(epoch) = self.superseded(at) {
                self.leave(at, Ending::Superseded { epoch });
            } else if now >= leave_at {
                self.leave(at, Ending::Unrenewed);
            } else if let Some(by) = self.preemptor(at, now) {
                self.leave(at, Ending::Preempted { by });
            }
        }
        let right = &mut self.rights[at];
        right.wake(if now < leave_at { leave_at } else { until });
        match right.leaving {
            Some(Ending::Unrenewed | Ending::Superseded { .. }) => return Turn::No,
            // Until the address is gone the right has to be ours.
            Some(Ending::Preempted { .. }) | None => {}
        }
        if right.seek.again <= now {
            return Turn::Now;
        }
        right.wake(right.seek.again);
        if right.seek.again <= now + self.terms.renew() / 4 { Turn::Along } else { Turn::No }
    }

    /// A right has ended by itself.
    fn ended(&mut self, at: usize) {
        if self.rights[at].leaving.is_none() {
            self.leave(at, Ending::Unrenewed);
        }
        self.rights[at].changed = true;
        self.beat_soon = true;
    }

    pub(super) fn leave(&mut self, at: usize, why: Ending) {
        let id = self.right_id(at);
        let right = &mut self.rights[at];
        (right.leaving, right.changed) = (Some(why), true);
        if why == Ending::Unrenewed {
            right.unrenewed += 1;
            self.counters.unrenewed += 1;
        }
        self.beat_soon = true;
        self.effects.push_back(Effect::Yield { right: id, why });
    }

    /// A majority promises the right until then.
    pub(super) fn got(&mut self, at: usize, first: bool, until: Boot, now: Boot) {
        let id = self.right_id(at);
        let patience = self.terms.term.saturating_mul(10);
        let soon = self.terms.term.saturating_mul(2);
        // A right that lasts is told to the gate for a while, again and again.
        let until = if self.lasting { now + self.terms.hold() } else { until };
        let again = (until - self.terms.hold() + self.terms.renew()).max(now + self.terms.term / 20);
        let right = &mut self.rights[at];
        let epoch = right.claim.epoch();
        (right.highest, right.seek.again) = (right.highest.max(epoch), again);
        if first {
            right.acquired += 1;
            self.counters.acquired += 1;
            (right.giving, right.leaving, right.changed) = (None, None, true);
            right.seek.named_until = Boot::ZERO;
            right.lasting = Lasting { armed: until, ..Lasting::default() };
            if let Some((node, _)) = right.handed.take().filter(|(_, when)| now.since(*when) < soon) {
                right.spurned = Some((node, now + patience));
            }
            self.beat_soon = true;
        }
        match right.leaving {
            Some(Ending::Unrenewed | Ending::Superseded { .. }) => {}
            Some(Ending::Preempted { .. }) | None => {
                self.effects.push_back(Effect::Held { right: id, epoch, until })
            }
        }
    }

    /// The address is gone here: the right goes back to the voters at once (rule 3).
    pub(super) fn gone(&mut self, right: RightId, now: Boot) {
        let at = right.index();
        if !self.keeps(at, now) {
            self.hand_back(at, now);
        }
    }

    /// Gives a right back that is not used here any more.
    pub(super) fn hand_back(&mut self, at: usize, now: Boot) {
        let Some(right) = self.rights.get(at) else { return };
        let preempted = match right.leaving {
            Some(Ending::Preempted { by }) => Some(by),
            Some(Ending::Unrenewed | Ending::Superseded { .. }) | None => None,
        };
        let superseded = matches!(right.leaving, Some(Ending::Superseded { .. }));
        let next = right.successor.or(preempted).filter(|next| self.reachable(*next) && self.may_hold(*next));
        let next = next.or_else(|| self.best_peer(at)).filter(|_| !superseded);
        let tenth = self.terms.term / 10;
        let right = &mut self.rights[at];
        (right.leaving, right.successor, right.seek.free_since) = (None, None, None);
        right.lasting = Lasting::default();
        let Some(epoch) = right.claim.free() else { return };
        (right.highest, right.changed) = (right.highest.max(epoch), true);
        right.handed = preempted.filter(|by| next == Some(*by)).map(|by| (by, now));
        // Whoever is named has more than the time for which the voters keep the right for it.
        right.back_off(now, if next.is_some() { tenth.saturating_mul(3) } else { tenth });
        self.beat_soon = true;
        let next = next.map(|next| self.list.name(next).to_owned());
        self.give(at, Freed { right: self.rights[at].name.clone(), epoch, next }, now);
    }

    /// Asks no more; what was promised so far goes back.
    pub(super) fn withdraw(&mut self, at: usize, now: Boot) {
        let right = &mut self.rights[at];
        right.seek.asks_at = None;
        right.lasting = Lasting::default();
        let Some(epoch) = right.claim.free() else { return };
        let freed = Freed { right: right.name.clone(), epoch, next: None };
        self.give(at, freed, now);
    }

    fn give(&mut self, at: usize, freed: Freed, now: Boot) {
        self.send_free(&freed);
        self.rights[at].giving = Some(Giving { freed, at: now + self.give_every(), times: 2 });
    }

    /// Says a release again: if it was lost, everybody waits for the term.
    fn give_again(&mut self, at: usize, now: Boot) {
        let every = self.give_every();
        let right = &mut self.rights[at];
        let Some(giving) = &mut right.giving else { return };
        if giving.times == 0 || right.highest > giving.freed.epoch {
            right.giving = None;
            return;
        }
        if giving.at <= now {
            (giving.at, giving.times) = (now + every, giving.times - 1);
            let (freed, again) = (giving.freed.clone(), giving.at);
            right.wake(again);
            self.send_free(&freed);
        } else {
            let again = giving.at;
            right.wake(again);
        }
    }

    fn give_every(&self) -> Duration {
        (self.terms.term / 30).max(Duration::from_millis(1))
    }

    /// A higher epoch than ours is held by somebody that is heard (rule 8).
    pub(super) fn superseded(&self, at: usize) -> Option<u64> {
        let right = &self.rights[at];
        let (node, stand) = right.holder()?;
        (node != self.me && stand.epoch > right.claim.epoch()).then_some(stand.epoch)
    }

    /// Who wants the right although we hold it, and comes before us.
    pub(super) fn preemptor(&self, at: usize, now: Boot) -> Option<NodeId> {
        let right = &self.rights[at];
        let (ours, _) = right.ready()?;
        let spurned = right.spurned.filter(|(_, until)| *until > now).map(|(node, _)| node);
        let (node, priority) = self.best(at, |node| {
            // Whoever has just let go may have had a reason, or be dead: its next beats say which.
            let settled =
                |stand: &Stand| stand.let_go == Boot::ZERO || stand.heard > stand.let_go + self.terms.beat();
            let wants = |stand: &Stand| stand.preempts && settled(stand);
            right.stands.get(node.index()).is_some_and(wants) && Some(node) != spurned
        })?;
        (priority > ours).then_some(node)
    }

    pub(super) fn right_id(&self, at: usize) -> RightId {
        RightId(u32::try_from(at).unwrap_or(u32::MAX))
    }
}
