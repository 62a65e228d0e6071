//! A change of the list of voters (rule 5): one voter at a time, each change only when nobody counts by the list before
//! the one in force.

use std::time::Duration;

use crate::lease::leases::Leases;
use crate::lease::peer::Peer;
use crate::lease::{Effect, VoterList};
use crate::name::NodeId;
use crate::time::Boot;

/// Why a list is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a list.
    #[error("it cannot be a list of voters: {0}")]
    Flaw(&'static str),
    /// This node is not in it.
    #[error("this node is not in it; change the list from a node that stays")]
    Myself,
    /// Another change came first.
    #[error("its epoch is {epoch}, and the next one is {next}")]
    Epoch {
        /// The list's.
        epoch: u32,
        /// What it should be.
        next: u32,
    },
    /// More voters differ than changes lie between.
    #[error("{0} voters differ, and one at a time may change")]
    TooMany(usize),
    /// Promises last, so who made one may not go.
    #[error("two nodes of guard strict are all voters there can be")]
    Lasting,
    /// Too few have the list in force.
    #[error("no majority of the voters is heard with the list in force")]
    NoMajority,
    /// The last change is too young: rights may still be held by the list before.
    #[error("the last change is too young: wait {} ms", .0.as_millis())]
    TooSoon(Duration),
}

impl Leases {
    /// The operator's next list, on the node where it is first known; the others hear of it from here. Change it on one
    /// node at a time: two changes at once, on two nodes, are not told apart.
    pub fn change(&mut self, list: &VoterList, now: Boot) -> Result<(), Refused> {
        self.judge(now);
        self.settle(now);
        self.next_list(list)?;
        let next = self.list.epoch.saturating_add(1);
        if list.epoch != next {
            return Err(Refused::Epoch { epoch: list.epoch, next });
        }
        if !self.agreed() {
            return Err(Refused::NoMajority);
        }
        // The longest promise that a voter made under the list before, on the slowest clock.
        let left = self.settled.map_or(self.terms.mute(), |since| (since + self.terms.mute()).since(now));
        if !left.is_zero() {
            return Err(Refused::TooSoon(left));
        }
        self.adopt(list, now);
        self.due = Some(now);
        Ok(())
    }

    /// A list that a peer has, or the operator's own file.
    pub(super) fn hear_list(&mut self, list: &VoterList, now: Boot) {
        match self.next_list(list) {
            Ok(()) => self.adopt(list, now),
            Err(Refused::Epoch { .. }) => {}
            Err(
                Refused::Flaw(_)
                | Refused::Lasting
                | Refused::Myself
                | Refused::TooMany(_)
                | Refused::NoMajority
                | Refused::TooSoon(_),
            ) => self.counters.rejected += 1,
        }
    }

    /// Since when a majority is known to count by the list in force. A voter never goes back to an older list.
    pub(super) fn settle(&mut self, now: Boot) {
        if self.settled.is_none() && self.agreed() {
            self.settled = Some(now);
        }
    }

    fn agreed(&self) -> bool {
        self.list.voters().filter(|voter| self.counts(*voter)).count() >= self.list.majority()
    }

    /// Whether a list can follow the one in force. One that is several changes ahead was proved step by step elsewhere, and
    /// differs by no more voters than there were steps.
    fn next_list(&self, list: &VoterList) -> Result<(), Refused> {
        if let Some(flaw) = list.flaw() {
            return Err(Refused::Flaw(flaw));
        }
        if self.lasting {
            return Err(Refused::Lasting);
        }
        let next = self.list.epoch.saturating_add(1);
        if list.epoch < next {
            return Err(Refused::Epoch { epoch: list.epoch, next });
        }
        if list.find(self.list.name(self.me)).is_none() {
            return Err(Refused::Myself);
        }
        let changed = self.list.voters_changed(list);
        let steps = list.epoch - self.list.epoch;
        if changed > usize::try_from(steps).unwrap_or(usize::MAX) {
            return Err(Refused::TooMany(changed));
        }
        Ok(())
    }

    /// Takes a list: promises are kept, a holder goes on under the new mark.
    fn adopt(&mut self, list: &VoterList, now: Boot) {
        let Some(me) = list.find(self.list.name(self.me)) else { return };
        let old = std::mem::replace(&mut self.list, list.clone());
        let new = |node: NodeId| {
            let id = old.members.get(node.index()).map(|member| member.id.as_str())?;
            list.find(id)
        };
        let members = list.members.len();
        let mut peers = vec![Peer::default(); members];
        for (node, peer) in (0..).map(NodeId).zip(self.peers.drain(..)) {
            if let Some(slot) = new(node).and_then(|node| peers.get_mut(node.index())) {
                *slot = peer;
            }
        }
        (self.me, self.peers, self.mark, self.settled) = (me, peers, list.mark(self.salt), None);
        self.voter.renumber(new);
        self.voter.set(self.mark, self.terms.term_max);
        for right in &mut self.rights {
            right.renumber(&new, members);
        }
        // What is on its way to somebody has the old numbers: it is repeated soon enough.
        self.effects.retain(|effect| !matches!(effect, Effect::Send { .. }));
        self.effects.push_back(Effect::Adopted(list.clone()));
        self.beat_soon = true;
        for node in self.peers_of_list() {
            let behind = self.peers[node.index()].mark.is_none_or(|mark| mark.epoch < self.mark.epoch);
            if behind {
                self.peers[node.index()].listed = Some(now);
                self.send_list(node);
            }
        }
    }
}
