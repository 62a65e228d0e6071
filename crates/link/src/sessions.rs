//! All sessions of a node: the public verbs, and who gets a datagram.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::lease::Letter;
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use zeroize::Zeroizing;

use crate::enrol::{Guest, Offer, Reply};
use crate::event::{Event, Intrusion, Means};
use crate::house::{House, Transmit};
use crate::keys::Secret;
use crate::limit::Limits;
use crate::noise::{self, Entropy, Psk, SystemEntropy};
use crate::packet::{self, Code, Greeting, No, Packet};
use crate::peer::{Answer, Data, HALF_OPEN, Hello, Peer, Said, Why, write};
use crate::view::{LinkView, PeerView, SessionView, WireView};

/// Enrolments of others that are under way at once.
const GUESTS: usize = 8;

/// Tokens that are out at once.
const OFFERS: usize = 16;

/// Warnings of somebody who may not enrol are this far apart: anybody can bring them about.
const WARN: Duration = Duration::from_secs(60);

/// What sessions are made from.
pub struct Config {
    /// The cluster's name: nodes of another one are strangers.
    pub cluster: String,
    /// This node.
    pub me: Local,
    /// The other ones.
    pub peers: Vec<PeerSpec>,
    /// Enrols peers whose key is not known yet.
    pub cluster_key: Option<Vec<u8>>,
    /// A one-time token that this node was given; with it and without a cluster key, every peer is asked to enrol us first.
    pub token: Option<Vec<u8>>,
    /// Keys that were forgotten: nobody's word brings them back.
    pub forgotten: Vec<[u8; 32]>,
    /// How often this node says something; peers are told, and count its silence in its own beats.
    pub beat: Duration,
}

/// This node.
pub struct Local {
    /// Its place in the list.
    pub node: NodeId,
    /// Its `node.id`.
    pub id: String,
    /// Its static key.
    pub secret: Secret,
}

/// A peer as the configuration and the pinned keys have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    /// Its place in the list.
    pub node: NodeId,
    /// Its `node.id`.
    pub id: String,
    /// Its static key, when it is known.
    pub key: Option<[u8; 32]>,
    /// Its addresses, each a wire.
    pub addrs: Vec<SocketAddr>,
}

/// A one-time token that is given out.
pub struct Token {
    /// What its holder proves to have.
    pub secret: Vec<u8>,
    /// The `node.id` of the only node that it is for, if it is for one.
    pub id: Option<String>,
    /// It is worth nothing from then on.
    pub until: Boot,
}

/// A letter that a peer is known to have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub from: NodeId,
    /// The first wire that brought it.
    pub wire: usize,
    /// What.
    pub letter: Letter,
}

/// All sessions of a node.
pub struct Sessions {
    pub(crate) house: House,
    pub(crate) peers: Vec<Peer>,
    guests: VecDeque<Guest>,
    offers: Vec<Offer>,
    /// Whether the house's key is the cluster key, with which others may join.
    hosts: bool,
    limits: Limits,
    pub(crate) forgotten: Vec<[u8; 32]>,
    /// When intruders may be told of again: any, and those that have a token.
    warn_from: [Boot; 2],
}

impl Sessions {
    /// Sessions with every peer, made from now on: see [`Self::poll_transmit`].
    #[must_use]
    pub fn new(config: Config, now: Boot) -> Self {
        Self::with_entropy(config, Box::new(SystemEntropy), now)
    }

    /// The same with chance from elsewhere.
    #[must_use]
    pub fn with_entropy(config: Config, mut entropy: Box<dyn Entropy>, now: Boot) -> Self {
        let Config { cluster, me, peers, cluster_key, token, forgotten, beat } = config;
        let hosts = cluster_key.is_some();
        let bearer = !hosts && token.is_some();
        let psk = cluster_key.or(token).map(|secret| Psk::derive(&Zeroizing::new(secret), &cluster));
        let limits = Limits::new(noise::draw(&mut *entropy), now);
        let mut house = House::new(cluster, (me.node, me.id, me.secret), psk, beat, entropy);
        house.bearer = bearer;
        let mut peers: Vec<Peer> = peers.into_iter().map(|spec| Peer::new(spec, beat, now)).collect();
        peers.iter_mut().for_each(|peer| peer.ask = bearer);
        let (guests, offers, warn_from) = (VecDeque::new(), Vec::new(), [Boot::ZERO; 2]);
        Self { house, peers, guests, offers, hosts, limits, forgotten, warn_from }
    }

