//! What all peers share: who we are, what is to be sent, what is to be told, what was refused and why.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::name::NodeId;

use crate::event::Event;
use crate::keys::Secret;
use crate::noise::{self, Entropy, Psk};
use crate::packet::Greeting;
use crate::session::VERSION;

/// More datagrams than this do not wait to be sent: the oldest go.
const WAITING_MAX: usize = 4_096;

/// A datagram that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// How often something was refused or dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// No datagram of ours by its length or first byte.
    pub malformed: u64,
    /// A handshake whose sender does not know whom it talks to, or has another cluster key.
    pub bad_code: u64,
    /// A request to enrol that proves neither the cluster key nor a token in force.
    pub unproven: u64,
    /// A handshake beyond the limits.
    pub limited: u64,
    /// A handshake that does not open: another cluster's name, or altered on its way.
    pub bad_handshake: u64,
    /// A handshake that came before.
    pub repeated: u64,
    /// A handshake of a key that is not pinned.
    pub unknown_key: u64,
    /// An answer to nothing that was asked.
    pub unasked: u64,
    /// A letter of a session that is not known (any more).
    pub unknown_session: u64,
    /// A letter that does not open.
    pub undecryptable: u64,
    /// A letter so old that nobody remembers whether it came.
    pub too_old: u64,
    /// A letter or will that opens and is none.
    pub bad_letter: u64,
    /// A letter that could not be sent for want of a session.
    pub no_session: u64,
    /// A letter that could not be written.
    pub unfit: u64,
    /// Datagrams that waited to be sent and were pushed out.
    pub overrun: u64,
}

impl Causes {
    /// Each with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 15] {
        [
            ("malformed", self.malformed),
            ("bad-code", self.bad_code),
            ("unproven", self.unproven),
            ("limited", self.limited),
            ("bad-handshake", self.bad_handshake),
            ("repeated", self.repeated),
            ("unknown-key", self.unknown_key),
            ("unasked", self.unasked),
            ("unknown-session", self.unknown_session),
            ("undecryptable", self.undecryptable),
            ("too-old", self.too_old),
            ("bad-letter", self.bad_letter),
            ("no-session", self.no_session),
            ("unfit", self.unfit),
            ("overrun", self.overrun),
        ]
    }
}

/// The node itself.
pub(crate) struct House {
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) public: [u8; 32],
    /// Key of the code in front of us.
    pub(crate) code: [u8; 32],
    /// What we join with: the cluster key, or a token that was given to us.
    pub(crate) psk: Option<Psk>,
    /// It is a token.
    pub(crate) bearer: bool,
    pub(crate) beat: Duration,
    pub(crate) instance: u64,
    hellos: u64,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) out: VecDeque<Transmit>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) causes: Causes,
}

impl House {
    pub(crate) fn new(
        cluster: String,
        (node, id, secret): (NodeId, String, Secret),
        psk: Option<Psk>,
        beat: Duration,
        mut entropy: Box<dyn Entropy>,
    ) -> Self {
        let public = secret.public();
        Self {
            cluster,
            node,
            id,
            secret,
            public,
            code: noise::code_key(&public),
            psk,
            bearer: false,
            beat,
            instance: u64::from_be_bytes(noise::draw(&mut *entropy)),
            hellos: 0,
            entropy,
            out: VecDeque::new(),
            events: VecDeque::new(),
            causes: Causes::default(),
        }
    }

    pub(crate) fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.out.len() >= WAITING_MAX {
            self.out.pop_front();
            self.causes.overrun += 1;
        }
        self.out.push_back(Transmit { to, bytes });
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// A number for a session of ours by which the other side addresses it.
    pub(crate) fn index(&mut self) -> u32 {
        u32::from_be_bytes(noise::draw(&mut *self.entropy))
    }

    /// What we say of ourselves in the next hello.
    pub(crate) fn greeting(&mut self) -> Greeting {
        self.hellos += 1;
        Greeting { id: self.id.clone(), number: self.hellos, ..self.answer() }
    }

    /// What we say of ourselves in an answer.
    pub(crate) fn answer(&self) -> Greeting {
        Greeting { version: VERSION, instance: self.instance, beat: self.beat, ..Greeting::default() }
    }

    /// Of two sessions that crossed, the one that the lower key began stays.
    pub(crate) fn prefers(&self, initiated: bool, theirs: &[u8; 32]) -> bool {
        (self.public < *theirs) == initiated
    }

    /// Three quarters to five quarters of a time, so that nodes that failed together do not retry together.
    pub(crate) fn jitter(&mut self, time: Duration) -> Duration {
        let [byte] = noise::draw(&mut *self.entropy);
        time * (192 + u32::from(byte) / 2) / 256
    }
}
