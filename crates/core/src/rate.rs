//! Rates: the generic cell rate algorithm (ITU-T I.371 annex A), counting as nginx's `limit_req` does.
//!
//! All that is kept of a key is one moment: when the requests that were let in so far will have been worked off at the
//! rate (the theoretical arrival time). The value decides; who keeps the moment, and how, is the caller's affair.

use std::time::Duration;

use crate::time::Boot;

/// A bound on how often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one request takes at the rate.
    interval: u64,
    /// Requests that may be ahead of the rate.
    burst: u32,
    /// Those of them that are not held back.
    undelayed: u32,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in.
    Pass {
        /// What is kept of the key from now on.
        due: Boot,
        /// It is held back this long.
        delay: Duration,
    },
    /// It is one too many; nothing changes. One more would be let in after this long.
    Refuse(Duration),
}

impl Rate {
    /// `millis` thousandths of a request per second (at least one); `burst` may come at once, of which `undelayed` are
    /// not held back.
    #[must_use]
    pub const fn new(millis: u64, burst: u32, undelayed: u32) -> Self {
        let millis = if millis == 0 { 1 } else { millis };
        let interval = 1_000_000_000_000 / millis;
        Self { interval: if interval == 0 { 1 } else { interval }, burst, undelayed }
    }

    /// Decides on a request that comes `now`, for a key of which `due` was kept ([`Boot::ZERO`] for a new one).
    #[must_use]
    pub fn ask(self, due: Boot, now: Boot) -> Verdict {
        let ahead = due.since(now);
        let allowed = self.times(self.burst);
        if ahead > allowed {
            return Verdict::Refuse(ahead.saturating_sub(allowed));
        }
        Verdict::Pass { due: self.charge(due, now), delay: ahead.saturating_sub(self.times(self.undelayed)) }
    }

    /// What is kept of the key after a request that was let in without being asked about.
    #[must_use]
    pub fn charge(self, due: Boot, now: Boot) -> Boot {
        due.max(now) + Duration::from_nanos(self.interval)
    }

    fn times(self, requests: u32) -> Duration {
        Duration::from_nanos(self.interval.saturating_mul(u64::from(requests)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(nanos: u64) -> Boot {
        Boot::from_nanos(100 * SECOND + nanos)
    }

    /// Small numbers that look drawn: xorshift64.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    #[test]
    fn without_a_burst_the_second_request_within_the_interval_is_refused() {
        let rate = Rate::new(10_000, 0, 0);
        let Verdict::Pass { due, delay } = rate.ask(Boot::ZERO, at(0)) else { panic!("refused") };
        assert_eq!(delay, Duration::ZERO);
        assert_eq!(rate.ask(due, at(99_999_999)), Verdict::Refuse(Duration::from_nanos(1)));
        assert!(matches!(rate.ask(due, at(100_000_000)), Verdict::Pass { .. }));
    }

    #[test]
    fn a_burst_is_held_back_so_that_it_leaves_at_the_rate() {
        let rate = Rate::new(10_000, 3, 0);
        let mut due = Boot::ZERO;
        let mut delays = Vec::new();
        while let Verdict::Pass { due: next, delay } = rate.ask(due, at(0)) {
            due = next;
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [0, 100, 200, 300]);
    }

    #[test]
    fn the_undelayed_part_of_a_burst_is_not_held_back() {
        let rate = Rate::new(10_000, 4, 2);
        let mut due = Boot::ZERO;
        let mut delays = Vec::new();
        while let Verdict::Pass { due: next, delay } = rate.ask(due, at(0)) {
            due = next;
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [0, 0, 0, 100, 200]);
        assert!(matches!(Rate::new(1, u32::MAX, u32::MAX).ask(due, at(0)), Verdict::Pass { .. }));
    }

    /// nginx's own bookkeeping: an excess that the rate works off, one more for each request.
    struct Bucket {
        excess: u128,
        last: u64,
        new: bool,
    }

    impl Bucket {
        fn ask(&mut self, interval: u64, burst: u32, now: u64) -> bool {
            let worked_off = u128::from(now - self.last);
            let excess =
                if self.new { 0 } else { (self.excess + u128::from(interval)).saturating_sub(worked_off) };
            if excess > u128::from(burst) * u128::from(interval) {
                return false;
            }
            *self = Self { excess, last: now, new: false };
            true
        }
    }

    #[test]
    fn whatever_comes_is_decided_as_by_a_leaky_bucket_and_never_exceeds_rate_and_burst() {
        for seed in 1..200_u64 {
            let mut draw = Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let millis = 1 + draw.below(2_000_000);
            let burst = u32::try_from(draw.below(20)).expect("below 20");
            let rate = Rate::new(millis, burst, u32::MAX);
            let mut bucket = Bucket { excess: 0, last: 0, new: true };
            let (mut due, mut now, mut passed) = (Boot::ZERO, 0_u64, Vec::new());
            for _ in 0..300 {
                now += draw.below(rate.interval * 2);
                let verdict = rate.ask(due, at(now));
                assert_eq!(matches!(verdict, Verdict::Pass { .. }), bucket.ask(rate.interval, burst, now));
                if let Verdict::Pass { due: next, .. } = verdict {
                    due = next;
                    passed.push(now);
                }
            }
            for (n, from) in passed.iter().enumerate() {
                for (m, to) in passed.iter().enumerate().skip(n) {
                    let most = u64::from(burst) + 1 + (to - from) / rate.interval;
                    assert!(((m - n) as u64) < most, "seed {seed}: {} in {} ns", m - n + 1, to - from);
                }
            }
        }
    }

    #[test]
    fn after_the_wait_that_a_refusal_names_one_more_is_let_in() {
        let rate = Rate::new(3_000, 2, 0);
        let (mut due, mut now) = (Boot::ZERO, 0);
        for _ in 0..50 {
            match rate.ask(due, at(now)) {
                Verdict::Pass { due: next, .. } => due = next,
                Verdict::Refuse(wait) => {
                    assert!(matches!(rate.ask(due, at(now) + wait), Verdict::Pass { .. }));
                    now += u64::try_from(wait.as_nanos()).expect("short") / 2;
                }
            }
        }
    }

    #[test]
    fn no_number_overflows() {
        let rate = Rate::new(0, u32::MAX, u32::MAX);
        let mut due = Boot::NEVER;
        for _ in 0..3 {
            if let Verdict::Pass { due: next, .. } = rate.ask(due, Boot::ZERO) {
                due = next;
            }
        }
        assert!(matches!(Rate::new(u64::MAX, 0, 0).ask(Boot::ZERO, at(0)), Verdict::Pass { .. }));
    }
}
