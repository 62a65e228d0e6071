//! What a node hears: letters of its peers, and its own voter.

use std::time::Duration;

use crate::lease::leases::Leases;
use crate::lease::{
    Answered, Asked, Asker, Asking, Beat, Counted, Freed, Granted, HolderView, Letter, Mark, Message, Notice,
    Outcome, Phase, Promised, Reply, Request, Said, Verdict,
};
use crate::name::NodeId;
use crate::time::Boot;

impl Leases {
    pub(super) fn hear(&mut self, from: NodeId, letter: &Letter, now: Boot) {
        if from == self.me || from.index() >= self.list.members.len() {
            self.counters.strangers += 1;
            return;
        }
        if self.lasting && self.peers[from.index()].is_former(letter.instance) {
            // It is dead, and what it said was overtaken by its successor.
            self.counters.rejected += 1;
            return;
        }
        self.counters.heard += 1;
        self.note(from, letter, now);
        let asker = Asker { node: from, instance: letter.instance, heir_of: letter.heir_of };
        for message in &letter.messages {
            match message {
                Message::Beat(beat) => self.hear_beat(from, beat, now),
                Message::Request(request) => self.answer(asker, letter.mark, request, now),
                Message::Reply(reply) => self.hear_reply(from, reply, now),
                Message::Free(freed) => {
                    for freed in freed {
                        self.hear_free(asker, freed, now);
                    }
                }
                // Arbitration's.
                Message::Sights(_) => {}
                Message::List(list) => {
                    self.hear_list(list, now);
                    // The nodes may have new numbers: what follows in this letter comes again.
                    return;
                }
            }
        }
    }

    fn hear_beat(&mut self, from: NodeId, beat: &Beat, now: Boot) {
        let peer = &mut self.peers[from.index()];
        if peer.beat.is_some_and(|newest| beat.number <= newest) {
            self.counters.rejected += 1;
            return;
        }
        peer.beat = Some(beat.number);
        for standing in &beat.rights {
            if let Some(at) = self.names.get(&standing.right) {
                self.rights[*at].stand(from, standing, now);
            }
        }
    }

    /// Our voter's answer to a request.
    pub(super) fn answer(&mut self, asker: Asker, mark: Mark, request: &Request, now: Boot) {
        if !self.votes() {
            return;
        }
        let asking = Asking { mark, number: request.number, term: request.term };
        let (mut answers, mut granted) = (Vec::new(), Vec::new());
        for asked in &request.rights {
            let verdict = self.voter.ask(asker, asking, asked, now, &mut granted);
            answers.push(self.answered(asked, verdict));
        }
        self.reply_later(granted);
        self.reply(asker.node, request.number, answers);
    }

    fn answered(&mut self, asked: &Asked, verdict: Verdict) -> Answered {
        let outcome = match verdict {
            Verdict::Granted { epoch } => Outcome::Granted { epoch },
            Verdict::Held { by, epoch, left } => {
                Outcome::Held { by: self.list.name(by).to_owned(), epoch, left }
            }
            Verdict::Stale { epoch } => Outcome::Stale { epoch },
            Verdict::Mute { left } => Outcome::Mute { left },
            Verdict::Mismatch => Outcome::Mismatch { mark: self.mark, term_max: self.terms.term_max },
            Verdict::Full => Outcome::Full,
        };
        if !matches!(outcome, Outcome::Granted { .. }) {
            self.counters.denied += 1;
        }
        Answered { right: asked.right.clone(), outcome }
    }

    /// Pending requests that our voter grants because time has passed.
    pub(super) fn vote_on_time(&mut self, now: Boot) {
        if self.voter.due().is_none_or(|due| due > now) {
            return;
        }
        let mut granted = Vec::new();
        self.voter.expire(now, &mut granted);
        self.reply_later(granted);
    }

    fn reply_later(&mut self, granted: Vec<Granted>) {
        for Granted { to, number, right, epoch } in granted {
            self.reply(to, number, vec![Answered { right, outcome: Outcome::Granted { epoch } }]);
        }
    }

    pub(super) fn hear_free(&mut self, asker: Asker, freed: &Freed, now: Boot) {
        let next = freed.next.as_deref().and_then(|next| self.list.find(next));
        if self.votes() {
            let mut granted = Vec::new();
            self.voter.free(asker, &freed.right, freed.epoch, next, now, &mut granted);
            self.reply_later(granted);
        }
        let Some(at) = self.names.get(&freed.right).copied().filter(|_| asker.node != self.me) else {
            return;
        };
        let (me, fifth) = (self.me, self.terms.term / 5);
        let right = &mut self.rights[at];
        right.highest = right.highest.max(freed.epoch);
        right.told = right.told.filter(|told| told.node != asker.node);
        if let Some(stand) = right.stands.get_mut(asker.node.index()) {
            stand.freed = stand.freed.max(freed.epoch);
            if stand.epoch != 0 && stand.epoch <= freed.epoch {
                // It has held it, and no longer can or will: its next beat says which. Whoever gives promises back that were
                // too few goes on wanting it.
                (stand.epoch, stand.let_go, stand.ready) = (0, now, false);
            }
        }
        match next {
            Some(next) if next == me => right.seek.named_until = now + fifth,
            Some(_) => right.back_off(now, fifth),
            None => {}
        }
        self.freed_for_all(at, freed, now);
    }

