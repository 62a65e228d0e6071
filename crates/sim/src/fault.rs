//! What may happen to a cluster, and when.

use mainstay_core::election::Verdict;

use crate::kernel::Time;
use crate::rng::Rng;
use crate::scenario::{LINKS, PROBES, Scenario};

/// One blow, or the end of one.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing passes from the first to the second host of each pair; clients are numbered after the nodes.
    Cut(Vec<(usize, usize)>),
    /// Everything passes again.
    Heal,
    /// So many frames in a hundred are lost, and some are doubled and late.
    Loss(u64),
    /// The node's task does not run until then.
    Pause(usize, Time),
    /// The node's task dies; its supervisor takes the addresses away and says farewell.
    Kill(usize),
    /// Every process of the node dies; its kernel lives on.
    KillAll(usize),
    /// The node is told to stop.
    Shutdown(usize),
    /// The node's task starts, when it does not run.
    Start(usize),
    /// A link of a node loses or gains its carrier.
    Link(usize, usize, bool),
    /// A probe's verdict on a node.
    Probe(usize, usize, Verdict),
    /// An operator's word about a vip.
    Move(usize, usize),
    Drain(usize, usize),
    Ready(usize, usize),
    /// A node gets a configuration with another order and other priorities.
    Reload(usize),
    /// A node receives nonsense.
    Noise(usize),
}

/// Draws a series of faults, with calm between some of them, and everything mended in the end.
pub(crate) fn draw(rng: &mut Rng, scenario: &Scenario) -> (Vec<(Time, Fault)>, Time) {
    let step = scenario.down() + scenario.advert;
    let calm = 3 * step + scenario.start_delay + 100_000_000;
    let mut faults: Vec<(Time, Fault)> =
        (0..scenario.nodes).map(|n| (rng.within(0..step), Fault::Start(n))).collect();
    let mut at = calm + rng.within(0..step);
    let mut last = at;
    for _ in 0..2 + rng.below(5) {
        let end = at + rng.within(step / 8..3 * step);
        one(rng, scenario, at, end, &mut faults);
        last = last.max(end);
        at = if rng.percent(60) { end + calm + rng.within(0..step) } else { at + rng.within(0..2 * step) };
    }
    let end = last + calm;
    faults.push((end, Fault::Heal));
    faults.push((end, Fault::Loss(0)));
    for node in 0..scenario.nodes {
        faults.push((end, Fault::Start(node)));
        faults.extend((0..LINKS).map(|link| (end, Fault::Link(node, link, true))));
        faults.extend((0..PROBES).map(|probe| (end, Fault::Probe(node, probe, Verdict::Up))));
        faults.extend((0..scenario.specs[node].len()).map(|vip| (end, Fault::Ready(node, vip))));
    }
    (faults, end + 3 * calm)
}

fn one(rng: &mut Rng, scenario: &Scenario, at: Time, end: Time, faults: &mut Vec<(Time, Fault)>) {
    let node = rng.below(scenario.nodes);
    let vip = rng.below(scenario.specs[node].len());
    let mut pair = |begin, finish| faults.extend([(at, begin), (end, finish)]);
    match rng.below(16) {
        0..=2 => pair(Fault::Cut(cut(rng, scenario)), Fault::Heal),
        3 => pair(Fault::Loss(rng.within(5..60)), Fault::Loss(0)),
        4 | 5 => faults.push((at, Fault::Pause(node, at + rng.within(scenario.gate / 4..5 * scenario.gate)))),
        6 => pair(Fault::Kill(node), Fault::Start(node)),
        7 | 8 => pair(Fault::KillAll(node), Fault::Start(node)),
        9 => pair(Fault::Shutdown(node), Fault::Start(node)),
        10 => {
            let link = rng.below(LINKS);
            pair(Fault::Link(node, link, false), Fault::Link(node, link, true));
        }
        11 => pair(
            Fault::Probe(node, 0, rng.pick(&[Verdict::Down, Verdict::Pending])),
            Fault::Probe(node, 0, Verdict::Up),
        ),
        12 => pair(Fault::Probe(node, 1, Verdict::Down), Fault::Probe(node, 1, Verdict::Up)),
        13 => faults.push((at, Fault::Move(node, vip))),
        14 => pair(Fault::Drain(node, vip), Fault::Ready(node, vip)),
        _ => pair(Fault::Reload(node), Fault::Noise(node)),
    }
}

/// A partition in two, an isolated host, or a wire that carries one way only.
fn cut(rng: &mut Rng, scenario: &Scenario) -> Vec<(usize, usize)> {
    let hosts = scenario.nodes + scenario.clients;
    if rng.percent(25) {
        return vec![(rng.below(scenario.nodes), rng.below(scenario.nodes))];
    }
    let alone = rng.percent(40).then(|| rng.below(scenario.nodes));
    let side: Vec<bool> =
        (0..hosts).map(|host| alone.map_or_else(|| rng.percent(50), |alone| host == alone)).collect();
    let mut pairs = Vec::new();
    let one_way = rng.percent(20);
    for a in 0..hosts {
        for b in 0..hosts {
            if side[a] != side[b] && (!one_way || side[a]) {
                pairs.push((a, b));
            }
        }
    }
    pairs
}
