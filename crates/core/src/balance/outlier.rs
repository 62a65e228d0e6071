//! Passive health: a backend that fails real requests is set aside for a while, then tried with one request.
//!
//! It stays aside for `aside`, twice as long each time that its trial fails, ten times as long at most. A success after that, or
//! its active probe going up, ends the row. Never more than a share of the pool is aside: when most of it fails, the fault
//! lies elsewhere, or there is nothing better.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Boot;

/// The longest time aside, in multiples of the first.
const LONGEST: u32 = 10;

/// Failures that are remembered one by one; more are not needed to see that something is wrong.
const REMEMBERED: u32 = 1024;

/// A trial that has not ended by then leaves room for another: it may be a connection that lasts for days.
const TRIAL_PATIENCE: Duration = Duration::from_secs(10);

/// When a backend is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierSpec {
    /// Failures within `window` that do it; 0 never does.
    pub failures: u32,
    /// Within this long.
    pub window: Duration,
    /// For this long the first time.
    pub aside: Duration,
}

/// Where a backend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    In,
    /// Not used until then.
    Aside(Boot),
    /// Its time is over: one request may try it.
    Trial,
    /// That request is under way; another may go when it takes longer than this.
    Trying(Boot),
}

/// The record of one backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    recent: VecDeque<Boot>,
    state: State,
    /// Times aside in a row.
    row: u32,
    /// Counts the times aside: what was sent before the last one says nothing of the time after it.
    pub(super) term: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    In,
    Aside {
        until: Boot,
        trying: Option<Boot>,
    },
}

impl Record {
    pub(super) fn is_aside(&self) -> bool {
        matches!(self.state, State::Aside { .. })
    }

    pub(super) fn standing(&self, now: Boot) -> Standing {
        match self.state {
            State::In => Standing::In,
            State::Aside { until, .. } if now < until => Standing::Aside(until),
            State::Aside { trying: Some(from), .. } if now < from + TRIAL_PATIENCE => {
                Standing::Trying(from + TRIAL_PATIENCE)
            }
            State::Aside { .. } => Standing::Trial,
        }
    }

    /// When the standing changes by itself.
    pub(super) fn changes(&self, now: Boot) -> Boot {
        match self.standing(now) {
            Standing::In | Standing::Trial => Boot::NEVER,
            Standing::Aside(until) | Standing::Trying(until) => until,
        }
    }

    /// The one request that tries it goes out.
    pub(super) fn try_it(&mut self, now: Boot) {
        if let State::Aside { trying, .. } = &mut self.state {
            *trying = Some(now);
        }
    }

    /// That request ended without telling anything.
    pub(super) fn try_again(&mut self) {
        if let State::Aside { trying, .. } = &mut self.state {
            *trying = None;
        }
    }

    /// A request failed. Returns until when the backend is aside, when that is new; `room` says whether the pool bears it.
    pub(super) fn failed(&mut self, spec: &OutlierSpec, room: bool, now: Boot) -> Option<Boot> {
        if spec.failures == 0 {
            return None;
        }
        if let State::Aside { until, .. } = self.state {
            // Used all the same, because there was nothing else: that is no trial.
            return (now >= until).then(|| self.set_aside(spec, now));
        }
        let needed = spec.failures.min(REMEMBERED) as usize;
        while self.recent.len() >= needed
            || self.recent.front().is_some_and(|at| now.since(*at) > spec.window)
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        (self.recent.len() >= needed && room).then(|| self.set_aside(spec, now))
    }

    /// Takes it back. Returns whether it was aside.
    pub(super) fn absolve(&mut self) -> bool {
        let was_aside = self.is_aside();
        if was_aside {
            self.state = State::In;
            self.row = 0;
            self.recent = VecDeque::new();
        }
        was_aside
    }

    /// The time aside ends, of those that are.
    pub(super) fn until(&self) -> Option<Boot> {
        match self.state {
            State::In => None,
            State::Aside { until, .. } => Some(until),
        }
    }

    fn set_aside(&mut self, spec: &OutlierSpec, now: Boot) -> Boot {
        let times = 1_u32.checked_shl(self.row).unwrap_or(u32::MAX).min(LONGEST);
        let until = now + spec.aside.saturating_mul(times);
        self.row = (self.row + 1).min(31);
        self.term = self.term.wrapping_add(1);
        self.recent = VecDeque::new();
        self.state = State::Aside { until, trying: None };
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: OutlierSpec =
        OutlierSpec { failures: 3, window: Duration::from_secs(10), aside: Duration::from_secs(10) };

    #[test]
    fn failures_count_within_the_window() {
        let mut record = Record::default();
        for at in [0, 6, 12, 18, 24] {
            assert_eq!(record.failed(&SPEC, true, s(at)), None, "at {at} s");
        }
        assert_eq!(record.failed(&SPEC, true, s(25)), Some(s(35)), "at 18, 24 and 25 s");
    }

    #[test]
    fn the_time_aside_doubles_up_to_tenfold_while_trials_fail() {
        let mut record = Record::default();
        let mut now = s(0);
        (0..2).for_each(|_| assert_eq!(record.failed(&SPEC, true, now), None));
        for seconds in [10, 20, 40, 80, 100, 100] {
            let until = record.failed(&SPEC, true, now).unwrap();
            assert_eq!(until.since(now), Duration::from_secs(seconds));
            assert_eq!(record.failed(&SPEC, true, now), None, "a late failure of the same row");
            now = until;
            assert_eq!(record.standing(now), Standing::Trial);
            record.try_it(now);
            assert_eq!(record.standing(now), Standing::Trying(now + TRIAL_PATIENCE));
        }
        assert!(record.absolve());
        (0..2).for_each(|_| assert_eq!(record.failed(&SPEC, true, now), None));
        assert_eq!(record.failed(&SPEC, true, now), Some(now + SPEC.aside), "the row has ended");
    }

    #[test]
    fn without_room_failures_wait_for_it() {
        let mut record = Record::default();
        (0..20).for_each(|_| assert_eq!(record.failed(&SPEC, false, s(1)), None));
        assert_eq!(record.failed(&SPEC, true, s(2)), Some(s(12)));
    }

    fn s(at: u64) -> Boot {
        Boot::from_nanos(at * 1_000_000_000)
    }
}
