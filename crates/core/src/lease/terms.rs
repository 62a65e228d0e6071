//! The timing rule (rules 1, 3 and 4): how long a voter promises, how long a holder may believe it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The times that voters and holders have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// T: a voter promises a right for this long of its own clock.
    pub term: Duration,
    /// No request may name a longer term, and a restarted voter is mute for this long.
    pub term_max: Duration,
    /// rho: the bound on the error of any node's clock rate, in parts per million.
    pub drift_ppm: u32,
    /// How late the gate may close.
    pub gate_error: Duration,
}

impl Terms {
    /// H, how long after stamping its request a holder may act on the grants: T(1-rho)/(1+rho) less the gate's error.
    #[must_use]
    pub fn hold(&self) -> Duration {
        let (less, more) = (self.less(), self.more());
        let nanos = self.term.as_nanos() * less / more;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).saturating_sub(self.gate_error)
    }

    /// How long a voter that remembers nothing says nothing: `term_max` of every clock.
    #[must_use]
    pub fn mute(&self) -> Duration {
        let nanos = self.term_max.as_nanos() * self.more() / self.less().max(1);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How often a holder renews: five tries in a term.
    #[must_use]
    pub fn renew(&self) -> Duration {
        self.term / 5
    }

    /// How often a node says that it is there.
    #[must_use]
    pub fn beat(&self) -> Duration {
        (self.term / 10).clamp(Duration::from_millis(5), Duration::from_millis(200))
    }

    /// Parts per million, never the whole.
    fn less(&self) -> u128 {
        u128::from(1_000_000_u32.saturating_sub(self.drift_ppm))
    }

    fn more(&self) -> u128 {
        u128::from(1_000_000_u32.saturating_add(self.drift_ppm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_stops_before_the_slowest_holder_and_the_fastest_voter_could_disagree() {
        let terms = Terms {
            term: Duration::from_millis(1500),
            term_max: Duration::from_millis(1500),
            drift_ppm: 10_000,
            gate_error: Duration::from_millis(1),
        };
        // Real time that the holder's slow clock takes for H, and that the voter's fast clock takes for T.
        let held = terms.hold().as_secs_f64() / 0.99;
        let promised = terms.term.as_secs_f64() / 1.01;
        assert!(held < promised, "{held} {promised}");
        assert!(terms.mute() > terms.term_max);
    }
}
