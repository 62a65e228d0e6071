//! The loop: the next event in simulated time, what it does, and a look at everything after it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::rc::Rc;

use mainstay_core::lease::{Input, Letter};
use mainstay_core::time::Boot;

use crate::kernel::Time;
use crate::lease::check::Checks;
use crate::lease::mutant::{Mutant, Subject};
use crate::lease::node::{Mail, Node};
use crate::lease::scenario::{JITTER, Kind, Scenario};
use crate::lease::store::{Store, StoreEvent};
use crate::lease::wire::Net;
use crate::lease::{Outcome, Worst};
use crate::rng::Rng;

/// No single input has so many effects.
const EFFECTS: usize = 10_000;

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Wake {
        node: usize,
        wake: u64,
    },
    /// A letter arrives, whichever process of the node it was meant for.
    Letter {
        from: usize,
        to: usize,
        letter: Rc<Letter>,
    },
    /// Work of the driver that took a while.
    Mail {
        node: usize,
        life: u32,
        mail: Mail,
    },
    /// A guest goes on.
    Resume(usize),
    /// A task that was told to stop has had the time for it.
    Exit {
        node: usize,
        life: u32,
    },
    Fault(usize),
    /// A step on the store that votes.
    Store(StoreEvent),
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
    pub(crate) net: Net,
    pub(crate) checks: Checks,
    pub(crate) outcome: Outcome,
    /// In the place of the last node.
    pub(crate) store: Option<Store>,
    pub(crate) mutant: Mutant,
    pub(crate) traced: bool,
    /// By sender and receiver what the last beat said, for the trace.
    pub(crate) told: Vec<Vec<String>>,
    queue: BinaryHeap<Entry>,
    seq: u64,
}

impl World {
    pub(crate) fn play(seed: u64, strict: bool, mutant: Mutant, traced: bool) -> Outcome {
        let mut rng = Rng::new(seed);
        let kind = if strict { Kind::Pair } else { Kind::Drawn };
        let scenario = Scenario::draw(&mut rng, kind);
        let store = scenario.store.then(|| Store::new(seed, scenario.nodes, false));
        Self { store, ..Self::new(scenario, rng, mutant, traced) }.end()
    }

