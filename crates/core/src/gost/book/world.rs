//! Hubs with clients, and plugins that are slow, gone, flushed or lying. Their store is gost-plugins' own: entries that are not
//! renewed end, a renewal of what is missing is not taken, and a rule that stands is not extended by being set again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::time::Boot;

/// A call that takes longer has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);
pub(super) const RENEW: Duration = Duration::from_secs(15);
/// Entries of sd last so long without a renewal, rules of ingress from when they were set.
pub(super) const LASTS: Duration = Duration::from_secs(40);

/// How the plugins are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Slow,
    /// Takes what it is told, and answers too late.
    Hung,
    Gone,
    /// Answers anything.
    Lying,
}

/// Numbers from a seed (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub(super) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) fn settings(n: usize) -> Settings {
    let (node, address) = (format!("h{n}"), format!("10.0.0.{n}:80"));
    Settings { node, address, sd: true, ingress: true, renew: RENEW }
}

/// Tunnel `n`, whose host is `hn`, served by the client `id`.
pub(super) fn service(n: u64, id: &str) -> Service {
    Service {
        id: id.into(),
        tunnel: format!("t{n}"),
        datagrams: false,
        private: false,
        hosts: vec![format!("h{n}")],
    }
}

struct Entry {
    node: Node,
    renewed: Boot,
}

/// Hub, call, answer.
type Coming = (usize, u64, Plugin, Option<Answer>);

struct Hub {
    book: Book,
    clients: BTreeMap<String, u64>,
    under: BTreeMap<Plugin, usize>,
    waits: BTreeMap<Asked, Boot>,
}

pub(super) struct World {
    pub(super) now: Boot,
    pub(super) dice: Dice,
    pub(super) mood: Mood,
    hubs: Vec<Hub>,
    sd: BTreeMap<(String, String), Entry>,
    ingress: BTreeMap<String, (String, Boot)>,
    /// Answers on their way.
    coming: BTreeMap<(Boot, u64), Coming>,
    sent: u64,
    ids: u64,
    pub(super) calls: Vec<(Boot, usize, Call)>,
    pub(super) news: Vec<(usize, News)>,
    pub(super) longest_wait: Duration,
}

impl World {
    pub(super) fn new(hubs: usize, seed: u64) -> Self {
        let now = Boot::from_nanos(1_000_000_000_000);
        let hub = |n| Hub {
            book: Book::new(settings(n), seed ^ n as u64, now),
            clients: BTreeMap::new(),
            under: BTreeMap::new(),
            waits: BTreeMap::new(),
        };
        Self {
            now,
            dice: Dice(seed),
            mood: Mood::Well,
            hubs: (0..hubs).map(hub).collect(),
            sd: BTreeMap::new(),
            ingress: BTreeMap::new(),
            coming: BTreeMap::new(),
            sent: 0,
            ids: 0,
            calls: Vec::new(),
            news: Vec::new(),
            longest_wait: Duration::ZERO,
        }
    }

    pub(super) fn book(&mut self, hub: usize) -> &mut Book {
        &mut self.hubs[hub].book
    }

    /// A client of tunnel `n` comes to a hub.
    pub(super) fn bind(&mut self, hub: usize, n: u64) -> String {
        self.ids += 1;
        let id = format!("c{}", self.ids);
        self.hubs[hub].clients.insert(id.clone(), n);
        self.give(hub, Input::Bound(service(n, &id)));
        id
    }

    pub(super) fn unbind(&mut self, hub: usize, id: &str) {
        self.hubs[hub].clients.remove(id);
        self.give(hub, Input::Unbound(id.to_owned()));
    }

    pub(super) fn client_of(&self, hub: usize) -> Option<String> {
        self.hubs[hub].clients.keys().next().cloned()
    }

    /// Tunnels that have a client somewhere.
    pub(super) fn served(&self) -> BTreeSet<u64> {
        self.hubs.iter().flat_map(|hub| hub.clients.values().copied()).collect()
    }

    pub(super) fn flush(&mut self) {
        self.sd.clear();
        self.ingress.clear();
    }

    pub(super) fn rule(&mut self, hub: usize, host: &str) -> Look<Rule> {
        let now = self.now;
        let look = self.hubs[hub].book.rule(host, now);
        if look == Look::Asked {
            self.hubs[hub].waits.entry(Asked::Host(host.into())).or_insert(now);
        }
        self.drain(hub);
        look
    }

    pub(super) fn nodes(&mut self, hub: usize, tunnel: &str) -> Look<Vec<Node>> {
        let now = self.now;
        let look = self.hubs[hub].book.nodes(tunnel, now);
        if look == Look::Asked {
            self.hubs[hub].waits.entry(Asked::Tunnel(tunnel.into())).or_insert(now);
        }
        self.drain(hub);
        look
    }

