//! Whether this node is alone: no peer and no reference address is heard. Never said before one of them was.

use std::time::Duration;

use crate::time::Boot;

/// What is to be done or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has begun.
    Began,
    /// It has lasted for as long as the operator bears it.
    Act,
    /// It is over.
    Ended,
}

#[derive(Clone, Debug)]
pub(super) struct Isolation {
    /// How long it may last; without it nothing is done.
    pub(super) after: Option<Duration>,
    /// Somebody was heard since this process started: before that nobody knows whether the wires were ever plugged in.
    pub(super) met: bool,
    pub(super) since: Option<Boot>,
    pub(super) acted: bool,
}

impl Isolation {
    pub(super) const fn new(after: Option<Duration>) -> Self {
        Self { after, met: false, since: None, acted: false }
    }

    /// `alone`: every peer is silent and every reference is lost. `met`: a peer or a reference is heard.
    pub(super) fn look(&mut self, alone: bool, met: bool, now: Boot) -> Option<Step> {
        self.met |= met;
        if !alone {
            self.acted = false;
            return self.since.take().map(|_| Step::Ended);
        }
        if !self.met {
            return None;
        }
        let Some(since) = self.since else {
            self.since = Some(now);
            return Some(Step::Began);
        };
        if self.acted || self.after.is_none_or(|after| now < since + after) {
            return None;
        }
        self.acted = true;
        Some(Step::Act)
    }

    pub(super) fn due(&self) -> Boot {
        match (self.since, self.after) {
            (Some(since), Some(after)) if !self.acted => since + after,
            (Some(_) | None, Some(_) | None) => Boot::NEVER,
        }
    }

    pub(super) const fn has_acted(&self) -> bool {
        self.acted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn it_acts_once_after_the_time_and_again_only_after_it_was_over() {
        let mut isolation = Isolation::new(Some(Duration::from_secs(30)));
        assert_eq!(isolation.look(false, true, at(0)), None);
        assert_eq!(isolation.look(true, false, at(10)), Some(Step::Began));
        assert_eq!(isolation.look(true, false, at(39)), None);
        assert_eq!(isolation.due(), at(40));
        assert_eq!(isolation.look(true, false, at(40)), Some(Step::Act));
        assert_eq!(isolation.look(true, false, at(500)), None);
        assert_eq!(isolation.look(false, true, at(501)), Some(Step::Ended));
        assert_eq!(isolation.look(true, false, at(502)), Some(Step::Began));
        assert_eq!(isolation.look(true, false, at(532)), Some(Step::Act));
    }

    #[test]
    fn a_node_that_has_met_nobody_since_it_started_is_not_isolated() {
        let mut isolation = Isolation::new(Some(Duration::from_secs(1)));
        for second in 0..100 {
            assert_eq!(isolation.look(true, false, at(second)), None);
        }
    }

    #[test]
    fn without_a_time_it_is_told_and_nothing_is_done() {
        let mut isolation = Isolation::new(None);
        isolation.look(false, true, at(0));
        assert_eq!(isolation.look(true, false, at(1)), Some(Step::Began));
        assert_eq!((isolation.look(true, false, at(1_000_000)), isolation.due()), (None, Boot::NEVER));
    }
}
