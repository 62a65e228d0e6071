//! The loop: the next event in simulated time, what it does, and a look at everything after it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;

use mainstay_core::election::{Input, Next, Operator, Packet, Verdict};
use mainstay_core::name::{LinkId, ProbeId};

use crate::check::Checks;
use crate::fault::Fault;
use crate::kernel::Time;
use crate::mutant::{Mutant, Subject};
use crate::node::{Frame, Mail, Node};
use crate::rng::Rng;
use crate::scenario::{JITTER, LINKS, PROBES, Scenario, address};

/// A supervisor notices the death of its vip worker, and has cleaned up, this long after it.
const CLEAN_UP: Time = 5_000_000;

/// How a seed went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first promise that was broken, and when.
    pub failure: Option<String>,
    /// What happened, when asked for.
    pub trace: String,
    /// Acquisitions of a vip.
    pub claims: u64,
    /// Of these, those while a connected active node was sending: only losses can bring them about.
    pub needless: u64,
    /// Events played.
    pub events: u64,
}

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Wake {
        node: usize,
        wake: u64,
    },
    Frame {
        node: usize,
        frame: Frame,
    },
    Announcement {
        client: usize,
        vip: usize,
        node: usize,
    },
    Owned {
        node: usize,
        life: u32,
        vip: usize,
        running: bool,
    },
    Farewell {
        node: usize,
        life: u32,
    },
    Fault(usize),
    /// Nothing happens, but everything is looked at.
    Look,
}

struct Entry(Reverse<(Time, u64)>, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    /// By sender and receiver: nothing passes.
    pub(crate) cut: Vec<Vec<bool>>,
    pub(crate) loss: u64,
    /// For each client and vip the node that its neighbour entry points to.
    pub(crate) arp: Vec<Vec<Option<usize>>>,
    pub(crate) checks: Checks,
    pub(crate) outcome: Outcome,
    pub(crate) traced: bool,
    mutant: Mutant,
    queue: BinaryHeap<Entry>,
    seq: u64,
}

/// Plays one seed.
#[must_use]
pub fn run(seed: u64, mutant: Mutant, traced: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let scenario = Scenario::draw(&mut rng);
    let mut world = World::new(scenario, rng, mutant, traced);
    world.play();
    world.outcome
}

impl World {
    fn new(scenario: Scenario, rng: Rng, mutant: Mutant, traced: bool) -> Self {
        let hosts = scenario.nodes + scenario.clients;
        let vips = scenario.specs[0].len();
        let mut world = Self {
            nodes: (0..scenario.nodes).map(|n| Node::new(&scenario, n)).collect(),
            cut: vec![vec![false; hosts]; hosts],
            loss: 0,
            arp: vec![vec![None; vips]; scenario.clients],
            checks: Checks::new(&scenario),
            now: 0,
            outcome: Outcome::default(),
            queue: BinaryHeap::new(),
            seq: 0,
            scenario,
            rng,
            traced,
            mutant,
        };
        for i in 0..world.scenario.faults.len() {
            world.at(world.scenario.faults[i].0, Event::Fault(i));
        }
        for look in (0..world.scenario.end).step_by(usize::try_from(world.scenario.advert / 2).unwrap_or(1)) {
            world.at(look, Event::Look);
        }
        if world.traced {
            world.describe();
        }
        world
    }

    fn play(&mut self) {
        while let Some(Entry(Reverse((at, _)), event)) = self.queue.pop() {
            if at > self.scenario.end || self.outcome.failure.is_some() {
                return;
            }
            self.now = at;
            self.outcome.events += 1;
            self.happen(event);
            self.look();
        }
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.seq += 1;
        self.queue.push(Entry(Reverse((at, self.seq)), event));
    }

    /// Notes what happened; the closure runs only when somebody reads it.
    pub(crate) fn trace(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.traced {
            let text = text(self);
            let ms = self.now as f64 / 1e6;
            let _ = writeln!(self.outcome.trace, "{ms:>12.3} ms  {text}");
        }
    }

