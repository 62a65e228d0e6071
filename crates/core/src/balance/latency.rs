//! Peak-sensitive moving average of a backend's latency: it jumps up with a slow answer and comes down with time.

use std::time::Duration;

use crate::time::Boot;

/// Half of what was known is forgotten in this long, in nanoseconds.
const TAU: u64 = 10_000_000_000;

/// A failed request counts as this slow at least: a backend that refuses fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// The average.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    nanos: u64,
    at: Boot,
}

impl Latency {
    /// An answer took this long.
    pub fn observe(&mut self, took: Duration, now: Boot) {
        // One nanosecond is known to be fast; zero is not known.
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.nanos = if took >= self.nanos {
            took
        } else {
            // The share of the new answer grows with the time since the last one.
            let kept = self.decayed(now);
            let age = now.since(self.at).as_nanos();
            let new = u128::from(took) * age / (u128::from(TAU) + age);
            kept.saturating_add(u64::try_from(new).unwrap_or(u64::MAX)).max(1)
        };
        self.at = now;
    }

    /// A request failed after this long.
    pub fn failed(&mut self, took: Duration, now: Boot) {
        self.observe(took.max(FAILURE), now);
    }

    /// The average at this moment; zero when nothing is known.
    #[must_use]
    pub fn at(&self, now: Boot) -> Duration {
        Duration::from_nanos(self.decayed(now))
    }

    fn decayed(&self, now: Boot) -> u64 {
        let age = now.since(self.at).as_nanos();
        let kept = u128::from(self.nanos) * u128::from(TAU) / (u128::from(TAU) + age);
        u64::try_from(kept).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_up_and_comes_down_slowly() {
        let mut latency = Latency::default();
        assert_eq!(latency.at(s(1)), Duration::ZERO);
        latency.observe(ms(5), s(1));
        latency.observe(ms(100), s(2));
        assert_eq!(latency.at(s(2)), ms(100));
        latency.observe(ms(5), s(3));
        assert!(latency.at(s(3)) > ms(85) && latency.at(s(3)) < ms(95), "{:?}", latency.at(s(3)));
        for second in 4..120 {
            latency.observe(ms(5), s(second));
        }
        assert!(latency.at(s(119)) < ms(6), "{:?}", latency.at(s(119)));
        assert!(latency.at(s(119)) >= ms(4), "{:?}", latency.at(s(119)));
    }

    #[test]
    fn a_fast_refusal_looks_slow_and_is_forgiven_with_time() {
        let mut latency = Latency::default();
        latency.failed(Duration::from_micros(50), s(1));
        assert_eq!(latency.at(s(1)), ms(1000));
        assert!(latency.at(s(601)) < ms(20));
    }

    fn s(at: u64) -> Boot {
        Boot::from_nanos(at * 1_000_000_000)
    }

    fn ms(of: u64) -> Duration {
        Duration::from_millis(of)
    }
}
