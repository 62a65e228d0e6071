//! The voter of one node (rules 3, 4 and 5): to whom it has promised each right, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lease::{Asked, Mark};
use crate::name::NodeId;
use crate::time::Boot;

/// How many rights a voter keeps promises for.
pub const RIGHTS_MAX: usize = 4_096;

/// How long the name of a right or of a node may be, in bytes.
pub const NAME_MAX: usize = 128;

/// A node that has left the list while it held a promise.
const LEFT: NodeId = NodeId(u32::MAX);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    /// The node.
    pub node: NodeId,
    /// Its process.
    pub instance: u64,
    /// The process before it on the same host, which is dead and whose addresses are gone.
    pub heir_of: Option<u64>,
}

/// A request's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asking {
    /// The list that the requester counts by.
    pub mark: Mark,
    /// The request's number.
    pub number: u64,
    /// The term that it asks for.
    pub term: Duration,
}

/// One holder, promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The node.
    pub node: NodeId,
    /// Its process.
    pub instance: u64,
    /// Under which epoch.
    pub epoch: u64,
    /// Until when, by the voter's clock.
    pub until: Boot,
}

/// What a voter says to one request for one right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Promised.
    Granted {
        /// Under the epoch that was asked for.
        epoch: u64,
    },
    /// Promised to another, or kept free for another; an acquisition is kept pending.
    Held {
        /// To whom; a node that is not in the list any more has no name.
        by: NodeId,
        /// Under which epoch.
        epoch: u64,
        /// For how much longer.
        left: Duration,
    },
    /// Not above all epochs that were granted.
    Stale {
        /// The highest.
        epoch: u64,
    },
    /// Just started; an acquisition is kept pending.
    Mute {
        /// For how much longer.
        left: Duration,
    },
    /// Another list, or a term that is too long.
    Mismatch,
    /// No room.
    Full,
}

/// A pending request that is granted later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Granted {
    /// To whom.
    pub to: NodeId,
    /// The number of its request.
    pub number: u64,
    /// Which right.
    pub right: String,
    /// Under which epoch.
    pub epoch: u64,
}

/// A voter; `WITHOUT` is the rule that it breaks (3, 4, and 5 for the mark of the list), for the model checker alone.
/// Everybody else writes `Voter`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Voter<const WITHOUT: u8 = 0> {
    mark: Mark,
    term_max: Duration,
    mute_until: Boot,
    /// Promises end only when they are given back.
    lasting: bool,
    /// Epochs up to that may have been granted and forgotten.
    floor: u64,
    rights: BTreeMap<String, Slot>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Slot {
    promise: Option<Promise>,
    highest: u64,
    /// The last that was given back: nothing of it that is still on its way counts.
    freed: Option<(NodeId, u64, u64)>,
    /// For whom the right is kept for a moment, by its last holder's wish.
    next: Option<(NodeId, Boot)>,
    pending: Vec<Pending>,
}

/// An acquisition that waits for the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pending {
    asker: Asker,
    number: u64,
    epoch: u64,
    term: Duration,
    /// When nobody relies on it any more.
    until: Boot,
}

impl<const WITHOUT: u8> Voter<WITHOUT> {
    /// A voter that says nothing before `mute_until` (rule 4): it may have made promises that it does not remember.
    #[must_use]
    pub fn new(mark: Mark, term_max: Duration, mute_until: Boot) -> Self {
        let mute_until = if WITHOUT == 4 { Boot::ZERO } else { mute_until };
        Self { mark, term_max, mute_until, lasting: false, floor: 0, rights: BTreeMap::new() }
    }

    /// Grants no acquisition under that epoch or a lower one: it may have granted them before it started (rule 7).
    #[must_use]
    pub fn above(self, floor: u64) -> Self {
        Self { floor, ..self }
    }

