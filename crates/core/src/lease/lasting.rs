//! Two nodes without a witness (guard `strict`): both promise, and a promise ends only when it is given back.
//!
//! Whoever holds is itself the memory: its own voter has promised the right to it for as long as it holds, and lives and
//! dies with it. So a voter that starts again has nothing to forget, and nobody is mute. What may be lost is a release;
//! a voter reminds the other of a promise that it seems not to use. docs/internals/leases.md has the argument.

use crate::lease::leases::Leases;
use crate::lease::right::Lasting;
use crate::lease::tend::Turn;
use crate::lease::{Answered, Effect, Ending, Outcome, Phase, Promised, Reply};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

/// Names no request: a reply with it only reminds.
const REMINDER: u64 = 0;

/// Why a right is not taken on an operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is a majority to ask.
    #[error("its promises end by themselves")]
    NotLasting,
    /// The right, or the node, is not there.
    #[error("there is no such right or node")]
    Unknown,
    /// The node that is said to be dead speaks.
    #[error("that node is heard")]
    Heard,
    /// It is held here.
    #[error("it is held here already")]
    Held,
    /// This node could not hold it.
    #[error("this node can't hold it")]
    Unable,
}

impl Leases {
    /// Takes a right of which the other node may be the holder: the operator vouches that it is dead, and stays so until it
    /// starts anew. Nothing here can know better, but that it is heard.
    pub fn take(&mut self, right: RightId, fenced: NodeId, now: Boot) -> Result<u64, NotTaken> {
        let at = right.index();
        if !self.lasting {
            return Err(NotTaken::NotLasting);
        }
        let other = fenced != self.me && fenced.index() < self.list.members.len();
        let Some(known) = self.rights.get(at).filter(|_| other) else { return Err(NotTaken::Unknown) };
        if known.ready().is_none() {
            return Err(NotTaken::Unable);
        }
        if known.claim.phase() == Phase::Held {
            return Err(NotTaken::Held);
        }
        self.judge(now);
        if self.reachable(fenced) {
            return Err(NotTaken::Heard);
        }
        let name = self.rights[at].name.clone();
        self.voter.fence(&name, fenced);
        self.begin(at, now);
        let right = &mut self.rights[at];
        right.forget(fenced);
        right.told = None;
        right.lasting = Lasting { vouched: true, ..Lasting::default() };
        let epoch = right.claim.epoch();
        let vouched = Promised { voter: fenced, epoch, stamped: now, hold: std::time::Duration::MAX };
        right.claim.promised(vouched, &self.list, now);
        self.request(&[at], now);
        self.run(now);
        Ok(epoch)
    }

    /// Whether a right that was given up would be taken by the other node, which has not done so yet: a process that is
    /// about to end stays to answer it.
    #[must_use]
    pub fn awaits_follower(&self) -> bool {
        let waits = |at: usize| {
            let right = &self.rights[at];
            let own = right.name.strip_prefix("node/").is_some();
            !own && right.acquired > 0 && right.holder().is_none() && self.best_peer(at).is_some()
        };
        self.lasting && (0..self.rights.len()).any(waits)
    }

    /// The right is ours for as long as we keep it; the gate has to be told so, again and again.
    pub(super) fn tend_lasting(&mut self, at: usize, now: Boot) -> Turn {
        if self.rights[at].leaving.is_none() {
            if let Some(epoch) = self.superseded(at) {
                self.leave(at, Ending::Superseded { epoch });
            } else if let Some(by) = self.preemptor(at, now).filter(|_| !self.rights[at].lasting.laid) {
                self.leave(at, Ending::Preempted { by });
            }
        }
        match self.rights[at].leaving {
            Some(Ending::Unrenewed | Ending::Superseded { .. }) => {
                if self.rights[at].lasting.laid {
                    self.hand_back(at, now);
                }
                return Turn::No;
            }
            Some(Ending::Preempted { .. }) | None => {}
        }
        if self.rights[at].lasting.laid && self.rights[at].ready().is_none() {
            if self.together() {
                self.hand_back(at, now);
            }
            return Turn::No;
        }
        self.doubts(at, now);
        if self.rights[at].seek.again > now {
            let again = self.rights[at].seek.again;
            self.rights[at].wake(again);
            return if again <= now + self.terms.renew() / 4 { Turn::Along } else { Turn::No };
        }
        self.keep_open(at, now);
        Turn::Now
    }

