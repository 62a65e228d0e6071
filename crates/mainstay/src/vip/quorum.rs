//! The vips' rights: the leases of this node and its voter, the sessions with its peers, and the sockets under them.
//!
//! Datagram -> session -> leases -> election -> kernel, and back. Everything is carried out before the next change is
//! looked at, and letters to one peer leave together.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mainstay_config::plan::cluster::{Cluster, Peer};
use mainstay_core::election::{Input, Vips};
use mainstay_core::lease::{self, Effect, Freed, Leases, Message, Notice, Setup, Sights, Stance};
use mainstay_core::name::{NodeId, RightId, VipId};
use mainstay_core::time::Boot;
use mainstay_link::{Config, DATAGRAM_MAX, Event, Intrusion, Local, PeerSpec, Refusal, Secret, Sessions};
use mainstay_sys::clock::boot_now;
use mainstay_sys::gate::GateKind;

use super::Node;
use super::datagrams::{listen_all, plain};
use super::external::Outside;
use super::members::{Kept, sentence};
use crate::ipc::{FromVip, Identity};

/// A follower that is heard takes what was given up within a few round trips, or never.
const LINGER: Duration = Duration::from_secs(1);

/// Datagrams taken from one socket before the others are looked at.
const DATAGRAMS: usize = 256;

/// What an election said of a right, waiting until what it asked for has been carried out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    Stance(RightId, Stance),
    Gone(RightId),
}

/// This node among its peers.
pub(super) struct Quorum {
    pub(super) cluster: Cluster,
    pub(super) leases: Leases,
    pub(super) sessions: Sessions,
    sockets: Vec<UdpSocket>,
    pub(super) identity: Identity,
    /// Rights of vips; the last right of all is the one to our own id.
    pub(super) vips: usize,
    /// Whether the list in force lies on this node's disk.
    pub(super) kept: Kept,
    /// What is to be said, by peer of the file.
    pub(super) letters: BTreeMap<NodeId, Vec<Message>>,
    /// What peers have said of vips that are held by no lease, until arbitration hears it.
    pub(super) sights: Vec<(NodeId, Sights)>,
    /// Whom the election believes to hold each right.
    told: Vec<Option<NodeId>>,
    /// Whom the wills that are deposited name as the next holder of each right.
    willed: Vec<Option<NodeId>>,
    pub(super) send_errors: u64,
    /// Why there is no session with a node of the file, by its id, until there is one.
    pub(super) refusals: BTreeMap<String, String>,
    /// Rights that were taken at an operator's word: under which epoch, and of whom it was said that it is dead.
    pub(super) vouched: BTreeMap<String, (u64, String)>,
    /// The voter that is no node.
    pub(super) outside: Outside,
    /// How long a process that has given everything up stays for the other node's sake.
    lingers_until: Option<Boot>,
}

impl Quorum {
    /// Opens the sockets and begins with nothing held.
    pub(super) fn open(
        cluster: &Cluster,
        identity: &Identity,
        rights: Vec<String>,
        now: Boot,
    ) -> anyhow::Result<Self> {
        let sockets = listen_all(&cluster.listen)?;
        // Two voters that are all there can be: nobody adds one, and nothing needs to be remembered of them.
        let (list, me, kept) = if cluster.strict {
            (cluster.list.clone(), cluster.me, Kept::Done)
        } else {
            super::members::in_force(cluster, identity)
        };
        let setup = Setup {
            me,
            list,
            terms: cluster.terms,
            salt: cluster.salt,
            instance: identity.instance,
            heir_of: identity.heir_of,
            epoch_floor: identity.epoch_floor,
            remembers: false,
            lasting: cluster.strict,
        };
        let config = Config {
            cluster: cluster.name.clone(),
            me: Local {
                node: cluster.me,
                id: cluster.list.name(cluster.me).to_owned(),
                secret: Secret::new(identity.secret),
            },
            peers: peers(cluster, identity),
            cluster_key: cluster.key.as_ref().map(|key| key.as_bytes().to_vec()),
            token: None,
            forgotten: identity.forgotten.clone(),
            beat: cluster.terms.beat(),
        };
        let vips = rights.len();
        let mut quorum = Self {
            cluster: cluster.clone(),
            leases: Leases::new(setup, with_own(rights, cluster), now),
            sessions: Sessions::new(config, now),
            sockets,
            identity: identity.clone(),
            vips,
            kept,
            letters: BTreeMap::new(),
            sights: Vec::new(),
            told: vec![None; vips],
            willed: vec![None; vips],
            send_errors: 0,
            refusals: BTreeMap::new(),
            vouched: BTreeMap::new(),
            outside: Outside::default(),
            lingers_until: None,
        };
        quorum.claim_own_id(now);
        Ok(quorum)
    }

