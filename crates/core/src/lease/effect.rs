//! What a node's leases ask for.

use std::time::Duration;

use crate::lease::{Mark, Message, VoterList};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

/// What must be done, in this order, before the machine is given its next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to a peer over every wire; several in a row to one peer make one letter.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A majority has promised the right until then: first, or again. Arm the gate, then take the address. Between
    /// `Yield` and `Input::Gone` only the end moves on, while the address is being taken away: it is not taken again.
    Held {
        /// Which.
        right: RightId,
        /// The acquisition's number.
        epoch: u64,
        /// When the right ends unless it is renewed (rule 1).
        until: Boot,
    },
    /// Give it up now, although it could be held longer; answered by `Input::Gone`.
    Yield {
        /// Which.
        right: RightId,
        /// Why.
        why: Ending,
    },
    /// A newer list is in force: keep it on disk before anything else is sent.
    Adopted(VoterList),
    /// Something that an operator would tell a colleague.
    Notice(Notice),
}

/// Why a right ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A ready node with a higher priority wants it.
    Preempted {
        /// Who.
        by: NodeId,
    },
    /// No majority has renewed it in time.
    Unrenewed,
    /// A higher epoch was seen: somebody else holds it (rule 8).
    Superseded {
        /// That epoch.
        epoch: u64,
    },
}

/// What is told of the votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A peer is heard, for the first time or again.
    Reachable(NodeId),
    /// A peer is not heard any more.
    Silent(NodeId),
    /// A peer has started again.
    Restarted(NodeId),
    /// A peer uses another list or longest term: its promises don't count, and ours not for it (rule 5).
    Mismatch {
        /// Who.
        node: NodeId,
        /// Its list.
        mark: Mark,
    },
    /// Our own voter says nothing for so long (rule 4).
    Mute(Duration),
    /// A majority of voters answers: rights can be granted.
    Quorum,
    /// No majority answers: nothing can be taken, what is held ends.
    NoQuorum,
    /// Another instance holds the right to our own node id.
    Duplicate {
        /// The right.
        right: RightId,
    },
}