    pub(crate) fn play_store(seed: u64, forgetful: bool) -> Outcome {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng, Kind::Store);
        let store = Some(Store::new(seed, scenario.nodes, forgetful));
        Self { store, ..Self::new(scenario, rng, Mutant::None, false) }.end()
    }

    fn end(mut self) -> Outcome {
        let world = &mut self;
        world.go_on();
        world.outcome.writes = world.store.as_ref().map_or(0, Store::writes);
        world.trace(|world| world.store.as_ref().map_or_else(String::new, Store::told));
        world.outcome.simulated = world.now;
        self.outcome
    }

    fn new(scenario: Scenario, rng: Rng, mutant: Mutant, traced: bool) -> Self {
        let nodes = scenario.nodes;
        let mut world = Self {
            nodes: (0..nodes).map(|n| Node::new(&scenario, n)).collect(),
            net: Net::new(nodes, scenario.wires),
            checks: Checks::new(&scenario),
            now: 0,
            outcome: Outcome { worst: Worst::default(), ..Outcome::default() },
            store: None,
            told: vec![vec![String::new(); nodes]; nodes],
            queue: BinaryHeap::new(),
            seq: 0,
            scenario,
            rng,
            mutant,
            traced,
        };
        for i in 0..world.scenario.faults.len() {
            world.at(world.scenario.faults[i].0, Event::Fault(i));
        }
        let step = usize::try_from(world.scenario.beat()).unwrap_or(1);
        for look in (0..world.scenario.end).step_by(step) {
            world.at(look, Event::Look);
        }
        world.describe();
        world
    }

    fn describe(&mut self) {
        self.trace(|world| {
            let scenario = &world.scenario;
            format!(
                "{} nodes, {:?}, {:?}, {} wires, delays {:?} ns, removal {} ns, rights {:?}",
                scenario.nodes,
                scenario.list,
                scenario.terms,
                scenario.wires,
                scenario.delays,
                scenario.removal,
                scenario.rights
            )
        });
        for n in 0..self.nodes.len() {
            self.trace(|world| {
                format!("n{n} {:?} {:?}", world.scenario.stances[n], world.scenario.clocks[n])
            });
        }
    }

    fn go_on(&mut self) {
        while let Some(Entry(Reverse((at, _)), event)) = self.queue.pop() {
            if at > self.scenario.end || self.outcome.failure.is_some() {
                return;
            }
            self.now = at;
            self.outcome.events += 1;
            self.happen(event);
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

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look => {
                self.tick_deputies();
                self.look();
            }
            Event::Store(event) => self.store_event(event),
            Event::Letter { from, to, letter } if self.is_store(to) => self.post_to_store(from, &letter),
            Event::Wake { node, wake } => {
                if self.nodes[node].wake == wake {
                    self.nodes[node].due = None;
                    self.serve(node);
                }
            }
            Event::Letter { to, .. } if self.nodes[to].suspended && self.scenario.deaf_guests => {}
            Event::Letter { from, to, letter } => self.post(to, Mail::Letter(from, letter)),
            Event::Mail { node, life, mail } => {
                if self.nodes[node].life == life {
                    self.post(node, mail);
                }
            }
            Event::Resume(node) => self.resume(node),
            Event::Exit { node, life } => self.exit(node, life),
            Event::Fault(i) => {
                let fault = self.scenario.faults[i].1.clone();
                self.trace(|_| format!("FAULT {fault:?}"));
                self.note_paths();
                self.suffer(fault);
                self.look();
            }
        }
    }

    pub(crate) fn post(&mut self, n: usize, mail: Mail) {
        self.nodes[n].post(mail);
        self.serve(n);
    }

    /// What the machine takes for the time.
    pub(crate) fn local(&self, n: usize) -> Boot {
        let node = &self.nodes[n];
        let boot = node.clock.read(self.now);
        if self.mutant == Mutant::WallClock {
            return Boot::from_nanos(boot.as_nanos().saturating_add_signed(node.wall));
        }
        boot
    }

    /// The task of a node runs: it ends what it had begun, reads what waits, then ticks if it is time.
    pub(crate) fn serve(&mut self, n: usize) {
        if !self.nodes[n].runs(self.now) {
            return;
        }
        let early = std::mem::take(&mut self.nodes[n].glanced);
        let mut ticked = false;
        if !self.carry_out(n) || !self.drop_late(n) {
            return;
        }
        loop {
            let local = self.local(n);
            if let Some(mail) = self.nodes[n].inbox.pop_front() {
                let late = self.mutant == Mutant::EarlyClock && early > Boot::ZERO;
                self.deliver(n, &mail, if late { early } else { local });
            } else if self.is_due(n) && !ticked {
                ticked = true;
                self.give(n, Input::Tick, local);
            } else {
                break;
            }
            if !self.carry_out(n) {
                return;
            }
        }
        if ticked {
            self.check_rest(n);
        }
        self.schedule(n);
    }

    pub(crate) fn is_due(&self, n: usize) -> bool {
        let due = self.nodes[n].task.as_ref().and_then(Subject::poll_timeout);
        due.is_some_and(|due| due <= self.local(n))
    }

    /// One input; its effects follow in `carry_out`.
    pub(crate) fn give(&mut self, n: usize, input: Input<'_>, local: Boot) {
        let Some(task) = &mut self.nodes[n].task else { return };
        task.handle(input, local);
        self.nodes[n].handled_at = self.now;
        self.drain(n, local);
    }

    /// What the machine wants now.
    pub(crate) fn drain(&mut self, n: usize, local: Boot) {
        let Some(task) = &mut self.nodes[n].task else { return };
        let mut decided = Vec::new();
        while let Some(effect) = task.poll_effect() {
            decided.push(effect);
            if decided.len() > EFFECTS {
                return self.fail(|| format!("promise 8: n{n} never comes to an end"));
            }
        }
        for effect in decided {
            self.check_decided(n, &effect, local);
            self.nodes[n].effects.push_back(effect);
        }
    }

    pub(crate) fn sleep(&mut self, n: usize, time: Time) {
        let node = &mut self.nodes[n];
        node.glanced = node.clock.read(self.now);
        node.paused_until = node.paused_until.max(self.now + time);
        let (until, wake) = (node.paused_until, self.new_wake(n));
        self.trace(|_| format!("n{n} sleeps for {:.3} ms", time as f64 / 1e6));
        self.at(until, Event::Wake { node: n, wake });
    }

    fn new_wake(&mut self, n: usize) -> u64 {
        self.nodes[n].due = None;
        self.nodes[n].wake += 1;
        self.nodes[n].wake
    }

    fn schedule(&mut self, n: usize) {
        let local = self.local(n);
        let node = &mut self.nodes[n];
        let Some(at) = node.task.as_ref().and_then(Subject::poll_timeout) else { return };
        let boot = node.clock.read(self.now);
        let at = node.clock.when(boot + at.since(local)).max(self.now);
        if node.due.is_some_and(|due| due.abs_diff(at) < 10) {
            return;
        }
        let wake = self.new_wake(n);
        self.nodes[n].due = Some(at);
        let late = self.rng.within(0..JITTER);
        self.at(at + late, Event::Wake { node: n, wake });
    }

    /// A clock was changed: what it would have shown when is not true any more.
    pub(crate) fn reschedule(&mut self, n: usize) {
        self.nodes[n].due = None;
        if self.nodes[n].runs(self.now) {
            self.schedule(n);
        }
    }
}
