//! One node's claim to one right (rules 1 and 3): which voters have promised it, and how long that may be believed.
//!
//! When to ask, to renew and to leave is decided elsewhere; whatever is decided there, what stands here keeps a right
//! from being believed for longer than a majority has promised it.

use std::time::Duration;

use crate::lease::VoterList;
use crate::name::NodeId;
use crate::time::Boot;

/// How far a claim has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing is asked for.
    #[default]
    Idle,
    /// Asked for; voters may have promised it, a majority has not.
    Asking,
    /// Held, until `Claim::until`.
    Held,
    /// It has ended by itself and was not given back yet.
    Ended,
}

/// A promise as its requester counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Promised {
    /// Who has promised.
    pub voter: NodeId,
    /// Under which epoch.
    pub epoch: u64,
    /// When the request was stamped: before it was sent.
    pub stamped: Boot,
    /// How long after that the promise may be relied on (`Terms::hold`).
    pub hold: Duration,
}

/// What a promise has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// The right is held until then: first, or for longer than before.
    Until(Boot),
    /// It was counted, or was older than what is counted already.
    Kept,
    /// Nobody here asks for that: the voter is to be told so.
    Stray,
}

/// A claim; `WITHOUT` is the rule that it breaks (1, 30 for the half of rule 3 that is the holder's, 50 for the majority of rule 5), for the model checker alone.
/// Everybody else writes `Claim`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claim<const WITHOUT: u8 = 0> {
    phase: Phase,
    epoch: u64,
    until: Boot,
    /// By voter: until when its newest promise may be relied on.
    promises: Vec<Boot>,
}

impl<const WITHOUT: u8> Claim<WITHOUT> {
    /// How far it has come; a right whose time is over is `Held` until `lapse` was asked.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The epoch under which it is asked for or held.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it ends, while it is held.
    #[must_use]
    pub fn until(&self) -> Option<Boot> {
        (self.phase == Phase::Held).then_some(self.until)
    }

    /// Whether it may be used at `now`.
    #[must_use]
    pub fn live(&self, now: Boot) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// How many voters are known to promise it at `now`.
    #[must_use]
    pub fn count(&self, now: Boot) -> usize {
        self.promises.iter().filter(|end| **end > now).count()
    }

    /// Until when one voter's promise may be relied on.
    #[must_use]
    pub fn promise(&self, voter: NodeId) -> Boot {
        self.promises.get(voter.index()).copied().unwrap_or_default()
    }

    /// Asks under an epoch, from nothing: promises for an earlier epoch don't count.
    pub fn ask(&mut self, epoch: u64) {
        *self = Self { phase: Phase::Asking, epoch, until: Boot::ZERO, promises: Vec::new() };
    }

    /// A voter has promised: rule 1, counted from the stamp, by the majority-th newest.
    pub fn promised(&mut self, promised: Promised, list: &VoterList, now: Boot) -> Counted {
        if self.phase == Phase::Idle || promised.epoch > self.epoch {
            return Counted::Stray;
        }
        self.lapse(now);
        if self.phase == Phase::Ended || promised.epoch < self.epoch {
            return Counted::Kept;
        }
        let voter = promised.voter.index();
        if list.members.get(voter).is_none_or(|member| !member.votes) {
            return Counted::Kept;
        }
        let from = if WITHOUT == 1 { now } else { promised.stamped };
        self.promises.resize(list.members.len().max(self.promises.len()), Boot::ZERO);
        self.promises[voter] = self.promises[voter].max(from + promised.hold);
        let until = self.majority_end(list);
        if until <= now || until <= self.until {
            return Counted::Kept;
        }
        (self.phase, self.until) = (Phase::Held, until);
        Counted::Until(until)
    }

    /// A right whose time is over is not held, whatever comes later; says whether that has happened now.
    pub fn lapse(&mut self, now: Boot) -> bool {
        let over = self.phase == Phase::Held && now >= self.until;
        if over {
            self.phase = Phase::Ended;
        }
        for end in &mut self.promises {
            if over || *end <= now {
                *end = Boot::ZERO;
            }
        }
        over
    }

