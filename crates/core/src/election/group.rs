//! Sync groups: vips that are active or not together, and a vip alone as a group of one.
//!
//! A group is taken when the active node of one member is silent and no other member still hears one, and only when
//! every member may be held here; it is given up whole as soon as one member is lost or in fault. So two nodes with
//! crossed priorities settle instead of passing the group to and fro.

use crate::election::hold::Farewell;
use crate::election::vip::Vip;
use crate::election::vips::Vips;
use crate::election::{Reason, State};

impl Vips {
    /// The name of a vip's group.
    pub(super) fn group_name(&self, i: usize) -> Option<&str> {
        let group = self.vips[i].group.and_then(|g| self.groups.get(g))?;
        Some(group.name.as_str())
    }

    /// A vip and those that move with it.
    pub(super) fn members(&self, i: usize) -> Vec<usize> {
        match self.vips[i].group.and_then(|g| self.groups.get(g)) {
            Some(group) => group.members.clone(),
            None => vec![i],
        }
    }

    /// Whether another vip of the group, an active one, decides who yields: the one with the lowest router id, so that
    /// every node picks the same.
    pub(super) fn is_led(&self, i: usize) -> bool {
        let Some(group) = self.vips[i].group.and_then(|g| self.groups.get(g)) else { return false };
        let first = group.members.iter().copied().min_by_key(|m| {
            let spec = &self.vips[*m].spec;
            (spec.vrid, spec.ipv6, &spec.name)
        });
        first.is_some_and(|first| first != i && self.vips[first].is_active())
    }

    /// The active node of `i` is silent: take the whole group if nothing speaks against it.
    pub(super) fn claim(&mut self, i: usize) {
        let members = self.members(i);
        if !members.iter().all(|m| self.may_take(*m, i)) {
            return;
        }
        let name = self.vips[i].spec.name.clone();
        let claimed = self.vips[i].claim_reason(&self.w);
        for m in members {
            let reason = if m == i { claimed.clone() } else { Reason::Group { vip: name.clone() } };
            if !self.vips[m].is_active() {
                self.vips[m].take(&mut self.w, reason);
            }
            self.schedule(m);
        }
    }

    /// Whether `m` may be taken because `i` is silent.
    fn may_take(&self, m: usize, i: usize) -> bool {
        let vip = &self.vips[m];
        if vip.is_active() {
            return self.is_steady(m);
        }
        vip.state == State::Backup
            && vip.fault(&self.w).is_none()
            && vip.wait(&self.w).is_none()
            && (m == i || !vip.objects(&self.w))
    }

    /// A vip was lost: the others of its group follow at once.
    pub(super) fn lose_group(&mut self, i: usize) {
        if self.vips[i].group.is_none() {
            return;
        }
        let name = self.vips[i].spec.name.clone();
        for m in self.members(i) {
            if m != i && self.vips[m].is_active() {
                let reason = Reason::Group { vip: name.clone() };
                self.vips[m].release(&mut self.w, State::Backup, reason, Farewell::Resign);
                self.schedule(m);
            }
        }
    }

    /// What a vip depends on has changed: weigh it and its group anew.
    pub(super) fn reconsider(&mut self, i: usize) {
        let members = self.members(i);
        if !members.iter().all(|m| self.w.link(self.vips[*m].spec.link).known) {
            return self.schedule(i);
        }
        let broken = members.iter().find(|m| self.vips[**m].fault(&self.w).is_some());
        let broken = broken.map(|m| self.vips[*m].spec.name.clone());
        // Those with a fault of their own let go first, before a healthy one says that it resigns.
        for own in [true, false] {
            for m in &members {
                let vip = &mut self.vips[*m];
                let fault = vip.fault(&self.w);
                if fault.is_some() == own {
                    vip.weigh(&mut self.w);
                    match fault.or_else(|| broken.clone().map(|vip| Reason::Group { vip })) {
                        Some(reason) => vip.fail(&mut self.w, reason),
                        None if self.w.stopping => {}
                        None => vip.recover(&mut self.w),
                    }
                }
            }
        }
        for m in members {
            self.vips[m].try_again(&self.w);
            self.schedule(m);
        }
    }

    /// Reconsiders every vip that `concerned` picks.
    pub(super) fn reconsider_all(&mut self, concerned: impl Fn(&Vip) -> bool) {
        for i in 0..self.vips.len() {
            if concerned(&self.vips[i]) {
                self.reconsider(i);
            }
        }
    }
}
