//! What arbitration begins with, hears and asks for.

use std::time::Duration;

use crate::arbitration::lock::{DiskOp, LockTerms};
use crate::arbitration::record::{Block, Owner};
use crate::arbitration::reference::ReferenceTerms;
use crate::election::Ruling;
use crate::lease::Sights;
use crate::name::{NodeId, VipId};
use crate::time::Boot;

/// What arbitration begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Sets of reference addresses; vips name them by their place.
    pub references: Vec<ReferenceAid>,
    /// Every vip of the node, in the Plan's order.
    pub vips: Vec<VipAids>,
    /// The other nodes, where sessions tell whether they are heard.
    pub peers: Option<Vec<PeerAid>>,
    /// The lock, if there is one.
    pub lock: Option<LockTerms>,
    /// Who this is in the lock.
    pub me: Owner,
    /// How long this node may be isolated before something is done about it.
    pub isolated: Option<Duration>,
    /// How often this node tells its peers how it stands.
    pub beat: Duration,
}

impl Setup {
    /// Whether anything in it helps.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.references.is_empty() || self.vips.iter().any(|vip| vip.locked)
    }
}

/// A set of reference addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceAid {
    /// Which: a set of the same name is the same after a reload.
    pub name: String,
    /// How it is asked.
    pub terms: ReferenceTerms,
}

/// What helps to decide on a vip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipAids {
    /// The operator's name, the same on every node.
    pub name: String,
    /// Its set of reference addresses.
    pub reference: Option<usize>,
    /// Whether it is held under the lock while peers are silent.
    pub locked: bool,
    /// An advert as old as this is news of its sender; after half of that it is missed. Half of it is less than the time
    /// after which the active node counts as silent.
    pub window: Duration,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAid {
    /// Its place in the cluster's list.
    pub node: NodeId,
    /// Its `node.id`.
    pub id: String,
    /// Whether it may hold vips: a witness may not.
    pub holds: bool,
}

/// A change in the world.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// One of a set's addresses has answered.
    Answered {
        /// Which set.
        reference: usize,
    },
    /// How the election stands with a vip.
    Stand {
        /// Which.
        vip: VipId,
        /// This node is active.
        active: bool,
        /// The active node is silent, and this node would take it.
        overdue: bool,
        /// But for the lock nothing speaks against its being held here.
        able: bool,
        /// When another node was last heard for it.
        heard: Option<Boot>,
    },
    /// Whether a peer's session carries.
    Peer {
        /// Which.
        node: NodeId,
        /// Whether it is heard.
        heard: bool,
    },
    /// What a peer says.
    Said {
        /// Which.
        node: NodeId,
        /// How it stands.
        sights: &'a Sights,
    },
    /// What has become of an operation on the lock.
    Disk {
        /// The operation's number.
        number: u64,
        /// What was read (anything for a write), or why not.
        outcome: Result<Block, String>,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask each address of a set.
    Ask {
        /// Which set.
        reference: usize,
    },
    /// Tell the election.
    Ruling {
        /// Of which vip.
        vip: VipId,
        /// What.
        ruling: Ruling,
    },
    /// Tell every peer.
    Say(Sights),
    /// Read or write the lock's place.
    Disk {
        /// The operation's number, which the answer bears.
        number: u64,
        /// Which.
        op: DiskOp,
    },
    /// Tell the outside.
    Notice(Notice),
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A set of reference addresses answers, or no more.
    Reference {
        /// Which set.
        reference: usize,
        /// Whether it answers.
        up: bool,
    },
    /// The lock is this node's.
    LockOwned,
    /// It is no more, though it is wanted.
    LockLost,
    /// It is wanted, and another's.
    LockBusy {
        /// Whose.
        node: String,
    },
    /// It can't be read or written.
    LockTrouble(String),
    /// It was given back.
    LockReleased,
    /// Neither a peer nor a reference is heard.
    Isolated,
    /// That has lasted for as long as the operator bears: act.
    IsolatedTooLong,
    /// It is over.
    Joined,
}