    /// Gives it back: call it only when the address is gone here (rule 3). Says under which epoch, unless nothing was asked.
    pub fn free(&mut self) -> Option<u64> {
        if self.phase == Phase::Idle {
            return None;
        }
        if WITHOUT != 30 {
            (self.phase, self.until) = (Phase::Idle, Boot::ZERO);
            self.promises.clear();
        }
        Some(self.epoch)
    }

    /// The nodes have new numbers; a voter that has none is forgotten.
    pub fn renumber(&mut self, new: impl Fn(NodeId) -> Option<NodeId>, members: usize) {
        let mut promises = vec![Boot::ZERO; members];
        for (old, end) in (0..).map(NodeId).zip(&self.promises) {
            if let Some(slot) = new(old).and_then(|new| promises.get_mut(new.index())) {
                *slot = *end;
            }
        }
        self.promises = promises;
    }

    /// Until when a majority has promised: the shortest of the longest promises.
    fn majority_end(&self, list: &VoterList) -> Boot {
        let mut ends: Vec<Boot> = list
            .voters()
            .map(|voter| self.promises.get(voter.index()).copied().unwrap_or_default())
            .collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let majority = if WITHOUT == 50 { 1 } else { list.majority() };
        ends.get(majority - 1).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Member;

    const HOLD: Duration = Duration::from_millis(100);

    fn list() -> VoterList {
        let member = |id: &str, votes| Member { id: id.into(), votes, holds: true };
        VoterList {
            epoch: 1,
            members: vec![member("a", true), member("b", true), member("c", true), member("d", false)],
        }
    }

    fn at(ms: u64) -> Boot {
        Boot::from_nanos(ms * 1_000_000)
    }

    fn promise(voter: u32, epoch: u64, stamped: u64) -> Promised {
        Promised { voter: NodeId(voter), epoch, stamped: at(stamped), hold: HOLD }
    }

    fn asking(epoch: u64) -> Claim {
        let mut claim = Claim::default();
        claim.ask(epoch);
        claim
    }

    #[test]
    fn a_right_counts_from_the_stamp_of_the_request_and_needs_a_majority() {
        let (mut claim, list) = (asking(7), list());
        assert_eq!(claim.promised(promise(0, 7, 10), &list, at(40)), Counted::Kept);
        assert!(!claim.live(at(40)));
        assert_eq!(claim.promised(promise(1, 7, 10), &list, at(50)), Counted::Until(at(110)));
        assert!(claim.live(at(109)) && !claim.live(at(110)));
    }

    #[test]
    fn of_promises_to_different_requests_the_majority_th_newest_counts() {
        let (mut claim, list) = (asking(7), list());
        claim.promised(promise(0, 7, 40), &list, at(45));
        assert_eq!(claim.promised(promise(1, 7, 10), &list, at(50)), Counted::Until(at(110)));
        assert_eq!(claim.promised(promise(2, 7, 30), &list, at(50)), Counted::Until(at(130)));
        assert_eq!(
            claim.promised(promise(1, 7, 5), &list, at(50)),
            Counted::Kept,
            "older than what is known"
        );
    }

    #[test]
    fn who_has_no_vote_and_another_epoch_do_not_count() {
        let (mut claim, list) = (asking(7), list());
        claim.promised(promise(0, 7, 10), &list, at(20));
        assert_eq!(claim.promised(promise(3, 7, 10), &list, at(20)), Counted::Kept);
        assert_eq!(claim.promised(promise(9, 7, 10), &list, at(20)), Counted::Kept);
        assert_eq!(claim.promised(promise(1, 6, 10), &list, at(20)), Counted::Kept);
        assert_eq!(claim.promised(promise(1, 8, 10), &list, at(20)), Counted::Stray);
        assert_eq!(claim.phase(), Phase::Asking);
    }

    #[test]
    fn after_its_end_no_late_promise_brings_a_right_back() {
        let (mut claim, list) = (asking(7), list());
        for voter in 0..2 {
            claim.promised(promise(voter, 7, 10), &list, at(20));
        }
        for voter in 0..3 {
            assert_eq!(claim.promised(promise(voter, 7, 100), &list, at(110)), Counted::Kept);
        }
        assert_eq!((claim.phase(), claim.until()), (Phase::Ended, None));
        assert_eq!(claim.free(), Some(7));
        assert_eq!(claim.promised(promise(0, 7, 100), &list, at(120)), Counted::Stray);
    }
}