    /// A holder that slept past its gate, or comes back to an address that it had put down, asks first: an operator may have
    /// said meanwhile that it is dead. Who gets no answer in time keeps what it has.
    fn doubts(&mut self, at: usize, now: Boot) {
        let patience = self.round() + self.terms.beat();
        let lasting = &mut self.rights[at].lasting;
        if lasting.doubt.is_none() && (lasting.laid || now >= lasting.armed) && lasting.armed != Boot::ZERO {
            lasting.doubt = Some(now);
            self.rights[at].seek.again = now;
        }
        let Some(since) = self.rights[at].lasting.doubt else { return };
        if now >= since + patience {
            self.settle_doubt(at);
        } else {
            self.rights[at].wake(since + patience);
        }
    }

    fn settle_doubt(&mut self, at: usize) {
        let right = &mut self.rights[at];
        right.lasting.doubt = None;
        right.lasting.laid = false;
        // At once, and no later than the next turn.
        right.lasting.armed = Boot::NEVER;
        right.seek.again = Boot::ZERO;
    }

    fn keep_open(&mut self, at: usize, now: Boot) {
        let id = self.right_id(at);
        let until = now + self.terms.hold();
        let right = &mut self.rights[at];
        if right.lasting.doubt.is_some() {
            return;
        }
        right.lasting.armed = until;
        let epoch = right.claim.epoch();
        self.effects.push_back(Effect::Held { right: id, epoch, until });
    }

    /// The other says that the right is ours, and was asked after the doubt began.
    pub(super) fn undoubt(&mut self, at: usize, promised: &Promised) {
        let right = &self.rights[at];
        let Some(since) = right.lasting.doubt else { return };
        let ours = promised.voter != self.me && promised.epoch == right.claim.epoch();
        if ours && promised.stamped >= since {
            self.settle_doubt(at);
        }
    }

    /// The address is gone. A right that the other node could not take now is kept: a lone holder keeps. So is one that was
    /// let go because this node was late, until the other has been asked.
    pub(super) fn keeps(&mut self, at: usize, now: Boot) -> bool {
        let together = self.together();
        let Some(right) = self.rights.get_mut(at).filter(|_| self.lasting) else { return false };
        let late = right.ready().is_some() && right.leaving.is_none() && now >= right.lasting.armed;
        let keeps = match right.leaving {
            Some(Ending::Superseded { .. }) => false,
            Some(Ending::Preempted { .. } | Ending::Unrenewed) | None => !together || late,
        };
        if !keeps || right.claim.phase() != Phase::Held {
            return false;
        }
        right.leaving = None;
        (right.lasting.laid, right.lasting.doubt) = (true, None);
        (right.seek.again, right.changed) = (now, true);
        self.beat_soon = true;
        true
    }

    /// Our voter has promised a right to the other node, which does not say that it holds it: its release may have been
    /// lost, or it has started again.
    pub(super) fn remind(&mut self, at: usize, now: Boot) {
        if !self.lasting {
            return;
        }
        let name = &self.rights[at].name;
        let promise = self.voter.promise(name, now).filter(|promise| promise.node != self.me);
        let Some(promise) = promise.filter(|promise| self.reachable(promise.node)) else { return };
        let Some(peer) = self.peers.get(promise.node.index()) else { return };
        let right = &self.rights[at];
        let uses = right.stands.get(promise.node.index()).is_some_and(|stand| stand.epoch == promise.epoch);
        if uses && peer.instance == Some(promise.instance) {
            return;
        }
        let next = right.lasting.reminded + self.terms.renew();
        if now < next {
            self.rights[at].wake(next);
            return;
        }
        let answered = Answered { right: name.clone(), outcome: Outcome::Granted { epoch: promise.epoch } };
        let again = now + self.terms.renew();
        self.rights[at].lasting.reminded = now;
        self.rights[at].wake(again);
        self.send(
            promise.node,
            crate::lease::Message::Reply(Reply { number: REMINDER, rights: vec![answered] }),
        );
    }

    /// The other reminds us of its promise: what is not asked for or held under that epoch it may have back.
    pub(super) fn hear_reminder(&mut self, voter: NodeId, reply: &Reply) {
        for answered in &reply.rights {
            let Outcome::Granted { epoch } = answered.outcome else { continue };
            let claim = self.names.get(&answered.right).map(|at| &self.rights[*at].claim);
            let used = claim.is_some_and(|claim| claim.phase() != Phase::Idle && claim.epoch() == epoch);
            if !used {
                self.not_wanted(voter, &answered.right, epoch);
            }
        }
    }
}
