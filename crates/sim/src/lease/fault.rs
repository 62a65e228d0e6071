//! What may happen to a cluster, and when.

use mainstay_core::lease::Stance;

use crate::kernel::{Time, nanos};
use crate::lease::scenario::Scenario;
use crate::rng::Rng;

/// One blow, or the end of one.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing passes from the first to the second node of each pair on these wires (a bit for each).
    Cut(Vec<(usize, usize)>, u8),
    /// Everything passes again.
    Heal,
    /// The weather on the wires.
    Weather(Weather),
    /// The node's task does not run for so long: at once, or in the middle of its next work, after so many effects.
    Pause(usize, Time, Option<u32>),
    /// The whole guest stands still for so long, its clocks included.
    Suspend(usize, Time),
    /// The node's task dies; its addresses stay behind their gates.
    Kill(usize),
    /// The host starts again, with nothing but its disk.
    Reboot(usize),
    /// The node is told to stop: it hands over.
    Stop(usize),
    /// The node's task starts, when it does not run.
    Start(usize),
    /// A node's stance to a right.
    Stance(usize, usize, Stance),
    /// The operator moves a right from its holder to that node.
    Move(usize, usize),
    /// The operator adds or removes that voter, on the first node if one is named, or on any that knows the newest list.
    List(Option<usize>, usize),
    /// The operator has the other node take every right: that one is down, and he has made sure of it.
    Fence(usize),
    /// Every clock runs at another rate.
    Rates,
    /// A node's wall clock is set, by so many nanoseconds.
    Step(usize, i64),
}

/// What happens to letters that are not cut off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// So many in a hundred are lost, on each wire.
    pub(crate) loss: u64,
    /// So many in a hundred come twice.
    pub(crate) twice: u64,
    /// Some are held up for as long as that, and overtaken.
    pub(crate) held_up: Time,
}

impl Weather {
    pub(crate) fn is_fair(&self) -> bool {
        self.loss == 0 && self.twice == 0 && self.held_up == 0
    }
}

/// Draws a series of faults, with calm between some of them, and everything mended in the end.
pub(crate) fn draw(rng: &mut Rng, scenario: &Scenario) -> (Vec<(Time, Fault)>, Time) {
    let term = scenario.term();
    let calm = 2 * term + scenario.mute() + 10 * scenario.beat();
    let mut faults: Vec<(Time, Fault)> =
        (0..scenario.nodes).map(|n| (rng.within(0..term / 2), Fault::Start(n))).collect();
    let mut at = scenario.mute() + term + rng.within(0..term);
    let mut last = at;
    for _ in 0..2 + rng.below(4) {
        let end = at + rng.within(term / 8..3 * term);
        one(rng, scenario, at, end, &mut faults);
        if rng.percent(30) {
            faults.push((rng.within(at..end), Fault::Rates));
        }
        last = last.max(end);
        at = if rng.percent(50) { end + calm + rng.within(0..term) } else { at + rng.within(0..2 * term) };
    }
    let end = last.max(at.min(last + calm));
    faults.push((end, Fault::Heal));
    faults.push((end, Fault::Weather(Weather::default())));
    for node in 0..scenario.nodes {
        faults.push((end, Fault::Start(node)));
        faults.extend((0..scenario.rights.len()).map(|right| (end, mended(scenario, node, right))));
    }
    (faults, end + calm + 2 * term)
}

