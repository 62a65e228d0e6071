//! Enrolment: two nodes that share the cluster key, or one a token of the other, tell each other their static keys.

use std::net::SocketAddr;

use mainstay_core::time::Boot;
use snow::{HandshakeState, StatelessTransportState};

use crate::event::{Event, Means, Refusal};
use crate::house::House;
use crate::noise::{self, Psk, TAG};
use crate::packet::{self, Code, Greeting, JOIN_PAYLOAD, No};
use crate::peer::{Peer, UNDER_WAY, Why, write};

/// A node that was told that its id is in use asks again after this time, should nobody have ended it.
const IN_USE_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// An enrolment that we began.
pub(crate) struct Joining {
    pub(crate) mine: u32,
    pub(crate) sent: Boot,
    stage: Stage,
}

enum Stage {
    Asked(Box<HandshakeState>),
    Proved { transport: StatelessTransportState, theirs: [u8; 32] },
}

/// An enrolment that somebody else began, who has the cluster key or a token.
pub(crate) struct Guest {
    pub(crate) mine: u32,
    pub(crate) theirs: u32,
    pub(crate) begun: Boot,
    pub(crate) id: String,
    /// It came with a token, not with the cluster key.
    pub(crate) token: bool,
    pub(crate) psk: Psk,
    pub(crate) handshake: HandshakeState,
    /// For a copy that comes over another wire.
    pub(crate) ephemeral: [u8; 32],
    pub(crate) reply: Vec<u8>,
}

/// A reply to a request of ours, still sealed.
pub(crate) struct Reply<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) mine: u32,
    pub(crate) theirs: u32,
    pub(crate) noise: &'a [u8],
    pub(crate) code: Code<'a>,
}

impl Peer {
    /// Asks the peer to enrol us.
    pub(crate) fn join(&mut self, house: &mut House, now: Boot) {
        let Some(psk) = house.psk.clone() else { return };
        let made = noise::enrolment(&house.cluster, &house.secret, &psk, true, &mut *house.entropy);
        let Ok(mut handshake) = made else { return };
        let text = house.greeting().write(JOIN_PAYLOAD);
        let mine = house.index();
        let Some(datagram) = write(packet::join(mine), &mut handshake, &text, psk.code_key()) else { return };
        if self.joining.len() >= UNDER_WAY {
            self.joining.pop_front();
        }
        self.joining.push_back(Joining { mine, sent: now, stage: Stage::Asked(Box::new(handshake)) });
        for addr in &self.spec.addrs {
            house.transmit(*addr, datagram.clone());
        }
    }

    /// It told its key and wants proof of ours.
    pub(crate) fn on_reply(&mut self, reply: &Reply<'_>, house: &mut House, now: Boot) {
        let Some(psk) = house.psk.clone() else { return };
        if !noise::code_fits(psk.code_key(), reply.code.covered, reply.code.code) {
            house.causes.bad_code += 1;
            return;
        }
        let Some(at) = self.joining.iter().position(|joining| joining.mine == reply.mine) else { return };
        let Stage::Asked(handshake) = &mut self.joining[at].stage else { return };
        let mut text = vec![0; reply.noise.len()];
        let read = handshake.read_message(reply.noise, &mut text).ok();
        let greeting = read.and_then(|len| Greeting::read(&text[..len]));
        let key = handshake.get_remote_static().and_then(|key| <[u8; 32]>::try_from(key).ok());
        let (Some(greeting), Some(key)) = (greeting, key) else {
            house.causes.bad_handshake += 1;
            return;
        };
        let by = self.node();
        if greeting.id != self.spec.id {
            self.joining.remove(at);
            if self.warns(now) {
                let why = Refusal::OtherNode { id: greeting.id };
                house.tell(Event::Refused { by, addr: reply.from, why });
            }
            return;
        }
        if self.spec.key.is_some_and(|pinned| pinned != key) {
            self.joining.remove(at);
            if self.warns(now) {
                house.tell(Event::KeyMismatch { node: by, addr: reply.from });
            }
            return;
        }
        self.prove(at, reply, key, &psk, house);
    }

    fn prove(&mut self, at: usize, reply: &Reply<'_>, theirs: [u8; 32], psk: &Psk, house: &mut House) {
        let Some(Joining { mine, sent, stage: Stage::Asked(mut handshake) }) = self.joining.remove(at) else {
            return;
        };
        let text = house.answer().write(0);
        let written = write(packet::proof(reply.theirs), &mut handshake, &text, psk.code_key());
        let (Some(datagram), Ok(transport)) = (written, handshake.into_stateless_transport_mode()) else {
            return;
        };
        self.joining.push_back(Joining { mine, sent, stage: Stage::Proved { transport, theirs } });
        house.transmit(reply.from, datagram);
    }

    /// What it thinks of our key.
    pub(crate) fn on_verdict(
        &mut self,
        from: SocketAddr,
        mine: u32,
        sealed: &[u8],
        house: &mut House,
        now: Boot,
    ) {
        let Some(at) = self.joining.iter().position(|joining| joining.mine == mine) else { return };
        let Stage::Proved { transport, theirs } = &self.joining[at].stage else { return };
        let mut text = vec![0; sealed.len()];
        let read = transport.read_message(0, sealed, &mut text).ok();
        let Some(greeting) = read.and_then(|len| Greeting::read(&text[..len])) else {
            house.causes.bad_handshake += 1;
            return;
        };
        let key = *theirs;
        match greeting.refused {
            None => self.enrolled(key, own_means(house), house, now),
            Some(no) => self.refused(no, &greeting, from, house, now),
        }
    }