    /// Somebody has let go of what we ask for, perhaps a rival: above its epoch we may have it at once.
    fn freed_for_all(&mut self, at: usize, freed: &Freed, now: Boot) {
        let right = &mut self.rights[at];
        if freed.next.is_some() || right.claim.phase() != Phase::Asking {
            return;
        }
        right.seek.renewed = false;
        self.known(at, freed.epoch, now);
    }

    pub(super) fn hear_reply(&mut self, voter: NodeId, reply: &Reply, now: Boot) {
        let stamp = self.stamps.binary_search_by_key(&reply.number, |stamp| stamp.number).ok();
        // A reply to a request that is too old to count, or of the process before us, says nothing any more.
        let Some(stamp) = stamp.and_then(|at| self.stamps.get(at)).copied() else {
            if self.lasting {
                self.hear_reminder(voter, reply);
            }
            self.counters.rejected += 1;
            return;
        };
        for answered in &reply.rights {
            let Some(at) = self.names.get(&answered.right).copied() else {
                if let Outcome::Granted { epoch } = answered.outcome {
                    self.not_wanted(voter, &answered.right, epoch);
                }
                continue;
            };
            match &answered.outcome {
                Outcome::Granted { epoch } => {
                    self.rights[at].hear(voter, Said::Granted, now);
                    let hold = if self.lasting { Duration::MAX } else { stamp.hold };
                    let promised = Promised { voter, epoch: *epoch, stamped: stamp.at, hold };
                    self.undoubt(at, &promised);
                    self.promised(at, promised, now);
                }
                refused => self.refused(at, (voter, stamp.at), refused, now),
            }
        }
    }

    fn promised(&mut self, at: usize, promised: Promised, now: Boot) {
        let tenth = self.terms.term / 10;
        let right = &mut self.rights[at];
        let first = right.claim.phase() == Phase::Asking;
        if first && promised.epoch == right.claim.epoch() && promised.stamped + promised.hold < now + tenth {
            // The answer to an old request: what it gives would be left again before it is renewed.
            right.seek.again = now;
            return;
        }
        match right.claim.promised(promised, &self.list, now) {
            Counted::Until(until) => self.got(at, first, until, now),
            Counted::Kept => {}
            Counted::Stray => {
                let name = right.name.clone();
                self.not_wanted(promised.voter, &name, promised.epoch);
            }
        }
    }

    /// A voter has promised what is not asked for any more: it may give it to others.
    pub(super) fn not_wanted(&mut self, voter: NodeId, right: &str, epoch: u64) {
        self.send(voter, Message::Free(vec![Freed { right: right.to_owned(), epoch, next: None }]));
    }

    /// A voter has refused what it was asked at a moment.
    fn refused(&mut self, at: usize, (voter, asked): (NodeId, Boot), outcome: &Outcome, now: Boot) {
        self.counters.refused += 1;
        self.rights[at].refused += 1;
        match outcome {
            Outcome::Granted { .. } => {}
            Outcome::Held { by, epoch, left } => {
                let node = self.list.find(by);
                self.rights[at].hear(voter, Said::Held { by: node, left: *left }, now);
                if node == Some(self.me) {
                    self.twin(at, voter, (asked + *left, now + *left), now);
                }
                let fresh = *left > self.terms.term / 4 * 3;
                let right = &mut self.rights[at];
                right.seek.renewed = fresh;
                right.told = node.map(|node| HolderView { node, epoch: *epoch, heard: now });
                self.known(at, *epoch, now);
            }
            Outcome::Stale { epoch } => {
                self.rights[at].hear(voter, Said::Stale, now);
                self.known(at, *epoch, now);
            }
            Outcome::Mute { left } => {
                self.rights[at].hear(voter, Said::Mute, now);
                if let Some(peer) = self.peers.get_mut(voter.index()) {
                    peer.mute_until = now + (*left).min(self.terms.mute());
                }
            }
            Outcome::Mismatch { .. } => self.rights[at].hear(voter, Said::Mismatch, now),
            Outcome::Full => self.rights[at].hear(voter, Said::Full, now),
        }
    }

    /// An epoch that was granted somewhere; what is asked for has to be above it.
    fn known(&mut self, at: usize, epoch: u64, now: Boot) {
        let right = &mut self.rights[at];
        right.highest = right.highest.max(epoch);
        if right.claim.phase() == Phase::Asking && epoch >= right.claim.epoch() {
            self.raise(at, now);
        }
    }

    /// The right to our own node id is promised to another process of our name, until a moment between two: if that moves on
    /// with one and the same voter, the process is alive. Of one that is dead voters only tell differently.
    fn twin(&mut self, at: usize, voter: NodeId, (soonest, latest): (Boot, Boot), now: Boot) {
        let id = self.right_id(at);
        let tenth = self.terms.term / 10;
        let own = self.rights[at].name.strip_prefix("node/") == Some(self.list.name(self.me));
        if !own {
            return;
        }
        // A store says no beats, and not how old a promise is: who looks anew takes it for a new one, so once is no proof. And
        // while it is late to forget a promise there is always a little left.
        let beats = self.peers.get(voter.index()).is_some_and(|peer| peer.beat.is_some());
        let proof = if beats { 1 } else { 2 };
        let twins = &mut self.rights[at].twins;
        let (until, moves) = twins.entry(voter).or_insert((latest, 0));
        if latest <= now + tenth || soonest <= *until + tenth {
            return;
        }
        (*until, *moves) = (latest, *moves + 1);
        if *moves >= proof {
            twins.clear();
            self.notice(Notice::Duplicate { right: id });
        }
    }
}
