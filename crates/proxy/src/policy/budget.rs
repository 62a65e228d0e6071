//! What wrong passwords may cost: a slow hash holds a whole thread up, so strangers get a share of its time and no more.

use std::time::Duration;

use mainstay_core::time::Boot;

/// The share of a thread's time that goes into refusing: one part in so many.
const SHARE: u32 = 5;

/// Time that may be spent at once.
const MOST: Duration = Duration::from_secs(1);

/// Time left for refusing.
#[derive(Debug)]
pub(super) struct Budget {
    /// When what was spent so far will have been earned.
    due: Boot,
}

impl Budget {
    /// A full one.
    pub(super) const fn new() -> Self {
        Self { due: Boot::ZERO }
    }

    /// Whether there is time for one more slow hash.
    pub(super) fn allows(&self, now: Boot) -> bool {
        self.due.since(now) <= MOST * SHARE
    }

    /// A wrong password has cost this much.
    pub(super) fn spend(&mut self, cost: Duration, now: Boot) {
        self.due = self.due.max(now) + cost * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_passwords_get_their_share_of_the_time_and_no_more() {
        let mut budget = Budget::new();
        let mut now = Boot::from_nanos(5_000_000_000);
        let (mut spent, cost) = (Duration::ZERO, Duration::from_millis(100));
        for _ in 0..10_000 {
            if budget.allows(now) {
                budget.spend(cost, now);
                spent += cost;
                now += cost;
            }
            now += Duration::from_millis(10);
        }
        let all = now.since(Boot::from_nanos(5_000_000_000));
        assert!(spent <= all / SHARE + MOST + cost, "{spent:?} of {all:?}");
        assert!(spent >= all / SHARE / 2, "{spent:?} of {all:?}");
    }
}
