//! What a node knows of one right.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lease::{Claim, Ending, Freed, HolderView, Said, Stance, Standing};
use crate::name::NodeId;
use crate::time::Boot;

/// One right.
#[derive(Clone, Debug, Default)]
pub(super) struct Right {
    pub(super) name: String,
    pub(super) stance: Stance,
    pub(super) claim: Claim,
    /// The highest epoch that was heard of.
    pub(super) highest: u64,
    /// By node: where it stands.
    pub(super) stands: Vec<Stand>,
    /// By node: what its voter said last.
    pub(super) said: Vec<Option<(Said, Boot)>>,
    /// Who holds it by what voters say.
    pub(super) told: Option<HolderView>,
    pub(super) seek: Seek,
    /// Why it was asked to be given up, until it is gone.
    pub(super) leaving: Option<Ending>,
    /// The operator's choice.
    pub(super) successor: Option<NodeId>,
    pub(super) giving: Option<Giving>,
    /// Whom it was handed to because it preempts, and when.
    pub(super) handed: Option<(NodeId, Boot)>,
    /// Who could not take it although it preempts: until then it does not.
    pub(super) spurned: Option<(NodeId, Boot)>,
    /// By voter: until when another instance with our own node id holds the right, and how often that has moved on.
    pub(super) twins: BTreeMap<NodeId, (Boot, u32)>,
    /// Where promises last: what is asked of the other and of the gate.
    pub(super) lasting: Lasting,
    /// It has to be in the next beat.
    pub(super) changed: bool,
    /// When it must be looked at again.
    pub(super) due: Option<Boot>,
    pub(super) acquired: u64,
    pub(super) refused: u64,
    pub(super) unrenewed: u64,
}

/// Where a node stands, by its beats.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stand {
    /// The epoch under which it holds the right; 0 when it does not.
    pub(super) epoch: u64,
    /// The highest epoch that it has given back.
    pub(super) freed: u64,
    /// When it last gave the right back.
    pub(super) let_go: Boot,
    pub(super) ready: bool,
    pub(super) preempts: bool,
    pub(super) priority: u8,
    pub(super) heard: Boot,
}

/// The way to a right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seek {
    /// Since when nobody is known to have it.
    pub(super) free_since: Option<Boot>,
    /// Not before.
    pub(super) backoff: Boot,
    /// We are the named successor until then.
    pub(super) named_until: Boot,
    /// When this node asks, while it waits its turn.
    pub(super) asks_at: Option<Boot>,
    /// When the request that is out must be repeated with a new stamp.
    pub(super) again: Boot,
    /// How often it was repeated.
    pub(super) tries: u32,
    /// When the first of too few promises came.
    pub(super) some_since: Option<Boot>,
    /// A voter says that its holder renews: ask seldom.
    pub(super) renewed: bool,
    /// When the present attempt began.
    pub(super) began: Boot,
    /// When the epoch was last raised because somebody knew a higher one.
    pub(super) raised: Option<Boot>,
}

/// A right that does not end by itself (guard `strict`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lasting {
    /// Until when the gate was last told to stay open.
    pub(super) armed: Boot,
    /// The address is gone and the right is kept: the other node is not heard, or is being asked.
    pub(super) laid: bool,
    /// Since when it is to be asked for anew whether the right is still ours.
    pub(super) doubt: Option<Boot>,
    /// When the other was last reminded of a promise of ours that it seems not to use.
    pub(super) reminded: Boot,
    /// The operator has vouched for the other's death in this attempt.
    pub(super) vouched: bool,
}

/// A release that is repeated, since it may be lost.
#[derive(Clone, Debug)]
pub(super) struct Giving {
    pub(super) freed: Freed,
    pub(super) at: Boot,
    pub(super) times: u32,
}

impl Right {
    pub(super) fn new(name: String, members: usize) -> Self {
        Self {
            name,
            stands: vec![Stand::default(); members],
            said: vec![None; members],
            changed: true,
            ..Self::default()
        }
    }

    /// Our priority and whether we preempt, while we can hold it.
    pub(super) fn ready(&self) -> Option<(u8, bool)> {
        match self.stance {
            Stance::Unable => None,
            Stance::Ready { priority, preempts } => Some((priority, preempts)),
        }
    }

    /// Who says that it holds the right: of several the highest epoch.
    pub(super) fn holder(&self) -> Option<(NodeId, Stand)> {
        let stands = (0..).map(NodeId).zip(&self.stands).filter(|(_, stand)| stand.epoch > 0);
        stands.max_by_key(|(_, stand)| stand.epoch).map(|(node, stand)| (node, *stand))
    }

    /// A beat's word about it.
    pub(super) fn stand(&mut self, node: NodeId, said: &Standing, now: Boot) {
        self.highest = self.highest.max(said.epoch);
        let Some(stand) = self.stands.get_mut(node.index()) else { return };
        // A release may have overtaken a beat. Others may have given back the same epoch: two asked under it at once.
        let epoch = if said.epoch > stand.freed { said.epoch } else { 0 };
        let Standing { ready, preempts, priority, .. } = *said;
        *stand =
            Stand { epoch, freed: stand.freed, let_go: stand.let_go, ready, preempts, priority, heard: now };
    }

    /// What its voter said; the index was checked.
    pub(super) fn hear(&mut self, voter: NodeId, said: Said, now: Boot) {
        if let Some(slot) = self.said.get_mut(voter.index()) {
            *slot = Some((said, now));
        }
    }

    /// A node has started again.
    pub(super) fn forget(&mut self, node: NodeId) {
        if let Some(stand) = self.stands.get_mut(node.index()) {
            *stand = Stand::default();
        }
        if let Some(said) = self.said.get_mut(node.index()) {
            *said = None;
        }
        self.twins.remove(&node);
    }

    /// It has to be looked at then.
    pub(super) fn wake(&mut self, at: Boot) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Asks again no sooner than that.
    pub(super) fn back_off(&mut self, now: Boot, wait: Duration) {
        self.seek.backoff = self.seek.backoff.max(now + wait);
    }

    /// The nodes have new numbers.
    pub(super) fn renumber(&mut self, new: &dyn Fn(NodeId) -> Option<NodeId>, members: usize) {
        let mut stands = vec![Stand::default(); members];
        let mut said = vec![None; members];
        for old in 0..self.stands.len() {
            let Some(now) = u32::try_from(old).ok().and_then(|old| new(NodeId(old))) else { continue };
            if now.index() < members {
                stands[now.index()] = self.stands[old];
                said[now.index()] = self.said[old].map(|(said, at)| (renamed(said, new), at));
            }
        }
        (self.stands, self.said) = (stands, said);
        self.successor = self.successor.and_then(new);
        (self.handed, self.spurned) = (None, None);
        self.twins.clear();
        self.told = self.told.and_then(|told| Some(HolderView { node: new(told.node)?, ..told }));
        self.claim.renumber(new, members);
        self.changed = true;
    }
}

fn renamed(said: Said, new: &dyn Fn(NodeId) -> Option<NodeId>) -> Said {
    match said {
        Said::Held { by, left } => Said::Held { by: by.and_then(new), left },
        Said::Granted | Said::Stale | Said::Mute | Said::Mismatch | Said::Full => said,
    }
}
