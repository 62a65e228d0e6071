//! Carries out what the election asks of the kernel: gate, addresses, adverts, announcements, in an order that
//! never shows an address that may not be there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use mainstay_config::plan::{Plan, Vip};
use mainstay_core::election::Vips;
use mainstay_core::name::{LinkId, VipId};
use mainstay_core::time::Boot;
use mainstay_core::{arp, ndp, vrrp};
use mainstay_sys::gate::{Gate, GateOptions};
use mainstay_sys::netlink::{AddrSpec, IfAddr, Route};
use mainstay_sys::packet::Outgoing;

use super::links::Links;
use crate::ipc::{Deposit, Farewell};

/// Addresses end by themselves after this, should everything else fail: the kernel counts it in whole seconds.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);

/// Lifetimes are renewed this often: two renewals may fail.
const RENEW: Duration = Duration::from_secs(3);

/// The kernel's side of every vip.
pub(super) struct Kernel {
    pub(super) route: Route,
    pub(super) gate: Gate,
    /// Addresses that should be there, by interface index and address.
    held: HashMap<(u32, IpAddr), Held>,
    renew_at: Boot,
    adverts: Vec<Queued>,
    frames: Vec<(LinkId, bool, Vec<u8>)>,
    pub(super) send_errors: u64,
    pub(super) put_back: HashMap<VipId, u64>,
}

struct Held {
    vip: VipId,
    prefix: u8,
}

/// An advert to be sent with the next batch.
struct Queued {
    link: LinkId,
    to: IpAddr,
    from: IpAddr,
    payload: Vec<u8>,
}

impl Kernel {
    /// Takes the kernel's side over; addresses that a killed run left behind go before its gate does.
    pub(super) fn open(gate: GateOptions) -> anyhow::Result<(Self, Vec<IpAddr>)> {
        let mut route = Route::open()?;
        let swept = sweep(&mut route)?;
        let kernel = Self {
            route,
            gate: Gate::open(gate)?,
            held: HashMap::new(),
            renew_at: Boot::ZERO,
            adverts: Vec::new(),
            frames: Vec::new(),
            send_errors: 0,
            put_back: HashMap::new(),
        };
        Ok((kernel, swept))
    }

    /// Makes the gate know a vip's addresses; closed until armed. Interfaces are attached afterwards.
    pub(super) fn guard(&mut self, vip: &Vip) {
        for addr in &vip.addrs {
            if let Err(error) = self.gate.guard(addr.addr) {
                tracing::warn!("guard {}: {error:#}", addr.addr);
            }
        }
    }

    pub(super) fn arm(&mut self, vip: &Vip, until: Boot) {
        for addr in &vip.addrs {
            if let Err(error) = self.gate.arm(addr.addr, until) {
                tracing::warn!("arm the gate of {}: {error:#}", addr.addr);
            }
        }
    }

    /// What the supervisor must know before `take`.
    pub(super) fn deposit(&self, id: VipId, vip: &Vip, machine: &Vips, links: &Links) -> Deposit {
        let addrs =
            vip.addrs.iter().filter_map(|a| Some((links.get(a.link).ifindex()?, a.addr, a.prefix))).collect();
        let link = links.get(vip.spec.link);
        let farewells = destinations(vip).into_iter().filter_map(|to| {
            let from = source(vip, links)?;
            let mut payload = Vec::new();
            machine.packet(id, 0, from, to, &mut payload);
            Some(Farewell { to, from, ifindex: link.ifindex()?, interface: link.name.clone(), payload })
        });
        Deposit { vip: vip.spec.name.clone(), addrs, farewells: farewells.collect() }
    }

    /// Adds the addresses of several vips in one batch; tells which failed and why.
    pub(super) fn take(&mut self, vips: &[(VipId, &Vip)], links: &Links) -> Vec<(VipId, String)> {
        let mut specs = Vec::new();
        let mut owners = Vec::new();
        for (id, vip) in vips {
            for addr in &vip.addrs {
                let Some(index) = links.get(addr.link).ifindex() else { continue };
                specs.push(AddrSpec { index, addr: addr.addr, prefix: addr.prefix, valid: LIFETIME });
                owners.push(*id);
                self.held.insert((index, addr.addr), Held { vip: *id, prefix: addr.prefix });
            }
        }
        let results = self.route.set_addrs(&specs);
        let failed = results.into_iter().zip(&specs).zip(owners).filter_map(|((result, spec), vip)| {
            let error = result.err()?;
            Some((vip, format!("add {}/{}: {error}", spec.addr, spec.prefix)))
        });
        failed.collect()
    }

