//! What a node's leases hear.

use crate::lease::{Letter, VoterList};
use crate::name::{NodeId, RightId};

/// One change in the world; the machine is drained of effects before it is given the next.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An authenticated peer said this.
    Heard {
        /// Who.
        from: NodeId,
        /// What.
        letter: &'a Letter,
    },
    /// This node stands differently with a right.
    Stance {
        /// Which.
        right: RightId,
        /// How.
        stance: Stance,
    },
    /// A right that was granted is not used here any more: the address is gone and the gate is closed. Given back only now
    /// (rule 3).
    Gone {
        /// Which.
        right: RightId,
    },
    /// The operator wants this node to follow when the right is given up.
    Successor {
        /// Which.
        right: RightId,
        /// Whom.
        next: NodeId,
    },
    /// The operator's list, one member different from the one in force (rule 5).
    List(&'a VoterList),
    /// Time has passed.
    Tick,
}

/// Whether and how a node wants a right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stance {
    /// It cannot hold it, or must not: fault, drained, stopping.
    #[default]
    Unable,
    /// It can hold it.
    Ready {
        /// Who of several comes first.
        priority: u8,
        /// It asks a holder of lower priority to hand over.
        preempts: bool,
    },
}
