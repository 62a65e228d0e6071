//! What status, metrics and `explain` are told.

use std::time::Duration;

use crate::lease::leases::Leases;
use crate::lease::{HolderView, RightView, Saying, VoterView};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

impl Leases {
    /// One right as this node sees it at `now`.
    #[must_use]
    pub fn view(&self, right: RightId, now: Boot) -> Option<RightView> {
        let at = right.index();
        let right = self.rights.get(at)?;
        let until = right.claim.until().filter(|until| *until > now);
        let epoch = right.highest.max(self.voter.highest(&right.name));
        let mine = until.map(|_| HolderView { node: self.me, epoch: right.claim.epoch(), heard: now });
        let heard =
            right.holder().map(|(node, stand)| HolderView { node, epoch: stand.epoch, heard: stand.heard });
        let voters = self.list.voters().map(|voter| {
            let said = right.said.get(voter.index()).copied().flatten();
            Saying { voter, said: said.map(|(said, _)| said), at: said.map_or(Boot::ZERO, |(_, at)| at) }
        });
        Some(RightView {
            name: right.name.clone(),
            stance: right.stance,
            epoch,
            until,
            stamped: until.map(|until| until - self.terms.hold()),
            holder: mine.or(heard).or(right.told),
            voters: voters.collect(),
            next: right.successor.or_else(|| self.best_peer(at)),
            asks_at: right.seek.asks_at,
            acquired: right.acquired,
            refused: right.refused,
            unrenewed: right.unrenewed,
        })
    }

    /// All nodes of the list as they are seen from here at `now`.
    #[must_use]
    pub fn voters(&self, now: Boot) -> Vec<VoterView> {
        let nodes = (0..).map(NodeId).zip(self.list.members.iter().zip(&self.peers));
        let views = nodes.map(|(node, (member, peer))| {
            let own = node == self.me;
            VoterView {
                node,
                votes: member.votes,
                heard: if own { Some(now) } else { peer.heard },
                reachable: self.reachable(node),
                mark: if own { Some(self.mark) } else { peer.mark },
                instance: if own { Some(self.instance) } else { peer.instance },
                mute: match (own, member.votes) {
                    (_, false) => Duration::ZERO,
                    (true, true) => self.voter.mute(now),
                    (false, true) => peer.mute_until.since(now),
                },
            }
        });
        views.collect()
    }

    /// Another node that is known to hold a right.
    #[must_use]
    pub fn other_holder(&self, right: RightId) -> Option<NodeId> {
        let right = self.rights.get(right.index())?;
        right.holder().map(|(node, _)| node).filter(|node| *node != self.me)
    }

    /// Who follows when a right is given up.
    #[must_use]
    pub fn next(&self, right: RightId) -> Option<NodeId> {
        let at = right.index();
        self.rights.get(at)?.successor.or_else(|| self.best_peer(at))
    }

    /// Whether a majority of voters answers.
    #[must_use]
    pub fn quorum(&self) -> bool {
        self.quorum == Some(true)
    }
}
