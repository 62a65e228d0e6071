//! What happens around the vips: a new Plan, links and addresses that come and go, a gate that somebody tore out.

use std::net::IpAddr;

use mainstay_config::plan::Plan;
use mainstay_core::arp::ArpView;
use mainstay_core::election::{Input, Next, State, VipSpec};
use mainstay_core::name::{LinkId, ProbeId, VipId};
use mainstay_core::ndp::NdpView;
use mainstay_core::vrrp;
use mainstay_sys::clock::boot_now;
use mainstay_sys::netlink::Change;

use super::links::{Socket, Wants};
use super::{COALESCE, Node};
use crate::ipc::FromVip;

/// Frames taken from one link before the others are looked at.
const FRAMES: usize = 64;

impl Node {
    /// Puts a Plan in force: vips that did not change keep their state, their timers and their packets.
    pub(super) fn apply(&mut self, plan: Plan) {
        let now = boot_now();
        let specs: Vec<VipSpec> = plan.vips.iter().map(|v| v.spec.clone()).collect();
        let groups = plan.groups.iter().map(|g| g.spec.clone()).collect();
        let next = Next {
            specs,
            groups,
            links: map_new(&plan.links, &self.plan.links, |a, b| a == b, LinkId),
            probes: map_new(&plan.probes, &self.plan.probes, |a, b| a == b, ProbeId),
        };
        // Vips that go are released under their old numbers, while the old Plan can still say what they were.
        self.machine.retire(&next, now);
        self.drain();
        let old: Vec<String> = self.plan.vips.iter().map(|v| v.spec.name.clone()).collect();
        let old_addrs: Vec<IpAddr> = self.plan.vips.iter().flat_map(|v| &v.addrs).map(|a| a.addr).collect();
        let new_id = |id: VipId| {
            let name = old.get(id.index())?;
            let place = plan.vips.iter().position(|v| &v.spec.name == name)?;
            Some(VipId(u32::try_from(place).expect("a Plan has fewer than 2^32 vips")))
        };
        self.kernel.renumber(new_id);
        self.changes.renumber(new_id);
        self.quantum = plan.vips.iter().map(|v| v.spec.advert / COALESCE).min().unwrap_or_default();
        self.plan = plan;
        let wants = self.plan.links.iter().enumerate().map(|(i, _)| self.wants(LinkId(i as u32))).collect();
        self.links.apply(&self.plan.links, wants);
        for addr in old_addrs {
            if !self.plan.vips.iter().flat_map(|v| &v.addrs).any(|a| a.addr == addr) {
                let _ = self.kernel.gate.forget(addr);
            }
        }
        let left = self.machine.apply(next, now);
        debug_assert!(left.is_empty(), "retire was drained");
        self.changes.plan(&self.plan);
        for vip in &self.plan.vips {
            self.kernel.guard(vip);
        }
        self.resync();
        self.drain();
    }

    fn wants(&self, link: LinkId) -> Wants {
        let mut wants = Wants::default();
        for vip in self.plan.vips.iter().filter(|v| v.spec.link == link) {
            let groups = if vip.spec.ipv6 { &mut wants.v6 } else { &mut wants.v4 };
            let groups = groups.get_or_insert_default();
            if vip.spec.unicast.is_empty() {
                let standard = if vip.spec.ipv6 { vrrp::GROUP_V6.into() } else { vrrp::GROUP_V4.into() };
                groups.push(vip.multicast.unwrap_or(standard));
            }
        }
        let addrs = self.plan.vips.iter().flat_map(|v| &v.addrs).filter(|a| a.link == link);
        wants.addrs = addrs.map(|a| a.addr).collect();
        for groups in [&mut wants.v4, &mut wants.v6].into_iter().flatten() {
            groups.sort_unstable();
            groups.dedup();
        }
        wants
    }