    /// Another configuration: what did not change lives on. All of it is taken, whatever is wrong with its addresses: the
    /// rights must be those of the election.
    pub(super) fn reload(&mut self, cluster: &Cluster, rights: Vec<String>, now: Boot) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.cluster, cluster.clone());
        self.vips = rights.len();
        self.told = vec![None; rights.len()];
        self.willed = vec![None; rights.len()];
        self.leases.set_rights(with_own(rights, cluster), now);
        self.claim_own_id(now);
        if cluster.peers != before.peers || cluster.me != before.me {
            // They bear the old numbers; what they say is repeated.
            self.letters.clear();
            self.refusals.clear();
            self.sessions.set_peers(cluster.me, peers(cluster, &self.identity), now);
        }
        if cluster.key != before.key {
            self.sessions.set_cluster_key(cluster.key.as_ref().map(|key| key.as_bytes().to_vec()));
        }
        if cluster.terms != before.terms || cluster.salt != before.salt {
            self.leases.set_terms(cluster.terms, cluster.salt, now);
            self.sessions.set_beat(cluster.terms.beat(), now);
        }
        if cluster.listen != before.listen {
            // The old ones first: the new may be among them. When the new cannot be had, the old serve on.
            self.sockets.clear();
            self.sockets = listen_all(&cluster.listen).or_else(|error| {
                self.sockets = listen_all(&before.listen)?;
                self.cluster.listen.clone_from(&before.listen);
                Err(error)
            })?;
        }
        Ok(())
    }

    /// The right to our own id is wanted for as long as we run.
    fn claim_own_id(&mut self, now: Boot) {
        let right = self.own();
        let stance = Stance::Ready { priority: 255, preempts: false };
        self.leases.handle(lease::Input::Stance { right, stance }, now);
    }

    /// The right to our own id.
    fn own(&self) -> RightId {
        RightId(u32::try_from(self.vips).expect("a Plan has fewer than 2^32 vips"))
    }

    /// Whether a right is a vip's, and not the one to our own id.
    const fn is_of_vips(&self, right: RightId) -> bool {
        right.index() < self.vips
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.iter()
    }

    pub(super) fn next(&self) -> Boot {
        let leases = self.leases.poll_timeout().unwrap_or(Boot::NEVER);
        leases.min(self.sessions.poll_timeout().unwrap_or(Boot::NEVER)).min(self.kept.again())
    }

    /// Reads one datagram from a socket; false when there is none.
    fn receive(&mut self, socket: usize) -> bool {
        // One byte more, so that what is too long is seen to be.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        let Some(taken) = self.sockets.get(socket).map(|socket| socket.recv_from(&mut buffer)) else {
            return false;
        };
        // Not before it was read: a voter's promise must not be older than the request, however long we slept between.
        let now = boot_now();
        match taken {
            Ok((length, from)) => {
                if let Some(heard) = self.sessions.receive(plain(from), &buffer[..length], now) {
                    self.hear(heard.from, &heard.letter, now);
                }
                true
            }
            // Others are what an earlier datagram has brought back, such as a port that nobody listens at.
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Whether this process must stay a little, although it holds nothing: of two voters both must answer (guard `strict`).
    pub(super) fn lingers(&mut self, now: Boot) -> bool {
        let longest = self.cluster.terms.term.min(LINGER);
        let until = *self.lingers_until.get_or_insert(now + longest);
        now < until && self.leases.awaits_follower()
    }

    /// Whether another node would follow than the wills say.
    fn has_other_heirs(&mut self) -> bool {
        let mut other = false;
        for (right, willed) in (0..).map(RightId).zip(&mut self.willed) {
            let next = self.leases.next(right);
            other |= std::mem::replace(willed, next) != next;
        }
        other
    }

    /// Somebody may not enrol: what is said of that, beside the peer that is at this address too.
    fn kept_out(&mut self, addr: SocketAddr, why: &Intrusion) -> String {
        let message = super::enrol::intruder(addr, why);
        let here = |peer: &&Peer| peer.addrs.iter().any(|own| own.ip() == addr.ip());
        if let Some(peer) = self.cluster.peers.iter().find(here) {
            self.refusals.insert(peer.id.clone(), message.clone());
        }
        message
    }

    /// Seals what is to be said and sends all that waits.
    fn flush(&mut self, now: Boot) {
        self.seal(now);
        while let Some(datagram) = self.sessions.poll_transmit() {
            if self.send(datagram.to, &datagram.bytes).is_err() {
                self.send_errors += 1;
            }
        }
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) -> std::io::Result<()> {
        let fits = |socket: &&UdpSocket| socket.local_addr().is_ok_and(|own| own.is_ipv6() == to.is_ipv6());
        let Some(socket) = self.sockets.iter().find(fits) else {
            return Err(std::io::ErrorKind::AddrNotAvailable.into());
        };
        socket.send_to(bytes, to).map(drop)
    }
}

