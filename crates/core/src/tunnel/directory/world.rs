//! Hubs that come, die, are started again and talk, and what somebody who knows everything would expect of it.

use std::collections::BTreeMap;

use super::{About, Agent, Directory, Effect, Input, Message, Offers, Reader, encode};

/// A session as it truly is.
struct Truth {
    hub: String,
    epoch: u64,
    /// A later run was seen while it lived.
    outdated: bool,
    leaving: bool,
    tunnels: BTreeMap<String, Vec<Agent>>,
    /// Its bytes come cut as chance will.
    reader: Reader,
}

/// What the pools of a thread were told: tunnel, then hub and agent.
type Pools = BTreeMap<String, Vec<(String, String)>>;

pub(super) struct World {
    directory: Directory,
    sessions: BTreeMap<u64, Truth>,
    pools: Pools,
    numbers: u64,
    chance: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            directory: Directory::default(),
            sessions: BTreeMap::new(),
            pools: Pools::new(),
            numbers: 0,
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn draw(&mut self, most: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % most
    }

    fn one(&mut self) -> Option<u64> {
        let all: Vec<u64> = self.sessions.keys().copied().collect();
        if all.is_empty() {
            return None;
        }
        let at = usize::try_from(self.draw(all.len() as u64)).unwrap();
        Some(all[at])
    }

    pub(super) fn step(&mut self) {
        match self.draw(10) {
            0 | 1 => self.begin(),
            2 => self.end(),
            3 => self.leave(),
            _ => self.talk(),
        }
        self.settle();
        self.check();
    }

    fn begin(&mut self) {
        if self.sessions.len() > 12 {
            return;
        }
        self.numbers += 1;
        let (hub, epoch) = (format!("hub-{}", self.draw(4)), self.draw(5));
        let mut outdated = false;
        for other in self.sessions.values_mut().filter(|other| other.hub == hub) {
            outdated |= other.epoch > epoch;
            other.outdated |= other.epoch < epoch;
        }
        let truth = Truth {
            hub: hub.clone(),
            epoch,
            outdated,
            leaving: false,
            tunnels: BTreeMap::new(),
            reader: Reader::default(),
        };
        self.sessions.insert(self.numbers, truth);
        self.directory.handle(Input::Began { session: self.numbers, hub, epoch });
    }

    fn end(&mut self) {
        let Some(session) = self.one() else { return };
        self.sessions.remove(&session);
        self.directory.handle(Input::Ended(session));
    }

    fn leave(&mut self) {
        let Some(session) = self.one() else { return };
        let leaving = self.draw(2) == 0;
        self.sessions.get_mut(&session).unwrap().leaving = leaving;
        self.say(session, &Message::Hub(About { urls: vec!["tls://a".into()], leaving }));
    }

    fn talk(&mut self) {
        let Some(session) = self.one() else { return };
        let tunnel = format!("tunnel-{}", self.draw(5));
        let count = self.draw(4);
        let agents: Vec<Agent> = (0..count)
            .map(|nth| Agent {
                name: format!("agent-{nth}"),
                bytes: true,
                datagrams: false,
                weight: 1,
                trouble: (self.draw(3) == 0).then(|| "no target of it answers".to_owned()),
                run: self.draw(2),
                load: 0,
            })
            .collect();
        let truth = self.sessions.get_mut(&session).unwrap();
        truth.tunnels.insert(tunnel.clone(), agents.clone());
        self.say(session, &Message::Tunnel(Offers { tunnel, agents, gost: None }));
    }

    /// Over the wire, in pieces.
    fn say(&mut self, session: u64, message: &Message) {
        let bytes = encode(message);
        let cut = usize::try_from(self.draw(bytes.len() as u64)).unwrap();
        for part in [&bytes[..cut], &bytes[cut..]] {
            let reader = &mut self.sessions.get_mut(&session).unwrap().reader;
            reader.feed(part);
            while let Some(message) = reader.take().unwrap() {
                self.directory.handle(Input::Said(session, message));
            }
        }
    }

    /// Does what is asked for, and nothing else: what a tunnel's pool is not told of it does not know.
    fn settle(&mut self) {
        while let Some(effect) = self.directory.poll_effect() {
            if let Effect::Tunnel(tunnel) = effect {
                let offers = self.directory.offers(&tunnel);
                let known = offers.map(|line| (line.hub.to_owned(), line.agent.name.clone())).collect();
                self.pools.insert(tunnel, known);
            }
        }
    }

    fn check(&self) {
        for nth in 0..5 {
            let tunnel = format!("tunnel-{nth}");
            let mut wanted = Vec::new();
            let mut spoken = Vec::new();
            for truth in self.sessions.values().filter(|truth| !truth.outdated) {
                if spoken.contains(&&truth.hub) {
                    continue;
                }
                spoken.push(&truth.hub);
                let agents = truth.tunnels.get(&tunnel).filter(|_| !truth.leaving);
                for agent in agents.into_iter().flatten() {
                    wanted.push((truth.hub.clone(), agent.name.clone()));
                }
            }
            let known = self.pools.get(&tunnel).cloned().unwrap_or_default();
            assert_eq!(known, wanted, "{tunnel}");
        }
        let hubs: Vec<&str> = self.directory.hubs().map(|(hub, _)| hub).collect();
        let mut sorted = hubs.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), hubs.len(), "each hub speaks once");
    }
}
