//! One fault, one pair: how long the client waits, and how long two hosts answer.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::{Cluster, Pace, Plan, Software, echo_target, vip_addr};
use crate::probe::{ArpProbe, UdpClient};
use crate::{Fault, wait_until};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// The holder's interface goes down.
    LinkDown,
    /// The holder's frames vanish, its carrier stays.
    Isolation,
    /// The holder is stopped with TERM.
    Stop,
    /// All of the holder's processes are killed at one moment.
    KillAll,
    /// All of the holder's processes are stopped with SIGSTOP.
    Freeze,
    /// The service behind the vip dies; a probe looks every 100 ms.
    ServiceDeath,
    /// The two nodes lost each other, both hold the vip, and see each other again.
    HealPartition,
    /// The holder was isolated, the other took over, and the holder is back.
    HealIsolation,
}

/// What one run showed.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The longest time without an answer, less the probe interval.
    pub outage: Duration,
    /// Requests that nobody answered.
    pub lost: usize,
    /// How long after the fault two hosts last answered; `None` when never two did.
    pub two_until: Option<Duration>,
    /// Whether two hosts still answered when the run ended.
    pub two_at_end: bool,
    /// Whether the client had an answer at the end.
    pub ended_well: bool,
    /// The measuring client's own greatest delay.
    pub late: Duration,
}

/// The client's pause between requests.
const INTERVAL: Duration = Duration::from_millis(2);

/// How long a fault is watched for an end before it counts as endless.
const PATIENCE: Duration = Duration::from_secs(15);

/// A run in which the client itself was later than this, and later than a fiftieth of the outage, is made again.
const LATE: Duration = Duration::from_millis(4);

/// How often, at most.
const TRIES: usize = 3;

impl Row {
    /// All rows, in the table's order.
    pub const ALL: [Self; 8] = [
        Self::LinkDown,
        Self::Isolation,
        Self::Stop,
        Self::KillAll,
        Self::Freeze,
        Self::ServiceDeath,
        Self::HealPartition,
        Self::HealIsolation,
    ];

    /// As the table says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkDown => "link down",
            Self::Isolation => "silent isolation",
            Self::Stop => "graceful stop",
            Self::KillAll => "kill -9 of all",
            Self::Freeze => "freeze",
            Self::ServiceDeath => "service killed",
            Self::HealPartition => "heal of a partition",
            Self::HealIsolation => "heal of an isolation",
        }
    }

    /// Whether the question is how long two hosts answer.
    pub fn asks_for_two(self) -> bool {
        match self {
            Self::KillAll | Self::Freeze => true,
            Self::LinkDown
            | Self::Isolation
            | Self::Stop
            | Self::ServiceDeath
            | Self::HealPartition
            | Self::HealIsolation => false,
        }
    }

    /// Whether the question is how often a client is left alone: medians hide that.
    pub fn asks_for_holes(self) -> bool {
        match self {
            Self::HealPartition | Self::HealIsolation => true,
            Self::LinkDown
            | Self::Isolation
            | Self::Stop
            | Self::KillAll
            | Self::Freeze
            | Self::ServiceDeath => false,
        }
    }

    fn fault(self, cluster: &Cluster) -> Fault {
        match self {
            Self::LinkDown => Fault::LinkDown,
            Self::Isolation | Self::HealIsolation => Fault::Isolation,
            Self::Stop => Fault::Stop,
            Self::KillAll => Fault::KillAll,
            Self::Freeze => Fault::Freeze,
            Self::ServiceDeath => Fault::ServiceDeath,
            Self::HealPartition => Fault::Partition(cluster.nodes[1].host.ports()),
        }
    }
}

/// One run. The first of the two nodes holds the vip when the fault strikes it.
pub fn measure(software: &Software, pace: Pace, row: Row) -> Result<Reading> {
    let mut reading = measure_once(software, pace, row)?;
    for _ in 1..TRIES {
        if row.asks_for_two() || reading.late <= LATE.max(reading.outage / 50) {
            break;
        }
        reading = measure_once(software, pace, row)?;
    }
    Ok(reading)
}

fn measure_once(software: &Software, pace: Pace, row: Row) -> Result<Reading> {
    let mut plan = Plan::simple(software, pace, &["web-1", "web-2"]);
    plan.probe = row == Row::ServiceDeath;
    let cluster = Cluster::start(&plan)?;
    let client = UdpClient::start(&cluster.outside, echo_target(), INTERVAL)?;
    let every = Duration::from_millis(1);
    let arp = ArpProbe::start(&cluster.watcher, "eth0", vip_addr(0, 0).into(), every)?;
    let quiet = pace.advert + pace.advert / 5 + Duration::from_millis(250);
    client.wait_for_steady("web-1", quiet, PATIENCE)?;
    std::thread::sleep(fraction(pace.advert));
    let window = strike(&cluster, &client, pace, row)?;
    let record = client.stop();
    let answers = arp.stop();
    let last = answers.last_dual(&window);
    Ok(Reading {
        outage: record.outage(&window),
        lost: record.lost(&window),
        two_until: last.map(|last| last - window.start),
        two_at_end: last.is_some_and(|last| window.end - last < Duration::from_millis(50)),
        ended_well: record.holders(&(last_moment(&window)..window.end)).len() == 1,
        late: record.lateness(&window),
    })
}

fn last_moment(window: &Range<Instant>) -> Instant {
    window.end.checked_sub(Duration::from_millis(100)).unwrap_or(window.start)
}

/// Does what the row says and returns the time in which the client's record counts.
fn strike(cluster: &Cluster, client: &UdpClient, pace: Pace, row: Row) -> Result<Range<Instant>> {
    let (first, vip) = (&cluster.nodes[0], std::net::IpAddr::from(vip_addr(0, 0)));
    let fault = row.fault(cluster);
    let mut from = Instant::now();
    let damage = fault.strike(first)?;
    let end = match row {
        Row::LinkDown | Row::Isolation | Row::Stop | Row::ServiceDeath => {
            // Whether it ends, and when, is the finding: no error if it doesn't.
            let _ = client.wait_for_steady("web-2", Duration::from_millis(150), PATIENCE);
            Instant::now()
        }
        Row::KillAll | Row::Freeze => {
            std::thread::sleep(pace.advert * 5 + Duration::from_millis(1500));
            Instant::now()
        }
        Row::HealPartition | Row::HealIsolation => {
            wait_until("the other node holds the vip", PATIENCE, || {
                Ok(cluster.nodes[1].host.addresses()?.contains(&vip))
            })?;
            if row == Row::HealIsolation {
                client.wait_for("web-2", PATIENCE)?;
            }
            std::thread::sleep(pace.advert + fraction(pace.advert));
            from = Instant::now();
            damage.heal()?;
            let quiet = pace.advert * 2 + Duration::from_millis(500);
            let _ = client.wait_for_steady("web-1", quiet, PATIENCE);
            return Ok(from..Instant::now());
        }
    };
    drop(damage);
    Ok(from..end)
}

/// A random part of `whole`.
fn fraction(whole: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0) % 1000;
    whole * u32::try_from(chance).unwrap_or(0) / 1000
}
