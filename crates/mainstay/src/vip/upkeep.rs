//! What the kernel tells, and what follows: links that come and go, addresses and gates that somebody removed.

use std::collections::HashSet;
use std::net::IpAddr;

use mainstay_core::election::{Holding, Input};
use mainstay_core::name::{LinkId, VipId};
use mainstay_sys::clock::boot_now;
use mainstay_sys::netlink::{Change, IfAddr};

use super::Node;

impl Node {
    pub(super) fn hear_kernel(&mut self) {
        loop {
            match self.monitor.next() {
                Ok(Some(change)) => self.kernel_changed(&change),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("read the kernel's messages: {error:#}");
                    return;
                }
            }
        }
    }

    fn kernel_changed(&mut self, change: &Change) {
        match change {
            Change::Overflow => {
                tracing::warn!("the kernel's messages overflowed: reading everything again");
                self.resync();
                return;
            }
            Change::Filter { .. } => self.mend_gate(Some(change)),
            Change::AddrGone(addr) => self.put_back(addr.index, addr.addr),
            Change::LinkGone(index, _) => {
                self.conflicts.learn(*index, None);
                self.kernel.lost(*index);
                self.mend_gate(Some(change));
            }
            Change::Link(link) => {
                self.conflicts.learn(link.index, link.mac);
                if !self.plan.vips.is_empty() {
                    self.kernel.attach_elsewhere(link, &self.links);
                }
            }
            Change::Addr(_) => {}
        }
        let was_up = |node: &Self, index: u32| {
            node.links.iter().any(|(_, state)| state.ifindex() == Some(index) && state.is_up())
        };
        let came_up = match change {
            Change::Link(link) => link.up && link.carrier && !was_up(self, link.index),
            Change::LinkGone(..)
            | Change::Addr(_)
            | Change::AddrGone(_)
            | Change::Filter { .. }
            | Change::Overflow => false,
        };
        for link in self.links.learn(change) {
            self.link_changed(link);
        }
        if came_up {
            // IPv6 addresses went when it was set down, and addresses may have come with a new name.
            self.resync();
        }
    }

    /// Reads links and addresses anew and tells the machine.
    pub(super) fn resync(&mut self) {
        if let Err(error) = self.links.resync(&mut self.kernel.route) {
            tracing::error!("read links and addresses: {error:#}");
            return;
        }
        for link in self.kernel.route.links().unwrap_or_default() {
            self.conflicts.learn(link.index, link.mac);
            if !self.plan.vips.is_empty() {
                self.kernel.attach_elsewhere(&link, &self.links);
            }
        }
        for vip in &self.plan.vips {
            self.kernel.guard(vip, &self.links);
        }
        self.kernel.commit();
        let ids: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.link_changed(id));
        for (index, addr) in self.kernel.missing(&self.links) {
            self.put_back(index, addr);
        }
    }

    /// Tells the machine what a link is like, and has its gate in place before any of its vips can be taken.
    pub(super) fn link_changed(&mut self, link: LinkId) {
        let state = self.links.get(link);
        let foreign = |a: &&IfAddr| !a.is_ours() && !a.tentative;
        let of_vip = |a: &IfAddr| self.plan.vips.iter().flat_map(|v| &v.addrs).any(|v| v.addr == a.addr);
        // The owner's address is the interface's own, but another one is better: it stays when the vip goes.
        let of_owner = |a: &IfAddr| {
            let owned = self.plan.vips.iter().filter(|v| v.spec.priority == 255);
            owned.flat_map(|v| &v.addrs).any(|v| v.addr == a.addr)
        };
        let v4 = || state.addrs.iter().filter(foreign).filter(|a| a.addr.is_ipv4());
        let own = v4().find(|a| !of_vip(a)).or_else(|| v4().find(|a| of_owner(a))).map(|a| a.addr);
        let mut v6 = state.addrs.iter().filter(foreign).map(|a| a.addr);
        let v6 = v6.find(|a| matches!(a, IpAddr::V6(ip) if ip.is_unicast_link_local()));
        // Who can neither hear nor be heard is no holder: the others would take the vip as well.
        let (own, v6) = (own.filter(|_| !state.is_deaf(false)), v6.filter(|_| !state.is_deaf(true)));
        let mute = (state.is_deaf(false) || state.wants.v4.is_none())
            && (state.is_deaf(true) || state.wants.v6.is_none())
            && (state.is_deaf(false) || state.is_deaf(true));
        let up = state.is_up() && !mute;
        if let Some(ifindex) = state.ifindex() {
            self.kernel.attach(ifindex, &state.name);
        }
        for vip in self.plan.vips.iter().filter(|v| v.addrs.iter().any(|a| a.link == link)) {
            self.kernel.guard(vip, &self.links);
        }
        self.feed(Input::Link { link, up, v4: own, v6 }, boot_now());
        self.fit(Some(link));
    }

    /// Brings the addresses of vips that are held here into line with the configuration and the interfaces that
    /// exist: all of them, or those of one link.
    pub(super) fn fit(&mut self, link: Option<LinkId>) {
        let (mut takes, all, none) = (Vec::new(), self.kernel.held(), HashSet::new());
        for (id, vip) in (0..).map(VipId).zip(&self.plan.vips) {
            if link.is_some_and(|link| !vip.addrs.iter().any(|a| a.link == link)) {
                continue;
            }
            let Some(view) = self.machine.view(id) else { continue };
            let held = matches!(view.holding, Holding::Yes | Holding::Stopping);
            let Some(until) = view.armed.filter(|_| held) else { continue };
            if self.kernel.trim(vip, all.get(&id).unwrap_or(&none), &self.links) {
                self.kernel.arm(vip, until, &self.links);
                self.outbound.announce(vip, &self.links);
                takes.push(id);
            }
        }
        if !takes.is_empty() {
            self.settle(&mut Vec::new(), &mut takes);
        }
    }

    /// Puts back an address that somebody else removed, and says so.
    pub(super) fn put_back(&mut self, index: u32, addr: IpAddr) {
        // An interface that goes down takes its addresses with it: that is no removal by somebody.
        let links = self.kernel.route.links().unwrap_or_default();
        if !links.iter().any(|l| l.index == index && l.up) {
            return;
        }
        let Some(vip) = self.kernel.holder(index, addr) else { return };
        // Past its gate the vip is lost, and the next timer says so: its address ended with it.
        let armed = self.machine.view(vip).and_then(|view| view.armed);
        if armed.is_none_or(|until| until <= boot_now()) {
            return;
        }
        self.kernel.restore(index, addr);
        let vip = &self.plan.vips[vip.index()];
        let name = vip.spec.name.clone();
        self.outbound.announce(vip, &self.links);
        self.flush();
        self.event("address", &name, format!("somebody removed {addr}: it was put back"));
    }

    /// Attaches the gate again where somebody tore it out.
    pub(super) fn mend_gate(&mut self, change: Option<&Change>) {
        let mended = match change {
            Some(change) => self.kernel.gate.repair(change),
            None => self.kernel.gate.verify(),
        };
        self.gate_mended(mended);
    }

    /// Somebody deleted something from the firewall.
    pub(super) fn hear_gate(&mut self) {
        let mended = self.kernel.gate.heard();
        self.gate_mended(mended);
    }

    fn gate_mended(&mut self, mended: mainstay_sys::Result<bool>) {
        match mended {
            Ok(false) => {}
            Ok(true) => {
                let kind = self.kernel.gate.kind().name();
                self.event("gate", kind, format!("somebody removed the {kind} gate: it was put back"));
            }
            Err(error) => tracing::error!("put the gate back: {error:#}"),
        }
    }
}
