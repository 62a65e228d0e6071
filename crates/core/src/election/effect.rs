//! What an election asks for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::lease::Stance;
use crate::name::{NodeId, RightId, VipId};
use crate::time::Boot;

/// What must be done, in this order, before the machine is given its next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Arm the gate of a vip: from `until` on the kernel neither sends nor accepts for it.
    Arm {
        /// Whose.
        vip: VipId,
        /// The deadline.
        until: Boot,
    },
    /// Add the addresses (the gate has been armed).
    Take {
        /// Which.
        vip: VipId,
    },
    /// Remove the addresses and close the gate.
    Release {
        /// Which.
        vip: VipId,
    },
    /// Send one advert to the vip's group or to each unicast peer.
    Advertise {
        /// Whose.
        vip: VipId,
        /// 0 gives the vip up.
        priority: u8,
    },
    /// Send one gratuitous ARP or unsolicited NA for each address.
    Announce {
        /// Whose.
        vip: VipId,
    },
    /// Start what the vip owns; answered by `Input::Owned { running: true }`.
    Start {
        /// Whose.
        vip: VipId,
    },
    /// Stop what the vip owns; answered by `Input::Owned { running: false }`.
    Stop {
        /// Whose.
        vip: VipId,
    },
    /// This node stands differently with a right: told to its leases.
    Stance {
        /// Which.
        right: RightId,
        /// How.
        stance: Stance,
    },
    /// What was held under a right is gone, or was never taken: its leases give it back.
    Gone {
        /// Which.
        right: RightId,
    },
    /// Tell the outside.
    Changed {
        /// Whose.
        vip: VipId,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// Why.
        reason: Reason,
        /// The number of the acquisition: rises each time this node takes the vip.
        epoch: u64,
    },
}

impl Effect {
    /// The vip that it is about; none when it is about a right.
    #[must_use]
    pub const fn vip(&self) -> Option<VipId> {
        match self {
            Self::Arm { vip, .. }
            | Self::Take { vip }
            | Self::Release { vip }
            | Self::Advertise { vip, .. }
            | Self::Announce { vip }
            | Self::Start { vip }
            | Self::Stop { vip }
            | Self::Changed { vip, .. } => Some(*vip),
            Self::Stance { .. } | Self::Gone { .. } => None,
        }
    }
}

/// Where a vip stands on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It cannot hold the vip.
    Fault,
    /// It could.
    Backup,
    /// It does.
    Active,
}

/// Why a vip is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// The daemon started.
    Started,
    /// This node owns the address (priority 255).
    Owner,
    /// No advert was heard for the down interval.
    Silence {
        /// The last active node heard, if any.
        last: Option<IpAddr>,
    },
    /// The active node gave the vip up (priority 0).
    Resigned {
        /// Who.
        peer: IpAddr,
    },
    /// Our priority is higher than the active node's.
    Preempting {
        /// Who was active.
        peer: IpAddr,
        /// Its priority.
        theirs: u8,
        /// Ours.
        ours: u8,
    },
    /// A node with a higher claim is active.
    Outranked {
        /// Who.
        peer: IpAddr,
        /// Its priority.
        theirs: u8,
        /// Ours.
        ours: u8,
    },
    /// Another vip of the sync group moved.
    Group {
        /// Its name.
        vip: String,
    },
    /// The link is missing, down, without carrier or without an address of its own.
    LinkDown,
    /// The fault that was there has gone.
    Recovered,
    /// A required probe is down.
    ProbeDown {
        /// Its index in the Plan.
        probe: u32,
    },
    /// A required probe has found out nothing yet.
    ProbePending {
        /// Its index in the Plan.
        probe: u32,
    },
    /// What the vip owns could not be started, or died.
    ServiceFailed,
    /// This task woke later than the gate: its right had ended.
    Late {
        /// By how much, in nanoseconds.
        nanos: u64,
    },
    /// A majority of voters granted it.
    Granted {
        /// The acquisition's number, the same for every node.
        epoch: u64,
    },
    /// No majority of voters renewed it in time.
    Unrenewed,
    /// Another node was granted it under a higher number.
    Superseded {
        /// That number.
        epoch: u64,
    },
    /// It was handed to a node with a higher priority.
    HandedOver {
        /// Which.
        to: NodeId,
    },
    /// No gate: nothing would close the address if this node froze.
    NoGate,
    /// No reference address answers here, and a peer that is heard has one.
    NoReference,
    /// Neither a peer nor a reference address is heard.
    Isolated,
    /// Every peer is silent, and the lock is not held by this node.
    NoLock,
    /// A peer that is heard over another wire says that it holds it.
    HeldByPeer,
    /// The operator moved it.
    Moved,
    /// The operator drained it.
    Drained,
    /// The daemon stops.
    Stopping,
    /// A reload changed or removed it.
    Reloaded,
}
