//! A new configuration: what did not change is not touched.
//!
//! Two steps, because effects name vips by their place in the Plan. `retire` gives up, under the old numbers, what the
//! new configuration takes away or makes another vip of; the caller carries those effects out with the old Plan.
//! Then `apply` takes the new numbers on. State, timers, counters and epochs of the vips that stay go with them.

use crate::election::hold::Farewell;
use crate::election::vip::{Phase, Vip};
use crate::election::vips::Vips;
use crate::election::world::Link;
use crate::election::{Effect, GroupSpec, Reason, State, VipSpec};
use crate::name::{LinkId, ProbeId, VipId};
use crate::time::Boot;

/// What a reload brings.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// The vips, in the new Plan's order.
    pub specs: Vec<VipSpec>,
    /// The sync groups.
    pub groups: Vec<GroupSpec>,
    /// For each link of the new Plan its number in the old one, if it was there.
    pub links: Vec<Option<LinkId>>,
    /// For each probe of the new Plan its number in the old one, if it was there and has not changed.
    pub probes: Vec<Option<ProbeId>>,
}

impl Next {
    fn old_link(&self, new: LinkId) -> Option<LinkId> {
        self.links.get(new.index()).copied().flatten()
    }

    fn new_name_of(&self, name: &str) -> Option<&VipSpec> {
        self.specs.iter().find(|spec| spec.name == name)
    }

    /// The group that a vip is to be in.
    fn group_of(&self, name: &str) -> Option<&str> {
        let group = self.groups.iter().find(|group| group.vips.iter().any(|vip| vip == name))?;
        Some(group.name.as_str())
    }

    /// Whether a vip, so far in `group`, stays what it is: on the wire, for its clients, for its services and its voters.
    fn keeps(&self, old: &VipSpec, group: Option<&str>, new: &VipSpec) -> bool {
        self.old_link(new.link) == Some(old.link)
            && old.version == new.version
            && old.vrid == new.vrid
            && old.ipv6 == new.ipv6
            && old.password == new.password
            && old.unicast == new.unicast
            && old.source == new.source
            && old.owns == new.owns
            && old.guard == new.guard
            && (!new.guard.is_leased() || self.group_of(&new.name) == group)
    }
}

impl Vips {
    /// Gives up every active vip that `next` removes or makes another of. Fetch the effects and carry them out before
    /// `apply`. Services that are still to be stopped are stopped beside the release: nothing waits for them.
    pub fn retire(&mut self, next: &Next, now: Boot) {
        self.wake(now);
        for i in 0..self.vips.len() {
            let group = self.group_name(i).map(str::to_owned);
            let vip = &mut self.vips[i];
            let kept = |new| next.keeps(&vip.spec, group.as_deref(), new);
            let stays = next.new_name_of(&vip.spec.name).is_some_and(kept);
            if vip.is_active() && !stays {
                vip.release(&mut self.w, State::Backup, Reason::Reloaded, Farewell::Resign);
                self.schedule(i);
            }
        }
        self.say_rights();
    }

    /// Puts the new configuration in force. What returns is what `retire` would have asked for, had it been called and
    /// drained before: effects under the old numbers for vips that are gone, to be carried out with the old Plan.
    ///
    /// Priority, preemption, delays, intervals, weights, probes, addresses, announcements and the gate change in place: a
    /// holder takes addresses that are new to it and releases those that have gone, and its adverts say so. Other
    /// changes start the vip anew as a backup; its epoch and counters go on.
    #[must_use]
    pub fn apply(&mut self, next: Next, now: Boot) -> Vec<Effect> {
        self.retire(&next, now);
        let leftover = self.w.effects.drain(..).collect();
        let links =
            next.links.iter().map(|old| old.map_or_else(Link::default, |old| self.w.link(old))).collect();
        let probes = (0_u32..).map(ProbeId).zip(&next.probes).filter_map(|(new, old)| Some((new, (*old)?)));
        let probes = probes.map(|(new, old)| (new, self.w.probe(old))).collect();
        let groups: Vec<Option<String>> =
            (0..self.vips.len()).map(|i| self.group_name(i).map(str::to_owned)).collect();
        let mut old: Vec<Option<(Vip, Option<String>)>> =
            std::mem::take(&mut self.vips).into_iter().zip(groups).map(Some).collect();
        for (id, spec) in (0_u32..).zip(&next.specs) {
            let same =
                old.iter_mut().find(|vip| vip.as_ref().is_some_and(|(vip, _)| vip.spec.name == spec.name));
            let vip = match same.and_then(Option::take) {
                Some((vip, group)) => vip.renewed(VipId(id), spec, group.as_deref(), &next, now),
                None => Vip::new(VipId(id), spec.clone(), now),
            };
            self.vips.push(vip);
        }
        self.w.links = links;
        self.w.probes = probes;
        self.index(next.groups);
        self.settle_groups();
        self.reconsider_all(|_| true);
        self.say_rights();
        leftover
    }

    /// A group that a reload has put together from an active and a waiting vip starts as a whole.
    fn settle_groups(&mut self) {
        for g in 0..self.groups.len() {
            let members = self.groups[g].members.clone();
            if members.iter().all(|m| self.vips[*m].is_active()) {
                continue;
            }
            for m in members {
                if self.vips[m].is_active() {
                    self.vips[m].release(&mut self.w, State::Backup, Reason::Reloaded, Farewell::Resign);
                }
            }
        }
    }
}

impl Vip {
    /// The same vip under a new number and with a new spec.
    fn renewed(mut self, id: VipId, spec: &VipSpec, group: Option<&str>, next: &Next, now: Boot) -> Self {
        self.id = id;
        if next.keeps(&self.spec, group, spec) {
            self.spec.clone_from(spec);
            self.sort_addrs();
            return self;
        }
        let old = std::mem::replace(&mut self, Self::new(id, spec.clone(), now));
        self.not_before = now;
        self.phase = Phase::Out;
        self.epoch = old.epoch;
        self.state = State::Fault;
        self.told = old.told;
        self.since = old.since;
        self.reason = Reason::Reloaded;
        self.drained = old.drained;
        self.unheard = old.unheard;
        self.stops = old.stops;
        self.stops_until = old.stops_until;
        self.counters = old.counters;
        self.dark = old.dark;
        self.dark_since = old.dark_since;
        self
    }
}
