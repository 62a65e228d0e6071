//! What the owner of the sessions should know.

use std::net::SocketAddr;

use mainstay_core::name::NodeId;

/// Something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a session where there was none, or with a process that has started anew: what is sent arrives from now on. Wills are to be sealed.
    Established {
        /// With whom.
        node: NodeId,
    },
    /// A newer session has taken over; wills are to be sealed anew.
    Replaced {
        /// With whom.
        node: NodeId,
    },
    /// The session has ended for want of a newer one; the peer has not been heard for minutes.
    Lost {
        /// With whom.
        node: NodeId,
    },
    /// The peer's key is pinned from now on: to be kept on disk and given as [`crate::PeerSpec::key`].
    Enrolled {
        /// Whose.
        node: NodeId,
        /// Its static key.
        key: [u8; 32],
        /// What vouches for it.
        means: Means,
    },
    /// Another node answers for a key that says it is this node, and for this node has another one pinned.
    Disputed {
        /// Whose.
        node: NodeId,
        /// Who has the other key.
        by: NodeId,
    },
    /// Somebody wants to enrol, and may not.
    Intruder {
        /// From where.
        addr: SocketAddr,
        /// What is wrong.
        why: Intrusion,
    },
    /// Somebody with another key than the pinned one says that it is this node.
    KeyMismatch {
        /// Who it says that it is.
        node: NodeId,
        /// From where.
        addr: SocketAddr,
    },
    /// Two processes speak with this node's key at the same time: somebody copied its state to another host.
    Twin {
        /// Whose key.
        node: NodeId,
        /// From where one of them was heard.
        addr: SocketAddr,
    },
    /// A wire to a peer that is there carries no more.
    WireLost {
        /// To whom.
        node: NodeId,
        /// Which of its addresses.
        wire: usize,
    },
    /// It carries again.
    WireBack {
        /// To whom.
        node: NodeId,
        /// Which of its addresses.
        wire: usize,
    },
    /// A peer won't have us.
    Refused {
        /// Which.
        by: NodeId,
        /// From where it said so.
        addr: SocketAddr,
        /// Its reason.
        why: Refusal,
    },
}

/// What a key is believed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Its owner has the cluster key.
    ClusterKey,
    /// Its owner has a token that was given out, or it gave one to us.
    Token,
    /// A node that is known answers for it.
    Voucher(NodeId),
}

/// Why a request to enrol is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intrusion {
    /// It proves neither the cluster key nor a token in force.
    Unproven,
    /// Its token is another node's.
    Misused {
        /// Who it says that it is.
        id: String,
    },
    /// Its token has been used by another key.
    Used {
        /// Who it says that it is.
        id: String,
    },
}

/// Why a peer won't have us. All of it is said by somebody who has the pinned key or the cluster key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node has our id.
    InUse {
        /// Where it is.
        holder: Option<SocketAddr>,
    },
    /// It does not know our key; with a cluster key we enrol next.
    UnknownKey,
    /// Our id is not in its list of members.
    NotMember,
    /// At its address is another node than the one that we look for.
    OtherNode {
        /// Which.
        id: String,
    },
}
