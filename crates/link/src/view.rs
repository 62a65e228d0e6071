//! What status shows of sessions.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::name::NodeId;

use crate::house::Causes;

/// All sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Every peer, in the order of the list.
    pub peers: Vec<PeerView>,
    /// What was refused or dropped.
    pub causes: Causes,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Which.
    pub node: NodeId,
    /// Its `node.id`.
    pub id: String,
    /// Whether its key is pinned.
    pub enrolled: bool,
    /// The session in use.
    pub session: Option<SessionView>,
    /// How many handshakes were tried since the last one that succeeded; 0 when none is needed.
    pub tries: u32,
    /// How long ago something authentic came; `None` when nothing ever did.
    pub heard: Option<Duration>,
    /// Handshakes that were begun or answered.
    pub handshakes: u64,
    /// Letters sent, each over every wire.
    pub letters_sent: u64,
    /// Letters heard, each counted once.
    pub letters_heard: u64,
    /// Each of its addresses.
    pub wires: Vec<WireView>,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// How old it is.
    pub age: Duration,
    /// Whether this side began it.
    pub initiated: bool,
    /// The version of its insides.
    pub version: u8,
}

/// A wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireView {
    /// The peer's address.
    pub addr: SocketAddr,
    /// Whether it counts as lost.
    pub lost: bool,
    /// How long ago something authentic came over it; `None` when nothing ever did.
    pub heard: Option<Duration>,
    /// The last handshake's round trip over it.
    pub rtt: Option<Duration>,
    /// Datagrams heard over it.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that had come over another wire before.
    pub duplicates: u64,
}
