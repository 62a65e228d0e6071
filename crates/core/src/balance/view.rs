//! What can be said of a backend to people.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outlier::Standing;
use super::roster::{Mode, Roster, WHOLE, ramp};
use crate::time::Boot;

/// Where a backend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In use.
    Up,
    /// Back in use, on its way to its full share.
    Rising,
    /// Its time aside is over: the next request tries it.
    Trial,
    /// Set aside for this long yet, because of failed requests.
    Aside(Duration),
    /// Only those bound to it by a cookie are sent to it.
    Drained,
    /// Its active probe says that it is down.
    DownByProbe,
    /// Its configuration says so.
    DownAsWritten,
    /// The operator says so.
    DownByOrder,
}

/// A backend, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Where it stands.
    pub state: State,
    /// Its weight at this moment, the operator's when there is one.
    pub weight: u32,
    /// Of that weight it gets so much, in percent.
    pub share: u32,
    /// Its probe has not been heard of for too long: what it said last is kept.
    pub degraded: bool,
}

impl Roster {
    /// What can be said of one at this moment.
    #[must_use]
    pub fn view(&self, member: usize, now: Boot) -> Option<MemberView> {
        let one = self.members.get(member)?;
        let (share, _) = ramp(one.risen, self.spec.slow_start, now);
        let state = match one.record.standing(now) {
            _ if one.is_down() => match one.mode {
                Some(Mode::Down) => State::DownByOrder,
                Some(Mode::Ready | Mode::Drain) | None if one.up == Some(false) => State::DownByProbe,
                Some(Mode::Ready | Mode::Drain) | None => State::DownAsWritten,
            },
            _ if one.is_drained() => State::Drained,
            Standing::Aside(until) | Standing::Trying(until) => State::Aside(until.since(now)),
            Standing::Trial => State::Trial,
            Standing::In if share < WHOLE => State::Rising,
            Standing::In => State::Up,
        };
        let share = u32::try_from(share * 100 / WHOLE).unwrap_or(100);
        Some(MemberView { state, weight: one.weight(), share, degraded: one.stale })
    }
}
