//! The promises about safety, looked at whenever a kernel or a machine has moved. `bound` has those about time.

use mainstay_core::lease::{Effect, Ending, Message};
use mainstay_core::time::Boot;

use crate::kernel::Time;
use crate::lease::mutant::Mutant;
use crate::lease::scenario::{JITTER, Scenario};
use crate::lease::world::World;
use mainstay_core::lease::VoterList;

/// So many messages in a term may one node send to one peer: a beat each tenth, a request and a reply each fifth for
/// each right, and what faults make necessary.
const MESSAGES: u64 = 120;

/// A holder that must have a successor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) from: usize,
    pub(crate) since: Time,
    pub(crate) by: Time,
    /// Somebody wished for it, or nobody did.
    pub(crate) wished: bool,
}

/// What the checkers remember.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    /// For each right the highest epoch of an acquisition, and who answered last.
    acquired: Vec<u64>,
    /// For each right who took it last, and when.
    acquirer: Vec<Option<usize>>,
    acquired_at: Vec<Time>,
    pub(crate) holder: Vec<Option<usize>>,
    /// By node: when its paused guest last went on.
    pub(crate) resumed: Vec<Time>,
    /// When something other than a paused guest was last wrong.
    pub(crate) rough_at: Time,
    /// Everything has been calm since then.
    pub(crate) calm_since: Time,
    /// Letters of earlier weather are under way until then.
    pub(crate) late_until: Time,
    /// For each right: since when nobody answers.
    pub(crate) none_since: Vec<Option<Time>>,
    /// For each right: who must be followed by another.
    pub(crate) due: Vec<Option<Due>>,
    /// For each right: the next change is one that was wished for in the calm.
    pub(crate) cooperative: Vec<bool>,
    /// By node and voter: when the way between them, or one of them, was last bad.
    pub(crate) bad: Vec<Vec<Time>>,
    /// The operator's newest list.
    pub(crate) list: VoterList,
    /// By node: when the present term began, and messages since.
    said: Vec<(Time, u64)>,
    two_since: Vec<Option<Time>>,
    /// A wall clock was set: after that epochs may fall when every voter has forgotten them.
    pub(crate) stepped: bool,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let (nodes, rights) = (scenario.nodes, scenario.rights.len());
        Self {
            acquired: vec![0; rights],
            acquirer: vec![None; rights],
            acquired_at: vec![0; rights],
            holder: vec![None; rights],
            resumed: vec![0; nodes],
            rough_at: 0,
            calm_since: 0,
            late_until: 0,
            none_since: vec![None; rights],
            due: vec![None; rights],
            cooperative: vec![false; rights],
            bad: vec![vec![0; nodes]; nodes],
            list: scenario.list.clone(),
            said: vec![(0, 0); nodes],
            two_since: vec![None; rights],
            stepped: false,
        }
    }
}

impl World {
    pub(crate) fn touched_all(&mut self) {
        (0..self.scenario.rights.len()).for_each(|right| self.touched(right));
    }

    /// A kernel has changed: who answers for this right?
    pub(crate) fn touched(&mut self, right: usize) {
        let mut holders = (0..self.nodes.len()).filter(|n| self.nodes[*n].answers(right, self.now));
        let (first, second) = (holders.next(), holders.next());
        if let (Some(a), Some(b)) = (first, second) {
            return self.check_two(right, a, b);
        }
        self.checks.two_since[right] = None;
        self.checks.none_since[right] =
            if first.is_some() { None } else { self.checks.none_since[right].or(Some(self.now)) };
        if let Some(holder) = first {
            self.answered(right, holder);
        }
    }

    /// Promise 1, but for a guest that was paused and has not heard yet what it missed.
    fn check_two(&mut self, right: usize, a: usize, b: usize) {
        let since = *self.checks.two_since[right].get_or_insert(self.now);
        let resumed = self.checks.resumed[a].max(self.checks.resumed[b]);
        let heard = since.max(resumed)
            + 2 * self.scenario.beat()
            + 4 * self.scenario.delay()
            + 2 * JITTER
            + self.scenario.removal;
        let ended = resumed + self.scenario.term();
        let fair = self.checks.rough_at.max(self.checks.late_until) < resumed;
        let by = if fair { heard.min(ended) } else { ended };
        if resumed > 0 && self.now <= by && !self.scenario.strict {
            self.outcome.worst.paused_guest = self.outcome.worst.paused_guest.max(self.now - since);
            return;
        }
        self.fail(|| format!("promise 1: n{a} and n{b} both answer for vip/{right}"));
    }

    /// What a machine has decided, before any of it is done.
    pub(crate) fn check_decided(&mut self, n: usize, effect: &Effect, local: Boot) {
        match effect {
            Effect::Send { message: Message::Request(_), .. } if self.nodes[n].asked_at < local => {
                self.nodes[n].asked_at = local;
            }
            Effect::Send { .. } | Effect::Held { .. } | Effect::Yield { .. } => {}
            Effect::Adopted(_) | Effect::Notice(_) => {}
        }
        match effect {
            Effect::Held { right, epoch, until } => {
                self.check_held(n, right.index(), *epoch, *until, local);
            }
            Effect::Yield { right, why } => self.check_yield(n, right.index(), *why),
            Effect::Send { message, .. } => self.check_claims(n, message, local),
            Effect::Adopted(_) | Effect::Notice(_) => {}
        }
    }

