//! Nodes in one thread with a network in between that loses, repeats, reorders, delays, alters and remembers.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mainstay_core::lease::{Beat, Letter, Mark, Message};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use mainstay_link::{Config, Entropy, Event, Heard, Keys, Local, PeerSpec, Sessions};

pub(crate) const BEAT: Duration = Duration::from_millis(50);
pub(crate) const WIRES: u8 = 2;

/// Chance that is the same in every run.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next().to_be_bytes()[0];
        }
    }
}

/// What becomes of datagrams, in percent and time.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) altered: u64,
    pub(crate) delay: Duration,
    pub(crate) more: Duration,
}

pub(crate) const CALM: Weather =
    Weather { lost: 0, doubled: 0, altered: 0, delay: Duration::from_millis(1), more: Duration::ZERO };

/// One node as the world knows it.
pub(crate) struct Node {
    pub(crate) sessions: Sessions,
    pub(crate) keys: Keys,
    pub(crate) events: Vec<(Boot, Event)>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) number: u64,
    /// How often it says one.
    pub(crate) pace: Duration,
    /// When it says its next beat; never while it is silent.
    pub(crate) beats: Boot,
}

pub(crate) struct World {
    pub(crate) now: Boot,
    pub(crate) nodes: BTreeMap<u8, Node>,
    pub(crate) weather: Weather,
    pub(crate) chance: Seeded,
    /// From, to, wire: cut.
    pub(crate) cuts: Vec<(u8, u8, u8)>,
    /// Time, tie, source, destination, bytes.
    pub(crate) flying: BTreeMap<(Boot, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    pub(crate) tie: u64,
    /// A node that does nothing for a while, and what came for it.
    pub(crate) frozen: Option<u8>,
    pub(crate) mail: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// What was said in reply and does not fly yet.
    pub(crate) said: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Every datagram that was ever sent.
    pub(crate) tape: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    pub(crate) taping: bool,
}

/// The address of a node on a wire.
pub(crate) fn addr(node: u8, wire: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([10, 0, wire, node]), 7474)
}

pub(crate) fn spec(node: u8, key: Option<[u8; 32]>) -> PeerSpec {
    let addrs = (0..WIRES).map(|wire| addr(node, wire)).collect();
    PeerSpec { node: NodeId(node.into()), id: format!("n{node}"), key, addrs }
}

pub(crate) fn keys(node: u8) -> Keys {
    Keys::generate(&mut Seeded(1_000 + u64::from(node)))
}

pub(crate) fn letter(number: u64) -> Letter {
    let beat = Beat { number, rights: Vec::new() };
    Letter { instance: 1, heir_of: None, mark: Mark::default(), messages: vec![Message::Beat(beat)] }
}

pub(crate) fn numbers(heard: &[Heard], from: u8) -> Vec<u64> {
    let of = heard.iter().filter(|heard| heard.from == NodeId(from.into()));
    of.flat_map(|heard| &heard.letter.messages)
        .filter_map(|message| match message {
            Message::Beat(beat) => Some(beat.number),
            Message::Request(_)
            | Message::Reply(_)
            | Message::Free(_)
            | Message::List(_)
            | Message::Sights(_) => None,
        })
        .collect()
}

impl World {
    pub(crate) fn empty(seed: u64) -> Self {
        Self {
            now: Boot::from_nanos(1_000_000_000),
            nodes: BTreeMap::new(),
            weather: CALM,
            chance: Seeded(seed),
            cuts: Vec::new(),
            flying: BTreeMap::new(),
            tie: 0,
            frozen: None,
            mail: Vec::new(),
            said: Vec::new(),
            tape: Vec::new(),
            taping: false,
        }
    }

    /// Nodes 1 to `count` that know each other's keys.
    pub(crate) fn pinned(seed: u64, count: u8) -> Self {
        let mut world = Self::empty(seed);
        for node in 1..=count {
            let peers = (1..=count).filter(|peer| *peer != node);
            world.start(node, peers.map(|peer| spec(peer, Some(keys(peer).public))).collect(), None);
        }
        world
    }

    pub(crate) fn config(node: u8, keys: &Keys, peers: Vec<PeerSpec>, cluster_key: Option<&[u8]>) -> Config {
        Config {
            cluster: "shop".to_owned(),
            me: Local { node: NodeId(node.into()), id: format!("n{node}"), secret: keys.secret.clone() },
            peers,
            cluster_key: cluster_key.map(<[u8]>::to_vec),
            token: None,
            forgotten: Vec::new(),
            beat: BEAT,
        }
    }

    /// Starts a node (anew).
    pub(crate) fn start(&mut self, node: u8, peers: Vec<PeerSpec>, cluster_key: Option<&[u8]>) {
        let keys = keys(node);
        self.put(node, Self::config(node, &keys, peers, cluster_key), keys);
    }

    pub(crate) fn put(&mut self, at: u8, config: Config, keys: Keys) {
        let entropy = Box::new(Seeded(self.chance.next()));
        let pace = config.beat;
        let sessions = Sessions::with_entropy(config, entropy, self.now);
        let (events, heard) = (Vec::new(), Vec::new());
        self.nodes
            .insert(at, Node { sessions, keys, events, heard, number: 0, pace, beats: self.now + pace });
    }

    pub(crate) fn node(&mut self, node: u8) -> &mut Node {
        self.nodes.get_mut(&node).expect("a node that was started")
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.run_until(until, |_| false);
    }