    /// Its promises end only when they are given back: of two voters, both needed, each remembers for as long as its own
    /// node could hold anything (guard `strict`).
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }

    /// One right of a request that was stamped by its sender before it was sent; `granted` takes pending requests that
    /// become due by the way.
    pub fn ask(
        &mut self,
        asker: Asker,
        asking: Asking,
        asked: &Asked,
        now: Boot,
        granted: &mut Vec<Granted>,
    ) -> Verdict {
        let known = asking.mark == self.mark || WITHOUT == 5;
        if !known || asking.term > self.term_max || asking.term.is_zero() {
            return Verdict::Mismatch;
        }
        if !self.has_room(&asked.right, now) {
            return Verdict::Full;
        }
        let mute = self.mute(now);
        if !self.rights.contains_key(&asked.right) {
            self.rights.insert(asked.right.clone(), Slot { highest: self.floor, ..Slot::default() });
        }
        let slot = self.rights.get_mut(&asked.right).expect("put there above");
        if !mute.is_zero() && !asked.renewal && asked.epoch <= slot.highest {
            // To say so is no promise, and saves the asker a round when there are some again.
            return Verdict::Stale { epoch: slot.highest };
        }
        let pending = Pending {
            asker: if self.lasting { slot.heir(asker) } else { asker },
            number: asking.number,
            epoch: asked.epoch,
            term: if self.lasting { Duration::MAX } else { asking.term },
            until: now + asking.term,
        };
        if !mute.is_zero() {
            if asked.renewal {
                // What is held now is above all that it has forgotten.
                slot.highest = slot.highest.max(asked.epoch);
            } else {
                slot.keep(pending);
            }
            return Verdict::Mute { left: mute };
        }
        slot.settle(&asked.right, now, granted);
        let verdict = slot.judge::<WITHOUT>(pending, asked.renewal, now);
        match verdict {
            Verdict::Granted { epoch } => slot.promise(pending, epoch, now),
            Verdict::Held { .. } if !asked.renewal => slot.keep(pending),
            Verdict::Held { .. } | Verdict::Stale { .. } => {}
            Verdict::Mute { .. } | Verdict::Mismatch | Verdict::Full => {}
        }
        match verdict {
            // One that lasts is told as one that is renewed.
            Verdict::Held { by, epoch, left } => Verdict::Held { by, epoch, left: left.min(self.term_max) },
            Verdict::Granted { .. } | Verdict::Stale { .. } | Verdict::Mute { .. } => verdict,
            Verdict::Mismatch | Verdict::Full => verdict,
        }
    }

    /// A right is given back by whom it was promised to (rule 3); anything else is ignored. What its sender had pending
    /// under that epoch is withdrawn.
    pub fn free(
        &mut self,
        asker: Asker,
        right: &str,
        epoch: u64,
        next: Option<NodeId>,
        now: Boot,
        granted: &mut Vec<Granted>,
    ) {
        let mute = !self.mute(now).is_zero();
        let Some(slot) = self.rights.get_mut(right) else { return };
        let asker = if self.lasting { slot.heir(asker) } else { asker };
        slot.pending.retain(|pending| pending.asker.node != asker.node || pending.epoch > epoch);
        let Some(promise) = slot.promise.filter(|promise| promise.epoch == epoch && asker.is(promise)) else {
            return;
        };
        slot.promise = None;
        slot.freed = Some((asker.node, asker.instance, epoch));
        // A tenth of the term is many round trips for the successor, and little to lose if it never comes.
        let left = promise.until.since(now).min(self.term_max) / 10;
        slot.next = next.map(|node| (node, now + left));
        if !mute {
            slot.settle(right, now, granted);
        }
    }

    /// The operator says that a node is dead and stays so: what was promised to it, or it waits for, is nobody's.
    pub fn fence(&mut self, right: &str, node: NodeId) {
        let Some(slot) = self.rights.get_mut(right) else { return };
        slot.promise = slot.promise.filter(|promise| promise.node != node);
        slot.next = slot.next.filter(|(next, _)| *next != node);
        slot.pending.retain(|pending| pending.asker.node != node);
    }

    /// Grants what has waited for a promise to run out; call it when `due` says so.
    pub fn expire(&mut self, now: Boot, granted: &mut Vec<Granted>) {
        if !self.mute(now).is_zero() {
            return;
        }
        self.mute_until = Boot::ZERO;
        for (right, slot) in &mut self.rights {
            slot.settle(right, now, granted);
        }
    }

    /// When something that is pending could be granted.
    #[must_use]
    pub fn due(&self) -> Option<Boot> {
        let waiting = self.rights.values().filter(|slot| !slot.pending.is_empty());
        waiting.map(|slot| slot.opens().max(self.mute_until)).min()
    }

    /// To whom a right is promised at `now`.
    #[must_use]
    pub fn promise(&self, right: &str, now: Boot) -> Option<Promise> {
        self.rights.get(right)?.promise.filter(|promise| promise.until > now)
    }

    /// The highest epoch that was granted for a right.
    #[must_use]
    pub fn highest(&self, right: &str) -> u64 {
        self.rights.get(right).map_or(self.floor, |slot| slot.highest)
    }

    /// For how much longer it says nothing.
    #[must_use]
    pub fn mute(&self, now: Boot) -> Duration {
        self.mute_until.since(now)
    }

    /// The list under which it answers, and the longest term that it grants; promises are kept.
    pub fn set(&mut self, mark: Mark, term_max: Duration) {
        self.mark = mark;
        self.term_max = term_max;
    }

    /// The nodes have new numbers; the promise of a node that has left runs on.
    pub fn renumber(&mut self, new: impl Fn(NodeId) -> Option<NodeId>) {
        for slot in self.rights.values_mut() {
            if let Some(promise) = &mut slot.promise {
                promise.node = new(promise.node).unwrap_or(LEFT);
            }
            slot.freed = slot.freed.and_then(|(node, instance, epoch)| Some((new(node)?, instance, epoch)));
            slot.next = slot.next.and_then(|(node, until)| Some((new(node)?, until)));
            slot.pending.retain_mut(|pending| match new(pending.asker.node) {
                Some(node) => {
                    pending.asker.node = node;
                    true
                }
                None => false,
            });
        }
    }

    /// Makes room for one more right, if need be by forgetting one that nobody has or waits for.
    fn has_room(&mut self, right: &str, now: Boot) -> bool {
        if right.is_empty() || right.len() > NAME_MAX {
            return false;
        }
        if self.rights.len() < RIGHTS_MAX || self.rights.contains_key(right) {
            return true;
        }
        let idle = self.rights.iter().find(|(_, slot)| slot.idle(now));
        let Some(idle) = idle.map(|(name, _)| name.clone()) else { return false };
        if let Some(forgotten) = self.rights.remove(&idle) {
            self.floor = self.floor.max(forgotten.highest);
        }
        true
    }
}

