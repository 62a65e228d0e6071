//! The fixed list of voters (rule 5).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lease::NAME_MAX;
use crate::name::NodeId;

/// How many nodes a cluster may have.
pub const MEMBERS_MAX: usize = 64;

/// No list has a higher epoch: a change each second for twelve days. Whatever is beyond was not counted there by changes.
pub const LIST_EPOCH_MAX: u32 = 1 << 20;

/// Who votes, and the other nodes of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoterList {
    /// Rises with each change.
    pub epoch: u32,
    /// All nodes of the cluster in the same order everywhere; `NodeId` is the index.
    pub members: Vec<Member>,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its `node.id`.
    pub id: String,
    /// Whether its promise counts.
    pub votes: bool,
    /// Whether it may hold rights; a witness may not.
    pub holds: bool,
}

/// Which list somebody speaks of: a voter answers only who has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The list's epoch.
    pub epoch: u32,
    /// A hash of the list and of what must be the same everywhere.
    pub hash: u64,
}

impl VoterList {
    /// The list's mark; `salt` is the rest that must be agreed on, such as the longest term.
    #[must_use]
    pub fn mark(&self, salt: u64) -> Mark {
        // FNV-1a, 64 bits: the list comes from the operator's own files, so chance is the only adversary.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        eat(&self.epoch.to_be_bytes());
        eat(&salt.to_be_bytes());
        for member in self.members.iter().filter(|member| member.votes) {
            eat(&u64::try_from(member.id.len()).unwrap_or(u64::MAX).to_be_bytes());
            eat(member.id.as_bytes());
        }
        Mark { epoch: self.epoch, hash }
    }

    /// How many promises make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// Those whose promises count.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..).map(NodeId).zip(&self.members).filter(|(_, member)| member.votes).map(|(node, _)| node)
    }

    /// Why it cannot be a list, if it cannot.
    #[must_use]
    pub fn flaw(&self) -> Option<&'static str> {
        let named = |member: &Member| !member.id.is_empty() && member.id.len() <= NAME_MAX;
        let twice =
            |(at, member): (usize, &Member)| self.members[..at].iter().any(|before| before.id == member.id);
        if self.epoch == 0 || self.epoch > LIST_EPOCH_MAX {
            Some("its epoch is not one that changes of the list lead to")
        } else if self.members.len() > MEMBERS_MAX {
            Some("it has more than 64 members")
        } else if !self.members.iter().all(named) {
            Some("the name of a node is empty or longer than 128 bytes")
        } else if self.members.iter().enumerate().any(twice) {
            Some("it names a node twice")
        } else if self.voters().next().is_none() {
            Some("nobody in it votes")
        } else {
            None
        }
    }

    /// How many voters are in one of the two lists and not in the other.
    #[must_use]
    pub fn voters_changed(&self, other: &Self) -> usize {
        let missing = |from: &Self, to: &Self| {
            let votes = |id: &str| to.members.iter().any(|member| member.votes && member.id == id);
            from.members.iter().filter(|member| member.votes && !votes(&member.id)).count()
        };
        missing(self, other) + missing(other, self)
    }

    /// Looks a node up by its name.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<NodeId> {
        let at = self.members.iter().position(|member| member.id == id)?;
        u32::try_from(at).ok().map(NodeId)
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, node: NodeId) -> &str {
        self.members.get(node.index()).map_or("?", |member| member.id.as_str())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.epoch, self.hash)
    }
}
