//! A cluster in one thread: nodes that run `Leases`, wires with delay and loss, true time, and a judge who knows it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lease::{
    Effect, Ending, Freed, Input, Leases, Letter, Member, Message, Notice, Setup, Stance, Terms, VoterList,
};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

pub(super) const RIGHT: RightId = RightId(0);
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const C: usize = 2;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn terms(term: u64) -> Terms {
    Terms { term: ms(term), term_max: ms(term), drift_ppm: 1_000, gate_error: ms(1) }
}

pub(super) fn list(names: &[&str]) -> VoterList {
    let member = |id: &&str| Member { id: (*id).into(), votes: true, holds: !id.starts_with('w') };
    VoterList { epoch: 1, members: names.iter().map(member).collect() }
}

pub(super) fn ready(priority: u8) -> Stance {
    Stance::Ready { priority, preempts: false }
}

/// What a wire does to a letter: whether it is lost, by sender, receiver and the letter.
type Loss = Box<dyn FnMut(usize, usize, &Letter) -> bool>;

pub(super) struct Net {
    pub(super) now: Boot,
    pub(super) nodes: Vec<Option<Leases>>,
    /// By node, who holds the right and until when; cleared when the address is gone.
    pub(super) held: Vec<Option<(u64, Boot)>>,
    pub(super) notices: Vec<(usize, Notice)>,
    pub(super) yields: Vec<(usize, Ending)>,
    pub(super) takes: Vec<(Duration, usize, u64)>,
    /// Yields are answered by `Gone` after so long.
    pub(super) removal: Duration,
    pub(super) delay: Duration,
    pub(super) loss: Loss,
    pub(super) letters: u64,
    pub(super) names: Vec<String>,
    ids: Vec<String>,
    flying: BTreeMap<(Boot, u64), (usize, usize, Letter)>,
    leaving: Vec<(Boot, usize, RightId)>,
    terms: Terms,
    list: VoterList,
    starts: u64,
    lasting: bool,
}

impl Net {
    /// Two nodes whose promises last.
    pub(super) fn pair(term: u64) -> Self {
        Self::with(terms(term), &["a", "b"], true)
    }

    pub(super) fn new(terms: Terms, names: &[&str]) -> Self {
        Self::with(terms, names, false)
    }

    fn with(terms: Terms, names: &[&str], lasting: bool) -> Self {
        let mut net = Self {
            now: Boot::ZERO + ms(10_000),
            nodes: names.iter().map(|_| None).collect(),
            held: vec![None; names.len()],
            notices: vec![],
            yields: vec![],
            takes: vec![],
            removal: ms(1),
            delay: ms(1),
            loss: Box::new(|_, _, _| false),
            letters: 0,
            names: vec!["vip/web".into()],
            ids: names.iter().map(|id| (*id).to_owned()).collect(),
            flying: BTreeMap::new(),
            leaving: vec![],
            terms,
            list: list(names),
            starts: 0,
            lasting,
        };
        for node in 0..names.len() {
            net.start(node, true, None);
        }
        net
    }

    /// Starts a node's process; `heir_of` the one before it, or of none.
    pub(super) fn start(&mut self, node: usize, remembers: bool, heir_of: Option<u64>) -> u64 {
        self.starts += 1;
        let instance = self.starts << 20 | node as u64;
        let setup = Setup {
            me: NodeId(node as u32),
            list: self.list.clone(),
            terms: self.terms,
            salt: 1,
            instance,
            heir_of,
            epoch_floor: self.now.as_nanos() / 1_000_000,
            remembers,
            lasting: self.lasting,
        };
        self.nodes[node] = Some(Leases::new(setup, self.names.clone(), self.now));
        self.drain(node);
        instance
    }

    /// The list that nodes start with from now on.
    pub(super) fn set_list(&mut self, list: VoterList) {
        self.list = list;
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.nodes[node] = None;
        // The gate closes by itself; the address is swept.
        self.held[node] = None;
    }

    pub(super) fn stance(&mut self, node: usize, stance: Stance) {
        self.give(node, &Input::Stance { right: RIGHT, stance });
    }

    pub(super) fn give(&mut self, node: usize, input: &Input<'_>) {
        let now = self.now;
        if let Some(leases) = &mut self.nodes[node] {
            leases.handle(*input, now);
        }
        self.drain(node);
    }

    pub(super) fn node(&self, node: usize) -> &Leases {
        self.nodes[node].as_ref().unwrap()
    }