    pub(crate) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.outcome.failure.is_none() {
            let what = format!("at {:.3} ms: {}", self.now as f64 / 1e6, what());
            self.trace(|_| format!("BROKEN {what}"));
            self.outcome.failure = Some(what);
        }
    }

    fn describe(&mut self) {
        for n in 0..self.scenario.nodes {
            for spec in self.scenario.specs[n].clone() {
                self.trace(|_| {
                    format!(
                        "node {n} {} vrid {} priority {} advert {:?} preempt {} owns {} sole {} start {:?} preempt_delay {:?} weights {}",
                        spec.name, spec.vrid, spec.priority, spec.advert, spec.preempt, spec.owns,
                        spec.sole_successor, spec.start_delay, spec.preempt_delay, spec.weights.len(),
                    )
                });
            }
        }
        self.trace(|world| format!("groups {:?}", world.scenario.groups));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look => {}
            Event::Wake { node, wake } => {
                if self.nodes[node].wake == wake {
                    self.serve(node);
                }
            }
            Event::Frame { node, frame } => {
                if self.nodes[node].links[frame.link] {
                    self.nodes[node].post(Mail::Frame(frame));
                    self.serve(node);
                }
            }
            Event::Announcement { client, vip, node } => {
                self.arp[client][vip] = Some(node);
                let excused = self.is_lame(node);
                self.checks.announced_to(client, vip, excused);
            }
            Event::Owned { node, life, vip, running } => {
                if self.nodes[node].life == life {
                    self.nodes[node].post(Mail::Owned(vip, running));
                    self.serve(node);
                }
            }
            Event::Farewell { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].task.is_none() {
                    self.say_farewell(node);
                }
            }
            Event::Fault(i) => {
                let fault = self.scenario.faults[i].1.clone();
                self.trace(|_| format!("FAULT {fault:?}"));
                self.suffer(fault);
            }
        }
    }

    /// Whether a node's adverts are lost, or pass one way only: then a rival may not notice it, or its last word.
    pub(crate) fn is_lame(&self, node: usize) -> bool {
        self.loss > 0 || (0..self.scenario.nodes).any(|peer| self.cut[node][peer] != self.cut[peer][node])
    }

    fn suffer(&mut self, fault: Fault) {
        let calm = self.is_calm();
        self.disturb(0);
        let now = self.now;
        match fault {
            Fault::Cut(pairs) => pairs.into_iter().for_each(|(a, b)| self.cut[a][b] = a != b),
            Fault::Heal => self.cut.iter_mut().for_each(|row| row.fill(false)),
            Fault::Loss(percent) => self.loss = percent,
            Fault::Pause(n, until) => {
                self.nodes[n].paused_until = until;
                self.disturb(until - now);
                let wake = self.new_wake(n);
                self.at(until + JITTER, Event::Wake { node: n, wake });
            }
            Fault::Kill(n) => {
                if calm {
                    self.checks.expect_successor(&self.nodes, n, now, self.scenario.skew + CLEAN_UP);
                }
                self.die(n);
                let life = self.nodes[n].life;
                self.at(now + CLEAN_UP, Event::Farewell { node: n, life });
            }
            Fault::KillAll(n) => {
                self.disturb(self.scenario.gate);
                if calm {
                    self.checks.expect_successor(&self.nodes, n, now, self.scenario.down());
                }
                self.die(n);
            }
            Fault::Shutdown(n) => {
                if self.nodes[n].task.is_some() {
                    self.nodes[n].shutting.get_or_insert(now);
                }
                self.post(n, Mail::Shutdown);
            }
            Fault::Start(n) => self.start(n),
            Fault::Link(n, link, up) => {
                self.nodes[n].links[link] = up;
                self.post(n, Mail::Link(link));
            }
            Fault::Probe(n, probe, verdict) => {
                self.nodes[n].probes[probe] = verdict;
                self.post(n, Mail::Probe(probe));
            }
            Fault::Move(n, vip) => {
                self.disturb(4 * self.scenario.down());
                self.post(n, Mail::Operator(Operator::Move, vip));
            }
            Fault::Drain(n, vip) => self.drain(n, vip, true),
            Fault::Ready(n, vip) => self.drain(n, vip, false),
            Fault::Reload(n) => self.post(n, Mail::Reload),
            Fault::Noise(n) => self.noise(n),
        }
    }

    pub(crate) fn post(&mut self, n: usize, mail: Mail) {
        self.nodes[n].post(mail);
        self.serve(n);
    }

    fn drain(&mut self, n: usize, vip: usize, drained: bool) {
        if self.nodes[n].task.is_none() {
            return;
        }
        for member in self.checks.group_of(vip) {
            self.nodes[n].drained[member] = drained;
        }
        let word = if drained { Operator::Drain } else { Operator::Ready };
        self.post(n, Mail::Operator(word, vip));
    }

    fn noise(&mut self, n: usize) {
        for _ in 0..20 {
            let link = self.rng.below(LINKS);
            let mut payload: Vec<u8> = (0..self.rng.below(40)).map(|_| self.rng.next() as u8).collect();
            if let [kind, vrid, ..] = &mut payload[..] {
                (*kind, *vrid) = (0x21 + 0x10 * (*kind & 1), 50 + *vrid % 3);
            }
            let (from, to) = (address(self.rng.below(20), link, false), IpAddr::from([224, 0, 0, 18]));
            self.post(n, Mail::Frame(Frame { link, from, to, payload: Rc::from(payload) }));
        }
    }

    fn die(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.task = None;
        node.inbox.clear();
        node.shutting = None;
        node.due = None;
    }

    fn say_farewell(&mut self, n: usize) {
        for vip in 0..self.nodes[n].kernel.len() {
            if self.nodes[n].kernel[vip].present {
                self.nodes[n].kernel[vip].present = false;
                self.nodes[n].cleaned[vip] = true;
                self.trace(|_| format!("node {n} supervisor removes v{vip} and says farewell"));
                for (to, frame) in self.nodes[n].farewells[vip].clone() {
                    self.transmit(n, to, frame);
                }
            }
        }
    }

    fn start(&mut self, n: usize) {
        if self.nodes[n].task.is_some() && self.nodes[n].shutting.is_none() {
            return;
        }
        self.checks.restarted(&self.arp, n, &self.nodes[n]);
        self.die(n);
        self.disturb(self.scenario.start_delay + 2 * self.scenario.advert);
        let node = &mut self.nodes[n];
        node.life += 1;
        node.started = self.now;
        node.paused_until = 0;
        node.drained.fill(false);
        let specs = node.order.iter().map(|vip| node.specs[*vip].clone()).collect();
        let boot = node.clock.read(self.now);
        let mut task = Subject::new(specs, self.scenario.groups.clone(), LINKS, boot, self.mutant);
        for vip in 0..node.kernel.len() {
            let present = std::mem::take(&mut node.kernel[vip].present);
            if (std::mem::take(&mut node.cleaned[vip]) || present)
                && let Some(id) = node.id(vip)
            {
                task.vips.left_behind(id);
            }
        }
        node.task = Some(task);
        for link in 0..LINKS {
            self.post(n, Mail::Link(link));
        }
        for probe in 0..PROBES {
            self.post(n, Mail::Probe(probe));
        }
    }

    /// The task of a node runs: it reads what waits, then ticks if it is time.
    pub(crate) fn serve(&mut self, n: usize) {
        if !self.nodes[n].runs(self.now) {
            return;
        }
        self.check_gates(n);
        while let Some(mail) = self.nodes[n].inbox.pop_front() {
            self.deliver(n, &mail);
        }
        let local = self.nodes[n].clock.read(self.now);
        let Some(task) = &mut self.nodes[n].task else { return };
        if task.vips.poll_timeout().is_some_and(|due| due <= local) {
            self.give(n, Input::Tick);
        }
        self.schedule(n);
    }

    fn deliver(&mut self, n: usize, mail: &Mail) {
        let node = &self.nodes[n];
        match mail {
            Mail::Frame(frame) => {
                let link = LinkId(frame.link as u32);
                let Frame { from, to, payload, .. } = frame.clone();
                self.give(n, Input::Packet(Packet { link, from, to, ttl: 255, payload: &payload }));
            }
            Mail::Link(link) => {
                let (v4, v6) = (Some(address(n, *link, false)), Some(address(n, *link, true)));
                let up = node.links[*link];
                self.give(n, Input::Link { link: LinkId(*link as u32), up, v4, v6 });
            }
            Mail::Probe(probe) => {
                let verdict: Verdict = node.probes[*probe];
                self.give(n, Input::Probe { probe: ProbeId(*probe as u32), verdict });
            }
            Mail::Owned(vip, running) => {
                if let Some(vip) = node.id(*vip) {
                    self.give(n, Input::Owned { vip, running: *running });
                }
            }
            Mail::Operator(word, vip) => {
                if let Some(vip) = node.id(*vip) {
                    self.give(n, Input::Operator(word(vip)));
                }
            }
            Mail::Shutdown => self.give(n, Input::Shutdown),
            Mail::Reload => self.reload(n),
        }
    }

    fn give(&mut self, n: usize, input: Input<'_>) {
        let local = self.nodes[n].clock.read(self.now);
        if let Some(task) = &mut self.nodes[n].task {
            task.handle(input, local);
        }
        self.carry_out(n);
    }

    fn reload(&mut self, n: usize) {
        let order: Vec<usize> = self.nodes[n].order.iter().rev().copied().collect();
        let change = self.rng.below(4);
        let priority = 20 + self.rng.below(200) as u8;
        let node = &mut self.nodes[n];
        match change {
            0 => node.specs[0].priority = priority,
            1 => node.specs[0].preempt ^= true,
            2 => node.specs[0].announce.lower_repeat += 1,
            _ => {}
        }
        let next = Next {
            specs: order.iter().map(|vip| node.specs[*vip].clone()).collect(),
            groups: self.scenario.groups.clone(),
            links: (0..LINKS).map(|link| Some(LinkId(link as u32))).collect(),
            probes: (0..PROBES).map(|probe| Some(ProbeId(probe as u32))).collect(),
        };
        let local = node.clock.read(self.now);
        if let Some(task) = &mut node.task {
            task.retire(&next, local);
        }
        self.carry_out(n);
        let node = &mut self.nodes[n];
        let left = node.task.as_mut().map(|task| task.apply(next, local)).unwrap_or_default();
        node.order = order;
        if !left.is_empty() {
            self.fail(|| format!("node {n}: a reload left {left:?}"));
        }
        self.carry_out(n);
    }

    fn new_wake(&mut self, n: usize) -> u64 {
        self.nodes[n].due = None;
        self.nodes[n].wake += 1;
        self.nodes[n].wake
    }

    fn schedule(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(at) = node.task.as_mut().and_then(|task| task.vips.poll_timeout()) else { return };
        let at = node.clock.when(at).max(self.now);
        if node.due == Some(at) {
            return;
        }
        let wake = self.new_wake(n);
        self.nodes[n].due = Some(at);
        let late = self.rng.within(0..JITTER);
        self.at(at + late, Event::Wake { node: n, wake });
    }
}
