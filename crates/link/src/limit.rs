//! How many handshakes are looked at: by source and in all. A fixed table, whoever asks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use mainstay_core::time::Boot;

/// Handshakes of one source in a second.
pub(crate) const BY_SOURCE: u32 = 10;
/// Handshakes of all strangers in a second.
pub(crate) const IN_ALL: u32 = 100;

/// Sources are told apart by so many buckets.
const BUCKETS: usize = 256;

/// So much of a bucket one handshake takes; what comes in is counted in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// A second's allowance that fills by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: u32,
    /// Nanoseconds of allowance that are left.
    left: u64,
    since: Boot,
}

impl Bucket {
    pub(crate) fn new(rate: u32, now: Boot) -> Self {
        Self { rate, left: SECOND, since: now }
    }

    /// Takes one, when one is there.
    pub(crate) fn take(&mut self, now: Boot) -> bool {
        let passed = u64::try_from(now.since(self.since).as_nanos()).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(passed).min(SECOND);
        self.since = self.since.max(now);
        let price = SECOND / u64::from(self.rate);
        let enough = self.left >= price;
        if enough {
            self.left -= price;
        }
        enough
    }
}

/// The allowances of strangers.
pub(crate) struct Limits {
    all: Bucket,
    sources: Vec<Bucket>,
    /// So that nobody can choose a bucket.
    key: [u8; 16],
}

impl Limits {
    pub(crate) fn new(key: [u8; 16], now: Boot) -> Self {
        Self { all: Bucket::new(IN_ALL, now), sources: vec![Bucket::new(BY_SOURCE, now); BUCKETS], key }
    }

    /// Whether one more handshake of this source is looked at.
    pub(crate) fn take(&mut self, from: IpAddr, now: Boot) -> bool {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        match from {
            IpAddr::V4(addr) => addr.octets().hash(&mut hasher),
            // A host has a whole /64.
            IpAddr::V6(addr) => addr.octets()[..8].hash(&mut hasher),
        }
        let at = usize::try_from(hasher.finish() % BUCKETS as u64).expect("smaller than 256");
        self.sources[at].take(now) && self.all.take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn count(limits: &mut Limits, now: Boot, sources: impl Iterator<Item = IpAddr>) -> usize {
        sources.filter(|from| limits.take(*from, now)).count()
    }

    #[test]
    fn one_source_gets_ten_in_a_second_and_all_a_hundred() {
        let start = Boot::from_nanos(1);
        let mut limits = Limits::new([1; 16], start);
        let one = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(count(&mut limits, start, std::iter::repeat_n(one, 50)), 10);
        let many = |n: u32| (0..n).map(|n| IpAddr::from((0x0a00_0000 + n * 7).to_be_bytes()));
        assert_eq!(count(&mut limits, start, many(5_000)), 90);
        let later = start + Duration::from_secs(1);
        assert_eq!(count(&mut limits, later, std::iter::repeat_n(one, 50)), 10);
        assert_eq!(count(&mut limits, later, many(5_000)), 90);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let start = Boot::from_nanos(SECOND);
        let mut bucket = Bucket::new(1, start);
        assert!(bucket.take(start));
        assert!(!bucket.take(Boot::ZERO));
        assert!(!bucket.take(start));
    }
}