    /// This node's own place, as it was given.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.house.node
    }

    /// Takes a datagram; a letter when there was a new one in it. Afterwards there may be something to transmit and to tell.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8], now: Boot) -> Option<Heard> {
        let from = match from.ip().to_canonical() {
            // A socket for both families tells IPv4 sources as IPv6 addresses.
            ip if from.is_ipv6() && ip.is_ipv4() => SocketAddr::new(ip, from.port()),
            _ => from,
        };
        let Some(packet) = packet::parse(datagram) else {
            self.house.causes.malformed += 1;
            return None;
        };
        match packet {
            Packet::Data { mine, number, sealed } => {
                return self.on_data(Data { from, mine, number, sealed }, now);
            }
            Packet::Hello { theirs, noise, code } => self.on_hello(from, theirs, noise, code, now),
            Packet::Answer { mine, theirs, noise, code } => {
                self.on_answer(Answer { from, mine, theirs, noise, code }, now);
            }
            Packet::Join { theirs, noise, code } => self.on_join(from, theirs, noise, code, now),
            Packet::Reply { mine, theirs, noise, code } => {
                let reply = Reply { from, mine, theirs, noise, code };
                match self.peers.iter_mut().find(|peer| peer.joining.iter().any(|one| one.mine == mine)) {
                    Some(peer) => peer.on_reply(&reply, &mut self.house, now),
                    None => self.house.causes.unasked += 1,
                }
            }
            Packet::Proof { mine, noise, code } => self.on_proof(from, mine, noise, code, now),
            Packet::Verdict { mine, sealed } => {
                match self.peers.iter_mut().find(|peer| peer.joining.iter().any(|one| one.mine == mine)) {
                    Some(peer) => peer.on_verdict(from, mine, sealed, &mut self.house, now),
                    None => self.house.causes.unasked += 1,
                }
            }
        }
        None
    }

    /// Sends a letter over every wire to a peer. Without a session it is dropped and counted: letters are repeated by those who write them.
    pub fn send(&mut self, to: NodeId, letter: &Letter, _now: Boot) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node() == to) {
            peer.send(letter, &mut self.house);
        }
    }

    /// Seals a letter now that somebody else sends to each of [`Self::addrs`], should we die. Good while the session is: to be
    /// sealed anew on [`Event::Established`] and [`Event::Replaced`]. Empty without a session.
    pub fn seal_will(&mut self, to: NodeId, letter: &Letter) -> Vec<Vec<u8>> {
        let peer = self.peers.iter_mut().find(|peer| peer.node() == to);
        peer.map_or_else(Vec::new, |peer| peer.seal_will(letter, &mut self.house))
    }

    /// The addresses of a peer.
    #[must_use]
    pub fn addrs(&self, node: NodeId) -> &[SocketAddr] {
        self.peers.iter().find(|peer| peer.node() == node).map_or(&[], |peer| &peer.spec.addrs)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.house.out.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.house.events.pop_front()
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        let peers = self.peers.iter().map(|peer| peer.poll_timeout(self.house.beat));
        peers
            .chain(self.peers.iter().filter_map(|peer| peer.asks_at))
            .min()
            .filter(|next| *next < Boot::NEVER)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Boot) {
        self.guests.retain(|guest| now < guest.begun + HALF_OPEN);
        self.offers.retain(|offer| now < offer.until);
        for peer in &mut self.peers {
            peer.tick(&mut self.house, now);
        }
        self.ask_others(now);
    }

    /// Another list of peers. One that keeps its id keeps its sessions, its pinned key (unless another one is given) and may get another place
    /// and other addresses.
    pub fn set_peers(&mut self, me: NodeId, specs: Vec<PeerSpec>, now: Boot) {
        self.house.node = me;
        let mut old = std::mem::take(&mut self.peers);
        for spec in specs {
            let Some(at) = old.iter().position(|peer| peer.spec.id == spec.id) else {
                self.peers.push(Peer::new(spec, self.house.beat, now));
                continue;
            };
            let mut peer = old.swap_remove(at);
            peer.spec.node = spec.node;
            if peer.spec.addrs != spec.addrs {
                peer.move_to(spec.addrs, self.house.beat, now);
            }
            if spec.key.is_some() && spec.key != peer.spec.key {
                peer.pin(spec.key, now);
            }
            self.peers.push(peer);
        }
    }

    /// Another beat; peers learn of it by a new session.
    pub fn set_beat(&mut self, beat: Duration, now: Boot) {
        self.house.beat = beat;
        for peer in &mut self.peers {
            peer.dial(Why::Rekey, now);
        }
    }

    /// Another cluster key, or none.
    pub fn set_cluster_key(&mut self, key: Option<Vec<u8>>) {
        self.hosts = key.is_some();
        self.house.psk = key.map(|key| Psk::derive(&Zeroizing::new(key), &self.house.cluster));
    }

    /// Forgets a peer's key: it may enrol with another one, and nobody's word brings the old one back.
    pub fn forget(&mut self, node: NodeId, now: Boot) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node() == node) else { return };
        if let Some(key) = peer.spec.key {
            self.forgotten.push(key);
        }
        peer.pin(None, now);
    }

    /// Gives a one-time token out; `false` when too many are out already. One that was made for the same node is worth nothing from
    /// then on.
    pub fn offer(&mut self, token: &Token, now: Boot) -> bool {
        self.offers.retain(|offer| now < offer.until && (token.id.is_none() || offer.id != token.id));
        if self.offers.len() >= OFFERS {
            return false;
        }
        let psk = Psk::derive(&token.secret, &self.house.cluster);
        self.offers.push(Offer { psk, id: token.id.clone(), until: token.until, used: None });
        true
    }

    /// Makes the tokens of a node worthless; whether there was one that had not been used.
    pub fn revoke(&mut self, id: &str, now: Boot) -> bool {
        let before = self.offers.iter().filter(|offer| now < offer.until && offer.used.is_none()).count();
        self.offers.retain(|offer| offer.id.as_deref() != Some(id));
        let left = self.offers.iter().filter(|offer| now < offer.until && offer.used.is_none()).count();
        left < before
    }

    /// For status.
    #[must_use]
    pub fn view(&self, now: Boot) -> LinkView {
        LinkView { peers: self.peers.iter().map(|peer| view(peer, now)).collect(), causes: self.house.causes }
    }

    fn on_data(&mut self, data: Data<'_>, now: Boot) -> Option<Heard> {
        let Data { from, mine, .. } = data;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.owns(mine)) else {
            self.house.causes.unknown_session += 1;
            let whose = self.peers.iter_mut().find(|peer| peer.wire(from).is_some());
            if let Some(peer) = whose {
                peer.suspect(self.house.beat, now);
            }
            return None;
        };
        let node = peer.node();
        match peer.on_data(data, &mut self.house, now)? {
            Said::Letter(wire, letter) => Some(Heard { from: node, wire, letter }),
            Said::Aside(wire, kind, text) => {
                self.on_aside((node, wire), kind, &text, now);
                None
            }
        }
    }

    fn on_answer(&mut self, answer: Answer<'_>, now: Boot) {
        let from = answer.from;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.flies(answer.mine)) else {
            self.house.causes.unasked += 1;
            return;
        };
        if let Some((greeting, sent)) = peer.on_answer(answer, &mut self.house, now)
            && let Some(no) = greeting.refused
        {
            match no {
                No::InUse => peer.doubled((&greeting, sent), from, &mut self.house, now),
                No::UnknownKey | No::NotMember => peer.refused(no, &greeting, from, &mut self.house, now),
            }
        }
    }

    /// Whether one more handshake from there is looked at. A peer's addresses have their own allowance, so that strangers use up none of it.
    fn allowed(&mut self, from: SocketAddr, now: Boot) -> bool {
        let of_peer = self.peers.iter_mut().find(|peer| peer.wire_exactly(from).is_some());
        let allowed = match of_peer {
            Some(peer) => peer.bucket.take(now),
            None => self.limits.take(from.ip(), now),
        };
        self.house.causes.limited += u64::from(!allowed);
        allowed
    }

    fn on_hello(&mut self, from: SocketAddr, theirs: u32, noise: &[u8], code: Code<'_>, now: Boot) {
        if !noise::code_fits(&self.house.code, code.covered, code.code) {
            self.house.causes.bad_code += 1;
            return;
        }
        if !self.allowed(from, now) {
            return;
        }
        if self.peers.iter_mut().any(|peer| peer.answer_again(noise, from, &mut self.house)) {
            return;
        }
        let house = &mut self.house;
        let made = noise::pinned(&house.cluster, &house.secret, None, &mut *house.entropy);
        let (Ok(mut handshake), Some(ephemeral)) = (made, noise.first_chunk()) else { return };
        let mut text = vec![0; noise.len()];
        let read = handshake.read_message(noise, &mut text).ok();
        let greeting = read.and_then(|len| Greeting::read(&text[..len]));
        let key = handshake.get_remote_static().and_then(|key| <[u8; 32]>::try_from(key).ok());
        let (Some(greeting), Some(key)) = (greeting, key) else {
            house.causes.bad_handshake += 1;
            return;
        };
        let known = self.peers.iter_mut().find(|peer| peer.spec.key == Some(key));
        match known.filter(|peer| peer.spec.id == greeting.id) {
            Some(peer) => {
                let hello = Hello { from, theirs, ephemeral, greeting: &greeting };
                peer.on_hello(hello, handshake, house, now);
            }
            None => {
                house.causes.unknown_key += 1;
                let named = self.peers.iter_mut().find(|peer| peer.spec.id == greeting.id);
                let mut no = No::NotMember;
                let mut knocks = false;
                if let Some(peer) = named {
                    no = No::UnknownKey;
                    knocks = peer.spec.key.is_none();
                    if peer.spec.key.is_some() && peer.warns(now) {
                        house.tell(Event::KeyMismatch { node: peer.node(), addr: from });
                    }
                }
                let text = Greeting { refused: Some(no), ..house.answer() }.write(0);
                let head = packet::answer(theirs, 0);
                if let Some(answer) = write(head, &mut handshake, &text, &noise::code_key(&key)) {
                    house.transmit(from, answer);
                }
                if knocks {
                    self.ask_whose(&greeting.id, key, from, now);
                }
            }
        }
    }

    /// The key that a request to join was made with, and whether it is a token.
    fn psk_of(&self, code: Code<'_>, now: Boot) -> Option<(Psk, bool)> {
        let fits = |psk: &&Psk| noise::code_fits(psk.code_key(), code.covered, code.code);
        let cluster = self.house.psk.as_ref().filter(|_| self.hosts).filter(fits);
        let mut tokens = self.offers.iter().filter(|offer| now < offer.until).map(|offer| &offer.psk);
        cluster.map(|psk| (psk.clone(), false)).or_else(|| tokens.find(fits).map(|psk| (psk.clone(), true)))
    }

    fn on_join(&mut self, from: SocketAddr, theirs: u32, noise: &[u8], code: Code<'_>, now: Boot) {
        let Some((psk, token)) = self.psk_of(code, now) else {
            self.house.causes.unproven += 1;
            self.warn_of(from, Intrusion::Unproven, now);
            return;
        };
        let Some(ephemeral) = noise.first_chunk::<32>() else { return };
        if !self.allowed(from, now) {
            return;
        }
        if let Some(guest) = self.guests.iter().find(|guest| guest.ephemeral == *ephemeral) {
            self.house.transmit(from, guest.reply.clone());
            return;
        }
        let house = &mut self.house;
        let made = noise::enrolment(&house.cluster, &house.secret, &psk, false, &mut *house.entropy);
        let Ok(mut handshake) = made else { return };
        let mut text = vec![0; noise.len()];
        let read = handshake.read_message(noise, &mut text).ok();
        let Some(greeting) = read.and_then(|len| Greeting::read(&text[..len])) else {
            house.causes.bad_handshake += 1;
            return;
        };
        let mine = house.index();
        let (id, ephemeral) = (greeting.id, *ephemeral);
        let made = Guest::new((mine, theirs), id, (psk, token), handshake, ephemeral, house, now);
        let Some(guest) = made else { return };
        house.transmit(from, guest.reply.clone());
        if self.guests.len() >= GUESTS {
            self.guests.pop_front();
        }
        self.guests.push_back(guest);
    }

    fn on_proof(&mut self, from: SocketAddr, mine: u32, noise: &[u8], code: Code<'_>, now: Boot) {
        let Some(at) = self.guests.iter().position(|guest| guest.mine == mine) else {
            self.house.causes.unasked += 1;
            return;
        };
        if !noise::code_fits(self.guests[at].psk.code_key(), code.covered, code.code) {
            self.house.causes.bad_code += 1;
            return;
        }
        let Some(guest) = self.guests.remove(at) else { return };
        let (id, token) = (guest.id.clone(), guest.token.then(|| guest.psk.clone()));
        let Some((key, verdict)) = guest.prove(noise) else {
            self.house.causes.bad_handshake += 1;
            return;
        };
        let greeting = self.judge(&id, token.as_ref(), key, from, now);
        if let Some(datagram) = verdict.say(&greeting) {
            self.house.transmit(from, datagram);
        }
    }

    /// Tells of somebody who wants to enrol and may not, now and then.
    fn warn_of(&mut self, addr: SocketAddr, why: Intrusion, now: Boot) {
        let warn_from = match why {
            Intrusion::Unproven => &mut self.warn_from[0],
            Intrusion::Misused { .. } | Intrusion::Used { .. } => &mut self.warn_from[1],
        };
        if now >= *warn_from {
            *warn_from = now + WARN;
            self.house.tell(Event::Intruder { addr, why });
        }
    }

    /// Whether a node with this id and this key is one of us.
    fn judge(
        &mut self,
        id: &str,
        token: Option<&Psk>,
        key: [u8; 32],
        from: SocketAddr,
        now: Boot,
    ) -> Greeting {
        let refuse = |no, house: &House| Greeting { refused: Some(no), ..house.answer() };
        if id == self.house.id && key != self.house.public {
            return refuse(No::InUse, &self.house);
        }
        // One key is one node: a copy of its state does not make another one.
        let taken = self.peers.iter().any(|peer| peer.spec.key == Some(key) && peer.spec.id != id);
        let peer = self.peers.iter_mut().find(|peer| peer.spec.id == id);
        let Some(peer) = peer.filter(|_| !taken) else { return refuse(No::NotMember, &self.house) };
        // A token is good for the first key that uses it, and for the node that it was made for.
        let offer = match token {
            None => None,
            Some(psk) => {
                let offer = self.offers.iter_mut().find(|offer| offer.psk == *psk && now < offer.until);
                let Some(offer) = offer else { return refuse(No::NotMember, &self.house) };
                let is_for = offer.id.as_ref().is_none_or(|one| one == id);
                let used = offer.used.is_some_and(|used| used != key);
                if !is_for || used {
                    let id = id.to_owned();
                    let why = if is_for { Intrusion::Used { id } } else { Intrusion::Misused { id } };
                    self.warn_of(from, why, now);
                    return refuse(No::NotMember, &self.house);
                }
                Some(offer)
            }
        };
        let means = if token.is_some() { Means::Token } else { Means::ClusterKey };
        let greeting = peer.judge((key, means), from, &mut self.house, now);
        if greeting.refused.is_none() {
            self.forgotten.retain(|one| *one != key);
        }
        if let Some(offer) = offer.filter(|_| greeting.refused.is_none()) {
            offer.used = Some(key);
        }
        greeting
    }
}

fn view(peer: &Peer, now: Boot) -> PeerView {
    let wires = peer.spec.addrs.iter().zip(peer.wires.view()).zip(&peer.rtt);
    PeerView {
        node: peer.node(),
        id: peer.spec.id.clone(),
        enrolled: peer.spec.key.is_some(),
        session: peer.current.as_ref().map(|session| SessionView {
            age: now.since(session.born),
            initiated: session.initiated,
            version: session.version,
        }),
        tries: peer.dial.map_or(0, |dial| dial.tries),
        heard: peer.source.map(|_| now.since(peer.heard)),
        handshakes: peer.handshakes,
        letters_sent: peer.letters_sent,
        letters_heard: peer.letters_heard,
        wires: wires
            .map(|((addr, wire), rtt)| WireView {
                addr: *addr,
                lost: wire.lost,
                heard: wire.last_heard.map(|at| now.since(at)),
                rtt: *rtt,
                datagrams: wire.datagrams,
                bytes: wire.bytes,
                duplicates: wire.duplicates,
            })
            .collect(),
    }
}
