//! What happens around the vips: a new Plan, and what follows from it.

use std::net::IpAddr;

use mainstay_config::plan::Plan;
use mainstay_config::plan::arbitration::Method;
use mainstay_core::election::{Next, State, VipSpec};
use mainstay_core::name::{CommandId, LinkId, ProbeId, VipId};
use mainstay_core::vrrp;
use mainstay_sys::clock::boot_now;

use super::kernel::Kernel;
use super::links::Wants;
use super::{COALESCE, Node};
use crate::ipc::{Deposit, FromVip};

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
        self.conflicts.renumber(new_id);
        let swapped = self.retire_services(&plan);
        let command = |old: CommandId| {
            let known = self.plan.commands.get(old.index())?;
            let place = plan.commands.iter().position(|c| c == known)?;
            Some(CommandId(u32::try_from(place).expect("a Plan has fewer than 2^32 commands")))
        };
        for run in self.sequences.renumber(new_id, command) {
            self.say(&FromVip::Run(run));
        }
        // The supervisor reads our numbers by the old Plan until it hears this.
        self.say(&FromVip::Ready);
        self.quantum = plan.vips.iter().map(|v| v.spec.advert / COALESCE).min().unwrap_or_default();
        self.plan = plan;
        self.know_peers();
        let wants = self.plan.links.iter().enumerate().map(|(i, _)| self.wants(LinkId(i as u32))).collect();
        self.links.apply(&self.plan.links, wants);
        for addr in old_addrs {
            if !self.plan.vips.iter().flat_map(|v| &v.addrs).any(|a| a.addr == addr) {
                let _ = self.kernel.gate.forget(addr);
            }
        }
        let left = self.machine.apply(next, now);
        debug_assert!(left.is_empty(), "retire was drained");
        self.join(now);
        self.arrange_aids(now);
        self.changes.plan(&self.plan);
        // The gate knows every address before the machine's effects can arm or take one.
        self.resync();
        self.kernel.detach_unused(&self.links);
        self.drain();
        self.fit(None);
        self.deposit_again();
        self.resume_sequences();
        for (id, added) in swapped {
            let step = self.sequences.add(id, &self.plan.vips[id.index()], &added);
            self.step(step);
        }
        self.drain();
    }

    /// What is said when this process dies follows the configuration.
    pub(super) fn deposit_again(&mut self) {
        let held = (0..).map(VipId).zip(&self.plan.vips);
        let held = held.filter(|(id, _)| self.machine.view(*id).is_some_and(|v| v.armed.is_some()));
        let quorum = &mut self.quorum;
        let deposits = held.map(|(id, vip)| {
            let wills = super::quorum::wills(quorum.as_mut(), &self.machine, id);
            let posted = quorum.as_ref().and_then(|quorum| quorum.outside_will(&self.machine, id));
            Deposit { wills, posted, ..Kernel::deposit(id, vip, &self.machine, &self.links) }
        });
        let deposits: Vec<_> = deposits.collect();
        if !deposits.is_empty() {
            self.say(&FromVip::Deposit(deposits));
        }
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
        if !wants.addrs.is_empty() {
            // Where a peer is tells its frames from a stranger's.
            wants.addrs.extend(self.conflicts.peers());
        }
        let aided = self.plan.vips.iter().filter(|v| v.spec.link == link);
        let references = aided.filter_map(|v| v.reference.as_ref()).filter(|of| of.method == Method::Arp);
        wants.addrs.extend(references.flat_map(|of| &of.addrs));
        for groups in [&mut wants.v4, &mut wants.v6].into_iter().flatten() {
            groups.sort_unstable();
            groups.dedup();
        }
        wants
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
