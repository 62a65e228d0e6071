//! What an election hears.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::election::Reason;
use crate::lease::Ending;
use crate::name::{LinkId, ProbeId, RightId, VipId};
use crate::time::Boot;

/// One change in the world; the machine is drained of effects before it is given the next.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An IP packet of protocol 112 arrived.
    Packet(Packet<'a>),
    /// A link came, went, gained or lost its carrier or a source address. `up` means: exists, is up and has carrier.
    /// A vip whose family has no source address (none in its spec, none here) is as good as without its link.
    Link {
        /// Which.
        link: LinkId,
        /// Whether adverts can be sent there.
        up: bool,
        /// The link's own IPv4 address, from which adverts are sent: it breaks ties between equal priorities.
        v4: Option<IpAddr>,
        /// The same for IPv6: the link-local address.
        v6: Option<IpAddr>,
    },
    /// A probe's verdict.
    Probe {
        /// Which.
        probe: ProbeId,
        /// What it found.
        verdict: Verdict,
    },
    /// The services that a vip owns have been started (true) or stopped (false), or starting failed (false), or
    /// they died while the vip was active (false). Each `Start` and each `Stop` is answered once, in order.
    Owned {
        /// Whose.
        vip: VipId,
        /// Whether they run.
        running: bool,
    },
    /// An address that we hold was seen with a foreign hardware address.
    Conflict {
        /// Whose.
        vip: VipId,
    },
    /// A majority of voters has granted a right, or renewed it.
    Held {
        /// Which.
        right: RightId,
        /// The acquisition's number.
        epoch: u64,
        /// When the right ends.
        until: Boot,
    },
    /// A right is to be given up; answered by `Effect::Gone`.
    Yield {
        /// Which.
        right: RightId,
        /// Why.
        why: Ending,
    },
    /// Another node is known to hold a right, or nobody is.
    Holder {
        /// Which.
        right: RightId,
        /// Whether somebody does.
        held: bool,
    },
    /// Whether there is a gate; without one no vip is held under a lease. There is until something else is said.
    Gate(bool),
    /// What arbitration rules of a vip, until it rules otherwise; at first nothing speaks against it.
    Ruling {
        /// Which.
        vip: VipId,
        /// How.
        ruling: Ruling,
    },
    /// The operator's word.
    Operator(Operator),
    /// Give every vip up, in order, and take none again.
    Shutdown,
    /// Time has passed.
    Tick,
}

/// A VRRP packet and what the IP header said.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The link that it came in by.
    pub link: LinkId,
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What follows the IP header.
    pub payload: &'a [u8],
}

/// What a node may do with a vip by what it hears of peers, of reference addresses and of the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ruling {
    /// It may be taken and held.
    #[default]
    Free,
    /// It is not to be taken because others are silent; what is held stays.
    Wait(Doubt),
    /// It can't be held.
    Leave(Doubt),
}

/// Why a vip is better left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// No reference address answers here.
    NoReference,
    /// Neither a peer nor a reference address is heard.
    Isolated,
    /// Every peer is silent, and the lock is not held by this node.
    NoLock,
    /// A peer that is heard over another wire says that it holds the vip.
    HeldByPeer,
}

impl From<Doubt> for Reason {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::NoReference => Self::NoReference,
            Doubt::Isolated => Self::Isolated,
            Doubt::NoLock => Self::NoLock,
            Doubt::HeldByPeer => Self::HeldByPeer,
        }
    }
}

/// What a probe says of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing has been found out yet: a vip that requires it is not taken.
    Pending,
    /// It works.
    Up,
    /// It does not.
    Down,
    /// The last verdict is too old to be trusted: whatever holds goes on, and status is degraded.
    Unknown,
}

/// What an operator may ask of a running election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// Give the vip to whoever comes next; this node stays out until another was heard active or a while has passed.
    Move(VipId),
    /// Give the vip up and stay out until `Ready`.
    Drain(VipId),
    /// Keep the vip where it is, which is here: nobody preempts it, and once it has gone this node does not either, until
    /// another word.
    Hold(VipId),
    /// Take part again.
    Ready(VipId),
}