    fn check_held(&mut self, n: usize, right: usize, epoch: u64, until: Boot, local: Boot) {
        if right >= self.scenario.rights.len() {
            return self.fail(|| format!("promise 8: n{n} holds right {right}, which there is not"));
        }
        if until <= local {
            self.fail(|| {
                format!("promise 2: n{n} is told that it holds vip/{right} and its right has ended")
            });
        }
        let asked = self.nodes[n].asked_at;
        // A right that lasts is told to the gate for a while from now on, whoever was asked.
        let asked = if self.scenario.strict { local } else { asked };
        let counted = self.mutant == Mutant::NoMargin || until <= asked + self.scenario.terms.hold();
        if !counted {
            self.fail(|| {
                format!("promise 2: n{n} holds vip/{right} until {until}, and asked last at {asked}")
            });
        }
        if self.nodes[n].decided[right] == Some(epoch) {
            return;
        }
        self.nodes[n].decided[right] = Some(epoch);
        self.outcome.claims += 1;
        let woken = self.checks.resumed[n] > 0 && self.now < self.checks.resumed[n] + self.scenario.term();
        let before = self.checks.acquired[right];
        let again = epoch == before && self.checks.acquirer[right] == Some(n);
        let fresh = self.nodes.iter().all(|node| node.started > self.checks.acquired_at[right]);
        let excused = woken || self.checks.stepped || self.scenario.strict && (again || fresh);
        if epoch <= before && !excused {
            self.fail(|| format!("promise 4: n{n} takes vip/{right} under epoch {epoch} after {before}"));
        }
        self.checks.acquired[right] = if self.scenario.strict { epoch } else { before.max(epoch) };
        (self.checks.acquirer[right], self.checks.acquired_at[right]) = (Some(n), self.now);
    }

    /// Promise 6: who keeps a majority keeps its right.
    fn check_yield(&mut self, n: usize, right: usize, why: Ending) {
        match why {
            Ending::Preempted { .. } => {}
            Ending::Unrenewed | Ending::Superseded { .. } if self.scenario.strict => {
                self.fail(|| {
                    format!("promise 10: n{n} gives up vip/{right}, and nobody wished for it: {why:?}")
                });
            }
            Ending::Unrenewed | Ending::Superseded { .. } => {
                if self.has_majority_for(n, 2 * self.scenario.term() + 4 * self.scenario.beat()) {
                    self.fail(|| {
                        format!("promise 6: n{n} gives up vip/{right} with a majority behind it: {why:?}")
                    });
                }
            }
        }
    }

    /// Promise 9: nobody speaks for a right that has ended.
    fn check_claims(&mut self, n: usize, message: &Message, local: Boot) {
        let over = |name: &str| {
            let right = self.scenario.rights.iter().position(|known| known == name)?;
            let node = &self.nodes[n];
            let over = node.held[right].is_some() && !node.leaving[right] && node.until[right] <= local;
            (over && !self.scenario.strict).then_some(right)
        };
        let said = match message {
            Message::Beat(beat) => {
                beat.rights.iter().filter(|stands| stands.epoch > 0).find_map(|stands| over(&stands.right))
            }
            Message::Request(request) => {
                request.rights.iter().filter(|asked| asked.renewal).find_map(|asked| over(&asked.right))
            }
            Message::Reply(_) | Message::Free(_) | Message::List(_) | Message::Sights(_) => None,
        };
        if let Some(right) = said {
            self.fail(|| {
                format!("promise 9: n{n} speaks for vip/{right}, which it has no more: {message:?}")
            });
        }
    }

    /// Promise 3: nobody says that it has let go while the address is there.
    pub(crate) fn check_said(&mut self, n: usize, message: &Message) {
        let Message::Free(freed) = message else { return };
        let lie = freed.iter().find_map(|freed| {
            let right = self.scenario.rights.iter().position(|known| *known == freed.right)?;
            let node = &self.nodes[n];
            let there = node.kernel[right].present && node.taken[right] == freed.epoch;
            there.then_some(right)
        });
        if let Some(right) = lie {
            self.fail(|| format!("promise 3: n{n} frees vip/{right} and still has the address"));
        }
    }

    /// Promise 8: no storm.
    pub(crate) fn check_letter(&mut self, n: usize, messages: usize) {
        let term = self.scenario.term();
        let peers = self.nodes.len() as u64 - 1;
        self.outcome.letters += 1;
        let (since, said) = &mut self.checks.said[n];
        if self.now > *since + term {
            (*since, *said) = (self.now, 0);
        }
        *said += messages as u64;
        let said = said.div_ceil(peers);
        self.outcome.worst.messages = self.outcome.worst.messages.max(said);
        if said > MESSAGES {
            self.fail(|| format!("promise 8: n{n} has sent {said} messages to each peer in a term"));
        }
    }

    /// After a tick nothing is due at once again.
    pub(crate) fn check_rest(&mut self, n: usize) {
        if self.is_due(n) {
            self.fail(|| format!("promise 8: n{n} is never at rest"));
        }
    }

    /// Promise 9: a task that runs leaves by itself when its right has ended.
    pub(crate) fn check_drained(&mut self, n: usize) {
        let local = self.local(n);
        let node = &self.nodes[n];
        if node.handled_at != self.now || self.scenario.strict {
            return;
        }
        let stays = (0..node.kernel.len()).find(|right| {
            node.held[*right].is_some() && !node.leaving[*right] && node.until[*right] <= local
        });
        if let Some(right) = stays {
            self.fail(|| format!("promise 9: n{n} stays on vip/{right}, and its right has ended"));
        }
    }
}
