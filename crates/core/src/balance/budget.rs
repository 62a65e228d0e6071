//! How many retries a pool may have: a share of its requests, beside a floor, so that retries never become the storm.

use std::time::Duration;

use crate::time::Boot;

/// So many retries a second are always allowed.
const FLOOR: u64 = 10;

/// What was not used is kept for this long.
const KEPT: u64 = 10;

/// One retry, in the hundredths that a percentage earns.
const RETRY: u64 = 100;

/// What earlier requests and time have earned.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    percent: u64,
    /// Hundredths of retries.
    earned: u64,
    /// Requests that have earned nothing yet.
    fresh: u64,
    /// Up to when time has earned.
    paid: Boot,
    /// Requests since `bounded`, that tell how much may be kept.
    seen: u64,
    /// When what is kept was last bounded.
    bounded: Boot,
}

impl RetryBudget {
    /// A budget of this share of the requests, in percent.
    #[must_use]
    pub fn new(percent: u32, now: Boot) -> Self {
        let earned = FLOOR * KEPT * RETRY;
        Self { percent: u64::from(percent), earned, fresh: 0, paid: now, seen: 0, bounded: now }
    }

    /// The share has been changed.
    pub fn set_percent(&mut self, percent: u32) {
        self.percent = u64::from(percent);
    }

    /// A request came; costs no look at the clock.
    pub fn request(&mut self) {
        self.fresh = self.fresh.saturating_add(1);
    }

    /// Takes a retry out of the budget; false when there is none.
    pub fn retry(&mut self, now: Boot) -> bool {
        self.earn(now);
        let may = self.earned >= RETRY;
        if may {
            self.earned -= RETRY;
        }
        may
    }

    fn earn(&mut self, now: Boot) {
        let millis = u64::try_from(now.since(self.paid).as_millis()).unwrap_or(u64::MAX);
        self.paid += Duration::from_millis(millis);
        let by_time = millis.saturating_mul(FLOOR * RETRY / 1000);
        let by_requests = self.fresh.saturating_mul(self.percent);
        self.earned = self.earned.saturating_add(by_time).saturating_add(by_requests);
        self.seen = self.seen.saturating_add(self.fresh);
        self.fresh = 0;
        let age = now.since(self.bounded).as_millis();
        if age >= 1000 {
            let a_second = u128::from(self.seen) * u128::from(self.percent) * 1000 / age;
            let a_second = u64::try_from(a_second).unwrap_or(u64::MAX).saturating_add(FLOOR * RETRY);
            self.earned = self.earned.min(a_second.saturating_mul(KEPT));
            self.seen = 0;
            self.bounded = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_requests_ten_a_second_are_allowed() {
        let mut budget = RetryBudget::new(0, Boot::ZERO);
        let start = (0..1000).filter(|_| budget.retry(Boot::ZERO)).count();
        assert_eq!(start, 100, "ten seconds' worth to begin with");
        let mut taken = 0;
        for tick in 1..=10_000 {
            taken += usize::from(budget.retry(Boot::from_nanos(tick * 1_000_000)));
        }
        assert!((95..=101).contains(&taken), "{taken} in ten seconds");
    }

    #[test]
    fn a_share_of_the_requests_is_allowed_beside() {
        let mut budget = RetryBudget::new(20, Boot::ZERO);
        while budget.retry(Boot::ZERO) {}
        let mut taken = 0;
        for tick in 1..=10_000_u64 {
            (0..10).for_each(|_| budget.request());
            let now = Boot::from_nanos(tick * 1_000_000);
            taken += (0..10).filter(|_| budget.retry(now)).count();
        }
        assert!((20_000..=20_200).contains(&taken), "{taken} of 100,000 requests");
    }

    #[test]
    fn what_was_not_used_is_kept_for_ten_seconds_of_the_same_traffic() {
        let mut budget = RetryBudget::new(20, Boot::ZERO);
        (0..1_000_000).for_each(|_| budget.request());
        let now = Boot::from_nanos(1000 * 1_000_000_000);
        let taken = (0..1_000_000).filter(|_| budget.retry(now)).count();
        assert!((2000..=2110).contains(&taken), "{taken} at 1000 requests a second");
    }
}
