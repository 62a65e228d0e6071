//! Two candidates, three voters, and a network that delays, reorders and loses whatever it likes.
//!
//! Voters and claims are the machines of `core::lease`. When a candidate asks, renews or lets go is left to the checker:
//! it may do so at any moment, so whatever `Leases` decides is one of the ways that are tried.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use mainstay_core::lease::{
    Asked, Asker, Asking, Claim, Counted, Granted, Mark, Member, Phase, Promised, Terms, Verdict, Voter,
    VoterList,
};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use stateright::{Model, Property};

pub(super) const VOTERS: usize = 3;
const CANDIDATES: usize = 2;
const TICK: Duration = Duration::from_secs(1);
const RIGHT: &str = "r";

/// How much of everything a run may have. The state space is finite, and all of it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// True time ends here.
    pub(super) ticks: u8,
    /// A packet that is not there after so many ticks is lost.
    pub(super) delay: u8,
    /// Acquisitions and renewals of each candidate.
    pub(super) asks: [u8; CANDIDATES],
    /// See `asks`.
    pub(super) renewals: [u8; CANDIDATES],
    /// Releases of each candidate, of a right or of a vote.
    pub(super) frees: [u8; CANDIDATES],
    /// Voters that start again and remember nothing.
    pub(super) restarts: u8,
    /// Ticks that a candidate's clock misses.
    pub(super) slow: u8,
    /// Processes of candidates that die and have an heir.
    pub(super) heirs: u8,
    /// Changes of the list of voters, from the first one to the last.
    pub(super) changes: u8,
}

pub(super) const NOTHING: Budget = Budget {
    ticks: 5,
    delay: 3,
    asks: [1, 1],
    renewals: [0, 0],
    frees: [0, 0],
    restarts: 0,
    slow: 0,
    heirs: 0,
    changes: 0,
};

/// The rules beside those that `WITHOUT` breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Margin {
    /// H as rule 1 has it.
    Kept,
    /// H = T.
    None,
    /// The next change of the list does not wait until the first list can't be counted by (rule 5).
    Impatient,
}

