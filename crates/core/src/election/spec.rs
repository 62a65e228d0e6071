//! What an operator asked of a vip, as the election needs it.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{LinkId, ProbeId};
use crate::vrrp::{Checksum, Version};

/// One vip as the Plan gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipSpec {
    /// The operator's name; a reload knows a vip by it.
    pub name: String,
    /// The link that the vip's adverts use and whose loss is a fault.
    pub link: LinkId,
    /// VRRP version on the wire.
    pub version: Version,
    /// Virtual router id, 1 to 255; unique for each link and family. 0 for a vip under a lease that names none: it is
    /// never on the wire.
    pub vrid: u8,
    /// 1 to 254, or 255 for the owner, who always holds when he can.
    pub priority: u8,
    /// Time between adverts.
    pub advert: Duration,
    /// Whether a higher priority takes the vip from an active node of lower priority.
    pub preempt: bool,
    /// How long a lower active node must have been heard before it is preempted.
    pub preempt_delay: Duration,
    /// How long after the start of the daemon no takeover is tried.
    pub start_delay: Duration,
    /// Adverts that may be missed before a backup takes over; 3 by RFC 9568 6.1.
    pub down_adverts: u8,
    /// The addresses in the advert, all of one family; empty for a vip that only notifies is not allowed here:
    /// such a vip still names its address on the wire and sets `install` to false.
    pub addrs: Vec<IpAddr>,
    /// The family of the adverts.
    pub ipv6: bool,
    /// Source address of our adverts; the link's own address of the family when absent.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// PASS data of version 2.
    pub password: Option<[u8; 8]>,
    /// What the checksum of version 3 over IPv4 covers when we send.
    pub checksum: Checksum,
    /// Accept both checksum forms when we hear.
    pub checksum_any: bool,
    /// The peers that adverts go to one by one; empty means multicast.
    pub unicast: Vec<IpAddr>,
    /// Refuse adverts from others than `unicast`.
    pub check_source: bool,
    /// Lowest TTL or hop limit that is accepted; 255 by the RFC, lower only for unicast peers over routers.
    pub ttl_min: u8,
    /// Refuse adverts whose address list differs from ours.
    pub check_addrs: bool,
    /// No other backup competes: the successor need not wait for the skew (a cluster of two).
    pub sole_successor: bool,
    /// The kernel's dead-man's switch closes this long after it was last armed.
    pub gate: Duration,
    /// What keeps a second node from holding it.
    #[serde(default)]
    pub guard: Guard,
    /// Services must be started before the vip is announced and stopped before it is released.
    pub owns: bool,
    /// Probes that must not be down.
    pub requires: Vec<ProbeId>,
    /// Probes that move the priority.
    pub weights: Vec<Weight>,
    /// When and how often the vip is announced.
    pub announce: Announce,
}

/// What is promised of an address, and by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// VRRP's timing and the gate: a partition of the network can give two holders.
    #[default]
    BestEffort,
    /// A lease that a majority of a fixed list of voters grants.
    Quorum,
    /// Two nodes without a witness: a lone backup never takes over, a lone holder keeps.
    Strict,
}

impl Guard {
    /// Every guard, the strongest first.
    pub const ALL: [Self; 3] = [Self::Quorum, Self::Strict, Self::BestEffort];

    /// Whether it is held under a lease, and sends no VRRP.
    #[must_use]
    pub const fn is_leased(self) -> bool {
        match self {
            Self::BestEffort => false,
            Self::Quorum | Self::Strict => true,
        }
    }

    /// The word in the configuration, in status and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Quorum => "quorum",
            Self::Strict => "strict",
        }
    }

    /// How strong the promise is, in two words: what its sentence begins with.
    #[must_use]
    pub const fn strength(self) -> &'static str {
        match self {
            Self::BestEffort => "best effort",
            Self::Quorum | Self::Strict => "proven",
        }
    }

    /// What is proven and what is best effort: the one sentence that check, status, metrics and the pages share.
    #[must_use]
    pub const fn promise(self) -> &'static str {
        match self {
            Self::BestEffort => {
                "best effort: two nodes that can't hear each other may both hold it until they do"
            }
            Self::Quorum => {
                "proven: never two holders, while clocks keep within `clock_drift` and the kernel runs"
            }
            Self::Strict => {
                "proven: never two holders, unless `vip take --fenced` names a node that still runs; a lone backup never \
                 takes over, a lone holder keeps"
            }
        }
    }
}

/// A probe's influence on the priority, as keepalived has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Which probe.
    pub probe: ProbeId,
    /// Added while the probe is up when positive, while it is down when negative; -253 to 253.
    pub weight: i16,
    /// The direction of the change is turned round: `10 reverse` takes 10 away while the probe is up.
    pub reverse: bool,
}

/// When gratuitous ARP or unsolicited neighbour advertisements are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Bursts at once after taking the vip.
    pub repeat: u8,
    /// Time between the bursts of one series; zero sends them together.
    pub interval: Duration,
    /// A second series this long after taking the vip; zero for none.
    pub delay: Duration,
    /// Bursts of the second series.
    pub delay_repeat: u8,
    /// A periodic series; zero for none.
    pub refresh: Duration,
    /// Bursts of each periodic series.
    pub refresh_repeat: u8,
    /// Bursts when a lower advert was heard, and again when it fell silent.
    pub lower_repeat: u8,
}

/// Vips that are active or not together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// The operator's name.
    pub name: String,
    /// Names of the vips, at least one.
    pub vips: Vec<String>,
}