    /// A node takes its address away and says so.
    pub(super) fn gone(&mut self, node: usize) {
        self.held[node] = None;
        self.give(node, &Input::Gone { right: RIGHT });
    }

    pub(super) fn holder(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|node| self.live(*node))
    }

    /// Plays until a time has passed.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
    }

    /// Plays until something is true; fails when it is not after `within`.
    pub(super) fn until(&mut self, within: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + within);
        while !done(self) {
            assert!(self.step(end), "not within {within:?}");
        }
        self.now.since(start)
    }

    /// Sends a message as if from a node, at once.
    pub(super) fn forge(&mut self, from: usize, to: usize, messages: Vec<Message>) {
        let letter = self.node(from).letter(messages);
        self.hear(from, to, &letter);
    }

    /// A letter arrives; the receiver's own list says which number its sender has.
    fn hear(&mut self, from: usize, to: usize, letter: &Letter) {
        let from = self.nodes[to].as_ref().and_then(|leases| leases.list().find(&self.ids[from]));
        if let Some(from) = from {
            self.give(to, &Input::Heard { from, letter });
        }
    }

    fn live(&self, node: usize) -> bool {
        self.held[node].is_some_and(|(_, until)| self.now < until)
    }

    /// The next event before `end`; at `end` there is none.
    fn step(&mut self, end: Boot) -> bool {
        let letter = self.flying.keys().next().map(|(at, _)| *at);
        let tick = self.nodes.iter().flatten().filter_map(Leases::poll_timeout).min();
        let gone = self.leaving.iter().map(|(at, _, _)| *at).min();
        let next = [letter, tick, gone].into_iter().flatten().min().unwrap_or(end);
        if next >= end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        if gone == Some(next) {
            let at = self.leaving.iter().position(|(at, _, _)| *at == next).unwrap();
            let (_, node, right) = self.leaving.remove(at);
            self.held[node] = None;
            self.give(node, &Input::Gone { right });
        } else if letter == Some(next) {
            let (_, (from, to, letter)) = self.flying.pop_first().unwrap();
            self.hear(from, to, &letter);
        } else {
            for node in 0..self.nodes.len() {
                if self.nodes[node].as_ref().is_some_and(|leases| leases.poll_timeout() <= Some(self.now)) {
                    self.give(node, &Input::Tick);
                    let due = self.nodes[node].as_ref().and_then(Leases::poll_timeout);
                    assert!(due > Some(self.now), "a tick leaves nothing due: node {node} at {}", self.now);
                }
            }
        }
        assert!(
            (0..self.nodes.len()).filter(|node| self.live(*node)).count() < 2,
            "two holders at {}",
            self.now
        );
        true
    }

    fn drain(&mut self, node: usize) {
        let mut count = 0;
        while let Some(effect) = self.nodes[node].as_mut().and_then(Leases::poll_effect) {
            count += 1;
            assert!(count < 1_000, "effects without end");
            match effect {
                Effect::Send { to, message } => self.post(node, to, message),
                Effect::Held { right, epoch, until } => {
                    assert!(until > self.now);
                    if right == RIGHT {
                        if self.held[node].is_none() {
                            self.takes.push((self.now.since(Boot::ZERO), node, epoch));
                        }
                        self.held[node] = Some((epoch, until));
                    }
                }
                Effect::Yield { right, why } => {
                    self.yields.push((node, why));
                    self.leaving.push((self.now + self.removal, node, right));
                }
                Effect::Notice(notice) => self.notices.push((node, notice)),
                Effect::Adopted(_) => {}
            }
        }
    }

    fn post(&mut self, from: usize, to: NodeId, message: Message) {
        let id = self.node(from).list().name(to);
        let Some(to) = self.ids.iter().position(|known| known == id) else { return };
        assert_ne!(from, to, "nothing goes to oneself over a wire");
        let letter = self.node(from).letter(vec![message]);
        self.letters += 1;
        if !(self.loss)(from, to, &letter) && self.nodes[to].is_some() {
            self.flying.insert((self.now + self.delay, self.letters), (from, to, letter));
        }
    }
}

pub(super) fn frees(message: &Message) -> Option<&Freed> {
    match message {
        Message::Free(freed) => freed.first(),
        Message::Beat(_)
        | Message::Request(_)
        | Message::Reply(_)
        | Message::List(_)
        | Message::Sights(_) => None,
    }
}
