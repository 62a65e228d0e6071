//! What a node says: beats, requests, releases; each message fits a datagram.

use crate::lease::leases::{Leases, Stamp};
use crate::lease::{Answered, Asked, Beat, Effect, Freed, Message, Outcome, Phase, Reply, Request, Standing};
use crate::name::NodeId;
use crate::time::Boot;

/// How many bytes the rights of a message may take; with the envelope it stays below the smallest MTU that is met.
const BYTES_MAX: usize = 1_000;

/// What a right takes beside its name, by any encoding that is not wasteful.
const RIGHT_BYTES: usize = 24;

/// A beat names so many messages' worth of rights; the rest come in the next.
const BEAT_MESSAGES: usize = 8;

/// Requests that may still be answered.
const STAMPS_MAX: usize = 4_096;

impl Leases {
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        if to == self.me {
            self.own.push_back(message);
        } else {
            self.effects.push_back(Effect::Send { to, message });
        }
    }

    /// Asks for these rights, or renews them, in as few messages as they fit in. Rule 1: stamped before it is sent.
    pub(super) fn request(&mut self, rights: &[usize], now: Boot) {
        let asked = rights.iter().map(|at| {
            let right = &self.rights[*at];
            let renewal = right.claim.phase() == Phase::Held;
            Asked { right: right.name.clone(), epoch: right.claim.epoch(), renewal }
        });
        let parts = parts(asked.collect(), |asked| asked.right.len());
        for rights in parts {
            self.number = self.number.wrapping_add(1);
            self.counters.requests += 1;
            if self.stamps.len() >= STAMPS_MAX {
                self.stamps.pop_front();
            }
            self.stamps.push_back(Stamp { number: self.number, at: now, hold: self.terms.hold() });
            let request = Request { number: self.number, term: self.terms.term, rights };
            for voter in self.list.voters().collect::<Vec<_>>() {
                self.send(voter, Message::Request(request.clone()));
            }
        }
        for at in rights {
            self.asked(*at, now);
        }
    }

    pub(super) fn reply(&mut self, to: NodeId, number: u64, rights: Vec<Answered>) {
        let size = |answered: &Answered| match &answered.outcome {
            Outcome::Held { by, .. } => answered.right.len() + by.len(),
            Outcome::Granted { .. } | Outcome::Stale { .. } | Outcome::Mute { .. } => answered.right.len(),
            Outcome::Mismatch { .. } | Outcome::Full => answered.right.len(),
        };
        for rights in parts(rights, size) {
            self.send(to, Message::Reply(Reply { number, rights }));
        }
    }

    /// Tells everybody: the voters promise it no more, the others know.
    pub(super) fn send_free(&mut self, freed: &Freed) {
        for node in self.peers_of_list().chain([self.me]) {
            self.send(node, Message::Free(vec![freed.clone()]));
        }
    }

    pub(super) fn send_list(&mut self, to: NodeId) {
        self.send(to, Message::List(self.list.clone()));
    }

    /// Says that this node is there, on time, and soon after something has changed.
    pub(super) fn beat(&mut self, now: Boot) {
        if now < self.beat_due() {
            return;
        }
        let standings = self.standings(now);
        let mut parts = parts(standings, |standing| standing.right.len());
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        for rights in parts {
            self.beat_number = self.beat_number.wrapping_add(1);
            let beat = Beat { number: self.beat_number, rights };
            for node in self.peers_of_list() {
                self.send(node, Message::Beat(beat.clone()));
            }
        }
        (self.beat_soon, self.beat_last) = (self.rights.iter().any(|right| right.changed), Some(now));
        self.beat_at = now + self.terms.beat();
    }

    pub(super) fn beat_due(&self) -> Boot {
        match self.beat_last {
            Some(last) if self.beat_soon => self.beat_at.min(last + self.terms.beat() / 5),
            None | Some(_) => self.beat_at,
        }
    }

    /// Where this node stands: first what has changed, then the others in turn.
    fn standings(&mut self, now: Boot) -> Vec<Standing> {
        let total = self.rights.len();
        if total == 0 {
            return Vec::new();
        }
        let changed = (0..total).filter(|at| self.rights[*at].changed);
        let turn =
            (0..total).map(|step| (self.beat_from + step) % total).filter(|at| !self.rights[*at].changed);
        let mut room = BYTES_MAX.saturating_mul(BEAT_MESSAGES);
        let mut named = Vec::new();
        for at in changed.chain(turn) {
            let bytes = self.rights[at].name.len() + RIGHT_BYTES;
            // Each message may end with a gap that the next name did not fit in.
            if bytes * 2 > room {
                break;
            }
            room -= bytes;
            named.push(at);
        }
        self.beat_from = named.last().map_or(0, |at| (at + 1) % total);
        named.into_iter().map(|at| self.standing(at, now)).collect()
    }

    fn standing(&mut self, at: usize, now: Boot) -> Standing {
        let quorum = self.quorum != Some(false);
        let may_hold = self.may_hold(self.me);
        // Whoever lets go for us must not wait until we have listened.
        let listens = now < self.listen_until;
        let right = &mut self.rights[at];
        right.changed = false;
        let ready = right.ready().filter(|_| quorum && may_hold && right.leaving.is_none());
        let (priority, preempts) = ready.unwrap_or_default();
        let epoch = if right.claim.live(now) { right.claim.epoch() } else { 0 };
        Standing {
            right: right.name.clone(),
            epoch,
            ready: ready.is_some(),
            preempts: preempts && !listens,
            priority,
        }
    }
}

/// Splits a list into messages.
fn parts<T>(all: Vec<T>, name: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for one in all {
        let bytes = name(&one) + RIGHT_BYTES;
        match parts.last_mut() {
            Some(part) if bytes <= room => part.push(one),
            Some(_) | None => {
                parts.push(vec![one]);
                room = BYTES_MAX;
            }
        }
        room = room.saturating_sub(bytes);
    }
    parts
}
