//! Who asks for a right, and when: the first in rank at once, each other a tenth of the term after the one before.

use crate::lease::leases::Leases;
use crate::lease::{Phase, Said};
use crate::name::NodeId;
use crate::time::Boot;

/// So many requests of an attempt follow each other quickly: one of them may be lost.
const QUICK_TRIES: u32 = 3;

impl Leases {
    /// When this node asks for a right; absent while it does not want it.
    pub(super) fn wants(&mut self, at: usize, now: Boot) -> Option<Boot> {
        let blocker = self.blocker(at, now);
        let rank = self.rank(at);
        let own_promise = self.own_promise(at, now);
        let (listen_until, tenth) = (self.listen_until, self.terms.term / 10);
        let may_hold = self.may_hold(self.me);
        let apart = self.lasting && !self.together();
        let right = &mut self.rights[at];
        let Some((priority, preempts)) = right.ready().filter(|_| may_hold) else {
            right.seek.free_since = None;
            return None;
        };
        if right.lasting.vouched {
            return Some(now);
        }
        if apart {
            // One promise of two is nothing to ask for: a lone backup never takes over.
            right.seek.free_since = None;
            return None;
        }
        let named = right.seek.named_until > now;
        if named {
            return Some(listen_until);
        }
        if let Some(by) = blocker {
            right.seek.free_since = None;
            if let Some((_, until)) = own_promise {
                right.wake(until);
            }
            let stand = right.stands.get(by.index()).copied().unwrap_or_default();
            // Voters keep the request until the holder has let go.
            let soon = stand.epoch > 0 && (!stand.ready || preempts && stand.priority < priority);
            return (soon && rank == 0).then_some(listen_until.max(right.seek.backoff));
        }
        let since = *right.seek.free_since.get_or_insert(now);
        let turn = since + tenth.saturating_mul(rank);
        Some(turn.max(right.seek.backoff).max(listen_until))
    }

    /// Starts to ask, under an epoch above all that are known (rule 7).
    pub(super) fn begin(&mut self, at: usize, now: Boot) {
        let epoch = self.next_epoch(at, now);
        let right = &mut self.rights[at];
        right.claim.ask(epoch);
        let seek = &mut right.seek;
        (seek.asks_at, seek.some_since, seek.renewed, seek.raised) = (None, None, false, None);
        (seek.tries, seek.again, seek.began) = (0, now, now);
    }

    /// Somebody knows a higher epoch: asks again above it.
    pub(super) fn raise(&mut self, at: usize, now: Boot) {
        let epoch = self.next_epoch(at, now);
        let pause = self.terms.term / 20;
        let right = &mut self.rights[at];
        right.claim.ask(epoch);
        // At once the first time; a voter that always knows better must not make us ask without end.
        right.seek.again = right.seek.raised.map_or(now, |before| now.max(before + pause));
        right.seek.raised = Some(right.seek.again);
        right.seek.some_since = None;
    }

    /// A request has gone out: when the next one does.
    pub(super) fn asked(&mut self, at: usize, now: Boot) {
        let term = self.terms.term;
        let right = &mut self.rights[at];
        let began = right.seek.began;
        let refused = right
            .said
            .iter()
            .flatten()
            .any(|(said, when)| *when >= began && matches!(said, Said::Held { .. }));
        right.seek.tries = right.seek.tries.saturating_add(1);
        let wait = match right.claim.phase() {
            Phase::Asking if right.seek.renewed => term / 2,
            Phase::Asking if right.seek.tries <= QUICK_TRIES && !refused => term / 20,
            Phase::Held if self.lasting && right.lasting.doubt.is_none() => self.terms.renew(),
            // Until a majority has answered: then the next one is due a fifth of the term after the stamp.
            Phase::Held => term / 20,
            Phase::Asking | Phase::Idle | Phase::Ended => self.terms.renew(),
        };
        right.seek.again = now + wait;
        right.wake(now + wait);
    }

    /// Gives up promises that are too few, so that somebody else can have them (rule 3).
    pub(super) fn loses(&mut self, at: usize, now: Boot) -> bool {
        if self.rights[at].claim.count(now) == 0 {
            self.rights[at].seek.some_since = None;
            return false;
        }
        if self.rights[at].seek.named_until > now {
            // Who has given it up may stand in a voter's answer for a moment longer, and is no rival.
            let named_until = self.rights[at].seek.named_until;
            self.rights[at].wake(named_until);
            return false;
        }
        let rival = self.rival(at);
        let rank = self.rank(at);
        let (term, tenth) = (self.terms.term, self.terms.term / 10);
        let outranked = rival.is_some_and(|rival| self.outranks(at, rival));
        let since = *self.rights[at].seek.some_since.get_or_insert(now);
        let patience = if outranked { std::time::Duration::ZERO } else { term / 2 };
        if now < since + patience {
            self.rights[at].wake(since + patience);
            return false;
        }
        self.counters.split += 1;
        self.withdraw(at, now);
        let turn = tenth.saturating_mul(rank.saturating_add(1));
        let pause = if outranked { turn } else { turn + term / 4 };
        self.rights[at].back_off(now, pause);
        self.rights[at].wake(now + pause);
        true
    }