impl Node {
    /// Takes its place among the peers of the Plan that is in force, or stays there.
    pub(super) fn join(&mut self, now: Boot) {
        self.alone = None;
        let Some(cluster) = &self.plan.cluster else {
            self.quorum = None;
            return;
        };
        let rights: Vec<String> = self.machine.rights().map(str::to_owned).collect();
        let joined = match (&mut self.quorum, &self.identity) {
            (Some(quorum), _) => quorum.reload(cluster, rights, now),
            (None, Some(identity)) => {
                Quorum::open(cluster, identity, rights, now).map(|quorum| self.quorum = Some(quorum))
            }
            (None, None) => {
                Err(anyhow::anyhow!("this node has no key of its own: its state directory cannot be used"))
            }
        };
        if let Err(error) = joined {
            let why = format!("this node is not among its peers: {error:#}");
            tracing::error!("{why}");
            self.event("cluster", &self.plan.node.clone(), why.clone());
            self.alone = Some(why);
        }
        let gated = self.kernel.gate.kind() != GateKind::None;
        self.machine.handle(Input::Gate(gated), now);
    }

    /// Tries again what could not be done.
    pub(super) fn rejoin(&mut self, now: Boot) {
        let before = self.alone.clone();
        let missing = self.quorum.as_ref().is_none_or(|quorum| quorum.sockets.is_empty());
        let (Some(before), Some(cluster), true) = (before, &self.plan.cluster, missing) else { return };
        let rights: Vec<String> = self.machine.rights().map(str::to_owned).collect();
        let opened = match (&mut self.quorum, &self.identity) {
            (Some(quorum), _) => listen_all(&cluster.listen).map(|sockets| quorum.sockets = sockets),
            (None, Some(identity)) => {
                Quorum::open(cluster, identity, rights, now).map(|quorum| self.quorum = Some(quorum))
            }
            (None, None) => return,
        };
        if opened.is_ok() {
            self.alone = None;
            self.event("cluster", &self.plan.node.clone(), format!("over: {before}"));
            self.machine.say_stances();
            self.drain();
        }
    }

    /// Gives up the right to our own id: who starts next with it need not wait.
    pub(super) fn leave_peers(&mut self) {
        let now = boot_now();
        let Some(quorum) = &mut self.quorum else { return };
        let own = quorum.own();
        quorum.leases.handle(lease::Input::Stance { right: own, stance: Stance::Unable }, now);
        quorum.leases.handle(lease::Input::Gone { right: own }, now);
        self.drain();
    }