    /// Reads links and addresses anew and tells the machine.
    pub(super) fn resync(&mut self) {
        if let Err(error) = self.links.resync(&mut self.kernel.route) {
            tracing::error!("read links and addresses: {error:#}");
            return;
        }
        let ids: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.link_changed(id));
        for (index, addr) in self.kernel.missing(&self.links) {
            self.put_back(index, addr);
        }
    }

    /// Tells the machine what a link is like, and has its gate in place before any of its vips can be taken.
    pub(super) fn link_changed(&mut self, link: LinkId) {
        let state = self.links.get(link);
        let vip_addrs: Vec<IpAddr> = self.plan.vips.iter().flat_map(|v| &v.addrs).map(|a| a.addr).collect();
        let own = |a: &&mainstay_sys::netlink::IfAddr| !a.is_ours() && !a.tentative;
        let v4 = state.addrs.iter().filter(own).filter(|a| !vip_addrs.contains(&a.addr));
        let v4 = v4.map(|a| a.addr).find(IpAddr::is_ipv4);
        let v6 = state.addrs.iter().filter(own).map(|a| a.addr);
        let v6 = v6.into_iter().find(|a| matches!(a, IpAddr::V6(ip) if ip.is_unicast_link_local()));
        let (up, ifindex, name) = (state.is_up(), state.ifindex(), state.name.clone());
        if let Some(ifindex) = ifindex
            && let Err(error) = self.kernel.gate.attach(ifindex)
        {
            tracing::warn!("attach the gate to {name}: {error:#}");
        }
        self.feed(Input::Link { link, up, v4, v6 }, boot_now());
    }

    /// Puts back an address that somebody else removed, and says so.
    pub(super) fn put_back(&mut self, index: u32, addr: IpAddr) {
        // An interface that goes down takes its addresses with it: that is no removal by somebody.
        let links = self.kernel.route.links().unwrap_or_default();
        if !links.iter().any(|l| l.index == index && l.up) {
            return;
        }
        let Some(vip) = self.kernel.restore(index, addr) else { return };
        let vip = &self.plan.vips[vip.index()];
        let name = vip.spec.name.clone();
        self.kernel.announce(vip, &self.links);
        self.kernel.flush(&mut self.links);
        self.event("address", &name, format!("somebody removed {addr}: it was put back"));
    }

    /// Tells the machine whose addresses an earlier run of ours, or its supervisor, had to take away: clients may
    /// still look for them here.
    pub(super) fn own_up(&mut self, swept: &[IpAddr]) {
        for (place, vip) in (0..).map(VipId).zip(&self.plan.vips) {
            if vip.addrs.iter().any(|a| swept.contains(&a.addr)) {
                self.machine.left_behind(place);
            }
        }
    }

    /// Attaches the gate again where somebody tore it out.
    pub(super) fn mend_gate(&mut self, change: Option<&Change>) {
        let mended = match change {
            Some(change) => self.kernel.gate.repair(change),
            None => self.kernel.gate.verify(),
        };
        self.mended(mended);
    }

    /// Somebody changed the rules that our gate is made of.
    pub(super) fn gate_changed(&mut self) {
        let mended = self.kernel.gate.heard();
        self.mended(mended);
    }

    fn mended(&mut self, mended: mainstay_sys::Result<bool>) {
        match mended {
            Ok(false) => {}
            Ok(true) => {
                let kind = self.kernel.gate.kind();
                self.event(
                    "gate",
                    kind.name(),
                    format!("somebody removed the {} gate: it was put back", kind.name()),
                );
            }
            Err(error) => tracing::error!("put the gate back: {error:#}"),
        }
    }

    /// Looks for a foreign hardware address behind an address that we hold.
    pub(super) fn hear_frames(&mut self, link: LinkId, socket: Socket) {
        let state = self.links.get_mut(link);
        let mac = state.mac();
        let mut claims: Vec<(IpAddr, [u8; 6])> = Vec::new();
        let taken = if socket == Socket::Ndp { state.ndp.as_mut() } else { state.arp.as_mut() };
        let Some(taken) = taken else { return };
        let result = taken.receive(FRAMES, &mut |frame| {
            if let Some(arp) = ArpView::parse(frame) {
                claims.push((arp.sender_ip.into(), arp.sender_mac));
            } else if let Some(ndp) = NdpView::parse(frame) {
                claims.push((ndp.target.into(), ndp.lladdr.unwrap_or(ndp.from)));
            }
        });
        if let Err(error) = result {
            tracing::debug!("receive frames: {error:#}");
        }
        claims.retain(|(_, claimed)| *claimed != mac);
        for (addr, claimed) in claims {
            let holder =
                self.plan.vips.iter().position(|v| v.addrs.iter().any(|a| a.addr == addr && a.link == link));
            let Some(place) = holder else { continue };
            let vip = VipId(u32::try_from(place).expect("a Plan has fewer than 2^32 vips"));
            let now = boot_now();
            if self.is_active(vip) && self.changes.conflict(vip, now) {
                let name = self.plan.vips[place].spec.name.clone();
                let mac: Vec<String> = claimed.iter().map(|b| format!("{b:02x}")).collect();
                self.event(
                    "conflict",
                    &name,
                    format!("{addr}, which is held here, is claimed by {} too", mac.join(":")),
                );
            }
            self.feed(Input::Conflict { vip }, now);
        }
    }

    /// Looks once a second for what no message told.
    pub(super) fn kernel_check(&mut self) {
        self.mend_gate(None);
    }

    /// Starts or stops what a vip owns.
    pub(super) fn sequence(&mut self, id: VipId, starting: bool) {
        let step = self.sequences.begin(id, &self.plan.vips[id.index()], starting);
        self.step(step);
    }

    fn step(&mut self, step: super::owned::Step) {
        match step {
            super::owned::Step::Run(run) => {
                if self.orphaned {
                    for vip in self.sequences.abandon() {
                        self.owned.push_back((vip, false));
                    }
                } else {
                    self.say(&FromVip::Run(run));
                }
            }
            super::owned::Step::Done { vip, running, failed } => {
                if let Some(text) = failed {
                    let name = self.plan.vips[vip.index()].spec.name.clone();
                    self.event("vip", &name, format!("what vip {name} owns: {text}"));
                }
                self.owned.push_back((vip, running));
            }
        }
    }

    /// A command has ended: a step of a sequence, or a notification.
    pub(super) fn ran(&mut self, outcome: &crate::ipc::Outcome) {
        if let Some(step) = self.sequences.ran(outcome) {
            self.step(step);
            self.drain();
        } else {
            self.notified(outcome);
        }
    }

    pub(super) fn is_active(&self, vip: VipId) -> bool {
        self.machine.view(vip).is_some_and(|v| v.state == State::Active)
    }

    pub(super) fn probe_id(&self, name: &str) -> Option<ProbeId> {
        let place = self.plan.probes.iter().position(|p| p.name == name)?;
        Some(ProbeId(u32::try_from(place).expect("a Plan has fewer than 2^32 probes")))
    }

    /// Tells the supervisor of something that is not a change of state.
    pub(super) fn event(&mut self, kind: &str, about: &str, message: String) {
        let event = crate::events::event(&self.plan.node, kind, about, message);
        self.say(&FromVip::Event(event));
    }
}

/// For each thing of the new Plan its place in the old one.
fn map_new<T, Id>(new: &[T], old: &[T], same: impl Fn(&T, &T) -> bool, id: fn(u32) -> Id) -> Vec<Option<Id>> {
    let place = |n: &T| old.iter().position(|o| same(n, o)).and_then(|i| u32::try_from(i).ok());
    new.iter().map(|n| place(n).map(id)).collect()
}