fn one(rng: &mut Rng, scenario: &Scenario, at: Time, end: Time, faults: &mut Vec<(Time, Fault)>) {
    let node = rng.below(scenario.nodes);
    let right = rng.below(scenario.rights.len());
    let term = scenario.term();
    let mut pair = |begin, finish| faults.extend([(at, begin), (end, finish)]);
    match rng.below(29) {
        0..=3 => pair(cut(rng, scenario), Fault::Heal),
        4 | 5 => pair(Fault::Weather(weather(rng, term)), Fault::Weather(Weather::default())),
        6..=8 => {
            let middle = rng.percent(50).then(|| rng.below(6) as u32);
            faults.push((at, Fault::Pause(node, rng.within(term / 8..3 * term), middle)));
        }
        9 => faults.push((at, Fault::Suspend(node, rng.within(term / 8..3 * term)))),
        10 | 11 => pair(Fault::Kill(node), Fault::Start(node)),
        12 => {
            let soon = at + rng.within(0..20_000_000);
            faults.extend([(at, Fault::Kill(node)), (soon, Fault::Start(node))]);
        }
        13 => pair(Fault::Reboot(node), Fault::Start(node)),
        14 | 15 => pair(Fault::Stop(node), Fault::Start(node)),
        16 | 17 => pair(Fault::Stance(node, right, Stance::Unable), mended(scenario, node, right)),
        18 => {
            let priority = rng.below(256) as u8;
            let stance = Stance::Ready { priority, preempts: rng.percent(70) };
            if scenario.list.members[node].holds {
                pair(Fault::Stance(node, right, stance), mended(scenario, node, right));
            }
        }
        19 => faults.push((at, Fault::Move(right, node))),
        20 if scenario.strict => unheard(rng, scenario, at, end, faults),
        21 | 22 if scenario.strict => fence(rng, scenario, at, end, faults),
        20 if scenario.nodes > 4 => grow(scenario, at, faults),
        20 | 21 if scenario.nodes > 3 => exile(rng, scenario, at, faults),
        20..=22 => lists(rng, scenario, at, faults),
        23..=25 => twice(rng, scenario, at, end, faults),
        26 => blackout(rng, scenario, at, end, faults),
        27 => pair(Fault::Rates, Fault::Rates),
        _ => {
            let by =
                rng.within(0..6 * nanos(scenario.terms.term)) as i64 - 3 * nanos(scenario.terms.term) as i64;
            faults.push((at, Fault::Step(node, by)));
        }
    }
}

fn mended(scenario: &Scenario, node: usize, right: usize) -> Fault {
    Fault::Stance(node, right, scenario.stances[node][right])
}

/// A node is cut off, freezes or dies, and within the term another one starts again.
fn twice(rng: &mut Rng, scenario: &Scenario, at: Time, end: Time, faults: &mut Vec<(Time, Fault)>) {
    let (first, second) = (rng.below(scenario.nodes), rng.below(scenario.nodes));
    match rng.below(4) {
        0 | 1 => faults.extend([(at, split(scenario, |node| node == first)), (end, Fault::Heal)]),
        2 => faults.push((at, Fault::Pause(first, end - at, None))),
        _ => faults.extend([(at, Fault::Kill(first)), (end, Fault::Start(first))]),
    }
    let then = at + rng.within(0..scenario.term());
    let again = if rng.percent(50) { Fault::Kill(second) } else { Fault::Reboot(second) };
    let soon = then + rng.within(0..scenario.term() / 10);
    faults.extend([(then, again), (soon, Fault::Start(second))]);
}

/// A host is lost, the operator says so, perhaps too early, and it comes back, perhaps while the two hear nothing of each other.
fn fence(rng: &mut Rng, scenario: &Scenario, at: Time, end: Time, faults: &mut Vec<(Time, Fault)>) {
    let node = rng.below(scenario.nodes);
    let told = rng.within(at..end);
    faults.extend([(at, Fault::Reboot(node)), (told, Fault::Fence(node)), (end, Fault::Start(node))]);
    if rng.percent(50) {
        let met = end + rng.within(0..2 * scenario.term());
        faults.extend([(rng.within(told..end), split(scenario, |other| other == node)), (met, Fault::Heal)]);
    }
}

/// A node gives up what it has just when it is cut off, before anybody knows that, and stays out when they meet again.
fn unheard(rng: &mut Rng, scenario: &Scenario, at: Time, end: Time, faults: &mut Vec<(Time, Fault)>) {
    let node = rng.below(scenario.nodes);
    let soon = at + rng.within(0..2 * scenario.beat());
    faults.extend([(at, split(scenario, |other| other == node)), (end, Fault::Heal)]);
    for right in 0..scenario.rights.len() {
        let back = end + 4 * scenario.term();
        faults.extend([
            (soon, Fault::Stance(node, right, Stance::Unable)),
            (back, mended(scenario, node, right)),
        ]);
    }
}