    /// Carries out what the leases ask for; whether the election has been told something.
    pub(super) fn pump(&mut self) -> bool {
        let now = boot_now();
        let said = std::mem::take(&mut self.said);
        let Some(quorum) = &mut self.quorum else { return false };
        for said in said {
            let input = match said {
                Said::Stance(right, stance) => lease::Input::Stance { right, stance },
                Said::Gone(right) => lease::Input::Gone { right },
            };
            quorum.leases.handle(input, now);
        }
        let mut fed = false;
        let (mut notices, mut healed) = (Vec::new(), Vec::new());
        while let Some(effect) = quorum.leases.poll_effect() {
            match effect {
                Effect::Send { to, message } => quorum.say(to, message),
                Effect::Held { right, epoch, until } if quorum.is_of_vips(right) => {
                    self.machine.handle(Input::Held { right, epoch, until }, now);
                    fed = true;
                }
                Effect::Yield { right, why } if quorum.is_of_vips(right) => {
                    self.machine.handle(Input::Yield { right, why }, now);
                    fed = true;
                }
                // The right to our own id: nothing hangs on it but that nobody else has it.
                Effect::Held { .. } => {}
                Effect::Yield { right, .. } => quorum.leases.handle(lease::Input::Gone { right }, now),
                Effect::Adopted(list) => {
                    let adopted = quorum.adopted(&list, now);
                    notices.extend([FromVip::Adopted(list), FromVip::Event(adopted)]);
                }
                Effect::Notice(Notice::Duplicate { .. }) => {
                    let id = &self.plan.node;
                    let addrs: Vec<String> =
                        quorum.cluster.own_addrs.iter().map(ToString::to_string).collect();
                    let at =
                        if addrs.is_empty() { String::new() } else { format!(" at {}", addrs.join(" or ")) };
                    let message =
                        format!("node id \"{id}\" is in use by a node that came first{at}, say the voters");
                    notices.push(FromVip::Duplicate(message));
                }
                Effect::Notice(notice) => {
                    if let Notice::Reachable(node) = notice {
                        healed.push(quorum.leases.list().name(node).to_owned());
                    }
                    let (list, counts) = (quorum.leases.list(), self.plan.counts_votes());
                    if let Some((about, message)) = sentence(&notice, list, &quorum.cluster, counts) {
                        let event = crate::events::event(&self.plan.node, "cluster", &about, message);
                        notices.push(FromVip::Event(event));
                    }
                }
            }
        }
        for message in notices {
            self.say(&message);
        }
        for peer in healed {
            self.announce_to(&peer);
        }
        fed | self.tell_holders(now)
    }

    /// Tells the election who else holds a right, for the account of the time in which nobody did.
    fn tell_holders(&mut self, now: Boot) -> bool {
        let Some(quorum) = &mut self.quorum else { return false };
        let (mut fed, mut learned) = (false, Vec::new());
        for (right, told) in (0..).map(RightId).zip(&mut quorum.told) {
            let holder = quorum.leases.other_holder(right);
            if std::mem::replace(told, holder) != holder {
                self.machine.handle(Input::Holder { right, held: holder.is_some() }, now);
                fed = true;
                learned.extend(holder.map(|holder| (right, quorum.leases.list().name(holder).to_owned())));
            }
        }
        for (right, holder) in learned {
            self.yield_told(right, &holder);
        }
        fed
    }

    /// Reads what peers have said.
    pub(super) fn hear_peers(&mut self) {
        for socket in 0..self.quorum.as_ref().map_or(0, |quorum| quorum.sockets.len()) {
            for _ in 0..DATAGRAMS {
                if !self.quorum.as_mut().is_some_and(|quorum| quorum.receive(socket)) {
                    break;
                }
                self.carry_out();
            }
        }
        self.hear_sessions();
        self.drain();
    }

    /// The leases' and the sessions' timers.
    pub(super) fn tick_peers(&mut self, now: Boot) {
        let Some(quorum) = &mut self.quorum else { return };
        if quorum.next() > now {
            return;
        }
        quorum.sessions.tick(now);
        let unkept = quorum.unkept(now);
        quorum.leases.handle(lease::Input::Tick, now);
        if let Some(list) = unkept {
            self.say(&FromVip::Adopted(list));
        }
        self.hear_sessions();
        self.drain();
    }

    /// Everything that is to be said to peers leaves.
    pub(super) fn flush_peers(&mut self) {
        if let Some(quorum) = &mut self.quorum {
            quorum.flush(boot_now());
        }
        self.post_outside();
    }

    fn hear_sessions(&mut self) {
        let mut renewed = false;
        while let Some(event) = self.quorum.as_mut().and_then(|quorum| quorum.sessions.poll_event()) {
            renewed |= matches!(event, Event::Established { .. } | Event::Replaced { .. });
            self.session_event(event);
        }
        if renewed | self.quorum.as_mut().is_some_and(Quorum::has_other_heirs) {
            // What was sealed under the old keys can no longer be opened.
            self.deposit_again();
        }
    }