    /// Until something is so; panics when it does not become so.
    pub(crate) fn wait(&mut self, time: Duration, what: &str, so: impl FnMut(&mut Self) -> bool) -> Duration {
        let begun = self.now;
        assert!(self.run_until(begun + time, so), "{what} not within {time:?}");
        self.now.since(begun)
    }

    fn run_until(&mut self, until: Boot, mut so: impl FnMut(&mut Self) -> bool) -> bool {
        self.drain();
        loop {
            if so(self) {
                return true;
            }
            let datagram = self.flying.keys().next().map(|(at, _)| *at);
            let awake =
                || self.nodes.iter().filter(|(at, _)| self.frozen != Some(**at)).map(|(_, node)| node);
            let timers = awake().filter_map(|node| node.sessions.poll_timeout());
            let beats = awake().map(|node| node.beats);
            let next = timers.chain(beats).chain(datagram).min().unwrap_or(Boot::NEVER);
            if next > until {
                self.now = until;
                return false;
            }
            self.now = self.now.max(next);
            self.step();
            self.drain();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (from, to, bytes) = entry.remove();
            let IpAddr::V4(ip) = to.ip() else { continue };
            let (at, wire) = (ip.octets()[3], ip.octets()[2]);
            if self.frozen == Some(at) {
                self.mail.push((from, to, bytes));
                continue;
            }
            let Some(node) = self.nodes.get_mut(&at) else { continue };
            node.heard.extend(node.sessions.receive(from, &bytes, now));
            let mut said = 0;
            while let Some(transmit) = node.sessions.poll_transmit() {
                said += transmit.bytes.len();
                self.said.push((addr(at, wire), transmit.to, transmit.bytes));
            }
            assert!(said <= bytes.len(), "{said} bytes for {} from {from}", bytes.len());
        }
        for (at, node) in &mut self.nodes {
            if self.frozen == Some(*at) {
                continue;
            }
            if node.sessions.poll_timeout().is_some_and(|at| at <= now) {
                node.sessions.tick(now);
                let again = node.sessions.poll_timeout();
                assert!(
                    again.is_none_or(|at| at > now),
                    "a timer that is due was not served: {again:?} at {now}"
                );
            }
            if node.beats <= now {
                node.beats = now + node.pace;
                node.number += 1;
                let peers: Vec<NodeId> = node.sessions.view(now).peers.iter().map(|peer| peer.node).collect();
                for peer in peers {
                    node.sessions.send(peer, &letter(node.number), now);
                }
            }
        }
    }

    /// Takes what the nodes want to say.
    pub(crate) fn drain(&mut self) {
        let mut out = std::mem::take(&mut self.said);
        for (at, node) in &mut self.nodes {
            while let Some(transmit) = node.sessions.poll_transmit() {
                let IpAddr::V4(ip) = transmit.to.ip() else { continue };
                let wire = ip.octets()[2];
                out.push((addr(*at, wire), transmit.to, transmit.bytes));
            }
            while let Some(event) = node.sessions.poll_event() {
                node.events.push((self.now, event));
            }
        }
        for (from, to, bytes) in out {
            self.fly(from, to, bytes);
        }
    }

    pub(crate) fn fly(&mut self, from: SocketAddr, to: SocketAddr, mut bytes: Vec<u8>) {
        assert!(bytes.len() <= 1_400);
        if self.taping {
            self.tape.push((from, to, bytes.clone()));
        }
        let last = |addr: SocketAddr| match addr.ip() {
            IpAddr::V4(ip) => (ip.octets()[3], ip.octets()[2]),
            IpAddr::V6(_) => (0, 0),
        };
        let ((from_node, wire), (to_node, _)) = (last(from), last(to));
        let Weather { lost, doubled, altered, delay, more } = self.weather;
        if self.cuts.contains(&(from_node, to_node, wire)) || self.chance.chance(lost) {
            return;
        }
        if self.chance.chance(altered) {
            let at = usize::try_from(self.chance.next()).expect("64 bits") % bytes.len();
            bytes[at] ^= 1 << (self.chance.next() % 8);
        }
        for _ in 0..1 + u64::from(self.chance.chance(doubled)) {
            let more = u64::try_from(more.as_nanos()).expect("short");
            let late = Duration::from_nanos(self.chance.next() % (more + 1));
            self.tie += 1;
            self.flying.insert((self.now + delay + late, self.tie), (from, to, bytes.clone()));
        }
    }

    /// Stops a node for a while; then it finds what its socket's buffer had room for.
    pub(crate) fn freeze(&mut self, node: u8, time: Duration) {
        self.frozen = Some(node);
        self.run(time);
        self.frozen = None;
        for letter in std::mem::take(&mut self.mail).into_iter().take(400) {
            self.tie += 1;
            self.flying.insert((self.now, self.tie), letter);
        }
    }

    pub(crate) fn has_session(&self, node: u8, with: u8) -> bool {
        let Some(node) = self.nodes.get(&node) else { return false };
        let view = node.sessions.view(self.now);
        view.peers.iter().any(|peer| peer.node == NodeId(with.into()) && peer.session.is_some())
    }

    pub(crate) fn events(&self, node: u8) -> Vec<Event> {
        self.nodes[&node].events.iter().map(|(_, event)| event.clone()).collect()
    }
}