    /// Removes the addresses of several vips in one batch and closes their gates.
    pub(super) fn release(&mut self, vips: &[&Vip], links: &Links) {
        let mut gone = Vec::new();
        for addr in vips.iter().flat_map(|v| &v.addrs) {
            let _ = self.gate.arm(addr.addr, Boot::ZERO);
            if let Some(index) = links.get(addr.link).ifindex() {
                self.held.remove(&(index, addr.addr));
                gone.push((index, addr.addr, addr.prefix));
            }
        }
        if let Err(error) = self.gate.commit() {
            tracing::warn!("close the gate: {error:#}");
        }
        for (result, (_, addr, _)) in self.route.del_addrs(&gone).into_iter().zip(&gone) {
            match result {
                Ok(()) => {}
                // It was never added, or went with its interface.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {}
                Err(error) => tracing::error!(%addr, %error, "remove an address"),
            }
        }
    }

    /// Addresses of vips that stand on an interface although nothing of ours put them there, as sentences.
    pub(super) fn strangers(&self, plan: &Plan, links: &Links) -> Vec<String> {
        let mut out = Vec::new();
        for vip in plan.vips.iter().filter(|v| v.spec.priority != 255) {
            for addr in &vip.addrs {
                let link = links.get(addr.link);
                if link.addrs.iter().any(|a| a.addr == addr.addr && !a.is_ours()) {
                    out.push(format!(
                        "{} of vip {} was put on {} by somebody else: remove it there, or two nodes answer for it",
                        addr.addr, vip.spec.name, link.name
                    ));
                }
            }
        }
        out
    }

    /// Addresses that should be there and are not.
    pub(super) fn missing(&self, links: &Links) -> Vec<(u32, IpAddr)> {
        let there = |index: u32, addr: IpAddr| {
            links.iter().any(|(_, l)| l.ifindex() == Some(index) && l.addrs.iter().any(|a| a.addr == addr))
        };
        self.held.keys().copied().filter(|&(index, addr)| !there(index, addr)).collect()
    }

    /// Puts an address back that somebody else removed; tells whose it was.
    pub(super) fn restore(&mut self, index: u32, addr: IpAddr) -> Option<VipId> {
        let held = self.held.get(&(index, addr))?;
        let vip = held.vip;
        let spec = AddrSpec { index, addr, prefix: held.prefix, valid: LIFETIME };
        for error in self.route.set_addrs(&[spec]).into_iter().filter_map(Result::err) {
            tracing::error!(%addr, %error, "put an address back");
        }
        *self.put_back.entry(vip).or_default() += 1;
        Some(vip)
    }

    /// Renews the lifetimes of every address held, when it is time; tells when the next time is.
    pub(super) fn renew(&mut self, now: Boot) -> Boot {
        if self.held.is_empty() {
            return Boot::NEVER;
        }
        if self.renew_at <= now {
            let specs: Vec<_> = self
                .held
                .iter()
                .map(|((index, addr), held)| AddrSpec {
                    index: *index,
                    addr: *addr,
                    prefix: held.prefix,
                    valid: LIFETIME,
                })
                .collect();
            let failed = self.route.set_addrs(&specs).into_iter().filter(Result::is_err).count();
            if failed > 0 {
                tracing::warn!(failed, "renew address lifetimes");
            }
            self.renew_at = now + RENEW;
        }
        self.renew_at
    }

    /// Vips have new numbers after a reload.
    pub(super) fn renumber(&mut self, new: impl Fn(VipId) -> Option<VipId>) {
        self.held.retain(|_, held| new(held.vip).map(|id| held.vip = id).is_some());
        self.put_back =
            std::mem::take(&mut self.put_back).into_iter().filter_map(|(k, v)| Some((new(k)?, v))).collect();
    }

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

    /// Sends what is queued, adverts before announcements.
    pub(super) fn flush(&mut self, links: &mut Links) {
        if let Err(error) = self.gate.commit() {
            tracing::warn!("arm the gate: {error:#}");
        }
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

/// Removes addresses that a killed run of ours left behind.
fn sweep(route: &mut Route) -> anyhow::Result<Vec<IpAddr>> {
    let marked: Vec<_> = route.addrs()?.into_iter().filter(IfAddr::is_ours).collect();
    let gone: Vec<_> = marked.iter().map(|a| (a.index, a.addr, a.prefix)).collect();
    for error in route.del_addrs(&gone).into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "remove an address that an earlier run left behind");
    }
    Ok(marked.into_iter().map(|a| a.addr).collect())
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
