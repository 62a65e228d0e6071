//! What was seen while listening: plain values, so that the judgement needs neither network nor privilege.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::arp::Mac;
use mainstay_core::vrrp::{self, Advert, Checksum, Reject};
use mainstay_sys::netlink::{IfAddr, Link};

use crate::status::{Status, VipStatus};

/// Everything that the judgement rests on.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// The interfaces of this host.
    pub(super) links: Vec<Link>,
    /// Their addresses.
    pub(super) addrs: Vec<IfAddr>,
    /// VRRP packets before the firewall on their way in, after it on their way out.
    pub(super) heard: Vec<Heard>,
    /// VRRP packets that passed the firewall on their way in.
    pub(super) passed: Vec<Passed>,
    /// Addresses for which somebody was asked, with the interface's number.
    pub(super) asked: Vec<(u32, IpAddr)>,
    /// Who answered.
    pub(super) claims: Vec<Claim>,
    /// What the running node says of itself.
    pub(super) daemon: Daemon,
    /// The packet filters' rules as their own tools print them.
    pub(super) rules: String,
    /// What could not be looked at.
    pub(super) blind: Vec<String>,
}

/// The running node.
#[derive(Clone, Debug, Default)]
pub(super) enum Daemon {
    /// None runs with this runtime directory.
    #[default]
    Absent,
    /// One runs and gives no sensible answer.
    Dumb(String),
    /// What it said before and after the listening.
    Runs(Box<(Status, Status)>),
}

/// Packets that were alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The interface's number.
    pub(super) index: u32,
    /// This host sent it.
    pub(super) outgoing: bool,
    /// The VLAN whose tag it bore.
    pub(super) vlan: Option<u16>,
    /// Ethernet source.
    pub(super) mac: Mac,
    /// Source.
    pub(super) from: IpAddr,
    /// Destination.
    pub(super) to: IpAddr,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// The VRRP message.
    pub(super) payload: Vec<u8>,
    /// How many there were.
    pub(super) count: u64,
    /// When the first came, from the start of listening.
    pub(super) first: Duration,
    /// When the last came.
    pub(super) last: Duration,
}

/// Packets that a socket behind the firewall heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// The interface's number.
    pub(super) index: u32,
    /// Source.
    pub(super) from: IpAddr,
    /// Destination.
    pub(super) to: IpAddr,
    /// How many there were.
    pub(super) count: u64,
}

/// Somebody says that an address is his.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The interface's number.
    pub(super) index: u32,
    /// Which address.
    pub(super) addr: IpAddr,
    /// Whose hardware address.
    pub(super) mac: Mac,
}

impl Heard {
    /// The virtual router id, also of a packet that is otherwise broken.
    pub(super) fn vrid(&self) -> Option<u8> {
        self.payload.get(1).copied()
    }

    pub(super) fn parse(&self) -> Result<(Advert, Checksum), Reject> {
        vrrp::parse(&self.payload, self.from, self.to, self.ttl)
    }

    /// Its sender acts as active: an advert that is no farewell.
    pub(super) fn is_alive(&self) -> bool {
        self.parse().is_ok_and(|(advert, _)| advert.priority > 0)
    }
}

impl Observed {
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of an interface, or its number where it is gone.
    pub(super) fn name_of(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("interface {index}"), |link| link.name.clone())
    }

    /// Whether an address stands on this host.
    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        self.addrs.iter().any(|own| own.addr == addr)
    }

    /// Whether a hardware address is one of this host's.
    pub(super) fn is_own_mac(&self, mac: Mac) -> bool {
        self.links.iter().any(|link| link.mac == Some(mac))
    }

    /// What the node said of a vip before and after.
    pub(super) fn status_of(&self, vip: &str) -> Option<(&VipStatus, &VipStatus)> {
        let Daemon::Runs(both) = &self.daemon else { return None };
        let of = |status: &'_ Status| status.vips.iter().position(|v| v.name == vip);
        Some((&both.0.vips[of(&both.0)?], &both.1.vips[of(&both.1)?]))
    }
}

/// A hardware address as people write it.
pub(super) fn hex(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A length of time as the configuration writes it.
pub(super) fn span(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// Addresses in a row.
pub(super) fn list(addrs: &[IpAddr]) -> String {
    let mut sorted = addrs.to_vec();
    sorted.sort_unstable();
    sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
