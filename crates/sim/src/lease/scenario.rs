//! What a seed stands for: a cluster, its voters, terms, wires and clocks, and what happens to it.

use std::time::Duration;

use mainstay_core::lease::{Member, Stance, Terms, VoterList};

use crate::kernel::{Clock, Time, nanos};
use crate::lease::fault::{self, Fault};
use crate::rng::Rng;

/// A task that is not paused wakes at most this late.
pub(crate) const JITTER: Time = 1_000_000;

/// So many nanoseconds a wall clock is wrong at most, unless it is set.
const WRONG: u64 = 100_000_000;

/// A cluster and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    /// The voters at first.
    pub(crate) list: VoterList,
    pub(crate) terms: Terms,
    pub(crate) rights: Vec<String>,
    /// For each node and right, how it stands while nothing is wrong.
    pub(crate) stances: Vec<Vec<Stance>>,
    pub(crate) clocks: Vec<Clock>,
    /// By how many nanoseconds each node's wall clock is wrong.
    pub(crate) walls: Vec<i64>,
    pub(crate) wires: usize,
    /// The last one is a store that votes.
    pub(crate) store: bool,
    /// For each node the longest that a letter to it or from it is under way.
    pub(crate) delays: Vec<Time>,
    /// The longest that an address takes to be removed.
    pub(crate) removal: Time,
    /// Two nodes whose promises last.
    pub(crate) strict: bool,
    /// What comes to a paused guest is lost, and does not wait for it.
    pub(crate) deaf_guests: bool,
    pub(crate) faults: Vec<(Time, Fault)>,
    pub(crate) end: Time,
}

impl Scenario {
    /// The term by the slowest clock, in true time.
    pub(crate) fn term(&self) -> Time {
        self.stretch(self.terms.term)
    }

    /// How long a restarted voter is mute, in true time.
    pub(crate) fn mute(&self) -> Time {
        self.stretch(self.terms.mute())
    }

    pub(crate) fn beat(&self) -> Time {
        self.stretch(self.terms.beat())
    }

    /// The longest way of a letter while nothing is wrong.
    pub(crate) fn delay(&self) -> Time {
        self.delays.iter().max().copied().unwrap_or(0)
    }

    /// A time of the slowest clock, in true time.
    fn stretch(&self, time: Duration) -> Time {
        let slow = 1_000_000 - u64::from(self.terms.drift_ppm);
        nanos(time) / slow * 1_000_000 + 1_000_000
    }

    /// A rate within the bound, often at its edge.
    pub(crate) fn rate(rng: &mut Rng, terms: Terms) -> i64 {
        let bound = i64::from(terms.drift_ppm);
        match rng.below(3) {
            0 => -bound,
            1 => bound,
            _ => rng.below(usize::try_from(2 * bound + 1).unwrap_or(1)) as i64 - bound,
        }
    }

    /// Draws everything from one seed.
    pub(crate) fn draw(rng: &mut Rng, kind: Kind) -> Self {
        let shape = match kind {
            Kind::Drawn => Shape::draw(rng),
            Kind::Pair => Shape { holders: 2, others: 0, slow: false },
            Kind::Store => {
                Shape::draw(rng);
                Shape { holders: 2, others: 1, slow: true }
            }
        };
        let nodes = shape.holders + shape.others;
        let terms = terms(rng, shape.slow);
        let list = list(rng, &shape);
        let rights: Vec<String> = (0..1 + rng.below(3)).map(|right| format!("vip/{right}")).collect();
        let delay = rng.pick(&[200_000, 1_000_000, 5_000_000]).min(nanos(terms.term) / 100);
        let mut delays = vec![delay; nodes];
        if shape.slow {
            delays[nodes - 1] = rng.within(25_000_000..250_000_000);
        }
        let mut scenario = Self {
            nodes,
            stances: stances(rng, nodes, rights.len(), shape.holders),
            list,
            clocks: (0..nodes)
                .map(|_| Clock { offset: rng.within(0..1 << 50), since: 0, ppm: Self::rate(rng, terms) })
                .collect(),
            walls: (0..nodes).map(|_| rng.within(0..2 * WRONG) as i64 - WRONG as i64).collect(),
            terms,
            rights,
            // Drawn from what is drawn already: the other seeds stay as they were.
            store: kind == Kind::Store || shape.slow && delays[nodes - 1] % 2 == 0,
            wires: 1 + rng.below(3),
            delays,
            removal: rng.pick(&[0, 0, 300_000, 3_000_000]),
            strict: kind == Kind::Pair,
            deaf_guests: rng.percent(50),
            faults: Vec::new(),
            end: 0,
        };
        (scenario.faults, scenario.end) = fault::draw(rng, &scenario);
        scenario
    }
}

/// What kind of cluster is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As the seed has it.
    Drawn,
    /// Two nodes whose promises last.
    Pair,
    /// Two nodes, and a store that votes.
    Store,
}

/// How many of each kind.
struct Shape {
    holders: usize,
    /// Witnesses, and nodes that join the voters later.
    others: usize,
    /// The last one is an external voter that answers slowly.
    slow: bool,
}

impl Shape {
    fn draw(rng: &mut Rng) -> Self {
        let (holders, others, slow) = match rng.below(20) {
            0..=7 => (2, 1, false),
            8..=12 => (3, 0, false),
            13 => (4, 0, false),
            14 | 15 => (3, 2, false),
            16 | 17 => (5, 0, false),
            _ => (2, 1, true),
        };
        Self { holders, others, slow }
    }
}

fn terms(rng: &mut Rng, slow: bool) -> Terms {
    let millis = if slow { 5_000 } else { rng.pick(&[300, 1_500]) };
    let term = Duration::from_millis(millis);
    Terms {
        term,
        term_max: if rng.percent(80) { term } else { term * 2 },
        drift_ppm: rng.pick(&[200, 1_000, 10_000]),
        gate_error: Duration::from_micros(rng.pick(&[100, 1_000, 5_000])),
    }
}

/// Everybody votes, but now and then one or two of more than three, who may join later.
fn list(rng: &mut Rng, shape: &Shape) -> VoterList {
    let nodes = shape.holders + shape.others;
    let guest = (nodes > 3 && rng.percent(50)).then(|| rng.below(nodes));
    let guests = shape.others == 2 && rng.percent(50);
    let members = (0..nodes).map(|node| Member {
        id: format!("n{node}"),
        votes: if guests { node < 3 } else { guest != Some(node) },
        holds: node < shape.holders,
    });
    VoterList { epoch: 1, members: members.collect() }
}

/// For each node and right: priorities of their own, preemption for everybody or nobody, a witness wants nothing.
fn stances(rng: &mut Rng, nodes: usize, rights: usize, holders: usize) -> Vec<Vec<Stance>> {
    let preempts: Vec<bool> = (0..rights).map(|_| rng.percent(40)).collect();
    let equal = rng.percent(20);
    let mut draw = |node: usize, right: usize| {
        if node >= holders || rng.percent(5) {
            return Stance::Unable;
        }
        let priority = if equal { 100 } else { 20 + rng.below(200) as u8 };
        Stance::Ready { priority, preempts: preempts[right] }
    };
    (0..nodes).map(|node| (0..rights).map(|right| draw(node, right)).collect()).collect()
}
