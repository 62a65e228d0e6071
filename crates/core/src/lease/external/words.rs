//! What the leases of a node and the deputy say to each other: the letters of peers, with nothing that a store can't have
//! to do with.

use serde::{Deserialize, Serialize};

use crate::lease::{Freed, Letter, Mark, Message, Reply, Request, VoterList};

/// What a node's leases say to the voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The process that asks.
    pub instance: u64,
    /// The process before it on the same host, while it is certain that it is dead.
    pub heir_of: Option<u64>,
    /// The list that it counts by.
    pub list: VoterList,
    /// That list's mark.
    pub mark: Mark,
    /// What is said, in order.
    pub posts: Vec<Post>,
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Post {
    /// Promise me these rights.
    Request(Request),
    /// I hold these no more.
    Free(Vec<Freed>),
}

/// What the voter says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The store's memory: another one when it has forgotten.
    pub birth: u64,
    /// The list that it answers under.
    pub mark: Mark,
    /// Its answers.
    pub replies: Vec<Reply>,
    /// That list, for who has an older one.
    pub list: Option<VoterList>,
}

impl Post {
    /// What of a message concerns a voter that is no node: it needs no beats, and every letter names the list.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Request(request) => Some(Self::Request(request.clone())),
            Message::Free(freed) => Some(Self::Free(freed.clone())),
            Message::Beat(_) | Message::Reply(_) | Message::List(_) | Message::Sights(_) => None,
        }
    }
}

impl Heard {
    /// As a letter of a peer.
    #[must_use]
    pub fn letter(self) -> Letter {
        let replies = self.replies.into_iter().map(Message::Reply);
        let list = self.list.map(Message::List);
        Letter {
            instance: self.birth,
            heir_of: None,
            mark: self.mark,
            messages: replies.chain(list).collect(),
        }
    }
}
