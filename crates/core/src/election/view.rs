//! What status, metrics and `explain` may know of a vip.

use std::net::IpAddr;
use std::time::Duration;

use crate::election::vip::{Phase, Vip};
use crate::election::wire::Rejects;
use crate::election::world::World;
use crate::election::{Reason, State, VipSpec};
use crate::time::Boot;

/// So many other nodes are remembered for each vip; the one not heard for longest makes room.
const PEERS: usize = 16;

/// One vip as it stands.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// What the operator asked for.
    pub spec: &'a VipSpec,
    /// Where it stands here.
    pub state: State,
    /// How far this node has gone in holding it.
    pub holding: Holding,
    /// Why it stands there.
    pub reason: &'a Reason,
    /// Since when.
    pub since: Boot,
    /// Acquisitions by this node.
    pub epoch: u64,
    /// Priority after weights.
    pub priority: u8,
    /// Another node that is known as active, unless this one is.
    pub holder: Option<Peer>,
    /// Other nodes heard, in no order; at most 16.
    pub peers: &'a [Peer],
    /// Whether an operator drained it here.
    pub drained: bool,
    /// Whether an operator holds it where it is.
    pub pinned: bool,
    /// Why this node may not take it just now, although it is not in fault: drained, moved, a probe pending, stopping.
    pub waiting: Option<Reason>,
    /// The active node was judged silent while this node could not take it.
    pub overdue: bool,
    /// When this node takes it if nothing more is heard.
    pub deadline: Option<Boot>,
    /// When the gate closes unless it is armed again.
    pub armed: Option<Boot>,
    /// What has been counted.
    pub counters: &'a Counters,
    /// Time in which nobody was known to hold it, up to the last input: from our own release, from a priority 0, or
    /// from the last advert before a silence longer than the down interval, until we added the address or an active
    /// node was heard. The time before the first holder was known does not count.
    pub outage: Duration,
}

/// How far a node has gone in holding a vip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Not at all.
    No,
    /// It sends adverts and waits for its services; the address has not been added.
    Starting,
    /// The address is there.
    Yes,
    /// The address is there and leaves as soon as the services have stopped.
    Stopping,
}

/// Another node, as heard for one vip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its adverts come from.
    pub addr: IpAddr,
    /// The priority of the last one.
    pub priority: u8,
    /// When that was.
    pub heard: Boot,
}

/// What is counted for a vip, from the daemon's start and across reloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Adverts sent, those of priority 0 excepted.
    pub sent: u64,
    /// Adverts of priority 0 sent.
    pub sent_zero: u64,
    /// Adverts accepted, those of priority 0 excepted.
    pub received: u64,
    /// Adverts of priority 0 accepted.
    pub received_zero: u64,
    /// Packets refused, by cause.
    pub rejected: Rejects,
    /// Adverts of lower nodes heard while active.
    pub lower: u64,
    /// Announcements.
    pub announced: u64,
    /// Times the gate was armed.
    pub armed: u64,
    /// Address conflicts reported to us.
    pub conflicts: u64,
    /// Times the vip was given up because this task woke too late.
    pub late: u64,
    /// Verdicts on the active node put off because our own tick was late.
    pub graced: u64,
}

impl Vip {
    pub(super) fn view(&self, w: &World) -> View<'_> {
        let running = self.dark_since.map_or(Duration::ZERO, |since| w.now.since(since));
        View {
            spec: &self.spec,
            state: self.state,
            holding: match self.phase {
                Phase::Out => Holding::No,
                Phase::Starting { .. } => Holding::Starting,
                Phase::Holding => Holding::Yes,
                Phase::Stopping { .. } => Holding::Stopping,
            },
            reason: &self.reason,
            since: self.since,
            epoch: self.epoch,
            priority: self.priority,
            holder: self.known.filter(|_| !self.is_active()).map(|known| Peer {
                addr: known.addr,
                priority: known.priority,
                heard: known.at,
            }),
            peers: &self.peers,
            drained: self.drained,
            pinned: self.pinned,
            waiting: self.wait(w),
            overdue: self.overdue,
            deadline: self.down_at.filter(|_| self.wait(w).is_none()),
            armed: self.armed,
            counters: &self.counters,
            outage: self.dark + running,
        }
    }

    /// Remembers who was heard.
    pub(super) fn note_peer(&mut self, w: &World, addr: IpAddr, priority: u8) {
        let peer = Peer { addr, priority, heard: w.now };
        if let Some(known) = self.peers.iter_mut().find(|known| known.addr == addr) {
            *known = peer;
        } else if self.peers.len() < PEERS {
            self.peers.push(peer);
        } else if let Some(oldest) = self.peers.iter_mut().min_by_key(|known| known.heard) {
            *oldest = peer;
        }
    }
}