    /// Who has the right, or is about to, so that nobody needs to ask.
    fn blocker(&self, at: usize, now: Boot) -> Option<NodeId> {
        let right = &self.rights[at];
        let stands = (0..).map(NodeId).zip(&right.stands);
        let holders =
            stands.filter(|(node, stand)| *node != self.me && stand.epoch > 0 && self.reachable(*node));
        if let Some((node, _)) = holders.max_by_key(|(_, stand)| stand.epoch) {
            return Some(node);
        }
        let (by, _) = self.own_promise(at, now)?;
        // Two that ask at once: the second in rank stands back, the first goes on.
        let ahead = right.claim.phase() == Phase::Asking && !self.outranks(at, by);
        (!ahead).then_some(by)
    }

    /// To which live process of another node our own voter has promised the right.
    fn own_promise(&self, at: usize, now: Boot) -> Option<(NodeId, Boot)> {
        let promise =
            self.voter.promise(&self.rights[at].name, now).filter(|promise| promise.node != self.me)?;
        let peer = self.peers.get(promise.node.index())?;
        let alive = peer.reachable && peer.instance == Some(promise.instance);
        alive.then_some((promise.node, promise.until))
    }

    /// How many of those that are heard and ready come before us.
    fn rank(&self, at: usize) -> u32 {
        let before = self.peers_of_list().filter(|node| self.outranks(at, *node)).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Whether another node is heard, is ready, and comes before us.
    fn outranks(&self, at: usize, other: NodeId) -> bool {
        let right = &self.rights[at];
        let Some(stand) = right.stands.get(other.index()) else { return false };
        let able = other != self.me && stand.ready && self.reachable(other) && self.may_hold(other);
        let ours = right.ready().map_or(0, |(priority, _)| priority);
        able && (stand.priority > ours || stand.priority == ours && other < self.me)
    }

    /// To whom a voter has promised the right that we ask for, by the newest answer in this attempt.
    fn rival(&self, at: usize) -> Option<NodeId> {
        let right = &self.rights[at];
        let answers = right.said.iter().flatten().filter(|(_, when)| *when >= right.seek.began);
        let (said, _) =
            answers.filter(|(said, _)| matches!(said, Said::Held { .. })).max_by_key(|(_, when)| *when)?;
        match said {
            Said::Held { by, .. } => by.filter(|by| *by != self.me),
            Said::Granted | Said::Stale | Said::Mute | Said::Mismatch | Said::Full => None,
        }
    }

    /// The peer to which a right goes best.
    pub(super) fn best_peer(&self, at: usize) -> Option<NodeId> {
        self.best(at, |_| true).map(|(node, _)| node)
    }

    /// Of the peers that are heard and ready, and `fits`, the one of the highest priority, and the first of those.
    pub(super) fn best(&self, at: usize, fits: impl Fn(NodeId) -> bool) -> Option<(NodeId, u8)> {
        let right = &self.rights[at];
        let ready = self.peers_of_list().filter_map(|node| {
            let stand = right.stands.get(node.index())?;
            let able = stand.ready && self.reachable(node) && self.may_hold(node) && fits(node);
            able.then_some((node, stand.priority))
        });
        ready.max_by_key(|(node, priority)| (*priority, std::cmp::Reverse(*node)))
    }

    pub(super) fn may_hold(&self, node: NodeId) -> bool {
        self.list.members.get(node.index()).is_some_and(|member| member.holds)
    }

    /// All nodes but this one.
    pub(super) fn peers_of_list(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.me;
        (0..).map(NodeId).take(self.list.members.len()).filter(move |node| *node != me)
    }

    /// Above all that are known, and above what the wall clock would show had it not been set: a voter that has started
    /// again and forgotten what it granted takes nothing lower than its own start.
    fn next_epoch(&self, at: usize, now: Boot) -> u64 {
        let ran = u64::try_from(now.since(self.started).as_millis()).unwrap_or(0);
        let right = &self.rights[at];
        let known = right.highest.max(right.claim.epoch()).max(self.voter.highest(&right.name));
        known.max(self.epoch_floor.saturating_add(ran)).saturating_add(1)
    }
}
