//! The leases of one node: its own voter and its claims to every right that it could hold.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::lease::peer::Peer;
use crate::lease::right::Right;
use crate::lease::{
    Asker, Counters, Effect, Freed, Input, Letter, Mark, Message, NAME_MAX, Notice, RIGHTS_MAX, Stance,
    Terms, Voter, VoterList,
};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

/// Answers to ourselves are worked off at once; more rounds than this in one input wait for the next.
const OWN_ROUNDS: usize = 8;

/// What a node's leases begin with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node, in the list.
    pub me: NodeId,
    /// Who votes: of at most `MEMBERS_MAX` members.
    pub list: VoterList,
    /// The times.
    pub terms: Terms,
    /// What else must be the same everywhere (`VoterList::mark`).
    pub salt: u64,
    /// Drawn for this process.
    pub instance: u64,
    /// The process before it on this host, when it is certain that it is dead and its addresses are gone.
    pub heir_of: Option<u64>,
    /// No epoch is below that: the wall clock at the start, in milliseconds, so that epochs rise even when all voters have
    /// started again.
    pub epoch_floor: u64,
    /// Our voter can have made no promise that it has forgotten, so it need not be mute (rule 4).
    pub remembers: bool,
    /// Promises end only when they are given back (guard `strict`). The list must have two voters, who are all of it.
    pub lasting: bool,
}

/// The machine: `handle`, `poll_timeout`, `poll_effect`.
#[derive(Clone, Debug)]
pub struct Leases {
    pub(super) me: NodeId,
    pub(super) list: VoterList,
    pub(super) terms: Terms,
    pub(super) salt: u64,
    pub(super) mark: Mark,
    pub(super) instance: u64,
    pub(super) heir_of: Option<u64>,
    pub(super) epoch_floor: u64,
    pub(super) started: Boot,
    pub(super) voter: Voter,
    pub(super) rights: Vec<Right>,
    pub(super) names: BTreeMap<String, usize>,
    pub(super) peers: Vec<Peer>,
    /// When each request that may still be answered was stamped, and how long its grants may be relied on.
    pub(super) stamps: VecDeque<Stamp>,
    pub(super) number: u64,
    pub(super) beat_number: u64,
    pub(super) beat_at: Boot,
    pub(super) beat_last: Option<Boot>,
    pub(super) beat_soon: bool,
    pub(super) beat_from: usize,
    /// What this node says to itself.
    pub(super) own: VecDeque<Message>,
    pub(super) effects: VecDeque<Effect>,
    pub(super) due: Option<Boot>,
    /// Nobody is judged before: we were late ourselves.
    pub(super) pardon_until: Boot,
    /// Nothing is asked for before: we have just started.
    pub(super) listen_until: Boot,
    pub(super) quorum: Option<bool>,
    /// Since when a majority is known to have the list in force.
    pub(super) settled: Option<Boot>,
    pub(super) counters: Counters,
    /// Promises end only when they are given back.
    pub(super) lasting: bool,
}

/// One request that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) number: u64,
    pub(super) at: Boot,
    pub(super) hold: Duration,
}

impl Leases {
    /// A node's leases at the start of its process. Rights beyond `RIGHTS_MAX` or with longer names than `NAME_MAX` are
    /// left out.
    #[must_use]
    pub fn new(setup: Setup, rights: Vec<String>, now: Boot) -> Self {
        let Setup { me, list, terms, salt, instance, heir_of, epoch_floor, remembers, lasting } = setup;
        // Of more than two voters a majority could forget; then promises end, and a restarted voter is mute.
        let lasting = lasting && list.members.len() == 2 && list.voters().count() == 2;
        let mark = list.mark(salt);
        let mute = if remembers || lasting { Duration::ZERO } else { terms.mute() };
        let members = list.members.len();
        let voter = Voter::new(mark, terms.term_max, now + mute).above(epoch_floor);
        let voter = if lasting { voter.lasting() } else { voter };
        let mut leases = Self {
            me,
            terms,
            salt,
            mark,
            instance,
            heir_of,
            epoch_floor,
            started: now,
            voter,
            rights: Vec::new(),
            names: BTreeMap::new(),
            peers: vec![Peer::default(); members],
            stamps: VecDeque::new(),
            // A reply to the process before us names no request of ours.
            number: instance >> 2,
            beat_number: 0,
            beat_at: now,
            beat_last: None,
            beat_soon: true,
            beat_from: 0,
            own: VecDeque::new(),
            effects: VecDeque::new(),
            due: Some(now),
            pardon_until: now,
            listen_until: now,
            quorum: None,
            settled: None,
            counters: Counters::default(),
            lasting,
            list,
        };
        // The heir of a holder goes on with what it had: it only learns who is there.
        leases.listen_until = now + if heir_of.is_some() { terms.beat() } else { leases.round() };
        if !mute.is_zero() && leases.votes() {
            leases.notice(Notice::Mute(mute));
        }
        leases.set_rights(rights, now);
        leases
    }

    /// One change in the world. Drain the effects before the next.
    pub fn handle(&mut self, input: Input<'_>, now: Boot) {
        if self.due.is_some_and(|due| now > due + self.terms.beat()) {
            self.pardon_until = now + self.terms.beat();
            self.counters.late += 1;
        }
        match input {
            Input::Heard { from, letter } => self.hear(from, letter, now),
            Input::Stance { right, stance } => self.stance(right, stance),
            Input::Gone { right } => self.gone(right, now),
            Input::Successor { right, next } => {
                let known = next != self.me && next.index() < self.list.members.len();
                if let Some(right) = self.rights.get_mut(right.index()) {
                    right.successor = known.then_some(next);
                }
            }
            Input::List(list) => self.hear_list(list, now),
            Input::Tick => {}
        }
        self.run(now);
    }

