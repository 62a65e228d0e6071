//! The other nodes: who is heard, and who has fallen silent.

use std::collections::VecDeque;
use std::time::Duration;

use crate::lease::leases::Leases;
use crate::lease::{Effect, Letter, Mark, Notice};
use crate::name::NodeId;
use crate::time::Boot;

/// A peer is silent when three beats and a half are missing.
const SILENT_HALF_BEATS: u32 = 7;

/// Letters of more processes than that are not under way at once.
const FORMER_MAX: usize = 8;

/// One node of the list, this one included (its entry is not used).
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) instance: Option<u64>,
    /// Its earlier processes, which are dead: the last few.
    former: VecDeque<u64>,
    pub(super) mark: Option<Mark>,
    /// The mark that is not ours, since when, and whether that was told.
    other: Option<(Mark, Boot, bool)>,
    pub(super) heard: Option<Boot>,
    pub(super) reachable: bool,
    /// The number of its newest beat; a voter that never beats is judged by its replies alone.
    pub(super) beat: Option<u64>,
    pub(super) mute_until: Boot,
    /// When our list was last sent to it.
    pub(super) listed: Option<Boot>,
}

impl Peer {
    /// Whether a process of it is known to be dead, because another one came after it.
    pub(super) fn is_former(&self, instance: u64) -> bool {
        self.former.contains(&instance)
    }

    /// Whether its list is worth a word: at once if it is another one of the same epoch; one that is older or newer
    /// becomes the same within a round trip, unless something is wrong.
    fn disagrees(&mut self, mark: Mark, ours: Mark, term: Duration, now: Boot) -> bool {
        if mark == ours {
            self.other = None;
            return false;
        }
        let (_, since, told) =
            self.other.filter(|(other, _, _)| *other == mark).unwrap_or((mark, now, false));
        let tell = !told && (mark.epoch == ours.epoch || now.since(since) >= term);
        self.other = Some((mark, since, told || tell));
        tell
    }
}

impl Leases {
    /// A letter came: its sender lives.
    pub(super) fn note(&mut self, from: NodeId, letter: &Letter, now: Boot) {
        let (ours, beat, term) = (self.mark, self.terms.beat(), self.terms.term);
        let peer = &mut self.peers[from.index()];
        let restarted = peer.instance.is_some_and(|instance| instance != letter.instance);
        if restarted {
            (peer.beat, peer.mute_until) = (None, Boot::ZERO);
            peer.former.truncate(FORMER_MAX - 1);
            peer.former.extend(peer.instance);
            peer.former.rotate_right(1);
        }
        // A letter that was overtaken does not take its sender back to an older list.
        let older = !restarted && peer.mark.is_some_and(|mark| letter.mark.epoch < mark.epoch);
        let mark = if older { peer.mark } else { Some(letter.mark) };
        let back = !peer.reachable;
        (peer.instance, peer.mark, peer.heard, peer.reachable) =
            (Some(letter.instance), mark, Some(now), true);
        let tell = !older && peer.disagrees(letter.mark, ours, term, now);
        let behind = letter.mark.epoch < ours.epoch && peer.listed.is_none_or(|at| now.since(at) >= beat);
        if behind {
            peer.listed = Some(now);
        }
        if restarted {
            for right in &mut self.rights {
                right.forget(from);
                if self.lasting {
                    // Its voter may say something else than the one before.
                    right.seek.again = right.seek.again.min(now);
                }
            }
            self.notice(Notice::Restarted(from));
        }
        if back {
            self.beat_soon = true;
            self.notice(Notice::Reachable(from));
        }
        if tell {
            self.notice(Notice::Mismatch { node: from, mark: letter.mark });
        }
        if behind {
            self.send_list(from);
        }
    }

    /// Who was not heard for long enough is silent; nobody is judged while we were late ourselves.
    pub(super) fn judge(&mut self, now: Boot) {
        for node in 0..self.peers.len() {
            let due = self.silent_at(node);
            if due.is_some_and(|due| now >= due) {
                self.peers[node].reachable = false;
                let node = self.node(node);
                self.notice(Notice::Silent(node));
            }
        }
        let answering = self.list.voters().filter(|voter| self.counts(*voter)).count();
        let quorum = answering >= self.list.majority();
        // The absence of a majority is worth a word only when there was time to hear one.
        if self.quorum != Some(quorum) && (quorum || now >= self.listen_until) {
            self.quorum = Some(quorum);
            self.beat_soon = true;
            self.notice(if quorum { Notice::Quorum } else { Notice::NoQuorum });
        }
    }

    /// When a peer that is reachable counts as silent.
    pub(super) fn silent_at(&self, node: usize) -> Option<Boot> {
        let peer = self.peers.get(node).filter(|peer| peer.reachable)?;
        let patience = match peer.beat {
            Some(_) => self.terms.beat().saturating_mul(SILENT_HALF_BEATS) / 2,
            None => self.terms.term.max(self.terms.beat().saturating_mul(SILENT_HALF_BEATS) / 2),
        };
        Some((peer.heard? + patience).max(self.pardon_until))
    }

    /// Whether a voter's promises can be had: it is heard, under our list.
    pub(super) fn counts(&self, voter: NodeId) -> bool {
        voter == self.me
            || self
                .peers
                .get(voter.index())
                .is_some_and(|peer| peer.reachable && peer.mark == Some(self.mark))
    }

    /// Whether every voter's promises can be had.
    pub(super) fn together(&self) -> bool {
        self.list.voters().all(|voter| self.counts(voter))
    }

    pub(super) fn reachable(&self, node: NodeId) -> bool {
        node == self.me || self.peers.get(node.index()).is_some_and(|peer| peer.reachable)
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    /// For how long a node listens before it takes anything, and a peer is given after we were late.
    pub(super) fn round(&self) -> Duration {
        self.terms.beat().saturating_mul(5) / 2
    }
}