impl Asker {
    /// Whether a promise is this asker's own, or of the dead process whose heir it is.
    fn is(&self, promise: &Promise) -> bool {
        self.node == promise.node
            && (self.instance == promise.instance || self.heir_of == Some(promise.instance))
    }
}

impl Slot {
    fn judge<const WITHOUT: u8>(&self, asked: Pending, renewal: bool, now: Boot) -> Verdict {
        let (asker, epoch) = (asked.asker, asked.epoch);
        let fresh = epoch > self.highest;
        let stale = Verdict::Stale { epoch: self.highest };
        if let Some(promise) = self.promise {
            let again = asker.instance == promise.instance && epoch == promise.epoch;
            let may = asker.is(&promise) || WITHOUT == 3 && fresh;
            if !may {
                return Verdict::Held {
                    by: promise.node,
                    epoch: promise.epoch,
                    left: promise.until.since(now),
                };
            }
            return if again || fresh { Verdict::Granted { epoch } } else { stale };
        }
        if let Some((by, until)) = self.next.filter(|(by, _)| *by != asker.node) {
            return Verdict::Held { by, epoch: self.highest, left: until.since(now) };
        }
        // Who renews has a majority under its epoch: a rival's vote that was given back does not end that. What was given
        // back by itself does.
        let back = self.freed == Some((asker.node, asker.instance, epoch));
        if fresh || renewal && !back { Verdict::Granted { epoch } } else { stale }
    }

    /// Where promises last, a node's process is the heir of every earlier one: it started when they were dead and their
    /// addresses gone, and has no other way to give back what they had.
    fn heir(&self, asker: Asker) -> Asker {
        let own = self.promise.filter(|promise| promise.node == asker.node);
        Asker { heir_of: own.map(|promise| promise.instance).or(asker.heir_of), ..asker }
    }

    /// Promises it from now on; never for less than before.
    fn promise(&mut self, asked: Pending, epoch: u64, now: Boot) {
        let mut until = now + asked.term;
        if let Some(before) = self.promise.filter(|before| before.instance == asked.asker.instance) {
            until = until.max(before.until);
        }
        self.promise = Some(Promise { node: asked.asker.node, instance: asked.asker.instance, epoch, until });
        self.highest = self.highest.max(epoch);
        (self.freed, self.next) = (None, None);
        // Who waits under an epoch that is not above all hears so when it asks again.
        let highest = self.highest;
        self.pending.retain(|pending| pending.asker.node != asked.asker.node && pending.epoch > highest);
    }

    /// One pending request for each node, the newest, in the place of the first.
    fn keep(&mut self, asked: Pending) {
        if asked.epoch <= self.highest {
            return;
        }
        match self.pending.iter_mut().find(|pending| pending.asker.node == asked.asker.node) {
            Some(pending) => *pending = asked,
            None => self.pending.push(asked),
        }
    }

    /// What has run out is over, and who waits for it gets it.
    fn settle(&mut self, right: &str, now: Boot, granted: &mut Vec<Granted>) {
        self.promise = self.promise.filter(|promise| promise.until > now);
        self.pending.retain(|pending| pending.until > now);
        if self.promise.is_some() {
            return;
        }
        let named = self
            .next
            .and_then(|(next, _)| self.pending.iter().position(|pending| pending.asker.node == next));
        self.next = self.next.filter(|(_, until)| *until > now);
        if self.next.is_some() && named.is_none() {
            return;
        }
        let highest = self.highest;
        let able = named.filter(|at| self.pending[*at].epoch > highest);
        let Some(at) = able.or_else(|| self.pending.iter().position(|pending| pending.epoch > highest))
        else {
            // Who waits under an epoch that is not above all hears so when it asks again.
            self.pending.clear();
            return;
        };
        let asked = self.pending.remove(at);
        self.promise(asked, asked.epoch, now);
        granted.push(Granted {
            to: asked.asker.node,
            number: asked.number,
            right: right.to_owned(),
            epoch: asked.epoch,
        });
    }

    /// Whether nobody has it or waits for it.
    fn idle(&self, now: Boot) -> bool {
        self.promise.is_none_or(|promise| promise.until <= now)
            && self.pending.iter().all(|ask| ask.until <= now)
    }

    /// When it is nobody's any more.
    fn opens(&self) -> Boot {
        let promised = self.promise.map_or(Boot::ZERO, |promise| promise.until);
        promised.max(self.next.map_or(Boot::ZERO, |(_, until)| until))
    }
}

#[cfg(test)]
mod tests;
