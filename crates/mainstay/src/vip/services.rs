//! What vips own, seen from the role: sequences begun, gone on with, and changed by a reload.

use std::net::IpAddr;

use mainstay_config::plan::{Owned, Plan};
use mainstay_core::election::Holding;
use mainstay_core::name::VipId;

use super::Node;
use crate::ipc::FromVip;

impl Node {
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

    /// Before a reload: stops what vips that are held here own no longer. Tells, by new numbers, which entries of their
    /// lists are to be started.
    pub(super) fn retire_services(&mut self, new: &Plan) -> Vec<(VipId, Vec<usize>)> {
        let mut added = Vec::new();
        let mut runs = Vec::new();
        for (id, vip) in (0..).map(VipId).zip(&self.plan.vips) {
            let Some(place) = new.vips.iter().position(|v| v.spec.name == vip.spec.name) else { continue };
            let holding = self.machine.view(id).map_or(Holding::No, |view| view.holding);
            let list = &new.vips[place].owns;
            let in_new = |old: &Owned| list.iter().any(|o| same(&self.plan, old, new, o));
            let fresh = |o: &Owned| !vip.owns.iter().any(|old| same(&self.plan, old, new, o));
            let more: Vec<usize> = (0..list.len()).filter(|i| fresh(&list[*i])).collect();
            let gone: Vec<&Owned> = vip.owns.iter().rev().filter(|old| !in_new(old)).collect();
            if more.is_empty() && gone.is_empty() {
                continue;
            }
            match holding {
                Holding::Yes => {
                    let place = u32::try_from(place).expect("a Plan has fewer than 2^32 vips");
                    added.push((VipId(place), more));
                }
                // It begins again with the new list.
                Holding::Starting => self.sequences.forget(id),
                Holding::No | Holding::Stopping => continue,
            }
            runs.extend(gone.into_iter().map(|old| self.sequences.stop_one(vip, old)));
        }
        runs.into_iter().for_each(|run| self.say(&FromVip::Run(run)));
        added
    }

    /// Sequences whose commands a reload took away begin again with the new ones.
    pub(super) fn resume_sequences(&mut self) {
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

    /// Starts or stops what a vip owns.
    pub(super) fn sequence(&mut self, id: VipId, starting: bool) {
        let step = self.sequences.begin(id, &self.plan.vips[id.index()], starting);
        self.step(step);
    }

    pub(super) fn step(&mut self, step: super::owned::Step) {
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
        if self.arbitration_ran(outcome, mainstay_sys::clock::boot_now()) {
            return;
        }
        if let Some(step) = self.sequences.ran(outcome) {
            self.step(step);
            self.drain();
        } else {
            self.notified(outcome);
        }
    }
}

/// Whether two entries are the same service, started and stopped in the same way.
fn same(old_plan: &Plan, old: &Owned, new_plan: &Plan, new: &Owned) -> bool {
    let command = |plan: &Plan, id: mainstay_core::name::CommandId| plan.commands.get(id.index()).cloned();
    old.name == new.name
        && command(old_plan, old.start) == command(new_plan, new.start)
        && command(old_plan, old.stop) == command(new_plan, new.stop)
}
