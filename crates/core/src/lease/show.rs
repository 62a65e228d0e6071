//! What status, metrics and `explain` are told.

use std::cmp::Reverse;
use std::time::Duration;

use crate::lease::leases::Leases;
use crate::lease::{HolderView, RightView, Saying, VoterView};
use crate::name::{NodeId, RightId};
use crate::time::Boot;

impl Leases {
    /// One right as this node sees it at `now`.
    #[must_use]
    pub fn view(&self, index: RightId, now: Boot) -> Option<RightView> {
        let at = index.index();
        let right = self.rights.get(at)?;
        let until = right.claim.until().filter(|until| *until > now);
        let until = until.map(|until| if self.lasting { right.lasting.armed } else { until });
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
            next: if until.is_some() { self.next(index) } else { self.after_another(at) },
            asks_at: right.seek.asks_at,
            acquired: right.acquired,
            refused: right.refused,
            unrenewed: right.unrenewed,
            lasting: self.lasting,
            laid: right.lasting.laid,
            apart: self.lasting && !self.together(),
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

    /// To whom this node's own voter has promised a right that need not be ours, and under which epoch: what a witness knows.
    #[must_use]
    pub fn promised_to(&self, right: &str, now: Boot) -> Option<(NodeId, u64)> {
        self.voter.promise(right, now).map(|promise| (promise.node, promise.epoch))
    }

    /// Whether a node is heard and says that it can hold a right.
    #[must_use]
    pub fn may_follow(&self, right: RightId, node: NodeId) -> bool {
        right.index() < self.rights.len() && self.best(right.index(), |peer| peer == node).is_some()
    }

    /// Who follows when a right is given up.
    #[must_use]
    pub fn next(&self, right: RightId) -> Option<NodeId> {
        let at = right.index();
        self.rights.get(at)?.successor.or_else(|| self.best_peer(at))
    }

    /// Who follows when another gives a right up, or takes it while nobody has it: this node among them.
    fn after_another(&self, at: usize) -> Option<NodeId> {
        let right = &self.rights[at];
        let holder = right.holder().map(|(node, _)| node);
        let peer = self.best(at, |node| Some(node) != holder);
        let own = right.ready().filter(|_| self.may_hold(self.me)).map(|(priority, _)| (self.me, priority));
        let first = peer.into_iter().chain(own).max_by_key(|(node, priority)| (*priority, Reverse(*node)));
        first.map(|(node, _)| node)
    }

    /// Whether a majority of voters answers.
    #[must_use]
    pub fn quorum(&self) -> bool {
        self.quorum == Some(true)
    }
}
