//! A pool with made-up loads and latencies, and numbers from a seed.

use std::time::Duration;

use mainstay_core::balance::hash::{hash, mix};
use mainstay_core::balance::{Admits, MemberSpec, Nobody, OutlierSpec, Policy, Roster, Spec, Ticket, View};
use mainstay_core::time::Boot;

/// Numbers from a seed.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What is known of backends.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) loads: Vec<u64>,
    pub(crate) latencies: Vec<Duration>,
    pub(crate) full: Vec<usize>,
    pub(crate) tried: Vec<usize>,
}

impl World {
    pub(crate) fn of(size: usize) -> Self {
        Self { loads: vec![0; size], latencies: vec![Duration::ZERO; size], ..Self::default() }
    }
}

impl View for World {
    fn admits(&self, member: usize) -> Admits {
        if self.tried.contains(&member) {
            Admits::Tried
        } else if self.full.contains(&member) {
            Admits::Full
        } else {
            Admits::Yes
        }
    }

    fn load(&self, member: usize) -> u64 {
        self.loads[member]
    }

    fn latency(&self, member: usize) -> Duration {
        self.latencies[member]
    }
}

/// A pool of backends with these weights.
pub(crate) fn roster(policy: Policy, weights: &[u32]) -> Roster {
    let mut roster = Roster::new(spec(policy));
    roster.replace(spec(policy), &members(weights), Boot::ZERO);
    roster
}

pub(crate) fn spec(policy: Policy) -> Spec {
    Spec { policy, share_max: 50, slow_start: Duration::ZERO }
}

pub(crate) fn members(weights: &[u32]) -> Vec<MemberSpec> {
    weights.iter().enumerate().map(|(n, weight)| MemberSpec { weight: *weight, ..member(n) }).collect()
}

pub(crate) fn member(number: usize) -> MemberSpec {
    MemberSpec {
        key: hash([0, 0], format!("10.0.4.{number}:8080").as_bytes()),
        weight: 1,
        backup: false,
        down: false,
        probed: true,
        outlier: OutlierSpec { failures: 3, window: Duration::from_secs(10), aside: Duration::from_secs(10) },
    }
}

pub(crate) fn pick(roster: &mut Roster, key: u64, draw: &mut Draw, world: &World) -> Result<Ticket, Nobody> {
    roster.pick(key, &mut || draw.next(), world)
}

pub(crate) fn ms(at: u64) -> Boot {
    Boot::from_nanos(at * 1_000_000)
}
