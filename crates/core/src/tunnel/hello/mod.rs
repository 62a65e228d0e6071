//! What a dialer and a hub say to each other before the streams begin (docs/internals/tunnel.md).
//!
//! Four messages: `HELLO` and `PROOF` from the dialer, `CHALLENGE` and `WELCOME` (or `REFUSED`) from the hub. Each is
//! eight bytes of head (magic, what it is, a byte to spare, its length) and then fields, a type and a length before
//! each; a field that is not known is skipped. Nothing here knows of keys: who signs, signs [`transcript`].

mod cursor;
mod decode;
mod encode;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use decode::{Wrong, parse, parse_claims, size};
pub use encode::{Unfit, encode, encode_claims, transcript};

/// The version that is spoken when both sides can.
pub const VERSION: u8 = 1;

/// The oldest version that is still spoken.
pub const OLDEST: u8 = 1;

/// What each message begins with.
pub const MAGIC: [u8; 4] = *b"MSTN";

/// Bytes before the fields of a message.
pub const HEAD: usize = 8;

/// The longest message, its head included.
pub const MESSAGE_MAX: usize = 8 * 1024;

/// The longest name of an agent, a hub or a tunnel, in bytes.
pub const NAME_MAX: usize = 128;

/// The longest host, address of a hub or sentence, in bytes.
pub const TEXT_MAX: usize = 255;

/// The most offers of one agent.
pub const OFFERS_MAX: usize = 64;

/// The most hosts that one offer is granted, and the most hubs that are told.
pub const LIST_MAX: usize = 64;

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Dialer: who calls.
    Hello(Hello),
    /// Hub: who answers, and what is to be signed.
    Challenge(Challenge),
    /// Dialer: the signature, and what it offers.
    Proof(Proof),
    /// Hub: what is granted.
    Welcome(Welcome),
    /// Hub: nothing is.
    Refused(Refused),
}

/// What a dialer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// It offers services.
    Agent,
    /// It reaches private tunnels.
    Visitor,
    /// Another hub of the cluster.
    Hub,
}

/// The first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest version that the dialer speaks.
    pub low: u8,
    /// The highest.
    pub high: u8,
    /// What it is.
    pub caller: Caller,
    /// What it calls itself: for people to read, it authorises nothing.
    pub name: String,
    /// Drawn once by each of its processes.
    pub instance: u64,
    /// Drawn for this connection.
    pub nonce: [u8; 32],
}

impl Hello {
    /// The version that both speak: the highest that this side knows of those that the dialer does.
    #[must_use]
    pub fn version(&self) -> Option<u8> {
        let version = self.high.min(VERSION);
        (version >= OLDEST && version >= self.low).then_some(version)
    }
}

/// Where in a hub a session ends: a thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// From 0.
    pub process: u16,
    /// How many there are.
    pub processes: u16,
    /// From 0, within the process.
    pub thread: u16,
    /// How many the process has.
    pub threads: u16,
}

impl Place {
    /// All places of a hub that has so many.
    pub fn all(self) -> impl Iterator<Item = (u16, u16)> {
        (0..self.processes).flat_map(move |process| (0..self.threads).map(move |thread| (process, thread)))
    }
}

/// The hub's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The version spoken from here on.
    pub version: u8,
    /// The hub's name, unique in its cluster.
    pub hub: String,
    /// Drawn once by each run of the hub: equal on all of its processes.
    pub instance: u64,
    /// Which of its threads this is.
    pub place: Place,
    /// Drawn for this connection.
    pub nonce: [u8; 32],
}

/// What proves who the dialer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What is claimed, as bytes: these are signed as they are. [`parse_claims`] reads them.
    pub claims: Vec<u8>,
    /// Ed25519 over [`transcript`].
    pub signature: [u8; 64],
}

/// What a dialer claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Its public key, Ed25519.
    pub key: [u8; 32],
    /// What it offers; nothing when it is no agent.
    pub offers: Vec<Offer>,
}

