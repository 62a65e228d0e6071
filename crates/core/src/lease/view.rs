//! What status, metrics and `explain` may know of the leases.

use std::time::Duration;

use crate::lease::{Mark, Stance};
use crate::name::NodeId;
use crate::time::Boot;

/// One right as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightView {
    /// Its name.
    pub name: String,
    /// Where this node stands.
    pub stance: Stance,
    /// The highest epoch known.
    pub epoch: u64,
    /// When our right ends, while we hold it.
    pub until: Option<Boot>,
    /// When the request was stamped that our right counts from.
    pub stamped: Option<Boot>,
    /// Who is known to hold it, this node included.
    pub holder: Option<HolderView>,
    /// What each voter last said of it, to us; in the list's order.
    pub voters: Vec<Saying>,
    /// Who follows when it is given up, by what is known here.
    pub next: Option<NodeId>,
    /// When this node asks next, while it waits its turn.
    pub asks_at: Option<Boot>,
    /// Acquisitions, requests refused and rights that ended unrenewed, since the start.
    pub acquired: u64,
    /// See `acquired`.
    pub refused: u64,
    /// See `acquired`.
    pub unrenewed: u64,
    /// It ends only when it is given back; `until` is when the gate closes unless it is told again.
    pub lasting: bool,
    /// It is ours and the address is not here: it is given back when the other node is heard.
    pub laid: bool,
    /// The other node's promise can't be had, and nothing is taken without it.
    pub apart: bool,
}

/// Who holds a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// Who.
    pub node: NodeId,
    /// Under which epoch.
    pub epoch: u64,
    /// When that was last heard.
    pub heard: Boot,
}

/// What a voter last said of a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Which voter.
    pub voter: NodeId,
    /// What; absent before it said anything.
    pub said: Option<Said>,
    /// When it said so.
    pub at: Boot,
}

/// What a voter said, without what only machines need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has promised the right to this node.
    Granted,
    /// It has promised it to another.
    Held {
        /// To whom, when it is a node of our list.
        by: Option<NodeId>,
        /// For how much longer, when it said so.
        left: Duration,
    },
    /// It knows a higher epoch.
    Stale,
    /// It has just started.
    Mute,
    /// It has another list.
    Mismatch,
    /// It has no room.
    Full,
}

/// One node of the cluster as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterView {
    /// Which.
    pub node: NodeId,
    /// Whether it votes.
    pub votes: bool,
    /// When it was last heard; this node itself always.
    pub heard: Option<Boot>,
    /// Whether it counts as reachable.
    pub reachable: bool,
    /// Its list.
    pub mark: Option<Mark>,
    /// Its instance.
    pub instance: Option<u64>,
    /// How much longer it is mute, when it said so.
    pub mute: Duration,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Letters that were heard.
    pub heard: u64,
    /// Letters from nobody in the list.
    pub strangers: u64,
    /// Messages that made no sense: a list that cannot be, a beat that came late.
    pub rejected: u64,
    /// Requests that were sent, whatever the number of voters.
    pub requests: u64,
    /// Rights that others asked our voter for, and it refused.
    pub denied: u64,
    /// Rights that became held.
    pub acquired: u64,
    /// Answers to us that were refusals.
    pub refused: u64,
    /// Rights that ended unrenewed.
    pub unrenewed: u64,
    /// Votes that were split and given back.
    pub split: u64,
    /// Beats that came too late to judge others by.
    pub late: u64,
}