pub(super) struct Cluster<const WITHOUT: u8> {
    pub(super) budget: Budget,
    pub(super) margin: Margin,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State<const WITHOUT: u8> {
    now: u8,
    left: Left,
    candidates: Vec<Candidate<WITHOUT>>,
    voters: Vec<Column<WITHOUT>>,
    /// The newest list, and since when a majority of it is known to have it.
    list: u8,
    settled: Option<u8>,
}

/// What is left of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    restarts: u8,
    slow: u8,
    heirs: u8,
    changes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate<const WITHOUT: u8> {
    claim: Claim<WITHOUT>,
    instance: u64,
    /// Ticks that its clock has missed.
    lag: u8,
    list: u8,
    asks: u8,
    renewals: u8,
    frees: u8,
}

/// A voter and everything that is on its way to it and from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Column<const WITHOUT: u8> {
    voter: Voter<WITHOUT>,
    list: u8,
    flying: BTreeSet<Packet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Packet {
    Request { sent: u8, from: u8, instance: u64, list: u8, stamped: u8, epoch: u64, renewal: bool },
    Granted { sent: u8, to: u8, stamped: u8, epoch: u64 },
    Free { sent: u8, from: u8, instance: u64, epoch: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Tick,
    /// A tick that this candidate's clock misses.
    Slow(usize),
    Ask(usize),
    Renew(usize),
    /// The address is gone; or a vote is given back.
    Free(usize),
    Deliver(usize, Packet),
    Restart(usize),
    Heir(usize),
    /// The operator's next list, adopted by the candidate that is told of it.
    Change,
    /// A voter hears of the newest list.
    Adopt(usize),
    /// A candidate hears of the newest list.
    Learn(usize),
}

fn at(tick: u8) -> Boot {
    Boot::ZERO + TICK * u32::from(tick)
}

/// T = 3 ticks and rho = 1/5: H is 2 ticks, a restarted voter is mute for 4.5.
fn terms() -> Terms {
    Terms { term: TICK * 3, term_max: TICK * 3, drift_ppm: 200_000, gate_error: Duration::ZERO }
}

fn mark(list: u8) -> Mark {
    Mark { epoch: u32::from(list), hash: u64::from(list) }
}

fn node(candidate: usize) -> NodeId {
    NodeId(VOTERS as u32 + candidate as u32)
}

/// The lists: all three voters; or when lists change, one of them, two, three.
fn list(changes: u8, number: u8) -> VoterList {
    let voters = if changes == 0 { VOTERS } else { usize::from(number) };
    let member = |at: usize| Member { id: at.to_string(), votes: at < voters, holds: at >= VOTERS };
    VoterList { epoch: u32::from(number), members: (0..VOTERS + CANDIDATES).map(member).collect() }
}

impl<const WITHOUT: u8> Candidate<WITHOUT> {
    fn now(&self, now: u8) -> Boot {
        at(now - self.lag)
    }

    fn asker(&self, which: usize) -> Asker {
        let heir_of = self.instance.checked_sub(1);
        Asker { node: node(which), instance: self.instance, heir_of }
    }
}

impl<const WITHOUT: u8> Cluster<WITHOUT> {
    fn hold(&self) -> Duration {
        match self.margin {
            Margin::Kept | Margin::Impatient => terms().hold(),
            Margin::None => terms().term,
        }
    }

    fn act(&self, state: &mut State<WITHOUT>, act: Act) -> bool {
        match act {
            Act::Tick => state.tick(None),
            Act::Slow(which) => state.tick(Some(which)),
            Act::Ask(which) => {
                state.candidates[which].asks += 1;
                let highest =
                    state.voters.iter().map(|column| column.voter.highest(RIGHT)).max().unwrap_or(0);
                let epoch = highest.max(state.candidates[which].claim.epoch()) + 1;
                state.candidates[which].claim.ask(epoch);
                state.request(which, false, self.budget.changes);
            }
            Act::Renew(which) => {
                state.candidates[which].renewals += 1;
                state.request(which, true, self.budget.changes);
            }
            Act::Free(which) => state.free(which),
            Act::Deliver(voter, packet) => return self.deliver(state, voter, packet),
            Act::Restart(voter) => {
                state.left.restarts -= 1;
                let column = &mut state.voters[voter];
                column.voter =
                    Voter::new(mark(column.list), terms().term_max, at(state.now) + terms().mute());
            }
            Act::Heir(which) => {
                state.left.heirs -= 1;
                let candidate = &mut state.candidates[which];
                (candidate.claim, candidate.instance) = (Claim::default(), candidate.instance + 1);
            }
            Act::Change => {
                state.left.changes -= 1;
                state.list += 1;
                state.settled = None;
                state.settle(self.budget.changes);
            }
            Act::Adopt(voter) => {
                let newest = state.list;
                let column = &mut state.voters[voter];
                column.list = newest;
                column.voter.set(mark(newest), terms().term_max);
                state.settle(self.budget.changes);
            }
            Act::Learn(which) => state.candidates[which].list = state.list,
        }
        true
    }

    /// A packet arrives; says whether anything has changed beside that.
    fn deliver(&self, state: &mut State<WITHOUT>, voter: usize, packet: Packet) -> bool {
        let now = at(state.now);
        let column = &mut state.voters[voter];
        column.flying.remove(&packet);
        let before = column.voter.clone();
        let mut granted = vec![];
        match packet {
            Packet::Request { from, instance, list, stamped, epoch, renewal, .. } => {
                let asker =
                    Asker { node: node(usize::from(from)), instance, heir_of: instance.checked_sub(1) };
                let asking = Asking { mark: mark(list), number: u64::from(stamped), term: terms().term };
                let asked = Asked { right: RIGHT.into(), epoch, renewal };
                match column.voter.ask(asker, asking, &asked, now, &mut granted) {
                    Verdict::Granted { epoch } => {
                        column.flying.insert(Packet::Granted { sent: state.now, to: from, stamped, epoch });
                    }
                    Verdict::Held { .. } | Verdict::Stale { .. } | Verdict::Mute { .. } => {}
                    Verdict::Mismatch | Verdict::Full => {}
                }
            }
            Packet::Free { from, instance, epoch, .. } => {
                let asker =
                    Asker { node: node(usize::from(from)), instance, heir_of: instance.checked_sub(1) };
                column.voter.free(asker, RIGHT, epoch, None, now, &mut granted);
            }
            Packet::Granted { to, stamped, epoch, .. } => {
                let candidate = &mut state.candidates[usize::from(to)];
                let (local, voter) = (candidate.now(state.now), NodeId(voter as u32));
                let promised = Promised { voter, epoch, stamped: at(stamped), hold: self.hold() };
                let list = list(self.budget.changes, candidate.list);
                let before = candidate.claim.clone();
                if candidate.claim.promised(promised, &list, local) == Counted::Stray {
                    let instance = candidate.instance;
                    column.flying.insert(Packet::Free { sent: state.now, from: to, instance, epoch });
                    return true;
                }
                return candidate.claim != before;
            }
        }
        column.take(granted, state.now);
        column.voter != before
    }
}

impl<const WITHOUT: u8> Column<WITHOUT> {
    fn take(&mut self, granted: Vec<Granted>, sent: u8) {
        for Granted { to, number, epoch, .. } in granted {
            let to = (to.index() - VOTERS) as u8;
            self.flying.insert(Packet::Granted { sent, to, stamped: number as u8, epoch });
        }
    }
}

impl<const WITHOUT: u8> State<WITHOUT> {
    /// Whether more than one candidate may use the right.
    pub(super) fn holders(&self) -> usize {
        self.candidates.iter().filter(|candidate| candidate.claim.live(candidate.now(self.now))).count()
    }

    fn tick(&mut self, slow: Option<usize>) {
        self.now += 1;
        if let Some(slow) = slow {
            self.left.slow -= 1;
            self.candidates[slow].lag += 1;
        }
        for candidate in &mut self.candidates {
            let now = candidate.now(self.now);
            candidate.claim.lapse(now);
        }
        let now = at(self.now);
        for column in &mut self.voters {
            let mut granted = vec![];
            column.voter.expire(now, &mut granted);
            column.take(granted, self.now);
        }
    }

    fn request(&mut self, which: usize, renewal: bool, changes: u8) {
        let candidate = &self.candidates[which];
        let packet = Packet::Request {
            sent: self.now,
            from: which as u8,
            instance: candidate.instance,
            list: candidate.list,
            stamped: self.now - candidate.lag,
            epoch: candidate.claim.epoch(),
            renewal,
        };
        for voter in list(changes, candidate.list).voters() {
            self.voters[voter.index()].flying.insert(packet);
        }
    }

    fn free(&mut self, which: usize) {
        let candidate = &mut self.candidates[which];
        candidate.frees += 1;
        let Some(epoch) = candidate.claim.free() else { return };
        let packet = Packet::Free {
            sent: self.now,
            from: which as u8,
            instance: candidate.asker(which).instance,
            epoch,
        };
        for column in &mut self.voters {
            column.flying.insert(packet);
        }
    }

    /// Forgets what is too late, and what can change nothing any more.
    fn lose(&mut self, delay: u8, hold: Duration) {
        for (at_voter, column) in (0..).zip(&mut self.voters) {
            let voter = &column.voter;
            let promise = voter.promise(RIGHT, at(self.now));
            let asks = |from: u8| {
                let asked =
                    |packet: &Packet| matches!(packet, Packet::Request { from: asker, .. } if *asker == from);
                column.flying.iter().any(asked)
            };
            let asks = [asks(0), asks(1)];
            column.flying.retain(|packet| match packet {
                Packet::Request { sent, from, epoch, renewal, .. } => {
                    let own = promise
                        .is_some_and(|own| own.node == node(usize::from(*from)) && own.epoch == *epoch);
                    sent + delay >= self.now
                        && (*renewal || own || *epoch > voter.highest(RIGHT) || self.left.restarts > 0)
                }
                Packet::Free { sent, from, epoch, .. } => {
                    let own = promise
                        .is_some_and(|own| own.node == node(usize::from(*from)) && own.epoch == *epoch);
                    sent + delay >= self.now && (own || voter.due().is_some() || asks[usize::from(*from)])
                }
                Packet::Granted { sent, to, stamped, epoch } => {
                    let candidate = &self.candidates[usize::from(*to)];
                    let counted = candidate.claim.promise(NodeId(at_voter)).max(candidate.now(self.now));
                    let again = WITHOUT != 1 && at(*stamped) + hold <= counted;
                    let stray = candidate.claim.phase() == Phase::Idle || *epoch > candidate.claim.epoch();
                    let over = candidate.claim.phase() == Phase::Ended || *epoch < candidate.claim.epoch();
                    sent + delay >= self.now && (stray || !over && !again)
                }
            });
        }
    }

    fn settle(&mut self, changes: u8) {
        let list = list(changes, self.list);
        let agreed = list.voters().filter(|voter| self.voters[voter.index()].list == self.list).count();
        if self.settled.is_none() && agreed >= list.majority() {
            self.settled = Some(self.now);
        }
    }

    /// The same state with its voters in an order that depends on nothing but what they are.
    fn representative(&self) -> Self {
        let key = |at: usize| {
            let mut hasher = DefaultHasher::new();
            self.voters[at].hash(&mut hasher);
            for candidate in &self.candidates {
                candidate.claim.promise(NodeId(at as u32)).hash(&mut hasher);
            }
            hasher.finish()
        };
        let mut order: Vec<usize> = (0..VOTERS).collect();
        order.sort_by_key(|at| key(*at));
        let new = |old: NodeId| match order.iter().position(|at| *at == old.index()) {
            Some(at) => Some(NodeId(at as u32)),
            None => Some(old),
        };
        let mut state = self.clone();
        state.voters = order.iter().map(|at| self.voters[*at].clone()).collect();
        for candidate in &mut state.candidates {
            candidate.claim.renumber(new, VOTERS + CANDIDATES);
        }
        state
    }
}

impl<const WITHOUT: u8> Model for Cluster<WITHOUT> {
    type State = State<WITHOUT>;
    type Action = Act;

    fn init_states(&self) -> Vec<Self::State> {
        let Budget { restarts, slow, heirs, changes, .. } = self.budget;
        let column = || Column {
            voter: Voter::new(mark(1), terms().term_max, Boot::ZERO),
            list: 1,
            flying: BTreeSet::new(),
        };
        let candidate = || Candidate {
            claim: Claim::default(),
            instance: 0,
            lag: 0,
            list: 1,
            asks: 0,
            renewals: 0,
            frees: 0,
        };
        vec![State {
            now: 0,
            left: Left { restarts, slow, heirs, changes },
            candidates: (0..CANDIDATES).map(|_| candidate()).collect(),
            voters: (0..VOTERS).map(|_| column()).collect(),
            list: 1,
            settled: Some(0),
        }]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Act>) {
        let budget = &self.budget;
        for (voter, column) in state.voters.iter().enumerate() {
            actions.extend(column.flying.iter().map(|packet| Act::Deliver(voter, *packet)));
            actions.extend((state.left.restarts > 0).then_some(Act::Restart(voter)));
            actions.extend((column.list < state.list).then_some(Act::Adopt(voter)));
        }
        for (which, candidate) in state.candidates.iter().enumerate() {
            let phase = candidate.claim.phase();
            let may_ask = candidate.asks < budget.asks[which] && phase == Phase::Idle;
            let may_renew = candidate.renewals < budget.renewals[which] && phase == Phase::Held;
            let may_free = candidate.frees < budget.frees[which] && phase != Phase::Idle;
            actions.extend(may_ask.then_some(Act::Ask(which)));
            actions.extend(may_renew.then_some(Act::Renew(which)));
            actions.extend(may_free.then_some(Act::Free(which)));
            actions.extend((state.left.heirs > 0 && candidate.asks > 0).then_some(Act::Heir(which)));
            actions.extend((candidate.list < state.list).then_some(Act::Learn(which)));
            let slow = state.left.slow > 0 && candidate.asks > 0;
            actions.extend((slow && state.now < budget.ticks).then_some(Act::Slow(which)));
        }
        let wait = if self.margin == Margin::Impatient { Duration::ZERO } else { terms().mute() };
        let settled = state.settled.is_some_and(|since| at(state.now) >= at(since) + wait);
        // The first list has been in force for ever.
        let may_change = state.left.changes > 0 && (settled || state.list == 1);
        actions.extend(may_change.then_some(Act::Change));
        // Before anybody has asked, one moment is like another.
        let begun = state.candidates.iter().any(|candidate| candidate.asks > 0) || state.list > 1;
        actions.extend((begun && state.now < budget.ticks).then_some(Act::Tick));
    }

    fn next_state(&self, state: &Self::State, act: Act) -> Option<Self::State> {
        let mut next = state.clone();
        // A packet that changes nothing when it arrives is one that is lost.
        self.act(&mut next, act).then(|| {
            next.lose(self.budget.delay, self.hold());
            // When lists change, a voter is not like another.
            if self.budget.changes == 0 { next.representative() } else { next }
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two holders", |_, state: &State<WITHOUT>| state.holders() < 2),
            Property::sometimes("somebody holds it", |_, state: &State<WITHOUT>| state.holders() == 1),
            Property::sometimes("the second holds it", |_, state: &State<WITHOUT>| {
                let second = &state.candidates[1];
                second.claim.live(second.now(state.now))
            }),
        ]
    }
}
