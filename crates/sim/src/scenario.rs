//! What a seed stands for: a cluster, its wires and clocks, and what happens to it.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::election::{Announce, GroupSpec, VipSpec, Weight};
use mainstay_core::name::{LinkId, ProbeId};
use mainstay_core::vrrp::{Checksum, Version};

use crate::fault::{self, Fault};
use crate::kernel::{Clock, Time, nanos};
use crate::rng::Rng;

/// Every node has so many links, each a segment of its own.
pub(crate) const LINKS: usize = 2;
/// A probe that vips may require, and one that may move their priority.
pub(crate) const PROBES: usize = 2;
/// A task that is not paused wakes at most this late.
pub(crate) const JITTER: Time = 1_000_000;
/// A service takes at most this long to start or stop.
pub(crate) const SERVICE: Time = 200_000_000;

/// A cluster and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    /// For each node its vips, in the same order everywhere.
    pub(crate) specs: Vec<Vec<VipSpec>>,
    pub(crate) groups: Vec<GroupSpec>,
    pub(crate) clocks: Vec<Clock>,
    /// The longest a frame is under way.
    pub(crate) delay: Time,
    pub(crate) faults: Vec<(Time, Fault)>,
    pub(crate) end: Time,
    /// The longest advert interval, and skew, of any vip.
    pub(crate) advert: Time,
    pub(crate) skew: Time,
    pub(crate) gate: Time,
    pub(crate) start_delay: Time,
}

/// A node's own address on a link.
pub(crate) fn address(node: usize, link: usize, ipv6: bool) -> IpAddr {
    let (node, link) = (u8::try_from(node).unwrap_or(0) + 10, u8::try_from(link).unwrap_or(0));
    if ipv6 {
        IpAddr::from([0xfe80, 0, 0, 0, 0, 0, u16::from(link), u16::from(node)])
    } else {
        IpAddr::from([10, 0, link, node])
    }
}

impl Scenario {
    /// Silence that long and skew: a backup's longest wait for a dead node.
    pub(crate) fn down(&self) -> Time {
        3 * self.advert + self.skew
    }

    /// Draws everything from one seed.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let nodes = 2 + rng.below(4);
        let version = rng.pick(&[Version::V2, Version::V3, Version::V3]);
        let advert = match version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => Duration::from_millis(rng.pick(&[10, 50, 100, 100, 1_000])),
        };
        let gate = (advert * 3).max(Duration::from_millis(300));
        let common = common(rng, nodes, version, advert, gate);
        let groups = match common.len() {
            2.. if rng.percent(50) => {
                vec![GroupSpec { name: "group".into(), vips: vec!["v0".into(), "v1".into()] }]
            }
            _ => Vec::new(),
        };
        let specs = (0..nodes).map(|node| common.iter().map(|spec| own(rng, spec, node, nodes)).collect());
        let specs: Vec<Vec<VipSpec>> = specs.collect();
        let longest = common.iter().map(|spec| nanos(spec.advert)).max().unwrap_or(0);
        let skew = if version == Version::V2 { 1_000_000_000 } else { longest };
        let mut scenario = Self {
            nodes,
            clients: 1 + rng.below(2),
            start_delay: common.iter().map(|spec| nanos(spec.start_delay)).max().unwrap_or(0),
            groups,
            clocks: (0..nodes)
                .map(|_| Clock { offset: rng.within(0..1 << 50), since: 0, ppm: rng.below(401) as i64 - 200 })
                .collect(),
            delay: rng.pick(&[200_000, 1_000_000, 2_000_000]),
            faults: Vec::new(),
            end: 0,
            advert: longest,
            skew,
            gate: common.iter().map(|spec| nanos(spec.gate)).max().unwrap_or(0),
            specs,
        };
        (scenario.faults, scenario.end) = fault::draw(rng, &scenario);
        scenario
    }
}

/// What all nodes agree on.
fn common(rng: &mut Rng, nodes: usize, version: Version, advert: Duration, gate: Duration) -> Vec<VipSpec> {
    let ipv6 = version == Version::V3 && rng.percent(25);
    let preempt = rng.percent(70);
    let sole = nodes == 2 && rng.percent(40);
    let start_delay = if rng.percent(15) { advert * 5 } else { Duration::ZERO };
    let count = 1 + rng.below(3);
    let (owns, requires) = (rng.percent(15), rng.percent(40));
    let vips = (0..count).map(|v| VipSpec {
        name: format!("v{v}"),
        link: LinkId(v as u32 % 2),
        version,
        vrid: 50 + v as u8,
        priority: 100,
        advert,
        preempt,
        preempt_delay: if rng.percent(20) { advert * 4 } else { Duration::ZERO },
        start_delay,
        down_adverts: 3,
        addrs: vec![if ipv6 {
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 9, v as u16])
        } else {
            IpAddr::from([10, 9, 0, v as u8])
        }],
        ipv6,
        source: None,
        password: (version == Version::V2 && rng.percent(50)).then_some(*b"s3cret\0\0"),
        checksum: rng.pick(&[Checksum::Message, Checksum::PseudoHeader]),
        checksum_any: true,
        unicast: Vec::new(),
        check_source: true,
        ttl_min: 255,
        check_addrs: true,
        sole_successor: sole,
        gate,
        guard: mainstay_core::election::Guard::BestEffort,
        owns,
        requires: if requires { vec![ProbeId(0)] } else { Vec::new() },
        weights: Vec::new(),
        announce: Announce {
            repeat: 1,
            interval: Duration::ZERO,
            delay: Duration::ZERO,
            delay_repeat: 0,
            refresh: Duration::ZERO,
            refresh_repeat: 0,
            lower_repeat: 1,
        },
    });
    let mut vips: Vec<_> = vips.collect();
    if version == Version::V3 && rng.percent(20) {
        let last = vips.len() - 1;
        vips[last].advert *= 2;
        vips.iter_mut().for_each(|vip| vip.gate = gate.max(advert * 6));
    }
    vips
}

/// What is one node's own: priority, weights, peers.
fn own(rng: &mut Rng, spec: &VipSpec, node: usize, nodes: usize) -> VipSpec {
    let mut spec = spec.clone();
    spec.priority = match rng.below(10) {
        0 => 255,
        1 | 2 => 100,
        _ => 20 + rng.below(230) as u8,
    };
    if rng.percent(25) {
        spec.weights = vec![Weight { probe: ProbeId(1), weight: -50, reverse: false }];
    }
    if spec.vrid == 52 {
        let peers = (0..nodes).filter(|peer| *peer != node);
        spec.unicast = peers.map(|peer| address(peer, spec.link.index(), spec.ipv6)).collect();
    }
    spec
}