/// The power fails, for most or for all of them.
fn blackout(rng: &mut Rng, scenario: &Scenario, at: Time, end: Time, faults: &mut Vec<(Time, Fault)>) {
    let most = rng.percent(50);
    for node in 0..scenario.nodes {
        if most && rng.percent(30) {
            continue;
        }
        let soon = at + rng.within(0..scenario.beat());
        faults.extend([(soon, Fault::Reboot(node)), (rng.within(soon..end), Fault::Start(node))]);
    }
}

/// A change of the voters, or several in a row; often while somebody is cut off and hears nothing of it.
fn lists(rng: &mut Rng, scenario: &Scenario, at: Time, faults: &mut Vec<(Time, Fault)>) {
    let mut when = at;
    if rng.percent(60) {
        faults.push((at, cut(rng, scenario)));
    }
    for _ in 0..1 + rng.below(3) {
        when += scenario.term() + rng.within(0..scenario.term() / 2);
        faults.push((when, Fault::List(None, rng.below(scenario.nodes))));
    }
    faults.push((when + rng.within(0..2 * scenario.term()), Fault::Heal));
}

/// In a minority that is cut off the operator removes the others, one after the other.
fn exile(rng: &mut Rng, scenario: &Scenario, at: Time, faults: &mut Vec<(Time, Fault)>) {
    let first = rng.below(scenario.nodes);
    let inside = |node: usize| (node + scenario.nodes - first) % scenario.nodes < scenario.nodes / 2;
    let mut when = at;
    faults.push((at, split(scenario, inside)));
    for outsider in (0..scenario.nodes).filter(|node| !inside(*node)).take(2) {
        when += rng.within(scenario.term() / 10..scenario.term() / 2);
        faults.push((when, Fault::List(Some(first), outsider)));
    }
    faults.push((when + 2 * scenario.term(), Fault::Heal));
}

/// The voters become more, two in a row, and one hears nothing of it; then it meets one that has.
fn grow(scenario: &Scenario, at: Time, faults: &mut Vec<(Time, Fault)>) {
    let pause = scenario.mute() + scenario.term();
    let met = at + 3 * pause;
    faults.extend([
        (at, split(scenario, |node| node == 0)),
        (at + pause, Fault::List(None, 3)),
        (at + 2 * pause, Fault::List(None, 4)),
        (met, Fault::Heal),
        (met, split(scenario, |node| node < 2)),
        (met + 2 * scenario.term(), Fault::Heal),
    ]);
}

/// Nothing passes between those inside and the others.
fn split(scenario: &Scenario, inside: impl Fn(usize) -> bool) -> Fault {
    let pairs = (0..scenario.nodes).flat_map(|a| (0..scenario.nodes).map(move |b| (a, b)));
    Fault::Cut(pairs.filter(|(a, b)| inside(*a) != inside(*b)).collect(), u8::MAX)
}

/// A partition in two, an isolated node, or a way that carries in one direction only; mostly on all wires.
fn cut(rng: &mut Rng, scenario: &Scenario) -> Fault {
    let nodes = scenario.nodes;
    let wires = if rng.percent(75) { u8::MAX } else { 1 << rng.below(scenario.wires) };
    if rng.percent(20) {
        return Fault::Cut(vec![(rng.below(nodes), rng.below(nodes))], wires);
    }
    let alone = rng.percent(40).then(|| rng.below(nodes));
    let side: Vec<bool> =
        (0..nodes).map(|node| alone.map_or_else(|| rng.percent(50), |alone| node == alone)).collect();
    let one_way = rng.percent(25);
    let mut pairs = Vec::new();
    for a in 0..nodes {
        for b in 0..nodes {
            if side[a] != side[b] && (!one_way || side[a]) {
                pairs.push((a, b));
            }
        }
    }
    Fault::Cut(pairs, wires)
}

fn weather(rng: &mut Rng, term: Time) -> Weather {
    Weather {
        loss: if rng.percent(60) { rng.within(5..80) } else { 0 },
        twice: if rng.percent(40) { rng.within(5..50) } else { 0 },
        held_up: if rng.percent(60) { rng.within(term / 100..2 * term) } else { 0 },
    }
}