    /// When the machine wants its next `Input::Tick` at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        self.due
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Puts messages for one peer into an envelope.
    #[must_use]
    pub fn letter(&self, messages: Vec<Message>) -> Letter {
        Letter { instance: self.instance, heir_of: self.heir_of, mark: self.mark, messages }
    }

    /// The rights that this node knows of, after a reload: those that it knew keep their state under a new number. Say
    /// `Gone` first of a right that is held and falls away: otherwise it is left to run out. Drain the effects before.
    pub fn set_rights(&mut self, rights: Vec<String>, now: Boot) {
        let mut known: BTreeMap<String, Right> =
            self.rights.drain(..).map(|right| (right.name.clone(), right)).collect();
        self.names.clear();
        for name in rights {
            let fits = !name.is_empty() && name.len() <= NAME_MAX && self.rights.len() < RIGHTS_MAX;
            if !fits || self.names.contains_key(&name) {
                continue;
            }
            self.names.insert(name.clone(), self.rights.len());
            let right = known.remove(&name);
            self.rights.push(right.unwrap_or_else(|| Right::new(name, self.list.members.len())));
        }
        for mut right in known.into_values() {
            if (right.claim.until().is_none() || right.lasting.laid)
                && let Some(epoch) = right.claim.free()
            {
                self.send_free(&Freed { right: right.name, epoch, next: None });
            }
        }
        self.beat_soon = true;
        self.due = Some(self.due.map_or(now, |due| due.min(now)));
    }

    /// Other times, after a reload, with the salt that they make. Requests that are out keep the times that they were sent
    /// with. A lower `term_max` must not come into force anywhere before the higher one has passed since the last
    /// grant under it.
    pub fn set_terms(&mut self, terms: Terms, salt: u64, now: Boot) {
        (self.terms, self.salt, self.mark) = (terms, salt, self.list.mark(salt));
        self.voter.set(self.mark, terms.term_max);
        self.settled = None;
        self.beat_soon = true;
        self.due = Some(self.due.map_or(now, |due| due.min(now)));
    }

    /// Looks a right up by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<RightId> {
        self.names.get(name).and_then(|at| u32::try_from(*at).ok()).map(RightId)
    }

    /// The rights that are held at `now`, with their epochs and ends.
    pub fn held(&self, now: Boot) -> impl Iterator<Item = (RightId, u64, Boot)> + '_ {
        (0..).map(RightId).zip(&self.rights).filter_map(move |(id, right)| {
            let until = right.claim.until().filter(|until| *until > now)?;
            Some((id, right.claim.epoch(), until))
        })
    }

    /// This node in the list in force.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The mark of the list in force.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The list in force.
    #[must_use]
    pub fn list(&self) -> &VoterList {
        &self.list
    }

    /// The times in force.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Everything that follows from an input, and from time.
    pub(super) fn run(&mut self, now: Boot) {
        self.stamps.retain(|stamp| stamp.at + stamp.hold > now);
        self.vote_on_time(now);
        for _ in 0..OWN_ROUNDS {
            self.hear_self(now);
            self.judge(now);
            self.settle(now);
            self.tend(now);
            if self.own.is_empty() {
                break;
            }
        }
        self.beat(now);
        self.due = self.next_due(now);
    }

    fn next_due(&self, now: Boot) -> Option<Boot> {
        let silent = (0..self.peers.len()).filter_map(|node| self.silent_at(node));
        let rights = self.rights.iter().filter_map(|right| right.due);
        let voter = self.voter.due().filter(|_| self.votes());
        let listen = self.quorum.is_none().then_some(self.listen_until).filter(|at| *at > now);
        let more = (!self.own.is_empty()).then_some(now);
        silent.chain(rights).chain(voter).chain(listen).chain(more).chain([self.beat_due()]).min()
    }

    /// What this node says to itself: its requests to its own voter, and the answers.
    fn hear_self(&mut self, now: Boot) {
        for _ in 0..self.own.len() {
            match self.own.pop_front() {
                Some(Message::Request(request)) => self.answer(self.myself(), self.mark, &request, now),
                Some(Message::Reply(reply)) => self.hear_reply(self.me, &reply, now),
                Some(Message::Free(freed)) => {
                    for freed in &freed {
                        self.hear_free(self.myself(), freed, now);
                    }
                }
                Some(Message::Beat(_) | Message::List(_) | Message::Sights(_)) | None => {}
            }
        }
    }

    fn stance(&mut self, right: RightId, stance: Stance) {
        let Some(right) = self.rights.get_mut(right.index()) else { return };
        if right.stance != stance {
            (right.stance, right.changed) = (stance, true);
            self.beat_soon = true;
        }
    }

    pub(super) fn myself(&self) -> Asker {
        Asker { node: self.me, instance: self.instance, heir_of: self.heir_of }
    }

    /// Whether our own promises count.
    pub(super) fn votes(&self) -> bool {
        self.list.members.get(self.me.index()).is_some_and(|member| member.votes)
    }

    pub(super) fn node(&self, index: usize) -> NodeId {
        NodeId(u32::try_from(index).unwrap_or(u32::MAX))
    }
}
