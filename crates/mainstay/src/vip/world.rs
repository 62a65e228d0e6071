//! What happens around the vips: a new Plan, frames of others, commands that end.

use std::net::IpAddr;

use mainstay_config::plan::Plan;
use mainstay_core::arp::ArpView;
use mainstay_core::election::{Holding, Input, Next, State, VipSpec};
use mainstay_core::name::{CommandId, LinkId, ProbeId, VipId};
use mainstay_core::ndp::NdpView;
use mainstay_core::vrrp;
use mainstay_sys::clock::boot_now;

use super::kernel::Kernel;
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
        let command = |old: CommandId| {
            let known = self.plan.commands.get(old.index())?;
            let place = plan.commands.iter().position(|c| c == known)?;
            Some(CommandId(u32::try_from(place).expect("a Plan has fewer than 2^32 commands")))
        };
        // Said while the supervisor still reads our numbers by the old Plan.
        for run in self.sequences.renumber(new_id, command) {
            self.say(&FromVip::Run(run));
        }
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
        // The gate knows every address before the machine's effects can arm or take one.
        self.resync();
        self.kernel.detach_unused(&self.links);
        self.drain();
        self.fit(None);
        self.deposit_again();
        self.resume_sequences();
    }

    /// A predecessor may have been killed: nothing that a vip owns runs on before this node holds it, and clients
    /// may still look here for the addresses that were swept.
    pub(super) fn clean_up(&mut self, swept: &[IpAddr]) {
        for (id, vip) in (0..).map(VipId).zip(&self.plan.vips) {
            if vip.addrs.iter().any(|a| swept.contains(&a.addr)) {
                self.machine.left_behind(id);
            }
        }
        for place in 0..self.plan.vips.len() {
            let id = VipId(u32::try_from(place).expect("a Plan has fewer than 2^32 vips"));
            let out = self.machine.view(id).is_some_and(|v| v.holding == Holding::No);
            if out && !self.plan.vips[id.index()].owns.is_empty() && !self.sequences.is_under_way(id) {
                self.sequence(id, false);
            }
        }
        if !swept.is_empty() {
            let list: Vec<String> = swept.iter().map(ToString::to_string).collect();
            let text = format!("removed what an earlier run left behind: {}", list.join(", "));
            self.event("address", "sweep", text);
        }
        self.drain();
    }

    /// Sequences whose commands a reload took away begin again with the new ones.
    fn resume_sequences(&mut self) {
        for place in 0..self.plan.vips.len() {
            let id = VipId(u32::try_from(place).expect("a Plan has fewer than 2^32 vips"));
            let holding = self.machine.view(id).map(|v| v.holding);
            let starting = match holding {
                Some(Holding::Starting) => true,
                Some(Holding::Stopping) => false,
                Some(Holding::No | Holding::Yes) | None => continue,
            };
            if !self.sequences.is_under_way(id) {
                self.sequence(id, starting);
            }
        }
        self.drain();
    }

    /// What is said when this process dies follows the configuration.
    fn deposit_again(&mut self) {
        let held = (0..).map(VipId).zip(&self.plan.vips);
        let held = held.filter(|(id, _)| self.machine.view(*id).is_some_and(|v| v.armed.is_some()));
        let deposits: Vec<_> =
            held.map(|(id, vip)| Kernel::deposit(id, vip, &self.machine, &self.links)).collect();
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
        for groups in [&mut wants.v4, &mut wants.v6].into_iter().flatten() {
            groups.sort_unstable();
            groups.dedup();
        }
        wants
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
