//! One conflict from its first frame until it has been quiet.

use std::time::Duration;

use crate::conflict::{AGAIN, Claimant, NAMED, QUIET, QUIET_MAX};
use crate::time::Boot;

/// The conflict in hand, and what is remembered of the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Episode {
    running: Option<Running>,
    /// When the last one ended, and after how long a silence.
    last: Option<(Boot, Duration)>,
}

/// A conflict.
#[derive(Clone, Debug)]
struct Running {
    began: Boot,
    seen: Boot,
    claims: u64,
    named: Vec<Claimant>,
    quiet: Duration,
}

/// What a claim was to the conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It began it.
    First,
    /// A claimant that was not named yet.
    Another,
    /// One more.
    More,
}

impl Episode {
    pub(super) fn claim(&mut self, who: Claimant, count: u64, since: Boot, now: Boot) -> Part {
        let Some(running) = &mut self.running else {
            let again = self.last.filter(|(ended, _)| now.since(*ended) < AGAIN);
            let quiet = again.map_or(QUIET, |(_, quiet)| (quiet * 2).min(QUIET_MAX));
            self.running = Some(Running { began: since, seen: now, claims: count, named: vec![who], quiet });
            return Part::First;
        };
        running.seen = now;
        running.claims += count;
        if running.named.contains(&who) || running.named.len() >= NAMED {
            return Part::More;
        }
        running.named.push(who);
        Part::Another
    }

    /// Whether this claimant was named in the conflict in hand.
    pub(super) fn names(&self, who: Claimant) -> bool {
        self.named().contains(&who)
    }

    pub(super) fn named(&self) -> &[Claimant] {
        self.running.as_ref().map_or(&[], |running| &running.named)
    }

    /// When it began, when it was last seen, and how many claims it has had.
    pub(super) fn figures(&self) -> Option<(Boot, Boot, u64)> {
        self.running.as_ref().map(|running| (running.began, running.seen, running.claims))
    }

    /// When it is over unless more is seen.
    pub(super) fn ends(&self) -> Option<Boot> {
        self.running.as_ref().map(|running| running.seen + running.quiet)
    }

    /// Ends it when it is time: how many claims there were, and for how long.
    pub(super) fn end(&mut self, now: Boot) -> Option<(u64, Duration)> {
        let due = self.ends().is_some_and(|at| at <= now);
        let running = self.running.take_if(|_| due)?;
        self.last = Some((now, running.quiet));
        Some((running.claims, running.seen.since(running.began)))
    }
}