    fn session_event(&mut self, event: Event) {
        let Some(quorum) = &mut self.quorum else { return };
        let name = |node: NodeId| quorum.cluster.list.name(node).to_owned();
        let (about, message) = match event {
            Event::Established { node } => {
                quorum.refusals.remove(&name(node));
                (name(node), format!("the session with {} is up", name(node)))
            }
            Event::Replaced { .. } => return,
            Event::Lost { node } => (name(node), format!("the session with {} has ended", name(node))),
            Event::Disputed { node, by } => (name(node), super::enrol::disputed(&name(node), &name(by))),
            Event::Intruder { addr, why } => (self.plan.node.clone(), quorum.kept_out(addr, &why)),
            Event::Enrolled { node, key, means } => {
                let id = name(node);
                quorum.identity.pins.insert(id.clone(), key);
                quorum.identity.forgotten.retain(|one| *one != key);
                let message = super::enrol::enrolled(&id, means, name);
                self.say(&FromVip::Pinned { id: id.clone(), key });
                (id, message)
            }
            Event::WireLost { node, wire } => {
                let addr =
                    quorum.sessions.addrs(node).get(wire).map_or_else(String::new, ToString::to_string);
                (name(node), format!("the wire to {} over {addr} is lost", name(node)))
            }
            Event::WireBack { node, wire } => {
                let addr =
                    quorum.sessions.addrs(node).get(wire).map_or_else(String::new, ToString::to_string);
                (name(node), format!("the wire to {} over {addr} carries again", name(node)))
            }
            Event::KeyMismatch { node, addr } => {
                let id = name(node);
                let message = format!(
                    "somebody at {addr} says it is {id} and has another key than the one that is pinned: refused"
                );
                quorum.refusals.insert(id.clone(), message.clone());
                (id, message)
            }
            Event::Twin { node, addr } => (
                name(node),
                format!(
                    "two processes speak with the key of {}, one of them at {addr}: its state was copied",
                    name(node)
                ),
            ),
            Event::Refused { by, addr, why } => {
                let id = self.plan.node.clone();
                let by = name(by);
                let why = match why {
                    Refusal::InUse { holder } => {
                        let holder = holder.map_or_else(String::new, |holder| format!(" at {holder}"));
                        let message =
                            format!("node id \"{id}\" is in use by the node{holder}, says {by} at {addr}");
                        self.say(&FromVip::Duplicate(message));
                        return;
                    }
                    Refusal::UnknownKey => "it does not know our key".to_owned(),
                    Refusal::NotMember => format!("{id} is not in its list of members"),
                    Refusal::OtherNode { id } => format!("at that address is node {id}"),
                };
                quorum.refusals.insert(by.clone(), format!("it refuses this node: {why}"));
                (by.clone(), format!("{by} at {addr} refuses this node: {why}"))
            }
        };
        self.event("cluster", &about, message);
    }
}

/// The right to be the only node of one's id comes after those of vips.
fn with_own(mut rights: Vec<String>, cluster: &Cluster) -> Vec<String> {
    rights.push(format!("node/{}", cluster.list.name(cluster.me)));
    rights
}

fn peers(cluster: &Cluster, identity: &Identity) -> Vec<PeerSpec> {
    let nodes = cluster.peers.iter().filter(|peer| peer.external.is_none());
    let specs = nodes.map(|peer| PeerSpec {
        node: peer.node,
        id: peer.id.clone(),
        key: peer.key.or_else(|| identity.pins.get(&peer.id).copied()),
        addrs: peer.addrs.clone(),
    });
    specs.collect()
}

/// What the supervisor says to the peers for a vip whose process has died: datagrams that are sealed ahead.
pub(super) fn wills(quorum: Option<&mut Quorum>, machine: &Vips, vip: VipId) -> Vec<(SocketAddr, Vec<u8>)> {
    let (Some(quorum), Some(right)) = (quorum, machine.right_of(vip)) else { return Vec::new() };
    let Some(view) = quorum.leases.view(right, boot_now()) else { return Vec::new() };
    let epoch = machine.view(vip).map_or(view.epoch, |vip| vip.epoch);
    let next = quorum.leases.next(right).map(|node| quorum.leases.list().name(node).to_owned());
    let letter = quorum.leases.letter(vec![Message::Free(vec![Freed { right: view.name, epoch, next }])]);
    let mut wills = Vec::new();
    for peer in quorum.cluster.peers.iter().filter(|peer| peer.external.is_none()) {
        let sealed = quorum.sessions.seal_will(peer.node, &letter);
        let addrs = quorum.sessions.addrs(peer.node);
        wills.extend(addrs.iter().flat_map(|addr| sealed.iter().map(|bytes| (*addr, bytes.clone()))));
    }
    wills
}
