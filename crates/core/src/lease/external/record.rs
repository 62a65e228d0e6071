//! What lies in the store, and the two steps that are taken on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::{Mark, VoterList};

/// A record of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The voter itself; never ends.
    Voter,
    /// To whom a right is promised; ends by itself.
    Promise(String),
    /// Which epochs of a right were granted; never ends.
    Epoch(String),
}

/// The voter: that the store remembers, and under which list it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterRecord {
    /// The store's memory began with this number.
    pub birth: u64,
    /// What the store called itself then.
    pub store: u64,
    /// It promises: whatever was promised before its birth is over.
    pub open: bool,
    /// Epochs up to this one may have been granted and forgotten.
    pub floor: u64,
    /// The mark of the list.
    pub mark: Mark,
    /// The list.
    pub list: VoterList,
}

/// A promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseRecord {
    /// The node's id.
    pub node: String,
    /// Its process.
    pub instance: u64,
    /// Under which epoch.
    pub epoch: u64,
    /// For how long it was made, in milliseconds.
    pub term_ms: u64,
}

/// What is remembered of a right beyond its promise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The highest epoch that was granted.
    pub highest: u64,
    /// The last promise that was given back.
    pub freed: Option<PromiseRecord>,
}

/// What lies under one right, each with its version: a number that changes with every write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The promise that stands.
    pub promise: Option<(PromiseRecord, u64)>,
    /// Its epochs.
    pub epoch: Option<(EpochRecord, u64)>,
}

/// The records of the voter and of some rights, at one moment after the step was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the store calls itself.
    pub store: u64,
    /// Never goes back while the store remembers.
    pub revision: u64,
    /// The voter.
    pub voter: Option<(VoterRecord, u64)>,
    /// The rights, in the order in which they were asked for.
    pub rights: Vec<Found>,
}

/// One step on the store: all of it happens at one moment, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads the voter and these rights, not from a copy that may be behind.
    Read(Vec<String>),
    /// Writes unless something has changed.
    Write(Write),
}

/// A write that depends on what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Only while these have these versions; 0 is a record that is not there.
    pub unchanged: Vec<(Key, u64)>,
    /// Only while the store's memory is the one that began with this number: a store that has lost everything gives
    /// its versions out again. None while there is no voter.
    pub birth: Option<u64>,
    /// Only while no promise of any right stands.
    pub quiet: bool,
    /// What is written.
    pub changes: Vec<Change>,
    /// Promises among it last so long at least, counted from a moment after this step was asked for.
    pub lasts: Option<Duration>,
    /// Otherwise the voter and these rights are read.
    pub rights: Vec<String>,
}

/// One record written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The voter.
    Voter(VoterRecord),
    /// A promise is made, in the place of the one that stands.
    Promise(String, PromiseRecord),
    /// A promise is given back.
    Release(String),
    /// The epochs of a right.
    Epoch(String, EpochRecord),
}

/// What a step has come to. A step that may have been taken or not has come to nothing: that is `Input::Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Read.
    Read(Snapshot),
    /// Everything was written.
    Written {
        /// What the store calls itself.
        store: u64,
        /// The version that every record has that was written.
        revision: u64,
    },
    /// Something had changed, and nothing was written.
    Changed(Snapshot),
}

impl Found {
    pub(super) fn versions(&self, right: &str) -> [(Key, u64); 2] {
        let of = |version: Option<u64>| version.unwrap_or(0);
        [
            (Key::Promise(right.to_owned()), of(self.promise.as_ref().map(|(_, at)| *at))),
            (Key::Epoch(right.to_owned()), of(self.epoch.as_ref().map(|(_, at)| *at))),
        ]
    }

    pub(super) fn highest(&self) -> u64 {
        self.epoch.as_ref().map_or(0, |(epoch, _)| epoch.highest)
    }
}