/// One service that an agent offers under a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// How streams and grants name it.
    pub index: u16,
    /// The tunnel's id.
    pub tunnel: String,
    /// What it carries.
    pub kind: Kind,
    /// Its share among the agents of the tunnel.
    pub weight: u16,
    /// The host that it would like to be served under, besides those that the hub gives it.
    pub host: Option<String>,
    /// Whether any of its targets is well.
    pub healthy: bool,
}

impl Offer {
    /// How streams to it are opened and its health is told: the tunnel's id, and `/udp` behind that of datagrams.
    #[must_use]
    pub fn route(&self) -> String {
        match self.kind {
            Kind::Tcp | Kind::Http => self.tunnel.clone(),
            Kind::Udp => format!("{}/udp", self.tunnel),
        }
    }
}

/// What a service carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes of any protocol.
    Tcp,
    /// Datagrams.
    Udp,
    /// HTTP, answered by the agent itself.
    Http,
}

/// What a hub grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// An answer to each offer that was understood.
    pub grants: Vec<Grant>,
    /// The addresses of all hubs of the cluster, as URLs.
    pub hubs: Vec<String>,
    /// The names of all hubs of the cluster, so that who dials them by one address knows when it has met them all.
    pub names: Vec<String>,
    /// How many streams the agent is given at once; 0 says nothing.
    pub streams: u32,
}

/// The answer to one offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The offer's index.
    pub index: u16,
    /// What came of it.
    pub answer: Answer,
}

/// What came of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is served, under these URLs; none when nothing but routes of the hub's own lead to it.
    Served(Vec<String>),
    /// It is not, and why.
    Refused(String),
}

/// Why a dialer is sent away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What a program makes of it.
    pub cause: Cause,
    /// What a person does.
    pub sentence: String,
}

/// Why a dialer is sent away, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No version that both speak.
    Version,
    /// The key may do nothing here.
    Key,
    /// The signature is not that of the key.
    Signature,
    /// The key may do something, but not what is asked for.
    Forbidden,
    /// There are as many sessions as there may be.
    Full,
    /// The hub is about to leave: another takes it.
    Leaving,
    /// What came was no message, or not the one whose turn it was.
    Garbled,
    /// A cause that came after this version.
    Other(u16),
}

/// Types of messages.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const CHALLENGE: u8 = 2;
    pub(super) const PROOF: u8 = 3;
    pub(super) const WELCOME: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
}

/// Types of fields; each message counts its own.
mod field {
    pub(super) const HELLO_VERSIONS: u8 = 1;
    pub(super) const HELLO_CALLER: u8 = 2;
    pub(super) const HELLO_NAME: u8 = 3;
    pub(super) const HELLO_INSTANCE: u8 = 4;
    pub(super) const HELLO_NONCE: u8 = 5;

    pub(super) const CHALLENGE_VERSION: u8 = 1;
    pub(super) const CHALLENGE_HUB: u8 = 2;
    pub(super) const CHALLENGE_INSTANCE: u8 = 3;
    pub(super) const CHALLENGE_PLACE: u8 = 4;
    pub(super) const CHALLENGE_NONCE: u8 = 5;

    pub(super) const PROOF_CLAIMS: u8 = 1;
    pub(super) const PROOF_SIGNATURE: u8 = 2;

    pub(super) const CLAIM_KEY: u8 = 1;
    pub(super) const CLAIM_OFFER: u8 = 2;

    pub(super) const WELCOME_GRANT: u8 = 1;
    pub(super) const WELCOME_HUB: u8 = 2;
    pub(super) const WELCOME_STREAMS: u8 = 3;
    pub(super) const WELCOME_NAME: u8 = 4;

    pub(super) const REFUSED_CAUSE: u8 = 1;
    pub(super) const REFUSED_SENTENCE: u8 = 2;
}

/// The bit of an offer that says that it is well.
const HEALTHY: u8 = 1;
