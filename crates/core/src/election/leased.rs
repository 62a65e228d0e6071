//! Vips that are held under a lease (`guard = "quorum"` or `"strict"`): voters say who is active, and until when.
//!
//! Nothing here listens for silence and nothing is sent: [`crate::lease`] asks for the right and renews it. The election
//! says whether this node could hold it (a stance), takes the vip when the right is granted, and says when the address is
//! gone, for only then may the right be given back (rule 3). A sync group stands under one right.

use crate::election::hold::Farewell;
use crate::election::vip::{Phase, Vip};
use crate::election::vips::Vips;
use crate::election::world::World;
use crate::election::{Effect, Reason, State};
use crate::lease::{Ending, Stance};
use crate::name::RightId;
use crate::time::Boot;

/// A right to vips of this node.
#[derive(Clone, Debug)]
pub(super) struct Right {
    /// What the voters call it.
    pub(super) name: String,
    /// The vips under it.
    pub(super) members: Vec<usize>,
    /// What was last said of it; nothing yet when absent.
    said: Option<Stance>,
    /// It was granted and has not been given back.
    granted: bool,
    /// Its stance may have changed.
    stale: bool,
}

/// The lease under which a vip is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) until: Boot,
}

impl Vips {
    /// The names of the rights that this node's vips stand under; `RightId` is the index.
    pub fn rights(&self) -> impl Iterator<Item = &str> {
        self.rights.iter().map(|right| right.name.as_str())
    }

    /// The right that a vip stands under.
    #[must_use]
    pub fn right_of(&self, vip: crate::name::VipId) -> Option<RightId> {
        let at = self.vips.get(vip.index())?.right?;
        u32::try_from(at).ok().map(RightId)
    }

    /// Says every stance again, to leases that know of none.
    pub fn say_stances(&mut self) {
        for right in &mut self.rights {
            (right.said, right.stale) = (None, true);
        }
        self.say_rights();
    }

    /// Builds the list of rights; what has been said and granted goes on by name.
    pub(super) fn index_rights(&mut self) {
        let old = std::mem::take(&mut self.rights);
        for vip in &mut self.vips {
            vip.right = None;
        }
        for i in 0..self.vips.len() {
            if !self.vips[i].is_leased() || self.vips[i].right.is_some() {
                continue;
            }
            let members = self.members(i);
            let members: Vec<usize> = members.into_iter().filter(|m| self.vips[*m].is_leased()).collect();
            let name = match self.group_name(i) {
                Some(group) => format!("group/{group}"),
                None => format!("vip/{}", self.vips[i].spec.name),
            };
            for m in &members {
                self.vips[*m].right = Some(self.rights.len());
            }
            let before = old.iter().find(|right| right.name == name);
            let granted = before.is_some_and(|right| right.granted);
            self.rights.push(Right { name, members, said: None, granted, stale: true });
        }
    }

    /// The right has been granted, or renewed.
    pub(super) fn grant(&mut self, right: RightId, lease: Lease) {
        let Some(which) = self.rights.get_mut(right.index()) else { return };
        which.granted = true;
        which.stale = true;
        let members = which.members.clone();
        let ready = lease.until > self.w.now && members.iter().all(|m| self.may_hold(*m));
        if !ready {
            // Granted before the news of our trouble was read: what is not held is given back at once.
            return;
        }
        for m in members {
            let vip = &mut self.vips[m];
            vip.lease = Some(lease);
            if vip.is_active() {
                vip.arm(&mut self.w);
            } else {
                vip.take(&mut self.w, Reason::Granted { epoch: lease.epoch });
            }
            self.schedule(m);
        }
    }

    /// Whether a granted vip may be taken or goes on being held.
    fn may_hold(&self, m: usize) -> bool {
        let vip = &self.vips[m];
        if vip.is_active() {
            return true;
        }
        vip.state == State::Backup
            && vip.stops == 0
            && vip.fault(&self.w).is_none()
            && vip.wait(&self.w).is_none()
    }

