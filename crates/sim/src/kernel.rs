//! What outlives a node's task: its clock, its addresses and the gates in front of them.

use std::time::Duration;

use mainstay_core::time::Boot;

/// Nanoseconds of simulated time, the same everywhere; no machine sees it.
pub(crate) type Time = u64;

/// `Duration` as simulated nanoseconds.
pub(crate) fn nanos(time: Duration) -> Time {
    Time::try_from(time.as_nanos()).unwrap_or(Time::MAX / 4)
}

/// A clock that started some time ago and is a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What it showed at `since`.
    pub(crate) offset: u64,
    /// Since when it has had its present rate.
    pub(crate) since: Time,
    /// Millionths by which it is fast.
    pub(crate) ppm: i64,
}

impl Clock {
    /// The rate of a clock that stands still, as a paused guest's does.
    pub(crate) const STILL: i64 = -1_000_000;

    pub(crate) fn read(&self, now: Time) -> Boot {
        let ran = i128::from(now - self.since) * (1_000_000 + i128::from(self.ppm)) / 1_000_000;
        Boot::from_nanos(self.offset + u64::try_from(ran).unwrap_or(0))
    }

    /// When it will show `at`.
    pub(crate) fn when(&self, at: Boot) -> Time {
        if self.ppm <= Self::STILL {
            return Time::MAX / 4;
        }
        let ran = i128::from(at.as_nanos().saturating_sub(self.offset));
        let time = ran * 1_000_000 / (1_000_000 + i128::from(self.ppm)) + 2;
        Time::try_from(time).unwrap_or(Time::MAX / 4).saturating_add(self.since).min(Time::MAX / 4)
    }

    /// Runs at another rate from now on.
    pub(crate) fn turn(&mut self, now: Time, ppm: i64) {
        *self = Self { offset: self.read(now).as_nanos(), since: now, ppm };
    }
}

/// The kernel's part of one vip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Address {
    pub(crate) present: bool,
    /// From then on, by the node's clock, the kernel neither sends nor accepts for it.
    pub(crate) gate: Boot,
    /// An announcement followed the taking.
    pub(crate) announced: bool,
}

impl Address {
    /// Whether clients get answers.
    pub(crate) fn answers(&self, now: Boot) -> bool {
        self.present && now < self.gate
    }
}