    /// Both know each other: the next handshake is an ordinary one.
    pub(crate) fn enrolled(&mut self, key: [u8; 32], means: Means, house: &mut House, now: Boot) {
        self.joining.clear();
        self.ask = false;
        match self.spec.key {
            None => {
                self.pin(Some(key), now);
                self.handshakes += 1;
                house.tell(Event::Enrolled { node: self.node(), key, means });
            }
            Some(_) => {
                if house.bearer {
                    // It was pinned from the token; that it has us is what the bearer waits for.
                    house.tell(Event::Enrolled { node: self.node(), key, means });
                }
                if let Some(dial) = &mut self.dial {
                    (dial.next, dial.tries) = (now, 0);
                }
            }
        }
    }

    /// It won't have us.
    pub(crate) fn refused(
        &mut self,
        no: No,
        greeting: &Greeting,
        from: SocketAddr,
        house: &mut House,
        now: Boot,
    ) {
        let why = match no {
            No::UnknownKey => Refusal::UnknownKey,
            No::InUse => Refusal::InUse { holder: greeting.holder },
            No::NotMember => Refusal::NotMember,
        };
        self.joining.clear();
        let enrols = no == No::UnknownKey && house.psk.is_some() && !self.ask;
        if let Some(dial) = &mut self.dial {
            dial.next = if enrols { now } else { now + IN_USE_PAUSE };
        }
        self.ask = no == No::UnknownKey && house.psk.is_some();
        // That our id is in use is told each time: it comes rarely, and is what a node ends for.
        if !enrols && (no == No::InUse || self.warns(now)) {
            house.tell(Event::Refused { by: self.node(), addr: from, why });
        }
    }

    /// Whom a stranger with this node's id is told of.
    pub(crate) fn holder(&self) -> Option<SocketAddr> {
        self.source.filter(|_| self.current.is_some()).or_else(|| self.spec.addrs.first().copied())
    }

    /// Judges a guest's key.
    pub(crate) fn judge(
        &mut self,
        (key, means): ([u8; 32], Means),
        from: SocketAddr,
        house: &mut House,
        now: Boot,
    ) -> Greeting {
        match self.spec.key {
            Some(pinned) if pinned != key => {
                if self.warns(now) {
                    house.tell(Event::KeyMismatch { node: self.node(), addr: from });
                }
                Greeting { refused: Some(No::InUse), holder: self.holder(), ..house.answer() }
            }
            known => {
                if known.is_none() {
                    self.enrolled(key, means, house, now);
                } else {
                    // It had forgotten us, or our last verdict was lost.
                    self.dial(Why::Doubt, now);
                }
                house.answer()
            }
        }
    }
}

/// What a verdict that is in our favour rests on.
fn own_means(house: &House) -> Means {
    if house.bearer { Means::Token } else { Means::ClusterKey }
}

impl Guest {
    /// Answers a request to join that was opened.
    pub(crate) fn new(
        ids: (u32, u32),
        id: String,
        (psk, token): (Psk, bool),
        mut handshake: HandshakeState,
        ephemeral: [u8; 32],
        house: &House,
        now: Boot,
    ) -> Option<Self> {
        let (mine, theirs) = ids;
        let text = Greeting { id: house.id.clone(), ..house.answer() }.write(0);
        let reply = write(packet::reply(theirs, mine), &mut handshake, &text, psk.code_key())?;
        Some(Self { mine, theirs, begun: now, id, token, psk, handshake, ephemeral, reply })
    }

    /// The proof of its key; the key and what says the verdict.
    pub(crate) fn prove(mut self, noise: &[u8]) -> Option<([u8; 32], Verdict)> {
        let mut text = vec![0; noise.len()];
        let len = self.handshake.read_message(noise, &mut text).ok()?;
        Greeting::read(&text[..len])?;
        let key = self.handshake.get_remote_static()?.try_into().ok()?;
        let transport = self.handshake.into_stateless_transport_mode().ok()?;
        Some((key, Verdict { transport, theirs: self.theirs }))
    }
}

/// What can say a verdict, once.
pub(crate) struct Verdict {
    transport: StatelessTransportState,
    theirs: u32,
}

impl Verdict {
    pub(crate) fn say(self, greeting: &Greeting) -> Option<Vec<u8>> {
        let mut datagram = packet::verdict(self.theirs);
        let (head, text) = (datagram.len(), greeting.write(0));
        datagram.resize(head + text.len() + TAG, 0);
        self.transport.write_message(0, &text, &mut datagram[head..]).ok()?;
        Some(datagram)
    }
}

/// A one-time token that is out: its holder may join, once.
pub(crate) struct Offer {
    pub(crate) psk: Psk,
    /// The `node.id` of the only node that may use it, if it was made for one.
    pub(crate) id: Option<String>,
    pub(crate) until: Boot,
    /// The key that used it, which may ask again when our verdict was lost.
    pub(crate) used: Option<[u8; 32]>,
}
