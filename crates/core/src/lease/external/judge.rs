//! What the voter says to one request for one right: the judgement of `Voter`, by what lies in the store.

use std::time::Duration;

use super::record::{EpochRecord, Found, PromiseRecord};

/// Who asks, by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) node: &'a str,
    pub(super) instance: u64,
    pub(super) heir_of: Option<u64>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// May be promised: what is to be written for it.
    Grant(PromiseRecord, Option<EpochRecord>),
    /// Promised to another.
    Held { by: String, epoch: u64 },
    /// Not above all epochs that were granted.
    Stale { epoch: u64 },
}

/// One right in a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    pub(super) epoch: u64,
    pub(super) renewal: bool,
    pub(super) term: Duration,
}

impl Who<'_> {
    /// Whether a promise is this asker's own, or of the dead process whose heir it is.
    pub(super) fn has(&self, promise: &PromiseRecord) -> bool {
        promise.node == self.node
            && (promise.instance == self.instance || self.heir_of == Some(promise.instance))
    }

    fn promise(&self, asks: Asks, found: &Found) -> PromiseRecord {
        // A promise is never shortened: what its holder counts on may have been granted for a longer term.
        let before = found.promise.as_ref().map_or(0, |(promise, _)| promise.term_ms);
        let term_ms = u64::try_from(asks.term.as_millis()).unwrap_or(u64::MAX).max(before);
        PromiseRecord { node: self.node.to_owned(), instance: self.instance, epoch: asks.epoch, term_ms }
    }
}

/// `floor`: epochs up to there may have been granted and forgotten.
pub(super) fn judge(found: &Found, floor: u64, who: Who<'_>, asks: Asks) -> Verdict {
    let highest = found.highest().max(floor);
    let fresh = asks.epoch > highest;
    let freed = found.epoch.as_ref().and_then(|(epoch, _)| epoch.freed.as_ref());
    let may = match &found.promise {
        Some((promise, _)) if !who.has(promise) => {
            return Verdict::Held { by: promise.node.clone(), epoch: promise.epoch };
        }
        Some((promise, _)) => promise.instance == who.instance && promise.epoch == asks.epoch,
        // Who renews has a majority under its epoch: a rival's vote that was given back does not end that. What was given
        // back by itself does.
        None => {
            let back = |freed: &PromiseRecord| {
                freed.node == who.node && freed.instance == who.instance && freed.epoch == asks.epoch
            };
            asks.renewal && !freed.is_some_and(back)
        }
    };
    if !may && !fresh {
        return Verdict::Stale { epoch: highest };
    }
    let higher = asks.epoch > found.highest() || freed.is_some();
    let epochs = EpochRecord { highest: found.highest().max(asks.epoch), freed: None };
    Verdict::Grant(who.promise(asks, found), higher.then_some(epochs))
}
