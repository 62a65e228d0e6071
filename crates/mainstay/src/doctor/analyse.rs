//! From what was seen to what is wrong: a pure function, one vip after the other.

use std::net::IpAddr;

use mainstay_config::plan::{Plan, Vip};
use mainstay_core::election::State;
use mainstay_core::vrrp;
use mainstay_sys::netlink::{IfAddr, Link};

use super::finding::{Finding, Report};
use super::observed::{Heard, Observed};
use super::{holders, node, place, wire};
use crate::status::VipStatus;

/// One vip and what was seen around it.
pub(super) struct Case<'a> {
    pub(super) plan: &'a Plan,
    pub(super) vip: &'a Vip,
    pub(super) seen: &'a Observed,
    /// The name of its interface.
    pub(super) interface: &'a str,
}

/// Judges everything.
pub(super) fn analyse(plan: &Plan, seen: &Observed) -> Report {
    let vips = plan.vips.iter().map(|vip| one(plan, vip, seen)).collect();
    Report { node: node::judge(plan, seen), vips }
}

fn one(plan: &Plan, vip: &Vip, seen: &Observed) -> Vec<Finding> {
    let case = Case { plan, vip, seen, interface: &plan.links[vip.spec.link.index()] };
    let mut found = node::vip(&case);
    let (place, usable) = place::judge(&case);
    found.extend(place);
    if usable {
        found.extend(wire::judge(&case));
        found.extend(holders::judge(&case));
    }
    found
}

impl<'a> Case<'a> {
    pub(super) fn link(&self) -> Option<&'a Link> {
        self.seen.link(self.interface)
    }

    /// The host's own addresses of the adverts' family on the vip's interface.
    pub(super) fn own(&self) -> Vec<&'a IfAddr> {
        let index = self.link().map(|link| link.index);
        let vips: Vec<IpAddr> = self.plan.vips.iter().flat_map(|v| &v.addrs).map(|a| a.addr).collect();
        let owner = self.vip.spec.priority == 255;
        let own = self.seen.addrs.iter().filter(|a| Some(a.index) == index && !a.is_ours());
        own.filter(|a| a.addr.is_ipv6() == self.vip.spec.ipv6)
            .filter(|a| owner || !vips.contains(&a.addr))
            .collect()
    }

    /// Where this node's adverts come from.
    pub(super) fn source(&self) -> Option<IpAddr> {
        let link_local = |a: &&&IfAddr| match a.addr {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        self.vip.spec.source.or_else(|| self.own().iter().find(link_local).map(|a| a.addr))
    }

    /// The group that adverts go to, unless they go to peers one by one.
    pub(super) fn group(&self) -> Option<IpAddr> {
        let standard = if self.vip.spec.ipv6 { vrrp::GROUP_V6.into() } else { vrrp::GROUP_V4.into() };
        self.vip.spec.unicast.is_empty().then(|| self.vip.multicast.unwrap_or(standard))
    }

    /// Where adverts go, in words.
    pub(super) fn transport(&self) -> String {
        match self.group() {
            Some(group) => format!("multicast to {group}"),
            None => format!("unicast to {}", super::observed::list(&self.vip.spec.unicast)),
        }
    }

    pub(super) fn status(&self) -> Option<(&'a VipStatus, &'a VipStatus)> {
        self.seen.status_of(&self.vip.spec.name)
    }

    /// Whether the running node held it all the time.
    pub(super) fn is_active(&self) -> bool {
        self.status().is_some_and(|(was, is)| was.state == State::Active && is.state == State::Active)
    }

    /// How much a counter of adverts grew while we listened.
    pub(super) fn grew(&self, result: &str) -> u64 {
        let Some((was, is)) = self.status() else { return 0 };
        let value = |status: &VipStatus| {
            let found = status.adverts.iter().find(|c| c.labels.iter().any(|(_, v)| v == result));
            found.map_or(0, |c| c.value)
        };
        value(is).saturating_sub(value(was))
    }

    /// Whether a packet is about this vip: its router id, or one of its addresses under another.
    pub(super) fn concerns(&self, heard: &Heard) -> bool {
        heard.from.is_ipv6() == self.vip.spec.ipv6
            && (heard.vrid() == Some(self.vip.spec.vrid) || self.shares_address(heard))
    }

    /// Whether a packet advertises an address of this vip.
    pub(super) fn shares_address(&self, heard: &Heard) -> bool {
        heard.parse().is_ok_and(|(advert, _)| advert.addrs.iter().any(|a| self.vip.spec.addrs.contains(a)))
    }

    /// What came in on the vip's interface and is about it.
    pub(super) fn incoming(&self) -> Vec<&'a Heard> {
        let index = self.link().map(|link| link.index);
        let here = self.seen.heard.iter().filter(|h| !h.outgoing && Some(h.index) == index);
        here.filter(|h| h.vlan.is_none() && self.concerns(h)).collect()
    }

    /// What this host sent by the vip's interface under its router id.
    pub(super) fn outgoing(&self) -> Vec<&'a Heard> {
        let index = self.link().map(|link| link.index);
        let here = self.seen.heard.iter().filter(|h| h.outgoing && Some(h.index) == index);
        let ours = |h: &&Heard| {
            h.from.is_ipv6() == self.vip.spec.ipv6 && h.vrid() == Some(self.vip.spec.vrid) && h.is_alive()
        };
        here.filter(ours).collect()
    }
}
