//! Two nodes whose promises last (guard `strict`), and a network that delays, reorders and loses whatever it likes.
//!
//! No clock is in it: nothing that is promised depends on one. A process that starts again has forgotten every epoch, as if
//! its wall clock had been set back. When a node asks, lets go, dies or reminds is left to the checker.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_core::lease::{
    Asked, Asker, Asking, Claim, Counted, Granted, Mark, Member, Phase, Promised, Verdict, Voter, VoterList,
};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use stateright::{Checker, HasDiscoveries, Model, Property};

const RIGHT: &str = "r";
const NOW: Boot = Boot::from_nanos(1_000_000_000);
const TERM: Duration = Duration::from_secs(1);
const TWO: &str = "never two holders";

/// What is left out on purpose, beside what `WITHOUT` breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A voter dies alone, and its node's claim lives on.
    Company,
    /// Processes that are dead are listened to after their successors have spoken.
    Order,
    /// The operator fences a node that runs.
    Care,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    asks: [u8; 2],
    repeats: u8,
    frees: u8,
    deaths: u8,
    fences: u8,
    reminders: u8,
}

const SOME: Budget = Budget { asks: [2, 1], repeats: 0, frees: 1, deaths: 1, fences: 0, reminders: 0 };

struct Pair<const WITHOUT: u8> {
    budget: Budget,
    left: Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node<const WITHOUT: u8> {
    alive: bool,
    instance: u64,
    /// The newest process of the other that has spoken.
    heard: u64,
    claim: Claim<WITHOUT>,
    voter: Voter<WITHOUT>,
    asks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State<const WITHOUT: u8> {
    nodes: Vec<Node<WITHOUT>>,
    flying: BTreeSet<Packet>,
    repeats: u8,
    frees: u8,
    deaths: u8,
    fences: u8,
    reminders: u8,
}

/// Said by a process of the other node than `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Packet {
    to: usize,
    instance: u64,
    said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Said {
    Request {
        epoch: u64,
    },
    /// In answer to a request of that process.
    Granted {
        whose: u64,
        epoch: u64,
    },
    Free {
        epoch: u64,
    },
    Reminder {
        epoch: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Ask(usize),
    Repeat(usize),
    Free(usize),
    Die(usize),
    Start(usize),
    Forget(usize),
    Fence(usize),
    Remind(usize),
    Deliver(Packet),
}

fn list() -> VoterList {
    let member = |id: &str| Member { id: id.into(), votes: true, holds: true };
    VoterList { epoch: 1, members: vec![member("a"), member("b")] }
}

fn node(n: usize) -> NodeId {
    NodeId(n as u32)
}

fn voter<const WITHOUT: u8>() -> Voter<WITHOUT> {
    Voter::new(Mark::default(), TERM, Boot::ZERO).lasting()
}

impl<const WITHOUT: u8> State<WITHOUT> {
    fn send(&mut self, from: usize, said: Said) {
        let instance = self.nodes[from].instance;
        self.flying.insert(Packet { to: 1 - from, instance, said });
    }

    /// One request at the voter of `at`, by whomever.
    fn ask(&mut self, at: usize, from: usize, instance: u64, epoch: u64) {
        let asker = Asker { node: node(from), instance, heir_of: None };
        let asking = Asking { mark: Mark::default(), number: instance, term: TERM };
        let asked = Asked { right: RIGHT.into(), epoch, renewal: false };
        let mut granted = vec![];
        match self.nodes[at].voter.ask(asker, asking, &asked, NOW, &mut granted) {
            Verdict::Granted { epoch } => self.grant(at, from, instance, epoch),
            Verdict::Held { .. } | Verdict::Stale { .. } | Verdict::Mute { .. } => {}
            Verdict::Mismatch | Verdict::Full => {}
        }
        self.settle(at, granted);
    }

    fn settle(&mut self, at: usize, granted: Vec<Granted>) {
        for Granted { to, number, epoch, .. } in granted {
            self.grant(at, to.index(), number, epoch);
        }
    }

    fn grant(&mut self, at: usize, to: usize, whose: u64, epoch: u64) {
        if at == to { self.promised(to, at, epoch) } else { self.send(at, Said::Granted { whose, epoch }) }
    }

    fn promised(&mut self, to: usize, voter: usize, epoch: u64) {
        let promised = Promised { voter: node(voter), epoch, stamped: NOW, hold: Duration::MAX };
        if self.nodes[to].claim.promised(promised, &list(), NOW) == Counted::Stray && voter != to {
            self.send(to, Said::Free { epoch });
        }
    }

    fn free(&mut self, at: usize, from: usize, instance: u64, epoch: u64) {
        let asker = Asker { node: node(from), instance, heir_of: None };
        let mut granted = vec![];
        self.nodes[at].voter.free(asker, RIGHT, epoch, None, NOW, &mut granted);
        self.settle(at, granted);
    }

    fn begin(&mut self, n: usize) -> u64 {
        let this = &mut self.nodes[n];
        let epoch = this.claim.epoch().max(this.voter.highest(RIGHT)) + 1;
        this.claim.ask(epoch);
        epoch
    }

    fn request(&mut self, n: usize) {
        let (instance, epoch) = (self.nodes[n].instance, self.nodes[n].claim.epoch());
        self.send(n, Said::Request { epoch });
        self.ask(n, n, instance, epoch);
    }

    fn deliver(&mut self, packet: Packet, order: bool) {
        self.flying.remove(&packet);
        let Packet { to, instance, said } = packet;
        let from = 1 - to;
        let this = &mut self.nodes[to];
        if order && instance < this.heard {
            return;
        }
        this.heard = this.heard.max(instance);
        match said {
            Said::Request { epoch } => self.ask(to, from, instance, epoch),
            Said::Granted { whose, epoch } if whose == this.instance => self.promised(to, from, epoch),
            Said::Granted { .. } => {}
            Said::Free { epoch } => self.free(to, from, instance, epoch),
            Said::Reminder { epoch } => {
                if this.claim.phase() == Phase::Idle || this.claim.epoch() != epoch {
                    self.send(to, Said::Free { epoch });
                }
            }
        }
    }
}

impl<const WITHOUT: u8> Model for Pair<WITHOUT> {
    type State = State<WITHOUT>;
    type Action = Act;

    fn init_states(&self) -> Vec<Self::State> {
        let fresh =
            || Node { alive: true, instance: 1, heard: 0, claim: Claim::default(), voter: voter(), asks: 0 };
        let Budget { repeats, frees, deaths, fences, reminders, .. } = self.budget;
        let nodes = vec![fresh(), fresh()];
        vec![State { nodes, flying: BTreeSet::new(), repeats, frees, deaths, fences, reminders }]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Act>) {
        for (n, this) in state.nodes.iter().enumerate() {
            let other = &state.nodes[1 - n];
            if !this.alive {
                actions.push(Act::Start(n));
                continue;
            }
            let phase = this.claim.phase();
            actions.extend((phase == Phase::Idle && this.asks < self.budget.asks[n]).then_some(Act::Ask(n)));
            actions.extend((phase == Phase::Asking && state.repeats > 0).then_some(Act::Repeat(n)));
            actions.extend((phase != Phase::Idle && state.frees > 0).then_some(Act::Free(n)));
            actions.extend((state.deaths > 0).then_some(Act::Die(n)));
            actions.extend((state.deaths > 0 && self.left == Left::Company).then_some(Act::Forget(n)));
            let dead = !other.alive || self.left == Left::Care;
            let fences = state.fences > 0 && phase != Phase::Held && dead;
            actions.extend(fences.then_some(Act::Fence(n)));
            let promise = this.voter.promise(RIGHT, NOW).filter(|promise| promise.node != node(n));
            actions.extend((state.reminders > 0 && promise.is_some()).then_some(Act::Remind(n)));
        }
        let there = |packet: &&Packet| state.nodes[packet.to].alive;
        actions.extend(state.flying.iter().filter(there).map(|packet| Act::Deliver(*packet)));
    }

    fn next_state(&self, state: &Self::State, act: Act) -> Option<Self::State> {
        let mut next = state.clone();
        match act {
            Act::Ask(n) => {
                next.nodes[n].asks += 1;
                next.begin(n);
                next.request(n);
            }
            Act::Repeat(n) => {
                next.repeats -= 1;
                next.request(n);
            }
            Act::Free(n) => {
                next.frees -= 1;
                if let Some(epoch) = next.nodes[n].claim.free() {
                    let instance = next.nodes[n].instance;
                    next.send(n, Said::Free { epoch });
                    next.free(n, n, instance, epoch);
                }
            }
            Act::Die(n) => {
                next.deaths -= 1;
                let this = &mut next.nodes[n];
                (this.alive, this.heard, this.claim, this.voter) = (false, 0, Claim::default(), voter());
            }
            Act::Start(n) => {
                next.nodes[n].alive = true;
                next.nodes[n].instance += 1;
            }
            Act::Forget(n) => {
                next.deaths -= 1;
                next.nodes[n].voter = voter();
            }
            Act::Fence(n) => {
                next.fences -= 1;
                next.nodes[n].voter.fence(RIGHT, node(1 - n));
                let epoch = next.begin(n);
                next.promised(n, 1 - n, epoch);
                next.request(n);
            }
            Act::Remind(n) => {
                next.reminders -= 1;
                if let Some(promise) = next.nodes[n].voter.promise(RIGHT, NOW) {
                    next.send(n, Said::Reminder { epoch: promise.epoch });
                }
            }
            Act::Deliver(packet) => next.deliver(packet, self.left != Left::Order),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWO, |_, state: &State<WITHOUT>| {
                state.nodes.iter().filter(|node| node.claim.phase() == Phase::Held).count() < 2
            }),
            Property::sometimes("the second holds it", |_, state: &State<WITHOUT>| {
                state.nodes[1].claim.phase() == Phase::Held
            }),
        ]
    }
}

fn safe(budget: Budget) {
    safe_with(budget, Left::Nothing);
}

fn safe_with(budget: Budget, left: Left) {
    let checker = Pair::<0> { budget, left }.checker().threads(2).spawn_dfs().join();
    println!("{budget:?}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

fn broken<const WITHOUT: u8>(budget: Budget, left: Left) {
    let found = HasDiscoveries::AnyOf([TWO].into());
    let checker = Pair::<WITHOUT> { budget, left }.checker().threads(2).finish_when(found).spawn_dfs().join();
    assert!(
        checker.discovery(TWO).is_some(),
        "nothing breaks: it is not needed, or the model does not see it"
    );
    println!("broken after {} states", checker.unique_state_count());
}

#[test]
fn two_that_ask_let_go_and_die_are_never_both_holders() {
    safe(SOME);
    safe(Budget { asks: [2, 2], ..SOME });
    safe(Budget { asks: [2, 2], deaths: 3, ..SOME });
    safe(Budget { asks: [2, 2], frees: 2, deaths: 2, ..SOME });
}

#[test]
fn repeated_requests_and_reminders_make_no_second_holder() {
    safe(Budget { repeats: 2, asks: [2, 2], ..SOME });
    safe(Budget { reminders: 2, asks: [2, 2], ..SOME });
    safe(Budget { repeats: 1, reminders: 1, deaths: 2, ..SOME });
}

#[test]
fn a_word_for_a_dead_node_makes_no_second_holder() {
    safe(Budget { fences: 1, ..SOME });
    safe(Budget { fences: 2, asks: [1, 1], deaths: 2, ..SOME });
}

#[test]
fn each_thing_that_the_argument_needs_is_needed() {
    // A voter that promises to a second; a holder that gives back what it uses; one promise; voters that die and leave
    // their nodes' claims alive; a word for a node that runs.
    broken::<3>(SOME, Left::Nothing);
    broken::<30>(SOME, Left::Nothing);
    broken::<50>(SOME, Left::Nothing);
    broken::<0>(Budget { deaths: 2, ..SOME }, Left::Company);
    broken::<0>(Budget { fences: 1, ..SOME }, Left::Care);
}

#[test]
fn letters_of_dead_processes_make_no_second_holder_even_where_they_are_listened_to() {
    safe_with(Budget { asks: [2, 2], deaths: 2, ..SOME }, Left::Order);
}
