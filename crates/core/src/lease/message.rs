//! What nodes say to each other. Who said it is known from the session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::{Mark, VoterList};

/// One datagram's worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Drawn at the start of the sender's process: a process that starts again is somebody else.
    pub instance: u64,
    /// The instance that ran before on this host, while it is certain that it is dead: its promises are the sender's.
    pub heir_of: Option<u64>,
    /// The sender's voter list.
    pub mark: Mark,
    /// What is said, in order.
    pub messages: Vec<Message>,
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// I am there.
    Beat(Beat),
    /// Promise me these rights.
    Request(Request),
    /// What I promise.
    Reply(Reply),
    /// I hold these rights no more: their addresses are gone here.
    Free(Vec<Freed>),
    /// My voter list, for a peer whose mark is lower.
    List(VoterList),
    /// How I stand with the vips that are not held under a lease.
    Sights(Sights),
}

/// What arbitration among nodes that vote on nothing needs to know of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sights {
    /// The sender wants the lock: it does not hear some peer.
    pub lock_wanted: bool,
    /// The sender has the lock.
    pub lock_owned: bool,
    /// Its vips; what is not named stands as it stood.
    pub vips: Vec<Sight>,
}

/// One vip, as its sender sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    /// The vip's name.
    pub vip: String,
    /// The sender is active for it.
    pub active: bool,
    /// Whether a reference address of the vip answers the sender, when it knows.
    pub reference: Option<bool>,
}

/// A sign of life, and where its sender stands with each right that it could hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Beat {
    /// Rises by one with each beat of an instance.
    pub number: u64,
    /// Rights that the sender knows of; a right that is not in it is none of its business. A long list is spread over
    /// several beats: what a beat does not name stands as it stood.
    pub rights: Vec<Standing>,
}

/// Where a node stands with a right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// `vip/NAME`, `group/NAME` or `node/ID`.
    pub right: String,
    /// The epoch under which it is held here; 0 when it is not.
    pub epoch: u64,
    /// Whether it could be held here.
    pub ready: bool,
    /// Whether it is wanted here even while a lower priority holds it.
    pub preempts: bool,
    /// 0 to 255.
    pub priority: u8,
}

/// One message for all the rights that a node asks for or renews (rule 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Rises with each request of an instance; the reply names it. The requester alone knows when it was stamped.
    pub number: u64,
    /// The term that is asked for.
    pub term: Duration,
    /// The rights.
    pub rights: Vec<Asked>,
}

/// One right in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Its name.
    pub right: String,
    /// The epoch under which it is held, or would be.
    pub epoch: u64,
    /// It is held already.
    pub renewal: bool,
}

/// A voter's answer to one request; a right that was refused may be granted by a later reply with the same number, when
/// it has become free.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub number: u64,
    /// The rights, not necessarily all of them.
    pub rights: Vec<Answered>,
}

/// One right in a reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answered {
    /// Its name.
    pub right: String,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What a voter says of a right.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Promised for the term from now on, under the epoch that was asked for.
    Granted {
        /// That epoch.
        epoch: u64,
    },
    /// Promised to another.
    Held {
        /// The node's name.
        by: String,
        /// Its epoch.
        epoch: u64,
        /// For how much longer.
        left: Duration,
    },
    /// The epoch that was asked for is not above all that were granted.
    Stale {
        /// The highest epoch that this voter knows of.
        epoch: u64,
    },
    /// The voter has just started and remembers nothing (rule 4).
    Mute {
        /// For how much longer.
        left: Duration,
    },
    /// The lists or the longest terms differ (rule 5).
    Mismatch {
        /// The voter's list.
        mark: Mark,
        /// The voter's longest term.
        term_max: Duration,
    },
    /// The voter has no room for one more right.
    Full,
}

/// One right that is given back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Freed {
    /// Its name.
    pub right: String,
    /// The epoch under which it was held.
    pub epoch: u64,
    /// The node that is to follow, by name: it asks at once, the others after it.
    pub next: Option<String>,
}
