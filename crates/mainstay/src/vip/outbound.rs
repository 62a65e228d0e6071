//! What waits to be sent: adverts and announcements, one system call for each interface and kind.

use std::net::IpAddr;

use mainstay_config::plan::Vip;
use mainstay_core::election::Vips;
use mainstay_core::name::{LinkId, VipId};
use mainstay_core::{arp, ndp, vrrp};
use mainstay_sys::packet::Outgoing;

use super::links::Links;

/// Packets of one round.
#[derive(Default)]
pub(super) struct Outbound {
    adverts: Vec<Queued>,
    frames: Vec<(LinkId, bool, Vec<u8>)>,
    pub(super) send_errors: u64,
}

/// An advert to be sent with the next batch.
struct Queued {
    link: LinkId,
    to: IpAddr,
    from: IpAddr,
    payload: Vec<u8>,
}

impl Outbound {
    /// Queues an advert to the group or to each peer.
    pub(super) fn advertise(&mut self, id: VipId, vip: &Vip, priority: u8, machine: &Vips, links: &Links) {
        let Some(from) = source(vip, links) else { return };
        for to in destinations(vip) {
            let mut payload = Vec::with_capacity(64);
            machine.packet(id, priority, from, to, &mut payload);
            self.adverts.push(Queued { link: vip.spec.link, to, from, payload });
        }
    }

    /// Queues one gratuitous ARP or unsolicited NA for each address.
    pub(super) fn announce(&mut self, vip: &Vip, links: &Links) {
        for addr in &vip.addrs {
            let mac = links.get(addr.link).mac();
            let frame = match addr.addr {
                IpAddr::V4(ip) => arp::gratuitous(ip, mac).to_vec(),
                IpAddr::V6(ip) => ndp::unsolicited(ip, mac, false).to_vec(),
            };
            self.frames.push((addr.link, addr.addr.is_ipv6(), frame));
        }
    }

    /// Queues the question whether somebody else has an address.
    pub(super) fn ask(&mut self, link: LinkId, addr: IpAddr, links: &Links) {
        let mac = links.get(link).mac();
        let frame = match addr {
            IpAddr::V4(ip) => arp::probe(ip, mac).to_vec(),
            IpAddr::V6(ip) => ndp::probe(ip, mac).to_vec(),
        };
        self.frames.push((link, addr.is_ipv6(), frame));
    }

    /// Queues the question who has an address, from an address of our own; nothing without an address of our own to ask from.
    pub(super) fn ask_from(
        &mut self,
        link: LinkId,
        target: IpAddr,
        links: &Links,
        of_vip: impl Fn(&IpAddr) -> bool,
    ) {
        let state = links.get(link);
        let own = state.addrs.iter().filter(|a| !a.is_ours() && !a.tentative && !of_vip(&a.addr));
        let frame = match target {
            IpAddr::V4(target) => own
                .filter_map(|a| match a.addr {
                    IpAddr::V4(own) => Some(arp::request(target, own, state.mac()).to_vec()),
                    IpAddr::V6(_) => None,
                })
                .next(),
            IpAddr::V6(target) => own
                .filter_map(|a| match a.addr {
                    IpAddr::V6(own) if own.is_unicast_link_local() => {
                        Some(ndp::request(target, own, state.mac()).to_vec())
                    }
                    IpAddr::V4(_) | IpAddr::V6(_) => None,
                })
                .next(),
        };
        self.frames.extend(frame.map(|frame| (link, target.is_ipv6(), frame)));
    }

    /// Sends what is queued, adverts before announcements.
    pub(super) fn flush(&mut self, links: &mut Links) {
        while let Some(first) = self.adverts.first() {
            let (link, ipv6) = (first.link, first.to.is_ipv6());
            let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.adverts)
                .into_iter()
                .partition(|q| q.link == link && q.to.is_ipv6() == ipv6);
            self.adverts = later;
            let state = links.get_mut(link);
            let socket = if ipv6 { state.vrrp6.as_mut() } else { state.vrrp4.as_mut() };
            let Some(socket) = socket else { continue };
            let packets: Vec<_> =
                now.iter().map(|q| Outgoing { to: q.to, from: Some(q.from), payload: &q.payload }).collect();
            if let Some(error) = socket.send(&packets).error {
                self.send_errors += 1;
                tracing::debug!(interface = state.name, %error, "send adverts");
            }
        }
        while let Some(&(link, ipv6, _)) = self.frames.first() {
            let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.frames)
                .into_iter()
                .partition(|(l, six, _)| *l == link && *six == ipv6);
            self.frames = later;
            let state = links.get_mut(link);
            let socket = if ipv6 { state.ndp.as_mut() } else { state.arp.as_mut() };
            let Some(socket) = socket else { continue };
            let frames: Vec<&[u8]> = now.iter().map(|(_, _, frame)| frame.as_slice()).collect();
            if let Some(error) = socket.send(&frames).error {
                self.send_errors += 1;
                tracing::debug!(interface = state.name, %error, "send announcements");
            }
        }
    }
}

/// Where a vip's adverts go.
pub(super) fn destinations(vip: &Vip) -> Vec<IpAddr> {
    if !vip.spec.unicast.is_empty() {
        return vip.spec.unicast.clone();
    }
    let standard = if vip.spec.ipv6 { vrrp::GROUP_V6.into() } else { vrrp::GROUP_V4.into() };
    vec![vip.multicast.unwrap_or(standard)]
}

/// Where a vip's adverts come from: as configured, else the interface's first address of its own (IPv6: link-local,
/// as RFC 9568 5.1.2.1 asks).
pub(super) fn source(vip: &Vip, links: &Links) -> Option<IpAddr> {
    if vip.spec.source.is_some() {
        return vip.spec.source;
    }
    let mut own =
        links.get(vip.spec.link).addrs.iter().filter(|a| !a.is_ours() && a.addr.is_ipv6() == vip.spec.ipv6);
    own.find(|a| match a.addr {
        IpAddr::V4(_) => !vip.spec.addrs.contains(&a.addr) || vip.spec.priority == 255,
        IpAddr::V6(ip) => ip.is_unicast_link_local() && !a.tentative,
    })
    .map(|a| a.addr)
}