    pub(super) fn give(&mut self, hub: usize, input: Input) {
        let now = self.now;
        self.hubs[hub].book.handle(input, now);
        self.drain(hub);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let answer = self.coming.keys().next().map(|(at, _)| *at);
            let timer = self.hubs.iter().filter_map(|hub| hub.book.poll_timeout()).min();
            let Some(next) = [answer, timer].into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            let due: Vec<_> = self.coming.keys().filter(|(at, _)| *at <= self.now).copied().collect();
            for key in due {
                let (hub, call, plugin, answer) = self.coming.remove(&key).expect("it is there");
                *self.hubs[hub].under.get_mut(&plugin).expect("it was called") -= 1;
                self.give(
                    hub,
                    match answer {
                        Some(answer) => Input::Answered { call, answer },
                        None => Input::Failed { call, why: "no answer within 1 s".into() },
                    },
                );
            }
            for hub in 0..self.hubs.len() {
                self.give(hub, Input::Tick);
            }
        }
        self.now = until;
        for (_, waits) in self.hubs.iter().flat_map(|hub| hub.waits.iter()) {
            self.longest_wait = self.longest_wait.max(self.now.since(*waits));
        }
    }

    fn drain(&mut self, hub: usize) {
        while let Some(effect) = self.hubs[hub].book.poll_effect() {
            match effect {
                Effect::Call { call, what } => self.call(hub, call, what),
                Effect::Settled(asked) => {
                    if let Some(since) = self.hubs[hub].waits.remove(&asked) {
                        self.longest_wait = self.longest_wait.max(self.now.since(since));
                    }
                }
                Effect::Nodes(_) => {}
                Effect::Tell(news) => self.news.push((hub, news)),
            }
        }
    }

    fn call(&mut self, hub: usize, call: u64, what: Call) {
        let plugin = match &what {
            Call::Register { .. } | Call::Renew { .. } | Call::Deregister { .. } | Call::Nodes { .. } => {
                Plugin::Sd
            }
            Call::Lead { .. } | Call::Rule { .. } => Plugin::Ingress,
        };
        let under = self.hubs[hub].under.entry(plugin).or_default();
        *under += 1;
        assert!(*under <= CALLS_MAX, "{under} calls under way with one plugin");
        self.calls.push((self.now, hub, what.clone()));
        let (after, answer) = match self.mood {
            Mood::Well => (ms(1 + self.dice.roll(40)), Some(self.serve(hub, &what))),
            Mood::Slow => (ms(300 + self.dice.roll(500)), Some(self.serve(hub, &what))),
            Mood::Hung => {
                self.serve(hub, &what);
                (DEADLINE, None)
            }
            Mood::Gone => (ms(1), None),
            Mood::Lying => (ms(1 + self.dice.roll(40)), Some(self.lie())),
        };
        self.sent += 1;
        self.coming.insert((self.now + after, self.sent), (hub, call, plugin, answer));
    }

    fn serve(&mut self, hub: usize, call: &Call) -> Answer {
        let now = self.now;
        self.sd.retain(|_, entry| now.since(entry.renewed) < LASTS);
        self.ingress.retain(|_, (_, set)| now.since(*set) < LASTS);
        let Settings { node, address, .. } = settings(hub);
        match call.clone() {
            Call::Register { id, tunnel, datagrams } => {
                let node = Node { node, address, datagrams };
                self.sd.insert((tunnel, id), Entry { node, renewed: now });
                Answer::Done(true)
            }
            Call::Renew { id, tunnel, .. } => match self.sd.get_mut(&(tunnel, id)) {
                Some(entry) => {
                    entry.renewed = now;
                    Answer::Done(true)
                }
                None => Answer::Done(false),
            },
            Call::Deregister { id, tunnel, .. } => Answer::Done(self.sd.remove(&(tunnel, id)).is_some()),
            Call::Nodes { tunnel } => {
                let of = self.sd.iter().filter(|((one, _), _)| *one == tunnel);
                Answer::Nodes(of.map(|(_, entry)| entry.node.clone()).collect())
            }
            Call::Lead { host, tunnel } => {
                let known = self.ingress.entry(host).or_insert((tunnel.clone(), now));
                Answer::Done(known.0 == tunnel)
            }
            Call::Rule { host } => Answer::Rule(self.ingress.get(&host).map(|(tunnel, _)| Rule {
                tunnel: tunnel.clone(),
                private: false,
                made: true,
            })),
        }
    }

    fn lie(&mut self) -> Answer {
        let text = |dice: &mut Dice| match dice.roll(6) {
            0 => String::new(),
            1 => "x".repeat(100_000),
            2 => "no address".to_owned(),
            3 => "10.0.0.0:80".to_owned(),
            4 => format!("evil:{}", dice.roll(70_000)),
            _ => "\r\nHost: x:1".to_owned(),
        };
        match self.dice.roll(4) {
            0 => Answer::Done(self.dice.roll(2) == 0),
            1 => {
                let count = self.dice.roll(200);
                let node = |dice: &mut Dice| Node { node: text(dice), address: text(dice), datagrams: false };
                Answer::Nodes((0..count).map(|_| node(&mut self.dice)).collect())
            }
            2 => Answer::Rule(Some(Rule { tunnel: text(&mut self.dice), private: false, made: false })),
            _ => Answer::Rule(None),
        }
    }

    /// What stands in the store is what there is: each client, each host; nobody who has gone.
    pub(super) fn agrees(&mut self) -> Result<(), String> {
        let now = self.now;
        self.sd.retain(|_, entry| now.since(entry.renewed) < LASTS);
        let clients = self.hubs.iter().flat_map(|hub| hub.clients.iter());
        let should: BTreeSet<_> = clients.map(|(id, n)| (format!("t{n}"), id.clone())).collect();
        let is: BTreeSet<_> = self.sd.keys().cloned().collect();
        if should != is {
            return Err(format!("sd has {is:?} and should have {should:?}"));
        }
        Ok(())
    }
}