    /// The right is to be given up.
    pub(super) fn end(&mut self, right: RightId, why: Ending) {
        let Some(which) = self.rights.get_mut(right.index()) else { return };
        which.stale = true;
        let members = which.members.clone();
        for m in members {
            let vip = &mut self.vips[m];
            if vip.is_active() {
                match why {
                    Ending::Preempted { by } => {
                        vip.resign(&mut self.w, State::Backup, Reason::HandedOver { to: by })
                    }
                    Ending::Unrenewed => {
                        vip.release(&mut self.w, State::Backup, Reason::Unrenewed, Farewell::Resign);
                    }
                    Ending::Superseded { epoch } => {
                        vip.release(
                            &mut self.w,
                            State::Backup,
                            Reason::Superseded { epoch },
                            Farewell::Resign,
                        );
                    }
                }
            }
            self.schedule(m);
        }
    }

    /// Another node holds the right, or nobody is known to.
    pub(super) fn note_holder(&mut self, right: RightId, held: bool) {
        let Some(which) = self.rights.get(right.index()) else { return };
        for m in which.members.clone() {
            let vip = &mut self.vips[m];
            if vip.is_active() {
                continue;
            }
            if held {
                vip.lights_up(self.w.now);
                if vip.moved_until.take().is_some() {
                    vip.courteous = true;
                }
            } else {
                vip.goes_dark(self.w.now);
            }
            self.schedule(m);
        }
    }

    /// Says what has changed: stances first, then what is given back. Called when an input has been dealt with.
    pub(super) fn say_rights(&mut self) {
        for r in 0..self.rights.len() {
            if !std::mem::take(&mut self.rights[r].stale) {
                continue;
            }
            let id = RightId(u32::try_from(r).unwrap_or(u32::MAX));
            let stance = self.stance(r);
            let right = &mut self.rights[r];
            if right.said.replace(stance) != Some(stance) {
                self.w.emit(Effect::Stance { right: id, stance });
            }
            let idle = right.members.iter().all(|m| !self.vips[*m].is_active());
            if idle && std::mem::take(&mut right.granted) {
                self.w.emit(Effect::Gone { right: id });
            }
        }
    }

    /// What was said of a vip's right may no longer be true.
    pub(super) fn touch_right(&mut self, i: usize) {
        if let Some(right) = self.vips[i].right.and_then(|r| self.rights.get_mut(r)) {
            right.stale = true;
        }
    }

    fn stance(&self, r: usize) -> Stance {
        let members = &self.rights[r].members;
        let able = members.iter().all(|m| {
            let vip = &self.vips[*m];
            vip.stance_at(self.w.now) <= self.w.now
                && match vip.phase {
                    Phase::Out => self.may_hold(*m),
                    Phase::Starting { .. } | Phase::Holding => {
                        vip.fault(&self.w).is_none() && vip.wait(&self.w).is_none()
                    }
                    Phase::Stopping { .. } => false,
                }
        });
        if !able {
            return Stance::Unable;
        }
        let vips = || members.iter().map(|m| &self.vips[*m]);
        Stance::Ready {
            priority: vips().map(|vip| vip.priority).min().unwrap_or(0),
            preempts: vips().all(|vip| vip.preempts() && vip.preempt_at() <= self.w.now),
        }
    }
}

impl Vip {
    /// Whether a majority of voters says who holds it.
    pub(super) fn is_leased(&self) -> bool {
        self.spec.guard.is_leased()
    }

    /// When the stance may change of itself: the start delay, then the time for which a lower holder is left alone.
    pub(super) fn stance_at(&self, now: Boot) -> Boot {
        if self.not_before > now { self.not_before } else { Boot::ZERO }
    }

    /// From when on a lower holder is asked to hand over.
    pub(super) fn preempt_at(&self) -> Boot {
        match self.state {
            State::Backup => self.since + self.spec.preempt_delay,
            State::Fault | State::Active => Boot::ZERO,
        }
    }

    /// The next moment at which the stance may change of itself.
    pub(super) fn stance_due(&self, now: Boot) -> Boot {
        if !self.is_leased() {
            return Boot::NEVER;
        }
        let preempt = if self.preempts() { self.preempt_at() } else { Boot::ZERO };
        [self.not_before, preempt].into_iter().filter(|at| *at > now).min().unwrap_or(Boot::NEVER)
    }

    /// Until when the vip may be held, from now.
    pub(super) fn right_until(&self, w: &World) -> Boot {
        match self.lease {
            Some(lease) if self.is_leased() => lease.until,
            _ => w.now + self.gate(),
        }
    }
}
